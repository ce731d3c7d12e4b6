"""A payment that has settled in Rillion Pay, as the AP payment that it becomes in Sage.

Pure: what must be known of Sage comes in with `Facts`. `bill_of` says which bill it pays, `problems` everything that Sage would refuse,
`request_of` the exact bytes, and `claim_on` whether a payment that Sage has already is this one.

Who it is rests on Pay's own id alone: its marker stands at the end of the description. The guide's document id cannot tell two instalments
apart, since both have the same reference, bill and voucher; so a payment without a marker (the incumbent's, or typed by hand) is taken for
ours only if document id, bill, amount and date agree and no other payment of Pay's could be meant.

Source: the guide, "Payments – When using Rillion Pay", PaymentMethodMapping, BankAccountMapping, Payment Workflow (scenarios 1-6);
prime.md 2.9, 4 (job 12), 7 ("Payment identity"), F17, F18; sage-rest.md f and g.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson

from connect.errors import Permanent
from connect.ledger import LONGEST_MARKER, MARKER, DocumentId, Listed, Problem, Request, root_of

SERIES: Final = "PAY"  # of the identity, in the place of an invoice's series
CENT: Final = Decimal("0.01")
DESCRIPTION_MOST: Final = 1000  # characters, as for bills
PAYABLE: Final = frozenset({"posted", "selected", "partiallyPaid"})
APPROVABLE: Final = frozenset({"draft", "submitted", "partiallyApproved", "analyzing"})  # a bill that may become payable
REVERSED: Final = frozenset({"reversed", "reversal"})
CARD: Final = "credit-card-account"
CARD_METHODS: Final = frozenset({"Credit Card"})


@dataclass(frozen=True, kw_only=True)
class PaymentSettings:
    """What the settings say of payments. `methods` and `banks`: PaymentMethodMapping and BankAccountMapping, unwrapped."""

    company: str
    entity: str
    method: str = "Printed Check"
    use_default_method: bool = False
    methods: Mapping[str, str]
    banks: Mapping[str, str]
    request_method: str = "useVendorPreference"
    numbers: Literal["id", "key"] = "id"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A settled payment of one invoice, as Pay shows it. `paid_on`: its payment date, else the day on which it settled.

    `external_id`: what Pay was told earlier of its booking.
    """

    id: str
    supplier: str
    supplier_name: str
    invoice_number: str
    supplier_invoice_no: str
    voucher_no: str
    amount: Decimal
    currency: str
    method: str
    reference: str
    paid_on: date
    external_id: str = ""


class Bill(NamedTuple):
    """A bill in Sage. `open`: what may still be paid. `markers`: of the invoice that it was made from."""

    key: str
    number: str
    vendor: str
    state: str
    created_on: date | None
    amount: Decimal
    open: Decimal
    currency: str
    base_currency: str
    reference: str = ""
    description: str = ""
    on_hold: bool = False
    markers: tuple[str, ...] = ()


class Share(NamedTuple):
    """What a payment pays of one bill."""

    bill: str
    amount: Decimal


class Booked(NamedTuple):
    """A payment in Sage. `markers`: everything in its description that looks like one."""

    key: str
    document_id: str
    document_number: str
    paid_on: date | None
    is_alive: bool
    shares: tuple[Share, ...]
    markers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was asked of Sage and Pay.

    Attributes:
        bills: those that any of the payments may mean.
        account: the identifier of the account that the company pays from, or why it is not known.
        banks: Sage's bank and card accounts that may be used: id -> its object.
        blocked: vendor number -> why Sage pays it nothing.
    """

    bills: Sequence[Bill] = ()
    account: str | Problem = ""
    banks: Mapping[str, str]
    blocked: Mapping[str, str]


# -- identity ----------------------------------------------------------------------------------------------------------


def id_of(payment: Settled, environment: str, company: str) -> DocumentId:
    """Pay's own id, and nothing that anybody can edit."""
    return DocumentId(environment, company, SERIES, payment.id)


