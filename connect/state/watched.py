r"""Invoices whose payment date Prime waits for, and the dates that it got. Lost, the dates are sent again, which changes nothing in Prime.

connect:{sid}:payment_dates:{company}   hash   "{series}\n{number}" -> "{accounting date} {date sent}"; kept 400 days after the last change
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final

from redis.asyncio import Redis

KEPT_S: Final = 400 * 86_400
InvoiceNo = tuple[str, str]


class WatchedInvoices:
    """Those of one company. A value is (accounting date, date sent or None)."""

    def __init__(self, redis: Redis, sid: str, company: str) -> None:
        self._redis = redis
        self._key = f"connect:{sid}:payment_dates:{company}"

    async def all(self) -> dict[InvoiceNo, tuple[date, date | None]]:
        return {_invoice(name): _dates(value) for name, value in (await self._redis.hgetall(self._key)).items()}

    async def change(self, new: Mapping[InvoiceNo, tuple[date, date | None]], gone: Collection[InvoiceNo] = ()) -> None:
        """Note these, forget those: all or none."""
        async with self._redis.pipeline(transaction=True) as pipe:
            if new:
                pipe.hset(self._key, mapping={"\n".join(one): f"{posted} {sent or ''}".strip() for one, (posted, sent) in new.items()})
            if gone:
                pipe.hdel(self._key, *("\n".join(one) for one in gone))
            pipe.expire(self._key, KEPT_S)
            await pipe.execute()


def _invoice(name: bytes) -> InvoiceNo:
    series, _, number = name.decode().partition("\n")
    return series, number


def _dates(value: bytes) -> tuple[date, date | None]:
    posted, _, sent = value.decode().partition(" ")
    return date.fromisoformat(posted), date.fromisoformat(sent) if sent else None
