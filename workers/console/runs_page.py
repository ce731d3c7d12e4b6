"""Queues and runs: how deep the queues have been, what runs, what is paused, what has run; run now, pause, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import web

from connect.errors import ConfigError
from connect.state.pauses import ALL, DIRECTIONS
from workers import acts, overview
from workers.console.letters_page import in_words
from workers.console.overview_page import letters_path
from workers.console.route import Asked, Route
from workers.console.security import local_path
from workers.jobs import STAGES

HOME: Final = "/runs"
PAGE: Final = 50
SHOWN_MOST: Final = 25  # of what runs now, and of what is paused; the rest is counted
STATES: Final = ("done", "held", "failed", "running")
WINDOWS: Final = {"60": "1 hour", "360": "6 hours", "1440": "24 hours"}
EVERYTHING: Final = "everything"
ALL_CONNECTIONS: Final = "*"
OPTIONS: Final = ("full", "resend", "expire", "rewrite")


async def show(asked: Asked) -> web.Response:
    return await _page(asked)


async def _page(asked: Asked, *, problem: str = "", about: str = "", status: int = 200) -> web.Response:
    """`problem`: what is wrong with the form `about` (now, pause or resume), which is shown again as it was filled in."""
    filters = {name: value for name in ("connection", "company", "job", "state") if (value := asked.text(name))}
    offset = asked.number("offset", 0, most=100_000)
    connection, minutes = filters.get("connection"), _minutes(asked, filters)
    running = await overview.runs(asked.tools, connection=connection, state="running", limit=SHOWN_MOST)
    history = await overview.runs(asked.tools, **filters, offset=offset, limit=PAGE)
    chart = await asked.console.live.shared(
        asked,
        f"chart {connection or ''} {minutes}",
        lambda: _chart(asked, connection, minutes),
        since=lambda: overview.sampled(asked.tools),
    )
    rests = await overview.resting(asked.tools, connection)
    paused = [(one.connection, hold) for one in rests for hold in one.paused]
    closed = [(one.connection, "; ".join(one.not_let_in)) for one in rests if one.not_let_in]
    config = asked.tools.config
    return asked.page(
        "runs.html",
        status=status,
        filters=filters,
        queues=await overview.stage_queues(asked.tools, connection),
        chart=chart,
        minutes=str(minutes),
        windows=WINDOWS if connection else {"60": WINDOWS["60"]},
        running=running,
        history=history,
        paused=paused[:SHOWN_MOST],
        paused_left=max(0, len(paused) - SHOWN_MOST),
        closed=closed[:SHOWN_MOST],
        closed_left=max(0, len(closed) - SHOWN_MOST),
        offset=offset,
        limit=PAGE,
        states=STATES,
        stages=STAGES,
        connections=[one.name for one in config.connections],
        companies=list(dict.fromkeys(code for one in config.connections for code in one.companies)),
        jobs=list(dict.fromkeys(item.job for one in config.connections for item in one.jobs)),
        whats=[EVERYTHING, *(f"direction: {one}" for one in DIRECTIONS)],
        typed=asked.form if problem else {},
        problem=problem,
        about=about,
        address=address,
        what_fields=what_fields,
        may_see_all=asked.user is not None and not asked.user.connections,
    )


def _minutes(asked: Asked, filters: Mapping[str, str]) -> int:
    text = asked.text("minutes", "60")
    if text not in WINDOWS:
        raise ConfigError(f"minutes: expected one of {', '.join(WINDOWS)}", code="minutes")
    return int(text) if "connection" in filters else 60  # a day of all connections is too much to add up while somebody waits


async def _chart(asked: Asked, connection: str | None, minutes: int) -> overview.Chart:
    if connection is None:
        return await overview.chart_of_all(asked.tools, minutes=minutes)
    (chart,) = await overview.charts(asked.tools, connection=connection, minutes=minutes)
    return chart


def address(filters: Mapping[str, str | int], anchor: str = "") -> str:
    return HOME + (f"?{urlencode(filters, quote_via=quote)}" if filters else "") + (f"#{anchor}" if anchor else "")


def what_fields(what: str) -> str:
    """What is paused, as the form of this page names it."""
    return EVERYTHING if what == ALL else what.replace(":", ": ", 1)


async def run(asked: Asked) -> web.Response:
    """One run in detail."""
    found = await overview.run(asked.tools, asked.path["run"])
    return asked.page(
        "run.html",
        run=found,
        letters=letters_path(connection=found.connection, company=found.company, job=found.job),
        others=address({"connection": found.connection, "company": found.company, "job": found.job}, "history"),
    )


# -- acts --------------------------------------------------------------------------------------------------------------


async def now(asked: Asked) -> web.Response:
    """Run jobs now, due or not."""
    form = asked.form
    options = {name: form.is_set(name) for name in OPTIONS}
    try:
        done = await acts.sync(
            asked.tools,
            connection=_connection(asked),
            company=form.text("company") or None,
            job=form.text("job") or None,
            by=asked.by,
            **options,
        )
    except ConfigError as error:
        return await _page(asked, problem=in_words(error), about="now", status=400)
    return asked.go(local_path(form.text("next"), HOME), notice=asked_words(done))


def asked_words(done: acts.Sync) -> str:
    """What was asked for, for the notice."""
    if len(done.runs) == 1:
        (one,) = done.runs
        said = f"{one.job} of {one.connection}, company {one.company}, was asked for"
        said += f"; it starts once it is resumed: {one.paused}." if one.paused else "."
    else:
        paused = sum(bool(one.paused) for one in done.runs)
        said = f"{len(done.runs):,} jobs were asked for" + (f"; {paused:,} of them start once they are resumed." if paused else ".")
    if done.stages_without_worker:
        said += f" Nobody works on {', '.join(done.stages_without_worker)} yet: it starts when a worker does."
    return said


async def pause(asked: Asked) -> web.Response:
    """A connection or all, wholly or one job or direction."""
    try:
        job, direction = _what(asked)
        found = await acts.pause(
            asked.tools, connection=_connection(asked), job=job, direction=direction, reason=asked.form.text("reason"), by=asked.by
        )
    except ConfigError as error:
        return await _page(asked, problem=in_words(error), about="pause", status=400)
    what = job or (f"everything {direction}" if direction else "everything")
    return asked.go(local_path(asked.form.text("next"), HOME), notice=f"Paused: {what} of {_named([one.connection for one in found])}.")


async def resume(asked: Asked) -> web.Response:
    """Lift a pause; where we are not let in, that is tried again now."""
    try:
        job, direction = _what(asked)
        found = await acts.resume(
            asked.tools, connection=_connection(asked), job=job, direction=direction, reason=asked.form.text("reason"), by=asked.by
        )
    except ConfigError as error:
        return await _page(asked, problem=in_words(error), about="resume", status=400)
    changed = [one.connection for one in found if one.changed]
    notice = f"Resumed: {_named(changed)}." if changed else "That was not paused any more."
    return asked.go(local_path(asked.form.text("next"), HOME), notice=notice)


def _connection(asked: Asked) -> str | None:
    """The connection that the form names; None for all. Raises ConfigError when none is chosen."""
    name = asked.form.needed("connection", "The connection")
    return None if name == ALL_CONNECTIONS else name


def _what(asked: Asked) -> tuple[str | None, str | None]:
    """(job, direction) as the form names them; both None for everything."""
    text = asked.form.needed("what", "What is meant: everything, a direction or a job")
    kind, _, name = text.partition(": ")
    match kind:
        case "everything" if not name:
            return None, None
        case "direction":
            return None, name
        case "job":
            return name, None
    raise ConfigError(f"what: no {text!r}; there are everything, a direction and a job", code="what")


def _named(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5:,} more connections"


ROUTES: Final = [
    Route("GET", HOME, show, role="viewer", cli="runs", nav="Queues and runs"),
    Route("POST", f"{HOME}/now", now, role="operator", cli="sync"),
    Route("POST", f"{HOME}/pause", pause, role="operator", cli="pause"),
    Route("POST", f"{HOME}/resume", resume, role="operator", cli="resume"),
    Route("GET", f"{HOME}/{{run}}", run, role="viewer", cli="runs"),
]
