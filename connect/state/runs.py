"""Runs: one passage of one register (or document kind) of one company, from "due" to "cursor moved".

    connect:{sid}:run:{run}                    hash    the record: state, counters, times
    connect:{sid}:running                      hash    company and job -> the run that is on (one at a time)
    connect:{sid}:last:{company}:{job}         string  the newest ended run
    connect:{sid}:complete                     hash    "{company}:{job}" -> when the newest run began that read all and ended well
    connect:{sid}:rows                         hash    the counters of all runs ever, for charts (samples.py)
    connect:{sid}:rows:{company}:{job}         hash    the same of one job, for metrics
    connect:{sid}:ended                        hash    "{company}:{job}:{state}" -> runs that ended so; "…:in_a_row" -> failed ones since
    connect:{sid}:runs                         zset    runs by start time; kept 90 days
    connect:{sid}:runs:{state}                 zset    the same of those that have ended so: done, held, failed
    connect:{sid}:part:{run}:{part}            hash    swept, step, generation of its sweeper, contested rows waiting, …
    connect:{sid}:part:{run}:{part}:pages      hash    what the sweep saw, page by page (the checkpoint)
    connect:{sid}:part:{run}:{part}:open       set     chunks not yet acknowledged
    connect:{sid}:part:{run}:{part}:acks       hash    chunk -> its columns, and which of its rows Prime accepted
    connect:{sid}:part:{run}:{part}:left       set     keys of rows that were left alone, because the run's plan does not have them so
    connect:{sid}:chunk:{run}:{part}:{chunk}   string  the rows themselves, until acknowledged
    connect:{sid}:deferred:{company}:{job}     list    rows waiting for a second pass

A page is committed with its chunks and their jobs in one script, a chunk is acknowledged with its rows and counters
in one script: whoever is killed in between leaves nothing half done. Everything here may be lost: the next run reads all.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import repeat
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson
from redis.asyncio import Redis

from connect.errors import Poison
from connect.state.doubts import Doubts
from connect.state.known import Entry, Label
from connect.state.seal import LOST, Seal, is_sealed

JobEntry = tuple[str, str, bytes, int]  # queue key, job id, wire bytes, due (ms)
Mode = Literal["full", "incremental", "rows", "deferred"]
RunState = Literal["running", "done", "held", "failed"]
Ask = Literal["expire", "rewrite"]
KEEP: Final = timedelta(days=90)
SCRATCH_S: Final = 86_400  # the part's own facts after its run has ended, for whoever looks into it
JOB_EXPIRES_MS: Final = 30 * 86_400_000
_RECORDS_AT_ONCE: Final = 200
_NAMES_AT_ONCE: Final = 2000
_PAGES_AT_ONCE: Final = 20
COUNTERS: Final = (
    "read",
    "sent",
    "unchanged",
    "refused",
    "expired",
    "gone",
    "held",
    "left",
    "undated",
    "submitted",
    "calls",
    "pages",
    "ignored_fields",
    "total",
)

_BEGIN: Final = """
local on = redis.call('HGET', KEYS[1], ARGV[5])
if on and redis.call('HGET', ARGV[1] .. on, 'state') == 'running' then return 0 end
redis.call('HSET', KEYS[1], ARGV[5], ARGV[2])
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""

# Queue jobs: ARGV from `at`: count, then (job id, wire, due) each; one queue.
_ENQUEUE: Final = """
local function enqueue(queue, at, expires)
  local jobs = tonumber(ARGV[at])
  for i = 0, jobs - 1 do
    local id, wire, due = ARGV[at + 1 + i * 3], ARGV[at + 2 + i * 3], ARGV[at + 3 + i * 3]
    redis.call('SET', 'arq:job:' .. id, wire, 'PX', expires, 'NX')
    redis.call('ZADD', queue, 'NX', due, id)
  end
  return at + 1 + jobs * 3
end
"""

# KEYS: run, part, pages, open, queue, rows of all, rows of the job. ARGV: generation, page field, page record, expires,
# counters (n, name, by …), chunks (n, id …), jobs
_COMMIT_PAGE: Final = (
    _ENQUEUE
    + """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return -1 end
if redis.call('HGET', KEYS[2], 'generation') ~= ARGV[1] then return -1 end
if ARGV[2] ~= '' then
  if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return 0 end
  redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
end
local at = 5
local n = tonumber(ARGV[at]); at = at + 1
for i = 1, n do
  for _, key in ipairs({KEYS[1], KEYS[6], KEYS[7]}) do redis.call('HINCRBY', key, ARGV[at], ARGV[at + 1]) end
  at = at + 2
end
n = tonumber(ARGV[at]); at = at + 1
for i = 1, n do redis.call('SADD', KEYS[4], ARGV[at]); at = at + 1 end
enqueue(KEYS[5], at, ARGV[4])
return 1
"""
)

