"""Work that a person waits for: `run --until-idle`, `sync --wait`, `dead-letters replay --wait`; and `run`, which stays.

Who waits brings workers: where a stage has none alive, this process runs one itself, in its own event loop. `run` without an end starts
one process per stage and starts those anew that end by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from arq.worker import get_kwargs
from redis.exceptions import RedisError

from connect.config import Config, RedisSettings
from connect.registers import REGISTERS
from connect.state.embedded import redis_server
from connect.state.keeper import die_with_parent
from connect.state.pauses import hold_on
from connect.state.runs import RunRecord
from workers import acts, producers
from workers.arq_worker import Worker
from workers.documents import submitted_text
from workers.jobs import FETCH, POST, STAGES, WRITE, Tools
from workers.letters import named
from workers.queues import is_served
from workers.replay import replay as replay_letters
from workers.screen import Bar, Screen, follow, table
from workers.settings import STAGE_WORKERS, connect_redis, open_tools

LOOK_EVERY_S: Final = 0.05
WATCH_EVERY_S: Final = 2.0  # whether every stage still has a worker
HISTORY: Final = 200  # newest runs of a connection that are looked through for one's own
STOP_S: Final = 20.0
ASKED_ANEW: Final = 3  # times, should Redis lose everything while somebody waits
RESTART_S: Final = (0.5, 30.0)  # first and longest wait before a worker that ended is started anew
COUNTERS: Final = ("read", "sent", "unchanged", "refused", "expired", "calls")

log = structlog.get_logger()
Asked = tuple[str, str, str]  # connection, company, job


@dataclass(frozen=True)
class Outcome:
    """How the work ended. `waiting`: (connection, reason) of what could not be done because a connection is not let in.

    `notes`: what else a person should know.
    """

    runs: tuple[tuple[str, RunRecord], ...] = ()
    waiting: tuple[tuple[str, str], ...] = ()
    letters: int = 0
    skipped: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all done, 3 something was dead-lettered, 1 failed (design section 8).

        Of several runs of a job (one that somebody had interrupted, and ours after it) the newest counts; a second pass counts by itself.
        """
        newest = {(connection, record.company, record.job, record.mode == "deferred"): record for connection, record in self.runs}
        if self.waiting or any(record.state != "done" for record in newest.values()):
            return 1
        return 3 if self.skipped or any(record.refused for record in newest.values()) else 0

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "runs": [
                {
                    "connection": connection,
                    "company": record.company,
                    "job": record.job,
                    "run": record.run,
                    "mode": record.mode,
                    "state": record.state,
                    "reason": record.reason,
                    "duration_s": round(record.duration_s, 3),
                    **{name: getattr(record, name) for name in (*COUNTERS, "gone", "held", "undated", "submitted", "pages")},
                }
                for connection, record in self.runs
            ],
            "waiting": [{"connection": connection, "reason": reason} for connection, reason in self.waiting],
            "letters": self.letters,
            "skipped": self.skipped,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
        }

    def show(self) -> None:
        """For a person."""
        if self.runs:  # in 80 columns, if there is one company
            counters = [name for name in COUNTERS if name != "expired" or any(record.expired for _, record in self.runs)]
            several = len({record.company for _, record in self.runs}) > 1
            rows = [
                (
                    *((record.company,) if several else ()),
                    *(record.job, record.state, *(getattr(record, name) for name in counters), f"{record.duration_s:.1f}"),
                )
                for _, record in self.runs
            ]
            table((*(("company",) if several else ()), "job", "state", *counters, "seconds"), rows, right=(*counters, "seconds"))
        say = Screen().say
        for note in self.notes:
            say(note)
        for _, record in self.runs:
            if record.reason:
                say(f"{record.job}, company {record.company}: {record.reason}")
            if record.submitted:
                say(f"{record.job}, company {record.company}: {submitted_text(record.submitted)}.")
        for connection, reason in self.waiting:
            say(f"{connection} waits: {reason}")
        if any(record.refused for _, record in self.runs):
            say("Some rows were refused: `connect dead-letters list` says why and whose turn it is.")
        if self.skipped:
            say(f"{self.skipped} dead letters hold no register row and were not replayed; `connect dead-letters show` says what they are.")


# -- work with an end --------------------------------------------------------------------------------------------------


