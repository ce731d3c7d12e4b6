"""The guide's six payment scenarios, from the approved invoice to the payment date, with their remedies; and what Sage itself refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import approved
import orjson
import pytest
import settled
from sage_user import call
from settled import BILL, PAYMENT
from world import Connect, Sandbox, config_text

from connect.catalogue import catalogue

pytestmark = pytest.mark.timeout(300)
QUICK = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2"
JOBS = ("ExportInvoices", "ExportPayments", "GetPaymentDates")
GENERAL = 'StartOn = 2026-01-01\nBillDateSource = "InvoiceDate"\nPaymentCutoffDays = 3000\nBankAccountMapping = { "0042" = "BOA" }\n'
WAITS, TOO_EARLY, PARTLY, TOO_MUCH, NO_ACCOUNT, VOIDED = range(1, 7)


def connect_to(box: Sandbox, folder: Path, more: str = "") -> Connect:
    text = config_text(box, jobs=JOBS, general=GENERAL + more)
    return Connect(folder, text.replace("sage_slots", f"{QUICK}\nsage_slots", 1))


def run(connect: Connect, job: str, *, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
    (found,) = connect.json("run", "--until-idle", "--job", job, expect=expect)["runs"]
    return dict(found)


def book(box: Sandbox, connect: Connect) -> dict[int, dict[str, Any]]:
    """Six invoices approved in Prime and booked in Sage; the first while bills need approval. What Prime then has of each."""
    approved.fill(box)
    box.load("cash-management/checking-account", [{"id": "BOA"}])
    box.load("cash-management/credit-card-account", [{"id": "VISA"}])
    box.call("/_sandbox/prime/load", {"kind": "PaymentConfiguration", "records": [{"company": "100", "bankAccountIdentifier": 42}]})
    box.call("/_sandbox/settings", {"sage": {"approvals": True}})
    approved.load(box, approved.invoice(WAITS), images=0)
    assert run(connect, "ExportInvoices")["submitted"] == 1
    box.call("/_sandbox/settings", {"sage": {"exempt_users": [box.sage["username"]]}})
    approved.load(box, *(approved.invoice(number) for number in range(TOO_EARLY, VOIDED + 1)), images=0)
    assert (done := run(connect, "ExportInvoices"))["submitted"] == 0, done
    return approved.invoices(box)


def settle(invoice: dict[str, Any], amount: str, **changes: Any) -> dict[str, Any]:
    """Pay's record of an invoice that Prime holds as booked."""
    number = int(invoice["InvoiceNo"])
    own = {"supplierInvoiceNo": invoice["SupplierInvoiceNo"], "supplier": invoice["Supplier"]}
    return settled.payment(number, str(invoice["VoucherNo"]), amount, **own | changes)


def states(box: Sandbox) -> dict[int, tuple[str, str]]:
    """Invoice -> state of its bill, and what is open."""
    return {int(one["billNumber"].rpartition("-")[2]): (one["state"], one["due"]) for one in box.call("/_sandbox/books")["bills"]}


def letters(connect: Connect) -> dict[int, dict[str, Any]]:
    """Payment of invoice -> the error of its open letter."""
    return {int(one["number"].rpartition("-")[2]): one["error"] for one in connect.json("dead-letters", "list")["items"]}


