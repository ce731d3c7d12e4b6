"""Sage's answers: three envelopes of errors, and results. Source: sage-rest.md a, b, e.

{"ia::result": {"ia::error": {…}}, "ia::meta": {…}}     objects and services
{"ia::error": {…}, "ia::meta": {…}}                     the gateway
{"error": {…}}                                          the token layer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from connect.errors import Auth, ConnectError
from connect.http import Reply, error_of

TOKEN_TEXTS: Final = (b"invalid token", b"token is not valid")  # what comes on 400, as JSON or as plain text (sage-rest.md b)
_LOOKED_AT: Final = 2000


@dataclass(frozen=True)
class Fault:
    """An error as Sage put it. `message` holds the details' messages joined: those are what helps a person."""

    code: str
    message: str
    request_id: str
    outer: str

    @property
    def is_token(self) -> bool:
        """Does one of the codes mean "get a new token"?"""
        return any(code.startswith("GW-003") or code == "REST-2102" for code in (self.code, self.outer))


def fault_of(body: bytes) -> Fault | None:
    """The error in a body, in whichever envelope; None when there is none."""
    error = error_in(body)
    if error is None:
        return None
    details = error.get("details")
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    messages = [str(row.get("message")) for row in rows if row.get("message")] or [str(error.get("message") or "")]
    codes = [str(row.get("errorId") or row.get("code") or "") for row in rows]
    outer = str(error.get("errorId") or error.get("code") or "")
    request_id = error.get("supportId") or (details.get("requestId") if isinstance(details, dict) else "") or ""
    return Fault(next((code for code in codes if code), outer), "; ".join(messages), str(request_id), outer)


def error_in(body: bytes) -> dict[str, Any] | None:
    """The error in a body as Sage put it."""
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(whole, dict):
        return None
    result = whole.get("ia::result")
    for place in (result, whole):
        if isinstance(place, dict) and isinstance(place.get("ia::error"), dict):
            found: dict[str, Any] = place["ia::error"]
            return found
    error = whole.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):  # OAuth's own form
        return {"code": error, "message": whole.get("error_description") or error}
    return None


def error_from(reply: Reply, *, safe: bool = True) -> ConnectError | None:
    """The error that a reply stands for, or None for a good one."""
    fault = fault_of(reply.body) if reply.status >= 300 or b'"ia::error"' in reply.body[:300] else None
    if reply.status < 300 and fault is None:
        return None
    words = f"Sage: {fault.message}" if fault and fault.message else f"Sage answered {reply.status}"
    code = fault.code if fault else ""
    request_id = fault.request_id if fault else ""
    if reply.status == 403:
        words = f"Sage does not let this user do that ({words}); check the role of the web service user"
    if 300 <= reply.status < 400:
        words = f"Sage sends us elsewhere ({reply.status}), which we do not follow; check the address"
    if reply.status < 403 and _is_token(reply, fault):
        return Auth(
            words, system="sage", code=code or "token", status=reply.status, request_id=request_id, detail=fault.message if fault else ""
        )
    return error_of(reply, system="sage", safe=safe, message=words, code=code, request_id=request_id)


def _is_token(reply: Reply, fault: Fault | None) -> bool:
    if fault is not None and fault.is_token:
        return True
    shown = reply.body[:_LOOKED_AT].lower()
    return any(text in shown for text in TOKEN_TEXTS)


def result_of(reply: Reply) -> Any:
    """The `ia::result` of a good reply; some Sage examples have no envelope at all."""
    whole = orjson.loads(reply.body)
    return whole["ia::result"] if isinstance(whole, dict) and "ia::result" in whole else whole
