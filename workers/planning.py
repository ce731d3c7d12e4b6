"""`connect plan` and `connect apply`: what the next sync would do, and doing exactly that.

A plan is made by the pipeline itself: the same producers, fetchers, writers and posting protocol run over a copy of what is known
(state/shadow.py) in a Redis of its own. Sage and Prime are read as ever, in the slots and with the tokens of the real Redis; every write
ends in a recorder instead of Sage or Prime, which answers as they would. So there is no second implementation that could be of another
opinion.

How a plan is applied: applying.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import orjson
import structlog
from arq.connections import ArqRedis

from connect import plan as planned
from connect.config import Config, Connection, RedisSettings
from connect.config.load import read_text, tables_of
from connect.config.names import DOCUMENT_JOBS
from connect.config.toml import dump
from connect.errors import Auth, ConfigError, Permanent
from connect.http import Http, Reply
from connect.ledger import DocumentId, Listed
from connect.plan import Call, Document, JobPlan, Options, Plan, Refusal, Row, RowKey, Wire, Write
from connect.posting import Result
from connect.prime.documents import PrimeDocuments
from connect.prime.owner import SETTING, decide
from connect.prime.pay import PayRecord, PrimePay
from connect.prime.port import PrimeInfo, RowResult
from connect.prime.present import PresentRegisters
from connect.prime.rest import MOST_ROWS, PrimeRest, split_bank_accounts
from connect.prime.soap import PrimeSoap
from connect.registers import REGISTERS
from connect.sage.bills import SageBills
from connect.sage.client import COUNTED, BeforeWrite, SageClient, Written
from connect.sage.facts import SageFacts
from connect.sage.payments import SagePayments
from connect.state import shadow
from connect.state.embedded import embedded
from connect.state.journal import Lock
from connect.state.known import Known
from connect.state.runs import Chunk, RunRecord, Runs
from connect.state.seal import Seal
from workers import deployment, posters, session
from workers.documents import tools_of
from workers.fetchers import GUARD_ROWS, GUARD_SHARE
from workers.jobs import ConnectionTools, DocumentTools, Tools, cursor_of
from workers.screen import Screen
from workers.settings import READ_BUFFER_BYTES, connect_redis, connection_tools, rest_access, sage_access, soap_access
from workers.writers import UNKNOWN_REFERENCE, write_digest

MADE_UP_KEY: Final = 9_000_000_000_000_000  # what Sage would answer with; shown as "the key that Sage will give"
_MADE_UP: Final = re.compile(rb"\b900000000\d{7}\b")
LETTERS: Final = 1_000_000
ACTIONS: Final = {
    "cancelled": "cancel",
    "dated": "date",
    "refused": "hand back",
    "held": "hold",
    "person": "person",
    "waiting": "wait",
    "busy": "wait",
    "not_listed": "nothing",
}

log = structlog.get_logger()


# -- recorders -------------------------------------------------------------------------------------------------------------


class CountingHttp(Http):
    """Counts the calls to each system, tokens aside. `answers`: what Sage said, for whoever wants to show it."""

    def __init__(self, aiohttp_session: aiohttp.ClientSession) -> None:
        super().__init__(aiohttp_session)
        self.calls: Counter[str] = Counter()
        self.answers: list[dict[str, Any]] | None = None

    async def exchange(self, method: str, url: str, *, system: str, **options: Any) -> Reply:
        if not url.lower().endswith(("/connect/token", "/authorize", "/oauth2/token")):
            self.calls[system] += 1
        reply = await super().exchange(method, url, system=system, **options)
        if self.answers is not None and system == "sage" and not url.endswith("/token"):
            self.answers.append(
                {"call": f"{method} {url}", "request": _json(options.get("data")), "status": reply.status, "answer": _json(reply.body)}
            )
        return reply


def _json(body: bytes | None) -> Any:
    try:
        return None if body is None else orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace") if body is not None else None


@dataclass
class Recorder:
    """Writes of documents, by document."""

    calls: dict[DocumentId, list[Call]] = field(default_factory=dict)
    made: int = 0

    def add(self, document: DocumentId, call: Call) -> None:
        self.calls.setdefault(document, []).append(call)

    def key(self) -> str:
        self.made += 1
        return str(MADE_UP_KEY + self.made)


class PlannedSage(SageClient):
    """Reads Sage; what would be written is recorded and answered with a yes."""

    recorder: Recorder

    async def write(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        before_write: BeforeWrite,
        what: str,
        key: str = "",
        entity: str = "",  # noqa: ARG002 - as the client has it
        calls: Counter[str] | None = None,
    ) -> Written:
        await before_write()
        for counter in (calls, COUNTED.get()):
            if counter is not None:
                counter[what] += 1
        self.recorder.add(document_of(before_write), sage_call(method, path, body, key))
        if path.endswith("/composite"):
            return Written([{"ia::result": {"key": self.recorder.key()}} for _ in orjson.loads(body or b"[]")])
        return Written({"key": self.recorder.key()} if method == "POST" else None)


def document_of(before_write: BeforeWrite) -> DocumentId:
    """Whose lock a write is stamped with."""
    lock = getattr(before_write, "__self__", None)
    assert isinstance(lock, Lock)
    return lock.id


def sage_call(method: str, path: str, body: bytes | None, key: str) -> Call:
    return Call(
        system="sage",
        method=method,
        path=path,
        body=_without_files(orjson.loads(body)) if body else None,
        key=key,
        sha256=hashlib.sha256(body or b"").hexdigest(),
    )


def _without_files(value: Any) -> Any:
    """A request as a person can read it: the bytes of files are told by their size and hash."""
    if isinstance(value, list):
        return [_without_files(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: f"({len(one):,} characters, sha256 {hashlib.sha256(one.encode()).hexdigest()[:16]})"
        if name == "data" and isinstance(one, str) and len(one) > 100
        else _without_files(one)
        for name, one in value.items()
    }


class PlannedDocuments(PrimeDocuments):
    """Reads Prime; commands are recorded."""

    recorder: Recorder

    async def _command(self, operation: str, parameters: Mapping[str, Any], what: str) -> None:  # noqa: ARG002
        self.recorder.add(command_document(self.environment, parameters), prime_call(operation, parameters))


def command_document(environment: str, parameters: Mapping[str, Any]) -> DocumentId:
    """Which document a command is about; of an event only its text tells."""
    about = parameters.get("InvoiceReceipt") or parameters.get("oInvoicePaymentDateItem") or {}
    return DocumentId(environment, "", str(about.get("InvoiceSeries", "")), str(about.get("InvoiceNo", "")))


def prime_call(operation: str, parameters: Mapping[str, Any]) -> Call:
    body = orjson.dumps(parameters, default=str, option=orjson.OPT_SORT_KEYS)
    body = _MADE_UP.sub(planned.WITH_SAGES_KEY.encode(), body)
    return Call(system="prime", method=operation, path="", body=orjson.loads(body), sha256=hashlib.sha256(body).hexdigest())


class PlannedPay(PrimePay):
    """Reads Rillion Pay; receipts are recorded."""

    recorder: Recorder

    async def receipt(self, payment: PayRecord, queue_status: Literal[1, 2], *, key: str = "", text: str = "") -> None:
        self.recorder.add(DocumentId("", "", "", payment.id), pay_call(payment, queue_status, key, text))


def pay_call(payment: PayRecord, queue_status: int, key: str, text: str) -> Call:
    facts = {"paymentId": payment.id, "queueStatus": queue_status, "errorText": text, "externalId": key}
    return prime_call("PUT /payment/receipt", {name: value for name, value in facts.items() if value})


@dataclass
class Sent:
    """One row of Prime's and what was written to it."""

    kind: str
    job: str
    number: str = ""
    name: str = ""
    writes: dict[tuple[str, int, str], Write] = field(default_factory=dict)


