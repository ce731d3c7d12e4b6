"""Sage on loopback, as a client meets it: tokens, versions, entities, slots, records, and replies in the recorded shapes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from connect.sandbox.kernel import Kernel
from connect.sandbox.sage import SageSimulator

API = "/ia/api/v1"
VENDOR = "accounts-payable/vendor"
QUERY = f"{API}/services/core/query"
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "reference" / "sage-recorded"


class Sage:
    """The simulator behind its middleware, a client, and a token."""

    def __init__(self, sim: SageSimulator, client: TestClient) -> None:
        self.sim, self.client, self.token = sim, client, ""

    async def sign_in(self, username: str = "") -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.sim.client_id,
            "client_secret": self.sim.client_secret,
            "username": username or self.sim.username,
        }
        async with self.client.post(f"{API}/oauth2/token", data=form) as answer:
            assert answer.status == 200
            self.token = (await answer.json())["access_token"]

    async def call(self, method: str, path: str, body=None, **headers: str):
        """(status, JSON, headers)."""
        sent = {"Authorization": f"Bearer {self.token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.client.request(method, path, data=data, headers=sent) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw), answer.headers

    def put(self, name: str, key: int, entity: int | None = None, /, **row) -> None:
        self.sim.store.table(name).put(key, row, entity)


@pytest.fixture
async def sage():
    kernel = Kernel()
    sim = SageSimulator(kernel, slots=2)
    app = web.Application(middlewares=[kernel.middleware("sage", sim)], client_max_size=64 * 1024 * 1024)
    app.router.add_routes(sim.routes)
    async with TestClient(TestServer(app)) as client:
        found = Sage(sim, client)
        await found.sign_in()
        for key in range(1, 4):
            found.put(VENDOR, key, id=f"V{key}", name=f"Vendor {key}")
        yield found


def error_of(body):
    return body["ia::result"]["ia::error"] if "ia::result" in body else body.get("ia::error") or body["error"]


async def test_a_query_is_answered(sage):
    status, body, headers = await sage.call("POST", QUERY, {"object": VENDOR, "fields": ["key", "name"], "size": 2})
    assert status == 200
    assert body["ia::result"] == [{"key": "1", "name": "Vendor 1"}, {"key": "2", "name": "Vendor 2"}]
    assert body["ia::meta"] == {"totalCount": 3, "start": 1, "pageSize": 2, "next": 3, "previous": None}
    assert headers["Content-Type"] == "application/json"
    assert headers["X-IA-Throttle-Limit"] == "2"


async def test_any_version_is_let_in_that_looks_like_one(sage):
    query = {"object": VENDOR, "fields": ["key"]}
    assert (await sage.call("POST", "/ia/api/v2/services/core/query", query))[0] == 200
    status, body, _ = await sage.call("POST", "/ia/api/beta/services/core/query", query)
    assert (status, error_of(body)["message"]) == (400, "Version is not supported.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{API}/nothing/here", 404),
        ("GET", f"{API}/objects/accounts-payable/nothing", 404),
        ("GET", f"{API}/objects/{VENDOR}/99", 404),
        ("PUT", f"{API}/objects/{VENDOR}/1", 405),
        ("GET", QUERY, 405),
    ],
)
async def test_what_is_not_there_is_told_in_sages_shape(sage, method, path, status):
    found, body, _ = await sage.call(method, path)
    assert found == status
    assert body["ia::meta"] == {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
    assert error_of(body)["message"]


async def test_an_unknown_oauth_path_is_the_gateways_matter(sage):
    status, body, _ = await sage.call("POST", f"{API}/oauth2/tokens")
    assert (status, body["ia::error"]["code"]) == (404, "GW-0033")


async def test_an_expired_token_is_refused_until_a_new_one_is_fetched(sage):
    sage.sim.expire_tokens()
    query = {"object": VENDOR, "fields": ["key"]}
    status, body, _ = await sage.call("POST", QUERY, query)
    assert (status, body["error"]["errorId"]) == (401, "REST-2102")
    sage.sim.settings(expired_token_status=400)
    assert (await sage.call("POST", QUERY, query))[0] == 400
    await sage.sign_in()
    assert (await sage.call("POST", QUERY, query))[0] == 200
    assert sage.sim.stats.token_requests == 2


async def test_the_entity_header_narrows_one_call(sage):
    sage.put("company-config/entity", 1, id="E1", name="One")
    sage.put("company-config/entity", 2, id="E2", name="Two")
    sage.put(VENDOR, 9, 1, id="V9", name="private")
    query = {"object": VENDOR, "fields": ["key"], "filters": [{"$eq": {"key": "9"}}]}
    assert (await sage.call("POST", QUERY, query))[1]["ia::result"] == []
    assert (await sage.call("POST", QUERY, query, X_IA_API_Param_Entity="E1"))[1]["ia::result"] == [{"key": "9"}]
    assert (await sage.call("POST", QUERY, query, X_IA_API_Param_Entity="E2"))[1]["ia::result"] == []
    assert (await sage.call("POST", QUERY, query, X_IA_API_Param_Entity="E3"))[0] == 400
    assert (await sage.call("GET", f"{API}/objects/{VENDOR}/9", X_IA_API_Param_Entity="E2"))[0] == 404
    await sage.sign_in("rillion@acme|E1")
    assert (await sage.call("POST", QUERY, query))[1]["ia::result"] == [{"key": "9"}]
    assert (await sage.call("POST", QUERY, query, X_IA_API_Param_Entity="E2"))[0] == 403


async def test_more_requests_than_slots_are_throttled_and_tokens_take_none(sage):
    sage.sim.kernel.latency_ms["sage"] = 50
    query = {"object": VENDOR, "fields": ["key"]}
    answers = await asyncio.gather(*(sage.call("POST", QUERY, query) for _ in range(5)), sage.sign_in())
    statuses = sorted(answer[0] for answer in answers if answer is not None)
    assert statuses == [200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer is not None and answer[0] == 429)
    assert refused[1]["ia::error"]["code"] == "GW-0010"
    assert refused[2]["X-IA-Throttle-Retry-After"] == "1"
    assert refused[2]["X-IA-Throttle-Limit"] == "2"
    assert (sage.sim.stats.throttled, sage.sim.stats.in_flight_max, sage.sim.stats.in_flight) == (3, 2, 0)


async def test_a_body_over_the_limit_is_refused(sage):
    sage.sim.settings(body_limit_bytes=1000)
    status, body, _ = await sage.call("POST", QUERY, b" " * 1001)
    assert status == 413
    assert "1000 bytes" in body["ia::error"]["message"]


async def test_calls_are_counted_under_the_names_that_faults_use(sage):
    await sage.call("POST", QUERY, {"object": VENDOR, "fields": ["key"]})
    await sage.call("GET", f"{API}/objects/{VENDOR}")
    await sage.call("GET", f"{API}/objects/{VENDOR}/1")
    assert dict(sage.sim.stats.calls) == {
        "POST /oauth2/token": 1,
        "POST /services/core/query": 1,
        f"GET /objects/{VENDOR}": 1,
        f"GET /objects/{VENDOR}/{{key}}": 1,
    }
    assert sage.sim.stats.transactions == 3


async def test_several_keys_are_read_at_once(sage):
    status, body, _ = await sage.call("GET", f"{API}/objects/{VENDOR}/1,99")
    assert status == 207
    assert (body["ia::result"][0]["id"], body["ia::result"][0]["ia::status"]) == ("V1", 200)
    assert body["ia::result"][1]["ia::status"] == 404
    assert body["ia::meta"] == {"totalCount": 2, "totalSuccess": 1, "totalError": 1}


async def test_dimension_totals_are_texts_as_sage_sends_them(sage):
    _, body, _ = await sage.call("GET", f"{API}/services/company-config/dimensions/list")
    assert body["ia::meta"] == {"totalCount": "14", "totalSuccess": "14", "totalError": "0"}


def shape(value):
    """Names and kinds of values: what a reply looks like."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "text" if isinstance(value, str) else "none" if value is None else "flag" if isinstance(value, bool) else "number"