def listed_of(payment: Settled, environment: str, company: str) -> Listed:
    """As posting deals with it."""
    return Listed(
        id=id_of(payment, environment, company),
        content=hashlib.sha256(msgspec.json.encode(_content(payment))).hexdigest()[:32],
        vendor=payment.supplier,
        amount=payment.amount,
        currency=payment.currency,
        number=payment.reference,
        booked_on=payment.paid_on,
        name=payment.supplier_name,
        numbers=tuple(dict.fromkeys(number for number in (payment.id, payment.reference, *names_of(payment)) if number)),
        document=payment,
    )


def _content(payment: Settled) -> tuple[str, ...]:
    """What its request is made from. What a receipt leaves in Pay is not in it."""
    amount = f"{payment.amount.normalize():f}"
    texts = (payment.supplier, payment.invoice_number, payment.supplier_invoice_no, payment.voucher_no, payment.currency, payment.method)
    return (payment.id, *texts, amount, payment.reference, payment.paid_on.isoformat())


def document_id(payment: Settled, bill: Bill) -> str:
    """The guide's template: PR# from Pay, BR# from the bill in Sage, VN# from Prime."""
    return f"{document_id_start(payment)}BR#{bill.reference}-VN#{payment.voucher_no}"


def document_id_start(payment: Settled) -> str:
    """What is known of the document id without the bill."""
    return f"PR#{payment.reference}-"


# -- which bill --------------------------------------------------------------------------------------------------------


def names_of(payment: Settled) -> tuple[str, ...]:
    """What its bill's number may be: by setting that is a voucher number, the supplier's invoice number, or series and number."""
    return tuple(dict.fromkeys(name for name in (payment.supplier_invoice_no, payment.voucher_no, payment.invoice_number) if name))


def is_bill_of(payment: Settled, bill: Bill) -> bool:
    """Whether the payment may mean this bill: it names its key (what Prime was given as voucher number, D14) or its number."""
    return bill.vendor == payment.supplier and (bill.key == payment.voucher_no or bill.number in names_of(payment))


def bill_of(payment: Settled, bills: Iterable[Bill]) -> Bill | Problem:
    """The bill that it pays, or why that cannot be told."""
    meant = [bill for bill in bills if is_bill_of(payment, bill)]
    alive = [bill for bill in meant if bill.state not in REVERSED] or meant
    sure = [bill for bill in alive if bill.key == payment.voucher_no and bill.number in names_of(payment)] or alive
    if not sure:
        return Problem(
            f"Sage has no bill of vendor {payment.supplier} with key {payment.voucher_no} or number {_either(names_of(payment))}: "
            "book the invoice first",
            "operator",
            code="payment_bill_unknown",
        )
    if len(sure) > 1:
        keys = ", ".join(f"{bill.number} (key {bill.key})" for bill in sure)
        return Problem(
            f"Several bills in Sage may be meant: {keys}. Record the payment in Sage by hand", "operator", code="payment_bill_unclear"
        )
    return sure[0]


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


# -- method and bank ---------------------------------------------------------------------------------------------------


def method_of(payment: Settled, settings: PaymentSettings) -> str | Problem:
    """Sage's name of the payment method."""
    if settings.use_default_method:
        return settings.method
    method = settings.methods.get(payment.method)
    if method is None:
        pays = f"method {payment.method}" if payment.method else "no method"
        return Problem(
            f"Rillion Pay names {pays}, which PaymentMethodMapping does not have: add it there, or set UseDefaultPaymentMethod",
            "consultant",
            code="payment_method",
        )
    return method


def bank_of(account: str, banks: Mapping[str, str]) -> str | Problem:
    """Sage's bank account. Pay gives the identifier as a number, so zeros in front do not count."""
    wanted = _bare(account)
    found = {bank for pays, bank in banks.items() if _bare(pays) == wanted}
    if len(found) == 1:
        return found.pop()
    many = "more than once" if found else "not"
    return Problem(
        f"BankAccountMapping has the account that Rillion Pay pays from {many}: map its identifier to one bank account of Sage",
        "consultant",
        code="payment_bank",
    )


