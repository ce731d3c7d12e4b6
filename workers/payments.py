"""ExportPayments: Rillion Pay's settled payments and Sage's AP payments, as posting's two ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from connect.config import GeneralSettings
from connect.documents import payment
from connect.documents.payment import Bill, Booked, Claim, Facts, PaymentSettings, Settled, Share
from connect.errors import ConnectError, OutcomeUnknown, Permanent, Poison
from connect.ledger import Created, DocumentId, Found, Listed, Problem, Request, Trace, root_of
from connect.posting import BeforeWrite, Posting
from connect.prime.documents import BOOKED, RETURNED, PrimeDocuments
from connect.prime.pay import PayRecord, PrimePay
from connect.sage import bills as sage_bills
from connect.sage.bills import SageBills
from connect.sage.facts import SageFacts
from connect.sage.payments import Payment, SagePayments
from connect.state.journal import Journal
from workers.documents import Opened, rules_of, start_of, tools_of
from workers.jobs import ConnectionTools, Tools

JOB: Final = "ExportPayments"
PAYMENT: Final = "payment"
KIND: Final = "Payment"
BATCH: Final = 50  # Pay lists all of its payments each time: fewer listings
TOLD: Final = ("receipted", "receipt_refused")
SHOWN: Final = 5
VOIDED_WITHIN: Final = timedelta(days=7)
WAITS: Final = frozenset({"draft", "submitted", "partiallyApproved"})

log = structlog.get_logger()


class PaymentDesk:
    """Rillion Pay's settled payments of one company (posting.Desk).

    Pay lists a payment for ever. So what it has been told of its booking leaves our list by the journal; and one that was refused comes
    again when Pay shows it otherwise, or when a person replays it.
    """

    def __init__(self, pay: PrimePay, documents: PrimeDocuments, journal: Journal, company: str, general: GeneralSettings) -> None:
        self._pay = pay
        self._documents = documents
        self._journal = journal
        self._company = company
        self._start_on = start_of(general)
        self._to_event_log = general.pay_receipt == "eventLog"
        self._records: dict[str, PayRecord] = {}
        self.peers: dict[str, Settled] = {}
        self.booked: dict[str, Listed] = {}
        self.cancelled: list[Listed] = []
        self.poisoned: list[Poison] = []

    async def all(self) -> list[Listed]:
        """What there is to do: settled since StartOn, and neither booked nor refused as it is. `booked` is what is done, by Sage's key."""
        listed = await self._read()
        entries = await self._journal.entries(PAYMENT, [one.id for one in listed])
        self.booked = {entry.key: one for one, entry in zip(listed, entries, strict=True) if entry.state in TOLD and entry.key}
        return [
            one
            for one, entry in zip(listed, entries, strict=True)
            if entry.state not in TOLD and not (entry.state == "refused" and entry.content == one.content)
        ]

    async def cancelled_too_late(self) -> dict[str, str]:
        """Those of the cancelled ones that Sage has, or may have: reference -> key of the payment there, "" when it is not known."""
        entries = await self._journal.entries(PAYMENT, [one.id for one in self.cancelled])
        return {one.number: entry.key for one, entry in zip(self.cancelled, entries, strict=True) if entry.key or entry.may_be_sent}

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        wanted = set(ids)
        found = [one for one in await self._read() if one.id in wanted]
        entries = await self._journal.entries(PAYMENT, [one.id for one in found])
        return {one.id: one for one, entry in zip(found, entries, strict=True) if entry.state not in TOLD}

    async def _read(self) -> list[Listed]:
        """Everything that has settled since StartOn. `peers` has what settled before, too: a payment in Sage may be one of those.

        What Pay has cancelled after that is `cancelled`: no money has gone, so nothing is booked.
        """
        self.poisoned.clear()
        self.cancelled.clear()
        self._records, self.peers = {}, {}
        contradicted: set[str] = set()
        async for record in self._pay.settled_payments(self._company, date.min, self.poisoned.append):
            if self._records.setdefault(record.id, record) != record:
                contradicted.add(record.id)
        found: list[Listed] = []
        for record in self._records.values():
            settled = settled_of(record)
            one = payment.listed_of(settled, self._documents.environment, self._company)
            self.peers[one.id.marker()] = settled
            if record.settled_on >= self._start_on and record.id not in contradicted:
                (self.cancelled if record.is_cancelled else found).append(one)
        self.poisoned += [
            Poison(f"Rillion Pay lists payment {known} twice, and not alike", system="prime", code="listed_twice")
            for known in sorted(contradicted)
        ]
        return found

    async def accept(self, listed: Listed, key: str) -> None:
        if self._to_event_log:
            await self._documents.event("Information", JOB, f"Payment {_name(listed)} is booked in Sage as payment {key}")
        else:
            await self._pay.receipt(self._records[listed.id.number], BOOKED, key=key)

    async def hand_back(self, listed: Listed, text: str) -> None:
        if self._to_event_log:
            await self._documents.event("Error", JOB, f"Payment {_name(listed)} is not booked in Sage: {text}")
        else:
            await self._pay.receipt(self._records[listed.id.number], RETURNED, text=text)


