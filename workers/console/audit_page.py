"""Who did what: filters, pages, export, and whether the trail is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from aiohttp import web

from connect.errors import ConfigError
from workers import overview
from workers.console.route import Asked, Route
from workers.console.users import done_to_users
from workers.letters import verify_audit

PAGE: Final = 50
USER_ACTS: Final = 500  # shown of those on users and tokens, the newest
WHATS: Final = ("approve", "discard", "edit", "pause", "reconcile", "replay", "resume", "sync", "take-over")


def filters_of(asked: Asked) -> dict[str, str]:
    return {name: value for name in ("connection", "by", "what", "about", "since") if (value := asked.text(name))}


def moment_of(text: str) -> datetime:
    """A day or an instant, UTC unless it says otherwise. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day, expected one such as 2026-11-25") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def asked_for(filters: dict[str, str]) -> dict[str, Any]:
    """As audit_list takes them. Raises ConfigError for a day that is none."""
    found: dict[str, Any] = dict(filters)
    if since := filters.get("since"):
        try:
            found["since"] = moment_of(since)
        except ValueError as error:
            raise ConfigError(f"since: {error}", code="since") from None
    return found


async def show(asked: Asked) -> web.Response:
    filters = filters_of(asked)
    before = asked.text("before")
    found = await overview.audit_list(asked.tools, **asked_for(filters), before=before, limit=PAGE)
    return asked.page(
        "audit.html",
        page=found,
        filters=filters,
        before=before,
        whats=WHATS,
        sees_users=asked.user is not None and asked.user.may("admin") and not asked.user.connections,
        connections=[one.name for one in asked.tools.config.connections],
    )


async def export(asked: Asked) -> web.StreamResponse:
    """All that match, as a file: CSV or JSON lines; written as it is read."""
    form = asked.text("form", "csv")
    if form not in ("csv", "jsonl"):
        raise ConfigError(f"form: {form!r}; there are csv and jsonl", code="form")
    return await exported(asked, "csv" if form == "csv" else "jsonl", asked_for(filters_of(asked)))


async def exported(asked: Asked, form: Literal["csv", "jsonl"], filters: dict[str, Any]) -> web.StreamResponse:
    """The file. `filters` as audit_list takes them."""
    if filters.get("connection") is not None:
        asked.tools.config.connection(filters["connection"])  # what is wrong is said before anything is sent
    lines = overview.audit_export(asked.tools, form, **filters)
    answer = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="audit.{form}"'})
    answer.content_type = "text/csv" if form == "csv" else "application/x-ndjson"
    answer.charset = "utf-8"
    await answer.prepare(asked.request)
    if asked.request.method == "HEAD":
        return answer
    some: list[str] = []
    async for line in lines:
        some.append(line)
        if len(some) == 500:
            await answer.write("".join(some).encode())
            some = []
    await answer.write("".join(some).encode())
    await answer.write_eof()
    return answer


async def verify(asked: Asked) -> web.Response:
    """Looks through all of it."""
    name = asked.text("connection") or None
    if name is not None:
        asked.tools.config.connection(name)
    return asked.page("audit_verify.html", found=await verify_audit(asked.tools, name), filters={"connection": name} if name else {})


async def of_users(asked: Asked) -> web.Response:
    """Who did what to users and tokens."""
    return asked.page("audit_users.html", found=await done_to_users(asked.tools, USER_ACTS))


ROUTES: Final = [
    Route("GET", "/audit", show, role="viewer", cli="audit list", nav="Audit"),
    Route("GET", "/audit/export", export, role="viewer", cli="audit export"),
    Route("GET", "/audit/verify", verify, role="viewer", cli="audit verify"),
    Route("GET", "/audit/users", of_users, role="admin", everywhere=True, cli="console audit"),
]
