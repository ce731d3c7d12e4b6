"""The company's records in memory: one table per object, rows as compact JSON.

A row is flat: {"id": "V1", "due.days": 30, "term.key": "12", …}. Absent means null (or the field's default). References are kept as keys
and resolved when read; rows of owned lists (lines, files) are rows of their own table that point to their owner.
"""

from __future__ import annotations

import sys
from bisect import insort
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from connect.sandbox.sage.schema import UNIQUE_WITHIN_OWNER, Spec, spec_of, specs

Row = dict[str, Any]
MODIFIED: Final = "audit.modifiedDateTime"


def compact(value: Any) -> bytes:
    """JSON to keep. A copy, because orjson's own bytes hold on to the larger block that they were written in."""
    return bytes(memoryview(orjson.dumps(value)))


class Table:
    """The rows of one object.

    `version` moves with every change, `content_version` only when a row that was there changed or went (or one comes that was missed),
    `label_version` when what references to it show (id, name) did: what is cached elsewhere stays valid as long as the version that it
    depends on.
    """

    def __init__(self, spec: Spec, store: Store) -> None:
        self.spec = spec
        self._store = store
        self.rows: dict[int, bytes] = {}
        self.key_of: dict[str, int] = {}
        self.private: dict[int, int] = {}  # key -> key of the entity that owns it
        self.modified: dict[int, str] = {}
        self.children: dict[str, dict[int, list[int]]] = {name: {} for name in _owner_refs(spec.name)}
        self.version = self.content_version = self.label_version = self.structure_version = 0
        self.listeners: list[Callable[[int], None]] = []
        self.pending: list[tuple[float, int, bytes | None, int | None]] = []  # writes that queries do not see yet
        self._next_key = 1
        self._labels: dict[int, tuple[str, Any]] = {}
        self._visible: dict[tuple[Any, ...], list[int]] = {}
        self._missed: set[int] = set()  # keys that somebody asked for in vain

    def get(self, key: int) -> Row | None:
        raw = self.rows.get(key)
        if raw is None:
            self._missed.add(key)
            return None
        found: Row = orjson.loads(raw)
        return found

    def label(self, key: int) -> tuple[str, Any] | None:
        """What a reference to this row shows: (id, name)."""
        found = self._labels.get(key)
        if found is None:
            row = self.get(key)
            if row is None:
                return None
            found = self._labels[key] = (row.get("id", str(key)), row.get("name"))
        return found

    def find(self, key: Any, record_id: Any) -> int | None:
        """The row with this key or this id."""
        if key is not None and str(key).isascii() and str(key).isdigit() and int(key) in self.rows:
            return int(key)
        if record_id is None:
            return None
        if self.spec.id_kind == "key":
            return self.find(record_id, None)
        return self.key_of.get(str(record_id))

    def new_key(self) -> int:
        key = self._next_key
        self._next_key += 1
        return key

    def put(self, key: int, row: Row, entity: int | None, *, lag_until: float | None = None) -> None:
        """Insert or replace. `lag_until`: queries see it from then on (monotonic seconds)."""
        old, old_entity = self.rows.get(key), self.private.get(key)
        raw = compact(row)
        if raw == old and entity == old_entity:
            return
        self._remember(key, old, old_entity, lag_until)
        self._set(key, raw, row, entity, old)

    def delete(self, key: int, *, lag_until: float | None = None) -> None:
        old, old_entity = self.rows.get(key), self.private.get(key)
        if old is None:
            return
        self._remember(key, old, old_entity, lag_until)
        self._set(key, None, None, None, old)

    def restore(self, key: int, raw: bytes | None, entity: int | None) -> None:
        """Put back what an undone write had replaced."""
        old = self.rows.get(key)
        self._set(key, raw, None if raw is None else orjson.loads(raw), entity, old)
        if self.pending and self.pending[-1][1] == key:
            self.pending.pop()

    def _remember(self, key: int, old: bytes | None, entity: int | None, lag_until: float | None) -> None:
        if lag_until is not None:
            self.pending.append((lag_until, key, old, entity))
        if self._store.undo is not None:
            self._store.undo.append((self, key, old, entity))

    def _set(self, key: int, raw: bytes | None, row: Row | None, entity: int | None, old_raw: bytes | None) -> None:
        old: Row = orjson.loads(old_raw) if old_raw is not None else {}
        self.version += 1
        if old_raw is None and key in self._missed:
            self._missed.remove(key)
            self.content_version += 1
            self.label_version += 1
        if old_raw is not None:
            self.content_version += 1
            if row is None or row.get("id") != old.get("id") or row.get("name") != old.get("name"):
                self.label_version += 1
            self._labels.pop(key, None)
            if "id" in old and self.key_of.get(old["id"]) == key:
                del self.key_of[old["id"]]
        if raw is None or row is None:
            self.rows.pop(key, None)
            self.modified.pop(key, None)
        else:
            self.rows[key] = raw
            if "id" in row:
                self.key_of[row["id"]] = key
            if MODIFIED in row:
                self.modified[key] = sys.intern(row[MODIFIED])
            self._next_key = max(self._next_key, key + 1)
        if (old_raw is None) != (raw is None) or self.private.get(key) != entity:
            self.structure_version += 1
            self._visible.clear()
        if entity is None:
            self.private.pop(key, None)
        else:
            self.private[key] = entity
        for name, index in self.children.items():
            before, after = old.get(f"{name}.key"), (row or {}).get(f"{name}.key")
            if before != after:
                if before is not None:
                    index[int(before)].remove(key)
                if after is not None:
                    insort(index.setdefault(int(after), []), key)
        for tell in self.listeners:
            tell(key)

    def overlay(self, now: float) -> dict[int, tuple[bytes | None, int | None]]:
        """What queries still see instead of the rows, per key: (row or None, entity). Writes that are due become visible here."""
        if not self.pending:
            return {}
        due = [entry for entry in self.pending if entry[0] <= now]
        if due:
            self.pending = [entry for entry in self.pending if entry[0] > now]
            self.version += 1
            self._visible.clear()
        found: dict[int, tuple[bytes | None, int | None]] = {}
        for _, key, raw, entity in self.pending:
            found.setdefault(key, (raw, entity))
        return found

    def visible(self, scope: int | None, *, private: bool, as_text: bool, overlay: dict[int, tuple[bytes | None, int | None]]) -> list[int]:
        """The keys that a query sees, in key order. `private`: other entities' rows too; else those of `scope` and of the top level."""
        open_to_all = private or not self.private
        name = (None if open_to_all else scope, private, as_text, tuple(overlay.items()))
        found = self._visible.get(name)
        if found is None:
            keys: Iterator[int] | list[int] = list(self.rows)
            owner = self.private
            if overlay:
                owner = dict(self.private)
                for key, (_, entity) in overlay.items():
                    owner.pop(key, None)
                    if entity is not None:
                        owner[key] = entity
                keys = [key for key in keys if key not in overlay] + [key for key, (raw, _) in overlay.items() if raw is not None]
            if not private and owner:
                keys = [key for key in keys if owner.get(key, scope) == scope]
            found = sorted(keys, key=str) if as_text else sorted(keys)
            self._visible[name] = found
        return found


def _owner_refs(name: str) -> list[str]:
    """The references by which rows of this object belong to an owner's list."""
    return [found.parent for spec in specs().values() for found in spec.owned() if found.child == name]


class Store:
    """All tables, and the way back."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.undo: list[tuple[Table, int, bytes | None, int | None]] | None = None

    def table(self, name: str) -> Table:
        """The table of this object; LookupError when Sage has no such object."""
        found = self.tables.get(name)
        if found is None:
            spec = spec_of(name)
            if spec is None:
                raise LookupError(name)
            found = self.tables.get(spec.name)
            if found is None:
                found = self.tables[spec.name] = Table(spec, self)
        return found

    def clear(self) -> None:
        """Empty books."""
        self.tables.clear()
        self.undo = None

    def begin(self) -> None:
        """From here on writes can be undone."""
        self.undo = []

    def commit(self) -> None:
        self.undo = None

    def rollback(self) -> None:
        """Undo everything since `begin`."""
        done, self.undo = self.undo or [], None
        for table, key, raw, entity in reversed(done):
            table.restore(key, raw, entity)


def is_unique(spec: Spec) -> bool:
    """Whether ids are unique over the whole object."""
    return spec.id_kind != "key" and spec.name not in UNIQUE_WITHIN_OWNER
