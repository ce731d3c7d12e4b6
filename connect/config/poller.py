"""The poller file: which connections of a configuration this Connect serves, one file per customer.

    {"config": "connect.toml", "pollers": [{"connection": "acme-PROD", "interval": "15m"}], "logLevel": "info"}

TOML or JSON; one connection alone may stand at the top. `interval` is the schedule of jobs that have none of their own. Source: the guide
names the file and that it is kept per customer where Connect runs; its form is ours (D29).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from connect.config.names import nearest

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_TOP: Final = ("config", "pollers", "connection", "interval", "log_level")
_ITEM: Final = ("connection", "interval", "log_level")
Loc = tuple[str | int, ...]
INTERVAL: Final = re.compile(r"[1-9]\d*\s*[mhd]")


class Poller(NamedTuple):
    """`intervals`: connection -> a time such as "15m", "" for none. `log_level`: the most detailed that is asked for, or ""."""

    config: str
    intervals: dict[str, str]
    log_level: str


def is_poller(tables: Mapping[str, Any]) -> bool:
    """Whether a file's tables are those of a poller file."""
    known = {_snake(key) for key in tables}
    return "connections" not in known and bool(known & {"pollers", "connection"})


def read_poller(tables: Mapping[str, Any]) -> tuple[Poller, list[tuple[Loc, Any, str]]]:
    """The file, and what is wrong with it: (path, value, what is expected)."""
    problems: list[tuple[Loc, Any, str]] = []
    top = _known(tables, (), _TOP, problems)
    given = top.get("pollers", [])
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        problems.append((("pollers",), given, "expected a list of tables, each with connection and perhaps interval"))
        given = []
    items: list[tuple[Loc, dict[str, Any]]] = [
        (("pollers", index), _known(one, ("pollers", index), _ITEM, problems)) for index, one in enumerate(given)
    ]
    if "connection" in top:
        items.append(((), {key: value for key, value in top.items() if key in _ITEM}))
    if not items:
        problems.append((("pollers",), None, "names no connection; expected at least one"))
    intervals: dict[str, str] = {}
    levels: list[tuple[Loc, Any]] = [((), top["log_level"])] if "log_level" in top else []
    for loc, item in items:
        name, interval = item.get("connection"), item.get("interval", "")
        if not isinstance(name, str) or not name.strip():
            problems.append(((*loc, "connection"), name, "expected the name of a connection of the configuration"))
            continue
        if name in intervals:
            problems.append(((*loc, "connection"), name, "is there twice; leave one of them out"))
        if interval and not (isinstance(interval, str) and INTERVAL.fullmatch(interval.strip())):
            problems.append(((*loc, "interval"), interval, 'expected a time such as "15m", "2h" or "1d"'))
        intervals[name] = str(interval)
        if loc and "log_level" in item:
            levels.append((loc, item["log_level"]))
    for loc, level in levels:
        if level not in LOG_LEVELS:
            problems.append(((*loc, "log_level"), level, f"expected one of {', '.join(LOG_LEVELS)}{nearest(str(level), LOG_LEVELS)}"))
    named = sorted((level for _, level in levels if level in LOG_LEVELS), key=LOG_LEVELS.index)
    config = top.get("config", "connect.toml")
    if not isinstance(config, str) or not config.strip():
        problems.append((("config",), config, 'expected the configuration file beside this one, such as "connect.toml"'))
    return Poller(str(config), intervals, named[0] if named else ""), problems


def _known(table: Mapping[str, Any], loc: Loc, keys: tuple[str, ...], problems: list[tuple[Loc, Any, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if _snake(key) in keys:
            found[_snake(key)] = value
        else:
            problems.append(((*loc, key), value, f"is an unknown key{nearest(key, keys)} (keys here: {', '.join(keys)})"))
    return found


def _snake(key: str) -> str:
    """logLevel, LogLevel and log_level are the same key."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
