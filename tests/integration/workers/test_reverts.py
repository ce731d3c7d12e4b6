"""What Prime holds is what Sage says, also when a run failed half way, a row was half accepted, or a number moved on and came back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from pipeline import BOXES, COLOURS, THINGS, FakePrime, Pipeline, thing, thing_parts

from connect.errors import Transient
from connect.mapping import Part, Row
from connect.prime.port import RowResult
from connect.registers import REGISTERS, Register
from workers import outcomes, pages

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 20, **options: object) -> Pipeline:
    box = make(**options)
    box.sage.put(COLOURS, {"key": 1, "name": "red"}, {"key": 2, "name": "blue"})
    box.sage.put(THINGS, *(thing(3 * n) for n in range(1, count + 1)))
    return box


def stuck(prime: FakePrime, *numbers: str) -> Callable[[], None]:
    """Rows with these numbers meet an error that never gets better. Returns how to mend it."""
    whole = prime.write

    async def write(kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        if any(f'"number":"{number}"'.encode() in body for body in bodies for number in numbers):
            return [RowResult(error=Transient("503", system="prime")) for _ in bodies]
        return await whole(kind, company, bodies)

    prime.write = write  # type: ignore[method-assign]

    def mend() -> None:
        prime.write = whole  # type: ignore[method-assign]

    return mend


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row a chunk of its own, one try each."""
    monkeypatch.setattr(pages, "CHUNK_ROWS", 1)
    monkeypatch.setattr(outcomes, "ATTEMPTS", 1)


def names(box: Pipeline) -> dict[str, str]:
    return {number: row["name"] for number, row in box.prime.things().items() if not row.get("expired")}


def in_sage(box: Pipeline) -> dict[str, str]:
    return {row["id"]: row["name"] for row in box.sage.objects[THINGS].values()}


async def test_a_change_sent_by_a_run_that_failed_and_taken_back_in_sage_is_taken_back_in_prime(make: Make, small_chunks) -> None:
    box = filled(make)
    await box.sync()
    box.sage.put(THINGS, thing(3, "Changed"), thing(60, "Changed too"))
    mend = stuck(box.prime, "T60")
    assert (await box.sync()).state == "failed"
    assert names(box)["T3"] == "Changed"
    mend()
    box.sage.put(THINGS, thing(3), thing(60))
    assert (await box.sync()).state == "done"
    assert names(box) == in_sage(box)


async def test_a_row_sent_by_a_run_that_failed_and_deleted_since_is_expired(make: Make, small_chunks) -> None:
    box = filled(make)
    await box.sync()
    box.sage.put(THINGS, thing(100, "New"), thing(200, "New too"))
    mend = stuck(box.prime, "T200")
    assert (await box.sync()).state == "failed"
    assert "T100" in names(box)
    mend()
    del box.sage.objects[THINGS][100]
    assert (await box.sync()).state == "done"
    assert names(box) == in_sage(box)


async def test_a_row_expired_by_a_run_that_failed_and_back_as_it_was_is_valid_again(make: Make, small_chunks) -> None:
    box = filled(make)
    await box.sync()
    gone = [box.sage.objects[THINGS].pop(key) for key in (3, 6)]
    mend = stuck(box.prime, "T6")
    assert (await box.sync()).state == "failed"
    assert "T3" not in names(box)
    mend()
    box.sage.put(THINGS, *gone)
    assert (await box.sync()).state == "done"
    assert names(box) == in_sage(box)


async def test_a_row_that_comes_back_with_the_very_bytes_it_had_is_valid_again(make: Make) -> None:
    box = filled(make)
    await box.sync()
    gone = box.sage.objects[THINGS].pop(3)
    await box.sync()
    assert "T3" not in names(box)
    box.sage.put(THINGS, gone)
    assert (await box.sync()).sent == 1
    assert names(box) == in_sage(box)


