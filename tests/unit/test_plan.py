"""Plans as data: values as Prime keeps them, field by field, what has moved, and a page that nobody's text can break."""

from __future__ import annotations

from typing import Any

import pytest

from connect import plan
from connect.errors import ConfigError
from connect.plan import Change, Document, JobPlan, Plan, Row, Write


def test_over_rest_bank_accounts_are_added_changed_and_removed_one_by_one():
    before = {"Supplier": "V1", plan.BANK_ACCOUNTS: {"1": {"BankAccount": "1", "Name": "old"}, "2": {"BankAccount": "2"}}}
    identity = {"company": "100", "supplier": "V1", "keyType": 1}
    given = [
        identity | {"bankAccountNo": "1", "name": "new"},
        identity | {"bankAccountNo": "2", "remove": 1},
        identity | {"bankAccountNo": "3"},
    ]
    now = plan.merged("Supplier", "rest", {"supplier": "V1", "supplierBankAccounts": given}, before)
    assert plan.changes_of(before, now) == (
        Change("SupplierBankAccount 1", {"BankAccount": "1", "Name": "old"}, {"BankAccount": "1", "Name": "new"}),
        Change("SupplierBankAccount 2", {"BankAccount": "2"}, None),
        Change("SupplierBankAccount 3", None, {"BankAccount": "3"}),
    )


def test_fields_left_out_stay_and_null_clears_and_a_list_replaces_all_its_positions():
    before = {"Supplier": "V1", "Name": "A", "Note": "n", "Address1": "Street", "Address2": "Yard", "Group1": "G"}
    now = plan.merged("Supplier", "rest", {"supplier": "V1", "note": None, "addressLines": ["Lane"]}, before)
    assert now == {"Supplier": "V1", "Name": "A", "Address1": "Lane", "Group1": "G"}


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("ValidTo", "9999-12-31T00:00:00", "9999-12-31"),
        ("BuyingRate", "1.500", "1.5"),
        ("BuyingRate", 0.25, "0.25"),
        ("Note", "1.500", "1.500"),
        ("Name", "", None),
        ("Blocked", 0, 0),
    ],
)
def test_values_are_compared_as_prime_keeps_them(name: str, given: Any, kept: Any):
    assert plan.value_of(name, given) == kept


def row(number: str, *, digest: str = "a", known: str = "k", prime: str = "p") -> Row:
    return Row(
        kind="Supplier",
        key=("100", number),
        number=number,
        name="N",
        action="changed",
        changes=(Change("Name", "A", "B"),),
        writes=(Write("Supplier", int(number), "upsert", digest, known),),
        prime=prime,
    )


def of(*rows: Row, documents: tuple[Document, ...] = ()) -> Plan:
    job = JobPlan(connection="acme", company="100", job="GetSuppliers", rows=list(rows), documents=list(documents))
    return Plan(id="1", made_at="2026-01-01T00:00:00+00:00", settings="s", jobs=[job])


def test_only_what_is_as_it_was_planned_is_allowed():
    planned = of(*(row(str(n)) for n in range(1, 6)))
    now = of(row("1"), row("2", digest="b"), row("3", prime="q"), row("4", known="l"), row("6"))
    allowed = plan.compare(planned, now)
    assert allowed.writes["acme", "100", "GetSuppliers"] == {("Supplier", 1, "upsert"): "a"}
    assert {one.number: one.why for one in allowed.moved} == {
        "2": "was changed in Sage since the plan was made",
        "3": "was changed in Prime since the plan was made",
        "4": "was sent by another run since the plan was made",
        "5": "need not be sent any more: it has been, or Sage has changed it back",
        "6": "is new since the plan was made",
    }


def test_a_document_that_would_be_another_thing_now_is_left_alone_with_the_reason():
    def invoice(action: str, *problems: str) -> Document:
        return Document(series="1", number="7", text="1-7", name="N", action=action, content="c", problems=problems)

    allowed = plan.compare(of(documents=(invoice("book"),)), of(documents=(invoice("hold", "Vendor V1 is on hold"),)))
    assert allowed.documents == {}
    assert [one.why for one in allowed.moved] == ["would be another thing now: hold in place of book (Vendor V1 is on hold)"]


def test_a_plan_comes_back_from_its_file_and_others_are_told_apart():
    made = of(row("1"))
    assert plan.decode(plan.encode(made), "f") == made
    with pytest.raises(ConfigError, match="f is no plan"):
        plan.decode(b'{"version": 1}', "f")
    made.version = plan.VERSION + 1
    with pytest.raises(ConfigError, match="newer version"):
        plan.decode(plan.encode(made), "f")


def test_no_text_of_a_supplier_breaks_out_of_the_page():
    hostile = "</td><script>alert(1)</script>"
    made = of(
        Row(kind="Supplier", key=("100", hostile), number=hostile, name=hostile, action="new", changes=(Change(hostile, None, hostile),))
    )
    made.notes.append(hostile)
    made.jobs[0].documents.append(Document(series="1", number="1", text=hostile, name=hostile, action="book", note=hostile))
    assert "<script" not in plan.to_html(made)
    assert hostile.replace("<", "&lt;").replace(">", "&gt;") in plan.to_html(made)
