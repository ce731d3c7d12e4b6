"""GetPaymentDates: bills that Sage has paid in full tell Prime when, and by which payment.

list    what does Prime miss? Many bills per query; those paid go on, what leaves the window without a date is counted
post    Prime is told, once for each date; a date is idempotent by its value, so it needs no lock
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Final

import structlog

from connect.cancelling import is_ours
from connect.config import GeneralSettings
from connect.documents.booked import read_booked
from connect.documents.invoice import InvoiceSettings
from connect.documents.payment_date import Watched, note_of, over, window_start
from connect.errors import Permanent, Poison
from connect.ledger import DocumentId, Listed, Problem
from connect.posting import Result, together
from connect.sage.bills import Bill
from connect.state.watched import WatchedInvoices
from workers.documents import Opened, invoice_settings, start_of, tools_of
from workers.jobs import ConnectionTools, DocumentTools, Tools

JOB: Final = "GetPaymentDates"
BATCH: Final = 500  # invoices of one job: Prime lists them anew for each

log = structlog.get_logger()


@dataclass(frozen=True)
class Due:
    """An invoice whose bill is paid in full. `sent_on`: the date that Prime has taken from us."""

    listed: Listed
    bill: Bill
    paid_on: date
    sent_on: date | None


@dataclass
class PaymentDates:
    """The payment dates of one company."""

    documents: DocumentTools
    watched: WatchedInvoices
    general: GeneralSettings
    settings: InvoiceSettings
    since: date
    poisoned: list[Poison] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    async def due(self) -> list[Listed]:
        """Those whose date Prime does not have yet. Notes which are watched, and counts those that left the window without a date."""
        missing, known = await self._missing(), await self.watched.all()
        watched = {one: Watched(*dates) for one, dates in known.items()}
        numbers = {_number(one): one.booked_on for one in missing}
        gone, undated = over(watched, numbers, self.since)
        new = {one: (posted, None) for one, posted in numbers.items() if one not in watched and posted is not None}
        await self.watched.change(new, gone)
        paid = await self._paid(missing)
        due = [one.listed for one in paid if one.paid_on != one.sent_on]
        self.counted.update(read=len(missing) - len(due), unchanged=len(paid) - len(due), undated=len(undated))
        if undated:
            what = "1 invoice" if len(undated) == 1 else f"{len(undated)} invoices"
            self.remarks.append(f"{what} left the window of {self.general.payment_cutoff_days} days unpaid: date never received")
            log.warning("payment date never received", invoices=["-".join(one) for one in undated[:20]], count=len(undated))
        return due

    async def send(self, ids: Sequence[DocumentId]) -> list[Result]:
        """Tell Prime of these, as far as it still misses their dates and they are still paid. Safe to call again."""
        wanted = set(ids)
        paid = await self._paid([one for one in await self._missing() if one.id in wanted])
        notes = await self._payment_numbers([one.bill.key for one in paid if one.paid_on != one.sent_on])
        results = await together([(one.listed, partial(self._send, one, notes.get(one.bill.key, ""))) for one in paid])
        return results + [Result(one, "not_listed") for one in wanted - {result.id for result in results}]

    async def _missing(self) -> list[Listed]:
        self.poisoned.clear()
        found = []
        records = await self.documents.prime.missing_payment_dates(
            self.settings.company, self.since, self.general.date_format, self.poisoned.append
        )
        for record in records:
            try:
                found.append(read_booked(record, self.settings, self.documents.prime.environment))
            except Poison as error:
                self.poisoned.append(error)
        return found

    async def _paid(self, missing: Sequence[Listed]) -> list[Due]:
        bills = await self.documents.bills.bills(sorted({one.booked_as for one in missing if one.booked_as}))
        watched = await self.watched.all()
        found = []
        for one in missing:
            bill = bills.get(one.booked_as)
            if bill is None or bill.state != "paid" or bill.paid_on is None:
                continue
            if not is_ours(bill.found(one.link), one):
                log.warning("the voucher number in Prime is a bill of something else", document=one.id.text, bill=bill.key)
                continue
            found.append(Due(one, bill, bill.paid_on, watched.get(_number(one), (None, None))[1]))
        return found

    async def _payment_numbers(self, bills: Sequence[str]) -> dict[str, str]:
        """Bill -> document number of its payment, where Sage lets us read it."""
        try:
            return await self.documents.payments.numbers_of(bills)
        except Permanent as error:
            log.warning("Sage does not show by which payments bills were paid", reason=error.message)
            return {}

    async def _send(self, due: Due, payment_number: str) -> Result:
        listed = due.listed
        if due.paid_on == due.sent_on:
            return Result(listed.id, "dated", due.bill.key, listed=listed, note="Prime has it already")
        note = note_of(payment_number, due.bill.number)
        try:
            await self.documents.prime.set_payment_date(listed.id.series, listed.id.number, due.paid_on, note)
        except Permanent as error:
            return Result(listed.id, "held", problems=(Problem(error.message, "consultant", code=error.code),), listed=listed)
        await self.watched.change({_number(listed): (listed.booked_on or due.paid_on, due.paid_on)})
        return Result(listed.id, "dated", due.bill.key, listed=listed, note=f"paid on {due.paid_on}")


def _number(listed: Listed) -> tuple[str, str]:
    return listed.id.series, listed.id.number


async def open_payment_dates(tools: Tools, connection: ConnectionTools, company: str) -> Opened:
    """The payment dates of one company. Raises Permanent when the settings do not allow documents."""
    general = connection.connection.settings(company)
    since = window_start(tools.clock().date(), general.payment_cutoff_days, start_of(general))
    settings = await invoice_settings(tools, connection, company, JOB)
    watched = WatchedInvoices(connection.redis, connection.connection.sid, company)
    dates = PaymentDates(tools_of(connection), watched, general, settings, since)
    return Opened(
        dates.send,
        dates.due,
        dates.poisoned,
        kind="Payment date",
        system="prime",
        batch=BATCH,
        counted=dates.counted,
        remarks=dates.remarks,
    )
