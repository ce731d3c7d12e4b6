"""The application: for each request, where it comes from, who asks, whether they may, whether the form is theirs; then the handler.

All of it is decided here from the table of routes: a handler cannot forget it, and one that is not in the table cannot be reached.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError
from redis.exceptions import RedisError

from connect.config.models import is_loopback
from connect.errors import ConfigError, ConnectError, Transient
from connect.state.users import User, Users, csrf_of
from workers import overview
from workers.console import security
from workers.console.live import LIVE_HEADER, Live
from workers.console.render import environment, static_files
from workers.console.route import API, FORM_COOKIE, NOTICE_COOKIE, SESSION_COOKIE, THEME_COOKIE, Asked, Form, Route
from workers.console.routes import TABLE
from workers.console.security import Listening
from workers.jobs import Tools

CSRF_FIELD: Final = "_csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
FIELDS_MOST: Final = 2000
LIMITED_WORDS: Final = "you are limited to some connections, and this concerns all"
_ID: Final = web.RequestKey("request_id", str)
_FRESH: Final = web.RequestKey("fresh_form_cookie", str)
_WHO: Final = web.RequestKey("who", tuple[User, str])  # for the error page, which keeps the navigation
_WORDS: Final = {
    400: "The request cannot be understood.",
    401: "Log in first.",
    403: "You may not do this.",
    404: "There is no such page.",
    405: "This page does not take such a request.",
    413: "That is more than is taken here.",
    415: "This is not sent in a form that is understood here.",
    429: "Too many requests; try again a little later.",
    500: "Something went wrong that should not have. The log has the details under the number below.",
    503: "It cannot be done right now.",
}

log = structlog.get_logger()


class Refused(Exception):
    """A request ends here: `status`, and words for whoever asked."""

    def __init__(self, status: int, message: str = "", code: str = "", *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message or _WORDS.get(status, HTTPStatus(status).phrase)
        self.code = code or HTTPStatus(status).name.lower()
        self.retry_after_s = retry_after_s


class Console:
    """What all requests share."""

    def __init__(self, tools: Tools, listening: Listening, users: Users | None = None, table: Sequence[Route] = TABLE) -> None:
        self.tools = tools
        self.listening = listening
        self.table = tuple(table)
        self.users = users or Users(tools.redis, clock=tools.clock)
        self.files = static_files()
        self.live = Live(tools)
        self.kept_images = overview.KeptImages()
        self._env = environment(self.files, tools.clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._nav = [(route.nav, route.path, route) for route in self.table if route.nav]

    # -- what pages need -----------------------------------------------------------------------------------------------

    def page(self, request: web.Request, template: str, *, status: int, user: User | None, csrf: str, **values: Any) -> web.Response:
        notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))
        theme = request.cookies.get(THEME_COOKIE, "")
        text = self._env.get_template(template).render(
            user=user,
            csrf_token=csrf,
            request_id=request.get(_ID, ""),
            notice=notice,
            theme=theme if theme in ("light", "dark") else "",
            here=request.rel_url.raw_path,
            here_full=security.local_path(str(request.rel_url)),
            nav=[(title, path) for title, path, route in self._nav if self.allows(user, route)],
            scope=self.scope(user),
            **values,
        )
        answer = web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
        if notice:
            answer.del_cookie(NOTICE_COOKIE, path="/")
        return answer

    def scope(self, user: User | None) -> list[str]:
        """The names of the connections a user is limited to; none for all."""
        if user is None or not user.connections:
            return []
        return [one.connection.name for sid, one in self.tools.connections.items() if user.sees(sid)]

    def is_secure(self, request: web.Request) -> bool:
        return security.is_secure(self.listening, request)

    def cookie(self, request: web.Request, name: str) -> str:
        """Its name: one that only we can have set where that is possible."""
        return f"__Host-{name}" if self.is_secure(request) else name

    def allows(self, user: User | None, route: Route) -> bool:
        """Whether the table lets a user use a route."""
        if route.role == "anyone":
            return True
        return user is not None and user.may(route.role) and not (route.everywhere and user.connections)

    def tools_of(self, user: User | None) -> Tools:
        """Tools with the connections that a user may see."""
        if user is None or not user.connections:
            return self.tools
        seen = {sid: one for sid, one in self.tools.connections.items() if user.sees(sid)}
        config = self.tools.config.model_copy(update={"connections": [one.connection for one in seen.values()]})
        return replace(self.tools, config=config, connections=seen)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Work that may outlast its request; it ends with the console at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work of the console failed", error=repr(error))

    async def close(self) -> None:
        await self.live.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- who asks ------------------------------------------------------------------------------------------------------

    async def who(self, request: web.Request) -> tuple[User | None, str, bool]:
        """(the user, what form tokens are made from, whether by a token). Raises Refused for a token or proxy's user that is none."""
        authorization = request.headers.get("Authorization", "")
        if authorization:
            scheme, _, text = authorization.partition(" ")
            user = await self.users.by_token(text.strip()) if scheme.casefold() == "bearer" else None
            if user is None:
                raise Refused(
                    401, "the token is not valid: it was revoked, has run out or never was one; expected Authorization: Bearer TOKEN"
                )
            return user, "", True
        secret = request.cookies.get(self.cookie(request, SESSION_COOKIE), "")
        is_use = LIVE_HEADER not in request.headers and request.path != "/events"  # a page that is only open lets its session run out
        user = await self.users.session(secret, is_use=is_use) if secret else None
        if user is not None:
            return user, secret, False
        secret = request.cookies.get(self.cookie(request, FORM_COOKIE), "")
        if len(secret) < 20:
            secret = secrets.token_urlsafe(32)
            request[_FRESH] = secret
        name = self._named_by_proxy(request)
        if name:
            user = await self.users.get(name)
            if user is None:
                raise Refused(403, f"you are logged in as {name}, whom this Connect does not know: ask an administrator to add you")
        return user, secret, False

    def _named_by_proxy(self, request: web.Request) -> str:
        header = self.listening.user_header
        if not header or not security.is_trusted(self.listening, security.peer(request)):
            return ""
        values = request.headers.getall(header, [])
        if len(values) > 1:
            raise Refused(400, f"the header {header} is there {len(values)} times")
        return values[0].strip() if values else ""

    # -- a request -----------------------------------------------------------------------------------------------------

    def guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route's handler behind all checks."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if not route.probe:
                self._check_origin_of(request)
            user, secret, by_token = await self.who(request) if not route.probe else (None, "", False)
            if user is not None and secret:
                request[_WHO] = user, secret
            self._check_role(request, route, user)
            form = Form()
            raw = b""
            if not route.is_safe:
                raw = await _body(request, route.body_bytes)
                if route.body is None or request.content_type == "application/x-www-form-urlencoded":
                    form = _form(request, raw)
                if not by_token:
                    _check_csrf(request, form, secret)
            asked = Asked(
                request=request,
                route=route,
                console=self,
                tools=self.tools_of(user),
                user=user,
                csrf=csrf_of(secret) if secret else "",
                id=request[_ID],
                form=form,
                query=_query(request, route.query),
                body=_json(request, raw, route.body),
            )
            answer = await route.handler(asked)
            if isinstance(answer, BaseModel):
                answer = web.Response(
                    body=answer.model_dump_json(by_alias=True).encode(), status=route.status, content_type="application/json"
                )
            if (fresh := request.get(_FRESH, "")) and not answer.prepared:
                answer.set_cookie(
                    self.cookie(request, FORM_COOKIE), fresh, path="/", httponly=True, samesite="Lax", secure=self.is_secure(request)
                )
            return answer

        return handle

    def _check_origin_of(self, request: web.Request) -> None:
        """It came over a way that keeps passwords secret, and under a name that is ours."""
        address = security.peer(request)
        listening = self.listening
        if listening.proxies and not listening.has_tls and not security.is_trusted(listening, address) and not _is_loopback(address):
            raise Refused(403, "come through the proxy: from elsewhere the console would be reached unencrypted")
        host = security.host_of(request.headers.get("Host", ""))
        if host.casefold() not in listening.allowed:
            raise Refused(400, "the console does not go by this name; give it with --public-host when it should", "host")

    def _check_role(self, request: web.Request, route: Route, user: User | None) -> None:
        if self.allows(user, route):
            return
        if user is None:
            if route.is_api or request.path.startswith(API + "/"):
                raise Refused(401, "expected Authorization: Bearer TOKEN; `connect console token create` gives one")
            target = security.local_path(str(request.rel_url)) if request.method in ("GET", "HEAD") else "/"
            raise web.HTTPSeeOther(f"/login?next={quote(target, safe='')}")
        if route.role != "anyone" and user.may(route.role):
            raise Refused(403, f"You may not do this: {LIMITED_WORDS}.")
        raise Refused(403, f"You may not do this: it needs the role {route.role}, and you have {user.role}.")


