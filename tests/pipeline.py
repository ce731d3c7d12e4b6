"""A pipeline in one process: made-up registers, a Sage and a Prime in memory, and real workers over a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from arq.worker import get_kwargs

from connect.config.load import parse_config
from connect.errors import ConnectError, Poison
from connect.mapping import Join, Joined, Part, Row, Source
from connect.prime.port import PrimeInfo, RowResult
from connect.registers.register import Register
from connect.sage.client import SageClient
from connect.sage.query import Query, QueryPage
from connect.state.dead_letters import DeadLetters
from connect.state.pauses import Pauses
from connect.state.runs import RunRecord, Runs
from connect.state.slots import Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage
from workers import producers
from workers.arq_worker import Worker
from workers.jobs import SCHEDULE, STAGES, ConnectionTools, Tools, queue_name
from workers.settings import STAGE_WORKERS, connect_redis

THINGS, COLOURS, TAGS, BOXES, CRATES = "made-up/thing", "made-up/colour", "made-up/tag", "made-up/box", "made-up/crate"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNKNOWN_REFERENCE = 2

# -- made-up registers -------------------------------------------------------------------------------------------------

COLOUR = Join("colour", COLOURS, ("key", "name"), left="colour.key", right="key")
TAG = Join("tags", TAGS, ("key", "name", "thing.key"), left="key", right="thing.key", many=True)


def thing_row(raw: bytes, joined: Joined, _extra: str) -> Row | None:
    """A thing has a number, a name, a colour by reference and tags. A number starting with "-" is not wanted."""
    facts = orjson.loads(raw)
    if not isinstance(facts["name"], str):
        raise Poison(f"Sage {THINGS} {facts['id']}: the name is no text", system="sage", code="unexpected_value")
    if facts["id"].startswith("-"):
        return None
    colours = [orjson.loads(row)["name"] for row in joined.get("colour", ())]
    tags = sorted(orjson.loads(row)["name"] for row in joined.get("tags", ()))
    body = {"number": facts["id"], "name": facts["name"].strip(), "colour": colours[0] if colours else None, "tags": tags}
    return Row(facts["id"], facts["id"], facts["name"], orjson.dumps(body))


def expired(_natural: str, number: str, name: str, _extra: str) -> bytes:
    return orjson.dumps({"number": number, "name": name, "expired": True})


def thing_parts(settings: Any) -> list[Part]:
    fields = ("key", "id", "name", "colour.key")
    return [
        Part(
            id="Thing",
            kind="Thing",
            source=Source(THINGS, fields, modified_field="modified", joins=(COLOUR, TAG)),
            version="1",
            transform=thing_row,
            expire=expired,
            preamble=(("Type", b'{"number":"things"}'),),
            unknown_fields=lambda raw: frozenset(orjson.loads(raw)) - {"key", "id", "name"},
        )
    ]


def holder_part(kind: str, source: str) -> Part:
    """A box or crate, which may name a thing that comes later."""

    def transform(raw: bytes, _joined: Joined, _extra: str) -> Row:
        facts = orjson.loads(raw)
        return Row(facts["id"], facts["id"], facts["id"], orjson.dumps({"number": facts["id"], "thing": facts["thing"]}))

    def provisional(body: bytes) -> bytes | None:
        facts = orjson.loads(body)
        return orjson.dumps(facts | {"thing": None}) if facts["thing"] else None

    return Part(
        id=kind, kind=kind, source=Source(source, ("key", "id", "thing")), version="1", transform=transform, provisional=provisional
    )


REGISTERS = {
    "GetBoxes": Register(
        job="GetBoxes", parts=lambda _: [holder_part("Box", BOXES), holder_part("Crate", CRATES)], second_pass_after="GetThings"
    ),
    "GetThings": Register(job="GetThings", parts=thing_parts, after=("GetBoxes",), incremental=True),
}

# -- Sage and Prime ----------------------------------------------------------------------------------------------------


class FakeSage(SageClient):
    """Answers queries from rows in memory: object -> key -> row (flat)."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in (THINGS, COLOURS, TAGS, BOXES, CRATES)}
        self.queries: list[Query] = []
        self.errors: list[ConnectError] = []
        self.latency_s = 0.0
        self.text_order = False
        self.extra: dict[str, Any] = {}  # what nobody has asked for
        self.before_answer: Callable[[Query], Awaitable[None]] | None = None

    def put(self, source_object: str, *rows: dict[str, Any]) -> None:
        for row in rows:
            self.objects[source_object][row["key"]] = row

    async def query(self, query: Query, *, entity: str = "", calls: Counter[str] | None = None) -> QueryPage:
        self.queries.append(query)
        if self.before_answer is not None:
            await self.before_answer(query)
        await asyncio.sleep(self.latency_s)
        if self.errors:
            raise self.errors.pop(0)
        if calls is not None:
            calls[query.object] += 1
        found = [row for row in self.objects[query.object].values() if all(self._matches(row, one) for one in query.filters)]
        found.sort(key=lambda row: self._ordered(row["key"]))
        page = found[query.start - 1 : query.start - 1 + query.size]
        rows = b",".join(
            orjson.dumps({name: str(row["key"]) if name == "key" else row.get(name) for name in query.fields} | self.extra) for row in page
        )
        after = query.start + query.size
        meta = {"totalCount": len(found), "next": after if after <= len(found) else None}
        return QueryPage(b'{"ia::result":[' + rows + b'],"ia::meta":' + orjson.dumps(meta) + b"}")

    def _ordered(self, key: Any) -> Any:
        return str(key) if self.text_order else int(key)

    def _matches(self, row: dict[str, Any], one: dict[str, Any]) -> bool:
        ((operator, what),) = one.items()
        ((name, value),) = what.items()
        mine = row.get(name)
        if operator == "$in":
            return str(mine) in value
        if name == "key":
            mine, value = self._ordered(mine), self._ordered(value)
        return bool({"$gt": mine > value, "$gte": mine >= value, "$lte": mine <= value, "$lt": mine < value}[operator])


