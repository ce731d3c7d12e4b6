"""The fetch stage: reads Sage, drops what has not changed, maps the rest into chunks for the write stage, and closes runs.

    sweep    joined objects first, then the register's own object by key ranges; every page goes to each run that wants it
    rows     named rows read anew (replay), or rows whose second pass has come
    finish   all chunks acknowledged: rows gone from Sage are expired, then what is known is settled and the cursor moves

What happens to a page is in pages.py.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from connect.errors import Poison
from connect.mapping import Join, Part
from connect.registers import REGISTERS
from connect.sage.sweep import Sweep, SweptPage
from connect.state.dead_letters import DeadLetter
from connect.state.known import PAGE_SIZE, reference
from connect.state.runs import Ask, ChunkRow, RunRecord, RunState
from connect.state.settle import Gone, Seen, Settlement
from workers.jobs import ConnectionTools, FinishJob, RowsJob, SweepJob, TickJob, Tools, cursor_of, enqueue, noted
from workers.pages import ChunkTuple, Target, as_tuple, values_reader

WINDOW: Final = timedelta(days=7)  # the guide, IsFullImport: "records changed since the last 7 days"
CLOCKS_DIFFER: Final = timedelta(days=1)  # rows bear Sage's time, the cursor ours, and queries lag behind writes
SMALL_JOIN_ROWS: Final = PAGE_SIZE  # joined objects up to one page are read in every run
JOIN_EVERY_RUNS: Final = 4  # larger ones in every fourth incremental run
READ_AT_ONCE: Final = 500  # keys in one `$in`
GUARD_SHARE: Final = 0.10  # more rows gone than this share of the register, and more than GUARD_ROWS: ask first
GUARD_ROWS: Final = 5

log = structlog.get_logger()


async def sweep(ctx: dict[str, Any], job: SweepJob) -> None:
    """Read one object for all runs of the job. Safe to run again: finished pages are in the checkpoint."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    targets = [target for run, part in job.runs if (target := await _target(tools, connection, run, part, job))]
    if not targets:
        return
    for target in targets:
        await target.open()
        await target.sweep_leftovers()
    calls: Counter[str] = Counter()
    source = targets[0].part.source
    fields = tuple(dict.fromkeys(field for target in targets for field in target.part.source.fields))
    for target in targets:
        target.asked = frozenset(fields)
    since = await _since(targets)
    unread = await _read_joins(connection, targets, job.entity, calls, incremental=since is not None)
    filters = source.filters
    if since is not None and source.modified_field:
        filters = (*filters, {"$gte": {source.modified_field: f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}})
    done = set.intersection(*[set(await target.runs.page_ranges(target.record.run, target.part.id)) for target in targets])
    asking = [target for target in targets if not done and await _may_rewrite(target)]
    if asking:
        held = await _ask_before_rewriting(connection, asking, job.entity, fields, filters, calls)
        targets = [target for target in targets if target not in held]
        if not targets:
            await held[0].runs.count(held[0].record.run, calls=calls.total())
            return
    reader = Sweep(
        connection.sage,
        source.object,
        fields,
        filters=filters,
        entity=job.entity,
        parallel=connection.connection.sage_slots,
        boundaries=targets[0].index.boundaries() if since is None else (),
        done=sorted(done, key=lambda pair: pair[0]),
        calls=calls,
    )
    offset_pages = itertools.count(1)
    one_at_a_time = asyncio.Lock()  # mapping is work of one processor: several pages at once would only hold memory
    told = False

    async def on_page(page: SweptPage) -> None:
        nonlocal told
        if not told:
            told = True
            await _tell_total(targets, reader.total_count)
        name = f"o{targets[0].generation}.{next(offset_pages)}" if page.after is None else f"{page.after}-{page.until or ''}"
        rows = functools.cache(page.rows)
        joined = await joined_now(connection, unread, rows(), job.entity, calls) if unread else None
        async with one_at_a_time:
            for target in list(targets):
                with _unless_ended(target, targets):
                    await target.room()
                    await target.take(name, page, rows, joined=joined)
                if since is not None:
                    target.seen_keys.update(key for key, _ in rows())

    end = await reader.run(on_page)
    if since is not None:
        await _read_touched(connection, targets, job.entity, fields, unread, calls)
    await targets[0].runs.count(targets[0].record.run, calls=calls.total())
    if end.warning:
        log.warning("sweep", object=source.object, warning=end.warning)
    for target in targets:  # fenced: whoever has taken over says it
        await target.runs.swept(
            target.record.run,
            target.part.id,
            target.generation,
            target.finish_entry(),
            complete=int(end.complete and since is None),
            window=int(end.complete and since is not None),
            order=end.order,
            warning=end.warning,
        )


