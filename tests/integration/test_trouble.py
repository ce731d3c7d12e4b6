"""Sage and Prime in trouble: tokens that die young, poisoned rows, 429 throughout, rubbish instead of answers, refused credentials."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from world import SECRETS, Connect, Sandbox, config_text, vendor

from connect.config import load_config
from connect.sage.sweep import Sweep, SweptPage
from connect.state.embedded import attached
from workers.settings import open_tools

pytestmark = pytest.mark.timeout(300)
VENDORS = "accounts-payable/vendor"
QUERY = "sage:POST /services/core/query"


def fill(box: Sandbox, count: int) -> list[dict[str, Any]]:
    chance = random.Random(3)
    found = [vendor(10 + 3 * n, n, chance) for n in range(count)]
    box.load(VENDORS, found)
    return found


async def test_tokens_that_live_two_seconds_carry_a_sweep_of_200_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with (
        Sandbox("--empty", "--token-ttl-s", "2", "--sage-latency-ms", "250") as box,
        attached(tmp_path / "redis") as url,
    ):
        records = fill(box, 20_000)
        (tmp_path / "connect.toml").write_text(config_text(box, jobs=("GetSuppliers",), redis_url=url))
        config = load_config(tmp_path / "connect.toml")
        keys: list[int] = []

        async def on_page(page: SweptPage) -> None:
            keys.extend(key for key, _ in page.rows())

        async def half(filters: dict[str, Any]) -> None:
            async with open_tools(config) as tools:  # a worker of its own: only Redis is shared
                (one,) = tools.connections.values()
                await Sweep(one.sage, VENDORS, ("key", "id"), filters=[filters], page_size=100, parallel=6).run(on_page)

        started = time.monotonic()
        middle = str(10 + 3 * 10_000)
        await asyncio.gather(half({"$lt": {"key": middle}}), half({"$gte": {"key": middle}}))
        took_s = time.monotonic() - started
        assert sorted(keys) == [int(record["key"]) for record in records]
        stats = box.stats()["sage"]
        assert stats["in_flight_max"] <= 6
        assert took_s > 4, "it was over before a token could die"
        assert 2 <= stats["token_requests"] <= math.ceil(took_s / 1.8) + 1


def test_one_row_in_a_hundred_poisoned_all_others_arrive(tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        records = fill(box, 2000)
        poisoned = records[::100]
        box.load(VENDORS, [{"key": record["key"], "id": record["id"], "name": "x" * 401} for record in poisoned], "upsert")
        connect = Connect(tmp_path, config_text(box, jobs=("GetSuppliers",)))
        connect.sync(expect=(3,))
        bad = {record["id"] for record in poisoned}
        assert {record["Supplier"] for record in box.prime_records("Supplier")} == {record["id"] for record in records} - bad
        letters = connect.json("dead-letters", "list")
        assert {item["number"] for item in letters["items"]} == bad
        assert letters["total"] == len(bad)
        shown = connect.json("dead-letters", "show", letters["items"][0]["id"])
        assert shown["payload"]["name"] == "x" * 401
        assert "401 characters" in shown["error"]["message"]


def test_all_slots_taken_by_somebody_else_for_20_seconds(tmp_path: Path) -> None:
    with Sandbox("--empty", "--sage-latency-ms", "50") as box:
        records = fill(box, 9000)
        connect = Connect(tmp_path, config_text(box, slots=3, jobs=("GetSuppliers",)))
        box.call("/_sandbox/faults", {"rules": [{"where": QUERY, "kind": "throttle", "params": {"retry_after_s": 2}}]})
        free = threading.Timer(20, lambda: box.call("/_sandbox/faults", {"rules": []}))
        free.start()
        started = time.monotonic()
        connect.sync()
        free.join()
        took_s = time.monotonic() - started
        assert took_s > 19
        stats = box.stats()["sage"]
        assert stats["in_flight_max"] <= 3
        assert stats["throttled"] <= 3 * took_s / 2 + 3, "a pause was not kept"
        assert len(box.prime_records("Supplier")) == len(records)


@pytest.mark.parametrize("transport", ["rest", "soap"])
def test_rubbish_cut_off_and_dropped_answers_lose_nothing(transport: str, tmp_path: Path) -> None:
    with Sandbox("--empty") as box:
        records = fill(box, 600)
        params = {"status": {"status": 503}, "throttle": {"retry_after_s": 0.1}}
        prime = "prime:PUT /supplier" if transport == "rest" else "prime:InsertSupplier"
        rules = [
            {"where": where, "kind": kind, "probability": 0.3, "count": 2, "seed": seed, "params": params.get(kind, {})}
            for where in (QUERY, prime)
            for seed, kind in enumerate(("garbage", "truncate", "drop_before", "drop_after_commit", "status", "throttle"))
        ]
        box.call("/_sandbox/faults", {"rules": rules})
        connect = Connect(tmp_path, config_text(box, transport=transport, jobs=("GetSuppliers",)))
        connect.sync()
        assert {record["Supplier"] for record in box.prime_records("Supplier")} == {record["id"] for record in records}
        box.call("/_sandbox/faults", {"rules": []})
        connect.sync()
        (run,) = connect.runs()
        assert (run["sent"], run["refused"]) == (0, 0)


def test_refused_credentials_stop_one_connection_with_one_message_and_others_go_on(tmp_path: Path) -> None:
    with Sandbox("--empty") as good, Sandbox("--empty") as bad:
        fill(good, 50)
        fill(bad, 50)
        first = config_text(good, jobs=("GetSuppliers",))
        second = config_text(bad, jobs=("GetSuppliers",)).partition("[[connections]]")[2]
        second = (
            second.replace("acme-TEST", "other-TEST").replace("rillion@acme", "nobody@other").replace("T_SAGE_SECRET", "T_PRIME_PASSWORD")
        )
        connect = Connect(tmp_path, f"{first}\n[[connections]]{second}")
        document = connect.json("run", "--until-idle", expect=(1,))
        assert len(good.prime_records("Supplier")) == 50
        (waiting,) = document["waiting"]
        assert waiting["connection"] == "other-TEST"
        for word in ("nobody@other", "SageClientId", "SageClientSecret"):
            assert word in waiting["reason"]
        assert bad.stats()["sage"]["token_requests"] <= 2
        state = {one["name"]: one["state"] for one in connect.json("status")["connections"]}
        assert state == {"acme-TEST": "ok", "other-TEST": "paused"}
