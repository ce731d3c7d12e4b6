"""The first page: what needs a person, and how every connection is, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, urlencode

from aiohttp import web

from connect.errors import ConfigError
from workers import overview
from workers.console.route import Asked, Route
from workers.overview import Chart, JobState, Need

PAGE: Final = 20
NEEDS_SHOWN: Final = 12
PLACES_SHOWN: Final = 4
MINUTES: Final = 60
LIGHTS: Final = ("red", "amber", "green")


class Link(NamedTuple):
    """Where something is mended."""

    words: str
    path: str


class Shown(NamedTuple):
    """A need as the page shows it. `where`: the first places; `more`: how many others."""

    light: overview.Light
    text: str
    owner: str
    fix: str
    link: Link
    where: Sequence[Link]
    more: int


async def show(asked: Asked) -> web.Response:
    """Filters: light, and part of a connection's name or a company."""
    seen = await asked.console.live.shared(asked, "overview", lambda: overview.overview(asked.tools))
    light, name = asked.text("light"), asked.text("name")
    if light and light not in LIGHTS:
        raise ConfigError(f"light: no {light!r}; there are {', '.join(LIGHTS)}", code="light")
    named = [one for one in seen.companies if name.casefold() in f"{one.connection} {one.company}".casefold()]
    lights = {tone: sum(one.light == tone for one in named) for tone in LIGHTS}
    chosen = sorted((one for one in named if light in ("", one.light)), key=lambda one: LIGHTS.index(one.light))
    offset = min(asked.number("offset", 0), max(0, len(chosen) - 1)) // PAGE * PAGE
    page = chosen[offset : offset + PAGE]
    charts = await overview.charts(asked.tools, connections=list(dict.fromkeys(one.connection for one in page)), minutes=MINUTES)
    needs = overview.needs_of(seen.companies)
    args = {key: value for key, value in (("light", light), ("name", name)) if value}
    return asked.page(
        "overview.html",
        queues=seen.queues,
        is_set_up=bool(seen.companies),
        needs=[shown_need(need) for need in needs[:NEEDS_SHOWN]],
        needs_left=max(0, len(needs) - NEEDS_SHOWN),
        lights=lights,
        light=light,
        name=name,
        args=args,
        total=len(chosen),
        loud=[one for one in page if one.light != "green"],
        calm=[one for one in page if one.light == "green"],
        charts={chart.connection: chart for chart in charts},
        offset=offset,
        limit=PAGE,
        address=address,
        reason_link=reason_link,
        letters_path=letters_path,
        next_of=next_of,
        last_of=last_of,
        rate_of=rate_of,
    )


def address(args: Mapping[str, str]) -> str:
    """The overview with these filters."""
    return f"/?{urlencode(args, quote_via=quote)}" if args else "/"


def letters_path(**filters: str) -> str:
    return f"/dead-letters?{urlencode({name: value for name, value in filters.items() if value}, quote_via=quote)}"


def connection_path(name: str, anchor: str = "") -> str:
    return f"/connections/{quote(name, safe='')}" + (f"#{anchor}" if anchor else "")


def runs_path(anchor: str = "", **filters: str) -> str:
    query = urlencode({name: value for name, value in filters.items() if value}, quote_via=quote)
    return "/runs" + (f"?{query}" if query else "") + (f"#{anchor}" if anchor else "")


def reason_link(kind: str, *, connection: str = "", company: str = "", job: str = "", run: str = "", about: str = "") -> Link:
    """Where a reason is mended. Without a connection: where it is for all."""
    match kind:
        case "dead-letters":
            return Link("Look at them", letters_path(owner=about, connection=connection, company=company))
        case "receipt-refused" | "receipt-late":
            return Link("Look at its dead letters", letters_path(connection=connection, company=company, job=job))
        case "failed" | "held":
            if run:
                return Link("Look at the run", f"/runs/{quote(run, safe='')}")
            return Link("Look at the runs", runs_path("history", state=kind, connection=connection, job=job))
        case "paused":
            return Link("Look at what is paused", runs_path("paused", connection=connection))
        case "no-worker":
            return Link("Look at the queues", runs_path("queues"))
        case "late" | "new":
            return Link("Look at its jobs", connection_path(connection, "jobs")) if connection else Link("Look at the runs", runs_path())
        case _:
            return Link("Look at the connection", connection_path(connection)) if connection else Link("Look at them", "/connections")


def shown_need(need: Need) -> Shown:
    """With its links: to the one place, or to each of some."""
    names = list(dict.fromkeys(place.connection for place in need.places))
    one = need.places[0] if len(need.places) == 1 else None
    link = reason_link(
        need.kind,
        connection=names[0] if len(names) == 1 else "",
        company=one.company if one else "",
        job=one.job if one else "",
        run=one.run if one else "",
        about=need.about,
    )
    where = []
    for place in need.places[:PLACES_SHOWN]:
        words = place.connection + (f" {place.count:,}" if need.kind == "dead-letters" and len(need.places) > 1 else "")
        path = reason_link(
            need.kind, connection=place.connection, company=place.company, job=place.job, run=place.run, about=need.about
        ).path
        where.append(Link(words, path))
    return Shown(need.light, need.text, need.owner, need.fix, link, where, len(need.places) - len(where))


def next_of(jobs: Sequence[JobState]) -> JobState | None:
    """The job that is due next."""
    due = [job for job in jobs if job.next_at is not None]
    return min(due, key=lambda job: job.next_at) if due else None  # type: ignore[arg-type,return-value]  # None is left out above


def last_of(jobs: Sequence[JobState]) -> JobState | None:
    """The job whose run ended last."""
    ended = [job for job in jobs if job.last is not None and job.last.ended_at is not None]
    return max(ended, key=lambda job: job.last.ended_at) if ended else None  # type: ignore[arg-type,return-value,union-attr]


def rate_of(chart: Chart | None, name: Literal["read", "sent"] = "read") -> Sequence[float]:
    """Rows a minute."""
    return chart.rows[name] if chart is not None else []


ROUTES: Final = [Route("GET", "/", show, role="viewer", cli="status", nav="Overview")]
