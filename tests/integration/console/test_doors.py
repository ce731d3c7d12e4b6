"""Coming in and going out: cookies, lock-out, proxies, host names, headers; and what an open page is told."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time

import pytest
from console_box import PASSWORD, console, hrefs

from connect.state.users import ABSOLUTE, IDLE, TRIES_PER_NAME, csrf_of
from workers.console import live
from workers.console.app import CONSOLE
from workers.console.security import Listening

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "connect",
}


@pytest.fixture
async def ann(box):
    return await box.users.add("ann", PASSWORD, "admin")


# -- login -------------------------------------------------------------------------------------------------------------


async def test_a_person_logs_in_goes_where_they_wanted_and_logs_out(box, ann):
    browser = box.browser()
    asked = await browser.get("/users?x=1")
    assert (asked.status, asked.headers["Location"]) == (303, "/login?next=/users?x%3D1")
    await browser.get(asked.headers["Location"])
    let_in = await browser.post("/login", {"name": "Ann", "password": PASSWORD, "next": "/users?x=1"})
    assert (let_in.status, let_in.headers["Location"]) == (303, "/users?x=1")
    cookie = let_in.cookies["connect_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", "")
    assert "ann" in await browser.text("/")
    session = browser.cookies["connect_session"]
    gone = await browser.post("/logout")
    assert (gone.status, gone.headers["Location"]) == (303, "/login")
    assert "You are logged out." in await browser.text("/login")
    browser.cookies["connect_session"] = session  # it is not only forgotten by the browser
    assert (await browser.get("/")).status == 303


async def test_a_session_is_another_after_logging_in_whatever_the_browser_brought(box, ann):
    browser = box.browser()
    browser.cookies["connect_session"] = "fixed-by-somebody-else-0123456789"
    await browser.login("ann")
    assert browser.cookies["connect_session"] != "fixed-by-somebody-else-0123456789"


async def test_a_wrong_password_is_said_and_too_many_lock_out_with_a_message(box, ann):
    browser = box.browser()
    for _ in range(TRIES_PER_NAME):
        answer = await browser.login("ann", "wrong")
        assert answer.status == 401
        text = await answer.text()
        assert "the name or the password is wrong" in text
        assert 'value="ann"' in text
        assert "wrong</" in text  # the password typed is not shown again
        assert 'value="wrong"' not in text
    answer = await browser.login("ann")
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 901
    assert "too many failed logins; try again in 15 minutes" in await answer.text()
    box.pipeline.clock.advance(minutes=16)
    assert (await browser.login("ann")).status == 303


async def test_a_session_ends_by_itself(box, ann):
    browser = box.browser()
    await browser.login("ann")
    box.pipeline.clock.advance(seconds=IDLE.total_seconds() - 1)
    assert (await browser.get("/")).status == 200
    box.pipeline.clock.advance(seconds=IDLE.total_seconds() - 1)
    assert (await browser.get("/", headers={"X-Live": "1"})).status == 200  # an open page, nobody before it
    box.pipeline.clock.advance(seconds=2)
    assert (await browser.get("/")).status == 303
    await browser.login("ann")
    box.pipeline.clock.advance(seconds=ABSOLUTE.total_seconds() + 1)
    assert (await browser.get("/")).status == 303


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\r\nX: y", "%2F%2Fx"]
)
async def test_nobody_is_sent_elsewhere(box, ann, target):
    browser = box.browser()
    answer = await browser.login("ann", target=target)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    answer = await browser.post("/theme", {"theme": "dark", "next": target})
    assert answer.headers["Location"] == "/"
    answer = await browser.ask("GET", "/login", params={"next": target})
    assert answer.headers["Location"] == "/"


async def test_changing_ones_password_needs_the_present_one_and_ends_all_sessions(box, ann):
    browser, other = box.browser(), box.browser()
    await browser.login("ann")
    await other.login("ann")
    answer = await browser.post("/account", {"act": "password", "current": "wrong", "password": PASSWORD + "2"})
    assert answer.status == 400
    assert "your present password is wrong" in await answer.text()
    answer = await browser.post("/account", {"act": "password", "current": PASSWORD, "password": PASSWORD + "2"})
    assert answer.headers["Location"] == "/login"
    assert [(await one.get("/")).status for one in (browser, other)] == [303, 303]
    assert (await browser.login("ann", PASSWORD + "2")).status == 303


async def test_a_token_made_on_the_page_is_shown_once_and_works(box, ann):
    browser = box.browser()
    await browser.login("ann")
    made = await (await browser.post("/account", {"act": "token", "label": "script <1>", "days": "3"})).text()
    token = made.partition('<code class="secret">')[2].partition("<")[0]
    assert token.startswith("connect_")
    assert token not in await browser.text("/account")
    answer = await box.browser().get("/api/v1/version", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    (kept,) = await box.users.tokens("ann")
    other = await box.person("viewer")
    assert (await other.post("/account", {"act": "revoke", "token": kept.id})).status == 400  # another's
    await browser.post("/account", {"act": "revoke", "token": kept.id})
    assert (await box.browser().get("/api/v1/version", headers={"Authorization": f"Bearer {token}"})).status == 401


# -- users -------------------------------------------------------------------------------------------------------------


async def test_an_admin_adds_changes_and_removes_users_and_it_is_written_down(box, ann):
    browser = box.browser()
    await browser.login("ann")
    for fields, said in (
        ({"act": "add", "name": "bo", "password": PASSWORD, "role": "viewer"}, "bo was added"),
        ({"act": "change", "name": "bo", "role": "operator", "connections": "acme"}, "bo was changed"),
        ({"act": "password", "name": "bo", "password": PASSWORD + "2"}, "bo has another password"),
        ({"act": "remove", "name": "bo"}, "bo was removed"),
    ):
        answer = await browser.post("/users", fields)
        assert answer.status == 303, await answer.text()
        assert said in await browser.text("/users")
    for fields, why in (
        ({"act": "add", "name": "b o", "role": "viewer"}, "is no user name"),
        ({"act": "add", "name": "cy", "role": "boss"}, "there is no role"),
        ({"act": "add", "name": "cy", "role": "viewer", "password": "short"}, "12 to 1024"),
        ({"act": "add", "name": "cy", "role": "viewer", "connections": "acm"}, "no connection"),
        ({"act": "remove", "name": "ANN"}, "that is you"),
        ({"act": "change", "name": "ann", "role": "viewer"}, "that is you"),
        ({"act": "nonsense"}, "say what to do"),
        ({}, "say what to do"),
        ({"act": "revoke", "token": "x"}, "there is no token"),
        ({"act": "token", "name": "ann", "label": "x", "days": "x"}, "days: expected a whole number"),
        ({"act": "token", "name": "ann", "label": "x", "days": "99999"}, "1 to 3650 days"),
    ):
        answer = await browser.post("/users", fields)
        assert answer.status == 400
        assert why in await answer.text()
    token = await box.token("admin")
    trail = await (await box.browser().get("/api/v1/users/audit", headers=token)).json()
    assert [(one["by"], one["what"], one["about"]) for one in trail["entries"]] == [
        ("ann", what, "bo") for what in ("add user", "change user", "set password", "remove user")
    ]
    assert trail["flaws"] == []


# -- the way in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/api/v1/status", "/api/v1/nothing", "/events", "/users"])
async def test_every_answer_carries_the_headers(box, path):
    for browser in (box.browser(), await box.person("viewer")):
        answer = await browser.get(path) if path != "/events" else await box.browser().get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "Strict-Transport-Security" not in answer.headers  # plain http on loopback
        assert answer.headers["X-Request-Id"]


async def test_pages_have_no_inline_script_or_style_and_nothing_from_elsewhere(box, ann):
    browser = box.browser()
    await browser.login("ann")
    await box.letter("V1")
    for path in ("/", "/users", "/account", "/login", "/nothing"):
        text = await (box.browser() if path == "/login" else browser).text(path)
        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"<[^>]* on\w+=", text)
        assert text.count("<script") == text.count("<script src=") == 1
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in hrefs(text)), hrefs(text)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[", "10.0.0.1"])
async def test_a_host_name_that_is_not_ours_is_refused(box, host):
    answer = await box.browser().ask("GET", "/login", headers={"Host": host})
    assert (answer.status, "--public-host" in await answer.text()) == (400, True)
    for name in ("localhost", "127.0.0.1:9", "[::1]:8080", "LOCALHOST"):
        assert (await box.browser().ask("GET", "/login", headers={"Host": name})).status == 200


PROXY = (ipaddress.ip_network("127.0.0.1/32"),)


async def test_behind_a_proxy_that_logs_people_in_its_header_says_who(valkey, redis):
    where = Listening(host="10.0.0.9", proxies=PROXY, user_header="X-Forwarded-User", hosts=("connect.example.com",))
    async with console(valkey, listening=where) as box:
        await box.users.add("ann@example.com", None, "operator")
        own = {"Host": "connect.example.com", "X-Forwarded-Proto": "https"}
        browser = box.browser()
        named = own | {"X-Forwarded-User": "Ann@Example.com"}
        page = await browser.ask("GET", "/", headers=named)
        assert (page.status, "ann@example.com" in await page.text()) == (200, True)
        assert page.headers["Strict-Transport-Security"]
        (cookie,) = page.cookies.values()
        assert (cookie.key, cookie["secure"], cookie["httponly"]) == ("__Host-connect_form", True, True)
        unknown = await box.browser().ask("GET", "/", headers=own | {"X-Forwarded-User": "eve"})
        assert (unknown.status, "ask an administrator to add you" in await unknown.text()) == (403, True)
        assert (await box.browser().ask("GET", "/", headers=own)).status == 303
        answer = await browser.ask("POST", "/account", headers=named, data={"act": "token", "label": "x"})
        assert answer.status == 403  # acts need the form's token here as well
        form = {"act": "token", "label": "x", "_csrf": csrf_of(browser.cookies["__Host-connect_form"])}
        assert (await browser.ask("POST", "/account", headers=named, data=form)).status == 200


async def test_the_header_of_a_stranger_says_nothing_and_it_is_off_unless_asked_for(valkey, redis):
    stranger = (ipaddress.ip_network("10.9.9.9/32"),)
    for where in (Listening(), Listening(proxies=PROXY), Listening(proxies=stranger, user_header="X-Forwarded-User")):
        async with console(valkey, listening=where) as box:
            if await box.users.get("ann") is None:
                await box.users.add("ann", None, "admin")
            assert (await box.browser().get("/", headers={"X-Forwarded-User": "ann"})).status == 303
            assert (await box.browser().get("/api/v1/status", headers={"X-Forwarded-User": "ann"})).status == 401


async def test_two_names_in_the_proxys_header_are_refused(valkey, redis):
    async with console(valkey, listening=Listening(proxies=PROXY, user_header="X-User")) as box:
        await box.users.add("ann", None, "admin")
        reader, writer = await asyncio.open_connection("127.0.0.1", box.client.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-User: bo\r\nX-User: ann\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()


# -- static files ------------------------------------------------------------------------------------------------------


async def test_static_files_are_kept_by_their_content(box):
    browser = box.browser()
    text = await browser.text("/login")
    for url in {link for link in hrefs(text) if link.startswith("/static/")}:
        answer = await browser.get(url)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        again = await browser.get(url, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        name = url.rpartition("/")[2]
        old = await browser.get(f"/static/0123456789abcdef/{name}")
        assert (old.status, old.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/..%2f..%2fapp.py", "/static/x/..%2Ftemplates%2Fbase.html", "/static/../app.py", "/static/x/%2e%2e/app.py",
        "/static/x/....//app.py", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/x/%00", "/static/x/console.css%00.txt", "/static/x/",
        "/static/x/..\\app.py", "//etc/passwd",
    ],
)  # fmt: skip
async def test_no_path_leads_out_of_the_static_files(box, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", box.client.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in (b"400", b"404")
    assert b"root:" not in answer
    assert b"import" not in answer


# -- live --------------------------------------------------------------------------------------------------------------


async def told(answer, word: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(60):
        while word not in seen:
            piece = await answer.content.readany()
            assert piece or not answer.content.at_eof(), seen
            seen += piece
    return seen


async def test_open_pages_are_told_what_changed_by_one_look_for_all(box):
    hub = box.client.app[CONSOLE].live
    hub._every_s = 0.02
    viewer = await box.person("viewer")
    streams = [await viewer.get("/events") for _ in range(50)]
    assert {stream.headers["Content-Type"] for stream in streams} == {"text/event-stream; charset=utf-8"}
    while hub.looks < 2:
        await asyncio.sleep(0.01)
    await box.letter("V1")
    for stream in streams:
        seen = await told(stream, b"event: changed")
        assert b"V1" not in seen
    assert b"data: letters\n\n" in seen
    looks, began = hub.looks, time.monotonic()
    for stream in streams:
        stream.close()
    async with asyncio.timeout(60):
        while hub.watchers:
            await box.letter("V2", key=2)  # who has gone is noticed when something is sent
            await asyncio.sleep(0.05)
    assert hub.looks - looks <= (time.monotonic() - began) / hub._every_s + 2, "as often as for one"


async def test_what_a_slow_reader_has_not_taken_is_merged():
    watcher = live.Watcher()
    for _ in range(10_000):
        watcher.tell({"runs"})
        watcher.tell({"letters"})
    assert await watcher.next(1) == ["letters", "runs"]
    assert await watcher.next(0.01) == []


async def test_a_stream_ends_with_its_session(box, monkeypatch):
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.02)
    viewer = await box.person("viewer")
    stream = await viewer.get("/events")
    await told(stream, b": still here")
    await viewer.post("/logout")
    async with asyncio.timeout(60):
        while not stream.content.at_eof():
            await stream.content.readany()


async def test_too_many_watchers_are_told_that_the_page_works_without(box, monkeypatch):
    monkeypatch.setattr(live, "WATCHERS_MOST", 0)
    answer = await (await box.person("viewer")).get("/events")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
