"""What a RegisterWriter promises, asked of both clients against the sandbox's Prime on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

import aiohttp
import orjson
import pytest
import structlog
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from connect.errors import Auth, Permanent, RateLimited, Transient
from connect.http import Http
from connect.mapping import NOT_XML
from connect.prime.port import RegisterWriter
from connect.prime.rest import PrimeRestAccess, RestRegisters
from connect.prime.soap import PARALLEL, TRIES, PrimeSoapAccess, SoapRegisters
from connect.sandbox.kernel import Kernel
from connect.sandbox.prime import PrimeSimulator

COMPANY = "100"
PASSWORD = "sesame & <open>"
SECRET = "a/secret+sign"
KINDS = ("ObjectType", "Object", "Account", "VatCode", "AssetType", "Asset", "Currency", "Supplier", "Period")


async def at_once(_: float) -> None:
    """In place of a wait."""


class Prime:
    """The simulator, served; one client of it, and how this client spells a record."""

    def __init__(self, transport: Literal["soap", "rest"], base: str, http: Http, simulator: PrimeSimulator, kernel: Kernel) -> None:
        self.transport = transport
        self.http = http
        self.simulator = simulator
        self.kernel = kernel
        self.soap_access = PrimeSoapAccess(f"{base}/ws/webService.asmx", "DEMO", "connect", PASSWORD)
        self.rest_access = PrimeRestAccess(
            url=f"{base}/api/v1.0",
            identity_url=f"{base}/identity",
            tenant="demo",
            client_id="connect",
            client_secret=SECRET,
            user="connect",
            role="integration",
        )
        self.writer = self.client()

    def client(self, *, sleep: Callable[[float], Awaitable[None]] = at_once, **changed: str) -> RegisterWriter:
        if self.transport == "soap":
            return SoapRegisters(self.http, replace(self.soap_access, **changed), sleep=sleep)
        return RestRegisters(self.http, replace(self.rest_access, **changed), sleep=sleep)

    def name(self, kind: str) -> str:
        """How the simulator calls a write of this kind."""
        return f"prime:Insert{kind}" if self.transport == "soap" else f"prime:PUT /{kind.lower()}"

    def calls(self, kind: str) -> int:
        return self.kernel.stats["prime"].calls[self.name(kind).removeprefix("prime:")]

    def body(self, **fields: Any) -> bytes:
        """A record of a company, from its names over SOAP."""
        spelt = {"Company": COMPANY, **fields, "KeyType": 1, "ExternalSource": "SageIntacct"}
        if self.transport == "rest":
            special = {"ObjectTypeNo": "objectTypeNumber", "CorporateIdentityNo": "corporateIdentityNumber"}
            spelt = {special.get(name, name[0].lower() + name[1:]): value for name, value in spelt.items()}
        return orjson.dumps(spelt)

    def accounts(self, count: int, **fields: Any) -> list[bytes]:
        return [self.body(Account=f"{at:04}", Name=f"Account {at}", ExternalId=str(at), **fields) for at in range(count)]

    def supplier(self, number: str, *accounts: str, **fields: Any) -> bytes:
        if self.transport == "soap":
            return self.body(
                Supplier=number, **fields, SupplierBankAccount=[{"BankAccount": one, "Name": one, "Default": 0} for one in accounts]
            )
        nested = [{"bankAccountNo": one, "name": one, "defaultAccount": 0} for one in accounts]
        return self.body(Supplier=number, **fields, SupplierBankAccounts=nested)

    def kept(self, kind: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.simulator.records(kind=kind)["records"]
        return records

    def faults(self, *rules: dict[str, Any]) -> None:
        self.kernel.faults.replace(list(rules))


@pytest.fixture(params=["soap", "rest"])
async def prime(request: pytest.FixtureRequest) -> AsyncIterator[Prime]:
    kernel = Kernel()
    simulator = PrimeSimulator(kernel, password=PASSWORD, client_secret=SECRET, companies=(COMPANY, "200"))
    app = web.Application(client_max_size=2**26, middlewares=[kernel.middleware("prime", simulator)])
    app.router.add_routes(simulator.routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Prime(request.param, f"http://127.0.0.1:{runner.addresses[0][1]}", Http(session), simulator, kernel)
    finally:
        await runner.cleanup()


async def test_rows_are_written_and_written_again_without_doubling(prime: Prime):
    for _ in range(2):
        results = await prime.writer.write("Account", COMPANY, prime.accounts(30))
        assert [result.accepted for result in results] == [True] * 30
    assert [record["Account"] for record in prime.kept("Account")] == [f"{at:04}" for at in range(30)]
    assert prime.kept("Account")[7]["ExternalId"] == "7"
    assert prime.kernel.stats["prime"].ignored_elements == 0


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many values, the same each time; the odd ones that hypothesis likes are among them."""
    found: list[Any] = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