def _is_loopback(address: str) -> bool:
    return address == "" or is_loopback(address.removeprefix("::ffff:"))


async def _body(request: web.Request, most: int) -> bytes:
    if (request.content_length or 0) > most:
        raise Refused(413, f"that is more than {most:,} bytes, which is all that is taken here")
    found = bytearray()
    async for piece in request.content.iter_chunked(65_536):
        found += piece
        if len(found) > most:
            raise Refused(413, f"that is more than {most:,} bytes, which is all that is taken here")
    return bytes(found)


def _form(request: web.Request, raw: bytes) -> Form:
    if not raw:
        return Form()
    if request.content_type != "application/x-www-form-urlencoded":
        raise Refused(415, "expected a form (application/x-www-form-urlencoded)")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=False, errors="strict", max_num_fields=FIELDS_MOST)
    except ValueError:  # also UnicodeDecodeError
        raise Refused(400, f"the form cannot be read: it is not UTF-8, or has more than {FIELDS_MOST} fields") from None
    found = Form()
    for name, value in pairs:
        found.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return found


def _check_csrf(request: web.Request, form: Form, secret: str) -> None:
    """The form is a page of ours, made for this very session."""
    if not security.is_same_origin(request):
        raise Refused(403, "the form comes from another site", "csrf")
    given = request.headers.get(CSRF_HEADER, "") or form.text(CSRF_FIELD)
    if not secret or not secrets.compare_digest(given.encode(errors="replace"), csrf_of(secret).encode()):
        raise Refused(403, "The form is too old, or not from here: go back, load the page anew, and try again.", "csrf")