def recorded(name: str):
    if not RECORDED.is_dir():
        pytest.skip("the recorded replies are not on this machine")
    return orjson.loads((RECORDED / name).read_bytes())


async def test_a_plain_list_has_the_recorded_shape(sage):
    sage.put("general-ledger/account", 1, id="1000", name="Cash")
    sage.put("accounts-receivable/customer", 1, id="CUST001", name="Customer")
    for name, path in (("accounts", "general-ledger/account"), ("customers", "accounts-receivable/customer")):
        _, body, _ = await sage.call("GET", f"{API}/objects/{path}")
        assert shape(body) == shape(recorded(f"amp-list-{name}.json"))


async def test_an_empty_list_has_the_recorded_shape(sage):
    _, body, _ = await sage.call("GET", f"{API}/objects/general-ledger/account")
    assert body == recorded("amp-list-accounts-empty.json")


async def test_a_query_page_has_the_recorded_shape(sage):
    _, body, _ = await sage.call("POST", QUERY, {"object": VENDOR, "fields": ["key", "id", "href"]})
    assert shape(body) == shape(recorded("amp-query-budget.json"))


async def test_the_model_of_an_unknown_object_is_the_recorded_one(sage):
    status, body, _ = await sage.call("GET", f"{API}/services/core/model?name=objects/nothing/at-all")
    assert status == 200
    assert body == recorded("amp-model-unknown-object-200-empty.json")