def _bare(identifier: str) -> str:
    return identifier.strip().lstrip("0")


def fits(method: str, bank_object: str) -> bool:
    """Whether Sage pays by this method from such an account: cards by card, everything else from a bank."""
    return (method in CARD_METHODS) == bank_object.endswith(CARD)


# -- before it is sent -------------------------------------------------------------------------------------------------


def problems(payment: Settled, settings: PaymentSettings, facts: Facts) -> list[Problem]:
    """Every reason why Sage would not take it, or why it must not be sent; none when all is well, as far as can be known."""
    found = [*_own_problems(payment), *_account_problems(payment, settings, facts)]
    why = facts.blocked.get(payment.supplier)
    if why is not None:
        found.append(Problem(f"Vendor {payment.supplier} is {why} in Sage: release it there", "Sage administrator", code="payment_vendor"))
    if payment.voucher_no and payment.supplier:
        bill = bill_of(payment, facts.bills)
        found += [bill] if isinstance(bill, Problem) else _bill_problems(payment, bill)
    return found


def _own_problems(payment: Settled) -> Iterator[Problem]:
    if not payment.voucher_no:
        yield Problem(
            "Rillion Pay gives no voucher number (VN#): it cannot be told which bill is paid", "operator", code="payment_names_no_bill"
        )
    if not payment.supplier:
        yield Problem("Rillion Pay names no supplier: it cannot be told which bill is paid", "operator", code="payment_names_no_bill")
    if payment.amount <= 0 or payment.amount != payment.amount.quantize(CENT):
        yield Problem(
            f"The amount {payment.amount:f} {payment.currency} is no payment in whole cents above zero", "operator", code="payment_amount"
        )
    if payment.external_id:
        yield Problem(
            f"Rillion Pay has it booked as {payment.external_id} already, and Sage has no such payment: see there what became of it",
            "operator",
            code="payment_booked_before",
        )


def _account_problems(payment: Settled, settings: PaymentSettings, facts: Facts) -> Iterator[Problem]:
    method = method_of(payment, settings)
    bank = facts.account if isinstance(facts.account, Problem) else bank_of(facts.account, settings.banks)
    yield from (one for one in (method, bank) if isinstance(one, Problem))
    if isinstance(bank, Problem):
        return
    if bank not in facts.banks:
        yield wrong_account(method if isinstance(method, str) else payment.method, bank)
    elif isinstance(method, str) and not fits(method, facts.banks[bank]):
        yield wrong_account(method, bank)


def _bill_problems(payment: Settled, bill: Bill) -> Iterator[Problem]:
    wrong = _state_problem(bill)
    if wrong is not None:
        yield wrong
    if bill.on_hold:
        yield Problem(f"Bill {bill.number} is on hold in Sage: release it there", "Sage administrator", code="payment_bill_held")
    if payment.currency != bill.currency:
        yield Problem(
            f"The payment is in {payment.currency}, and bill {bill.number} in {bill.currency}", "operator", code="payment_currency"
        )
    if bill.created_on is not None and payment.paid_on < bill.created_on:
        yield too_early(payment, bill)
    if bill.state in PAYABLE and payment.amount > bill.open:
        yield too_much(payment, bill)


def _state_problem(bill: Bill) -> Problem | None:
    if bill.state in PAYABLE:
        return None
    code, waits = "payment_bill_state", "payment_bill_unapproved"
    if bill.state in APPROVABLE:
        return Problem(f"Bill {bill.number} is {bill.state} in Sage: approve it there first", "Sage administrator", code=waits)
    if bill.state == "paid":
        return Problem(f"Bill {bill.number} is paid in full already: see in Sage by which payment", "operator", code=code)
    if bill.state in REVERSED:
        return Problem(f"Bill {bill.number} is {bill.state} in Sage: make a new bill and pay that by hand", "operator", code=code)
    message = f"Bill {bill.number} is {bill.state} in Sage: only posted, selected or partly paid bills can be paid"
    return Problem(message, "Sage administrator", code=waits)


