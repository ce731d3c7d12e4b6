"""Runs: all or nothing whoever is killed, late workers fenced off, and nothing of a run's rows left behind."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import pytest

from connect.errors import Poison
from connect.state.known import Entry, Known, Label
from connect.state.runs import ChunkRow, PageRecord, Runs, encode_chunk
from connect.state.settle import Seen, Settlement

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
PART, QUEUE = "Supplier", "q:write"
FINISH = ("q:fetch", "finish:sid:run:Supplier:0", b"finish", 5)


@pytest.fixture
def runs(redis):
    return Runs(redis, "sid")


async def begin(runs, job="GetSuppliers", company="100", now=NOW, parts=(PART,), mode="full"):
    return await runs.begin(company, job, mode=mode, trace="t", parts=parts, entity="E1", now=now)


def tuple_row(key, **body):
    return (key, 0, key * 10, f"V{key}", f"V{key}", f"Name {key}", "x", (key % 3,), orjson.dumps({"Supplier": f"V{key}", **body}))


def chunk(name, keys, purpose="upsert"):
    body = encode_chunk("100", "GetSuppliers", "Supplier", [tuple_row(key) for key in keys], purpose=purpose, preamble=[("Type", b"{}")])
    return name, body, (f"write:{name}", b"wire", 1)


def as_job(one):
    """(id, body, job) as commit_page takes it."""
    name, body, (job_id, wire, due) = one
    return name, body, (QUEUE, job_id, wire, due)


def page(after, until, rows, chunks=(), same=0):
    keys, raws = array("q", [key for key, _ in rows]), array("Q", [raw for _, raw in rows])
    return PageRecord(after, until, same, 0, keys.tobytes(), raws.tobytes(), list(chunks), [])


async def commit(runs, run, generation, name, record, chunks=(), **counters):
    named = (name, record) if record else None
    return await runs.commit_page(run, PART, generation, named, [as_job(one) for one in chunks], counters, QUEUE)


async def keys_left(redis, run):
    return {key.decode().removeprefix("connect:sid:").replace(run, "RUN") async for key in redis.scan_iter(match=f"*{run}*")}


# -- records -----------------------------------------------------------------------------------------------------------


async def test_one_run_of_a_job_and_company_at_a_time(runs):
    run = await begin(runs)
    assert await begin(runs) is None
    others = [await begin(runs, company="200"), await begin(runs, job="GetAccounts")]
    assert all(others)
    assert await runs.current("100", "GetSuppliers") == run
    assert {record.run for record in await runs.running()} == {run, *others}
    await runs.end(run, NOW + timedelta(seconds=9))
    assert await runs.current("100", "GetSuppliers") is None
    assert {record.run for record in await runs.running()} == set(others)
    assert await begin(runs) not in (None, run)


async def test_a_record_holds_what_was_asked_and_what_was_counted(runs):
    run = await runs.begin("100", "GetSuppliers", mode="full", resend=True, trace="t", parts=["a", "b"], entity="E1", now=NOW)
    await runs.count(run, read=5, sent=0, calls=2)
    await runs.count(run, read=5)
    await runs.end(run, NOW + timedelta(seconds=90), state="held", reason="too many gone")
    record = await runs.last("100", "GetSuppliers")
    assert (record.run, record.state, record.reason, record.mode, record.resend, record.expire) == (
        run, "held", "too many gone", "full", True, False,
    )  # fmt: skip
    assert (record.read, record.sent, record.calls, record.duration_s, record.parts, record.entity) == (10, 0, 2, 90, ("a", "b"), "E1")
    with pytest.raises(AttributeError):
        record.nonsense  # noqa: B018


async def test_a_run_ends_once(runs):
    run = await begin(runs)
    await runs.end(run, NOW)
    await runs.fail(run, "too late")
    assert ((await runs.record(run)).state, (await runs.record(run)).reason) == ("done", "")


async def test_history_is_newest_first_by_company_and_job_and_kept_90_days(runs, redis):
    made = []
    for n in range(5):
        made.append(await begin(runs, company="100" if n % 2 else "200", now=NOW + timedelta(minutes=n)))
        await runs.end(made[-1], NOW + timedelta(minutes=n))
    assert [record.run for record in await runs.history()] == made[::-1]
    assert [record.run for record in await runs.history("100")] == [made[3], made[1]]
    assert [record.run for record in await runs.history(job="GetSuppliers", limit=2)] == [made[4], made[3]]
    assert await runs.history(job="GetAccounts") == []
    assert 89 * 86_400 < await redis.ttl(f"connect:sid:run:{made[0]}") <= 90 * 86_400
    late = await begin(runs, now=NOW + timedelta(days=91))
    await runs.end(late, NOW + timedelta(days=91))
    assert await redis.zcard("connect:sid:runs") == 1


async def test_cursors_move_by_company_and_part(runs):
    assert await runs.cursor("100", PART) is None
    await runs.move_cursor("100", PART, NOW)
    assert await runs.cursor("100", PART) == NOW
    assert await runs.cursor("200", PART) is None


async def test_every_fourth_run_is_told_so(runs):
    assert [await runs.nth("100", "terms", 4) for _ in range(9)] == [True, False, False, False, True, False, False, False, True]
    assert [await runs.nth("100", "all", 1) for _ in range(3)] == [True] * 3


# -- the sweep's side --------------------------------------------------------------------------------------------------


async def test_a_page_is_committed_with_its_chunks_jobs_and_counters(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    assert await commit(runs, run, generation, "0", page(0, 10, [(1, 0)]), [chunk("1.0.0", [1]), chunk("1.0.1", [2])], read=7, unchanged=0)
    assert await runs.open_chunks(run, PART) == 2
    assert await redis.zrange(QUEUE, 0, -1, withscores=True) == [(b"write:1.0.0", 1.0), (b"write:1.0.1", 1.0)]
    assert await redis.get("arq:job:write:1.0.0") == b"wire"
    assert (await runs.record(run)).counters == {"read": 7}
    assert (await runs.pages(run, PART))["0"] == page(0, 10, [(1, 0)])
    loaded = await runs.load_chunk(run, PART, "1.0.1")
    assert (loaded.company, loaded.kind, loaded.purpose, loaded.preamble) == ("100", "Supplier", "upsert", [("Type", b"{}")])
    assert loaded.bodies == [b'{"Supplier":"V2"}']
    assert loaded.rows[0][:8] == tuple_row(2)[:8]


async def test_a_page_committed_again_changes_nothing_and_its_chunks_stay(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    what = ("0", page(0, 10, [(1, 0)]), [chunk("1.0.0", [1])])
    assert await commit(runs, run, generation, *what, read=7)
    assert not await commit(runs, run, generation, *what, read=7)  # Redis' answer was lost, so the client asked once more
    assert (await runs.record(run)).read == 7
    assert (await runs.load_chunk(run, PART, "1.0.0")).rows


async def test_a_sweeper_that_was_replaced_commits_nothing(runs, redis):
    run = await begin(runs)
    old = await runs.take_part(run, PART, b"job")
    new = await runs.take_part(run, PART, b"job")
    with pytest.raises(Poison) as caught:
        await commit(runs, run, old, "0", page(0, 10, []), [chunk("1.0.0", [1])], read=7)
    assert caught.value.code == "fenced"
    assert await runs.open_chunks(run, PART) == 0
    assert not await redis.exists(f"connect:sid:chunk:{run}:{PART}:1.0.0", QUEUE)
    assert (await runs.record(run)).counters == {}
    await runs.swept(run, PART, old, FINISH, complete=1)
    assert "swept" not in await runs.part_facts(run, PART)
    assert await commit(runs, run, new, "0", page(0, 10, []))


async def test_nothing_is_committed_or_written_after_the_run_has_ended(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    await commit(runs, run, generation, "0", page(0, 10, []), [chunk("1.0.0", [1])])
    held = await runs.load_chunk(run, PART, "1.0.0")
    assert await runs.may_write(run)
    await runs.fail(run, "given up", NOW)
    assert not await runs.may_write(run)
    assert await runs.load_chunk(run, PART, "1.0.0") is None
    with pytest.raises(Poison):
        await commit(runs, run, generation, "10", page(10, None, []), [chunk("1.10.0", [1])])
    assert not await runs.acknowledge(held, accepted=[0], finish=FINISH)
    assert (await runs.record(run)).sent == 0


async def test_nothing_of_a_runs_rows_outlives_it(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    await commit(runs, run, generation, "0", page(0, 10, []), [chunk("1.0.0", [1]), chunk("1.0.1", [2])])
    await runs.acknowledge(await runs.load_chunk(run, PART, "1.0.0"), accepted=[0], finish=FINISH)
    await runs.contest(run, PART, ChunkRow(*tuple_row(3)[:8], msgspec.Raw(b"{}")), 1)
    await runs.fail(run, "given up", NOW)
    assert await keys_left(redis, run) == {"run:RUN", f"part:RUN:{PART}"}
    assert 0 < await redis.ttl(f"connect:sid:part:{run}:{PART}") <= 86_400
    await runs.accept_unsent(run, PART, "=1.0", [])  # a sweeper that has not noticed yet
    assert await redis.ttl(f"connect:sid:part:{run}:{PART}:acks") > 0


async def test_only_pages_of_ranges_need_not_be_read_again(runs):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    for name, record in (("0", page(0, 10, [])), ("10", page(10, None, [])), ("o1.1", page(0, None, [])), ("t1.0", page(0, None, []))):
        await commit(runs, run, generation, name, record)
    assert sorted(await runs.page_ranges(run, PART), key=str) == [(0, 10), (10, None)]


# -- the writer's side -------------------------------------------------------------------------------------------------


async def test_a_chunk_is_acknowledged_once_and_the_last_one_queues_the_finish(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    await commit(runs, run, generation, "0", page(0, None, []), [chunk("1.0.0", [1, 2, 3]), chunk("1.0.1", [4])])
    first, last = [await runs.load_chunk(run, PART, name) for name in ("1.0.0", "1.0.1")]
    assert not await runs.acknowledge(first, accepted=[0, 2], refused=[1], finish=FINISH)
    assert not await runs.acknowledge(first, accepted=[0, 1, 2], finish=FINISH)
    assert await runs.load_chunk(run, PART, "1.0.0") is None
    await runs.swept(run, PART, generation, FINISH, complete=1)
    assert not await redis.exists("q:fetch")
    assert await runs.acknowledge(last, accepted=[0], finish=FINISH)
    assert await redis.zrange("q:fetch", 0, -1) == [b"finish:sid:run:Supplier:0"]
    record = await runs.record(run)
    assert (record.sent, record.refused, record.expired) == (3, 1, 0)
    (ack,) = await runs.acks(run, PART, ["1.0.0"])
    assert [entry.key for entry in ack.entries()] == [1, 3]
    assert ack.entries()[0] == Entry(1, 0, 10, Label("V1", "V1", "Name 1", "x"), (1,))


async def test_the_finish_is_queued_by_the_sweep_when_no_chunk_is_open_and_anew_for_the_next_step(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    await runs.swept(run, PART, generation, FINISH, complete=1)
    assert await redis.zrange("q:fetch", 0, -1) == [b"finish:sid:run:Supplier:0"]
    await runs.set_part(run, PART, step=1)
    await commit(runs, run, generation, "", None, [chunk("x1.0", [9], purpose="expire")])
    expiry = await runs.load_chunk(run, PART, "x1.0")
    assert await runs.acknowledge(expiry, accepted=[0], finish=FINISH)
    assert await redis.zrange("q:fetch", 0, -1) == [b"finish:sid:run:Supplier:0", b"finish:sid:run:Supplier:1"]
    record = await runs.record(run)
    assert (record.sent, record.expired) == (0, 1)


async def test_a_chunk_that_lost_its_rows_ends_the_run_rather_than_being_taken_for_written(runs, redis):
    run = await begin(runs)
    generation = await runs.take_part(run, PART, b"job")
    await commit(runs, run, generation, "0", page(0, None, []), [chunk("1.0.0", [1])])
    await redis.delete(f"connect:sid:chunk:{run}:{PART}:1.0.0")
    with pytest.raises(Poison, match="lost its rows"):
        await runs.load_chunk(run, PART, "1.0.0")


async def test_what_the_later_sweeper_sent_counts(runs):
    run = await begin(runs)
    for name, meaning in (("10.0.0", 3), ("=9.0", 2), ("2.0.0", 1)):
        await runs.accept_unsent(run, PART, name, [(1, 1, meaning, "V1", "V1", "n", "", ())])
    acks = await runs.acks(run, PART, await runs.ack_names(run, PART))
    assert [ack.entries()[0].meaning for ack in acks] == [1, 2, 3]


async def test_deferred_rows_wait_for_their_second_pass(runs):
    run = await begin(runs, job="GetAccounts")
    generation = await runs.take_part(run, PART, b"job")
    body = encode_chunk("100", "GetAccounts", "Account", [tuple_row(1), tuple_row(2)])
    await commit(runs, run, generation, "0", page(0, None, []), [("1.0.0", body, ("write:1", b"w", 1))])
    await runs.acknowledge(await runs.load_chunk(run, PART, "1.0.0"), accepted=[0], deferred=[1], finish=FINISH)
    assert (await runs.record(run)).sent == 2
    assert await runs.deferred_waiting("100", "GetAccounts") == 1
    ((part, kind, row),) = await runs.take_deferred("100", "GetAccounts")
    assert (part, kind, row[:8], bytes(row.body)) == (PART, "Account", tuple_row(2)[:8], tuple_row(2)[8])
    await runs.drop_deferred("100", "GetAccounts")
    assert await runs.deferred_waiting("100", "GetAccounts") == 0


async def test_contested_rows_come_back_with_who_holds_their_number(runs):
    run = await begin(runs)
    await runs.contest(run, PART, ChunkRow(*tuple_row(3)[:8], msgspec.Raw(b'{"a":1}')), 1)
    ((row, owner),) = await runs.contested(run, PART)
    assert (row[:8], bytes(row.body), owner) == (tuple_row(3)[:8], b'{"a":1}', 1)


async def test_part_states_tell_the_reaper_what_is_owed(runs):
    run = await begin(runs, parts=("A", "B"))
    await runs.note_sweep(run, "A", b"sweep")
    states = {state.part: state for state in await runs.part_states(run)}
    assert (states["A"].sweep_job, states["A"].swept, states["B"].sweep_job) == (b"sweep", False, b"")
    generation = await runs.take_part(run, "A", b"sweep 2")
    await runs.commit_page(run, "A", generation, None, [as_job(chunk("1.0.0", [1]))], {}, QUEUE)
    await runs.swept(run, "A", generation, FINISH, complete=1)
    (state, _) = await runs.part_states(run)
    assert (state.swept, state.step, state.closed, state.open_chunks, state.sweep_job) == (True, 0, False, ("1.0.0",), b"sweep 2")


async def test_a_run_is_over_when_its_last_part_is_closed(runs):
    run = await begin(runs, parts=("A", "B"))
    assert not await runs.close_part(run, "B")
    assert await runs.close_part(run, "A")
    await runs.end(run, NOW)
    assert not await runs.close_part(run, "A")


# -- a sweep that found out late that keys are compared as text --------------------------------------------------------


async def test_pages_of_both_kinds_are_settled_and_only_offset_pages_prove_that_all_was_read(runs, redis):
    run, known = await begin(runs), Known(redis, "sid", "100", PART)
    await runs.accept_unsent(run, PART, "1.0.0", [tuple_row(key)[:8] for key in (100, 101)])
    await runs.accept_unsent(run, PART, "2.o2.1.0", [tuple_row(key)[:8] for key in (20, 101)])
    pages = {
        "0": page(0, 101, [(100, 0), (101, 0)], ["1.0.0"]),
        "o2.10": page(0, None, [(101, 0)], ["2.o2.1.0"]),
        "o2.9": page(0, None, [(20, 0)], ["2.o2.1.0"]),
    }
    assert not Seen.of(pages, offset_complete=False).tiled
    seen = Seen.of(pages, offset_complete=True)
    assert seen.tiled
    await Settlement(known, runs, run, PART, joins=1).full(seen, await known.index(), set())
    assert [(entry.key, entry.meaning) async for entry in known.stream(await known.index())] == [(20, 200), (100, 1000), (101, 1010)]


async def test_what_no_page_covers_stays_known(runs, redis):
    run, known = await begin(runs), Known(redis, "sid", "100", PART)
    await runs.accept_unsent(run, PART, "1.0.0", [tuple_row(key)[:8] for key in (1, 5, 9)])
    everything = {"0": page(0, None, [(1, 0), (5, 0), (9, 0)], ["1.0.0"])}
    settlement = Settlement(known, runs, run, PART, joins=1)
    await settlement.full(Seen.of(everything, offset_complete=False), await known.index(), set())
    some = {"0": page(0, 2, [(1, 7)]), "6": page(6, 8, [])}
    seen = Seen.of(some, offset_complete=False)
    assert not seen.tiled
    await settlement.full(seen, await known.index(), set())
    assert [entry.key async for entry in known.stream(await known.index())] == [1, 5, 9]
