"""`connect doctor`: every requirement of the set-up as a check, one file per system.

check.py      what a check is and what comes of it
systems.py    what the checks of a connection ask
runner.py     runs them, and skips what cannot be known because of another one
redis.py workers.py prime.py sage.py mappings.py    the checks
probe.py      questions that only a write can answer, on a test company
"""

from __future__ import annotations

from typing import Final

from connect.doctor import mappings, prime, redis, sage, workers
from connect.doctor.check import Check, Finding, Result
from connect.doctor.runner import examine
from connect.doctor.systems import Systems

__all__ = ["CHECKS", "Check", "Finding", "Result", "Systems", "examine"]

CHECKS: Final = (*redis.CHECKS, *workers.CHECKS, *prime.CHECKS, *sage.CHECKS, *mappings.CHECKS)
