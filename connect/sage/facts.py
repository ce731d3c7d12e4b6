"""What Sage's registers say about the vendors, accounts, dimension values and currencies of documents that are about to be posted.

A few queries for any number of documents; what Sage does not have is missing from the answers. Source: sage-rest.md f.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import orjson

from connect.sage.client import SageClient
from connect.sage.query import Query

NUMBERS: Final = 500  # looked for in one query
VENDOR: Final = "accounts-payable/vendor"
ACCOUNT: Final = "general-ledger/account"
CURRENCY: Final = "company-config/txn-currency"
RATE: Final = "company-config/exchange-rate"
RATE_LINE: Final = "company-config/exchange-rate-line"
BANKS: Final = ("cash-management/checking-account", "cash-management/savings-account", "cash-management/credit-card-account")
REQUIRABLE: Final = (
    "department", "location", "project", "customer", "vendor", "employee", "item", "class", "contract", "task", "warehouse", "costType",
    "affiliateEntity", "asset",
)  # fmt: skip
WITHOUT_STATUS: Final = frozenset({"projects/task", "contracts/contract"})


@dataclass(frozen=True, kw_only=True)
class VendorFacts:
    """A vendor. `state`: "s" submitted, "a" approved, "r" declined."""

    id: str
    key: str
    name: str
    status: str
    state: str
    on_hold: bool
    do_not_pay: bool


@dataclass(frozen=True, kw_only=True)
class AccountFacts:
    """An account. `required`: the dimensions that each line on it must carry, named as in a bill's lines."""

    id: str
    key: str
    name: str
    status: str
    direct_posting: bool
    required: frozenset[str]


class SageFacts:
    """The registers of one connection, as they are now. `numbers`: whether Prime's numbers are Sage's ids or its keys (KeySource)."""

    def __init__(self, client: SageClient, *, numbers: Literal["id", "key"] = "id") -> None:
        self._client = client
        self._number = numbers

    async def vendors(self, numbers: Collection[str], *, entity: str = "") -> dict[str, VendorFacts]:
        """By their numbers."""
        fields = ("key", "id", "name", "status", "state", "isOnHold", "doNotPay")
        return {
            str(row[self._number]): VendorFacts(
                id=row["id"],
                key=str(row["key"]),
                name=_text(row, "name"),
                status=_text(row, "status") or "active",
                state=_text(row, "state") or "a",
                on_hold=_flag(row, "isOnHold"),
                do_not_pay=_flag(row, "doNotPay"),
            )
            for row in await self._rows(VENDOR, fields, numbers, entity)
        }

    async def accounts(self, numbers: Collection[str], *, entity: str = "") -> dict[str, AccountFacts]:
        """By their numbers."""
        required = tuple(f"requireDimensions.{name}" for name in REQUIRABLE)
        fields = ("key", "id", "name", "status", "disallowDirectPosting", *required)
        return {
            str(row[self._number]): AccountFacts(
                id=row["id"],
                key=str(row["key"]),
                name=_text(row, "name"),
                status=_text(row, "status") or "active",
                direct_posting=not _flag(row, "disallowDirectPosting"),
                required=frozenset(name for name in REQUIRABLE if _flag(row, f"requireDimensions.{name}")),
            )
            for row in await self._rows(ACCOUNT, fields, numbers, entity)
        }

    async def statuses(self, source_object: str, numbers: Collection[str], *, entity: str = "") -> dict[str, str]:
        """number -> status of records of any object: values of a dimension (company-config/department, platform-apps/nsp::region), tax
        details. Objects that have no status are always active.
        """
        fields = ("key", "id", *(() if source_object in WITHOUT_STATUS else ("status",)))
        rows = await self._rows(source_object, fields, numbers, entity)
        return {str(row[self._number]): _text(row, "status") or "active" for row in rows}

    async def currencies(self, *, entity: str = "") -> frozenset[str]:
        """The codes of the currencies that the company has enabled; none at all where it keeps a single currency."""
        rows = await self._client.rows_of(Query(CURRENCY, ("key", "id"), include_private=True), entity=entity)
        return frozenset(orjson.loads(raw)["id"] for _, raw in rows)

    async def rates(self, pairs: Collection[tuple[str, str]], *, entity: str = "") -> dict[tuple[str, str], date]:
        """(currency, base currency) -> the day of its first rate; pairs without any are missing."""
        if not pairs:
            return {}
        filters = (
            {"$in": {"fromCurrency": sorted({pair[0] for pair in pairs})}},
            {"$in": {"toCurrency": sorted({pair[1] for pair in pairs})}},
        )
        query = Query(RATE, ("key", "fromCurrency", "toCurrency"), filters, include_private=True)
        keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        for _, raw in await self._client.rows_of(query, entity=entity):
            row = orjson.loads(raw)
            keys[row["fromCurrency"], row["toCurrency"]].append(str(row["key"]))
        found = {}
        for pair in sorted(keys.keys() & set(pairs)):
            first = Query(
                RATE_LINE,
                ("key", "effectiveStartDate"),
                ({"$in": {"exchangeRate.key": keys[pair]}},),
                order_by=(("effectiveStartDate", "asc"), ("key", "asc")),
                size=1,
                include_private=True,
            )
            rows = (await self._client.query(first, entity=entity)).rows()
            if rows:
                found[pair] = date.fromisoformat(orjson.loads(rows[0][1])["effectiveStartDate"])
        return found

    async def banks(self, ids: Collection[str], *, entity: str = "") -> dict[str, str]:
        """Bank and card accounts that payments can be made from: id -> its object."""
        found: dict[str, str] = {}
        for name in BANKS:
            rows = await self._rows(name, ("key", "id", "status"), ids, entity, by="id")
            found |= {row["id"]: name for row in rows if _text(row, "status") != "inactive"}
        return found

    async def _rows(
        self, name: str, fields: tuple[str, ...], numbers: Collection[str], entity: str, *, by: str = ""
    ) -> list[dict[str, Any]]:
        by = by or self._number
        wanted = [value for value in dict.fromkeys(numbers) if value and (by == "id" or (value.isascii() and value.isdigit()))]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(wanted), NUMBERS):
            query = Query(name, fields, ({"$in": {by: wanted[start : start + NUMBERS]}},), include_private=True)
            rows += [orjson.loads(raw) for _, raw in await self._client.rows_of(query, entity=entity)]
        return rows


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _flag(row: dict[str, Any], name: str) -> bool:
    return row.get(name) in (True, "true")
