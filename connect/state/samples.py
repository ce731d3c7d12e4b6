"""Samples for small charts: a connection's queues and rows, minute by minute, for a day.

    connect:{sid}:samples   list   JSON [minute, depths by stage, in flight, totals], newest last; at most 1440
    connect:{sid}:rows      hash   read, sent, unchanged, refused …: of all runs ever, as Redis remembers

Totals are kept in the samples, differences are made when they are read: a sample that is missing loses no row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import sub
from typing import ClassVar, Final, NamedTuple

import orjson
from redis.asyncio import Redis

KEPT: Final = 1440


class Sample(NamedTuple):
    """One look. `minute` since the epoch; `depths` in the order of the stages; `totals` in the order of Samples.TOTALS."""

    minute: int
    depths: Sequence[int]
    in_flight: int
    totals: Sequence[int]


class Samples:
    """The samples of one connection."""

    TOTALS: ClassVar[tuple[str, ...]] = ("read", "sent", "unchanged", "refused")

    def __init__(self, redis: Redis, sid: str) -> None:
        self._redis = redis
        self._key = self.key(sid)

    @staticmethod
    def key(sid: str) -> str:
        return f"connect:{sid}:samples"

    @staticmethod
    def totals_key(sid: str) -> str:
        return f"connect:{sid}:rows"

    def add(self, pipe: Redis, sample: Sample) -> None:
        """Within somebody's pipeline."""
        pipe.rpush(self._key, orjson.dumps([*sample]))
        pipe.ltrim(self._key, -KEPT, -1)

    async def newest(self, most: int = KEPT) -> list[Sample]:
        """Oldest first."""
        return _read(await self._redis.lrange(self._key, -most, -1))


async def newest_of(redis: Redis, sids: Sequence[str], most: int = KEPT) -> list[list[Sample]]:
    """Of several connections, in one exchange."""
    if not sids:
        return []
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.lrange(Samples.key(sid), -most, -1)
        return [_read(rows) for rows in await pipe.execute()]


def _read(rows: Sequence[bytes]) -> list[Sample]:
    return list(map(Sample._make, orjson.loads(b"[" + b",".join(rows) + b"]")))


def per_minute(samples: Sequence[Sample]) -> list[list[float]]:
    """Rows a minute between each sample and the one before it, in the order of TOTALS; none before the first."""
    found: list[list[float]] = [[0.0] * len(Samples.TOTALS)] if samples else []
    for before, after in itertools.pairwise(samples):
        if after.totals == before.totals:  # most of the time
            found.append([0.0] * len(Samples.TOTALS))
            continue
        more = list(map(sub, after.totals, before.totals))
        if min(more) < 0:  # totals that Redis has lost begin at 0 again
            more = [change if change >= 0 else total for change, total in zip(more, after.totals, strict=True)]
        minutes = max(1, after.minute - before.minute)
        found.append([rows / minutes for rows in more])
    return found