async def test_every_text_arrives_as_it_is_over_either_transport(prime: Prime):
    texts = [
        "Räksmörgås",
        "日本語",
        "فاتورة ٧",
        "🧾",
        'a "b" <c> & \\ d',
        "]]>",
        " two\nlines\tand\r\nmore ",
        "-0",
        "null",
        "\x07",
        "\ufffe",
    ]
    texts += examples(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=200), 200)
    rows = [prime.body(ObjectTypeNo=1, Object=f"{at:04}", Name=text) for at, text in enumerate(texts)]
    await prime.writer.write("ObjectType", COMPANY, [prime.body(ObjectTypeNo=1, Name="Department")])
    results = await prime.writer.write("Object", COMPANY, rows)
    kept = {record["Object"]: record["Name"] for record in prime.kept("Object")}
    for at, (text, result) in enumerate(zip(texts, results, strict=True)):
        wanted = NOT_XML.sub("\ufffd", text) if prime.transport == "soap" else text
        assert result.accepted or not text.strip(), (text, result)
        assert not result.accepted or kept[f"{at:04}"] == wanted


async def test_every_amount_arrives_with_each_of_its_digits_over_either_transport(prime: Prime):
    money = st.decimals(Decimal("0.000001"), Decimal(10**9), places=6, allow_nan=False, allow_infinity=False)
    rates = [Decimal("1.10"), Decimal("0.1"), Decimal("123456789.123456"), *examples(money, 200)]
    days = [date(2000, 1, 1) + timedelta(days=at) for at in range(len(rates))]
    rows = [
        prime.body(BaseCurrency="USD", Currency="EUR", FromAccountCodingDate=day.isoformat(), BuyingRate="@").replace(
            b'"@"', f"{rate:f}".encode()
        )
        for day, rate in zip(days, rates, strict=True)
    ]
    assert [result.accepted for result in await prime.writer.write("Currency", COMPANY, rows)] == [True] * len(rows)
    kept = {record["FromAccountCodingDate"][:10]: Decimal(record["BuyingRate"]) for record in prime.kept("Currency")}
    assert kept == {day.isoformat(): rate for day, rate in zip(days, rates, strict=True)}


async def test_every_register_can_be_written(prime: Prime):
    rows = {
        "ObjectType": prime.body(ObjectTypeNo=1, Name="Department"),
        "Object": prime.body(ObjectTypeNo=1, Object="10", Name="Sales"),
        "Account": prime.body(Account="6000", Name="Rent"),
        "VatCode": prime.body(VatCode="25", Name="Full", Percentage=25, Account="6000"),
        "AssetType": prime.body(AssetType="CAR", Name="Cars", Account="6000"),
        "Asset": prime.body(AssetType="CAR", Asset="1", Name="A car"),
        "Currency": prime.body(BaseCurrency="USD", Currency="EUR", FromAccountCodingDate="2026-01-01", BuyingRate=1.0825),
        "Supplier": prime.supplier("V1", Name="Somebody"),
        "Period": prime.body(Year=2026, Period=1, Name="January", StartDate="2026-01-01", EndDate="2026-01-31", Closed=0),
    }
    assert tuple(rows) == KINDS
    for kind, row in rows.items():
        (result,) = await prime.writer.write(kind, COMPANY, [row])
        assert result.accepted, (kind, result)
        assert len(prime.kept(kind)) == 1
    assert prime.kept("Currency")[0]["BuyingRate"] == "1.0825"


async def test_text_arrives_as_it_was(prime: Prime):
    name = 'Ø & <b>"Søn"</b> ]]> 株式会社 🙂'
    await prime.writer.write("Account", COMPANY, [prime.body(Account="1", Name=name)])
    await prime.writer.write("Supplier", COMPANY, [prime.supplier("1", Note="one\r\ntwo\t\u2028three", Name="kept")])
    assert prime.kept("Account")[0]["Name"] == name
    assert prime.kept("Supplier")[0]["Note"] == "one\r\ntwo\t\u2028three"


async def test_null_clears_and_what_is_left_out_stays(prime: Prime):
    await prime.writer.write("Supplier", COMPANY, [prime.supplier("1", Name="A", Note="old", Email="a@b.example", ValidTo="2026-01-01")])
    await prime.writer.write("Supplier", COMPANY, [prime.body(Supplier="1", Note=None, ValidTo=None)])
    (record,) = prime.kept("Supplier")
    assert (record.get("Note"), record.get("ValidTo"), record["Email"], record["Name"]) == (None, None, "a@b.example", "A")