class PaymentBooks:
    """Sage's AP payments, for the payments of one company (posting.Books)."""

    def __init__(
        self, payments: SagePayments, bills: SageBills, facts: SageFacts, pay: PrimePay, desk: PaymentDesk, settings: PaymentSettings
    ) -> None:
        self._payments = payments
        self._bills = bills
        self._facts = facts
        self._pay = pay
        self._desk = desk
        self._settings = settings
        self._known = Facts(banks={}, blocked={})

    # -- looking

    async def find(self, traces: Sequence[Trace]) -> list[list[Found]]:
        """By marker, by reference, and by how its document id starts, whatever the bill's reference is now."""
        peers = self._desk.peers
        numbers = [number for trace in traces for _, number in trace.numbers if number]
        starts = [payment.document_id_start(peers[trace.root]) for trace in traces if peers[trace.root].reference]
        made = await self._payments.find(numbers=numbers, starts=starts, markers=[trace.root for trace in traces])
        if not made:
            return [[] for _ in traces]
        keys = sorted({share.bill for one in made for share in one.shares})
        bills = {key: _bill(bill) for key, bill in (await self._bills.bills(keys)).items()}
        marked = {root_of(marker) for one in made for marker in payment.own_markers(_booked(one), bills)}
        return [
            [
                _found(claim, one)
                for one in made
                if (claim := payment.claim_on(_booked(one), peers[trace.root], trace.root, peers.items(), bills, marked)) is not None
            ]
            for trace in traces
        ]

    # -- before it is sent

    async def prepare(self, listed: Sequence[Listed]) -> None:
        """Their bills, vendors and bank accounts, a query a kind; the account that Pay pays from."""
        if not listed:
            return
        wanted = [_settled(one) for one in listed]
        entity = self._settings.entity
        keys = _distinct(one.voucher_no for one in wanted if one.voucher_no.isascii() and one.voucher_no.isdigit())
        vendors = _distinct(one.supplier for one in wanted)
        numbers = _distinct(name for one in wanted for name in payment.names_of(one)) if vendors else []
        account: str | Problem
        try:
            account = await self._pay.bank_account(self._settings.company)
        except Permanent as error:
            account = Problem(error.message, "consultant", code="payment_bank")
        self._known = Facts(
            bills=[_bill(bill) for bill in await self._bills.named(keys, numbers, vendors)],
            account=account,
            banks=await self._facts.banks(sorted(set(self._settings.banks.values())), entity=entity),
            blocked={
                number: "inactive" if vendor.status != "active" else "on hold" if vendor.on_hold else "marked as not to be paid"
                for number, vendor in (await self._facts.vendors(vendors, entity=entity)).items()
                if vendor.status != "active" or vendor.on_hold or vendor.do_not_pay
            },
        )

    async def problems(self, listed: Listed) -> list[Problem]:
        return payment.problems(_settled(listed), self._settings, self._known)

    async def request(self, listed: Listed, revision: int) -> Request:
        return payment.request_of(_settled(listed), self._settings, self._known, listed.id, revision)

    # -- sending it

    async def create(self, request: Request, listed: Listed, key: str, before_write: BeforeWrite) -> Created:
        try:
            created = await self._payments.create(request.body, key, before_write, entity=request.entity)
        except Permanent as error:
            raise payment.said_by_sage(error, _settled(listed), request.body) from error
        return created if created.replayed else replace(created, note=await self._standing(created.key, request))

    async def _standing(self, key: str, request: Request) -> str:
        """What is to be said of the state that Sage gave it. Raises OutcomeUnknown when it does not pay: a look-up decides then."""
        try:
            made = await self._payments.payment(key, entity=request.entity)
        except ConnectError as error:
            log.warning("the state of a new payment cannot be read back", payment=key, error=error.message)
            return ""
        if made is not None and not made.is_alive:
            raise OutcomeUnknown(f"Sage made payment {key}, and it is {made.state}", system="sage", code="not_paying")
        return f"{made.state} in Sage: approve it there" if made is not None and made.state in WAITS else ""

    async def tidy(self, listed: Listed, before_write: BeforeWrite) -> None:
        """Nothing stands beside a payment."""


