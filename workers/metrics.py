"""What /metrics shows: the numbers in Redis, of all processes and connections, as Prometheus reads them.

One look costs a few commands per connection, in few pipelines, however much waits or was counted. Counts that Redis keeps anyway (runs,
rows, Sage's usage, errors) are read where they are; what only the workers know comes from connect/state/metrics.py.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, Final, Literal, NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from redis.asyncio import Redis
from redis.exceptions import RedisError

from connect.config import Connection
from connect.config.names import DOCUMENT_JOBS
from connect.ledger import Owner
from connect.state import epoch, reports
from connect.state.audit import Audit
from connect.state.dead_letters import APPROVAL
from connect.state.glance import Glance, glances
from connect.state.metrics import COUNTS, TIMES, Times, read_counts, read_times
from connect.state.notices import Notices
from connect.state.pauses import hold_on_all
from workers.jobs import FETCH, JOBS, POST, SCHEDULE, STAGES, WRITE, ConnectionTools, Tools, queue_name
from workers.overview import late_since
from workers.queues import Queues, look

OWNERS: Final = get_args(Owner)
LONGEST_LOOK_S: Final = 8.0  # Prometheus waits 10
Kind = Literal["gauge", "counter", "histogram"]
Value = float | Times
Labels = tuple[str, ...]
SYSTEMS: Final = ("sage", "prime")
RUNS: Final = ("done", "held", "failed")
ROWS: Final = ("read", "sent", "unchanged", "refused", "expired", "gone", "held", "undated", "submitted")
TRIED: Final = tuple((job.stage, name) for name, job in JOBS.items() if job.stage in (FETCH, WRITE, POST))


class Metric(NamedTuple):
    """One metric. Counters end with the processes' Redis, not with a process."""

    name: str
    kind: Kind
    labels: Labels
    help: str


_JOB: Final = ("connection", "company", "job")
METRICS: Final = (
    Metric("connect_build_info", "gauge", ("version", "python"), "Always 1; which version answers."),
    Metric("connect_redis_up", "gauge", (), "1 while Redis answers; 0: nothing else is shown."),
    Metric("connect_redis_epoch_timestamp_seconds", "gauge", (), "Since when Redis' memory can be trusted."),
    Metric("connect_connection_info", "gauge", ("connection", "environment", "sage_company"), "Always 1; what belongs to a connection."),
    Metric("connect_workers", "gauge", ("queue",), "Worker processes alive."),
    Metric("connect_queue_due", "gauge", ("queue",), "Jobs that are due and that nobody works on: what more workers would help with."),
    Metric("connect_queue_depth", "gauge", ("connection", "queue"), "Jobs in the queue: waiting, at work, or to come back later."),
    Metric("connect_queue_oldest_seconds", "gauge", ("connection", "queue"), "For how long the oldest job has been due."),
    Metric("connect_jobs_in_flight", "gauge", ("connection", "queue"), "Jobs at work."),
    Metric(
        "connect_jobs_total", "counter", ("connection", "queue", "operation", "outcome"),
        "Attempts of jobs by what came of them: done, failed, retried, throttled, not_let_in, paused, redis, fenced, handed_back.",
    ),
    Metric("connect_job_wait_seconds", "histogram", ("queue", "operation"), "From when a job was due until a worker took it."),
    Metric("connect_job_duration_seconds", "histogram", ("queue", "operation"), "How long an attempt took."),
    Metric("connect_runs_total", "counter", (*_JOB, "outcome"), "Runs that have ended: done, held (asks a person), failed."),
    Metric("connect_runs_failed_in_a_row", "gauge", _JOB, "Failed runs since the last one that did not."),
    Metric("connect_run_held", "gauge", _JOB, "1 when the newest run asks a person before it expires many rows or writes them anew."),
    Metric("connect_runs_in_flight", "gauge", ("connection",), "Runs that are on."),
    Metric("connect_rows_total", "counter", (*_JOB, "outcome"), "Rows and documents: read, sent, unchanged, refused, expired …"),
    Metric("connect_sync_age_seconds", "gauge", _JOB, "The lag: since the newest run began that read all and ended well."),
    Metric("connect_sync_overdue_seconds", "gauge", _JOB, "For how long the next run has been late by its schedule; 0: it is not."),
    Metric("connect_dead_letters_open", "gauge", ("connection", "company", "owner"), "Open dead letters by whose turn it is."),
    Metric(
        "connect_dead_letters_oldest_seconds", "gauge", ("connection", "owner"),
        "For how long the oldest of them has been open; 0 for none.",
    ),
    Metric("connect_payments_awaiting_approval", "gauge", ("connection",), "Refused payments that nobody has approved to be sent again."),
    Metric(
        "connect_payments_oldest_awaiting_approval_seconds", "gauge", ("connection",),
        "For how long the oldest of them has been refused; 0 for none.",
    ),
    Metric("connect_documents_waiting", "gauge", _JOB, "Documents that Prime lists and that have no receipt yet."),
    Metric("connect_documents_oldest_waiting_seconds", "gauge", _JOB, "For how long the oldest of them has been listed; 0 for none."),
    Metric("connect_receipts_refused", "gauge", _JOB, "Documents booked in Sage whose receipt Prime refuses for good."),
    Metric("connect_sage_calls_total", "counter", ("sage_company", "operation", "object"), "Calls to Sage; anew each month."),
    Metric("connect_sage_transactions_total", "counter", ("sage_company", "operation", "object"), "Sage's transactions; anew each month."),
    Metric("connect_sage_throttled_total", "counter", ("sage_company",), "How often Sage has said 429."),
    Metric("connect_sage_slots_used", "gauge", ("sage_company",), "Requests at Sage at this moment."),
    Metric("connect_sage_slots_limit", "gauge", ("sage_company",), "Requests at once that Sage allows."),
    Metric("connect_sage_slots_waiting", "gauge", ("sage_company",), "Calls that wait for a slot."),
    Metric("connect_token_requests_total", "counter", ("connection", "outcome"), "Requests for a token of Sage: issued, refused."),
    Metric("connect_login_refused_total", "counter", ("connection", "system"), "Jobs that were not let in, by sage or prime."),
    Metric("connect_errors_total", "counter", ("connection", "outcome"), "Errors that came up: known or unknown to the catalogue."),
    Metric("connect_paused", "gauge", ("connection", "queue"), "1 while a stage rests because it is not let in."),
    Metric("connect_held_by_person", "gauge", ("connection",), "How many pauses persons have set; 0 for none."),
    Metric("connect_notifications_failing", "gauge", ("channel",), "1 while messages to people do not get through on this channel."),
    Metric(
        "connect_reconcile_drifts", "gauge", ("connection", "difference"),
        "Differences of the last report: missing, different, extra …; `waits`: how many of all the next runs mend.",
    ),
    Metric("connect_reconcile_age_seconds", "gauge", ("connection",), "Since the last report was made."),
    Metric("connect_audit_entries", "gauge", ("connection",), "Entries of the audit trail."),
    Metric("connect_audit_intact", "gauge", ("connection",), "0: the newest entry of the audit trail does not fit its head."),
)  # fmt: skip
"""All of them, in the order in which they are shown."""


