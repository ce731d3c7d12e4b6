"""Whether the books of both sides agree: every invoice and payment that Prime takes for booked is in Sage once, and nothing else is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

Record = Mapping[str, Any]
FOR_DELETION: Final = 2


@dataclass(frozen=True)
class Compared:
    """What both sides hold, and in what they differ, in words."""

    bills: int
    billed: Decimal
    payments: int
    paid: Decimal
    dates: int
    differences: tuple[str, ...]

    @property
    def agree(self) -> bool:
        return not self.differences

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "agree": self.agree,
            "bills": self.bills,
            "billed": str(self.billed),
            "payments": self.payments,
            "paid": str(self.paid),
            "payment_dates": self.dates,
            "differences": list(self.differences),
        }


def compared(books: Record, invoices: Sequence[Record], pay_receipts: Sequence[Record]) -> Compared:
    """`books`: the sandbox's `/_sandbox/books`; `invoices` and `pay_receipts`: what Prime holds of them."""
    bills, payments = books["bills"], books["payments"]
    found = [*_invoices_differ(invoices, bills), *_payments_differ(pay_receipts, payments), *_open_amounts_differ(bills, payments)]
    found += _dates_differ(invoices, bills)
    found += [f"Sage has bill number {one['billNumber']} of vendor {one['vendor']} {one['bills']} times" for one in books["duplicates"]]
    found += [f"Sage has attachment {one['id']}, and no bill with it" for one in books["orphans"]]
    return Compared(
        bills=len(bills),
        billed=_sum(one["amount"] for one in bills),
        payments=len(payments),
        paid=_sum(one["amount"] for one in payments),
        dates=sum(1 for one in invoices if one.get("PaymentDate")),
        differences=tuple(found),
    )


def _invoices_differ(invoices: Sequence[Record], bills: Sequence[Record]) -> Iterable[str]:
    by_key = {str(bill["key"]): bill for bill in bills}
    booked: Counter[str] = Counter()
    for invoice in invoices:
        name, key = f"invoice {invoice['InvoiceSeries']}-{invoice['InvoiceNo']}", str(invoice.get("VoucherNo") or "")
        bill = by_key.get(key)
        if invoice.get("queue") != "receipted" or invoice["Status"] == FOR_DELETION:
            if bill is not None and invoice.get("queue") == "receipted":
                yield f"{name} is cancelled in Prime, and bill {key} is in Sage"
            continue
        booked[key] += 1
        if bill is None:
            yield f"{name} is booked as bill {key or '(none)'} in Prime, and Sage has no such bill"
            continue
        amount = Decimal(str(invoice["Amount"]))
        mine = (invoice["Supplier"], -abs(amount) if str(invoice.get("Credit", "0")) == "1" else amount, invoice["Currency"])
        theirs = (bill["vendor"], Decimal(bill["amount"]), bill["currency"])
        if mine != theirs:
            yield f"{name} is {_money(*mine)} in Prime, and bill {key} is {_money(*theirs)} in Sage"
        if not bill.get("attachment"):
            yield f"{name}: bill {key} has no file"
    yield from (f"bill {key} in Sage is booked {booked[key]} times in Prime" for key in by_key if booked[key] != 1)


def _payments_differ(pay_receipts: Sequence[Record], payments: Sequence[Record]) -> Iterable[str]:
    told: Counter[str] = Counter(str(one.get("ExternalId")) for one in pay_receipts if int(one["QueueStatus"]) == 1)
    made = {str(one["key"]) for one in payments}
    yield from (f"payment {key} is booked {told[key]} times in Rillion Pay" for key in sorted(made) if told[key] != 1)
    yield from (f"Rillion Pay takes payment {key} for booked, and Sage does not have it" for key in sorted(set(told) - made))


def _open_amounts_differ(bills: Sequence[Record], payments: Sequence[Record]) -> Iterable[str]:
    paid: defaultdict[str, Decimal] = defaultdict(Decimal)
    for payment in payments:
        for share in payment["bills"]:
            paid[str(share["bill"])] += Decimal(share["amount"])
    for bill in bills:
        left = Decimal(bill["amount"]) - paid[str(bill["key"])]
        if Decimal(bill["due"]) != left:
            yield f"bill {bill['key']}: {bill['due']} is open, and {left} should be"


def _dates_differ(invoices: Sequence[Record], bills: Sequence[Record]) -> Iterable[str]:
    paid = {str(bill["key"]) for bill in bills if bill["state"] == "paid"}
    for invoice in invoices:
        key, day = str(invoice.get("VoucherNo") or ""), invoice.get("PaymentDate")
        if bool(day) != (key in paid):
            has = f"the payment date {day}" if day else "no payment date"
            bill = f"bill {key} is {'paid' if key in paid else 'not paid'}"
            yield f"invoice {invoice['InvoiceSeries']}-{invoice['InvoiceNo']} has {has}, and {bill}"


def _money(vendor: str, amount: Decimal, currency: str) -> str:
    return f"{amount} {currency} of {vendor}"


def _sum(amounts: Iterable[str]) -> Decimal:
    return sum((Decimal(amount) for amount in amounts), Decimal(0))
