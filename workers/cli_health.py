"""`connect health`: for probes and for whoever wonders."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, tools_of_config, waited

EXAMPLE = (
    "Example:  connect health --stage fetch\n\nExit code 0 when all is well, 1 with the reasons when not. As a probe of a container: exec, "
    "every 20 s or so, with a time-out of 10 s."
)


class Stage(StrEnum):
    schedule = "schedule"
    fetch = "fetch"
    write = "write"
    post = "post"


def health(
    stage: Annotated[Stage | None, typer.Option(help="A worker of this stage, on this host; else all stages, wherever they run.")] = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Whether Redis answers and takes writes, and whether workers are alive."""
    from workers.health import Health
    from workers.health import health as look

    begin(as_json, level=LogLevel.error)
    loaded = load(config)

    async def ask() -> Health:
        async with tools_of_config(loaded) as tools:
            return await look(tools.redis, stage.value if stage else None)

    found = waited(ask())

    def human() -> None:
        for reason in found.reasons:
            screen.say(reason)
        if found.is_well:
            typer.echo("well")

    screen.result(found.document(), human)
    raise typer.Exit(0 if found.is_well else 1)
