"""The post stage: what Prime has approved is booked in Sage, exactly once (connect/posting.py), and Prime is told.

    list    what is there to do? Documents go on in batches; the run's record says how many
    post    one batch through the protocol; what must wait comes back by itself, what is refused becomes a dead letter

Each kind of document has a module of its own (invoices.py, …), which says how a company's work is opened; KINDS lists them.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from connect.documents import edits
from connect.documents.invoice import Invoice
from connect.errors import ConnectError, Permanent, Poison
from connect.ledger import DocumentId
from connect.posting import Result
from connect.sage.client import COUNTED
from connect.state.dead_letters import DeadLetter, advice
from connect.state.receipts import Receipts
from connect.state.story import Story
from connect.state.unapproved import Unapproved
from workers import cancellations, invoices, payment_dates, payments
from workers.deployment import own, still_own
from workers.documents import BILL, JOURNAL_KINDS, NOT_PLANNED, Opened, submitted_text, tools_of
from workers.jobs import ConnectionTools, ListJob, PostJob, Tools, enqueue

BUSY_WAIT_S: Final = 2.0
PRIME_HAS_IT: Final = "Prime has it back with the reasons; it comes again when it is resent there."
PAY_HAS_IT: Final = "Rillion Pay has the reasons; it is sent again when a person replays it."
ROUNDED_S: Final = 0.5  # waits, up to it
KINDS: Final[dict[str, Callable[[Tools, ConnectionTools, str], Awaitable[Opened]]]] = {
    invoices.JOB: invoices.open_invoices,
    cancellations.JOB: cancellations.open_cancellations,
    payment_dates.JOB: payment_dates.open_payment_dates,
    payments.JOB: payments.open_payments,
}
"""Job -> how a company's work is opened."""
DONE: Final = {"booked": "booked in Sage as", "cancelled": "cancelled in Sage:", "dated": "Prime has the payment date of"}
"""What a document's state means when nothing is left to do."""

log = structlog.get_logger()


async def list_documents(ctx: dict[str, Any], job: ListJob) -> None:
    """Ask Prime what it lists, and send it on. The run's record ends here; what becomes of each document is added to it later."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    if (record := await connection.runs.record(job.run)) is None or record.state != "running":
        return
    await own(tools, connection)
    opened = await KINDS[record.job](tools, connection, job.company)
    listed = await opened.listed()
    await _receipts(connection, job.company, record.job).listed([one.id.text for one in listed], tools.clock())
    letters = [_unreadable(connection, job, error, record.job, opened.kind) for error in opened.poisoned]
    await connection.dead_letters.put_many(letters)
    jobs = [
        PostJob(
            trace=job.trace,
            sid=job.sid,
            run=job.run,
            job=record.job,
            company=job.company,
            documents=tuple((one.id.series, one.id.number) for one in listed[start : start + opened.batch]),
        )
        for start in range(0, len(listed), opened.batch)
    ]
    await enqueue(tools.redis, jobs)
    await connection.runs.count(job.run, read=len(listed) + len(letters), refused=len(letters))
    await connection.runs.count(job.run, **opened.counted)
    await connection.runs.end(job.run, tools.clock(), reason="; ".join(opened.remarks))
    log.info("documents listed", job=record.job, company=job.company, documents=len(listed), unreadable=len(letters))


async def post(ctx: dict[str, Any], job: PostJob) -> None:
    """One batch through the protocol. Running it twice, or late, is harmless."""
    await post_batch(ctx, job)


async def post_batch(ctx: dict[str, Any], job: PostJob) -> list[Result]:
    """The same, and what became of each document."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    calls: Counter[str] = Counter()
    COUNTED.set(calls)  # of this job alone: each runs in a context of its own
    await still_own(tools, connection)
    opened = await KINDS[job.job](tools, connection, job.company)
    environment = tools_of(connection).prime.environment
    results = await opened.post([DocumentId(environment, job.company, series, number) for series, number in job.documents])
    results = await _look_at_approval(connection, job, opened, results)
    if job.run:
        await connection.runs.count(job.run, calls=calls.total())
    await _note_receipts(tools, connection, job, results)
    await asyncio.gather(*(_tell(connection, job, opened, result) for result in results))
    waiting = [result for result in results if result.state in ("waiting", "busy")]
    await _come_back(tools, job, [result for result in waiting if not result.note.startswith(NOT_PLANNED)])
    await asyncio.gather(*(_note(connection, job, opened, result) for result in results if result not in waiting))
    return results