PARTS = {"fields", "groups", "refs", "lists"}


def parts_of(model, where=""):
    """(place, kind of part) of every field, group, reference and list of a model."""
    for part in PARTS & model.keys():
        inner = model[part]
        if not isinstance(inner, dict):
            continue
        for name, node in inner.items():
            yield f"{where}{name}", part
            if part != "fields":
                yield from parts_of(node, f"{where}{name}.")


@pytest.mark.parametrize("name", ["accounts-payable/bill", "company-config/user"])
async def test_a_model_has_the_recorded_shape(sage, name):
    theirs = recorded(f"amp-model-{name.replace('/', '-')}.json")
    _, body, _ = await sage.call("GET", f"{API}/services/core/model?name={name}")
    ours = body["ia::result"]
    assert shape(body["ia::meta"]) == shape(theirs["ia::meta"])
    assert ours.keys() <= recorded("amp-model-accounts-payable-bill.json")["ia::result"].keys()
    assert PARTS | {"httpMethods", "idempotenceSupported"} <= ours.keys()
    known = dict(parts_of(theirs["ia::result"]))
    assert {place: known[place] for place, _ in parts_of(ours) if place in known} == {
        place: part for place, part in parts_of(ours) if place in known
    }
    for field, entry in theirs["ia::result"]["fields"].items():
        if field in ours["fields"]:
            assert entry.keys() - {"default", "enum", "format"} == ours["fields"][field].keys() - {"default", "enum", "format"}
            assert shape(entry["type"]) == shape(ours["fields"][field]["type"])


async def test_an_error_has_the_recorded_shape(sage):
    _, body, _ = await sage.call("POST", QUERY, {"object": VENDOR, "fields": ["nope"]})
    theirs, ours = recorded("fyle-journal-entry-post-error.json"), body
    assert shape(ours["ia::meta"]) == shape(theirs["ia::meta"])
    assert error_of(ours).keys() == error_of(theirs).keys()
    assert error_of(ours)["additionalInfo"].keys() == error_of(theirs)["additionalInfo"].keys()
    assert error_of(theirs)["details"][0].keys() <= error_of(ours)["details"][0].keys()


async def test_a_bad_token_has_the_recorded_shape(sage):
    sage.sim.expire_tokens()
    _, body, _ = await sage.call("POST", QUERY, {"object": VENDOR, "fields": ["key"]})
    assert shape(body) == shape(recorded("nango-token-invalid.json"))