async def test_each_refused_row_says_why_and_the_others_are_written(prime: Prime):
    rows = prime.accounts(40)
    rows[3] = prime.body(Account="", Name="no number")
    rows[17] = prime.body(Account="0017", Name="x", VatCode="none", VatCodeMandatory=1)
    results = await prime.writer.write("Account", COMPANY, rows)
    assert {at: result.code for at, result in enumerate(results) if not result.accepted} == {3: 1, 17: 2}
    assert "Account" in results[3].message
    assert "none" in results[17].message
    assert len(prime.kept("Account")) == 38


async def test_bank_accounts_belong_to_their_supplier(prime: Prime):
    rows = [prime.supplier("1", "11", "12", Name="two"), prime.supplier("2", Name="none"), prime.supplier("3", "31", Name="one")]
    assert all(result.accepted for result in await prime.writer.write("Supplier", COMPANY, rows))
    numbers = [[one["BankAccount"] for one in record.get("SupplierBankAccount", [])] for record in prime.kept("Supplier")]
    assert numbers == [["11", "12"], [], ["31"]]


async def test_a_bank_account_that_has_gone_is_removed_and_stays_so_when_said_twice(prime: Prime):
    await prime.writer.write("Supplier", COMPANY, [prime.supplier("1", "11", "12", Name="A")])
    row = prime.supplier("1", "12", Name="A")
    if prime.transport == "rest":
        gone = {"bankAccountNo": "11", "remove": 1}
        row = orjson.dumps(orjson.loads(row) | {"supplierBankAccounts": [{"bankAccountNo": "12", "name": "12"}, gone]})
    for _ in range(2):
        (result,) = await prime.writer.write("Supplier", COMPANY, [row])
        assert result.accepted
        assert [one["BankAccount"] for one in prime.kept("Supplier")[0]["SupplierBankAccount"]] == ["12"]


async def test_a_chunk_of_long_rows_is_written(prime: Prime):
    rows = [prime.supplier(str(at), Name="long", Note="x" * 3900) for at in range(500)]
    assert all(result.accepted for result in await prime.writer.write("Supplier", COMPANY, rows))
    assert len(prime.kept("Supplier")) == 500


async def test_a_refused_bank_account_refuses_its_supplier_row(prime: Prime):
    rows = [prime.supplier("1", "11", Name="good"), prime.supplier("2", "x" * 200, Name="bad"), prime.supplier("3", "31", Name="good")]
    good, bad, also_good = await prime.writer.write("Supplier", COMPANY, rows)
    assert good.accepted
    assert also_good.accepted
    assert (bad.code, bad.error) == (1, None)
    assert "BankAccount" in bad.message


async def test_two_writers_at_once_keep_their_answers_apart(prime: Prime):
    other = prime.client()
    left = prime.accounts(60)
    right = [prime.body(Account="" if at % 2 else f"9{at:03}", Name="right") for at in range(60)]
    prime.kernel.latency_ms["prime"] = 1
    one, two = await asyncio.gather(prime.writer.write("Account", COMPANY, left), other.write("Account", COMPANY, right))
    assert [result.code for result in one] == [0] * 60
    assert [result.code for result in two] == [0, 1] * 30
    assert len(prime.kept("Account")) == 90


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after_commit"},
        {"kind": "garbage"},
        {"kind": "truncate", "params": {"bytes": 120}},
        {"kind": "status", "params": {"status": 502}},
        {"kind": "throttle", "params": {"retry_after_s": 1}},
        {"kind": "duplicate"},
        {"kind": "slow", "params": {"ms": 20}},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_a_fault_that_passes_loses_and_doubles_nothing(prime: Prime, fault: dict[str, Any]):
    prime.faults({"where": prime.name("Account"), "count": 1, **fault})
    results = await prime.writer.write("Account", COMPANY, prime.accounts(20))
    assert all(result.accepted for result in results)
    assert [record["Account"] for record in prime.kept("Account")] == [f"{at:04}" for at in range(20)]
    assert prime.kernel.faults.rules[0].fired == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after_commit", "garbage", "truncate", "status"])
async def test_a_fault_that_stays_leaves_every_row_owed(prime: Prime, kind: str):
    prime.faults({"where": prime.name("Account"), "kind": kind})
    results = await prime.writer.write("Account", COMPANY, prime.accounts(100))
    assert [type(result.error) for result in results] == [Transient] * 100
    assert prime.calls("Account") <= 2 * TRIES * PARALLEL  # of 300
    prime.faults()
    assert all(result.accepted for result in await prime.writer.write("Account", COMPANY, prime.accounts(100)))
    assert len(prime.kept("Account")) == 100