def _query(request: web.Request, model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        return None
    found: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        found[name] = values[0] if len(values) == 1 else values
    return _filled(model, found)


def _json(request: web.Request, raw: bytes, model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        return None
    if request.content_type != "application/json":
        raise Refused(415, "expected JSON (Content-Type: application/json)")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise Refused(400, _in_words(error), "body") from None


def _filled(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refused(400, _in_words(error), "query") from None


def _in_words(error: ValidationError) -> str:
    found = [
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" if one["loc"] else one["msg"]
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    ]
    return "; ".join(found)[:1000].encode(errors="replace").decode()


CONSOLE: Final = web.AppKey("console", Console)
TIDY_EVERY_S: Final = 0.5
GARBAGE_AT: Final = 50_000  # objects that were made and are still there


# -- errors ------------------------------------------------------------------------------------------------------------


@web.middleware
async def _answered(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Every request gets an answer in words, as a page or as JSON."""
    request[_ID] = secrets.token_hex(6)
    try:
        _check_text(request)
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = _error(request, Refused(error.status))
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Refused as refused:
        return _error(request, refused)
    except ConfigError as error:
        return _error(request, Refused(404 if error.code.startswith("unknown-") else 400, error.message, error.code))
    except Transient as error:
        return _error(request, Refused(503, error.message, error.code))
    except ConnectError as error:
        return _error(request, Refused(404 if error.code.startswith("unknown-") else 502, error.message, error.code))
    except (RedisError, OSError) as error:
        log.error("redis does not serve the console", request_id=request[_ID], error=repr(error))
        return _error(request, Refused(503, "Redis does not answer; `connect status` says more.", "redis"))
    except Exception:
        log.exception("a page failed", request_id=request[_ID], method=request.method, path=request.path)
        return _error(request, Refused(500))


def _check_text(request: web.Request) -> None:
    """What is no text anywhere else either: halves of characters, and NUL."""
    pieces = [request.path, *request.query.keys(), *request.query.values(), *request.cookies.values()]
    try:
        is_text = not any("\0" in piece.encode().decode() for piece in pieces)
    except UnicodeError:
        is_text = False
    if not is_text:
        raise Refused(400, "the address or a cookie has characters that are none")


def _error(request: web.Request, refused: Refused) -> web.Response:
    console = request.app[CONSOLE]
    if request.path.startswith(API + "/"):
        body = ErrorAnswer(error=ErrorFacts(code=refused.code, message=refused.message, request_id=request[_ID]))
        answer = web.Response(body=body.model_dump_json().encode(), status=refused.status, content_type="application/json")
    else:
        user, secret = request.get(_WHO, (None, ""))
        answer = console.page(
            request,
            "error.html",
            status=refused.status,
            user=user,
            csrf=csrf_of(secret) if secret else "",
            code=refused.status,
            message=refused.message,
        )
    if refused.retry_after_s:
        answer.headers["Retry-After"] = str(int(refused.retry_after_s) + 1)
    if refused.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


class ErrorFacts(BaseModel):
    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """What the API answers when it does not do what was asked."""

    error: ErrorFacts


# -- the application ---------------------------------------------------------------------------------------------------


def build_app(tools: Tools, listening: Listening, *, users: Users | None = None, table: Sequence[Route] = TABLE) -> web.Application:
    """The application of these routes, and of nothing else."""
    console = Console(tools, listening, users, table)
    app = web.Application(middlewares=[_answered], client_max_size=0)
    app[CONSOLE] = console
    for route in table:
        handler = console.guarded(route)
        if route.method == "GET":
            app.router.add_get(route.path, handler, allow_head=route.path != "/events")
        else:
            app.router.add_route(route.method, route.path, handler)

    async def sign(request: web.Request, answer: web.StreamResponse) -> None:
        security.add_headers(listening, request, answer)
        answer.headers["X-Request-Id"] = request.get(_ID, "")

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        yield
        await console.close()

    app.on_response_prepare.append(sign)
    app.on_shutdown.append(lambda _app: console.live.close())
    app.cleanup_ctx.append(lifetime)
    return app


async def serve(tools: Tools, listening: Listening, *, until: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Answer until the event is set. `ready` gets the address. Raises ConfigError when the port is taken."""
    runner = web.AppRunner(build_app(tools, listening), access_log=None, handle_signals=False, shutdown_timeout=5.0)
    await runner.setup()
    gc.collect()
    gc.freeze()  # what is there now stays: looking through it over and over would hold up a page by some 100 ms
    gc.disable()
    tidying = asyncio.create_task(_tidy())
    try:
        site = web.TCPSite(runner, listening.host, listening.port, ssl_context=security.tls_context(listening))
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"the console cannot listen on {listening.host}:{listening.port}: {error.strerror}; give another --port"
            ) from None
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        ready(f"{'https' if listening.has_tls else 'http'}://{shown}:{port}/")
        await until.wait()
    finally:
        tidying.cancel()
        gc.enable()
        await runner.cleanup()


async def _tidy() -> None:
    """What refers to itself is looked for between pages: within one, all of its objects are in use, some 80,000 for 200 connections, and
    looking through them takes a fifth of its time.
    """
    for turn in itertools.count(1):
        await asyncio.sleep(TIDY_EVERY_S)
        if turn % 100 == 0:
            gc.collect()
        elif gc.get_count()[0] > GARBAGE_AT:
            gc.collect(1)  # what has been made since
