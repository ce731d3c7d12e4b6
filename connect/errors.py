"""What can go wrong, as a tree. The class says what the worker does; the rest are facts for a person.

    ConnectError
    ├── ConfigError        the set-up is wrong: exit 2, say file, key, value and what is expected
    ├── Transient          the same request may work later: retry with exponential back-off and full jitter
    │   ├── RateLimited    told to slow down: wait `retry_after_s`, hold that host; costs no attempt
    │   └── OutcomeUnknown a write may have happened: look it up, then decide
    ├── Auth               we are not let in: pause that connection, say it once; jobs wait, none is lost
    ├── Permanent          understood and refused: dead letter at once, with the system's own words
    └── Poison             we cannot process it: dead-letter that record; the page goes on

This module imports nothing of ours.
"""

from __future__ import annotations


class ConnectError(Exception):
    """Base of all. `message` is for a person and holds no secret and no bank detail.

    Attributes:
        system: "sage", "prime", "redis" or "" (ours).
        code: the system's own code (errorId, ResultCode, …) or a short word of ours; groups dead letters.
        status: HTTP status, or None.
        request_id: the system's support or request id, "" when it gave none.
        detail: the system's own words, untouched.
    """

    def __init__(
        self,
        message: str,
        *,
        system: str = "",
        code: str = "",
        status: int | None = None,
        request_id: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.system = system
        self.code = code
        self.status = status
        self.request_id = request_id
        self.detail = detail


class ConfigError(ConnectError):
    """The set-up is wrong; `message` names file, key, value, what is expected, and the nearest right name."""


class Transient(ConnectError):
    """The same request may work later (reset, 502-504)."""


class RateLimited(Transient):
    """Told to slow down (429). `retry_after_s` in seconds, as the system gave it, or None when it gave none."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        system: str = "",
        code: str = "",
        status: int | None = None,
        request_id: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message, system=system, code=code, status=status, request_id=request_id, detail=detail)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(Transient):
    """A write may have happened: the answer was lost after the request had left."""


class Auth(ConnectError):
    """We are not let in: credentials refused, token refused twice, 403."""


class Permanent(ConnectError):
    """Understood and refused; repeating the same bytes gives the same answer."""


class Poison(ConnectError):
    """We cannot process what we were given: it does not fit the model, or is no JSON/XML at all."""
