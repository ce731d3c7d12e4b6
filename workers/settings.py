"""The only wiring: configuration and Redis become `Tools`, stages become arq worker settings.

`connect worker fetch` and arq's own `arq workers.settings.FetchWorker` run the same thing. Nothing connects or reads the
environment at import; `CONNECT_CONFIG` names the configuration file when a worker starts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import aiohttp
import structlog
from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from redis.exceptions import RedisError

from connect.config import Config, Connection, RedisSettings, load_config
from connect.errors import ConfigError
from connect.http import Http
from connect.prime.documents import PrimeDocuments
from connect.prime.pay import PrimePay
from connect.prime.port import RegisterWriter
from connect.prime.rest import PrimeRest, PrimeRestAccess, RestRegisters
from connect.prime.soap import PrimeSoap, PrimeSoapAccess, SoapRegisters
from connect.registers import REGISTERS
from connect.sage.auth import SageAccess, request_token
from connect.sage.bills import SageBills
from connect.sage.client import SageClient
from connect.sage.facts import SageFacts
from connect.sage.payments import SagePayments
from connect.state.client import pool_of
from connect.state.dead_letters import DeadLetters
from connect.state.embedded import redis_server
from connect.state.journal import Journal
from connect.state.metrics import FLUSH_EVERY_S
from connect.state.pauses import Pauses
from connect.state.runs import Runs
from connect.state.seal import Seal
from connect.state.slots import Slots
from connect.state.tokens import Tokens
from connect.state.usage import Usage
from workers import deployment, fetchers, logs, notify, outcomes, posters, producers, reports, writers
from workers.arq_worker import Worker, install
from workers.jobs import FETCH, POST, SCHEDULE, WRITE, ConnectionTools, DocumentTools, Job, TickJob, Tools, dumps, loads, queue_name
from workers.memory import give_back_large_blocks
from workers.reloading import Reloading, write_version

READ_BUFFER_BYTES: Final = 2**20
DEFAULT_CONFIG: Final = "connect.toml"


def config_path() -> Path:
    return Path(os.environ.get("CONNECT_CONFIG", DEFAULT_CONFIG))


def connect_redis(server: RedisSettings | str) -> ArqRedis:
    """A client that rides out short absences of Redis and follows a failover. Raises ConfigError when the URL is none."""
    pool = pool_of(RedisSettings.model_construct(url=server) if isinstance(server, str) else server)
    redis = ArqRedis(pool, job_serializer=dumps, job_deserializer=loads)
    redis.auto_close_connection_pool = True
    return redis


@asynccontextmanager
async def open_tools(config: Config, redis: ArqRedis | None = None) -> AsyncIterator[Tools]:
    """Everything a stage or a command needs; closed at the end. Starts the embedded Redis when the configuration names none."""
    give_back_large_blocks()
    async with AsyncExitStack() as stack:
        if redis is None:
            redis = connect_redis(await stack.enter_async_context(redis_server(config)))
            stack.push_async_callback(redis.aclose)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=READ_BUFFER_BYTES)
        )
        http = Http(session)
        connect = partial(connection_tools, redis=redis, http=http)
        connections = {one.sid: connect(one) for one in config.connections}
        tools = Tools(config=config, redis=redis, clock=lambda: datetime.now(UTC), connections=connections, connect=connect)
        counting = asyncio.create_task(_add_counts(tools))
        try:
            yield tools
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await _flush(tools)


async def _add_counts(tools: Tools) -> None:
    """Add what this process has counted to Redis every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(FLUSH_EVERY_S)
        await _flush(tools)


async def _flush(tools: Tools) -> None:
    with suppress(OSError, RedisError):  # with the next; at the end, a few counts less
        await tools.metrics.flush(tools.redis)
        for connection in tools.connections.values():
            await connection.usage.flush()


