"""Assets: Sage's fixed assets, delivered to Prime as assets. Prime cannot expire them, and its asset has no KeyType.

Source: the guide, Asset; prime.md 2.3; sage-rest.md f.
"""

from __future__ import annotations

from connect.config import RegisterSettings
from connect.mapping import Code, Entity, EntityMapping, FieldMap, Joined, Part, Row, Source, Title, framed
from connect.registers.register import Register


class Asset(Entity):
    """A fixed asset. `asset_type` is the number of its asset type."""

    number: Code
    name: Title
    asset_type: Code


ENTITY = EntityMapping(
    model=Asset,
    source="fixed-assets/asset",
    fields=framed(
        #        Asset          Sage Intacct               Prime, SOAP  Prime, REST
        FieldMap("asset_type",  "classification.{number}", "AssetType", "assetType"),
        FieldMap("number",      "{number}",                "Asset",     "asset"),
        FieldMap("name",        "name",                    "Name",      "name"),
        key_type=False,
    ),
)  # fmt: skip


def parts(settings: RegisterSettings) -> list[Part]:
    mapper = ENTITY.compile(settings)

    def transform(raw: bytes, _joined: Joined, _extra: str) -> Row:
        asset = mapper.decode(raw)
        return Row(asset.number, asset.number, asset.name, mapper.encode(asset))

    return [
        Part(
            id="Asset",
            kind="Asset",
            source=Source(ENTITY.source, mapper.paths),
            version=mapper.version,
            transform=transform,
            unknown_fields=mapper.decode.unknown,
        )
    ]


REGISTER = Register(job="GetAssets", parts=parts, after=("GetAssetTypes",))
