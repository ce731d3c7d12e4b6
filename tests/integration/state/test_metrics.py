"""What processes count comes together in Redis: added up, once, over restarts and lost answers."""

from __future__ import annotations

import asyncio
import sys

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from connect.state.metrics import COUNTS, TIMES, Metrics, read_counts, read_times

CHILD = """
import asyncio, sys
from redis.asyncio import Redis
from connect.state.metrics import Metrics

async def main():
    metrics = Metrics()
    async with Redis.from_url(sys.argv[1]) as redis:
        for number in range(200):
            metrics.count("jobs", "s", "done")
            metrics.observe("wait", "fetch", seconds=0.3)
            if number % 20 == 19:
                await metrics.flush(redis)

asyncio.run(main())
"""


async def test_counts_of_several_processes_are_added_up_and_survive_their_end(redis: Redis, valkey: str) -> None:
    children = [await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, valkey) for _ in range(3)]
    assert [await child.wait() for child in children] == [0, 0, 0]
    assert read_counts(await redis.hgetall(COUNTS)) == {"jobs": {("s", "done"): 600}}
    (found,) = read_times(await redis.hgetall(TIMES))["wait"].values()
    assert dict(found.buckets)["0.25"] == 0
    assert dict(found.buckets)["0.5"] == dict(found.buckets)["+Inf"] == 600
    assert found.sum_s == pytest.approx(180)


async def test_a_batch_whose_answer_was_lost_is_added_once(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.count("jobs", "s", "done", by=3)
    sent = redis.eval

    async def lost(*args: object) -> None:
        await sent(*args)
        raise RedisConnectionError("the answer is lost")

    monkeypatch.setattr(redis, "eval", lost)
    with pytest.raises(RedisConnectionError):
        await metrics.flush(redis)
    monkeypatch.undo()
    metrics.count("jobs", "s", "done")
    await metrics.flush(redis)
    await metrics.flush(redis)
    assert read_counts(await redis.hgetall(COUNTS)) == {"jobs": {("s", "done"): 4}}


async def test_a_batch_that_never_arrived_is_added_with_the_next(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.count("jobs", "s", "done", by=3)

    async def away(*_: object) -> None:
        raise RedisConnectionError("Redis is away")

    monkeypatch.setattr(redis, "eval", away)
    with pytest.raises(RedisConnectionError):
        await metrics.flush(redis)
    monkeypatch.undo()
    metrics.count("jobs", "s", "failed")
    await metrics.flush(redis)
    await metrics.flush(redis)
    assert read_counts(await redis.hgetall(COUNTS)) == {"jobs": {("s", "done"): 3, ("s", "failed"): 1}}


async def test_nothing_is_asked_of_redis_when_there_is_nothing_to_add(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def ask(*what: object, **_: object) -> None:
        asked.append(what)

    monkeypatch.setattr(redis, "execute_command", ask)
    metrics = Metrics()
    await metrics.flush(redis)
    assert asked == []
    metrics.count("jobs", "s", "done")
    await metrics.flush(redis)
    assert len(asked) == 1


async def test_buckets_are_cumulative_and_the_longest_times_are_in_the_last(redis: Redis) -> None:
    metrics = Metrics()
    for seconds in (-1.0, 0.0, 0.005, 0.0051, 7200.0):
        metrics.observe("wait", "fetch", seconds=seconds)
    await metrics.flush(redis)
    (found,) = read_times(await redis.hgetall(TIMES))["wait"].values()
    buckets = dict(found.buckets)
    assert (buckets["0.005"], buckets["0.02"], buckets["1800"], buckets["+Inf"]) == (3, 4, 4, 5)
    assert list(buckets.values()) == sorted(buckets.values())
    assert found.sum_s == pytest.approx(7200.0101)


async def test_bounds_of_another_version_are_shown_beside_ours(redis: Redis) -> None:
    await redis.hset(TIMES, mapping={"wait\nfetch\n0.7": 2, "wait\nfetch\nsum": 1_200_000})
    (found,) = read_times(await redis.hgetall(TIMES))["wait"].values()
    buckets = dict(found.buckets)
    assert (buckets["0.5"], buckets["0.7"], buckets["1"], buckets["+Inf"]) == (0, 2, 2, 2)