class Numbers:
    """What one look has found. It is a prometheus_client collector."""

    def __init__(self) -> None:
        self._found: dict[str, dict[Labels, Value]] = {metric.name: {} for metric in METRICS}

    def put(self, name: str, labels: Iterable[str], value: Value) -> None:
        self._found[name][tuple(labels)] = value

    def value(self, name: str, *labels: str) -> Value | None:
        return self._found[name].get(labels)

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            found = self._found[metric.name]
            if metric.kind == "histogram":
                times = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in found.items():
                    assert isinstance(value, Times)
                    times.add_metric(labels, [*value.buckets], value.sum_s)
                if found:
                    yield times
            else:
                family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                numbers = family(metric.name, metric.help, labels=metric.labels)
                for labels, value in found.items():
                    assert not isinstance(value, Times)
                    numbers.add_metric(labels, value)
                if found:
                    yield numbers


async def measure(tools: Tools) -> Numbers:
    """One look. Where Redis is away it says so, and nothing else."""
    numbers = Numbers()
    numbers.put("connect_build_info", (metadata.version("connect-sage-prime"), platform.python_version()), 1)
    try:
        async with asyncio.timeout(LONGEST_LOOK_S):
            await _look(tools, numbers)
    except (RedisError, OSError):  # a time-out is an OSError
        away = Numbers()
        away.put("connect_build_info", (metadata.version("connect-sage-prime"), platform.python_version()), 1)
        away.put("connect_redis_up", (), 0)
        return away
    numbers.put("connect_redis_up", (), 1)
    return numbers


async def _look(tools: Tools, numbers: Numbers) -> None:
    connections = list(tools.connections.values())
    queues = await look(tools.redis)
    tokens = [one.tokens.key for one in connections]
    seen = await glances(tools.redis, [one.connection for one in connections], tokens, queues.now_ms, tools.clock())
    now = datetime.fromtimestamp(queues.now_ms / 1000, UTC)
    await _put_queues(tools.redis, connections, queues, numbers)
    for one, glance in zip(connections, seen, strict=True):
        _put_glance(one.connection, glance, now, numbers)
    await _put_counts(tools.redis, connections, numbers)
    await _put_connections(tools.redis, connections, queues.now_ms, numbers)
    await _put_channels(tools, numbers)


