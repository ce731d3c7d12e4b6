"""A storm of kills, of workers and of Redis: approved invoices become one bill each with its files, and Prime hears one thing.

CONNECT_FAULT_INVOICES=2000 is the full size (200 workers and 20 servers killed), here, in test_lost_answers.py and in
test_failover.py.
"""

from __future__ import annotations

import base64
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import acts
import approved
import orjson
import pytest
import redis
from world import Sandbox, Workers, in_flight

from connect.ledger import DocumentId
from connect.state.embedded import attached

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
SEED = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
INVOICES = int(os.environ.get("CONNECT_FAULT_INVOICES", "300"))
FULL = 2000
STATES = ("", "intent", "posted", "receipted")
SHORT = "settle_s = 0.5\nsage_write_timeout_s = 3\ndocument_lock_s = 4"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with attached(tmp_path / "redis") as url:
        yield url


def approve_with_files(box: Sandbox, numbers: range, chance: random.Random) -> None:
    """Invoices with a PDF of 80-700 kB each."""
    for start in range(numbers.start, numbers.stop, 50):
        some = range(start, min(start + 50, numbers.stop))
        approved.load(box, *(approved.invoice(number) for number in some), images=0)
        files = []
        for number in some:
            content = b"%PDF-1.4\n" + chance.randbytes(chance.randint(80_000, 700_000))
            image = base64.b64encode(content).decode()
            files.append({"InvoiceSeries": "1", "InvoiceNo": number, "FileName": "page0.pdf", "FileType": "PDF", "Image": image})
        answer = box.call("/_sandbox/prime/load", {"kind": "Image", "records": files})
        assert not answer["errors"], answer


def waiting(box: Sandbox) -> int:
    """How many invoices Prime still lists."""
    return sum(record["queue"] == "listed" for record in approved.invoices(box).values())


def at_work(client: redis.Redis, box: Sandbox, pid: int) -> Counter[str]:
    """In which state of the journal the documents are that this worker holds; "" for one without an entry."""
    found: Counter[str] = Counter()
    for key in client.scan_iter(match="arq:in-progress:post:*", count=1000):
        owner, payload = client.get(key), client.get(b"arq:job:" + key.removeprefix(b"arq:in-progress:"))
        if owner is None or payload is None or int(owner.split(b":")[-2]) != pid:
            continue
        for series, number in orjson.loads(payload)["k"]["job"]["documents"]:
            marker = DocumentId(box.prime["environment"], "100", series, number).marker()
            for lock in client.scan_iter(match=f"connect:*:doc:bill:{marker}:lock", count=10_000):
                found[(client.hget(lock.removesuffix(b":lock"), "state") or b"").decode()] += 1
    return found


def kill_server(client: redis.Redis) -> None:
    """SIGKILL the Redis server; its keeper starts it again from its append-only file."""
    pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGKILL)


def patiently(action: Callable[[], Any]) -> Any:
    """While Redis is away, again."""
    until = time.monotonic() + 30
    while True:
        try:
            return action()
        except (redis.ConnectionError, redis.BusyLoadingError, OSError):
            assert time.monotonic() < until, "Redis did not come back"
            time.sleep(0.1)


def test_a_storm_of_kills_loses_no_invoice_and_books_none_twice(tmp_path: Path, redis_url: str) -> None:
    kills, server_kills = (200, 20) if INVOICES >= FULL else (INVOICES // 5, max(2, INVOICES // 100))
    chance = random.Random(SEED)
    client = redis.Redis.from_url(redis_url)
    with Sandbox("--empty", "--sage-latency-ms", "60") as box:
        approved.fill(box)
        approve_with_files(box, range(1, INVOICES + 1), chance)
        connect = approved.connect_to(box, tmp_path, more=SHORT, redis_url=redis_url)
        box.call("/_sandbox/faults", {"rules": [{"where": "prime:SendInvoiceReply", "kind": "latency", "params": {"ms": 100}}]})
        states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        killed, servers, killed_at, began = 0, 0, time.monotonic(), time.monotonic()
        with Workers(connect, "schedule", "post", "post", "post", "post") as workers:
            connect.run("sync")
            while waiting(box) and time.monotonic() < began + 600 + INVOICES:
                time.sleep(chance.uniform(0.01, 0.2))
                if killed == kills:
                    continue
                wanted = {min(STATES, key=lambda state: states[state])} if time.monotonic() < killed_at + 2 else set(STATES)
                for pid in patiently(lambda: in_flight(client, workers.pids("post"))):
                    os.kill(pid, signal.SIGSTOP)  # so that the journal is as it dies
                    found = set(patiently(lambda pid=pid: at_work(client, box, pid)))
                    if not wanted & found:
                        os.kill(pid, signal.SIGCONT)
                        continue
                    workers.kill(pid)
                    states.update(found)
                    killed, killed_at = killed + 1, time.monotonic()
                    if killed % (kills // server_kills) == 0:
                        patiently(lambda: kill_server(client))
                        servers += 1
                    break
            took_s = time.monotonic() - began
            workers.check_alive()
        left, stats = waiting(box), box.stats()["sage"]
        table = ", ".join(f"{state or 'nothing'} {number}" for state, number in states.items())
        print(f"\n{INVOICES} invoices, {killed} workers and {servers} Redis servers killed in {took_s:.0f} s; seed {SEED}")
        print(f"killed with a document in: {table}; in flight at most {stats['in_flight_max']}, throttled {stats['throttled']}")
        assert left == 0
        assert acts.booked_wrong(box, range(1, INVOICES + 1), "1") == []
        assert (killed, servers) == (kills, server_kills), "it was over too soon for all kills"
        if INVOICES >= FULL:
            assert min(states[state] for state in STATES) >= 10
