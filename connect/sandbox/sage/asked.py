"""A query as read from its body; what Sage would refuse is refused here, all of it at once. Source: sage-rest.md c."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import orjson

from connect.sandbox.sage.errors import detail, invalid, not_a_field
from connect.sandbox.sage.filters import OPERATORS, Expression, Test, expression, passing
from connect.sandbox.sage.kept import Dependency, dependencies
from connect.sandbox.sage.paths import Access, resolve
from connect.sandbox.sage.schema import Spec
from connect.sandbox.sage.store import Store, Table

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 4000
PARTS: Final = frozenset({"object", "fields", "filters", "filterExpression", "filterParameters", "orderBy", "start", "size"})
PARAMETERS: Final = frozenset({"asOfDate", "caseSensitiveComparison", "includePrivate", "includeHierarchyFields"})
AGGREGATES: Final = frozenset({"sum", "avg", "min", "max", "count"})
NUMBERS: Final = frozenset({"money", "decimal", "number", "integer"})


@dataclass
class Filter:
    """One filter, ready to test a row's value."""

    access: Access
    operator: str
    value: Any
    passes: Test
    exact: bool  # upper and lower case differ
    name: str

    def span(self, keys: Sequence[int], *, as_text: bool) -> tuple[int, int] | None:
        """Where in the sorted keys the rows lie that pass; None when this is no range of keys."""
        if self.access.how != "key" or self.operator not in _SPANS or self.value is None:
            return None
        read: Callable[[Any], Any] = str if as_text else int
        low, high = _SPANS[self.operator]
        values = self.value if self.operator == "$between" else (self.value, self.value)
        by: Any = str if as_text else None
        start = 0 if low is None else low(keys, read(values[0]), key=by)
        return start, len(keys) if high is None else high(keys, read(values[1]), key=by)


_SPANS: Final[dict[str, tuple[Any, Any]]] = {
    "$eq": (bisect_left, bisect_right),
    "$gt": (bisect_right, None),
    "$gte": (bisect_left, None),
    "$lt": (None, bisect_left),
    "$lte": (None, bisect_right),
    "$between": (bisect_left, bisect_right),
}


@dataclass(frozen=True, slots=True)
class Order:
    """One field of orderBy."""

    name: str
    access: Access
    descending: bool


@dataclass
class Asked:
    """A query as read."""

    table: Table
    fields: tuple[str, ...]
    accesses: dict[str, Access]
    aggregates: dict[str, str]  # field as asked -> function
    filters: list[Filter] = field(default_factory=list)
    tree: Expression = ("and",)
    order: list[Order] = field(default_factory=list)
    start: int = 1
    size: int = DEFAULT_SIZE
    include_private: bool = False

    def name_of(self, tree: Expression) -> str:
        """The same for the same filters."""
        if tree[0] == "filter":
            return self.filters[tree[1]].name
        return f"{tree[0]}({','.join(self.name_of(part) for part in tree[1:])})"

    @property
    def order_name(self) -> str:
        return " ".join(f"{order.name} {order.descending}" for order in self.order)

    def dependencies(self, store: Store) -> Iterator[Dependency]:
        yield self.table, "version"
        used = (*self.accesses.values(), *(one.access for one in self.filters), *(one.access for one in self.order))
        for access in used:
            yield from dependencies(store, access)


