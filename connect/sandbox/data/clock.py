"""Keys and times as a company's years leave them behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

TODAY: Final = date(2026, 6, 30)
"""The last day on which anything happened in the books. Fixed, so that the same seed gives the same bytes."""
_FIRST: Final = datetime(2018, 1, 2, 7, 30, tzinfo=UTC)
_LAST: Final = datetime(2026, 6, 30, 18, 0, tzinfo=UTC)
_TIMES: Final = 4_000


def keys(pick: random.Random, count: int) -> Iterator[int]:
    """`count` record numbers, ascending: imports leave clusters, deletions and other objects gaps, from one to some thousands."""
    runs = (1, 1, 2, 3, 8, 40, max(40, count // 20))
    gaps = (1, 1, 2, 5, 30, 400, 9_000)
    key, left = pick.randrange(1, 60), 0
    for _ in range(count):
        if not left:
            left = pick.choice(runs)
            key += pick.choice(gaps)
        yield key
        key += 1
        left -= 1


class Audit:
    """When records were made and last changed: later ones were made later, one in three has been changed since."""

    def __init__(self, count: int) -> None:
        step = (_LAST - _FIRST) / _TIMES
        self._times = [(_FIRST + step * n).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(_TIMES)]
        self._count = max(count, 1)

    def __call__(self, pick: random.Random, ordinal: int) -> dict[str, Any]:
        made = ordinal * _TIMES // self._count
        chance = pick.random()
        changed = made if chance > 0.33 else made + int((_TIMES - made) * chance * 3)
        return {"createdDateTime": self._times[made], "modifiedDateTime": self._times[changed]}


def month_end(first: date) -> date:
    """The last day of this day's month."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def months_back(count: int) -> list[date]:
    """The first days of the last `count` months, oldest first; TODAY's month is the last one."""
    last = TODAY.year * 12 + TODAY.month - 1
    return [date(n // 12, n % 12 + 1, 1) for n in range(last - count + 1, last + 1)]


def days_back(count: int) -> list[date]:
    """The last `count` working days that do not end a month, oldest first."""
    found: list[date] = []
    day = TODAY
    while len(found) < count:
        day -= timedelta(days=1)
        if day.weekday() < 5 and day != month_end(day):
            found.append(day)
    return found[::-1]
