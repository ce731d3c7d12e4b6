"""Planted drifts: all are found, none is found where nothing was planted, and a repair brings back what it may."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import approved
import pytest
import settled
from planned_company import ACCOUNT, BANK, DEPARTMENT, JOBS, SILENT, VENDOR, Company, dump, sync, tools_of
from redis.asyncio import Redis
from world import SECRETS, Sandbox, config_text

from connect.config import Config, RedisSettings
from connect.config.load import parse_config
from connect.reconcile import Report
from connect.registers import REGISTERS
from connect.state.audit import Audit
from workers import reconciling, session
from workers.jobs import Tools

pytestmark = pytest.mark.timeout(900)
BILL, PAYMENT, ATTACHMENT = "accounts-payable/bill", "accounts-payable/payment", "company-config/attachment"
DOCUMENT_JOBS = ("ExportInvoices", "CancelInvoices", "ExportPayments")
GENERAL = 'StartOn = 2026-01-01\nBillDateSource = "InvoiceDate"\nBankAccountMapping = { "0042" = "BOA" }'
Plant = tuple[str, str, str]
"""Kind, number, what: as a drift is told."""


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--empty") as made:
        yield made


def config_of(box: Sandbox, url: str, jobs: tuple[str, ...], transport: str = "rest") -> Config:
    text = config_text(box, redis_url=url, jobs=jobs, general=GENERAL, transport=transport)
    if transport == "soap":  # no REST at all: nothing can be read
        text = "\n".join(line for line in text.splitlines() if not line.startswith("rest_"))
    return parse_config(
        text.replace("sage_slots", "settle_s = 0.2\nsage_slots", 1), path=Path("connect.toml"), environ=os.environ | SECRETS, jobs=REGISTERS
    )


@asynccontextmanager
async def opened(box: Sandbox, url: str, jobs: tuple[str, ...], transport: str = "rest") -> AsyncIterator[tuple[Tools, Config]]:
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    config = config_of(box, url, jobs, transport)
    async with tools_of(config, url) as tools:
        yield tools, config


async def look(tools: Tools, config: Config, url: str) -> Report:
    async with Redis.from_url(url + "?db=1") as shadow:
        await shadow.flushdb()
    return await reconciling.reconcile_now(tools, config, SILENT, shadow_url=url + "?db=1")


async def mend(tools: Tools, url: str, report: Report) -> reconciling.Repaired:
    async with session.own_workers(tools, RedisSettings(url=url)):
        return await reconciling.repair(tools, SILENT, report, by="ann")


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
        repaired = await mend(tools, url, report)
        assert {drift.kind for drift, _ in repaired.left} <= {"SupplierBankAccount"}, repaired.left
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
    await registers(box, valkey, seed, 30)


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
        await mend(tools, valkey, report)
        assert told(await look(tools, config, valkey)) == {}, "what was done in Prime by hand cannot be seen"
        assert "Other" in {row["Name"] for row in box.prime_records("Object")}


# -- documents ---------------------------------------------------------------------------------------------------------


def book(box: Sandbox, many: int) -> None:
    """Invoices approved in Prime; Sage can book and pay them."""
    box.call("/_sandbox/reset", {})
    approved.fill(box)
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


LINE = {"glAccount": {"id": "6000"}, "dimensions": {"location": {"id": "4"}}}


async def documents(box: Sandbox, url: str, each: int) -> int:
    """A clean state, drifts of every kind, `each` times, then a repair. Returns how many were planted."""
    kinds = 10
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
                case 0:
                    name = f"RP-{number:016d}".replace("0", "A").replace("1", "B")
                    box.load(ATTACHMENT, [{"id": name, "name": name, "folder": {"id": "Receipts"}}])
                    planted.append(("Attachment", name, "orphaned"))
        books = box.sage_records(BILL), box.sage_records(PAYMENT)
        report = await look(tools, config, url)
        assert told(report) == Counter(planted), (told(report) - Counter(planted), Counter(planted) - told(report))
        assert all(one.command for one in report.drifts)
        repaired = await mend(tools, url, report)
        owed = [plant for plant in planted if plant[2] == "receipt owed"]
        assert Counter((drift.kind, drift.number, drift.what) for drift, _ in repaired.done) == Counter(owed)
        assert told(await look(tools, config, url)) == Counter(planted) - Counter(owed), "the rest is for a person"
        assert {record["queue"] for record in approved.invoices(box).values()} == {"receipted"}
        assert (box.sage_records(BILL), box.sage_records(PAYMENT)) == books, "a repair writes nothing to Sage that Prime has not asked for"
        return len(planted)


async def test_bills_payments_files_and_receipts_that_differ_are_found_and_receipts_are_sent(box: Sandbox, valkey: str) -> None:
    assert await documents(box, valkey, 1) >= 12


@pytest.mark.faults
async def test_many_documents_that_differ_are_all_found(box: Sandbox, valkey: str) -> None:
    assert await documents(box, valkey, 9) >= 100


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_differs_by_its_exit_code_and_repairs_what_it_may(box: Sandbox, tmp_path: Path) -> None:
    book(box, 2)
    connect = approved.connect_to(box, tmp_path, more="settle_s = 0.2")
    connect.sync()
    box.load(BILL, [{"key": bills(box)[1]["key"], "lines": [LINE | {"txnAmount": "1.00"}]}], "upsert")
    approved.load(box, approved.invoice(2), images=0)
    shown = connect.run("reconcile", "--html", "report.html", expect=(3,))
    assert "2 differences; compared: 2 bills, 2 attachments, 1 documents that Prime lists." in shown
    assert "amount 125.00, is 1.00" in shown
    assert "amount 125.00, is 1.00" in (tmp_path / "report.html").read_text()
    document = connect.json("reconcile", "--repair", "--as", "ann", expect=(3,))
    assert [one["number"] for one in document["repaired"]] == ["1-2"]
    assert [(one["number"], one["said"].partition(":")[0]) for one in document["left"]] == [("1-1", "in Sage")]
