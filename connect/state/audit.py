"""The audit trail: what persons have done, in a chain in which nothing can be changed or left out unseen.

    connect:{sid}:audit        stream   the acts, oldest first; never trimmed
    connect:{sid}:audit:head   hash     n and hash of the newest

Each entry holds the hash of the one before it, and its own over all that it says. The head goes to the log with every act: whoever cuts
the end off and mends the head as well is found by comparing with the log (`connect audit verify --head N:HASH`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
import structlog
from redis.asyncio import Redis

from connect.errors import Transient

PAGE: Final = 1000
FIRST: Final = 10  # entries of each of many connections
TRIES: Final = 100
# KEYS: stream, head. ARGV: hash of the head that we know, n, new hash, entry. Nothing happens when somebody else was first.
_APPEND: Final = """
if (redis.call('HGET', KEYS[2], 'hash') or '') ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[1], '*', 'entry', ARGV[4])
redis.call('HSET', KEYS[2], 'n', ARGV[2], 'hash', ARGV[3])
return 1
"""

# KEYS: stream, head. Returns {n, hash of the head, how many entries, the newest or ''}.
_NEWEST: Final = """
local found = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local n, hash = redis.call('HGET', KEYS[2], 'n'), redis.call('HGET', KEYS[2], 'hash')
return {n or '0', hash or '', redis.call('XLEN', KEYS[1]), found and found[2][2] or ''}
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Act:
    """One act. `about`: what it was done to; `facts`: the rest (a reason, before and after, how many)."""

    n: int
    at: str
    by: str
    what: str
    about: str
    facts: dict[str, Any]
    before: str
    hash: str = ""

    def digest(self) -> str:
        said = {name: value for name, value in vars(self).items() if name != "hash"}
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Flaw(NamedTuple):
    """Where the chain does not hold. `n`: of the entry, or where one should be."""

    n: int
    message: str


