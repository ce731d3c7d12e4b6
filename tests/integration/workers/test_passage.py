"""A register's whole passage: what is sent, what is not, what is refused, what is expired."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from pipeline import COLOURS, TAGS, THINGS, Pipeline, thing

from connect.prime.port import RowResult

Make = Callable[..., Pipeline]


def filled(make: Make, count: int = 100, **options: object) -> Pipeline:
    box = make(**options)
    box.sage.put(COLOURS, {"key": 1, "name": "red"}, {"key": 2, "name": "blue"})
    box.sage.put(THINGS, *(thing(3 * n) for n in range(1, count + 1)))
    return box


async def test_a_first_run_sends_everything_and_the_second_nothing(make: Make) -> None:
    box = filled(make, 9000)
    first = await box.sync()
    assert (first.state, first.mode, first.read, first.sent, first.refused) == ("done", "full", 9000, 9000, 0)
    assert len(box.prime.things()) == 9000
    assert box.prime.things()["T3"] == {"number": "T3", "name": "Thing 3", "colour": "red", "tags": []}
    assert box.prime.numbers("Type") == ["things"], "once per run and process"
    second = await box.sync()
    assert (second.state, second.read, second.sent, second.unchanged) == ("done", 9000, 0, 9000)
    assert len(box.prime.numbers()) == 9000


async def test_a_later_run_sends_what_changed_what_is_new_and_expires_what_is_gone(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    box.sage.put(THINGS, thing(6, "Another name"), thing(4000, "New"), thing(9, "Thing 9 "))  # the last differs in its bytes only
    del box.sage.objects[THINGS][12]
    run = await box.sync()
    assert (run.sent, run.expired, run.gone) == (2, 1, 0)
    assert box.prime.numbers() == ["T12", "T4000", "T6"]
    assert box.prime.things()["T12"]["expired"] is True
    again = await box.sync()
    assert (again.sent, again.expired, box.prime.numbers()) == (0, 0, [])


async def test_many_rows_gone_at_once_are_held_until_somebody_says_that_it_is_right(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    for key in range(3, 3 * 12, 3):
        del box.sage.objects[THINGS][key]
    run = await box.sync()
    assert (run.state, run.held, run.expired, box.prime.numbers()) == ("held", 11, 0, [])
    assert "11 of 100" in run.reason
    assert "--company 100 --job GetThings --full --expire" in run.reason
    assert run.asks == ("expire",)
    run = await box.sync(full=True, expire=True)
    assert (run.state, run.expired, len(box.prime.numbers())) == ("done", 11, 11)
    assert (await box.sync()).expired == 0


async def test_ten_percent_gone_or_five_rows_are_expired_without_asking(make: Make) -> None:
    box = filled(make, 20)
    await box.sync()
    for key in (3, 6, 9, 12, 15):
        del box.sage.objects[THINGS][key]
    run = await box.sync()
    assert (run.state, run.expired) == ("done", 5)


async def test_a_register_that_is_empty_all_of_a_sudden_is_held_however_small(make: Make) -> None:
    box = filled(make, 3)
    await box.sync()
    box.sage.objects[THINGS].clear()
    run = await box.sync()
    assert (run.state, run.held, run.expired) == ("held", 3, 0)


async def test_a_refused_row_is_a_dead_letter_with_primes_words_until_prime_accepts_it(make: Make) -> None:
    box = filled(make)
    box.prime.refuses = lambda _kind, _company, body: RowResult(7, "no such colour") if body["number"] == "T6" else None
    run = await box.sync()
    assert (run.state, run.sent, run.refused) == ("done", 99, 1)
    letter = (await box.letters())["T6"]
    assert (letter.error["code"], letter.error["detail"], letter.attempts) == ("7", "no such colour", 1)
    assert orjson.loads(letter.payload)["number"] == "T6"
    assert letter.trace == run.trace
    assert (await box.sync()).refused == 1
    assert (await box.letters())["T6"].attempts == 2, "the same letter again"
    box.prime.refuses = lambda _kind, _company, _body: None
    assert (await box.sync()).sent == 1
    assert await box.letters() == {}
    assert list(await box.letters("resolved")) == ["T6"]
    assert (await box.sync()).sent == 0


async def test_a_row_that_cannot_be_mapped_is_a_dead_letter_with_the_raw_row_and_the_page_goes_on(make: Make) -> None:
    box = filled(make)
    box.sage.put(THINGS, thing(6) | {"name": 5})
    run = await box.sync()
    assert (run.sent, run.refused) == (99, 1)
    letter = (await box.letters())["T6"]
    assert orjson.loads(letter.payload)["name"] == 5
    assert "no text" in letter.error["message"]
    box.sage.put(THINGS, thing(6))
    assert (await box.sync()).sent == 1
    assert await box.letters() == {}


async def test_the_letter_of_a_poisoned_row_ends_when_the_row_leaves_sage(make: Make) -> None:
    box = filled(make)
    box.sage.put(THINGS, thing(6) | {"name": 5})
    await box.sync()
    del box.sage.objects[THINGS][6]
    run = await box.sync()
    assert (run.expired, run.state) == (0, "done")
    assert await box.letters() == {}


async def test_two_rows_with_one_number_are_told_apart_by_name(make: Make) -> None:
    box = filled(make)
    box.sage.put(THINGS, thing(500, "The other", number="T6"))
    run = await box.sync()
    assert (run.sent, run.refused) == (100, 1)
    assert box.prime.things()["T6"]["name"] == "Thing 6"
    message = (await box.letters())["T6"].error["message"]
    assert "Sage rows 6 and 500" in message
    box.sage.put(THINGS, thing(6, number="T7"))  # somebody does what the message asks for
    run = await box.sync()
    assert (run.sent, run.refused) == (2, 0)
    assert box.prime.things()["T6"]["name"] == "The other"
    assert await box.letters() == {}


async def test_a_number_goes_to_another_row_when_its_owner_leaves(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    del box.sage.objects[THINGS][6]
    box.sage.put(THINGS, thing(500, "Successor", number="T6"))
    run = await box.sync()
    assert (run.sent, run.expired, run.refused, box.prime.numbers()) == (1, 0, 0, ["T6"])
    assert box.prime.things()["T6"]["name"] == "Successor"
    again = await box.sync()
    assert (again.sent, again.expired) == (0, 0)


async def test_a_row_that_is_not_wanted_any_more_is_expired(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    box.sage.put(THINGS, thing(6, number="-6"))
    run = await box.sync()
    assert (run.sent, run.expired, box.prime.numbers()) == (0, 1, ["T6"])
    assert (await box.sync()).expired == 0


async def test_a_joined_rows_change_touches_exactly_the_rows_that_use_it(make: Make) -> None:
    box = filled(make)
    box.sage.put(THINGS, *(thing(key, colour=2) for key in (3, 6, 9)))
    await box.sync()
    box.prime.numbers()
    box.sage.put(COLOURS, {"key": 2, "name": "green"})
    assert ((await box.sync()).sent, box.prime.numbers()) == (3, ["T3", "T6", "T9"])
    box.sage.put(TAGS, {"key": 1, "name": "heavy", "thing.key": "12"})
    assert ((await box.sync()).sent, box.prime.numbers()) == (1, ["T12"])
    assert box.prime.things()["T12"]["tags"] == ["heavy"]
    box.sage.objects[TAGS].clear()
    assert ((await box.sync()).sent, box.prime.numbers()) == (1, ["T12"])
    assert (await box.sync()).sent == 0


async def test_resend_sends_everything_again(make: Make) -> None:
    box = filled(make)
    await box.sync()
    box.prime.numbers()
    assert (await box.sync(resend=True)).sent == 100
    assert len(box.prime.numbers()) == 100
    assert (await box.sync()).sent == 0


async def test_rows_read_by_offset_are_sent_once_and_settled(make: Make) -> None:
    box = filled(make, 5000)
    box.sage.text_order = True
    run = await box.sync()
    assert (run.state, run.sent) == ("done", 5000)
    assert "does not compare keys as numbers" in run.reason
    del box.sage.objects[THINGS][6]
    run = await box.sync()
    assert (run.sent, run.expired) == (0, 1)


async def test_what_arrives_twice_from_two_companies_is_read_once(make: Make) -> None:
    box = filled(make, companies=("100", "200", "300"))
    await box.sync()
    assert [query.object for query in box.sage.queries].count(THINGS) == 1
    assert box.prime.things("100").keys() == box.prime.things("200").keys() == box.prime.things("300").keys()
    records = [await box.last(company=company) for company in ("100", "200", "300")]
    assert {record.sent for record in records} == {100}
    assert len({record.trace for record in records}) == 1


async def test_fields_that_nobody_asked_for_are_ignored_and_counted_once_a_page(make: Make) -> None:
    box = filled(make, 5000)
    assert (await box.sync()).ignored_fields == 0
    box.sage.extra = {"news": 1, "more": 2}
    run = await box.sync()
    assert (run.sent, run.unchanged, run.ignored_fields) == (0, 5000, 4)
