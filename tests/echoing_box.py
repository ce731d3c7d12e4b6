"""A sandbox with other secrets, that repeats whole requests in its answers where it is told to, as debug pages and proxies do.

    python echoing_box.py JSON

JSON: {"secrets": {"password", "rest", "sage"}, "echoes": [{"side", "in", "status", "times"}], "tokens": FILE, "repeated": FILE}.

The first line on stdout is the sandbox's ready line. Every token that either side gives out is appended to the one file, every echo
to the other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import orjson
from aiohttp import web

from connect.sandbox.app import SandboxOptions, serve
from connect.sandbox.kernel import Kernel
from connect.sandbox.prime.rest import RestSide
from connect.sandbox.prime.simulator import PrimeSimulator
from connect.sandbox.sage.simulator import SageSimulator
from connect.sandbox.sage.tokens import Tokens

ASKED: dict[str, Any] = orjson.loads(sys.argv[1])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def keep(line: str, where: str) -> None:
    with Path(where).open("a") as file:
        file.write(line + "\n")


def whole(request: web.Request, body: bytes) -> str:
    head = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
    return f"{request.method} {request.path_qs}\n{head}\n{body.decode(errors='replace')}"


def echo(side: str, request: web.Request, body: bytes, status: int) -> web.Response:
    """The request in an error, as that side writes errors."""
    text = whole(request, body)
    if request.path.endswith(".asmx"):
        answer = (
            '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code>'
            f"<s:Reason><s:Text>Server was unable to process: {escape(text)}</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>"
        )
        return web.Response(status=status, text=answer, content_type="application/soap+xml")
    if side == "sage":
        error = {"code": "operationFailed", "message": f"cannot process {text}", "errorId": "GW-9999"}
        return web.json_response({"ia::result": {"ia::error": error}}, status=status)
    return web.json_response({"error": "failed", "message": text, "error_description": text}, status=status)


def plant() -> None:
    """The secrets, the ears for tokens, the echoes."""
    SageSimulator.client_secret = ASKED["secrets"]["sage"]  # type: ignore[misc]
    start = PrimeSimulator.__init__

    def started(self: PrimeSimulator, kernel: Kernel, **options: Any) -> None:
        start(self, kernel, **options, password=ASKED["secrets"]["password"], client_secret=ASKED["secrets"]["rest"])

    issue, rest_issue, middleware = Tokens.issue, RestSide._issue, Kernel.middleware

    def issued(self: Tokens, raw: bytes, content_type: str) -> dict[str, Any]:
        given = issue(self, raw, content_type)
        keep(given["access_token"], ASKED["tokens"])
        return given

    def rest_issued(self: RestSide, purpose: Any) -> str:
        token = rest_issue(self, purpose)
        keep(token, ASKED["tokens"])
        return token

    def echoing(self: Kernel, side: Any, simulator: Any) -> Any:
        inner = middleware(self, side, simulator)

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            body = await request.read()
            if not request.path.startswith("/_sandbox"):
                seen = f"{request.method} {request.path} ".encode() + body
                for rule in ASKED["echoes"]:
                    if rule["side"] == side and rule["times"] and rule["in"].encode() in seen:
                        rule["times"] -= 1
                        keep(rule["in"], ASKED["repeated"])
                        return echo(side, request, body, rule["status"])
            return await inner(request, handler)

        return around

    PrimeSimulator.__init__ = started  # type: ignore[method-assign,assignment]
    Tokens.issue = issued  # type: ignore[method-assign]
    RestSide._issue = rest_issued  # type: ignore[method-assign]
    Kernel.middleware = echoing  # type: ignore[method-assign]


if __name__ == "__main__":
    plant()
    asyncio.run(serve(SandboxOptions(sage_port=0, prime_port=0, size=None)))
