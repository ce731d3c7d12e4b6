"""Errors of either side, Redis emptied, workers stopped at a bad moment: nothing is lost, nobody else is disturbed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from pipeline import COLOURS, THINGS, Pipeline, thing

from connect.errors import Auth, Permanent, Poison, RateLimited, Transient
from connect.prime.port import RowResult
from workers import arq_worker, outcomes, pages, producers, replay
from workers.jobs import FETCH, WRITE, TickJob, WriteJob, enqueue, queue_name

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 100, **options: object) -> Pipeline:
    box = make(**options)
    for sage in box.sages.values():
        sage.put(COLOURS, {"key": 1, "name": "red"})
        sage.put(THINGS, *(thing(3 * n) for n in range(1, count + 1)))
    return box


async def until(look: Callable[[], Any], timeout_s: float = 60) -> None:
    limit = time.monotonic() + timeout_s
    while not await look():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.02)


async def test_a_transient_error_is_tried_again_and_leaves_no_trace(make: Make, redis) -> None:
    box = filled(make)
    box.prime.errors = [Transient("502", system="prime")]
    box.sage.errors = [Transient("reset", system="sage")]
    run = await box.sync()
    assert (run.state, run.sent) == ("done", 100)
    assert [key async for key in redis.scan_iter(match="arq:*") if b"tick" not in key] == []


async def test_what_never_gets_better_ends_the_run_with_the_reason(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(outcomes, "ATTEMPTS", 2)
    box = filled(make)
    box.prime.errors = [Transient(f"502 for the {n}. time", system="prime") for n in (1, 2)]
    run = await box.sync()
    assert (run.state, run.reason) == ("failed", "502 for the 2. time")
    assert (await box.sync()).sent == 100


async def test_being_told_to_wait_costs_no_attempt(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(outcomes.random, "random", lambda: 0.0)
    monkeypatch.setattr(outcomes, "ATTEMPTS", 1)
    box = filled(make)
    box.prime.errors = [RateLimited("slower", retry_after_s=0.01) for _ in range(3)]
    run = await box.sync()
    assert (run.state, run.sent) == ("done", 100)


async def test_not_being_let_in_rests_that_connections_stage_only_and_its_jobs_wait(make: Make, redis) -> None:
    box = filled(make, names=("closed", "open"))
    closed, other = box.tools.connections.values()
    box.primes["closed"].errors = [Auth("wrong password", system="prime")]
    await producers.want(box.tools)
    async with box.running():

        async def is_open_done() -> bool:
            return await other.runs.last("100", "GetThings") is not None and await closed.pauses.get(WRITE) is not None

        await until(is_open_done)
    pause = await closed.pauses.get(WRITE)
    assert pause.reason == "wrong password"
    assert (await closed.pauses.get(FETCH), await other.pauses.get(WRITE)) == (None, None)
    assert len(box.primes["open"].things()) == 100
    ((record,), waiting) = (await closed.runs.running(), await redis.zrange(queue_name(WRITE), 0, -1))
    assert record.state == "running"
    assert len(waiting) == 1
    await closed.pauses.clear(WRITE)
    await redis.zadd(queue_name(WRITE), {waiting[0]: 1})
    async with box.running():
        await box.idle()
    assert len(box.primes["closed"].things()) == 100


async def test_a_row_that_prime_answers_with_an_error_of_its_own_is_refused_alone(make: Make) -> None:
    box = filled(make)
    box.prime.refuses = lambda _kind, _company, body: RowResult(error=Permanent("no XML")) if body["number"] == "T6" else None
    run = await box.sync()
    assert (run.sent, run.refused, list(await box.letters())) == (99, 1, ["T6"])


async def test_only_rows_without_an_answer_are_sent_again(make: Make) -> None:
    box = filled(make)
    answers = iter([RowResult(error=Transient("reset"))])
    box.prime.refuses = lambda _kind, _company, body: next(answers, None) if body["number"] == "T6" else None
    run = await box.sync()
    assert (run.sent, run.refused) == (100, 0)
    assert len(box.prime.numbers()) == 100, "none was sent twice"


async def test_a_late_chunk_of_an_ended_run_writes_nothing(make: Make) -> None:
    box = filled(make)
    box.prime.open.clear()
    await producers.want(box.tools)
    runs = box.connection.runs
    async with box.running("schedule", "fetch"):

        async def is_queued() -> bool:
            return await box.tools.redis.zcard(queue_name(WRITE)) == 1

        await until(is_queued)
    (record,) = await runs.running()
    await runs.fail(record.run, "somebody ended it", box.clock())
    box.prime.open.set()
    async with box.running("write"):

        async def is_empty() -> bool:
            return await box.tools.redis.zcard(queue_name(WRITE)) == 0

        await until(is_empty)
    assert box.prime.written == []


async def test_no_run_begins_while_a_failed_ones_chunk_is_on_its_way_to_prime(make: Make) -> None:
    """Else that chunk's rows might land after newer ones."""
    box = make()
    box.sage.put(THINGS, thing(1, "Old"))
    box.prime.open.clear()

    async def is_sending() -> bool:
        return box.prime.waiting == 1

    async def has_landed() -> bool:
        return box.prime.waiting == 0

    await producers.want(box.tools)
    async with box.running():
        await until(is_sending)
        (record,) = await box.connection.runs.running()
        await box.connection.runs.fail(record.run, "given up", box.clock())
        box.sage.put(THINGS, thing(1, "New"))
        await producers.want(box.tools)
        for _ in range(5):
            await producers.tick({"tools": box.tools}, TickJob(trace="t"))
        assert await box.connection.runs.running() == []
        assert await producers.read_anew(box.tools, box.connection, "100", "GetThings", {"Thing": [1]}, box.clock()) is None
        box.prime.open.set()
        await until(has_landed)
        await producers.want(box.tools)
        await box.idle()
    assert box.prime.things()["T1"]["name"] == "New"


