"""Leases: what becomes of the jobs of a worker that is killed, stopped, stalled or cut off from Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pipeline_worker
import pytest
import structlog
from pipeline_worker import QUEUE, TOLD, sleeper
from redis.asyncio import Redis
from redis_servers import looked_after

from connect.state.embedded import attached
from workers import arq_worker, jobs, outcomes, queues
from workers.arq_worker import Worker

PROGRAM = Path(pipeline_worker.__file__)
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(valkey: str, tmp_path: Path) -> Iterator[Start]:
    """Starts worker processes; their log is in `log.txt`."""
    started: list[subprocess.Popen[bytes]] = []
    with (tmp_path / "log.txt").open("ab") as log:

        def one(*options: str) -> subprocess.Popen[bytes]:
            environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROGRAM.parent), str(PROGRAM.parents[1])])}
            started.append(subprocess.Popen([sys.executable, PROGRAM, valkey, *options], env=environ, stdout=log, stderr=log))
            return started[-1]

        yield one
        for process in started:
            process.kill()
            process.wait()


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Worker]:
    worker = pipeline_worker.worker(url, handle_signals=False, **options)
    task = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()
        await worker.ctx["tools"].redis.aclose(close_connection_pool=True)


async def until(look: Callable[[], Any], timeout_s: float = 60) -> None:
    limit = time.monotonic() + timeout_s
    while not await look():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.02)


async def count(redis: Redis, what: str) -> int:
    return int(await redis.get(what) or 0)


async def test_the_job_of_a_killed_worker_runs_again_after_one_lease_and_costs_no_attempt(redis: Redis, start: Start) -> None:
    first = start()
    job = sleeper(300, "long")
    await jobs.enqueue(redis, [job])

    async def is_started() -> bool:
        return await count(redis, "started:long") == 1

    await until(is_started)
    due_ms = await redis.zscore(QUEUE, job.job_id)

    async def is_renewed() -> bool:
        return await redis.zscore(QUEUE, job.job_id) > due_ms

    await until(is_renewed)
    first.kill()
    first.wait()
    seconds, micros = await redis.time()
    assert await redis.zscore(QUEUE, job.job_id) <= (seconds + queues.LEASE_S) * 1000 + micros / 1000
    assert queues.LEASE_S <= 6
    start()

    async def is_started_again() -> bool:
        return await count(redis, "started:long") == 2

    await until(is_started_again)
    assert await redis.exists(f"arq:retry:{job.job_id}") == 0


async def test_sigterm_lets_short_jobs_end_and_hands_long_ones_back_at_once(redis: Redis, start: Start) -> None:
    first = start("3")
    await jobs.enqueue(redis, [sleeper(300, "long"), sleeper(TOLD, "short")])

    async def both() -> bool:
        return await count(redis, "started:long") + await count(redis, "started:short") == 2

    await until(both)
    first.send_signal(signal.SIGTERM)
    await redis.set("go:short", 1)
    assert await asyncio.to_thread(first.wait, 60) == 0
    assert (await count(redis, "ended:short"), await count(redis, "ended:long")) == (1, 0)
    job_id = sleeper(300, "long").job_id
    assert await redis.exists(f"arq:in-progress:{job_id}", f"arq:retry:{job_id}") == 0
    assert await redis.zscore(QUEUE, job_id) <= time.time() * 1000
    assert [key async for key in redis.scan_iter(match="connect:worker:*")] == [], "its sign of life went with it"


async def test_a_worker_that_stood_still_until_its_lease_was_over_goes_on_and_starts_nothing_twice(
    redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arq_worker, "RENEW_S", 60.0)
    job = sleeper(TOLD, "slow")
    async with running(valkey) as worker:
        await jobs.enqueue(redis, [job])

        async def is_started() -> bool:
            return await count(redis, "started:slow") == 1

        async def is_ended() -> bool:
            return await count(redis, "ended:slow") == 1

        await until(is_started)
        await redis.delete(f"arq:in-progress:{job.job_id}")
        await redis.zadd(QUEUE, {job.job_id: 0})

        async def is_claimed_again() -> bool:
            return bool(await redis.exists(f"arq:in-progress:{job.job_id}"))

        async def is_gone() -> bool:
            return await redis.zscore(QUEUE, job.job_id) is None and worker.job_counter == 0

        await until(is_claimed_again)
        await redis.set("go:slow", 1)
        await until(is_ended)
        await until(is_gone)
        assert (await count(redis, "started:slow"), await count(redis, "ended:slow")) == (1, 1)


async def test_of_two_workers_one_runs_each_job(redis: Redis, valkey: str) -> None:
    async with running(valkey), running(valkey):
        await jobs.enqueue(redis, [sleeper(0.01, f"n{n}") for n in range(60)])

        async def is_empty() -> bool:
            return await redis.zcard(QUEUE) == 0

        await until(is_empty)
    assert [await count(redis, f"ended:n{n}") for n in range(60)] == [1] * 60
    assert [key async for key in redis.scan_iter(match="arq:*")] == []


async def test_a_stale_finisher_leaves_the_new_owners_lease_alone(redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arq_worker, "RENEW_S", 60.0)
    job = sleeper(TOLD, "slow")
    async with running(valkey) as worker:
        await jobs.enqueue(redis, [job])

        async def is_started() -> bool:
            return await count(redis, "started:slow") == 1

        await until(is_started)
        await redis.set(f"arq:in-progress:{job.job_id}", "another owner")
        await redis.zadd(QUEUE, {job.job_id: time.time() * 1000 + 600_000})
        await redis.set("go:slow", 1)

        async def is_over() -> bool:
            return worker.jobs_complete == 1

        await until(is_over)
        assert await count(redis, "ended:slow") == 1
    assert await redis.get(f"arq:in-progress:{job.job_id}") == b"another owner"
    assert await redis.zscore(QUEUE, job.job_id) is not None
    assert await redis.exists(f"arq:job:{job.job_id}") == 1


async def test_a_job_whose_lease_is_lost_is_cut(redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arq_worker, "RENEW_S", 0.1)
    job = sleeper(300, "cut")
    async with running(valkey) as worker:
        await jobs.enqueue(redis, [job])

        async def is_started() -> bool:
            return await count(redis, "started:cut") == 1

        await until(is_started)
        await redis.set(f"arq:in-progress:{job.job_id}", "another owner", px=600_000)
        await redis.zadd(QUEUE, {job.job_id: time.time() * 1000 + 600_000})

        async def is_cut() -> bool:
            return worker.job_counter == 0

        await until(is_cut)
    assert await count(redis, "ended:cut") == 0
    assert await redis.get(f"arq:in-progress:{job.job_id}") == b"another owner"


async def test_a_job_starts_at_the_next_look_of_an_idle_worker_and_a_look_costs_one_exchange(redis: Redis, valkey: str) -> None:
    """A look every 60 ms: how long a start takes on an idle machine, the benchmark measures."""
    async with running(valkey) as worker:
        assert worker.poll_delay_s <= 0.06
        looks, claimed = 0, list[int]()
        look, begin = worker._poll_iteration, worker._start

        async def counted() -> None:
            nonlocal looks
            looks += 1
            await look()

        def started(*args: Any) -> None:
            claimed.append(looks)
            begin(*args)

        worker._poll_iteration, worker._start = counted, started  # type: ignore[method-assign]
        for n in range(20):
            await asyncio.sleep(0.013 * (n % 7))
            await jobs.enqueue(redis, [sleeper(0, f"w{n}")])
            at = looks

            async def is_started(n: int = n) -> bool:
                return len(claimed) == n + 1

            await until(is_started)
            assert claimed[n] <= at + 1
        await redis.config_resetstat()
        at = looks
        await asyncio.sleep(2)
        stats = await redis.info("commandstats")
        calls = sum(one["calls"] for name, one in stats.items() if name.split("_", 1)[1] in ("evalsha", "set", "get", "zcard"))
        most = looks - at
    assert 1 <= calls <= most + 5, "and a sign of life now and then"


@pytest.mark.parametrize(
    ("wire", "words"),
    [(None, "bytes are gone"), (b"\x80\x04pickle", "cannot be read"), (b'{"f": "tick", "k": {"job": {"v": 1}}}', "1 fields are wrong")],
)
async def test_a_job_that_cannot_be_read_ends_as_a_dead_letter(redis: Redis, valkey: str, wire: bytes | None, words: str) -> None:
    async with running(valkey) as worker:
        ((sid, connection),) = worker.ctx["tools"].connections.items()
        job_id = f"sweep:{sid}:abc"
        if wire is not None:
            await redis.set(f"arq:job:{job_id}", wire)
        await redis.zadd(QUEUE, {job_id: 1})

        async def is_gone() -> bool:
            return await redis.zscore(QUEUE, job_id) is None

        await until(is_gone)
        _, letters = await connection.dead_letters.find({})
        assert [letter.number for letter in letters] == [job_id]
        assert words in letters[0].error["message"]
        assert await redis.exists(f"arq:job:{job_id}", f"arq:in-progress:{job_id}") == 0


@pytest.mark.parametrize("wire", [b'{"f": "teleport", "k": {"job": {"v": 1, "trace": "t"}}}', b'{"f": "tick", "k": {"job": {"v": 99}}}'])
async def test_a_newer_versions_job_is_put_back_for_whoever_knows_it(redis: Redis, valkey: str, wire: bytes) -> None:
    began_at = time.time()
    async with running(valkey):
        await redis.set("arq:job:new", wire)
        await redis.zadd(QUEUE, {"new": 1})

        async def is_put_back() -> bool:
            return bool(await redis.zscore(QUEUE, "new") > (began_at + outcomes.NEWER_WAIT_S - 1) * 1000)

        await until(is_put_back)
        assert await redis.exists("arq:in-progress:new") == 0
        assert await redis.get("arq:job:new") == wire


async def test_a_worker_that_starts_while_redis_is_away_waits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"unix://{tmp_path}/r/valkey.sock"
    pools = []

    async def open_pool() -> Any:
        pools.append(pipeline_worker.connect_redis(url))
        return pools[-1]

    async def comes_back(worker: Worker) -> None:
        assert worker._pool is None
        with attached(tmp_path / "r", environ={}) as there:
            assert there == url
            client = pipeline_worker.connect_redis(url)
            await jobs.enqueue(client, [sleeper(0, "late")])

            async def is_ended() -> bool:
                return await count(client, "ended:late") == 1

            await until(is_ended)
            await client.aclose(close_connection_pool=True)
        assert len(pools) == 1

    monkeypatch.setattr(Worker, "open_pool", staticmethod(open_pool))
    with structlog.testing.capture_logs() as lines:
        async with running(url, redis_pool=None) as worker:

            async def has_said_so() -> bool:
                return [line["event"] for line in lines] == ["Redis cannot be reached; waiting for it"]

            await until(has_said_so)
            await comes_back(worker)
    assert [line["event"] for line in lines if line["log_level"] != "debug"][1:3] == ["Redis is there", "worker started"]


async def test_a_worker_survives_redis_being_killed_under_it(tmp_path: Path) -> None:
    with attached(tmp_path / "r", environ={}) as url:
        client = pipeline_worker.connect_redis(url)
        async with running(url):
            await jobs.enqueue(client, [sleeper(4, "through")])

            async def is_started() -> bool:
                return await count(client, "started:through") == 1

            await until(is_started)
            await asyncio.to_thread(looked_after, tmp_path / "r")
            os.kill((await client.info("server"))["process_id"], signal.SIGKILL)
            await asyncio.sleep(0.2)
            await jobs.enqueue(client, [sleeper(0, "after")])  # rides out the absence

            async def are_ended() -> bool:
                return await count(client, "ended:through") >= 1 and await count(client, "ended:after") == 1

            await until(are_ended)

            async def is_empty() -> bool:
                return await client.zcard(QUEUE) == 0

            await until(is_empty)
        assert await count(client, "ended:through") >= 1
        assert await count(client, "ended:after") == 1
        await client.aclose(close_connection_pool=True)
