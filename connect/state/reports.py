"""The last report of `connect reconcile` on a connection, bounded in size, and when the next one is due.

    connect:{sid}:reconcile   hash   since      from when on the schedule counts: the last report by it, or when it was set
                                     summary    how many differences of which kind (Summary)
                                     report     what `connect reconcile --last` shows, as JSON
                                     error      why the last try by the schedule came to nothing; gone with the next report
                                     tried_at   when that was
                                     tries      how often in a row
                                     begun      how often a worker has begun the one that is under way

A report holds names and amounts of documents; of registers' rows the names of the fields alone, never a bank account.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

import msgspec
from redis.asyncio import Redis

from connect.config.cron import Cron

What = Literal["missing", "different", "extra", "double", "orphaned", "receipt owed", "voided", "without bill"]
WHATS: Final[tuple[What, ...]] = get_args(What)
TRIES: Final = 3
AGAIN_AFTER: Final = timedelta(hours=1)
ERROR_MOST: Final = 500  # characters
FIELDS: Final = ("summary", "error", "tried_at")  # what a glimpse is made of


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Of a report. `by`: how many differences of each kind; `waits`: how many of them the next runs mend by themselves; `companies`: the
    others, by company ("" for what belongs to none); `trouble`: what could not be compared.
    """

    made_at: str
    by: dict[What, int] = {}
    waits: int = 0
    companies: dict[str, int] = {}
    trouble: str = ""

    @property
    def found(self) -> int:
        return sum(self.by.values())


class Glimpse(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a connection's reports without reading one."""

    summary: Summary | None = None
    error: str = ""
    tried_at: datetime | None = None


class Reports:
    """Those of one connection."""

    def __init__(self, redis: Redis, sid: str) -> None:
        self._redis = redis
        self._key = _key(sid)

    async def keep(self, summary: Summary, report: bytes) -> None:
        """In place of the one before."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, mapping={"summary": msgspec.json.encode(summary), "report": report})
            pipe.hdel(self._key, "error", "tried_at", "tries")
            await pipe.execute()

    async def last(self) -> dict[str, Any] | None:
        """The report that is kept."""
        raw = await self._redis.hget(self._key, "report")
        return None if raw is None else msgspec.json.decode(raw, type=dict[str, Any])

    async def is_due(self, schedule: Cron, zone: Any, now: datetime) -> bool:
        """Whether the schedule wants a report now. One set just now counts from now on; a report that failed is tried again in an hour."""
        since, tried_at, tries = await self._redis.hmget(self._key, "since", "tried_at", "tries")
        if since is None:
            await self._redis.hsetnx(self._key, "since", now.isoformat())
            return False
        if tried_at is not None and int(tries or 0) % TRIES:
            return now >= datetime.fromisoformat(tried_at.decode()) + AGAIN_AFTER
        due_at = schedule.next_after(datetime.fromisoformat(since.decode()), zone)
        return due_at is not None and due_at <= now

    async def begin(self) -> int:
        """A worker begins. Returns for the how manieth time: more than once when others have died at it."""
        return int(await self._redis.hincrby(self._key, "begun", 1))

    async def hand_back(self) -> None:
        """The worker is told to stop: that it did not end it is not the report's fault."""
        await self._redis.hincrby(self._key, "begun", -1)

    async def ended(self, begun_at: datetime, now: datetime, error: str = "") -> None:
        """A try by the schedule is over."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, "since", begun_at.isoformat())
            pipe.hdel(self._key, "begun")
            if error:
                pipe.hset(self._key, mapping={"error": error[:ERROR_MOST], "tried_at": now.isoformat()})
                pipe.hincrby(self._key, "tries", 1)
            await pipe.execute()


def glimpse(answer: Sequence[bytes | None]) -> Glimpse:
    """From FIELDS as Redis has them."""
    summary, error, tried_at = answer
    return Glimpse(
        summary=None if summary is None else msgspec.json.decode(summary, type=Summary),
        error="" if error is None else error.decode(),
        tried_at=None if tried_at is None else datetime.fromisoformat(tried_at.decode()),
    )


async def glimpses(redis: Redis, sids: Sequence[str]) -> list[Glimpse]:
    """Of many connections, in one pipeline."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.hmget(_key(sid), *FIELDS)
        return [glimpse(answer) for answer in await pipe.execute()]


def _key(sid: str) -> str:
    return f"connect:{sid}:reconcile"
