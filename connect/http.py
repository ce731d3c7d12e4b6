"""One exchange over HTTP: time-outs, size limit, and what went wrong as one of our errors. Only this module turns statuses and
aiohttp's errors into the tree of errors.py; a client refines what only it can read in a body.
"""

from __future__ import annotations

import asyncio
import io
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import aiohttp
import structlog
import tenacity

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
LARGE_BODY_BYTES: Final = 2**20
TRIES: Final = 5
WEB_PAGE: Final = "web_page"  # code of an error: a web page answered
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
HIDDEN: Final = "***"
_SHOWN: Final = 2000

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """What came back. `headers` compare without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_ms: float


class Http:
    """Exchanges over one aiohttp session (opened and closed by whoever made it)."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        system: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        timeout_s: float = 60.0,
        max_bytes: int = MAX_REPLY_BYTES,
        safe: bool = True,
        connect_s: float | None = None,
    ) -> Reply:
        """Send one request and read the whole reply, whatever its status.

        `safe`: repeating it changes nothing (reads, upserts). `connect_s`: nothing is sent when there is no connection by then.
        Raises Transient when nothing can have happened or it is safe, OutcomeUnknown when a write may have happened, Poison when the
        reply is larger than `max_bytes`.
        """
        started = time.monotonic()
        body_out = io.BytesIO(data) if data is not None and len(data) > LARGE_BODY_BYTES else data  # in pieces: others have their turn
        try:
            async with self._session.request(
                method,
                url,
                data=body_out,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=connect_s),
                allow_redirects=False,
            ) as answer:
                body = _without_token(await _read(answer, max_bytes, system), headers)
                return Reply(answer.status, answer.headers, body, (time.monotonic() - started) * 1000)
        except (aiohttp.NonHttpUrlClientError, ValueError, TypeError) as error:  # an address or a header that cannot be sent
            raise Permanent(f"{system}: cannot send to {_host(url)}: {error}", system=system, code="bad_request") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError, aiohttp.ConnectionTimeoutError) as error:
            raise Transient(f"{system} cannot be reached at {_host(url)}: {error}", system=system, code="unreachable") from error
        except TimeoutError as error:
            message = f"{system} did not answer within {timeout_s:g} s"
            raise _lost(message, safe, system, "timeout") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            message = f"{system} broke the connection off: {type(error).__name__}"
            raise _lost(message, safe, system, "connection") from error


