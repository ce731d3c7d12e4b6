"""A connection at a glance: what a page of all connections shows of each, read by one script for some connections at a time.

It reads keys of runs.py, pauses.py, slots.py, tokens.py, usage.py, receipts.py, dead_letters.py, reports.py, journal.py and epoch.py, and
one of its own there:

    connect:{sid}:complete   hash   "{company}:{job}" -> when the newest run began that read all and ended well
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, get_args

import orjson
from redis.asyncio import Redis

from connect.config import Connection
from connect.ledger import Owner
from connect.state import epoch
from connect.state.dead_letters import APPROVAL, WHOM
from connect.state.pauses import CLOSED, Hold, Pause, holds_from, pause_from
from connect.state.reports import FIELDS as REPORT
from connect.state.reports import Glimpse, glimpse
from connect.state.runs import COUNTERS, RunRecord, record_from

OWNERS: Final = get_args(Owner)
_FIELDS: Final = ("run", "company", "job", "mode", "state", "reason", "asks", "started_at", "ended_at", *COUNTERS)
_NAMES: Final = tuple(name.encode() for name in _FIELDS)

_AT_ONCE: Final = 10  # connections that one call looks at: Redis serves others in between
_REMEMBERED: Final = 10_000  # runs that have been read already

# ARGV: now (ms), month, JSON [[prefix, prefix of the Sage company, token, [company, …], [[company, job], …]], …]. Keys are put
# together here, and connections share a call: putting together and sending commands costs more than all else.
_LOOK: Final = (
    "".join(
        f"local {name} = {{{', '.join(repr(word) for word in words)}}}\n"
        for name, words in (("fields", _FIELDS), ("stages", CLOSED), ("owners", OWNERS), ("waiting", WHOM), ("report", REPORT))
    )
    + f"local approval = {APPROVAL!r}\n"
    + """
