"""What Sage's calls came to, as `connect usage` shows it: counted by the clients, added up and looked ahead by connect/metering.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from connect import metering
from connect.config import Connection, Job
from connect.config.names import DOCUMENT_JOBS
from connect.errors import ConfigError
from connect.state.histories import calls_among
from connect.state.usage import WHAT, Counted, counted_among
from workers import acts
from workers.jobs import Tools
from workers.overview.model import chosen_of

COMMANDS: Final = "(commands)"  # the console, doctor, plan: what no job asks for
RUNS: Final = 30  # of a job, the newest: what one costs


async def usage(tools: Tools, *, month: str = "", connection: str | None = None, schedules: Sequence[str] = ()) -> dict[str, Any]:
    """The document of `connect usage --json`. `month`: 2026-11, this one unless said otherwise; `schedules`: what if, as GetSuppliers=4h.

    Raises ConfigError for a month or schedule that is none.
    """
    now = tools.clock().astimezone(UTC)
    first = _month(month, now)
    other = dict(_schedule(text) for text in schedules)
    acts.check_names(tools, connection, None, None)
    for job in other:
        acts.check_names(tools, connection, None, job)
    chosen = chosen_of(tools, connection)
    for one in chosen:
        await one.usage.flush()
    sids = [one.connection.sid for one in chosen]
    month, before = f"{first:%Y%m}", f"{first - timedelta(days=1):%Y%m}"
    counted = await counted_among(tools.redis, sids, [month, before])
    begun = datetime.combine(metering.next_month(first), time(), UTC)
    metered = {one.connection.sid: [job for job in one.connection.jobs if _is_metered(job, other)] for one in chosen}
    wanted = [(sid, job.company, job.job) for sid, jobs in metered.items() for job in jobs]
    costs = await calls_among(tools.redis, wanted, begun, RUNS)
    found = [
        _connection(one.connection, since, months[month], months[before], first, now)
        | {"schedules": [_saving(job, costs[one.connection.sid, job.company, job.job], now, other) for job in metered[one.connection.sid]]}
        for one, (since, months) in zip(chosen, counted, strict=True)
    ]
    return {"month": f"{first:%Y-%m}", "at": now.isoformat(timespec="seconds"), "connections": found}


def _month(text: str, now: datetime) -> date:
    if not text:
        return now.date().replace(day=1)
    try:
        return metering.month_of(text)
    except ValueError:
        raise ConfigError(f"--month {text}: expected a year and a month, such as {now:%Y-%m}", code="month") from None


def _schedule(text: str) -> tuple[str, str]:
    job, given, timing = text.partition("=")
    if not given or not timing.strip():
        raise ConfigError(f"--if {text}: expected JOB=TIME, such as GetSuppliers=4h or 'GetSuppliers=0 5 * * *'", code="schedule")
    return job.strip(), timing.strip()


def _connection(
    connection: Connection,
    since: datetime | None,
    counted: Sequence[Counted],
    earlier: Sequence[Counted],
    first: date,
    now: datetime,
) -> dict[str, Any]:
    """`counted`, `earlier`: this month and the one before."""
    numbers: dict[str, int] = {what: sum(each.number for each in counted if each.what == what) for what in WHAT}
    jobs, ahead = _jobs(counted, earlier, first, now, since)
    budget, spent = connection.transactions_month_budget, numbers["transactions"]
    return {
        "name": connection.name,
        "sage_company": connection.sage_company,
        "counted_since": since.isoformat() if since else None,
        **numbers,
        "counts_against_entitlement": 0 if connection.marketplace_client else spent,
        "marketplace": spent if connection.marketplace_client else 0,
        "forecast": ahead,
        "budget": {
            "transactions": budget,
            "state": metering.budget_state(spent, budget),
            "text": metering.budget_text(spent, budget, now) if first == now.date().replace(day=1) else "",
        },
        "jobs": jobs,
        "objects": _by(counted, lambda each: each.operation),
        "days": _by(counted, lambda each: (first + timedelta(days=each.day - 1)).isoformat()),
        "rows": [
            {
                "company": company,
                "job": job,
                "operation": operation,
                "day": (first + timedelta(days=day - 1)).isoformat(),
                **values,
            }
            for (company, job, operation, day), values in sorted(_cells(counted).items())
        ],
    }


def _cells(counted: Sequence[Counted]) -> dict[tuple[str, str, str, int], dict[str, int]]:
    found: dict[tuple[str, str, str, int], dict[str, int]] = {}
    for each in counted:
        where = each.company, each.job or COMMANDS, each.operation, each.day
        found.setdefault(where, dict.fromkeys(WHAT, 0))[each.what] += each.number
    return found


def _by(counted: Sequence[Counted], name: Any) -> list[dict[str, Any]]:
    numbers = {what: metering.by((name(each), each.number) for each in counted if each.what == what) for what in WHAT}
    names = sorted(numbers["calls"], key=lambda key: (-numbers["transactions"].get(key, 0), key))
    return [{"name": key, **{what: numbers[what].get(key, 0) for what in WHAT}} for key in names]


def _jobs(
    counted: Sequence[Counted], earlier: Sequence[Counted], first: date, now: datetime, since: datetime | None
) -> tuple[list[dict[str, Any]], int | None]:
    """By company and job, with each one's forecast; and the forecast of all, None while no whole day is known."""
    cells: dict[tuple[str, str], Counter[str]] = {}
    days: dict[tuple[str, str], Counter[date]] = {}
    before = (first - timedelta(days=1)).replace(day=1)
    for month, its in ((before, earlier), (first, counted)):
        for each in its:
            where = each.company, each.job or COMMANDS
            if month == first:
                cells.setdefault(where, Counter())[each.what] += each.number
            if each.what == "transactions":
                days.setdefault(where, Counter())[month + timedelta(days=each.day - 1)] += each.number
    found: list[dict[str, Any]] = []
    total = 0
    is_known = since is not None
    for where in sorted({*cells, *days}):
        ahead = metering.forecast(days.get(where, {}), first, now.date(), since.date()) if since is not None else None
        is_known = is_known and ahead is not None
        total += ahead or 0
        if where in cells:
            numbers = {str(what): cells[where][what] for what in WHAT}
            found.append({"company": where[0], "job": where[1], **numbers, "forecast": ahead})
    return sorted(found, key=lambda row: -row["transactions"]), total if is_known else None


def _is_metered(job: Job, other: Mapping[str, str]) -> bool:
    """Documents cost by the document, whenever they are asked for."""
    return job.job not in DOCUMENT_JOBS and job.active and (job.is_scheduled or job.job in other)


def _saving(job: Job, calls: Sequence[int], now: datetime, other: Mapping[str, str]) -> dict[str, Any]:
    """What the schedule of a register's job costs, and what another would. `calls`: of its newest runs."""
    try:
        found = metering.saving(job, metering.usual_calls(calls), now, other.get(job.job, ""))
    except ValueError:
        text = f"--if {job.job}={other[job.job]}: expected a time such as 4h, or a cron expression such as '0 5 * * *'"
        raise ConfigError(text, code="schedule") from None
    return {
        "job": job.job,
        "company": job.company,
        "calls_a_run": found.calls_a_run,
        "runs_a_day": round(found.runs_a_day, 2),
        "calls_a_month": found.month,
        "other": found.other,
        "saved_a_month": found.saved,
    }