async def _put_channels(tools: Tools, numbers: Numbers) -> None:
    names = [channel.name for channel in tools.config.notifications]
    failing = {one.channel for one in await Notices(tools.redis).failing(names)} if names else set()
    for name in names:
        numbers.put("connect_notifications_failing", (name,), int(name in failing))


async def _put_queues(redis: Redis, connections: Sequence[ConnectionTools], queues: Queues, numbers: Numbers) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        pipe.get(epoch.KEY)
        for stage in STAGES:
            pipe.zcount(queue_name(stage), "-inf", queues.now_ms)
        mark, *due = await pipe.execute()
    if mark is not None:
        numbers.put("connect_redis_epoch_timestamp_seconds", (), int(mark.rsplit(b":", 1)[1]) / 1000)
    names = {"": "", **{one.connection.sid: one.connection.name for one in connections}}
    for stage, jobs in zip(STAGES, due, strict=True):
        numbers.put("connect_workers", (stage,), queues.alive[stage])
        numbers.put("connect_queue_due", (stage,), jobs)
        for sid, name in names.items():
            if not sid and stage != SCHEDULE:  # a wake-up for all connections belongs to none
                continue
            waiting = queues.of(stage, sid)
            numbers.put("connect_queue_depth", (name, stage), waiting.jobs)
            numbers.put("connect_queue_oldest_seconds", (name, stage), waiting.oldest_s(queues.now_ms))
            numbers.put("connect_jobs_in_flight", (name, stage), queues.in_flight(stage, sid))


def _put_glance(connection: Connection, glance: Glance, now: datetime, numbers: Numbers) -> None:
    name = connection.name
    numbers.put("connect_connection_info", (name, connection.environment, connection.sage_company), 1)
    for stage in (FETCH, WRITE, POST):
        numbers.put("connect_paused", (name, stage), int(stage in glance.pauses))
    numbers.put("connect_held_by_person", (name,), len(glance.holds))
    _put_report(name, glance.report.summary, now, numbers)
    for company, letters in glance.letters.items():
        for owner in OWNERS:
            numbers.put("connect_dead_letters_open", (name, company, owner), letters.get(owner, 0))
    ages = {whom: max(0.0, (now - since).total_seconds()) for whom, since in glance.letters_since.items()}
    for owner in OWNERS:
        numbers.put("connect_dead_letters_oldest_seconds", (name, owner), ages.get(owner, 0))
    oldest = ages[APPROVAL] if APPROVAL in ages and _needs_approval(connection) else 0
    numbers.put("connect_payments_oldest_awaiting_approval_seconds", (name,), oldest)
    numbers.put("connect_runs_in_flight", (name,), sum(seen.running is not None for seen in glance.jobs))
    for job, seen in zip(connection.jobs, glance.jobs, strict=True):
        labels = (name, job.company, job.job)
        numbers.put("connect_run_held", labels, int(seen.last is not None and seen.last.state == "held"))
        if job.job in DOCUMENT_JOBS:
            since = seen.waiting_since
            numbers.put("connect_documents_waiting", labels, seen.waiting)
            numbers.put("connect_documents_oldest_waiting_seconds", labels, max(0.0, (now - since).total_seconds()) if since else 0)
            numbers.put("connect_receipts_refused", labels, seen.unreceived)
        if seen.complete_at is not None:
            numbers.put("connect_sync_age_seconds", labels, max(0.0, (now - seen.complete_at).total_seconds()))
        late = None if hold_on_all(glance.holds, [job.job]) else late_since(job, seen.complete_at, seen.last is not None, now, timedelta(0))
        numbers.put("connect_sync_overdue_seconds", labels, max(0.0, (now - late).total_seconds()) if late else 0)
    company = connection.sage_company
    numbers.put("connect_sage_slots_used", (company,), glance.slots_used)
    limit = numbers.value("connect_sage_slots_limit", company)
    numbers.put("connect_sage_slots_limit", (company,), max(connection.sage_slots, limit if isinstance(limit, int) else 0))


