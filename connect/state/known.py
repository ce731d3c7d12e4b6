"""Known rows: what Prime was last given of each row of a register part, and what that row looked like in Sage.

One instance per (connection, company, register part). Rows are kept in *blocks* of about one Sage page, ordered by
Sage's key, so that one Redis value answers for thousands of rows:

    connect:{sid}:known:{company}:{part}          hash
        index      the blocks in key order: upper bound, block id, digest of the page, number of rows; next block id
        d{id}      keys (int64), digests of the raw row (uint64), digests of what was sent (uint64), all in key order
        m{id}      msgpack: per row [natural, number, name, extra]: enough to expire it once it is gone from Sage
        r{id}      msgpack: per join, the digests (uint64) of the value the row joins on (only parts that join)
    connect:{sid}:natural:{company}:{part}        hash: digest of the natural key -> Sage key that owns it

A raw digest of 0 means "look at this row again": it was refused, or its answer is owed. Digests are xxh3, 64 bits;
the raw ones are seeded with the part's version, so another mapping or setting compares every row by meaning.
The upper bounds of the blocks are the page boundaries that the next sweep asks for, one call each.
"""

from __future__ import annotations

import secrets
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from redis.asyncio import Redis
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from connect.errors import Poison

PAGE_SIZE: Final = 4000
OPEN: Final = 2**63 - 1  # upper bound of the last block: no end
# ARGV: msgpack of two lists: digests of natural keys, and the Sage keys that use them. One value is much cheaper to send than thousands.
_CLAIM: Final = """
local fields, mine = unpack(cmsgpack.unpack(ARGV[1]))
local owners = redis.call('HMGET', KEYS[1], unpack(fields))
local fresh, given, answer = {}, {}, {}
for i = 1, #fields do
  local owner = owners[i] or given[fields[i]]
  if not owner then
    given[fields[i]] = mine[i]
    fresh[#fresh + 1] = fields[i]; fresh[#fresh + 1] = mine[i]
  elseif owner ~= mine[i] then
    answer[#answer + 1] = i; answer[#answer + 1] = owner
  end
end
if #fresh > 0 then redis.call('HSET', KEYS[1], unpack(fresh)) end
return answer
"""
# KEYS: the known rows. ARGV: index, the index it was made from ("*": whatever it is), number of new blocks, their fields, fields to drop.
_REPLACE: Final = """
if ARGV[2] ~= '*' and (redis.call('HGET', KEYS[1], 'index') or '') ~= ARGV[2] then return 0 end
local new = tonumber(ARGV[3])
for i = 4, 3 + new do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then return 0 end
end
redis.call('HSET', KEYS[1], 'index', ARGV[1])
for i = 4 + new, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return 1
"""
_CLAIM_AT_ONCE: Final = 2000  # Lua's unpack takes a few thousand values


class Label(NamedTuple):
    """What a person or an expiry needs of a row. `natural` "" marks a row that Sage has and Prime does not want."""

    natural: str
    number: str
    name: str
    extra: str


class Entry(NamedTuple):
    """One known row."""

    key: int
    raw: int
    meaning: int
    label: Label
    refs: tuple[int, ...]


class BlockInfo(NamedTuple):
    """One block in the index: rows with previous bound < key <= until. `digest` 0: the page must be looked at row by row."""

    until: int
    block: int
    digest: int
    rows: int


class Block(NamedTuple):
    """The digests of a block's rows, in key order."""

    keys: array[int]
    raws: array[int]
    meanings: array[int]


