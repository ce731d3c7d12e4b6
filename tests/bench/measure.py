"""One measurement in a process of its own: `python tests/bench/measure.py '{"what": "floor", …}'`; the figures come as JSON on stdout.

    floor      what reading costs at least: aiohttp reads the pages and orjson decodes them, 6 at once, nothing kept
    sweep      a first read by key ranges through the Sage client (slots and token in Redis); rows are cut, and dropped
    passage    GetSuppliers through the whole pipeline, as far as the call to Prime: chunks are framed, and taken for accepted
    start      how long a job waits on an idle system, and what Redis is asked meanwhile
    burst      Redis commands a job costs
    urgent     how long an invoice takes from Prime's list to its receipt, while suppliers are read and on the idle system

CPU is user and system time of this process, and of Redis for the passages. `peak_mib` is this process's largest resident size.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import approved
import orjson
from redis.asyncio import Redis

from connect.config import load_config
from connect.prime.port import PrimeInfo, RowResult
from connect.prime.rest import frame as frame_rest
from connect.prime.rest import split_bank_accounts
from connect.prime.soap import PrimeSoapAccess
from connect.prime.soap import frame as frame_soap
from connect.registers import REGISTERS
from connect.sage.query import MAX_SIZE, Query
from connect.sage.sweep import Sweep, SweptPage
from connect.state import epoch
from connect.state.runs import RunRecord
from workers import producers
from workers.arq_worker import Worker
from workers.jobs import SCHEDULE, ConnectionTools, TickJob, Tools, enqueue, queue_name
from workers.logs import configure
from workers.screen import Screen
from workers.session import run_jobs, session
from workers.settings import connect_redis, open_tools

LOOK_S = 0.002
JOB, COMPANY = "GetSuppliers", "100"


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    """Of this program: getrusage would count what the process was before it became this program."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def redis_cpu_s(redis: Redis) -> float:
    info = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def redis_calls(redis: Redis) -> Counter[str]:
    stats = await redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(facts["calls"]) for name, facts in stats.items()})


def supplier_fields(tools: Tools) -> tuple[str, ...]:
    (one,) = tools.connections.values()
    (part,) = REGISTERS[JOB].parts(one.connection.register_settings(COMPANY))
    return tuple(part.source.fields)


class FramingWriter:
    """A Prime that is never called: frames what would be sent, and says yes to every row."""

    def __init__(self, transport: str) -> None:
        self._transport = transport
        self._access = PrimeSoapAccess("http://127.0.0.1/ws/webService.asmx", "DEMO", "connect", "secret")
        self.rows = self.bytes = 0

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        if kind != "ObjectType":
            self.rows += len(bodies)
        if self._transport == "soap":
            self.bytes += sum(len(frame_soap(self._access, kind, body)) for body in bodies)
        else:
            self.bytes += len(frame_rest(kind, [split_bank_accounts(body)[0] for body in bodies]))
        return [RowResult() for _ in bodies]

    async def check(self) -> PrimeInfo:
        return PrimeInfo("8", None)


async def floor(spec: dict[str, Any]) -> dict[str, Any]:
    async with open_tools(load_config(spec["config"])) as tools:
        (one,) = tools.connections.values()
        fields = supplier_fields(tools)
        token = await one.tokens.get(None)
        credentials = one.connection.credentials
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    rows = 0
    starts = iter(range(1, spec["rows"] + 1, MAX_SIZE))
    async with aiohttp.ClientSession(read_bufsize=2**20) as http:

        async def read() -> None:
            nonlocal rows
            for start in starts:
                query = Query("accounts-payable/vendor", fields, start=start).body()
                async with http.post(credentials.query_url, data=query, headers=headers) as answer:
                    body = await answer.read()
                rows += len(orjson.loads(body)["ia::result"])

        await asyncio.gather(*(read() for _ in range(6)))  # the sandbox encodes its pages once: now
        rows, starts = 0, iter(range(1, spec["rows"] + 1, MAX_SIZE))
        before, started = cpu_s(), time.monotonic()
        await asyncio.gather(*(read() for _ in range(6)))
        return {
            "rows": rows,
            "cpu_s": cpu_s() - before,
            "wall_s": time.monotonic() - started,
            "peak_mib": peak_mib(),
            "fields": len(fields),
        }


