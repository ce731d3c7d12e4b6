"""Connections: set-up without secrets, registers, what was sent of a row, whether we are let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from pydantic import Field
from redis.exceptions import RedisError

from connect.errors import ConfigError, ConnectError
from connect.registers import REGISTERS
from connect.state.known import Known
from workers.jobs import ConnectionTools, Tools
from workers.overview.model import Model, chosen_of

HEALTH_WITHIN_S: Final = 10.0


class RegisterState(Model):
    """What Prime was given of one part of a register."""

    job: str = Field(description="The job that brings it.")
    company: str = Field(description="The company in Prime.")
    part: str = Field(description="Supplier, Account, Object-3, …")
    kind: str = Field(description="Prime's kind of record.")
    source: str = Field(description="The object in Sage.")
    rows: int = Field(description="Rows known.")
    synced_at: datetime | None = Field(description="When the newest run that read all that was asked for began.")


class Setup(Model):
    """A connection as it is configured; secrets are hidden."""

    name: str = Field(description="Its name.")
    sid: str = Field(description="The id under which Redis keeps its state.")
    sage_company: str = Field(description="The company in Sage.")
    companies: list[str] = Field(description="The companies in Prime.")
    active_jobs: int = Field(description="Jobs that run.")
    configuration: dict[str, Any] = Field(description="All keys as they are understood, defaults included.")
    registers: list[RegisterState] = Field(description="Empty in a list of all connections.")


class SentRow(Model):
    """What is known of a row that was sent to Prime: that it was accepted, not its fields."""

    company: str
    job: str = Field(description="The job that brings it.")
    part: str = Field(description="The part of the register.")
    key: int = Field(description="The record's key in Sage.")
    number: str = Field(description="Its number in Prime.")
    name: str = Field(description="Its name, as it was sent.")
    is_settled: bool = Field(description="Prime has it as Sage had it at the last look; else it is looked at anew in the next run.")
    fingerprint: str = Field(description="Digest of what was sent.")
    synced_at: datetime | None = Field(description="When the newest complete run of its job began.")
    letter: str = Field(description="Its open dead letter; empty for none.")


class Check(Model):
    """Whether a system serves us."""

    name: str = Field(description="Which system, and how it was asked.")
    ok: bool
    text: str = Field(description="What it answered, or why it does not serve us.")
    ms: float = Field(description="How long it took, in milliseconds.")


def connections(tools: Tools) -> list[Setup]:
    """All connections, without their registers. Asks nobody."""
    return [_setup(one, []) for one in tools.connections.values()]


async def connection(tools: Tools, name: str) -> Setup:
    """One connection with its registers. Raises ConfigError when there is none."""
    one = chosen_of(tools, name)[0]
    parts = [
        (job.company, job.job, part)
        for job in one.connection.jobs
        if job.job in REGISTERS
        for part in REGISTERS[job.job].parts(one.connection.register_settings(job.company))
    ]
    complete = await tools.redis.hgetall(f"connect:{one.connection.sid}:complete")
    indexes = await asyncio.gather(*(Known(one.redis, one.connection.sid, company, part.id).index() for company, _, part in parts))
    registers = [
        RegisterState(
            job=job,
            company=company,
            part=part.id,
            kind=part.kind,
            source=part.source.object,
            rows=index.rows,
            synced_at=_moment(complete.get(f"{company}:{job}".encode())),
        )
        for (company, job, part), index in zip(parts, indexes, strict=True)
    ]
    return _setup(one, registers)


def _setup(one: ConnectionTools, registers: list[RegisterState]) -> Setup:
    found = one.connection
    return Setup(
        name=found.name,
        sid=found.sid,
        sage_company=found.sage_company,
        companies=found.companies,
        active_jobs=sum(job.active for job in found.jobs),
        configuration=found.model_dump(mode="json", by_alias=True),
        registers=registers,
    )


def _moment(raw: bytes | None) -> datetime | None:
    return datetime.fromisoformat(raw.decode()) if raw else None


async def sent_row(tools: Tools, name: str, company: str, job: str, number: str) -> list[SentRow]:
    """What is known of the rows with this number, in all parts of a register. Looks through the known rows: some 0.1 s for 100,000."""
    one = chosen_of(tools, name)[0]
    if job not in REGISTERS:
        raise ConfigError(f"{job} is no register; there are {', '.join(REGISTERS)}", code="unknown-job")
    if company not in one.connection.companies:
        raise ConfigError(f"no company {company!r}; there are {', '.join(one.connection.companies)}", code="unknown-company")
    complete = await tools.redis.hget(f"connect:{one.connection.sid}:complete", f"{company}:{job}")
    found = []
    for part in REGISTERS[job].parts(one.connection.register_settings(company)):
        known = Known(one.redis, one.connection.sid, company, part.id)
        open_letters = await one.dead_letters.open_keys(company, job, part.id)
        for info in (await known.index()).blocks:
            labels = await known.labels(info.block)
            places = [place for place, label in enumerate(labels) if label.natural and label.number == number]
            if not places:
                continue
            block = await known.block(info.block)
            found += [
                SentRow(
                    company=company,
                    job=job,
                    part=part.id,
                    key=block.keys[place],
                    number=number,
                    name=labels[place].name,
                    is_settled=block.raws[place] != 0,
                    fingerprint=f"{block.meanings[place]:016x}",
                    synced_at=_moment(complete),
                    letter=open_letters.get(block.keys[place], ""),
                )
                for place in places
            ]
    return found


async def health(tools: Tools, name: str) -> list[Check]:
    """Asks Redis, Sage and Prime whether they serve this connection, side by side, 10 s each at most. Changes nothing."""
    one = chosen_of(tools, name)[0]

    async def redis() -> str:
        await tools.redis.ping()
        return "answers"

    async def sage() -> str:
        await one.tokens.get()
        return f"lets {one.connection.credentials.username} in"

    async def registers() -> str:
        info = await one.prime.check()
        return " ".join(["lets us in", f"(version {info.version})" if info.version else ""]).strip()

    async def documents() -> str:
        assert one.documents is not None
        code = one.connection.companies[0]
        data = await one.documents.prime.company_data(code)
        return f"lets {one.connection.username} in; company {code} is {data.name or 'there'}"

    asked: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("Redis", redis),
        ("Sage, token", sage),
        (f"Prime, registers over {one.connection.register_transport.upper()}", registers),
    ]
    if one.documents is not None and one.connection.companies:
        asked.append(("Prime, documents over SOAP", documents))
    return list(await asyncio.gather(*(_check(what, ask) for what, ask in asked)))


async def _check(name: str, ask: Callable[[], Awaitable[str]]) -> Check:
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(HEALTH_WITHIN_S):
            ok, text = True, await ask()
    except TimeoutError:
        ok, text = False, f"no answer within {HEALTH_WITHIN_S:.0f} s"
    except ConnectError as error:
        ok, text = False, error.message
    except (OSError, RedisError) as error:
        ok, text = False, str(error) or type(error).__name__
    return Check(name=name, ok=ok, text=text, ms=round((asyncio.get_running_loop().time() - started) * 1000, 1))