# -- the guide's three errors, in words --------------------------------------------------------------------------------


def too_early(payment: Settled, bill: Bill | None = None) -> Problem:
    """SL-0417, scenario 2."""
    what = f"bill {bill.number} of {bill.created_on}" if bill is not None else "its bill"
    return Problem(
        f"The payment of {payment.paid_on} is dated before {what} (SL-0417): correct the bill's date in Sage, or record the payment there",
        "Sage administrator",
        code="SL-0417",
    )


def too_much(payment: Settled, bill: Bill | None = None) -> Problem:
    """BL01001973, scenario 4."""
    what = f"the {bill.open:f} open on bill {bill.number}" if bill is not None else "what is open on its bill"
    return Problem(
        f"The payment of {payment.amount:f} {payment.currency} is more than {what} (BL01001973): see in Sage what has paid it, "
        "and record the rest there",
        "operator",
        code="BL01001973",
    )


def wrong_account(method: str, bank: str) -> Problem:
    """AP-0038, scenario 5."""
    return Problem(
        f"Sage cannot pay by {method or 'this method'} from account {bank} (AP-0038): correct BankAccountMapping, PaymentMethodMapping or "
        "the account in Sage",
        "consultant",
        code="AP-0038",
    )


def closed_period(payment: Settled) -> Problem:
    """A payment cannot be dated otherwise: it has been made on that day."""
    return Problem(
        f"Sage takes no postings of the payment's date {payment.paid_on} any more: open its period in Sage, or record it there by hand",
        "Sage administrator",
        code="payment_period",
    )


def said_by_sage(error: Permanent, payment: Settled, body: bytes) -> Permanent:
    """What Sage says, in words and with whose turn it is: nobody can change a settled payment in Prime. BL01001973 is a catch-all: its
    words decide.
    """
    sent = orjson.loads(body)
    if error.code == "SL-0417":
        problem = too_early(payment)
    elif error.code == "BL01001973" and "greater than the amount" in error.message:
        problem = too_much(payment)
    elif error.code == "AP-0038":
        problem = wrong_account(sent["paymentMethod"], sent["financialEntity"]["entityId"])
    elif error.code == "period_closed":
        problem = closed_period(payment)
    elif error.code in ("vendor", "vendor_inactive"):
        problem = Problem(f"Sage pays vendor {payment.supplier} nothing: release it there", "Sage administrator", code="payment_vendor")
    else:
        return error
    return Permanent(
        problem.message,
        system="sage",
        code=problem.code,
        status=error.status,
        request_id=error.request_id,
        detail=error.detail or error.message,
    )


# -- the request -------------------------------------------------------------------------------------------------------


def request_of(payment: Settled, settings: PaymentSettings, facts: Facts, document: DocumentId, revision: int) -> Request:
    """The exact bytes. Raises Permanent when there can be none."""
    bill = bill_of(payment, facts.bills)
    method = method_of(payment, settings)
    bank = facts.account if isinstance(facts.account, Problem) else bank_of(facts.account, settings.banks)
    for one in (bill, method, bank):
        if isinstance(one, Problem):
            raise Permanent(one.message, code=one.code)
    assert isinstance(bill, Bill)
    assert isinstance(method, str)
    assert isinstance(bank, str)
    marker = document.marker(revision)
    return Request(
        kind="payment",
        body=orjson.dumps(body_of(payment, settings, bill, method, bank, marker)),
        number=payment.reference,
        vendor=payment.supplier,
        marker=marker,
        entity=settings.entity,
    )


