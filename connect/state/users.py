"""Who may use the console, the JSON API and, once there is anybody, the acting commands: users, their sessions and their tokens.

    connect:console:users                    hash     name -> facts (JSON; the password as an argon2id PHC string)
    connect:console:session:{hash}           string   facts (JSON) of one login; ends by itself
    connect:console:tokens                   hash     token id -> facts (JSON)
    connect:console:tokens:used              hash     token id -> when it was used last
    connect:console:tries:{what}:{hash}      zset     logins that failed lately, by name and by address

Of sessions and tokens only hashes are kept: who reads Redis or a backup cannot log in with what is there. Acts upon users go into an
audit trail of their own (`Audit(redis, CONSOLE)`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

import orjson
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from redis.asyncio import Redis
from redis.exceptions import WatchError

from connect.errors import ConfigError, ConnectError, Transient

Role = Literal["viewer", "operator", "approver", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
GRANTS: Final[Mapping[Role, frozenset[Role]]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "approver": frozenset({"viewer", "approver"}),
    "admin": frozenset(ROLES),
}
"""What each role may do: operator edits, replays, discards, pauses and runs; approver looks and approves payments; admin all, and users."""
CONSOLE: Final = "console"
IDLE: Final = timedelta(hours=2)
ABSOLUTE: Final = timedelta(hours=12)
WINDOW: Final = timedelta(minutes=15)
TRIES_PER_NAME: Final = 5
TRIES_PER_ADDRESS: Final = 20
PASSWORD_LEAST, PASSWORD_MOST = 12, 1024  # characters
SEEN_EVERY: Final = timedelta(minutes=1)
LABEL_MOST: Final = 80
TRIES: Final = 50
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_TOKEN: Final = re.compile(r"connect_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY: Final = "$argon2id$v=19$m=19456,t=2,p=1$YWFhYWFhYWFhYWFhYWFhYQ$xN5tYz1F7hWkUNtDyhZjwQ7hVnbdQh1OEDf9ZHuPeDo"
"""Checked for a name that does not exist, so that it takes as long as one that does."""


class LoginRefused(ConnectError):
    """Not let in. `retry_after_s`: how long the name or address stays locked out; 0 when it may try again at once."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message, code="login")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class User:
    """A person or a program. `connections`: state ids of those that it is limited to; empty: all.

    `uid` tells a user from a later one of the same name; `version` changes with the password, which ends all sessions.
    """

    name: str
    uid: str
    role: Role
    connections: tuple[str, ...] = ()
    version: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    created_at: str = ""

    def may(self, role: Role) -> bool:
        """Whether it may do what this role is needed for."""
        return role in GRANTS[self.role]

    def sees(self, sid: str) -> bool:
        """Whether a connection is among those it is limited to."""
        return not self.connections or sid in self.connections


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is kept: what the user holds is shown once, when it is made."""

    id: str
    user: str
    uid: str
    label: str
    created_at: str
    expires_at: str = ""
    used_at: str = ""
    hash: str = field(default="", repr=False)


class Users:
    """Users, sessions and tokens. `idle`, `absolute`: how long a session lasts without use, and at most."""

    def __init__(
        self,
        redis: Redis,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        idle: timedelta = IDLE,
        absolute: timedelta = ABSOLUTE,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._idle = idle
        self._absolute = absolute
        self._prefix = f"connect:{CONSOLE}:"
        self._hashing = asyncio.Semaphore(2)  # each takes 19 MiB: a flood of logins must not take the machine's memory

    # -- users ---------------------------------------------------------------------------------------------------------

    async def any(self) -> bool:
        return bool(await self._redis.hlen(self._prefix + "users"))

    async def all(self) -> list[User]:
        """Everybody, by name."""
        raw = await self._redis.hgetall(self._prefix + "users")
        return sorted((_user(value) for value in raw.values()), key=lambda user: user.name)

    async def get(self, name: str) -> User | None:
        raw = await self._redis.hget(self._prefix + "users", name.casefold().encode(errors="replace"))
        return None if raw is None else _user(raw)

    async def add(self, name: str, password: str | None, role: Role, connections: Sequence[str] = ()) -> User:
        """A new user. `password` None: lets in nobody by password (a proxy does, or a token). Raises ConfigError."""
        name = checked_name(name)
        user = User(
            name=name,
            uid=secrets.token_hex(8),
            role=role,
            connections=tuple(connections),
            version=secrets.token_hex(8),
            password="" if password is None else await self._hashed(name, password),
            created_at=self._clock().isoformat(),
        )
        if not await self._redis.hsetnx(self._prefix + "users", name, _dump(user)):
            raise ConfigError(f"there is a user {name} already; `connect console set-password {name}` gives another password", code="user")
        return user

    async def set_password(self, name: str, password: str) -> User:
        """Give another password: ends all sessions of the user, and the lock-out. Tokens stay. Raises ConfigError."""
        hashed = await self._hashed(name, password)

        def change(user: User, _all: Sequence[User]) -> User:
            return replace(user, password=hashed, version=secrets.token_hex(8))

        user = await self._changed(name, change)
        await self._redis.delete(self._tries("name", user.name))
        return user

    async def change(self, name: str, *, role: Role, connections: Sequence[str] = ()) -> User:
        """Give another role or other connections: counts from the next request on. Raises ConfigError for the last admin."""

        def change(user: User, everybody: Sequence[User]) -> User:
            if role != "admin" or connections:
                _another_admin(user, everybody)
            return replace(user, role=role, connections=tuple(connections))

        return await self._changed(name, change)

    async def remove(self, name: str) -> User:
        """Remove a user with its sessions and tokens. Raises ConfigError for the last admin while there are others."""

        def change(user: User, everybody: Sequence[User]) -> None:
            if len(everybody) > 1:
                _another_admin(user, everybody)

        user = await self._changed(name, change)
        for token in await self.tokens(user.name):
            await self.revoke(token.id)
        return user

    async def verify(self, user: User, password: str) -> bool:
        """Whether this is the user's password; takes as long when there is none."""
        async with self._hashing:
            return await asyncio.to_thread(_fits, user.password, password)

    async def _changed(self, name: str, change: Callable[[User, Sequence[User]], User | None]) -> User:
        """Change or (None) remove one, with all others as they are at that moment. Returns it as it is, or was, then."""
        key = self._prefix + "users"
        for _ in range(TRIES):
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(key)
                everybody = [_user(value) for value in (await pipe.hgetall(key)).values()]
                user = next((one for one in everybody if one.name == name.casefold()), None)
                if user is None:
                    raise ConfigError(f"there is no user {name!r}; `connect console list-users` shows them", code="unknown-user")
                after = change(user, everybody)
                pipe.multi()
                if after is None:
                    pipe.hdel(key, user.name)
                else:
                    pipe.hset(key, user.name, _dump(after))
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return after or user
        raise Transient("users are being changed by too many at once; try again", system="redis", code="user")

    async def _hashed(self, name: str, password: str) -> str:
        _check_password(name, password)
        async with self._hashing:
            return await asyncio.to_thread(_phc, password)

    # -- sessions ------------------------------------------------------------------------------------------------------

    async def login(self, name: str, password: str, address: str) -> tuple[str, User]:
        """(the session's secret, the user). Raises LoginRefused, in the same words whether the name or the password is wrong."""
        claims = [await self._claim("name", name, TRIES_PER_NAME), await self._claim("address", address, TRIES_PER_ADDRESS)]
        locked_s = max(left_s for _, _, left_s in claims)
        if locked_s:
            await self._give_back(claims)
            minutes = max(1, math.ceil(locked_s / 60))
            raise LoginRefused(
                f"too many failed logins; try again in {minutes} minute{'s' if minutes > 1 else ''}, or ask an administrator for another "
                "password",
                retry_after_s=locked_s,
            )
        user = await self.get(name)
        is_right = await self.verify(user or User(name="", uid="", role="viewer"), password)
        if user is None or not is_right:
            raise LoginRefused("the name or the password is wrong")
        await self._redis.delete(self._tries("name", name))
        await self._give_back(claims)
        return await self.begin(user), user

    async def begin(self, user: User) -> str:
        """A session of somebody whom we know by other means than a password. Returns its secret, 256 bits."""
        secret = secrets.token_urlsafe(32)
        now = self._clock().isoformat()
        facts = {"user": user.name, "uid": user.uid, "version": user.version, "created_at": now, "seen_at": now}
        await self._redis.set(self._session(secret), orjson.dumps(facts), ex=int(self._idle.total_seconds()))
        return secret

    async def session(self, secret: str, *, is_use: bool = True) -> User | None:
        """Whose session it is; None when it has ended: logged out, unused, too old, another password, another or no user.

        `is_use`: whether somebody does something, so that it lasts longer.
        """
        key = self._session(secret)
        raw = await self._redis.get(key)
        if raw is None:
            return None
        facts = orjson.loads(raw)
        now = self._clock()
        idle, age = (now - datetime.fromisoformat(facts[name]) for name in ("seen_at", "created_at"))
        user = await self.get(facts["user"])
        if user is None or (user.uid, user.version) != (facts["uid"], facts["version"]) or idle >= self._idle or age >= self._absolute:
            await self._redis.delete(key)
            return None
        if is_use and idle >= min(SEEN_EVERY, self._idle / 4):
            left = min(self._idle, self._absolute - age)
            seen = orjson.dumps(facts | {"seen_at": now.isoformat()})
            await self._redis.set(key, seen, ex=max(1, int(left.total_seconds())), xx=True)  # not when it was logged out meanwhile
        return user

    async def logout(self, secret: str) -> None:
        await self._redis.delete(self._session(secret))

    def _session(self, secret: str) -> str:
        return f"{self._prefix}session:{_sha256(secret)}"

    # -- failed logins -------------------------------------------------------------------------------------------------

    def _tries(self, what: str, who: str) -> str:
        return f"{self._prefix}tries:{what}:{_sha256(who.casefold())[:32]}"

    async def _claim(self, what: str, who: str, most: int) -> tuple[str, str, float]:
        """Count a login before it is looked at, so that many at once are no way round: (key, member, how long it is locked out, s)."""
        key, member, now = self._tries(what, who), secrets.token_hex(8), self._clock().timestamp()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(key, "-inf", now - WINDOW.total_seconds())
            pipe.zadd(key, {member: now})
            pipe.zcard(key)
            pipe.zrange(key, 0, 0, withscores=True)
            pipe.expire(key, int(WINDOW.total_seconds()))
            _, _, count, first, _ = await pipe.execute()
        return key, member, max(1.0, first[0][1] + WINDOW.total_seconds() - now) if count > most else 0.0

    async def _give_back(self, claims: Sequence[tuple[str, str, float]]) -> None:
        """A login that was right, or was not looked at, is no failed one: who is locked out does not prolong it."""
        for key, member, _ in claims:
            await self._redis.zrem(key, member)

    # -- tokens --------------------------------------------------------------------------------------------------------

    async def create_token(self, name: str, label: str, *, lasts: timedelta | None = None) -> tuple[str, Token]:
        """(the token's text, which is shown this once, what is kept of it). Raises ConfigError."""
        user = await self.get(name)
        if user is None:
            raise ConfigError(f"there is no user {name!r}; `connect console list-users` shows them", code="unknown-user")
        label = " ".join(label.split())
        if not label or len(label) > LABEL_MOST or not label.isprintable():
            raise ConfigError(f"say what the token is for, in 1 to {LABEL_MOST} characters, such as 'nightly script'", code="label")
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        now = self._clock()
        token = Token(
            id=token_id,
            user=user.name,
            uid=user.uid,
            label=label,
            created_at=now.isoformat(),
            expires_at="" if lasts is None else (now + lasts).isoformat(),
            hash=_sha256(secret),
        )
        await self._redis.hset(self._prefix + "tokens", token_id, orjson.dumps(asdict(token)))
        return f"connect_{token_id}_{secret}", token

    async def tokens(self, name: str | None = None) -> list[Token]:
        """Those of a user, or all; the oldest first."""
        raw = await self._redis.hgetall(self._prefix + "tokens")
        used = await self._redis.hgetall(self._prefix + "tokens:used")
        found = [Token(**orjson.loads(value) | {"used_at": used.get(token_id, b"").decode()}) for token_id, value in raw.items()]
        return sorted((one for one in found if name is None or one.user == name.casefold()), key=lambda one: one.created_at)

    async def revoke(self, token_id: str) -> bool:
        """Returns whether there was such a token."""
        await self._redis.hdel(self._prefix + "tokens:used", token_id)
        return bool(await self._redis.hdel(self._prefix + "tokens", token_id))

    async def by_token(self, text: str) -> User | None:
        """Whose token it is; None when it is none, was revoked or has run out, or its user is gone."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        raw = await self._redis.hget(self._prefix + "tokens", match[1])
        token = Token(**orjson.loads(raw)) if raw is not None else None
        is_right = hmac.compare_digest(_sha256(match[2]), token.hash if token is not None else "0" * 64)
        if token is None or not is_right or (token.expires_at and datetime.fromisoformat(token.expires_at) <= self._clock()):
            return None
        user = await self.get(token.user)
        if user is None or user.uid != token.uid:
            return None
        await self._redis.hset(self._prefix + "tokens:used", token.id, self._clock().isoformat(timespec="seconds"))
        return user


def checked_name(name: str) -> str:
    """A user's name as it is kept, in small letters. Raises ConfigError."""
    found = name.strip().casefold()
    if not _NAME.fullmatch(found):
        raise ConfigError(
            f"{name!r} is no user name; expected 1 to 64 letters a-z, digits and . _ @ + -, such as ann or ann@example.com", code="user"
        )
    return found


