"""The console over very much: 1,000,000 queued jobs, 50,000 dead letters, 200 connections; every page and list, and live updates.

`PYTHONPATH=tests python tests/bench/console_load.py` measures alone; BENCH_SCALE makes it smaller. The state is seeded straight into
Redis: queues hold their jobs' ids, which is all that the console looks at. Pages and calls come from the table of routes: one that is new
is measured too. CPU is user and system time of the console's process, per request.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from pipeline import config_text

from connect.config import load_config
from connect.errors import Permanent
from connect.registers import REGISTERS
from connect.state import epoch
from connect.state.dead_letters import DeadLetter
from connect.state.embedded import attached
from connect.state.samples import Sample, Samples
from connect.state.users import Users
from workers import acts
from workers.console.routes import TABLE
from workers.jobs import FETCH, POST, WRITE, ConnectionTools, Tools, queue_name
from workers.settings import open_tools

SCALE: Final = float(os.environ.get("BENCH_SCALE", "1"))
JOBS: Final = max(int(1_000_000 * SCALE), 10_000)
LETTERS: Final = max(int(50_000 * SCALE), 1_000)
CONNECTIONS: Final = max(int(200 * SCALE), 5)
RUNS: Final = 30  # of each job
MINUTES: Final = 1440
WATCHERS: Final = 50
CHANGES: Final = 10
TRIES: Final = 20
MOST_MS: Final = 200
MOST_MIB: Final = 300
JOB_NAMES: Final = ("GetAccounts", "GetSuppliers", "ExportInvoices")
# No page and no list: what is left out, and why.
OTHERS: Final = {
    "/events": "a stream, measured below",
    "/audit/export": "a download of all",
    "/audit/verify": "reads the whole trail, on demand",
    "/api/v1/audit/verify": "reads the whole trail, on demand",
    "/dead-letters/{id}/files": "asks Prime",
    "/api/v1/dead-letters/{id}/files": "asks Prime",
    "/api/v1/dead-letters/{id}/files/{place}": "asks Prime",
    "/dead-letters/{id}/files/{place}": "asks Prime",
    "/static/{digest}/{name}": "files",
    "/login": "for whoever is not logged in",
    "/metrics": "for machines: `make bench` measures it elsewhere",
}
QUERIES: Final = {
    "/api/v1/connections/{name}/rows": "?company=100&job=GetSuppliers&number=V0000007",
    "/api/v1/values": "?connection=c7&company=100&values=account", "/api/v1/trace": "?number={number}", "/api/v1/errors/explain": "?code=2",
}  # fmt: skip
# The same again as people ask for it.
MORE: Final = (
    "/dead-letters?text=6510", "/dead-letters?text=nothing-like-this", "/dead-letters?number={number}", "/dead-letters?connection=c7",
    "/dead-letters?owner=operator", "/dead-letters?offset=40000", "/?name=c19", "/?light=amber", "/documents?number={number}",
    "/runs?connection=c7&minutes=1440", "/api/v1/charts?minutes=1440&connection=c7", "/api/v1/overview?connection=c7", "/audit?by=operator",
    "/api/v1/dead-letters?limit=500", "/api/v1/dead-letters/groups?limit=500", "/api/v1/dead-letters/groups?text=6510",
)  # fmt: skip


# -- seeding -----------------------------------------------------------------------------------------------------------


def made(one: ConnectionTools, number: int) -> DeadLetter:
    """A letter: of three, two are suppliers that Prime refuses for one of 40 reasons, one is an invoice."""
    if number % 3:
        body = json.dumps({"SupplierNumber": f"V{number:07}", "Name": f"Vendor {number} Ltd", "Notes": "Delivers on weekdays. " * 20})
        reason = f"account {6500 + number % 40} is inactive"
        job, kind, name, key, error = "GetSuppliers", "Supplier", f"V{number:07}", number, Permanent(reason, system="prime", code="2")
    else:
        body = json.dumps({
            "id": [one.connection.environment, "100", "1", str(number)], "status": 4, "is_credit": False, "is_blocked": False,
            "pay_reference": None, "supplier": "V1", "supplier_invoice_no": f"INV-{number}", "voucher_no": None,
            "invoiced_on": "2026-03-01", "due_on": "2026-03-31", "posted_on": "2026-03-02", "paid_on": None,
            "currency": "USD", "amount": "125.00", "note": "Rent",
            "lines": [{"number": n, "type": 1, "account": "6999", "amount": "100.00", "note": f"memo {n}"} for n in range(20)],
        })  # fmt: skip
        job, kind, name, key = "ExportInvoices", "Invoice", f"1-{number}", 0
        error = Permanent("Supplier V1 is on hold in Sage", system="sage", code="vendor_on_hold")
    return one.dead_letters.letter(
        company="100", job=job, part="", kind=kind, key=key, number=name, name=f"Vendor {number} Ltd", payload=body.encode(), run="",
        trace="t", error=error,
    )  # fmt: skip


async def seed(tools: Tools) -> None:
    await epoch.begin(tools.redis)
    ones = list(tools.connections.values())
    await asyncio.gather(*(seed_one(tools, one, LETTERS // len(ones), place) for place, one in enumerate(ones)))
    now_ms = time.time() * 1000
    for stage, share, words in ((WRITE, 0.7, "write"), (FETCH, 0.1, "sweep"), (POST, 0.2, "post")):
        count = int(JOBS * share)
        for start in range(0, count, 20_000):
            ids = {
                f"{words}:{ones[n * 31 % len(ones)].connection.sid}:GetSuppliers.100.20261128T224536.{n:06x}": now_ms - 3_600_000 + n
                for n in range(start, min(start + 20_000, count))
            }
            await tools.redis.zadd(queue_name(stage), ids)


async def seed_one(tools: Tools, one: ConnectionTools, letters: int, place: int) -> None:
    now = datetime.now(UTC)
    for job in JOB_NAMES:
        for n in range(RUNS):
            began = now - timedelta(hours=RUNS - n)
            run = await one.runs.begin("100", job, mode="full", trace="t", parts=(), entity="", now=began)
            assert run is not None
            if n == RUNS - 1 and job == "GetSuppliers":
                await one.runs.count(run, read=4000, total=120_000)  # it is on
                break
            await one.runs.count(run, read=12_000, sent=400, unchanged=11_600, calls=9, refused=n % 2)
            await one.runs.end(run, began + timedelta(minutes=4))
    for start in range(0, letters, 250):
        await one.dead_letters.put_many([made(one, place * letters + n) for n in range(start, min(start + 250, letters))])
    minute, samples = int(time.time()) // 60, Samples(tools.redis, one.connection.sid)
    for start in range(0, MINUTES, 240):
        async with tools.redis.pipeline(transaction=False) as pipe:
            for n in range(start, start + 240):
                samples.add(
                    pipe, Sample(minute - MINUTES + n, [0, n % 50, n * 31 % 900, n % 40], n % 6, [n * 4000, n * 100, n * 3900, n // 9])
                )
            await pipe.execute()
    if place % 10 == 0:
        await acts.pause(tools, connection=one.connection.name, job="ExportInvoices", reason="the bank is closed", by="operator")


# -- the console -------------------------------------------------------------------------------------------------------


@contextmanager
def console(folder: Path, environ: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`connect console` as a process: (address, process id)."""
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "console", "--port", "0"], cwd=folder, env=environ, stderr=log, stdout=log
        )
        try:
            while b"the console is at" not in (said := (folder / "log.txt").read_bytes()):
                assert process.poll() is None, said
                time.sleep(0.1)
            address = said.partition(b"the console is at ")[2].split()[0].decode().rstrip("/")
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(30)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


