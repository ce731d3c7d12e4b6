"""Currencies: Sage's exchange rates, each rate from one day on delivered to Prime as a currency. Prime cannot expire them.

Two Sage objects make one row (the guide's 1+1 calls): a line holds the day and the rate, the exchange rate above it the pair of currencies
and the rate type. Prime's key has no rate type: with rates of several types either one is configured (`ExchangeRateType`), or the second
row with the same pair and day is refused by name (D8, D9).

Source: the guide, Currency; prime.md 2.4, F8; sage-rest.md f.
"""

from __future__ import annotations

from datetime import date
from decimal import Context, Decimal
from typing import Final

import msgspec

from connect.config import RegisterSettings
from connect.errors import Poison
from connect.mapping import (
    Code,
    Entity,
    EntityMapping,
    FieldMap,
    Join,
    Joined,
    Part,
    Reference,
    Row,
    RowReader,
    Source,
    framed,
    midnight,
)
from connect.registers.register import Register
from connect.registers.vat_codes import as_number

INVERSE: Final = Context(prec=15)  # digits that survive a JSON number, so that both transports leave the same rate


class Currency(Entity):
    """What one unit of `base` costs in `currency` from `starts_on` on."""

    starts_on: date
    rate: Decimal
    exchange_rate_key: str
    base: str = ""
    currency: str = ""
    from_date: str = ""
    buying_rate: Decimal | None = None


ENTITY = EntityMapping(
    model=Currency,
    source="company-config/exchange-rate-line",
    fields=framed(
        #        Currency              Sage Intacct          Prime, SOAP              Prime, REST
        FieldMap("base",               "",                   "BaseCurrency",          "baseCurrency"),
        FieldMap("currency",           "",                   "Currency",              "currency"),
        FieldMap("starts_on",          "effectiveStartDate"),
        FieldMap("from_date",          "",                   "FromAccountCodingDate", "fromAccountCodingDate"),
        FieldMap("rate",               "rate"),
        FieldMap("buying_rate",        "",                   "BuyingRate",            "buyingRate"),
        FieldMap("exchange_rate_key",  "exchangeRate.key"),
    ),
)  # fmt: skip


class Pair(msgspec.Struct, gc=False):
    """The currencies and the rate type of a line."""

    base: Code
    currency: Code
    rate_type: Reference | None = None


PAIR_PATHS: Final = {"base": "fromCurrency", "currency": "toCurrency", "rate_type": "exchangeRateType.name"}
PAIR: Final = Join("pair", "company-config/exchange-rate", ("key", *PAIR_PATHS.values()), left="exchangeRate.key", right="key")


def parts(settings: RegisterSettings) -> list[Part]:
    mapper = ENTITY.compile(settings)
    read_pair = RowReader(Pair, PAIR_PATHS, PAIR.object)
    wanted, soap = settings.exchange_rate_type, mapper.transport == "soap"

    def transform(raw: bytes, joined: Joined, _extra: str) -> Row | None:
        line = mapper.decode(raw)
        what = f"Sage {ENTITY.source} {line.external_id}"
        found = joined.get("pair")
        if not found:
            raise Poison(f"{what}: its exchange rate {line.exchange_rate_key} is not to be read", system="sage", code="missing_reference")
        pair = read_pair(found[0])
        if wanted is not None and pair.rate_type != wanted:
            return None
        rate = as_number(line.rate, f"{what}: rate")
        if rate <= 0:
            raise Poison(f"{what}: rate is {rate}, expected a number above 0", system="sage", code="unexpected_value")
        line.base, line.currency = pair.base, pair.currency
        line.from_date = line.starts_on.isoformat() if soap else midnight(line.starts_on)  # prime.md 6.1
        line.buying_rate = as_number(INVERSE.divide(Decimal(1), rate), what) if settings.invert_rate else rate
        number = f"{line.base}/{line.currency}/{line.starts_on}"
        return Row(number, number, pair.rate_type or "", mapper.encode(line))

    return [
        Part(
            id="Currency",
            kind="Currency",
            source=Source(ENTITY.source, mapper.paths, joins=(PAIR,)),
            version=mapper.version,
            transform=transform,
            unknown_fields=mapper.decode.unknown,
        )
    ]


REGISTER = Register(job="GetCurrencies", parts=parts)