local function look(p, sage, token, companies, jobs)
  local pauses = {}
  for i, stage in ipairs(stages) do
    local key = p .. 'paused:' .. stage
    pauses[i] = {redis.call('GET', key), redis.call('PTTL', key)}
  end
  local known, letters = redis.call('GET', p .. 'dl:owners'), {}
  if known then known = cjson.decode(known) end
  for i, company in ipairs(companies) do
    letters[i] = known and known[company]
    if not letters[i] then
      letters[i] = {}
      for j, owner in ipairs(owners) do
        local keys = {p .. 'dl:state:open', p .. 'dl:by:owner:' .. owner, #companies > 1 and p .. 'dl:by:company:' .. company or nil}
        letters[i][j] = redis.call('ZINTERCARD', #keys, unpack(keys))
      end
    end
  end
  if not known and redis.call('ZCARD', p .. 'dl:state:open') > 100 then  -- counting takes a while, and nothing changes meanwhile
    known = {}
    for i, company in ipairs(companies) do known[company] = letters[i] end
    redis.call('SET', p .. 'dl:owners', cjson.encode(known), 'EX', 60)
  end
  local since, open = {}, p .. 'dl:state:open'
  local function is_so(whom, id)  -- a restored backup, or a worker of an older version, may have left one that has ended since
    local held = redis.call('ZSCORE', open, id)
    if whom ~= approval then return held and redis.call('ZSCORE', p .. 'dl:by:owner:' .. whom, id) end
    return held and redis.call('SISMEMBER', p .. 'dl:approved', id) == 0
  end
  for i, whom in ipairs(waiting) do
    local key = p .. 'dl:since:' .. whom
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    while oldest[1] and not is_so(whom, oldest[1]) do
      redis.call('ZREM', key, oldest[1])
      oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    end
    since[i] = oldest[2] or false
  end
  local seen = {}
  for i, one in ipairs(jobs) do
    local company, job = unpack(one)
    local what = company .. ':' .. job
    local awaiting, unreceived = p .. 'awaiting:' .. what, p .. 'unreceived:' .. what
    local on, last = redis.call('HGET', p .. 'running', what), redis.call('GET', p .. 'last:' .. what)
    seen[i] = {
      on and redis.call('HMGET', p .. 'run:' .. on, unpack(fields)), last and redis.call('HMGET', p .. 'run:' .. last, unpack(fields)),
      redis.call('HGET', p .. 'complete', what), redis.call('HEXISTS', p .. 'wanted', company .. '\\n' .. job),
      redis.call('ZCARD', awaiting), redis.call('ZRANGE', awaiting, 0, 0, 'WITHSCORES')[2] or false, redis.call('ZCARD', unreceived)
    }
  end
  return {
    pauses, redis.call('HGETALL', p .. 'holds'),
    redis.call('ZCOUNT', sage .. ':slots', ARGV[1], '+inf'), redis.call('GET', sage .. ':pause'),
    redis.call('HGET', sage .. ':usage:' .. ARGV[2], 'transactions'), redis.call('GET', token), redis.call('GET', token .. ':refused'),
    letters, since, seen, redis.call('GET', p .. 'distrust'), redis.call('HGET', p .. 'usage:' .. ARGV[2], 'transactions'),
    redis.call('HMGET', p .. 'reconcile', unpack(report))
  }
end
local found = {}
for i, one in ipairs(cjson.decode(ARGV[3])) do found[i] = look(unpack(one)) end
return found
"""
)


@dataclass(frozen=True, kw_only=True)
class JobGlance:
    """One job of one company. `waiting`: documents that Prime lists and that have no receipt; `unreceived`: booked ones whose receipt Prime
    refuses.
    """

    company: str
    job: str
    running: RunRecord | None
    last: RunRecord | None
    complete_at: datetime | None
    is_wanted: bool
    waiting: int
    waiting_since: datetime | None
    unreceived: int


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One connection. `letters`: company -> owner -> open letters; `letters_since`: owner, or "approval" for payments that nobody has
    approved -> since when the oldest of them is open; `throttled_s`: how long Sage wants to be left alone; `transactions_month`: of the
    Sage company, `spent_month`: of this connection alone; `report`: what its last comparison says.

    `remembers_from_s`, `distrusted_until_s`: from when on what is not known here was not done by this Connect, and by another; 0 when
    that was never in doubt. Both in Redis' seconds (epoch.py, journal.py).
    """

    pauses: Mapping[str, Pause]
    holds: Sequence[Hold]
    slots_used: int
    throttled_s: float
    transactions_month: int
    token: bytes | None
    token_refused: bytes | None
    letters: Mapping[str, Mapping[str, int]]
    letters_since: Mapping[str, datetime]
    jobs: Sequence[JobGlance]
    remembers_from_s: float
    distrusted_until_s: float
    spent_month: int
    report: Glimpse


async def glances(
    redis: Redis, connections: Sequence[Connection], token_keys: Sequence[str], now_ms: float, today: datetime
) -> list[Glance]:
    """All of these, in one pipeline. `token_keys`: where each one's token lies; `now_ms`: Redis' own time; `today`: in the month of which
    transactions are counted.
    """
    if not connections:
        return []
    script, month = redis.register_script(_LOOK), today.astimezone(UTC)
    asked = [_asked(connection, token_key) for connection, token_key in zip(connections, token_keys, strict=True)]
    async with redis.pipeline(transaction=False) as pipe:
        pipe.eval(epoch.SINCE, 1, epoch.KEY)
        for start in range(0, len(asked), _AT_ONCE):
            await script(args=[int(now_ms), f"{month:%Y%m}", orjson.dumps(asked[start : start + _AT_ONCE])], client=pipe)
        since_ms, *answers = await pipe.execute()
    found = (answer for some in answers for answer in some)
    return [_glance(connection, answer, now_ms, since_ms) for connection, answer in zip(connections, found, strict=True)]


def _asked(connection: Connection, token_key: str) -> list[Any]:
    jobs = [(job.company, job.job) for job in connection.jobs]
    return [f"connect:{connection.sid}:", f"connect:sage:{connection.sage_company}", token_key, connection.companies, jobs]


def _glance(connection: Connection, answer: Any, now_ms: float, since_ms: int) -> Glance:
    pauses, holds, used, pause, transactions, token, refused, letters, since, jobs, distrust, spent, report = answer
    return Glance(
        pauses={stage: pause_from(raw, left) for stage, (raw, left) in zip(CLOSED, pauses, strict=True) if raw is not None},
        holds=holds_from(dict(zip(holds[::2], holds[1::2], strict=True))),
        slots_used=int(used),
        throttled_s=round(max(0.0, int(pause or 0) - now_ms) / 1000, 1),
        transactions_month=int(transactions or 0),
        token=token,
        token_refused=refused,
        letters={
            company: {owner: int(number) for owner, number in zip(OWNERS, numbers, strict=True) if number}
            for company, numbers in zip(connection.companies, letters, strict=True)
        },
        letters_since={whom: datetime.fromtimestamp(float(at), UTC) for whom, at in zip(WHOM, since, strict=True) if at},
        jobs=[
            JobGlance(
                company=job.company,
                job=job.job,
                running=_record(on, "running"),
                last=_record(last),
                complete_at=datetime.fromisoformat(complete.decode()) if complete else None,
                is_wanted=bool(wanted),
                waiting=int(waiting),
                waiting_since=datetime.fromtimestamp(float(since), UTC) if since else None,
                unreceived=int(unreceived),
            )
            for job, (on, last, complete, wanted, waiting, since, unreceived) in zip(connection.jobs, jobs, strict=True)
        ],
        remembers_from_s=since_ms / 1000,
        distrusted_until_s=float(distrust or 0),
        spent_month=int(spent or 0),
        report=glimpse(report),
    )


def _record(values: Sequence[bytes | None] | None, state: str = "") -> RunRecord | None:
    if not values:
        return None
    record = _record_of(tuple(values))
    return record if record is not None and state in ("", record.state) else None


@lru_cache(maxsize=_REMEMBERED)
def _record_of(values: tuple[bytes | None, ...]) -> RunRecord | None:
    """Most runs have ended, and are read again and again."""
    return record_from({name: value for name, value in zip(_NAMES, values, strict=True) if value is not None})