# KEYS: run, part, open, acks, chunk, queue, deferred, rows of all, rows of the job. ARGV: chunk id, ack, expires,
# job id prefix, wire, due, sent, refused, expired, deferred rows …
_ACKNOWLEDGE: Final = """
if redis.call('SREM', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[5])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[2]) end
for i, name in ipairs({'sent', 'refused', 'expired'}) do
  if ARGV[6 + i] ~= '0' then
    for _, key in ipairs({KEYS[1], KEYS[8], KEYS[9]}) do redis.call('HINCRBY', key, name, ARGV[6 + i]) end
  end
end
for i = 10, #ARGV do redis.call('RPUSH', KEYS[7], ARGV[i]) end
if redis.call('SCARD', KEYS[3]) == 0 and redis.call('HGET', KEYS[2], 'swept') == '1' then
  local id = ARGV[4] .. (redis.call('HGET', KEYS[2], 'step') or '0')
  redis.call('SET', 'arq:job:' .. id, ARGV[5], 'PX', ARGV[3], 'NX')
  redis.call('ZADD', KEYS[6], 'NX', ARGV[6], id)
  return 2
end
return 1
"""

# KEYS: part, open, queue. ARGV: generation, expires, job id prefix, wire, due, then field, value …
_SWEPT: Final = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return -1 end
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'swept', '1')
if redis.call('SCARD', KEYS[2]) == 0 then
  local id = ARGV[3] .. (redis.call('HGET', KEYS[1], 'step') or '0')
  redis.call('SET', 'arq:job:' .. id, ARGV[4], 'PX', ARGV[2], 'NX')
  redis.call('ZADD', KEYS[3], 'NX', ARGV[5], id)
  return 1
