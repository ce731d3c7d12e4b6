"""What counting and being scraped cost: GetSuppliers through the pipeline with and without it, in turns, as a ratio of CPU.

`python tests/bench/metrics_cost.py JSON` is one passage in a process of its own (JSON: {"config": …, "counts": true}). Without: nothing is
counted in the process, runs keep no totals, nobody scrapes. With: as it is, and scraped every two seconds, more often than usual.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from measure import passage
from prometheus_client.exposition import generate_latest
from world import SECRETS

from connect.config import load_config
from connect.registers import REGISTERS
from connect.state import runs
from connect.state.metrics import Metrics
from workers.logs import configure
from workers.metrics import measure
from workers.settings import open_tools

PAIRS = 15
MOST = 1.03
SCRAPE_EVERY_S = 2.0
_TOTALS = (
    ("_COMMIT_PAGE", "ipairs({KEYS[1], KEYS[6], KEYS[7]})", "ipairs({KEYS[1]})"),
    ("_ACKNOWLEDGE", "ipairs({KEYS[1], KEYS[8], KEYS[9]})", "ipairs({KEYS[1]})"),
)


def silence() -> None:
    """A Connect that counts nothing."""
    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    setattr(Metrics, "count", nothing)  # noqa: B010
    setattr(Metrics, "observe", nothing)  # noqa: B010
    for name, with_totals, without in _TOTALS:
        script = getattr(runs, name)
        assert with_totals in script, name
        setattr(runs, name, script.replace(with_totals, without))


async def one(spec: dict[str, Any]) -> dict[str, Any]:
    if not spec["counts"]:
        silence()
        return await passage(spec)
    async with open_tools(load_config(spec["config"], jobs=REGISTERS)) as tools:
        sizes: list[int] = []

        async def scrape() -> None:
            while True:
                sizes.append(len(generate_latest(await measure(tools))))
                await asyncio.sleep(SCRAPE_EVERY_S)

        scraping = asyncio.create_task(scrape())
        try:
            found = await passage(spec)
        finally:
            scraping.cancel()
        assert min(sizes) > 1000
        return found | {"scrapes": len(sizes)}


def cost(measure_one: Callable[[bool], dict[str, Any]], pairs: int = PAIRS) -> list[float]:
    """Ratios of CPU, Redis' included, of so many pairs; who comes first changes from pair to pair."""
    ratios = []
    for pair in range(pairs):
        found = {counts: measure_one(counts) for counts in ((True, False) if pair % 2 else (False, True))}
        assert found[True]["written"] == found[False]["written"] > 0
        spent = {counts: figures["cpu_s"] + figures["redis_cpu_s"] for counts, figures in found.items()}
        ratios.append(spent[True] / spent[False])
    return ratios


def in_a_process(where: tuple[Path, str], *, counts: bool) -> dict[str, Any]:
    path, url = where
    done = subprocess.run(
        [sys.executable, __file__, orjson.dumps({"config": str(path), "transport": "rest", "counts": counts}).decode()],
        env=os.environ | SECRETS | {"BENCH_REDIS_URL": url},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        raise SystemExit("measuring what metrics cost failed")
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return found


def note(ratios: list[float]) -> str:
    low, *_, high = sorted(ratios)
    return f"median of {len(ratios)} pairs, {low:.3f} to {high:.3f}; mean {statistics.fmean(ratios):.3f}"


if __name__ == "__main__":
    asked = orjson.loads(sys.argv[1])
    configure("json", "info")  # as workers log
    sys.stdout.write(orjson.dumps(asyncio.run(one(asked))).decode() + "\n")
