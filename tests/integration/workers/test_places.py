"""A worker's places: so many for each connection, so that one that hangs or is large holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pipeline_worker
import pytest
from arq.worker import func
from redis.asyncio import Redis

from workers import arq_worker
from workers.jobs import FinishJob, TickJob, enqueue


class Gates:
    """Jobs that begin, and end when they are told to. "a1" is the first of connection a."""

    def __init__(self, url: str, *names: str) -> None:
        self._url = url
        self._gates = {name: asyncio.Event() for name in names}
        self.started: list[str] = []

    async def _job(self, _ctx: dict[str, Any], job: TickJob) -> None:
        self.started.append(job.trace)
        await self._gates[job.trace].wait()

    def open(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()

    async def seen(self, *names: str) -> None:
        """These have begun, and no others."""
        async with asyncio.timeout(60):
            while set(self.started) != set(names):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # several more looks at the queue
        assert set(self.started) == set(names)

    @asynccontextmanager
    async def worker(self, places: int, **ctx: Any) -> AsyncIterator[None]:
        worker = pipeline_worker.worker(
            self._url, functions=[func(self._job, name="tick")], max_jobs=places, handle_signals=False, more=ctx
        )
        tools = worker.ctx["tools"]
        running = asyncio.create_task(worker.async_run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await worker.close()
            await tools.redis.aclose(close_connection_pool=True)


def of(*names: str) -> list[TickJob]:
    return [TickJob(trace=name, sid=name[0]) for name in names]


async def test_a_connection_that_hangs_holds_up_no_other_and_its_jobs_run_one_by_one(valkey: str, redis: Redis) -> None:
    names = ("a1", "a2", "a3", "b1")
    gates = Gates(valkey, *names)
    await enqueue(redis, of(*names))
    async with gates.worker(3, jobs_per_connection=1):
        await gates.seen("a1", "b1")
        gates.open("a1")
        await gates.seen("a1", "b1", "a2")
        gates.open("a2")
        await gates.seen("a1", "b1", "a2", "a3")


async def test_the_connection_with_the_fewest_jobs_at_work_in_any_process_is_next(valkey: str, redis: Redis) -> None:
    gates = Gates(valkey, "a1", "a2", "a3", "a4", "b1", "c1", "c2")
    first = of("a1", "a2", "a3", "a4")
    await enqueue(redis, first)
    await redis.zadd(pipeline_worker.QUEUE, {job.job_id: at for at, job in enumerate(first)})  # due before all others, in this order
    async with gates.worker(2, share_of_a_connection=1.0):
        await gates.seen("a1", "a2")
        await enqueue(redis, of("b1", "c1", "c2"))
        async with gates.worker(3, share_of_a_connection=1.0):
            await gates.seen("a1", "a2", "b1", "c1", "c2")  # the second process has none of a, and knows of those of the first
            gates.open("b1", "a1")
            await gates.seen("a1", "a2", "b1", "c1", "c2", "a3", "a4")


async def test_one_connection_has_at_most_its_share_of_the_places(valkey: str, redis: Redis) -> None:
    gates = Gates(valkey, "a1", "a2", "a3", "b1")
    await enqueue(redis, of("a1", "a2", "a3"))
    async with gates.worker(4, share_of_a_connection=0.5):
        await gates.seen("a1", "a2")
        await enqueue(redis, of("b1"))
        await gates.seen("a1", "a2", "b1")
        gates.open("a1")
        await gates.seen("a1", "a2", "b1", "a3")


async def test_a_job_that_runs_long_gives_its_place_to_another_connection_up_to_the_share(
    valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = Gates(valkey, "a1", "a2", "b1", "c1", "d1")
    monkeypatch.setattr(arq_worker, "LONG_S", 3600.0)
    await enqueue(redis, of("a1", "a2"))
    async with gates.worker(2, share_of_a_connection=0.5):
        await gates.seen("a1")  # its connection's share of two places
        await enqueue(redis, of("b1"))
        await gates.seen("a1", "b1")
        await enqueue(redis, of("c1", "d1"))
        await gates.seen("a1", "b1")
        monkeypatch.setattr(arq_worker, "LONG_S", 0.0)
        await gates.seen("a1", "b1", "c1")  # both run long by now, and one place is lent
        gates.open("a1")
        await gates.seen("a1", "b1", "c1", "a2")  # nothing of a or d is at work: who has been due longest


async def test_what_ends_a_run_goes_before_what_has_been_due_longer(valkey: str, redis: Redis) -> None:
    gates = Gates(valkey, "a1", "b1", "b2")
    late = FinishJob(trace="a1", sid="a", run="r", part="p")
    await redis.set(f"arq:job:{late.job_id}", orjson.dumps({"f": "tick", "k": {"job": {"trace": "a1", "sid": "a"}}}))
    await enqueue(redis, of("b1", "b2"))
    await redis.zadd(pipeline_worker.QUEUE, {job.job_id: at for at, job in enumerate([*of("b1", "b2"), late])})
    async with gates.worker(1, share_of_a_connection=1.0, first="finish"):
        await gates.seen("a1")
        gates.open("a1")
        await gates.seen("a1", "b1")
