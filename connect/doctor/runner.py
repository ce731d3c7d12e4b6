"""Runs checks: independent ones side by side, each after those it needs; what needs a failed one is skipped because of that one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from connect.catalogue import catalogue
from connect.config import Connection
from connect.doctor.check import Check, Finding, Owner, Result, Seen, Skip, verdict_of
from connect.doctor.systems import Systems
from connect.errors import ConnectError

LONGEST_S: Final = 120.0  # of one check; a Sage that throttles everybody may need it
OWNERS: Final[dict[str, Owner]] = {"clerk": "consultant", "Sage administrator": "customer", "Sage": "Sage", "Rillion": "Rillion"}
"""Owners in the catalogue that have another name here; the others keep theirs."""


async def examine(checks: Sequence[Check], systems: Systems, on_done: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """The results in the order of `checks`, which name those they need before themselves."""
    tasks: dict[str, asyncio.Task[Result]] = {}

    async def one(check: Check) -> Result:
        before = [await tasks[name] for name in check.needs]
        blocking = next((result for result in before if result.verdict == "failed" or result.because), None)
        if blocking is not None:
            because = blocking.because or blocking.check.name
            result = Result(connection=systems.connection.name, check=check, verdict="skipped", saw="", because=because)
        else:
            result = await _run(check, systems)
        on_done(result)
        return result

    async with asyncio.TaskGroup() as group:
        for check in checks:
            if unknown := [name for name in check.needs if name not in tasks]:
                raise LookupError(f"{check.name} needs {', '.join(unknown)}, which must come before it")
            tasks[check.name] = group.create_task(one(check))
    return [tasks[check.name].result() for check in checks]


async def _run(check: Check, systems: Systems) -> Result:
    try:
        async with asyncio.timeout(LONGEST_S):
            seen = await check.run(systems)
    except Skip as skip:
        return Result(connection=systems.connection.name, check=check, verdict="skipped", saw=skip.why, because=skip.because)
    except ConnectError as error:
        seen = Seen("", (_unforeseen(error, systems.connection),))
    except TimeoutError:
        cause = f"It did not come to an end within {LONGEST_S:g} s."
        do = "Run `connect doctor` again when the system is less busy; if it stays so, send the log to whoever runs that system."
        seen = Seen("", (Finding(cause=cause, owner="operator", do=do),))
    except RedisError as error:
        do = "See that Redis runs and takes writes (`connect health`), and that its user has the rights of deploy/valkey/connect.acl."
        seen = Seen("", (Finding(cause=f"Redis does not serve us: {error}.", owner="operator", do=do),))
    stops = tuple(_stopped(found, check, systems.connection) for found in seen.findings)
    return Result(
        connection=systems.connection.name,
        check=check,
        verdict=verdict_of(seen.findings),
        saw=seen.text,
        findings=seen.findings,
        stops=stops,
    )


def _stopped(found: Finding, check: Check, connection: Connection) -> tuple[str, ...]:
    """The active jobs that a finding stops; a warning stops none."""
    if found.verdict == "warning":
        return ()
    jobs = found.jobs if found.jobs is not None else check.jobs
    active = dict.fromkeys((job.job, job.company) for job in connection.jobs if job.active)
    return tuple(f"{job} ({company})" for job, company in active if jobs is None or job in jobs)


def _unforeseen(error: ConnectError, connection: Connection) -> Finding:
    """An error that no check has expected: in the catalogue's words where it knows it."""
    entry = catalogue().of(error)
    if entry is not None:
        owner = OWNERS.get(entry.owner) or ("operator" if entry.owner == "operator" else "consultant")
        return Finding(cause=f"{error.message}. {entry.cause}", owner=owner, do=entry.fix)
    name = {"sage": "Sage", "prime": "Prime", "redis": "Redis"}.get(error.system, "")
    do = (
        f"Check that this machine reaches {name or 'it'} and that the addresses of {connection.name} are right "
        "(`connect config show`); then run `connect doctor` again. If it stays, report it with this message."
    )
    return Finding(cause=f"{error.message}.", owner="operator", do=do)
