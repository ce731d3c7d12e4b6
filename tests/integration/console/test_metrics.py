"""/metrics, /healthz and /readyz: what they show, to whom, and over how many processes and connections."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pipeline
import pytest
from aiohttp.test_utils import TestClient, TestServer
from console_box import HOST, Box, console
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from connect.errors import Auth, Transient
from connect.sage.query import Query
from connect.state.audit import Audit
from connect.state.dead_letters import DeadLetter
from connect.state.users import Users
from workers.console.app import build_app
from workers.console.security import listening
from workers.metrics import METRICS, OWNERS, measure

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Numbers:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers[name, frozenset(labels.items())]


async def scrape(box: Box, **headers: str) -> Numbers:
    answer = await box.client.get("/metrics", headers=HOST | headers)
    assert answer.status == 200
    return read(await answer.text())


GET_THINGS = {"connection": "acme", "company": "100", "job": "GetThings"}


async def test_a_run_is_seen_in_rows_runs_jobs_and_times(box: Box) -> None:
    box.pipeline.sage.put(pipeline.THINGS, *(pipeline.thing(key) for key in range(1, 31)), pipeline.thing(31, name=None) | {"name": 7})
    await box.pipeline.sync()
    await box.pipeline.sync()
    await box.pipeline.tools.metrics.flush(box.pipeline.tools.redis)
    found = await scrape(box)
    rows = {outcome: at(found, "connect_rows_total", **GET_THINGS, outcome=outcome) for outcome in ("read", "sent", "unchanged", "refused")}
    assert rows == {"read": 62, "sent": 30, "unchanged": 30, "refused": 2}
    assert at(found, "connect_runs_total", **GET_THINGS, outcome="done") == 2
    assert at(found, "connect_runs_total", **GET_THINGS, outcome="failed") == 0
    swept = {"connection": "acme", "queue": "fetch", "operation": "sweep"}
    assert at(found, "connect_jobs_total", **swept, outcome="done") == 2
    for name in ("connect_job_wait_seconds", "connect_job_duration_seconds"):
        assert at(found, f"{name}_count", queue="fetch", operation="sweep") == 2
        assert at(found, f"{name}_bucket", queue="fetch", operation="sweep", le="+Inf") == 2
    assert 0 < at(found, "connect_job_duration_seconds_sum", queue="fetch", operation="sweep") < 60
    assert sum(value for (name, _), value in found.items() if name == "connect_dead_letters_open") == 1
    assert at(found, "connect_redis_up") == 1


async def test_a_job_that_is_tried_again_not_let_in_or_given_up_is_counted_as_that(box: Box) -> None:
    box.pipeline.sage.put(pipeline.THINGS, pipeline.thing(1))
    errors = [Transient("busy", system="sage", code="busy"), Auth("who are you", system="sage", code="credentials")]

    async def fail(query: Query) -> None:
        if query.object == pipeline.COLOURS and errors:  # asked once in each attempt
            raise errors.pop(0)

    box.pipeline.sage.before_answer = fail
    swept, found = {"connection": "acme", "queue": "fetch", "operation": "sweep"}, await scrape(box)
    await pipeline.producers.want(box.pipeline.tools)
    async with box.pipeline.running():
        until = time.monotonic() + 60
        while ("connect_jobs_total", frozenset((swept | {"outcome": "not_let_in"}).items())) not in found:  # counted last of all
            assert time.monotonic() < until, sorted(found)
            await asyncio.sleep(0.02)
            await box.pipeline.tools.metrics.flush(box.pipeline.tools.redis)
            found = await scrape(box)
        assert at(found, "connect_paused", connection="acme", queue="fetch") == 1
        await box.pipeline.connection.pauses.clear("fetch")
    assert [at(found, "connect_jobs_total", **swept, outcome=outcome) for outcome in ("retried", "not_let_in", "failed")] == [1, 1, 0]
    assert at(found, "connect_login_refused_total", connection="acme", system="sage") == 1
    assert at(found, "connect_login_refused_total", connection="acme", system="prime") == 0


async def test_failed_runs_in_a_row_are_forgotten_with_the_next_good_one(box: Box) -> None:
    runs = box.pipeline.connection.runs
    for state in ("done", "failed", "failed", "held"):
        run = await runs.begin("100", "GetThings", mode="full", trace="t", parts=["Thing"], entity="", now=box.pipeline.clock())
        assert run is not None
        await runs.end(run, box.pipeline.clock(), state=state)
        found = await scrape(box)
        in_a_row = at(found, "connect_runs_failed_in_a_row", **GET_THINGS)
        assert (in_a_row > 0) == (state == "failed")
        assert at(found, "connect_run_held", **GET_THINGS) == (state == "held")
    assert at(found, "connect_runs_total", **GET_THINGS, outcome="failed") == 2


async def test_the_oldest_dead_letter_of_each_owner_is_known_by_its_age(box: Box) -> None:
    letters, redis = box.pipeline.connection.dead_letters, box.pipeline.tools.redis

    async def ages() -> dict[str, int]:
        found = await scrape(box)
        hours = {owner: round(at(found, "connect_dead_letters_oldest_seconds", connection="acme", owner=owner) / 3600) for owner in OWNERS}
        payments = round(at(found, "connect_payments_oldest_awaiting_approval_seconds", connection="acme") / 3600)
        return {name: value for name, value in (hours | {"approval": payments}).items() if value}

    def made(number: str, kind: str, hours: int) -> DeadLetter:
        one = letters.letter(
            company="100", job="GetThings", part="Thing", kind=kind, key=0, number=number, name="", payload=b"{}", run="", trace="",
            error=Transient("busy", system="sage", code="busy"),
        )  # fmt: skip
        return replace(one, open_since=datetime.now(UTC) - timedelta(hours=hours))

    assert await ages() == {}
    some = [made("1", "Thing", 5), made("2", "Thing", 30), made("P-3", "Payment", 40)]
    owner = some[0].error["owner"]
    await letters.put_many(some)
    assert await ages() == {owner: 40, "approval": 40}
    await letters.approve([some[2].id], by="ann")
    assert await ages() == {owner: 40}
    await letters.resolve([some[2].id], reason="accepted")
    assert await ages() == {owner: 30}
    # A worker of an older version ends a letter and says nothing of who waits; a backup may have been made in between.
    await redis.zrem(f"{letters.prefix}state:open", some[1].id)
    assert await ages() == {owner: 5}
    assert not await redis.zscore(f"{letters.prefix}since:{owner}", some[1].id)


async def test_every_name_is_in_the_list_and_promtool_finds_nothing(box: Box) -> None:
    box.pipeline.sage.put(pipeline.THINGS, pipeline.thing(1))
    await box.pipeline.sync()
    await box.pipeline.tools.metrics.flush(box.pipeline.tools.redis)
    text = await (await box.client.get("/metrics", headers=HOST)).text()
    known = {metric.name.removesuffix("_total") for metric in METRICS}
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} <= known
    by_name = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(by_name[family.name].labels), sample
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = await asyncio.to_thread(subprocess.run, [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_openmetrics_is_given_to_whoever_asks_for_it(box: Box) -> None:
    answer = await box.client.get("/metrics", headers=HOST | {"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await answer.text()).endswith("# EOF\n")


async def test_a_renamed_connection_keeps_its_counts_and_one_that_is_gone_shows_none(valkey: str, redis: Redis) -> None:
    async with console(valkey, names=("acme", "other")) as box:
        box.pipeline.tools.metrics.count("jobs", box.pipeline.connection.connection.sid, "fetch", "sweep", "done", by=7)
        box.pipeline.tools.metrics.count("jobs", "0123456789abcdef", "fetch", "sweep", "done", by=9)
        await box.pipeline.tools.metrics.flush(redis)
        one = box.pipeline.connection
        renamed = replace(one, connection=one.connection.model_copy(update={"name": "new name"}))
        tools = replace(box.pipeline.tools, connections=box.pipeline.tools.connections | {one.connection.sid: renamed})
        numbers = await measure(tools)
        assert numbers.value("connect_jobs_total", "new name", "fetch", "sweep", "done") == 7
        found = {labels[0] for labels in numbers._found["connect_jobs_total"]}
        assert found == {"new name", "other"}


async def test_redis_away_is_a_number_and_not_an_error(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Redis(unix_socket_path="/nowhere/valkey.sock")
    tools = replace(box.pipeline.tools, redis=away)
    numbers = await measure(tools)
    assert numbers.value("connect_redis_up") == 0
    assert not numbers._found["connect_workers"]
    await away.aclose()


async def test_a_torn_audit_trail_is_seen_at_once(box: Box) -> None:
    sid = box.pipeline.connection.connection.sid
    audit = Audit(box.pipeline.tools.redis, sid)
    assert at(await scrape(box), "connect_audit_intact", connection="acme") == 1
    for number in range(3):
        await audit.add("replay", str(number), by="ann")
    found = await scrape(box)
    assert (at(found, "connect_audit_entries", connection="acme"), at(found, "connect_audit_intact", connection="acme")) == (3, 1)
    (newest, _), *_ = await box.pipeline.tools.redis.xrevrange(f"connect:{sid}:audit", count=1)
    await box.pipeline.tools.redis.xdel(f"connect:{sid}:audit", newest)
    assert at(await scrape(box), "connect_audit_intact", connection="acme") == 0


async def test_payments_wait_until_somebody_approves_or_ends_them(box: Box) -> None:
    letters = box.pipeline.connection.dead_letters
    made = [
        replace(letters.letter(
            company="100", job="ExportPayments", part="Payment", kind="Payment", key=0, number=number, name="V", payload=b"{}",
            error=Transient("no"), run="", trace="",
        ), state="open")
        for number in ("1", "2", "3")
    ]  # fmt: skip
    await letters.put_many(made)

    async def waiting() -> float:
        return at(await scrape(box), "connect_payments_awaiting_approval", connection="acme")

    assert await waiting() == 3
    await letters.approve([made[0].id], by="ann")
    assert await waiting() == 2
    await letters.replaying([made[0].id], by="bo")
    await letters.discard([made[1].id], reason="paid by hand", by="bo")
    assert await waiting() == 1
    await letters.reopen([made[0].id], reason="refused again")
    assert await waiting() == 2, "an approval holds for one replay"


# -- who may -----------------------------------------------------------------------------------------------------------


async def test_metrics_are_for_this_machine_or_a_token_of_somebody_who_sees_everything(box: Box) -> None:
    async def status(**headers: str) -> int:
        return (await box.client.get("/metrics", headers=HOST | headers)).status

    passed_on = {"X-Forwarded-For": "10.1.2.3"}
    assert await status() == 200
    assert await status(**passed_on) == 401
    token = (await box.token("viewer"))["Authorization"]
    assert await status(**passed_on, Authorization=token) == 200
    assert await status(**passed_on, Authorization=token + "x") == 401
    assert await status(**passed_on, Authorization="Basic abc") == 401
    assert await status(**passed_on, Authorization="Bearer ") == 401
    await box.users.add("narrow", None, "viewer", [box.pipeline.connection.connection.sid])
    text, _ = await box.users.create_token("narrow", "test")
    assert await status(**passed_on, Authorization=f"Bearer {text}") == 401
    answer = await box.client.get("/metrics", headers=HOST | passed_on)
    assert "connect console token create" in await answer.text()


async def test_a_token_that_was_right_is_believed_while_redis_is_away(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = HOST | {"X-Forwarded-For": "10.1.2.3"} | await box.token("viewer")

    async def away(*_: Any) -> Any:
        raise ConnectionError("away")

    wrong = headers | {"Authorization": headers["Authorization"][:-4] + "aaaa"}
    assert (await box.client.get("/metrics", headers=headers)).status == 200
    monkeypatch.setattr(Users, "by_token", away)
    assert (await box.client.get("/metrics", headers=headers)).status == 200
    assert (await box.client.get("/metrics", headers=wrong)).status == 401


async def test_behind_a_proxy_the_proxys_own_address_opens_nothing(box: Box) -> None:
    app = build_app(box.pipeline.tools, listening("127.0.0.1", 8080, proxies=("127.0.0.1",), hosts=("x.example",)), users=box.users)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/metrics", headers={"X-Forwarded-For": "10.1.2.3"})).status == 401
        assert (await client.get("/readyz", headers={"X-Forwarded-For": "10.1.2.3"})).status == 200


async def test_probes_answer_everybody_and_say_why_only_to_the_trusted(box: Box) -> None:
    assert await (await box.client.get("/healthz")).json() == {"status": "ok"}
    assert await (await box.client.get("/readyz")).json() == {"status": "ready", "reasons": []}
    stranger = {"X-Forwarded-For": "10.1.2.3"}
    assert await (await box.client.get("/readyz", headers=stranger)).json() == {"status": "ready"}


async def test_not_ready_while_redis_does_not_serve_and_alive_all_the_same(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(type(box.pipeline.tools.redis), "info", away)
    answer = await box.client.get("/readyz")
    assert (answer.status, await answer.json()) == (503, {"status": "not ready", "reasons": ["Redis does not serve us: nobody answers"]})
    assert (await box.client.get("/healthz")).status == 200


async def test_a_replica_is_not_ready(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    info = type(box.pipeline.tools.redis).info

    async def replica(self: Any, section: str) -> Any:
        found = await info(self, section)
        return found | ({"role": "slave"} if section == "replication" else {})

    monkeypatch.setattr(type(box.pipeline.tools.redis), "info", replica)
    answer = await box.client.get("/readyz")
    assert answer.status == 503
    assert "replica" in (await answer.json())["reasons"][0]


async def test_two_hundred_connections_are_scraped_with_few_round_trips(valkey: str, redis: Redis) -> None:
    async with console(valkey, names=[f"customer-{number}" for number in range(200)]) as box:
        before = await redis.info("stats")
        text = await (await box.client.get("/metrics", headers=HOST)).text()
        after = await redis.info("stats")
        assert text.count("connect_connection_info{") == 200
        assert (after["total_commands_processed"] - before["total_commands_processed"]) / 200 < 80
