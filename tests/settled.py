"""Payments that Rillion Pay has settled, and a company in Sage that can pay: what integration tests of ExportPayments share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from world import Connect, Sandbox, config_text

BILL, PAYMENT = "accounts-payable/bill", "accounts-payable/payment"
GENERAL = 'StartOn = 2026-01-01\nBankAccountMapping = { "0042" = "BOA" }'


def fill(box: Sandbox, *bills: tuple[int, str], **changes: Any) -> dict[int, str]:
    """A company that can pay, and bills (number, amount) of vendor V1, dated 2026-03-02. Returns their keys."""
    box.load("company-config/location", [{"id": "4", "name": "Main"}])
    box.load("general-ledger/account", [{"id": "6000", "name": "Rent"}])
    box.load("accounts-payable/vendor", [{"id": "V1", "name": "National Grid"}, {"id": "V2", "name": "Other"}])
    box.load("cash-management/checking-account", [{"id": "BOA"}])
    box.load("cash-management/credit-card-account", [{"id": "VISA"}])
    box.call("/_sandbox/prime/load", {"kind": "PaymentConfiguration", "records": [{"company": "100", "bankAccountIdentifier": 42}]})
    keys = box.load(BILL, [bill(number, amount, **changes) for number, amount in bills])["keys"] if bills else []
    return {number: str(key) for (number, _), key in zip(bills, keys, strict=True)}


def bill(number: int, amount: str, **changes: Any) -> dict[str, Any]:
    return {
        "billNumber": f"INV-{number}",
        "vendor": {"id": "V1"},
        "createdDate": "2026-03-02",
        "postingDate": "2026-03-02",
        "dueDate": "2026-03-31",
        "referenceNumber": f"OCR {number}",
        "description": f"Rent {number}",
        "currency": {"baseCurrency": "USD", "txnCurrency": "USD"},
        "lines": [{"glAccount": {"id": "6000"}, "txnAmount": amount, "dimensions": {"location": {"id": "4"}}}],
        "state": "posted",
    } | changes


def pay(box: Sandbox, *payments: dict[str, Any]) -> None:
    answer = box.call("/_sandbox/prime/load", {"kind": "Payment", "records": list(payments)})
    assert not answer["errors"], answer


def payment(number: int, key: str, paid: str, *, name: str = "", **changes: Any) -> dict[str, Any]:
    """A payment of bill INV-number that has settled."""
    return {
        "id": name or f"pay-{number}",
        "company": "100",
        "supplier": "V1",
        "supplierName": "National Grid",
        "invoiceNumber": str(number),
        "supplierInvoiceNo": f"INV-{number}",
        "voucherNo": key,
        "amount": paid,
        "currency": "USD",
        "paymentMethod": "ACH",
        "paymentReferenceId": f"R{number}",
        "paymentDate": "2026-03-20",
        "processingDates": {"paymentSettledDate": "2026-03-21T09:00:00"},
    } | changes


def connect_to(
    box: Sandbox, folder: Path, *, general: str = GENERAL, more: str = "settle_s = 0.5", slots: int = 6, redis_url: str | None = None
) -> Connect:
    """A configuration with ExportPayments alone. `more`: further keys of the connection."""
    text = config_text(box, jobs=("ExportPayments",), general=general, slots=slots, redis_url=redis_url)
    return Connect(folder, text.replace("sage_slots", f"{more}\nsage_slots", 1))


def receipts(box: Sandbox) -> dict[str, list[dict[str, Any]]]:
    """What Pay was told of each payment, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in box.call("/_sandbox/prime/records?kind=PaymentReceipt&company=100")["records"]:
        found.setdefault(one["PaymentId"], []).append(one)
    return found


def booked(box: Sandbox) -> list[dict[str, Any]]:
    payments: list[dict[str, Any]] = box.call("/_sandbox/books")["payments"]
    return payments
