r"""Taking a bill back that Prime wants cancelled: beside posting.py, under the same lock, in the same journal entry (design section 4).

    (any) --written to lately, or Redis lost--> wait: until a create or a cancellation that may be under way must show in Sage
      |
      |--ours, unpaid --> cancelling --delete or reverse-- yes, or gone --> its files --> cancelled --> receipt 1
      |                       ^                |
      |                    unknown: wait, look up again; refused: as it is now in Sage, gone or in words
      |
      |--gone already, and ours -------------------------------------------> its files --> cancelled --> receipt 1
      '--paid, being paid, foreign, never booked ---------------------------> receipt 2 with the reason; the journal stays as it was

Ours is a bill with our marker or link, the one that the journal names, or the one that Prime names (its voucher number) if vendor, amount
and currency agree and no other document's marker is on it. A bill that is gone counts as ours if Prime names its key, or the journal knows
of it, or its files are still there. Two bills of one document are left to a person.

"cancelled" stays in the journal. Posting acts only on what Prime lists, so a late job does nothing; listed for booking again, the document
is a new request and gets the next revision.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from connect.errors import OutcomeUnknown, Permanent, Poison, Transient
from connect.ledger import DocumentId, Found, Listed, Problem, Trace, problems_text
from connect.posting import (
    CANCELLED,
    TEXT_MOST,
    BeforeWrite,
    Desk,
    Here,
    Result,
    Rules,
    disagreements,
    keys_text,
    refusal_of,
    tell,
    together,
    trace_of,
    under_locks,
    unsettled_s,
)
from connect.state.journal import Entry, Journal, Lock

UNPAID: Final = frozenset({"draft", "submitted", "partiallyApproved", "declined", "posted"})
ENDED: Final = frozenset({"reversed", "reversal"})
WHY_NOT: Final = {
    "paid": "is paid in Sage",
    "partiallyPaid": "is partly paid in Sage",
    "selected": "is selected for payment in Sage",
}

log = structlog.get_logger()


class CancelBooks(Protocol):
    """What Sage must offer."""

    async def find(self, traces: Sequence[Trace], keys: Sequence[Collection[str]]) -> list[list[Found]]:
        """What Sage holds of each document, as posting looks it up, and the bills with these keys."""

    async def bill(self, key: str) -> Found | None:
        """The bill as it is now, whatever queries show yet."""

    async def delete(self, key: str, before_write: BeforeWrite) -> None:
        """Take it away; one that is gone is no error. Raises as posting.Books.create does: Permanent is a refusal."""

    async def reverse(self, key: str, before_write: BeforeWrite) -> None:
        """Reverse it. Raises as `delete`, Permanent also when it is gone."""

    async def has_files(self, root: str) -> bool:
        """Whether the document has files in Sage that no bill has."""

    async def tidy(self, root: str, gone: str, before_write: BeforeWrite) -> None:
        """Take away the document's files that no bill has; `gone`: the key of a deleted bill that queries may still show, or ""."""


