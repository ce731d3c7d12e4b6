"""Prime's documents over SOAP: what waits to be booked or cancelled, its files, receipts, payment dates, company data, custom settings.

Lists are always asked for with UpdateQueueStatus=false and without a row limit: nothing leaves Prime's queue but by a receipt, and waiting
documents hide no others. A record is a plain mapping of wire name to text, what has no value left out; `AccountCoding` is a list of such
mappings, there in any case. Every call here may be repeated: the same receipt, payment date or setting twice changes nothing.

Source: prime.md 2.8, 4, 6.1 and 8 (D5, D14, D28, D31).
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import structlog
from lxml import etree

from connect.errors import Permanent, Poison
from connect.http import MAX_REPLY_BYTES, Reply
from connect.mapping import EXTERNAL_SOURCE
from connect.prime.envelope import child_text, local_name, read_answer, read_row
from connect.prime.replies import unreadable
from connect.prime.soap import PrimeSoap

BOOKED: Final = 1  # a receipt's QueueStatus
RETURNED: Final = 2
ERROR_TEXT_MOST: Final = 250  # characters; what Prime holds is not public: kept well inside what its lists and mails show
NOTE_MOST: Final = 4000
MAX_IMAGES_BYTES: Final = 192 * 1024 * 1024  # of one answer: all files of an invoice, a third longer as base64
COMPANY_KEPT_S: Final = 600.0  # how long a company's ERP is known without asking
LINES: Final = "AccountCoding"
MOST_NAMES: Final = 10_000  # of fields, remembered
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)

log = structlog.get_logger()
Record = dict[str, Any]
OnUnreadable = Callable[[Poison], None]


class Image(NamedTuple):
    """A file of an invoice. `type` as Prime calls it ("PDF", ".pdf", "application/pdf" …)."""

    name: str
    type: str
    data: bytes


class CompanyData(NamedTuple):
    """What Prime says of a company; "" where it says nothing."""

    company: str
    name: str
    base_currency: str
    erp: str
    invoice_series: str


class CustomSetting(NamedTuple):
    """A row of CustomSettings. `company` "": for all of them (D28)."""

    company: str
    type: str
    setting: str
    value: str


def say(error: Poison) -> None:
    """What becomes of a record that cannot be read, unless the caller wants it otherwise."""
    log.error("a record of Prime's cannot be read; the others go on", error=error.message, code=error.code)


class PrimeDocuments:
    """The documents of one environment."""

    def __init__(self, soap: PrimeSoap, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._soap = soap
        self._clock = clock
        self._companies: dict[str, tuple[float, CompanyData]] = {}

    @property
    def environment(self) -> str:
        return self._soap.access.environment

    # -- lists

    async def invoices_to_book(self, company: str, on_unreadable: OnUnreadable = say) -> list[Record]:
        """Invoices ready for definite recording, in Prime's order; of what cannot be read `on_unreadable` hears."""
        return await self._ready("ListInvoicesReadyForFinalRecording", company, on_unreadable)

    async def invoices_to_delete(self, company: str, on_unreadable: OnUnreadable = say) -> list[Record]:
        """Invoices whose booking is to be cancelled."""
        return await self._ready("ListInvoicesReadyForDeletion", company, on_unreadable)

    async def missing_payment_dates(
        self, company: str, since: date, date_format: str = "yyyy-MM-dd", on_unreadable: OnUnreadable = say
    ) -> list[Record]:
        """Booked invoices without a payment date whose accounting date is `since` or later. `date_format`: a .NET pattern."""
        parameters = {"Company": company, "FromAccountCodingDate": dotnet_date(since, date_format)}
        erp = (await self._known_company(company)).erp
        return await self._list("ListInvoicesMissingPaymentDate", parameters | ({"ERP": erp} if erp else {}), company, on_unreadable)

    async def _ready(self, operation: str, company: str, on_unreadable: OnUnreadable) -> list[Record]:
        parameters = {"UpdateQueueStatus": False, "Company": company, "NoOfRows": ""}
        erp = (await self._known_company(company)).erp
        if erp:
            return await self._list(f"{operation}ERP", {"Erp": erp} | parameters, company, on_unreadable)
        return await self._list(operation, parameters, company, on_unreadable)

    async def _list(self, operation: str, parameters: Mapping[str, Any], company: str, on_unreadable: OnUnreadable) -> list[Record]:
        def read(reply: Reply) -> tuple[list[Record], list[Poison]]:
            return read_invoices(_items(reply, operation), company)

        records, poisoned = await self._soap.ask(operation, parameters, read)
        for error in poisoned:
            on_unreadable(error)
        return records

    # -- one invoice

    async def images(self, series: str, number: str) -> list[Image]:
        """All files of an invoice; none is left out. Raises Poison when one cannot be read, or all together are larger than 192 MB."""
        where = f"{series}-{number}"

        def read(reply: Reply) -> list[Image]:
            items = _items(reply, "GetInvoiceImage", files=True)
            return [_image(item, f"file {place} of invoice {where}", f"{where}-{place}") for place, item in enumerate(items, 1)]

        return await self._soap.ask(
            "GetInvoiceImage", {"InvoiceSeries": series, "InvoiceNo": number}, read, max_bytes=max(MAX_IMAGES_BYTES, MAX_REPLY_BYTES)
        )

    async def receipt(self, series: str, number: str, status: int, queue_status: Literal[1, 2], *, key: str = "", text: str = "") -> None:
        """Tell Prime what became of an invoice: BOOKED with the bill's key in Sage, or RETURNED with the reasons (cut to fit).

        `status`: the one with which Prime listed it. The same receipt again is as good as the first.

        Raises Permanent when Prime refuses it for good, with Prime's own words; Transient, RateLimited or Auth otherwise.
        """
        receipt: dict[str, Any] = {"InvoiceSeries": series, "InvoiceNo": number, "Status": status, "QueueStatus": queue_status}
        if queue_status == RETURNED:
            receipt["ErrorText"] = cut(text.strip() or "Refused, and no reason was given", ERROR_TEXT_MOST)
        elif key:
            if _NUMBER.fullmatch(key):  # the wire wants a number there (D14)
                receipt["VoucherNo"] = key
            receipt |= {"InvoiceExternalId": key, "InvoiceExternalSource": EXTERNAL_SOURCE}
        await self._command("SendInvoiceReply", {"InvoiceReceipt": receipt, "TransferFromQueue": True}, f"invoice {series}-{number}")

    async def set_payment_date(self, series: str, number: str, paid_on: date, note: str) -> None:
        """Say when an invoice was paid in full. `note` is shown as a comment on the invoice and must not be empty. Raises as `receipt`."""
        item = {"InvoiceSeries": series, "InvoiceNo": number, "PaymentDate": f"{paid_on}T00:00:00", "Note": cut(note, NOTE_MOST)}
        await self._command("SetInvoicePaymentDate", {"oInvoicePaymentDateItem": item}, f"invoice {series}-{number}")

    # -- around them

    async def company_data(self, company: str) -> CompanyData:
        """What Prime knows of a company now. Raises Permanent when there is no such company."""
        found = await self._soap.ask("ListCompanyData", {"Company": company}, partial(_read_company, company=company))
        self._companies[company] = (self._clock(), found)
        return found

    async def _known_company(self, company: str) -> CompanyData:
        kept = self._companies.get(company)
        if kept is not None and self._clock() - kept[0] < COMPANY_KEPT_S:
            return kept[1]
        return await self.company_data(company)

    async def custom_settings(self, *, kind: str = "", setting: str = "", company: str | None = None) -> list[CustomSetting]:
        """Rows of that type (`kind`) and name. `company` None: of all companies and for all of them; "": only those for all of them."""
        parameters = {"sCompany": company or "", "sType": kind, "sSetting": setting, "sValue": "", "CompanyIsNull": company == ""}
        rows = await self._soap.ask("ListCustomSettings", parameters, lambda reply: [*map(_setting, _items(reply, "ListCustomSettings"))])
        return [
            row
            for row in rows  # whatever Prime makes of its filters
            if kind in ("", row.type) and setting in ("", row.setting) and company in (None, row.company)
        ]

    async def put_custom_setting(self, row: CustomSetting, *, new: bool | None = None) -> None:
        """Insert or update a row. `new`: whether there is none yet, where the caller knows; else it is looked up.

        Raises Permanent when Prime refuses it, also when another has inserted a `new` one in the meantime.
        """
        if new is None:
            known = await self.custom_settings(kind=row.type, setting=row.setting, company=row.company)
            if row in known:
                return
            new = not known
        operation = "InsertCustomSetting" if new else "UpdateCustomSetting"
        item = {"Company": row.company} if row.company else {}
        item |= {"Type": row.type, "Setting": row.setting, "Value": row.value}
        try:
            await self._command(operation, {"CustomSettingsItem": item}, f"custom setting {row.type} / {row.setting}")
        except Permanent:
            if row not in await self.custom_settings(kind=row.type, setting=row.setting, company=row.company):
                raise  # else an answer was lost, and what was repeated met what it had done itself

    async def event(self, event_type: str, task: str, message: str, description: str = "") -> None:
        """Write into Prime's event log, for people. May be there twice when an answer is lost."""
        item = {
            "Environment": self.environment,
            "EventType": event_type,
            "Source": "Connect",
            "Task": task,
            "Message": cut(message, NOTE_MOST),
            "Description": cut(description, NOTE_MOST),
        }
        await self._command("InsertEventLog", {"EventLogItem": item}, "an event")

    async def _command(self, operation: str, parameters: Mapping[str, Any], what: str) -> None:
        """A call that Prime answers with a ResultCode. Whatever is not 0 is a refusal (D3)."""

        def read(reply: Reply) -> None:
            row = read_row(reply, operation)
            if not row.accepted:
                words = row.message.strip() or "no reason given"
                raise Permanent(
                    f"Prime refuses {operation} of {what}: {words}", system="prime", code=str(row.code), status=reply.status, detail=words
                )

        await self._soap.ask(operation, parameters, read)