end
return 0
"""


class ChunkRow(NamedTuple):
    """One row on its way to Prime: Sage's key, digest of the raw row, digest of the body, what a person needs, and the body."""

    key: int
    raw: int
    meaning: int
    natural: str
    number: str
    name: str
    extra: str
    refs: tuple[int, ...]
    body: msgspec.Raw

    @property
    def label(self) -> Label:
        return Label(self.natural, self.number, self.name, self.extra)


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered of a chunk's rows once Prime has accepted them, packed: int64 keys, uint64 digests, labels, refs by join.

    Encoded once, by the sweep; the writer hands the bytes on with its acknowledgement, and only the finish reads them.
    """

    keys: bytes
    raws: bytes
    meanings: bytes
    labels: list[Label]
    refs: list[bytes]

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> Columns:
        """`rows`: key, raw, meaning, natural, number, name, extra, refs, and whatever else."""
        if not rows:
            return cls(b"", b"", b"", [], [])
        keys, raws, meanings, naturals, numbers, names, extras, refs, *_ = zip(*rows, strict=True)
        labels = list(map(Label, naturals, numbers, names, extras))
        by_join = [array("Q", column).tobytes() for column in zip(*refs, strict=True)]
        return cls(array("q", keys).tobytes(), array("Q", raws).tobytes(), array("Q", meanings).tobytes(), labels, by_join)

    def entries(self) -> list[Entry]:
        """The rows, as they will be known."""
        keys, raws, meanings = array("q", self.keys), array("Q", self.raws), array("Q", self.meanings)
        refs: Iterable[tuple[int, ...]] = zip(*[array("Q", column) for column in self.refs], strict=True) if self.refs else repeat(())
        return list(map(Entry, keys, raws, meanings, self.labels, refs))


class ChunkBody(msgspec.Struct, array_like=True, frozen=True):
    """A chunk as it lies in Redis: msgpack, with every row's body as the bytes it was encoded to once, and `Columns` as bytes."""

    v: int
    company: str
    job: str
    kind: str
    purpose: Literal["upsert", "expire"]
    preamble: list[tuple[str, bytes]]
    columns: bytes
    bodies: list[bytes]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk as the writer gets it."""

    run: str
    part: str
    chunk: str
    company: str
    job: str
    kind: str
    purpose: Literal["upsert", "expire"]
    preamble: list[tuple[str, bytes]]
    columns: bytes
    bodies: list[bytes]

    @cached_property
    def rows(self) -> list[ChunkRow]:
        """Row by row, for those who must look at one."""
        entries = msgspec.msgpack.decode(self.columns, type=Columns).entries()
        return [
            ChunkRow(one.key, one.raw, one.meaning, *one.label, one.refs, msgspec.Raw(body))
            for one, body in zip(entries, self.bodies, strict=True)
        ]


class Ack(msgspec.Struct, array_like=True, frozen=True):
    """The rows of one chunk that Prime accepted: all of them, or those at some positions."""

    purpose: str
    columns: bytes
    accepted: list[int] | None = None

    def entries(self) -> list[Entry]:
        entries = msgspec.msgpack.decode(self.columns, type=Columns).entries()
        return entries if self.accepted is None else [entries[at] for at in self.accepted]


class PageRecord(msgspec.Struct, array_like=True, frozen=True):
    """The checkpoint of one page: keys after < key <= until are done.

    `same` is the known block that the page equals byte for byte (then there are no columns), else 0.
    `keys` int64 and `raws` uint64, packed, in key order; a raw of 0: the row went into one of `chunks`, or was refused.
    `unwanted`: keys of rows that Prime does not want. `digest`: of the whole page, 0 if it is not one.
    """

    after: int
    until: int | None
    same: int
    digest: int
    keys: bytes
    raws: bytes
    chunks: list[str]
    unwanted: list[int]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is kept of a run for 90 days. `plan`: it writes only what that plan allows, `left` counts the rest. `asks`: what a person
    must allow before a held run does it.
    """

    run: str
    company: str
    job: str
    entity: str = ""
    mode: Mode
    resend: bool = False
    expire: bool = False
    rewrite: bool = False
    plan: str = ""
    trace: str
    state: RunState
    reason: str = ""
    asks: tuple[Ask, ...] = ()
    started_at: datetime
    ended_at: datetime | None = None
    parts: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.run, self.ended_at))  # counters cannot be hashed

    def __getattr__(self, name: str) -> int:
        """The counters (`COUNTERS`) read like attributes: record.read, record.sent, …"""
        if name in COUNTERS:
            return self.counters.get(name, 0)
        raise AttributeError(name)

    @property
    def duration_s(self) -> float:
        return ((self.ended_at or datetime.now(UTC)) - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class PartState:
    """Where a part of a running run stands; what the reaper needs to put lost jobs back."""

    part: str
    swept: bool
    step: int
    closed: bool
    open_chunks: tuple[str, ...]
    sweep_job: bytes


class Runs:
    """The runs of one connection."""

    def __init__(self, redis: Redis, sid: str, *, seal: Seal | None = None) -> None:
        self._redis = redis
        self._sid = sid
        self._seal = seal
        self._prefix = f"connect:{sid}:"
        self._begin = redis.register_script(_BEGIN)
        self._commit = redis.register_script(_COMMIT_PAGE)
        self._acknowledge = redis.register_script(_ACKNOWLEDGE)
        self._swept = redis.register_script(_SWEPT)

    # -- begin, look, end ----------------------------------------------------------------------------------------------

    async def begin(
        self,
        company: str,
        job: str,
        *,
        mode: Mode,
        resend: bool = False,
        expire: bool = False,
        rewrite: bool = False,
        plan: str = "",
        trace: str,
        parts: Sequence[str],
        entity: str,
        now: datetime,
    ) -> str | None:
        """Start a run. Returns its id, or None when one of this company and job is running."""
        run = f"{job}.{company}.{now.astimezone(UTC):%Y%m%dT%H%M%S}.{secrets.token_hex(2)}"
        facts = {
            "run": run,
            "company": company,
            "job": job,
            "entity": entity,
            "mode": mode,
            "resend": int(resend),
            "expire": int(expire),
            "rewrite": int(rewrite),
            "plan": plan,
            "trace": trace,
            "state": "running",
            "started_at": now.isoformat(),
            "parts": orjson.dumps(list(parts)),
        }
        begun = await self._begin(
            keys=[self._prefix + "running", self._run(run), self._prefix + "runs"],
            args=[
                self._prefix + "run:",
                run,
                now.timestamp(),
                int(KEEP.total_seconds()),
                _what(company, job),
                *(item for pair in facts.items() for item in pair),
            ],
        )
        return run if begun else None

    async def current(self, company: str, job: str) -> str | None:
        """The id of the run that is on, or None."""
        run = await self._redis.hget(self._prefix + "running", _what(company, job))
        if run is None or await self._redis.hget(self._run(run.decode()), "state") != b"running":
            return None
        return str(run.decode())

    async def may_write(self, run: str) -> bool:
        """Is this run still on? Asked right before every call to Prime: a late chunk never overwrites newer data."""
        return bool(await self._redis.hget(self._run(run), "state") == b"running")

    async def record(self, run: str) -> RunRecord | None:
        return record_from(await self._redis.hgetall(self._run(run)))

    async def last(self, company: str, job: str) -> RunRecord | None:
        """The newest ended run."""
        run = await self._redis.get(self._last(company, job))
        return await self.record(run.decode()) if run else None

    async def history(
        self, company: str | None = None, job: str | None = None, limit: int = 50, *, state: str | None = None
    ) -> list[RunRecord]:
        """Newest first."""
        return await self._records([name.encode() for name, _ in await self.names(company, job, limit, state=state)])

    async def names(
        self, company: str | None = None, job: str | None = None, limit: int = 50, *, state: str | None = None
    ) -> list[tuple[str, float]]:
        """Runs and when they began (s), newest first. Nothing is loaded: the name of a run begins with its job and company.

        `state`: of those that have ended so.
        """
        key = self._prefix + "runs" + (f":{state}" if state is not None else "")
        found: list[tuple[str, float]] = []
        start, step = 0, min(limit if company is None and job is None else limit * 4, _NAMES_AT_ONCE)
        while True:
            names = await self._redis.zrevrange(key, start, start + step - 1, withscores=True)
            found += [(name.decode(), at) for name, at in names if fits(name.decode(), company, job)]
            if len(found) >= limit or len(names) < step:
                return found[:limit]
            start, step = start + step, _NAMES_AT_ONCE

    async def running(self) -> list[RunRecord]:
        """All runs that are on."""
        found = await self._records(await self._redis.hvals(self._prefix + "running"))
        return sorted((record for record in found if record.state == "running"), key=lambda record: record.started_at)

    async def _records(self, runs: Sequence[bytes]) -> list[RunRecord]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hgetall(self._run(run.decode()))
            return [record for raw in await pipe.execute() if (record := record_from(raw))]

    async def end(self, run: str, now: datetime, *, state: RunState = "done", reason: str = "", asks: Sequence[Ask] = ()) -> None:
        """Close a run: its record stays, its scratch goes."""
        record = await self.record(run)
        if record is None or record.state != "running":
            return
        if state == "failed":
            for part in record.parts:
                await self._doubt(run, record.company, part)
        unsent = [
            self._chunk(run, part, chunk.decode())
            for part in record.parts
            for chunk in await self._redis.smembers(self._part(run, part) + ":open")
        ]
        async with self._redis.pipeline(transaction=True) as pipe:
            facts = {"state": state, "reason": reason, "ended_at": now.isoformat()} | ({"asks": ",".join(asks)} if asks else {})
            pipe.hset(self._run(run), mapping=facts)
            pipe.set(self._last(record.company, record.job), run)
            pipe.hdel(self._prefix + "running", _what(record.company, record.job))
            ended, what = self._prefix + "ended", _what(record.company, record.job)
            pipe.hincrby(ended, f"{what}:{state}", 1)
            if state == "failed":
                pipe.hincrby(ended, f"{what}:in_a_row", 1)
            else:
                pipe.hset(ended, f"{what}:in_a_row", 0)
            if state == "done" and record.mode in ("full", "incremental"):
                pipe.hset(self._prefix + "complete", _what(record.company, record.job), record.started_at.isoformat())
            pipe.zadd(f"{self._prefix}runs:{state}", {run: record.started_at.timestamp()})
            for name in ("runs", f"runs:{state}"):
                pipe.zremrangebyscore(self._prefix + name, 0, (now - KEEP).timestamp())
            for part in record.parts:
                base = self._part(run, part)
                pipe.expire(base, SCRATCH_S)
                pipe.unlink(base + ":pages", base + ":open", base + ":acks", base + ":contested", base + ":left")
            for start in range(0, len(unsent), _RECORDS_AT_ONCE):
                pipe.unlink(*unsent[start : start + _RECORDS_AT_ONCE])
            await pipe.execute()

    async def _doubt(self, run: str, company: str, part: str) -> None:
        """What a run has sent, or may have sent, and will not settle."""
        doubts = Doubts(self._redis, self._sid, company, part)
        names = [name for name in await self.ack_names(run, part) if not name.startswith("=")]
        for start in range(0, len(names), _RECORDS_AT_ONCE):
            for ack in await self.acks(run, part, names[start : start + _RECORDS_AT_ONCE]):
                await doubts.add((entry.key, entry.label) for entry in ack.entries())
        for chunk in await self._redis.smembers(self._part(run, part) + ":open"):
            raw = await self._redis.get(self._chunk(run, part, chunk.decode()))
            if raw is not None:
                body = msgspec.msgpack.decode(raw, type=ChunkBody)
                entries = msgspec.msgpack.decode(body.columns, type=Columns).entries()
                await doubts.add((entry.key, entry.label) for entry in entries)

    async def fail(self, run: str, reason: str, now: datetime | None = None) -> None:
        """The run cannot be finished; what it has sent is in doubt, and the next run sends it again."""
        await self.end(run, now or datetime.now(UTC), state="failed", reason=reason)

    async def count(self, run: str, **by: int) -> None:
        """Add to the run's counters."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, amount in by.items():
                if amount:
                    for key in (self._run(run), *self._rows(run)):
                        pipe.hincrby(key, name, amount)
            await pipe.execute()

    async def cursor(self, company: str, part: str) -> datetime | None:
        """From when on an incremental run must read: the start of the last run that ended complete."""
        raw = await self._redis.hget(self._prefix + "cursors", f"{company}:{part}")
        return datetime.fromisoformat(raw.decode()) if raw else None

    async def move_cursor(self, company: str, part: str, to: datetime) -> None:
        """Also forget the part's cursors of other settings: rows are not as those had them any more."""
        cursors, name = self._prefix + "cursors", f"{company}:{part}"
        others = [other for other in await self._cursors(company, part) if other != name]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(cursors, name, to.isoformat())
            if others:
                pipe.hdel(cursors, *others)
            await pipe.execute()

    async def was_read_otherwise(self, company: str, part: str) -> bool:
        """Whether the rows of a part were last read with another mapping, other settings or another Sage entity than this cursor's."""
        name = f"{company}:{part}"
        known = await self._cursors(company, part)
        return bool(known) and name not in known

    async def _cursors(self, company: str, part: str) -> list[str]:
        """The cursors of a part, whatever its settings were (a cursor's name begins with the part's)."""
        start = f"{company}:{part.partition(':')[0]}:"
        return [name for raw in await self._redis.hkeys(self._prefix + "cursors") if (name := raw.decode()).startswith(start)]

    # -- a plan's rows -------------------------------------------------------------------------------------------------

    async def allow(self, plan: str, writes: Mapping[str, str]) -> None:
        """Keep what runs of this plan may write: name of a write -> digest of what is sent."""
        key = f"{self._prefix}plan:{plan}"
        names = list(writes.items())
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, "", "")
            for start in range(0, len(names), _NAMES_AT_ONCE):
                pipe.hset(key, mapping=dict(names[start : start + _NAMES_AT_ONCE]))
            pipe.pexpire(key, JOB_EXPIRES_MS)
            await pipe.execute()

    async def allowed(self, plan: str, names: Sequence[str]) -> list[str]:
        """The digest that a plan allows for each of these writes, "" for none."""
        if not names:
            return []
        found = await self._redis.hmget(f"{self._prefix}plan:{plan}", names)
        return [value.decode() if value else "" for value in found]

    # -- the sweep's side ----------------------------------------------------------------------------------------------

    async def take_part(self, run: str, part: str, sweep_job: bytes) -> int:
        """Become the sweeper of this part: whoever swept it before (and may still think so) is fenced off. Returns the generation."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(self._part(run, part), "generation", 1)
            pipe.hset(self._part(run, part), "sweep_job", sweep_job)
            pipe.expire(self._part(run, part), KEEP)
            generation, _, _ = await pipe.execute()
        return int(generation)

    async def note_sweep(self, run: str, part: str, sweep_job: bytes) -> None:
        """Remember the job that sweeps this part, for whoever must put it back."""
        await self._redis.hset(self._part(run, part), "sweep_job", sweep_job)

    async def pages(self, run: str, part: str) -> dict[str, PageRecord]:
        """The checkpoint: page field -> record."""
        key = self._part(run, part) + ":pages"
        names = await self._redis.hkeys(key)
        found: dict[str, PageRecord] = {}
        for start in range(0, len(names), _PAGES_AT_ONCE):  # a million rows in one answer would be in memory more than once
            some = names[start : start + _PAGES_AT_ONCE]
            for name, value in zip(some, await self._redis.hmget(key, some), strict=True):
                if value is not None:
                    found[name.decode()] = msgspec.msgpack.decode(value, type=PageRecord)
        return found

    async def page_ranges(self, run: str, part: str) -> list[tuple[int, int | None]]:
        """The key ranges of the checkpoint: what need not be read again. Pages read by offset or by key prove no range."""
        return [(page.after, page.until) for name, page in (await self.pages(run, part)).items() if is_range(name)]

    async def open_chunks(self, run: str, part: str) -> int:
        return int(await self._redis.scard(self._part(run, part) + ":open"))

    async def commit_page(
        self,
        run: str,
        part: str,
        generation: int,
        page: tuple[str, PageRecord] | None,
        chunks: Iterable[tuple[str, bytes, JobEntry]],
        counters: Mapping[str, int],
        queue: str,
    ) -> bool:
        """Store a page's chunks (id, bytes, job; taken one by one), its checkpoint and counters: all or none.

        Returns False when the page was committed before. Raises Poison when this sweeper was replaced or the run has ended.
        """
        names: list[str] = []
        jobs: list[str | bytes | int] = []
        for name, body, (_, job_id, wire, due) in chunks:
            await self._redis.set(self._chunk(run, part, name), body, px=JOB_EXPIRES_MS)
            names.append(name)
            jobs += (job_id, wire, due)
        by = [item for name, amount in counters.items() if amount for item in (name, amount)]
        answer = await self._commit(
            keys=[self._run(run), (base := self._part(run, part)), base + ":pages", base + ":open", queue, *self._rows(run)],
            args=[
                generation,
                page[0] if page else "",
                msgspec.msgpack.encode(page[1]) if page else b"",
                JOB_EXPIRES_MS,
                len(by) // 2,
                *by,
                len(names),
                *names,
                len(names),
                *jobs,
            ],
        )
        if answer == 1:
            return True
        if names:  # unless they are open: then it was this very call, and only Redis' first answer was lost
            is_open = await self._redis.smismember(self._part(run, part) + ":open", names)
            stray = [self._chunk(run, part, name) for name, held in zip(names, is_open, strict=True) if not held]
            if stray:
                await self._redis.unlink(*stray)
        if answer == -1:
            raise Poison("this sweep was taken over by another worker, or its run has ended", code="fenced")
        return False

    async def accept_unsent(self, run: str, part: str, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows that Prime has already as they are now (only their bytes in Sage differ): remembered like accepted ones."""
        ack = Ack("upsert", msgspec.msgpack.encode(Columns.of(rows)))
        await self._keep(self._part(run, part) + ":acks", name, msgspec.msgpack.encode(ack))

    async def nth(self, company: str, what: str, every: int) -> bool:
        """True in the first and then in every `every`-th run that asks about `what`."""
        asked = int(await self._redis.hincrby(self._prefix + "nth", f"{company}:{what}", 1))
        return asked % every == 1 or every == 1

    async def contest(self, run: str, part: str, row: ChunkRow, owner: int) -> None:
        """Keep a row whose natural key another Sage row owns, until it is known whether that one still exists."""
        value = orjson.dumps([[*row[:8], orjson.Fragment(bytes(row.body))], owner])
        await self._keep(self._part(run, part) + ":contested", str(row.key), value)

    async def _keep(self, key: str, name: str, value: bytes) -> None:
        """Into a hash of the run, which ends by itself should the run have ended meanwhile."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, name, value)
            pipe.expire(key, KEEP)
            await pipe.execute()

    async def contested(self, run: str, part: str) -> list[tuple[ChunkRow, int]]:
        """The contested rows with the key of the row that owns their natural key."""
        values = await self._redis.hvals(self._part(run, part) + ":contested")
        return [msgspec.json.decode(value, type=tuple[ChunkRow, int]) for value in values]

    async def swept(self, run: str, part: str, generation: int, finish: JobEntry, **facts: str | int) -> None:
        """The sweep of this part is done; starts the finish when no chunk is open."""
        queue, job_id, wire, due = finish
        await self._swept(
            keys=[self._part(run, part), self._part(run, part) + ":open", queue],
            args=[
                generation,
                JOB_EXPIRES_MS,
                _step_prefix(job_id),
                wire,
                due,
                *(item for pair in facts.items() for item in pair),
            ],
        )

    # -- the writer's side ---------------------------------------------------------------------------------------------

    def _opened(self, body: ChunkBody) -> ChunkBody:
        """Raises Poison when its rows were sealed under another secret: the run starts anew."""
        if self._seal is None or not is_sealed(body.bodies):
            return body
        packed = self._seal.open(bytes(body.bodies[0]), body.company)
        if packed == LOST:
            raise Poison("a chunk was kept under another secret (SageClientSecret has changed)", system="redis", code="chunk_lost")
        return msgspec.structs.replace(body, bodies=msgspec.msgpack.decode(packed, type=list[bytes]))

    async def load_chunk(self, run: str, part: str, chunk: str) -> Chunk | None:
        """The rows of a chunk; None when it was acknowledged already, or its run is no more.

        Raises Poison when the chunk is owed but its rows have vanished (Redis lost a value): the run cannot be finished.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(self._run(run), "state")
            pipe.sismember(self._part(run, part) + ":open", chunk)
            pipe.get(self._chunk(run, part, chunk))
            state, is_open, raw = await pipe.execute()
        if state != b"running" or not is_open:
            return None
        if raw is None:
            raise Poison(f"chunk {chunk} of run {run} has lost its rows: the run starts anew", system="redis", code="chunk_lost")
        body = self._opened(msgspec.msgpack.decode(raw, type=ChunkBody))
        return Chunk(
            run=run,
            part=part,
            chunk=chunk,
            company=body.company,
            job=body.job,
            kind=body.kind,
            purpose=body.purpose,
            preamble=body.preamble,
            columns=body.columns,
            bodies=body.bodies,
        )

    async def acknowledge(
        self,
        chunk: Chunk,
        *,
        accepted: Sequence[int],
        refused: Sequence[int] = (),
        deferred: Sequence[int] = (),
        finish: JobEntry,
    ) -> bool:
        """Prime has answered for every row of the chunk (positions in it). Idempotent.

        Accepted rows get their fingerprint with this call, refused ones none; deferred ones wait for the second pass.
        Returns True when it was the part's last open chunk: the finish job is queued then.
        """
        ack = Ack(chunk.purpose, chunk.columns, None if len(accepted) == len(chunk.bodies) else sorted(accepted))
        queue, job_id, wire, due = finish
        base = self._part(chunk.run, chunk.part)
        expiry = chunk.purpose == "expire"
        answer = await self._acknowledge(
            keys=[
                self._run(chunk.run),
                base,
                base + ":open",
                base + ":acks",
                self._chunk(chunk.run, chunk.part, chunk.chunk),
                queue,
                self._deferred(chunk.company, chunk.job),
                *self._rows(chunk.run),
            ],
            args=[
                chunk.chunk,
                msgspec.msgpack.encode(ack) if accepted else b"",
                JOB_EXPIRES_MS,
                _step_prefix(job_id),
                wire,
                due,
                0 if expiry else len(accepted) + len(deferred),
                len(refused),
                len(accepted) if expiry else 0,
                *(_deferred_row(chunk, at) for at in deferred),
            ],
        )
        return bool(answer == 2)

    async def leave(self, chunk: Chunk, withheld: Collection[int]) -> None:
        """Rows of the chunk (positions in it) that are left alone, not being as planned: what was known of them stays.

        Repeated, it changes nothing but the counter, which may then be too high: 0 always means that nothing was left.
        """
        base = self._part(chunk.run, chunk.part)
        await self.set_part(chunk.run, chunk.part, left=1)
        await self.count(chunk.run, left=len(withheld))
        if chunk.purpose == "upsert":
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(base + ":left", *(chunk.rows[at].key for at in withheld))
                pipe.expire(base + ":left", KEEP)
                await pipe.execute()

    async def left(self, run: str, part: str) -> set[int]:
        """The keys of the rows that were left alone."""
        return {int(key) for key in await self._redis.smembers(self._part(run, part) + ":left")}

    async def acks(self, run: str, part: str, chunks: Sequence[str]) -> list[Ack]:
        """What Prime accepted of these chunks; of a sweep that was taken over, the later sweeper's last."""
        if not chunks:
            return []
        values = await self._redis.hmget(self._part(run, part) + ":acks", sorted(chunks, key=_generation))
        return [msgspec.msgpack.decode(value, type=Ack) for value in values if value]

    async def ack_names(self, run: str, part: str) -> list[str]:
        return [name.decode() for name in await self._redis.hkeys(self._part(run, part) + ":acks")]

    # -- second pass ---------------------------------------------------------------------------------------------------

    async def deferred_waiting(self, company: str, job: str) -> int:
        """How many rows wait for their second pass."""
        return int(await self._redis.llen(self._deferred(company, job)))

    async def take_deferred(self, company: str, job: str) -> list[tuple[str, str, ChunkRow]]:
        """The rows waiting for their second pass, as (part, kind, row); `drop_deferred` once their chunks are committed."""
        values = await self._redis.lrange(self._deferred(company, job), 0, -1)
        return [msgspec.json.decode(value, type=tuple[str, str, ChunkRow]) for value in values]

    async def drop_deferred(self, company: str, job: str) -> None:
        await self._redis.delete(self._deferred(company, job))

    # -- the finish ----------------------------------------------------------------------------------------------------

    async def part_facts(self, run: str, part: str) -> dict[str, str]:
        """The part's own facts: swept, step, complete, order, warning, …"""
        raw = await self._redis.hgetall(self._part(run, part))
        return {name.decode(): value.decode() for name, value in raw.items() if name != b"sweep_job"}

    async def set_part(self, run: str, part: str, **facts: str | int) -> None:
        await self._redis.hset(self._part(run, part), mapping=facts)

    async def close_part(self, run: str, part: str) -> bool:
        """This part is finished. Returns True when it was the run's last."""
        record = await self.record(run)
        await self._redis.hset(self._part(run, part), "closed", 1)
        if record is None or record.state != "running":
            return False
        async with self._redis.pipeline(transaction=True) as pipe:
            for name in record.parts:
                pipe.hget(self._part(run, name), "closed")
            return all(await pipe.execute())

    async def part_states(self, run: str) -> list[PartState]:
        """Where each part stands: what the reaper compares with the queues."""
        record = await self.record(run)
        found = []
        for part in record.parts if record else ():
            base = self._part(run, part)
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(base, "swept", "step", "closed", "sweep_job")
                pipe.smembers(base + ":open")
                (swept, step, closed, sweep_job), chunks = await pipe.execute()
            found.append(
                PartState(
                    part=part,
                    swept=swept == b"1",
                    step=int(step or 0),
                    closed=bool(closed),
                    open_chunks=tuple(sorted(chunk.decode() for chunk in chunks)),
                    sweep_job=sweep_job or b"",
                )
            )
        return found

    # -- keys ----------------------------------------------------------------------------------------------------------

    def _run(self, run: str) -> str:
        return f"{self._prefix}run:{run}"

    def _last(self, company: str, job: str) -> str:
        return f"{self._prefix}last:{company}:{job}"

    def _rows(self, run: str) -> tuple[str, str]:
        """Where the run's counters are added up: of all jobs, and of its own. A run's name is "{job}.{company}.{when}.{chance}"."""
        job, _, rest = run.partition(".")
        return self._prefix + "rows", f"{self._prefix}rows:{_what(rest.rsplit('.', 2)[0], job)}"

    def _part(self, run: str, part: str) -> str:
        return f"{self._prefix}part:{run}:{part}"

    def _chunk(self, run: str, part: str, chunk: str) -> str:
        return f"{self._prefix}chunk:{run}:{part}:{chunk}"

    def _deferred(self, company: str, job: str) -> str:
        return f"{self._prefix}deferred:{company}:{job}"


