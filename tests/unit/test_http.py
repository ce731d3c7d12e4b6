"""One exchange: what goes wrong on the wire becomes the right one of our errors, and nothing larger than the limit comes in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.http import MAX_REPLY_BYTES, Http, Reply, error_of, retry, retry_after_s

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
URL = "https://sage.example.com/v1/query?token=secret"


class Answer:
    """What aiohttp's session gives for a request, without a socket."""

    def __init__(self, body=b"{}", status=200, headers=None, length=True, error=None):
        self.body, self.status, self.error = body, status, error
        self.headers = headers or {}
        self.content_length = len(body) if length is True else length
        self.content = self
        self.pieces_read = 0

    async def __aenter__(self):
        if self.error is not None:
            raise self.error
        return self

    async def __aexit__(self, *_):
        return False

    async def read(self):
        return self.body

    async def iter_any(self):
        for start in range(0, len(self.body), 1000):
            self.pieces_read += 1
            yield self.body[start : start + 1000]


class Session:
    def __init__(self, answer):
        self.answer = answer
        self.asked = {}

    def request(self, method, url, **options):
        self.asked = {"method": method, "url": url, **options}
        return self.answer


async def exchange(answer, **options):
    return await Http(Session(answer)).exchange("POST", URL, system="sage", **options)


async def test_a_reply_of_any_status_comes_back_whole():
    reply = await exchange(Answer(b"<html>", 502, {"X": "y"}))
    assert (reply.status, reply.body, reply.headers["X"]) == (502, b"<html>", "y")


async def test_a_reply_that_repeats_our_token_comes_back_without_it():
    answer = Answer(b'{"message":"cannot process Authorization: Bearer abc.def-123, sorry"}', status=500)
    reply = await exchange(answer, headers={"Authorization": "Bearer abc.def-123"})
    assert reply.body == b'{"message":"cannot process Authorization: Bearer ***, sorry"}'
    assert (await exchange(Answer(b"abc"), headers={"Authorization": ""})).body == b"abc"


async def test_redirects_are_not_followed_and_the_time_out_is_for_all_of_it():
    session = Session(Answer())
    await Http(session).exchange("GET", URL, system="sage", timeout_s=7)
    assert (session.asked["allow_redirects"], session.asked["timeout"].total) == (False, 7)


@pytest.mark.parametrize("length", [True, None])
async def test_a_reply_over_the_limit_is_refused_whether_its_length_was_said_or_not(length):
    answer = Answer(bytes(50_000), length=length)
    with pytest.raises(Poison, match="more than 10,000 bytes") as caught:
        await exchange(answer, max_bytes=10_000)
    assert caught.value.code == "too_big"
    assert answer.pieces_read <= 11


async def test_a_packed_reply_is_measured_unpacked():
    with pytest.raises(Poison, match="more than"):
        await exchange(Answer(bytes(50_000), length=60, headers={"Content-Encoding": "gzip"}), max_bytes=10_000)


async def test_a_reply_of_ten_megabytes_is_within_the_limit():
    assert MAX_REPLY_BYTES >= 10_000_000
    assert len((await exchange(Answer(bytes(10_000_000), length=None))).body) == 10_000_000


def connector_error():
    return aiohttp.ClientConnectorError(aiohttp.client_reqrep.ConnectionKey("h", 1, True, True, None, None, None), OSError("refused"))


@pytest.mark.parametrize(
    ("error", "safe", "expected", "code"),
    [
        (connector_error(), True, Transient, "unreachable"),
        (connector_error(), False, Transient, "unreachable"),  # nothing can have happened
        (TimeoutError(), True, Transient, "timeout"),
        (TimeoutError(), False, OutcomeUnknown, "timeout"),
        (aiohttp.ServerTimeoutError(), False, OutcomeUnknown, "timeout"),
        (aiohttp.ServerDisconnectedError(), True, Transient, "connection"),
        (aiohttp.ServerDisconnectedError(), False, OutcomeUnknown, "connection"),
        (aiohttp.ClientPayloadError("cut off"), True, Transient, "connection"),
        (aiohttp.ClientPayloadError("cut off"), False, OutcomeUnknown, "connection"),
        (ConnectionResetError(), False, OutcomeUnknown, "connection"),
        (aiohttp.InvalidURL("nonsense"), True, Permanent, "bad_request"),
        (aiohttp.NonHttpUrlClientError("ftp://x"), True, Permanent, "bad_request"),
        (ValueError("a newline in a header"), True, Permanent, "bad_request"),
    ],
)
async def test_trouble_on_the_wire(error, safe, expected, code):
    with pytest.raises(ConnectError) as caught:
        await exchange(Answer(error=error), safe=safe)
    assert type(caught.value) is expected
    assert (caught.value.code, caught.value.system) == (code, "sage")
    assert caught.value.__cause__ is error
    assert "secret" not in caught.value.message


