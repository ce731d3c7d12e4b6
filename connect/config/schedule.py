"""When jobs start: Sage's maintenance windows, the space between two starts, and the plan of a day.

When jobs of several companies are active, two starts of a connection are at least `spacing_minutes` apart. What is due waits its turn:
whatever was due first goes first, and of what is due together inbound before outbound. The same job of several companies that are due
together is one start, since they share what is read. A job is not started while its run before goes on.

Source: the guide's advice on job spacing; prime.md 5.5 (D27).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from connect.config.names import DOCUMENT_JOBS, REGISTER_JOBS

if TYPE_CHECKING:
    from connect.config.models import Connection, Job

Key = tuple[str, str]  # company, job
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(r"(\w{3})\w*\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DAY: Final = timedelta(days=1)
NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Window(NamedTuple):
    """A weekly window on a wall clock. `minutes`: how long it is; it may go over midnight."""

    weekday: int  # 0: Monday
    start: time
    minutes: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """`Sat 22:00-02:00`. Raises ValueError."""
        match = _WINDOW.fullmatch(text.strip())
        day = match[1].lower() if match else ""
        first, last = (60 * int(match[n]) + int(match[n + 1]) for n in (2, 4)) if match else (0, 0)
        if (
            match is None
            or day not in WEEKDAYS
            or int(match[3]) > 59
            or int(match[5]) > 59
            or first >= 1440
            or last > 1440
            or first == last
        ):
            raise ValueError(f'{text!r} is no weekly window; expected a day and two times, such as "Sat 22:00-02:00"')
        return cls(WEEKDAYS.index(day), time(first // 60, first % 60), (last - first) % 1440 or 1440)

    def until(self, at: datetime, zone: tzinfo) -> datetime | None:
        """When the window that `at` lies in ends (UTC); None when it lies in none."""
        today = at.astimezone(zone).date()
        for day in (today, today - _DAY):
            if day.weekday() == self.weekday:
                local = datetime.combine(day, self.start)
                start, end = (one.replace(tzinfo=zone).astimezone(UTC) for one in (local, local + timedelta(minutes=self.minutes)))
                if start <= at < end:
                    return end
        return None


def every_after(after: datetime, every: timedelta, offset: timedelta, zone: tzinfo) -> datetime:
    """The first instant (UTC) later than `after` of a schedule that repeats.

    Whole days and what divides a day count from midnight on the wall clock of `zone`, other times from the year 2000 in UTC.
    """
    if every % _DAY and _DAY % every:
        begin = datetime(2000, 1, 1, tzinfo=UTC) + offset
        return begin + ((after - begin) // every + 1) * every
    step = max(every // _DAY, 1)  # days
    today = after.astimezone(zone).date()
    day = today - timedelta(days=(today - date(2000, 1, 1)).days % step) - step * _DAY
    while True:
        if every >= _DAY:
            due = end = (datetime.combine(day, time()) + offset).replace(tzinfo=zone).astimezone(UTC)
        else:
            midnight, end = (datetime.combine(one, time()).replace(tzinfo=zone).astimezone(UTC) for one in (day, day + _DAY))
            begin = midnight + offset % every
            due = max(begin, begin + ((after - begin) // every + 1) * every)
        if due > after and (due < end or every >= _DAY):
            return due
        day += step * _DAY


def rank(job: str) -> int:
    """Inbound before outbound, registers in the order in which rows refer to each other; further registers after the guide's."""
    if job in DOCUMENT_JOBS:
        return 1000 + DOCUMENT_JOBS.index(job)
    return REGISTER_JOBS.index(job) if job in REGISTER_JOBS else 500


def turn(
    due: Mapping[Key, datetime], can_start: Callable[[Key], bool], entity: Mapping[Key, str], last: Mapping[Key, datetime]
) -> list[Key]:
    """Of what is due, what starts now where starts are spaced: one job, of all companies that share its reading. [] when nothing can.

    `due`: when each became due; `entity`: its Sage entity; `last`: when it started last, so that companies take turns.
    """
    order = sorted(due, key=lambda key: (due[key], rank(key[1]), last.get(key, NEVER), key))
    first = next((key for key in order if can_start(key)), None)
    if first is None:
        return []
    if first[1] in DOCUMENT_JOBS:
        return [first]
    return [key for key in order if key == first or (key[1] == first[1] and entity[key] == entity[first] and can_start(key))]


