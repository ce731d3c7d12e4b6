"""The cancellation protocol over a Sage and a Prime in memory: gone once, said once, and never what is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

import pytest
from passing import passes
from redis.asyncio import Redis

from connect.cancelling import Cancelling
from connect.errors import ConnectError, OutcomeUnknown, Permanent, RateLimited, Transient
from connect.ledger import Created, DocumentId, Found, Listed, Problem, Request, Trace
from connect.posting import Posting, Result, Rules
from connect.state import epoch
from connect.state.journal import Journal, Lock

LOCK_S, SETTLE_S = 30.0, 10.0
ID = DocumentId("DEMO", "100", "1", "8543")


class Killed(BaseException):
    """The worker is gone, whatever it was doing."""


def listed(**changes: Any) -> Listed:
    facts: dict[str, Any] = {
        "id": ID, "content": "c1", "vendor": "V1", "amount": Decimal("100.00"), "currency": "USD", "number": "INV-1", "status": 2,
    }  # fmt: skip
    return Listed(**facts | changes)


def bill(**changes: Any) -> Found:
    facts: dict[str, Any] = {
        "key": "77", "number": "INV-1", "vendor": "V1", "amount": Decimal("100.00"), "currency": "USD", "state": "posted",
        "markers": (ID.marker(),),
    }  # fmt: skip
    return Found(**facts | changes)


@dataclass
class FakeSage:
    """Bills and attachments in memory. `lose`: answers lost after the commit; `shown`: what queries show in place of the bills;
    `yes_again`: the key with which a first revision is answered, as Sage repeats an earlier yes.
    """

    bills: dict[str, Found] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    refusals: list[ConnectError] = field(default_factory=list)
    lose: int = 0
    shown: list[Found] | None = None
    writes: list[str] = field(default_factory=list)
    die_at: str = ""
    yes_again: str = ""
    prepared: set[DocumentId] = field(default_factory=set)
    during: Callable[[], Any] | None = None

    async def find(self, traces: Sequence[Trace], keys: Sequence[Collection[str]] = ()) -> list[list[Found]]:
        bills = list(self.bills.values()) if self.shown is None else self.shown
        named = keys or [()] * len(traces)
        return [
            [one for one in bills if one.is_of(trace.root) or (one.vendor, one.number) in trace.numbers or one.key in own]
            for trace, own in zip(traces, named, strict=True)
        ]

    async def bill(self, key: str) -> Found | None:
        return self.bills.get(key)

    async def delete(self, key: str, before_write: Any) -> None:
        await self._write(f"delete {key}", before_write)
        found = self.bills.get(key)
        if found is not None and found.state in ("paid", "partiallyPaid", "selected", "reversed"):
            raise Permanent(f"A bill in the state {found.state} cannot be deleted")
        self.bills.pop(key, None)
        self._answer()

    async def reverse(self, key: str, before_write: Any) -> None:
        await self._write(f"reverse {key}", before_write)
        found = self.bills.get(key)
        if found is None or found.state != "posted":
            raise Permanent("A bill in this state cannot be reversed")
        self.bills[key] = replace(found, state="reversed", number=f"Reversed - {found.number}")
        self._answer()

    async def has_files(self, root: str) -> bool:
        return bool(self._left(root, ""))

    async def tidy(self, root: str, gone: str, before_write: Any) -> None:
        for name in self._left(root, gone):
            await self._write(f"delete file {name}", before_write)
            self.files.discard(name)

    def _left(self, root: str, gone: str) -> list[str]:
        bills = self.bills.values() if self.shown is None else self.shown
        used = {marker for one in bills if one.key != gone for marker in one.markers}
        return sorted(name for name in self.files - used if name.startswith(root))

    async def _write(self, what: str, before_write: Any) -> None:
        await before_write()
        if what.startswith(self.die_at) and self.die_at:
            self.die_at = ""
            raise Killed
        self.writes.append(what)
        if self.during is not None:
            await self.during()
        if self.refusals:
            raise self.refusals.pop(0)

    def _answer(self) -> None:
        if self.lose:
            self.lose -= 1
            raise OutcomeUnknown("the answer was lost")

    # what posting wants of it

    async def prepare(self, documents: Sequence[Listed]) -> None:
        self.prepared = {one.id for one in documents}

    async def problems(self, document: Listed) -> list[Problem]:
        assert document.id in self.prepared, "pre-flight without what it must know"
        return []

    async def request(self, document: Listed, revision: int) -> Request:
        return Request(
            kind="bill", body=document.content.encode(), number=document.number, vendor=document.vendor, marker=ID.marker(revision)
        )

    async def create(self, request: Request, document: Listed, key: str, before_write: Any) -> Created:
        await self._write("create", before_write)
        if self.yes_again and request.marker == ID.marker():
            return Created(key=self.yes_again, replayed=True)
        made = bill(key=str(1000 + len(self.writes)), markers=(request.marker,))
        self.bills[made.key] = made
        self.files.add(request.marker)
        self._answer()
        return Created(key=made.key)


@dataclass
class FakePrime:
    """One of Prime's two lists, and the receipts it got."""

    lists: dict[DocumentId, Listed] = field(default_factory=dict)
    receipts: list[tuple[int, str]] = field(default_factory=list)
    refuses: list[ConnectError] = field(default_factory=list)

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        return {one: self.lists[one] for one in ids if one in self.lists}

    async def accept(self, document: Listed, key: str) -> None:
        self._receipt(document, 1, key)

    async def hand_back(self, document: Listed, text: str) -> None:
        self._receipt(document, 2, text)

    def _receipt(self, document: Listed, status: int, words: str) -> None:
        if self.refuses:
            raise self.refuses.pop(0)
        self.receipts.append((status, words))
        self.lists.pop(document.id, None)