async def _may_rewrite(target: Target) -> bool:
    """Whether mapping or settings have changed since the rows were sent, and nobody has said that it is right."""
    record = target.record
    if record.mode != "full" or record.resend or record.rewrite or record.plan or target.index.rows <= GUARD_ROWS:
        return False
    return await target.runs.was_read_otherwise(record.company, cursor_of(target.part, record.entity))


async def _ask_before_rewriting(
    connection: ConnectionTools,
    targets: Sequence[Target],
    entity: str,
    fields: tuple[str, ...],
    filters: tuple[dict[str, Any], ...],
    calls: Counter[str],
) -> list[Target]:
    """Read once without writing anything, and count the rows that Prime would get otherwise than now. Returns the targets that are held."""
    rewritten: dict[Target, set[int]] = {target: set() for target in targets}
    reader = Sweep(
        connection.sage,
        targets[0].part.source.object,
        fields,
        filters=filters,
        entity=entity,
        parallel=connection.connection.sage_slots,
        calls=calls,
    )
    one_at_a_time = asyncio.Lock()

    async def on_page(page: SweptPage) -> None:
        found = page.rows()
        async with one_at_a_time:
            for target in targets:
                rewritten[target] |= await target.rewritten(found)

    await reader.run(on_page)
    held = []
    for target, keys in rewritten.items():
        rows, known, record = len(keys), target.index.rows, target.record
        if rows <= GUARD_ROWS or rows <= GUARD_SHARE * known:
            continue
        held.append(target)
        reason = (
            f"mapping or settings have changed, and {rows} of {known} rows of {target.part.id} would be written anew in Prime; "
            f"nothing was. connect plan --company {record.company} --job {record.job} shows them. "
            f"If that is right: connect sync --company {record.company} --job {record.job} --rewrite"
        )
        await target.runs.set_part(record.run, target.part.id, held=reason, asks=1)
        await target.runs.count(record.run, held=rows)
        await target.runs.swept(record.run, target.part.id, target.generation, target.finish_entry(), complete=0, window=0)
    return held


