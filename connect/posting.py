r"""Never twice, never lost: how one document gets from Prime into Sage (design section 4). No queue in here, and two ports.

                      .--- found in Sage, alive and agreeing (adopt) ---------------------------.
                      |                                                                         v
    (none) --look up--+-- not there --> pre-flight --> intent --> create -- yes --> posted --receipt 1--> receipted
      ^               |                     |            |  ^        |                 |
      |               |                  problems        |  |     unknown,             `-- refused for good --> receipt_refused
      |               |                     |            |  |     duplicate, replayed                           (counts as booked)
      |               |                     v            |  |        |
      |               `-- foreign --> refusing <-- no ---'  `--------'  look up again; "not there" counts only `settle_s`
      |                                     |                           after the last moment at which bytes may have arrived
      |                                  receipt 2
      |                                     v
      `------- listed again ----------- refused                  person: found, but not as we left it; nobody acts but a person

Every step is written down before the next one (journal), every write to Sage or Prime happens under the document's lock, which is checked,
renewed and stamped in one script right before it. So a crash anywhere is continued: what may have been sent is looked up, never guessed.

What safety rests on: a write leaves within `send_within_s` of its stamp or not at all; Sage's queries lag at most `settle_s`; Sage runs no
request later than the write's time-out. Where one of these fails, Sage's idempotency key is the second line.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from connect.catalogue import catalogue
from connect.errors import OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.ledger import Created, DocumentId, Found, Listed, Problem, Request, Trace, problems_text
from connect.state.journal import Entry, Journal, Lock

ALIVE: Final = frozenset({"submitted", "partiallyApproved", "posted", "selected", "partiallyPaid", "paid"})
CANCELLED: Final = ("cancelling", "cancelled")  # what cancelling.py has left in the journal: a request after it is a new one
KEY_LIVES_S: Final = 47 * 3600.0  # Sage replays an idempotency key for 48 hours
TEXT_MOST: Final = 250  # characters of a receipt's error text
TRANSIENT_WAIT_S: Final = 5.0
TOGETHER: Final = 6  # documents of a batch worked on at once

log = structlog.get_logger()


class Books(Protocol):
    """What Sage must offer for one kind of document."""

    async def find(self, traces: Sequence[Trace]) -> list[list[Found]]:
        """What Sage holds of each document, private entity records too; many documents in one query."""

    async def prepare(self, listed: Sequence[Listed]) -> None:
        """Ask Sage, in few queries, for what `problems` will want to know of these."""

    async def problems(self, listed: Listed) -> list[Problem]:
        """Everything that Sage would refuse, and that can be known before."""

    async def request(self, listed: Listed, revision: int) -> Request:
        """The exact bytes. Raises Permanent when there can be none."""

    async def create(self, request: Request, listed: Listed, key: str, before_write: BeforeWrite) -> Created:
        """Send it, its files first; `before_write` is awaited right before each write and says until when it may leave.

        Raises:
            Permanent: Sage refuses; `code` "duplicate" when it says that there is one already, "burnt" when the key is of no use any more
                (409, or a failure that Sage only replays).
            OutcomeUnknown: it may have happened.
            Transient, RateLimited: it has not happened.
        """

    async def tidy(self, listed: Listed, before_write: BeforeWrite) -> None:
        """The document is refused: take away what any sending of it has put beside it, unless a bill has it (its attachments)."""


class Desk(Protocol):
    """What Prime must offer for one kind of document."""

    async def listed(self, ids: Sequence[DocumentId]) -> Mapping[DocumentId, Listed]:
        """Those of them that Prime lists right now."""

    async def accept(self, listed: Listed, key: str) -> None:
        """Booked: receipt 1 with the voucher number. Raises Permanent when Prime refuses it for good."""

    async def hand_back(self, listed: Listed, text: str) -> None:
        """Refused: receipt 2 with the text. Raises Permanent when Prime refuses it for good."""


BeforeWrite = Callable[[], Awaitable[float]]
"""Checks and renews the lock and stamps the journal; returns the moment (monotonic) after which nothing may be sent any more."""

State = Literal["booked", "cancelled", "dated", "refused", "waiting", "held", "person", "not_listed", "busy"]


@dataclass(frozen=True)
class Result:
    """Where a document stands now.

    `waiting`: come back after `again_s`. `held`: others than a clerk must mend it; it stays listed. `busy`: somebody else has its lock.
    `person`: nobody acts on it but a person. `problems`: why, for refused, held and person. `not_listed`: nothing to do; `key` or
    `problems` tell how it ended, where the journal knows. `told` False: Prime refuses the receipt of what was done, for good.
    """

    id: DocumentId
    state: State
    key: str = ""
    again_s: float = 0.0
    problems: tuple[Problem, ...] = ()
    listed: Listed | None = None
    attempt: int = 0
    note: str = ""
    told: bool = True


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`settle_s`: how far Sage's queries may lag. `refuse_after_s`: how long a refusal that is not a clerk's waits before it goes back to
    Prime. `return_all`: everything goes back at once (ReturnErrors = all).
    """

    settle_s: float = 60.0
    refuse_after_s: float = 3 * 86_400.0
    return_all: bool = False


