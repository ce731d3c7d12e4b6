"""A small company of the sandbox that changes by chance, with tools in this process: what the tests of plans share."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from world import SECRETS, Sandbox, config_text

from connect import plan as planned
from connect.config import Config, RedisSettings
from connect.config.load import parse_config
from connect.plan import Options, Plan
from connect.registers import REGISTERS
from connect.state import epoch
from workers import applying, planning, session
from workers.jobs import Tools
from workers.screen import Screen
from workers.settings import connect_redis, open_tools

KINDS = ("ObjectType", "Object", "Account", "VatCode", "AssetType", "Asset", "Currency", "Supplier")
GROUPS = (
    ("GetDimObjects",), ("GetAccounts", "GetVatCodes"), ("GetAccounts", "GetAssetTypes", "GetAssets"), ("GetCurrencies",),
    ("GetSuppliers",), ("GetAccounts", "GetSuppliers"), ("GetDimObjects", "GetAccounts", "GetVatCodes", "GetSuppliers"),
)  # fmt: skip
JOBS = ("GetDimObjects", "GetAccounts", "GetVatCodes", "GetAssetTypes", "GetAssets", "GetCurrencies", "GetSuppliers")
DEPARTMENT, LOCATION = "company-config/department", "company-config/location"
ACCOUNT, TAX, CLASS, ASSET = "general-ledger/account", "tax/tax-detail", "fixed-assets/asset-classification", "fixed-assets/asset"
RATE, LINE = "company-config/exchange-rate", "company-config/exchange-rate-line"
VENDOR, TERM, BANK = "accounts-payable/vendor", "accounts-payable/term", "accounts-payable/vendor-account-number"
CURRENCIES = ("EUR", "USD", "SEK", "GBP")
SILENT = Screen(json=True)

SIZES = {DEPARTMENT: 8, LOCATION: 6, ACCOUNT: 14, TAX: 6, CLASS: 4, ASSET: 12, TERM: 3, RATE: 3, LINE: 12, VENDOR: 20, BANK: 12}
Dump = dict[tuple[str, ...], dict[str, Any]]


def config_of(box: Sandbox, redis_url: str, **options: Any) -> Config:
    return parse_config(
        config_text(box, redis_url=redis_url, **{"jobs": JOBS} | options),
        path=Path("connect.toml"),
        environ=os.environ | SECRETS,
        jobs=REGISTERS,
    )


@asynccontextmanager
async def tools_of(config: Config, url: str) -> AsyncIterator[Tools]:
    redis = connect_redis(url)
    await epoch.begin(redis)
    try:
        async with open_tools(config, redis) as tools:
            yield tools
    finally:
        await redis.aclose()


async def plan_of(tools: Tools, config: Config, shadow_url: str, **options: Any) -> Plan:
    async with Redis.from_url(shadow_url) as shadow:
        await shadow.flushdb()
    return await planning.make(tools, config, SILENT, Options(**options), shadow_url=shadow_url)


async def sync(tools: Tools, url: str, **options: Any) -> session.Outcome:
    async with session.own_workers(tools, RedisSettings(url=url)):
        return await session.run_jobs(tools, SILENT, **options)


async def apply(tools: Tools, config: Config, url: str, plan: Plan) -> applying.Applied:
    """Apply a plan as it comes out of its file."""
    async with Redis.from_url(url + "?db=1") as shadow:
        await shadow.flushdb()
    read = planned.decode(planned.encode(plan), "a file")
    async with session.own_workers(tools, RedisSettings(url=url)):
        return await applying.apply(tools, config, SILENT, read, by="ann", shadow_url=url + "?db=1")


def dump(box: Sandbox) -> Dump:
    """Every row of Prime's registers, by kind and natural key."""
    found: Dump = {}
    for kind in KINDS:
        for row in box.call(f"/_sandbox/prime/records?kind={kind}")["records"]:
            key = (str(row.get("Company") or ""), *(str(row.get(name) or "") for name in NAMED_BY[kind]))
            found[(kind, *key)] = row
    return found