class PlannedPrime:
    """Prime's registers as they are now and as they would be (port.RegisterWriter). `present` None: Prime cannot be read."""

    def __init__(self, transport: str, present: PresentRegisters | None) -> None:
        self.transport = transport
        self.before: dict[str, dict[RowKey, Wire]] = {}
        self.now: dict[str, dict[RowKey, Wire]] = {}
        self.sent: dict[tuple[str, str, RowKey], Sent] = {}  # company, kind, key
        self.calls: Counter[tuple[str, str]] = Counter()  # company, job
        self.unreadable: dict[str, str] = {}
        self.refused: dict[tuple[str, str, int], str] = {}  # company, part, Sage's key -> digest of what was refused
        self.accounts: dict[tuple[str, RowKey], frozenset[str]] = {}  # company, supplier: the bank accounts that Sage knows
        self._present = present
        self._jobs: dict[tuple[str, str], str] = {}
        self._sources: dict[tuple[str, str, bytes], list[tuple[Write, str, str]]] = {}
        self._owed: dict[tuple[str, str, RowKey], list[tuple[Write, str, str]]] = {}
        self._reading = asyncio.Lock()

    async def check(self) -> PrimeInfo:
        return PrimeInfo("", None)

    def note(self, chunk: Chunk) -> None:
        """Where the rows come from that will be written next."""
        self._jobs[chunk.company, chunk.kind] = chunk.job
        for row, body in zip(chunk.rows, chunk.bodies, strict=True):
            write = Write(chunk.part, row.key, chunk.purpose, write_digest(body))
            self._sources.setdefault((chunk.company, chunk.kind, bytes(body)), []).append((write, row.number, row.name))
        for kind, body in chunk.preamble:
            self._jobs[chunk.company, kind] = chunk.job
            self._sources.setdefault((chunk.company, kind, bytes(body)), [(Write(chunk.part, 0, "upsert", write_digest(body)), "", "")])

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        for name in dict.fromkeys((kind, *(target for _, target, _ in planned.REFERENCES.get(kind, ())))):
            await self._read(name)
        results = [self._take(kind, company, bytes(body)) for body in bodies]
        job = self._jobs.get((company, kind), "")
        if self.transport == "soap":
            self.calls[company, job] += len(bodies)
        else:
            accounts = sum(
                len(split_bank_accounts(body)[1])
                for body, result in zip(bodies, results, strict=True)
                if kind == "Supplier" and result.accepted
            )
            self.calls[company, job] += -(-len(bodies) // MOST_ROWS) + -(-accounts // MOST_ROWS)
        return results

    def _take(self, kind: str, company: str, body: bytes) -> RowResult:
        facts = orjson.loads(body)
        key = planned.key_of(kind, planned.from_soap(facts) if self.transport == "soap" else planned.from_rest(kind, facts))
        rows = self.now.setdefault(kind, {})
        after = planned.merged(kind, self.transport, facts, rows.get(key))
        sources = self._sources.get((company, kind, body), [])
        refusal = self._refusal(kind, key, after)
        if refusal is not None:
            self._owed[company, kind, key] = sources
            self.refused.update(((company, write.part, write.key), write.digest) for write, _, _ in sources)
            return RowResult(UNKNOWN_REFERENCE, refusal)
        if "supplierBankAccounts" in facts:
            self.accounts[company, key] = frozenset(one["bankAccountNo"] for one in facts["supplierBankAccounts"] or ())
        sent = self.sent.setdefault((company, kind, key), Sent(kind, self._jobs.get((company, kind), "")))
        rows[key] = after
        for write, number, name in sources or self._owed.pop((company, kind, key), []):
            sent.writes[write.name] = write
            sent.number, sent.name = number, name
        return RowResult()

    def _refusal(self, kind: str, key: RowKey, row: Wire) -> str | None:
        """Prime's words for a row that names one that is not there, as far as Prime can be read."""
        for column, target, when in planned.REFERENCES.get(kind, ()):
            value = row.get(column)
            if value is None or target in self.unreadable or (when and row.get(when) != 1):
                continue
            known = self.now.get(target, {})
            if not any(one in known for one in ((key[0], str(value)), ("", str(value)))):
                where = f" in company {key[0]}" if key[0] else ""
                return f"{kind} {key[-1]!r}: {column} {value!r} does not exist as {target}{where}"
        return None

    async def _read(self, kind: str) -> None:
        """What Prime holds of a kind; once."""
        async with self._reading:
            if kind in self.before or kind in self.unreadable:
                return
            if self._present is None:
                self.unreadable[kind] = planned.UNREADABLE
                return
            try:
                rows = [planned.merged(kind, "rest", row, None) async for row in self._present.rows(kind)]
                found = {planned.key_of(kind, row): row for row in rows}
                if kind == "Supplier":
                    async for row in self._present.rows("SupplierBankAccount"):
                        self._add_account(found, row)
            except (Auth, Permanent) as error:
                self.unreadable[kind] = f"Prime's present values of {kind} cannot be read: {error.message}"
                return
            self.before[kind] = found
            self.now[kind] = {key: dict(row) for key, row in found.items()}

    def _add_account(self, suppliers: dict[RowKey, Wire], row: dict[str, Any]) -> None:
        owner = {"Company": row.get("company"), "KeyType": row.get("keyType"), "Supplier": row.get("supplier")}
        supplier = suppliers.get(planned.key_of("Supplier", owner))
        if supplier is not None and (account := planned.bank_account(row)).get("BankAccount"):
            supplier.setdefault(planned.BANK_ACCOUNTS, {})[account["BankAccount"]] = account


class PlannedRuns(Runs):
    """Tells the recorder of each chunk before its rows are written."""

    def __init__(self, redis: ArqRedis, sid: str, *, seal: Seal | None, prime: PlannedPrime) -> None:
        super().__init__(redis, sid, seal=seal)
        self._prime = prime

    async def load_chunk(self, run: str, part: str, chunk: str) -> Chunk | None:
        found = await super().load_chunk(run, part, chunk)
        if found is not None:
            self._prime.note(found)
        return found


# -- a connection that writes nothing --------------------------------------------------------------------------------------


@dataclass
class Shadow:
    """A connection's tools over a copy of its state, with what they have recorded."""

    tools: ConnectionTools
    prime: PlannedPrime
    recorder: Recorder
    http: CountingHttp


def shadow_of(real: ConnectionTools, connection: Connection, redis: ArqRedis, http: CountingHttp, reading: Http) -> Shadow:
    """`connection`: with the settings to plan for. `reading`: for what only the plan wants to know."""
    recorder = Recorder()
    rest = rest_access(connection)
    present = PresentRegisters(PrimeRest(reading, rest), rest.role) if rest is not None else None
    prime = PlannedPrime(connection.register_transport, present)
    base = connection_tools(connection, redis, http)
    access = sage_access(connection)
    registers = PlannedSage(http, real.tokens, real.slots, real.usage, access)
    bills = PlannedSage(
        http, real.tokens, real.slots, real.usage, access, lane="documents", write_timeout_s=connection.sage_write_timeout_s
    )
    documents = PlannedDocuments(PrimeSoap(http, soap_access(connection)))
    pay = PlannedPay(PrimeRest(http, rest)) if rest is not None else None
    for one in (registers, bills, documents, pay):
        if one is not None:
            one.recorder = recorder
    tools = replace(
        base,
        sage=registers,
        prime=prime,
        runs=PlannedRuns(redis, connection.sid, seal=base.seal, prime=prime),
        slots=real.slots,
        tokens=real.tokens,
        usage=real.usage,
        documents=document_tools(base, connection, bills, documents, pay),
    )
    return Shadow(tools, prime, recorder, http)


def document_tools(
    base: ConnectionTools, connection: Connection, sage: SageClient, prime: PrimeDocuments, pay: PrimePay | None
) -> DocumentTools:
    """What the post stage needs, over these clients."""
    numbers = connection.lookups.general.key_source
    return replace(
        tools_of(base),
        prime=prime,
        pay=pay,
        bills=SageBills(sage, limit_bytes=connection.sage_body_limit_bytes, numbers=numbers),
        payments=SagePayments(sage, numbers=numbers),
        facts=SageFacts(sage, numbers=numbers),
    )


@asynccontextmanager
async def shadow_redis(url: str = "") -> AsyncIterator[RedisSettings]:
    """A Redis of the plan's own, gone with it; or the empty one at `url`."""
    if url:
        yield RedisSettings(url=url)
        return
    with tempfile.TemporaryDirectory(prefix="connect-plan-", ignore_cleanup_errors=True) as folder:
        environ = {name: value for name, value in os.environ.items() if name != "CONNECT_ENV"}  # it is no one's state
        async with embedded(Path(folder), environ=environ) as address:
            redis = connect_redis(address)
            await redis.config_set("appendonly", "no")  # it is gone at the end; a container's /tmp is small
            await redis.aclose()
            yield RedisSettings(url=address)


# -- making a plan ---------------------------------------------------------------------------------------------------------


async def make(
    tools: Tools,
    config: Config,
    screen: Screen,
    options: Options,
    *,
    changed: Mapping[str, str] | None = None,
    shadow_url: str = "",
    look: Callable[[str, PlannedPrime], None] | None = None,
) -> Plan:
    """What the next sync would do. `tools` are of the real state, which is only read; `config`: the settings to plan for. `look` is shown
    each connection's registers, by its state id.

    Raises what a run would end with: ConfigError, Auth, Transient, Permanent.
    """
    chosen = {one.sid: one for one in config.connections if options.connection in (None, one.name) and one.sid in tools.connections}
    made = Plan(
        id=secrets.token_hex(8),
        made_at=tools.clock().astimezone(UTC).isoformat(timespec="seconds"),
        settings=settings_digest(config, options),
        options=options,
        changed=dict(changed or {}),
    )
    async with _opened(tools, [_registers_only(one, options) for one in chosen.values()], shadow_url) as (its, shadows, server):
        await _plan_registers(tools, its, shadows, server, screen, options, made)
        me = await deployment.deployment_now(tools)
        for sid, one in chosen.items():
            await _plan_documents(me, one, its, shadows[sid], options, made)
        if look is not None:
            for sid, seen in shadows.items():
                look(sid, seen.prime)
        made.notes += await _remarks(tools, chosen, options)
        for real in tools.connections.values():
            await real.usage.flush()
    made.jobs.sort(key=lambda job: (job.connection, job.company, _place(job.job)))
    if not made.jobs:
        raise ConfigError(
            "no active job matches (active = true, and supported by this version); `connect config check` says more", code="no-job"
        )
    return made


@asynccontextmanager
async def _opened(
    tools: Tools, connections: Sequence[Connection], shadow_url: str = ""
) -> AsyncIterator[tuple[Tools, dict[str, Shadow], RedisSettings]]:
    """Tools over a copy of these connections' state, the shadows by state id, and where that copy lies."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(shadow_redis(shadow_url))
        redis = connect_redis(server)
        stack.push_async_callback(redis.aclose)
        await shadow.copy(tools.redis, redis, [one.sid for one in connections])
        aio = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=READ_BUFFER_BYTES)
        )
        shadows = {one.sid: shadow_of(tools.connections[one.sid], one, redis, CountingHttp(aio), Http(aio)) for one in connections}
        its = Tools(
            config=tools.config.model_copy(update={"connections": list(connections)}),
            redis=redis,
            clock=tools.clock,
            connections={sid: one.tools for sid, one in shadows.items()},
            starts_due=False,
        )
        yield its, shadows, server


async def try_documents(
    tools: Tools, connection: Connection, company: str, job: str, limit: int, *, shadow_url: str = ""
) -> tuple[JobPlan, list[dict[str, Any]]]:
    """What would become of the first documents of a job, and what Sage has answered meanwhile."""
    async with _opened(tools, [connection], shadow_url) as (its, shadows, _):
        one = shadows[connection.sid]
        one.http.answers = []
        real = tools.connections[connection.sid]
        made = await _plan_job(await deployment.deployment_now(tools), one.tools, its, one, company, job, limit)
        await real.usage.flush()
        return made, one.http.answers


def _place(job: str) -> tuple[int, str]:
    order = [*REGISTERS, *posters.KINDS]
    return (order.index(job) if job in order else len(order), job)


def settings_digest(config: Config, options: Options) -> str:
    """Of everything in the configuration that a plan depends on; secrets aside."""
    facts = [
        one.model_dump(mode="json", exclude={"password", "rest_client_secret"})
        for one in config.connections
        if options.connection in (None, one.name)
    ]
    return hashlib.sha256(orjson.dumps(facts, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()[:16]


def _registers_only(connection: Connection, options: Options) -> Connection:
    """The connection with those register jobs that are asked for; nothing of it waits for Sage's maintenance."""
    jobs = [job for job in connection.jobs if job.job in REGISTERS and _is_wanted(job.company, job.job, options)]
    return connection.model_copy(update={"jobs": jobs, "maintenance": ()})


def _is_wanted(company: str, job: str, options: Options) -> bool:
    return options.company in (None, company) and options.job in (None, job)


async def _plan_registers(
    tools: Tools, its: Tools, shadows: Mapping[str, Shadow], server: RedisSettings, screen: Screen, options: Options, made: Plan
) -> None:
    if not any(job.active for one in shadows.values() for job in one.tools.connection.jobs):
        return
    async with session.own_workers(its, server):
        outcome = await session.run_jobs(its, screen, full=options.full, resend=options.resend, expire=options.expire, rewrite=True)
    jobs: dict[tuple[str, str, str], JobPlan] = {}
    runs: set[str] = set()
    for name, record in outcome.runs:
        runs.add(record.run)
        _add_run(
            jobs.setdefault((name, record.company, record.job), JobPlan(connection=name, company=record.company, job=record.job)), record
        )
    waiting = dict(outcome.waiting)
    for sid, one in shadows.items():
        name = one.tools.connection.name
        if name in waiting:
            made.notes.append(f"{name} waits: {waiting[name]}")
        await _add_rows(tools.connections[sid], one, name, jobs)
        await _add_refusals(one, name, runs, jobs)
        for plan in jobs.values():
            if plan.connection == name:
                plan.notes += await _would_ask(tools.connections[sid], one.tools.connection, plan)
        for (company, job), calls in one.prime.calls.items():
            if (name, company, job) in jobs:
                jobs[name, company, job].prime_calls += calls
    made.jobs += jobs.values()


def _add_run(job: JobPlan, record: RunRecord) -> None:
    if record.mode != "deferred":
        job.mode = record.mode
        job.read, job.unchanged = record.read, record.unchanged
    job.gone += record.gone
    job.held += record.held
    job.sage_calls += record.calls
    if record.state != "done" and job.state == "done":
        job.state = record.state
    job.reason = "; ".join(filter(None, (job.reason, record.reason)))


async def _add_rows(real: ConnectionTools, one: Shadow, name: str, jobs: Mapping[tuple[str, str, str], JobPlan]) -> None:
    wanted: dict[tuple[str, str], set[int]] = {}
    for (company, _, _), sent in one.prime.sent.items():
        for write in sent.writes.values():
            wanted.setdefault((company, write.part), set()).add(write.key)
    known = {where: await known_meanings(real, *where, keys) for where, keys in wanted.items()}
    for (company, kind, key), sent in one.prime.sent.items():
        job = jobs.get((name, company, sent.job))
        if job is None:
            continue
        job.rows.append(_row(one.prime, company, key, sent, known))
        if kind in one.prime.unreadable and one.prime.unreadable[kind] not in job.notes:
            job.notes.append(one.prime.unreadable[kind])


def _row(prime: PlannedPrime, company: str, key: RowKey, sent: Sent, known: Mapping[tuple[str, str], Mapping[int, int]]) -> Row:
    kind = sent.kind
    readable = kind not in prime.unreadable
    before = prime.before.get(kind, {}).get(key)
    now = prime.now[kind][key]
    changes = planned.changes_of(before, now)
    writes = tuple(
        Write(write.part, write.key, write.purpose, write.digest, f"{meaning:016x}" if (meaning := _known(known, company, write)) else "")
        for write in sent.writes.values()
    )
    is_known = before is not None if readable else any(write.known for write in writes)
    action: planned.Action
    if writes and all(write.purpose == "expire" for write in writes):
        action = "expired"
    elif not is_known:
        action = "new"
    else:
        action = "changed" if changes else "same"
    return Row(
        kind=kind,
        key=key,
        number=sent.number or key[-1],
        name=sent.name or str(now.get("Name") or ""),
        action=action,
        changes=changes,
        writes=writes,
        prime=planned.digest_of(before) if readable else "",
    )


def _known(known: Mapping[tuple[str, str], Mapping[int, int]], company: str, write: Write) -> int:
    return known.get((company, write.part), {}).get(write.key, 0)


async def _would_ask(real: ConnectionTools, connection: Connection, job: JobPlan) -> list[str]:
    """What a sync would want to have confirmed first: that other settings write much anew (fetchers.py)."""
    found = []
    entity = next((one.sage_entity for one in connection.jobs if (one.company, one.job) == (job.company, job.job)), "")
    for part in REGISTERS[job.job].parts(connection.register_settings(job.company)):
        rewritten = sum(write.part == part.id and write.known not in ("", write.digest) for row in job.rows for write in row.writes)
        known = (await Known(real.redis, connection.sid, job.company, part.id).index()).rows
        if rewritten > max(GUARD_ROWS, GUARD_SHARE * known) and await real.runs.was_read_otherwise(job.company, cursor_of(part, entity)):
            found.append(
                f"mapping or settings have changed, and {rewritten} of {known} rows of {part.id} would be written anew: a sync asks first "
                f"(connect sync --job {job.job} --rewrite); `connect apply` need not"
            )
    return found


async def known_meanings(connection: ConnectionTools, company: str, part: str, keys: Iterable[int]) -> dict[int, int]:
    """Digests of what was last sent of these rows."""
    store = Known(connection.redis, connection.connection.sid, company, part)
    wanted = sorted({key for key in keys if key > 0})
    found: dict[int, int] = {}
    index = await store.index()
    for info in index.holding(wanted) if wanted and index.blocks else []:
        block = await store.block(info.block)
        found.update(zip(block.keys, block.meanings, strict=True))
    return {key: found[key] for key in wanted if key in found}


async def _add_refusals(one: Shadow, name: str, runs: set[str], jobs: Mapping[tuple[str, str, str], JobPlan]) -> None:
    _, letters = await one.tools.dead_letters.find({}, states=("open", "replaying"), limit=LETTERS)
    for letter in sorted(letters, key=lambda letter: (letter.kind, letter.number)):
        job = jobs.get((name, letter.company, letter.job))
        if job is not None and letter.run in runs:
            job.refused.append(
                Refusal(
                    kind=letter.kind,
                    number=letter.number,
                    name=letter.name,
                    code=letter.error.get("code", ""),
                    reason=letter.error.get("message", ""),
                    owner=letter.error.get("owner", ""),
                    fix=letter.error.get("fix", ""),
                    part=letter.part,
                    key=letter.key,
                    digest=one.prime.refused.get((letter.company, letter.part, letter.key), ""),
                )
            )


# -- documents -------------------------------------------------------------------------------------------------------------


async def _plan_documents(me: str, connection: Connection, its: Tools, one: Shadow, options: Options, made: Plan) -> None:
    """`me`: who we are (deployment.py)."""
    for job in connection.jobs:
        if job.active and job.job in DOCUMENT_JOBS and _is_wanted(job.company, job.job, options):
            made.jobs.append(await _plan_job(me, replace(one.tools, connection=connection), its, one, job.company, job.job, None))


async def _plan_job(me: str, tools: ConnectionTools, its: Tools, one: Shadow, company: str, name: str, limit: int | None) -> JobPlan:
    """One document job: listed, looked up, checked, and written to the recorder."""
    job = JobPlan(connection=tools.connection.name, company=company, job=name, mode="full")
    sage: Counter[str] = Counter()
    COUNTED.set(sage)
    calls = 0
    try:
        if (owner := await _other_owner(me, tools)) is not None:
            job.state, job.reason = "failed", owner
        calls = one.http.calls["prime"]
        opened = await posters.KINDS[name](its, tools, company)
        listed = (await opened.listed())[:limit]
        job.read = len(listed) + len(opened.poisoned)
        job.refused = [Refusal(kind=opened.kind, number="", name="", code=bad.code, reason=bad.message) for bad in opened.poisoned]
        for start in range(0, len(listed), opened.batch):
            batch = listed[start : start + opened.batch]
            results = await opened.post([document.id for document in batch])
            contents = {document.id: document for document in batch}
            job.documents += [_document(result, contents.get(result.id), one.recorder) for result in results]
        job.notes += opened.remarks
    except (Permanent, Auth) as error:
        job.state, job.reason = "failed", error.message
    finally:
        COUNTED.set(None)
    job.documents.sort(key=lambda document: (document.series, document.number))
    job.sage_calls = sage.total()
    written = sum(call.system == "prime" for document in job.documents for call in document.calls)
    job.prime_calls = one.http.calls["prime"] - calls + written
    return job


async def _other_owner(me: str, tools: ConnectionTools) -> str | None:
    """Whether another Connect has the document jobs: then a sync would stop and say so."""
    rows = await tools_of(tools).prime.custom_settings(kind=SETTING, setting=SETTING, company="")
    decision = decide(rows[0].value if rows else None, me, datetime.now(UTC), take_over=False)
    if decision.verdict != "stop":
        return None
    return (
        f"another Connect has the document jobs of this Prime; a sync would stop until it is silent for an hour, or "
        f"`connect take-over --connection {tools.connection.name}`. What it would do then:"
    )


def _document(result: Result, listed: Listed | None, recorder: Recorder) -> Document:
    seen = result.listed or listed
    calls = calls_of(recorder, result.id)
    created = any(call.system == "sage" and call.method == "POST" for call in calls)
    action = ACTIONS.get(result.state) or ("book" if created else "adopt")
    return Document(
        series=result.id.series,
        number=result.id.number,
        text=result.id.text,
        name=seen.name if seen is not None else "",
        action=action,
        vendor=seen.vendor if seen is not None else "",
        amount=str(seen.amount) if seen is not None else "",
        currency=seen.currency if seen is not None else "",
        sage_number=seen.number if seen is not None else "",
        key="" if created or not result.key.isdigit() or int(result.key) > MADE_UP_KEY else result.key,
        content=seen.content if seen is not None else "",
        note=result.note,
        problems=tuple(problem.text for problem in result.problems),
        calls=tuple(calls),
    )


def calls_of(recorder: Recorder, document: DocumentId) -> list[Call]:
    """What was recorded of a document; Prime's calls know only its series and number, events only its number in their text."""
    found = [
        call
        for key in (document, DocumentId(document.environment, "", document.series, document.number))
        for call in recorder.calls.get(key, [])
    ]
    found += recorder.calls.get(DocumentId("", "", "", document.number), [])
    for call in recorder.calls.get(DocumentId(document.environment, "", "", ""), []):
        if f"({document.number})" in orjson.dumps(call.body).decode():
            found.append(call)
    return found


async def _remarks(tools: Tools, chosen: Mapping[str, Connection], options: Options) -> list[str]:
    """What keeps a sync from doing this just now."""
    found = []
    for sid, one in chosen.items():
        connection = tools.connections[sid]
        found += [f"{one.name} is paused: {hold.text}" for hold in await connection.pauses.holds()]
        found += [
            f"{record.job}, company {record.company} ({one.name}) is running: the plan is of what is known before its end"
            for record in await connection.runs.running()
            if _is_wanted(record.company, record.job, options)
        ]
    return found


# -- other settings --------------------------------------------------------------------------------------------------------


def tables_with(path: Path, changes: Sequence[str], connection: str | None) -> tuple[str, dict[str, str]]:
    """The configuration's text with other settings, and what was set. NAME=VALUE is of GeneralSettings, Objects.NAME=3 of Objects; a name
    in small letters is the connection's own. Raises ConfigError.
    """
    tables = tables_of(read_text(path), path)
    chosen = [one for one in tables.get("connections", []) if connection in (None, one.get("name"))]
    given: dict[str, str] = {}
    for change in changes:
        name, found, text = change.partition("=")
        name, text = name.strip(), text.strip()
        if not found or not name:
            raise ConfigError(f"--set {change}: expected NAME=VALUE, such as KeySource=key", code="set")
        given[name] = text
        for one in chosen:
            lookup, dot, key = name.partition(".")
            if dot:
                one.setdefault("lookups", {}).setdefault(lookup, {})[key] = _value(text)
            elif name[:1].islower():
                one[name] = _value(text)
            else:
                one.setdefault("lookups", {}).setdefault("GeneralSettings", {})[name] = _value(text)
    return dump(tables), given


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        return datetime.fromisoformat(text).date() if len(text) == 10 else text
    except ValueError:
        return text
