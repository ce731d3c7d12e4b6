"""ExportInvoices: Prime's list of approved invoices and Sage's bills, as posting's two ports; this module introduces the two clients."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

import structlog

from connect.documents import bill, edits, invoice, preflight
from connect.documents.booked import bill_key_in
from connect.documents.invoice import Invoice, InvoiceSettings
from connect.errors import Permanent, Poison
from connect.ledger import Created, DocumentId, Found, Listed, Problem, Request, Trace
from connect.posting import BeforeWrite, Posting
from connect.prime.documents import BOOKED, RETURNED, PrimeDocuments, Record
from connect.sage.attachments import File, Files, Folder
from connect.sage.bills import SageBills
from connect.sage.facts import SageFacts
from connect.state.dead_letters import DeadLetters, Edit
from workers.documents import BILL, Opened, invoice_settings, rules_of, start_of, tools_of
from workers.jobs import ConnectionTools, Tools

JOB: Final = "ExportInvoices"
KIND: Final = "Invoice"
READ_AT_ONCE: Final = 100

log = structlog.get_logger()


class InvoiceDesk:
    """Prime's list of invoices to book, for one company (posting.Desk)."""

    def __init__(self, documents: PrimeDocuments, settings: InvoiceSettings, start_on: date, letters: DeadLetters) -> None:
        self._documents = documents
        self._settings = settings
        self._start_on = start_on
        self._letters = letters
        self.poisoned: list[Poison] = []

    async def all(self) -> list[Listed]:
        """Everything that Prime lists now and that may be touched."""
        return await self._read(await self._records())

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        wanted = set(ids)
        numbers = {one.number for one in wanted}  # of a long list, only these are read
        some = [record for record in await self._records() if str(int(record["InvoiceNo"])) in numbers]
        found = [one for one in await self._read(some) if one.id in wanted]
        company = self._settings.company
        letter_ids = [self._letters.id_of(company, JOB, KIND, one.id.text) for one in found]
        changed = await self._letters.edits(letter_ids)
        return {one.id: self._with_edit(one, changed.get(letter_id)) for one, letter_id in zip(found, letter_ids, strict=True)}

    async def _records(self) -> list[Record]:
        self.poisoned.clear()
        return await self._documents.invoices_to_book(self._settings.company, self.poisoned.append)

    async def _read(self, records: Sequence[Record]) -> list[Listed]:
        """A long list in pieces: leases and locks are renewed in between."""
        found = []
        for at, record in enumerate(records, 1):
            if at % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                read = invoice.read_invoice(record, self._documents.environment)
            except Poison as error:
                self.poisoned.append(error)
                continue
            if read.posted_on is None or read.posted_on >= self._start_on:
                told = bill_key_in(record) if record.get("ExternalSource") else ""  # a voucher number alone may be the invoice's own
                found.append(replace(bill.listed_of(read, self._settings), booked_as=told))
        return found

    def _with_edit(self, listed: Listed, edit: Edit | None) -> Listed:
        """With what a person has changed of it, as long as Prime lists what was edited then: what is newer in Prime counts more."""
        if edit is None:
            return listed
        edited = edits.with_changes(_invoice(listed), edit.of, edit.changes)
        if edited is None:
            log.warning("changed in Prime since it was edited here: goes as Prime lists it", document=listed.id.text)
            return listed
        return bill.listed_of(edited, self._settings)

    async def accept(self, listed: Listed, key: str) -> None:
        await self._documents.receipt(listed.id.series, listed.id.number, listed.status, BOOKED, key=key)

    async def hand_back(self, listed: Listed, text: str) -> None:
        await self._documents.receipt(listed.id.series, listed.id.number, listed.status, RETURNED, text=text)


