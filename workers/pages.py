"""One page on its way from Sage to chunks, for one part of one run.

Same bytes as last time: done. Else row by row: same bytes, unchanged; else decode, map, compare by meaning; what differs goes
into chunks of at most 500 rows, encoded once. Pages, chunks and their jobs are committed in one step.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from connect.errors import Poison
from connect.mapping import Join, Part, Row
from connect.sage.sweep import SweptPage
from connect.state.dead_letters import DeadLetter
from connect.state.doubts import Doubts
from connect.state.joins import Joined
from connect.state.known import Block, Index, Known, Label, digest, reference
from connect.state.runs import ChunkRow, JobEntry, PageRecord, RunRecord, encode_chunk
from workers.jobs import WRITE, ConnectionTools, FinishJob, Tools, WriteJob, entry, queue_name

CHUNK_ROWS: Final = 500
CHUNKS_AHEAD: Final = 20  # a sweep pauses while so many of its chunks wait to be written
SLICE_ROWS: Final = 250  # between two slices of a page the event loop gets its turn
BLOCKS_HELD: Final = 8

ChunkTuple = tuple[int, int, int, str, str, str, str, tuple[int, ...], bytes]


class Before(NamedTuple):
    """What is known of a page's rows: position by key; digests and block id at each position."""

    places: dict[int, int]
    meanings: array[int]
    raws: array[int]
    blocks: list[int]


