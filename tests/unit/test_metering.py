"""Forecast, budget and savings, on a calendar of their own."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from connect import metering
from connect.config.models import Job

JUNE = date(2026, 6, 1)  # a Monday
NOW = datetime(2026, 6, 11, tzinfo=UTC)


def june(working: int, weekend: int = 0) -> dict[date, int]:
    return {day: weekend if metering.is_weekend(day) else working for day in metering.days_of(JUNE)}


def until(counted: dict[date, int], day: int) -> dict[date, int]:
    return {one: number for one, number in counted.items() if one.day < day}


@pytest.mark.parametrize(("working", "weekend"), [(100, 0), (100, 20), (7, 7), (0, 50)])
def test_working_days_and_weekends_go_on_as_they_were(working: int, weekend: int) -> None:
    whole = june(working, weekend)
    assert metering.forecast(until(whole, 10), JUNE, date(2026, 6, 10), date(2026, 5, 31)) == sum(whole.values())


def test_a_first_import_is_counted_and_not_expected_again() -> None:
    whole = june(100, 100) | {JUNE: 20_000}
    assert metering.forecast(until(whole, 10), JUNE, date(2026, 6, 10), date(2026, 5, 31)) == sum(whole.values())


def test_a_day_that_has_begun_comes_to_no_less_than_it_has() -> None:
    whole = until(june(100, 100), 10)
    of_today = {date(2026, 6, 10): 40}, {date(2026, 6, 10): 400}
    found = [metering.forecast(whole | today, JUNE, date(2026, 6, 10), date(2026, 5, 31)) for today in of_today]
    assert found == [3000, 3300]


def test_on_the_first_days_the_month_before_tells_and_without_a_whole_day_nothing_does() -> None:
    may = {date(2026, 5, 1) + timedelta(days=n): 10 for n in range(31)}
    assert metering.forecast(may, JUNE, JUNE, date(2026, 5, 1)) == 300
    assert metering.forecast({JUNE: 10}, JUNE, JUNE, JUNE) is None
    assert metering.forecast({JUNE: 10}, JUNE, date(2026, 6, 2), JUNE) is None, "the first day was counted in part"
    assert metering.forecast(june(5, 5), JUNE, date(2026, 7, 3), JUNE) == 150, "it is over"


def test_a_budget_warns_at_80_percent_and_stops_at_all_of_it() -> None:
    assert [metering.budget_state(spent, 1000) for spent in (0, 799, 800, 999, 1000, 2000)] == [
        "ok", "ok", "warning", "warning", "stopped", "stopped",
    ]  # fmt: skip
    assert metering.budget_state(5, 0) == "none"
    assert metering.budget_text(799, 1000, NOW) == ""
    assert metering.budget_text(800, 1000, NOW).startswith("800 of this month's 1,000 transactions with Sage are used (80 %)")
    assert "until 2026-07-01" in metering.budget_text(1000, 1000, NOW)


def job(**timing: str) -> Job:
    return Job(job="GetSuppliers", company="100", **timing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timing", "runs"),
    [({"every": "1h"}, 24), ({"cron": "0 5 * * *"}, 1), ({"cron": "0 5 * * 1-5"}, 5 / 7), ({"every": "2d"}, 0.5), ({}, 0)],
)
def test_how_often_a_job_is_due(timing: dict[str, str], runs: float) -> None:
    assert metering.starts_a_day(job(**timing), NOW) == pytest.approx(runs, abs=0.05)


def test_another_schedule_saves_calls_or_costs_more() -> None:
    half = metering.saving(job(every="1h"), 3, NOW)
    assert (half.month, half.saved) == (pytest.approx(2160, abs=4), pytest.approx(1080, abs=4))
    assert metering.saving(job(every="1h"), 3, NOW, "4h").saved == pytest.approx(1620, abs=4)
    assert metering.saving(job(every="1d"), 3, NOW, "0 */2 * * *").saved == pytest.approx(-990, abs=4)
    with pytest.raises(ValueError, match="every"):
        metering.saving(job(every="1d"), 3, NOW, "soon")


def test_what_a_run_costs_is_what_most_cost() -> None:
    assert metering.usual_calls([900, 12, 12, 13, 0]) == 12.5
    assert metering.usual_calls([]) == 0
