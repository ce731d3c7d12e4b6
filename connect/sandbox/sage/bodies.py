"""What clients send: a nested body, read against the shape of its object, becomes the rows that would be written.

Reading writes nothing. It collects what is wrong in two lists, because Sage answers them differently: `faults` are about the form of the
payload (400), `refusals` about records that are not there (422).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from connect.sandbox.sage.errors import detail, invalid, not_a_field, refused
from connect.sandbox.sage.fields import DIMENSIONS
from connect.sandbox.sage.paths import REF_PARTS
from connect.sandbox.sage.schema import Field, Kind, Tree, user_defined
from connect.sandbox.sage.store import MODIFIED, Row, Store, Table

Mode = Literal["load", "create", "update"]
CONTACT: Final = "company-config/contact"
OPERATION: Final = "ia::operation"
CREATED: Final = "audit.createdDateTime"
_PARTS: Final = frozenset(REF_PARTS)
_MONEY: Final = re.compile(r"-?\d{1,14}\.\d\d")
_LABELS: Final = {path: label for _, label, path in DIMENSIONS}
_REFUSALS: Final = {  # as integrators have seen them (sage-rest.md e)
    "accounts-payable/vendor": "The vendor '{}' is invalid.",
    "general-ledger/account": "Account {} is not valid",
    "company-config/location": "Location '{}' is not valid",
}


@dataclass(slots=True)
class Draft:
    """A record as it would be: its row, the contacts written in place, and the records of its owned lists."""

    table: Table
    key: int | None  # None: a new one
    row: Row
    before: Row | None = None
    is_stamped: bool = False  # it brings its own time of change
    contacts: list[tuple[str, Draft]] = field(default_factory=list)
    lists: dict[str, list[Draft]] = field(default_factory=dict)  # of the lists that were given: all that remain or come
    gone: list[tuple[Table, int]] = field(default_factory=list)  # what the lists lose


class Reader:
    """Reads the bodies of one request.

    `load` takes everything that the object can show (read-only fields, values that no enum knows yet) and replaces lists; `create` and
    `update` take what Sage takes. `scope`: the entity that the request is limited to.
    """

    def __init__(self, store: Store, mode: Mode, scope: int | None = None) -> None:
        self.store = store
        self.mode = mode
        self.scope = scope
        self.faults: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []

    def record(self, table: Table, body: dict[str, Any], key: int | None = None, at: str = "", *, owner: str = "") -> Draft:
        """`at`: where the body stands in the payload ("/lines/0"). `owner`: the reference to its owner, in an owned list."""
        before = None if key is None else table.get(key)
        draft = Draft(table, key, dict(before or {}), before)
        self.group(draft, table.spec.tree, body, "", at)
        if self.mode == "load":
            audit = body.get("audit")
            draft.is_stamped = isinstance(audit, dict) and (audit.get("modifiedDateTime") or audit.get("modifiedDate")) is not None
        elif key is None:
            self._require(draft, body, at, owner)
        return draft

    def check(self, method: str, resource: str) -> None:
        """Raises the SageError of what is wrong, if anything is."""
        if self.faults:
            raise invalid(self.faults)
        if self.refusals:
            raise refused(422, method, resource, self.refusals)

    def group(self, draft: Draft, tree: Tree, body: dict[str, Any], prefix: str, at: str) -> None:
        """The fields of one level."""
        for name, value in body.items():
            node = tree.get(name)
            if type(node) is Field:
                if type(value) is str and node.kind == "text" and not node.enum and not node.read_only:
                    draft.row[node.path] = value  # most fields, at once
                else:
                    self._field(draft, node, value, at)
            elif isinstance(node, dict):
                if isinstance(value, dict):
                    self.group(draft, node, value, f"{prefix}{name}.", at)
                elif value is not None:
                    self._fault(f"{prefix}{name}", "must be an object", at)
            else:
                self._other(draft, f"{prefix}{name}", value, at)

    def _field(self, draft: Draft, node: Field, value: Any, at: str) -> None:
        path, kind = node.path, node.kind
        if node.read_only and self.mode != "load":
            self._fault(path, "is read-only", at)
        elif kind == "ref":
            self._reference(draft, node, value, at)
        elif kind == "owned":
            self._list(draft, node, value, at)
        elif value is None or (self.mode == "load" and value == "" and kind != "text"):
            draft.row.pop(path, None)
        elif node.enum and self.mode != "load" and value not in node.enum:
            self._fault(path, f"must be one of {', '.join(node.enum)}", at)
        elif kind == "text" and type(value) is str:
            draft.row[path] = value
        else:
            try:
                draft.row[path] = (LOADED if self.mode == "load" else WRITTEN)[kind](value)
            except ValueError as error:
                self._fault(path, str(error), at)

    def _other(self, draft: Draft, path: str, value: Any, at: str) -> None:
        """key, id, href, custom fields, and what is no field."""
        spec = draft.table.spec
        if path == "id":
            self._id(draft, value, at)
        elif path in ("key", "href"):
            if self.mode == "create":
                self._fault(path, "is read-only", at)
        elif path == OPERATION and at:
            pass  # the list has read it
        else:
            own = user_defined(spec, path)
            if own is not None:
                self._field(draft, own, value, at)
            elif self.mode != "load" or value is not None:
                self.faults.append(not_a_field(f"{at}/{path.replace('.', '/')}"))

    def _id(self, draft: Draft, value: Any, at: str) -> None:
        if draft.table.spec.id_kind == "key" or value is None:
            return
        if isinstance(value, bool | dict | list):
            self._fault("id", "must be a text", at)
        elif draft.before is not None and self.mode != "load" and str(value) != draft.before.get("id"):
            self._fault("id", "cannot be changed", at)
        else:
            draft.row["id"] = str(value)

    def _reference(self, draft: Draft, node: Field, value: Any, at: str) -> None:
        row, path = draft.row, node.path
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self._fault(path, "must be an object with key or id", at)
            return
        key, record_id = value.get("key"), value.get("id")
        if not node.target:
            for part in ("key", "id", "name"):
                _set(row, f"{path}.{part}", None if value.get(part) is None else str(value[part]))
            return
        more = value.keys() - _PARTS
        if more and node.target == CONTACT:
            self._contact(draft, node, value, at)
            return
        if more and self.mode != "load":
            shown = {name.partition(".")[0] for name, _ in node.extras}
            self.faults.extend(not_a_field(f"{at}/{path.replace('.', '/')}/{name}") for name in sorted(more - shown))
        row.pop(f"{path}.id", None)
        if key is None and record_id is None:
            row.pop(f"{path}.key", None)
            return
        table = self.store.table(node.target)
        found = table.find(key, record_id)
        if found is None and isinstance(record_id, str) and "--" in record_id:
            found = table.find(None, record_id.partition("--")[0])  # "number--title"
            row[f"{path}.id"] = record_id
        if found is None or not self._sees(table, found):
            row.pop(f"{path}.id", None)
            if self.mode == "load" and path.startswith("audit."):
                return  # who did it may not be a user here
            self.refusals.append(self._not_there(node, record_id if record_id is not None else key))
            return
        row[f"{path}.key"] = str(found)

    def _contact(self, draft: Draft, node: Field, value: dict[str, Any], at: str) -> None:
        """A contact written in place: Sage makes a record of it, or changes the one that there is."""
        table = self.store.table(CONTACT)
        path = node.path
        found = table.find(value.get("key"), value.get("id"))
        before = draft.row.get(f"{path}.key")
        if found is None and before is not None and value.get("id") is None:
            found = int(before)
        reader = self if self.mode == "load" else self._as("create")
        given = {name: part for name, part in value.items() if name not in ("key", "href", "name") and (name != "id" or found is None)}
        there = None if found is None else table.get(found)
        contact = Draft(table, found, dict(there or {}), there)
        reader.group(contact, table.spec.tree, given, "", f"{at}/{path.replace('.', '/')}")
        draft.contacts.append((path, contact))

    def _list(self, draft: Draft, node: Field, value: Any, at: str) -> None:
        if value is None:
            return
        here = f"{at}/{node.path.replace('.', '/')}"
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._fault(node.path, "must be a list of objects", at)
            return
        child = self.store.table(node.child)
        owned = [] if draft.key is None else list(child.children[node.parent].get(draft.key, ()))
        if self.mode == "load":
            draft.gone += [(child, key) for key in owned]
            draft.lists[node.path] = [self._loaded(child, item, owned, f"{here}/{n}") for n, item in enumerate(value)]
            return
        drafts = {key: Draft(child, key, row, row) for key in owned if (row := child.get(key)) is not None}
        new: list[Draft] = []
        for n, item in enumerate(value):
            key = item.get("key")
            if key is None:
                new.append(self._as("create").record(child, item, None, f"{here}/{n}", owner=node.parent))
            elif not str(key).isdigit() or int(key) not in drafts:
                self._fault(f"{node.path}/{n}", f"has no record {key}", at)
            elif item.get(OPERATION) == "delete":
                del drafts[int(key)]
                draft.gone.append((child, int(key)))
            else:
                drafts[int(key)] = self._as("update").record(child, item, int(key), f"{here}/{n}")
        draft.lists[node.path] = [*drafts.values(), *new]

    def _loaded(self, child: Table, item: dict[str, Any], owned: list[int], at: str) -> Draft:
        """A row of a loaded list; it keeps the key it has, where that is free."""
        made = self.record(child, item, None, at)
        key = item.get("key")
        if key is not None and str(key).isdigit() and (int(key) not in child.rows or int(key) in owned):
            made.key = int(key)
        return made

    def _as(self, mode: Mode) -> Reader:
        """A reader of the same request in another mode."""
        other = Reader(self.store, mode, self.scope)
        other.faults, other.refusals = self.faults, self.refusals
        return other

    def _require(self, draft: Draft, body: dict[str, Any], at: str, owner: str) -> None:
        """What a new record must have. A required field of a group counts when the group is there."""
        spec, row = draft.table.spec, draft.row
        if spec.id_kind == "given" and "id" not in row:
            self._missing("id", at)
        for node in spec.fields.values():
            path = node.path
            group = path.partition(".")[0]
            if not node.required or path == owner or (group != path and group not in body):
                continue
            if node.kind == "owned":
                is_there = bool(draft.lists.get(path))
            elif node.kind == "ref":
                given = body.get(path)
                is_there = isinstance(given, dict) and (given.get("key") is not None or given.get("id") is not None)
            else:
                is_there = path in row or _is_given(body, path)
            if not is_there:
                self._missing(path, at)

    def _missing(self, path: str, at: str) -> None:
        self._fault(path, "is required", at)

    def _fault(self, path: str, words: str, at: str) -> None:
        target = f"{at}/{path.replace('.', '/')}"
        self.faults.append(detail(f"{target} {words}", target=target))

    def _sees(self, table: Table, key: int) -> bool:
        return self.scope is None or table.private.get(key, self.scope) == self.scope

    def _not_there(self, node: Field, named: Any) -> dict[str, Any]:
        words = _REFUSALS.get(node.target)
        if words is None:
            label = _LABELS.get(node.target) or node.target.rpartition("/")[2].replace("-", " ").replace("nsp::", "").capitalize()
            words = f"Invalid {label} {{}} selected"
        return detail(words.format(named), code="invalidReference")


def _set(row: Row, name: str, value: Any) -> None:
    if value is None:
        row.pop(name, None)
    else:
        row[name] = value


def _is_given(body: dict[str, Any], path: str) -> bool:
    """Whether the body has a value there, be it a wrong one: that was told already."""
    place: Any = body
    for name in path.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place is not None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a text")


def _loose_text(value: Any) -> str:
    return str(_single(value, "must be a text"))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("must be true or false")


def _number(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        found = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError("must be a number") from None
    if not found.is_finite():
        raise ValueError("must be a number")
    return int(found) if found == found.to_integral_value() else float(found)


def _integer(value: Any) -> int:
    found = _number(value)
    if int(found) != found:
        raise ValueError("must be a whole number")
    return int(found)


def _amount(value: Any) -> Decimal:
    try:
        found = Decimal(str(_single(value, "must be an amount")))
    except InvalidOperation:
        raise ValueError("must be an amount") from None
    if not found.is_finite() or abs(found) >= Decimal(10) ** 14:
        raise ValueError("must be an amount")
    return found


def _loose_money(value: Any) -> str:
    if type(value) is str and _MONEY.fullmatch(value):
        return value
    return f"{_amount(value):.2f}"


def _money(value: Any) -> str:
    found = _amount(value)
    if found != round(found, 2):
        raise ValueError("must have two decimals at most")
    return f"{found:.2f}"


def _decimal(value: Any) -> str:
    _amount(value)
    return str(value)


def _date(value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat() if len(value) == 10 else _no_date()
    except (TypeError, ValueError):
        return _no_date()


def _no_date() -> str:
    raise ValueError("must be a date, YYYY-MM-DD")


def _datetime(value: Any) -> str:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a date and time, YYYY-MM-DDTHH:MM:SSZ") from None
    return str(value)


def _any_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError("must be a list")


def _scalar(value: Any) -> Any:
    return value if isinstance(value, bool) else _single(value, "must be a single value")


def _single(value: Any, otherwise: str) -> Any:
    """A text or a number."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(otherwise)