async def test_redis_emptied_in_the_middle_ends_quietly_and_the_next_tick_starts_anew(make: Make, redis, monkeypatch) -> None:
    monkeypatch.setattr(arq_worker, "RENEW_S", 0.5)
    box = filled(make, 9000)
    box.sage.latency_s = 0.05
    await producers.want(box.tools)
    async with box.running():

        async def is_writing() -> bool:
            return len(box.prime.written) > 500

        await until(is_writing)
        with structlog.testing.capture_logs() as lines:
            await redis.flushall()
            await asyncio.sleep(1.2)  # leases are found lost, late jobs end
        assert [line for line in lines if line["log_level"] == "error"] == []
        await producers.want(box.tools)
        await box.idle()
    assert len(box.prime.things()) == 9000
    assert (await box.last()).state == "done"
    assert (await box.sync()).sent == 0


async def test_lost_jobs_are_put_back(make: Make, redis) -> None:
    box = filled(make, 1200)
    box.prime.open.clear()
    await producers.want(box.tools)
    async with box.running("schedule", "fetch"):

        async def are_queued() -> bool:
            return await redis.zcard(queue_name(WRITE)) == 3

        await until(are_queued)
    names = [key async for key in redis.scan_iter(match="arq:*")]
    await redis.delete(queue_name(WRITE), queue_name(FETCH), *names)
    assert await producers.reap(box.tools, box.connection, box.clock()) == 0, "the run has just begun"
    box.clock.advance(seconds=30)
    assert await producers.reap(box.tools, box.connection, box.clock()) == 3
    box.prime.open.set()
    async with box.running():
        await box.idle()
    assert (await box.last()).sent == 1200


