"""Documents that Prime lists and that have no receipt yet, since when; and those booked whose receipt Prime refuses for good.

    connect:{sid}:awaiting:{company}:{job}     zset   document -> when it was first seen listed (s)
    connect:{sid}:unreceived:{company}:{job}   zset   document -> when Prime first refused its receipt (s)

For metrics and alarms only: each listing puts both right, whatever was lost in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from redis.asyncio import Redis

# KEYS: awaiting, unreceived. ARGV: when (s), then what is listed. What is not listed any more is over.
_LISTED: Final = """
local listed = {}
for i = 2, #ARGV do
  listed[ARGV[i]] = true
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[i]) end
end
for k = 1, 2 do
  for _, document in ipairs(redis.call('ZRANGE', KEYS[k], 0, -1)) do
    if not listed[document] then redis.call('ZREM', KEYS[k], document) end
  end
end
"""


class Receipts:
    """Those of one job of one company."""

    def __init__(self, redis: Redis, sid: str, company: str, job: str) -> None:
        self._redis = redis
        self._awaiting, self._unreceived = keys(sid, company, job)

    async def listed(self, documents: Iterable[str], now: datetime) -> None:
        """What Prime lists now: all of it."""
        await self._redis.eval(_LISTED, 2, self._awaiting, self._unreceived, now.timestamp(), *documents)

    async def over(self, documents: Iterable[str]) -> None:
        """Prime has its answer, or does not list them any more."""
        if gone := list(documents):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zrem(self._awaiting, *gone)
                pipe.zrem(self._unreceived, *gone)
                await pipe.execute()

    async def refused(self, documents: Iterable[str], now: datetime) -> None:
        """Booked, and Prime refuses the receipt for good."""
        if found := list(documents):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zrem(self._awaiting, *found)
                pipe.zadd(self._unreceived, dict.fromkeys(found, now.timestamp()), nx=True)
                await pipe.execute()


def keys(sid: str, company: str, job: str) -> tuple[str, str]:
    """(awaiting, unreceived)."""
    return f"connect:{sid}:awaiting:{company}:{job}", f"connect:{sid}:unreceived:{company}:{job}"
