"""`connect`: the command line. Results go to stdout (`--json`: one JSON document), messages, progress and logs to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done with dead letters. Everything heavy is imported by the command that
needs it: `connect --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError, ConnectError
from workers import (
    cli_backup,
    cli_config,
    cli_console,
    cli_doctor,
    cli_health,
    cli_init,
    cli_letters,
    cli_notify,
    cli_plan,
    cli_promote,
    cli_reconcile,
    cli_running,
    cli_schedule,
    cli_usage,
)
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

if TYPE_CHECKING:  # late imports: see above
    from connect.config import Config
    from workers.session import Outcome

app = typer.Typer(
    name="connect",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps Sage Intacct and Rillion Prime in step: registers from Sage to Prime, invoices and payments from Prime to Sage.",
    epilog=(
        "[bold]A first look, nothing else needed:[/]  connect demo\n\n"
        "[bold]With your own systems:[/]  connect config check;  connect run --until-idle;  connect status\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done with dead letters."
    ),
)
app.add_typer(cli_letters.dead_letters, name="dead-letters")
app.add_typer(cli_letters.errors_app, name="errors")
app.add_typer(cli_letters.audit_app, name="audit")
app.add_typer(cli_config.config_app, name="config")
app.add_typer(cli_console.console_app, name="console")
app.add_typer(cli_notify.notify_app, name="notify")


class Stage(StrEnum):
    schedule = "schedule"
    fetch = "fetch"
    write = "write"
    post = "post"


class Size(StrEnum):
    small = "small"
    medium = "medium"
    large = "large"


FullOption = Annotated[bool, typer.Option("--full", help="Read all records, whatever IsFullImport says.")]
ResendOption = Annotated[bool, typer.Option("--resend", help="Send every row again, also those that have not changed.")]
RewriteOption = Annotated[bool, typer.Option("--rewrite", help="Write rows anew even when changed settings make them suspiciously many.")]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="Before that, take the documents over from another Connect on the same Prime.")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - closed by whoever called us
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    try:
        app(args=arguments, prog_name="connect")  # also as `python -m workers.cli`
    except Exception as error:  # noqa: BLE001 - the last place: a person gets a message, never a traceback
        sys.exit(screen.failed(_named(error)))


def _named(error: Exception) -> Exception:
    """A Redis that does not answer is a matter of set-up or operation, not an error of this program."""
    redis_exceptions = sys.modules.get("redis.exceptions")
    if redis_exceptions is not None and isinstance(error, redis_exceptions.RedisError):
        words = str(error).rstrip(".")
        return ConnectError(f"Redis does not serve us: {words}. Check [redis] in the configuration, and that it runs", system="redis")
    return error


# -- running -----------------------------------------------------------------------------------------------------------


@app.command(
    epilog="Example:  connect demo --size medium\n\nLeaves your own configuration and data alone: it works in a folder of its own."
)
def demo(
    size: Annotated[Size, typer.Option(help="About 2,000, 50,000 or 1,000,000 rows.")] = Size.small,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """The main job on a simulated Sage and Prime: registers, invoices, payments, a cancellation; both books must agree at the end."""
    from workers.demo import run_demo

    begin(as_json, log_format, log_level or LogLevel.error)
    raise typer.Exit(waited(run_demo(size.value, screen)))


@app.command(
    epilog="Example:  connect sandbox --empty --sage-port 0 --prime-port 0\n\nIts line on stdout is JSON: addresses and credentials."
)
def sandbox(
    sage_port: Annotated[int, typer.Option(min=0, max=65535, help="Where Sage answers; 0: any free port.")] = 8801,
    prime_port: Annotated[int, typer.Option(min=0, max=65535, help="Where Prime answers; 0: any free port.")] = 8802,
    size: Annotated[Size, typer.Option(help="About 2,000, 50,000 or 1,000,000 rows.")] = Size.small,
    empty: Annotated[bool, typer.Option("--empty", help="No records at all.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same company.")] = 1,
    sage_latency_ms: Annotated[float, typer.Option(min=0, help="How long Sage takes for each request.")] = 0.0,
    sage_slots: Annotated[int, typer.Option(min=1, help="Requests at once that Sage allows.")] = 6,
    token_ttl_s: Annotated[float, typer.Option(min=0.1, help="How long Sage's tokens live.")] = 43_200.0,
) -> None:
    """Sage and Prime on this machine, simulated, with faults on demand; until Ctrl-C."""
    from connect.sandbox.app import SandboxOptions, run_sandbox

    begin()
    options = SandboxOptions(
        sage_port=sage_port,
        prime_port=prime_port,
        size=None if empty else size.value,
        seed=seed,
        sage_latency_ms=sage_latency_ms,
        sage_slots=sage_slots,
        token_ttl_s=token_ttl_s,
    )
    try:
        run_sandbox(options)
    except OSError as error:  # a port that is taken, or that is not for us
        words = error.strerror or str(error)
        raise ConnectError(
            f"the sandbox cannot answer there: {words}; give other ports with --sage-port and --prime-port (0: any free one)"
        ) from None


@app.command(
    epilog="Everything, until Ctrl-C:  connect run\n\nEvery active job once, then end:  connect run --until-idle\n\n"
    "One job anew, with every row sent again:  connect run --until-idle --job GetSuppliers --full --resend"
)
def run(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Every active job once, now; ends when the queues are empty.")] = False,
    full: FullOption = False,
    resend: ResendOption = False,
    job: Annotated[str | None, typer.Option("--job", help="This job alone, such as GetSuppliers.")] = None,
    expire: Annotated[bool, typer.Option("--expire", help="Expire rows gone from Sage even when they are suspiciously many.")] = False,
    rewrite: RewriteOption = False,
    take_over: TakeOverOption = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Schedule, fetch, write and post in one process group."""
    from workers.session import run_forever, run_once

    begin(as_json, log_format, log_level, quiet=until_idle)
    loaded = load(config)
    if not until_idle:
        if full or resend or job or expire or rewrite:
            raise ConfigError(
                "--full, --resend, --job, --expire and --rewrite go with --until-idle; for a running Connect use `connect sync`"
            )
        if take_over:
            _take_over(loaded, None, None)
        raise typer.Exit(waited(run_forever(loaded)))
    if take_over:
        _take_over(loaded, None, None)
    outcome = waited(run_once(loaded, screen, job=job, full=full, resend=resend, expire=expire, rewrite=rewrite))
    screen.result(outcome.document(), outcome.show)
    raise typer.Exit(outcome.exit_code)