async def rows(ctx: dict[str, Any], job: RowsJob) -> None:
    """Rows by key, read anew and sent whatever was known of them; without keys, the rows whose second pass has come."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    target = await _target(tools, connection, job.run, job.part, job)
    if target is None:
        return
    await target.open()
    calls: Counter[str] = Counter()
    record = target.record
    if record.mode == "deferred":
        waiting = await target.runs.take_deferred(record.company, record.job)  # they stay there until the run has ended
        await target.send(f"{target.generation}.d", [as_tuple(row) for part, _, row in waiting if part == job.part])
    else:
        source = target.part.source
        for start in range(0, len(job.keys), READ_AT_ONCE):
            keys = job.keys[start : start + READ_AT_ONCE]
            found = await _read_keys(connection, source.object, source.fields, keys, record.entity, calls)
            joined = await joined_now(connection, source.joins, found, record.entity, calls)
            await target.take_rows(f"o{target.generation}.{start}", found, joined=joined)
            missing = set(keys) - {key for key, _ in found}
            letters = [target.open_letters[key] for key in missing if key in target.open_letters]
            if letters:
                await connection.dead_letters.resolve(letters, reason="the row is no longer in Sage")
    await target.runs.count(record.run, calls=calls.total())
    await target.runs.swept(record.run, job.part, target.generation, target.finish_entry(), complete=0)


async def finish(ctx: dict[str, Any], job: FinishJob) -> None:
    """Close one part: expire what is gone (first time), then settle what is known. Safe to run again at any point."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    runs = connection.runs
    record = await runs.record(job.run)
    if record is None or record.state != "running":
        return
    facts = await runs.part_facts(job.run, job.part)
    if await runs.open_chunks(job.run, job.part):
        return  # the expiry of this run is on its way; its last acknowledgement calls again
    part = _part(connection, record, job.part)
    if part is None:
        await runs.fail(job.run, f"{record.job} has no part {job.part} any more: the settings have changed", tools.clock())
        return
    target = Target(tools, connection, record, part, int(facts.get("generation", "0")))
    await target.open()
    settlement = Settlement(target.known, runs, job.run, job.part, joins=len([j for j in part.source.joins if j.left != "key"]))
    pages = await runs.pages(job.run, job.part)
    seen = Seen.of(pages, offset_complete=facts.get("complete") == "1")
    complete = facts.get("complete") == "1" and seen.tiled  # everything was read, whatever the setting says
    gone = await settlement.gone(seen, target.index) if complete else []
    if int(facts.get("step", "0")) == 0:
        seen_any = any(page.same or page.keys for page in seen.pages)
        waiting = await runs.contested(job.run, job.part)
        absent = await settlement.absent(seen, {owner for _, owner in waiting}) if complete else set()
        await _let_go(target, connection, gone, waiting, absent, expire=record.expire, seen_any=seen_any)
        await runs.set_part(job.run, job.part, step=1)
        if await runs.open_chunks(job.run, job.part):
            return  # their last acknowledgement brings us back
        facts = await runs.part_facts(job.run, job.part)
    settled, loose = await _loose_ends(target, settlement, seen, gone, complete=complete)
    if int(facts["step"]) == 1:  # only now is it known which rows have which number
        if not facts.get("held"):
            await _expire(target, loose, expire=record.expire, seen_any=True, name="l")
        await runs.set_part(job.run, job.part, step=2)
        if await runs.open_chunks(job.run, job.part):
            return
        facts = await runs.part_facts(job.run, job.part)
    held = facts.get("held", "")
    expired = await settlement.expired()
    settled += [row.label.natural for row in loose if row.key in expired or not (held or _expiry(part, row))]
    settled += [natural for natural, (key, _) in target.doubted.items() if key in expired]
    await target.doubts.settle(settled)
    dropped = expired | {row.key for row in await _inherited(target, gone)}
    if not held:
        dropped |= {row.key for row in gone if not _expiry(target.part, row)}
    if dropped:  # before they are forgotten: whoever runs this again could not tell any more
        await target.known.release([(row.label.natural, row.key) for row in gone if row.key in dropped])
    over = await settlement.absent(seen, target.open_letters) - {row.key for row in gone} if complete else set()
    if letters := [target.open_letters[key] for key in over | dropped if key in target.open_letters]:
        await connection.dead_letters.resolve(letters, reason="the row is no longer in Sage")
    settlement.left = await runs.left(job.run, job.part) if facts.get("left") else set()
    if record.mode == "full" or facts.get("complete") == "1":
        await settlement.full(seen, target.index, dropped)
    else:
        await settlement.updates(pages, target.index, dropped)
    for join in part.source.joins:
        if facts.get(f"joined:{join.name}") == "1" and not (facts.get("asks") or facts.get("left")):
            await target.joined[join.name].settle()
    if (complete or facts.get("window") == "1") and not held and not facts.get("left"):
        await runs.move_cursor(record.company, cursor_of(part, record.entity), record.started_at)
    if await runs.close_part(job.run, job.part):
        await _end(tools, connection, record)


async def _end(tools: Tools, connection: ConnectionTools, record: RunRecord) -> None:
    facts = [await connection.runs.part_facts(record.run, name) for name in record.parts]
    state: RunState = "held" if any(one.get("held") for one in facts) else "done"
    reason = "; ".join(one[key] for one in facts for key in ("held", "warning") if one.get(key))
    asks: list[Ask] = sorted({"rewrite" if one.get("asks") else "expire" for one in facts if one.get("held")})
    if record.mode == "deferred":
        await connection.runs.drop_deferred(record.company, record.job)
    await connection.runs.end(record.run, tools.clock(), state=state, reason=reason, asks=asks)
    log.info("run ended", job=record.job, company=record.company, run=record.run, state=state, reason=reason)
    await enqueue(tools.redis, [TickJob(trace=secrets.token_hex(8), sid=connection.connection.sid)])