async def sweep(spec: dict[str, Any]) -> dict[str, Any]:
    async with open_tools(load_config(spec["config"])) as tools:
        (one,) = tools.connections.values()
        calls: Counter[str] = Counter()
        reader = Sweep(
            one.sage, "accounts-payable/vendor", supplier_fields(tools), parallel=one.connection.sage_slots, calls=calls,
            boundaries=spec.get("boundaries", ()),
        )  # fmt: skip
        rows = 0

        async def on_page(page: SweptPage) -> None:
            nonlocal rows
            rows += len(page.rows())

        await one.tokens.get(None)
        before, started = cpu_s(), time.monotonic()
        end = await reader.run(on_page)
        wall_s = time.monotonic() - started
        return {
            "rows": rows,
            "calls": calls.total(),
            "pages": end.pages,
            "wall_s": wall_s,
            "cpu_s": cpu_s() - before,
            "complete": end.complete,
        }


async def passage(spec: dict[str, Any]) -> dict[str, Any]:
    config = load_config(spec["config"])
    writer = FramingWriter(spec["transport"])
    async with session(config) as tools:
        await epoch.begin(tools.redis)  # nobody holds anything of this Redis: it is new
        for sid, one in list(tools.connections.items()):
            tools.connections[sid] = dataclasses.replace(one, prime=writer)
        before, redis_before, started = cpu_s(), await redis_cpu_s(tools.redis), time.monotonic()
        outcome = await run_jobs(tools, Screen(json=True), job=JOB, company=COMPANY)
        figures = {
            "wall_s": time.monotonic() - started,
            "cpu_s": cpu_s() - before,
            "redis_cpu_s": await redis_cpu_s(tools.redis) - redis_before,
            "peak_mib": peak_mib(),
            "written": writer.rows,
            "written_bytes": writer.bytes,
        }
    (run,) = [record for _, record in outcome.runs]
    return figures | {
        "state": run.state,
        "rows": run.read,
        "sent": run.sent,
        "unchanged": run.unchanged,
        "calls": run.calls,
        "pages": run.pages,
    }


async def start(spec: dict[str, Any]) -> dict[str, Any]:
    """Jobs enqueued one by one, at moments that have nothing to do with the polling."""
    config = load_config(spec["config"])
    waits_ms: list[float] = []

    async def tick(_ctx: dict[str, Any], job: TickJob) -> None:
        waits_ms.append((time.time() - float(job.trace.split(":")[1])) * 1000)

    tick.__qualname__ = TickJob.function  # arq's name of a function
    async with open_tools(config) as tools:
        worker = _worker(tools, tick)
        running = asyncio.create_task(worker.async_run())
        await asyncio.sleep(0.5)
        calls_before, idle_started = await redis_calls(tools.redis), time.monotonic()
        await asyncio.sleep(5)
        idle = await redis_calls(tools.redis) - calls_before
        idle_s = time.monotonic() - idle_started
        for number in range(200):
            await enqueue(tools.redis, [TickJob(trace=f"{number}:{time.time()}")])
            await asyncio.sleep(0.021 + number % 7 * 0.003)
        calls_before = await redis_calls(tools.redis)
        burst = 500
        done_before = len(waits_ms)
        await enqueue(tools.redis, [TickJob(trace=f"b{number}:{time.time()}") for number in range(burst)])
        while len(waits_ms) < done_before + burst:
            await asyncio.sleep(0.02)
        per_job = await redis_calls(tools.redis) - calls_before
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()
    ordered = sorted(waits_ms[:200])
    ours = {"info"}
    return {
        "p50_ms": ordered[100],
        "p95_ms": ordered[190],
        "idle_commands_s": sum(count for name, count in idle.items() if name not in ours) / idle_s,
        "commands_a_job": sum(count for name, count in per_job.items() if name not in ours) / burst,
    }