# -- reading


def read_invoices(items: list[etree._Element], company: str) -> tuple[list[Record], list[Poison]]:
    """The records of a list, each once, and why others cannot be read. What Prime lists for another company is none of our business."""
    found: dict[tuple[str, str], Record] = {}
    contradicted: set[tuple[str, str]] = set()
    poisoned: list[Poison] = []
    strange = 0
    for place, item in enumerate(items, 1):
        try:
            record = read_invoice(item)
        except Poison as error:
            poisoned.append(
                Poison(f"record {place} of Prime's list for company {company}: {error.message}", system="prime", code=error.code)
            )
            continue
        if record["Company"] != company:
            strange += 1
            continue
        identity = record.get("InvoiceSeries", ""), record["InvoiceNo"]
        if found.setdefault(identity, record) != record:
            contradicted.add(identity)
    poisoned += [
        Poison(f"Prime lists invoice {'-'.join(identity)} of company {company} twice, and not alike", system="prime", code="listed_twice")
        for identity in sorted(contradicted)
    ]
    if strange:
        log.warning("Prime lists invoices of other companies, which are passed over", company=company, count=strange)
    return [record for identity, record in found.items() if identity not in contradicted], poisoned


def read_invoice(element: etree._Element) -> Record:
    """One invoice. Raises Poison when it cannot be told which it is, or a field is there twice and not alike."""
    record = _fields(element)
    number = record.get("InvoiceNo", "").strip()
    where = f"invoice {record.get('InvoiceSeries', '')}-{number}"
    if _NUMBER.fullmatch(number) is None:
        raise Poison(f"{where}: InvoiceNo is no number", system="prime", code="bad_record")
    if not record.get("Company"):
        raise Poison(f"{where}: Company is missing", system="prime", code="bad_record")
    record["InvoiceNo"] = number
    try:
        record[LINES] = [_fields(line) for line in _lines(element)]
    except Poison as error:
        raise Poison(f"{where}: {error.message}", system="prime", code=error.code) from error
    return record


