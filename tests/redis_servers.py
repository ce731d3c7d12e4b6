"""Servers on loopback that tests start and kill: one alone (with TLS or an ACL file), or a primary with a replica under three Sentinels."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from connect.state.embedded import server_binary

MASTER = "connect"
DOWN_AFTER_MS = 1000


def free_port() -> int:
    """One that nobody gets by chance meanwhile: below those that systems give to whoever asks for any."""
    while True:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", 10_000 + secrets.randbelow(20_000)))
            return int(one.getsockname()[1])


@contextmanager
def server(folder: Path, *options: str, binary: Path | str | None = None, client: dict[str, Any] | None = None) -> Iterator[int]:
    """A server with these options of its configuration file; yields the port that it answers at. `client`: how to reach it."""
    port = free_port()
    process = start(folder, port, *options, binary=binary)
    try:
        wait_for(port, **(client or {}))
        yield port
    finally:
        end(process)


def start(folder: Path, port: int, *options: str, binary: Path | str | None = None, sentinel: bool = False) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    plain = [] if any(line.startswith("tls-port") for line in options) else [f"port {port}"]
    lines = [*plain, "bind 127.0.0.1", f"dir {folder}", f"logfile {folder}/server.log", *options]
    if not sentinel:
        lines += ["save ''", "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"]
    path = folder / f"{port}.conf"
    path.write_text("\n".join(line.replace("{port}", str(port)) for line in lines) + "\n")
    command = [str(binary or server_binary(os.environ)), str(path), *(["--sentinel"] if sentinel else [])]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # one that was stopped
        process.kill()
    process.wait()


def wait_for(port: int, timeout_s: float = 60, **options: Any) -> None:
    until = time.monotonic() + timeout_s
    while True:
        try:
            with redis.Redis(port=port, socket_timeout=2, **options) as client:
                client.ping()
                return
        except (redis.ConnectionError, redis.TimeoutError):
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.02)


def looked_after(folder: Path, timeout_s: float = 60) -> None:
    """Until the keeper of an embedded server has looked at it twice more: one that ends before its first look is not started again."""
    (keeper,) = (one for one in psutil.process_iter(["cmdline"]) if {"connect.state.keeper", str(folder)} <= set(one.info["cmdline"] or ()))
    slept, until = keeper.num_ctx_switches().voluntary, time.monotonic() + timeout_s
    while keeper.num_ctx_switches().voluntary < slept + 2:
        assert time.monotonic() < until, "the keeper stands still"
        time.sleep(0.05)


@dataclass
class Watched:
    """A primary, its replica, and three Sentinels that watch them."""

    ports: list[int]
    sentinels: list[int]
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    folder: Path = Path()
    options: tuple[str, ...] = ()

    def toml(self) -> str:
        """The keys of [redis]."""
        addresses = ", ".join(f'"127.0.0.1:{port}"' for port in self.sentinels)
        return f'sentinels = [{addresses}]\nsentinel_master = "{MASTER}"\n'

    def primary(self) -> int:
        """Where it is by the word of a Sentinel that answers."""
        for port in self.sentinels:
            try:
                with redis.Redis(port=port, socket_timeout=5) as sentinel:
                    return int(sentinel.sentinel_get_master_addr_by_name(MASTER)[1])
            except (redis.ConnectionError, redis.TimeoutError):
                continue
        raise AssertionError("no Sentinel answers")

    def replica(self) -> int:
        return next(port for port in self.ports if port != self.primary())

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.primary(), socket_timeout=5)

    def kill_primary(self) -> int:
        """SIGKILL; returns its port."""
        port = self.primary()
        process = self.processes.pop(port)
        process.kill()
        process.wait()
        return port

    def restart(self, port: int) -> None:
        """One that was killed comes back, with its configuration of the beginning; the Sentinels tell it whose replica it is."""
        self.processes[port] = start(self.folder / str(port), port, *self.options)
        wait_for(port)

    def wait_for_primary(self, other_than: int, timeout_s: float = 60) -> int:
        until = time.monotonic() + timeout_s
        while (port := self.primary()) == other_than or not _is_primary(port):
            assert time.monotonic() < until, "no failover came"
            time.sleep(0.05)
        return port

    def wait_for_replica(self, timeout_s: float = 60) -> None:
        """Until the primary has a replica that is up to date."""
        until = time.monotonic() + timeout_s
        while True:
            with self.client() as client:
                facts = client.info("replication")
                if facts.get("slave0", {}).get("state") == "online" and facts["slave0"]["offset"] > 0:
                    return
            assert time.monotonic() < until, "no replica came"
            time.sleep(0.05)


def _is_primary(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.role()[0] == b"master")
    except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
        return False


@contextmanager
def watched(folder: Path, options: Sequence[str] = (), sentinel_options: Sequence[str] = ()) -> Iterator[Watched]:
    """`options` of the two servers, `sentinel_options` of the Sentinels, beside what it takes to find one another."""
    found = Watched([free_port(), free_port()], [free_port() for _ in range(3)], folder=folder, options=tuple(options))
    primary, replica = found.ports
    try:
        found.processes[primary] = start(folder / str(primary), primary, *options)
        wait_for(primary)
        found.processes[replica] = start(folder / str(replica), replica, *options, f"replicaof 127.0.0.1 {primary}")
        for port in found.sentinels:
            found.processes[port] = start(
                folder / str(port), port,
                f"sentinel monitor {MASTER} 127.0.0.1 {primary} 2",
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER} 1000",
                *sentinel_options,
                sentinel=True,
            )  # fmt: skip
        found.wait_for_replica()
        until = time.monotonic() + 60
        for port in found.sentinels:
            wait_for(port)
            with redis.Redis(port=port) as sentinel:
                while not _knows_all(sentinel):
                    assert time.monotonic() < until, "the Sentinels did not find one another"
                    time.sleep(0.1)
        yield found
    finally:
        for process in found.processes.values():
            end(process)


def _knows_all(sentinel: redis.Redis) -> bool:
    state = sentinel.sentinel_master(MASTER)
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)
