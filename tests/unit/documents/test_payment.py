"""The guide's table of payments line by line, its mappings, its scenarios, and which payment in Sage is which of Rillion Pay's."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.catalogue import catalogue
from connect.config.models import GeneralSettings
from connect.documents.payment import (
    Bill,
    Booked,
    Claim,
    Facts,
    PaymentSettings,
    Settled,
    Share,
    bank_of,
    bill_of,
    claim_on,
    description_of,
    fits,
    id_of,
    listed_of,
    method_of,
    problems,
    request_of,
    said_by_sage,
)
from connect.errors import Permanent
from connect.ledger import MARKER, DocumentId, Problem, markers_in

SETTINGS = PaymentSettings(
    company="100",
    entity="E1",
    methods={"Check": "Printed Check", "ACH": "ACH", "VirtualCard": "Credit Card", "Other": "EFT"},
    banks={"0042": "BOA", "7": "VISA"},
)
PAID = Settled(
    id="p1",
    supplier="V1",
    supplier_name="National Grid",
    invoice_number="1001",
    supplier_invoice_no="INV-1",
    voucher_no="1221",
    amount=Decimal("10.00"),
    currency="USD",
    method="Check",
    reference="77",
    paid_on=date(2026, 11, 25),
)
BILL = Bill(
    key="1221",
    number="INV-1",
    vendor="V1",
    state="posted",
    created_on=date(2026, 11, 23),
    amount=Decimal("15.00"),
    open=Decimal("15.00"),
    currency="USD",
    base_currency="USD",
    reference="OCR 9",
    description="Gas https://prime.example/invoice?no=1 RP-AAAAAAAAAAAAAAAA",
    markers=("RP-AAAAAAAAAAAAAAAA",),
)
ID = id_of(PAID, "DEMO", "100")
ROOT = ID.marker()


def paid(**changes: Any) -> Settled:
    return replace(PAID, **changes)


def settings(**changes: Any) -> PaymentSettings:
    return replace(SETTINGS, **changes)


def facts(*bills: Bill, **changes: Any) -> Facts:
    banks = {"BOA": "cash-management/checking-account", "VISA": "cash-management/credit-card-account"}
    return Facts(**{"bills": bills or (BILL,), "account": "42", "banks": banks, "blocked": {}} | changes)


def body(payment: Settled = PAID, how: PaymentSettings = SETTINGS, known: Facts | None = None, revision: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(request_of(payment, how, known or facts(), ID, revision).body)
    return found


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("FinancialEntity", "financialEntity", {"entityId": "BOA"}),
        ("PaymentDate", "paymentDate", "2026-11-25"),
        ("Action", "action", "submit"),
        ("State", "state", "approved"),
        ("DocumentNumber", "documentNumber", "77"),
        ("DocumentId", "documentId", "PR#77-BR#OCR 9-VN#1221"),
        ("Description", "description", f"Gas https://prime.example/invoice?no=1 {ROOT}"),
        ("PaymentRequestMethod", "paymentRequestMethod", "useVendorPreference"),
        ("BaseCurrency", "baseCurrency", {"currency": "USD"}),
        ("TxnCurrency", "txnCurrency", {"currency": "USD"}),
        ("PaymentMethod", "paymentMethod", "Printed Check"),
        ("Vendor", "vendor", {"id": "V1"}),
        ("TxnCurrency (amount) and Bill", "details", [{"txnCurrency": {"paymentAmount": "10.00"}, "bill": {"key": "1221"}}]),
    ],
)
def test_each_line_of_the_guide_is_in_the_request(line: str, field: str, value: Any) -> None:
    assert body()[field] == value, line


def test_nothing_else_is_in_the_request() -> None:
    assert len(body()) == 13


def test_currencies_are_the_bills() -> None:
    euro = BILL._replace(currency="EUR", base_currency="USD")
    sent = body(paid(currency="EUR"), known=facts(euro))
    assert (sent["txnCurrency"], sent["baseCurrency"]) == ({"currency": "EUR"}, {"currency": "USD"})


def test_the_vendor_is_named_by_key_where_prime_has_keys() -> None:
    assert body(how=settings(numbers="key"))["vendor"] == {"key": "V1"}


@pytest.mark.parametrize(
    "how", ["useVendorPreference", "generateOneRequestPerBill", "mergeRequestIntoOnePerVendorPayToContact", "mergeRequestsIntoOnePerVendor"]
)
def test_each_request_method_of_the_guide_travels_as_it_is_written(how: str) -> None:
    assert body(how=settings(request_method=how))["paymentRequestMethod"] == how
    assert GeneralSettings.model_validate({"PaymentRequestMethod": how}).payment_request_method == how


def test_a_later_revision_has_a_marker_of_its_own_and_the_same_document_id() -> None:
    assert body(revision=2)["description"].endswith(f"{ROOT}-2")
    assert body(revision=2)["documentId"] == body()["documentId"]


@given(st.text(alphabet=string.printable + "åß漢𝄞", max_size=1200))
def test_whatever_the_bill_says_the_payments_own_marker_stands_whole_at_the_end(text: str) -> None:
    made = description_of(BILL._replace(description=f"{text} RP-AAAAAAAAAAAAAAAA-1"), f"{ROOT}-12")
    assert made.endswith(f"{ROOT}-12")
    assert len(made) <= 1000
    assert markers_in(made) == [f"{ROOT}-12"]
    assert MARKER.search(made)


# -- methods and banks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pays", "sage"), [("Check", "Printed Check"), ("ACH", "ACH"), ("VirtualCard", "Credit Card"), ("Other", "EFT")])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
def test_the_guides_mapping_of_methods_is_taken_wrapped_and_bare(pays: str, sage: str, wrapped: bool) -> None:
    mapping = {"Check": "Printed Check", "ACH": "ACH", "VirtualCard": "Credit Card", "Other": "EFT"}
    given_as = {"PaymentMethodMapping": mapping} if wrapped else mapping
    read = GeneralSettings.model_validate({"PaymentMethodMapping": given_as}).payment_method_mapping
    assert method_of(paid(method=pays), settings(methods=read)) == sage


@pytest.mark.parametrize("method", ["", "Cheque", "check", "Wire"])
def test_a_method_that_is_not_mapped_is_refused(method: str) -> None:
    (problem,) = problems(paid(method=method), SETTINGS, facts())
    assert (problem.code, problem.owner) == ("payment_method", "consultant")
    with pytest.raises(Permanent, match="PaymentMethodMapping"):
        body(paid(method=method))


@pytest.mark.parametrize("method", ["Printed Check", "Cash", "EFT", "Credit Card", "ACH"])
def test_the_default_method_is_used_for_all_where_the_setting_says_so(method: str) -> None:
    assert method_of(paid(method="whatever"), settings(use_default_method=True, method=method)) == method


@pytest.mark.parametrize(("account", "bank"), [("42", "BOA"), ("0042", "BOA"), ("7", "VISA"), ("0007", "VISA")])
def test_zeros_in_front_of_an_account_do_not_count(account: str, bank: str) -> None:
    assert bank_of(account, SETTINGS.banks) == bank


@pytest.mark.parametrize(
    ("account", "banks"),
    [("43", {"42": "BOA"}), ("42", {}), ("420", {"42": "BOA"}), ("42", {"42": "BOA", "042": "OTHER"})],
    ids=["another", "none mapped", "longer", "mapped twice"],
)
def test_an_account_that_is_not_mapped_to_one_bank_is_refused_without_naming_it(account: str, banks: dict[str, str]) -> None:
    problem = bank_of(account, banks)
    assert isinstance(problem, Problem)
    assert (problem.owner, account in problem.message) == ("consultant", False)


@pytest.mark.parametrize(
    ("method", "bank", "right"),
    [
        ("Credit Card", "credit-card-account", True),
        ("Credit Card", "checking-account", False),
        ("Printed Check", "checking-account", True),
        ("Cash", "savings-account", True),
        ("EFT", "credit-card-account", False),
        ("ACH", "credit-card-account", False),
    ],
)
def test_cards_are_paid_by_card_and_everything_else_from_a_bank(method: str, bank: str, right: bool) -> None:
    assert fits(method, f"cash-management/{bank}") is right


# -- the scenarios -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["posted", "selected", "partiallyPaid"])
def test_scenario_1_bills_in_these_states_can_be_paid(state: str) -> None:
    assert problems(PAID, SETTINGS, facts(BILL._replace(state=state))) == []


@pytest.mark.parametrize(
    ("state", "owner", "words"),
    [
        ("draft", "Sage administrator", "approve it there first"),
        ("submitted", "Sage administrator", "approve it there first"),
        ("partiallyApproved", "Sage administrator", "approve it there first"),
        ("declined", "Sage administrator", "only posted, selected or partly paid"),
        ("paid", "operator", "paid in full already"),
        ("reversed", "operator", "make a new bill"),
    ],
)
def test_scenario_1_bills_in_other_states_cannot(state: str, owner: str, words: str) -> None:
    (problem,) = problems(PAID, SETTINGS, facts(BILL._replace(state=state)))
    assert (problem.owner, words in problem.message) == (owner, True)


@pytest.mark.parametrize(("day", "codes"), [(22, ["SL-0417"]), (23, []), (24, [])])
def test_scenario_2_a_payment_is_not_dated_before_its_bill(day: int, codes: list[str]) -> None:
    assert [one.code for one in problems(paid(paid_on=date(2026, 11, day)), SETTINGS, facts())] == codes


@pytest.mark.parametrize(("amount", "codes"), [("5.00", []), ("15.00", []), ("15.01", ["BL01001973"])])
def test_scenarios_3_and_4_a_payment_is_at_most_what_is_open(amount: str, codes: list[str]) -> None:
    assert [one.code for one in problems(paid(amount=Decimal(amount)), SETTINGS, facts())] == codes


def test_scenario_3_of_a_bill_that_is_partly_paid_the_rest_can_be_paid() -> None:
    rest = BILL._replace(state="partiallyPaid", open=Decimal("4.00"))
    assert problems(paid(amount=Decimal("4.00")), SETTINGS, facts(rest)) == []
    assert [one.code for one in problems(paid(amount=Decimal("4.01")), SETTINGS, facts(rest))] == ["BL01001973"]


@pytest.mark.parametrize(
    ("changes", "known"),
    [({"method": "VirtualCard"}, {}), ({}, {"account": "7"}), ({}, {"banks": {}})],
    ids=["card from a bank", "check from a card", "no such account in Sage"],
)
def test_scenario_5_the_account_must_fit_the_method(changes: dict[str, Any], known: dict[str, Any]) -> None:
    (problem,) = problems(paid(**changes), SETTINGS, facts(**known))
    assert (problem.code, problem.owner) == ("AP-0038", "consultant")


@pytest.mark.parametrize(
    ("changes", "known", "code"),
    [
        ({"voucher_no": ""}, {}, "payment_names_no_bill"),
        ({"supplier": ""}, {}, "payment_names_no_bill"),
        ({"amount": Decimal(0)}, {}, "payment_amount"),
        ({"amount": Decimal("-1.00")}, {}, "payment_amount"),
        ({"amount": Decimal("1.005")}, {}, "payment_amount"),
        ({"currency": "EUR"}, {}, "payment_currency"),
        ({"external_id": "55"}, {}, "payment_booked_before"),
        ({"voucher_no": "9", "supplier_invoice_no": "X"}, {}, "payment_bill_unknown"),
        ({"supplier": "V2"}, {}, "payment_bill_unknown"),
        ({}, {"blocked": {"V1": "on hold"}}, "payment_vendor"),
        ({}, {"bills": (BILL._replace(on_hold=True),)}, "payment_bill_held"),
        ({}, {"account": Problem("Rillion Pay has no bank account", "consultant", code="payment_bank")}, "payment_bank"),
    ],
)
def test_whatever_else_stands_against_a_payment_is_said(changes: dict[str, Any], known: dict[str, Any], code: str) -> None:
    assert [one.code for one in problems(paid(**changes), SETTINGS, facts(**known))] == [code]


def test_the_catalogue_knows_everything_that_is_said_and_agrees_whose_turn_it_is() -> None:
    wrong = [
        *(paid(**changes) for changes in (
            {"voucher_no": ""}, {"amount": Decimal(0)}, {"currency": "EUR"}, {"external_id": "5"}, {"supplier": "V2"}, {"method": "Wire"},
            {"paid_on": date(2026, 1, 1)}, {"amount": Decimal(99)}, {"method": "VirtualCard"},
        )),
    ]  # fmt: skip
    said = [problem for one in wrong for problem in problems(one, SETTINGS, facts())]
    for known in (
        facts(BILL._replace(state="submitted")), facts(BILL._replace(on_hold=True)), facts(blocked={"V1": "on hold"}), facts(account="3"),
        facts(BILL._replace(number="X"), BILL._replace(key="9")),
    ):  # fmt: skip
        said += problems(PAID, SETTINGS, known)
    assert len(said) == 14
    for problem in said:
        entry = catalogue().explain("sage", problem.code, problem.message)
        assert entry is not None, problem
        assert entry.name.startswith("payment_"), (entry.name, problem)
        assert entry.owner == problem.owner, (entry.owner, problem)


def test_all_problems_are_said_at_once() -> None:
    wrong = paid(method="Wire", amount=Decimal("20.00"), paid_on=date(2026, 11, 1))
    assert [one.code for one in problems(wrong, SETTINGS, facts())] == ["payment_method", "SL-0417", "BL01001973"]


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("SL-0417", "Select a payment date that occurs after the bill creation date, then try again.", "dated before its bill (SL-0417)"),
        ("BL01001973", "The amount received is greater than the amount to apply.", "more than what is open on its bill (BL01001973)"),
        ("AP-0038", "Select a valid credit card account, then try again.", "cannot pay by Printed Check from account BOA (AP-0038)"),
        ("BL01001973", "The contact is empty.", "The contact is empty."),
        ("period_closed", "The period is closed.", "no postings of the payment's date 2026-11-25"),
        ("vendor_inactive", "Activate the vendor V1, then try again.", "Sage pays vendor V1 nothing"),
        ("refused", "Something else.", "Something else."),
    ],
    ids=["SL-0417", "BL01001973", "AP-0038", "the catch-all says something else", "a closed period", "a vendor", "another"],
)
def test_what_sage_says_all_the_same_is_told_in_words_with_what_to_do(code: str, message: str, words: str) -> None:
    error = said_by_sage(Permanent(message, system="sage", code=code), PAID, orjson.dumps(body()))
    assert words in error.message
    assert len(error.message) <= 250
    assert catalogue().owner("sage", error.code, error.message, error.detail) != "clerk", "nobody can change it in Prime"
    assert message in (error.detail, error.message), "Sage's own words are kept"


# -- which bill --------------------------------------------------------------------------------------------------------

OTHER = BILL._replace(key="1300", number="INV-2")


@pytest.mark.parametrize(
    ("bills", "key"),
    [
        ((BILL, OTHER), "1221"),
        ((BILL._replace(key="99"), OTHER), "99"),
        ((BILL._replace(number="RENAMED"), OTHER), "1221"),
        ((BILL, BILL._replace(key="99")), "1221"),
        ((BILL._replace(state="reversed"), BILL._replace(key="99")), "99"),
        ((BILL._replace(vendor="V2"),), None),
        ((BILL._replace(number="X"), BILL._replace(key="99")), None),
        ((), None),
    ],
    ids=["by key and number", "by number", "by key", "key before number", "reversed and made anew", "another vendor's", "two", "none"],
)
def test_the_bill_is_the_one_with_the_key_or_the_number_of_that_vendor(bills: tuple[Bill, ...], key: str | None) -> None:
    found = bill_of(PAID, bills)
    assert (found.key if isinstance(found, Bill) else None) == key


# -- identity, and what Sage has already -------------------------------------------------------------------------------


def test_a_payment_is_known_by_pays_own_id_and_another_content_is_another_revision() -> None:
    one = listed_of(PAID, "DEMO", "100")
    assert one.id == DocumentId("DEMO", "100", "PAY", "p1")
    assert (one.vendor, one.amount, one.currency, one.number) == ("V1", Decimal("10.00"), "USD", "77")
    assert listed_of(paid(external_id="5"), "DEMO", "100").content == one.content, "a receipt changes nothing"
    assert listed_of(paid(amount=Decimal("10.0")), "DEMO", "100").content == one.content
    assert listed_of(paid(amount=Decimal("10.01")), "DEMO", "100").content != one.content


MADE = Booked("500", "PR#77-BR#OCR 9-VN#1221", "77", date(2026, 11, 25), is_alive=True, shares=(Share("1221", Decimal("10.00")),))
TWIN = paid(id="p2")


def claim(made: Booked, *others: Settled, bills: tuple[Bill, ...] = (BILL,), marked: frozenset[str] = frozenset()) -> Claim | None:
    peers = [(id_of(one, "DEMO", "100").marker(), one) for one in (PAID, *others)]
    return claim_on(made, PAID, ROOT, peers, {one.key: one for one in bills}, marked)


def test_a_payment_with_its_marker_is_ours() -> None:
    found = claim(MADE._replace(markers=(f"{ROOT}-1",), document_id="edited", document_number="edited"))
    assert found is not None
    assert (found.is_ours, found.doubts, found.amount) == (True, (), Decimal("10.00"))


def test_a_payment_with_its_marker_that_pays_another_bill_or_on_another_day_is_doubted() -> None:
    found = claim(
        MADE._replace(markers=(ROOT,), shares=(Share("1300", Decimal("10.00")),), paid_on=date(2026, 11, 26)), bills=(BILL, OTHER)
    )
    assert found is not None
    assert found.doubts == ("it pays other bills", "date is 2026-11-26 in Sage and 2026-11-25 in Rillion Pay")


def test_a_payment_without_marker_is_taken_over_when_everything_agrees() -> None:
    found = claim(MADE)
    assert found is not None
    assert (found.is_ours, found.doubts) == (False, ())


@pytest.mark.parametrize(
    "made",
    [
        MADE._replace(markers=("RP-BBBBBBBBBBBBBBBB",)),
        MADE._replace(shares=(Share("1221", Decimal("5.00")),)),
        MADE._replace(shares=(Share("1300", Decimal("10.00")),)),
        MADE._replace(document_id="PR#8-BR#OCR 9-VN#1221", document_number="8"),
    ],
    ids=["another's marker", "another instalment", "another bill", "another reference"],
)
def test_a_payment_that_is_another_is_passed_over(made: Booked) -> None:
    assert claim(made, bills=(BILL, OTHER)) is None


def test_the_marker_of_the_bill_in_a_description_is_nobodys() -> None:
    found = claim(MADE._replace(markers=BILL.markers))
    assert found is not None
    assert found.doubts == ()


@pytest.mark.parametrize(
    ("made", "others", "words"),
    [
        (MADE, (TWIN,), "payment p2 of Rillion Pay may be meant too"),
        (MADE._replace(paid_on=date(2026, 11, 24)), (), "date is 2026-11-24 in Sage"),
        (MADE._replace(document_id=""), (), "its document id is missing"),
    ],
    ids=["two may be meant", "another day", "typed by hand"],
)
def test_a_payment_that_may_be_ours_is_for_a_person(made: Booked, others: tuple[Settled, ...], words: str) -> None:
    found = claim(made, *others)
    assert found is not None
    assert any(words in doubt for doubt in found.doubts)


def test_a_payment_of_another_day_that_another_payment_of_pay_explains_is_that_one() -> None:
    assert claim(MADE._replace(paid_on=date(2026, 10, 25)), paid(id="p0", paid_on=date(2026, 10, 25))) is None


def test_who_has_a_payment_with_a_marker_needs_none_without() -> None:
    found = claim(MADE, TWIN, marked=frozenset({id_of(TWIN, "DEMO", "100").marker()}))
    assert found is not None
    assert found.doubts == ()
