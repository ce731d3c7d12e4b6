"""CancelInvoices: Prime's list of bookings to undo and Sage's bills, as the two ports of cancelling.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from connect.cancelling import Cancelling
from connect.documents.booked import read_booked
from connect.documents.invoice import InvoiceSettings
from connect.errors import Permanent, Poison
from connect.ledger import DocumentId, Found, Listed, Trace
from connect.posting import BeforeWrite
from connect.prime.documents import BOOKED, RETURNED, PrimeDocuments
from connect.sage.bills import SageBills
from workers.documents import BILL, Opened, invoice_settings, rules_of, start_of, tools_of
from workers.jobs import ConnectionTools, Tools

JOB: Final = "CancelInvoices"
NOTES: Final = "Cancelled in Rillion Prime"


class CancelDesk:
    """Prime's list of cancellations, for one company (posting.Desk)."""

    def __init__(self, documents: PrimeDocuments, settings: InvoiceSettings, start_on: date) -> None:
        self._documents = documents
        self._settings = settings
        self._start_on = start_on
        self.poisoned: list[Poison] = []

    async def all(self) -> list[Listed]:
        """Everything that Prime lists now and that may be touched."""
        self.poisoned.clear()
        found = []
        for record in await self._documents.invoices_to_delete(self._settings.company, self.poisoned.append):
            try:
                listed = read_booked(record, self._settings, self._documents.environment)
            except Poison as error:
                self.poisoned.append(error)
                continue
            if listed.booked_on is None or listed.booked_on >= self._start_on:
                found.append(listed)
        return found

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        wanted = set(ids)
        return {one.id: one for one in await self.all() if one.id in wanted}

    async def accept(self, listed: Listed, key: str) -> None:  # noqa: ARG002 - posting's port has it
        """Done; the voucher number in Prime stays what it was."""
        await self._documents.receipt(listed.id.series, listed.id.number, listed.status, BOOKED)

    async def hand_back(self, listed: Listed, text: str) -> None:
        await self._documents.receipt(listed.id.series, listed.id.number, listed.status, RETURNED, text=text)


class CancelBooks:
    """Sage's bills, to be taken back (cancelling.CancelBooks). `today`: in UTC, the day of a reversal."""

    def __init__(self, bills: SageBills, *, entity: str, today: date) -> None:
        self._bills = bills
        self._entity = entity
        self._today = today

    async def find(self, traces: Sequence[Trace], keys: Sequence[Collection[str]]) -> list[list[Found]]:
        found = await self._bills.find(traces)
        missing = {key for own, bills in zip(keys, found, strict=True) for key in own if key not in {bill.key for bill in bills}}
        named = await self._bills.bills(sorted(missing)) if missing else {}
        return [
            bills + [named[key].found(trace.link) for key in sorted(own) if key in named]
            for trace, own, bills in zip(traces, keys, found, strict=True)
        ]

    async def bill(self, key: str) -> Found | None:
        bill = await self._bills.bill(key, entity=self._entity)
        return None if bill is None else bill.found()

    async def delete(self, key: str, before_write: BeforeWrite) -> None:
        await self._bills.delete(key, before_write, entity=self._entity)

    async def reverse(self, key: str, before_write: BeforeWrite) -> None:
        bill = await self._bills.bill(key, entity=self._entity)
        if bill is None:
            raise Permanent(f"Sage has no bill {key} any more", system="sage", code="gone")
        on = self._today if bill.posted_on is None else max(self._today, bill.posted_on + timedelta(days=1))
        await self._bills.reverse(key, on, NOTES, before_write, entity=self._entity)

    async def has_files(self, root: str) -> bool:
        return await self._bills.attachments.left(root)

    async def tidy(self, root: str, gone: str, before_write: BeforeWrite) -> None:
        await self._bills.attachments.drop_left(root, gone, before_write, entity=self._entity)


async def open_cancellations(tools: Tools, connection: ConnectionTools, company: str) -> Opened:
    """The cancellations of one company. Raises Permanent when the settings do not allow documents."""
    one = tools_of(connection)
    general = connection.connection.settings(company)
    start_on = start_of(general)
    settings = await invoice_settings(tools, connection, company, JOB)
    desk = CancelDesk(one.prime, settings, start_on)
    books = CancelBooks(one.bills, entity=settings.entity, today=settings.today)
    cancelling = Cancelling(BILL, books, desk, one.journal, rules_of(general, connection), how=general.delete_or_reverse)
    return Opened(cancelling.cancel, desk.all, desk.poisoned, kind="Cancellation")
