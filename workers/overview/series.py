"""Series for charts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from operator import add
from typing import Final

from pydantic import Field

from connect.state.samples import Sample, Samples, newest_of, per_minute
from workers.jobs import STAGES, Tools
from workers.overview.model import Model, chosen_of

SAMPLES_MOST: Final = 1440


class Chart(Model):
    """Series of one connection, one place a minute where a sample was taken."""

    connection: str = Field(description="The connection's name.")
    at: list[datetime] = Field(description="When each sample was taken, oldest first.")
    depth: dict[str, list[int]] = Field(description="Jobs waiting, by stage.")
    in_flight: list[int] = Field(description="Jobs being worked on.")
    rows: dict[str, list[float]] = Field(description="Rows a minute: read, sent, unchanged, refused.")


async def charts(
    tools: Tools, *, connection: str | None = None, connections: Sequence[str] | None = None, minutes: int = 60
) -> list[Chart]:
    """Series of the newest samples (1,440 at most), by connection: one, those named, or all. The schedule stage takes one a minute."""
    chosen = [chosen_of(tools, name)[0] for name in connections] if connections is not None else chosen_of(tools, connection)
    loaded = await newest_of(tools.redis, [one.connection.sid for one in chosen], min(max(1, minutes), SAMPLES_MOST))
    return [_chart(one.connection.name, samples, per_minute(samples)) for one, samples in zip(chosen, loaded, strict=True)]


def _chart(name: str, samples: Sequence[Sample], rows: Sequence[Sequence[float]]) -> Chart:
    return Chart(
        connection=name,
        at=[datetime.fromtimestamp(sample.minute * 60, UTC) for sample in samples],
        depth={stage: [sample.depths[place] for sample in samples] for place, stage in enumerate(STAGES)},
        in_flight=[sample.in_flight for sample in samples],
        rows={name: [row[place] for row in rows] for place, name in enumerate(Samples.TOTALS)},
    )


async def sampled(tools: Tools) -> bytes:
    """The newest sample of the connection that is sampled last: charts are the same as long as it is."""
    last = next(reversed(tools.connections), "")
    return b"".join(await tools.redis.lrange(Samples.key(last), -1, -1))


async def chart_of_all(tools: Tools, *, minutes: int = 60) -> Chart:
    """All connections together; `connection` is empty. An hour of 200 connections costs some 40 ms of CPU."""
    minutes = min(max(1, minutes), SAMPLES_MOST)
    added: dict[int, list[float]] = {}
    for samples in await newest_of(tools.redis, [one.connection.sid for one in tools.connections.values()], minutes):
        for (minute, depths, in_flight, _), rows in zip(samples, per_minute(samples), strict=True):
            row = [*depths, in_flight, *rows]
            so_far = added.get(minute)
            added[minute] = row if so_far is None else list(map(add, so_far, row))
    found = sorted(added.items())[-minutes:]
    samples = [Sample(minute, [int(depth) for depth in row[: len(STAGES)]], int(row[len(STAGES)]), ()) for minute, row in found]
    return _chart("", samples, [row[len(STAGES) + 1 :] for _, row in found])
