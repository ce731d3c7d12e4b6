"""What is asked of Sage's query service, and its answers, kept as bytes for as long as possible.

Source: sage-rest.md c (query service), a (envelope).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from operator import contains
from typing import Any, Final

import msgspec
import orjson
from xxhash import xxh3_64_intdigest

from connect.errors import Poison

MAX_SIZE: Final = 4000  # rows a page, Sage's maximum
LARGEST_KEY: Final = 2**63 - 1
_HEAD: Final = b'{"ia::result":['
_TAIL: Final = b'],"ia::meta":'
_BOUNDARY: Final = b'},{"key":"'
_ROW: Final = b'{"key":"'


@dataclass(frozen=True)
class Query:
    """One query. `fields` starts with "key"; `filters` are Sage's own `{"$op": {field: value}}` objects."""

    object: str
    fields: tuple[str, ...]
    filters: tuple[dict[str, Any], ...] = ()
    expression: str = "and"
    order_by: tuple[tuple[str, str], ...] = (("key", "asc"),)
    start: int = 1
    size: int = MAX_SIZE
    include_private: bool = False

    def body(self) -> bytes:
        """The request's JSON."""
        asked: dict[str, Any] = {
            "object": self.object,
            "fields": self.fields,
            "orderBy": [{name: way} for name, way in self.order_by],
            "start": self.start,
            "size": self.size,
        }
        if self.filters:
            asked |= {"filters": self.filters, "filterExpression": self.expression}
        if self.include_private:
            asked["filterParameters"] = {"includePrivate": True}
        return orjson.dumps(asked)


class _Meta(msgspec.Struct):
    total_count: int | str | None = msgspec.field(name="totalCount", default=None)
    next: int | str | None = None


class _Envelope(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="ia::result", default=msgspec.Raw(b"null"))
    meta: _Meta | None = msgspec.field(name="ia::meta", default=None)


class _Keyed(msgspec.Struct):
    key: str | int


_meta = msgspec.json.Decoder(_Meta).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_keyed = msgspec.json.Decoder(_Keyed).decode


class QueryPage:
    """One page of an answer. Nothing is decoded until somebody asks.

    Raises Poison when the body is no answer of the query service (HTML, cut off, another shape).
    """

    __slots__ = ("_end", "_start", "body", "next", "total_count")

    def __init__(self, body: bytes, what: str = "") -> None:
        self.body = body
        try:
            meta = self._cut(body) or self._read(body)
            total, after = meta.total_count, meta.next
            self.total_count = int(total) if total is not None else -1
            self.next = int(after) if after else None
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise _no_answer(body, what, str(error)) from error
        if self.body[self._start : self._start + 1] != b"[":
            raise _no_answer(body, what, "ia::result is no list")
        if self.total_count < 0:  # without it nobody could say that a read is complete
            raise _no_answer(body, what, "ia::meta has no totalCount")

    def _cut(self, body: bytes) -> _Meta | None:
        """Where the rows of a compact page lie; None when it is not written as expected."""
        end = body.rfind(_TAIL) if body.startswith(_HEAD) else -1
        if end < 0:
            return None
        try:
            meta = _meta(memoryview(body)[end + len(_TAIL) : -1])
        except msgspec.DecodeError:
            return None
        self._start, self._end = len(_HEAD) - 1, end + 1
        return meta

    def _read(self, body: bytes) -> _Meta:
        """The slow way: spaces, or another order."""
        envelope = _envelope(body)
        self.body = bytes(envelope.result)
        self._start, self._end = 0, len(self.body)
        return envelope.meta or _Meta()

    def region(self) -> memoryview:
        """The JSON array of rows, as it came."""
        return memoryview(self.body)[self._start : self._end]

    def digest(self) -> int:
        return xxh3_64_intdigest(self.region())

    def rows(self) -> list[tuple[int, bytes]]:
        """(key, JSON bytes) of each row, in the order of the reply."""
        pieces = self._pieces()
        if pieces:
            try:
                keys = [int(piece[: piece.index(b'"')]) for piece in pieces]
                for at, piece in enumerate(pieces):  # in its place: a page is large, and would be in memory once more
                    pieces[at] = b'{"key":"%b}' % piece
                return _possible(list(zip(keys, pieces, strict=True)))
            except ValueError as error:
                raise Poison(f"Sage sent a row whose key is no number: {error}", system="sage", code="bad_key") from error
        try:
            return _possible([(int(_keyed(raw).key), bytes(raw)) for raw in _raws(self.region())])
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Poison(f"Sage sent rows that cannot be read: {error}", system="sage", code="bad_rows") from error

    def _pieces(self) -> list[bytes]:
        """The rows of a compact page, cut at `},{"key":"`, each without what is cut at; none when they must be read the slow way.

        A quote inside a string is escaped, so that is a boundary between rows, unless rows hold lists of objects, which Sage's query
        service does not give. And every boundary must be one like that: a row may be written in another order, a text hold `},{`.
        """
        body = self.body
        if not body.startswith(b"[" + _ROW, self._start) or not body.endswith(b"}]", 0, self._end):
            return []
        if body.find(b"[", self._start + 1, self._end) >= 0 and body.find(b":[{", self._start) >= 0:  # one byte is found sooner than three
            return []
        pieces = body[self._start + 1 + len(_ROW) : self._end - 2].split(_BOUNDARY)
        flat = not any(map(contains, pieces, repeat(b"}")))  # the cheaper proof
        return pieces if flat or body.count(b"},{", self._start, self._end) == len(pieces) - 1 else []


def _possible(rows: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    for key, _ in rows:
        if not 0 < key < LARGEST_KEY:
            raise ValueError(f"{key} is no record number")
    return rows


def _no_answer(body: bytes, what: str, why: str) -> Poison:
    shown = body[:80].decode(errors="replace").strip() or "(empty)"
    return Poison(
        f"Sage answered a query{f' of {what}' if what else ''} with something that is no page of rows ({why}); it starts: {shown}",
        system="sage",
        code="no_page",
        detail=body[:2000].decode(errors="replace"),
    )
