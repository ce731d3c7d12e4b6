"""What Sage would say to an invoice's bill, as far as it can be known before: all of it at once, for whoever mends it.

`needs` names what must be known, so that one query of each kind serves many invoices; `Facts` is what Sage answered; `problems` judges.
A clerk mends coding, dates and numbers in Prime; what is wrong in Sage or in the set-up is named with who owns it (design section 4).

Source: sage-rest.md e and g (what Sage refuses), prime.md 4 (job 10) and D16; issue 4, pre-flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date

from connect.documents.bill import SentLine, flaws, sent_lines
from connect.documents.invoice import VAT, Invoice, InvoiceSettings, dimension_of, number_of
from connect.ledger import Problem

NO_REQUIREMENTS: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be known of Sage: numbers as Prime has them (Sage's ids, or its keys where KeySource = key).

    Attributes:
        values: (dimension as in lookup Objects, number).
        numbers: (vendor, bill number) that must be free.
        rates: (currency, base currency) whose rates must be known.
    """

    vendors: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    values: frozenset[tuple[str, str]] = frozenset()
    tax_codes: frozenset[str] = frozenset()
    numbers: frozenset[tuple[str, str]] = frozenset()
    currencies: frozenset[str] = frozenset()
    rates: frozenset[tuple[str, str]] = frozenset()
    folders: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(**{field.name: getattr(self, field.name) | getattr(other, field.name) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class VendorFacts:
    """`state`: "s" submitted, "a" approved, "r" declined. A vendor that is only not to be paid takes bills."""

    status: str = "active"
    state: str = "a"
    is_on_hold: bool = False


@dataclass(frozen=True, kw_only=True)
class AccountFacts:
    """`requires`: the dimensions that every line must carry, by their names below `requireDimensions`."""

    status: str = "active"
    takes_postings: bool = True
    requires: frozenset[str] = NO_REQUIREMENTS


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What Sage holds of `Needs`. Of the first four, what is absent is not in Sage; of the others, None was not asked and is not judged.

    Attributes:
        values: (dimension, number) -> status.
        numbers: (vendor, bill number) -> key of the bill that has it.
        currencies, base_currencies: those that may be used; no currency at all: Sage keeps no list.
        rates: (currency, base currency) -> the day of its first rate.
        folders: names of attachment folders.
        closed_until: no postings up to and including this day.
    """

    vendors: Mapping[str, VendorFacts]
    accounts: Mapping[str, AccountFacts]
    values: Mapping[tuple[str, str], str]
    tax_codes: frozenset[str]
    numbers: Mapping[tuple[str, str], str] | None = None
    currencies: frozenset[str] | None = None
    base_currencies: frozenset[str] | None = None
    rates: Mapping[tuple[str, str], date] | None = None
    folders: frozenset[str] | None = None
    closed_until: date | None = None

    def requires(self, account: str) -> frozenset[str]:
        """The dimensions that an account requires: what `bill_of` wants to know."""
        found = self.accounts.get(account)
        return found.requires if found is not None else NO_REQUIREMENTS


def needs(invoice: Invoice, settings: InvoiceSettings) -> Needs:
    """What must be known of Sage to judge this invoice."""
    sent = sent_lines(invoice, settings)
    number, base, currency = number_of(invoice, settings), settings.base_currency, invoice.currency
    return Needs(
        vendors=_known(invoice.supplier),
        accounts=_known(*(one.line.account for one in sent)),
        values=frozenset(item for one in sent for item in one.values.items()),
        tax_codes=_known(*(code for one in sent for code, _ in one.taxes)),
        numbers=frozenset({(invoice.supplier, number)} if invoice.supplier and number else ()),
        currencies=_known(currency),
        rates=frozenset({(currency, base)} if currency and base and currency != base else ()),
        folders=_known(settings.attachment_folder if settings.invoice_image_export else None),
    )


def problems(invoice: Invoice, settings: InvoiceSettings, facts: Facts) -> list[Problem]:
    """Every reason why Sage would not book this invoice; none when it would, as far as can be known."""
    found = flaws(invoice, settings)
    found += _vendor_problems(invoice, facts)
    found += _header_problems(invoice, settings, facts)
    for one in sent_lines(invoice, settings, facts.requires):
        found += _account_problems(one, settings, facts)
        found += _value_problems(one, settings, facts)
        found += _tax_problems(one, facts)
    return _merged(found)


def _known(*texts: str | None) -> frozenset[str]:
    return frozenset(text for text in texts if text)


def _vendor_problems(invoice: Invoice, facts: Facts) -> Iterator[Problem]:
    number = invoice.supplier
    if number is None:
        return
    vendor = facts.vendors.get(number)
    if vendor is None:
        yield Problem(f"Supplier {number} is not in Sage", code="vendor_unknown")
        return
    if vendor.status != "active":
        yield Problem(f"Supplier {number} is not active in Sage: choose another, or have it activated there", code="vendor_inactive")
    if vendor.state != "a":
        state = {"s": "waits for approval", "r": "was declined"}.get(vendor.state, "is not approved")
        yield Problem(f"Supplier {number} {state} in Sage", "Sage administrator", code="vendor_not_approved")
    if vendor.is_on_hold:
        yield Problem(f"Supplier {number} is on hold in Sage", "Sage administrator", code="vendor_on_hold")


def _header_problems(invoice: Invoice, settings: InvoiceSettings, facts: Facts) -> Iterator[Problem]:
    number = number_of(invoice, settings)
    if facts.numbers is not None and invoice.supplier and (key := facts.numbers.get((invoice.supplier, number))):
        yield Problem(f"Bill number {number} of supplier {invoice.supplier} is already used in Sage (bill {key})", code="number_taken")
    day, closed = invoice.posted_on, facts.closed_until
    if day is not None and closed is not None and day <= closed:
        yield Problem(f"The accounting date {day} lies in a closed period: Sage is closed up to {closed}", code="period_closed")
    yield from _currency_problems(invoice, settings, facts)
    folder = settings.attachment_folder
    if settings.invoice_image_export and facts.folders is not None and folder not in facts.folders:
        yield Problem(f"Sage has no attachment folder {folder} (setting SageAttachmentFolderId)", "consultant", code="folder_missing")


def _currency_problems(invoice: Invoice, settings: InvoiceSettings, facts: Facts) -> Iterator[Problem]:
    base, currency, day = settings.base_currency, invoice.currency, invoice.posted_on
    is_base = facts.base_currencies is None or not base or base in facts.base_currencies
    is_enabled = not facts.currencies or currency is None or currency in facts.currencies
    if not is_base:
        yield Problem(f"{base}, the company's currency in Prime, is no base currency in Sage", "consultant", code="base_currency")
    if not is_enabled:
        yield Problem(f"Currency {currency} is not enabled in Sage", "Sage administrator", code="currency_not_enabled")
    if is_base and is_enabled and facts.rates is not None and base and currency and currency != base and day is not None:
        first_on = facts.rates.get((currency, base))
        if first_on is None or first_on > day:
            message = f"Sage has no exchange rate from {currency} to {base} for {day}"
            yield Problem(message, "Sage administrator", code="rate_missing")


def _account_problems(one: SentLine, settings: InvoiceSettings, facts: Facts) -> Iterator[Problem]:
    number, line = one.line.account, one.line.number
    account = facts.accounts.get(number) if number else None
    if number and account is None:
        yield Problem(f"Account {number} is not in Sage", line=line, code="account_unknown")
    elif account is not None and account.status != "active":
        yield Problem(f"Account {number} is not active in Sage", line=line, code="account_inactive")
    elif account is not None and not account.takes_postings:
        yield Problem(f"Account {number} takes no direct postings in Sage", line=line, code="account_closed")
    carried = {dimension_of(name).field for name in one.values}
    configured = {dimension_of(name).field: dimension_of(name).label for name in settings.objects}
    required = {"location"} | (account.requires if account is not None else NO_REQUIREMENTS)
    for field in sorted(required - carried - {"vendor"}):  # the bill's own vendor counts as that dimension
        if field not in configured:
            message = f"Account {number} requires the dimension {field} in Sage, which lookup Objects does not name"
            yield Problem(message, "consultant", line, "dimension_not_configured")
            continue
        whose = f"Account {number}" if account is not None and field in account.requires else "Sage"
        more = ", and no expense line lends one" if one.line.type == VAT else ""
        yield Problem(f"{configured[field]} is missing: {whose} requires it{more}", line=line, code="dimension_missing")


def _value_problems(one: SentLine, settings: InvoiceSettings, facts: Facts) -> Iterator[Problem]:
    for name, value in one.values.items():
        if one.line.objects[settings.objects[name] - 1] != value:
            continue  # lent by the largest expense line, where it is judged
        label, status = dimension_of(name).label, facts.values.get((name, value))
        if status is None:
            yield Problem(f"{label} {value} is not in Sage", line=one.line.number, code="value_unknown")
        elif status != "active":
            yield Problem(f"{label} {value} takes no postings in Sage ({status})", line=one.line.number, code="value_inactive")


def _tax_problems(one: SentLine, facts: Facts) -> Iterator[Problem]:
    for code, _ in one.taxes:
        if code and code not in facts.tax_codes:
            yield Problem(f"VAT code {code} is not in Sage", line=one.line.number, code="tax_code_unknown")


def _merged(found: Iterable[Problem]) -> list[Problem]:
    """The same words about several lines once, with the first line's number and the others' behind them."""
    lines: dict[Problem, list[int]] = {}
    for problem in found:
        lines.setdefault(problem._replace(line=0), []).append(problem.line)
    return [
        problem._replace(line=numbers[0], message=problem.message + _also(list(dict.fromkeys(numbers))[1:]))
        for problem, numbers in lines.items()
    ]


def _also(numbers: list[int]) -> str:
    if not numbers:
        return ""
    return f" (also line{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))})"
