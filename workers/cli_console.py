"""`connect console`: the operator's page and the JSON API; who may use them; and tokens for the command line and for programs.

Whoever can run these commands can read the configuration and Redis, and so is an administrator already: no token is asked for here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError
from workers.command import (
    CONFIG_FILE,
    ConfigOption,
    JsonOption,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    begin,
    load,
    screen,
    system_user,
    tools_of_config,
    waited,
)

if TYPE_CHECKING:  # late imports: see cli.py
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from connect.state.users import Users
    from workers.jobs import Tools

console_app = typer.Typer(
    invoke_without_command=True,
    help="The operator's page and the JSON API, until Ctrl-C; and who may use them.",
    epilog="Example:  connect console add-user ann --role admin;  connect console --port 8080\n\n"
    "Elsewhere than on this machine it needs TLS (--tls-cert, --tls-key) or a proxy that has it (--trusted-proxy).",
)
token_app = typer.Typer(no_args_is_help=True, help="Tokens: for the command line (CONNECT_TOKEN) and for programs that use the API.")
console_app.add_typer(token_app, name="token")
PASSWORD_VARIABLE: Final = "CONNECT_PASSWORD"  # noqa: S105 - the name of a variable


class RoleName(StrEnum):
    viewer = "viewer"
    operator = "operator"
    approver = "approver"
    admin = "admin"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
RoleOption = Annotated[
    RoleName,
    typer.Option(
        "--role",
        help="viewer looks; operator edits, replays, discards, pauses and runs; approver looks and approves payments; admin does all.",
    ),
]
ConnectionsOption = Annotated[
    list[str] | None, typer.Option("--connection", metavar="C", help="Only this connection (its name). Repeatable; left out: all.")
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help=f"Where the password stands, in the first line; - for stdin. Else {PASSWORD_VARIABLE}, else asked."
    ),
]


@console_app.callback()
def console(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any free one.")] = 8080,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="F", help="A certificate with its chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="F", help="Its key (PEM).")] = None,
    public_host: Annotated[
        list[str] | None,
        typer.Option("--public-host", metavar="NAME", help="A name under which people reach it, beside --host. Repeatable."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", metavar="CIDR", help="The proxy in front of it, which has TLS: 10.0.0.7 or 10.0.0.0/24. Repeatable."
        ),
    ] = None,
    trusted_user_header: Annotated[
        str, typer.Option("--trusted-user-header", metavar="NAME", help="The proxy logs people in, and names them in this header.")
    ] = "",
    config: ConfigOption = CONFIG_FILE,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from workers.console.app import serve
    from workers.console.security import listening, tls_context

    begin(False, log_format, log_level)
    where = listening(
        host,
        port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        proxies=trusted_proxy or (),
        user_header=trusted_user_header,
        hosts=public_host or (),
    )
    tls_context(where)  # a certificate that is none is said before anything starts
    loaded = load(config)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with tools_of_config(loaded) as tools:
            from connect.state.users import Users

            if not await Users(tools.redis).any() and not trusted_user_header:
                screen.say("no user exists yet: `connect console add-user NAME --role admin` makes the first")
            await serve(tools, where, until=stop, ready=lambda url: screen.say(f"the console is at {url}"))

    waited(run())


# -- users -------------------------------------------------------------------------------------------------------------


@console_app.command("add-user", epilog="Example:  connect console add-user ann --role operator --connection acme-PROD")
def add_user(
    name: NameArgument,
    role: RoleOption,
    connection: ConnectionsOption = None,
    password_file: PasswordFileOption = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Lets nobody in by password: for tokens, and for a proxy that logs people in.")
    ] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Add a user."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.add(
            tools, users, name=name, role=role.value, connections=connection or (), password=password, by=system_user()
        )  # fmt: skip

    begin(as_json, level=LogLevel.warning)
    _check_name(name)
    password = None if no_password else _password(name, password_file)
    _done(config, do, f"{name.casefold()} was added as {role.value}")


@console_app.command("change-user", epilog="Example:  connect console change-user ann --role approver")
def change_user(
    name: NameArgument,
    role: RoleOption,
    connection: ConnectionsOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Give a user another role, and these connections (all when none is named)."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.change(tools, users, name, role=role.value, connections=connection or (), by=system_user())

    begin(as_json, level=LogLevel.warning)
    _done(config, do, f"{name} is {role.value} now")


@console_app.command("set-password", epilog="Example:  connect console set-password ann")
def set_password(
    name: NameArgument, password_file: PasswordFileOption = None, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False
) -> None:
    """Give a user another password: ends all sessions, and a lock-out. Tokens stay."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.set_password(tools, users, name, password, by=system_user())

    begin(as_json, level=LogLevel.warning)
    password = _password(name, password_file)
    _done(config, do, f"{name} has another password")


