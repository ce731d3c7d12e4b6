"""Backup and restore of what only Redis has: dead letters with their edits and history, the audit trail, what is known of rows, journals
and their stories, cursors, run records, what persons have paused, the console's users and tokens.

A backup is gzip of JSON lines. Bytes are written as text of the same code points (latin-1), so that every byte comes back:

    {"backup": "connect", "version": 1, "at": …}
    {"k": key, "t": type, "v": values, "x": when it expires (ms since 1970; may be left out), "new": true where the key starts (again)}
    {"end": number of lines before, "sha256": of them}

It is read while everything runs. Each value is as it was at one moment; what belongs together (a part's blocks and their index, the audit
trail and its head) is read again until it agrees. Sealed payloads stay sealed. Not in it: queues, slots, locks, tokens, logins, runs under
way and what they have read: all of that is made anew.

Restored rows count as "to be looked at again": what Prime got after the backup is not known, so each row is sent once more. The store's
epoch is new, so no document is made, refused or cancelled until whatever was under way must show in Sage.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from redis.asyncio import Redis

from connect.errors import ConfigError, ConnectError
from connect.state import epoch
from connect.state.known import unpack_block

VERSION: Final = 1
_AT_ONCE: Final = 500  # keys
_SMALL: Final = 500  # members read in one call
_TRIES: Final = 5
_LEFT_OUT: Final = re.compile(
    rb"connect:(queue:|worker:|epoch|token:|deployment$|metrics:|notify:|console:(session|tries):|sage:[^:]*:(slots|wait:|alive|pause)"
    rb"|[^:]*:(running$|wanted$|tick$|owned$|beat$|part:|chunk:|deferred:|paused:|distrust$|join:.*:new$|doc:.*:lock$|audit:head$))"
)
_KNOWN: Final = re.compile(rb"connect:[^:]*:known:")
_AUDIT: Final = re.compile(rb"connect:[^:]*:audit$")
_RUN: Final = re.compile(rb"connect:[^:]*:run:")
_LETTER: Final = re.compile(r"connect:[^:]*:dl:[0-9a-f-]{8,}")
_LETTER_STATE: Final = re.compile(rb"(connect:[^:]*:dl:)state:(.*)")
_NOT_CONTENT: Final = re.compile(rb"connect:(epoch|worker:|queue:|metrics:|notify:|deployment$|console:(session|tries):)")


class Damaged(ConnectError):
    """The file is no backup, or not as it was written."""


@dataclass(frozen=True)
class Summary:
    """What a backup holds. `left_out`: known rows that changed all the time while they were read."""

    at: str
    keys: int
    letters: int
    acts: int
    lines: int
    left_out: tuple[str, ...] = ()


# -- backup ------------------------------------------------------------------------------------------------------------


async def backup(redis: Redis, path: Path) -> Summary:
    """Write a backup that only its owner can read (0600). Raises ConfigError when there is a file already, or it cannot be written."""
    if path.exists():  # noqa: ASYNC240 - a command of its own: nobody waits meanwhile
        raise ConfigError(f"{path} is there already; give another name", code="backup-exists")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    at = datetime.now(UTC).isoformat()
    keys, letters, acts, left_out = 0, 0, 0, []
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", code="backup-path") from None
    try:
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, filename="") as file:
            lines = _Lines(file)
            lines.add({"backup": "connect", "version": VERSION, "at": at})
            async for some in _keys(redis):
                wanted = [key for key in some if not _LEFT_OUT.match(key)]
                async for line in _contents(redis, wanted):
                    lines.add(line)
                    keys += bool(line.get("new"))
                    letters += bool(_LETTER.fullmatch(line["k"]))
                for key in wanted:
                    if _KNOWN.match(key):
                        if await _known(redis, key, lines):
                            keys += 1
                        else:
                            left_out.append(key.decode())
                    elif _AUDIT.match(key):
                        acts += await _audit(redis, key, lines)
                        keys += 2
            lines.end()
            file.flush()
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    return Summary(at, keys, letters, acts, lines.count, tuple(left_out))


class _Lines:
    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, facts: dict[str, Any]) -> None:
        line = orjson.dumps(facts) + b"\n"
        self._hash.update(line)
        self._file.write(line)
        self.count += 1

    def end(self) -> None:
        self._file.write(orjson.dumps({"end": self.count, "sha256": self._hash.hexdigest()}) + b"\n")


async def _keys(redis: Redis) -> AsyncIterator[list[bytes]]:
    """All keys of ours, each once."""
    seen: set[bytes] = set()
    cursor: int | None = None
    while cursor != 0:
        cursor, found = await redis.scan(cursor or 0, match="connect:*", count=_AT_ONCE)
        fresh = [key for key in dict.fromkeys(found) if key not in seen]
        seen.update(fresh)
        yield fresh


async def _contents(redis: Redis, keys: Sequence[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Lines of each key that needs no care of its own; nothing of one that is gone meanwhile."""
    plain = [key for key in keys if not _KNOWN.match(key) and not _AUDIT.match(key)]
    async with redis.pipeline(transaction=False) as pipe:
        for key in plain:
            pipe.type(key)
        kinds = [kind.decode() for kind in await pipe.execute()]
        sized = [(key, kind) for key, kind in zip(plain, kinds, strict=True) if kind in _SIZE]
        for key, kind in sized:
            pipe.execute_command(_SIZE[kind], key)
        sizes = await pipe.execute()
        small = [(key, kind) for (key, kind), size in zip(sized, sizes, strict=True) if size <= _SMALL or kind in ("string", "list")]
        for key, kind in small:
            _WHOLE[kind](pipe, key)
            pipe.pexpiretime(key)
        answers = await pipe.execute()
    for (key, kind), values, expires_ms in zip(small, answers[::2], answers[1::2], strict=True):
        if values:
            yield _line(key, kind, _values(kind, values), expires_ms)
    for (key, kind), size in zip(sized, sizes, strict=True):
        if size > _SMALL and kind not in ("string", "list"):
            expires_ms, new = await redis.pexpiretime(key), True
            async for values in _pages(redis, key, kind):
                yield _line(key, kind, values, expires_ms, new=new)
                new = False


