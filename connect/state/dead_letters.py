"""Dead letters: what could not be delivered, why, in whose words, and whose turn it is.

    connect:{sid}:dl:{id}                       hash   facts (JSON), payload, state, attempts, first_at, last_at
    connect:{sid}:dl:{id}:history               list   what happened to it, newest last
    connect:{sid}:dl:state:{state}              zset   id -> last time (s)
    connect:{sid}:dl:by:{field}:{value}         zset   the same, per error, owner, company, job, kind and number
    connect:{sid}:dl:keys:{company}:{job}:{part} hash  Sage key -> id, for the open ones
    connect:{sid}:dl:since:{whom}               zset   id -> since when it is open (s), while it waits for this owner or "approval"
    connect:{sid}:dl:approved                   set    ids of those that a person has approved and nobody has replayed yet
    connect:{sid}:dl:lines                      hash   first 3 digits of the id -> lines of what `supplier`, `id` and `text` look in
    connect:{sid}:dl:group                      hash   id -> its group: all that fail for the same reason with the same values
    connect:{sid}:dl:owners                     string JSON: open letters by company and owner, since the last change (glance.py)
    connect:{sid}:dl:groups:counted             hash   states -> msgpack: letters by group, since the last change
    connect:{sid}:dl:groups                     hash   group -> JSON: error, owner, fix and text of its letters

The id comes from what the letter is about, so the same row refused again is the same letter. Kept 400 days after it ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson
from redis.asyncio import Redis

from connect.catalogue import catalogue
from connect.errors import ConnectError, Poison
from connect.ledger import Owner
from connect.state.letter_search import STATES, WAITING, Group, checked, find_among, groups_among, ids_among
from connect.state.seal import Seal
from connect.state.seen import Seen

State = Literal["open", "replaying", "resolved", "discarded"]
KEPT: Final = timedelta(days=400)
HISTORY: Final = 50
APPROVAL: Final = "approval"
WHOM: Final = (*get_args(Owner), APPROVAL)

# A line: id, supplier, text, id, with tabs between; small letters. Few large values are read many times as fast as many small ones.
# KEYS: lines. ARGV: id, its line or "" for none, …
_LINES: Final = """
for i = 1, #ARGV, 2 do
  local id, line = ARGV[i], ARGV[i + 1]
  local bucket = string.sub(id, 1, 3)
  local lines = redis.call('HGET', KEYS[1], bucket) or ''
  local start = string.find('\\n' .. lines, '\\n' .. id .. '\\t', 1, true)
  if start then lines = string.sub(lines, 1, start - 1) .. string.sub(lines, string.find(lines, '\\n', start, true) + 1) end
  lines = lines .. line
  if lines == '' then redis.call('HDEL', KEYS[1], bucket) else redis.call('HSET', KEYS[1], bucket, lines) end
end
"""
_LOADED_AT_ONCE: Final = 500
# Markers, moments, days, amounts, long numbers and Sage's request ids: of one letter each.
_TOO_EXACT: Final = re.compile(r"RP-[A-Z2-7]{16}\S*|\d{4}-\d\d-\d\d[T ][\d:.]+\S*|-?\d[\d,]*\.\d\d\b|\b[0-9a-f]{8}-[0-9a-f-]{20,}\b")
GROUP_TEXT_MOST: Final = 300
_TIMES: Final = ("first_at", "last_at", "open_since")
_BARE: Final = tuple(name.encode() for name in ("facts", "state", "approved_by", "attempts", *_TIMES))
# ARGV: prefix of the letters, ids. One call: putting together one command for each letter costs as much as all else.
_LOAD_BARE: Final = f"""
local found = {{}}
for i = 2, #ARGV do found[i - 1] = redis.call('HMGET', ARGV[1] .. ARGV[i], {", ".join(repr(name.decode()) for name in _BARE)}) end
return found
"""
WORDS_MOST: Final = 300  # characters of a letter in which `text` looks
UNKNOWN: Final = (
    "operator",
    "Nobody has described this error yet: look at the log under the letter's correlation id; replay once the cause is gone.",
)


def advice(system: str, code: str, message: str = "", detail: str = "") -> dict[str, str]:
    """What the catalogue says of an error: owner, fix, cause, and the entry's name; "" for the last two when it is not known."""
    entry = catalogue().explain(system, code, message, detail)
    if entry is None:
        return {"owner": UNKNOWN[0], "fix": UNKNOWN[1], "cause": "", "entry": ""}
    return {"owner": entry.owner, "fix": entry.fix, "cause": entry.cause, "entry": entry.name}


