"""A copy of some connections' state in another Redis: there a plan is made by the same steps as a run, and the state itself stays as it is.

Not copied: queues, runs under way, locks, pauses, slots, tokens, the audit trail. Sealed values stay sealed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from redis.asyncio import Redis

from connect.state import epoch

KEYS_AT_ONCE: Final = 500
_LEFT_OUT: Final = re.compile(
    rb"connect:[^:]*:(running$|wanted$|tick$|owned$|beat$|paused:|holds?$|distrust$|part:|chunk:|plan:|run:|runs|last:|ended$|audit|join:.*:new$|doc:.*:(lock|story)$)"
)


async def copy(redis: Redis, shadow: Redis, sids: Collection[str]) -> int:
    """Copy what is known of these connections. Each value is as it was at one moment. Returns how many keys there are."""
    copied = 0
    for sid in sids:
        cursor: int | None = None
        while cursor != 0:
            cursor, found = await redis.scan(cursor or 0, match=f"connect:{sid}:*", count=KEYS_AT_ONCE)
            wanted = [key for key in dict.fromkeys(found) if not _LEFT_OUT.match(key)]
            copied += await _copy(redis, shadow, wanted)
    await epoch.begin(shadow)
    return copied


async def _copy(redis: Redis, shadow: Redis, keys: list[bytes]) -> int:
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = [kind.decode() for kind in await pipe.execute()]
        read = [(key, kind) for key, kind in zip(keys, kinds, strict=True) if kind in _READ]
        for key, kind in read:
            _READ[kind](pipe, key)
        values = await pipe.execute()
    async with shadow.pipeline(transaction=False) as pipe:
        for (key, kind), value in zip(read, values, strict=True):
            if value:
                pipe.delete(key)  # a scan may name a key twice
                _put(pipe, key, kind, value)
        await pipe.execute()
    return len(read)


_READ: Final[dict[str, Any]] = {
    "string": lambda pipe, key: pipe.get(key),
    "hash": lambda pipe, key: pipe.hgetall(key),
    "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    "set": lambda pipe, key: pipe.smembers(key),
    "list": lambda pipe, key: pipe.lrange(key, 0, -1),
}


def _put(pipe: Any, key: bytes, kind: str, value: Any) -> None:
    if kind == "string":
        pipe.set(key, value)
    elif kind == "hash":
        pipe.hset(key, mapping=value)
    elif kind == "zset":
        pipe.zadd(key, dict(value))
    elif kind == "set":
        pipe.sadd(key, *value)
    else:
        pipe.rpush(key, *value)
