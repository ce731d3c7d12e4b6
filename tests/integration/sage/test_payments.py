"""Payments: the guide's six scenarios with Sage's own words, and how a payment is found again."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import orjson
import pytest
from sage_box import BILL, PAYMENT, bill, payment

from connect.errors import OutcomeUnknown, Permanent
from connect.sage.bills import SageBills
from connect.sage.payments import SagePayments, Share

POST = f"POST /objects/{PAYMENT}"


@pytest.fixture
def payments(desk):
    return SagePayments(desk.client)


@pytest.fixture
async def open_bill(desk):
    """Of 15.00, made on 2026-11-23."""
    return await desk.box.create(BILL, **bill("B-1"))


def body(bill_key, amount="10.00", **changes):
    return orjson.dumps(payment(bill_key, amount, **{"documentId": "PR#7-BR#-VN#1", "documentNumber": "7"} | changes))


@pytest.mark.parametrize(
    ("amount", "state", "due"), [("15.00", "paid", "0.00"), ("10.00", "partiallyPaid", "5.00")], ids=["whole", "in part"]
)
async def test_a_payment_is_made_and_its_state_and_its_bill_are_read_back(desk, payments, open_bill, amount, state, due):
    created = await payments.create(body(open_bill, amount, paymentMethod="EFT"), "P1", desk.stamp)
    found = (await payments.payments([created.key]))[created.key]
    assert (found.state, found.amount, found.currency, found.paid_on) == ("confirmed", Decimal(amount), "USD", date(2026, 11, 25))
    assert (found.shares, found.is_alive, created.replayed) == ((Share(open_bill, Decimal(amount)),), True, False)
    assert await payments.payment(created.key) == found
    paid = (await SageBills(desk.client).bills([open_bill]))[open_bill]
    assert (paid.state, paid.due) == (state, Decimal(due))


async def test_a_printed_check_is_approved_until_it_is_printed(desk, payments, open_bill):
    created = await payments.create(body(open_bill), "P1", desk.stamp)
    assert (await payments.payments([created.key]))[created.key].state == "approved"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"paymentDate": "2026-11-22"}, "SL-0417", "Select a payment date that occurs after the bill creation date"),
        ({"amount": "15.01"}, "BL01001973", "The amount received is greater than the amount to apply"),
        ({"paymentMethod": "Credit Card"}, "AP-0038", "Select a valid credit card account"),
        ({"financialEntity": {"entityId": "OLD"}}, "AP-0038", "Select a valid credit card account"),
        ({"vendor": {"id": "V2"}}, "invalidRequest", "not one of this vendor"),
    ],
    ids=["too early", "too much", "method without its account", "wrong account", "another vendor"],
)
async def test_what_sage_refuses_comes_with_its_code_and_its_words(desk, payments, open_bill, changes, code, words):
    with pytest.raises(Permanent, match=words) as caught:
        await payments.create(body(open_bill, **changes), "P1", desk.stamp)
    assert (caught.value.code, desk.box.sim.books()["payments"]) == (code, [])


async def test_a_bill_that_cannot_be_paid_says_its_state(desk, payments):
    draft = await desk.box.create(BILL, **bill("B-2", state="draft"))
    with pytest.raises(Permanent, match="The bill B-2 is in the state draft"):
        await payments.create(body(draft), "P1", desk.stamp)


async def test_a_voided_payment_is_found_and_no_longer_alive_and_its_bill_is_reversed(desk, payments, open_bill):
    created = await payments.create(body(open_bill, "15.00", paymentMethod="EFT"), "P1", desk.stamp)
    assert (await desk.box.act(PAYMENT, "reverse", created.key, paymentDate="2026-11-26"))[0] == 200
    (found,) = await payments.find(["PR#7-BR#-VN#1"])
    assert (found.state, found.is_alive) == ("reversed", False)
    assert (await SageBills(desk.client).bill(open_bill)).state == "reversed"


async def test_payments_are_found_by_document_id_or_number_many_at_once(desk, payments):
    keys = {}
    for n in range(3):
        own = await desk.box.create(BILL, **bill(f"B-{n}"))
        keys[n] = (await payments.create(body(own, documentId=f"D{n}", documentNumber=f"N{n}"), f"P{n}", desk.stamp)).key
    desk.box.sim.stats.calls.clear()
    found = await payments.find(["D0", "D9", "D0"], ["N0", "N2", ""])
    assert {one.key: (one.document_id, one.document_number, len(one.shares)) for one in found} == {
        keys[0]: ("D0", "N0", 1),
        keys[2]: ("D2", "N2", 1),
    }
    assert desk.calls() == {"POST /services/core/query": 2}
    assert await payments.find() == []


async def test_one_payment_of_several_bills_shows_each_share(desk, payments, open_bill):
    other = await desk.box.create(BILL, **bill("B-2"))
    shares = [{"txnCurrency": {"paymentAmount": amount}, "bill": {"key": key}} for key, amount in ((open_bill, "15.00"), (other, "4.50"))]
    await payments.create(body(open_bill, details=shares), "P1", desk.stamp)
    (found,) = await payments.find(numbers=["7"])
    assert (found.amount, found.shares) == (Decimal("19.50"), (Share(open_bill, Decimal("15.00")), Share(other, Decimal("4.50"))))


async def test_a_payment_of_an_entity_is_found_from_the_top(desk, payments, open_bill):
    created = await payments.create(body(open_bill), "P1", desk.stamp, entity="E1")
    assert [one.key for one in await payments.find(["PR#7-BR#-VN#1"])] == [created.key]


async def test_a_lost_answer_leaves_it_open_and_the_payment_is_found_once(desk, payments, open_bill):
    desk.spoil(POST, "drop_after_commit")
    with pytest.raises(OutcomeUnknown):
        await payments.create(body(open_bill), "P1", desk.stamp)
    (found,) = await payments.find(["PR#7-BR#-VN#1"])
    again = await payments.create(body(open_bill), "P1", desk.stamp)
    assert (again.key, again.replayed, len(desk.box.sim.books()["payments"])) == (found.key, True, 1)


async def test_only_a_payment_that_has_not_paid_can_be_deleted(desk, payments, open_bill):
    draft = await payments.create(body(open_bill, "1.00", action=None, state=None), "P1", desk.stamp)
    assert await payments.delete(draft.key, desk.stamp)
    assert not await payments.delete(draft.key, desk.stamp)
    assert await payments.payment(draft.key) is None
    done = await payments.create(body(open_bill, "1.00"), "P2", desk.stamp)
    with pytest.raises(Permanent, match="cannot be deleted"):
        await payments.delete(done.key, desk.stamp)
