"""One look of the schedule stage at what people must be told, and the sending of it.

Only one process at a time has its turn, so several schedule workers tell everything once. What was told is noted when the message got
through: who dies between the two has it sent again, as the same message (an e-mail's Message-ID), rather than never.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from redis.exceptions import RedisError

from connect.config import Notification
from connect.errors import ConfigError, ConnectError
from connect.state.notices import Channel, Notices
from workers import overview
from workers.jobs import Tools
from workers.notify import messages
from workers.notify.channels import deliver
from workers.notify.deciding import LETTERS, book_of, decide, digest_day, digest_id, troubles_of
from workers.notify.messages import Message
from workers.overview import Chart, LetterGroup, Overview

TURN_S: Final = 120.0
LOOK_S: Final = 90.0  # well before the turn is another's
AGAIN_AFTER: Final = timedelta(minutes=1)
AGAIN_MOST: Final = timedelta(minutes=30)
GROUPS_MOST: Final = 500
DAY_MINUTES: Final = 1440

Deliver = Callable[[Notification, Message], Awaitable[str]]
log = structlog.get_logger()


@dataclass(frozen=True)
class _Seen:
    """What one look has found, for all channels."""

    overview: Overview
    letters: Sequence[LetterGroup]
    now: datetime


async def tell_people(tools: Tools, *, deliver: Deliver = deliver) -> None:
    """What is wrong is told on the channels that are to tell it. Never raises: nothing else may stop for it."""
    if not tools.config.notifications or not tools.starts_due:
        return
    try:
        async with asyncio.timeout(LOOK_S), Notices(tools.redis).turn(TURN_S) as is_mine:
            if is_mine:
                await _tell(tools, deliver)
    except (RedisError, OSError) as error:  # a time-out is an OSError; the next look comes soon
        log.warning("nobody could be told", error=repr(error))
    except Exception as error:  # noqa: BLE001 - a bug of ours; the work goes on
        log.error("nobody could be told", error=repr(error), where=traceback.format_exc(limit=-4))


async def _tell(tools: Tools, deliver: Deliver) -> None:
    notices = Notices(tools.redis)
    seen = await _look(tools)
    known = await notices.channels()
    told = [_Telling(tools, notices, channel, known.get(channel.name, Channel()), seen, deliver) for channel in tools.config.notifications]
    for channel, failure in zip(told, await asyncio.gather(*(one.tell() for one in told), return_exceptions=True), strict=True):
        if isinstance(failure, RedisError | OSError):
            raise failure
        if isinstance(failure, Exception):  # of one channel; the others have had their turn
            log.error("a channel could not be served", channel=channel.name, error=repr(failure))


async def _look(tools: Tools) -> _Seen:
    seen = await overview.overview(tools)
    has_letters = any(reason.kind == LETTERS for company in seen.companies for reason in company.reasons)
    letters = (await overview.letter_groups(tools, {"state": "open"}, limit=GROUPS_MOST)).items if has_letters else []
    return _Seen(seen, letters, seen.at)


class _Telling:
    """One channel's part of a look."""

    def __init__(self, tools: Tools, notices: Notices, channel: Notification, state: Channel, seen: _Seen, deliver: Deliver) -> None:
        self.name = channel.name
        self._tools = tools
        self._notices = notices
        self._channel = channel
        self._state = state
        self._seen = seen
        self._deliver = deliver

    async def tell(self) -> None:
        """Tell what is new, then the day's summary. While the channel rests after a failure, only note what comes and goes."""
        now, console = self._seen.now, _console(self._tools)
        troubles = troubles_of(self._channel, self._seen.overview, self._seen.letters)
        raw = await self._notices.told(self.name)
        decision = decide(self._channel, book_of(raw), troubles, now)
        await self._note(raw, decision.unsent)
        if self._state.next_at is not None and now < self._state.next_at:
            return
        if not decision.is_empty:
            message = messages.of_decision(self._channel, decision, now, console)
            if not await self._send(message):
                return
            await self._note({}, decision.sent)
        if self._channel.digest_at is not None and not await self._summarise(now, console):
            return
        if self._state.tries and self._state.failing_since is not None:  # nothing was sent yet that shows that it works again
            id_ = f"{decision.id}.{int(self._state.failing_since.timestamp())}"
            await self._send(messages.of_return(self._channel, id_, self._state.failing_since, now, console))

    async def _note(self, before: dict[str, Any], book: Any) -> None:
        after = {group: msgspec.to_builtins(told) for group, told in book.items()}
        if after != before:
            await self._notices.put_told(self.name, after)

    async def _summarise(self, now: datetime, console: str | None) -> bool:
        """False when the summary did not get through."""
        is_due, day = digest_day(self._channel, self._state.digest_on, now)
        if is_due:
            message = await _digest(self._tools, self._channel, self._seen, digest_id(self._channel, day), console)
            if not await self._send(message):
                return False
        if is_due or self._state.digest_on is None:
            await self._put(msgspec.structs.replace(self._state, digest_on=day))
        return True

    async def _send(self, message: Message) -> bool:
        """Whether it got through; how the channel is, is noted either way."""
        state, now = self._state, self._seen.now
        try:
            missed = await self._deliver(self._channel, message)
        except ConnectError as error:
            wait = min(AGAIN_AFTER * 2 ** min(state.tries, 10), AGAIN_MOST)
            log.error("a message did not get through", channel=self.name, error=error.message, tries=state.tries + 1, again_s=wait.seconds)
            since = state.failing_since or now
            await self._put(
                msgspec.structs.replace(state, failing_since=since, why=error.message, tries=state.tries + 1, next_at=now + wait)
            )
            return False
        log.info("people were told", channel=self.name, subject=message.subject, message=message.id)
        if missed:
            log.error("a message did not reach all", channel=self.name, error=missed)
            state = msgspec.structs.replace(state, failing_since=state.failing_since or now, why=missed, tries=0, next_at=None)
        else:
            state = Channel(digest_on=state.digest_on)
        await self._put(state)
        return True

    async def _put(self, state: Channel) -> None:
        if state != self._state:
            self._state = state
            await self._notices.put_channel(self.name, state)


