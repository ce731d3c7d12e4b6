"""Payments that Rillion Pay has settled become AP payments in Sage, exactly once, and Pay hears of it: through the whole pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from settled import BILL, GENERAL, PAYMENT, bill, booked, connect_to, fill, pay, payment, receipts
from world import Connect, Sandbox

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)


def state_of(box: Sandbox, key: str) -> tuple[str, str]:
    (found,) = [one for one in box.sage_records(BILL) if one["key"] == key]
    return found["state"], found["totalTxnAmountDue"]


def test_a_settled_payment_is_made_in_sage_as_the_guide_maps_it_and_pay_gets_its_key(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "15.00"), payment(2, keys[1], "1.00", processingDates={}))
        connect = connect_to(box, tmp_path)
        document = connect.json("run", "--until-idle")
        assert [(run["job"], run["state"], run["read"], run["sent"]) for run in document["runs"]] == [("ExportPayments", "done", 1, 1)]
        (made,) = box.sage_records(PAYMENT)
        assert made["financialEntity"]["entityId"] == "BOA"
        assert (made["documentNumber"], made["documentId"]) == ("R1", f"PR#R1-BR#OCR 1-VN#{keys[1]}")
        assert (made["txnDate"], made["paymentMethod"], made["paymentRequestMethod"]) == ("2026-03-20", "ACH", "useVendorPreference")
        assert re.fullmatch(r"Rent 1 RP-[A-Z2-7]{16}", made["description"])
        assert (made["vendor"]["id"], made["txnCurrency"]["currency"], made["baseCurrency"]["currency"]) == ("V1", "USD", "USD")
        assert [(share["bill"]["key"], share["txnCurrency"]["paymentAmount"]) for share in made["details"]] == [(keys[1], "15.00")]
        assert state_of(box, keys[1]) == ("paid", "0.00")
        assert {name: [(one["QueueStatus"], one.get("ExternalId")) for one in told] for name, told in receipts(box).items()} == {
            "pay-1": [(1, made["key"])]
        }
        connect.sync()
        assert len(booked(box)) == 1


def test_a_payment_that_waits_for_approval_in_sage_is_booked_and_made_once(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "15.00"))
        box.call("/_sandbox/settings", {"sage": {"approvals": True}})
        connect = connect_to(box, tmp_path)
        connect.sync()
        connect.sync()
        assert [one["state"] for one in booked(box)] == ["submitted"]
        assert state_of(box, keys[1])[0] == "selected"
        assert [one["QueueStatus"] for one in receipts(box)["pay-1"]] == [1]


def test_a_payment_in_a_closed_period_is_made_once_it_is_open(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "15.00"))
        box.call("/_sandbox/settings", {"sage": {"closed_until": "2026-03-31"}})
        connect = connect_to(box, tmp_path, more=QUICK)
        connect.sync(expect=(3,))
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert "no postings of the payment's date 2026-03-20" in letter["error"]["message"]
        assert letter["error"]["owner"] == "Sage administrator"
        assert booked(box) == []
        box.call("/_sandbox/settings", {"sage": {"closed_until": None}})
        connect.sync()
        assert [one["amount"] for one in booked(box)] == ["15.00"]
        assert connect.json("dead-letters", "list")["total"] == 0


def test_several_bills_instalments_and_part_payments_under_one_reference_are_each_paid_once(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "30.00"))
        pay(
            box,
            payment(1, keys[1], "15.00", name="a", paymentReferenceId="R"),
            payment(2, keys[2], "10.00", name="b", paymentReferenceId="R"),
            payment(2, keys[2], "10.00", name="c", paymentReferenceId="R"),
        )
        connect = connect_to(box, tmp_path)
        connect.sync()
        assert sorted((one["documentId"], one["amount"]) for one in booked(box)) == [
            (f"PR#R-BR#OCR 1-VN#{keys[1]}", "15.00"), (f"PR#R-BR#OCR 2-VN#{keys[2]}", "10.00"), (f"PR#R-BR#OCR 2-VN#{keys[2]}", "10.00"),
        ]  # fmt: skip
        assert (state_of(box, keys[1]), state_of(box, keys[2])) == (("paid", "0.00"), ("partiallyPaid", "10.00"))
        pay(box, payment(2, keys[2], "10.00", name="d", paymentReferenceId="R"))
        connect.sync()
        assert (state_of(box, keys[2]), len(booked(box))) == (("paid", "0.00"), 4)


SCENARIOS = {
    "scenario 1: the bill waits for approval": ({"state": "submitted"}, {}, "", "is submitted in Sage: approve it there first"),
    "scenario 2: dated before the bill": ({}, {"paymentDate": "2026-03-01"}, "", "(SL-0417): correct the bill's date"),
    "scenario 4: more than the bill": ({}, {"amount": "15.01"}, "", "(BL01001973): see in Sage what has paid it"),
    "scenario 5: no account for the method": ({}, {"paymentMethod": "VirtualCard"}, "", "(AP-0038): correct BankAccountMapping"),
    "a method that nobody mapped": (
        {}, {"paymentMethod": "Other"}, 'PaymentMethodMapping = { "ACH" = "ACH" }', "which PaymentMethodMapping does not have",
    ),
    "no voucher number": ({}, {"voucherNo": ""}, "", "no voucher number (VN#)"),
    "no such bill": ({}, {"voucherNo": "404", "supplierInvoiceNo": "X"}, "", "Sage has no bill of vendor V1"),
}  # fmt: skip


@pytest.mark.parametrize(("bill_changes", "changes", "settings", "words"), SCENARIOS.values(), ids=SCENARIOS)
def test_what_sage_would_refuse_goes_back_to_pay_in_words(
    bill_changes: dict[str, Any], changes: dict[str, Any], settings: str, words: str, tmp_path: Path
) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), **bill_changes)
        pay(box, payment(1, keys[1], "15.00", **changes))
        connect = connect_to(box, tmp_path, general=f'{GENERAL}\nReturnErrors = "all"\n{settings}')
        connect.sync(expect=(3,))
        (told,) = receipts(box)["pay-1"]
        assert told["QueueStatus"] == 2
        assert words in told["ErrorText"]
        assert len(told["ErrorText"]) <= 250
        assert booked(box) == []
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert (letter["kind"], letter["number"], words in letter["error"]["message"]) == ("Payment", "PAY-pay-1", True)
        connect.sync()
        assert len(receipts(box)["pay-1"]) == 1, "refused as it is: nobody is told again"


def test_what_only_sage_can_refuse_goes_back_in_words_too(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "10.00", name="a"), payment(1, keys[1], "10.00", name="b"))
        connect = connect_to(box, tmp_path, general=f'{GENERAL}\nReturnErrors = "all"')
        connect.sync(expect=(3,))
        assert [one["amount"] for one in booked(box)] == ["10.00"]
        told = {one["QueueStatus"]: one for name in ("a", "b") for one in receipts(box)[name]}
        assert sorted(told) == [1, 2], "each would be paid alone; together they are more than the bill"
        assert "is more than what is open on its bill (BL01001973)" in told[2]["ErrorText"]


def test_what_others_must_mend_is_tried_again_by_itself(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "15.00"))
        connect = connect_to(box, tmp_path, general="StartOn = 2026-01-01")
        connect.sync(expect=(3,))
        assert (receipts(box), booked(box)) == ({}, [])
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert letter["error"]["owner"] == "consultant"
        connect = connect_to(box, tmp_path)
        connect.sync()
        assert [one["QueueStatus"] for one in receipts(box)["pay-1"]] == [1]
        assert connect.json("dead-letters", "list")["total"] == 0


def test_a_refused_payment_is_sent_again_only_when_a_second_person_has_approved_it(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        pay(box, payment(1, "1", "15.00"))
        connect = connect_to(box, tmp_path, general=f'{GENERAL}\nReturnErrors = "all"')
        connect.sync(expect=(3,))
        (letter,) = connect.json("dead-letters", "list")["items"]
        box.load(BILL, [bill(1, "15.00")])
        connect.sync()
        assert booked(box) == [], "a refused payment does not come again by itself"
        replay = ("dead-letters", "replay", letter["id"], "--wait", "--as")
        assert any("another person must approve it first" in note for note in connect.json(*replay, "ann")["notes"])
        connect.run("dead-letters", "approve", letter["id"], "--as", "ann")
        assert connect.json(*replay, "ann")["letters"] == 0
        connect.run(*replay, "bo")
        assert [one["amount"] for one in booked(box)] == ["15.00"]
        assert [one["QueueStatus"] for one in receipts(box)["pay-1"]] == [2, 1]
        assert connect.json("dead-letters", "list")["total"] == 0
        acts = [(entry["what"], entry["by"]) for entry in connect.json("dead-letters", "show", letter["id"])["history"] if entry["by"]]
        assert acts == [("approved", "ann"), ("replayed", "bo")]


@pytest.mark.parametrize("where", [f"sage:POST /objects/{PAYMENT}", "prime:PUT /payment/receipt"])
def test_an_answer_lost_after_the_commit_pays_nothing_twice(where: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, *((number, "15.00") for number in range(1, 31)))
        pay(box, *(payment(number, keys[number], "15.00") for number in keys))
        box.call("/_sandbox/faults", {"rules": [{"where": where, "kind": "drop_after_commit", "probability": 0.4, "seed": 3, "count": 12}]})
        connect = connect_to(box, tmp_path, more="settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2")
        connect.sync()
        assert sorted(one["documentNumber"] for one in booked(box)) == sorted(f"R{number}" for number in keys)
        assert {name: {one["QueueStatus"] for one in told} for name, told in receipts(box).items()} == {f"pay-{n}": {1} for n in keys}


QUICK = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2"


def forgetful(box: Sandbox, folder: Path, general: str, meanwhile: Callable[[], None]) -> Connect:
    """A run, then FLUSHALL of the server that goes on, then another run; what has become of it is for the caller to look at."""
    connect = connect_to(box, folder, general=general, more=QUICK)
    with attached(folder / ".connect") as url, redis.Redis.from_url(url) as client:
        connect.sync()
        meanwhile()
        client.flushall()
        connect = connect_to(box, folder, general=general, more=QUICK)
        connect.sync(expect=(0, 3))
    return connect


@pytest.mark.parametrize("way", ["receipt", "eventLog"])
def test_a_redis_that_forgets_everything_leads_to_no_second_payment(way: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "30.00"))
        pay(box, payment(1, keys[1], "15.00"), payment(2, keys[2], "10.00", name="a"), payment(2, keys[2], "10.00", name="b"))
        connect = forgetful(box, tmp_path, f'{GENERAL}\nPayReceipt = "{way}"', lambda: None)
        assert len(booked(box)) == 3
        assert connect.json("dead-letters", "list")["total"] == 0
        assert [(run["read"], run["sent"]) for run in connect.runs()] == [(3, 3)], "looked up, found, and told again"


def test_results_go_to_the_event_log_where_pay_takes_no_receipts(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "30.00"))
        pay(box, payment(1, keys[1], "15.00"), payment(2, keys[2], "30.01"))
        connect = connect_to(box, tmp_path, general=f'{GENERAL}\nPayReceipt = "eventLog"\nReturnErrors = "all"')
        connect.sync(expect=(3,))
        connect.sync()
        assert receipts(box) == {}
        events = sorted((one["EventType"], one["Message"]) for one in box.call("/_sandbox/prime/records?kind=EventLog&company=")["records"])
        assert [kind for kind, _ in events] == ["Error", "Information"]
        assert "Payment R2 (pay-2) to National Grid is not booked in Sage" in events[0][1]
        assert "(BL01001973)" in events[0][1]
        assert "Payment R1 (pay-1) to National Grid is booked in Sage as payment" in events[1][1]


def test_a_payment_voided_in_sage_is_for_a_person_and_never_made_again(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        pay(box, payment(1, keys[1], "5.00"))

        def void() -> None:
            (made,) = booked(box)
            box.load(PAYMENT, [{"key": made["key"], "state": "voided"}], mode="upsert")

        connect = forgetful(box, tmp_path, f'{GENERAL}\nPayReceipt = "eventLog"', void)
        assert len(booked(box)) == 1
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert letter["error"]["owner"] == "operator"
        assert "its payment in Sage is voided" in letter["error"]["message"]


def test_a_payment_voided_in_sage_after_pay_was_told_is_said_in_the_run_while_it_is_new(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "15.00"))
        pay(box, payment(1, keys[1], "5.00"), payment(2, keys[2], "5.00"))
        connect = connect_to(box, tmp_path)
        connect.sync()
        (made,) = [one["key"] for one in booked(box) if one["documentNumber"] == "R2"]
        assert connect.json("run", "--until-idle")["runs"][0]["reason"] == ""
        box.load(PAYMENT, [{"key": made, "state": "voided"}], mode="upsert")
        (run,) = connect.json("run", "--until-idle")["runs"]
        words = "1 payment that Rillion Pay has as booked was voided or declined in Sage within 7 days"
        assert run["reason"].startswith(f"{words}: R2 (payment {made}, voided). ")
        assert (run["state"], len(booked(box)), connect.json("dead-letters", "list")["total"]) == ("done", 2, 0)
        box.load(PAYMENT, [{"key": made, "audit": {"modifiedDateTime": "2026-01-01T00:00:00Z"}}], mode="upsert")
        assert connect.json("run", "--until-idle")["runs"][0]["reason"] == ""


def test_a_payment_that_pay_has_cancelled_is_not_made_and_one_cancelled_too_late_is_said_in_the_run(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "15.00"))
        pay(box, payment(1, keys[1], "5.00"), payment(2, keys[2], "5.00", paymentStatus="PaymentCancelled"))
        connect = connect_to(box, tmp_path)
        connect.sync()
        (made,) = booked(box)
        assert made["documentNumber"] == "R1"
        assert list(receipts(box)) == ["pay-1"]
        pay(box, payment(1, keys[1], "5.00", paymentStatus="PaymentCancelled"))
        (run,) = connect.json("run", "--until-idle")["runs"]
        words = f"Rillion Pay has cancelled what is, or may be, booked in Sage: R1 (payment {made['key']}). A person voids it there"
        assert (run["state"], run["reason"]) == ("done", words)
        assert len(booked(box)) == 1


def by_hand(key: str, **changes: Any) -> dict[str, Any]:
    """A payment as the connector before us made them, or a person."""
    return {
        "financialEntity": {"entityId": "BOA"},
        "paymentDate": "2026-03-20",
        "paymentMethod": "ACH",
        "documentNumber": "R1",
        "documentId": f"PR#R1-BR#OCR 1-VN#{key}",
        "description": "Rent 1",
        "baseCurrency": {"currency": "USD"},
        "txnCurrency": {"currency": "USD"},
        "vendor": {"id": "V1"},
        "details": [{"txnCurrency": {"paymentAmount": "5.00"}, "bill": {"key": key}}],
        "state": "confirmed",
    } | changes


def test_a_payment_that_the_incumbent_made_is_adopted(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        box.load(PAYMENT, [by_hand(keys[1])])
        pay(box, payment(1, keys[1], "5.00"))
        connect_to(box, tmp_path).sync()
        (made,) = booked(box)
        assert [(one["QueueStatus"], one.get("ExternalId")) for one in receipts(box)["pay-1"]] == [(1, made["key"])]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paymentDate": "2026-03-19"}, "date is 2026-03-19 in Sage and 2026-03-20 in Rillion Pay"),
        ({"documentId": ""}, "its document id is missing"),
    ],
    ids=["another day", "typed by hand"],
)
def test_a_payment_in_sage_that_may_be_this_one_is_for_a_person(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        box.load(PAYMENT, [{name: value for name, value in by_hand(keys[1], **changes).items() if value}])
        pay(box, payment(1, keys[1], "5.00"))
        connect = connect_to(box, tmp_path)
        connect.sync(expect=(3,))
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert words in letter["error"]["message"]
        assert (len(booked(box)), receipts(box)) == (1, {})


def test_one_payment_of_the_incumbent_is_not_given_to_two_payments_of_pay(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"))
        box.load(PAYMENT, [by_hand(keys[1])])
        pay(box, payment(1, keys[1], "5.00", name="a"), payment(1, keys[1], "5.00", name="b"))
        connect = connect_to(box, tmp_path)
        connect.sync(expect=(3,))
        letters = connect.json("dead-letters", "list")["items"]
        assert ["may be meant too" in letter["error"]["message"] for letter in letters] == [True, True]
        assert len(booked(box)) == 1


def test_nothing_that_settled_before_start_on_is_touched(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = fill(box, (1, "15.00"), (2, "30.00"))
        early = {"processingDates": {"paymentSettledDate": "2025-12-31"}}
        pay(box, payment(1, keys[1], "15.00", **early), payment(2, keys[2], "30.00"))
        connect_to(box, tmp_path).sync()
        assert [one["documentNumber"] for one in booked(box)] == ["R2"]
