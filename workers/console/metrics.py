"""What machines ask: /metrics (Prometheus), /healthz (is this process alive?), /readyz (can it serve?).

/healthz and /readyz answer everybody: a kubelet or a load balancer has no token. /metrics, and why it is not ready, are for this machine,
or for whoever sends `Authorization: Bearer` with a token of a user who may see all connections (`connect console token create`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Final

import orjson
from aiohttp import web
from prometheus_client.exposition import choose_encoder
from redis.exceptions import RedisError

from connect.config.models import is_loopback
from workers.console.route import Asked, Route
from workers.console.security import client_address, peer
from workers.health import redis_health
from workers.metrics import measure

BELIEVED_S: Final = 3600.0
HOW_TO: Final = (
    "metrics are for this machine, or for a bearer token of a user who may see all connections: connect console add-user prometheus "
    "--role viewer --no-password; connect console token create --user prometheus; authorization: credentials_file in prometheus.yml\n"
)


class Machines:
    """The three handlers. A token that was right is believed for a while when Redis is away: just then it must be seen that it is."""

    def __init__(self) -> None:
        self._accepted: dict[str, float] = {}  # hash of a token -> until when

    async def metrics(self, asked: Asked) -> web.Response:
        """The numbers of all processes, as Prometheus or OpenMetrics text."""
        if not await self._is_trusted(asked):
            return web.Response(status=401, text=HOW_TO, headers={"WWW-Authenticate": 'Bearer realm="connect"'})
        encode, content_type = choose_encoder(asked.request.headers.get("Accept", ""))
        numbers = await measure(asked.console.tools)
        body = await asyncio.to_thread(encode, numbers)  # many connections are many lines; others are served meanwhile
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def alive(self, _: Asked) -> web.Response:
        """This process runs. Redis away is no reason to start it anew."""
        return _json({"status": "ok"})

    async def ready(self, asked: Asked) -> web.Response:
        """Whether pages can be shown: Redis answers and takes writes."""
        state = await redis_health(asked.console.tools.redis)
        facts: dict[str, object] = {"status": "ready" if state.is_well else "not ready"}
        if await self._is_trusted(asked):
            facts["reasons"] = list(state.reasons)
        return _json(facts, 200 if state.is_well else 503)

    async def _is_trusted(self, asked: Asked) -> bool:
        """From this machine and not through a proxy on it, or with a token."""
        request = asked.request
        address = client_address(asked.console.listening, request)
        is_passed_on = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
        if (not address or is_loopback(address.removeprefix("::ffff:"))) and not (is_passed_on and address == peer(request)):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.casefold() != "bearer" or not token.strip():
            return False
        mark = hashlib.sha256(token.strip().encode(errors="replace")).hexdigest()
        try:
            user = await asked.console.users.by_token(token.strip())
        except (RedisError, OSError):
            return self._accepted.get(mark, 0.0) > time.monotonic()
        if user is None or user.connections:
            self._accepted.pop(mark, None)
            return False
        self._accepted[mark] = time.monotonic() + BELIEVED_S
        return True


def _json(facts: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(facts), content_type="application/json")


def metrics_routes() -> tuple[Route, ...]:
    machines = Machines()
    return (
        Route("GET", "/metrics", machines.metrics, role="anyone", probe=True, why="for Prometheus; a person has status and the pages"),
        Route("GET", "/healthz", machines.alive, role="anyone", probe=True, why="it says that this very process answers"),
        Route("GET", "/readyz", machines.ready, role="anyone", probe=True, cli="health"),
    )
