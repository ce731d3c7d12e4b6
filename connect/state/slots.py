"""Slots: how many requests a Sage company gets at once, over all processes and connections. Leases in Redis, by Redis' own clock.

    connect:sage:{company}:slots          zset   lease -> when it ends (ms)
    connect:sage:{company}:wait:{lane}    zset   ticket -> when it came (ms); a lane each for documents, registers and what nobody waits for
    connect:sage:{company}:alive          zset   ticket -> until when its owner is believed to be waiting
    connect:sage:{company}:pause          string until when nobody may call (ms): Sage said 429
    connect:sage:{company}:throttled      string how often it has said so

Documents go before registers, and both before the background, which leaves one slot free where there are several: a document or register
finds it at once. Within a lane the connection that holds the fewest slots is next, then who came first.
A holder that dies gives its slot back when the lease ends; a call that cannot renew its lease is cut.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from connect.errors import RateLimited, Transient
from connect.state import epoch

Lane = Literal["documents", "registers", "background"]
LANES: Final[tuple[Lane, ...]] = ("documents", "registers", "background")
LEASE_S: Final = 6.0
RENEW_S: Final = 2.0
WAITING_S: Final = 3.0  # a waiter that has not asked for so long is taken for dead
LONGEST_WAIT_S: Final = 900.0

# KEYS: epoch, slots, documents, registers, background, alive, pause.
# ARGV: random, ticket "connection|id", lane index (3|4|5), limit, lease ms, waiting ms.
# Returns 1 when granted, else minus the ms to wait at least. Whoever must wait stands in line, also while nobody may call.
_ACQUIRE: Final = (
    epoch.AGE
    + """
local now, ticket, lease = now_ms(), ARGV[2], tonumber(ARGV[5])
local free, wait = 0, 0
local age = epoch_age(now)
if age < lease then wait = lease - age end
wait = math.max(wait, tonumber(redis.call('GET', KEYS[7]) or '0') - now)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if wait <= 0 then free = tonumber(ARGV[4]) - redis.call('ZCARD', KEYS[2]) end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now)) do
  if dead ~= ticket then for i = 3, 6 do redis.call('ZREM', KEYS[i], dead) end end
end
local waiting = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[5])
local spare = tonumber(ARGV[4]) > 1 and 1 or 0
local function grant()
  redis.call('ZADD', KEYS[2], now + lease, ticket)
  redis.call('PEXPIRE', KEYS[2], 60000)
  if waiting > 0 then for i = 3, 6 do redis.call('ZREM', KEYS[i], ticket) end end
  return 1
end
if waiting == 0 and free > (ARGV[3] == '5' and spare or 0) then return grant() end
redis.call('ZADD', KEYS[tonumber(ARGV[3])], 'NX', now, ticket)
redis.call('ZADD', KEYS[6], now + tonumber(ARGV[6]), ticket)
for i = 3, 6 do redis.call('PEXPIRE', KEYS[i], 60000) end
if wait > 0 then return -wait end
if free <= 0 then return -1 end
local held = {}
for _, one in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local connection = string.match(one, '^(.*)|'); held[connection] = (held[connection] or 0) + 1
end
for lane = 3, 5 do
  if lane == 5 then free = free - spare end
  local queue = redis.call('ZRANGE', KEYS[lane], 0, 199)
  while #queue > 0 and free > 0 do
    local best, least = 1, nil
    for i, one in ipairs(queue) do
      local count = held[string.match(one, '^(.*)|')] or 0
      if not least or count < least then best, least = i, count end
    end
    local next = table.remove(queue, best)
    if next == ticket then return grant() end
    local connection = string.match(next, '^(.*)|'); held[connection] = (held[connection] or 0) + 1
    free = free - 1
  end
end
return -1
"""
)
# KEYS: slots. ARGV: ticket, lease ms. 1 when the lease was still ours.
_RENEW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
return 1
"""

_PAUSE: Final = """
local time = redis.call('TIME')
local till = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
redis.call('INCR', KEYS[2])
if till > tonumber(redis.call('GET', KEYS[1]) or '0') then
  redis.call('SET', KEYS[1], string.format('%d', till), 'PX', ARGV[1])
end
"""

log = structlog.get_logger()


