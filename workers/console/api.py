"""/api/v1: what the command line does, as JSON. Described by `/api/v1/openapi.json`, which is made from the models of the routes.

The models of most answers are those of workers/overview/ and workers/acts.py, which the pages use too.
"""

from __future__ import annotations

import asyncio
import platform
from datetime import datetime
from importlib import metadata
from typing import Annotated, Any, Final, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from connect.catalogue import catalogue
from connect.errors import ConnectError
from workers import acts, deployment, letters, overview
from workers import usage as report
from workers.console.audit_page import exported, moment_of
from workers.console.openapi import document
from workers.console.route import API, Asked, Route

WAIT_S: Final = 3.0  # for a replay that may take long; it goes on by itself after that
IDS_MOST: Final = 5000
Text = Annotated[str, Field(max_length=2000)]
Reason = Annotated[str, Field(min_length=1, max_length=acts.REASON_MOST)]
Offset = Annotated[int, Field(ge=0, le=1_000_000)]
Limit = Annotated[int, Field(ge=1, le=500)]
Since = Annotated[
    datetime | None,
    BeforeValidator(lambda value: moment_of(value) if isinstance(value, str) else value),
    Field(json_schema_extra={"examples": ["2026-11-25", "2026-11-25T07:00:00+01:00"]}),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Told(BaseModel):
    """What is told may get further keys in a later version."""

    model_config = ConfigDict(extra="allow")


# -- what is told ------------------------------------------------------------------------------------------------------


class ReplayAnswer(acts.Replay):
    """`state`: "done": all are on their way; "under way": they are being put there, which the letters' states show; "dry run"."""

    state: Literal["done", "under way", "dry run"]


class CheckedAnswer(BaseModel):
    connection: str
    checks: list[overview.Check]


class ConnectionsAnswer(BaseModel):
    connections: list[overview.Setup]


class RowsAnswer(BaseModel):
    rows: list[overview.SentRow]


class ChartsAnswer(BaseModel):
    charts: list[overview.Chart]


class PausesAnswer(BaseModel):
    connections: list[acts.ConnectionPauses]


class ErrorEntry(_Told):
    name: str
    system: str
    codes: list[str]
    text: str
    cause: str
    owner: str
    fix: str
    action: str
    worker: str
    example: str


class ErrorsAnswer(BaseModel):
    total: int
    errors: list[ErrorEntry]


class ExplainAnswer(BaseModel):
    code: str
    errors: list[ErrorEntry]


class UnknownAnswer(overview.Coverage):
    shapes: list[dict[str, Any]]


class VerifyAnswer(BaseModel):
    ok: bool
    connections: list[dict[str, Any]]


class TakeOverAnswer(BaseModel):
    """The connections whose documents are this Connect's now."""

    connections: list[dict[str, str]]


class UsageAnswer(_Told):
    """As `connect usage --json`."""

    month: str
    connections: list[dict[str, Any]]


class VersionAnswer(_Told):
    version: str
    python: str


# -- what is asked -----------------------------------------------------------------------------------------------------


class ListQuery(_Asked):
    """Filters as `connect dead-letters list --filter` takes them."""

    connection: Text | None = None
    company: Text | None = None
    job: Text | None = None
    kind: Text | None = None
    number: Text | None = None
    code: Text | None = None
    error: Text | None = None
    owner: Text | None = None
    state: Text | None = None
    supplier: Text | None = None
    text: Text | None = None
    id: Text | None = None
    group: Text | None = None
    limit: Limit = 50
    offset: Offset = 0

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name, value in self.model_dump(exclude={"limit", "offset"}).items() if value is not None}


class Which(_Asked):
    """Which dead letters: their ids, or all open ones that match filters ({"state": "open"} for all)."""

    ids: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=IDS_MOST)
    filters: dict[str, Text] = {}

    @field_validator("filters")
    @classmethod
    def _of_one_or_the_other(cls, value: dict[str, str], info: Any) -> dict[str, str]:
        if bool(value) == bool(info.data.get("ids")):
            raise ValueError("say which dead letters: their ids, or filters")
        return value

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, validate_default=True)


class ReplayBody(Which):
    """`rate`: at most so many a second."""

    dry_run: bool = False
    rate: float | None = Field(default=None, ge=0.01, le=10_000)


