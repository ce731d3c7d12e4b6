"""What must never be booked twice or lost: every case has a defined outcome, and the tests that show it. None goes missing unseen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
POSTING, CANCELLING = "integration/test_posting.py", "integration/test_cancelling.py"
CASES = {
    "two workers on the same invoice": [(POSTING, "test_two_workers_at_once_book_it_once")],
    "an operator replays at the same moment": [
        (POSTING, "test_two_workers_at_once_book_it_once"),
        ("faults/test_replays.py", "test_two_operators_who_replay_the_same_letters_while_prime_resends_book_each_once"),
    ],
    "the same invoice listed twice": [
        ("unit/prime/test_documents.py", "test_an_invoice_listed_twice_counts_once_and_not_at_all_when_the_two_differ"),
    ],
    "resent after a refusal, changed": [
        ("integration/test_invoices.py", "test_a_refused_invoice_that_is_mended_and_resent_is_booked_and_its_letter_resolved"),
        (POSTING, "test_an_invoice_that_sage_refused_and_prime_resends_is_booked_under_another_key"),
    ],
    "resent after a refusal, unchanged": [(POSTING, "test_an_invoice_resent_unchanged_after_a_refusal_is_judged_anew")],
    "supplier or number changed in Prime while the outcome is unknown: it never arrived": [
        (POSTING, "test_what_never_arrived_and_was_changed_in_prime_meanwhile_is_the_next_revision"),
    ],
    "supplier or number changed in Prime while the outcome is unknown: it had arrived": [
        (POSTING, "test_while_queries_lag_nothing_is_sent_and_nothing_refused"),
        (POSTING, "test_what_arrived_late_under_the_old_number_is_found_by_it"),
    ],
    "the bill reversed or deleted in Sage and the invoice resent": [
        (POSTING, "test_a_bill_that_ended_after_the_receipt_and_an_invoice_resent_is_the_next_revision"),
        (POSTING, "test_a_bill_reversed_before_prime_was_told_is_for_a_person"),
        ("integration/test_cancellations.py", "test_a_cancelled_invoice_that_is_approved_again_is_a_new_bill"),
    ],
    "an invoice number used in two companies": [(POSTING, "test_one_number_in_two_companies_is_two_documents")],
    "the same supplier invoice number at two suppliers": [
        (POSTING, "test_the_same_number_at_two_suppliers_is_two_bills"),
        (POSTING, "test_a_duplicate_that_cannot_be_found_is_for_a_person_and_never_refused"),  # where Sage allows it only once
    ],
    "a bill typed by hand in Sage beforehand": [(POSTING, "test_a_bill_typed_by_hand_before_is_a_number_already_used")],
    "a bill booked by the incumbent": [
        (POSTING, "test_a_bill_of_the_incumbent_is_adopted_by_its_link"),
        (CANCELLING, "test_a_bill_that_the_incumbent_booked_is_known_by_the_number_in_prime"),
        ("integration/test_payments_exported.py", "test_a_payment_that_the_incumbent_made_is_adopted"),
    ],
    "a period closed between create and receipt": [(POSTING, "test_a_period_closed_between_the_bill_and_the_receipt_refuses_nothing")],
    "midnight between create and retry": [
        (POSTING, "test_at_midnight_the_bytes_that_may_be_on_their_way_stay_as_they_were"),
        ("unit/documents/test_invoice.py", "test_content_does_not_change_at_midnight_but_with_everything_that_is_sent"),
    ],
    "a receipt refused for good": [
        (POSTING, "test_a_receipt_refused_for_good_counts_as_booked"),
        (CANCELLING, "test_a_receipt_refused_for_good_counts_as_cancelled"),
    ],
    "a payment cancelled": [
        ("integration/test_payments_exported.py", "test_a_payment_voided_in_sage_is_for_a_person_and_never_made_again"),
        (
            "integration/test_payments_exported.py",
            "test_a_payment_that_pay_has_cancelled_is_not_made_and_one_cancelled_too_late_is_said_in_the_run",
        ),
    ],
    "a second deployment on the same Prime": [
        ("integration/test_take_over.py", "test_a_second_connect_stops_with_the_command_that_takes_over_and_then_the_first_one_stops"),
        ("integration/test_take_over.py", "test_documents_that_wait_in_the_queue_stop_too_when_another_has_taken_over"),
    ],
    "a file too big for Sage": [
        (
            "integration/test_invoices.py",
            "test_a_file_too_big_for_sage_is_a_refusal_that_says_so_and_the_invoice_with_a_smaller_one_is_booked",
        ),
    ],
    "a text too long for Sage": [
        ("unit/workers/test_invoices.py", "test_what_is_cut_is_said_in_the_log_and_link_and_marker_stay_whole"),
    ],
    "a payment date that never comes": [("integration/test_payment_dates.py", "test_what_leaves_the_window_unpaid_is_counted_once")],
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_shown_by_a_test_that_is_there(case: str) -> None:
    for file, name in CASES[case]:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert name in names, f"{case}: {file} has no {name}"
