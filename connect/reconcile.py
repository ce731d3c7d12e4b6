"""Sage against Prime against the journal: what differs, said by name, and what mends it.

Registers are compared by what a sync that sends everything would change (plan.py): against what Prime holds where it can be read (REST),
else against what was last sent (SOAP). Documents are compared to the cent with the bytes that were sent, which the journal keeps.

    missing        Sage has it and Prime has not (rows); it was booked and Sage has it no more (bills, payments)
    different      a field, an amount, a state is not as it was sent
    extra          Prime holds a row that Sage has not; a bill that was taken back is there again
    double         by hand: a row with another's number at Sage or another's name; two bills or payments of one document
    orphaned       an attachment of ours whose bill is not there
    receipt owed   it is booked, and Prime lists it as if it were not, or refused the receipt
    voided         a payment that does not pay any more
    without bill   a payment whose bill is gone or reversed

What the next runs mend by themselves `waits`: a row that Sage has changed since it was sent, a receipt that is not refused.
"""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson

from connect.ledger import DocumentId, root_of
from connect.mapping import EXTERNAL_SOURCE
from connect.plan import (
    BANK_ACCOUNTS,
    Action,
    Change,
    Document,
    JobPlan,
    Moved,
    Options,
    Plan,
    Row,
    RowKey,
    Wire,
    Write,
    compare,
    digest_of,
    value_text,
)
from connect.posting import ALIVE
from connect.registers import REGISTERS
from connect.sage.bills import Bill
from connect.sage.payments import Payment
from connect.state.journal import Entry
from connect.state.reports import Summary, What

