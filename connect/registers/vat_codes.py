"""VAT codes: Sage's tax details of purchases, delivered to Prime as VAT codes.

Two Sage objects make one VAT code (the guide's 1+1 calls): the tax detail, and the purchasing tax detail of the same id, whose percentage
counts where it has one. Tax details of sales are not read.

Source: the guide, VATCodes; prime.md 2.2, D7; sage-rest.md f.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from connect.config import RegisterSettings
from connect.errors import Poison
from connect.mapping import (
    VALID_FOREVER,
    Code,
    Entity,
    EntityMapping,
    FieldMap,
    Join,
    Joined,
    Part,
    Row,
    RowReader,
    Source,
    Status,
    Title,
    clean,
    framed,
    plain,
)
from connect.registers.accounts import account_number
from connect.registers.register import Register

PURCHASES: Final = ({"$eq": {"taxType": "purchase"}},)


class VatCode(Entity):
    """A VAT code. `name` falls back on the number, since Prime wants one."""

    number: Code
    status: Status
    name: Title | None = None
    percent: Decimal | None = None
    account: Title | None = None  # a reference, perhaps with the account's name; what Prime gets is the number
    percentage: Decimal | None = None
    valid_to: str | None = None


ENTITY = EntityMapping(
    model=VatCode,
    source="tax/tax-detail",
    fields=framed(
        #        VatCode       Sage Intacct          Prime, SOAP   Prime, REST
        FieldMap("number",     "{number}",           "VatCode",    "vatCode"),
        FieldMap("name",       "description",        "Name",       "name"),
        FieldMap("status",     "status"),
        FieldMap("valid_to",   "",                   "ValidTo",    "validTo"),
        FieldMap("account",    "glAccount.{number}", "Account",    "account"),
        FieldMap("percent",    "taxPercent"),
        FieldMap("percentage", "",                   "Percentage", "percentage"),
    ),
)  # fmt: skip


class Rate(msgspec.Struct, gc=False):
    """The rate of a VAT code on purchases."""

    percent: Decimal | None = None
    account: Title | None = None


def parts(settings: RegisterSettings) -> list[Part]:
    mapper = ENTITY.compile(settings)
    rate_paths = {"percent": "taxPercent", "account": mapper.path("purchaseGLAccount.{number}")}
    join = Join("rates", "tax/purchasing-tax-detail", ("key", "id", *rate_paths.values()), left="id", right="id")
    read_rate = RowReader(Rate, rate_paths, join.object)

    def transform(raw: bytes, joined: Joined, _extra: str) -> Row:
        code = mapper.decode(raw)
        what = f"Sage {ENTITY.source} {code.number}"
        rate = read_rate(found[0]) if (found := joined.get("rates")) else Rate()
        percent = code.percent if rate.percent is None else rate.percent
        if percent is not None:
            code.percentage = as_number(percent, f"{what}: taxPercent")
        code.account = account_number(code.account or rate.account, what)
        code.name = clean(code.name) or code.number
        code.valid_to = VALID_FOREVER if code.status == "active" else mapper.expired
        return Row(code.number, code.number, code.name, mapper.encode(code))

    def expire(_natural: str, number: str, name: str, _extra: str) -> bytes:
        return mapper.partial(number=number, name=name, valid_to=mapper.expired)

    return [
        Part(
            id="VatCode",
            kind="VatCode",
            source=Source(ENTITY.source, mapper.paths, filters=PURCHASES, joins=(join,)),
            version=mapper.version,
            transform=transform,
            expire=expire,
            unknown_fields=mapper.decode.unknown,
        )
    ]


def as_number(number: Decimal, what: str) -> Decimal:
    """The same number without the zeros at its end, so that 25.00 and 25 are one value."""
    if not number.is_finite():
        raise Poison(f"{what} is {number}, expected a number", system="sage", code="unexpected_value")
    return Decimal(plain(number))


REGISTER = Register(job="GetVatCodes", parts=parts, after=("GetAccounts",))
