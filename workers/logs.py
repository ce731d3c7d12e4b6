"""How log lines look: structlog on stderr, one JSON object per line, or coloured text on a terminal.

Lines of libraries that use the standard `logging` (arq, aiohttp, asyncio) take the same form. stdout belongs to a command's result.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]
FORMAT_VARIABLE: Final = "CONNECT_LOG_FORMAT"  # so that child processes log as their parent does
LEVEL_VARIABLE: Final = "CONNECT_LOG_LEVEL"


def configure(log_format: Format | None = None, level: Level | None = None) -> None:
    """Set up logging for this process and, through the environment, for those it starts.

    What is not given comes from the environment, else auto (console on a terminal, JSON elsewhere) and info.
    """
    chosen = log_format or os.environ.get(FORMAT_VARIABLE, "auto")
    if chosen not in ("json", "console"):
        chosen = "console" if sys.stderr.isatty() else "json"
    name = (level or os.environ.get(LEVEL_VARIABLE, "info")).upper()
    number = logging.getLevelNamesMapping().get(name, logging.INFO)
    os.environ[FORMAT_VARIABLE], os.environ[LEVEL_VARIABLE] = chosen, logging.getLevelName(number).lower()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any
    if chosen == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


class _Stderr:
    """stderr as long as somebody reads it, a line at a time: several processes may share it.

    Work goes on without its log: a closed pipe must not look like an error of the work.
    """

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: the file has been closed
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