Repair = Literal["", "send", "expire", "receipt"]
"""How `--repair` mends it: by sending the row again, by expiring it in Prime, by sending the receipt; "" a person must."""
BOOKED: Final = frozenset({"posted", "receipted", "receipt_refused"})
UNDER_WAY: Final = frozenset({"intent", "posted", "refusing", "cancelling"})
SYNC: Final = "connect reconcile --repair"


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs. `old` of its changes is what should be, `new` what is. `command`: what mends it, or where. `prime`: digest of
    what Prime holds of a row.
    """

    connection: str
    company: str
    job: str
    kind: str
    number: str
    name: str
    what: What
    detail: str = ""
    changes: tuple[Change, ...] = ()
    command: str = ""
    repair: Repair = ""
    waits: bool = False
    key: RowKey = ()
    writes: tuple[Write, ...] = ()
    document: tuple[str, ...] = ()
    prime: str = ""

    @property
    def id(self) -> tuple[str, ...]:
        return self.connection, self.company, self.kind, self.number, self.what


class Report(msgspec.Struct, kw_only=True):
    """What was compared, and what differs. `checked`: how many of what; `company`: the one that was asked for; `sage_calls`: what it cost;
    `troubles`: what could not be compared, and why; `of`: the same by connection.
    """

    made_at: str
    company: str | None = None
    sage_calls: int = 0
    drifts: list[Drift] = []
    checked: dict[str, int] = {}
    troubles: list[str] = []
    notes: list[str] = []
    of: dict[str, Report] = {}

    def add(self, other: Report) -> None:
        """What was found elsewhere, too."""
        self.drifts += other.drifts
        self.troubles += other.troubles
        self.notes += other.notes
        self.sage_calls += other.sage_calls
        for what, number in other.checked.items():
            self.checked[what] = self.checked.get(what, 0) + number


class Where(NamedTuple):
    """Whose rows or documents they are."""

    connection: str
    company: str
    job: str


# -- registers ---------------------------------------------------------------------------------------------------------


def row_drifts(
    job: JobPlan, readable: Callable[[str], bool], letters: Collection[tuple[str, int]] = (), *, reads_all: bool = False
) -> list[Drift]:
    """What a sync that sends everything would change. `readable`: whether Prime's rows of a kind could be read; `letters`: part and Sage's
    key of rows that Prime has refused, for where it cannot; `reads_all`: every run does, and so finds what has gone.
    """
    found = []
    for row in job.rows:
        what: What
        if readable(row.kind):
            if not row.changes:
                continue
            what = "missing" if row.action == "new" else "extra" if row.action == "expired" else "different"
            detail = "Sage has it no more" if row.action == "expired" else ""
        else:
            if all(write.known == write.digest or not write.key for write in row.writes):  # of what goes before a register, nothing is kept
                continue
            if any((write.part, write.key) in letters for write in row.writes):
                continue
            what = "extra" if row.action == "expired" else "different" if any(write.known for write in row.writes) else "missing"
            detail = {"extra": "Sage has it no more", "different": "not as it was last sent"}.get(what, "never sent")
        changes = tuple(Change(one.field, one.new, one.old) for one in row.changes) if readable(row.kind) else ()
        found.append(
            Drift(
                connection=job.connection,
                company=job.company,
                job=job.job,
                kind=row.kind,
                number=row.number,
                name=row.name,
                what=what,
                detail=detail,
                changes=changes,
                command=f"{SYNC}, or connect sync --company {job.company} --job {job.job} --full --resend",
                repair="send",
                waits=bool(row.writes)
                and all(write.known != write.digest and (write.purpose == "upsert" or reads_all) for write in row.writes),
                key=row.key,
                writes=row.writes,
                prime=row.prime,
            )
        )
    return found


def extra_rows(
    company: str,
    connection: str,
    jobs: Mapping[str, str],
    before: Mapping[str, Mapping[RowKey, Wire]],
    sent: Collection[tuple[str, RowKey]],
    refused: Collection[tuple[str, str]],
    today: date,
) -> tuple[list[Drift], dict[str, int]]:
    """Rows of Prime that nothing in Sage stands for, and how many by kind never came from Sage.

    `jobs`: kind -> the job that delivers it; `sent`: what Sage stands for; `refused`: kind and number of rows that Prime would not take.
    """
    found: list[Drift] = []
    foreign: dict[str, int] = {}
    for kind, job in jobs.items():
        rows = {key: row for key, row in before.get(kind, {}).items() if key[0] == company and not _has_ended(row, today)}
        mine = {key: row for key, row in rows.items() if (kind, key) in sent}
        types = {key[1] for key in mine} if kind == "Object" else set()
        ids = {str(row["ExternalId"]): key for key, row in mine.items() if row.get("ExternalId")}
        names = {(key[1:-1], str(row["Name"]).casefold()): key for key, row in mine.items() if row.get("Name")}
        for key, row in rows.items():
            if (kind, key) in sent or (kind, key[-1]) in refused or (kind == "Object" and key[1] not in types):
                continue
            twin = ids.get(str(row.get("ExternalId"))) or names.get((key[1:-1], str(row.get("Name")).casefold()))
            if twin is None and row.get("ExternalSource") != EXTERNAL_SOURCE:
                foreign[kind] = foreign.get(kind, 0) + 1
                continue
            is_ours = row.get("ExternalSource") == EXTERNAL_SOURCE
            can_end = kind in _END and is_ours  # what people have made, people end: a company's standard account may be among it
            found.append(
                Drift(
                    connection=connection,
                    company=company,
                    job=job,
                    kind=kind,
                    number=key[-1],
                    name=str(row.get("Name") or ""),
                    what="double" if twin is not None else "extra",
                    detail=f"the same as {twin[-1]}" if twin is not None else "it says that it came from Sage, which has none such",
                    command=SYNC
                    if can_end
                    else f"in Prime: remove {kind} {key[-1]}, which no interface can expire"
                    if is_ours
                    else f"in Prime: look at {kind} {key[-1]}, which was made there, and end it if it is a double",
                    repair="expire" if can_end else "",
                    key=key,
                    prime=digest_of(row),
                )
            )
    return found, foreign


_END: Final = ("Account", "Object", "Supplier", "VatCode")


def _has_ended(row: Wire, today: date) -> bool:
    """Whether Prime does not offer it any more."""
    valid_to = row.get("ValidTo")
    return row.get("Closed") == 1 or (isinstance(valid_to, str) and valid_to[:10] <= today.isoformat())


def extra_bank_accounts(where: Where, key: RowKey, now: Wire, sent: Collection[str]) -> Drift | None:
    """Bank accounts of a supplier that Sage does not know: somebody has added them in Prime."""
    more = sorted(set(now.get(BANK_ACCOUNTS) or {}) - set(sent))
    if not more:
        return None
    return Drift(
        connection=where.connection,
        company=where.company,
        job=where.job,
        kind="SupplierBankAccount",
        number=key[-1],
        name=str(now.get("Name") or ""),
        what="extra",
        detail=f"{len(more)} bank account{'s' if len(more) > 1 else ''} that Sage does not know, ending in "
        + ", ".join(number[-4:] for number in more),
        command=f"in Prime: look at the bank accounts of supplier {key[-1]}, and who added them",
        key=key,
    )


# -- bills -------------------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """A document of the journal: its root marker, what is kept of it, and its company ("" when an earlier version wrote it)."""

    root: str
    entry: Entry

    @property
    def id(self) -> DocumentId | None:
        return self.entry.document

    @property
    def text(self) -> str:
        return self.id.text if self.id is not None else self.root

    @property
    def company(self) -> str:
        return self.id.company if self.id is not None else ""


Line = Mapping[str, Any]
"""A line of a bill: (dotted) field -> value."""


def sent_lines(entry: Entry) -> list[dict[str, str]]:
    """The lines of a bill as they were sent: account, amount, and the dimensions that they had; of an adopted one none."""
    if entry.request is None or entry.request.kind != "bill":
        return []
    return [
        {f"glAccount.{name}": str(value) for name, value in line["glAccount"].items()}
        | {"txnAmount": str(line["txnAmount"])}
        | {f"dimensions.{what}.{name}": str(value) for what, one in line.get("dimensions", {}).items() for name, value in one.items()}
        for line in orjson.loads(entry.request.body).get("lines") or []
    ]


def line_changes(sent: Sequence[Line], now: Sequence[Line]) -> list[Change]:
    """What of the lines is not as it was sent, wherever Sage has put them. What was not sent may be anything: Sage fills in more."""
    if len(sent) == len(now) and all(map(_agrees, sent, now)):
        return []
    left, free = dict(enumerate(now)), dict(enumerate(sent))
    for at, line in sorted(free.items(), key=lambda item: -len(item[1])):  # those that say the most choose first
        if (same := next((other for other, one in left.items() if _agrees(line, one)), None)) is not None:
            del left[same], free[at]
    found = []
    others = list(left.values())
    for (at, line), other in zip(free.items(), others, strict=False):
        found += [
            Change(f"line {at + 1} {_word(name)}", value, _shown(other.get(name)))
            for name, value in line.items()
            if not _is_same(name, value, other.get(name))
        ]
    found += [Change(f"line {at + 1}", _line_text(line), None) for at, line in list(free.items())[len(others) :]]
    names = dict.fromkeys(name for line in sent for name in line)
    found += [Change("one more line", None, _line_text({name: line.get(name) for name in names})) for line in others[len(free) :]]
    return found


def _word(name: str) -> str:
    """A line's field for a person."""
    word = name.removeprefix("dimensions.").partition(".")[0]
    return {"glAccount": "account", "txnAmount": "amount"}.get(word, word)


