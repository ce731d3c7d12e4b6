r"""The schedule stage: what is due is started, in the order that registers need, and what lost its jobs gets them back.

A tick is a wake-up, not a clock: a missed or doubled one is harmless. A job is due when its schedule says so, when it never
ran, or when somebody wants it now:

    connect:{sid}:wanted    hash   "{company}\n{job}" -> {full, resend, expire, trace}
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import LockError, RedisError

from connect.config import Job
from connect.config.names import DOCUMENT_JOBS
from connect.config.schedule import turn
from connect.mapping import Part
from connect.metering import budget_state
from connect.registers import REGISTERS, register_jobs_in_order
from connect.state.known import Known
from connect.state.pauses import Hold, hold_on
from connect.state.runs import Mode, PartState, RunRecord
from workers import jobs as queue
from workers.deployment import beat
from workers.jobs import (
    FETCH,
    POST,
    WRITE,
    ConnectionTools,
    FinishJob,
    ListJob,
    PostJob,
    RowsJob,
    SweepJob,
    TickJob,
    Tools,
    WriteJob,
    cursor_of,
    denoted,
    enqueue,
    noted,
    queue_name,
)
from workers.queues import has_any, is_at_work, sample
from workers.reports import begin_due

TICK_S: Final = 20.0
REAP_AFTER: Final = timedelta(seconds=20)
LOST: Final = "job"  # kind of the letters of jobs that could not be read
NEVER: Final = datetime.min.replace(tzinfo=UTC)
NEVER_SWEPT: Final = timedelta(seconds=60)
# A wish is taken back only as it was read: one that came meanwhile stays.
_GRANTED: Final = "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end"

log = structlog.get_logger()


@dataclass(frozen=True)
class Wish:
    """Somebody wants a job now."""

    full: bool = False
    resend: bool = False
    expire: bool = False
    rewrite: bool = False
    plan: str = ""
    trace: str = ""
    raw: bytes = b""


class _Starting(NamedTuple):
    """A part of a run that is about to be swept."""

    run: str
    part: Part
    entity: str
    mode: Mode
    trace: str


async def want(
    tools: Tools,
    *,
    connection: str | None = None,
    company: str | None = None,
    job: str | None = None,
    full: bool = False,
    resend: bool = False,
    expire: bool = False,
    rewrite: bool = False,
    plan: str = "",
) -> list[tuple[str, str, str]]:
    """Ask for jobs now, due or not. Returns (connection, company, job) of what was asked for; wakes the schedule stage.

    `rewrite`: also where changed settings write many rows anew. `plan`: nothing but what this plan allows.
    """
    asked: list[tuple[str, str, str]] = []
    for one in tools.connections.values():
        if connection is not None and one.connection.name != connection:
            continue
        chosen = [
            item
            for item in one.connection.jobs
            if item.active and _is_supported(item.job) and company in (None, item.company) and job in (None, item.job)
        ]
        if not chosen:
            continue
        trace = secrets.token_hex(8)
        later = {name: value for name, value in (("rewrite", rewrite), ("plan", plan)) if value}  # older versions know the others only
        wish = orjson.dumps({"full": full, "resend": resend, "expire": expire, "trace": trace} | later)
        await tools.redis.hset(_wanted(one.connection.sid), mapping={f"{item.company}\n{item.job}": wish for item in chosen})
        await enqueue(tools.redis, [TickJob(trace=trace, sid=one.connection.sid)])
        asked += [(one.connection.name, item.company, item.job) for item in chosen]
    return asked


async def wake_up_now(tools: Tools, connection: ConnectionTools) -> None:
    """What is due of this connection? Asked by a worker of the schedule stage, at once."""
    await enqueue(tools.redis, [TickJob(trace=secrets.token_hex(8), sid=connection.connection.sid)])


def _is_supported(job: str) -> bool:
    return job in REGISTERS or job in DOCUMENT_JOBS


async def wanted(redis: Redis, sid: str) -> dict[tuple[str, str], Wish]:
    """What somebody wants of this connection and what has not started yet, by (company, job)."""
    raw = await redis.hgetall(_wanted(sid))
    found = {}
    for name, value in raw.items():
        company, _, job = name.decode().partition("\n")
        found[company, job] = Wish(**orjson.loads(value), raw=value)
    return found


def _wanted(sid: str) -> str:
    return f"connect:{sid}:wanted"


async def tick(ctx: dict[str, Any], job: TickJob) -> None:
    """What is due? One connection's trouble never stops another's."""
    tools: Tools = ctx["tools"]
    for sid, connection in tools.connections.items():
        if job.sid in ("", sid):
            async with _one_at_a_time(tools.redis, sid):
                await _tick(tools, connection)
    try:
        await sample(tools)
    except RedisError:
        raise
    except Exception as error:  # noqa: BLE001 - a chart has a gap
        log.error("no sample was taken", error=repr(error), where=traceback.format_exc(limit=-4))


@asynccontextmanager
async def _one_at_a_time(redis: Redis, sid: str) -> AsyncIterator[None]:
    """Two ticks at once would each start some of the jobs that could share a sweep. Waits its turn; a dead one's turn ends by itself."""
    lock = redis.lock(f"connect:{sid}:tick", timeout=TICK_S, sleep=0.02)
    token = secrets.token_hex(8)
    try:
        await lock.acquire(token=token)  # whoever is stopped here may have it already
        yield
    finally:
        with suppress(LockError):  # it took too long, or Redis has lost everything
            await asyncio.shield(lock.do_release(token.encode()))


