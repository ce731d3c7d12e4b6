"""Sage's OAuth side: who gets a token, for how long, and what is answered to a bad one. Source: sage-rest.md b.

Tokens look like JWTs and are not signed; what counts is the list of them kept here.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from connect.sandbox.kernel import Clock
from connect.sandbox.sage.errors import SageError

GRANTS: Final = ("client_credentials", "refresh_token")


@dataclass(slots=True)
class Grant:
    """One access token, given to `user` for the whole company or for the entity with this key."""

    user: str
    entity: int | None
    expires_at_s: float  # of the clock's monotonic seconds


class Tokens:
    """The token endpoint and the tokens in force.

    `entity_of(id)` is an entity's key or None, `is_user(name)` says whether the company lets this user in.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        client_id: str,
        client_secret: str,
        company: str,
        ttl_s: float,
        entity_of: Callable[[str], int | None],
        is_user: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._client_id, self._client_secret, self._company = client_id, client_secret, company
        self._ttl_s = ttl_s
        self._entity_of, self._is_user = entity_of, is_user
        self._grants: dict[str, Grant] = {}
        self._refresh: dict[str, tuple[str, int | None]] = {}

    def find(self, authorization: str, expired_status: int) -> Grant:
        """The grant of an Authorization header. Raises SageError: GW-0034, GW-0031, REST-2102."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise gateway(401, "GW-0034", "Authorization header is missing or has no Bearer token")
        grant = self._grants.get(token.strip())
        if grant is None:
            raise gateway(401, "GW-0031", "Invalid Token")
        if grant.expires_at_s <= self._clock.monotonic():
            if expired_status == 400:
                raise SageError(400, "invalidRequest", "The token is not valid", error_id="REST-2102", message_id="IA.TOKEN_IS_INVALID")
            raise _token_invalid(expired_status)
        return grant

    def expire(self) -> None:
        """Every access token in force is an expired one from now on."""
        now = self._clock.monotonic()
        for grant in self._grants.values():
            grant.expires_at_s = min(grant.expires_at_s, now)

    def issue(self, raw: bytes, content_type: str) -> dict[str, Any]:
        """Answer a request to the token endpoint. Raises SageError."""
        given = _fields(raw, content_type)
        grant_type = given.get("grant_type", "")
        if grant_type not in GRANTS:
            raise gateway(400, "GW-0032", f"Invalid grant type {grant_type!r}" if grant_type else "Grant type is missing")
        self._check_client(given)
        if grant_type == "refresh_token":
            found = self._refresh.pop(given.get("refresh_token", ""), None)
            if found is None:
                raise _token_invalid(401)
            return self._give(*found)
        return self._give(*self._who(given.get("username", "")))

    def revoke(self, raw: bytes, content_type: str) -> None:
        """Ends every token of the user that the token given belongs to (and not only that one)."""
        given = _fields(raw, content_type)
        self._check_client(given)
        token = given.get("token", "")
        grant, refresh = self._grants.get(token), self._refresh.get(token)
        user = grant.user if grant is not None else refresh[0] if refresh is not None else None
        if user is None:
            raise _token_invalid(401)
        self._grants = {name: other for name, other in self._grants.items() if other.user != user}
        self._refresh = {name: other for name, other in self._refresh.items() if other[0] != user}

    def _check_client(self, given: dict[str, str]) -> None:
        if not given.get("client_id"):
            raise gateway(400, "GW-0037", "client_id is missing")
        known = given["client_id"] == self._client_id
        if not known or not secrets.compare_digest(given.get("client_secret", "").encode(), self._client_secret.encode()):
            raise gateway(401, "GW-0011", "Invalid client")

    def _who(self, username: str) -> tuple[str, int | None]:
        """user@company or user@company|entity."""
        if not username:
            raise gateway(400, "GW-0036", "Username is empty")
        user, _, tenant = username.rpartition("@")
        company, _, entity = tenant.partition("|")
        if not user or not company:
            raise gateway(400, "GW-0012", "Tenant is missing in username")
        if company != self._company:
            raise gateway(401, "GW-0011", "Invalid tenant")
        key = self._entity_of(entity) if entity else None
        if not self._is_user(user) or (entity and key is None):
            raise _invalid_grant(username)
        return user, key

    def _give(self, user: str, entity: int | None) -> dict[str, Any]:
        access, refresh = self._jwt(user), secrets.token_urlsafe(40)
        now = self._clock.monotonic()
        self._grants = {name: grant for name, grant in self._grants.items() if grant.expires_at_s > now - 86_400}
        self._grants[access] = Grant(user, entity, now + self._ttl_s)
        self._refresh[refresh] = (user, entity)
        whole = int(self._ttl_s)
        return {
            "token_type": "Bearer",
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": whole if whole == self._ttl_s else self._ttl_s,
        }

    def _jwt(self, user: str) -> str:
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": "sandbox",
            "sub": f"{user}@{self._company}",
            "client_id": self._client_id,
            "cny": self._company,
            "iat": now,
            "exp": now + int(self._ttl_s),
            "jti": secrets.token_hex(16),
        }
        parts = [orjson.dumps({"alg": "RS256", "typ": "JWT"}), orjson.dumps(claims), secrets.token_bytes(256)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _fields(raw: bytes, content_type: str) -> dict[str, str]:
    """The fields of a body, form-encoded or JSON; each at most once."""
    if not raw.strip():
        raise gateway(400, "GW-0035", "Request body is empty")
    try:
        if content_type == "application/json":
            whole = orjson.loads(raw)
            pairs = [(str(name), "" if value is None else str(value)) for name, value in whole.items()]
        else:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=True)
    except (ValueError, AttributeError) as error:
        raise gateway(400, "GW-0032", "Request payload is invalid") from error
    given = dict(pairs)
    if len(given) != len(pairs):
        raise gateway(400, "GW-0038", "Duplicate parameters in the request")
    return given


def gateway(status: int, code: str, message: str) -> SageError:
    """A refusal by the gateway, before Sage itself saw the request."""
    return SageError(status, code, message, envelope="gateway")


def _token_invalid(status: int) -> SageError:
    return SageError(status, "tokenInvalid", "Token is not valid", error_id="REST-2102", message_id="IA.TOKEN_IS_INVALID", envelope="token")


def _invalid_grant(username: str) -> SageError:
    return SageError(
        400,
        "invalid_grant",
        f"{username} is not authorized for this client: check Company > Setup > Security and the Web Services subscription",
        envelope="token",
    )
