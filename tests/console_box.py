"""A console over a pipeline in memory: users of every role, logged in as a browser is, or with a token."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from lxml import html
from pipeline import Pipeline, config_text, pipeline

from connect.errors import Permanent
from connect.state.users import ROLES, Users, csrf_of
from workers.console.app import CONSOLE, build_app
from workers.console.route import Route
from workers.console.routes import TABLE
from workers.console.security import Listening
from workers.jobs import ConnectionTools

PASSWORD = "correct horse battery"
HOST = {"Host": "127.0.0.1:8080"}


@dataclass
class Browser:
    """One person's cookies, kept by hand so that a test sees and forges what it likes."""

    client: TestClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> ClientResponse:
        sent = {**HOST, **({"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {})}
        answer = await self.client.request(method, path, headers=sent | (headers or {}), allow_redirects=False, **options)
        for name, cookie in answer.cookies.items():
            if cookie["max-age"] == "0" or not cookie.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.value
        return answer

    async def get(self, path: str, **options: Any) -> ClientResponse:
        return await self.ask("GET", path, **options)

    async def text(self, path: str) -> str:
        return await (await self.get(path)).text()

    @property
    def csrf(self) -> str:
        return csrf_of(self.cookies.get("connect_session") or self.cookies.get("connect_form", ""))

    async def post(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> ClientResponse:
        """A form of ours, with its token."""
        return await self.ask("POST", path, data={"_csrf": self.csrf, **(fields or {})}, **options)

    async def login(self, name: str, password: str = PASSWORD, target: str = "/") -> ClientResponse:
        page = await self.text("/login")
        return await self.post("/login", {"name": name, "password": password, "next": target, "_csrf": csrf_in(page)})


@dataclass
class Box:
    """The console, its state, and how to reach it."""

    pipeline: Pipeline
    client: TestClient
    users: Users

    def browser(self) -> Browser:
        return Browser(self.client)

    async def person(self, role: str, connections: Sequence[str] = ()) -> Browser:
        """Somebody of this role, logged in without the cost of a password."""
        user = await self.users.get(role) or await self.users.add(role, None, role, connections)  # type: ignore[arg-type]
        return Browser(self.client, {"connect_session": await self.users.begin(user)})

    async def token(self, role: str) -> dict[str, str]:
        user = await self.users.get(role) or await self.users.add(role, None, role)  # type: ignore[arg-type]
        text, _ = await self.users.create_token(user.name, "test")
        return {"Authorization": f"Bearer {text}", **HOST}

    async def everybody(self) -> dict[str, Browser]:
        return {role: await self.person(role) for role in ROLES}

    async def letter(self, number: str, name: str = "Vendor", connection: ConnectionTools | None = None, **facts: Any) -> str:
        """A dead letter of a register's row."""
        one = connection or self.pipeline.connection
        made = one.dead_letters.letter(
            company="100", job="GetThings", part="Thing", kind="Thing", key=facts.get("key", 1), number=number, name=name,
            payload=facts.get("payload", b'{"number":"1"}'), run="run-1", trace="trace-1",
            error=Permanent(facts.get("message", "refused"), system="prime", code=facts.get("code", "2")),
        )  # fmt: skip
        await one.dead_letters.put_many([made])
        return made.id


@asynccontextmanager
async def console(
    url: str, *, names: Sequence[str] = ("acme",), listening: Listening | None = None, table: Sequence[Route] = TABLE
) -> AsyncIterator[Box]:
    made = pipeline(url, config_text(names=names, jobs=("GetThings",)))
    users = Users(made.tools.redis, clock=made.clock)
    app = build_app(made.tools, listening or Listening(), users=users, table=table)
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
        assert app[CONSOLE].users is users
        yield Box(made, client, users)
    await made.tools.redis.aclose(close_connection_pool=True)


def csrf_in(page: str) -> str:
    """The token of a page's forms."""
    return page.partition('name="_csrf" value="')[2].partition('"')[0]


def hrefs(text: str) -> list[str]:
    return re.findall(r'(?:href|src|action)="([^"]*)"', text)


def assert_tame(text: str) -> None:
    """A browser finds no script in it but ours, and no link that is one."""
    for element in html.document_fromstring(text).iter(html.etree.Element):
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"], element.attrib
        assert element.tag != "script" or (element.text is None and element.get("src", "").startswith("/static/"))
        assert element.tag != "img" or element.get("src", "").startswith("/")
        for name in ("href", "src", "action"):
            assert re.match(r"[/?#]|$", element.get(name, "")), element.attrib
