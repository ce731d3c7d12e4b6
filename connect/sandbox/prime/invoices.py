"""Invoices that wait for the ERP: what is listed, what a receipt does, payment dates and images (prime.md 2.8, 6.1).

A listed invoice stays listed until a receipt arrives or UpdateQueueStatus = true was used. Receipt 1 sets the voucher and removes it,
receipt 2 keeps the error and hands it back to a person; loading the same invoice again is that person sending it again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from connect.sandbox.prime.reading import read_loaded
from connect.sandbox.prime.tables import (
    INVALID,
    INVOICE,
    INVOICE_IMAGE,
    INVOICE_RECEIPT,
    NOT_FOUND,
    PAYMENT_DATE,
    PAYMENT_DATE_BY_UQ,
    UNKNOWN_REFERENCE,
    Record,
    Refused,
    read_decimal,
)

READY_FOR_DELETION: Final = 2
READY_FOR_FINAL_RECORDING: Final = 4
RETURNED: Final = 2

Identity = tuple[str, int]
"""(InvoiceSeries, InvoiceNo)."""

_LINE_DEFAULTS: Final[Record] = {"Type": 1, "Amount": "0", "LineVatAmount": "0", "VatDeduction": "0", "ForwardInvoice": 0}
_DEFAULTS: Final[Record] = {
    "Credit": "0", "Type": 0, "Status": READY_FOR_FINAL_RECORDING, "Classified": "0", "Blocked": "0",
    "FeeAmount1": "0", "FeeAmount2": "0", "FeeAmount3": "0",
    "DebtAccount": "2440", "ArrivalAccountCoded": "0", "Asset": "0", "PurchaseOrderMatch": 0, "ContractMatch": 0,
    "UseDiscount": False, "DiscountGrossAmount": False, "DiscountPercentage": "0",
}  # fmt: skip


class Invoices:
    """The invoices of one environment.

    `receipt_for_returned`: whether a receipt for an invoice that was handed back is taken ("accept") or refused ("refuse");
    what a real Prime does is not known.
    """

    def __init__(self) -> None:
        self.receipt_for_returned: Literal["accept", "refuse"] = "accept"
        self.receipts: list[Record] = []
        self.payment_dates: list[Record] = []
        self.waiting_receipts: list[Record] = []
        self._invoices: dict[Identity, Record] = {}
        self._queue: dict[Identity, str] = {}
        self._last_receipt: dict[Identity, Record] = {}
        self._last_payment_date: dict[Identity, Record] = {}
        self._images: dict[Identity, list[Record]] = {}
        self._highest_no: dict[str, int] = {}

    # -- loading

    def load(self, given: Record, *, company: str, currency: str, supplier: str, today: date) -> str:
        """Add an invoice, or send a known one again with changes. Required fields left out get defaults. Raises Refused."""
        series = str(given.get("InvoiceSeries") or "1")
        number = given.get("InvoiceNo") or 1 + self._highest_no.get(series, 1000)
        key = self._identity(read_loaded(INVOICE, {"InvoiceSeries": series, "InvoiceNo": number}))
        self._highest_no[series] = max(key[1], self._highest_no.get(series, 1000))
        known = self._invoices.get(key)
        changes = read_loaded(INVOICE, _with_line_defaults(given, known, currency))
        record = (known or {}) | changes | {"InvoiceSeries": key[0], "InvoiceNo": key[1]}
        lines = record.get("AccountCoding") or []
        dated = record.get("InvoiceDate") or today.isoformat()
        total = _sum(line for line in lines if line["Type"] in (1, 2))
        vat = _sum(line for line in lines if line["Type"] == 2)
        defaults = _DEFAULTS | {
            "Company": company,
            "Supplier": supplier,
            "SupplierInvoiceNo": f"INV-{key[1]}",
            "InvoiceDate": dated,
            "DueDate": (date.fromisoformat(dated[:10]) + timedelta(days=30)).isoformat(),
            "AccountCodingDate": today.isoformat(),
            "Currency": currency,
            "Amount": total,
            "VatAmount": vat,
        }
        record = defaults | _without_none(record)
        record = {"BaseAmount": record["Amount"], "BaseVatAmount": record["VatAmount"], "PaymentAmount": record["Amount"]} | record
        self._invoices[key] = record
        if record["Status"] in (READY_FOR_FINAL_RECORDING, READY_FOR_DELETION):
            self._queue[key] = "listed"
        elif record.get("VoucherNo") is not None:
            self._queue[key] = "receipted"
        else:
            self._queue.pop(key, None)
        return f"{key[0]}/{key[1]}"

    def load_image(self, given: Record) -> str:
        """Add a file to an invoice, or replace the one of the same name. Raises Refused."""
        record = read_loaded(INVOICE_IMAGE, given)
        _require_all(record, INVOICE_IMAGE.required, "Image")
        try:
            base64.b64decode(record["Image"], validate=True)
        except binascii.Error as error:
            raise Refused(INVALID, f"Field Image: not base64: {error}") from None
        key = self._identity(record)
        if key not in self._invoices:
            raise Refused(UNKNOWN_REFERENCE, f"Image: invoice {key[0]}/{key[1]} does not exist")
        files = self._images.setdefault(key, [])
        files[:] = [file for file in files if file["FileName"] != record["FileName"]] + [record]
        return f"{key[0]}/{key[1]}/{record['FileName']}"

    # -- listing

    def ready(
        self, status: int, *, company: str | None, companies: set[str] | None, limit: int | None, mark_exported: bool
    ) -> list[Record]:
        """Invoices listed with this status; `companies` narrows to those of one ERP. `mark_exported`: they are not listed again."""
        found: list[Record] = []
        for key, record in self._invoices.items():
            if limit is not None and len(found) >= limit:
                break
            if self._queue.get(key) != "listed" or record["Status"] != status or not _of(record, company, companies):
                continue
            found.append(record)
            if mark_exported:
                self._queue[key] = "exported"
        return found

    def missing_payment_date(self, since: str, *, company: str | None, companies: set[str] | None) -> list[Record]:
        """Booked invoices, by accounting date, that have no payment date yet."""
        return [
            record
            for key, record in self._invoices.items()
            if self._queue.get(key) == "receipted"
            and record["Status"] != READY_FOR_DELETION
            and record.get("PaymentDate") is None
            and record["AccountCodingDate"] >= since
            and _of(record, company, companies)
        ]

    def images(self, series: str, number: int) -> list[Record]:
        return self._images.get((series, number), [])

    def records(self) -> Iterator[Record]:
        """All invoices by identity, with the `queue` they stand in."""
        for key in sorted(self._invoices):
            yield self._invoices[key] | ({"queue": self._queue[key]} if key in self._queue else {})

    def image_records(self) -> Iterator[Record]:
        for key in sorted(self._images):
            yield from self._images[key]

    # -- answers from the ERP

    def receipt(self, given: Record) -> None:
        """Take a receipt. The same one twice changes nothing. Raises Refused."""
        _require_all(given, INVOICE_RECEIPT.required, "InvoiceReceipt")
        key = self._identity(given)
        invoice = self._get(key)
        receipt = _without_none(given)
        queue = self._queue.get(key)
        if queue in ("receipted", "returned") and receipt == self._last_receipt.get(key):
            return
        where = f"invoice {key[0]}/{key[1]}"
        if receipt["Status"] != invoice["Status"]:
            raise Refused(
                INVALID, f"Field Status: value {receipt['Status']} is not the status {invoice['Status']} with which {where} was exported"
            )
        if queue == "receipted":
            raise Refused(INVALID, f"Field QueueStatus: {where} has its receipt already")
        if queue is None:
            raise Refused(INVALID, f"Field Status: {where} was not exported")
        if queue == "returned" and self.receipt_for_returned == "refuse":
            raise Refused(INVALID, f"Field QueueStatus: {where} has been handed back")
        if receipt["QueueStatus"] == RETURNED:
            if "ErrorText" not in receipt:
                raise Refused(INVALID, "Field ErrorText is required on InvoiceReceipt when QueueStatus is 2")
            self._queue[key] = "returned"
        else:
            voucher = {
                "VoucherSeries": receipt.get("VoucherSeries"),
                "VoucherNo": receipt.get("VoucherNo"),
                "ExternalId": receipt.get("InvoiceExternalId"),
                "ExternalSource": receipt.get("InvoiceExternalSource"),
                "ArrivalAccountCodingDate": receipt.get("ArrivalAccountCodingDate"),
            }
            self._invoices[key] = invoice | _without_none(voucher)
            self._queue[key] = "receipted"
        self._last_receipt[key] = receipt
        self.receipts.append({"Company": invoice["Company"]} | receipt)

    def set_payment_date(self, given: Record) -> None:
        """Set the date of final payment. The same date and note twice change nothing. Raises Refused."""
        _require_all(given, PAYMENT_DATE.required, "InvoicePaymentDate")
        key = self._identity(given)
        invoice = self._get(key)
        entry = {"Company": invoice["Company"]} | {name: given[name] for name in PAYMENT_DATE.required}
        if self._last_payment_date.get(key) == entry:
            return
        self._last_payment_date[key] = entry
        self._invoices[key] = invoice | {"PaymentDate": given["PaymentDate"]}
        self.payment_dates.append(entry)

    def set_payment_date_by_unique_key(self, given: Record) -> None:
        """Raises Refused."""
        _require_all(given, PAYMENT_DATE_BY_UQ.required, "InvoicePaymentDate")
        self.set_payment_date(given | self.by_unique_key(given["Company"], given["Supplier"], given["SupplierInvoiceNo"]))

    def by_unique_key(self, company: str, supplier: str, supplier_invoice_no: str) -> Record:
        """Series and number of the invoice with this (Company, Supplier, SupplierInvoiceNo). Raises Refused."""
        wanted = (company, supplier, supplier_invoice_no)
        found = [
            key for key, record in self._invoices.items() if (record["Company"], record["Supplier"], record["SupplierInvoiceNo"]) == wanted
        ]
        if not found:
            raise Refused(NOT_FOUND, f"No invoice {supplier_invoice_no!r} of supplier {supplier!r} in company {company}")
        if len(found) > 1:
            raise Refused(
                INVALID, f"{len(found)} invoices {supplier_invoice_no!r} of supplier {supplier!r} in company {company}: not unique"
            )
        return {"InvoiceSeries": found[0][0], "InvoiceNo": found[0][1]}

    def _get(self, key: Identity) -> Record:
        if key not in self._invoices:
            raise Refused(NOT_FOUND, f"Invoice {key[0]}/{key[1]} does not exist")
        return self._invoices[key]

    @staticmethod
    def _identity(record: Record) -> Identity:
        return record["InvoiceSeries"], record["InvoiceNo"]


def _with_line_defaults(given: Record, known: Record | None, currency: str) -> Record:
    lines = given.get("AccountCoding")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        return given
    currency = given.get("Currency") or (known or {}).get("Currency") or currency
    filled = [_LINE_DEFAULTS | {"Currency": currency, "BaseAmount": line.get("Amount", "0")} | _without_none(line) for line in lines]
    return given | {"AccountCoding": filled}


def _without_none(record: Record) -> Record:
    return {name: value for name, value in record.items() if value is not None}


def _sum(lines: Any) -> str:
    return read_decimal(format(sum((Decimal(line["Amount"]) for line in lines), Decimal(0)), "f"))


def _of(record: Record, company: str | None, companies: set[str] | None) -> bool:
    return (company is None or record["Company"] == company) and (companies is None or record["Company"] in companies)


def _require_all(record: Record, names: tuple[str, ...], what: str) -> None:
    for name in names:
        if record.get(name) is None:
            raise Refused(INVALID, f"Field {name} is required on {what}")