def _agrees(sent: Line, now: Line) -> bool:
    return all(_is_same(name, value, now.get(name)) for name, value in sent.items())


def _is_same(name: str, sent: str, now: Any) -> bool:
    if now is None:
        return False
    return Decimal(sent) == Decimal(str(now)) if name == "txnAmount" else sent == str(now)


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)


def _line_text(line: Line) -> str:
    return ", ".join(f"{_word(name)} {value}" for name, value in line.items() if value is not None)


def bill_drifts(
    connection: str,
    known: Sequence[Known],
    bills: Mapping[str, Bill],
    marked: Sequence[Bill],
    lines: Mapping[str, Sequence[Line]] | None = None,
) -> list[Drift]:
    """`bills`: by the journal's keys; `marked`: all of Sage's that carry a marker of ours; `lines`: of bills whose lines could be read."""
    found: list[Drift] = []
    alive: dict[str, list[Bill]] = defaultdict(list)
    for bill in marked:
        if bill.state in ALIVE:
            for root in {root_of(marker) for marker in bill.markers}:
                alive[root].append(bill)
    for one in known:
        entry, mine = one.entry, alive.get(one.root, [])
        key = entry.key
        if entry.state == "cancelled":
            found += [
                _of_bill(connection, one, bill, "extra", f"bill {bill.key} is there again ({bill.state}); it was taken back", _TAKE_BACK)
                for bill in mine
            ]
            continue
        if entry.state not in BOOKED or not key:
            continue
        bill_now = bills.get(key)
        others = [bill for bill in mine if bill.key != key]
        if bill_now is None or bill_now.state not in ALIVE:
            state = "is not in Sage any more" if bill_now is None else f"is {bill_now.state} in Sage"
            if len(others) == 1:
                detail = f"bill {key} {state}; bill {others[0].key} has taken its place"
                found.append(_of_bill(connection, one, bill_now, "different", detail, _ASK_AGAIN))
            else:
                found.append(_of_bill(connection, one, bill_now, "missing", f"bill {key} {state}", _ASK_AGAIN))
            continue
        found += [
            _of_bill(connection, one, bill, "double", f"bill {bill.key} ({bill.number}) is of the same invoice as {key}", _TAKE_BACK)
            for bill in others
        ]
        changes = _bill_changes(entry, bill_now)
        if (now := (lines or {}).get(key)) is not None:
            changes += tuple(line_changes(sent_lines(entry), now))
        if changes:
            detail = f"bill {key} is not as it was approved in Prime"
            found.append(_of_bill(connection, one, bill_now, "different", detail, _MEND_BILL, changes))
    return found