async def _digest(tools: Tools, channel: Notification, seen: _Seen, id_: str, console: str | None) -> Message:
    names = channel.connections or [one.name for one in tools.config.connections]
    charts: list[Chart] = []
    for name in names:
        charts += await overview.charts(tools, connection=name, minutes=DAY_MINUTES)
    return messages.of_digest(channel, id_, seen.overview, seen.letters, charts, console)


def _console(tools: Tools) -> str | None:
    return tools.config.console_url


# -- what a person asks for --------------------------------------------------------------------------------------------


def channels_named(channels: Sequence[Notification], name: str | None) -> list[Notification]:
    """One channel by its name, or all. Raises ConfigError when there is none."""
    chosen = [channel for channel in channels if name in (None, channel.name)]
    if not chosen:
        names = ", ".join(channel.name for channel in channels)
        words = f"no channel {name!r} (there are: {names})" if names else "no [[notifications]] in the configuration: nobody is ever told"
        raise ConfigError(words, code="unknown-channel")
    return chosen


async def try_channel(channel: Notification, console: str | None, now: datetime, *, deliver: Deliver = deliver) -> str:
    """Send a test message. Returns "" or why not everybody has got it; raises nothing that sending may raise."""
    message = messages.of_test(channel, f"test.{secrets.token_hex(8)}", now, console)
    try:
        return await deliver(channel, message)
    except ConnectError as error:
        return error.message


async def digest_now(tools: Tools, channel: Notification) -> Message:
    """The summary as it would be sent now."""
    return await _digest(tools, channel, await _look(tools), f"asked.{secrets.token_hex(8)}", _console(tools))