@dataclass
class World:
    redis: Redis
    sage: FakeSage
    prime: FakePrime  # the cancellations
    booking: FakePrime
    how: Literal["delete", "reverse"] = "delete"

    @property
    def journal(self) -> Journal:
        """A new worker each time: only Redis remembers."""
        return Journal(self.redis, "sid", lock_s=LOCK_S)

    async def cancel(self) -> Result:
        cancelling = Cancelling("bill", self.sage, self.prime, self.journal, Rules(settle_s=SETTLE_S), how=self.how)
        (result,) = await cancelling.cancel([ID])
        return result

    async def post(self) -> Result:
        (result,) = await Posting("bill", self.sage, self.booking, self.journal, Rules(settle_s=SETTLE_S)).post([ID])
        return result

    async def settle(self, what: Callable[[], Any] | None = None) -> Result:
        """Come back as often as it says, as the queue does."""
        for _ in range(12):
            result: Result = await (what or self.cancel)()
            if result.state not in ("waiting", "busy"):
                return result
            await passes(self.redis, min(result.again_s, LOCK_S + SETTLE_S) + 0.02)
        raise AssertionError(f"it never settled: {result}")

    async def book(self) -> str:
        self.booking.lists[ID] = listed(status=4)
        result = await self.settle(self.post)
        assert result.state == "booked"
        return result.key

    async def state(self) -> str:
        return (await self.journal.entry("bill", ID)).state


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis, FakeSage(), FakePrime({ID: listed()}), FakePrime())


async def test_a_booked_bill_goes_with_its_files_and_prime_hears_it_once(world: World) -> None:
    key = await world.book()
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.bills, world.sage.files, world.prime.receipts) == ({}, set(), [(1, key)])
    assert (await world.cancel()).state == "not_listed"
    assert await world.state() == "cancelled"


async def test_a_reversed_bill_keeps_its_files(world: World) -> None:
    world.how = "reverse"
    key = await world.book()
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.bills[key].state, world.sage.files) == ("reversed", {ID.marker()})
    assert world.prime.receipts == [(1, key)]