def _receipts(connection: ConnectionTools, company: str, job: str) -> Receipts:
    return Receipts(connection.redis, connection.connection.sid, company, job)


async def _note_receipts(tools: Tools, connection: ConnectionTools, job: PostJob, results: Sequence[Result]) -> None:
    """Which documents of the batch do not wait for a receipt any more, and whose receipt Prime does not take."""
    receipts = _receipts(connection, job.company, job.job)
    over = [result for result in results if result.state in DONE or result.state in ("refused", "not_listed")]
    await receipts.over(result.id.text for result in over if result.told)
    await receipts.refused((result.id.text for result in over if not result.told), tools.clock())


async def _look_at_approval(connection: ConnectionTools, job: PostJob, opened: Opened, results: list[Result]) -> list[Result]:
    """Sage's yes says nothing of a bill's state: those that wait for approval there are counted and told, one query for the batch."""
    keys = [result.key for result in results if result.state == "booked"]
    if opened.unapproved is None or not keys:
        return results
    try:
        waiting = await opened.unapproved(keys)
    except ConnectError as error:  # they are booked, and Prime knows: only the remark is lost
        log.warning("whether new bills wait for approval in Sage cannot be read", bills=len(keys), error=error.message)
        return results
    if not waiting:
        return results
    await Unapproved(connection.redis, connection.connection.sid).add(job.company, len(waiting))
    if job.run:
        await connection.runs.count(job.run, submitted=len(waiting))
    log.warning(submitted_text(len(waiting)), company=job.company, bills=sorted(waiting))
    note = "submitted in Sage: approve it there"
    return [replace(result, note=note) if result.state == "booked" and result.key in waiting else result for result in results]


async def _tell(connection: ConnectionTools, job: PostJob, opened: Opened, result: Result) -> None:
    """One more step of the document's story (`connect trace`)."""
    listed = result.listed
    await Story(connection.redis, connection.connection.sid).tell(
        JOURNAL_KINDS.get(opened.kind, BILL),
        result.id,
        result.state,
        numbers=(result.key, listed.number, *listed.numbers) if listed is not None else (result.key,),
        system=opened.system,
        job=job.job,
        company=job.company,
        run=job.run,
        trace=job.trace,
        key=result.key,
        result=" | ".join(one.text for one in result.problems) or result.note,
        request_id=next((one.request_id for one in result.problems if one.request_id), ""),
    )


async def _come_back(tools: Tools, job: PostJob, results: Sequence[Result]) -> None:
    """What must wait comes back together: each job lists and looks up once for all its documents."""
    waits: dict[float, list[Result]] = {}
    for result in results:
        wait_s = result.again_s if result.state == "waiting" else BUSY_WAIT_S
        waits.setdefault(math.ceil(wait_s / ROUNDED_S) * ROUNDED_S, []).append(result)
    for wait_s, together in waits.items():
        documents = tuple((result.id.series, result.id.number) for result in together)
        again = job.model_copy(update={"documents": documents, "nonce": secrets.token_hex(4)})
        await enqueue(tools.redis, [again], delay_ms=int(wait_s * 1000) + 20)
        for result in together:
            reason = result.note or result.state
            log.info("document waits", document=result.id.text, company=job.company, wait_s=wait_s, reason=reason)