async def test_a_row_with_another_number_leaves_nothing_valid_under_the_old_one(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.sage.put(THINGS, thing(3, number="T9999"))
    await box.sync()
    assert names(box) == in_sage(box)
    assert (await box.sync()).sent == 0


@pytest.mark.parametrize("rows", [20, 9000])
async def test_rows_that_swap_their_numbers_swap_them_in_prime(make: Make, rows: int) -> None:
    box = filled(make, rows)
    await box.sync()
    last = 3 * rows
    box.sage.put(THINGS, thing(3, number=f"T{last}"), thing(last, number="T3"))
    await box.sync()
    assert names(box) == in_sage(box)
    assert (await box.sync()).sent == 0


async def test_a_refused_row_that_prime_took_in_part_is_sent_again_when_taken_back(make: Make) -> None:
    """A supplier is accepted and its bank account is not: the row counts as refused, and Prime has the supplier's change."""
    box = filled(make)
    await box.sync()

    def half(kind: str, company: str, body: dict) -> RowResult | None:
        if kind != "Thing" or body["name"] != "Changed":
            return None
        box.prime.records[kind, company][body["number"]] = body
        return RowResult(10, "Bank account: no IBAN")

    box.prime.refuses = half
    box.sage.put(THINGS, thing(3, "Changed"))
    assert (await box.sync()).refused == 1
    box.sage.put(THINGS, thing(3))
    await box.sync()
    assert names(box) == in_sage(box)
    assert await box.letters() == {}


async def test_a_row_sent_without_what_it_points_to_is_sent_again_when_taken_back(make: Make) -> None:
    box = make(jobs=("GetBoxes", "GetThings"))
    box.sage.put(COLOURS, {"key": 1, "name": "red"})
    box.sage.put(THINGS, thing(1))
    box.sage.put(BOXES, {"key": 1, "id": "B1", "thing": "T1"})
    await box.sync()
    assert box.prime.records["Box", "100"]["B1"]["thing"] == "T1"
    box.sage.put(BOXES, {"key": 1, "id": "B1", "thing": "T-unknown"})
    await box.sync()
    assert box.prime.records["Box", "100"]["B1"]["thing"] is None
    box.sage.put(BOXES, {"key": 1, "id": "B1", "thing": "T1"})
    await box.sync()
    assert box.prime.records["Box", "100"]["B1"]["thing"] == "T1"


async def test_in_an_incremental_run_a_new_row_takes_the_number_of_one_that_is_gone(make: Make) -> None:
    box = filled(make, full=False)
    await box.sync()
    del box.sage.objects[THINGS][3]
    box.sage.put(THINGS, thing(100, "Made anew", number="T3", modified=box.clock().isoformat()))
    run = await box.sync()
    assert run.mode == "incremental"
    assert names(box)["T3"] == "Made anew"
    assert await box.letters() == {}


async def test_catching_up_after_a_longer_stop_allows_for_clocks_that_differ(make: Make) -> None:
    box = filled(make, full=False)
    await box.sync()
    stamp = box.clock() - timedelta(minutes=5)  # by Sage's clock, which is behind ours; shown only after the run
    box.sage.put(THINGS, thing(3, "Changed", modified=f"{stamp:%Y-%m-%dT%H:%M:%SZ}"))
    box.clock.advance(days=10)
    await box.sync()
    assert names(box) == in_sage(box)


async def test_other_settings_compare_every_row_in_incremental_mode_too(make: Make, monkeypatch) -> None:
    box = filled(make, full=False)
    await box.sync()

    def shouting(settings: object) -> list[Part]:
        (part,) = thing_parts(settings)

        def transform(raw: bytes, joined: object, extra: str) -> Row | None:
            row = part.transform(raw, joined, extra)
            return row and row._replace(body=row.body.replace(b'"name":"Thing', b'"name":"THING'))

        return [replace(part, transform=transform, version="2")]

    monkeypatch.setitem(REGISTERS, "GetThings", Register(job="GetThings", parts=shouting, incremental=True))
    box.clock.advance(days=10)
    await box.sync(rewrite=True)
    assert set(names(box).values()) == {name.replace("Thing", "THING") for name in in_sage(box).values()}


async def test_a_row_at_which_prime_fails_is_refused_in_the_end_and_holds_up_no_other(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(outcomes, "ATTEMPTS", 3)
    box = filled(make)
    whole = box.prime.write

    async def write(kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        broken = RowResult(error=Transient("Prime failed", system="prime", status=500))
        return [broken if b'"number":"T3"' in body else (await whole(kind, company, [body]))[0] for body in bodies]

    box.prime.write = write  # type: ignore[method-assign]
    run = await box.sync()
    assert (run.state, run.sent, run.refused) == ("done", 19, 1)
    (letter,) = (await box.letters()).values()
    assert "takes others: Prime failed" in letter.error["message"]
    box.prime.write = whole  # type: ignore[method-assign]
    assert (await box.sync()).sent == 1
    assert await box.letters() == {}


async def test_an_outage_refuses_no_row(make: Make, monkeypatch) -> None:
    monkeypatch.setattr(outcomes, "ATTEMPTS", 3)
    box = filled(make)
    box.prime.errors = [Transient("down", system="prime", status=500) for _ in range(3)]
    assert (await box.sync()).state == "failed"
    assert await box.letters() == {}