def _fields(element: etree._Element) -> Record:
    """Fields with a value; what has elements of its own is none."""
    record: Record = {}
    for child in element:
        text = child.text
        if not text or len(child):  # a nil has no text either
            continue
        name = _local_names[child.tag]
        if record.setdefault(name, text) != text:
            raise Poison(f"{name[:60]} is there twice, and not alike", system="prime", code="bad_record")
    return record


class _LocalNames(dict[Any, str]):
    """Every tag met so far, without its namespace: a long list repeats few of them a million times."""

    def __missing__(self, tag: Any) -> str:
        name = str(tag).rpartition("}")[2]
        if len(self) < MOST_NAMES:
            self[tag] = name
        return name


_local_names: Final = _LocalNames()


def _lines(element: etree._Element) -> list[etree._Element]:
    """AccountCoding repeated, or one around lines: .NET writes either."""
    found: list[etree._Element] = []
    for child in element:
        if _local_names[child.tag] != LINES or not len(child):
            continue
        nested = [len(inner) > 0 for inner in child]
        if any(nested) and not all(nested):
            raise Poison(f"{LINES} is neither a line nor a list of lines", system="prime", code="bad_record")
        found.extend(list(child) if all(nested) else [child])
    return found


def _items(reply: Reply, operation: str, *, files: bool = False) -> list[etree._Element]:
    """The elements of a list; a null is an empty one. Raises as read_answer, and Transient for a text in its place."""
    result = read_answer(reply, operation, files=files)
    if result is None:
        return []
    if not len(result) and (result.text or "").strip():
        raise unreadable(f"Prime's answer to {operation} is no list", reply)
    return list(result)


