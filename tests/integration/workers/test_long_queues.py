"""Queues that are longer than anybody should read: what is asked of them is answered all the same, and they are not read whole for it."""

from __future__ import annotations

import asyncio

import pipeline_worker
from pipeline_worker import QUEUE, sleeper
from redis.asyncio import Redis

from workers import arq_worker, jobs, queues
from workers.jobs import POST, SCHEDULE, ClaimJob, PostJob, queue_name

MANY = queues.COUNTED_AT_ONCE * 2 + 1


async def fill(redis: Redis, queue: str, now_ms: int = 1) -> None:
    """Jobs of others, due long ago."""
    await redis.zadd(queue, {f"post:other{number % 7}:{number}": now_ms + number for number in range(MANY)})


async def read_whole(redis: Redis) -> int:
    """How often a queue was read whole by its places."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_zrange", {}).get("calls", 0))


async def test_one_connections_job_is_found_among_very_many(redis: Redis) -> None:
    queue = queue_name(POST)
    job = PostJob(trace="t", sid="mine", run="r", job="ExportInvoices", company="100", documents=(("1", "7"),))
    await fill(redis, queue)
    await redis.config_resetstat()
    assert not await queues.has_any(redis, POST, "mine")
    assert not await queues.has_any(redis, POST, "ine")
    for due_ms in (0, 2 * 10**12):
        await redis.zadd(queue, {job.job_id: due_ms})
        assert await queues.has_any(redis, POST, "mine")
        await redis.zrem(queue, job.job_id)
    assert await read_whole(redis) == 0
    await redis.delete(queue)
    assert not await queues.has_any(redis, POST, "mine")
    await jobs.enqueue(redis, [ClaimJob(trace="t", sid="mine")])
    assert await queues.has_any(redis, POST, "mine")
    assert not await queues.has_any(redis, POST, "ine")


async def test_a_job_at_work_is_seen_among_very_many_and_one_that_waits_is_not(redis: Redis, valkey: str) -> None:
    await fill(redis, QUEUE, now_ms=10**12)
    job = sleeper(60, "long")
    await jobs.enqueue(redis, [job])
    await redis.zadd(QUEUE, {job.job_id: 0})  # the first of all
    await redis.config_resetstat()
    assert not await queues.is_at_work(redis, SCHEDULE, job.job_id)
    worker = pipeline_worker.worker(valkey, handle_signals=False, max_jobs=1)
    task = asyncio.create_task(worker.async_run())
    try:
        while not await redis.exists(f"arq:in-progress:{job.job_id}"):
            await asyncio.sleep(0.01)
        for beginning, expected in ((job.job_id, True), (job.job_id[:-1], True), (job.job_id + "x", False), ("post:", False)):
            assert await queues.is_at_work(redis, SCHEDULE, beginning) is expected, beginning
        await asyncio.sleep(arq_worker.RENEW_S + 0.2)  # its due time has moved with its lease
        assert await queues.is_at_work(redis, SCHEDULE, job.job_id)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()
        await worker.ctx["tools"].redis.aclose(close_connection_pool=True)
    assert not await queues.is_at_work(redis, SCHEDULE, job.job_id)
    assert await redis.zscore(QUEUE, job.job_id) is not None
    assert await read_whole(redis) == 0