async def _read(answer: aiohttp.ClientResponse, max_bytes: int, system: str) -> bytes:
    if (answer.content_length or 0) > max_bytes:
        raise _too_big(system, max_bytes)
    if answer.content_length is not None and "Content-Encoding" not in answer.headers:
        return await answer.read()  # the length was said and fits; of a packed reply it says nothing
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > max_bytes:
            raise _too_big(system, max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _without_token(body: bytes, headers: Mapping[str, str] | None) -> bytes:
    """An answer that repeats the request would carry our token into errors, dead letters and logs."""
    token = (headers or {}).get("Authorization", "").rpartition(" ")[2].encode()
    return body.replace(token, HIDDEN.encode()) if token and token in body else body


def _too_big(system: str, max_bytes: int) -> Poison:
    return Poison(f"{system} sent more than {max_bytes:,} bytes, which is refused", system=system, code="too_big")


def _lost(message: str, safe: bool, system: str, code: str) -> Transient:
    if safe:
        return Transient(message, system=system, code=code)
    return OutcomeUnknown(f"{message}; whether the write happened is not known", system=system, code=code)


def _host(url: str) -> str:
    return url.split("?", 1)[0]


def error_of(reply: Reply, *, system: str, safe: bool = True, message: str = "", code: str = "", request_id: str = "") -> ConnectError:
    """The error that a reply's status stands for. `message`, `code`, `request_id` as far as the client could read the body."""
    words = message or f"{system} answered {reply.status}"
    detail = reply.body[:_SHOWN].decode(errors="replace")
    status = reply.status
    facts: dict[str, Any] = {"system": system, "code": code or str(status), "status": status, "request_id": request_id, "detail": detail}
    if status == 429 or (status == 503 and retry_after_s(reply.headers) is not None):
        return RateLimited(words, retry_after_s=retry_after_s(reply.headers), **facts)
    if status in (401, 403):
        return Auth(words, **facts)
    if status == 408:
        return Transient(words, **facts)
    if status >= 500:
        return Transient(words, **facts) if safe or status == 503 else OutcomeUnknown(words, **facts)
    return Permanent(words, **facts)


def is_page(reply: Reply) -> bool:
    """Whether a web page has come where data were asked for: another server's, or a proxy's."""
    return reply.body.lstrip()[:1] == b"<"


def check_address(error: ConnectError) -> None:
    """Raise Auth when a web page came again and again in place of a token: the address is wrong, and jobs wait until that is mended."""
    if error.code == WEB_PAGE:
        raise Auth(error.message, system=error.system, code="wrong_url", status=error.status) from error


def retry_after_s(headers: Mapping[str, str], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """How long to wait, in seconds, from any spelling of the header: `Retry-After`, `RetryAfter`, Sage's `X-IA-…-Retry-After`;
    seconds or an HTTP date. The longest wins. None when there is none (sage-rest.md d).
    """
    waits: list[float] = []
    for name, value in headers.items():
        if not name.lower().replace("-", "").endswith("retryafter"):
            continue
        wait_s = _seconds(value.strip(), now())
        if wait_s is not None and math.isfinite(wait_s):
            waits.append(wait_s)
    return max(0.0, *waits) if waits else None


def _seconds(text: str, now: datetime) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
        return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):  # neither a number nor a date: as if it were not there
        return None


def _wait_s(state: tenacity.RetryCallState) -> float:
    """As long as the system says, else anything up to 0.5, 1, 2, 4 … seconds (full jitter), at most a minute."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, RateLimited) and error.retry_after_s is not None:
        return error.retry_after_s + 0.1 * random.random()
    return _full_jitter(state)


_full_jitter: Final = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def _is_worth_a_try(error: BaseException) -> bool:
    if isinstance(error, RateLimited):
        return (error.retry_after_s or 0.0) <= LONGEST_WAIT_S
    return isinstance(error, Transient) and not isinstance(error, OutcomeUnknown)


def _say(state: tenacity.RetryCallState) -> None:
    """One failure is nothing; from the second in a row on, whoever waits should see why."""
    if state.attempt_number > 1 and state.outcome is not None:
        log.warning(
            "a call is repeated", attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2), error=str(state.outcome.exception())
        )


async def retry(action: Callable[[], Awaitable[T]], *, tries: int = TRIES, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> T:
    """Do it until it works: Transient errors up to `tries` times.

    OutcomeUnknown is not repeated here: whoever wrote looks it up first. Nor is a wait of more than a minute sat out: the job comes
    back after it.
    """
    again = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(tries),
        retry=tenacity.retry_if_exception(_is_worth_a_try),
        wait=_wait_s,
        sleep=sleep,
        before_sleep=_say,
        reraise=True,
    )

    async def once() -> T:  # tenacity awaits only what is declared `async`: a lambda's coroutine would be handed back unrun
        return await action()

    return await again(once)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text without our secrets, however they are written there: plainly, in XML, in a form, in JSON."""
    for secret in secrets:
        if secret:
            for spelling in (secret, escape(secret), escape(secret, {'"': "&quot;"}), quote_plus(secret), secret.replace('"', '\\"')):
                text = text.replace(spelling, HIDDEN)
    return text


def hide_in(error: ConnectError, secrets: Iterable[str]) -> None:
    """Take our secrets out of an error's words: an answer that repeats the request would carry them into dead letters and logs."""
    kept = tuple(secrets)
    error.message, error.detail = hidden(error.message, kept), hidden(error.detail, kept)
    error.args = (error.message,)
