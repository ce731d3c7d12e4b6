"""Reads `connect.toml`: secrets resolved, everything checked, every problem of the file reported at once, each with its line."""

from __future__ import annotations

import inspect
import json
import os
import re
import tomllib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, SecretStr, ValidationError

from connect.config.models import Config, Connection, Endpoint, Notification, ProblemsError
from connect.config.names import DOCUMENT_JOBS, JOBS, nearest
from connect.config.poller import Poller, is_poller, read_poller
from connect.config.rows import repaired
from connect.config.stages import ADDRESSES, KEYS, misplaced, shared
from connect.errors import ConfigError

Loc = tuple[str | int, ...]
_SECRET_KEYS: Final = frozenset({"password", "rest_client_secret", "sentinel_password", "SageClientSecret", "webhook_url", "smtp_password"})
_REDIS_KEYS: Final = ("url", "username", "sentinel_username")  # of [redis]: in clear, or as env:NAME or file:PATH
_REST_KEYS: Final = (
    "rest_url", "rest_identity_url", "rest_tenant", "rest_client_id", "rest_client_secret", "rest_user", "rest_role",
)  # fmt: skip


class ConfigProblems(ConfigError):
    """The file has problems; `problems` has one line each, in the order of the file, `owners` who mends it.

    `operator`: those that lie in the environment in which Connect runs, and not in the file.
    """

    def __init__(self, problems: Sequence[str], operator: Collection[str] = ()) -> None:
        super().__init__("\n".join(problems), code="config")
        self.problems = tuple(problems)
        self.owners = tuple("operator" if one in operator else "consultant" for one in problems)


class _Problem(NamedTuple):
    loc: Loc
    value: Any  # _NOTHING: no value is shown
    message: str


_NOTHING: Final = object()
_BY_OPERATOR: Final = "where Connect runs"


def load_config(path: Path | str = "connect.toml", *, environ: Mapping[str, str] | None = None, jobs: Iterable[str] = ()) -> Config:
    """Read and check a configuration file. `jobs`: names of jobs beside the guide's, such as those of further registers.

    Raises:
        ConfigError: (ConfigProblems) the file cannot be read or is wrong; `message` has a line per problem.
    """
    path, environ = Path(path), os.environ if environ is None else environ
    poller = _poller(path)
    if poller is None:
        return parse_config(read_text(path), path=path, environ=environ, jobs=jobs)
    source = source_of(path)
    if _poller(source) is not None:
        raise ConfigProblems([f'{path}: config = "{poller.config}": is a poller file too; expected the file with [[connections]]'])
    return _served(parse_config(read_text(source), path=source, environ=environ, jobs=jobs), poller, path)


def _poller(path: Path) -> Poller | None:
    """The poller file at a path; None when it is a configuration. Raises ConfigProblems."""
    text = read_text(path)
    if path.suffix == ".json":
        try:
            tables = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigProblems([f"{path}:{error.lineno}: is not valid JSON: {error.msg}; correct that line"]) from None
        if not isinstance(tables, dict):
            raise ConfigProblems([f"{path}:1: is no poller file: expected a JSON object with pollers"])
        lines: dict[Loc, int] = {}
    else:
        tables, lines = tables_of(text, path), key_lines(text)
        if not is_poller(tables):
            return None
    poller, found = read_poller(tables)
    if found:
        problems = [_Problem(loc, _NOTHING if value is None else value, message) for loc, value, message in found]
        raise ConfigProblems(_texts(problems, path, lines, tables, {}))
    return poller


def source_of(path: Path) -> Path:
    """The file with [[connections]]: this one, or that which a poller file names. Raises ConfigProblems."""
    poller = _poller(path)
    return path if poller is None else path.parent / Path(poller.config).expanduser()


def _served(config: Config, poller: Poller, path: Path) -> Config:
    """What a poller file leaves of a configuration. Raises ConfigProblems when it names a connection that is not there."""
    names = [one.name for one in config.connections]
    wrong = [name for name in poller.intervals if name not in names]
    if wrong:
        raise ConfigProblems(
            [f'{path}: connection = "{name}": is no connection{nearest(name, names)} (there are: {", ".join(names)})' for name in wrong]
        )
    served = []
    for one in config.connections:
        every = poller.intervals.get(one.name)
        jobs = [job.model_copy(update={"every": every}) if every and not job.is_scheduled else job for job in one.jobs]
        if every is not None:
            served.append(one.model_copy(update={"jobs": jobs}))
    warnings = tuple(
        line for line in config.warnings if not any(every and "has no cron and no every" in line for every in poller.intervals.values())
    )
    return config.model_copy(update={"connections": served, "path": path, "warnings": warnings, "log_level": poller.log_level or None})