_SIZE: Final = {"string": "STRLEN", "hash": "HLEN", "zset": "ZCARD", "set": "SCARD", "list": "LLEN", "stream": "XLEN"}
_WHOLE: Final[dict[str, Any]] = {
    "string": lambda pipe, key: pipe.get(key),
    "hash": lambda pipe, key: pipe.hgetall(key),
    "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    "set": lambda pipe, key: pipe.smembers(key),
    "list": lambda pipe, key: pipe.lrange(key, 0, -1),
    "stream": lambda pipe, key: pipe.xrange(key),
}


def _values(kind: str, answer: Any) -> Any:
    if kind == "string":
        return _text(answer)
    if kind == "stream":
        return [[entry.decode(), [_text(word) for pair in fields.items() for word in pair]] for entry, fields in answer]
    if kind == "hash":
        return [_text(word) for pair in answer.items() for word in pair]
    if kind == "zset":
        return [word for member, score in answer for word in (_text(member), repr(float(score)))]
    return [_text(word) for word in answer]


async def _pages(redis: Redis, key: bytes, kind: str) -> AsyncIterator[list[Any]]:
    """Values of a large key, some at a time."""
    if kind == "stream":
        start = "-"
        while rows := await redis.xrange(key, min=start, count=_SMALL):
            yield _values(kind, rows)
            start = f"({rows[-1][0].decode()}"
        return
    scan = {"hash": redis.hscan, "zset": redis.zscan, "set": redis.sscan}[kind]
    cursor: int | None = None
    while cursor != 0:
        cursor, found = await scan(key, cursor or 0, count=_SMALL)
        if found:
            yield _values(kind, found)


