"""Every alert fires from a real state and is over when the state is, and every panel has data: one story, watched by a real Prometheus.

Trouble is made in Sage and Prime (the sandbox), in the pipeline and in Redis; what the story cannot wait for (hours, days) is written with
the time that it would have. The rules are those of deploy/, with shorter waits and windows.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from approved import GENERAL, fill, invoice, load
from prometheus_box import DEPLOY, PROGRAM, Prometheus, free_port, rules
from redis.asyncio import Redis
from world import SECRETS, Sandbox, config_text, wait_until

from connect.config import load_config
from connect.errors import Permanent
from connect.registers import REGISTERS
from connect.state import epoch
from connect.state.audit import Audit
from connect.state.embedded import attached
from connect.state.notices import Channel, Notices
from connect.state.receipts import Receipts
from connect.state.reports import Reports, Summary
from workers.console.app import build_app
from workers.console.security import Listening
from workers.jobs import ConnectionTools, Tools, WriteJob, enqueue
from workers.screen import Screen
from workers.session import run_jobs, session
from workers.settings import open_tools

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed")]
NAMES = [rule["alert"] for rule in rules()]
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PANELS = [
    (path.stem, panel["title"], target["expr"])
    for path in DASHBOARDS
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]
LATER = ("Redis has lost its memory", "Redis does not answer", "The console does not answer")
"""What would drown the others: one after the other, at the end."""


@dataclass
class Story:
    """What was seen. `states`: alert -> its states in the order in which they came, "" for none; `panels`: query -> how many series."""

    states: dict[str, list[str]] = field(default_factory=lambda: {name: [""] for name in NAMES})
    panels: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    told = Story()
    with pytest.MonkeyPatch.context() as patch, Sandbox("--empty") as box:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("T_WRONG", "wrong")
        patch.setenv("T_CHAT", "http://127.0.0.1:9/hook")
        fill(box)
        folder = tmp_path_factory.mktemp("alerts")
        with attached(folder / "redis", environ={}) as url:
            asyncio.run(tell(told, box, folder, url))
    return told


def connections(box: Sandbox, url: str) -> str:
    """Three connections: one that works, one that Sage does not let in, one that Prime does not."""
    jobs = ("ExportInvoices", "GetSuppliers", "GetAccounts", "GetVatCodes", "GetAssets")
    good = config_text(box, jobs=jobs, general=GENERAL, redis_url=url).replace("sage_slots", "settle_s = 0.5\nsage_slots", 1)
    closed = [
        config_text(box, jobs=(job,), general=GENERAL, redis_url=url, slots=2)
        .partition("[[connections]]")[2]
        .replace('name = "acme-TEST"', f'name = "{name}"')
        .replace("rillion@acme", f"rillion@{name}")
        .replace(f'{key} = "env:{secret}"', f'{key} = "env:T_WRONG"')
        for name, job, key, secret in (
            ("no-sage", "GetSuppliers", "SageClientSecret", "T_SAGE_SECRET"),
            ("no-prime", "ExportInvoices", "password", "T_PRIME_PASSWORD"),
        )
    ]
    channel = '[[notifications]]\nname = "chat"\nkind = "slack"\nwebhook_url = "env:T_CHAT"\nimmediate = false\ndigest_at = "07:00"\n'
    return "[[connections]]".join([good, *closed]) + channel


async def tell(told: Story, box: Sandbox, folder: Path, url: str) -> None:
    """The story, from a quiet company over all its trouble to the end of it."""
    (folder / "connect.toml").write_text(connections(box, url))
    config = load_config(folder / "connect.toml", jobs=REGISTERS)
    plain = Redis.from_url(url)  # without patience: Prometheus has little here
    await epoch.begin(plain)
    port, path = free_port(), Path(unquote(url.removeprefix("unix://")))
    away = path.with_suffix(".away")
    async with open_tools(config) as tools:
        console = replace(tools, redis=plain)
        site = served(console, port)
        await site.__aenter__()
        with Prometheus(folder / "prometheus", f"127.0.0.1:{port}") as prometheus:
            await asyncio.to_thread(wait_until, prometheus.is_ready, 30)
            watching = asyncio.create_task(watch(told, prometheus))
            load(box, invoice(1), invoice(2, supplier="V404"))
            async with session(config) as working:
                await run_jobs(working, Screen(json=True), connection="acme-TEST")
                await until(told, lambda: prometheus.query("connect_rows_total"), "the first numbers")
                trouble = Trouble(tools, working, box)
                await trouble.while_working()
            await trouble.begin()
            await until(told, lambda: all("firing" in told.states[name] for name in NAMES if name not in LATER), "all alerts")
            for _, _, query in PANELS:
                asked = query.replace("$__rate_interval", "1m").replace("$connection", ".*")
                told.panels[query] = len(await asyncio.to_thread(prometheus.query, asked))
            async with session(config):
                await trouble.end()
                await until(told, lambda: quiet(told), "the end of all trouble")
            await plain.flushall()
            await epoch.age_s(plain)
            await until(told, lambda: told.states[LATER[0]][-2:] == ["firing", ""], LATER[0])
            await asyncio.to_thread(path.rename, away)
            await plain.connection_pool.disconnect()
            await until(told, lambda: told.states[LATER[1]][-1] == "firing", LATER[1])
            await asyncio.to_thread(away.rename, path)
            await until(told, lambda: told.states[LATER[1]][-1] == "", LATER[1])
            await site.__aexit__(None, None, None)
            await until(told, lambda: told.states[LATER[2]][-1] == "firing", LATER[2])
            async with served(console, port):
                await until(told, lambda: quiet(told), LATER[2])
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    await plain.aclose()


@asynccontextmanager
async def served(tools: Tools, port: int) -> AsyncIterator[None]:
    """The console on a port of its own."""
    runner = web.AppRunner(build_app(tools, Listening(port=port)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def watch(told: Story, prometheus: Prometheus) -> None:
    """Note each change of each alert."""
    while True:
        found = await asyncio.to_thread(prometheus.alerts)
        for name, states in told.states.items():
            if states[-1] != found.get(name, ""):
                states.append(found.get(name, ""))
        await asyncio.sleep(0.2)


def quiet(told: Story) -> bool:
    return not any(states[-1] for states in told.states.values())


async def until(told: Story, is_so: Callable[[], Any], what: str, timeout_s: float = 100) -> None:
    ends = time.monotonic() + timeout_s
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < ends, f"waited in vain for {what}: {told.states}"
        await asyncio.sleep(0.2)


class Trouble:
    """Everything that may go wrong, made and mended."""

    def __init__(self, tools: Tools, working: Tools, box: Sandbox) -> None:
        by_name = {one.connection.name: one for one in tools.connections.values()}
        self.good, self.no_sage = by_name["acme-TEST"], by_name["no-sage"]
        self.redis = tools.redis
        self.working = working
        self.box = box
        self._held: list[asyncio.Task[None]] = []
        self._pushing: asyncio.Task[None] | None = None
        self._letters: list[str] = []
        self._torn: dict[bytes, bytes] = {}

    async def while_working(self) -> None:
        """What workers meet: 429, a Prime that is away, a receipt that Prime does not take, closed doors."""
        screen = Screen(json=True)
        self.box.load("accounts-payable/vendor", [{"id": "V1", "name": "Another name"}], "upsert")
        load(self.box, invoice(3))
        self.box.call("/_sandbox/faults", {"rules": [
            {"where": "sage:POST /services/core/query", "kind": "throttle", "count": 40, "params": {"retry_after_s": 0}},
            {"where": "prime:PUT /supplier", "kind": "status", "count": 6, "params": {"status": 503}},
            {"where": "prime:SendInvoiceReply", "kind": "status", "count": 1, "params": {"status": 400}},
        ]})  # fmt: skip
        await asyncio.gather(
            *(run_jobs(self.working, screen, connection="acme-TEST", job=job) for job in ("GetSuppliers", "ExportInvoices"))
        )
        for name in ("no-sage", "no-prime"):  # last: each run lets all connections try again
            await run_jobs(self.working, screen, connection=name)
        await self.working.metrics.flush(self.redis)

    async def begin(self) -> None:
        """What time and persons bring. No worker is alive from here on."""
        now = datetime.now(UTC)
        good = self.good
        for _ in range(3):
            await ended(good, "GetAccounts", "failed", now)
        await ended(good, "GetAssets", "held", now)
        await ended(good, "GetVatCodes", "done", now - timedelta(days=3))
        for owner in ("operator", "consultant", "Sage administrator", "Sage", "Rillion"):
            self._letters.append(await letter(good, owner, "Invoice"))
        self._letters.append(await letter(good, "operator", "Payment"))
        await Receipts(self.redis, good.connection.sid, "100", "ExportInvoices").listed(["1-3"], now)  # keeps the refused one
        await Receipts(self.redis, good.connection.sid, "200", "ExportInvoices").listed([], now)
        await self.redis.zadd(f"connect:{good.connection.sid}:awaiting:100:ExportInvoices", {"1-9": now.timestamp() - 7 * 3600})
        await good.pauses.hold("job:GetAssets", reason="stocktaking", by="ann")
        await Notices(self.redis).put_channel("chat", Channel(failing_since=now, why="it answers 404"))
        await self._compared(by={"missing": 2}, waits=1)
        audit = Audit(self.redis, good.connection.sid)
        await audit.add("hold", "GetAssets", by="ann")
        stream = f"connect:{good.connection.sid}:audit"
        ((name, self._torn),) = await self.redis.xrevrange(stream, count=1)
        await self.redis.xdel(stream, name)
        self._held = [asyncio.create_task(self._hold_slot()) for _ in range(self.no_sage.connection.sage_slots + 2)]
        self._pushing = asyncio.create_task(self._push())

    async def _compared(self, **found: Any) -> None:
        summary = Summary(made_at=(datetime.now(UTC) - timedelta(days=1)).isoformat(), **found)
        await Reports(self.redis, self.good.connection.sid).keep(summary, b"{}")

    async def _hold_slot(self) -> None:
        async with self.no_sage.slots.lease("registers", wait_s=300):
            await asyncio.sleep(300)

    async def _push(self) -> None:
        """More and more chunks of runs that are over."""
        for number in range(10_000):
            jobs = [
                WriteJob(trace="t", sid=self.good.connection.sid, run="GetAssets.100.x.y", part="Asset", chunk=f"{number}.{n}")
                for n in range(120 if number == 0 else 5)
            ]
            await enqueue(self.redis, jobs, delay_ms=-900_000)
            await asyncio.sleep(0.3)

    async def end(self) -> None:
        """All of it is mended; the workers are back."""
        now = datetime.now(UTC)
        assert self._pushing is not None
        for task in (self._pushing, *self._held):
            task.cancel()
        await asyncio.gather(self._pushing, *self._held, return_exceptions=True)
        self.box.call("/_sandbox/faults", {"rules": []})
        for job in ("GetAccounts", "GetAssets", "GetVatCodes"):
            await ended(self.good, job, "done", now)
        await self.good.dead_letters.resolve(self._letters, reason="mended")
        others = [one.id for one in (await self.good.dead_letters.find({}, limit=100))[1]]
        await self.good.dead_letters.resolve(others, reason="mended")
        await Receipts(self.redis, self.good.connection.sid, "100", "ExportInvoices").listed([], now)
        await self._compared()
        await self.good.pauses.lift("job:GetAssets")
        await Notices(self.redis).put_channel("chat", Channel())
        for one in self.working.connections.values():
            for stage in ("fetch", "write", "post"):
                await one.pauses.clear(stage)
        stream = f"connect:{self.good.connection.sid}:audit"
        kept = [fields for _, fields in await self.redis.xrange(stream)]
        await self.redis.delete(stream)
        for one in (*kept, self._torn):
            await self.redis.xadd(stream, one)


async def ended(connection: ConnectionTools, job: str, state: Any, at: datetime) -> None:
    run = await connection.runs.begin("100", job, mode="full", trace="t", parts=[], entity="", now=at)
    assert run is not None
    await connection.runs.end(run, at, state=state)


async def letter(connection: ConnectionTools, owner: str, kind: str) -> str:
    made = connection.dead_letters.letter(
        company="100", job="ExportInvoices", part=kind, kind=kind, key=0, number=f"{kind} for {owner}", name="V", payload=b"{}",
        error=Permanent("no", system="sage", code="no"), run="", trace="",
    )  # fmt: skip
    before = datetime.now(UTC) - timedelta(days=2)
    await connection.dead_letters.put_many([replace(made, error={**made.error, "owner": owner}, open_since=before)])
    return made.id


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_fires_and_is_over_when_its_cause_is(name: str, story: Story) -> None:
    states = story.states[name]
    assert "firing" in states, states
    assert states[-1] == "", states
    waits = next(rule for rule in rules() if rule["alert"] == name).get("for") is not None
    assert not waits or states.index("pending") < states.index("firing"), states


@pytest.mark.parametrize(("dashboard", "title", "query"), PANELS)
def test_a_panel_has_data(dashboard: str, title: str, query: str, story: Story) -> None:
    assert story.panels[query] > 0, (dashboard, title)
