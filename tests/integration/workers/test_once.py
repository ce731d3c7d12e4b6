"""One finish of a part at a time, and no tick that waits for one that was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from pipeline import THINGS, Pipeline, thing
from redis.asyncio import Redis

from connect.state.settle import Settlement
from workers import producers
from workers.jobs import TickJob

Make = Callable[..., Pipeline]


async def test_a_finish_that_takes_long_gets_no_second_one_beside_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = make()
    box.sage.put(THINGS, *(thing(n) for n in range(1, 10)))
    settles, may_go_on, times = asyncio.Event(), asyncio.Event(), []
    full = Settlement.full

    async def slowly(self: Settlement, *args: object) -> object:
        times.append(1)
        settles.set()
        await may_go_on.wait()
        return await full(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Settlement, "full", slowly)
    await producers.want(box.tools)
    async with box.running():
        await asyncio.wait_for(settles.wait(), 60)
        box.clock.advance(seconds=60)
        assert await producers.reap(box.tools, box.connection, box.clock()) == 0
        may_go_on.set()
        await box.idle()
    assert ((await box.last()).state, len(times)) == ("done", 1)


async def test_a_tick_stopped_while_it_waits_for_its_turn_holds_up_nobody(make: Make, redis: Redis) -> None:
    """Stopped at any of its first steps, also when Redis has given it its turn and it has not heard so yet."""
    box = make()
    turn = f"connect:{box.connection.connection.sid}:tick"
    for steps in range(12):
        tick = asyncio.create_task(producers.tick({"tools": box.tools}, TickJob(trace="t")))
        for _ in range(steps):
            await asyncio.sleep(0)
        tick.cancel()
        await asyncio.gather(tick, return_exceptions=True)
        assert not await redis.exists(turn), f"stopped after {steps} steps it keeps its turn"
        await producers.tick({"tools": box.tools}, TickJob(trace="u"))
    assert not await redis.exists(turn)
