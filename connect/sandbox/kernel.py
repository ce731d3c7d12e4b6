"""What both simulators share: the clock, the counters, faults on demand, and things that happen in the middle of a sweep."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

Side = Literal["sage", "prime"]
KINDS: Final = (
    "latency",
    "status",
    "throttle",
    "drop_before",
    "drop_after_commit",
    "truncate",
    "garbage",
    "slow",
    "expire_token",
    "duplicate",
)
HTML: Final = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"


class Clock:
    """Both sides' clock: the real time, moved ahead on demand."""

    def __init__(self, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._monotonic = monotonic
        self._ahead_s = 0.0

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.fromtimestamp(self._now(), UTC) + timedelta(seconds=self._ahead_s)

    def today(self) -> date:
        return self.now().date()

    def monotonic(self) -> float:
        """Seconds, advances included."""
        return self._monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


class SideStats:
    """What one side was asked (`/_sandbox/stats`)."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.transactions = 0  # Sage: as it counts them; Prime: register records taken over either interface
        self.in_flight = 0
        self.in_flight_max = 0
        self.throttled = 0
        self.token_requests = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.ignored_elements = 0
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None

    def enter(self) -> None:
        """A request holds a slot from now on."""
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)

    def leave(self) -> None:
        self.in_flight -= 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "calls": dict(sorted(self.calls.items())),
            "transactions": self.transactions,
            "in_flight_max": self.in_flight_max,
            "throttled": self.throttled,
            "token_requests": self.token_requests,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ignored_elements": self.ignored_elements,
            "first_at": self.first_at.isoformat() if self.first_at else None,
            "last_at": self.last_at.isoformat() if self.last_at else None,
        }


@dataclass
class Rule:
    """One fault: what happens to which requests, how likely, how often, from when on."""

    where: str
    kind: str
    probability: float = 1.0
    count: int | None = None
    after: int = 0
    seed: int = 0
    params: dict[str, float] = field(default_factory=dict)
    matched: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def fires(self, name: str) -> bool:
        """Whether this request meets the fault. Repeatable: the same requests in the same order with the same seed."""
        if self.where not in ("*", name) or (self.count is not None and self.fired >= self.count):
            return False
        self.matched += 1
        hit = self._chance.random() < self.probability
        if self.matched <= self.after or not hit:
            return False
        self.fired += 1
        return True


class Faults:
    """The rules in force, looked at in their order; several may meet one request."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def replace(self, rules: list[dict[str, Any]]) -> None:
        """Raises ValueError naming the rule and what is wrong with it."""
        made: list[Rule] = []
        for number, rule in enumerate(rules):
            unknown = set(rule) - {"where", "kind", "probability", "count", "after", "seed", "params"}
            if unknown:
                raise ValueError(f"rule {number}: unknown {', '.join(sorted(unknown))}")
            where, kind = rule.get("where", "*"), rule.get("kind")
            if kind not in KINDS:
                raise ValueError(f"rule {number}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
            if where != "*" and not str(where).startswith(("sage:", "prime:")):
                raise ValueError(f"rule {number}: where is {where!r}, expected *, sage:… or prime:…")
            strange = set(rule.get("params") or {}) - {"ms", "status", "bytes", "retry_after_s"}
            if strange:
                raise ValueError(f"rule {number}: unknown params {', '.join(sorted(strange))}")
            given = {key: value for key, value in rule.items() if value is not None}
            made.append(Rule(**(given | {"where": str(where), "params": rule.get("params") or {}})))
        self.rules = made

    def of(self, name: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.fires(name)] if self.rules else []


@dataclass
class Hook:
    """Control calls that run once, after so many answered requests of one kind."""

    where: str
    count: int
    do: list[dict[str, Any]]
    answered: int = 0


class Hooks:
    """What happens in the middle of somebody's work (`/_sandbox/on`)."""

    def __init__(self) -> None:
        self.waiting: list[Hook] = []
        self.run: Callable[[str, Any], Awaitable[Any]] | None = None  # set by the app: a control call in process

    def add(self, body: dict[str, Any]) -> None:
        """Raises ValueError when the shape is wrong."""
        after, do = body.get("after"), body.get("do")
        if not isinstance(after, dict) or "where" not in after or not isinstance(do, list):
            raise ValueError('expected {"after": {"where": "sage:…", "count": n}, "do": [{"path": "/_sandbox/…", "body": {…}}]}')
        self.waiting.append(Hook(str(after["where"]), int(after.get("count", 1)), do))

    async def answered(self, name: str) -> None:
        """A request has been answered: run what waited for it."""
        due = []
        for hook in self.waiting:
            if hook.where in ("*", name):
                hook.answered += 1
                if hook.answered >= hook.count:
                    due.append(hook)
        for hook in due:
            self.waiting.remove(hook)
            for step in hook.do:
                if self.run is not None:
                    await self.run(step["path"], step.get("body"))


class Simulator(Protocol):
    """What each side offers the app."""

    routes: list[web.RouteDef]

    async def operation(self, request: web.Request, body: bytes) -> str: ...
    def admit(self, request: web.Request, operation: str) -> web.Response | None:
        """Take a slot, or the refusal (429). Latency and faults happen while the slot is held."""

    def leave(self, request: web.Request) -> None:
        """The request that was admitted is over."""

    def load(self, *args: Any, **body: Any) -> dict[str, Any]: ...
    def records(self, *args: Any, **query: Any) -> dict[str, Any]: ...
    def settings(self, *args: Any, **changes: Any) -> dict[str, Any]: ...
    def reset(self) -> None: ...
    def books(self) -> dict[str, Any]: ...
    def expire_tokens(self) -> None: ...


class Kernel:
    """One sandbox's shared parts."""

    def __init__(self, *, seed: int = 1, clock: Clock | None = None) -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self.stats: dict[str, SideStats] = {"sage": SideStats(), "prime": SideStats()}
        self.faults = Faults()
        self.hooks = Hooks()
        self.latency_ms: dict[str, float] = {"sage": 0.0, "prime": 0.0}

    def reset(self) -> None:
        """Faults, hooks and counters as at the start; the clock goes on."""
        in_flight = {side: stats.in_flight for side, stats in self.stats.items()}
        for side in self.stats:
            self.stats[side].__init__()  # type: ignore[misc]  # the simulators keep a reference
            self.stats[side].in_flight = in_flight[side]
        self.faults.rules = []
        self.hooks.waiting = []

    def middleware(self, side: Side, simulator: Simulator) -> Middleware:
        """Counts, delays and spoils every request of one side; control calls pass untouched."""

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/_sandbox"):
                return await handler(request)
            body = await request.read()
            stats = self.stats[side]
            operation = await simulator.operation(request, body)
            name = f"{side}:{operation}"
            stats.calls[operation] += 1
            stats.bytes_in += len(body)
            now = self.clock.now()
            stats.first_at = stats.first_at or now
            stats.last_at = now
            response: web.StreamResponse | None = simulator.admit(request, operation)
            if response is None:
                try:
                    response = await self._spoiled(side, simulator, request, handler, self.faults.of(name))
                finally:
                    simulator.leave(request)
            if isinstance(response, web.Response) and isinstance(response.body, bytes):
                stats.bytes_out += len(response.body)
            await self.hooks.answered(name)
            return response

        return around

    async def _spoiled(
        self, side: Side, simulator: Simulator, request: web.Request, handler: Handler, rules: list[Rule]
    ) -> web.StreamResponse:
        kinds = {rule.kind: rule for rule in rules}
        delay_ms = self.latency_ms[side] + sum(rule.params.get("ms", 0) for rule in rules if rule.kind == "latency")
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if "drop_before" in kinds:
            return _drop(request)
        if "throttle" in kinds:
            self.stats[side].throttled += 1
            return throttled(side, kinds["throttle"].params.get("retry_after_s", 1))
        if "status" in kinds:
            return web.Response(status=int(kinds["status"].params.get("status", 500)), body=HTML, content_type="text/html")
        if "garbage" in kinds:
            return web.Response(status=200, body=HTML, content_type="text/html")
        if "expire_token" in kinds:
            simulator.expire_tokens()
        response = await handler(request)
        if "duplicate" in kinds:
            response = await handler(request)
        if "drop_after_commit" in kinds:
            return _drop(request)
        if "truncate" in kinds and isinstance(response, web.Response):
            return await _partly(request, response, int(kinds["truncate"].params.get("bytes", 20)))
        if "slow" in kinds and isinstance(response, web.Response):
            return await _slowly(request, response, kinds["slow"].params.get("ms", 1000))
        return response


def throttled(side: Side, retry_after_s: float, *, limit: int = 0) -> web.Response:
    """429 as each side says it: Sage's GW-0010 with its own headers (sage-rest.md d), Prime's plain Retry-After (D33)."""
    seconds = f"{retry_after_s:g}"
    if side == "prime":
        return web.json_response({"message": "Too many requests"}, status=429, headers={"Retry-After": seconds})
    return web.json_response(
        {
            "ia::error": {
                "code": "GW-0010",
                "message": "API rate limit exceeded",
                "details": {"requestId": f"rq-{random.getrandbits(48):012x}"},
            },
            "ia::meta": {"totalCount": 1, "totalSuccess": 0, "totalError": 1},
        },
        status=429,
        headers={"X-IA-Throttle-Limit": str(limit), "X-IA-Throttle-Remaining": "0", "X-IA-Throttle-Retry-After": seconds},
    )


def _drop(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


async def _partly(request: web.Request, response: web.Response, size: int) -> web.StreamResponse:
    """Only the first bytes of the answer, under its full length, then the connection closes."""
    body = response.body if isinstance(response.body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    await stream.write(body[:size])
    if request.transport is not None:
        request.transport.close()
    return stream


async def _slowly(request: web.Request, response: web.Response, total_ms: float) -> web.StreamResponse:
    """The whole answer, in ten pieces over the time given."""
    body = response.body if isinstance(response.body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    step = max(1, -(-len(body) // 10))
    for start in range(0, len(body), step):
        await stream.write(body[start : start + step])
        await asyncio.sleep(total_ms / 10_000)
    await stream.write_eof()
    return stream
