"""The sandbox as a whole: two sites on loopback, one control interface on both, one ready line.

async with Sandbox(SandboxOptions(sage_port=0, prime_port=0)) as box:
    box.ready["sage"]["base_url"]
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson
from aiohttp import web

from connect.sandbox import data
from connect.sandbox.kernel import Kernel, Side, Simulator
from connect.sandbox.prime import PrimeSimulator
from connect.sandbox.sage import SageSimulator

CONTROL_BODY_BYTES: Final = 512 * 1024 * 1024
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class SandboxOptions:
    """What `connect sandbox` takes. Port 0: any free one. `size` None: empty books."""

    sage_port: int = 8801
    prime_port: int = 8802
    size: str | None = "small"
    seed: int = 1
    sage_latency_ms: float = 0.0
    prime_latency_ms: float = 0.0
    sage_slots: int = 6
    token_ttl_s: float = 43_200.0


class Sandbox:
    """Both simulators, running."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.kernel = Kernel(seed=options.seed)
        self.kernel.latency_ms = {"sage": options.sage_latency_ms, "prime": options.prime_latency_ms}
        self.sage = SageSimulator(self.kernel, slots=options.sage_slots, token_ttl_s=options.token_ttl_s)
        self.prime = PrimeSimulator(self.kernel)
        self.kernel.hooks.run = self._control
        self._sides: dict[str, Simulator] = {"sage": self.sage, "prime": self.prime}
        self._runners: list[web.AppRunner] = []
        self.ready: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        if self.options.size is not None:
            self.fill(self.options.size)
        ports = [
            await self._serve("sage", self.sage, self.options.sage_port),
            await self._serve("prime", self.prime, self.options.prime_port),
        ]
        sage, prime = f"http://{HOST}:{ports[0]}", f"http://{HOST}:{ports[1]}"
        self.ready = {
            "sage": {
                "base_url": f"{sage}/ia/api",
                "token_url": f"{sage}/ia/api/v1/oauth2/token",
                "query_url": f"{sage}/ia/api/v1/services/core/query",
                "client_id": self.sage.client_id,
                "client_secret": self.sage.client_secret,
                "username": self.sage.username,
            },
            "prime": {
                "url": f"{prime}/ws/webService.asmx",
                "rest_url": f"{prime}/api/v1.0",
                "identity_url": f"{prime}/identity",
                "environment": self.prime.environment,
                "username": self.prime.username,
                "password": self.prime.password,
                "tenant": self.prime.tenant,
                "client_id": self.prime.client_id,
                "client_secret": self.prime.client_secret,
                "user": self.prime.user,
                "role": self.prime.role,
            },
            "companies": list(self.prime.companies),
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def fill(self, size: str) -> None:
        """Load the made-up company; says how far it is on stderr when it takes longer than two seconds."""
        started, said, loaded = time.monotonic(), 0.0, 0
        for sage_object, records in data.company(size, self.options.seed):
            answer = self.sage.load(object=sage_object, mode="insert", records=records)
            if answer["errors"]:
                raise ValueError(f"the sandbox's own company does not fit: {sage_object}: {answer['errors'][0]}")
            loaded += answer["loaded"]
            spent_s = time.monotonic() - started
            if spent_s - said > 2 and sys.stderr.isatty():
                said = spent_s
                sys.stderr.write(
                    f"\rloading the {size} company: {loaded:,} of about {data.SIZES[size]:,} rows, {loaded / spent_s:,.0f} rows/s "
                )
                sys.stderr.flush()
        if said:
            sys.stderr.write("\n")

    async def _serve(self, side: Side, simulator: Simulator, port: int) -> int:
        app = web.Application(client_max_size=CONTROL_BODY_BYTES, middlewares=[self.kernel.middleware(side, simulator)])
        app.router.add_routes([web.route("*", "/_sandbox/{tail:.*}", self._on_control), *simulator.routes])
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, HOST, port, backlog=2048)
        await site.start()
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def _on_control(self, request: web.Request) -> web.Response:
        if not (request.remote and ipaddress.ip_address(request.remote).is_loopback):
            return _answer({"error": "control calls are for this machine only"}, 403)
        try:
            raw = await request.read()
            body = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError as error:
            return _answer({"error": f"the body is no JSON: {error}"}, 400)
        path = request.path
        try:
            if request.method == "GET":
                return _answer(self._look(path, dict(request.query)))
            if request.method == "POST":
                return _answer(await self._control(path, body))
        except LookupError as error:
            return _answer({"error": str(error.args[0])}, 404)
        except (ValueError, TypeError) as error:
            return _answer({"error": str(error)}, 400)
        return _answer({"error": f"{request.method} is not for control calls"}, 405)

    def _look(self, path: str, query: dict[str, str]) -> Any:
        """Control calls that change nothing."""
        if path == "/_sandbox/stats":
            return {side: stats.as_dict() for side, stats in self.kernel.stats.items()}
        if path == "/_sandbox/books":
            return self.books()
        for side, simulator in self._sides.items():
            if path == f"/_sandbox/{side}/records":
                return simulator.records(**query)
        raise LookupError(f"no control call GET {path}; there are /_sandbox/stats, /books, /sage/records and /prime/records")

    async def _control(self, path: str, body: Any) -> Any:
        """Control calls that change something; also what `/_sandbox/on` runs."""
        calls: dict[str, Callable[[dict[str, Any]], Any]] = {
            "/_sandbox/faults": self._set_faults,
            "/_sandbox/on": self._add_hook,
            "/_sandbox/settings": self._set_settings,
            "/_sandbox/clock": self._advance,
            "/_sandbox/reset": self._reset,
            "/_sandbox/sage/load": lambda given: self.sage.load(**given),
            "/_sandbox/prime/load": lambda given: self.prime.load(**given),
        }
        if path not in calls:
            raise LookupError(f"no control call POST {path}; there are {', '.join(sorted(calls))}")
        given = {} if body is None else body
        if not isinstance(given, dict):
            raise TypeError("the body must be a JSON object")
        answer = calls[path](given)
        return await answer if isinstance(answer, Awaitable) else answer

    def _set_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        rules = body.get("rules")
        if not isinstance(rules, list):
            raise TypeError('expected {"rules": [ … ]}; an empty list clears them')
        self.kernel.faults.replace(rules)
        return {"rules": len(rules)}

    def _add_hook(self, body: dict[str, Any]) -> dict[str, Any]:
        self.kernel.hooks.add(body)
        return {"waiting": len(self.kernel.hooks.waiting)}

    def _set_settings(self, body: dict[str, Any]) -> dict[str, Any]:
        unknown = set(body) - {"sage", "prime"}
        if unknown:
            raise ValueError(f"unknown side {', '.join(sorted(unknown))}; expected sage and prime")
        return {side: self._sides[side].settings(**(body.get(side) or {})) for side in ("sage", "prime")}

    def _advance(self, body: dict[str, Any]) -> dict[str, Any]:
        seconds = body.get("advance_s")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 0:
            raise ValueError("advance_s must be a number of seconds, 0 or more")
        self.kernel.clock.advance(float(seconds))
        return {"now": self.kernel.clock.now().isoformat()}

    def _reset(self, _body: dict[str, Any]) -> dict[str, Any]:
        self.sage.reset()
        self.prime.reset()
        self.kernel.reset()
        return {"reset": True}

    def books(self) -> dict[str, Any]:
        """The ledger's view of both sides: what was booked, what was acknowledged, what should not be there."""
        sage, prime = self.sage.books(), self.prime.books()
        bills = sage.get("bills", [])
        numbers = Counter((bill.get("vendor"), bill.get("billNumber")) for bill in bills if bill.get("billNumber"))
        attached = {bill.get("attachment") for bill in bills}
        return {
            "bills": bills,
            "payments": sage.get("payments", []),
            "receipts": prime.get("receipts", []),
            "duplicates": [{"vendor": vendor, "billNumber": number, "bills": n} for (vendor, number), n in numbers.items() if n > 1],
            "orphans": [attachment for attachment in sage.get("attachments", []) if attachment.get("id") not in attached],
        }


def _answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value, default=str), status=status, content_type="application/json")


async def serve(options: SandboxOptions) -> None:
    """Start, print the ready line on stdout, stay until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # not on every platform
            loop.add_signal_handler(number, stop.set)
    async with Sandbox(options) as box:
        sys.stdout.write(orjson.dumps(box.ready).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def run_sandbox(options: SandboxOptions) -> None:
    """`serve`, for whoever has no event loop."""
    asyncio.run(serve(options))
