"""Sending dead letters again. A register row is read anew from Sage by its key, so an old letter never overwrites newer data."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from connect.errors import ConfigError, Permanent
from connect.state.dead_letters import DeadLetter, holding, owners_of
from connect.state.letter_search import FILTERS
from connect.state.pauses import hold_on
from workers.documents import BATCH
from workers.jobs import FETCH, WRITE, ConnectionTools, PostJob, Tools, enqueue
from workers.letters import audit_of
from workers.producers import read_anew
from workers.queues import is_served

PAYMENT = "Payment"
DOCUMENTS = frozenset({"Invoice", "Cancellation", "Payment date", PAYMENT})  # kinds of letters that a PostJob sends again
BUSY_WAIT_S = 0.5
UNSERVED_LOOKS = 20  # without a worker: a restart takes less
AUDITED = 100  # ids named in an audit entry; more are counted


@dataclass(frozen=True)
class Replayed:
    """What a replay did: how many letters matched, and the runs that send their rows.

    `skipped`: letters that hold neither a register row nor a document. `documents`: (connection, company, job) of documents sent again.
    `unapproved`: ids of payments that another person must approve first. `paused`: ids of letters whose job a person has paused.
    """

    letters: int
    runs: tuple[str, ...] = ()
    skipped: int = 0
    documents: tuple[tuple[str, str, str], ...] = ()
    unapproved: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()


def check_filters(tools: Tools, filters: Mapping[str, str]) -> None:
    """Raises ConfigError for a filter that there is not, and for closed letters: nothing is done then, to no connection."""
    if "connection" in filters:
        tools.config.connection(filters["connection"])
    if unknown := sorted(set(filters) - {*FILTERS, "connection"}):
        raise ConfigError(f"--filter: no filter {', '.join(unknown)}; there are connection, {', '.join(FILTERS)}", code="filter")
    if (state := filters.get("state", "open")) != "open":
        words = "only open dead letters are replayed, approved or discarded; say state=open, or leave it out"
        raise ConfigError(f"--filter state={state}: {words}", code="filter")


async def chosen(tools: Tools, ids: Sequence[str], filters: Mapping[str, str] | None) -> list[tuple[ConnectionTools, DeadLetter]]:
    """The open letters that are named, or that match the filters (those without payloads). Raises ConfigError for filters that select none
    such.
    """
    check_filters(tools, filters or {})
    found: list[tuple[ConnectionTools, DeadLetter]] = []
    sids = list(tools.connections)
    for sid in await owners_of(tools.redis, sids, ids):
        letters = (await tools.connections[sid].dead_letters.some(ids)).values()
        found += [(tools.connections[sid], letter) for letter in letters if letter.state == "open"]
    if filters is None:
        return found
    for sid in await holding(tools.redis, sids, ("open",)) or sids[:1]:  # one at least, which says what is wrong with the filters
        connection = tools.connections[sid]
        if filters.get("connection") not in (None, connection.connection.name):
            continue
        rest = {name: value for name, value in filters.items() if name != "connection"}
        found += [(connection, letter) for letter in await connection.dead_letters.every(rest)]
    return found


async def replay(
    tools: Tools,
    ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    *,
    dry_run: bool = False,
    rate_per_s: float | None = None,
    by: str = "",
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Replayed:
    """Send letters again: one run per company and job, or, with a rate, as many rows a second. Waits for a run of the job that is on.

    Raises Permanent (`code` "not_replayed") when that run cannot end: the connection is not let in, or no worker is alive.
    """
    matching = await chosen(tools, ids, filters)
    holds = {sid: await one.pauses.holds() for sid, one in tools.connections.items()}
    held = tuple(letter.id for one, letter in matching if hold_on(holds[one.connection.sid], letter.job) is not None)
    out = frozenset(held)
    found = [(one, letter) for one, letter in matching if letter.id not in out]
    letters = [(connection, letter) for connection, letter in found if letter.key]
    documents = [(connection, letter) for connection, letter in found if letter.kind in DOCUMENTS and "-" in letter.number]
    skipped = len(found) - len(letters) - len(documents)
    refused = {letter.id for connection, letter in documents if not _may_be_sent(connection, letter, by)}
    unapproved = tuple(letter.id for _, letter in documents if letter.id in refused)
    documents = [(connection, letter) for connection, letter in documents if letter.id not in refused]
    if dry_run:
        return Replayed(len(letters) + len(documents), skipped=skipped, unapproved=unapproved, paused=held)
    if by:
        await _write_down([*letters, *documents], filters, by)
    jobs = tuple(dict.fromkeys((connection.connection.name, letter.company, letter.job) for connection, letter in documents))
    await _post_again(tools, documents, rate_per_s=rate_per_s, by=by, sleep=sleep)
    if not letters:
        return Replayed(len(documents), (), skipped, jobs, unapproved, held)
    groups: dict[tuple[str, str, str], list[DeadLetter]] = {}
    for connection, letter in letters:
        groups.setdefault((connection.connection.sid, letter.company, letter.job), []).append(letter)
    runs: list[str] = []
    for (sid, company, job), members in groups.items():
        connection = tools.connections[sid]
        step = len(members) if rate_per_s is None else max(1, int(rate_per_s))
        for start in range(0, len(members), step):
            batch = members[start : start + step]
            if start and rate_per_s is not None:
                await sleep(len(batch) / rate_per_s)
            parts: dict[str, list[int]] = {}
            for letter in batch:
                parts.setdefault(letter.part, []).append(letter.key)
            # First, for a fast run may have ended a letter by the time that read_anew is back.
            await connection.dead_letters.replaying([letter.id for letter in batch], by=by)
            unserved = 0
            while (run := await read_anew(tools, connection, company, job, parts, tools.clock())) is None:
                # the job is running; its rows are read anew after it
                unserved = 0 if await _is_served(tools) else unserved + 1
                if why := await _rests(connection, unserved):
                    await connection.dead_letters.reopen([letter.id for letter in batch], reason=f"not replayed: {why}")
                    raise Permanent(f"{job}, company {company}, is running and cannot end: {why}. Then replay again", code="not_replayed")
                await sleep(BUSY_WAIT_S)
            runs.append(run)
    return Replayed(len(letters) + len(documents), tuple(runs), skipped, jobs, unapproved, held)


async def _rests(connection: ConnectionTools, unserved: int) -> str:
    """Why a run that is on does not end by itself, "" when it may."""
    for stage in (FETCH, WRITE):
        if (pause := await connection.pauses.get(stage)) is not None:
            return f"{connection.connection.name} is not let in ({pause.reason})"
    return "no worker is alive; start `connect run`" if unserved >= UNSERVED_LOOKS else ""


async def _is_served(tools: Tools) -> bool:
    """Whether workers are alive that read and write."""
    return await is_served(tools.redis, FETCH) and await is_served(tools.redis, WRITE)


def _may_be_sent(connection: ConnectionTools, letter: DeadLetter, by: str) -> bool:
    """Four eyes on a payment: who approved its replay is not who replays it."""
    if letter.kind != PAYMENT or not connection.connection.settings(letter.company).payment_approval:
        return True
    return bool(letter.approved_by and by) and letter.approved_by != by


async def _write_down(letters: Sequence[tuple[ConnectionTools, DeadLetter]], filters: Mapping[str, str] | None, by: str) -> None:
    """Who replays what, for the audit trail."""
    by_connection: dict[str, tuple[ConnectionTools, list[str]]] = {}
    for connection, letter in letters:
        by_connection.setdefault(connection.connection.sid, (connection, []))[1].append(letter.id)
    for connection, ids in by_connection.values():
        await audit_of(connection).add("replay", " ".join(ids[:AUDITED]), by=by, letters=len(ids), filters=dict(filters or {}))


async def _post_again(
    tools: Tools,
    letters: Sequence[tuple[ConnectionTools, DeadLetter]],
    *,
    rate_per_s: float | None,
    by: str,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Documents go through the posting protocol again, so pressing twice is safe; what Prime does not list any more ends there quietly.

    Without a rate they go in batches, which share a listing and the look-ups.
    """
    groups: dict[tuple[str, str, str], list[DeadLetter]] = {}
    for connection, letter in letters:
        groups.setdefault((connection.connection.sid, letter.company, letter.job), []).append(letter)
    step = BATCH if rate_per_s is None else 1
    for (sid, company, job), members in groups.items():
        for start in range(0, len(members), step):
            batch = members[start : start + step]
            await tools.connections[sid].dead_letters.replaying([letter.id for letter in batch], by=by)
            again = PostJob(
                trace=secrets.token_hex(8),
                sid=sid,
                run="",
                job=job,
                company=company,
                documents=tuple(_document(letter) for letter in batch),
                nonce=secrets.token_hex(4),
            )
            await enqueue(tools.redis, [again])
            if rate_per_s is not None:
                await sleep(1 / rate_per_s)


def _document(letter: DeadLetter) -> tuple[str, str]:
    """Series and number; an id of Rillion Pay's may have dashes itself, and so may an invoice's series."""
    series, _, number = letter.number.partition("-") if letter.kind == PAYMENT else letter.number.rpartition("-")
    return series, number


async def discard(tools: Tools, ids: Sequence[str], *, reason: str, by: str = "") -> int:
    """Letters that a person says need not be delivered. Returns how many were open."""
    count = 0
    for connection in tools.connections.values():
        count += await connection.dead_letters.discard(ids, reason=reason, by=by)
    return count