def read_text(path: Path) -> str:
    """The text of a configuration file. Raises ConfigProblems when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
    except FileNotFoundError:
        raise ConfigProblems(
            [f"{path}: there is no such file; give another with --config or CONNECT_CONFIG, or try `connect demo`"]
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigProblems([f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"]) from None
    except OSError as error:
        raise ConfigProblems([f"{path}: cannot be read: {error.strerror}; give another with --config or CONNECT_CONFIG"]) from None


def tables_of(text: str, path: Path) -> dict[str, Any]:
    """The tables of a file as they stand there: secrets are references. Raises ConfigProblems when it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"line (\d+)", str(error))
        raise ConfigProblems([f"{path}{':' + match[1] if match else ''}: is not valid TOML: {error}; correct that line"]) from None


def parse_config(
    text: str, *, path: Path, environ: Mapping[str, str], jobs: Iterable[str] = (), places: Mapping[Loc, str] | None = None
) -> Config:
    """As `load_config`, of a text. `path` names it in messages and is where relative paths start.

    `places`: where what did not come from the file did come from, by its path; messages name that in place of file and line.
    """
    raw = tables_of(text, path)
    lines = key_lines(text)
    places = places or {}
    problems: list[_Problem] = []
    notes: list[_Problem] = []
    _resolve_secrets(raw, path.parent, environ, problems)
    _take_legacy(raw, notes)
    context = {"jobs": tuple(dict.fromkeys((*JOBS, *jobs)))}
    config: Config | None = None
    already = {problem.loc for problem in problems}
    try:
        config = Config.model_validate(raw, context=context)
    except ValidationError as error:
        problems.extend(problem for problem in _problems_of(error) if problem.loc not in already)
    connections = config.connections if config else _valid_connections(raw, context)
    problems.extend(_across(connections))
    if config is not None:
        problems.extend(_across_notifications(config))
    if not raw.get("connections"):
        problems.append(_Problem(("connections",), _NOTHING, "is missing; expected at least one [[connections]]"))
    if problems or config is None:
        operators = [problem for problem in problems if problem.message.endswith(_BY_OPERATOR)]
        raise ConfigProblems(_texts(problems, path, lines, raw, places), _texts(operators, path, lines, raw, places))
    for number, connection in enumerate(config.connections):
        notes.extend(_doubts(number, connection))
    notes.extend(_shared(config.connections))
    files = {name: getattr(config.redis, name) for name in ("data_dir", "tls_ca_file", "tls_cert_file", "tls_key_file")}
    files = {name: path.parent / file.expanduser() for name, file in files.items() if file is not None}
    return config.model_copy(
        update={
            "path": path,
            "redis": config.redis.model_copy(update=files),
            "notifications": [_with_file(one, path.parent) for one in config.notifications],
            "warnings": tuple(_texts(notes, path, lines, raw, places)),
        }
    )


def _with_file(channel: Notification, folder: Path) -> Notification:
    file = channel.smtp_ca_file
    return channel if file is None else channel.model_copy(update={"smtp_ca_file": folder / file.expanduser()})


def key_lines(text: str) -> dict[Loc, int]:
    """Where each key and table of a TOML text stands: path -> line, from 1. Keys inside inline tables are not listed."""
    lines: dict[Loc, int] = {}
    counts: dict[Loc, int] = {}
    table: Loc = ()
    closing = ""  # the quotes that end a text over several lines
    depth = 0  # open brackets of a value over several lines
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:
            if closing in line:
                closing = ""
            continue
        stripped = line.strip()
        if depth == 0 and (header := re.fullmatch(r"(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?", stripped)):
            table = _rooted(_key_parts(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines[table] = number
        elif depth == 0 and (assignment := re.match(r"""((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=(.*)""", stripped)):
            lines[(*table, *_key_parts(assignment[1]))] = number
            stripped = assignment[2]
        for quotes in ('"""', "'''"):
            if stripped.count(quotes) % 2:
                closing = quotes
        bare = re.sub(r""""(?:\\.|[^"\\])*"|'[^']*'|#.*""", "", stripped)
        if lines.get(table) != number:  # a header's own brackets are not a value's
            depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))
    return lines


