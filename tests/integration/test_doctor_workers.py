"""The doctor says when workers differ in version or file, go by an older one, or are not the Connect that this command is."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from connect.doctor import Systems
from connect.doctor.check import Check, verdict_of
from connect.doctor.workers import CHECKS
from connect.state.workers import CONFIGURATIONS, REDIS_CHANGED, VERSION_FILE, digest, version

(CHECK,) = CHECKS


async def hear(redis: Redis, worker: str, file: Path, **said: Any) -> None:
    facts = {"digest": digest(file), "version": version(), "refused": "", "at": time.time()} | said
    await redis.hset(CONFIGURATIONS, worker, orjson.dumps(facts))


def write(folder: Path, *, number: str) -> None:
    (folder / VERSION_FILE).write_bytes(orjson.dumps({"version": number}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "connect.toml"
    found.write_text("# a file")
    write(tmp_path, number=version())
    return found


async def seen(redis: Redis, file: Path, check: Check = CHECK) -> tuple[str, str, list[tuple[str, str]]]:
    """The verdict, the text, and cause and owner of what is wrong; the causes and what to do are sentences."""
    config = SimpleNamespace(path=file, redis=SimpleNamespace(data_dir=file.parent))
    found = await check.run(cast("Systems", SimpleNamespace(redis=redis, config=config)))
    assert all(one.cause.endswith(".") and one.do.endswith(".") for one in found.findings)
    return verdict_of(found.findings), found.text, [(one.cause, one.owner) for one in found.findings]


async def test_workers_of_one_version_and_file_are_fine(redis: Redis, file: Path) -> None:
    for worker in ("a:1", "b:1"):
        await hear(redis, worker, file)
    assert await seen(redis, file) == ("ok", f"2 workers run Connect {version()}", [])


async def test_without_a_worker_there_is_nothing_to_differ(redis: Redis, file: Path) -> None:
    await hear(redis, "dead:1", file, version="0.0.1", digest="x", refused="r", at=time.time() - 200)
    assert await seen(redis, file) == ("ok", "no worker runs", [])
    assert await redis.hexists(CONFIGURATIONS, "dead:1"), "the doctor changes nothing"
    write(file.parent, number="0.0.1")
    assert await seen(redis, file) == ("ok", f"no worker runs; the last one here was Connect 0.0.1, this is {version()}", [])


async def test_workers_that_differ_in_version_or_file_are_told(redis: Redis, file: Path) -> None:
    await hear(redis, "a:1", file)
    await hear(redis, "b:1", file, version="0.0.1", digest="other")
    verdict, _, found = await seen(redis, file)
    assert verdict == "warning"
    versions, files = found
    assert versions == (f"Workers go by 2 different versions of Connect (0.0.1, {version()}): bring them to the same.", "operator")
    assert files[0].startswith("Workers go by 2 different configuration files (")


async def test_workers_that_are_not_the_connect_of_this_command_are_told(redis: Redis, file: Path) -> None:
    await hear(redis, "a:1", file, version="0.0.1")
    write(file.parent, number="0.0.1")
    assert await seen(redis, file) == (
        "warning",
        "1 worker runs Connect 0.0.1",
        [(f"The workers run Connect 0.0.1, this command is {version()}.", "operator")],
    )


async def test_data_directory_that_tells_of_another_version_than_the_workers_run_is_told(redis: Redis, file: Path) -> None:
    await hear(redis, "a:1", file)
    write(file.parent, number="0.0.1")
    verdict, _, ((cause, owner),) = await seen(redis, file)
    assert (verdict, owner) == ("warning", "operator")
    assert cause == f"version.json in {file.parent} says that Connect 0.0.1 runs there; the workers run {version()}."
    (file.parent / VERSION_FILE).write_text("cut o")
    assert (await seen(redis, file))[0] == "ok", "of a file that cannot be read nothing is known"


async def test_workers_that_go_by_another_file_than_this_command_are_told(redis: Redis, file: Path) -> None:
    await hear(redis, "a:1", file, digest="other")
    verdict, _, ((cause, owner),) = await seen(redis, file)
    assert (verdict, owner) == ("warning", "operator")
    assert cause == f"The workers go by another configuration file (other) than {file} ({digest(file)})."


@pytest.mark.parametrize(("reason", "owner"), [("connections: Field required", "consultant"), (REDIS_CHANGED, "operator")])
async def test_refused_file_is_told_with_the_reason_and_who_mends_it(redis: Redis, file: Path, reason: str, owner: str) -> None:
    await hear(redis, "a:1", file, refused=reason, digest="before")
    cause = f"The configuration as it is now is not what 1 of 1 workers go by: {reason}."
    assert await seen(redis, file) == ("warning", f"1 worker runs Connect {version()}", [(cause, owner)])