def body_of(payment: Settled, settings: PaymentSettings, bill: Bill, method: str, bank: str, marker: str) -> dict[str, Any]:
    """The guide's table, line by line."""
    body: dict[str, Any] = {
        "financialEntity": {"entityId": bank},
        "paymentDate": payment.paid_on.isoformat(),
        "description": description_of(bill, marker),
        "documentNumber": payment.reference,
        "documentId": document_id(payment, bill),
        "paymentRequestMethod": settings.request_method,
        "paymentMethod": method,
        "baseCurrency": {"currency": bill.base_currency or bill.currency},
        "txnCurrency": {"currency": bill.currency},
        "vendor": {settings.numbers: bill.vendor},
        "details": [{"txnCurrency": {"paymentAmount": f"{payment.amount.quantize(CENT):f}"}, "bill": {"key": bill.key}}],
        "action": "submit",
        "state": "approved",
    }
    if not payment.reference:
        del body["documentNumber"]
    return body


def description_of(bill: Bill, marker: str) -> str:
    """The bill's, and the payment's own marker in the place of the bill's. What is cut is the bill's text."""
    text = " ".join(MARKER.sub("", bill.description).split())
    return f"{text[: DESCRIPTION_MOST - LONGEST_MARKER - 1].rstrip()} {marker}".strip()


# -- what Sage has already ---------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A payment in Sage that is this one, or may be. `amount`: what it pays of the bill. `doubts`: why a person must look at it."""

    booked: Booked
    amount: Decimal
    is_ours: bool
    doubts: tuple[str, ...] = ()


def claim_on(
    booked: Booked, payment: Settled, root: str, peers: Collection[tuple[str, Settled]], bills: Mapping[str, Bill], marked: Collection[str]
) -> Claim | None:
    """Whether a payment in Sage is this one; None when it is another's.

    `root`: this payment's marker. `peers`: every settled payment of Pay's with its marker, this one too. `bills`: by key, those that the
    payments of Sage pay. `marked`: the markers that payments in Sage carry; who has one there needs none of those without.
    """
    shares = [share for share in booked.shares if share.bill in bills and is_bill_of(payment, bills[share.bill])]
    paid = shares[0] if len(shares) == 1 else None
    whole = sum((share.amount for share in booked.shares), Decimal(0))
    if root in map(root_of, booked.markers):
        doubts = _doubts(paid is not None and len(booked.shares) == 1, booked, payment)
        return Claim(booked, whole, is_ours=True, doubts=doubts)
    if own_markers(booked, bills) or paid is None or paid.amount != payment.amount:
        return None  # another payment of Pay's, of another bill, or another instalment
    bill = bills[paid.bill]
    has_id = booked.document_id == document_id(payment, bill)
    if not has_id and (not payment.reference or booked.document_number != payment.reference):
        return None
    claimants = [
        peer.id for own, peer in peers if own not in marked and _could_be(peer, payment, paid.amount) and peer.paid_on == booked.paid_on
    ]
    if claimants and payment.id not in claimants:
        return None
    others = [f"payment {other} of Rillion Pay may be meant too" for other in claimants if other != payment.id]
    by_hand = () if has_id else (f"its document id is {booked.document_id or 'missing'}",)
    return Claim(booked, paid.amount, is_ours=False, doubts=(*_doubts(True, booked, payment), *by_hand, *others))


def own_markers(booked: Booked, bills: Mapping[str, Bill]) -> tuple[str, ...]:
    """The markers of payments in it: without those of its bills, whose descriptions the incumbent copies."""
    of_bills = {root_of(marker) for share in booked.shares if share.bill in bills for marker in bills[share.bill].markers}
    return tuple(marker for marker in booked.markers if root_of(marker) not in of_bills)


def _doubts(same_bill: bool, booked: Booked, payment: Settled) -> tuple[str, ...]:
    doubts = () if same_bill else ("it pays other bills",)
    if booked.paid_on == payment.paid_on:
        return doubts
    return (*doubts, f"date is {booked.paid_on} in Sage and {payment.paid_on} in Rillion Pay")


def _could_be(peer: Settled, payment: Settled, amount: Decimal) -> bool:
    same = (peer.supplier, peer.reference, peer.voucher_no, peer.currency)
    return same == (payment.supplier, payment.reference, payment.voucher_no, payment.currency) and peer.amount == amount
