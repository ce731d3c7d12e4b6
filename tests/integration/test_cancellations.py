"""Bookings that Prime wants undone are undone in Sage, once, and only ours: through the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from approved import GENERAL, fill, invoice, invoices, load
from sage_user import delete, pay
from world import Connect, Sandbox, config_text

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)
BILL, ATTACHMENT = "accounts-payable/bill", "company-config/attachment"
FAST = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2"


def connect_to(box: Sandbox, folder: Path, *, general: str = "", more: str = FAST) -> Connect:
    text = config_text(box, jobs=("ExportInvoices", "CancelInvoices"), general=f"{GENERAL}\n{general}")
    return Connect(folder, text.replace("sage_slots", f"{more}\nsage_slots", 1))


def book(box: Sandbox, connect: Connect, *numbers: int, images: int = 1) -> dict[int, str]:
    """Booked invoices; the keys of their bills."""
    load(box, *(invoice(number) for number in numbers), images=images)
    connect.sync("--job", "ExportInvoices")
    return {int(one["billNumber"].removeprefix("INV-")): one["key"] for one in box.sage_records(BILL)}


def ask(box: Sandbox, *numbers: int, **changes: Any) -> None:
    """In Prime, somebody wants them cancelled."""
    load(box, *({"InvoiceSeries": "1", "InvoiceNo": number, "Status": 2} | changes for number in numbers), images=0)


def told(box: Sandbox, number: int) -> dict[str, Any]:
    """The last receipt of an invoice."""
    receipts = box.call("/_sandbox/prime/records?kind=InvoiceReceipt&company=100")["records"]
    found: dict[str, Any] = [one for one in receipts if int(one["InvoiceNo"]) == number][-1]
    return found


def cancel(connect: Connect, *, expect: tuple[int, ...] = (0,)) -> None:
    connect.sync("--job", "CancelInvoices", expect=expect)


def test_a_booked_invoice_is_deleted_with_its_files_and_prime_gets_its_receipt(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path)
        book(box, connect, 1, 2, images=2)
        ask(box, 1)
        document = connect.json("run", "--until-idle", "--job", "CancelInvoices")
        assert [(run["job"], run["state"], run["read"], run["sent"]) for run in document["runs"]] == [("CancelInvoices", "done", 1, 1)]
        assert [one["billNumber"] for one in box.sage_records(BILL)] == ["INV-2"]
        assert len(box.sage_records(ATTACHMENT)) == 1
        assert box.call("/_sandbox/books")["orphans"] == []
        receipt = told(box, 1)
        assert (str(receipt["Status"]), str(receipt["QueueStatus"])) == ("2", "1")
        assert invoices(box)[1]["queue"] == "receipted"
        cancel(connect)
        assert sum(count for name, count in box.stats()["sage"]["calls"].items() if name.startswith(f"DELETE /objects/{BILL}")) == 1


def test_with_the_setting_a_posted_bill_is_reversed_and_keeps_its_files(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path, general='DeleteOrReverse = "reverse"')
        book(box, connect, 1)
        ask(box, 1)
        cancel(connect)
        assert [(one["billNumber"], one["state"]) for one in box.sage_records(BILL)] == [("Reversed - INV-1", "reversed")]
        assert len(box.sage_records(ATTACHMENT)) == 1
        assert (str(told(box, 1)["QueueStatus"]), invoices(box)[1]["queue"]) == ("1", "receipted")


def test_a_bill_that_waits_for_approval_is_deleted_also_when_bills_are_reversed(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        box.call("/_sandbox/settings", {"sage": {"approvals": True}})
        connect = connect_to(box, tmp_path, general='DeleteOrReverse = "reverse"')
        book(box, connect, 1)
        assert [one["state"] for one in box.sage_records(BILL)] == ["submitted"]
        ask(box, 1)
        cancel(connect)
        assert (box.sage_records(BILL), box.sage_records(ATTACHMENT)) == ([], [])


def test_a_closed_period_is_a_refusal_in_sages_words_with_a_dead_letter_that_ends_with_its_cause(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path, general='DeleteOrReverse = "reverse"')
        book(box, connect, 1)
        box.call("/_sandbox/settings", {"sage": {"closed_until": "2099-12-31"}})
        ask(box, 1)
        cancel(connect, expect=(3,))
        assert str(told(box, 1)["QueueStatus"]) == "2"
        assert "is closed" in told(box, 1)["ErrorText"]
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert (letter["kind"], letter["number"], letter["job"]) == ("Cancellation", "1-1", "CancelInvoices")
        box.call("/_sandbox/settings", {"sage": {"closed_until": None}})
        ask(box, 1)
        cancel(connect)
        assert [one["state"] for one in box.sage_records(BILL)] == ["reversed"]
        assert connect.json("dead-letters", "list")["total"] == 0


@pytest.mark.parametrize(("amount", "words"), [("125.00", "is paid in Sage"), ("25.00", "is partly paid in Sage")])
def test_a_paid_bill_stays_and_prime_is_told_why(amount: str, words: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        box.load("cash-management/checking-account", [{"id": "BOA"}])
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, 1)
        pay(box, keys[1], amount, on="2026-12-31", number="3086")
        ask(box, 1)
        cancel(connect, expect=(3,))
        assert words in told(box, 1)["ErrorText"]
        assert len(box.sage_records(BILL)) == len(box.sage_records(ATTACHMENT)) == 1
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert (letter["kind"], letter["error"]["owner"]) == ("Cancellation", "clerk")


def test_a_bill_deleted_by_hand_is_a_success_and_its_files_go(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, 1)
        delete(box, keys[1])
        ask(box, 1)
        cancel(connect)
        assert box.sage_records(ATTACHMENT) == []
        assert str(told(box, 1)["QueueStatus"]) == "1"


def test_foreign_bills_are_never_touched(tmp_path: Path) -> None:
    """Typed by hand with the same number; never booked at all; and a voucher number that is somebody else's bill."""
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path)
        book(box, connect, 1)
        lines = [{"glAccount": {"id": "6000"}, "txnAmount": "125.00", "dimensions": {"location": {"id": "4"}}}]
        typed = {
            "vendor": {"id": "V1"},
            "dueDate": "2026-03-31",
            "createdDate": "2026-03-01",
            "postingDate": "2026-03-02",
            "state": "posted",
        }
        box.load(BILL, [typed | {"billNumber": "INV-2", "lines": lines}])
        foreign = next(one["key"] for one in box.sage_records(BILL) if one["billNumber"] == "INV-2")
        load(box, invoice(2, Status=2), invoice(3, Status=2), invoice(4, Status=2, Amount="1.00", VoucherNo=foreign), images=0)
        cancel(connect, expect=(3,))
        assert sorted(one["billNumber"] for one in box.sage_records(BILL)) == ["INV-1", "INV-2"]
        texts = {number: told(box, number)["ErrorText"] for number in (2, 3, 4)}
        assert "was not booked from Prime" in texts[2]
        assert "nothing shows that one was booked from Prime" in texts[3]
        assert "not of this invoice (amount is 125.00 in Sage and 1 in Prime)" in texts[4]