async def urgent(spec: dict[str, Any]) -> dict[str, Any]:
    """Invoices one by one, each from its listing in Prime to its receipt: during register sweeps, and on the idle system, in turns."""
    found: dict[str, list[float]] = {"busy": [], "idle": []}
    used: dict[str, list[int]] = {"busy": [], "idle": []}
    pages: list[int] = []
    async with open_tools(load_config(spec["config"])) as tools, aiohttp.ClientSession(spec["base"]) as http:
        (one,) = tools.connections.values()
        desk = UrgentDesk(tools, one, http)
        await desk.book()  # the first pays for the token and what is asked for once
        while len(found["busy"]) < spec["invoices"]:
            run = await desk.begin_sweep()
            count = 0
            while True:
                slots_used, took_s = await desk.book_watched()
                if (record := await one.runs.record(run)) is None or record.state != "running":
                    break
                found["busy"].append(took_s)
                used["busy"] += slots_used
                count += 1
            record = await desk.end_of(run)
            assert count or len(pages) < 3, f"sweeps of {record.pages} pages are over before an invoice is booked"
            pages.append(record.pages)
            for _ in range(count):
                slots_used, took_s = await desk.book_watched()
                found["idle"].append(took_s)
                used["idle"] += slots_used
    shares = {name: sum(values) / len(values) / one.connection.sage_slots for name, values in used.items()}
    return {**found, "slots_used": shares["busy"], "slots_used_idle": shares["idle"], "pages": min(pages), "sweeps": len(pages)}


class UrgentDesk:
    """Approves invoices in Prime and waits for their receipts; `connect` is asked for the job as soon as one is listed."""

    def __init__(self, tools: Tools, one: ConnectionTools, http: aiohttp.ClientSession) -> None:
        self._tools = tools
        self._one = one
        self._http = http
        self._number = 0

    async def book(self) -> float:
        """One invoice. Returns the seconds from its listing to its receipt."""
        self._number += 1
        invoice = approved.invoice(self._number)
        image = base64.b64encode(approved.PDF * 100).decode()
        file = {"InvoiceSeries": "1", "InvoiceNo": self._number, "FileName": "page.pdf", "FileType": "PDF", "Image": image}
        await self._load("Invoice", invoice | {"Status": 3})  # not listed before its file is there
        await self._load("Image", file)
        await self._load("Invoice", {"InvoiceSeries": "1", "InvoiceNo": self._number, "Status": 4})
        began = time.monotonic()
        await producers.want(self._tools, job="ExportInvoices")
        while await self._receipts() < self._number:
            assert time.monotonic() < began + 120, f"invoice {self._number} has no receipt"
            await asyncio.sleep(LOOK_S * 10)
        took_s = time.monotonic() - began
        while any(record.job == "ExportInvoices" for record in await self._one.runs.running()):
            await asyncio.sleep(LOOK_S)
        return took_s

    async def book_watched(self) -> tuple[list[int], float]:
        """The same, and how many slots were used meanwhile, ten times a second."""
        used: list[int] = []

        async def watch() -> None:
            while True:
                used.append(await self._one.slots.used())
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        try:
            return used, await self.book()
        finally:
            watching.cancel()

    async def begin_sweep(self) -> str:
        """A full read of the suppliers. Returns its run once all slots are used."""
        await producers.want(self._tools, job=JOB, full=True)
        until = time.monotonic() + 60
        while await self._one.slots.used() < self._one.connection.sage_slots:
            assert time.monotonic() < until, "the sweep does not begin"
            await asyncio.sleep(LOOK_S)
        (run,) = [record.run for record in await self._one.runs.running() if record.job == JOB]
        return run

    async def end_of(self, run: str) -> RunRecord:
        while True:
            record = await self._one.runs.record(run)
            assert record is not None
            if record.state != "running":
                assert record.state == "done", record.reason
                return record
            await asyncio.sleep(0.05)

    async def _load(self, kind: str, record: dict[str, Any]) -> None:
        async with self._http.post("/_sandbox/prime/load", json={"kind": kind, "records": [record]}) as answer:
            assert not (await answer.json())["errors"], await answer.text()

    async def _receipts(self) -> int:
        async with self._http.get("/_sandbox/prime/records?kind=InvoiceReceipt&company=100") as answer:
            count: int = (await answer.json())["count"]
            return count


def _worker(tools: Tools, tick: Any) -> Worker:
    return Worker(
        functions=[tick],
        queue_name=queue_name(SCHEDULE),
        redis_pool=connect_redis(os.environ["BENCH_REDIS_URL"]),
        ctx={"tools": tools},
        max_jobs=20,
        handle_signals=False,
    )


WHAT = {"floor": floor, "sweep": sweep, "passage": passage, "start": start, "urgent": urgent}


if __name__ == "__main__":
    asked = orjson.loads(sys.argv[1])
    Path(asked["config"]).resolve(strict=True)
    configure("json", "info")  # as workers log
    sys.stdout.write(orjson.dumps(asyncio.run(WHAT[asked["what"]](asked))).decode() + "\n")
