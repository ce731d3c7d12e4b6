"""What is known after a run equals what Prime was given, whatever the pages looked like."""

import asyncio
from array import array
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from connect.errors import Poison
from connect.state.known import OPEN, PAGE_SIZE, Entry, Index, Known, Label
from connect.state.runs import PageRecord, Runs
from connect.state.settle import Seen, Settlement

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PART = "Supplier"


@pytest.fixture
async def part(redis):
    runs, known = Runs(redis, "sid"), Known(redis, "sid", "100", PART)
    run = await begin(runs)
    return runs, known, run


async def begin(runs):
    run = await runs.begin("100", "GetSuppliers", mode="full", trace="t", parts=[PART], entity="", now=NOW)
    assert run
    return run


def page(after, until, rows, chunks=(), unwanted=(), digest=0):
    """`rows`: (key, raw); raw 0 = sent or refused."""
    return PageRecord(
        after,
        until,
        0,
        digest,
        array("q", [key for key, _ in rows]).tobytes(),
        array("Q", [raw for _, raw in rows]).tobytes(),
        list(chunks),
        list(unwanted),
    )


def sent(key, raw=7):
    return (key, raw, key * 10, f"V{key}", f"V{key}", f"Name {key}", "", ())


async def all_entries(known):
    index = await known.index()
    return [entry async for entry in known.stream(index)]


async def accept(runs, run, chunk, keys):
    await runs.accept_unsent(run, PART, chunk, [sent(key) for key in keys])


async def settle(runs, known, run, pages, dropped=frozenset()):
    seen = Seen.of({str(record.after): record for record in pages}, offset_complete=False)
    await Settlement(known, runs, run, PART, joins=0).full(seen, await known.index(), set(dropped))
    return seen


async def test_a_first_import_is_known_by_the_pages_it_was_read_in(part):
    runs, known, run = part
    keys = list(range(1, 2 * PAGE_SIZE + 1))
    await accept(runs, run, "a", keys[:PAGE_SIZE])
    await accept(runs, run, "b", keys[PAGE_SIZE:])
    pages = [
        page(0, PAGE_SIZE, [(k, 0) for k in keys[:PAGE_SIZE]], ["a"], digest=8),
        page(PAGE_SIZE, PAGE_SIZE + 5, [(k, 0) for k in keys[PAGE_SIZE : PAGE_SIZE + 5]], ["b"], digest=9),
        page(PAGE_SIZE + 5, 3 * PAGE_SIZE, [(k, 0) for k in keys[PAGE_SIZE + 5 :]], ["b"]),
        page(3 * PAGE_SIZE, None, [], digest=10),
    ]
    seen = await settle(runs, known, run, pages)
    index = await known.index()
    assert seen.tiled
    assert [(info.rows, info.digest) for info in index.blocks] == [(PAGE_SIZE, 8), (5, 9), (PAGE_SIZE - 5, 0)]
    assert index.boundaries() == [PAGE_SIZE, PAGE_SIZE + 5]
    assert index.blocks[-1].until == OPEN
    assert [entry.key for entry in await all_entries(known)] == keys


async def test_too_many_partial_pages_are_cut_into_blocks_of_exactly_one_page(part):
    runs, known, run = part
    keys = list(range(1, PAGE_SIZE + 11))
    await accept(runs, run, "a", keys)
    edges = [0, 1, 2, 3, 4, None]
    pages = [page(low, high, [(k, 0) for k in keys if low < k <= (high or OPEN)], ["a"], digest=9) for low, high in pairwise(edges)]
    await settle(runs, known, run, pages)
    index = await known.index()
    assert [(info.rows, info.until, info.digest) for info in index.blocks] == [(PAGE_SIZE, PAGE_SIZE, 0), (10, OPEN, 0)]
    assert [entry.key for entry in await all_entries(known)] == keys


async def test_a_page_with_a_refused_row_is_looked_at_row_by_row_next_time(part):
    runs, known, run = part
    await accept(runs, run, "a", [1, 2])
    await settle(runs, known, run, [page(0, None, [(1, 0), (2, 0), (3, 0)], ["a"], digest=9)])
    assert [info.digest for info in (await known.index()).blocks] == [0]