class Audit:
    """The audit trail of one connection."""

    def __init__(self, redis: Redis, sid: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._redis = redis
        self._stream = f"connect:{sid}:audit"
        self._head = f"connect:{sid}:audit:head"
        self._clock = clock
        self._append = redis.register_script(_APPEND)

    async def add(self, what: str, about: str, *, by: str, **facts: Any) -> Act:
        """Write an act down, and its hash into the log."""
        for _ in range(TRIES):
            n, before = await self.head()
            act = Act(n + 1, self._clock().isoformat(), by, what, about, facts, before)
            act = Act(**asdict(act) | {"hash": act.digest()})
            if await self._append(keys=[self._stream, self._head], args=[before, act.n, act.hash, orjson.dumps(asdict(act))]):
                log.info("audit", n=act.n, what=what, about=about, by=by, hash=act.hash, **facts)
                return act
        raise Transient("the audit trail is written to by too many at once; try again", system="redis", code="audit")

    async def head(self) -> tuple[int, str]:
        """(n, hash) of the newest act; (0, "") for none."""
        raw = await self._redis.hgetall(self._head)
        return int(raw.get(b"n", 0)), raw.get(b"hash", b"").decode()

    @staticmethod
    def ask_newest(pipe: Any, sid: str) -> None:
        """Within somebody's pipeline, for `newest`."""
        pipe.eval(_NEWEST, 2, f"connect:{sid}:audit", f"connect:{sid}:audit:head")

    @staticmethod
    def newest(answer: Sequence[Any]) -> tuple[int, bool]:
        """(how many entries there are, whether head and newest entry fit): a quick look, which finds what was cut off or changed last."""
        n, newest, entries, raw = answer
        act = _read({b"entry": raw})
        fits = entries == int(n) and (act is None if not entries else act is not None and act.digest() == act.hash == newest.decode())
        return int(entries), fits and (act is None or act.n == int(n))

    async def acts(self, newest: int | None = None) -> list[Act]:
        """The newest acts, or all, oldest first. Raises nothing for entries that were tampered with: they are left out."""
        rows = await self._redis.xrevrange(self._stream, count=newest)
        return [act for _, fields in reversed(rows) if (act := _read(fields)) is not None]

    async def backwards(self) -> AsyncIterator[Act]:
        """All acts, newest first, some at a time; entries that were tampered with are left out."""
        end = "+"
        while rows := await self._redis.xrevrange(self._stream, max=end, count=PAGE):
            for _, fields in rows:
                if (act := _read(fields)) is not None:
                    yield act
            end = f"({rows[-1][0].decode()}"

    async def verify(self, logged: tuple[int, str] | None = None) -> tuple[int, list[Flaw]]:
        """(how many entries there are, what is wrong). `logged`: n and hash of some entry as the log has them."""
        flaws: list[Flaw] = []
        count, n, before = 0, 0, ""
        logged_hash = ""
        async for fields in self._entries():
            count += 1
            act = _read(fields)
            if act is None:
                flaws.append(Flaw(n + 1, "the entry cannot be read"))
                continue
            if act.n != n + 1:
                gone = f"entries {n + 1} to {act.n - 1} are missing" if act.n > n + 2 else f"entry {n + 1} is missing"
                flaws.append(Flaw(n + 1, gone if act.n > n else f"entry {act.n} comes after entry {n}"))
            elif act.before != before:
                flaws.append(Flaw(act.n, "the entry does not follow from the one before it"))
            if act.digest() != act.hash:
                flaws.append(Flaw(act.n, "the entry was changed"))
            n, before = act.n, act.hash
            if logged is not None and act.n == logged[0]:
                logged_hash = act.hash
        head = await self.head()
        if head != (n, before):
            message = f"the newest entries are missing, up to {head[0]}" if head[0] > n else "the newest entry is not the one of the head"
            flaws.append(Flaw(max(n, head[0]), message))
        if logged is not None and logged_hash != logged[1]:
            flaws.append(Flaw(logged[0], "the entry is not the one in the log" if logged_hash else "the entry in the log is missing"))
        return count, flaws

    async def _entries(self) -> AsyncIterator[Mapping[bytes, bytes]]:
        start = "-"
        while rows := await self._redis.xrange(self._stream, min=start, count=PAGE):
            for _, fields in rows:
                yield fields
            start = f"({rows[-1][0].decode()}"


class Mark(NamedTuple):
    """How far somebody has read, newest first: up to that moment (ms), and so many entries of it."""

    at_ms: int
    passed: int = 0


class Found(NamedTuple):
    """An entry of one of several connections. `act` None: it was tampered with. `mark`: where it ends, for going on behind it."""

    sid: str
    act: Act | None
    mark: Mark


async def newest_first(redis: Redis, sids: Sequence[str], behind: Mark | None = None) -> AsyncIterator[Found]:
    """The entries of all these connections, newest first, or those `behind` a mark of the same connections.

    No more is read than is taken, but for a few entries of each connection: those are read in one round trip.
    """
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.xrevrange(f"connect:{sid}:audit", max="+" if behind is None else str(behind.at_ms), count=FIRST)
        rows = await pipe.execute()
    left = [list(reversed(some)) for some in rows]  # the newest last
    sizes = [FIRST] * len(sids)
    heap = [(-_moment(some[-1][0]), place) for place, some in enumerate(left) if some]
    heapq.heapify(heap)
    mark = Mark(-1)
    while heap:
        at_ms, place = -heap[0][0], heap[0][1]
        name, fields = left[place].pop()
        if not left[place] and len(rows[place]) == sizes[place]:
            sizes[place] = min(PAGE, sizes[place] * 4)
            rows[place] = await redis.xrevrange(f"connect:{sids[place]}:audit", max=f"({name.decode()}", count=sizes[place])
            left[place] = list(reversed(rows[place]))
        if left[place]:
            heapq.heapreplace(heap, (-_moment(left[place][-1][0]), place))
        else:
            heapq.heappop(heap)
        mark = Mark(at_ms, mark.passed + 1 if at_ms == mark.at_ms else 1)
        if behind is None or (-at_ms, mark.passed) > (-behind.at_ms, behind.passed):
            yield Found(sids[place], _read(fields), mark)


def _moment(name: bytes) -> int:
    """An entry's time in ms."""
    return int(name.partition(b"-")[0])


def _read(fields: Mapping[bytes, bytes]) -> Act | None:
    try:
        return Act(**orjson.loads(fields[b"entry"]))
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return None