class DiscardBody(Which):
    reason: Reason


class EditBody(_Asked):
    """`changes`: path in the payload -> new value; null clears. `dry_run`: only say what would change, and whether it may."""

    changes: dict[Text, Text | None] = Field(min_length=1, max_length=1000)
    reason: Annotated[str, Field(max_length=acts.REASON_MOST)] = ""
    dry_run: bool = False


class NumberQuery(_Asked):
    number: Annotated[str, Field(min_length=1, max_length=200)]


class CodeQuery(_Asked):
    code: Annotated[str, Field(min_length=1, max_length=2000)]


class AuditQuery(_Asked):
    """`by` and `what` exactly, `about` by part of it; `since`: a day or an instant, UTC unless it says otherwise; `before`: `older` of the
    page before.
    """

    connection: Text | None = None
    by: Text | None = None
    what: Text | None = None
    about: Text | None = None
    since: Since = None
    limit: Limit = 50
    before: Text | None = None


class ExportQuery(_Asked):
    """The same filters."""

    connection: Text | None = None
    by: Text | None = None
    what: Text | None = None
    about: Text | None = None
    since: Since = None
    form: Literal["csv", "jsonl"] = "jsonl"


class UsageQuery(_Asked):
    """`month` as YYYY-MM, this one when left out; `schedule`: JOB=TIME, what that schedule would save."""

    connection: Text | None = None
    month: Annotated[str, Field(max_length=7)] = ""
    schedule: list[Text] | Text = []


class RunsQuery(_Asked):
    connection: Text | None = None
    company: Text | None = None
    job: Text | None = None
    state: Text | None = None
    limit: Limit = 50
    offset: Offset = 0


class ConnectionQuery(_Asked):
    connection: Text | None = None


class RowsQuery(_Asked):
    """`number`: a row's number in Prime, exactly."""

    company: Text
    job: Text
    number: Annotated[str, Field(min_length=1, max_length=200)]


class ValuesQuery(_Asked):
    """`values`: account, vat_code or object:N, as a field of an edit form says."""

    connection: Text
    company: Text
    values: Text
    search: Text = ""
    limit: Limit = 50


class ChartsQuery(_Asked):
    connection: Text | None = None
    minutes: int = Field(default=60, ge=1, le=1440)


class PauseBody(_Asked):
    """Left out: every connection, all jobs. `direction`: inbound (registers) or outbound (documents)."""

    connection: Text | None = None
    job: Text | None = None
    direction: Literal["inbound", "outbound"] | None = None
    reason: Reason


class ResumeBody(_Asked):
    """With the same words as the pause."""

    connection: Text | None = None
    job: Text | None = None
    direction: Literal["inbound", "outbound"] | None = None
    reason: Annotated[str, Field(max_length=acts.REASON_MOST)] = ""


class VerifyQuery(_Asked):
    """`head`: N:HASH of an entry as the log has it; then with a connection."""

    connection: Text | None = None
    head: str | None = Field(default=None, pattern=r"^\d{1,12}:[0-9a-f]{1,128}$")


class SyncBody(_Asked):
    connection: Text | None = None
    company: Text | None = None
    job: Text | None = None
    full: bool = False
    resend: bool = False
    expire: bool = False
    rewrite: bool = False


class Nothing(_Asked):
    pass


class TakeOverBody(_Asked):
    connection: Text | None = None


# -- looking -----------------------------------------------------------------------------------------------------------


async def status(asked: Asked) -> overview.Status:
    """As `connect status --json`."""
    return await overview.status(asked.tools)


async def overview_of(asked: Asked) -> overview.Overview:
    """How all connections are, with the reasons in words."""
    return await overview.overview(asked.tools, connection=asked.given(ConnectionQuery).connection)


async def charts(asked: Asked) -> ChartsAnswer:
    """Depth and throughput, a sample a minute."""
    query = asked.given(ChartsQuery)
    return ChartsAnswer(charts=await overview.charts(asked.tools, connection=query.connection, minutes=query.minutes))


async def runs(asked: Asked) -> overview.Runs:
    """The runs of the last 90 days, newest first."""
    return await overview.runs(asked.tools, **asked.given(RunsQuery).model_dump())


