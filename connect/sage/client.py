"""The Sage client: every call takes a slot and a token, is counted, and comes back as bytes or as one of our errors."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.http import MAX_REPLY_BYTES, Http, Reply, retry
from connect.sage.auth import SageAccess
from connect.sage.envelope import error_from, result_of
from connect.sage.query import Query, QueryPage
from connect.sage.refusals import refusal, was_replayed
from connect.state.slots import Lane, Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage

QUERY_TIMEOUT_S: Final = 60.0
WRITE_TIMEOUT_S: Final = 120.0  # with files; a document's lock lives longer (journal.LOCK_S)
WRITE_SLOT_WAIT_S: Final = 60.0
PAUSE_S: Final = 1.0  # after a 429 that says nothing; doubled with each further one
LONGEST_PAUSE_S: Final = 16.0
TOKENS_REFUSED: Final = 3  # a fresh token refused so often in a row: somebody must look
LONGEST_THROTTLE_S: Final = 900.0
NOT_SENT: Final = ("unreachable", "bad_request")  # http.py

log = structlog.get_logger()


@dataclass(frozen=True)
class Dimension:
    """One line of Sage's dimension list. `name` as in the guide (DEPARTMENT, …)."""

    name: str
    label: str
    endpoint: str
    is_user_defined: bool
    is_enabled: bool


BeforeWrite = Callable[[], Awaitable[float]]
"""Awaited right before a write leaves; returns the moment (monotonic) after which it may not leave any more."""


@dataclass(frozen=True)
class Written:
    """Sage's yes to a write. `result`: `ia::result`, None when there is no content. `replayed`: the answer to an earlier request."""

    result: Any
    replayed: bool = False


COUNTED: Final[ContextVar[Counter[str] | None]] = ContextVar("COUNTED", default=None)
"""Where the calls of everything below are counted too: a job sets it and learns what it has cost."""


def _count(what: str, calls: Counter[str] | None) -> None:
    for counter in (calls, COUNTED.get()):
        if counter is not None:
            counter[what] += 1


