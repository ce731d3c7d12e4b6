"""What is under way while Sage, Prime and the journal are compared is not told as a difference; when that is due."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connect.reconcile import Drift, Report
from connect.state.runs import RunRecord
from workers.cli_schedule import _compared
from workers.reconciling import _twice_if_need_be

BEGUN = datetime(2026, 6, 6, 5, 0, tzinfo=UTC)
JOBS = ("GetSuppliers",)


def drift(number: str) -> Drift:
    return Drift(connection="acme", company="100", job="GetSuppliers", kind="Supplier", number=number, name="", what="different")


def run(ended_minutes: float | None, job: str = "GetSuppliers", **counters: int) -> RunRecord:
    ended = None if ended_minutes is None else BEGUN + timedelta(minutes=ended_minutes)
    begun = BEGUN - timedelta(minutes=9)
    state: Any = "done" if ended else "running"
    facts: dict[str, Any] = {"run": "r", "company": "100", "mode": "full", "trace": "", "counters": counters}
    return RunRecord(job=job, state=state, started_at=begun, ended_at=ended, **facts)


async def found(runs: list[RunRecord], *looks: list[str]) -> tuple[list[str], int]:
    """The numbers of what differs at last, and how often was looked. `looks`: what differs at each look."""
    left, report = list(looks), Report(made_at="")

    async def look(into: Report) -> None:
        into.drifts += [drift(number) for number in left.pop(0)]
        into.sage_calls += 10
        into.checked["rows of Sage"] = 7

    async def history(limit: int) -> list[RunRecord]:
        return runs

    one: Any = SimpleNamespace(runs=SimpleNamespace(history=history))
    await _twice_if_need_be(one, look, JOBS, report, BEGUN)
    assert report.sage_calls == 10 * (len(looks) - len(left))
    assert report.checked == {"rows of Sage": 7}
    return [one.number for one in report.drifts], len(looks) - len(left)


async def test_where_nothing_has_moved_one_look_is_enough() -> None:
    assert await found([run(-1, sent=5)], ["V1"], []) == (["V1"], 1)
    assert await found([run(1, read=900, unchanged=900), run(1, "GetAccounts", sent=5)], ["V1"], []) == (["V1"], 1)


async def test_where_nothing_differs_one_look_is_enough() -> None:
    assert await found([run(None, sent=5)], [], ["V1"]) == ([], 1)


@pytest.mark.parametrize("moving", [run(1, sent=5), run(None, sent=5), run(1, expired=1)])
async def test_where_a_run_has_written_meanwhile_what_differs_both_times_does(moving: RunRecord) -> None:
    assert await found([moving], ["V1", "V2"], ["V2", "V3"]) == (["V2"], 2)


def test_the_plan_of_a_day_says_when_a_report_is_due() -> None:
    def due(day: date, reconcile: str | None = "30 4,16 * * sat") -> list[str]:
        connection: Any = SimpleNamespace(reconcile=reconcile)
        plan: Any = SimpleNamespace(day=day, zone=ZoneInfo("Europe/Stockholm"))
        return _compared(connection, plan)

    saturday = date(2026, 6, 6)
    assert due(saturday) == ["2026-06-06T04:30+02:00", "2026-06-06T16:30+02:00"]
    assert due(saturday, "0 0 * * *") == ["2026-06-06T00:00+02:00"]
    assert due(saturday + timedelta(days=1)) == due(saturday, None) == []
