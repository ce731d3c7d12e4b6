"""Tokens: one for all processes, asked for once per expiry, sealed; refused credentials are not tried again and again."""

from __future__ import annotations

import asyncio
import time

import pytest

from connect.errors import Auth, Transient
from connect.state import tokens as module
from connect.state.tokens import LOCK_S, Token, Tokens

KEY = "connect:token:client:user@acme"


class Sage:
    """An identity server that counts what it is asked."""

    def __init__(self, life_s=3600.0, takes_s=0.0, refuse=""):
        self.asked = 0
        self.life_s = life_s
        self.takes_s = takes_s
        self.refuse = refuse

    async def __call__(self):
        self.asked += 1
        number = self.asked
        await asyncio.sleep(self.takes_s)
        if self.refuse:
            raise Auth(self.refuse, system="sage", code="GW-0011")
        return f"token-{number}", self.life_s


def process(redis, sage, secret="s3cret", clock=time.time):
    """The tokens as one more process sees them."""
    return Tokens(redis, "client", "user@acme", secret, sage, clock=clock)


@pytest.mark.parametrize(("life_s", "early_s"), [(3600, 60), (43_200, 60), (100, 10), (2, 0.2)])
def test_a_token_is_renewed_a_minute_or_a_tenth_of_its_life_early(life_s, early_s):
    token = Token.issued("t", life_s, 1000.0)
    assert token.expires_at == 1000 + life_s
    assert token.expires_at - token.renew_at == pytest.approx(early_s)


async def test_many_processes_that_start_together_ask_once(redis):
    sage = Sage(takes_s=0.1)
    processes = [process(redis, sage) for _ in range(20)]
    got = await asyncio.gather(*(one.get() for one in processes for _ in range(3)))
    assert set(got) == {"token-1"}
    assert sage.asked == 1


async def test_many_processes_that_had_the_same_token_rejected_ask_once(redis):
    sage = Sage(takes_s=0.05)
    processes = [process(redis, sage) for _ in range(20)]
    await asyncio.gather(*(one.get() for one in processes))
    got = await asyncio.gather(*(one.get("token-1") for one in processes))
    assert set(got) == {"token-2"}
    assert sage.asked == 2


async def test_a_late_rejection_of_an_old_token_asks_for_nothing(redis):
    sage = Sage()
    one, late = process(redis, sage), process(redis, sage)
    await late.get()
    await one.get("token-1")
    assert await late.get("token-1") == "token-2"
    assert sage.asked == 2


async def test_tokens_that_live_two_seconds_are_asked_for_once_per_expiry(redis):
    now = 1000.0
    sage = Sage(life_s=2.0)
    processes = [process(redis, sage, clock=lambda: now) for _ in range(5)]
    for step in range(100):  # ten seconds
        now = 1000.0 + step / 10
        for one in processes:
            number = int((await one.get()).partition("-")[2])
            assert number == int(step / 18) + 1
    assert sage.asked == 6


async def test_refused_credentials_are_asked_about_once_and_again_with_another_secret_or_later(redis, monkeypatch):
    sage = Sage(refuse="Sage refuses the credentials of user@acme")
    for _ in range(5):
        with pytest.raises(Auth, match="credentials of user@acme"):
            await process(redis, sage).get()
    assert sage.asked == 1
    assert await process(redis, sage).state() == "refused"
    assert await process(redis, sage, "other").state() == "none"
    sage.refuse = ""
    assert await process(redis, sage, "other").get() == "token-2"
    assert await process(redis, sage, "other").state() == "valid"
    ttl = await redis.pttl(KEY + ":refused")
    assert ttl == -2  # a token was had: the refusal is over


async def test_many_processes_with_refused_credentials_ask_once(redis):
    sage = Sage(refuse="no", takes_s=0.1)
    got = await asyncio.gather(*(process(redis, sage).get() for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in got} == {Auth}
    assert sage.asked == 1
    assert 50 < await redis.ttl(KEY + ":refused") <= 60


async def test_the_stored_token_is_sealed_under_the_secret_and_ends_with_the_token(redis):
    sage = Sage(life_s=100)
    assert await process(redis, sage).get() == "token-1"
    stored = await redis.get(KEY)
    assert b"token-1" not in stored
    assert b"s3cret" not in stored
    assert 95_000 < await redis.pttl(KEY) <= 100_000
    assert await process(redis, sage, "another secret").get() == "token-2"


@pytest.mark.parametrize("rubbish", [b"", b"x", bytes(40)])
async def test_what_cannot_be_opened_is_replaced(redis, rubbish):
    await redis.set(KEY, rubbish)
    assert await process(redis, Sage()).get() == "token-1"
    assert await process(redis, Sage()).get() == "token-1"


async def test_a_dead_process_that_was_asking_keeps_nobody_for_longer_than_its_lock(redis):
    assert LOCK_S <= 15
    started = time.monotonic()
    await redis.set(KEY + ":lock", "dead", px=300)
    async with asyncio.timeout(30):
        assert await process(redis, Sage()).get() == "token-1"
    assert time.monotonic() - started > 0.29


async def test_a_slow_answer_does_not_let_a_second_process_ask(redis, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 2.4)

    class Slow(Sage):
        async def __call__(self):
            answer, renewed = await super().__call__(), 0
            left_ms = await redis.pttl(KEY + ":lock")
            while renewed < 2:  # it answers when its asker's lock has been renewed twice
                await asyncio.sleep(0.02)
                before, left_ms = left_ms, await redis.pttl(KEY + ":lock")
                renewed += left_ms > before
            return answer

    sage = Slow()
    got = await asyncio.gather(*(process(redis, sage).get() for _ in range(3)))
    assert set(got) == {"token-1"}
    assert sage.asked == 1


async def test_an_identity_server_that_never_answers_is_transient_and_the_lock_is_free_again(redis, monkeypatch):
    monkeypatch.setattr(module, "ASK_S", 0.1)
    with pytest.raises(Transient, match="no token within"):
        await process(redis, Sage(takes_s=5)).get()
    assert not await redis.exists(KEY + ":lock")


async def test_users_of_one_client_have_tokens_of_their_own(redis):
    sage = Sage()
    other = Tokens(redis, "client", "user@other", "s3cret", sage)
    assert [await process(redis, sage).get(), await other.get()] == ["token-1", "token-2"]