@app.command(
    epilog="Example:  connect worker fetch\n\nAs many of each stage as you like, on as many machines as you like, around one Redis."
)
def worker(
    stage: Annotated[Stage, typer.Argument(help="What this process does.")],
    config: ConfigOption = CONFIG_FILE,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """One worker process of one stage."""
    from workers.settings import run_worker

    begin(False, log_format, log_level)
    load(config)
    os.environ["CONNECT_CONFIG"] = str(config)
    run_worker(stage.value)


@app.command(
    epilog="Example:  connect sync --company 100 --job GetSuppliers --wait\n\nWithout --wait the work is queued for workers elsewhere."
)
def sync(
    connection: Annotated[str | None, typer.Option("--connection", help="This connection alone (its name).")] = None,
    company: Annotated[str | None, typer.Option("--company", help="This company alone, such as 100.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="This job alone, such as GetSuppliers.")] = None,
    full: FullOption = False,
    resend: ResendOption = False,
    expire: Annotated[bool, typer.Option("--expire", help="Expire rows gone from Sage even when they are suspiciously many.")] = False,
    rewrite: RewriteOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; starts workers of its own when none is alive.")] = False,
    take_over: TakeOverOption = False,
    by: cli_letters.ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Run jobs now, due or not."""
    from workers.session import run_once, start_now, without_workers

    begin(as_json, log_format, log_level, quiet=wait)
    loaded = load(config)
    options: dict[str, Any] = {
        "connection": connection,
        "company": company,
        "job": job,
        "full": full,
        "resend": resend,
        "expire": expire,
        "rewrite": rewrite,
    }
    if take_over:
        _take_over(loaded, connection, by)

    async def do() -> Outcome:
        async with acting(loaded, by, "operator") as me:
            return await run_once(me.config, screen, by=me.by, **options)

    async def ask() -> dict[str, Any]:
        async with acting(loaded, by, "operator") as me:
            return await start_now(me.config, by=me.by, **options)

    if wait:
        outcome = waited(do())
        screen.result(outcome.document(), outcome.show)
        raise typer.Exit(outcome.exit_code)
    started = waited(ask())

    def human() -> None:
        for asked in started["runs"]:
            typer.echo(f"asked for {asked['job']}, company {asked['company']} ({asked['connection']})")
        if started["stages_without_worker"]:
            screen.say(without_workers(started["stages_without_worker"]))
        else:
            screen.say("`connect status` shows how it goes")

    screen.result(started, human)


@app.command(
    "take-over",
    epilog="Example:  connect take-over --connection acme-PROD\n\nThe other Connect's document jobs stop within a minute; nothing new is "
    "booked here until what it may have under way must show in Sage.",
)
def take_over_documents(
    connection: Annotated[str | None, typer.Option("--connection", help="This connection alone (its name).")] = None,
    by: cli_letters.ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Have the documents of a Prime from now on, whichever Connect had them: after a move to another Redis, say."""
    begin(as_json, level=LogLevel.error)
    taken = _take_over(load(config), connection, by)
    screen.result({"connections": taken}, lambda: None)


def _take_over(loaded: Config, connection: str | None, by: str | None) -> list[dict[str, str]]:
    from workers.deployment import take_over

    async def do() -> list[dict[str, str]]:
        async with acting(loaded, by, "operator") as me:
            return await take_over(me.tools, connection=connection, by=me.by)

    taken = waited(do())
    for one in taken:
        whose = f"; {one['before']} had them" if one["before"] else "; no other Connect had them"
        screen.say(f"{one['connection']}: this Connect ({one['owner']}) has the document jobs{whose}")
    return taken


# -- looking -----------------------------------------------------------------------------------------------------------


@app.command(epilog="Example:  connect status --json")
def status(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Connections, queues, runs, dead letters, Sage's slots and transactions."""
    from workers import overview

    begin(as_json, level=LogLevel.warning)

    async def ask() -> dict[str, Any]:
        from workers.reloading import configuration

        async with tools_of_config(load(config)) as tools:
            return {**(await overview.status(tools)).model_dump(mode="json"), "configuration": await configuration(tools)}

    document = waited(ask())
    screen.result(document, lambda: _show_status(document))


def _show_status(document: dict[str, Any]) -> None:
    seen = document["catalogue"]
    if document["needs"]:
        typer.echo("What needs somebody:")
    for need in document["needs"]:
        where = ", ".join(dict.fromkeys(f"{place['connection']} {place['company']}" for place in need["places"][:PLACES_SHOWN]))
        more = f" and {len(need['places']) - PLACES_SHOWN:,} more" if len(need["places"]) > PLACES_SHOWN else ""
        typer.echo(f"  {need['light']:<5}  {need['text']}: {where}{more}")
        typer.echo(f"         {need['owner']}: {need['fix']}" if need["fix"] else f"         {need['owner']}")
    if document["needs"]:
        typer.echo("")
    for connection in document["connections"]:
        reason = f" ({connection['reason']})" if connection["reason"] else ""
        slots = connection["slots"]
        letters = ", ".join(f"{number:,} for {owner}" for owner, number in sorted(connection["dead_letters"].items()) if number) or "none"
        typer.echo(f"{connection['name']}, company {connection['company']}: {connection['state']}{reason}")
        for one in connection["reasons"]:
            if one["text"] != connection["reason"]:
                typer.echo(f"  {one['light']:<5}  {one['text']}")
        typer.echo(
            f"  Sage: {slots['used']} of {slots['limit']} slots in use, {connection['transactions_month']:,} transactions this month; "
            f"open dead letters: {letters}"
        )
        queues = [
            (stage, queue["workers"], queue["depth"], f"{queue['oldest_s']:.0f}", queue["in_flight"])
            for stage, queue in connection["queues"].items()
        ]
        numbers = ("workers", "waiting", "oldest s", "in flight")
        table(("queue", *numbers), queues, right=numbers)
        runs = [
            (
                run["job"],
                run["state"],
                _MODES.get(run["mode"], run["mode"]),
                run["started_at"][5:16].replace("T", " "),
                *(run[counter] for counter in _COUNTERS),
            )
            for run in connection["runs"]
        ]
        table(("job", "state", "mode", "began, UTC", *_COUNTERS), runs, right=_COUNTERS)
        for remark in connection["remarks"]:
            typer.echo(f"  {remark}.")
        typer.echo("")
    for sentence in document["configuration"]["remarks"]:
        typer.echo(f"{sentence}.")
    if seen["unknown"]:
        typer.echo(f"errors: the catalogue knows {seen['coverage']:.1%} of those seen; `connect errors unknown` shows the others")


PLACES_SHOWN: Final = 5
_COUNTERS: Final = ("read", "sent", "unchanged", "refused", "calls")
_MODES: Final = {"full": "full", "incremental": "changes", "deferred": "2nd pass", "rows": "replay"}


app.command(epilog=cli_letters.TRACE_EXAMPLE)(cli_letters.trace)
app.command(epilog=cli_backup.BACKUP_EXAMPLE)(cli_backup.backup)
app.command(epilog=cli_backup.RESTORE_EXAMPLE)(cli_backup.restore)
app.command(epilog=cli_init.EXAMPLE)(cli_init.init)
app.command(epilog=cli_promote.EXAMPLE)(cli_promote.promote)
app.command(epilog=cli_running.RUNS_EXAMPLE)(cli_running.runs)
app.command(epilog=cli_running.CONNECTIONS_EXAMPLE)(cli_running.connections)
app.command(epilog=cli_running.SENT_EXAMPLE)(cli_running.sent)
app.command(epilog=cli_running.PAUSE_EXAMPLE)(cli_running.pause)
app.command(epilog=cli_running.RESUME_EXAMPLE)(cli_running.resume)
app.command(epilog=cli_health.EXAMPLE)(cli_health.health)
app.command(epilog=cli_doctor.EXAMPLE)(cli_doctor.doctor)
app.command(epilog=cli_schedule.EXAMPLE)(cli_schedule.schedule)
app.command(epilog=cli_usage.EXAMPLE)(cli_usage.usage)
app.command(epilog=cli_reconcile.EXAMPLE)(cli_reconcile.reconcile)
app.command(epilog=cli_plan.PLAN_EXAMPLE)(cli_plan.plan)
app.command(epilog=cli_plan.APPLY_EXAMPLE)(cli_plan.apply)
app.command("test-run", epilog=cli_plan.TEST_RUN_EXAMPLE)(cli_plan.try_job)


@app.command(epilog="Example:  connect version --json")
def version(as_json: JsonOption = False) -> None:
    """The version of this program and of what it stands on."""
    from importlib import metadata

    screen.json = as_json
    found = {"version": metadata.version("connect-sage-prime"), "python": sys.version.split()[0]}
    found |= {name: metadata.version(name) for name in ("arq", "redis", "aiohttp", "pydantic", "msgspec")}
    screen.result(
        found, lambda: typer.echo(f"connect {found['version']} (" + ", ".join(f"{n} {v}" for n, v in found.items() if n != "version") + ")")
    )


if __name__ == "__main__":
    main()