def connection_tools(connection: Connection, redis: ArqRedis, http: Http) -> ConnectionTools:
    """One connection's clients and stores."""
    access = sage_access(connection)

    async def ask() -> tuple[str, float]:
        return await request_token(http, access)

    tokens = Tokens(redis, access.client_id, access.username, access.client_secret, ask)
    slots = Slots(redis, connection.sage_company, connection.sid, connection.sage_slots)
    usage = Usage(redis, connection.sage_company, connection.sid)
    seal = Seal(access.client_secret, connection.sid, connection.encrypt_dead_letters)
    rest = rest_access(connection)
    documents = SageClient(http, tokens, slots, usage, access, lane="documents", write_timeout_s=connection.sage_write_timeout_s)
    return ConnectionTools(
        connection=connection,
        redis=redis,
        sage=SageClient(http, tokens, slots, usage, access),
        prime=register_writer(connection, http),
        runs=Runs(redis, connection.sid, seal=seal),
        dead_letters=DeadLetters(redis, connection.sid, seal=seal),
        seal=seal,
        pauses=Pauses(redis, connection.sid),
        slots=slots,
        tokens=tokens,
        usage=usage,
        documents=DocumentTools(
            prime=PrimeDocuments(PrimeSoap(http, soap_access(connection))),
            pay=PrimePay(PrimeRest(http, rest)) if rest is not None else None,
            bills=SageBills(documents, limit_bytes=connection.sage_body_limit_bytes, numbers=connection.lookups.general.key_source),
            payments=SagePayments(documents, numbers=connection.lookups.general.key_source),
            facts=SageFacts(documents, numbers=connection.lookups.general.key_source),
            journal=Journal(redis, connection.sid, lock_s=connection.document_lock_s),
            settle_s=connection.settle_s,
        ),
    )


def sage_access(connection: Connection) -> SageAccess:
    """Who we are at the connection's Sage."""
    credentials = connection.credentials
    return SageAccess(
        token_url=credentials.token_url,
        base_url=credentials.base_url,
        query_url=credentials.query_url,
        rest_version=credentials.rest_version,
        client_id=credentials.client_id,
        client_secret=credentials.client_secret.get_secret_value(),
        username=credentials.username,
    )


def soap_access(connection: Connection) -> PrimeSoapAccess:
    """Who we are at the connection's web service."""
    return PrimeSoapAccess(connection.url, connection.environment, connection.username, connection.password.get_secret_value())


def register_writer(connection: Connection, http: Http) -> RegisterWriter:
    """How registers reach Prime: by the connection's `register_transport`."""
    if connection.register_transport == "soap":
        return SoapRegisters(http, soap_access(connection))
    access = rest_access(connection)
    if access is None:
        raise ConfigError(f"connection {connection.name}: REST needs rest_url, rest_identity_url and rest_client_secret")
    return RestRegisters(http, access)


def rest_access(connection: Connection) -> PrimeRestAccess | None:
    """Who we are at Prime's REST API; None when the connection does not say."""
    secret = connection.rest_client_secret
    if not (connection.rest_url and connection.rest_identity_url and secret):
        return None
    return PrimeRestAccess(
        url=connection.rest_url,
        identity_url=connection.rest_identity_url,
        tenant=connection.rest_tenant or "",
        client_id=connection.rest_client_id or "",
        client_secret=secret.get_secret_value(),
        user=connection.rest_user or "",
        role=connection.rest_role or "",
    )


# -- stages ----------------------------------------------------------------------------------------------------------------


def _function(action: Callable[[dict[str, Any], Any], Awaitable[None]], name: str = "") -> Callable[..., Awaitable[outcomes.Outcome]]:
    """An arq function: the job's own coroutine inside `outcomes.run`, under its own name or another."""

    async def call(ctx: dict[str, Any], job: Job) -> outcomes.Outcome:
        return await outcomes.run(ctx, action, job)

    call.__qualname__ = name or action.__name__
    return call


async def wake_up(ctx: dict[str, Any]) -> None:
    """arq's cron: a wake-up for all connections."""
    await outcomes.run(ctx, producers.tick, TickJob(trace="cron"))


async def tell_people(ctx: dict[str, Any]) -> None:
    """arq's cron: what is wrong is told; beside the ticks, which never wait for a mail server."""
    await notify.tell_people(ctx["tools"])