async def _let_go(
    target: Target,
    connection: ConnectionTools,
    gone: Sequence[Gone],
    waiting: Sequence[tuple[ChunkRow, int]],
    absent: Collection[int],
    *,
    expire: bool,
    seen_any: bool,
) -> None:
    """Send what only the end of a run can know: expiries, and rows whose number turned out to be free.

    `waiting`: rows with the key of the row that holds their number; `absent`: those holders that Sage has no more.
    """
    runs, record = target.runs, target.record
    free = {row.label.natural: row.key for row in gone if row.label.natural}
    late: list[ChunkTuple] = []
    letters: list[DeadLetter] = []
    heirs: dict[str, int] = {}
    for row, owner in sorted(waiting, key=lambda item: item[0].key):
        if row.natural not in heirs and (owner in absent or free.get(row.natural) == owner):
            heirs[row.natural] = row.key
            await target.known.hand_over(row.natural, row.key)
            late.append(as_tuple(row))
        elif taken := await target.known.claim([(row.natural, row.key)]):
            letters.append(target.duplicate(row, taken[0]))
        else:  # its owner has another number since
            heirs[row.natural] = row.key
            late.append(as_tuple(row))
    if letters:
        await connection.dead_letters.put_many(letters)
        await runs.count(record.run, refused=len(letters))
    inherited = await _inherited(target, gone)
    leaving = [row for row in gone if row.label.natural and row not in inherited]
    await target.send(f"c{target.generation}", late)
    await _expire(target, leaving, expire=expire, seen_any=seen_any, name="g")


async def _expire(target: Target, leaving: Sequence[Gone], *, expire: bool, seen_any: bool, name: str) -> None:
    """Send the expiry of rows, unless there are so many that somebody must be asked."""
    runs, record, known = target.runs, target.record, target.index.rows
    bodies: list[ChunkTuple] = []
    if leaving and not expire and _must_ask(len(leaving), known, seen_any=seen_any):
        await runs.set_part(
            record.run,
            target.part.id,
            held=(
                f"{len(leaving)} of {known} rows of {target.part.id} are no longer in Sage and would be expired in Prime; nothing was. "
                f"If that is right: connect sync --company {record.company} --job {record.job} --full --expire"
            ),
        )
        await runs.count(record.run, held=len(leaving))
    else:
        for lost in leaving:
            body = _expiry(target.part, lost)
            if body is not None:
                bodies.append((lost.key, 0, 0, lost.label.natural, lost.label.number, lost.label.name, lost.label.extra, (), body))
        cannot = len(leaving) - len(bodies)
        if cannot:
            await runs.count(record.run, gone=cannot)
            log.warning("rows gone from Sage that Prime cannot expire", part=target.part.id, company=record.company, rows=cannot)
    await target.send(f"x{target.generation}.{name}", bodies, purpose="expire")


async def _loose_ends(
    target: Target, settlement: Settlement, seen: Seen, gone: Sequence[Gone], *, complete: bool
) -> tuple[list[str], list[Gone]]:
    """The numbers in doubt that are in order again, and those under which Prime holds what no row of Sage is called (by minus its key:
    the row itself may be there, under another number).
    """
    if not target.doubted:
        return [], []
    now = await settlement.accepted({key for key, _ in target.doubted.values()})
    away = await settlement.absent(seen, {key for key, _ in target.doubted.values()}) if complete else set()
    away |= {key for page in seen.pages for key in page.unwanted}
    leaving = {(row.key, row.label.natural) for row in gone}
    settled = [natural for natural, (key, _) in target.doubted.items() if now.get(key) == natural]
    loose = [
        Gone(-key, label)
        for natural, (key, label) in target.doubted.items()
        if now.get(key, natural) != natural or (key in away and key not in now and (key, natural) not in leaving)
    ]
    rows = [(row.label.natural, -row.key) for row in loose]
    taken = await target.known.claim(rows)
    await target.known.release([row for at, row in enumerate(rows) if at not in taken])
    return settled + [rows[at][0] for at in taken], [row for at, row in enumerate(loose) if at not in taken]


async def _inherited(target: Target, gone: Sequence[Gone]) -> set[Gone]:
    """Those whose number another row of Sage has by now: what Prime has under it must not be expired."""
    named = [row for row in gone if row.label.natural]
    return {named[at] for at in await target.known.claim([(row.label.natural, row.key) for row in named])}


