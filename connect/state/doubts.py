"""Doubts: natural keys under which Prime may hold something that the known rows do not tell of.

A run that failed has sent, or may have sent, rows and expiries that were never settled; a row that got another number leaves the old one
behind. Until a later run has sent the row again under that very number, or has expired what is left there, the doubt stays.

    connect:{sid}:doubt:{company}:{part}    hash   natural key -> msgpack [Sage key, natural, number, name, extra]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from redis.asyncio import Redis

from connect.state.known import Label

_AT_ONCE: Final = 2000


class Doubts:
    """The doubts of one part of one company."""

    def __init__(self, redis: Redis, sid: str, company: str, part: str) -> None:
        self._redis = redis
        self._key = f"connect:{sid}:doubt:{company}:{part}"

    async def add(self, rows: Iterable[tuple[int, Label]]) -> None:
        """What Prime has under these rows' natural keys is not known any more."""
        values = {label.natural: msgspec.msgpack.encode((abs(key), *label)) for key, label in rows if label.natural}
        names = list(values)
        for start in range(0, len(names), _AT_ONCE):
            await self._redis.hset(self._key, mapping={name: values[name] for name in names[start : start + _AT_ONCE]})

    async def all(self) -> dict[str, tuple[int, Label]]:
        """Natural key -> (Sage key of the row that had it, what a person and an expiry need)."""
        found = {}
        for value in await self._redis.hvals(self._key):
            key, *label = msgspec.msgpack.decode(value)
            found[label[0]] = (key, Label(*label))
        return found

    async def settle(self, naturals: Sequence[str]) -> None:
        """No doubt any more."""
        for start in range(0, len(naturals), _AT_ONCE):
            await self._redis.hdel(self._key, *naturals[start : start + _AT_ONCE])
