"""AP payments in Sage: looking for them, making one, and what it did to its bills.

Source: sage-rest.md f (payment), g; onboarding guide, payment scenarios 1-6.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import orjson

from connect.errors import OutcomeUnknown, Permanent
from connect.ledger import Created, markers_in
from connect.sage.client import BeforeWrite, SageClient
from connect.sage.query import Query

PAYMENT: Final = "accounts-payable/payment"
DETAIL: Final = "accounts-payable/payment-detail"
IDS: Final = 200  # payments looked for in one query
CONDITIONS: Final = 60  # of one query
ALIVE: Final = frozenset({"draft", "submitted", "partiallyApproved", "approved", "delivered", "confirmed", "quickDelivery"})
ENDED: Final = ("declined", "voided", "printVoided", "reversed")
FIELDS: Final = (
    "key",
    "documentId",
    "documentNumber",
    "vendor.id",
    "vendor.key",
    "txnCurrency.currency",
    "txnCurrency.totalAmount",
    "state",
    "txnDate",
    "paymentMethod",
    "description",
)


@dataclass(frozen=True)
class Share:
    """What a payment pays of one bill."""

    bill: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A payment as Sage shows it. `markers`: those in its description, ours and perhaps a bill's."""

    key: str
    document_id: str
    document_number: str
    vendor: str
    currency: str
    amount: Decimal
    state: str
    paid_on: date | None
    method: str
    shares: tuple[Share, ...]
    markers: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it pays, or will: not declined, voided or reversed."""
        return self.state in ALIVE


class SagePayments:
    """The payments of one connection. `numbers`: what Prime has as a vendor's number."""

    def __init__(self, client: SageClient, *, numbers: Literal["id", "key"] = "id") -> None:
        self._client = client
        self._vendor = f"vendor.{numbers}"

    async def find(
        self, document_ids: Sequence[str] = (), numbers: Sequence[str] = (), *, starts: Sequence[str] = (), markers: Sequence[str] = ()
    ) -> list[Payment]:
        """Payments with one of these document ids or numbers, a document id that starts so, or a marker in the description; private ones
        too, with what they pay of which bill.
        """
        conditions: list[dict[str, Any]] = []
        for name, values in (("documentId", document_ids), ("documentNumber", numbers)):
            wanted = [value for value in dict.fromkeys(values) if value]
            conditions += [{"$in": {name: wanted[start : start + IDS]}} for start in range(0, len(wanted), IDS)]
        conditions += [{"$startsWith": {"documentId": start}} for start in dict.fromkeys(starts) if start]
        conditions += [{"$contains": {"description": marker}} for marker in dict.fromkeys(markers) if marker]
        rows: dict[str, dict[str, Any]] = {}
        for first in range(0, len(conditions), CONDITIONS):
            some = conditions[first : first + CONDITIONS]
            expression = " or ".join(str(n) for n in range(1, len(some) + 1)) if len(some) > 1 else "and"
            rows |= await self._rows(PAYMENT, FIELDS, some, expression)
        return await self._with_shares(rows)

    async def payments(self, keys: Sequence[str]) -> dict[str, Payment]:
        """Many of them, by their keys: the state that Sage gave them is not in the answer to their creation."""
        rows: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), IDS):
            rows |= await self._rows(PAYMENT, FIELDS, [{"$in": {"key": list(keys[start : start + IDS])}}])
        return {payment.key: payment for payment in await self._with_shares(rows)}

    async def ended_since(self, moment: datetime) -> dict[str, str]:
        """Those that stopped paying at this moment or later, if they still do not pay: key -> state."""
        since = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        filters: list[dict[str, Any]] = [{"$in": {"state": list(ENDED)}}, {"$gte": {"audit.modifiedDateTime": since}}]
        return {key: str(row["state"]) for key, row in (await self._rows(PAYMENT, ("key", "state"), filters)).items()}

    async def payment(self, key: str, *, entity: str = "") -> Payment | None:
        """The payment as it is now, whatever queries show yet."""
        record = await self._client.record(f"{PAYMENT}/{key}", entity=entity)
        if record is None:
            return None
        row: dict[str, Any] = {
            name: record.get(name) for name in ("key", "documentId", "documentNumber", "state", "txnDate", "paymentMethod", "description")
        }
        vendor = record.get("vendor") or {}
        row |= {"vendor.id": vendor.get("id"), "vendor.key": vendor.get("key")}
        money = record.get("txnCurrency") or {}
        row |= {"txnCurrency.currency": money.get("currency"), "txnCurrency.totalAmount": money.get("totalAmount")}
        shares = [Share(str(own["bill"]["key"]), Decimal(str(own["txnCurrency"]["paymentAmount"]))) for own in record.get("details") or []]
        return _payment(row, self._vendor, shares)

    async def create(self, body: bytes, key: str, before_write: BeforeWrite, *, entity: str = "") -> Created:
        """The payment of these bytes. Raises as posting.Books.create says."""
        written = await self._client.write(
            "POST", f"/objects/{PAYMENT}", body, before_write=before_write, what=PAYMENT, key=key, entity=entity
        )
        result = written.result
        if not isinstance(result, dict) or not str(result.get("key") or "").isdigit():
            raise OutcomeUnknown(
                "Sage said yes and gave no key; whether the payment was made is not known", system="sage", code="no_answer"
            )
        return Created(key=str(result["key"]), replayed=written.replayed)

    async def delete(self, key: str, before_write: BeforeWrite, *, entity: str = "") -> bool:
        """Take away one that has not paid yet. False when it is gone already."""
        try:
            await self._client.write("DELETE", f"/objects/{PAYMENT}/{key}", None, before_write=before_write, what=PAYMENT, entity=entity)
        except Permanent as error:
            if error.status != 404:
                raise
            return False
        return True

    async def numbers_of(self, bills: Sequence[str]) -> dict[str, str]:
        """Bill -> document number of the last payment of it that is alive and has one."""
        payers: dict[str, list[str]] = defaultdict(list)
        for start in range(0, len(bills), IDS):
            some = [{"$in": {"bill.key": list(bills[start : start + IDS])}}]
            for own in (await self._rows(DETAIL, ("key", "apPayment.key", "bill.key"), some)).values():
                payers[str(own["apPayment.key"])].append(str(own["bill.key"]))
        found: dict[str, tuple[str, int, str]] = {}
        keys = list(payers)
        for start in range(0, len(keys), IDS):
            fields = ("key", "documentNumber", "state", "txnDate")
            for key, row in (await self._rows(PAYMENT, fields, [{"$in": {"key": keys[start : start + IDS]}}])).items():
                if row.get("state") in ALIVE and row.get("documentNumber"):
                    mine = str(row.get("txnDate") or ""), int(key), str(row["documentNumber"])
                    found |= {bill: max(mine, found.get(bill, mine)) for bill in payers[key]}
        return {bill: number for bill, (_, _, number) in found.items()}

    async def _with_shares(self, rows: dict[str, dict[str, Any]]) -> list[Payment]:
        shares: dict[str, list[Share]] = defaultdict(list)
        keys = list(rows)
        for start in range(0, len(keys), IDS):
            fields = ("key", "apPayment.key", "bill.key", "txnCurrency.paymentAmount")
            for own in (await self._rows(DETAIL, fields, [{"$in": {"apPayment.key": keys[start : start + IDS]}}])).values():
                shares[str(own["apPayment.key"])].append(Share(str(own["bill.key"]), Decimal(str(own["txnCurrency.paymentAmount"]))))
        return [_payment(row, self._vendor, shares[key]) for key, row in rows.items()]

    async def _rows(
        self, name: str, fields: tuple[str, ...], filters: Sequence[dict[str, Any]], expression: str = "and"
    ) -> dict[str, dict[str, Any]]:
        query = Query(name, fields, tuple(filters), expression=expression, include_private=True)
        return {str(key): orjson.loads(raw) for key, raw in await self._client.rows_of(query)}


def _payment(row: dict[str, Any], vendor_field: str, shares: Sequence[Share]) -> Payment:
    day = row.get("txnDate")
    return Payment(
        key=str(row["key"]),
        document_id=str(row.get("documentId") or ""),
        document_number=str(row.get("documentNumber") or ""),
        vendor=str(row.get(vendor_field) or ""),
        currency=str(row.get("txnCurrency.currency") or ""),
        amount=Decimal(str(row.get("txnCurrency.totalAmount") or 0)),
        state=str(row.get("state") or ""),
        paid_on=date.fromisoformat(str(day)[:10]) if day else None,
        method=str(row.get("paymentMethod") or ""),
        shares=tuple(shares),
        markers=tuple(markers_in(row.get("description"))),
    )
