"""What Connect needs of its Redis: an answer, a version, nothing thrown away, everything kept over a restart, a clock that agrees."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.exceptions import RedisError

from connect.doctor.check import Check, Finding, Seen
from connect.doctor.systems import Systems

ANSWER_S: Final = 5.0
OLDEST_MAJOR: Final = 7
SKEW_S: Final = 10.0  # leases of jobs and documents last seconds: clocks that differ more take what another holds for free
CONFIGURATION: Final = "deploy/valkey/valkey.conf"


async def _info(systems: Systems) -> dict[str, Any]:
    found: dict[str, Any] = await systems.redis.info("everything")
    return found


async def _facts(systems: Systems) -> dict[str, Any]:
    return await systems.once("redis.info", lambda: _info(systems))


async def reach(systems: Systems) -> Seen:
    do = "Start Redis, or correct url, username and password in [redis]; a firewall may stand between."
    try:
        async with asyncio.timeout(ANSWER_S):
            facts = await _facts(systems)
    except TimeoutError:
        return Seen("", (Finding(cause=f"Redis does not answer within {ANSWER_S:g} s.", owner="operator", do=do),))
    except (RedisError, OSError) as error:
        return Seen("", (Finding(cause=f"Redis does not serve us: {str(error).rstrip('.')}.", owner="operator", do=do),))
    if facts.get("role") != "master":
        cause = "This Redis is a replica, which takes no writes."
        return Seen("", (Finding(cause=cause, owner="operator", do="Let url in [redis] name the primary, or give sentinels = […]."),))
    return Seen("it answers and is a primary")


async def version(systems: Systems) -> Seen:
    facts = await _facts(systems)
    name, text = ("Valkey", facts["valkey_version"]) if "valkey_version" in facts else ("Redis", facts["redis_version"])
    if int(str(facts["redis_version"]).partition(".")[0]) >= OLDEST_MAJOR:
        return Seen(f"{name} {text}")
    do = f"Update the server to Valkey, or to Redis {OLDEST_MAJOR} or newer."
    return Seen(f"{name} {text}", (Finding(cause=f"{name} {text} is older than Redis {OLDEST_MAJOR}.", owner="operator", do=do),))


async def eviction(systems: Systems) -> Seen:
    policy = str((await _facts(systems)).get("maxmemory_policy"))
    if policy == "noeviction":
        return Seen(f"maxmemory-policy {policy}")
    cause = f"maxmemory-policy is {policy}: when its memory is full, Redis throws away journals, dead letters and waiting jobs."
    do = f"Set maxmemory-policy noeviction in the server's configuration ({CONFIGURATION}), and restart it or CONFIG SET it."
    return Seen(f"maxmemory-policy {policy}", (Finding(cause=cause, owner="operator", do=do),))


async def persistence(systems: Systems) -> Seen:
    facts = await _facts(systems)
    do = f"Set appendonly yes and appendfsync everysec in the server's configuration ({CONFIGURATION})."
    if facts.get("aof_enabled"):
        if facts.get("aof_last_write_status") == "err":
            cause = "Redis cannot write its append-only file."
            return Seen("appendonly yes", (Finding(cause=cause, owner="operator", do="Make room on the disk of the Redis server."),))
        return Seen("appendonly yes")
    try:
        points = str((await systems.redis.config_get("save")).get("save") or "")
    except RedisError:  # its user may not ask for that
        points = "?"
    if not points:
        cause = "Redis keeps nothing: after a restart dead letters with their edits, approvals, users and the audit trail are gone."
        return Seen("appendonly no, save off", (Finding(cause=cause, owner="operator", do=do),))
    cause = "appendonly is off: Redis loses what was written since its last snapshot, such as edits and entries of the audit trail."
    return Seen(f"appendonly no, save {points}", (Finding(cause=cause, owner="operator", do=do, verdict="warning"),))


async def clock(systems: Systems) -> Seen:
    before = systems.clock()
    seconds, micros = await systems.redis.time()
    after = systems.clock()
    ahead_s = (before + after) / 2 - (seconds + micros / 1e6)
    text = f"this machine and Redis differ by {abs(ahead_s):.1f} s"
    if abs(ahead_s) <= SKEW_S + (after - before):
        return Seen(text)
    cause = f"The clock of this machine is {abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'} that of the Redis server."
    do = "Let both machines take their time from a time server (chrony, systemd-timesyncd: `timedatectl set-ntp true`)."
    return Seen(text, (Finding(cause=cause, owner="operator", do=do),))


CHECKS: Final = (
    Check(name="redis.reach", tests="Redis answers and takes writes", run=reach),
    Check(name="redis.version", tests="Redis is new enough", run=version, needs=("redis.reach",)),
    Check(name="redis.eviction", tests="Redis throws nothing away when its memory is full", run=eviction, needs=("redis.reach",)),
    Check(name="redis.persistence", tests="Redis keeps what it holds over a restart", run=persistence, needs=("redis.reach",)),
    Check(name="redis.clock", tests="the clocks of this machine and of Redis agree", run=clock, needs=("redis.reach",)),
)
