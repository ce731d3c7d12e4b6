"""Whoever waits for a job does not hear that it is done when Redis has lost it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline import COLOURS, THINGS, Pipeline, thing

from connect.state import epoch
from workers import arq_worker
from workers.screen import Screen
from workers.session import run_jobs


async def test_what_redis_loses_while_somebody_waits_is_asked_for_again(make: Callable[..., Pipeline], redis, monkeypatch) -> None:
    monkeypatch.setattr(arq_worker, "RENEW_S", 0.2)
    box = make()
    box.sage.put(COLOURS, {"key": 1, "name": "red"})
    box.sage.put(THINGS, *(thing(n) for n in range(1, 101)))
    box.prime.open.clear()

    async def empty_redis() -> None:
        while not await box.connection.runs.running():
            await asyncio.sleep(0.02)
        await redis.flushall()
        await epoch.begin(redis)
        await asyncio.sleep(0.5)
        box.prime.open.set()

    async with box.running():
        outcome, _ = await asyncio.gather(run_jobs(box.tools, Screen(json=True)), empty_redis())
    assert [(record.state, record.job) for _, record in outcome.runs] == [("done", "GetThings")]
    assert outcome.exit_code == 0
    assert len(box.prime.things()) == 100
