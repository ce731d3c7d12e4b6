"""The Prime REST API v1.0: calls with a token of this process (`PrimeRest`), and registers written through it (`RestRegisters`).

A chunk is one PUT, answered row by row. Source: prime.md 6.2 (D32-D34).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec
import orjson
import structlog

from connect.errors import Auth, ConnectError, Permanent, Poison, RateLimited, Transient
from connect.http import WEB_PAGE, Http, Reply, check_address, hidden, hide_in, is_page, retry
from connect.prime.port import PrimeInfo, RowResult
from connect.prime.replies import status_error, unreadable
from connect.state.tokens import Token

MOST_ROWS: Final = 500  # of one request (D34)
MOST_SPLITS: Final = 40  # of one request; a single unreadable row among 500 takes nine
UNREAD: Final = (400, 413, 422)  # Prime could not read the request as a whole
FAILED: Final = 500  # Prime failed at it: because of one row, or of all
DEARER: Final = 3  # halving after a failure costs so much more, since it may be an outage
TRIES: Final = 3
TIMEOUT_S: Final = 60.0
LIFE_S: Final = 3600.0  # of a token that does not say
BANK_ACCOUNTS: Final = "supplierBankAccounts"
REMOVES: Final = b'"remove":1'  # in a bank account that has gone from Sage
NOT_FOUND: Final = 3  # Prime's ResultCode (prime.md 6.1)
_SHARED: Final = ("company", "supplier", "keyType")  # what a bank account on its own takes from its supplier

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Resource:
    """Where a kind of record is put, and the member of the body that holds the records (D34)."""

    path: str
    member: str


RESOURCES: Final = {
    "ObjectType": Resource("/objecttype", "createObjectTypeRequests"),
    "Object": Resource("/object", "createObjectRequests"),
    "Account": Resource("/account", "createAccountRequests"),
    "VatCode": Resource("/vatcode", "createVatCodeRequests"),
    "AssetType": Resource("/assettype", "createAssetTypeRequests"),
    "Asset": Resource("/asset", "createAssetRequests"),
    "Currency": Resource("/currency", "createCurrencyRequests"),
    "Supplier": Resource("/supplier", "createSupplierRequests"),
    "SupplierBankAccount": Resource("/supplierbankaccount", "createSupplierBankAccountRequests"),
    "Period": Resource("/period", "createPeriodRequests"),
}


@dataclass(frozen=True)
class PrimeRestAccess:
    """Where a tenant's REST API and identity server are and who we are there."""

    url: str
    identity_url: str
    tenant: str
    client_id: str
    client_secret: str = field(repr=False)
    user: str
    role: str


# -- bytes


def frame(kind: str, bodies: Sequence[bytes]) -> bytes:
    """One request's body around records that are JSON already. Raises Permanent for a kind REST does not have."""
    return b'{"' + _resource(kind).member.encode() + b'":[' + b",".join(bodies) + b"]}"


def _resource(kind: str) -> Resource:
    resource = RESOURCES.get(kind)
    if resource is None:
        raise Permanent(f"Prime's REST API has no register for {kind}; it has {', '.join(RESOURCES)}", system="prime", code="unknown_kind")
    return resource


def split_bank_accounts(body: bytes) -> tuple[bytes, list[bytes]]:
    """A supplier without its bank accounts, and those as records of their own (over REST they are a resource of their own).

    Raises Poison when the body cannot be read.
    """
    before, none, after = body.partition(_NO_ACCOUNTS)  # inside a text the quotes would be escaped
    if none or b'"supplierBankAccounts"' not in body:
        return before + after, []
    try:
        supplier = _decode_members(body)
        accounts = _decode_records(supplier.pop(BANK_ACCOUNTS, msgspec.Raw(b"null"))) or []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"a supplier for Prime cannot be read ({error})", code="bad_body") from error
    shared = {name: supplier[name] for name in _SHARED if name in supplier}
    return msgspec.json.encode(supplier), [msgspec.json.encode(shared | account) for account in accounts]


_NO_ACCOUNTS: Final = b',"supplierBankAccounts":null'
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_records: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None).decode


