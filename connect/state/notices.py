"""What people have been told on each channel, and which channels do not get through.

    connect:notify:told:{channel}   hash     group of troubles -> JSON (what it holds is workers/notify's)
    connect:notify:channels         hash     channel -> JSON {failing_since, why, tries, next_at, digest_on}
    connect:notify:turn             string   who looks and sends just now: one process at a time

All of it is made anew when Redis is lost: what is still wrong is told once more.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import LockError

_CHANNELS: Final = "connect:notify:channels"
_TURN: Final = "connect:notify:turn"
_TOLD: Final = "connect:notify:told:"


class Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a channel is. `tries` in a row that failed, the next one at `next_at`; `digest_on`: the day of the newest digest, local time."""

    failing_since: datetime | None = None
    why: str = ""
    tries: int = 0
    next_at: datetime | None = None
    digest_on: date | None = None


class Failing(NamedTuple):
    """A channel that does not get through."""

    channel: str
    since: datetime
    why: str


class Notices:
    """The state of all channels."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def turn(self, most_s: float) -> AsyncIterator[bool]:
        """Whether it is this process's turn to look and send; for `most_s` at most."""
        lock = self._redis.lock(_TURN, timeout=most_s, blocking=False)
        token = secrets.token_hex(8)
        mine = bool(await lock.acquire(token=token, blocking=False))
        try:
            yield mine
        finally:
            if mine:
                with suppress(LockError):  # it took too long, or Redis has lost everything
                    await lock.do_release(token.encode())

    async def channels(self) -> dict[str, Channel]:
        """Those of which something is known, by name."""
        raw = await self._redis.hgetall(_CHANNELS)
        return {name.decode(): msgspec.json.decode(value, type=Channel) for name, value in raw.items()}

    async def put_channel(self, name: str, channel: Channel) -> None:
        await self._redis.hset(_CHANNELS, name, msgspec.json.encode(channel))

    async def failing(self, configured: Iterable[str]) -> list[Failing]:
        """Those of the configured channels that do not get through."""
        known = await self.channels()
        found = [(name, known[name]) for name in configured if name in known]
        return [Failing(name, one.failing_since, one.why) for name, one in found if one.failing_since is not None]

    async def told(self, channel: str) -> dict[str, Any]:
        """What has been told: group -> as it was put."""
        raw = await self._redis.hgetall(_TOLD + channel)
        return {group.decode(): msgspec.json.decode(value) for group, value in raw.items()}

    async def put_told(self, channel: str, told: Mapping[str, Any]) -> None:
        """Put all of it; what is not in it is forgotten."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_TOLD + channel)
            if told:
                pipe.hset(_TOLD + channel, mapping={group: msgspec.json.encode(value) for group, value in told.items()})
            await pipe.execute()