async def _tick(tools: Tools, connection: ConnectionTools) -> None:
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "start": partial(start_due, tools, connection, tools.clock()),
        "beat": partial(beat, tools, connection),
        "reap": partial(reap, tools, connection, tools.clock()),
        "reopen": partial(reopen_replays, connection),
        "lost": partial(resolve_lost, connection),
        "purge": connection.dead_letters.purge,
        "group": connection.dead_letters.group_older,
        "report": partial(_report, tools, connection),
    }
    for name, step in steps.items():
        try:
            await step()
        except RedisError:
            raise  # that is everybody's trouble
        except Exception as error:  # noqa: BLE001
            where = traceback.format_exc(limit=-4)
            log.error("tick failed", step=name, connection=connection.connection.name, error=repr(error), where=where)


async def _report(tools: Tools, connection: ConnectionTools) -> None:
    """The report of differences begins when nothing else is to be done: what is under way would show as one."""
    sid = connection.connection.sid
    is_quiet = connection.connection.reconcile is not None and not (await connection.runs.running() or await wanted(tools.redis, sid))
    await begin_due(tools, connection, is_quiet=is_quiet)


async def start_due(tools: Tools, connection: ConnectionTools, now: datetime) -> list[str]:
    """Start what is due and need not wait for another job of its company. Returns the new runs."""
    sid = connection.connection.sid
    wishes = await wanted(tools.redis, sid)
    running = {(record.company, record.job) for record in await connection.runs.running()}
    jobs = {(job.company, job.job): job for job in connection.connection.jobs if job.active and _is_supported(job.job)}
    for key in wishes.keys() - jobs.keys():  # of a job that the configuration does not have any more
        await _granted(tools, sid, key, wishes[key])
    holds = await connection.pauses.holds()
    jobs = {key: job for key, job in jobs.items() if hold_on(holds, job.job) is None}  # what a person has paused holds up nothing else
    if await _is_spent(connection):  # a person may ask for a register all the same, and documents cost what they must
        jobs = {key: job for key, job in jobs.items() if key in wishes or job.job in DOCUMENT_JOBS}
    due = {key for key, job in jobs.items() if key in wishes or (tools.starts_due and await _is_due(connection, job, now))}
    later = await _later(connection, {key: jobs[key] for key in due if key not in wishes}, due, running, now)
    starting: list[_Starting] = []
    begun: list[tuple[str, str]] = []
    started: list[str] = []
    for name in register_jobs_in_order():
        for key in sorted(key for key in due if key[1] == name):
            if key in later or key in running or _must_wait(*key, due - {key}, running) or await _still_writes(connection, *key):
                continue
            parts = await _begin(connection, jobs[key], wishes.get(key, Wish()), now)
            if parts is None:
                continue
            run, members = parts
            started.append(run)
            begun.append(key)
            starting += members
            if members:
                running.add(key)
            else:
                await connection.runs.end(run, now, reason="switched off by the settings")
                due.discard(key)
    await _sweep_together(tools, connection, starting)
    for key in begun:  # only now: whoever dies in between leaves the wish
        if key in wishes:
            await _granted(tools, sid, key, wishes[key])
    if connection.connection.maintenance_until(now) is None:
        started += await _second_passes(tools, connection, due, running, now, holds)
    for key in sorted(key for key in due if key[1] in DOCUMENT_JOBS and key not in running and key not in later):
        documents = await _begin_documents(tools, connection, jobs[key], wishes.get(key, Wish()), now)
        if documents is not None:
            started.append(documents)
            if key in wishes:
                await _granted(tools, sid, key, wishes[key])
    return started


