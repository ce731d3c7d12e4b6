"""`connect doctor` against environments that are broken in one way each: one check names it, with what to do and by whom; none besides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from redis.asyncio import Redis

from connect.config.load import parse_config
from connect.doctor import Result
from connect.doctor.check import Owner
from connect.registers import REGISTERS
from connect.sandbox.data.chart import SOLUTIONS
from tests.world import REGISTER_JOBS, SECRETS, Sandbox, config_text
from workers.cli_doctor import document_of, examine, show, systems_of
from workers.settings import open_tools

JOBS = (*REGISTER_JOBS, "ExportInvoices", "CancelInvoices", "GetPaymentDates", "ExportPayments")
GENERAL = """StartOn = 2026-01-01
ShowInvoiceBaseURL = "https://prime.example.com"
PeriodsEnabled = true
ExchangeRateType = "Intacct Daily Rate"
SageAttachmentFolderId = "Receipts"
BankAccountMapping = { "1234" = "BA1145" }
"""
MARKED = {
    "key": "900001", "billNumber": "8543-1", "vendor": {"key": "42"}, "createdDate": "2026-06-01", "dueDate": "2026-07-01",
    "state": "submitted", "description": "Coffee RP-ABCDEFGHIJKLMNOP",
    "lines": [{"glAccount": {"id": "6000"}, "txnAmount": "10.00", "dimensions": {"location": {"id": "100"}}}],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A way in which an environment is broken, and how the doctor should name it.

    `edits`: (text of the configuration, another). `calls`: control calls of the sandbox that break it, `mends` those that undo them.
    `redis`: settings of the server, name -> value.
    """

    check: str
    says: str
    owner: str
    edits: tuple[tuple[str, str], ...] = ()
    secrets: dict[str, str] = field(default_factory=dict)
    sage: dict[str, Any] = field(default_factory=dict)
    prime: dict[str, Any] = field(default_factory=dict)
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    mends: tuple[tuple[str, dict[str, Any]], ...] = ()
    redis: dict[str, str] = field(default_factory=dict)
    ahead_s: float = 0.0
    verdict: str = "failed"
    stops: str = ""


def _prime(kind: str, **record: Any) -> tuple[tuple[str, dict[str, Any]], ...]:
    return (("/_sandbox/prime/load", {"kind": kind, "records": [record]}),)


