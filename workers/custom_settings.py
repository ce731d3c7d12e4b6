"""A connection's lookups and jobs in Prime's CustomSettings: read for `config pull`, written by `config push`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog

from connect.config.exchange import Action
from connect.config.models import Endpoint
from connect.config.rows import JOB_TYPE, LOOKUP_TYPE, Reading, Row, read_rows
from connect.errors import ConfigError, Permanent
from connect.http import Http
from connect.prime.documents import CustomSetting, PrimeDocuments
from connect.prime.soap import PrimeSoap, PrimeSoapAccess, SoapRegisters
from connect.registers import REGISTERS

log = structlog.get_logger()


@dataclass(frozen=True)
class Prime:
    """What Prime holds for an endpoint. `companies`: those that its user may see."""

    companies: list[str]
    rows: list[Row]

    def reading(self, *, secret: str, jobs: Sequence[str]) -> Reading:
        """The rows as tables. `secret`: what stands for a SageClientSecret that Prime does not refer to."""
        return read_rows(self.rows, served=self.companies, secret=secret, jobs=[*dict.fromkeys((*jobs, *REGISTERS))])


@asynccontextmanager
async def _documents(endpoint: Endpoint) -> AsyncIterator[tuple[PrimeDocuments, SoapRegisters]]:
    access = PrimeSoapAccess(endpoint.url, endpoint.environment, endpoint.username, endpoint.password.get_secret_value())
    async with aiohttp.ClientSession() as session:
        http = Http(session)
        yield PrimeDocuments(PrimeSoap(http, access)), SoapRegisters(http, access)


async def read_prime(endpoint: Endpoint) -> Prime:
    """Raises Auth, Permanent or Transient as Prime answers."""
    async with _documents(endpoint) as (documents, registers):
        companies = (await registers.check()).companies
        found = [Row(*row) for kind in (JOB_TYPE, LOOKUP_TYPE) for row in await documents.custom_settings(kind=kind)]
    log.debug("custom settings read", connection=endpoint.name, rows=len(found), companies=companies)
    return Prime(list(companies or ()), found)


async def write_prime(endpoint: Endpoint, plan: Sequence[tuple[Action, Row]]) -> int:
    """Insert and update what the plan says. Returns the rows written. What Prime refuses is said together, after all others are written."""
    refused: list[str] = []
    written = 0
    async with _documents(endpoint) as (documents, _):
        for action, row in plan:
            if action in ("insert", "update"):
                try:
                    await documents.put_custom_setting(CustomSetting(*row), new=action == "insert")
                except Permanent as error:
                    refused.append(f"{row.place}: {error.message}")
                else:
                    written += 1
    if refused:
        raise ConfigError("Prime refuses rows; the others are written:\n" + "\n".join(refused), code="refused")
    return written
