"""Five-field cron expressions: minute, hour, day of month, month, day of week.

Lists, ranges, steps, `*`, names (jan-dec, sun-sat), 0 and 7 both Sunday, and @hourly, @daily, @weekly, @monthly, @yearly. When both
days are restricted, either may match, as every cron does. A local time that a clock change skips fires when the clock has moved on; one
that occurs twice fires once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_DAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST_WAIT: Final = timedelta(days=366 * 9)  # 29 February over a year like 2100


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool  # day of month or day of week is `*`: both must match; else one is enough

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ValueError naming the field and what it may hold."""
        words = _MACROS.get(text.strip().lower(), text).split()
        if len(words) != len(_FIELDS):
            raise ValueError(f'expected five fields "minute hour day month weekday" such as "0 * * * *", got {len(words)}')
        minutes, hours, days, months, weekdays = (_parse_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
        cron = cls(
            minutes, hours, days, months, frozenset(day % 7 for day in weekdays), words[2].startswith("*") or words[4].startswith("*")
        )
        if cron.next_after(datetime(2024, 1, 1, tzinfo=UTC), UTC) is None:
            raise ValueError(f"no day of any year matches day {words[2]} in month {words[3]}")
        return cron

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        """The first instant (UTC) later than `after` that matches on the wall clock of `zone`; None when there is none."""
        local = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        last = local + _LONGEST_WAIT
        while local < last:
            if local.month not in self.months:
                local = (local.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._day_matches(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes or (due := local.replace(tzinfo=zone).astimezone(UTC)) <= after:
                local += timedelta(minutes=1)
            else:
                return due
        return None

    def _day_matches(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.any_day else (day or weekday)


def _parse_field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, name, 1, high) if slash else 1
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        elif dash:
            start, end = _number(first, name, low, high), _number(last, name, low, high)
            if start > end:
                raise ValueError(f"{name} {span!r} runs backwards; write the smaller number first")
        else:
            start = _number(first, name, low, high)
            end = high if slash else start
        values.update(range(start, end + 1, step))
    return frozenset(values)


def _number(text: str, name: str, low: int, high: int) -> int:
    names = _MONTHS if name == "month" else _DAYS if name == "day of week" else {}
    value = names.get(text.lower(), int(text) if text.isascii() and text.isdigit() else None)
    if value is None or not low <= value <= high:
        raise ValueError(f"{name} {text!r} is not a number from {low} to {high}")
    return value