class Target:
    """One part of one run, fed with pages."""

    def __init__(self, tools: Tools, connection: ConnectionTools, record: RunRecord, part: Part, generation: int) -> None:
        self._tools = tools
        self._connection = connection
        self.runs = connection.runs
        self.record = record
        self.part = part
        self.generation = generation
        self.known = Known(tools.redis, connection.connection.sid, record.company, part.id)
        self.joined = {
            join.name: Joined(
                tools.redis, connection.connection.sid, record.company, part.id, join.name, seal=connection.seal if join.secret else None
            )
            for join in part.source.joins
        }
        self.index = Index()
        self.doubts = Doubts(tools.redis, connection.connection.sid, record.company, part.id)
        self.doubted: dict[str, tuple[int, Label]] = {}
        self.open_letters: dict[int, str] = {}
        self.touched_keys: set[int] = set()
        self.touched_refs: list[set[int]] = [set() for _ in self._left_joins]
        self.compare_all = record.resend or record.mode == "rows"
        self.seen_keys: set[int] = set()
        self.asked = frozenset(part.source.fields)  # in a shared sweep also what other companies need
        self._seed = int(part.version, 16) & 0xFFFF_FFFF_FFFF_FFFF
        self._lefts = values_reader([join.left for join in self._left_joins])
        self._lookups: dict[str, dict[str, list[bytes]]] = {}
        self._blocks: dict[int, Block] = {}

    @property
    def _left_joins(self) -> list[Join]:
        """Joins by a value of the row (payment term); the others are by the row's own key (bank accounts)."""
        return [join for join in self.part.source.joins if join.left != "key"]

    async def open(self) -> None:
        """Read where things stand."""
        self.index = await self.known.index()
        self.doubted = await self.doubts.all()
        self.touched_keys.update(key for key, _ in self.doubted.values())
        self.open_letters = await self._connection.dead_letters.open_keys(self.record.company, self.record.job, self.part.id)

    async def sweep_leftovers(self) -> None:
        """Drop what a finish that died left half stored (never while another finish may be storing)."""
        await self.known.sweep_leftovers(self.index)

    @property
    def plain(self) -> bool:
        """Nothing asks for a second look: a page with the same bytes as last time is done."""
        return not (self.compare_all or self.touched_keys or any(self.touched_refs) or self.open_letters)

    async def room(self) -> None:
        """Wait while too many chunks wait to be written."""
        while await self.runs.open_chunks(self.record.run, self.part.id) >= CHUNKS_AHEAD:
            await asyncio.sleep(0.05)
            if not await self.runs.may_write(self.record.run):
                raise Poison("the run has ended while its sweep waited for the writers", code="fenced")

    async def take(
        self,
        name: str,
        page: SweptPage,
        cut: Callable[[], Sequence[tuple[int, bytes]]],
        *,
        joined: Mapping[str, Mapping[str, list[bytes]]] | None = None,
    ) -> None:
        """Compare one page, make chunks of what differs, commit both."""
        exact = self.index.exact(page.after, page.until) if page.after is not None else None
        whole = digest(page.region(), self._seed) if page.after is not None and page.ascending else 0
        if exact and exact.digest and exact.digest == whole and self.plain:
            record = PageRecord(page.after or 0, page.until, exact.block, whole, b"", b"", [], [])
            await self._commit(name, record, [], {"read": exact.rows, "unchanged": exact.rows, "pages": 1})
            return
        await self.take_rows(name, cut(), after=page.after or 0, until=page.until, whole=whole, joined=joined)

    async def take_rows(
        self,
        name: str,
        rows: Sequence[tuple[int, bytes]],
        *,
        after: int = 0,
        until: int | None = None,
        whole: int = 0,
        joined: Mapping[str, Mapping[str, list[bytes]]] | None = None,
    ) -> None:
        """The same for rows already cut; `joined` holds the rows of joins that were not read as a whole for this run."""
        keys = [key for key, _ in rows]
        raws = [digest(raw, self._seed) for _, raw in rows]
        before = await self._before(keys)
        changed = self._candidates(keys, raws, before)
        read = raws.copy()
        for at in changed:
            raws[at] = 0
        counters: Counter[str] = Counter(read=len(rows), pages=1, unchanged=len(rows) - len(changed))
        unwanted: list[int] = []
        unknown: frozenset[str] | None = None
        send: list[ChunkTuple] = []
        same: list[ChunkTuple] = []
        letters: list[DeadLetter] = []
        async for some in self._mapped(rows, changed, before, joined):
            for at, row, left in some:
                key, raw = rows[at]
                if isinstance(row, Poison):
                    letters.append(self._poisoned(key, raw, row))
                    continue
                if unknown is None:  # one row of a page speaks for all
                    unknown = self.part.unknown_fields(raw) - self.asked
                    counters["ignored_fields"] += len(unknown)
                if row is None:
                    raws[at] = read[at]
                    unwanted.append(key)
                    counters["unchanged"] += 1
                    continue
                refs = tuple(map(reference, left))
                chunk_row = (key, read[at], digest(row.body, 0), row.natural, row.number, row.name, self._closed(row.extra), refs, row.body)
                known_meaning = before.meanings[before.places[key]] if key in before.places else 0
                sure = row.natural not in self.doubted and not self.record.resend and self.record.mode != "rows"
                if sure and known_meaning == chunk_row[2]:
                    same.append(chunk_row)
                else:
                    send.append(chunk_row)
        counters["unchanged"] += len(same)
        await self._renumbered(send, before)
        send = await self._claimed(send, letters)
        counters["refused"] += len(letters)
        if letters:
            await self._connection.dead_letters.put_many(letters)
        settled = [letter for row in same if (letter := self.open_letters.get(row[0]))]
        settled += [letter for key in unwanted if (letter := self.open_letters.get(key))]
        if settled:
            await self._connection.dead_letters.resolve(settled, reason="Sage's row is again what Prime has")
        base = f"{self.generation}.{name}"
        chunks = [_chunk_name(base, start) for start in range(0, len(send), CHUNK_ROWS)]
        if same:
            quiet = f"={self.generation}.{name}"
            await self.runs.accept_unsent(self.record.run, self.part.id, quiet, [row[:8] for row in same])
            chunks.append(quiet)
        record = PageRecord(
            after, until, 0, whole, array("q", keys).tobytes(), array("Q", raws).tobytes(), chunks, unwanted
        )  # fmt: skip
        await self._commit(name, record, self._chunks(base, send), counters)

    async def rewritten(self, rows: Sequence[tuple[int, bytes]]) -> set[int]:
        """The keys of those of these rows that are known and would be sent otherwise than last time. Nothing is noted."""
        before = await self._before([key for key, _ in rows])
        known = [at for at, (key, _) in enumerate(rows) if key in before.places and before.meanings[before.places[key]]]
        found: set[int] = set()
        async for some in self._mapped(rows, known, before, None):
            for at, row, _ in some:
                key = rows[at][0]
                if isinstance(row, Row) and digest(row.body, 0) != before.meanings[before.places[key]]:
                    found.add(key)
        return found

    async def _mapped(
        self,
        rows: Sequence[tuple[int, bytes]],
        wanted: Sequence[int],
        before: Before,
        joined: Mapping[str, Mapping[str, list[bytes]]] | None,
    ) -> AsyncIterator[list[tuple[int, Row | Poison | None, tuple[str, ...]]]]:
        """The rows at these positions as Prime gets them, with their values of the left joins; slice by slice."""
        lookups, lefts = await self._joined_rows([rows[at] for at in wanted], joined)
        columns = {join.name: column for column, join in enumerate(self._left_joins)}
        joins = [(join.name, columns.get(join.name), lookups.get(join.name)) for join in self.part.source.joins]
        extras = await self._extras([rows[at][0] for at in wanted], before)
        for start in range(0, len(wanted), SLICE_ROWS):
            if start:
                await asyncio.sleep(0)
            made: list[tuple[int, Row | Poison | None, tuple[str, ...]]] = []
            for n in range(start, min(start + SLICE_ROWS, len(wanted))):
                at = wanted[n]
                key, raw = rows[at]
                row: Row | Poison | None
                try:
                    row = self.part.transform(
                        raw,
                        {
                            name: found.get(str(key) if column is None else lefts[n][column], ()) if found else ()
                            for name, column, found in joins
                        },
                        extras.get(key, ""),
                    )
                except Poison as error:
                    row = error
                made.append((at, row, lefts[n]))
            yield made

    def _closed(self, extra: str) -> str:
        """What is kept beside a supplier are its bank accounts."""
        seal = self._connection.seal
        return extra if seal is None else seal.close_text(extra, self.part.kind)

    def _open(self, extra: str) -> str:
        seal = self._connection.seal
        return extra if seal is None else seal.open_text(extra, self.part.kind)

    async def _before(self, keys: Sequence[int]) -> Before:
        """What is known of these rows: position by key, then meanings, raws, and block id of each position."""
        places: dict[int, int] = {}
        meanings, raws = array("Q"), array("Q")
        blocks: list[int] = []
        if not self.index.blocks or not keys:
            return Before(places, meanings, raws, blocks)
        for info in self.index.holding(keys):
            block = self._blocks.get(info.block)
            if block is None:
                block = await self.known.block(info.block)
                if len(self._blocks) > BLOCKS_HELD:
                    self._blocks.pop(next(iter(self._blocks)))
                self._blocks[info.block] = block
            places.update(zip(block.keys, range(len(meanings), len(meanings) + len(block.keys)), strict=True))
            meanings.extend(block.meanings)
            raws.extend(block.raws)
            blocks.extend([info.block] * len(block.keys))
            if any(self.touched_refs):
                for touched, column in zip(self.touched_refs, await self.known.references(info.block), strict=False):
                    if touched:
                        self.touched_keys.update(key for key, ref in zip(block.keys, column, strict=True) if ref in touched)
        return Before(places, meanings, raws, blocks)

    def _candidates(self, keys: Sequence[int], raws: Sequence[int], before: Before) -> list[int]:
        """Positions of the rows to look at: new, other bytes than last time, touched by a joined row, or with an open dead letter."""
        if self.compare_all:
            return list(range(len(keys)))
        places, known = before.places, before.raws
        if not places:
            return list(range(len(keys)))
        found = [at for at, key in enumerate(keys) if (place := places.get(key)) is None or known[place] != raws[at]]
        if self.touched_keys or self.open_letters:
            again = {at for at, key in enumerate(keys) if key in self.touched_keys or key in self.open_letters}
            found = sorted(again.union(found))
        return found

    async def _joined_rows(
        self, rows: Sequence[tuple[int, bytes]], given: Mapping[str, Mapping[str, list[bytes]]] | None
    ) -> tuple[dict[str, Mapping[str, list[bytes]]], list[tuple[str, ...]]]:
        """The joined rows of these rows by join and value, and each row's own values of the left joins."""
        joins = self.part.source.joins
        if not joins or not rows:
            return {}, [()] * len(rows)
        lefts = self._lefts([raw for _, raw in rows])
        found: dict[str, Mapping[str, list[bytes]]] = dict(given or {})
        column = 0
        for join in joins:
            if join.name in found:
                column += join.left != "key"
                continue
            if join.left == "key":
                found[join.name] = await self.joined[join.name].lookup(str(key) for key, _ in rows)
                continue
            cache = self._lookups.setdefault(join.name, {})
            values = {left[column] for left in lefts} - {""}
            missing = values - cache.keys()
            if missing:
                if len(cache) + len(missing) > 20_000:
                    cache.clear()
                    missing = values
                cache.update((value, []) for value in missing)
                cache.update(await self.joined[join.name].lookup(missing))
            found[join.name] = cache
            column += 1
        return found, lefts

    async def _extras(self, keys: Sequence[int], before: Before) -> dict[int, str]:
        """What the mapping asked to remember of rows that were sent before."""
        places, blocks = before.places, before.blocks
        found: dict[int, str] = {}
        if not any(join.many for join in self.part.source.joins) and self.part.kind != "Supplier":
            return found
        for block in {blocks[places[key]] for key in keys if key in places}:
            labels = await self.known.labels(block)
            first = blocks.index(block)
            found.update(
                {key: self._open(labels[places[key] - first].extra) for key in keys if key in places and blocks[places[key]] == block}
            )
        return found

    async def _renumbered(self, rows: Sequence[ChunkTuple], before: Before) -> None:
        """Rows that have another natural key than last time let go of the old one: another row may have it now, or it expires."""
        places, blocks = before.places, before.blocks
        known = [row for row in rows if row[0] in places]
        for block in {blocks[places[row[0]]] for row in known}:
            labels = await self.known.labels(block)
            first = blocks.index(block)
            olds = [(labels[places[row[0]] - first], row) for row in known if blocks[places[row[0]]] == block]
            left = [(row[0], old) for old, row in olds if old.natural and old.natural != row[3]]
            await self.doubts.add(left)
            await self.known.release([(old.natural, key) for key, old in left])

    async def _claimed(self, rows: list[ChunkTuple], letters: list[DeadLetter]) -> list[ChunkTuple]:
        """Without the rows whose natural key another row of Sage holds: those wait for the end of a full run, or are refused by name."""
        taken = await self.known.claim([(row[3], row[0]) for row in rows])
        full = self.record.mode == "full"
        gone = await self._gone(set(taken.values())) if taken and not full else set()
        for at, owner in list(taken.items()):
            row = rows[at]
            if full:
                await self.runs.contest(self.record.run, self.part.id, as_chunk_row(row), owner)
            elif owner in gone:
                await self.known.hand_over(row[3], row[0])
                del taken[at]
            else:
                letters.append(self.duplicate(as_chunk_row(row), owner))
        return [row for at, row in enumerate(rows) if at not in taken]

    async def _gone(self, keys: set[int]) -> set[int]:
        """Those of these rows that Sage does not have any more: only a full run sees what is gone, so here somebody has to ask."""
        there: set[int] = set()
        wanted = sorted(keys)
        for start in range(0, len(wanted), CHUNK_ROWS):
            part = [str(key) for key in wanted[start : start + CHUNK_ROWS]]
            found = await self._connection.sage.query_rows(
                self.part.source.object, ("key",), (*self.part.source.filters, {"$in": {"key": part}}), entity=self.record.entity
            )
            there.update(key for key, _ in found)
        return keys - there

    def duplicate(self, row: ChunkRow, owner: int) -> DeadLetter:
        """Two rows of Sage with one number: the second is refused by name."""
        error = Poison(
            f"{self.part.kind} {row.number} ({row.name}): Sage rows {owner} and {row.key} have the same number in Prime; "
            f"give one of them another number in Sage, or make it inactive",
            system="sage",
            code="duplicate_number",
        )
        return self._letter(row.key, row.number, row.name, bytes(row.body), error)

    def _poisoned(self, key: int, raw: bytes, error: Poison) -> DeadLetter:
        number, name = _number_and_name(raw)
        return self._letter(key, number or str(key), name, raw, error)

    def _letter(self, key: int, number: str, name: str, payload: bytes, error: Poison) -> DeadLetter:
        return self._connection.dead_letters.letter(
            company=self.record.company,
            job=self.record.job,
            part=self.part.id,
            kind=self.part.kind,
            key=key,
            number=number,
            name=name,
            payload=payload,
            error=error,
            run=self.record.run,
            trace=self.record.trace,
        )

    def _chunks(
        self, name: str, rows: Sequence[ChunkTuple], *, purpose: Literal["upsert", "expire"] = "upsert"
    ) -> Iterator[tuple[str, bytes, JobEntry]]:
        """Each chunk is encoded when its turn comes to be stored."""
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = _chunk_name(name, start)
            body = encode_chunk(
                self.record.company,
                self.record.job,
                self.part.kind,
                rows[start : start + CHUNK_ROWS],
                purpose=purpose,
                preamble=self.part.preamble,
                seal=self._connection.seal,
            )
            job = WriteJob(
                trace=self.record.trace, sid=self._connection.connection.sid, run=self.record.run, part=self.part.id, chunk=chunk
            )
            yield chunk, body, entry(job)

    async def send(self, name: str, rows: Sequence[ChunkTuple], *, purpose: Literal["upsert", "expire"] = "upsert") -> None:
        """Queue rows that belong to no page."""
        if rows:
            chunks = self._chunks(name, rows, purpose=purpose)
            await self.runs.commit_page(self.record.run, self.part.id, self.generation, None, chunks, {}, queue_name(WRITE))

    async def _commit(
        self, name: str, record: PageRecord, chunks: Iterable[tuple[str, bytes, JobEntry]], counters: Mapping[str, int]
    ) -> None:
        await self.runs.commit_page(self.record.run, self.part.id, self.generation, (name, record), chunks, counters, queue_name(WRITE))

    def finish_entry(self) -> tuple[str, str, bytes, int]:
        return entry(FinishJob(trace=self.record.trace, sid=self._connection.connection.sid, run=self.record.run, part=self.part.id))


