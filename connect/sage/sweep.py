"""A sweep: every row of one Sage object, each exactly once, over all slots at once.

Rows are read by *key ranges*: offset pages would skip rows when others are deleted meanwhile, a range `after < key <= until`
cannot. What is unknown at first is where the keys lie, and keys come in clusters with gaps. So ranges are cut by *rank*: a
query over a range with `start` n gives, in one evaluation by Sage, a page of neighbouring rows in the middle, and with it
the key to cut at; the counts that come with every reply say how much is left on either side. All cuts fall on page
boundaries, so hardly any page is partial.

    walker     reads its range upwards, a page a call, from its low end
    cut        a free slot takes the upper half of the range with the most pages left; its first page begins one row early,
               so that the page below must *overlap* it: that proves that nothing lies between (if it does not, because rows
               came or went meanwhile, the small gap between is asked again)
    coverage   the ranges read so far; what is covered already is clipped off, so no row is delivered twice

With the page boundaries of last time every range is one call. If Sage does not compare keys as numbers (a row outside the
range asked, or out of order), ranges prove nothing: then offset pages are read again and again until two passes agree.
Source: design section 3; sage-rest.md c.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal, Protocol

from connect.errors import Poison
from connect.sage.query import MAX_SIZE, Query, QueryPage

OPEN: Final = 2**63 - 1  # no upper end
PASSES: Final = 5


class Reader(Protocol):
    """What a sweep needs of the client."""

    async def query(self, query: Query, *, entity: str = "", calls: Counter[str] | None = None) -> QueryPage: ...


@dataclass(frozen=True)
class SweptPage:
    """Rows of one page that nobody got before.

    `after`, `until`: every row that Sage had with after < key <= until is in `rows()` (until None: no upper end); both None
    for offset pages, whose coverage is known only at the end. `ascending`: the region is this very range, in key order, so
    its digest can be compared with that of the same range next time.
    """

    page: QueryPage
    after: int | None
    until: int | None
    ascending: bool
    source: Literal["range", "offset"]
    kept: list[tuple[int, bytes]] | None = None
    looked_at: Callable[[list[tuple[int, bytes]]], None] | None = None

    def rows(self) -> list[tuple[int, bytes]]:
        """(key, JSON bytes), ascending by key. A page that came whole is cut only when somebody asks."""
        if self.kept is not None:
            return self.kept
        rows = self.page.rows()
        if self.after == 0 and self.until is None:
            rows.sort()  # the whole object in one answer: in whatever order, it is complete
        _check(rows, self.after or 0, OPEN if self.until is None else self.until)
        if self.looked_at is not None:
            self.looked_at(rows)
        return rows

    def region(self) -> memoryview:
        return self.page.region()


@dataclass(frozen=True)
class SweepEnd:
    """How it went. `complete`: every key is covered (or two offset passes agreed); only then may a row be called gone."""

    complete: bool
    order: Literal["numeric", "text"]
    pages: int
    calls: int
    rows: int
    total_count: int
    warning: str = ""


@dataclass(eq=False)
class _Walker:
    """Reads (low, high] upwards. `start` > 1: its first page is asked by rank, counted from `low`. `left`: rows expected."""

    low: int
    high: int
    start: int = 1
    left: int | None = None
    below: _Walker | None = None  # whom it was cut off from, until its first page has come
    above: _Walker | None = None  # who was cut off from it and has not answered yet
    in_flight: bool = False


@dataclass
class _Coverage:
    """The keys read so far, as disjoint ranges (after, until] in order."""

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def holes(self, after: int, until: int) -> list[tuple[int, int]]:
        """The parts of (after, until] that are not covered."""
        found, at = [], after
        for low, high in self.ranges:
            if high <= at:
                continue
            if low >= until:
                break
            if low > at:
                found.append((at, low))
            at = max(at, high)
        if at < until:
            found.append((at, until))
        return found

    def add(self, after: int, until: int) -> None:
        if after >= until:
            return
        at = bisect_right(self.ranges, (after, until))
        self.ranges.insert(at, (after, until))
        merged: list[tuple[int, int]] = []
        for low, high in self.ranges:
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        self.ranges = merged


class _NotNumericError(Exception):
    """Sage does not order or compare keys as numbers."""


class Sweep:
    """One sweep of one object.

    Args:
        boundaries: upper bounds of the known pages but the last, ascending: the ranges to ask first.
        done: ranges (after, until) that an earlier life of this sweep finished.
        parallel: requests at once; the client's slots are the hard limit.
    """

    def __init__(
        self,
        client: Reader,
        source_object: str,
        fields: Sequence[str],
        *,
        filters: Sequence[dict[str, Any]] = (),
        entity: str = "",
        parallel: int = 6,
        page_size: int = MAX_SIZE,
        boundaries: Sequence[int] = (),
        done: Iterable[tuple[int, int | None]] = (),
        calls: Counter[str] | None = None,
    ) -> None:
        self._client = client
        self._object = source_object
        self._fields = tuple(fields)
        self._filters = tuple(filters)
        self._entity = entity
        self._parallel = parallel
        self._size = page_size
        self._counter = calls
        self._covered = _Coverage()
        for after, until in done:
            self._covered.add(after, OPEN if until is None else until)
        edges = [0, *boundaries, OPEN]
        holes = [hole for low, high in pairwise(edges) for hole in self._covered.holes(low, high)]
        self._waiting = [_Walker(low, high, left=page_size if boundaries else None) for low, high in holes]
        self._waiting.reverse()  # taken from the end
        self._walking: list[_Walker] = []
        self._changed = asyncio.Event()
        self._not_numeric = False
        self._cuts = 0
        self._seen: list[array[int]] = []  # keys that a receiver has looked at
        self.pages = self.calls = self.rows = self.total_count = 0

    async def run(self, on_page: Callable[[SweptPage], Awaitable[None]]) -> SweepEnd:
        """Read everything; `on_page` gets each page, up to `parallel` at a time. What it raises ends the sweep."""
        await self._ranges(on_page)
        if self._not_numeric:
            return await self._offsets(on_page)
        complete = self._covered.ranges == [(0, OPEN)]
        return SweepEnd(complete, "numeric", self.pages, self.calls, self.rows, self.total_count)

    # -- by ranges -----------------------------------------------------------------------------------------------------

    async def _ranges(self, on_page: Callable[[SweptPage], Awaitable[None]]) -> None:
        tasks = [asyncio.create_task(self._work(on_page)) for _ in range(self._parallel)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, on_page: Callable[[SweptPage], Awaitable[None]]) -> None:
        while not self._not_numeric:
            walker = self._next()
            if walker is None:
                if not self._walking:
                    break
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                await self._step(walker, on_page)
            except _NotNumericError:  # the others bring what they hold to its receiver, then they end too
                self._not_numeric = True
        self._changed.set()

    def _next(self) -> _Walker | None:
        """The next thing for a free slot: a range nobody walks, or the upper half of the one with the most left."""
        if self._waiting:
            walker = self._waiting.pop()
        else:
            best = max(self._walking, key=self._beyond, default=None)
            # A cut costs a partial page, so near the end a free slot rests rather than cut off a single page.
            if best is None or self._beyond(best) <= (0 if self._cuts < self._parallel else self._size):
                return None
            walker = self._cut(best)
        walker.in_flight = True
        self._walking.append(walker)
        return walker

    def _beyond(self, walker: _Walker) -> int:
        """Rows left behind the page that is on its way."""
        return 0 if walker.left is None else walker.left - self._size

    def _cut(self, walker: _Walker) -> _Walker:
        """The top share of a walker's range, as many shares as slots are free."""
        assert walker.left is not None
        pages = -(-self._beyond(walker) // self._size)
        free = self._parallel - len(self._walking)
        stay = 1 + pages - max(pages // (free + 1), 1)  # the page on its way, and all but the top share
        upper = _Walker(
            walker.low,
            walker.high,
            start=walker.start + stay * self._size - 1,  # one row early: it must overlap
            left=walker.left - stay * self._size + 1,
            below=walker,
            above=walker.above,
        )
        if walker.above is not None:
            walker.above.below = upper
        walker.above = upper
        walker.left = stay * self._size
        self._cuts += 1
        return upper

    async def _step(self, walker: _Walker, on_page: Callable[[SweptPage], Awaitable[None]]) -> None:
        """One page of one walker."""
        low, high, start = walker.low, walker.high, walker.start
        page = await self._ask(low, high, start)
        if start == 1 and page.next is None and self._covered.holes(low, high) == [(low, high)]:
            # The range came whole. Whether its rows are looked at is the receiver's choice: it may know the bytes.
            self._covered.add(low, high)
            self._advance(walker, [], page, low, high, start)
            self.rows += page.total_count
            self.pages += 1
            await on_page(SweptPage(page, low, None if high == OPEN else high, True, "range", looked_at=self._note))
            return
        rows = page.rows()
        if not rows and page.next is not None:
            raise Poison(f"Sage says there are more rows of {self._object} but sends no rows", system="sage", code="no_page")
        _check(rows, low, high)
        if start > 1 and walker.below is not None:
            self._check_met([key for key, _ in rows if key <= walker.below.low])
        self._check_met([key for key, _ in rows if key > walker.high])
        after = low if start == 1 else (rows[0][0] - 1 if rows else OPEN)
        until = high if page.next is None else rows[-1][0] if rows else after
        if start > 1 and not rows:
            after = until = OPEN  # the rows it was cut for are gone: whoever is below reads on
        holes = self._covered.holes(after, until) if until > after else []
        self._covered.add(after, until)
        self._advance(walker, rows, page, after, until, start)
        for hole in holes:
            whole = hole == (after, until)
            kept = rows if whole else [row for row in rows if hole[0] < row[0] <= hole[1]]
            self._note(kept)
            self.rows += len(kept)
            self.pages += 1
            await on_page(SweptPage(page, hole[0], None if hole[1] == OPEN else hole[1], whole, "range", kept))

    def _check_met(self, keys: Sequence[int]) -> None:
        """Keys of a page that lie where its neighbour by rank has read already: it must have met some of them, or ranks do not follow
        the order of numbers. (All of them new would look the same; then the offset pages cost calls, but lose nothing.)
        """
        if keys and not any(set(keys).intersection(seen) for seen in self._seen):
            raise _NotNumericError

    def _note(self, rows: list[tuple[int, bytes]]) -> None:
        """Somebody has got these rows: should ranges turn out to prove nothing, they are not given again."""
        self._seen.append(array("q", (key for key, _ in rows)))

    def _advance(self, walker: _Walker, rows: list[tuple[int, bytes]], page: QueryPage, after: int, until: int, start: int) -> None:
        """Where everybody stands after a page has come."""
        self._walking.remove(walker)
        below = walker.below
        if below is not None:
            walker.below = None
            if rows:
                below.high = min(below.high, after)
            else:
                below.left = None if below.left is None else below.left + self._size
            below.above = walker.above if not rows else None
            if not rows and walker.above is not None:
                walker.above.below = below
            if not below.in_flight:
                self._go_on(below)
        walker.in_flight = False
        if rows or start == 1:
            walker.low = until
            walker.start = 1
            expected = max(page.total_count - (start - 1) - len(rows), 0)
            if walker.above is None or walker.left is None:
                walker.left = expected
            else:
                walker.left = max(walker.left - len(rows), 0)
            self._go_on(walker)
        self._changed.set()

    def _go_on(self, walker: _Walker) -> None:
        """Put a walker back in line, unless its range is read, or only the answer above can tell where it ends."""
        if self._covered.holes(walker.low, walker.high) == []:
            return
        if walker.above is not None and walker.left == 0:
            return
        if walker not in self._waiting:
            walker.left = max(walker.left or 1, 1) if walker.left is not None else None
            self._waiting.append(walker)

    async def _ask(self, low: int, high: int, start: int) -> QueryPage:
        filters = list(self._filters)
        if low > 0:
            filters.append({"$gt": {"key": str(low)}})
        if high != OPEN:
            filters.append({"$lte": {"key": str(high)}})
        self.calls += 1
        page = await self._client.query(
            Query(self._object, self._fields, tuple(filters), start=start, size=self._size), entity=self._entity, calls=self._counter
        )
        if low == 0 and high == OPEN:
            self.total_count = page.total_count
        return page

    # -- by offset -----------------------------------------------------------------------------------------------------

    async def _offsets(self, on_page: Callable[[SweptPage], Awaitable[None]]) -> SweepEnd:
        """Offset pages, in passes, until two passes saw the same keys. Each row is delivered once."""
        delivered = {key for keys in self._seen for key in keys}
        before: set[int] | None = None
        agreed = False
        for _ in range(PASSES):
            seen = await self._pass(on_page, delivered)
            if seen is not None and seen == before:
                agreed = True
                break
            before = seen
        warning = (
            "Sage does not compare keys as numbers here, so rows were read by offset"
            if agreed
            else f"Sage does not compare keys as numbers here, and {PASSES} passes over the offset pages never saw the same rows twice: "
            "nothing is expired in this run"
        )
        return SweepEnd(agreed, "text", self.pages, self.calls, len(delivered), self.total_count, warning)

    async def _pass(self, on_page: Callable[[SweptPage], Awaitable[None]], delivered: set[int]) -> set[int] | None:
        """One pass. The keys that it saw, or None when it cannot have seen all."""
        seen: set[int] = set()
        starts: list[int] = [1]
        capped: list[int] = []
        asked = 1

        async def read(start: int) -> QueryPage:
            nonlocal asked
            self.calls += 1
            page = await self._client.query(
                Query(self._object, self._fields, self._filters, start=start, size=self._size), entity=self._entity, calls=self._counter
            )
            rows = page.rows()
            if page.next is not None and page.next < start + self._size:  # fewer rows than asked: what lies between was not read
                capped.append(page.next - start)
            seen.update(key for key, _ in rows)
            fresh = sorted((row for row in rows if row[0] not in delivered), key=lambda row: row[0])
            delivered.update(key for key, _ in fresh)
            if fresh:
                self.pages += 1
                await on_page(SweptPage(page, None, None, False, "offset", fresh))
            return page

        while starts:
            now, starts = starts[: self._parallel], starts[self._parallel :]
            pages = await asyncio.gather(*(read(start) for start in now))
            self.total_count = pages[-1].total_count
            while asked + self._size <= self.total_count:
                asked += self._size
                starts.append(asked)
            if not starts and pages[-1].next is not None and pages[-1].next > asked:
                asked = pages[-1].next
                starts.append(asked)
        if capped:
            self._size = max(min(capped), 1)
        return None if capped else seen


def _check(rows: list[tuple[int, bytes]], low: int, high: int) -> None:
    """Keys must come back as numbers in order, inside the range asked."""
    last = low
    for key, _ in rows:
        if key <= last:
            raise _NotNumericError
        last = key
    if last > high:
        raise _NotNumericError
