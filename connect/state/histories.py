"""Runs of several connections: what is on, and what has run, newest first; in few exchanges with Redis, however many connections there are.

It reads keys of runs.py. A run's name ends with when it began, so that only those that are shown are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis.asyncio import Redis

from connect.state.runs import RunRecord, Runs, fits, record_from

_NAMES_AT_FIRST = 200  # of a connection, where only some of its runs are wanted; then it is asked alone


class Ran(NamedTuple):
    """A run and the place of its connection among those that were asked for."""

    place: int
    record: RunRecord


async def running_among(
    redis: Redis, sids: Sequence[str], company: str | None, job: str | None, *, offset: int, limit: int
) -> tuple[list[Ran], bool]:
    """(what is on, newest first; whether there are more)."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.hvals(f"connect:{sid}:running")
        answers = await pipe.execute()
    named = [(place, name.decode()) for place, names in enumerate(answers) for name in names if fits(name.decode(), company, job)]
    named.sort(key=lambda one: one[1].rsplit(".", 2)[-2:], reverse=True)
    found: list[Ran] = []
    step = offset + limit + 1
    for start in range(0, len(named), step):  # what has ended since is passed over
        loaded = await _load(redis, sids, named[start : start + step])
        found += [one for one in loaded if one.record.state == "running"]
        if len(found) >= step:
            break
    return found[offset : offset + limit], len(found) > offset + limit


async def history_among(
    redis: Redis, sids: Sequence[str], company: str | None, job: str | None, *, state: str | None, offset: int, limit: int
) -> tuple[list[Ran], bool]:
    """(runs, newest first; whether there are more). `state`: of those that have ended so."""
    most = offset + limit + 1
    step = most if company is None and job is None else max(most, _NAMES_AT_FIRST)
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.zrevrange(f"connect:{sid}:runs" + (f":{state}" if state is not None else ""), 0, step - 1, withscores=True)
        answers = await pipe.execute()
    named: list[tuple[float, int, str]] = []
    for place, rows in enumerate(answers):
        mine = [(at, place, name.decode()) for name, at in rows if fits(name.decode(), company, job)]
        if len(mine) < most and len(rows) == step:
            names = await Runs(redis, sids[place]).names(company, job, most, state=state)
            mine = [(at, place, name) for name, at in names]
        named += mine[:most]
    named.sort(key=lambda one: one[0], reverse=True)
    page = [(place, name) for _, place, name in named[offset : offset + limit]]
    return await _load(redis, sids, page), len(named) > offset + limit


async def _load(redis: Redis, sids: Sequence[str], named: Sequence[tuple[int, str]]) -> list[Ran]:
    """Those of them that are still known."""
    async with redis.pipeline(transaction=False) as pipe:
        for place, name in named:
            pipe.hgetall(f"connect:{sids[place]}:run:{name}")
        answers = await pipe.execute()
    return [Ran(place, record) for (place, _), raw in zip(named, answers, strict=True) if (record := record_from(raw)) is not None]