@dataclass
class PaymentList:
    """What there is to do, and remarks on what Sage or Pay has undone since it was booked: nothing but a person can mend that."""

    desk: PaymentDesk
    payments: SagePayments
    clock: Callable[[], datetime]
    remarks: list[str] = field(default_factory=list)

    async def all(self) -> list[Listed]:
        listed = await self.desk.all()
        self.remarks[:] = await self._voided() if self.desk.booked else []
        self.remarks += await self._cancelled()
        return listed

    async def _cancelled(self) -> list[str]:
        found = [
            f"{number} ({f'payment {key}' if key else 'see in Sage'})" for number, key in (await self.desk.cancelled_too_late()).items()
        ]
        if not found:
            return []
        log.warning("cancelled in Rillion Pay after it was booked in Sage", payments=found[:20], count=len(found))
        return [f"Rillion Pay has cancelled what is, or may be, booked in Sage: {_shown(found)}. A person voids it there"]

    async def _voided(self) -> list[str]:
        ended = await self.payments.ended_since(self.clock() - VOIDED_WITHIN)
        found = [f"{self.desk.booked[key].number} (payment {key}, {state})" for key, state in ended.items() if key in self.desk.booked]
        if not found:
            return []
        log.warning("voided or declined in Sage after Rillion Pay was told that it is booked", payments=found[:20], count=len(found))
        what, was = ("payment", "was") if len(found) == 1 else ("payments", "were")
        words = f"{len(found)} {what} that Rillion Pay has as booked {was} voided or declined in Sage within {VOIDED_WITHIN.days} days"
        return [f"{words}: {_shown(found)}. A person sees to it that the supplier is paid: a void leaves the bill reversed"]


# -- from one side's words to the other's


def settled_of(record: PayRecord) -> Settled:
    return Settled(
        id=record.id,
        supplier=record.supplier,
        supplier_name=record.supplier_name,
        invoice_number=record.invoice_number,
        supplier_invoice_no=record.supplier_invoice_no,
        voucher_no=record.voucher_no,
        amount=record.amount,
        currency=record.currency,
        method=record.method,
        reference=record.reference,
        paid_on=record.paid_on or record.settled_on,
        external_id=record.external_id,
    )


def _settled(listed: Listed) -> Settled:
    assert isinstance(listed.document, Settled)
    return listed.document


def _bill(bill: sage_bills.Bill) -> Bill:
    return Bill(
        key=bill.key,
        number=bill.number,
        vendor=bill.vendor,
        state=bill.state,
        created_on=bill.created_on,
        amount=bill.amount,
        open=bill.due - bill.selected,
        currency=bill.currency,
        base_currency=bill.base_currency,
        reference=bill.reference,
        description=bill.description,
        on_hold=bill.on_hold,
        markers=bill.markers,
    )


def _booked(made: Payment) -> Booked:
    shares = tuple(Share(share.bill, share.amount) for share in made.shares)
    return Booked(made.key, made.document_id, made.document_number, made.paid_on, made.is_alive, shares, made.markers)


def _found(claim: Claim, made: Payment) -> Found:
    """In the words of posting, which are a bill's."""
    state = ("submitted" if made.state in WAITS else "posted") if made.is_alive else made.state
    return Found(
        key=made.key,
        number=made.document_number,
        vendor=made.vendor,
        amount=claim.amount,
        currency=made.currency,
        state=state,
        markers=made.markers,
        has_link=not claim.is_ours,
        doubts=claim.doubts,
    )


def _name(listed: Listed) -> str:
    return f"{listed.number or 'without a reference'} ({listed.id.number}) to {listed.name or listed.vendor}"


def _shown(payments: Sequence[str]) -> str:
    return ", ".join(payments[:SHOWN]) + (", …" if len(payments) > SHOWN else "")


def _distinct(values: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


# -- opening


async def open_payments(tools: Tools, connection: ConnectionTools, company: str) -> Opened:
    """The payments of one company. Raises Permanent when the settings do not allow them."""
    one = tools_of(connection)
    general = connection.connection.settings(company)
    if one.pay is None:
        raise Permanent(f"{JOB} needs Prime's REST API: rest_url and the other rest_… settings are missing", code="no_rest")
    settings = PaymentSettings(
        company=company,
        entity=next((job.sage_entity for job in connection.connection.jobs if (job.job, job.company) == (JOB, company)), ""),
        method=general.payment_method,
        use_default_method=general.use_default_payment_method,
        methods=general.payment_method_mapping,
        banks=general.bank_account_mapping,
        request_method=general.payment_request_method,
        numbers=general.key_source,
    )
    desk = PaymentDesk(one.pay, one.prime, one.journal, company, general)
    books = PaymentBooks(one.payments, one.bills, one.facts, one.pay, desk, settings)
    posting = Posting(PAYMENT, books, desk, one.journal, rules_of(general, connection))
    listing = PaymentList(desk, one.payments, tools.clock)
    return Opened(posting.post, listing.all, desk.poisoned, kind=KIND, batch=BATCH, remarks=listing.remarks)
