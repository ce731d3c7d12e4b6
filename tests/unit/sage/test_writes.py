"""A write leaves once, in time or not at all, and its answer tells what happened or that nobody knows."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import orjson
import pytest

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.http import Reply
from connect.sage.auth import SageAccess
from connect.sage.client import WRITE_TIMEOUT_S, SageClient

ACCESS = SageAccess("https://s/token", "https://s/ia/api", "https://s/query", "v1", "app", "secret", "user@acme")
MADE = {"ia::result": {"key": "7"}, "ia::meta": {"totalCount": 1}}


def reply(body=MADE, status=201, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, names, body if isinstance(body, bytes) else orjson.dumps(body), 1.0)


class World:
    """Slots, tokens, counts and the wire, noting what happens in which order. `slow_s`: what getting a slot takes."""

    def __init__(self, *answers, slow_s=0.0, loses_slot=False):
        self.answers, self.slow_s, self.loses_slot = list(answers), slow_s, loses_slot
        self.events, self.sent, self.noted = [], [], []
        self.now_s, self.tokens = 100.0, 0
        self.client = SageClient(self, self, self, self, ACCESS, monotonic=lambda: self.now_s)

    @asynccontextmanager
    async def lease(self, lane, *, wait_s):
        self.events.append(f"slot for {lane}")
        self.now_s += self.slow_s
        yield
        if self.loses_slot:
            raise Transient("the slot was lost", code="slot_lost")
        self.events.append("slot free")

    async def pause(self, seconds):
        self.events.append(f"pause {seconds:g}")

    async def get(self, rejected=None):
        self.tokens += 1
        self.events.append(f"token {self.tokens}" + (f" for {rejected}" if rejected else ""))
        return f"T{self.tokens}"

    async def exchange(self, method, url, **options):
        self.events.append("sent")
        self.sent.append((method, url, options))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ConnectError):
            raise answer
        return answer

    def unanswered(self, operation):
        self.noted.append((operation, "unanswered"))

    async def note(self, operation, *, transactions=1):
        self.noted.append((operation, transactions))

    def stamp(self, within_s=5.0, takes_s=0.0):
        async def before_write():
            self.events.append("stamped")
            send_by = self.now_s + within_s
            self.now_s += takes_s
            return send_by

        return before_write

    async def write(self, stamp=None, **more):
        return await self.client.write(
            "POST", "/objects/a/b", b"{}", before_write=stamp or self.stamp(), what="a/b", **({"key": "K"} | more)
        )


async def test_it_is_stamped_with_slot_and_token_in_hand_right_before_it_leaves():
    world, calls = World(reply()), Counter()
    written = await world.write(entity="E1", calls=calls)
    assert (written.result, written.replayed) == ({"key": "7"}, False)
    assert world.events == ["slot for documents", "token 1", "stamped", "sent", "slot free"]
    ((method, url, options),) = world.sent
    assert (method, url, options["data"]) == ("POST", "https://s/ia/api/v1/objects/a/b", b"{}")
    assert options["headers"] == {
        "Authorization": "Bearer T1",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": "K",
        "X-IA-API-Param-Entity": "E1",
    }
    assert (options["timeout_s"], options["safe"], options["connect_s"]) == (WRITE_TIMEOUT_S, False, 5.0)
    assert (world.noted, calls) == ([("POST a/b", 1)], {"a/b": 1})


async def test_waiting_for_a_slot_costs_nothing_of_its_time():
    world = World(reply(), slow_s=50)
    await world.write()
    assert world.events.count("sent") == 1


@pytest.mark.parametrize(("takes_s", "leaves"), [(4.9, True), (5.0, False), (9.0, False)])
async def test_a_stamp_that_took_too_long_stops_it(takes_s, leaves):
    world = World(reply())
    if leaves:
        await world.write(world.stamp(takes_s=takes_s))
        assert world.sent[0][2]["connect_s"] == pytest.approx(0.1)
        return
    with pytest.raises(Transient) as caught:
        await world.write(world.stamp(takes_s=takes_s))
    assert (caught.value.code, isinstance(caught.value, OutcomeUnknown), world.sent) == ("too_late", False, [])


async def test_a_lost_lock_stops_it():
    async def lost():
        raise Transient("the lock was lost", code="lock_lost")

    world = World(reply())
    with pytest.raises(Transient, match="the lock was lost"):
        await world.write(lost)
    assert world.sent == []


async def test_a_refused_token_is_replaced_and_the_write_stamped_again():
    world = World(reply({"error": {"errorId": "REST-2102", "message": "Token is not valid"}}, 401), reply())
    await world.write()
    assert [event for event in world.events if "slot" not in event] == ["token 1", "stamped", "sent", "token 2 for T1", "stamped", "sent"]
    assert world.noted == [("POST a/b", 0), ("POST a/b", 1)]


async def test_tokens_refused_again_and_again_are_somebody_elses_matter():
    world = World(reply(b"", 401))
    with pytest.raises(Auth, match="refuses every token"):
        await world.write()
    assert len(world.sent) == 3


async def test_a_403_is_not_a_matter_of_tokens():
    world = World(reply({"ia::error": {"message": "no"}}, 403))
    with pytest.raises(Auth):
        await world.write()
    assert len(world.sent) == 1


async def test_a_429_pauses_the_company_before_the_slot_is_free_and_is_not_repeated():
    world = World(reply(b"", 429, X_IA_Throttle_Retry_After="7"), reply())
    with pytest.raises(RateLimited) as caught:
        await world.write()
    assert caught.value.retry_after_s == 7
    assert world.events[-3:] == ["sent", "pause 7", "slot free"]


async def test_a_429_that_says_nothing_pauses_for_a_moment():
    world = World(reply(b"", 429))
    with pytest.raises(RateLimited):
        await world.write()
    assert "pause 1" in world.events


@pytest.mark.parametrize(
    "answer",
    [OutcomeUnknown("time-out", code="timeout"), Poison("too big", code="too_big"), reply(b"<html>", 200), reply(b"", 502)],
    ids=["lost", "too big", "rubbish", "502"],
)
async def test_what_comes_of_it_may_be_unknown_and_it_is_not_repeated(answer):
    world = World(answer)
    with pytest.raises(OutcomeUnknown):
        await world.write()
    assert len(world.sent) == 1


async def test_a_call_that_may_have_arrived_is_counted_and_one_that_has_not_left_is_none():
    world = World(OutcomeUnknown("no answer", code="timeout"))
    with pytest.raises(OutcomeUnknown):
        await world.write()
    assert world.noted == [("POST a/b", "unanswered")]
    world = World(Transient("no connection", code="unreachable"))
    with pytest.raises(Transient):
        await world.write()
    assert world.noted == []


async def test_a_slot_lost_on_the_way_leaves_it_open_and_one_lost_before_does_not():
    world = World(reply(), loses_slot=True)
    with pytest.raises(OutcomeUnknown):
        await world.write()

    async def lost():
        raise Transient("the slot was lost", code="slot_lost")

    world = World(reply())
    with pytest.raises(Transient) as caught:
        await world.write(lost)
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_an_address_that_cannot_be_reached_did_nothing():
    world = World(Transient("no connection", code="unreachable"))
    with pytest.raises(Transient) as caught:
        await world.write()
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_a_refusal_is_said_in_sages_words():
    world = World(reply({"ia::result": {"ia::error": {"message": "x", "details": [{"message": "The vendor 'V' is invalid."}]}}}, 422))
    with pytest.raises(Permanent, match="The vendor 'V' is invalid"):
        await world.write()
    assert world.noted == [("POST a/b", 0)]


async def test_no_content_is_a_yes_and_a_repeated_one_is_marked():
    assert (await World(reply(b"", 204)).write()).result is None
    assert (await World(reply(X_IA_Idempotency_Cached_Date="2026-11-25T12:00:00Z")).write()).replayed


async def test_each_part_of_a_composite_that_was_done_counts():
    parts = [{"ia::result": {"key": "1"}, "ia::status": 201}, {"ia::error": {"message": "x"}, "ia::status": 422}]
    world = World(reply({"ia::result": parts}, 207))
    assert (await world.write()).result == parts
    assert world.noted == [("POST a/b", 1)]
