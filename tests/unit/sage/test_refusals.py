"""Sage's words to a write that it did not do, and what they mean for it."""

from __future__ import annotations

import orjson
import pytest

from connect.errors import Auth, OutcomeUnknown, Permanent, RateLimited
from connect.http import Reply
from connect.sage.refusals import part_refusal, refusal, was_replayed

CONFLICT = {"code": "invalidRequest", "message": "used", "additionalInfo": {"messageId": "IA.IDEMPOTENCY_KEY_CONFLICT"}}


def failed(*details, **more):
    """As Sage wraps a business failure."""
    return {"code": "operationFailed", "errorId": "REST-7001", "message": "POST request was unsuccessful", "details": list(details), **more}


def reply(status, error=None, **headers):
    body = b"<html>Bad Gateway</html>" if error is None else orjson.dumps({"ia::result": {"ia::error": error}, "ia::meta": {}})
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1.0)


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ({"code": "informationMissing", "errorId": "SL-0417", "message": "Select a payment date"}, "SL-0417"),
        ({"code": "BL01001973", "message": "The amount received is greater than the amount to apply."}, "BL01001973"),
        ({"code": "unableToCreateRecordError", "message": "Another record with the value B-1 already exists"}, "duplicate"),
        ({"errorId": "BL34000061", "message": "Another record with the value 'B-1' already exists"}, "duplicate"),
        ({"code": "x", "message": "The accounting period of 2026-01-31 is closed."}, "period_closed"),
        ({"code": "x", "message": "Date must be on or after 2026-02-01"}, "period_closed"),
        ({"code": "x", "message": "The vendor 'V1' is invalid."}, "vendor"),
        ({"code": "x", "message": "The vendor 'V1' is on hold."}, "vendor"),
        ({"code": "x", "message": "Activate the vendor V1, then try again."}, "vendor"),
        ({"code": "x", "message": "Account 6900 is not valid"}, "account"),
        ({"code": "x", "message": "Account 2000 does not allow direct posting"}, "account"),
        ({"code": "x", "message": "This transaction is missing the Department dimension for the Account 6100"}, "dimension"),
        ({"code": "x", "message": "Invalid Department D7 selected"}, "dimension"),
        ({"code": "x", "message": "Location 'L9' is not valid"}, "dimension"),
        ({"code": "x", "message": "Invalid Folder Receipts selected"}, "folder"),
        ({"code": "x", "message": "Transaction currency SEK is not valid"}, "currency"),
        ({"code": "x", "message": "No idea", "additionalInfo": {"messageId": "IA.NO_IDEA"}}, "IA.NO_IDEA"),
        ({"code": "odd", "message": "No idea"}, "odd"),
    ],
)
def test_a_refusal_is_named_after_its_error_id_or_its_text_and_keeps_sages_words(detail, code):
    error = refusal(reply(422, failed(detail)))
    assert isinstance(error, Permanent)
    assert (error.code, error.message, error.status) == (code, f"Sage: {detail['message']}", 422)


def test_a_duplicate_among_other_reasons_is_a_duplicate_and_all_reasons_are_said():
    error = refusal(reply(422, failed({"message": "The vendor 'V1' is invalid."}, {"message": "Another record with the value B-1"})))
    assert (error.code, error.message) == ("duplicate", "Sage: The vendor 'V1' is invalid.; Another record with the value B-1")


def test_a_refusal_without_details_says_what_it_can():
    assert refusal(reply(400, {"code": "invalidRequest", "errorId": "REST-1028", "message": "needs a payload"})).code == "REST-1028"
    assert refusal(reply(422, failed())).code == "REST-7001"
    assert refusal(reply(422, {"message": "?"})).code == "refused"


def test_a_409_burns_the_key_unless_it_says_duplicate():
    assert refusal(reply(409, CONFLICT)).code == "burnt"
    assert refusal(reply(409, failed({"message": "Another record with the value B-1"}))).code == "duplicate"


def test_a_failure_that_is_only_repeated_burns_the_key():
    again = reply(422, failed({"message": "The vendor 'V1' is invalid."}), X_IA_Idempotency_Cached_Date="2026-11-25T12:00:00Z")
    assert (was_replayed(again), refusal(again).code) == (True, "burnt")
    assert "The vendor 'V1' is invalid." in refusal(again).message


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
@pytest.mark.parametrize("error", [None, failed({"message": "?"})])
def test_what_failed_on_sages_side_may_have_been_done(status, error):
    assert isinstance(refusal(reply(status, error)), OutcomeUnknown)


@pytest.mark.parametrize("status", [302, 400, 404, 422])
def test_what_is_not_in_sages_words_is_not_taken_for_a_refusal(status):
    assert isinstance(refusal(reply(status)), OutcomeUnknown)


def test_a_proxy_that_takes_no_such_body_refuses_it():
    assert isinstance(refusal(reply(413)), Permanent)


@pytest.mark.parametrize("status", [429, 503])
def test_told_to_wait_nothing_was_done(status):
    error = refusal(reply(status, Retry_After="7"))
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


@pytest.mark.parametrize(("status", "message"), [(401, "no"), (403, "no"), (400, "The token is not valid")])
def test_who_is_not_let_in_did_nothing(status, message):
    assert isinstance(refusal(reply(status, {"code": "x", "message": message})), Auth)


def test_a_yes_is_no_refusal():
    assert refusal(Reply(201, {}, b'{"ia::result":{"key":"7"}}', 1.0)) is None
    assert refusal(Reply(204, {}, b"", 1.0)) is None


@pytest.mark.parametrize("status", [200, 207, 422])
def test_the_parts_of_a_composite_speak_for_themselves(status):
    parts = {"ia::result": [{"ia::error": failed(), "ia::status": 422}, {"ia::error": {"code": "unprocessed"}, "ia::status": 422}]}
    assert refusal(Reply(status, {}, orjson.dumps(parts), 1.0)) is None


def test_a_part_is_refused_as_a_whole_answer_is():
    assert part_refusal({"ia::result": {"key": "7"}, "ia::status": 201}, replayed=False) is None
    vendor = {"ia::error": failed({"message": "The vendor 'V1' is invalid."}), "ia::status": 422}
    assert part_refusal(vendor, replayed=False).code == "vendor"
    assert part_refusal(vendor, replayed=True).code == "burnt"
    assert isinstance(part_refusal(vendor | {"ia::status": 500}, replayed=False), OutcomeUnknown)
