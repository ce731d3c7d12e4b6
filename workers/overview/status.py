"""The document of `connect status --json` (design section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import ConfigDict, Field

from connect.state.runs import COUNTERS
from connect.state.unapproved import counts
from workers.documents import submitted_text
from workers.jobs import Tools
from workers.letters import catalogue_coverage
from workers.overview.history import Run
from workers.overview.lights import CompanyState, Light, Paused, Reason, SlotUse, StageQueue, Token, overview
from workers.overview.model import Model
from workers.overview.needs import Need, needs_of

_COUNTED: Final = tuple(name for name in COUNTERS if name not in ("total", "ignored_fields"))


class RunStatus(Model):
    """A job's run that is on, or else its last one. Further counters stand beside these."""

    job: str
    state: str
    reason: str
    mode: str
    run: str
    started_at: datetime
    duration_s: float
    read: int
    sent: int
    unchanged: int
    refused: int
    calls: int

    model_config = ConfigDict(frozen=True, extra="allow")


class ConnectionStatus(Model):
    """One company of a connection."""

    name: str
    company: str
    state: str = Field(description="ok, new, running, held, failed or paused.")
    reason: str
    light: Light
    reasons: list[Reason] = Field(description="Why the light is not green, the most urgent first.")
    queues: dict[str, StageQueue]
    runs: list[RunStatus]
    dead_letters: dict[str, int] = Field(description="How many are open, by whose turn it is.")
    slots: SlotUse
    token: Token
    paused: list[Paused]
    transactions_month: int
    remarks: list[str]


class Coverage(Model):
    """How many of the errors seen the catalogue knows."""

    known: int
    unknown: int
    coverage: float


class Status(Model):
    """How all is, in one document."""

    connections: list[ConnectionStatus]
    needs: list[Need] = Field(description="What needs somebody, the most urgent first.")
    catalogue: Coverage


async def status(tools: Tools) -> Status:
    """The document of `connect status --json`, less what the command itself knows."""
    seen = await overview(tools)
    sids = {one.connection.name: sid for sid, one in tools.connections.items()}
    unapproved = await counts(tools.redis, [(sids[company.connection], company.company) for company in seen.companies])
    return Status(
        connections=[_connection(company, submitted) for company, submitted in zip(seen.companies, unapproved, strict=True)],
        needs=needs_of(seen.companies),
        catalogue=Coverage(**await catalogue_coverage(tools)),
    )


def _connection(company: CompanyState, submitted: int) -> ConnectionStatus:
    runs = [run for job in company.jobs if (run := job.running or job.last) is not None]
    state, reason = _state(company, runs)
    return ConnectionStatus(
        name=company.connection,
        company=company.company,
        state=state,
        reason=reason,
        light=company.light,
        reasons=company.reasons,
        queues=company.queues,
        runs=[_run(run) for run in runs],
        dead_letters=company.dead_letters,
        slots=company.slots,
        token=company.token,
        paused=company.paused,
        transactions_month=company.transactions_month,
        remarks=[submitted_text(submitted)] if submitted else [],
    )


def _run(run: Run) -> RunStatus:
    return RunStatus(
        job=run.job,
        state=run.state,
        reason=run.reason,
        mode=run.mode,
        run=run.run,
        started_at=run.started_at,
        duration_s=run.duration_s,
        **{name: run.counters.get(name, 0) for name in _COUNTED},
    )


def _state(company: CompanyState, runs: Sequence[Run]) -> tuple[str, str]:
    for kind in ("auth", "paused"):
        for reason in company.reasons:
            if reason.kind == kind:
                return "paused", reason.text
    for state in ("failed", "held", "running"):
        for run in runs:
            if run.state == state:
                return state, f"{run.job}: {run.reason}" if run.reason else run.job
    return ("ok", "") if runs else ("new", "no run yet")