class Posting:
    """The protocol for one kind of document of one connection."""

    def __init__(self, kind: str, books: Books, desk: Desk, journal: Journal, rules: Rules) -> None:
        self._kind = kind
        self._books = books
        self._desk = desk
        self._journal = journal
        self._rules = rules

    async def post(self, ids: Sequence[DocumentId]) -> list[Result]:
        """Bring these documents as far as they get. One listing and one look-up serve all of them. Safe to call again, and at once."""
        return await under_locks(self._journal, self._kind, ids, self._desk.listed, self._post)

    async def _post(self, here: Sequence[Here]) -> list[Result]:
        traces = [trace_of(one.listed, one.entry) for one in here]
        asked_at = await self._journal.now_s()
        found = await self._books.find(traces)
        await self._books.prepare([one.listed for one, bills in zip(here, found, strict=True) if _may_begin(one.listed, bills)])
        return await together(
            [
                (one.listed, partial(self._settle, one.lock, one.listed, one.entry, bills, asked_at))
                for one, bills in zip(here, found, strict=True)
            ]
        )

    # -- one document, looked up ---------------------------------------------------------------------------------------

    async def _settle(self, lock: Lock, listed: Listed, entry: Entry, bills: Sequence[Found], asked_at: float) -> Result:
        root = listed.id.marker()
        ours = [bill for bill in bills if bill.is_of(root)]
        others = [bill for bill in bills if not bill.is_of(root)]
        alive = [bill for bill in ours if bill.state in ALIVE]
        wait_s = await unsettled_s(self._journal, self._rules, entry, asked_at)
        waiting = Result(listed.id, "waiting", again_s=wait_s, listed=listed, note="what Sage has cannot be known yet")
        if alive and wait_s > 0 and entry.state in ("", *CANCELLED):  # it may be one that was just taken away
            return waiting
        if len(alive) > 1:
            return await self._person(lock, listed, f"Sage has {len(alive)} {self._kind}s of this document: {keys_text(alive, self._kind)}")
        if alive:
            return await self._adopt(lock, listed, entry, alive[0])
        ended = entry.state in ("receipted", "receipt_refused", *CANCELLED) or _was_told(listed, entry, ours)
        current = [bill for bill in ours if bill.revision(root) >= entry.revision]
        if current and not ended:
            states = ", ".join(sorted({bill.state for bill in current}))
            return await self._person(lock, listed, f"its {self._kind} in Sage is {states}: {keys_text(current, self._kind)}")
        if wait_s > 0:
            return waiting
        if entry.state == "refusing" and entry.content == listed.content:
            return await self._refuse(lock, listed, entry, entry.problems)
        if entry.state == "posted" and not ended:
            return await self._person(lock, listed, f"its {self._kind} {entry.key} is gone from Sage, and Prime was never told of it")
        if entry.state == "person":
            return Result(listed.id, "person", problems=entry.problems, listed=listed)
        if others and not entry.may_be_sent:
            return await self._refuse(lock, listed, entry, (_taken(listed, others), *await self._problems(listed)))
        if others:
            return await self._person(lock, listed, f"a bill with its number, but without its marker, is in Sage: {keys_text(others)}")
        if entry.may_be_sent and not ended:
            return await self._again(lock, listed, entry, asked_at)
        revision = max([entry.revision + (ended or entry.may_be_sent), *(bill.revision(root) + 1 for bill in ours)])
        return await self._begin(lock, listed, entry, revision)

    async def _adopt(self, lock: Lock, listed: Listed, entry: Entry, bill: Found) -> Result:
        """It is in Sage: never refused, never created again."""
        wrong = disagreements(bill, listed)
        if wrong:
            return await self._person(lock, listed, f"{self._kind} {bill.key} is this one, but {'; '.join(wrong)}")
        if entry.state not in ("posted", "receipted", "receipt_refused") or entry.key != bill.key:
            await lock.save(state="posted", key=bill.key, revision=max(entry.revision, bill.revision(listed.id.marker())))
        return await self._receipt(lock, listed, bill.key, "approved later in Sage" if bill.state == "submitted" else "")

    async def _receipt(self, lock: Lock, listed: Listed, key: str, note: str = "") -> Result:
        try:
            await tell(self._journal, lock, partial(self._desk.accept, listed, key))
        except (Permanent, Poison) as error:
            await lock.save(state="receipt_refused", note=error.message)
            log.error("booked in Sage, and Prime refuses the receipt for good", document=listed.id.text, key=key, reason=error.message)
            return Result(listed.id, "booked", key, listed=listed, note=f"Prime refuses the receipt: {error.message}", told=False)
        await lock.save(state="receipted", note="")
        return Result(listed.id, "booked", key, listed=listed, note=note)

    # -- not in Sage ---------------------------------------------------------------------------------------------------

    async def _begin(self, lock: Lock, listed: Listed, entry: Entry, revision: int) -> Result:
        """A new revision: checked before, written down, sent."""
        problems = await self._problems(listed)
        request: Request | None = None
        try:
            request = None if problems else await self._books.request(listed, revision)
        except (Permanent, Poison) as error:
            problems = [refusal_of(error)]
        if request is None:
            return await self._refuse(lock, listed, entry, tuple(problems))
        entry = await lock.intend(request, revision=revision, content=listed.content, key=_key_of(listed.id, self._kind, revision))
        return await self._create(lock, listed, entry)

    async def _problems(self, listed: Listed) -> list[Problem]:
        try:
            return await self._books.problems(listed)
        except (Permanent, Poison) as error:
            return [refusal_of(error)]

    async def _again(self, lock: Lock, listed: Listed, entry: Entry, asked_at: float) -> Result:
        """Bytes may have been sent, and Sage does not have it. The same bytes under the same key, as long as Sage remembers the key."""
        if entry.said_duplicate:
            return await self._person(lock, listed, "Sage says that there is one already, and none can be found")
        if not entry.burnt and entry.content == listed.content and asked_at - entry.first_sent_at < KEY_LIVES_S:
            return await self._create(lock, listed, entry)
        if not entry.missed_at:  # the next revision needs two look-ups that found nothing, `settle_s` apart
            await lock.save(missed_at=asked_at)
            return Result(
                listed.id, "waiting", again_s=self._rules.settle_s, listed=listed, note="looked up once more before it is made anew"
            )
        if asked_at - entry.missed_at < self._rules.settle_s:
            return Result(listed.id, "waiting", again_s=self._rules.settle_s - (asked_at - entry.missed_at), listed=listed)
        return await self._begin(lock, listed, entry, entry.revision + 1)

    async def _create(self, lock: Lock, listed: Listed, entry: Entry) -> Result:
        assert entry.request is not None
        try:
            created = await self._books.create(entry.request, listed, entry.idempotency_key, lock.stamp)
        except OutcomeUnknown as error:
            return self._unknown(listed, entry, error.message)
        except Transient:  # it has not happened: as if it had never been sent, unless it was before
            if not entry.sends:
                await lock.save(sent_at=0.0, first_sent_at=0.0, sends=0)
            raise
        except (Permanent, Poison) as error:
            if error.code == "burnt":
                await lock.save(burnt=True)
                return self._unknown(listed, entry, error.message)
            if error.code == "duplicate":
                await lock.save(burnt=True, said_duplicate=True)
                return self._unknown(listed, entry, error.message)
            await lock.save(burnt=True)  # Sage would only repeat its refusal under this key
            entry = await lock.entry()
            if entry.sends > 1:  # an earlier sending may have done it: looked up once more before anybody is told "refused"
                await lock.save(state="refusing", content=listed.content, problems=(refusal_of(error),))
                return self._unknown(listed, entry, error.message)
            return await self._refuse(lock, listed, entry, (refusal_of(error),))
        if created.replayed:  # it was made, so it is never made anew, however long queries do not show it
            await lock.save(state="posted", key=created.key)
            return self._unknown(listed, entry, "Sage repeats an earlier yes")
        await lock.save(state="posted", key=created.key)
        return await self._receipt(lock, listed, created.key, created.note)

    def _unknown(self, listed: Listed, entry: Entry, reason: str) -> Result:
        log.warning(
            "whether Sage has booked it is not known; it is looked up", document=listed.id.text, reason=reason, revision=entry.revision
        )
        return Result(listed.id, "waiting", again_s=self._rules.settle_s + self._journal.lock_s, listed=listed, note=reason)

    async def _refuse(self, lock: Lock, listed: Listed, entry: Entry, problems: tuple[Problem, ...]) -> Result:
        """A clerk's go back with receipt 2; others' keep it listed until `refuse_after_s` is over."""
        now = await self._journal.now_s()
        since = entry.held_at or now
        clerks = all(problem.owner == "clerk" for problem in problems) or self._rules.return_all
        if not clerks and now - since < self._rules.refuse_after_s:
            await lock.save(problems=problems, held_at=since, attempts=entry.attempts + 1)
            return Result(listed.id, "held", problems=problems, listed=listed, attempt=entry.attempts + 1)
        await lock.save(state="refusing", content=listed.content, problems=problems)
        await self._books.tidy(listed, lock.stamp)
        try:
            await tell(self._journal, lock, partial(self._desk.hand_back, listed, problems_text(problems, TEXT_MOST)))
        except (Permanent, Poison) as error:
            return await self._person(lock, listed, f"Prime does not take it back: {error.message}")
        await lock.save(state="refused", held_at=0.0)
        return Result(listed.id, "refused", problems=problems, listed=listed)

    async def _person(self, lock: Lock, listed: Listed, message: str) -> Result:
        problems = (Problem(message, "operator", code="person"),)
        await lock.save(state="person", problems=problems)
        return Result(listed.id, "person", problems=problems, listed=listed)


