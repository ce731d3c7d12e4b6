"""Payment date: when an invoice's bill was paid in full, which Prime shows on the invoice with a note.

Prime is asked for the booked invoices without such a date whose accounting date lies within the window (PaymentCutoffDays). Part payments
give none. What leaves the window without a date never gets one.
Source: the guide, PaymentCutoffDays; prime.md 2.8, 4 (job 9).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import NamedTuple

InvoiceNo = tuple[str, str]  # series, number


class Watched(NamedTuple):
    """An invoice that Prime has listed. `sent_on`: the payment date that Prime has taken from us."""

    posted_on: date
    sent_on: date | None = None


def window_start(today: date, cutoff_days: int, start_on: date) -> date:
    """The first accounting date that is looked at."""
    return max(today - timedelta(days=cutoff_days), start_on)


def note_of(payment_number: str, bill_number: str) -> str:
    """The comment on the invoice: the payment's document number, or what else is known of it. Prime takes none that is empty."""
    return payment_number or f"Paid in Sage, bill {bill_number}"


def over(watched: Mapping[InvoiceNo, Watched], listed: Collection[InvoiceNo], since: date) -> tuple[list[InvoiceNo], list[InvoiceNo]]:
    """(those that need not be watched any more, those of them that have left the window without a date).

    One that Prime lists no more within the window has got a date from elsewhere, or is cancelled.
    """
    gone = [one for one, known in watched.items() if one not in listed and (known.posted_on < since or known.sent_on is None)]
    return gone, [one for one in gone if watched[one].posted_on < since and watched[one].sent_on is None]
