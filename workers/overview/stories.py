"""The story of a document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from workers import letters as told
from workers.jobs import Tools
from workers.overview.model import Model


class Step(Model):
    """One step of a document."""

    model_config = ConfigDict(frozen=True, extra="allow")

    at: datetime = Field(description="When.")
    step: str = Field(description="What happened.")
    system: str = Field(default="", description="Where: prime, connect or sage.")
    by: str = Field(default="", description="Who, if a person did it.")
    result: str = Field(default="", description="In words.")


class DocumentStory(Model):
    """The whole story of a document or row."""

    connection: str
    company: str
    kind: str = Field(description="bill, payment, or the kind of row.")
    document: str = Field(description="Series and number, or the row's number.")
    marker: str = Field(description="What it is known by in Sage; empty for a row.")
    journal: dict[str, Any] | None = Field(description="What has been done with it: state, key in Sage, revision, …")
    letters: list[dict[str, Any]] = Field(description="Its dead letters.")
    runs: list[dict[str, str]] = Field(description="The runs that worked on it.")
    steps: list[Step] = Field(description="Oldest first.")


class Story(Model):
    """Everything that has a number."""

    number: str
    documents: list[DocumentStory]


async def story(tools: Tools, number: str) -> Story:
    """By any of its numbers: series and number, the supplier's number, the bill's key, a payment reference."""
    found = await told.trace(tools, number)
    return Story(number=number, documents=[DocumentStory.model_validate(one) for one in found])
