"""`connect reconcile`: Sage against Prime against the journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from connect.errors import ConfigError
from workers.cli_letters import ByOption
from workers.command import (
    CONFIG_FILE,
    ConfigOption,
    JsonOption,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    acting,
    begin,
    load,
    screen,
    tools_of_config,
    waited,
)
from workers.screen import table

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config import Config
    from connect.plan import Plan
    from connect.reconcile import Report
    from workers.reconciling import Repaired

SHOWN: Final = 200
COLUMNS: Final = ("company", "difference", "which", "name", "should be", "what mends it")
EXAMPLE: Final = (
    "What differs?  connect reconcile --company 100 --html friday.html\n\nPut right what may be:  connect reconcile --repair --as ann\n\n"
    "What was it last time?  connect reconcile --last\n\n"
    "It reads every register in full, as a sync with --full would. Exit code 3: something differs."
)


def reconcile(
    connection: Annotated[str | None, typer.Option("--connection", metavar="NAME", help="This connection alone.")] = None,
    company: Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Send rows again, expire those that Sage has no more, send owed receipts; nothing is deleted.")
    ] = False,
    last: Annotated[
        bool, typer.Option("--last", help="Show the report that is kept of the last time, by schedule or by hand; nothing is read anew.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Keep what --repair would do, for `connect apply`.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a web page, too.")] = None,
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """What Sage, Prime and the journal do not agree on: rows, bills, payments, files, receipts; with what mends each."""
    from connect import reconcile as compared

    begin(as_json, log_format, log_level or LogLevel.error)
    loaded = load(config)
    if last:
        _last(loaded, connection, asked_more=bool(repair or html or out or company))
    if repair and out is not None:
        raise ConfigError("--out keeps the plan for `connect apply`, and --repair applies it at once: give one of them", code="which")
    for path in (html, out):
        if path is not None and path.exists():
            raise ConfigError(f"{path} is there already; give another name", code="exists")
    report, repaired = waited(_repair(loaded, connection, company, by) if repair else _look(loaded, connection, company))
    if html is not None:
        _write(html, compared.to_html(report))
        screen.say(f"written to {html}: whoever may read it sees suppliers and amounts")
    if out is not None:
        _write_plan(out, loaded, report, connection)
    document: dict[str, Any] = compared.encode(report)
    if repaired is not None:
        document["repaired"] = [_line(drift, said) for drift, said in repaired.done]
        document["left"] = [_line(drift, said) for drift, said in repaired.left]
    screen.result(document, lambda: _show(report, repaired))
    raise typer.Exit(3 if (report.drifts if repaired is None else repaired.left) else 0)


def _last(config: Config, connection: str | None, *, asked_more: bool) -> NoReturn:
    """Show what is kept, by connection."""
    if asked_more:
        raise ConfigError("--last shows what is kept: it goes with --connection alone", code="which")
    names = [config.connection(connection).name] if connection is not None else [one.name for one in config.connections]
    found = waited(_kept(config, names))
    screen.result({"reports": found}, lambda: _show_kept(found))
    raise typer.Exit(3 if any(one.get("found") for one in found) else 0)


async def _kept(config: Config, names: list[str]) -> list[dict[str, Any]]:
    from connect.state.reports import Reports, glimpses

    async with tools_of_config(config) as tools:
        chosen = [one for one in tools.connections.values() if one.connection.name in names]
        found = []
        for one, seen in zip(chosen, await glimpses(tools.redis, [one.connection.sid for one in chosen]), strict=True):
            report = await Reports(tools.redis, one.connection.sid).last() or {"made_at": None}
            failed = {"at": seen.tried_at.isoformat(), "reason": seen.error} if seen.tried_at is not None else None
            found.append({"connection": one.connection.name, "schedule": one.connection.reconcile, "failed": failed} | report)
        return found


def _show_kept(found: list[dict[str, Any]]) -> None:
    for one in found:
        if one["failed"]:
            typer.echo(
                f"{one['connection']}: the last try, {one['failed']['at'][:16].replace('T', ' ')}, failed: {one['failed']['reason']}"
            )
        if one["made_at"] is None:
            typer.echo(
                f"{one['connection']}: no report yet" + ("" if one["schedule"] else ', and none is scheduled (reconcile = "0 5 * * 6")')
            )
            continue
        compared = ", ".join(f"{number:,} {name}" for name, number in one["checked"].items())
        typer.echo(f"{one['connection']}, {one['made_at'][:16].replace('T', ' ')}: {one['found']:,} differences; compared: {compared}.")
        _say_cost(one["waits"], one["sage_calls"])
        if one["drifts"]:
            table(COLUMNS, [[line[name] for name in ("company", "what", "which", "name", "detail", "command")] for line in one["drifts"]])
        if one["found"] > len(one["drifts"]):
            typer.echo(f"… and {one['found'] - len(one['drifts']):,} more: `connect reconcile` finds them anew")
        for note in (*one["troubles"], *one["notes"]):
            typer.echo(note)


def _say_cost(waits: int, calls: int) -> None:
    typer.echo((f"{waits:,} of them the next runs mend by themselves. " if waits else "") + f"Calls to Sage: {calls:,}.")


async def _look(config: Config, connection: str | None, company: str | None) -> tuple[Report, None]:
    from workers import reconciling

    async with tools_of_config(config) as tools:
        return await reconciling.reconcile_now(tools, config, screen, connection=connection, company=company), None


async def _repair(config: Config, connection: str | None, company: str | None, by: str | None) -> tuple[Report, Repaired]:
    from workers import reconciling
    from workers.session import session

    async with acting(config, by, "operator") as me, session(me.config) as tools:
        report = await reconciling.reconcile_now(tools, me.config, screen, connection=connection, company=company)
        return report, await reconciling.repair(tools, screen, report, by=me.by)


def _write_plan(path: Path, config: Config, report: Report, connection: str | None) -> None:
    from connect import plan as planned
    from workers import reconciling
    from workers.cli_plan import write_private

    made = reconciling.plan_of(report, config, connection)
    write_private(path, planned.encode(made))
    many = sum(len(job.rows) + len(job.documents) for job in made.jobs)
    screen.say(
        f"written to {path}: {many:,} differences that `connect apply {path}` mends; whoever may read it sees suppliers and bank accounts"
    )


def apply(config: Config, made: Plan, by: str | None) -> NoReturn:
    """What `connect apply` does with such a file."""
    from msgspec import to_builtins

    repaired = waited(_apply(config, made, by))
    document = {
        "plan": made.id,
        "repaired": [_line(drift, said) for drift, said in repaired.done],
        "left": [_line(drift, said) for drift, said in repaired.left],
        "left_alone": [to_builtins(one) for one in repaired.moved],
    }
    screen.result(document, lambda: _show_repaired(repaired))
    raise typer.Exit(3 if repaired.left or repaired.moved else 0)


async def _apply(config: Config, made: Plan, by: str | None) -> Repaired:
    from workers import reconciling
    from workers.session import session

    async with acting(config, by, "operator") as me, session(me.config) as tools:
        return await reconciling.apply(tools, me.config, screen, made, by=me.by)


def _line(drift: Any, said: str) -> dict[str, str]:
    return {"connection": drift.connection, "company": drift.company, "kind": drift.kind, "number": drift.number, "said": said}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", code="path") from None


def _show(report: Report, repaired: Repaired | None) -> None:
    from connect.reconcile import COLUMNS as THEIRS
    from connect.reconcile import lines

    compared = ", ".join(f"{number:,} {name}" for name, number in report.checked.items())
    typer.echo(f"{len(report.drifts):,} differences; compared: {compared or 'nothing'}.")
    _say_cost(sum(one.waits for one in report.drifts), report.sage_calls)
    if report.drifts:
        table(THEIRS, lines(report)[:SHOWN])
    if len(report.drifts) > SHOWN:
        typer.echo(f"… and {len(report.drifts) - SHOWN:,} more (--json and --html have all)")
    for note in (*report.troubles, *report.notes):
        typer.echo(note)
    if repaired is not None:
        _show_repaired(repaired)


def _show_repaired(repaired: Repaired) -> None:
    typer.echo(f"{len(repaired.done):,} mended, {len(repaired.left) + len(repaired.moved):,} left.")
    if repaired.left:
        table(("left", "which", "why"), [(one.what, f"{one.kind} {one.number}", said) for one, said in repaired.left[:SHOWN]])
    if repaired.moved:
        table(("left alone", "name", "why"), [(f"{one.kind} {one.number}", one.name, one.why) for one in repaired.moved[:SHOWN]])
