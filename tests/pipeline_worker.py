"""A worker process for kill tests: `python pipeline_worker.py REDIS_URL [drain seconds]`. Its one job counts its starts and ends.

A job `tick` with trace "sleep:{seconds}:{name}" adds 1 to `started:{name}`, sleeps, and adds 1 to `ended:{name}`. With `TOLD` in place of
seconds it ends when there is a key `go:{name}`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pipeline
from arq.worker import func

from workers import logs, outcomes
from workers.arq_worker import Worker
from workers.jobs import SCHEDULE, TickJob, queue_name
from workers.settings import connect_redis

QUEUE = queue_name(SCHEDULE)
TOLD = -1.0


def sleeper(seconds: float, name: str) -> TickJob:
    return TickJob(trace=f"sleep:{seconds}:{name}")


async def sleep(ctx: dict[str, Any], job: TickJob) -> None:
    _, seconds, name = job.trace.split(":")
    await ctx["redis"].incr(f"started:{name}")
    while float(seconds) == TOLD and not await ctx["redis"].exists(f"go:{name}"):
        await asyncio.sleep(0.01)
    await asyncio.sleep(max(float(seconds), 0))
    await ctx["redis"].incr(f"ended:{name}")


async def call(ctx: dict[str, Any], job: TickJob) -> outcomes.Outcome:
    return await outcomes.run(ctx, sleep, job)


def worker(url: str, *, more: dict[str, Any] | None = None, **options: Any) -> Worker:
    """The same in process, with `handle_signals=False`; `more` goes into its ctx."""
    tools = pipeline.pipeline(url, pipeline.config_text(jobs=())).tools
    return Worker(
        **{
            "functions": [func(call, name="tick")],
            "queue_name": QUEUE,
            "ctx": {"tools": tools, **(more or {})},
            "redis_pool": connect_redis(url),
            "health_check_interval": 5,
        }
        | options
    )


if __name__ == "__main__":
    logs.configure("json")
    asyncio.set_event_loop(asyncio.new_event_loop())
    worker(sys.argv[1], job_completion_wait=float(sys.argv[2]) if len(sys.argv) > 2 else 0).run()