async def test_cancelling_is_no_trouble_on_the_wire():
    with pytest.raises(asyncio.CancelledError):
        await exchange(Answer(error=asyncio.CancelledError()))


@pytest.mark.parametrize(
    ("status", "headers", "safe", "expected"),
    [
        (301, {}, True, Permanent),
        (400, {}, True, Permanent),
        (401, {}, True, Auth),
        (403, {}, True, Auth),
        (404, {}, True, Permanent),
        (408, {}, True, Transient),
        (409, {}, True, Permanent),
        (422, {}, True, Permanent),
        (429, {}, True, RateLimited),
        (500, {}, True, Transient),
        (502, {}, True, Transient),
        (504, {}, True, Transient),
        (500, {}, False, OutcomeUnknown),
        (504, {}, False, OutcomeUnknown),
        (503, {}, True, Transient),
        (503, {}, False, Transient),
        (503, {"Retry-After": "3"}, False, RateLimited),
    ],
)
def test_what_a_status_stands_for(status, headers, safe, expected):
    error = error_of(Reply(status, headers, b"words", 1.0), system="sage", safe=safe)
    assert type(error) is expected
    assert (error.status, error.detail, error.code) == (status, "words", str(status))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"RetryAfter": "2"}, 2),
        ({"X-IA-Throttle-Retry-After": "4"}, 4),
        ({"X-IA-TENANT-Throttle-RetryAfter": "9", "Retry-After": "3"}, 9),
        ({"X-IA-Minute-Rate-Limit-Retry-After": "0"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "Wed, 25 Nov 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "Wed, 25 Nov 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf", "RetryAfter": "3"}, 3),
        ({"X-IA-Throttle-Limit": "6", "X-IA-Throttle-Remaining": "0"}, None),
    ],
)
def test_how_long_to_wait_in_every_spelling(headers, expected):
    assert retry_after_s(headers, now=lambda: NOON) == expected


@given(st.text())
def test_no_header_breaks_the_reading(text):
    wait_s = retry_after_s({"Retry-After": text}, now=lambda: NOON)
    assert wait_s is None or wait_s >= 0


def failing(*errors):
    """An action that fails with each of the errors, then works; and the waits between."""
    waits: list[float] = []
    left = list(errors)

    async def action():
        if left:
            raise left.pop(0)
        return "done"

    async def sleep(seconds):
        waits.append(seconds)

    return action, sleep, waits


async def test_transient_errors_are_tried_again_with_growing_jitter():
    longest = [0.0] * 4
    for _ in range(200):
        action, sleep, waits = failing(*[Transient("x") for _ in range(4)])
        assert await retry(action, sleep=sleep) == "done"
        longest = [max(pair) for pair in zip(longest, waits, strict=True)]
    assert longest == sorted(longest)
    assert all(0.8 * most < long <= most for long, most in zip(longest, (0.5, 1, 2, 4), strict=True))


async def test_the_fifth_failure_is_the_last():
    errors = [Transient(str(n)) for n in range(9)]
    action, sleep, waits = failing(*errors)
    with pytest.raises(Transient, match="4"):
        await retry(action, sleep=sleep)
    assert len(waits) == 4


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), Permanent("x"), Poison("x"), Auth("x"), RateLimited("x", retry_after_s=61)])
async def test_what_a_repetition_does_not_help_or_may_not_touch_is_raised_at_once(error):
    action, sleep, waits = failing(error)
    with pytest.raises(type(error)):
        await retry(action, sleep=sleep)
    assert waits == []


async def test_the_wait_that_was_asked_for_is_kept():
    action, sleep, waits = failing(RateLimited("x", retry_after_s=7), RateLimited("x", retry_after_s=60))
    assert await retry(action, sleep=sleep) == "done"
    assert 7 <= waits[0] <= 7.2
    assert 60 <= waits[1] <= 60.2
