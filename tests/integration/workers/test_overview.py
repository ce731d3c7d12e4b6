"""What people look at: lights with their reasons, queues, series, runs, letters by what is wrong with them, set-up, health, audit."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pipeline import COLOURS, THINGS, Pipeline, thing

from connect.errors import Auth, ConfigError, Permanent
from connect.prime.port import RowResult
from connect.state import pauses
from connect.state.audit import Act
from connect.state.journal import Journal
from connect.state.receipts import Receipts
from workers import acts, overview, producers, queues
from workers.jobs import FETCH, SCHEDULE, STAGES, WRITE, WriteJob, enqueue
from workers.overview import setups, trail

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 10, **options: Any) -> Pipeline:
    box = make(**options)
    for sage in box.sages.values():
        sage.put(COLOURS, {"key": 1, "name": "red"})
        sage.put(THINGS, *(thing(n) for n in range(1, count + 1)))
    return box


async def kinds(box: Pipeline, **options: Any) -> list[tuple[str, str]]:
    (company,) = (await overview.overview(box.tools, **options)).companies
    return [(reason.light, reason.kind) for reason in company.reasons]


async def test_what_is_well_is_green_and_says_what_it_has_done(make: Make) -> None:
    box = filled(make)
    async with box.running():
        await producers.want(box.tools)
        await box.idle()
        for worker in box.workers:
            worker._last_health_check = 0
            await worker.record_health()
        (company,) = (await overview.overview(box.tools)).companies
    assert (company.light, company.reasons) == ("green", [])
    (job,) = company.jobs
    assert job.last is not None
    assert (job.last.state, job.last.counters["sent"], job.running) == ("done", 10, None)
    assert job.complete_at == job.last.started_at
    assert {stage: waiting.workers for stage, waiting in company.queues.items()} == dict.fromkeys(STAGES, 1)


async def test_the_most_urgent_reason_comes_first(make: Make) -> None:
    box = filled(make)
    box.sage.put(THINGS, thing(1) | {"name": 17})
    await box.sync()
    now = box.clock()
    await box.connection.pauses.pause(FETCH, "the password is wrong")
    await enqueue(box.tools.redis, [WriteJob(trace="t", sid=box.connection.connection.sid, run="r", part="p", chunk="c")])
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    receipts = Receipts(box.tools.redis, box.connection.connection.sid, "100", "GetThings")
    await receipts.refused(["1-7"], now)
    await receipts.listed(["1-7", "1-8"], now - timedelta(hours=3))
    await box.connection.slots.pause(30)
    found = await kinds(box)
    assert found[0] == ("red", "auth")
    assert {("red", "no-worker"), ("red", "receipt-refused"), ("amber", "receipt-late"), ("amber", "paused")} <= set(found)
    assert {("amber", "dead-letters"), ("amber", "throttled")} <= set(found)
    lights = [light for light, _ in found]
    assert lights == sorted(lights, reverse=True), "red before amber"
    (company,) = (await overview.overview(box.tools)).companies
    assert [hold.what for hold in company.paused] == ["job:GetThings"]
    assert company.queues[WRITE].depth == 1
    assert company.slots.throttled_s > 20


async def test_a_failed_run_is_red_until_one_ends_well(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = filled(make)
    box.sage.errors = [Permanent("no such object", system="sage")]
    await box.sync()
    assert ("red", "failed") in await kinds(box)
    await box.sync()
    assert ("red", "failed") not in await kinds(box)


async def test_a_register_older_than_its_schedule_is_said(make: Make) -> None:
    box = filled(make)
    (job,) = box.connection.connection.jobs
    box.connection.connection.jobs[0] = job.model_copy(update={"cron": "0 * * * *"})
    await box.sync()
    assert ("amber", "late") not in await kinds(box)
    box.clock.advance(minutes=80)
    assert ("amber", "late") not in await kinds(box), "it was due 20 minutes ago"
    box.clock.advance(minutes=20)
    assert ("amber", "late") in await kinds(box)
    (company,) = (await overview.overview(box.tools)).companies
    assert company.jobs[0].late_since == company.jobs[0].next_at


async def test_what_is_late_is_configured(make: Make) -> None:
    box = filled(make)
    (job,) = box.connection.connection.jobs
    limits = {"late_after_minutes": 90, "receipt_after_minutes": 10, "jobs": [job.model_copy(update={"cron": "0 * * * *"})]}
    connection = box.connection.connection.model_copy(update=limits)
    box.tools.connections[connection.sid] = replace(box.connection, connection=connection)
    await box.sync()
    box.clock.advance(minutes=149)
    assert ("amber", "late") not in await kinds(box), "it was due 89 minutes ago"
    box.clock.advance(minutes=2)
    assert ("amber", "late") in await kinds(box)
    receipts = Receipts(box.tools.redis, box.connection.connection.sid, "100", "GetThings")
    await receipts.listed(["1-8"], box.clock() - timedelta(minutes=9))
    assert ("amber", "receipt-late") not in await kinds(box)
    box.clock.advance(minutes=2)
    assert ("amber", "receipt-late") in await kinds(box)


async def test_documents_that_wait_because_redis_may_have_lost_something_say_so_and_until_when(make: Make, redis: Any) -> None:
    box = filled(make)
    (job,) = box.connection.connection.jobs
    connection = box.connection.connection.model_copy(update={"jobs": [job, job.model_copy(update={"job": "ExportInvoices"})]})
    journal = Journal(redis, connection.sid, lock_s=150)
    documents: Any = SimpleNamespace(journal=journal, settle_s=60.0)
    box.tools.connections[connection.sid] = replace(box.connection, connection=connection, documents=documents)

    async def said() -> list[str]:
        (company,) = (await overview.overview(box.tools)).companies
        return [reason.text for reason in company.reasons if reason.kind == "doubt"]

    assert await said() == [], "this Redis is known to be new"
    await redis.delete("connect:epoch")
    ends_at = datetime.fromtimestamp(await journal.trusted_from_s() + 60, UTC)
    (text,) = await said()
    moments = [ends_at + timedelta(seconds=by) for by in (-1, 0, 1)]  # it is reckoned anew each time, to a few milliseconds
    assert text in [f"documents wait until {at:%H:%M:%S} UTC because Redis may have lost its last writes" for at in moments]
    (need,) = [need for need in overview.needs_of((await overview.overview(box.tools)).companies) if need.kind == "doubt"]
    assert "they go on by themselves" in need.fix
    age_ms = 211_000
    await redis.set("connect:epoch", f"a:{int(await journal.now_s() * 1000) - age_ms}")
    assert await said() == []
    mark = f"a:{'0' * 40}:1"
    await redis.set("connect:epoch", mark)  # of another server, whose place this one has taken
    (text,) = await said()
    assert text.endswith("because Redis may have lost its last writes"), "before anybody has called Sage"
    assert await redis.get("connect:epoch") == mark.encode(), "who only looks changes nothing"
    await redis.set("connect:epoch:clean", "0" * 40)
    assert await said() == [], "it was stopped with nothing lost"
    await redis.set("connect:epoch", "a:1")
    await journal.distrust(5)
    assert ["another Connect had them" in text for text in await said()] == [True]


@pytest.mark.parametrize(
    ("error", "owner"),
    [
        (Auth("Prime answered 401", system="prime", code="credentials"), "consultant"),
        (Auth("Sage: You do not have permission for GET", system="sage", code="permissionDenied"), "Sage administrator"),
        (Auth("Sage: Token is not valid", system="sage", code="tokenInvalid"), "operator"),
        (Auth("something nobody has seen", system="sage", code="X"), "operator"),
    ],
)
async def test_who_can_let_us_in_is_as_the_catalogue_has_it(make: Make, error: Auth, owner: str) -> None:
    box = filled(make)
    box.sage.errors = [error]
    async with box.running():
        await producers.want(box.tools)
        async with asyncio.timeout(60):
            while await box.connection.pauses.get(FETCH) is None:
                await asyncio.sleep(0.02)
        (company,) = (await overview.overview(box.tools)).companies
    (reason,) = [reason for reason in company.reasons if reason.kind == "auth"]
    assert (reason.owner, error.message in reason.text) == (owner, True)


@pytest.mark.parametrize("number", [1, 40])
async def test_redis_is_asked_with_a_script_for_ten_connections_and_never_looks_through_its_keys(
    make: Make, redis: Any, number: int
) -> None:
    box = make(names=[f"c{n}" for n in range(number)])
    for one in box.tools.connections.values():
        await enqueue(redis, [WriteJob(trace="t", sid=one.connection.sid, run="r", part="p", chunk=str(n)) for n in range(50)])
    await overview.overview(box.tools)  # the script is loaded
    before = await redis.info("commandstats")
    found = await overview.overview(box.tools)
    after = await redis.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert calls.get("cmdstat_evalsha", 0) == {1: 1, 40: 5}[number], "two exchanges, of 25 and 15 connections"
    assert sum(calls.get(f"cmdstat_{name}", 0) for name in ("keys", "scan")) == 0
    assert [company.queues[WRITE].depth for company in found.companies] == [50] * number
    assert found.queues[WRITE].depth == 50 * number


async def test_a_long_queue_is_counted_in_steps_and_not_by_everybody(make: Make, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "COUNTED_AT_ONCE", 10)
    box = make(names=("a", "b"))
    first, second = (one.connection.sid for one in box.tools.connections.values())
    await enqueue(redis, [WriteJob(trace="t", sid=first, run="r", part="p", chunk=str(n)) for n in range(25)])
    await enqueue(redis, [WriteJob(trace="t", sid=second, run="r", part="p", chunk=str(n)) for n in range(7)])
    seen = await queues.look(redis)
    assert (seen.of(WRITE, first).jobs, seen.of(WRITE, second).jobs) == (25, 7)
    await enqueue(redis, [WriteJob(trace="t", sid=second, run="r", part="p", chunk="new")])
    again = await queues.look(redis)
    assert (again.at_ms, again.of(WRITE, second).jobs, again.depths[WRITE]) == (seen.at_ms, 7, 33)


async def test_one_sample_a_minute_is_taken_and_shows_rows_a_minute(make: Make, redis: Any) -> None:
    box = filled(make)
    assert await queues.sample(box.tools)
    assert not await queues.sample(box.tools), "once a minute, whoever asks"
    await redis.delete("connect:sampling")
    await box.sync()
    await redis.delete("connect:sampling")
    assert await queues.sample(box.tools)
    (chart,) = await overview.charts(box.tools)
    assert len(chart.at) >= 2
    assert sum(chart.rows["read"]) == sum(chart.rows["sent"]) == 10
    assert set(chart.depth) == set(STAGES)


async def test_runs_are_paged_and_filtered(make: Make) -> None:
    box = filled(make, jobs=("GetBoxes", "GetThings"))
    for _ in range(3):
        await box.sync()
        box.clock.advance(hours=1)
    everything = await overview.runs(box.tools)
    assert len(everything.items) == 6
    assert not everything.more
    things = await overview.runs(box.tools, job="GetThings", limit=2)
    assert ([run.job for run in things.items], things.more) == (["GetThings"] * 2, True)
    rest = await overview.runs(box.tools, job="GetThings", limit=2, offset=2)
    assert (len(rest.items), rest.more) == (1, False)
    assert (await overview.runs(box.tools, state="failed")).items == []
    assert (await overview.runs(box.tools, state="done", company="100", limit=1)).more
    assert (await overview.run(box.tools, rest.items[0].run)).counters["read"] == 10
    with pytest.raises(ConfigError, match="there is no run"):
        await overview.run(box.tools, "nobody")


@pytest.mark.parametrize(
    ("read", "total", "seconds", "expected"),
    [(0, 0, 5.0, (None, None, None)), (50, 200, 5.0, (0.25, 10.0, 15.0)), (50, 0, 5.0, (None, 10.0, None)), (9, 8, 1.0, (None, 9.0, None))],
)
def test_progress_is_told_only_when_it_is_known(read: int, total: int, seconds: float, expected: tuple[float | None, ...]) -> None:
    assert overview.pace(read, total, seconds) == expected


async def refused(box: Pipeline) -> None:
    """Six things are refused for account 6540, two for 6999, one for its own number."""

    def refuses(kind: str, _company: str, body: dict[str, Any]) -> RowResult | None:
        if kind != "Thing":
            return None
        key = int(body["number"][1:])
        if key <= 8:
            return RowResult(7, f"account {6540 if key <= 6 else 6999} is inactive")
        return RowResult(9, f"{body['number']} is too short") if key == 9 else None

    box.prime.refuses = refuses
    await box.sync()


async def test_letters_are_grouped_by_what_is_wrong_and_a_group_selects_just_its_own(make: Make) -> None:
    box = filled(make)
    await refused(box)
    found = await overview.letter_groups(box.tools)
    assert (found.total, found.groups) == (9, 3)
    assert [group.count for group in found.items] == [6, 2, 1]
    assert ["6540" in found.items[0].text, "6999" in found.items[1].text, "… is too short" in found.items[2].text] == [True] * 3
    largest = found.items[0]
    assert len(largest.sample_ids) == 3
    chosen = await overview.letters(box.tools, largest.filter)
    assert (chosen.total, {item.number for item in chosen.items}) == (6, {f"T{n}" for n in range(1, 7)})
    narrowed = await overview.letter_groups(box.tools, {"text": "6999"})
    assert [
        (group.count, set(group.sample_ids) <= {item.id for item in (await overview.letters(box.tools)).items}) for group in narrowed.items
    ] == [(2, True)]
    tried = await acts.replay(box.tools, filters=largest.filter, dry_run=True)
    assert (tried.letters, tried.dry_run) == (6, True)
    box.prime.refuses = lambda *_: None
    await acts.replay(box.tools, filters=largest.filter, by="ann")
    async with box.running():
        await box.idle()
    assert [group.count for group in (await overview.letter_groups(box.tools)).items] == [2, 1]


async def test_closed_letters_are_neither_replayed_nor_approved_nor_discarded_and_unknown_ones_are_named(make: Make) -> None:
    box = filled(make, 2)
    await refused(box)
    first, second = (await box.letters()).values()
    done = await acts.discard(box.tools, ids=[first.id], reason="a test", by="ann")
    assert done.count == 1
    for state in ("discarded", "resolved", "replaying", "nonsense"):
        for act in (
            acts.replay(box.tools, filters={"state": state}, by="ann"),
            acts.approve(box.tools, filters={"state": state}, by="ann"),
            acts.discard(box.tools, filters={"state": state}, reason="x", by="ann"),
        ):
            with pytest.raises(ConfigError, match=f"state={state}: only open dead letters"):
                await act
    with pytest.raises(ConfigError, match="there is no dead letter nothing"):
        await acts.replay(box.tools, ids=[second.id, "nothing"], by="ann")
    with pytest.raises(ConfigError, match="no filter colour"):
        await acts.replay(box.tools, filters={"colour": "red"}, by="ann")
    tried = await acts.replay(box.tools, ids=[first.id, second.id], dry_run=True)
    assert (tried.letters, tried.closed) == (1, [first.id])
    assert sorted(one.state for one in (await box.letters("open", "discarded")).values()) == ["discarded", "open"]


async def test_letters_of_a_version_without_groups_are_put_into_theirs(make: Make, redis: Any) -> None:
    box = filled(make)
    await refused(box)
    prefix = f"connect:{box.connection.connection.sid}:dl:"
    stale = [key async for key in redis.scan_iter(match=f"{prefix}by:group:*")]
    await redis.delete(*stale, f"{prefix}group", f"{prefix}groups", f"{prefix}indexed")
    assert (await overview.letter_groups(box.tools)).items == []
    letters = box.connection.dead_letters
    assert [await letters.group_older(4), await letters.group_older(4), await letters.group_older(4), await letters.group_older(4)] == [
        4,
        4,
        1,
        0,
    ]
    found = await overview.letter_groups(box.tools)
    assert [(group.count, (await overview.letters(box.tools, group.filter)).total) for group in found.items] == [(6, 6), (2, 2), (1, 1)]


async def test_a_letter_is_shown_with_its_cause_its_row_and_why_it_is_read_only(make: Make) -> None:
    box = filled(make)
    await refused(box)
    (item,) = (await overview.letters(box.tools, {"number": "T9"})).items
    shown = await overview.letter(box.tools, item.id)
    assert shown.document.facts["number"] == "T9"
    assert shown.words["system"] == "prime"
    assert (shown.fields, bool(shown.read_only), shown.may_replay) == ([], True, True)
    assert [entry["what"] for entry in shown.history] == ["refused"]
    with pytest.raises(ConfigError, match="there is no dead letter"):
        await overview.letter(box.tools, "0")
    with pytest.raises(ConfigError, match="no files"):
        await overview.files(box.tools, item.id)
    with pytest.raises(ConfigError, match="no filter"):
        await overview.letters(box.tools, {"colour": "red"})


async def test_a_connection_is_shown_without_secrets_with_its_registers_and_rows(make: Make) -> None:
    box = filled(make)
    await refused(box)
    shown = await overview.connection(box.tools, "acme")
    text = shown.model_dump_json()
    assert '"s"' not in text
    assert "**********" in text
    (register,) = shown.registers
    assert (register.part, register.rows, register.synced_at is not None) == ("Thing", 1, True)  # the refused ones are not known
    (row,) = await overview.sent_row(box.tools, "acme", "100", "GetThings", "T10")
    assert (row.key, row.name, row.is_settled, row.letter) == (10, "Thing 10", True, "")
    assert await overview.sent_row(box.tools, "acme", "100", "GetThings", "T9") == []
    with pytest.raises(ConfigError, match="no connection"):
        await overview.connection(box.tools, "acne")


async def test_health_says_of_each_system_whether_it_serves_us(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = filled(make)

    async def refuse() -> str:
        raise Auth("the client secret is wrong", system="sage")

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(box.connection.tokens, "get", refuse)
    monkeypatch.setattr(box.prime, "check", hang)
    monkeypatch.setattr(setups, "HEALTH_WITHIN_S", 0.1)
    found = {check.name.partition(",")[0]: check for check in await overview.health(box.tools, "acme")}
    assert [found[name].ok for name in ("Redis", "Sage", "Prime")] == [True, False, False]
    assert found["Sage"].text == "the client secret is wrong"
    assert "no answer" in found["Prime"].text


async def test_acts_are_filtered_paged_and_exported(make: Make) -> None:
    box = make(names=("a", "b"))
    for number in range(5):
        await acts.pause(box.tools, connection="a", reason=f"=cmd {number}", by="ann")
    await acts.resume(box.tools, connection="a", by="bo")
    await acts.pause(box.tools, connection="b", reason="x", by="ann")
    page = await overview.audit_list(box.tools, by="ann", limit=4)
    assert (len(page.items), bool(page.older)) == (4, True)
    rest = await overview.audit_list(box.tools, by="ann", limit=4, before=page.older)
    assert ([entry.facts["reason"] for entry in rest.items], rest.older) == (["=cmd 1", "=cmd 0"], "")
    assert (page.items[0].connection, page.items[0].at) == ("b", max(entry.at for entry in page.items))
    assert [entry.by for entry in (await overview.audit_list(box.tools, what="resume")).items] == ["bo"]
    assert (await overview.audit_list(box.tools, since=page.items[0].at + timedelta(seconds=1))).items == []
    lines = [orjson.loads(line) async for line in overview.audit_export(box.tools, connection="a")]
    assert [line["n"] for line in lines] == [6, 5, 4, 3, 2, 1]
    text = "".join([line async for line in overview.audit_export(box.tools, "csv", by="bo")])
    heading, row = csv.reader(io.StringIO(text))
    assert dict(zip(heading, row, strict=True)) | {"at": "", "hash": ""} == {
        "connection": "a", "n": "6", "at": "", "by": "bo", "what": "resume", "about": "all", "facts": '{"reason":""}', "hash": "",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_of_acts_of_one_moment_and_of_several_connections_leave_none_out(make: Make, redis: Any, limit: int) -> None:
    box = make(names=("a", "b", "c"))
    rng = random.Random(limit)
    for number in range(60):  # some of one millisecond, within a connection and over several
        sid = rng.choice([one.connection.sid for one in box.tools.connections.values()])
        act = Act(number, "2026-11-25T12:00:00+00:00", "ann", "pause", str(number), {}, "")
        await redis.xadd(f"connect:{sid}:audit", {"entry": orjson.dumps(asdict(act))}, id=f"{1_700_000_000_000 + number // 5}-*")
    whole = [entry.about for entry in (await overview.audit_list(box.tools, limit=100)).items]
    found, before = [], None
    while before != "":
        page = await overview.audit_list(box.tools, limit=limit, before=before)
        found += [entry.about for entry in page.items]
        before = page.older
    assert sorted(map(int, found)) == list(range(60))
    assert found == whole


async def test_a_filter_that_nothing_matches_looks_at_no_more_than_it_may_and_can_go_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "LOOKED_AT_MOST", 10)
    box = make()
    await acts.pause(box.tools, reason="the first", by="bo")
    for _ in range(24):
        await acts.pause(box.tools, reason="x", by="ann")
    pages = [await overview.audit_list(box.tools, by="bo")]
    while pages[-1].older:
        pages.append(await overview.audit_list(box.tools, by="bo", before=pages[-1].older))
    assert [len(page.items) for page in pages] == [0, 0, 1]
    assert [entry.facts["reason"] for entry in pages[-1].items] == ["the first"]


@pytest.mark.parametrize("before", ["soon", "1-", "-1", "1-2-3", "١-١", "9" * 16 + "-1"])
async def test_a_place_in_the_trail_that_is_none_is_said(make: Make, before: str) -> None:
    with pytest.raises(ConfigError, match="before: "):
        await overview.audit_list(make().tools, before=before)


async def test_a_value_that_a_spreadsheet_takes_for_a_formula_is_quoted(make: Make) -> None:
    box = make()
    await acts.pause(box.tools, reason="x", by="=1+1")
    text = "".join([line async for line in overview.audit_export(box.tools, "csv")])
    assert ",'=1+1," in text


def test_every_stage_that_can_be_closed_is_looked_at() -> None:
    assert set(pauses.CLOSED) | {SCHEDULE} == set(STAGES)
