"""Any number, and the whole story of what has it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from connect.errors import ConfigError
from workers import overview
from workers.console.letters_page import runs_path
from workers.console.route import Asked, Route

NUMBER_MOST: Final = 200


async def show(asked: Asked) -> web.Response:
    number = asked.text("number")
    if len(number) > NUMBER_MOST:
        raise ConfigError(f"number: {len(number)} characters, at most {NUMBER_MOST} are looked for", code="number")
    return asked.page(
        "documents.html", number=number, story=await overview.story(asked.tools, number) if number else None, runs_path=runs_path(asked)
    )


ROUTES: Final = [Route("GET", "/documents", show, role="viewer", cli="trace", nav="Documents")]
