from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connect.config.cron import Cron

STOCKHOLM = ZoneInfo("Europe/Stockholm")


def after(expression: str, *moment: int, zone=UTC) -> datetime:
    due = Cron.parse(expression).next_after(datetime(*moment, tzinfo=UTC), zone)
    assert due is not None
    return due


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("0 * * * *", (2026, 3, 1, 10, 0), (2026, 3, 1, 11, 0)),
        ("*/15 * * * *", (2026, 3, 1, 10, 16), (2026, 3, 1, 10, 30)),
        ("5/20 * * * *", (2026, 3, 1, 10, 26), (2026, 3, 1, 10, 45)),
        ("30 6-8,20 * * *", (2026, 3, 1, 8, 30), (2026, 3, 1, 20, 30)),
        ("0 0 1 * *", (2026, 12, 1, 0, 0), (2027, 1, 1, 0, 0)),
        ("0 0 29 2 *", (2026, 3, 1, 0, 0), (2028, 2, 29, 0, 0)),
        ("0 12 * * mon-fri", (2026, 10, 16, 12, 0), (2026, 10, 19, 12, 0)),
        ("0 12 * * 7", (2026, 10, 12, 12, 0), (2026, 10, 18, 12, 0)),
        ("0 0 13 * fri", (2026, 11, 6, 0, 0), (2026, 11, 13, 0, 0)),
        ("0 0 15 * mon", (2026, 10, 12, 0, 0), (2026, 10, 15, 0, 0)),
        ("0 0 * jan,dec *", (2026, 2, 1, 0, 0), (2026, 12, 1, 0, 0)),
        ("@daily", (2026, 12, 31, 23, 59), (2027, 1, 1, 0, 0)),
    ],
)
def test_next_time_is_the_first_that_matches(expression, moment, expected):
    assert after(expression, *moment) == datetime(*expected, tzinfo=UTC)


def test_times_are_those_of_the_wall_clock_of_the_zone():
    assert after("0 8 * * *", 2026, 7, 1, zone=STOCKHOLM) == datetime(2026, 7, 1, 6, tzinfo=UTC)
    assert after("0 8 * * *", 2026, 1, 1, zone=STOCKHOLM) == datetime(2026, 1, 1, 7, tzinfo=UTC)


def test_time_that_the_clock_change_skips_still_fires_that_day():
    assert after("30 2 * * *", 2026, 3, 28, 12, zone=STOCKHOLM) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_time_that_occurs_twice_fires_once():
    first = after("30 2 * * *", 2026, 10, 24, 12, zone=STOCKHOLM)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert Cron.parse("30 2 * * *").next_after(first, STOCKHOLM) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "minute '60' is not a number from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * foo *", "month 'foo'"),
        ("* * * * 8", "day of week '8'"),
        ("10-5 * * * *", "backwards"),
        ("*/0 * * * *", "minute '0'"),
        ("0 0 30 2 *", "no day of any year"),
        ("", "five fields"),
    ],
)
def test_bad_expression_says_which_field_is_wrong(expression, words):
    with pytest.raises(ValueError, match=words):
        Cron.parse(expression)
