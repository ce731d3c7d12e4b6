"""What the queue does after a job, by what the job raised. Redis is a stand-in that counts."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from connect.errors import Auth, Permanent, Poison, RateLimited, Transient
from connect.state.metrics import Metrics
from connect.state.pauses import Hold
from connect.state.usage import PURPOSE
from workers import outcomes
from workers.jobs import PostJob, SweepJob, WriteJob

JOB = WriteJob(trace="t", sid="s", run="r", part="p", chunk="c")


class Pipe:
    def __init__(self, counts: dict[str, int], seen: dict[str, int]) -> None:
        self.counts, self.seen, self.name = counts, seen, ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def incr(self, name: str) -> None:
        self.name = name
        self.counts[name] = self.counts.get(name, 0) + 1

    def expire(self, name: str, _seconds: int) -> None: ...

    def set(self, *_: object, **__: object) -> None: ...

    def zadd(self, *_: object, **__: object) -> None: ...

    def hincrby(self, _key: str, name: str, number: int) -> None:
        self.seen[name] = self.seen.get(name, 0) + number

    def zincrby(self, *_: object) -> None: ...

    def zremrangebyrank(self, *_: object) -> None: ...

    async def execute(self) -> list[int]:
        return [self.counts.get(self.name, 1), 1]


class World:
    """Just enough of the tools."""

    def __init__(self, pause: Any = None) -> None:
        self.counts: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.failed: list[str] = []
        self.flushed: list[tuple[str, str]] = []
        self.paused: list[tuple[str, str]] = []
        self.holds: list[Hold] = []
        self._pause = pause
        connection = SimpleNamespace(
            connection=SimpleNamespace(name="acme", sid="s"),
            pauses=SimpleNamespace(look=self.look, pause=self.pause),
            runs=SimpleNamespace(fail=self.fail, record=self.record),
            usage=SimpleNamespace(flush=self.flush),
        )
        redis = SimpleNamespace(pipeline=lambda **_: Pipe(self.counts, self.seen), delete=self.delete)
        self.tools = SimpleNamespace(connections={"s": connection}, redis=redis, clock=lambda: None, metrics=Metrics())

    async def flush(self) -> None:
        self.flushed.append(PURPOSE.get())

    async def look(self, _stage: str) -> Any:
        return self._pause, self.holds

    async def pause(self, stage: str, reason: str, _owner: str = "") -> bool:
        self.paused.append((stage, reason))
        return True

    async def fail(self, run: str, reason: str, _now: object) -> None:
        self.failed.append(f"{run}: {reason}")

    async def record(self, _run: str) -> None:
        return None

    async def delete(self, name: str) -> None:
        self.counts.pop(name, None)

    async def outcome(self, error: BaseException | None) -> outcomes.Outcome:
        async def action(_ctx: dict[str, Any], _job: Any) -> None:
            if error is not None:
                raise error

        return await outcomes.run({"tools": self.tools}, action, JOB)


async def test_what_went_well_is_over_and_its_attempts_are_forgotten() -> None:
    world = World()
    await world.outcome(Transient("x"))
    assert world.counts == {f"arq:retry:{JOB.job_id}": 1}
    assert await world.outcome(None) == outcomes.DONE
    assert world.counts == {}


async def test_what_a_job_asks_sage_for_is_counted_under_its_name_and_company() -> None:
    world = World()

    async def action(_ctx: dict[str, Any], _job: Any) -> None: ...

    runs = tuple((f"GetSuppliers.{company}.20260302T120000.ab12", "Supplier") for company in ("no. 2", "100"))
    await outcomes.run({"tools": world.tools}, action, SweepJob(trace="t", sid="s", sweep="x", runs=runs))
    await outcomes.run({"tools": world.tools}, action, PostJob(trace="t", sid="s", run="", job="ExportInvoices", company="7", documents=()))
    assert world.flushed == [("100, no. 2", "GetSuppliers"), ("7", "ExportInvoices")]


async def test_transient_errors_wait_ever_longer_with_jitter_and_then_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes.random, "random", lambda: 1.0)
    world = World()
    waits = [(await world.outcome(Transient("x"))).again_s for _ in range(outcomes.ATTEMPTS)]
    assert waits == [pytest.approx(wait + 0.05) for wait in (1, 2, 4, 8, 16, 32, 60)] + [None]
    assert world.failed == ["r: x"]
    assert world.counts == {}


@pytest.mark.parametrize(("told_s", "least_s"), [(None, 1), (7, 7), (1e9, outcomes.LONGEST_THROTTLE_S)])
async def test_being_told_to_wait_is_obeyed_within_reason_and_costs_no_attempt(told_s: float | None, least_s: float) -> None:
    world = World()
    again_s = (await world.outcome(RateLimited("slower", retry_after_s=told_s))).again_s
    assert again_s is not None
    assert least_s <= again_s <= least_s + 1
    assert (world.counts, world.failed) == ({}, [])


async def test_not_being_let_in_pauses_the_stage_and_the_job_waits() -> None:
    world = World()
    assert (await world.outcome(Auth("wrong password"))).again_s == 30
    assert (world.paused, world.counts, world.failed) == ([("write", "wrong password")], {}, [])
    assert world.seen == {"unknown": 1}
    await world.outcome(Auth("Authentication failed: environment is wrong", system="prime"))
    assert world.seen == {"unknown": 1, "known": 1}


async def test_a_job_of_a_resting_stage_waits_without_being_run() -> None:
    world = World(pause=SimpleNamespace(left_s=10))
    again_s = (await world.outcome(AssertionError("it was run"))).again_s
    assert again_s is not None
    assert 10 <= again_s <= 11


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("away"),
        OutOfMemoryError("full"),
        ResponseError("NOREPLICAS Not enough good replicas to write. script: 1d8d, on @user_script:1."),
        ResponseError("Command # 1 (SET a 1) of pipeline caused error: ('NOREPLICAS Not enough good replicas to write.',)"),
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
    ],
)
async def test_redis_in_trouble_costs_nothing_but_time(error: Exception) -> None:
    world = World()
    again_s = (await world.outcome(error)).again_s
    assert again_s is not None
    assert again_s >= 1
    assert (world.counts, world.failed) == ({}, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Permanent("refused"), "r: refused"),
        (Poison("rubbish"), "r: rubbish"),
        (ValueError("oops"), "r: unexpected: ValueError: oops"),
        (ResponseError("ERR script"), "r: unexpected: ResponseError: ERR script"),
    ],
)
async def test_what_cannot_get_better_ends_the_run_with_its_reason(error: Exception, reason: str) -> None:
    world = World()
    assert await world.outcome(error) == outcomes.DONE
    assert world.failed == [reason]


async def test_a_worker_that_was_replaced_ends_nothing() -> None:
    world = World()
    assert await world.outcome(Poison("taken over", code="fenced")) == outcomes.DONE
    assert world.failed == []


@pytest.mark.parametrize(
    ("what", "waits"), [("all", True), ("direction:inbound", True), ("job:r", True), ("direction:outbound", False), ("job:x", False)]
)
async def test_what_a_person_has_paused_waits_without_being_begun(what: str, waits: bool) -> None:
    world = World()
    world.holds = [Hold(what, "stocktaking", "ann", datetime(2026, 3, 1, tzinfo=UTC))]
    begun: list[object] = []

    async def action(_ctx: object, job: object) -> None:
        begun.append(job)

    outcome = await outcomes.run({"tools": world.tools}, action, JOB)
    assert (outcome.again_s is not None, begun == []) == (waits, waits)
    assert world.counts == {}
