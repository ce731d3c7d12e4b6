"""An operator at work: refused invoices are explained, edited, replayed and traced; what people do is written down unalterably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
from approved import PDF, connect_to, fill, invoice, invoices, load
from world import Connect, Sandbox

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def box() -> Any:
    with Sandbox("--empty") as box:
        fill(box)
        yield box


def letter(connect: Connect) -> dict[str, Any]:
    (found,) = connect.json("dead-letters", "list")["items"]
    return found  # type: ignore[no-any-return]


def accounts(box: Sandbox) -> list[str]:
    (bill,) = box.sage_records("accounts-payable/bill")
    return [line["glAccount"]["id"] for line in bill["lines"]]


def test_the_files_of_a_held_invoice_are_listed_and_saved(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(7, account="6999"), images=2)
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    name = letter(connect)["id"]
    facts = [{"place": place, "name": f"page{place}.pdf", "type": "PDF", "size_bytes": len(PDF)} for place in (0, 1)]
    assert connect.json("dead-letters", "files", name) == {"files": [one | {"saved": None} for one in facts]}
    saved = connect.json("dead-letters", "files", name, "--save", "out/7")["files"]
    assert saved == [one | {"saved": f"out/7/{one['place']}-{one['name']}"} for one in facts]
    assert [(tmp_path / one["saved"]).read_bytes() for one in saved] == [PDF, PDF]
    (tmp_path / "out/7/0-page0.pdf").write_bytes(b"mine")
    connect.run("dead-letters", "files", name, "--save", "out/7", expect=(2,))
    assert (tmp_path / "out/7/0-page0.pdf").read_bytes() == b"mine"
    shown = connect.run("dead-letters", "files", name)
    assert [line.split() for line in shown.splitlines()][1] == ["0", "page0.pdf", "PDF", f"{len(PDF):,}"]


def test_a_held_invoice_is_edited_replayed_and_booked_as_edited(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(7, supplier="V2", account="6999"))  # the vendor is on hold, and the account is not active
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    assert invoices(box)[7]["queue"] == "listed"
    name = letter(connect)["id"]
    shown = connect.json("dead-letters", "show", name)
    assert (shown["error"]["owner"], shown["error"]["entry"]) == ("Sage administrator", "vendor_on_hold")
    assert "Choose another account" in shown["error"]["fix"]
    assert shown["error"]["cause"]
    assert [line["account"] for line in shown["payload"]["lines"]] == ["6999", "2640"]

    done = connect.json(
        "dead-letters", "edit", name, "--set", "lines[0].account=6000", "--set", "note=New text", "--reason", "closed", "--as", "ann"
    )
    assert done["changes"] == [
        {"path": "note", "before": "Office rent", "after": "New text"},
        {"path": "lines[0].account", "before": "6999", "after": "6000"},
    ]
    connect.json("dead-letters", "edit", name, "--set", "lines[0].note=Twice", "--reason", "and a memo", "--as", "ann")
    box.load("accounts-payable/vendor", [{"id": "V2", "name": "Vendor 2", "isOnHold": False}], mode="upsert")
    connect.run("dead-letters", "replay", name, "--wait", "--as", "bo")
    assert accounts(box) == ["6000", "2640"]
    (bill,) = box.sage_records("accounts-payable/bill")
    assert bill["description"].startswith("New text ")
    assert bill["lines"][0]["memo"] == "Twice"
    assert invoices(box)[7]["queue"] == "receipted"
    shown = connect.json("dead-letters", "show", name)
    assert shown["state"] == "resolved"
    whats = [(entry["what"], entry["by"]) for entry in shown["history"]]
    assert whats == [("refused", ""), ("edited", "ann"), ("edited", "ann"), ("replayed", "bo"), ("resolved", "")]
    assert "'6999' -> '6000'" in shown["history"][1]["why"]
    acts = connect.json("audit", "list")["entries"]
    assert [(act["what"], act["by"]) for act in acts] == [("edit", "ann"), ("edit", "ann"), ("replay", "bo")]
    assert acts[0]["facts"]["reason"] == "closed"
    assert connect.json("audit", "verify")["ok"]


def test_what_was_handed_back_belongs_to_prime_until_it_lists_it_again(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(2, account="6999"))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    assert invoices(box)[2]["queue"] == "returned"
    name = letter(connect)["id"]
    change = ("dead-letters", "edit", name, "--set", "lines[0].account=6000", "--reason", "closed", "--as", "ann")
    answer = connect.json(*change, expect=(2,))
    assert "belongs to Prime" in answer["error"]["message"]
    load(box, invoice(2, account="6999"), images=0)  # sent again there, unchanged
    connect.json(*change)
    connect.run("dead-letters", "replay", name, "--wait", "--as", "ann")
    assert accounts(box) == ["6000", "2640"]
    assert invoices(box)[2]["queue"] == "receipted"


def test_an_edit_gives_way_to_what_prime_has_changed_since(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(7, supplier="V2", account="6999"))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    name = letter(connect)["id"]
    connect.run("dead-letters", "edit", name, "--set", "lines[0].account=2640", "--reason", "x", "--as", "ann")
    load(box, invoice(7, supplier="V1", account="6000"), images=0)
    connect.sync()
    assert accounts(box) == ["6000", "2640"]


@pytest.mark.parametrize("change", ["supplier=V1", "amount=1.00", "currency=EUR", "lines[0].amount=1.00", "lines[9].account=1", "due_on=x"])
def test_what_was_approved_is_not_edited(box: Sandbox, tmp_path: Path, change: str) -> None:
    load(box, invoice(7, supplier="V2"))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    name = letter(connect)["id"]
    answer = connect.json("dead-letters", "edit", name, "--set", change, "--reason", "x", "--as", "ann", expect=(2,))
    assert answer["error"]["code"] == "edit"
    assert connect.json("dead-letters", "show", name)["edit"] == {}
    assert connect.json("audit", "list")["entries"] == []


def test_a_document_is_traced_by_any_of_its_numbers(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(8543, supplier="V2"))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    box.load("accounts-payable/vendor", [{"id": "V2", "name": "Vendor 2", "isOnHold": False}], mode="upsert")
    connect.run("dead-letters", "replay", letter(connect)["id"], "--wait", "--as", "bo")
    (bill,) = box.sage_records("accounts-payable/bill")
    stories = [connect.json("trace", number)["documents"] for number in ("1-8543", "8543", "inv-8543", bill["key"], "OCR 123")]
    assert all(story == stories[0] for story in stories[1:])
    (story,) = stories[0]
    assert (story["document"], story["journal"]["state"], story["journal"]["key"]) == ("1-8543", "receipted", bill["key"])
    steps = [(step["system"], step["step"]) for step in story["steps"]]
    wanted = [
        ("sage", "held"),
        ("connect", "dead letter refused"),
        ("connect", "dead letter replayed"),
        ("connect", "intent"),
        ("sage", "sending"),
        ("connect", "posted"),
        ("prime", "sending"),
        ("connect", "receipted"),
        ("sage", "booked"),
        ("connect", "dead letter resolved"),
    ]
    assert [step for step in steps if step in wanted] == wanted
    assert [step["at"] for step in story["steps"]] == sorted(step["at"] for step in story["steps"])
    assert [(run["job"], run["state"]) for run in story["runs"]] == [("ExportInvoices", "done")]
    assert "nothing is known" in connect.json("trace", "4711", expect=(1,))["error"]["message"]


def test_status_tells_how_many_errors_the_catalogue_knows_and_the_audit_trail_who_started_a_job(box: Sandbox, tmp_path: Path) -> None:
    connect = connect_to(box, tmp_path)
    assert connect.json("status")["catalogue"] == {"known": 0, "unknown": 0, "coverage": 1.0}
    load(box, invoice(1, supplier="V404"))
    connect.sync(expect=(3,))
    assert connect.json("status")["catalogue"] == {"known": 1, "unknown": 0, "coverage": 1.0}
    assert connect.json("errors", "unknown")["shapes"] == []
    connect.run("sync", "--job", "ExportInvoices", "--full", "--wait", "--as", "cy")
    (act,) = connect.json("audit", "list")["entries"]
    assert (act["what"], act["about"], act["by"], act["facts"]) == ("sync", "ExportInvoices", "cy", {"job": "ExportInvoices", "full": True})


def test_errors_are_listed_and_explained(tmp_path: Path, box: Sandbox) -> None:
    connect = connect_to(box, tmp_path)
    listed = connect.json("errors", "list")
    assert listed["total"] == len(listed["errors"]) > 60
    for code in ("SL-0417", "sl-0417", "payment_before_bill", "Select a payment date that occurs after the bill creation date"):
        (entry,) = connect.json("errors", "explain", code)["errors"]
        assert entry["name"] == "payment_before_bill"
        assert entry["owner"] == "Sage administrator"
    assert connect.json("errors", "explain", "XX-1", expect=(1,))["error"]["code"] == "unknown-error"


def test_tampering_with_the_audit_trail_is_found_and_exits_with_1(box: Sandbox, tmp_path: Path) -> None:
    load(box, *(invoice(number, supplier="V2") for number in (1, 2, 3)))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    for item in connect.json("dead-letters", "list")["items"]:
        connect.run("dead-letters", "discard", item["id"], "--reason", "test", "--as", "ann")
    whole = connect.json("audit", "verify")
    assert (whole["ok"], whole["connections"][0]["entries"]) == (True, 3)
    head = whole["connections"][0]["head"]
    assert connect.json("audit", "verify", "--head", f"{head['n']}:{head['hash']}")["ok"]
    with attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
        (stream,) = client.keys("connect:*:audit")
        name, fields = client.xrange(stream)[1]
        client.xdel(stream, name)
        forged = orjson.loads(fields[b"entry"]) | {"by": "nobody"}
        assert forged["n"] == 2
    answer = connect.json("audit", "verify", expect=(1,))
    assert answer["ok"] is False
    assert answer["connections"][0]["flaws"][0]["message"] == "entry 2 is missing"


def test_a_job_is_paused_and_resumed_from_the_command_line_and_status_says_so(box: Sandbox, tmp_path: Path) -> None:
    load(box, invoice(1))
    connect = connect_to(box, tmp_path)
    with attached(tmp_path / ".connect"):  # one server for all commands
        paused = connect.json("pause", "--job", "ExportInvoices", "--reason", "period end", "--as", "ann")
        assert [hold["what"] for hold in paused["connections"][0]["paused"]] == ["job:ExportInvoices"]
        outcome = connect.json("run", "--until-idle", "--job", "ExportInvoices", expect=(1,))
        assert outcome["waiting"][0]["reason"] == "ExportInvoices is paused by ann: period end"
        assert box.sage_records("accounts-payable/bill") == []
        (state,) = connect.json("status")["connections"]
        assert (state["state"], state["reason"], state["light"]) == ("paused", "ExportInvoices is paused by ann: period end", "red")
        resumed = connect.json("resume", "--job", "ExportInvoices", "--as", "bo")
        assert (resumed["connections"][0]["changed"], resumed["connections"][0]["paused"]) == (True, [])
        connect.sync()
        assert len(box.sage_records("accounts-payable/bill")) == 1
        assert [(act["what"], act["by"]) for act in connect.json("audit", "list", "--what", "pause")["entries"]] == [("pause", "ann")]
        exported = connect.run("audit", "export", "--form", "csv")
        assert [line.split(",")[4] for line in exported.splitlines()[1:]] == ["resume", "pause"]


def test_letters_are_grouped_and_runs_and_connections_are_listed_from_the_command_line(box: Sandbox, tmp_path: Path) -> None:
    load(box, *(invoice(number, supplier="V2") for number in (1, 2, 3)))
    connect = connect_to(box, tmp_path)
    connect.sync(expect=(3,))
    (group,) = connect.json("dead-letters", "groups")["items"]
    assert group["count"] == 3
    chosen = [word for name, value in group["filter"].items() for word in ("--filter", f"{name}={value}")]
    assert connect.json("dead-letters", "list", *chosen)["total"] == 3
    assert connect.json("dead-letters", "replay", *chosen, "--dry-run")["letters"] == 3
    (shown,) = connect.json("runs", "--job", "ExportInvoices", "--limit", "1")["items"]
    assert (shown["state"], shown["counters"]["read"]) == ("done", 3)
    head, _, needs = connect.run("status").partition("\n\n")[0].partition("\n")
    assert head == "What needs somebody:"
    assert "3 dead letters for the " in needs
    assert "acme-TEST 100" in needs
    assert connect.json("connections")["connections"][0]["companies"] == ["100"]
