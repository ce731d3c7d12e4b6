"""Prime's REST API v1.0 as a client on the wire meets it: tokens, registers, receipts, images, Rillion Pay."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prime_box import PrimeBox, record


@pytest.fixture
async def box() -> AsyncIterator[PrimeBox]:
    async with PrimeBox() as opened:
        yield opened


def codes(answer: Any) -> list[int]:
    assert [row["index"] for row in answer["results"]] == list(range(len(answer["results"])))
    return [row["resultCode"] for row in answer["results"]]


# -- tokens

FORM = {"grant_type": "client_credentials", "client_id": "connect", "client_secret": "demo-secret"}


async def test_the_identity_servers_token_only_opens_authorize_and_primes_only_the_rest(box: PrimeBox) -> None:
    status, _, raw = await box.raw("POST", "/identity/connect/token", data=FORM)
    assert status == 200
    identity = raw.split(b'"access_token":"')[1].split(b'"')[0].decode()
    bearer = {"Authorization": f"Bearer {identity}"}
    assert (await box.raw("GET", "/api/v1.0/payment/status", headers=bearer))[0] == 401
    body = {"tenantId": "demo", "user": "connect", "role": "integration"}
    assert (await box.raw("POST", "/api/v1.0/Authorize", json=body))[0] == 401
    status, _, raw = await box.raw("POST", "/api/v1.0/Authorize", json=body, headers=bearer)
    assert (status, b'"expiresIn":3600' in raw) == (200, True)
    prime = raw.split(b'"accessToken":"')[1].split(b'"')[0].decode()
    assert (await box.raw("GET", "/api/v1.0/payment/status", headers={"Authorization": f"Bearer {prime}"}))[0] == 200
    for wrong, refused in (({"role": "admin"}, 403), ({"tenantId": "other"}, 403)):
        assert (await box.raw("POST", "/api/v1.0/Authorize", json=body | wrong, headers=bearer))[0] == refused
    assert (await box.raw("POST", "/api/v1.0/Authorize", json={}, headers=bearer))[0] == 400


@pytest.mark.parametrize("wrong", [{"client_secret": "no"}, {"client_id": "no"}, {"grant_type": "password"}])
async def test_a_wrong_client_gets_no_token(box: PrimeBox, wrong: dict[str, str]) -> None:
    assert (await box.raw("POST", "/identity/connect/token", data=FORM | wrong))[0] == 400


async def test_a_token_expires_with_time_and_on_demand(box: PrimeBox) -> None:
    assert (await box.rest("GET", "/payment/status"))[0] == 200
    box.kernel.clock.advance(3601)
    assert (await box.rest("GET", "/payment/status"))[0] == 401
    box._token = ""
    assert (await box.rest("GET", "/payment/status"))[0] == 200
    box.prime.expire_tokens()
    assert (await box.rest("GET", "/payment/status"))[0] == 401


# -- registers

FRAME = {"company": "100", "keyType": 1, "externalId": "7", "externalSource": "SageIntacct"}
KEPT = {"Company": "100", "KeyType": 1, "ExternalId": "7", "ExternalSource": "SageIntacct"}
REGISTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Company": ({"company": "200", "name": "Second", "baseCurrency": "NOK"}, {"Company": "200", "Name": "Second", "BaseCurrency": "NOK"}),
    "ObjectType": (
        {"objectTypeNumber": 1, "name": "Department", "externalId": "7"},
        {"ObjectTypeNo": 1, "Name": "Department", "ExternalId": "7"},
    ),
    "Object": (
        FRAME | {"objectTypeNumber": 2, "object": "OSL", "name": "Oslo", "description": "Head office", "validTo": "0001-01-01"},
        KEPT | {"ObjectTypeNo": 2, "Object": "OSL", "Name": "Oslo", "Description": "Head office", "ValidTo": "0001-01-01"},
    ),
    "Account": (
        FRAME
        | {
            "account": "6000",
            "name": "Rent",
            "validTo": "9999-12-31T00:00:00",
            "vatCodeMandatory": 0,
            "useObjects": [{"objectTypeNumber": 1, "use": 2, "default": "10"}, {"objectTypeNumber": 2, "use": 1}],
        },
        KEPT
        | {
            "Account": "6000",
            "Name": "Rent",
            "ValidTo": "9999-12-31",
            "VatCodeMandatory": 0,
            "UseObject1": 2,
            "DefaultObject1": "10",
            "UseObject2": 1,
        },
    ),
    "VatCode": (
        FRAME | {"vatCode": "25", "name": "25 %", "percentage": 25.0},
        KEPT | {"VatCode": "25", "Name": "25 %", "Percentage": "25"},
    ),
    "AssetType": (FRAME | {"assetType": "VEH", "name": "Vehicles"}, KEPT | {"AssetType": "VEH", "Name": "Vehicles"}),
    "Asset": (
        FRAME | {"asset": "CAR", "assetType": "VEH", "name": "A car"},
        {name: value for name, value in KEPT.items() if name != "KeyType"} | {"Asset": "CAR", "AssetType": "VEH", "Name": "A car"},
    ),
    "Currency": (
        FRAME | {"baseCurrency": "USD", "currency": "DKK", "fromAccountCodingDate": "2026-01-02", "buyingRate": "7.45380"},
        KEPT | {"BaseCurrency": "USD", "Currency": "DKK", "FromAccountCodingDate": "2026-01-02", "BuyingRate": "7.4538"},
    ),
    "Period": (
        FRAME | {"year": 2026, "period": 1, "name": "Jan", "startDate": "2026-01-01", "endDate": "2026-01-31", "closed": 0},
        KEPT | {"Year": 2026, "Period": 1, "Name": "Jan", "StartDate": "2026-01-01", "EndDate": "2026-01-31", "Closed": 0},
    ),
    "Supplier": (
        FRAME
        | {
            "supplier": "S1",
            "name": "Acme & Søn",
            "corporateIdentityNumber": "123",
            "contactPerson": "Ann Lee",
            "webAddress": "https://example.com",
            "addressLines": ["Street 1", None, None, "0150", "Oslo", "Norway"],
            "phoneNumbers": ["+47 1"],
            "blocked": 1,
            "graceDays": "30",
        },
        KEPT
        | {
            "Supplier": "S1",
            "Name": "Acme & Søn",
            "CorporateIdentityNo": "123",
            "Contact": "Ann Lee",
            "Www": "https://example.com",
            "Address1": "Street 1",
            "Address4": "0150",
            "Address5": "Oslo",
            "Address6": "Norway",
            "Tele1": "+47 1",
            "Blocked": 1,
            "GraceDays": "30",
        },
    ),
}
NO_ROLE = ("Currency", "ObjectType")


async def put(box: PrimeBox, kind: str, *items: Any) -> tuple[int, Any]:
    return await box.rest("PUT", f"/{kind.lower()}", {f"create{kind}Requests": list(items)})


@pytest.mark.parametrize("kind", REGISTERS)
async def test_a_register_is_written_kept_under_its_soap_names_and_read_back(box: PrimeBox, kind: str) -> None:
    if kind == "Asset":
        await put(box, "AssetType", REGISTERS["AssetType"][0])
    sent, kept = REGISTERS[kind]
    for _ in range(2):  # an upsert
        status, answer = await put(box, kind, sent)
        assert (status, answer) == (
            200,
            {"results": [{"index": 0, "externalId": sent.get("externalId"), "resultCode": 0, "message": "OK"}]},
        )
    assert [row for row in box.records(kind, None) if row.get("Company") != "100" or kind != "Company"] == [kept]
    path = f"/{kind.lower()}" if kind in NO_ROLE else f"/{kind.lower()}/role/integration"
    status, page = await box.rest("GET", path)
    assert (status, page["totalCount"], page["pageIndex"]) == (200, len(page["items"]), 0)
    read = page["items"][-1]
    same = {name for name in sent if name in read and read[name] == sent[name]}
    otherwise_written = {"validTo", "percentage", "buyingRate", "useObjects", "phoneNumbers", "keyType"}
    assert sent.keys() - same <= otherwise_written, read
    assert box.kernel.stats["prime"].ignored_elements == 0


async def test_soap_and_rest_leave_the_same_record(box: PrimeBox) -> None:
    await put(box, "Supplier", FRAME | {"supplier": "S1", "name": "Acme", "addressLines": ["a", "b"], "phoneNumbers": [None, "2"]})
    by_rest = box.records("Supplier")
    box.prime.reset()
    fields = {"Supplier": "S1", "Name": "Acme", "Address1": "a", "Address2": "b", "Tele2": "2"}
    await box.code("InsertSupplier", record("Supplier", **KEPT | fields))
    assert box.records("Supplier") == by_rest


async def test_some_rows_can_be_refused_and_the_others_are_written(box: PrimeBox) -> None:
    status, answer = await put(
        box,
        "Supplier",
        FRAME | {"supplier": "S1"},
        FRAME | {"supplier": "S2", "costAccount": "1"},
        FRAME | {"supplier": 3},
        "no object",
        FRAME | {"supplier": "S5", "remove": 1},
        FRAME | {"supplier": "S6", "addressLines": ["x"] * 7},
        FRAME | {"supplier": "S7", "name": "N" * 401},
        FRAME | {"supplier": "S8", "colour": "red"},
    )
    assert status == 200
    assert codes(answer) == [0, 2, 1, 1, 3, 1, 1, 0]
    assert answer["results"][1] == {
        "index": 1,
        "externalId": "7",
        "resultCode": 2,
        "message": "Supplier 'S2': CostAccount '1' does not exist as Account in company 100",
    }
    assert answer["results"][2]["message"] == "Field Supplier: value 3 is not valid, expected text"
    assert [row["Supplier"] for row in box.records("Supplier")] == ["S1", "S8"]
    assert box.kernel.stats["prime"].ignored_elements == 1


BAD = {
    "no body": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "another member": b'{"suppliers": []}',
    "no list": b'{"createSupplierRequests": {}}',
    "NaN": b'{"createSupplierRequests": [NaN]}',
    "501 records": b'{"createSupplierRequests": [' + b",".join([b"{}"] * 501) + b"]}",
    "a strange transferFromQueue": b'{"createSupplierRequests": [], "transferFromQueue": 1}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
async def test_a_body_that_cannot_be_read_is_a_400_with_words(box: PrimeBox, body: bytes) -> None:
    status, answer = await box.rest("PUT", "/supplier", body)
    assert status == 400
    assert answer["message"]


async def test_five_hundred_records_go_in_one_call(box: PrimeBox) -> None:
    status, answer = await put(box, "Account", *(FRAME | {"account": str(n)} for n in range(500)))
    assert (status, set(codes(answer)), len(box.records("Account"))) == (200, {0}, 500)


async def test_reads_come_in_pages(box: PrimeBox) -> None:
    await put(box, "Account", *(FRAME | {"account": str(n)} for n in range(7)))
    pages = [(await box.rest("GET", "/account/role/integration", PageIndex=n, PageSize=3))[1] for n in range(4)]
    assert [[item["account"] for item in page["items"]] for page in pages] == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]
    assert {page["totalCount"] for page in pages} == {7}
    for wrong in ({"PageSize": 0}, {"PageSize": 1001}, {"PageIndex": -1}, {"PageIndex": "x"}):
        assert (await box.rest("GET", "/account/role/integration", **wrong))[0] == 400


async def test_an_unknown_path_or_role_is_said_so(box: PrimeBox) -> None:
    assert (await box.rest("PUT", "/suppliers", {}))[0] == 404
    assert (await box.rest("GET", "/account"))[0] == 404
    assert (await box.rest("DELETE", "/account"))[0] == 404
    assert (await box.rest("GET", "/account/role/other"))[0] == 403


async def test_queued_rows_are_processed_on_demand_and_refused_ones_stay_queued(box: PrimeBox) -> None:
    body = {
        "createSupplierRequests": [FRAME | {"supplier": "1", "costAccount": "6000"}, FRAME | {"supplier": "2"}],
        "transferFromQueue": False,
    }
    _, answer = await box.rest("PUT", "/supplier", body)
    assert [row["message"] for row in answer["results"]] == ["Queued", "Queued"]
    assert box.records("Supplier") == []
    assert codes((await box.rest("PUT", "/supplier/ProcessSupplierInQueue"))[1]) == [2, 0]
    await put(box, "Account", FRAME | {"account": "6000"})
    assert codes((await box.rest("PUT", "/supplier/processsupplierinqueue"))[1]) == [0]
    assert len(box.records("Supplier")) == 2
    assert box.kernel.stats["prime"].calls["PUT /supplier/ProcessSupplierInQueue"] == 2


@pytest.mark.parametrize("kind", [*REGISTERS, "SupplierBankAccount"])
async def test_every_register_has_a_queue_to_process(box: PrimeBox, kind: str) -> None:
    assert await box.rest("PUT", f"/{kind.lower()}/Process{kind}InQueue") == (200, {"results": []})


async def test_bank_accounts_are_a_resource_and_stand_in_their_supplier(box: PrimeBox) -> None:
    bank = {"company": "100", "keyType": 1, "supplier": "S1", "bankAccountNo": "NO1", "name": "NO1", "defaultAccount": 0, "externalId": "9"}
    assert codes((await put(box, "SupplierBankAccount", bank))[1]) == [2]
    await put(box, "Supplier", FRAME | {"supplier": "S1"})
    _, answer = await put(box, "SupplierBankAccount", bank, bank | {"bankAccountNo": "AA"}, bank | {"bankAccountNo": None})
    assert codes(answer) == [0, 0, 1]
    assert box.records("Supplier")[0]["SupplierBankAccount"] == [
        {"BankAccount": "AA", "Name": "NO1", "Default": 0, "ExternalId": "9"},
        {"BankAccount": "NO1", "Name": "NO1", "Default": 0, "ExternalId": "9"},
    ]
    await put(box, "Supplier", FRAME | {"supplier": "S1", "name": "Acme"})
    assert len(box.records("Supplier")[0]["SupplierBankAccount"]) == 2
    _, page = await box.rest("GET", "/supplierbankaccount/role/integration")
    assert [(item["supplier"], item["bankAccountNo"]) for item in page["items"]] == [("S1", "AA"), ("S1", "NO1")]
    assert codes((await put(box, "SupplierBankAccount", bank | {"remove": 1}, bank | {"remove": 1}))[1]) == [0, 3]
    assert [account["BankAccount"] for account in box.records("Supplier")[0]["SupplierBankAccount"]] == ["AA"]


async def test_a_throttled_call_says_when_to_come_back(box: PrimeBox) -> None:
    box.kernel.faults.replace([{"where": "prime:PUT /supplier", "kind": "throttle", "count": 1, "params": {"retry_after_s": 7}}])
    url, headers = f"{box.base}/api/v1.0/supplier", {"Authorization": "Bearer x"}
    status, answered, _ = await box.raw("PUT", url, data=b"{}", headers=headers)
    assert (status, answered["Retry-After"]) == (429, "7")
    assert (await put(box, "Supplier", FRAME | {"supplier": "S1"}))[0] == 200
    assert box.kernel.stats["prime"].throttled == 1


# -- invoices


async def test_a_receipt_over_rest_is_the_soap_receipt(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1})
    receipt = {"invoiceSeries": "1", "invoiceNo": 1, "status": 4, "queueStatus": 1, "voucherNo": 12, "invoiceExternalId": "k"}
    body = {"updateInvoiceReceiptRequest": receipt, "role": "integration"}
    status, answer = await box.rest("PUT", "/invoicequeue/receipt", body)
    assert (status, answer) == (200, {"results": [{"index": 0, "externalId": "k", "resultCode": 0, "message": "OK"}]})
    assert (box.records("Invoice")[0]["queue"], box.records("InvoiceReceipt")[0]["VoucherNo"]) == ("receipted", 12)
    assert (await box.rest("PUT", "/invoicequeue/receipt", {}))[0] == 400


async def test_payment_dates_are_set_by_identity_and_by_unique_key(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1}, {"InvoiceNo": 2, "Supplier": "S1", "SupplierInvoiceNo": "F-2"})
    by_identity = {"invoiceSeries": "1", "invoiceNo": 1, "paymentDate": "2026-02-01", "note": "PR1"}
    _, answer = await box.rest("PUT", "/invoice/changeinvoicepaymentdate", {"changes": [by_identity, by_identity | {"invoiceNo": 9}]})
    assert codes(answer) == [0, 3]
    by_key = {"company": "100", "supplier": "S1", "supplierInvoiceNo": "F-2", "paymentDate": "2026-02-02", "note": "PR2"}
    _, answer = await box.rest("PUT", "/invoice/changeinvoicepaymentdatebyuq", {"changes": [by_key, by_key | {"supplier": "S9"}]})
    assert codes(answer) == [0, 3]
    assert [invoice["PaymentDate"] for invoice in box.records("Invoice")] == ["2026-02-01", "2026-02-02"]


async def test_images_are_fetched_by_links_that_end(box: PrimeBox) -> None:
    box.load("Invoice", {"InvoiceNo": 1})
    content = bytes(range(256))
    image = {"InvoiceSeries": "1", "InvoiceNo": 1, "FileType": "pdf", "Image": base64.b64encode(content).decode()}
    box.load("Image", image | {"FileName": "faktura æ 1.pdf"}, image | {"FileName": "b.xml"})
    _, answer = await box.rest("GET", "/InvoiceImagesSasToken", InvoiceSeries="1", InvoiceNumber=1)
    assert [entry["fileName"] for entry in answer["images"]] == ["faktura æ 1.pdf", "b.xml"]
    link = answer["images"][0]["url"]
    assert (await box.raw("GET", link))[::2] == (200, content)
    assert (await box.raw("GET", link.replace("sig=", "sig=0")))[0] == 403
    assert (await box.rest("GET", "/InvoiceImagesSasToken", InvoiceSeries="1", InvoiceNumber="x"))[0] == 400
    box.kernel.clock.advance(3601)
    assert (await box.raw("GET", link))[0] == 403


# -- Pay


async def test_payments_are_listed_searched_and_paged_with_amounts_as_numbers(box: PrimeBox) -> None:
    box.load("Payment", *({"id": f"p{n}", "amount": f"{n}.10", "supplierName": "Acme" if n == 2 else "Other"} for n in (1, 2, 3)))
    _, page = await box.rest("GET", "/payment", PageSize=2, PageIndex=0)
    assert [(item["id"], item["amount"], item["company"], item["currency"]) for item in page["items"]] == [
        ("p1", 1.1, "100", "USD"),
        ("p2", 2.1, "100", "USD"),
    ]
    assert page["totalCount"] == 3
    _, page = await box.rest("GET", "/payment", SearchTerm="acme")
    assert [item["id"] for item in page["items"]] == ["p2"]
    assert box.records("Payment")[0]["amount"] == "1.1"


async def test_pay_tells_its_statuses_and_each_companys_bank_account(box: PrimeBox) -> None:
    _, statuses = await box.rest("GET", "/payment/status")
    assert {"PaymentCreated", "PaymentAwaitingApproval", "PaymentApproved"} <= {status["name"] for status in statuses}
    box.load("Company", {"Company": "200", "Name": "Second"})
    box.load("PaymentConfiguration", {"company": "200", "bankAccountIdentifier": 9876})
    _, configuration = await box.rest("GET", "/payment/configuration/tenant/company")
    assert [(entry["company"], entry["bankAccountIdentifier"]) for entry in configuration] == [("100", 1234), ("200", 9876)]


async def test_payments_are_approved_cancelled_and_sent_again_and_the_audit_tells(box: PrimeBox) -> None:
    box.load("Payment", {"id": "p1"})
    _, answer = await box.rest("POST", "/payment/process/approve", {"paymentIds": ["p1", "p9"]})
    assert codes(answer) == [0, 3]
    assert box.records("Payment")[0]["paymentStatus"] == "PaymentApproved"
    assert (await box.rest("POST", "/payment/process/cancel", {"paymentIds": ["p1"], "cancelReason": "Because"}))[0] == 400
    assert (await box.rest("POST", "/payment/process/cancel", {"paymentIds": ["p1"], "cancelReason": "Voided"}))[0] == 200
    payment = box.records("Payment")[0]
    assert (payment["paymentStatus"], payment["details"]) == ("PaymentCancelled", {"cancelReason": "Voided"})
    assert codes((await box.rest("POST", "/payment/process/resend", {"paymentIds": ["p1"]}))[1]) == [0]
    _, audit = await box.rest("GET", "/payment/audit")
    assert [entry["event"] for entry in audit["items"]] == ["loaded", "approve", "cancel", "resend"]
    assert (await box.rest("POST", "/payment/process/approve", {"paymentIds": "p1"}))[0] == 400


async def test_payments_are_exported_as_csv(box: PrimeBox) -> None:
    box.load("Payment", {"id": "p1", "amount": "12.50"}, {"id": "p2", "amount": "7"})
    _, everything = await box.rest("POST", "/payment/export", {})
    _, one = await box.rest("POST", "/payment/export", {"paymentIds": ["p2"]})
    assert [len(csv.decode().splitlines()) for csv in (everything, one)] == [3, 2]
    assert ",p2," in one.decode()


async def test_a_booking_is_reported_back_once(box: PrimeBox) -> None:
    box.load("Payment", {"id": "p1", "paymentReferenceId": "PR1"})
    receipt = {"paymentId": "p1", "paymentReferenceId": "PR1", "queueStatus": 1, "externalId": "k", "externalSource": "SageIntacct"}
    refused = receipt | {"queueStatus": 2}
    assert codes((await box.rest("PUT", "/payment/receipt", refused))[1]) == [1]  # without an error's text
    assert codes((await box.rest("PUT", "/payment/receipt", refused | {"errorText": "period closed"}))[1]) == [0]
    for _ in range(2):
        assert codes((await box.rest("PUT", "/payment/receipt", receipt))[1]) == [0]
    assert codes((await box.rest("PUT", "/payment/receipt", refused | {"errorText": "no"}))[1]) == [1]
    assert codes((await box.rest("PUT", "/payment/receipt", receipt | {"paymentId": "p9"}))[1]) == [3]
    assert codes((await box.rest("PUT", "/payment/receipt", receipt | {"paymentReferenceId": "PR9"}))[1]) == [1]
    assert [(row["QueueStatus"], row.get("ErrorText")) for row in box.records("PaymentReceipt")] == [(2, "period closed"), (1, None)]
    assert box.records("Payment")[0]["externalId"] == "k"


async def test_a_prime_without_payment_receipts_says_404(box: PrimeBox) -> None:
    box.prime.settings(pay_receipt="eventLog")
    box.load("Payment", {"id": "p1"})
    assert (await box.rest("PUT", "/payment/receipt", {"paymentId": "p1", "queueStatus": 1}))[0] == 404
