"""Rillion Pay: payments, their configuration and audit trail, and the booking receipt (prime.md 2.9, 6.2; D35)."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from connect.sandbox.prime.tables import INVALID, NOT_FOUND, PAYMENT_RECEIPT, Record, Refused, read_date, read_decimal

STATUSES: Final = ("PaymentCreated", "PaymentAwaitingApproval", "PaymentApproved", "PaymentSent", "PaymentSettled", "PaymentCancelled")
"""The first three are attested; the others are this simulator's (to confirm with a real Prime)."""
CANCEL_REASONS: Final = ("HandledExternally", "SendBack", "Voided")
PROCESSES: Final = {"approve": "PaymentApproved", "cancel": "PaymentCancelled", "resend": "PaymentCreated"}

_TEXTS: Final = frozenset({
    "id", "company", "companyName", "supplier", "supplierName", "supplierStatus", "invoiceNumber", "supplierInvoiceNo", "voucherSeries",
    "voucherNo", "currency", "paymentMethod", "paymentStatus", "paymentReferenceId", "paymentSentByName", "currentPaymentProviderStage",
    "currentPaymentProviderStatus", "externalId", "externalSource",
})  # fmt: skip
_DATES: Final = frozenset({"invoiceDate", "dueDate", "paymentDate", "scheduleDate", "paymentSentOnDate", "paymentStatusLastChangeDate"})
_AMOUNTS: Final = frozenset({
    "amount", "usdAmount", "fxRate", "fxAmount", "fxFee", "discountAmount", "discountPercentage", "discountGrossAmount",
})  # fmt: skip
_OBJECTS: Final[dict[str, type]] = {"processingDates": dict, "details": dict, "events": list}
FIELDS: Final = _TEXTS | _DATES | _AMOUNTS | frozenset(_OBJECTS)
_SEARCHED: Final = ("id", "paymentReferenceId", "supplier", "supplierName", "invoiceNumber", "supplierInvoiceNo", "voucherNo")
_NAMESPACE: Final = uuid.UUID("5b0c7c52-0c3e-4f7e-9d2a-6b1d0e4a9c10")


