from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.http import Reply
from connect.prime.port import RowResult
from connect.prime.rest import RESOURCES, PrimeRest, PrimeRestAccess, RestRegisters, frame, read_results, split_bank_accounts

SECRET = "client/secret+1"
ACCESS = PrimeRestAccess(
    url="https://prime.example.com/api/v1.0/",
    identity_url="https://id.example.com",
    tenant="acme",
    client_id="connect",
    client_secret=SECRET,
    user="svc",
    role="integration",
)
BASE = "https://prime.example.com/api/v1.0"
Respond = Callable[[bytes, str], Reply]


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body if isinstance(body, bytes) else orjson.dumps(body),
        1.0,
    )


def results(*codes: int) -> dict[str, Any]:
    return {"results": [{"index": at, "externalId": None, "resultCode": code, "message": f"row {at}"} for at, code in enumerate(codes)]}


def accept_all(data: bytes, _: str) -> Reply:
    (items,) = orjson.loads(data).values()
    return reply(results(*[0] * len(items)))


async def at_once(_: float) -> None:
    """In place of a wait."""


class FakeHttp:
    """An identity server, Prime's Authorize, and `respond` for everything else."""

    def __init__(self, respond: Respond, life_s: float = 3600) -> None:
        self._respond = respond
        self.life_s = life_s
        self.asked: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str, bytes, str]] = []
        self.identity: Reply | None = None
        self.authorize: Reply | None = None

    async def exchange(self, method: str, url: str, *, headers: dict[str, str], data: bytes, **_: Any) -> Reply:
        await asyncio.sleep(0)
        number = sum(address == url for _, address in self.asked) + 1
        if url == "https://id.example.com/connect/token":
            self.asked.append((method, url))
            form = {name: value[0] for name, value in parse_qs(data.decode()).items()}
            assert form == {"grant_type": "client_credentials", "client_id": "connect", "client_secret": SECRET}
            return self.identity or reply({"access_token": f"identity-{number}", "expires_in": 60})
        if url == f"{BASE}/Authorize":
            self.asked.append((method, url))
            assert headers["Authorization"] == f"Bearer identity-{number}"
            assert orjson.loads(data) == {"tenantId": "acme", "user": "svc", "role": "integration"}
            return self.authorize or reply({"accessToken": f"token-{number}", "expiresIn": self.life_s})
        token = headers["Authorization"].removeprefix("Bearer ")
        self.sent.append((method, url, data, token))
        return self._respond(data, token)


def registers(respond: Respond = accept_all, *, life_s: float = 3600, **options: Any) -> tuple[RestRegisters, FakeHttp]:
    http = FakeHttp(respond, life_s)
    return RestRegisters(http, ACCESS, sleep=at_once, **options), http  # type: ignore[arg-type]


def bodies(count: int) -> list[bytes]:
    return [orjson.dumps({"account": str(at)}) for at in range(count)]


# -- bytes


def test_rows_are_framed_untouched():
    rows = [b'{"account":"1","name":"\xc3\x98 &"}', b'{ "account" : 2.50 }']
    assert frame("Account", rows) == b'{"createAccountRequests":[{"account":"1","name":"\xc3\x98 &"},{ "account" : 2.50 }]}'


def test_every_register_has_its_path_and_its_member():
    for kind, resource in RESOURCES.items():
        assert resource.path == f"/{kind.lower()}"
        assert resource.member == f"create{kind}Requests"


def test_bank_accounts_are_split_off_and_say_whose_they_are():
    body = (
        b'{"company":"100","supplier":"V1","name":"A \\"b\\"","keyType":1,"rate":1.50,'
        b'"supplierBankAccounts":[{"bankAccountNo":"1","name":"1"},{"bankAccountNo":"2","company":"200"}],"note":null}'
    )
    supplier, accounts = split_bank_accounts(body)
    assert supplier == b'{"company":"100","supplier":"V1","name":"A \\"b\\"","keyType":1,"rate":1.50,"note":null}'
    assert [orjson.loads(account) for account in accounts] == [
        {"company": "100", "supplier": "V1", "keyType": 1, "bankAccountNo": "1", "name": "1"},
        {"company": "200", "supplier": "V1", "keyType": 1, "bankAccountNo": "2"},
    ]


@pytest.mark.parametrize("accounts", [b"null", b"[]"])
def test_a_supplier_without_bank_accounts_has_none(accounts: bytes):
    assert split_bank_accounts(b'{"supplier":"1","supplierBankAccounts":' + accounts + b"}") == (b'{"supplier":"1"}', [])
    assert split_bank_accounts(b'{"supplier":"1"}') == (b'{"supplier":"1"}', [])


