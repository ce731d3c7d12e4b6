"""Invoices approved in Prime, and a company in Sage that can book them: what tests of the money path share."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from world import Connect, Sandbox, config_text

GENERAL = 'StartOn = 2026-01-01\nShowInvoiceBaseURL = "https://prime.example.com"'
PDF = b"%PDF-1.4 made for a test\n" * 40


def fill(box: Sandbox) -> None:
    """A company that can book: two accounts, a vendor, dimensions, the folder."""
    box.load("company-config/location", [{"id": "4", "name": "Main"}])
    box.load("company-config/department", [{"id": "11", "name": "Sales"}])
    box.load("general-ledger/account", [
        {"id": "6000", "name": "Rent", "status": "active", "accountType": "incomeStatement"},
        {"id": "2640", "name": "VAT", "status": "active", "accountType": "balanceSheet"},
        {"id": "6999", "name": "Closed", "status": "inactive", "accountType": "incomeStatement"},
    ])  # fmt: skip
    box.load("accounts-payable/vendor", [{"id": "V1", "name": "Vendor 1"}, {"id": "V2", "name": "Vendor 2", "isOnHold": True}])
    box.load("company-config/folder", [{"id": "Receipts"}])


def invoice(number: int, *, supplier: str = "V1", account: str = "6000", amount: str = "125.00", **more: Any) -> dict[str, Any]:
    return {
        "InvoiceSeries": "1",
        "InvoiceNo": number,
        "Company": "100",
        "Status": 4,
        "Supplier": supplier,
        "SupplierInvoiceNo": f"INV-{number}",
        "Currency": "USD",
        "Amount": amount,
        "InvoiceDate": "2026-03-01",
        "DueDate": "2026-03-31",
        "AccountCodingDate": "2026-03-02",
        "PayReference": "OCR 123",
        "Note": "Office rent",
        "AccountCoding": [
            {"Type": 0, "Account": "2440", "Amount": f"-{amount}"},
            {"Type": 1, "Account": account, "Amount": "100.00", "Object1": "11", "Object2": "4", "Note": "March"},
            {"Type": 2, "Account": "2640", "Amount": "25.00"},
        ],
        **more,
    }


def load(box: Sandbox, *records: dict[str, Any], images: int = 1, content: bytes = PDF) -> None:
    """Approve invoices in Prime, each with so many files of this content."""
    answer = box.call("/_sandbox/prime/load", {"kind": "Invoice", "records": list(records)})
    assert not answer["errors"], answer
    packed = base64.b64encode(content).decode()
    files = [
        {
            "InvoiceSeries": one["InvoiceSeries"], "InvoiceNo": one["InvoiceNo"], "FileName": f"page{n}.pdf", "FileType": "PDF",
            "Image": packed,
        }
        for one in records for n in range(images)
    ]  # fmt: skip
    if files:
        answer = box.call("/_sandbox/prime/load", {"kind": "Image", "records": files})
        assert not answer["errors"], answer


def connect_to(
    box: Sandbox, folder: Path, *, general: str = GENERAL, more: str = "settle_s = 0.5", slots: int = 6, redis_url: str | None = None
) -> Connect:
    """A configuration with ExportInvoices alone. `more`: further keys of the connection."""
    text = config_text(box, jobs=("ExportInvoices",), general=general, slots=slots, redis_url=redis_url)
    return Connect(folder, text.replace("sage_slots", f"{more}\nsage_slots", 1))


def invoices(box: Sandbox) -> dict[int, dict[str, Any]]:
    """What Prime holds of each invoice, by number."""
    return {int(record["InvoiceNo"]): record for record in box.call("/_sandbox/prime/records?kind=Invoice&company=100")["records"]}


def receipts(box: Sandbox) -> dict[int, list[str]]:
    """The kinds of receipt that Prime got for each invoice: "1" booked, "2" handed back."""
    found: dict[int, list[str]] = {}
    for one in box.call("/_sandbox/books")["receipts"]:
        found.setdefault(int(one["InvoiceNo"]), []).append(str(one["QueueStatus"]))
    return found