@dataclass(frozen=True)
class Here:
    """A document that is locked, listed by Prime, and what the journal knows of it."""

    lock: Lock
    listed: Listed
    entry: Entry


async def under_locks(
    journal: Journal,
    kind: str,
    ids: Sequence[DocumentId],
    listing: Callable[[Sequence[DocumentId]], Awaitable[Mapping[DocumentId, Listed]]],
    work: Callable[[Sequence[Here]], Awaitable[list[Result]]],
) -> list[Result]:
    """Lock these documents, list them again, and work on those that Prime lists now. One listing serves all locks taken before it.

    The locks are renewed meanwhile: the last documents of a batch may wait long for a slot at Sage.
    """
    locks: list[Lock] = []
    keeper = asyncio.create_task(journal.keep(locks))
    try:
        for document in dict.fromkeys(ids):
            if (lock := await journal.lock(kind, document)) is not None:
                locks.append(lock)  # noqa: PERF401 - one by one: a failure in between lets go of those
        busy = set(ids) - {lock.id for lock in locks}
        results = [Result(document, "busy", again_s=journal.lock_s) for document in busy]
        listed = await listing([lock.id for lock in locks]) if locks else {}
        here = [Here(lock, listed[lock.id], await lock.entry()) for lock in locks if lock.id in listed]
        results += [_over(lock.id, await lock.entry()) for lock in locks if lock.id not in listed]
        return results + (await work(here) if here else [])
    finally:
        keeper.cancel()
        await asyncio.gather(*(lock.release() for lock in locks))


