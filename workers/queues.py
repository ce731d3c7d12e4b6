"""What waits in the queues, connection by connection, and who is there to work on it; and the samples that the charts are drawn from.

    connect:workers          hash     "{stage}:{owner}" -> JSON {until (ms), running: {sid: jobs}}: who is alive, and on what
    connect:queues           string   JSON: what waited for whom when it was last counted; only kept while very much waits
    connect:sampling         string   whoever takes this minute's samples

A queue is one sorted set for all connections. A short one is counted whenever somebody looks; a long one in steps, so that Redis serves
others in between, about once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from connect.state.samples import Sample, Samples
from workers.jobs import STAGES, ConnectionTools, Tools, queue_name

WORKERS: Final = "connect:workers"
COUNTED: Final = "connect:queues"
COUNTED_AT_ONCE: Final = 5_000
COUNTED_FOR_S: Final = 180.0  # the samples count anew every minute; this is for when no worker takes any
FORGOTTEN_MS: Final = 3_600_000  # a worker that has not been heard of for so long
SAMPLE_EVERY_S: Final = 60
LEASE_S: Final = 6.0  # how long a worker's claim on a job lasts, unless it is renewed

# KEYS: queue. ARGV: first and last place. Returns {sid, jobs, earliest due (ms), …}; the connection is the second word of a job's id.
_COUNT: Final = """
local found = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES')
local jobs, earliest, answer = {}, {}, {}
for i = 1, #found, 2 do
  local sid = string.match(found[i], '^[^:]*:([^:]*)') or ''
  if not jobs[sid] then jobs[sid] = 0; earliest[sid] = found[i + 1] end
  jobs[sid] = jobs[sid] + 1
end
for sid, number in pairs(jobs) do
  answer[#answer + 1] = sid; answer[#answer + 1] = number; answer[#answer + 1] = earliest[sid]
end
return answer
"""
# KEYS: queue. ARGV: sid, now (ms), how many to pass over, how many to look at. Jobs of the connection that come back later are due now,
# unless somebody is at work on them. Returns {looked at, made due}.
_WAKE: Final = """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'LIMIT', ARGV[3], ARGV[4])
local due = 0
for _, id in ipairs(found) do
  if string.match(id, '^[^:]*:([^:]*)') == ARGV[1] and redis.call('EXISTS', 'arq:in-progress:' .. id) == 0 then
    redis.call('ZADD', KEYS[1], 'XX', ARGV[2], id)
    due = due + 1
  end
