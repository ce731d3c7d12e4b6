"""What is told now, on one channel: pure, with the clock passed in.

What is wrong is decided by workers/overview alone. Here its reasons are put together (one trouble for all connections that have it, one for
all dead letters of one error), and it is remembered what has been told of each, so that nothing is said twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from connect.config import Notification
from connect.config.models import time_of
from workers.overview import LetterGroup, Light, Overview, Reason

LETTERS: Final = "dead-letters"
TITLES: Final = {
    "auth": "Connect is not let in",
    "no-worker": "No worker is alive",
    "failed": "{job} fails",
    "receipt-refused": "{job}: Prime refuses receipts",
    "receipt-late": "{job}: documents wait for their receipt",
    "paused": "Somebody has paused {job}",
    "held": "{job} waits for a person",
    "late": "{job} is older than its schedule",
    "budget": "Sage's transactions of the month run out",
    "doubt": "Documents wait for Redis' memory to be certain",
    "reconcile": "Sage, Prime and the journal do not agree",
    "throttled": "Sage asks Connect to slow down",
    "new": "Nothing has run yet",
    "notification": "Messages on {channel} do not get through",
}
"""Kind of a reason -> what a message calls it. Wording alone: a kind that is not here is told by its own name."""


class Member(NamedTuple):
    """One connection (and company) that has a trouble. `number`: of dead letters; 0 for what is not counted."""

    connection: str
    company: str
    text: str
    number: int = 0

    @property
    def key(self) -> str:
        return f"{self.connection}\n{self.company}"

    @property
    def line(self) -> str:
        """For a person."""
        where = f"{self.connection}, company {self.company}" if self.company else self.connection
        return f"{where}: {self.text}"


@dataclass
class Trouble:
    """What is wrong, wherever it is so."""

    group: str
    title: str
    owner: str
    light: Light = "amber"
    fix: str = ""
    members: dict[str, Member] = field(default_factory=dict)

    def add(self, member: Member, light: Light) -> None:
        before = self.members.get(member.key)
        if before is not None and before.text != member.text:  # two stages without a worker
            member = member._replace(text=f"{before.text}; {member.text}")
        self.members[member.key] = member
        self.light = "red" if "red" in (light, self.light) else "amber"


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one trouble on one channel. `is_open`: it has been told and not yet been said to be over."""

    since: datetime
    title: str = ""
    gone_at: datetime | None = None
    told_at: datetime | None = None
    is_open: bool = False
    light: str = ""
    members: dict[str, int] = {}


Book = Mapping[str, Told]


@dataclass(frozen=True)
class Decision:
    """`troubles` and `resolved` (titles, with how long each lasted) are told in one message; nothing is, when both are empty. `unsent` is
    what is known until the message got through, `sent` from then on. `id`: the same until then, whoever sends it.
    """

    troubles: Sequence[Trouble]
    resolved: Sequence[tuple[str, timedelta]]
    unsent: Book
    sent: Book
    id: str

    @property
    def is_empty(self) -> bool:
        return not self.troubles and not self.resolved


def book_of(raw: Mapping[str, Any]) -> dict[str, Told]:
    """What has been told, as Redis has kept it."""
    return {group: msgspec.convert(value, Told) for group, value in raw.items()}


def troubles_of(channel: Notification, seen: Overview, letters: Sequence[LetterGroup]) -> dict[str, Trouble]:
    """What the channel may tell: the reasons of its connections and owners, and of dead letters their errors instead of their owners."""
    found: dict[str, Trouble] = {}
    grouped = {(group.connection, group.owner) for group in letters}
    alarming: dict[tuple[str, str], Light] = {}
    for company in seen.companies:
        if channel.connections and company.connection not in channel.connections:
            continue
        for reason in company.reasons:
            if not _concerns(channel, reason):
                continue
            if reason.kind == LETTERS and (company.connection, reason.owner) in grouped:
                alarming[company.connection, reason.owner] = reason.light
            else:
                _add(found, reason, Member(company.connection, company.company, reason.text))
    for group in letters:
        if (light := alarming.get((group.connection, group.owner))) is not None:
            _add_letters(found, group, light)
    return found


def _concerns(channel: Notification, reason: Reason) -> bool:
    is_bad_enough = channel.min_light == "amber" or reason.light == "red"
    is_theirs = not channel.owners or reason.owner in channel.owners
    return is_bad_enough and is_theirs and reason.channel != channel.name  # a message that gets through cannot say that none does


