"""The report of a connection by its schedule (`reconcile = "0 5 * * 6"`): `connect reconcile` in a process of its own.

It begins when nothing of the connection runs or is wanted. A process of its own, since it compares whole registers: what it computes and
keeps holds up no sweep of this worker. It is nicer than others, asks Sage in the background (state/slots.py), writes to neither system,
and ends with the worker; a job that a worker leaves behind is taken up by another and begins anew, unless several have died at it: what
needs more memory than there is must not take the worker with it over and over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from redis.exceptions import RedisError

from connect.config.cron import Cron
from connect.metering import budget_state
from connect.state.keeper import die_with_parent
from connect.state.pauses import ALL
from connect.state.reports import TRIES, Reports
from workers.jobs import ConnectionTools, ReconcileJob, Tools, enqueue

NICER: Final = 10
LONGEST_S: Final = 6 * 3600.0
STOP_S: Final = 3.0
DONE: Final = (0, 3)  # 3: something differs

log = structlog.get_logger()


async def begin_due(tools: Tools, connection: ConnectionTools, *, is_quiet: bool) -> bool:
    """Put the report into the fetch queue when its schedule says so and nothing else is to be done. Returns whether it is new there."""
    config, now = connection.connection, tools.clock()
    if config.reconcile is None or not tools.starts_due:
        return False
    if not await Reports(connection.redis, config.sid).is_due(Cron.parse(config.reconcile), ZoneInfo(config.timezone), now):
        return False
    if not is_quiet or config.maintenance_until(now) is not None or any(hold.what == ALL for hold in await connection.pauses.holds()):
        return False
    budget = config.transactions_month_budget
    if budget and budget_state(await connection.usage.spent(), budget) == "stopped":
        return False
    return bool(await enqueue(tools.redis, [ReconcileJob(trace=f"{now:%Y%m%d%H%M}", sid=config.sid)]))


async def reconcile(ctx: dict[str, Any], job: ReconcileJob) -> None:
    """Have the report made. It keeps itself; why it could not be made is kept here."""
    tools: Tools = ctx["tools"]
    connection = tools.connections[job.sid]
    name, begun_at = connection.connection.name, tools.clock()
    reports = Reports(connection.redis, job.sid)
    times = await reports.begin()
    if times > TRIES:
        error = f"{times - 1} workers have died at it; is there memory enough (README)?"
    else:
        log.info("report begins", connection=name, times=times)
        try:
            error = await _made(tools.config.path or Path("connect.toml"), name, job.sid)
        except asyncio.CancelledError:
            with suppress(RedisError):
                await asyncio.shield(reports.hand_back())
            raise
    await reports.ended(begun_at, tools.clock(), error)
    if error:
        log.error("no report was made", connection=name, reason=error)
    else:
        log.info("report made", connection=name, duration_s=round((tools.clock() - begun_at).total_seconds(), 1))


async def _made(config: Path, name: str, sid: str) -> str:
    """Run the command until its end. Returns why it failed, "" when it did not. Cancelled: the command ends first."""
    folder = Path(tempfile.gettempdir()) / f"connect-reconcile-{sid}"
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed here
    try:
        folder.mkdir(mode=0o700)  # new, so ours: the temporary folder is everybody's
    except OSError as error:
        return f"the folder {folder} cannot be made: {error.strerror}; whoever owns it or what stands in its way must remove it"
    process = None
    try:
        async with asyncio.timeout(LONGEST_S):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workers.cli", "reconcile", "--config", str(config), "--connection", name, "--log-level", "error",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "TMPDIR": str(folder)}, preexec_fn=_beside_others(os.getpid()),
            )  # fmt: skip
            _, said = await process.communicate()
    except TimeoutError:
        return f"it was not done within {LONGEST_S / 3600:g} hours"
    finally:
        if process is not None and process.returncode is None:
            await asyncio.shield(_stop(process))
        shutil.rmtree(folder, ignore_errors=True)
    code = process.returncode or 0
    if code in DONE:
        return ""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}" + (" (is there memory enough?)" if -code == signal.SIGKILL else "")
    words = said.decode(errors="replace").strip().splitlines()
    told = [line.removeprefix("connect: ") for line in words if line.startswith("connect: ")]
    return [*told, *words[-1:], f"exit code {code}"][0]


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()


def _beside_others(parent: int) -> Callable[[], None]:
    """For the command, between fork and exec."""
    die = die_with_parent(parent)

    def prepare() -> None:
        os.nice(NICER)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the worker
        if die is not None:
            die()

    return prepare
