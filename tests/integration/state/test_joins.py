"""Joined rows: which values changed since the last finished run, also when a run dies, finds nothing, or settles twice."""

from __future__ import annotations

import pytest

from connect.errors import Poison
from connect.state.joins import Joined
from connect.state.seal import Seal


def joined(redis):
    """The join as one more run, or one more life of a sweep, sees it."""
    return Joined(redis, "sid", "100", "Supplier", "terms")


async def read(redis, *rows):
    """A run reads the joined object: (value, key, row)."""
    one = joined(redis)
    await one.start()
    await one.add(rows)
    return one


async def finished(redis, *rows):
    one = await read(redis, *rows)
    await one.settle()
    return one


N10, N30, N60 = ("N10", 1, b'{"d":10}'), ("N30", 2, b'{"d":30}'), ("N60", 3, b'{"d":60}')


async def test_the_first_run_has_nothing_to_compare_with(redis):
    assert await (await read(redis, N10)).changed() is None


async def test_changed_new_and_gone_values_are_found_and_no_other(redis):
    await finished(redis, N10, N30, N60)
    one = await read(redis, N10, ("N30", 2, b'{"d":31}'), ("N90", 4, b"{}"))
    assert await one.changed() == {"N30", "N60", "N90"}
    await one.settle()
    assert await (await read(redis, N10, ("N30", 2, b'{"d":31}'), ("N90", 4, b"{}"))).changed() == set()


async def test_a_run_that_dies_before_it_is_settled_leaves_the_change_to_the_next(redis):
    await finished(redis, N10)
    await read(redis, ("N10", 1, b"changed"))
    assert await (await read(redis, ("N10", 1, b"changed"))).changed() == {"N10"}


async def test_a_sweep_that_takes_over_goes_on_with_what_was_read(redis):
    await finished(redis, N10)
    await read(redis, ("N10", 1, b"changed"), N30)
    one = joined(redis)
    one.resume()
    assert await one.changed() == {"N10", "N30"}
    assert await one.lookup(["N10"]) == {"N10": [b"changed"]}


async def test_a_run_that_does_not_read_the_object_knows_of_no_change_and_looks_up_what_was_known(redis):
    await finished(redis, N10, N30)
    one = joined(redis)
    assert await one.changed() == set()
    assert await one.lookup(["N30", "N31", ""]) == {"N30": [b'{"d":30}']}


async def test_settling_twice_is_once(redis):
    one = await finished(redis, N10, N30)
    await one.settle()
    assert await joined(redis).size() == 2
    assert await joined(redis).lookup(["N10"]) == {"N10": [b'{"d":10}']}


async def test_an_object_without_rows_is_read_and_known_too(redis):
    await finished(redis)
    assert await joined(redis).size() == 0
    assert await (await read(redis)).changed() == set()
    await finished(redis, N10)
    one = await read(redis)
    assert await one.changed() == {"N10"}
    await one.settle()
    assert await joined(redis).lookup(["N10"]) == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_several_rows_of_one_value_compare_the_same_in_whatever_order_they_come(redis, order):
    rows = [("V1", 30, b"c"), ("V1", 10, b"a"), ("V1", 20, b"b")]
    await finished(redis, *rows)
    one = joined(redis)
    await one.start()
    for at in order:
        await one.add([rows[at]])  # a page each
    assert await one.changed() == set()
    assert await one.lookup(["V1"]) == {"V1": [b"a", b"b", b"c"]}


async def test_many_values_are_compared_in_steps(redis):
    many = [(f"V{n}", n, b"x") for n in range(5000)]
    await finished(redis, *many)
    one = await read(redis, *many[:2500], ("V2500", 2500, b"y"), *many[2501:-1])
    assert await one.changed() == {"V2500", "V4999"}
    assert len(await one.lookup(f"V{n}" for n in range(6000))) == 4999


SECRET = ("7", 1, b'{"account":"SE4550000000058398257466"}')


def sealed(redis, secret="the secret"):
    return Joined(redis, "sid", "100", "Supplier", "bank_accounts", seal=Seal(secret, "sid"))


async def test_rows_with_bank_data_are_kept_encrypted_and_compared_all_the_same(redis):
    one = sealed(redis)
    await one.start()
    await one.add([SECRET, ("8", 2, b"{}")])
    await one.add([("7", 3, b'{"account":"2"}')])
    await one.settle()
    kept = await redis.hgetall(one._old)
    assert not any(b"SE45" in value for value in kept.values())
    again = sealed(redis)
    await again.start()
    await again.add([("7", 3, b'{"account":"2"}'), SECRET, ("8", 2, b'{"account":"3"}')])
    assert await again.changed() == {"8"}
    assert (await again.lookup(["7"]))["7"] == [SECRET[2], b'{"account":"2"}']


async def test_rows_kept_before_they_were_encrypted_are_read_and_those_of_another_secret_are_not(redis):
    plain = Joined(redis, "sid", "100", "Supplier", "bank_accounts")
    await plain.start()
    await plain.add([SECRET])
    await plain.settle()
    assert await sealed(redis).lookup(["7"]) == {"7": [SECRET[2]]}
    one = sealed(redis)
    await one.start()
    await one.add([SECRET])
    assert await one.changed() == {"7"}, "kept otherwise than before: looked at once more"
    await one.settle()
    with pytest.raises(Poison, match="another secret"):
        await sealed(redis, "another").lookup(["7"])
