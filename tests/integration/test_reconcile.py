"""Planted drifts: all are found, none is found where nothing was planted, and a repair brings back what it may."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import approved
import pytest
import redis
import settled
from planned_company import ACCOUNT, BANK, DEPARTMENT, JOBS, SILENT, VENDOR, Company, dump, sync, tools_of
from redis.asyncio import Redis
from world import SECRETS, Sandbox, Workers, config_text, wait_until

from connect import plan as planned
from connect.config import Config, RedisSettings
from connect.config.cron import Cron
from connect.config.load import parse_config
from connect.reconcile import Report
from connect.registers import REGISTERS
from connect.state.audit import Audit
from connect.state.embedded import attached
from connect.state.reports import TRIES, Glimpse, Reports, glimpses
from workers import producers, reconciling, reports, session
from workers.jobs import FETCH, ReconcileJob, Tools, queue_name
from workers.metrics import measure
from workers.overview import overview

pytestmark = pytest.mark.timeout(900)
BILL, PAYMENT, ATTACHMENT = "accounts-payable/bill", "accounts-payable/payment", "company-config/attachment"
DOCUMENT_JOBS = ("ExportInvoices", "CancelInvoices", "ExportPayments")
GENERAL = 'StartOn = 2026-01-01\nBillDateSource = "InvoiceDate"\nBankAccountMapping = { "0042" = "BOA" }'
QUERY = "sage:POST /services/core/query"
LONG_AGO = "2026-01-01T00:00:00+00:00"
Plant = tuple[str, str, str]
"""Kind, number, what: as a drift is told."""


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--empty") as made:
        yield made


def config_of(box: Sandbox, url: str, jobs: tuple[str, ...], transport: str = "rest", more: str = "") -> Config:
    text = config_text(box, redis_url=url, jobs=jobs, general=GENERAL, transport=transport)
    if transport == "soap":  # no REST at all: nothing can be read
        text = "\n".join(line for line in text.splitlines() if not line.startswith("rest_"))
    text = text.replace("sage_slots", f"{more}\nsettle_s = 0.2\nsage_slots", 1)
    return parse_config(text, path=Path("connect.toml"), environ=os.environ | SECRETS, jobs=REGISTERS)


@asynccontextmanager
async def opened(
    box: Sandbox, url: str, jobs: tuple[str, ...], transport: str = "rest", more: str = ""
) -> AsyncIterator[tuple[Tools, Config]]:
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    config = config_of(box, url, jobs, transport, more)
    async with tools_of(config, url) as tools:
        yield tools, config


async def look(tools: Tools, config: Config, url: str) -> Report:
    async with Redis.from_url(url + "?db=1") as shadow:
        await shadow.flushdb()
    return await reconciling.reconcile_now(tools, config, SILENT, shadow_url=url + "?db=1")


async def mend(tools: Tools, url: str, report: Report) -> reconciling.Repaired:
    async with session.own_workers(tools, RedisSettings(url=url)):
        return await reconciling.repair(tools, SILENT, report, by="ann")


async def mend_later(tools: Tools, config: Config, url: str, report: Report) -> reconciling.Repaired:
    """By way of a plan's file."""
    async with Redis.from_url(url + "?db=1") as shadow:
        await shadow.flushdb()
    plan = planned.decode(planned.encode(reconciling.plan_of(report, config, None)), "a file")
    async with session.own_workers(tools, RedisSettings(url=url)):
        return await reconciling.apply(tools, config, SILENT, plan, by="ann", shadow_url=url + "?db=1")


def told(report: Report) -> Counter[Plant]:
    return Counter((one.kind, one.number, one.what) for one in report.drifts)


# -- registers ---------------------------------------------------------------------------------------------------------


def load(box: Sandbox, kind: str, *records: dict[str, Any]) -> None:
    answer = box.call("/_sandbox/prime/load", {"kind": kind, "records": list(records)})
    assert not answer["errors"], answer