class Slots:
    """The slots of one Sage company, as one connection uses them.

    Args:
        connection: its id; slots are shared fairly between connections.
        limit: requests at once (the connection's `sage_slots`).
        behind: for work that nobody waits for; see `in_background`.
    """

    def __init__(self, redis: Redis, company: str, connection: str, limit: int, *, lease_s: float = LEASE_S, behind: bool = False) -> None:
        self._redis = redis
        self._prefix = f"connect:sage:{company}:"
        self._company = company
        self._connection = connection
        self._limit = limit
        self._lease_s = lease_s
        self._behind = behind
        self._acquire = redis.register_script(_ACQUIRE)
        self._renew = redis.register_script(_RENEW)

    def in_background(self) -> Slots:
        """The same slots, for work that nobody waits for: whatever lane is asked for, it stands in the last one."""
        return Slots(self._redis, self._company, self._connection, self._limit, lease_s=self._lease_s, behind=True)

    @asynccontextmanager
    async def lease(self, lane: Lane = "registers", *, wait_s: float = LONGEST_WAIT_S) -> AsyncIterator[None]:
        """Hold a slot; the body is cancelled if the slot is lost meanwhile.

        After a time-out it is free when its lease ends: Sage may still be at work on the call.

        Raises RateLimited when none came free within `wait_s`; Transient when the slot was lost.
        """
        ticket = f"{self._connection}|{secrets.token_hex(6)}"
        ends = await self._wait(ticket, "background" if self._behind else lane, wait_s)
        task = asyncio.current_task()
        assert task is not None
        keeper = asyncio.create_task(self._keep(ticket, task, ends))
        is_over = True
        try:
            yield
        except BaseException as error:
            is_over = not (isinstance(error, Transient) and error.code == "timeout")
            lost = keeper.done() and not keeper.cancelled() and keeper.exception() is None
            if lost and task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):  # nobody else wanted it to end
                raise Transient(
                    "the slot at Sage was lost while a call was on its way; it was cut", system="redis", code="slot_lost"
                ) from None
            raise
        finally:
            keeper.cancel()
            if is_over:
                with suppress(RedisError):  # the lease ends by itself
                    await asyncio.shield(self._redis.zrem(self._prefix + "slots", ticket))

    async def pause(self, seconds: float) -> None:
        """Nobody calls this company for so long: Sage said so."""
        await self._redis.eval(_PAUSE, 2, self._prefix + "pause", self._prefix + "throttled", max(1, int(seconds * 1000)))

    async def used(self) -> int:
        """Slots held now."""
        return int(await self._redis.eval(
            "local t = redis.call('TIME'); return redis.call('ZCOUNT', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), '+inf')",
            1, self._prefix + "slots",
        ))  # fmt: skip

    async def _wait(self, ticket: str, lane: Lane, wait_s: float) -> float:
        """Stand in line until a slot is granted. Returns when its lease ends, by the event loop's clock."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        keys = [epoch.KEY, *(self._prefix + name for name in ("slots", *(f"wait:{one}" for one in LANES), "alive", "pause"))]
        args: list[Any] = [
            secrets.token_hex(8),
            ticket,
            3 + LANES.index(lane),
            self._limit,
            int(self._lease_s * 1000),
            int(WAITING_S * 1000),
        ]
        said = False
        try:
            while True:
                asked = loop.time()
                answer = int(await self._acquire(keys=keys, args=args))
                if answer == 1:
                    return asked + self._lease_s
                if loop.time() >= until:
                    raise RateLimited(
                        f"no slot of Sage company {self._company} came free within {wait_s:g} s",
                        system="sage",
                        code="no_slot",
                        retry_after_s=5,
                    )
                if answer < -1000 and not said:
                    said = True
                    log.info("waiting for Sage", company=self._company, wait_s=round(-answer / 1000, 1))
                await asyncio.sleep(
                    min(max(-answer / 1000, 0.02), 1.0) * (1 + random.random()) if answer < -1 else 0.02 + 0.04 * random.random()
                )
        except BaseException:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(self._leave(ticket))  # all of it: a pipeline that is left while it reads gives a busy connection back
            raise

    async def _leave(self, ticket: str) -> None:
        """Out of the line, wherever the ticket stands. Redis away: it is dropped as soon as it is not renewed."""
        with suppress(RedisError):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in (*(f"wait:{one}" for one in LANES), "alive", "slots"):
                    pipe.zrem(self._prefix + name, ticket)
                await pipe.execute()

    async def _keep(self, ticket: str, task: asyncio.Task[Any], ends: float) -> None:
        """Renew the lease until cancelled. Returns after it was lost, or could not be renewed in time, and the call was cut."""
        loop = asyncio.get_running_loop()
        margin_s = self._lease_s / 6  # the call is cut so long before somebody else may have the slot
        while True:
            await asyncio.sleep(max(min(RENEW_S, self._lease_s / 3, ends - margin_s - loop.time()), 0))
            asked = loop.time()
            try:
                async with asyncio.timeout_at(ends - margin_s):
                    held = bool(await self._renew(keys=[self._prefix + "slots"], args=[ticket, int(self._lease_s * 1000)]))
            except (RedisError, TimeoutError):
                if loop.time() < ends - margin_s:  # Redis may be back in time
                    continue
                held = False
            if not held:
                task.cancel()
                return
            ends = asked + self._lease_s
