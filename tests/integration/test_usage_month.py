"""A month of nightly registers and daily invoices, day by day on a clock of its own: what is counted is what Sage's simulator counts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from approved import fill, invoice, load
from redis.asyncio import Redis
from world import SECRETS, Sandbox, config_text, vendors

from connect.config import RedisSettings
from connect.config.load import parse_config
from connect.errors import ConfigError
from connect.registers import REGISTERS
from connect.state.usage import Usage
from workers import producers, session
from workers.jobs import Tools
from workers.overview.lights import overview
from workers.screen import Screen
from workers.settings import connect_redis, open_tools
from workers.usage import usage

pytestmark = pytest.mark.timeout(300)
JOBS = ("GetAccounts", "GetSuppliers", "ExportInvoices")
FIRST = datetime(2026, 6, 1, 5, 30, tzinfo=UTC)


class Clock:
    now = FIRST

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def tools_at(box: Sandbox, url: str, clock: Clock, more: str = "") -> AsyncIterator[Tools]:
    """Real tools and workers, by this clock."""
    text = config_text(box, jobs=JOBS, redis_url=url, general="StartOn = 2026-01-01").replace(
        "sage_slots", f"settle_s = 0.1\n{more}\nsage_slots", 1
    )
    config = parse_config(text, path=Path("connect.toml"), environ=os.environ | SECRETS, jobs=REGISTERS)
    redis = connect_redis(url)
    try:
        async with open_tools(config, redis) as opened:
            tools = replace(opened, clock=clock, starts_due=False)
            for one in tools.connections.values():
                assert isinstance(one.usage, Usage)
                one.usage.clock = clock
            async with session.own_workers(tools, RedisSettings(url=url)):
                yield tools
    finally:
        await redis.aclose()


def counted(box: Sandbox) -> dict[str, Any]:
    """What the simulator counts, tokens aside."""
    sage = box.stats()["sage"]
    calls = {name: number for name, number in sage["calls"].items() if "token" not in name}
    return {"calls": sum(calls.values()), "transactions": sage["transactions"], "queries": calls.get("POST /services/core/query", 0)}


async def test_a_month_is_counted_as_sage_counts_it_and_is_foreseen_from_its_tenth_day(redis: Redis, valkey: str) -> None:
    clock, by_day, seen = Clock(), {}, {}
    with Sandbox("--empty", "--token-ttl-s", "129600") as box:
        fill(box)
        for batch in vendors(2500):
            box.load("accounts-payable/vendor", batch)
        async with tools_at(box, valkey, clock) as tools:
            number = 0
            for day in range(30):
                clock.now = FIRST + timedelta(days=day)
                before = counted(box)
                if clock.now.weekday() < 5:
                    many = (3, 5, 4, 2, 6)[clock.now.weekday()] + day % 2
                    load(box, *(invoice(number + n + 1, supplier="V404" if n == 1 else "V1") for n in range(many)), images=1)
                    number += many
                await session.run_jobs(tools, Screen(json=True))
                after = counted(box)
                by_day[f"{clock.now:%Y-%m-%d}"] = {name: after[name] - before[name] for name in after}
                box.call("/_sandbox/clock", {"advance_s": 86_400})
                if day == 9:
                    seen = (await usage(tools))["connections"][0]
            (found,) = (await usage(tools, month="2026-06"))["connections"]
            total = counted(box)
            (other,) = (await usage(tools, month="2026-05"))["connections"]
        assert (found["calls"], found["transactions"], found["unanswered"]) == (total["calls"], total["transactions"], 0)
        assert {one["name"]: one["calls"] for one in found["days"]} == {day: numbers["calls"] for day, numbers in by_day.items()}
        assert {one["name"]: one["transactions"] for one in found["days"]} == {day: one["transactions"] for day, one in by_day.items()}
        for part in ("rows", "jobs", "objects"):
            sums = [sum(one[what] for one in found[part]) for what in ("calls", "transactions")]
            assert sums == [total["calls"], total["transactions"]], part
        assert sum(one["calls"] for one in found["objects"] if not one["name"].partition(" ")[2].startswith("composite")) <= total["calls"]
        assert {one["job"] for one in found["jobs"]} == set(JOBS)
        assert abs(seen["forecast"] - total["transactions"]) <= 0.1 * total["transactions"], (seen["forecast"], total["transactions"])
        assert found["forecast"] == total["transactions"], "the month is over"
        assert (other["calls"], other["forecast"]) == (0, 0)
        assert found["counted_since"].startswith("2026-06-01")
        (supplier,) = (one for one in found["schedules"] if one["job"] == "GetSuppliers")
        each = Counter(one["calls"] for one in found["rows"] if one["job"] == "GetSuppliers")
        assert each
        assert (supplier["runs_a_day"], supplier["saved_a_month"]) == (1, round(15 * supplier["calls_a_run"]))


async def test_a_used_up_budget_stops_registers_that_are_due_and_never_invoices(redis: Redis, valkey: str) -> None:
    clock = Clock()
    with Sandbox("--empty") as box:
        fill(box)
        load(box, invoice(1))
        async with tools_at(box, valkey, clock, "transactions_month_budget = 30\nmarketplace_client = true") as tools:
            (one,) = tools.connections.values()
            await one.usage.note("POST x", transactions=23)
            await one.usage.flush()
            assert not [reason for reason in (await overview(tools)).companies[0].reasons if reason.kind == "budget"]
            await one.usage.note("POST x", transactions=1)
            await one.usage.flush()
            (told,) = (reason for reason in (await overview(tools)).companies[0].reasons if reason.kind == "budget")
            assert (told.light, told.text.split(";")[0]) == ("amber", "24 of this month's 30 transactions with Sage are used (80 %)")
            await one.usage.note("POST x", transactions=6)
            await one.usage.flush()
            (told,) = (reason for reason in (await overview(tools)).companies[0].reasons if reason.kind == "budget")
            assert told.light == "red"
            assert "registers are not read by their schedules until 2026-07-01; documents go on" in told.text
            started = await producers.start_due(replace(tools, starts_due=True), one, clock())
            assert [run.partition(".")[0] for run in started] == ["ExportInvoices"]
            await session.run_jobs(tools, Screen(json=True), job="GetAccounts")  # a person wants it
            assert await one.runs.last("100", "GetAccounts") is not None
            (found,) = (await usage(tools))["connections"]
            assert (found["budget"]["state"], found["counts_against_entitlement"]) == ("stopped", 0)
            assert found["marketplace"] == found["transactions"] > 30
            clock.now = datetime(2026, 7, 1, 5, 30, tzinfo=UTC)
            assert len(await producers.start_due(replace(tools, starts_due=True), one, clock())) > 1


async def test_what_is_asked_for_wrongly_is_said(redis: Redis, valkey: str) -> None:
    with Sandbox("--empty") as box:
        async with tools_at(box, valkey, Clock()) as tools:
            for options, words in (
                ({"month": "June"}, "--month June: expected a year and a month, such as 2026-06"),
                ({"schedules": ["GetSuppliers"]}, "expected JOB=TIME"),
                ({"schedules": ["GetSuppliers=soon"]}, "--if GetSuppliers=soon: expected a time such as 4h"),
                ({"schedules": ["GetSupplier=4h"]}, "GetSuppliers"),
                ({"connection": "acme"}, "acme-TEST"),
            ):
                with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
                    await usage(tools, **options)
            (found,) = (await usage(tools, schedules=["GetSuppliers=4h"]))["connections"]
            (row,) = (one for one in found["schedules"] if one["job"] == "GetSuppliers")
            assert (row["other"], row["calls_a_run"], row["saved_a_month"]) == ("4h", 0, 0)
