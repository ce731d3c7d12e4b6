"""Redis' primary is killed under Sentinel while invoices are booked: it goes on by itself, each is booked once, no slot is given twice.

Before most kills the replica is cut off for a moment, so that the primary acknowledges writes which nobody has afterwards: locks, intents,
stamps, leases. Sage knows no idempotency keys and takes a bill number twice: nothing but the protocol keeps a bill from being made again.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import approved
import pytest
import redis
from acts import booked_wrong
from redis_servers import Watched, watched
from world import Connect, Sandbox, Workers

from connect.state import epoch

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
SEED = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
INVOICES = int(os.environ.get("CONNECT_FAULT_INVOICES", "300"))
FAILOVERS = 6
NO_NET = {"idempotency": False, "bill_number_unique": "off"}
RULES = "settle_s = 0.5\nsage_write_timeout_s = 3\ndocument_lock_s = 4"


def connect_to(box: Sandbox, folder: Path, group: Watched, slots: int) -> Connect:
    connect = approved.connect_to(box, folder, more=RULES, slots=slots)
    path = folder / "connect.toml"
    path.write_text(path.read_text().replace('data_dir = ".connect"', group.toml(), 1))
    with group.client() as client:
        client.set(epoch.KEY, "test:1")
    return connect


def listed(box: Sandbox) -> int:
    return sum(record["queue"] == "listed" for record in approved.invoices(box).values())


def journal(port: int) -> dict[str, tuple[str, ...]]:
    """State and number of sendings of each document."""
    with redis.Redis(port=port, socket_timeout=5) as client:
        keys = [key for key in client.scan_iter(match="connect:*:doc:bill:RP-*", count=1000) if client.type(key) == b"hash"]
        return {key.decode(): tuple((word or b"").decode() for word in client.hmget(key, "state", "sends")) for key in keys}


@pytest.mark.parametrize("read_lag_s", [0.0, 3.0])
def test_a_primary_that_dies_with_its_last_writes_costs_no_invoice_and_doubles_none(read_lag_s: float, tmp_path: Path) -> None:
    chance, slots = random.Random(SEED), 4
    rules = RULES.replace("settle_s = 0.5", f"settle_s = {0.5 + read_lag_s}")
    with watched(tmp_path / "redis") as group, Sandbox("--empty", "--sage-slots", str(slots), "--sage-latency-ms", "250") as box:
        approved.fill(box)
        approved.load(box, *(approved.invoice(number) for number in range(1, INVOICES + 1)))
        box.call("/_sandbox/settings", {"sage": NO_NET | {"read_lag_s": read_lag_s}})
        connect = connect_to(box, tmp_path, group, slots)
        (tmp_path / "connect.toml").write_text((tmp_path / "connect.toml").read_text().replace(RULES, rules))
        points = sorted(chance.sample(range(INVOICES // 2, INVOICES), FAILOVERS), reverse=True)
        killed, lost, away_s = 0, 0, []
        with Workers(connect, "schedule", "post", "post", "post") as workers:
            connect.run("sync")
            began = time.monotonic()
            while left := listed(box):
                assert time.monotonic() < began + 600, f"{left} are left"
                if killed == FAILOVERS or left > points[killed]:
                    time.sleep(0.05)
                    continue
                group.wait_for_replica()
                replica = group.replica()
                if killed % 3 != 2:
                    with redis.Redis(port=replica) as client:
                        client.replicaof("NO", "ONE")
                    time.sleep(chance.uniform(0.1, 0.6))
                before = journal(group.primary())
                gone = group.kill_primary()
                died = time.monotonic()
                killed += 1
                group.wait_for_primary(gone)
                away_s.append(time.monotonic() - died)
                after = journal(replica)
                lost += sum(after.get(name) != facts for name, facts in before.items())
                group.restart(gone)
            took_s = time.monotonic() - began
            workers.check_alive()
        stats = box.stats()["sage"]
        print(f"\n{INVOICES} invoices, {killed} failovers (up to {max(away_s):.1f} s) in {took_s:.0f} s; lag {read_lag_s:g} s; seed {SEED}")
        print(f"journal entries set back: {lost}; in flight at most {stats['in_flight_max']} of {slots}, throttled {stats['throttled']}")
        assert booked_wrong(box, range(1, INVOICES + 1), "1") == []
        assert (killed, stats["in_flight_max"] <= slots, stats["throttled"]) == (FAILOVERS, True, 0)
        assert lost > 0, "no write was lost: the test shows nothing"
