"""Everything that Sage would refuse is told at once, with the line, in words for whoever mends it."""

from __future__ import annotations

from datetime import date

import pytest
from document_cases import everything, invoice, line, settings

from connect.documents.bill import bill_of
from connect.documents.preflight import AccountFacts, Facts, Needs, VendorFacts, needs, problems
from connect.ledger import Problem, problems_text

NOTHING = Facts(vendors={}, accounts={}, values={}, tax_codes=frozenset())


def found(one, chosen=None, **facts):
    """The problems in a Sage that has everything but for these facts."""
    chosen = chosen or settings()
    return problems(one, chosen, everything(needs(one, chosen), **facts))


def test_an_invoice_as_it_should_be_has_no_problem():
    assert found(invoice()) == []
    assert found(invoice(), settings(vat_lines="taxEntry")) == []


def test_what_must_be_known_is_named_once_and_adds_up_over_many_invoices():
    first = needs(invoice(line(Object3="P1"), line(Account="6100"), line("50.00", "2")), settings())
    assert first == Needs(
        vendors=frozenset({"V1"}),
        accounts=frozenset({"6000", "6100", "2641"}),
        values=frozenset({("DEPARTMENT", "D1"), ("LOCATION", "L1"), ("PROJECT", "P1")}),
        numbers=frozenset({("V1", "INV-77")}),
        currencies=frozenset({"USD"}),
        folders=frozenset({"Receipts"}),
    )
    second = needs(invoice(Supplier="V2", Currency="EUR"), settings(vat_lines="taxEntry", invoice_image_export=False))
    assert (second.accounts, second.tax_codes, second.rates, second.folders) == ({"6000"}, {"25"}, {("EUR", "USD")}, frozenset())
    both = first | second
    assert (both.vendors, both.currencies, both.folders) == ({"V1", "V2"}, {"USD", "EUR"}, {"Receipts"})


@pytest.mark.parametrize(
    ("facts", "code", "owner", "words"),
    [
        ({"vendors": {}}, "vendor_unknown", "clerk", "Supplier V1 is not in Sage"),
        ({"vendors": {"V1": VendorFacts(status="inactive")}}, "vendor_inactive", "clerk", "Supplier V1 is not active"),
        ({"vendors": {"V1": VendorFacts(state="s")}}, "vendor_not_approved", "Sage administrator", "V1 waits for approval in Sage"),
        ({"vendors": {"V1": VendorFacts(state="r")}}, "vendor_not_approved", "Sage administrator", "V1 was declined in Sage"),
        ({"vendors": {"V1": VendorFacts(is_on_hold=True)}}, "vendor_on_hold", "Sage administrator", "V1 is on hold"),
        (
            {"numbers": {("V1", "INV-77"): "312"}},
            "number_taken",
            "clerk",
            "Bill number INV-77 of supplier V1 is already used in Sage (bill 312)",
        ),
        ({"closed_until": date(2026, 11, 20)}, "period_closed", "clerk", "accounting date 2026-11-20 lies in a closed period"),
        ({"folders": frozenset({"Bills"})}, "folder_missing", "consultant", "no attachment folder Receipts"),
        ({"currencies": frozenset({"EUR"})}, "currency_not_enabled", "Sage administrator", "Currency USD is not enabled"),
        ({"base_currencies": frozenset({"EUR"})}, "base_currency", "consultant", "USD, the company's currency in Prime"),
    ],
)
def test_what_stands_against_the_whole_invoice(facts, code, owner, words):
    (problem,) = found(invoice(), **facts)
    assert (problem.code, problem.owner, problem.line) == (code, owner, 0)
    assert words in problem.message


@pytest.mark.parametrize(
    ("facts", "code", "text"),
    [
        ({"accounts": {"2641": AccountFacts()}}, "account_unknown", "Line 1: Account 6000 is not in Sage"),
        (
            {"accounts": {"2641": AccountFacts(), "6000": AccountFacts(status="inactive")}},
            "account_inactive",
            "Line 1: Account 6000 is not active in Sage",
        ),
        (
            {"accounts": {"2641": AccountFacts(takes_postings=False), "6000": AccountFacts()}},
            "account_closed",
            "Line 2: Account 2641 takes no direct postings in Sage",
        ),
        (
            {"accounts": {"2641": AccountFacts(), "6000": AccountFacts(requires=frozenset({"project"}))}},
            "dimension_missing",
            "Line 1: Project is missing: Account 6000 requires it",
        ),
        (
            {"accounts": {"2641": AccountFacts(requires=frozenset({"project"})), "6000": AccountFacts()}},
            "dimension_missing",
            "Line 2: Project is missing: Account 2641 requires it, and no expense line lends one",
        ),
        (
            {"accounts": {"2641": AccountFacts(), "6000": AccountFacts(requires=frozenset({"class"}))}},
            "dimension_not_configured",
            "Line 1: Account 6000 requires the dimension class in Sage, which lookup Objects does not name",
        ),
        ({"values": {("LOCATION", "L1"): "active"}}, "value_unknown", "Line 1: Department D1 is not in Sage"),
        (
            {"values": {("LOCATION", "L1"): "activeNonPosting", ("DEPARTMENT", "D1"): "active"}},
            "value_inactive",
            "Line 1: Location L1 takes no postings in Sage (activeNonPosting)",
        ),
    ],
)
def test_what_stands_against_a_line_names_it(facts, code, text):
    (problem,) = found(invoice(), **facts)
    assert (problem.code, problem.text) == (code, text)
    assert problem.owner == ("consultant" if code == "dimension_not_configured" else "clerk")


