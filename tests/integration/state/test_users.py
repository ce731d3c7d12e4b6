"""Users, their sessions and tokens: who is let in, how long, and who is not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pipeline import Clock

from connect.errors import ConfigError
from connect.state import users as module
from connect.state.users import (
    ABSOLUTE,
    GRANTS,
    IDLE,
    ROLES,
    TRIES_PER_ADDRESS,
    TRIES_PER_NAME,
    WINDOW,
    LoginRefused,
    Users,
    checked_name,
    csrf_of,
)

PASSWORD = "correct horse battery"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def users(redis, clock):
    return Users(redis, clock=clock)


@pytest.fixture
async def ann(users):
    return await users.add("Ann", PASSWORD, "admin")


async def everything(redis) -> bytes:
    found = b""
    for key in await redis.keys("connect:console:*"):
        found += key
        match await redis.type(key):
            case b"hash":
                found += b"".join(name + value for name, value in (await redis.hgetall(key)).items())
            case b"string":
                found += await redis.get(key)
            case b"zset":
                found += b"".join(await redis.zrange(key, 0, -1))
    return found


# -- users -------------------------------------------------------------------------------------------------------------


def test_roles_grant_what_they_say():
    assert {role: sorted(granted) for role, granted in GRANTS.items()} == {
        "viewer": ["viewer"],
        "operator": ["operator", "viewer"],
        "approver": ["approver", "viewer"],
        "admin": sorted(ROLES),
    }


async def test_passwords_are_kept_as_argon2id_and_nothing_that_lets_in_is_kept_in_the_clear(users, redis, ann):
    secret, _ = await users.login("ann", PASSWORD, "1.2.3.4")
    text, _ = await users.create_token("ann", "script")
    kept = await everything(redis)
    assert b"$argon2id$v=19$" in kept
    for hidden in (PASSWORD, secret, text, text.rpartition("_")[2]):
        assert hidden.encode() not in kept
    assert PASSWORD not in repr(ann)
    assert "argon2" not in repr(ann)


async def test_names_are_the_same_whatever_their_case_and_taken_once(users, ann):
    assert ann.name == "ann"
    assert await users.get("ANN") == ann
    with pytest.raises(ConfigError, match="there is a user ann already"):
        await users.add("aNN", PASSWORD, "viewer")


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "é", "a/b", "a" * 65, "a\n", "<script>", "a:b"])
def test_names_that_are_none_are_refused(name):
    if name.strip() == "a":
        assert checked_name(name) == "a"
    else:
        with pytest.raises(ConfigError, match="is no user name"):
            checked_name(name)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "aaaaaaaaaaaaaaaa", "ann.annie.is.it"])
async def test_passwords_that_are_easy_or_endless_are_refused(users, password):
    with pytest.raises(ConfigError, match="the password"):
        await users.add("ann.annie.is.it", password, "viewer")
    assert not await users.any()


async def test_the_last_admin_of_all_connections_stays_while_there_are_others(users, ann):
    await users.add("bo", PASSWORD, "viewer")
    limited = await users.add("cy", PASSWORD, "admin", ["sid"])
    for act in (users.remove("ann"), users.change("ann", role="viewer"), users.change("ann", role="admin", connections=["sid"])):
        with pytest.raises(ConfigError, match="ann is the last admin"):
            await act
    assert (limited.sees("sid"), limited.sees("other"), ann.sees("other")) == (True, False, True)
    await users.change("bo", role="admin")
    await users.remove("ann")
    assert [user.name for user in await users.all()] == ["bo", "cy"]


async def test_two_admins_who_remove_each_other_at_once_leave_one(users, ann):
    await users.add("bo", PASSWORD, "admin")
    await users.add("cy", PASSWORD, "viewer")
    ends = await asyncio.gather(users.remove("ann"), users.remove("bo"), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["ConfigError", "User"]


async def test_nobody_of_that_name_is_said(users):
    for act in (users.remove("x"), users.set_password("x", PASSWORD), users.change("x", role="viewer"), users.create_token("x", "y")):
        with pytest.raises(ConfigError, match="there is no user 'x'"):
            await act


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_the_right_password_begins_a_session_and_logging_out_ends_it(users, ann):
    secret, user = await users.login("ANN", PASSWORD, "1.2.3.4")
    assert user == ann
    assert len(secret) >= 43  # 256 bits
    assert await users.session(secret) == ann
    await users.logout(secret)
    assert await users.session(secret) is None
    assert await users.session("") is None


async def test_a_session_ends_unused_but_not_in_use_and_never_lasts_longer_than_the_limit(users, clock, ann):
    unused, _ = await users.login("ann", PASSWORD, "a")
    used, _ = await users.login("ann", PASSWORD, "a")
    began = clock()
    while clock() - began < ABSOLUTE - IDLE / 2:
        clock.advance(seconds=(IDLE * 0.9).total_seconds())
        if clock() - began < ABSOLUTE:
            assert await users.session(used) == ann
    assert await users.session(unused) is None
    clock.now = began + ABSOLUTE
    assert await users.session(used) is None


async def test_a_page_that_is_only_open_lets_its_session_run_out(users, clock, ann):
    secret, _ = await users.login("ann", PASSWORD, "a")
    for _ in range(4):
        clock.advance(seconds=IDLE.total_seconds() / 4)
        found = await users.session(secret, is_use=False)
    assert found is None


async def test_a_session_ends_with_another_password_another_user_of_that_name_or_none(users, redis, ann):
    await users.add("bo", PASSWORD, "admin")
    first, _ = await users.login("ann", PASSWORD, "a")
    await users.set_password("ann", PASSWORD + "2")
    assert await users.session(first) is None
    second, _ = await users.login("ann", PASSWORD + "2", "a")
    kept = {key: await redis.get(key) for key in await redis.keys("connect:console:session:*")}
    await users.remove("ann")
    assert await users.session(second) is None
    await users.add("ann", PASSWORD, "viewer")
    for key, value in kept.items():
        await redis.set(key, value)
    assert await users.session(second) is None


async def test_another_role_counts_at_once(users, ann):
    await users.add("bo", PASSWORD, "operator")
    secret, _ = await users.login("bo", PASSWORD, "a")
    await users.change("bo", role="viewer")
    user = await users.session(secret)
    assert user is not None
    assert not user.may("operator")


# -- failed logins -----------------------------------------------------------------------------------------------------


async def refused(users, name, password=PASSWORD + "x", address="a") -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        await users.login(name, password, address)
    return caught.value


async def test_a_wrong_name_and_a_wrong_password_get_the_same_words(users, ann):
    await users.add("bo", None, "viewer")  # has no password: a proxy logs people in
    said = {(await refused(users, name)).message for name in ("ann", "nobody", "bo", "", "a\0b", "x" * 100_000)}
    assert said == {"the name or the password is wrong"}


async def test_an_unknown_name_takes_as_long_as_a_known_one(users, ann, monkeypatch):
    """The time is that of one password tried against one hash; an unknown name's is a hash of the same cost."""
    tried: list[tuple[str, str]] = []
    verify = Argon2id.verify_phc_encoded

    def counted(password: bytes, phc: str) -> None:
        tried.append((password.decode(), phc.split("$")[3]))
        verify(password, phc)

    monkeypatch.setattr(module, "Argon2id", SimpleNamespace(verify_phc_encoded=counted))
    for name in ("ann", "nobody"):
        await refused(users, name)
    (of_ann, of_nobody) = tried
    assert of_ann == of_nobody
    assert of_ann[0] == PASSWORD + "x"


