"""Which errors come up, and how many of them the catalogue knows.

connect:{sid}:errors           hash   known, unknown -> how many
connect:{sid}:errors:unknown   zset   shape of an error without an entry -> how often
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from redis.asyncio import Redis

from connect.catalogue import catalogue, shape_of
from connect.errors import ConnectError

MOST_SHAPES: Final = 500  # the rarest go first


class Seen:
    """The errors of one connection."""

    def __init__(self, redis: Redis, sid: str) -> None:
        self._redis = redis
        self._totals = f"connect:{sid}:errors"
        self._shapes = f"connect:{sid}:errors:unknown"

    def count(self, pipe: Redis, errors: Sequence[tuple[str, str, str, bool]]) -> None:
        """Count errors within somebody's pipeline: (system, code, message, whether there is an entry)."""
        totals = Counter("known" if known else "unknown" for *_, known in errors)
        for name, number in totals.items():
            pipe.hincrby(self._totals, name, number)
        shapes = Counter(shape_of(system, code, message) for system, code, message, known in errors if not known)
        for shape, number in shapes.items():
            pipe.zincrby(self._shapes, number, shape)
        if shapes:
            pipe.zremrangebyrank(self._shapes, 0, -MOST_SHAPES - 1)

    async def add(self, error: ConnectError) -> None:
        """Count one error that made no dead letter."""
        async with self._redis.pipeline(transaction=True) as pipe:
            self.count(pipe, [(error.system, error.code, error.message, catalogue().of(error) is not None)])
            await pipe.execute()

    async def unknown(self, most: int = 50) -> list[tuple[str, int]]:
        """Shapes of errors without an entry, the most frequent first."""
        return [(shape.decode(), int(times)) for shape, times in await self._redis.zrevrange(self._shapes, 0, most - 1, withscores=True)]


async def totals(redis: Redis, sids: Iterable[str]) -> dict[str, int]:
    """{known, unknown} of these connections together."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.hmget(f"connect:{sid}:errors", "known", "unknown")
        rows = await pipe.execute()
    return {name: sum(int(row[at] or 0) for row in rows) for at, name in enumerate(("known", "unknown"))}


def coverage(known: int, unknown: int) -> float:
    """The share of all errors seen that the catalogue knows; 1 when there were none."""
    return round(known / (known + unknown), 4) if known + unknown else 1.0
