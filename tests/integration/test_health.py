"""`connect health`: exit code and reasons, as a probe sees them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import redis as redis_client
from pipeline import config_text
from redis.asyncio import Redis
from world import Connect, Workers, wait_until

from workers.health import health
from workers.queues import sign_of_life

pytestmark = pytest.mark.timeout(120)


def folder(tmp_path: Path, url: str) -> Connect:
    text = config_text(jobs=("GetSuppliers",)).replace("env:SECRET", "env:T_SAGE_SECRET")
    return Connect(tmp_path, f'[redis]\nurl = "{url}"\n{text}')


def test_a_stage_is_well_while_its_worker_lives_on_this_host_and_the_others_are_named(valkey: str, redis: Redis, tmp_path: Path) -> None:
    connect = folder(tmp_path, valkey)
    with Workers(connect, "write"), redis_client.Redis.from_url(valkey) as client:
        wait_until(lambda: client.hlen("connect:workers") == 1, 60)
        assert connect.json("health", "--stage", "write") == {"ok": True, "reasons": []}
        found = connect.json("health", expect=(1,))
        assert [reason.rsplit(" ", 1)[1] for reason in found["reasons"]] == ["schedule", "fetch", "post"]


def test_redis_away_is_said_in_words(tmp_path: Path) -> None:
    text = config_text(jobs=("GetSuppliers",)).replace("env:SECRET", "env:T_SAGE_SECRET")
    (tmp_path / "connect.toml").write_text(f'[redis]\nurl = "unix://{tmp_path}/nobody.sock"\n{text}')
    connect = Connect.__new__(Connect)
    connect.folder = tmp_path
    found = orjson.loads(connect.run("health", "--json", expect=(1,)))
    assert found["reasons"][0].startswith("Redis does not serve us")


async def test_workers_of_other_hosts_count_for_all_stages_and_not_for_this_host(redis: Redis) -> None:
    for stage in ("schedule", "fetch", "write", "post"):
        await sign_of_life(redis, f"{stage}:elsewhere:7:abcd", {}, 30)
    assert (await health(redis)).is_well
    (reason,) = (await health(redis, "post", host="here")).reasons
    assert reason == "no worker of the stage post is alive on this host, here (1 on other hosts)"
    await sign_of_life(redis, "post:here:7:abcd", {}, 30)
    assert (await health(redis, "post", host="here")).is_well


async def test_a_worker_that_has_not_been_heard_of_is_not_alive(redis: Redis) -> None:
    await sign_of_life(redis, "post:here:7:abcd", {}, -1)
    assert not (await health(redis, "post", host="here")).is_well
