"""What is due starts in its turn: starts of several companies are spaced, and nothing starts in Sage's maintenance."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline import NOW, Pipeline

from connect.config import Job
from workers.jobs import ConnectionTools
from workers.producers import start_due, want

NAMES = ("GetBoxes", "GetThings", "ExportInvoices")
Make = Callable[..., Pipeline]


def scheduled(box: Pipeline, *, companies: tuple[str, ...] = ("100", "200"), **changes: object) -> ConnectionTools:
    jobs = [
        Job.model_validate({"job": name, "company": company, "every": "1h"}, context={"jobs": NAMES})
        for company in companies
        for name in NAMES
    ]
    return replace(box.connection, connection=box.connection.connection.model_copy(update={"jobs": jobs, **changes}))


async def minutes(box: Pipeline, tools: ConnectionTools, begin: datetime, count: int = 60) -> list[tuple[int, str, str]]:
    """(minute, job, company) of what a tick a minute starts; each run ends at once."""
    found = []
    for minute in range(count):
        now = begin + timedelta(minutes=minute)
        for run in await start_due(box.tools, tools, now):
            record = await tools.runs.record(run)
            assert record is not None
            found.append((minute, record.job, record.company))
            await tools.runs.end(run, now)
    return found


HOUR = NOW + timedelta(hours=1)


async def test_first_runs_start_at_once_and_later_ones_of_several_companies_8_minutes_apart(make: Make) -> None:
    box = make(companies=("100", "200"), jobs=NAMES[:2], starts_due=True)
    tools = scheduled(box)
    first = await minutes(box, tools, NOW, 3)
    assert sorted({job for _, job, _ in first}) == sorted(NAMES)
    assert {minute for minute, _, _ in first} == {0, 1}, "things wait for boxes, and for nothing else"
    later = await minutes(box, tools, HOUR)
    assert later == [
        (0, "GetBoxes", "100"), (0, "GetBoxes", "200"), (8, "GetThings", "100"), (8, "GetThings", "200"),
        (16, "ExportInvoices", "100"), (24, "ExportInvoices", "200"),
    ]  # fmt: skip


async def test_one_company_does_not_wait_for_itself(make: Make) -> None:
    box = make(jobs=NAMES[:2], starts_due=True)
    tools = scheduled(box, companies=("100",))
    await minutes(box, tools, NOW, 3)
    assert [(minute, job) for minute, job, _ in await minutes(box, tools, HOUR)] == [
        (0, "GetBoxes"),
        (0, "ExportInvoices"),
        (1, "GetThings"),
    ]


async def test_what_a_person_asks_for_does_not_wait_for_its_turn(make: Make) -> None:
    box = make(companies=("100", "200"), jobs=NAMES[:2], starts_due=True)
    tools = scheduled(box)
    await minutes(box, tools, NOW, 3)
    box.tools.connections[tools.connection.sid] = tools
    await minutes(box, tools, HOUR, 1)
    await want(box.tools, company="200", job="ExportInvoices")
    found = await minutes(box, tools, HOUR + timedelta(minutes=1), 12)
    assert found == [(0, "ExportInvoices", "200"), (8, "GetThings", "100"), (8, "GetThings", "200")], "and the next waits 8 minutes from it"


async def test_nothing_that_is_due_starts_in_maintenance_but_all_of_it_after(make: Make) -> None:
    box = make(jobs=NAMES[:2], starts_due=True)
    tools = scheduled(box, companies=("100",), maintenance=("Mon 12:30-13:20",))
    assert HOUR.strftime("%a %H:%M") == "Mon 13:00"
    await minutes(box, tools, NOW, 3)
    assert [(minute, job) for minute, job, _ in await minutes(box, tools, HOUR, 40)] == [
        (20, "GetBoxes"), (20, "ExportInvoices"), (21, "GetThings"),
    ]  # fmt: skip
