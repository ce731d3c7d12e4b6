"""`make bench`: the figures, as ratios within one run, as a table and in .connect/bench.json.

A *floor* is what reading a row costs at least: aiohttp reads the same pages and orjson decodes them, 6 at once, nothing kept. CPU is
marginal: what the rows between the small and the larger company cost, so that start-up counts for nothing. Every measurement runs in a
process of its own (measure.py) against simulators in another (books.py) and a Valkey of its own.

BENCH_SCALE=0.1 makes everything a tenth of the size, for a look at whether it works; figures of record are at scale 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Self

import approved
import console_load
import metrics_cost
import orjson
import scaling
from rich.console import Console
from rich.table import Table
from world import SECRETS, Connect, Workers, config_text, vendors

from connect.state.embedded import attached

HERE = Path(__file__).resolve().parent
SCALE = float(os.environ.get("BENCH_SCALE", "1"))
PAGE = 4000
SMALL, LARGE = int(20_000 * SCALE) // PAGE * PAGE or PAGE, int(200_000 * SCALE) // PAGE * PAGE or 2 * PAGE
WIDE, WIDEST = int(800_000 * SCALE) // PAGE * PAGE, int(1_000_000 * SCALE) // PAGE * PAGE
LATENCY_MS, SLOTS = 500, 6
OUT = Path(".connect") / "bench.json"


class Books:
    """Simulators with so many vendors."""

    def __init__(self, count: int, **latency_ms: float) -> None:
        self.count = count
        options = [word for name, value in latency_ms.items() for word in (f"--{name}-latency-ms", str(value))]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "books.py"), "--vendors", str(count), *options], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.ready: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        self.sage, self.prime = self.ready["sage"], self.ready["prime"]
        self.base = self.sage["base_url"].split("/ia/")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def call(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(self.base + path, data=None if body is None else orjson.dumps(body))
        with urllib.request.urlopen(request, timeout=600) as answer:
            return orjson.loads(answer.read())

    def load(self, sage_object: str, records: list[dict[str, Any]]) -> None:
        answer = self.call("/_sandbox/sage/load", {"object": sage_object, "mode": "insert", "records": records})
        assert not answer["errors"], answer["errors"][:3]

    def upsert(self, records: list[dict[str, Any]]) -> None:
        for start in range(0, len(records), 10_000):
            body = {"object": "accounts-payable/vendor", "mode": "upsert", "records": records[start : start + 10_000]}
            answer = self.call("/_sandbox/sage/load", body)
            assert not answer["errors"], answer["errors"][:3]

    def latency(self, ms: float) -> None:
        rules = [{"where": "sage:POST /services/core/query", "kind": "latency", "params": {"ms": ms}}] if ms else []
        self.call("/_sandbox/faults", {"rules": rules})


@contextlib.contextmanager
def place(
    books: Books, *, transport: str = "rest", slots: int = SLOTS, jobs: tuple[str, ...] = ("GetSuppliers",), **more: Any
) -> Iterator[tuple[Path, str]]:
    """A folder with a configuration and a Valkey of its own."""
    with tempfile.TemporaryDirectory(prefix="connect-bench-") as folder, attached(Path(folder) / "redis") as url:
        path = Path(folder) / "connect.toml"
        path.write_text(config_text(books, transport=transport, slots=slots, jobs=jobs, redis_url=url, **more))  # type: ignore[arg-type]
        yield path, url


def measure(what: str, where: tuple[Path, str], **spec: Any) -> dict[str, Any]:
    path, url = where
    document = {"what": what, "config": str(path), **spec}
    done = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), orjson.dumps(document).decode()],
        env=os.environ | SECRETS | {"BENCH_REDIS_URL": url},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        raise SystemExit(f"measuring {what} failed")
    figures: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return figures


@dataclass
class Figures:
    """What was measured, as lines of the table."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: float, most: float | None = None, *, least: float | None = None, note: str = "") -> None:
        good = (most is None or value <= most) and (least is None or value >= least)
        bound = f"≤ {most:g}" if most is not None else f"≥ {least:g}" if least is not None else ""
        self.lines.append({"figure": name, "value": round(value, 3), "bound": bound, "met": good, "note": note})
        print(f"  {name}: {value:.3f} {bound} {'' if good else '  MISSED'}", file=sys.stderr, flush=True)


