"""What is known after a run: the checkpoint of its sweep and Prime's answers, merged into the known rows.

Everything streams block by block, so a million rows settle in the memory of a few pages. Running it twice gives the same.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from connect.state.known import OPEN, PAGE_SIZE, BlockInfo, Entry, Index, Known, Label, new_blocks
from connect.state.runs import Ack, PageRecord, Runs, is_range

NO_LABEL: Final = Label("", "", "", "")
SPARE_BLOCKS: Final = 2  # so many more calls than there are full pages are not worth another cut


class Gone(NamedTuple):
    """A known row that Sage no longer has (or that Prime no longer wants)."""

    key: int
    label: Label


@dataclass
class Seen:
    """What a sweep saw, in key order, made from the checkpoint.

    `tiled`: every key from the lowest to the highest is covered; only then can a row be called gone.
    `apart`: and no key by two pages, so that they can be the blocks of what is known.
    """

    pages: list[PageRecord] = field(default_factory=list)
    tiled: bool = False
    apart: bool = False

    @classmethod
    def of(cls, pages: Mapping[str, PageRecord], *, offset_complete: bool) -> Seen:
        """`offset_complete`: two passes over offset pages agreed (they carry no ranges).

        A sweep that found out on its way that Sage does not compare keys as numbers leaves pages of both kinds: then the ranges
        prove nothing, but their rows were read.
        """
        if not all(is_range(name) for name in pages):
            ordered = [pages[name] for name in sorted(pages, key=lambda name: (not is_range(name), _numbers(name)))]
            return cls(_regroup(ordered), offset_complete and not any(page.same for page in ordered))
        ranges = sorted(pages.values(), key=lambda page: page.after)
        reached, tiled, apart = 0, True, True
        for page in ranges:
            tiled = tiled and page.after <= reached
            apart = apart and page.after == reached
            reached = max(reached, OPEN if page.until is None else page.until)
        tiled = tiled and reached == OPEN
        return cls(ranges, tiled, tiled and apart)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _regroup(pages: Sequence[PageRecord]) -> list[PageRecord]:
    """Offset pages hold keys in any order: the same rows as pages in key order. Of a row that was read twice, the later counts."""
    keys, raws, homes = array("q"), array("Q"), array("l")
    for at, page in enumerate(pages):
        keys.frombytes(page.keys)
        raws.frombytes(page.raws)
        homes.extend([at] * (len(page.keys) // 8))
    order = sorted(range(len(keys)), key=keys.__getitem__)  # stable: the later reading of a key comes last
    order = [at for n, at in enumerate(order) if n + 1 == len(order) or keys[at] != keys[order[n + 1]]]
    unwanted = {key for page in pages for key in page.unwanted}
    found = []
    for start in range(0, max(len(order), 1), PAGE_SIZE):
        part = order[start : start + PAGE_SIZE]
        last = start + PAGE_SIZE >= len(order)
        found.append(
            PageRecord(
                after=keys[order[start - 1]] if start else 0,
                until=None if last else keys[part[-1]],
                same=0,
                digest=0,
                keys=array("q", (keys[at] for at in part)).tobytes(),
                raws=array("Q", (raws[at] for at in part)).tobytes(),
                chunks=[chunk for home in sorted({homes[at] for at in part}) for chunk in pages[home].chunks],
                unwanted=[keys[at] for at in part if keys[at] in unwanted],
            )
        )
    return found


class Settlement:
    """Merges one part of one run into what is known. `left`: keys of rows that a plan has left alone; their meaning stays known."""

    def __init__(self, known: Known, runs: Runs, run: str, part: str, *, joins: int) -> None:
        self._known = known
        self._runs = runs
        self._run = run
        self._part = part
        self._no_refs = (0,) * joins
        self._late: dict[int, Entry] = {}
        self.left: set[int] = set()

    async def gone(self, seen: Seen, index: Index) -> list[Gone]:
        """Known rows that the sweep did not see, and rows that turned unwanted. Call only when `seen.tiled`."""
        found: list[Gone] = []
        pages = [page for page in seen.pages if not page.same]
        lows = [page.after for page in pages]
        same = {page.same for page in seen.pages if page.same}
        for info in index.blocks:
            if info.block not in same and info.rows:
                block = await self._known.block(info.block)
                if not block.keys:  # another has settled this part meanwhile: then `replace` says so
                    continue
                first = max(bisect_left(lows, block.keys[0]) - 1, 0)
                keys: set[int] = set()
                unwanted: set[int] = set()
                for page in pages[first:]:
                    if page.after >= info.until:
                        break
                    keys.update(array("q", page.keys))
                    unwanted.update(page.unwanted)
                missing = [at for at, key in enumerate(block.keys) if key not in keys or key in unwanted]
                if missing:
                    labels = await self._known.labels(info.block)
                    if len(labels) != len(block.keys):  # the same
                        continue
                    found.extend(Gone(block.keys[at], labels[at]) for at in missing if labels[at].natural or block.keys[at] not in keys)
        return found

    async def absent(self, seen: Seen, keys: Collection[int]) -> set[int]:
        """Those of the keys that the sweep did not see, whether they were known or not. Call only when `seen.tiled`."""
        lows = [page.after for page in seen.pages]
        found: set[int] = set()
        for key in keys:
            page = seen.pages[max(bisect_right(lows, key - 1) - 1, 0)]
            held = (await self._known.block(page.same)).keys if page.same else array("q", page.keys)
            if page.same and not held and not await self._known.is_there(page.same):  # not to be known any more
                continue
            at = bisect_left(held, key)
            if at == len(held) or held[at] != key:
                found.add(key)
        return found

    async def expired(self) -> set[int]:
        """Keys of the rows whose expiry Prime has accepted in this run."""
        names = [name for name in await self._runs.ack_names(self._run, self._part) if name.startswith("x")]
        acks = await self._runs.acks(self._run, self._part, names)
        return {entry.key for ack in acks if ack.purpose == "expire" for entry in ack.entries()}

    async def accepted(self, keys: Collection[int]) -> dict[int, str]:
        """Under which natural key Prime has accepted these rows in this run, as far as it has (or has them already)."""
        names = [name for name in await self._runs.ack_names(self._run, self._part) if not name.startswith("x")]
        found: dict[int, str] = {}
        for name in names:
            acked = _accepted(await self._runs.acks(self._run, self._part, [name]))
            found.update((key, acked[key].label.natural) for key in acked.keys() & keys)
        return found

    async def full(self, seen: Seen, index: Index, dropped: set[int]) -> Index:
        """After a sweep of everything. `dropped`: keys to forget (expired, or gone and not expirable). Returns the new index."""
        if all(page.same for page in seen.pages):
            return index
        late = [name for name in await self._runs.ack_names(self._run, self._part) if name.startswith("c")]
        self._late = _accepted(await self._runs.acks(self._run, self._part, late))
        return await (self._by_page(seen, index, dropped) if seen.apart else self._rebuild(seen, index, dropped))

    async def _by_page(self, seen: Seen, index: Index, dropped: set[int]) -> Index:
        """One block a page: next time each is one call, and those with the same bytes are not even cut."""
        blocks: list[BlockInfo] = []
        next_block = new_blocks()
        for page in seen.pages:
            info = index.exact(page.after, page.until)
            if info is not None and page.same:
                blocks.append(info)
                continue
            until = OPEN if page.until is None else page.until
            if info is not None:
                block = await self._known.block(info.block)
                if block.keys.tobytes() == page.keys and block.raws.tobytes() == page.raws and 0 not in block.raws:
                    blocks.append(info._replace(digest=page.digest))  # read row by row and found the same
                    continue
                old = await self._known.entries(info.block)
            else:
                old = [entry async for entry in self._between(index, page.after, until)]
            entries = old if page.same else await self._page_entries(page, old, dropped)
            if blocks and not entries and not page.keys:  # a range without rows is not worth a call
                blocks[-1] = blocks[-1]._replace(until=until)
                continue
            digest = page.digest if self._is_settled(page, entries) else 0
            for piece in (pieces := _pieces(entries)):
                await self._known.store_block(next_block, piece)
                last = piece is pieces[-1]
                blocks.append(BlockInfo(until if last else piece[-1].key, next_block, digest if len(pieces) == 1 else 0, len(piece)))
                next_block += 1
        kept = {info.block for info in blocks}
        new = Index(blocks, next_block)
        await self._known.replace(new, before=index, dropped=[info.block for info in index.blocks if info.block not in kept])
        if len(blocks) > -(-new.rows // PAGE_SIZE) + SPARE_BLOCKS:  # partial pages, or deletions have thinned them: cut them anew
            return await self._recut(new)
        return new

    def _is_settled(self, page: PageRecord, entries: Sequence[Entry]) -> bool:
        """Whether each row of the page, and no other, is known as it was on this page: then its bytes stand for all of them."""
        keys, raws, *_ = zip(*entries, strict=True) if entries else ((), ())
        return array("q", keys).tobytes() == page.keys and all(raws) and self._late.keys().isdisjoint(keys)

    async def _rebuild(self, seen: Seen, index: Index, dropped: set[int]) -> Index:
        return await self._store(self._merged(seen, index, dropped), index)

    async def _recut(self, index: Index) -> Index:
        return await self._store(self._known.stream(index), index)

    async def _store(self, entries: AsyncIterator[Entry], index: Index) -> Index:
        """Write all rows as blocks of exactly one page each, then name them in one step."""
        blocks: list[BlockInfo] = []
        next_block = new_blocks()
        block: list[Entry] = []
        async for entry in entries:
            if len(block) == PAGE_SIZE:
                await self._known.store_block(next_block, block)
                blocks.append(BlockInfo(block[-1].key, next_block, 0, len(block)))
                next_block, block = next_block + 1, []
            block.append(entry)
        await self._known.store_block(next_block, block)
        blocks.append(BlockInfo(OPEN, next_block, 0, len(block)))
        new = Index(blocks, next_block + 1)
        await self._known.replace(new, before=index, dropped=[info.block for info in index.blocks])
        return new

    async def _merged(self, seen: Seen, index: Index, dropped: set[int]) -> AsyncIterator[Entry]:
        """All rows after the run, in key order. What no page covers stays as it was."""
        reached = 0
        for page in seen.pages:
            async for entry in self._between(index, reached, page.after):
                yield entry
            reached = max(reached, page.after)
            until = OPEN if page.until is None else page.until
            old = [entry async for entry in self._between(index, reached, until)]
            entries = old if page.same else await self._page_entries(page, old, dropped)
            for entry in entries:
                if entry.key > reached:
                    yield entry
            reached = max(reached, until)
        async for entry in self._between(index, reached, OPEN):
            yield entry

    async def _between(self, index: Index, after: int, until: int) -> AsyncIterator[Entry]:
        """The known rows with after < key <= until, one block in memory at a time."""
        for info in index.overlapping(after + 1, until) if after < until else ():
            for entry in await self._known.entries(info.block):
                if after < entry.key <= until:
                    yield entry

    async def _page_entries(self, page: PageRecord, old: Sequence[Entry], dropped: set[int]) -> list[Entry]:
        acked = self._late | _accepted(await self._runs.acks(self._run, self._part, page.chunks))
        if not old and not page.unwanted:  # a first import
            return [acked[key] for key in array("q", page.keys) if key in acked]
        before = {entry.key: entry for entry in old}
        unwanted = set(page.unwanted)
        found: list[Entry] = []
        for key, raw in zip(array("q", page.keys), array("Q", page.raws), strict=True):
            known = before.pop(key, None)
            if key in acked:
                found.append(acked[key])
            elif key in unwanted:
                if known is not None and known.label.natural and key not in dropped:
                    found.append(known._replace(raw=0))
                else:
                    found.append(Entry(key, raw, 0, NO_LABEL, self._no_refs))
            elif known is not None:
                found.append(known._replace(raw=raw, meaning=self._meaning(known, raw)))
        kept = [entry._replace(raw=0) for key, entry in before.items() if key not in dropped]
        if kept:
            found.extend(kept)
            found.sort(key=lambda entry: entry.key)
        return found

    def _meaning(self, known: Entry, raw: int = 0) -> int:
        """What Prime has of a row that it has not accepted: 0 of one that it refused, it may have taken a part."""
        return known.meaning if raw or known.key in self.left else 0

    async def updates(self, pages: Mapping[str, PageRecord], index: Index, dropped: set[int]) -> Index:
        """After a run that read only some rows (incremental, replay, second pass): put its rows in their places."""
        names = [name for name in await self._runs.ack_names(self._run, self._part) if not name.startswith("x")]
        accepted = _accepted(await self._runs.acks(self._run, self._part, names))
        owed = {
            key
            for page in pages.values()
            for key, raw in zip(array("q", page.keys), array("Q", page.raws), strict=True)
            if not raw and key not in accepted
        }
        touched = sorted(set(accepted) | owed | dropped)
        if not touched:
            return index
        blocks: list[BlockInfo] = []
        next_block, stale, at = new_blocks(), [], 0
        for info in index.blocks or [BlockInfo(OPEN, 0, 0, 0)]:
            keys = []
            while at < len(touched) and touched[at] <= info.until:
                keys.append(touched[at])
                at += 1
            if not keys:
                blocks.append(info)
                continue
            rows = {entry.key: entry for entry in await self._known.entries(info.block)}
            for key in keys:
                if key in dropped:
                    rows.pop(key, None)
                elif key in accepted:
                    rows[key] = accepted[key]
                elif key in rows:
                    rows[key] = rows[key]._replace(raw=0, meaning=self._meaning(rows[key]))
            pieces = _pieces([rows[key] for key in sorted(rows)])
            for piece in pieces:
                await self._known.store_block(next_block, piece)
                blocks.append(BlockInfo(info.until if piece is pieces[-1] else piece[-1].key, next_block, 0, len(piece)))
                next_block += 1
            stale.append(info.block)
        new = Index(blocks, next_block)
        await self._known.replace(new, before=index, dropped=stale)
        return new


def _accepted(acks: Sequence[Ack]) -> dict[int, Entry]:
    return {entry[0]: entry for ack in acks if ack.purpose == "upsert" for entry in ack.entries()}


def _pieces(entries: list[Entry]) -> list[list[Entry]]:
    """One block, or several of a page each where it has outgrown one."""
    if len(entries) <= PAGE_SIZE:
        return [entries]
    return [entries[start : start + PAGE_SIZE] for start in range(0, len(entries), PAGE_SIZE)]