def _key_parts(text: str) -> Loc:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""\s*("[^"]*"|'[^']*'|[^.]+)""", text))


def _rooted(parts: Loc, counts: Mapping[Loc, int]) -> Loc:
    """The path of a header, with the index of the array element it belongs to after each array's name."""
    rooted: Loc = ()
    for position, part in enumerate(parts):
        rooted = (*rooted, part)
        if position < len(parts) - 1 and rooted in counts:
            rooted = (*rooted, counts[rooted])
    return rooted


def _secrets(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Loc, str]]:
    """Where a secret, or a reference in place of what may be one, stands: (table, path, value)."""

    def walk(node: Any, loc: Loc) -> Iterator[tuple[dict[str, Any], Loc, str]]:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            here = (*loc, key)
            is_either = here[0] == "redis" and key in _REDIS_KEYS
            if isinstance(value, str) and (key in _SECRET_KEYS or (is_either and _is_reference(value))):
                yield node, here, value
            else:
                yield from walk(value, here)

    yield from walk(raw, ())


def references_of(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the secrets of a file's tables are kept: (key, env:NAME or file:PATH)."""
    return [(str(loc[-1]), value) for _, loc, value in _secrets(raw) if _is_reference(value)]


def _is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))


def _resolve_secrets(raw: dict[str, Any], folder: Path, environ: Mapping[str, str], problems: list[_Problem]) -> None:
    """Replace `env:NAME` and `file:PATH` by what they point at, where a secret belongs. A secret in clear is refused."""
    for table, loc, value in _secrets(raw):
        key = str(loc[-1])
        resolved, message = _resolve(value, folder, environ)
        if message:
            problems.append(_Problem(loc, value if _is_reference(value) else _NOTHING, message))
            resolved = "redis://unresolved" if key == "url" else "unresolved"
        table[key] = resolved if loc[0] == "redis" and key in _REDIS_KEYS else SecretStr(resolved)


def load_endpoints(path: Path, *, environ: Mapping[str, str]) -> tuple[dict[str, Any], list[Endpoint]]:
    """The tables of a file as they stand there, and how Prime's web service is reached for each connection.

    Lookups and jobs may be wrong or missing: they are to be pulled. Raises ConfigProblems.
    """
    path = source_of(path)
    text = read_text(path)
    raw, lines = tables_of(text, path), key_lines(text)
    read = tables_of(text, path)
    problems: list[_Problem] = []
    _resolve_secrets(read, path.parent, environ, problems)
    problems = [problem for problem in problems if problem.loc[0] == "connections" and problem.loc[2:] == ("password",)]
    wrong = {problem.loc for problem in problems}
    found: list[Endpoint] = []
    items = read.get("connections")
    for number, item in enumerate(items if isinstance(items, list) else []):
        try:
            found.append(Endpoint.model_validate(item))
        except ValidationError as error:
            here: Loc = ("connections", number)
            own = [problem._replace(loc=(*here, *problem.loc)) for problem in _problems_of(error, here)]
            problems += [problem for problem in own if problem.loc not in wrong]
    if not items:
        problems.append(_Problem(("connections",), _NOTHING, "is missing; expected at least one [[connections]]"))
    if problems:
        raise ConfigProblems(_texts(problems, path, lines, raw, {}))
    return raw, found


class Secret(NamedTuple):
    """A secret of the file. `reference`: env:NAME or file:PATH, "" when it stands there in clear; `problem`: "" when it is there."""

    key: str
    line: int
    reference: str
    problem: str


def list_secrets(path: Path, *, environ: Mapping[str, str]) -> list[Secret]:
    """Every secret that a configuration file refers to, and what is wrong with it. Raises ConfigProblems when it is no TOML."""
    path = source_of(path)
    text = read_text(path)
    raw, lines = tables_of(text, path), key_lines(text)
    found = [(loc, value, _resolve(value, path.parent, environ)[1]) for _, loc, value in _secrets(raw)]
    return [
        Secret(_key(_Problem(loc, _NOTHING, ""), raw), line_of(loc, lines), value if _is_reference(value) else "", problem)
        for loc, value, problem in found
    ]


def files_of(path: Path) -> list[Path]:
    """Every file that a configuration is read from, there or not: itself, what a poller file names, secrets. Raises ConfigProblems."""
    source = source_of(path)
    return list(dict.fromkeys((path, source, *_secret_files(source))))


