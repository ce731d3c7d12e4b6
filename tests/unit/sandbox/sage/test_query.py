"""The query service: what it selects, how it pages, what it refuses, and that nothing stale is ever answered."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from connect.sandbox.sage.errors import SageError
from connect.sandbox.sage.query import KEPT_PLANS, Queries

VENDOR = "accounts-payable/vendor"
EVERYTHING = list(range(1, 13))

OPERATORS: list[tuple[dict[str, Any], list[int]]] = [
    ({"$eq": {"status": "inactive"}}, [2, 4, 6, 8, 10, 12]),
    ({"$eq": {"taxId": None}}, [1, 2]),
    ({"$ne": {"taxId": None}}, list(range(3, 13))),
    ({"$ne": {"status": "active"}}, [2, 4, 6, 8, 10, 12]),
    ({"$eq": {"isOnHold": True}}, [3]),
    ({"$eq": {"isOnHold": "true"}}, [3]),
    ({"$eq": {"key": "10"}}, [10]),
    ({"$eq": {"id": "V10"}}, [10]),
    ({"$eq": {"id": "v10"}}, []),
    ({"$lt": {"key": "3"}}, [1, 2]),
    ({"$lte": {"key": 3}}, [1, 2, 3]),
    ({"$gt": {"key": "9"}}, [10, 11, 12]),
    ({"$gte": {"key": "9"}}, [9, 10, 11, 12]),
    ({"$between": {"key": ["9", "11"]}}, [9, 10, 11]),
    ({"$notBetween": {"key": ["2", "11"]}}, [1, 12]),
    ({"$in": {"key": ["12", "1", "99"]}}, [1, 12]),
    ({"$in": {"id": ["V12", "V1", "V99"]}}, [1, 12]),
    ({"$notIn": {"key": [str(key) for key in range(2, 13)]}}, [1]),
    ({"$in": {"taxId": [None, "SE3"]}}, [1, 2, 3]),
    ({"$has": {"status": ["inactive"]}}, [2, 4, 6, 8, 10, 12]),
    ({"$contains": {"name": "eta"}}, [2, 6, 8]),
    ({"$notContains": {"name": "a"}}, [5, 12]),
    ({"$startsWith": {"name": "Ga"}}, [3]),
    ({"$notStartsWith": {"id": "V1"}}, list(range(2, 10))),
    ({"$endsWith": {"name": "pha"}}, [1]),
    ({"$notEndsWith": {"name": "a"}}, [5, 12]),
    ({"$gt": {"totalDue": "9.50"}}, [10, 11, 12]),
    ({"$lte": {"totalDue": 2.5}}, [1, 2]),
    ({"$gte": {"audit.modifiedDateTime": "2026-11-11T10:00:00Z"}}, [11, 12]),
    ({"$gt": {"audit.modifiedDateTime": "2026-11-11T11:00:00+01:00"}}, [12]),
    ({"$eq": {"lastBillCreatedDate": "2026-10-04"}}, [4]),
    ({"$eq": {"lastBillCreatedDate": "priorMonth"}}, EVERYTHING),
    ({"$lt": {"lastBillCreatedDate": "currentMonth"}}, EVERYTHING),
    ({"$eq": {"audit.modifiedDateTime": "today"}}, []),
    ({"$eq": {"term.id": "N60"}}, list(range(7, 13))),
    ({"$eq": {"term.key": "1"}}, list(range(1, 7))),
]


@pytest.mark.parametrize(("one", "expected"), OPERATORS, ids=[str(one) for one, _ in OPERATORS])
def test_each_operator_selects_the_rows_that_it_names(vendors, one, expected):
    assert vendors.keys(filters=[one]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [9]),
        ("and", [9]),
        ("or", [1, 3, 5, 7, 8, 9, 10, 11, 12]),
        ("1 and 2", [9, 11]),
        ("(1 and 2) or 3", [8, 9, 11]),
        ("1 and (2 or 3)", [9, 11]),
        ("3 or 1 and 2", [8, 9, 11]),
    ],
)
def test_an_expression_combines_filters_by_their_numbers(vendors, text, expected):
    filters = [{"$eq": {"status": "active"}}, {"$gt": {"key": "8"}}, {"$between": {"key": ["8", "9"]}}]
    assert vendors.keys(filters=filters, filterExpression=text) == expected


def test_upper_and_lower_case_differ_unless_told_otherwise(vendors):
    assert vendors.keys(filters=[{"$startsWith": {"name": "D"}}]) == []
    loose = {"caseSensitiveComparison": False}
    assert vendors.keys(filters=[{"$startsWith": {"name": "D"}}], filterParameters=loose) == [4]
    assert vendors.keys(filters=[{"$eq": {"id": "v10"}}], filterParameters=loose) == [10]


def test_empty_parts_are_as_good_as_none(vendors):
    page = vendors.ask(filters=[], filterExpression=None, filterParameters={}, orderBy=[], start=None, size=None)
    assert page["ia::meta"] == {"totalCount": 12, "start": 1, "pageSize": 100, "next": None, "previous": None}


def test_pages_tell_where_the_next_and_the_last_one_start(vendors):
    metas = [vendors.ask(start=start, size=5)["ia::meta"] for start in (1, 6, 11)]
    assert [(meta["next"], meta["previous"]) for meta in metas] == [(6, None), (11, 1), (None, 6)]
    assert vendors.keys(start=11, size=5) == [11, 12]
    assert vendors.keys(start=13, size=5) == []
    assert vendors.ask(start=8, size=5)["ia::meta"]["next"] is None


def test_rows_hold_flat_names_in_the_order_asked(vendors):
    fields = ["key", "term.key", "id", "taxId", "defaultExpenseGLAccount.id", "isOneTimeUse", "href"]
    _, page = vendors.sim.queries.answer(orjson.dumps({"object": VENDOR, "fields": fields, "size": 1}), None)
    row = b'{"key":"1","term.key":"1","id":"V1","taxId":null,"defaultExpenseGLAccount.id":null,"isOneTimeUse":false,'
    assert page.startswith(b'{"ia::result":[' + row + b'"href":"/objects/accounts-payable/vendor/1"}],"ia::meta":{')


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([{"key": "desc"}], [12, 11, 10]),
        ([{"name": "asc"}], [1, 5, 7]),
        ([{"status": "desc"}, {"key": "desc"}], [12, 10, 8]),
        ([{"totalDue": "desc"}], [12, 11, 10]),
        ([{"taxId": "asc"}], [10, 11, 12]),
        ([{"audit.modifiedDateTime": "desc"}], [12, 11, 10]),
        ([{"term.id": "desc"}, {"key": "asc"}], [7, 8, 9]),
    ],
)
def test_orders(vendors, order, expected):
    assert vendors.keys(orderBy=order, size=3) == expected


def test_a_range_backwards_pages_from_its_end(vendors):
    filters = [{"$gt": {"key": "2"}}, {"$lte": {"key": "11"}}]
    assert vendors.keys(filters=filters, orderBy=[{"key": "desc"}], size=3) == [11, 10, 9]
    assert vendors.keys(filters=filters, orderBy=[{"key": "desc"}], start=7, size=5) == [5, 4, 3]
    assert vendors.ask(filters=filters)["ia::meta"]["totalCount"] == 9


def test_keys_are_texts_for_a_sage_that_compares_them_so(vendors):
    vendors.sim.settings(key_order="text")
    assert vendors.keys(orderBy=[{"key": "asc"}], size=5) == [1, 10, 11, 12, 2]
    assert vendors.keys(filters=[{"$gt": {"key": "2"}}]) == [3, 4, 5, 6, 7, 8, 9]
    assert vendors.keys(filters=[{"$gt": {"key": "1"}}, {"$lte": {"key": "2"}}, {"$eq": {"status": "inactive"}}]) == [10, 12, 2]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"fields": ["key", "newDate"]}, "/newDate is not a valid field"),
    ({"fields": ["vendorBankFileSetup"]}, "/vendorBankFileSetup is not a valid field"),
    ({"fields": ["term.due.days"]}, "/term.due.days is not a valid field"),
    ({"object": "accounts-payable/payment", "fields": ["paymentDate"]}, "/paymentDate is not a valid field"),
    ({"fields": []}, "fields must be"),
    ({"fields": None}, "fields must be"),
    ({"object": "accounts-payable/vandor"}, "not a valid object"),
    ({"object": None}, "object is required"),
    ({"filters": [{"$eq": {"nonsense": 1}}]}, "/nonsense is not a valid field"),
    ({"filters": [{"$eq": {"href": "x"}}]}, "/href is not a valid field"),
    ({"orderBy": [{"href": "asc"}]}, "/href is not a valid field"),
    ({"filters": [{"$like": {"name": "x"}}]}, "$like is not a valid operator"),
    ({"filters": [{"field": "name", "operator": "$eq", "value": "x"}]}, "a filter looks like"),
    ({"filters": [{"$contains": {"audit.modifiedDateTime": "2026"}}]}, "not for dates"),
    ({"filters": [{"$gt": {"key": "abc"}}]}, "not a key"),
    ({"filters": [{"$gt": {"status": None}}]}, "needs a value"),
    ({"filters": [{"$eq": {"status": "active"}}], "filterExpression": "1 and 2"}, "names filter 2"),
    ({"filters": [{"$eq": {"status": "active"}}], "filterExpression": "(1"}, "closing parenthesis"),
    ({"filterParameters": {"includeAll": True}}, "/filterParameters/includeAll is not a valid field"),
    ({"filterParameters": {"includePrivate": "yes"}}, "not a boolean"),
    ({"filterParameters": {"asOfDate": "tomorrow"}}, "not a date"),
    ({"orderBy": [{"name": "up"}]}, "an order looks like"),
    ({"size": 4001}, "size must be"),
    ({"start": 0}, "start must be"),
    ({"feilds": ["key"]}, "/feilds is not a valid field"),
    ({"object": "company-config/contact", "filters": [{"$gte": {"audit.modifiedDateTime": "2026-11-01T00:00:00Z"}}]}, "not a valid field"),
]


@pytest.mark.parametrize(("query", "words"), REFUSED, ids=[str(query) for query, _ in REFUSED])
def test_what_sage_cannot_answer_is_refused_and_named(vendors, query, words):
    with pytest.raises(SageError) as caught:
        vendors.ask(**query)
    assert caught.value.status == 400
    assert caught.value.error["errorId"] == "REST-1064"
    assert any(words in row["message"] for row in caught.value.error["details"])


def test_an_unknown_field_carries_its_target(vendors):
    with pytest.raises(SageError) as caught:
        vendors.ask(fields=["key", "newDate"])
    row = caught.value.error["details"][0]
    assert (row["errorId"], row["code"], row["target"]) == ("REST-1043", "invalidRequest", "/newDate")


def test_an_empty_body_needs_a_payload(world):
    with pytest.raises(SageError) as caught:
        world.sim.queries.answer(b"", None)
    assert caught.value.error["errorId"] == "REST-1028"


@pytest.fixture
def entities(vendors):
    """Vendor 20 belongs to entity 1, vendor 21 to entity 2."""
    vendors.put("company-config/entity", 1, id="E1", name="One")
    vendors.put("company-config/entity", 2, id="E2", name="Two")
    vendors.put(VENDOR, 20, 1, id="V20", name="one's own")
    vendors.put(VENDOR, 21, 2, id="V21", name="two's own")
    return vendors


@pytest.mark.parametrize(
    ("scope", "private", "expected"),
    [(None, False, []), (None, True, [20, 21]), (1, False, [20]), (1, True, [20]), (2, False, [21])],
)
def test_private_rows_show_to_their_entity_and_to_who_asks_at_the_top(entities, scope, private, expected):
    filters = [{"$gt": {"key": "12"}}]
    assert entities.keys(scope, filters=filters, filterParameters={"includePrivate": private}) == expected
    assert entities.keys(scope, filters=[{"$in": {"id": ["V20", "V21"]}}], filterParameters={"includePrivate": private}) == expected


def test_a_changed_row_shows_in_the_next_page(vendors):
    assert vendors.ask(fields=["key", "name"])["ia::result"][0]["name"] == "Alpha"
    vendors.put(VENDOR, 1, id="V1", name="Omega")
    assert vendors.ask(fields=["key", "name"])["ia::result"][0]["name"] == "Omega"


def test_new_and_deleted_rows_show_in_the_next_page(vendors):
    assert vendors.keys() == EVERYTHING
    vendors.put(VENDOR, 13, id="V13", name="nu")
    vendors.sim.store.table(VENDOR).delete(1)
    assert vendors.keys() == list(range(2, 14))


def test_a_changed_name_behind_a_reference_shows_in_the_next_page(vendors):
    vendors.put(VENDOR, 13, id="V13", name="nu", defaultExpenseGLAccount__key="7")
    query = {"fields": ["key", "defaultExpenseGLAccount.name"], "filters": [{"$eq": {"key": "13"}}]}
    assert vendors.ask(**query)["ia::result"] == [{"key": "13", "defaultExpenseGLAccount.name": "Rent"}]
    vendors.put("general-ledger/account", 7, id="6000", name="Premises")
    assert vendors.ask(**query)["ia::result"] == [{"key": "13", "defaultExpenseGLAccount.name": "Premises"}]


def test_a_changed_contact_shows_in_its_vendors(vendors):
    vendors.put("company-config/contact", 5, id="C5", email1="a@example.com")
    vendors.put(VENDOR, 13, id="V13", name="nu", contacts__default__key="5")
    query = {"fields": ["key", "contacts.default.email1"], "filters": [{"$eq": {"key": "13"}}]}
    assert vendors.ask(**query)["ia::result"][0]["contacts.default.email1"] == "a@example.com"
    vendors.put("company-config/contact", 5, id="C5", email1="b@example.com")
    assert vendors.ask(**query)["ia::result"][0]["contacts.default.email1"] == "b@example.com"


def test_a_reference_that_led_nowhere_is_read_again_when_its_record_comes(vendors):
    vendors.put(VENDOR, 13, id="V13", name="nu", term__key="9")
    query = {"fields": ["key", "term.id"], "filters": [{"$eq": {"key": "13"}}]}
    assert vendors.ask(**query)["ia::result"][0]["term.id"] is None
    vendors.put("accounts-payable/term", 9, id="N9")
    assert vendors.ask(**query)["ia::result"][0]["term.id"] == "N9"


def test_filters_and_orders_follow_changes_too(vendors):
    query = {"filters": [{"$eq": {"term.id": "N60"}}], "orderBy": [{"name": "asc"}], "size": 1}
    assert vendors.keys(**query) == [7]
    vendors.put("accounts-payable/term", 1, id="N60", due__days=30)
    assert vendors.keys(**query) == [1]
    vendors.put(VENDOR, 1, id="V1", name="zz", term__key="1")
    assert vendors.keys(**query) == [5]


def test_a_kept_selection_over_many_rows_follows_changes(world):
    for key in range(1, 3001):
        world.put(VENDOR, key, id=f"V{key}", name="x", status="active" if key % 3 else "inactive")
    query = {"filters": [{"$eq": {"status": "inactive"}}], "size": 4}
    assert world.keys(**query) == [3, 6, 9, 12]
    assert world.ask(**query)["ia::meta"]["totalCount"] == 1000
    world.put(VENDOR, 1, id="V1", name="x", status="inactive")
    assert world.keys(**query) == [1, 3, 6, 9]
    assert world.keys(filters=[*query["filters"], {"$gt": {"key": "2990"}}]) == [2991, 2994, 2997, 3000]


def test_a_page_of_an_unchanged_object_is_the_same_object_in_memory(vendors):
    body = orjson.dumps({"object": VENDOR, "fields": ["key", "name"]})
    assert vendors.sim.queries.answer(body, None)[1] is vendors.sim.queries.answer(body, None)[1]


def test_queries_see_a_write_only_after_the_lag(vendors):
    vendors.sim.settings(read_lag_s=30)
    query = {"fields": ["key", "name"], "filters": [{"$in": {"key": ["1", "13"]}}]}
    assert vendors.ask(**query)["ia::result"] == [{"key": "1", "name": "Alpha"}]
    vendors.put(VENDOR, 1, lag=True, id="V1", name="Omega")
    vendors.put(VENDOR, 13, lag=True, id="V13", name="nu")
    vendors.sim.store.table(VENDOR).delete(2, lag_until=vendors.sim.lag_until())
    assert vendors.ask(**query)["ia::result"] == [{"key": "1", "name": "Alpha"}]
    assert vendors.keys() == EVERYTHING
    assert vendors.keys(filters=[{"$startsWith": {"name": "Al"}}]) == [1]
    vendors.sim.kernel.clock.advance(29)
    assert vendors.keys() == EVERYTHING
    vendors.sim.kernel.clock.advance(2)
    assert vendors.ask(**query)["ia::result"] == [{"key": "1", "name": "Omega"}, {"key": "13", "name": "nu"}]
    assert vendors.keys() == [1, *range(3, 14)]


def test_lines_are_found_by_their_bill_and_read_upwards(world):
    world.put(VENDOR, 4, id="V4", name="Four")
    world.put("accounts-payable/bill", 10, billNumber="B-10", vendor__key="4")
    world.put("accounts-payable/bill", 11, billNumber="B-11", vendor__key="4")
    for key, bill in ((1, "10"), (2, "11"), (3, "10")):
        world.put("accounts-payable/bill-line", key, bill__key=bill, txnAmount="1.00")
    page = world.ask(
        object="accounts-payable/bill-line",
        fields=["key", "bill.id", "bill.billNumber", "bill.vendor.id"],
        filters=[{"$eq": {"bill.key": "10"}}],
    )
    shown = {"bill.id": "10", "bill.billNumber": "B-10", "bill.vendor.id": "V4"}
    assert page["ia::result"] == [{"key": "1"} | shown, {"key": "3"} | shown]


def test_aggregates_are_grouped_by_the_other_fields(vendors):
    page = vendors.ask(
        fields=["status", "sum:totalDue", "count:key", "min:name", "avg:totalDue", "max:totalDue"], orderBy=[{"status": "desc"}]
    )
    assert page["ia::result"] == [
        {
            "status": "inactive",
            "sum:totalDue": "45.00",
            "count:key": 6,
            "min:name": "beta",
            "avg:totalDue": "7.50",
            "max:totalDue": "12.50",
        },
        {
            "status": "active",
            "sum:totalDue": "39.00",
            "count:key": 6,
            "min:name": "Alpha",
            "avg:totalDue": "6.50",
            "max:totalDue": "11.50",
        },
    ]
    assert page["ia::meta"]["totalCount"] == 2
    assert vendors.ask(fields=["count:key"], filters=[{"$gt": {"key": "10"}}])["ia::result"] == [{"count:key": 2}]


def test_several_queries_in_one_body_are_answered_one_by_one(vendors):
    good = {"object": VENDOR, "fields": ["key"], "size": 1}
    status, body = vendors.sim.queries.answer(orjson.dumps([good, {**good, "fields": ["nope"]}]), None)
    answer = orjson.loads(body)
    assert status == 207
    assert answer["ia::meta"] == {"totalCount": 2, "totalSuccess": 1, "totalError": 1}
    assert answer["ia::result"][0] == {**vendors.ask(size=1), "ia::status": 200}
    assert answer["ia::result"][1]["ia::status"] == 400
    assert answer["ia::result"][1]["ia::error"]["errorId"] == "REST-1064"


def test_every_page_is_one_transaction_and_a_refusal_none(vendors):
    vendors.ask()
    vendors.ask()
    with pytest.raises(SageError):
        vendors.ask(fields=["nope"])
    assert vendors.sim.stats.transactions == 2


def test_an_application_that_is_not_subscribed_cannot_be_queried(vendors):
    vendors.sim.settings(modules=["general-ledger"])
    with pytest.raises(SageError) as caught:
        vendors.ask()
    assert caught.value.status == 403


def _chance_query(chance: random.Random) -> bytes:
    filters = chance.sample(
        [
            {"$gt": {"key": str(chance.randrange(60))}},
            {"$lte": {"key": str(chance.randrange(60))}},
            {"$eq": {"status": "active"}},
            {"$in": {"id": [f"V{chance.randrange(60)}" for _ in range(5)]}},
            {"$eq": {"term.id": f"N{chance.randrange(4)}"}},
            {"$startsWith": {"contacts.default.email1": "b"}},
            {"$gte": {"audit.modifiedDateTime": f"2026-11-{chance.randrange(1, 25):02}T00:00:00Z"}},
        ],
        chance.randrange(4),
    )
    fields = ["key", *chance.sample(["id", "name", "status", "term.id", "contacts.default.email1", "parent.name", "term.key"], 3)]
    order = chance.choice([[], [{"key": "asc"}], [{"key": "desc"}], [{"term.id": "asc"}, {"key": "asc"}], [{"name": "desc"}]])
    query = {"object": VENDOR, "fields": fields, "filters": filters, "orderBy": order, "size": 20}
    if len(filters) > 1:
        query["filterExpression"] = chance.choice(["and", "or", "1 or 2", "1 and 2"])
    return orjson.dumps(query | {"filterParameters": {"includePrivate": chance.random() < 0.5}})


def _chance_change(world: Any, chance: random.Random) -> None:
    lag = chance.random() < 0.5
    until = world.sim.lag_until() if lag else None
    key, few = chance.randrange(1, 60), chance.randrange(1, 4)
    match chance.randrange(6):
        case 0:
            world.put("accounts-payable/term", few, id=f"N{chance.randrange(4)}")
        case 1:
            world.put("company-config/contact", few, id=f"C{few}", email1=f"{chance.choice('ab')}@example.com")
        case 2:
            world.sim.store.table(VENDOR).delete(key, lag_until=until)
        case 3:
            world.sim.store.table("accounts-payable/term").delete(few)
        case 4:
            world.sim.kernel.clock.advance(chance.randrange(8))
        case _:
            row = {"id": f"V{key}", "name": f"name {chance.randrange(9)}", "status": chance.choice(["active", "inactive"])}
            row |= {"term__key": str(few), "contacts__default__key": str(few), "parent__key": str(chance.randrange(1, 60))}
            row["audit__modifiedDateTime"] = f"2026-11-{chance.randrange(1, 25):02}T10:00:00Z"
            world.put(VENDOR, key, chance.choice([None, None, 1, 2]), lag=lag, **row)


@pytest.mark.parametrize("order", ["numeric", "text"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_never_differs_from_what_would_be_made_anew(world, order, seed):
    world.sim.settings(read_lag_s=5, key_order=order)
    chance = random.Random(seed)
    queries = [_chance_query(chance) for _ in range(25)]
    for _ in range(400):
        _chance_change(world, chance)
        raw, scope = chance.choice(queries), chance.choice([None, None, 1])
        fresh = Queries(world.sim)
        assert world.sim.queries.answer(raw, scope) == fresh.answer(raw, scope)
        fresh.clear()


def test_plans_that_nobody_uses_stop_listening(vendors):
    names = ["id", "name", "status", "taxId", "notes", "currency", "state"]
    for number in range(KEPT_PLANS + 20):
        vendors.ask(fields=["key", *[name for bit, name in enumerate(names) if number >> bit & 1]])
    assert len(vendors.sim.store.table(VENDOR).listeners) <= KEPT_PLANS
