"""Invoices approved in Prime become bills in Sage with their files, and Prime hears of it: through the whole pipeline."""

from __future__ import annotations

import base64
from pathlib import Path

import deaths
import pytest
import redis
from approved import GENERAL, PDF, connect_to, fill, invoice, invoices, load, receipts
from world import Sandbox

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)


def test_an_approved_invoice_becomes_a_bill_with_its_files_and_prime_gets_the_number(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(8543), images=2)
        connect = connect_to(box, tmp_path)
        document = connect.json("run", "--until-idle")
        assert [(run["job"], run["state"], run["read"], run["sent"]) for run in document["runs"]] == [("ExportInvoices", "done", 1, 1)]
        (bill,) = box.sage_records("accounts-payable/bill")
        assert (bill["billNumber"], bill["vendor"]["id"], bill["referenceNumber"], bill["state"]) == ("INV-8543", "V1", "OCR 123", "posted")
        assert (bill["postingDate"], bill["dueDate"], bill["totalTxnAmount"]) == ("2026-03-02", "2026-03-31", "125.00")
        assert bill["description"].startswith("Office rent https://prime.example.com/ShowInvoice.aspx?invoiceseries=1&invoiceno=8543 RP-")
        lines = [
            (line["glAccount"]["id"], line["txnAmount"], line["dimensions"]["location"]["id"], line.get("memo")) for line in bill["lines"]
        ]
        assert lines == [("6000", "100.00", "4", "March"), ("2640", "25.00", "4", None)]
        (attachment,) = box.sage_records("company-config/attachment")
        assert attachment["id"] == bill["attachment"]["id"] == bill["description"].split()[-1]
        assert [base64.b64decode(file["data"]) for file in attachment["files"]] == [PDF, PDF]
        assert invoices(box)[8543]["queue"] == "receipted"
        receipts = box.call("/_sandbox/prime/records?kind=InvoiceReceipt&company=100")["records"]
        assert [(str(one["QueueStatus"]), str(one["VoucherNo"])) for one in receipts] == [("1", bill["key"])]
        calls = box.stats()["sage"]["calls"]
        assert calls["POST /services/core/composite"] == 1
        connect.sync()
        assert len(box.sage_records("accounts-payable/bill")) == 1


def test_every_reason_of_a_refusal_goes_back_in_one_text(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1), invoice(2, supplier="V404", account="6999"))
        connect = connect_to(box, tmp_path)
        document = connect.json("run", "--until-idle", expect=(3,))
        assert [(run["sent"], run["refused"]) for run in document["runs"]] == [(1, 1)]
        assert {number: record["queue"] for number, record in invoices(box).items()} == {1: "receipted", 2: "returned"}
        (text,) = [
            one["ErrorText"]
            for one in box.call("/_sandbox/prime/records?kind=InvoiceReceipt&company=100")["records"]
            if one.get("ErrorText")
        ]
        assert "V404" in text
        assert "6999" in text
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert (letter["kind"], letter["number"], letter["error"]["owner"]) == ("Invoice", "1-2", "clerk")


def test_a_number_already_used_or_a_currency_not_enabled_hides_no_other_reason(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        box.load("company-config/txn-currency", [{"id": "EUR"}, {"id": "USD"}])
        load(box, invoice(1))
        connect = connect_to(box, tmp_path, general=f'{GENERAL}\nReturnErrors = "all"')
        connect.sync()
        load(box, invoice(2, account="6999", SupplierInvoiceNo="INV-1"), invoice(3, account="6999", Currency="SEK"))
        connect.sync(expect=(3,))
        told = {one["number"]: one["error"]["message"] for one in connect.json("dead-letters", "list")["items"]}
        (bill,) = box.sage_records("accounts-payable/bill")
        closed = "Line 1: Account 6999 is not active in Sage"
        assert told == {
            "1-2": f"Bill number INV-1 of vendor V1 is already used in Sage (bill {bill['key']} (posted)) | {closed}",
            "1-3": f"Currency SEK is not enabled in Sage | {closed}",
        }


def test_a_refused_invoice_that_is_mended_and_resent_is_booked_and_its_letter_resolved(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(2, supplier="V404"))
        connect = connect_to(box, tmp_path)
        connect.sync(expect=(3,))
        assert not box.sage_records("accounts-payable/bill")
        load(box, invoice(2), images=0)
        connect.sync()
        assert invoices(box)[2]["queue"] == "receipted"
        assert connect.json("dead-letters", "list")["total"] == 0


@pytest.mark.parametrize("where", ["sage:POST /services/core/composite", "prime:SendInvoiceReply"])
def test_an_answer_lost_after_the_commit_books_nothing_twice(where: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, *(invoice(number) for number in range(1, 31)))
        rule = {"where": where, "kind": "drop_after_commit", "probability": 0.4, "seed": 3, "count": 12}
        box.call("/_sandbox/faults", {"rules": [rule]})
        connect = connect_to(box, tmp_path, more="settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2")
        connect.sync()
        books = box.call("/_sandbox/books")
        assert (len(books["bills"]), books["duplicates"], books["orphans"]) == (30, [], [])
        assert {record["queue"] for record in invoices(box).values()} == {"receipted"}


def test_what_a_clerk_cannot_mend_stays_listed_and_is_booked_once_it_is_mended(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1))
        connect = connect_to(box, tmp_path, general=GENERAL + '\nSageAttachmentFolderId = "Bills"')
        connect.sync(expect=(3,))
        assert invoices(box)[1]["queue"] == "listed"
        (letter,) = connect.json("dead-letters", "list")["items"]
        assert letter["error"]["owner"] in ("consultant", "Sage administrator")
        assert "Bills" in letter["error"]["message"]
        box.load("company-config/folder", [{"id": "Bills"}])
        connect.run("dead-letters", "replay", letter["id"], "--wait")
        assert invoices(box)[1]["queue"] == "receipted"
        assert connect.json("dead-letters", "list")["total"] == 0