@pytest.mark.parametrize("state", ["draft", "submitted", "partiallyApproved", "declined"])
async def test_what_is_not_posted_is_deleted_also_when_bills_are_to_be_reversed(world: World, state: str) -> None:
    world.how = "reverse"
    world.sage.bills["77"] = bill(state=state)
    assert (await world.cancel()).state == "cancelled"
    assert world.sage.writes == ["delete 77"]


async def test_right_after_a_booking_it_waits_until_queries_are_sure_to_show_it(world: World) -> None:
    await world.book()
    result = await world.cancel()
    assert (result.state, len(world.sage.bills)) == ("waiting", 1)
    assert result.again_s <= LOCK_S + SETTLE_S


async def test_an_unknown_create_comes_first(world: World) -> None:
    """Its answer is lost and queries do not show it yet: neither "gone" nor "never booked" is said, and then it is taken away."""
    world.booking.lists[ID] = listed(status=4)
    world.sage.lose, world.sage.shown = 1, []
    assert (await world.post()).state == "waiting"
    assert (await world.cancel()).state == "waiting"
    assert world.prime.receipts == []
    world.sage.shown = None
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.bills, world.sage.files) == ({}, set())


async def test_a_create_that_never_arrived_is_cancelled_too(world: World) -> None:
    world.booking.lists[ID] = listed(status=4)
    world.sage.refusals = [OutcomeUnknown("time-out")]
    assert (await world.post()).state == "waiting"
    assert (await world.settle()).state == "cancelled"
    assert [status for status, _ in world.prime.receipts] == [1]


@pytest.mark.parametrize("how", ["delete", "reverse"])
async def test_a_lost_answer_is_looked_up(world: World, how: Literal["delete", "reverse"]) -> None:
    world.how = how
    await world.book()
    await passes(world.redis, LOCK_S + SETTLE_S)
    world.sage.lose = 1
    assert (await world.cancel()).state == "waiting"
    assert (await world.settle()).state == "cancelled"
    assert [write.split()[0] for write in world.sage.writes if "file" not in write] == ["create", how]
    assert [status for status, _ in world.prime.receipts] == [1]
    assert world.sage.files == ({ID.marker()} if how == "reverse" else set())


async def test_a_cancellation_that_never_arrived_is_sent_again(world: World) -> None:
    world.sage.bills["77"] = bill()
    world.sage.refusals = [OutcomeUnknown("time-out")]
    assert (await world.cancel()).state == "waiting"
    assert (await world.settle()).state == "cancelled"
    assert world.sage.writes == ["delete 77", "delete 77"]


@pytest.mark.parametrize("step", ["delete 77", "delete file"])
@pytest.mark.parametrize("flush", [False, True], ids=["remembered", "forgotten"])
async def test_a_worker_killed_between_two_steps_is_continued(world: World, step: str, flush: bool) -> None:
    world.sage.bills["77"] = bill()
    world.sage.files = {ID.marker()}
    world.sage.die_at = step
    with pytest.raises(Killed):
        await world.cancel()
    if flush:
        await world.redis.flushall()
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.bills, world.sage.files) == ({}, set())
    assert [status for status, _ in world.prime.receipts] == [1]


@pytest.mark.parametrize("flush", [False, True], ids=["remembered", "forgotten"])
async def test_a_receipt_that_fails_is_the_only_thing_repeated(world: World, flush: bool) -> None:
    world.sage.bills["77"] = bill()
    world.prime.lists[ID] = listed(booked_as="77")
    world.prime.refuses = [Transient("Prime is away")]
    assert (await world.cancel()).state == "waiting"
    if flush:
        await world.redis.flushall()
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.writes, world.prime.receipts) == (["delete 77"], [(1, "77")])


async def test_a_receipt_refused_for_good_counts_as_cancelled(world: World) -> None:
    world.sage.bills["77"] = bill()
    world.prime.refuses = [Permanent("Status does not match")]
    result = await world.cancel()
    assert (result.state, result.note) == ("cancelled", "Prime refuses the receipt: Status does not match")


