"""Joined rows: what Sage keeps beside a register's own object (payment terms, bank accounts, rates), by the value they join on.

    connect:{sid}:join:{company}:{part}:{join}        hash   join value -> msgpack {Sage key: row}; as of the last finished run;
                                                             "" -> "", so that a join without rows is there too
    connect:{sid}:join:{company}:{part}:{join}:new    hash   the same, as this run read it

A run reads the joined object first, compares the two, and so knows which values changed; the rows that use such a value
are looked at again even if their own bytes are the same. The new hash takes the old one's place when the run is settled,
so a run that dies in between finds the same changes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from redis.asyncio import Redis

from connect.errors import Poison
from connect.state.seal import Seal

_STEP = 1000


class Joined:
    """The rows of one join of one part of one company. `seal`: they hold bank data, and are kept encrypted."""

    def __init__(self, redis: Redis, sid: str, company: str, part: str, join: str, *, seal: Seal | None = None) -> None:
        self._redis = redis
        self._seal = seal
        self._old = f"connect:{sid}:join:{company}:{part}:{join}"
        self._new = self._old + ":new"
        self._reading = self._old

    async def start(self) -> None:
        """This run reads the joined object anew."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._new)
            pipe.hset(self._new, "", "")
            await pipe.execute()
        self._reading = self._new

    def resume(self) -> None:
        """This run has read it already (in an earlier life of its sweep)."""
        self._reading = self._new

    async def add(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep joined rows: (join value, Sage key, row as JSON)."""
        values = list({value for value, _, _ in rows})
        if not values:
            return
        held = await self._redis.hmget(self._new, values)
        by_value: dict[str, dict[int, bytes]] = {
            value: self._opened(packed, value) if packed else {} for value, packed in zip(values, held, strict=True)
        }
        for value, key, row in rows:
            by_value[value][key] = row
        await self._redis.hset(self._new, mapping={value: self._kept(rows, value) for value, rows in by_value.items()})

    async def changed(self) -> set[str] | None:
        """The join values whose rows differ from the last finished run's; none when this run has not read the joined object.
        None when there was no last run (look at every row).
        """
        if self._reading == self._old:
            return set()
        if not await self._redis.exists(self._old):
            return None
        found: set[str] = set()
        async for page in self._scan(self._new):
            before = await self._redis.hmget(self._old, list(page))
            found.update(value.decode() for (value, now), then in zip(page.items(), before, strict=True) if now != then)
        async for page in self._scan(self._old):
            now = await self._redis.hmget(self._new, list(page))
            found.update(value.decode() for value, row in zip(page, now, strict=True) if row is None)
        return found

    async def lookup(self, values: Iterable[str]) -> dict[str, list[bytes]]:
        """The joined rows by join value; values that nothing joins are left out."""
        found: dict[str, list[bytes]] = {}
        if await self._redis.hlen(self._reading) <= 1:
            return found
        wanted = list(dict.fromkeys(values))
        for start in range(0, len(wanted), _STEP * 4):
            part = wanted[start : start + _STEP * 4]
            for value, packed in zip(part, await self._redis.hmget(self._reading, part), strict=True):
                if packed:
                    found[value] = list(self._opened(packed, value).values())
        return found

    async def size(self) -> int:
        """How many join values the last finished run knew."""
        return max(int(await self._redis.hlen(self._old)) - 1, 0)

    async def settle(self) -> None:
        """The run is settled: what it read is what the next one compares with. Settling it twice is once."""
        if await self._redis.exists(self._new):
            await self._redis.rename(self._new, self._old)

    def _kept(self, rows: dict[int, bytes], value: str) -> bytes:
        packed = msgspec.msgpack.encode(dict(sorted(rows.items())))
        return packed if self._seal is None else self._seal.close_alike(packed, value)

    def _opened(self, packed: bytes, value: str) -> dict[int, bytes]:
        """Raises Poison when they were kept under another secret: the run starts anew, and reads them again."""
        found = packed if self._seal is None else self._seal.open_alike(packed, value)
        if not found:
            raise Poison("joined rows were kept under another secret (SageClientSecret has changed)", system="redis", code="joins_lost")
        return msgspec.msgpack.decode(found, type=dict[int, bytes])

    async def _scan(self, key: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - async generator over redis' own pages
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(key, cursor, count=_STEP)
            if page:
                yield page
            if cursor == 0:
                return
