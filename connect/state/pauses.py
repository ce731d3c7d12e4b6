"""Pauses: a connection that does not work for now, or a part of its work, and why. Its jobs wait; none is lost.

    connect:{sid}:paused:{stage}    string   JSON {reason, owner, since}; not let in: ends by itself, so that the next job tries again
    connect:{sid}:holds             hash     what a person has paused -> JSON {reason, by, since}; stays until a person lifts it

A person pauses everything of a connection ("all"), a job ("job:GetSuppliers") or a direction ("direction:inbound" registers,
"direction:outbound" documents).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson
from redis.asyncio import Redis

from connect.config.names import DOCUMENT_JOBS
from connect.errors import ConfigError

Direction = Literal["inbound", "outbound"]
DIRECTIONS: Final = get_args(Direction)
PROBE_S: Final = 120  # a connection that is not let in is tried again so often
ALL: Final = "all"
CLOSED: Final = ("fetch", "write", "post")  # the stages that may not be let in


@dataclass(frozen=True)
class Pause:
    """Why a stage of a connection rests; `left_s` until it is tried again; `owner`: whose turn it is, "" when nobody has said."""

    reason: str
    since: datetime
    left_s: float
    owner: str = ""


class Hold(NamedTuple):
    """What a person has paused."""

    what: str
    reason: str
    by: str
    since: datetime

    @property
    def text(self) -> str:
        """For a person."""
        kind, _, name = self.what.partition(":")
        shown = {"job": name, "direction": f"everything {name}"}.get(kind, "everything")
        return f"{shown} is paused by {self.by}: {self.reason}"


def what_of(job: str | None = None, direction: str | None = None) -> str:
    """What is paused, as it is kept. Raises ConfigError when both are named, or the direction is none."""
    if job and direction:
        raise ConfigError("name a job or a direction, not both: a job goes in one direction only", code="which")
    if direction is not None and direction not in DIRECTIONS:
        raise ConfigError(f"no direction {direction!r}; there are {' (registers) and '.join(DIRECTIONS)} (documents)", code="direction")
    return f"job:{job}" if job else f"direction:{direction}" if direction else ALL


def direction_of(job: str) -> Direction:
    """Registers come in from Sage, documents go out to it."""
    return "outbound" if job in DOCUMENT_JOBS else "inbound"


def hold_on(holds: Sequence[Hold], job: str) -> Hold | None:
    """What keeps a job from working, the widest first."""
    if not holds:
        return None
    by_what = {hold.what: hold for hold in holds}
    return next((by_what[what] for what in (ALL, f"direction:{direction_of(job)}", f"job:{job}") if what in by_what), None)


def hold_on_all(holds: Sequence[Hold], jobs: Iterable[str]) -> Hold | None:
    """What keeps all of these from working; None as soon as one may, and for none."""
    found = [hold_on(holds, job) for job in jobs] if holds else []
    return found[0] if found and all(found) else None


def pause_from(raw: bytes, left_ms: int) -> Pause:
    """As it is kept."""
    facts = orjson.loads(raw)
    return Pause(facts["reason"], datetime.fromisoformat(facts["since"]), max(left_ms, 0) / 1000, facts.get("owner", ""))


def holds_from(raw: dict[bytes, bytes]) -> list[Hold]:
    """As they are kept; the widest first, then the oldest."""
    found = []
    for what, value in raw.items():
        facts = orjson.loads(value)
        found.append(Hold(what.decode(), facts["reason"], facts["by"], datetime.fromisoformat(facts["since"])))
    return sorted(found, key=lambda hold: (hold.what != ALL, hold.since))


class Pauses:
    """The pauses of one connection."""

    def __init__(self, redis: Redis, sid: str, *, probe_s: float = PROBE_S) -> None:
        self._redis = redis
        self._prefix = f"connect:{sid}:paused:"
        self._holds = f"connect:{sid}:holds"
        self._probe_s = probe_s

    async def pause(self, stage: str, reason: str, owner: str = "") -> bool:
        """Rest for a while. `owner`: whose turn it is. Returns True when the reason is worth a message: it has not been given already."""
        body = orjson.dumps({"reason": reason, "owner": owner, "since": datetime.now(UTC).isoformat()})
        fresh = await self._redis.set(self._prefix + stage, body, px=int(self._probe_s * 1000), nx=True)
        said = await self._redis.set(self._prefix + stage + ":said", reason, px=int(self._probe_s * 3000), get=True)
        return bool(fresh) and said != reason.encode()

    async def get(self, stage: str) -> Pause | None:
        """Why a stage rests because we are not let in."""
        return (await self.look(stage))[0]

    async def look(self, stage: str) -> tuple[Pause | None, list[Hold]]:
        """All that may keep a stage's job from working, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._prefix + stage)
            pipe.pttl(self._prefix + stage)
            pipe.hgetall(self._holds)
            raw, left_ms, holds = await pipe.execute()
        return pause_from(raw, left_ms) if raw is not None else None, holds_from(holds)

    async def clear(self, stage: str) -> None:
        """It works (again), or somebody wants it tried now."""
        await self._redis.delete(self._prefix + stage, self._prefix + stage + ":said")

    # -- what persons pause

    async def hold(self, what: str, *, reason: str, by: str) -> Hold:
        """Pause until a person lifts it. What is paused already gets the newer reason."""
        hold = Hold(what, reason, by, datetime.now(UTC))
        facts: dict[str, Any] = {"reason": reason, "by": by, "since": hold.since.isoformat()}
        await self._redis.hset(self._holds, what, orjson.dumps(facts))
        return hold

    async def lift(self, what: str) -> bool:
        """Work again. Returns False when it was not paused."""
        return bool(await self._redis.hdel(self._holds, what))

    async def holds(self) -> list[Hold]:
        """What persons have paused, the widest first."""
        return holds_from(await self._redis.hgetall(self._holds))


async def rests_of(redis: Redis, sids: Sequence[str]) -> list[tuple[list[Hold], list[str]]]:
    """(what persons have paused, why we are not let in) of several connections, in one exchange."""
    if not sids:
        return []
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.hgetall(f"connect:{sid}:holds")
            pipe.mget([f"connect:{sid}:paused:{stage}" for stage in CLOSED])
        answers = await pipe.execute()
    return [
        (holds_from(holds), list(dict.fromkeys(pause_from(raw, 0).reason for raw in pauses if raw is not None)))
        for holds, pauses in zip(answers[::2], answers[1::2], strict=True)
    ]