async def _put_counts(redis: Redis, connections: Sequence[ConnectionTools], numbers: Numbers) -> None:
    """What the workers have counted. Of connections that are not configured any more, nothing is shown."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(COUNTS)
        pipe.hgetall(TIMES)
        raw_counts, raw_times = await pipe.execute()
    counts, times = read_counts(raw_counts), read_times(raw_times)
    names = {"": "", **{one.connection.sid: one.connection.name for one in connections}}
    for name in names.values():
        if name:
            for system in SYSTEMS:
                numbers.put("connect_login_refused_total", (name, system), 0)
            for stage, operation in TRIED:  # from the first one on, `increase` sees it
                for outcome in ("done", "retried", "failed"):
                    numbers.put("connect_jobs_total", (name, stage, operation, outcome), 0)
    for counted, metric in (("jobs", "connect_jobs_total"), ("login_refused", "connect_login_refused_total")):
        for (sid, *labels), value in counts.get(counted, {}).items():
            if sid in names:
                numbers.put(metric, (names[sid], *labels), value)
    for measured, metric in (("job_wait", "connect_job_wait_seconds"), ("job_duration", "connect_job_duration_seconds")):
        for where, taken in times.get(measured, {}).items():
            numbers.put(metric, where, taken)


async def _put_connections(redis: Redis, connections: Sequence[ConnectionTools], now_ms: float, numbers: Numbers) -> None:
    sages = {one.connection.sage_company: one for one in connections}
    async with redis.pipeline(transaction=False) as pipe:
        for one in sages.values():
            _ask_sage(pipe, one, now_ms)
        for one in connections:
            _ask_connection(pipe, one)
        answers = iter(await pipe.execute())
    for company in sages:
        _put_sage(company, [next(answers) for _ in range(4)], numbers)
    for one in connections:
        _put_connection(one.connection, answers, numbers)


def _ask_sage(pipe: Any, one: ConnectionTools, now_ms: float) -> None:
    calls, transactions = one.usage.keys()
    prefix = f"connect:sage:{one.connection.sage_company}:"
    pipe.hgetall(calls)
    pipe.hgetall(transactions)
    pipe.get(prefix + "throttled")
    pipe.zcount(prefix + "alive", now_ms, "+inf")


def _put_sage(company: str, answers: Sequence[Any], numbers: Numbers) -> None:
    calls, transactions, throttled, waiting = answers
    for metric, found in (("connect_sage_calls_total", calls), ("connect_sage_transactions_total", transactions)):
        for what, number in found.items():
            operation, _, about = what.decode().partition(" ")
            if about:
                numbers.put(metric, (company, operation, about), int(number))
    numbers.put("connect_sage_throttled_total", (company,), int(throttled or 0))
    numbers.put("connect_sage_slots_waiting", (company,), int(waiting))


def _ask_connection(pipe: Any, one: ConnectionTools) -> None:
    prefix = f"connect:{one.connection.sid}:"
    pipe.hgetall(one.tokens.asked_key)
    pipe.hgetall(prefix + "errors")
    pipe.hgetall(prefix + "ended")
    payments = [prefix + "dl:state:open", prefix + "dl:by:kind:Payment"]
    pipe.zintercard(2, payments)
    pipe.zintercard(3, [*payments, prefix + "dl:approved"])
    Audit.ask_newest(pipe, one.connection.sid)
    for job in one.connection.jobs:
        pipe.hgetall(f"{prefix}rows:{job.company}:{job.job}")


def _put_connection(connection: Connection, answers: Iterator[Any], numbers: Numbers) -> None:
    name = connection.name
    asked, errors, ended, payments, approved, newest = (next(answers) for _ in range(6))
    for outcome in ("issued", "refused"):
        numbers.put("connect_token_requests_total", (name, outcome), _number(asked, outcome))
    for outcome in ("known", "unknown"):
        numbers.put("connect_errors_total", (name, outcome), _number(errors, outcome))
    numbers.put("connect_payments_awaiting_approval", (name,), payments - approved if _needs_approval(connection) else 0)
    entries, is_intact = Audit.newest(newest)
    numbers.put("connect_audit_entries", (name,), entries)
    numbers.put("connect_audit_intact", (name,), int(is_intact))
    for job in connection.jobs:
        rows, labels, what = next(answers), (name, job.company, job.job), f"{job.company}:{job.job}"
        for outcome in ROWS:
            if (number := _number(rows, outcome)) or outcome in ("read", "sent", "refused"):
                numbers.put("connect_rows_total", (*labels, outcome), number)
        for state in RUNS:
            numbers.put("connect_runs_total", (*labels, state), _number(ended, f"{what}:{state}"))
        numbers.put("connect_runs_failed_in_a_row", labels, _number(ended, f"{what}:in_a_row"))


def _needs_approval(connection: Connection) -> bool:
    return any(connection.settings(company).payment_approval for company in connection.companies)


def _put_report(name: str, summary: reports.Summary | None, now: datetime, numbers: Numbers) -> None:
    """Every kind from the first report on, so that a chart goes back to 0."""
    if summary is None:
        return
    numbers.put("connect_reconcile_age_seconds", (name,), max(0.0, (now - datetime.fromisoformat(summary.made_at)).total_seconds()))
    for what in reports.WHATS:
        numbers.put("connect_reconcile_drifts", (name, what), summary.by.get(what, 0))
    numbers.put("connect_reconcile_drifts", (name, "waits"), summary.waits)


def _number(raw: Mapping[bytes, bytes], name: str) -> int:
    return int(raw.get(name.encode(), 0))
