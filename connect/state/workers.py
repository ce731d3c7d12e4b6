"""What each worker goes by: its version of Connect and its configuration file, or why it does not go by the file as it is now.

connect:configurations   hash   "{host}:{pid}" -> JSON {digest, version, refused, at (s)}

Each says it twice a minute; `version.json` in the data directory says which Connect was started there last.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import orjson
from redis.asyncio import Redis

CONFIGURATIONS: Final = "connect:configurations"
HEARD_S: Final = 120.0  # a worker that has not been heard of for so long does not count
FORGOTTEN_S: Final = 86_400.0
VERSION_FILE: Final = "version.json"
REDIS_CHANGED: Final = "[redis] has changed: start the workers anew for that; everything else is taken up"


class Taken(NamedTuple):
    """What a worker goes by. `refused`: why it does not go by the file as it is now; "" when it does."""

    worker: str
    digest: str
    version: str
    refused: str
    at: float


class Difference(NamedTuple):
    """Something in which the workers are not as they should be. `refused`: the reason, of that kind alone."""

    kind: Literal["refused", "version", "configuration"]
    text: str
    refused: str = ""


def version() -> str:
    """Of the Connect that is installed now; a worker that was started before an update runs an older one."""
    return metadata.version("connect-sage-prime")


def version_written(data_dir: Path) -> str:
    """The version in `version.json` of the data directory; "" without one that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(orjson.loads((data_dir / VERSION_FILE).read_bytes())["version"])
    return ""


def digest(file: Path) -> str:
    """Of the file alone: a digest of secrets would help to guess them. "" when it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    except OSError:
        return ""


async def taken(redis: Redis) -> list[Taken]:
    """What each live worker goes by."""
    now = time.time()
    found: list[Taken] = []
    for name, raw in sorted((await redis.hgetall(CONFIGURATIONS)).items()):
        said: dict[str, Any] = orjson.loads(raw)
        if now - said["at"] < HEARD_S:
            found.append(Taken(name.decode(), said["digest"], said["version"], said["refused"], said["at"]))
    return found


async def forget(redis: Redis) -> None:
    """Forget workers that are long gone."""
    for name, raw in (await redis.hgetall(CONFIGURATIONS)).items():
        if time.time() - orjson.loads(raw)["at"] > FORGOTTEN_S:
            await redis.hdel(CONFIGURATIONS, name)


def differences(found: Iterable[Taken]) -> list[Difference]:
    """What a person should know of it, in sentences."""
    workers = list(found)
    said = []
    for reason in dict.fromkeys(one.refused for one in workers if one.refused):
        number = sum(one.refused == reason for one in workers)
        text = f"The configuration as it is now is not what {number} of {len(workers)} workers go by: {reason}"
        said.append(Difference("refused", text, reason))
    kinds: tuple[tuple[Literal["version", "configuration"], str, set[str]], ...] = (
        ("version", "versions of Connect", {one.version for one in workers}),
        ("configuration", "configuration files", {one.digest for one in workers}),
    )
    for kind, what, values in kinds:
        if len(values) > 1:
            text = f"Workers go by {len(values)} different {what} ({', '.join(sorted(values))}): bring them to the same"
            said.append(Difference(kind, text))
    return said
