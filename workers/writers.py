"""The write stage: one chunk to Prime, its rows answered one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from connect.errors import ConnectError, Permanent, Poison, RateLimited, Transient
from connect.prime.port import RowResult
from connect.registers import REGISTERS
from connect.state.known import digest
from connect.state.runs import Chunk
from workers import outcomes
from workers.jobs import ConnectionTools, FinishJob, Tools, WriteJob, entry

UNKNOWN_REFERENCE: Final = 2  # Prime's ResultCode (prime.md 6.1)
FAILS_AT_ROW: Final = 500  # HTTP status, of a SOAP fault too; 502 to 504 say nothing of a row
REMEMBERED: Final = 100

log = structlog.get_logger()


async def write_chunk(ctx: dict[str, Any], job: WriteJob) -> None:
    """Send a chunk. Safe to run again: an acknowledged chunk is not sent twice, and register writes are upserts.

    A chunk that is on its way when its run fails may still land: the job's next run begins only after it (producers.py).

    Accepted rows get their fingerprint after Prime has answered; refused ones become dead letters, one by one; rows whose
    answer is owed come back with the next attempt.
    """
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    chunk = await connection.runs.load_chunk(job.run, job.part, job.chunk)
    if chunk is None:
        return
    withheld = await _withheld(connection, chunk)
    if len(withheld) < len(chunk.bodies):
        await _preamble(ctx["memory"], connection, chunk)
    memory: dict[str, dict[int, RowResult]] = ctx["memory"].setdefault("answered", {})
    answered = memory.setdefault(job.job_id, {})
    while len(memory) > REMEMBERED:  # of chunks that others have finished
        memory.pop(next(iter(memory)))
    try:
        await _send(connection, job, chunk, answered, withheld)
        deferred = await _defer(connection, chunk, answered)
        accepted = [at for at, result in sorted(answered.items()) if result.code == 0]
        refused = [at for at, result in sorted(answered.items()) if result.code != 0 and at not in deferred]
        await _letters(connection, job, chunk, refused, answered)
        await _resolve(connection, chunk, accepted)
        finish = FinishJob(trace=job.trace, sid=job.sid, run=job.run, part=job.part)
        if withheld:
            await connection.runs.leave(chunk, withheld)
        await connection.runs.acknowledge(chunk, accepted=accepted, refused=refused, deferred=deferred, finish=entry(finish))
    except (Transient, RedisError):
        raise  # what was answered is kept for the next attempt in this process
    except BaseException:
        memory.pop(job.job_id, None)
        raise
    memory.pop(job.job_id, None)
    log.info(
        "chunk written",
        kind=chunk.kind,
        company=chunk.company,
        chunk=chunk.chunk,
        accepted=len(accepted),
        refused=len(refused),
        deferred=len(deferred),
    )


async def _withheld(connection: ConnectionTools, chunk: Chunk) -> set[int]:
    """The rows (positions) that the run's plan does not have, or not like this: they are left alone, as if they had not been read."""
    record = await connection.runs.record(chunk.run)
    if record is None or not record.plan:
        return set()
    names = [write_name(chunk.company, chunk.job, chunk.part, row.key, chunk.purpose) for row in chunk.rows]
    allowed = await connection.runs.allowed(record.plan, names)
    return {at for at, (one, body) in enumerate(zip(allowed, chunk.bodies, strict=True)) if one != write_digest(body)}


def write_name(company: str, job: str, part: str, key: int, purpose: str) -> str:
    """How a plan names one row on its way to Prime."""
    return f"{company}\n{job}\n{part}\n{key}\n{purpose}"


def write_digest(body: bytes) -> str:
    """Of what is sent."""
    return f"{digest(body, 0):016x}"


async def _send(
    connection: ConnectionTools, job: WriteJob, chunk: Chunk, answered: dict[int, RowResult], withheld: Collection[int]
) -> None:
    """Send what has no answer yet. Raises the error that a row met when its answer is still owed.

    A row at which Prime fails again and again, while it answers for others, is refused in the end: it must not hold up its register.
    """
    if not await connection.runs.may_write(chunk.run):
        raise Poison("the run has ended; a late chunk never overwrites newer data", code="fenced")
    waiting = [at for at in range(len(chunk.bodies)) if at not in answered and at not in withheld]
    if not waiting:
        return
    results = await connection.prime.write(chunk.kind, chunk.company, [chunk.bodies[at] for at in waiting])
    answers = bool(answered) or any(result.error is None for result in results)
    if answers and any(map(_fails, results)) and await outcomes.attempts(connection.redis, job.job_id) >= outcomes.ATTEMPTS - 2:
        results = [_blamed(result) if _fails(result) else result for result in results]
    for at, result in zip(waiting, results, strict=True):
        if result.error is None:
            answered[at] = result
        elif isinstance(result.error, Permanent | Poison):
            answered[at] = RowResult(code=-1, message=result.error.message)
    _raise_owed(results)