async def test_the_letter_of_a_job_that_cannot_be_read_ends_with_the_run_that_does_its_work(make: Make, redis) -> None:
    box = filled(make)
    box.prime.open.clear()
    await producers.want(box.tools)
    async with box.running("schedule", "fetch"):

        async def is_queued() -> bool:
            return await redis.zcard(queue_name(WRITE)) == 1

        await until(is_queued)
    (name,) = await redis.zrange(queue_name(WRITE), 0, -1)
    await redis.delete(b"arq:job:" + name)
    async with box.running("write"):

        async def is_said() -> bool:
            return list(await box.letters()) == [name.decode()]

        await until(is_said)
    await producers.resolve_lost(box.connection)
    assert list(await box.letters()) == [name.decode()], "its run is still on"
    box.clock.advance(seconds=30)
    assert await producers.reap(box.tools, box.connection, box.clock()) == 1
    box.prime.open.set()
    async with box.running():
        await box.idle()
    assert (await box.last()).sent == 100
    await producers.resolve_lost(box.connection)
    assert await box.letters() == {}


async def test_a_lost_sweep_is_put_back_also_after_it_had_begun(make: Make, redis) -> None:
    box = filled(make)
    stuck = asyncio.Event()

    async def waits(_: object) -> None:
        await stuck.wait()

    box.sage.before_answer = waits
    await producers.want(box.tools)
    async with box.running():

        async def is_reading() -> bool:
            return bool(box.sage.queries)

        await until(is_reading)
    names = [key async for key in redis.scan_iter(match="arq:*")]
    await redis.delete(queue_name(FETCH), *names)
    box.sage.before_answer = None
    box.clock.advance(seconds=30)
    assert await producers.reap(box.tools, box.connection, box.clock()) == 1
    async with box.running():
        await box.idle()
    assert (await box.last()).sent == 100


async def test_a_run_whose_sweep_was_never_queued_is_ended_and_begun_anew(make: Make) -> None:
    box = filled(make)
    await box.connection.runs.begin("100", "GetThings", mode="full", trace="t", parts=["Thing"], entity="", now=box.clock())
    box.clock.advance(seconds=61)
    async with box.running():
        await producers.reap(box.tools, box.connection, box.clock())
        failed = await box.last()
        assert (failed.state, failed.reason) == ("failed", "its sweep was never queued; it starts anew")
        await producers.start_due(box.tools, box.connection, box.clock())
        await box.idle()
    assert (await box.last()).sent == 100


@pytest.mark.parametrize("text_order", [False, True])
async def test_a_sweep_that_is_stopped_half_way_goes_on_where_it_was(make: Make, text_order: bool) -> None:
    box = filled(make, 9000)
    await box.sync()
    box.prime.numbers()
    box.sage.text_order = text_order
    for key in (3, 6, 15_000, 26_997):
        box.sage.put(THINGS, thing(key, "Changed"))
    del box.sage.objects[THINGS][300]
    asked = 0

    async def stops_at_the_third(query: Any) -> None:
        nonlocal asked
        asked += query.object == THINGS
        if asked == 3:
            asked += 1
            await asyncio.sleep(0.3)
            raise asyncio.CancelledError

    box.sage.before_answer = stops_at_the_third
    run = await box.sync()
    assert (run.state, run.expired) == ("done", 1)
    assert set(box.prime.numbers()) == {"T3", "T6", "T15000", "T26997", "T300"}
    again = await box.sync()
    assert (again.sent, again.expired) == (0, 0)


