"""Pauses: one message for as long as the reason stays, and a new try now and then."""

from __future__ import annotations

import asyncio

from connect.state.pauses import PROBE_S, Pauses


async def test_a_reason_is_worth_one_message_and_another_reason_another(redis):
    pauses = Pauses(redis, "sid", probe_s=0.1)
    assert await pauses.pause("fetch", "credentials refused")
    assert not await pauses.pause("fetch", "credentials refused")
    for _ in range(4):  # tried again, and not let in again, for longer than a message is remembered
        await asyncio.sleep(0.12)
        assert await pauses.get("fetch") is None
        assert not await pauses.pause("fetch", "credentials refused")
    await asyncio.sleep(0.12)
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
