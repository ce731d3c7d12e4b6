"""Asset types: the guide's table (prime.md 2.3)."""

from __future__ import annotations

from typing import Any

import pytest
from register_cases import body_of, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part


def row(part: Part, **fields: Any) -> bytes:
    return sage_row(part, **{"key": "7", "id": "FURN", "name": "Furniture"} | fields)


def test_soap_body_is_the_guides_table() -> None:
    part = part_of("GetAssetTypes", "soap")
    assert body_of(part, row(part, assetGLAccount__id="1220--Furniture")) == {
        "Company": "100",
        "AssetType": "FURN",
        "Name": "Furniture",
        "Account": "1220",
        "KeyType": 1,
        "ExternalId": "7",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table() -> None:
    part = part_of("GetAssetTypes", "rest")
    assert body_of(part, row(part)) == {
        "company": "100",
        "assetType": "FURN",
        "name": "Furniture",
        "account": None,
        "keyType": 1,
        "externalId": "7",
        "externalSource": "SageIntacct",
    }


def test_key_source_key_takes_accounts_by_key_too() -> None:
    part = part_of("GetAssetTypes", "soap", key_source="key")
    body = body_of(part, row(part, assetGLAccount__key="12"))
    assert (body["AssetType"], body["ExternalId"], body["Account"]) == ("7", "FURN", "12")


def test_prime_cannot_expire_one() -> None:
    assert part_of("GetAssetTypes").expire("FURN", "FURN", "Furniture", "") is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"name": None}, "missing_value"), ({"name": "x" * 401}, "too_long"), ({"id": 1.5}, None), ({"id": ["a"]}, "unexpected_value")],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str | None) -> None:
    part = part_of("GetAssetTypes")
    if code is None:
        assert body_of(part, row(part, **fields))["assetType"] == "1.5"
        return
    with pytest.raises(Poison) as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