async def run_once(
    config: Config,
    screen: Screen,
    *,
    connection: str | None = None,
    company: str | None = None,
    job: str | None = None,
    full: bool = False,
    resend: bool = False,
    expire: bool = False,
    rewrite: bool = False,
    by: str = "",
) -> Outcome:
    """Every active job, or those named, once, now. Returns when nothing of it is left to do. `by`: who asks, for the audit trail."""
    async with session(config) as tools:
        return await run_jobs(
            tools,
            screen,
            by=by,
            connection=connection,
            company=company,
            job=job,
            full=full,
            resend=resend,
            expire=expire,
            rewrite=rewrite,
        )


async def run_jobs(tools: Tools, screen: Screen, *, by: str = "", **options: Any) -> Outcome:
    """The same within a session that is open. Options as `producers.want` takes them."""
    return await run_several(tools, screen, [options], by=by)


async def run_several(tools: Tools, screen: Screen, wishes: Sequence[Mapping[str, Any]], *, by: str = "") -> Outcome:
    """Several such wishes together."""
    before = await _known_runs(tools)
    for one in tools.connections.values():
        for stage in (FETCH, WRITE, POST):
            await one.pauses.clear(stage)  # somebody wants it tried now
    asked: list[Asked] = []
    asked_by: dict[Asked, Mapping[str, Any]] = {}
    for options in wishes:
        acts.check_names(tools, options.get("connection"), options.get("company"), options.get("job"))
        found = await producers.want(tools, **options)
        acts.check_asked(found)
        await acts.write_down_sync(tools, by, **options)
        asked += found
        asked_by.update(dict.fromkeys(found, options))
    outcome = await _wait(tools, screen, asked, before)
    for _ in range(ASKED_ANEW):
        ran = {(connection, record.company, record.job) for connection, record in outcome.runs}
        lost = [item for item in asked if item not in ran and item[0] not in dict(outcome.waiting)]
        if not lost:
            break
        log.warning("Redis has lost what was asked for; it is asked for again", jobs=[item[2] for item in lost])
        for name, company, job in lost:
            options = asked_by[name, company, job]
            await producers.want(tools, **{**options, "connection": name, "company": company, "job": job})
        outcome = await _wait(tools, screen, asked, before)
    return outcome


async def start_now(config: Config, *, by: str = "", **options: Any) -> dict[str, Any]:
    """Ask for jobs and leave them to the workers elsewhere. Returns what was asked for, and the stages that nobody serves."""
    async with open_tools(config) as tools:
        return (await acts.sync(tools, by=by, **options)).model_dump()


async def replay(
    config: Config,
    screen: Screen,
    *,
    ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    wait: bool = False,
    by: str = "",
) -> Outcome:
    """Send dead letters again: those named, or all that match the filters. `by`: who asks, for the audit trail."""
    async with session(config) if wait and not dry_run else open_tools(config) as tools:
        return await replay_now(tools, screen, ids=ids, filters=filters, dry_run=dry_run, rate=rate, wait=wait, by=by)


async def replay_now(
    tools: Tools,
    screen: Screen,
    *,
    ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    wait: bool = False,
    by: str = "",
) -> Outcome:
    """The same within tools that are open."""
    closed = [(one, letter) for one, letter in await named(tools, ids) if letter.state != "open"]
    notes = [f"dead letter {letter.id} is {_STATE_WORDS.get(letter.state, letter.state)}" for _, letter in closed]
    under_way = [(one.connection.name, letter.company, letter.job) for one, letter in closed if letter.state == "replaying"]
    before = await _known_runs(tools)
    done = await replay_letters(tools, ids, filters or None, dry_run=dry_run, rate_per_s=rate, by=by)
    notes += [
        f"dead letter {letter_id} holds a payment: another person must approve it first: connect dead-letters approve {letter_id} --as USER"
        for letter_id in done.unapproved
    ]
    if done.paused:
        notes.append(f"{_count(len(done.paused), 'dead letter')} left as they are: their job is paused (`connect status`)")
    if not wait or not (done.runs or done.documents or under_way):
        if dry_run:
            notes.append(f"would send {_count(done.letters, 'dead letter')} again")
        elif done.runs or done.documents:
            notes.append(f"sending {_count(done.letters, 'dead letter')} again; `connect status` shows how it goes")
            if unserved := [stage for stage in STAGES if not await is_served(tools.redis, stage)]:
                notes.append(without_workers(unserved))
        elif filters and not done.skipped and not done.unapproved and not done.paused:
            notes.append("no open dead letter matches")
        return Outcome(letters=done.letters, skipped=done.skipped, notes=tuple(notes))
    asked = [
        (one.connection.name, record.company, record.job)
        for one in tools.connections.values()
        for run in done.runs
        if (record := await one.runs.record(run)) is not None
    ]
    ended = await _wait(tools, screen, list(dict.fromkeys([*asked, *done.documents, *under_way])), before)
    return replace(ended, letters=done.letters, skipped=done.skipped, notes=tuple(notes))


