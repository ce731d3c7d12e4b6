"""A plan is applied as it stands: what has moved since is left alone and named, and documents are sent byte for byte as planned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import approved
import orjson
import pytest
import settled
from planned_company import (
    BANK,
    TERM,
    VENDOR,
    Company,
    apply,
    config_of,
    difference,
    dump,
    plan_of,
    planned_difference,
    sync,
    tools_of,
)
from world import Connect, Sandbox, config_text

from connect import plan as planned
from connect.plan import Plan
from workers import applying

pytestmark = pytest.mark.timeout(300)
LINK = "https://prime.example.com/ShowInvoice.aspx?invoiceseries=1&invoiceno=1"


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--empty") as made:
        yield made


@pytest.fixture
def company(box: Sandbox) -> Company:
    made = Company(box, random.Random(5), ("GetSuppliers",))
    box.call("/_sandbox/reset", {})
    made.rows = {}
    made.word = lambda: "Oak & Sons"  # type: ignore[method-assign]
    made.put(TERM, [made.new(TERM)])
    made.put(VENDOR, [made.new(VENDOR) | {"name": f"Vendor {n}", "notes": None} for n in range(30)])
    return made


def rename(company: Company, at: int, name: str) -> str:
    """Give a vendor another name in Sage. Returns its number."""
    row = list(company.rows[VENDOR].values())[at]
    company.put(VENDOR, [row | {"name": name}])
    return str(row["id"])


# -- registers -----------------------------------------------------------------------------------------------------------


async def test_a_first_import_is_applied_as_it_was_planned_and_the_next_sync_has_nothing_to_do(box, company, valkey, redis) -> None:
    config = config_of(box, valkey)
    async with tools_of(config, valkey) as tools:
        before = dump(box)
        plan = await plan_of(tools, config, valkey + "?db=1")
        applied = await apply(tools, config, valkey, plan)
        assert applied.moved == []
        assert difference(before, dump(box)) == planned_difference(plan)
        after = dump(box)
        outcome = await sync(tools, valkey)
        assert sum(record.sent for _, record in outcome.runs) == 0, "what was applied is known"
        assert dump(box) == after
        (connection,) = tools.connections.values()
        acts = await connection.redis.xrange(f"connect:{connection.connection.sid}:audit")
        assert any(plan.id.encode() in b"".join(entry.values()) and b"ann" in b"".join(entry.values()) for _, entry in acts)


async def test_what_has_moved_since_is_left_alone_and_named(box, company, valkey, redis) -> None:
    """Changed once more in Sage, changed back, gone, new, edited in Prime: none of these rows is written; all others are."""
    config = config_of(box, valkey, jobs=("GetSuppliers",))
    async with tools_of(config, valkey) as tools:
        await sync(tools, valkey)
        old = [row["name"] for row in list(company.rows[VENDOR].values())[:10]]
        numbers = [rename(company, at, f"Planned {at}") for at in range(10)]
        gone = list(company.rows[VENDOR].values())[20]
        box.load(VENDOR, [{"key": gone["key"]}], "delete")
        plan = await plan_of(tools, config, valkey + "?db=1")
        assert {row.number: row.action for row in plan.jobs[0].rows} == dict.fromkeys(numbers, "changed") | {gone["id"]: "expired"}
        rename(company, 0, "Once more")
        rename(company, 1, old[1])
        box.load(VENDOR, [{"key": list(company.rows[VENDOR])[2]}], "delete")
        new = company.new(VENDOR) | {"notes": None}
        company.put(VENDOR, [new])
        edit_by_hand(box, numbers[3], "By hand")
        before = dump(box)
        applied = await apply(tools, config, valkey, plan)
        moved = {one.number: one.why for one in applied.moved}
        assert applied.exit_code == 3
        assert moved.keys() == {*numbers[:4], new["id"]}
        assert moved[numbers[0]] == "was changed in Sage since the plan was made"
        assert "need not be sent any more" in moved[numbers[1]]
        assert moved[numbers[3]] == "was changed in Prime since the plan was made"
        assert moved[new["id"]] == "is new since the plan was made"
        told = difference(before, dump(box))
        assert {key[-1] for key in told} == {*numbers[4:], gone["id"]}
        wanted = planned_difference(plan)
        assert all(told[key] == wanted[key] for key in told)
        await sync(tools, valkey, full=True)  # nothing was forgotten for that
        now = {key[-1]: row["Name"] for key, row in dump(box).items() if key[0] == "Supplier"}
        assert now[numbers[0]] == "Once more"
        assert new["id"] in now
        again = await apply(tools, config, valkey, plan)
        assert again.outcome.runs == (), "a plan that was applied has nothing left that is as it was planned"


async def test_a_row_that_moves_between_the_look_and_the_run_is_held_back_by_the_run_itself(
    box, company, valkey, redis, monkeypatch
) -> None:
    config = config_of(box, valkey, jobs=("GetSuppliers",))
    async with tools_of(config, valkey) as tools:
        await sync(tools, valkey)
        numbers = [rename(company, at, f"Planned {at}") for at in range(3)]
        plan = await plan_of(tools, config, valkey + "?db=1")
        look = applying.planning.make

        async def make(*args: Any, **options: Any) -> Plan:
            made = await look(*args, **options)
            rename(company, 1, "Too late")
            return made

        monkeypatch.setattr(applying.planning, "make", make)
        before = dump(box)
        applied = await apply(tools, config, valkey, plan)
        assert {key[-1] for key in difference(before, dump(box))} == {numbers[0], numbers[2]}
        assert [one.why for one in applied.moved] == ["1 more changed while the plan was applied"]
        outcome = await sync(tools, valkey)
        assert [record.sent for _, record in outcome.runs] == [1]


def edit_by_hand(box: Sandbox, number: str, name: str) -> None:
    """Somebody gives a supplier another name in Prime."""
    edited = {"Company": "100", "KeyType": 1, "Supplier": number, "Name": name}
    box.call("/_sandbox/prime/load", {"kind": "Supplier", "records": [edited]})


async def test_what_a_plan_to_send_all_again_leaves_alone_is_known_as_before(box, company, valkey, redis) -> None:
    config = config_of(box, valkey, jobs=("GetSuppliers",))
    async with tools_of(config, valkey) as tools:
        await sync(tools, valkey)
        plan = await plan_of(tools, config, valkey + "?db=1", resend=True)
        by_hand, elsewhere = (str(row["id"]) for row in list(company.rows[VENDOR].values())[:2])
        edit_by_hand(box, by_hand, "By hand")
        rename(company, 1, "Once more")
        applied = await apply(tools, config, valkey, plan)
        assert {one.number for one in applied.moved} == {by_hand, elsewhere}
        (record,) = [record for _, record in applied.outcome.runs]
        assert (record.sent, record.left) == (28, 2)
        before = dump(box)
        rename(company, 1, "Vendor 1")
        for full in (False, True):
            outcome = await sync(tools, valkey, full=full)
            assert [record.sent for _, record in outcome.runs] == [0]
        assert dump(box) == before, "what somebody wrote in Prime stays, as after any sync"
        rename(company, 1, "For good")
        assert [record.sent for _, record in (await sync(tools, valkey)).runs] == [1]


async def test_a_plan_for_other_settings_says_what_switching_would_do_and_is_not_applied_without_them(
    box, company, valkey, redis, tmp_path
) -> None:
    company.put(BANK, [company.new(BANK)])
    config = config_of(box, valkey, jobs=("GetSuppliers",))
    switched = config_of(box, valkey, jobs=("GetSuppliers",), general='OrgNumberSource = "taxId"')
    async with tools_of(config, valkey) as tools:
        await sync(tools, valkey)
        before = dump(box)
        plan = await plan_of(tools, switched, valkey + "?db=1")
        rows = plan.jobs[0].rows
        assert len(rows) >= 30
        assert {change.field for row in rows for change in row.changes} == {"CorporateIdentityNo"}
        assert any("a sync asks first" in note for note in plan.jobs[0].notes)
        with pytest.raises(applying.ConfigError, match="settings are not those"):
            await apply(tools, config, valkey, plan)
        assert dump(box) == before
    async with tools_of(switched, valkey) as tools:
        outcome = await sync(tools, valkey)
        assert [record.state for _, record in outcome.runs] == ["held"]
        assert dump(box) == before
        applied = await apply(tools, switched, valkey, plan)
        assert (applied.exit_code, applied.moved) == (0, [])
        assert difference(before, dump(box)) == planned_difference(plan)


async def test_over_soap_the_new_values_are_shown_and_old_ones_where_rest_can_read_them(box, company, valkey, redis) -> None:
    config = config_of(box, valkey, jobs=("GetSuppliers",), transport="soap")
    alone = config.connections[0].model_copy(update={"rest_url": None})
    blind = config.model_copy(update={"connections": [alone]})
    async with tools_of(config, valkey) as tools:
        await sync(tools, valkey)
        number = rename(company, 0, "Renamed")
        for chosen, old in ((config, "Vendor 0"), (blind, None)):
            plan = await plan_of(tools, chosen, valkey + "?db=1")
            (row,) = plan.jobs[0].rows
            assert (row.number, row.action) == (number, "changed")
            (name,) = [change for change in row.changes if change.field == "Name"]
            assert (name.old, name.new) == (old, "Renamed")
            assert (planned.UNREADABLE in plan.jobs[0].notes) == (old is None)
        before = dump(box)
        applied = await apply(tools, config, valkey, await plan_of(tools, config, valkey + "?db=1"))
        assert (applied.exit_code, len(difference(before, dump(box)))) == (0, 1)


# -- documents -----------------------------------------------------------------------------------------------------------


def test_invoices_are_planned_with_their_requests_and_sent_byte_for_byte(tmp_path: Path) -> None:
    """One to book, one to adopt from the incumbent, one to hand back, one that Prime changes after the plan."""
    with Sandbox("--empty") as box:
        approved.fill(box)
        box.load("accounts-payable/bill", [settled.bill(1, "125.00", description=f"Rent {LINK}")])
        approved.load(box, *(approved.invoice(n) for n in (1, 2, 4)), approved.invoice(3, account="6999"))
        connect = approved.connect_to(box, tmp_path, general=f'{approved.GENERAL}\nReturnErrors = "all"')
        made = connect.json("plan", "--out", "a.plan", "--html", "a.html", expect=(3,))
        (job,) = made["jobs"]
        actions = {one["text"]: one["action"] for one in job["documents"]}
        assert actions == {"1-1": "adopt", "1-2": "book", "1-3": "hand back", "1-4": "book"}
        (bill,) = box.sage_records("accounts-payable/bill")
        told = {one["text"]: one for one in job["documents"]}
        assert told["1-1"]["key"] == bill["key"]
        assert "6999" in told["1-3"]["problems"][0]
        composite = told["1-2"]["calls"][0]
        assert (composite["method"], composite["path"]) == ("POST", "/services/core/composite")
        assert composite["body"][1]["body"]["billNumber"] == "INV-2"
        assert "INV-2" in (tmp_path / "a.html").read_text()
        assert box.call("/_sandbox/books")["receipts"] == []
        approved.load(box, approved.invoice(4, amount="125.00", Note="Another note"), images=0)
        applied = connect.json("apply", "a.plan", expect=(3,))
        assert [(one["number"], one["why"]) for one in applied["left_alone"]] == [("1-4", "was changed in Prime since the plan was made")]
        assert {one["document"]: one["state"] for one in applied["documents"]} == {"1-1": "booked", "1-2": "booked", "1-3": "refused"}
        assert approved.receipts(box) == {1: ["1"], 2: ["1"], 3: ["2"]}
        assert sorted(one["billNumber"] for one in box.sage_records("accounts-payable/bill")) == ["INV-1", "INV-2"]
        assert approved.invoices(box)[4]["queue"] in ("listed", "exported")
        calls = box.stats()["sage"]["calls"]
        again = connect.json("apply", "a.plan", expect=(3,))
        assert again["documents"] == []
        assert box.stats()["sage"]["calls"].get("POST /services/core/composite") == calls["POST /services/core/composite"]
        connect.sync()
        assert len(box.sage_records("accounts-payable/bill")) == 3


def test_a_payment_is_planned_and_made_as_planned(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        keys = settled.fill(box, (1, "15.00"), (2, "20.00"))
        settled.pay(box, settled.payment(1, keys[1], "15.00"), settled.payment(2, keys[2], "25.00"))
        connect = settled.connect_to(box, tmp_path)
        (job,) = connect.json("plan", "--out", "a.plan", expect=(3,))["jobs"]
        actions = {one["number"]: one["action"] for one in job["documents"]}
        assert actions["pay-1"] == "book"
        assert actions["pay-2"] in ("hold", "hand back")
        assert box.sage_records(settled.PAYMENT) == []
        applied = connect.json("apply", "a.plan", expect=(0, 3))
        assert {one["state"] for one in applied["documents"]} <= {"booked", "refused"}
        (paid,) = box.sage_records(settled.PAYMENT)
        assert paid["documentNumber"] == "R1"
        (receipt,) = settled.receipts(box)["pay-1"]
        assert receipt["ExternalId"] == paid["key"]


# -- the command line ----------------------------------------------------------------------------------------------------


def test_a_test_run_shows_three_panes_and_writes_nothing(tmp_path: Path) -> None:
    with Sandbox("--size", "small") as box:
        approved.load(box, approved.invoice(7))
        jobs = ("GetSuppliers", "ExportInvoices")
        connect = Connect(tmp_path, config_text(box, jobs=jobs, general=approved.GENERAL))
        tried = connect.json("test-run", "GetSuppliers", "--limit", "3")
        assert (len(tried["erp_answer"]), len(tried["transformed"])) == (3, 3)
        first, sent = tried["erp_answer"][0], tried["transformed"][0]
        assert first["row"]["id"] == sent["data"]["supplier"]
        assert {"term", "bank_accounts"} <= first["joined"].keys() | {"bank_accounts"}
        assert any("read 3 of" in line for line in tried["log"])
        text = connect.run("test-run", "GetSuppliers", "--limit", "2")
        assert [line for line in text.splitlines() if line.startswith("---")] == [
            "--- Log ---",
            "--- ERP answer ---",
            "--- Transformed data ---",
        ]
        tried = connect.json("test-run", "ExportInvoices", expect=(0, 3))
        assert [one["text"] for one in tried["transformed"]] == ["1-7"]
        assert any("/services/core/query" in one["call"] for one in tried["erp_answer"])
        assert box.stats()["prime"]["transactions"] == 0
        assert "GetSupliers is not configured" in connect_error(connect, "test-run", "GetSupliers")


def connect_error(connect: Connect, *args: str) -> str:
    document = orjson.loads(connect.run(*args, "--json", expect=(2,)))
    return str(document["error"]["message"])


def test_plans_are_kept_to_their_owner_and_wrong_files_and_settings_are_told(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        connect = Connect(tmp_path, config_text(box, jobs=("GetSuppliers",)))
        connect.json("plan", "--out", "a.plan")
        assert (tmp_path / "a.plan").stat().st_mode & 0o777 == 0o600
        assert "is there already" in connect_error(connect, "plan", "--out", "a.plan")
        (tmp_path / "b.plan").write_text("{}")
        assert "is no plan" in connect_error(connect, "apply", "b.plan")
        assert "KeySource" in connect_error(connect, "plan", "--set", "KeySource=number")
        assert "expected NAME=VALUE" in connect_error(connect, "plan", "--set", "KeySource")
        assert connect.json("apply", "a.plan")["runs"] == []
