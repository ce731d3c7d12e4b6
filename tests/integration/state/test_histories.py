"""Runs of several connections together are what each of them says alone, put in order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from connect.state import histories
from connect.state.histories import calls_among, history_among, running_among
from connect.state.runs import RunRecord, Runs

SIDS = ("a", "b", "c")
JOBS = ("GetAccounts", "GetSuppliers")
COMPANIES = ("100", "200")


async def filled(redis: Redis, seed: int) -> list[tuple[int, RunRecord]]:
    """Runs of three connections, begun at different times; some are on. Newest first."""
    chance, at = random.Random(seed), datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(60):
        runs = Runs(redis, chance.choice(SIDS))
        run = await runs.begin(
            chance.choice(COMPANIES), chance.choice(JOBS), mode="full", trace="t", parts=(), entity="", now=at + timedelta(minutes=number)
        )
        if run is not None and chance.random() < 0.9:
            await runs.end(run, at + timedelta(minutes=number + 1), state=chance.choice(("done", "failed", "held")))
    found = [(place, record) for place, sid in enumerate(SIDS) for record in await Runs(redis, sid).history(limit=1000)]
    return sorted(found, key=lambda one: one[1].started_at, reverse=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at_first", [2, 200])
async def test_several_connections_together_are_what_each_says_alone(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, seed: int, at_first: int
) -> None:
    monkeypatch.setattr(histories, "_NAMES_AT_FIRST", at_first)
    everything = await filled(redis, seed)
    assert {record.state for _, record in everything} == {"done", "failed", "held", "running"}
    for company in (None, "100"):
        for job in (None, "GetSuppliers"):
            for state in (None, "done", "failed", "running"):
                wanted = [
                    (place, record.run)
                    for place, record in everything
                    if company in (None, record.company) and job in (None, record.job) and state in (None, record.state)
                ]
                for offset, limit in ((0, 1), (0, 5), (3, 4), (0, 100), (100, 5)):
                    if state == "running":
                        found, more = await running_among(redis, SIDS, company, job, offset=offset, limit=limit)
                    else:
                        found, more = await history_among(redis, SIDS, company, job, state=state, offset=offset, limit=limit)
                    assert [(one.place, one.record.run) for one in found] == wanted[offset : offset + limit]
                    assert more == (len(wanted) > offset + limit)


async def test_of_no_connection_there_is_nothing(redis: Redis) -> None:
    assert await running_among(redis, (), None, None, offset=0, limit=5) == ([], False)
    assert await history_among(redis, (), None, None, state=None, offset=0, limit=5) == ([], False)


async def test_what_runs_have_cost_is_told_of_the_newest_before_a_moment_by_company_and_job(redis: Redis) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for number, (sid, job, mode) in enumerate(
        [("a", "GetAccounts", "full"), ("a", "GetSuppliers", "full"), ("a", "GetSuppliers", "deferred"), ("b", "GetSuppliers", "rows")] * 5
    ):
        runs = Runs(redis, sid)
        run = await runs.begin("100", job, mode=mode, trace="t", parts=(), entity="", now=at + timedelta(minutes=number))
        assert run is not None
        await runs.count(run, calls=number)
        await runs.end(run, at + timedelta(minutes=number + 1))
    before = at + timedelta(minutes=16)
    accounts, suppliers, others, none = (
        ("a", "100", "GetAccounts"),
        ("a", "100", "GetSuppliers"),
        ("b", "100", "GetSuppliers"),
        ("c", "1", "x"),
    )
    assert await calls_among(redis, [accounts, others, suppliers, none], before, 3) == {
        accounts: [12, 8, 4],
        suppliers: [13, 9, 5],
        others: [15, 11, 7],
        none: [],
    }
    assert await calls_among(redis, [others], at + timedelta(days=1), 9) == {others: [19, 15, 11, 7, 3]}
    assert await calls_among(redis, [], before, 3) == {}
