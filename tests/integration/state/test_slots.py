"""Slots: never more than the limit, in order, fair, and back when their holder is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from connect.errors import OutcomeUnknown, RateLimited, Transient
from connect.state import epoch
from connect.state import slots as module
from connect.state.slots import LEASE_S, WAITING_S, Slots

COMPANY = "acme"
PREFIX = f"connect:sage:{COMPANY}:"


def slots(redis, connection="a", limit=2, lease_s=LEASE_S):
    return Slots(redis, COMPANY, connection, limit, lease_s=lease_s)


async def in_line(redis, lane="registers", count=1):
    """Wait until so many stand in line."""
    while await redis.zcard(f"{PREFIX}wait:{lane}") < count:
        await asyncio.sleep(0.005)


@asynccontextmanager
async def all_taken(redis, limit=1) -> AsyncIterator[asyncio.Event]:
    """Hold every slot until the event is set."""
    free, ready = asyncio.Event(), asyncio.Semaphore(0)

    async def hold():
        async with slots(redis, "holder", limit).lease():
            ready.release()
            await free.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(limit)]
    for _ in tasks:
        await ready.acquire()
    try:
        yield free
    finally:
        free.set()
        await asyncio.gather(*tasks)


async def test_never_more_than_the_limit_over_all_connections_and_every_slot_is_used(redis):
    now = most = 0

    async def call(connection):
        nonlocal now, most
        async with slots(redis, connection, 3).lease():
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            while most < 3:  # the first ones wait for one another
                await asyncio.sleep(0.005)
            now -= 1

    await asyncio.gather(*(call(name) for name in ("a", "b", "c") for _ in range(10)))
    assert most == 3
    assert await redis.zcard(PREFIX + "slots") == 0
    assert await redis.zcard(PREFIX + "alive") == 0


async def test_documents_go_before_registers_and_each_lane_in_order(redis):
    order: list[str] = []

    async def call(name, lane):
        async with slots(redis, "a", 1).lease(lane):
            order.append(name)

    async with all_taken(redis) as free:
        tasks = []
        for name, lane, count in (("r1", "registers", 1), ("r2", "registers", 2), ("d1", "documents", 1), ("d2", "documents", 2)):
            tasks.append(asyncio.create_task(call(name, lane)))
            await in_line(redis, lane, count)
        free.set()
        await asyncio.gather(*tasks)
    assert order == ["d1", "d2", "r1", "r2"]


async def test_what_nobody_waits_for_goes_last_and_leaves_a_slot_free(redis):
    """Whatever lane its clients ask for."""
    order: list[str] = []
    behind = slots(redis, "a", 3).in_background()

    async def call(name, lane, its):
        async with its.lease(lane):
            order.append(name)
            await asyncio.sleep(0.05)

    async with behind.lease("documents"), behind.lease():
        waiting = asyncio.create_task(call("b", "documents", behind))
        await in_line(redis, "background")
        async with slots(redis, "a", 3).lease("registers"):  # at once, though the other one was there before
            assert await redis.zcard(PREFIX + "slots") == 3
    await waiting
    order.clear()
    async with all_taken(redis) as free:
        tasks = []
        alone = slots(redis, "a", 1)
        for name, lane, its in (("b", "background", alone.in_background()), ("r", "registers", alone), ("d", "documents", alone)):
            tasks.append(asyncio.create_task(call(name, lane, its)))
            await in_line(redis, lane)
        free.set()
        await asyncio.gather(*tasks)
    assert order == ["d", "r", "b"], "where there is one slot, it has that when nobody else wants it"


async def test_connections_share_fairly_whoever_asked_first(redis):
    order: list[str] = []

    async def call(connection):
        async with slots(redis, connection, 2).lease():
            order.append(connection)
            while len(order) < 2:  # nobody is done before both are at work
                await asyncio.sleep(0.005)

    async with all_taken(redis, 2) as free:
        tasks = []
        for n, connection in enumerate("aaab"):
            tasks.append(asyncio.create_task(call(connection)))
            await in_line(redis, count=n + 1)
        free.set()
        await asyncio.gather(*tasks)
    assert sorted(order[:2]) == ["a", "b"]


async def test_order_outlasts_a_pause_longer_than_a_waiter_is_believed(redis, monkeypatch):
    monkeypatch.setattr(module.random, "random", lambda: 0.0)  # asked again every second, which leaves a slow machine time
    order: list[str] = []

    async def call(name, lane):
        async with slots(redis, "a", 1).lease(lane):
            order.append(name)

    await slots(redis).pause(WAITING_S + 0.5)
    tasks = []
    for name, lane, count in (("r1", "registers", 1), ("r2", "registers", 2), ("d", "documents", 1)):
        tasks.append(asyncio.create_task(call(name, lane)))
        await in_line(redis, lane, count)
    await asyncio.gather(*tasks)
    assert order == ["d", "r1", "r2"]


async def test_a_pause_holds_everybody_for_as_long_as_was_said_and_a_shorter_one_does_not_shorten_it(redis):
    started = time.monotonic()
    await slots(redis, "a").pause(0.4)
    await slots(redis, "b").pause(0.1)
    async with slots(redis, "c").lease():
        assert time.monotonic() - started >= 0.39


async def test_a_dead_holders_slot_is_back_when_its_lease_ends(redis):
    assert LEASE_S <= 15
    started = time.monotonic()
    seconds, micros = await redis.time()
    await redis.zadd(PREFIX + "slots", {"dead|1": seconds * 1000 + micros / 1000 + 300})
    async with slots(redis, limit=1).lease(wait_s=30):
        assert time.monotonic() - started >= 0.29


async def test_a_dead_waiter_holds_nobody_up_for_long(redis):
    seconds, micros = await redis.time()
    now = seconds * 1000 + micros / 1000
    await redis.zadd(PREFIX + "wait:documents", {"dead|1": now - 5000})
    await redis.zadd(PREFIX + "alive", {"dead|1": now + 200})
    async with slots(redis, limit=1).lease(wait_s=30):
        pass
    assert await redis.zcard(PREFIX + "wait:documents") == 0


async def test_a_lease_is_renewed_for_as_long_as_the_call_takes(redis, monkeypatch):
    monkeypatch.setattr(module, "RENEW_S", 0.1)
    async with slots(redis, limit=1).lease():
        ((ticket, ends),) = await redis.zrange(PREFIX + "slots", 0, -1, withscores=True)
        while await redis.zscore(PREFIX + "slots", ticket) < ends + 500:  # ms: several renewals
            await asyncio.sleep(0.02)
        assert await slots(redis).used() == 1
        with pytest.raises(RateLimited, match="no slot"):
            async with slots(redis, "b", 1).lease(wait_s=0.1):
                pass


async def test_a_call_whose_lease_is_gone_is_cut(redis):
    async def call():
        async with slots(redis, lease_s=0.3).lease():
            await redis.delete(PREFIX + "slots")
            await asyncio.sleep(5)

    with pytest.raises(Transient, match="slot at Sage was lost") as caught:
        await call()
    assert caught.value.code == "slot_lost"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("trouble", ["raises", "hangs"])
async def test_a_call_whose_lease_cannot_be_renewed_is_cut_before_another_may_have_the_slot(redis, trouble):
    one = slots(redis, lease_s=0.6)

    async def away(**_):
        if trouble == "hangs":
            await asyncio.sleep(60)
        raise RedisConnectionError("gone")

    one._renew = away
    for _ in range(6):  # a machine that stalls cuts late; one that does not cuts in time
        started = time.monotonic()
        with pytest.raises(Transient, match="slot at Sage was lost"):
            async with one.lease():
                await asyncio.sleep(30)
        if time.monotonic() - started < 0.6:
            return
    pytest.fail("never cut before the lease ended")


@pytest.mark.parametrize(("code", "used"), [("timeout", 1), ("connection", 0)])
async def test_after_a_time_out_the_slot_is_not_free_at_once(redis, code, used):
    """Sage may still be at work on the call."""
    with pytest.raises(Transient):
        async with slots(redis, limit=1).lease():
            raise OutcomeUnknown("no answer", system="sage", code=code)
    assert await slots(redis).used() == used


async def test_after_a_time_out_the_slot_is_free_when_its_lease_ends(redis):
    started = time.monotonic()
    with pytest.raises(Transient):
        async with slots(redis, limit=1, lease_s=0.4).lease():
            raise OutcomeUnknown("no answer", system="sage", code="timeout")
    async with slots(redis, limit=1).lease(wait_s=30):
        assert time.monotonic() - started >= 0.39


async def test_a_cancelled_call_stays_cancelled_and_gives_its_slot_back(redis):
    async def call():
        async with slots(redis).lease():
            await asyncio.sleep(5)

    task = asyncio.create_task(call())
    while await slots(redis).used() == 0:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await slots(redis).used() == 0


async def test_whoever_gives_up_waiting_leaves_the_line(redis):
    async with all_taken(redis):
        with pytest.raises(RateLimited, match="no slot of Sage company acme"):
            async with slots(redis, limit=1).lease("documents", wait_s=0.1):
                pass
        assert await redis.zcard(PREFIX + "wait:documents") == 0
        assert await redis.zcard(PREFIX + "alive") == 0


async def test_after_redis_lost_everything_no_slot_is_given_for_one_lease_and_old_holders_are_cut(redis):
    lease_s = 1.5
    cut: list[float] = []
    started = 0.0

    async def hold():
        try:
            await asyncio.sleep(30)
        finally:
            cut.append(time.monotonic() - started)

    async def old_holder():
        async with slots(redis, "old", 1, lease_s).lease():
            await hold()

    task = asyncio.create_task(old_holder())
    while await slots(redis).used() == 0:
        await asyncio.sleep(0.005)
    await redis.flushall()
    started = time.monotonic()
    async with slots(redis, "new", 1, lease_s).lease():
        given = time.monotonic() - started
    with pytest.raises(Transient):
        await task
    assert given >= lease_s - 0.01  # Redis counts whole milliseconds
    assert cut[0] < given


async def test_a_store_found_empty_is_young_and_one_begun_is_not(redis):
    await redis.flushall()
    assert await epoch.age_s(redis) == 0
    assert 0 <= await epoch.age_s(redis) < 60
    await redis.flushall()
    await epoch.begin(redis)
    mark = await redis.get(epoch.KEY)
    await epoch.begin(redis)
    assert await redis.get(epoch.KEY) == mark
    assert await epoch.age_s(redis) > 1_000_000


async def test_two_clients_of_one_server_count_as_one(redis: Redis, valkey: str):
    async with Redis.from_url(valkey) as other, slots(redis, limit=1).lease():
        with pytest.raises(RateLimited):
            async with slots(other, "b", 1).lease(wait_s=0.1):
                pass
