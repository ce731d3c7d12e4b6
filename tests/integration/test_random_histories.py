"""Random histories: rows come, change, go, swap numbers, are refused and mended, also while they are read; workers stop and start between.

After every complete full run Prime equals what Sage says, with gone rows expired, and the run after it sends nothing. Pages and chunks are
small here, so that a few hundred rows make many. `RANDOM_HISTORIES=300 pytest …` runs more seeds.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipeline import COLOURS, REGISTERS, TAGS, THINGS, Pipeline, config_text, pipeline, thing
from redis.asyncio import Redis

from connect import registers
from connect.errors import Transient
from connect.prime.port import RowResult
from connect.sage.query import Query
from connect.sage.sweep import Sweep
from connect.state import settle
from connect.state.runs import RunRecord
from workers import fetchers, outcomes, pages, producers
from workers.jobs import TickJob, enqueue

SEEDS = range(int(os.environ.get("RANDOM_HISTORIES", "5")))
ROUNDS = 6
PAGE_ROWS = 20


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
async def history(request: pytest.FixtureRequest, valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[History]:
    for name, register in REGISTERS.items():
        monkeypatch.setitem(registers.REGISTERS, name, register)
    monkeypatch.setitem(Sweep.__init__.__kwdefaults__, "page_size", PAGE_ROWS)
    monkeypatch.setattr(settle, "PAGE_SIZE", PAGE_ROWS)
    monkeypatch.setattr(pages, "CHUNK_ROWS", 7)
    monkeypatch.setattr(outcomes, "ATTEMPTS", 1)
    monkeypatch.setattr(fetchers, "READ_AT_ONCE", 9)
    monkeypatch.setattr(fetchers, "SMALL_JOIN_ROWS", 2)
    box = pipeline(valkey, config_text(jobs=("GetThings",), full=False))
    yield History(box, random.Random(request.param))
    await box.tools.redis.aclose(close_connection_pool=True)


@dataclass
class History:
    """What happens in Sage and Prime, by chance."""

    box: Pipeline
    chance: random.Random
    refused: set[str] = field(default_factory=set)
    former: set[tuple[str, int]] = field(default_factory=set)  # numbers that rows had before; they stay while the new one is refused
    highest: int = 0

    def __post_init__(self) -> None:
        self.box.sage.text_order = self.chance.random() < 0.2
        self.box.prime.refuses = self.answer
        for key in range(1, 6):
            self.box.sage.put(COLOURS, {"key": key, "name": f"colour {key}"})
        for _ in range(self.chance.choice((0, 5, 90, 250))):
            self.insert()

    @property
    def things(self) -> dict[int, dict[str, Any]]:
        return self.box.sage.objects[THINGS]

    def answer(self, kind: str, _company: str, body: dict[str, Any]) -> RowResult | None:
        if kind == "Thing" and body["number"] in self.refused and not body.get("expired"):
            return RowResult(10, "not this one")
        return None

    def put(self, row: dict[str, Any]) -> None:
        self.box.sage.put(THINGS, row | {"modified": f"{self.box.clock():%Y-%m-%dT%H:%M:%SZ}"})

    def insert(self) -> None:
        self.highest += self.chance.choice((1, 1, 1, 2, 50))
        self.put(thing(self.highest, colour=self.chance.randrange(1, 6)))
        if self.chance.random() < 0.2:
            self.tag(self.highest)

    def tag(self, key: int) -> None:
        at = self.chance.randrange(1, 10_000)
        self.box.sage.put(TAGS, {"key": at, "name": f"tag {at}", "thing.key": str(key)})

    def change(self) -> None:
        """One thing more that happens."""
        if not self.things:
            self.insert()
            return
        chance, key = self.chance, self.chance.choice(list(self.things))
        row = self.things[key]
        match chance.randrange(13):
            case 0 | 1:
                self.insert()
            case 2 | 3:
                self.put(row | {"name": f"Thing {key} as of {chance.randrange(100)}"})
            case 4 | 5:
                del self.things[key]
            case 6:
                self.put(row | {"name": f"{row['name']} " if isinstance(row["name"], str) else "mended"})  # other bytes, the same row
            case 7:
                self.put(row | {"colour.key": str(chance.randrange(1, 7))})  # the last is no colour
            case 8:
                self.box.sage.put(COLOURS, {"key": (colour := chance.randrange(1, 6)), "name": f"colour {colour}.{chance.randrange(9)}"})
            case 9:
                self.tag(key)
                if chance.random() < 0.5:
                    self.box.sage.objects[TAGS].pop(chance.choice(list(self.box.sage.objects[TAGS])))
            case 10:
                self.refused ^= {row["id"]}
            case 11:
                self.put(row | {"name": chance.randrange(9)})  # no text: it cannot be mapped
            case 12:
                numbers = (f"T{key}", f"-{key}", f"N{chance.randrange(5)}", self.things[chance.choice(list(self.things))]["id"])
                self.former.add((row["id"], key))
                self.put(row | {"id": chance.choice(numbers)})

    def expected(self) -> dict[str, list[dict[str, Any]]]:
        """Number -> what Prime may hold under it: one, or several where rows of Sage share the number."""
        colours, tags = self.box.sage.objects[COLOURS], self.box.sage.objects[TAGS].values()
        found: dict[str, list[dict[str, Any]]] = {}
        for key, row in self.things.items():
            if row["id"].startswith("-") or not isinstance(row["name"], str):
                continue
            colour = colours.get(int(row["colour.key"]))
            body = {
                "number": row["id"],
                "name": row["name"].strip(),
                "colour": colour["name"] if colour else None,
                "tags": sorted(tag["name"] for tag in tags if tag["thing.key"] == str(key)),
            }
            found.setdefault(row["id"], []).append(body)
        return found

    def poisoned(self) -> set[str]:
        return {row["id"] for row in self.things.values() if not isinstance(row["name"], str)}

    async def undisturbed(self) -> RunRecord:
        """A full run, after which Prime must be what Sage says; then another one, which is returned."""
        self.box.sage.before_answer = None
        self.box.prime.errors = []
        run = await self.box.sync(full=True, expire=True)
        assert run.state == "done", run.reason
        assert run.read == len(self.things)
        expected, found, letters = self.expected(), self.box.prime.things(), set(await self.box.letters())
        poisoned = self.poisoned()
        for number, bodies in expected.items():
            assert found.get(number) in bodies or number in letters & (self.refused | poisoned), number
        for number, body in found.items():
            waits = any(was == number and key in self.things and self.things[key]["id"] in letters for was, key in self.former)
            if number not in expected and number not in poisoned and not waits:
                assert body.get("expired") is True, number
        twins = {
            number for number, times in Counter(row["id"] for row in self.things.values() if row["id"] in expected).items() if times > 1
        }
        assert poisoned | twins <= letters <= poisoned | twins | self.refused & expected.keys()
        self.box.prime.written.clear()
        return await self.box.sync(full=True)

    async def disturbed(self) -> None:
        """A run while Sage changes and workers are stopped."""

        async def disturb(_: Query) -> None:
            if self.chance.random() < 0.3:
                self.change()

        if self.chance.random() < 0.4:  # Prime is away for a while, and what meets it there fails for good
            self.box.prime.errors = [Transient("away", system="prime") for _ in range(self.chance.randrange(1, 5))]
        self.box.sage.before_answer = disturb
        self.box.sage.latency_s = 0.002
        await producers.want(self.box.tools, full=self.chance.random() < 0.5, expire=True)
        for _ in range(self.chance.randrange(4)):
            async with self.box.running():
                await asyncio.sleep(0.05 * self.chance.random())
        async with self.box.running():
            waking = asyncio.create_task(self.wake_up())
            await self.box.idle()
            waking.cancel()
        self.box.sage.latency_s = 0.0

    async def wake_up(self) -> None:
        """The cron's ticks: what a stopped worker left undone is found by them."""
        while True:
            self.box.clock.advance(seconds=70)
            await enqueue(self.box.tools.redis, [TickJob(trace=f"{self.chance.random()}")])
            await asyncio.sleep(0.1)


async def test_after_every_full_run_prime_is_what_sage_says(history: History) -> None:
    for _ in range(ROUNDS):
        for _ in range(history.chance.choice((0, 1, 5, 40))):
            history.change()
        history.box.clock.advance(hours=history.chance.choice((1, 24, 24 * 9)))
        if history.chance.random() < 0.6:
            await history.disturbed()
        again = await history.undisturbed()
        assert (again.state, again.sent, again.expired, history.box.prime.numbers()) == ("done", 0, 0, []), "nothing was left to do"
