"""Replaying is harmless: two people at once, while Prime sends the same invoices again, and more than a year later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import acts
import approved
import orjson
import pytest
import redis
from world import SECRETS, Connect, Sandbox, Workers, wait_until

from connect.state.embedded import attached
from workers.jobs import POST, queue_name

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("CONNECT_FAULT_SEED", "1"))
LETTERS = 500
SHORT = "settle_s = 0.5\nsage_write_timeout_s = 3\ndocument_lock_s = 4"
CLOSED = {"closed_until": "2026-12-31"}  # Sage refuses the bill after its attachment; pre-flight does not know
REPLAY = ("dead-letters", "replay", "--filter", "job=ExportInvoices")
DAY_S = 86_400


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with attached(tmp_path / "redis") as url:
        yield url


def start(connect: Connect, who: str, *more: str) -> subprocess.Popen[bytes]:
    """An operator who replays every letter."""
    return subprocess.Popen(
        [sys.executable, "-m", "workers.cli", *REPLAY, "--as", who, "--json", *more],
        cwd=connect.folder, env=os.environ | SECRETS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def replayed(operator: subprocess.Popen[bytes]) -> int:
    """How many letters this one sent again."""
    out, _ = operator.communicate(timeout=120)
    assert operator.returncode == 0, out
    letters: int = orjson.loads(out)["letters"]
    return letters


def release(box: Sandbox) -> None:
    """Vendor V2 is on hold no longer."""
    box.load("accounts-payable/vendor", [{"id": "V2", "name": "Vendor 2", "isOnHold": False}], mode="upsert")


def waiting(box: Sandbox) -> int:
    return sum(record["queue"] == "listed" for record in approved.invoices(box).values())


def until_over(box: Sandbox, client: redis.Redis, timeout_s: float) -> None:
    """Prime lists nothing, and nothing is queued."""
    wait_until(lambda: not waiting(box) and not client.zcard(queue_name(POST)), timeout_s, 0.5)


def letters(connect: Connect, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = connect.json("dead-letters", "list", **options)
    return found


def pass_time(client: redis.Redis, seconds: float, *, journal_is_kept: bool) -> None:
    """What Redis holds so much later: nothing that lives for a while only, and entries of the journal that are old or gone."""
    for pattern in ("arq:*", queue_name(POST), "connect:*:lock", "connect:token:*", "connect:sage:*"):
        for key in client.scan_iter(match=pattern, count=1000):
            client.delete(key)
    for key in client.scan_iter(match="connect:*:doc:bill:RP-*", _type="hash", count=1000):
        if not journal_is_kept:
            client.delete(key)
        for name in ("sent_at", "first_sent_at", "missed_at", "held_at") if journal_is_kept else ():
            if (at := client.hget(key, name)) is not None:
                client.hset(key, name, f"{float(at) - seconds:.6f}")


def test_two_operators_who_replay_the_same_letters_at_once_book_each_once(tmp_path: Path, redis_url: str) -> None:
    numbers = range(1, LETTERS + 1)
    with Sandbox("--empty", "--sage-latency-ms", "20") as box, redis.Redis.from_url(redis_url) as client:
        approved.fill(box)
        approved.load(box, *(approved.invoice(number, supplier="V2") for number in numbers))
        connect = approved.connect_to(box, tmp_path, more=SHORT, redis_url=redis_url)
        with Workers(connect, "schedule", "post", "post", "post") as workers:
            connect.run("sync")
            wait_until(lambda: letters(connect)["total"] == LETTERS and not client.zcard(queue_name(POST)), 180, 0.5)
            assert box.call("/_sandbox/books")["bills"] == []
            release(box)
            sent = [replayed(one) for one in [start(connect, name, "--rate", "150") for name in ("ann", "bo")]]
            until_over(box, client, 300)
            workers.check_alive()
        print(f"\n{LETTERS} letters, replayed at once by ann {sent[0]} and by bo {sent[1]}; seed {SEED}")
        assert sum(sent) > LETTERS, "one was through before the other began"
        assert acts.booked_wrong(box, numbers, "1") == []
        assert {tuple(told) for told in approved.receipts(box).values()} == {("1",)}
        assert letters(connect)["total"] == 0
        assert letters(connect)["items"] == []


def test_two_operators_who_replay_the_same_letters_while_prime_resends_book_each_once(tmp_path: Path, redis_url: str) -> None:
    numbers = range(1, LETTERS + 1)
    with Sandbox("--empty", "--sage-latency-ms", "20") as box, redis.Redis.from_url(redis_url) as client:
        approved.fill(box)
        approved.load(box, *(approved.invoice(number, supplier="V404" if number % 2 else "V1") for number in numbers))
        box.call("/_sandbox/settings", {"sage": CLOSED})
        connect = approved.connect_to(box, tmp_path, more=SHORT, redis_url=redis_url)
        with Workers(connect, "schedule", "post", "post", "post") as workers:
            connect.run("sync")
            wait_until(lambda: letters(connect)["total"] == LETTERS and not client.zcard(queue_name(POST)), 300, 0.5)
            box.call("/_sandbox/settings", {"sage": {"closed_until": None}})
            operators = [start(connect, name, "--rate", "100") for name in ("ann", "bo")]
            for number in numbers:
                approved.load(box, approved.invoice(number), images=0)
                if number % (LETTERS // 5) == 0:
                    connect.run("sync")
            operators += [start(connect, name) for name in ("cy", "di")]
            sent = [replayed(operator) for operator in operators]
            connect.run("sync")
            until_over(box, client, 300)
            workers.check_alive()
        print(f"\n{LETTERS} letters, resent by Prime and replayed {sum(sent)} times by four operators meanwhile; seed {SEED}")
        assert sum(sent) > LETTERS, "one was through before the other began"
        assert [one for one in acts.booked_wrong(box, numbers, "1") if "receipts" not in one] == []
        assert {tuple(told) for told in approved.receipts(box).values()} == {("2", "1")}
        assert letters(connect)["total"] == 0


@pytest.mark.parametrize("journal", ["kept", "expired"])
def test_a_letter_replayed_after_400_days_makes_no_second_bill(journal: str, tmp_path: Path, redis_url: str) -> None:
    """Its bill was made in the end; nobody heard of that, neither Prime nor the letter. Sage has forgotten its idempotency keys since."""
    count, away = 20, {"where": "prime:SendInvoiceReply", "kind": "status", "params": {"status": 503}}
    lost = {"where": "sage:POST /services/core/composite", "kind": "drop_after_commit", "probability": 0.5, "seed": SEED}
    with Sandbox("--empty") as box, redis.Redis.from_url(redis_url) as client:
        approved.fill(box)
        approved.load(box, *(approved.invoice(number, supplier="V2") for number in range(1, count + 1)))
        connect = approved.connect_to(box, tmp_path, redis_url=redis_url)  # its locks outlive the worker, as they do
        connect.sync(expect=(3,))
        assert letters(connect)["total"] == count
        release(box)
        box.call("/_sandbox/faults", {"rules": [away, lost]})
        with Workers(connect, "schedule", "post") as workers:
            connect.run("sync")
            wait_until(lambda: len(box.call("/_sandbox/books")["bills"]) == count, 60)
            for pid in workers.pids():
                os.kill(pid, signal.SIGKILL)
        assert letters(connect)["total"] == count
        assert approved.receipts(box) == {}
        states = Counter(client.hget(key, "state") for key in client.scan_iter(match="connect:*:doc:bill:RP-*", _type="hash", count=1000))
        box.call("/_sandbox/faults", {"rules": []})
        box.call("/_sandbox/clock", {"advance_s": 400 * DAY_S})
        pass_time(client, 400 * DAY_S, journal_is_kept=journal == "kept")
        began = time.monotonic()
        done = connect.json(*REPLAY, "--wait", "--as", "ann")
        print(f"\n{count} letters replayed after 400 days, journal {journal}: {dict(states)}, {time.monotonic() - began:.1f} s")
        assert done["letters"] == count
        assert acts.booked_wrong(box, range(1, count + 1), "1") == []
        assert letters(connect)["total"] == 0
