"""What calls to Sage cost: a month's numbers added up, a forecast to its end, the budget, and what another schedule would save.

Days are UTC, as in state/usage.py. A transaction is a record written or a page read (sage-rest.md d).
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import mean, median
from typing import Final, Literal

from connect.config.models import Job

WARN_SHARE: Final = 0.8
LEARNT_DAYS: Final = 28  # a forecast looks back so far
EXCEPTIONAL: Final = 5.0  # a day of so many times the median is a first import or a --resend: it is not expected again
SCHEDULE_DAYS: Final = 28
Days = Mapping[date, int]
BudgetState = Literal["none", "ok", "warning", "stopped"]


def month_of(text: str) -> date:
    """The first day of a month written 2026-11. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()


def days_of(first: date) -> list[date]:
    """The days of a month."""
    return [first + timedelta(days=n) for n in range(calendar.monthrange(first.year, first.month)[1])]


def forecast(counted: Days, first: date, today: date, since: date) -> int | None:
    """The transactions of the month that begins with `first`, as they will be at its end; None while no whole day is known.

    `counted` may reach into the month before. Working days and weekends are expected to go on as they were; `since` is the first day that
    was counted, if only in part.
    """
    month = days_of(first)
    so_far = sum(counted.get(day, 0) for day in month)
    if today > month[-1]:
        return so_far
    known = [day for n in range(LEARNT_DAYS, 0, -1) if since < (day := today - timedelta(days=n))]
    if not known:
        return None
    usual = _usual(counted, known)
    expected = 0.0
    for day in month:
        if day == today:
            expected += max(usual[is_weekend(day)] - counted.get(day, 0), 0.0)
        elif day > today:
            expected += usual[is_weekend(day)]
    return so_far + round(expected)


def _usual(counted: Days, known: list[date]) -> dict[bool, float]:
    """What a working day (False) and a day of the weekend (True) come to."""
    busy = [counted[day] for day in known if counted.get(day)]
    most = EXCEPTIONAL * median(busy) if busy else 0.0
    ordinary = [(day, counted.get(day, 0)) for day in known if counted.get(day, 0) <= most]
    found = {}
    for weekend in (False, True):
        numbers = [number for day, number in ordinary if is_weekend(day) == weekend] or [number for _, number in ordinary]
        found[weekend] = mean(numbers) if numbers else 0.0
    return found


def is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def budget_state(spent: int, budget: int) -> BudgetState:
    """`stopped`: registers are not read by their schedules any more; documents always go on."""
    if not budget:
        return "none"
    return "stopped" if spent >= budget else "warning" if spent >= WARN_SHARE * budget else "ok"


def budget_text(spent: int, budget: int, now: datetime) -> str:
    """For a person; "" below the warning."""
    state = budget_state(spent, budget)
    if state not in ("warning", "stopped"):
        return ""
    share = f"{spent:,} of this month's {budget:,} transactions with Sage are used ({100 * spent // budget} %)"
    if state == "warning":
        return f"{share}; at 100 % registers are not read any more until {next_month(now.date()):%Y-%m-%d}"
    return (
        f"{share}: registers are not read by their schedules until {next_month(now.date()):%Y-%m-%d}; documents go on. Raise "
        "transactions_month_budget, or ask for one with connect sync --job NAME"
    )


def next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def starts_a_day(job: Job, now: datetime, *, days: int = SCHEDULE_DAYS) -> float:
    """How often a job is due, a day on average over four weeks; 0 without a schedule."""
    at, until, starts = now, now + timedelta(days=days), 0
    while (due := job.next_start(at)) is not None and due < until:
        at, starts = due, starts + 1
    return starts / days


@dataclass(frozen=True)
class Saving:
    """What a job's schedule costs a month of 30 days, and what another would."""

    runs_a_day: float
    calls_a_run: float
    other: str
    other_runs_a_day: float

    @property
    def month(self) -> int:
        return round(30 * self.runs_a_day * self.calls_a_run)

    @property
    def saved(self) -> int:
        """Calls a month; less than 0: it would cost more."""
        return self.month - round(30 * self.other_runs_a_day * self.calls_a_run)


def saving(job: Job, calls_a_run: float, now: datetime, other: str = "") -> Saving:
    """`other`: an interval (4h) or a cron expression; half as often when there is none. Raises ValueError for one that is neither."""
    runs = starts_a_day(job, now)
    if not other:
        return Saving(runs, calls_a_run, "half as often", runs / 2)
    timing = {"cron": other} if " " in other.strip() else {"every": other}
    changed = Job.model_validate(
        {"job": job.job, "company": job.company, "active": job.active, "timezone": job.timezone, **timing}  # validated as the file is
    )
    return Saving(runs, calls_a_run, other, starts_a_day(changed, now))


def by(numbers: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Added up by name, the largest first."""
    found: Counter[str] = Counter()
    for name, number in numbers:
        found[name] += number
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def usual_calls(calls: Iterable[int]) -> float:
    """What a run costs: the median of those that were, which a first import does not move; 0 without any."""
    found = [number for number in calls if number]
    return float(median(found)) if found else 0.0