async def test_a_name_is_locked_out_after_failures_and_open_again_after_the_window(users, clock, ann):
    for place in range(TRIES_PER_NAME):
        assert (await refused(users, "ann", address=f"{place}")).retry_after_s == 0
    locked = await refused(users, "ann", PASSWORD, address="elsewhere")
    assert "too many failed logins; try again in 15 minutes" in locked.message
    assert 0 < locked.retry_after_s <= WINDOW.total_seconds()
    for _ in range(10):  # asking while locked out does not prolong it
        await refused(users, "ann", PASSWORD, address="elsewhere")
    clock.now += WINDOW + timedelta(seconds=1)
    await users.login("ann", PASSWORD, "elsewhere")


async def test_an_address_is_locked_out_whatever_names_it_tries(users, ann):
    for number in range(TRIES_PER_ADDRESS):
        await refused(users, f"name{number}", address="bad")
    assert (await refused(users, "ann", PASSWORD, address="bad")).retry_after_s > 0
    await users.login("ann", PASSWORD, "good")


async def test_many_tries_at_once_are_no_way_round(users, ann):
    ends = await asyncio.gather(*(users.login("ann", f"{PASSWORD}{number}", f"{number}") for number in range(30)), return_exceptions=True)
    looked_at = [end for end in ends if isinstance(end, LoginRefused) and not end.retry_after_s]
    assert len(looked_at) <= TRIES_PER_NAME
    assert all(isinstance(end, LoginRefused) for end in ends)