class Hand:
    """Somebody who changes Prime and Sage by hand, each row once."""

    def __init__(self, company: Company, chance: random.Random) -> None:
        self.box, self.company, self.chance = company.box, company, chance
        self.touched: set[tuple[str, str]] = set()
        self.planted: list[Plant] = []

    def some(self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any] | None:
        rows = self.box.prime_records(kind)
        left = [row for row in rows if (kind, self.number(kind, row)) not in self.touched and fits(row) and row["ExternalSource"]]
        if not left:
            return None
        row = self.chance.choice(left)
        self.touched.add((kind, self.number(kind, row)))
        return row

    @staticmethod
    def number(kind: str, row: dict[str, Any]) -> str:
        return str(row["Object" if kind == "Object" else kind])

    def edit(self, kind: str) -> None:
        """A row is given another name in Prime."""
        if (row := self.some(kind)) is not None:
            load(self.box, kind, row | {"Name": f"By hand {self.chance.randrange(10**6)}"})
            self.planted.append((kind, self.number(kind, row), "different"))

    def remove(self, kind: str) -> None:
        """A row is removed in Prime; one that no other names."""
        if (row := self.some(kind)) is not None:
            load(self.box, kind, row | {"Remove": 1})
            self.planted.append((kind, self.number(kind, row), "missing"))

    def double(self, kind: str) -> None:
        """A row is copied in Prime under another number."""
        if (row := self.some(kind, lambda row: str(row.get("ValidTo") or "9").startswith("9"))) is not None:
            number = f"C{self.chance.randrange(10**6)}"
            load(self.box, kind, row | {kind: number} | ({"SupplierBankAccount": []} if kind == "Supplier" else {}))
            self.touched.add((kind, number))
            self.planted.append((kind, number, "double"))

    def add_bank_account(self) -> None:
        """A supplier is given a bank account in Prime."""
        if (row := self.some("Supplier")) is not None:
            more = [*row.get("SupplierBankAccount", ()), {"BankAccount": "SE999", "Name": "Mine", "Default": 1}]
            load(self.box, "Supplier", row | {"SupplierBankAccount": more})
            self.planted.append(("SupplierBankAccount", str(row["Supplier"]), "extra"))

    def both(self, name: str, kind: str) -> dict[str, Any] | None:
        """Sage's row of one that Prime offers, touched by nobody yet."""
        row = self.some(kind, lambda row: str(row.get("ValidTo") or "9").startswith("9"))
        return next((one for one in self.company.rows[name].values() if row and one["id"] == self.number(kind, row)), None)

    def in_sage(self, name: str, kind: str) -> None:
        """A row is changed in Sage, or new there, and nobody has synchronised since."""
        row = self.both(name, kind) if self.chance.random() < 0.7 else None
        if row is None:
            row = self.company.new(name)
            for refused in ("defaultExpenseGLAccount", "notes"):  # it may name an account that Prime has not, or be too long
                row.pop(refused, None)
        is_new = int(row["key"]) not in self.company.rows[name]
        self.touched.add((kind, row["id"]))
        self.company.put(name, [row | {"name": f"In Sage {self.chance.randrange(10**6)}"}])
        self.planted.append((kind, row["id"], "missing" if is_new else "different"))

    def removed_from_sage(self, name: str, kind: str) -> None:
        """A row that Prime offers goes from Sage."""
        if (row := self.both(name, kind)) is not None:
            self.box.load(name, [{"key": row["key"]}], "delete")
            del self.company.rows[name][int(row["key"])]
            self.planted.append((kind, str(row["id"]), "extra"))

    def do(self, number: int) -> None:
        acts: list[Callable[[], None]] = [
            lambda: self.edit("Supplier"), lambda: self.edit("Object"), lambda: self.edit("Account"), lambda: self.remove("Supplier"),
            lambda: self.remove("Object"), lambda: self.double("Supplier"), lambda: self.double("Object"), self.add_bank_account,
            lambda: self.in_sage(VENDOR, "Supplier"), lambda: self.in_sage(DEPARTMENT, "Object"),
            lambda: self.removed_from_sage(VENDOR, "Supplier"),
        ]  # fmt: skip
        acts[number % len(acts)]()


class Mappable(Company):
    """All of its rows can be mapped."""

    def word(self) -> str:
        return f"{self.chance.choice(('Åre', 'Oak & Sons', '«Zoë»'))} {self.chance.randrange(10**6)}"


REGISTERS_PLANTED = ("GetDimObjects", "GetAccounts", "GetVatCodes", "GetSuppliers")


