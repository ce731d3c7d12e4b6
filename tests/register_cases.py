"""What the tests of registers share: settings, a Sage row as the query service answers it, and a register's answer as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connect.config import RegisterSettings
from connect.mapping import Part, Row
from connect.registers import REGISTERS

OBJECTS = {"DEPARTMENT": 1, "LOCATION": 2}
FOREVER, EXPIRED = "9999-12-31T00:00:00", "0001-01-01T00:00:00"


def settings(transport: Any = "rest", **others: Any) -> RegisterSettings:
    return RegisterSettings(**{"company": "100", "transport": transport, "objects": OBJECTS} | others)


def part_of(job: str, transport: Any = "rest", part: int = 0, **others: Any) -> Part:
    return REGISTERS[job].parts(settings(transport, **others))[part]


def sage_row(part: Part, **fields: Any) -> bytes:
    """A row with every field that is asked for: null unless given. `__` in a name stands for a dot."""
    given = {name.replace("__", "."): value for name, value in fields.items()}
    unknown = given.keys() - set(part.source.fields)
    assert not unknown, f"not asked of Sage: {unknown}"
    return orjson.dumps(dict.fromkeys(part.source.fields) | given)


def map_row(part: Part, raw: bytes, joined: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, extra: str = "") -> Row:
    """The row for Prime; joined rows as plain values."""
    row = part.transform(raw, {name: [orjson.dumps(one) for one in rows] for name, rows in (joined or {}).items()}, extra)
    assert row is not None
    return row


def body_of(part: Part, raw: bytes, joined: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, extra: str = "") -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(map_row(part, raw, joined, extra).body)
    return body