async def test_a_right_login_and_a_new_password_clear_the_failures(users, ann):
    for _ in range(3):
        for _ in range(TRIES_PER_NAME - 1):
            assert (await refused(users, "ann")).retry_after_s == 0
        _, user = await users.login("ann", PASSWORD, "b")
        assert user.name == "ann"
    locked = [(await refused(users, "ann", address=f"c{number}")).retry_after_s > 0 for number in range(TRIES_PER_NAME + 1)]
    assert locked == [False] * TRIES_PER_NAME + [True]
    await users.set_password("ann", PASSWORD + "2")
    _, user = await users.login("ann", PASSWORD + "2", "d")
    assert user.name == "ann"


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_a_token_lets_in_until_it_is_revoked_and_says_when_it_was_used(users, clock, ann):
    text, token = await users.create_token("ann", " nightly  script ")
    assert (token.label, token.user, text.startswith("connect_")) == ("nightly script", "ann", True)
    assert (await users.tokens())[0].used_at == ""
    assert await users.by_token(text) == ann
    assert (await users.tokens("ANN"))[0].used_at == clock().isoformat(timespec="seconds")
    assert await users.revoke(token.id)
    assert not await users.revoke(token.id)
    assert await users.by_token(text) is None


async def test_a_token_runs_out(users, clock, ann):
    text, _ = await users.create_token("ann", "x", lasts=timedelta(days=1))
    clock.advance(hours=23)
    assert await users.by_token(text) == ann
    clock.advance(hours=1)
    assert await users.by_token(text) is None


async def test_a_token_ends_with_its_user_also_when_another_takes_the_name(users, redis, ann):
    await users.add("bo", PASSWORD, "admin")
    text, _ = await users.create_token("ann", "x")
    kept = await redis.hgetall("connect:console:tokens")
    await users.remove("ann")
    assert await users.tokens() == []
    await users.add("ann", PASSWORD, "viewer")
    await redis.hset("connect:console:tokens", mapping=kept)
    assert await users.by_token(text) is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "x", lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: t[:21]]
)
async def test_what_is_nearly_a_token_is_none(users, ann, change):
    text, _ = await users.create_token("ann", "x")
    assert await users.by_token(change(text)) is None
    assert await users.by_token("") is None


@pytest.mark.parametrize("label", ["", " ", "x" * 81, "a\0b", "a\u202eb"])
async def test_a_token_says_what_it_is_for(users, ann, label):
    with pytest.raises(ConfigError, match="say what the token is for"):
        await users.create_token("ann", label)


def test_a_form_token_is_another_for_every_session_and_does_not_tell_it():
    assert csrf_of("a") == csrf_of("a") != csrf_of("b")
    assert "secret-of-session" not in csrf_of("secret-of-session")
