"""An invoice that has been booked: one that Prime wants cancelled, or whose payment date it misses. Which bill in Sage is it?

Prime lists the whole invoice; its coding may be as it likes, since nothing of it is booked any more.
Source: prime.md 2.8 (receipt), 4 (jobs 9 and 11), 7, D14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect.documents.bill import amount_of
from connect.documents.invoice import InvoiceSettings, link_of, number_of, read_invoice
from connect.ledger import Listed
from connect.mapping import EXTERNAL_SOURCE

CODING: Final = "AccountCoding"


def read_booked(record: Mapping[str, Any], settings: InvoiceSettings, environment: str) -> Listed:
    """A record of Prime's list. Raises Poison when it is none."""
    invoice = read_invoice({name: value for name, value in record.items() if name != CODING}, environment)
    return Listed(
        id=invoice.id,
        content="",
        vendor=invoice.supplier or "",
        amount=amount_of(invoice),
        currency=invoice.currency or "",
        number=number_of(invoice, settings),
        booked_on=invoice.posted_on,
        status=invoice.status,
        link=link_of(invoice.id, settings),
        booked_as=bill_key_in(record),
        document=invoice,
    )


def bill_key_in(record: Mapping[str, Any]) -> str:
    """The bill's key as Prime has it from a receipt: ours names it as the external id, others only as the voucher number (D14).

    "" without one, or when another system has booked it.
    """
    source, external, voucher = (str(record.get(name) or "").strip() for name in ("ExternalSource", "ExternalId", "VoucherNo"))
    if source and source != EXTERNAL_SOURCE:
        return ""
    key = external if source and external else voucher
    return key if key.isascii() and key.isdigit() and int(key) else ""
