"""How many bills have arrived in Sage as submitted, for `connect status` to point out: they cannot be paid before somebody approves them.

connect:{sid}:submitted:{company}    number    gone when none has arrived for a day
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

SHOWN_S: Final = 86_400


class Unapproved:
    """Those of one connection."""

    def __init__(self, redis: Redis, sid: str) -> None:
        self._redis = redis
        self._sid = sid

    async def add(self, company: str, bills: int) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.incrby(self._key(company), bills)
            pipe.expire(self._key(company), SHOWN_S)
            await pipe.execute()

    def _key(self, company: str) -> str:
        return _key(self._sid, company)


async def counts(redis: Redis, companies: Sequence[tuple[str, str]]) -> list[int]:
    """Of many at once: (connection, company)."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid, company in companies:
            pipe.get(_key(sid, company))
        return [int(found or 0) for found in await pipe.execute()]


def _key(sid: str, company: str) -> str:
    return f"connect:{sid}:submitted:{company}"