async def test_a_refused_new_row_is_not_known_and_a_refused_known_row_is_looked_at_again(part):
    runs, known, run = part
    await accept(runs, run, "a", [1, 2])
    await settle(runs, known, run, [page(0, None, [(1, 0), (2, 0), (3, 0)], ["a"])])
    assert [(e.key, e.raw) for e in await all_entries(known)] == [(1, 7), (2, 7)]
    await runs.end(run, NOW)
    run = await begin(runs)
    await settle(runs, known, run, [page(0, None, [(1, 7), (2, 0), (3, 0)])])
    assert [(e.key, e.raw, e.meaning) for e in await all_entries(known)] == [(1, 7, 10), (2, 0, 0)]


async def test_gone_rows_are_found_and_forgotten_only_once_they_are_expired(part):
    runs, known, run = part
    keys = list(range(1, PAGE_SIZE + 51))
    await accept(runs, run, "a", keys)
    await settle(runs, known, run, [page(0, None, [(k, 0) for k in keys], ["a"])])
    await runs.end(run, NOW)
    run = await begin(runs)
    index = await known.index()
    left = [k for k in keys if k not in (5, PAGE_SIZE + 3)]
    pages = [page(0, PAGE_SIZE, [(k, 7) for k in left if k <= PAGE_SIZE]), page(PAGE_SIZE, None, [(k, 7) for k in left if k > PAGE_SIZE])]
    seen = Seen.of({str(p.after): p for p in pages}, offset_complete=False)
    settlement = Settlement(known, runs, run, PART, joins=0)
    gone = await settlement.gone(seen, index)
    assert [(row.key, row.label.number) for row in gone] == [(5, "V5"), (PAGE_SIZE + 3, f"V{PAGE_SIZE + 3}")]
    await settlement.full(seen, index, {5})
    after = {entry.key: entry.raw for entry in await all_entries(known)}
    assert 5 not in after
    assert after[PAGE_SIZE + 3] == 0
    assert len(after) == len(keys) - 1


async def test_new_rows_at_the_end_open_a_block_and_a_page_read_again_the_same_is_known_as_a_page(part):
    runs, known, run = part
    keys = list(range(1, PAGE_SIZE + 1))
    await accept(runs, run, "a", keys)
    await settle(runs, known, run, [page(0, None, [(k, 0) for k in keys], ["a"])])
    await runs.end(run, NOW)
    run = await begin(runs)
    await settle(runs, known, run, [page(0, None, [(k, 7) for k in keys], digest=99)])
    assert (await known.index()).blocks[0].digest == 99
    await runs.end(run, NOW)
    run = await begin(runs)
    await accept(runs, run, "b", [PAGE_SIZE + 1])
    await settle(runs, known, run, [page(0, None, [*((k, 7) for k in keys), (PAGE_SIZE + 1, 0)], ["b"])])
    assert [info.rows for info in (await known.index()).blocks] == [PAGE_SIZE, 1]


async def test_an_incremental_run_puts_its_rows_in_their_places(part):
    runs, known, run = part
    keys = list(range(2, 3 * PAGE_SIZE, 2))
    await accept(runs, run, "a", keys)
    await settle(runs, known, run, [page(0, None, [(k, 0) for k in keys], ["a"])])
    await runs.end(run, NOW)
    run = await begin(runs)
    await runs.accept_unsent(run, PART, "b", [sent(5, raw=8), sent(100, raw=9), sent(9 * PAGE_SIZE, raw=9)])
    pages = {"0": page(0, None, [(5, 0), (100, 0), (200, 0), (9 * PAGE_SIZE, 0)], ["b"])}
    await Settlement(known, runs, run, PART, joins=0).updates(pages, await known.index(), set())
    after = {entry.key: entry.raw for entry in await all_entries(known)}
    assert sorted(after) == sorted({*keys, 5, 9 * PAGE_SIZE})
    assert (after[5], after[100], after[200], after[9 * PAGE_SIZE], after[202]) == (8, 9, 0, 9, 7)


async def test_offset_pages_settle_like_range_pages(part):
    runs, known, run = part
    await accept(runs, run, "a", [3, 1])
    await accept(runs, run, "b", [20, 4])
    pages = {"o1": page(0, None, [(3, 0), (1, 0)], ["a"]), "o2": page(0, None, [(20, 0), (4, 0)], ["b"])}
    seen = Seen.of(pages, offset_complete=True)
    await Settlement(known, runs, run, PART, joins=0).full(seen, await known.index(), set())
    assert seen.tiled
    assert [entry.key for entry in await all_entries(known)] == [1, 3, 4, 20]
    assert not Seen.of(pages, offset_complete=False).tiled


