"""The posting protocol over a Sage and a Prime in memory: every case of design section 4 has one outcome, and none books twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from passing import passes
from redis.asyncio import Redis

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, RateLimited, Transient
from connect.ledger import Created, DocumentId, Found, Listed, Owner, Problem, Request, Trace
from connect.posting import TOGETHER, Posting, Result, Rules
from connect.state.journal import LIVES, Journal

LOCK_S, SETTLE_S = 30.0, 10.0
ID = DocumentId("DEMO", "100", "1", "8543")


def invoice(**changes: Any) -> Listed:
    facts: dict[str, Any] = {
        "id": ID, "content": "c1", "vendor": "V1", "amount": Decimal("100.00"), "currency": "USD", "number": "INV-1", "name": "Vendor 1",
    }  # fmt: skip
    return Listed(**facts | changes)


@dataclass
class FakeSage:
    """Bills in memory, with idempotency keys as Sage keeps them. `lose`: answers lost after the commit; `hide`: queries lag."""

    bills: list[Found] = field(default_factory=list)
    problems_said: list[Problem] = field(default_factory=list)
    refusals: list[ConnectError] = field(default_factory=list)
    lose: int = 0
    hide: bool = False
    keys: dict[str, tuple[bytes, Created | ConnectError]] = field(default_factory=dict)
    sent: list[Request] = field(default_factory=list)
    tidied: list[str] = field(default_factory=list)
    prepared: set[DocumentId] = field(default_factory=set)
    during: Callable[[], Any] | None = None

    async def find(self, traces: Sequence[Trace]) -> list[list[Found]]:
        if self.hide:
            return [[] for _ in traces]
        return [[bill for bill in self.bills if bill.is_of(trace.root) or (bill.vendor, bill.number) in trace.numbers] for trace in traces]

    async def prepare(self, listed: Sequence[Listed]) -> None:
        self.prepared = {one.id for one in listed}

    async def problems(self, listed: Listed) -> list[Problem]:
        assert listed.id in self.prepared, "pre-flight without what it must know"
        return self.problems_said

    async def request(self, listed: Listed, revision: int) -> Request:
        marker = listed.id.marker(revision)
        return Request(
            kind="bill", body=f"{listed.content} {listed.amount}".encode(), number=listed.number, vendor=listed.vendor, marker=marker
        )

    async def create(self, request: Request, listed: Listed, key: str, before_write: Any) -> Created:
        await before_write()
        self.sent.append(request)
        if self.during is not None:
            await self.during()
        if key in self.keys:
            body, said = self.keys[key]
            if body != request.body:
                raise Permanent("key used with another body", code="burnt")
            if isinstance(said, ConnectError):
                raise Permanent(f"replayed: {said.message}", code="burnt")
            return replace(said, replayed=True)
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Permanent):
                self.keys[key] = request.body, refusal
            raise refusal
        created = Created(key=str(1000 + len(self.bills)))
        amount = Decimal(request.body.split()[1].decode())
        self.bills.append(
            Found(
                key=created.key,
                number=request.number,
                vendor=request.vendor,
                amount=amount,
                currency="USD",
                state="posted",
                markers=(request.marker,),
            )
        )
        self.keys[key] = request.body, created
        if self.lose:
            self.lose -= 1
            raise OutcomeUnknown("the answer was lost")
        return created

    async def tidy(self, listed: Listed, before_write: Any) -> None:
        await before_write()
        self.tidied.append(listed.id.marker())


@dataclass
class FakePrime:
    """What is listed, and the receipts it got."""

    lists: dict[DocumentId, Listed] = field(default_factory=dict)
    receipts: list[tuple[int, str]] = field(default_factory=list)
    refuses: list[ConnectError] = field(default_factory=list)

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        return {one: self.lists[one] for one in ids if one in self.lists}

    async def accept(self, listed: Listed, key: str) -> None:
        if self.refuses:
            raise self.refuses.pop(0)
        self.receipts.append((1, key))
        self.lists.pop(listed.id, None)

    async def hand_back(self, listed: Listed, text: str) -> None:
        if self.refuses:
            raise self.refuses.pop(0)
        self.receipts.append((2, text))
        self.lists.pop(listed.id, None)


@dataclass
class World:
    redis: Redis
    sage: FakeSage
    prime: FakePrime
    rules: Rules = field(default_factory=lambda: Rules(settle_s=SETTLE_S))

    @property
    def posting(self) -> Posting:
        """A new worker each time: only Redis remembers."""
        return Posting("bill", self.sage, self.prime, Journal(self.redis, "sid", lock_s=LOCK_S), self.rules)

    async def post(self, document: DocumentId = ID) -> Result:
        (result,) = await self.posting.post([document])
        return result

    async def settle(self, document: DocumentId = ID, states: tuple[str, ...] = ("waiting", "busy")) -> Result:
        """Come back as often as it says, as the queue does."""
        for _ in range(12):
            result = await self.post(document)
            if result.state not in states:
                return result
            await passes(self.redis, min(result.again_s, LOCK_S + SETTLE_S) + 0.02)
        raise AssertionError(f"it never settled: {result}")


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis, FakeSage(), FakePrime({ID: invoice()}))


async def test_an_invoice_is_booked_once_and_prime_told_once(world: World) -> None:
    assert (await world.post()).state == "booked"
    assert (await world.post()).state == "not_listed"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [(1, "1000")])


async def test_a_lost_answer_is_looked_up_and_adopted(world: World) -> None:
    world.sage.lose = 1
    assert (await world.post()).state == "waiting"
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), len(world.sage.sent), world.prime.receipts) == (1, 1, [(1, "1000")])


async def test_while_queries_lag_nothing_is_sent_and_nothing_refused(world: World) -> None:
    world.sage.lose, world.sage.hide = 1, True
    await world.post()
    world.prime.lists[ID] = invoice(vendor="V2", number="INV-2", content="c2")
    result = await world.post()
    assert (result.state, len(world.sage.sent)) == ("waiting", 1)
    world.sage.hide = False
    result = await world.settle()
    assert result.state == "person", "its bill is there, and Prime now says another vendor"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [])


async def test_what_never_arrived_is_sent_again_with_the_same_bytes_and_key(world: World) -> None:
    world.sage.refusals = [OutcomeUnknown("time-out")]
    assert (await world.post()).state == "waiting"
    assert (await world.settle()).state == "booked"
    first, second = world.sage.sent
    assert (first, len(world.sage.bills)) == (second, 1)


async def test_two_workers_at_once_book_it_once(world: World) -> None:
    states: list[str] = []

    async def one() -> None:
        states.append((await world.post()).state)

    async def slowly() -> None:
        while len(states) < 7:  # the others have all come meanwhile
            await asyncio.sleep(0.01)

    world.sage.during = slowly
    await asyncio.gather(*(one() for _ in range(8)))
    assert states == ["busy"] * 7 + ["booked"]
    assert len(world.sage.bills) == 1


async def test_documents_that_wait_long_for_their_turn_keep_their_locks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are worked on at once, each for half a lock's life: the last begin when the locks as taken would be over."""
    monkeypatch.setattr(f"{__name__}.LOCK_S", 1.5)
    ids = [ID._replace(number=str(number)) for number in range(3 * TOGETHER)]
    world.prime.lists |= {one: invoice(id=one, number=f"INV-{one.number}") for one in ids}

    async def slowly() -> None:
        await asyncio.sleep(LOCK_S / 2)

    world.sage.during = slowly
    assert {result.state for result in await world.posting.post(ids)} == {"booked"}
    assert len(world.sage.bills) == len(world.prime.receipts) == len(ids)


