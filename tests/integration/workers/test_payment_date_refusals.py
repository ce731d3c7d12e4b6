"""Payment dates that Prime refuses, and payments that Sage does not show, over a Sage and a Prime in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from connect.config import GeneralSettings
from connect.documents.invoice import InvoiceSettings
from connect.errors import Permanent, Poison, Transient
from connect.ledger import DocumentId
from connect.posting import Result
from connect.sage.bills import Bill
from connect.state.watched import WatchedInvoices
from workers.payment_dates import PaymentDates

ID = DocumentId("DEMO", "100", "1", "8543")
PAID_ON = date(2026, 3, 9)


@dataclass
class FakePrime:
    records: list[dict[str, Any]]
    refusals: list[Exception] = field(default_factory=list)
    told: list[tuple[str, date, str]] = field(default_factory=list)
    environment: str = "DEMO"

    async def missing_payment_dates(
        self, company: str, since: date, date_format: str, on_unreadable: Callable[[Poison], None]
    ) -> list[dict[str, Any]]:
        return self.records

    async def set_payment_date(self, series: str, number: str, paid_on: date, note: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.told.append((number, paid_on, note))


@dataclass
class FakeSage:
    """Its bills, and its payments' numbers (None: it does not let us read them)."""

    found: dict[str, Bill]
    numbers: dict[str, str] | None = field(default_factory=dict)

    async def bills(self, keys: Sequence[str]) -> dict[str, Bill]:
        return {key: self.found[key] for key in keys if key in self.found}

    async def numbers_of(self, bills: Sequence[str]) -> dict[str, str]:
        if self.numbers is None:
            raise Permanent("payment-detail: permission is missing")
        return {key: number for key, number in self.numbers.items() if key in bills}


@dataclass
class FakeTools:
    prime: FakePrime
    bills: FakeSage
    payments: FakeSage


def bill(**changes: Any) -> Bill:
    facts: dict[str, Any] = {
        "key": "77", "number": "INV-1", "vendor": "V1", "amount": Decimal("125.00"), "due": Decimal(0), "currency": "USD", "state": "paid",
        "created_on": None, "posted_on": None, "on_hold": False, "reference": "", "description": "", "markers": (ID.marker(),),
        "paid_on": PAID_ON,
    }  # fmt: skip
    return Bill(**facts | changes)


def record(**changes: str) -> dict[str, str]:
    return {
        "InvoiceSeries": "1", "InvoiceNo": "8543", "Company": "100", "Status": "4", "Supplier": "V1", "SupplierInvoiceNo": "INV-1",
        "Currency": "USD", "Amount": "125.00", "AccountCodingDate": "2026-03-02", "VoucherNo": "77",
    } | changes  # fmt: skip


def dates(redis: Redis, prime: FakePrime, sage: FakeSage) -> PaymentDates:
    """A new worker each time: only Redis remembers."""
    tools: Any = FakeTools(prime, sage, sage)
    settings = InvoiceSettings(company="100", entity="", objects={}, base_currency="USD", today=date(2026, 3, 10))
    return PaymentDates(tools, WatchedInvoices(redis, "sid", "100"), GeneralSettings(), settings, date(2026, 1, 1))


async def send(redis: Redis, prime: FakePrime, sage: FakeSage) -> Result:
    (result,) = await dates(redis, prime, sage).send([ID])
    return result


async def test_a_date_that_prime_refuses_stays_due_and_is_said_in_its_words(redis: Redis) -> None:
    prime, sage = FakePrime([record()], [Permanent("the invoice is locked", system="prime", code="1")]), FakeSage({"77": bill()})
    result = await send(redis, prime, sage)
    assert (result.state, [(one.message, one.owner) for one in result.problems]) == ("held", [("the invoice is locked", "consultant")])
    assert [one.id for one in await dates(redis, prime, sage).due()] == [ID]
    assert (await send(redis, prime, sage)).state == "dated"
    assert await dates(redis, prime, sage).due() == []


async def test_an_outage_is_tried_again(redis: Redis) -> None:
    prime, sage = FakePrime([record()], [Transient("away")]), FakeSage({"77": bill()}, {"77": "3086"})
    assert (await send(redis, prime, sage)).state == "waiting"
    assert (await send(redis, prime, sage)).state == "dated"
    assert prime.told == [("8543", PAID_ON, "3086")]


async def test_without_the_right_to_read_payments_the_note_names_the_bill(redis: Redis) -> None:
    prime = FakePrime([record()])
    assert (await send(redis, prime, FakeSage({"77": bill()}, None))).state == "dated"
    assert prime.told == [("8543", PAID_ON, "Paid in Sage, bill INV-1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "partiallyPaid"}, {"paid_on": None}, {"markers": (), "vendor": "V2"}, {"markers": (), "amount": Decimal("124.99")},
        {"markers": (ID._replace(number="1").marker(),)},
    ],
    ids=["part payment", "no date", "another vendor", "another amount", "another invoice's bill"],
)  # fmt: skip
async def test_no_date_without_a_bill_of_ours_paid_in_full(redis: Redis, changes: dict[str, Any]) -> None:
    prime, sage = FakePrime([record()]), FakeSage({"77": bill(**changes)})
    assert await dates(redis, prime, sage).due() == []
    assert ((await send(redis, prime, sage)).state, prime.told) == ("not_listed", [])


async def test_a_date_is_sent_once_and_again_when_it_has_changed(redis: Redis) -> None:
    prime = FakePrime([record()])
    for _ in range(2):
        assert (await send(redis, prime, FakeSage({"77": bill()}))).state == "dated"
    await send(redis, prime, FakeSage({"77": bill(paid_on=date(2026, 3, 10))}))
    assert [day for _, day, _ in prime.told] == [PAID_ON, date(2026, 3, 10)]


async def test_a_record_that_cannot_be_read_is_said_and_the_others_go_on(redis: Redis) -> None:
    found = dates(redis, FakePrime([record(Amount="much", InvoiceNo="1"), record()]), FakeSage({"77": bill()}))
    assert [one.id for one in await found.due()] == [ID]
    assert [error.message for error in found.poisoned] == ["invoice 1-1: Amount is 'much', expected a number such as -1234.50"]
