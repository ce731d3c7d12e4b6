"""Idempotency keys: the first answer to a key, good or bad, is given again for 48 hours. Source: sage-rest.md e."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connect.sandbox.kernel import Clock
from connect.sandbox.sage.errors import SageError

HEADER: Final = "idempotency-key"
CACHED: Final = "x-ia-idempotency-cached-date"
LONGEST: Final = 256
KEPT_S: Final = 48 * 3600
RESERVED_S: Final = 60 * 86_400


@dataclass(slots=True)
class Answer:
    """What a request got. `body` None: no content. `cached_at`: it is the answer to an earlier request."""

    status: int
    body: dict[str, object] | None
    cached_at: str | None = None


@dataclass(slots=True)
class _Kept:
    request: bytes
    begun_s: float
    answer: Answer | None = None  # None: still running
    answered_at: str = ""


class Keys:
    """The keys that one company has used."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def begin(self, key: str, request: bytes) -> Answer | None:
        """The kept answer, or None when the request is new and may run now. Raises SageError (400, 409)."""
        if len(key) > LONGEST:
            raise SageError(400, "invalidRequest", f"An idempotency key has at most {LONGEST} characters")
        now_s = self._clock.monotonic()
        kept = self._kept.get(key)
        if kept is None or now_s - kept.begun_s >= RESERVED_S:
            self._kept[key] = _Kept(request, now_s)
            return None
        if kept.request != request:
            raise _conflict("The idempotency key was used with another request")
        if kept.answer is None:
            raise _conflict("A request with this idempotency key is still running")
        if now_s - kept.begun_s >= KEPT_S:
            raise _conflict("The idempotency key is reserved, and its answer is no longer kept")
        return Answer(kept.answer.status, kept.answer.body, kept.answered_at)

    def finish(self, key: str, answer: Answer) -> None:
        """The answer to give again from now on."""
        kept = self._kept[key]
        kept.answer = answer
        kept.answered_at = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def forget(self, key: str) -> None:
        """The request came to no answer."""
        self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()


def _conflict(message: str) -> SageError:
    return SageError(409, "invalidRequest", message, message_id="IA.IDEMPOTENCY_KEY_CONFLICT")
