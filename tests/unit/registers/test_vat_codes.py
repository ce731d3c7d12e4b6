"""VAT codes: the guide's table (prime.md 2.2), rates joined, both transports, awkward rows."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from register_cases import EXPIRED, FOREVER, body_of, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part


def row(part: Part, **fields: Any) -> bytes:
    given = {"key": "51", "id": "V25", "description": "Standard rate", "status": "active", "taxPercent": "25.00"}
    return sage_row(part, **given | fields)


def test_soap_body_is_the_guides_table() -> None:
    part = part_of("GetVatCodes", "soap")
    assert body_of(part, row(part, glAccount__id="2641")) == {
        "Company": "100",
        "VatCode": "V25",
        "Name": "Standard rate",
        "ValidTo": FOREVER,
        "Account": "2641",
        "Percentage": 25,
        "KeyType": 1,
        "ExternalId": "51",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table() -> None:
    part = part_of("GetVatCodes", "rest")
    assert body_of(part, row(part, status="inactive")) == {
        "company": "100",
        "vatCode": "V25",
        "name": "Standard rate",
        "validTo": EXPIRED,
        "account": None,
        "percentage": 25,
        "keyType": 1,
        "externalId": "51",
        "externalSource": "SageIntacct",
    }


def test_two_objects_are_read_and_only_purchases() -> None:
    source = part_of("GetVatCodes").source
    assert (source.object, source.filters) == ("tax/tax-detail", ({"$eq": {"taxType": "purchase"}},))
    assert [join.object for join in source.joins] == ["tax/purchasing-tax-detail"]


@pytest.mark.parametrize(
    ("detail", "rates", "percentage"),
    [
        ("25.00", [], b"25"),
        ("25.00", [12.5], b"12.5"),
        ("25.00", ["12.50"], b"12.5"),
        ("25.00", [None], b"25"),
        (None, [10.02], b"10.02"),
        (None, [], b"null"),
        ("0", [], b"0"),
        (6, [], b"6"),
        ("-5.00", [], b"-5"),
    ],
)
def test_the_percentage_is_the_rates_else_the_details_number_or_text(detail: Any, rates: list[Any], percentage: bytes) -> None:
    part = part_of("GetVatCodes", "soap")
    joined = {"rates": [{"key": "9", "id": "V25", "taxPercent": rate, "purchaseGLAccount.id": None} for rate in rates]}
    row_ = part.transform(row(part, taxPercent=detail), {name: [orjson.dumps(one) for one in found] for name, found in joined.items()}, "")
    assert row_ is not None
    assert b'"Percentage":' + percentage + b"," in row_.body


@pytest.mark.parametrize(
    ("detail", "rate", "account"),
    [
        ("6850.03--Taxes", None, "6850.03"),
        ("2641", "2640", "2641"),
        (None, "1200.01--Accounts Receivable - a/c label offset", "1200.01"),
        (None, None, None),
        ("2641--" + "x" * 200, None, "2641"),
    ],
)
def test_the_account_is_the_number_before_the_dashes(detail: str | None, rate: str | None, account: str | None) -> None:
    part = part_of("GetVatCodes", "soap")
    rates = [{"key": "9", "id": "V25", "taxPercent": 25, "purchaseGLAccount.id": rate}]
    assert body_of(part, row(part, glAccount__id=detail), {"rates": rates})["Account"] == account


@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_code_without_description_is_named_by_its_number(blank: str | None) -> None:
    part = part_of("GetVatCodes", "soap")
    assert body_of(part, row(part, description=blank))["Name"] == "V25"


def test_key_source_key_takes_accounts_by_key_too() -> None:
    part = part_of("GetVatCodes", "soap", key_source="key")
    body = body_of(part, row(part, glAccount__key="77"))
    assert (body["VatCode"], body["ExternalId"], body["Account"]) == ("51", "V25", "77")


def test_expiry_names_what_prime_requires() -> None:
    part = part_of("GetVatCodes", "rest")
    body = part.expire("V25", "V25", "Standard rate", "")
    assert body is not None
    assert orjson.loads(body) == {"company": "100", "keyType": 1, "vatCode": "V25", "name": "Standard rate", "validTo": EXPIRED}


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"status": "retired"}, "unexpected_value", "one of active, inactive"),
        ({"taxPercent": "ten"}, "unexpected_value", "taxPercent is 'ten', expected a number"),
        ({"taxPercent": "NaN"}, "unexpected_value", "taxPercent is NaN"),
        ({"description": "x" * 401}, "too_long", "description has 401 characters"),
        ({"glAccount__id": "9" * 101}, "too_long", "account has 101 characters"),
        ({"id": None}, "missing_value", "id"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str, words: str) -> None:
    part = part_of("GetVatCodes")
    with pytest.raises(Poison, match=words) as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
