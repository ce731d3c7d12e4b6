"""A bill's files in Sage: one attachment, whose id is the document's marker, holding all of them.

The id is chosen by us, so it is its own idempotency key: a second creation is refused as a duplicate, and what is there is then made to
hold exactly the files wanted, compared by their content. Source: sage-rest.md g.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connect.errors import OutcomeUnknown, Permanent, Transient
from connect.ledger import root_of
from connect.sage.client import BeforeWrite, SageClient
from connect.sage.query import Query
from connect.sage.refusals import DUPLICATE

ATTACHMENT: Final = "company-config/attachment"
FOLDER: Final = "company-config/folder"
BILL: Final = "accounts-payable/bill"
BODY_LIMIT_BYTES: Final = 1_000_000  # Sage takes no larger request (sage-rest.md d)
USED: Final = "attachment_used"
FOLDER_KEPT_S: Final = 600.0
_FRAME_BYTES: Final = 400  # around the files of a request


@dataclass(frozen=True)
class File:
    """One file as Prime has it."""

    name: str
    content: bytes = field(repr=False)

    @property
    def identity(self) -> tuple[str, str]:
        return self.name, hashlib.sha256(self.content).hexdigest()

    def packed(self) -> bytes:
        return b'{"name":%b,"data":"%b"}' % (orjson.dumps(self.name), base64.b64encode(self.content))


@dataclass(frozen=True)
class Files:
    """What a bill's attachment holds. `id`: the marker; `folder`: the folder's id."""

    id: str
    folder: str
    files: tuple[File, ...]
    name: str = ""

    def body(self, packed: Sequence[bytes]) -> bytes:
        """The request that creates it with these of its files."""
        head = orjson.dumps({"id": self.id, "name": self.name or self.id, "folder": {"id": self.folder}})
        return head[:-1] + b',"files":[' + b",".join(packed) + b"]}"


@dataclass(frozen=True)
class Folder:
    """A folder for attachments."""

    key: str
    id: str


class Attachments:
    """The attachments of one connection. `limit_bytes`: the largest request that Sage takes."""

    def __init__(self, client: SageClient, *, limit_bytes: int = BODY_LIMIT_BYTES, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._folders: dict[tuple[str, str], tuple[float, Folder]] = {}
        self.limit_bytes = limit_bytes
        self._made: dict[str, str] = {}  # marker -> key, of attachments whose bill is not booked yet: queries may not show them yet

    async def folder(self, name: str, *, entity: str = "") -> Folder | None:
        """The folder with this id or key. One that was there is believed for a while: were it gone, the attachment would be refused."""
        kept = self._folders.get((name, entity))
        if kept is not None and self._monotonic() - kept[0] < FOLDER_KEPT_S:
            return kept[1]
        names = [{"$eq": {"id": name}}, *([{"$eq": {"key": name}}] if name.isascii() and name.isdigit() else [])]
        query = Query(FOLDER, ("key", "id"), tuple(names), expression="or", include_private=True)
        rows = [orjson.loads(raw) for _, raw in await self._client.rows_of(query, entity=entity)]
        rows.sort(key=lambda row: row["id"] != name)
        if not rows:
            return None
        found = Folder(str(rows[0]["key"]), rows[0]["id"])
        self._folders[name, entity] = self._monotonic(), found
        return found

    def check(self, files: Files) -> None:
        """Raises Permanent "file_too_big" for files that no request can carry."""
        most = self.limit_bytes - _FRAME_BYTES - len(orjson.dumps([files.id, files.name, files.folder]))
        big = [file for file in files.files if _packed_size(file) > most]
        if big:
            names = ", ".join(f"{file.name} ({len(file.content) / 1000:,.0f} kB)" for file in big)
            raise Permanent(
                f"The file is too big for Sage, which takes about {most * 3 // 4 / 1000:,.0f} kB: {names}",
                system="sage",
                code="file_too_big",
            )

    def note(self, marker: str, key: str) -> None:
        """It was made, its bill not yet."""
        self._made[marker] = key

    def booked(self, marker: str) -> None:
        """Its bill is there."""
        self._made.pop(marker, None)

    async def put(self, files: Files, before_write: BeforeWrite, *, entity: str = "") -> None:
        """Make it hold exactly these files, whatever of them is there already. Raises as `align` does; Permanent when Sage refuses it."""
        self.check(files)
        first, *others = self._requests([file.packed() for file in files.files])
        try:
            made = await self._client.write(
                "POST", f"/objects/{ATTACHMENT}", files.body(first), before_write=before_write, what=ATTACHMENT, entity=entity
            )
        except Permanent as error:
            if error.code != DUPLICATE:
                raise
            await self.align(files, before_write, entity=entity)
            return
        key = str(made.result["key"])
        self.note(files.id, key)
        for packed in others:
            await self._change(key, packed, before_write, entity)

    async def align(self, files: Files, before_write: BeforeWrite, *, entity: str = "") -> None:
        """It is there: make it hold exactly these files.

        Raises OutcomeUnknown "attachment_used" when a bill has it already; Transient when queries do not show it yet.
        """
        key = self._made.get(files.id) or await self._key_of(files.id)
        if key is None:
            raise Transient(f"The attachment {files.id} is in Sage, but queries do not show it yet", system="sage", code="attachment")
        if await self._used([files.id]):
            raise OutcomeUnknown(f"A bill with the attachment {files.id} is in Sage", system="sage", code=USED)
        record = await self._client.record(f"{ATTACHMENT}/{key}", entity=entity)
        there = record.get("files") or [] if record is not None else []
        wanted, gone = _difference(files.files, there)
        for packed in self._requests([_deletion(file) for file in gone] + [file.packed() for file in wanted]):
            await self._change(key, packed, before_write, entity)
        self.note(files.id, key)

    async def delete(self, marker: str, before_write: BeforeWrite, *, entity: str = "") -> bool:
        """Take it away. False when there is none."""
        key = self._made.get(marker) or await self._key_of(marker)
        if key is None:
            return False
        return await self._delete(marker, key, before_write, entity)

    async def drop_earlier(self, marker: str, before_write: BeforeWrite, *, entity: str = "") -> None:
        """Take away what earlier revisions of the document left without a bill."""
        for name, key in (await self._left(root_of(marker), but=marker)).items():
            await self._delete(name, key, before_write, entity)

    async def left(self, root: str) -> bool:
        """Whether the document has files here that no bill has."""
        return bool(await self._left(root))

    async def drop_left(self, root: str, gone_bill: str, before_write: BeforeWrite, *, entity: str = "") -> None:
        """Take away all of the document's files that no bill has; `gone_bill`: one that queries may still show."""
        for name, key in (await self._left(root, gone_bill=gone_bill)).items():
            await self._delete(name, key, before_write, entity)

    async def _left(self, root: str, *, but: str = "", gone_bill: str = "") -> dict[str, str]:
        """A document's attachments, marker -> key, that no bill has."""
        query = Query(ATTACHMENT, ("key", "id"), ({"$startsWith": {"id": root}},), include_private=True)
        rows = [orjson.loads(raw) for _, raw in await self._client.rows_of(query)]
        found = {str(row["id"]): str(row["key"]) for row in rows} | self._made
        there = {name: key for name, key in found.items() if name != but and root_of(name) == root}
        used = await self._used(list(there), but=gone_bill) if there else set()
        return {name: key for name, key in there.items() if name not in used}

    async def _change(self, key: str, packed: Sequence[bytes], before_write: BeforeWrite, entity: str) -> None:
        body = b'{"files":[' + b",".join(packed) + b"]}"
        await self._client.write("PATCH", f"/objects/{ATTACHMENT}/{key}", body, before_write=before_write, what=ATTACHMENT, entity=entity)

    async def _delete(self, marker: str, key: str, before_write: BeforeWrite, entity: str) -> bool:
        self._made.pop(marker, None)
        try:
            await self._client.write(
                "DELETE", f"/objects/{ATTACHMENT}/{key}", None, before_write=before_write, what=ATTACHMENT, entity=entity
            )
        except Permanent as error:
            if error.status != 404:
                raise
            return False
        return True

    async def _key_of(self, marker: str) -> str | None:
        query = Query(ATTACHMENT, ("key", "id"), ({"$eq": {"id": marker}},), include_private=True)
        rows = await self._client.rows_of(query)
        return str(rows[0][0]) if rows else None

    async def _used(self, markers: Sequence[str], *, but: str = "") -> set[str]:
        """Those of the attachments that a bill has, another than `but`."""
        query = Query(BILL, ("key", "attachment.id"), ({"$in": {"attachment.id": list(markers)}},), include_private=True)
        rows = await self._client.rows_of(query)
        return {orjson.loads(raw)["attachment.id"] for key, raw in rows if str(key) != but}

    def _requests(self, packed: Sequence[bytes]) -> list[list[bytes]]:
        """Cut into requests below the limit."""
        requests: list[list[bytes]] = []
        size = 0
        for one in packed:
            if not requests or size + len(one) + 1 > self.limit_bytes:
                requests.append([])
                size = 2 * _FRAME_BYTES
            requests[-1].append(one)
            size += len(one) + 1
        return requests


def _packed_size(file: File) -> int:
    return -(-len(file.content) // 3) * 4 + len(orjson.dumps(file.name)) + 20


def _deletion(file: dict[str, Any]) -> bytes:
    return orjson.dumps({"key": str(file["key"]), "ia::operation": "delete"})


def _difference(wanted: Sequence[File], there: Sequence[dict[str, Any]]) -> tuple[list[File], list[dict[str, Any]]]:
    """(files to add, files of Sage's to take away), so that those wanted are there, each as often as it is wanted."""
    missing = Counter(file.identity for file in wanted)
    gone = []
    for file in there:
        identity = _identity(file)
        if missing[identity] > 0:
            missing[identity] -= 1
        else:
            gone.append(file)
    added = []
    for one in wanted:
        if missing[one.identity] > 0:
            missing[one.identity] -= 1
            added.append(one)
    return added, gone


def _identity(file: dict[str, Any]) -> tuple[str, str]:
    """Name and content of a file as Sage has it; one whose content it does not show is like no other."""
    data = file.get("data")
    if not isinstance(data, str):
        return str(file.get("name")), ""
    return str(file.get("name")), hashlib.sha256(base64.b64decode(data)).hexdigest()
