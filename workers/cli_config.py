"""`connect config`: check, show and describe the configuration file; exchange it with Prime; its secrets."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connect.errors import ConfigError
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, waited
from workers.screen import table

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config.load import Loc
    from connect.config.models import Config, Connection, Endpoint
    from connect.config.rows import Reading
    from workers.custom_settings import Prime

config_app = typer.Typer(
    no_args_is_help=True, help="The configuration file: check it, show it, describe it, exchange it with Prime; its secrets."
)
ConnectionOption = Annotated[str | None, typer.Option("--connection", metavar="NAME", help="Which one; needed where the file has several.")]


@config_app.command("check", epilog="Example:  connect config check --config acme.toml\n\nExit code 2 when something is wrong.")
def check(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Say everything that is wrong with the configuration, with lines; asks neither Sage nor Prime."""
    from connect.config import ConfigProblems

    screen.json = as_json
    try:
        loaded = load(config)
    except ConfigProblems as error:
        problems = error.problems
        document = {"ok": False, "file": str(config), "problems": problems, "owners": error.owners, "warnings": []}
        lines = [f"{problem} (to be done by: {owner})" for problem, owner in zip(problems, error.owners, strict=True)]
        screen.result(document, lambda: screen.say("\n".join((*lines, f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"))))
        raise typer.Exit(2) from None
    warnings = [*loaded.warnings, *(text for one in loaded.connections for text in _does_not_fit(one))]
    document = {"ok": True, "file": str(config), "problems": [], "warnings": warnings}

    def human() -> None:
        for warning in warnings:
            screen.say(f"warning: {warning}")
        for connection in loaded.connections:
            active = [job for job in connection.jobs if job.active]
            companies = ", ".join(connection.companies)
            typer.echo(f"{connection.name}: {len(active)} active jobs, companies {companies}, over {connection.register_transport}")
        typer.echo(f"{config} is right")

    screen.result(document, human)


def _does_not_fit(connection: Connection) -> list[str]:
    """Jobs that are due more often than they can start: `connect schedule` shows the day."""
    from connect.config.schedule import day_plan
    from workers.cli_schedule import missed_text

    plan = day_plan(connection.model_copy(update={"maintenance": ()}), datetime.now(UTC).date())
    return [f"{connection.name}: {missed_text(job, company, times)}" for (company, job), times in sorted(plan.missed.items())]


@config_app.command("show", epilog="Example:  connect config show --json\n\nWith the rows that Prime has:  connect config show --prime")
def show(
    config: ConfigOption = CONFIG_FILE,
    connection: ConnectionOption = None,
    prime: Annotated[bool, typer.Option("--prime", help="As it would be after `connect config pull`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The configuration as it is understood: every effective value, and where it comes from; secrets are hidden."""
    from connect.config.load import read_text, source_of
    from connect.config.origins import effective

    begin(as_json, level=LogLevel.warning)
    places: dict[Loc, str] = {}
    if prime:
        pull = _Pull(config, connection)
        for line in pull.said():
            screen.say(line)
        loaded, text = pull.config(), pull.made.text
        places = {loc: row.origin for loc, row in pull.made.places.items()}
    else:
        source = source_of(config)
        loaded, text = load(config).model_copy(update={"path": source}), read_text(source)
    document = loaded.model_dump(mode="json", by_alias=True)
    if document["redis"]["url"]:
        document["redis"]["url"] = _without_password(document["redis"]["url"])
    values = [
        value._replace(value=document["redis"]["url"])
        if (value.scope, value.key) == ("redis", "url") and ":" in str(value.value)
        else value
        for value in effective(loaded, text, places)
        if connection is None or value.scope.partition(", company ")[0] in (connection, "redis")
    ]
    document["sources"] = [value._asdict() for value in values]

    def human() -> None:
        for scope in dict.fromkeys(value.scope for value in values):
            rows = [(value.key, _text(value.value), value.source) for value in values if value.scope == scope]
            table(("key", "value", "from"), rows, title=scope)

    screen.result(document, human)


def _text(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} = {one}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}" if user else host, query=""))


@config_app.command(
    "schema",
    epilog="Example:  connect config schema > connect.schema.json\n\nEditors that know JSON Schema complete and check the file by it.",
)
def schema() -> None:
    """A JSON Schema of the file: every key, what it expects, its default."""
    from connect.config import Config

    screen.json = True
    screen.result(Config.model_json_schema(by_alias=True), lambda: None)


# -- secrets -----------------------------------------------------------------------------------------------------------


@config_app.command("secrets", epilog="Example:  connect config secrets\n\nExit code 2 when one is missing.")
def secrets(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Which secrets the file refers to, and which of them are missing. Shows none."""
    from connect.config.load import list_secrets

    screen.json = as_json
    found = list_secrets(config, environ=os.environ)
    missing = [one for one in found if one.problem]
    document = {"ok": not missing, "file": str(config), "secrets": [one._asdict() for one in found]}

    def human() -> None:
        rows = [(f"{config}:{one.line}", one.key, one.reference or "in clear", one.problem or "there") for one in found]
        table(("where", "key", "reference", "state"), rows)
        if missing:
            screen.say(f"{len(missing)} of {len(found)} missing: set the variables where the workers start, or write the files")

    screen.result(document, human)
    raise typer.Exit(2 if missing else 0)


# -- Prime's CustomSettings --------------------------------------------------------------------------------------------


@config_app.command(
    "pull",
    epilog=(
        "Example:  connect config pull --write\n\nPrints the file as it would be; --write replaces it and leaves the old one beside it. "
        "Exit code 1 when Prime has jobs and all of them are ignored, 2 when what Prime says is wrong."
    ),
)
def pull(
    config: ConfigOption = CONFIG_FILE,
    connection: ConnectionOption = None,
    write: Annotated[bool, typer.Option("--write", help="Replace the file; the old one stays as FILE.before-pull.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take lookups and jobs from Prime's CustomSettings into the file. Prime's rows win; what only the file has stays."""
    from connect.config.load import source_of

    begin(as_json, level=LogLevel.warning)
    config = source_of(config)
    found = _Pull(config, connection)
    for line in found.said():
        screen.say(line)
    loaded = found.config() if not found.reading.ignores_all else None
    document = {**found.document(), "warnings": [*found.reading.warnings, *(loaded.warnings if loaded else ())], "written": None}
    if loaded is not None:
        for warning in loaded.warnings:
            screen.say(f"warning: {warning}")
        if write:
            before = config.with_name(config.name + ".before-pull")
            before.write_bytes(config.read_bytes())
            _replace(config, found.made.text)
            document["written"] = str(config)
            screen.say(f"{config} is written; what it was stands in {before}")

    screen.result(document, lambda: None if write or loaded is None else typer.echo(found.made.text, nl=False))
    if loaded is None:
        screen.say("all jobs are ignored: nothing is taken over")
        raise typer.Exit(1)


@config_app.command(
    "push",
    epilog=(
        "Example:  connect config push --dry-run\n\nInserts and updates rows; Prime has no operation that deletes one. "
        "A secret goes as its reference (env:NAME, file:PATH), never itself."
    ),
)
def push(
    config: ConfigOption = CONFIG_FILE,
    connection: ConnectionOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write lookups and jobs of the file as rows of Prime's CustomSettings. The file must be right."""
    from connect.config.exchange import push_plan
    from connect.config.load import load_endpoints
    from workers.custom_settings import read_prime, write_prime

    begin(as_json, level=LogLevel.warning)
    load(config)  # what is wrong does not reach Prime
    tables, endpoints = load_endpoints(config, environ=os.environ)
    number = _chosen(endpoints, connection)
    there = waited(read_prime(endpoints[number]))
    plan = push_plan(tables["connections"][number], there.rows)
    strangers = sorted({row.company for _, row in plan if row.company and row.company not in there.companies})
    if strangers:
        listed = ", ".join(there.companies) or "none"
        raise ConfigError(f"Prime has no company {', '.join(strangers)} (it has: {listed}); nothing is written", code="company")
    written = 0 if dry_run else waited(write_prime(endpoints[number], plan))
    rows = [{"action": action, "company": row.company, "type": row.type, "setting": row.setting} for action, row in plan]
    document = {"connection": endpoints[number].name, "dry_run": dry_run, "written": written, "rows": rows}

    def human() -> None:
        table(("", "company", "type", "setting"), [(one["action"], one["company"] or "all", one["type"], one["setting"]) for one in rows])
        left = [one for one in rows if one["action"] == "only in Prime"]
        if left:
            screen.say(f"{len(left)} rows are only in Prime and stay there: Prime has no operation that deletes one. Remove them in Prime")
        screen.say("nothing is written (--dry-run)" if dry_run else f"{written} rows written")

    screen.result(document, human)


class _Pull:
    """What Prime says of one connection of a file, and the file with it."""

    def __init__(self, path: Path, connection: str | None) -> None:
        from connect.config.exchange import pulled
        from connect.config.load import load_endpoints, source_of
        from connect.config.names import JOBS
        from workers.custom_settings import read_prime

        self._path = source_of(path)
        tables, endpoints = load_endpoints(path, environ=os.environ)
        number = _chosen(endpoints, connection)
        self.endpoint: Endpoint = endpoints[number]
        self.prime: Prime = waited(read_prime(self.endpoint))
        self.reading: Reading = self.prime.reading(secret=_secret(tables["connections"][number], self.endpoint.name), jobs=JOBS)
        self.made = pulled(tables, number, self.reading)

    def said(self) -> list[str]:
        lines = [*self.reading.summary(self.endpoint.url), *(f"warning: {one}" for one in self.reading.warnings)]
        if self.made.kept:
            lines.append(f"only in the file, and kept: {', '.join(self.made.kept)}")
        return lines

    def config(self) -> Config:
        """Raises ConfigProblems with what is wrong in Prime's rows, by the row."""
        from connect.config import ConfigProblems
        from connect.registers import REGISTERS

        problems = list(self.reading.problems)
        try:
            loaded = self.made.parse(path=self._path, environ=os.environ, jobs=REGISTERS)
        except ConfigProblems as error:
            problems += error.problems
        if problems:
            raise ConfigProblems(problems)
        return loaded

    def document(self) -> dict[str, Any]:
        reading = self.reading
        return {
            "connection": self.endpoint.name,
            "companies": self.prime.companies,
            "jobs": {"active": reading.active, "disabled": reading.disabled},
            "lookups": reading.lookups,
            "ignored": [{"company": row.company, "job": row.setting, "reason": reason} for row, reason in reading.ignored],
            "kept": self.made.kept,
            "file": self.made.text,
        }


def _chosen(endpoints: list[Endpoint], name: str | None) -> int:
    from connect.config.names import nearest

    names = [one.name for one in endpoints]
    if name is None and len(names) == 1:
        return 0
    if name is None:
        raise ConfigError(f"which connection? Say --connection NAME (there are: {', '.join(names)})", code="unknown-connection")
    if name not in names:
        raise ConfigError(f"no connection {name!r}{nearest(name, names)} (there are: {', '.join(names)})", code="unknown-connection")
    return names.index(name)


def _secret(connection: dict[str, Any], name: str) -> str:
    """The reference that the file has for Sage's client secret, or the variable that the pulled file will ask for."""
    lookups = connection.get("lookups")
    credentials = lookups.get("Credentials") if isinstance(lookups, dict) else None
    given = credentials.get("SageClientSecret") if isinstance(credentials, dict) else None
    if isinstance(given, str) and given.startswith(("env:", "file:")):
        return given
    return "env:" + "".join(letter if letter.isalnum() else "_" for letter in name.upper()) + "_SAGE_SECRET"


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: workers look at it while they run."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)