def test_location_is_required_on_every_line_whatever_the_account_says():
    (problem,) = found(invoice(line(Object2="")))
    assert problem.text == "Line 1: Location is missing: Sage requires it"


def test_a_vendor_dimension_need_not_be_coded_since_the_bill_has_a_vendor():
    assert found(invoice(line()), accounts={"6000": AccountFacts(requires=frozenset({"vendor", "department"}))}) == []


def test_vat_codes_are_looked_for_where_they_are_sent():
    chosen = settings(vat_lines="taxEntry")
    assert [one.text for one in found(invoice(), chosen, tax_codes=frozenset())] == ["Line 1: VAT code 25 is not in Sage"]
    assert found(invoice(), settings(), tax_codes=frozenset()) == []


@pytest.mark.parametrize(
    ("rates", "is_known"),
    [({}, False), ({("EUR", "USD"): date(2026, 11, 21)}, False), ({("EUR", "USD"): date(2026, 11, 20)}, True), (None, True)],
)
def test_a_foreign_currency_needs_a_rate_on_the_accounting_date(rates, is_known):
    texts = [one.text for one in found(invoice(Currency="EUR"), rates=rates)]
    assert texts == ([] if is_known else ["Sage has no exchange rate from EUR to USD for 2026-11-20"])


def test_what_was_not_asked_is_not_judged():
    asked = everything(needs(invoice(), settings()), numbers=None, currencies=None, base_currencies=None, rates=None, folders=None)
    assert problems(invoice(), settings(), asked) == []


def test_the_folder_matters_only_when_images_are_sent():
    assert found(invoice(), settings(invoice_image_export=False), folders=frozenset()) == []


def test_one_refusal_tells_everything_at_once():
    one = invoice(
        line(Account="", Object2="", Note="x"), line(Account="9999", Object1="D404"), line("1.00", "2"),
        Amount="999.00", DueDate="", Credit="1",
    )  # fmt: skip
    told = problems(one, settings(), NOTHING)
    assert [problem.code for problem in told] == [
        "credit_note", "missing", "account_missing", "unbalanced", "vendor_unknown", "dimension_missing", "value_unknown",
        "account_unknown", "value_unknown", "value_unknown", "account_unknown", "dimension_missing",
    ]  # fmt: skip
    assert "Line 2: Account 9999 is not in Sage" in [problem.text for problem in told]
    assert len(problems_text(told, 250)) <= 250


def test_the_same_problem_of_many_lines_is_told_once_with_all_their_numbers():
    lines = [line("10.00") for _ in range(4)]
    (problem,) = found(invoice(*lines), accounts={})
    assert problem.text == "Line 1: Account 6000 is not in Sage (also lines 2, 3, 4)"
    (problem,) = found(invoice(*lines[:2]), accounts={})
    assert problem.text.endswith("(also line 2)")


def test_an_invoice_of_import_vat_alone_is_a_bill_when_its_lines_are_coded():
    assert found(invoice(line("25.00", "2", Object2="L1"))) == []
    (problem,) = found(invoice(line("25.00", "2")))
    assert problem.text == "Line 1: Location is missing: Sage requires it, and no expense line lends one"


def test_a_dimension_that_a_vat_line_only_borrows_is_judged_on_the_line_that_has_it():
    (problem,) = found(invoice(), values={("DEPARTMENT", "D1"): "active"})
    assert problem.text == "Line 1: Location L1 is not in Sage"


def test_what_preflight_requires_of_a_vat_line_is_what_the_bill_carries():
    one = invoice(line(Object3="P1"), line("25.00", "2"))
    facts = everything(needs(one, settings()), accounts={"6000": AccountFacts(), "2641": AccountFacts(requires=frozenset({"project"}))})
    assert problems(one, settings(), facts) == []
    sent = bill_of(one, settings(), 0, attachment=False, requires=facts.requires)
    assert sent.count(b'"project":{"id":"P1"}') == 2


def test_problems_are_plain_facts_that_a_journal_can_keep():
    assert all(type(problem) is Problem for problem in problems(invoice(), settings(), NOTHING))