def csrf_of(secret: str) -> str:
    """The token that a form of this session carries; it does not tell the session."""
    return hmac.new(secret.encode(errors="replace"), b"connect csrf", hashlib.sha256).hexdigest()


def _another_admin(user: User, everybody: Sequence[User]) -> None:
    """Somebody must be left who can administer users."""
    others = [one for one in everybody if one.name != user.name and one.role == "admin" and not one.connections]
    if user.role == "admin" and not user.connections and not others:
        raise ConfigError(f"{user.name} is the last admin of all connections: make another one first", code="last-admin")


def _check_password(name: str, password: str) -> None:
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise ConfigError(f"the password has {len(password)} characters; {PASSWORD_LEAST} to {PASSWORD_MOST} are possible", code="password")
    if password.casefold().strip() == name.casefold().strip() or len(set(password)) < 4:
        raise ConfigError("the password is too easy to guess: not the name, and not a few letters over and over", code="password")


def _phc(password: str) -> str:
    return Argon2id(salt=secrets.token_bytes(16), length=32, iterations=2, lanes=1, memory_cost=19_456).derive_phc_encoded(
        _bytes(password)
    )  # OWASP's least: 19 MiB and some 30 ms


def _fits(phc: str, password: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(_bytes(password)[: 4 * PASSWORD_MOST], phc or _NOBODY)
    except InvalidKey:
        return False
    return bool(phc)


def _bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _dump(user: User) -> bytes:
    return orjson.dumps(asdict(user))


def _user(raw: bytes) -> User:
    facts: dict[str, Any] = orjson.loads(raw)
    return User(**facts | {"connections": tuple(facts["connections"])})