@dataclass(frozen=True)
class Start:
    """A start of the plan. `due_at`: when it should have been; `held`: why it is later, "" when it is not."""

    at: datetime
    due_at: datetime
    job: str
    companies: tuple[str, ...]
    held: str = ""

    @property
    def late_minutes(self) -> int:
        return round((self.at - self.due_at).total_seconds() / 60)


@dataclass(frozen=True)
class DayPlan:
    """The starts of one day. `maintenance`: the windows in it; `missed`: job and company -> times a day that it is due and cannot start."""

    day: date
    zone: tzinfo
    spacing: timedelta
    starts: list[Start]
    maintenance: list[tuple[datetime, datetime]]
    missed: dict[Key, int] = field(default_factory=dict)


def day_plan(connection: Connection, day: date, *, durations: Mapping[Key, timedelta] | None = None) -> DayPlan:
    """What starts when on a day of the connection's time zone, if all goes as ever. `durations`: how long runs take, where known.

    The day before is gone through first: what it leaves over is there at midnight.
    """
    zone = ZoneInfo(connection.timezone)
    midnight, end = (datetime.combine(one, time()).replace(tzinfo=zone).astimezone(UTC) for one in (day, day + _DAY))
    jobs = {(job.company, job.job): job for job in connection.jobs if job.active and job.is_scheduled}
    walk = _Walk(connection, jobs, durations or {}, midnight - _DAY)
    starts: list[Start] = []
    missed: dict[Key, int] = {}
    for start, more in walk.starts(end):
        if start.at >= midnight:
            starts.append(start)
            for key, times in more.items():
                missed[key] = missed.get(key, 0) + times
    return DayPlan(day, zone, connection.spacing, starts, _windows(connection, midnight, end), {key: n for key, n in missed.items() if n})


class _Walk:
    """Goes from start to start."""

    def __init__(self, connection: Connection, jobs: Mapping[Key, Job], durations: Mapping[Key, timedelta], begin: datetime) -> None:
        self._connection, self._jobs, self._durations = connection, jobs, durations
        self._entity = {key: job.sage_entity for key, job in jobs.items()}
        self._free: dict[Key, datetime] = {}  # when the run before ends
        self._began: dict[Key, datetime] = {}
        self._last: datetime | None = None
        self._due = {key: at for key, job in jobs.items() if (at := job.next_start(begin - timedelta(seconds=1))) is not None}

    def starts(self, end: datetime) -> Iterable[tuple[Start, dict[Key, int]]]:
        """Each start before `end`, with the times that its jobs were due meanwhile and could not start."""
        while self._due:
            at, held = self._next()
            if at >= end:
                return
            chosen = self._chosen(at)
            due_at = min(self._due[key] for key in chosen)
            missed = {key: self._move_on(key, at) for key in chosen}
            self._last = at
            yield Start(at, due_at, chosen[0][1], tuple(key[0] for key in chosen), held if at > due_at else ""), missed

    def _next(self) -> tuple[datetime, str]:
        """When the next start is, and what it waits for."""
        at, held = min((max(due, self._free.get(key, due)), "the run before goes on") for key, due in self._due.items())
        if self._last is not None and self._connection.spacing and at < self._last + self._connection.spacing:
            at, held = self._last + self._connection.spacing, "space between starts"
        while (until := self._connection.maintenance_until(at)) is not None:
            at, held = until, "maintenance"
        return at, held

    def _chosen(self, at: datetime) -> list[Key]:
        ready = {key: due for key, due in self._due.items() if max(due, self._free.get(key, due)) <= at}
        if self._connection.spacing:
            return turn(ready, lambda _: True, self._entity, self._began)
        first = min(ready, key=lambda key: (rank(key[1]), key))
        return [key for key in sorted(ready) if key[1] == first[1]]

    def _move_on(self, key: Key, at: datetime) -> int:
        """Set when a job that starts at `at` is due again. Returns how often it had been due since it should have started."""
        job, times = self._jobs[key], 0
        due: datetime | None = self._due[key]
        while due is not None and due <= at:
            due, times = job.next_start(due), times + 1
        if due is None:
            del self._due[key]
        else:
            self._due[key] = due
        self._began[key] = at
        self._free[key] = at + self._durations.get(key, timedelta(0))
        return times - 1


def _windows(connection: Connection, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The maintenance of a day, cut at its ends."""
    found: list[tuple[datetime, datetime]] = []
    at = begin
    while at < end:
        until = connection.maintenance_until(at)
        if until is not None:
            found.append((at, min(until, end)))
            at = until
        else:
            at += timedelta(minutes=1)
    return found
