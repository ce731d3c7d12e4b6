"""What people do: functions that return models, for the command line, the JSON API and the pages alike.

Every act says who (`by`) and is written into the audit trail of each connection it touches, before it is done. Raises ConfigError in words
for what cannot be done. Who may do what is the caller's to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from connect.config.names import JOBS, nearest
from connect.errors import ConfigError
from connect.registers import REGISTERS
from connect.state.dead_letters import DeadLetter
from connect.state.pauses import ALL, hold_on, what_of
from workers import letters as edits
from workers import producers, queues
from workers import replay as replays
from workers.jobs import STAGES, ConnectionTools, Tools
from workers.letters import PAYMENT, audit_of
from workers.overview import Model, Paused, paused_of
from workers.replay import AUDITED

REASON_MOST: Final = 2000


class Change(Model):
    """One field before and after; null: empty."""

    path: str
    before: str | None
    after: str | None


class Edited(Model):
    """An invoice that waits was changed; the next replay sends it so."""

    id: str = Field(description="The dead letter.")
    number: str
    changes: list[Change]
    reason: str
    by: str
    saved: bool = Field(description="False: it was only tried.")


class Replay(Model):
    """What is sent again."""

    letters: int = Field(description="How many are, or would be.")
    skipped: int = Field(description="Those that hold neither a row nor a document.")
    closed: list[str] = Field(description="Those named that are not open: on their way already, resolved or discarded. Left as they are.")
    unapproved: list[str] = Field(description="Payments that another person must approve first.")
    paused: list[str] = Field(description="Those whose job is paused: they are left as they are.")
    runs: list[str] = Field(description="The runs that read and send rows anew.")
    documents: list[tuple[str, str, str]] = Field(description="Connection, company and job of documents sent again.")
    dry_run: bool


class Count(Model):
    """How many it was done to."""

    count: int


class Asked(Model):
    """A job that was asked for."""

    connection: str
    company: str
    job: str
    paused: str = Field(default="", description="Why it does not start yet; empty when nothing is paused.")


class Sync(Model):
    """What was asked for, and the stages that nobody serves."""

    runs: list[Asked]
    stages_without_worker: list[str]


class ConnectionPauses(Model):
    """What is paused of a connection now."""

    connection: str
    paused: list[Paused]
    changed: bool = Field(description="Whether this act changed something.")
    woken: int = Field(default=0, description="Jobs that waited and are due again.")


# -- dead letters ------------------------------------------------------------------------------------------------------


async def edit(
    tools: Tools, letter_id: str, changes: Mapping[str, str | None] | Sequence[str], *, reason: str, by: str, dry_run: bool = False
) -> Edited:
    """Change coding, dates or texts of an invoice that waits. `changes`: path -> value, or PATH=VALUE; an empty value clears.

    `dry_run`: say what would change, and whether it may.
    """
    said = "" if dry_run and not reason.strip() else reason_of(reason)
    texts = [f"{path}={value or ''}" for path, value in changes.items()] if isinstance(changes, Mapping) else list(changes)
    letter, found = await edits.edit(tools, letter_id, texts, reason=said, by=by, dry_run=dry_run)
    rows = [Change(path=one.path, before=one.before, after=one.after) for one in found]
    return Edited(id=letter.id, number=letter.number, changes=rows, reason=said, by=by, saved=not dry_run)


async def replay(
    tools: Tools,
    *,
    ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    by: str = "",
) -> Replay:
    """Send dead letters again: those named, or all open ones that match. `rate`: letters a second.

    Returns once all are on their way: with rows of a running job that is after its run, and with a rate after so long as that takes.
    Raises ConfigError when a named one does not exist, or no filter is so called.
    """
    which(ids, filters)
    closed = [letter.id for _, letter in await edits.named(tools, ids) if letter.state != "open"]
    done = await replays.replay(tools, ids, filters or None, dry_run=dry_run, rate_per_s=rate, by=by)
    return Replay(
        letters=done.letters,
        skipped=done.skipped,
        closed=closed,
        unapproved=list(done.unapproved),
        paused=list(done.paused),
        runs=list(done.runs),
        documents=list(done.documents),
        dry_run=dry_run,
    )


async def approve(tools: Tools, *, ids: Sequence[str] = (), filters: Mapping[str, str] | None = None, by: str) -> Count:
    """Let payments be replayed, by another person. Raises ConfigError when something else is among them."""
    which(ids, filters)
    chosen = await chosen_letters(tools, ids, filters or {})
    if others := [letter.id for _, found in chosen for letter in found if letter.kind != PAYMENT]:
        raise ConfigError(f"only payments are approved; {', '.join(others)} can be replayed as they are", code="kind")
    count = 0
    for one, found in chosen:
        if named := [letter.id for letter in found]:
            await audit_of(one).add("approve", " ".join(named[:AUDITED]), by=by, letters=len(named), filters=dict(filters or {}))
            count += await one.dead_letters.approve(named, by=by)
    return Count(count=count)


async def discard(tools: Tools, *, ids: Sequence[str] = (), filters: Mapping[str, str] | None = None, reason: str, by: str) -> Count:
    """Close letters without sending their rows."""
    which(ids, filters)
    said, count = reason_of(reason), 0
    for one, found in await chosen_letters(tools, ids, filters or {}):
        if named := [letter.id for letter in found]:
            about = " ".join(named[:AUDITED])
            await audit_of(one).add("discard", about, by=by, letters=len(named), filters=dict(filters or {}), reason=said)
            count += await one.dead_letters.discard(named, reason=said, by=by)
    return Count(count=count)


def which(ids: Sequence[str], filters: Mapping[str, str] | None) -> None:
    """Raises ConfigError unless letters are named in exactly one way."""
    if bool(ids) == bool(filters):
        raise ConfigError("say which dead letters: their ids, or --filter KEY=VALUE (state=open for all)", code="which")


def reason_of(text: str) -> str:
    """Raises ConfigError when it is none, or longer than a person reads."""
    if not text.strip():
        raise ConfigError("--reason: say why; it is kept, and goes into the audit trail", code="reason")
    if len(text) > REASON_MOST:
        raise ConfigError(f"--reason: {len(text)} characters, at most {REASON_MOST} are kept", code="reason")
    return text.strip()


async def chosen_letters(tools: Tools, ids: Sequence[str], filters: Mapping[str, str]) -> list[tuple[ConnectionTools, list[DeadLetter]]]:
    """The open letters named or matching, by connection. Raises ConfigError when a named one does not exist, or no filter is so called."""
    found = await replays.chosen(tools, ids, filters or None)
    missing = set(ids) - {letter.id for _, letter in found}
    if missing:
        raise ConfigError(
            f"there is no open dead letter {', '.join(sorted(missing))}; `connect dead-letters list` shows them", code="unknown-letter"
        )
    by_connection: dict[str, list[DeadLetter]] = {sid: [] for sid in tools.connections}
    for one, letter in found:
        by_connection[one.connection.sid].append(letter)
    return [(one, by_connection[sid]) for sid, one in tools.connections.items()]


# -- jobs --------------------------------------------------------------------------------------------------------------


async def sync(
    tools: Tools,
    *,
    connection: str | None = None,
    company: str | None = None,
    job: str | None = None,
    full: bool = False,
    resend: bool = False,
    expire: bool = False,
    rewrite: bool = False,
    by: str = "",
) -> Sync:
    """Run jobs now, due or not, by the workers there are. What is paused starts once it is resumed."""
    check_names(tools, connection, company, job)
    options: dict[str, Any] = {
        "connection": connection,
        "company": company,
        "job": job,
        "full": full,
        "resend": resend,
        "expire": expire,
        "rewrite": rewrite,
    }
    asked = await producers.want(tools, **options)
    check_asked(asked)
    await write_down_sync(tools, by, **options)
    holds = {one.connection.name: await one.pauses.holds() for one in tools.connections.values()}
    runs = []
    for name, code, wanted in asked:
        hold = hold_on(holds[name], wanted)
        runs.append(Asked(connection=name, company=code, job=wanted, paused=hold.text if hold else ""))
    return Sync(runs=runs, stages_without_worker=[stage for stage in STAGES if not await queues.is_served(tools.redis, stage)])


async def write_down_sync(tools: Tools, by: str, **options: Any) -> None:
    """Who asks for jobs, for the audit trail."""
    asked = {name: value for name, value in options.items() if value}
    for one in tools.connections.values():
        if by and options.get("connection") in (None, one.connection.name):
            await audit_of(one).add("sync", str(asked.get("job", "every job")), by=by, **asked)


def check_asked(asked: Sequence[tuple[str, str, str]]) -> None:
    """Raises ConfigError when nothing was asked for."""
    if not asked:
        raise ConfigError(
            "no active job matches (active = true, and supported by this version); `connect config check` says more", code="no-job"
        )


def check_names(tools: Tools, connection: str | None, company: str | None, job: str | None) -> None:
    """A name that does not exist is a mistake, not "nothing to do". Raises ConfigError naming those there are."""
    if connection is not None:
        tools.config.connection(connection)
    chosen = [one for one in tools.config.connections if connection in (None, one.name)]
    companies = list(dict.fromkeys(code for one in chosen for code in one.companies))
    jobs = list(dict.fromkeys(item.job for one in chosen for item in one.jobs))
    for what, value, known in (("company", company, companies), ("job", job, jobs)):
        if value is not None and value not in known:
            hint = "" if value in JOBS or value in REGISTERS else nearest(value, known)
            raise ConfigError(
                f"no {what} {value!r} in the configuration{hint} (there are: {', '.join(known) or 'none'})", code=f"unknown-{what}"
            )


async def pause(
    tools: Tools,
    *,
    connection: str | None = None,
    job: str | None = None,
    direction: str | None = None,
    reason: str,
    by: str,
) -> list[ConnectionPauses]:
    """Pause a connection or all, wholly or one job or direction of it, until somebody resumes it. What is being done now is done to its
    end; everything else waits, none of it is lost.
    """
    check_names(tools, connection, None, job)
    what, said = what_of(job, direction), reason_of(reason)
    found = []
    for one in _meant(tools, connection, job):
        await audit_of(one).add("pause", what, by=by, reason=said)
        await one.pauses.hold(what, reason=said, by=by)
        found.append(ConnectionPauses(connection=one.connection.name, paused=await _paused(one), changed=True))
    return found


async def resume(
    tools: Tools,
    *,
    connection: str | None = None,
    job: str | None = None,
    direction: str | None = None,
    reason: str = "",
    by: str,
) -> list[ConnectionPauses]:
    """Lift what `pause` did with the same words. What waited is due at once; where we are not let in, that is tried again now."""
    check_names(tools, connection, None, job)
    what = what_of(job, direction)
    found = []
    for one in _meant(tools, connection, job):
        lifted = what in {hold.what for hold in await one.pauses.holds()}
        woken = 0
        if lifted:
            await audit_of(one).add("resume", what, by=by, reason=reason.strip())
            await one.pauses.lift(what)
        if what == ALL:
            for stage in STAGES:
                lifted = await one.pauses.get(stage) is not None or lifted
                await one.pauses.clear(stage)
        if lifted:
            woken = await queues.wake(tools.redis, one.connection.sid)
            await producers.wake_up_now(tools, one)
        found.append(ConnectionPauses(connection=one.connection.name, paused=await _paused(one), changed=lifted, woken=woken))
    return found


def _meant(tools: Tools, connection: str | None, job: str | None) -> list[ConnectionTools]:
    return [
        one
        for one in tools.connections.values()
        if connection in (None, one.connection.name, one.connection.sid)
        and (job is None or job in {item.job for item in one.connection.jobs})
    ]


async def _paused(one: ConnectionTools) -> list[Paused]:
    return [paused_of(hold) for hold in await one.pauses.holds()]
