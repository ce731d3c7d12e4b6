"""What a register is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connect.config import RegisterSettings
from connect.mapping import Part


@dataclass(frozen=True, slots=True)
class Register:
    """One inbound job.

    Attributes:
        job: its name in the configuration (prime.md section 4).
        parts: the parts for one company's settings; none when the settings switch the register off.
        after: jobs whose rows this one refers to; they run first.
        incremental: whether IsFullImport = false narrows it to the last 7 days (the guide: objects and suppliers only).
        second_pass_after: the job after which rows that Prime refused as unknown reference are sent again in full.
    """

    job: str
    parts: Callable[[RegisterSettings], list[Part]]
    after: tuple[str, ...] = ()
    incremental: bool = False
    second_pass_after: str | None = None
