"""Asset types: Sage's asset classifications, delivered to Prime as asset types. Prime cannot expire them.

Source: the guide, AssetType; prime.md 2.3; sage-rest.md f.
"""

from __future__ import annotations

from connect.config import RegisterSettings
from connect.mapping import Code, Entity, EntityMapping, FieldMap, Joined, Part, Row, Source, Title, framed
from connect.registers.accounts import account_number
from connect.registers.register import Register


class AssetType(Entity):
    """A kind of asset, with the account that its assets are booked on."""

    number: Code
    name: Title
    account: Title | None = None  # a reference, perhaps with the account's name; what Prime gets is the number


ENTITY = EntityMapping(
    model=AssetType,
    source="fixed-assets/asset-classification",
    fields=framed(
        #        AssetType   Sage Intacct               Prime, SOAP  Prime, REST
        FieldMap("number",   "{number}",                "AssetType", "assetType"),
        FieldMap("name",     "name",                    "Name",      "name"),
        FieldMap("account",  "assetGLAccount.{number}", "Account",   "account"),
    ),
)  # fmt: skip


def parts(settings: RegisterSettings) -> list[Part]:
    mapper = ENTITY.compile(settings)

    def transform(raw: bytes, _joined: Joined, _extra: str) -> Row:
        asset_type = mapper.decode(raw)
        asset_type.account = account_number(asset_type.account, f"Sage {ENTITY.source} {asset_type.number}")
        return Row(asset_type.number, asset_type.number, asset_type.name, mapper.encode(asset_type))

    return [
        Part(
            id="AssetType",
            kind="AssetType",
            source=Source(ENTITY.source, mapper.paths),
            version=mapper.version,
            transform=transform,
            unknown_fields=mapper.decode.unknown,
        )
    ]


REGISTER = Register(job="GetAssetTypes", parts=parts, after=("GetAccounts",))