def encode_chunk(
    company: str,
    job: str,
    kind: str,
    rows: Sequence[tuple[int, int, int, str, str, str, str, tuple[int, ...], bytes]],
    *,
    purpose: Literal["upsert", "expire"] = "upsert",
    preamble: Sequence[tuple[str, bytes]] = (),
    seal: Seal | None = None,
) -> bytes:
    """A chunk's bytes; each row's body goes in as the bytes it already is, or all of them sealed, where the kind holds bank data."""
    columns = msgspec.msgpack.encode(Columns.of(rows))
    bodies = [row[8] for row in rows]
    if seal is not None and seal.wants(kind):
        bodies = [seal.close(msgspec.msgpack.encode(bodies), kind, company)]
    return msgspec.msgpack.encode(ChunkBody(1, company, job, kind, purpose, list(preamble), columns, bodies))


def is_range(page: str) -> bool:
    """Does a page of this name cover a range of keys? (Others: "o…" read by offset, "t…" read by key.)"""
    return page[:1].isdigit()


def _generation(chunk: str) -> int:
    """The sweeper that made a chunk: "{generation}.…", with "=", "c" or "x" before it for those that belong to no page."""
    number = chunk.lstrip("=cx").partition(".")[0]
    return int(number) if number.isdigit() else 0


