"""The document of `connect status --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connect.state.runs import COUNTERS
from connect.state.unapproved import counts
from workers.documents import submitted_text
from workers.jobs import Tools
from workers.letters import catalogue_coverage
from workers.overview.history import Run
from workers.overview.lights import CompanyState, overview
from workers.overview.needs import needs_of


async def status(tools: Tools) -> dict[str, Any]:
    """The document of `connect status --json`."""
    seen = await overview(tools)
    found = []
    sids = {one.connection.name: sid for sid, one in tools.connections.items()}
    unapproved = await counts(tools.redis, [(sids[company.connection], company.company) for company in seen.companies])
    for company, submitted in zip(seen.companies, unapproved, strict=True):
        runs = [run for job in company.jobs if (run := job.running or job.last) is not None]
        state, reason = _state(company, runs)
        found.append(
            {
                "name": company.connection,
                "company": company.company,
                "state": state,
                "reason": reason,
                "light": company.light,
                "reasons": [reason.model_dump(mode="json") for reason in company.reasons],
                "queues": {stage: waiting.model_dump() for stage, waiting in company.queues.items()},
                "runs": [
                    {
                        **run.model_dump(mode="json", include={"job", "state", "reason", "mode", "run", "started_at", "duration_s"}),
                        **{name: run.counters.get(name, 0) for name in COUNTERS if name not in ("total", "ignored_fields")},
                    }
                    for run in runs
                ],
                "dead_letters": company.dead_letters,
                "slots": company.slots.model_dump(),
                "token": company.token.model_dump(mode="json"),
                "paused": [hold.model_dump(mode="json") for hold in company.paused],
                "transactions_month": company.transactions_month,
                "remarks": [submitted_text(submitted)] if submitted else [],
            }
        )
    needs = [need.model_dump(mode="json") for need in needs_of(seen.companies)]
    return {"connections": found, "needs": needs, "catalogue": await catalogue_coverage(tools)}


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
