"""SIGTERM to a worker in the middle of a booking: it ends within 30 s whatever hangs, and the booking is another worker's, once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import approved
import pytest
import redis
from acts import booked_wrong
from redis_servers import end, free_port, start, wait_for
from world import Sandbox, Workers, in_flight, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
RULES = "settle_s = 0.5\nsage_write_timeout_s = 20\ndocument_lock_s = 21"
GRACE_S = 30.0


@pytest.mark.parametrize("hanging", ["Sage", "Sage and Redis"])
def test_a_worker_that_is_told_to_end_does_so_in_time_and_its_booking_is_made_once(hanging: str, tmp_path: Path) -> None:
    port = free_port()
    server = start(tmp_path / "redis", port)
    wait_for(port)
    try:
        with Sandbox("--empty") as box:
            approved.fill(box)
            approved.load(box, *(approved.invoice(number) for number in range(1, 6)))
            slow = {"where": "sage:POST /services/core/composite", "kind": "latency", "params": {"ms": 15_000}, "count": 5}
            box.call("/_sandbox/faults", {"rules": [slow]})
            connect = approved.connect_to(box, tmp_path, more=RULES, redis_url=f"redis://127.0.0.1:{port}")
            client = redis.Redis(port=port)
            client.set("connect:epoch", "test:1")
            with Workers(connect, "schedule", "post") as workers:
                connect.run("sync")
                (pid,) = workers.pids("post")
                wait_until(lambda: in_flight(client, {pid}) and box.stats()["sage"]["in_flight_max"] > 1, 30)
                time.sleep(1)
                process = next(one for one in workers._processes if one.pid == pid)
                if hanging != "Sage":
                    server.send_signal(signal.SIGSTOP)
                told = time.monotonic()
                os.kill(pid, signal.SIGTERM)
                assert process.wait(GRACE_S) == 0
                took_s = time.monotonic() - told
                server.send_signal(signal.SIGCONT)
                del workers._processes[process]
                workers.start("post")
                wait_until(lambda: all(record["queue"] != "listed" for record in approved.invoices(box).values()), 150, 0.5)
                workers.check_alive()
            print(f"\n{hanging} hanging: ended {took_s:.1f} s after SIGTERM")
            assert booked_wrong(box, range(1, 6), "1") == []
            client.close()
    finally:
        end(server)