async def _begin_documents(tools: Tools, connection: ConnectionTools, job: Job, wish: Wish, now: datetime) -> str | None:
    """Begin a run of a document job: it asks Prime what there is. None when one is running."""
    trace = wish.trace or secrets.token_hex(8)
    run = await connection.runs.begin(job.company, job.job, mode="full", trace=trace, parts=[], entity=job.sage_entity, now=now)
    if run is not None:
        log.info("run started", connection=connection.connection.name, company=job.company, job=job.job, run=run, trace=trace)
        await enqueue(tools.redis, [ListJob(trace=trace, sid=connection.connection.sid, run=run, company=job.company)])
    return run


async def _granted(tools: Tools, sid: str, key: tuple[str, str], wish: Wish) -> None:
    await tools.redis.eval(_GRANTED, 1, _wanted(sid), "\n".join(key), wish.raw)


def _must_wait(company: str, job: str, due: Iterable[tuple[str, str]], running: Iterable[tuple[str, str]]) -> bool:
    """Is something that must come before it still to run?"""
    busy = {name for where, name in (*due, *running) if where == company}
    before = list(REGISTERS[job].after)
    seen: set[str] = set()
    while before:
        name = before.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in busy and name != job:
            return True
        if name in REGISTERS:
            before += REGISTERS[name].after
    return False


async def _still_writes(connection: ConnectionTools, company: str, job: str) -> bool:
    """Whether a chunk of the job's last run, which failed, is still on its way to Prime: its rows must not land after a newer run's."""
    last = await connection.runs.last(company, job)
    if last is None or last.state != "failed":
        return False
    return await is_at_work(connection.redis, WRITE, f"write:{connection.connection.sid}:{last.run}:")


async def _is_spent(connection: ConnectionTools) -> bool:
    """Whether the connection's budget of this month is used up."""
    budget = connection.connection.transactions_month_budget
    return bool(budget) and budget_state(await connection.usage.spent(), budget) == "stopped"


async def _is_due(connection: ConnectionTools, job: Job, now: datetime) -> bool:
    last = await connection.runs.last(job.company, job.job)
    return job.due(last.started_at if last else None, now)


async def _later(
    connection: ConnectionTools,
    scheduled: Mapping[tuple[str, str], Job],
    due: set[tuple[str, str]],
    running: set[tuple[str, str]],
    now: datetime,
) -> set[tuple[str, str]]:
    """What is due by its schedule and waits all the same: for the end of Sage's maintenance, or its turn where starts are spaced.

    What a person asks for does not wait, and where starts are spaced neither does a job that never ran.
    """
    if connection.connection.maintenance_until(now) is not None:
        return set(scheduled)
    spacing = connection.connection.spacing
    if not spacing or not scheduled:
        return set()
    ended = {
        (job.company, job.job): record
        for job in connection.connection.jobs
        if (record := await connection.runs.last(job.company, job.job)) is not None
    }
    waiting = {key: job for key, job in scheduled.items() if key in ended and key not in running}
    begun = [record.started_at for record in (*ended.values(), *await connection.runs.running()) if record.mode != "deferred"]
    if not waiting or now < max(begun, default=NEVER) + spacing:
        return set(waiting)
    blocked = {key for key in waiting if key[1] in REGISTERS and _must_wait(*key, due - {key}, running)}
    blocked |= {key for key in waiting if key not in blocked and await _still_writes(connection, *key)}
    last = {key: ended[key].started_at for key in waiting}
    since = {key: job.next_start(last[key]) or now for key, job in waiting.items()}
    return set(waiting) - {*turn(since, lambda key: key not in blocked, {key: job.sage_entity for key, job in waiting.items()}, last)}


async def _begin(connection: ConnectionTools, job: Job, wish: Wish, now: datetime) -> tuple[str, list[_Starting]] | None:
    """Begin a run. Returns it with its parts, none when the settings switch them off; None when the job is running."""
    register = REGISTERS[job.job]
    parts = register.parts(connection.connection.register_settings(job.company))
    full = wish.full or wish.resend or not register.incremental or connection.connection.settings(job.company).is_full_import
    mode: Mode = "full" if full or not await _has_been_read(connection, job.company, job.sage_entity, parts) else "incremental"
    trace = wish.trace or secrets.token_hex(8)
    run = await connection.runs.begin(
        job.company,
        job.job,
        mode=mode,
        resend=wish.resend,
        expire=wish.expire,
        rewrite=wish.rewrite,
        plan=wish.plan,
        trace=trace,
        parts=[part.id for part in parts],
        entity=job.sage_entity,
        now=now,
    )
    if run is None:
        return None
    if mode == "full":  # rows that wait for their second pass are looked at anew
        await connection.runs.drop_deferred(job.company, job.job)
    log.info("run started", connection=connection.connection.name, company=job.company, job=job.job, run=run, mode=mode, trace=trace)
    return run, [_Starting(run, part, job.sage_entity, mode, trace) for part in parts]


