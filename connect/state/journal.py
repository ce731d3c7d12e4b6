"""The journal: what has been done with each document, and its lock. A cache of what Sage and Prime know; rebuilt by the look-up if lost.

    connect:{sid}:doc:{kind}:{root marker}         hash    the entry; kept 400 days
    connect:{sid}:doc:{kind}:{root marker}:story   stream  its steps (story.py)
    connect:{sid}:distrust                         string  until when what is not known here may be another's doing, in Redis' seconds
    connect:{sid}:doc:{kind}:{root marker}:lock    string  token of whoever works on it; outlives a write's time-out

Every change is fenced: the script that makes it looks first whether the lock still is ours.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from connect.errors import Transient
from connect.ledger import DocumentId, Problem, Request
from connect.state import epoch

KEEP_S: Final = 400 * 86_400
LOCK_S: Final = 150.0  # longer than a write with files may take (WRITE_TIMEOUT_S) and its way to the socket
LIVES: Final = 4  # of a lock, for as long as a batch is worked on
SEND_WITHIN_S: Final = 5.0
TOGETHER: Final = 500  # entries read at once

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""
# KEYS: lock, entry. ARGV: token, keep (s), then field, value …; an empty value deletes the field.
_SAVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[i]) else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  if ARGV[i] == 'state' then
    redis.call('XADD', KEYS[2] .. ':story', 'MAXLEN', '~', 200, '*', 'system', 'connect', 'step', ARGV[i + 1])
    redis.call('EXPIRE', KEYS[2] .. ':story', ARGV[2])
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""
# KEYS: lock, entry. ARGV: token, life (ms), keep (s), "1" if the write goes to Sage. From here on bytes may be on their way.
_STAMP: Final = (
    _NOW
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[2], 'sent_at', string.format('%.6f', now))
  redis.call('HSETNX', KEYS[2], 'first_sent_at', string.format('%.6f', now))
  redis.call('HINCRBY', KEYS[2], 'sends', 1)
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
redis.call('XADD', KEYS[2] .. ':story', 'MAXLEN', '~', 200, '*', 'system', ARGV[4] == '1' and 'sage' or 'prime', 'step', 'sending')
redis.call('EXPIRE', KEYS[2] .. ':story', ARGV[3])
return 1
"""
)
# KEYS: locks. ARGV: life (ms), then the token of each. One that is not ours any more stays as it is.
_RENEW: Final = """
for i, lock in ipairs(KEYS) do
  if redis.call('GET', lock) == ARGV[i + 1] then redis.call('PEXPIRE', lock, ARGV[1]) end
end
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class LockLost(Transient):
    """Somebody else may be at work on the document: nothing more is written by us."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the journal knows of one document. `state` "": nothing, or not refused yet. Times are Redis' own, in seconds."""

    state: str = ""
    revision: int = 0
    content: str = ""
    request: Request | None = None
    idempotency_key: str = ""
    burnt: bool = False
    said_duplicate: bool = False
    key: str = ""
    tried: tuple[tuple[str, str], ...] = ()
    sent_at: float = 0.0
    first_sent_at: float = 0.0
    sends: int = 0
    missed_at: float = 0.0
    held_at: float = 0.0
    attempts: int = 0
    problems: tuple[Problem, ...] = ()
    note: str = ""
    document: DocumentId | None = None  # None: written by an earlier version

    @property
    def may_be_sent(self) -> bool:
        """Whether bytes of the current revision may have reached Sage."""
        return self.request is not None and self.sent_at > 0


