"""Dead letters: the same one again, found by what people ask for, ended once, forgotten late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connect.errors import Permanent, Poison
from connect.state import dead_letters
from connect.state.dead_letters import KEPT, DeadLetters, Edit
from connect.state.letter_search import FILTERS
from connect.state.seal import LOST, Seal
from connect.state.seen import Seen, coverage, totals

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def letters(redis, clock):
    return DeadLetters(redis, "sid", clock=clock)


def refused(code="2", message="Prime does not know the term", detail=""):
    return Permanent(message, system="prime", code=code, detail=detail)


def letter(letters, key=7, error=None, **facts):
    return letters.letter(
        **{
            "company": "100",
            "job": "GetSuppliers",
            "part": "Supplier",
            "kind": "Supplier",
            "key": key,
            "number": f"V{key}",
            "name": f"Vendor {key}",
            "payload": b'{"Supplier":"V7"}',
            "run": "run-1",
            "trace": "trace-1",
            "error": error or refused(),
            **facts,
        }
    )


async def put(letters, *some):
    await letters.put_many(some)
    return [one.id for one in some]


async def numbers(letters, filters, **options):
    return [one.number for one in (await letters.find(filters, **options))[1]]


async def test_a_letter_says_what_design_section_8_promises(letters):
    (name,) = await put(letters, letter(letters))
    found = await letters.get(name)
    item = found.item("acme-TEST")
    assert list(item) == [
        "id", "connection", "company", "job", "kind", "number", "supplier", "error", "attempts", "first_at", "last_at", "state",
    ]  # fmt: skip
    assert list(item["error"]) == ["code", "class", "message", "owner", "fix"]
    assert (item["number"], item["supplier"], item["attempts"], item["state"]) == ("V7", "Vendor 7", 1, "open")
    assert (item["error"]["code"], item["error"]["class"], item["error"]["owner"]) == ("2", "Permanent", "consultant")
    assert (found.payload, found.run, found.trace) == (b'{"Supplier":"V7"}', "run-1", "trace-1")


async def test_the_same_row_refused_again_is_the_same_letter_with_the_newer_words(letters):
    (first,) = await put(letters, letter(letters))
    (again,) = await put(letters, letter(letters, error=refused("5", "another reason"), payload=b"newer", run="run-2"))
    assert again == first
    found = await letters.get(first)
    assert (found.attempts, found.error["code"], found.payload, found.run) == (2, "5", b"newer", "run-2")
    assert found.first_at < found.last_at
    assert await numbers(letters, {"error": "2"}) == []
    assert await numbers(letters, {"error": "5"}) == ["V7"]
    assert [entry["what"] for entry in await letters.history(first)] == ["refused", "refused"]


async def test_rows_of_other_companies_jobs_parts_and_keys_are_letters_of_their_own(letters):
    names = await put(
        letters,
        letter(letters),
        letter(letters, company="200"),
        letter(letters, job="GetAccounts"),
        letter(letters, part="Account"),
        letter(letters, key=8),
        letter(letters, key=0, number="V9"),
        letter(letters, key=0, number="V10"),
    )
    assert len(set(names)) == 7
    assert (await letters.find({}))[0] == 7


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["V3", "V2", "V1"]),
        ({"owner": "Sage administrator"}, ["V3"]),
        ({"owner": "consultant"}, ["V2", "V1"]),
        ({"company": "200"}, ["V2"]),
        ({"job": "GetAccounts"}, ["V3"]),
        ({"kind": "Account"}, ["V3"]),
        ({"number": "V1"}, ["V1"]),
        ({"number": "V"}, []),
        ({"error": "too_long"}, ["V3"]),
        ({"code": "too_long"}, ["V3"]),
        ({"supplier": "vendor"}, ["V2", "V1"]),
        ({"supplier": "ÖST"}, ["V3"]),
        ({"text": "PERIOD CLOSED"}, ["V2"]),
        ({"text": "term", "company": "100"}, ["V1"]),
        ({"company": "100", "owner": "consultant"}, ["V1"]),
        ({"state": "open"}, ["V3", "V2", "V1"]),
        ({"state": "resolved"}, []),
    ],
)
async def test_letters_are_found_by(letters, filters, expected):
    await put(letters, letter(letters, key=1))
    await put(letters, letter(letters, key=2, company="200", error=refused(detail="period closed since June")))
    long = Poison("too long", system="sage", code="too_long")
    await put(letters, letter(letters, key=3, name="Östra Bruk", job="GetAccounts", kind="Account", part="Account", error=long))
    total, _ = await letters.find(filters)
    assert (total, await numbers(letters, filters)) == (len(expected), expected)


@pytest.mark.parametrize(
    ("filters", "words"), [({"suplier": "x"}, ["no filter suplier", *FILTERS]), ({"state": "gone"}, ["no state gone", "replaying"])]
)
async def test_an_unknown_filter_is_named_with_those_there_are(letters, filters, words):
    with pytest.raises(ValueError) as caught:
        await letters.find(filters)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("filters", [{}, {"company": "100"}, {"supplier": "vendor"}])
async def test_pages_of_a_list_are_disjoint_complete_and_newest_first(letters, filters):
    for key in range(1, 26):
        await put(letters, letter(letters, key=key))
    await letters.replaying([(await letters.find({"number": "V20"}))[1][0].id])
    found = []
    for offset in range(0, 30, 10):
        total, page = await letters.find(filters, offset=offset, limit=10)
        assert total == 25
        found += [one.key for one in page]
    assert found == list(range(25, 0, -1))


async def test_a_letter_ends_once_and_leaves_the_open_ones(letters):
    one, two = await put(letters, letter(letters, key=1), letter(letters, key=2))
    assert await letters.open_keys("100", "GetSuppliers", "Supplier") == {1: one, 2: two}
    assert await letters.resolve([one, "nonsense"], reason="accepted", by="ann") == 1
    assert await letters.resolve([one], reason="accepted") == 0
    assert await letters.discard([one, two], reason="not wanted", by="bo") == 1
    assert await letters.open_keys("100", "GetSuppliers", "Supplier") == {}
    assert (await letters.find({}))[0] == 0
    assert await numbers(letters, {"state": "resolved"}) == ["V1"]
    assert await numbers(letters, {"state": "discarded"}) == ["V2"]
    assert (await letters.history(one))[-1] | {"at": ""} == {"at": "", "what": "resolved", "why": "accepted", "by": "ann"}
    assert await letters.owners() == {}


async def test_a_replayed_letter_is_open_again_when_refused_again_or_when_the_replay_came_to_nothing(letters):
    (name,) = await put(letters, letter(letters))
    assert await letters.replaying([name], by="ann") == 1
    assert await letters.replaying([name]) == 0
    assert await letters.open_keys("100", "GetSuppliers", "Supplier") == {7: name}
    await letters.reopen([name], reason="the run failed")
    assert (await letters.get(name)).state == "open"
    await letters.replaying([name])
    await put(letters, letter(letters))
    assert ((await letters.get(name)).state, (await letters.get(name)).attempts) == ("open", 2)
    assert await numbers(letters, {"state": "replaying"}) == []


async def test_a_resolved_row_that_is_refused_again_opens_its_letter(letters):
    (name,) = await put(letters, letter(letters))
    await letters.resolve([name], reason="accepted")
    await put(letters, letter(letters))
    assert (await letters.get(name)).state == "open"
    assert await letters.open_keys("100", "GetSuppliers", "Supplier") == {7: name}


async def test_a_discarded_row_stays_so_until_the_row_or_the_reason_is_another(letters):
    (name,) = await put(letters, letter(letters))
    await letters.discard([name], reason="not wanted")
    await put(letters, letter(letters))
    assert ((await letters.get(name)).state, (await letters.get(name)).attempts) == ("discarded", 2)
    assert (await letters.find({}))[0] == 0
    assert await letters.open_keys("100", "GetSuppliers", "Supplier") == {}
    await put(letters, letter(letters, payload=b"changed"))
    assert (await letters.get(name)).state == "open"
    assert await numbers(letters, {"state": "discarded"}) == []


async def test_open_letters_are_counted_by_who_must_act(letters):
    await put(
        letters, letter(letters, key=1), letter(letters, key=2), letter(letters, key=3, error=Poison("x", system="sage", code="too_long"))
    )
    assert await letters.owners() == {"consultant": 2, "Sage administrator": 1}


async def since(redis, whom):
    """Letters that wait for somebody, and after how many hours of the test they began to."""
    found = await redis.zrange(f"connect:sid:dl:since:{whom}", 0, -1, withscores=True)
    return {name.decode(): (at - NOON.timestamp()) // 3600 for name, at in found}


async def test_how_long_a_letter_waits_counts_from_its_first_refusal_whatever_is_tried_meanwhile(letters, redis, clock):
    (name,) = await put(letters, letter(letters))
    clock.now += timedelta(hours=2)
    await put(letters, letter(letters))
    assert await since(redis, "consultant") == {name: 0}
    await letters.replaying([name], by="ann")
    assert await since(redis, "consultant") == {}
    await letters.reopen([name], reason="the run failed")
    assert await since(redis, "consultant") == {name: 0}
    await letters.replaying([name], by="ann")
    await put(letters, letter(letters))
    assert await since(redis, "consultant") == {name: 0}
    await put(letters, letter(letters, error=Poison("x", system="sage", code="too_long")))
    assert (await since(redis, "consultant"), await since(redis, "Sage administrator")) == ({}, {name: 0})


@pytest.mark.parametrize("end", ["resolve", "discard"])
async def test_a_letter_that_ended_waits_no_more_and_anew_when_it_comes_back(letters, redis, clock, end):
    (name,) = await put(letters, letter(letters))
    await getattr(letters, end)([name], reason="done")
    assert await since(redis, "consultant") == {}
    clock.now += timedelta(hours=5)
    await put(letters, letter(letters, payload=b"another"))
    assert await since(redis, "consultant") == {name: 5}
    assert (await letters.get(name)).first_at < NOON + timedelta(hours=1)


async def test_a_payment_waits_for_approval_until_it_has_one_and_again_after_its_replay(letters, redis, clock):
    one = {"kind": "Payment", "key": 0, "number": "P-1"}
    other, name = await put(letters, letter(letters, key=8), letter(letters, **one))
    assert other in await since(redis, "consultant")
    assert await since(redis, "approval") == {name: 0}
    clock.now += timedelta(hours=1)
    await letters.approve([name], by="ann")
    assert await since(redis, "approval") == {}
    await put(letters, letter(letters, **one))  # refused again as it was: still approved
    assert await since(redis, "approval") == {}
    await letters.replaying([name], by="bo")
    await put(letters, letter(letters, **one))
    assert await since(redis, "approval") == {name: 0}
    await letters.discard([name, other], reason="paid by hand")
    assert (await since(redis, "approval"), await since(redis, "consultant")) == ({}, {})


async def test_letters_of_a_version_that_did_not_say_since_when_wait_since_their_first_refusal(letters, redis, clock):
    names = await put(letters, *(letter(letters, key=key) for key in (1, 2, 3)))
    await letters.resolve(names[2:], reason="accepted")
    for name in names:
        await redis.hdel(f"connect:sid:dl:{name}", "open_since")
    await redis.delete("connect:sid:dl:since:consultant")
    clock.now += timedelta(hours=3)
    assert [await letters.group_older(1) for _ in range(3)] == [1, 1, 0]
    assert await since(redis, "consultant") == dict.fromkeys(names[:2], 0)


async def test_ended_letters_are_kept_for_400_days_and_leave_nothing_behind(letters, redis, clock):
    names = await put(letters, *(letter(letters, key=key) for key in range(1, 6)))
    await letters.resolve(names[:2], reason="accepted")
    await letters.discard(names[2:4], reason="no")
    assert await letters.purge() == 0
    clock.now += KEPT + timedelta(minutes=1)
    assert await letters.purge() == 4
    assert (await letters.find({}))[0] == 1
    await letters.resolve(names, reason="accepted")
    clock.now += KEPT + timedelta(minutes=1)
    assert await letters.purge() == 1
    assert [key async for key in redis.scan_iter(match="connect:sid:dl:*") if b":found:" not in key] == []


async def test_connections_do_not_see_each_others_letters(letters, redis):
    await put(letters, letter(letters))
    assert (await DeadLetters(redis, "other").find({}))[0] == 0


async def calls_of(redis, work):
    """How often each Redis command is called by some work, and how many bytes come back."""
    await redis.config_resetstat()
    before = (await redis.info("stats"))["total_net_output_bytes"]
    result = await work
    stats = await redis.info("commandstats")
    sent = (await redis.info("stats"))["total_net_output_bytes"] - before
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}, sent, result


@pytest.mark.parametrize(
    "filters",
    [{}, {"owner": "consultant"}, {"code": "2", "company": "100"}, {"text": "does not know"}, {"supplier": "vendor", "state": "open"}],
)
async def test_a_page_of_many_letters_loads_that_page_only(redis, letters, filters):
    sizes = {}
    for count in (200, 4000):
        await redis.flushall()
        for start in range(0, count, 1000):
            await letters.put_many([letter(letters, key=key, payload=b"x" * 2000) for key in range(start, min(start + 1000, count))])
        await letters.replaying([letter(letters, key=key).id for key in range(10)])
        calls, sent, (total, page) = await calls_of(redis, letters.find(filters, offset=100, limit=50))
        assert total == (count - 10 if filters.get("state") else count)
        assert len(page) == 50
        assert calls["hgetall"] == 50
        assert sum(calls.values()) < 80
        sizes[count] = sent
    assert sizes[4000] - sizes[200] < 3800 * 150  # ids and words at most; never payloads


async def test_pages_follow_one_another_over_all_states_without_gap_or_double(letters):
    await letters.put_many([letter(letters, key=key) for key in range(1, 31)])
    await letters.replaying([letter(letters, key=key).id for key in range(1, 31, 3)])
    for filters in ({}, {"company": "100"}, {"text": "vendor"}):
        seen = [number for offset in range(0, 30, 7) for number in await numbers(letters, filters, offset=offset, limit=7)]
        assert seen == [f"V{key}" for key in range(30, 0, -1)]


@pytest.mark.parametrize(
    "filters", [{}, {"owner": "consultant"}, {"supplier": "vendor"}, {"company": "100", "owner": "consultant"}, {"state": "discarded"}]
)
async def test_every_letter_that_matches_is_found_once_without_its_payload(letters, filters, monkeypatch):
    monkeypatch.setattr(dead_letters, "_LOADED_AT_ONCE", 3)
    names = await put(letters, *(letter(letters, key=key) for key in range(1, 12)))
    await letters.discard(names[:5], reason="no")
    expected = (await letters.find(filters, states=("open",), limit=100))[1]
    assert len(expected) in (5, 6)
    assert await letters.every(filters) == [replace(one, payload=b"") for one in expected]


async def test_a_letter_that_ends_while_all_are_read_is_left_out(letters, monkeypatch):
    monkeypatch.setattr(dead_letters, "_LOADED_AT_ONCE", 1)
    names = await put(letters, letter(letters, key=1), letter(letters, key=2))
    look = dead_letters.ids_among

    async def then_one_ends(*asked):
        found = await look(*asked)
        await letters.resolve(names[:1], reason="accepted")
        return found

    monkeypatch.setattr(dead_letters, "ids_among", then_one_ends)
    assert [one.id for one in await letters.every({})] == names[1:]


async def test_errors_are_counted_by_whether_the_catalogue_knows_them(redis, letters):
    strange = [refused("XX", f"the flux {number} is off") for number in range(3)]
    await put(letters, letter(letters, key=1), *(letter(letters, key=2 + at, error=error) for at, error in enumerate(strange)))
    seen = Seen(redis, "sid")
    await seen.add(Permanent("Account 9 is not valid", system="sage", code="REST-7001"))
    assert await totals(redis, ["sid", "of-nobody"]) == {"known": 2, "unknown": 3}
    assert await seen.unknown() == [("prime XX: the flux # is off", 3)]
    assert (coverage(2, 3), coverage(0, 0)) == (0.4, 1.0)


async def test_what_nobody_knows_is_the_operators_and_says_so(letters):
    assert letter(letters, error=refused("XX", "the flux is off")).error["owner"] == "operator"
    known = letter(letters).error
    assert (known["owner"], known["entry"]) == ("consultant", "prime_reference")
    assert known["cause"]


async def test_an_edit_is_kept_with_the_letter_until_it_is_discarded(letters):
    (name,) = await put(letters, letter(letters))
    edit = Edit("a", "b", {"lines[0].account": "6541", "note": None})
    await letters.edit(name, edit, b"newer", kind="Supplier", reason="wrong account", by="ann", what="account 1 -> 2")
    assert await letters.edits([name, "none"]) == {name: edit}
    await put(letters, letter(letters, payload=b"refused again"))
    assert await letters.edits([name]) == {name: edit}
    assert [(entry["what"], entry["by"]) for entry in await letters.history(name)][1] == ("edited", "ann")
    await letters.discard([name], reason="not needed")
    assert await letters.edits([name]) == {}


async def test_an_approval_holds_for_one_replay_and_not_for_another_error(letters):
    (name,) = await put(letters, letter(letters))
    assert await letters.approve([name], by="ann") == 1
    await put(letters, letter(letters))
    assert (await letters.get(name)).approved_by == "ann", "the same again by itself"
    await put(letters, letter(letters, error=refused("5", "another reason")))
    assert (await letters.get(name)).approved_by == ""
    await letters.approve([name], by="ann")
    await letters.replaying([name], by="bo")
    assert (await letters.get(name)).approved_by == ""
    assert await letters.approve([name], by="ann") == 0, "on its way already"
    assert [(entry["what"], entry["by"]) for entry in await letters.history(name) if entry["by"]] == [
        ("approved", "ann"), ("approved", "ann"), ("replayed", "bo"),
    ]  # fmt: skip


async def raw_payload(redis, name):
    return await redis.hget(f"connect:sid:dl:{name}", "payload")


@pytest.mark.parametrize(
    ("what", "kind", "is_sealed"),
    [
        ("bank", "Supplier", True),
        ("bank", "Payment", True),
        ("bank", "Account", False),
        ("all", "Account", True),
        ("none", "Supplier", False),
    ],
)
async def test_what_holds_bank_data_lies_in_redis_encrypted(redis, what, kind, is_sealed):
    letters = DeadLetters(redis, "sid", seal=Seal("the secret", "sid", what))
    payload = b'{"BankAccount":"SE4550000000058398257466"}'
    (name,) = await put(letters, letter(letters, kind=kind, payload=payload))
    assert (b"SE4550000000058398257466" not in await raw_payload(redis, name)) is is_sealed
    assert (await letters.get(name)).payload == payload
    assert (await letters.find({"text": "V7"}))[1][0].payload == payload
    await letters.edit(name, Edit("a", "b", {}), payload + b"2", kind=kind, reason="r", by="ann", what="w")
    assert (b"SE4550000000058398257466" not in await raw_payload(redis, name)) is is_sealed
    assert (await letters.get(name)).payload == payload + b"2"


async def test_a_sealed_payload_opens_under_its_secret_and_in_its_letter_only(redis):
    letters = DeadLetters(redis, "sid", seal=Seal("the secret", "sid"))
    names = await put(letters, letter(letters, key=1, payload=b"one"), letter(letters, key=2, payload=b"two"))
    other = DeadLetters(redis, "sid", seal=Seal("another secret", "sid"))
    assert (await other.get(names[0])).payload == LOST
    await redis.hset(f"connect:sid:dl:{names[0]}", "payload", await raw_payload(redis, names[1]))
    assert (await letters.get(names[0])).payload == LOST
    assert (await DeadLetters(redis, "sid", seal=Seal("the secret", "sid", "none")).get(names[1])).payload == b"two"


async def test_groups_of_many_letters_are_counted_anew_after_every_change(letters, redis):
    async def counted(**options):
        return [group.letters for group in await letters.groups({}, **options)]

    many = [letter(letters, key=n, error=refused(code=str(n % 2))) for n in range(300)]
    await put(letters, *many)
    assert await counted() == [150, 150]
    assert await redis.exists("connect:sid:dl:groups:counted")
    assert await counted(states=("replaying",)) == []
    await put(letters, letter(letters, key=301, error=refused(code="1")))
    assert await counted() == [151, 150]
    ids = [one.id for one in many if one.error["code"] == "0"]
    await letters.resolve(ids[:100], reason="it was taken")
    assert await counted() == [151, 50]
    await letters.discard(ids[100:110], reason="by hand")
    assert await counted() == [151, 40]
    await letters.replaying(ids[110:120])
    assert (await counted(), await counted(states=("open",)), await counted(states=("replaying",))) == ([151, 40], [151, 30], [10])
    await letters.reopen(ids[110:115], reason="came to nothing")
    assert (await counted(states=("open",)), await counted(states=("replaying",))) == ([151, 35], [5])
    await letters.replaying([one.id for one in many if one.error["code"] == "1"])
    assert [group.letters for group in await letters.groups({"state": "replaying"})] == [150, 5]
    assert [group.letters for group in await letters.groups({"code": "0"})] == [40]
    assert await counted() == [151, 40]
