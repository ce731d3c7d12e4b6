"""Invoice: approved in Prime, on its way to become a bill in Sage. What it is, how it is read, what its bill depends on.

    Prime's record --read_invoice--> Invoice --bill.bill_of--> JSON for Sage
                                        |
                                        '--preflight.problems--> why Sage would not book it

Source: the guide, Invoice and Invoice Lines; prime.md 2.8 and 8 (wire names), F14, F28, D14, D15; sage-rest.md f (dimensions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from connect.config import GeneralSettings
from connect.errors import Poison
from connect.ledger import DocumentId
from connect.mapping import EXTERNAL_SOURCE, NOT_XML

OBJECT_TYPES: Final = range(1, 9)
CREDITORS, EXPENSE, VAT = 0, 1, 2  # types of a line (prime.md 2.8)


class Dimension(NamedTuple):
    """A dimension: its name on bill lines and below `requireDimensions`, what people call it, its object in Sage."""

    field: str
    label: str
    object: str


DIMENSIONS: Final = {
    "DEPARTMENT":      Dimension("department",      "Department",       "company-config/department"),
    "LOCATION":        Dimension("location",        "Location",         "company-config/location"),
    "PROJECT":         Dimension("project",         "Project",          "projects/project"),
    "CUSTOMER":        Dimension("customer",        "Customer",         "accounts-receivable/customer"),
    "VENDOR":          Dimension("vendor",          "Vendor",           "accounts-payable/vendor"),
    "EMPLOYEE":        Dimension("employee",        "Employee",         "company-config/employee"),
    "ITEM":            Dimension("item",            "Item",             "inventory-control/item"),
    "CLASS":           Dimension("class",           "Class",            "company-config/class"),
    "CONTRACT":        Dimension("contract",        "Contract",         "contracts/contract"),
    "TASK":            Dimension("task",            "Task",             "projects/task"),
    "WAREHOUSE":       Dimension("warehouse",       "Warehouse",        "inventory-control/warehouse"),
    "COSTTYPE":        Dimension("costType",        "Cost type",        "construction/cost-type"),
    "AFFILIATEENTITY": Dimension("affiliateEntity", "Affiliate entity", "company-config/affiliate-entity"),
    "FIXEDASSET":      Dimension("asset",           "Fixed asset",      "fixed-assets/asset"),
}  # fmt: skip


def dimension_of(name: str) -> Dimension:
    """The dimension that lookup Objects calls so; any `nsp::name` is a user-defined one."""
    if name.startswith("nsp::"):
        return Dimension(name, name.removeprefix("nsp::").capitalize(), f"platform-apps/{name}")
    return DIMENSIONS[name]


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an invoice's coding. `number` is Prime's own, or its place among the lines that a clerk codes; `objects[0]` is object
    type 1.
    """

    number: int
    type: int
    account: str | None
    amount: Decimal
    vat_amount: Decimal = Decimal(0)  # of an expense line; it is inside no amount
    vat_code: str | None = None
    objects: tuple[str | None, ...] = (None,) * len(OBJECT_TYPES)
    note: str | None = None


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """An approved invoice as Prime lists it. `amount` is the total with VAT, signed as Prime has it."""

    id: DocumentId
    status: int
    is_credit: bool
    is_blocked: bool
    supplier: str | None
    supplier_invoice_no: str | None
    voucher_no: str | None
    invoiced_on: date | None
    due_on: date | None
    posted_on: date | None
    paid_on: date | None
    currency: str | None
    amount: Decimal
    pay_reference: str | None
    note: str | None
    lines: tuple[InvoiceLine, ...]


@dataclass(frozen=True, kw_only=True)
class InvoiceSettings:
    """Everything that an invoice's bill depends on beside the invoice: one company's settings, its base currency in Prime, the day.

    Attributes:
        entity: the Sage entity that books it, "" for the top level.
        objects: dimension as in the guide, or "nsp::name" -> object type 1..8.
        base_currency: from Prime's company data; "" leaves it to Sage.
        today: the day in UTC, for bills dated "now".
        numbers: which of Sage's id and key Prime holds as numbers (D17).
    """

    company: str
    entity: str
    objects: Mapping[str, int]
    base_currency: str
    today: date
    numbers: Literal["id", "key"] = "id"
    show_invoice_base_url: str = ""
    bill_number_source: Literal["VoucherNo", "SupplierInvoiceNo", "SeriesNo"] = "VoucherNo"
    bill_date_source: Literal["Now", "InvoiceDate", "AccountCodingDate"] = "Now"
    vat_lines: Literal["line", "taxEntry", "none"] = "line"
    credit_notes: Literal["refuse", "NegativeBill", "Adjustment"] = "refuse"
    invoice_image_export: bool = True
    attachment_folder: str = "Receipts"

    @classmethod
    def of(
        cls, general: GeneralSettings, *, company: str, entity: str, objects: Mapping[str, int], base_currency: str, today: date
    ) -> InvoiceSettings:
        return cls(
            company=company,
            entity=entity,
            objects=dict(sorted(objects.items(), key=lambda item: item[1])),  # the file's order must not change the bytes
            base_currency=base_currency,
            today=today,
            numbers=general.key_source,
            show_invoice_base_url=general.show_invoice_base_url or "",
            bill_number_source=general.bill_number_source,
            bill_date_source=general.bill_date_source,
            vat_lines=general.vat_lines,
            credit_notes=general.credit_notes,
            invoice_image_export=general.invoice_image_export,
            attachment_folder=general.sage_attachment_folder_id,
        )


# -- reading


