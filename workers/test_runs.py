"""`connect test-run JOB`: the first rows or documents of a job, as far as a person wants to see them before anything is sent.

Three panes, as the onboarding guide has them: the log, the ERP's answer, the transformed data. A register's rows go through the same query,
joins and mapping as in a sweep; documents through the same listing, look-up, pre-flight and requests as in a plan (planning.py).
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from connect.config import Connection
from connect.config.names import DOCUMENT_JOBS, nearest
from connect.errors import ConfigError, Poison
from connect.mapping import Part
from connect.registers import REGISTERS
from connect.sage.query import Query
from workers import planning
from workers.fetchers import joined_now
from workers.jobs import ConnectionTools, Tools


@dataclass
class TestRun:
    """The three panes."""

    __test__ = False  # no test of ours, whatever its name says

    job: str
    log: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)
    refused: int = 0

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"job": self.job, "log": self.log, "erp_answer": self.answers, "transformed": self.data, "refused": self.refused}


async def test_run(tools: Tools, job: str, *, connection: str | None, company: str | None, limit: int) -> TestRun:
    """Read at most `limit` rows or documents of one job. Active or not: it is only tried.

    Raises ConfigError when no such job is configured, and what reading Sage or Prime raises.
    """
    found = [
        (one, item)
        for one in tools.connections.values()
        for item in one.connection.jobs
        if item.job == job and connection in (None, one.connection.name) and company in (None, item.company)
    ]
    if not found:
        known = sorted({item.job for one in tools.connections.values() for item in one.connection.jobs})
        raise ConfigError(f"job {job} is not configured{nearest(job, known)}; there are: {', '.join(known)}", code="no-job")
    one, item = found[0]
    made = TestRun(job)
    made.log.append(f"{job}, company {item.company} of {one.connection.name}, the first {limit}")
    if job in DOCUMENT_JOBS:
        await _documents(tools, one, item.company, limit, made)
    else:
        for part in REGISTERS[job].parts(one.connection.register_settings(item.company)):
            await _rows(one, part, item.sage_entity, limit, made)
    return made


async def _rows(one: ConnectionTools, part: Part, entity: str, limit: int, made: TestRun) -> None:
    source, calls, started = part.source, Counter[str](), time.monotonic()
    scope = f"entity {entity}" if entity else "top level"
    page = await one.sage.query(Query(source.object, source.fields, source.filters, size=limit), entity=entity, calls=calls)
    found = page.rows()[:limit]
    made.log.append(
        f"{part.id}: read {len(found)} of {page.total_count} rows of {source.object} at the {scope}, {len(source.fields)} fields"
    )
    joined = await joined_now(one, source.joins, found, entity, calls)
    for join in source.joins:
        rows = sum(map(len, joined[join.name].values()))
        made.log.append(f"{part.id}: joined {rows} rows of {join.object} by {join.left}")
    for kind, body in part.preamble:
        made.data.append({"kind": kind, "data": orjson.loads(body)})
    for key, raw in found:
        answer: dict[str, Any] = {"object": source.object, "row": orjson.loads(raw)}
        mine = {join.name: joined[join.name].get(_left(raw, join.left), []) for join in source.joins}
        answer |= {"joined": {name: [orjson.loads(row) for row in rows] for name, rows in mine.items()}} if mine else {}
        made.answers.append(answer)
        try:
            row = part.transform(raw, mine, "")
        except Poison as error:
            made.refused += 1
            made.data.append({"kind": part.kind, "sage_key": key, "refused": error.message})
            continue
        if row is None:
            made.log.append(f"{part.id}: row {key} is not wanted in Prime")
        else:
            made.data.append({"kind": part.kind, "sage_key": key, "number": row.number, "notes": row.notes, "data": orjson.loads(row.body)})
    made.log.append(f"{part.id}: {calls.total()} calls to Sage, {time.monotonic() - started:.2f} s")


def _left(raw: bytes, path: str) -> str:
    value = orjson.loads(raw).get(path)
    return "" if value is None else str(value)


async def _documents(tools: Tools, one: ConnectionTools, company: str, limit: int, made: TestRun) -> None:
    started = time.monotonic()
    job, answers = await planning.try_documents(tools, _with(one.connection, made.job), company, made.job, limit)
    made.answers = answers
    for document in job.documents:
        made.data.append(msgspec.to_builtins(document))
        made.log.append(
            f"{document.text} {document.name}: {document.action}" + (f" ({' | '.join(document.problems)})" if document.problems else "")
        )
    made.refused = len(job.refused) + sum(document.action in ("hand back", "hold", "person") for document in job.documents)
    made.log += [one.reason for one in job.refused] + job.notes + ([job.reason] if job.reason else [])
    made.log.append(f"{job.read} listed, {job.sage_calls} calls to Sage and {job.prime_calls} to Prime, {time.monotonic() - started:.2f} s")


def _with(connection: Connection, job: str) -> Connection:
    return connection.model_copy(update={"jobs": [one.model_copy(update={"active": True}) for one in connection.jobs if one.job == job]})
