"""Checks run side by side, after those they need, and are skipped because of the one that failed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as NoRedis

from connect.config import Job
from connect.doctor import CHECKS, Check, Finding, Result, Systems
from connect.doctor.check import Seen, Skip
from connect.doctor.runner import examine
from connect.errors import Permanent, Transient

JOBS = [Job(job="GetSuppliers", company="100"), Job(job="GetAccounts", company="200"), Job(job="GetAssets", company="100", active=False)]
SYSTEMS = cast("Systems", SimpleNamespace(connection=SimpleNamespace(name="acme-TEST", jobs=JOBS)))
WRONG = Finding(cause="It is wrong.", owner="customer", do="Mend it.")


def check(name: str, *needs: str, gives: Any = None, jobs: frozenset[str] | None = None) -> Check:
    """A check that sees what it is told: findings, or an exception to raise."""

    async def run(_: Systems) -> Seen:
        if isinstance(gives, Exception):
            raise gives
        return Seen("seen", tuple(gives or ()))

    return Check(name=name, tests=f"whether {name}", run=run, needs=needs, jobs=jobs)


async def results(*checks: Check) -> dict[str, Result]:
    return {result.check.name: result for result in await examine(checks, SYSTEMS)}


async def test_what_needs_a_failed_check_is_skipped_because_of_it_however_far_away() -> None:
    found = await results(check("a", gives=[WRONG]), check("b", "a"), check("c", "b"), check("d"))
    assert {name: (result.verdict, result.because) for name, result in found.items()} == {
        "a": ("failed", ""),
        "b": ("skipped", "a"),
        "c": ("skipped", "a"),
        "d": ("ok", ""),
    }


async def test_a_check_that_does_not_apply_stops_no_other() -> None:
    found = await results(check("a", gives=Skip("", "no job needs it")), check("b", "a"))
    assert (found["a"].verdict, found["a"].saw, found["b"].verdict) == ("skipped", "no job needs it", "ok")


async def test_a_check_that_cannot_say_names_the_reason_for_those_behind_it_too() -> None:
    found = await results(check("a", gives=Skip("x")), check("b", "a"))
    assert (found["a"].because, found["b"].because) == ("x", "x")


async def test_a_warning_stops_nothing() -> None:
    warning = Finding(cause="It is odd.", owner="Sage", do="Look.", verdict="warning")
    found = await results(check("a", gives=[warning]), check("b", "a"))
    assert (found["a"].verdict, found["a"].stops, found["b"].verdict) == ("warning", ((),), "ok")


async def test_a_finding_stops_the_active_jobs_that_it_is_about() -> None:
    some = Finding(cause="It is wrong.", owner="customer", do="Mend it.", jobs=frozenset({"GetAccounts", "GetAssets"}))
    found = await results(check("a", gives=[WRONG, some]), check("b", gives=[WRONG], jobs=frozenset({"GetSuppliers"})))
    assert found["a"].stops == (("GetSuppliers (100)", "GetAccounts (200)"), ("GetAccounts (200)",))
    assert found["b"].stops == (("GetSuppliers (100)",),)


async def test_independent_checks_run_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def run(_: Systems) -> Seen:
        async with asyncio.timeout(60):
            await both.wait()
        return Seen("met")

    found = await examine([Check(name=name, tests=name, run=run) for name in ("a", "b")], SYSTEMS)
    assert [result.verdict for result in found] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("error", "owner", "words"),
    [
        (Permanent("Sage: Invalid folder Receipts", system="sage", code="folder"), None, "Invalid folder"),
        (Transient("sage cannot be reached at https://sage", system="sage", code="something new"), "operator", "cannot be reached"),
        (NoRedis("gone"), "operator", "Redis does not serve us: gone"),
    ],
)
async def test_an_error_that_no_check_expects_says_what_to_do_all_the_same(error: Exception, owner: str | None, words: str) -> None:
    found = (await results(check("a", gives=error)))["a"]
    assert found.verdict == "failed"
    assert words in found.findings[0].cause
    assert found.findings[0].do
    assert owner in (None, found.findings[0].owner)


async def test_a_check_that_needs_a_later_one_is_an_error_of_ours() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await results(check("a", "b"), check("b"))
    assert caught.group_contains(LookupError, match="a needs b, which must come before it")


def test_every_check_comes_after_those_it_needs_and_no_two_have_one_name() -> None:
    names = [one.name for one in CHECKS]
    assert len(set(names)) == len(names)
    for place, one in enumerate(CHECKS):
        assert set(one.needs) <= set(names[:place]), one.name


def test_a_result_is_one_json_object_with_all_that_a_person_needs() -> None:
    result = Result(
        connection="acme-TEST", check=check("a"), verdict="failed", saw="seen", findings=(WRONG,), stops=(("GetSuppliers (100)",),)
    )
    assert result.document() == {
        "connection": "acme-TEST",
        "check": "a",
        "tested": "whether a",
        "result": "failed",
        "saw": "seen",
        "because": "",
        "findings": [{"result": "failed", "cause": "It is wrong.", "owner": "customer", "do": "Mend it.", "stops": ["GetSuppliers (100)"]}],
    }