_TAKE_BACK: Final = "in Sage: delete or reverse it"
_ASK_AGAIN: Final = "in Prime: send the invoice again, and it gets another bill"
_MEND_BILL: Final = "in Sage: put it right, or reverse it and send the invoice again in Prime"


def _bill_changes(entry: Entry, bill: Bill) -> tuple[Change, ...]:
    """What of it is not as it was sent; nothing of one that was adopted, whose bytes nobody kept."""
    request = entry.request
    if request is None or request.kind != "bill":
        return ()
    sent = orjson.loads(request.body)
    lines = sent.get("lines") or []
    amount = sum((Decimal(str(line.get("totalTxnAmount", line["txnAmount"]))) for line in lines), Decimal(0))
    pairs = (
        ("amount", amount, bill.amount),
        ("currency", (sent.get("currency") or {}).get("txnCurrency"), bill.currency),
        ("vendor", request.vendor, bill.vendor),
        ("number", sent.get("billNumber") or bill.number, bill.number),
    )
    return tuple(Change(name, str(was), str(now)) for name, was, now in pairs if was != now)


def _of_bill(
    connection: str, one: Known, bill: Bill | None, what: What, detail: str, command: str, changes: tuple[Change, ...] = ()
) -> Drift:
    named = bill.number if bill is not None else one.entry.request.number if one.entry.request is not None else ""
    return Drift(
        connection=connection,
        company=one.company,
        job="ExportInvoices",
        kind="Bill",
        number=f"{one.text}/{bill.key}" if what in ("double", "extra") and bill is not None else one.text,
        name=named,
        what=what,
        detail=detail,
        changes=changes,
        command=command,
        document=tuple(one.id) if one.id is not None else (),
    )