_STATE_WORDS: Final = {
    "replaying": "being sent already",
    "resolved": "resolved: its row has been accepted, nothing to send",
    "discarded": "discarded: nothing to send",
}


def without_workers(stages: Sequence[str]) -> str:
    """What to say when work waits for workers that are not there."""
    return f"no worker is alive for: {', '.join(stages)}. The work waits; start `connect run`, or use --wait"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


async def _wait(tools: Tools, screen: Screen, asked: Sequence[Asked], before: frozenset[str]) -> Outcome:
    """Wait for what was asked for, showing how far it is."""
    ended = asyncio.Event()
    started = time.monotonic()
    waiting: dict[str, str] = {}

    async def look() -> list[Bar]:
        return [
            Bar(
                name=f"{record.job} {record.company}" + (", second pass" if record.mode == "deferred" else ""),
                done=record.sent if record.mode == "deferred" else record.read,
                total=record.counters.get("total") or None,
                ended=record.state != "running",
                note=f"{record.sent:,} sent" + (f", {record.refused:,} refused" if record.refused else ""),
            )
            for _, record in await _records(tools, asked, before)
        ]

    showing = asyncio.create_task(follow(look, ended) if not screen.json else ended.wait())
    try:
        while True:
            left = await _left(tools, asked)
            resting = await _resting(tools, left)
            waiting = {item[0]: reason for item, reason in resting.items()}
            if all(item in resting for item in left):
                break
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        ended.set()
        await showing
    records = await _records(tools, asked, before)
    return Outcome(tuple(records), tuple(sorted(waiting.items())), seconds=time.monotonic() - started)


async def _left(tools: Tools, asked: Sequence[Asked]) -> list[Asked]:
    """What was asked for and is not over: wanted still, running, or with rows that wait for their second pass."""
    left: list[Asked] = []
    for sid, one in tools.connections.items():
        mine = [item for item in asked if item[0] == one.connection.name]
        if not mine:
            continue
        wanted = await producers.wanted(tools.redis, sid)
        running = {(record.company, record.job) for record in await one.runs.running()}
        for item in mine:
            key = item[1:]
            register = REGISTERS.get(item[2])
            second_pass = register is not None and register.second_pass_after is not None
            if (
                key in wanted
                or key in running
                or (second_pass and await one.runs.deferred_waiting(*key))
                or (register is None and await producers.posts_left(tools.redis, sid))
            ):
                left.append(item)
    return left


async def _resting(tools: Tools, left: Sequence[Asked]) -> dict[Asked, str]:
    """What is left and cannot go on now, and why: its connection is not let in, or a person has paused it."""
    found: dict[Asked, str] = {}
    for one in tools.connections.values():
        mine = [item for item in left if item[0] == one.connection.name]
        if not mine:
            continue
        looks = [await one.pauses.look(stage) for stage in (FETCH, WRITE, POST)]
        reason = next((pause.reason for pause, _ in reversed(looks) if pause is not None), None)
        for item in mine:
            if reason is not None:
                found[item] = reason
            elif (hold := hold_on(looks[0][1], item[2])) is not None:
                found[item] = hold.text
    return found


async def _known_runs(tools: Tools) -> frozenset[str]:
    """The runs that have ended before anything is asked for: what is on, or comes after them, is what we wait for and report."""
    return frozenset(
        [record.run for one in tools.connections.values() for record in await one.runs.history(limit=HISTORY) if record.state != "running"]
    )