def waits_for(letter: DeadLetter) -> list[str]:
    """For whom an open letter waits: its owner, and "approval" where a payment has none; for nobody while it is not open."""
    if letter.state != "open":
        return []
    return [letter.error["owner"], *([APPROVAL] if letter.kind == "Payment" and not letter.approved_by else [])]


class Edit(NamedTuple):
    """What a person has changed of a document that waits (connect/documents/edits.py): laid over it when it is posted.

    `of`: digest of the document as Prime lists it, to which alone it applies; `to`: digest with the changes.
    """

    of: str
    to: str
    changes: dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One letter. `payload` holds the row (Sage's, or as it was sent to Prime); `key` is Sage's record key, 0 for none.

    `approved_by`: the person who lets a payment be sent again, by another person than that; it holds for one replay.
    `open_since`: when it was first refused since it last ended; a replay does not end it.
    """

    id: str
    company: str
    job: str
    part: str
    kind: str
    key: int
    number: str
    name: str
    payload: bytes
    error: Mapping[str, str]
    run: str
    trace: str
    state: State = "open"
    approved_by: str = ""
    attempts: int = 1
    first_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    open_since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def item(self, connection: str) -> dict[str, Any]:
        """As `connect dead-letters list --json` shows it (design section 8)."""
        return {
            "id": self.id,
            "connection": connection,
            "company": self.company,
            "job": self.job,
            "kind": self.kind,
            "number": self.number,
            "supplier": self.name,
            "error": {name: self.error.get(name, "") for name in ("code", "class", "message", "owner", "fix")},
            "attempts": self.attempts,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "state": self.state,
        }


async def holding(redis: Redis, sids: Sequence[str], states: Sequence[str] = STATES) -> list[str]:
    """Those of these connections that have any letters in these states, in one round trip."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.exists(*(f"connect:{sid}:dl:state:{state}" for state in states))
        return [sid for sid, number in zip(sids, await pipe.execute(), strict=True) if number]


async def owners_of(redis: Redis, sids: Sequence[str], letter_ids: Sequence[str]) -> list[str]:
    """Those of these connections that have any of these letters, in one round trip."""
    if not letter_ids:
        return []
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.exists(*(f"connect:{sid}:dl:{letter_id}" for letter_id in letter_ids))
        return [sid for sid, number in zip(sids, await pipe.execute(), strict=True) if number]


class DeadLetters:
    """The dead letters of one connection."""

    def __init__(
        self, redis: Redis, sid: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), seal: Seal | None = None
    ) -> None:
        self._redis = redis
        self._sid = sid
        self._prefix = f"connect:{sid}:dl:"
        self._clock = clock
        self._seen = Seen(redis, sid)
        self._seal = seal

    def id_of(self, company: str, job: str, part: str, about: int | str) -> str:
        """The id of the letter about a Sage key, or about a number where there is no key."""
        return hashlib.sha256(f"{self._sid}\n{company}\n{job}\n{part}\n{about}".encode()).hexdigest()[:12]

    def letter(
        self,
        *,
        company: str,
        job: str,
        part: str,
        kind: str,
        key: int,
        number: str,
        name: str,
        payload: bytes,
        error: ConnectError,
        run: str,
        trace: str,
    ) -> DeadLetter:
        """Make a letter (it is stored by `put_many`)."""
        system = error.system or ("sage" if isinstance(error, Poison) else "")
        return DeadLetter(
            id=self.id_of(company, job, part, key or number),
            company=company,
            job=job,
            part=part,
            kind=kind,
            key=key,
            number=number,
            name=name,
            payload=payload,
            error={
                "code": error.code or type(error).__name__,
                "class": type(error).__name__,
                "message": error.message,
                "detail": error.detail,
                "system": system,
                "request_id": error.request_id,
                **advice(system, error.code, error.message, error.detail),
            },
            run=run,
            trace=trace,
            first_at=self._clock(),
            last_at=self._clock(),
            open_since=self._clock(),
        )

    async def put_many(self, letters: Sequence[DeadLetter]) -> None:
        """Store letters; one that is there already gets one more attempt and the newer words."""
        if not letters:
            return
        before = await self._load([letter.id for letter in letters])
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in letters:
                old = before.get(letter.id)
                if old is not None:
                    self._unindex(pipe, old)
                    letter = replace(letter, attempts=old.attempts + 1, first_at=old.first_at)  # noqa: PLW2901
                    if old.state in ("open", "replaying"):
                        letter = replace(letter, open_since=old.open_since)  # noqa: PLW2901
                    if old.state == "open" and (old.payload, old.error["code"]) == (letter.payload, letter.error["code"]):
                        letter = replace(letter, approved_by=old.approved_by)  # noqa: PLW2901 - it came by itself, as it was
                    if old.state == "discarded" and (old.payload, old.error["code"]) == (letter.payload, letter.error["code"]):
                        letter = replace(letter, state="discarded")  # noqa: PLW2901 - a person has said so of this very row
                self._store(pipe, letter)
                self._note(pipe, letter.id, "refused", f"{letter.error['code']}: {letter.error['message']}", "")
            self._store_lines(pipe, letters)
            self._seen.count(
                pipe,
                [(one.error["system"], one.error["code"], one.error["message"], bool(one.error.get("entry"))) for one in letters],
            )
            await pipe.execute()

    async def get(self, letter_id: str) -> DeadLetter | None:
        return (await self._load([letter_id])).get(letter_id)

    async def history(self, letter_id: str) -> list[dict[str, str]]:
        """What happened to it: {at, what, why, by}."""
        return [orjson.loads(row) for row in await self._redis.lrange(f"{self._prefix}{letter_id}:history", 0, -1)]

    async def find(
        self, filters: Mapping[str, str], *, states: Sequence[str] = WAITING, offset: int = 0, limit: int = 50
    ) -> tuple[int, list[DeadLetter]]:
        """(total, one page), newest first.

        Filters: error (or code), owner, company, job, kind, number and group exactly; supplier, id and text (number, name, both systems'
        words) by part of it, whatever the case; state. Raises ValueError naming the filter or state that does not exist.
        """
        total, found = await find_among(self._redis, [self], filters, states=states, offset=offset, limit=limit)
        return total, [letter for _, letter in found]

    async def every(self, filters: Mapping[str, str], *, states: Sequence[str] = ("open",)) -> list[DeadLetter]:
        """All that match, newest first, without payloads: as they were at one moment, less those that have left these states since."""
        ids = await ids_among(self._redis, [self], filters, states)
        letters: list[DeadLetter] = []
        script = self._redis.register_script(_LOAD_BARE)
        for start in range(0, len(ids), _LOADED_AT_ONCE):
            some = [letter_id for _, letter_id in ids[start : start + _LOADED_AT_ONCE]]
            rows = await script(args=[self._prefix, *some])
            found = ({name: value for name, value in zip(_BARE, row, strict=True) if value is not None} for row in rows)
            letters += [_letter(row | {b"payload": b""}) for row in found if row.get(b"state", b"").decode() in checked(filters, states)]
        return letters

    async def groups(self, filters: Mapping[str, str], *, states: Sequence[str] = WAITING) -> list[Group]:
        """The letters that match, by what is wrong with them; the largest group first. Filters and errors as `find`."""
        _, _, found = await groups_among(self._redis, [self], filters, states=states)
        return [group for _, group in found]

    @property
    def prefix(self) -> str:
        """Of its keys."""
        return self._prefix

    async def some(self, letter_ids: Sequence[str]) -> dict[str, DeadLetter]:
        """Those of these that there are, in one round trip."""
        return await self._load(letter_ids)

    async def open_keys(self, company: str, job: str, part: str) -> dict[int, str]:
        """Sage key -> letter, for the open letters of one register part."""
        raw = await self._redis.hgetall(self._keys(company, job, part))
        return {int(key): value.decode() for key, value in raw.items()}

    async def owners(self) -> dict[str, int]:
        """How many open letters wait for whom."""
        owners = get_args(Owner)
        async with self._redis.pipeline(transaction=False) as pipe:
            for owner in owners:
                pipe.zintercard(2, [f"{self._prefix}state:open", f"{self._prefix}by:owner:{owner}"])
            counts = await pipe.execute()
        return {owner: int(count) for owner, count in zip(owners, counts, strict=True) if count}

    async def resolve(self, letter_ids: Sequence[str], *, reason: str, by: str = "") -> int:
        """The cause is gone. Returns how many were open."""
        return await self._end(letter_ids, "resolved", reason, by)

    async def discard(self, letter_ids: Sequence[str], *, reason: str, by: str = "") -> int:
        """A person says that it need not be delivered."""
        return await self._end(letter_ids, "discarded", reason, by)

    async def replaying(self, letter_ids: Sequence[str], *, by: str = "") -> int:
        """On its way again; the letter opens anew if it is refused again."""
        found = await self._load(letter_ids)
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in found.values():
                if letter.state == "open":
                    pipe.hset(f"{self._prefix}{letter.id}", mapping={"state": "replaying", "approved_by": ""})
                    pipe.srem(f"{self._prefix}approved", letter.id)
                    pipe.zrem(f"{self._prefix}state:open", letter.id)
                    pipe.zadd(f"{self._prefix}state:replaying", {letter.id: letter.last_at.timestamp()})
                    self._waits(pipe, replace(letter, state="replaying"))
                    self._note(pipe, letter.id, "replayed", "", by)
            await pipe.execute()
        return sum(1 for letter in found.values() if letter.state == "open")

    async def approve(self, letter_ids: Sequence[str], *, by: str) -> int:
        """A person lets these be replayed by somebody else. Returns how many were open."""
        found = [letter for letter in (await self._load(letter_ids)).values() if letter.state == "open"]
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in found:
                pipe.hset(f"{self._prefix}{letter.id}", "approved_by", by)
                pipe.sadd(f"{self._prefix}approved", letter.id)
                self._waits(pipe, replace(letter, approved_by=by))
                self._note(pipe, letter.id, "approved", "", by)
            await pipe.execute()
        return len(found)

    async def reopen(self, letter_ids: Sequence[str], *, reason: str) -> None:
        """A replay came to nothing: back to open."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in (await self._load(letter_ids)).values():
                if letter.state == "replaying":
                    pipe.hset(f"{self._prefix}{letter.id}", "state", "open")
                    pipe.zrem(f"{self._prefix}state:replaying", letter.id)
                    pipe.zadd(f"{self._prefix}state:open", {letter.id: letter.last_at.timestamp()})
                    self._waits(pipe, replace(letter, state="open"))
                    self._note(pipe, letter.id, "reopened", reason, "")
            await pipe.execute()

    async def edit(self, letter_id: str, edit: Edit, payload: bytes, *, kind: str, reason: str, by: str, what: str) -> None:
        """Lay a person's changes over the document; `what`: before and after, in words."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(
                f"{self._prefix}{letter_id}",
                mapping={"edit": orjson.dumps(edit._asdict()), "payload": self._kept(payload, kind, letter_id)},
            )
            self._note(pipe, letter_id, "edited", f"{what} ({reason})", by)
            await pipe.execute()

    async def edits(self, letter_ids: Sequence[str]) -> dict[str, Edit]:
        """What persons have changed of these; not of letters that were discarded."""
        if not letter_ids:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for letter_id in letter_ids:
                pipe.hmget(f"{self._prefix}{letter_id}", "edit", "state")
            rows = await pipe.execute()
        return {
            letter_id: Edit(**orjson.loads(edit))
            for letter_id, (edit, state) in zip(letter_ids, rows, strict=True)
            if edit is not None and state != b"discarded"
        }

    async def note(self, letter_id: str, what: str, why: str, by: str = "") -> None:
        """Write something into a letter's history."""
        async with self._redis.pipeline(transaction=True) as pipe:
            self._note(pipe, letter_id, what, why, by)
            await pipe.execute()

    async def purge(self) -> int:
        """Drop what ended longer ago than it is kept."""
        before = (self._clock() - KEPT).timestamp()
        gone = 0
        for state in ("resolved", "discarded"):
            ids = await self._redis.zrangebyscore(f"{self._prefix}state:{state}", "-inf", before, start=0, num=1000)
            letters = await self._load([name.decode() for name in ids])
            async with self._redis.pipeline(transaction=True) as pipe:
                for letter in letters.values():
                    self._unindex(pipe, letter)
                    pipe.delete(f"{self._prefix}{letter.id}", f"{self._prefix}{letter.id}:history")
                    pipe.hdel(f"{self._prefix}group", letter.id)
                if letters:
                    pipe.eval(_LINES, 1, f"{self._prefix}lines", *(word for letter_id in letters for word in (letter_id, "")))
                if ids:
                    pipe.zrem(f"{self._prefix}state:{state}", *ids)
                await pipe.execute()
            await self._drop_groups({group_of(letter) for letter in letters.values()})
            gone += len(letters)
        return gone

    async def _drop_groups(self, groups: set[str]) -> None:
        """Those of which no letter is left."""
        for group in groups:
            if not await self._redis.exists(f"{self._prefix}by:group:{group}"):
                await self._redis.hdel(f"{self._prefix}groups", group)

    async def group_older(self, most: int = 2000) -> int:
        """Put letters into their groups, lines and waits that a version without them has written: some at a time. Returns how many."""
        done_key = f"{self._prefix}indexed"
        if await self._redis.exists(done_key):
            return 0
        left: list[str] = []
        for state in STATES:
            ids = [name.decode() async for name, _ in self._redis.zscan_iter(f"{self._prefix}state:{state}", count=1000)]
            for start in range(0, len(ids), 1000):
                left += await self._older(ids[start : start + 1000], waits=state in ("open", "replaying"))
        letters = await self._load(left[:most])
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in letters.values():
                pipe.zadd(f"{self._prefix}by:group:{group_of(letter)}", {letter.id: letter.last_at.timestamp()})
                self._store_group(pipe, letter)
                pipe.hset(f"{self._prefix}{letter.id}", "open_since", letter.open_since.isoformat())
                self._waits(pipe, letter)
            self._store_lines(pipe, letters.values())
            pipe.delete(f"{self._prefix}groups:counted")
            if len(left) <= most:
                pipe.set(done_key, 1)
                pipe.delete(f"{self._prefix}words", f"{self._prefix}grouped")  # older versions' own
            await pipe.execute()
        return len(letters)

    async def _older(self, letter_ids: Sequence[str], *, waits: bool) -> list[str]:
        """Those without what a version before this one did not write."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(f"{self._prefix}group", letter_ids)
            for letter_id in letter_ids if waits else ():
                pipe.hget(f"{self._prefix}{letter_id}", "open_since")
            groups, *since = await pipe.execute()
        return [name for name, *found in zip(letter_ids, groups, since or groups, strict=True) if None in found]

    async def _end(self, letter_ids: Sequence[str], state: State, reason: str, by: str) -> int:
        found = [letter for letter in (await self._load(letter_ids)).values() if letter.state in ("open", "replaying")]
        if not found:
            return 0
        now = self._clock()
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter in found:
                pipe.hset(f"{self._prefix}{letter.id}", mapping={"state": state, "last_at": now.isoformat()})
                pipe.zrem(f"{self._prefix}state:{letter.state}", letter.id)
                pipe.zadd(f"{self._prefix}state:{state}", {letter.id: now.timestamp()})
                pipe.hdel(self._keys(letter.company, letter.job, letter.part), letter.key)
                pipe.srem(f"{self._prefix}approved", letter.id)
                self._waits(pipe, replace(letter, state=state))
                self._note(pipe, letter.id, state, reason, by)
            await pipe.execute()
        return len(found)

    async def _load(self, letter_ids: Sequence[str]) -> dict[str, DeadLetter]:
        if not letter_ids:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for letter_id in letter_ids:
                pipe.hgetall(f"{self._prefix}{letter_id}")
            rows = await pipe.execute()
        return {letter_id: self.read(letter_id, row) for letter_id, row in zip(letter_ids, rows, strict=True) if row}

    def read(self, letter_id: str, row: dict[bytes, bytes]) -> DeadLetter:
        """The letter in a hash of this store."""
        return _letter(self._opened(letter_id, row))

    def _opened(self, letter_id: str, row: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return row if self._seal is None else row | {b"payload": self._seal.open(row[b"payload"], letter_id)}

    def _kept(self, payload: bytes, kind: str, letter_id: str) -> bytes:
        return payload if self._seal is None else self._seal.close(payload, kind, letter_id)

    def _store(self, pipe: Redis, letter: DeadLetter) -> None:
        facts = asdict(letter)
        for name in ("payload", "state", "approved_by", "attempts", *_TIMES):
            facts.pop(name)
        key = f"{self._prefix}{letter.id}"
        pipe.hset(
            key,
            mapping={
                "facts": orjson.dumps(facts),
                "payload": self._kept(letter.payload, letter.kind, letter.id),
                "state": letter.state,
                "approved_by": letter.approved_by,
                "attempts": letter.attempts,
                **{name: getattr(letter, name).isoformat() for name in _TIMES},
            },
        )
        (pipe.sadd if letter.approved_by else pipe.srem)(f"{self._prefix}approved", letter.id)
        self._store_group(pipe, letter)
        score = letter.last_at.timestamp()
        for state in STATES:
            if state != letter.state:
                pipe.zrem(f"{self._prefix}state:{state}", letter.id)
        pipe.zadd(f"{self._prefix}state:{letter.state}", {letter.id: score})
        for name, value in _indexed(letter).items():
            pipe.zadd(f"{self._prefix}by:{name}:{value}", {letter.id: score})
        self._waits(pipe, letter)
        if letter.key and letter.state in ("open", "replaying"):
            pipe.hset(self._keys(letter.company, letter.job, letter.part), letter.key, letter.id)

    def _waits(self, pipe: Redis, letter: DeadLetter) -> None:
        """Say for whom it waits from now on; an owner that it had before is `_unindex`'s."""
        mine = waits_for(letter)
        for whom in {letter.error["owner"], APPROVAL}:
            if whom in mine:
                pipe.zadd(f"{self._prefix}since:{whom}", {letter.id: letter.open_since.timestamp()})
            else:
                pipe.zrem(f"{self._prefix}since:{whom}", letter.id)

    def _store_lines(self, pipe: Redis, letters: Iterable[DeadLetter]) -> None:
        pairs = [word for letter in letters for word in (letter.id, _line(letter))]
        if pairs:
            pipe.eval(_LINES, 1, f"{self._prefix}lines", *pairs)

    def _store_group(self, pipe: Redis, letter: DeadLetter) -> None:
        facts = group_facts(letter)
        group = _group_id(facts)
        pipe.hset(f"{self._prefix}group", letter.id, group)
        pipe.hset(f"{self._prefix}groups", group, orjson.dumps(facts))

    def _unindex(self, pipe: Redis, letter: DeadLetter) -> None:
        for name, value in _indexed(letter).items():
            pipe.zrem(f"{self._prefix}by:{name}:{value}", letter.id)
        pipe.zrem(f"{self._prefix}state:{letter.state}", letter.id)
        pipe.zrem(f"{self._prefix}since:{letter.error['owner']}", letter.id)

    def _note(self, pipe: Redis, letter_id: str, what: str, why: str, by: str) -> None:
        pipe.delete(f"{self._prefix}owners", f"{self._prefix}groups:counted")  # whatever changes a letter is noted
        key = f"{self._prefix}{letter_id}:history"
        pipe.rpush(key, orjson.dumps({"at": self._clock().isoformat(), "what": what, "why": why, "by": by}))
        pipe.ltrim(key, -HISTORY, -1)

    def _keys(self, company: str, job: str, part: str) -> str:
        return f"{self._prefix}keys:{company}:{job}:{part}"


