"""Values as Prime's simulator reads them, and what its tables of fields promise."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.sandbox.prime.tables import INVOICE, REGISTERS, Column, Refused, read_date, read_decimal


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_a_number_keeps_its_value_and_has_one_plain_form(number: Decimal) -> None:
    plain = read_decimal(format(number, "f"))
    assert Decimal(plain) == number
    assert read_decimal(plain) == plain
    assert "E" not in plain
    assert not (plain.endswith("0") and "." in plain)


@pytest.mark.parametrize(("text", "plain"), [("007.4538000", "7.4538"), ("-0.0", "0"), ("+.5", "0.5"), ("5.", "5"), ("0", "0")])
def test_a_number_is_written_in_its_shortest_form(text: str, plain: str) -> None:
    assert read_decimal(text) == plain


@pytest.mark.parametrize("text", ["", ".", "-", "1,5", "1e3", "NaN", "٣", "1 000", "0x1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        read_decimal(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T00:00:00", "2026-01-02"),
        ("2026-01-02T00:00:00.000", "2026-01-02"),
        ("0001-01-01T00:00:00", "0001-01-01"),
        ("9999-12-31T00:00:00", "9999-12-31"),
        ("2026-01-02T03:04:05.60", "2026-01-02T03:04:05.6"),
    ],
)
def test_a_date_loses_midnight(text: str, kept: str) -> None:
    assert read_date(text) == kept


@pytest.mark.parametrize("text", ["2026-02-30", "2026-1-2", "20260102", "2026-01-02T25:00:00", "2026-01-02T00:00:00Z", "0000-01-01"])
def test_what_is_no_date_or_has_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        read_date(text)


WHOLE = Column("Blocked", "whole", required=False, low=0, high=2)
DECIMAL = Column("Percentage", "decimal", required=False)
TEXT = Column("Name", "text", required=False, limit=3)
BOOL = Column("UseDiscount", "bool", required=False)


@pytest.mark.parametrize(
    ("column", "value", "kept"),
    [(WHOLE, 2, 2), (WHOLE, None, None), (DECIMAL, 7.4538, "7.4538"), (DECIMAL, 1e-7, "0.0000001"), (DECIMAL, "25.0", "25"),
     (DECIMAL, 25, "25"), (TEXT, "abc", "abc"), (TEXT, "", None), (BOOL, True, True)],
)  # fmt: skip
def test_a_json_value_is_kept_in_its_columns_form(column: Column, value: object, kept: object) -> None:
    assert column.read_json(value) == kept


@pytest.mark.parametrize(
    ("column", "value"),
    [(WHOLE, 3), (WHOLE, "1"), (WHOLE, True), (WHOLE, 1.0), (DECIMAL, True), (DECIMAL, float("inf")), (DECIMAL, "1,5"), (TEXT, 1),
     (TEXT, "abcd"), (TEXT, ["a"]), (BOOL, 1), (BOOL, "true")],
)  # fmt: skip
def test_a_json_value_of_another_type_is_refused_by_the_fields_name(column: Column, value: object) -> None:
    with pytest.raises(Refused, match=f"Field {column.name}"):
        column.read_json(value)


def test_every_key_and_reference_of_a_register_is_one_of_its_columns() -> None:
    for table in REGISTERS.values():
        assert set(table.key) <= set(table.by_name), table.name
        for reference in table.references:
            assert reference.column in table.by_name
            assert reference.target in REGISTERS
            assert not reference.when or reference.when in table.by_name


def test_every_column_has_one_place_in_a_rest_record() -> None:
    for table in REGISTERS.values():
        listed = [name for names in table.rest_lists.values() for name in names]
        placed = [column.name for column in table.by_rest.values()] + listed
        in_objects = {f"{prefix}Object{n}" for prefix in ("Use", "Default") for n in range(1, 9)} if table.name == "Account" else set()
        assert sorted([*placed, *in_objects]) == sorted(table.by_name), table.name


def test_an_invoices_fields_are_those_of_the_documentation() -> None:
    assert len(INVOICE.columns) == 73
    assert {"InvoiceSeries", "InvoiceNo", "DueDate", "DiscountPercentage", "FeeAmount3"} <= set(INVOICE.required)
    assert not {"VoucherNo", "PaymentDate", "PayReference", "Group6"} & set(INVOICE.required)
