"""Letters of many connections: any page of them is what putting them all in order would show, and grouping finds the same ones."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connect.errors import Permanent
from connect.state import letter_search
from connect.state.dead_letters import DeadLetters
from connect.state.letter_search import find_among, groups_among, ids_among, look_among

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
SIDS = ("one", "two", "none", "many")


def letter(store, chance, number, moments):
    made = store.letter(
        company="100", job="GetSuppliers", part="", kind=chance.choice(["Supplier", "Invoice"]), key=number, number=f"V{number}",
        name=f"Vendor {number}", payload=b"{}", run="", trace="",
        error=Permanent(f"account {chance.randrange(6500, 6503)} is inactive", system="prime", code="2"),
    )  # fmt: skip
    return replace(made, last_at=chance.choice(moments))


async def stores_with(redis, chance, moments, sizes=(30, 700, 0, 1900)):
    stores = [DeadLetters(redis, sid) for sid in SIDS]
    for store, size in zip(stores, sizes, strict=True):
        for start in range(0, size, 250):
            await store.put_many([letter(store, chance, start + n, moments) for n in range(min(250, size - start))])
        _, some = await store.find({}, limit=size // 10)
        await store.replaying([one.id for one in some])
    return stores


async def in_order(redis, stores):
    """All of them as they stand in the sorted sets, put in order here."""
    rows = []
    for place, sid in enumerate(SIDS):
        for state in letter_search.WAITING:
            found = await redis.zrange(f"connect:{sid}:dl:state:{state}", 0, -1, withscores=True)
            rows += [(at, name.decode(), place) for name, at in found]
    return [(place, name) for _, name, place in sorted(rows, reverse=True)]


@pytest.mark.parametrize(
    "spread", ["each at its own time", "thousands at one moment", "two at a time", "one long ago"]
)  # fmt: skip
async def test_any_page_is_what_putting_all_in_order_shows(redis, spread):
    chance = random.Random(7)
    moments = {
        "each at its own time": [NOON + timedelta(seconds=chance.random() * 40_000_000) for _ in range(5000)],
        "thousands at one moment": [NOON, NOON + timedelta(microseconds=1)],
        "two at a time": [NOON + timedelta(microseconds=n) for n in range(1300)],
        "one long ago": [NOON - timedelta(days=400), *[NOON + timedelta(microseconds=n) for n in range(3000)]],
    }[spread]
    stores = await stores_with(redis, chance, moments)
    expected = await in_order(redis, stores)
    assert len(expected) == 2630
    for offset, limit in (
        (0, 1),
        (0, 50),
        (1, 50),
        (49, 2),
        (777, 50),
        (1500, 500),
        (2600, 50),
        (2629, 1),
        (2630, 50),
        (99_999, 50),
        (0, 9999),
    ):
        total, page = await find_among(redis, stores, {}, offset=offset, limit=limit)
        assert total == len(expected)
        assert [(place, one.id) for place, one in page] == expected[offset : offset + limit], (offset, limit)
    assert await ids_among(redis, stores, {}, letter_search.WAITING) == expected


async def test_a_page_of_none_is_empty(redis):
    stores = [DeadLetters(redis, sid) for sid in SIDS]
    assert await find_among(redis, stores, {}, offset=40, limit=5) == (0, [])
    assert await find_among(redis, [], {}) == (0, [])


@pytest.mark.parametrize("narrow", [0, letter_search.NARROW], ids=["long indexes", "short indexes"])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"kind": "Invoice"},
        {"kind": "Invoice", "code": "2"},
        {"text": "6501"},
        {"supplier": "vendor 6", "kind": "Supplier"},
        {"text": "nothing"},
    ],
)
async def test_looking_once_for_both_finds_what_looking_twice_does(redis, monkeypatch, filters, narrow):
    monkeypatch.setattr(letter_search, "NARROW", narrow)
    chance = random.Random(11)
    stores = await stores_with(redis, chance, [NOON + timedelta(seconds=n) for n in range(900)], sizes=(30, 90, 0, 300))
    page = await find_among(redis, stores, filters, offset=10, limit=20)
    groups = await groups_among(redis, stores, filters, offset=1, limit=3)
    assert await look_among(redis, stores, filters, offset=10, limit=20, groups_from=1, groups_limit=3) == (page, groups)
    assert page[0] == groups[0] == len(await ids_among(redis, stores, filters, letter_search.WAITING))
    every = [one for _, one in (await find_among(redis, stores, filters, limit=1000))[1]]
    assert page[1] == [] or [one.id for _, one in page[1]] == [one.id for one in every][10:30]
    kinds = {"Invoice", "Supplier"} if "kind" not in filters else {filters["kind"]}
    assert {one.kind for one in every} <= kinds
    assert all(filters.get("text", "") in one.error["message"] for one in every)
    assert (not every) == (filters == {"text": "nothing"})
