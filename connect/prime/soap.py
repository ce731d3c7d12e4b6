"""The Prime web service: any operation by name (`PrimeSoap`), and registers written through it (`SoapRegisters`).

There is no batch: one record is one call (prime.md 1.1), so a chunk's rows travel several at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

import structlog
from lxml import etree

from connect.errors import Auth, ConnectError, Permanent, RateLimited, Transient
from connect.http import MAX_REPLY_BYTES, Http, Reply, hidden, hide_in, retry
from connect.prime.envelope import CONTENT_TYPE, LARGE_BYTES, call_xml, insert_xml, local_name, parameters_xml, read_answer, read_row
from connect.prime.port import PrimeInfo, RowResult

OLDEST_VERSION: Final = 8  # prime.md 1.1
PARALLEL: Final = 16  # calls of one chunk at once
TRIES: Final = 3
TIMEOUT_S: Final = 60.0

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class PrimeSoapAccess:
    """Where a Prime environment is and who we are there. `user_element`: how its web service calls the user (D2)."""

    url: str
    environment: str
    username: str
    password: str = field(repr=False)
    user_element: str = "UserID"

    @cached_property
    def credentials(self) -> str:
        """The elements that every operation but GetVersion starts with."""
        return parameters_xml({"Environment": self.environment, self.user_element: self.username, "Password": self.password})


def frame(access: PrimeSoapAccess, kind: str, body: bytes) -> bytes:
    """The request that upserts one record. Raises Poison when the body cannot be written as XML."""
    return insert_xml(kind, access.credentials, body)


class PrimeSoap:
    """Calls to the web service. `tries`: how often a call that may be repeated is sent."""

    def __init__(
        self,
        http: Http,
        access: PrimeSoapAccess,
        *,
        tries: int = TRIES,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.access = access
        self._http = http
        self._tries = tries
        self._timeout_s = timeout_s
        self._sleep = sleep

    async def call(
        self, operation: str, parameters: Mapping[str, Any] | None = None, *, credentials: bool = True, safe: bool = True
    ) -> etree._Element | None:
        """The result element of any operation, None when it is null.

        `parameters` in their order; a mapping among them is a record. `safe`: repeating the call changes nothing. Otherwise it is sent once
        only, and OutcomeUnknown says that it may have happened.

        Raises Auth, Permanent or Transient.
        """
        request = call_xml(operation, (self.access.credentials if credentials else "") + parameters_xml(parameters or {}))
        return await self._exchange(request, lambda reply: read_answer(reply, operation, safe=safe), safe=safe)

    async def ask(
        self, operation: str, parameters: Mapping[str, Any], read: Callable[[Reply], T], *, max_bytes: int = MAX_REPLY_BYTES
    ) -> T:
        """What `read` makes of the answer to an operation that may be repeated; of a large one, in a thread.

        An answer that cannot be read is not quoted in the error: it holds invoices, bank accounts or files. Raises Auth, Permanent, Poison
        (more than `max_bytes`) or Transient, and what `read` raises.
        """
        request = call_xml(operation, self.access.credentials + parameters_xml(parameters))
        try:
            return await self._exchange(request, read, safe=True, max_bytes=max_bytes)
        except ConnectError as error:
            if error.code == "unreadable":
                error.detail = ""
            raise

    async def insert(self, kind: str, body: bytes) -> RowResult:
        """Upsert one record, given as a JSON object with wire names. Raises Auth, Permanent, Poison or Transient."""
        operation = f"Insert{kind}"
        return await self._exchange(frame(self.access, kind, body), lambda reply: read_row(reply, operation), safe=True)

    async def _exchange(self, request: bytes, read: Callable[[Reply], T], *, safe: bool, max_bytes: int = MAX_REPLY_BYTES) -> T:
        async def once() -> T:
            reply = await self._http.exchange(
                "POST",
                self.access.url,
                system="prime",
                headers={"Content-Type": CONTENT_TYPE},
                data=request,
                timeout_s=self._timeout_s,
                max_bytes=max_bytes,
                safe=safe,
            )
            return read(reply) if len(reply.body) < LARGE_BYTES else await asyncio.to_thread(read, reply)

        try:
            return await retry(once, tries=self._tries if safe else 1, sleep=self._sleep)
        except ConnectError as error:
            hide_in(error, (self.access.password,))
            raise


class SoapRegisters:
    """Registers over SOAP (port.RegisterWriter). `parallel`: calls at once for one chunk."""

    def __init__(
        self,
        http: Http,
        access: PrimeSoapAccess,
        *,
        parallel: int = PARALLEL,
        tries: int = TRIES,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.soap = PrimeSoap(http, access, tries=tries, timeout_s=timeout_s, sleep=sleep)
        self._parallel = parallel

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        """One call per row. When we are not let in or told to wait, or Prime fails on and on, the rows left are not tried."""
        started = time.monotonic()
        results: dict[int, RowResult] = {}
        stop = _Stop(self._parallel)
        places = iter(range(len(bodies)))  # shared: each caller takes the next

        async def caller() -> None:
            for at in places:
                if stop.error is None:
                    results[at] = stop.seen(await self._insert(kind, bodies[at]))
                else:
                    results[at] = RowResult(error=stop.error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._parallel, len(bodies))):
                group.create_task(caller())
        log.debug("rows written", kind=kind, company=company, rows=len(bodies), duration_ms=round((time.monotonic() - started) * 1000, 1))
        return [results[at] for at in range(len(bodies))]

    async def _insert(self, kind: str, body: bytes) -> RowResult:
        try:
            result = await self.soap.insert(kind, body)
        except ConnectError as error:
            return RowResult(error=error)
        return result._replace(message=hidden(result.message, (self.soap.access.password,))) if result.code else result

    async def check(self) -> PrimeInfo:
        """Version, user, environment (D25)."""
        version = _text(await self.soap.call("GetVersion", credentials=False))
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < OLDEST_VERSION:
            raise Permanent(f"Prime says it is version {version!r}, expected {OLDEST_VERSION} or later", system="prime", code="version")
        access = self.soap.access
        if _text(await self.soap.call("AuthenticateUser")) != "true":
            raise Auth(
                f"Prime refuses user {access.username} in environment {access.environment}; check environment, username and password",
                system="prime",
                code="credentials",
            )
        environments = _texts(await self.soap.call("ListEnvironments"))
        if access.environment not in environments:
            known = ", ".join(environments) or "none"
            raise Permanent(f"Prime has no environment {access.environment}; it has {known}", system="prime", code="environment")
        return PrimeInfo(version, _texts(await self.soap.call("ListCompanies")))


class _Stop:
    """Whether to go on with a chunk: `error` is why not."""

    def __init__(self, limit: int) -> None:
        self.error: ConnectError | None = None
        self._limit = limit
        self._failed = 0

    def seen(self, result: RowResult) -> RowResult:
        """Take note of one row's result. One row may fail for itself; as many in a row as travel at once mean that Prime is away."""
        self._failed = self._failed + 1 if isinstance(result.error, Transient) else 0
        if isinstance(result.error, Auth | RateLimited) or (result.error is not None and self._failed >= self._limit):
            self.error = self.error or result.error
        return result


def _text(result: etree._Element | None) -> str:
    return (result.text or "").strip() if result is not None else ""


def _texts(result: etree._Element | None) -> tuple[str, ...]:
    return tuple((child.text or "").strip() for child in result if local_name(child) == "string") if result is not None else ()
