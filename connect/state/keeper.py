"""The embedded server's keeper, a small process of its own: `python -m connect.state.keeper FOLDER SOCKET BINARY`.

It runs in its own session, so that neither Ctrl-C nor the death of whoever started it reaches the server. Twice a second it looks
whether anybody is attached (a shared flock on `embedded.users`, which the kernel drops for a killed process too); when nobody is, it stops
the server and ends. A server that dies meanwhile is started again; one whose keeper is killed ends with it (PDEATHSIG; Linux only). It
holds `embedded.keeper`, since two servers on one directory would destroy its files. Standard library only: it should cost next to nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

KEEPER_IS_THERE: Final = 3  # exit code of the command, which else returns 0 at once and leaves the keeper running
_LOOK_EVERY_S: Final = 0.5
_STOP_TIMEOUT_S: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # lets go of its flock


def keep(folder: Path, path: Path, binary: Path) -> int:
    """Run the server in a process of its own until nobody is attached. Returns an exit code."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    with (
        opened(folder / "embedded.keeper") as alone,
        opened(folder / "embedded.lock") as start,
        opened(folder / "embedded.users") as users,
    ):
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return KEEPER_IS_THERE
        if os.fork():  # nobody's child from here on: nobody has to wait for it
            return 0
        path.unlink(missing_ok=True)  # a killed server leaves its socket behind; only one keeper comes here
        server, ran = _serve(folder, path, binary), False
        while not stopping:
            time.sleep(_LOOK_EVERY_S)
            if server.poll() is not None:
                if not ran:
                    return 1
                path.unlink(missing_ok=True)
                server, ran = _serve(folder, path, binary), False
            elif _nobody_attached(start, users):
                break  # with the start lock held: whoever comes now waits, and starts anew
            else:
                ran = True
        _mark_clean(path)
        server.terminate()
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        path.unlink(missing_ok=True)
    return 0


def _nobody_attached(start: int, users: int) -> bool:
    """Whether nobody is attached. If so the start lock stays held; else nothing is."""
    try:
        fcntl.flock(start, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(start, fcntl.LOCK_UN)
        return False
    fcntl.flock(users, fcntl.LOCK_UN)
    return True


def _mark_clean(path: Path) -> None:
    """Tell the server to remember that this reign ends cleanly (epoch.py): all that was written before the mark is there if the mark is.
    One that does not answer is stopped without; then the next reign is careful for a while. A reign in which nobody asked for the epoch
    leaves the mark of the one before, which the epoch still names.
    """
    script = (
        b"local reign = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')"
        b" if string.find(redis.call('GET', 'connect:epoch') or '', ':' .. reign .. ':', 1, true) then"
        b" redis.call('SET', 'connect:epoch:clean', reign) end"
    )
    words = (b"EVAL", script, b"0")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(str(path))
        client.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        client.recv(64)


def _serve(folder: Path, path: Path, binary: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": str(folder / "valkey.log"),
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    return subprocess.Popen(  # noqa: S603
        [binary, *arguments],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - the keeper has one thread
        cwd=folder,
    )


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """For the child, between fork and exec: end when the parent ends, however it ends. None where the system cannot."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we had asked
            os._exit(1)

    return ask


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