WRITTEN: Final[dict[Kind, Callable[[Any], Any]]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "money": _money,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "list": _any_list,
    "scalar": _scalar,
}
LOADED: Final[dict[Kind, Callable[[Any], Any]]] = WRITTEN | {"text": _loose_text, "money": _loose_money}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a write leaves on every record it touches."""

    at: str  # 2026-11-25T12:00:00Z
    owner: int | None = None  # the entity that new records are private to
    lag_until: float | None = None


def write(store: Store, draft: Draft, stamp: Stamp) -> int:
    """Put the draft into the store; its key. What did not change is left alone."""
    table, row = draft.table, draft.row
    spec = table.spec
    if "entity.key" in row:
        owner: int | None = int(row["entity.key"])
    else:
        owner = stamp.owner if draft.before is None or draft.key is None else table.private.get(draft.key)
    if owner != stamp.owner:
        stamp = replace(stamp, owner=owner)  # contacts and lists go with their record
    for path, contact in draft.contacts:
        row.pop(f"{path}.id", None)
        row[f"{path}.key"] = str(_write_contact(store, contact, stamp))
    key = draft.key
    if key is None:
        key = draft.key = table.new_key()
    if spec.id_kind != "key" and "id" not in row:
        row["id"] = str(key)
    if row != draft.before or draft.lists or draft.contacts:
        _stamp(draft, stamp)
    if owner is not None and spec.name != "company-config/entity":
        row["entity.key"] = str(owner)
    table.put(key, row, owner, lag_until=stamp.lag_until)
    for child, old in draft.gone:
        remove(store, child, old, stamp.lag_until)
    for path, rows in draft.lists.items():
        parent = f"{spec.fields[path].parent}.key"
        for own in rows:
            own.row[parent] = str(key)
            write(store, own, stamp)
    return key


def _write_contact(store: Store, contact: Draft, stamp: Stamp) -> int:
    """A new contact is called as it is printed, where no other is called so."""
    if contact.key is None and "id" not in contact.row:
        contact.key = contact.table.new_key()
        name = contact.row.get("printAs") or contact.row.get("companyName") or contact.row.get("lastName")
        contact.row["id"] = f"{name}({contact.key})" if not name or name in contact.table.key_of else name
    return write(store, contact, stamp)


def _stamp(draft: Draft, stamp: Stamp) -> None:
    row, fields = draft.row, draft.table.spec.fields
    if MODIFIED in fields:
        if not draft.is_stamped:
            row[MODIFIED] = stamp.at
        if draft.before is None:
            row.setdefault(CREATED, row[MODIFIED])
    elif "audit.modifiedDate" in fields:
        if not draft.is_stamped:
            row["audit.modifiedDate"] = stamp.at[:10]
        row.setdefault("audit.createdDate", row["audit.modifiedDate"])


def remove(store: Store, table: Table, key: int, lag_until: float | None = None) -> None:
    """Delete a record and what it owns."""
    for owned in table.spec.owned():
        child = store.table(owned.child)
        for own in list(child.children[owned.parent].get(key, ())):
            remove(store, child, own, lag_until)
    table.delete(key, lag_until=lag_until)