async def test_two_workers_at_once_cancel_it_once(world: World) -> None:
    states: list[str] = []

    async def one() -> None:
        states.append((await world.cancel()).state)

    async def slowly() -> None:
        while len(states) < 7:  # the others have all come meanwhile
            await asyncio.sleep(0.01)

    world.sage.bills["77"] = bill()
    world.sage.during = slowly
    await asyncio.gather(*(one() for _ in range(8)))
    assert states == ["busy"] * 7 + ["cancelled"]
    assert (world.sage.writes, len(world.prime.receipts)) == (["delete 77"], 1)


async def test_posting_and_cancelling_share_the_lock(world: World) -> None:
    async def cancel() -> None:
        world.sage.during = None
        results.append(await world.cancel())

    results: list[Result] = []
    world.booking.lists[ID] = listed(status=4)
    world.sage.during = cancel
    await world.post()
    assert [result.state for result in results] == ["busy"]


async def test_a_worker_that_lost_its_lock_says_nothing(world: World) -> None:
    async def lose_the_lock() -> None:
        async for key in world.redis.scan_iter(match="*:lock"):
            await world.redis.set(key, "somebody else", px=200)

    world.sage.bills["77"] = bill()
    world.sage.during = lose_the_lock
    assert (await world.cancel()).state == "waiting"
    assert world.prime.receipts == []
    world.sage.during = None
    assert (await world.settle()).state == "cancelled"


@pytest.mark.parametrize(
    ("state", "words"),
    [("paid", "is paid"), ("partiallyPaid", "partly paid"), ("selected", "selected for payment"), ("analyzing", "state")],
)
async def test_only_unpaid_bills_go(world: World, state: str, words: str) -> None:
    world.sage.bills["77"] = bill(state=state)
    result = await world.cancel()
    assert (result.state, world.sage.writes) == ("refused", [])
    ((status, text),) = world.prime.receipts
    assert status == 2
    assert words in text


async def test_a_bill_paid_meanwhile_is_refused_in_words_and_stays_booked(world: World) -> None:
    key = await world.book()
    await passes(world.redis, LOCK_S + SETTLE_S)
    world.sage.shown = [world.sage.bills[key]]
    world.sage.bills[key] = replace(world.sage.bills[key], state="paid")
    assert (await world.settle()).state == "refused"
    assert "is paid in Sage" in world.prime.receipts[0][1]
    entry = await world.journal.entry("bill", ID)
    assert (entry.state, entry.key, world.sage.files) == ("receipted", key, {ID.marker()})


async def test_what_sage_refuses_goes_back_in_its_own_words_and_may_be_tried_again(world: World) -> None:
    world.how = "reverse"
    world.sage.bills["77"] = bill()
    world.sage.refusals = [Permanent("Not for you", system="sage", code="permissionDenied", request_id="q-1")]
    result = await world.cancel()
    assert (result.state, result.problems) == ("refused", (Problem("Not for you", "Sage administrator", 0, "permissionDenied", "q-1"),))
    assert world.prime.receipts == [(2, "Not for you")]
    world.prime.lists[ID] = listed()
    assert (await world.settle()).state == "cancelled"


async def test_told_to_slow_down_nothing_has_happened_and_nothing_waits_to_settle(world: World) -> None:
    world.sage.bills["77"] = bill()
    world.sage.refusals = [RateLimited("429", retry_after_s=0.05)]
    result = await world.cancel()
    assert (result.state, result.again_s) == ("waiting", 0.05)
    assert (await world.cancel()).state == "cancelled"


