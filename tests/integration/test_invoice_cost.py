"""What an invoice with its PDF costs in Sage: few round trips, few counted transactions."""

from __future__ import annotations

from pathlib import Path

import approved
import pytest
from world import Sandbox

pytestmark = pytest.mark.timeout(240)
ROUND_TRIPS = 1.3
TRANSACTIONS = 2.2  # the bill, its attachment, and the look-ups


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.faults)])
def test_an_invoice_with_a_pdf_costs_little_more_than_its_two_records(count: int, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        approved.fill(box)
        approved.load(box, *(approved.invoice(number) for number in range(1, count + 1)), content=approved.PDF * 100)
        approved.connect_to(box, tmp_path).sync()
        stats = box.stats()["sage"]
        assert len(box.call("/_sandbox/books")["bills"]) == count
        calls = sum(stats["calls"].values())
        assert calls / count <= ROUND_TRIPS, stats["calls"]
        print(f"\n{calls / count:.2f} round trips and {stats['transactions'] / count:.2f} transactions an invoice")
        assert stats["transactions"] / count <= TRANSACTIONS, stats["transactions"]
