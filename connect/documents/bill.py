"""The bill that an invoice becomes in Sage: its lines, its texts, its exact bytes, and why there can be none.

Pure: the day and everything else comes in with `InvoiceSettings`. Prime's lines are of type 0 (trade creditors: never sent, Sage books
that side itself), 1 (expense) and 2 (VAT: a line of its own, tax entries of the expense lines, or not sent, by setting). What is sent adds
up to the invoice's amount to the cent, or nothing is sent.

Source: the guide, Invoice and Invoice Lines; prime.md 2.8, F15, F16, D15, D16, D36, D38; sage-rest.md f and g.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, NamedTuple

import orjson

from connect.documents.invoice import (
    CREDITORS,
    EXPENSE,
    VAT,
    Invoice,
    InvoiceLine,
    InvoiceSettings,
    dimension_of,
    link_of,
    number_of,
)
from connect.errors import Permanent
from connect.ledger import LONGEST_MARKER, MARKER, Listed, Problem, Request, problems_text

CENT: Final = Decimal("0.01")
DESCRIPTION_MOST: Final = 1000  # characters; a public list of the fields of Sage's older interface says so of descriptions
MEMO_MOST: Final = 1000  # assumed to be the same
NUMBER_USUAL: Final = 45  # that list again, of adjustment numbers; assumed for bills. Longer numbers are sent whole: Sage decides
PROBLEMS_MOST: Final = 2000  # characters of an error that lists all problems

# -- amounts and lines


class SentLine(NamedTuple):
    """A line as the bill has it. `values`: dimension -> number; `taxes`: VAT code -> amount."""

    line: InvoiceLine
    amount: Decimal
    values: dict[str, str]
    taxes: tuple[tuple[str, Decimal], ...] = ()

    @property
    def total(self) -> Decimal:
        return self.amount + sum((amount for _, amount in self.taxes), Decimal(0))


Requires = Callable[[str], frozenset[str]]
"""Account -> the dimensions that it requires, by their names on bill lines."""


def is_credit(invoice: Invoice) -> bool:
    """A credit note, or an invoice whose total is negative: to Sage it is the same."""
    return invoice.is_credit or invoice.amount < 0


def amount_of(invoice: Invoice) -> Decimal:
    """The bill's total: a credit's is negative, whichever sign Prime gives it (D38)."""
    return -abs(invoice.amount) if invoice.is_credit else invoice.amount


def sent_lines(invoice: Invoice, settings: InvoiceSettings, requires: Requires | None = None) -> list[SentLine]:
    """The bill's lines.

    A VAT line of its own takes the location and the other dimensions that its account requires of the largest expense line (D16).
    `requires` None: what accounts require is not known; it takes all that it lacks then, since Sage refuses one that is missing, not one
    too many.
    """
    coded = [line for line in invoice.lines if line.type != CREDITORS]
    factor = _factor(invoice, coded)
    lines = list(zip(coded, in_cents(factor * line.amount for line in coded), strict=True))
    expenses = [SentLine(line, amount, _values(line, settings)) for line, amount in lines if line.type == EXPENSE]
    if settings.vat_lines == "none":
        return expenses
    if settings.vat_lines == "taxEntry":
        return _with_taxes(expenses, [(line, amount) for line, amount in lines if line.type == VAT], factor)
    largest = max(expenses, key=lambda sent: abs(sent.amount), default=None)
    lent = largest.values if largest is not None else {}
    return [
        SentLine(line, amount, _values(line, settings) if line.type == EXPENSE else _completed(line, settings, lent, requires))
        for line, amount in lines
    ]


def in_cents(amounts: Iterable[Decimal]) -> list[Decimal]:
    """Amounts rounded to cents so that their sum is the rounded sum; whole cents stay what they are."""
    exact = rounded = Decimal(0)
    made: list[Decimal] = []
    for amount in amounts:
        exact += amount
        upto = exact.quantize(CENT, ROUND_HALF_UP)
        made.append(upto - rounded)
        rounded = upto
    return made


def _factor(invoice: Invoice, coded: Sequence[InvoiceLine]) -> int:
    """-1 when the lines' signs must be turned round: a credit's lines add up to something negative in Sage."""
    whole = sum((line.amount for line in coded), Decimal(0)) or invoice.amount
    return -1 if invoice.is_credit and whole > 0 else 1


def _values(line: InvoiceLine, settings: InvoiceSettings) -> dict[str, str]:
    return {name: value for name, n in settings.objects.items() if (value := line.objects[n - 1]) is not None}


def _completed(line: InvoiceLine, settings: InvoiceSettings, lent: Mapping[str, str], requires: Requires | None) -> dict[str, str]:
    wanted = None if requires is None else requires(line.account or "") | {"location"}
    taken = {name: value for name, value in lent.items() if wanted is None or dimension_of(name).field in wanted}
    return taken | _values(line, settings)


def _with_taxes(expenses: list[SentLine], vat: Sequence[tuple[InvoiceLine, Decimal]], factor: int) -> list[SentLine]:
    """Every VAT line's amount as tax entries of the expense lines with its code (of all, when none has it)."""
    totals: dict[str, Decimal] = {}
    for line, amount in vat:
        totals[line.vat_code or ""] = totals.get(line.vat_code or "", Decimal(0)) + amount
    taxes: list[list[tuple[str, Decimal]]] = [[] for _ in expenses]
    for code, total in totals.items():
        places = [at for at, sent in enumerate(expenses) if sent.line.vat_code == code] or list(range(len(expenses)))
        own = [factor * expenses[at].line.vat_amount for at in places]
        whole_cents = all(share == share.quantize(CENT) for share in own)
        shares = own if whole_cents and sum(own) == total else _spread(total, [expenses[at].amount for at in places])
        for at, share in zip(places, shares, strict=True):
            taxes[at].append((code, share))
    return [sent._replace(taxes=tuple(own)) for sent, own in zip(expenses, taxes, strict=True)]


