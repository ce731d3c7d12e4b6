"""What changes in Sage, and nothing else, reaches Prime; and it costs no more calls than it must."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from world import Connect, Sandbox, config_text, vendor

pytestmark = pytest.mark.timeout(300)
VENDORS = "accounts-payable/vendor"
QUERY = "POST /services/core/query"
# The guide's table of calls per job (prime.md 4), at one page per object, for the dimensions configured here.
GUIDE_CALLS = {
    "GetDimObjects": 1 + 2,
    "GetAccounts": 1 + 8,
    "GetVatCodes": 1 + 1,
    "GetAssetTypes": 1,
    "GetAssets": 1,
    "GetCurrencies": 1 + 1,
    "GetSuppliers": 1 + 1 + 1,
    "GetPeriods": 1,
}


def fill(box: Sandbox, count: int = 200) -> list[dict[str, Any]]:
    """Vendors of which the first 40 use one payment term."""
    box.load("accounts-payable/term", [
        {"key": "1", "id": "Net 30", "description": "30 days", "due": {"days": 30, "from": "fromBillDate"}},
        {"key": "2", "id": "Net 10", "description": "10 days", "due": {"days": 10, "from": "fromBillDate"}},
    ])  # fmt: skip
    chance = random.Random(5)
    found = [vendor(10 + 3 * n, n, chance) for n in range(count)]
    for n, record in enumerate(found):
        record["audit"] = {"modifiedDateTime": "2026-01-05T08:00:00Z"}
        if n < 40:
            record["term"] = {"key": "1"}
        elif n % 5 == 0:
            record["term"] = {"key": "2"}
    box.load(VENDORS, found)
    return found


def sent(box: Sandbox, transport: str) -> int:
    """Rows written to Prime so far."""
    return int(box.stats()["prime"]["transactions"])


def change(box: Sandbox, records: list[dict[str, Any]]) -> set[str]:
    """25 vendors changed, 3 new, 2 removed, 1 payment term changed that 40 vendors use. Returns the numbers that must be upserted."""
    changed = records[100:125]
    box.load(VENDORS, [{"key": record["key"], "id": record["id"], "name": f"{record['name']} renamed"} for record in changed], "upsert")
    new = [vendor(5000 + n, 9000 + n, random.Random(n)) for n in range(3)]
    box.load(VENDORS, new)
    box.load(VENDORS, [{"key": record["key"]} for record in records[150:152]], "delete")
    box.load("accounts-payable/term", [{"key": "1", "id": "Net 30", "due": {"days": 31, "from": "fromBillDate"}}], "upsert")
    return {record["id"] for record in (*changed, *new, *records[:40])}


@pytest.mark.parametrize("transport", ["rest", "soap"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_exactly_what_changed_is_upserted_and_what_is_gone_expired(transport: str, full: bool, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        records = fill(box)
        connect = Connect(tmp_path, config_text(box, transport=transport, full=full, jobs=("GetSuppliers",)))
        connect.sync()
        before = {record["Supplier"]: record for record in box.prime_records("Supplier")}
        assert before.keys() == {record["id"] for record in records}
        writes = sent(box, transport)
        connect.sync()
        assert sent(box, transport) == writes, "nothing had changed"
        wanted = change(box, records)
        connect.sync()
        after = {record["Supplier"]: record for record in box.prime_records("Supplier")}
        touched = {number for number in after if after[number] != before.get(number)}
        removed = {record["id"] for record in records[150:152]}
        assert touched == wanted | (removed if full else set())
        assert all(after[number]["GraceDays"] == "31" for number in wanted if number in {record["id"] for record in records[:40]})
        assert sent(box, transport) - writes == len(touched), "a row was written that had not changed"
        if full:
            assert {after[number]["ValidTo"] for number in removed} == {"0001-01-01"}
        (run,) = connect.runs()
        assert (run["sent"], run["expired"], run["refused"]) == (len(wanted), 2 if full else 0, 0)


def test_three_companies_due_together_cost_the_calls_of_one(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        fill(box)
        others = [{"Company": code, "Name": f"Company {code}"} for code in ("200", "300")]
        box.call("/_sandbox/prime/load", {"kind": "Company", "records": others})
        (tmp_path / "one").mkdir()
        one = Connect(tmp_path / "one", config_text(box, jobs=("GetSuppliers",)))
        one.sync()
        calls = box.stats()["sage"]["calls"][QUERY]
        (tmp_path / "three").mkdir()
        three = Connect(tmp_path / "three", config_text(box, jobs=("GetSuppliers",), companies=("100", "200", "300")))
        three.sync()
        assert box.stats()["sage"]["calls"][QUERY] - calls == calls
        numbers = [{record["Supplier"] for record in box.prime_records("Supplier", code)} for code in ("100", "200", "300")]
        assert numbers[0] == numbers[1] == numbers[2]
        assert len(numbers[0]) == 200


def test_each_job_costs_at_most_the_calls_of_the_guides_table(tmp_path: Path) -> None:
    with Sandbox("--size", "small") as box:
        connect = Connect(tmp_path, config_text(box, general="PeriodsEnabled = true"))
        before: Counter[str] = Counter()
        for job, most in GUIDE_CALLS.items():
            connect.run("sync", "--job", job, "--wait", expect=(0, 3))
            calls = Counter({name: count for name, count in box.stats()["sage"]["calls"].items() if "oauth2" not in name})
            assert 1 <= (calls - before).total() <= most, (job, calls - before)
            before = calls


def test_an_unchanged_company_costs_the_same_calls_again_and_no_write(tmp_path: Path) -> None:
    with Sandbox("--size", "small") as box:
        connect = Connect(tmp_path, config_text(box, objects={"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "nsp::region": 5}))
        connect.sync(expect=(0, 3))
        first = box.stats()
        refused = sum(run["refused"] for run in connect.runs())
        connect.sync(expect=(0, 3))
        second = box.stats()
        assert second["prime"]["transactions"] == first["prime"]["transactions"]
        assert second["sage"]["calls"][QUERY] <= 2 * first["sage"]["calls"][QUERY]
        runs = connect.runs()
        assert sum(run["sent"] for run in runs) == 0
        assert sum(run["unchanged"] for run in runs) + refused == sum(run["read"] for run in runs)
