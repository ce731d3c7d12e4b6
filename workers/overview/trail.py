"""Who did what."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import Field

from connect.state.audit import Act, newest_first
from workers.jobs import ConnectionTools, Tools
from workers.letters import audit_of
from workers.overview.model import PAGE_MOST, Model, chosen_of


class AuditEntry(Model):
    """One act."""

    connection: str
    n: int = Field(description="Its number in the connection's chain.")
    at: datetime = Field(description="When.")
    by: str = Field(description="Who.")
    what: str = Field(description="edit, replay, approve, discard, sync, pause, resume, …")
    about: str = Field(description="What it was done to.")
    facts: dict[str, Any] = Field(description="Reason, before and after, how many.")
    before: str = Field(description="Hash of the entry before it.")
    hash: str = Field(description="Its own hash.")


class AuditPage(Model):
    """A page of acts."""

    items: list[AuditEntry] = Field(description="Newest first.")
    more: bool = Field(description="Whether there are older ones.")


async def audit_list(
    tools: Tools,
    *,
    connection: str | None = None,
    by: str | None = None,
    what: str | None = None,
    about: str | None = None,
    since: datetime | None = None,
    offset: int = 0,
    limit: int = 50,
) -> AuditPage:
    """Who did what, newest first. `by` and `what` exactly, `about` by part of it."""
    limit = min(max(1, limit), PAGE_MOST)
    chosen = {one.connection.sid: one for one in chosen_of(tools, connection)}
    found: list[AuditEntry] = []
    passed = 0
    async for sid, act in newest_first(tools.redis, list(chosen)):
        if since is not None and datetime.fromisoformat(act.at) < since:
            break
        if not _matches(act, by, what, about):
            continue
        passed += 1
        if passed > offset + limit:
            break
        if passed > offset:
            found.append(_audit_entry(chosen[sid], act))
    return AuditPage(items=found, more=passed > offset + limit)


async def audit_export(
    tools: Tools,
    form: Literal["jsonl", "csv"] = "jsonl",
    *,
    connection: str | None = None,
    by: str | None = None,
    what: str | None = None,
    about: str | None = None,
    since: datetime | None = None,
) -> AsyncIterator[str]:
    """All that match, newest first by connection, line by line: JSON lines, or CSV with a heading."""
    if form == "csv":
        yield _csv_line(["connection", "n", "at", "by", "what", "about", "facts", "hash"])
    for one in chosen_of(tools, connection):
        async for act in audit_of(one).backwards():
            if since is not None and datetime.fromisoformat(act.at) < since:
                break
            if not _matches(act, by, what, about):
                continue
            if form == "jsonl":
                yield _audit_entry(one, act).model_dump_json() + "\n"
            else:
                facts = orjson.dumps(act.facts).decode()
                yield _csv_line([one.connection.name, str(act.n), act.at, act.by, act.what, act.about, facts, act.hash])


def _matches(act: Act, by: str | None, what: str | None, about: str | None) -> bool:
    return by in (None, act.by) and what in (None, act.what) and (about is None or about.casefold() in act.about.casefold())


def _audit_entry(one: ConnectionTools, act: Act) -> AuditEntry:
    return AuditEntry(
        connection=one.connection.name,
        n=act.n,
        at=datetime.fromisoformat(act.at),
        by=act.by,
        what=act.what,
        about=act.about,
        facts=act.facts,
        before=act.before,
        hash=act.hash,
    )


def _csv_line(values: Sequence[str]) -> str:
    """A spreadsheet must not take a value for a formula."""
    line = io.StringIO()
    csv.writer(line).writerow([f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value for value in values])
    return line.getvalue()
