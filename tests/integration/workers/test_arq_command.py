"""arq's own command runs our workers: `arq workers.settings.FetchWorker`, with leases, an embedded Redis and all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pipeline import config_text
from redis.asyncio import Redis

from connect.config import load_config
from connect.state import epoch
from connect.state.embedded import attached
from connect.state.runs import Runs
from workers.jobs import FETCH, SweepJob, TickJob, enqueue, queue_name
from workers.queues import LEASE_S

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `arq workers.settings.{name}` in a folder whose connect.toml names no Redis; their words are in log.txt."""
    (tmp_path / "connect.toml").write_text('[redis]\ndata_dir = "data"\n' + config_text(jobs=("GetSuppliers",)))
    environ = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    environ |= {"SECRET": "s", "CONNECT_CONFIG": str(tmp_path / "connect.toml"), "CONNECT_LOG_FORMAT": "json"}
    started: list[subprocess.Popen[bytes]] = []
    with (tmp_path / "log.txt").open("ab") as log:

        def one(name: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "arq", f"workers.settings.{name}"]
            started.append(subprocess.Popen(command, cwd=Path(__file__).parents[3], env=environ, stdout=log, stderr=log))
            return started[-1]

        yield one
        for process in started:
            process.kill()
            process.wait()


async def look(what: Callable[[], object], timeout_s: float = 90) -> None:
    limit = time.monotonic() + timeout_s
    while not await what():  # type: ignore[misc]
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.05)


async def test_what_a_killed_worker_of_arqs_command_was_doing_is_done_by_the_next(tmp_path: Path, start: Start) -> None:
    asked = asyncio.Semaphore(0)

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        with suppress(ConnectionError):
            await reader.read()  # until whoever asked is gone
        writer.close()

    sage = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    path = tmp_path / "connect.toml"
    path.write_text(path.read_text().replace("127.0.0.1:9/token", f"127.0.0.1:{sage.sockets[0].getsockname()[1]}/token"))
    (connection,) = load_config(path, environ={"SECRET": "s"}).connections
    first = start("FetchWorker")
    with attached(tmp_path / "data", environ={}) as url:
        redis = Redis.from_url(url)
        await epoch.begin(redis)
        runs = Runs(redis, connection.sid)
        run = await runs.begin("100", "GetSuppliers", mode="full", trace="t1", parts=["Supplier"], entity="", now=datetime.now(UTC))
        assert run is not None
        job = SweepJob(trace="t1", sid=connection.sid, sweep="s1", runs=((run, "Supplier"),))
        await enqueue(redis, [job])
        await asyncio.wait_for(asked.acquire(), 60)  # the sweep wants a token
        first.kill()
        assert first.wait() == -signal.SIGKILL
        seconds, _ = await redis.time()
        assert await redis.zscore(queue_name(FETCH), job.job_id) <= (seconds + 1 + LEASE_S) * 1000, "due again when its lease ends"
        second = start("FetchWorker")

        async def is_swept_anew() -> bool:
            return (await runs.part_facts(run, "Supplier"))["generation"] == "2"

        await look(is_swept_anew)
        assert await redis.exists(f"arq:retry:{job.job_id}") == 0
        second.kill()
        second.wait()
        await redis.aclose(close_connection_pool=True)
    sage.close()
    await asyncio.sleep(0.1)
    words = (tmp_path / "log.txt").read_text()
    assert words.count('"event":"worker started"') == 2
    assert "Traceback" not in words


async def test_arqs_command_runs_the_schedule_and_the_write_stage_too_and_keeps_the_embedded_redis(tmp_path: Path, start: Start) -> None:
    processes = [start("ScheduleWorker"), start("WriteWorker")]
    with attached(tmp_path / "data", environ={}) as url:
        redis = Redis.from_url(url)

        async def are_alive() -> bool:
            return len([key async for key in redis.scan_iter(match="connect:worker:*")]) == 2

        await look(are_alive)
    await asyncio.sleep(1.5)  # only the workers hold it now
    await enqueue(redis, [TickJob(trace="t")])

    async def is_empty() -> bool:
        return bool(await redis.exists("arq:job:tick:all:t") == 0)

    await look(is_empty)
    await redis.aclose(close_connection_pool=True)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [await asyncio.to_thread(process.wait, 60) for process in processes] == [0, 0]
