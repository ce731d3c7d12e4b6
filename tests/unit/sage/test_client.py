"""The Sage client: a slot and a token for every call, 429 holds everybody, a rejected token is replaced, rubbish is asked for again."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import orjson
import pytest

from connect.errors import Auth, ConnectError, Permanent, Poison, RateLimited, Transient
from connect.http import Reply
from connect.sage import client as module
from connect.sage.auth import SageAccess
from connect.sage.client import LONGEST_THROTTLE_S, SageClient
from connect.sage.query import Query

ACCESS = SageAccess("https://s/token", "https://s/ia/api", "https://s/query", "v1", "app", "secret", "user@acme")
QUERY = Query("accounts-payable/vendor", ("key", "id"))
PAGE = {"ia::result": [{"key": "7"}], "ia::meta": {"totalCount": 1, "next": None}}


def reply(body=PAGE, status=200, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, names, body if isinstance(body, bytes) else orjson.dumps(body), 1.0)


class World:
    """Everything that a client needs, noting what happens in which order."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.events: list[str] = []
        self.asked: list[tuple[str, str, dict]] = []
        self.lanes: list[str] = []
        self.tokens = 0
        self.held = 0
        self.noted = []
        self.client = SageClient(self, self, self, self, ACCESS)

    @asynccontextmanager
    async def lease(self, lane):
        self.lanes.append(lane)
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            self.events.append("released")

    async def pause(self, seconds):
        self.events.append(f"pause {seconds:g}")
        assert self.held == 1

    async def get(self, rejected=None):
        if rejected is not None:
            self.events.append(f"rejected {rejected}")
        self.tokens += self.tokens == 0 or rejected is not None
        return f"T{self.tokens}"

    async def exchange(self, method, url, **options):
        assert self.held == 1
        self.asked.append((method, url, options))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ConnectError):
            raise answer
        return answer

    def unanswered(self, operation):
        self.noted.append((operation, "unanswered"))

    async def note(self, operation, *, transactions=1):
        assert self.held == 0
        self.noted.append((operation, transactions))

    @property
    def headers(self):
        return [options["headers"] for _, _, options in self.asked]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    real = module.retry

    async def at_once(_):
        pass

    monkeypatch.setattr(module, "retry", lambda action: real(action, sleep=at_once))


async def test_a_query_goes_in_a_slot_with_a_token_and_is_counted():
    world, calls = World(reply()), Counter()
    page = await world.client.query(QUERY, calls=calls)
    assert page.rows() == [(7, b'{"key":"7"}')]
    ((method, url, options),) = world.asked
    assert (method, url, options["data"]) == ("POST", "https://s/query", QUERY.body())
    assert options["headers"]["Authorization"] == "Bearer T1"
    assert "X-IA-API-Param-Entity" not in options["headers"]
    assert (calls, world.noted) == ({"accounts-payable/vendor": 1}, [("POST accounts-payable/vendor", 1)])
    assert world.lanes == ["registers"]


async def test_an_entity_narrows_the_call_and_documents_have_a_lane_of_their_own():
    world = World(reply())
    client = SageClient(world, world, world, world, ACCESS, lane="documents")
    await client.query(QUERY, entity="E100")
    assert world.headers[0]["X-IA-API-Param-Entity"] == "E100"
    assert world.lanes == ["documents"]


async def test_a_429_pauses_the_company_for_what_the_headers_say_before_the_slot_is_free():
    world, calls = World(reply(b"", 429, X_IA_Throttle_Retry_After="7"), reply(b"", 429, RetryAfter="90"), reply()), Counter()
    await world.client.query(QUERY, calls=calls)
    assert world.events == ["pause 7", "released", "pause 90", "released", "released"]
    assert calls.total() == 3
    assert [transactions for _, transactions in world.noted] == [0, 0, 1]


async def test_429s_that_say_nothing_pause_longer_and_longer():
    world = World(*[reply(b"", 429)] * 7, reply())
    await world.client.query(QUERY)
    assert [event for event in world.events if event != "released"] == [f"pause {seconds}" for seconds in (1, 2, 4, 8, 16, 16, 16)]


async def test_a_company_that_is_throttled_for_too_long_gives_the_job_back():
    world = World(reply(b"", 429, Retry_After="100"))
    with pytest.raises(RateLimited):
        await world.client.query(QUERY)
    assert len(world.asked) == LONGEST_THROTTLE_S // 100 + 1


@pytest.mark.parametrize(
    "refusal",
    [
        reply({"error": {"errorId": "REST-2102", "message": "Token is not valid"}}, 401),
        reply({"ia::error": {"code": "GW-0031", "message": "Invalid Token", "details": {}}}, 401),
        reply(b"The token is not valid", 400),
    ],
)
async def test_a_rejected_token_is_replaced_by_another_and_never_used_again(refusal):
    world = World(refusal, reply())
    await world.client.query(QUERY)
    assert [headers["Authorization"] for headers in world.headers] == ["Bearer T1", "Bearer T2"]
    assert "rejected T1" in world.events