async def _has_been_read(connection: ConnectionTools, company: str, entity: str, parts: Iterable[Part]) -> bool:
    """Whether every part has a cursor (of these very settings) and known rows: else a run is full, whatever the setting says."""
    for part in parts:
        if part.source.modified_field is None or await connection.runs.cursor(company, cursor_of(part, entity)) is None:
            return False
        if not (await Known(connection.redis, connection.connection.sid, company, part.id).index()).blocks:
            return False
    return True


async def _sweep_together(tools: Tools, connection: ConnectionTools, starting: Sequence[_Starting]) -> None:
    """One sweep for all parts that read the same object in the same scope, whichever company they are for."""
    groups: dict[bytes, list[_Starting]] = {}
    for one in starting:
        source = one.part.source
        joins = [join._asdict() for join in source.joins]
        key = orjson.dumps([one.entity, source.object, source.filters, source.modified_field, joins, one.mode])
        groups.setdefault(key, []).append(one)
    jobs = []
    for members in groups.values():
        job = SweepJob(
            trace=",".join(dict.fromkeys(one.trace for one in members)),
            sid=connection.connection.sid,
            sweep=secrets.token_hex(6),
            entity=members[0].entity,
            runs=tuple((one.run, one.part.id) for one in members),
        )
        for run, part_id in job.runs:
            await connection.runs.note_sweep(run, part_id, noted(job))
        jobs.append(job)
    await enqueue(tools.redis, jobs)


async def _second_passes(
    tools: Tools,
    connection: ConnectionTools,
    due: Iterable[tuple[str, str]],
    running: set[tuple[str, str]],
    now: datetime,
    holds: Sequence[Hold],
) -> list[str]:
    """Rows that pointed forward are sent in full once what they point to has come."""
    started = []
    for name, register in REGISTERS.items():
        if register.second_pass_after is None or hold_on(holds, name) is not None:
            continue
        for company in connection.connection.companies:
            busy = {(company, name), (company, register.second_pass_after)}
            if busy & running or busy & set(due) or not await connection.runs.deferred_waiting(company, name):
                continue
            if await _still_writes(connection, company, name):
                continue
            waiting = await connection.runs.take_deferred(company, name)
            parts = sorted({part for part, _, _ in waiting})
            trace = secrets.token_hex(8)
            run = await connection.runs.begin(company, name, mode="deferred", trace=trace, parts=parts, entity="", now=now)
            if run is None:
                continue
            log.info("second pass started", company=company, job=name, run=run, rows=len(waiting), trace=trace)
            await _rows_jobs(tools, connection, run, trace, dict.fromkeys(parts, ()))
            started.append(run)
    return started


async def _rows_jobs(tools: Tools, connection: ConnectionTools, run: str, trace: str, parts: Mapping[str, Sequence[int]]) -> None:
    jobs = [RowsJob(trace=trace, sid=connection.connection.sid, run=run, part=part, keys=tuple(keys)) for part, keys in parts.items()]
    for job in jobs:
        await connection.runs.note_sweep(run, job.part, noted(job))
    await enqueue(tools.redis, jobs)


async def read_anew(
    tools: Tools, connection: ConnectionTools, company: str, job: str, parts: Mapping[str, Sequence[int]], now: datetime, *, plan: str = ""
) -> str | None:
    """Start a run that reads these rows (Sage keys by part) anew and sends them. None when the job is running already, or still writes.

    `plan`: nothing but what this plan allows.
    """
    if await _still_writes(connection, company, job):
        return None
    entity = next((one.sage_entity for one in connection.connection.jobs if (one.company, one.job) == (company, job)), "")
    trace = secrets.token_hex(8)
    run = await connection.runs.begin(company, job, mode="rows", plan=plan, trace=trace, parts=sorted(parts), entity=entity, now=now)
    if run is not None:
        await _rows_jobs(tools, connection, run, trace, parts)
    return run


async def posts_left(redis: Redis, sid: str) -> bool:
    """Whether documents of this connection wait in the post queue: for their turn, or until what became of them can be known."""
    return await has_any(redis, POST, sid)


