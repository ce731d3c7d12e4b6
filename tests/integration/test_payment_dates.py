"""Bills paid in Sage give their invoices in Prime a payment date, once: through the whole pipeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from approved import GENERAL, fill, invoice, invoices, load
from sage_user import BILL, call, pay
from world import Connect, Sandbox, config_text

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)
TODAY = datetime.now(UTC).date()
PAID_ON = (TODAY + timedelta(days=1)).isoformat()  # a payment is never dated before its bill


def connect_to(box: Sandbox, folder: Path, general: str = "") -> Connect:
    text = config_text(box, jobs=("ExportInvoices", "GetPaymentDates"), general=f"{GENERAL}\n{general}")
    return Connect(folder, text.replace("sage_slots", "settle_s = 0.5\nsage_slots", 1))


def book(box: Sandbox, connect: Connect, *numbers: int, days_ago: int = 10) -> dict[int, str]:
    """Booked invoices, their accounting date so many days ago; the keys of their bills."""
    fill(box)
    box.load("cash-management/checking-account", [{"id": "BOA"}])
    posted = (TODAY - timedelta(days=days_ago)).isoformat()
    load(box, *(invoice(number, AccountCodingDate=posted) for number in numbers), images=0)
    connect.sync("--job", "ExportInvoices")
    return {int(one["billNumber"].removeprefix("INV-")): one["key"] for one in box.sage_records(BILL)}


def dates(connect: Connect, *, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
    (run,) = connect.json("run", "--until-idle", "--job", "GetPaymentDates", expect=expect)["runs"]
    assert run["state"] == "done", run
    found: dict[str, Any] = run
    return found


def told(box: Sandbox) -> list[tuple[int, str, str]]:
    records = box.call("/_sandbox/prime/records?kind=InvoicePaymentDate&company=100")["records"]
    return sorted((int(one["InvoiceNo"]), one["PaymentDate"], one["Note"]) for one in records)


def test_only_bills_paid_in_full_give_a_date_and_the_payments_number(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, 1, 2, 3)
        pay(box, keys[1], "125.00", on=PAID_ON, number="3086")
        pay(box, keys[2], "25.00", on=PAID_ON, number="3087")
        run = dates(connect)
        assert (run["read"], run["sent"], run["unchanged"], run["refused"], run["undated"]) == (3, 1, 0, 0, 0)
        assert told(box) == [(1, PAID_ON, "3086")]
        assert invoices(box)[1]["PaymentDate"] == PAID_ON
        run = dates(connect)
        assert (run["read"], run["sent"]) == (2, 0)
        pay(box, keys[2], "100.00", on=PAID_ON, number="3088")
        assert dates(connect)["sent"] == 1
        assert told(box) == [(1, PAID_ON, "3086"), (2, PAID_ON, "3088")]


def test_many_bills_are_read_in_one_query(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, *range(1, 61))
        for number in range(1, 11):
            pay(box, keys[number], "125.00", on=PAID_ON, number=str(3000 + number))
        before = box.stats()["sage"]["calls"]["POST /services/core/query"]
        assert dates(connect)["sent"] == 10
        assert box.stats()["sage"]["calls"]["POST /services/core/query"] - before <= 4, "bills twice, details, payments"


def test_a_date_that_prime_has_is_not_sent_again_and_a_changed_one_is(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, 1)
        pay(box, keys[1], "125.00", on=PAID_ON, number="3086")
        dates(connect)
        record = invoices(box)[1]
        load(box, {"InvoiceSeries": "1", "InvoiceNo": 1, "PaymentDate": None, "Status": 0}, images=0)
        assert invoices(box)[1].get("PaymentDate") is None, "somebody took it away in Prime"
        assert (record["PaymentDate"], dates(connect)["unchanged"]) == (PAID_ON, 1)
        with attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
            (name,) = client.keys("connect:*:payment_dates:100")
            client.hset(name, "1\n1", f"{TODAY - timedelta(days=10)} 2026-01-01")
        assert dates(connect)["sent"] == 1


@pytest.mark.parametrize("where", ["prime:SetInvoicePaymentDate", "prime:ListInvoicesMissingPaymentDate"])
@pytest.mark.parametrize("forget", [False, True], ids=["", "FLUSHALL in between"])
def test_lost_answers_change_nothing(where: str, forget: bool, tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, *range(1, 9))
        for number, key in keys.items():
            pay(box, key, "125.00", on=PAID_ON, number=str(number))
        box.call("/_sandbox/faults", {"rules": [{"where": where, "kind": "drop_after_commit", "probability": 0.5, "seed": 1, "count": 6}]})
        if forget:
            client.flushall()
        dates(connect)
        assert told(box) == [(number, PAID_ON, str(number)) for number in range(1, 9)]


def test_what_leaves_the_window_unpaid_is_counted_once(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path, "PaymentCutoffDays = 20")
        keys = book(box, connect, 1, 2, days_ago=10)
        pay(box, keys[2], "125.00", on=PAID_ON, number="3086")
        assert (dates(connect)["undated"], told(box)) == (0, [(2, PAID_ON, "3086")])
        text = (tmp_path / "connect.toml").read_text()
        (tmp_path / "connect.toml").write_text(text.replace("PaymentCutoffDays = 20", "PaymentCutoffDays = 5"))
        run = dates(connect)
        assert (run["read"], run["undated"]) == (0, 1)
        assert run["reason"] == "1 invoice left the window of 5 days unpaid: date never received"
        assert dates(connect)["undated"] == 0


@pytest.mark.parametrize("date_format", ["yyyy-MM-dd", "yyyyMMdd"])
def test_the_window_is_asked_for_in_the_configured_format(date_format: str, tmp_path: Path) -> None:
    """The sandbox takes yyyy-MM-dd alone, and refuses the other in words that end up with the run."""
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path, f'DateFormat = "{date_format}"')
        book(box, connect, 1)
        taken = date_format == "yyyy-MM-dd"
        (run,) = connect.json("run", "--until-idle", "--job", "GetPaymentDates", expect=(0,) if taken else (1,))["runs"]
        assert run["state"] == ("done" if taken else "failed")
        assert taken or "FromAccountCodingDate" in run["reason"]


def test_another_vendors_bill_with_the_voucher_number_gives_no_date(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        keys = book(box, connect, 1)
        pay(box, keys[1], "125.00", on=PAID_ON, number="3086")
        posted = (TODAY - timedelta(days=10)).isoformat()
        load(box, invoice(2, Status=0, VoucherNo=keys[1], AccountCodingDate=posted), images=0)
        dates(connect)
        assert [number for number, _, _ in told(box)] == [1]
        assert call(box, "GET", f"/objects/{BILL}/{keys[1]}")["ia::result"]["state"] == "paid"
