"""What people approve and pay in the demo's Prime: invoices with a PDF each, and payments settled by Rillion Pay; as Prime's records."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

COMPANY: Final = "100"
SERIES: Final = "1"
FIRST: Final = 9000
INVOICES: Final = 14
UNKNOWN, HELD, CREDIT, PAID, INSTALMENTS, PARTLY, BEFORE_BILL, TOO_MUCH, NO_ACCOUNT, CANCELLED = range(10)
"""What becomes of which invoice; those after them are booked, and that is all."""
UNKNOWN_SUPPLIER, WRONG_ACCOUNT = "UNKNOWN", "9999999"
SETTLED: Final = 4  # payments that Sage can make; three more are scenarios of the guide in which it cannot


@dataclass(frozen=True)
class Coding:
    """What Sage has, to code invoices on. `vendors`: one an invoice. `today`: all days are counted from it."""

    vendors: Sequence[str]
    account: str
    department: str
    location: str
    today: date

    def day(self, ago: int) -> str:
        return (self.today - timedelta(days=ago)).isoformat()


def number(which: int) -> int:
    return FIRST + which


def supplier_number(which: int) -> str:
    return f"DEMO-{which:04d}"


def amount(which: int) -> str:
    return f"{100 + which}.50"


def invoices(coding: Coding) -> list[dict[str, Any]]:
    """Approved invoices. The first is of a supplier unknown in Sage; the second is coded on an account that Sage does not have."""
    return [_invoice(which, coding) for which in range(INVOICES)]


def _invoice(which: int, coding: Coding) -> dict[str, Any]:
    sign = "" if which == CREDIT else "-"
    return {
        "InvoiceSeries": SERIES,
        "InvoiceNo": number(which),
        "Company": COMPANY,
        "Status": 4,
        "Credit": str(int(which == CREDIT)),
        "Supplier": UNKNOWN_SUPPLIER if which == UNKNOWN else coding.vendors[which],
        "SupplierInvoiceNo": supplier_number(which),
        "Currency": "USD",
        "Amount": amount(which),
        "InvoiceDate": coding.day(20),
        "DueDate": coding.day(-10),
        "AccountCodingDate": coding.day(19),
        "PayReference": f"OCR {which:06d}",
        "Note": "Approved in the demo",
        "AccountCoding": [
            {"Type": 0, "Account": "2000", "Amount": f"{sign}{amount(which)}"},
            {
                "Type": 1,
                "Account": WRONG_ACCOUNT if which == HELD else coding.account,
                "Amount": amount(which),
                "Object1": coding.department,
                "Object2": coding.location,
            },
        ],
    }


def cancellation(which: int) -> dict[str, Any]:
    """Somebody wants a booked invoice undone: Prime lists it for deletion."""
    return {"InvoiceSeries": SERIES, "InvoiceNo": number(which), "Status": 2}


def payments(booked: Sequence[dict[str, Any]], coding: Coding) -> list[dict[str, Any]]:
    """What Pay has settled of these invoices (as Prime has them now), and three scenarios of the guide in which Sage cannot pay."""
    by_number = {int(one["InvoiceNo"]): one for one in booked}

    def paid(which: int, name: str, part: str, **changes: Any) -> dict[str, Any]:
        invoice = by_number[number(which)]
        return {
            "id": f"demo-{name}",
            "company": COMPANY,
            "supplier": invoice["Supplier"],
            "supplierName": f"Supplier {invoice['Supplier']}",
            "invoiceNumber": str(invoice["InvoiceNo"]),
            "supplierInvoiceNo": invoice["SupplierInvoiceNo"],
            "voucherNo": str(invoice["VoucherNo"]),
            "amount": part,
            "currency": invoice["Currency"],
            "paymentMethod": "ACH",
            "paymentReferenceId": f"PR-{which:04d}",
            "paymentDate": coding.day(5),
            "processingDates": {"paymentSettledDate": f"{coding.day(4)}T09:00:00"},
        } | changes

    return [
        paid(PAID, "whole", amount(PAID)),
        paid(INSTALMENTS, "first-instalment", "60.00"),
        paid(INSTALMENTS, "second-instalment", "44.50"),
        paid(PARTLY, "part", "5.00"),
        paid(BEFORE_BILL, "scenario-2", amount(BEFORE_BILL), paymentDate=coding.day(40)),
        paid(TOO_MUCH, "scenario-4", "1000.00"),
        paid(NO_ACCOUNT, "scenario-5", amount(NO_ACCOUNT), paymentMethod="VirtualCard"),
    ]


def image(invoice: dict[str, Any]) -> dict[str, Any]:
    """A PDF of one page that says which invoice it is."""
    drawn = f"BT /F1 24 Tf 72 720 Td (Invoice {invoice['SupplierInvoiceNo']}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    pdf, places = b"%PDF-1.4\n", []
    for at, content in enumerate(objects, 1):
        places.append(len(pdf))
        pdf += b"%d 0 obj\n%b\nendobj\n" % (at, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    pdf += b"xref\n0 6\n0000000000 65535 f \n%btrailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (table, len(pdf))
    return {
        "InvoiceSeries": invoice["InvoiceSeries"],
        "InvoiceNo": invoice["InvoiceNo"],
        "FileName": f"{invoice['SupplierInvoiceNo']}.pdf",
        "FileType": "PDF",
        "Image": base64.b64encode(pdf).decode(),
    }
