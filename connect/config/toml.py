"""Writes a configuration file: tables as `tomllib` reads them become text that it reads back the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump(tables: Mapping[str, Any]) -> str:
    """A TOML document. Raises TypeError for what TOML cannot hold, such as None."""
    return "\n".join(_table(tables, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of a table: its own values first, then the tables in it."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    lines = [f"{key_text(key)} = {value_text(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        here = (*path, key)
        name = ".".join(map(key_text, here))
        if isinstance(value, Mapping):
            own = _table(value, here)
            only_tables = value and all(isinstance(one, Mapping) or _is_tables(one) for one in value.values())
            lines += own if only_tables else ["", f"[{name}]", *own]
        else:
            for one in value:
                lines += ["", f"[[{name}]]", *_table(one, here)]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)


def key_text(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if _BARE.fullmatch(key) else value_text(key)


def value_text(value: Any) -> str:
    """A value in TOML's writing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key_text(key)} = {value_text(one)}' for key, one in value.items())} }}"
    raise TypeError(f"{type(value).__name__} has no place in a configuration file")