async def test_a_finish_that_is_stopped_anywhere_ends_the_same(make: Make) -> None:
    box = filled(make)
    await box.sync()
    for at in range(1, 9):
        box.prime.numbers()
        box.sage.put(THINGS, thing(3, f"Changed {at}"), thing(5000 + at, "Heir", number=f"T{30 * at}"))
        del box.sage.objects[THINGS][30 * at]
        del box.sage.objects[THINGS][30 * at + 3]
        steps = 0
        runs = box.connection.runs
        names = ("set_part", "part_facts", "contested", "acks", "ack_names", "move_cursor", "close_part", "end")
        originals = {name: getattr(runs, name) for name in names}

        def watched(name: str, originals: Any = originals, at: int = at) -> Any:
            async def call(*args: Any, **options: Any) -> Any:
                nonlocal steps
                if asyncio.current_task() is not None and structlog.contextvars.get_contextvars().get("job") == "finish":
                    steps += 1
                    if steps == at:
                        raise asyncio.CancelledError
                return await originals[name](*args, **options)

            return call

        for name in names:
            setattr(runs, name, watched(name))
        run = await box.sync()
        for name in names:
            delattr(runs, name)
        assert run.state == "done"
        assert steps > at, "it was not stopped"
        assert set(box.prime.numbers()) == {"T3", f"T{30 * at}", f"T{30 * at + 3}"}
        assert box.prime.things()[f"T{30 * at}"] == {"number": f"T{30 * at}", "name": "Heir", "colour": "red", "tags": []}
        assert box.prime.things()[f"T{30 * at + 3}"]["expired"] is True
        again = await box.sync()
        assert (again.sent, again.expired, again.refused) == (0, 0, 0)


async def test_a_run_that_ends_takes_no_shared_sweep_with_it(make: Make) -> None:
    box = filled(make, 9000, companies=("100", "200"))
    runs = box.connection.runs
    ended: list[str] = []

    async def ends_one(query: Any) -> None:
        if query.object == THINGS and [one.object for one in box.sage.queries].count(THINGS) == 2 and not ended:
            (record,) = [one for one in await runs.running() if one.company == "100"]
            ended.append(record.run)
            await runs.fail(record.run, "somebody ended it", box.clock())

    box.sage.before_answer = ends_one
    await box.sync()
    assert ended
    assert (await box.last(company="100")).state == "failed"
    other = await box.last(company="200")
    assert (other.state, other.sent) == ("done", 9000)