async def ask(http: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, int]:
    async with http.get(path, headers=headers, allow_redirects=False) as answer:
        return answer.status, len(await answer.read())


async def pages(http: aiohttp.ClientSession, pid: int, names: dict[str, str]) -> dict[str, dict[str, float]]:
    """Every page and every list, one after another."""
    found = {}
    paths = [route.path + QUERIES.get(route.path, "") for route in TABLE if route.method == "GET" and route.path not in OTHERS]
    for path in (*paths, *MORE):
        address = path.format(**names)
        status, size = await ask(http, address)
        assert status == 200, f"{address}: {status}; say in QUERIES what it needs, or in OTHERS why it is left out"
        before, times_ms = cpu_s(pid), []
        for _ in range(TRIES):
            started = time.perf_counter()
            await ask(http, address)
            times_ms.append((time.perf_counter() - started) * 1000)
        found[path] = {
            "p95_ms": p95(times_ms), "median_ms": statistics.median(times_ms), "bytes": size,
            "cpu_ms": (cpu_s(pid) - before) * 1000 / TRIES,
        }  # fmt: skip
    return found


async def live(http: aiohttp.ClientSession, tools: Tools, pid: int) -> dict[str, float]:
    """So many open pages: how long until the last of them hears of a change, and what their fetching themselves anew costs."""
    heard: list[float] = []
    arrived = asyncio.Event()

    async def watch(ready: asyncio.Event) -> None:
        async with http.get("/events", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            assert answer.status == 200
            ready.set()
            async for line in answer.content:
                if line.startswith(b"data:"):
                    heard.append(time.perf_counter())
                    if len(heard) == WATCHERS:
                        arrived.set()

    readies = [asyncio.Event() for _ in range(WATCHERS)]
    watching = [asyncio.create_task(watch(ready)) for ready in readies]
    await asyncio.gather(*(ready.wait() for ready in readies))
    await asyncio.sleep(5)  # the first look has been had
    one = next(iter(tools.connections.values()))
    latest_s, refresh_ms, spent = [], [], 0.0
    for number in range(CHANGES):
        heard.clear()
        arrived.clear()
        changed = time.perf_counter()
        await one.dead_letters.put_many([made(one, 10**9 + number * 3)])
        async with asyncio.timeout(30):
            await arrived.wait()
        latest_s.append(max(heard) - changed)
        before, began = cpu_s(pid), time.perf_counter()
        answers = await asyncio.gather(*(ask(http, "/", **{"X-Live": "1"}) for _ in range(WATCHERS)))
        refresh_ms.append((time.perf_counter() - began) * 1000)
        spent += cpu_s(pid) - before
        assert {status for status, _ in answers} == {200}
        await asyncio.sleep(2.5)
    before = cpu_s(pid)
    await asyncio.sleep(20)
    idle = (cpu_s(pid) - before) / 20
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    return {
        "last_hears_p95_s": p95(latest_s), "refresh_all_p95_ms": p95(refresh_ms), "refresh_cpu_ms": spent * 1000 / CHANGES / WATCHERS,
        "idle_cpu_share": idle,
    }  # fmt: skip


async def measure() -> dict[str, Any]:
    names = [f"c{number}" for number in range(CONNECTIONS)]
    with tempfile.TemporaryDirectory(prefix="connect-bench-") as place, attached(Path(place) / "redis") as url:
        folder, environ = Path(place), os.environ | {"SECRET": "s"}
        text = config_text(names=names, jobs=JOB_NAMES).replace("IsFullImport = true", "IsFullImport = true\nStartOn = 2026-01-01")
        (folder / "connect.toml").write_text(f'[redis]\nurl = "{url}"\n{text}')
        os.environ["SECRET"] = "s"
        async with open_tools(load_config(folder / "connect.toml", jobs=REGISTERS)) as tools:
            began = time.perf_counter()
            await seed(tools)
            seeded_s = time.perf_counter() - began
            users = Users(tools.redis)
            session = await users.begin(await users.add("admin", None, "admin"))
            one = tools.connections[next(iter(tools.connections))]
            _, (invoice, *_) = await one.dead_letters.find({"kind": "Invoice"}, limit=1)
            fill = {"id": invoice.id, "number": invoice.number, "name": "c7" if CONNECTIONS > 7 else "c1"}
            fill["run"] = (await one.runs.history(limit=1))[0].run
            with console(folder, environ) as (address, pid):
                async with aiohttp.ClientSession(
                    address,
                    cookies={"connect_session": session},
                    connector=aiohttp.TCPConnector(limit=0),
                    timeout=aiohttp.ClientTimeout(60),
                ) as http:
                    found = {"pages": await pages(http, pid, fill), "after_pages_mib": peak_mib(pid), "live": await live(http, tools, pid)}
                found |= {"peak_mib": peak_mib(pid), "seeded_s": seeded_s}
            found["redis_mib"] = (await tools.redis.info("memory"))["used_memory"] / 2**20
    return found


if __name__ == "__main__":
    figures = asyncio.run(measure())
    for path, one in sorted(figures["pages"].items(), key=lambda item: -item[1]["p95_ms"]):
        print(f"{one['p95_ms']:8.1f} ms p95 {one['median_ms']:8.1f} median {one['cpu_ms']:8.1f} cpu {one['bytes']:9,.0f} B  {path}")
    print({name: value for name, value in figures.items() if name != "pages"})
