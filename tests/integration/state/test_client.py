"""The client on servers of every kind: a failover under Sentinel, TLS with names and client certificates, users with passwords."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from redis.asyncio import Redis
from redis_servers import MASTER, Watched, end, free_port, server, start, wait_for, watched

from connect.config import RedisSettings
from connect.errors import ConfigError
from connect.state import epoch
from connect.state.client import ANSWER_S, pool_of


@asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[Redis]:
    one = Redis.from_pool(pool_of(settings))
    try:
        yield one
    finally:
        await one.aclose()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("watched")) as found:
        yield found


def settings_of(group: Watched) -> RedisSettings:
    return RedisSettings(sentinels=tuple(f"127.0.0.1:{port}" for port in group.sentinels), sentinel_master=MASTER)


async def test_a_client_follows_a_failover_and_its_epoch_is_new(group: Watched) -> None:
    async with client(settings_of(group)) as one:
        await epoch.begin(one)
        assert await epoch.age_s(one) > 1e6
        assert await epoch.age_s(one) > 1e6, "the first look has noted the reign"
        await one.set("kept", "yes")
        assert await one.wait(1, 5000) == 1
        killed = group.kill_primary()
        began = time.monotonic()
        while True:
            try:
                await one.incr("count")
                break
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < began + 60
        assert await one.get("kept") == b"yes"
        assert (await one.info("server"))["tcp_port"] != killed
        age_s = await epoch.age_s(one)
        assert age_s == 0
        await asyncio.sleep(0.01)
        assert age_s < await epoch.age_s(one) < 60
        await asyncio.to_thread(group.restart, killed)


@pytest.mark.faults
async def test_a_primary_that_was_made_a_replica_is_left_at_the_first_write(group: Watched) -> None:
    async with client(settings_of(group)) as one:
        for _ in range(3):
            await asyncio.to_thread(group.wait_for_replica)
            await one.set("before", 1)
            assert await epoch.age_s(one) >= 0
            before = group.primary()
            with redis.Redis(port=group.sentinels[0]) as sentinel:
                sentinel.sentinel_failover(MASTER)
            await asyncio.to_thread(group.wait_for_primary, before)
            until = time.monotonic() + 20
            while (await one.info("server"))["tcp_port"] == before:
                assert time.monotonic() < until
                await one.set("after", 1)
                await asyncio.sleep(0.1)
            assert (await one.role())[0] == b"master"
            assert await epoch.age_s(one) == 0


async def test_a_primary_that_no_sentinel_knows_is_an_error_that_says_so(group: Watched) -> None:
    async with client(RedisSettings(sentinels=("127.0.0.1:1", f"127.0.0.1:{group.sentinels[0]}"), sentinel_master="other")) as one:
        with pytest.raises(redis.exceptions.ConnectionError, match="No master found for 'other'"):
            await one.ping()


async def test_sentinels_with_a_password_are_asked_with_it(tmp_path: Path) -> None:
    with server(tmp_path / "primary", "requirepass inner", client={"password": "inner"}) as primary:
        port = free_port()
        sentinel = start(
            tmp_path / "sentinel", port, f"sentinel monitor {MASTER} 127.0.0.1 {primary} 1", f"sentinel auth-pass {MASTER} inner",
            "requirepass outer", sentinel=True,
        )  # fmt: skip
        try:
            wait_for(port, password="outer")
            known = RedisSettings(
                sentinels=(f"127.0.0.1:{port}",),
                sentinel_master=MASTER,
                password=SecretStr("inner"),
                sentinel_password=SecretStr("outer"),
                db=3,
            )
            async with client(known) as one:
                await one.set("a", 1)
                assert (await one.info("keyspace"))["db3"]["keys"] == 1
            async with client(known.model_copy(update={"sentinel_password": None})) as one:
                with pytest.raises(redis.exceptions.ConnectionError, match="Authentication required"):
                    await one.ping()
        finally:
            end(sentinel)


# -- TLS ---------------------------------------------------------------------------------------------------------------


def tls_server() -> str | None:
    """A server that speaks TLS: Debian's does, the embedded one does not."""
    binary = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if binary is None:
        return None
    said = subprocess.run([binary, "--tls-port", "0", "--port", "0", "--tls-protocols", "?"], capture_output=True, timeout=60, check=False)
    return None if b"tls-protocols" in said.stderr and b"Bad directive" in said.stderr else binary


TLS_SERVER = tls_server()
needs_tls = pytest.mark.skipif(TLS_SERVER is None, reason="no redis-server with TLS is installed")


