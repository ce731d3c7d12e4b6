"""Who a Connect is among all on one Prime: the same as before also after its Redis was lost, where that can be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipeline import Pipeline

from connect.config import RedisSettings
from connect.state.embedded import attached
from workers.deployment import DEPLOYMENT, deployment_id
from workers.jobs import Tools
from workers.settings import connect_redis

Make = Callable[..., Pipeline]


def configured(tools: Tools, **facts: Any) -> Tools:
    return replace(tools, config=tools.config.model_copy(update={"redis": RedisSettings(**facts)}))


async def test_without_a_name_it_is_all_that_is_around_one_redis(make: Make) -> None:
    tools = make().tools
    await tools.redis.delete(DEPLOYMENT)
    first = await deployment_id(tools)
    assert await deployment_id(make().tools) == first
    await tools.redis.set(DEPLOYMENT, "another")
    assert await deployment_id(tools) == "another"


async def test_a_name_is_who_we_are_whatever_redis_holds(make: Make) -> None:
    tools = configured(make().tools, deployment="acme-prod-1")
    await tools.redis.set(DEPLOYMENT, "another")
    assert await deployment_id(tools) == "acme-prod-1"
    await tools.redis.delete(DEPLOYMENT)
    assert await deployment_id(tools) == "acme-prod-1"
    assert await tools.redis.get(DEPLOYMENT) == b"acme-prod-1"


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="deployment"):
        RedisSettings(deployment=name)


async def test_an_embedded_redis_that_was_lost_is_still_the_same_connect(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    found = []
    for turn in range(3):
        with attached(folder) as url:
            redis = connect_redis(RedisSettings(url=url))
            tools = replace(configured(make().tools, data_dir=folder), redis=redis)
            found.append(await deployment_id(tools))
            if turn == 1:
                await redis.flushall()
                found.append(await deployment_id(tools))
            assert await redis.get(DEPLOYMENT) == found[-1].encode()
            await redis.delete(DEPLOYMENT)
            await redis.aclose()
    assert len(set(found)) == 1
    assert (folder / "deployment").read_text().strip() == found[0]
    (folder / "deployment").write_text("")  # a full disk
    with attached(folder) as url:
        redis = connect_redis(RedisSettings(url=url))
        tools = replace(configured(make().tools, data_dir=folder), redis=redis)
        anew = await deployment_id(tools)
        await redis.aclose()
    assert (folder / "deployment").read_text().strip() == anew != ""


async def test_the_file_of_a_data_directory_says_nothing_of_another_redis(make: Make, tmp_path: Path) -> None:
    (tmp_path / "deployment").write_text("of the embedded server")
    tools = configured(make().tools, data_dir=tmp_path)
    assert await deployment_id(tools) != "of the embedded server"
