"""`connect apply`: what a plan says, and nothing else.

The plan is made once more, and what is not as it was planned is left alone. The rest goes the ordinary way, with fingerprints, journal,
dead letters and audit: registers by a run that bears the plan (writers.py holds back every row that is not in it, or not like this),
documents through clients that send nothing but the planned calls.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import aiohttp
import msgspec

from connect import plan as planned
from connect.config import Config
from connect.errors import ConfigError, ConnectError, Transient
from connect.http import Http
from connect.plan import Call, Document, Moved, Plan
from connect.posting import Result
from connect.prime.documents import PrimeDocuments
from connect.prime.pay import PayRecord, PrimePay
from connect.prime.rest import PrimeRest
from connect.prime.soap import PrimeSoap
from connect.sage.client import BeforeWrite, SageClient, Written
from connect.state.audit import Audit
from workers import planning, posters, session
from workers.documents import NOT_PLANNED
from workers.jobs import ConnectionTools, PostJob, Tools
from workers.planning import ACTIONS, command_document, document_of, document_tools, pay_call, prime_call, sage_call
from workers.screen import Screen
from workers.settings import READ_BUFFER_BYTES, rest_access, sage_access, soap_access
from workers.writers import write_name

MEANWHILE = "changed while the plan was applied"

Where = tuple[str, str, str]
"""Connection, company, job."""


@dataclass
class Applied:
    """What became of a plan. `moved`: what was left alone, not being as it was planned. `documents`: (job, document, state, about)."""

    plan: Plan
    outcome: session.Outcome
    moved: list[Moved] = field(default_factory=list)
    documents: list[tuple[Where, str, str, str]] = field(default_factory=list)
    refused: int = 0

    @property
    def exit_code(self) -> int:
        """0 all was done, 1 failed, 3 something was left alone or refused."""
        if self.outcome.exit_code == 1:
            return 1
        return 3 if self.moved or self.refused or self.outcome.exit_code == 3 else 0

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "plan": self.plan.id,
            "runs": self.outcome.document()["runs"],
            "documents": [
                {"connection": where[0], "company": where[1], "job": where[2], "document": text, "state": state, "about": about}
                for where, text, state, about in self.documents
            ],
            "left_alone": [msgspec.to_builtins(one) for one in self.moved],
            "exit_code": self.exit_code,
        }


async def apply(tools: Tools, config: Config, screen: Screen, plan: Plan, *, by: str, shadow_url: str = "") -> Applied:
    """Do what the plan says. Workers of every stage must be alive (session.py).

    Raises ConfigError when the settings are not those of the plan, and what making a plan raises.
    """
    check_settings(config, plan)
    now = await planning.make(tools, config, screen, plan.options, shadow_url=shadow_url)
    allowed = planned.compare(plan, now)
    by_name = {one.connection.name: one for one in tools.connections.values()}
    wishes: list[dict[str, Any]] = []
    for (name, company, job), writes in allowed.writes.items():
        if writes:
            names = {write_name(company, job, part, key, purpose): sent for (part, key, purpose), sent in writes.items()}
            await by_name[name].runs.allow(plan.id, names)
            options = {"full": plan.options.full, "resend": plan.options.resend, "expire": plan.options.expire}
            wishes.append({"connection": name, "company": company, "job": job, "plan": plan.id, **options})
    outcome = await session.run_several(tools, screen, wishes, by=by) if wishes else session.Outcome()
    applied = Applied(plan, outcome, list(allowed.moved))
    _add_left_rows(applied)
    for where, documents in allowed.documents.items():
        wanted = [one for one in documents if one.calls]
        if wanted:
            await _apply_documents(tools, by_name[where[0]], where, wanted, applied, by)
    return applied


def check_settings(config: Config, plan: Plan) -> None:
    """Raises ConfigError when a plan was made with other settings."""
    if planning.settings_digest(config, plan.options) == plan.settings:
        return
    told = ", ".join(f"{name} = {value}" for name, value in plan.changed.items())
    how = f"it was made with {told}: write that into {config.path} first" if told else "make a new one with `connect plan --out FILE`"
    raise ConfigError(f"the settings are not those that the plan was made with; {how}", code="plan-settings")


def _add_left_rows(applied: Applied) -> None:
    """Rows that a run has left alone beside those whose names are known: Sage changed them between the second plan and the run."""
    for name, record in applied.outcome.runs:
        named = sum((one.connection, one.company, one.job) == (name, record.company, record.job) for one in applied.moved)
        if record.left > named:
            why = f"{record.left - named} more {MEANWHILE}"
            applied.moved.append(Moved(connection=name, company=record.company, job=record.job, kind="rows", number="", name="", why=why))


# -- documents -------------------------------------------------------------------------------------------------------------


async def _apply_documents(
    tools: Tools, connection: ConnectionTools, where: Where, documents: Sequence[Document], applied: Applied, by: str
) -> None:
    """The planned documents of one job, by a run of its own."""
    _, company, name = where
    config = connection.connection
    entity = next((one.sage_entity for one in config.jobs if (one.company, one.job) == (company, name)), "")
    trace, plan = secrets.token_hex(8), applied.plan.id
    run = await connection.runs.begin(company, name, mode="full", plan=plan, trace=trace, parts=[], entity=entity, now=tools.clock())
    if run is None:
        applied.moved += [_left(where, one, f"{name} is running: apply the plan again when that has ended") for one in documents]
        return
    if by:
        await Audit(connection.redis, config.sid).add("sync", name, by=by, company=company, plan=plan)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=READ_BUFFER_BYTES) as aio:
            gated = _gated(connection, Http(aio), documents)
            its = replace(tools, connections={config.sid: gated})
            await connection.runs.count(run, read=len(documents))
            size = (await posters.KINDS[name](its, gated, company)).batch
            for start in range(0, len(documents), size):
                batch = documents[start : start + size]
                names = tuple((one.series, one.number) for one in batch)
                job = PostJob(trace=trace, sid=config.sid, run=run, job=name, company=company, documents=names)
                results = {(result.id.series, result.id.number): result for result in await posters.post_batch({"tools": its}, job)}
                for one in batch:
                    _tell(where, one, results[one.series, one.number], applied)
    except ConnectError as error:
        await connection.runs.fail(run, error.message, tools.clock())
        raise
    await connection.runs.end(run, tools.clock())


def _tell(where: Where, one: Document, result: Result, applied: Applied) -> None:
    if result.note.startswith(NOT_PLANNED):
        applied.moved.append(_left(where, one, MEANWHILE))
    elif result.state == "not_listed":
        applied.moved.append(_left(where, one, "is not listed any more"))
    else:
        applied.refused += ACTIONS.get(result.state) in ("hand back", "hold", "person")
        reasons = " | ".join(problem.text for problem in result.problems)
        applied.documents.append((where, one.text, result.state, reasons or result.key or result.note))


def _left(where: Where, one: Document, why: str) -> Moved:
    return Moved(connection=where[0], company=where[1], job=where[2], kind="document", number=one.text, name=one.name, why=why)


@dataclass
class Gate:
    """The planned calls of each document. An event in Prime's log names its document in its text alone."""

    documents: Sequence[Document]

    def check(self, series: str | None, number: str, call: Call) -> None:
        """Raises Transient, before anything is sent, for a call that the plan does not have."""
        for one in self.documents:
            if number and (number != one.number or series not in (None, one.series)):
                continue
            if any(_fits(other, call) for other in one.calls):
                return
        raise Transient(NOT_PLANNED, system=call.system, code="not_planned")