def test_the_six_scenarios_of_the_guide_and_their_remedies(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        invoices = book(box, connect)
        settled.pay(
            box,
            settle(invoices[WAITS], "125.00"),
            settle(invoices[TOO_EARLY], "125.00", paymentDate="2026-02-28"),
            settle(invoices[PARTLY], "25.00"),
            settle(invoices[TOO_MUCH], "125.01"),
            settle(invoices[NO_ACCOUNT], "125.00", paymentMethod="VirtualCard"),
            settle(invoices[VOIDED], "125.00"),
        )
        done = run(connect, "ExportPayments", expect=(3,))
        assert (done["read"], done["sent"], done["refused"]) == (6, 2, 4)
        assert {number: (error["owner"], error["message"].partition(":")[0]) for number, error in letters(connect).items()} == {
            WAITS: ("Sage administrator", "Bill INV-1 is submitted in Sage"),
            TOO_EARLY: ("Sage administrator", "The payment of 2026-02-28 is dated before bill INV-2 of 2026-03-01 (SL-0417)"),
            TOO_MUCH: ("operator", "The payment of 125.01 USD is more than the 125.00 open on bill INV-4 (BL01001973)"),
            NO_ACCOUNT: ("consultant", "Sage cannot pay by Credit Card from account BOA (AP-0038)"),
        }
        assert states(box) == {
            WAITS: ("submitted", "125.00"), TOO_EARLY: ("posted", "125.00"), PARTLY: ("partiallyPaid", "100.00"),
            TOO_MUCH: ("posted", "125.00"), NO_ACCOUNT: ("posted", "125.00"), VOIDED: ("paid", "0.00"),
        }  # fmt: skip
        assert settled.receipts(box).keys() == {"pay-3", "pay-6"}, "the others wait for whoever mends them; Pay is not told yet"
        (made,) = [one for one in settled.booked(box) if one["documentNumber"] == "R6"]
        assert made["documentId"] == f"PR#R6-BR#OCR 123-VN#{invoices[VOIDED]['VoucherNo']}"
        assert (run(connect, "GetPaymentDates")["sent"], approved.invoices(box)[VOIDED]["PaymentDate"]) == (1, "2026-03-20")

        mend(box, invoices, made["key"])
        connect = connect_to(box, tmp_path, 'PaymentMethodMapping = { "ACH" = "ACH", "VirtualCard" = "EFT" }')
        done = run(connect, "ExportPayments", expect=(3,))
        assert (done["sent"], done["refused"]) == (3, 1)
        assert done["reason"].startswith(
            f"1 payment that Rillion Pay has as booked was voided or declined in Sage within 7 days: R6 (payment {made['key']}"
        )
        assert list(letters(connect)) == [TOO_MUCH]
        assert {number: state for number, (state, _) in states(box).items()} == {
            WAITS: "paid", TOO_EARLY: "paid", PARTLY: "partiallyPaid", TOO_MUCH: "posted", NO_ACCOUNT: "paid", VOIDED: "reversed",
        }  # fmt: skip
        assert sorted(one["documentNumber"] for one in settled.booked(box)) == ["R1", "R2", "R3", "R5", "R6"]
        run(connect, "GetPaymentDates")
        assert {number for number, one in approved.invoices(box).items() if one.get("PaymentDate")} == {
            WAITS, TOO_EARLY, NO_ACCOUNT, VOIDED,
        }  # fmt: skip


def mend(box: Sandbox, invoices: dict[int, dict[str, Any]], voided: str) -> None:
    """What people do in Sage: the bill approved, the other's date corrected, the payment voided, with which its bill is reversed."""
    call(box, "POST", f"/workflows/{BILL}/approve", {"key": str(invoices[WAITS]["VoucherNo"])})
    call(box, "PATCH", f"/objects/{BILL}/{invoices[TOO_EARLY]['VoucherNo']}", {"createdDate": "2026-02-20"})
    call(box, "POST", f"/workflows/{PAYMENT}/reverse", {"key": voided, "paymentDate": "2026-03-22"})


QUERY = "POST /services/core/query"
SAID_BY_SAGE = {  # number of the invoice, what changes, the catalogue's entry; the account last, for nothing can be paid from it then
    "SL-0417": (3, {"object": BILL, "mode": "upsert", "records": [{"key": "{key}", "createdDate": "2026-03-25"}]}, "payment_before_bill"),
    "BL01001973": (
        4,
        {"object": BILL, "mode": "upsert", "records": [{"key": "{key}", "paymentInformation": {"totalTxnAmountPaid": "10.00"}}]},
        "payment_too_much",
    ),
    "AP-0038": (
        5,
        {"object": "cash-management/checking-account", "mode": "upsert", "records": [{"id": "BOA", "status": "inactive"}]},
        "payment_account",
    ),
}


def test_what_changes_in_sage_after_it_was_checked_is_refused_there_and_explained_by_the_catalogue(tmp_path: Path) -> None:
    """What is known of a payment is asked with queries; right after the last of them, and before the payment, somebody changes Sage."""
    with Sandbox("--empty") as box:
        keys = settled.fill(box, *((number, "15.00") for number in range(1, 6)))
        connect = settled.connect_to(box, tmp_path, general=f'{settled.GENERAL}\nReturnErrors = "all"')
        settled.pay(box, settled.payment(1, keys[1], "15.00"))
        connect.sync()
        settled.pay(box, settled.payment(2, keys[2], "15.00"))
        before = asked(box, QUERY)
        connect.sync()
        queries = asked(box, QUERY) - before  # of a run with one payment
        for number, change, _ in SAID_BY_SAGE.values():
            settled.pay(box, settled.payment(number, keys[number], "15.00"))
            body = orjson.loads(orjson.dumps(change).replace(b"{key}", keys[number].encode()))
            do = [{"path": "/_sandbox/sage/load", "body": body}]
            box.call("/_sandbox/on", {"after": {"where": f"sage:{QUERY}", "count": queries}, "do": do})
            connect.sync(expect=(3,))
        assert asked(box, f"POST /objects/{PAYMENT}") == 2 + len(SAID_BY_SAGE), "they were sent, and Sage refused them"
        shown = {
            one["number"]: connect.json("dead-letters", "show", one["id"])["error"] for one in connect.json("dead-letters", "list")["items"]
        }
        told = settled.receipts(box)
        for code, (number, _, entry) in SAID_BY_SAGE.items():
            error, (receipt,) = shown[f"PAY-pay-{number}"], told[f"pay-{number}"]
            assert (error["entry"], code in error["message"]) == (entry, True), error
            assert (receipt["QueueStatus"], code in receipt["ErrorText"]) == (2, True), receipt
            (known,) = [one for one in catalogue().named(code) if one.name == entry]
            assert known.fix in error["fix"]


def asked(box: Sandbox, what: str) -> int:
    """How often Sage was asked for it."""
    return int(box.stats()["sage"]["calls"].get(what, 0))
