"""`connect schedule`: what starts when on a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, tools_of_config, waited
from workers.screen import table

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config import Config, Connection
    from connect.config.schedule import DayPlan, Key

EXAMPLE: Final = (
    "Example:  connect schedule --day 2026-03-03 --json\n\n"
    "Runs are taken to last as long as they did last; when Redis does not answer, no time."
)


def schedule(
    config: ConfigOption = CONFIG_FILE,
    connection: Annotated[str | None, typer.Option("--connection", metavar="NAME", help="This one alone.")] = None,
    day: Annotated[datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Today unless said otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What starts when on a day: spaced where several companies have jobs, held back by Sage's maintenance and by runs that go on."""
    from zoneinfo import ZoneInfo

    from connect.config.schedule import day_plan

    begin(as_json, level=LogLevel.warning)
    loaded = load(config)
    chosen = [loaded.connection(connection)] if connection is not None else loaded.connections
    durations = waited(_durations(loaded))
    plans = []
    for one in chosen:
        on = day.date() if day is not None else datetime.now(ZoneInfo(one.timezone)).date()
        plans.append((one, day_plan(one, on, durations=durations.get(one.sid, {}))))
    document = {"connections": [_document(one, plan, durations.get(one.sid, {})) for one, plan in plans]}

    def human() -> None:
        for one in document["connections"]:
            _show(one)

    screen.result(document, human)


async def _durations(config: Config) -> dict[str, dict[Key, timedelta]]:
    """How long each job's newest run took, by connection."""
    from redis.exceptions import RedisError

    found: dict[str, dict[Key, timedelta]] = {}
    try:
        async with tools_of_config(config) as tools:
            for sid, one in tools.connections.items():
                for job in one.connection.jobs:
                    last = await one.runs.last(job.company, job.job)
                    if last is not None:
                        found.setdefault(sid, {})[job.company, job.job] = timedelta(seconds=last.duration_s)
    except (OSError, RedisError) as error:
        screen.say(f"Redis does not answer ({error}): how long runs take is not known, and each is taken to last no time")
    return found


def _document(connection: Connection, plan: DayPlan, durations: dict[Key, timedelta]) -> dict[str, Any]:
    local = plan.zone
    return {
        "name": connection.name,
        "day": plan.day.isoformat(),
        "timezone": connection.timezone,
        "spacing_minutes": int(plan.spacing.total_seconds() // 60),
        "maintenance": [
            {"from": begins.astimezone(local).isoformat(), "until": ends.astimezone(local).isoformat()} for begins, ends in plan.maintenance
        ],
        "starts": [
            {
                "at": start.at.astimezone(local).isoformat(timespec="minutes"),
                "due_at": start.due_at.astimezone(local).isoformat(timespec="minutes"),
                "job": start.job,
                "companies": list(start.companies),
                "late_minutes": start.late_minutes,
                "held": start.held,
                "minutes": round(
                    max(durations.get((company, start.job), timedelta(0)) for company in start.companies).total_seconds() / 60, 1
                ),
            }
            for start in plan.starts
        ],
        "missed": [{"company": company, "job": job, "times": times} for (company, job), times in sorted(plan.missed.items())],
        "compared": _compared(connection, plan),
        "without_schedule": [f"{job.job}, company {job.company}" for job in connection.jobs if job.active and not job.is_scheduled],
    }


def _compared(connection: Connection, plan: DayPlan) -> list[str]:
    """When a report of differences is due on the day."""
    from datetime import time

    from connect.config.cron import Cron

    if connection.reconcile is None:
        return []
    schedule, found = Cron.parse(connection.reconcile), []
    at: datetime | None = datetime.combine(plan.day, time(), plan.zone) - timedelta(seconds=1)
    while at is not None and (at := schedule.next_after(at, plan.zone)) is not None and at.astimezone(plan.zone).date() == plan.day:
        found.append(at.astimezone(plan.zone).isoformat(timespec="minutes"))
    return found


def _show(plan: dict[str, Any]) -> None:
    space = f", {plan['spacing_minutes']} minutes between starts" if plan["spacing_minutes"] else ""
    typer.echo(f"{plan['name']}, {plan['day']} ({plan['timezone']}){space}")
    for window in plan["maintenance"]:
        typer.echo(f"  Sage's maintenance {window['from'][11:16]} to {window['until'][11:16]}: nothing starts")
    rows = [
        (
            start["at"][11:16],
            start["job"],
            ", ".join(start["companies"]),
            f"{start['late_minutes']} min: {start['held']}" if start["held"] else "",
        )
        for start in plan["starts"]
    ]
    table(("start", "job", "companies", "later by"), rows)
    for one in plan["missed"]:
        typer.echo(missed_text(one["job"], one["company"], one["times"]) + ".")
    if plan["compared"]:
        times = ", ".join(at[11:16] for at in plan["compared"])
        typer.echo(f"Sage, Prime and the journal are compared at {times}, when nothing else is to be done.")
    if plan["without_schedule"]:
        typer.echo(f"Without a schedule, once and then when asked for: {'; '.join(plan['without_schedule'])}.")
    typer.echo("")


def missed_text(job: str, company: str, times: int) -> str:
    return (
        f"{job} of company {company} is due {times} times more that day than it can start: give it a longer time, or lower spacing_minutes"
    )
