"""Rillion Pay over Prime's REST API: payments that have settled, the account a company pays from, and what became of a payment in Sage.

A payment is settled when `processingDates.paymentSettledDate` is there (D18). The list cannot be asked for a company or a date: all of it
is read, page by page, and sifted here; fields that nobody asked for are ignored.

Source: prime.md 2.9 and 6.2 (D18, D33, D35).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

import msgspec
import orjson
import structlog

from connect.errors import Auth, Permanent, Poison, Transient
from connect.http import Reply
from connect.mapping import EXTERNAL_SOURCE
from connect.prime.documents import ERROR_TEXT_MOST, RETURNED, cut
from connect.prime.rest import PrimeRest, read_results

PAGE_SIZE: Final = 500
CANCELLED: Final = "cancel"  # in paymentStatus
MOST_DIGITS: Final = 15  # before the decimal point
_DAY: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ].*)?", re.ASCII | re.DOTALL)

log = structlog.get_logger()
Text = str | int | None
OnUnreadable = Callable[[Poison], None]


class PayRecord(NamedTuple):
    """A settled payment of one invoice. `id` is Pay's own; `reference` may be shared by several bills or instalments.

    Texts are "" and dates None where Pay says nothing. `external_id`: what an earlier receipt left there.
    """

    id: str
    company: str
    supplier: str
    supplier_name: str
    invoice_number: str
    supplier_invoice_no: str
    voucher_series: str
    voucher_no: str
    amount: Decimal
    currency: str
    method: str
    status: str
    reference: str
    paid_on: date | None
    settled_on: date
    external_id: str

    @property
    def is_cancelled(self) -> bool:
        """Cancelled after it had settled: sent back, voided, or handled elsewhere (prime.md 2.9; statuses are known by name only)."""
        return CANCELLED in self.status.casefold()


class _Dates(msgspec.Struct):
    settled: str | None = msgspec.field(default=None, name="paymentSettledDate")


class _Wire(msgspec.Struct, rename="camel"):
    """A payment as it comes. Numbers that are names may come as either; an amount keeps every digit."""

    id: str | int
    company: Text = None
    processing_dates: _Dates | None = None
    supplier: Text = None
    supplier_name: Text = None
    invoice_number: Text = None
    supplier_invoice_no: Text = None
    voucher_series: Text = None
    voucher_no: Text = None
    amount: Decimal | None = None
    currency: Text = None
    payment_method: Text = None
    payment_status: Text = None
    payment_reference_id: Text = None
    payment_date: str | None = None
    external_id: Text = None


class _Page(msgspec.Struct, rename="camel"):
    items: list[msgspec.Raw]
    total_count: int | None = None


_decode_page: Final = msgspec.json.Decoder(_Page | list[msgspec.Raw]).decode
_decode_payment: Final = msgspec.json.Decoder(_Wire).decode
_decode_named: Final = msgspec.json.Decoder(dict[str, Any]).decode


def say(error: Poison) -> None:
    """What becomes of a payment that cannot be read, unless the caller wants it otherwise."""
    log.error("a payment cannot be read; the others go on", error=error.message, code=error.code)


class PrimePay:
    """The payments of one tenant."""

    def __init__(self, rest: PrimeRest, *, page_size: int = PAGE_SIZE) -> None:
        self._rest = rest
        self._page_size = page_size

    async def settled_payments(self, company: str | None, since: date, on_unreadable: OnUnreadable = say) -> AsyncIterator[PayRecord]:
        """Payments that settled on `since` or later, of one company or of all. Of what cannot be read `on_unreadable` hears.

        Raises Auth, Permanent or Transient; what was yielded before stands.
        """
        seen: set[bytes] = set()
        page_index = read = 0
        while True:
            query = urlencode({"PageIndex": page_index, "PageSize": self._page_size})
            page = await self._rest.call("GET", f"/payment?{query}", None, _read_page)
            fresh = [item for raw in page.items if (item := bytes(raw)) not in seen]
            seen.update(fresh)
            for item in fresh:
                try:
                    payment = read_payment(item, company, since)
                except Poison as error:
                    on_unreadable(error)
                    continue
                if payment is not None:
                    yield payment
            page_index += 1
            read += len(page.items)
            if page.total_count is not None and read >= page.total_count:
                return
            if not fresh and page.total_count is not None:
                message = f"Rillion Pay lists {page.total_count} payments and shows {read}"
                raise Transient(message, system="prime", code="unreadable")
            if not fresh:
                return

    async def bank_account(self, company: str) -> str:
        """The identifier of the account that a company pays from, as the configuration has it: the key of BankAccountMapping.

        Raises Permanent when there is none, or more than one.
        """
        found = await self._rest.call("GET", "/payment/configuration/tenant/company", None, lambda reply: _read_accounts(reply, company))
        if len(found) != 1:
            many = f"{len(found)} bank accounts" if found else "no bank account"
            raise Permanent(f"Rillion Pay has {many} for company {company}", system="prime", code="bank_account")
        return found.pop()

    async def receipt(self, payment: PayRecord, queue_status: Literal[1, 2], *, key: str = "", text: str = "") -> None:
        """Tell Pay what became of a payment: 1 with the payment's key in Sage, or RETURNED with the reasons (cut to fit).

        The same receipt again is as good as the first. Raises Permanent when Pay refuses it for good (`code` "no_receipts": it takes none,
        PayReceipt = eventLog is the way), Transient, RateLimited or Auth otherwise.
        """
        body: dict[str, Any] = {"paymentId": payment.id, "queueStatus": queue_status}
        if payment.reference:
            body["paymentReferenceId"] = payment.reference
        if queue_status == RETURNED:
            body["errorText"] = cut(text.strip() or "Refused, and no reason was given", ERROR_TEXT_MOST)
        elif key:
            body |= {"externalId": key, "externalSource": EXTERNAL_SOURCE}
        try:
            await self._rest.call("PUT", "/payment/receipt", orjson.dumps(body), lambda reply: _read_receipt(reply, payment.id))
        except Auth as error:
            if error.code != "wrong_url":
                raise
            raise Permanent(
                "Rillion Pay takes no receipts here; set PayReceipt = eventLog", system="prime", code="no_receipts", status=error.status
            ) from error


# -- reading


def _unreadable(what: str, reply: Reply, error: Exception) -> Transient:
    """Without a word of the answer: it holds accounts and amounts."""
    return Transient(f"Rillion Pay's answer is no {what} ({error!s:.200})", system="prime", code="unreadable", status=reply.status)


def _read_page(reply: Reply) -> _Page:
    try:
        page = _decode_page(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable("page of payments", reply, error) from error
    return page if isinstance(page, _Page) else _Page(page)


def read_payment(item: bytes, company: str | None, since: date) -> PayRecord | None:
    """A payment, or None when it has not settled, did so before `since`, or is another company's. Raises Poison."""
    try:
        wire = _decode_payment(item)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        named = _named(item)
        if company is not None and _text(named.get("company")) not in ("", company):
            return None
        raise Poison(f"payment {_id(named.get('id'))} cannot be read ({error!s:.200})", system="prime", code="bad_record") from error
    settled_on = _day(wire, "processingDates.paymentSettledDate", wire.processing_dates.settled if wire.processing_dates else None)
    if settled_on is None or settled_on < since or company not in (None, _text(wire.company)):
        return None
    amount = wire.amount
    if amount is None or not amount.is_finite() or amount.adjusted() >= MOST_DIGITS:
        raise _wrong(wire, "amount", "an amount of money")
    if not _text(wire.id):
        raise _wrong(wire, "id", "something")
    return PayRecord(
        id=_text(wire.id),
        company=_text(wire.company),
        supplier=_text(wire.supplier),
        supplier_name=_text(wire.supplier_name),
        invoice_number=_text(wire.invoice_number),
        supplier_invoice_no=_text(wire.supplier_invoice_no),
        voucher_series=_text(wire.voucher_series),
        voucher_no=_text(wire.voucher_no),
        amount=amount,
        currency=_text(wire.currency),
        method=_text(wire.payment_method),
        status=_text(wire.payment_status),
        reference=_text(wire.payment_reference_id),
        paid_on=_day(wire, "paymentDate", wire.payment_date),
        settled_on=settled_on,
        external_id=_text(wire.external_id),
    )