class InvoiceBooks:
    """Sage's bills, for the invoices of one company (posting.Books)."""

    def __init__(self, bills: SageBills, facts: SageFacts, documents: PrimeDocuments, settings: InvoiceSettings) -> None:
        self._bills = bills
        self._facts = facts
        self._documents = documents
        self._settings = settings
        self._known = preflight.Facts(vendors={}, accounts={}, values={}, tax_codes=frozenset())
        self._files: dict[DocumentId, tuple[File, ...]] = {}
        self._folder: Folder | None = None

    async def find(self, traces: Sequence[Trace]) -> list[list[Found]]:
        return await self._bills.find(traces)

    async def prepare(self, listed: Sequence[Listed]) -> None:
        wanted = preflight.Needs()
        for one in listed:
            wanted |= preflight.needs(_invoice(one), self._settings)
        self._known = await self._look_at(wanted)

    async def _look_at(self, wanted: preflight.Needs) -> preflight.Facts:
        """What Sage says now, a query a kind."""
        entity = self._settings.entity
        vendors = await self._facts.vendors(sorted(wanted.vendors), entity=entity) if wanted.vendors else {}
        accounts = await self._facts.accounts(sorted(wanted.accounts), entity=entity) if wanted.accounts else {}
        values: dict[tuple[str, str], str] = {}
        for dimension in sorted({name for name, _ in wanted.values}):
            numbers = sorted(number for name, number in wanted.values if name == dimension)
            statuses = await self._facts.statuses(invoice.dimension_of(dimension).object, numbers, entity=entity)
            values |= {(dimension, number): status for number, status in statuses.items()}
        taxes = await self._facts.statuses("tax/purchasing-tax-detail", sorted(wanted.tax_codes), entity=entity) if wanted.tax_codes else {}
        rates = await self._facts.rates(sorted(wanted.rates), entity=entity) if wanted.rates else None
        currencies: frozenset[str] | None = None
        if foreign := wanted.currencies - {self._settings.base_currency}:
            enabled = await self._facts.currencies(entity=entity)
            currencies = enabled | (wanted.currencies - foreign) if enabled else None
        folders: frozenset[str] | None = None
        if wanted.folders:
            self._folder = self._folder or await self._bills.attachments.folder(self._settings.attachment_folder, entity=entity)
            folders = wanted.folders if self._folder is not None else frozenset()
        return preflight.Facts(
            vendors={
                number: preflight.VendorFacts(status=fact.status, state=fact.state, is_on_hold=fact.on_hold)
                for number, fact in vendors.items()
            },
            accounts={
                number: preflight.AccountFacts(status=fact.status, takes_postings=fact.direct_posting, requires=fact.required)
                for number, fact in accounts.items()
            },
            values=values,
            tax_codes=frozenset(code for code, status in taxes.items() if status == "active"),
            currencies=currencies,
            rates=rates,
            folders=folders,
        )

    async def problems(self, listed: Listed) -> list[Problem]:
        return preflight.problems(_invoice(listed), self._settings, self._known)

    async def request(self, listed: Listed, revision: int) -> Request:
        files = await self._images(listed)
        self._files[listed.id] = files
        for note in bill.notes_of(_invoice(listed), self._settings):
            log.warning("the bill says it otherwise than the invoice", document=listed.id.text, note=note)
        return bill.request_of(_invoice(listed), self._settings, revision, attachment=bool(files), requires=self._known.requires)

    async def create(self, request: Request, listed: Listed, key: str, before_write: BeforeWrite) -> Created:
        files = self._files.pop(listed.id, None)
        if files is None:
            files = await self._images(listed)
        attachment = None
        if files:
            name = self._settings.attachment_folder
            self._folder = self._folder or await self._bills.attachments.folder(name, entity=request.entity)
            if self._folder is None:
                raise Permanent(f"Attachment folder {name} does not exist in Sage", system="sage", code="no_folder")
            attachment = Files(request.marker, self._folder.id, files, f"{listed.id.text} {request.marker}")
        return await self._bills.create(request.body, key, attachment, before_write, entity=request.entity)

    async def unapproved(self, keys: Sequence[str]) -> set[str]:
        return await self._bills.unapproved(keys, entity=self._settings.entity)

    async def _images(self, listed: Listed) -> tuple[File, ...]:
        if not self._settings.invoice_image_export:
            return ()
        images = await self._documents.images(listed.id.series, listed.id.number)
        return tuple(File(image.name, image.data) for image in images)

    async def tidy(self, listed: Listed, before_write: BeforeWrite) -> None:
        await self._bills.attachments.drop_left(listed.id.marker(), "", before_write, entity=self._settings.entity)


def _invoice(listed: Listed) -> Invoice:
    assert isinstance(listed.document, Invoice)
    return listed.document


async def open_invoices(tools: Tools, connection: ConnectionTools, company: str) -> Opened:
    """The invoices of one company. Raises Permanent when the settings do not allow documents."""
    one = tools_of(connection)
    general = connection.connection.settings(company)
    start_on = start_of(general)
    settings = await invoice_settings(tools, connection, company, JOB)
    desk = InvoiceDesk(one.prime, settings, start_on, connection.dead_letters)
    books = InvoiceBooks(one.bills, one.facts, one.prime, settings)
    posting = Posting(BILL, books, desk, one.journal, rules_of(general, connection))
    return Opened(posting.post, desk.all, desk.poisoned, unapproved=books.unapproved)
