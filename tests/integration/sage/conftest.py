"""Our Sage client, with real slots and tokens, on a small Sage company."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from redis.asyncio import Redis
from sage_box import API, SageBox, sage_box

from connect.http import Http
from connect.sage.attachments import File, Files
from connect.sage.auth import SageAccess, request_token
from connect.sage.client import SageClient
from connect.state.slots import Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage


@dataclass
class Stamps:
    """Stands for a document's lock: counts how often a write was about to leave. `within_s`: how long each may take to do so."""

    within_s: float = 5.0
    count: int = 0

    async def __call__(self) -> float:
        self.count += 1
        return time.monotonic() + self.within_s


@dataclass
class Desk:
    """What a test works with."""

    box: SageBox
    client: SageClient
    stamp: Stamps = field(default_factory=Stamps)

    def spoil(self, where: str, kind: str, **more: object) -> None:
        """One fault; the last one is forgotten."""
        self.box.sim.kernel.faults.replace([{"where": f"sage:{where}", "kind": kind, "count": 1, **more}])

    def calls(self) -> dict[str, int]:
        return {name: count for name, count in self.box.sim.stats.calls.items() if "oauth2" not in name}


@pytest.fixture
async def desk(redis: Redis) -> AsyncIterator[Desk]:
    async with sage_box() as box, aiohttp.ClientSession() as session:
        base = str(box.client.make_url("")).rstrip("/")
        access = SageAccess(
            token_url=f"{base}{API}/oauth2/token",
            base_url=f"{base}/ia/api",
            query_url=f"{base}{API}/services/core/query",
            rest_version="v1",
            client_id=box.sim.client_id,
            client_secret=box.sim.client_secret,
            username=box.sim.username,
        )
        http = Http(session)
        tokens = Tokens(redis, access.client_id, access.username, access.client_secret, lambda: request_token(http, access))
        client = SageClient(http, tokens, Slots(redis, "acme", "c1", 6), Usage(redis, "acme", "c1"), access, lane="documents")
        yield Desk(box, client)


def files_of(marker: str, *files: tuple[str, bytes], folder: str = "Receipts") -> Files:
    return Files(marker, folder, tuple(File(name, content) for name, content in files))
