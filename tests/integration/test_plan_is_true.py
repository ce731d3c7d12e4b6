"""A plan says what a sync does and what applying it does, field by field, over random pairs of states; and it writes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from planned_company import GROUPS, JOBS, Company, apply, config_of, difference, dump, plan_of, planned_difference, sync, tools_of
from redis.asyncio import Redis
from world import Sandbox

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--empty") as made:
        yield made


async def pair(box: Sandbox, seed: int, url: str) -> tuple[int, int]:
    """One pair of states. Returns how many rows and fields were planned."""
    chance = random.Random(seed)
    jobs = chance.choice(GROUPS) if seed % 10 else JOBS
    company = Company(box, chance, jobs)
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    config = config_of(box, url, full=chance.random() < 0.7, jobs=jobs)
    async with tools_of(config, url) as tools:
        for _ in range(chance.choice((0, 1, 1, 1, 2))):
            await sync(tools, url)
            for _ in range(chance.choice((3, 15, 30, 60))):
                company.change()
        options = {"full": chance.random() < 0.3, "expire": chance.random() < 0.5, "resend": chance.random() < 0.1}
        before, calls = dump(box), box.stats()
        plan = await plan_of(tools, config, url + "?db=1", **options)
        assert dump(box) == before, "a plan writes nothing"
        assert box.stats()["prime"]["transactions"] == calls["prime"]["transactions"]
        calls = box.stats()
        if seed % 2 and not options["resend"]:
            applied = await apply(tools, config, url, plan)
            assert applied.moved == [], seed
            outcome = applied.outcome
        else:
            outcome = await sync(tools, url, **options)
            now = box.stats()["sage"]
            made = sum(now["calls"].values()) - sum(calls["sage"]["calls"].values())
            assert sum(job.sage_calls for job in plan.jobs) == made - (now["token_requests"] - calls["sage"]["token_requests"]), seed
            states = {(record.company, record.job): record.state for _, record in outcome.runs if record.mode != "deferred"}
            assert {(job.company, job.job): job.state for job in plan.jobs} == states
        wanted, told = difference(before, dump(box)), planned_difference(plan)
        assert told == wanted, seed
        (connection,) = tools.connections.values()
        _, letters = await connection.dead_letters.find({}, limit=1000)
        ran = {(record.company, record.job) for _, record in outcome.runs}
        mine = {record.run for _, record in outcome.runs}
        assert {(one.kind, one.number, one.reason) for job in plan.jobs if (job.company, job.job) in ran for one in job.refused} == {
            (letter.kind, letter.number, letter.error["message"]) for letter in letters if letter.run in mine
        }, seed
    return len(wanted), sum(map(len, wanted.values()))


async def test_a_plan_says_what_the_sync_then_does(box: Sandbox, valkey: str) -> None:
    rows = [await pair(box, seed, valkey) for seed in range(20)]
    assert sum(one for one, _ in rows) > 150, "the states are too alike to show anything"
    assert sum(fields for _, fields in rows) > 500


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(20, 200))
async def test_a_plan_says_what_the_sync_then_does_for_any_pair_of_states(box: Sandbox, valkey: str, seed: int) -> None:
    await pair(box, seed, valkey)
