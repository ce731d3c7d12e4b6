"""A worker that dies leaves nothing undone and nothing done twice. Every point, and what may come on top, is tried by `make faults`."""

from __future__ import annotations

from pathlib import Path

import pytest
from acts import Cancellations, Invoices, Payments
from deaths import Act, Table, Variant, die_everywhere

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(240)


def die(folder: Path, act: Act, variant: Variant, step: int) -> Table:
    with attached(folder / "redis") as url:
        table = die_everywhere(folder, url, act, variant, step=step)
    assert table.wrong == []
    assert table.is_whole, table
    return table


def test_an_invoice_whose_worker_dies_at_every_fourth_await_is_booked_once(tmp_path: Path) -> None:
    assert {"", "intent"} <= set(die(tmp_path, Invoices(), Variant(), 4).died_in)


def test_a_booking_whose_cancelling_dies_at_every_eighth_await_is_taken_back_once(tmp_path: Path) -> None:
    assert {"receipted", "cancelling"} <= set(die(tmp_path, Cancellations(), Variant(), 8).died_in)


@pytest.mark.parametrize(
    "variant",
    [Variant(), Variant(flush=True), Variant(sage={"read_lag_s": 2}, settle_s=2.5), Variant(sage={"idempotency": False})],
    ids=["dies", "and Redis forgets", "and queries lag", "and Sage knows no keys"],
)
def test_a_payment_whose_worker_dies_at_every_sixth_await_is_made_once(variant: Variant, tmp_path: Path) -> None:
    assert {"", "intent"} <= set(die(tmp_path, Payments(), variant, 6).died_in)