def _fits(wanted: Call, call: Call) -> bool:
    if (wanted.system, wanted.method, wanted.path) != (call.system, call.method, call.path):
        return False
    return wanted.sha256 == call.sha256 or (call.system == "prime" and _alike(wanted.body, call.body))


def _alike(wanted: Any, given: Any) -> bool:
    """The same, but for the key that Sage has given since."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return wanted.keys() == given.keys() and all(_alike(wanted[name], given[name]) for name in wanted)
    if isinstance(wanted, str) and isinstance(given, str) and planned.WITH_SAGES_KEY in wanted:
        before, _, after = wanted.partition(planned.WITH_SAGES_KEY)
        return given.startswith(before) and given.endswith(after) and given[len(before) : len(given) - len(after)].isdigit()
    return bool(wanted == given)


class GatedSage(SageClient):
    """Sends what was planned of a document."""

    gate: Gate

    async def write(self, method: str, path: str, body: bytes | None, *, before_write: BeforeWrite, **options: Any) -> Written:
        document = document_of(before_write)
        self.gate.check(document.series, document.number, sage_call(method, path, body, options.get("key", "")))
        return await super().write(method, path, body, before_write=before_write, **options)


class GatedDocuments(PrimeDocuments):
    """Tells Prime what was planned of a document; who has the document jobs is said as ever."""

    gate: Gate

    async def _command(self, operation: str, parameters: Mapping[str, Any], what: str) -> None:
        if not operation.endswith("CustomSetting"):
            document = command_document(self.environment, parameters)
            self.gate.check(document.series, document.number, prime_call(operation, parameters))
        await super()._command(operation, parameters, what)


class GatedPay(PrimePay):
    """Tells Rillion Pay what was planned of a payment."""

    gate: Gate

    async def receipt(self, payment: PayRecord, queue_status: Literal[1, 2], *, key: str = "", text: str = "") -> None:
        self.gate.check(None, payment.id, pay_call(payment, queue_status, key, text))
        await super().receipt(payment, queue_status, key=key, text=text)


def _gated(real: ConnectionTools, http: Http, documents: Sequence[Document]) -> ConnectionTools:
    """A connection whose documents are sent as planned or not at all."""
    connection, gate, rest = real.connection, Gate(documents), rest_access(real.connection)
    wait_s = connection.sage_write_timeout_s
    access = sage_access(connection)
    sage = GatedSage(http, real.tokens, real.slots, real.usage, access, lane="documents", write_timeout_s=wait_s)
    prime = GatedDocuments(PrimeSoap(http, soap_access(connection)))
    sage.gate = prime.gate = gate
    pay = None
    if rest is not None:
        pay = GatedPay(PrimeRest(http, rest))
        pay.gate = gate
    return replace(real, documents=document_tools(real, connection, sage, prime, pay))
