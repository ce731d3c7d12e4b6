"""Posts documents with the real adapters, and kills itself at the suspension it is told: `python victim.py CONNECT_TOML PROCESSES`.

A line of JSON on stdin is a case: {"case": name, "documents": [[series, number], …], "die_at": n, "settle": bool, "job": name}. Each is a
process of its own, forked from this one, so that start-up is paid once. A case that lives says so in a line on stdout: {"case",
"suspensions", "states": {number: state}}; of one that died: {"case", "died": signal}. `settle`: come back until nothing waits, as the queue
does. `job`: ExportInvoices unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import orjson
import structlog

from connect.config import Config, load_config
from connect.errors import Transient
from connect.ledger import DocumentId
from connect.posting import Result
from workers.documents import tools_of
from workers.posters import KINDS
from workers.settings import open_tools

COMPANY = "100"
BATCH = 20
SETTLES_WITHIN_S = 180.0

log = structlog.get_logger()


class Death:
    """Counts the suspensions of every task made from now on, and kills the process at one of them. `at` 0: never."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.suspensions = 0

    def task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """A task factory."""

        async def watched() -> Any:
            return await self._steps(coroutine)

        return asyncio.Task(watched(), loop=loop, **options)

    @types.coroutine
    def _steps(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                wanted = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as done:
                return done.value
            self.suspensions += 1
            if self.suspensions == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            value, error = None, None
            try:
                value = yield wanted
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - handed on into the coroutine
                error = raised


async def live(config: Config, case: dict[str, Any]) -> dict[str, Any]:
    """One case, if it is not its last."""
    async with open_tools(config) as tools:
        connection = next(iter(tools.connections.values()))
        opened = await KINDS[case.get("job", "ExportInvoices")](tools, connection, COMPANY)
        environment = tools_of(connection).prime.environment
        left = [DocumentId(environment, COMPANY, series, number) for series, number in case["documents"]]
        states: dict[str, str] = {}
        death = Death(case.get("die_at", 0))
        until = time.monotonic() + SETTLES_WITHIN_S
        while left:
            asyncio.get_running_loop().set_task_factory(death.task)
            results: list[Result] = []
            for start in range(0, len(left), BATCH):
                some = left[start : start + BATCH]
                try:
                    results += await asyncio.create_task(opened.post(some))
                except Transient as error:  # as the queue does: all of them later
                    log.warning("the whole batch comes again", error=error.message, code=error.code)
                    results += [Result(one, "waiting", again_s=1.0, note=error.message) for one in some]
            asyncio.get_running_loop().set_task_factory(None)
            states |= {result.id.number: result.state for result in results}
            left = [result.id for result in results if result.state in ("waiting", "busy")]
            if not left or not case.get("settle") or time.monotonic() > until:
                break
            await asyncio.sleep(min(result.again_s for result in results if result.state in ("waiting", "busy")))
        return {"case": case["case"], "suspensions": death.suspensions, "states": states}


def main(config_path: Path, processes: int) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    config = load_config(config_path)
    running: dict[int, str] = {}

    def say(words: dict[str, Any]) -> None:
        os.write(1, orjson.dumps(words) + b"\n")

    def reap() -> None:
        pid, status = os.wait()
        case = running.pop(pid)
        if os.WIFSIGNALED(status):
            say({"case": case, "died": os.WTERMSIG(status)})
        elif status:
            say({"case": case, "failed": os.WEXITSTATUS(status)})

    for line in sys.stdin:
        case = orjson.loads(line)
        while len(running) >= processes:
            reap()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                say(asyncio.run(live(config, case)))
                status = 0
            except BaseException:  # noqa: BLE001 - for the log; the parent hears of the status
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)  # nothing of the parent's is ended
        running[pid] = case["case"]
    while running:
        reap()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
