"""A changed configuration is taken up between two jobs; a wrong one is refused; no job is lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pipeline
import pytest
import structlog
from arq.worker import get_kwargs
from redis.asyncio import Redis

from connect.config import load_config
from connect.state.runs import Runs
from connect.state.workers import CONFIGURATIONS, differences, taken, version
from workers import outcomes, reloading
from workers.arq_worker import Worker
from workers.jobs import SCHEDULE, TickJob, Tools, enqueue, queue_name
from workers.reloading import Reloading, configuration, write_version
from workers.settings import STAGE_WORKERS, connect_redis, open_tools


def config(*names: str, **options: Any) -> str:
    return pipeline.config_text(names=names, jobs=("GetSuppliers",), **options).replace("env:SECRET", "file:secret")


class Watched:
    """A configuration file, and a worker that goes by it. `tools`: what its next job gets."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "connect.toml"
        (folder / "secret").write_text("first")
        self.write(text)
        self.tools: Tools
        self.reloading: Reloading

    def write(self, text: str, name: str = "connect.toml") -> None:
        new = self.path.with_name("new")
        new.write_text(text)
        new.replace(self.path.with_name(name))

    def take(self, tools: Tools) -> None:
        self.tools = tools

    def names(self) -> list[str]:
        return [one.connection.name for one in self.tools.connections.values()]


async def remarks(redis: Redis) -> list[str]:
    return [one.text for one in differences(await taken(redis))]


@asynccontextmanager
async def watched(folder: Path, valkey: str, text: str) -> AsyncIterator[Watched]:
    box = Watched(folder, text)
    pool = connect_redis(valkey)
    async with open_tools(load_config(box.path, environ={}), pool) as tools:
        box.take(tools)
        box.reloading = Reloading(tools, box.take, environ={})
        await box.reloading.look()
        yield box
    await pool.aclose(close_connection_pool=True)


async def test_changed_file_is_taken_up_and_what_is_the_same_keeps_its_tools(tmp_path: Path, valkey: str, redis: Redis) -> None:
    async with watched(tmp_path, valkey, config("acme", "other")) as box:
        before = box.tools
        acme = next(iter(before.connections.values()))
        box.write(config("acme", "third"))
        with structlog.testing.capture_logs() as lines:
            await box.reloading.look()
        assert box.names() == ["acme", "third"]
        assert [one.name for one in box.tools.config.connections] == ["acme", "third"]
        assert box.tools.connections[acme.connection.sid] is acme
        assert [one.connection.name for one in before.connections.values()] == ["acme", "other"], "a job at work keeps what it began with"
        (line,) = lines
        assert (line["event"], line["changed"], line["gone"]) == ("the changed configuration is taken up", ["third"], ["other"])
        (said,) = await taken(redis)
        assert (said.refused, said.version, len(said.digest)) == ("", version(), 12)


async def test_wrong_file_is_refused_with_the_reason_and_the_old_one_stays_until_it_is_mended(
    tmp_path: Path, valkey: str, redis: Redis
) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        before = box.tools
        box.write(config("acme", "other").replace("LOCATION = 2", "LOCATON = 2"))
        with structlog.testing.capture_logs() as lines:
            await box.reloading.look()
            await box.reloading.look()
        assert box.tools is before
        (line,) = lines
        assert (line["log_level"], line["event"]) == ("error", "the changed configuration is refused; the old one stays")
        assert 'did you mean "LOCATION"?' in line["reason"]
        (sentence,) = await remarks(redis)
        assert sentence.startswith("The configuration as it is now is not what 1 of 1 workers go by: ")
        assert "Objects.LOCATON" in sentence
        box.write(config("acme", "other"))
        await box.reloading.look()
        assert box.names() == ["acme", "other"]
        assert await remarks(redis) == []


async def test_secret_that_was_written_anew_is_used_and_the_connection_is_tried_again(tmp_path: Path, valkey: str, redis: Redis) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        (before,) = box.tools.connections.values()
        await before.pauses.pause("fetch", "Sage refuses the client secret")
        assert before.seal is not None
        sealed = before.seal.close(b"account 42", "Supplier", "letter")
        alike, text = before.seal.close_alike(b"account 42", "place"), before.seal.close_text("account 42", "Supplier")
        assert b"account 42" not in sealed + alike + text.encode()
        box.write("second", "secret")
        await box.reloading.look()
        (after,) = box.tools.connections.values()
        assert after is not before
        assert after.connection.credentials.client_secret.get_secret_value() == "second"
        assert await after.pauses.get("fetch") is None
        assert after.seal is not None
        assert after.seal.open(sealed, "letter") == b"account 42", "what is on its way is not lost"
        assert (after.seal.open_alike(alike, "place"), after.seal.open_text(text, "Supplier")) == (b"account 42", "account 42")
        assert after.seal.close_alike(b"account 42", "place") != alike
        everything = [*(await redis.hgetall(CONFIGURATIONS)).values(), repr(box.tools.config).encode()]
        assert not any(b"second" in one for one in everything)


async def test_secret_file_that_is_gone_keeps_the_old_secret(tmp_path: Path, valkey: str, redis: Redis) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        before = box.tools
        (tmp_path / "secret").unlink()
        await box.reloading.look()
        assert box.tools is before
        assert "cannot be read" in (await remarks(redis))[0]


async def test_touched_file_and_a_comment_change_nothing(tmp_path: Path, valkey: str, redis: Redis) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        before = box.tools
        box.write("# a remark\n" + config("acme"))
        with structlog.testing.capture_logs() as lines:
            await box.reloading.look()
        assert (box.tools, lines) == (before, [])