def _line(key: bytes, kind: str, values: Any, expires_ms: int = -1, *, new: bool = True) -> dict[str, Any]:
    return {"k": _text(key), "t": kind, "v": values} | ({"x": expires_ms} if expires_ms > 0 else {}) | ({"new": True} if new else {})


async def _known(redis: Redis, key: bytes, lines: _Lines) -> bool:
    """The known rows of a part: index and blocks as they belong together. False when they never did."""
    for _ in range(_TRIES):
        index = await redis.hget(key, "index")
        if index is None:
            return True
        lines.add(_line(key, "hash", ["index", _text(index)]))
        for _, block, *_rest in msgspec.msgpack.decode(index)[1]:
            names = [f"{kind}{block}" for kind in "dmr"]
            found = [(name, value) for name, value in zip(names, await redis.hmget(key, names), strict=True) if value is not None]
            if found:
                lines.add(_line(key, "hash", [word for name, value in found for word in (name, _text(value))], new=False))
        if await redis.hget(key, "index") == index:
            return True
    lines.add(_line(key, "hash", []))
    return False


async def _audit(redis: Redis, key: bytes, lines: _Lines) -> int:
    """The audit trail, and the head that belongs to what was read of it."""
    acts, last, new = 0, b"", True
    async for values in _pages(redis, key, "stream"):
        lines.add(_line(key, "stream", values, new=new))
        acts, new, last = acts + len(values), False, values[-1][1][1].encode("latin-1")
    if last:
        act = orjson.loads(last)
        lines.add(_line(key + b":head", "hash", ["n", str(act["n"]), "hash", act["hash"]]))
    return acts


# -- restore -----------------------------------------------------------------------------------------------------------


def check(path: Path) -> Summary:
    """Read a backup to its end. Raises Damaged unless it is whole and as it was written; ConfigError when it cannot be read."""
    digest, count, keys, letters, acts, at = hashlib.sha256(), 0, 0, 0, 0, ""
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                facts = orjson.loads(line)
                if count == 0:
                    if facts.get("backup") != "connect":
                        raise Damaged(f"{path} is no backup of Connect", code="backup-damaged")
                    if facts["version"] > VERSION:
                        raise Damaged(f"{path} was written by a newer version of Connect; restore it with that", code="backup-version")
                    at = facts["at"]
                elif "end" in facts:
                    if facts != {"end": count, "sha256": digest.hexdigest()} or file.read(1):
                        raise Damaged(f"{path} was changed after it had been written; use another backup", code="backup-damaged")
                    return Summary(at, keys, letters, acts, count)
                else:
                    keys += bool(facts.get("new"))
                    letters += bool(_LETTER.fullmatch(facts["k"]))
                    acts += len(facts["v"]) if _AUDIT.match(facts["k"].encode("latin-1")) else 0
                digest.update(line)
                count += 1
    except (EOFError, gzip.BadGzipFile, orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"{path} is no whole backup ({error}); use another one", code="backup-damaged") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", code="backup-path") from None
    raise Damaged(f"{path} ends too early; use another backup", code="backup-damaged")


async def restore(redis: Redis, path: Path, *, force: bool = False) -> Summary:
    """Put a backup into an empty store; `force`: empty it before.

    Raises:
        Damaged: before anything is touched.
        ConfigError: the store is not empty (without `force`), or workers are alive.
    """
    summary = check(path)
    if alive := [key async for key in redis.scan_iter(match="connect:worker:*", count=1000)]:
        raise ConfigError(f"{len(alive)} workers are alive on this Redis; stop them (and the console) first", code="restore-workers")
    content = [key async for some in _keys(redis) for key in some if not _NOT_CONTENT.match(key)]
    if content and not force:
        raise ConfigError(
            f"this Redis is not empty ({len(content)} keys, such as {content[0].decode(errors='replace')}); --force empties it first",
            code="restore-not-empty",
        )
    await _empty(redis)
    with gzip.open(path, "rb") as file:
        pipe, size = redis.pipeline(transaction=False), 0
        for line in file:
            facts = orjson.loads(line)
            if "k" not in facts:
                continue
            _put(pipe, facts)
            size += len(line)
            if size > 2**20:
                await pipe.execute()
                size = 0
        await pipe.execute()
    await _agree(redis)
    await redis.delete(epoch.KEY, epoch.CLEAN)
    return summary