async def _startup(ctx: dict[str, Any]) -> None:
    stack = AsyncExitStack()
    ctx["stack"] = stack
    config = load_config(config_path(), jobs=REGISTERS)
    write_version(config)
    ctx["tools"] = await stack.enter_async_context(open_tools(config, ctx["redis"]))
    await stack.enter_async_context(_reloading(ctx))


@asynccontextmanager
async def _reloading(ctx: dict[str, Any]) -> AsyncIterator[None]:
    """Jobs that start from now on get the tools of the configuration as it is."""

    def take(tools: Tools) -> None:
        ctx["tools"] = tools

    looking = asyncio.create_task(Reloading(ctx["tools"], take).run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _shutdown(ctx: dict[str, Any]) -> None:
    stack: AsyncExitStack | None = ctx.pop("stack", None)
    if stack is not None:
        await stack.aclose()


async def _open_pool() -> ArqRedis:
    """The Redis of the configuration; this process stays attached to an embedded one as long as it lives."""
    if not structlog.is_configured():  # arq's own command has started us
        logs.configure()
    if _attached.stack is None:
        stack = AsyncExitStack()
        _attached.server = await stack.enter_async_context(redis_server(load_config(config_path(), jobs=REGISTERS)))
        _attached.stack = stack
    return connect_redis(_attached.server)


class _Attached:
    """The process's hold on an embedded Redis."""

    stack: AsyncExitStack | None = None
    server: RedisSettings


_attached = _Attached()


class ScheduleWorker:
    """Asks what is due, every 15 seconds and whenever a run ends."""

    queue_name = queue_name(SCHEDULE)
    functions: ClassVar[list[Any]] = [_function(producers.tick)]
    cron_jobs: ClassVar[list[CronJob]] = [
        cron(wake_up, second={0, 15, 30, 45}, run_at_startup=True),
        cron(tell_people, second={10, 40}, run_at_startup=True),
    ]
    on_startup = _startup
    on_shutdown = _shutdown
    max_jobs = 4
    health_check_interval = 5
    timezone = UTC


class FetchWorker:
    """Reads Sage. Few places: a sweep uses all of its company's slots by itself; so one connection has at most half of them.

    What ends a run goes first: it is short, and others wait for it. Reports are made in processes of their own.
    """

    queue_name = queue_name(FETCH)
    ctx: ClassVar[dict[str, Any]] = {"share_of_a_connection": 0.5, "first": "finish"}
    functions: ClassVar[list[Any]] = [
        _function(fetchers.sweep),
        _function(fetchers.rows),
        _function(fetchers.finish),
        _function(reports.reconcile),
    ]
    on_startup = _startup
    on_shutdown = _shutdown
    max_jobs = 8
    health_check_interval = 5


class WriteWorker:
    """Sends chunks to Prime, one of each connection at a time: who is killed repeats one, and a Prime that hangs holds up no other."""

    queue_name = queue_name(WRITE)
    ctx: ClassVar[dict[str, Any]] = {"jobs_per_connection": 1}
    functions: ClassVar[list[Any]] = [_function(writers.write_chunk)]
    on_startup = _startup
    on_shutdown = _shutdown
    max_jobs = 4
    health_check_interval = 5


class PostWorker:
    """Books documents in Sage, some batches of each connection at a time."""

    queue_name = queue_name(POST)
    ctx: ClassVar[dict[str, Any]] = {"jobs_per_connection": 2}
    functions: ClassVar[list[Any]] = [
        _function(deployment.claim_jobs, "claim"),
        _function(posters.list_documents, "list"),
        _function(posters.post),
    ]
    on_startup = _startup
    on_shutdown = _shutdown
    max_jobs = 4
    health_check_interval = 5


STAGE_WORKERS: Final[dict[str, type]] = {SCHEDULE: ScheduleWorker, FETCH: FetchWorker, WRITE: WriteWorker, POST: PostWorker}
Worker.open_pool = staticmethod(_open_pool)
install()


def run_worker(stage: str) -> None:
    """One worker process of one stage, until SIGINT or SIGTERM."""
    from arq.worker import get_kwargs

    asyncio.set_event_loop(asyncio.new_event_loop())
    Worker(**get_kwargs(STAGE_WORKERS[stage])).run()
