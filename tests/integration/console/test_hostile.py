"""Whatever is sent, and whatever suppliers are called: no error of ours, no script of theirs."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import ClientResponseError
from console_box import Box, Browser, assert_tame

from connect.errors import Auth, Permanent, Transient
from connect.state.journal import Journal
from connect.state.tokens import Tokens
from workers.console.app import CSRF_HEADER
from workers.console.route import Route
from workers.console.routes import TABLE
from workers.jobs import DocumentTools

NAMES = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "{{ 7*7 }}", "{% raw %}", "</title><script>",
    "javascript:alert(1)", "&lt;b&gt;", "\u202eevil", "a\u0000b", "ÅÄÖ 株式会社", "-->", "]]>", "\r\nSet-Cookie: a=b",
    "<svg/onload=alert(1)>", "%0d%0aX: y",
]  # fmt: skip
PIECES = [
    "", "0", "-1", "1e999", "NaN", "9" * 40, "null", "[]", "{}", "true", "%", "%00", "%ff%fe", "\x00", "\x7f", "\ud800", "é", "株",
    "../../etc/passwd", "a" * 5000,
    "';--", "<script>", "{{1}}", "open", "state", "acme", "100", "2026-01-01", "\r\n\r\n", "x:y",
    ":", "[", "]", "(", "*", "?", "#", "&", "=", ";", "\\", "+", " ",
]  # fmt: skip


# -- names -------------------------------------------------------------------------------------------------------------


def pages() -> list[str]:
    return [route.path for route in TABLE if route.method == "GET" and not route.is_api and not route.probe and "{" not in route.path]


@pytest.mark.parametrize("name", NAMES)
async def test_a_hostile_name_is_shown_as_text_on_every_page(box: Box, name: str) -> None:
    admin = await box.person("admin")
    letter_id = await box.letter(name, name, message=f"refused {name}", code=name[:20] or "x")
    await box.pipeline.connection.dead_letters.discard([letter_id], reason=name, by=name)
    letter_id = await box.letter(f"2{name}", name, key=2, message=name)
    await admin.post("/account", {"act": "token", "label": name})
    for path in pages():
        if path == "/events":
            continue
        for query in ("", f"?q={quote(name)}&number={quote(name)}&text={quote(name)}&next={quote(name)}"):
            answer = await admin.get(path + query)
            text = await answer.text()
            assert answer.status < 500, (path, query)
            if "html" not in answer.content_type:
                continue
            assert_tame(text)
    shown = await (await admin.get(f"/api/v1/dead-letters/{letter_id}")).json()
    assert shown["supplier"] == name


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_typed_wrong_is_shown_again_as_text(box: Box, name: str) -> None:
    admin = await box.person("admin")
    answer = await admin.post("/users", {"act": "add", "name": name, "role": "viewer"})
    text = await answer.text()
    assert answer.status in (303, 400)
    assert_tame(text)
    nobody = box.browser()
    text = await (await nobody.login(name, "x")).text()
    assert_tame(text)


@pytest.mark.parametrize(
    "name", ["x\r\nSet-Cookie: evil=1", "x\nLocation: //evil", "%0d%0aSet-Cookie:%20evil=1", "x\u2028Set-Cookie: evil=1"]
)
async def test_no_header_is_made_by_what_is_sent(box: Box, name: str) -> None:
    admin = await box.person("admin")
    for answer in (
        await admin.post("/theme", {"theme": name, "next": f"/{name}"}),
        await admin.ask("GET", f"/login?next=/{quote(name)}"),
        await admin.post("/users", {"act": name, "name": name}),
        await admin.post("/account", {"act": "token", "label": name}),
        await admin.ask("GET", "/", headers={"X-Request-Id": "mine"}),
    ):
        assert "evil" not in {cookie.key for cookie in answer.cookies.values()}
        assert "evil" not in answer.headers.get("Location", "").partition("?")[0].replace("/x", "").replace("%", "")[:1]
        assert answer.headers["X-Request-Id"] != "mine"
        assert answer.status < 500


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", [route for route in TABLE if route.method in ("POST", "PUT")], ids=lambda route: f"{route.method} {route.path}"
)
async def test_more_than_is_taken_is_refused_before_it_is_read(box: Box, route: Route) -> None:
    admin = await box.person("admin")
    path = re.sub(r"{\w+}", "x", route.path)
    kind = "application/json" if route.body else "application/x-www-form-urlencoded"
    body = b"a=" + b"x" * route.body_bytes
    answer = await admin.ask(route.method, path, data=body, headers={"Content-Type": kind, CSRF_HEADER: admin.csrf})
    assert answer.status == 413

    async def endless() -> Any:  # without a length
        for _ in range(route.body_bytes // 1000 + 2):
            yield b"x" * 1000

    answer = await admin.ask(route.method, path, data=endless(), headers={"Content-Type": kind, CSRF_HEADER: admin.csrf})
    assert answer.status == 413


async def test_a_form_with_endless_fields_or_of_another_kind_is_refused_in_words(box: Box) -> None:
    admin = await box.person("admin")
    for body, kind, status in (
        ("&".join(f"a{number}=1" for number in range(2001)), "application/x-www-form-urlencoded", 400),
        ("a=%ff", "application/x-www-form-urlencoded", 400),
        ("é=1", "application/x-www-form-urlencoded; charset=nonsense", 400),
        ("a=1", "multipart/form-data; boundary=x", 415),
        ("a=1", "text/plain", 415),
        ("{}", "application/json", 415),
    ):
        answer = await admin.ask("POST", "/users", data=body.encode(), headers={"Content-Type": kind, CSRF_HEADER: admin.csrf})
        assert (answer.status, "request " in await answer.text()) == (status, True), (body[:20], kind)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"ids":["x"],"filters":{"a":"b"}}', 400), (b'{"nonsense":1}', 400),
        (b"\xff", 400), (b'{"ids":["\\ud800"]}', 400), (b"[" * 100_000, 400), (b'{"ids":["nosuch"]}', 404),
        (b'{"filters":{"nonsense":"x"}}', 400),
        (b'{"filters":{"connection":"x"}}', 404), (b'{"filters":{"state":"x"}}', 400),
        (b'{"ids":["x"],"rate":1e999}', 400), (b'{"ids":["x"],"rate":0}', 400),
    ],
)  # fmt: skip
async def test_bad_json_is_said_in_words(box: Box, body: bytes, status: int) -> None:
    headers = await box.token("admin")
    for path in ("/api/v1/dead-letters/replay", "/api/v1/dead-letters/approve"):
        sent = body if "rate" not in body.decode(errors="replace") or "replay" in path else b"{"
        answer = await box.browser().ask("POST", path, data=sent, headers=headers | {"Content-Type": "application/json"})
        error = (await answer.json())["error"]
        assert (answer.status if sent == body else status) == status, error
        assert len(error["message"]) > 5
        assert error["request_id"] == answer.headers["X-Request-Id"]


# -- chance ------------------------------------------------------------------------------------------------------------


# What forms and addresses of pages name, beside what the models of the API say; and values with which something may come of it.
FIELDS = (
    "act", "name", "role", "label", "days", "password", "token", "theme", "_csrf", "connection", "company", "job", "what", "reason", "full",
    "expire", "ids", "which", "step", "seen", "rate", "counted", "next", "filter.kind", "filter.state", "filter.text", "filter.nonsense",
    "set.note", "set.due_on", "set.lines[0].account", "set.lines[9999999].account", "set.amount", "set.",
)  # fmt: skip
ASKED = (
    "limit", "offset", "next", "q", "light", "name", "minutes", "connection", "company", "job", "state", "text", "number", "lines_from",
    "groups_from", "group", "owner", "kind", "by", "about", "download", "frame", "format",
)  # fmt: skip
VALUES = (
    "acme", "100", "GetThings", "everything", "direction: inbound", "job: GetThings", "*", "ids", "filter", "do", "preview", "save",
    "replay", "change", "open", "red", "1440", "50", "-1", "99999999999999999999", "1e9", "0.0001", "2026-02-30", "csv", "1",
)  # fmt: skip


def mutated(rng: random.Random, route: Route, known: Sequence[str]) -> tuple[str, str, dict[str, str], bytes | None]:
    """A request to a route that has something wrong with it, or several things."""

    def piece() -> str:
        found = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 3)))
        return found[: rng.choice((3, 300, 6000))]

    def sent(text: str) -> str:
        return quote(text.encode(errors="surrogatepass"), safe=rng.choice(("", "/:&=?")))

    method = rng.choice((*[route.method] * 3, "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"))
    path = re.sub(r"{\w+}", lambda _: rng.choice((*known, sent(piece()) or "x")), route.path) if rng.random() < 0.9 else f"/{sent(piece())}"
    names = [*(route.query.model_fields if route.query else ()), *ASKED, piece()]
    if rng.random() < 0.6:
        path += "?" + "&".join(
            f"{sent(rng.choice(names))}={sent(rng.choice((piece(), rng.choice(VALUES))))}" for _ in range(rng.randint(1, 4))
        )
    headers, body = {}, None
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        fields = [*(route.body.model_fields if route.body else ()), *FIELDS]
        if route.body and rng.random() < 0.8:
            headers["Content-Type"] = "application/json"
            values = [f'"{piece()}"', piece(), "[]", '["x"]', '{"state":"open"}', "null", "1", "true", '"acme"', '"GetThings"']
            text = "{" + ",".join(f'"{rng.choice(fields)}":{rng.choice(values)}' for _ in range(rng.randint(0, 4))) + "}"
        else:
            headers["Content-Type"] = rng.choice(
                ("application/x-www-form-urlencoded",) * 4 + ("text/plain", "", "multipart/form-data", "x/y; charset=z")
            )
            acts = ["add", "change", "token", "revoke", "remove", *VALUES, *known, piece()]
            text = "&".join(
                f"{quote_plus(rng.choice(fields))}={quote_plus(rng.choice((piece(), rng.choice(acts))).encode(errors='surrogatepass'))}"
                for _ in range(rng.randint(0, 8))
            )
        body = text.encode(errors="surrogatepass")
        if rng.random() < 0.1:
            body = rng.randbytes(rng.randint(0, 200))
    for name in ("Accept-Language", "Cookie", "If-None-Match", "Referer", "X-Forwarded-For", "Range", "X-Live", "Last-Event-ID"):
        if rng.random() < 0.1:
            headers[name] = re.sub(r"[\x00-\x1f\x7f]|[^\x00-\xff]", "", piece())
    return method, path, headers, body


class PrimeAway:
    """A Prime that cannot be reached."""

    environment = "acme"

    def __getattr__(self, _: str) -> Any:
        async def call(*_: Any) -> None:
            raise Transient("Prime cannot be reached", system="prime")

        return call


async def invoice_letter(box: Box, number: int) -> str:
    """A dead letter of an invoice that can be changed."""
    one, sid = box.pipeline.connection, box.pipeline.connection.connection.sid
    nobody: Any = None
    documents = DocumentTools(
        prime=cast("Any", PrimeAway()), pay=None, bills=nobody, payments=nobody, facts=nobody, settle_s=1.0,
        journal=Journal(box.pipeline.tools.redis, sid),
    )  # fmt: skip

    async def refuse() -> tuple[str, float]:
        raise Auth("Sage lets nobody in", system="sage")

    tokens = Tokens(box.pipeline.tools.redis, "client", "user", "s", refuse)
    box.pipeline.tools.connections[sid] = replace(one, documents=documents, tokens=tokens)
    body = {
        "id": ["acme", "100", "1", str(number)], "status": 4, "is_credit": False, "is_blocked": False, "supplier": "V1",
        "supplier_invoice_no": "A", "voucher_no": None, "invoiced_on": "2026-03-01", "due_on": "2026-03-31", "posted_on": "2026-03-02",
        "paid_on": None, "currency": "USD", "amount": "125.00", "pay_reference": None, "note": NAMES[0],
        "lines": [{"number": 1, "type": 1, "account": "6999", "amount": "100.00", "note": NAMES[1]}],
    }  # fmt: skip
    made = one.dead_letters.letter(
        company="100", job="ExportInvoices", part="", kind="Invoice", key=0, number=f"1-{number}", name=NAMES[0], run="", trace="",
        payload=json.dumps(body).encode(), error=Permanent(NAMES[0], system="sage", code="X-1"),
    )  # fmt: skip
    await one.dead_letters.put_many([made])
    return made.id


async def storm(box: Box, count: int, seed: int) -> None:
    rng = random.Random(seed)
    routes = [route for route in TABLE if route.path not in ("/events", "/logout", f"{'/api/v1'}/take-over")]
    known = ["acme", "GetThings", "0", await box.letter("V1"), await invoice_letter(box, 7), await invoice_letter(box, 8)]
    people: list[Browser] = [await box.person("admin"), await box.person("viewer"), box.browser()]
    tokens = [await box.token("admin"), await box.token("operator")]
    seen: dict[int, int] = {}
    for number in range(count):
        route = rng.choice(routes)
        method, path, headers, body = mutated(rng, route, known)
        browser = rng.choice(people)
        if rng.random() < 0.8:
            headers[CSRF_HEADER] = browser.csrf
        if rng.random() < 0.5:
            headers |= rng.choice(tokens)
        sent_cookie = headers.pop("Cookie", "")
        if sent_cookie:
            browser = Browser(
                box.client, {"connect_session": sent_cookie[:200], "connect_notice": sent_cookie[:200], "connect_theme": sent_cookie[:9]}
            )
        try:
            answer = await browser.ask(method, path, headers=headers, data=body)
        except ClientResponseError as error:  # too long a line for the server itself, which ends the connection
            assert (error.status, len(path) > 8000) == (400, True), (seed, number, error)  # noqa: PT017
            continue
        text = await answer.read()
        assert answer.status != 500, (seed, number, method, path, headers, body, text[-600:])
        assert answer.status < 500 or answer.status in (501, 502, 503), (seed, number, answer.status)
        if answer.status >= 400 and method != "HEAD":
            assert len(text) > 10, (seed, number, method, path)
        seen[answer.status] = seen.get(answer.status, 0) + 1
        admin = people[0]
        if "connect_session" not in admin.cookies:
            people[0] = await box.person("admin")
    assert seen.get(200, 0) > count // 50  # it is not all refused at the door
    assert seen.get(400, 0) > count // 50, seen


async def test_a_thousand_mutated_requests_are_answered_in_words(box: Box) -> None:
    await storm(box, 1000, 7)


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_ten_thousand_mutated_requests_are_answered_in_words(box: Box) -> None:
    await storm(box, 10_000, int(os.environ.get("CONNECT_FAULT_SEED", "1")))
