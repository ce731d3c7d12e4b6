"""`connect backup` and `connect restore`: what only Redis has, in a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, waited

if TYPE_CHECKING:  # late imports: see cli.py
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from connect.state.backup import Summary

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]
BACKUP_EXAMPLE: Final = (
    "Example:  connect backup connect-$(date +%F).gz\n\nWhile everything runs. The file holds what dead letters hold (sealed payloads stay "
    "sealed) and the console's users: only its owner can read it, keep it so."
)
RESTORE_EXAMPLE: Final = (
    "Example:  connect restore connect-2026-03-01.gz\n\nWorkers and console must be stopped. Every row is sent to Prime once more; "
    "documents wait until whatever was under way must show in Sage."
)


def backup(file: FileArgument, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Write a file of what only Redis has: dead letters, audit trail, journals, known rows, pauses, the console's users."""
    from connect.state import backup as backups

    begin(as_json, level=LogLevel.warning)
    found = waited(_with_redis(config, lambda redis: backups.backup(redis, file)))
    _show(found, f"{file} holds")
    for name in found.left_out:
        screen.say(f"left out, since it changed all the time: {name} (what is known of these rows is found out anew)")


def restore(
    file: FileArgument,
    force: Annotated[bool, typer.Option("--force", help="Empty the store first.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into an empty Redis."""
    from connect.state import backup as backups

    begin(as_json, level=LogLevel.warning)
    found = waited(_with_redis(config, lambda redis: backups.restore(redis, file, force=force)))
    _show(found, f"restored from {file}, as of {found.at[:19]}Z:")
    screen.say(
        "Start the workers. On another Redis than before, Prime takes this for another Connect: once the old one is gone for good, "
        "`connect take-over` lets this one have the documents. `connect audit verify` checks the trail."
    )


async def _with_redis(path: Path, work: Callable[[Redis], Awaitable[Summary]]) -> Summary:
    """A client alone: neither Sage nor Prime is needed."""
    from connect.state.embedded import redis_server
    from workers.settings import connect_redis

    async with redis_server(load(path)) as server:
        redis = connect_redis(server)
        try:
            return await work(redis)
        finally:
            await redis.aclose()


def _show(found: Summary, words: str) -> None:
    def human() -> None:
        typer.echo(f"{words} {found.letters:,} dead letters, {found.acts:,} acts of the audit trail, {found.keys:,} keys in all")

    screen.result(asdict(found), human)
