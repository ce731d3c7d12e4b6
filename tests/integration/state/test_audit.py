"""The audit trail: a change, a gap, another order or a cut end is found."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from connect.state.audit import Audit

STREAM, HEAD = "connect:sid:audit", "connect:sid:audit:head"


@pytest.fixture
async def audit(redis):
    audit = Audit(redis, "sid")
    for number in range(1, 6):
        await audit.add("replay", f"letter-{number}", by="ann", reason=f"reason {number}")
    return audit


async def rows(redis):
    return await redis.xrange(STREAM)


async def refill(redis, entries):
    await redis.delete(STREAM)
    for entry in entries:
        await redis.xadd(STREAM, {"entry": entry})


def flaws(found):
    return [(flaw.n, flaw.message) for flaw in found[1]]


async def test_an_untouched_trail_holds_and_says_who_did_what(audit):
    assert await audit.verify() == (5, [])
    acts = await audit.acts()
    first = acts[0]
    assert (first.n, first.by, first.what, first.about, first.facts) == (1, "ann", "replay", "letter-1", {"reason": "reason 1"})
    assert [act.before for act in acts] == ["", *(act.hash for act in acts[:-1])]
    assert [act.n for act in await audit.acts(2)] == [4, 5]


async def test_no_entry_at_all_is_no_flaw(redis):
    assert await Audit(redis, "new").verify() == (0, [])


@pytest.mark.parametrize("name", ["at", "by", "what", "about", "facts", "n", "hash", "before"])
async def test_a_change_of_anything_is_found(audit, redis, name):
    entries = [fields[b"entry"] for _, fields in await rows(redis)]
    forged = orjson.loads(entries[2])
    forged[name] = {"reason": "another"} if name == "facts" else 33 if name == "n" else "forged"
    await refill(redis, [*entries[:2], orjson.dumps(forged), *entries[3:]])
    assert (await audit.verify())[1]


async def test_a_change_that_gets_a_new_hash_breaks_the_chain_after_it(audit, redis):
    acts = await audit.acts()
    forged = orjson.loads((await rows(redis))[2][1][b"entry"]) | {"by": "bo"}
    forged["hash"] = type(acts[2])(**forged).digest()
    entries = [fields[b"entry"] for _, fields in await rows(redis)]
    await refill(redis, [*entries[:2], orjson.dumps(forged), *entries[3:]])
    assert flaws(await audit.verify()) == [(4, "the entry does not follow from the one before it")]


@pytest.mark.parametrize(("gone", "expected"), [(0, 1), (2, 3), (4, 5)])
async def test_an_entry_that_is_missing_is_found(audit, redis, gone, expected):
    await redis.xdel(STREAM, (await rows(redis))[gone][0])
    count, found = await audit.verify()
    assert (count, found[0].n) == (4, expected)


async def test_a_trail_that_is_gone_wholly_is_found(audit, redis):
    await redis.delete(STREAM)
    assert flaws(await audit.verify()) == [(5, "the newest entries are missing, up to 5")]


async def test_entries_in_another_order_are_found(audit, redis):
    entries = [fields[b"entry"] for _, fields in await rows(redis)]
    await refill(redis, [entries[1], entries[0], *entries[2:]])
    assert (await audit.verify())[1]


async def test_an_end_that_was_cut_off_with_the_head_mended_is_found_by_the_log(audit, redis):
    n, logged = await audit.head()
    acts = await audit.acts()
    await redis.xdel(STREAM, (await rows(redis))[4][0])
    await redis.hset(HEAD, mapping={"n": 4, "hash": acts[3].hash})
    assert await audit.verify() == (4, [])
    assert flaws(await audit.verify((n, logged))) == [(5, "the entry in the log is missing")]
    assert await audit.verify((4, acts[3].hash)) == (4, [])


async def test_two_at_once_make_one_chain(redis):
    await asyncio.gather(*(Audit(redis, "sid").add("discard", str(number), by="bo") for number in range(20)))
    assert await Audit(redis, "sid").verify() == (20, [])
