"""What a Prime must offer for registers. Two clients keep this promise: `soap.SoapRegisters` and `rest.RestRegisters`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from connect.errors import ConnectError


class RowResult(NamedTuple):
    """What became of one row.

    `error` None: Prime answered. `code` 0 is accepted, any other is refused, and `message` holds Prime's own words (prime.md D3).
    `error` set (Transient, RateLimited, Auth): the row was not tried, or its outcome is not known; it may be sent again, since writes are
    upserts.
    """

    code: int = 0
    message: str = ""
    error: ConnectError | None = None

    @property
    def accepted(self) -> bool:
        return self.error is None and self.code == 0


class PrimeInfo(NamedTuple):
    """Who answered. `version` is "" and `companies` None where the transport does not tell."""

    version: str
    companies: tuple[str, ...] | None


class RegisterWriter(Protocol):
    """Writes register rows to one Prime environment."""

    async def write(self, kind: str, company: str, bodies: Sequence[bytes]) -> list[RowResult]:
        """Upsert rows of one kind ("Supplier", "Object", …), each a JSON object with this transport's field names.

        Never raises for what one row or one call met: the answer has the length and the order of `bodies`.
        """

    async def check(self) -> PrimeInfo:
        """Whether we are let in, and by whom. Raises Auth, Transient or Permanent."""
