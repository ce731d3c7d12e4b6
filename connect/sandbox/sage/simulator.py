"""Sage Intacct on loopback: what every request passes (version, body limit, token, entity, slots), and the control interface.

tokens.py     the token endpoint
query.py      the query service; services.py: model, dimensions, reading records
writes.py     creating, changing and deleting; rules.py: what Sage's business logic says to it
records.py    nested records <-> rows of store.py
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal

import orjson
from aiohttp import web

from connect.sandbox.kernel import Kernel, throttled
from connect.sandbox.sage import records as record_forms
from connect.sandbox.sage.errors import SageError, no_permission, not_found
from connect.sandbox.sage.query import Queries
from connect.sandbox.sage.schema import Spec
from connect.sandbox.sage.services import Services
from connect.sandbox.sage.store import Store, Table
from connect.sandbox.sage.tokens import Grant, Tokens, gateway
from connect.sandbox.sage.writes import Writes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BASE: Final = "/ia/api/{version}"
ENTITY_HEADER: Final = "X-IA-API-Param-Entity"
ENTITY: Final = "company-config/entity"
USER: Final = "company-config/user"
METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
_PATH: Final = re.compile(r"/ia/api/(?P<version>[^/]*)(?P<rest>/.*)")
_RECORD: Final = re.compile(r"(/objects/[^/]+/[^/]+)/[^/]+")
_TOKEN: Final = re.compile(r"/ia/api/[^/]+/oauth2/.*")
_SLOT: Final = web.RequestKey("sage.slot", bool)
_SESSION: Final = web.RequestKey("sage.session", Grant)


@dataclass
class Settings:
    """What `/_sandbox/settings` can change."""

    approvals: bool = False  # bills without a state arrive as submitted
    exempt_users: list[str] = field(default_factory=list)  # whose bills are posted all the same
    bill_number_unique: Literal["vendor", "company", "off"] = "vendor"
    closed_until: str | None = None  # a date: no postings up to and including it
    base_currency: str = "USD"
    modules: list[str] | None = None  # applications that the company subscribes to; None: all
    multi_currency: bool = True  # off: no transaction currencies and no exchange rates
    client_authorized: bool = True  # whether the company lets this client id in, and subscribes to Web Services
    denied: list[str] = field(default_factory=list)  # what the user's role lacks: "accounts-payable/bill", or "POST accounts-payable/bill"
    disabled_dimensions: list[str] = field(default_factory=list)  # as the guide names them: DEPARTMENT
    contact_fields: Literal["answer", "refuse"] = "answer"  # queries of the deprecated fields of a contact through its vendor
    body_limit_bytes: int = 1_048_576
    idempotency: bool = True
    read_lag_s: float = 0.0  # how long queries do not see a write
    key_order: Literal["numeric", "text"] = "numeric"
    expired_token_status: Literal[400, 401] = 401

    def changed(self, changes: dict[str, Any]) -> Settings:
        """A copy with these changes. Raises ValueError naming what is wrong."""
        unknown = set(changes) - {known.name for known in fields(self)}
        if unknown:
            raise ValueError(f"Sage has no setting {', '.join(sorted(unknown))}")
        for name, value in changes.items():
            if not _CHECKS[name](value):
                raise ValueError(f"{name} cannot be {value!r}")
        return Settings(**(asdict(self) | changes))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "approvals": lambda value: isinstance(value, bool),
    "exempt_users": _is_names,
    "bill_number_unique": lambda value: value in ("vendor", "company", "off"),
    "closed_until": lambda value: value is None or (isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None),
    "base_currency": lambda value: isinstance(value, str) and re.fullmatch(r"[A-Z]{3}", value) is not None,
    "modules": lambda value: value is None or _is_names(value),
    "multi_currency": lambda value: isinstance(value, bool),
    "client_authorized": lambda value: isinstance(value, bool),
    "denied": _is_names,
    "disabled_dimensions": _is_names,
    "contact_fields": lambda value: value in ("answer", "refuse"),
    "body_limit_bytes": lambda value: _is_number(value) and isinstance(value, int),
    "idempotency": lambda value: isinstance(value, bool),
    "read_lag_s": _is_number,
    "key_order": lambda value: value in ("numeric", "text"),
    "expired_token_status": lambda value: value in (400, 401),
}


class SageSimulator:
    """One Sage company, from the start without records."""

    client_id: Final = "demo.app.sage.com"
    client_secret: Final = "demo-secret"  # noqa: S105  # the sandbox's own
    username: Final = "rillion@acme"

    def __init__(self, kernel: Kernel, *, slots: int = 6, token_ttl_s: float = 43_200.0) -> None:
        self.kernel = kernel
        self.slots = slots
        self.stats = kernel.stats["sage"]
        self.store = Store()
        self.config = Settings()
        self.user, _, self.company = self.username.partition("@")
        self.tokens = Tokens(
            kernel.clock,
            client_id=self.client_id,
            client_secret=self.client_secret,
            company=self.company,
            ttl_s=token_ttl_s,
            entity_of=lambda record_id: self.store.table(ENTITY).find(None, record_id),
            is_user=self._is_user,
        )
        self.queries = Queries(self)
        self.services = Services(self)
        self.writes = Writes(self)
        self.routes: list[web.RouteDef] = [
            web.post(f"{BASE}/oauth2/token", self._open(self._on_token)),
            web.post(f"{BASE}/oauth2/revoke", self._open(self._on_revoke)),
            web.route("*", f"{BASE}/oauth2/{{tail:.*}}", self._open(self._on_no_oauth)),
            *(self._guarded(route) for route in (*self.services.routes, *self.writes.routes)),
            web.route("*", "/{tail:.*}", self._open(self._on_nowhere)),
        ]

    # What the middleware asks (kernel.Simulator)

    async def operation(self, request: web.Request, body: bytes) -> str:  # noqa: ARG002  # the path tells
        """The call without version and key: POST /services/core/query, GET /objects/accounts-payable/bill/{key}."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return f"{request.method} {request.path}"
        record = _RECORD.fullmatch(match["rest"])
        return f"{request.method} {match['rest'] if record is None else record[1] + '/{key}'}"

    def admit(self, request: web.Request, operation: str) -> web.Response | None:  # noqa: ARG002  # the path tells
        """A slot, or 429. Tokens take none."""
        if _TOKEN.fullmatch(request.path):
            return None
        if self.stats.in_flight >= self.slots:
            self.stats.throttled += 1
            return throttled("sage", 1, limit=self.slots)
        self.stats.enter()
        request[_SLOT] = True
        return None

    def leave(self, request: web.Request) -> None:
        if request.pop(_SLOT, False):
            self.stats.leave()

    # What handlers ask

    def session(self, request: web.Request) -> int | None:
        """The key of the entity that this request is limited to; None at the top level. Raises SageError when nobody is let in."""
        return self._grant(request).entity

    def user_of(self, request: web.Request) -> str:
        """Whose token this is."""
        return self._grant(request).user

    def table(self, name: str, method: str) -> Table:
        """The table of an object. Raises SageError: no such object, or the company has not subscribed to its application."""
        try:
            table = self.store.table(name)
        except LookupError as error:
            raise not_found(f"Object {name}") from error
        if not self.subscribes(table.spec) or self.denies(method, table.spec.name):
            raise no_permission(method, table.spec.name)
        return table

    def subscribes(self, spec: Spec) -> bool:
        """Whether the company has the object's application."""
        return self.config.modules is None or spec.application in ("company-config", "platform-apps", *self.config.modules)

    def denies(self, method: str, name: str) -> bool:
        """Whether the user's role does not let them do this with the object."""
        return name in self.config.denied or f"{method} {name}" in self.config.denied

    def lag_until(self) -> float | None:
        """When queries see what is written now (`Table.put`)."""
        return self.kernel.clock.monotonic() + self.config.read_lag_s if self.config.read_lag_s else None

    def count(self, transactions: int = 1) -> None:
        """Sage meters each record written and each page read."""
        self.stats.transactions += transactions

    def respond(self, status: int, body: bytes) -> web.Response:
        """JSON, with what Sage tells about the slots."""
        left = max(0, self.slots - self.stats.in_flight)
        headers = {
            "Content-Type": "application/json",
            "X-IA-Throttle-Limit": str(self.slots),
            "X-IA-Throttle-Remaining": str(left),
        }
        return web.Response(body=body, status=status, headers=headers)

    # The control interface (kernel.Simulator)

    def load(self, **body: Any) -> dict[str, Any]:
        """`/_sandbox/sage/load`. Raises LookupError without such an object, ValueError when the call is wrong."""
        unknown = set(body) - {"object", "mode", "records"}
        name, mode, rows = body.get("object"), body.get("mode", "insert"), body.get("records")
        if unknown or not isinstance(name, str) or not isinstance(rows, list) or mode not in ("insert", "upsert", "delete"):
            raise ValueError('expected {"object": "accounts-payable/vendor", "mode": "insert|upsert|delete", "records": [ … ]}')
        self._known(name)
        return record_forms.load(self, name, mode, rows)

    def records(self, **query: str) -> dict[str, Any]:
        """`/_sandbox/sage/records`: every record of one object, nested."""
        if set(query) != {"object"}:
            raise ValueError("expected ?object=accounts-payable/bill")
        table = self._known(query["object"])
        return {"count": len(table.rows), "records": [record_forms.nested(self.store, table, key) for key in sorted(table.rows)]}

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change some, answer all."""
        self.config = self.config.changed(changes)
        self.queries.clear()
        return asdict(self.config)

    def reset(self) -> None:
        """Empty books and first settings; tokens stay in force."""
        self.store.clear()
        self.queries.clear()
        self.writes.reset()
        self.config = Settings()

    def books(self) -> dict[str, Any]:
        return self.writes.books()

    def expire_tokens(self) -> None:
        self.tokens.expire()

    # Inside

    def _known(self, name: str) -> Table:
        try:
            return self.store.table(name)
        except LookupError:
            raise LookupError(f"Sage has no object {name}") from None

    def _is_user(self, name: str) -> bool:
        if not self.config.client_authorized:
            return False
        if name == self.user or name in self.config.exempt_users:
            return True
        users = self.store.table(USER)
        key = users.find(None, name)
        row = None if key is None else users.get(key)
        return row is not None and row.get("status", "active") == "active"

    def _grant(self, request: web.Request) -> Grant:
        if _SESSION not in request:
            request[_SESSION] = self._authenticate(request)
        return request[_SESSION]

    def _authenticate(self, request: web.Request) -> Grant:
        """The token's grant, narrowed by the entity header."""
        grant = self.tokens.find(request.headers.get("Authorization", ""), self.config.expired_token_status)
        asked = request.headers.get(ENTITY_HEADER, "").strip()
        if not asked:
            return grant
        key = self.store.table(ENTITY).find(None, asked)
        if key is None:
            raise SageError(400, "invalidRequest", f"Entity {asked} is not valid", message_id="IA.ENTITY_NOT_VALID")
        if grant.entity not in (None, key):
            raise no_permission(request.method, f"entity {asked}")
        return replace(grant, entity=key)

    def _guarded(self, route: web.RouteDef) -> web.RouteDef:
        """The route behind what every call to Sage passes."""

        async def handle(request: web.Request) -> web.StreamResponse:
            await self._check(request)
            self.session(request)
            handler: Handler = route.handler
            return await handler(request)

        return web.route(route.method, route.path, self._open(handle))

    async def _check(self, request: web.Request) -> None:
        if not re.fullmatch(r"v\d+", request.match_info["version"]):
            raise SageError(400, "invalidRequest", "Version is not supported.", message_id="IA.VERSION_NOT_SUPPORTED")
        if len(await request.read()) > self.config.body_limit_bytes:
            raise gateway(413, "GW-0013", f"Request body is larger than {self.config.body_limit_bytes} bytes")

    def _open(self, handler: Handler) -> Handler:
        """Turns a refusal into its answer."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except SageError as error:
                return self.respond(error.status, orjson.dumps(error.body()))

        return handle

    async def _on_token(self, request: web.Request) -> web.StreamResponse:
        self.stats.token_requests += 1
        await self._check(request)
        return self.respond(200, orjson.dumps(self.tokens.issue(await request.read(), request.content_type)))

    async def _on_revoke(self, request: web.Request) -> web.StreamResponse:
        await self._check(request)
        self.tokens.revoke(await request.read(), request.content_type)
        return self.respond(200, b"{}")

    async def _on_no_oauth(self, request: web.Request) -> web.StreamResponse:
        raise gateway(404, "GW-0033", f"Unknown path {request.path}")

    async def _on_nowhere(self, request: web.Request) -> web.StreamResponse:
        """No route fits: another version, an unknown path, or a method that this path does not know."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            raise not_found(f"Resource {request.path}")
        if not re.fullmatch(r"v\d+", match["version"]):
            raise SageError(400, "invalidRequest", "Version is not supported.", message_id="IA.VERSION_NOT_SUPPORTED")
        self.session(request)
        resources = [route.resource for route in request.app.router.routes() if route.resource is not None and route.method in METHODS]
        if any(resource.get_info().get("pattern", _NEVER).fullmatch(request.path) for resource in resources):
            message = f"{request.method} is not supported for {match['rest']}"
            raise SageError(405, "invalidRequest", message, message_id="IA.METHOD_NOT_SUPPORTED")
        raise not_found(f"Resource {match['rest']}")


_NEVER: Final = re.compile(r"(?!)")