async def tell(journal: Journal, lock: Lock, receipt: Callable[[], Awaitable[None]]) -> None:
    """Send a receipt, repeated no longer than the lock lives: after that another may have told Prime something else."""
    await lock.stamp(sage=False)
    try:
        async with asyncio.timeout(journal.lock_s):
            await receipt()
    except TimeoutError as error:
        raise Transient("Prime did not take the receipt in time", system="prime", code="too_late") from error


async def together(tasks: Sequence[tuple[Listed, Callable[[], Awaitable[Result]]]]) -> list[Result]:
    """Some documents at once. One document's trouble is not another's."""
    places = asyncio.Semaphore(TOGETHER)

    async def one(listed: Listed, settle: Callable[[], Awaitable[Result]]) -> Result:
        async with places:
            try:
                return await settle()
            except Transient as error:
                log.warning("will be tried again", document=listed.id.text, error=error.message)
                wait_s = error.retry_after_s if isinstance(error, RateLimited) and error.retry_after_s else TRANSIENT_WAIT_S
                return Result(listed.id, "waiting", again_s=wait_s, listed=listed, note=error.message)

    ends = await asyncio.gather(*(one(*task) for task in tasks), return_exceptions=True)  # no lock goes while anybody is at work
    broken = [end for end in ends if isinstance(end, BaseException)]
    if broken and len(broken) == len(ends):
        raise broken[0]
    return [
        end if isinstance(end, Result) else Result(listed.id, "waiting", again_s=TRANSIENT_WAIT_S, listed=listed, note=str(end))
        for (listed, _), end in zip(tasks, ends, strict=True)
    ]


