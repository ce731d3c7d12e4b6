"""Sage's three error envelopes, and everything that is none of them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, RateLimited, Transient
from connect.http import Reply
from connect.sage.envelope import error_from, fault_of, result_of


def reply(body, status=400, **headers):
    return Reply(status, headers, body if isinstance(body, bytes) else orjson.dumps(body), 1.0)


BUSINESS = {
    "ia::result": {
        "ia::error": {
            "code": "operationFailed",
            "message": "POST request was unsuccessful",
            "errorId": "REST-7001",
            "supportId": "S-1",
            "details": [
                {"errorId": "GL-0951", "code": "unableToCreateRecordError", "message": "Could not create."},
                {"errorId": "GL-1009", "code": "invalidConfiguration", "message": "Does not balance."},
            ],
        }
    },
    "ia::meta": {"totalCount": 1, "totalSuccess": 0, "totalError": 1},
}
GATEWAY = {"ia::error": {"code": "GW-0031", "message": "Invalid Token", "details": {"requestId": "R-9"}}}
TOKEN = {"error": {"code": "tokenInvalid", "message": "Token is not valid", "errorId": "REST-2102", "supportId": "S-2"}}


def test_a_business_error_shows_what_the_details_say_and_the_first_detailed_code():
    fault = fault_of(orjson.dumps(BUSINESS))
    assert (fault.code, fault.outer, fault.request_id) == ("GL-0951", "REST-7001", "S-1")
    assert fault.message == "Could not create.; Does not balance."
    error = error_from(reply(BUSINESS, 422))
    assert (type(error), error.code, error.status, error.request_id) == (Permanent, "GL-0951", 422, "S-1")
    assert error.message == "Sage: Could not create.; Does not balance."


def test_a_gateway_error_has_its_request_id_in_an_object_of_details():
    fault = fault_of(orjson.dumps(GATEWAY))
    assert (fault.code, fault.message, fault.request_id) == ("GW-0031", "Invalid Token", "R-9")


@pytest.mark.parametrize(
    "error",
    [
        {"code": "operationFailed", "message": "went wrong", "errorId": "REST-7001"},
        {"message": "went wrong", "errorId": "REST-7001", "details": None},
        {"message": "went wrong", "errorId": "REST-7001", "details": "text"},
        {"message": "went wrong", "errorId": "REST-7001", "details": ["text", None]},
        {"message": "went wrong", "errorId": "REST-7001", "details": []},
        {"message": "went wrong", "errorId": "REST-7001", "details": [{}]},
    ],
)
def test_details_may_be_missing_or_of_any_type(error):
    fault = fault_of(orjson.dumps({"ia::result": {"ia::error": error}}))
    assert (fault.code, fault.message, fault.request_id) == ("REST-7001", "went wrong", "")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {}),
        (401, TOKEN),
        (400, TOKEN),
        (401, GATEWAY),
        (400, GATEWAY),
        (200, {"ia::result": {"ia::error": {"code": "x", "errorId": "REST-2102", "message": "m"}}}),
        (400, {"ia::error": {"code": "badRequest", "message": "The token is not valid"}}),
        (400, {"ia::error": {"code": "badRequest", "message": "Invalid token", "details": [{"message": "something else"}]}}),
        (400, {"ia::error": {"errorId": "REST-2102", "message": "m", "details": [{"errorId": "X-1", "message": "n"}]}}),
        (400, b"Invalid token"),
        (401, b"<html>Unauthorized</html>"),
    ],
)
def test_every_way_in_which_sage_says_that_a_token_is_no_good(status, body):
    error = error_from(reply(body, status))
    assert isinstance(error, Auth)
    assert error.status != 403


def test_a_user_without_permission_is_not_a_matter_of_tokens():
    error = error_from(reply({"ia::error": {"code": "forbidden", "message": "No permission"}}, 403))
    assert isinstance(error, Auth)
    assert error.status == 403
    assert "role of the web service user" in error.message


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (429, {"X-IA-Throttle-Retry-After": "3"}, {"ia::error": {"code": "GW-0010", "message": "API rate limit exceeded"}}, RateLimited),
        (503, {"Retry-After": "3"}, b"busy", RateLimited),
        (503, {}, b"busy", Transient),
        (502, {}, b"<html>Bad gateway</html>", Transient),
        (500, {}, b"", Transient),
        (400, {}, {"ia::error": {"code": "invalidRequest", "errorId": "REST-1028", "message": "POST needs a payload"}}, Permanent),
        (404, {}, b"<html>404 Not Found</html>", Permanent),
        (302, {"Location": "https://login.example.com"}, b"", Permanent),
        (200, {}, {"ia::result": {"ia::error": {"code": "x", "message": "m"}}}, Permanent),
    ],
)
def test_other_errors_by_status(status, headers, body, expected):
    error = error_from(reply(body, status, **headers))
    assert type(error) is expected
    assert error.message.startswith("Sage")
    if expected is RateLimited:
        assert error.retry_after_s == 3


def test_a_write_whose_answer_is_a_server_error_may_have_happened():
    assert isinstance(error_from(reply(b"", 500), safe=False), OutcomeUnknown)


@pytest.mark.parametrize(
    "body",
    [
        b'{"ia::result":[{"key":"1","name":"says \\"ia::error\\" in its name"}],"ia::meta":{"totalCount":1}}',
        b"<html>fine</html>",
        b"",
        b"null",
    ],
)
def test_a_good_status_without_an_error_is_no_error(body):
    assert error_from(reply(body, 200)) is None


def test_a_page_whose_first_row_talks_of_errors_is_still_a_page():
    body = {"ia::result": [{"key": "1", "ia::error": "not an object"}], "ia::meta": {"totalCount": 1}}
    assert error_from(reply(body, 200)) is None


def test_results_come_with_and_without_an_envelope():
    assert result_of(reply({"ia::result": [1], "ia::meta": {}})) == [1]
    assert result_of(reply({"key": "5"})) == {"key": "5"}
    assert result_of(reply([1])) == [1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ia::result", "ia::error", "error", "details", "code", "message", "errorId", "supportId", "requestId"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([200, 302, 400, 401, 403, 422, 429, 500, 503]))
def test_whatever_json_comes_is_classified(body, status):
    error = error_from(reply(body, status))
    assert error is None or (isinstance(error, ConnectError) and isinstance(error.code, str) and isinstance(error.message, str))
    assert (error is None) <= (status < 300)


@given(st.binary(max_size=200), st.sampled_from([200, 400, 401, 500]))
def test_whatever_bytes_come_are_classified(body, status):
    error = error_from(reply(body, status))
    assert (error is None) == (status == 200)