def _add(found: dict[str, Trouble], reason: Reason, member: Member) -> None:
    about = reason.job or reason.channel
    group = f"{reason.kind}:{about}:{reason.owner}"
    title = TITLES.get(reason.kind, reason.kind.capitalize()).format(job=reason.job or "everything", channel=reason.channel)
    if reason.kind == LETTERS:
        title = f"Dead letters for the {reason.owner}"
    found.setdefault(group, Trouble(group, title, reason.owner)).add(member, reason.light)


def _add_letters(found: dict[str, Trouble], letters: LetterGroup, light: Light) -> None:
    """A message says what the catalogue says, and not the systems' own words, which may hold what a document holds."""
    group = f"{LETTERS}:{letters.kind}:{letters.entry or f'{letters.system} {letters.code}'}:{letters.owner}"
    cause = letters.cause.partition(". ")[0].rstrip(".") or f"{letters.system or 'Connect'} says {letters.code}"
    trouble = found.setdefault(group, Trouble(group, f"{letters.kind}: {cause}", letters.owner, fix=letters.fix))
    before = trouble.members.pop(f"{letters.connection}\n", None)
    number = letters.count + (before.number if before else 0)
    trouble.add(Member(letters.connection, "", f"{number:,} dead letter{'s' if number > 1 else ''}", number), light)


def decide(channel: Notification, book: Book, troubles: Mapping[str, Trouble], now: datetime) -> Decision:
    """What is told now. Nothing in the quiet hours (unless it is red and may wake people), nothing that has not lasted a while, nothing
    more of a trouble within its quiet period unless it became red.
    """
    after, quiet = timedelta(minutes=channel.after_minutes), timedelta(minutes=channel.quiet_minutes)
    is_quiet = channel.quiet_at(now)
    unsent: dict[str, Told] = {}
    sent: dict[str, Told] = {}
    telling: list[Trouble] = []
    resolved: list[tuple[str, timedelta]] = []
    for group, trouble in troubles.items():
        told = book.get(group)
        if told is None or (not told.is_open and told.gone_at is not None):  # new, or there again
            told = Told(now, told_at=told.told_at if told else None)
        told = unsent[group] = sent[group] = msgspec.structs.replace(told, gone_at=None, title=trouble.title)
        may_be_told = not is_quiet or (channel.wake_for_red and trouble.light == "red")
        if channel.immediate and may_be_told and now - told.since >= after and _is_news(told, trouble, now - quiet):
            telling.append(trouble)
            numbers = {key: member.number for key, member in trouble.members.items()}
            sent[group] = msgspec.structs.replace(told, told_at=now, is_open=True, light=trouble.light, members=numbers)
    for group in book.keys() - troubles.keys():
        told = book[group]
        told = msgspec.structs.replace(told, gone_at=told.gone_at or now)
        assert told.gone_at is not None
        if not told.is_open:
            if told.told_at is not None and told.told_at + quiet > now:  # should it come again soon
                unsent[group] = sent[group] = told
            continue
        unsent[group] = sent[group] = told
        may_be_told = not is_quiet or (channel.wake_for_red and told.light == "red")
        if may_be_told and now - told.gone_at >= after:
            resolved.append((told.title, told.gone_at - told.since))
            sent[group] = msgspec.structs.replace(told, is_open=False)
    telling.sort(key=lambda trouble: trouble.light != "red")
    known = sorted((group, told.since.isoformat(), str(told.told_at)) for group, told in unsent.items() if told != sent[group])
    return Decision(telling, sorted(resolved), unsent, sent, _digest_of(channel.name, *map(str, known)))


def _is_news(told: Told, trouble: Trouble, quiet_since: datetime) -> bool:
    if told.is_open and trouble.light == "red" and told.light != "red":
        return True
    if told.told_at is not None and told.told_at > quiet_since:
        return False
    return not told.is_open or any(member.number > told.members.get(key, -1) for key, member in trouble.members.items())


def _digest_of(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]


def digest_day(channel: Notification, newest: date | None, now: datetime) -> tuple[bool, date]:
    """(whether the day's summary is due, the day that is noted as its day when it has been sent; or now, when none was ever sent).

    A channel that is new starts with the next one; one missed while nothing ran is sent late, once.
    """
    assert channel.digest_at is not None
    local = now.astimezone(ZoneInfo(channel.timezone))
    day = local.date() if local.time() >= time_of(channel.digest_at) else local.date() - timedelta(days=1)
    return newest is not None and newest < day, day


def digest_id(channel: Notification, day: date) -> str:
    return _digest_of(channel.name, "digest", day.isoformat())
