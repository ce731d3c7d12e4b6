"""What all commands share: options, the screen, logs, and how a command gets at configuration and Redis."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from connect.errors import Auth, ConfigError
from workers.screen import Screen

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config import Config
    from connect.state.users import Role
    from workers.jobs import Tools

T = TypeVar("T")
INTERRUPTED: Final = 130
screen = Screen()


class LogFormat(StrEnum):
    auto = "auto"
    json = "json"
    console = "console"


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="CONNECT_CONFIG", metavar="FILE", help="The configuration file.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option("--log-format", envvar="CONNECT_LOG_FORMAT", help="How log lines look; auto: console on a terminal, else JSON."),
]
LogLevelOption = Annotated[
    LogLevel | None, typer.Option("--log-level", envvar="CONNECT_LOG_LEVEL", help="The least important lines shown.")
]
CONFIG_FILE: Final = Path("connect.toml")
TOKEN_VARIABLE: Final = "CONNECT_TOKEN"  # noqa: S105 - the name of a variable


class _Said:
    """What the command line or the environment says of logging; the file comes after it."""

    level: str | None = None


_said = _Said()


def waited(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        screen.say("connect: interrupted; what had begun goes on with the next run")
        raise typer.Exit(INTERRUPTED) from None


def load(path: Path) -> Config:
    from connect.config import load_config
    from connect.registers import REGISTERS

    loaded = load_config(path, jobs=REGISTERS)
    if loaded.log_level is not None and _said.level is None:
        from workers import logs

        logs.configure(None, loaded.log_level)
    return loaded


def begin(as_json: bool = False, log_format: LogFormat | None = None, level: LogLevel | None = None, *, quiet: bool = False) -> None:
    """What every command does first. `quiet`: a terminal shows progress, so only warnings are logged unless more was asked for."""
    from workers import logs

    screen.json = as_json
    chosen = level or (LogLevel.warning if quiet and sys.stderr.isatty() else None)
    _said.level = chosen or os.environ.get(logs.LEVEL_VARIABLE)
    logs.configure(log_format.value if log_format else None, chosen.value if chosen else None)


@asynccontextmanager
async def tools_of_config(config: Config) -> AsyncIterator[Tools]:
    from workers.settings import open_tools

    async with open_tools(config) as tools:
        yield tools


# -- who acts ----------------------------------------------------------------------------------------------------------


def system_user() -> str:
    """The name under which this process runs."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class Acting:
    """Who acts (for the audit trail), with the connections that they may act upon."""

    by: str
    config: Config
    tools: Tools


@asynccontextmanager
async def acting(config: Config, name: str | None, role: Role) -> AsyncIterator[Acting]:
    """Who does what is written down.

    Once there are users (`connect console add-user`), the token in CONNECT_TOKEN says who; `name` (--as) must be the same then, or be left
    out. Before that the name is taken as given. Raises Auth without a valid token or the role, ConfigError for a name that is another.
    """
    from dataclasses import replace

    from connect.state.users import Users

    if name is not None and not name.strip():
        raise ConfigError("--as: expected a name", code="user")
    async with tools_of_config(config) as tools:
        users = Users(tools.redis)
        if not await users.any():
            if name is not None:
                screen.say("no user exists yet (`connect console add-user`): the name given with --as is taken as it is")
            yield Acting(name.strip() if name is not None else system_user(), config, tools)
            return
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        user = await users.by_token(token) if token else None
        if user is None:
            wrong = "is not valid: it was revoked, has run out or never was one" if token else "is missing, and there are users"
            raise Auth(
                f"the token in {TOKEN_VARIABLE} {wrong}; `connect console token create --user NAME --label WHAT` gives one", code="token"
            )
        if name is not None and name.strip().casefold() != user.name:
            raise ConfigError(f"--as {name.strip()}: the token in {TOKEN_VARIABLE} is {user.name}'s; leave --as out", code="user")
        if not user.may(role):
            raise Auth(f"{user.name} has the role {user.role}, and this needs {role} (`connect console change-user`)", code="role")
        seen = config.model_copy(update={"connections": [one for one in config.connections if user.sees(one.sid)]})
        mine = {sid: one for sid, one in tools.connections.items() if user.sees(sid)}
        yield Acting(user.name, seen, replace(tools, config=seen, connections=mine))
