"""Many connections: what more fetch workers and more places bring, and whether a large connection holds up the others.

`PYTHONPATH=tests python tests/bench/scaling.py` measures alone; BENCH_SCALE makes it shorter. 20 connections, each with a Sage company of
its own (2 slots) and 4 dimensions, are read anew in full over and over, unchanged, with 200 ms latency. A page is 20 rows here, in Sage's
answers and in what is known, so that time is spent on waiting and not on rows: 4 workers use less than a core. Throughput is taken at the
simulators, between two looks while every connection has its next run waiting; CPU is user and system time of the fetch workers alone.

    python tests/bench/scaling.py books JSON      20 simulators in one process; says on stdin "look" -> what they were asked, as JSON
    python tests/bench/scaling.py worker 4        a fetch worker with so many places and pages of 20 rows
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

import orjson
from world import SECRETS, config_text

from connect.config import load_config
from connect.registers import REGISTERS
from connect.sage.sweep import Sweep
from connect.sandbox import app
from connect.sandbox.sage.simulator import SageSimulator
from connect.state import epoch, known, settle
from connect.state.embedded import attached
from connect.state.runs import RunRecord
from workers import producers
from workers.jobs import FETCH, ConnectionTools, Tools
from workers.logs import configure
from workers.queues import has_any
from workers.settings import FetchWorker, open_tools, run_worker

SCALE: Final = float(os.environ.get("BENCH_SCALE", "1"))
CONNECTIONS: Final = 20
JOB, COMPANY = "GetDimObjects", "100"
OBJECTS: Final = {
    "DEPARTMENT": "company-config/department",
    "CUSTOMER": "accounts-receivable/customer",
    "LOCATION": "company-config/location",
    "WAREHOUSE": "inventory-control/warehouse",
}
LATENCY_MS, SLOTS = 200, 2
PAGE, PAGES = 20, 16  # rows a page, pages of an object
LARGE: Final = 50  # so many times the rows has the large connection
FLEETS: Final = {"1 x 4": (1, 4), "4 x 4": (4, 4), "1 x 16": (1, 16)}  # workers, places of each
ROUNDS, PAIRS = max(int(5 * SCALE), 1), max(int(3 * SCALE), 1)
SETTLE_S, WINDOW_S = 3.0, 10.0
HEAD_START_S: Final = 1.0  # the large connection is at work before the others are due
TESTS: Final = str(Path(__file__).resolve().parents[1])
TICKS_S: Final = os.sysconf("SC_CLK_TCK")
CORES: Final = os.cpu_count() or 1


# -- processes -------------------------------------------------------------------------------------------------------------


class Books:
    """The simulators, from outside."""

    def __init__(self, pages: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "books", orjson.dumps(list(pages)).decode()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.ready: list[dict[str, Any]] = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return orjson.loads(self._process.stdout.readline())

    def say(self, word: str) -> Any:
        """ "look": the queries of each since the start, requests in flight since the last look. "latency MS"."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()
        return self._read()


async def serve_books(pages: Sequence[int]) -> None:
    boxes: list[app.Sandbox] = []
    for number, count in enumerate(pages):
        its_sage = type("Company", (SageSimulator,), {"username": f"rillion@company{number}"})
        setattr(app, "SageSimulator", its_sage)  # noqa: B010 - a simulator is one company's
        box = app.Sandbox(app.SandboxOptions(sage_port=0, prime_port=0, size=None, sage_slots=SLOTS))
        for name in OBJECTS.values():
            records = [{"id": f"N{row:06d}", "name": f"Number {row}", "status": "active"} for row in range(count * PAGE)]
            answer = box.sage.load(object=name, mode="insert", records=records)
            assert not answer["errors"], (name, answer["errors"][:3])
        boxes.append(box)
    in_flight: list[int] = []

    async def watch() -> None:
        while True:
            in_flight.append(sum(box.sage.stats.in_flight for box in boxes))
            await asyncio.sleep(0.02)

    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    for box in boxes:
        await box.__aenter__()
    watching = asyncio.create_task(watch())
    _print([box.ready for box in boxes])
    while word := (await words.readline()).decode().split():
        if word[0] == "latency":
            for box in boxes:
                box.kernel.latency_ms["sage"] = float(word[1])
            _print({})
        else:
            stats = [box.sage.stats for box in boxes]
            _print(
                {
                    "queries": [one.calls["POST /services/core/query"] for one in stats],
                    "in_flight": statistics.fmean(in_flight or [0]),
                    "in_flight_max": [one.in_flight_max for one in stats],
                    "throttled": sum(one.throttled for one in stats),
                }
            )
            in_flight.clear()
    watching.cancel()


