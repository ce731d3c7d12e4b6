"""When each job starts: at least 8 minutes apart, inbound before outbound.

A day is cut into periods of equal length. In each, suppliers come first and then the documents; the other registers have the first
places of the periods of one night, in the order in which rows refer to each other. Jobs that read the same start together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from typing import Final, NamedTuple

from connect.config.names import DOCUMENT_JOBS
from connect.config.schedule import rank

SPACE: Final = 8  # minutes; the guide's
PERIODS: Final = (60, 120, 180, 240, 360, 480, 720, 1440)  # minutes; each divides a day
AT_NIGHT: Final = 2  # registers in one period, if a day has room
OFTEN: Final = frozenset({"GetSuppliers", *DOCUMENT_JOBS})  # what people wait for


class Planned(NamedTuple):
    """A job of one company; `entity`: what it reads in Sage."""

    job: str
    company: str
    entity: str


class Slot(NamedTuple):
    """As a job of the configuration has it."""

    every: str
    offset_minutes: int


def timetable(jobs: Sequence[Planned], begin: time) -> dict[Planned, Slot]:
    """A time for each job; `begin`: when the nightly registers start. Raises ValueError when a day does not hold them all."""
    starts = _starts(jobs)
    often = [start for start in starts if start[0].job in OFTEN]
    rare = [start for start in starts if start[0].job not in OFTEN]
    for period in PERIODS:
        nights = 1440 // period  # periods of a day
        first_places = min(max(AT_NIGHT, -(-len(rare) // nights)), len(rare))  # of each period, kept for registers
        if (first_places + len(often)) * SPACE > period:
            continue
        found: dict[Planned, Slot] = {}
        night = (begin.hour * 60 + begin.minute) // period
        for number, start in enumerate(rare):
            at = ((night + number // first_places) * period + number % first_places * SPACE) % 1440
            found.update(dict.fromkeys(start, Slot("1d", at)))
        for number, start in enumerate(often, first_places):
            found.update(dict.fromkeys(start, Slot("1d" if period == 1440 else f"{period // 60}h", number * SPACE)))
        return found
    raise ValueError(f"{len(starts)} starts do not fit into a day {SPACE} minutes apart; make a connection of its own for some companies")


def _starts(jobs: Sequence[Planned]) -> list[list[Planned]]:
    """What starts together: a register of all companies that read the same; each document job by itself."""
    together: dict[tuple[str, ...], list[Planned]] = {}
    for one in sorted(jobs, key=lambda one: rank(one.job)):
        together.setdefault((one.job, one.company) if one.job in DOCUMENT_JOBS else (one.job, "", one.entity), []).append(one)
    return list(together.values())