async def test_fresh_tokens_refused_again_and_again_stop_and_say_who():
    world = World(reply({"error": {"errorId": "REST-2102", "message": "Token is not valid"}}, 401))
    with pytest.raises(Auth, match="every token of user@acme"):
        await world.client.query(QUERY)
    assert len(world.asked) == 3


async def test_an_object_that_the_user_may_not_read_is_one_jobs_trouble_and_asks_for_no_other_token():
    world = World(reply({"ia::error": {"code": "forbidden", "message": "No permission"}}, 403))
    with pytest.raises(Permanent, match=r"accounts-payable/vendor: .*role of the web service user"):
        await world.client.query(QUERY)
    assert (len(world.asked), world.tokens) == (1, 1)


@pytest.mark.parametrize(
    "rubbish",
    [b"<html>hello</html>", b"", b'{"ia::result":[{"key":"7"', b'{"ia::result":{}}', b"x" * 10_000_000],
    ids=lambda raw: repr(raw[:20]),
)
async def test_an_answer_that_is_no_page_is_asked_for_again(rubbish):
    world = World(reply(rubbish), reply(rubbish), reply())
    assert (await world.client.query(QUERY)).total_count == 1
    with pytest.raises(Transient, match="no page of rows"):
        await World(reply(rubbish)).client.query(QUERY)


@pytest.mark.parametrize("trouble", [reply(b"", 500), reply(b"", 502), reply(b"", 503), Transient("reset")])
async def test_trouble_is_tried_five_times(trouble):
    world = World(trouble, trouble, reply())
    await world.client.query(QUERY)
    world = World(trouble)
    with pytest.raises(Transient):
        await world.client.query(QUERY)
    assert len(world.asked) == 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply({"ia::result": {"ia::error": {"errorId": "REST-1064", "message": "x", "details": []}}}, 400), Permanent),
        (reply({"ia::result": {"ia::error": {"errorId": "REST-1064", "message": "x"}}}, 200), Permanent),
        (reply(b"<html>", 404), Permanent),
        (reply(b"", 302), Permanent),
        (Poison("more than 64 MB", code="too_big"), Poison),
    ],
)
async def test_what_is_refused_for_good_is_asked_once(answer, error):
    world, calls = World(answer), Counter()
    with pytest.raises(error):
        await world.client.query(QUERY, calls=calls)
    assert (len(world.asked), calls.total()) == (1, 1)


async def test_a_small_read_follows_its_pages_and_gives_every_row_once_in_key_order():
    def page(keys, after):
        return reply({"ia::result": [{"key": str(key)} for key in keys], "ia::meta": {"totalCount": 5, "next": after}})

    world = World(page([9, 3], 3), page([3, 4], 5), page([1], None))
    found = await world.client.query_rows("a/b", ("key",), ({"$in": {"key": ["1"]}},))
    assert [key for key, _ in found] == [1, 3, 4, 9]
    assert [orjson.loads(options["data"])["start"] for _, _, options in world.asked] == [1, 3, 5]


async def test_pages_that_go_round_in_circles_end():
    world = World(reply({"ia::result": [], "ia::meta": {"totalCount": 5, "next": 1}}))
    with pytest.raises(Poison, match="circles"):
        await world.client.query_rows("a/b", ("key",))


async def test_the_dimension_list_is_read_with_its_texts_for_truth():
    row = {"dimensionName": "DEPARTMENT", "dimensionLabel": "Dept", "isUserDefinedDimension": "false", "isEnabledInGL": "true"}
    own = {
        "dimensionName": "region",
        "isUserDefinedDimension": True,
        "isEnabledInGL": False,
        "dimensionEndpoint": "platform-apps/nsp::region",
    }
    world = World(reply({"ia::result": [row, own], "ia::meta": {"totalCount": "2"}}))
    department, region = await world.client.dimensions()
    assert (department.name, department.label, department.is_user_defined, department.is_enabled) == ("DEPARTMENT", "Dept", False, True)
    assert (region.label, region.endpoint, region.is_user_defined, region.is_enabled) == (
        "region",
        "platform-apps/nsp::region",
        True,
        False,
    )
    assert world.asked[0][:2] == ("GET", "https://s/ia/api/v1/services/company-config/dimensions/list")


@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b'{"ia::result":{"a":1}}', b'{"ia::result":["x"]}', b'{"ia::result":[{}]}'])
async def test_a_dimension_list_that_cannot_be_read_is_asked_for_again(body):
    world = World(reply(body))
    with pytest.raises(Transient, match="cannot be read"):
        await world.client.dimensions()
    assert len(world.asked) == 5
