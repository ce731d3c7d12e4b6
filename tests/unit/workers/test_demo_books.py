"""The demo's comparison of both books: it says so when they differ, in each way in which they can."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from workers.demo import _Demo
from workers.demo_books import compared
from workers.screen import Screen


def world() -> dict[str, Any]:
    """Two invoices booked, one of them paid in full, one cancelled, one handed back."""
    return {
        "books": {
            "bills": [
                {"key": "1", "vendor": "V1", "amount": "10.00", "due": "0.00", "currency": "USD", "state": "paid", "attachment": "A"},
                {"key": "2", "vendor": "V2", "amount": "-5.00", "due": "-5.00", "currency": "USD", "state": "posted", "attachment": "B"},
            ],
            "payments": [{"key": "7", "amount": "10.00", "bills": [{"bill": "1", "amount": "10.00"}]}],
            "duplicates": [],
            "orphans": [],
        },
        "invoices": [
            {"InvoiceSeries": "1", "InvoiceNo": 1, "Status": 4, "queue": "receipted", "VoucherNo": 1, "Supplier": "V1", "Amount": "10",
             "Currency": "USD", "PaymentDate": "2026-03-01"},
            {"InvoiceSeries": "1", "InvoiceNo": 2, "Status": 4, "queue": "receipted", "VoucherNo": 2, "Supplier": "V2", "Amount": "5",
             "Currency": "USD", "Credit": "1"},
            {"InvoiceSeries": "1", "InvoiceNo": 3, "Status": 2, "queue": "receipted", "VoucherNo": 3, "Supplier": "V1", "Amount": "1",
             "Currency": "USD"},
            {"InvoiceSeries": "1", "InvoiceNo": 4, "Status": 4, "queue": "returned", "Supplier": "V9", "Amount": "1", "Currency": "USD"},
        ],
        "pay_receipts": [{"PaymentId": "a", "QueueStatus": 1, "ExternalId": "7"}, {"PaymentId": "b", "QueueStatus": 2, "ErrorText": "no"}],
    }  # fmt: skip


def test_books_that_agree_are_summed_up() -> None:
    found = compared(**world())
    assert (found.agree, found.differences) == (True, ())
    assert (found.bills, found.billed, found.payments, found.paid, found.dates) == (2, Decimal("5.00"), 1, Decimal("10.00"), 1)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("books", "bills", 0, "amount"), "11.00", "invoice 1-1 is 10 USD of V1 in Prime, and bill 1 is 11.00 USD of V1 in Sage"),
        (("books", "bills", 1, "amount"), "5.00", "invoice 1-2 is -5 USD of V2 in Prime"),
        (("books", "bills", 0, "vendor"), "V2", "10.00 USD of V2 in Sage"),
        (("books", "bills", 0, "attachment"), None, "invoice 1-1: bill 1 has no file"),
        (("books", "bills", 0, "due"), "10.00", "bill 1: 10.00 is open, and 0.00 should be"),
        (("books", "bills", 0, "key"), "9", "invoice 1-1 is booked as bill 1 in Prime, and Sage has no such bill"),
        (("books", "bills", 0, "key"), "8", "bill 8 in Sage is booked 0 times in Prime"),
        (("books", "bills", 0, "state"), "posted", "has the payment date 2026-03-01, and bill 1 is not paid"),
        (("books", "payments", 0, "key"), "8", "payment 8 is booked 0 times in Rillion Pay"),
        (("books", "payments", 0, "key"), "9", "Rillion Pay takes payment 7 for booked, and Sage does not have it"),
        (("books", "duplicates"), [{"vendor": "V1", "billNumber": "N", "bills": 2}], "Sage has bill number N of vendor V1 2 times"),
        (("books", "orphans"), [{"id": "RP-X"}], "Sage has attachment RP-X, and no bill with it"),
        (("invoices", 0, "PaymentDate"), None, "invoice 1-1 has no payment date, and bill 1 is paid"),
        (("invoices", 2, "VoucherNo"), 1, "invoice 1-3 is cancelled in Prime, and bill 1 is in Sage"),
        (("invoices", 1, "VoucherNo"), 1, "bill 1 in Sage is booked 2 times in Prime"),
        (("pay_receipts", 1), {"PaymentId": "b", "QueueStatus": 1, "ExternalId": "7"}, "payment 7 is booked 2 times in Rillion Pay"),
    ],
)
def test_each_difference_is_said(place: tuple[Any, ...], value: Any, words: str) -> None:
    changed = world()
    *path, last = place
    holder: Any = changed
    for step in path:
        holder = holder[step]
    holder[last] = value
    found = compared(**changed)
    assert not found.agree
    assert any(words in one for one in found.differences), found.differences


def test_books_that_differ_fail_the_demo() -> None:
    changed = world()
    demo = _Demo(None, None, Screen(), 0.0, books=compared(**changed))  # type: ignore[arg-type]
    assert demo.exit_code == 0
    changed["books"]["orphans"] = [{"id": "RP-X"}]
    demo.books = compared(**changed)
    assert demo.exit_code == 1
    demo.books = None
    assert demo.exit_code == 1
