"""Other settings that would write more than a tenth of a register anew: the run asks first, as it does before it expires many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pipeline import COLOURS, THINGS, Pipeline, thing, thing_parts

from connect.mapping import Part, Row
from connect.registers import REGISTERS, Register

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 40, **options: object) -> Pipeline:
    box = make(**options)
    box.sage.put(COLOURS, {"key": 1, "name": "red"})
    box.sage.put(THINGS, *(thing(3 * n) for n in range(1, count + 1)))
    return box


def other_mapping(monkeypatch: pytest.MonkeyPatch, version: str, below: int) -> None:
    """From now on the names of things with a key below this are loud."""

    def parts(settings: object) -> list[Part]:
        (part,) = thing_parts(settings)

        def transform(raw: bytes, joined: object, extra: str) -> Row | None:
            row = part.transform(raw, joined, extra)
            loud = row is not None and int(row.number[1:]) < below
            return row._replace(body=row.body.replace(b'"name":"Thing', b'"name":"THING')) if row and loud else row

        return [replace(part, transform=transform, version=version)]

    monkeypatch.setitem(REGISTERS, "GetThings", Register(job="GetThings", parts=parts, incremental=True))


def loud(box: Pipeline) -> int:
    return sum(row["name"].startswith("THING") for row in box.prime.things().values())


async def test_nothing_is_sent_before_somebody_has_said_that_it_is_right(make: Make, monkeypatch) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    other_mapping(monkeypatch, "2", below=1000)
    box.sage.put(THINGS, thing(200))
    for _ in range(2):  # asking once more does not make it right
        run = await box.sync()
        assert (run.state, run.held, run.sent) == ("held", 40, 0)
        assert "40 of 40 rows of Thing would be written anew" in run.reason
        assert "connect sync --company 100 --job GetThings --rewrite" in run.reason
        assert run.asks == ("rewrite",)
        assert box.prime.numbers() == []
    run = await box.sync(rewrite=True)
    assert (run.state, run.sent, run.asks) == ("done", 41, ())
    assert loud(box) == 41
    run = await box.sync()
    assert (run.state, run.sent) == ("done", 0), "it is asked once"


async def test_a_tenth_of_the_register_needs_no_asking(make: Make, monkeypatch) -> None:
    box = filled(make, count=80)
    await box.sync()
    other_mapping(monkeypatch, "2", below=3 * 9)
    run = await box.sync()
    assert (run.state, run.sent, loud(box)) == ("done", 8, 8)


async def test_a_joined_row_that_changes_while_it_asks_is_not_forgotten_when_the_setting_is_taken_back(make: Make, monkeypatch) -> None:
    box = filled(make)
    await box.sync()
    before = REGISTERS["GetThings"]
    other_mapping(monkeypatch, "2", below=1000)
    box.sage.put(COLOURS, {"key": 1, "name": "green"})
    assert (await box.sync()).state == "held"
    monkeypatch.setitem(REGISTERS, "GetThings", before)
    assert (await box.sync()).state == "done"
    assert {row["colour"] for row in box.prime.things().values()} == {"green"}


async def test_a_joined_row_that_changes_while_a_plan_leaves_its_rows_alone_is_not_forgotten(make: Make) -> None:
    box = filled(make, full=False)
    await box.sync()
    box.clock.advance(days=20)
    box.sage.put(COLOURS, {"key": 1, "name": "green"})
    await box.connection.runs.allow("a plan", {})
    run = await box.sync(plan="a plan")
    assert (run.mode, run.sent, run.left) == ("incremental", 0, 40)
    run = await box.sync()
    assert (run.mode, run.sent) == ("incremental", 40)
    assert {row["colour"] for row in box.prime.things().values()} == {"green"}


async def test_a_setting_that_comes_back_is_another_setting_again(make: Make, monkeypatch) -> None:
    """The cursor of the settings before says nothing of rows that were written otherwise since."""
    box = filled(make, full=False)
    await box.sync()
    before = REGISTERS["GetThings"]
    other_mapping(monkeypatch, "2", below=1000)
    box.clock.advance(days=20)
    await box.sync(rewrite=True)
    assert loud(box) == 40
    monkeypatch.setitem(REGISTERS, "GetThings", before)
    box.clock.advance(days=20)
    assert (await box.sync()).state == "held"
    assert (await box.sync(rewrite=True)).mode == "full"
    assert loud(box) == 0