end
return {#found, due}
"""


# KEYS: queue. ARGV: lease (ms), the beginning of a job's id. Whoever has claimed a job has moved its due time one lease ahead of the last
# renewal, so that what is being done stands between now and then, however much else waits. Returns whether one of them is at work.
_AT_WORK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now - 1, now + tonumber(ARGV[1]) + 1)) do
  if string.sub(id, 1, #ARGV[2]) == ARGV[2] and redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 then return 1 end
end
return 0
"""


class Waiting(NamedTuple):
    """Jobs of one connection in one queue, those at work included, and when the earliest is or was due (ms)."""

    jobs: int = 0
    earliest_ms: float = 0.0

    def oldest_s(self, now_ms: float) -> float:
        return round(max(0.0, now_ms - self.earliest_ms) / 1000, 1) if self.jobs else 0.0


@dataclass(frozen=True)
class Queues:
    """All queues. `waiting`: stage -> sid -> what waits; `at_ms`: when it was counted; `alive`, `running`: workers and jobs at work."""

    now_ms: float
    at_ms: float
    depths: Mapping[str, int]
    waiting: Mapping[str, Mapping[str, Waiting]]
    alive: Mapping[str, int]
    running: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def of(self, stage: str, sid: str) -> Waiting:
        return self.waiting[stage].get(sid, Waiting())

    def in_flight(self, stage: str, sid: str) -> int:
        return self.running.get(stage, {}).get(sid, 0)


def running_of(jobs: Mapping[str, Any]) -> dict[str, int]:
    """Jobs by connection, from their ids."""
    found: dict[str, int] = {}
    for job_id in jobs:
        sid = job_id.split(":", 2)[1] if ":" in job_id else ""
        found[sid] = found.get(sid, 0) + 1
    return found


async def sign_of_life(redis: Redis, worker: str, running: Mapping[str, int], for_s: float) -> None:
    """`worker`: "{stage}:{owner}"."""
    until = int(time.time() * 1000 + for_s * 1000)
    await redis.hset(WORKERS, worker, orjson.dumps({"until": until, "running": dict(running)}))


async def is_served(redis: Redis, stage: str) -> bool:
    """Whether a worker of this stage is alive somewhere."""
    alive, _ = _workers(await redis.hgetall(WORKERS), time.time() * 1000)
    return bool(alive[stage])


async def look(redis: Redis, *, anew: bool = False) -> Queues:
    """What waits now, and who is alive. `anew`: long queues are counted, whenever that was done last."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        for stage in STAGES:
            pipe.zcard(queue_name(stage))
        pipe.hgetall(WORKERS)
        pipe.get(COUNTED)
        (seconds, micros), *depths, workers, counted = await pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    alive, running = _workers(workers, time.time() * 1000)
    by_stage = dict(zip(STAGES, map(int, depths), strict=True))
    known = orjson.loads(counted) if counted else None
    if anew or known is None or sum(by_stage.values()) <= COUNTED_AT_ONCE or now_ms - known["at"] > COUNTED_FOR_S * 1000:
        waiting = {stage: await _count(redis, stage, depth) for stage, depth in by_stage.items()}
        at_ms = now_ms
        if sum(by_stage.values()) > COUNTED_AT_ONCE:
            await redis.set(COUNTED, orjson.dumps({"at": now_ms, "waiting": _plain(waiting)}), px=int(COUNTED_FOR_S * 1000))
    else:
        at_ms = known["at"]
        waiting = {stage: {sid: Waiting(*one) for sid, one in known["waiting"].get(stage, {}).items()} for stage in STAGES}
    return Queues(now_ms, at_ms, by_stage, waiting, alive, running)


async def _count(redis: Redis, stage: str, depth: int) -> dict[str, Waiting]:
    """Step by step; what moves in between may be counted twice or not at all."""
    found: dict[str, Waiting] = {}
    for start in range(0, depth, COUNTED_AT_ONCE):
        answer = await redis.eval(_COUNT, 1, queue_name(stage), start, start + COUNTED_AT_ONCE - 1)
        for sid, jobs, earliest in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            before = found.get(sid.decode(), Waiting(0, float(earliest)))
            found[sid.decode()] = Waiting(before.jobs + int(jobs), min(before.earliest_ms, float(earliest)))
    return found


def _plain(waiting: Mapping[str, Mapping[str, Waiting]]) -> dict[str, dict[str, list[float]]]:
    """For JSON."""
    return {stage: {sid: list(one) for sid, one in found.items()} for stage, found in waiting.items()}


def _workers(raw: Mapping[bytes, bytes], now_ms: float) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Workers alive by stage, and their jobs by stage and connection."""
    alive = dict.fromkeys(STAGES, 0)
    running: dict[str, dict[str, int]] = {stage: {} for stage in STAGES}
    for name, value in raw.items():
        stage, facts = name.decode().partition(":")[0], orjson.loads(value)
        if stage in alive and facts["until"] >= now_ms:
            alive[stage] += 1
            for sid, jobs in facts["running"].items():
                running[stage][sid] = running[stage].get(sid, 0) + jobs
    return alive, running


async def has_any(redis: Redis, stage: str, sid: str) -> bool:
    """Whether a job of this connection waits in the queue or is at work. A long queue is looked through in steps, up to the first."""
    whose, queue = sid.encode(), queue_name(stage)
    if await redis.zcard(queue) <= COUNTED_AT_ONCE:
        return any(name.split(b":", 2)[1] == whose for name in await redis.zrange(queue, 0, -1) if b":" in name)
    async for name, _ in redis.zscan_iter(queue, match=f"*:{sid}*", count=COUNTED_AT_ONCE):
        if name.split(b":", 2)[1] == whose:
            return True
    return False


async def is_at_work(redis: Redis, stage: str, beginning: str) -> bool:
    """Whether somebody is at work on a job whose id begins so."""
    return bool(await redis.eval(_AT_WORK, 1, queue_name(stage), int(LEASE_S * 1000), beginning))


async def wake(redis: Redis, sid: str) -> int:
    """What waits for its connection to be resumed is due now. Returns how many jobs."""
    woken = 0
    seconds, micros = await redis.time()
    now_ms = seconds * 1000 + micros // 1000
    for stage in STAGES:
        passed = 0
        while True:
            seen, due = await redis.eval(_WAKE, 1, queue_name(stage), sid, now_ms, passed, COUNTED_AT_ONCE)
            passed += int(seen) - int(due)
            woken += int(due)
            if int(seen) < COUNTED_AT_ONCE:
                break
    return woken


# -- samples -----------------------------------------------------------------------------------------------------------


async def sample(tools: Tools) -> bool:
    """Once a minute, by whoever comes first: one sample of every connection. Returns whether it was us."""
    if not await tools.redis.set("connect:sampling", 1, nx=True, px=SAMPLE_EVERY_S * 1000 - 5000):
        return False
    queues = await look(tools.redis, anew=True)
    minute = int(queues.now_ms // 60_000)
    connections: list[ConnectionTools] = list(tools.connections.values())
    async with tools.redis.pipeline(transaction=False) as pipe:
        for one in connections:
            pipe.hgetall(Samples.totals_key(one.connection.sid))
        totals = await pipe.execute()
    async with tools.redis.pipeline(transaction=False) as pipe:
        for one, raw in zip(connections, totals, strict=True):
            sid = one.connection.sid
            counted = {name.decode(): int(value) for name, value in raw.items()}
            Samples(tools.redis, sid).add(
                pipe,
                Sample(
                    minute=minute,
                    depths=[queues.of(stage, sid).jobs for stage in STAGES],
                    in_flight=sum(queues.in_flight(stage, sid) for stage in STAGES),
                    totals=[counted.get(name, 0) for name in Samples.TOTALS],
                ),
            )
        await pipe.execute()
    gone = [
        name
        for name, value in (await tools.redis.hgetall(WORKERS)).items()
        if orjson.loads(value)["until"] < time.time() * 1000 - FORGOTTEN_MS
    ]
    if gone:
        await tools.redis.hdel(WORKERS, *gone)
    return True
