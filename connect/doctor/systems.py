"""What the checks of one connection ask, and what they share: an answer that several of them need is asked for once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from connect.config import Config, Connection
from connect.doctor.needs import Need, needs
from connect.http import Http
from connect.prime.rest import PrimeRest
from connect.prime.soap import PrimeSoap
from connect.sage.client import SageClient
from connect.state.slots import Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage

T = TypeVar("T")


@dataclass
class Systems:
    """One connection's Redis, Sage and Prime. `rest` None: the connection does not say how Prime's REST API is reached.

    `config`: the file that this command reads, of which the connection is one. `clock`: this machine's, in seconds since the epoch.
    """

    config: Config
    connection: Connection
    redis: Redis
    http: Http
    tokens: Tokens
    slots: Slots
    usage: Usage
    sage: SageClient
    soap: PrimeSoap
    rest: PrimeRest | None
    clock: Callable[[], float] = time.time
    _kept: dict[str, asyncio.Future[Any]] = field(default_factory=dict, init=False)

    async def once(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` answers or raises; asked for by whoever comes first, for all."""
        if name not in self._kept:
            self._kept[name] = asyncio.ensure_future(ask())
        return cast("T", await asyncio.shield(self._kept[name]))

    @cached_property
    def needs(self) -> dict[str, Need]:
        """What the active jobs read of Sage: object -> fields and jobs."""
        return needs(self.connection)

    @property
    def jobs(self) -> frozenset[str]:
        """The active jobs of any company."""
        return frozenset(job.job for job in self.connection.jobs if job.active)

    def companies(self, *jobs: str) -> list[str]:
        """The companies that have one of these jobs active; of all active jobs without any."""
        return list(dict.fromkeys(job.company for job in self.connection.jobs if job.active and (not jobs or job.job in jobs)))
