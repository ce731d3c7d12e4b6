r"""Numbers of the processes, added up in Redis: each process counts in memory and adds that every few seconds and when it ends.

    connect:metrics:counts            hash    "{name}\n{label}\n…" -> number; times in microseconds
    connect:metrics:times             hash    "{name}\n{label}\n…\n{bound}" -> how many took so long at most and longer than the bound
                                              before; bound "sum": microseconds together
    connect:metrics:added:{process}   string  number of the newest batch of this process, so that none is added twice

What is lost with a process that is killed: what it has counted since the last time. What Redis counts anyway (runs, Sage's usage, slots,
errors) is not here. Connections go by their state id, so renaming one loses nothing.
"""

from __future__ import annotations

import bisect
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

FLUSH_EVERY_S: Final = 3.0
REMEMBERED_S: Final = 86_400
COUNTS: Final = "connect:metrics:counts"
TIMES: Final = "connect:metrics:times"
BOUNDS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_BOUNDS: Final = tuple(f"{bound:g}" for bound in (*BOUNDS_S, float("inf")))
_SUM: Final = "sum"

# KEYS: counts, times, newest batch of this process. ARGV: batch, kept (s), how many counts, then name, by … of counts and of times.
# A batch whose answer was lost on its way may come again.
_ADD: Final = """
if tonumber(redis.call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then return 0 end
local counts = tonumber(ARGV[3])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[(i - 4) / 2 < counts and 1 or 2], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Metrics:
    """What this process has counted since the last flush."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: Counter[str] = Counter()
        self._process = secrets.token_hex(8)
        self._batch = 1
        self._leaving: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        self._counts["\n".join((name, *labels))] += by

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """One more time measured, in seconds; a negative one (clocks differ) counts as none."""
        seconds = max(seconds, 0.0)
        prefix = "\n".join((name, *labels, ""))
        self._times[prefix + _BOUNDS[bisect.bisect_left(BOUNDS_S, seconds)]] += 1
        self._times[prefix + _SUM] += round(seconds * 1e6)

    async def flush(self, redis: Redis) -> None:
        """Add what has been counted. Raises RedisError: then it is added with the next flush, once."""
        if not (self._leaving[0] or self._leaving[1]):
            self._leaving, self._counts, self._times = (self._counts, self._times), Counter(), Counter()
        counts, times = self._leaving
        if not (counts or times):
            return
        pairs = [word for counter in (counts, times) for pair in counter.items() for word in pair]
        key = f"connect:metrics:added:{self._process}"
        await redis.eval(_ADD, 3, COUNTS, TIMES, key, self._batch, REMEMBERED_S, len(counts), *pairs)
        self._batch += 1
        self._leaving = (Counter(), Counter())


@dataclass(frozen=True)
class Times:
    """What was measured under one name and set of labels: how many up to each bound (cumulative), and seconds together."""

    buckets: tuple[tuple[str, int], ...]
    sum_s: float


Labels = tuple[str, ...]


def read_counts(raw: Mapping[bytes, bytes]) -> dict[str, dict[Labels, int]]:
    """The counts hash: name -> labels -> number."""
    found: dict[str, dict[Labels, int]] = {}
    for field, value in raw.items():
        name, *labels = field.decode().split("\n")
        found.setdefault(name, {})[tuple(labels)] = int(value)
    return found


def read_times(raw: Mapping[bytes, bytes]) -> dict[str, dict[Labels, Times]]:
    """The times hash: name -> labels -> what was measured."""
    sums: dict[tuple[str, Labels], int] = {}
    apart: dict[tuple[str, Labels], Counter[str]] = {}
    for field, value in raw.items():
        name, *labels, bound = field.decode().split("\n")
        key = name, tuple(labels)
        if bound == _SUM:
            sums[key] = int(value)
        else:
            apart.setdefault(key, Counter())[bound] += int(value)
    found: dict[str, dict[Labels, Times]] = {}
    for (name, where), counts in apart.items():
        bounds = sorted({*_BOUNDS, *counts}, key=float)  # those of an older version too
        total, buckets = 0, []
        for bound in bounds:
            total += counts[bound]
            buckets.append(("+Inf" if bound == "inf" else bound, total))
        found.setdefault(name, {})[where] = Times(tuple(buckets), sums.get((name, where), 0) / 1e6)
    return found