def _chunk_name(base: str, start: int) -> str:
    return f"{base}.{start // CHUNK_ROWS}"


def values_reader(paths: Sequence[str]) -> Callable[[Sequence[bytes]], list[tuple[str, ...]]]:
    """A reader of some fields of raw rows, as text ("" where unset)."""
    if not paths:
        return lambda raws: [()] * len(raws)
    names = [f"f{n}" for n in range(len(paths))]
    struct = msgspec.defstruct(
        "Lefts", [(name, str | int | None, None) for name in names], rename=dict(zip(names, paths, strict=True)), gc=False
    )
    decode = msgspec.json.Decoder(struct).decode

    def read(raws: Sequence[bytes]) -> list[tuple[str, ...]]:
        found = []
        for raw in raws:
            try:
                values = msgspec.structs.astuple(decode(raw))
            except msgspec.DecodeError:  # the row itself will be refused by name
                values = (None,) * len(paths)
            found.append(tuple([value if type(value) is str else "" if value is None else str(value) for value in values]))
        return found

    return read


def _number_and_name(raw: bytes) -> tuple[str, str]:
    """What a person can recognise of a row that does not fit its model."""
    try:
        row = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return "", ""
    if not isinstance(row, dict):
        return "", ""
    return str(row.get("id") or ""), str(row.get("name") or row.get("description") or "")


def as_chunk_row(row: ChunkTuple) -> ChunkRow:
    return ChunkRow(*row[:8], msgspec.Raw(row[8]))


def as_tuple(row: ChunkRow) -> ChunkTuple:
    return (*row[:8], bytes(row.body))