def _must_ask(leaving: int, known: int, *, seen_any: bool) -> bool:
    """The guard: too many at once, or a register that is empty all of a sudden."""
    return (leaving > GUARD_ROWS and leaving > GUARD_SHARE * known) or not seen_any


def _expiry(part: Part, row: Gone) -> bytes | None:
    return part.expire(row.label.natural, row.label.number, row.label.name, row.label.extra) if row.label.natural else None


async def _tell_total(targets: Sequence[Target], total: int) -> None:
    """How many rows there are to read, for whoever shows progress: Sage's count, or as many as were there last time. Once per part."""
    for target in targets:
        run, part = target.record.run, target.part.id
        if "total" not in await target.runs.part_facts(run, part):  # a sweep that is taken over has told it
            await target.runs.set_part(run, part, total=1)
            await target.runs.count(run, total=total or target.index.rows)


# -- reading ---------------------------------------------------------------------------------------------------------------


async def _target(tools: Tools, connection: ConnectionTools, run: str, part_id: str, job: SweepJob | RowsJob) -> Target | None:
    """The target of a run that is still on and whose part is not swept yet; fences off whoever swept it before."""
    record = await connection.runs.record(run)
    if record is None or record.state != "running":
        return None
    if (await connection.runs.part_facts(run, part_id)).get("swept") == "1":
        return None
    part = _part(connection, record, part_id)
    if part is None:
        await connection.runs.fail(run, f"{record.job} has no part {part_id} any more: the settings have changed", tools.clock())
        return None
    generation = await connection.runs.take_part(run, part_id, noted(job))
    return Target(tools, connection, record, part, generation)


@contextmanager
def _unless_ended(target: Target, targets: list[Target]) -> Iterator[None]:
    """A run that has ended (or is swept by somebody else) leaves the sweep; the others go on. Raises when it was the last."""
    try:
        yield
    except Poison as error:
        if error.code != "fenced":
            raise
        if target in targets:
            targets.remove(target)
        if not targets:
            raise


def _part(connection: ConnectionTools, record: RunRecord, part_id: str) -> Part | None:
    settings = connection.connection.register_settings(record.company)
    return next((part for part in REGISTERS[record.job].parts(settings) if part.id == part_id), None)


async def _since(targets: Sequence[Target]) -> datetime | None:
    """From when on to read, or None for everything: without a cursor or known rows the run is full, whatever the setting says."""
    starts: list[datetime] = []
    for target in targets:
        cursor = await target.runs.cursor(target.record.company, cursor_of(target.part, target.record.entity))
        if target.record.mode != "incremental" or cursor is None or not target.index.blocks or not target.part.source.modified_field:
            return None
        starts.append(min(cursor - CLOCKS_DIFFER, target.record.started_at - WINDOW))
    return min(starts)


async def _read_joins(
    connection: ConnectionTools, targets: Sequence[Target], entity: str, calls: Counter[str], *, incremental: bool
) -> list[Join]:
    """Read the joined objects side by side, once for all targets, and note which rows their changes touch.

    Returns those left out this time: what belongs to the rows of an incremental run is asked for row by row.
    """
    joins = targets[0].part.source.joins
    tasks = [asyncio.create_task(_read_join(connection, targets, join, entity, calls, incremental=incremental)) for join in joins]
    try:
        were_read = await asyncio.gather(*tasks)
    finally:  # one that fails takes the others with it
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [join for join, was_read in zip(joins, were_read, strict=True) if not was_read]


