"""One embedded server for all integration tests; each test finds it empty, and old enough to give slots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from connect.state import epoch
from connect.state.embedded import attached


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that ends with the session."""
    with attached(tmp_path_factory.mktemp("valkey"), environ={}) as url:
        yield url


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    """A client of the emptied server. Nobody can hold anything of the last test, so its epoch lies in the past."""
    async with Redis.from_url(valkey) as client:
        await client.flushall()
        await epoch.begin(client)
        yield client
