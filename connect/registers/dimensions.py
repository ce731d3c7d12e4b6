"""Dimensions: the kinds of Sage's dimensions that a company has configured, each delivered to Prime as objects of one object type.

One table holds all 14 kinds; a user-defined dimension (`nsp::region`) is read from `platform-apps/nsp::region`. Every configured kind is a
part of its own ("Object-3"), which first names its object type in Prime. Prime keeps a description over REST only (D10), and asking Sage
for a field that an object lacks is an error: the table says who has what.

Source: the guide, DimObject; prime.md 2.5, D7, D10; sage-rest.md f.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from connect.config import RegisterSettings
from connect.mapping import (
    VALID_FOREVER,
    Code,
    DimensionStatus,
    Entity,
    EntityMapping,
    FieldMap,
    Joined,
    Note,
    Part,
    Row,
    Source,
    Title,
    clean,
    framed,
)
from connect.registers.register import Register

MODIFIED: Final = "audit.modifiedDateTime"


class Kind(NamedTuple):
    """One kind of dimension: the name of its object type, its Sage object, and what that has. Without a status it is always active."""

    title: str
    object: str
    described: bool = False
    has_status: bool = True


KINDS: Final = {
    "DEPARTMENT":      Kind("Department",       "company-config/department"),
    "LOCATION":        Kind("Location",         "company-config/location"),
    "PROJECT":         Kind("Project",          "projects/project",                described=True),
    "CUSTOMER":        Kind("Customer",         "accounts-receivable/customer"),
    "VENDOR":          Kind("Vendor",           "accounts-payable/vendor"),
    "EMPLOYEE":        Kind("Employee",         "company-config/employee"),
    "ITEM":            Kind("Item",             "inventory-control/item",          described=True),
    "CLASS":           Kind("Class",            "company-config/class",            described=True),
    "CONTRACT":        Kind("Contract",         "contracts/contract",              described=True, has_status=False),
    "TASK":            Kind("Task",             "projects/task",                   described=True, has_status=False),
    "WAREHOUSE":       Kind("Warehouse",        "inventory-control/warehouse"),
    "COSTTYPE":        Kind("Cost type",        "construction/cost-type",          described=True),
    "AFFILIATEENTITY": Kind("Affiliate entity", "company-config/affiliate-entity"),
    "FIXEDASSET":      Kind("Fixed asset",      "fixed-assets/asset",              described=True),
}  # fmt: skip


class DimensionObject(Entity):
    """One value of a dimension: a department, a project. `name` falls back on the number, since Prime wants one."""

    number: Code
    name: Title | None = None
    status: DimensionStatus = None
    description: Note | None = None
    object_type: int = 0
    valid_to: str | None = None


ENTITY = EntityMapping(
    model=DimensionObject,
    source="(dimension)",
    fields=framed(
        #        DimensionObject  Sage Intacct   Prime, SOAP     Prime, REST
        FieldMap("object_type",   "",            "ObjectTypeNo", "objectTypeNumber"),
        FieldMap("number",        "{number}",    "Object",       "object"),
        FieldMap("name",          "name",        "Name",         "name"),
        FieldMap("description",   "description", "",             "description"),
        FieldMap("status",        "status"),
        FieldMap("valid_to",      "",            "ValidTo",      "validTo"),
    ),
)  # fmt: skip


def kind_of(dimension: str) -> Kind:
    """The kind that lookup Objects calls so; any `nsp::name` is a user-defined one."""
    if dimension.startswith("nsp::"):
        return Kind(dimension.removeprefix("nsp::"), f"platform-apps/{dimension}", described=True)
    return KINDS[dimension]


def parts(settings: RegisterSettings) -> list[Part]:
    return [_part(settings, kind_of(name), number) for name, number in sorted(settings.objects.items(), key=lambda item: item[1])]


def _part(settings: RegisterSettings, kind: Kind, object_type: int) -> Part:
    without = set() if kind.has_status else {"status"}
    if settings.transport == "soap" or not kind.described:
        without.add("description")
    mapper = ENTITY.compile(settings, source=kind.object, without=frozenset(without))
    names = ("ObjectTypeNo", "Name") if settings.transport == "soap" else ("objectTypeNumber", "name")

    def transform(raw: bytes, _joined: Joined, _extra: str) -> Row:
        found = mapper.decode(raw)
        found.object_type = object_type
        found.name = clean(found.name) or found.number
        found.valid_to = VALID_FOREVER if found.status in ("active", None) else mapper.expired
        return Row(found.number, found.number, found.name, mapper.encode(found))

    def expire(_natural: str, number: str, name: str, _extra: str) -> bytes:
        return mapper.partial(object_type=object_type, number=number, name=name, valid_to=mapper.expired)

    return Part(
        id=f"Object-{object_type}",
        kind="Object",
        source=Source(kind.object, mapper.paths, modified_field=MODIFIED),
        version=mapper.version,
        transform=transform,
        preamble=(("ObjectType", msgspec.json.encode(dict(zip(names, (object_type, kind.title), strict=True)))),),
        expire=expire,
        unknown_fields=mapper.decode.unknown,
    )


REGISTER = Register(job="GetDimObjects", parts=parts, incremental=True)
