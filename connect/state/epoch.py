"""The epoch: a key that marks what this Redis remembers. Where it is missing, Redis has lost everything; where it was written under
another reign, Redis may have lost its last writes. Whoever holds a slot or a lock may still act on what was lost; so for a while nothing
new is given (design section 4, "lost store").

    connect:epoch         string   "{random}:{reign}:{created at, ms by Redis' clock}"
    connect:epoch:clean   string   the reign that ended with nothing lost (keeper.py writes it right before it stops its server)

A *reign* is Redis' own `master_replid`: a server gets another one when it starts, and when it becomes the primary in place of another. Both
may cost the last writes: a replica follows a little behind, and an append-only file is synced once a second. What is left is in each case
what there was at some earlier moment: a new reign is like a crash at that moment, whose last steps nobody has written down.
"""

from __future__ import annotations

import secrets
from typing import Final

import structlog
from redis.asyncio import Redis

KEY: Final = "connect:epoch"
CLEAN: Final = "connect:epoch:clean"
# Lua: what is remembered; writes nothing. Needs KEYS[1] = epoch. An epoch without a reign (of a version before, or of `begin`) goes on in
# the one that it is found in; so does one whose reign ended cleanly.
_FOUND: Final = f"""
local function epoch_found()
  local reign = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
  local mark, was, at = string.match(redis.call('GET', KEYS[1]) or '', '^([^:]*):?([^:]*):(%d+)$')
  local goes_on = mark and (was == reign or was == '' or redis.call('GET', '{CLEAN}') == was)
  return reign, goes_on and mark, was, tonumber(at)
end
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
# Lua: age of the epoch in ms, making one when there is none. Needs `now` (ms), KEYS[1] = epoch, ARGV[1] = a random word.
AGE: Final = (
    _FOUND
    + f"""
local function epoch_age(now)
  local reign, mark, was, at = epoch_found()
  if mark then
    if was ~= reign then
      redis.call('SET', KEYS[1], mark .. ':' .. reign .. ':' .. string.format('%d', at))
      redis.call('DEL', '{CLEAN}')
    end
    return now - at
  end
  redis.call('SET', KEYS[1], ARGV[1] .. ':' .. reign .. ':' .. string.format('%d', now))
  return 0
end
"""
)
# Lua: from when on this Redis remembers, in ms, as whoever acts next will find it: now, after a failover; 0 when it never held an epoch.
SINCE: Final = (
    _FOUND
    + """
local _, mark, _, at = epoch_found()
return mark and at or redis.call('EXISTS', KEYS[1]) * now_ms()
"""
)

log = structlog.get_logger()


async def age_s(redis: Redis) -> float:
    """For how long this Redis' memory can be trusted, in seconds; 0 when it has just been found empty, or under another reign."""
    age_ms = await redis.eval(AGE + "return epoch_age(now_ms())", 1, KEY, secrets.token_hex(8))
    if not age_ms:
        log.warning(
            "Redis is new, was restarted or another server took over: it may have lost writes; documents wait until that cannot matter"
        )
    return float(age_ms) / 1000


async def begin(redis: Redis) -> None:
    """A store that is known to be new (nobody can hold anything of it) has its epoch in the past."""
    await redis.set(KEY, f"{secrets.token_hex(8)}:1", nx=True)
