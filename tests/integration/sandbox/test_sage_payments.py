"""Paying bills: the guide's scenarios with Sage's error shapes, states, and what a payment does to its bills."""

from __future__ import annotations

import pytest
from sage_box import BILL, PAYMENT, VENDOR, bill, details, error_of, payment, sage_box


@pytest.fixture
async def box():
    async with sage_box() as found:
        yield found


async def pay(box, key, amount="10.00", **changes):
    """(status, answer)."""
    status, answer, _ = await box.call("POST", f"/objects/{PAYMENT}", payment(key, amount, **changes))
    return status, answer


async def paid(box, key, amount="10.00", **changes):
    status, answer = await pay(box, key, amount, **changes)
    assert status == 201, answer
    return answer["ia::result"]["key"]


async def standing(box, key):
    """State, due, paid and selected of a bill."""
    shown = await box.show(BILL, key)
    info = shown["paymentInformation"]
    return shown["state"], shown["totalTxnAmountDue"], info["totalTxnAmountPaid"], info["totalTxnAmountSelectedForPayment"]


async def test_part_payments_and_then_the_rest_pay_a_bill(box):
    key = await box.create(BILL, **bill())
    await paid(box, key, "10.00")
    assert await standing(box, key) == ("partiallyPaid", "5.00", "10.00", "0.00")
    assert (await box.show(BILL, key))["paymentInformation"]["fullyPaidDate"] is None
    await paid(box, key, "5.00", paymentDate="2026-11-26")
    assert await standing(box, key) == ("paid", "0.00", "15.00", "0.00")
    assert (await box.show(BILL, key))["paymentInformation"]["fullyPaidDate"] == "2026-11-26"


async def test_a_payment_shows_what_it_paid(box):
    key = await box.create(BILL, **bill())
    sent = {"documentId": "PR#77", "documentNumber": "3086", "description": "x"}
    shown = await box.show(PAYMENT, await paid(box, key, **sent))
    assert (shown["state"], shown["txnDate"], shown["txnPaidDate"], shown["documentId"]) == (
        "approved",
        "2026-11-25",
        "2026-11-25",
        "PR#77",
    )
    assert (shown["txnCurrency"]["totalAmount"], shown["txnCurrency"]["totalPaid"]) == ("10.00", "10.00")
    assert shown["financialEntity"]["txnAmount"] == "10.00"
    assert "paymentDate" not in shown
    (own,) = shown["details"]
    assert (own["bill"]["key"], own["txnCurrency"]["paymentAmount"], own["state"]) == (key, "10.00", "approved")
    (listed,) = box.sim.books()["payments"]
    assert (listed["vendor"], listed["amount"], listed["state"], listed["documentId"], listed["bills"]) == (
        "V1", "10.00", "approved", "PR#77", [{"bill": key, "billNumber": "B-1", "amount": "10.00"}],
    )  # fmt: skip


async def test_a_payment_dated_before_the_bill_is_sl_0417(box):
    key = await box.create(BILL, **bill())
    status, answer = await pay(box, key, paymentDate="2026-11-22")
    error = error_of(answer)
    assert (status, error["code"], error["errorId"]) == (422, "operationFailed", "REST-7001")
    assert error["details"] == [
        {
            "errorId": "SL-0417",
            "code": "informationMissing",
            "message": "Select a payment date that occurs after the bill creation date, then try again.",
            "additionalInfo": {
                "messageId": "IA.SELECT_A_PAYMENT_DATE_THAT_OCCURS_AFTER_THE_CRE",
                "placeholders": {"THIS_GETTRANSACTIONTYPE": "bill"},
                "propertySet": {},
            },
        }
    ]
    assert (await pay(box, key, paymentDate="2026-11-23"))[0] == 201, "the same day is allowed"


async def test_a_payment_above_the_amount_due_is_bl01001973_without_error_id(box):
    key = await box.create(BILL, **bill())
    status, answer = await pay(box, key, "15.01")
    (detail,) = error_of(answer)["details"]
    assert status == 422
    assert detail["message"].startswith("The amount received is greater than the amount to apply.")
    assert {name: detail[name] for name in detail if name != "message"} == {
        "code": "BL01001973",
        "additionalInfo": {"placeholders": {}, "propertySet": {}},
    }
    assert await standing(box, key) == ("posted", "15.00", "0.00", "0.00")


@pytest.mark.parametrize(
    ("method", "account", "status"),
    [
        ("Printed Check", "BOA", 201),
        ("Cash", "BOA", 201),
        ("EFT", "BOA", 201),
        ("ACH", "BOA", 201),
        ("Credit Card", "VISA", 201),
        ("creditCard", "VISA", 201),
        ("Credit Card", "BOA", 422),
        ("Printed Check", "VISA", 422),
        ("Printed Check", "OLD", 422),
        ("Printed Check", "NONE", 422),
        ("Barter", "BOA", 422),
    ],
)
async def test_an_account_that_does_not_fit_the_method_is_ap_0038(box, method, account, status):
    key = await box.create(BILL, **bill())
    found, answer = await pay(box, key, paymentMethod=method, financialEntity={"entityId": account})
    assert found == status
    if status == 422:
        assert error_of(answer)["details"] == [
            {
                "errorId": "AP-0038",
                "code": "informationMissing",
                "message": "Select a valid credit card account, then try again.",
                "additionalInfo": {"messageId": "IA.INVALID_CHARGE_CARD_ACCOUNT_SELECTED", "placeholders": {}, "propertySet": {}},
            }
        ]


