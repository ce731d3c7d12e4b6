"""An operator at seven in the morning, in a browser without JavaScript: what needs whom, what runs, what is paused, how it is set up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from console_box import Box, Browser, assert_tame, console
from lxml import html
from pipeline import COLOURS, THINGS, thing

from connect.state.audit import Audit
from connect.state.samples import Sample, Samples
from workers import acts, overview, queues
from workers.console.live import LIVE_HEADER
from workers.jobs import FETCH, STAGES, ConnectionTools, WriteJob, enqueue
from workers.overview import setups

NAMES = ("acme", "borealis", "cygnus", "dorado")


def words(text: str) -> str:
    return " ".join(" ".join(html.document_fromstring(text).itertext()).split())


def needs(text: str) -> list[tuple[str, str, str]]:
    """(what is wrong, whose turn it is, where it is mended) as the page lists them."""
    found = []
    for item in html.document_fromstring(text).xpath("//ol[@class='needs']/li"):
        (link,) = item.xpath("./div/a")
        (turn,) = item.xpath("./span[contains(@class, 'turn')]")
        found.append((link.text_content().strip(), turn.text_content().removeprefix("Whose turn: "), link.get("href")))
    return found


def forms(text: str) -> set[str]:
    return {one.get("action") for one in html.document_fromstring(text).iter("form") if one.get("method") == "post"} - {"/theme", "/logout"}


def notice(browser: Browser) -> str:
    return unquote(browser.cookies.get("connect_notice", ""))


async def alive(box: Box) -> None:
    for stage in STAGES:
        await queues.sign_of_life(box.pipeline.tools.redis, f"{stage}:w1", {}, 600)


async def ended(
    one: ConnectionTools, state: str = "done", reason: str = "", minutes: float = 10, asks: Sequence[Any] = (), **counters: int
) -> str:
    """A run of GetThings that began so many minutes ago."""
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes)
    run = await one.runs.begin("100", "GetThings", mode="full", entity="", parts=["Thing"], trace="t", now=began)
    assert run is not None
    if counters:
        await one.runs.count(run, **counters)
    if state != "running":
        await one.runs.end(run, began + timedelta(seconds=30), state=state, reason=reason, asks=asks)  # type: ignore[arg-type]
    return run


async def waiting(one: ConnectionTools, many: int) -> None:
    """So many jobs for the write stage."""
    await enqueue(one.redis, [WriteJob(trace="t", sid=one.connection.sid, run="r", part="p", chunk=str(n)) for n in range(many)])


@pytest.fixture
async def four(valkey: str, redis: Any) -> AsyncIterator[Box]:
    """Four connections, all of them well."""
    async with console(valkey, names=NAMES) as box:
        box.pipeline.clock.now = datetime.now(UTC)
        await alive(box)
        for one in box.pipeline.tools.connections.values():
            await ended(one, read=10, sent=10)
        yield box


def connections(box: Box) -> list[ConnectionTools]:
    return list(box.pipeline.tools.connections.values())


async def test_a_quiet_night_says_that_nothing_needs_anybody(four: Box) -> None:
    viewer = await four.person("viewer")
    page = await viewer.text("/")
    assert "Nothing: every connection is green." in words(page)
    assert needs(page) == []
    assert "All 4" in words(page)
    assert html.document_fromstring(page).xpath("//table//td[contains(@class, 'name')]/a/text()") == list(NAMES)


async def test_at_seven_in_the_morning_she_sees_what_is_wrong_whose_turn_it_is_and_where_it_is_mended(four: Box) -> None:
    acme, borealis, cygnus, dorado = connections(four)
    for number in range(40):
        await four.letter(f"S-{number}", connection=acme if number < 38 else dorado, key=number)
    await enqueue(
        four.pipeline.tools.redis, [WriteJob(trace="t", sid=borealis.connection.sid, run="r", part="p", chunk=str(n)) for n in range(70)]
    )
    await cygnus.pauses.pause(FETCH, "Sage: user@cygnus is not authorized for this client")
    failed = await ended(dorado, "failed", "no such object")
    operator = await four.person("operator")
    page = await operator.text("/")
    assert_tame(page)
    found = needs(page)
    assert found[0] == (
        "Not let in: Sage: user@cygnus is not authorized for this client",
        "consultant",
        "/connections/cygnus",
    )
    assert found[1] == ("GetThings failed: no such object", "operator", f"/runs/{failed}")
    (letters,) = found[2:]
    owner = letters[1]
    assert letters == (f"40 dead letters for the {owner}", owner, f"/dead-letters?owner={owner}")
    links = [(one.text, one.get("href")) for one in html.document_fromstring(page).xpath("//ol[@class='needs']/li[3]//p/a")]
    assert links == [
        ("acme 38", f"/dead-letters?owner={owner}&connection=acme&company=100"),
        ("dorado 2", f"/dead-letters?owner={owner}&connection=dorado&company=100"),
    ]
    assert "authorised clients" in words(page), "the catalogue says what to do"
    titles = html.document_fromstring(page).xpath("//article/h3/a/text()")
    assert titles == ["cygnus", "dorado", "acme"], "the worst first"
    assert re.search(r"borealis 100 70 0 0 of \d", words(page)), "a growing queue is seen, though nothing is wrong"
    for _, _, path in found:
        answer = await operator.get(path)
        assert answer.status == 200, path


async def test_workers_that_are_gone_are_one_line_however_many_connections_wait_for_them(four: Box) -> None:
    redis = four.pipeline.tools.redis
    await redis.delete(queues.WORKERS)
    for one in connections(four):
        await waiting(one, 25)
    page = await (await four.person("viewer")).text("/")
    assert [(what, where) for what, _, where in needs(page)] == [
        ("No worker is alive for write, and 100 jobs wait", "/runs#queues"),
        ("No worker is alive for schedule: nothing starts by itself", "/runs#queues"),
    ]


async def test_two_hundred_connections_stay_a_page_of_twenty_with_filters(valkey: str, redis: Any) -> None:
    async with console(valkey, names=[f"customer-{n:03}" for n in range(200)]) as box:
        box.pipeline.clock.now = datetime.now(UTC)
        await alive(box)
        for place, one in enumerate(connections(box)):
            await ended(one, "failed" if place == 150 else "done", "no such object")
        viewer = await box.person("viewer")
        page = await viewer.text("/")
        assert len(page) < 120_000
        assert html.document_fromstring(page).xpath("//article/h3/a/text()") == ["customer-150"]
        assert len(html.document_fromstring(page).xpath("//td[contains(@class, 'name')]")) == 19
        assert "1 to 20 of 200" in words(page)
        (further,) = html.document_fromstring(page).xpath("//a[@rel='next']/@href")
        assert "21 to 40 of 200" in words(await viewer.text(further))
        shown = html.document_fromstring(await viewer.text("/?name=CUSTOMER-07&light=green&offset=999"))
        assert [name.get("href") for name in shown.xpath("//td[contains(@class, 'name')]/a")] == [
            f"/connections/customer-07{n}" for n in range(10)
        ]
        assert "No connection matches" in words(await viewer.text("/?light=amber"))
        answer = await viewer.get("/?light=blue")
        assert (answer.status, "there are red, amber, green" in await answer.text()) == (400, True)
        runs = await viewer.text("/runs")
        assert len(html.document_fromstring(runs).xpath("//div[@id='history-rows']//tbody/tr")) == 50
        assert len(html.document_fromstring(await viewer.text("/connections")).xpath("//tbody/tr")) == 50


async def test_open_pages_that_fetch_themselves_anew_share_one_look_and_a_person_gets_a_fresh_one(
    four: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = overview.overview

    async def counted(*args: Any, **options: Any) -> Any:
        looks.append(args)
        return await real(*args, **options)

    monkeypatch.setattr(overview, "overview", counted)
    viewers = [await four.person("viewer"), await four.person("operator")]
    answers = await asyncio.gather(*(one.get("/", headers={LIVE_HEADER: "1"}) for one in viewers * 5))
    assert [answer.status for answer in answers] == [200] * 10
    assert len(looks) == 1
    await viewers[0].get("/")
    assert len(looks) == 2
    sid = connections(four)[0].connection.sid
    limited = await four.users.add("limited", None, "viewer", [sid])
    one = Browser(four.client, {"connect_session": await four.users.begin(limited)})
    page = await (await one.get("/", headers={LIVE_HEADER: "1"})).text()
    assert len(looks) == 3
    assert "acme" in page
    assert "borealis" not in page, "what others see is not shared with whoever may not"


# -- pause, resume, run now --------------------------------------------------------------------------------------------


async def test_what_is_paused_by_a_form_is_seen_by_all_until_it_is_resumed(four: Box) -> None:
    operator, viewer = await four.person("operator"), await four.person("viewer")
    page = await operator.text("/runs")
    assert {"/runs/now", "/runs/pause"} <= forms(page)
    answer = await operator.post("/runs/pause", {"connection": "acme", "what": "job: GetThings", "reason": "<b>renumbering</b>"})
    assert (answer.status, answer.headers["Location"]) == (303, "/runs")
    assert notice(operator) == "Paused: GetThings of acme."
    for path in ("/runs", "/", "/connections/acme"):
        page = await viewer.text(path)
        assert_tame(page)
        assert "<b>renumbering</b>" in words(page), path
        assert forms(page) == set(), "a viewer sees no acts"
    assert needs(await viewer.text("/"))[0][2] == "/runs?connection=acme#paused"
    assert "/runs/resume" in forms(await operator.text("/runs?connection=acme"))
    await operator.post("/runs/resume", {"connection": "acme", "what": "job: GetThings"})
    assert notice(operator) == "Resumed: acme."
    assert "Nobody has paused anything." in words(await viewer.text("/runs"))
    acts_seen = [(act.by, act.what, act.about) for act in (await overview.audit_list(four.pipeline.tools)).items]
    assert acts_seen == [("operator", "resume", "job:GetThings"), ("operator", "pause", "job:GetThings")]
    await operator.post("/runs/resume", {"connection": "acme", "what": "job: GetThings"})
    assert notice(operator) == "That was not paused any more."


async def test_all_connections_are_paused_only_when_that_is_chosen(four: Box) -> None:
    operator = await four.person("operator")
    answer = await operator.post("/runs/pause", {"what": "everything", "reason": "upgrade of Prime"})
    page = await answer.text()
    assert (answer.status, "The connection is missing" in words(page)) == (400, True)
    assert html.document_fromstring(page).xpath("//input[@id='reason']/@value") == ["upgrade of Prime"], "what was typed is still there"
    assert await overview.resting(four.pipeline.tools) == []
    await operator.post("/runs/pause", {"connection": "*", "what": "direction: inbound", "reason": "upgrade of Prime"})
    assert [one.connection for one in await overview.resting(four.pipeline.tools)] == list(NAMES)
    (need,) = needs(await operator.text("/"))
    assert need[:2] == ("Everything inbound is paused by operator: upgrade of Prime", "operator")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"what": "everything"}, "say why"),
        ({"what": "job: GetNothing", "reason": "x"}, "no job 'getnothing' in the configuration"),
        ({"what": "direction: sideways", "reason": "x"}, "no direction 'sideways'"),
        ({"what": "the moon", "reason": "x"}, "no 'the moon'"),
        ({"what": "everything", "reason": "x" * 2001}, "2001 characters"),
        ({"connection": "nobody", "what": "everything", "reason": "x"}, "no connection"),
    ],
)
async def test_a_pause_that_is_none_is_said_in_words(four: Box, fields: dict[str, str], said: str) -> None:
    operator = await four.person("operator")
    answer = await operator.post("/runs/pause", {"connection": "acme", **fields})
    assert (answer.status, said in words(await answer.text()).casefold()) == (400, True)
    assert await overview.resting(four.pipeline.tools) == []


async def test_a_job_is_run_now_with_its_options_and_shows_that_it_was_asked_for(four: Box) -> None:
    operator = await four.person("operator")
    (acme, *_) = connections(four)
    fields = {"connection": "acme", "company": "100", "job": "GetThings", "full": "1", "expire": "1", "next": "/connections/acme"}
    answer = await operator.post("/runs/now", fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/connections/acme")
    assert notice(operator) == "GetThings of acme, company 100, was asked for."
    (wish,) = await acme.redis.hvals(f"connect:{acme.connection.sid}:wanted")
    assert b'"full":true' in wish
    assert b'"expire":true' in wish
    assert b'"resend":false' in wish
    assert "now: asked for" in words(await operator.text("/connections/acme"))
    answer = await operator.post("/runs/now", {"connection": "acme", "job": "GetThings", "next": "//elsewhere.example"})
    assert answer.headers["Location"] == "/runs", "no way elsewhere"
    answer = await operator.post("/runs/now", {"connection": "acme", "job": "GetBoxes"})
    assert (answer.status, "No job 'GetBoxes'" in words(await answer.text())) == (400, True)


async def test_nobody_acts_on_a_connection_that_they_may_not_see(four: Box) -> None:
    acme, borealis, *_ = connections(four)
    user = await four.users.add("limited", None, "operator", [acme.connection.sid])
    limited = Browser(four.client, {"connect_session": await four.users.begin(user)})
    for path, fields in (
        ("/runs/pause", {"what": "everything", "reason": "x"}),
        ("/runs/now", {}),
        ("/runs/resume", {"what": "everything"}),
    ):
        answer = await limited.post(path, {"connection": "borealis", **fields})
        assert answer.status == 400, path
    assert (await limited.post("/runs/pause", {"connection": "*", "what": "everything", "reason": "x"})).status == 303
    assert [one.connection for one in await overview.resting(four.pipeline.tools)] == ["acme"], "all means all that they may see"
    run = await ended(borealis)
    for path in ("/connections/borealis", f"/runs/{run}", "/runs?connection=borealis"):
        assert (await limited.get(path)).status == 404, path
    assert "borealis" not in await limited.text("/runs")


# -- runs --------------------------------------------------------------------------------------------------------------


async def test_what_runs_shows_how_far_it_is_and_what_has_run_is_filtered_and_paged(four: Box) -> None:
    acme, borealis, *_ = connections(four)
    for place in range(60):
        await ended(acme, "held" if place == 7 else "done", "12 of 20 would expire" if place == 7 else "", minutes=500 - place)
    on = await ended(borealis, "running", minutes=4, read=410, total=980, sent=3)
    four.pipeline.clock.now = datetime.now(UTC)
    viewer = await four.person("viewer")
    page = await viewer.text("/runs")
    shown = html.document_fromstring(page)
    (row,) = shown.xpath("//section[@id='on']//tbody/tr")
    assert re.search(r"GetThings borealis, company 100 42 % 410 of 980 1\.\d 5 min \d+ s", words(html.tostring(row, encoding="unicode")))
    assert shown.xpath("//progress/@value") == ["410"]
    assert len(shown.xpath("//div[@id='history-rows']//tbody/tr")) == 50
    (older,) = shown.xpath("//div[@id='history-rows']//a[@rel='next']/@href")
    assert "51 to 65" in words(await viewer.text(older.partition("#")[0]))
    held = html.document_fromstring(await viewer.text("/runs?connection=acme&state=held"))
    (path,) = held.xpath("//div[@id='history-rows']//tbody/tr/td/a/@href")
    page = words(await viewer.text(path))
    assert "12 of 20 would expire" in page
    assert "Run it again" not in page, "a viewer runs nothing"
    page = words(await viewer.text(f"/runs/{on}"))
    assert "42 %, some 5 min" in page
    assert "read from Sage 410" in page
    assert (await viewer.get("/runs/nothing-such")).status == 404
    assert (await viewer.get("/runs?state=odd")).status == 400
    assert (await viewer.get("/runs?minutes=7")).status == 400


@pytest.mark.parametrize(
    ("ask", "words", "wished"), [("expire", "and expire", {"full", "expire"}), ("rewrite", "and write anew", {"rewrite"})]
)
async def test_a_held_run_offers_what_it_asks_for_with_its_reason_and_that_is_done_and_written_down(
    four: Box, ask: str, words: str, wished: set[str]
) -> None:
    (acme, *_) = connections(four)
    run = await ended(acme, "held", "40 of 40 rows", minutes=2, asks=[ask])
    four.pipeline.clock.now = datetime.now(UTC)
    viewer, operator = await four.person("viewer"), await four.person("operator")
    assert "/runs/now" not in forms(await viewer.text(f"/runs/{run}"))
    for path, label in ((f"/runs/{run}", f"Run it again {words}"), ("/connections/acme", f"Run now {words}")):
        page = html.document_fromstring(await operator.text(path))
        (button,) = page.xpath("//form[@action='/runs/now']/button[contains(@class, 'bad')]")
        assert (button.text_content(), "40 of 40 rows" in page.text_content()) == (label, True)
        fields = {one.get("name"): one.get("value") for one in button.getparent().iter("input")}
        answer = await operator.post("/runs/now", fields)
        assert (answer.status, answer.headers["Location"]) == (303, path)
        (wish,) = await acme.redis.hvals(f"connect:{acme.connection.sid}:wanted")
        assert {name for name, value in orjson.loads(wish).items() if value is True} == wished
        (act,) = await Audit(acme.redis, acme.connection.sid).acts(1)
        assert (act.what, act.by, {name for name, value in act.facts.items() if value is True}) == ("sync", "operator", wished)
    assert (await overview.run(four.pipeline.tools, run)).asks == [ask]


async def test_the_api_runs_a_job_that_asks_whether_to_write_anew(four: Box) -> None:
    (acme, *_) = connections(four)
    body = {"connection": "acme", "job": "GetThings", "rewrite": True}
    answer = await four.client.post("/api/v1/sync", json=body, headers=await four.token("operator"))
    assert answer.status == 200
    (wish,) = await acme.redis.hvals(f"connect:{acme.connection.sid}:wanted")
    assert orjson.loads(wish)["rewrite"] is True


async def test_queues_are_drawn_over_time_for_one_and_for_all(four: Box) -> None:
    redis, now = four.pipeline.tools.redis, int(datetime.now(UTC).timestamp() // 60)
    viewer = await four.person("viewer")
    assert "No sample yet" in words(await viewer.text("/runs"))
    for place, one in enumerate(connections(four)):
        for back in range(5, 0, -1):
            sample = Sample(now - back, [0, 0, (5 - back) * 10, 0], place, [(5 - back) * 100, 0, 0, 0])
            async with redis.pipeline() as pipe:
                Samples(redis, one.connection.sid).add(pipe, sample)
                await pipe.execute()
    page = await viewer.text("/runs")
    labels = html.document_fromstring(page).xpath("//section[@id='queues']//*[@role='img']/@aria-label")
    assert "write: jobs waiting, now 160, at most 160" in labels
    assert "Rows read a minute: now 400, at most 400" in labels
    page = await viewer.text("/runs?connection=acme&minutes=1440")
    labels = html.document_fromstring(page).xpath("//section[@id='queues']//*[@role='img']/@aria-label")
    assert "write: jobs waiting, now 40, at most 40" in labels
    assert "last 24 hours" in words(page)


# -- connections -------------------------------------------------------------------------------------------------------


async def test_a_connection_shows_its_set_up_without_secrets_its_registers_and_what_was_sent_of_a_row(four: Box) -> None:
    box = four.pipeline
    box.sage.put(COLOURS, {"key": 1, "name": "red"})
    box.sage.put(THINGS, *(thing(n) for n in range(1, 8)))
    await box.sync(connection="acme")
    viewer = await four.person("viewer")
    page = await viewer.text("/connections/acme")
    assert_tame(page)
    shown = words(page)
    assert "password hidden" in shown
    assert "SageClientSecret hidden" in shown
    assert "SageUserName user@acme" in shown
    assert "**" not in shown
    (row,) = html.document_fromstring(page).xpath("//section[@id='registers']//tbody/tr")
    assert re.match(r"Thing GetThings 100 Thing made-up/thing 7 ", words(html.tostring(row, encoding="unicode")))
    assert forms(page) == set()
    path = html.document_fromstring(page).xpath("//section[@id='sent']//form/@action")[0].partition("#")[0]
    page = words(await viewer.text(f"{path}?number=T3&job=GetThings&company=100"))
    assert "Thing T3 Thing 3" in page
    assert "Prime has it as Sage had it" in page
    assert "Nothing with this number was accepted by Prime" in words(await viewer.text(f"{path}?number=T99&job=GetThings&company=100"))
    answer = await viewer.get(f"{path}?number=T3&job=GetThings&company=999")
    assert (answer.status, "No company '999'; there are 100" in words(await answer.text())) == (400, True)
    answer = await viewer.get(f"{path}?number=T3&job=ExportInvoices&company=100")
    assert (answer.status, "is no register" in words(await answer.text())) == (400, True)
    assert (await viewer.get("/connections/nobody")).status == 404


async def test_health_is_asked_by_an_operator_and_told_in_words(four: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setups, "HEALTH_WITHIN_S", 0.5)
    operator = await four.person("operator")
    assert "/connections/acme/check#health" in forms(await operator.text("/connections/acme"))
    four.pipeline.sage.latency_s = 0

    async def no_token() -> tuple[str, float]:
        raise OSError("connection refused")

    monkeypatch.setattr(connections(four)[0].tokens, "_ask", no_token)
    answer = await operator.post("/connections/acme/check")
    page = words(await answer.text())
    assert answer.status == 200
    assert re.search(r"Redis ok answers", page)
    assert re.search(r"Sage, token failed connection refused", page)
    assert "lets us in" in page


async def test_who_may_see_a_connection_is_told_to_administrators_alone(four: Box) -> None:
    await four.users.add("limited", None, "operator", [connections(four)[0].connection.sid])
    admin, viewer = await four.person("admin"), await four.person("viewer")
    page = words(await admin.text("/connections/acme"))
    assert "2 users may see all connections. Limited to this one, or to it and others: limited (operator)" in page
    assert "Nobody is limited to this one." in words(await admin.text("/connections/borealis"))
    assert "Who may see it" not in words(await viewer.text("/connections/acme"))


async def test_the_api_tells_what_needs_whom_and_what_was_sent(four: Box) -> None:
    box = four.pipeline
    box.sage.put(COLOURS, {"key": 1, "name": "red"})
    box.sage.put(THINGS, thing(1))
    await box.sync(connection="acme")
    await acts.pause(box.tools, connection="acme", reason="x", by="ann")
    headers = await four.token("viewer")
    status = await (await four.client.get("/api/v1/status", headers=headers)).json()
    assert [(need["kind"], need["owner"], need["places"][0]["connection"]) for need in status["needs"]] == [("paused", "operator", "acme")]
    answer = await four.client.get("/api/v1/connections/acme/rows?company=100&job=GetThings&number=T1", headers=headers)
    (row,) = (await answer.json())["rows"]
    assert (row["part"], row["name"], row["is_settled"]) == ("Thing", "Thing 1", True)
    answer = await four.client.get("/api/v1/connections/nobody/rows?company=100&job=GetThings&number=T1", headers=headers)
    assert answer.status == 404
