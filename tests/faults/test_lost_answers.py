"""A fifth of all answers is lost after the other side has done it, and Redis is emptied again and again: each document is booked once.

Redis is emptied at seeded moments; every second time while something is in Sage of which Prime has not been told. Workers stand still then,
so that what the journal knew of them can be counted. CONNECT_FAULT_INVOICES=2000: 5,000 invoices, 1,000 payments, 30 FLUSHALLs each.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import acts
import approved
import pytest
import redis
import settled
from deaths import Here, Variant
from world import Connect, Sandbox, Workers

from connect.state.embedded import attached
from workers.jobs import POST, queue_name

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
SEED = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
IS_FULL = int(os.environ.get("CONNECT_FAULT_INVOICES", "300")) >= 2000
INVOICES, PAYMENTS, FLUSHES = (5000, 1000, 30) if IS_FULL else (500, 150, 6)
SLOTS = 4
WRITE_S, LOCK_S = (6, 8) if IS_FULL else (3, 4)  # a long list takes its time
SHORT = f"settle_s = 0.5\nsage_write_timeout_s = {WRITE_S}\ndocument_lock_s = {LOCK_S}"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with attached(tmp_path / "redis") as url:
        yield url


@dataclass
class Storm:
    """What is done to a run. `left`: how many documents Prime has not been told of. `committed`: of how many, each time Redis was
    emptied, the journal knew that they are in Sage and not yet that Prime knows.
    """

    connect: Connect
    client: redis.Redis
    workers: Workers
    kind: str
    left: Callable[[], int]
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    committed: list[int] = field(default_factory=list)

    def rage(self, count: int, flushes: int, most_s: float) -> None:
        """Until Prime has been told of all, and nothing is queued any more."""
        points = sorted(self.chance.sample(range(count // 20, count), flushes), reverse=True)
        until = time.monotonic() + most_s
        self.connect.run("sync")
        while (left := self.left()) or self.client.zcard(queue_name(POST)):
            assert time.monotonic() < until, f"{left} documents are left, {len(self.committed)} of {flushes} times emptied"
            if len(self.committed) < flushes and left <= points[len(self.committed)] and self.empty(between=len(self.committed) % 2 == 0):
                self.connect.run("sync")
            time.sleep(0.05 + 0.1 * self.chance.random())
        assert len(self.committed) == flushes, "it was over too soon"

    def empty(self, *, between: bool) -> bool:
        """FLUSHALL; False if it should come between a commit and its receipt, and there is none now."""
        pids = self.workers.pids("post")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            posted = self.states()["posted"]
            if between and not posted:
                return False
            self.client.flushall()
            self.committed.append(posted)
            return True
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def states(self) -> Counter[str]:
        """How many entries of the journal are in which state."""
        entries = list(self.client.scan_iter(match=f"connect:*:doc:{self.kind}:RP-*", count=5000, _type="hash"))
        with self.client.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.hget(entry, "state")
            return Counter((state or b"").decode() for state in pipe.execute())


def lose_answers(box: Sandbox, *where: str) -> None:
    rules = [{"where": one, "kind": "drop_after_commit", "probability": 0.2, "seed": SEED + n} for n, one in enumerate(where)]
    box.call("/_sandbox/faults", {"rules": rules})


def say(what: str, storm: Storm, stats: dict[str, Any], took_s: float, calls: Sequence[str]) -> None:
    between = [number for number in storm.committed if number]
    print(
        f"\n{what}, 20 % of answers lost, {len(storm.committed)} FLUSHALLs in {took_s:.0f} s, {len(between)} of them with {sum(between)} "
        f"documents between commit and receipt; seed {SEED}"
    )
    sent = ", ".join(f"{name} {stats['sage']['calls'].get(name, 0)}" for name in calls)
    print(f"in flight at most {stats['sage']['in_flight_max']} of {SLOTS}, throttled {stats['sage']['throttled']}; {sent}")


def test_each_invoice_is_booked_once_though_answers_are_lost_and_redis_is_emptied(tmp_path: Path, redis_url: str) -> None:
    with Sandbox("--empty", "--sage-slots", str(SLOTS), "--sage-latency-ms", "20") as box:
        approved.fill(box)
        numbers = range(1, INVOICES + 1)
        for start in range(0, INVOICES, 500):
            approved.load(box, *(approved.invoice(number) for number in numbers[start : start + 500]))
        lose_answers(box, "sage:POST /services/core/composite", "sage:POST /objects/accounts-payable/bill", "prime:SendInvoiceReply")
        connect = approved.connect_to(box, tmp_path, more=SHORT, slots=SLOTS, redis_url=redis_url)
        began = time.monotonic()
        with redis.Redis.from_url(redis_url) as client, Workers(connect, "schedule", "post", "post") as workers:

            def left() -> int:
                return sum(record["queue"] == "listed" for record in approved.invoices(box).values())

            storm = Storm(connect, client, workers, "bill", left)
            storm.rage(INVOICES, FLUSHES, 300 + 30 * FLUSHES + INVOICES / 5)
            workers.check_alive()
        stats = box.stats()
        say(f"{INVOICES} invoices", storm, stats, time.monotonic() - began, ["POST /services/core/composite"])
        assert acts.booked_wrong(box, numbers, "1") == []
        assert len([number for number in storm.committed if number]) >= FLUSHES // 2
        assert (stats["sage"]["in_flight_max"] <= SLOTS, stats["sage"]["throttled"]) == (True, 0)


def test_each_payment_is_made_once_though_answers_are_lost_and_redis_is_emptied(tmp_path: Path, redis_url: str) -> None:
    act = acts.Payments()
    with Sandbox("--empty", "--sage-slots", str(SLOTS), "--sage-latency-ms", "20") as box:
        act.fill(box)
        numbers = range(1, PAYMENTS + 1)
        keys = box.load(settled.BILL, [settled.bill(number, "15.00") for number in numbers])["keys"]
        settled.pay(box, *(settled.payment(no, str(key), "15.00", name=str(no)) for no, key in zip(numbers, keys, strict=True)))
        lose_answers(box, "sage:POST /objects/accounts-payable/payment", "prime:PUT /payment/receipt")
        connect = settled.connect_to(box, tmp_path, more=SHORT, slots=SLOTS, redis_url=redis_url)
        began = time.monotonic()
        with redis.Redis.from_url(redis_url) as client, Workers(connect, "schedule", "post", "post") as workers:
            storm = Storm(connect, client, workers, "payment", lambda: PAYMENTS - len(settled.receipts(box)))
            storm.rage(PAYMENTS, FLUSHES, 300 + 30 * FLUSHES + PAYMENTS / 5)
            workers.check_alive()
        stats = box.stats()
        say(f"{PAYMENTS} payments", storm, stats, time.monotonic() - began, ["POST /objects/accounts-payable/payment"])
        assert act.wrong(Here(box, connect, client, Variant()), numbers) == []
        assert len([number for number in storm.committed if number]) >= FLUSHES // 2
        assert (stats["sage"]["in_flight_max"] <= SLOTS, stats["sage"]["throttled"]) == (True, 0)