async def registers(box: Sandbox, url: str, seed: int, wanted: int) -> int:
    """A clean state, then drifts, then a repair. Returns how many were planted."""
    chance = random.Random(seed)
    company = Mappable(box, chance, REGISTERS_PLANTED)
    for name, count in ((VENDOR, 20), (DEPARTMENT, 15), (BANK, 5), (ACCOUNT, 6)):
        company.put(name, [company.new(name) for _ in range(count)])
    async with opened(box, url, REGISTERS_PLANTED) as (tools, config):
        await sync(tools, url)
        clean = await look(tools, config, url)
        assert told(clean) == {}, clean.drifts
        hand = Hand(company, chance)
        number = seed
        while len(hand.planted) < wanted and number < seed + 200:
            hand.do(number)
            number += 1
        before = dump(box)
        report = await look(tools, config, url)
        assert dump(box) == before, "it only looks"
        assert told(report) == Counter(hand.planted), (
            seed,
            told(report) - Counter(hand.planted),
            Counter(hand.planted) - told(report),
            report.notes,
        )
        repaired = await (mend(tools, url, report) if seed % 2 else mend_later(tools, config, url, report))
        assert {drift.kind for drift, _ in repaired.left} <= {"SupplierBankAccount"}, repaired.left
        assert not repaired.moved
        again = await look(tools, config, url)
        left = Counter(plant for plant in hand.planted if plant[0] == "SupplierBankAccount")
        assert told(again) == left, "what a person must mend is all that is left"
        (one,) = tools.connections.values()
        written = [act for act in await Audit(one.redis, one.connection.sid).acts() if act.what == "reconcile"]
        assert {act.by for act in written} == {"ann"}
        assert len(written) == len(hand.planted) - sum(left.values())
        return len(hand.planted)


async def test_rows_changed_removed_or_doubled_by_hand_are_found_and_brought_back(box: Sandbox, valkey: str) -> None:
    assert await registers(box, valkey, 3, 22) >= 20


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10, 30))
async def test_rows_changed_by_hand_are_found_whatever_the_company(box: Sandbox, valkey: str, seed: int) -> None:
    assert await registers(box, valkey, seed, 30) == 30


async def test_nothing_differs_in_a_company_that_was_just_synchronised(box: Sandbox, valkey: str) -> None:
    await clean(box, valkey, 2)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(100, 120))
async def test_nothing_differs_in_any_company_that_was_just_synchronised(box: Sandbox, valkey: str, seed: int) -> None:
    await clean(box, valkey, seed)


async def clean(box: Sandbox, url: str, seed: int) -> None:
    chance = random.Random(seed)
    company = Company(box, chance, JOBS)
    transport = "soap" if seed % 3 == 2 else "rest"
    async with opened(box, url, JOBS, transport) as (tools, config):
        await sync(tools, url)
        for _ in range(20):
            name = chance.choice((VENDOR, DEPARTMENT, ACCOUNT))
            company.put(name, [company.new(name)])
        await sync(tools, url, full=True)
        report = await look(tools, config, url)
        assert told(report) == {}, (seed, report.drifts)
        assert report.checked["rows of Sage"] > 0


async def test_over_soap_rows_are_compared_with_what_was_last_sent(box: Sandbox, valkey: str) -> None:
    company = Company(box, random.Random(5), ("GetDimObjects",))
    company.put(DEPARTMENT, [company.new(DEPARTMENT) for _ in range(5)])
    async with opened(box, valkey, ("GetDimObjects",), "soap") as (tools, config):
        await sync(tools, valkey)
        edited, removed = box.prime_records("Object")[:2]
        load(box, "Object", edited | {"Name": "By hand"}, removed | {"Remove": 1})
        changed = next(row for row in company.rows[DEPARTMENT].values() if row["id"] not in (edited["Object"], removed["Object"]))
        box.load(DEPARTMENT, [changed | {"name": "Other"}], "upsert")
        report = await look(tools, config, valkey)
        assert [(one.number, one.what, one.detail) for one in report.drifts] == [(changed["id"], "different", "not as it was last sent")]
        assert any("cannot be read over SOAP" in note for note in report.notes)
        (one,) = tools.connections.values()
        counted = await one.redis.hgetall(f"connect:{one.connection.sid}:usage:{tools.clock():%Y%m}")
        mine = sum(int(number) for what, number in counted.items() if what.startswith(b"calls\n\nreconcile\n"))
        assert mine == report.sage_calls > 0, "`connect usage` tells what it has cost, and not as the register's"
        await mend(tools, valkey, report)
        assert told(await look(tools, config, valkey)) == {}, "what was done in Prime by hand cannot be seen"
        assert "Other" in {row["Name"] for row in box.prime_records("Object")}


