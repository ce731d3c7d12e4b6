"""The story of a document: every step with its time, and the document by any of its numbers.

    connect:{sid}:doc:{kind}:{root marker}:story   stream  {step, system, …}; the newest 200 or so, kept 400 days; the journal writes too
    connect:{sid}:number:{number}                  set     the documents that are known by it, kept as long

Nothing depends on it: it is for a person who asks `connect trace`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from connect.ledger import DocumentId
from connect.state.journal import KEEP_S

STEPS_MOST: Final = 200


class Traced(NamedTuple):
    """A document that has a story."""

    kind: str
    id: DocumentId


class Story:
    """The stories of one connection."""

    def __init__(self, redis: Redis, sid: str) -> None:
        self._redis = redis
        self._sid = sid

    async def tell(self, kind: str, document: DocumentId, step: str, *, numbers: Iterable[str] = (), **facts: str) -> None:
        """One more step, and the numbers by which the document is known from now on."""
        key = self._key(kind, document)
        fields = {"step": step, **{name: value for name, value in facts.items() if value}}
        known = {self.number_key(number) for number in (document.text, document.number, document.marker(), *numbers) if number}
        who = orjson.dumps([kind, *document])
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, fields, maxlen=STEPS_MOST, approximate=True)
            pipe.expire(key, KEEP_S)
            for number in known:
                pipe.sadd(number, who)
                pipe.expire(number, KEEP_S)
            await pipe.execute()

    async def steps(self, kind: str, document: DocumentId) -> list[dict[str, Any]]:
        """The steps, oldest first: {at, step, system, …}."""
        rows = await self._redis.xrange(self._key(kind, document))
        return [{"at": _time(name)} | {field.decode(): value.decode() for field, value in fields.items()} for name, fields in rows]

    def _key(self, kind: str, document: DocumentId) -> str:
        return f"connect:{self._sid}:doc:{kind}:{document.marker()}:story"

    def number_key(self, number: str) -> str:
        """Where the documents of a number are."""
        return f"connect:{self._sid}:number:{number.casefold()}"


def _time(name: bytes) -> str:
    return datetime.fromtimestamp(int(name.split(b"-")[0]) / 1000, UTC).isoformat(timespec="milliseconds")


async def known_among(redis: Redis, sids: Sequence[str], number: str) -> dict[str, list[Traced]]:
    """By connection, the documents that have this number, in any of its meanings, whatever the case; in one round trip."""
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.smembers(Story(redis, sid).number_key(number.strip()))
        answers = await pipe.execute()
    return {
        sid: [Traced(kind, DocumentId(*identity)) for kind, *identity in map(orjson.loads, sorted(rows))]
        for sid, rows in zip(sids, answers, strict=True)
    }