class Authority:
    """Makes certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        (folder / "ca.crt").write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> None:
        """`name`.crt and `name`.key, for that host name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key).add_extension(names, critical=False)
        (self.folder / f"{name}.crt").write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    authority = Authority(folder)
    authority.issue("redis.internal")
    authority.issue("worker")
    (other := folder / "other").mkdir()
    Authority(other)
    return folder


def tls_options(papers: Path, *, clients: str) -> tuple[str, ...]:
    return (
        "port 0", "tls-port {port}", "tls-replication yes", f"tls-cert-file {papers}/redis.internal.crt",
        f"tls-key-file {papers}/redis.internal.key", f"tls-ca-cert-file {papers}/ca.crt", f"tls-auth-clients {clients}",
    )  # fmt: skip


def trusting(papers: Path) -> dict[str, object]:
    return {"ssl": True, "ssl_ca_certs": f"{papers}/ca.crt", "ssl_certfile": f"{papers}/worker.crt", "ssl_keyfile": f"{papers}/worker.key"}


@needs_tls
async def test_tls_checks_authority_and_name_and_shows_our_certificate(tmp_path: Path, papers: Path) -> None:
    right = {"tls_ca_file": papers / "ca.crt", "tls_server_name": "redis.internal"}
    ours = {"tls_cert_file": papers / "worker.crt", "tls_key_file": papers / "worker.key"}
    with server(tmp_path, *tls_options(papers, clients="yes"), binary=TLS_SERVER, client=trusting(papers)) as port:
        url = f"rediss://127.0.0.1:{port}/2"
        async with client(RedisSettings(url=url, **right, **ours)) as one:
            await one.set("a", 1)
            assert (await one.info("keyspace"))["db2"]["keys"] == 1
        for wrong in (
            {**ours, "tls_server_name": "redis.internal"},  # the system's authorities
            {**ours, **right, "tls_server_name": None},  # a certificate for another name than 127.0.0.1
            {**ours, **right, "tls_ca_file": papers / "other" / "ca.crt"},
            right,  # no certificate of ours
        ):
            async with client(RedisSettings(url=url, **wrong)) as one:
                with pytest.raises((redis.exceptions.ConnectionError, OSError)):
                    await one.ping()


@needs_tls
async def test_sentinels_and_primary_with_tls(tmp_path: Path, papers: Path) -> None:
    options = tls_options(papers, clients="optional")
    with server(tmp_path / "primary", *options, binary=TLS_SERVER, client=trusting(papers)) as primary:
        port = free_port()
        sentinel = start(
            tmp_path / "sentinel", port, *options, f"sentinel monitor {MASTER} 127.0.0.1 {primary} 1", binary=TLS_SERVER, sentinel=True
        )
        try:
            wait_for(port, **trusting(papers))
            known = RedisSettings(
                sentinels=(f"127.0.0.1:{port}",), sentinel_master=MASTER, tls=True, tls_ca_file=papers / "ca.crt",
                tls_server_name="redis.internal",
            )  # fmt: skip
            async with client(known) as one:
                assert await one.ping()
        finally:
            end(sentinel)


def test_papers_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match=r"tls_ca_file .*missing\.pem cannot be used \(No such file"):
        pool_of(RedisSettings(url="rediss://a:1", tls_ca_file=tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match=r"tls_cert_file .*empty\.pem with tls_key_file"):
        pool_of(RedisSettings(url="rediss://a:1", tls_cert_file=tmp_path / "empty.pem", tls_key_file=tmp_path / "empty.pem"))


async def test_a_cancellation_is_heard_at_whatever_moment_of_a_command_it_comes(tmp_path: Path) -> None:
    with server(tmp_path / "redis") as port:
        pool = pool_of(RedisSettings(url=f"redis://127.0.0.1:{port}/0"))
        one = await pool.get_connection()
        heard = 0
        for turns in range(12):  # of the event loop, until it comes
            if not one.is_connected:
                await one.connect()
            sending = asyncio.create_task(one.send_command("PING"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if sending.cancel():
                heard += 1
                with pytest.raises(asyncio.CancelledError):
                    await sending
            else:
                assert await one.read_response() in (b"PONG", "PONG")
        assert 0 < heard < 12, "some come too late: the command is out"
        assert one.socket_timeout == ANSWER_S
        await pool.disconnect()


async def test_a_server_that_takes_no_words_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path / "redis") as port:
        pool = pool_of(RedisSettings(url=f"redis://127.0.0.1:{port}/0"))
        one = await pool.get_connection()
        one.socket_timeout = 0.05
        monkeypatch.setattr(one._writer, "drain", asyncio.Event().wait)
        with pytest.raises(redis.exceptions.TimeoutError):
            await one.send_command("PING")
        assert not one.is_connected
        await pool.disconnect()
