"""When runs start, in which order, and what an incremental one reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline import BOXES, COLOURS, CRATES, NOW, TAGS, THINGS, Pipeline, thing

from workers import fetchers

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 100, **options: object) -> Pipeline:
    box = make(**options)
    box.sage.put(COLOURS, {"key": 1, "name": "red"}, {"key": 2, "name": "blue"})
    box.sage.put(THINGS, *(thing(3 * n) for n in range(1, count + 1)))
    return box


def windows(box: Pipeline) -> list[str]:
    """From when on things were read, since the last look."""
    found = [one["$gte"]["modified"] for query in box.sage.queries if query.object == THINGS for one in query.filters if "$gte" in one]
    box.sage.queries.clear()
    return found


async def test_the_first_run_is_full_whatever_the_setting_and_later_ones_read_a_week(make: Make) -> None:
    box = filled(make, full=False)
    run = await box.sync()
    assert (run.mode, run.read, windows(box)) == ("full", 100, [])
    box.clock.advance(hours=1)
    box.sage.put(THINGS, thing(6, "Changed", modified="2026-03-02T12:30:00Z"), thing(9, "Long ago", modified="2026-02-20T00:00:00Z"))
    del box.sage.objects[THINGS][12]
    run = await box.sync()
    assert (run.mode, run.read, run.sent, run.expired) == ("incremental", 1, 1, 0)
    assert windows(box) == ["2026-02-23T13:00:00Z"]
    run = await box.sync(full=True)
    assert (run.mode, run.sent, run.expired) == ("full", 1, 1)


async def test_after_a_longer_stop_an_incremental_run_catches_up(make: Make) -> None:
    box = filled(make, full=False)
    await box.sync()
    box.clock.advance(days=40)
    windows(box)
    await box.sync()
    (since,) = windows(box)
    assert "2026-03-01" <= since <= f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "from the last complete run, and hardly earlier"
    box.clock.advance(hours=1)
    await box.sync()
    assert windows(box) == ["2026-04-04T13:00:00Z"]


async def test_a_failed_run_does_not_move_the_cursor(make: Make) -> None:
    box = filled(make, full=False)
    await box.sync()
    box.clock.advance(days=40)
    box.sage.before_answer = boom
    run = await box.sync()
    assert (run.state, run.reason) == ("failed", "unexpected: ValueError: boom")
    box.sage.before_answer = None
    box.clock.advance(days=1)
    windows(box)
    assert (await box.sync()).state == "done"
    (since,) = windows(box)
    assert "2026-03-01" <= since <= f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "from the last complete run, and hardly earlier"


async def boom(_: object) -> None:
    raise ValueError("boom")


async def test_a_joined_rows_change_touches_its_rows_in_an_incremental_run_too(make: Make) -> None:
    box = filled(make, full=False)
    box.sage.put(THINGS, *(thing(key, colour=2) for key in (3, 6, 9)))
    await box.sync()
    box.prime.numbers()
    box.sage.put(COLOURS, {"key": 2, "name": "green"})
    box.sage.put(TAGS, {"key": 1, "name": "heavy", "thing.key": "12"})
    run = await box.sync()
    assert (run.mode, run.read, run.sent, box.prime.numbers()) == ("incremental", 4, 4, ["T12", "T3", "T6", "T9"])
    assert (await box.sync()).sent == 0


async def test_a_large_joined_object_is_read_every_few_runs_and_new_rows_have_theirs_at_once(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(fetchers, "SMALL_JOIN_ROWS", 1)
    box = filled(make, full=False)
    await box.sync()
    box.prime.numbers()
    box.sage.put(COLOURS, {"key": 2, "name": "green"}, {"key": 3, "name": "grey"})
    sent, wholes = [], []
    for number in range(5):
        box.sage.queries.clear()
        box.sage.put(THINGS, thing(1000 + number, colour=3, modified="2026-03-02T12:30:00Z"))
        box.sage.put(THINGS, thing(3, colour=2, modified="2026-01-01T00:00:00Z"))
        sent.append((await box.sync()).sent)
        wholes.append(any(query.object == COLOURS and not query.filters for query in box.sage.queries))
        assert box.prime.things()[f"T{1000 + number}"]["colour"] == "grey"
    assert wholes == [True, False, False, False, True]
    assert sent == [1, 1, 1, 1, 1]


async def test_an_unread_join_touches_nothing(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(fetchers, "SMALL_JOIN_ROWS", 0)
    box = filled(make, full=False)
    await box.sync()
    await box.sync()
    run = await box.sync()
    assert (run.read, run.sent) == (0, 0)


async def test_a_run_with_a_dead_letter_reads_that_row_again_in_an_incremental_run(make: Make) -> None:
    box = filled(make, full=False)
    box.sage.put(THINGS, thing(6) | {"name": 5})
    await box.sync()
    box.sage.put(THINGS, thing(6, "Mended", modified="2020-01-01T00:00:00Z"))
    run = await box.sync()
    assert (run.read, run.sent, await box.letters()) == (1, 1, {})


async def test_what_refers_forward_is_sent_without_it_and_in_full_after_the_other_register(make: Make) -> None:
    box = filled(make, jobs=("GetBoxes", "GetThings"))
    for n in range(700):
        box.sage.put(BOXES, {"key": n + 1, "id": f"B{n}", "thing": f"T{3 * (n % 100 + 1)}"})
    box.sage.put(CRATES, {"key": 1, "id": "C1", "thing": "T6"}, {"key": 2, "id": "C2", "thing": None})
    box.sage.put(BOXES, {"key": 900, "id": "B900", "thing": "T-none"})
    run = await box.sync(job=None)
    assert run.started_at >= (await box.last("GetBoxes")).started_at
    second = await box.last("GetBoxes")
    assert (second.mode, second.sent, second.refused) == ("deferred", 701, 1)
    boxes, crates = box.prime.records["Box", "100"], box.prime.records["Crate", "100"]
    assert boxes["B5"]["thing"] == "T18"
    assert crates["C1"]["thing"] == "T6"
    assert boxes["B900"]["thing"] is None
    assert list(await box.letters()) == ["B900"]
    box.prime.written.clear()
    await box.sync()
    assert [(kind, number) for kind, _, number in box.prime.written] == [("Box", "B900")], "once more without it, since it was refused"


async def test_rows_of_a_second_pass_survive_a_sweeper_that_is_stopped_after_taking_them(make: Make) -> None:
    box = filled(make, jobs=("GetBoxes", "GetThings"))
    box.sage.put(BOXES, {"key": 1, "id": "B1", "thing": "T3"})
    box.sage.put(CRATES, {"key": 1, "id": "C1", "thing": "T6"})
    runs = box.connection.runs
    commit, stopped = runs.commit_page, []

    async def stopped_once(run, part, generation, page, *rest):
        if page is None and part == "Crate" and not stopped:
            await asyncio.sleep(0.3)  # the boxes' job is done by then
            stopped.append(part)
            raise asyncio.CancelledError
        return await commit(run, part, generation, page, *rest)

    runs.commit_page = stopped_once
    await box.sync()
    assert stopped == ["Crate"]
    assert box.prime.records["Box", "100"]["B1"]["thing"] == "T3"
    assert box.prime.records["Crate", "100"]["C1"]["thing"] == "T6"
    assert await runs.deferred_waiting("100", "GetBoxes") == 0


async def test_jobs_wait_for_those_they_need(make: Make) -> None:
    box = filled(make, jobs=("GetBoxes", "GetThings"))
    box.sage.put(BOXES, *({"key": n, "id": f"B{n}", "thing": None} for n in range(1, 50)))
    await box.sync()
    kinds = [kind for kind, _, _ in box.prime.written if kind != "Type"]
    assert kinds == ["Box"] * 49 + ["Thing"] * 100


async def test_only_what_was_asked_for_runs_where_somebody_waits_and_all_that_is_due_elsewhere(make: Make) -> None:
    box = make(jobs=("GetBoxes", "GetThings"))
    box.sage.put(THINGS, thing(3))
    await box.sync(job="GetThings")
    assert await box.connection.runs.last("100", "GetBoxes") is None