class Reading:
    """Reads one body about `table`. `as_text`: keys compare as texts."""

    def __init__(self, table: Table, *, as_text: bool, today: date) -> None:
        self._asked = Asked(table, (), {}, {})
        self._as_text, self._today = as_text, today
        self._fold = False  # upper and lower case are the same
        self._wrong: list[dict[str, Any]] = []

    def read(self, body: dict[str, Any]) -> Asked:
        """Raises SageError with everything that is wrong. Null is as good as nothing."""
        given = {name: value for name, value in body.items() if value is not None}
        self._wrong += [not_a_field(f"/{part}") for part in body if part not in PARTS]
        self._fields(given.get("fields"))
        self._parameters(given.get("filterParameters", {}))
        self._filters(given.get("filters", []), given.get("filterExpression"))
        self._order(given.get("orderBy", []))
        self._asked.start = self._number("start", given.get("start", 1), None)
        self._asked.size = self._number("size", given.get("size", DEFAULT_SIZE), MAX_SIZE)
        if self._wrong:
            raise invalid(self._wrong)
        return self._asked

    def _no(self, message: str, target: str) -> None:
        self._wrong.append(detail(message, target=target))

    def _fields(self, fields: Any) -> None:
        if not isinstance(fields, list) or not fields or not all(isinstance(name, str) for name in fields):
            self._no("fields must be a list of field names", "/fields")
            return
        asked = self._asked
        asked.fields = tuple(dict.fromkeys(fields))
        for name in asked.fields:
            function, _, path = name.partition(":")
            is_aggregate = function in AGGREGATES and path != ""
            try:
                access = resolve(asked.table.spec, path if is_aggregate else name)
            except LookupError:
                self._wrong.append(not_a_field(f"/{name}"))
                continue
            if is_aggregate:
                asked.aggregates[name] = function
                if function in ("sum", "avg") and access.kind not in NUMBERS:
                    self._no(f"{function} needs a number, and {path} is none", f"/{name}")
            asked.accesses[name] = access

    def _parameters(self, given: Any) -> None:
        if not isinstance(given, dict):
            self._no("filterParameters must be an object", "/filterParameters")
            return
        for name, value in given.items():
            if name not in PARAMETERS:
                self._wrong.append(not_a_field(f"/filterParameters/{name}"))
            elif name == "asOfDate":
                try:
                    date.fromisoformat(str(value or self._today))
                except ValueError:
                    self._no(f"asOfDate: {value!r} is not a date", "/filterParameters/asOfDate")
            elif value is not None and not isinstance(value, bool):
                self._no(f"{name}: {value!r} is not a boolean", f"/filterParameters/{name}")
        self._asked.include_private = given.get("includePrivate") is True
        self._fold = given.get("caseSensitiveComparison") is False

    def _filters(self, filters: Any, text: Any) -> None:
        if not isinstance(filters, list):
            self._no("filters must be a list", "/filters")
            return
        read = [self._filter(one, f"/filters/{number}") for number, one in enumerate(filters)]
        self._asked.filters = [one for one in read if one is not None]
        if len(self._asked.filters) < len(filters) or not filters:
            return
        if text is not None and not isinstance(text, str):
            self._no("filterExpression must be a text", "/filterExpression")
            return
        try:
            self._asked.tree = expression(text, len(filters))
        except ValueError as error:
            self._no(str(error), "/filterExpression")

    def _filter(self, one: Any, where: str) -> Filter | None:
        operator, operand = next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else (None, None)
        if not isinstance(operand, dict) or len(operand) != 1:
            self._no('a filter looks like {"$eq": {"status": "active"}}', where)
            return None
        path, value = next(iter(operand.items()))
        if operator not in OPERATORS:
            self._no(f"{operator} is not a valid operator", where)
            return None
        access = _queryable(self._asked.table.spec, path)
        if access is None:
            self._wrong.append(not_a_field(f"/{path}"))
            return None
        try:
            passes = passing(operator, access.kind, value, as_text=self._as_text, fold=self._fold, today=self._today)
        except (ValueError, TypeError) as error:
            self._no(f"{path}: {error}", where)
            return None
        return Filter(access, operator, value, passes, exact=not self._fold, name=f"{orjson.dumps(one).decode()}{self._fold}")

    def _order(self, given: Any) -> None:
        if not isinstance(given, list):
            self._no("orderBy must be a list", "/orderBy")
            return
        for one in given:
            path, way = next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else (None, None)
            if not isinstance(path, str) or way not in ("asc", "desc"):
                self._no('an order looks like {"key": "asc"}', "/orderBy")
                continue
            access = self._asked.accesses.get(path) if self._asked.aggregates else _queryable(self._asked.table.spec, path)
            if access is not None:
                self._asked.order.append(Order(path, access, way == "desc"))
            elif self._asked.aggregates:
                self._no(f"{path} is not among the fields, so aggregates cannot be in its order", "/orderBy")
            else:
                self._wrong.append(not_a_field(f"/{path}"))

    def _number(self, name: str, value: Any, limit: int | None) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (limit is None or value <= limit):
            return value
        self._no(f"{name} must be a whole number from 1{f' to {limit}' if limit else ''}", f"/{name}")
        return 1


def _queryable(spec: Spec, path: str) -> Access | None:
    """A field that can be filtered and sorted."""
    try:
        access = resolve(spec, path)
    except LookupError:
        return None
    return None if access.how == "href" or (access.how == "part" and access.part == "href") else access
