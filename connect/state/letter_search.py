"""Looking for dead letters of many connections together: in few exchanges with Redis, however many connections and letters there are.

It reads keys of dead_letters.py, and keeps for a short while what it has put together:

    connect:{sid}:dl:found:{mark}:{state}   zset   the letters of a state that are in some indexes as well; for 30 s
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

if TYPE_CHECKING:
    from connect.state.dead_letters import DeadLetter, DeadLetters

STATES: Final = ("open", "replaying", "resolved", "discarded")
WAITING: Final = ("open", "replaying")
INDEXED: Final = ("error", "owner", "company", "job", "kind", "number", "group")
SOUGHT: Final = ("supplier", "text", "id")
ALIASES: Final = {"code": "error"}
FILTERS: Final = tuple(sorted((*INDEXED, *SOUGHT, *ALIASES, "state")))
NARROW: Final = 2000  # letters of an index that are few enough to be put together anew
ALL: Final = 10_000_000
_GROUPED_AT_ONCE: Final = 5000

# Those of some ids that are in all keys from `first` on.
_WITHIN: Final = """
local function within(ids, first)
  for k = first, #KEYS do
    local left = {}
    for start = 1, #ids, 1000 do
      for at, score in ipairs(redis.call('ZMSCORE', KEYS[k], unpack(ids, start, math.min(start + 999, #ids)))) do
        if score then left[#left + 1] = ids[start + at - 1] end
      end
    end
    ids = left
  end
  return ids
end
"""
# KEYS: lines; so many letters (zset) by state as ARGV[1] says; then indexes that they must be in as well. ARGV: then how many ids are
# wanted of each state, what is sought in the supplier, in the text, in the id; "" for nothing.
# Returns of each state {how many, {the newest ids and their times}}.
_SEEK: Final = (
    _WITHIN
    + """
local states, most, supplier, text, part = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local find, sub, found, answer = string.find, string.sub, {}, {}
local needle = text ~= '' and text or supplier ~= '' and supplier or part
for _, lines in ipairs(redis.call('HVALS', KEYS[1])) do
  local from = 1
  local at = find(lines, needle, from, true)
  while at do
    local stop = find(lines, '\\n', at, true)
    local id = sub(lines, stop - 12, stop - 1)
    local start = find(lines, id .. '\\t', from, true)
    local cut = find(lines, '\\t', start + 13, true)
    local here = part == '' or find(id, part, 1, true)
    if here and supplier ~= '' then
      local place = find(lines, supplier, start + 13, true)
      here = place and place < cut
    end
    if here and text ~= '' then
      local place = at > cut and at or find(lines, text, cut + 1, true)
      here = place and place < stop - 13
    end
    if here then found[id] = true end
    from = stop + 1
    at = find(lines, needle, from, true)
  end
end
for i = 2, states + 1 do
  local ids, newest = {}, {}
  for _, id in ipairs(redis.call('ZREVRANGE', KEYS[i], 0, -1)) do if found[id] then ids[#ids + 1] = id end end
  ids = within(ids, states + 2)
  local last = math.min(#ids, most)
  for start = 1, last, 1000 do
    for place, score in ipairs(redis.call('ZMSCORE', KEYS[i], unpack(ids, start, math.min(start + 999, last)))) do
      newest[#newest + 1] = ids[start + place - 1]; newest[#newest + 1] = score or '0'
    end
  end
  answer[#answer + 1] = {#ids, newest}
end
return answer
"""
)
# KEYS: letters (zset), then indexes that they must be in as well. ARGV: how many ids. Returns the newest and their times.
_NEWEST: Final = (
    _WITHIN
    + """
local found, most, start = {}, tonumber(ARGV[1]), 0
while #found < most do
  local some = redis.call('ZREVRANGE', KEYS[1], start, start + 999)
  for _, id in ipairs(within(some, 2)) do if #found < most then found[#found + 1] = id end end
  if #some < 1000 then break end
  start = start + 1000
end
local answer = {}
for from = 1, #found, 1000 do
  for at, score in ipairs(redis.call('ZMSCORE', KEYS[1], unpack(found, from, math.min(from + 999, #found)))) do
    answer[#answer + 1] = found[from + at - 1]; answer[#answer + 1] = score or '0'
  end
end
return answer
"""
)
# KEYS: id -> group; so many letters (zset) by state as ARGV[1] says; then indexes that they must be in as well. ARGV: then under which name
# the answer is kept until a letter changes ("" where it is not: counting thousands takes a while); then ids to look among, for those that
# were sought; none for all. Returns {group, how many, its newest ids (at most 3), …}.
_GROUP: Final = (
    _WITHIN
    + """
local count, newest, answer, states, keep, total = {}, {}, {}, tonumber(ARGV[1]), KEYS[1] .. 's:counted', 0
if ARGV[2] ~= '' then
  local kept = redis.call('HGET', keep, ARGV[2])
  if kept then return cmsgpack.unpack(kept) end
end
local function add(ids)
  total = total + #ids
  ids = within(ids, states + 2)
  for start = 1, #ids, 1000 do
    for at, group in ipairs(redis.call('HMGET', KEYS[1], unpack(ids, start, math.min(start + 999, #ids)))) do
      local id = ids[start + at - 1]
      if group then
        count[group] = (count[group] or 0) + 1
        if count[group] == 1 then newest[group] = {} end
        if count[group] <= 3 then newest[group][count[group]] = id end
      end
    end
  end
end
if #ARGV > 2 then
  local ids = {}
  for i = 3, #ARGV do ids[i - 2] = ARGV[i] end
  add(ids)
else
  for i = 2, states + 1 do add(redis.call('ZREVRANGE', KEYS[i], 0, -1)) end
end
for group, number in pairs(count) do
  answer[#answer + 1] = group; answer[#answer + 1] = number; answer[#answer + 1] = newest[group]
end
if ARGV[2] ~= '' and total > 100 then
  redis.call('HSET', keep, ARGV[2], cmsgpack.pack(answer))
  redis.call('EXPIRE', keep, 60)
end
return answer
"""
)
# KEYS: letters (zset), of some connections each. ARGV: how many to pass over, how many are wanted. Returns {how many there are, how many of
# them were passed over, of each key {those that are left and their times}}: between two moments that are found by halving, so that what
# lies deep costs as little as what is new.
_WINDOW: Final = """
local offset, wanted, slack, total, first, last = tonumber(ARGV[1]), tonumber(ARGV[2]), 200, 0, math.huge, -math.huge
for _, key in ipairs(KEYS) do
  local count = redis.call('ZCARD', key)
  if count > 0 then
    total = total + count
    first = math.min(first, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]))
    last = math.max(last, tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]))
  end
end
local function said(time) return string.format('%.17g', time) end
local function since(time)
  local count = 0
  for _, key in ipairs(KEYS) do count = count + redis.call('ZCOUNT', key, said(time), '+inf') end
  return count
end
-- The moment since which there are at least so many, or at most so many, and as close to it as `slack`; and how many there are since then.
local function moment(wish, at_least)
  local low, high, many, few = first, last + 1, total, 0
  for _ = 1, 60 do
    if (at_least and many - wish or wish - few) <= slack then break end
    local middle = low + (high - low) / 2
    local count = since(middle)
    if count > wish or at_least and count == wish then low, many = middle, count else high, few = middle, count end
  end
  if at_least then return low, many end
  return high, few
end
local oldest, newest, passed = '-inf', '+inf', 0
if offset + wanted < total then oldest = said((moment(offset + wanted, true))) end
if offset > 0 then
  local time
  time, passed = moment(math.min(offset, total), false)
  newest = '(' .. said(time)
end
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('ZRANGE', key, newest, oldest, 'BYSCORE', 'REV', 'WITHSCORES') end
return {total, passed, found}
"""
# ARGV: keys of sorted sets. Returns how many each holds.
_COUNTS: Final = "for i, key in ipairs(ARGV) do ARGV[i] = redis.call('ZCARD', key) end return ARGV"


class Group(NamedTuple):
    """Letters that fail for the same reason with the same values in it; the filter `group` selects them. `facts`: see `group_facts`."""

    id: str
    letters: int
    newest: tuple[str, ...]
    facts: dict[str, str]


class _Plan(NamedTuple):
    """Where letters of one connection are looked for. `place`: which connection; `sources`: letters by state, each by last time; `by`:
    indexes that they must be in as well.
    """

    place: int
    prefix: str
    sources: list[str]
    by: list[str]


class _Chosen(NamedTuple):
    """The letters that match. `found`: where words are sought, (place among the connections, id) of the newest of those in which they
    stand, `total` of them; else None: all that the plans hold.
    """

    plans: list[_Plan]
    total: int = 0
    found: list[tuple[int, str]] | None = None


Page = tuple[int, list[tuple[int, "DeadLetter"]]]
Groups = tuple[int, int, list[tuple[int, Group]]]


async def find_among(
    redis: Redis,
    stores: Sequence[DeadLetters],
    filters: Mapping[str, str],
    *,
    states: Sequence[str] = WAITING,
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """As `DeadLetters.find`, among several connections together: (total, one page of (place among them, letter)).

    All are asked at once: it costs as many round trips as for one.
    """
    return await _page(redis, stores, await _choose(redis, stores, filters, states, offset + limit), offset, limit)


async def groups_among(
    redis: Redis,
    stores: Sequence[DeadLetters],
    filters: Mapping[str, str],
    *,
    states: Sequence[str] = WAITING,
    offset: int = 0,
    limit: int | None = None,
) -> Groups:
    """As `DeadLetters.groups`, of several connections together: (letters, groups, a page of (place among them, group))."""
    return await _groups(redis, stores, await _choose(redis, stores, filters, states, ALL), offset, limit)


async def look_among(
    redis: Redis, stores: Sequence[DeadLetters], filters: Mapping[str, str], *, offset: int, limit: int, groups_from: int, groups_limit: int
) -> tuple[Page, Groups]:
    """Both of these, looked for once."""
    chosen = await _choose(redis, stores, filters, WAITING, ALL)
    return await _page(redis, stores, chosen, offset, limit), await _groups(redis, stores, chosen, groups_from, groups_limit)


async def ids_among(
    redis: Redis, stores: Sequence[DeadLetters], filters: Mapping[str, str], states: Sequence[str]
) -> list[tuple[int, str]]:
    """(place among the connections, id) of all that match, newest first."""
    return (await _ids(redis, await _choose(redis, stores, filters, states, ALL), 0, ALL))[1]


async def _choose(redis: Redis, stores: Sequence[DeadLetters], filters: Mapping[str, str], states: Sequence[str], most: int) -> _Chosen:
    """`most`: how many of the newest are wanted where words are sought."""
    plans = await _plans(redis, stores, filters, checked(filters, states))
    sought = [" ".join(filters.get(name, "").casefold().split()) for name in SOUGHT]
    return _Chosen(plans, *await _sought(redis, plans, sought, most)) if any(sought) else _Chosen(plans)


async def _page(redis: Redis, stores: Sequence[DeadLetters], chosen: _Chosen, offset: int, limit: int) -> Page:
    total, ids = await _ids(redis, chosen, offset, limit)
    async with redis.pipeline(transaction=False) as pipe:
        for place, letter_id in ids:
            pipe.hgetall(f"{stores[place].prefix}{letter_id}")
        rows = await pipe.execute()
    return total, [(place, stores[place].read(letter_id, row)) for (place, letter_id), row in zip(ids, rows, strict=True) if row]


async def _ids(redis: Redis, chosen: _Chosen, offset: int, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """(total, one page of (place, id))."""
    if chosen.found is not None:
        return chosen.total, chosen.found[offset : offset + limit]
    if any(plan.by for plan in chosen.plans):
        return await _newest(redis, chosen.plans, offset, limit)
    sources = [(plan.place, source) for plan in chosen.plans for source in plan.sources]
    answer = await redis.eval(_WINDOW, len(sources), *(source for _, source in sources), offset, limit)
    total, passed, found = answer
    merged = _merged([(place, rows) for (place, _), rows in zip(sources, found, strict=True)])
    return total, merged[offset - passed : offset - passed + limit]


async def _groups(redis: Redis, stores: Sequence[DeadLetters], chosen: _Chosen, offset: int, limit: int | None) -> Groups:
    asked: list[tuple[_Plan, list[str]]] = [(plan, []) for plan in chosen.plans]
    if chosen.found is not None:
        found_ids: dict[int, list[str]] = {}
        for place, letter_id in chosen.found:
            found_ids.setdefault(place, []).append(letter_id)
        asked = [
            (plan, ids[start : start + _GROUPED_AT_ONCE])
            for plan in chosen.plans
            if (ids := found_ids.get(plan.place, []))
            for start in range(0, len(ids), _GROUPED_AT_ONCE)
        ]
    script = redis.register_script(_GROUP)
    async with redis.pipeline(transaction=False) as pipe:
        for plan, some in asked:
            states_alone = [source.partition(":dl:state:")[2] for source in plan.sources] if not some and not plan.by else [""]
            keys = [f"{plan.prefix}group", *plan.sources, *(() if some else plan.by)]
            await script(keys=keys, args=[len(plan.sources), "|".join(states_alone) if all(states_alone) else "", *some], client=pipe)
        answers = await pipe.execute()
    found: dict[tuple[bytes, int], tuple[int, list[bytes]]] = {}
    for (plan, _), answer in zip(asked, answers, strict=True):
        for name, number, newest in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            before, known = found.get((name, plan.place), (0, []))
            found[name, plan.place] = before + int(number), [*known, *newest][:3]
    most = len(found) if limit is None else offset + limit
    page = heapq.nsmallest(most, ((-number, name, place) for (name, place), (number, _) in found.items()))[offset:]
    async with redis.pipeline(transaction=False) as pipe:
        for _, name, place in page:
            pipe.hget(f"{stores[place].prefix}groups", name)
        facts = await pipe.execute()
    groups = []
    for (_, name, place), raw in zip(page, facts, strict=True):
        number, newest = found[name, place]
        groups.append((place, Group(name.decode(), number, tuple(one.decode() for one in newest), orjson.loads(raw) if raw else {})))
    return sum(number for number, _ in found.values()), len(found), groups


async def _plans(redis: Redis, stores: Sequence[DeadLetters], filters: Mapping[str, str], states: Sequence[str]) -> list[_Plan]:
    """One for each connection that may have such letters.

    Where an index is short, its letters are put together anew, and it need not be looked at any more.
    """
    filters = {ALIASES.get(name, name): value for name, value in filters.items()}
    by = [f"by:{name}:{value}" for name, value in filters.items() if name in INDEXED]
    named = [f"state:{state}" for state in states]
    counts = await redis.eval(_COUNTS, 0, *(store.prefix + key for store in stores for key in (*named, *by)))
    plans, short = [], []
    mark = hashlib.sha256("|".join(by).encode()).hexdigest()[:12]
    for place, store in enumerate(stores):
        mine = counts[place * len(named + by) : (place + 1) * len(named + by)]
        sources = [key for key, count in zip(named, mine, strict=False) if count]
        fewest = min(mine[len(named) :], default=ALL)
        if not sources or not fewest:
            continue
        if fewest > NARROW or not by:
            plans.append(_Plan(place, store.prefix, [store.prefix + key for key in sources], [store.prefix + key for key in by]))
            continue
        shares = [f"{store.prefix}found:{mark}:{key.removeprefix('state:')}" for key in sources]
        short += [(share, store.prefix, key) for share, key in zip(shares, sources, strict=True)]
        plans.append(_Plan(place, store.prefix, shares, []))
    if short:
        async with redis.pipeline(transaction=True) as pipe:
            for share, prefix, key in short:
                pipe.zinterstore(share, {prefix + key: 1, **dict.fromkeys((prefix + one for one in by), 0)}, aggregate="SUM")
                pipe.expire(share, 30)
            await pipe.execute()
    return plans


async def _sought(redis: Redis, plans: Sequence[_Plan], sought: Sequence[str], most: int) -> tuple[int, list[tuple[int, str]]]:
    """(in how many letters it is found, (place, id) of the newest, `most` of them)."""
    async with redis.pipeline(transaction=False) as pipe:
        for plan in plans:
            keys = [f"{plan.prefix}lines", *plan.sources, *plan.by]
            pipe.eval(_SEEK, len(keys), *keys, len(plan.sources), most, *sought)
        answers = await pipe.execute()
    rows = [(plan.place, answer) for plan, some in zip(plans, answers, strict=True) for answer in some]
    return sum(number for _, (number, _) in rows), _merged([(place, found) for place, (_, found) in rows])[:most]


async def _newest(redis: Redis, plans: Sequence[_Plan], offset: int, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """(total, one page of (place, id)) where letters must be in long indexes as well."""
    sources = [(plan, source) for plan in plans for source in plan.sources]
    async with redis.pipeline(transaction=True) as pipe:
        for plan, source in sources:
            pipe.zintercard(1 + len(plan.by), [source, *plan.by])
            pipe.eval(_NEWEST, 1 + len(plan.by), source, *plan.by, offset + limit)
        answers = await pipe.execute()
    merged = _merged([(plan.place, found) for (plan, _), found in zip(sources, answers[1::2], strict=True)])
    return sum(answers[::2]), merged[offset : offset + limit]


def _merged(rows: Sequence[tuple[int, Sequence[Any]]]) -> list[tuple[int, str]]:
    """(place, [id, time, …]) of several sources as (place, id), newest first; those of one moment as Redis orders them."""
    scored = [(float(at), name, place) for place, found in rows for name, at in zip(found[::2], found[1::2], strict=True)]
    if len(rows) > 1:
        scored.sort(reverse=True)
    return [(place, name.decode()) for _, name, place in scored]


def checked(filters: Mapping[str, str], states: Sequence[str]) -> Sequence[str]:
    """The states that are asked for. Raises ValueError."""
    unknown = set(filters) - set(FILTERS)
    if unknown:
        raise ValueError(f"no filter {', '.join(sorted(unknown))}; there are {', '.join(FILTERS)}")
    if "state" not in filters:
        return states
    if filters["state"] not in STATES:
        raise ValueError(f"no state {filters['state']}; there are {', '.join(STATES)}")
    return (filters["state"],)