def orphans(
    connection: str, known: Sequence[Known], attachments: Iterable[str], used: Collection[str], marked: Sequence[Bill]
) -> list[Drift]:
    """Attachments of ours (their ids) that belong to no bill. `used`: ids that some bill names."""
    held = {marker for bill in marked for marker in bill.markers} | set(used)
    under_way = {one.root for one in known if one.entry.state in UNDER_WAY}
    by_root = {one.root: one for one in known}
    found = []
    for name in sorted(attachments):
        if name in held or root_of(name) in under_way:
            continue
        one = by_root.get(root_of(name))
        found.append(
            Drift(
                connection=connection,
                company=one.company if one is not None else "",
                job="ExportInvoices",
                kind="Attachment",
                number=name,
                name=one.text if one is not None else "",
                what="orphaned",
                detail="no bill has it",
                command=f"in Sage: delete attachment {name}",
            )
        )
    return found


# -- payments ----------------------------------------------------------------------------------------------------------


def payment_drifts(
    connection: str,
    known: Sequence[Known],
    payments: Mapping[str, Payment],
    alike: Sequence[Payment],
    bills: Mapping[str, Bill],
) -> list[Drift]:
    """`payments`: by the journal's keys; `alike`: those with a document id or marker of ours; `bills`: what they pay, by key."""
    found: list[Drift] = []
    mine = {one.entry.key for one in known}
    for one in known:
        entry = one.entry
        if entry.state not in BOOKED or not entry.key:
            continue
        now = payments.get(entry.key)
        if now is None:
            found.append(_of_payment(connection, one, "missing", f"payment {entry.key} is not in Sage any more", _PAY_AGAIN))
            continue
        if not now.is_alive:
            found.append(_of_payment(connection, one, "voided", f"payment {entry.key} is {now.state} in Sage", _PAY_AGAIN))
            continue
        found += [
            _of_payment(connection, one, "double", f"payment {other.key} is of the same payment as {entry.key}", _VOID, other.key)
            for other in alike
            if other.key not in mine and other.is_alive and _is_alike(other, now, one.root)
        ]
        if changes := _payment_changes(entry, now):
            detail = f"payment {entry.key} is not as it was sent"
            found.append(_of_payment(connection, one, "different", detail, _MEND_PAYMENT, changes=changes))
        for share in now.shares:
            bill = bills.get(share.bill)
            if bill is None or bill.state not in ALIVE:
                state = "is not there" if bill is None else f"is {bill.state}"
                detail = f"payment {entry.key} pays bill {share.bill}, which {state}"
                found.append(_of_payment(connection, one, "without bill", detail, "in Sage: void the payment, or put the bill right"))
    return found


_PAY_AGAIN: Final = "look at Rillion Pay: has the money gone? Then book it by hand in Sage; else nothing"
_VOID: Final = "in Sage: void it"
_MEND_PAYMENT: Final = "in Sage: void it and book what Rillion Pay has paid"


def _is_alike(other: Payment, mine: Payment, root: str) -> bool:
    marked = any(root_of(marker) == root for marker in other.markers)
    return marked or bool(mine.document_id and other.document_id == mine.document_id)


def _payment_changes(entry: Entry, now: Payment) -> tuple[Change, ...]:
    if entry.request is None:
        return ()
    sent = orjson.loads(entry.request.body)
    details = sent.get("details") or []
    shares = {str(one["bill"]["key"]): Decimal(str(one["txnCurrency"]["paymentAmount"])) for one in details}
    really = {share.bill: share.amount for share in now.shares}
    found = [
        Change(f"amount of bill {bill}", str(shares.get(bill, 0)), str(really.get(bill, 0)))
        for bill in sorted({*shares, *really})
        if shares.get(bill, Decimal(0)) != really.get(bill, Decimal(0))
    ]
    number = sent.get("documentNumber", "")
    if number and number != now.document_number:
        found.append(Change("documentNumber", number, now.document_number))
    return tuple(found)


