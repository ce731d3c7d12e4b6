"""`connect usage`: what Sage's calls cost, by connection, job, object and day, and what to expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, tools_of_config, waited
from workers.screen import table

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config import Config

EXAMPLE: Final = (
    "Example:  connect usage --month 2026-11 --connection acme-PROD\n\n"
    "Or, what would another schedule save:  connect usage --if GetSuppliers=4h --if 'GetAccounts=0 5 * * *'\n\n"
    "--json has every number: by company, job, object and day."
)
LONGEST_LIST: Final = 15


def usage(
    config: ConfigOption = CONFIG_FILE,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="This month unless said otherwise.")] = "",
    connection: Annotated[str | None, typer.Option("--connection", metavar="NAME", help="This one alone.")] = None,
    schedules: Annotated[
        list[str] | None, typer.Option("--if", metavar="JOB=TIME", help="What this schedule (4h, or a cron expression) would save.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Calls and transactions at Sage: counted, expected by the end of the month, the budget, and what another schedule would save."""
    begin(as_json, level=LogLevel.warning)
    document = waited(_read(load(config), month, connection, schedules or []))

    def human() -> None:
        for one in document["connections"]:
            _show(one, document["month"])

    screen.result(document, human)


async def _read(config: Config, month: str, connection: str | None, schedules: list[str]) -> dict[str, Any]:
    from workers import usage as report

    async with tools_of_config(config) as tools:
        return await report.usage(tools, month=month, connection=connection, schedules=schedules)


def _show(one: dict[str, Any], month: str) -> None:
    typer.echo(f"{one['name']}, {month}: {one['transactions']:,} transactions with Sage in {one['calls']:,} calls")
    if one["counted_since"] is None:
        typer.echo("  Nothing has been counted yet.\n")
        return
    typer.echo(f"  Counted since {one['counted_since'][:16].replace('T', ' ')} UTC.")
    if one["unanswered"]:
        typer.echo(f"  {one['unanswered']:,} calls were not answered; whether Sage counts them is not known.")
    if one["marketplace"]:
        typer.echo("  They are a marketplace client's: none of them counts against the customer's entitlement.")
    ahead = one["forecast"]
    typer.echo("  A forecast needs one whole day." if ahead is None else f"  Expected for the whole month: about {ahead:,}.")
    if one["budget"]["transactions"]:
        typer.echo(f"  {one['budget']['text'] or f'''Budget: {one['budget']['transactions']:,} a month.'''}")
    numbers = ("transactions", "calls")
    rows = [(row["job"], row["company"], row["transactions"], row["calls"], _number(row["forecast"])) for row in one["jobs"]]
    table(("job", "company", *numbers, "expected"), rows, right=(*numbers, "expected"))
    for name, of in (("object", one["objects"]), ("day", sorted(one["days"], key=lambda row: row["name"]))):
        typer.echo("")
        shown = of if name == "day" else of[:LONGEST_LIST]
        table((name, *numbers), [(row["name"], row["transactions"], row["calls"]) for row in shown], right=numbers)
        if len(shown) < len(of):
            typer.echo(f"… and {len(of) - len(shown)} more (--json has all)")
    if one["schedules"]:
        typer.echo("")
        columns = ("calls a run", "runs a day", "calls a month", "saved a month")
        rows = [
            (
                row["job"],
                row["company"],
                *(_number(row[name.replace(" ", "_")]) for name in columns[:3]),
                row["other"],
                row["saved_a_month"],
            )
            for row in one["schedules"]
        ]
        table(("job", "company", *columns[:3], "instead", columns[3]), rows, right=columns)
    typer.echo("")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.10g}"
