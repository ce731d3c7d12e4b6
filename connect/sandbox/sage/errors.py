"""Sage's error envelopes. Source: sage-rest.md b and e, sage-recorded.

objects and services   {"ia::result": {"ia::error": {…}}, "ia::meta": {…}}
the gateway            {"ia::error": {"code": "GW-…", "details": {"requestId": …}}}
the token layer        {"error": {…}}
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

Envelope = Literal["result", "gateway", "token"]


class SageError(Exception):
    """A refusal. `details` are what helps a person; the outer message only says which request failed."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        error_id: str | None = None,
        message_id: str | None = None,
        placeholders: dict[str, str] | None = None,
        details: list[dict[str, Any]] | None = None,
        envelope: Envelope = "result",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.envelope = envelope
        self.error: dict[str, Any] = {"code": code, "message": message}
        if envelope == "gateway":
            self.error["details"] = {"requestId": secrets.token_hex(12)}
            return
        if error_id is not None:
            self.error["errorId"] = error_id
        if message_id is not None:
            self.error["additionalInfo"] = _info(message_id, placeholders)
        self.error["supportId"] = secrets.token_urlsafe(27)
        if details:
            self.error["details"] = details

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        if self.envelope == "token":
            return {"error": self.error}
        meta = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
        if self.envelope == "gateway":
            return {"ia::error": self.error, "ia::meta": meta}
        return {"ia::result": {"ia::error": self.error}, "ia::meta": meta}


def _info(message_id: str, placeholders: dict[str, str] | None) -> dict[str, Any]:
    return {"messageId": message_id, "placeholders": placeholders or {}, "propertySet": {}}


def detail(
    message: str,
    *,
    code: str = "invalidRequest",
    error_id: str | None = None,
    target: str | None = None,
    message_id: str | None = None,
    placeholders: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One row of `details`."""
    row: dict[str, Any] = {"code": code, "message": message}
    if error_id is not None:
        row["errorId"] = error_id
    if target is not None:
        row["target"] = target
    if message_id is not None:
        row["additionalInfo"] = _info(message_id, placeholders)
    return row


def not_a_field(path: str) -> dict[str, Any]:
    """REST-1043, about `/path`."""
    return detail(
        f"{path} is not a valid field",
        error_id="REST-1043",
        target=path,
        message_id="IA.NOT_A_VALID_FIELD",
        placeholders={"FIELD": path},
    )


def invalid(details: list[dict[str, Any]] | dict[str, Any] | str) -> SageError:
    """400 REST-1064: the payload contains errors."""
    if isinstance(details, str):
        details = detail(details)
    rows = [details] if isinstance(details, dict) else details
    return SageError(
        400,
        "invalidRequest",
        "Payload contains errors",
        error_id="REST-1064",
        message_id="IA.PAYLOAD_CONTAINS_ERRORS",
        details=rows,
    )


def refused(status: int, method: str, resource: str, details: list[dict[str, Any]]) -> SageError:
    """REST-7001: the request was understood and failed for a business reason."""
    return SageError(
        status,
        "operationFailed",
        f"{method} request on {resource} object was unsuccessful",
        error_id="REST-7001",
        message_id="IA.REQUEST_ON_OBJECT_FAILED",
        placeholders={"OPERATION": method, "RESOURCE_NAME": resource},
        details=details,
    )


def not_found(what: str) -> SageError:
    return SageError(404, "notFound", f"{what} could not be found", message_id="IA.NOT_FOUND", placeholders={"RESOURCE": what})


def no_permission(operation: str, resource: str) -> SageError:
    return SageError(
        403,
        "permissionDenied",
        f"You do not have permission for {operation} operation on {resource}",
        message_id="IA.PERMISSION_DENIED",
        placeholders={"OPERATION": operation, "RESOURCE_NAME": resource},
    )
