"""Which objects and fields of Sage the active jobs of a connection read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from connect.config import Connection
from connect.registers import REGISTERS
from connect.registers.dimensions import kind_of
from connect.sage import bills, facts, payments
from connect.sage.attachments import ATTACHMENT, BILL, FOLDER

CONTACT: Final = "contacts.default."  # inline contact fields of a vendor, deprecated (sage-rest.md f)
_BILL: Final = (BILL, bills.FIELDS)
_VENDOR: Final = (facts.VENDOR, ("key", "id", "name", "status", "state", "isOnHold", "doNotPay"))
DOCUMENTS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "ExportInvoices": (
        _BILL,
        _VENDOR,
        (facts.ACCOUNT, ("key", "id", "name", "status", "disallowDirectPosting")),
        (facts.CURRENCY, ("key", "id")),
        (ATTACHMENT, ("key", "id")),
        (FOLDER, ("key", "id")),
    ),
    "CancelInvoices": (_BILL, (ATTACHMENT, ("key", "id"))),
    "GetPaymentDates": (_BILL, (payments.PAYMENT, ("key", "documentNumber", "state", "txnDate"))),
    "ExportPayments": (
        _BILL,
        _VENDOR,
        (payments.PAYMENT, payments.FIELDS),
        (payments.DETAIL, ("key", "apPayment.key", "bill.key", "txnCurrency.paymentAmount")),
        *((bank, ("key", "id", "status")) for bank in facts.BANKS),
    ),
}


@dataclass
class Need:
    """An object of Sage: the fields that are asked for, and the jobs that do."""

    fields: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)


def needs(connection: Connection) -> dict[str, Need]:
    """Object -> what is needed of it, in the order of the jobs."""
    found: dict[str, Need] = {}
    for job in connection.jobs:
        if job.active:
            for name, fields in _of_job(connection, job.job, job.company):
                need = found.setdefault(name, Need())
                need.fields.update(fields)
                need.jobs.add(job.job)
    return found


def _of_job(connection: Connection, job: str, company: str) -> Iterator[tuple[str, Iterable[str]]]:
    if job in DOCUMENTS:
        yield from DOCUMENTS[job]
        if job == "ExportInvoices":
            for dimension in connection.objects(company):
                yield object_of(dimension), ("key", "id")
        return
    for part in REGISTERS[job].parts(connection.register_settings(company)) if job in REGISTERS else ():
        source = part.source
        yield source.object, (*source.fields, *((source.modified_field,) if source.modified_field else ()))
        for join in source.joins:
            yield join.object, join.fields


def object_of(dimension: str) -> str:
    """The object of a dimension as lookup Objects calls it."""
    return kind_of(dimension).object
