"""Accounts: the guide's table (prime.md 2.1), both transports, both values of each setting, awkward rows."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest
from register_cases import EXPIRED, FOREVER, body_of, map_row, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part
from connect.registers import REGISTERS

USES_ALL_OPTIONAL = {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "FIXEDASSET": 4, "COSTTYPE": 5, "AFFILIATEENTITY": 6, "nsp::region": 8}


def row(part: Part, **fields: Any) -> bytes:
    return sage_row(part, **{"key": "1003", "id": "6000", "name": "Rent", "status": "active"} | fields)


def test_soap_body_is_the_guides_table() -> None:
    part = part_of("GetAccounts", "soap")
    assert body_of(part, row(part, taxCode="V25", requireDimensions__location=True)) == {
        "Company": "100",
        "Account": "6000",
        "Name": "Rent",
        "ValidTo": FOREVER,
        "VatCode": "V25",
        "VatCodeMandatory": 1,
        "UseObject1": 1,
        "UseObject2": 2,
        "UseObject3": 0,
        "UseObject4": 0,
        "UseObject5": 0,
        "UseObject6": 0,
        "UseObject7": 0,
        "UseObject8": 0,
        "KeyType": 1,
        "ExternalId": "1003",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table() -> None:
    part = part_of("GetAccounts", "rest")
    assert body_of(part, row(part, requireDimensions__department=True)) == {
        "company": "100",
        "account": "6000",
        "name": "Rent",
        "validTo": FOREVER,
        "vatCode": None,
        "vatCodeMandatory": 0,
        "useObjects": [
            {"objectTypeNumber": 1, "use": 2},
            {"objectTypeNumber": 2, "use": 1},
            *({"objectTypeNumber": n, "use": 0} for n in range(3, 9)),
        ],
        "keyType": 1,
        "externalId": "1003",
        "externalSource": "SageIntacct",
    }


@pytest.mark.parametrize(("status", "valid_to"), [("active", FOREVER), ("inactive", EXPIRED)])
@pytest.mark.parametrize(("transport", "name"), [("soap", "ValidTo"), ("rest", "validTo")])
def test_an_inactive_account_is_expired(status: str, valid_to: str, transport: str, name: str) -> None:
    part = part_of("GetAccounts", transport)
    assert body_of(part, row(part, status=status))[name] == valid_to


def test_each_configured_dimension_is_asked_for_by_sages_name_and_fills_its_object_type() -> None:
    part = part_of("GetAccounts", "soap", objects=USES_ALL_OPTIONAL)
    asked = [field for field in part.source.fields if field.startswith("requireDimensions.")]
    names = ("department", "location", "project", "asset", "costType", "affiliateEntity")
    assert sorted(asked) == sorted(f"requireDimensions.{name}" for name in names)
    optional = {"UseObject1": 1, "UseObject2": 1, "UseObject3": 1, "UseObject4": 1, "UseObject5": 1, "UseObject6": 1, "UseObject7": 0}
    optional |= {"UseObject8": 1}  # user-defined: Sage does not show whether it is required
    for number, name in enumerate(names, 1):
        body = body_of(part, row(part, **{f"requireDimensions__{name}": True}))
        assert {use: body[use] for use in optional} == optional | {f"UseObject{number}": 2}


@pytest.mark.parametrize("transport", ["soap", "rest"])
def test_default_objects_are_left_alone_unless_the_setting_hands_them_to_sage(transport: str) -> None:
    off, on = part_of("GetAccounts", transport), part_of("GetAccounts", transport, default_dimensions=True)
    if transport == "soap":
        assert not [name for name in body_of(off, row(off)) if name.startswith("Default")]
        assert {name: value for name, value in body_of(on, row(on)).items() if name.startswith("Default")} == {
            f"DefaultObject{n}": None for n in range(1, 9)
        }
    else:
        assert all("default" not in entry for entry in body_of(off, row(off))["useObjects"])
        assert [entry["default"] for entry in body_of(on, row(on))["useObjects"]] == [None] * 8


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_vat_code_is_none_and_not_mandatory(blank: str | None) -> None:
    part = part_of("GetAccounts", "soap")
    body = body_of(part, row(part, taxCode=blank))
    assert (body["VatCode"], body["VatCodeMandatory"]) == (None, 0)


@pytest.mark.parametrize(("transport", "vat_code"), [("soap", "VatCode"), ("rest", "vatCode")])
def test_the_provisional_body_lacks_only_the_vat_code(transport: str, vat_code: str) -> None:
    part = part_of("GetAccounts", transport)
    assert REGISTERS["GetAccounts"].second_pass_after == "GetVatCodes"
    full = map_row(part, row(part, taxCode="V25")).body
    provisional = part.provisional(full)
    assert provisional is not None
    assert orjson.loads(full).keys() - orjson.loads(provisional).keys() == {vat_code, f"{vat_code}Mandatory"}
    assert part.provisional(map_row(part, row(part)).body) is None


def test_key_source_key_turns_number_and_external_id_round_and_finds_the_vat_codes_key() -> None:
    part = part_of("GetAccounts", "soap", key_source="key")
    body = body_of(part, row(part, taxCode="V25"), {"tax_code": [{"key": "51", "id": "V25"}]})
    assert (body["Account"], body["ExternalId"], body["VatCode"]) == ("1003", "6000", "51")


def test_expiry_says_nothing_but_key_and_date() -> None:
    part = part_of("GetAccounts", "soap")
    body = part.expire("6000", "6000", "Rent", "")
    assert body is not None
    assert orjson.loads(body) == {"Company": "100", "KeyType": 1, "Account": "6000", "ValidTo": EXPIRED}


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"status": "activeNonPosting"}, "unexpected_value", "one of active, inactive"),
        ({"status": None}, "missing_value", "status"),
        ({"id": None}, "missing_value", "id"),
        ({"id": ""}, "unexpected_value", "id"),
        ({"id": "9" * 101}, "too_long", "id has 101 characters"),
        ({"name": "x" * 401}, "too_long", "name has 401 characters"),
        ({"requireDimensions__location": "maybe"}, "unexpected_value", "true or false"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str, words: str) -> None:
    part = part_of("GetAccounts")
    with pytest.raises(Poison, match=words) as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
    assert "1003" in refused.value.message


def test_a_number_that_sage_writes_as_a_number_is_its_digits() -> None:
    part = part_of("GetAccounts", "soap")
    assert body_of(part, row(part, id=6000))["Account"] == "6000"


def test_the_configured_date_means_expired() -> None:
    part = part_of("GetAccounts", "soap", expired_on=date(2000, 1, 1))
    assert body_of(part, row(part, status="inactive"))["ValidTo"] == "2000-01-01T00:00:00"
    assert b'"ValidTo":"2000-01-01T00:00:00"' in (part.expire("6000", "6000", "Rent", "") or b"")
