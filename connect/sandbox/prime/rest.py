"""The REST API v1.0: tokens, registers, receipts, images and Rillion Pay (prime.md 6.2; D32-D35).

Shapes that nothing public settles are this simulator's: the page of a read is {totalCount, pageIndex, pageSize, items}, an error {message}.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, quote

import orjson
from aiohttp import BasicAuth, web

from connect.sandbox.kernel import Kernel
from connect.sandbox.prime.environment import Environment
from connect.sandbox.prime.pay import PROCESSES, STATUSES
from connect.sandbox.prime.reading import read_rest, write_rest
from connect.sandbox.prime.tables import (
    INVALID,
    INVOICE_RECEIPT,
    PAYMENT_DATE,
    PAYMENT_DATE_BY_UQ,
    PAYMENT_RECEIPT,
    REGISTERS,
    SUPPLIER_BANK_ACCOUNT,
    Record,
    Refused,
    Table,
)

BASE: Final = "/api/v1.0"
TOKEN_PATH: Final = "/identity/connect/token"  # noqa: S105  # a path
STORAGE: Final = "/storage/invoiceimages"
MOST_ITEMS: Final = 500
PAGE_SIZE: Final = 100
MOST_PAGE_SIZE: Final = 1000
IMAGE_LINK_S: Final = 3600
RESOURCES: Final = {table.resource: table for table in (*REGISTERS.values(), SUPPLIER_BANK_ACCOUNT)}
NO_ROLE: Final = frozenset({"currency", "objecttype"})

Handler = Callable[[web.Request, bytes], Awaitable[web.Response]]


class BadRequest(Exception):
    """The body or a query parameter cannot be read: 400."""


def json_answer(value: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


class RestSide:
    """Everything under /api/v1.0, the identity server, and the storage that image links lead to."""

    def __init__(
        self,
        kernel: Kernel,
        environment: Environment,
        *,
        tenant: str,
        client_id: str,
        client_secret: str,
        user: str,
        role: str,
    ) -> None:
        self._kernel = kernel
        self._environment = environment
        self._tenant, self._client_id, self._client_secret, self._user, self._role = tenant, client_id, client_secret, user, role
        self.token_ttl_s = 3600.0
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> what it is for, until when (the clock's monotonic seconds)
        self._link_secret = secrets.token_bytes(32)
        self._handlers = self._make_handlers()

    # -- routing

    def _make_handlers(self) -> dict[tuple[str, str], tuple[str, Handler]]:
        """(method, path in lower case, "role" standing for any role) -> the path as documented, and who answers."""
        handlers: dict[tuple[str, str], Handler] = {
            ("PUT", "/invoicequeue/receipt"): self._put_receipt,
            ("PUT", "/invoice/changeinvoicepaymentdate"): self._put_payment_dates,
            ("PUT", "/invoice/changeinvoicepaymentdatebyuq"): self._put_payment_dates_by_unique_key,
            ("GET", "/InvoiceImagesSasToken"): self._get_image_links,
            ("GET", "/payment"): self._get_payments,
            ("GET", "/payment/status"): self._get_payment_statuses,
            ("GET", "/payment/configuration/tenant/company"): self._get_payment_configuration,
            ("GET", "/payment/audit"): self._get_payment_audit,
            ("POST", "/payment/export"): self._export_payments,
            ("PUT", "/payment/receipt"): self._put_payment_receipt,
        }
        for action in PROCESSES:
            handlers["POST", f"/payment/process/{action}"] = self._process_payments(action)
        for resource, table in RESOURCES.items():
            handlers["PUT", f"/{resource}"] = self._put_register(table)
            handlers["PUT", f"/{resource}/Process{table.name}InQueue"] = self._process_queue(table)
            handlers["GET", f"/{resource}" if resource in NO_ROLE else f"/{resource}/role"] = self._get_register(table)
        return {(method, path.lower()): (path.removesuffix("/role"), handler) for (method, path), handler in handlers.items()}

    def _find(self, request: web.Request) -> tuple[str, Handler | None]:
        """The name of what is asked for, and who answers it."""
        path = request.path[len(BASE) :].rstrip("/")
        start, found, _role = path.partition("/role/")
        return self._handlers.get((request.method, (start + "/role" if found else path).lower()), (path, None))

    def operation(self, request: web.Request) -> str:
        """The name under which a request is counted and meets faults."""
        if request.path == TOKEN_PATH:
            return f"{request.method} /connect/token"
        if not request.path.startswith(f"{BASE}/"):
            return f"{request.method} {request.path}"
        return f"{request.method} {self._find(request)[0]}"

    @property
    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TOKEN_PATH, self._on_token),
            web.get(f"{STORAGE}/{{series}}/{{number}}/{{name}}", self._on_image),
            web.route("*", f"{BASE}/{{tail:.*}}", self._on_api),
        ]

    async def _on_api(self, request: web.Request) -> web.Response:
        authorizing = request.method == "POST" and request.path.lower() == f"{BASE}/authorize"
        if not self._let_in(request, "identity" if authorizing else "api"):
            return json_answer({"message": "The access token is missing, unknown or expired"}, 401, **{"WWW-Authenticate": "Bearer"})
        try:
            body = await request.read()
            if authorizing:
                return self._authorize(_json_object(body))
            _, handler = self._find(request)
            if handler is None:
                return json_answer({"message": f"No resource answers {request.method} {request.path}"}, 404)
            role = request.path.partition("/role/")[2].rstrip("/")
            if role not in ("", self._role):
                return json_answer({"message": f"The user does not have the role {role!r}"}, 403)
            return await handler(request, body)
        except BadRequest as error:
            return json_answer({"message": str(error)}, 400)

    # -- tokens (D32)

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def _issue(self, purpose: str) -> str:
        now = self._kernel.clock.monotonic()
        self._tokens = {token: kept for token, kept in self._tokens.items() if kept[1] > now}
        token = secrets.token_urlsafe(32)
        self._tokens[token] = (purpose, now + self.token_ttl_s)
        return token

    def _let_in(self, request: web.Request, purpose: str) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        kept = self._tokens.get(token.strip())
        return scheme.lower() == "bearer" and kept is not None and kept[0] == purpose and kept[1] > self._kernel.clock.monotonic()

    async def _on_token(self, request: web.Request) -> web.Response:
        """OAuth client credentials: id and secret in the form, or as basic authentication."""
        self._kernel.stats["prime"].token_requests += 1
        form = {name: values[-1] for name, values in parse_qs((await request.read()).decode("utf-8", "replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return json_answer({"error": "unsupported_grant_type", "error_description": "expected client_credentials"}, 400)
        given = (form.get("client_id", ""), form.get("client_secret", ""))
        if request.headers.get("Authorization", "").lower().startswith("basic "):
            try:
                basic = BasicAuth.decode(request.headers["Authorization"])
                given = (basic.login, basic.password)
            except ValueError:
                given = ("", "")
        if given != (self._client_id, self._client_secret):
            return json_answer({"error": "invalid_client", "error_description": "client id or client secret is wrong"}, 400)
        return json_answer({"access_token": self._issue("identity"), "expires_in": int(self.token_ttl_s), "token_type": "Bearer"})

    def _authorize(self, body: Record) -> web.Response:
        """Exchange the identity server's token for Prime's."""
        wanted = {"tenantId": self._tenant, "user": self._user, "role": self._role}
        for name, value in wanted.items():
            if name not in body:
                raise BadRequest(f"The member {name} is required")
            if body[name] != value:
                return json_answer({"message": f"{name} {body[name]!r} is not known to this client"}, 403)
        return json_answer({"accessToken": self._issue("api"), "expiresIn": int(self.token_ttl_s)})

    # -- registers

    def _put_register(self, table: Table) -> Handler:
        async def put(_request: web.Request, raw: bytes) -> web.Response:
            body = _json_object(raw)
            items = _items(body, table.envelope)
            processing = body.get("transferFromQueue", True)
            if not isinstance(processing, bool):
                raise BadRequest("transferFromQueue must be true or false")
            take = self._environment.registers.apply if processing else self._environment.registers.enqueue
            results = []
            for index, item in enumerate(items):
                external = item.get("externalId") if isinstance(item, dict) else None
                try:
                    take(table, self._read(table, item))
                except Refused as refusal:
                    results.append(_result(index, external, refusal.code, refusal.message))
                else:
                    self._kernel.stats["prime"].transactions += processing
                    results.append(_result(index, external, 0, "OK" if processing else "Queued"))
            return json_answer({"results": results})

        return put

    def _read(self, table: Table, item: Any) -> Record:
        if not isinstance(item, dict):
            raise Refused(INVALID, f"{table.name}: expected an object, found {type(item).__name__}")
        changes, unknown = read_rest(table, item)
        self._kernel.stats["prime"].ignored_elements += unknown
        return changes

    def _process_queue(self, table: Table) -> Handler:
        async def process(_request: web.Request, _body: bytes) -> web.Response:
            """What is refused stays queued, so that it can be processed again once what it lacks is there."""
            results = []
            for index, changes in enumerate(self._environment.registers.take_queue(table)):
                try:
                    self._environment.registers.apply(table, changes)
                except Refused as refusal:
                    self._environment.registers.enqueue(table, changes)
                    results.append(_result(index, changes.get("ExternalId"), refusal.code, refusal.message))
                else:
                    self._kernel.stats["prime"].transactions += 1
                    results.append(_result(index, changes.get("ExternalId"), 0, "OK"))
                if index % MOST_ITEMS == MOST_ITEMS - 1:
                    await asyncio.sleep(0)  # others have their turn
            return json_answer({"results": results})

        return process

    def _get_register(self, table: Table) -> Handler:
        async def get(request: web.Request, _body: bytes) -> web.Response:
            index, size = _paging(request)
            records = self._environment.registers.page(table.name, index * size, size)
            return _page(self._environment.registers.count(table.name), index, size, [write_rest(table, record) for record in records])

        return get

    # -- invoices

    async def _put_receipt(self, _request: web.Request, raw: bytes) -> web.Response:
        item = _json_object(raw).get("updateInvoiceReceiptRequest")
        if not isinstance(item, dict):
            raise BadRequest("The member updateInvoiceReceiptRequest is required: a receipt")
        return self._each(INVOICE_RECEIPT, [item], self._environment.invoices.receipt)

    async def _put_payment_dates(self, _request: web.Request, raw: bytes) -> web.Response:
        return self._each(PAYMENT_DATE, _items(_json_object(raw), "changes"), self._environment.invoices.set_payment_date)

    async def _put_payment_dates_by_unique_key(self, _request: web.Request, raw: bytes) -> web.Response:
        return self._each(
            PAYMENT_DATE_BY_UQ, _items(_json_object(raw), "changes"), self._environment.invoices.set_payment_date_by_unique_key
        )

    def _each(self, table: Table, items: list[Any], take: Callable[[Record], None]) -> web.Response:
        results = []
        for index, item in enumerate(items):
            external = (item.get("externalId") or item.get("invoiceExternalId")) if isinstance(item, dict) else None
            try:
                take(self._read(table, item))
            except Refused as refusal:
                results.append(_result(index, external, refusal.code, refusal.message))
            else:
                results.append(_result(index, external, 0, "OK"))
        return json_answer({"results": results})

    async def _get_image_links(self, request: web.Request, _body: bytes) -> web.Response:
        series, number = request.query.get("InvoiceSeries", ""), request.query.get("InvoiceNumber", "")
        if not series or not number.isdecimal():
            raise BadRequest("InvoiceSeries and InvoiceNumber are required")
        until = int(self._kernel.clock.now().timestamp()) + IMAGE_LINK_S
        images = []
        for image in self._environment.invoices.images(series, int(number)):
            path = f"{STORAGE}/{quote(series, safe='')}/{int(number)}/{quote(image['FileName'], safe='')}"
            link = str(request.url.origin()) + f"{path}?se={until}&sig={self._sign(series, number, image['FileName'], until)}"
            images.append({"fileName": image["FileName"], "fileType": image["FileType"], "url": link})
        return json_answer({"images": images, "expiresOn": until})

    def _sign(self, series: str, number: str, name: str, until: int) -> str:
        return hmac.digest(self._link_secret, f"{series}\n{int(number)}\n{name}\n{until}".encode(), "sha256").hex()

    async def _on_image(self, request: web.Request) -> web.Response:
        """A file behind a link that carries its own right to be read, for a while."""
        series, number, name = (request.match_info[part] for part in ("series", "number", "name"))
        until = request.query.get("se", "")
        if not (number.isdecimal() and until.isdecimal()):
            return json_answer({"message": "The link is not complete"}, 403)
        good = hmac.compare_digest(self._sign(series, number, name, int(until)).encode(), request.query.get("sig", "").encode())
        if not good or int(until) < self._kernel.clock.now().timestamp():
            return json_answer({"message": "The link is not valid any more"}, 403)
        for image in self._environment.invoices.images(series, int(number)):
            if image["FileName"] == name:
                return web.Response(body=base64.b64decode(image["Image"]), content_type="application/octet-stream")
        return json_answer({"message": "The file does not exist"}, 404)

    # -- payments

    async def _get_payments(self, request: web.Request, _body: bytes) -> web.Response:
        index, size = _paging(request)
        found = self._environment.pay.search(request.query.get("SearchTerm", ""))
        return _page(len(found), index, size, found[index * size : (index + 1) * size])

    async def _get_payment_statuses(self, _request: web.Request, _body: bytes) -> web.Response:
        return json_answer([{"id": number, "name": name} for number, name in enumerate(STATUSES, 1)])

    async def _get_payment_configuration(self, _request: web.Request, _body: bytes) -> web.Response:
        return json_answer(self._environment.pay.configuration(list(self._environment.registers.records("Company"))))

    async def _get_payment_audit(self, request: web.Request, _body: bytes) -> web.Response:
        index, size = _paging(request)
        return _page(len(self._environment.pay.audit), index, size, self._environment.pay.audit[index * size : (index + 1) * size])

    def _process_payments(self, action: str) -> Handler:
        async def process(_request: web.Request, raw: bytes) -> web.Response:
            try:
                done = self._environment.pay.process(action, _json_object(raw), self._kernel.clock.now())
            except Refused as refusal:
                raise BadRequest(refusal.message) from None
            return json_answer({"results": [_result(index, key, code, message) for index, (key, code, message) in enumerate(done)]})

        return process

    async def _export_payments(self, _request: web.Request, raw: bytes) -> web.Response:
        ids = (_json_object(raw) if raw else {}).get("paymentIds")
        if ids is not None and not isinstance(ids, list):
            raise BadRequest("paymentIds must be a list")
        return web.Response(body=self._environment.pay.export(ids), content_type="text/csv", charset="utf-8")

    async def _put_payment_receipt(self, request: web.Request, raw: bytes) -> web.Response:
        if self._environment.pay.pay_receipt != "receipt":
            return json_answer({"message": f"No resource answers {request.method} {request.path}"}, 404)
        now = self._kernel.clock.now()
        return self._each(PAYMENT_RECEIPT, [_json_object(raw)], lambda given: self._environment.pay.receipt(given, now))


def _json_object(raw: bytes) -> Record:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body must be a JSON object, found {type(body).__name__}")
    return body


def _items(body: Record, name: str) -> list[Any]:
    items = body.get(name)
    if not isinstance(items, list):
        raise BadRequest(f"The member {name} is required: a list of records")
    if len(items) > MOST_ITEMS:
        raise BadRequest(f"{name} has {len(items)} records, at most {MOST_ITEMS} are allowed")
    return items


def _result(index: int, external: Any, code: int, message: str) -> Record:
    return {"index": index, "externalId": external, "resultCode": code, "message": message}


def _paging(request: web.Request) -> tuple[int, int]:
    """(PageIndex from 0, PageSize)."""
    given = {"PageIndex": "0", "PageSize": str(PAGE_SIZE)} | {name: value for name, value in request.query.items() if value}
    for name, low, high in (("PageIndex", 0, 10**9), ("PageSize", 1, MOST_PAGE_SIZE)):
        if not given[name].isdecimal() or not low <= int(given[name]) <= high:
            raise BadRequest(f"{name} is {given[name]!r}, expected a whole number from {low} to {high}")
    return int(given["PageIndex"]), int(given["PageSize"])


def _page(total: int, index: int, size: int, items: list[Any]) -> web.Response:
    return json_answer({"totalCount": total, "pageIndex": index, "pageSize": size, "items": items})
