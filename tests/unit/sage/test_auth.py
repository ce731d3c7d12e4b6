"""Getting a token: what is sent, how long it lives, and who must look when it is refused."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs

import orjson
import pytest

from connect.errors import Auth, ConnectError, Permanent, RateLimited, Transient
from connect.http import Reply
from connect.sage import auth
from connect.sage.auth import DEFAULT_LIFE_S, SageAccess, request_token

NOW = 1_000_000.0
ACCESS = SageAccess(
    token_url="https://sage.example.com/ia/api/v1/oauth2/token",
    base_url="https://sage.example.com/ia/api",
    query_url="https://sage.example.com/ia/api/v1/services/core/query",
    rest_version="v1",
    client_id="app & co",
    client_secret="s/e+c=ret",
    username="user@acme|E100",
)


class FakeHttp:
    """Answers in turn; the last answer again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def exchange(self, method, url, **options):
        self.asked.append((method, url, options))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ConnectError):
            raise answer
        return answer


def reply(body, status=200, duration_ms=0.0, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, names, body if isinstance(body, bytes) else orjson.dumps(body), duration_ms)


def token(**facts):
    return {"token_type": "Bearer", "access_token": "T", **facts}


def jwt(claims):
    middle = base64.urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip("=")
    return f"h.{middle}.s"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    async def retry(action, **_):
        for _ in range(2):
            try:
                return await action()
            except Transient:
                continue
        return await action()

    monkeypatch.setattr(auth, "retry", retry)


async def ask(*answers):
    http = FakeHttp(*answers)
    return await request_token(http, ACCESS, clock=lambda: NOW), http


async def test_credentials_go_as_a_form_with_every_character_as_it_is():
    _, http = await ask(reply(token(expires_in=3600)))
    ((method, url, options),) = http.asked
    assert (method, url) == ("POST", ACCESS.token_url)
    assert options["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert {name: value[0] for name, value in parse_qs(options["data"].decode()).items()} == {
        "grant_type": "client_credentials",
        "client_id": "app & co",
        "client_secret": "s/e+c=ret",
        "username": "user@acme|E100",
    }


@pytest.mark.parametrize(
    ("body", "life_s"),
    [
        (token(expires_in=43_200), 43_200),
        (token(expires_in="7200"), 7200),
        (token(expires_in=2), 2),
        (token(), DEFAULT_LIFE_S),
        (token(expires_in=None), DEFAULT_LIFE_S),
        (token(expires_in="soon"), DEFAULT_LIFE_S),
        (token(expires_in=0), DEFAULT_LIFE_S),
        (token(expires_in=-5), DEFAULT_LIFE_S),
        (token(expires_in="nan"), DEFAULT_LIFE_S),
        (token(expires_in="inf"), DEFAULT_LIFE_S),
        (token(access_token=jwt({"exp": NOW + 900})), 900),
        (token(access_token=jwt({"exp": NOW - 900})), 1),
        (token(access_token=jwt({"exp": "never"})), DEFAULT_LIFE_S),
        (token(access_token=jwt({"exp": "inf"})), DEFAULT_LIFE_S),
        (token(access_token=jwt([])), DEFAULT_LIFE_S),
        (token(access_token="a.ö.c"), DEFAULT_LIFE_S),
        (token(access_token=jwt({"exp": NOW + 900}), expires_in=60), 60),
    ],
)
async def test_how_long_a_token_lives(body, life_s):
    (_, found), _ = await ask(reply(body))
    assert found == life_s


@pytest.mark.parametrize(("duration_ms", "life_s"), [(250, 1.75), (1800, 1.0)])
async def test_a_token_began_to_live_before_it_was_here(duration_ms, life_s):
    (_, found), _ = await ask(reply(token(expires_in=2), duration_ms=duration_ms))
    assert found == life_s


@pytest.mark.parametrize("status", [400, 401, 422, 500])
async def test_an_answer_that_repeats_the_request_does_not_carry_the_secret_on(status):
    echo = {"error": "invalid_client", "error_description": "got client_secret=s%2Fe%2Bc%3Dret, that is s/e+c=ret"}
    with pytest.raises(ConnectError) as caught:
        await request_token(FakeHttp(reply(echo, status)), ACCESS, clock=lambda: NOW)
    shown = f"{caught.value} {caught.value.message} {caught.value.detail}"
    assert "got client_secret" in shown
    assert "s/e+c=ret" not in shown
    assert "s%2Fe%2Bc%3Dret" not in shown


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "invalid_grant", "error_description": "not authorised"}, "not authorised (invalid_grant)"),
        ({"error": {"code": "x", "errorId": "REST-2102", "message": "Token is not valid"}}, "Token is not valid (REST-2102)"),
        ({"ia::error": {"code": "GW-0011", "message": "Invalid client", "details": {"requestId": "R"}}}, "Invalid client (GW-0011)"),
        (b"<html>no</html>", "HTTP 40"),
    ],
)
async def test_refused_credentials_say_once_what_to_check(status, body, words):
    http = FakeHttp(reply(body, status))
    with pytest.raises(Auth) as caught:
        await request_token(http, ACCESS, clock=lambda: NOW)
    message = caught.value.message
    assert all(word in message for word in (words, "user@acme", "SageClientId", "SageClientSecret", "SageUserName", "Setup > Security"))
    assert ACCESS.client_secret not in message
    assert len(http.asked) == 1


@pytest.mark.parametrize("status", [404, 405])
async def test_a_wrong_address_says_so(status):
    with pytest.raises(Auth, match="Check SageTokenUrl"):
        await ask(reply(b"<html>", status))


async def test_a_redirect_is_a_wrong_address_too():
    with pytest.raises(Permanent, match="check the address"):
        await ask(reply(b"", 302))


@pytest.mark.parametrize("body", [b"", b'{"access_to', b"[]", b"null", b"{}", b'{"access_token":""}', b'{"access_token":5}', b"\xff\xfe"])
async def test_an_answer_that_is_no_token_is_asked_for_again_and_never_shown(body):
    (text, _), http = await ask(reply(body), reply(token(expires_in=60)))
    assert (text, len(http.asked)) == ("T", 2)
    with pytest.raises(Transient, match="no token") as caught:
        await ask(reply(body))
    assert body.decode(errors="replace") not in caught.value.message or not body


async def test_a_web_page_again_and_again_is_a_wrong_address_and_one_alone_is_a_proxys():
    page = reply(b" <!DOCTYPE html><title>Welcome</title>")
    (text, _), http = await ask(page, reply(token(expires_in=60)))
    assert (text, len(http.asked)) == ("T", 2)
    with pytest.raises(Auth, match=r"web page.*check SageTokenUrl"):
        await ask(page)


@pytest.mark.parametrize("trouble", [reply(b"", 500), reply(b"", 503), Transient("reset")])
async def test_trouble_is_tried_again(trouble):
    (text, _), http = await ask(trouble, reply(token(expires_in=60)))
    assert (text, len(http.asked)) == ("T", 2)


async def test_a_throttled_token_request_says_for_how_long():
    with pytest.raises(RateLimited) as caught:
        await ask(reply(b"", 429, Retry_After="9"))
    assert caught.value.retry_after_s == 9


def test_access_names_the_company_and_hides_the_secret():
    assert ACCESS.company == "acme"
    assert ACCESS.client_secret not in repr(ACCESS)