def cpu_of_a_row(small: dict[str, Any], large: dict[str, Any], *names: str) -> float:
    """Marginal CPU in microseconds."""
    spent = sum(large[name] - small[name] for name in names)
    return float(spent / (large["rows"] - small["rows"]) * 1e6)


def cpu(figures: Figures) -> None:
    """Floors, first imports and unchanged re-reads at two sizes."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for count in (SMALL, LARGE):
        with Books(count) as books:
            for transport in ("rest", "soap"):
                with place(books, transport=transport) as where:
                    if transport == "rest":
                        found.setdefault("floor", {})[count] = measure("floor", where, rows=count)
                    found.setdefault(f"first {transport}", {})[count] = measure("passage", where, transport=transport)
                    found.setdefault(f"again {transport}", {})[count] = measure("passage", where, transport=transport)
                    again = found[f"again {transport}"][count]
                    assert (again["written"], again["unchanged"]) == (0, count), again
                    assert found[f"first {transport}"][count]["written"] == count
                    if transport == "rest":  # the control: rows changed on purpose are found, exactly
                        changed = count // 1000
                        change(books, changed)
                        control = measure("passage", where, transport=transport)
                        assert (control["written"], control["sent"]) == (changed, changed), control
                        figures.raw[f"control {count}"] = control
    figures.raw["cpu"] = found
    floor = cpu_of_a_row(*found["floor"].values(), "cpu_s")
    figures.add("floor: µs of CPU a row", floor, note=f"{found['floor'][SMALL]['fields']} fields")
    for transport, most in (("rest", 7.0), ("soap", 9.0)):
        first = cpu_of_a_row(*found[f"first {transport}"].values(), "cpu_s", "redis_cpu_s")
        figures.add(f"first import over {transport}: CPU in floors (Redis counted)", first / floor, most)
    for transport in ("rest", "soap"):
        again = cpu_of_a_row(*found[f"again {transport}"].values(), "cpu_s", "redis_cpu_s")
        figures.add(f"unchanged re-read ({transport}): CPU in floors (Redis counted)", again / floor, 1.0)


def change(books: Books, count: int) -> None:
    """Rename vendors at even distances."""
    everybody = (record for batch in vendors(books.count) for record in batch)
    chosen = islice(everybody, 0, None, books.count // count)
    books.upsert([{"key": record["key"], "id": record["id"], "name": f"{record['name']} *"} for record in islice(chosen, count)])


def walls(figures: Figures) -> None:
    """A wide register over a slow line, and memory."""
    pages = WIDE // PAGE
    ideal_s = pages * LATENCY_MS / 1000 / SLOTS
    with Books(WIDE) as books:
        with place(books) as where:
            measure("sweep", where)  # the sandbox encodes its pages once: now
            books.latency(LATENCY_MS)
            first = measure("sweep", where)
            assert first["rows"] == WIDE, first
            assert first["complete"], first
            figures.add(f"first read of {pages} pages: wall / ideal", first["wall_s"] / ideal_s, 1.15)
            figures.add("first read: calls beyond pages", first["calls"] - pages, 12)
        with place(books, slots=1) as where:
            alone = measure("sweep", where)
            figures.add("6 slots against 1: times faster", alone["wall_s"] / first["wall_s"], least=5.0)
        with place(books) as where:
            books.latency(0)
            import_ = measure("passage", where, transport="rest")
            measure("passage", where, transport="rest")  # the sandbox encodes these very pages once: now
            books.latency(LATENCY_MS)
            again = measure("passage", where, transport="rest")
            figures.add("unchanged re-read: wall / ideal", again["wall_s"] / ideal_s, 1.10)
            figures.add("unchanged re-read: calls beyond pages", again["calls"] - joined_calls(again) - pages, 2)
            figures.add("unchanged re-read: rows written", again["written"], 0)
            changed = WIDE // 1000
            change(books, changed)
            control = measure("passage", where, transport="rest")
            figures.add(f"control: {changed} rows changed on purpose, found", control["written"], changed, least=changed)
            figures.raw |= {"sweep": first, "sweep alone": alone, "wide import": import_, "wide again": again, "wide control": control}
    with Books(WIDEST) as books, place(books) as where:
        widest = measure("passage", where, transport="rest")
    small = figures.raw["cpu"]["first rest"][SMALL]
    figures.raw["widest"] = widest
    figures.add(f"peak memory at {WIDEST:,} rows / at {SMALL:,}", widest["peak_mib"] / small["peak_mib"], 1.2)
    figures.add(f"peak memory at {WIDEST:,} rows, MiB", widest["peak_mib"], 250)


def joined_calls(run: dict[str, Any]) -> int:
    """A supplier's terms and bank accounts are a call each (none are loaded, so one page each)."""
    return 2 if run["calls"] >= 2 else 0