_AMOUNT: Final = re.compile(r"[+-]?(\d{1,15}(\.\d{0,10})?|\.\d{1,10})")
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?")
_UNSET: Final = date(1, 1, 1)  # what .NET writes for a date without value
_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}


class _Fields:
    """One record of Prime's, field by field. `where` names it in an error."""

    def __init__(self, record: Mapping[str, Any], where: str) -> None:
        self._record = record
        self._where = where

    def text(self, name: str) -> str | None:
        value = self._record.get(name)
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, int | float | Decimal | date):
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, value, "a text")
        return NOT_XML.sub("\ufffd", value).strip() or None if value else None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise Poison(f"{self._where} has no {name}", system="prime", code="missing-field")
        return value

    def amount(self, name: str, default: str | None = None) -> Decimal:
        value = self.required(name) if default is None else self.text(name) or default
        if not _AMOUNT.fullmatch(value):
            raise self.wrong(name, value, "a number such as -1234.50")
        return Decimal(value)

    def whole(self, name: str) -> int:
        value = self.required(name)
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise self.wrong(name, value, "a whole number")
        return int(value)

    def flag(self, name: str) -> bool:
        value = (self.text(name) or "0").lower()
        if value not in _FLAGS:
            raise self.wrong(name, value, "0 or 1")
        return _FLAGS[value]

    def day(self, name: str) -> date | None:
        value = self.text(name)
        if value is None:
            return None
        match = _DATE.fullmatch(value)
        try:
            found = date.fromisoformat(match[1]) if match else None
        except ValueError:
            found = None
        if found is None:
            raise self.wrong(name, value, "a date such as 2026-11-25 or 2026-11-25T00:00:00")
        return found if found != _UNSET else None

    def wrong(self, name: str, value: Any, expected: str) -> Poison:
        return Poison(f"{self._where}: {name} is {str(value)[:60]!r}, expected {expected}", system="prime", code="malformed-field")


def read_invoice(record: Mapping[str, Any], environment: str) -> Invoice:
    """An invoice from the web service's record (names of prime.md 8, texts as they came, empty means none).

    What a clerk may have left out is None here, and `bill.flaws` tells it.

    Raises:
        Poison: it is no record of Prime's; names the field.
    """
    series = _Fields(record, "an invoice of Prime").text("InvoiceSeries") or ""
    number = _Fields(record, f"an invoice of Prime of series {series!r}").whole("InvoiceNo")
    where = f"invoice {series}-{number}" if series else f"invoice {number}"
    fields = _Fields(record, where)
    lines = record.get("AccountCoding") or ()
    if isinstance(lines, str) or not isinstance(lines, Sequence) or not all(isinstance(line, Mapping) for line in lines):
        raise fields.wrong("AccountCoding", lines, "a list of lines")
    voucher_no = fields.text("VoucherNo")
    if voucher_no == "0" or (fields.text("ExternalSource") == EXTERNAL_SOURCE and voucher_no == fields.text("ExternalId")):
        voucher_no = None  # none, or the key of an earlier bill, which our own receipt put there
    return Invoice(
        id=DocumentId(environment, fields.required("Company"), series, str(number)),
        status=fields.whole("Status"),
        is_credit=fields.flag("Credit"),
        is_blocked=fields.flag("Blocked"),
        supplier=fields.text("Supplier"),
        supplier_invoice_no=fields.text("SupplierInvoiceNo"),
        voucher_no=voucher_no,
        invoiced_on=fields.day("InvoiceDate"),
        due_on=fields.day("DueDate"),
        posted_on=fields.day("AccountCodingDate"),
        paid_on=fields.day("PaymentDate"),
        currency=fields.text("Currency"),
        amount=fields.amount("Amount"),
        pay_reference=fields.text("PayReference"),
        note=fields.text("Note"),
        lines=tuple(_read_lines(lines, where)),
    )


def _read_lines(lines: Sequence[Mapping[str, Any]], where: str) -> Iterator[InvoiceLine]:
    place = 0
    for at, record in enumerate(lines, 1):
        fields = _Fields(record, f"{where}, coding line {at}")
        kind = fields.whole("Type")
        if kind not in (CREDITORS, EXPENSE, VAT):
            raise fields.wrong("Type", kind, "0 (trade creditors), 1 (expense) or 2 (VAT)")
        place += kind != CREDITORS
        own = fields.text("InvoiceAccountCodingLineNo")
        yield InvoiceLine(
            number=fields.whole("InvoiceAccountCodingLineNo") if own not in (None, "0") else place,
            type=kind,
            account=fields.text("Account"),
            amount=fields.amount("Amount"),
            vat_amount=fields.amount("LineVatAmount", "0"),
            vat_code=fields.text("VatCode"),
            objects=tuple(fields.text(f"Object{n}") for n in OBJECT_TYPES),
            note=fields.text("Note"),
        )


# -- what it is called


def number_of(invoice: Invoice, settings: InvoiceSettings) -> str:
    """The bill's number (D14): never cut; "" when the invoice has none."""
    if settings.bill_number_source == "SeriesNo":
        return invoice.id.text
    if settings.bill_number_source == "VoucherNo" and invoice.voucher_no:
        return invoice.voucher_no
    return invoice.supplier_invoice_no or ""


def link_of(document: DocumentId, settings: InvoiceSettings) -> str:
    """Where Prime shows the invoice; "" without ShowInvoiceBaseURL. In a description, a blank or its end follows it."""
    if not settings.show_invoice_base_url:
        return ""
    series, number = quote(document.series, safe=""), quote(document.number, safe="")
    return f"{settings.show_invoice_base_url.rstrip('/')}/ShowInvoice.aspx?invoiceseries={series}&invoiceno={number}"