def group_facts(letter: DeadLetter) -> dict[str, str]:
    """What the letters of one group have in common: error, class, owner, fix, cause, the catalogue's entry, the message without what is
    each letter's own (its number, name, key, amounts and times).
    """
    error = letter.error
    own = {letter.number, str(letter.key) if letter.key else "", letter.name if letter.key else ""}
    _, dash, number = letter.number.rpartition("-")
    if dash and not letter.key and number.isdigit():  # a document without its series
        own.add(number)
    text = _TOO_EXACT.sub("…", error.get("message", ""))
    for word in sorted((one for one in own if one), key=len, reverse=True):
        if word in text:  # patterns are dear to compile
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", "…", text)
    kept = {name: error.get(name, "") for name in ("code", "class", "system", "owner", "fix", "cause", "entry")}
    return {**kept, "kind": letter.kind, "text": " ".join(text.split())[:GROUP_TEXT_MOST]}


def group_of(letter: DeadLetter) -> str:
    """The id of a letter's group."""
    return _group_id(group_facts(letter))


def _group_id(facts: Mapping[str, str]) -> str:
    said = "\n".join(facts[name] for name in ("entry", "system", "code", "owner", "kind", "text"))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _line(letter: DeadLetter) -> str:
    """What `supplier`, `text` and `id` look in."""
    text = f"{letter.number} {letter.name} {letter.error.get('message', '')} {letter.error.get('detail', '')}"
    words = (" ".join(part.casefold().split())[:WORDS_MOST] for part in (letter.name, text))
    return "\t".join((letter.id, *words, letter.id)) + "\n"


def _indexed(letter: DeadLetter) -> dict[str, str]:
    return {
        "error": letter.error["code"],
        "owner": letter.error["owner"],
        "company": letter.company,
        "job": letter.job,
        "kind": letter.kind,
        "number": letter.number,
        "group": group_of(letter),
    }


def _letter(row: Mapping[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        **orjson.loads(row[b"facts"]),
        payload=row[b"payload"],
        state=row[b"state"].decode(),  # type: ignore[arg-type]  # written by this module
        approved_by=row.get(b"approved_by", b"").decode(),
        attempts=int(row[b"attempts"]),
        first_at=datetime.fromisoformat(row[b"first_at"].decode()),
        last_at=datetime.fromisoformat(row[b"last_at"].decode()),
        open_since=datetime.fromisoformat(row.get(b"open_since", row[b"first_at"]).decode()),  # an older version knew no better
    )