def read_results(reply: Reply, rows: int) -> list[RowResult]:
    """What Prime says of each row, by its index. A row that the answer does not name exactly once is unanswered: it may be sent again.

    Raises Transient when the answer is no list of results.
    """
    try:
        results = orjson.loads(reply.body)["results"]
        if not isinstance(results, list):
            raise TypeError("results is no list")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise unreadable(f"Prime's answer has no list of results ({error!r:.200})", reply) from error
    found: dict[int, RowResult | None] = {}
    for result in results:
        index, code = (result.get("index"), result.get("resultCode")) if isinstance(result, dict) else (None, None)
        if type(index) is int:
            said = RowResult(code, str(result.get("message") or "")) if type(code) is int else None
            found[index] = said if index not in found else None
    return [found.get(at) or RowResult(error=unreadable(f"Prime's answer says nothing clear of row {at}", reply)) for at in range(rows)]


def _words(reply: Reply) -> str:
    try:
        said = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return ""
    words = (said.get("error_description") or said.get("message") or said.get("error")) if isinstance(said, dict) else None
    return f"Prime answered {reply.status}: {words}" if words else ""


# -- calls


class PrimeRest:
    """Calls to the REST API. The token is asked for when first needed, renewed early and when refused, by one caller for all."""

    def __init__(
        self,
        http: Http,
        access: PrimeRestAccess,
        *,
        tries: int = TRIES,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._access = access
        self._url = access.url.rstrip("/")
        self._identity_url = access.identity_url.rstrip("/")
        self._tries = tries
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._clock = clock
        self._token: Token | None = None
        self._issued: deque[str] = deque(maxlen=8)  # the last tokens of both servers
        self._one = asyncio.Lock()

    async def call(self, method: str, path: str, data: bytes | None, read: Callable[[Reply], T], *, safe: bool = True) -> T:
        """What `read` makes of a good reply. `safe`: repeating the call changes nothing; otherwise it is sent once.

        Raises Auth, Permanent or Transient, and what `read` raises.
        """

        async def once() -> T:
            token = await self._get_token()
            reply = await self._send(method, path, data, token, safe=safe)
            if reply.status == 401:
                reply = await self._send(method, path, data, await self._get_token(rejected=token), safe=safe)
            if not 200 <= reply.status < 300:
                raise status_error(reply, "rest_url", message=_words(reply), safe=safe)
            return read(reply)

        return await self._try(once, tries=self._tries if safe else 1)

    async def log_in(self) -> None:
        """Get a new token whatever is held. Raises Auth when we are not let in."""
        held = self._token.text if self._token else None
        await self._try(lambda: self._get_token(rejected=held), tries=self._tries)

    async def _try(self, action: Callable[[], Awaitable[T]], *, tries: int) -> T:
        try:
            return await retry(action, tries=tries, sleep=self._sleep)
        except ConnectError as error:
            hide_in(error, self.secrets())
            check_address(error)
            raise

    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in an error, a dead letter or a log."""
        return (self._access.client_secret, *self._issued)

    async def _send(self, method: str, path: str, data: bytes | None, token: str, *, safe: bool) -> Reply:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        return await self._http.exchange(
            method, self._url + path, system="prime", headers=headers, data=data, timeout_s=self._timeout_s, safe=safe
        )

    async def _get_token(self, rejected: str | None = None) -> str:
        async with self._one:
            held = self._token
            if held is None or held.text == rejected or self._clock() >= held.renew_at:
                self._token = held = await self._new_token()
            return held.text

    async def _new_token(self) -> Token:
        """The identity server's token, exchanged for Prime's (D32)."""
        access = self._access
        form = {"grant_type": "client_credentials", "client_id": access.client_id, "client_secret": access.client_secret}
        identity, _ = await self._ask(
            f"{self._identity_url}/connect/token",
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
            ("access_token", "expires_in"),
            "rest_identity_url, rest_client_id and rest_client_secret",
        )
        asked_at = self._clock()
        text, life_s = await self._ask(
            f"{self._url}/Authorize",
            orjson.dumps({"tenantId": access.tenant, "user": access.user, "role": access.role}),
            {"Content-Type": "application/json", "Authorization": f"Bearer {identity}"},
            ("accessToken", "expiresIn"),
            "rest_url, rest_tenant, rest_user and rest_role",
        )
        return Token.issued(text, life_s, asked_at)

    async def _ask(self, url: str, data: bytes, headers: dict[str, str], names: tuple[str, str], keys: str) -> tuple[str, float]:
        """Ask for a token: (token, life in seconds). `names` of both in the answer; `keys`: what to check when we are refused."""
        reply = await self._http.exchange(
            "POST", url, system="prime", headers=headers | {"Accept": "application/json"}, data=data, timeout_s=30, max_bytes=1_000_000
        )
        if reply.status in (400, 401, 403):
            words = _words(reply) or f"HTTP {reply.status}"
            raise Auth(
                f"Prime's REST API does not let us in: {words}. Check {keys}", system="prime", code="credentials", status=reply.status
            )
        if not 200 <= reply.status < 300:
            raise status_error(reply, keys, message=_words(reply))
        if is_page(reply):
            raise Transient(
                f"{url} answers with a web page, not with a token: check {keys}", system="prime", code=WEB_PAGE, status=reply.status
            )
        try:
            facts = orjson.loads(reply.body)
            token, life = facts[names[0]], facts.get(names[1])
            if not isinstance(token, str) or not token:
                raise TypeError(f"{names[0]} is no text")
            self._issued.append(token)
            return token, float(life) if isinstance(life, int | float | str) else LIFE_S
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Transient(f"{url} answered something that is no token; check {keys}", system="prime", code="no_token") from error


class RestRegisters:
    """Registers over REST (port.RegisterWriter)."""

    def __init__(
        self,
        http: Http,
        access: PrimeRestAccess,
        *,
        tries: int = TRIES,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rest = PrimeRest(http, access, tries=tries, timeout_s=timeout_s, sleep=sleep, clock=clock)

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        """At most 500 rows a request. A supplier's bank accounts follow when it was accepted; the first that is not decides for it."""
        started = time.monotonic()
        results = await (self._write_suppliers(bodies) if kind == "Supplier" else self._put(kind, bodies))
        log.debug("rows written", kind=kind, company=company, rows=len(bodies), duration_ms=round((time.monotonic() - started) * 1000, 1))
        return results

    async def check(self) -> PrimeInfo:
        """Whether both servers let us in; REST tells no version."""
        await self.rest.log_in()
        return PrimeInfo("", None)

    async def _write_suppliers(self, bodies: Sequence[bytes]) -> list[RowResult]:
        results: dict[int, RowResult] = {}
        suppliers: dict[int, bytes] = {}
        accounts: dict[int, list[bytes]] = {}
        for at, body in enumerate(bodies):
            try:
                suppliers[at], accounts[at] = split_bank_accounts(body)
            except Poison as error:
                results[at] = RowResult(error=error)
        results |= zip(suppliers, await self._put("Supplier", list(suppliers.values())), strict=True)
        wanted = [(at, account) for at in suppliers if results[at].accepted for account in accounts[at]]
        answered = await self._put("SupplierBankAccount", [account for _, account in wanted])
        for (at, account), result in zip(wanted, answered, strict=True):
            is_gone_already = result.code == NOT_FOUND and REMOVES in account
            if not result.accepted and not is_gone_already and results[at].accepted:
                results[at] = result if result.error is not None else result._replace(message=f"Bank account: {result.message}")
        return [results[at] for at in range(len(bodies))]

    async def _put(self, kind: str, bodies: Sequence[bytes]) -> list[RowResult]:
        """Request by request. When we are not let in or told to wait, the rows left are not tried."""
        results: list[RowResult] = []
        stop: ConnectError | None = None
        for start in range(0, len(bodies), MOST_ROWS):
            rows = bodies[start : start + MOST_ROWS]
            if stop is None:
                answered = await self._put_once(kind, rows, iter(range(MOST_SPLITS)))
                stop = next((result.error for result in answered if isinstance(result.error, Auth | RateLimited)), None)
            else:
                answered = [RowResult(error=stop)] * len(rows)
            results += answered
        return results

    async def _put_once(self, kind: str, rows: Sequence[bytes], splits: Iterator[int]) -> list[RowResult]:
        """One request. Where Prime cannot read it or fails at it, its halves are tried, so that one row does not condemn the others."""
        try:
            resource, data = _resource(kind), frame(kind, rows)
            results = await self.rest.call("PUT", resource.path, data, lambda reply: read_results(reply, len(rows)))
        except ConnectError as error:
            if len(rows) > 1 and _may_be_one_row(error, splits):
                half = len(rows) // 2
                return [*await self._put_once(kind, rows[:half], splits), *await self._put_once(kind, rows[half:], splits)]
            return [RowResult(error=error)] * len(rows)
        secrets = self.rest.secrets()
        for result in results:
            if result.error is not None:
                hide_in(result.error, secrets)
        return [result._replace(message=hidden(result.message, secrets)) if result.code else result for result in results]


def _may_be_one_row(error: ConnectError, splits: Iterator[int]) -> bool:
    """Whether halving the request may tell the rows apart, as long as there are splits left."""
    price = 1 if error.status in UNREAD else DEARER if error.status == FAILED else 0
    return price > 0 and len(list(islice(splits, price))) == price