@pytest.mark.parametrize("proof", ["Prime names it", "its files", "reversed"])
async def test_a_bill_that_is_gone_and_was_ours_is_cancelled(world: World, proof: str) -> None:
    if proof == "Prime names it":
        world.prime.lists[ID] = listed(booked_as="77")
    elif proof == "its files":
        world.sage.files = {ID.marker()}
    else:
        world.sage.bills["77"] = bill(state="reversed", number="Reversed - INV-1")
    result = await world.cancel()
    assert (result.state, result.note) == ("cancelled", "it was gone already")
    assert (world.sage.files, [status for status, _ in world.prime.receipts]) == (set(), [1])


async def test_a_bill_deleted_by_hand_after_the_receipt_is_known_from_the_journal(world: World) -> None:
    key = await world.book()
    del world.sage.bills[key]
    assert (await world.settle()).state == "cancelled"
    assert (world.sage.files, world.prime.receipts) == (set(), [(1, key)])


async def test_a_bill_that_was_never_booked_is_a_refusal(world: World) -> None:
    assert (await world.cancel()).state == "refused"
    assert "nothing shows that one was booked from Prime" in world.prime.receipts[0][1]


async def test_a_bill_typed_by_hand_with_its_number_is_not_ours(world: World) -> None:
    world.sage.bills["77"] = bill(markers=())
    assert (await world.cancel()).state == "refused"
    assert "was not booked from Prime (bill 77 (posted))" in world.prime.receipts[0][1]
    assert "77" in world.sage.bills


@pytest.mark.parametrize(
    "changes",
    [{"vendor": "V2"}, {"amount": Decimal("99.99")}, {"currency": "EUR"}, {"markers": (ID._replace(number="9").marker(),)}],
    ids=["vendor", "amount", "currency", "another document's"],
)
async def test_a_voucher_number_that_is_another_bill_cancels_nothing(world: World, changes: dict[str, Any]) -> None:
    world.prime.lists[ID] = listed(booked_as="77")
    world.sage.bills["77"] = bill(**{"markers": (), "number": "X"} | changes)
    assert (await world.cancel()).state == "refused"
    assert "a bill in Sage that is not of this invoice" in world.prime.receipts[0][1]
    assert "77" in world.sage.bills


async def test_a_bill_that_the_incumbent_booked_is_known_by_the_number_in_prime(world: World) -> None:
    world.prime.lists[ID] = listed(booked_as="77")
    world.sage.bills["77"] = bill(markers=(), number="X")
    assert (await world.cancel()).state == "cancelled"
    assert world.sage.bills == {}


async def test_two_bills_of_one_document_are_for_a_person(world: World) -> None:
    world.sage.bills = {"77": bill(), "78": bill(key="78")}
    result = await world.cancel()
    assert (result.state, world.prime.receipts, len(world.sage.bills)) == ("person", [], 2)


async def test_nothing_is_cancelled_right_after_redis_lost_everything(world: World) -> None:
    world.sage.bills["77"] = bill()
    await world.redis.flushall()
    assert (await world.cancel()).state == "waiting"
    assert (await world.settle()).state == "cancelled"


# -- the tombstone -----------------------------------------------------------------------------------------------------


async def test_a_late_post_of_a_cancelled_document_does_nothing(world: World) -> None:
    await world.book()
    await world.settle()
    assert (await world.post()).state == "not_listed"
    assert world.sage.bills == {}


@pytest.mark.parametrize("how", ["delete", "reverse"])
@pytest.mark.parametrize("lagging", [False, True], ids=["current", "queries lag"])
async def test_listed_for_booking_again_it_is_a_new_request(world: World, how: Literal["delete", "reverse"], lagging: bool) -> None:
    world.how = how
    first = await world.book()
    before = [world.sage.bills[first]]
    await world.settle()
    world.booking.lists[ID] = listed(status=4)
    if lagging:
        world.sage.shown = before
        assert (await world.post()).state == "waiting", "the bill that queries still show is not adopted"
        world.sage.shown = None
    key = await world.book()
    assert key != first
    assert world.sage.bills[key].markers == (ID.marker(1),)


