"""`connect doctor`: whether Redis, Prime and Sage are set up as the jobs need it, and who does what where if not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError, ConnectError
from workers.cli_letters import ConnectionOption
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, tools_of_config, waited
from workers.screen import console

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.doctor import Result, Systems
    from workers.jobs import Tools

EXAMPLE: Final = "Example:  connect doctor --connection acme-TEST\n\nChanges nothing. Exit code 1 when a check has failed."
GATE: Final = "sage.version"  # the check after which Sage can be asked anything
MARKS: Final = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}
COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor(
    connection: ConnectionOption = None,
    with_probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Also find out on a test company what only a write can tell: makes a few bills of 0.01, deletes them."
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Where --probe writes what it found (Markdown); probe-NAME.md when left out."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Probe a connection whose name does not end in TEST as well.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Check Redis, Prime, Sage and the mappings against what the jobs need; say who is to do what, and where."""
    from connect.doctor.probe import check_name

    begin(as_json, level=LogLevel.error)
    loaded = load(config)
    chosen = [loaded.connection(connection)] if connection is not None else loaded.connections
    if not with_probe and (report is not None or force):
        raise ConfigError("--report and --force go with --probe", code="usage")
    for one in chosen if with_probe else ():
        check_name(one.name, force=force)
    if report is not None and len(chosen) > 1:
        raise ConfigError("--report is for one connection: say which with --connection", code="usage")
    probes: list[dict[str, Any]] = []

    async def do() -> list[Result]:
        results: list[Result] = []
        async with tools_of_config(loaded) as tools:
            for one in chosen:
                async with systems_of(tools, one.sid) as systems:
                    found = await examine(systems, on_done=lambda result: screen.say(_line(result)))
                    results += found
                    if with_probe:
                        probes.append(await _probed(systems, found, report))
        return results

    results = waited(do())
    document = document_of(results) | ({"probes": probes} if with_probe else {})

    def human() -> None:
        show(results)
        for one in probes:
            typer.echo(f"{one['connection']}: {one['says']}")

    screen.result(document, human)
    raise typer.Exit(0 if document["ok"] and not any(one["left"] for one in probes) else 1)


async def examine(systems: Systems, *, on_done: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """All checks of a connection."""
    from connect.doctor import CHECKS
    from connect.doctor import examine as run

    return await run(CHECKS, systems, on_done)


async def _probed(systems: Systems, results: list[Result], path: Path | None) -> dict[str, Any]:
    """The probe of one connection, and its report; not where Sage does not let us in."""
    from connect.doctor.probe import probe
    from connect.doctor.probe import report as written

    name = systems.connection.name
    gate = next(result for result in results if result.check.name == GATE)
    if gate.verdict != "ok":
        because = gate.because or GATE
        return {"connection": name, "report": None, "answers": [], "left": [], "says": f"not probed because of {because}"}
    answers, probing = await probe(systems, screen.say)
    path = path or Path(f"probe-{name}.md")
    try:
        path.write_text(written(systems, answers, probing, datetime.now(UTC).date()), encoding="utf-8")
    except OSError as error:
        raise ConnectError(
            f"the report cannot be written to {path}: {error.strerror}; give another place with --report", code="report"
        ) from None
    settled = sum(answer.settled for answer in answers)
    says = f"{settled} of {len(answers)} questions answered in {path}"
    if probing.left:
        says += f"; Sage kept {len(probing.left)} records, which a consultant deletes by hand: {'; '.join(probing.left)}"
    return {
        "connection": name,
        "report": str(path),
        "answers": [{"question": one.question, "settled": one.settled, "answer": list(one.lines)} for one in answers],
        "left": probing.left,
        "says": says,
    }


@asynccontextmanager
async def systems_of(tools: Tools, sid: str, clock: Callable[[], float] = time.time) -> AsyncIterator[Systems]:
    """What the checks of a connection ask."""
    import aiohttp

    from connect.doctor import Systems
    from connect.http import Http
    from connect.prime.rest import PrimeRest
    from connect.prime.soap import PrimeSoap
    from workers.settings import rest_access, soap_access

    mine = tools.connections[sid]
    async with aiohttp.ClientSession() as session:
        http = Http(session)
        access = rest_access(mine.connection)
        yield Systems(
            config=tools.config,
            connection=mine.connection,
            redis=tools.redis,
            http=http,
            tokens=mine.tokens,
            slots=mine.slots,
            usage=mine.usage,
            sage=mine.sage,
            soap=PrimeSoap(http, soap_access(mine.connection)),
            rest=PrimeRest(http, access) if access is not None else None,
            clock=clock,
        )


def document_of(results: list[Result]) -> dict[str, Any]:
    """For --json."""
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in MARKS}
    return {"ok": not counts["failed"], "counts": counts, "checks": [result.document() for result in results]}


def _line(result: Result) -> str:
    """One check as progress."""
    return f"{MARKS[result.verdict]:<8} {result.connection}  {result.check.name}"


def show(results: list[Result]) -> None:
    """All checks, then what is to be done, the failed ones first."""
    from rich.text import Text

    out = console(highlight=False, soft_wrap=True)
    name = ""
    for result in results:
        if result.connection != name:
            name = result.connection
            out.print(Text(f"\n{name}", style="bold"))
        said = _said(result)
        out.print(
            Text.assemble((f"  {MARKS[result.verdict]:<8} ", COLOURS[result.verdict]), f"{result.check.tests}{f': {said}' if said else ''}")
        )
    for verdict, title in (("failed", "To be done"), ("warning", "To be looked at")):
        chosen = [result for result in results if any(found.verdict == verdict for found in result.findings)]
        if chosen:
            out.print(Text(f"\n{title}", style=COLOURS[verdict]))
        for result in chosen:
            for found, stops in zip(result.findings, result.stops, strict=True):
                if found.verdict == verdict:
                    out.print(Text(f"\n  {result.connection}, {result.check.name}: {found.cause}", style="bold"))
                    if stops:
                        is_all = found.jobs is None and result.check.jobs is None
                        out.print(Text(f"  Stops {'all jobs' if is_all else ', '.join(stops)}."))
                    out.print(Text(f"  {found.do}  (to be done by: {found.owner})"))
    counts = document_of(results)["counts"]
    words = f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed, {counts['skipped']} skipped"
    out.print(Text(f"\n{len(results)} checks: {words}"))


def _said(result: Result) -> str:
    if result.verdict == "skipped":
        return f"skipped because of {result.because}" if result.because else result.saw
    return result.saw if result.verdict in ("ok", "warning") else ""
