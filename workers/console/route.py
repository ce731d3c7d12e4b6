"""What a route is, and what its handler is asked. A route says who may use it, and which command does the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel

from connect.errors import ConfigError
from connect.state.users import ROLES, Role, User
from workers.jobs import Tools

if TYPE_CHECKING:
    from workers.console.app import Console

M = TypeVar("M", bound=BaseModel)
Need = Role | Literal["anyone"]
NEEDS: Final = (*ROLES, "anyone")
Method = Literal["GET", "POST", "PUT", "DELETE"]
SAFE: Final = frozenset({"GET", "HEAD"})
API: Final = "/api/v1"
SESSION_COOKIE: Final = "connect_session"
FORM_COOKIE: Final = "connect_form"  # what a form's token is made from where there is no session: on the login page, behind a proxy
THEME_COOKIE: Final = "connect_theme"
NOTICE_COOKIE: Final = "connect_notice"
NOTICE_MOST: Final = 1000  # characters


class Form(dict[str, list[str]]):
    """The fields of a form as they were sent. A field that is not there is empty, never an error."""

    def text(self, name: str, default: str = "") -> str:
        """The field's (first) value without blanks around it."""
        values = self.get(name)
        return values[0].strip() if values else default

    def needed(self, name: str, what: str) -> str:
        """The same. Raises ConfigError when it is empty; `what` names it in words."""
        value = self.text(name)
        if not value:
            raise ConfigError(f"{what} is missing", code=name)
        return value

    def all(self, name: str) -> list[str]:
        return [value for value in self.get(name, ()) if value]

    def is_set(self, name: str) -> bool:
        """A check box."""
        return bool(self.get(name))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that has passed all checks.

    `tools` and `tools.config` hold the connections this user may see, no more: what a handler finds there, it may show and act upon.
    `query`, `body`: the route's models, filled. `id` names the request in the log and on error pages.
    """

    request: web.Request
    route: Route
    console: Console
    tools: Tools
    user: User | None
    csrf: str
    id: str
    form: Form = field(default_factory=Form)
    query: BaseModel | None = None
    body: BaseModel | None = None

    @property
    def by(self) -> str:
        """Who acts, for the audit trail."""
        assert self.user is not None, "a route for anyone acts for nobody"
        return self.user.name

    @property
    def path(self) -> Mapping[str, str]:
        """What stands in the path for {names}."""
        return self.request.match_info

    def given(self, model: type[M]) -> M:
        """The body (or else the query) as the model that the route names."""
        for found in (self.body, self.query):
            if isinstance(found, model):
                return found
        raise TypeError(f"the route {self.route.path} names no {model.__name__}")

    def text(self, name: str, default: str = "") -> str:
        """A value of the address (?name=…)."""
        return self.request.query.get(name, default).strip()

    def number(self, name: str, default: int, *, least: int = 0, most: int = 1_000_000) -> int:
        """The same as a number. Raises ConfigError in words."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
            raise ConfigError(f"{name}: expected a number from {least} to {most}", code=name)
        return int(text)

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """A page from a template. A notice that waits is shown on it, once."""
        return self.console.page(self.request, template, status=status, user=self.user, csrf=self.csrf, route=self.route, **values)

    def go(self, path: str, notice: str = "") -> web.Response:
        """See other: to a page of ours, with a notice on it. For the end of every form."""
        answer = web.Response(status=303, headers={"Location": path})
        if notice:
            set_cookie(self, answer, NOTICE_COOKIE, quote(notice[:NOTICE_MOST], safe=""), max_age=60)
        return answer


def set_cookie(asked: Asked, answer: web.StreamResponse, name: str, value: str, *, max_age: int | None = None) -> None:
    """A cookie of ours. Lax, not strict: a link in an alert's mail must find a person logged in; unsafe methods need a token besides."""
    answer.set_cookie(name, value, max_age=max_age, path="/", httponly=True, samesite="Lax", secure=asked.console.is_secure(asked.request))


Answer = web.StreamResponse | BaseModel
Handler = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One page or call.

    Attributes:
        role: who may: the role that is needed; "anyone" without login.
        cli: the command that does the same, such as "dead-letters replay"; "" with a reason in `why`.
        everywhere: only for users that are not limited to connections.
        probe: asked by machines beside the proxy, under any host name: /healthz, /readyz, /metrics.
        nav: its title in the navigation; "" when it has no place there.
        query, body, answer: the models of what is asked and answered; for the API, documented from them.
        media: content types of an answer that is a file, in place of a model.
        body_bytes: how much a request's body may hold.
    """

    method: Method
    path: str
    handler: Handler
    role: Need
    cli: str = ""
    why: str = ""
    everywhere: bool = False
    probe: bool = False
    nav: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    media: tuple[str, ...] = ()
    body_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        if self.role not in NEEDS or self.method not in get_args(Method):
            raise ValueError(f"{self.method} {self.path}: no role or method {self.role!r}")
        if bool(self.cli) == bool(self.why):
            raise ValueError(f"{self.method} {self.path}: say which command does the same, or why there is none")
        if self.probe and (self.role != "anyone" or self.method != "GET"):
            raise ValueError(f"{self.method} {self.path}: a probe is read by anyone")
        if self.is_api and ((self.answer is None) != bool(self.media) or (self.method in ("POST", "PUT") and self.body is None)):
            raise ValueError(f"{self.method} {self.path}: a call of the API names its models, or what kind of file it answers")

    @property
    def is_api(self) -> bool:
        return self.path.startswith(API + "/") and self.path != f"{API}/openapi.json"

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE
