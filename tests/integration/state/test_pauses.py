"""Pauses: one message for as long as the reason stays, and a new try now and then."""

from __future__ import annotations

from connect.state.pauses import PROBE_S, Pauses


async def test_a_reason_is_worth_one_message_and_another_reason_another(redis):
    pauses = Pauses(redis, "sid")
    pause, said = "connect:sid:paused:fetch", "connect:sid:paused:fetch:said"
    assert await pauses.pause("fetch", "credentials refused")
    assert not await pauses.pause("fetch", "credentials refused")
    for _ in range(4):  # tried again, and not let in again, for longer than a message is remembered
        assert await redis.pttl(pause) > (PROBE_S - 60) * 1000
        await redis.delete(pause)  # its time is over,
        await redis.pexpire(said, 60_000)  # and nearly the message's
        assert await pauses.get("fetch") is None
        assert not await pauses.pause("fetch", "credentials refused")
        assert await redis.pttl(said) > 2 * PROBE_S * 1000, "for longer than it is until the next try"
    await redis.delete(pause)
    assert await pauses.pause("fetch", "no permission")


async def test_a_stage_rests_alone_and_says_since_when_and_for_how_long(redis):
    pauses = Pauses(redis, "sid")
    await pauses.pause("fetch", "credentials refused")
    pause = await pauses.get("fetch")
    assert pause.reason == "credentials refused"
    assert PROBE_S - 5 < pause.left_s <= PROBE_S
    assert await pauses.get("write") is None
    assert await Pauses(redis, "other").get("fetch") is None
    await pauses.clear("fetch")
    assert await pauses.get("fetch") is None
    assert await pauses.pause("fetch", "credentials refused")