async def _empty(redis: Redis) -> None:
    for pattern in ("connect:*", "arq:*"):
        cursor: int | None = None
        while cursor != 0:
            cursor, found = await redis.scan(cursor or 0, match=pattern, count=_AT_ONCE)
            if found:
                await redis.unlink(*found)


def _put(pipe: Any, facts: dict[str, Any]) -> None:
    """Add one line to what is sent."""
    key, kind, values = _bytes(facts["k"]), facts["t"], facts["v"]
    if facts.get("new"):
        pipe.unlink(key)
    if not values:
        return
    if kind == "string":
        pipe.set(key, _bytes(values))
    elif kind == "stream":
        for entry, words in values:
            pipe.execute_command("XADD", key, entry, *map(_bytes, words))
    else:
        words = [_bytes(word) for word in values]
        if _KNOWN.match(key):
            words = [word for pair in zip(words[::2], words[1::2], strict=True) for word in _owed(*pair)]
        elif _RUN.match(key):
            words = _ended(words)
        elif kind == "zset":
            words = [word for member, score in zip(words[::2], words[1::2], strict=True) for word in (score, member)]
        pipe.execute_command({"hash": "HSET", "zset": "ZADD", "set": "SADD", "list": "RPUSH"}[kind], key, *words)
    if "x" in facts:
        pipe.pexpireat(key, facts["x"])


def _owed(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Known rows keep their keys and names; what Prime has of them is not known any more."""
    if name == b"index":
        next_block, blocks = msgspec.msgpack.decode(value)
        return name, msgspec.msgpack.encode((next_block, [(until, block, 0, rows) for until, block, _, rows in blocks]))
    if name.startswith(b"d"):
        rows = len(unpack_block(value).keys)
        return name, value[: rows * 8] + bytes(rows * 16)
    return name, value


def _ended(words: list[bytes]) -> list[bytes]:
    """A run that was under way has ended with the store it ran in."""
    facts = dict(zip(words[::2], words[1::2], strict=True))
    if facts.get(b"state") == b"running":
        facts |= {b"state": b"failed", b"reason": b"it was under way when the backup was made that was restored since"}
    return [word for pair in facts.items() for word in pair]


async def _agree(redis: Redis) -> None:
    """A letter that changed its state while the backup was made stands in the list of the state that it has, and in no other."""
    lists = [key async for some in _keys(redis) for key in some if _LETTER_STATE.fullmatch(key)]
    for key in lists:
        prefix, state = _LETTER_STATE.fullmatch(key).groups()  # type: ignore[union-attr]  # they match
        async for some in _members(redis, key):
            async with redis.pipeline(transaction=False) as pipe:
                for letter, _ in some:
                    pipe.hget(prefix + letter, "state")
                states = await pipe.execute()
                for (letter, score), its in zip(some, states, strict=True):
                    if its != state:
                        pipe.zrem(key, letter)
                    if its is not None and its != state:
                        pipe.zadd(prefix + b"state:" + its, {letter: score})
                await pipe.execute()


async def _members(redis: Redis, key: bytes) -> AsyncIterator[list[tuple[bytes, float]]]:
    found = await redis.zrange(key, 0, -1, withscores=True)
    for start in range(0, len(found), _AT_ONCE):
        yield found[start : start + _AT_ONCE]


def _text(word: bytes) -> str:
    return word.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
