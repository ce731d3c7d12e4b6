"""Dimensions: the guide's table (prime.md 2.5) for the 14 kinds and user-defined ones, both transports."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from register_cases import EXPIRED, FOREVER, body_of, part_of, sage_row, settings

from connect.config.names import DIMENSIONS
from connect.errors import Poison
from connect.mapping import Part
from connect.registers import REGISTERS

# dimension, Sage object, has a description, has a status (sage-rest.md f)
KINDS = [
    ("DEPARTMENT", "company-config/department", False, True),
    ("LOCATION", "company-config/location", False, True),
    ("PROJECT", "projects/project", True, True),
    ("CUSTOMER", "accounts-receivable/customer", False, True),
    ("VENDOR", "accounts-payable/vendor", False, True),
    ("EMPLOYEE", "company-config/employee", False, True),
    ("ITEM", "inventory-control/item", True, True),
    ("CLASS", "company-config/class", True, True),
    ("CONTRACT", "contracts/contract", True, False),
    ("TASK", "projects/task", True, False),
    ("WAREHOUSE", "inventory-control/warehouse", False, True),
    ("COSTTYPE", "construction/cost-type", True, True),
    ("AFFILIATEENTITY", "company-config/affiliate-entity", False, True),
    ("FIXEDASSET", "fixed-assets/asset", True, True),
    ("nsp::region", "platform-apps/nsp::region", True, True),
]


def part_for(dimension: str, transport: str = "rest", **others: Any) -> Part:
    return part_of("GetDimObjects", transport, objects={dimension: 3}, **others)


def row(part: Part, **fields: Any) -> bytes:
    given = {"key": "8", "id": "P-8", "name": "Harbour"} | ({"status": "active"} if "status" in part.source.fields else {})
    return sage_row(part, **given | fields)


def test_every_dimension_of_the_guide_is_in_the_table() -> None:
    assert {name for name, *_ in KINDS} == {*DIMENSIONS, "nsp::region"}


@pytest.mark.parametrize(("dimension", "sage_object", "described", "has_status"), KINDS)
@pytest.mark.parametrize("transport", ["soap", "rest"])
def test_only_what_the_object_has_and_prime_keeps_is_asked(
    dimension: str, sage_object: str, described: bool, has_status: bool, transport: str
) -> None:
    source = part_for(dimension, transport).source
    assert source.object == sage_object
    expected = {"key", "id", "name"} | ({"status"} if has_status else set())
    expected |= {"description"} if described and transport == "rest" else set()
    assert set(source.fields) == expected
    assert source.fields[0] == "key"
    assert source.modified_field == "audit.modifiedDateTime"


def test_soap_body_is_the_guides_table_without_description() -> None:
    part = part_for("PROJECT", "soap")
    assert body_of(part, row(part)) == {
        "Company": "100",
        "ObjectTypeNo": 3,
        "Object": "P-8",
        "Name": "Harbour",
        "ValidTo": FOREVER,
        "KeyType": 1,
        "ExternalId": "8",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table_with_description() -> None:
    part = part_for("PROJECT", "rest")
    assert body_of(part, row(part, description="Dredging")) == {
        "company": "100",
        "objectTypeNumber": 3,
        "object": "P-8",
        "name": "Harbour",
        "description": "Dredging",
        "validTo": FOREVER,
        "keyType": 1,
        "externalId": "8",
        "externalSource": "SageIntacct",
    }


def test_a_description_that_sage_does_not_have_is_not_sent() -> None:
    part = part_for("DEPARTMENT", "rest")
    assert "description" not in body_of(part, row(part))


@pytest.mark.parametrize(
    ("status", "valid_to"), [("active", FOREVER), (None, FOREVER), ("inactive", EXPIRED), ("activeNonPosting", EXPIRED)]
)
def test_what_cannot_be_selected_is_expired(status: str | None, valid_to: str) -> None:
    part = part_for("DEPARTMENT", "soap")
    assert body_of(part, row(part, status=status))["ValidTo"] == valid_to


@pytest.mark.parametrize("dimension", ["TASK", "CONTRACT"])
def test_kinds_without_a_status_are_active(dimension: str) -> None:
    part = part_for(dimension, "soap")
    assert body_of(part, row(part))["ValidTo"] == FOREVER


def test_there_is_one_part_per_configured_dimension_in_the_order_of_object_types() -> None:
    register = REGISTERS["GetDimObjects"]
    parts = register.parts(settings(objects={"LOCATION": 2, "nsp::region": 5, "DEPARTMENT": 1}))
    assert [(part.id, part.kind, part.source.object) for part in parts] == [
        ("Object-1", "Object", "company-config/department"),
        ("Object-2", "Object", "company-config/location"),
        ("Object-5", "Object", "platform-apps/nsp::region"),
    ]
    assert register.incremental


@pytest.mark.parametrize(
    ("dimension", "transport", "body"),
    [
        ("DEPARTMENT", "soap", {"ObjectTypeNo": 3, "Name": "Department"}),
        ("COSTTYPE", "rest", {"objectTypeNumber": 3, "name": "Cost type"}),
        ("nsp::region", "soap", {"ObjectTypeNo": 3, "Name": "region"}),
    ],
)
def test_the_object_type_is_named_first(dimension: str, transport: str, body: dict[str, Any]) -> None:
    ((kind, said),) = part_for(dimension, transport).preamble
    assert (kind, orjson.loads(said)) == ("ObjectType", body)


def test_key_source_key_turns_number_and_external_id_round() -> None:
    part = part_for("CLASS", "soap", key_source="key")
    body = body_of(part, row(part))
    assert (body["Object"], body["ExternalId"]) == ("8", "P-8")


@pytest.mark.parametrize("blank", [None, "", "\t"])
def test_an_object_without_name_is_named_by_its_number(blank: str | None) -> None:
    part = part_for("CONTRACT", "rest")
    assert body_of(part, row(part, name=blank))["name"] == "P-8"


def test_expiry_names_what_prime_requires() -> None:
    part = part_for("CLASS", "soap")
    body = part.expire("P-8", "P-8", "Harbour", "")
    assert body is not None
    assert orjson.loads(body) == {
        "Company": "100",
        "KeyType": 1,
        "ObjectTypeNo": 3,
        "Object": "P-8",
        "Name": "Harbour",
        "ValidTo": EXPIRED,
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "archived"}, "unexpected_value"),
        ({"id": None}, "missing_value"),
        ({"name": "x" * 401}, "too_long"),
        ({"description": "x" * 4001}, "too_long"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str) -> None:
    part = part_for("PROJECT", "rest")
    with pytest.raises(Poison, match="projects/project 8") as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
