"""What becomes of a job: every job runs inside `run`, which turns whatever it raises into what the queue does next.

    error            the job
    RateLimited      waits as long as it was told; costs no attempt
    Auth             waits; its connection's stage rests, and one message says why
    (paused)         waits without being begun until a person resumes it (pauses.py)
    Transient        is tried again: 1, 2, 4 … 60 s with full jitter, `ATTEMPTS` times; then its run ends as failed
    anything else    ends: the run fails with the reason (a record's own error never comes this far: it is a dead letter)

Attempts are counted here, in the job's own key, so a worker that is stopped or killed costs none.
"""

from __future__ import annotations

import random
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from connect.catalogue import catalogue
from connect.errors import Auth, ConnectError, Poison, RateLimited, Transient
from connect.state.pauses import hold_on_all
from connect.state.seen import Seen
from connect.state.usage import PURPOSE
from workers.jobs import JOBS, VERSION, ConnectionTools, FinishJob, Job, ListJob, RowsJob, SweepJob, TickJob, Tools, WriteJob, enqueue

ATTEMPTS: Final = 8
LONGEST_WAIT_S: Final = 60.0
REDIS_WAIT_S: Final = 1.0
LONGEST_THROTTLE_S: Final = 900.0  # nobody is believed who says "come back next year"
TROUBLE_WAIT_S: Final = 5.0
HELD_WAIT_S: Final = 300.0  # what a person has paused is looked at so often; resuming wakes it at once
UNKNOWN_WAIT_S: Final = 5.0
UNKNOWN_FOR_S: Final = 600.0  # a job of a connection that is not configured here: a newer configuration may be on its way to this worker
NEWER_WAIT_S: Final = 30.0  # a job of a newer version waits for a worker that knows it

