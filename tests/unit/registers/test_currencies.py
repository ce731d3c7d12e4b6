"""Currencies: the guide's table (prime.md 2.4), the pair joined, rate types, the inverse rate, both transports."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from register_cases import body_of, map_row, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part

PAIR = {"key": "10", "fromCurrency": "EUR", "toCurrency": "SEK", "exchangeRateType.name": "Intacct Daily Rate"}


def row(part: Part, **fields: Any) -> bytes:
    given = {"key": "5000", "effectiveStartDate": "2026-11-02", "rate": 11.25, "exchangeRate__key": "10"}
    return sage_row(part, **given | fields)


def test_soap_body_is_the_guides_table_with_a_plain_date() -> None:
    part = part_of("GetCurrencies", "soap")
    assert body_of(part, row(part), {"pair": [PAIR]}) == {
        "Company": "100",
        "BaseCurrency": "EUR",
        "Currency": "SEK",
        "FromAccountCodingDate": "2026-11-02",
        "BuyingRate": 11.25,
        "KeyType": 1,
        "ExternalId": "5000",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table() -> None:
    part = part_of("GetCurrencies", "rest")
    assert body_of(part, row(part), {"pair": [PAIR]}) == {
        "company": "100",
        "baseCurrency": "EUR",
        "currency": "SEK",
        "fromAccountCodingDate": "2026-11-02T00:00:00",
        "buyingRate": 11.25,
        "keyType": 1,
        "externalId": "5000",
        "externalSource": "SageIntacct",
    }


def test_two_objects_are_read() -> None:
    source = part_of("GetCurrencies").source
    assert source.object == "company-config/exchange-rate-line"
    assert [join.object for join in source.joins] == ["company-config/exchange-rate"]


@pytest.mark.parametrize(
    ("rate", "as_it_is", "inverted"),
    [
        (11.25, b"11.25", b"0.0888888888888889"),
        ("1.2500", b"1.25", b"0.8"),
        (4, b"4", b"0.25"),
        (0.00004, b"0.00004", b"25000"),
        ("1.0860", b"1.086", b"0.920810313075506"),
    ],
)
@pytest.mark.parametrize("transport", ["soap", "rest"])
def test_the_rate_passes_as_it_is_or_inverted(rate: Any, as_it_is: bytes, inverted: bytes, transport: str) -> None:
    name = b'"BuyingRate":' if transport == "soap" else b'"buyingRate":'
    for setting, expected in ((False, as_it_is), (True, inverted)):
        part = part_of("GetCurrencies", transport, invert_rate=setting)
        assert name + expected + b"," in map_row(part, row(part, rate=rate), {"pair": [PAIR]}).body


def test_two_rate_types_of_one_pair_and_day_have_one_natural_key_so_that_the_second_is_refused_by_name() -> None:
    part = part_of("GetCurrencies")
    first = map_row(part, row(part), {"pair": [PAIR]})
    second = map_row(part, row(part, key="5001"), {"pair": [PAIR | {"exchangeRateType.name": "Custom"}]})
    assert first.natural == second.natural
    assert (first.name, second.name) == ("Intacct Daily Rate", "Custom")
    for other in ({"fromCurrency": "USD"}, {"toCurrency": "NOK"}):
        assert map_row(part, row(part), {"pair": [PAIR | other]}).natural != first.natural
    assert map_row(part, row(part, effectiveStartDate="2026-11-03"), {"pair": [PAIR]}).natural != first.natural


def test_with_a_rate_type_configured_only_its_rates_are_wanted() -> None:
    part = part_of("GetCurrencies", exchange_rate_type="Custom")
    assert part.transform(row(part), {"pair": [orjson.dumps(PAIR)]}, "") is None
    assert part.transform(row(part), {"pair": [orjson.dumps(PAIR | {"exchangeRateType.name": None})]}, "") is None
    assert map_row(part, row(part), {"pair": [PAIR | {"exchangeRateType.name": "Custom"}]}).name == "Custom"


def test_prime_cannot_expire_one() -> None:
    assert part_of("GetCurrencies").expire("EUR/SEK/2026-11-02", "EUR/SEK/2026-11-02", "", "") is None


@pytest.mark.parametrize(
    ("fields", "pair", "code", "words"),
    [
        ({}, [], "missing_reference", "exchange rate 10"),
        ({"rate": 0}, [PAIR], "unexpected_value", "above 0"),
        ({"rate": -1}, [PAIR], "unexpected_value", "above 0"),
        ({"rate": None}, [PAIR], "missing_value", "rate"),
        ({"rate": "Infinity"}, [PAIR], "unexpected_value", "rate is Infinity"),
        ({"rate": "NaN"}, [PAIR], "unexpected_value", "rate is NaN"),
        ({"effectiveStartDate": "02/11/2026"}, [PAIR], "unexpected_value", "a date YYYY-MM-DD"),
        ({}, [PAIR | {"toCurrency": None}], "missing_value", "toCurrency"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], pair: list[Any], code: str, words: str) -> None:
    part = part_of("GetCurrencies")
    with pytest.raises(Poison, match=words) as refused:
        part.transform(row(part, **fields), {"pair": [orjson.dumps(one) for one in pair]}, "")
    assert refused.value.code == code