def _of_payment(
    connection: str, one: Known, what: What, detail: str, command: str, other: str = "", changes: tuple[Change, ...] = ()
) -> Drift:
    return Drift(
        connection=connection,
        company=one.company,
        job="ExportPayments",
        kind="Payment",
        number=f"{one.text}/{other}" if other else one.text,
        name=one.entry.request.number if one.entry.request is not None else "",
        what=what,
        detail=detail,
        changes=changes,
        command=command,
        document=tuple(one.id) if one.id is not None else (),
    )


# -- receipts ----------------------------------------------------------------------------------------------------------


def receipt_drift(where: Where, kind: str, document: DocumentId, name: str, entry: Entry, *, refused: bool = False) -> Drift:
    """A document that is done in Sage and that Prime has no receipt of."""
    done = f"{'taken back' if entry.state == 'cancelled' else 'booked'} in Sage as {entry.key}"
    return Drift(
        connection=where.connection,
        company=where.company,
        job=where.job,
        kind=kind,
        number=document.text,
        name=name,
        what="receipt owed",
        detail=f"{done}, and Prime refuses the receipt" if refused else f"{done}, and Prime still lists it",
        command=f"connect trace {document.text}" if refused else SYNC,
        repair="" if refused else "receipt",
        waits=not refused,
        document=tuple(document),
    )


# -- the plan that mends them ------------------------------------------------------------------------------------------


def plan_of(report: Report, plan: str, settings: str, connection: str | None) -> Plan:
    """What a repair does, for `connect apply`. `settings`: as planning.settings_digest says; `connection`: the one that was asked for."""
    jobs: dict[tuple[str, str, str], JobPlan] = {}
    for one in report.drifts:
        if not one.repair:
            continue
        job = jobs.setdefault(
            (one.connection, one.company, one.job), JobPlan(connection=one.connection, company=one.company, job=one.job, mode="drifts")
        )
        if one.repair == "receipt":
            _, _, series, number = one.document
            job.documents.append(Document(series=series, number=number, text=one.number, name=one.name, action="receipt", note=one.detail))
        else:
            action: Action = "new" if one.what == "missing" else "changed" if one.what == "different" else "expired"
            changes = tuple(Change(change.field, change.new, change.old) for change in one.changes)
            row = Row(
                kind=one.kind,
                key=one.key,
                number=one.number,
                name=one.name,
                action=action,
                changes=changes,
                writes=one.writes,
                prime=one.prime,
            )
            job.rows.append(row)
    options = Options(connection=connection, company=report.company, full=True, expire=True, resend=True, drifts=True)
    return Plan(id=plan, made_at=report.made_at, settings=settings, options=options, jobs=list(jobs.values()))


def still(plan: Plan, report: Report, connection: str | None) -> tuple[list[Drift], list[Moved]]:
    """Of what differs now, what a plan mends as it is; and what of the plan is not as it was."""
    now = plan_of(report, plan.id, plan.settings, connection)
    moved = compare(plan, now).moved
    planned = {(*job.where, row.kind, row.key) for job in plan.jobs for row in job.rows}
    planned |= {(*job.where, "", (one.series, one.number)) for job in plan.jobs for one in job.documents}
    left = {(one.connection, one.company, one.job, one.kind, one.number) for one in moved}

    def holds(drift: Drift) -> bool:
        where = drift.connection, drift.company, drift.job
        if drift.repair == "receipt":
            return (*where, "", drift.document[2:]) in planned and (*where, "document", drift.number) not in left
        return bool(drift.repair) and (*where, drift.kind, drift.key) in planned and (*where, drift.kind, drift.number) not in left

    return [drift for drift in report.drifts if holds(drift)], moved


