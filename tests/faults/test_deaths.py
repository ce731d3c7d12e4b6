"""Exactly once, at whichever await a worker dies: a process for every suspension of a document's way, and one that recovers them all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import approved
import pytest
from acts import Cancellations, Invoices, Payments
from deaths import Act, Table, Variant, die_everywhere

from connect.state.embedded import attached

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
SEED: Final = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
CLOSED: Final = {"closed_until": "2026-12-31"}  # Sage refuses what pre-flight has let through
NO_NET: Final = {"idempotency": False, "bill_number_unique": "off"}  # nothing but the protocol keeps anything from being made twice
LAG: Final = {"read_lag_s": 12.0}  # longer than it takes until the recovery begins, and than the slots' wait in an emptied Redis
LAG_SETTLES_S: Final = 13.0
BIG: Final[dict[str, Any]] = {"images": 3, "limit_bytes": 20_000, "content": approved.PDF * 10}  # more than one request can carry

CIRCUMSTANCES: Final = {
    "plain": Variant(),
    "Redis emptied": Variant(flush=True),
    "queries lag": Variant(sage=LAG, settle_s=LAG_SETTLES_S),
    "queries lag, Redis emptied": Variant(flush=True, sage=LAG, settle_s=LAG_SETTLES_S),
    "no idempotency": Variant(sage=NO_NET),
    "no idempotency, Redis emptied": Variant(flush=True, sage=NO_NET),
    "no idempotency, queries lag": Variant(sage=NO_NET | LAG, settle_s=LAG_SETTLES_S),
    "no idempotency, queries lag, Redis emptied": Variant(flush=True, sage=NO_NET | LAG, settle_s=LAG_SETTLES_S),
    "two deaths": Variant(twice=True, sage=NO_NET),
    "two deaths, Redis emptied": Variant(twice=True, flush=True, sage=NO_NET),
}
"""Under which everything must end well."""
INVOICES: Final[dict[str, tuple[Act, Variant]]] = {name: (Invoices(), variant) for name, variant in CIRCUMSTANCES.items()} | {
    "no idempotency, no files, Redis emptied": (Invoices(images=0), Variant(flush=True, sage=NO_NET)),
    "big files": (Invoices(**BIG), Variant()),
    "big files, no idempotency, Redis emptied": (Invoices(**BIG), Variant(flush=True, sage=NO_NET)),
    "refused by Sage": (Invoices(refused=True), Variant(sage=CLOSED)),
    "refused by Sage, Redis emptied": (Invoices(refused=True), Variant(flush=True, sage=CLOSED)),
    "refused by Sage, big files, two deaths": (Invoices(refused=True, **BIG), Variant(twice=True, sage=CLOSED)),
    "refused by pre-flight": (Invoices(refused=True, supplier="V404"), Variant()),
    "refused by pre-flight, Redis emptied": (Invoices(refused=True, supplier="V404"), Variant(flush=True)),
}
PAYMENTS: Final[dict[str, tuple[Act, Variant]]] = {name: (Payments(), variant) for name, variant in CIRCUMSTANCES.items()} | {
    "told in the event log, two deaths": (Payments(receipt="eventLog"), Variant(twice=True, sage=NO_NET)),
    "told in the event log, Redis emptied": (Payments(receipt="eventLog"), Variant(flush=True)),
    "refused by Sage": (Payments(refused=True), Variant(sage=CLOSED)),
    "refused by Sage, Redis emptied": (Payments(refused=True), Variant(flush=True, sage=CLOSED)),
    "refused by Sage, two deaths": (Payments(refused=True), Variant(twice=True, sage=CLOSED)),
    "refused by pre-flight": (Payments(refused=True, amount="15.01"), Variant()),
    "refused by pre-flight, Redis emptied": (Payments(refused=True, amount="15.01"), Variant(flush=True)),
}
CANCELLATIONS: Final[dict[str, tuple[Act, Variant]]] = (
    {f"deleted, {name}": (Cancellations(), variant) for name, variant in CIRCUMSTANCES.items()}
    | {f"reversed, {name}": (Cancellations(how="reverse"), variant) for name, variant in CIRCUMSTANCES.items()}
    | {
        "deleted, no files, Redis emptied": (Cancellations(images=0), Variant(flush=True)),
        "refused by Sage": (Cancellations(how="reverse", refused=True), Variant()),
        "refused by Sage, Redis emptied": (Cancellations(how="reverse", refused=True), Variant(flush=True)),
        "refused by Sage, two deaths": (Cancellations(how="reverse", refused=True), Variant(twice=True)),
    }
)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with attached(tmp_path / "redis") as url:
        yield url


def die(name: str, act: Act, variant: Variant, folder: Path, redis_url: str) -> Table:
    table = die_everywhere(folder, redis_url, act, variant, seed=SEED)
    print(f"\n{act.job}, {name}: {table}; seed {SEED}")
    assert table.wrong == []
    assert table.is_whole
    return table


@pytest.mark.parametrize("name", INVOICES)
def test_an_invoice_whose_worker_dies_at_any_await_is_booked_or_refused_once(name: str, tmp_path: Path, redis_url: str) -> None:
    table = die(name, *INVOICES[name], tmp_path, redis_url)
    assert len([state for state in table.died_in if state]) >= 2


@pytest.mark.parametrize("name", PAYMENTS)
def test_a_payment_whose_worker_dies_at_any_await_is_made_or_refused_once(name: str, tmp_path: Path, redis_url: str) -> None:
    table = die(name, *PAYMENTS[name], tmp_path, redis_url)
    assert len([state for state in table.died_in if state]) >= 2


@pytest.mark.parametrize("name", CANCELLATIONS)
def test_a_booking_whose_cancelling_dies_at_any_await_is_taken_back_or_left_once(name: str, tmp_path: Path, redis_url: str) -> None:
    table = die(name, *CANCELLATIONS[name], tmp_path, redis_url)
    assert {"receipted", "cancelling"} <= set(table.died_in)
