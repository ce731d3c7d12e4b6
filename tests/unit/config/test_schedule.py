"""The plan of a day: space between starts, inbound before outbound, nothing in Sage's maintenance, no run beside itself."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect.config import Connection, Job, parse_config
from connect.config.schedule import Window, day_plan, rank
from tests.unit.config.test_mistakes import ENVIRON, GOOD

DAY = date(2026, 3, 3)  # a Tuesday


def connection(*jobs: Job, **changes: object) -> Connection:
    (made,) = parse_config(GOOD, path=Path("c.toml"), environ=ENVIRON).connections
    return made.model_copy(update={"jobs": list(jobs), **changes})


def job(name: str, company: str = "100", **options: object) -> Job:
    return Job(job=name, company=company, **({"every": "1d", "offset_minutes": 360} | options))


def shown(plan) -> list[str]:
    return [f"{start.at:%H:%M} {start.job} {'+'.join(start.companies)}" for start in plan.starts]


def test_one_company_starts_when_it_is_due_inbound_before_outbound():
    plan = day_plan(connection(job("ExportInvoices"), job("GetSuppliers"), job("GetAccounts")), DAY)
    assert shown(plan) == ["06:00 GetAccounts 100", "06:00 GetSuppliers 100", "06:00 ExportInvoices 100"]
    assert {start.held for start in plan.starts} == {""}


def test_several_companies_start_8_minutes_apart_and_share_what_is_read():
    names = ("ExportInvoices", "GetSuppliers", "GetAccounts")
    plan = day_plan(connection(*(job(name, company) for name in names for company in ("100", "200"))), DAY)
    assert shown(plan) == [
        "06:00 GetAccounts 100+200", "06:08 GetSuppliers 100+200", "06:16 ExportInvoices 100", "06:24 ExportInvoices 200",
    ]  # fmt: skip
    assert [(start.late_minutes, start.held) for start in plan.starts][1:] == [(n, "space between starts") for n in (8, 16, 24)]


def test_companies_that_read_other_entities_of_sage_do_not_share():
    jobs = (job("GetSuppliers", "100", sage_entity="A"), job("GetSuppliers", "200", sage_entity="B"))
    assert shown(day_plan(connection(*jobs), DAY)) == ["06:00 GetSuppliers 100", "06:08 GetSuppliers 200"]


def test_space_is_a_setting_and_none_is_kept_for_one_company():
    jobs = (job("GetAccounts"), job("GetSuppliers", "200"))
    assert shown(day_plan(connection(*jobs, spacing_minutes=30), DAY)) == ["06:00 GetAccounts 100", "06:30 GetSuppliers 200"]
    assert shown(day_plan(connection(*jobs, spacing_minutes=0), DAY)) == ["06:00 GetAccounts 100", "06:00 GetSuppliers 200"]
    assert connection(job("GetAccounts"), job("GetSuppliers", "200", active=False)).spacing == timedelta(0)


def test_job_is_held_back_while_its_run_before_goes_on():
    plan = day_plan(
        connection(job("ExportInvoices", every="6h", offset_minutes=0)), DAY, durations={("100", "ExportInvoices"): timedelta(hours=7)}
    )
    assert shown(plan) == ["04:00 ExportInvoices 100", "11:00 ExportInvoices 100", "18:00 ExportInvoices 100"]
    assert {start.held for start in plan.starts} == {"the run before goes on"}


def test_nothing_starts_in_maintenance_and_what_was_due_starts_after_it():
    made = connection(job("ExportInvoices", every="1h", offset_minutes=0), maintenance=("Tue 22:30-02:00",), timezone="UTC")
    plan = day_plan(made, DAY)
    assert shown(plan)[-1] == "22:00 ExportInvoices 100"
    assert plan.maintenance == [(datetime(2026, 3, 3, 22, 30, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC))]
    after = day_plan(made, DAY + timedelta(days=1))
    assert shown(after)[:2] == ["02:00 ExportInvoices 100", "03:00 ExportInvoices 100"]
    assert (after.starts[0].held, after.starts[0].late_minutes) == ("maintenance", 180)
    assert after.missed == {("100", "ExportInvoices"): 3}, "23:00, 00:00 and 01:00 are one start at 02:00 with that of 02:00"


def test_what_does_not_fit_is_counted_and_nobody_starves():
    jobs = [job("ExportInvoices", company, every="15m", offset_minutes=0) for company in ("100", "200", "300")]
    plan = day_plan(connection(*jobs), DAY)
    times = [sum(company in start.companies for start in plan.starts) for company in ("100", "200", "300")]
    assert min(times) >= 59
    assert all(
        times[n] + plan.missed.get((company, "ExportInvoices"), 0) in (95, 96, 97) for n, company in enumerate(("100", "200", "300"))
    )


def test_times_are_the_time_zones_of_the_connection_also_when_clocks_change():
    made = connection(job("GetAccounts", cron="30 6 * * *", every=None, timezone="Europe/Stockholm"), timezone="Europe/Stockholm")
    assert [f"{start.at:%H:%M}" for day in (28, 29) for start in day_plan(made, date(2026, 3, day)).starts] == ["05:30", "04:30"]


@pytest.mark.parametrize(
    ("every", "offset", "times"),
    [
        ("1d", 360, ["06:00+01:00", "06:00+02:00", "06:00+02:00"]),
        (
            "6h",
            60,
            ["01:00+01:00", "07:00+01:00", "13:00+01:00", "19:00+01:00", "01:00+01:00", "08:00+02:00", "14:00+02:00", "20:00+02:00"],
        ),
        ("12h", 0, ["00:00+01:00", "12:00+01:00", "00:00+01:00", "13:00+02:00", "00:00+02:00", "12:00+02:00"]),
    ],
)
def test_repeating_schedule_counts_from_midnight_on_the_wall_clock(every, offset, times):
    zone = ZoneInfo("Europe/Stockholm")
    made = job("GetAccounts", every=every, offset_minutes=offset, timezone="Europe/Stockholm")
    at, found = datetime(2026, 3, 28, tzinfo=zone) - timedelta(seconds=1), []  # clocks change in the night to the 29th
    for _ in times:
        at = made.next_start(at)
        found.append(at.astimezone(zone).isoformat(timespec="minutes")[11:])
    assert found == times


@given(
    st.sampled_from(["7m", "15m", "1h", "5h", "12h", "1d", "3d"]), st.integers(0, 1439), st.integers(0, 400 * 1440),
    st.sampled_from(["UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_repeating_schedule_goes_on_whatever_clocks_do(every, offset, minute, zone):
    made = job("GetAccounts", every=every, offset_minutes=offset, timezone=zone)
    after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    due = made.next_start(after)
    period = timedelta(minutes={"m": 1, "h": 60, "d": 1440}[every[-1]] * int(every[:-1]))
    assert timedelta(0) < due - after <= period + timedelta(hours=1 if zone != "UTC" else 0)
    assert made.next_start(due - timedelta(seconds=1)) == due


@pytest.mark.parametrize(
    "text", ["Sat", "Sat 22:00", "Sat 25:00-26:00", "Sat 22:61-23:00", "Day 22:00-23:00", "Sat 22:00-22:00", "22:00-23:00"]
)
def test_window_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match='expected a day and two times, such as "Sat 22:00-02:00"'):
        Window.parse(text)


def test_window_goes_over_midnight_and_ends():
    window = Window.parse("Saturday 22:00-02:00")
    assert window.until(datetime(2026, 3, 7, 21, 59, tzinfo=UTC), UTC) is None
    assert window.until(datetime(2026, 3, 8, 1, 59, tzinfo=UTC), UTC) == datetime(2026, 3, 8, 2, tzinfo=UTC)
    assert window.until(datetime(2026, 3, 8, 2, tzinfo=UTC), UTC) is None
    assert window.until(datetime(2026, 3, 6, 23, tzinfo=UTC), UTC) is None


jobs_of_a_day = st.lists(
    st.builds(
        job,
        st.sampled_from(["GetAccounts", "GetSuppliers", "ExportInvoices", "ExportPayments"]),
        st.sampled_from(["100", "200", "300"]),
        every=st.sampled_from(["15m", "1h", "4h", "1d"]),
        offset_minutes=st.integers(0, 1439),
        sage_entity=st.sampled_from(["", "A"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: (one.company, one.job),
)


@given(jobs_of_a_day, st.integers(0, 20), st.booleans())
@settings(max_examples=40, deadline=None)
def test_starts_are_apart_outside_maintenance_and_never_before_they_are_due(jobs, spacing, in_maintenance):
    made = connection(*jobs, spacing_minutes=spacing, maintenance=("Tue 10:00-12:30",) if in_maintenance else ())
    plan = day_plan(made, DAY)
    for start, following in zip(plan.starts, plan.starts[1:], strict=False):
        assert following.at - start.at >= made.spacing
        if start.at == following.at and start.due_at == following.due_at:
            assert rank(start.job) <= rank(following.job)
    for start in plan.starts:
        assert start.due_at <= start.at
        assert made.maintenance_until(start.at) is None
        assert bool(start.held) == (start.at > start.due_at)