class Index:
    """The blocks of a part in key order. `raw`: as Redis has it, b"" when it has none."""

    def __init__(self, blocks: Sequence[BlockInfo] = (), next_block: int = 1, raw: bytes = b"") -> None:
        self.blocks = list(blocks)
        self.next_block = next_block
        self.raw = raw
        self._untils = [info.until for info in self.blocks]

    @property
    def rows(self) -> int:
        return sum(info.rows for info in self.blocks)

    def boundaries(self) -> list[int]:
        """Upper bounds of all blocks but the open last one: what the next sweep cuts its ranges by."""
        return self._untils[:-1]

    def exact(self, after: int, until: int | None) -> BlockInfo | None:
        """The block that holds just the keys after < key <= until, if there is one."""
        at = bisect_left(self._untils, OPEN if until is None else until)
        if at == len(self.blocks) or self._untils[at] != (OPEN if until is None else until):
            return None
        return self.blocks[at] if (self._untils[at - 1] if at else 0) == after else None

    def holding(self, keys: Sequence[int]) -> list[BlockInfo]:
        """The blocks that these keys (ascending or not) fall into."""
        places = sorted({bisect_left(self._untils, key) for key in keys})
        return [self.blocks[at] for at in places]

    def overlapping(self, low: int, high: int) -> list[BlockInfo]:
        """The blocks that may hold keys low..high, both included."""
        return self.blocks[bisect_left(self._untils, low) : bisect_left(self._untils, high) + 1]


def new_blocks() -> int:
    """An id that no block has, nor those after it: two may settle the same part at once, and neither writes into the other's blocks."""
    return 1 + secrets.randbits(48)


def digest(data: bytes | memoryview, seed: int) -> int:
    """xxh3 of a row or page, never 0 (0 means "not settled")."""
    return xxh3_64_intdigest(data, seed) or 1


def reference(value: str) -> int:
    """The digest under which a join's value is remembered with the rows that use it."""
    return xxh3_64_intdigest(value.encode())


