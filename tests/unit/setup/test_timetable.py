"""Schedules that `connect init` proposes."""

from __future__ import annotations

import itertools
import os
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from connect.config.load import parse_config
from connect.config.names import DOCUMENT_JOBS
from connect.config.schedule import day_plan
from connect.config.toml import dump
from connect.setup.answers import parse
from connect.setup.questions import Company
from connect.setup.tables import tables
from connect.setup.timetable import Planned, timetable
from tests.answers import GOOD


def planned_day(companies: int, entities: bool, begin: str):
    answers = parse(GOOD, Path("answers.toml"))
    answers.companies = [Company(str(100 + n), f"C{n}", "US", f"E{n}" if entities else "") for n in range(companies)]
    answers.values |= {"documents.invoices": True, "documents.start_on": date(2026, 1, 1), "schedule.begin": begin}
    for job in ("GetDimObjects", "GetAccounts", "GetVatCodes", "GetSuppliers", "documents"):
        answers.values[f"levels.{job}"] = "entity" if entities else "top"
    environ = os.environ | {"ACME_TEST_SAGE_SECRET": "x", "ACME_TEST_PRIME_PASSWORD": "x"}
    config = parse_config(dump(tables(answers)), path=Path("connect.toml"), environ=environ)
    return day_plan(config.connections[0], date(2026, 3, 3))


@pytest.mark.parametrize("begin", ["00:00", "01:00", "23:30"])
@pytest.mark.parametrize(("companies", "entities"), [(1, False), (2, False), (2, True), (5, True), (12, True)])
def test_starts_are_eight_minutes_apart_and_nothing_is_late_or_missed(companies, entities, begin):
    plan = planned_day(companies, entities, begin)
    times = [start.at for start in plan.starts]
    assert all(later - earlier >= timedelta(minutes=8) for earlier, later in itertools.pairwise(times))
    assert plan.missed == {}
    assert [start for start in plan.starts if start.late_minutes] == []


def test_registers_come_before_documents_in_every_period():
    plan = planned_day(1, False, "01:00")
    hours: dict[object, list[str]] = {}
    for start in plan.starts:
        hours.setdefault(start.at.replace(minute=0), []).append(start.job)
    assert len(hours) == 24
    for jobs in hours.values():
        inbound = [job not in DOCUMENT_JOBS for job in jobs]
        assert inbound == sorted(inbound, reverse=True)


def test_companies_that_read_the_same_start_together():
    times = timetable([Planned("GetAccounts", company, "") for company in ("100", "200")], time(1))
    assert len(set(times.values())) == 1
    times = timetable([Planned("GetAccounts", company, company) for company in ("100", "200")], time(1))
    assert len(set(times.values())) == 2


def test_more_than_a_day_holds_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="do not fit into a day"):
        timetable([Planned(job, str(n), str(n)) for n in range(60) for job in DOCUMENT_JOBS], time(1))
