"""Getting a token from Sage. Source: sage-rest.md b; the guide, lookup Credentials."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import orjson

from connect.errors import Auth, ConnectError, Transient
from connect.http import WEB_PAGE, Http, check_address, hide_in, is_page, retry
from connect.sage.envelope import error_from, fault_of

DEFAULT_LIFE_S = 3600.0  # when Sage says nothing and the token tells nothing


@dataclass(frozen=True)
class SageAccess:
    """Where a Sage company is and who we are there. `username` is user@company."""

    token_url: str
    base_url: str
    query_url: str
    rest_version: str
    client_id: str
    client_secret: str
    username: str

    @property
    def company(self) -> str:
        """The Sage company, whose slots are shared."""
        return self.username.partition("@")[2].partition("|")[0]

    def __repr__(self) -> str:
        return f"SageAccess({self.username} as {self.client_id})"


async def request_token(http: Http, access: SageAccess, *, clock: Callable[[], float] = time.time) -> tuple[str, float]:
    """Ask for a token (client_credentials, form encoded). Returns (token, life in seconds).

    Raises Auth when the credentials are refused or a web page answers, naming what to check; Transient when Sage cannot be reached.
    """
    form = urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": access.client_id,
            "client_secret": access.client_secret,
            "username": access.username,
        }
    ).encode()

    async def once() -> tuple[str, float]:
        reply = await http.exchange(
            "POST",
            access.token_url,
            system="sage",
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            data=form,
            timeout_s=30,
            max_bytes=1_000_000,
        )
        if reply.status in (400, 401, 403, 404, 405):
            fault = fault_of(reply.body)
            words = f"{fault.message} ({fault.code})" if fault else f"HTTP {reply.status}"
            look = (
                "Check SageTokenUrl"
                if reply.status in (404, 405)
                else "Check SageClientId, SageClientSecret and SageUserName, and in Sage: Company > Setup > Security, Authorized client "
                "applications, and the Web Services subscription"
            )
            raise Auth(
                f"Sage refuses the credentials of {access.username}: {words}. {look}",
                system="sage",
                code=fault.code if fault else str(reply.status),
                status=reply.status,
            )
        error = error_from(reply)
        if error is not None:
            raise error
        if is_page(reply):
            words = f"{access.token_url} answers with a web page, not with a token: check SageTokenUrl"
            raise Transient(words, system="sage", code=WEB_PAGE, status=reply.status)
        token, life_s = _read(reply.body, clock())
        return token, max(life_s - reply.duration_ms / 1000, life_s / 2)  # it began to live before it was here

    try:
        return await retry(once)
    except ConnectError as error:  # an answer that repeats the request would carry the secret into logs and status
        hide_in(error, (access.client_secret,))
        check_address(error)
        raise


def _read(body: bytes, now: float) -> tuple[str, float]:
    try:
        facts = orjson.loads(body)
        token = facts["access_token"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _no_token(body) from error
    if not isinstance(token, str) or not token:
        raise _no_token(body)
    try:
        life_s = float(facts["expires_in"])
    except (KeyError, TypeError, ValueError):
        life_s = 0.0
    return token, life_s if 0 < life_s < math.inf else _life_by_itself(token, now)


def _no_token(body: bytes) -> Transient:
    """A proxy's page, or a reply cut off: the next one may be right. What came is not shown: it may hold most of a token."""
    return Transient(
        f"Sage's token endpoint answered something that is no token ({len(body)} bytes); check SageTokenUrl", system="sage", code="no_token"
    )


def _life_by_itself(token: str, now: float) -> float:
    """What the token says of its own end (JWT `exp`); sage-rest.md b: obey `expires_in`, fall back to this."""
    parts = token.split(".")
    if len(parts) == 3:
        try:
            claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
            left_s = float(claims["exp"]) - now
            return max(left_s, 1.0) if math.isfinite(left_s) else DEFAULT_LIFE_S
        except (binascii.Error, ValueError, KeyError, TypeError):
            return DEFAULT_LIFE_S
    return DEFAULT_LIFE_S
