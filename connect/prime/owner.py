"""Which Connect has the document jobs of a Prime environment: two deployments on the same Prime would both book its invoices.

The owner's id and heartbeat are a row of Prime's CustomSettings. Prime has no compare-and-set, so a claim writes and reads back: of two
that come new, Prime lets one insert its row; should two take over a silent owner's place in the very same moment, the one that was
written over finds out at its next claim. Until then the posting protocol's look-ups keep them from booking anything twice.

Source: design section 4, "Two deployments"; prime.md D28 for the shape of a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, Protocol

import msgspec
import structlog

from connect.errors import Permanent, Transient
from connect.prime.documents import CustomSetting

SETTING: Final = "ConnectOwner"
LIVE_S: Final = 3600.0  # silent for longer: it may be taken over. Claim again well within it, whether there is work or not
BEAT_S: Final = 60.0  # a heartbeat younger than that is not written again

log = structlog.get_logger()


class Settings(Protocol):
    """What `documents.PrimeDocuments` offers for this."""

    async def custom_settings(self, *, kind: str = "", setting: str = "", company: str | None = None) -> list[CustomSetting]: ...
    async def put_custom_setting(self, row: CustomSetting, *, new: bool | None = None) -> None: ...


class Owner(msgspec.Struct, frozen=True):
    """Who has the document jobs, since when, and when it was last heard of."""

    id: str
    since: datetime
    at: datetime


class Claim(NamedTuple):
    """The jobs are ours. `before`: whose they were until this very claim, "?" when that cannot be read, "" when nobody's or ours."""

    owner: Owner
    before: str = ""


class Decision(NamedTuple):
    """`go`: the jobs are ours, nothing to write. `write`: `owner` is to be written. `stop`: they are another's; `owner` is None when what
    Prime holds there cannot be read.
    """

    verdict: Literal["go", "write", "stop"]
    owner: Owner | None


def decide(held: str | None, me: str, now: datetime, *, take_over: bool, live_s: float = LIVE_S) -> Decision:
    """What follows from the value that Prime holds (None: no row). An unreadable value is somebody's: only `take_over` overrides it."""
    if not held:
        return Decision("write", Owner(me, now, now))
    owner = read_owner(held)
    if owner is not None and owner.id == me:
        silent_s = (now - owner.at).total_seconds()
        fresh = 0 <= silent_s < BEAT_S
        return Decision("go", owner) if fresh else Decision("write", Owner(me, owner.since, now))
    is_silent = owner is not None and (now - owner.at).total_seconds() >= live_s
    return Decision("write", Owner(me, now, now)) if take_over or is_silent else Decision("stop", owner)


def read_owner(value: str) -> Owner | None:
    """The owner in a setting's value; None when it cannot be read."""
    try:
        owner = _decode(value)
    except (msgspec.DecodeError, UnicodeError):  # an outcome, not an error: it is somebody's all the same
        return None
    return owner if owner.since.tzinfo is not None and owner.at.tzinfo is not None else None


_decode: Final[Callable[[str], Owner]] = msgspec.json.Decoder(Owner).decode


async def claim(
    documents: Settings,
    me: str,
    now: datetime,
    *,
    company: str = "",
    take_over: bool = False,
    live_s: float = LIVE_S,
    taking: Callable[[str], Awaitable[None]] | None = None,
) -> Claim:
    """Say that the document jobs are ours, of one company or ("") of the environment; call it again and again: it is the heartbeat too.

    `taking` is awaited before another's entry is written over.

    Raises Permanent (`code` "owner") when another live Connect has them, and what a call to Prime raises.
    """
    held = await _held(documents, company)
    decision = decide(held, me, now, take_over=take_over, live_s=live_s)
    before = _before(held, me)
    if decision.verdict == "write" and decision.owner is not None:
        if before and taking is not None:
            await taking(before)
        refusal = await _put(documents, company, decision.owner, new=held is None)
        decision = decide(await _held(documents, company), me, now, take_over=False, live_s=live_s)
        if decision.verdict == "write":
            raise refusal or Transient(f"Prime did not keep the custom setting {SETTING}", system="prime", code="owner_not_kept")
    if decision.verdict == "stop" or decision.owner is None:
        raise _another(decision.owner, company)
    return Claim(decision.owner, before)


def _before(held: str | None, me: str) -> str:
    owner = read_owner(held) if held else None
    return "" if not held or (owner is not None and owner.id == me) else owner.id if owner is not None else "?"


async def _put(documents: Settings, company: str, owner: Owner, *, new: bool) -> Permanent | None:
    """Write the row. Prime's refusal, which may be another's insert in the same moment: what is there then decides."""
    if owner.since == owner.at:
        log.info("this Connect takes the document jobs", id=owner.id, company=company)
    try:
        row = CustomSetting(company, SETTING, SETTING, msgspec.json.encode(owner).decode())
        await documents.put_custom_setting(row, new=new)
    except Permanent as error:
        return error
    return None


async def _held(documents: Settings, company: str) -> str | None:
    rows = await documents.custom_settings(kind=SETTING, setting=SETTING, company=company)
    return rows[0].value if rows else None


def _another(owner: Owner | None, company: str) -> Permanent:
    where = f"company {company}" if company else "this environment"
    who = "another Connect, whose entry cannot be read, owns" if owner is None else f"another live Connect ({owner.id}) owns"
    since = "" if owner is None else f" since {owner.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Permanent(f"{who} the document jobs of {where}{since}; stop it", system="prime", code="owner")
