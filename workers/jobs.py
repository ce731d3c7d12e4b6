"""What goes through the queues: one pydantic model per kind of job, with a version, as orjson on the wire.

    queue       arq function   model          does
    schedule    tick           TickJob        asks one or all connections "what is due?" and starts it
    fetch       sweep          SweepJob       reads one Sage object for one scope, for one or several runs; makes chunks
    fetch       rows           RowsJob        reads named rows anew (replay of dead letters)
    fetch       finish         FinishJob      closes a part of a run: gone rows, known rows, cursor
    fetch       reconcile      ReconcileJob   compares Sage, Prime and the journal, and keeps a report (reports.py)
    write       write_chunk    WriteJob       sends one chunk (at most 500 rows) to Prime
    post        claim          ClaimJob       says that this Connect has the document jobs (heartbeat)
    post        list           ListJob        asks Prime for the documents of one company, sends them on in batches
    post        post           PostJob        brings some documents as far as they get, under their locks

A job says *where* its data are (run, chunk), it does not carry rows: a lost queue loses no business fact.
The keys are arq's own (`arq:job:<id>`, the queue is a sorted set), so arq's tools can look at them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

import orjson
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from connect.config import Config, Connection
from connect.mapping import Part
from connect.prime.documents import PrimeDocuments
from connect.prime.pay import PrimePay
from connect.prime.port import RegisterWriter
from connect.sage.bills import SageBills
from connect.sage.client import SageClient
from connect.sage.facts import SageFacts
from connect.sage.payments import SagePayments
from connect.state.dead_letters import DeadLetters
from connect.state.journal import Journal
from connect.state.metrics import Metrics
from connect.state.pauses import Pauses
from connect.state.runs import Runs
from connect.state.seal import Seal
from connect.state.slots import Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage

VERSION: Final = 1
SCHEDULE: Final = "schedule"
FETCH: Final = "fetch"
WRITE: Final = "write"
POST: Final = "post"
STAGES: Final = (SCHEDULE, FETCH, WRITE, POST)
EXPIRES_MS: Final = 30 * 86_400_000  # a job waits at most 30 days (arq's own default is one)


def queue_name(stage: str) -> str:
    """The Redis key of a stage's queue."""
    return f"connect:queue:{stage}"


def job_of_run(run: str) -> str:
    """The configured job whose run this is: its name begins with it (runs.py)."""
    return run.partition(".")[0]


def company_of_run(run: str) -> str:
    """The company whose run this is: it stands between the job, and time and chance (runs.py)."""
    return run.partition(".")[2].rsplit(".", 2)[0]


class Job(BaseModel):
    """Base of all jobs. `v` is the version of the wire; `trace` the correlation id from producer to Prime's reply."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    stage: ClassVar[str]
    function: ClassVar[str]

    v: int = VERSION
    trace: str

    @property
    def job_id(self) -> str:
        """Deterministic: enqueueing the same work twice is one job."""
        raise TypeError(f"{type(self).__name__} has no job id")

    @property
    def names(self) -> tuple[str, ...]:
        """The configured jobs (GetSuppliers, …) that it works for; none for what must go on whatever a person pauses."""
        run: str = getattr(self, "run", "")
        return (job_of_run(run),) if run else ()

    @property
    def companies(self) -> tuple[str, ...]:
        """The companies that it works for."""
        run: str = getattr(self, "run", "")
        return (company_of_run(run),) if run else ()


class TickJob(Job):
    """Wake-up of the schedule stage: what is due? `sid` "" means every connection."""

    stage: ClassVar[str] = SCHEDULE
    function: ClassVar[str] = "tick"
    sid: str = ""

    @property
    def job_id(self) -> str:
        return f"tick:{self.sid or 'all'}:{self.trace}"


class SweepJob(Job):
    """Read one Sage object in one scope, for the parts of several runs that want it (`runs`: run id, part id)."""

    stage: ClassVar[str] = FETCH
    function: ClassVar[str] = "sweep"
    sid: str
    sweep: str
    entity: str = ""
    runs: tuple[tuple[str, str], ...]

    @property
    def job_id(self) -> str:
        return f"sweep:{self.sid}:{self.sweep}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job_of_run(run) for run, _ in self.runs))

    @property
    def companies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(company_of_run(run) for run, _ in self.runs))


class RowsJob(Job):
    """Read the rows with these Sage keys anew and send them, whatever was known of them."""

    stage: ClassVar[str] = FETCH
    function: ClassVar[str] = "rows"
    sid: str
    run: str
    part: str
    keys: tuple[int, ...]

    @property
    def job_id(self) -> str:
        return f"rows:{self.sid}:{self.run}:{self.part}"


class FinishJob(Job):
    """Close one part of a run, once its sweep is done and all its chunks are acknowledged. `step` counts its phases."""

    stage: ClassVar[str] = FETCH
    function: ClassVar[str] = "finish"
    sid: str
    run: str
    part: str
    step: int = 0

    @property
    def job_id(self) -> str:
        return f"finish:{self.sid}:{self.run}:{self.part}:{self.step}"


class ReconcileJob(Job):
    """Compare Sage, Prime and the journal, and keep what differs. One of each connection at a time."""

    stage: ClassVar[str] = FETCH
    function: ClassVar[str] = "reconcile"
    sid: str

    @property
    def job_id(self) -> str:
        return f"reconcile:{self.sid}"


class WriteJob(Job):
    """Send one chunk of one run's part to Prime."""

    stage: ClassVar[str] = WRITE
    function: ClassVar[str] = "write_chunk"
    sid: str
    run: str
    part: str
    chunk: str

    @property
    def job_id(self) -> str:
        return f"write:{self.sid}:{self.run}:{self.part}:{self.chunk}"


