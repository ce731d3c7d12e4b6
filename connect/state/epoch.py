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
# Lua: age of the epoch in ms, making one when there is none. Needs `now` (ms), KEYS[1] = epoch, ARGV[1] = a random word.
# An epoch without a reign (of a version before, or of `begin`) takes the one that it is found in; so does one whose reign ended cleanly.
AGE: Final = f"""
local function epoch_age(now)
  local reign = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
  local epoch = redis.call('GET', KEYS[1])
  if epoch then
    local mark, was, at = string.match(epoch, '^([^:]*):?([^:]*):(%d+)$')
    if was == reign then return now - tonumber(at) end
    if mark and (was == '' or redis.call('GET', '{CLEAN}') == was) then
      redis.call('SET', KEYS[1], mark .. ':' .. reign .. ':' .. at)
      redis.call('DEL', '{CLEAN}')
      return now - tonumber(at)
    end
  end
  redis.call('SET', KEYS[1], ARGV[1] .. ':' .. reign .. ':' .. string.format('%d', now))
  return 0
end
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

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
