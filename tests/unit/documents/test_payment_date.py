"""The window in which payment dates are looked for, and what leaves it."""

from __future__ import annotations

from datetime import date

from connect.documents.payment_date import Watched, note_of, over, window_start

SINCE = date(2026, 3, 1)
INSIDE, BEFORE = date(2026, 3, 1), date(2026, 2, 28)
PAID = date(2026, 3, 5)


def test_the_window_begins_so_many_days_ago_but_never_before_start_on() -> None:
    assert window_start(date(2026, 6, 1), 90, date(2026, 1, 1)) == date(2026, 3, 3)
    assert window_start(date(2026, 6, 1), 90, date(2026, 5, 1)) == date(2026, 5, 1)


def test_the_note_is_the_payments_number_and_never_empty() -> None:
    assert note_of("3086", "INV-1") == "3086"
    assert note_of("", "INV-1") == "Paid in Sage, bill INV-1"


def test_what_leaves_the_window_without_a_date_is_told_apart() -> None:
    watched = {
        ("1", "1"): Watched(INSIDE),
        ("1", "2"): Watched(INSIDE),
        ("1", "3"): Watched(INSIDE, PAID),
        ("1", "4"): Watched(BEFORE),
        ("1", "5"): Watched(BEFORE, PAID),
    }
    gone, undated = over(watched, {("1", "1")}, SINCE)
    assert gone == [("1", "2"), ("1", "4"), ("1", "5")], "cancelled or dated by others; left; left with its date"
    assert undated == [("1", "4")]


def test_what_prime_still_lists_is_watched_on_whatever_its_date() -> None:
    assert over({("1", "4"): Watched(BEFORE), ("1", "5"): Watched(BEFORE, PAID)}, {("1", "4"), ("1", "5")}, SINCE) == ([], [])
