"""Which documents wait for a receipt, and since when: each listing puts it right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from connect.state.receipts import Receipts, keys

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


async def shown(redis: Redis) -> tuple[dict[str, float], dict[str, float]]:
    awaiting, unreceived = [
        {name.decode(): at - NOON.timestamp() for name, at in await redis.zrange(key, 0, -1, withscores=True)}
        for key in keys("s", "100", "ExportInvoices")
    ]
    return awaiting, unreceived


async def test_what_is_listed_waits_since_it_was_first_seen_until_prime_has_its_answer(redis: Redis) -> None:
    receipts = Receipts(redis, "s", "100", "ExportInvoices")
    await receipts.listed(["1-1", "1-2"], NOON)
    await receipts.listed(["1-1", "1-2", "1-3"], LATER)
    await receipts.over(["1-2"])
    await receipts.over([])
    assert await shown(redis) == ({"1-1": 0, "1-3": 3600}, {})


async def test_what_prime_does_not_list_any_more_is_over(redis: Redis) -> None:
    receipts = Receipts(redis, "s", "100", "ExportInvoices")
    await receipts.listed(["1-1", "1-2"], NOON)
    await receipts.refused(["1-2"], NOON)
    await receipts.listed([], LATER)
    assert await shown(redis) == ({}, {})


async def test_a_refused_receipt_counts_as_booked_and_not_as_waiting_also_when_it_is_listed_again(redis: Redis) -> None:
    receipts = Receipts(redis, "s", "100", "ExportInvoices")
    await receipts.listed(["1-1"], NOON)
    await receipts.refused(["1-1"], NOON)
    await receipts.listed(["1-1"], LATER)
    await receipts.refused(["1-1"], LATER)
    assert await shown(redis) == ({}, {"1-1": 0})
    await receipts.over(["1-1"])
    assert await shown(redis) == ({}, {})