def _spread(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """A total in cents over lines, in proportion to their amounts; to the cent."""
    whole = sum(weights, Decimal(0))
    if not whole:
        return [total if at == 0 else Decimal(0) for at in range(len(weights))]
    upto, before, shares = Decimal(0), Decimal(0), []
    for weight in weights:
        upto += weight
        here = (total * upto / whole).quantize(CENT, ROUND_HALF_UP)
        shares.append(here - before)
        before = here
    return shares


# -- texts


_SHOWN_ELSEWHERE: Final = re.compile(r"ShowInvoice\.aspx\?", re.IGNORECASE)


def description_of(invoice: Invoice, settings: InvoiceSettings, revision: int) -> tuple[str, list[str]]:
    """Note, link and marker, and what of the note was changed. The note is cut, link and marker never; its room is the same for every
    revision. Another document's marker or link within the note is broken, so that this bill is never taken for that document's.
    """
    link, marker = link_of(invoice.id, settings), invoice.id.marker(revision)
    room = DESCRIPTION_MOST - LONGEST_MARKER - 1 - (len(link) + 1 if link else 0)
    note, notes = invoice.note or "", []
    foreign = _SHOWN_ELSEWHERE.sub("ShowInvoice.aspx ?", MARKER.sub(lambda match: match[0].replace("-", " "), note))
    if foreign != note:
        notes.append("the note names another document's marker or link, which is written differently on the bill")
    cut = _cut(foreign, room)
    if cut != foreign:
        notes.append(f"the note has {len(foreign)} characters; {max(len(cut) - 1, 0)} of them fit into Sage's description")
    return " ".join(part for part in (cut, link, marker) if part), notes


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return text[: most - 1].rstrip() + "…" if most > 1 else ""


def notes_of(invoice: Invoice, settings: InvoiceSettings) -> tuple[str, ...]:
    """What the bill says otherwise than the invoice: for the log."""
    notes = description_of(invoice, settings, 0)[1]
    for line in invoice.lines:
        if line.type == CREDITORS:
            continue
        if line.note and len(line.note) > MEMO_MOST:
            notes.append(f"line {line.number}: the note has {len(line.note)} characters, {MEMO_MOST} are sent as memo")
        if line.amount != line.amount.quantize(CENT):
            notes.append(f"line {line.number}: {line.amount} is sent in whole cents")
    number = number_of(invoice, settings)
    if len(number) > NUMBER_USUAL:
        notes.append(f"bill number {number} has {len(number)} characters; Sage is known to keep {NUMBER_USUAL}")
    return tuple(notes)


# -- the bill


def listed_of(invoice: Invoice, settings: InvoiceSettings) -> Listed:
    """The invoice as posting knows it. `content` is the same before and after midnight, and says nothing of files."""
    body = _body(invoice, settings, 0, attachment=settings.invoice_image_export, requires=None)
    if settings.bill_date_source == "Now":
        body.pop("createdDate", None)
    return Listed(
        id=invoice.id,
        content=hashlib.sha256(orjson.dumps([body, _plain(amount_of(invoice))])).hexdigest(),
        vendor=invoice.supplier or "",
        amount=amount_of(invoice),
        currency=invoice.currency or "",
        number=number_of(invoice, settings),
        booked_on=invoice.posted_on,
        status=invoice.status,
        link=link_of(invoice.id, settings),
        numbers=tuple(text for text in (invoice.supplier_invoice_no, invoice.voucher_no, invoice.pay_reference) if text),
        document=invoice,
    )


def bill_of(invoice: Invoice, settings: InvoiceSettings, revision: int, *, attachment: bool, requires: Requires | None = None) -> bytes:
    """The exact body of POST accounts-payable/bill; the same bytes for the same arguments. `attachment`: it has one, by our marker.

    Raises Permanent listing every reason when the invoice can become no bill.
    """
    if found := flaws(invoice, settings):
        raise Permanent(problems_text(found, PROBLEMS_MOST), code=found[0].code)
    return orjson.dumps(_body(invoice, settings, revision, attachment=attachment, requires=requires))


def request_of(
    invoice: Invoice, settings: InvoiceSettings, revision: int, *, attachment: bool, requires: Requires | None = None
) -> Request:
    """The write, as posting freezes it. Raises Permanent as `bill_of`."""
    return Request(
        kind="bill",
        body=bill_of(invoice, settings, revision, attachment=attachment, requires=requires),
        number=number_of(invoice, settings),
        vendor=invoice.supplier or "",
        marker=invoice.id.marker(revision),
        entity=settings.entity,
    )


def _body(invoice: Invoice, settings: InvoiceSettings, revision: int, *, attachment: bool, requires: Requires | None) -> dict[str, Any]:
    created_on = {"Now": settings.today, "InvoiceDate": invoice.invoiced_on, "AccountCodingDate": invoice.posted_on}[
        settings.bill_date_source
    ]
    body: dict[str, Any] = {
        "billNumber": number_of(invoice, settings) or None,
        "vendor": {settings.numbers: invoice.supplier},
        "referenceNumber": invoice.pay_reference,
        "description": description_of(invoice, settings, revision)[0],
        "createdDate": _day(created_on),
        "postingDate": _day(invoice.posted_on),
        "dueDate": _day(invoice.due_on),
        "recommendedPaymentDate": _day(invoice.paid_on),
        "paymentPriority": "normal",
        "isOnHold": invoice.is_blocked,
        "isTaxInclusive": False,
        "currency": {"baseCurrency": settings.base_currency or None, "txnCurrency": invoice.currency},
        "attachment": {"id": invoice.id.marker(revision)} if attachment else None,
        "lines": [_line(sent, settings) for sent in sent_lines(invoice, settings, requires)],
    }
    return _given(body) | {"currency": _given(body["currency"])}


def _line(sent: SentLine, settings: InvoiceSettings) -> dict[str, Any]:
    return _given(
        {
            "glAccount": {settings.numbers: sent.line.account},
            "txnAmount": money(sent.amount),
            "totalTxnAmount": money(sent.total),
            "memo": _cut(sent.line.note, MEMO_MOST) if sent.line.note else None,
            "dimensions": {dimension_of(name).field: {settings.numbers: value} for name, value in sent.values.items()},
            "taxEntries": [{"purchasingTaxDetail": {settings.numbers: code}, "txnTaxAmount": money(amount)} for code, amount in sent.taxes]
            or None,
        }
    )


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _day(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


def money(amount: Decimal) -> str:
    """An amount as Sage writes it: two decimals, and no minus before zero."""
    text = f"{amount.quantize(CENT, ROUND_HALF_UP):.2f}"
    return "0.00" if text == "-0.00" else text


# -- why there can be no bill


def flaws(invoice: Invoice, settings: InvoiceSettings) -> list[Problem]:
    """Everything that stands against a bill and that the invoice and the settings tell by themselves."""
    found = list(_credit_flaws(invoice, settings))
    found += _missing(invoice, settings)
    sent = sent_lines(invoice, settings)
    found += [
        Problem("There is no account on the line", line=one.line.number, code="account_missing") for one in sent if not one.line.account
    ]
    if settings.vat_lines == "taxEntry":
        found += [
            Problem("There is no VAT code on the VAT line, and Sage takes its amount by code", line=line.number, code="vat_code_missing")
            for line in invoice.lines
            if line.type == VAT and not line.vat_code
        ]
    if not sent:
        found.append(Problem("The invoice has no line that can be sent, and a bill needs one", code="no_lines"))
    else:
        found += _balance_flaws(invoice, settings, sent)
    if len(link_of(invoice.id, settings)) > DESCRIPTION_MOST - LONGEST_MARKER - 1:
        found.append(Problem("ShowInvoiceBaseURL is too long for Sage's description", "consultant", code="link_too_long"))
    return found


def _credit_flaws(invoice: Invoice, settings: InvoiceSettings) -> Iterator[Problem]:
    if not is_credit(invoice) or settings.credit_notes == "NegativeBill":
        return
    what = "This is a credit note" if invoice.is_credit else f"The total of the invoice is negative ({money(invoice.amount)})"
    if settings.credit_notes == "refuse":
        yield Problem(f"{what}; credits are not sent to Sage (setting CreditNotes). Book it in Sage by hand", code="credit_note")
    else:
        yield Problem(
            f"{what}; credits as adjustments in Sage (CreditNotes = Adjustment) are not supported. "
            "Set CreditNotes to NegativeBill or refuse, or book it in Sage by hand",
            "consultant",
            code="adjustment_unsupported",
        )


def _missing(invoice: Invoice, settings: InvoiceSettings) -> Iterator[Problem]:
    number = "supplier's invoice number" if settings.bill_number_source != "SeriesNo" else "number"
    for value, what in (
        (invoice.supplier, "supplier"),
        (number_of(invoice, settings), number),
        (invoice.currency, "currency"),
        (invoice.due_on, "due date"),
        (invoice.posted_on, "accounting date"),
        (invoice.invoiced_on or settings.bill_date_source != "InvoiceDate", "invoice date"),
    ):
        if not value:
            yield Problem(f"The invoice has no {what}", code="missing")


def _balance_flaws(invoice: Invoice, settings: InvoiceSettings, sent: Sequence[SentLine]) -> Iterator[Problem]:
    amount = amount_of(invoice)
    total = sum((one.total for one in sent), Decimal(0))
    if amount != amount.quantize(CENT):
        yield Problem(f"The total of {_plain(amount)} has more than two decimals, which Sage cannot book", code="fraction_of_cent")
    elif total != amount:
        currency = f" {invoice.currency}" if invoice.currency else ""
        left = f"{money(amount - total)} is missing" if amount > total else f"{money(total - amount)} is too much"
        figures = f"The lines add up to {money(total)}{currency} and the total is {money(amount)}{currency}: {left}"
        vat = sum((one.total for one in sent_lines(invoice, _vat_sent(settings))), Decimal(0)) - total
        if settings.vat_lines == "none" and vat == amount - total:
            yield Problem(f"{figures}. It is VAT, which is not sent (setting VatLines = none)", "consultant", code="vat_not_sent")
        else:
            yield Problem(figures, code="unbalanced")


def _vat_sent(settings: InvoiceSettings) -> InvoiceSettings:
    return settings if settings.vat_lines == "line" else replace(settings, vat_lines="line")


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
