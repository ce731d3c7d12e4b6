"""Runs of several connections: what is on, and what has run, newest first; in few exchanges with Redis, however many connections there are.

It reads keys of runs.py. A run's name ends with when it began, so that only those that are shown are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from redis.asyncio import Redis

from connect.state.runs import RunRecord, Runs, fits, record_from

_NAMES_AT_FIRST: Final = 200  # of a connection, where only some of its runs are wanted; then it is asked alone
# ARGV: prefix of runs, moment (s), how many of each, beginnings of their names. Returns of each beginning {calls, …}.
_CALLS: Final = """
local answer, most, left = {}, tonumber(ARGV[3]), #ARGV - 3
for i = 4, #ARGV do answer[i - 3] = {} end
for _, name in ipairs(redis.call('ZRANGE', ARGV[1] .. 's', '(' .. ARGV[2], '-inf', 'BYSCORE', 'REV')) do
  for i = 4, #ARGV do
    local calls = answer[i - 3]
    if #calls < most and string.sub(name, 1, #ARGV[i]) == ARGV[i] then
      local mode, number = unpack(redis.call('HMGET', ARGV[1] .. ':' .. name, 'mode', 'calls'))
      if mode and mode ~= 'deferred' then
        calls[#calls + 1] = number or '0'
        if #calls == most then left = left - 1 end
      end
    end
  end
  if left == 0 then break end
end
return answer
"""


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


async def calls_among(
    redis: Redis, jobs: Sequence[tuple[str, str, str]], before: datetime, most: int
) -> dict[tuple[str, str, str], list[int]]:
    """(sid, company, job) -> how many calls each of its runs took that began before this moment: the newest `most` of them, second passes
    left out.
    """
    by_sid: dict[str, list[tuple[str, str, str]]] = {}
    for one in jobs:
        by_sid.setdefault(one[0], []).append(one)
    script = redis.register_script(_CALLS)
    async with redis.pipeline(transaction=False) as pipe:
        for sid, its in by_sid.items():
            beginnings = [f"{job}.{company}." for _, company, job in its]
            await script(args=[f"connect:{sid}:run", before.timestamp(), most, *beginnings], client=pipe)
        answers = await pipe.execute() if by_sid else []
    return {
        one: list(map(int, calls))
        for its, answer in zip(by_sid.values(), answers, strict=True)
        for one, calls in zip(its, answer, strict=True)
    }
