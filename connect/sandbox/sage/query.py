"""The query service: POST /services/core/query. Source: sage-rest.md c; sage-openapi core-query.

asked.py    reads a query and refuses what Sage refuses
here        selects: ranges of keys by binary search, ids and owners by index, the rest row by row over kept columns
kept.py     makes rows into bytes, and keeps them

Nothing is computed twice while nothing changes: a page is kept under its request's bytes, a row under (object, fields), a column under
(object, field), each with the versions of the tables that it was made from (store.py says what moves which version).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from connect.sandbox.sage.asked import Asked, Filter, Reading
from connect.sandbox.sage.errors import SageError, detail, invalid, no_permission, not_a_field
from connect.sandbox.sage.filters import Expression, sortable
from connect.sandbox.sage.kept import Column, Plan, Stamp
from connect.sandbox.sage.paths import Access, ValueKind
from connect.sandbox.sage.store import MODIFIED, Row, Table, is_unique

if TYPE_CHECKING:
    from connect.sandbox.sage.simulator import SageSimulator

PAGE_CACHE_BYTES: Final = 1024**3
ROW_CACHE_BYTES: Final = 512 * 1024**2
KEPT_SELECTIONS: Final = 64
KEPT_PLANS: Final = 64
CURRENCIES: Final = frozenset(
    {f"company-config/{name}" for name in ("txn-currency", "exchange-rate", "exchange-rate-line", "exchange-rate-type")}
)
"""What a company of a single currency has none of."""
ONE_BY_ONE: Final = 2000  # rows that are tested without keeping the outcome for the whole object

Overlay = dict[int, tuple[bytes | None, int | None]]


@dataclass(slots=True)
class Page:
    """An answer that holds as long as the tables behind it stay as they are."""

    table: Table
    stamp: Stamp
    today: date
    body: bytes


@dataclass(slots=True)
class Selection:
    """The keys that pass some filters, over a whole object, in key order or in the order asked."""

    stamp: Stamp
    today: date
    keys: list[int]


class Queries:
    """Answers queries. `answer` is what routes and composite call."""

    def __init__(self, sim: SageSimulator) -> None:
        self._sim = sim
        self._pages: OrderedDict[tuple[bytes, int | None], Page] = OrderedDict()
        self._pages_bytes = 0
        self._plans: OrderedDict[tuple[str, tuple[str, ...]], Plan] = OrderedDict()
        self._columns: dict[tuple[str, str], Column] = {}
        self._selections: OrderedDict[tuple[Any, ...], Selection] = OrderedDict()

    def clear(self) -> None:
        """Forget everything kept."""
        self._pages.clear()
        for plan in self._plans.values():
            plan.close()
        for column in self._columns.values():
            column.close()
        self._plans.clear()
        self._columns.clear()
        self._selections.clear()
        self._pages_bytes = 0

    def answer(self, raw: bytes, scope: int | None) -> tuple[int, bytes]:
        """(status, body) for a request body. Raises SageError. Counts one transaction a page."""
        page = self._kept(raw, scope)
        if page is not None:
            self._sim.count()
            return 200, page
        if not raw.strip():
            raise SageError(400, "invalidRequest", "POST requests need a payload", error_id="REST-1028", message_id="IA.PAYLOAD_REQUIRED")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise invalid(f"The payload is no JSON: {error}") from error
        if isinstance(body, list):
            return self._several(body, scope)
        if not isinstance(body, dict):
            raise invalid("The payload must be a query or a list of queries")
        made = self._answer(raw, body, scope)
        self._sim.count()
        return 200, made

    def _several(self, bodies: list[Any], scope: int | None) -> tuple[int, bytes]:
        """Several queries in one call, each answered by itself."""
        if not bodies:
            raise invalid("The list of queries is empty")
        answers: list[bytes] = []
        failed = 0
        for body in bodies:
            try:
                _, one = self.answer(orjson.dumps(body) if isinstance(body, dict) else b"0", scope)
                answers.append(one[:-1] + b',"ia::status":200}')
            except SageError as error:
                failed += 1
                answers.append(orjson.dumps({"ia::error": error.error, "ia::status": error.status}))
        meta = {"totalCount": len(bodies), "totalSuccess": len(bodies) - failed, "totalError": failed}
        return 207 if failed else 200, b'{"ia::result":[%b],"ia::meta":%b}' % (b",".join(answers), orjson.dumps(meta))

    def _kept(self, raw: bytes, scope: int | None) -> bytes | None:
        page = self._pages.get((raw, scope))
        if page is None:
            return None
        if page.table.pending:
            page.table.overlay(self._sim.kernel.clock.monotonic())
        if page.today != self._sim.kernel.clock.today() or not page.stamp.is_current():
            return None
        self._pages.move_to_end((raw, scope))
        return page.body

    def _keep(self, raw: bytes, scope: int | None, page: Page) -> None:
        old = self._pages.pop((raw, scope), None)
        self._pages_bytes += len(page.body) - (len(old.body) if old is not None else 0)
        self._pages[raw, scope] = page
        while self._pages_bytes > PAGE_CACHE_BYTES and len(self._pages) > 1:
            _, dropped = self._pages.popitem(last=False)
            self._pages_bytes -= len(dropped.body)

    def _answer(self, raw: bytes, body: dict[str, Any], scope: int | None) -> bytes:
        store, clock = self._sim.store, self._sim.kernel.clock
        asked = self._read(body)
        overlay = asked.table.overlay(clock.monotonic())
        stamp = Stamp(asked.dependencies(store))
        keys, first, total = self._select(asked, scope, overlay)
        if asked.table.spec.name in CURRENCIES and not self._sim.config.multi_currency:
            keys, first, total = [], 0, 0
        if asked.aggregates:
            groups = self._grouped(asked, keys, overlay)
            total, shown = len(groups), [orjson.dumps(group) for group in groups[asked.start - 1 : asked.start - 1 + asked.size]]
        else:
            shown = self._rows(asked, _slice(keys, first, total, asked), overlay)
        last = asked.start - 1 + asked.size
        meta = {
            "totalCount": total,
            "start": asked.start,
            "pageSize": asked.size,
            "next": last + 1 if last < total else None,
            "previous": max(1, asked.start - asked.size) if asked.start > 1 else None,
        }
        made = _framed(shown, meta)
        self._keep(raw, scope, Page(asked.table, stamp, clock.today(), made))
        return made

    def _read(self, body: dict[str, Any]) -> Asked:
        name = body.get("object")
        if not isinstance(name, str) or not name:
            raise invalid(detail("object is required", target="/object"))
        try:
            table = self._sim.store.table(name.removeprefix("objects/"))
        except LookupError as error:
            raise invalid(detail(f"{name} is not a valid object", target="/object", message_id="IA.NOT_A_VALID_OBJECT")) from error
        if not self._sim.subscribes(table.spec) or self._sim.denies("QUERY", table.spec.name):
            raise no_permission("QUERY", table.spec.name)
        asked = Reading(table, as_text=self._as_text, today=self._sim.kernel.clock.today()).read(body)
        if self._sim.config.contact_fields == "refuse":
            used = [*asked.accesses.values(), *(one.access for one in asked.filters), *(one.access for one in asked.order)]
            refused = [not_a_field(f"/{access.path}") for access in used if access.is_deprecated]
            if refused:
                raise invalid(refused)
        return asked

    # Encoding

    def _rows(self, asked: Asked, keys: Iterable[int], overlay: Overlay) -> list[bytes]:
        plan = self._plan(asked)
        kept, make = plan.rows, plan.row
        found: list[bytes] = []
        for key in keys:
            before = overlay[key][0] if key in overlay else None
            row = kept.get(key) if before is None else plan.encode(key, before)
            found.append(make(key) if row is None else row)
        while sum(one.size_bytes for one in self._plans.values()) > ROW_CACHE_BYTES:
            oldest = next(one for one in self._plans.values() if one.size_bytes)
            oldest.clear()
        return found

    def _plan(self, asked: Asked) -> Plan:
        name = (asked.table.spec.name, asked.fields)
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = Plan(self._sim.store, asked.table, asked.accesses)
        self._plans.move_to_end(name)
        while len(self._plans) > KEPT_PLANS:
            self._plans.popitem(last=False)[1].close()
        plan.renew()
        return plan

    def _grouped(self, asked: Asked, keys: Sequence[int], overlay: Overlay) -> list[Row]:
        """Aggregates: one row per combination of the fields without a function."""
        by = [name for name in asked.fields if name not in asked.aggregates]
        reads = {name: self._value_of(asked.table, asked.accesses[name], overlay) for name in asked.fields}
        groups: dict[tuple[Any, ...], list[int]] = {}
        for key in keys:
            groups.setdefault(tuple(reads[name](key) for name in by), []).append(key)
        if not by and not groups:
            groups[()] = []
        rows = []
        for shared, members in groups.items():
            row: Row = dict(zip(by, shared, strict=True))
            for name, function in asked.aggregates.items():
                row[name] = _aggregate(function, asked.accesses[name].kind, [reads[name](key) for key in members])
            rows.append({name: row[name] for name in asked.fields})
        for order in reversed(asked.order):
            kind: ValueKind = "integer" if asked.aggregates.get(order.name) == "count" else order.access.kind
            rows.sort(key=_ranked(itemgetter(order.name), kind, as_text=self._as_text), reverse=order.descending)
        return rows

    # Selecting

    @property
    def _as_text(self) -> bool:
        return self._sim.config.key_order == "text"

    def _select(self, asked: Asked, scope: int | None, overlay: Overlay) -> tuple[Sequence[int], int, int]:
        """(keys in the order asked, position of the first, how many): the page is a slice of these."""
        private = asked.include_private and scope is None
        base = asked.table.visible(scope, private=private, as_text=self._as_text, overlay=overlay)
        spans: list[Filter] = []
        rest: list[Expression] = []
        for part in _conjuncts(asked.tree):
            one = asked.filters[part[1]] if part[0] == "filter" else None
            if one is not None and one.span(base[:0], as_text=self._as_text) is not None:
                spans.append(one)
            else:
                rest.append(part)
        keys: Sequence[int] = base
        if rest:
            keys = self._passing(asked, (scope, private), rest, spans, base, overlay)
        first, last = self._span(keys, spans)
        total = last - first
        if asked.aggregates:
            return keys[first:last], 0, total
        if not asked.order or asked.order[0].access.how == "key":
            backwards = bool(asked.order) and asked.order[0].descending
            return (_Backwards(keys), len(keys) - last, total) if backwards else (keys, first, total)
        return self._ordered(asked, (scope, private), keys[first:last], overlay, kept=not spans), 0, total

    def _span(self, keys: Sequence[int], spans: list[Filter]) -> tuple[int, int]:
        first, last = 0, len(keys)
        for one in spans:
            found = one.span(keys, as_text=self._as_text)
            assert found is not None
            first, last = max(first, found[0]), min(last, found[1])
        return first, max(first, last)

    def _passing(
        self,
        asked: Asked,
        scope: tuple[int | None, bool],
        rest: list[Expression],
        spans: list[Filter],
        base: Sequence[int],
        overlay: Overlay,
    ) -> Sequence[int]:
        """The keys that pass what is no range of keys. Outside the ranges it may say either."""
        passes = self._test(asked, ("and", *rest), overlay)
        first, last = self._span(base, spans)
        candidates = self._candidates(asked, rest)
        if candidates is not None:
            places = {self._place(base, key) for key in candidates | overlay.keys()}
            return [base[place] for place in sorted(places) if first <= place < last and passes(base[place])]
        if last - first <= ONE_BY_ONE:
            return [key for key in base[first:last] if passes(key)]
        name = (asked.table.spec.name, *scope, self._as_text, asked.name_of(("and", *rest)), "passing")
        return self._selected(name, asked, lambda: [key for key in base if passes(key)])

    def _ordered(self, asked: Asked, scope: tuple[int | None, bool], keys: Sequence[int], overlay: Overlay, *, kept: bool) -> Sequence[int]:
        def sort() -> list[int]:
            found = list(keys)
            for order in reversed(asked.order):
                value = self._value_of(asked.table, order.access, overlay)
                found.sort(key=_ranked(value, order.access.kind, as_text=self._as_text), reverse=order.descending)
            return found

        if not kept:
            return sort()
        name = (asked.table.spec.name, *scope, self._as_text, asked.name_of(asked.tree), asked.order_name)
        return self._selected(name, asked, sort)

    def _selected(self, name: tuple[Any, ...], asked: Asked, make: Callable[[], list[int]]) -> list[int]:
        today = self._sim.kernel.clock.today()
        found = self._selections.get(name)
        if found is None or found.today != today or not found.stamp.is_current():
            found = self._selections[name] = Selection(Stamp(asked.dependencies(self._sim.store)), today, make())
        self._selections.move_to_end(name)
        while len(self._selections) > KEPT_SELECTIONS:
            self._selections.popitem(last=False)
        return found.keys

    def _candidates(self, asked: Asked, rest: list[Expression]) -> set[int] | None:
        """The only rows that can pass, when a filter names keys, unique ids or owners; else None."""
        table = asked.table
        for part in rest:
            one = asked.filters[part[1]] if part[0] == "filter" else None
            if one is None or one.operator not in ("$eq", "$in") or one.value is None:
                continue
            values = [value for value in (one.value if one.operator == "$in" else [one.value]) if value is not None]
            access = one.access
            if access.how == "key":
                return {int(value) for value in values}
            if access.how == "part" and access.part == "key" and access.field.path in table.children:
                owners = table.children[access.field.path]
                return {key for value in values for key in owners.get(int(value), ())}
            if access.how == "value" and access.path == "id" and is_unique(table.spec) and one.exact:
                return {table.key_of[str(value)] for value in values if str(value) in table.key_of}
        return None

    def _place(self, base: Sequence[int], key: int) -> int:
        """The key's position, or -1."""
        wanted: Any = str(key) if self._as_text else key
        by: Any = str if self._as_text else None
        place = bisect_left(base, wanted, key=by)
        return place if place < len(base) and base[place] == key else -1

    def _test(self, asked: Asked, tree: Expression, overlay: Overlay) -> Callable[[int], bool]:
        if tree[0] == "filter":
            one = asked.filters[tree[1]]
            passes, value = one.passes, self._value_of(asked.table, one.access, overlay)
            return lambda key: passes(value(key))
        parts = [self._test(asked, part, overlay) for part in tree[1:]]
        if len(parts) == 1:
            return parts[0]
        every = all if tree[0] == "and" else any
        return lambda key: every(part(key) for part in parts)

    def _value_of(self, table: Table, access: Access, overlay: Overlay) -> Callable[[int], Any]:
        """A function that reads a field by key, as queries see it."""
        if access.how == "key":
            return str
        if access.how == "value" and access.field.path == MODIFIED and not overlay:
            return table.modified.get
        name = (table.spec.name, access.path)
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = Column(self._sim.store, table, access)
        column.renew()
        if not overlay:
            return column.value
        found = column

        def value(key: int) -> Any:
            raw = overlay[key][0] if key in overlay else None
            return found.value(key) if raw is None else found.of(key, raw)

        return value