def fits(run: str, company: str | None, job: str | None) -> bool:
    """Whether a run of this name may be of this company and job."""
    its_job, _, rest = run.partition(".")
    return job in (None, its_job) and (company is None or rest.startswith(f"{company}."))


def _what(company: str, job: str) -> str:
    return f"{company}:{job}"


def _deferred_row(chunk: Chunk, at: int) -> bytes:
    row = chunk.rows[at]
    return orjson.dumps([chunk.part, chunk.kind, [*row[:8], orjson.Fragment(bytes(row.body))]])


def _step_prefix(job_id: str) -> str:
    """The finish job's id without its step: the script appends the one the part is at."""
    return job_id.rsplit(":", 1)[0] + ":"


def record_from(raw: Mapping[bytes, bytes]) -> RunRecord | None:
    """A run's hash, or those of its fields that were asked for; None when it is no more."""
    if not raw or b"run" not in raw:
        return None
    text = {name.decode(): value.decode() for name, value in raw.items()}
    return RunRecord(
        run=text["run"],
        company=text["company"],
        job=text["job"],
        entity=text.get("entity", ""),
        mode=text["mode"],  # type: ignore[arg-type]  # written by begin
        resend=text.get("resend") == "1",
        expire=text.get("expire") == "1",
        rewrite=text.get("rewrite") == "1",
        plan=text.get("plan", ""),
        trace=text.get("trace", ""),
        state=text["state"],  # type: ignore[arg-type]  # written by begin and end
        reason=text.get("reason", ""),
        asks=tuple(text["asks"].split(",")) if text.get("asks") else (),  # type: ignore[arg-type]  # written by end
        started_at=datetime.fromisoformat(text["started_at"]),
        ended_at=datetime.fromisoformat(text["ended_at"]) if text.get("ended_at") else None,
        parts=tuple(orjson.loads(text.get("parts", "[]"))),
        counters={name: int(text[name]) for name in COUNTERS if name in text},
    )