async def test_a_hole_between_pages_means_nothing_is_called_gone():
    pages = {"0": page(0, 10, []), "20": page(20, None, [])}
    assert not Seen.of(pages, offset_complete=True).tiled


async def test_a_natural_key_belongs_to_the_first_row_that_claims_it(redis):
    known = Known(redis, "sid", "100", PART)
    assert await known.claim([("A", 1), ("B", 2), ("A", 3)]) == {2: 1}
    assert await known.claim([("A", 1), ("B", 9)]) == {1: 2}
    await known.release([("B", 7), ("A", 1)])
    assert await known.claim([("A", 3), ("B", 9)]) == {1: 2}


async def test_blocks_that_no_index_names_are_dropped(redis):
    known = Known(redis, "sid", "100", PART)
    await known.store_block(5, [Entry(1, 1, 1, Label("a", "a", "a", ""), ())])
    await known.sweep_leftovers(Index())
    assert await redis.hkeys("connect:sid:known:100:Supplier") == []


async def several(part, page_rows=3):
    """A known part of some pages, and what a second run saw: one page has changed."""
    runs, known, run = part
    await accept(runs, run, "c", range(1, 3 * page_rows + 1))
    ranges = list(pairwise([0, page_rows, 2 * page_rows, OPEN]))
    rows = {low: [(key, 7) for key in range(low + 1, low + page_rows + 1)] for low, _ in ranges}
    pages = [page(low, None if high == OPEN else high, rows[low], ["c"]) for low, high in ranges]
    await settle(runs, known, run, pages)
    changed = [page(low, None if high == OPEN else high, [(key, 9) for key, _ in rows[low]], ["c"]) for low, high in ranges]
    seen = Seen.of({str(record.after): record for record in changed}, offset_complete=False)
    return runs, known, run, seen


async def all_there(known, redis):
    """Every block that the index names is there, and no other once leftovers are cleared away."""
    index = await known.index()
    await known.sweep_leftovers(index)
    fields = {field.decode() for field in await redis.hkeys("connect:sid:known:100:Supplier") if field.startswith(b"d")}
    return fields == {f"d{info.block}" for info in index.blocks}


@pytest.mark.parametrize("page_size", [4000, 4])
async def test_of_two_who_settle_a_run_at_once_one_does_it_and_nothing_is_torn(part, redis, monkeypatch, page_size):
    runs, known, run, seen = await several(part)
    monkeypatch.setattr("connect.state.settle.PAGE_SIZE", page_size)  # 4: its pages are cut anew at the end
    monkeypatch.setattr("connect.state.settle.SPARE_BLOCKS", -1 if page_size == 4 else 2)
    index = await known.index()
    both = [Settlement(known, runs, run, PART, joins=0).full(seen, await known.index(), set()) for _ in range(2)]
    ends = await asyncio.gather(*both, return_exceptions=True)
    late = await asyncio.gather(Settlement(known, runs, run, PART, joins=0).full(seen, index, set()), return_exceptions=True)
    errors = [end for end in [*ends, *late] if isinstance(end, BaseException)]
    assert [(type(error), error.code) for error in errors] == [(Poison, "fenced")] * 2
    assert [entry.key for entry in await all_entries(known)] == list(range(1, 10))
    assert await all_there(known, redis)


async def test_blocks_that_were_cleared_away_before_they_are_named_are_never_named(part, redis):
    runs, known, run, seen = await several(part)
    before = await known.index()
    store = known.store_block

    async def cleared(block, entries):
        await store(block, entries)
        await known.sweep_leftovers(before)  # the next run of the job begins: this one has failed

    known.store_block = cleared
    with pytest.raises(Poison, match="replaced meanwhile"):
        await Settlement(known, runs, run, PART, joins=0).full(seen, before, set())
    assert (await known.index()).blocks == before.blocks
    assert await all_there(known, redis)


async def test_who_looks_while_another_settles_calls_nothing_gone_that_is_there(part):
    runs, known, run, seen = await several(part)
    stale = await known.index()
    first = Settlement(known, runs, run, PART, joins=0)
    await first.full(seen, stale, set())
    late = Settlement(known, runs, run, PART, joins=0)
    assert await late.gone(seen, stale) == []
    same = Seen.of({"0": PageRecord(0, None, stale.blocks[0].block, 0, b"", b"", [], [])}, offset_complete=False)
    assert await late.absent(same, {1, 2}) == set()