async def test_the_older_place_of_the_account_is_taken_too(box):
    key = await box.create(BILL, **bill())
    shown = await box.show(PAYMENT, await paid(box, key, financialEntity={"id": "BOA"}))
    assert shown["financialEntity"]["entityId"] == "BOA"


@pytest.mark.parametrize("state", ["draft", "submitted", "declined", "paid", "reversed"])
async def test_only_posted_selected_and_partly_paid_bills_can_be_paid(box, state):
    (key,) = box.load(BILL, bill(state=state))
    status, answer = await pay(box, key)
    assert status == 422
    assert f"in the state {state}" in details(answer)[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vendor": {"id": "V2"}}, "not one of this vendor"),
        ({"txnCurrency": {"currency": "EUR"}}, "in another currency"),
        ({"details": []}, "/details is required"),
        ({"details": [{"bill": {"key": "404"}, "txnCurrency": {"paymentAmount": "1.00"}}]}, "Invalid Bill 404 selected"),
        ({"details": [{"bill": {"key": "1"}, "txnCurrency": {"paymentAmount": "0.00"}}]}, "greater than zero"),
        ({"paymentDate": None}, "/paymentDate is required"),
        ({"paymentMethod": None}, "/paymentMethod is required"),
        ({"financialEntity": None}, "/financialEntity/entityId is required"),
        ({"state": "voided"}, "cannot be created in the state voided"),
        ({"paymentRequestMethod": "sometimes"}, "/paymentRequestMethod must be one of"),
    ],
)
async def test_a_payment_that_does_not_fit_is_refused(box, changes, words):
    key = await box.create(BILL, **bill())
    assert key == "1"
    status, answer = await pay(box, key, **changes)
    if changes.get("financialEntity", "") is None or changes.get("paymentDate", "") is None:
        assert status == 400
    assert status in (400, 422)
    assert any(words in message for message in details(answer)), details(answer)
    assert not box.sim.store.table(PAYMENT).rows


@pytest.mark.parametrize("vendor", ["VNOPAY", "VHOLD", "VOFF"])
async def test_a_vendor_that_is_held_is_not_paid(box, vendor):
    (key,) = box.load(BILL, bill(vendor={"id": vendor}))
    status, answer = await pay(box, key, vendor={"id": vendor})
    assert status == 422
    assert vendor in details(answer)[0]


async def test_a_bill_on_hold_or_with_lines_not_released_is_not_paid(box):
    key = await box.create(BILL, **bill(isOnHold=True))
    assert "on hold" in details((await pay(box, key))[1])[0]
    lines = [{**bill()["lines"][0], "releaseToPay": False}]
    key = await box.create(BILL, **bill("B-2", lines=lines))
    assert "not released to pay" in details((await pay(box, key))[1])[0]
    own = (await box.show(BILL, key))["lines"][0]["key"]
    status, answer, _ = await box.call("POST", "/workflows/accounts-payable/bill-line/release", {"key": own})
    assert (status, answer["ia::result"]["releaseToPay"]) == (200, True)
    assert (await pay(box, key))[0] == 201


async def test_nothing_is_paid_in_a_closed_period(box):
    key = await box.create(BILL, **bill())
    box.sim.settings(closed_until="2026-11-30")
    status, answer = await pay(box, key)
    assert status == 422
    assert "closed" in details(answer)[0]


@pytest.mark.parametrize(
    ("settings", "changes", "state"),
    [
        ({}, {}, "approved"),
        ({}, {"paymentMethod": "EFT"}, "confirmed"),
        ({}, {"action": None, "state": None}, "draft"),
        ({}, {"action": "draft", "state": None}, "draft"),
        ({}, {"action": "submit", "state": None}, "approved"),
        ({"approvals": True}, {}, "submitted"),
        ({"approvals": True, "exempt_users": ["rillion"]}, {}, "approved"),
    ],
)
async def test_the_state_of_a_new_payment_follows_action_and_approvals(box, settings, changes, state):
    key = await box.create(BILL, **bill())
    box.sim.settings(**settings)
    assert (await box.show(PAYMENT, await paid(box, key, **changes)))["state"] == state


async def test_a_payment_that_waits_selects_its_amount_and_approval_pays_it(box):
    key = await box.create(BILL, **bill())
    box.sim.settings(approvals=True)
    first = await paid(box, key, "15.00")
    assert await standing(box, key) == ("selected", "15.00", "0.00", "15.00")
    assert (await pay(box, key, "1.00"))[0] == 422, "all of it is selected"
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}"))[0] == 422
    assert await box.act(PAYMENT, "approve", first) == (200, "approved")
    assert await standing(box, key) == ("paid", "0.00", "15.00", "0.00")