async def test_a_sweep_waits_for_its_writers(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(pages, "CHUNK_ROWS", 100)
    box = filled(make, 30_000)
    box.prime.open.clear()
    await producers.want(box.tools)
    async with box.running():

        async def has_begun() -> bool:
            return await box.tools.redis.zcard(queue_name(WRITE)) >= pages.CHUNKS_AHEAD

        await until(has_begun)
        await asyncio.sleep(1)
        (record,) = await box.connection.runs.running()
        waiting = await box.connection.runs.open_chunks(record.run, "Thing")
        in_flight = box.connection.connection.sage_slots
        assert waiting < pages.CHUNKS_AHEAD + in_flight * 40, "a page a slot may be under way"
        assert record.read < 30_000
        box.prime.open.set()
        await box.idle()
    assert (await box.last()).sent == 30_000


async def test_a_replayed_letter_sends_the_row_as_it_is_now(make: Make) -> None:
    box = filled(make)
    box.prime.refuses = lambda _kind, _company, body: RowResult(7, "no") if body["number"] in ("T6", "T9") else None
    await box.sync()
    box.prime.refuses = lambda _kind, _company, _body: None
    box.sage.put(THINGS, thing(6, "Newer"))
    box.prime.numbers()
    assert await replay.replay(box.tools, filters={"number": "T6"}, dry_run=True) == replay.Replayed(1)
    done = await replay.replay(box.tools, filters={"number": "T6"}, by="ann")
    assert (done.letters, len(done.runs)) == (1, 1)
    async with box.running():
        await box.idle()
    assert (box.prime.numbers(), box.prime.things()["T6"]["name"]) == (["T6"], "Newer")
    assert list(await box.letters()) == ["T9"]
    assert list(await box.letters("resolved")) == ["T6"]
    run = await box.sync()
    assert (run.sent, run.unchanged) == (1, 99), "T9 only"


async def test_a_replay_whose_run_fails_opens_its_letters_again(make: Make) -> None:
    box = filled(make)
    box.prime.refuses = lambda _kind, _company, body: RowResult(7, "no") if body["number"] == "T6" else None
    await box.sync()
    box.sage.errors = [Poison("no page", system="sage")]
    await replay.replay(box.tools, filters={"number": "T6"})
    async with box.running():
        await box.idle()

        async def is_open() -> bool:
            return list(await box.letters()) == ["T6"]

        await until(is_open)
    assert (await box.last()).state == "failed"


@pytest.mark.parametrize(("is_paused", "words"), [(True, "acme is not let in (wrong password)"), (False, "no worker is alive")])
async def test_a_replay_ends_with_the_reason_when_the_run_before_it_cannot_end(make: Make, is_paused: bool, words: str) -> None:
    box = filled(make)
    box.prime.refuses = lambda _kind, _company, body: RowResult(7, "no") if body["number"] == "T6" else None
    await box.sync()
    await producers.want(box.tools)
    await producers.tick({"tools": box.tools}, TickJob(trace="t"))
    if is_paused:
        await box.connection.pauses.pause(WRITE, "wrong password")
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with pytest.raises(Permanent) as raised:
        await replay.replay(box.tools, filters={"number": "T6"}, sleep=sleep)
    assert words in raised.value.message
    assert "GetThings, company 100, is running" in raised.value.message
    assert sum(waits) <= 10
    assert list(await box.letters()) == ["T6"]


async def test_one_connections_trouble_ends_no_tick(make: Make, monkeypatch) -> None:
    box = filled(make, names=("first", "second"))
    first, second = box.tools.connections.values()

    async def fails() -> Any:
        raise ValueError("boom")

    monkeypatch.setattr(first.runs, "running", fails)
    await producers.want(box.tools)
    async with box.running():

        async def is_done() -> bool:
            return await second.runs.last("100", "GetThings") is not None

        await until(is_done)
    assert len(box.primes["second"].things()) == 100
    assert box.primes["first"].things() == {}


async def test_a_wish_that_comes_while_its_job_runs_is_kept(make: Make) -> None:
    box = filled(make)
    box.prime.open.clear()
    await producers.want(box.tools)
    async with box.running():

        async def is_running() -> bool:
            return bool(await box.connection.runs.running())

        await until(is_running)
        await producers.want(box.tools, resend=True)
        await asyncio.sleep(0.2)
        box.prime.open.set()
        await box.idle()
    assert len(box.prime.numbers()) == 200
    assert (await box.last()).resend


async def test_every_line_of_a_passage_bears_the_trace_it_was_asked_with(make: Make, capsys) -> None:
    box = filled(make)
    lines: list[dict[str, Any]] = []

    def keep(_logger: object, _name: str, event: dict[str, Any]) -> dict[str, Any]:
        lines.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        box.prime.errors = [Transient("502", system="prime")]
        run = await box.sync()
    finally:
        structlog.reset_defaults()
    events = {line["event"]: line for line in lines if line["event"] != "worker started" and line.get("job") != "tick"}
    assert {"run started", "will be tried again", "chunk written", "run ended"} <= events.keys()
    assert {line.get("trace") for line in events.values()} == {run.trace}
    assert {line["run"] for line in events.values() if "run" in line} == {run.run}


async def test_a_chunk_job_without_a_run_ends_quietly(make: Make, redis, monkeypatch) -> None:
    monkeypatch.setattr(outcomes, "UNKNOWN_FOR_S", 0.0)
    box = make()
    sid = box.connection.connection.sid
    await enqueue(
        redis,
        [WriteJob(trace="t", sid=sid, run="none", part="Thing", chunk="1.0.0"), WriteJob(trace="t", sid="x", run="r", part="p", chunk="c")],
    )
    with structlog.testing.capture_logs() as lines:
        async with box.running("write"):

            async def is_empty() -> bool:
                return await redis.zcard(queue_name(WRITE)) == 0

            await until(is_empty)
    assert [line["event"] for line in lines if line["log_level"] in ("warning", "error")] == [
        "job of a connection that is not configured any more"
    ]