class Journal:
    """The journal of one connection. `lock_s`: how long a lock outlives its last renewal."""

    def __init__(self, redis: Redis, sid: str, *, lock_s: float = LOCK_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._prefix = f"connect:{sid}:doc:"
        self._distrust = f"connect:{sid}:distrust"
        self.lock_s = lock_s
        self.monotonic = monotonic
        self._save = redis.register_script(_SAVE)
        self._stamp = redis.register_script(_STAMP)
        self._release = redis.register_script(_RELEASE)
        self._renew = redis.register_script(_RENEW)

    async def lock(self, kind: str, document: DocumentId) -> Lock | None:
        """The document's lock, or None when somebody else has it."""
        token = secrets.token_hex(12)
        base = f"{self._prefix}{kind}:{document.marker()}"
        taken = await self._redis.set(f"{base}:lock", token, nx=True, px=int(self.lock_s * 1000))
        return Lock(self, document, base, token) if taken else None

    async def keep(self, locks: Collection[Lock]) -> None:
        """Renew these locks until cancelled, for documents that wait for their turn or for a slot; no longer than LIVES lives: what Prime
        listed by then is too old to act on. Where Redis is away they end by themselves. When bytes may have left, only a stamp says.
        """
        for _ in range(3 * (LIVES - 1)):
            await asyncio.sleep(self.lock_s / 3)
            held = list(locks)
            if held:
                with suppress(OSError, RedisError):
                    await self._renew(
                        keys=[f"{lock._base}:lock" for lock in held],  # noqa: SLF001
                        args=[int(self.lock_s * 1000), *(lock._token for lock in held)],  # noqa: SLF001
                    )

    async def entry(self, kind: str, document: DocumentId) -> Entry:
        """What is known, for whoever only looks."""
        return _entry(await self._redis.hgetall(f"{self._prefix}{kind}:{document.marker()}"))

    async def entries(self, kind: str, documents: Sequence[DocumentId]) -> list[Entry]:
        """The same of many, in their order."""
        found: list[Entry] = []
        for start in range(0, len(documents), TOGETHER):
            async with self._redis.pipeline(transaction=False) as pipe:
                for document in documents[start : start + TOGETHER]:
                    pipe.hgetall(f"{self._prefix}{kind}:{document.marker()}")
                found += [_entry(raw) for raw in await pipe.execute()]
        return found

    async def all(self, kind: str) -> AsyncIterator[tuple[str, Entry]]:
        """Every document of a kind, in no order: (root marker, entry). Looks through all keys of Redis, a few at a time."""
        cursor: int | None = None
        start = f"{self._prefix}{kind}:"
        while cursor != 0:
            cursor, names = await self._redis.scan(cursor or 0, match=f"{start}RP-*", count=TOGETHER)
            roots = [root for name in dict.fromkeys(names) if ":" not in (root := name.decode().removeprefix(start))]
            async with self._redis.pipeline(transaction=False) as pipe:
                for root in roots:
                    pipe.hgetall(start + root)
                for root, raw in zip(roots, await pipe.execute(), strict=True):
                    if raw:
                        yield root, _entry(raw)

    async def now_s(self) -> float:
        seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def trusted_from_s(self) -> float:
        """When what this Redis does not know counts as not done: a lock's life after it was found empty, or another had the documents."""
        emptied_at = await self.now_s() - await epoch.age_s(self._redis)
        return max(emptied_at, float(await self._redis.get(self._distrust) or 0)) + self.lock_s

    async def distrust(self, for_s: float) -> None:
        """Another may write to Sage for so long, and one lock's life more: as if this Redis had been found empty then."""
        until = await self.now_s() + for_s
        await self._redis.set(self._distrust, f"{until:.6f}", px=int((for_s + self.lock_s + 86_400) * 1000))


@dataclass(frozen=True)
class Lock:
    """One document, for one worker. Raises LockLost as soon as it is not ours any more."""

    _journal: Journal
    id: DocumentId
    _base: str = field(repr=False)
    _token: str = field(repr=False)

    async def entry(self) -> Entry:
        return _entry(await self._journal._redis.hgetall(self._base))  # noqa: SLF001

    async def intend(self, request: Request, *, revision: int, content: str, key: str) -> Entry:
        """The next revision's exact bytes, before any of them leaves."""
        before = await self.entry()
        tried = list(dict.fromkeys([*before.tried, (request.vendor, request.number)]))
        await self.save(
            state="intent",
            revision=revision,
            content=content,
            request=request,
            idempotency_key=key,
            tried=tried,
            burnt=False,
            said_duplicate=False,
            key="",
            sent_at=0.0,
            first_sent_at=0.0,
            sends=0,
            missed_at=0.0,
            problems=(),
            note="",
        )
        return await self.entry()

    async def save(self, **facts: Any) -> None:
        """Write facts of the entry; what is empty is removed."""
        journal = self._journal
        pairs = ["document", "\n".join(self.id), *(word for name, value in facts.items() for word in (name, _packed(value)))]
        if not await journal._save(keys=[f"{self._base}:lock", self._base], args=[self._token, KEEP_S, *pairs]):  # noqa: SLF001
            raise LockLost(f"the lock of {self.id.text} was lost; whoever has it goes on", code="lock_lost")

    async def stamp(self, *, sage: bool = True) -> float:
        """Checked, renewed and noted in one step, right before a write. Returns the moment (monotonic) by which it must have left."""
        journal = self._journal
        asked_at = journal.monotonic()
        args = [self._token, int(journal.lock_s * 1000), KEEP_S, int(sage)]
        if not await journal._stamp(keys=[f"{self._base}:lock", self._base], args=args):  # noqa: SLF001
            raise LockLost(f"the lock of {self.id.text} was lost; whoever has it goes on", code="lock_lost")
        return asked_at + min(SEND_WITHIN_S, journal.lock_s / 4)

    async def release(self) -> None:
        """Let go of it; where Redis is away it ends by itself, and what the work came to is not lost for that."""
        with suppress(OSError, RedisError):
            await asyncio.shield(self._journal._release(keys=[f"{self._base}:lock"], args=[self._token]))  # noqa: SLF001


def _packed(value: Any) -> str | bytes:
    if isinstance(value, Request):
        return orjson.dumps(
            {name: getattr(value, name) for name in ("kind", "number", "vendor", "marker", "entity")} | {"body": value.body.decode()}
        )
    if isinstance(value, list | tuple):
        return orjson.dumps([list(item) for item in value]) if value else ""
    if isinstance(value, bool):
        return "1" if value else ""
    return f"{value:.6f}" if isinstance(value, float) and value else str(value) if value else ""


def _entry(raw: Mapping[bytes, bytes]) -> Entry:
    text = {name.decode(): value.decode() for name, value in raw.items()}
    request = None
    if "request" in text:
        facts = orjson.loads(text["request"])
        request = Request(**facts | {"body": facts["body"].encode()})
    return Entry(
        state=text.get("state", ""),
        revision=int(text.get("revision", 0)),
        content=text.get("content", ""),
        request=request,
        idempotency_key=text.get("idempotency_key", ""),
        burnt=text.get("burnt") == "1",
        said_duplicate=text.get("said_duplicate") == "1",
        key=text.get("key", ""),
        tried=tuple((vendor, number) for vendor, number in orjson.loads(text.get("tried", "[]"))),
        sent_at=float(text.get("sent_at", 0)),
        first_sent_at=float(text.get("first_sent_at", 0)),
        sends=int(text.get("sends", 0)),
        missed_at=float(text.get("missed_at", 0)),
        held_at=float(text.get("held_at", 0)),
        attempts=int(text.get("attempts", 0)),
        problems=tuple(Problem(*row) for row in orjson.loads(text.get("problems", "[]"))),
        note=text.get("note", ""),
        document=DocumentId(*text["document"].split("\n")) if "document" in text else None,
    )
