"""Which Connect has the document jobs of a Prime environment: ours, another's, or ours from now on (connect/prime/owner.py has the rules).

    connect:deployment          string   who we are: everything around this Redis (see `deployment_id`)
    connect:{sid}:owned         string   there for as long as the last claim is believed
    connect:{sid}:beat          string   there until the next heartbeat is due

Every listing claims, every batch claims unless that was done a moment ago, and a heartbeat goes out when there is no work. So another's
take-over stops us within BELIEVED_S; whoever takes over lets that time and a lock's life pass before "not in Sage" counts as an answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from connect.config.names import DOCUMENT_JOBS
from connect.errors import ConfigError, Permanent
from connect.prime.owner import Claim, claim
from connect.state.audit import Audit
from connect.state.embedded import socket_path
from workers.documents import tools_of
from workers.jobs import ClaimJob, ConnectionTools, Tools, enqueue

DEPLOYMENT: Final = "connect:deployment"
FILE: Final = "deployment"
BELIEVED_S: Final = 60.0
TAKING_S: Final = 600.0  # writing the claim takes at most that long
BEAT_EVERY_S: Final = 600  # well within owner.LIVE_S

log = structlog.get_logger()


async def deployment_id(tools: Tools) -> str:
    """Who we are among all Connects: `deployment` of [redis], else everything around this Redis.

    The embedded server's id is a file of its data directory too: like a name, it outlives what Redis holds. Without either, a Redis that
    was emptied and restarted is somebody else. What is found is kept in Redis, where others look.
    """
    redis, file = tools.redis, _file(tools)
    if named := await _named(tools):
        await redis.set(DEPLOYMENT, named)
        return named
    await redis.set(DEPLOYMENT, await _run_id(redis) or secrets.token_hex(8), nx=True)
    found = str((await redis.get(DEPLOYMENT)).decode())
    return found if file is None else await asyncio.to_thread(_keep, file, found)


async def deployment_now(tools: Tools) -> str:
    """As `deployment_id` would find it, but nothing is written. "" when a new one would be made."""
    if named := await _named(tools):
        return named
    kept = await tools.redis.get(DEPLOYMENT)
    return kept.decode() if kept else await _run_id(tools.redis)


async def _named(tools: Tools) -> str:
    """The id that the configuration or the embedded server's data directory gives; "" when neither does."""
    if tools.config.redis.deployment is not None:
        return tools.config.redis.deployment
    file = _file(tools)
    return await asyncio.to_thread(_kept, file) if file is not None else ""


async def _run_id(redis: Redis) -> str:
    """The server's own id, until it is started anew; "" when it does not say."""
    return str((await redis.info("server")).get("run_id") or "")


def _file(tools: Tools) -> Path | None:
    """Where the embedded server's id is kept; None with another server."""
    return tools.config.redis.data_dir / FILE if _is_embedded(tools) else None


def _is_embedded(tools: Tools) -> bool:
    """Whether our Redis is the server of the data directory: nobody else's, and no copy that a plan is made on."""
    path = tools.redis.connection_pool.connection_kwargs.get("path")
    folder = tools.config.redis.data_dir
    return path is not None and folder.is_dir() and Path(path) == socket_path(folder.expanduser().resolve())


def _kept(file: Path) -> str:
    """The id in a file; "" when it holds none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _keep(file: Path, found: str) -> str:
    """Write the id down. Returns it, or that which another process has written meanwhile."""
    written = file.with_name(f"{FILE}.{secrets.token_hex(4)}")
    written.write_text(found + "\n", encoding="utf-8")
    try:
        if _kept(file):  # else it is not there, or was cut off by a full disk
            return _kept(file)
        written.replace(file)
    finally:
        written.unlink(missing_ok=True)
    return _kept(file)


async def own(tools: Tools, connection: ConnectionTools, *, take_over: bool = False) -> Claim:
    """Claim the document jobs. Raises Permanent (`code` "owner") when another live Connect has them, and says how to take them over."""
    journal = tools_of(connection).journal
    believed_s = min(BELIEVED_S, journal.lock_s)
    me = await deployment_id(tools)

    async def taking(before: str) -> None:
        log.warning("taking the document jobs over from another Connect", connection=connection.connection.name, before=before)
        await journal.distrust(believed_s + TAKING_S)  # should we die before that is known exactly

    try:
        claimed = await claim(tools_of(connection).prime, me, tools.clock(), take_over=take_over, taking=taking)
    except Permanent as error:
        if error.code != "owner":
            raise
        await tools.redis.delete(_owned(connection))
        how = f"or let this one have them: connect take-over --connection {connection.connection.name}"
        raise Permanent(f"{error.message}, {how}", system=error.system, code=error.code) from error
    if claimed.before:
        await journal.distrust(believed_s)
    await tools.redis.set(_owned(connection), claimed.owner.id, px=int(believed_s * 1000))
    return claimed


async def still_own(tools: Tools, connection: ConnectionTools) -> None:
    """As `own`, but what was claimed a moment ago is believed."""
    if not await tools.redis.exists(_owned(connection)):
        await own(tools, connection)


async def beat(tools: Tools, connection: ConnectionTools) -> None:
    """Have the heartbeat sent when it is due: another must not take us for silent between two runs that lie far apart."""
    if tools.starts_due and has_documents(connection) and await tools.redis.set(_beat(connection), "1", nx=True, ex=BEAT_EVERY_S):
        await enqueue(tools.redis, [ClaimJob(trace=secrets.token_hex(8), sid=connection.connection.sid)])


async def claim_jobs(ctx: dict[str, Any], job: ClaimJob) -> None:
    """The heartbeat."""
    tools: Tools = ctx["tools"]
    await own(tools, tools.connections[job.sid])


async def take_over(tools: Tools, *, connection: str | None = None, by: str) -> list[dict[str, str]]:
    """Take over the document jobs of one connection or of all. Returns for each its name, its owner, and who was that before.

    Raises ConfigError when there is nothing to take over, and what a call to Prime raises.
    """
    chosen = [one for one in tools.connections.values() if connection in (None, one.connection.name) and has_documents(one)]
    if not chosen:
        known = ", ".join(_names(one for one in tools.connections.values() if has_documents(one))) or "none"
        raise ConfigError(f"no connection with active document jobs{f' is named {connection}' if connection else ''} (there are: {known})")
    found = []
    for one in chosen:
        claimed = await own(tools, one, take_over=True)
        await Audit(one.redis, one.connection.sid).add(
            "take-over", one.connection.name, by=by, owner=claimed.owner.id, before=claimed.before
        )
        found.append({"connection": one.connection.name, "owner": claimed.owner.id, "before": claimed.before})
    return found


def has_documents(connection: ConnectionTools) -> bool:
    return connection.documents is not None and any(job.active and job.job in DOCUMENT_JOBS for job in connection.connection.jobs)


def _names(connections: Iterable[ConnectionTools]) -> list[str]:
    return [one.connection.name for one in connections]


def _owned(connection: ConnectionTools) -> str:
    return f"connect:{connection.connection.sid}:owned"


def _beat(connection: ConnectionTools) -> str:
    return f"connect:{connection.connection.sid}:beat"
