"""The last report of differences, and when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connect.config.cron import Cron
from connect.state.reports import AGAIN_AFTER, ERROR_MOST, TRIES, Reports, Summary, glimpses

SATURDAYS = Cron.parse("0 5 * * 6")
FRIDAY = datetime(2026, 6, 5, 12, 0, tzinfo=UTC)
SATURDAY = datetime(2026, 6, 6, 5, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
A_MINUTE = timedelta(minutes=1)


def summary(made_at=SATURDAY):
    return Summary(made_at=made_at.isoformat(), by={"different": 2, "missing": 1}, waits=1, companies={"100": 2})


async def test_a_schedule_that_was_set_just_now_waits_for_its_time_and_is_due_until_a_report_was_begun(redis):
    reports = Reports(redis, "s")
    assert not await reports.is_due(SATURDAYS, UTC, FRIDAY - WEEK * 2)
    assert await reports.is_due(SATURDAYS, UTC, FRIDAY), "it has missed two"
    await reports.ended(FRIDAY, FRIDAY)
    assert not await reports.is_due(SATURDAYS, UTC, SATURDAY - A_MINUTE)
    assert await reports.is_due(SATURDAYS, UTC, SATURDAY + A_MINUTE)
    await reports.keep(summary(), b"{}")
    assert await reports.is_due(SATURDAYS, UTC, SATURDAY + A_MINUTE), "one by hand does not stand for that of the schedule"
    await reports.ended(SATURDAY + A_MINUTE, SATURDAY + A_MINUTE * 9)
    assert not await reports.is_due(SATURDAYS, UTC, SATURDAY + A_MINUTE * 10)


async def test_one_that_failed_is_tried_again_after_an_hour_a_few_times_and_told_until_one_was_made(redis):
    reports, now = Reports(redis, "s"), SATURDAY
    await reports.is_due(SATURDAYS, UTC, FRIDAY)
    for tried in range(1, TRIES + 1):
        assert await reports.is_due(SATURDAYS, UTC, now)
        await reports.ended(now, now, "Sage is away " + "x" * 9999)
        assert not await reports.is_due(SATURDAYS, UTC, now + AGAIN_AFTER - A_MINUTE)
        assert await reports.is_due(SATURDAYS, UTC, now + AGAIN_AFTER) == (tried < TRIES)
        now += AGAIN_AFTER
    (seen,) = await glimpses(redis, ["s"])
    assert (seen.error[:12], len(seen.error), seen.tried_at) == ("Sage is away", ERROR_MOST, now - AGAIN_AFTER)
    assert await reports.is_due(SATURDAYS, UTC, SATURDAY + WEEK)
    await reports.ended(SATURDAY + WEEK, SATURDAY + WEEK, "still away")
    assert await reports.is_due(SATURDAYS, UTC, SATURDAY + WEEK + AGAIN_AFTER), "the next week has its own tries"
    await reports.keep(summary(), b"{}")
    assert [(one.error, one.tried_at) for one in await glimpses(redis, ["s"])] == [("", None)]


async def test_the_last_report_is_kept_with_its_counts_and_each_connection_has_its_own(redis):
    await Reports(redis, "s").keep(summary(), b'{"found": 9}')
    await Reports(redis, "s").keep(summary(SATURDAY + WEEK), b'{"found": 3}')
    assert await Reports(redis, "s").last() == {"found": 3}
    assert await Reports(redis, "t").last() is None
    mine, other = await glimpses(redis, ["s", "t"])
    assert mine.summary == summary(SATURDAY + WEEK)
    assert mine.summary.found == 3
    assert other.summary is None
