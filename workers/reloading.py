"""Workers take up a changed configuration between two jobs, and secrets that were written anew.

A job keeps what it began with; the next one gets the new tools. What is the same in both files keeps its clients and stores. A file that is
wrong is refused: the old one stays, and log, status and doctor say why (connect/state/workers.py). `[redis]` is read at the start alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from redis.exceptions import RedisError

from connect.config import Config, load_config
from connect.config.load import files_of
from connect.errors import ConfigError
from connect.registers import REGISTERS
from connect.state.workers import CONFIGURATIONS, REDIS_CHANGED, VERSION_FILE, differences, digest, forget, taken, version
from workers.jobs import STAGES, ConnectionTools, Tools

LOOK_EVERY_S: Final = 2.0
SAY_EVERY_S: Final = 30.0

log = structlog.get_logger()
Stamp = tuple[tuple[str, int, int, int], ...]


def write_version(config: Config) -> None:
    """Leave `version.json` in the data directory: which Connect runs here, since when, with which file."""
    folder = config.redis.data_dir
    said = {"version": version(), "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "configuration": str(config.path)}
    new = folder / f"{VERSION_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
        new.replace(folder / VERSION_FILE)
    except OSError as error:
        log.info("version.json is not written: the data directory takes no files", data_dir=str(folder), error=error.strerror)
    log.info("Connect starts", **said)


def stamp(files: Iterable[Path]) -> Stamp:
    """Changes whenever one of the files does; one that is not there has a stamp too."""
    found = []
    for file in files:
        try:
            facts = file.stat()
            found.append((str(file), facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            found.append((str(file), 0, 0, 0))
    return tuple(found)


class Reloading:
    """Looks at a worker's configuration file. `take` is given the tools made from a changed one."""

    def __init__(self, tools: Tools, take: Callable[[Tools], None], *, environ: Mapping[str, str] | None = None) -> None:
        assert tools.config.path is not None
        assert tools.connect is not None
        self._path, self._tools, self._take, self._connect, self._environ = tools.config.path, tools, take, tools.connect, environ
        self._made: list[ConnectionTools] = []
        self._refused = ""
        self._said_at = 0.0
        self._digest = digest(self._path)
        self._stamp: Stamp = ()  # the first look compares: the file may have changed since it was read
        self._version = version()  # what runs here, whatever is installed later
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        try:
            with suppress(OSError, RedisError):
                await forget(self._tools.redis)
            while True:
                with suppress(OSError, RedisError):  # Redis is away: the next look says it
                    await self.look()
                    await self._flush()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            with suppress(OSError, RedisError):
                await self._flush()
                await self._tools.redis.hdel(CONFIGURATIONS, self._worker)

    async def look(self) -> None:
        """Take up the file if it or a secret file has changed and it is right."""
        now = self._stamp_now()
        if now != self._stamp:
            self._stamp = now
            await self._reload()
        elif time.monotonic() - self._said_at > SAY_EVERY_S:
            await self._say()

    async def _reload(self) -> None:
        try:
            config = load_config(self._path, environ=self._environ, jobs=REGISTERS)
        except ConfigError as error:
            self._refused = error.message
            log.error("the changed configuration is refused; the old one stays", file=str(self._path), reason=error.message)
            await self._say()
            return
        old = self._tools
        self._refused, self._digest = "", digest(self._path)
        if config.redis != old.config.redis:
            self._refused = REDIS_CHANGED
            log.warning("[redis] has changed; it is taken up when the workers start anew")
            config = config.model_copy(update={"redis": old.config.redis})
        if config.model_copy(update={"warnings": old.config.warnings}) == old.config:  # warnings name lines, which a remark moves
            await self._say()
            return
        connections: dict[str, ConnectionTools] = {}
        for one in config.connections:
            before = old.connections.get(one.sid)
            if before is not None and before.connection == one:
                connections[one.sid] = before
                continue
            made = connections[one.sid] = self._connect(one)
            self._made.append(made)
            if before is not None and before.seal is not None and made.seal is not None:
                made.seal.follow(before.seal)  # what is on its way is sealed under the secret before
        changed = [one.connection.name for sid, one in connections.items() if old.connections.get(sid) is not one]
        gone = [one.connection.name for sid, one in old.connections.items() if sid not in connections]
        self._tools = replace(old, config=config, connections=connections)
        self._take(self._tools)
        log.info("the changed configuration is taken up", file=str(self._path), digest=self._digest, changed=changed, gone=gone)
        for sid, made in connections.items():
            if old.connections.get(sid) is not made:  # perhaps it is let in now
                for stage in STAGES:
                    await made.pauses.clear(stage)
        await self._say()

    def _stamp_now(self) -> Stamp:
        files = [self._path]
        with suppress(ConfigError):  # of a file that is wrong, no others are known
            files = files_of(self._path)
        return stamp(files)

    async def _say(self) -> None:
        self._said_at = time.monotonic()
        said = {"digest": self._digest, "version": self._version, "refused": self._refused, "at": time.time()}
        await self._tools.redis.hset(CONFIGURATIONS, self._worker, orjson.dumps(said))

    async def _flush(self) -> None:
        """Counts of connections made here; those made at the start are the process's."""
        for one in self._made:
            await one.usage.flush()


async def configuration(tools: Tools) -> dict[str, Any]:
    """As `connect status --json` prints it: what each worker goes by, Sage's maintenance, and what a person should know of it."""
    found = await taken(tools.redis)
    now = tools.clock()
    maintenance = {one.name: until for one in tools.config.connections if (until := one.maintenance_until(now)) is not None}
    remarks = [one.text for one in differences(found)]
    remarks += [
        f"{name}: Sage's maintenance until {until:%H:%M} UTC: nothing starts by its schedule" for name, until in maintenance.items()
    ]
    return {
        "workers": [one._asdict() for one in found],
        "maintenance": [{"connection": name, "until": until.isoformat()} for name, until in maintenance.items()],
        "remarks": remarks,
    }