def _image(item: etree._Element, what: str, name: str) -> Image:
    text = child_text(item, "Image")
    try:
        data = base64.b64decode("".join((text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Poison(f"{what} is no base64 ({error})", system="prime", code="bad_image") from error
    if not data:
        raise Poison(f"{what} is empty", system="prime", code="bad_image")
    return Image((child_text(item, "FileName") or "").strip() or name, (child_text(item, "FileType") or "").strip(), data)


def _read_company(reply: Reply, *, company: str) -> CompanyData:
    items = _items(reply, "ListCompanyData")
    if len(items) == 1 and len(items[0]):  # a list of one, as other operations answer
        items = list(items[0])
    said = {local_name(item): (item.text or "").strip() for item in items}
    if not said:
        raise Permanent(f"Prime has no company {company}", system="prime", code="company", status=reply.status)
    if said.get("Company") != company:
        raise unreadable(f"Prime's answer to ListCompanyData is not of company {company}", reply)
    return CompanyData(company, *(said.get(name, "") for name in ("Name", "BaseCurrency", "Erp", "InvoiceSeries")))


def _setting(item: etree._Element) -> CustomSetting:
    return CustomSetting(*(child_text(item, name) or "" for name in ("Company", "Type", "Setting", "Value")))


# -- texts


def cut(text: str, most: int) -> str:
    """At most so many characters; a cut shows."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def dotnet_date(day: date, pattern: str) -> str:
    """A day as .NET's pattern writes it in its invariant culture; the time of day is midnight."""
    return _DOTNET.sub(lambda found: _token(day, found[0]), pattern)


_DOTNET: Final = re.compile(r"y+|M+|d+|H+|h+|m+|s+|[fF]+|t+|z+|K|'[^']*'")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def _token(day: date, token: str) -> str:
    kind, width = token[0], len(token)
    match kind:
        case "'":
            return token[1:-1]
        case "y":
            return str(day.year % 100).zfill(width) if width <= 2 else str(day.year).zfill(width)
        case "M" if width >= 3:
            return _MONTHS[day.month - 1][: 3 if width == 3 else None]
        case "d" if width >= 3:
            return _DAYS[day.weekday()][: 3 if width == 3 else None]
        case "M" | "d":
            return str(day.month if kind == "M" else day.day).zfill(width)
        case "h":
            return "12"
        case "t":
            return "AM"[:width]
        case "z":
            return {1: "+0", 2: "+00"}.get(width, "+00:00")
        case "F" | "K":  # nothing: no fraction, no zone
            return ""
        case _:
            return "0" * min(width, 2) if kind != "f" else "0" * width
