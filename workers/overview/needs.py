"""What needs a person: the reasons of all connections, put together where one act mends them, with whose turn it is and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import Field

from connect.catalogue import catalogue
from workers.overview.lights import CompanyState, Light, Reason
from workers.overview.model import Model

# kind -> what to do; in the order in which they are shown, by light first. The catalogue knows better where it can.
_KINDS: Final[Mapping[str, str]] = {
    "auth": "Look at the connection's health; it is tried again every two minutes, and at once when it is resumed.",
    "no-worker": "Start a worker of this stage, or look why none lives.",
    "failed": "Look at the run, mend the cause, and run the job again.",
    "receipt-refused": "Look at the documents' dead letters: they are booked in Sage, and Prime does not know it yet.",
    "receipt-late": "Look whether the job runs and Prime answers; receipts are sent again by themselves.",
    "budget": "Raise transactions_month_budget, or wait for the next month; documents go on all the same.",
    "doubt": "Nothing: they go on by themselves. If it happens often, look why Redis is restarted or another server takes over.",
    "paused": "Resume it when the reason is over.",
    "held": "Look at the run: it says what it waits for.",
    "late": "Look at the queues, and whether a run is stuck; run it now when nothing is wrong.",
    "dead-letters": "Read what is wrong, mend it there, and send them again.",
    "reconcile": "`connect reconcile --last` shows each with what mends it; mend them, then let `connect reconcile` look again.",
    "throttled": "Nothing now: it goes on by itself. If it comes often, give the connection fewer slots.",
    "notification": "Mend the channel: until then nobody is told of what happens here.",
    "new": "Run its jobs now, or wait for their schedule.",
}
_ORDER: Final = {kind: place for place, kind in enumerate(_KINDS)}


class Place(Model):
    """Where something is wrong."""

    connection: str
    company: str
    job: str = Field(description="The job, if it is about one.")
    run: str = Field(description="The run that says so, if one does.")
    count: int = Field(description="How many dead letters it has; 1 for everything else.")


class Need(Model):
    """One thing that somebody should do, wherever it is wrong."""

    light: Light = Field(description="How bad it is.")
    kind: str = Field(description="As of the reasons: auth, no-worker, failed, …")
    about: str = Field(description="The stage, or whose dead letters; empty for other kinds.")
    text: str = Field(description="What is wrong, for a person.")
    owner: str = Field(description="Whose turn it is.")
    fix: str = Field(description="What to do.")
    count: int = Field(description="How many dead letters, jobs or companies.")
    places: list[Place] = Field(description="Where, the worst first.")


def needs_of(companies: Iterable[CompanyState]) -> list[Need]:
    """The most urgent first: by light, then by kind, then where it is wrong most."""
    groups: dict[tuple[str, str, str], list[tuple[CompanyState, Reason]]] = {}
    for company in companies:
        for reason in company.reasons:
            said = reason.text if reason.kind in ("auth", "failed", "held", "paused", "notification", "reconcile") else ""
            groups.setdefault((reason.kind, reason.about, said), []).append((company, reason))
    found = [_need(kind, about, pairs) for (kind, about, _), pairs in groups.items()]
    return sorted(found, key=lambda need: (need.light != "red", _ORDER.get(need.kind, len(_ORDER)), -need.count))


def _need(kind: str, about: str, pairs: Sequence[tuple[CompanyState, Reason]]) -> Need:
    first = pairs[0][1]
    places = sorted((_place(company, reason) for company, reason in pairs), key=lambda place: -place.count)
    count = sum(place.count for place in places)
    entry = catalogue().explain("", "", first.text) if kind in ("auth", "failed") else None
    return Need(
        light=first.light,
        kind=kind,
        about=about,
        text=first.text if len(pairs) == 1 else _text(kind, about, count, pairs),
        owner=first.owner,
        fix=entry.fix if entry is not None else _KINDS.get(kind, ""),
        count=count,
        places=places,
    )


def _place(company: CompanyState, reason: Reason) -> Place:
    last = next((job.last for job in company.jobs if job.job == reason.job), None) if reason.kind in ("failed", "held") else None
    return Place(
        connection=company.connection,
        company=company.company,
        job=reason.job,
        run=last.run if last is not None else "",
        count=company.dead_letters.get(reason.about, 0) if reason.kind == "dead-letters" else 1,
    )


def _text(kind: str, about: str, count: int, pairs: Sequence[tuple[CompanyState, Reason]]) -> str:
    """The same reason in several places."""
    match kind:
        case "dead-letters":
            return f"{count:,} dead letters for the {about.removeprefix('the ')}"
        case "no-worker" if about != "schedule":
            waiting = {company.connection: company.queues[about].depth for company, _ in pairs}
            return f"no worker is alive for {about}, and {sum(waiting.values()):,} jobs wait"
        case "late":
            return f"{count:,} jobs are older than their schedule"
        case "receipt-late":
            return "documents have waited long for a receipt"
        case "receipt-refused":
            return "documents are booked in Sage, and Prime refuses the receipt"
        case "throttled":
            return "Sage asks us to wait"
        case _:
            return pairs[0][1].text
