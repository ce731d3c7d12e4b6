"""The settings against real values: payment methods and accounts of Rillion Pay, banks, dimensions and rate types of Sage."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import orjson

from connect.config.names import PAY_METHODS
from connect.doctor import sage
from connect.doctor.check import Check, Finding, Seen, Skip
from connect.doctor.needs import object_of
from connect.doctor.prime import read_page
from connect.doctor.systems import Systems
from connect.documents.payment import PaymentSettings, bank_of, fits
from connect.errors import Permanent
from connect.http import Reply
from connect.ledger import Problem
from connect.prime.pay import PrimePay
from connect.prime.rest import PrimeRest
from connect.registers.accounts import REQUIRES
from connect.sage import facts
from connect.sage.query import Query

PAYMENTS: Final = 500  # on a page of Rillion Pay's list
NAVIGATION: Final = "Payments > Manage > Payment provider > Bank account identifier"
_PAYMENTS: Final = frozenset({"ExportPayments"})


def _pay(systems: Systems) -> PrimeRest:
    if "ExportPayments" not in systems.jobs:
        raise Skip("", "ExportPayments is not active")
    if systems.rest is None:
        raise Skip("prime.rest")
    return systems.rest


async def _served(systems: Systems) -> list[str]:
    """The companies with payments that Prime has."""
    rest = _pay(systems)

    async def ask() -> set[str]:
        def read(reply: Reply) -> set[str]:
            return {str(row.get("company")) for row in read_page(reply)[0]}

        return await rest.call("GET", "/payment/configuration/tenant/company", None, read)

    known = await systems.once("pay.companies", ask)
    return [company for company in systems.companies("ExportPayments") if company in known]


async def payment_methods(systems: Systems) -> Seen:
    """The methods that Rillion Pay's payments name (the first and the last of its list), against PaymentMethodMapping."""
    rest = _pay(systems)

    async def page(index: int) -> tuple[list[dict[str, Any]], int]:
        return await rest.call("GET", f"/payment?{urlencode({'PageIndex': index, 'PageSize': PAYMENTS})}", None, read_page)

    rows, total = await page(0)
    if total > len(rows) > 0:
        rows += (await page((total - 1) // PAYMENTS))[0]
    findings = []
    seen: set[str] = set()
    for company in systems.companies("ExportPayments"):
        settings = systems.connection.settings(company)
        if settings.use_default_payment_method:
            continue
        used = {str(row["paymentMethod"]) for row in rows if row.get("company") == company and row.get("paymentMethod")}
        seen |= used
        for method in sorted(used - settings.payment_method_mapping.keys()):
            cause = f"Rillion Pay pays company {company} by {method}, and PaymentMethodMapping does not have it: such payments are refused."
            add = f'Add {method} = "…" (a payment method of Sage) to PaymentMethodMapping, or set' if method in PAY_METHODS else "Set"
            do = f"{add} UseDefaultPaymentMethod = true in GeneralSettings: PaymentMethod is then used for all."
            findings.append(Finding(cause=cause, owner="consultant", do=do))
    return Seen(f"{len(rows)} payments, methods: {', '.join(sorted(seen)) or 'none yet'}", tuple(findings))


async def banks(systems: Systems) -> Seen:
    """The account that each company pays from, against BankAccountMapping; what that names, against Sage's accounts."""
    pay = PrimePay(_pay(systems))
    for name in facts.BANKS:
        await sage.need_object(systems, name)
    findings = []
    words = []
    for company in await _served(systems):
        settings = systems.connection.settings(company)
        try:
            account = await pay.bank_account(company)
        except Permanent as error:
            do = f"In Prime, {NAVIGATION}: give company {company} one account."
            findings.append(Finding(cause=f"{error.message}.", owner="Rillion", do=do))
            continue
        bank = bank_of(account, settings.bank_account_mapping)
        if isinstance(bank, Problem):
            cause = (
                f"Company {company} pays from account {account} ({NAVIGATION}); BankAccountMapping maps it to no single account of Sage."
            )
            do = f'Write BankAccountMapping = {{ "{account}" = "…" }}, with the id of a bank account of Sage (Cash Management > Accounts).'
            findings.append(Finding(cause=cause, owner="consultant", do=do))
            continue
        found = (await facts.SageFacts(systems.sage).banks([bank])).get(bank)
        if found is None:
            cause = f"BankAccountMapping maps {account} to {bank}, and Sage has no active bank or card account of that id."
            do = f"Correct BankAccountMapping, or in Sage, Cash Management > Accounts: add or activate {bank}."
            findings.append(Finding(cause=cause, owner="consultant", do=do))
            continue
        words.append(f"{account} is {bank}")
        findings += _unfitting(_settings(company, settings), bank, found)
    return Seen(", ".join(words), tuple(findings))


def _settings(company: str, settings: Any) -> PaymentSettings:
    return PaymentSettings(
        company=company,
        entity="",
        method=settings.payment_method,
        use_default_method=settings.use_default_payment_method,
        methods=settings.payment_method_mapping,
        banks=settings.bank_account_mapping,
    )


def _unfitting(settings: PaymentSettings, bank: str, bank_object: str) -> list[Finding]:
    """Methods that Sage does not pay by from that account (AP-0038); a warning, since Pay may never use them."""
    methods = [settings.method] if settings.use_default_method else sorted(set(settings.methods.values()))
    wrong = [method for method in methods if not fits(method, bank_object)]
    if not wrong:
        return []
    kind = bank_object.rpartition("/")[2].replace("-", " ")
    cause = f"Company {settings.company} pays from {bank}, a {kind}, and Sage does not pay by {', '.join(wrong)} from there (AP-0038)."
    do = (
        "Change PaymentMethodMapping so that these methods become ones that suit the account, or map another account in BankAccountMapping."
    )
    verdict = "failed" if len(wrong) == len(methods) else "warning"
    return [Finding(cause=cause, owner="consultant", do=do, verdict=verdict)]  # type: ignore[arg-type]


async def objects(systems: Systems) -> Seen:
    """Lookup Objects against the values there are in Sage, and against the object types that Prime has named."""
    closed = await sage.reading(systems)
    known = await sage.listed_dimensions(systems)
    findings = []
    words = []
    for name in sage.mapped(systems):
        source = object_of(name)
        if name.casefold() not in known or closed.get(source) is not None:
            continue
        count = (await systems.sage.query(Query(source, ("key",), size=1, include_private=True))).total_count
        words.append(f"{name} {count:,}")
        if not count:
            cause = f"Dimension {name} has no values in Sage: object type {_number(systems, name)} of Prime stays empty."
            do = f"Take {name} out of lookup Objects in favour of a dimension that is used, or let the customer enter its values in Sage."
            findings.append(Finding(cause=cause, owner="consultant", do=do, verdict="warning"))
    return Seen(", ".join(words), tuple(findings))


def _number(systems: Systems, name: str) -> int | str:
    company = sage.mapped(systems)[name][0]
    return systems.connection.objects(company).get(name, "")


async def required(systems: Systems) -> Seen:
    """Dimensions that accounts of Sage require, and that lookup Objects does not have: no invoice on such an account can be posted."""
    if "ExportInvoices" not in systems.jobs:
        raise Skip("", "ExportInvoices is not active")
    await sage.need_object(systems, facts.ACCOUNT)
    paths = {name: f"requireDimensions.{field}" for name, field in REQUIRES.items()}
    filters = ({"$eq": {"status": "active"}},)
    rows = [
        orjson.loads(raw)
        for _, raw in await systems.sage.rows_of(Query(facts.ACCOUNT, ("key", "id", *paths.values()), filters, include_private=True))
    ]
    asked = {name: found for name, path in paths.items() if (found := [str(row["id"]) for row in rows if row.get(path) in (True, "true")])}
    findings = []
    for company in systems.companies("ExportInvoices"):
        lacking = asked.keys() - systems.connection.objects(company).keys() - {"VENDOR"}  # a bill's lines have its vendor
        if lacking:
            some = "; ".join(f"{name} by {_some(accounts)}" for name, accounts in asked.items() if name in lacking)
            cause = f"Accounts in Sage require dimensions that lookup Objects of company {company} does not have: {some}."
            do = "Add them to lookup Objects, or see to it that nobody codes invoices on these accounts in Prime: Sage would refuse them."
            findings.append(Finding(cause=cause, owner="consultant", do=do, verdict="warning"))
    return Seen(f"{len(rows)} accounts", tuple(findings))


def _some(accounts: list[str]) -> str:
    return f"{', '.join(accounts[:3])}{f' and {len(accounts) - 3} more' if len(accounts) > 3 else ''}"


async def rate_types(systems: Systems) -> Seen:
    if "GetCurrencies" not in systems.jobs:
        raise Skip("", "GetCurrencies is not active")
    await sage.need_object(systems, facts.RATE)
    asked = {one for company in systems.companies("GetCurrencies") if (one := systems.connection.settings(company).exchange_rate_type)}
    rows = await systems.sage.rows_of(Query(facts.RATE, ("key", "exchangeRateType.name"), include_private=True))
    known = {str(orjson.loads(raw).get("exchangeRateType.name")) for _, raw in rows}
    if not known:
        raise Skip("sage.currencies", "there are no exchange rates")
    findings = []
    for name in sorted(asked - known):
        cause = f"No exchange rate in Sage is of the type {name}; there are {', '.join(sorted(known)) or 'none'}."
        do = "Correct ExchangeRateType in GeneralSettings."
        findings.append(Finding(cause=cause, owner="consultant", do=do, jobs=frozenset({"GetCurrencies"})))
    if not asked and len(known) > 1:
        cause = f"Sage has rates of {len(known)} types ({', '.join(sorted(known))}), and all are sent: the last one of a day wins."
        do = "Ask the customer which type counts for payables, and write it as ExchangeRateType in GeneralSettings."
        findings.append(Finding(cause=cause, owner="consultant", do=do, verdict="warning"))
    return Seen(", ".join(sorted(known)), tuple(findings))


_BOTH: Final = ("prime.rest", "sage.version")
CHECKS: Final = (
    Check(
        name="mappings.payment_methods",
        tests="PaymentMethodMapping has what Rillion Pay uses",
        run=payment_methods,
        needs=("prime.rest",),
        jobs=_PAYMENTS,
    ),
    Check(
        name="mappings.banks",
        tests="BankAccountMapping has the accounts of Rillion Pay, and Sage has its banks",
        run=banks,
        needs=_BOTH,
        jobs=_PAYMENTS,
    ),
    Check(name="mappings.objects", tests="the dimensions of lookup Objects have values", run=objects, needs=("sage.version",)),
    Check(name="mappings.required", tests="lookup Objects has the dimensions that accounts require", run=required, needs=("sage.version",)),
    Check(name="mappings.rate_types", tests="ExchangeRateType is one of Sage's", run=rate_types, needs=("sage.version",)),
)