def _print(document: Any) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def work(places: int) -> None:
    """A fetch worker whose pages are small."""
    assert Sweep.__init__.__kwdefaults__["page_size"] == known.PAGE_SIZE == settle.PAGE_SIZE
    Sweep.__init__.__kwdefaults__["page_size"] = PAGE
    for module in (known, settle):
        vars(module)["PAGE_SIZE"] = PAGE
    FetchWorker.max_jobs = places
    configure("json", "info")  # as workers log
    run_worker(FETCH)


@contextmanager
def processes(folder: Path, commands: Iterable[Sequence[str]]) -> Iterator[list[int]]:
    """Processes that end with SIGTERM. Yields their ids."""
    log = (folder / "workers.log").open("ab")
    environ = os.environ | SECRETS | {"CONNECT_CONFIG": str(folder / "connect.toml"), "CONNECT_LOG_FORMAT": "json", "PYTHONPATH": TESTS}
    started = [subprocess.Popen([sys.executable, *command], cwd=folder, env=environ, stdout=log, stderr=log) for command in commands]
    try:
        yield [one.pid for one in started]
        assert all(one.poll() is None for one in started), (folder / "workers.log").read_text()[-3000:]
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(30)
        log.close()


def fleet(folder: Path, name: str) -> Any:
    workers, places = FLEETS[name]
    return processes(folder, [[__file__, "worker", str(places)]] * workers)


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of processes."""
    total = 0
    for pid in pids:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(facts[11]) + int(facts[12])
    return total / TICKS_S


def machine_s() -> tuple[float, float]:
    """CPU time that the machine was busy, and that there was."""
    facts = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = facts[3] + facts[4]
    return (sum(facts) - idle) / TICKS_S, sum(facts) / TICKS_S


# -- the world ---------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """20 connections that have been imported, and a schedule and a write worker."""

    folder: Path
    books: Books
    tools: Tools

    @property
    def ones(self) -> list[ConnectionTools]:
        return list(self.tools.connections.values())

    async def want(self, names: Iterable[str]) -> None:
        for name in names:
            assert await producers.want(self.tools, connection=name, full=True)

    async def idle(self, ones: Sequence[ConnectionTools], timeout_s: float = 120) -> None:
        """Until nothing of these connections runs, is wanted or queued."""
        until = time.monotonic() + timeout_s
        while any([await one.runs.running() or await producers.wanted(self.tools.redis, one.connection.sid) for one in ones]):
            assert time.monotonic() < until, "the runs do not end"
            await asyncio.sleep(0.1)
        while any([await has_any(self.tools.redis, FETCH, one.connection.sid) for one in ones]):
            assert time.monotonic() < until, "a job does not end"
            await asyncio.sleep(0.1)

    async def last(self, one: ConnectionTools) -> RunRecord:
        record = await one.runs.last(COMPANY, JOB)
        assert record is not None
        return record


@asynccontextmanager
async def world(pages: Sequence[int]) -> AsyncIterator[World]:
    """Imports everything first, without latency."""
    with tempfile.TemporaryDirectory(prefix="connect-bench-") as name, Books(pages) as books, attached(Path(name) / "redis") as url:
        folder, text = Path(name), ""
        for number, ready in enumerate(books.ready):
            box: Any = SimpleNamespace(sage=ready["sage"], prime=ready["prime"])
            dims = {dimension: at for at, dimension in enumerate(OBJECTS, 1)}
            one = config_text(box, slots=SLOTS, jobs=(JOB,), objects=dims, redis_url=url)
            one = one.replace("acme-TEST", f"c{number:02d}").replace("rillion@acme", ready["sage"]["username"])
            text += one if not text else "[[connections]]" + one.partition("[[connections]]")[2]
        (folder / "connect.toml").write_text(text)
        os.environ.update(SECRETS)
        async with open_tools(load_config(folder / "connect.toml", jobs=REGISTERS)) as tools:
            await epoch.begin(tools.redis)  # nobody holds anything of this Redis: it is new
            found = World(folder, books, tools)
            assert len(found.ones) == len(pages)
            with processes(folder, [["-m", "workers.cli", "worker", stage] for stage in ("schedule", "write")]):
                with fleet(folder, "4 x 4"):
                    await found.want(one.connection.name for one in found.ones)
                    await found.idle(found.ones, 300)
                for one_tools, count in zip(found.ones, pages, strict=True):
                    record = await found.last(one_tools)
                    assert (record.state, record.sent) == ("done", count * PAGE * len(OBJECTS)), record
                books.say(f"latency {LATENCY_MS}")
                yield found


# -- throughput --------------------------------------------------------------------------------------------------------


async def throughput(place: World, name: str) -> dict[str, Any]:
    """One fleet for some seconds, with a run of every connection going and the next waiting. All that was begun is read to its end."""
    names = [one.connection.name for one in place.ones]
    since = datetime.now(UTC)
    before = place.books.say("look")["queries"]

    async def keep_wanting() -> None:
        await place.want(names)
        while True:  # without waking anybody: whatever ends a run does
            await asyncio.sleep(1)
            for one in place.ones:
                wish = orjson.dumps({"full": True, "resend": False, "expire": False, "trace": "bench"})
                await place.tools.redis.hsetnx(f"connect:{one.connection.sid}:wanted", f"{COMPANY}\n{JOB}", wish)

    with fleet(place.folder, name) as pids:
        wanting = asyncio.create_task(keep_wanting())
        try:
            at_work = time.monotonic() + 60
            while sum(place.books.say("look")["queries"]) == sum(before):
                assert time.monotonic() < at_work, "nothing is read"
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLE_S)
            start, began, cpu, machine = place.books.say("look"), time.monotonic(), cpu_s(pids), machine_s()
            await asyncio.sleep(WINDOW_S * max(SCALE, 0.3))
            end, seconds = place.books.say("look"), time.monotonic() - began
            spent, after = cpu_s(pids) - cpu, machine_s()
        finally:
            wanting.cancel()
            await asyncio.gather(wanting, return_exceptions=True)
        for one in place.ones:
            await place.tools.redis.delete(f"connect:{one.connection.sid}:wanted")  # what has begun is read to its end
        await place.idle(place.ones)
    pages = sum(end["queries"]) - sum(start["queries"])
    runs = [record for one in place.ones for record in await one.runs.history() if record.started_at >= since]
    whole = {"state": "done", "read": PAGES * PAGE * len(OBJECTS), "sent": 0, "unchanged": PAGES * PAGE * len(OBJECTS)}
    odd = [record for record in runs if {name: getattr(record, name) for name in whole} != whole]
    return {
        "pages_s": pages / seconds,
        "cpu_ms_a_page": spent / pages * 1000,
        "cores": spent / seconds,
        "machine": (after[0] - machine[0]) / (after[1] - machine[1]),
        "load": os.getloadavg()[0],
        "in_flight": end["in_flight"],
        "throttled": end["throttled"],
        "slots_most": max(end["in_flight_max"]),
        "runs": len(runs),
        "odd": len(odd),
        "calls": sum(record.calls for record in runs),
        "queries": sum(place.books.say("look")["queries"]) - sum(before),
    }


async def workers() -> dict[str, list[dict[str, Any]]]:
    """Each fleet in turns; who comes first changes from round to round."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in FLEETS}
    async with world([PAGES] * CONNECTIONS) as place:
        order = list(FLEETS)
        for _ in range(ROUNDS):
            for name in order:
                found[name].append(await throughput(place, name))
                print(f"    {name}: {_short(found[name][-1])}", file=sys.stderr, flush=True)
            order.append(order.pop(0))
    return found