async def _note(connection: ConnectionTools, job: PostJob, opened: Opened, result: Result) -> None:
    """What a result means for the run and the dead letters."""
    counted = "sent" if result.state in DONE else "refused" if result.state in ("refused", "held", "person") else None
    if counted and job.run:
        await connection.runs.count(job.run, **{counted: 1})
    if result.state == "not_listed":
        await _note_over(connection, job, opened, result)
    elif result.state in DONE:
        noun = _noun(opened)
        log.info(result.state, document=result.id.text, company=job.company, **{noun: result.key}, note=result.note)
        reason = f"{DONE[result.state]} {noun} {result.key}"
        await connection.dead_letters.resolve([_letter_id(connection, job, opened, result)], reason=reason)
    elif result.problems:
        reasons = [one.text for one in result.problems]
        log.warning("refused", kind=opened.kind, document=result.id.text, company=job.company, state=result.state, reasons=reasons)
        await connection.dead_letters.put_many([_letter(connection, job, opened, result)])


async def _note_over(connection: ConnectionTools, job: PostJob, opened: Opened, result: Result) -> None:
    """Prime does not list it any more: its letter may never have been written (whoever did the last step died), or was replayed in vain."""
    letter_id = _letter_id(connection, job, opened, result)
    if result.key:
        await connection.dead_letters.resolve([letter_id], reason=f"Prime has its answer: {_noun(opened)} {result.key}")
    elif result.problems and await connection.dead_letters.get(letter_id) is None:
        await connection.dead_letters.put_many([_letter(connection, job, opened, replace(result, state="refused"))])
    else:
        await connection.dead_letters.reopen([letter_id], reason="Prime does not list it: it comes again when it is resent there")


def _letter(connection: ConnectionTools, job: PostJob, opened: Opened, result: Result) -> DeadLetter:
    listed = result.listed
    lead = next((one for one in result.problems if one.owner != "clerk"), result.problems[0])
    made = connection.dead_letters.letter(
        company=job.company,
        job=job.job,
        part=opened.kind,
        kind=opened.kind,
        key=0,
        number=result.id.text,
        name=listed.name if listed is not None else "",
        payload=_payload(listed.document) if listed is not None else b"{}",
        error=Permanent(
            " | ".join(one.text for one in result.problems),
            system=opened.system,
            code=lead.code or result.state,
            request_id=lead.request_id,
        ),
        run=job.run,
        trace=job.trace,
    )
    known = [advice(opened.system, one.code, one.message) for one in (lead, *result.problems)]
    said = {name: " ".join(dict.fromkeys(one[name] for one in known if one[name])) for name in ("fix", "cause")}
    if result.state == "refused":
        has_it = PAY_HAS_IT if opened.kind == payments.KIND else PRIME_HAS_IT
        said = {**said, "fix": f"{has_it} {said['fix']}", "held_by": "Prime"}
    return replace(made, error={**made.error, **said, "entry": known[0]["entry"], "owner": lead.owner})


def _noun(opened: Opened) -> str:
    """What it is in Sage."""
    return "payment" if opened.kind == payments.KIND else "bill"


def _payload(document: Any) -> bytes:
    return edits.payload_of(document) if isinstance(document, Invoice) else msgspec.json.encode(document)


def _letter_id(connection: ConnectionTools, job: PostJob, opened: Opened, result: Result) -> str:
    return connection.dead_letters.id_of(job.company, job.job, opened.kind, result.id.text)


def _unreadable(connection: ConnectionTools, job: ListJob, error: Poison, job_name: str, kind: str) -> DeadLetter:
    return connection.dead_letters.letter(
        company=job.company,
        job=job_name,
        part=kind,
        kind=f"unreadable {kind.lower()}",
        key=0,
        number=error.message[:60],
        name="",
        payload=error.detail.encode(),
        error=error,
        run=job.run,
        trace=job.trace,
    )
