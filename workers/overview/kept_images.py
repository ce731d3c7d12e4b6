"""Files of invoices that were looked at a moment ago.

Prime gives all files of an invoice or none (GetInvoiceImage, prime.md 6.1), and a page asks for their list and for each of them: without
this, one look fetches them all several times over.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from connect.prime.documents import Image

KEPT_S: Final = 60.0
MOST_BYTES: Final = 64_000_000
Key = tuple[str, str, str]
Later = Callable[[float, Callable[[], None]], Any]


class KeptImages:
    """Files by connection, series and number: for a minute, 64 MB in all, the oldest go first. More than that of one invoice is not kept.

    Whose files they are is not looked at here: ask only for those that the person may see. `later`: calls something after some seconds.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, later: Later | None = None) -> None:
        self._most = most_bytes
        self._later = later
        self._kept: dict[Key, Sequence[Image]] = {}
        self._asking: weakref.WeakValueDictionary[Key, asyncio.Lock] = weakref.WeakValueDictionary()

    @property
    def size_bytes(self) -> int:
        return sum(map(_size, self._kept.values()))

    async def of(self, key: Key, ask: Callable[[], Awaitable[Sequence[Image]]]) -> Sequence[Image]:
        """Those of an invoice; `ask` is called where they are not here, once for all who wait. Raises what it raises, and keeps nothing."""
        async with self._asking.setdefault(key, asyncio.Lock()):
            found = self._kept.get(key)
            if found is None:
                found = await ask()
                self._keep(key, found)
            return found

    def _keep(self, key: Key, found: Sequence[Image]) -> None:
        if _size(found) > self._most:
            return
        while self._kept and self.size_bytes + _size(found) > self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = found
        later = self._later or asyncio.get_running_loop().call_later
        later(KEPT_S, lambda: self._drop(key, found))

    def _drop(self, key: Key, found: Sequence[Image]) -> None:
        if self._kept.get(key) is found:  # else they went before, and perhaps came anew
            del self._kept[key]


def _size(images: Sequence[Image]) -> int:
    return sum(len(image.data) for image in images)