async def _records(tools: Tools, asked: Sequence[Asked], before: frozenset[str]) -> list[tuple[str, RunRecord]]:
    """The new runs of what was asked for, in the order in which they started."""
    wanted = set(asked)
    found = [
        (one.connection.name, record)
        for one in tools.connections.values()
        for record in await one.runs.history(limit=HISTORY)
        if record.run not in before and (one.connection.name, record.company, record.job) in wanted
    ]
    return sorted(found, key=lambda item: item[1].started_at)


# -- workers -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session(config: Config) -> AsyncIterator[Tools]:
    """Tools, and a worker for every stage that has none alive; all of it ends with the block."""
    async with redis_server(config) as server:
        redis = connect_redis(server)
        try:
            async with open_tools(config, redis) as opened:
                tools = replace(opened, starts_due=False)  # only what is asked for: it must not be left half done at the end
                async with own_workers(tools, server):
                    yield tools
        finally:
            await redis.aclose()


@asynccontextmanager
async def own_workers(tools: Tools, server: RedisSettings) -> AsyncIterator[None]:
    """Workers of this process for the stages that nobody serves, for as long as the block lasts."""
    crew = _Crew(tools, server)
    await crew.fill()
    watching = asyncio.create_task(crew.watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await crew.leave()


class _Crew:
    """The workers of this process: for stages that nobody serves, also those whose worker elsewhere dies while we wait."""

    def __init__(self, tools: Tools, server: RedisSettings) -> None:
        self._tools = tools
        self._server = server
        self._mine: dict[str, tuple[Worker, asyncio.Task[None]]] = {}

    async def fill(self) -> None:
        for stage in STAGES:
            if stage not in self._mine and not await is_served(self._tools.redis, stage):
                worker = _worker(stage, self._tools, self._server)
                self._mine[stage] = worker, asyncio.create_task(worker.async_run())

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            for stage, (worker, task) in list(self._mine.items()):
                if task.done():
                    error = None if task.cancelled() else task.exception()
                    log.error("a worker ended by itself and is started anew", stage=stage, error=repr(error))
                    del self._mine[stage]
                    await worker.close()
            with suppress(OSError, RedisError):  # whoever waits notices that too
                await self.fill()

    async def leave(self) -> None:
        for _, task in self._mine.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._mine.values()), return_exceptions=True)
        for worker, _ in self._mine.values():
            await worker.close()


def _worker(stage: str, tools: Tools, server: RedisSettings) -> Worker:
    options: dict[str, Any] = dict(get_kwargs(STAGE_WORKERS[stage]))
    options |= {
        "ctx": {**options.get("ctx", {}), "tools": tools},
        "redis_pool": connect_redis(server),
        "on_startup": None,
        "on_shutdown": None,
        "handle_signals": False,
    }
    return Worker(**options)


async def run_forever(config: Config) -> int:
    """One process per stage, started anew when it ends by itself, until SIGINT or SIGTERM. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with redis_server(config) as server:  # holds an embedded server for all of them
        await connect_redis(server).aclose()  # a URL that is none is said once, not by every worker over and over
        await asyncio.gather(*(_keep(stage, config, stop) for stage in STAGES))
    return 0


async def _keep(stage: str, config: Config, stop: asyncio.Event) -> None:
    """Keep one worker process of a stage alive."""
    wait_s = RESTART_S[0]
    while not stop.is_set():
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers.cli", "worker", stage,
            env={**os.environ, "CONNECT_CONFIG": str(config.path)},
            preexec_fn=_as_our_worker(os.getpid()),
        )  # fmt: skip
        await _first(process.wait(), stop.wait())
        if process.returncode is None:
            await _end(process)
            return
        if stop.is_set():
            return
        wait_s = RESTART_S[0] if time.monotonic() - started > 60 else min(wait_s * 2, RESTART_S[1])
        log.error("a worker ended by itself and is started anew", stage=stage, exit_code=process.returncode, wait_s=wait_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await stop.wait()


def _as_our_worker(parent: int) -> Callable[[], None]:
    """For a worker, between fork and exec: it ends when we are killed, and a Ctrl-C before it listens is left to us."""
    die = die_with_parent(parent)

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if die is not None:
            die()

    return prepare


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Wait until one of them is over."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