class SageClient:
    """One connection's way to Sage. `lane`: documents go before registers; writes are documents always."""

    def __init__(
        self,
        http: Http,
        tokens: Tokens,
        slots: Slots,
        usage: Usage,
        access: SageAccess,
        *,
        lane: Lane = "registers",
        write_timeout_s: float = WRITE_TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._slots = slots
        self._usage = usage
        self._access = access
        self._lane: Lane = lane
        self._write_timeout_s = write_timeout_s
        self._monotonic = monotonic

    async def query(self, query: Query, *, entity: str = "", calls: Counter[str] | None = None) -> QueryPage:
        """One page. Raises Permanent when Sage refuses the query, also because this user may not read that object: others it may."""

        async def once() -> QueryPage:
            try:
                reply = await self._call("POST", self._access.query_url, query.body(), entity=entity, what=query.object, calls=calls)
            except Auth as error:
                if error.status != 403:
                    raise
                raise _not_permitted(error, query.object) from error
            try:
                return QueryPage(reply.body, query.object)
            except Poison as error:  # a proxy's page, or a reply cut off: the next one may be right
                raise Transient(error.message, system="sage", code=error.code, status=reply.status, detail=error.detail) from error

        return await retry(once)

    async def query_rows(
        self,
        source_object: str,
        fields: tuple[str, ...],
        filters: tuple[dict[str, Any], ...] = (),
        *,
        entity: str = "",
        calls: Counter[str] | None = None,
    ) -> list[tuple[int, bytes]]:
        """All rows of a small read, in key order: (key, JSON bytes)."""
        return await self.rows_of(Query(source_object, fields, filters), entity=entity, calls=calls)

    async def rows_of(self, query: Query, *, entity: str = "", calls: Counter[str] | None = None) -> list[tuple[int, bytes]]:
        """All rows of a small query, in key order: (key, JSON bytes)."""
        found: dict[int, bytes] = {}
        while True:
            page = await self.query(query, entity=entity, calls=calls)
            found.update(page.rows())
            if page.next is None:
                return sorted(found.items())
            if page.next <= query.start:
                raise Poison(f"Sage's pages of {query.object} go round in circles", system="sage", code="no_page")
            query = replace(query, start=page.next)

    async def record(self, path: str, *, entity: str = "", calls: Counter[str] | None = None) -> dict[str, Any] | None:
        """One record by its key (`path`: accounts-payable/bill/77), or None when Sage has none."""

        async def once() -> dict[str, Any] | None:
            what = path.rpartition("/")[0]
            try:
                reply = await self._call("GET", self._address(f"/objects/{path}"), None, entity=entity, what=what, calls=calls)
            except Permanent as error:
                if error.status == 404:
                    return None
                raise
            try:
                found = result_of(reply)
            except orjson.JSONDecodeError as error:
                raise Transient(f"Sage's {path} cannot be read: {error}", system="sage", code="no_record") from error
            if not isinstance(found, dict):
                raise Transient(f"Sage's {path} is no record", system="sage", code="no_record")
            return found

        return await retry(once)

    async def write(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        before_write: BeforeWrite,
        what: str,
        key: str = "",
        entity: str = "",
        calls: Counter[str] | None = None,
    ) -> Written:
        """Send one write, once; only a refused token is answered with a new one, since that did nothing.

        `path`: after the version (/objects/accounts-payable/bill). `before_write`: awaited with slot and token in hand; a write that
        cannot leave by the moment it returns is not sent. `key`: the idempotency key. `what`: how the call is counted.

        Raises:
            Permanent: refused; `code` as refusals.py says, "duplicate" and "burnt" among them.
            OutcomeUnknown: it may have happened.
            Transient ("too_late", unreachable, a lost lock), RateLimited: it has not.
            Auth: we are not let in.
        """
        headers = {"Idempotency-Key": key} if key else {}
        if entity:
            headers["X-IA-API-Param-Entity"] = entity
        rejected: str | None = None
        refusals = 0
        while True:
            _count(what, calls)
            token, reply = await self._send(method, path, body, headers, before_write, what, rejected)
            error = refusal(reply)
            result = None
            if error is None and reply.body.strip():
                try:
                    result = result_of(reply)
                except orjson.JSONDecodeError as broken:
                    error = _unknown("Sage's answer cannot be read", code="no_answer")
                    error.__cause__ = broken
            await self._usage.note(f"{method} {what}", transactions=_records(result) if error is None else 0)
            if error is None:
                return Written(result, was_replayed(reply))
            if not isinstance(error, Auth) or error.status == 403:
                raise error
            refusals += 1
            if refusals >= TOKENS_REFUSED:
                raise self._refused(error)
            rejected = token

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        before_write: BeforeWrite,
        what: str,
        rejected: str | None,
    ) -> tuple[str, Reply]:
        """(token, answer) of one write in a slot. Whatever cuts it off after it may have left is OutcomeUnknown."""
        has_left = False
        try:
            async with self._slots.lease("documents", wait_s=WRITE_SLOT_WAIT_S):
                token = await self._tokens.get(rejected)
                send_by = await before_write()
                left_s = send_by - self._monotonic()
                if left_s <= 0:
                    raise Transient("the write was held up and was not sent", system="sage", code="too_late")
                has_left = True
                reply = await self._exchange(
                    method,
                    self._address(path),
                    what,
                    headers={
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/json",
                        "Accept": "application/json",
                        **headers,
                    },
                    data=body,
                    timeout_s=self._write_timeout_s,
                    safe=False,
                    connect_s=left_s,
                )
                error = error_from(reply, safe=False)
                if isinstance(error, RateLimited):  # before the slot is free again
                    await self._slots.pause(min(PAUSE_S if error.retry_after_s is None else error.retry_after_s, LONGEST_THROTTLE_S))
                return token, reply
        except (Transient, Poison) as error:
            if has_left and (error.code == "slot_lost" or isinstance(error, Poison)):
                raise _unknown(error.message, code=error.code) from error
            raise

    async def _exchange(self, method: str, url: str, what: str, **options: Any) -> Reply:
        """One exchange with Sage; one that is not answered, though it may have arrived, is counted as such."""
        try:
            return await self._http.exchange(method, url, system="sage", **options)
        except asyncio.CancelledError:
            self._usage.unanswered(f"{method} {what}")
            raise
        except ConnectError as error:
            if error.code not in NOT_SENT:
                self._usage.unanswered(f"{method} {what}")
            raise

    def _address(self, path: str) -> str:
        return f"{self._access.base_url}/{self._access.rest_version}{path}"

    async def get(self, path: str, *, what: str, entity: str = "", calls: Counter[str] | None = None) -> Reply:
        """The answer to a GET of a service (it reads no record, so Sage does not meter it); `path` after the version.

        Raises Auth, Permanent, RateLimited or Transient.
        """
        return await retry(lambda: self._call("GET", self._address(path), None, entity=entity, what=what, calls=calls, transactions=0))

    async def dimensions(self, *, entity: str = "", calls: Counter[str] | None = None) -> list[Dimension]:
        """The company's dimensions (sage-rest.md c: `/services/company-config/dimensions/list`)."""

        async def once() -> list[Dimension]:
            url = self._address("/services/company-config/dimensions/list")
            reply = await self._call("GET", url, None, entity=entity, what="dimensions", calls=calls, transactions=0)
            try:
                rows = result_of(reply)
                return [
                    Dimension(
                        name=str(row["dimensionName"]),
                        label=str(row.get("dimensionLabel") or row["dimensionName"]),
                        endpoint=str(row.get("dimensionEndpoint") or ""),
                        is_user_defined=row.get("isUserDefinedDimension") in (True, "true"),
                        is_enabled=row.get("isEnabledInGL") in (True, "true"),
                    )
                    for row in rows
                ]
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise Transient(f"Sage's list of dimensions cannot be read: {error}", system="sage", code="no_list") from error

        return await retry(once)

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        *,
        entity: str,
        what: str,
        calls: Counter[str] | None,
        timeout_s: float = QUERY_TIMEOUT_S,
        transactions: int = 1,
    ) -> Reply:
        """One call in a slot, with a token that lives; gets a new token when Sage wants one, and waits out 429s.

        Raises RateLimited only when the company was throttled for longer than a job may wait.
        """
        rejected: str | None = None
        refusals, throttled, throttled_s = 0, 0, 0.0
        while True:
            async with self._slots.lease(self._lane):
                token = await self._tokens.get(rejected)
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json"}
                if entity:
                    headers["X-IA-API-Param-Entity"] = entity
                _count(what, calls)
                reply = await self._exchange(method, url, what, headers=headers, data=body, timeout_s=timeout_s, max_bytes=MAX_REPLY_BYTES)
                error = error_from(reply)
                if isinstance(error, RateLimited):
                    # Somebody else uses the company's slots: nobody of ours calls for as long as Sage says. It costs no attempt.
                    pause_s = min(PAUSE_S * 2**throttled, LONGEST_PAUSE_S) if error.retry_after_s is None else error.retry_after_s
                    pause_s = min(pause_s, LONGEST_THROTTLE_S)
                    await self._slots.pause(pause_s)  # before the slot is free again
                    throttled += 1
                    throttled_s += pause_s
            await self._usage.note(f"{method} {what}", transactions=transactions if error is None else 0)
            if error is None:
                return reply
            if isinstance(error, RateLimited):
                if throttled_s > LONGEST_THROTTLE_S:
                    raise error
                continue
            if isinstance(error, Auth) and error.status != 403:
                refusals += 1
                rejected = token
                if refusals >= TOKENS_REFUSED:
                    raise self._refused(error)
                continue
            raise error

    def _refused(self, error: ConnectError) -> Auth:
        return Auth(
            f"Sage refuses every token of {self._access.username}, also a fresh one ({error.message})",
            system="sage",
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        )


def _not_permitted(error: Auth, what: str) -> Permanent:
    """What must not stop the connection: one job's object is closed to us, or its module is not there."""
    return Permanent(
        f"{what}: {error.message}",
        system="sage",
        code=error.code,
        status=error.status,
        request_id=error.request_id,
        detail=error.detail,
    )


def _unknown(message: str, *, code: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{message}; whether the write happened is not known", system="sage", code=code)


def _records(result: Any) -> int:
    """How many records a write touched, as Sage counts: each part of a composite that was done, else one."""
    if not isinstance(result, list):
        return 1
    return sum(isinstance(part, dict) and "ia::error" not in part for part in result)
