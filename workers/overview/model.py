"""What all of them share."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from workers.jobs import ConnectionTools, Tools

PAGE_MOST: Final = 500


class Model(BaseModel):
    """Base of all: cannot be changed."""

    model_config = ConfigDict(frozen=True)


def chosen_of(tools: Tools, name: str | None) -> list[ConnectionTools]:
    """One connection by its name, or all. Raises ConfigError naming those there are."""
    if name is None:
        return list(tools.connections.values())
    return [tools.connections[tools.config.connection(name).sid]]