def writers(figures: Figures) -> None:
    """SOAP, one call a row, 50 ms each: one write worker against two."""
    rows = max(int(6000 * SCALE), 1000)
    walls_s = {}
    with Books(rows, prime=50) as books:
        for count in (1, 2):
            with place(books, transport="soap") as (path, _):
                connect = Connect(path.parent, path.read_text())
                with Workers(connect, "schedule", "fetch", *["write"] * count):
                    time.sleep(3)  # all are there
                    run = connect.json("sync", "--wait", "--full", "--resend")["runs"][-1]  # the first starts by itself: it never ran
                    assert run["sent"] == rows, run
                    walls_s[count] = run["duration_s"]
    figures.raw["writers"] = walls_s
    figures.add(
        "SOAP: 2 write workers against 1, times faster", walls_s[1] / walls_s[2], least=1.9, note=f"{rows / walls_s[1]:.0f} rows/s with one"
    )


def urgent(figures: Figures) -> None:
    """One invoice, from its listing in Prime to its receipt: while a sweep of 200 pages has all slots of its company, and without one.

    In turns: as many invoices as fit into a sweep, then as many without one. Only those count that a sweep outlived. The control says
    whether the slots were used.
    """
    rows = max(WIDE, 100 * PAGE)  # an invoice fits into a sweep also at a small scale
    with Books(rows, sage=LATENCY_MS) as books, place(books, jobs=("GetSuppliers", "ExportInvoices"), general=approved.GENERAL) as where:
        approved.fill(books)  # type: ignore[arg-type]
        connect = Connect(where[0].parent, where[0].read_text())
        measure("passage", where, transport="rest")  # all rows are known then, and the simulator has its pages
        with Workers(connect, "schedule", "fetch", "write", "post") as workers:
            found = measure("urgent", where, base=books.base, invoices=max(int(40 * SCALE), 6))
            workers.check_alive()
        stats = books.call("/_sandbox/stats")["sage"]
    figures.raw["urgent"] = found
    busy, idle = found["busy"], found["idle"]
    figures.add("urgent invoice during a sweep / idle: listing to receipt, p95", p95(busy) / p95(idle), 2.0, note=f"idle {p95(idle):.1f} s")
    figures.add("urgent invoice during a sweep / idle: median", median(busy) / median(idle))
    figures.add("control: invoices booked while a sweep was running", len(busy), least=max(int(40 * SCALE), 6))
    figures.add("control: slots used meanwhile, share of all", found["slots_used"], least=0.9)
    figures.add("control: slots used on the idle system", found["slots_used_idle"], 0.5)
    figures.add("control: pages a sweep", found["pages"], least=rows // PAGE)
    figures.add("requests at once in Sage", stats["in_flight_max"], SLOTS, note=f"throttled {stats['throttled']}")


def p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def queue(figures: Figures) -> None:
    with Books(PAGE) as books, place(books) as where:
        found = measure("start", where)
    figures.raw["start"] = found
    figures.add("a job starts after, p95 ms", found["p95_ms"], 100)
    figures.add("Redis commands a job", found["commands_a_job"])
    figures.add("Redis commands a second of an idle worker", found["idle_commands_s"])


def metrics(figures: Figures) -> None:
    """What counting and being scraped costs."""
    rows = int(60_000 * SCALE) // PAGE * PAGE or PAGE
    with Books(rows) as books:

        def measure_one(counts: bool) -> dict[str, Any]:
            with place(books) as where:
                return metrics_cost.in_a_process(where, counts=counts)

        measure_one(False)  # the sandbox encodes its pages once: now
        ratios = metrics_cost.cost(measure_one)
    figures.raw["metrics"] = ratios
    figures.add("CPU a row with metrics / without", statistics.median(ratios), metrics_cost.MOST, note=metrics_cost.note(ratios))


def console(figures: Figures) -> None:
    """Every page and list of the console over very much, and live updates."""
    found = asyncio.run(console_load.measure())
    figures.raw["console"] = found
    path, slowest = max(found["pages"].items(), key=lambda item: item[1]["p95_ms"])
    size = f"{console_load.JOBS:,} jobs, {console_load.LETTERS:,} letters, {console_load.CONNECTIONS} connections"
    figures.add("console: p95 of the slowest page or list, ms", slowest["p95_ms"], console_load.MOST_MS, note=f"{path}; {size}")
    path, dearest = max(found["pages"].items(), key=lambda item: item[1]["cpu_ms"])
    figures.add("console: CPU of the dearest page or list, ms", dearest["cpu_ms"], console_load.MOST_MS, note=path)
    figures.add("console: pages and lists measured", len(found["pages"]), least=40)
    figures.add("console: peak memory, MiB", found["peak_mib"], console_load.MOST_MIB)
    live = found["live"]
    figures.add(f"console: the last of {console_load.WATCHERS} open pages hears of a change after, p95 s", live["last_hears_p95_s"], 3)
    figures.add("console: CPU of an open page that fetches itself anew, ms", live["refresh_cpu_ms"], console_load.MOST_MS)


def many(figures: Figures) -> None:
    """Many connections: what more workers and more places bring, and whether a large connection holds up the others."""
    found = asyncio.run(scaling.workers())
    figures.raw["workers"] = found
    one, four, wide = (found[name] for name in scaling.FLEETS)
    load = f"machine {scaling.middle(four, 'machine'):.0%} busy, by these workers {scaling.middle(four, 'cores') / scaling.CORES:.0%}"
    times = f"median of {len(one)} rounds, {scaling.middle(one, 'pages_s'):.0f} pages/s with one"
    figures.add("4 fetch workers of 4 places against 1: times the pages", scaling.ratio(four, one, "pages_s"), least=3.5, note=times)
    figures.add("CPU a page with 4 fetch workers / with 1", scaling.ratio(four, one, "cpu_ms_a_page"), 1.15, note=load)
    figures.add("1 fetch worker of 16 places against 4: times the pages", scaling.ratio(wide, one, "pages_s"), least=3.0)
    for name, rounds in found.items():
        workers, places = scaling.FLEETS[name]
        most = workers * places * scaling.SLOTS
        share = scaling.middle(rounds, "in_flight") / most
        figures.add(f"control: {name} places, requests in flight of {most} possible, share", share, 1.0, least=0.8)
    every = [one for rounds in found.values() for one in rounds]
    figures.add(
        "control: runs that were not read whole", sum(one["odd"] for one in every), 0, note=f"of {sum(one['runs'] for one in every)}"
    )
    figures.add("control: queries that no run counts", sum(abs(one["queries"] - one["calls"]) for one in every), 0)
    figures.add("control: calls that Sage throttled", max(one["throttled"] for one in every), 0)
    fair = asyncio.run(scaling.fairness())
    figures.raw["fairness"] = fair
    for name, pairs in fair.items():
        large, alone = pairs["with"], pairs["without"]
        note = f"{scaling.middle(alone, 'p95_s'):.1f} s without"
        figures.add(f"{name} places, one of 20 connections 50 times larger: p95", scaling.ratio(large, alone, "p95_s"), 1.3, note=note)
        figures.add(
            f"control: {name} places, the large one's pages a second meanwhile", min(one["large_queries_s"] for one in large), least=2
        )


def main() -> int:
    figures, started = Figures(), time.monotonic()
    for part in (queue, cpu, writers, urgent, metrics, many, console, walls):
        print(f"{part.__name__} …", file=sys.stderr, flush=True)
        part(figures)
    drawn = Table(title="Connect: figures of one run", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("figure", "value", "bound", "", "note"):
        drawn.add_column(column, justify="right" if column in ("value", "bound") else "left")
    for line in figures.lines:
        drawn.add_row(line["figure"], f"{line['value']:g}", line["bound"], "" if line["met"] else "missed", line["note"])
    Console(width=150).print(drawn)
    OUT.parent.mkdir(exist_ok=True)
    document = {"scale": SCALE, "seconds": round(time.monotonic() - started, 1), "figures": figures.lines, "measured": figures.raw}
    OUT.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    print(f"written to {OUT} after {document['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