async def run(asked: Asked) -> overview.Run:
    """One run."""
    return await overview.run(asked.tools, asked.path["run"])


async def letters_list(asked: Asked) -> overview.Letters:
    """Dead letters, newest first; open and replaying ones unless `state` says otherwise."""
    query = asked.given(ListQuery)
    return await overview.letters(asked.tools, query.filters, limit=query.limit, offset=query.offset)


async def letter_groups(asked: Asked) -> overview.LetterGroups:
    """Dead letters by what is wrong with them, the largest group first."""
    query = asked.given(ListQuery)
    return await overview.letter_groups(asked.tools, query.filters, limit=query.limit, offset=query.offset)


async def letter(asked: Asked) -> overview.Letter:
    """All that is known of one: cause and fix, the document, both systems' words, history, what may be changed."""
    return await overview.letter(asked.tools, asked.path["id"])


async def values(asked: Asked) -> overview.Values:
    """Known values for a field of the edit form."""
    query = asked.given(ValuesQuery)
    return await overview.known_values(asked.tools, query.connection, query.company, query.values, search=query.search, limit=query.limit)


async def trace(asked: Asked) -> overview.Story:
    """The whole story of a document, by any of its numbers."""
    number = asked.given(NumberQuery).number
    found = await overview.story(asked.tools, number)
    if not found.documents:
        raise ConnectError(
            f"nothing is known of {number}: it was not worked on here in the last 400 days, or Redis has lost it", code="unknown-number"
        )
    return found


async def connections(asked: Asked) -> ConnectionsAnswer:
    """How connections are set up, secrets hidden; one by name with what its registers hold."""
    name = asked.given(ConnectionQuery).connection
    found = overview.connections(asked.tools) if name is None else [await overview.connection(asked.tools, name)]
    return ConnectionsAnswer(connections=found)


async def rows(asked: Asked) -> RowsAnswer:
    """What is known of the rows with a number that were sent to Prime."""
    query = asked.given(RowsQuery)
    return RowsAnswer(rows=await overview.sent_row(asked.tools, asked.path["name"], query.company, query.job, query.number))


async def errors_list(_asked: Asked) -> ErrorsAnswer:
    """The catalogue of known errors."""
    entries = [ErrorEntry.model_validate(entry.document()) for entry in catalogue().entries]
    return ErrorsAnswer(total=len(entries), errors=entries)


async def errors_explain(asked: Asked) -> ExplainAnswer:
    """What an error means, who mends it and how, by a code, name or text."""
    code = asked.given(CodeQuery).code
    by_text = catalogue().explain("", "", code)
    found = catalogue().named(code) or ([by_text] if by_text is not None else [])
    if not found:
        raise ConnectError(f"the catalogue does not know {code!r}", code="unknown-error")
    return ExplainAnswer(code=code, errors=[ErrorEntry.model_validate(entry.document()) for entry in found])


async def errors_unknown(asked: Asked) -> UnknownAnswer:
    """Errors seen that the catalogue does not know."""
    return UnknownAnswer.model_validate(
        await letters.catalogue_coverage(asked.tools) | {"shapes": await letters.unknown_shapes(asked.tools)}
    )


async def audit_list(asked: Asked) -> overview.AuditPage:
    """Who did what, newest first."""
    return await overview.audit_list(asked.tools, **asked.given(AuditQuery).model_dump())


async def audit_export(asked: Asked) -> web.StreamResponse:
    """All acts that match, as a file; written as it is read."""
    query = asked.given(ExportQuery)
    return await exported(asked, query.form, query.model_dump(exclude={"form"}))


async def usage(asked: Asked) -> UsageAnswer:
    """Calls and transactions at Sage: counted, expected by the end of the month, the budget."""
    query = asked.given(UsageQuery)
    schedules = [query.schedule] if isinstance(query.schedule, str) else query.schedule
    found = await report.usage(asked.tools, month=query.month, connection=query.connection, schedules=schedules)
    return UsageAnswer.model_validate(found)