async def test_other_redis_needs_a_new_start_and_everything_else_is_taken_up(tmp_path: Path, valkey: str, redis: Redis) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        box.write('[redis]\nurl = "redis://127.0.0.1:1/0"\n' + config("acme", "other"))
        await box.reloading.look()
        assert box.names() == ["acme", "other"]
        assert box.tools.config.redis.url is None
        assert "start the workers anew" in (await remarks(redis))[0]


async def test_workers_that_go_by_different_files_are_told_apart(redis: Redis) -> None:
    for worker, digest, number in (("a:1", "one", "0.1.0"), ("b:1", "two", "0.2.0")):
        said = {"digest": digest, "version": number, "refused": "", "at": time.time()}
        await redis.hset(CONFIGURATIONS, worker, orjson.dumps(said))
    await redis.hset(CONFIGURATIONS, "dead:1", orjson.dumps({"digest": "x", "version": "0", "refused": "r", "at": 0}))
    assert await remarks(redis) == [
        "Workers go by 2 different versions of Connect (0.1.0, 0.2.0): bring them to the same",
        "Workers go by 2 different configuration files (one, two): bring them to the same",
    ]


async def test_worker_says_what_it_was_started_as_whatever_is_installed_later(
    tmp_path: Path, valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, valkey, config("acme")) as box:
        before = version()
        monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9.9")
        assert version() == "9.9.9"
        box.write("# a remark\n" + config("acme"))
        await box.reloading.look()
        (said,) = await taken(redis)
    assert said.version == before


async def test_worker_forgets_those_that_are_long_gone(tmp_path: Path, valkey: str, redis: Redis) -> None:
    for worker, days in (("dead:1", 2), ("silent:1", 0.5)):
        said = {"digest": "x", "version": "0", "refused": "", "at": time.time() - days * 86_400}
        await redis.hset(CONFIGURATIONS, worker, orjson.dumps(said))
    async with watched(tmp_path, valkey, config("acme")) as box:
        running = asyncio.create_task(box.reloading.run())

        async def was_forgotten() -> bool:
            return not await redis.hexists(CONFIGURATIONS, "dead:1")

        await eventually(was_forgotten)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await redis.hexists(CONFIGURATIONS, "silent:1")


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    until = time.monotonic() + 60
    while not await what():
        assert time.monotonic() < until, "waited in vain"
        await asyncio.sleep(0.02)


async def test_job_of_a_connection_that_this_worker_does_not_know_yet_waits_for_its_configuration(
    tmp_path: Path, valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(outcomes, "UNKNOWN_WAIT_S", 0.1)
    box = Watched(tmp_path, config("acme"))
    monkeypatch.setenv("CONNECT_CONFIG", str(box.path))
    box.write(config("acme", "other"), "later.toml")
    other = load_config(tmp_path / "later.toml").connections[1].sid
    options: dict[str, Any] = {**get_kwargs(STAGE_WORKERS[SCHEDULE]), "redis_pool": connect_redis(valkey), "cron_jobs": None}
    worker = Worker(**options, handle_signals=False)
    running = asyncio.create_task(worker.async_run())
    try:
        await enqueue(redis, [TickJob(trace="t", sid=other)])

        async def was_put_back() -> bool:
            return bool([key async for key in redis.scan_iter("arq:retry:*")])

        await eventually(was_put_back)
        assert await redis.zcard(queue_name(SCHEDULE)) == 1
        (tmp_path / "later.toml").replace(box.path)

        async def began() -> bool:
            return bool(await Runs(redis, other).running())

        await eventually(began)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()
    assert await redis.hlen(CONFIGURATIONS) == 0, "who leaves is not counted"
    assert orjson.loads((tmp_path / ".connect" / "version.json").read_bytes())["version"] == version()


async def test_job_of_a_connection_that_nobody_configures_ends_after_a_while(
    tmp_path: Path, valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "UNKNOWN_FOR_S", 2 * outcomes.UNKNOWN_WAIT_S)
    async with watched(tmp_path, valkey, config("acme")) as box:
        job = TickJob(trace="t", sid="gone")

        async def action(_ctx: dict[str, Any], _job: Any) -> None:
            raise AssertionError("it is nobody's")

        waits = [(await outcomes.run({"tools": box.tools}, action, job)).again_s for _ in range(3)]
    assert waits == [outcomes.UNKNOWN_WAIT_S, outcomes.UNKNOWN_WAIT_S, None]


async def test_status_tells_of_maintenance_and_of_a_file_that_is_refused(tmp_path: Path, valkey: str, redis: Redis) -> None:
    every_day = ", ".join(f'"{day} 00:00-03:25"' for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    text = config("acme").replace('name = "acme"', f'name = "acme"\nmaintenance = [{every_day}]', 1)
    async with watched(tmp_path, valkey, text) as box:
        box.write("connections = 5")
        await box.reloading.look()
        at = datetime(2026, 3, 2, 2, tzinfo=UTC)
        document = await configuration(replace(box.tools, clock=lambda: at))
    assert document["maintenance"] == [{"connection": "acme", "until": "2026-03-02T03:25:00+00:00"}]
    refused, maintenance = document["remarks"]
    assert "is not what 1 of 1 workers go by" in refused
    assert maintenance == "acme: Sage's maintenance until 03:25 UTC: nothing starts by its schedule"


def test_data_directory_that_takes_no_files_is_no_error(tmp_path: Path) -> None:
    box = Watched(tmp_path, config("acme"))
    (tmp_path / ".connect").write_text("a file in its place")
    with structlog.testing.capture_logs() as lines:
        write_version(load_config(box.path))
    assert [line["event"] for line in lines] == ["version.json is not written: the data directory takes no files", "Connect starts"]
    assert lines[1]["version"] == version()
