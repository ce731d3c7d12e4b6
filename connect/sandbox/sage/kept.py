"""What the query service keeps: the bytes of rows and the values of fields, each as long as what they were made from stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, Final

import orjson

from connect.sandbox.sage.paths import Access, Getter, getter, ref_key
from connect.sandbox.sage.schema import Field
from connect.sandbox.sage.store import Row, Store, Table, compact

TEXTS: Final = frozenset({"text", "scalar"})
Dependency = tuple[Table, str]  # a table and the version of it that matters


def dependencies(store: Store, access: Access) -> Iterator[Dependency]:
    """The other tables that a field's values come from."""
    target = access.field.target
    if access.how == "part" and target and access.part in ("id", "name"):
        yield store.table(target), "label_version"
    elif access.how == "extra" and access.inner is not None:
        yield store.table(target), "content_version"
        yield from dependencies(store, access.inner)


class Stamp:
    """The versions of some tables at one moment."""

    __slots__ = ("_dependencies", "_versions")

    def __init__(self, found: Iterable[Dependency]) -> None:
        self._dependencies = [(attrgetter(version), table) for table, version in dict.fromkeys(found)]
        self._versions: list[int] = []
        self.renew()

    def renew(self) -> None:
        self._versions = [read(table) for read, table in self._dependencies]

    def is_current(self) -> bool:
        return all(read(table) == version for (read, table), version in zip(self._dependencies, self._versions, strict=True))


class Plan:
    """How rows of one object become bytes for one list of fields, and the bytes made so far."""

    def __init__(self, store: Store, table: Table, accesses: dict[str, Access]) -> None:
        self.table = table
        self.rows: dict[int, bytes] = {}
        self.size_bytes = 0
        self._stamp = Stamp(found for access in accesses.values() for found in dependencies(store, access))
        self._template = {name: access.field.default if access.how == "value" else None for name, access in accesses.items()}
        self._plain = {name for name, access in accesses.items() if access.how == "value"}
        self._others: list[tuple[str, Getter]] = []
        self._through: dict[Field, list[tuple[str, Getter]]] = {}  # per reference: what is read of the other record
        for name, access in accesses.items():
            if access.how == "extra" and access.inner is not None:
                target = store.table(access.field.target).spec
                self._through.setdefault(access.field, []).append((name, getter(store, target, access.inner)))
            elif access.how != "value":
                self._others.append((name, getter(store, table.spec, access)))
        self._store = store
        table.listeners.append(self._forget)

    def renew(self) -> None:
        """Drop the rows when what they show of other objects changed."""
        if not self._stamp.is_current():
            self.clear()
            self._stamp.renew()

    def close(self) -> None:
        """No longer listen to the table."""
        self.clear()
        self.table.listeners.remove(self._forget)

    def clear(self) -> None:
        self.rows.clear()
        self.size_bytes = 0

    def row(self, key: int) -> bytes:
        """The row, and from now on kept."""
        made = self.rows[key] = self.encode(key, self.table.rows[key])
        self.size_bytes += len(made)
        return made

    def encode(self, key: int, raw: bytes) -> bytes:
        row: Row = orjson.loads(raw)
        values = self._template.copy()
        for name in self._plain & row.keys():
            values[name] = row[name]
        for name, read in self._others:
            values[name] = read(row, key)
        for ref, wanted in self._through.items():
            other_key = ref_key(row, ref)
            other = None if other_key is None else self._store.table(ref.target).get(int(other_key))
            if other is not None and other_key is not None:
                for name, read in wanted:
                    values[name] = read(other, int(other_key))
        return compact(values)

    def _forget(self, key: int) -> None:
        dropped = self.rows.pop(key, None)
        if dropped is not None:
            self.size_bytes -= len(dropped)


class Column:
    """One field's values of all rows, read when first wanted."""

    def __init__(self, store: Store, table: Table, access: Access) -> None:
        self._table, self._read, self._text = table, getter(store, table.spec, access), access.kind in TEXTS
        self._values: dict[int, Any] = {}
        self._stamp = Stamp(dependencies(store, access))
        table.listeners.append(self._forget)

    def renew(self) -> None:
        if not self._stamp.is_current():
            self._values.clear()
            self._stamp.renew()

    def close(self) -> None:
        """No longer listen to the table."""
        self._table.listeners.remove(self._forget)

    def value(self, key: int) -> Any:
        try:
            return self._values[key]
        except KeyError:
            made = self._values[key] = self.of(key, self._table.rows[key])
            return made

    def of(self, key: int, raw: bytes) -> Any:
        found = self._read(orjson.loads(raw), key)
        return str(found) if self._text and found is not None else found

    def _forget(self, key: int) -> None:
        self._values.pop(key, None)