def _sage(name: str, mode: str, record: dict[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    return (("/_sandbox/sage/load", {"object": name, "mode": mode, "records": [record]}),)


TAX_SOLUTIONS = [{"key": str(n), "id": name, "status": "active"} for n, (name, *_) in enumerate(SOLUTIONS, 2)]
BROKEN = {
    # Redis
    "Redis is not there": Broken(check="redis.reach", says="does not", owner="operator", edits=(("unix://", "unix:///nowhere"),)),
    "Redis throws away": Broken(
        check="redis.eviction", says="maxmemory-policy is allkeys-lru", owner="operator", redis={"maxmemory-policy": "allkeys-lru"}
    ),
    "Redis keeps nothing": Broken(
        check="redis.persistence", says="keeps nothing", owner="operator", redis={"appendonly": "no", "save": ""}
    ),
    "Redis keeps snapshots alone": Broken(
        check="redis.persistence", says="last snapshot", owner="operator", redis={"appendonly": "no", "save": "900 1"}, verdict="warning"
    ),
    "our clock is ahead": Broken(check="redis.clock", says="300 s ahead", owner="operator", ahead_s=300),
    "our clock is behind": Broken(check="redis.clock", says="300 s behind", owner="operator", ahead_s=-300),
    # Prime
    "Prime is not there": Broken(
        check="prime.service",
        says="cannot be reached",
        owner="consultant",
        edits=(("{prime}/ws", "http://127.0.0.1:9/ws"),),
    ),
    "Prime is old": Broken(check="prime.version", says="version 7.1.0.996", owner="Rillion", prime={"version": "7.1.0.996"}),
    "the environment is another": Broken(
        check="prime.environment", says="has no environment DEMA; it has DEMO", owner="consultant", edits=(('"DEMO"', '"DEMA"'),)
    ),
    "Prime's password is wrong": Broken(
        check="prime.login",
        says="refuses user connect",
        owner="consultant",
        secrets={"T_PRIME_PASSWORD": "wrong"},
        stops="GetSuppliers (100)",
    ),
    "the web service has other names": Broken(
        check="prime.wsdl",
        says="nearest is ListInvoiceReadyForDefiniteRecording",
        owner="Rillion",
        prime={"operation_names": {"ListInvoicesReadyForFinalRecording": "ListInvoiceReadyForDefiniteRecording"}},
        stops="ExportInvoices (100)",
    ),
    "a company is missing in Prime": Broken(
        check="prime.companies",
        says="no company 999",
        owner="consultant",
        edits=(('job = "GetAssets"\ncompany = "100"', 'job = "GetAssets"\ncompany = "999"'),),
    ),
    "standard accounts are missing": Broken(
        check="prime.accounts", says="trade creditors, expenditure, VAT", owner="consultant", prime={"standard_accounts": "missing"}
    ),
    "Prime records preliminarily": Broken(
        check="prime.arrival",
        says="ArrivalType 1",
        owner="consultant",
        calls=_prime("Company", Company="100", Name="Company 100", ArrivalType=1),
        mends=_prime("Company", Company="100", Name="Company 100", ArrivalType=0),
    ),
    "the REST secret is wrong": Broken(
        check="prime.rest",
        says="client id or client secret is wrong",
        owner="consultant",
        secrets={"T_PRIME_SECRET": "another"},
        stops="ExportPayments (100)",
    ),
    "the REST role is unknown": Broken(check="prime.rest", says="role 'guest'", owner="consultant", edits=(('"integration"', '"guest"'),)),
    "rows without a company": Broken(
        check="prime.registers",
        says="mixes rows that belong to a company with 1 that do not, such as 6001",
        owner="consultant",
        calls=(
            *_prime("Account", Company="100", Account="6000", KeyType=1, ExternalSource="SageIntacct"),
            *_prime("Account", Company="100", Account="6001", KeyType=0, ExternalSource="SageIntacct"),
        ),
        mends=(
            *_prime("Account", Company="100", Account="6000", KeyType=1, Remove=1),
            *_prime("Account", Company="100", Account="6001", KeyType=0, Remove=1),
        ),
    ),
    "rows from elsewhere": Broken(
        check="prime.registers",
        says="1 rows of Prime's register supplier did not come from Sage, such as S1",
        owner="consultant",
        calls=_prime("Supplier", Company="100", Supplier="S1", KeyType=1),
        mends=_prime("Supplier", Company="100", Supplier="S1", KeyType=1, Remove=1),
        verdict="warning",
    ),
    "the identity server is not there": Broken(
        check="prime.rest",
        says="cannot be reached",
        owner="consultant",
        edits=(('rest_identity_url = "http://127.0.0.1:', 'rest_identity_url = "http://127.0.0.1:9/'),),
        stops="ExportPayments (100)",
    ),
    "the tenant is another": Broken(
        check="prime.rest", says="tenant", owner="consultant", edits=(('rest_tenant = "demo"', 'rest_tenant = "demon"'),)
    ),
    # Sage: being let in
    "Sage is not there": Broken(
        check="sage.url",
        says="cannot be reached",
        owner="consultant",
        edits=(('SageTokenUrl = "http://127.0.0.1:', 'SageTokenUrl = "http://127.0.0.1:9/'),),
        stops="GetSuppliers (100)",
    ),
    "the client id is wrong": Broken(
        check="sage.client", says="client id other.app.sage.com", owner="consultant", edits=(("demo.app.sage.com", "other.app.sage.com"),)
    ),
    "the client secret is wrong": Broken(
        check="sage.client", says="with this secret", owner="consultant", secrets={"T_SAGE_SECRET": "wrong"}
    ),
    "the Sage company is another": Broken(
        check="sage.company", says="no company acmee", owner="consultant", edits=(("rillion@acme", "rillion@acmee"),)
    ),
    "the user does not exist": Broken(
        check="sage.authorised", says="in as nobody@acme", owner="customer", edits=(("rillion@acme", "nobody@acme"),)
    ),
    "the client id is not authorised": Broken(
        check="sage.authorised", says="in as rillion@acme", owner="customer", sage={"client_authorized": False}, stops="GetVatCodes (100)"
    ),
    "the token's address is wrong": Broken(
        check="sage.url", says="Unknown path", owner="consultant", edits=(("oauth2/token", "oauth2/tokens"),)
    ),
    "the query's address is another": Broken(
        check="sage.url", says="it would be", owner="consultant", edits=(("/core/query", "/core/query?x=1"),), verdict="warning"
    ),
    "the version does not exist": Broken(
        check="sage.version",
        says="Version is not supported",
        owner="consultant",
        edits=(('"v1"', '"v1-beta2"'), ("v1/services", "v1-beta2/services")),
    ),
    # Sage: modules, rights, fields
    "no right to bills": Broken(
        check="sage.permissions",
        says="no right to bill records",
        owner="customer",
        sage={"denied": ["accounts-payable/bill"]},
        stops="ExportInvoices (100), CancelInvoices (100), GetPaymentDates (100), ExportPayments (100)",
    ),
    "a module is not subscribed": Broken(
        check="sage.modules",
        says="nothing of Fixed Assets",
        owner="customer",
        sage={"modules": ["accounts-payable", "cash-management", "general-ledger", "tax"]},
        stops="GetAssetTypes (100), GetAssets (100)",
    ),
    "contact fields are refused": Broken(
        check="sage.contacts", says="no longer answers", owner="consultant", sage={"contact_fields": "refuse"}, stops="GetSuppliers (100)"
    ),
    "keys are ordered as text": Broken(check="sage.key_order", says="as text", owner="Sage", sage={"key_order": "text"}, verdict="warning"),
    "more slots than allowed": Broken(
        check="sage.slots", says="allows this company 24 requests", owner="consultant", edits=(("sage_slots = 24", "sage_slots = 30"),)
    ),
    # Sage: the company
    "an entity is missing": Broken(
        check="sage.entities",
        says="no entity 999; it has 100, 200, 300",
        owner="consultant",
        edits=(('job = "GetAssets"\ncompany = "100"', 'job = "GetAssets"\ncompany = "100"\nsage_entity = "999"'),),
        stops="GetAssets (100)",
    ),
    "an entity is inactive": Broken(
        check="sage.entities",
        says="Entity 300 is inactive",
        owner="consultant",
        edits=(('job = "GetAssets"\ncompany = "100"', 'job = "GetAssets"\ncompany = "100"\nsage_entity = "300"'),),
        calls=_sage("company-config/entity", "upsert", {"key": "5", "status": "inactive"}),
        mends=_sage("company-config/entity", "upsert", {"key": "5", "status": "active"}),
        stops="GetAssets (100)",
    ),
    "the folder is inactive": Broken(
        check="sage.folder",
        says="folder Old receipts is inactive",
        owner="customer",
        edits=(('"Receipts"', '"Old receipts"'),),
        stops="ExportInvoices (100)",
    ),
    "the folder is missing": Broken(
        check="sage.folder",
        says="folder Invoices does not exist",
        owner="customer",
        edits=(('"Receipts"', '"Invoices"'),),
        stops="ExportInvoices (100)",
    ),
    "a dimension is disabled": Broken(
        check="sage.dimensions",
        says="DEPARTMENT (Department) is not enabled",
        owner="customer",
        sage={"disabled_dimensions": ["DEPARTMENT"]},
    ),
    "a user-defined dimension is missing": Broken(
        check="sage.dimensions",
        says="no dimension nsp::planet",
        owner="consultant",
        edits=(('"LOCATION" = 2', '"LOCATION" = 2\n"nsp::planet" = 3'),),
    ),
    "a single currency": Broken(
        check="sage.currencies", says="a single currency", owner="customer", sage={"multi_currency": False}, stops="GetCurrencies (100)"
    ),
    "no tax solution": Broken(
        check="sage.taxes",
        says="no tax solution",
        owner="customer",
        calls=tuple(one for record in TAX_SOLUTIONS for one in _sage("tax/tax-solution", "delete", {"key": record["key"]})),
        mends=tuple(one for record in TAX_SOLUTIONS for one in _sage("tax/tax-solution", "insert", record)),
        stops="GetVatCodes (100)",
    ),
    "bills wait for approval": Broken(
        check="sage.approvals",
        says="1 bill(s) of ours wait for approval in Sage, such as 8543-1",
        owner="customer",
        sage={"approvals": True},
        calls=_sage("accounts-payable/bill", "insert", MARKED),
        mends=_sage("accounts-payable/bill", "delete", {"key": "900001"}),
    ),
    # mappings
    "Pay's account is not mapped": Broken(
        check="mappings.banks",
        says="Company 100 pays from account 1234",
        owner="consultant",
        edits=(('"1234" =', '"9999" ='),),
        stops="ExportPayments (100)",
    ),
    "the bank does not exist": Broken(
        check="mappings.banks", says="no active bank or card account", owner="consultant", edits=(("BA1145", "BA9"),)
    ),
    "the bank does not suit the methods": Broken(
        check="mappings.banks",
        says="Sage does not pay by ACH, EFT, Printed Check from there (AP-0038)",
        owner="consultant",
        edits=(("BA1145", "VISA-CORP"),),
        verdict="warning",
    ),
    "Pay uses another method": Broken(
        check="mappings.payment_methods",
        says="by Wire",
        owner="consultant",
        calls=_prime("Payment", id="p1", paymentMethod="Wire"),
        mends=_prime("Payment", id="p1", paymentMethod="Check"),
    ),
    "rates of two types are mixed": Broken(
        check="mappings.rate_types",
        says="Sage has rates of 2 types (Intacct Daily Rate, Month End Rate)",
        owner="consultant",
        edits=(('ExchangeRateType = "Intacct Daily Rate"\n', ""),),
        verdict="warning",
    ),
    "the rate type does not exist": Broken(
        check="mappings.rate_types",
        says="type Spot",
        owner="consultant",
        edits=(("Intacct Daily Rate", "Spot"),),
        stops="GetCurrencies (100)",
    ),
}


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--size", "small", "--sage-slots", "24") as sandbox:
        yield sandbox


async def examined(box: Sandbox, url: str, broken: Broken | None = None) -> list[Result]:
    text = config_text(box, jobs=JOBS, general=GENERAL, redis_url=url, slots=24)
    prime = box.prime["url"].removesuffix("/ws/webService.asmx")
    for old, new in [(one.replace("{prime}", prime), other) for one, other in broken.edits] if broken else ():
        assert old in text, old
        text = text.replace(old, new)
    config = parse_config(text, path=Path("connect.toml"), environ=SECRETS | (broken.secrets if broken else {}), jobs=REGISTERS)
    ahead_s = broken.ahead_s if broken else 0.0
    async with open_tools(config) as tools, systems_of(tools, config.connections[0].sid, lambda: time.time() + ahead_s) as systems:
        return await examine(systems)


@pytest.fixture(scope="module")
def clean() -> dict[str, str]:
    """What a clean sandbox gives: check -> result; filled by whoever comes first."""
    return {}


async def sound(box: Sandbox, url: str, clean: dict[str, str]) -> dict[str, str]:
    if not clean:
        clean |= {result.check.name: result.verdict for result in await examined(box, url)}
    return clean


async def test_a_clean_sandbox_has_no_failing_check(box: Sandbox, valkey: str, redis: Redis, clean: dict[str, str]) -> None:
    found = await sound(box, valkey, clean)
    assert {name for name, verdict in found.items() if verdict not in ("ok", "warning")} == {"sage.entities"}  # no job has one
    assert {name for name, verdict in found.items() if verdict == "warning"} == {"sage.contacts", "mappings.banks", "mappings.required"}


@pytest.mark.parametrize("name", list(BROKEN))
async def test_what_is_broken_is_named_by_one_check(
    box: Sandbox, valkey: str, redis: Redis, clean: dict[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = BROKEN[name]
    before = await sound(box, valkey, clean)
    settings = box.call("/_sandbox/settings", {})
    kept = {key: (await redis.config_get(key))[key] for key in broken.redis}
    try:
        box.call("/_sandbox/settings", {"sage": broken.sage, "prime": broken.prime})
        for path, body in broken.calls:
            assert not box.call(path, body)["errors"], body
        for key, value in broken.redis.items():
            await redis.config_set(key, value)
        results = await examined(box, valkey, broken)
    finally:
        for key, value in kept.items():
            await redis.config_set(key, value)
        for path, body in broken.mends:
            box.call(path, body)
        box.call("/_sandbox/settings", settings)
    _is_named(broken, results, before)
    show(results)
    printed = capsys.readouterr().out
    assert broken.says in printed.replace("\n", " ")
    for one in (found for result in results for found in result.findings):
        assert f"{one.do}  (to be done by: {one.owner})" in printed


def _is_named(broken: Broken, results: list[Result], before: dict[str, str]) -> None:
    by_name = {result.check.name: result for result in results}
    named = by_name[broken.check]
    assert named.verdict == broken.verdict
    found = [one for one in named.findings if one.verdict == broken.verdict]
    assert any(broken.says in one.cause and one.owner == broken.owner for one in found), [one.cause for one in found]
    assert broken.stops in ", ".join(named.stops[0])
    others = {name: result for name, result in by_name.items() if name != broken.check and result.verdict != before[name]}
    assert {name: (result.verdict, result.because) for name, result in others.items()} == dict.fromkeys(others, ("skipped", broken.check))
    for result in results:
        for one in result.findings:
            assert one.cause.endswith((".", ")")), one.cause
            assert one.do.endswith((".", ")")), one.do
            assert one.owner in get_args(Owner)
    assert document_of(results)["ok"] == (broken.verdict == "warning")


def test_there_are_more_than_45_ways_and_each_is_another() -> None:
    assert len(BROKEN) > 45
    assert len({(one.check, one.says) for one in BROKEN.values()}) == len(BROKEN)