async def audit_verify(asked: Asked) -> VerifyAnswer:
    """Whether the audit trails are whole."""
    query = asked.given(VerifyQuery)
    if query.connection is not None:
        asked.tools.config.connection(query.connection)
    n, _, digest = (query.head or "").partition(":")
    found = await letters.verify_audit(asked.tools, query.connection, (int(n), digest) if query.head else None)
    return VerifyAnswer(ok=not any(one["flaws"] for one in found), connections=found)


async def version(_asked: Asked) -> VersionAnswer:
    """The version of this program and of what it stands on."""
    packages = {name: metadata.version(name) for name in ("arq", "redis", "aiohttp", "pydantic", "msgspec")}
    return VersionAnswer.model_validate({"version": metadata.version("connect-sage-prime"), "python": platform.python_version()} | packages)


# -- acting ------------------------------------------------------------------------------------------------------------


async def edit(asked: Asked) -> acts.Edited:
    """Change coding, dates or texts of an invoice that waits."""
    body = asked.given(EditBody)
    return await acts.edit(asked.tools, asked.path["id"], body.changes, reason=body.reason, by=asked.by, dry_run=body.dry_run)


async def replay(asked: Asked) -> ReplayAnswer:
    """Send dead letters again."""
    body = asked.given(ReplayBody)
    return await replayed(asked, ids=body.ids, filters=body.filters, dry_run=body.dry_run, rate=body.rate)


async def replayed(
    asked: Asked, *, ids: list[str], filters: dict[str, str], dry_run: bool = False, rate: float | None = None
) -> ReplayAnswer:
    """Send them again; when that takes longer than a person waits (a rate, or a run of the same job), it goes on by itself.

    Should the console end meanwhile, what is not on its way yet stays open.
    """
    would = await acts.replay(asked.tools, ids=ids, filters=filters, dry_run=True, by=asked.by)
    if dry_run:
        return ReplayAnswer(state="dry run", **would.model_dump())
    task = asked.console.start(acts.replay(asked.tools, ids=ids, filters=filters, rate=rate, by=asked.by))
    done, _ = await asyncio.wait([task], timeout=WAIT_S)
    if not done:
        return ReplayAnswer(state="under way", **would.model_dump() | {"dry_run": False})
    return ReplayAnswer(state="done", **task.result().model_dump())


async def approve(asked: Asked) -> acts.Count:
    """Let payments be replayed by another person."""
    body = asked.given(Which)
    return await acts.approve(asked.tools, ids=body.ids, filters=body.filters, by=asked.by)


async def discard(asked: Asked) -> acts.Count:
    """Close dead letters without sending them."""
    body = asked.given(DiscardBody)
    return await acts.discard(asked.tools, ids=body.ids, filters=body.filters, reason=body.reason, by=asked.by)


async def sync(asked: Asked) -> acts.Sync:
    """Run jobs now, due or not."""
    return await acts.sync(asked.tools, by=asked.by, **asked.given(SyncBody).model_dump())


async def pause(asked: Asked) -> PausesAnswer:
    """Let a connection, a job or a direction rest until somebody resumes it."""
    return PausesAnswer(connections=await acts.pause(asked.tools, by=asked.by, **asked.given(PauseBody).model_dump()))


async def resume(asked: Asked) -> PausesAnswer:
    """Lift what a pause did with the same words."""
    return PausesAnswer(connections=await acts.resume(asked.tools, by=asked.by, **asked.given(ResumeBody).model_dump()))


async def check(asked: Asked) -> CheckedAnswer:
    """Ask Redis, Sage and Prime whether they serve a connection. An operator's matter: it costs Sage a call."""
    name = asked.path["name"]
    return CheckedAnswer(connection=name, checks=await overview.health(asked.tools, name))


async def take_over(asked: Asked) -> TakeOverAnswer:
    """Take the document jobs over from another Connect on the same Prime."""
    taken = await deployment.take_over(asked.tools, connection=asked.given(TakeOverBody).connection, by=asked.by)
    return TakeOverAnswer(connections=taken)


# -- the document ------------------------------------------------------------------------------------------------------


async def openapi(asked: Asked) -> web.Response:
    return web.json_response(body=orjson.dumps(document(asked.console.table, metadata.version("connect-sage-prime"))))


