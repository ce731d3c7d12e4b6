"""`connect promote`: a test connection becomes production's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError
from workers.cli_init import shown, typed
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, screen

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.setup.promote import Promotion
    from connect.setup.questions import Question

_STAND_INS: Final = {"url": "redis://localhost", "webhook_url": "https://localhost"}
EXAMPLE: Final = (
    "Example:  connect promote acme-TEST acme-PROD --set environment=PROD --set url=https://acme.example.com/ws/webService.asmx\n\n"
    "What is neither in --answers nor in --set is asked in a terminal. The file keeps its text: the new connection is added at its end."
)


def promote(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The connection that is copied, such as acme-TEST.")],
    name: Annotated[str, typer.Argument(metavar="TO", help="The name of the new one, such as acme-PROD.")],
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help='Take values from this file (TOML): url = "…", StartOn = 2026-01-01.')
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value of the new connection, such as environment=PROD.")
    ] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Its jobs wait (active = false) until you switch them on.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Add it to the file without asking.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Copy a connection from test to production: all but what lets one in, which is asked for."""
    from connect.config.load import read_text, tables_of
    from connect.config.names import nearest
    from connect.config.toml import dump
    from connect.setup.promote import Promotion

    begin(as_json, level=LogLevel.error)
    text = read_text(config)
    connections = tables_of(text, config).get("connections", [])
    names = [one.get("name") for one in connections if isinstance(one, dict)]
    if source not in names:
        listed = ", ".join(map(str, names)) or "none"
        raise ConfigError(f"no connection {source!r}{nearest(source, map(str, names))} (there are: {listed})", code="unknown-connection")
    if name in names:
        raise ConfigError(f"{config} has a connection {name} already; take another name, or change it there", code="exists")
    _check(text, config)  # before anything is asked
    promotion = Promotion(connections[names.index(source)], name)
    _fill(promotion, answers, values or [])
    made = promotion.table(active=not inactive)
    added = dump({"connections": [made]})
    whole = f"{text.rstrip()}\n\n{added}"
    _check(whole, config)
    doubts = promotion.doubts()
    for doubt in doubts:
        screen.say(f"warning: {doubt}")
    if not force:
        if not sys.stdin.isatty():
            raise ConfigError(f"{config} is not changed without --force, or a terminal to ask in", code="exists")
        if not typer.confirm(f"Add {name} to {config}? Workers that run with it begin with its active jobs.", default=False, err=True):
            raise typer.Exit(1)
    before = config.with_name(config.name + ".before-promote")
    before.write_bytes(config.read_bytes())
    new = config.with_name(config.name + ".new")
    new.write_text(whole, encoding="utf-8")
    new.chmod(config.stat().st_mode & 0o777)
    new.replace(config)
    missing = [one for one in _variables(made) if not os.environ.get(one)]
    screen.say(f"{name} is added to {config}; what it was stands in {before}")
    if missing:
        screen.say(f"to be set where the workers start: {', '.join(missing)}")
    screen.say(f"next: connect doctor --connection {name}; connect plan --connection {name}")
    document = {"connection": name, "from": source, "file": str(config), "warnings": doubts, "missing_secrets": missing}
    screen.result(document, lambda: None)


def _check(text: str, path: Path) -> None:
    """As `config check`, with secrets that are not here taken to be there: they are set where the workers start. Raises ConfigProblems."""
    from connect.config.load import parse_config, references_of, tables_of
    from connect.registers import REGISTERS

    environ = dict(os.environ)
    for key, reference in references_of(tables_of(text, path)):
        kind, _, name = reference.partition(":")
        if kind == "env" and not environ.get(name):
            environ[name] = _STAND_INS.get(key, "…")
        elif kind == "file" and not (path.parent / Path(name).expanduser()).is_file():
            variable = f"CONNECT_STAND_IN_{key.upper()}"
            environ[variable] = _STAND_INS.get(key, "…")
            text = text.replace(reference, f"env:{variable}")  # on the same line, which messages name
    parse_config(text, path=path, environ=environ, jobs=REGISTERS)


def _fill(promotion: Promotion, path: Path | None, pairs: list[str]) -> None:
    """Production's values: of the file, then of the options, then asked. Raises ConfigError with all that is wrong or missing."""
    from connect.config.load import read_text, tables_of
    from connect.config.names import nearest

    questions = {question.key: question for question in promotion.questions()}
    given: dict[str, Any] = tables_of(read_text(path), path) if path is not None else {}
    for pair in pairs:
        key, sep, value = pair.partition("=")
        if not sep:
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, such as environment=PROD", code="usage")
        given[key.strip()] = value.strip()
    wrong = [
        f"{key}: is none of production's values{nearest(key, questions)} there are {', '.join(questions)}"
        for key in given.keys() - questions
    ]
    for key in given.keys() & questions:
        try:
            typed_ = isinstance(given[key], str)  # --set, or a file's text
            promotion.given[key] = questions[key].judged(questions[key].understood(given[key]) if typed_ else given[key])
        except ValueError as error:
            wrong.append(f"{key}: {error}")
    left = [question for question in promotion.questions() if question.key not in given]
    if sys.stdin.isatty():
        if wrong:
            raise ConfigError("; ".join(wrong), code="usage")
        for key in [question.key for question in left]:  # one answer may be another's default
            promotion.given[key] = _asked(next(question for question in promotion.questions() if question.key == key))
    else:
        wrong += [f"{question.key} is missing: {question.ask}" for question in left if question.default is None]
    if wrong:
        raise ConfigError("; ".join(wrong) + " (--set KEY=VALUE, --answers FILE, or a terminal)", code="usage")


def _asked(question: Question) -> Any:
    while True:
        text = typed(f"{question.ask}{f' [{shown(question.default)}]' if question.default is not None else ''} ")
        if not text and question.default is not None:
            return question.default
        try:
            return question.judged(question.understood(text))
        except ValueError as error:
            screen.say(f"  {error}")


def _variables(connection: dict[str, Any]) -> list[str]:
    """The variables that a connection's secrets are read from."""
    from connect.config.stages import values_of

    return [value.removeprefix("env:") for value in values_of(connection).values() if isinstance(value, str) and value.startswith("env:")]
