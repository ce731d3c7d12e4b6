"""Tokens: one per (client id, user) for all processes, encrypted; at most one request to Sage's identity server per expiry.

connect:token:{client id}:{user}           string   AES-GCM of {token, expires_at}, under a key derived from the client secret
connect:token:{client id}:{user}:lock      string   who is asking for a new one
connect:token:{client id}:{user}:refused   string   the refusal, for a minute, so that nobody storms the identity server
connect:token:{client id}:{user}:asked     hash     issued, refused -> how often
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from redis.asyncio import Redis
from redis.exceptions import RedisError

from connect.errors import Auth, Transient

LOCK_S: Final = 6.0  # renewed while its holder asks, so that a dead one keeps nobody waiting for long
ASK_S: Final = 60.0
WAIT_S: Final = ASK_S + 2 * LOCK_S
REFUSED_S: Final = 60
_REPLACE: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_RELOCK: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_UNLOCK: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True)
class Token:
    """An access token; `expires_at` in seconds since the epoch, `renew_at` a little earlier."""

    text: str
    expires_at: float
    renew_at: float

    @classmethod
    def issued(cls, text: str, life_s: float, now: float) -> Token:
        """Renewed at min(60 s, 10 % of its life) before the end."""
        return cls(text, now + life_s, now + life_s - min(60.0, 0.1 * life_s))


class TokenState(NamedTuple):
    """`state`: "valid", "none" or "refused"; `expires_at` in seconds since the epoch; `reason` in the identity server's words."""

    state: str
    expires_at: float | None
    reason: str


class Tokens:
    """The token of one client and user. `ask` requests a new one: () -> (token, life in seconds); it raises Auth when refused."""

    def __init__(
        self,
        redis: Redis,
        client_id: str,
        user: str,
        secret: str,
        ask: Callable[[], Awaitable[tuple[str, float]]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._key = f"connect:token:{client_id}:{user}"
        self._secret_mark = hashlib.sha256(f"mark\0{secret}".encode()).hexdigest()[:16]
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"connect token {client_id} {user}".encode()).derive(secret.encode())
        self._cipher = AESGCM(derived)
        self._ask = ask
        self._clock = clock
        self._held: Token | None = None
        self._one = asyncio.Lock()
        self._replace = redis.register_script(_REPLACE)
        self._relock = redis.register_script(_RELOCK)
        self._unlock = redis.register_script(_UNLOCK)

    @property
    def asked_key(self) -> str:
        """The hash that says how often a token was asked for, and what came of it."""
        return self._key + ":asked"

    async def get(self, rejected: str | None = None) -> str:
        """A token that lives. `rejected`: the one Sage has just refused; never that one again.

        Raises Auth when the credentials are refused (remembered for a minute), Transient when nobody could get one.
        """
        held = self._held
        if held is not None and held.text != rejected and self._clock() < held.renew_at:
            return held.text
        async with self._one:
            held = self._held
            if held is not None and held.text != rejected and self._clock() < held.renew_at:
                return held.text
            self._held = await self._shared(rejected)
            return self._held.text

    async def renew(self) -> float:
        """Ask for a new token now, also when the last answer was no, and let all have it. Its life in seconds. Raises Auth or Transient."""
        async with self._one:
            self._held = await self._renew(await self._redis.get(self._key) or b"")
            return self._held.expires_at - self._clock()

    async def _shared(self, rejected: str | None) -> Token:
        owner = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_S
        while loop.time() < until:
            stored = await self._redis.get(self._key)
            token = self._open(stored)
            if token is not None and token.text != rejected and self._clock() < token.renew_at:
                return token
            refusal = await self._refusal()
            if refusal is not None:
                raise Auth(refusal, system="sage", code="credentials")
            if await self._redis.set(self._key + ":lock", owner, nx=True, px=int(LOCK_S * 1000)):
                keeper = asyncio.create_task(self._hold(owner))
                try:
                    if await self._redis.get(self._key) == stored and await self._refusal() is None:
                        return await self._renew(stored or b"")
                finally:
                    keeper.cancel()
                    await self._unlock(keys=[self._key + ":lock"], args=[owner])
                continue  # somebody else was quicker
            await asyncio.sleep(0.03)
        raise Transient(
            "no token for Sage could be had: another process is asking for one and does not come back", system="sage", code="token"
        )

    async def _refusal(self) -> str | None:
        """Why these very credentials were refused a short while ago, if they were."""
        refused = await self._redis.get(self._key + ":refused")
        mark, _, message = refused.decode().partition(":") if refused else ("", "", "")
        return message if mark == self._secret_mark else None

    async def _hold(self, owner: str) -> None:
        """Keep the lock until cancelled."""
        while True:
            await asyncio.sleep(LOCK_S / 3)
            with suppress(RedisError):  # whoever takes the lock meanwhile finds the token replaced, or replaces it
                await self._relock(keys=[self._key + ":lock"], args=[owner, int(LOCK_S * 1000)])

    async def _renew(self, stored: bytes) -> Token:
        try:
            async with asyncio.timeout(ASK_S):
                text, life_s = await self._ask()
        except TimeoutError as error:
            raise Transient(f"Sage gave no token within {ASK_S:g} s", system="sage", code="token") from error
        except Auth as error:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._key + ":refused", f"{self._secret_mark}:{error.message}", ex=REFUSED_S)
                pipe.hincrby(self.asked_key, "refused", 1)
                await pipe.execute()
            raise
        token = Token.issued(text, life_s, self._clock())
        nonce = secrets.token_bytes(12)
        body = orjson.dumps({"token": token.text, "expires_at": token.expires_at, "renew_at": token.renew_at})
        sealed = nonce + self._cipher.encrypt(nonce, body, self._key.encode())
        await self._replace(keys=[self._key], args=[stored, sealed, max(1000, int(life_s * 1000))])
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key + ":refused")
            pipe.hincrby(self.asked_key, "issued", 1)
            await pipe.execute()
        return token

    def _open(self, sealed: bytes | None) -> Token | None:
        """The stored token; None when there is none, or it was sealed under another secret."""
        if not sealed:
            return None
        try:
            facts = orjson.loads(self._cipher.decrypt(sealed[:12], sealed[12:], self._key.encode()))
        except (InvalidTag, ValueError):
            return None
        return Token(facts["token"], facts["expires_at"], facts["renew_at"])

    @property
    def key(self) -> str:
        """Where the token lies; with ":refused" after it, the refusal."""
        return self._key

    def told(self, sealed: bytes | None, refused: bytes | None) -> TokenState:
        """What the values of these two keys say."""
        mark, _, message = refused.decode().partition(":") if refused else ("", "", "")
        if mark and mark == self._secret_mark:
            return TokenState("refused", None, message)
        token = self._open(sealed)
        return TokenState("none", None, "") if token is None else TokenState("valid", token.expires_at, "")

    async def state(self) -> str:
        """For `status`: "valid", "none" or "refused"."""
        if await self._refusal() is not None:
            return "refused"
        return "valid" if self._open(await self._redis.get(self._key)) is not None else "none"
