"""What is taken for a difference: extra rows and doubles in Prime, lines of bills; what waits for nobody, and what is kept of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson

from connect.plan import Change, JobPlan, Row, RowKey, Write
from connect.reconcile import Report, extra_rows, kept, line_changes, row_drifts, summary

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


# -- lines of bills ----------------------------------------------------------------------------------------------------


def line(account: str, amount: str, **dimensions: str) -> dict[str, str]:
    return {"glAccount.id": account, "txnAmount": amount} | {f"dimensions.{name}.id": value for name, value in dimensions.items()}


RENT, VAT = line("6000", "100.00", location="4", department="11"), line("2640", "25.00", location="4")


def told(*now: dict[str, str]) -> list[tuple[str, Any, Any]]:
    return [(one.field, one.old, one.new) for one in line_changes([RENT, VAT], now)]


def test_lines_that_are_as_they_were_sent_do_not_differ_wherever_they_stand_and_whatever_sage_has_filled_in() -> None:
    assert told(RENT, VAT) == told(VAT, RENT) == []
    assert told(RENT | {"txnAmount": "100"}, VAT | {"dimensions.department.id": "12", "memo": "x"}) == []


def test_a_line_that_says_less_does_not_take_the_place_of_one_that_says_more() -> None:
    bare = line("6000", "100.00")
    assert line_changes([bare, RENT], [RENT, bare]) == []


def test_each_field_of_a_line_that_is_another_is_told() -> None:
    assert told(RENT | {"glAccount.id": "6100"}, VAT) == [("line 1 account", "6000", "6100")]
    assert told(RENT, VAT | {"dimensions.location.id": "5"}) == [("line 2 location", "4", "5")]
    assert told(line("6000", "100.00", location="4"), VAT) == [("line 1 department", "11", None)]
    assert told(RENT | {"txnAmount": "90"}, VAT | {"txnAmount": "35"}) == [
        ("line 1 amount", "100.00", "90"), ("line 2 amount", "25.00", "35")
    ]  # fmt: skip


def test_a_line_that_is_gone_and_one_more_are_told_whole() -> None:
    assert told(VAT) == [("line 1", "account 6000, amount 100.00, location 4, department 11", None)]
    assert told(RENT, VAT, line("6000", "0.00", location="4")) == [("one more line", None, "account 6000, amount 0.00, location 4")]


# -- what waits for nobody, and what is kept ---------------------------------------------------------------------------


def drifts(*rows: Row, reads_all: bool = False) -> list[tuple[str, str, bool]]:
    job = JobPlan(connection="acme", company="100", job="GetSuppliers", rows=list(rows))
    return [(one.number, one.what, one.waits) for one in row_drifts(job, lambda _: True, reads_all=reads_all)]


def planned(number: str, action: Any, *writes: Write) -> Row:
    changes = (Change("Name", "Old", "New"), Change("SupplierBankAccount SE4550000000058398257466", None, {"BankAccount": "SE455"}))
    return Row(kind="Supplier", key=("100", number), number=number, name="Zoë", action=action, writes=writes, changes=changes)


def test_what_sage_has_changed_since_it_was_sent_waits_and_what_prime_has_changed_does_not() -> None:
    sent, changed, new = (Write("Supplier", 7, "upsert", "aa", known) for known in ("aa", "bb", ""))
    gone = Write("Supplier", 7, "expire", "ee", "aa")
    assert drifts(planned("V1", "changed", sent)) == [("V1", "different", False)]
    assert drifts(planned("V1", "changed", changed), planned("V2", "new", new)) == [("V1", "different", True), ("V2", "missing", True)]
    assert drifts(planned("V3", "new", sent)) == [("V3", "missing", False)], "removed in Prime by hand"
    assert drifts(planned("V4", "expired", gone)) == [("V4", "extra", False)], "no run that reads the changes alone finds that"
    assert drifts(planned("V4", "expired", gone), reads_all=True) == [("V4", "extra", True)]


def test_what_is_kept_is_bounded_says_first_what_needs_somebody_and_holds_no_values_of_rows() -> None:
    job = JobPlan(connection="acme", company="100", job="GetSuppliers", rows=[
        planned(f"V{n}", "changed", Write("Supplier", n, "upsert", "aa", "bb" if n < 300 else "aa")) for n in range(1000)
    ])  # fmt: skip
    report = Report(made_at="2026-06-06T05:00:00+00:00", drifts=row_drifts(job, lambda _: True), notes=["n" * 10_000] * 1000)
    raw = kept(report)
    assert len(raw) < 120_000
    assert b"SE4550000000058398257466" not in raw
    found = orjson.loads(raw)
    assert (found["found"], found["waits"], found["by"]) == (1000, 300, {"different": 1000})
    assert {one["which"] for one in found["drifts"]} == {f"Supplier V{n}" for n in range(300, 500)}
    assert found["drifts"][0]["detail"] == "Name, SupplierBankAccount"
    assert summary(report).companies == {"100": 700}
