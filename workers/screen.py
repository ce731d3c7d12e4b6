"""What a person sees: tables on stdout, progress bars and messages on stderr; or one JSON document on stdout."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from connect.errors import ConfigError, ConnectError

if TYPE_CHECKING:  # rich is imported when it is needed
    from rich.console import Console

SHOW_AFTER_S: Final = 2.0  # shorter work gets no progress bar
LOOK_EVERY_S: Final = 0.25


@dataclass
class Screen:
    """`json`: the command was asked for one JSON document."""

    json: bool = False
    printed: bool = field(default=False, init=False)

    def result(self, document: Any, human: Callable[[], None]) -> None:
        """Print a command's result: the document if JSON was asked for, else what `human` prints.

        A reader that has gone (`connect … | head`) is nobody's error: the command keeps its exit code.
        """
        try:
            if self.json:
                self.printed = True
                sys.stdout.write(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")
            else:
                human()
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
            if not isinstance(error, BrokenPipeError):
                raise ConnectError(f"the result could not be written to stdout: {error.strerror}", code="stdout") from None

    def say(self, text: str) -> None:
        """A line for a person, on stderr."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def failed(self, error: BaseException) -> int:
        """Say what went wrong, without a traceback. Returns the exit code: 2 wrong usage or configuration, 1 anything else."""
        if isinstance(error, ConnectError):
            message, code = error.message, 2 if isinstance(error, ConfigError) else 1
            if error.detail and error.detail not in message:
                message += f"\n{error.system or 'detail'}: {error.detail}"
        else:
            with tempfile.NamedTemporaryFile("w", prefix="connect-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
            message, code = (
                f"an error of this program: {type(error).__name__}: {error}\nThe details are in {file.name}; please report it with them.",
                1,
            )
        self.say(f"connect: {message}")
        if self.json and not self.printed:
            document = {"error": {"class": type(error).__name__, "code": getattr(error, "code", ""), "message": message}}
            self.result(document, lambda: None)
        return code


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """A table on stdout. Numbers get thousands separators; `right`: columns that hold numbers."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right)
    for row in rows:
        drawn.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)) for cell in row))
    console(width=None if sys.stdout.isatty() else 200, highlight=False).print(drawn)


def console(**options: Any) -> Console:
    """rich's console on stdout; that nobody reads any more is for `Screen.result` to handle (rich itself would exit with 1)."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Ours(file=sys.stdout, **options)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of progress. `total` None: not known yet."""

    name: str
    done: int
    total: int | None = None
    ended: bool = False
    note: str = ""


async def follow(look: Callable[[], Awaitable[Sequence[Bar]]], until: asyncio.Event) -> None:
    """Show bars with rows/s and time left until the event is set. Nothing on a pipe, and nothing for work of less than two seconds."""
    if not sys.stderr.isatty():
        await until.wait()
        return
    started = time.monotonic()
    while time.monotonic() - started < SHOW_AFTER_S:
        if await _waited(until, LOOK_EVERY_S):
            return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} rows/s" if speed else "", style="progress.data.speed")

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            total = f" of {task.total:,.0f}" if task.total is not None else ""
            return Text(f"{task.completed:,.0f}{total}", justify="right")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        Count(),
        Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=Console(file=sys.stderr),
        transient=True,
    ) as progress:
        shown: dict[str, Any] = {}
        while True:
            ended = await _waited(until, LOOK_EVERY_S)
            for bar in await look():
                if bar.name not in shown:
                    shown[bar.name] = progress.add_task(bar.name, total=bar.total, note="")
                total = bar.done if bar.ended else bar.total
                progress.update(shown[bar.name], completed=bar.done, total=total, note=bar.note)
            if ended:
                return


async def _waited(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
