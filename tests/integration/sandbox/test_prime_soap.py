"""Prime's web service as a client on the wire meets it: envelopes, faults, and the rules of prime.md 6.1."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prime_box import CREDENTIALS, PALETTE, SOAP_11, SOAP_12, Fault, PrimeBox, envelope, record

ACCOUNT = {"Company": "100", "Account": "6000", "Name": "Rent", "KeyType": 1}


@pytest.fixture
async def box() -> AsyncIterator[PrimeBox]:
    async with PrimeBox() as opened:
        yield opened


# -- envelopes


@pytest.mark.parametrize(("version", "content_type"), [(SOAP_11, "text/xml"), (SOAP_12, "application/soap+xml")])
async def test_either_soap_version_is_answered_in_kind(box: PrimeBox, version: str, content_type: str) -> None:
    status, answered_type, root = await box.post(envelope("GetVersion", credentials="", version=version), version=version)
    assert (status, answered_type, root.tag) == (200, content_type, f"{{{version}}}Envelope")
    assert root[0][0].findtext(f"{PALETTE}GetVersionResult") == "8.146.8.3086"
    with pytest.raises(Fault, match="Authentication failed") as caught:
        await box.call("ListCompanies", credentials=CREDENTIALS.replace("demo-password", "no"), version=version)
    assert (caught.value.status, caught.value.code) == (500, "Client" if version == SOAP_11 else "Sender")


@pytest.mark.parametrize("prefix", ["", "p:"])
async def test_a_records_children_count_in_no_namespace_and_in_palettes(box: PrimeBox, prefix: str) -> None:
    fields = "".join(f"<{prefix}{name}>{value}</{prefix}{name}>" for name, value in ACCOUNT.items())
    assert await box.code("InsertAccount", f"<p:Account>{fields}</p:Account><p:TransferFromQueue>1</p:TransferFromQueue>") == (0, "OK")
    assert box.records("Account") == [ACCOUNT]


async def test_elements_of_another_namespace_are_ignored_and_counted(box: PrimeBox) -> None:
    strange = '<Name xmlns="urn:other">Wrong</Name><Colour>red</Colour>'
    inner = record("Account", **ACCOUNT).replace("</p:Account>", f"{strange}</p:Account>")
    assert await box.code("InsertAccount", inner) == (0, "OK")
    assert box.records("Account") == [ACCOUNT]
    assert box.kernel.stats["prime"].ignored_elements == 2


async def test_a_call_is_counted_under_its_operations_name(box: PrimeBox) -> None:
    await box.call("ListCompanies")
    await box.insert("Account", Account="1", Name="x")
    assert box.kernel.stats["prime"].calls == {"ListCompanies": 1, "InsertAccount": 1}


WRONG = [
    ("environment", CREDENTIALS.replace("DEMO", "PROD")),
    ("user", CREDENTIALS.replace(">connect<", ">other<")),
    ("password", CREDENTIALS.replace("demo-password", "Demo-Password")),
    ("empty password", CREDENTIALS.replace("demo-password", "")),
]


@pytest.mark.parametrize("credentials", [given for _, given in WRONG], ids=[name for name, _ in WRONG])
async def test_wrong_credentials_are_false_for_authenticate_user_and_a_fault_elsewhere(box: PrimeBox, credentials: str) -> None:
    assert (await box.call("AuthenticateUser", credentials=credentials)).text == "false"
    with pytest.raises(Fault, match="Authentication failed") as caught:
        await box.call("InsertAccount", record("Account", **ACCOUNT), credentials=credentials)
    assert caught.value.code == "Sender"
    assert box.records("Account") == []


FAULTS = {
    "an unknown operation": ("InsertFoo", "", "did not recognize"),
    "a missing record": ("InsertAccount", "<p:TransferFromQueue>true</p:TransferFromQueue>", "missing parameter Account"),
    "a missing TransferFromQueue": ("InsertAccount", record("Account", transfer=None, **ACCOUNT), "missing parameter TransferFromQueue"),
    "a TransferFromQueue that is no boolean": (
        "InsertAccount",
        record("Account", transfer=None, **ACCOUNT) + "<p:TransferFromQueue>yes</p:TransferFromQueue>",
        "TransferFromQueue is 'yes', expected true or false",
    ),
    "a missing UpdateQueueStatus": ("ListInvoicesReadyForDeletion", "", "missing parameter UpdateQueueStatus"),
    "a missing Erp": ("ListInvoicesReadyForDeletionERP", "<p:UpdateQueueStatus>false</p:UpdateQueueStatus>", "missing parameter Erp"),
    "NoOfRows in words": (
        "ListInvoicesReadyForDeletion",
        "<p:UpdateQueueStatus>false</p:UpdateQueueStatus><p:NoOfRows>ten</p:NoOfRows>",
        "NoOfRows is 'ten'",
    ),
    "a missing FromAccountCodingDate": ("ListInvoicesMissingPaymentDate", "", "missing parameter FromAccountCodingDate"),
    "an empty FromAccountCodingDate": (
        "ListInvoicesMissingPaymentDate",
        "<p:FromAccountCodingDate/>",
        "FromAccountCodingDate is ''",
    ),
    "a date with a zone": (
        "ListInvoicesMissingPaymentDate",
        "<p:FromAccountCodingDate>2026-01-01T00:00:00Z</p:FromAccountCodingDate>",
        "expected a date",
    ),
    "an invoice number in words": (
        "GetInvoiceImage",
        "<p:InvoiceSeries>1</p:InvoiceSeries><p:InvoiceNo>one</p:InvoiceNo>",
        "InvoiceNo is 'one'",
    ),
}


@pytest.mark.parametrize(("operation", "inner", "words"), FAULTS.values(), ids=FAULTS)
async def test_what_dotnet_would_not_let_through_is_a_fault_of_the_sender(box: PrimeBox, operation: str, inner: str, words: str) -> None:
    with pytest.raises(Fault, match=words) as caught:
        await box.call(operation, inner)
    assert (caught.value.status, caught.value.code) == (500, "Sender")
    assert box.records("Account") == []


async def test_a_missing_credential_is_a_fault_that_names_it(box: PrimeBox) -> None:
    with pytest.raises(Fault, match="missing parameter UserID"):
        await box.call("ListCompanies", credentials="<p:Environment>DEMO</p:Environment><p:Password>demo-password</p:Password>")


async def test_a_mistake_of_the_simulators_own_is_a_fault_of_the_receiver(box: PrimeBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box.prime._environment, "registers", None)
    with pytest.raises(Fault, match="unable to process request") as caught:
        await box.insert("Account", Account="1")
    assert (caught.value.status, caught.value.code) == (500, "Receiver")


# -- what is no envelope

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
BAD = {
    "nothing": (b"", None, 400, "unable to read"),
    "no XML": (b"{}", None, 400, "unable to read"),
    "half an envelope": (envelope("GetVersion")[:-30], None, 400, "unable to read"),
    "HTML": (b"<html><body/></html>", None, 500, "SOAP version mismatch"),
    "an unknown envelope": (envelope("GetVersion").replace(b"2003/05", b"2033/05"), None, 500, "SOAP version mismatch"),
    "an empty body": (f'<s:Envelope xmlns:s="{SOAP_12}"><s:Body/></s:Envelope>'.encode(), None, 500, "body is empty"),
    "JSON by its type": (envelope("GetVersion"), "application/json", 415, "content type"),
    "a DTD": (b"<!DOCTYPE a>" + envelope("GetVersion"), None, 400, "DTD is prohibited"),
    "a billion laughs in text": (
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>'.encode() + envelope("GetVersion", "&l11;", credentials=""),
        None,
        400,
        "unable to read",
    ),
    "a billion laughs in an attribute": (
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>'.encode() + envelope("GetVersion", '<a b="&l11;"/>', credentials=""),
        None,
        400,
        "unable to read",
    ),
    "an external entity": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + envelope("GetVersion", "&x;", credentials=""),
        None,
        400,
        "DTD is prohibited",
    ),
    "an unknown entity": (envelope("GetVersion", "&x;", credentials=""), None, 400, "unable to read"),
}


@pytest.mark.parametrize(("body", "content_type", "status", "words"), BAD.values(), ids=BAD)
async def test_what_cannot_be_read_is_a_fault_and_costs_nothing(
    box: PrimeBox, body: bytes, content_type: str | None, status: int, words: str
) -> None:
    started = time.process_time()
    answered, _, root = await box.post(body, content_type=content_type)
    assert time.process_time() - started < 1
    reason = "".join(root.itertext())
    assert answered == status
    assert words in reason


async def test_an_external_entity_is_not_read(box: PrimeBox, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the-secret")
    body = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'.encode() + envelope(
        "InsertAccount", record("Account", **ACCOUNT | {"Name": "&x;"})
    )
    _, _, root = await box.post(body)
    assert "the-secret" not in "".join(root.itertext())
    assert box.records("Account") == []


async def test_text_comes_back_as_it_went_in(box: PrimeBox) -> None:
    name = " \t<b>&amp; “quotes” مرحبا 漢字 \U0001f600 ]]> "
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert await box.insert("Company", Company="300", Name=escaped) == (0, "OK")
    company = await box.call("ListCompanyData", "<p:Company>300</p:Company>")
    assert company.findtext(f"{PALETTE}Name") == name


async def test_the_description_is_served_in_any_spelling_and_names_its_own_address(box: PrimeBox) -> None:
    for path in ("/ws/webService.asmx?WSDL", "/ws/webservice.asmx?wsdl"):
        status, headers, body = await box.raw("GET", path)
        assert status == 200
        assert headers["Content-Type"].startswith("text/xml")
        assert f'location="{box.base}{path.partition("?")[0]}"'.encode() in body
    status, _, body = await box.raw("GET", "/ws/webService.asmx")
    assert b"?WSDL" in body


# -- the rules of 6.1: (what is inserted before, kind, fields) -> ResultCode, words in the message

KNOWN = [("Account", {"Account": "6000"}), ("VatCode", {"VatCode": "25", "Name": "25 %"}), ("AssetType", {"AssetType": "VEH", "Name": "V"})]
RULES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "an account is taken": ("Account", {"Account": "1"}, 0, "OK"),
    "a required field is missing": ("Account", {"Name": "x"}, 1, "Field Account is required"),
    "a required field is empty": ("Supplier", {"Supplier": ""}, 1, "Field Supplier is required"),
    "KeyType 1 without a company": ("Account", {"Account": "1", "Company": ""}, 1, "Field Company is required when KeyType is 1"),
    "KeyType is required on accounts": ("Account", {"Account": "1", "KeyType": ""}, 1, "Field KeyType is required"),
    "KeyType out of range": ("Account", {"Account": "1", "KeyType": 2}, 1, "Field KeyType: value 2"),
    "an unknown company": ("Account", {"Account": "1", "Company": "999"}, 2, "Company '999' does not exist"),
    "a flag that is no number": ("Supplier", {"Supplier": "1", "Blocked": "true"}, 1, "Field Blocked: value 'true'"),
    "a flag out of range": ("Supplier", {"Supplier": "1", "Blocked": 3}, 1, "Field Blocked: value 3"),
    "a date that is none": ("Account", {"Account": "1", "ValidTo": "2026-02-30T00:00:00"}, 1, "Field ValidTo"),
    "a date with a zone": ("Account", {"Account": "1", "ValidTo": "2026-02-03T00:00:00+01:00"}, 1, "Field ValidTo"),
    "a number with a comma": ("VatCode", {"VatCode": "1", "Name": "x", "Percentage": "12,5"}, 1, "Field Percentage: value '12,5'"),
    "a number with an exponent": ("VatCode", {"VatCode": "1", "Name": "x", "Percentage": "1E2"}, 1, "Field Percentage"),
    "a code of 100 characters": ("Supplier", {"Supplier": "S" * 100}, 0, "OK"),
    "a code too long": ("Supplier", {"Supplier": "S" * 101}, 1, "Field Supplier: the value has 101 characters, at most 100"),
    "a name too long": ("Supplier", {"Supplier": "1", "Name": "N" * 401}, 1, "Field Name: the value has 401 characters, at most 400"),
    "a note too long": ("Supplier", {"Supplier": "1", "Note": "N" * 4001}, 1, "Field Note: the value has 4001 characters, at most 4000"),
    "an address line too long": ("Supplier", {"Supplier": "1", "Address1": "N" * 256}, 1, "Field Address1"),
    "a supplier's account is known": ("Supplier", {"Supplier": "1", "CostAccount": "6000"}, 0, "OK"),
    "a supplier's account is unknown": ("Supplier", {"Supplier": "1", "CostAccount": "1"}, 2, "CostAccount '1' does not exist as Account"),
    "a VAT code's account is unknown": ("VatCode", {"VatCode": "1", "Name": "x", "Account": "1"}, 2, "Account '1' does not exist"),
    "an asset type's account is unknown": ("AssetType", {"AssetType": "1", "Name": "x", "Account": "1"}, 2, "Account '1' does not exist"),
    "an asset's type is known": ("Asset", {"Asset": "1", "Name": "x", "AssetType": "VEH", "KeyType": None}, 0, "OK"),
    "an asset's type is unknown": ("Asset", {"Asset": "1", "Name": "x", "AssetType": "1", "KeyType": None}, 2, "AssetType '1'"),
    "an account's VAT code, if mandatory, is known": ("Account", {"Account": "1", "VatCode": "25", "VatCodeMandatory": 1}, 0, "OK"),
    "an account's VAT code, if mandatory, is unknown": (
        "Account",
        {"Account": "1", "VatCode": "9", "VatCodeMandatory": 1},
        2,
        "VatCode '9' does not exist",
    ),
    "an account's VAT code, if not mandatory, is anything": ("Account", {"Account": "1", "VatCode": "9"}, 0, "OK"),
    "an object of type 8": ("Object", {"ObjectTypeNo": 8, "Object": "1", "Name": "x"}, 0, "OK"),
    "an object of type 9": ("Object", {"ObjectTypeNo": 9, "Object": "1", "Name": "x"}, 2, "ObjectTypeNo 9 does not exist as ObjectType"),
    "an object type 9": ("ObjectType", {"ObjectTypeNo": 9, "Name": "x", "Company": None, "KeyType": None}, 1, "Field ObjectTypeNo"),
    "removing what is not there": ("Account", {"Account": "1", "Remove": 1}, 3, "Account '1' does not exist"),
    "removing what is there": ("Account", {"Account": "6000", "Remove": 1}, 0, "OK"),
    "a period 41": (
        "Period",
        {"Year": 2026, "Period": 41, "Name": "x", "StartDate": "2026-01-01", "EndDate": "2026-01-31"},
        1,
        "Field Period: value 41",
    ),
    "a rate without a date": ("Currency", {"BaseCurrency": "USD", "Currency": "EUR", "BuyingRate": "1.1"}, 0, "OK"),
}


@pytest.mark.parametrize(("kind", "fields", "code", "words"), RULES.values(), ids=RULES)
async def test_a_record_is_taken_or_refused_in_words_and_then_nothing_is_written(
    box: PrimeBox, kind: str, fields: dict[str, Any], code: int, words: str
) -> None:
    for known, given in KNOWN:
        assert await box.insert(known, **given) == (0, "OK")
    before = box.records(kind)
    found, message = await box.insert(kind, **fields) if None not in fields.values() else await _without_none(box, kind, fields)
    assert (found, words in message) == (code, True), (found, message)
    assert (box.records(kind) != before) is (code == 0)


async def _without_none(box: PrimeBox, kind: str, fields: dict[str, Any]) -> tuple[int, str]:
    given = {name: value for name, value in ({"Company": "100"} | fields).items() if value is not None}
    return await box.code(f"Insert{kind}", record(kind, **given))


async def test_an_upsert_goes_by_the_natural_key_keeps_what_is_left_out_and_clears_what_is_empty(box: PrimeBox) -> None:
    await box.insert("Supplier", Supplier="S1", Name="Acme", Email="a@example.com", Note="old", Blocked=0)
    await box.insert("Supplier", Supplier="S1", Name="Acme Ltd", Note="", Blocked=2)
    await box.insert("Supplier", Supplier="s1", Name="another")
    assert {record["Supplier"]: record for record in box.records("Supplier")} == {
        "S1": {"Company": "100", "KeyType": 1, "Supplier": "S1", "Name": "Acme Ltd", "Email": "a@example.com", "Blocked": 2},
        "s1": {"Company": "100", "KeyType": 1, "Supplier": "s1", "Name": "another"},
    }


async def test_companies_keep_their_own_rows_and_see_those_of_nobody(box: PrimeBox) -> None:
    await box.insert("Company", Company="200", Name="Second")
    await box.insert("Account", Account="1", Name="of 100")
    await box.insert("Account", Account="1", Name="of 200", Company="200")
    await box.insert("Account", Account="2", Name="of all", Company="", KeyType=0)
    assert {(row.get("Company"), row["Name"]) for row in box.records("Account", None)} == {
        ("100", "of 100"),
        ("200", "of 200"),
        (None, "of all"),
    }
    assert [row["Name"] for row in box.records("Account", "200")] == ["of all", "of 200"]
    assert (await box.insert("Supplier", Supplier="1", CostAccount="2"))[0] == 0


async def test_rates_have_a_key_of_four_parts_and_keep_their_digits(box: PrimeBox) -> None:
    rate = {"BaseCurrency": "USD", "Currency": "EUR", "BuyingRate": "1.100"}
    for day in ("2026-01-01", "2026-01-02T00:00:00", "2026-01-01T00:00:00"):
        await box.insert("Currency", FromAccountCodingDate=day, **rate)
    await box.insert("Currency", FromAccountCodingDate="2026-01-01", **rate | {"BuyingRate": "0.00000123456789012345"})
    assert [(row["FromAccountCodingDate"], row["BuyingRate"]) for row in box.records("Currency")] == [
        ("2026-01-01", "0.00000123456789012345"),
        ("2026-01-02", "1.1"),
    ]


async def test_queued_records_are_not_in_the_register_and_the_queue_is_processed_over_rest(box: PrimeBox) -> None:
    queued = record("Supplier", transfer=False, Company="100", KeyType=1, Supplier="S1", CostAccount="6000", ExternalId="7")
    assert await box.code("InsertSupplier", queued) == (0, "Queued")
    assert box.records("Supplier") == []
    status, answer = await box.rest("PUT", "/supplier/ProcessSupplierInQueue")
    assert [(row["externalId"], row["resultCode"]) for row in answer["results"]] == [("7", 2)]
    await box.insert("Account", Account="6000")
    status, answer = await box.rest("PUT", "/supplier/ProcessSupplierInQueue")
    assert (status, [row["resultCode"] for row in answer["results"]]) == (200, [0])
    assert [row["Supplier"] for row in box.records("Supplier")] == ["S1"]
    assert (await box.rest("PUT", "/supplier/ProcessSupplierInQueue"))[1] == {"results": []}


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_suppliers_bank_accounts_are_nested_and_replaced_as_a_whole(box: PrimeBox, wrapped: bool) -> None:
    def banks(*numbers: str) -> str:
        inner = "".join(f"<SupplierBankAccount><BankAccount>{number}</BankAccount></SupplierBankAccount>" for number in numbers)
        return f"<SupplierBankAccount>{inner}</SupplierBankAccount>" if wrapped else inner

    async def insert(inner: str) -> tuple[int, str]:
        element = record("Supplier", Company="100", KeyType=1, Supplier="S1").replace("</p:Supplier>", f"{inner}</p:Supplier>")
        return await box.code("InsertSupplier", element)

    assert await insert(banks("2", "1")) == (0, "OK")
    assert box.records("Supplier")[0]["SupplierBankAccount"] == [{"BankAccount": "1"}, {"BankAccount": "2"}]
    assert (await insert(banks("3", "3")))[0] == 1
    assert await insert("") == (0, "OK")
    assert len(box.records("Supplier")[0]["SupplierBankAccount"]) == 2
    assert await insert("<SupplierBankAccount/>") == (0, "OK")
    assert "SupplierBankAccount" not in box.records("Supplier")[0]


# -- invoices


def listed(result: Any) -> list[str]:
    return [item.findtext(f"{PALETTE}InvoiceNo") for item in result]


async def ready(box: PrimeBox, *, update: bool = False, company: str = "", rows: str = "", kind: str = "FinalRecording") -> list[str]:
    inner = (
        f"<p:UpdateQueueStatus>{str(update).lower()}</p:UpdateQueueStatus><p:Company>{company}</p:Company><p:NoOfRows>{rows}</p:NoOfRows>"
    )
    return listed(await box.call(f"ListInvoicesReadyFor{kind}", inner))


async def reply(box: PrimeBox, **fields: Any) -> tuple[int, str]:
    return await box.code("SendInvoiceReply", record("InvoiceReceipt", **{"InvoiceSeries": "1", "InvoiceNo": 1, "Status": 4} | fields))


async def test_an_invoice_stays_listed_until_its_receipt(box: PrimeBox) -> None:
    box.load("Company", {"Company": "200", "Name": "Second"})
    box.load("Invoice", {"InvoiceNo": 1}, {"InvoiceNo": 2}, {"InvoiceNo": 3, "Company": "200"}, {"InvoiceNo": 4, "Status": 2})
    assert await ready(box) == await ready(box) == ["1", "2", "3"]
    assert await ready(box, company="100") == ["1", "2"]
    assert await ready(box, rows="1") == ["1"]
    assert await ready(box, kind="Deletion") == ["4"]
    assert await reply(box, QueueStatus=1, VoucherSeries="A", VoucherNo=77, InvoiceExternalId="k", InvoiceExternalSource="SageIntacct") == (
        0,
        "OK",
    )
    assert await ready(box) == ["2", "3"]
    invoice = box.records("Invoice")[0]
    assert (invoice["queue"], invoice["VoucherNo"], invoice["VoucherSeries"], invoice["ExternalId"]) == ("receipted", 77, "A", "k")
    assert await reply(box, InvoiceNo=4, Status=2, QueueStatus=1) == (0, "OK")
    assert await ready(box, kind="Deletion") == []


async def test_update_queue_status_takes_an_invoice_off_the_list_for_good(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1}, {"InvoiceNo": 2})
    assert await ready(box, update=True, rows="1") == ["1"]
    assert await ready(box) == ["2"]
    assert box.records("Invoice")[0]["queue"] == "exported"
    assert await reply(box, QueueStatus=1, VoucherNo=1) == (0, "OK")


async def test_a_receipt_of_refusal_hands_the_invoice_back_and_a_person_can_send_it_again(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1, "AccountCoding": [{"Account": "1", "Amount": "10"}]})
    assert (await reply(box, QueueStatus=2))[1] == "Field ErrorText is required on InvoiceReceipt when QueueStatus is 2"
    assert await reply(box, QueueStatus=2, ErrorText="no such account") == (0, "OK")
    assert await ready(box) == []
    assert box.records("Invoice")[0]["queue"] == "returned"
    assert box.records("InvoiceReceipt")[0]["ErrorText"] == "no such account"
    box.load("Invoice", {"InvoiceNo": 1, "AccountCoding": [{"Account": "2", "Amount": "10"}]})
    assert await ready(box) == ["1"]


async def test_the_same_receipt_twice_is_taken_once_and_another_one_is_refused(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1})
    for _ in range(2):
        assert await reply(box, QueueStatus=1, VoucherNo=7) == (0, "OK")
    assert len(box.records("InvoiceReceipt")) == 1
    assert await reply(box, QueueStatus=1, VoucherNo=8) == (1, "Field QueueStatus: invoice 1/1 has its receipt already")
    assert box.records("Invoice")[0]["VoucherNo"] == 7


async def test_a_receipt_must_echo_the_status_and_name_a_known_invoice(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1})
    code, message = await reply(box, Status=2, QueueStatus=1)
    assert (code, "value 2 is not the status 4" in message) == (1, True)
    assert await reply(box, InvoiceNo=9, QueueStatus=1) == (3, "Invoice 1/9 does not exist")
    assert (await reply(box, QueueStatus=3))[0] == 1
    assert await ready(box) == ["1"]


@pytest.mark.parametrize(("setting", "code"), [("accept", 0), ("refuse", 1)])
async def test_whether_a_returned_invoice_takes_a_receipt_is_a_setting(box: PrimeBox, setting: str, code: int) -> None:
    box.prime.settings(receipt_for_returned=setting)
    box.load("Invoice", {"InvoiceNo": 1})
    await reply(box, QueueStatus=2, ErrorText="no")
    assert (await reply(box, QueueStatus=1, VoucherNo=1))[0] == code


async def test_a_queued_receipt_changes_nothing_yet(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1})
    queued = record("InvoiceReceipt", transfer=False, InvoiceSeries="1", InvoiceNo=1, Status=4, QueueStatus=1)
    assert await box.code("SendInvoiceReply", queued) == (0, "Queued")
    assert await ready(box) == ["1"]


async def test_a_payment_date_is_wanted_for_booked_invoices_since_a_day_and_set_once(box: PrimeBox) -> None:
    box.load("Invoice", *({"InvoiceNo": n, "AccountCodingDate": f"2026-01-0{n}"} for n in (1, 2, 3)))
    for n in (1, 2):
        await reply(box, InvoiceNo=n, QueueStatus=1, VoucherNo=n)
    since = "<p:Company>100</p:Company><p:FromAccountCodingDate>2026-01-02</p:FromAccountCodingDate><p:ERP/>"
    assert listed(await box.call("ListInvoicesMissingPaymentDate", since)) == ["2"]
    item = record("oInvoicePaymentDateItem", transfer=None, InvoiceSeries="1", InvoiceNo=2, PaymentDate="2026-02-01T00:00:00", Note="PR1")
    for _ in range(2):
        assert await box.code("SetInvoicePaymentDate", item) == (0, "OK")
    assert listed(await box.call("ListInvoicesMissingPaymentDate", since)) == []
    assert box.records("InvoicePaymentDate") == [
        {"Company": "100", "InvoiceSeries": "1", "InvoiceNo": 2, "PaymentDate": "2026-02-01", "Note": "PR1"}
    ]
    without_note = record("oInvoicePaymentDateItem", transfer=None, InvoiceSeries="1", InvoiceNo=2, PaymentDate="2026-02-01T00:00:00")
    assert await box.code("SetInvoicePaymentDate", without_note) == (1, "Field Note is required on InvoicePaymentDate")


async def test_custom_settings_are_inserted_once_updated_and_filtered(box: PrimeBox) -> None:
    def item(**fields: str) -> str:
        return record("CustomSettingsItem", transfer=None, **{"Type": "ConnectLookup", "Setting": "Objects"} | fields)

    assert (await box.code("UpdateCustomSetting", item(Value="{}")))[0] == 3
    assert await box.code("InsertCustomSetting", item(Value="{}")) == (0, "OK")
    assert await box.code("InsertCustomSetting", item(Value="{}", Company="100")) == (0, "OK")
    assert (await box.code("InsertCustomSetting", item(Value="[]")))[0] == 1
    assert await box.code("UpdateCustomSetting", item(Value="[]")) == (0, "OK")

    async def values(inner: str) -> list[str]:
        return [row.findtext(f"{PALETTE}Value") for row in await box.call("ListCustomSettings", inner)]

    assert await values("") == ["[]", "{}"]
    assert await values("<p:CompanyIsNull>true</p:CompanyIsNull>") == ["[]"]
    assert await values("<p:sCompany>100</p:sCompany>") == ["{}"]
    assert await values("<p:sSetting>None</p:sSetting>") == []


async def test_a_listed_invoice_carries_its_lines_with_dates_as_date_times(box: PrimeBox) -> None:
    box.load(
        "Invoice",
        {
            "InvoiceNo": 1,
            "InvoiceDate": "2026-01-02",
            "AccountCoding": [
                {"Account": "6000", "Amount": "100.00", "Object1": "10"},
                {"Type": 2, "Account": "2640", "Amount": "25", "VatCode": "25"},
                {"Type": 0, "Account": "2440", "Amount": "-125"},
            ],
        },
    )
    [invoice] = await box.call("ListInvoicesReadyForFinalRecording", "<p:UpdateQueueStatus>0</p:UpdateQueueStatus>")
    found = {
        name: invoice.findtext(f"{PALETTE}{name}") for name in ("Amount", "VatAmount", "InvoiceDate", "DueDate", "Currency", "UseDiscount")
    }
    assert found == {
        "Amount": "125", "VatAmount": "25", "InvoiceDate": "2026-01-02T00:00:00", "DueDate": "2026-02-01T00:00:00", "Currency": "USD",
        "UseDiscount": "false",
    }  # fmt: skip
    lines = invoice.findall(f"{PALETTE}AccountCoding")
    assert [(line.findtext(f"{PALETTE}Type"), line.findtext(f"{PALETTE}Amount")) for line in lines] == [
        ("1", "100"),
        ("2", "25"),
        ("0", "-125"),
    ]
    assert box.records("Invoice")[0]["AccountCoding"][0]["Amount"] == "100"


# -- faults on demand


async def test_a_duplicated_delivery_is_an_upsert_and_counts_one_row(box: PrimeBox) -> None:
    box.kernel.faults.replace([{"where": "prime:InsertAccount", "kind": "duplicate"}])
    assert await box.insert("Account", Account="1") == (0, "OK")
    assert len(box.records("Account")) == 1


async def test_a_dropped_answer_after_commit_leaves_the_record_written(box: PrimeBox) -> None:
    box.kernel.faults.replace([{"where": "prime:InsertAccount", "kind": "drop_after_commit", "count": 1}])
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await box.insert("Account", Account="1")
    assert len(box.records("Account")) == 1