@pytest.mark.parametrize(
    "body", [b'{"supplierBankAccounts":[', b'{"supplierBankAccounts":{}}', b'["supplierBankAccounts"]', b'{"supplierBankAccounts":[1]}']
)
def test_a_supplier_that_cannot_be_split_is_poison(body: bytes):
    with pytest.raises(Poison):
        split_bank_accounts(body)


def test_each_row_gets_its_own_answer_whatever_the_order():
    said = results(0, 2, 0)
    said["results"].reverse()
    assert read_results(reply(said), 3) == [RowResult(0, "row 0"), RowResult(2, "row 1"), RowResult(0, "row 2")]


@pytest.mark.parametrize(
    "second",
    [
        None,
        {"index": 7, "resultCode": 0},
        {"index": "1", "resultCode": 0},
        {"index": 1},
        {"index": 1, "resultCode": "0"},
        {"index": 1, "resultCode": True},
        {"index": True, "resultCode": 0},
        {"index": 1.0, "resultCode": 0},
        {"index": 0, "resultCode": 0},
        "done",
    ],
)
def test_a_row_that_is_not_named_clearly_is_unanswered(second: Any):
    said = [{"index": 0, "resultCode": 0, "message": None}, second, {"index": 2, "resultCode": 1, "message": "no"}]
    found = read_results(reply({"results": [one for one in said if one is not None]}), 3)
    assert found[2] == RowResult(1, "no")
    assert isinstance(found[1].error, Transient)
    named_twice = second == {"index": 0, "resultCode": 0}
    assert found[0].accepted is not named_twice


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b"[]", b"null", b'"ok"', b"{}", b'{"results":null}', b'{"results":{}}', b'{"results":[{"index":0']
)
def test_what_is_no_list_of_results_is_never_taken_for_one(body: bytes):
    with pytest.raises(Transient) as raised:
        read_results(reply(body), 1)
    assert raised.value.code == "unreadable"


# -- writing


async def test_a_chunk_is_one_put():
    writer, http = registers()
    assert [result.accepted for result in await writer.write("Account", "100", bodies(500))] == [True] * 500
    ((method, url, data, token),) = http.sent
    assert (method, url, token) == ("PUT", f"{BASE}/account", "token-1")
    assert data == frame("Account", bodies(500))


async def test_more_than_500_rows_are_several_requests_in_order():
    def respond(data: bytes, _: str) -> Reply:
        items = orjson.loads(data)["createAccountRequests"]
        return reply(results(*[int(item["account"]) for item in items]))

    writer, http = registers(respond)
    assert [result.code for result in await writer.write("Account", "100", bodies(1001))] == list(range(1001))
    assert [len(orjson.loads(data)["createAccountRequests"]) for _, _, data, _ in http.sent] == [500, 500, 1]


async def test_nothing_to_write_is_nothing_sent():
    writer, http = registers()
    assert await writer.write("Supplier", "100", []) == []
    assert http.sent == http.asked == []


async def test_a_register_that_rest_does_not_have_is_refused_without_a_call():
    writer, http = registers()
    (result,) = await writer.write("Company", "100", bodies(1))
    assert isinstance(result.error, Permanent)
    assert http.sent == []


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (reply({"message": "createAccountRequests is required"}, 400), Permanent),
        (reply({"message": "role"}, 403), Auth),
        (reply(b"<html>", 404), Auth),
        (reply(b"", 302), Auth),
        (reply(b"", 429, Retry_After="3"), RateLimited),
        (reply(b"<html>", 502), Transient),
        (reply(b"<html>", 200), Transient),
    ],
)
async def test_what_one_call_meets_is_the_answer_of_its_rows(answered: Reply, expected: type[ConnectError]):
    writer, _ = registers(lambda *_: answered)
    found = await writer.write("Account", "100", bodies(3))
    assert [type(result.error) for result in found] == [expected] * 3


async def test_rows_after_being_told_to_wait_are_not_tried():
    writer, http = registers(lambda *_: reply(b"", 429, Retry_After="3"), tries=2)
    found = await writer.write("Account", "100", bodies(1200))
    assert len(found) == 1200
    assert all(isinstance(result.error, RateLimited) and result.error.retry_after_s == 3 for result in found)
    assert len(http.sent) == 2


async def test_prime_s_words_reach_the_reader():
    writer, _ = registers(lambda *_: reply({"message": "the body must be an object"}, 400))
    (result,) = await writer.write("Account", "100", bodies(1))
    assert result.error is not None
    assert "the body must be an object" in result.error.message


async def test_an_outage_is_tried_again():
    answers = [reply(b"", 502), reply(b"<html>"), reply(results(0))]
    writer, http = registers(lambda *_: answers.pop(0))
    assert (await writer.write("Account", "100", bodies(1)))[0].accepted
    assert len(http.sent) == 3