def test_a_file_too_big_for_sage_is_a_refusal_that_says_so_and_the_invoice_with_a_smaller_one_is_booked(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1), content=PDF * 40)
        load(box, invoice(2), content=PDF * 4)
        connect_to(box, tmp_path, more="settle_s = 0.5\nsage_body_limit_bytes = 20000").sync(expect=(3,))
        said = {
            int(one["InvoiceNo"]): (int(one["QueueStatus"]), one.get("ErrorText", "")) for one in box.call("/_sandbox/books")["receipts"]
        }
        assert said[1][0] == 2
        assert "too big for Sage, which takes about 15 kB: page0.pdf" in said[1][1]
        assert said[2][0] == 1
        assert box.call("/_sandbox/books")["orphans"] == []


def test_nothing_before_start_on_is_touched(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1, AccountCodingDate="2025-12-31"), invoice(2))
        connect_to(box, tmp_path).sync()
        assert {number: record["queue"] for number, record in invoices(box).items()} == {1: "listed", 2: "receipted"}


def test_a_second_connect_on_the_same_prime_stops_and_an_emptied_redis_is_no_second_one(tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / "one") as url:
        fill(box)
        load(box, invoice(1))
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        short = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2"
        first = connect_to(box, folders[0], redis_url=url, more=short)
        first.sync()
        load(box, invoice(2))
        second = connect_to(box, folders[1])
        second.sync(expect=(1, 3))
        (run,) = second.json("status")["connections"][0]["runs"]
        assert run["state"] == "failed"
        assert invoices(box)[2]["queue"] == "listed"
        redis.Redis.from_url(url).flushall()
        first.sync()
        assert invoices(box)[2]["queue"] == "receipted"
        assert len(box.sage_records("accounts-payable/bill")) == 2


@pytest.mark.parametrize("lag_s", [0, 30])
def test_bills_that_arrive_as_submitted_are_counted_and_pointed_out_with_the_remedy(lag_s: int, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1), invoice(2), invoice(3, supplier="V404"))
        box.call("/_sandbox/settings", {"sage": {"approvals": True, "read_lag_s": lag_s}})
        connect = connect_to(box, tmp_path)
        document = connect.json("run", "--until-idle", expect=(3,))
        assert [(run["sent"], run["refused"], run["submitted"]) for run in document["runs"]] == [(2, 1, 2)]
        (company,) = connect.json("status")["connections"]
        (remark,) = company["remarks"]
        assert remark.startswith("2 bills have arrived in Sage as submitted: approve them there")
        assert "Bill approval settings, choose the web service user as unrestricted" in remark
        assert remark in connect.run("status").replace("\n", " ")
        (story,) = connect.json("trace", "1-1")["documents"]
        assert "submitted in Sage: approve it there" in [step.get("result") for step in story["steps"]]

        box.call("/_sandbox/settings", {"sage": {"exempt_users": [box.sage["username"]]}})  # the remedy
        load(box, invoice(4))
        document = connect.json("run", "--until-idle")
        assert [(run["sent"], run["submitted"]) for run in document["runs"]] == [(1, 0)]
        assert sorted(bill["state"] for bill in box.call("/_sandbox/books")["bills"]) == ["posted", "submitted", "submitted"]


def test_files_without_a_bill_go_when_the_invoice_is_refused_after_all(tmp_path: Path) -> None:
    """The attachment was made, the bill was not, Redis was emptied, and then the vendor was closed."""
    with Sandbox("--empty") as box, attached(tmp_path / "one") as url:
        fill(box)
        load(box, invoice(1), images=2, content=PDF * 10)
        short = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2\nsage_body_limit_bytes = 20000"
        connect = connect_to(box, tmp_path, redis_url=url, more=short)
        bills = "sage:POST /objects/accounts-payable/bill"
        box.call("/_sandbox/faults", {"rules": [{"where": bills, "kind": "status", "params": {"status": 502}}]})
        deaths.cases(connect, 1, [{"case": "sent", "documents": [["1", "1"]]}])
        assert len(box.call("/_sandbox/books")["orphans"]) == 1
        redis.Redis.from_url(url).flushall()
        box.call("/_sandbox/faults", {"rules": []})
        box.load("accounts-payable/vendor", [{"id": "V1", "name": "Vendor 1", "status": "inactive"}], mode="upsert")
        deaths.cases(connect, 1, [{"case": "again", "documents": [["1", "1"]], "settle": True}])
        assert receipts(box) == {1: ["2"]}
        assert box.call("/_sandbox/books")["orphans"] == []
