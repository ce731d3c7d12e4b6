"""Known rows: blocks that settle as a plain dictionary would, whatever came, changed, was refused or went."""

from __future__ import annotations

import random
from array import array
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from connect.state import settle
from connect.state.known import OPEN, BlockInfo, Entry, Index, Known, Label, digest, reference
from connect.state.runs import PageRecord, Runs
from connect.state.settle import Seen, Settlement

NOW = datetime(2026, 11, 25, tzinfo=UTC)
PART = "Supplier"


def label(key):
    return Label(f"V{key}", f"V{key}", f"Name {key}", "")


def test_an_index_finds_blocks_by_bounds_and_by_keys():
    index = Index([BlockInfo(10, 1, 0, 3), BlockInfo(20, 2, 0, 3), BlockInfo(OPEN, 3, 0, 3)])
    assert index.boundaries() == [10, 20]
    assert [index.exact(0, 10), index.exact(10, 20), index.exact(20, None)] == index.blocks
    assert [index.exact(0, 20), index.exact(5, 10), index.exact(10, None), Index().exact(0, None)] == [None] * 4
    assert [info.block for info in index.holding([10, 11, 9, 21])] == [1, 2, 3]
    assert [info.block for info in index.overlapping(11, 20)] == [2]
    assert [info.block for info in index.overlapping(10, 21)] == [1, 2, 3]


def test_a_digest_is_never_zero_and_depends_on_the_version_of_the_mapping():
    assert digest(b"row", 1) == digest(b"row", 1) != digest(b"row", 2)
    assert digest(b"", 0) != 0


async def test_a_block_comes_back_as_it_was_stored(redis):
    known = Known(redis, "sid", "100", PART)
    entries = [
        Entry(5, 2**64 - 1, 7, Label("å", "Å", "ש & <", "x"), (reference("N30"), 0)),
        Entry(2**62, 1, 2, label(9), (1, 2)),
    ]
    await known.store_block(3, entries)
    await known.store_block(4, [])
    assert await known.entries(3) == entries
    assert await known.entries(4) == []
    assert [list(column) for column in await known.references(3)] == [[reference("N30"), 1], [0, 2]]


async def test_an_index_is_replaced_together_with_what_it_drops(redis):
    known = Known(redis, "sid", "100", PART)
    for block in (1, 2):
        await known.store_block(block, [Entry(block, 1, 1, label(block), (1,))])
    await known.replace(Index([BlockInfo(OPEN, 1, 9, 1)], 2))
    await known.replace(Index([BlockInfo(OPEN, 2, 8, 1)], 3), dropped=[1])
    index = await known.index()
    assert (index.blocks, index.next_block, index.rows) == ([BlockInfo(OPEN, 2, 8, 1)], 3, 1)
    assert sorted(await redis.hkeys("connect:sid:known:100:Supplier")) == [b"d2", b"index", b"m2", b"r2"]


async def test_numbers_are_claimed_in_any_quantity_and_handed_over(redis):
    known = Known(redis, "sid", "100", PART)
    rows = [(f"V{n}", n) for n in range(1, 5001)]
    assert await known.claim(rows) == {}
    assert await known.claim([(f"V{n}", n + (n == 4321)) for n in range(1, 5001)]) == {4320: 4321}
    await known.hand_over("V7", 9000)
    assert await known.claim([("V7", 7)]) == {0: 9000}
    await known.release([("V7", 7)])  # not theirs any more
    assert await known.claim([("V7", 7)]) == {0: 9000}
    await known.forget()
    assert await known.claim([("V7", 7)]) == {}


