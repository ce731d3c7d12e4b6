"""`connect reconcile`: Sage against Prime against the journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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
    from connect.reconcile import Report
    from workers.reconciling import Repaired

SHOWN: Final = 200
EXAMPLE: Final = (
    "What differs?  connect reconcile --company 100 --html friday.html\n\nPut right what may be:  connect reconcile --repair --as ann\n\n"
    "It reads every register in full, as a sync with --full would. Exit code 3: something differs."
)


def reconcile(
    connection: Annotated[str | None, typer.Option("--connection", metavar="NAME", help="This connection alone.")] = None,
    company: Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Send rows again, expire those that Sage has no more, send owed receipts; nothing is deleted.")
    ] = False,
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
    if html is not None and html.exists():
        raise ConfigError(f"{html} is there already; give another name", code="exists")
    report, repaired = waited(_repair(loaded, connection, company, by) if repair else _look(loaded, connection, company))
    if html is not None:
        _write(html, compared.to_html(report))
        screen.say(f"written to {html}: whoever may read it sees suppliers and amounts")
    document: dict[str, Any] = compared.encode(report)
    if repaired is not None:
        document["repaired"] = [_line(drift, said) for drift, said in repaired.done]
        document["left"] = [_line(drift, said) for drift, said in repaired.left]
    screen.result(document, lambda: _show(report, repaired))
    raise typer.Exit(3 if (report.drifts if repaired is None else repaired.left) else 0)


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


def _line(drift: Any, said: str) -> dict[str, str]:
    return {"connection": drift.connection, "company": drift.company, "kind": drift.kind, "number": drift.number, "said": said}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", code="path") from None


def _show(report: Report, repaired: Repaired | None) -> None:
    from connect.reconcile import COLUMNS, lines

    compared = ", ".join(f"{number:,} {name}" for name, number in report.checked.items())
    typer.echo(f"{len(report.drifts):,} differences; compared: {compared or 'nothing'}.")
    if report.drifts:
        table(COLUMNS, lines(report)[:SHOWN])
    if len(report.drifts) > SHOWN:
        typer.echo(f"… and {len(report.drifts) - SHOWN:,} more (--json and --html have all)")
    for note in report.notes:
        typer.echo(note)
    if repaired is not None:
        typer.echo(f"{len(repaired.done):,} mended, {len(repaired.left):,} left.")
        if repaired.left:
            table(("left", "which", "why"), [(one.what, f"{one.kind} {one.number}", said) for one, said in repaired.left[:SHOWN]])