# -- documents ---------------------------------------------------------------------------------------------------------


def book(box: Sandbox, many: int) -> None:
    """Invoices approved in Prime; Sage can book and pay them."""
    box.call("/_sandbox/reset", {})
    approved.fill(box)
    box.load("general-ledger/account", [{"id": "6100", "name": "Repairs", "status": "active", "accountType": "incomeStatement"}])
    box.load("company-config/department", [{"id": "12", "name": "Purchase"}])
    box.load("cash-management/checking-account", [{"id": "BOA"}])
    box.call("/_sandbox/prime/load", {"kind": "PaymentConfiguration", "records": [{"company": "100", "bankAccountIdentifier": 42}]})
    approved.load(box, *(approved.invoice(number) for number in range(1, many + 1)))


def bills(box: Sandbox) -> dict[int, dict[str, Any]]:
    return {int(bill["billNumber"].removeprefix("INV-")): bill for bill in box.sage_records(BILL)}


def payments(box: Sandbox) -> dict[int, dict[str, Any]]:
    return {int(one["documentNumber"].removeprefix("R")): one for one in box.sage_records(PAYMENT)}


def copy_of(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As somebody would enter it once more by hand."""
    left_out = ("key", "href", "audit", "id", "attachment", "state", "lines", "details", "paymentInformation")
    return {name: value for name, value in record.items() if name not in left_out} | changes


def lines_of(bill: dict[str, Any]) -> list[dict[str, Any]]:
    """Its lines, to be entered once more."""
    return [
        {"glAccount": {"id": line["glAccount"]["id"]}, "txnAmount": line["txnAmount"]}
        | {"dimensions": {name: {"id": one["id"]} for name, one in line["dimensions"].items() if one.get("id")}}
        for line in bill["lines"]
    ]


def edited(bill: dict[str, Any], how: int) -> list[dict[str, Any]]:
    """Its lines changed by hand so that their sum stays."""
    rent, vat = lines_of(bill)
    match how:
        case 0:
            return [rent | {"glAccount": {"id": "6100"}}, vat]
        case 1:
            return [rent | {"txnAmount": "90.00"}, vat | {"txnAmount": "35.00"}]
        case 2:
            return [rent | {"dimensions": rent["dimensions"] | {"department": {"id": "12"}}}, vat]
        case 3:
            return [rent | {"txnAmount": "60.00"}, rent | {"txnAmount": "40.00"}, vat]
    return [rent | {"txnAmount": "125.00"}]


LINE = {"glAccount": {"id": "6000"}, "dimensions": {"location": {"id": "4"}}}


async def documents(box: Sandbox, url: str, each: int) -> int:
    """A clean state, drifts of every kind, `each` times, then a repair. Returns how many were planted."""
    kinds = 15
    book(box, kinds * each + 2)
    async with opened(box, url, DOCUMENT_JOBS) as (tools, config):
        await sync(tools, url, job="ExportInvoices")
        made = bills(box)
        settled.pay(box, *(settled.payment(number, made[number]["key"], "125.00") for number in made if number % kinds in (5, 6, 7, 8)))
        await sync(tools, url, job="ExportPayments")
        assert told(await look(tools, config, url)) == {}
        planted: list[Plant] = []
        made, paid = bills(box), payments(box)
        for number in range(1, kinds * each + 1):
            key, text = made[number]["key"], f"1-{number}"
            match number % kinds:
                case 1:
                    box.load(BILL, [{"key": key, "lines": [LINE | {"txnAmount": "125.01"}]}], "upsert")
                    planted.append(("Bill", text, "different"))
                case 2:
                    box.load(BILL, [{"key": key}], "delete")
                    planted += [("Bill", text, "missing"), ("Attachment", made[number]["attachment"]["id"], "orphaned")]
                case 3:
                    box.load(BILL, [{"key": key, "state": "reversed"}], "upsert")
                    planted.append(("Bill", text, "missing"))
                case 4:
                    twin = copy_of(made[number], billNumber=f"TWIN-{number}", state="posted", lines=[LINE | {"txnAmount": "125.00"}])
                    (other,) = box.load(BILL, [twin])["keys"]
                    planted.append(("Bill", f"{text}/{other}", "double"))
                case 5:
                    box.load(PAYMENT, [{"key": paid[number]["key"], "state": "voided"}], "upsert")
                    planted.append(("Payment", f"PAY-pay-{number}", "voided"))
                case 6:
                    box.load(PAYMENT, [{"key": paid[number]["key"]}], "delete")
                    planted.append(("Payment", f"PAY-pay-{number}", "missing"))
                case 7:
                    details = [{"bill": {"key": key}, "txnCurrency": {"paymentAmount": "125.00"}}]
                    (other,) = box.load(PAYMENT, [copy_of(paid[number], documentNumber=f"R9{number}", state="confirmed", details=details)])[
                        "keys"
                    ]
                    planted.append(("Payment", f"PAY-pay-{number}/{other}", "double"))
                case 8:
                    box.load(BILL, [{"key": key, "state": "reversed"}], "upsert")
                    planted += [("Bill", text, "missing"), ("Payment", f"PAY-pay-{number}", "without bill")]
                case 9:
                    approved.load(box, approved.invoice(number), images=0)  # Prime has lost the receipt, and lists it again
                    planted.append(("Invoice", text, "receipt owed"))
                case 10 | 11 | 12 | 13 | 14 as kind:
                    box.load(BILL, [{"key": key, "lines": edited(made[number], kind - 10)}], "upsert")
                    planted.append(("Bill", text, "different"))
                case 0:
                    name = f"RP-{number:016d}".replace("0", "A").replace("1", "B")
                    box.load(ATTACHMENT, [{"id": name, "name": name, "folder": {"id": "Receipts"}}])
                    planted.append(("Attachment", name, "orphaned"))
        for number in range(kinds * each + 1, kinds * each + 3):  # as sent, in another order and with more than was sent
            rent, vat = lines_of(made[number])
            box.load(BILL, [{"key": made[number]["key"], "lines": [vat | {"memo": "checked"}, rent]}], "upsert")
        books = box.sage_records(BILL), box.sage_records(PAYMENT)
        report = await look(tools, config, url)
        assert told(report) == Counter(planted), (told(report) - Counter(planted), Counter(planted) - told(report))
        assert all(one.command for one in report.drifts)
        repaired = await (mend_later(tools, config, url, report) if each % 2 else mend(tools, url, report))
        owed = [plant for plant in planted if plant[2] == "receipt owed"]
        assert Counter((drift.kind, drift.number, drift.what) for drift, _ in repaired.done) == Counter(owed)
        assert told(await look(tools, config, url)) == Counter(planted) - Counter(owed), "the rest is for a person"
        assert {record["queue"] for record in approved.invoices(box).values()} == {"receipted"}
        assert (box.sage_records(BILL), box.sage_records(PAYMENT)) == books, "a repair writes nothing to Sage that Prime has not asked for"
        return len(planted)


async def test_bills_payments_files_and_receipts_that_differ_are_found_and_receipts_are_sent(box: Sandbox, valkey: str) -> None:
    assert await documents(box, valkey, 1) >= 17


@pytest.mark.faults
async def test_many_documents_that_differ_are_all_found(box: Sandbox, valkey: str) -> None:
    assert await documents(box, valkey, 8) >= 130


def calls_of(box: Sandbox) -> int:
    """How often Sage was asked, tokens aside."""
    return sum(number for what, number in box.stats()["sage"]["calls"].items() if "token" not in what)


async def test_lines_cost_a_query_for_500_bills_and_where_sage_does_not_show_them_a_note_says_so(box: Sandbox, valkey: str) -> None:
    book(box, 40)
    async with opened(box, valkey, ("ExportInvoices",)) as (tools, config):
        await sync(tools, valkey)
        asked = calls_of(box)
        report = await look(tools, config, valkey)
        assert report.checked["lines of bills"] == 80
        assert report.sage_calls == calls_of(box) - asked == 3, "marked bills, their lines, attachments"
        box.load(BILL, [{"key": bills(box)[7]["key"], "lines": edited(bills(box)[7], 0)}], "upsert")
        (found,) = (await look(tools, config, valkey)).drifts
        assert [(one.field, one.old, one.new) for one in found.changes] == [("line 1 account", "6000", "6100")]
        shown = await measure(tools)
        counts = {what: shown.value("connect_reconcile_drifts", "acme-TEST", what) for what in ("different", "missing", "waits")}
        assert counts == {"different": 1, "missing": 0, "waits": 0}
        age_s = shown.value("connect_reconcile_age_seconds", "acme-TEST")
        assert isinstance(age_s, float)
        assert 0 <= age_s < 60
        second = {"where": QUERY, "kind": "status", "after": 1, "count": 1, "params": {"status": 403}}
        box.call("/_sandbox/faults", {"rules": [second]})
        report = await look(tools, config, valkey)
        assert told(report) == {}
        assert any("lines of bills cannot be compared" in note for note in report.notes)


# -- a plan that was made, and what changed since ----------------------------------------------------------------------


async def test_what_has_changed_since_the_plan_was_made_is_left_alone_by_name(box: Sandbox, valkey: str) -> None:
    company = Mappable(box, random.Random(8), ("GetDimObjects",))
    company.put(DEPARTMENT, [company.new(DEPARTMENT) for _ in range(8)])
    async with opened(box, valkey, ("GetDimObjects",)) as (tools, config):
        await sync(tools, valkey)
        rows = [row for row in box.prime_records("Object") if row["ObjectTypeNo"] == 1]
        mine, prime, sage, mended, other = (row | {"Name": f"By hand {n}"} for n, row in enumerate(rows[:5]))
        twin = rows[5] | {"Object": "TWIN"}
        load(box, "Object", mine, prime, sage, mended, twin)
        report = await look(tools, config, valkey)
        assert len(report.drifts) == 5
        load(box, "Object", prime | {"Name": "Again"}, rows[3], twin | {"Name": "Mine"}, other)
        changed = next(row for row in company.rows[DEPARTMENT].values() if row["id"] == sage["Object"])
        box.load(DEPARTMENT, [changed | {"name": "In Sage"}], "upsert")
        repaired = await mend_later(tools, config, valkey, report)
        assert [drift.number for drift, _ in repaired.done] == [mine["Object"]]
        assert {one.number: one.why for one in repaired.moved} == {
            prime["Object"]: "was changed in Prime since the plan was made",
            sage["Object"]: "was changed in Sage since the plan was made",
            mended["Object"]: "need not be sent any more: it has been, or Sage has changed it back",
            "TWIN": "was changed in Prime since the plan was made",
            other["Object"]: "is new since the plan was made",
        }
        now = {row["Object"]: row["Name"] for row in box.prime_records("Object") if row["ObjectTypeNo"] == 1}
        assert now[mine["Object"]] == rows[0]["Name"]
        assert [now[number] for number in (prime["Object"], "TWIN")] == ["Again", "Mine"]
        assert [now[one["Object"]] for one in (sage, other)] == [sage["Name"], other["Name"]]


# -- the report by its schedule ----------------------------------------------------------------------------------------


async def due_since(tools: Tools) -> Reports:
    """As if the schedule had missed a time."""
    (one,) = tools.connections.values()
    await one.redis.hset(f"connect:{one.connection.sid}:reconcile", "since", LONG_AGO)
    return Reports(one.redis, one.connection.sid)


async def test_the_schedule_asks_for_one_report_when_nothing_else_is_to_be_done(box: Sandbox, valkey: str) -> None:
    """Not while a run is on or wanted, not when all is paused, not when the budget is spent, and not of a process that ends."""
    async with opened(box, valkey, ("GetDimObjects",), more='reconcile = "0 5 * * 6"\ntransactions_month_budget = 5') as (tools, _):
        (one,) = tools.connections.values()
        await due_since(tools)

        async def asked() -> int:
            await producers._report(tools, one)
            return int(await tools.redis.zcard(queue_name(FETCH)))

        run = await one.runs.begin("100", "GetDimObjects", mode="full", trace="t", parts=[], entity="", now=tools.clock())
        assert (run is not None, await asked()) == (True, 0)
        await one.runs.end(str(run), tools.clock())
        await producers.want(tools)
        assert await asked() == 0
        await tools.redis.delete(f"connect:{one.connection.sid}:wanted")
        await one.pauses.hold("all", reason="holiday", by="ann")
        assert await asked() == 0
        await one.pauses.lift("all")
        month = f"connect:{one.connection.sid}:usage:{tools.clock():%Y%m}"
        await tools.redis.hset(month, "transactions", 5)
        assert await asked() == 0
        await tools.redis.delete(month)
        await producers._report(replace(tools, starts_due=False), one)
        assert [await asked(), await asked()] == [1, 1]


@pytest.mark.parametrize("is_killed", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_workers_make_the_report_by_its_schedule_and_status_says_what_it_found(box: Sandbox, tmp_path: Path, is_killed: bool) -> None:
    """Also when the worker is killed at it: another begins anew, and nothing of the first goes on."""
    book(box, 3)
    connect = approved.connect_to(box, tmp_path, more='settle_s = 0.2\nreconcile = "0 5 * * 6"')
    connect.sync()
    nothing = {"connection": "acme-TEST", "schedule": "0 5 * * 6", "failed": None, "made_at": None}
    assert connect.json("reconcile", "--last") == {"reports": [nothing]}
    made = bills(box)
    box.load(BILL, [{"key": made[1]["key"], "lines": edited(made[1], 0)}], "upsert")
    approved.load(box, approved.invoice(2), images=0)
    with attached(tmp_path / ".connect") as url, redis.Redis.from_url(url, decode_responses=True) as client:
        (sid,) = {key.split(":")[1] for key in client.scan_iter(match="connect:*:last:*")}
        kept = f"connect:{sid}:reconcile"
        client.hset(kept, "since", LONG_AGO)
        with Workers(connect, "schedule", "fetch") as workers:
            if is_killed:
                box.call("/_sandbox/faults", {"rules": [{"where": QUERY, "kind": "latency", "params": {"ms": 1500}, "count": 3}]})
                (first,) = workers.pids("fetch")
                wait_until(lambda: children_of(first), 60)
                (child,) = children_of(first)
                workers.kill(first)
                wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)
                assert not client.hexists(kept, "report")
            wait_until(lambda: client.hexists(kept, "report"), 120)
            wait_until(lambda: not client.exists(f"arq:job:reconcile:{sid}"), 30)
        assert client.hget(kept, "since") > LONG_AGO
    shown = connect.run("reconcile", "--last", expect=(3,))
    assert "2 differences; compared: 3 bills, 6 lines of bills, 3 attachments, 1 documents that Prime lists." in shown
    assert "line 1 account 6000, is 6100" in shown
    (need,) = [one for one in connect.json("status")["needs"] if one["kind"] == "reconcile"]
    assert "1 difference between Sage, Prime and the journal, which no run mends" in need["text"]
    box.load(BILL, [{"key": made[1]["key"], "lines": lines_of(made[1])}], "upsert")
    connect.json("reconcile", "--repair", "--as", "ann")
    assert connect.json("reconcile", "--last")["reports"][0]["found"] == 0
    assert not [one for one in connect.json("status")["needs"] if one["kind"] == "reconcile"]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def comparing() -> list[int]:
    """Those of this process that compare."""
    return [pid for pid in children_of(os.getpid()) if b"workers.cli" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_worker_that_stops_takes_the_report_with_it_and_one_that_cannot_be_made_is_told_with_its_reason(
    box: Sandbox, valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(box, 1)
    for name, value in (SECRETS | {"TMPDIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    async with opened(box, valkey, ("ExportInvoices",)) as (tools, config):
        await sync(tools, valkey)
        kept = await due_since(tools)
        (one,) = tools.connections.values()
        job = ReconcileJob(trace="t", sid=one.connection.sid)
        file = tmp_path / "connect.toml"
        file.write_text(config_text(box, redis_url=valkey, jobs=("ExportInvoices",), general=GENERAL))
        ctx = {"tools": replace(tools, config=config.model_copy(update={"path": file}))}
        at_work = asyncio.create_task(reports.reconcile(ctx, job))
        while not (mine := comparing()):
            await asyncio.sleep(0.02)
        at_work.cancel()
        await asyncio.gather(at_work, return_exceptions=True)
        assert (len(mine), comparing()) == (1, [])
        assert not [name for name in os.listdir(tmp_path) if name.startswith("connect-reconcile-")]  # noqa: PTH208
        assert (await glimpses(one.redis, [job.sid]))[0] == Glimpse()
        assert await kept.begin() == 1, "to be told to stop is not to die at it"
        assert await kept.is_due(Cron.parse("0 5 * * 6"), UTC, tools.clock()), "another worker begins anew"
        await reports.reconcile(ctx, job)
        assert (await kept.last() or {})["checked"]["bills"] == 1
        assert [await kept.begin() for _ in range(TRIES)] == [1, 2, 3], "workers that have died at it"
        await reports.reconcile(ctx, job)
        assert [seen.error[:28] for seen in await glimpses(one.redis, [job.sid])] == ["3 workers have died at it; i"]
        file.write_text("[redis")
        await reports.reconcile(ctx, job)
        found = (await overview(tools)).companies[0].reasons
        (told_of,) = [reason for reason in found if reason.kind == "reconcile"]
        assert told_of.text.startswith("Sage, Prime and the journal could not be compared: ")
        assert str(file) in told_of.text
        others = tmp_path / "others"
        others.mkdir()
        (tmp_path / f"connect-reconcile-{job.sid}").symlink_to(others)
        await reports.reconcile(ctx, job)
        assert "whoever owns it" in (await glimpses(one.redis, [job.sid]))[0].error
        assert list(others.iterdir()) == []


async def test_what_could_not_be_compared_is_no_agreement(box: Sandbox, valkey: str) -> None:
    company = Mappable(box, random.Random(4), ("GetDimObjects",))
    company.put(DEPARTMENT, [company.new(DEPARTMENT) for _ in range(3)])
    async with opened(box, valkey, ("GetDimObjects",)) as (tools, config):
        await sync(tools, valkey)
        box.call("/_sandbox/faults", {"rules": [{"where": QUERY, "kind": "status", "params": {"status": 403}}]})
        report = await look(tools, config, valkey)
        box.call("/_sandbox/faults", {"rules": []})
        assert len(report.troubles) == 1
        (told_of,) = [reason for reason in (await overview(tools)).companies[0].reasons if reason.kind == "reconcile"]
        assert "in part only: GetDimObjects, company 100" in told_of.text
        await look(tools, config, valkey)
        assert not [reason for reason in (await overview(tools)).companies[0].reasons if reason.kind == "reconcile"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_differs_by_its_exit_code_and_repairs_what_it_may(box: Sandbox, tmp_path: Path) -> None:
    book(box, 2)
    connect = approved.connect_to(box, tmp_path, more="settle_s = 0.2")
    connect.sync()
    box.load(BILL, [{"key": bills(box)[1]["key"], "lines": [LINE | {"txnAmount": "1.00"}]}], "upsert")
    approved.load(box, approved.invoice(2), images=0)
    shown = connect.run("reconcile", "--html", "report.html", expect=(3,))
    assert "2 differences; compared: 2 bills, 3 lines of bills, 2 attachments, 1 documents that Prime lists." in shown
    assert "1 of them the next runs mend by themselves." in shown
    assert "amount 125.00, is 1.00" in shown
    assert "amount 125.00, is 1.00" in (tmp_path / "report.html").read_text()
    connect.run("reconcile", "--out", "friday.plan", expect=(3,))
    assert (tmp_path / "friday.plan").stat().st_mode & 0o077 == 0
    connect.run("reconcile", "--repair", "--out", "other.plan", expect=(2,))
    document = connect.json("apply", "friday.plan", "--as", "ann")
    assert ([one["number"] for one in document["repaired"]], document["left"], document["left_alone"]) == (["1-2"], [], [])
    (left,) = connect.json("apply", "friday.plan", "--as", "ann", expect=(3,))["left_alone"]
    assert (left["number"], left["why"]) == ("1-2", "is not listed any more")
    approved.load(box, approved.invoice(2), images=0)
    document = connect.json("reconcile", "--repair", "--as", "ann", expect=(3,))
    assert [one["number"] for one in document["repaired"]] == ["1-2"]
    assert [(one["number"], one["said"].partition(":")[0]) for one in document["left"]] == [("1-1", "in Sage")]
