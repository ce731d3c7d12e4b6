"""Is it well? For /readyz, for `connect health`, and so for whatever restarts or routes by them (Kubernetes, compose).

A stage's worker is looked for on this host, because a probe runs beside it; all stages are looked for wherever they run.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.jobs import STAGES
from workers.queues import WORKERS

LONGEST_S: Final = 3.0


@dataclass(frozen=True)
class Health:
    """`reasons`: what is wrong, each in a sentence; none when all is well."""

    reasons: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        return not self.reasons

    def document(self) -> dict[str, Any]:
        return {"ok": self.is_well, "reasons": list(self.reasons)}


async def redis_health(redis: Redis) -> Health:
    """Whether Redis answers, and takes writes."""
    try:
        async with asyncio.timeout(LONGEST_S):
            facts = await redis.info("replication")
            persistence = await redis.info("persistence")
    except TimeoutError:
        return Health((f"Redis does not answer within {LONGEST_S:g} s",))
    except (RedisError, OSError) as error:
        return Health((f"Redis does not serve us: {str(error).rstrip('.')}",))
    reasons = []
    if facts.get("role") != "master":
        reasons.append("Redis is a replica: it takes no writes; connect to the primary")
    if persistence.get("loading"):
        reasons.append("Redis is still reading its files")
    if persistence.get("aof_enabled") and persistence.get("aof_last_write_status") == "err":
        reasons.append("Redis cannot write its append-only file: look at its disk")
    return Health(tuple(reasons))


async def health(redis: Redis, stage: str | None = None, *, host: str | None = None) -> Health:
    """Redis, and workers: of all stages anywhere, or of one stage on this host."""
    state = await redis_health(redis)
    if not state.is_well:
        return state
    try:
        async with asyncio.timeout(LONGEST_S):
            alive = await _owners(redis)
    except (RedisError, OSError) as error:  # a time-out is an OSError
        return Health((f"Redis does not serve us: {str(error).rstrip('.') or 'no answer'}",))
    if stage is None:
        return Health(tuple(f"no worker is alive for the stage {one}" for one in STAGES if not alive[one]))
    here = host or socket.gethostname()
    if any(owner.rsplit(":", 2)[0] == here for owner in alive[stage]):
        return Health()
    elsewhere = len(alive[stage])
    others = f" ({elsewhere} on other hosts)" if elsewhere else ""
    return Health((f"no worker of the stage {stage} is alive on this host, {here}{others}",))


async def _owners(redis: Redis) -> dict[str, list[str]]:
    """Who is alive, by stage."""
    found: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for name, value in (await redis.hgetall(WORKERS)).items():
        stage, _, owner = name.decode().partition(":")
        if stage in found and orjson.loads(value)["until"] >= time.time() * 1000:
            found[stage].append(owner)
    return found
