"""Where each effective value comes from: a line of the file, a row of Prime's CustomSettings, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from connect.config.load import Loc, key_lines, line_of, place_of, tables_of
from connect.config.models import Config

DEFAULT = "default"


class Value(NamedTuple):
    """An effective value. `scope`: "redis", a connection's name, or that with a company; a secret is its reference."""

    scope: str
    key: str
    value: Any
    source: str


def effective(config: Config, text: str, places: Mapping[Loc, str] | None = None) -> list[Value]:
    """Every value of a configuration that was read from `text`; `places`: path -> where it came from other than the file."""
    return list(_Origins(config, text, places or {}).values())


class _Origins:
    def __init__(self, config: Config, text: str, places: Mapping[Loc, str]) -> None:
        assert config.path is not None
        self._config, self._path, self._places = config, config.path, places
        self._raw, self._lines = tables_of(text, config.path), key_lines(text)
        self._shown = config.model_dump(mode="json", by_alias=True)

    def values(self) -> Iterator[Value]:
        for name, value in self._shown.items():
            if isinstance(value, dict):
                for key, one in value.items():
                    yield self._value(name, key, one, (name, key))
        for index, channel in enumerate(self._shown["notifications"]):
            for key, one in channel.items():
                yield self._value(f"notification {channel['name']}", key, one, ("notifications", index, key))
        for number, (connection, shown) in enumerate(zip(self._config.connections, self._shown["connections"], strict=True)):
            here: Loc = ("connections", number)
            for key, one in shown.items():
                if key not in ("lookups", "companies", "jobs"):
                    yield self._value(connection.name, key, one, (*here, key))
            for lookup, table in shown["lookups"].items():
                for key, one in table.items():
                    yield self._value(connection.name, f"{lookup}.{key}", one, self._legacy((*here, "lookups", lookup, key)))
            for index, section in enumerate(connection.company_lookups):
                below: Loc = (*here, "companies", index, "lookups")
                yield from self._company(f"{connection.name}, company {section.company}", section.company, number, below)
            for index, job in enumerate(shown["jobs"]):
                for key, one in job.items():
                    if key not in ("job", "company"):
                        name = f"jobs.{job['job']}.{key}"
                        yield self._value(f"{connection.name}, company {job['company']}", name, one, (*here, "jobs", index, key))

    def _company(self, scope: str, company: str, number: int, below: Loc) -> Iterator[Value]:
        """What holds for a company that has lookups of its own: settings key by key, Objects as a whole."""
        connection = self._config.connections[number]
        everybody: Loc = ("connections", number, "lookups")
        for key, one in connection.settings(company).model_dump(mode="json", by_alias=True).items():
            own = (*below, "GeneralSettings", key)
            yield self._value(scope, f"GeneralSettings.{key}", one, own if self._is_there(own) else (*everybody, "GeneralSettings", key))
        for dimension, object_type in connection.objects(company).items():
            own = (*below, "Objects")
            loc = (*(own if self._is_there(own) else (*everybody, "Objects")), dimension)
            yield self._value(scope, f"Objects.{dimension}", object_type, loc)

    def _value(self, scope: str, key: str, value: Any, loc: Loc) -> Value:
        if not self._is_there(loc):
            return Value(scope, key, value, DEFAULT)
        given = self._at(loc)
        if isinstance(given, str) and given.startswith(("env:", "file:")):
            value = given
        return Value(scope, key, value, place_of(loc, self._places) or f"{self._path}:{line_of(loc, self._lines)}")

    def _legacy(self, loc: Loc) -> Loc:
        other = (*loc[:-1], "SageApiUserName")
        return other if loc[-1] == "SageUserName" and not self._is_there(loc) and self._is_there(other) else loc

    def _is_there(self, loc: Loc) -> bool:
        return self._at(loc) is not None

    def _at(self, loc: Loc) -> Any:
        node: Any = self._raw
        for part in loc:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return None
        return node