def _named(item: bytes) -> dict[str, Any]:
    """What can be read of a payment that cannot: which it is, and whose."""
    try:
        return _decode_named(item)
    except (msgspec.DecodeError, UnicodeDecodeError):  # said by the caller
        return {}


def _id(value: Any) -> str:
    return str(value or "without an id")[:100]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _day(wire: _Wire, name: str, text: str | None) -> date | None:
    """The day as it is written, whatever time and zone follow. Year 1 is how .NET writes "never"."""
    if text is None or not text.strip():
        return None
    found = _DAY.fullmatch(text.strip())
    try:
        day = date.fromisoformat(found[1]) if found is not None else None
    except ValueError:
        day = None  # 31 February: said below
    if day is None:
        raise _wrong(wire, name, "a date")
    return day if day.year > 1 else None


def _wrong(wire: _Wire, name: str, expected: str) -> Poison:
    return Poison(f"payment {_id(wire.id)}: {name} is not {expected}", system="prime", code="bad_record")


class _Configuration(msgspec.Struct, rename="camel"):
    company: Text = None
    bank_account_identifier: Text = None


_decode_configurations: Final = msgspec.json.Decoder(list[_Configuration] | _Configuration).decode


def _read_accounts(reply: Reply, company: str) -> set[str]:
    try:
        read = _decode_configurations(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable("payment configuration", reply, error) from error
    rows = read if isinstance(read, list) else [read]
    return {account for row in rows if _text(row.company) == company and (account := _text(row.bank_account_identifier))}


def _read_receipt(reply: Reply, payment: str) -> None:
    result = read_results(reply, 1)[0]
    if result.error is not None:
        raise result.error
    if not result.accepted:
        words = result.message.strip() or "no reason given"
        raise Permanent(
            f"Rillion Pay refuses the receipt of payment {payment}: {words}", system="prime", code=str(result.code), detail=words
        )
