"""The token endpoint: who gets a token, and what is said to who does not."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import orjson
import pytest

from connect.sandbox.kernel import Clock
from connect.sandbox.sage.errors import SageError
from connect.sandbox.sage.tokens import Tokens

FORM = "application/x-www-form-urlencoded"
GOOD = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret", "username": "ann@acme"}


@pytest.fixture
def clock():
    return Clock(now=lambda: 1_795_608_000.0, monotonic=lambda: 10.0)


@pytest.fixture
def tokens(clock):
    return Tokens(
        clock,
        client_id="app",
        client_secret="secret",
        company="acme",
        ttl_s=3600,
        entity_of={"E1": 1}.get,
        is_user=lambda name: name == "ann",
    )


def refusal(act, *given):
    with pytest.raises(SageError) as caught:
        act(*given)
    return caught.value


@pytest.mark.parametrize("kind", ["form", "json"])
def test_the_right_credentials_give_a_token_that_looks_like_a_jwt(tokens, kind):
    answer = tokens.issue(*((urlencode(GOOD).encode(), FORM) if kind == "form" else (orjson.dumps(GOOD), "application/json")))
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    parts = answer["access_token"].split(".")
    claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    assert len(parts) == 3
    assert claims["exp"] - claims["iat"] == 3600
    grant = tokens.find(f"Bearer {answer['access_token']}", 401)
    assert (grant.user, grant.entity) == ("ann", None)


def test_a_username_may_name_an_entity(tokens):
    answer = tokens.issue(urlencode({**GOOD, "username": "ann@acme|E1"}).encode(), FORM)
    assert tokens.find(f"Bearer {answer['access_token']}", 401).entity == 1


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"client_id": ""}, 400, "GW-0037"),
        ({"client_id": "other"}, 401, "GW-0011"),
        ({"client_secret": "wrong"}, 401, "GW-0011"),
        ({"grant_type": "password"}, 400, "GW-0032"),
        ({"grant_type": ""}, 400, "GW-0032"),
        ({"username": ""}, 400, "GW-0036"),
        ({"username": "ann"}, 400, "GW-0012"),
        ({"username": "ann@"}, 400, "GW-0012"),
        ({"username": "ann@other"}, 401, "GW-0011"),
        ({"username": "bob@acme"}, 400, "invalid_grant"),
        ({"username": "ann@acme|E9"}, 400, "invalid_grant"),
    ],
)
def test_wrong_credentials_are_refused_with_sages_code(tokens, change, status, code):
    error = refusal(tokens.issue, urlencode({**GOOD, **change}).encode(), FORM)
    assert (error.status, error.error["code"]) == (status, code)


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        (b"", FORM, "GW-0035"),
        (b"{", "application/json", "GW-0032"),
        (b"[]", "application/json", "GW-0032"),
        (b"client_id=app&client_id=app&grant_type=client_credentials", FORM, "GW-0038"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(tokens, raw, kind, code):
    error = refusal(tokens.issue, raw, kind)
    assert error.error["code"] == code
    assert set(error.body()["ia::error"]["details"]) == {"requestId"}


def test_a_refresh_token_works_once(tokens):
    first = tokens.issue(urlencode(GOOD).encode(), FORM)
    again = urlencode({**GOOD, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}).encode()
    assert tokens.issue(again, FORM)["access_token"] != first["access_token"]
    error = refusal(tokens.issue, again, FORM)
    assert error.body()["error"]["errorId"] == "REST-2102"


def test_revoking_one_token_ends_all_of_its_user(tokens):
    one, two = (tokens.issue(urlencode(GOOD).encode(), FORM)["access_token"] for _ in range(2))
    tokens.revoke(urlencode({**GOOD, "token": one}).encode(), FORM)
    assert refusal(tokens.find, f"Bearer {two}", 401).error["code"] == "GW-0031"


def test_a_token_ends_after_its_life(tokens, clock):
    token = tokens.issue(urlencode(GOOD).encode(), FORM)["access_token"]
    clock.advance(3599)
    tokens.find(f"Bearer {token}", 401)
    clock.advance(1)
    error = refusal(tokens.find, f"Bearer {token}", 401)
    assert (error.status, error.body()["error"]["code"]) == (401, "tokenInvalid")


def test_an_expired_token_can_be_told_by_400_and_a_text(tokens):
    token = tokens.issue(urlencode(GOOD).encode(), FORM)["access_token"]
    tokens.expire()
    error = refusal(tokens.find, f"Bearer {token}", 400)
    assert error.status == 400
    assert error.body()["ia::result"]["ia::error"]["message"] == "The token is not valid"


@pytest.mark.parametrize(("header", "code"), [("", "GW-0034"), ("Basic abc", "GW-0034"), ("Bearer ", "GW-0034"), ("Bearer abc", "GW-0031")])
def test_who_shows_no_known_token_stays_outside(tokens, header, code):
    error = refusal(tokens.find, header, 401)
    assert (error.status, error.error["code"]) == (401, code)
