"""arq's Worker with leases and no silent end of a job.

What differs from arq 0.28 (and why): a job is claimed by one script for all free places, by moving its due time one lease
ahead; the lease carries its owner and is renewed, so the job of a killed worker is due again within `LEASE_S`, whatever its
time-out. Being started costs no try. A job that is not known here (newer version) is put back. Redis away at the start or in
between is waited for. SIGTERM lets short jobs end and hands the others back. Where connections share a stage, the one for which the fewest
jobs are at work is next, and a job that runs long gives its place to others.

    arq:in-progress:{id}   "{owner}"   the lease; arq's own key, with an owner in it
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from signal import Signals
from typing import Any, ClassVar, Final

import arq.worker
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from connect.errors import ConnectError, Poison
from workers import outcomes, queues
from workers.jobs import dumps, loads
from workers.queues import LEASE_S

RENEW_S: Final = 2.0
DRAIN_S: Final = 10.0
HAND_BACK_S: Final = 4.0  # then what cannot be handed back is left: its lease ends. With DRAIN_S, all is over within 30 s of SIGTERM
LONG_S: Final = 5.0
READ_LIMIT: Final = 1000  # due jobs looked through for one whose connection has a place left
POLL_S: Final = 0.06  # how often an idle worker looks; with a job's end it looks at once
AWAY_S: Final = 0.5  # between two looks for a Redis that is away

# KEYS: queue. ARGV: places, lease ms, owner, most jobs of one connection here (0: no limit, and first come first served), ids read,
# function that goes before all others, connection of each job held here. Returns {id, wire or false, ms since it was due, …}.
# A claimed job's due time moves one lease ahead, so that what is at work anywhere stands between now and then. The connection is the second
# word of a job's id. With a limit, the connection with the fewest jobs at work is next, then the job that has been due longest.
_CLAIM: Final = """
local time = redis.call('TIME')
local now, lease, claimed = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2]), {}
local places, most, held, busy = tonumber(ARGV[1]), tonumber(ARGV[4]), {}, {}
for i = 7, #ARGV do held[ARGV[i]] = (held[ARGV[i]] or 0) + 1 end
local function whose(id) return string.match(id, '^[^:]*:([^:]*)') or '' end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[5]))
local waiting, first = {}, {}
for i = 1, #due, 2 do
  local one = {due[i], whose(due[i]), now - math.floor(tonumber(due[i + 1]))}
  if ARGV[6] ~= '' and string.match(one[1], '^[^:]*') == ARGV[6] then first[#first + 1] = one else waiting[#waiting + 1] = one end
end
local before = #first
for _, one in ipairs(waiting) do first[#first + 1] = one end
waiting = first
if most > 0 and #waiting > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, now + lease, 'LIMIT', 0, 1000)) do
    busy[whose(id)] = (busy[whose(id)] or 0) + 1
  end
end
while places > 0 do
  local best, least
  for i, one in ipairs(waiting) do
    local count = busy[one[2]] or 0
    if one[1] and (i <= before or most == 0 or (held[one[2]] or 0) < most) and (not least or count < least) then
      best, least = i, count
      if most == 0 or count == 0 or i <= before then break end
    end
  end
  if not best then break end
  local id, sid = waiting[best][1], waiting[best][2]
  waiting[best][1] = false
  held[sid], busy[sid] = (held[sid] or 0) + 1, (busy[sid] or 0) + 1
  redis.call('ZADD', KEYS[1], 'XX', now + lease, id)
  redis.call('SET', 'arq:in-progress:' .. id, ARGV[3], 'PX', lease)
  claimed[#claimed + 1] = id
  claimed[#claimed + 1] = redis.call('GET', 'arq:job:' .. id)
  claimed[#claimed + 1] = waiting[best][3]
  places = places - 1
end
return claimed
"""
# KEYS: queue. ARGV: lease ms, owner, ids … Returns the ids that are not ours any more.
_RENEW: Final = """
local time = redis.call('TIME')
local now, gone = time[1] * 1000 + math.floor(time[2] / 1000), {}
for i = 3, #ARGV do
  if redis.call('GET', 'arq:in-progress:' .. ARGV[i]) == ARGV[2] then
    redis.call('PEXPIRE', 'arq:in-progress:' .. ARGV[i], ARGV[1])
    redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[1]), ARGV[i])
  else gone[#gone + 1] = ARGV[i] end
end
return gone
"""
# KEYS: queue. ARGV: owner, id, delay ms (-1: it is over). Only the owner may say so.
_SETTLE: Final = """
if redis.call('GET', 'arq:in-progress:' .. ARGV[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', 'arq:in-progress:' .. ARGV[2])
if ARGV[3] == '-1' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('DEL', 'arq:job:' .. ARGV[2], 'arq:retry:' .. ARGV[2])
else
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[1], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), ARGV[2])
end
return 1
"""

log = structlog.get_logger()


class Worker(arq.worker.Worker):
    """One worker process of one stage. The settings class gives functions, queue and `ctx`.

    `ctx["jobs_per_connection"]`: so many jobs of one connection at once in this process; the other places are for other connections.
    `ctx["first"]`: jobs with this function go before all others, and take any place.
    `ctx["share_of_a_connection"]`: the same as a share of the places; and jobs that have run for `LONG_S` take no place, up to that share.
    """

    open_pool: ClassVar[Callable[[], Awaitable[ArqRedis]]]
    """How to reach Redis; set by settings.py, so that nothing connects or reads the environment at import."""
    __signature__ = inspect.signature(arq.worker.Worker)  # arq's get_kwargs takes from a settings class what this names

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("job_serializer", dumps)
        kwargs.setdefault("job_deserializer", loads)
        super().__init__(*args, **kwargs)
        self.ctx = dict(self.ctx)  # a settings class has one for all
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._mine: dict[str, float] = {}  # job -> when it was begun, by the event loop's clock
        self._share = int(self.max_jobs * self.ctx.get("share_of_a_connection", 0))
        self._away = False
        self.poll_delay_s = min(self.poll_delay_s, POLL_S)
        self._free = asyncio.Event()

    async def main(self) -> None:
        """Connect (waiting for Redis if it must), then claim and run jobs until told to stop."""
        self._pool = self._pool or await self._reach_redis()
        self._claim = self.pool.register_script(_CLAIM)
        self._renew = self.pool.register_script(_RENEW)
        self._settle = self.pool.register_script(_SETTLE)
        self.ctx["redis"] = self.pool
        self.ctx["memory"] = {}  # what jobs of this process keep for one another; each job gets a copy of ctx
        if self.on_startup:
            await self.on_startup(self.ctx)
        log.info("worker started", queue=self.queue_name, owner=self.owner, places=self.max_jobs)
        renewer = asyncio.create_task(self._renew_leases())
        try:
            while not (self.burst and await self._is_idle()):
                self._free.clear()
                await self._poll_iteration()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.poll_delay_s):
                        await self._free.wait()
        finally:
            renewer.cancel()

    async def _is_idle(self) -> bool:
        return not self.tasks and not await self.pool.zcard(self.queue_name)

    async def _reach_redis(self) -> ArqRedis:
        wait_s, said = 0.2, False
        pool: ArqRedis | None = None
        while True:
            try:
                pool = pool or await type(self).open_pool()
                await pool.ping()
            except (OSError, RedisError) as error:
                if not said:
                    said = True
                    log.warning("Redis cannot be reached; waiting for it", error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)
            else:
                if said:
                    log.info("Redis is there")
                return pool

    async def _poll_iteration(self) -> None:
        for job_id, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[job_id]
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("a job's end could not be recorded; it comes back when its lease ends", job_id=job_id, error=repr(error))
        try:
            if self.allow_pick_jobs and (places := self._places()) > 0:
                most: int = self.ctx.get("jobs_per_connection", max(self._share, 1) if "share_of_a_connection" in self.ctx else 0)
                held = [job_id.split(":")[1] for job_id in self._mine if ":" in job_id] if most else []
                claimed = await self._claim(
                    keys=[self.queue_name],
                    args=[places, int(LEASE_S * 1000), self.owner, most, READ_LIMIT if most else places, self.ctx.get("first", ""), *held],
                )
                for at in range(0, len(claimed), 3):
                    self._start(claimed[at].decode(), claimed[at + 1], claimed[at + 2] / 1000)
            await self.heart_beat()
        except (OSError, RedisError) as error:
            if not self._away:
                self._away = True
                log.warning("Redis is away; waiting for it", error=str(error))
            await asyncio.sleep(AWAY_S)
        else:
            if self._away:
                self._away = False
                log.info("Redis is back")

    def _places(self) -> int:
        """For so many jobs more there is a place. What runs long waits for its connection's slots most of the time."""
        long = asyncio.get_running_loop().time() - LONG_S
        lent = min(sum(1 for begun in self._mine.values() if begun < long), self._share)
        return int(self.max_jobs) + lent - self.job_counter

    def _start(self, job_id: str, wire: bytes | None, waited_s: float) -> None:
        if job_id in self._mine:  # we stood still until its lease was over, and have it back: it goes on
            log.warning("the lease of a job had lapsed; nobody else has taken it", job_id=job_id)
            return
        self.job_counter += 1
        self._mine[job_id] = asyncio.get_running_loop().time()
        task = asyncio.create_task(self._run(job_id, wire, waited_s))
        self.tasks[job_id] = task

        def ended(_: asyncio.Task[None]) -> None:
            self.job_counter -= 1
            self._mine.pop(job_id, None)  # also when it was cancelled before it began
            self._free.set()

        task.add_done_callback(ended)

    async def _run(self, job_id: str, wire: bytes | None, waited_s: float) -> None:
        """One job, from its bytes to what the queue does next."""
        outcome = outcomes.Outcome(0.0)  # cancelled: due again at once, for whoever is there
        try:
            outcome = await self._outcome(job_id, wire, waited_s)
        except Exception as error:  # noqa: BLE001 - not even its failure could be noted: Redis refuses to write, or a bug of ours
            log.error("a job's failure could not be recorded; it comes back", job_id=job_id, error=repr(error))
            outcome = outcomes.Outcome(outcomes.TROUBLE_WAIT_S)
        finally:
            self._mine.pop(job_id, None)
            delay_ms = -1 if outcome.again_s is None else int(outcome.again_s * 1000)
            await asyncio.shield(self._settle(keys=[self.queue_name], args=[self.owner, job_id, delay_ms]))
            self.jobs_complete += 1

    async def _outcome(self, job_id: str, wire: bytes | None, waited_s: float) -> outcomes.Outcome:
        if wire is None:
            await outcomes.lost(self.ctx["tools"], job_id, "its bytes are gone (Redis lost or expired them)")
            return outcomes.DONE
        try:
            envelope = loads(wire)
            function, kwargs = str(envelope["f"]), envelope["k"]
            known = self.functions.get(function)
            if known is not None and "job" not in kwargs:  # arq's own cron
                await known.coroutine({**self.ctx, "job_id": job_id})
                return outcomes.DONE
            job = outcomes.parse(function, kwargs)
        except outcomes.NewerVersionError as error:
            log.warning("put back", reason=str(error), job_id=job_id)
            return outcomes.Outcome(outcomes.NEWER_WAIT_S)
        except (Poison, ValueError, KeyError, TypeError) as error:
            reason = error.message if isinstance(error, ConnectError) else f"{type(error).__name__}: {error}"
            await outcomes.lost(
                self.ctx["tools"], job_id, f"it cannot be read ({reason}); it started: {wire[:200].decode(errors='replace')}"
            )
            return outcomes.DONE
        if known is None:
            return outcomes.Outcome(outcomes.NEWER_WAIT_S)
        answer = await known.coroutine({**self.ctx, "job_id": job_id, "waited_s": waited_s}, job=job)
        return answer if isinstance(answer, outcomes.Outcome) else outcomes.DONE

    async def _renew_leases(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RENEW_S)
            if not self._mine:
                renewed = loop.time()
                continue
            try:
                async with asyncio.timeout(RENEW_S):
                    gone = await self._renew(keys=[self.queue_name], args=[int(LEASE_S * 1000), self.owner, *sorted(self._mine)])
                renewed = loop.time()
            except (OSError, RedisError):  # a time-out is an OSError
                # Redis does not answer: what we hold may be claimed by others once it is back.
                gone = [job_id.encode() for job_id in self._mine] if loop.time() - renewed > LEASE_S else []
            for job_id in gone:
                task = self.tasks.get(job_id.decode())
                if task is not None and not task.done() and job_id.decode() in self._mine:
                    log.warning("the lease of a job was lost; it runs elsewhere", job_id=job_id.decode())
                    task.cancel()

    def handle_sig(self, signum: Signals) -> None:
        """Stop claiming, let what runs end for a while, hand the rest back."""
        if self.allow_pick_jobs:
            self.allow_pick_jobs = False
            log.info("stopping", signal=Signals(signum).name, running=len(self.tasks))
            self._stopping = asyncio.ensure_future(self._drain(signum))

    handle_sig_wait_for_completion = handle_sig

    async def _drain(self, signum: Signals) -> None:
        running = [task for task in self.tasks.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=self._job_completion_wait or DRAIN_S)
        await _end(running)
        if self.main_task is not None:
            self.main_task.cancel()
        if self.on_stop:
            self.on_stop(signum)

    async def close(self) -> None:
        """Release everything. Jobs that still run are handed back."""
        self.allow_pick_jobs = False
        await _end(self.tasks.values())
        if self._pool is None:
            return
        if self.on_shutdown:
            try:
                async with asyncio.timeout(HAND_BACK_S):
                    await self.on_shutdown(self.ctx)
            except TimeoutError:
                log.warning("Redis does not answer; the last counts of this worker are lost")
        with suppress(OSError, RedisError):  # a time-out is an OSError
            async with asyncio.timeout(HAND_BACK_S):
                await self._pool.delete(self._health_key)
                await self._pool.hdel(queues.WORKERS, self._name)
        with suppress(OSError, RedisError):
            await self._pool.aclose(close_connection_pool=True)
        self._pool = None

    @property
    def _name(self) -> str:
        return f"{self.queue_name.rsplit(':', 1)[-1]}:{self.owner}"

    @property
    def _health_key(self) -> str:
        return f"connect:worker:{self._name}"

    async def record_health(self) -> None:
        """Each worker has its own health (arq's one per queue is overwritten by all)."""
        now = asyncio.get_running_loop().time()
        if now - self._last_health_check < self.health_check_interval:
            return
        self._last_health_check = now
        await self.pool.set(self._health_key, str(len(self.tasks)), px=int(self.health_check_interval * 3000))
        await queues.sign_of_life(self.pool, self._name, queues.running_of(self.tasks), self.health_check_interval * 3)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel jobs and let them be handed back; where Redis does not answer, they are left to the end of their leases."""
    left = {task for task in tasks if not task.done()}
    for _ in range(2):  # the second one reaches those that wait for Redis to take them back
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=HAND_BACK_S)
    if left:
        log.warning("jobs could not be handed back; they come back when their leases end", jobs=len(left))


def install() -> None:
    """Make arq's own command build our Worker: `arq workers.settings.FetchWorker` runs with our guarantees."""
    setattr(arq.worker, "Worker", Worker)  # noqa: B010 - a class cannot be assigned for mypy
    logging.getLogger("arq").setLevel(logging.WARNING)