async def test_one_row_that_prime_cannot_read_condemns_no_other():
    def respond(data: bytes, token: str) -> Reply:
        return reply({"message": "not JSON"}, 400) if b'"account":"123"' in data else accept_all(data, token)

    writer, http = registers(respond)
    found = await writer.write("Account", "100", bodies(500))
    assert [at for at, result in enumerate(found) if not result.accepted] == [123]
    assert isinstance(found[123].error, Permanent)
    assert len(http.sent) == 19


async def test_one_row_at_which_prime_fails_condemns_no_other():
    def respond(data: bytes, token: str) -> Reply:
        return reply(b"<html>", 500) if b'"account":"123"' in data else accept_all(data, token)

    writer, _ = registers(respond, tries=1)
    found = await writer.write("Account", "100", bodies(500))
    assert [at for at, result in enumerate(found) if not result.accepted] == [123]
    assert type(found[123].error) is Transient


async def test_when_prime_fails_at_everything_the_halving_ends_soon():
    writer, http = registers(lambda *_: reply(b"<html>", 500), tries=1)
    found = await writer.write("Account", "100", bodies(500))
    assert all(type(result.error) is Transient for result in found)
    assert len(http.sent) < 30


async def test_when_prime_can_read_nothing_the_halving_ends():
    writer, http = registers(lambda *_: reply({"message": "unknown member"}, 400))
    found = await writer.write("Account", "100", bodies(500))
    assert len(found) == 500
    assert all(isinstance(result.error, Permanent) for result in found)
    assert len(http.sent) < 100


# -- suppliers


def suppliers() -> list[bytes]:
    return [
        orjson.dumps({"company": "100", "supplier": name, "supplierBankAccounts": [{"bankAccountNo": number} for number in numbers]})
        for name, numbers in {"none": [], "good": ["1", "2"], "refused": ["3"], "bad account": ["4", "5", "6"], "lost": ["7"]}.items()
    ]


async def test_bank_accounts_follow_their_accepted_suppliers_and_decide_for_them():
    asked: list[list[str]] = []

    def respond(data: bytes, _: str) -> Reply:
        (items,) = orjson.loads(data).values()
        if "createSupplierRequests" in orjson.loads(data):
            assert all("supplierBankAccounts" not in item for item in items)
            return reply(results(*[1 if item["supplier"] == "refused" else 0 for item in items]))
        asked.append([item["bankAccountNo"] for item in items])
        said = results(*[{"5": 1, "6": 2}.get(item["bankAccountNo"], 0) for item in items])
        said["results"] = [one for one in said["results"] if items[one["index"]]["bankAccountNo"] != "7"]
        return reply(said)

    writer, http = registers(respond)
    none, good, refused, bad_account, lost = await writer.write("Supplier", "100", suppliers())
    assert none.accepted
    assert good.accepted
    assert refused == RowResult(1, "row 2")
    assert bad_account == RowResult(1, "Bank account: row 3")
    assert isinstance(lost.error, Transient)
    assert asked == [["1", "2", "4", "5", "6", "7"]]
    assert [url for _, url, _, _ in http.sent] == [f"{BASE}/supplier", f"{BASE}/supplierbankaccount"]


async def test_a_supplier_that_cannot_be_read_only_costs_its_own_row():
    writer, _ = registers()
    found = await writer.write("Supplier", "100", [*suppliers()[:1], b'{"supplierBankAccounts":[', *suppliers()[1:2]])
    assert [result.accepted for result in found] == [True, False, True]
    assert isinstance(found[1].error, Poison)


@pytest.mark.parametrize(("code", "remove", "accepted"), [(3, 1, True), (3, 0, False), (1, 1, False)])
async def test_only_a_bank_account_to_be_removed_may_be_gone_already(code: int, remove: int, accepted: bool):
    def respond(data: bytes, token: str) -> Reply:
        return accept_all(data, token) if b"createSupplierRequests" in data else reply(results(code))

    body = orjson.dumps({"supplier": "1", "supplierBankAccounts": [{"bankAccountNo": "9", "remove": remove}]})
    writer, _ = registers(respond)
    (result,) = await writer.write("Supplier", "100", [body])
    assert result.accepted is accepted


async def test_suppliers_without_bank_accounts_are_sent_as_they_came():
    writer, http = registers()
    rows = [b'{ "supplier" : "1" }', b'{"supplier":"2"}']
    await writer.write("Supplier", "100", rows)
    assert [data for _, _, data, _ in http.sent] == [frame("Supplier", rows)]


# -- tokens


async def test_one_token_serves_all_callers_until_shortly_before_its_end():
    now = 0.0
    writer, http = registers(life_s=1000, clock=lambda: now)
    await asyncio.gather(*(writer.write("Account", "100", bodies(1)) for _ in range(5)))
    now = 930.0
    await writer.write("Account", "100", bodies(1))
    assert len(http.asked) == 2
    now = 941.0
    await asyncio.gather(*(writer.write("Account", "100", bodies(1)) for _ in range(5)))
    assert len(http.asked) == 4
    assert [token for *_, token in http.sent] == ["token-1"] * 6 + ["token-2"] * 5