def _fails(result: RowResult) -> bool:
    return isinstance(result.error, Transient) and result.error.status == FAILS_AT_ROW


def _blamed(result: RowResult) -> RowResult:
    error = result.error
    assert error is not None
    words = f"Prime fails at this row and takes others: {error.message}"
    return RowResult(error=Permanent(words, system="prime", code=error.code, status=error.status, detail=error.detail))


def _raise_owed(results: Sequence[RowResult]) -> None:
    owed = [result.error for result in results if result.error is not None and not isinstance(result.error, Permanent | Poison)]
    if owed:
        raise _gravest(owed)


def _gravest(errors: Sequence[ConnectError]) -> ConnectError:
    """The error that decides for all: not being let in, then being told to wait, then the rest."""
    for error in errors:
        if not isinstance(error, Transient):
            return error
    return next((error for error in errors if isinstance(error, RateLimited)), errors[0])


async def _preamble(memory: dict[str, Any], connection: ConnectionTools, chunk: Chunk) -> None:
    """Rows that must be there before any of the chunk's (the object type of a dimension): once per run and process."""
    said: set[tuple[str, str]] = memory.setdefault("preambles", set())
    if not chunk.preamble or (chunk.run, chunk.part) in said:
        return
    for kind, body in chunk.preamble:
        (result,) = await connection.prime.write(kind, chunk.company, [body])
        if result.error is not None:
            raise result.error
        if result.code:
            raise Permanent(f"Prime refused {kind} {body.decode()}: {result.message}", system="prime", code=str(result.code))
    said.add((chunk.run, chunk.part))


async def _defer(connection: ConnectionTools, chunk: Chunk, answered: dict[int, RowResult]) -> list[int]:
    """Rows refused because they point forward (an account to its VAT code): sent without that for now, in full after the other register."""
    register = REGISTERS.get(chunk.job)
    waits_for = register.second_pass_after if register is not None else None
    unknown = [at for at, result in answered.items() if result.code == UNKNOWN_REFERENCE]
    if (
        register is None
        or waits_for is None
        or not unknown
        or chunk.purpose != "upsert"
        or not _is_active(connection, waits_for, chunk.company)
    ):
        return []
    record = await connection.runs.record(chunk.run)
    if record is None or record.mode == "deferred":
        return []
    part = next(part for part in register.parts(connection.connection.register_settings(chunk.company)) if part.id == chunk.part)
    bodies = {at: body for at in unknown if (body := part.provisional(chunk.bodies[at])) is not None}
    if not bodies:
        return []
    results = await connection.prime.write(chunk.kind, chunk.company, list(bodies.values()))
    _raise_owed(results)
    return [at for at, result in zip(bodies, results, strict=True) if result.accepted]


def _is_active(connection: ConnectionTools, job: str, company: str) -> bool:
    return any(one.job == job and one.company == company and one.active for one in connection.connection.jobs)


async def _letters(
    connection: ConnectionTools, job: WriteJob, chunk: Chunk, refused: Sequence[int], answered: dict[int, RowResult]
) -> None:
    letters = []
    for at in refused:
        row, result = chunk.rows[at], answered[at]
        error = Permanent(
            f"{chunk.kind} {row.number}: {result.message}",
            system="prime",
            code=str(result.code) if result.code > 0 else "refused",
            detail=result.message,
        )
        letters.append(
            connection.dead_letters.letter(
                company=chunk.company,
                job=chunk.job,
                part=chunk.part,
                kind=chunk.kind,
                key=row.key,
                number=row.number,
                name=row.name,
                payload=bytes(row.body),
                error=error,
                run=chunk.run,
                trace=job.trace,
            )
        )
    await connection.dead_letters.put_many(letters)


async def _resolve(connection: ConnectionTools, chunk: Chunk, accepted: Sequence[int]) -> None:
    """A row accepted now ends its dead letter."""
    if chunk.purpose != "upsert":
        return
    open_keys = await connection.dead_letters.open_keys(chunk.company, chunk.job, chunk.part)
    if not open_keys:
        return
    ended = [open_keys[chunk.rows[at].key] for at in accepted if chunk.rows[at].key in open_keys]
    if ended:
        await connection.dead_letters.resolve(ended, reason=f"Prime accepted the row in run {chunk.run}")
