"""`connect reconcile`: reads Sage, Prime and the journal, lets connect/reconcile.py compare them, and repairs what it may.

Registers are read as a sync that sends everything would read them, by the pipeline itself over a copy of its state (planning.py). Nothing
is written but by `repair`: rows go the way of a run that writes only them, receipts that of the posting protocol. A plan of it is applied
by looking once more and repairing what is still as it was planned.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import msgspec
import orjson

from connect import reconcile
from connect.config import Config, Connection
from connect.config.names import DOCUMENT_JOBS
from connect.errors import ConnectError, Permanent
from connect.http import Http
from connect.ledger import root_of
from connect.plan import Moved, Options, Plan
from connect.posting import ALIVE
from connect.prime.port import RowResult
from connect.reconcile import Drift, Known, Report, Where
from connect.registers import REGISTERS
from connect.sage.attachments import ATTACHMENT, BILL
from connect.sage.bills import Bill, SageBills
from connect.sage.client import COUNTED, SageClient
from connect.sage.query import Query
from connect.state.audit import Audit
from connect.state.receipts import keys as receipt_keys
from connect.state.reports import Reports
from connect.state.usage import Usage
from workers import acts, planning, posters, producers, session
from workers.applying import check_settings
from workers.documents import JOURNAL_KINDS, tools_of
from workers.jobs import ConnectionTools, PostJob, Tools
from workers.planning import LETTERS, PlannedPrime, document_tools
from workers.screen import Screen
from workers.settings import READ_BUFFER_BYTES, sage_access
from workers.writers import write_name

OURS: Final = "RP-"
KEYS: Final = 500
LOOK_EVERY_S: Final = 0.2
LONGEST_WAIT_S: Final = 3600.0
PAYMENT: Final = "payment"
SHOWN: Final = 3  # refused rows told by name
WRITTEN: Final = ("sent", "refused", "expired")  # counters of a run
OWED: Final = {"ExportInvoices": reconcile.BOOKED, "CancelInvoices": frozenset({"cancelled"}), "ExportPayments": reconcile.BOOKED}
"""Job -> states of the journal in which a document that Prime lists is owed a receipt."""


@dataclass
class Repaired:
    """What became of a repair: by drift, in words. `moved`: what of a plan was left alone, not being as it was planned."""

    done: list[tuple[Drift, str]] = field(default_factory=list)
    left: list[tuple[Drift, str]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)


async def reconcile_now(
    tools: Tools, config: Config, screen: Screen, *, connection: str | None = None, company: str | None = None, shadow_url: str = ""
) -> Report:
    """What differs now; that of a whole connection is kept (state/reports.py). Sage is asked in the background, after all other work.

    Raises what reading Sage and Prime raises, and ConfigError for names that are none.
    """
    acts.check_names(tools, connection, company, None)
    made_at = tools.clock().astimezone(UTC).isoformat(timespec="seconds")
    report = Report(made_at=made_at, company=company)
    for sid, one in tools.connections.items():
        if connection in (None, one.connection.name):
            async with _behind(one) as mine:
                found = await _of_connection(replace(tools, connections={sid: mine}), config, screen, mine, company, shadow_url, made_at)
            if company is None:
                await _keep(one, found)
            report.add(found)
            report.of[one.connection.name] = found
    report.drifts.sort(key=lambda drift: drift.id)
    return report


async def _of_connection(
    tools: Tools, config: Config, screen: Screen, one: ConnectionTools, company: str | None, shadow_url: str, made_at: str
) -> Report:
    begun_at = tools.clock()
    calls: Counter[str] = Counter()
    report = Report(made_at=made_at, company=company)

    async def registers(into: Report) -> None:
        await _registers(tools, config, screen, one, company, shadow_url, into)

    async def documents(into: Report) -> None:
        COUNTED.set(calls)
        try:
            await _documents(tools, one, company, into)
        finally:
            COUNTED.set(None)

    for look, names in ((registers, REGISTERS), (documents, DOCUMENT_JOBS)):
        await _twice_if_need_be(one, look, names, report, begun_at)
    report.notes += [
        f"{run.job}, company {run.company} ({one.connection.name}) is running: what is under way may show as a difference"
        for run in await one.runs.running()
    ]
    report.sage_calls += calls.total()
    await one.usage.flush()
    return report


async def _twice_if_need_be(
    one: ConnectionTools, look: Callable[[Report], Awaitable[None]], jobs: Collection[str], report: Report, begun_at: datetime
) -> None:
    """Look; and once more when runs have moved something meanwhile and something differs: what differs both times does."""
    first = Report(made_at=report.made_at)
    await look(first)
    if first.drifts and await _moved(one, jobs, begun_at):
        second = Report(made_at=report.made_at)
        await look(second)
        seen = {drift.id for drift in first.drifts}
        second.drifts = [drift for drift in second.drifts if drift.id in seen]
        second.sage_calls += first.sage_calls
        first = second
    report.add(first)


async def _moved(one: ConnectionTools, jobs: Collection[str], since: datetime) -> bool:
    """Whether a run of these jobs has written anything since then, or is at it."""
    runs = await one.runs.history(limit=session.HISTORY)
    return any(
        run.job in jobs and (run.ended_at is None or run.ended_at >= since) and any(getattr(run, name) for name in WRITTEN) for run in runs
    )


@asynccontextmanager
async def _behind(one: ConnectionTools) -> AsyncIterator[ConnectionTools]:
    """The connection with clients that stand behind all others for Sage's slots, and whose calls are counted by themselves."""
    connection, slots = one.connection, one.slots.in_background()
    usage = Usage(one.redis, connection.sage_company, connection.sid, clock=one.usage.clock, purpose=("", "reconcile"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=READ_BUFFER_BYTES) as aio:
        sage = SageClient(Http(aio), one.tokens, slots, usage, sage_access(connection))
        mine = replace(one, slots=slots, usage=usage, sage=sage)
        if one.documents is not None:
            mine = replace(mine, documents=document_tools(one, connection, sage, one.documents.prime, one.documents.pay))
        yield mine


async def _keep(one: ConnectionTools, report: Report) -> None:
    await Reports(one.redis, one.connection.sid).keep(reconcile.summary(report), reconcile.kept(report))


def _count(report: Report, what: str, number: int) -> None:
    report.checked[what] = report.checked.get(what, 0) + number


# -- registers ---------------------------------------------------------------------------------------------------------


async def _registers(
    tools: Tools, config: Config, screen: Screen, one: ConnectionTools, company: str | None, shadow_url: str, report: Report
) -> None:
    connection = one.connection
    jobs = [job for job in connection.jobs if job.active and job.job in REGISTERS and company in (None, job.company)]
    if not jobs:
        return
    only = connection.model_copy(update={"jobs": jobs})
    seen: list[PlannedPrime] = []
    plan = await planning.make(
        tools,
        config.model_copy(update={"connections": [only]}),
        screen,
        Options(connection=connection.name, company=company, full=True, expire=True, resend=True),
        shadow_url=shadow_url,
        look=lambda _, prime: seen.append(prime),
    )
    (prime,) = seen
    letters: set[tuple[str, str, int]] = set()
    if prime.unreadable:
        _, found = await one.dead_letters.find({}, states=("open", "replaying"), limit=LETTERS)
        letters = {(letter.company, letter.part, letter.key) for letter in found if letter.key}
    for job in plan.jobs:
        refused = {(part, key) for owner, part, key in letters if owner == job.company}
        reads_all = connection.settings(job.company).is_full_import
        report.drifts += reconcile.row_drifts(job, lambda kind: kind in prime.before, refused, reads_all=reads_all)
        report.sage_calls += job.sage_calls
        if many := sum((write.part, write.key) in refused for row in job.rows for write in row.writes):
            report.notes.append(f"{job.job}, company {job.company}: Prime has refused {many} rows (connect dead-letters list)")
        _count(report, "rows of Sage", job.read)
        if job.state != "done":
            report.troubles.append(f"{job.job}, company {job.company}: {job.reason or '; '.join(plan.notes) or job.state}")
        if job.refused:
            first = "; ".join(f"{one.kind} {one.number}: {one.reason}" for one in job.refused[:SHOWN])
            more = f"; and {len(job.refused) - SHOWN} more" if len(job.refused) > SHOWN else ""
            report.notes.append(f"{job.job}, company {job.company}: {len(job.refused)} rows would be refused: {first}{more}")
    report.notes += sorted({f"{connection.name}: {text}" for text in prime.unreadable.values()})
    _extras(tools, connection, prime, plan, report)


def _extras(tools: Tools, connection: Connection, prime: PlannedPrime, plan: Plan, report: Report) -> None:
    """What Prime holds beside what Sage has, where it can be read."""
    today = tools.clock().date()
    for company in sorted({job.company for job in plan.jobs}):
        sent = {(kind, key): one for (owner, kind, key), one in prime.sent.items() if owner == company}
        jobs = {kind: one.job for (kind, _), one in sent.items() if kind in prime.before and kind != "ObjectType"}
        refused = {(one.kind, one.number) for job in plan.jobs if job.company == company for one in job.refused}
        drifts, foreign = reconcile.extra_rows(company, connection.name, jobs, prime.before, sent, refused, today)
        report.drifts += drifts
        report.notes += [
            f"{connection.name}, company {company}: {number} rows of {kind} in Prime never came from Sage (connect doctor)"
            for kind, number in sorted(foreign.items())
        ]
        for kind in jobs:
            _count(report, "rows of Prime", sum(key[0] == company for key in prime.before[kind]))
        for (owner, key), numbers in prime.accounts.items():
            if owner == company and (now := prime.now["Supplier"].get(key)) is not None:
                where = Where(connection.name, company, jobs.get("Supplier", ""))
                found = reconcile.extra_bank_accounts(where, key, now, numbers)
                report.drifts += [found] if found is not None else []


# -- documents ---------------------------------------------------------------------------------------------------------


async def _documents(tools: Tools, one: ConnectionTools, company: str | None, report: Report) -> None:
    jobs = [job for job in one.connection.jobs if job.active and job.job in DOCUMENT_JOBS and company in (None, job.company)]
    if not jobs or one.documents is None:
        return
    name, its = one.connection.name, tools_of(one)
    bills_known = [Known(root, entry) async for root, entry in its.journal.all("bill")]
    payments_known = [Known(root, entry) async for root, entry in its.journal.all(PAYMENT)]
    bills_known, payments_known = ([each for each in known if company in (None, each.company)] for known in (bills_known, payments_known))
    marked = await its.bills.marked(OURS)
    bills = {bill.key: bill for bill in marked} | await its.bills.bills(
        sorted({each.entry.key for each in bills_known if each.entry.key} - {bill.key for bill in marked})
    )
    _count(report, "bills", len(bills_known))
    roots = {each.root for each in bills_known}
    if company is None and (unknown := sum(not roots & {root_of(m) for m in bill.markers} for bill in marked)):
        report.notes.append(f"{name}: {unknown} bills in Sage bear a marker of ours that the journal does not know; a look-up finds them")
    lines = await _lines(its.bills, bills_known, bills, name, report)
    report.drifts += reconcile.bill_drifts(name, bills_known, bills, marked, lines)
    ids = await _attachments(one)
    _count(report, "attachments", len(ids))
    free = sorted(set(ids) - {marker for bill in marked for marker in bill.markers})
    if company is None:
        report.drifts += reconcile.orphans(name, bills_known, free, await _used(one, free), marked)
    if payments_known:
        payments = await its.payments.payments(sorted(each.entry.key for each in payments_known if each.entry.key))
        named = sorted({payment.document_id for payment in payments.values() if payment.document_id})
        alike = await its.payments.find(named, markers=[each.root for each in payments_known if each.entry.key in payments])
        paid = await its.bills.bills(sorted({share.bill for payment in payments.values() for share in payment.shares}))
        _count(report, "payments", len(payments_known))
        report.drifts += reconcile.payment_drifts(name, payments_known, payments, alike, paid)
    for job in jobs:
        if job.job in OWED:
            report.drifts += await _owed(tools, one, Where(name, job.company, job.job), report)


async def _lines(
    sage: SageBills, known: Sequence[Known], bills: Mapping[str, Bill], name: str, report: Report
) -> dict[str, list[dict[str, Any]]]:
    """The lines of the bills that are there and whose bytes are kept; {} where Sage does not show lines."""
    sent = {
        one.entry.key: lines
        for one in known
        if one.entry.state in reconcile.BOOKED
        and one.entry.key in bills
        and bills[one.entry.key].state in ALIVE
        and (lines := reconcile.sent_lines(one.entry))
    }
    if not sent:
        return {}
    try:
        found = await sage.lines(sorted(sent, key=int), sorted({field for lines in sent.values() for line in lines for field in line}))
    except Permanent as error:
        report.notes.append(f"{name}: lines of bills cannot be compared: {error.message}")
        return {}
    _count(report, "lines of bills", sum(map(len, found.values())))
    return found


async def _attachments(one: ConnectionTools) -> list[str]:
    """The ids of all attachments that are ours."""
    query = Query(ATTACHMENT, ("key", "id"), ({"$startsWith": {"id": OURS}},), include_private=True)
    return [orjson.loads(raw)["id"] for _, raw in await one.sage.rows_of(query)]


async def _used(one: ConnectionTools, ids: Sequence[str]) -> set[str]:
    """Those of these attachments that some bill has, whatever its description says."""
    found: set[str] = set()
    for start in range(0, len(ids), KEYS):
        filters = ({"$in": {"attachment.id": list(ids[start : start + KEYS])}},)
        rows = await one.sage.rows_of(Query(BILL, ("key", "attachment.id"), filters, include_private=True))
        found |= {orjson.loads(raw)["attachment.id"] for _, raw in rows}
    return found


async def _owed(tools: Tools, one: ConnectionTools, where: Where, report: Report) -> list[Drift]:
    """What Prime lists although it is done, and what it refuses the receipt of."""
    try:
        opened = await posters.KINDS[where.job](tools, one, where.company)
        listed = await opened.listed()
    except Permanent as error:
        report.troubles.append(f"{where.job}, company {where.company}: {error.message}")
        return []
    kind = JOURNAL_KINDS[opened.kind]
    entries = await tools_of(one).journal.entries(kind, [document.id for document in listed])
    _, unreceived = receipt_keys(one.connection.sid, where.company, where.job)
    refused = {name.decode() for name in await one.redis.zrange(unreceived, 0, -1)}
    _count(report, "documents that Prime lists", len(listed))
    return [
        reconcile.receipt_drift(where, opened.kind, document.id, document.name, entry, refused=document.id.text in refused)
        for document, entry in zip(listed, entries, strict=True)
        if entry.state in OWED[where.job] and entry.key
    ]


# -- repair ------------------------------------------------------------------------------------------------------------


def plan_of(report: Report, config: Config, connection: str | None) -> Plan:
    """What `repair` would do, for `connect apply`."""
    plan = reconcile.plan_of(report, secrets.token_hex(8), "", connection)
    plan.settings = planning.settings_digest(config, plan.options)
    return plan


async def apply(tools: Tools, config: Config, screen: Screen, plan: Plan, *, by: str, shadow_url: str = "") -> Repaired:
    """Do what such a plan says: what differs is looked for once more, and what is not as it was planned is left alone.

    Workers of every stage must be alive. Raises ConfigError when the settings are not those of the plan, and what looking raises.
    """
    check_settings(config, plan)
    connection = plan.options.connection
    report = await reconcile_now(tools, config, screen, connection=connection, company=plan.options.company, shadow_url=shadow_url)
    drifts, moved = reconcile.still(plan, report, connection)
    repaired = await repair(tools, screen, msgspec.structs.replace(report, drifts=drifts), by=by)
    repaired.moved = moved
    return repaired


async def repair(tools: Tools, screen: Screen, report: Report, *, by: str) -> Repaired:
    """Send rows again, expire what nobody in Sage stands for, send owed receipts. Deletes nothing, neither in Sage nor in Prime.

    It is a plan that is applied at once: rows that Sage changes meanwhile are left alone. Workers of every stage must be alive.
    """
    found = Repaired()
    plan = secrets.token_hex(8)
    by_name = {one.connection.name: one for one in tools.connections.values()}
    for drift in report.drifts:
        if not drift.repair:
            found.left.append((drift, drift.command))
    for name, one in by_name.items():
        mine = [drift for drift in report.drifts if drift.repair and drift.connection == name]
        for drift in mine:
            what = {"repair": drift.repair, "difference": drift.what, "kind": drift.kind, "number": drift.number}
            await Audit(one.redis, one.connection.sid).add(
                "reconcile", f"{drift.kind} {drift.number}", by=by, company=drift.company, **what
            )
        await _send(tools, screen, one, [drift for drift in mine if drift.repair == "send"], by, plan, found)
        await _expire(one, [drift for drift in mine if drift.repair == "expire"], found)
        await _receipts(tools, one, [drift for drift in mine if drift.repair == "receipt"], found)
        if report.company is None and name in report.of:
            done = {drift.id for drift, _ in found.done}
            looked = report.of[name]
            await _keep(one, msgspec.structs.replace(looked, drifts=[drift for drift in looked.drifts if drift.id not in done]))
    return found


async def _send(tools: Tools, screen: Screen, one: ConnectionTools, drifts: Sequence[Drift], by: str, plan: str, found: Repaired) -> None:
    """Rows that Sage has are read anew and sent, whatever was known of them; those that it has no more, a full run expires. Both write
    nothing but what was found.
    """
    groups: dict[tuple[str, str], list[Drift]] = {}
    for drift in drifts:
        groups.setdefault((drift.job, drift.company), []).append(drift)
    for job, company in sorted(groups, key=lambda where: (list(REGISTERS).index(where[0]), where[1])):
        mine = groups[job, company]
        parts: dict[str, list[int]] = {}
        for write in (write for drift in mine for write in drift.writes if write.purpose == "upsert" and write.key > 0):
            parts.setdefault(write.part, []).append(write.key)
        names = {write_name(company, job, write.part, write.key, write.purpose): write.digest for drift in mine for write in drift.writes}
        await one.runs.allow(plan, names)
        reason = await _sent_anew(tools, one, company, job, parts, plan) if parts else ""
        if not reason and any(write.purpose == "expire" or write.key <= 0 for drift in mine for write in drift.writes):
            wish = {"connection": one.connection.name, "company": company, "job": job, "full": True, "expire": True, "plan": plan}
            outcome = await session.run_several(tools, screen, [wish], by=by)
            reason = "; ".join(record.reason for _, record in outcome.runs if record.state != "done")
        (found.left if reason else found.done).extend((drift, reason or "sent") for drift in mine)


async def _sent_anew(tools: Tools, one: ConnectionTools, company: str, job: str, parts: Mapping[str, list[int]], plan: str) -> str:
    """By a run of its own, and its end. Returns why it was not done, "" when it was."""
    waited_s = 0.0
    while (run := await producers.read_anew(tools, one, company, job, parts, tools.clock(), plan=plan)) is None:
        if waited_s > LONGEST_WAIT_S:
            return f"{job} of company {company} is running and does not end; repair again later"
        await asyncio.sleep(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S
    while (record := await one.runs.record(run)) is not None and record.state == "running":
        if waited_s > LONGEST_WAIT_S:
            return f"run {run} has not ended within {LONGEST_WAIT_S:.0f} s; it goes on (connect status)"
        await asyncio.sleep(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S
    if record is not None and record.left:
        return f"{record.left} rows of {job}, company {company}, were changed in Sage meanwhile and left alone; repair again"
    return "" if record is None or record.state == "done" else record.reason


async def _expire(one: ConnectionTools, drifts: Sequence[Drift], found: Repaired) -> None:
    """Rows of Prime that nothing in Sage stands for: expired, never removed."""
    for drift in drifts:
        body = _expiry(one.connection, drift)
        if body is None:
            found.left.append((drift, f"in Prime: end {drift.kind} {drift.number} by hand"))
            continue
        try:
            (result,) = await one.prime.write(drift.kind, drift.company, [body])
        except ConnectError as error:
            result = RowResult(error=error)
        said = result.error.message if result.error is not None else result.message
        (found.done if result.accepted else found.left).append((drift, "expired" if result.accepted else said))


def _expiry(connection: Connection, drift: Drift) -> bytes | None:
    for part in REGISTERS[drift.job].parts(connection.register_settings(drift.company)):
        if part.kind == drift.kind and (drift.kind != "Object" or part.id == f"Object-{drift.key[1]}"):
            return part.expire(drift.number, drift.number, drift.name, "")
    return None


async def _receipts(tools: Tools, one: ConnectionTools, drifts: Sequence[Drift], found: Repaired) -> None:
    """Through the posting protocol: it looks up once more, and what it finds booked gets its receipt."""
    for drift in drifts:
        _, company, series, number = drift.document
        opened = await posters.KINDS[drift.job](tools, one, company)
        job = PostJob(
            trace=secrets.token_hex(8), sid=one.connection.sid, run="", job=drift.job, company=company, documents=((series, number),)
        )
        results = await posters.post_batch({"tools": tools}, job)
        told = [result for result in results if result.state in posters.DONE and result.told]
        (found.done if told else found.left).append((drift, results[0].note or results[0].state if results else opened.kind))
