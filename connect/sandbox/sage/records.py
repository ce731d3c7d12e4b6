"""Records as the control interface loads them, and as GET by key shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from connect.sandbox.sage.bodies import Reader, Stamp, remove, write
from connect.sandbox.sage.paths import ref_key, ref_part
from connect.sandbox.sage.schema import Field, Tree
from connect.sandbox.sage.store import Row, Store, Table, is_unique

if TYPE_CHECKING:
    from connect.sandbox.sage.simulator import SageSimulator

BILL: Final = "accounts-payable/bill"
PAYMENT: Final = "accounts-payable/payment"
OWNERS: Final = ("project.key", "task.key")  # what makes the ids of tasks and cost types unique


class Unfit(ValueError):
    """A record that cannot be loaded, and why."""


def nested(store: Store, table: Table, key: int) -> dict[str, Any]:
    """One record as GET by key shows it."""
    row = table.get(key)
    if row is None:
        raise LookupError(f"{table.spec.name} has no record {key}")
    made = {"key": str(key), "id": row.get("id", str(key)), **_group(store, table.spec.tree, row, key)}
    return made | {"href": f"/objects/{table.spec.name}/{key}"}


def _group(store: Store, tree: Tree, row: Row, key: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, node in tree.items():
        if not isinstance(node, Field):
            made[name] = _group(store, node, row, key)
        elif node.kind == "ref":
            made[name] = _reference(store, node, row)
        elif node.kind == "owned":
            child = store.table(node.child)
            made[name] = [nested(store, child, own) for own in child.children[node.parent].get(key, ())]
        elif not node.write_only:
            made[name] = row.get(node.path, node.default)
    return made | _own_fields(store, tree, row)


def _own_fields(store: Store, tree: Tree, row: Row) -> dict[str, Any]:
    """Custom fields at the top, user-defined dimensions among the dimensions: they stand in no table."""
    made: dict[str, Any] = {}
    if "audit" in tree or "entity" in tree:
        made |= {name: value for name, value in row.items() if name.startswith("nsp::")}
    if isinstance(tree.get("location"), Field) and isinstance(tree.get("costType"), Field):
        for name in row:
            if name.startswith("dimensions.nsp::") and name.endswith(".key"):
                path = name.removesuffix(".key")
                last = path.rpartition(".")[2]
                made[last] = _reference(store, Field(path, "ref", target=f"platform-apps/{last}", shows_name=True), row)
    return made


def _reference(store: Store, ref: Field, row: Row) -> dict[str, Any]:
    made: dict[str, Any] = {"key": ref_part(store, row, ref, "key"), "id": ref_part(store, row, ref, "id")}
    if ref.shows_name and (name := ref_part(store, row, ref, "name")) is not None:
        made["name"] = name
    key = ref_key(row, ref) if ref.target else None
    if key is None:
        return made
    if ref.extras:
        table = store.table(ref.target)
        other = table.get(int(key)) or {}
        for shown, source in ref.extras:
            *above, last = shown.split(".")
            place = made
            for group in above:
                place = place.setdefault(group, {})
            field = table.spec.fields.get(source)
            place[last] = other.get(source, field.default if field is not None else None)
    return made | {"href": f"/objects/{ref.target}/{key}"}


def load(sim: SageSimulator, name: str, mode: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Insert, upsert or delete; what does not fit is told per record.

    Records may come in any order: those that refer to later ones of the same call are tried again, and keys that are made keep clear of
    those that are given.
    """
    loader = _Loader(sim, sim.store.table(name), mode)
    keys: dict[int, int] = {}
    waiting = sorted(range(len(records)), key=lambda index: _given_key(records[index]) is None)
    while waiting:
        errors: dict[int, str] = {}
        for index in waiting:
            try:
                keys[index] = loader.one(records[index])
            except Unfit as error:
                errors[index] = str(error)
        if len(errors) == len(waiting) or not errors:
            break
        waiting = list(errors)
    return {
        "loaded": len(keys),
        "keys": [str(keys[index]) for index in sorted(keys)],
        "errors": [{"index": index, "message": errors[index]} for index in sorted(errors)] if waiting else [],
    }


class _Loader:
    """One call of `load`."""

    def __init__(self, sim: SageSimulator, table: Table, mode: str) -> None:
        self._store = sim.store
        self._writes = sim.writes
        self._table = table
        self._mode = mode
        self._now = sim.kernel.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._is_unique = is_unique(table.spec)
        self._twins: dict[tuple[str | None, ...], int] = {}
        if not self._is_unique and table.spec.id_kind != "key":
            for key in table.rows:
                row = table.get(key) or {}
                self._twins[_twin(row)] = key

    def one(self, record: dict[str, Any]) -> int:
        """Its key. Raises Unfit."""
        if not isinstance(record, dict):
            raise Unfit("must be an object")
        table = self._table
        given = _given_key(record)
        if given is None and record.get("key") is not None:
            raise Unfit("/key must be a number")
        key = table.find(given, record.get("id") if self._is_unique else None)
        if key is None and given is None and table.spec.id_kind == "key":
            key = table.find(record.get("id"), None)
        reader = Reader(self._store, "load")
        draft = reader.record(table, record, key)
        if key is None and not self._is_unique and "id" in draft.row:
            key = self._twins.get(_twin(draft.row))
            if key is not None and self._mode != "delete":
                draft = reader.record(table, record, key)
        if self._mode == "delete":
            if key is None:
                raise Unfit("there is no such record")
            remove(self._store, table, key)
            return key
        if key is not None and self._mode == "insert":
            raise Unfit(f"Another record with the value {record.get('id') or key} exists")
        problems = reader.faults + reader.refusals
        if problems:
            raise Unfit("; ".join(row["message"] for row in problems))
        if draft.key is None:
            draft.key = given
        if table.spec.name == BILL:
            self._writes.rules.fill(draft)
        elif table.spec.name == PAYMENT:
            self._writes.payments.fill(draft, self._now[:10])
        key = write(self._store, draft, Stamp(self._now, self._owner(draft.row)))
        if not self._is_unique and "id" in draft.row:
            self._twins[_twin(draft.row)] = key
        return key

    def _owner(self, row: Row) -> int | None:
        """The entity that a new record is private to: that of the record that owns it."""
        for name in self._table.children:
            above = row.get(f"{name}.key")
            if above is not None:
                target = self._table.spec.fields[name].target
                return self._store.table(target).private.get(int(above))
        return None


def _given_key(record: Any) -> int | None:
    key = record.get("key") if isinstance(record, dict) else None
    return int(key) if isinstance(key, str | int) and str(key).isascii() and str(key).isdigit() else None


def _twin(row: Row) -> tuple[str | None, ...]:
    return (row.get("id"), *(row.get(owner) for owner in OWNERS))
