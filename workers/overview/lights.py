"""How all connections are: a traffic light with its reasons, queues, slots, token, jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from connect import metering
from connect.catalogue import catalogue
from connect.config import Job
from connect.config.cron import Cron
from connect.config.names import DOCUMENT_JOBS
from connect.state.dead_letters import UNKNOWN
from connect.state.glance import Glance, JobGlance, glances
from connect.state.notices import Failing, Notices
from connect.state.pauses import Hold, Pause, direction_of, hold_on, rests_of
from connect.state.reports import Glimpse
from workers import queues as queue
from workers.documents import tools_of
from workers.jobs import SCHEDULE, STAGES, ConnectionTools, Tools
from workers.overview.history import Run, run_of
from workers.overview.model import Model, chosen_of

Light = Literal["green", "amber", "red"]
REMEMBERED: Final = 4096  # times of next runs
AT_ONCE: Final = 25  # connections that are looked at in one exchange


class Reason(Model):
    """Why a light is not green."""

    light: Light = Field(description="How bad it is by itself.")
    kind: str = Field(description="A word for what it is: auth, no-worker, failed, receipt-refused, receipt-late, paused, held, …")
    text: str = Field(description="For a person.")
    job: str = Field(default="", description="The job it is about, if one.")
    about: str = Field(default="", description="The stage without worker, or whose dead letters they are; empty for other kinds.")
    owner: str = Field(default="operator", description="Whose turn it is.")
    channel: str = Field(default="", description="The channel of notifications it is about, if one.")


class StageQueue(Model):
    """What waits for one stage."""

    depth: int = Field(description="Jobs of this connection in the queue, those being worked on included.")
    oldest_s: float = Field(description="How long the oldest has been due, in seconds.")
    in_flight: int = Field(description="Jobs being worked on, a few seconds ago.")
    workers: int = Field(description="Live workers of this stage, for all connections.")


class SlotUse(Model):
    """Requests at once at Sage."""

    used: int = Field(description="Slots of the Sage company held now, by all connections.")
    limit: int = Field(description="How many there are.")
    throttled_s: float = Field(description="Sage said 429: nobody calls it for so many seconds; 0 when it did not.")


class Token(Model):
    """Our token for Sage."""

    state: Literal["valid", "none", "refused"] = Field(
        description="none: nobody has needed one, or it ran out; one is asked for when needed."
    )
    valid_until: datetime | None = Field(default=None, description="When it ends.")
    reason: str = Field(default="", description="Why it was refused, in the words of Sage's identity server.")


class Paused(Model):
    """What a person has paused."""

    what: str = Field(description="all, job:NAME or direction:inbound|outbound.")
    reason: str = Field(description="Why.")
    by: str = Field(description="Who.")
    since: datetime = Field(description="Since when.")
    text: str = Field(description="For a person.")


class Resting(Model):
    """A connection that rests, wholly or in part."""

    connection: str = Field(description="The connection's name.")
    paused: list[Paused] = Field(description="What persons have paused.")
    not_let_in: list[str] = Field(description="Why Sage or Prime do not let us in; that ends by itself once they do.")


class JobState(Model):
    """One job of one company."""

    job: str = Field(description="Its name.")
    company: str = Field(description="The company in Prime.")
    direction: Literal["inbound", "outbound"] = Field(description="inbound: registers; outbound: documents.")
    active: bool = Field(description="Whether it runs at all.")
    schedule: str = Field(description="Its cron expression or interval; empty: once, and when it is asked for.")
    running: Run | None = Field(description="The run that is on.")
    last: Run | None = Field(description="The newest run that has ended.")
    complete_at: datetime | None = Field(description="When the newest run that read everything asked for began.")
    next_at: datetime | None = Field(description="When it is due next; null without a schedule, or when it is paused.")
    is_wanted: bool = Field(description="A person has asked for it, and it has not started yet.")
    late_since: datetime | None = Field(description="It was due then and has not been complete since.")
    paused: str = Field(description="Why it is paused, and by whom; empty when it is not.")
    receipts_waiting: int = Field(description="Documents that Prime lists and that have no receipt yet.")
    oldest_receipt_at: datetime | None = Field(description="Since when the oldest of those is known.")
    receipts_refused: int = Field(description="Documents booked in Sage whose receipt Prime refuses: a person must look.")


class CompanyState(Model):
    """One company of one connection: a line of the overview."""

    connection: str = Field(description="The connection's name.")
    company: str = Field(description="The company in Prime.")
    light: Light = Field(description="The worst of the reasons; green without any.")
    reasons: list[Reason] = Field(description="What is wrong, the most urgent first.")
    queues: dict[str, StageQueue] = Field(description="By stage: schedule, fetch, write, post; of the connection.")
    counted_at: datetime = Field(description="When the queues were counted: a minute ago at most when very much waits.")
    slots: SlotUse
    token: Token
    jobs: list[JobState] = Field(description="In the order of the configuration; those of this company.")
    paused: list[Paused] = Field(description="What persons have paused of this connection.")
    dead_letters: dict[str, int] = Field(description="Open ones by whose turn it is.")
    transactions_month: int = Field(description="What Sage counts this month, for the whole Sage company.")


class Overview(Model):
    """How all is."""

    at: datetime = Field(description="When this was looked at.")
    light: Light = Field(description="The worst of all.")
    companies: list[CompanyState] = Field(description="In the order of the configuration.")
    queues: dict[str, StageQueue] = Field(description="By stage, of all connections together.")


async def overview(tools: Tools, *, connection: str | None = None, company: str | None = None) -> Overview:
    """All companies of all connections, or of one. Costs Redis one script per connection, however much waits or lies there."""
    chosen = chosen_of(tools, connection)
    queues, mute = await queue.look(tools.redis), await _mute(tools)

    async def states(some: Sequence[ConnectionTools]) -> list[CompanyState]:
        now, tokens = tools.clock(), [one.tokens.key for one in some]
        seen = await glances(tools.redis, [one.connection for one in some], tokens, queues.now_ms, now)
        return [
            _company_state(one, glance, code, queues, now, mute.get(one.connection.name, ()))
            for one, glance in zip(some, seen, strict=True)
            for code in one.connection.companies
            if company in (None, code)
        ]

    # While Redis looks at the next ones, these are put together.
    groups = await asyncio.gather(*(states(chosen[start : start + AT_ONCE]) for start in range(0, len(chosen), AT_ONCE)))
    found = [one for group in groups for one in group]
    return Overview(at=tools.clock(), light=_worst([one.light for one in found]), companies=found, queues=_of_all(queues))


async def stage_queues(tools: Tools, connection: str | None = None) -> dict[str, StageQueue]:
    """By stage: what waits of one connection, or of all."""
    queues = await queue.look(tools.redis)
    return _of_all(queues) if connection is None else _of_one(queues, chosen_of(tools, connection)[0].connection.sid)


def _of_all(queues: queue.Queues) -> dict[str, StageQueue]:
    return {
        stage: StageQueue(
            depth=queues.depths[stage],
            oldest_s=max((waiting.oldest_s(queues.now_ms) for waiting in queues.waiting[stage].values()), default=0.0),
            in_flight=sum(queues.running.get(stage, {}).values()),
            workers=queues.alive[stage],
        )
        for stage in STAGES
    }


def _of_one(queues: queue.Queues, sid: str) -> dict[str, StageQueue]:
    return {
        stage: StageQueue(
            depth=queues.of(stage, sid).jobs,
            oldest_s=queues.of(stage, sid).oldest_s(queues.now_ms),
            in_flight=queues.in_flight(stage, sid),
            workers=queues.alive[stage],
        )
        for stage in STAGES
    }


async def resting(tools: Tools, connection: str | None = None) -> list[Resting]:
    """The connections that rest, wholly or in part, and why."""
    chosen = chosen_of(tools, connection)
    found = await rests_of(tools.redis, [one.connection.sid for one in chosen])
    return [
        Resting(connection=one.connection.name, paused=[paused_of(hold) for hold in holds], not_let_in=reasons)
        for one, (holds, reasons) in zip(chosen, found, strict=True)
        if holds or reasons
    ]


async def _mute(tools: Tools) -> dict[str, list[Failing]]:
    """The channels that do not get through, by the connections of which they should tell."""
    channels = tools.config.notifications
    failing = await Notices(tools.redis).failing(channel.name for channel in channels) if channels else []
    found: dict[str, list[Failing]] = {}
    for one in failing:
        channel = next(channel for channel in channels if channel.name == one.channel)
        for name in channel.connections or [connection.name for connection in tools.config.connections]:
            found.setdefault(name, []).append(one)
    return found


def _company_state(
    one: ConnectionTools,
    glance: Glance,
    company: str,
    queues: queue.Queues,
    now: datetime,
    mute: Sequence[Failing],
) -> CompanyState:
    name, sid = one.connection.name, one.connection.sid
    late_after = timedelta(minutes=one.connection.late_after_minutes)
    jobs = [
        _job_state(name, job, seen, glance.holds, now, late_after)
        for job, seen in zip(one.connection.jobs, glance.jobs, strict=True)
        if job.company == company
    ]
    told_token = one.tokens.told(glance.token, glance.token_refused)
    token = Token(
        state=told_token.state,  # type: ignore[arg-type]  # one of the three
        valid_until=datetime.fromtimestamp(told_token.expires_at, UTC) if told_token.expires_at else None,
        reason=told_token.reason,
    )
    waiting = _of_one(queues, sid)
    letters = dict(glance.letters.get(company, {}))
    reasons = reasons_of(
        pauses=list(glance.pauses.values()),
        token=token,
        queues=waiting,
        jobs=jobs,
        holds=glance.holds,
        letters=letters,
        throttled_s=glance.throttled_s,
        now=now,
        receipt_after=timedelta(minutes=one.connection.receipt_after_minutes),
        doubt=_doubt(one, glance, company, queues.now_ms / 1000),
        mute=mute,
        spent=glance.spent_month,
        budget=one.connection.transactions_month_budget,
        differs=differs_of(glance.report, company),
    )
    return CompanyState(
        connection=name,
        company=company,
        light=_worst([reason.light for reason in reasons]),
        reasons=reasons,
        queues=waiting,
        counted_at=datetime.fromtimestamp(queues.at_ms / 1000, UTC),
        slots=SlotUse(used=glance.slots_used, limit=one.connection.sage_slots, throttled_s=glance.throttled_s),
        token=token,
        jobs=jobs,
        paused=[paused_of(hold) for hold in glance.holds],
        dead_letters=letters,
        transactions_month=glance.transactions_month,
    )


def _job_state(name: str, job: Job, seen: JobGlance, holds: Sequence[Hold], now: datetime, late_after: timedelta) -> JobState:
    hold = hold_on(holds, job.job)
    newest = max((run.started_at for run in (seen.running, seen.last) if run is not None), default=None)
    next_at = None if hold or not job.active else _next_at(job, newest, now)
    return JobState(
        job=job.job,
        company=job.company,
        direction=direction_of(job.job),
        active=job.active,
        schedule=job.cron or job.every or "",
        running=run_of(name, seen.running, now),
        last=run_of(name, seen.last, now),
        complete_at=seen.complete_at,
        next_at=next_at,
        is_wanted=seen.is_wanted,
        late_since=None if hold else late_since(job, seen.complete_at, seen.last is not None, now, late_after),
        paused=hold.text if hold else "",
        receipts_waiting=seen.waiting,
        oldest_receipt_at=seen.waiting_since,
        receipts_refused=seen.unreceived,
    )


def _next_at(job: Job, started_at: datetime | None, now: datetime) -> datetime | None:
    """When it is due; now for one that never ran."""
    return now if started_at is None else _due_after(job.cron, job.every, job.offset_minutes, job.timezone, started_at)


def late_since(job: Job, complete_at: datetime | None, has_run: bool, now: datetime, late_after: timedelta) -> datetime | None:
    """When a job was due that has not been complete since, if that is longer ago than `late_after`. One that never ran is not late."""
    if not job.active or not job.is_scheduled or complete_at is None or not has_run:
        return None
    due_at = _due_after(job.cron, job.every, job.offset_minutes, job.timezone, complete_at)
    return due_at if due_at is not None and due_at + late_after < now else None


@lru_cache(maxsize=REMEMBERED)
def _due_after(cron: str | None, every: str | None, offset_minutes: int, timezone: str, started_at: datetime) -> datetime | None:
    if cron is not None:
        return Cron.parse(cron).next_after(started_at, ZoneInfo(timezone))
    if every is None:
        return None
    step = timedelta(minutes=int(every.strip()[:-1]) * {"m": 1, "h": 60, "d": 1440}[every.strip()[-1]])
    start = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=offset_minutes)
    return start + ((started_at - start) // step + 1) * step


def reasons_of(
    *,
    pauses: Sequence[Pause],
    token: Token,
    queues: Mapping[str, StageQueue],
    jobs: Sequence[JobState],
    holds: Sequence[Hold],
    letters: Mapping[str, int],
    throttled_s: float,
    now: datetime,
    receipt_after: timedelta,
    mute: Sequence[Failing] = (),
    spent: int = 0,
    budget: int = 0,
    doubt: str = "",
    differs: Sequence[str] = (),
) -> list[Reason]:
    """Why a company is not green, the most urgent first. `pauses`: where we are not let in; `mute`: channels that do not get through;
    `spent`, `budget`: transactions of the month; `doubt`: why documents wait although nothing is wrong with them; `differs`: what the last
    report of `connect reconcile` says.
    """
    owners = {pause.reason: pause.owner or _owner_of(pause.reason) for pause in pauses}
    found = [Reason(light="red", kind="auth", text=f"not let in: {reason}", owner=owner) for reason, owner in owners.items()]
    if token.state == "refused" and not pauses:
        owner = _owner_of(token.reason, "credentials")
        found.append(Reason(light="red", kind="auth", text=f"Sage gives us no token: {token.reason}", owner=owner))
    for stage, waiting in queues.items():
        if waiting.depth and not waiting.workers and stage != SCHEDULE:
            many = f"{waiting.depth:,} job{'s wait' if waiting.depth > 1 else ' waits'}"
            found.append(Reason(light="red", kind="no-worker", text=f"no worker is alive for {stage}, and {many}", about=stage))
    if not queues[SCHEDULE].workers and any(job.active for job in jobs):
        text = "no worker is alive for schedule: nothing starts by itself"
        found.append(Reason(light="red", kind="no-worker", text=text, about=SCHEDULE))
    found += [
        Reason(light="red", kind="failed", text=f"{job.job} failed: {job.last.reason}", job=job.job)
        for job in jobs
        if job.last is not None and job.last.state == "failed" and job.running is None and job.active
    ]
    for job in jobs:
        if job.receipts_refused:
            many = f"{job.receipts_refused:,} document{'s are' if job.receipts_refused > 1 else ' is'}"
            text = f"{job.job}: {many} booked in Sage, and Prime refuses the receipt"
            found.append(Reason(light="red", kind="receipt-refused", text=text, job=job.job, owner="consultant"))
    for job in jobs:
        if job.oldest_receipt_at is not None and now - job.oldest_receipt_at > receipt_after:
            many = f"{job.receipts_waiting:,} document{'s wait' if job.receipts_waiting > 1 else ' waits'}"
            text = f"{job.job}: {many} for a receipt, the oldest for {_long(now - job.oldest_receipt_at)}"
            found.append(Reason(light="amber", kind="receipt-late", text=text, job=job.job))
    if doubt:
        found.append(Reason(light="amber", kind="doubt", text=doubt))
    if told := metering.budget_text(spent, budget, now):
        light: Light = "red" if metering.budget_state(spent, budget) == "stopped" else "amber"
        found.append(Reason(light=light, kind="budget", text=told))
    found += [Reason(light="amber", kind="paused", text=hold.text, job=hold.what.partition("job:")[2]) for hold in holds]
    for job in jobs:
        if job.last is not None and job.last.state == "held" and job.running is None and job.active:
            text = f"{job.job} waits for a person: {job.last.reason}"
            found.append(Reason(light="amber", kind="held", text=text, job=job.job, owner="consultant"))
    for job in jobs:
        if job.late_since is not None:
            text = f"{job.job} is older than its schedule: due {_long(now - job.late_since)} ago"
            found.append(Reason(light="amber", kind="late", text=text, job=job.job))
    for owner, number in sorted(letters.items(), key=lambda item: -item[1]):
        found.append(
            Reason(
                light="amber",
                kind="dead-letters",
                text=f"{number:,} dead letter{'s' if number > 1 else ''} for the {owner.removeprefix('the ')}",
                about=owner,
                owner=owner.removeprefix("the "),
            )
        )
    found += [Reason(light="amber", kind="reconcile", text=text) for text in differs]
    if throttled_s:
        found.append(Reason(light="amber", kind="throttled", text=f"Sage asks us to wait {throttled_s:.0f} s"))
    for one in mute:
        text = f"nobody is told on {one.channel}, since {_long(now - one.since)}: {one.why}"
        found.append(Reason(light="amber", kind="notification", text=text, channel=one.channel))
    if jobs and all(job.last is None and job.running is None for job in jobs):
        found.append(Reason(light="amber", kind="new", text="no run yet"))
    return sorted(found, key=lambda reason: reason.light != "red")  # stable: the order above within each


def differs_of(report: Glimpse, company: str) -> list[str]:
    """What of a connection's last report a person of this company must look at."""
    found = []
    if report.summary is not None and (many := report.summary.companies.get(company, 0) + report.summary.companies.get("", 0)):
        when = report.summary.made_at[:16].replace("T", " ")
        text = f"{many:,} difference{'s' if many > 1 else ''} between Sage, Prime and the journal, which no run mends ({when} UTC)"
        found.append(text)
    if report.summary is not None and report.summary.trouble:
        found.append(f"Sage, Prime and the journal were compared in part only: {report.summary.trouble}")
    if report.error:
        found.append(f"Sage, Prime and the journal could not be compared: {report.error}")
    return found