def _secret_files(path: Path) -> list[Path]:
    found = (value.partition(":") for _, _, value in _secrets(tables_of(read_text(path), path)))
    return [path.parent / Path(name).expanduser() for kind, _, name in found if kind == "file" and name]


def _resolve(reference: str, folder: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """(secret, "") or ("", what is wrong)."""
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        if environ.get(name):
            return environ[name], ""
        near = "" if name in environ else nearest(name, environ)
        is_ = "is empty" if name in environ else f"is not set{near}"
        return "", f"the environment variable {name} {is_}{' Else' if near else ';'} set it {_BY_OPERATOR}"
    if kind == "file" and name:
        file = folder / Path(name).expanduser()
        try:
            secret = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            return "", f"the file {file} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'}); write it {_BY_OPERATOR}"
        return (secret, "") if secret else ("", f"the file {file} is empty; write it {_BY_OPERATOR}")
    return "", "a secret does not stand in the file; write env:NAME (an environment variable) or file:PATH"


def _take_legacy(raw: dict[str, Any], notes: list[_Problem]) -> None:
    """What the guide writes otherwise: SageApiUserName (F19), and mappings whose JSON lacks brackets (F18)."""
    connections = raw.get("connections")
    for number in range(len(connections) if isinstance(connections, list) else 0):
        loc: Loc = ("connections", number)
        here: Loc = (*loc, "lookups", "Credentials")
        credentials = _at(raw, here)
        if isinstance(credentials, dict) and "SageApiUserName" in credentials and "SageUserName" not in credentials:
            credentials["SageUserName"] = credentials.pop("SageApiUserName")
            notes.append(_Problem((*here, "SageApiUserName"), credentials["SageUserName"], "is read as SageUserName; use that name"))
        companies = _at(raw, (*loc, "companies"))
        for part in ((), *(("companies", index) for index in range(len(companies) if isinstance(companies, list) else 0))):
            here = (*loc, *part, "lookups", "GeneralSettings")
            settings = _at(raw, here)
            for name in ("PaymentMethodMapping", "BankAccountMapping") if isinstance(settings, dict) else ():
                _repair(settings, (*here, name), notes)


def _repair(settings: dict[str, Any], loc: Loc, notes: list[_Problem]) -> None:
    """A mapping that is JSON text with a known flaw is read; one that is no JSON at all is left to the check."""
    name = str(loc[-1])
    if isinstance(settings.get(name), str):
        with suppress(ValueError):
            value, note = repaired(settings[name])
            if note:
                settings[name] = value
                notes.append(_Problem(loc, _NOTHING, note))


def _at(node: Any, loc: Loc) -> Any:
    """What stands at a path of the raw file; None when nothing does."""
    for part in loc:
        fits = isinstance(node, dict) if isinstance(part, str) else isinstance(node, list) and part < len(node)
        node = (node.get(part) if isinstance(part, str) else node[part]) if fits else None
    return node


def _problems_of(error: ValidationError, below: Loc = ()) -> list[_Problem]:
    """`below`: where what was checked stands in the file."""
    found: list[_Problem] = []
    for item in error.errors(include_url=False, include_context=True):
        loc: Loc = tuple(item["loc"])
        kind, value = item["type"], item["input"]
        model, field = _field((*below, *loc))
        expected = f"expected {field.description}" if field is not None and field.description else ""
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ProblemsError):
            for suffix, message in cause.problems:
                shown = value.get(suffix[0], _NOTHING) if len(suffix) == 1 and isinstance(value, Mapping) else _NOTHING
                found.append(_Problem((*loc, *suffix), shown, message))
        elif kind == "missing":
            found.append(_Problem(loc, _NOTHING, f"is missing; {expected}"))
        elif kind == "extra_forbidden":
            known = _keys(model)
            found.append(_Problem(loc, value, f"is an unknown key{nearest(str(loc[-1]), known)} (keys here: {', '.join(known)})"))
        elif kind == "literal_error":
            choices = [str(choice) for choice in typing.get_args(field.annotation)] if field is not None else []
            listed = ", ".join(f'"{choice}"' for choice in choices)
            found.append(_Problem(loc, value, f"{expected}: one of {listed}{nearest(str(value), choices)}"))
        elif kind == "value_error":
            shown = _NOTHING if value is None else value
            found.append(_Problem(loc, shown, str(cause)))
        else:
            found.append(_Problem(loc, value, f"{expected}; {item['msg'][0].lower()}{item['msg'][1:]}" if expected else item["msg"]))
    return found


