"""Coming in and going out, light or dark, and the files that pages are made of."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from connect.state.users import LoginRefused
from workers.console.route import SESSION_COOKIE, THEME_COOKIE, Asked, Route, set_cookie
from workers.console.security import client_address, local_path

YEAR_S: Final = 365 * 86_400
OF_THE_PAGE: Final = "a matter of the page"

log = structlog.get_logger()


async def login_page(asked: Asked) -> web.Response:
    target = local_path(asked.text("next"))
    if asked.user is not None:
        return asked.go(target)
    return asked.page("login.html", next=target, name="", problem="", nobody=not await asked.console.users.any())


async def login(asked: Asked) -> web.Response:
    """A session for the right name and password; else the page again, in words."""
    form, console = asked.form, asked.console
    name, target = form.text("name"), local_path(form.text("next"))
    password = form.get("password", [""])[0]
    address = client_address(console.listening, asked.request)
    try:
        secret, user = await console.users.login(name, password, address)
    except LoginRefused as refused:
        log.warning("login refused", name=name[:64], address=address, locked_s=round(refused.retry_after_s))
        status = 429 if refused.retry_after_s else 401
        answer = asked.page("login.html", status=status, next=target, name=name[:64], problem=refused.message, nobody=False)
        if refused.retry_after_s:
            answer.headers["Retry-After"] = str(int(refused.retry_after_s) + 1)
        return answer
    log.info("login", name=user.name, address=address)
    answer = asked.go(target)
    set_cookie(asked, answer, console.cookie(asked.request, SESSION_COOKIE), secret)
    return answer


async def logout(asked: Asked) -> web.Response:
    cookie = asked.console.cookie(asked.request, SESSION_COOKIE)
    await asked.console.users.logout(asked.request.cookies.get(cookie, ""))
    log.info("logout", name=asked.by)
    answer = asked.go("/login", notice="You are logged out.")
    answer.set_cookie(cookie, "", max_age=0, path="/", httponly=True, samesite="Lax", secure=asked.console.is_secure(asked.request))
    return answer


async def theme(asked: Asked) -> web.Response:
    """Light, dark, or as the machine is set."""
    answer = asked.go(local_path(asked.form.text("next")))
    chosen = asked.form.text("theme")
    set_cookie(asked, answer, THEME_COOKIE, chosen if chosen in ("light", "dark") else "", max_age=YEAR_S)
    return answer


async def static(asked: Asked) -> web.Response:
    found = asked.console.files.get(asked.path["name"])
    if found is None:
        raise web.HTTPNotFound
    etag = f'"{found.digest}"'
    is_of_now = asked.path["digest"] == found.digest
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={YEAR_S}, immutable" if is_of_now else "no-cache"}
    if etag in asked.request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, content_type=found.content_type, charset="utf-8", headers=headers)


ROUTES: Final = [
    Route("GET", "/login", login_page, role="anyone", why=OF_THE_PAGE),
    Route("POST", "/login", login, role="anyone", why=OF_THE_PAGE, body_bytes=16 * 1024),
    Route("POST", "/logout", logout, role="viewer", why=OF_THE_PAGE),
    Route("POST", "/theme", theme, role="anyone", why=OF_THE_PAGE),
    Route("GET", "/static/{digest}/{name}", static, role="anyone", why=OF_THE_PAGE),
]
