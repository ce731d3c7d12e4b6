"""What Sage says to a write that it did not do, as one of our errors: refused for good, not done, or nobody knows.

    2xx                                     done
    401, 400 with a token text              not done: Auth, and sent again with a new token
    429, 503 with a time to wait            not done: RateLimited
    409, any failure that Sage only repeats the idempotency key is of no use any more: Permanent "burnt"
    "Another record with the value …"       one may be there already: Permanent "duplicate"
    other refusals in Sage's own words      Permanent, `code` from errorId or messageId, else a word for what the text is about
    408, 5xx, no words of Sage's            it may have been done: OutcomeUnknown

Source: sage-rest.md e (codes, texts that integrators have seen, idempotency).
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, RateLimited
from connect.http import Reply
from connect.sage.envelope import error_from, error_in

DUPLICATE: Final = "duplicate"
BURNT: Final = "burnt"
CACHED: Final = "x-ia-idempotency-cached-date"
_GENERIC: Final = re.compile(r"REST-\d+")  # only says that a request failed
_DUPLICATE: Final = re.compile(r"another record with the value", re.IGNORECASE)
_TEXTS: Final = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        ("period_closed", r"period.*\bclosed|closed.*\bperiod|date must be on or after"),
        ("folder", r"invalid folder"),
        ("vendor", r"\bvendor '[^']*' is |activate the vendor"),
        ("account", r"\baccount \S+ (is not valid|does not allow)"),
        ("dimension", r"missing the .+ dimension|invalid .+ selected|\blocation '[^']*' is not valid"),
        ("currency", r"\bcurrency \S+ is not valid|no exchange rate"),
    )
)


def was_replayed(reply: Reply) -> bool:
    """Whether this is the answer to an earlier request with the same idempotency key."""
    return any(name.lower() == CACHED for name in reply.headers)


def refusal(reply: Reply) -> ConnectError | None:
    """The error that the answer to a write stands for; None when it was done."""
    error = error_from(reply, safe=False)
    if error is None or isinstance(error, Auth | RateLimited):
        return error
    said = error_in(reply.body)
    if said is None and reply.status < 500 and b'"ia::status"' in reply.body:
        return None  # a batch or a composite: its parts tell
    if reply.status >= 500 or reply.status == 408 or (said is None and reply.status != 413):
        return OutcomeUnknown(
            f"{error.message}; whether the write happened is not known",
            system="sage",
            code=error.code,
            status=reply.status,
            request_id=error.request_id,
            detail=error.detail,
        )
    code = code_of(said) if said is not None else ""
    if was_replayed(reply) or (reply.status == 409 and code != DUPLICATE):
        code = BURNT
    return Permanent(
        error.message, system="sage", code=code or error.code, status=reply.status, request_id=error.request_id, detail=error.detail
    )


def part_refusal(part: dict[str, Any], *, replayed: bool) -> ConnectError | None:
    """The same, of one part of a composite's answer."""
    if "ia::error" not in part:
        return None
    headers = {CACHED: ""} if replayed else {}
    return refusal(Reply(int(part.get("ia::status") or 422), headers, orjson.dumps({"ia::error": part["ia::error"]}), 0.0))


def code_of(error: dict[str, Any]) -> str:
    """A short name for a refusal: its errorId, else what its text is about, else its messageId or class."""
    details = error.get("details")
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    rows = rows or [error]
    if any(_DUPLICATE.search(str(row.get("message"))) for row in rows):
        return DUPLICATE
    return next((code for row in [*rows, error] if (code := _row_code(row))), "refused")


def _row_code(row: dict[str, Any]) -> str:
    error_id = str(row.get("errorId") or "")
    if error_id and not _GENERIC.fullmatch(error_id):
        return error_id
    message = str(row.get("message") or "")
    about = next((code for code, pattern in _TEXTS if pattern.search(message)), "")
    info = row.get("additionalInfo")
    message_id = str(info.get("messageId") or "") if isinstance(info, dict) else ""
    return about or message_id or error_id or str(row.get("code") or "")