def _field(loc: Loc) -> tuple[type[BaseModel] | None, Any]:
    """The model in which the last key of a path stands, and that key's field (None when it has none)."""
    model: type[BaseModel] | None = Config
    field: Any = None
    for part in loc:
        if isinstance(part, int):
            continue
        owner = model
        field = next((info for name, info in (owner.model_fields if owner else {}).items() if part in (name, info.alias)), None)
        if field is None:
            return owner, None
        model = _model_in(field.annotation)
    owner_loc = [part for part in loc if isinstance(part, str)][:-1]
    owner = Config
    for part in owner_loc:
        inner = next(info for name, info in owner.model_fields.items() if part in (name, info.alias))
        owner = _model_in(inner.annotation) or owner
    return owner, field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model a type holds: `X`, `X | None`, `list[X]`, `tuple[X, ...]`."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in typing.get_args(annotation) if (model := _model_in(inner))), None)


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [info.alias or name for name, info in (model.model_fields if model else {}).items() if not info.exclude]


def _valid_connections(raw: Mapping[str, Any], context: dict[str, Any]) -> list[Connection | None]:
    """The connections that are right by themselves, at their places: what is wrong between them is said together with the rest."""
    found: list[Connection | None] = []
    for item in raw.get("connections", []) if isinstance(raw.get("connections"), list) else []:
        try:
            found.append(Connection.model_validate(item, context=context))
        except ValidationError:
            found.append(None)
    return found


def _across(connections: Sequence[Connection | None]) -> list[_Problem]:
    """What is wrong between connections that are right by themselves, and between the parts of one."""
    problems: list[_Problem] = []
    names: set[str] = set()
    by_sid: dict[str, str] = {}
    slots: dict[str, Connection] = {}
    for number, connection in enumerate(connections):
        if connection is None:
            continue
        loc: Loc = ("connections", number)
        if connection.name in names:
            problems.append(_Problem((*loc, "name"), connection.name, "another connection has this name; each needs its own"))
        if connection.sid in by_sid:
            message = f"has the environment and the Sage company of {by_sid[connection.sid]!r}; put the jobs of both into one connection"
            problems.append(_Problem((*loc, "environment"), connection.environment, message))
        same = slots.setdefault(connection.sage_company, connection)
        if same.sage_slots != connection.sage_slots:
            message = (
                f"connection {same.name!r} says {same.sage_slots} for the same Sage company {connection.sage_company!r}; both must agree"
            )
            problems.append(_Problem((*loc, "sage_slots"), connection.sage_slots, message))
        if connection.document_lock_s <= connection.sage_write_timeout_s:
            message = f"must be longer than sage_write_timeout_s = {connection.sage_write_timeout_s:g}: a write must end before its lock"
            problems.append(_Problem((*loc, "document_lock_s"), connection.document_lock_s, message))
        for index, job in enumerate(connection.jobs):
            if job.active and job.job in DOCUMENT_JOBS and connection.settings(job.company).start_on is None:
                message = "needs StartOn, a date such as 2026-01-01, in GeneralSettings: no document before it is touched"
                problems.append(_Problem((*loc, "jobs", index, "job"), job.job, message))
            missing = [name for name in _REST_KEYS if getattr(connection, name) is None]
            if job.active and job.job == "ExportPayments" and missing:
                message = f"needs {', '.join(missing)}: Rillion Pay is read over Prime's REST API, whatever register_transport says"
                problems.append(_Problem((*loc, "jobs", index, "job"), job.job, message))
        companies = connection.companies
        for index, section in enumerate(connection.company_lookups):
            if section.company in [one.company for one in connection.company_lookups[:index]]:
                message = "has lookups above already; put all of them into one [[connections.companies]]"
                problems.append(_Problem((*loc, "companies", index, "company"), section.company, message))
            if section.company not in companies:
                message = (
                    f"no job is for this company{nearest(section.company, companies)} (jobs are for: {', '.join(companies) or 'none'})"
                )
                problems.append(_Problem((*loc, "companies", index, "company"), section.company, message))
        names.add(connection.name)
        by_sid.setdefault(connection.sid, connection.name)
    return problems