class Known:
    """Reads and replaces the known rows of one part of one company."""

    def __init__(self, redis: Redis, sid: str, company: str, part: str) -> None:
        self._redis = redis
        self._key = f"connect:{sid}:known:{company}:{part}"
        self._natural = f"connect:{sid}:natural:{company}:{part}"
        self._claim = redis.register_script(_CLAIM)
        self._replace = redis.register_script(_REPLACE)

    async def index(self) -> Index:
        raw = await self._redis.hget(self._key, "index")
        if raw is None:
            return Index()
        next_block, blocks = msgspec.msgpack.decode(raw)
        return Index([BlockInfo(*block) for block in blocks], next_block, raw)

    async def block(self, block: int) -> Block:
        raw = await self._redis.hget(self._key, f"d{block}") or b""
        return unpack_block(raw)

    async def is_there(self, block: int) -> bool:
        return bool(await self._redis.hexists(self._key, f"d{block}"))

    async def labels(self, block: int) -> list[Label]:
        return _labels(await self._redis.hget(self._key, f"m{block}"))

    async def references(self, block: int) -> list[array[int]]:
        return _references(await self._redis.hget(self._key, f"r{block}"))

    async def entries(self, block: int) -> list[Entry]:
        """A whole block, row by row; read in one step, for another may drop it."""
        digests, labels, joined = await self._redis.hmget(self._key, [f"{kind}{block}" for kind in "dmr"])
        keys, raws, meanings = unpack_block(digests or b"")
        references = _references(joined)
        refs: Iterable[tuple[int, ...]] = zip(*references, strict=True) if references else ((),) * len(keys)
        return [Entry(*row) for row in zip(keys, raws, meanings, _labels(labels), refs, strict=True)]

    async def stream(self, index: Index) -> AsyncIterator[Entry]:
        """All known rows in key order, one block in memory at a time."""
        for info in index.blocks:
            for entry in await self.entries(info.block):
                yield entry

    async def replace(self, index: Index, *, before: Index | None = None, dropped: Sequence[int] = ()) -> None:
        """Make `index` the truth (its blocks are stored already) and drop blocks that it no longer names. All or none.

        Raises Poison (`fenced`) when it was made from `before`, and another has replaced that meanwhile or has cleared its blocks away.
        """
        raw = msgspec.msgpack.encode((index.next_block, [tuple(info) for info in index.blocks]))
        old = {info.block for info in before.blocks} if before is not None else {info.block for info in index.blocks}
        added = [f"d{info.block}" for info in index.blocks if info.block not in old]
        fields = [f"{kind}{block}" for block in dropped for kind in "dmr"]
        expected: str | bytes = "*" if before is None else before.raw
        if not await self._replace(keys=[self._key], args=[raw, expected, len(added), *added, *fields]):
            raise Poison("what is known of these rows was replaced meanwhile: another has done this work", code="fenced")
        index.raw = raw

    async def store_block(self, block: int, entries: Sequence[Entry]) -> None:
        """Write one block that no index names yet; `replace` then names it."""
        keys, raws, meanings, labels, refs = zip(*entries, strict=True) if entries else ((), (), (), (), ())
        fields = {
            f"d{block}": array("q", keys).tobytes() + array("Q", raws).tobytes() + array("Q", meanings).tobytes(),
            f"m{block}": msgspec.msgpack.encode(labels),
        }
        if refs and refs[0]:
            fields[f"r{block}"] = msgspec.msgpack.encode([array("Q", column).tobytes() for column in zip(*refs, strict=True)])
        await self._redis.hset(self._key, mapping=fields)

    async def sweep_leftovers(self, index: Index) -> None:
        """Drop blocks that the index does not name (left by a rebuild that died)."""
        named = {f"{kind}{info.block}".encode() for info in index.blocks for kind in "dmr"} | {b"index"}
        stale = [field for field in await self._redis.hkeys(self._key) if field not in named]
        if stale:
            await self._redis.hdel(self._key, *stale)

    async def claim(self, rows: Sequence[tuple[str, int]]) -> dict[int, int]:
        """Say that Sage row `key` uses this natural key, for (natural, key) pairs.

        Returns {position: key of the row that already owns the natural key} for those that another row holds.
        """
        taken: dict[int, int] = {}
        for start in range(0, len(rows), _CLAIM_AT_ONCE):
            part = rows[start : start + _CLAIM_AT_ONCE]
            claims = [xxh3_64_hexdigest(natural.encode()) for natural, _ in part], [str(key) for _, key in part]
            answer = await self._claim(keys=[self._natural], args=[msgspec.msgpack.encode(claims)])
            for at in range(0, len(answer), 2):
                taken[start + answer[at] - 1] = int(answer[at + 1])
        return taken

    async def hand_over(self, natural: str, key: int) -> None:
        """The natural key belongs to another Sage row from now on."""
        await self._redis.hset(self._natural, xxh3_64_hexdigest(natural.encode()), str(key))

    async def release(self, rows: Sequence[tuple[str, int]]) -> None:
        """These rows are gone: free their natural keys, unless another row took them over."""
        for start in range(0, len(rows), _CLAIM_AT_ONCE):
            part = rows[start : start + _CLAIM_AT_ONCE]
            fields = [xxh3_64_hexdigest(natural.encode()) for natural, _ in part]
            owners = await self._redis.hmget(self._natural, fields)
            mine = [field for field, owner, (_, key) in zip(fields, owners, part, strict=True) if owner == str(key).encode()]
            if mine:
                await self._redis.hdel(self._natural, *mine)

    async def forget(self) -> None:
        """Forget everything: the next run reads and compares every row (used when a company is removed)."""
        await self._redis.delete(self._key, self._natural)


def _labels(raw: bytes | None) -> list[Label]:
    return [Label(*label) for label in msgspec.msgpack.decode(raw)] if raw else []


def _references(raw: bytes | None) -> list[array[int]]:
    return [array("Q", packed) for packed in msgspec.msgpack.decode(raw)] if raw else []


def unpack_block(raw: bytes) -> Block:
    """A block's three columns from their packed form."""
    size = len(raw) // 3
    keys, raws, meanings = array("q"), array("Q"), array("Q")
    keys.frombytes(raw[:size])
    raws.frombytes(raw[size : 2 * size])
    meanings.frombytes(raw[2 * size :])
    return Block(keys, raws, meanings)
