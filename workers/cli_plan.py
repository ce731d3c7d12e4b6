"""`connect plan`, `connect apply`, `connect test-run`: what would be done, before it is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
    from workers.applying import Applied
    from workers.test_runs import TestRun

SHOWN: Final = 200
ConnectionOption = Annotated[str | None, typer.Option("--connection", help="This connection alone (its name).")]
CompanyOption = Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")]
JobOption = Annotated[str | None, typer.Option("--job", help="This job alone, such as GetSuppliers.")]
PLAN_EXAMPLE = (
    "What would the next sync do?  connect plan --html plan.html\n\nWhat would other settings do?  connect plan --set KeySource=key\n\n"
    "Do exactly that, later:  connect plan --out friday.plan;  connect apply friday.plan\n\n"
    "Reads Sage and Prime as a sync would, and writes nothing to either. Exit code 3: something would be refused; 1: a job cannot be done."
)


def plan(
    connection: ConnectionOption = None,
    company: CompanyOption = None,
    job: JobOption = None,
    full: Annotated[bool, typer.Option("--full", help="As a sync with --full.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="As a sync with --resend.")] = False,
    expire: Annotated[bool, typer.Option("--expire", help="As a sync with --expire.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="With another setting, such as KeySource=key or Objects.PROJECT=3."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Keep the plan for `connect apply`.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a web page, too.")] = None,
    every: Annotated[bool, typer.Option("--all", help=f"Show every row, not the first {SHOWN} of a job.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """What the next sync would do: rows field by field, documents with their requests. Nothing is written to Sage or Prime."""
    from connect import plan as planned
    from workers import planning

    begin(as_json, log_format, log_level or LogLevel.warning)
    loaded = load(config)
    asked = planned.Options(connection=connection, company=company, job=job, full=full, resend=resend, expire=expire)
    text, given = planning.tables_with(config, changes, connection) if changes else ("", {})
    with_changes = _parsed(text, config, given) if changes else loaded
    for path in (out, html):
        if path is not None and path.exists():
            raise ConfigError(f"{path} is there already; give another name", code="exists")

    async def make() -> Plan:
        async with tools_of_config(loaded) as tools:
            return await planning.make(tools, with_changes, screen, asked, changed=given)

    made = waited(make())
    for path, content in ((out, planned.encode(made)), (html, planned.to_html(made).encode())):
        if path is not None:
            write_private(path, content)
            screen.say(f"written to {path}: whoever may read it sees suppliers, amounts and bank accounts")
    screen.result(planned.document(made), lambda: _show(made, None if every else SHOWN))
    raise typer.Exit(exit_code(made))


APPLY_EXAMPLE = (
    "Example:  connect plan --out friday.plan;  connect apply friday.plan\n\nWhat has changed since, in Sage or in Prime, is left "
    "alone and named; exit code 3 then. Starts workers of its own when none is alive."
)


def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `connect plan` or `reconcile` has written with --out.")],
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Do exactly what a plan says. Rows and documents that have changed since are left alone."""
    from connect import plan as planned
    from workers import applying, cli_reconcile
    from workers.session import session

    begin(as_json, log_format, log_level, quiet=True)
    loaded = load(config)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; make a plan with `connect plan --out FILE`", code="path") from None
    made = planned.decode(raw, str(file))
    applying.check_settings(loaded, made)
    if made.options.drifts:
        cli_reconcile.apply(loaded, made, by)

    async def do() -> Applied:
        async with acting(loaded, by, "operator") as me, session(me.config) as tools:
            return await applying.apply(tools, me.config, screen, made, by=me.by)

    applied = waited(do())
    screen.result(applied.document(), lambda: _show_applied(applied))
    raise typer.Exit(applied.exit_code)


def _show_applied(applied: Applied) -> None:
    applied.outcome.show()
    if applied.documents:
        rows = [(where[2], where[1], text, state, about) for where, text, state, about in applied.documents]
        table(("job", "company", "document", "state", "about"), rows)
    if applied.moved:
        typer.echo("")
        rows = [(one.job, one.company, f"{one.kind} {one.number}".strip(), one.name, one.why) for one in applied.moved]
        table(("job", "company", "left alone", "name", "why"), rows)
    if not applied.outcome.runs and not applied.documents:
        screen.say("nothing of the plan was left to do")


TEST_RUN_EXAMPLE = (
    "Example:  connect test-run GetSuppliers --limit 5\n\nThree panes: what was asked and done, what the ERP answered, and what Prime "
    "would get. Nothing is written."
)


def try_job(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Such as GetSuppliers or ExportInvoices.")],
    connection: ConnectionOption = None,
    company: CompanyOption = None,
    limit: Annotated[int, typer.Option(min=1, max=4000, help="How many rows or documents are read.")] = 10,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_level: LogLevelOption = None,
) -> None:
    """Try a job with its first rows: the log, the ERP's answer, the transformed data. Nothing is written."""
    from workers import test_runs

    begin(as_json, None, log_level or LogLevel.error)
    loaded = load(config)

    async def do() -> TestRun:
        async with tools_of_config(loaded) as tools:
            return await test_runs.test_run(tools, job, connection=connection, company=company, limit=limit)

    tried = waited(do())
    screen.result(tried.document(), lambda: _show_test_run(tried))
    raise typer.Exit(0 if not tried.refused else 3)


def _show_test_run(tried: TestRun) -> None:
    import orjson

    for title, entries in (("Log", tried.log), ("ERP answer", tried.answers), ("Transformed data", tried.data)):
        typer.echo(f"--- {title} ---")
        for entry in entries:
            typer.echo(entry if isinstance(entry, str) else orjson.dumps(entry, default=str, option=orjson.OPT_INDENT_2).decode())
        typer.echo("")


def exit_code(made: Plan) -> int:
    """0 all would be done, 1 a job could not be, 3 something would be refused."""
    if made.trouble:
        return 1
    refused = any(job.refused or any(one.action in ("hand back", "hold", "person") for one in job.documents) for job in made.jobs)
    return 3 if refused else 0


def _parsed(text: str, path: Path, given: dict[str, str]) -> Config:
    """A configuration with other settings. Raises ConfigError that names them."""
    from connect.config.load import parse_config
    from connect.registers import REGISTERS

    try:
        return parse_config(text, path=path, environ=os.environ, jobs=REGISTERS)
    except ConfigError as error:
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(f"with --set {told}: {error.message}", code="set") from None


def write_private(path: Path, content: bytes) -> None:
    """A new file for its owner alone. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", code="path") from None


def _show(made: Plan, most: int | None) -> None:
    from connect import plan as planned

    columns = ("connection", "company", "job", *planned.TOTALS)
    table(columns, [(job.connection, job.company, job.job, *planned.totals(job)) for job in made.jobs], right=planned.TOTALS)
    for job in made.jobs:
        found = list(planned.lines(job))
        if found:
            typer.echo("")
            table(("what", "number", "name", "would be"), found[:most], title=f"{job.job}, company {job.company} ({job.connection})")
        if most is not None and len(found) > most:
            screen.say(f"and {len(found) - most:,} more; --all shows them, --html FILE and --json have them, too")
        for note in job.notes:
            screen.say(f"{job.job}, company {job.company}: {note}")
    for note in [*(f"with {name} = {value}" for name, value in made.changed.items()), *made.notes, *made.trouble]:
        screen.say(note)
    if made.is_empty and not made.trouble:
        screen.say("nothing would change")