class ClaimJob(Job):
    """Say in Prime that this Connect has a connection's document jobs."""

    stage: ClassVar[str] = POST
    function: ClassVar[str] = "claim"
    sid: str

    @property
    def job_id(self) -> str:
        return f"claim:{self.sid}"


class ListJob(Job):
    """Ask Prime for the documents of one company's job (a run)."""

    stage: ClassVar[str] = POST
    function: ClassVar[str] = "list"
    sid: str
    run: str
    company: str

    @property
    def job_id(self) -> str:
        return f"list:{self.sid}:{self.run}"


class PostJob(Job):
    """Bring documents (invoice series, number) as far as they get. `nonce` tells a later attempt from the one that asks for it."""

    stage: ClassVar[str] = POST
    function: ClassVar[str] = "post"
    sid: str
    run: str
    job: str
    company: str
    documents: tuple[tuple[str, str], ...]
    nonce: str = ""

    @property
    def job_id(self) -> str:
        digest = hashlib.sha256(repr((self.job, self.company, self.documents)).encode()).hexdigest()[:16]
        return f"post:{self.sid}:{digest}{self.nonce}"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.job,)

    @property
    def companies(self) -> tuple[str, ...]:
        return (self.company,)


JOBS: Final[dict[str, type[Job]]] = {
    model.function: model for model in (TickJob, SweepJob, RowsJob, FinishJob, ReconcileJob, WriteJob, ClaimJob, ListJob, PostJob)
}


def wire(job: Job, *, now_ms: int | None = None) -> bytes:
    """The bytes arq keeps for a job: {t: try, f: function, a: args, k: kwargs, et: enqueue time, ms}."""
    return orjson.dumps(
        {
            "t": None,
            "f": job.function,
            "a": (),
            "k": {"job": job.model_dump(mode="json")},
            "et": now_ms if now_ms is not None else int(time.time() * 1000),
        }
    )


def noted(job: Job) -> bytes:
    """A job as a run notes it, so that it can be put back should the queue lose it."""
    return orjson.dumps({"function": job.function, "job": job.model_dump(mode="json")})


def denoted(note: bytes) -> Job:
    """The job that was noted."""
    facts = orjson.loads(note)
    return JOBS[facts["function"]].model_validate(facts["job"])


def dumps(value: dict[str, Any]) -> bytes:
    """arq's serializer hook: orjson, exceptions as their text (they cannot travel otherwise)."""
    return orjson.dumps(value, default=repr)


def loads(value: bytes) -> dict[str, Any]:
    """arq's deserializer hook."""
    loaded: dict[str, Any] = orjson.loads(value)
    return loaded


def entry(job: Job, *, delay_ms: int = 0) -> tuple[str, str, bytes, int]:
    """What enqueueing needs, for callers that put it into a transaction or script of theirs.

    Returns (queue key, job id, wire bytes, score = due time in ms since the epoch).
    """
    now_ms = int(time.time() * 1000)
    return queue_name(job.stage), job.job_id, wire(job, now_ms=now_ms), now_ms + delay_ms


async def enqueue(redis: Redis, jobs: Sequence[Job], *, delay_ms: int = 0) -> int:
    """Put jobs into their queues, all or none. One that is queued or running already stays as it is.

    Returns how many were new.
    """
    if not jobs:
        return 0
    async with redis.pipeline(transaction=True) as pipe:
        for job in jobs:
            queue, job_id, payload, due_ms = entry(job, delay_ms=delay_ms)
            pipe.set(f"arq:job:{job_id}", payload, px=EXPIRES_MS + delay_ms, nx=True)
            pipe.zadd(queue, {job_id: due_ms}, nx=True)
        answers = await pipe.execute()
    return sum(1 for answer in answers[1::2] if answer)


def cursor_of(part: Part, entity: str) -> str:
    """The name of a part's cursor: with another mapping, other settings or another Sage entity there is none, and everything is read."""
    return f"{part.id}:{part.version}:{entity}"


@dataclass(frozen=True, kw_only=True)
class DocumentTools:
    """What the post stage needs of one connection. `bills`, `payments` and `facts` call Sage in the documents' lane; `pay` is None
    without Prime's REST API.
    """

    prime: PrimeDocuments
    pay: PrimePay | None
    bills: SageBills
    payments: SagePayments
    facts: SageFacts
    journal: Journal
    settle_s: float


@dataclass(frozen=True, kw_only=True)
class ConnectionTools:
    """What a stage needs of one connection."""

    connection: Connection
    redis: Redis
    sage: SageClient
    prime: RegisterWriter
    runs: Runs
    dead_letters: DeadLetters
    pauses: Pauses
    slots: Slots
    tokens: Tokens
    usage: Usage
    documents: DocumentTools | None = None
    seal: Seal | None = None


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a stage is given when it starts (settings.py puts it together); `ctx["tools"]` in every job.

    `connections` by state id. `starts_due`: whether jobs start that nobody asked for, because their schedule says so; not in a process
    that ends with what a person waits for. `metrics`: what this process counts. `connect`: makes the tools of one more connection.
    """

    config: Config
    redis: Redis
    clock: Callable[[], datetime]
    connections: dict[str, ConnectionTools]
    starts_due: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    connect: Callable[[Connection], ConnectionTools] | None = None