NAMED_BY = {
    "ObjectType": ("ObjectTypeNo",), "Object": ("ObjectTypeNo", "Object"), "Account": ("Account",), "VatCode": ("VatCode",),
    "AssetType": ("AssetType",), "Asset": ("Asset",), "Currency": ("BaseCurrency", "Currency", "FromAccountCodingDate"),
    "Supplier": ("Supplier",),
}  # fmt: skip


def difference(before: Dump, after: Dump) -> dict[tuple[str, ...], dict[str, tuple[Any, Any]]]:
    """Row -> field -> (old, new), of every field of every row that differs."""
    found: dict[tuple[str, ...], dict[str, tuple[Any, Any]]] = {}
    for key in sorted({*before, *after}):
        old, new = _fields(before.get(key, {})), _fields(after.get(key, {}))
        if changed := {name: (old.get(name), new.get(name)) for name in {*old, *new} if old.get(name) != new.get(name)}:
            found[key] = changed
    return found


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """Bank accounts as a field each."""
    flat = {name: value for name, value in row.items() if name != "SupplierBankAccount"}
    return flat | {f"SupplierBankAccount {one['BankAccount']}": one for one in row.get("SupplierBankAccount", ())}


def planned_difference(plan: Plan) -> dict[tuple[str, ...], dict[str, tuple[Any, Any]]]:
    """The same as a plan says it."""
    return {
        (row.kind, *row.key): {one.field: (one.old, one.new) for one in row.changes} for job in plan.jobs for row in job.rows if row.changes
    }


READS = {
    "GetDimObjects": (DEPARTMENT, LOCATION), "GetAccounts": (ACCOUNT,), "GetVatCodes": (TAX,), "GetAssetTypes": (CLASS,),
    "GetAssets": (ASSET,), "GetCurrencies": (LINE,), "GetSuppliers": (VENDOR, VENDOR, BANK, BANK, TERM),
}  # fmt: skip


