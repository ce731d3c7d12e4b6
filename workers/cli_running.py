"""`connect pause`, `resume`, `runs` and `connections`: what rests, what runs and has run, how each connection is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli_letters import ByOption, ConnectionOption
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, acting, begin, load, screen, tools_of_config, waited

if TYPE_CHECKING:  # late imports: see cli.py
    from workers.acts import ConnectionPauses

PAUSE_EXAMPLE = (
    'Example:  connect pause --connection acme-PROD --job ExportInvoices --reason "period is being closed"\n\n'
    "What is being done now is done to its end; all else waits, for as long as it takes, over restarts. `connect status` shows it."
)
RESUME_EXAMPLE = "Example:  connect resume --connection acme-PROD --job ExportInvoices\n\nLifts what `pause` did with the same options."
RUNS_EXAMPLE = "Example:  connect runs --job GetSuppliers --state failed"
CONNECTIONS_EXAMPLE = "Example:  connect connections --connection acme-PROD\n\nSecrets are hidden."
SENT_EXAMPLE = "Example:  connect sent V-1001 --connection acme-PROD --job GetSuppliers"
JobOption = Annotated[str | None, typer.Option("--job", help="This job alone, such as GetSuppliers.")]
DirectionOption = Annotated[str | None, typer.Option("--direction", help="inbound (registers) or outbound (documents) alone.")]


def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why; shown to all, and kept in the audit trail.")],
    connection: ConnectionOption = None,
    job: JobOption = None,
    direction: DirectionOption = None,
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Let a connection, a job or a direction rest until somebody resumes it."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def do() -> list[ConnectionPauses]:
        from workers import acts

        async with acting(loaded, by, "operator") as me:
            return await acts.pause(me.tools, connection=connection, job=job, direction=direction, reason=reason, by=me.by)

    _show_pauses(waited(do()))


def resume(
    connection: ConnectionOption = None,
    job: JobOption = None,
    direction: DirectionOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")] = "",
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Let it work again; what waited goes on at once."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def do() -> list[ConnectionPauses]:
        from workers import acts

        async with acting(loaded, by, "operator") as me:
            return await acts.resume(me.tools, connection=connection, job=job, direction=direction, reason=reason, by=me.by)

    _show_pauses(waited(do()))


def _show_pauses(found: list[ConnectionPauses]) -> None:
    def human() -> None:
        for one in found:
            typer.echo(f"{one.connection}: {'; '.join(hold.text for hold in one.paused) or 'nothing is paused'}")
            if not one.changed:
                screen.say(f"{one.connection}: that was not paused")

    screen.result({"connections": [one.model_dump(mode="json") for one in found]}, human)


def runs(
    connection: ConnectionOption = None,
    company: Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")] = None,
    job: JobOption = None,
    state: Annotated[str | None, typer.Option("--state", help="running, done, held or failed alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """The runs of the last 90 days, newest first."""
    from workers.screen import table

    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> dict[str, Any]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            page = await overview.runs(tools, connection=connection, company=company, job=job, state=state, offset=offset, limit=limit)
            return page.model_dump(mode="json")

    found = waited(ask())

    def human() -> None:
        numbers = ("read", "sent", "unchanged", "refused", "calls")
        rows = [
            (
                one["connection"],
                one["company"],
                one["job"],
                one["state"],
                one["started_at"][5:16].replace("T", " "),
                f"{one['duration_s']:.1f}",
                *(one["counters"][name] for name in numbers),
            )
            for one in found["items"]
        ]
        table(("connection", "company", "job", "state", "began, UTC", "seconds", *numbers), rows, right=("seconds", *numbers))
        for one in found["items"]:
            if one["reason"]:
                screen.say(f"{one['run']}: {one['reason']}")
        if found["more"]:
            screen.say(f"there are more: --offset {offset + limit}")

    screen.result(found, human)


def connections(connection: ConnectionOption = None, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """How connections are set up, and what their registers hold."""
    from workers.screen import table

    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> list[dict[str, Any]]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            named = [connection] if connection is not None else [one.name for one in overview.connections(tools)]
            return [(await overview.connection(tools, name)).model_dump(mode="json") for name in named]

    found = waited(ask())

    def human() -> None:
        for one in found:
            companies = ", ".join(one["companies"])
            typer.echo(f"{one['name']}: Sage company {one['sage_company']}, companies {companies}, {one['active_jobs']} active jobs")
            rows = [
                (part["company"], part["part"], part["source"], f"{part['rows']:,}", (part["synced_at"] or "never")[:16].replace("T", " "))
                for part in one["registers"]
            ]
            table(("company", "part", "Sage object", "rows", "complete, UTC"), rows, right=("rows",))

    screen.result({"connections": found}, human)


def sent(
    number: Annotated[str, typer.Argument(help="The row's number in Prime, exactly.")],
    job: Annotated[str, typer.Option("--job", help="The register that brings it, such as GetSuppliers.")],
    connection: ConnectionOption = None,
    company: Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")] = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """What is known of a register's row that was sent to Prime."""
    from workers.screen import table

    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> list[dict[str, Any]]:
        from workers import acts, overview

        async with tools_of_config(loaded) as tools:
            acts.check_names(tools, connection, company, job)
            return [
                {"connection": one.name, **row.model_dump(mode="json")}
                for one in tools.config.connections
                if connection in (None, one.name)
                for code in one.companies
                if company in (None, code)
                for row in await overview.sent_row(tools, one.name, code, job, number)
            ]

    found = waited(ask())

    def human() -> None:
        rows = [
            (
                one["connection"],
                one["company"],
                one["part"],
                one["number"],
                one["name"],
                f"dead letter {one['letter']}"
                if one["letter"]
                else "as in Sage"
                if one["is_settled"]
                else "looked at anew in the next run",
                (one["synced_at"] or "never")[:16].replace("T", " "),
            )
            for one in found
        ]
        table(("connection", "company", "part", "number", "name", "Prime has it", "complete, UTC"), rows)
        if not found:
            screen.say(f"nothing with the number {number} was accepted by Prime: `connect dead-letters list` shows what was refused")

    screen.result({"rows": found}, human)


def _known_as(row: dict[str, Any]) -> str:
    if row["letter"]:
        return f"no: dead letter {row['letter']}"
    return "yes" if row["is_settled"] else "looked at anew in the next run"
