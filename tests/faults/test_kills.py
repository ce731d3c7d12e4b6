"""Workers die, Redis forgets everything, Sage refuses: the import ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from world import Connect, Sandbox, Workers, config_text, in_flight, vendors

from connect.state.embedded import attached

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
CHUNK_ROWS = 500
PUT_SUPPLIERS = "PUT /supplier"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with attached(tmp_path / "redis") as url:
        yield url


def suppliers(box: Sandbox, company: str) -> dict[str, dict[str, Any]]:
    """What Prime holds of a company, without the company itself."""
    return {
        record["Supplier"]: {name: value for name, value in record.items() if name != "Company"}
        for record in box.prime_records("Supplier", company)
    }


def test_an_import_whose_workers_are_killed_thirty_times_ends_as_an_undisturbed_one(tmp_path: Path, redis_url: str) -> None:
    rows, kills = int(os.environ.get("CONNECT_FAULT_ROWS", "100000")), 30
    chance = random.Random(SEED)
    with Sandbox("--empty", "--sage-latency-ms", "150") as box:
        for batch in vendors(rows, SEED):
            box.load("accounts-payable/vendor", batch)
        box.call("/_sandbox/prime/load", {"kind": "Company", "records": [{"Company": "200", "Name": "Disturbed"}]})
        config = config_text(box, companies=("100", "200"), jobs=("GetSuppliers",), redis_url=redis_url)
        connect = Connect(tmp_path, config)
        connect.run("sync", "--company", "100", "--wait")
        undisturbed = suppliers(box, "100")
        assert len(undisturbed) == rows
        written = box.stats()["prime"]["transactions"]
        box.call("/_sandbox/faults", {"rules": [{"where": f"prime:{PUT_SUPPLIERS}", "kind": "latency", "params": {"ms": 700}}]})
        client = redis.Redis.from_url(redis_url)
        killed, stalls, single, last, moved_at, killed_at = 0, [0.0], [0.0], written, time.monotonic(), time.monotonic()
        with Workers(connect, "schedule", "fetch", "write", "write") as workers:
            connect.run("sync", "--company", "200")
            until = time.monotonic() + 900
            while time.monotonic() < until:
                now = time.monotonic()
                progress = box.stats()["prime"]["transactions"]
                if progress != last:
                    stalls.append(now - moved_at)
                    single.append(now - max(moved_at, killed_at))
                    last, moved_at = progress, now
                if killed < kills and now - killed_at > 0.8 and (busy := in_flight(client, workers.pids())):
                    workers.kill(chance.choice(busy))
                    single.append(now - max(moved_at, killed_at))  # work was on again, or it could not have been killed
                    killed, killed_at = killed + 1, now
                if is_over(connect, "200"):
                    break
                time.sleep(0.1)
        again = box.stats()["prime"]["transactions"] - written
        print(f"\nkills {killed}, rows {rows}, written {again}, longest stall {max(stalls):.1f} s, seed {SEED}")
        print(f"of which one kill alone, until work was on again: {max(single):.1f} s at most")
        assert killed == kills, "the import was over too soon for all kills"
        assert suppliers(box, "200") == undisturbed
        assert rows <= again <= rows + kills * CHUNK_ROWS
        assert max(stalls) <= 20


def is_over(connect: Connect, company: str) -> bool:
    found = [one for one in connect.json("status")["connections"] if one["company"] == company]
    return bool(found and found[0]["runs"] and found[0]["runs"][0]["state"] == "done")


@pytest.mark.parametrize("seed", range(10))
def test_an_import_during_which_redis_forgets_everything_ends_as_an_undisturbed_one(seed: int, tmp_path: Path, redis_url: str) -> None:
    rows, slots = 12_000, 3
    chance = random.Random(SEED * 1000 + seed)
    with Sandbox("--empty", "--sage-latency-ms", "400", "--sage-slots", "6") as box:
        for batch in vendors(rows, seed):
            box.load("accounts-payable/vendor", batch)
        box.call("/_sandbox/faults", {"rules": [{"where": f"prime:{PUT_SUPPLIERS}", "kind": "latency", "params": {"ms": 150}}]})
        connect = Connect(tmp_path, config_text(box, slots=slots, jobs=("GetSuppliers",), redis_url=redis_url))
        client = redis.Redis.from_url(redis_url)
        with Workers(connect, "schedule", "fetch", "write") as workers:
            until = time.monotonic() + 60
            while not client.exists("connect:epoch") and time.monotonic() < until:
                time.sleep(0.02)
            time.sleep(chance.uniform(0.3, 4.0))
            client.flushall()
            until = time.monotonic() + 150
            while not is_over(connect, "100"):
                assert time.monotonic() < until, "the import did not come to an end"
                time.sleep(0.5)
            workers.check_alive()
        assert box.stats()["sage"]["in_flight_max"] <= slots
        assert box.stats()["sage"]["throttled"] == 0
        found = suppliers(box, "100")
        assert len(found) == rows
        calls = box.stats()["prime"]["calls"]
        connect.sync()
        assert box.stats()["prime"]["calls"].get(PUT_SUPPLIERS) == calls.get(PUT_SUPPLIERS), "the next run found something to send"