Ended = Literal["done", "failed", "retried", "throttled", "not_let_in", "paused", "redis", "fenced", "handed_back"]
"""What an attempt came to, as it is counted. `fenced`: another had taken its work over. `handed_back`: it was cancelled."""
log = structlog.get_logger()
Action = Callable[[dict[str, Any], Any], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """What the queue does with the job: `again_s` None: it is over; else it comes back after so many seconds."""

    again_s: float | None = None


DONE: Final = Outcome()


class NewerVersionError(Exception):
    """The job was written by a newer version of us: it is put back, not lost."""


def parse(function: str, kwargs: Mapping[str, Any]) -> Job:
    """The job model of an arq payload. Raises NewerVersionError, or Poison when it is no job of ours."""
    model = JOBS.get(function)
    facts = kwargs.get("job")
    version = facts.get("v") if isinstance(facts, dict) else None
    if model is None or (isinstance(version, int) and version > VERSION):
        raise NewerVersionError(f"job {function} of version {version} is not known here (this is version {VERSION})")
    try:
        return model.model_validate(facts)
    except ValidationError as error:
        raise Poison(f"a {function} job cannot be read: {error.error_count()} fields are wrong", system="redis", code="bad_job") from error


async def run(ctx: dict[str, Any], action: Action, job: Job) -> Outcome:
    """Run one job and say what comes next. Raises nothing but cancellation."""
    tools: Tools = ctx["tools"]
    sid: str = getattr(job, "sid", "")
    connection = tools.connections.get(sid)
    structlog.contextvars.bind_contextvars(trace=job.trace, job=job.function, **_who(job, connection))
    if sid and connection is None:
        return await _of_no_connection(tools, job, sid)
    PURPOSE.set((", ".join(sorted(job.companies)), ", ".join(sorted(job.names))))  # of this job alone: each runs in a context of its own
    started = time.monotonic()
    ended: Ended = "handed_back"  # unless it comes to something else
    try:
        if connection is not None and (wait_s := await _paused_s(connection, job)) is not None:
            ended = "paused"
            return Outcome(wait_s)
        await action(ctx, job)
        await tools.redis.delete(_attempts_key(job.job_id))
    except (RedisConnectionError, RedisTimeoutError) as error:
        ended = "redis"
        log.warning("Redis is away, the job comes back", error=str(error))
        return Outcome(REDIS_WAIT_S)
    except RateLimited as error:
        ended = "throttled"
        return Outcome(min(error.retry_after_s or 1.0, LONGEST_THROTTLE_S) + random.random())
    except Auth as error:
        ended = "not_let_in"
        tools.metrics.count("login_refused", sid, error.system)
        await _seen(tools, connection, error)
        entry = catalogue().of(error)
        if connection is not None and await connection.pauses.pause(job.stage, error.message, entry.owner if entry else ""):
            log.error("not let in; jobs of this connection wait and are tried again every few minutes", reason=error.message)
        return Outcome(LONGEST_WAIT_S / 2)
    except Transient as error:
        outcome = await _again(ctx, connection, job, error)
        ended = "failed" if outcome.again_s is None else "retried"
        return outcome
    except ConnectError as error:
        ended = "fenced" if error.code == "fenced" else "failed"
        if error.code != "fenced":
            await _seen(tools, connection, error)
            await _give_up(tools, connection, job, error)
        return DONE
    except Exception as error:  # noqa: BLE001 - a bug of ours: the run says so, the next run tries again
        if _takes_no_writes(error):
            ended = "redis"
            log.error("Redis takes no writes, the job comes back", error=str(error))
            return Outcome(TROUBLE_WAIT_S)
        ended = "failed"
        log.error("job failed unexpectedly", error=repr(error), where=traceback.format_exc(limit=-4))
        await _give_up(tools, connection, job, Poison(f"unexpected: {type(error).__name__}: {error}", code="bug"))
        return DONE
    else:
        ended = "done"
        log.debug("job done", duration_ms=round((time.monotonic() - started) * 1000, 1))
        return DONE
    finally:
        structlog.contextvars.clear_contextvars()
        if connection is not None:
            with suppress(OSError, RedisError):  # with the next
                await connection.usage.flush()
        tools.metrics.count("jobs", sid, job.stage, job.function, ended)
        if ended != "paused":
            tools.metrics.observe("job_duration", job.stage, job.function, seconds=time.monotonic() - started)
            if "waited_s" in ctx:  # arq's cron makes its jobs itself
                tools.metrics.observe("job_wait", job.stage, job.function, seconds=ctx["waited_s"])


async def _of_no_connection(tools: Tools, job: Job, sid: str) -> Outcome:
    """A job of a connection that this worker does not have: others may have read a newer configuration. It waits a while for ours."""
    try:
        if await count_attempt(tools.redis, job.job_id) * UNKNOWN_WAIT_S <= UNKNOWN_FOR_S:
            return Outcome(UNKNOWN_WAIT_S)
        await tools.redis.delete(_attempts_key(job.job_id))
    except (RedisConnectionError, RedisTimeoutError):
        return Outcome(REDIS_WAIT_S)
    log.warning("job of a connection that is not configured any more", sid=sid)
    return DONE


def _takes_no_writes(error: Exception) -> bool:
    """Whether Redis is full, cannot write its disk, has too few replicas (min-replicas-to-write), or is not the primary any more."""
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or (
        isinstance(error, ResponseError) and any(word in str(error) for word in ("NOREPLICAS ", "MISCONF ", "MASTERDOWN "))
    )


async def _paused_s(connection: ConnectionTools, job: Job) -> float | None:
    """In how many seconds a job that may not begin now is looked at again; None when it may."""
    pause, holds = await connection.pauses.look(job.stage)
    if hold_on_all(holds, job.names) is not None:
        return HELD_WAIT_S * (1 + random.random() / 4)
    return None if pause is None else min(pause.left_s, LONGEST_WAIT_S) + random.random()


async def lost(tools: Tools, job_id: str, reason: str) -> None:
    """A job that cannot be run at all (its bytes are gone or no job of ours): say it where a person looks."""
    log.error("a job could not be read", job_id=job_id, reason=reason)
    parts = job_id.split(":")
    connection = tools.connections.get(parts[1]) if len(parts) > 1 else None
    if connection is None:
        return
    letter = connection.dead_letters.letter(
        company="",
        job=parts[0],
        part="",
        kind="job",
        key=0,
        number=job_id,
        name="",
        payload=b"",
        error=Poison(f"job {job_id}: {reason}", system="redis", code="lost_job"),
        run=parts[2] if len(parts) > 2 else "",
        trace="",
    )
    await connection.dead_letters.put_many([letter])


async def _again(ctx: dict[str, Any], connection: ConnectionTools | None, job: Job, error: Transient) -> Outcome:
    tools: Tools = ctx["tools"]
    attempt = await count_attempt(tools.redis, job.job_id)
    await _seen(tools, connection, error)
    if attempt >= ATTEMPTS:
        await _give_up(tools, connection, job, error)
        return DONE
    wait_s = min(LONGEST_WAIT_S, 2.0 ** (attempt - 1)) * random.random() + 0.05
    log.warning("will be tried again", attempt=attempt, wait_s=round(wait_s, 2), error=error.message)
    return Outcome(wait_s)


async def attempts(redis: Redis, job_id: str) -> int:
    """How often this job has been tried in vain."""
    return int(await redis.get(_attempts_key(job_id)) or 0)


async def count_attempt(redis: Redis, job_id: str) -> int:
    """One more attempt of this job. Returns how many that makes."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.incr(_attempts_key(job_id))
        pipe.expire(_attempts_key(job_id), 86_400)
        attempt, _ = await pipe.execute()
    return int(attempt)


def _attempts_key(job_id: str) -> str:
    return f"arq:retry:{job_id}"


async def _seen(tools: Tools, connection: ConnectionTools | None, error: ConnectError) -> None:
    """Counted, so that status can tell how many of the errors that come up the catalogue knows."""
    if connection is not None:
        with suppress(OSError, RedisError):  # a count less
            await Seen(tools.redis, connection.connection.sid).add(error)


async def _give_up(tools: Tools, connection: ConnectionTools | None, job: Job, error: ConnectError) -> None:
    """The job cannot be done: its runs end as failed and say why. What Prime has accepted stays accepted."""
    log.error("given up", error=error.message, code=error.code, system=error.system)
    await tools.redis.delete(_attempts_key(job.job_id))
    if connection is None:
        return
    runs: list[str] = []
    if isinstance(job, SweepJob):
        runs = [run for run, _ in job.runs]
    elif isinstance(job, RowsJob | FinishJob | WriteJob | ListJob):
        runs = [job.run]
    for run in runs:
        record = await connection.runs.record(run)
        if record is not None and record.mode == "deferred":  # the next full run looks at these rows anew
            await connection.runs.drop_deferred(record.company, record.job)
        await connection.runs.fail(run, error.message, tools.clock())
    if runs:  # others may have waited for its end
        await enqueue(tools.redis, [TickJob(trace=secrets.token_hex(8), sid=connection.connection.sid)])


def _who(job: Job, connection: ConnectionTools | None) -> dict[str, str]:
    found = {"connection": connection.connection.name} if connection is not None else {}
    if isinstance(job, RowsJob | FinishJob | WriteJob):
        found["run"] = job.run
    return found
