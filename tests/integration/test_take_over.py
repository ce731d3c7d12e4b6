"""Two deployments on one Prime: one has its documents; the other stops with a message that says what to do, until it takes them over."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import redis
from approved import connect_to, fill, invoice, invoices, load
from world import Connect, Sandbox, Workers, wait_until

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)
SHORT = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2"


def two(box: Sandbox, folder: Path) -> tuple[Connect, Connect]:
    """Each with a Redis of its own."""
    found = []
    for name in ("one", "other"):
        (folder / name).mkdir(exist_ok=True)
        found.append(connect_to(box, folder / name, more=SHORT))
    return found[0], found[1]


def newest(connect: Connect) -> dict[str, Any]:
    (run,) = connect.runs()
    return run


def planned(connect: Connect) -> tuple[str, str]:
    (job,) = connect.json("plan", expect=(0, 1, 3))["jobs"]
    return job["state"], job["reason"]


def owner(box: Sandbox) -> str:
    (row,) = box.prime_records("CustomSetting", "")
    return str(row["Value"])


def test_a_second_connect_stops_with_the_command_that_takes_over_and_then_the_first_one_stops(tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / "one" / ".connect"), attached(tmp_path / "other" / ".connect"):
        fill(box)
        one, other = two(box, tmp_path)
        load(box, invoice(1))
        one.sync()
        load(box, invoice(2))
        other.sync(expect=(1,))
        run = newest(other)
        assert run["state"] == "failed"
        assert "another live Connect" in run["reason"]
        assert "connect take-over --connection acme-TEST" in run["reason"]
        assert invoices(box)[2]["queue"] == "listed"

        before = owner(box)
        (taken,) = other.json("take-over", "--connection", "acme-TEST", "--as", "ann")["connections"]
        assert taken["before"] in before
        assert taken["owner"] in owner(box)
        (act,) = other.json("audit", "list")["entries"]
        assert (act["what"], act["by"], act["facts"]["before"]) == ("take-over", "ann", taken["before"])
        other.sync()
        assert invoices(box)[2]["queue"] == "receipted"

        load(box, invoice(3))
        one.sync(expect=(1,))
        assert taken["owner"] in newest(one)["reason"]
        assert invoices(box)[3]["queue"] == "listed"
        one.sync("--take-over")
        assert invoices(box)[3]["queue"] == "receipted"
        assert len(box.sage_records("accounts-payable/bill")) == 3
        (story,) = one.json("trace", "1-3")["documents"]
        steps = [step["step"] for step in story["steps"]]
        assert steps[0] == "waiting"  # what the other has under way must show in Sage first
        assert steps.index("waiting") < steps.index("intent")


def test_a_connect_with_a_name_is_the_same_one_with_another_redis(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        one, again = two(box, tmp_path)
        for connect in (one, again):
            file = connect.folder / "connect.toml"
            file.write_text(file.read_text().replace("[redis]\n", '[redis]\ndeployment = "acme-prod-1"\n', 1))
        load(box, invoice(1))
        one.sync()
        assert "acme-prod-1" in owner(box)
        load(box, invoice(2))
        assert planned(again) == ("done", "")
        again.sync()
        assert invoices(box)[2]["queue"] == "receipted"
        assert len(box.sage_records("accounts-payable/bill")) == 2


def test_a_plan_says_when_another_has_the_documents_and_knows_itself_when_redis_was_emptied(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        one, other = two(box, tmp_path)
        load(box, invoice(1))
        one.sync()
        load(box, invoice(2))
        state, reason = planned(other)
        assert (state, "another Connect has the document jobs" in reason) == ("failed", True)
        for file in (one.folder / ".connect").iterdir():
            if file.name != "deployment":
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        before = owner(box)
        assert planned(one) == ("done", "")
        assert owner(box) == before, "a plan claims nothing"


def test_documents_that_wait_in_the_queue_stop_too_when_another_has_taken_over(tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / "one" / ".connect") as url, attached(tmp_path / "other" / ".connect"):
        fill(box)
        one, other = two(box, tmp_path)
        load(box, invoice(1), images=0)
        bills = "sage:POST /objects/accounts-payable/bill"
        box.call("/_sandbox/faults", {"rules": [{"where": bills, "kind": "status", "params": {"status": 502}}]})
        one.run("sync", expect=(0,))
        with Workers(one, "schedule", "post"):
            wait_until(lambda: box.stats()["sage"]["calls"].get("POST /objects/accounts-payable/bill", 0) >= 1, 60)
        other.run("take-over")
        box.call("/_sandbox/faults", {"rules": []})
        with redis.Redis.from_url(url) as client:
            wait_until(lambda: not list(client.scan_iter(match="connect:*:owned")), 60)
            with Workers(one, "schedule", "post"):
                wait_until(lambda: not client.zcard("connect:queue:post"), 60)
        assert box.sage_records("accounts-payable/bill") == []
        other.sync()
        assert len(box.sage_records("accounts-payable/bill")) == 1


def test_the_documents_are_claimed_also_when_no_job_is_due_for_long(tmp_path: Path) -> None:
    with Sandbox("--empty") as box, attached(tmp_path / ".connect") as url, redis.Redis.from_url(url) as client:
        fill(box)
        connect = connect_to(box, tmp_path)
        connect.sync()
        client.delete(*client.scan_iter(match="connect:*:owned"))
        (before,) = connect.runs()
        with Workers(connect, "schedule", "post"):
            wait_until(lambda: list(client.scan_iter(match="connect:*:owned")), 60)
        assert [run["run"] for run in connect.runs()] == [before["run"]]


def test_nothing_to_take_over_is_said_with_what_there_is(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = connect_to(box, tmp_path)
        connect.run("take-over", "--connection", "acme-PROD", expect=(2,))
        assert box.prime_records("CustomSetting", "") == []