class Pay:
    """The payments of one tenant. `pay_receipt`: whether a booking can be reported back ("receipt"), or not ("eventLog", "off")."""

    def __init__(self) -> None:
        self.pay_receipt: Literal["receipt", "eventLog", "off"] = "receipt"
        self.receipts: list[Record] = []
        self.audit: list[Record] = []
        self._payments: dict[str, Record] = {}
        self._bank_accounts: dict[str, int] = {}
        self._last_receipt: dict[str, Record] = {}

    def load(self, given: Record, *, company: str, currency: str, now: datetime) -> str:
        """Add a payment or change a known one. Raises Refused."""
        changes = {name: _read(name, value) for name, value in given.items()}
        key = changes.get("id") or str(uuid.uuid5(_NAMESPACE, str(len(self._payments))))
        defaults: Record = {
            "id": key,
            "company": company,
            "currency": currency,
            "amount": "0",
            "paymentStatus": STATUSES[0],
            "paymentReferenceId": f"PR{len(self._payments) + 1:06d}",
            "events": [],
            "processingDates": {},
            "details": {},
        }
        merged = defaults | self._payments.get(key, {}) | changes
        self._payments[key] = {name: value for name, value in merged.items() if value is not None}
        self._log(key, "loaded", now)
        return str(key)

    def load_configuration(self, given: Record) -> str:
        """{company, bankAccountIdentifier}: the last four digits of the account a company pays from. Raises Refused."""
        if set(given) != {"company", "bankAccountIdentifier"} or type(given["bankAccountIdentifier"]) is not int:
            raise Refused(INVALID, "PaymentConfiguration: expected {company, bankAccountIdentifier}, the identifier a whole number")
        self._bank_accounts[str(given["company"])] = given["bankAccountIdentifier"]
        return str(given["company"])

    def configuration(self, companies: list[Record]) -> list[Record]:
        """Of each company; without a loaded one the identifier is 1234, 1235 … in the order of the companies."""
        return [
            {
                "company": company["Company"],
                "companyName": company.get("Name"),
                "paymentProvider": 1,
                "bankAccountIdentifier": self._bank_accounts.get(company["Company"], 1234 + n),
            }
            for n, company in enumerate(companies)
        ]

    def records(self) -> Iterator[Record]:
        for key in sorted(self._payments):
            yield self._payments[key]

    def search(self, term: str) -> list[Record]:
        """Payments as they go over the wire, in the order in which they came; `term` is looked for in numbers and names."""
        lower = term.casefold()
        return [
            _on_the_wire(payment)
            for payment in self._payments.values()
            if not lower or any(lower in str(payment.get(name, "")).casefold() for name in _SEARCHED)
        ]

    def process(self, action: str, body: Record, now: datetime) -> list[tuple[str, int, str]]:
        """Approve, cancel or resend `paymentIds`: (id, result code, message) of each. Raises Refused for a body of another shape."""
        ids = body.get("paymentIds")
        if not isinstance(ids, list):
            raise Refused(INVALID, "Field paymentIds is required: a list of payment ids")
        reason = body.get("cancelReason")
        if action == "cancel" and reason not in CANCEL_REASONS:
            raise Refused(INVALID, f"Field cancelReason: value {reason!r} is not valid, expected one of {', '.join(CANCEL_REASONS)}")
        results = []
        for key in map(str, ids):
            payment = self._payments.get(key)
            if payment is None:
                results.append((key, NOT_FOUND, f"Payment {key!r} does not exist"))
                continue
            changes: Record = {"paymentStatus": PROCESSES[action], "paymentStatusLastChangeDate": now.date().isoformat()}
            if action == "cancel":
                changes["details"] = payment.get("details", {}) | {"cancelReason": reason}
            self._payments[key] = payment | changes
            self._log(key, action, now)
            results.append((key, 0, "OK"))
        return results

    def export(self, ids: list[str] | None) -> bytes:
        """The payments (all, or these) as CSV."""
        columns = sorted(_TEXTS | _DATES | _AMOUNTS)
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(payment for key, payment in self._payments.items() if ids is None or key in ids)
        return out.getvalue().encode()

    def receipt(self, given: Record, now: datetime) -> None:
        """Note that the ERP booked a payment (1) or refused it (2). The same receipt twice changes nothing. Raises Refused."""
        for name in PAYMENT_RECEIPT.required:
            if given.get(name) is None:
                raise Refused(INVALID, f"Field {_camel(name)} is required on the payment receipt")
        key = given["PaymentId"]
        payment = self._payments.get(key)
        if payment is None:
            raise Refused(NOT_FOUND, f"Payment {key!r} does not exist")
        receipt = {name: value for name, value in given.items() if value is not None}
        if receipt == self._last_receipt.get(key):
            return
        if (reference := receipt.get("PaymentReferenceId")) is not None and reference != payment.get("paymentReferenceId"):
            raise Refused(
                INVALID,
                f"Field paymentReferenceId: value {reference!r} is not the reference {payment['paymentReferenceId']!r} of payment {key}",
            )
        if self._last_receipt.get(key, {}).get("QueueStatus") == 1:
            raise Refused(INVALID, f"Field queueStatus: payment {key} is booked already")
        if receipt["QueueStatus"] == 2:
            if "ErrorText" not in receipt:
                raise Refused(INVALID, "Field errorText is required on the payment receipt when queueStatus is 2")
        else:
            external = {"externalId": receipt.get("ExternalId"), "externalSource": receipt.get("ExternalSource")}
            self._payments[key] = payment | {name: value for name, value in external.items() if value is not None}
        self._last_receipt[key] = receipt
        self.receipts.append({"Company": payment["company"]} | receipt)
        self._log(key, "receipt", now)

    def _log(self, key: str, event: str, now: datetime) -> None:
        self.audit.append({"id": len(self.audit) + 1, "paymentId": key, "event": event, "timestamp": now.isoformat()})


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


def _read(name: str, value: Any) -> Any:
    """One member of a loaded payment: money as text, dates without a time, numbers as they are known to Prime. Raises Refused."""
    if name not in FIELDS:
        raise Refused(INVALID, f"Payment has no field {name}; it has {', '.join(sorted(FIELDS))}")
    if value is None or value == "":
        return None
    try:
        if name in _TEXTS and isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
        if name in _DATES and isinstance(value, str):
            return read_date(value)
        if name in _AMOUNTS and isinstance(value, str | int) and not isinstance(value, bool):
            return read_decimal(str(value))
        if name in _OBJECTS and isinstance(value, _OBJECTS[name]):
            return value
    except ValueError:
        pass  # said below, as for a wrong type
    raise Refused(INVALID, f"Field {name}: value {repr(value)[:80]} is not valid on a payment")


def _on_the_wire(payment: Record) -> Record:
    """Amounts as JSON numbers with all their digits."""
    return {name: orjson.Fragment(value) if name in _AMOUNTS else value for name, value in payment.items()}
