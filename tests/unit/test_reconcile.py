"""What is taken for an extra row or a double in Prime, and whose turn it is."""

from __future__ import annotations

from datetime import date
from typing import Any

from connect.plan import RowKey
from connect.reconcile import extra_rows

TODAY = date(2026, 6, 1)


def row(number: str, name: str, **more: Any) -> tuple[RowKey, dict[str, Any]]:
    facts = {
        "Company": "100",
        "KeyType": 1,
        "Supplier": number,
        "Name": name,
        "ExternalSource": "SageIntacct",
        "ExternalId": f"id {number}",
    }
    return ("100", number), {what: value for what, value in (facts | more).items() if value is not None}


def found(*rows: tuple[RowKey, dict[str, Any]]) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
    before = {"Supplier": dict([row("V1", "National Grid"), *rows])}
    drifts, foreign = extra_rows(
        "100", "acme", {"Supplier": "GetSuppliers"}, before, {("Supplier", ("100", "V1"))}, {("Supplier", "V8")}, TODAY
    )
    return [(one.number, one.what, one.repair) for one in drifts], foreign


def test_what_says_that_it_came_from_sage_and_is_not_there_is_extra_and_a_copy_is_a_double() -> None:
    assert found(row("V2", "Other")) == ([("V2", "extra", "expire")], {})
    assert found(row("V2", "Other", ExternalId="id V1")) == ([("V2", "double", "expire")], {})
    assert found(row("V2", "NATIONAL GRID")) == ([("V2", "double", "expire")], {})


def test_what_a_person_has_made_in_prime_a_person_ends() -> None:
    assert found(row("V2", "National grid", ExternalSource=None, ExternalId=None)) == ([("V2", "double", "")], {})
    assert found(row("V2", "Other", ExternalSource=None, ExternalId=None)) == ([], {"Supplier": 1})


def test_what_has_ended_is_refused_or_of_another_company_is_no_difference() -> None:
    other = (("200", "V2"), row("V2", "Other", Company="200")[1])
    assert found(row("V2", "Other", ValidTo="0001-01-01"), row("V8", "Refused"), other) == ([], {})
    assert found(row("V2", "Other", ValidTo="9999-12-31")) == ([("V2", "extra", "expire")], {})