async def test_a_refused_token_is_replaced_once_for_all_callers():
    def respond(data: bytes, token: str) -> Reply:
        return reply({"message": "expired"}, 401) if token == "token-1" else accept_all(data, token)

    writer, http = registers(respond)
    found = await asyncio.gather(*(writer.write("Account", "100", bodies(2)) for _ in range(6)))
    assert all(result.accepted for one in found for result in one)
    assert len(http.asked) == 4


async def test_a_new_token_that_is_refused_too_means_that_we_are_not_let_in():
    writer, http = registers(lambda *_: reply({"message": "expired"}, 401))
    (result,) = await writer.write("Account", "100", bodies(1))
    assert isinstance(result.error, Auth)
    assert len(http.sent) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("server", ["identity", "authorize"])
async def test_a_refused_log_in_says_what_to_check(server: str, status: int):
    writer, http = registers()
    setattr(http, server, reply({"error": "invalid_client", "error_description": "wrong"}, status))
    with pytest.raises(Auth, match="rest_client_secret" if server == "identity" else "rest_tenant"):
        await writer.check()
    (result,) = await writer.write("Account", "100", bodies(1))
    assert isinstance(result.error, Auth)
    assert http.sent == []


@pytest.mark.parametrize("answered", [b"[]", b"{}", b'{"access_token":"","accessToken":""}', b'{"access_token":5,"accessToken":5}'])
@pytest.mark.parametrize("server", ["identity", "authorize"])
async def test_an_answer_that_is_no_token_condemns_no_row(server: str, answered: bytes):
    writer, http = registers()
    setattr(http, server, reply(answered))
    (result,) = await writer.write("Account", "100", bodies(1))
    assert type(result.error) is Transient
    assert http.sent == []


@pytest.mark.parametrize(("server", "keys"), [("identity", "rest_identity_url"), ("authorize", "rest_url")])
async def test_a_web_page_in_place_of_a_token_is_said_at_once_and_the_jobs_wait(server: str, keys: str):
    writer, http = registers()
    setattr(http, server, reply(b"<!DOCTYPE html><title>Sign in</title>"))
    (result,) = await writer.write("Account", "100", bodies(1))
    assert isinstance(result.error, Auth), "not tried again for minutes: the stage rests, and status says why"
    assert "web page" in result.error.message
    assert keys in result.error.message
    assert http.sent == []


async def test_the_check_logs_in_anew():
    writer, http = registers()
    assert await writer.check() == ("", None)
    assert await writer.check() == ("", None)
    assert len(http.asked) == 4


async def test_a_call_that_must_not_be_repeated_is_sent_once():
    http = FakeHttp(lambda *_: reply(b"", 502))
    with pytest.raises(OutcomeUnknown):
        await PrimeRest(http, ACCESS, sleep=at_once).call("POST", "/payment/export", b"{}", lambda one: one, safe=False)  # type: ignore[arg-type]
    assert len(http.sent) == 1


async def test_secret_and_tokens_stay_out_of_everything_that_is_kept():
    echoes: list[Respond] = [
        lambda data, token: reply({"message": f"{token} {SECRET} is odd"}, 400),
        lambda data, token: reply(f"<html>{token} client%2Fsecret%2B1 {SECRET}</html>".encode(), 502),
        lambda data, token: reply(f"<html>{token} {SECRET}</html>".encode()),
        lambda data, token: reply({"results": [{"index": 0, "resultCode": 1, "message": f"{token} {SECRET}"}]}),
        lambda data, token: reply({"results": [], "token": f"{token} identity-1 {SECRET}"}),
        lambda data, token: reply({"message": f"{token} {SECRET}"}, 401),
    ]
    for echo in echoes:
        writer, _ = registers(echo, tries=1)
        (result,) = await writer.write("Account", "100", bodies(1))
        error = result.error
        kept = [result.message, *([str(error), repr(error), error.message, error.detail] if error else [])]
        for text in kept:
            assert not any(secret in text for secret in (SECRET, "client%2Fsecret%2B1", "token-1", "token-2", "identity-1"))
        assert any("***" in text for text in kept)
    assert SECRET not in repr(ACCESS)
    assert "token-" not in repr(writer.rest) + repr(vars(writer))


async def test_a_log_in_that_repeats_the_secret_does_not_spread_it():
    writer, http = registers(tries=1)
    http.authorize = reply({"message": f"identity-1 for {SECRET} is unknown"}, 403)
    (result,) = await writer.write("Account", "100", bodies(1))
    assert result.error is not None
    assert "***" in result.error.message
    assert SECRET not in result.error.message
    assert "identity-1" not in result.error.message
