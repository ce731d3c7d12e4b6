"""Usage: calls and transactions by month, added up over processes, and none forgotten when Redis is away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from connect.state.usage import FLUSH_EVERY, PURPOSE, Counted, Usage, counted_among

VENDORS = "POST accounts-payable/vendor"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def of(redis: Redis, company: str = "acme", connection: str = "c1") -> Usage:
    return Usage(redis, company, connection, clock=lambda: NOW)


async def test_calls_of_all_processes_are_added_up(redis):
    one, two = of(redis), of(redis)
    for usage in (one, two):
        await usage.note(VENDORS)
        await usage.note("POST /objects/accounts-payable/bill", transactions=3)
        await usage.note(VENDORS, transactions=0)  # refused: Sage does not count it
    await one.flush()
    assert await two.month() == {VENDORS: 4, "POST /objects/accounts-payable/bill": 2, "transactions": 8}
    assert await of(redis, "other", "c2").month() == {}
    assert await one.month(datetime(2020, 1, 1, tzinfo=UTC)) == {}


async def test_redis_is_told_every_few_calls(redis):
    usage = of(redis)
    for _ in range(FLUSH_EVERY):
        assert not await redis.keys("*usage*")
        await usage.note(VENDORS)
    assert sorted(await redis.keys("*usage*:??????*")) == sorted([key.encode() for key in (*usage.keys(), "connect:c1:usage:202603")])


async def test_transactions_are_told_by_object_too(redis):
    usage = of(redis)
    await usage.note(VENDORS)
    await usage.note(VENDORS, transactions=0)  # it was refused
    await usage.note("POST /objects/accounts-payable/bill", transactions=3)
    await usage.flush()
    calls, transactions = usage.keys()
    assert await redis.hgetall(transactions) == {VENDORS.encode(): b"1", b"POST /objects/accounts-payable/bill": b"3"}
    assert (await redis.hgetall(calls))[VENDORS.encode()] == b"2"


async def test_counts_survive_a_flush_that_fails(redis, tmp_path):
    away = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
    usage = of(away)
    await usage.note(VENDORS)
    with pytest.raises(RedisConnectionError):
        await usage.flush()
    await away.aclose()
    usage._redis = redis
    assert await usage.month() == {VENDORS: 1, "transactions": 1}


async def test_a_connections_calls_are_told_by_company_job_object_and_day_from_a_known_moment_on(redis):
    now = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    usage = Usage(redis, "acme", "c1", clock=lambda: now)
    assert await counted_among(redis, ["c1"], ["202611"]) == [(None, {"202611": []})]
    PURPOSE.set(("100", "GetSuppliers"))
    await usage.note(VENDORS)
    usage.unanswered(VENDORS)
    now = datetime(2026, 12, 1, 0, 1, tzinfo=UTC)  # the next month begins before anything was told to Redis
    await usage.note(VENDORS, transactions=0)
    await usage.flush()
    november = [
        Counted("calls", "100", "GetSuppliers", VENDORS, 30, 2),
        Counted("transactions", "100", "GetSuppliers", VENDORS, 30, 1),
        Counted("unanswered", "100", "GetSuppliers", VENDORS, 30, 1),
    ]
    december = [Counted("calls", "100", "GetSuppliers", VENDORS, 1, 1)]
    assert await counted_among(redis, ["c1", "c2"], ["202611", "202612"]) == [
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), {"202611": november, "202612": december}),
        (None, {"202611": [], "202612": []}),
    ]
    assert await usage.spent() == 0
    assert await Usage(redis, "acme", "c2", clock=lambda: now).month(datetime(2026, 11, 1, tzinfo=UTC)) == {VENDORS: 2, "transactions": 1}
