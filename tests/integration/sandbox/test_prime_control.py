"""Prime's control calls: what `/_sandbox/prime/load`, `records`, `settings` and `reset` promise (design 8)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prime_box import PALETTE, PrimeBox, record


@pytest.fixture
async def box() -> AsyncIterator[PrimeBox]:
    async with PrimeBox() as opened:
        yield opened


IMAGE = base64.b64encode(b"%PDF").decode()
LOADED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Company": (
        {"Company": "200", "Name": "Second", "Erp": "sage"},
        {"Company": "200", "Name": "Second", "Erp": "sage"},
    ),
    "CustomSetting": (
        {"Company": "200", "Type": "ConnectJob", "Setting": "GetSuppliers", "Value": '{"active": true}'},
        {"Company": "200", "Type": "ConnectJob", "Setting": "GetSuppliers", "Value": '{"active": true}'},
    ),
    "ObjectType": ({"ObjectTypeNo": 1, "Name": "Department"}, {"ObjectTypeNo": 1, "Name": "Department"}),
    "Object": (
        {"Company": "200", "ObjectTypeNo": "1", "Object": "10", "Name": "Sales"},
        {"Company": "200", "KeyType": 1, "ObjectTypeNo": 1, "Object": "10", "Name": "Sales"},
    ),
    "Account": ({"Company": "200", "Account": 6000}, {"Company": "200", "KeyType": 1, "Account": "6000"}),
    "VatCode": (
        {"Company": "200", "VatCode": "25", "Name": "25 %", "Percentage": "25.00"},
        {"Company": "200", "KeyType": 1, "VatCode": "25", "Name": "25 %", "Percentage": "25"},
    ),
    "AssetType": (
        {"Company": "200", "AssetType": "VEH", "Name": "Vehicles"},
        {"Company": "200", "KeyType": 1, "AssetType": "VEH", "Name": "Vehicles"},
    ),
    "Asset": (
        {"Company": "200", "AssetType": "VEH", "Asset": "CAR", "Name": "Car"},
        {"Company": "200", "AssetType": "VEH", "Asset": "CAR", "Name": "Car"},
    ),
    "Currency": (
        {"Company": "200", "BaseCurrency": "USD", "Currency": "EUR", "FromAccountCodingDate": "2026-01-01", "BuyingRate": "1.1"},
        {
            "Company": "200",
            "KeyType": 1,
            "BaseCurrency": "USD",
            "Currency": "EUR",
            "FromAccountCodingDate": "2026-01-01",
            "BuyingRate": "1.1",
        },
    ),
    "Period": (
        {"Company": "200", "Year": 2026, "Period": 1, "Name": "Jan", "StartDate": "2026-01-01", "EndDate": "2026-01-31"},
        {"Company": "200", "KeyType": 1, "Year": 2026, "Period": 1, "Name": "Jan", "StartDate": "2026-01-01", "EndDate": "2026-01-31"},
    ),
    "Supplier": (
        {"Company": "200", "Supplier": "S1", "SupplierBankAccount": [{"BankAccount": "NO1", "Name": None}]},
        {"Company": "200", "KeyType": 1, "Supplier": "S1", "SupplierBankAccount": [{"BankAccount": "NO1"}]},
    ),
    "Image": (
        {"InvoiceSeries": "1", "InvoiceNo": 1001, "FileName": "a.pdf", "FileType": "pdf", "Image": IMAGE},
        {"InvoiceSeries": "1", "InvoiceNo": 1001, "FileName": "a.pdf", "FileType": "pdf", "Image": IMAGE},
    ),
}


@pytest.mark.parametrize("kind", LOADED)
async def test_a_record_of_every_kind_is_loaded_and_shown_as_it_is_kept(box: PrimeBox, kind: str) -> None:
    for before in ("Company", "AssetType"):
        box.load(before, LOADED[before][0])
    box.load("Invoice", {})
    given, kept = LOADED[kind]
    for _ in range(2):  # loading again changes the known record
        answer = box.prime.load(kind=kind, records=[given])
        assert (answer["loaded"], answer["errors"]) == (1, [])
    assert box.records(kind, kept.get("Company")) == [kept]
    assert box.prime.records(kind=kind)["count"] >= 1


async def test_an_invoice_needs_nothing_and_gets_what_is_required(box: PrimeBox) -> None:
    assert box.load("Invoice", {}, {}) == ["1/1001", "1/1002"]
    box.load("Supplier", {"Supplier": "S7"})
    box.load("Invoice", {"InvoiceSeries": "B", "InvoiceNo": 5, "AccountCoding": [{"Account": "6000", "Amount": "80.00"}]})
    listed = await box.call("ListInvoicesReadyForFinalRecording", "<p:UpdateQueueStatus>false</p:UpdateQueueStatus>")
    for invoice in listed:
        names = {element.tag.removeprefix(PALETTE) for element in invoice}
        assert {
            "InvoiceSeries",
            "InvoiceNo",
            "Company",
            "Supplier",
            "SupplierInvoiceNo",
            "DueDate",
            "Currency",
            "Amount",
            "Account",
        } <= names
    invoice = box.records("Invoice")[-1]
    assert (invoice["Supplier"], invoice["Amount"], invoice["queue"]) == ("S7", "80", "listed")
    [line] = invoice["AccountCoding"]
    assert (line["Type"], line["Amount"], line["Currency"]) == (1, "80", "USD")


async def test_what_cannot_be_loaded_is_said_by_index_and_the_rest_is_loaded(box: PrimeBox) -> None:
    records: list[Any] = [{"Supplier": "1"}, {"Supplier": "2", "Colour": "red"}, "text", {"Name": "x"}, {"Supplier": "5", "Company": "999"}]
    answer = box.prime.load(kind="Supplier", records=records)
    assert (answer["loaded"], answer["keys"]) == (1, ["1"])
    assert [error["index"] for error in answer["errors"]] == [1, 2, 3, 4]
    assert "has no field Colour" in answer["errors"][0]["message"]
    for kind, given, words in (
        ("Invoice", {"Company": "999"}, "Company '999' does not exist"),
        ("Invoice", {"InvoiceNo": "one"}, "Field InvoiceNo"),
        ("Invoice", {"Amount": 12.5, "AccountCoding": "none"}, "Field AccountCoding: expected a list"),
        ("Image", {"InvoiceSeries": "1", "InvoiceNo": 9, "FileName": "a", "FileType": "pdf", "Image": IMAGE}, "does not exist"),
        ("Image", {"InvoiceSeries": "1", "InvoiceNo": 9, "FileName": "a", "FileType": "pdf", "Image": "%"}, "not base64"),
        ("Payment", {"amount": "a lot"}, "Field amount"),
        ("Payment", {"colour": "red"}, "no field colour"),
        ("PaymentConfiguration", {"company": "100"}, "bankAccountIdentifier"),
        ("CustomSetting", {"Type": "ConnectJob"}, "Field Setting is required"),
    ):
        assert words in box.prime.load(kind=kind, records=[given])["errors"][0]["message"]


async def test_an_unknown_kind_or_setting_is_refused_with_the_known_ones(box: PrimeBox) -> None:
    with pytest.raises(ValueError, match=r"kind is 'Vendor', expected one of Account, "):
        box.prime.load(kind="Vendor", records=[])
    with pytest.raises(TypeError, match="records must be a list"):
        box.prime.load(kind="Supplier", records={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind is 'Vendor'"):
        box.prime.records(kind="Vendor")
    with pytest.raises(ValueError, match="no setting speed"):
        box.prime.settings(speed=1)
    with pytest.raises(ValueError, match="expected accept or refuse"):
        box.prime.settings(receipt_for_returned="maybe")


async def test_records_are_narrowed_to_a_company_and_ordered_by_key(box: PrimeBox) -> None:
    box.load("Company", {"Company": "200", "Name": "Second"})
    box.load("Account", *({"Company": company, "Account": number} for company in ("200", "100") for number in ("9", "10", "1")))
    assert [row["Account"] for row in box.records("Account", "200")] == ["1", "10", "9"]
    assert box.prime.records(kind="Account")["count"] == 6


async def test_a_payment_gets_what_it_lacks(box: PrimeBox) -> None:
    [key] = box.load("Payment", {"supplier": "S1", "processingDates": {"paymentSettledDate": "2026-02-01"}})
    [payment] = box.records("Payment")
    assert (payment["id"], payment["paymentStatus"], payment["paymentReferenceId"]) == (key, "PaymentCreated", "PR000001")
    assert payment["processingDates"] == {"paymentSettledDate": "2026-02-01"}


async def test_a_reset_leaves_the_first_companies_and_the_first_settings(box: PrimeBox) -> None:
    box.load("Company", {"Company": "200", "Name": "Second"})
    box.load("Account", {"Account": "1"})
    box.load("Invoice", {"InvoiceNo": 1})
    receipt = record("InvoiceReceipt", InvoiceSeries="1", InvoiceNo=1, Status=4, QueueStatus=1, VoucherNo=1)
    await box.code("SendInvoiceReply", receipt)
    assert box.prime.books()["receipts"][0]["VoucherNo"] == 1
    box.prime.settings(version="7.1.0.996", receipt_for_returned="refuse", pay_receipt="off")
    assert (await box.call("GetVersion")).text == "7.1.0.996"
    box.prime.reset()
    assert box.prime.companies == ["100"]
    assert box.records("Account") == box.records("Invoice") == box.prime.books()["receipts"] == []
    assert box.prime.settings() == {
        "version": "8.146.8.3086",
        "receipt_for_returned": "accept",
        "pay_receipt": "receipt",
        "standard_accounts": "set",
        "operation_names": {},
    }
    assert await box.insert("Account", Account="1") == (0, "OK")
    assert (await box.rest("GET", "/account/role/integration"))[1]["totalCount"] == 1


async def test_events_are_kept_with_their_environment(box: PrimeBox) -> None:
    item = record("EventLogItem", transfer=None, EventType="Error", Source="Connect", Message="refused &amp; gone")
    assert await box.code("InsertEventLog", item) == (0, "OK")
    assert box.records("EventLog") == [{"Environment": "DEMO", "EventType": "Error", "Source": "Connect", "Message": "refused & gone"}]