@pytest.mark.parametrize("how", ["delete", "reverse"])
async def test_it_is_a_new_request_also_when_redis_has_forgotten_the_old_one(world: World, how: Literal["delete", "reverse"]) -> None:
    """Sage may say yes once more under the first key; Prime names the bill, so it knows of its end."""
    world.how = how
    first = await world.book()
    await world.settle()
    await world.redis.flushall()
    world.sage.yes_again = first
    world.booking.lists[ID] = listed(status=4, booked_as=first)
    result = await world.settle(world.post)
    assert (result.state, world.sage.bills[result.key].markers) == ("booked", (ID.marker(1),))


async def test_a_half_done_cancellation_of_a_document_that_is_to_be_booked_again(world: World) -> None:
    await world.book()
    await passes(world.redis, LOCK_S + SETTLE_S)
    world.sage.lose = 1
    assert (await world.cancel()).state == "waiting"
    del world.prime.lists[ID]
    key = await world.book()
    assert [one.key for one in world.sage.bills.values()] == [key]
    assert world.sage.bills[key].markers == (ID.marker(1),)


async def test_listed_for_cancellation_again_it_gets_its_receipt_again(world: World) -> None:
    key = await world.book()
    await world.settle()
    world.prime.lists[ID] = listed()
    assert (await world.cancel()).state == "cancelled"
    assert world.prime.receipts == [(1, key), (1, key)]


# -- death at every step -----------------------------------------------------------------------------------------------

STEPS = ("find", "delete", "reverse", "has_files", "tidy", "bill")  # of Sage; Prime's are listed, accept, hand_back


class Death:
    """Kills whoever makes the n-th move, before it (odd) or after it (even): a call to Sage or Prime, or a line in the journal."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.moves = 0

    def around(self, move: Callable[..., Any]) -> Callable[..., Any]:
        async def doomed(*args: Any, **options: Any) -> Any:
            self._move()
            result = await move(*args, **options)
            self._move()
            return result

        return doomed

    def _move(self) -> None:
        self.moves += 1
        if self.moves == self.at:
            raise Killed


@pytest.mark.parametrize("how", ["delete", "reverse"])
@pytest.mark.parametrize("flush", [False, True], ids=["remembered", "forgotten"])
@pytest.mark.parametrize("paid", [False, True], ids=["unpaid", "paid"])
async def test_whoever_dies_at_any_step_another_goes_on(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, how: Literal["delete", "reverse"], flush: bool, paid: bool
) -> None:
    for at in range(1, 200):
        await redis.flushall()
        await epoch.begin(redis)
        world = World(
            redis, FakeSage({"77": bill(state="paid" if paid else "posted")}, {ID.marker()}), FakePrime({ID: listed()}), FakePrime(), how
        )
        world.prime.lists[ID] = listed(booked_as="77")
        death = Death(at)
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(world.sage, name, death.around(getattr(world.sage, name)))
            for name in ("listed", "accept", "hand_back"):
                patch.setattr(world.prime, name, death.around(getattr(world.prime, name)))
            for name in ("entry", "save", "stamp"):
                patch.setattr(Lock, name, _bound(death, getattr(Lock, name)))
            try:
                await world.cancel()
            except Killed:
                pass
            else:
                break
        if flush:
            await redis.flushall()
        result = await world.settle()
        assert result.state in ("refused" if paid else "cancelled", "not_listed"), at
        left = {"77": bill(state="paid")} if paid else {"77": bill(state="reversed", number="Reversed - INV-1")} if how == "reverse" else {}
        assert (world.sage.bills, world.sage.files) == (left, {ID.marker()} if left else set()), at
        assert [status for status, _ in world.prime.receipts] == [2 if paid else 1], at
    assert at > (10 if paid else 20), "every step was one to die at"


def _bound(death: Death, method: Callable[..., Any]) -> Callable[..., Any]:
    async def bound(self: Lock, *args: Any, **options: Any) -> Any:
        return await death.around(method)(self, *args, **options)

    return bound