def _owner_of(reason: str, code: str = "") -> str:
    """Who can let us in again, as the catalogue has it."""
    entry = catalogue().explain("", code, reason)
    return entry.owner if entry is not None else UNKNOWN[0]


def _doubt(one: ConnectionTools, glance: Glance, company: str, now_s: float) -> str:
    """Why nothing is made in Sage for now (journal.py, `trusted_from_s`); empty when nothing holds it up, or there are no documents."""
    if one.documents is None or not any(job.active and job.company == company and job.job in DOCUMENT_JOBS for job in one.connection.jobs):
        return ""
    journal, settle_s = tools_of(one).journal, tools_of(one).settle_s
    from_s = max(glance.remembers_from_s, glance.distrusted_until_s)
    ends_s = from_s + journal.lock_s + settle_s
    if ends_s <= now_s:
        return ""
    why = (
        "Redis may have lost its last writes"
        if glance.remembers_from_s >= glance.distrusted_until_s
        else "another Connect had them, and what it may have under way must show in Sage first"
    )
    return f"documents wait until {datetime.fromtimestamp(ends_s, UTC):%H:%M:%S} UTC because {why}"


def _worst(lights: Sequence[Light]) -> Light:
    return "red" if "red" in lights else "amber" if "amber" in lights else "green"


def _long(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def paused_of(hold: Hold) -> Paused:
    return Paused(what=hold.what, reason=hold.reason, by=hold.by, since=hold.since, text=hold.text)