class FakePrime:
    """Keeps what it accepts: (kind, company) -> number -> body. `refuses` may say no, `errors` are met by whole calls."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self.written: list[tuple[str, str, str]] = []
        self.refuses: Callable[[str, str, dict[str, Any]], RowResult | None] = lambda _kind, _company, _body: None
        self.errors: list[ConnectError] = []
        self.waiting = 0  # calls that have not been let through
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self.errors:
            error = self.errors.pop(0)
            return [RowResult(error=error) for _ in bodies]
        results = []
        for body in bodies:
            facts = orjson.loads(body)
            result = self.refuses(kind, company, facts)
            if result is None and facts.get("thing") and facts["thing"] not in self.records.get(("Thing", company), {}):
                result = RowResult(UNKNOWN_REFERENCE, f"Thing {facts['thing']} is not known")
            if result is None:
                result = RowResult()
                self.records.setdefault((kind, company), {})[facts["number"]] = facts
                self.written.append((kind, company, facts["number"]))
            results.append(result)
        return results

    async def check(self) -> PrimeInfo:
        return PrimeInfo("fake", None)

    def things(self, company: str = "100") -> dict[str, dict[str, Any]]:
        return self.records.get(("Thing", company), {})

    def numbers(self, kind: str = "Thing") -> list[str]:
        """The numbers of this kind written since the last look, sorted."""
        found = sorted(number for what, _, number in self.written if what == kind)
        self.written = [one for one in self.written if one[0] != kind]
        return found


# -- tools and workers -------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


CONNECTION = """
[[connections]]
name = "{name}"
environment = "{name}"
username = "u"
password = "env:SECRET"
url = "http://127.0.0.1:9/ws/webService.asmx"
register_transport = "soap"
[connections.lookups.GeneralSettings]
IsFullImport = {full}
[connections.lookups.Credentials]
SageTokenUrl = "http://127.0.0.1:9/token"
SageBaseUrl = "http://127.0.0.1:9/ia/api"
SageQueryUrl = "http://127.0.0.1:9/query"
SageRestVersion = "v1"
SageClientId = "client"
SageClientSecret = "env:SECRET"
SageUserName = "user@{name}"
[connections.lookups.Objects]
DEPARTMENT = 1
LOCATION = 2
"""


def config_text(*, names: Sequence[str] = ("acme",), companies: Sequence[str] = ("100",), jobs: Sequence[str], full: bool = True) -> str:
    found = ""
    for name in names:
        found += CONNECTION.format(name=name, full=str(full).lower())
        for company in companies:
            found += "".join(f'[[connections.jobs]]\njob = "{job}"\ncompany = "{company}"\n' for job in jobs)
    return found


@dataclass
class Pipeline:
    """Tools over fakes, and how to run them. `sage` and `prime` are those of the first connection."""

    tools: Tools
    url: str
    clock: Clock
    sages: dict[str, FakeSage]
    primes: dict[str, FakePrime]
    workers: list[Worker] = field(default_factory=list)

    @property
    def connection(self) -> ConnectionTools:
        return next(iter(self.tools.connections.values()))

    @property
    def sage(self) -> FakeSage:
        return self.sages[self.connection.connection.name]

    @property
    def prime(self) -> FakePrime:
        return self.primes[self.connection.connection.name]

    @asynccontextmanager
    async def running(self, *stages: str) -> AsyncIterator[None]:
        """Workers of these stages (all of them unless named) for as long as the block lasts."""
        workers = []
        for stage in stages or STAGES:
            options: dict[str, Any] = dict(get_kwargs(STAGE_WORKERS[stage]))
            options |= {
                "ctx": {**options.get("ctx", {}), "tools": self.tools},
                "redis_pool": connect_redis(self.url),
                "on_startup": None,
                "on_shutdown": None,
            }
            if stage == SCHEDULE:
                options["cron_jobs"] = None
            workers.append(Worker(**options, handle_signals=False))
        self.workers += workers
        tasks = [asyncio.create_task(worker.async_run()) for worker in workers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            for worker in workers:
                await worker.close()
                self.workers.remove(worker)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def idle(self, timeout_s: float = 90) -> None:
        """Wait until nothing is left to do."""
        until = time.monotonic() + timeout_s
        while not await producers.is_idle(self.tools):
            assert time.monotonic() < until, await self.where()
            await asyncio.sleep(0.02)

    async def where(self) -> dict[str, Any]:
        """For a test that waits in vain."""
        found: dict[str, Any] = {stage: await self.tools.redis.zrange(queue_name(stage), 0, -1) for stage in STAGES}
        for sid, connection in self.tools.connections.items():
            found[sid] = (await connection.runs.running(), await producers.wanted(self.tools.redis, sid))
        return found

    async def sync(self, **options: Any) -> RunRecord:
        """Every job once; the newest run of GetThings (or of the job asked for)."""
        await producers.want(self.tools, **options)
        async with self.running():
            await self.idle()
        return await self.last(options.get("job") or "GetThings", options.get("company") or "100")

    async def last(self, job: str = "GetThings", company: str = "100") -> RunRecord:
        record = await self.connection.runs.last(company, job)
        assert record is not None
        return record

    async def letters(self, *states: str) -> dict[str, Any]:
        _, found = await self.connection.dead_letters.find({}, states=states or ("open",), limit=1000)
        return {letter.number: letter for letter in found}


def pipeline(url: str, config: str, starts_due: bool = False) -> Pipeline:
    """Fakes behind the tools of a configuration."""
    parsed = parse_config(config, path=Path("connect.toml"), environ={"SECRET": "s"}, jobs=REGISTERS)
    redis, clock = connect_redis(url), Clock()
    sages = {one.name: FakeSage() for one in parsed.connections}
    primes = {one.name: FakePrime() for one in parsed.connections}

    async def ask() -> tuple[str, float]:
        raise AssertionError("nobody needs a token")

    connections = {
        one.sid: ConnectionTools(
            connection=one,
            redis=redis,
            sage=sages[one.name],
            prime=primes[one.name],
            runs=Runs(redis, one.sid),
            dead_letters=DeadLetters(redis, one.sid, clock=clock),
            pauses=Pauses(redis, one.sid),
            slots=Slots(redis, one.sage_company, one.sid, one.sage_slots),
            tokens=Tokens(redis, "client", "user", "s", ask),
            usage=Usage(redis, one.sage_company, one.sid, clock=clock),
        )
        for one in parsed.connections
    }
    tools = Tools(config=parsed, redis=redis, clock=clock, connections=connections, starts_due=starts_due)
    return Pipeline(tools, url, clock, sages, primes)


def thing(
    key: int, name: str | None = None, colour: int = 1, number: str | None = None, modified: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    return {"key": key, "id": number or f"T{key}", "name": name or f"Thing {key}", "colour.key": str(colour), "modified": modified}
