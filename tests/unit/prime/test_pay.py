from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import Permanent, Poison, Transient
from connect.http import Reply
from connect.prime.pay import PrimePay, read_payment

SINCE = date(2026, 1, 1)
SETTLED = {"id": "P", "company": "100", "amount": 1, "processingDates": {"paymentSettledDate": "2026-05-02"}}


class FakeRest:
    """Answers each call with what `pages` makes of its path."""

    def __init__(self, pages: Callable[[int], Any]) -> None:
        self._pages = pages
        self.calls = 0

    async def call(self, _method: str, _path: str, _data: bytes | None, read: Callable[[Reply], Any], *, safe: bool = True) -> Any:
        assert safe
        body = self._pages(self.calls)
        self.calls += 1
        return read(Reply(200, {}, body if isinstance(body, bytes) else orjson.dumps(body), 1.0))


async def settled(pages: Callable[[int], Any]) -> list[str]:
    return [payment.id async for payment in PrimePay(FakeRest(pages)).settled_payments(None, SINCE)]  # type: ignore[arg-type]


def payment(**changes: Any) -> bytes:
    return orjson.dumps(SETTLED | changes)


def test_a_payment_is_read_with_every_digit_and_what_nobody_asked_for_is_ignored():
    raw = (
        b'{"id": 7, "company": 100, "amount": 12345678901.10, "currency": "NOK", "voucherNo": 4711, "paymentReferenceId": " R-1 ",'
        b'"paymentMethod": "Check", "paymentDate": "2026-05-01T00:00:00", "processingDates": {"paymentSettledDate": '
        b'"2026-05-02T23:59:59.1234567Z", "new": {}}, "events": [{"a": [1]}], "later": {"x": null}}'
    )
    found = read_payment(raw, "100", SINCE)
    assert found is not None
    assert (found.id, found.company, found.voucher_no, found.reference) == ("7", "100", "4711", "R-1")
    assert str(found.amount) == "12345678901.10"
    assert (found.paid_on, found.settled_on, found.supplier, found.external_id) == (date(2026, 5, 1), date(2026, 5, 2), "", "")
    assert read_payment(payment(amount="-0.10"), None, SINCE)._replace(supplier="x").amount == Decimal("-0.10")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "changes",
    [
        {"processingDates": None},
        {"processingDates": {}},
        {"processingDates": {"paymentSettledDate": None}},
        {"processingDates": {"paymentSettledDate": " "}},
        {"processingDates": {"paymentSettledDate": "0001-01-01T00:00:00"}},
        {"processingDates": {"paymentSettledDate": "2025-12-31T23:59:59"}},
        {"company": "200"},
        {"company": None},
        {"company": "200", "amount": "much"},
    ],
)
def test_what_has_not_settled_or_is_not_ours_is_passed_over(changes: dict[str, Any]):
    assert read_payment(payment(**changes), "100", SINCE) is None


@pytest.mark.parametrize(
    ("status", "is_cancelled"), [("PaymentCancelled", True), ("PaymentCanceled", True), ("PaymentApproved", False), (None, False)]
)
def test_a_payment_cancelled_after_it_had_settled_says_so(status: str | None, is_cancelled: bool):
    found = read_payment(payment(paymentStatus=status), "100", SINCE)
    assert found is not None
    assert found.is_cancelled is is_cancelled


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount": None}, "payment P: amount is not an amount of money"),
        ({"amount": "NaN"}, "payment P: amount is not"),
        ({"amount": "1e400"}, "payment P: amount is not"),
        ({"amount": "much"}, "payment P cannot be read"),
        ({"amount": True}, "payment P cannot be read"),
        ({"id": ""}, "payment without an id: id is not"),
        ({"id": None}, "payment without an id cannot be read"),
        ({"paymentDate": "2026-02-31"}, "payment P: paymentDate is not a date"),
        ({"processingDates": {"paymentSettledDate": "02.05.2026"}}, "payment P: processingDates.paymentSettledDate is not a date"),
        ({"processingDates": []}, "payment P cannot be read"),
    ],
)
def test_what_cannot_be_read_is_poison_that_names_it(changes: dict[str, Any], words: str):
    with pytest.raises(Poison) as raised:
        read_payment(payment(**changes), "100", SINCE)
    assert words in raised.value.message


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12), st.booleans())
def test_any_amount_arrives_to_the_cent_as_a_number_or_a_text(amount: Decimal, as_text: bool):
    spelt = f'"{amount}"' if as_text else str(amount)
    found = read_payment(payment(amount=0).replace(b'"amount":0', f'"amount":{spelt}'.encode()), None, SINCE)
    assert found is not None
    assert found.amount == amount


async def test_pages_are_read_until_the_count_is_reached_whatever_size_they_have():
    pages = [[f"P{at}" for at in range(start, start + size)] for start, size in ((0, 3), (3, 1), (4, 2))]

    def page(at: int) -> Any:
        return {"items": [SETTLED | {"id": key} for key in pages[at]], "totalCount": 6}

    assert await settled(page) == [f"P{at}" for at in range(6)]


async def test_a_bare_list_is_a_page_and_the_end_is_an_empty_one_or_one_that_repeats():
    assert await settled(lambda at: [SETTLED | {"id": str(at)}] if at < 3 else []) == ["0", "1", "2"]
    assert await settled(lambda _: [SETTLED]) == ["P"]


async def test_a_list_that_ends_before_its_count_is_not_taken_for_whole():
    with pytest.raises(Transient, match="lists 5 payments and shows 1"):
        await settled(lambda at: {"items": [SETTLED] if at == 0 else [], "totalCount": 5})


@pytest.mark.parametrize("body", [b"", b"<html/>", b'{"items": 5}', b'{"message": "4711"}', b'{"items": [', b"null", b"[1"])
async def test_what_is_no_page_is_transient_and_not_quoted(body: bytes):
    with pytest.raises(Transient) as raised:
        await settled(lambda _: body)
    assert "4711" not in f"{raised.value.message}{raised.value.detail}"


@given(st.binary(max_size=60), st.integers(0, 100))
def test_whatever_stands_for_a_payment_is_read_or_poison(noise: bytes, at: int):
    good = payment()
    with contextlib.suppress(Poison):
        found = read_payment(good[:at] + noise + good[at:], None, SINCE)
        assert found is None or (found.id and found.settled_on >= SINCE)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ([{"company": "100", "bankAccountIdentifier": 1234}, {"company": "200", "bankAccountIdentifier": 9}], "1234"),
        ([{"company": 100, "bankAccountIdentifier": "0042"}] * 2, "0042"),
        ({"company": "100", "bankAccountIdentifier": 7, "more": []}, "7"),
        ([{"company": "100", "bankAccountIdentifier": None}], None),
        ([{"company": "100", "bankAccountIdentifier": 1}, {"company": "100", "bankAccountIdentifier": 2}], None),
        ([], None),
    ],
)
async def test_one_account_or_a_refusal_that_names_none(configured: Any, expected: str | None):
    pay = PrimePay(FakeRest(lambda _: configured))  # type: ignore[arg-type]
    if expected is not None:
        assert await pay.bank_account("100") == expected
        return
    with pytest.raises(Permanent, match="for company 100"):
        await pay.bank_account("100")
