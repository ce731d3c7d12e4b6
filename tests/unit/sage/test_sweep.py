"""Sweeps against a made-up Sage that answers in rounds: all requests on their way are answered together, then the next round."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import orjson
import pytest

from connect.errors import Poison
from connect.sage.query import QueryPage
from connect.sage.sweep import Sweep, SweptPage

FIELDS = ("key", "name")


class Sage:
    """Holds rows by key; `between` is called before each answer and may change them."""

    def __init__(self, keys, *, order="numeric", between=None, at_most=4000, chance=None):
        self.rows = dict.fromkeys(keys, "x")
        self.order = order
        self.at_most = at_most
        self._in_order = sorted(self.rows, key=self._sort)
        self.chance = chance  # answers come in any order, not all in one round
        self.between = between
        self.rounds = 0
        self.calls = 0
        self.most_at_once = 0
        self._asked: list[tuple] = []

    async def query(self, query, *, entity="", calls=None):
        self.calls += 1
        if calls is not None:
            calls[query.object] += 1
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((query, answer))
        return await answer

    async def answer_in_rounds(self, sweep_task):
        while not sweep_task.done():
            for _ in range(50):
                await asyncio.sleep(0)
            asked, self._asked = self._asked, []
            if self.chance and len(asked) > 1:
                self.chance.shuffle(asked)
                self._asked = asked[self.chance.randrange(1, len(asked)) :]
                asked = asked[: len(asked) - len(self._asked)]
            self.most_at_once = max(self.most_at_once, len(asked))
            if asked:
                self.rounds += 1
            for query, answer in asked:
                if self.between:
                    self.between(self)
                if not answer.done():
                    answer.set_result(self._page(query))

    def _sort(self, key):
        return int(key) if self.order == "numeric" else str(key)

    def _page(self, query):
        keys = sorted(self.rows, key=self._sort) if self.between else self._in_order
        for one in query.filters:
            ((operator, test),) = one.items()
            bound = self._sort(test["key"])
            keys = [key for key in keys if (self._sort(key) > bound if operator == "$gt" else self._sort(key) <= bound)]
        size = min(query.size, self.at_most)
        part = keys[query.start - 1 : query.start - 1 + size]
        after = query.start + size
        return QueryPage(
            orjson.dumps(
                {
                    "ia::result": [{"key": str(key), "name": self.rows[key]} for key in part],
                    "ia::meta": {"totalCount": len(keys), "start": query.start, "next": after if after <= len(keys) else None},
                }
            )
        )


async def sweep(sage, *, page_size=10, parallel=6, **options):
    pages: list[SweptPage] = []
    calls: Counter[str] = Counter()

    async def on_page(page):
        page.rows()  # a page that turns out to be out of order is not taken
        pages.append(page)

    reader = Sweep(sage, "x/y", FIELDS, page_size=page_size, parallel=parallel, calls=calls, **options)
    task = asyncio.create_task(reader.run(on_page))
    await sage.answer_in_rounds(task)
    return await task, pages


def clustered(count, seed):
    """Keys with gaps and clusters."""
    chance = random.Random(seed)
    keys, at = [], 0
    while len(keys) < count:
        at += chance.choice((1, 1, 1, 2, 3, 50, 100_000, 5_000_000) if chance.random() < 0.05 else (1, 1, 2))
        keys.append(at)
    return keys


def keys_of(pages):
    return [key for page in pages for key, _ in page.rows()]


async def test_an_object_of_one_page_is_one_call():
    sage = Sage(range(1, 10))
    end, pages = await sweep(sage)
    assert (sage.calls, end.complete, keys_of(pages)) == (1, True, list(range(1, 10)))


async def test_an_empty_object_is_one_call_and_complete():
    sage = Sage([])
    end, pages = await sweep(sage)
    assert (sage.calls, end.complete, [(page.after, page.until) for page in pages]) == (1, True, [(0, None)])


@pytest.mark.parametrize("seed", range(6))
async def test_a_first_sweep_keeps_all_slots_busy_with_hardly_a_call_too_many(seed):
    keys = clustered(20_000, seed)
    sage = Sage(keys)
    end, pages = await sweep(sage, page_size=100)
    assert sorted(keys_of(pages)) == keys
    assert len(keys_of(pages)) == len(keys)
    assert end.complete
    assert sage.calls <= 200 + 12
    assert sage.rounds <= 1.15 * 200 / 6
    assert sage.most_at_once == 6


@pytest.mark.parametrize("seed", range(2))
async def test_six_slots_are_at_least_five_times_faster_than_one(seed):
    keys = clustered(20_000, seed)
    one, six = Sage(keys), Sage(keys)
    await sweep(one, parallel=1, page_size=100)
    await sweep(six, parallel=6, page_size=100)
    assert one.calls == 200
    assert one.rounds >= 5 * six.rounds


async def test_known_boundaries_cost_one_call_a_page():
    keys = clustered(2000, 1)
    sage = Sage(keys)
    end, pages = await sweep(sage, boundaries=keys[9:-1:10])
    assert sorted(keys_of(pages)) == keys
    assert end.complete
    assert sage.calls == 200
    assert sage.rounds <= 1.1 * 200 / 6
    assert all(page.ascending for page in pages)


async def test_a_range_that_has_outgrown_its_page_is_read_on():
    keys = list(range(2, 400, 2))
    boundaries = keys[9:-1:10]
    sage = Sage([*keys, *range(101, 131, 2)])
    end, pages = await sweep(sage, boundaries=boundaries)
    assert sorted(keys_of(pages)) == sorted(sage.rows)
    assert end.complete


async def test_a_killed_sweep_goes_on_where_it_was():
    keys = clustered(500, 3)
    done = [(0, keys[99]), (keys[199], keys[299])]
    sage = Sage(keys)
    end, pages = await sweep(sage, done=done)
    assert sorted(keys_of(pages)) == keys[100:200] + keys[300:]
    assert end.complete


@pytest.mark.parametrize("order", ["numeric", "text"])
@pytest.mark.parametrize("seed", range(50))
async def test_rows_that_were_there_throughout_are_read_exactly_once_whatever_else_changes(seed, order):
    chance = random.Random(seed)
    keys = clustered(600, seed) if seed % 2 else list(range(5, 20_000, 31))[:600]
    stays = set(chance.sample(keys, 400))
    loose = [key for key in keys if key not in stays]

    def between(sage):
        for _ in range(chance.randrange(4)):
            kind = chance.random()
            if kind < 0.4 and loose:
                sage.rows.pop(loose.pop(chance.randrange(len(loose))), None)
            elif kind < 0.8:
                key = chance.randrange(1, max(keys) + 50)
                if key not in stays and key not in sage.rows:
                    sage.rows[key] = "new"
                    loose.append(key)
            else:
                sage.rows[chance.choice(sorted(stays))] = "changed"

    boundaries = keys[9:-1:10] if seed % 3 == 0 else ()
    sage = Sage(keys, order=order, between=between, chance=chance if seed % 5 else None)
    _, pages = await sweep(sage, boundaries=boundaries)
    found = Counter(keys_of(pages))
    assert stays <= found.keys()
    assert max(found.values()) == 1


async def test_text_order_falls_back_to_offset_pages_and_says_so():
    keys = list(range(5, 3000, 7))
    sage = Sage(keys, order="text")
    end, pages = await sweep(sage)
    assert sorted(keys_of(pages)) == keys
    assert (end.complete, end.order) == (True, "text")
    assert "by offset" in end.warning
    assert {page.source for page in pages if page.after is None} == {"offset"}


@pytest.mark.parametrize("boundaries", [(), (20_099, 100_099, 100_199)])
async def test_text_order_that_looks_numeric_for_many_pages_is_noticed(boundaries):
    keys = [*range(20_000, 20_400), *range(100_000, 100_400)]
    sage = Sage(keys, order="text")
    end, pages = await sweep(sage, boundaries=boundaries)
    assert sorted(keys_of(pages)) == keys
    assert (end.complete, end.order) == (True, "text")


@pytest.mark.parametrize("size", [10, 50])
@pytest.mark.parametrize("longer", [400, 777])
@pytest.mark.parametrize("shorter", [200, 600])
async def test_text_order_between_two_walkers_is_noticed(shorter, longer, size):
    """In text order 2000… lies before 300…: whoever walks the former never meets whoever began in the latter."""
    keys = [*range(100, 110), *range(300, 300 + shorter), *range(2000, 2000 + longer)]
    for chance in (None, random.Random(longer)):
        end, pages = await sweep(Sage(keys, order="text", chance=chance), page_size=size)
        assert sorted(keys_of(pages)) == keys
        assert end.complete


@pytest.mark.parametrize("seed", range(40))
async def test_keys_of_every_length_are_read_once_each_in_whatever_order_sage_compares_them(seed):
    chance = random.Random(seed)
    found: set[int] = set()
    for _ in range(chance.randrange(1, 6)):
        start = int("1" + "0" * chance.randrange(6)) * chance.randrange(1, 10)
        found.update(range(start, start + chance.choice((5, 30, 100, 300)), chance.choice((1, 1, 2, 7))))
    keys, size = sorted(found), chance.choice((3, 10, 20))
    order = chance.choice(("text", "text", "numeric"))
    boundaries = chance.choice(((), keys[size - 1 : -1 : size], sorted(chance.sample(keys, min(len(keys), 8)))))
    end, pages = await sweep(
        Sage(keys, order=order, chance=chance), page_size=size, parallel=chance.choice((1, 2, 6)), boundaries=boundaries
    )
    assert end.complete
    assert sorted(keys_of(pages)) == keys


async def test_an_object_of_one_page_is_one_call_in_text_order_too():
    sage = Sage(range(5, 15), order="text")
    end, pages = await sweep(sage)
    assert (sage.calls, end.complete, keys_of(pages)) == (1, True, list(range(5, 15)))


async def test_what_is_being_taken_when_text_order_is_noticed_is_not_lost():
    """Pages that lie with a slow receiver at that moment are taken to their end, not dropped and then thought delivered."""
    keys = [*range(20_000, 20_100), *range(100_000, 100_100)]
    sage = Sage(keys, order="text")
    taken: list[int] = []

    async def on_page(page):
        rows = page.rows()
        for _ in range(1000):
            await asyncio.sleep(0)
        taken.extend(key for key, _ in rows)

    task = asyncio.create_task(Sweep(sage, "x/y", FIELDS, page_size=10).run(on_page))
    await sage.answer_in_rounds(task)
    assert (await task).complete
    assert sorted(taken) == keys


async def test_a_server_that_gives_fewer_rows_than_asked_loses_none():
    for order in ("numeric", "text"):
        keys = list(range(5, 3000, 7))
        sage = Sage(keys, order=order, at_most=7)
        end, pages = await sweep(sage)
        assert sorted(keys_of(pages)) == keys
        assert end.complete


async def test_a_page_that_promises_more_and_brings_nothing_is_an_error_not_an_endless_sweep():
    class Stuck:
        async def query(self, query, **_):
            return QueryPage(b'{"ia::result":[],"ia::meta":{"totalCount":50,"next":11}}')

    with pytest.raises(Poison, match="no rows"):
        await Sweep(Stuck(), "x/y", FIELDS, page_size=10).run(None)


async def test_offset_passes_that_never_agree_are_not_complete():
    counter = iter(range(100_000, 900_000))

    def between(sage):
        sage.rows[next(counter)] = "new"

    end, _ = await sweep(Sage(list(range(5, 3000, 7)), order="text", between=between))
    assert not end.complete
    assert "nothing is expired" in end.warning


async def test_an_error_of_the_receiver_ends_the_sweep():
    sage = Sage(clustered(300, 1))

    async def on_page(_page):
        raise RuntimeError("no room")

    task = asyncio.create_task(Sweep(sage, "x/y", FIELDS, page_size=10).run(on_page))
    await sage.answer_in_rounds(task)
    with pytest.raises(RuntimeError, match="no room"):
        await task
