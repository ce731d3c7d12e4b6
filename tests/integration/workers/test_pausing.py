"""People pause connections, jobs and directions: what is paused waits, nothing else does, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pipeline import BOXES, COLOURS, THINGS, Pipeline, thing

from connect.errors import ConfigError
from workers import acts, overview, producers
from workers.jobs import FETCH, SCHEDULE, WRITE, queue_name

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 20, **options: Any) -> Pipeline:
    box = make(**options)
    for sage in box.sages.values():
        sage.put(COLOURS, {"key": 1, "name": "red"})
        sage.put(BOXES, {"key": 1, "id": "B1", "thing": None})
        sage.put(THINGS, *(thing(n) for n in range(1, count + 1)))
    return box


async def until(look: Callable[[], Awaitable[Any]], timeout_s: float = 60) -> None:
    limit = time.monotonic() + timeout_s
    while not await look():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.02)


async def acts_of(box: Pipeline) -> list[tuple[str, str, str]]:
    page = await overview.audit_list(box.tools)
    return [(one.what, one.about, one.by) for one in reversed(page.items)]


async def test_a_paused_connection_waits_while_others_go_on_and_goes_on_when_it_is_resumed(make: Make) -> None:
    box = filled(make, names=("acme", "other"))
    await acts.pause(box.tools, connection="acme", reason="stocktaking", by="ann")
    await producers.want(box.tools)
    async with box.running():

        async def other_is_done() -> bool:
            other = box.tools.connections[box.tools.config.connection("other").sid]
            return await other.runs.last("100", "GetThings") is not None

        await until(other_is_done)
        await asyncio.sleep(0.3)
        assert box.primes["acme"].written == []
        assert (await overview.overview(box.tools, connection="acme")).companies[0].reasons[0].text == (
            "everything is paused by ann: stocktaking"
        )
        (done,) = await acts.resume(box.tools, connection="acme", by="bo")
        assert (done.changed, done.paused) == (True, [])
        await box.idle()
    assert len(box.primes["acme"].things()) == 20
    assert await acts_of(box) == [("pause", "all", "ann"), ("resume", "all", "bo")]


async def test_what_a_run_has_begun_waits_between_two_jobs_and_ends_after_the_resumption(make: Make, redis) -> None:
    box = filled(make)
    box.prime.open.clear()
    await producers.want(box.tools)
    async with box.running(SCHEDULE, FETCH):

        async def chunks_wait() -> bool:
            return bool(await redis.zcard(queue_name(WRITE)))

        await until(chunks_wait)
    await acts.pause(box.tools, job="GetThings", reason="a mapping is wrong", by="ann")
    box.prime.open.set()
    async with box.running():  # other processes, which have never heard of it

        async def is_put_off() -> bool:
            ((_, due_ms),) = await redis.zrange(queue_name(WRITE), 0, 0, withscores=True)
            return bool(due_ms > time.time() * 1000 + 60_000)

        await until(is_put_off)
        assert box.prime.things() == {}
        (done,) = await acts.resume(box.tools, job="GetThings", by="ann")
        assert done.woken >= 1
        await box.idle()
    assert len(box.prime.things()) == 20
    assert (await box.last()).state == "done"


async def test_a_paused_job_holds_up_no_other_even_if_it_comes_first(make: Make) -> None:
    box = filled(make, jobs=("GetBoxes", "GetThings"))
    await acts.pause(box.tools, job="GetBoxes", reason="x", by="ann")
    asked = await acts.sync(box.tools, by="ann")
    assert {run.job: bool(run.paused) for run in asked.runs} == {"GetBoxes": True, "GetThings": False}
    async with box.running():

        async def things_are_there() -> bool:
            return await box.connection.runs.last("100", "GetThings") is not None

        await until(things_are_there)
        assert ("Box", "100") not in box.prime.records
        await acts.resume(box.tools, job="GetBoxes", by="ann")  # what was asked for meanwhile is done now
        await box.idle()
    assert box.prime.records["Box", "100"].keys() == {"B1"}


async def test_what_is_due_starts_when_its_direction_is_resumed(make: Make) -> None:
    box = filled(make, starts_due=True)
    await acts.pause(box.tools, direction="inbound", reason="x", by="ann")
    now = box.clock.now
    assert await producers.start_due(box.tools, box.connection, now) == []
    (job,) = (await overview.overview(box.tools)).companies[0].jobs
    assert (job.next_at, job.paused) == (None, "everything inbound is paused by ann: x")
    await acts.resume(box.tools, direction="inbound", by="ann")
    assert len(await producers.start_due(box.tools, box.connection, now)) == 1


async def test_letters_of_a_paused_job_are_left_as_they_are(make: Make) -> None:
    box = filled(make, 3)
    box.sage.put(THINGS, thing(2) | {"name": 17})
    await box.sync()
    (letter,) = (await overview.letters(box.tools)).items
    await acts.pause(box.tools, job="GetThings", reason="x", by="ann")
    done = await acts.replay(box.tools, ids=[letter.id], by="ann")
    assert (done.letters, done.paused, done.runs) == (0, [letter.id], [])
    assert (await overview.letters(box.tools)).items[0].state == "open"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"connection": "acne"}, "unknown-connection"),
        ({"job": "GetThing"}, "unknown-job"),
        ({"direction": "sideways"}, "direction"),
        ({"job": "GetThings", "direction": "inbound"}, "which"),
        ({"reason": " "}, "reason"),
    ],
)
async def test_a_pause_that_makes_no_sense_is_refused_in_words(make: Make, words: dict[str, str], code: str) -> None:
    box = make()
    with pytest.raises(ConfigError) as raised:
        await acts.pause(box.tools, **{"reason": "x", "by": "ann"} | words)  # type: ignore[arg-type]
    assert raised.value.code == code
    assert await acts_of(box) == []
