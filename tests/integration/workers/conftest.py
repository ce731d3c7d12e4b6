"""Made-up registers beside the real ones, and a pipeline over an emptied server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pipeline
import pytest
from redis.asyncio import Redis

from connect.registers import REGISTERS


@pytest.fixture
async def make(valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., pipeline.Pipeline]]:
    """Makes a pipeline; options as `pipeline.config_text` takes them. `jobs`: GetThings unless said otherwise."""
    for name, register in pipeline.REGISTERS.items():
        monkeypatch.setitem(REGISTERS, name, register)
    made: list[pipeline.Pipeline] = []

    def one(*, starts_due: bool = False, **options: Any) -> pipeline.Pipeline:
        config = pipeline.config_text(**{"jobs": ("GetThings",)} | options)
        made.append(pipeline.pipeline(valkey, config, starts_due))
        return made[-1]

    yield one
    for each in made:
        await each.tools.redis.aclose(close_connection_pool=True)
