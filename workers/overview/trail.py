"""Who did what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from pydantic import Field

from connect.errors import ConfigError
from connect.state.audit import Act, Mark, newest_first
from workers.jobs import ConnectionTools, Tools
from workers.letters import audit_of
from workers.overview.model import PAGE_MOST, Model, chosen_of

LOOKED_AT_MOST: Final = 5000  # acts, for one page
_MARK: Final = re.compile(r"(\d{1,15})-(\d{1,9})", re.ASCII)


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

    items: list[AuditEntry] = Field(
        description="Newest first. May be fewer than asked for, even none, while there are older ones to look at."
    )
    older: str = Field(description="To be given as `before` for those that are older; empty when all were looked at.")


async def audit_list(
    tools: Tools,
    *,
    connection: str | None = None,
    by: str | None = None,
    what: str | None = None,
    about: str | None = None,
    since: datetime | None = None,
    before: str | None = None,
    limit: int = 50,
) -> AuditPage:
    """Who did what, newest first. `by` and `what` exactly, `about` by part of it; `before`: the `older` of the page before.

    One page looks at 5,000 acts at most, whether they match or not. Raises ConfigError for a `before` that is none.
    """
    limit = min(max(1, limit), PAGE_MOST)
    chosen = {one.connection.sid: one for one in chosen_of(tools, connection)}
    found: list[AuditEntry] = []
    mark = None if not before else _mark_from(before)
    looked_at = 0
    async for sid, act, ends in newest_first(tools.redis, list(chosen), mark):
        if act is not None and since is not None and datetime.fromisoformat(act.at) < since:
            break
        if mark is not None and (len(found) == limit or looked_at == LOOKED_AT_MOST):
            return AuditPage(items=found, older=f"{mark.at_ms}-{mark.passed}")
        looked_at, mark = looked_at + 1, ends
        if act is not None and _matches(act, by, what, about):
            found.append(_audit_entry(chosen[sid], act))
    return AuditPage(items=found, older="")


def _mark_from(text: str) -> Mark:
    match = _MARK.fullmatch(text)
    if match is None:
        raise ConfigError(f"before: {text[:40]!r} is not what a page of acts gave as `older`", code="before")
    return Mark(int(match[1]), int(match[2]))


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
