"""A record as it arrives, over SOAP, over REST or loaded by hand, into wire names and checked values.

In the result a field that was left out is absent and a field to clear is None. Every function raises Refused (ResultCode 1)
naming field and value, and returns how many members it did not know: they are ignored, as .NET does.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from connect.sandbox.prime.tables import BANK_ACCOUNT, INVALID, Record, Refused, Table

PALETTE: Final = "http://palette.se/"
NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_PREFIX: Final = f"{{{PALETTE}}}"
_PREFIX_LENGTH: Final = len(_PREFIX)


def local_name(element: Any) -> str | None:
    """The name of an element in Palette's namespace or in none (D4); None for any other."""
    tag: str = element.tag
    if tag[0] != "{":
        return tag
    return tag[_PREFIX_LENGTH:] if tag.startswith(_PREFIX) else None


def text_of(element: Any) -> str:
    """The element's text; "" when it is empty or nil."""
    if element.get(NIL) in ("true", "1"):
        return ""
    text: str = element.text or ""
    return text + "".join(child.tail or "" for child in element) if len(element) else text


def read_element(table: Table, element: Any) -> tuple[Record, int]:
    """A record element of a SOAP request."""
    changes: Record = {}
    nested: dict[str, list[Record]] = {}
    unknown = 0
    columns = table.by_soap
    for child in element:
        name = local_name(child) or ""
        if (column := columns.get(name)) is not None:
            changes[name] = column.read_text(text_of(child))
        elif name in table.nested:
            inner, strange = _nested(table.nested[name], child)
            nested.setdefault(name, []).extend(inner)
            unknown += strange
        else:
            unknown += 1
    for name, records in nested.items():
        changes[name] = _distinct(records, table.nested[name]) or None
    return changes, unknown


def _nested(table: Table, element: Any) -> tuple[list[Record], int]:
    """One repeated element; an array element around elements of the same name is understood, an empty one stands for no record at all."""
    inner = [child for child in element if local_name(child) == table.name]
    if not len(element):
        return [], 0
    read = [read_element(table, child) for child in inner or [element]]
    return [record for record, _ in read], sum(strange for _, strange in read)


def _distinct(records: list[Record], table: Table) -> list[Record]:
    """Nested records without empty fields; bank accounts, which have an identity of their own, each once and in its order."""
    made = [{name: value for name, value in record.items() if value is not None} for record in records]
    if table is not BANK_ACCOUNT:
        return made
    if not all("BankAccount" in record for record in made):
        raise Refused(INVALID, f"Field BankAccount is required on {table.name}")
    for number, times in Counter(record["BankAccount"] for record in made).items():
        if times > 1:
            raise Refused(INVALID, f"Field BankAccount: value {number!r} is given twice on one supplier")
    return sorted(made, key=lambda record: str(record["BankAccount"]))


def read_rest(table: Table, item: Record) -> tuple[Record, int]:
    """One record of a REST body."""
    changes: Record = {}
    unknown = 0
    columns, lists = table.by_rest, table.rest_lists
    for name, value in item.items():
        column = columns.get(name)
        if column is not None:
            if value.__class__ is str and column.type == "text" and len(value) <= column.limit:  # nearly all: kept short
                changes[column.name] = value or None
            else:
                changes[column.name] = column.read_json(value)
        elif name in lists:
            changes |= _positions(table, name, value)
        elif name == "useObjects" and table.name == "Account":
            changes |= _use_objects(table, value)
        elif name not in table.rest_ignored:
            unknown += 1
    return changes, unknown


def _positions(table: Table, name: str, value: Any) -> Record:
    """`addressLines`, `phoneNumbers`: a list given replaces all its positions."""
    names = table.rest_lists[name]
    if value is None:
        value = []
    if not isinstance(value, list) or len(value) > len(names):
        raise Refused(INVALID, f"Field {name}: expected a list of at most {len(names)} texts")
    padded = [*value, *[None] * (len(names) - len(value))]
    return {wire: table.by_name[wire].read_json(given) for wire, given in zip(names, padded, strict=True)}


def _use_objects(table: Table, value: Any) -> Record:
    """`useObjects` (D19): {objectTypeNumber, use, default} each; object types and members left out are untouched."""
    if value is None:
        value = [{"objectTypeNumber": n, "use": None, "default": None} for n in range(1, 9)]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Refused(INVALID, "Field useObjects: expected a list of {objectTypeNumber, use, default}")
    changes: Record = {}
    for entry in value:
        number = entry.get("objectTypeNumber")
        if type(number) is not int or not 1 <= number <= 8:
            raise Refused(INVALID, f"Field objectTypeNumber: value {number!r} is not valid, expected a whole number from 1 to 8")
        for member, prefix in (("use", "UseObject"), ("default", "DefaultObject")):
            if member in entry:
                changes[f"{prefix}{number}"] = table.by_name[f"{prefix}{number}"].read_json(entry[member])
    return changes


def write_rest(table: Table, record: Record) -> Record:
    """A kept record with its REST names; members without a value are left out."""
    made: Record = {name: record[column.name] for name, column in table.by_rest.items() if column.name in record}
    for name, columns in table.rest_lists.items():
        made[name] = [record.get(column) for column in columns]
    if table.name == "Account":
        made["useObjects"] = [
            {"objectTypeNumber": n, "use": record.get(f"UseObject{n}"), "default": record.get(f"DefaultObject{n}")}
            for n in range(1, 9)
            if f"UseObject{n}" in record or f"DefaultObject{n}" in record
        ]
    return made


def read_loaded(table: Table, given: Any) -> Record:
    """A record of a control call: wire names, JSON values or what XML would say. Unknown names are refused."""
    if not isinstance(given, dict):
        raise Refused(INVALID, f"{table.name}: expected an object, found {type(given).__name__}")
    changes: Record = {}
    for name, value in given.items():
        if (column := table.by_name.get(name)) is not None:
            changes[name] = column.read_loose(value)
        elif name in table.nested:
            inner = [read_loaded(table.nested[name], record) for record in value] if isinstance(value, list) else None
            if inner is None:
                raise Refused(INVALID, f"Field {name}: expected a list")
            changes[name] = _distinct(inner, table.nested[name]) or None
        else:
            raise Refused(INVALID, f"{table.name} has no field {name}; it has {', '.join([*table.by_name, *table.nested])}")
    return changes
