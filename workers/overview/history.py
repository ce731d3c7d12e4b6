"""What runs (progress, time left) and what has run."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final

from pydantic import Field

from connect.errors import ConfigError
from connect.state.histories import history_among, running_among
from connect.state.runs import COUNTERS, Ask, RunRecord
from workers.jobs import Tools
from workers.overview.model import PAGE_MOST, Model, chosen_of

REMEMBERED: Final = 10_000  # runs that have ended


class Run(Model):
    """One run of a job."""

    connection: str = Field(description="The connection's name.")
    company: str = Field(description="The company in Prime.")
    job: str = Field(description="The job's name.")
    run: str = Field(description="Its id.")
    mode: str = Field(description="full, incremental, rows (named rows anew) or deferred (second pass).")
    state: str = Field(description="running, done, held (it waits for a person) or failed.")
    reason: str = Field(description="Why it failed or is held, or a remark.")
    asks: list[Ask] = Field(default=[], description="What a held run waits for a person to allow: expire rows, rewrite them anew.")
    started_at: datetime = Field(description="When it began.")
    ended_at: datetime | None = Field(description="When it ended; null while it runs.")
    duration_s: float = Field(description="How long it took, or has taken so far, in seconds.")
    counters: dict[str, int] = Field(description="Rows read, sent, unchanged, refused, expired, …; calls to Sage; pages.")
    progress: float | None = Field(default=None, description="0 to 1 while it runs and the total is known, else null.")
    rows_per_s: float | None = Field(default=None, description="Rows read a second so far, while it runs.")
    left_s: float | None = Field(default=None, description="Seconds left at that speed; null when that cannot be known.")


class Runs(Model):
    """A page of runs."""

    items: list[Run] = Field(description="Newest first.")
    more: bool = Field(description="Whether there are older ones.")


async def runs(
    tools: Tools,
    *,
    connection: str | None = None,
    company: str | None = None,
    job: str | None = None,
    state: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> Runs:
    """The runs of the last 90 days, newest first; `state` "running" for those that are on."""
    if state not in (None, "running", "done", "held", "failed"):
        raise ConfigError(f"no state {state!r}; there are running, done, held and failed", code="state")
    limit = min(max(1, limit), PAGE_MOST)
    chosen = chosen_of(tools, connection)
    sids = [one.connection.sid for one in chosen]
    if state == "running":
        found, more = await running_among(tools.redis, sids, company, job, offset=offset, limit=limit)
    else:
        found, more = await history_among(tools.redis, sids, company, job, state=state, offset=offset, limit=limit)
    now = tools.clock()
    items = [run for one in found if (run := run_of(chosen[one.place].connection.name, one.record, now)) is not None]
    return Runs(items=items, more=more)


async def run(tools: Tools, name: str) -> Run:
    """One run. Raises ConfigError when there is none."""
    for one in tools.connections.values():
        record = await one.runs.record(name)
        if record is not None and (found := run_of(one.connection.name, record, tools.clock())) is not None:
            return found
    raise ConfigError(f"there is no run {name}; runs are kept for 90 days", code="unknown-run")


def run_of(connection: str, record: RunRecord | None, now: datetime) -> Run | None:
    if record is None:
        return None
    return _run_of(connection, record, now) if record.ended_at is None else _ended(connection, record)


@lru_cache(maxsize=REMEMBERED)
def _ended(connection: str, record: RunRecord) -> Run:
    """Time does not change it any more, and it is looked at again and again."""
    return _run_of(connection, record, record.started_at)


def _run_of(connection: str, record: RunRecord, now: datetime) -> Run:
    running = record.state == "running"
    seconds = ((record.ended_at or now) - record.started_at).total_seconds()
    progress, rows_per_s, left_s = pace(record.read, record.total, seconds) if running else (None, None, None)
    return Run(
        connection=connection,
        company=record.company,
        job=record.job,
        run=record.run,
        mode=record.mode,
        state=record.state,
        reason=record.reason,
        asks=list(record.asks),
        started_at=record.started_at,
        ended_at=record.ended_at,
        duration_s=round(seconds, 3),
        counters={name: record.counters.get(name, 0) for name in COUNTERS},
        progress=progress,
        rows_per_s=rows_per_s,
        left_s=left_s,
    )


def pace(read: int, total: int, seconds: float) -> tuple[float | None, float | None, float | None]:
    """(progress, rows a second, seconds left) of a run that has read so many of so many rows; None for what cannot be known."""
    rows_per_s = round(read / seconds, 1) if read and seconds > 0 else None
    if not total or read > total:
        return None, rows_per_s, None
    left_s = round((total - read) / (read / seconds), 1) if rows_per_s else None
    return round(read / total, 4), rows_per_s, left_s
