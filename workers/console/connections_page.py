"""Connections: how each is set up, secrets hidden; whether it is served, what its registers hold, what was last sent of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from connect.errors import ConfigError
from connect.registers import REGISTERS
from connect.state.users import User
from workers import overview
from workers.console.letters_page import in_words
from workers.console.overview_page import letters_path, rate_of, reason_link
from workers.console.route import Asked, Route
from workers.overview import Check, SentRow

HOME: Final = "/connections"
PAGE: Final = 50
SHOWN_MOST: Final = 50  # rows of one number, and users
HIDDEN: Final = "hidden"


async def index(asked: Asked) -> web.Response:
    """All, by part of a name, of Sage's company or of a company."""
    name, offset = asked.text("name"), asked.number("offset", 0)
    found = [
        one
        for one in overview.connections(asked.tools)
        if name.casefold() in " ".join([one.name, one.sage_company, *one.companies]).casefold()
    ]
    return asked.page("connections.html", connections=found[offset : offset + PAGE], total=len(found), offset=offset, limit=PAGE, name=name)


async def show(asked: Asked) -> web.Response:
    return await _page(asked)


async def check(asked: Asked) -> web.Response:
    """Asks Redis, Sage and Prime now. An operator's matter: it costs Sage a call."""
    return await _page(asked, checks=await overview.health(asked.tools, asked.path["name"]))


async def _page(asked: Asked, *, checks: Sequence[Check] | None = None) -> web.Response:
    name = asked.path["name"]
    found = await overview.connection(asked.tools, name)
    seen = await overview.overview(asked.tools, connection=name)
    (chart,) = await overview.charts(asked.tools, connection=name)
    registers = list(dict.fromkeys(row.job for row in found.registers if row.job in REGISTERS))
    number, company, job = asked.text("number"), asked.text("company"), asked.text("job")
    rows: list[SentRow] | None = None
    problem = ""
    if number:
        try:
            rows = await overview.sent_row(asked.tools, name, company or found.companies[0], job or next(iter(registers), ""), number)
        except ConfigError as error:
            problem = in_words(error)
    return asked.page(
        "connection.html",
        status=400 if problem else 200,
        setup=found,
        companies=seen.companies,
        chart=chart,
        groups=setup_groups(found.configuration),
        registers=registers,
        sought={"number": number, "company": company, "job": job},
        rows=rows,
        rows_most=SHOWN_MOST,
        problem=problem,
        checks=checks,
        limited=await _limited(asked, found.sid),
        letters_path=letters_path,
        reason_link=reason_link,
        rate_of=rate_of,
    )


async def _limited(asked: Asked, sid: str) -> tuple[list[User], int] | None:
    """(users limited to this connection among others, how many may see all); None for whoever may not know."""
    if asked.user is None or not asked.user.may("admin") or asked.user.connections:
        return None
    users = await asked.console.users.all()
    return [one for one in users if one.connections and one.sees(sid)][:SHOWN_MOST], sum(not one.connections for one in users)


def setup_groups(configuration: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, [(key, value as text)]) of a configuration; its jobs are left out, which have a table of their own."""
    plain: list[tuple[str, str]] = []
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    for key, value in configuration.items():
        if key == "jobs":
            continue
        if isinstance(value, Mapping):
            for inner, some in value.items():
                if isinstance(some, Mapping) and key == "lookups":
                    groups.append((inner, _flat(some)))
            if rest := _flat({inner: some for inner, some in value.items() if not (isinstance(some, Mapping) and key == "lookups")}):
                groups.append((key, rest))
        else:
            plain += _flat({key: value})
    return [("General", plain), *groups]


def _flat(values: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            for place, one in enumerate(value, start=1):
                found += _flat(one if isinstance(one, Mapping) else {"": one}, f"{name} {place}.")
        else:
            found.append((name, _text(value)))
    return found


def _text(value: Any) -> str:
    """`**********` is how pydantic writes a secret."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return HIDDEN if value == "**********" else str(value)


ROUTES: Final = [
    Route("GET", HOME, index, role="viewer", cli="connections", nav="Connections"),
    Route("GET", f"{HOME}/{{name}}", show, role="viewer", cli="connections"),
    Route("POST", f"{HOME}/{{name}}/check", check, role="operator", cli="health"),
]