# -- for people --------------------------------------------------------------------------------------------------------


def encode(report: Report) -> dict[str, Any]:
    """As `--json` prints it: what names a repair inside is left out."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    del found["of"]
    for one in found["drifts"]:
        for name in ("writes", "key", "document", "prime"):
            one.pop(name)
    found["found"] = len(report.drifts)
    return found


KEPT: Final = 200
KEPT_NOTES: Final = 50
KEPT_TEXT: Final = 300  # characters


def summary(report: Report) -> Summary:
    """How many differences there are of each kind, and how many of a company wait for somebody."""
    by, companies = Counter(one.what for one in report.drifts), Counter(one.company for one in report.drifts if not one.waits)
    return Summary(
        made_at=report.made_at,
        by={**by},
        waits=sum(one.waits for one in report.drifts),
        companies={**companies},
        trouble="; ".join(report.troubles)[:KEPT_TEXT],
    )


def kept(report: Report) -> bytes:
    """What is kept of a report: the first differences, what waits for nobody last; of rows the names of the fields that differ."""
    first = sorted(report.drifts, key=lambda one: one.waits)[:KEPT]
    drifts = [
        {
            "company": one.company,
            "what": one.what,
            "which": f"{one.kind} {one.number}"[:KEPT_TEXT],
            "name": one.name[:KEPT_TEXT],
            "detail": (_fields_of(one) if one.job in REGISTERS else detail_of(one))[:KEPT_TEXT],
            "command": one.command,
            "waits": one.waits,
        }
        for one in first
    ]
    return orjson.dumps(
        {
            "made_at": report.made_at,
            "found": len(report.drifts),
            "waits": sum(one.waits for one in report.drifts),
            "by": summary(report).by,
            "checked": report.checked,
            "sage_calls": report.sage_calls,
            "troubles": [trouble[:KEPT_TEXT] for trouble in report.troubles[:KEPT_NOTES]],
            "notes": [note[:KEPT_TEXT] for note in report.notes[:KEPT_NOTES]],
            "drifts": drifts,
        }
    )


def _fields_of(drift: Drift) -> str:
    """Without values, which may be a bank account or a person's tax id."""
    names = dict.fromkeys(one.field.partition(" ")[0] for one in drift.changes)
    return ": ".join(filter(None, (drift.detail, ", ".join(names) if drift.what == "different" else "")))


def lines(report: Report) -> list[tuple[str, str, str, str, str]]:
    """(what, which, name, detail, command) of each."""
    return [(one.what, f"{one.kind} {one.number}", one.name, detail_of(one), one.command) for one in report.drifts]


def detail_of(drift: Drift) -> str:
    changed = ", ".join(f"{one.field} {value_text(one.old)}, is {value_text(one.new)}" for one in drift.changes)
    return ": ".join(filter(None, (drift.detail, changed)))


_STYLE: Final = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b2430}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-bottom:1px solid #dde3ea}th{background:#f3f6f9}"
)


def to_html(report: Report) -> str:
    """A page of its own, without anything from elsewhere."""
    title = f"Sage against Prime, {report.made_at[:16].replace('T', ' ')} UTC"
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>'
    checked = ", ".join(f"{number:,} {name}" for name, number in report.checked.items())
    parts = [head, f"<h1>{title}</h1>", f"<p>{len(report.drifts):,} differences; compared: {html.escape(checked)}.</p>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in (*report.troubles, *report.notes)]
    parts.append("<table><tr>" + "".join(f"<th>{name}</th>" for name in ("connection", "company", *COLUMNS)) + "</tr>")
    for drift, cells in zip(report.drifts, lines(report), strict=True):
        parts.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (drift.connection, drift.company, *cells)) + "</tr>")
    return "\n".join([*parts, "</table></body></html>"])


COLUMNS: Final = ("difference", "which", "name", "should be", "what mends it")
