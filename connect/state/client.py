"""How we reach Redis: over TCP, TLS or a socket, at a fixed address or wherever Sentinel says that the primary is.

A server that cannot be reached for a moment is asked again: a command waits up to about two seconds, then fails; whoever sent it (a job, a
worker) comes back later. A server that takes a command and says nothing counts as gone after `ANSWER_S`: its machine may be switched off.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from connect.config import RedisSettings
from connect.errors import ConfigError

ANSWER_S: Final = 15.0
REACH_S: Final = 5.0
SENTINEL_S: Final = 1.0  # the next Sentinel is asked after so long
_AGAIN_ON: Final = (RedisConnectionError, RedisTimeoutError, OSError)  # a refused connection comes as an OSError


class _Tls:
    """One context for all connections; `name`: whose certificate it must be, if not that of the host we asked for."""

    def __init__(self, settings: RedisSettings) -> None:
        self.name = settings.tls_server_name
        try:
            self.context = ssl.create_default_context(cafile=settings.tls_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"[redis] tls_ca_file {settings.tls_ca_file} cannot be used ({_words(error)}); expected certificates in PEM form",
                code="redis-tls",
            ) from None
        if settings.tls_cert_file is not None:
            try:
                self.context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"[redis] tls_cert_file {settings.tls_cert_file} with tls_key_file {settings.tls_key_file} cannot be used "
                    f"({_words(error)}); expected a certificate and its key without a password, in PEM form",
                    code="redis-tls",
                ) from None


class _Heard:
    """Sends without asyncio's wait_for, by which redis-py bounds it: on Python 3.11 that lets a cancellation pass unheard which comes just
    when the words are out, and a worker that was told to stop, or whose lease is lost, would go on.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        this: Any = self
        if not this.is_connected:
            await this.connect()
        elif check_health:
            await this.check_health()
        bound_s, this.socket_timeout = this.socket_timeout, None
        try:
            async with asyncio.timeout(bound_s):
                await super().send_packed_command(command, check_health=False)  # type: ignore[misc]  # the connection's
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            this.socket_timeout = bound_s


class _Ssl(_Heard, SSLConnection):  # type: ignore[misc]
    """For a URL that says itself how TLS is meant."""


class _Tcp(_Heard, Connection):  # type: ignore[misc]
    """A connection that may speak TLS, with our context and a look at the server's name."""

    def __init__(self, *, tls: _Tls | None = None, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def _connection_arguments(self) -> Mapping[str, Any]:
        asked: Mapping[str, Any] = super()._connection_arguments()
        return asked if self._tls is None else {**asked, "ssl": self._tls.context, "server_hostname": self._tls.name or self.host}

    async def _connect(self) -> None:
        try:
            await super()._connect()
        except ssl.SSLError as error:  # an OSError, but nothing that passes by itself: it is said at once
            raise RedisError(f"TLS with {self.host} failed: {_words(error)}") from error
        # A new connection is in health: redis-py 5.3 would send a PING before its first words and, if that fails, connect within itself.
        self.next_health_check = asyncio.get_running_loop().time() + self.health_check_interval


class _Following(_Tcp, SentinelManagedConnection):  # type: ignore[misc]
    """A connection to the primary of the moment. One look at Sentinel and one at the primary for each time the pool asks: it is the
    command that is tried again, not each step of it, or a primary that is gone would be waited for over and over.
    """

    async def connect(self) -> None:
        again = self.__dict__["retry"]
        self.retry = Retry(ExponentialBackoff(), 0)
        try:
            await self._connect_retry()
        finally:
            self.retry = again


class _FollowingPool(SentinelConnectionPool):  # type: ignore[misc]
    """Connections to the primary, and to the Sentinels; closing one closes the other."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await asyncio.gather(*(one.connection_pool.disconnect() for one in self.sentinel_manager.sentinels))

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """As the pool does, again for a while: in a failover Sentinel still names the old primary, or none."""
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), 5, supported_errors=_AGAIN_ON)
        return await retry.call_with_retry(lambda: super(_FollowingPool, self).get_connection(*args, **options), _nothing)


async def _nothing(_: Exception) -> None:
    return None


def pool_of(settings: RedisSettings) -> ConnectionPool:
    """Connections to the server that the settings name. Nothing connects yet.

    Raises:
        ConfigError: the URL is none (REDIS_URL is not looked at before), or a certificate cannot be read.
    """
    options: dict[str, Any] = {
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 5),
        "retry_on_error": list(_AGAIN_ON),
        "health_check_interval": 30,
    }
    over_network = {"socket_keepalive": True, "socket_timeout": ANSWER_S, "socket_connect_timeout": REACH_S}
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.sentinels:
        return _following(settings, options | over_network)
    try:
        found = parse_url(settings.url or "")
    except ValueError as error:
        raise ConfigError(
            f"the Redis URL is not one ({error}); expected redis://host:6379/0 in REDIS_URL or as [redis] url", code="redis-url"
        ) from None
    if "path" not in found:
        options |= over_network | {"connection_class": _Tcp}
    options |= found
    if found.get("connection_class") is SSLConnection and not any(name.startswith("ssl_") for name in found):
        options |= {"connection_class": _Tcp, "tls": _Tls(settings)}
    elif found.get("connection_class") is SSLConnection:
        options["connection_class"] = _Ssl
    return ConnectionPool(**options)


def _following(settings: RedisSettings, options: dict[str, Any]) -> ConnectionPool:
    """A pool that asks Sentinel where the primary is, each time it opens a connection."""
    tls = {"tls": _Tls(settings)} if settings.tls or settings.sentinel_tls else {}
    asked: dict[str, Any] = {"socket_timeout": SENTINEL_S, "socket_connect_timeout": SENTINEL_S}
    if settings.sentinel_username is not None:
        asked["username"] = settings.sentinel_username
    if settings.sentinel_password is not None:
        asked["password"] = settings.sentinel_password.get_secret_value()
    if settings.sentinel_tls if settings.sentinel_tls is not None else settings.tls:
        asked |= {**tls}
    sentinels = Sentinel([])
    for address in settings.sentinels:
        host, _, port = address.rpartition(":")
        sentinels.sentinels.append(Redis(connection_pool=ConnectionPool(_Tcp, host=host.strip("[]"), port=int(port), **asked)))
    return _FollowingPool(
        settings.sentinel_master,
        sentinels,
        db=settings.db,
        connection_class=_Following,
        **(tls if settings.tls else {}),
        **options,
    )


def _words(error: OSError) -> str:
    return error.strerror or str(error)
