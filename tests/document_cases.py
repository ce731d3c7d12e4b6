"""Invoices as Prime's web service lists them, settings, and a Sage that has everything they name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from connect.documents.invoice import Invoice, InvoiceSettings, read_invoice
from connect.documents.preflight import AccountFacts, Facts, Needs, VendorFacts

OBJECTS = {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3}
SETTINGS = InvoiceSettings(
    company="100",
    entity="",
    objects=OBJECTS,
    base_currency="USD",
    today=date(2026, 11, 25),
    show_invoice_base_url="https://prime.example/acme",
)


def settings(**changes: Any) -> InvoiceSettings:
    return replace(SETTINGS, **changes)


def line(amount: str = "100.00", kind: str = "1", **changes: Any) -> dict[str, Any]:
    """A coding line of the wire."""
    return {
        "Type": kind,
        "Account": "6000" if kind == "1" else "2641",
        "Object1": "D1" if kind == "1" else "",
        "Object2": "L1" if kind == "1" else "",
        "Currency": "USD",
        "Amount": amount,
        "BaseAmount": amount,
        "LineVatAmount": "0",
        "VatCode": "25",
        "VatDeduction": "0",
        "ForwardInvoice": "0",
    } | changes


def record(*lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An invoice of the wire; its total is what its expense and VAT lines add up to."""
    coding = list(lines) or [line("100.00", Note="Paper"), line("25.00", "2")]
    total = sum((Decimal(one["Amount"]) for one in coding if one["Type"] != "0"), Decimal(0))
    return {
        "InvoiceSeries": "1",
        "InvoiceNo": "1001",
        "Company": "100",
        "Credit": "0",
        "Type": "0",
        "Status": "4",
        "Blocked": "0",
        "Supplier": "V1",
        "SupplierInvoiceNo": "INV-77",
        "InvoiceDate": "2026-11-01T00:00:00",
        "DueDate": "2026-12-01T00:00:00",
        "AccountCodingDate": "2026-11-20",
        "Currency": "USD",
        "Amount": f"{total:f}",
        "VoucherNo": "",
        "PaymentDate": "2026-11-28T00:00:00",
        "PayReference": "7350 0001",
        "Note": "Paper for the office",
        "AccountCoding": coding,
    } | changes


def invoice(*lines: dict[str, Any], **changes: Any) -> Invoice:
    return read_invoice(record(*lines, **changes), "DEMO")


def everything(needed: Needs, **changes: Any) -> Facts:
    """A Sage in which everything that is needed is as it should be."""
    return Facts(
        **{
            "vendors": dict.fromkeys(needed.vendors, VendorFacts()),
            "accounts": dict.fromkeys(needed.accounts, AccountFacts()),
            "values": dict.fromkeys(needed.values, "active"),
            "tax_codes": needed.tax_codes,
            "numbers": {},
            "currencies": frozenset(needed.currencies),
            "base_currencies": frozenset({"USD"}),
            "rates": dict.fromkeys(needed.rates, date(2026, 1, 1)),
            "folders": frozenset(needed.folders),
            "closed_until": date(2026, 10, 31),
        }
        | changes
    )