class World:
    """Sage's rows, what is known of them, and the same as a dictionary."""

    def __init__(self, redis, seed):
        self.chance = random.Random(seed)
        self.runs, self.known = Runs(redis, "sid"), Known(redis, "sid", "100", PART)
        self.sage: dict[int, int] = {}  # key -> version of the row
        self.expected: dict[int, tuple[int, int, str]] = {}  # key -> raw, meaning, natural
        self.version = 100

    def change_sage(self):
        chance = self.chance
        for _ in range(chance.choice((0, 3, 30))):
            self.version += 1
            self.sage[chance.randrange(1, 300)] = self.version
        for key in chance.sample(sorted(self.sage), min(len(self.sage), chance.choice((0, 0, 2, 20)))):
            del self.sage[key]

    def pages(self, index):
        """(after, until, keys) as a sweep cuts them: the known ranges, outgrown ones in several pages, or anyhow."""
        bounds = [0, *index.boundaries(), OPEN] if self.chance.random() < 0.7 else [0, *sorted(self.chance.sample(range(1, 300), 6)), OPEN]
        for lowest, high in pairwise(bounds):
            low = lowest
            keys = sorted(key for key in self.sage if low < key <= high)
            while len(keys) > settle.PAGE_SIZE:
                yield low, keys[settle.PAGE_SIZE - 1], keys[: settle.PAGE_SIZE]
                low, keys = keys[settle.PAGE_SIZE - 1], keys[settle.PAGE_SIZE :]
            yield low, high, keys

    def page_digest(self, keys):
        return digest(repr([(key, self.sage[key]) for key in keys]).encode(), 0)

    async def run(self, mode, twice=False):
        runs, chance = self.runs, self.chance
        run = await runs.begin("100", "GetSuppliers", mode=mode, trace="t", parts=[PART], entity="", now=NOW)
        index = await self.known.index()
        settlement = Settlement(self.known, runs, run, PART, joins=1)
        records: dict[str, PageRecord] = {}
        after_run, gone = dict(self.expected), set(self.expected) - set(self.sage)
        for at, (after, until, keys) in enumerate(self.pages(index)):
            if mode == "incremental" and chance.random() < 0.5:
                continue
            exact = index.exact(after, None if until == OPEN else until)
            whole = self.page_digest(keys)
            if mode == "full" and exact and exact.digest == whole:
                records[str(after)] = PageRecord(after, None if until == OPEN else until, exact.block, whole, b"", b"", [], [])
                continue
            raws, accepted, quiet, unwanted = [], [], [], []
            for key in keys:
                version = self.sage[key]
                before = self.expected.get(key)
                if before and before[0] == version:
                    raws.append(version)
                    continue
                fate = chance.choice(("accepted", "accepted", "accepted", "quiet", "refused", "unwanted"))
                if fate == "quiet" and (not before or not before[2]):
                    fate = "accepted"
                if mode == "incremental" and fate == "unwanted":
                    fate = "refused"
                row = (key, version, version * 10, f"V{key}", f"V{key}", f"Name {key}", "", (key % 7,))
                raws.append(version if fate == "unwanted" else 0)
                if fate == "unwanted":
                    unwanted.append(key)
                    after_run[key] = (version, 0, "")
                    if before and before[2]:
                        gone.add(key)
                elif fate == "refused":
                    if before:
                        after_run[key] = (0, 0, before[2])
                elif fate == "quiet":
                    quiet.append((key, version, before[1], *row[3:]))
                    after_run[key] = (version, *before[1:])
                else:
                    accepted.append(row)
                    after_run[key] = (version, version * 10, f"V{key}")
            chunks = []
            for name, rows in ((f"1.{after}.0", accepted), (f"=1.{after}", quiet)):
                if rows:
                    await runs.accept_unsent(run, PART, name, rows)
                    chunks.append(name)
            name = f"t1.{at}" if mode == "incremental" and chance.random() < 0.5 else str(after)
            records[name] = PageRecord(
                after, None if until == OPEN else until, 0, whole if mode == "full" else 0,
                array("q", keys).tobytes(), array("Q", raws).tobytes(), chunks, unwanted,
            )  # fmt: skip
        if mode == "incremental":
            await settlement.updates(records, index, set())
        else:
            seen = Seen.of(records, offset_complete=False)
            assert seen.tiled
            found = await settlement.gone(seen, index)
            assert {row.key for row in found} == gone
            assert await settlement.absent(seen, range(1, 310)) == set(range(1, 310)) - set(self.sage)
            dropped = {key for key in sorted(gone) if chance.random() < 0.7}
            for key in gone:
                if key in dropped and key not in self.sage:
                    after_run.pop(key)
                elif key not in dropped:
                    after_run[key] = (0, *self.expected[key][1:])
            await settlement.full(seen, index, dropped)
            if twice:
                again = await self.known.index()
                await settlement.full(seen, again, dropped)
        self.expected = after_run
        await runs.end(run, NOW)

    async def check(self):
        index = await self.known.index()
        entries = [entry async for entry in self.known.stream(index)]
        found = {entry.key: (entry.raw, entry.meaning, entry.label.natural) for entry in entries}
        assert found == self.expected
        assert [entry.key for entry in entries] == sorted(found)
        low = 0
        for info in index.blocks:
            keys = list((await self.known.block(info.block)).keys)
            assert len(keys) == info.rows <= settle.PAGE_SIZE
            assert all(low < key <= info.until for key in keys)
            if info.digest:  # "this page is known": then nothing of it may be owed
                here = sorted(key for key in self.sage if low < key <= info.until)
                assert info.digest == self.page_digest(here)
                assert keys == here
                assert 0 not in (await self.known.block(info.block)).raws
            low = info.until
        assert not index.blocks or index.blocks[-1].until == OPEN
        named = {f"{kind}{info.block}".encode() for info in index.blocks for kind in "dm"}
        stored = {name for name in await self.known._redis.hkeys(self.known._key) if name[:1] in b"dm"}
        assert stored == named, "blocks that nobody names"


@pytest.mark.parametrize("seed", range(20))
async def test_any_sequence_of_runs_settles_as_a_dictionary_would(redis, seed, monkeypatch):
    monkeypatch.setattr(settle, "PAGE_SIZE", 10)
    world = World(redis, seed)
    for _ in range(12):
        world.change_sage()
        mode = "incremental" if world.chance.random() < 0.3 and world.expected else "full"
        await world.run(mode, twice=world.chance.random() < 0.3)
        if mode == "full":
            await world.check()


async def test_an_unchanged_company_is_known_page_by_page_after_the_second_run(redis, monkeypatch):
    monkeypatch.setattr(settle, "PAGE_SIZE", 10)
    world = World(redis, 1)
    world.sage = {key: key for key in range(1, 96)}
    world.expected = {}
    world.chance.choice = lambda options: options[0]  # everything is accepted
    world.chance.random = lambda: 0.0
    await world.run("full")
    await world.run("full")
    index = await world.known.index()
    assert [info.rows for info in index.blocks] == [10] * 9 + [5]
    assert all(info.digest for info in index.blocks)