@pytest.mark.parametrize(
    "where",
    [f"sage:DELETE /objects/{BILL}", f"sage:DELETE /objects/{ATTACHMENT}", "prime:SendInvoiceReply"],
    ids=["bill", "files", "receipt"],
)
@pytest.mark.parametrize("forget", [False, True], ids=["", "FLUSHALL in between"])
def test_an_answer_lost_after_the_commit_cancels_nothing_twice(where: str, forget: bool, tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
        fill(box)
        connect = connect_to(box, tmp_path)
        numbers = range(1, 13)
        book(box, connect, *numbers)
        ask(box, *numbers)
        box.call("/_sandbox/faults", {"rules": [{"where": where, "kind": "drop_after_commit", "probability": 0.5, "seed": 3, "count": 8}]})
        if forget:
            client.flushall()
        cancel(connect)
        books = box.call("/_sandbox/books")
        assert (books["bills"], books["orphans"], box.sage_records(ATTACHMENT)) == ([], [], [])
        assert {record["queue"] for record in invoices(box).values()} == {"receipted"}
        kinds = [str(one["QueueStatus"]) for one in books["receipts"] if str(one["Status"]) == "2"]
        assert kinds == ["1"] * len(numbers)


def test_a_cancelled_invoice_that_is_approved_again_is_a_new_bill(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path)
        first = book(box, connect, 1)
        ask(box, 1)
        cancel(connect)
        ask(box, 1, Status=4)
        connect.sync()
        (bill,) = box.sage_records(BILL)
        assert bill["key"] != first[1]
        assert bill["attachment"]["id"].endswith("-1")
        assert (box.call("/_sandbox/books")["orphans"], str(invoices(box)[1]["VoucherNo"])) == ([], bill["key"])


@pytest.mark.parametrize("idempotency", [True, False], ids=["", "without idempotency"])
def test_while_queries_lag_nothing_is_missed_and_no_ghost_is_adopted(idempotency: bool, tmp_path: Path) -> None:
    """Cancelled right after the booking, approved again right after the cancellation; Redis forgets all in between."""
    with Sandbox("--empty") as box, attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
        fill(box)
        box.call("/_sandbox/settings", {"sage": {"read_lag_s": 1.0, "idempotency": idempotency}})
        connect = connect_to(box, tmp_path, more=FAST.replace("settle_s = 0.5", "settle_s = 1.5"))
        first = book(box, connect, 1, 2)
        ask(box, 1, 2)
        cancel(connect)
        assert (box.sage_records(BILL), box.sage_records(ATTACHMENT)) == ([], [])
        client.flushall()
        ask(box, 1, 2, Status=4)
        connect.sync()
        second = {int(one["billNumber"].removeprefix("INV-")): one["key"] for one in box.sage_records(BILL)}
        assert set(second) == {1, 2}
        assert not set(first.values()) & set(second.values())
        assert {str(invoices(box)[number]["VoucherNo"]) for number in (1, 2)} == set(second.values())
        assert box.call("/_sandbox/books")["orphans"] == []


def test_an_invoice_whose_booking_is_in_doubt_is_cancelled_once_that_is_known(tmp_path: Path) -> None:
    """Sage's answers to the bills are lost, and before they are looked up the invoices are to be cancelled."""
    with Sandbox("--empty") as box:
        fill(box)
        connect = connect_to(box, tmp_path)
        load(box, *(invoice(number) for number in range(1, 7)))
        composite = "sage:POST /services/core/composite"
        box.call("/_sandbox/faults", {"rules": [{"where": composite, "kind": "drop_after_commit"}]})
        records = [{"InvoiceSeries": "1", "InvoiceNo": number, "Status": 2} for number in range(1, 7)]
        ask_in_prime = {"path": "/_sandbox/prime/load", "body": {"kind": "Invoice", "records": records}}
        box.call("/_sandbox/on", {"after": {"where": composite, "count": 6}, "do": [ask_in_prime]})
        connect.sync("--job", "ExportInvoices")
        assert len(box.sage_records(BILL)) == 6
        cancel(connect)
        assert (box.sage_records(BILL), box.sage_records(ATTACHMENT)) == ([], [])
        assert {number: str(told(box, number)["QueueStatus"]) for number in range(1, 7)} == dict.fromkeys(range(1, 7), "1")


def test_nothing_before_start_on_is_cancelled(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1, Status=2, AccountCodingDate="2025-12-31"), images=0)
        cancel(connect_to(box, tmp_path))
        assert invoices(box)[1]["queue"] == "listed"