async def _read_join(
    connection: ConnectionTools, targets: Sequence[Target], join: Join, entity: str, calls: Counter[str], *, incremental: bool
) -> bool:
    """One of them. Whether every target has it, read now or in an earlier life of its sweep."""
    reading, known = [], 0
    for target in targets:
        joined = target.joined[join.name]
        facts = await target.runs.part_facts(target.record.run, target.part.id)
        if facts.get(f"joined:{join.name}") == "1":
            joined.resume()
            known += 1
        elif (
            incremental
            and await joined.size() > SMALL_JOIN_ROWS
            and not await target.runs.nth(target.record.company, f"{target.part.id}:{join.name}", JOIN_EVERY_RUNS)
        ):
            continue
        else:
            await joined.start()
            reading.append(target)
    if reading:
        reader = Sweep(
            connection.sage,
            join.object,
            join.fields,
            filters=join.filters,
            entity=entity,
            parallel=connection.connection.sage_slots,
            calls=calls,
        )
        value_of = values_reader([join.right])
        lock = asyncio.Lock()

        async def on_page(page: SweptPage) -> None:
            found = page.rows()
            values = value_of(_raws(found))
            kept = [(value, key, raw) for (key, raw), (value,) in zip(found, values, strict=True) if value]
            async with lock:
                for target in reading:
                    await target.joined[join.name].add(kept)

        await reader.run(on_page)
        for target in reading:
            await target.runs.set_part(target.record.run, target.part.id, **{f"joined:{join.name}": 1})
    for target in targets:
        await _touch(target, join)
    return len(reading) + known == len(targets)


async def _touch(target: Target, join: Join) -> None:
    changed = await target.joined[join.name].changed()
    if changed is None:
        target.compare_all = target.compare_all or bool(target.index.blocks)
    elif join.left == "key":
        target.touched_keys.update(int(value) for value in changed if value.isdigit())
    else:
        column = [other.name for other in target.part.source.joins if other.left != "key"].index(join.name)
        target.touched_refs[column].update(reference(value) for value in changed)


async def _read_touched(
    connection: ConnectionTools,
    targets: list[Target],
    entity: str,
    fields: tuple[str, ...],
    unread: Sequence[Join],
    calls: Counter[str],
) -> None:
    """In an incremental run: rows that a joined row's change touches, and rows with an open dead letter."""
    wanted: dict[int, list[Target]] = {}
    for target in targets:
        keys = target.touched_keys | set(target.open_letters)
        if any(target.touched_refs):
            for info in target.index.blocks:
                block = await target.known.block(info.block)
                for touched, column in zip(target.touched_refs, await target.known.references(info.block), strict=False):
                    keys.update(key for key, ref in zip(block.keys, column, strict=True) if ref in touched)
        target.touched_keys |= keys
        for key in keys - target.seen_keys:
            wanted.setdefault(key, []).append(target)
    every = sorted(wanted)
    for start in range(0, len(every), READ_AT_ONCE):
        part = every[start : start + READ_AT_ONCE]
        found = await _read_keys(connection, targets[0].part.source.object, fields, part, entity, calls)
        joined = await joined_now(connection, unread, found, entity, calls) if unread else None
        for target in list(targets):
            mine = [(key, raw) for key, raw in found if target in wanted[key]]
            if mine:
                with _unless_ended(target, targets):
                    await target.room()
                    await target.take_rows(f"t{target.generation}.{start}", mine, joined=joined)


async def _read_keys(
    connection: ConnectionTools, source_object: str, fields: tuple[str, ...], keys: Sequence[int], entity: str, calls: Counter[str]
) -> list[tuple[int, bytes]]:
    found = await connection.sage.query_rows(
        source_object, fields, ({"$in": {"key": [str(key) for key in keys]}},), entity=entity, calls=calls
    )
    return sorted(found)


async def joined_now(
    connection: ConnectionTools, joins: Sequence[Join], found: Sequence[tuple[int, bytes]], entity: str, calls: Counter[str]
) -> dict[str, dict[str, list[bytes]]]:
    """The joined rows of a few rows, straight from Sage."""
    joined: dict[str, dict[str, list[bytes]]] = {}
    for join in joins:
        lefts = [str(key) for key, _ in found] if join.left == "key" else [left for (left,) in values_reader([join.left])(_raws(found))]
        values = sorted(set(lefts) - {""})
        by_value: dict[str, list[bytes]] = {}
        for start in range(0, len(values), READ_AT_ONCE):
            filters = (*join.filters, {"$in": {join.right: values[start : start + READ_AT_ONCE]}})
            read = sorted(await connection.sage.query_rows(join.object, join.fields, filters, entity=entity, calls=calls))
            for raw, (value,) in zip(_raws(read), values_reader([join.right])(_raws(read)), strict=True):
                by_value.setdefault(value, []).append(raw)
        joined[join.name] = by_value
    return joined


def _raws(rows: Sequence[tuple[int, bytes]]) -> list[bytes]:
    return [raw for _, raw in rows]