class Cancelling:
    """The protocol for one kind of document of one connection. `kind`: posting's. `desk.accept` says "cancelled", its key is the bill's."""

    def __init__(
        self, kind: str, books: CancelBooks, desk: Desk, journal: Journal, rules: Rules, *, how: Literal["delete", "reverse"] = "delete"
    ) -> None:
        self._kind = kind
        self._books = books
        self._desk = desk
        self._journal = journal
        self._rules = rules
        self._how = how

    async def cancel(self, ids: Sequence[DocumentId]) -> list[Result]:
        """Bring these cancellations as far as they get. Safe to call again, and at once."""
        results = await under_locks(self._journal, self._kind, ids, self._desk.listed, self._cancel)
        return [await self._over(result.id) if result.state == "not_listed" else result for result in results]

    async def _over(self, document: DocumentId) -> Result:
        """Prime does not list it (any more): cancelled, or none of our business now. How its booking ended is another story."""
        entry = await self._journal.entry(self._kind, document)
        return Result(document, "not_listed", entry.key if entry.state == "cancelled" else "")

    async def _cancel(self, here: Sequence[Here]) -> list[Result]:
        asked_at = await self._journal.now_s()
        found = await self._books.find(
            [trace_of(one.listed, one.entry) for one in here], [{one.listed.booked_as, one.entry.key} - {""} for one in here]
        )
        return await together([(one.listed, partial(self._settle, one, bills, asked_at)) for one, bills in zip(here, found, strict=True)])

    async def _settle(self, here: Here, bills: Sequence[Found], asked_at: float) -> Result:
        lock, listed, entry = here.lock, here.listed, here.entry
        if entry.state == "cancelled":
            return await self._receipt(lock, listed, entry.key)
        wait_s = await unsettled_s(self._journal, self._rules, entry, asked_at)
        if wait_s > 0:
            return Result(listed.id, "waiting", again_s=wait_s, listed=listed, note="what Sage has of it cannot be known yet")
        ours = [bill for bill in bills if is_ours(bill, listed, entry.key)]
        standing = [bill for bill in ours if bill.state not in ENDED]
        if len(standing) > 1:
            message = f"Sage has {len(standing)} bills of this document, and which to cancel only a person can say: {keys_text(standing)}"
            return Result(listed.id, "person", problems=(Problem(message, "operator", code="person"),), listed=listed)
        if standing and standing[0].state not in UNPAID:
            return await self._refuse(lock, listed, _why_not(standing[0]))
        if standing:
            return await self._take_away(lock, listed, entry, standing[0])
        foreign = [bill for bill in bills if bill not in ours and bill.key == listed.booked_as]
        if ours or (listed.booked_as and not foreign) or _is_known(entry) or await self._books.has_files(listed.id.marker()):
            key = ours[0].key if ours else entry.key or listed.booked_as
            return await self._finish(lock, listed, key, note="it was gone already")
        return await self._refuse(lock, listed, _not_ours(listed, foreign, bills))

    async def _take_away(self, lock: Lock, listed: Listed, entry: Entry, bill: Found) -> Result:
        revision = max(entry.revision, bill.revision(listed.id.marker()))
        await lock.save(state="cancelling", key=bill.key, revision=revision)
        is_reversed = self._how == "reverse" and bill.state == "posted"
        try:
            if is_reversed:
                await self._books.reverse(bill.key, lock.stamp)
            else:
                await self._books.delete(bill.key, lock.stamp)
        except OutcomeUnknown as error:
            log.warning("whether Sage has cancelled it is not known; it is looked up", document=listed.id.text, reason=error.message)
            again_s = self._rules.settle_s + self._journal.lock_s
            return Result(listed.id, "waiting", again_s=again_s, listed=listed, note=error.message)
        except Transient:  # it has not happened: as if it had not been tried
            await lock.save(sent_at=entry.sent_at, first_sent_at=entry.first_sent_at, sends=entry.sends)
            raise
        except (Permanent, Poison) as error:
            now = await self._books.bill(bill.key)
            if now is not None and now.state not in ENDED:
                await lock.save(state="receipted" if entry.state in CANCELLED else entry.state, key=entry.key)
                return await self._refuse(lock, listed, refusal_of(error) if now.state in UNPAID else _why_not(now))
            is_reversed = now is not None
        return await self._finish(lock, listed, bill.key, deleted="" if is_reversed else bill.key)

    async def _finish(self, lock: Lock, listed: Listed, key: str, *, deleted: str = "", note: str = "") -> Result:
        """It is gone: its files go too, then Prime hears of it. A reversed bill is still in Sage, and so are its files."""
        try:
            await self._books.tidy(listed.id.marker(), deleted, lock.stamp)
        except (Permanent, Poison) as error:
            log.error("the bill is gone, and Sage keeps its files", document=listed.id.text, key=key, reason=error.message)
            note = f"Sage keeps its files: {error.message}"
        await lock.save(state="cancelled", key=key, note=note)
        return await self._receipt(lock, listed, key, note)

    async def _receipt(self, lock: Lock, listed: Listed, key: str, note: str = "") -> Result:
        try:
            await tell(self._journal, lock, partial(self._desk.accept, listed, key))
        except (Permanent, Poison) as error:
            log.error("cancelled in Sage, and Prime refuses the receipt for good", document=listed.id.text, key=key, reason=error.message)
            note = f"Prime refuses the receipt: {error.message}"
            await lock.save(note=note)
            return Result(listed.id, "cancelled", key, listed=listed, note=note, told=False)
        return Result(listed.id, "cancelled", key, listed=listed, note=note)

    async def _refuse(self, lock: Lock, listed: Listed, problem: Problem) -> Result:
        """Back to Prime at once, whoever is to mend it: a clerk has asked. Whoever dies before Prime has heard it decides anew."""
        try:
            await tell(self._journal, lock, partial(self._desk.hand_back, listed, problems_text([problem], TEXT_MOST)))
        except (Permanent, Poison) as error:
            message = f"{problem.message} | Prime does not take it back: {error.message}"
            return Result(listed.id, "person", problems=(Problem(message, "operator", code=problem.code),), listed=listed)
        return Result(listed.id, "refused", problems=(problem,), listed=listed)


def is_ours(bill: Found, listed: Listed, booked_as: str = "") -> bool:
    """Whether it is the document's bill: by our marker or link, by the key that we know, or by the one that Prime names if they agree."""
    if bill.is_of(listed.id.marker()):
        return True
    if bill.markers:  # another document's
        return False
    return bill.key == booked_as or (bill.key == listed.booked_as and not disagreements(bill, listed))


def _is_known(entry: Entry) -> bool:
    """Whether the journal says that we booked it, or that bytes may have been sent, of which nothing can be on its way any more."""
    return entry.state not in ("refusing", "refused") and (bool(entry.key) or entry.may_be_sent)


def _why_not(bill: Found) -> Problem:
    words = WHY_NOT.get(bill.state, f"is in the state {bill.state} in Sage")
    return Problem(f"The bill {bill.number} (key {bill.key}) {words} and cannot be cancelled", code="not_cancellable")


def _not_ours(listed: Listed, foreign: Sequence[Found], bills: Sequence[Found]) -> Problem:
    if foreign:
        differs = "; ".join(disagreements(foreign[0], listed)) or "it carries another document's marker"
        words = f"Prime's voucher number {listed.booked_as} is a bill in Sage that is not of this invoice ({differs})"
    elif bills:
        words = f"Bill number {listed.number} of vendor {listed.vendor} was not booked from Prime ({keys_text(bills)})"
    else:
        words = "Sage has no bill of this invoice, and nothing shows that one was booked from Prime"
    return Problem(f"{words}: nothing was cancelled", code="not_ours")
