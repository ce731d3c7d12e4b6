"""What Prime's registers hold now, read over REST: SOAP has no operation that reads them.

`GET /{register}/role/{role}`; currencies and object types have no role. Source: prime.md 6.2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from connect.errors import Transient
from connect.http import Reply
from connect.prime.rest import RESOURCES, PrimeRest

NO_ROLE: Final = ("Currency", "ObjectType")
PAGE_ROWS: Final = 500


class _Page(msgspec.Struct, rename="camel"):
    items: list[dict[str, Any]]
    total_count: int | None = None


class PresentRegisters:
    """Reads rows of one tenant. `role`: in whose name."""

    def __init__(self, rest: PrimeRest, role: str) -> None:
        self._rest = rest
        self._role = role

    async def rows(self, kind: str) -> AsyncIterator[dict[str, Any]]:
        """All rows of a kind ("Supplier", "SupplierBankAccount", …), of all companies, with REST's names.

        Raises Auth, Permanent or Transient.
        """
        path = RESOURCES[kind].path + ("" if kind in NO_ROLE else f"/role/{quote(self._role, safe='')}")
        index = read = 0
        while True:
            page = await self._rest.call("GET", f"{path}?{urlencode({'PageIndex': index, 'PageSize': PAGE_ROWS})}", None, _read)
            for row in page.items:
                yield row
            index, read = index + 1, read + len(page.items)
            if not page.items or (page.total_count is not None and read >= page.total_count):
                return


def _read(reply: Reply) -> _Page:
    try:
        return msgspec.json.decode(reply.body, type=_Page)
    except msgspec.DecodeError as error:
        raise Transient(f"Prime's answer is no page of a register ({error})", system="prime", code="unreadable") from error