async def unsettled_s(journal: Journal, rules: Rules, entry: Entry, asked_at: float) -> float:
    """How long "not there" does not count yet: after the last possible write, and after Redis has lost what it knew."""
    ready_at = await journal.trusted_from_s() + rules.settle_s
    if entry.sent_at:
        ready_at = max(ready_at, entry.sent_at + journal.lock_s + rules.settle_s)
    return max(0.0, ready_at - asked_at)


def disagreements(bill: Found, listed: Listed) -> list[str]:
    """In what a bill differs from what was approved in Prime, in words."""
    return [
        f"{what} is {in_sage} in Sage and {in_prime} in Prime"
        for what, in_sage, in_prime in (
            ("vendor", bill.vendor, listed.vendor),
            ("amount", bill.amount, listed.amount),
            ("currency", bill.currency, listed.currency),
        )
        if in_sage != in_prime
    ] + list(bill.doubts)


def refusal_of(error: Permanent | Poison) -> Problem:
    """A refusal in Sage's own words; whose turn it is, the catalogue knows."""
    owner = catalogue().owner(error.system or "sage", error.code, error.message, error.detail)
    return Problem(error.message, owner, code=error.code, request_id=error.request_id)


def _may_begin(listed: Listed, bills: Sequence[Found]) -> bool:
    """Whether it may come to pre-flight: Sage has nothing of it but what has ended."""
    root = listed.id.marker()
    return not any(bill.is_of(root) and bill.state in ALIVE for bill in bills)


def _was_told(listed: Listed, entry: Entry, ours: Sequence[Found]) -> bool:
    """Whether Prime had its receipt, though the journal has lost that: it names the bill, which has ended since."""
    keys = {entry.key, *(bill.key for bill in ours)}
    return entry.state in ("", "posted") and listed.booked_as != "" and listed.booked_as in keys


def _over(document: DocumentId, entry: Entry) -> Result:
    """Prime does not list it (any more). Whoever told Prime may have died before saying so."""
    if entry.state in ("receipted", "cancelled"):
        return Result(document, "not_listed", entry.key)
    return Result(document, "not_listed", problems=entry.problems if entry.state in ("refusing", "refused") else ())


def trace_of(listed: Listed, entry: Entry) -> Trace:
    """How a document is looked for: its marker, and every number it was ever sent with."""
    numbers = dict.fromkeys([(listed.vendor, listed.number), *entry.tried])
    return Trace(listed.id.marker(), tuple(numbers), listed.link)


def _key_of(document: DocumentId, kind: str, revision: int) -> str:
    return hashlib.sha256("\n".join((*document, kind, str(revision))).encode()).hexdigest()


def _taken(listed: Listed, others: Sequence[Found]) -> Problem:
    return Problem(
        f"Bill number {listed.number} of vendor {listed.vendor} is already used in Sage ({keys_text(others)})", code="number_taken"
    )


def keys_text(bills: Sequence[Found], kind: str = "bill") -> str:
    return ", ".join(f"{kind} {bill.key} ({bill.state})" for bill in bills)