class _Backwards(Sequence[int]):
    """Keys from the last to the first, without a copy."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self._keys))
            return self._keys[len(self._keys) - stop : len(self._keys) - start][::-1]
        return self._keys[len(self._keys) - 1 - at]


def _framed(rows: list[bytes], meta: dict[str, Any]) -> bytes:
    """The whole answer, copied once."""
    head, tail = b'{"ia::result":[', b'],"ia::meta":%b}' % orjson.dumps(meta)
    if not rows:
        return head + tail
    rows[0] = head + rows[0]
    rows[-1] += tail
    return b",".join(rows)


def _slice(keys: Sequence[int], first: int, total: int, asked: Asked) -> Sequence[int]:
    start = first + asked.start - 1
    return keys[start : min(start + asked.size, first + total)]


def _conjuncts(tree: Expression) -> Iterator[Expression]:
    if tree[0] == "and":
        for part in tree[1:]:
            yield from _conjuncts(part)
    else:
        yield tree


def _ranked(value_of: Callable[[Any], Any], kind: ValueKind, *, as_text: bool) -> Callable[[Any], tuple[bool, Any]]:
    """What to sort by; nulls last."""
    read = sortable(kind, as_text=as_text)

    def rank(one: Any) -> tuple[bool, Any]:
        value = value_of(one)
        return (True, 0) if value is None else (False, read(value))

    return rank


def _aggregate(function: str, kind: ValueKind, values: list[Any]) -> Any:
    present = [value for value in values if value is not None]
    if function == "count":
        return len(present)
    if not present:
        return None
    if function in ("min", "max"):
        return (min if function == "min" else max)(present, key=sortable(kind, as_text=False))
    total = sum((Decimal(str(value)) for value in present), Decimal(0))
    result = total if function == "sum" else total / len(present)
    if kind == "money":
        return str(result.quantize(Decimal("0.01")))
    return str(result) if kind == "decimal" else int(result) if result == int(result) else float(result)
