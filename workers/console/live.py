"""What changes while people watch: one look at Redis every two seconds per process, told to all who watch as names of what has changed.

Only names are sent (queues, runs, letters, audit), never values: the page fetches itself anew under its own user's rights. What a slow
reader has not taken yet is merged, so nothing piles up for anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from workers.console.route import Asked, Route
from workers.jobs import STAGES, Tools, queue_name

LIVE_HEADER: Final = "X-Live"  # console.js fetches the page anew by itself
LOOK_EVERY_S: Final = 2.0
HEARTBEAT_S: Final = 15.0
KEPT_S: Final = 60.0
WATCHERS_MOST: Final = 500
TOPICS: Final = ("queues", "runs", "letters", "audit")

T = TypeVar("T")

log = structlog.get_logger()


class Watcher:
    """One open page. `pending`: what has changed since it was told last."""

    def __init__(self) -> None:
        self.pending: set[str] = set()
        self.woken = asyncio.Event()

    def tell(self, topics: set[str]) -> None:
        self.pending |= topics
        self.woken.set()

    async def next(self, timeout_s: float) -> list[str]:
        """What has changed; nothing when nothing did in that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.woken.wait()
        self.woken.clear()
        found, self.pending = sorted(self.pending), set()
        return found


class Live:
    """The process's one look, and who watches. It rests while nobody does."""

    def __init__(self, tools: Tools, *, every_s: float = LOOK_EVERY_S) -> None:
        self._tools = tools
        self._every_s = every_s
        self._watchers: set[Watcher] = set()
        self._looking: asyncio.Task[None] | None = None
        self._marks: dict[str, bytes] = {}
        self._shared: dict[tuple[str | bytes, ...], tuple[float, asyncio.Future[Any]]] = {}
        self.is_closed = False
        self.looks = 0

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def join(self) -> Watcher:
        watcher = Watcher()
        self._watchers.add(watcher)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return watcher

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    async def shared(
        self, asked: Asked, name: str, look: Callable[[], Coroutine[Any, Any, T]], *, since: Callable[[], Awaitable[bytes]] | None = None
    ) -> T:
        """One look for all open pages that fetch themselves anew at the same time and see the same. Whoever opens a page gets a look of
        their own: it shows what they have just done. `since`: as long as that is the same, so is what is looked at, for anybody.
        """
        if LIVE_HEADER in asked.request.headers:
            mark, keep_s = b"", self._every_s
        elif since is not None:
            mark, keep_s = await since(), KEPT_S
        else:
            return await look()
        key: tuple[str | bytes, ...] = (name, mark, *asked.tools.connections)
        now = asyncio.get_running_loop().time()
        self._shared = {other: kept for other, kept in self._shared.items() if kept[0] > now}
        if key not in self._shared:
            self._shared[key] = now + keep_s, asyncio.create_task(look())
        found: T = await asyncio.shield(self._shared[key][1])
        return found

    async def close(self) -> None:
        """Ends all streams: their pages come back by themselves."""
        self.is_closed = True
        for watcher in self._watchers:
            watcher.woken.set()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        self._marks = {}
        while self._watchers:
            try:
                marks = await self.marks()
            except (OSError, RedisError) as error:
                log.warning("the console's look at redis failed", error=repr(error))
            else:
                self.looks += 1
                changed = {topic for topic, mark in marks.items() if self._marks.get(topic, mark) != mark}
                self._marks = marks
                if changed:
                    for watcher in self._watchers:
                        watcher.tell(changed)
            await asyncio.sleep(self._every_s)

    async def marks(self) -> dict[str, bytes]:
        """A digest of each topic as it stands: all of it in one exchange with Redis, some 6 cheap commands a connection."""
        counts: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        async with self._tools.redis.pipeline(transaction=False) as pipe:
            for stage in STAGES:
                counts["queues"].append(len(pipe))
                pipe.zcard(queue_name(stage))
            for sid in self._tools.connections:
                prefix = f"connect:{sid}:"
                for state in ("open", "replaying"):
                    counts["letters"] += [len(pipe), len(pipe) + 1]
                    pipe.zcard(f"{prefix}dl:state:{state}")
                    pipe.zrevrange(f"{prefix}dl:state:{state}", 0, 0, withscores=True)
                counts["runs"] += [len(pipe), len(pipe) + 1]
                pipe.hgetall(f"{prefix}running")
                pipe.zrevrange(f"{prefix}runs", 0, 0, withscores=True)
                counts["audit"].append(len(pipe))
                pipe.hget(f"{prefix}audit:head", "n")
            answers = await pipe.execute()
            on = [(sid, run) for sid, at in zip(self._tools.connections, counts["runs"][::2], strict=True) for run in answers[at].values()]
        progress: list[object] = []
        if on:
            async with self._tools.redis.pipeline(transaction=False) as pipe:
                for sid, run in on:
                    pipe.hgetall(f"connect:{sid}:run:{run.decode()}")
                progress = await pipe.execute()
        seen: dict[str, list[object]] = {topic: [answers[at] for at in places] for topic, places in counts.items()}
        seen["runs"] += progress
        return {topic: hashlib.blake2b(repr(values).encode(), digest_size=8).digest() for topic, values in seen.items()}


async def events(asked: Asked) -> web.StreamResponse:
    """The stream of one page: `changed` with the topics, a heartbeat now and then; it ends with the session."""
    console = asked.console
    if console.live.watchers >= WATCHERS_MOST:
        return web.Response(status=503, text="too many watch; the page works without", headers={"Retry-After": "60"})
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"})
    watcher = console.live.join()
    try:
        await answer.prepare(asked.request)
        await answer.write(b"retry: 5000\n\n")
        while not console.live.is_closed:
            topics = await watcher.next(HEARTBEAT_S)
            if topics:
                await answer.write(f"event: changed\ndata: {' '.join(topics)}\n\n".encode())
            elif not console.live.is_closed:
                if not await still_in(asked, console.who):
                    break
                await answer.write(b": still here\n\n")
    except ConnectionResetError:  # the page was closed
        pass
    finally:
        console.live.leave(watcher)
    return answer


async def still_in(asked: Asked, who: Callable[[web.Request], Awaitable[tuple[object, str, bool]]]) -> bool:
    """Whether whoever watches is still logged in."""
    try:
        user, _, _ = await who(asked.request)
    except Exception:  # noqa: BLE001 - whatever it is: the page comes back and is told
        return False
    return user is not None


ROUTES: Final = [Route("GET", "/events", events, role="viewer", why="a stream for open pages; `connect status` tells the same at any time")]