async def test_being_told_to_wait_is_obeyed_and_then_said(prime: Prime):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    prime.faults({"where": prime.name("Account"), "kind": "throttle", "params": {"retry_after_s": 7}})
    results = await prime.client(sleep=sleep).write("Account", COMPANY, prime.accounts(100))
    assert all(isinstance(result.error, RateLimited) and result.error.retry_after_s == 7 for result in results)
    assert waits
    assert all(7 <= wait < 7.2 for wait in waits)
    assert prime.calls("Account") <= TRIES * PARALLEL


async def test_some_rows_meet_a_fault_and_only_they_are_owed(prime: Prime):
    """Over SOAP a row is a call of its own; over REST a chunk stands together."""
    prime.faults({"where": prime.name("Account"), "kind": "drop_before", "probability": 0.4, "seed": 5})
    owed = prime.accounts(60)
    for _ in range(30):
        results = await prime.writer.write("Account", COMPANY, owed)
        assert all(type(result.error) is Transient for result in results if not result.accepted)
        owed = [body for body, result in zip(owed, results, strict=True) if not result.accepted]
        if not owed:
            break
    assert not owed
    assert [record["Account"] for record in prime.kept("Account")] == [f"{at:04}" for at in range(60)]


async def test_prime_that_is_not_there_is_an_outage(prime: Prime):
    nowhere = "http://127.0.0.1:9"
    writer = prime.client(url=nowhere) if prime.transport == "soap" else prime.client(url=nowhere, identity_url=nowhere)
    results = await writer.write("Account", COMPANY, prime.accounts(30))
    assert [type(result.error) for result in results] == [Transient] * 30
    with pytest.raises(Transient):
        await writer.check()


async def test_an_address_where_no_prime_answers_condemns_no_row(prime: Prime):
    address = prime.soap_access.url if prime.transport == "soap" else prime.rest_access.url
    writer = prime.client(url=address.replace("asmx", "aspx").replace("v1.0", "v9"))
    results = await writer.write("Account", COMPANY, prime.accounts(30))
    assert all(isinstance(result.error, Auth) for result in results)


async def test_wrong_credentials_are_said_and_nothing_is_spread(prime: Prime):
    wrong = {"password": "wrong-horse"} if prime.transport == "soap" else {"client_secret": "wrong-horse"}
    writer = prime.client(**wrong)
    with structlog.testing.capture_logs() as logs:
        results = await writer.write("Account", COMPANY, prime.accounts(30))
        with pytest.raises(Auth) as raised:
            await writer.check()
    assert all(isinstance(result.error, Auth) for result in results)
    assert prime.kept("Account") == []
    assert "wrong-horse" not in repr((results, raised.value, raised.value.detail, logs))


async def test_a_token_that_expires_between_calls_is_renewed(prime: Prime):
    if prime.transport == "soap":
        pytest.skip("the web service has no tokens")
    await prime.writer.write("Account", COMPANY, prime.accounts(3))
    prime.simulator.expire_tokens()
    found = await asyncio.gather(*(prime.writer.write("Account", COMPANY, prime.accounts(3)) for _ in range(5)))
    assert all(result.accepted for results in found for result in results)
    assert prime.kernel.stats["prime"].token_requests == 2


async def test_a_token_that_expires_in_the_middle_is_renewed(prime: Prime):
    if prime.transport == "soap":
        pytest.skip("the web service has no tokens")
    prime.faults({"where": prime.name("Account"), "kind": "expire_token", "count": 1})
    assert all(result.accepted for result in await prime.writer.write("Account", COMPANY, prime.accounts(3)))


async def test_the_check_lets_us_in_and_tells_what_it_knows(prime: Prime):
    expected = ("8.146.8.3086", (COMPANY, "200")) if prime.transport == "soap" else ("", None)
    assert await prime.writer.check() == expected


async def test_an_old_prime_is_refused(prime: Prime):
    if prime.transport == "rest":
        pytest.skip("REST tells no version")
    prime.simulator.settings(version="7.1.0.996")
    with pytest.raises(Permanent, match=r"7\.1\.0\.996"):
        await prime.writer.check()


async def test_secrets_stay_out_of_logs_and_of_what_is_shown(prime: Prime):
    await prime.writer.write("Account", COMPANY, prime.accounts(1))
    prime.faults({"where": "*", "kind": "garbage"})
    with structlog.testing.capture_logs() as logs:
        results = await prime.writer.write("Account", COMPANY, prime.accounts(3))
    shown = repr((results, [result.error.detail for result in results if result.error], logs, prime.soap_access, prime.rest_access))
    assert results[0].error is not None
    assert PASSWORD not in shown
    assert SECRET not in shown