class Company:
    """Sage's records, changed by chance: new, other, gone, renumbered, unmappable, and references that lead nowhere."""

    def __init__(self, box: Sandbox, chance: random.Random, jobs: tuple[str, ...] = JOBS) -> None:
        self.read = [name for job in jobs for name in READS[job]]
        self.box = box
        self.chance = chance
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}
        self.last = 100
        box.call("/_sandbox/reset", {})
        most = chance.choice((0.2, 1, 1, 2))
        for name, count in SIZES.items():
            self.put(name, [self.new(name) for _ in range(count if name in (RATE, TERM) else chance.randrange(int(count * most) + 1))])

    def key(self) -> int:
        self.last += self.chance.choice((1, 1, 2, 9))
        return self.last

    def some(self, name: str) -> dict[str, Any] | None:
        rows = list(self.rows.get(name, {}).values())
        return self.chance.choice(rows) if rows else None

    def new(self, name: str, key: int | None = None) -> dict[str, Any]:
        """A record of an object."""
        chance = self.chance
        key = self.key() if key is None else key
        row: dict[str, Any] = {"key": str(key)}
        named = {"id": f"{name.rpartition('/')[2][:2].upper()}{key}"}
        status = chance.choice(("active", "active", "active", "inactive"))
        account = self.some(ACCOUNT)
        if name in (DEPARTMENT, LOCATION):
            row |= named | {"name": self.word(), "status": status}
        elif name == ACCOUNT:
            tax = self.some(TAX)
            row |= named | {"name": self.word(), "status": status, "requireDimensions": {"department": chance.random() < 0.4}}
            if chance.random() < 0.3:
                row["taxCode"] = tax["id"] if tax and chance.random() < 0.8 else "NOWHERE"
        elif name == TAX:
            row |= named | {"description": self.word(), "status": status, "taxType": "purchase", "taxPercent": f"{chance.randrange(26)}"}
            if account:
                row["glAccount"] = {"id": account["id"]}
        elif name == CLASS:
            row |= named | {"name": self.word()}
            if account:
                row["assetGLAccount"] = {"id": account["id"]}
        elif name == ASSET:
            row |= named | {"name": self.word()}
            if found := self.some(CLASS):
                row["classification"] = {"id": found["id"]}
        elif name == TERM:
            row |= named | {
                "due": {"days": chance.randrange(60), "from": chance.choice(("fromBillDate", "fromBillDate", "ofNextMonthFromBillDate"))}
            }
        elif name == RATE:
            pair = chance.sample(CURRENCIES, 2)
            row |= {"fromCurrency": pair[0], "toCurrency": pair[1]}
        elif name == LINE:
            row |= {
                "effectiveStartDate": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 28):02}",
                "rate": f"{chance.uniform(0.1, 12):.5f}",
            }
            row["exchangeRate"] = {"key": self.some(RATE)["key"]}  # type: ignore[index]
        elif name == VENDOR:
            row |= named | {"name": self.word(), "status": status, "isOnHold": chance.random() < 0.2, "doNotPay": chance.random() < 0.2}
            row |= {
                "taxId": f"SE{key}",
                "currency": chance.choice(CURRENCIES),
                "notes": chance.choice((None, "Call first", "x" * 4100, "y" * 90)),
            }
            if (term := self.some(TERM)) and chance.random() < 0.6:
                row["term"] = {"key": term["key"]}
            if account and chance.random() < 0.4:
                row["defaultExpenseGLAccount"] = {"id": account["id"]}
            address = {"addressLine1": self.word(), "city": chance.choice((None, "Malmö")), "postCode": f"{chance.randrange(10000, 99999)}"}
            row["contacts"] = {
                "default": {"firstName": "Ann", "lastName": self.word(), "email1": f"a{key}@example.com", "mailingAddress": address}
            }
        elif name == BANK:
            vendor = self.some(VENDOR)
            if vendor is None:
                return {}
            row |= {"vendorAccountNumber": f"{chance.randrange(10**6, 10**7)}", "vendor": {"key": vendor["key"], "id": vendor["id"]}}
        return row

    def word(self) -> str:
        if self.chance.random() < 0.03:
            return "W" * 401  # longer than Prime's names
        return f"{self.chance.choice(('Åre', 'Oak & Sons', 'Nord', '«Zoë»', 'Müller'))} {self.chance.randrange(1000)}"

    def put(self, name: str, rows: list[dict[str, Any]], mode: str = "upsert") -> None:
        rows = [row for row in rows if row]
        if rows:
            self.box.load(name, rows, mode)
            self.rows.setdefault(name, {}).update((int(row["key"]), row) for row in rows)

    def change(self) -> None:
        """One thing more that happens in Sage, or to Prime by hand."""
        chance = self.chance
        name = chance.choice(self.read)
        row = self.some(name)
        match chance.randrange(10):
            case 0 | 1 | 2:
                self.put(name, [self.new(name)])
            case 3 | 4 | 5 | 6 if row:
                self.put(name, [self.new(name, int(row["key"]))])
            case 7 if row and name not in (TERM, TAX, ACCOUNT, CLASS):
                self.box.load(name, [{"key": row["key"]}], "delete")
                del self.rows[name][int(row["key"])]
            case 8 if row and "id" in row and name in (DEPARTMENT, VENDOR):
                row = row | {"id": chance.choice((f"N{row['key']}", (self.some(name) or row)["id"]))}
                if row["id"] not in [one["id"] for key, one in self.rows[name].items() if key != int(row["key"])]:
                    self.put(name, [row])
            case _:
                self.by_hand()

    def by_hand(self) -> None:
        """Somebody edits a row in Prime."""
        suppliers = self.box.call("/_sandbox/prime/records?kind=Supplier")["records"]
        if suppliers:
            one = self.chance.choice(suppliers)
            edited = {name: one[name] for name in ("Company", "Supplier", "KeyType") if name in one}
            self.box.call("/_sandbox/prime/load", {"kind": "Supplier", "records": [edited | {"Name": self.word()[:50], "Group1": "G"}]})