# -- fairness ----------------------------------------------------------------------------------------------------------


async def due_to_done(place: World, name: str, *, with_large: bool) -> dict[str, Any]:
    """All but the first connection are due at once: the seconds until each is done. The first, the large one, is at work before them."""
    large, *others = place.ones
    with fleet(place.folder, name) as pids:
        await asyncio.sleep(2)  # all are there
        if with_large:
            await place.want([large.connection.name])
            until = time.monotonic() + 60
            while await large.slots.used() < SLOTS:
                assert time.monotonic() < until, "the large connection does not begin"
                await asyncio.sleep(0.05)
            await asyncio.sleep(HEAD_START_S)
        before, due, began, machine, cpu = place.books.say("look"), datetime.now(UTC), time.monotonic(), machine_s(), cpu_s(pids)
        await place.want(one.connection.name for one in others)
        await place.idle(others)
        after, seconds, busy = place.books.say("look"), time.monotonic() - began, machine_s()
        spent = cpu_s(pids) - cpu
        runs = [await place.last(one) for one in others]
        whole = PAGES * PAGE * len(OBJECTS)
        assert all(run.started_at > due and (run.state, run.read) == ("done", whole) for run in runs), runs
        if with_large:
            (running,) = await large.runs.running()  # still: it was at work all the time
            await large.runs.fail(running.run, "the measurement is over", datetime.now(UTC))
            await place.idle([large])
    took = sorted((run.ended_at - due).total_seconds() for run in runs if run.ended_at is not None)
    return {
        "p95_s": took[-(-95 * len(took) // 100) - 1],
        "median_s": statistics.median(took),
        "begun_s": max((run.started_at - due).total_seconds() for run in runs),
        "large_queries_s": (after["queries"][0] - before["queries"][0]) / seconds,
        "in_flight": after["in_flight"],
        "cores": spent / seconds,
        "machine": (busy[0] - machine[0]) / (busy[1] - machine[1]),
        "load": os.getloadavg()[0],
    }


async def fairness(names: Sequence[str] = ("4 x 4", "1 x 4")) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """With the large connection and without it, in turns."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"with": [], "without": []} for name in names}
    async with world([PAGES * LARGE, *[PAGES] * (CONNECTIONS - 1)]) as place:
        for turn in range(PAIRS):
            for name in names:
                for with_large in (True, False) if turn % 2 else (False, True):
                    one = await due_to_done(place, name, with_large=with_large)
                    found[name]["with" if with_large else "without"].append(one)
                    print(f"    {name}, {'with' if with_large else 'without'}: {_short(one)}", file=sys.stderr, flush=True)
    return found


def middle(rounds: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def ratio(these: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], name: str) -> float:
    """Median over the rounds: each is compared with the one that was measured right beside it."""
    return statistics.median(one[name] / other[name] for one, other in zip(these, others, strict=True))


def _short(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in found.items())


if __name__ == "__main__":
    if sys.argv[1:2] == ["books"]:
        asyncio.run(serve_books(orjson.loads(sys.argv[2])))
    elif sys.argv[1:2] == ["worker"]:
        work(int(sys.argv[2]))
    else:
        chosen = sys.argv[1:] or ["workers", "fairness"]
        for part in chosen:
            print(orjson.dumps(asyncio.run({"workers": workers, "fairness": fairness}[part]()), option=orjson.OPT_INDENT_2).decode())
