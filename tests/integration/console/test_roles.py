"""Every route of the table against every role, with and without the form's token. A route that is added is held to it at once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from console_box import HOST, Box, Browser, console
from pydantic import BaseModel, ConfigDict

from connect.state.users import ROLES, csrf_of
from workers.console.app import CSRF_HEADER
from workers.console.route import Asked, Route
from workers.console.routes import TABLE

MAY = {"viewer": {"viewer"}, "operator": {"viewer", "operator"}, "approver": {"viewer", "approver"}, "admin": set(ROLES)}
UNSAFE = [route for route in TABLE if route.method != "GET"]


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


async def reached(asked: Asked) -> web.Response:
    return web.Response(status=299, text=asked.user.name if asked.user else "")


def stubbed(route: Route) -> Route:
    """The same rule; a handler that says that it was reached."""
    return replace(route, handler=reached, query=None, body=Anything if route.body else None)


@pytest.fixture
async def box(valkey: str, redis: Any) -> AsyncIterator[Box]:
    async with console(valkey, table=[stubbed(route) for route in TABLE]) as made:
        yield made


def path_of(route: Route) -> str:
    return re.sub(r"{\w+}", "x", route.path)


async def ask(browser: Browser, route: Route, csrf: str | None, **options: Any) -> int:
    """The status of this route, asked as a page's script or a form would."""
    headers = dict(options.pop("headers", {}))
    if csrf is not None:
        headers[CSRF_HEADER] = csrf
    if route.body is not None:
        options["json"] = {}
    answer = await browser.ask(route.method, path_of(route), headers=headers, **options)
    return answer.status


def denied(route: Route) -> set[int]:
    return {401} if "/api/" in route.path else {303}


async def test_every_route_is_reached_by_exactly_the_roles_that_the_table_names(box):
    people = await box.everybody()
    for route in TABLE:
        for role, browser in people.items():
            may = route.role == "anyone" or route.role in MAY[role]
            assert await ask(browser, route, browser.csrf) == (299 if may else 403), (role, route)


async def test_nobody_reaches_what_is_not_for_anyone(box):
    for route in TABLE:
        browser = box.browser()
        if route.method == "POST" and route.role == "anyone":
            await browser.get("/login")  # for the form's token
        expected = {299} if route.role == "anyone" else denied(route)
        assert await ask(browser, route, browser.csrf) in expected, route


async def test_only_what_must_be_is_open_to_anyone():
    open_paths = {(route.method, route.path) for route in TABLE if route.role == "anyone" and not route.probe}
    assert open_paths == {("GET", "/login"), ("POST", "/login"), ("POST", "/theme"), ("GET", "/static/{digest}/{name}")}
    assert {route.path for route in TABLE if route.probe} <= {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize("wrong", [None, "", "x", "of another", "ü"])
async def test_no_act_without_the_token_of_this_very_session(box, wrong):
    admin, other = await box.person("admin"), await box.person("admin")
    given = csrf_of(other.cookies["connect_session"]) if wrong == "of another" else wrong
    for route in UNSAFE:
        assert await ask(admin, route, given) == 403, route
        nobody = box.browser()
        await nobody.get("/login")
        assert await ask(nobody, route, given) in {403, *denied(route)}, route


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"},
        {"Origin": "http://["}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
async def test_no_act_from_another_site_whatever_token_it_has(box, headers):
    admin = await box.person("admin")
    for route in UNSAFE:
        assert await ask(admin, route, admin.csrf, headers=headers) == 403, route
        assert await ask(admin, route, admin.csrf, headers={"Origin": f"http://{HOST['Host']}", "Sec-Fetch-Site": "same-origin"}) == 299


async def test_a_token_of_the_api_may_what_its_user_may_and_needs_no_form_token(box):
    tokens = {role: await box.token(role) for role in ROLES}
    browser = box.browser()
    for route in TABLE:
        for role, headers in tokens.items():
            may = route.role == "anyone" or route.role in MAY[role]
            assert await ask(browser, route, None, headers=headers) == (299 if may else 403), (role, route)


@pytest.mark.parametrize("header", ["Bearer x", "Bearer", "Basic YWRtaW46eA==", "Bearer connect_000000000000_" + "A" * 43, "connect"])
async def test_a_token_that_is_none_lets_in_nowhere_also_not_beside_a_session(box, header):
    admin = await box.person("admin")
    for route in TABLE:
        if not route.probe:
            assert await ask(admin, route, admin.csrf, headers={"Authorization": header}) == 401, route


async def test_who_is_limited_to_some_connections_does_not_reach_what_concerns_all(box):
    sid = box.pipeline.connection.connection.sid
    limited = await box.person("admin", [sid])
    for route in TABLE:
        assert await ask(limited, route, limited.csrf) == (403 if route.everywhere else 299), route
    assert {route.path for route in TABLE if route.everywhere} >= {"/users", "/api/v1/users", "/api/v1/tokens"}


async def test_no_route_is_served_that_is_not_in_the_table(box):
    served = {(route.method, route.resource.canonical) for route in box.client.app.router.routes()}
    assert served - {("HEAD", path) for method, path in served if method == "GET"} == {(route.method, route.path) for route in TABLE}
    browser = await box.person("admin")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in {path_of(route) for route in TABLE}:
            if not any(one.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", one.path), path) for one in TABLE):
                answer = await browser.ask(method, path)
                assert answer.status == 405, (method, path)
                assert answer.headers["Allow"]


async def test_a_session_that_has_ended_reaches_nothing(box):
    browser = await box.person("admin")
    box.pipeline.clock.advance(hours=13)
    for route in TABLE:
        if route.role != "anyone":
            assert await ask(browser, route, browser.csrf) in denied(route), route