async def reopen_replays(connection: ConnectionTools) -> None:
    """Letters whose replay came to nothing (its run failed, or was lost with Redis) are open again."""
    total, letters = await connection.dead_letters.find({}, states=("replaying",), limit=1000)
    if total:
        running = {(record.company, record.job) for record in await connection.runs.running()}
        is_posting = await posts_left(connection.redis, connection.connection.sid)
        idle = [
            letter.id for letter in letters if (letter.company, letter.job) not in running and (letter.key or not is_posting)
        ]  # a document, which has no key, is replayed by the post queue
        await connection.dead_letters.reopen(idle, reason="its replay ended without an answer for this row")


async def resolve_lost(connection: ConnectionTools) -> None:
    """Letters of jobs that could not be read end when their work has been done: by the jobs that were put back, or by later runs."""
    total, letters = await connection.dead_letters.find({"kind": LOST}, states=("open",), limit=1000)
    if not total:
        return
    running = [record.started_at for record in await connection.runs.running()]
    jobs = [job for job in connection.connection.jobs if job.active and job.job in DOCUMENT_JOBS]
    last = [await connection.runs.last(job.company, job.job) for job in jobs]
    listed = min((record.started_at if record is not None and record.state == "done" else NEVER for record in last), default=None)
    ended = [
        letter.id
        for letter in letters
        if not any(started <= letter.last_at for started in running)
        and (letter.job != PostJob.function or listed is None or listed > letter.last_at)
    ]
    await connection.dead_letters.resolve(ended, reason="what the job was to do has been done by others")


async def reap(tools: Tools, connection: ConnectionTools, now: datetime) -> int:
    """Put back the jobs that running runs have lost (Redis lost the queue, a worker died at a bad moment). Returns how many."""
    back = 0
    for record in await connection.runs.running():
        if now - record.started_at < REAP_AFTER:
            continue
        back += await enqueue(tools.redis, await _owed(tools, connection, record, now))
    if back:
        log.warning("put lost jobs back", jobs=back, connection=connection.connection.name)
    return back


async def _owed(tools: Tools, connection: ConnectionTools, record: RunRecord, now: datetime) -> list[queue.Job]:
    sid = connection.connection.sid
    owed: list[queue.Job] = []
    if record.job in DOCUMENT_JOBS:
        return [ListJob(trace=record.trace, sid=sid, run=record.run, company=record.company)]
    for state in await connection.runs.part_states(record.run):
        if state.closed:
            continue
        if not state.swept:
            if state.sweep_job:
                owed.append(denoted(state.sweep_job))
            elif now - record.started_at > NEVER_SWEPT:
                await _start_anew(tools, connection, record, now)
                return []
        owed += [WriteJob(trace=record.trace, sid=sid, run=record.run, part=state.part, chunk=chunk) for chunk in state.open_chunks]
        if state.swept and not state.open_chunks and not await _is_being_finished(tools.redis, sid, state, record.run):
            owed.append(FinishJob(trace=record.trace, sid=sid, run=record.run, part=state.part, step=state.step))
    return owed


async def _is_being_finished(redis: Redis, sid: str, state: PartState, run: str) -> bool:
    """Whether a finish of this part is queued or at work. One at work may have counted its step already: its name is of an earlier one;
    and since the part was looked at, a step may have followed.
    """
    names = [FinishJob(trace="", sid=sid, run=run, part=state.part, step=step).job_id for step in range(state.step + 3)]
    return any(due is not None for due in await redis.zmscore(queue_name(FETCH), names))


async def _start_anew(tools: Tools, connection: ConnectionTools, record: RunRecord, now: datetime) -> None:
    """Whoever began the run died before its sweep was queued: end it, and do what it was to do."""
    await connection.runs.fail(record.run, "its sweep was never queued; it starts anew", now)
    if record.mode in ("full", "incremental"):
        wish = {"full": record.mode == "full", "resend": record.resend, "expire": record.expire, "trace": record.trace}
        wish |= {name: value for name, value in (("rewrite", record.rewrite), ("plan", record.plan)) if value}
        await tools.redis.hsetnx(_wanted(connection.connection.sid), f"{record.company}\n{record.job}", orjson.dumps(wish))


async def is_idle(tools: Tools) -> bool:
    """Nothing runs, nothing is wanted, nothing waits for a second pass."""
    for sid, connection in tools.connections.items():
        if await connection.runs.running() or await wanted(tools.redis, sid):
            return False
        for name, register in REGISTERS.items():
            if register.second_pass_after is not None:
                for company in connection.connection.companies:
                    if await connection.runs.deferred_waiting(company, name):
                        return False
    return True