async def test_a_declined_or_deleted_payment_gives_the_bill_free(box):
    key = await box.create(BILL, **bill())
    box.sim.settings(approvals=True)
    declined = await paid(box, key, "15.00")
    assert await box.act(PAYMENT, "decline", declined) == (200, "declined")
    assert await standing(box, key) == ("posted", "15.00", "0.00", "0.00")
    draft = await paid(box, key, "15.00", action=None, state=None)
    assert (await standing(box, key))[0] == "selected"
    assert (await box.call("DELETE", f"/objects/{PAYMENT}/{draft}"))[0] == 204
    assert await standing(box, key) == ("posted", "15.00", "0.00", "0.00")


async def test_a_check_is_printed_and_confirmed_and_each_step_needs_the_one_before(box):
    key = await box.create(BILL, **bill())
    number = await paid(box, key)
    assert (await box.act(PAYMENT, "confirm", number))[0] == 422
    assert await box.act(PAYMENT, "print", number) == (200, "delivered")
    assert await box.act(PAYMENT, "reverse", number, paymentDate="2026-11-25") == (200, "approved")
    assert await box.act(PAYMENT, "print", number) == (200, "delivered")
    assert await box.act(PAYMENT, "confirm", number) == (200, "confirmed")
    assert await standing(box, key) == ("partiallyPaid", "5.00", "10.00", "0.00")
    assert (await box.call("DELETE", f"/objects/{PAYMENT}/{number}"))[0] == 422


async def test_voiding_a_payment_leaves_its_bill_reversed(box):
    key = await box.create(BILL, **bill())
    number = await paid(box, key, "15.00", paymentMethod="EFT")
    assert (await box.act(PAYMENT, "reverse", number))[0] == 400
    assert (await box.act(PAYMENT, "reverse", number, paymentDate="2026-11-24"))[0] == 422
    assert await box.act(PAYMENT, "reverse", number, paymentDate="2026-11-26") == (200, "reversed")
    shown = await box.show(BILL, key)
    assert (shown["state"], shown["billNumber"], shown["paymentInformation"]["totalTxnAmountPaid"]) == (
        "reversed",
        "Reversed - B-1",
        "0.00",
    )
    assert (await pay(box, key))[0] == 422
    await box.create(BILL, **bill())


async def test_one_payment_may_pay_several_bills_of_a_vendor(box):
    first, second = await box.create(BILL, **bill()), await box.create(BILL, **bill("B-2"))
    rows = [{"txnCurrency": {"paymentAmount": amount}, "bill": {"key": key}} for key, amount in ((first, "15.00"), (second, "5.00"))]
    shown = await box.show(PAYMENT, await paid(box, first, details=rows))
    assert shown["txnCurrency"]["totalAmount"] == "20.00"
    assert [(await standing(box, key))[0] for key in (first, second)] == ["paid", "partiallyPaid"]


async def test_two_details_on_one_bill_count_together(box):
    key = await box.create(BILL, **bill())
    rows = [{"txnCurrency": {"paymentAmount": "8.00"}, "bill": {"key": key}}] * 2
    assert (await pay(box, key, details=rows))[0] == 422


async def test_texts_of_a_payment_can_be_changed_amounts_only_in_a_draft(box):
    key = await box.create(BILL, **bill())
    number = await paid(box, key)
    texts = {"description": "d", "documentNumber": "2"}
    assert (await box.call("PATCH", f"/objects/{PAYMENT}/{number}", texts))[0] == 200
    assert await standing(box, key) == ("partiallyPaid", "5.00", "10.00", "0.00")
    assert (await box.call("PATCH", f"/objects/{PAYMENT}/{number}", {"paymentMethod": "Cash"}))[0] == 422
    assert (await box.call("PATCH", f"/objects/{PAYMENT}/{number}", {"state": "voided"}))[0] == 400
    draft = await paid(box, key, "5.00", action=None, state=None)
    own = (await box.show(PAYMENT, draft))["details"][0]["key"]
    change = {"details": [{"key": own, "txnCurrency": {"paymentAmount": "3.00"}}]}
    assert (await box.call("PATCH", f"/objects/{PAYMENT}/{draft}", change))[0] == 200
    assert await standing(box, key) == ("partiallyPaid", "5.00", "10.00", "3.00")
    assert await box.act(PAYMENT, "submit", draft) == (200, "approved")
    assert await standing(box, key) == ("partiallyPaid", "2.00", "13.00", "0.00")


async def test_a_vendor_waits_for_approval_until_it_is_approved(box):
    (key,) = box.load(VENDOR, {"id": "VS", "name": "New", "state": "s"})
    assert await box.act(VENDOR, "approve", key) == (200, "approved")
    assert (await box.show(VENDOR, key))["state"] == "a"
    await box.create(BILL, **bill(vendor={"id": "VS"}))
