"""Assets: the guide's table (prime.md 2.3)."""

from __future__ import annotations

from typing import Any

import pytest
from register_cases import body_of, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part
from connect.registers import REGISTERS


def row(part: Part, **fields: Any) -> bytes:
    return sage_row(part, **{"key": "900", "id": "A-1", "name": "Desk", "classification__id": "FURN"} | fields)


def test_soap_body_is_the_guides_table_without_a_key_type() -> None:
    part = part_of("GetAssets", "soap")
    assert body_of(part, row(part)) == {
        "Company": "100",
        "AssetType": "FURN",
        "Asset": "A-1",
        "Name": "Desk",
        "ExternalId": "900",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table() -> None:
    part = part_of("GetAssets", "rest")
    assert body_of(part, row(part)) == {
        "company": "100",
        "assetType": "FURN",
        "asset": "A-1",
        "name": "Desk",
        "externalId": "900",
        "externalSource": "SageIntacct",
    }


def test_the_asset_type_equals_the_number_that_its_type_has() -> None:
    asset = part_of("GetAssets", key_source="key")
    kind = part_of("GetAssetTypes", key_source="key")
    raw = sage_row(asset, key="900", id="A-1", name="Desk", classification__key="7")
    number = body_of(kind, sage_row(kind, key="7", id="FURN", name="Furniture"))["assetType"]
    assert body_of(asset, raw)["assetType"] == number == "7"
    assert REGISTERS["GetAssets"].after == ("GetAssetTypes",)


def test_prime_cannot_expire_one() -> None:
    assert part_of("GetAssets").expire("A-1", "A-1", "Desk", "") is None


def test_an_asset_without_a_type_is_refused_by_name() -> None:
    part = part_of("GetAssets")
    raw = sage_row(part, key="900", id="A-1", name="Desk")
    with pytest.raises(Poison, match=r"fixed-assets/asset 900: classification.id") as refused:
        part.transform(raw, {}, "")
    assert refused.value.code == "missing_value"