def _across_notifications(config: Config) -> list[_Problem]:
    """Channels have names of their own and name connections there are."""
    problems: list[_Problem] = []
    names: set[str] = set()
    known = [connection.name for connection in config.connections]
    for number, channel in enumerate(config.notifications):
        loc: Loc = ("notifications", number)
        if channel.name in names:
            problems.append(_Problem((*loc, "name"), channel.name, "another channel has this name; each needs its own"))
        names.add(channel.name)
        for place, name in enumerate(channel.connections):
            if name not in known:
                message = f"is no connection{nearest(name, known)} (there are: {', '.join(known) or 'none'})"
                problems.append(_Problem((*loc, "connections", place), name, message))
    return problems


def _values(connection: Connection) -> dict[str, Any]:
    """What tells test from production."""
    credentials = connection.lookups.credentials.model_dump(by_alias=True)
    return {key: getattr(connection, key) for key in ADDRESSES} | {key: credentials[key] for key in KEYS}


def _table_of(key: str) -> Loc:
    return ("lookups", "Credentials") if key in KEYS else ()


def _shared(connections: Sequence[Connection]) -> Iterator[_Problem]:
    """Tests that have something of production's."""
    values = {connection.name: _values(connection) for connection in connections}
    for number, connection in enumerate(connections):
        for key, words in shared(connection.name, values[connection.name], values):
            yield _Problem(("connections", number, *_table_of(key), key), _NOTHING, words)


def _doubts(number: int, connection: Connection) -> list[_Problem]:
    """What is allowed but looks wrong."""
    loc: Loc = ("connections", number)
    doubts: list[_Problem] = []
    if connection.url.lower().endswith(".aspx"):
        doubts.append(_Problem((*loc, "url"), connection.url, "ends in .aspx; Prime's web service ends in .asmx"))
    for key, words in misplaced(connection.name, _values(connection)):
        doubts.append(_Problem((*loc, *_table_of(key), key), _NOTHING, words))
    if not connection.jobs:
        doubts.append(_Problem((*loc, "jobs"), _NOTHING, "no [[connections.jobs]]: nothing will run"))
    for index, job in enumerate(connection.jobs):
        here = (*loc, "jobs", index)
        if job.active and job.job == "GetPeriods" and not connection.settings(job.company).periods_enabled:
            doubts.append(_Problem((*here, "job"), job.job, "does nothing until PeriodsEnabled = true stands in GeneralSettings"))
        elif job.active and not job.is_scheduled:
            doubts.append(_Problem((*here, "job"), job.job, "has no cron and no every: it runs once, and then when asked for"))
        if job.active and job.job == "ExportInvoices" and connection.settings(job.company).credit_notes == "Adjustment":
            words = "will hold credit notes: CreditNotes = Adjustment is not supported; set it to NegativeBill or refuse"
            doubts.append(_Problem((*here, "job"), job.job, words))
    return doubts


def _texts(
    problems: Sequence[_Problem], path: Path, lines: Mapping[Loc, int], raw: Mapping[str, Any], places: Mapping[Loc, str]
) -> list[str]:
    placed = sorted(((line_of(problem.loc, lines), problem) for problem in problems), key=lambda item: item[0])
    texts = (f"{place_of(problem.loc, places) or f'{path}:{line}'}: {_key(problem, raw)}: {problem.message}" for line, problem in placed)
    return list(dict.fromkeys(texts))


def place_of(loc: Loc, places: Mapping[Loc, str]) -> str:
    """Where a value came from other than the file; "" when it is the file's."""
    return next((places[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in places), "")


def line_of(loc: Loc, lines: Mapping[Loc, int]) -> int:
    """The line of a key, or of the nearest table around it."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in lines:
            return lines[loc[:end]]
    return 1


def _key(problem: _Problem, raw: Mapping[str, Any]) -> str:
    """`connections[0] (acme-TEST).lookups.Objects.DEPARTMENT = 9`."""
    words: list[str] = []
    for position, part in enumerate(problem.loc):
        words.append(f"[{part}]" if isinstance(part, int) else f".{part}" if words else part)
        if position == 1 and problem.loc[0] in ("connections", "notifications"):
            name = _at(raw, (*problem.loc[:2], "name"))
            words.append(f" ({name})" if isinstance(name, str) else "")
    hidden = problem.value is _NOTHING or isinstance(problem.value, SecretStr | dict | list) or problem.loc[-2:] == ("redis", "url")
    return "".join(words) + ("" if hidden else f" = {_toml(problem.value)}")


def _toml(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