ROUTES: Final = [
    Route("GET", f"{API}/openapi.json", openapi, role="viewer", why="it describes this API"),
    Route("GET", f"{API}/status", status, role="viewer", cli="status", answer=overview.Status),
    Route("GET", f"{API}/overview", overview_of, role="viewer", cli="status", query=ConnectionQuery, answer=overview.Overview),
    Route("GET", f"{API}/charts", charts, role="viewer", cli="status", query=ChartsQuery, answer=ChartsAnswer),
    Route("GET", f"{API}/runs", runs, role="viewer", cli="runs", query=RunsQuery, answer=overview.Runs),
    Route("GET", f"{API}/runs/{{run}}", run, role="viewer", cli="runs", answer=overview.Run),
    Route("GET", f"{API}/dead-letters", letters_list, role="viewer", cli="dead-letters list", query=ListQuery, answer=overview.Letters),
    Route(
        "GET",
        f"{API}/dead-letters/groups",
        letter_groups,
        role="viewer",
        cli="dead-letters groups",
        query=ListQuery,
        answer=overview.LetterGroups,
    ),
    Route("GET", f"{API}/dead-letters/{{id}}", letter, role="viewer", cli="dead-letters show", answer=overview.Letter),
    Route("POST", f"{API}/dead-letters/replay", replay, role="operator", cli="dead-letters replay", body=ReplayBody, answer=ReplayAnswer),
    Route("POST", f"{API}/dead-letters/approve", approve, role="approver", cli="dead-letters approve", body=Which, answer=acts.Count),
    Route("POST", f"{API}/dead-letters/discard", discard, role="operator", cli="dead-letters discard", body=DiscardBody, answer=acts.Count),
    Route("POST", f"{API}/dead-letters/{{id}}/edit", edit, role="operator", cli="dead-letters edit", body=EditBody, answer=acts.Edited),
    Route(
        "GET",
        f"{API}/values",
        values,
        role="viewer",
        why="it completes what is typed into the edit form",
        query=ValuesQuery,
        answer=overview.Values,
    ),
    Route("GET", f"{API}/trace", trace, role="viewer", cli="trace", query=NumberQuery, answer=overview.Story),
    Route("GET", f"{API}/connections", connections, role="viewer", cli="connections", query=ConnectionQuery, answer=ConnectionsAnswer),
    Route("GET", f"{API}/connections/{{name}}/rows", rows, role="viewer", cli="sent", query=RowsQuery, answer=RowsAnswer),
    Route("POST", f"{API}/connections/{{name}}/check", check, role="operator", cli="health", body=Nothing, answer=CheckedAnswer),
    Route("GET", f"{API}/errors", errors_list, role="viewer", cli="errors list", answer=ErrorsAnswer),
    Route("GET", f"{API}/errors/explain", errors_explain, role="viewer", cli="errors explain", query=CodeQuery, answer=ExplainAnswer),
    Route("GET", f"{API}/errors/unknown", errors_unknown, role="viewer", cli="errors unknown", answer=UnknownAnswer),
    Route("GET", f"{API}/audit", audit_list, role="viewer", cli="audit list", query=AuditQuery, answer=overview.AuditPage),
    Route(
        "GET",
        f"{API}/audit/export",
        audit_export,
        role="viewer",
        cli="audit export",
        query=ExportQuery,
        media=("application/x-ndjson", "text/csv"),
    ),
    Route("GET", f"{API}/usage", usage, role="viewer", cli="usage", query=UsageQuery, answer=UsageAnswer),
    Route("GET", f"{API}/audit/verify", audit_verify, role="viewer", cli="audit verify", query=VerifyQuery, answer=VerifyAnswer),
    Route("POST", f"{API}/sync", sync, role="operator", cli="sync", body=SyncBody, answer=acts.Sync),
    Route("POST", f"{API}/pause", pause, role="operator", cli="pause", body=PauseBody, answer=PausesAnswer),
    Route("POST", f"{API}/resume", resume, role="operator", cli="resume", body=ResumeBody, answer=PausesAnswer),
    Route("POST", f"{API}/take-over", take_over, role="operator", cli="take-over", body=TakeOverBody, answer=TakeOverAnswer),
    Route("GET", f"{API}/version", version, role="viewer", cli="version", answer=VersionAnswer),
]