@console_app.command("remove-user", epilog="Example:  connect console remove-user ann")
def remove_user(name: NameArgument, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Remove a user with all sessions and tokens; what was done stays in the audit trail."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.remove(tools, users, name, by=system_user())

    begin(as_json, level=LogLevel.warning)
    _done(config, do, f"{name} was removed")


@console_app.command("list-users", epilog="Example:  connect console list-users --json")
def list_users(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Everybody, with role and connections."""

    async def ask(tools: Tools, users: Users) -> BaseModel:
        from workers.console.users import UsersAnswer, shown

        return UsersAnswer(users=[shown(tools.config, user) for user in await users.all()])

    begin(as_json, level=LogLevel.warning)
    found = _asked(config, ask)

    def human() -> None:
        from workers.screen import table

        rows = [(one["name"], one["role"], ", ".join(one["connections"]) or "all", one["created_at"][:19]) for one in found["users"]]
        table(("name", "role", "connections", "since"), rows)
        if not rows:
            screen.say("no user exists yet")

    screen.result(found, human)


@console_app.command("audit", epilog="Example:  connect console audit\n\nExit code 1 when an entry was changed or is missing.")
def audit(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Who did what to users and tokens, and whether that trail is whole."""

    async def ask(tools: Tools, _users: Users) -> BaseModel:
        from workers.console.users import done_to_users

        return await done_to_users(tools)

    begin(as_json, level=LogLevel.warning)
    found = _asked(config, ask)

    def human() -> None:
        for one in found["entries"]:
            facts = ", ".join(f"{name} {value}" for name, value in one["facts"].items() if value)
            typer.echo(f"{one['n']:>6}  {one['at'][:19]}  {one['by']}  {one['what']}  {one['about']}  {facts}")
        for flaw in found["flaws"]:
            screen.say(f"the trail was tampered with, or Redis has lost a part of it: {flaw}")

    screen.result(found, human)
    raise typer.Exit(1 if found["flaws"] else 0)


# -- tokens ------------------------------------------------------------------------------------------------------------


@token_app.command("create", epilog="Example:  connect console token create --user ann --label 'nightly script' --days 90")
def token_create(
    user: Annotated[str, typer.Option("--user", help="Whose token it is: it may do what this user may.")],
    label: Annotated[str, typer.Option("--label", help="What it is for.")],
    days: Annotated[int | None, typer.Option("--days", min=1, help="How long it lasts; left out: until it is revoked.")] = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Make a token. It is shown this once."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.create_token(tools, users, user, label, days=days, by=system_user())

    begin(as_json, level=LogLevel.warning)
    found = _asked(config, do)

    def human() -> None:
        typer.echo(found["text"])
        screen.say("shown this once; CONNECT_TOKEN=… for the command line, Authorization: Bearer … for the API")

    screen.result(found, human)


@token_app.command("list", epilog="Example:  connect console token list")
def token_list(
    user: Annotated[str | None, typer.Option("--user", help="This user's alone.")] = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """All tokens: whose, for what, used when."""

    async def ask(_tools: Tools, users: Users) -> BaseModel:
        from workers.console.users import TokensAnswer, shown_token

        return TokensAnswer(tokens=[shown_token(token) for token in await users.tokens(user)])

    begin(as_json, level=LogLevel.warning)
    found = _asked(config, ask)

    def human() -> None:
        from workers.screen import table

        columns = ("id", "user", "label", "created_at", "expires_at", "used_at")
        table(columns, [[one[name][:19] if name.endswith("_at") else one[name] for name in columns] for one in found["tokens"]])

    screen.result(found, human)


@token_app.command("revoke", epilog="Example:  connect console token revoke 1f2e3d4c5b6a")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `token list` shows.")],
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """End a token."""

    async def do(tools: Tools, users: Users) -> BaseModel:
        from workers.console import users as acts

        return await acts.revoke(tools, users, token_id, by=system_user())

    begin(as_json, level=LogLevel.warning)
    _done(config, do, f"the token {token_id} was revoked")


# -- how ---------------------------------------------------------------------------------------------------------------


def _asked(config: Path, ask: Callable[[Tools, Users], Awaitable[BaseModel]]) -> dict[str, Any]:
    loaded = load(config)

    async def do() -> dict[str, Any]:
        from connect.state.users import Users

        async with tools_of_config(loaded) as tools:
            return (await ask(tools, Users(tools.redis))).model_dump(mode="json")

    return waited(do())


def _done(config: Path, act: Callable[[Tools, Users], Awaitable[BaseModel]], words: str) -> None:
    found = _asked(config, act)
    screen.result(found, lambda: screen.say(words))


def _check_name(name: str) -> None:
    from connect.state.users import checked_name

    checked_name(name)


def _password(name: str, file: Path | None) -> str:
    """From a file, the environment, or asked twice on a terminal. Never from an argument: other users of the machine see those."""
    if file is not None:
        try:
            text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--password-file {file}: cannot be read: {error}", code="password") from None
        return text.partition("\n")[0].rstrip("\r")
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if not sys.stdin.isatty():
        raise ConfigError(f"no password: give --password-file FILE (- for stdin) or {PASSWORD_VARIABLE}", code="password")
    found: str = typer.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    return found