async def test_a_batch_that_takes_too_long_lets_go_of_what_it_has_not_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Prime listed long ago is listed anew."""
    monkeypatch.setattr(f"{__name__}.LOCK_S", 0.5)
    ids = [ID._replace(number=str(number)) for number in range(TOGETHER + 1)]
    world.prime.lists |= {one: invoice(id=one, number=f"INV-{one.number}") for one in ids}

    async def very_slowly() -> None:
        await asyncio.sleep((LIVES + 0.5) * LOCK_S)

    world.sage.during = very_slowly
    results = {result.id: result for result in await world.posting.post(ids)}
    assert results[ids[-1]].state == "waiting"
    assert "lock" in results[ids[-1]].note
    assert len(world.sage.sent) == TOGETHER


async def test_who_gets_no_lock_asks_prime_for_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(world.redis, "sid", lock_s=LOCK_S)
    assert await journal.lock("bill", ID) is not None

    async def asked(_ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        raise AssertionError("there is nothing to ask for")

    monkeypatch.setattr(world.prime, "listed", asked)
    assert (await world.post()).state == "busy"


async def test_a_worker_that_lost_its_lock_writes_nothing_more(world: World) -> None:
    async def lose_the_lock() -> None:
        async for key in world.redis.scan_iter(match="*:lock"):
            await world.redis.set(key, "somebody else", px=200)

    world.sage.during = lose_the_lock
    assert (await world.post()).state == "waiting"
    assert world.prime.receipts == []
    world.sage.during = None
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [(1, "1000")])


async def test_all_problems_go_back_in_one_text_and_a_resent_invoice_is_booked(world: World) -> None:
    world.sage.problems_said = [Problem("account 6540 is inactive", line=1), Problem("vendor V1 is on hold")]
    assert (await world.post()).state == "refused"
    assert world.prime.receipts == [(2, "Line 1: account 6540 is inactive | vendor V1 is on hold")]
    world.sage.problems_said = []
    world.prime.lists[ID] = invoice(content="c2")
    assert (await world.settle()).state == "booked"
    assert len(world.sage.bills) == 1


@pytest.mark.parametrize("content", ["c1", "c2"], ids=["unchanged", "changed"])
async def test_an_invoice_that_sage_refused_and_prime_resends_is_booked_under_another_key(world: World, content: str) -> None:
    world.sage.refusals = [Permanent("Line 1: account 6540 is not valid", code="x")]
    assert (await world.post()).state == "refused"
    assert world.sage.tidied == [ID.marker()]
    world.prime.lists[ID] = invoice(content=content)
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), len(world.sage.keys)) == (1, 2)
    assert world.prime.receipts[-1] == (1, "1000")


@pytest.mark.parametrize("owner", ["operator", "consultant", "Sage administrator"])
async def test_what_others_must_mend_stays_listed_until_its_days_are_over(world: World, owner: Owner) -> None:
    world.rules = Rules(settle_s=SETTLE_S, refuse_after_s=4 * 86_400)
    world.sage.problems_said = [Problem("folder Receipts does not exist", owner)]
    assert (await world.post()).state == "held"
    assert world.prime.receipts == []
    await passes(world.redis, 4 * 86_400 - 60)
    assert (await world.post()).state == "held"
    await passes(world.redis, 61)
    assert (await world.post()).state == "refused"


async def test_return_errors_all_hands_everything_back_at_once(world: World) -> None:
    world.rules = Rules(settle_s=SETTLE_S, return_all=True)
    world.sage.problems_said = [Problem("folder Receipts does not exist", "consultant")]
    assert (await world.post()).state == "refused"


async def test_a_held_invoice_whose_cause_is_gone_is_booked(world: World) -> None:
    world.sage.problems_said = [Problem("currency SEK is not enabled", "Sage administrator")]
    assert (await world.post()).state == "held"
    world.sage.problems_said = []
    assert (await world.settle()).state == "booked"


async def test_a_receipt_that_fails_is_the_only_thing_repeated(world: World) -> None:
    world.prime.refuses = [Transient("Prime is away"), Transient("Prime is away")]
    assert (await world.post()).state == "waiting"
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.sent), world.prime.receipts) == (1, [(1, "1000")])


async def test_a_receipt_refused_for_good_counts_as_booked(world: World) -> None:
    world.prime.refuses = [Permanent("Status does not match")]
    result = await world.post()
    assert (result.state, result.note) == ("booked", "Prime refuses the receipt: Status does not match")
    assert (await world.settle()).state == "booked"
    assert len(world.sage.bills) == 1


async def test_a_bill_typed_by_hand_before_is_a_number_already_used(world: World) -> None:
    world.sage.bills = [Found(key="7", number="INV-1", vendor="V1", amount=Decimal("100.00"), currency="USD", state="posted")]
    result = await world.post()
    assert (result.state, world.sage.sent) == ("refused", [])
    assert "INV-1 of vendor V1 is already used" in world.prime.receipts[0][1]


async def test_a_bill_of_the_incumbent_is_adopted_by_its_link(world: World) -> None:
    world.sage.bills = [Found(key="7", number="X", vendor="V1", amount=Decimal("100.00"), currency="USD", state="paid", has_link=True)]
    assert (await world.post()).state == "booked"
    assert (world.sage.sent, world.prime.receipts) == ([], [(1, "7")])


@pytest.mark.parametrize(
    "changes", [{"vendor": "V2"}, {"amount": Decimal("99.99")}, {"currency": "EUR"}], ids=["vendor", "amount", "currency"]
)
async def test_a_bill_with_our_marker_that_disagrees_is_for_a_person(world: World, changes: dict[str, Any]) -> None:
    bill = Found(key="7", number="INV-1", vendor="V1", amount=Decimal("100.00"), currency="USD", state="posted", markers=(ID.marker(),))
    world.sage.bills = [replace(bill, **changes)]
    result = await world.post()
    assert (result.state, world.sage.sent, world.prime.receipts) == ("person", [], [])


async def test_two_bills_of_one_document_are_for_a_person(world: World) -> None:
    bill = Found(key="7", number="INV-1", vendor="V1", amount=Decimal("100.00"), currency="USD", state="posted", markers=(ID.marker(),))
    world.sage.bills = [bill, replace(bill, key="8")]
    assert (await world.post()).state == "person"


@pytest.mark.parametrize("end", ["reversed", "deleted"])
async def test_a_bill_that_ended_after_the_receipt_and_an_invoice_resent_is_the_next_revision(world: World, end: str) -> None:
    await world.post()
    world.sage.bills = [replace(bill, state="reversed") for bill in world.sage.bills] if end == "reversed" else []
    world.prime.lists[ID] = invoice()
    assert (await world.settle()).state == "booked"
    assert [bill.markers for bill in world.sage.bills if bill.state == "posted"] == [(ID.marker(1),)]
    assert len(world.prime.receipts) == 2


async def test_a_bill_reversed_before_prime_was_told_is_for_a_person(world: World) -> None:
    world.prime.refuses = [Transient("Prime is away")]
    await world.post()
    world.sage.bills = [replace(bill, state="reversed") for bill in world.sage.bills]
    assert (await world.settle()).state == "person"


async def test_an_invoice_listed_again_while_its_bill_lives_gets_its_receipt_again(world: World) -> None:
    await world.post()
    world.prime.lists[ID] = invoice()
    assert (await world.post()).state == "booked"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [(1, "1000"), (1, "1000")])


async def test_one_number_in_two_companies_is_two_documents(world: World) -> None:
    other = ID._replace(company="200")
    world.prime.lists[other] = invoice(id=other, vendor="V2")
    results = await world.posting.post([ID, other])
    assert [result.state for result in results] == ["booked", "booked"]
    assert len(world.sage.bills) == 2


async def test_a_duplicate_that_cannot_be_found_is_for_a_person_and_never_refused(world: World) -> None:
    world.sage.refusals = [Permanent("Another record with the value INV-1", code="duplicate") for _ in range(4)]
    assert (await world.settle()).state == "person"
    assert world.prime.receipts == []


async def test_a_refusal_after_a_lost_answer_is_looked_up_once_more(world: World) -> None:
    """The first sending may have been booked late; its second is refused as it says "period closed"."""
    world.sage.refusals = [OutcomeUnknown("time-out"), Permanent("period closed", code="closed")]
    await world.post()
    result = await world.settle()
    assert result.state == "refused"
    assert world.prime.receipts == [(2, "period closed")]
    assert world.sage.bills == []


async def test_nothing_is_created_right_after_redis_lost_everything(world: World) -> None:
    world.sage.lose, world.sage.hide = 1, True
    await world.post()
    await world.redis.flushall()
    assert (await world.post()).state == "waiting"
    world.sage.hide = False
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), len(world.sage.sent)) == (1, 1)


async def test_told_to_slow_down_nothing_has_happened_and_nothing_waits_to_settle(world: World) -> None:
    world.sage.refusals = [RateLimited("429", retry_after_s=0.05)]
    result = await world.post()
    assert (result.state, result.again_s) == ("waiting", 0.05)
    assert (await world.post()).state == "booked"


async def test_one_documents_trouble_is_not_anothers(world: World) -> None:
    other = ID._replace(number="8544")
    world.prime.lists[other] = invoice(id=other, number="INV-2")
    world.sage.refusals = [Transient("reset")]
    results = {result.id: result.state for result in await world.posting.post([ID, other])}
    assert sorted(results.values()) == ["booked", "waiting"]


async def test_a_yes_that_sage_only_repeats_is_never_made_anew_however_long_queries_lag(world: World) -> None:
    """The last line when queries lag longer than `settle_s`: what Sage says it made is not made again, but looked for by a person."""
    world.sage.lose, world.sage.hide = 1, True
    assert (await world.settle()).state == "person"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [])
    world.sage.hide = False
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [(1, "1000")])


async def test_one_document_that_is_not_let_in_takes_no_lock_from_another_at_work(world: World) -> None:
    other = ID._replace(number="8544")
    world.prime.lists[other] = invoice(id=other, number="INV-2")

    async def first_refused_then_slow() -> None:
        if len(world.sage.sent) == 1:
            raise Auth("not let in", system="sage", code="403")
        await asyncio.sleep(0.1)

    world.sage.during = first_refused_then_slow
    results = {result.state: result for result in await world.posting.post([ID, other])}
    assert set(results) == {"booked", "waiting"}
    assert results["waiting"].note == "not let in"


async def test_nobody_let_in_is_said_to_the_queue(world: World) -> None:
    world.sage.refusals = [Auth("not let in", system="sage", code="403")]
    with pytest.raises(Auth):
        await world.post()


async def test_a_receipt_is_not_repeated_for_longer_than_the_lock_lives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_listed: Listed, _key: str) -> None:
        await asyncio.sleep(300)

    with monkeypatch.context() as patched:
        patched.setattr(f"{__name__}.LOCK_S", 0.5)
        patched.setattr(world.prime, "accept", hangs)
        assert (await world.post()).note == "Prime did not take the receipt in time"
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.sent), world.prime.receipts) == (1, [(1, "1000")])


async def test_what_prime_lists_no_more_tells_how_it_ended(world: World) -> None:
    """Whoever sent the receipt may have died before anybody heard of it."""
    other = ID._replace(number="8544")
    await world.post()
    world.prime.lists[other] = invoice(id=other, number="INV-2")
    world.sage.problems_said = [Problem("Vendor V1 is not active", code="vendor")]
    await world.post(other)
    booked, refused = await world.posting.post([ID, other])
    assert (booked.state, booked.key, booked.problems) == ("not_listed", "1000", ())
    assert (refused.state, refused.problems) == ("not_listed", tuple(world.sage.problems_said))


async def test_every_refusal_takes_away_what_an_earlier_sending_may_have_left(world: World) -> None:
    """Also one that the journal has forgotten: Redis was emptied in between."""
    world.sage.refusals = [OutcomeUnknown("time-out")]
    await world.post()
    await world.redis.flushall()
    world.sage.problems_said = [Problem("Vendor V1 is not active", code="vendor")]
    assert (await world.settle()).state == "refused"
    assert world.sage.tidied == [ID.marker()]


@pytest.mark.parametrize("change", [{"vendor": "V2"}, {"number": "INV-2"}, {"vendor": "V2", "number": "INV-2"}], ids=str)
async def test_what_never_arrived_and_was_changed_in_prime_meanwhile_is_the_next_revision(world: World, change: dict[str, str]) -> None:
    """Two look-ups that find neither the old number nor the new one; then other bytes under another key."""
    world.sage.refusals = [OutcomeUnknown("time-out")]
    assert (await world.post()).state == "waiting"
    world.prime.lists[ID] = invoice(content="c2", **change)
    assert (await world.settle()).state == "booked"
    first, second = world.sage.sent
    assert (first.marker, second.marker) == (ID.marker(0), ID.marker(1))
    (bill,) = world.sage.bills
    assert (bill.vendor, bill.number) == (change.get("vendor", "V1"), change.get("number", "INV-1"))


async def test_what_arrived_late_under_the_old_number_is_found_by_it(world: World) -> None:
    world.sage.lose, world.sage.hide = 1, True
    await world.post()
    world.prime.lists[ID] = invoice(number="INV-2", content="c2")
    world.sage.bills = [replace(bill, markers=()) for bill in world.sage.bills]  # whatever became of its description
    world.sage.hide = False
    assert (await world.settle()).state == "person"
    assert (len(world.sage.sent), world.prime.receipts) == (1, [])


async def test_the_same_number_at_two_suppliers_is_two_bills(world: World) -> None:
    other = ID._replace(number="8544")
    world.prime.lists[other] = invoice(id=other, vendor="V2")
    results = await world.posting.post([ID, other])
    assert [result.state for result in results] == ["booked", "booked"]
    assert sorted((bill.vendor, bill.number) for bill in world.sage.bills) == [("V1", "INV-1"), ("V2", "INV-1")]


async def test_a_period_closed_between_the_bill_and_the_receipt_refuses_nothing(world: World) -> None:
    world.prime.refuses = [Transient("Prime is away")]
    assert (await world.post()).state == "waiting"
    world.sage.problems_said = [Problem("the period of 2026-03-02 is closed")]
    assert (await world.settle()).state == "booked"
    assert (len(world.sage.bills), world.prime.receipts) == (1, [(1, "1000")])


async def test_at_midnight_the_bytes_that_may_be_on_their_way_stay_as_they_were(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bill's date may be today's: made again, the request would be another one under the same key."""
    days = iter(["2026-03-02", "2026-03-03"])
    plain = world.sage.request

    async def of_today(listed: Listed, revision: int) -> Request:
        made = await plain(listed, revision)
        return replace(made, body=made.body + f" {next(days)}".encode())

    monkeypatch.setattr(world.sage, "request", of_today)
    world.sage.refusals = [OutcomeUnknown("time-out")]
    await world.post()
    assert (await world.settle()).state == "booked"
    assert [request.body.split()[-1] for request in world.sage.sent] == [b"2026-03-02", b"2026-03-02"]


async def test_an_invoice_resent_unchanged_after_a_refusal_is_judged_anew(world: World) -> None:
    world.sage.problems_said = [Problem("account 6540 is inactive")]
    assert (await world.post()).state == "refused"
    assert (await world.post()).state == "not_listed"
    world.prime.lists[ID] = invoice()
    assert (await world.settle()).state == "refused"
    assert world.prime.receipts == [(2, "account 6540 is inactive")] * 2
    world.sage.problems_said = []
    world.prime.lists[ID] = invoice()
    assert (await world.settle()).state == "booked"
    assert len(world.sage.bills) == 1
