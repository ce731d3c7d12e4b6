"""Suppliers: Sage's vendors, delivered to Prime as suppliers, each with its bank accounts and its days until payment.

Three Sage objects make one supplier: the vendor, its payment term, and its account numbers (the guide's 1+1+1 calls). Settings choose
where two of its parts are read:

    contact        inline (fields of the vendor, which Sage has marked deprecated), or company-config/contact, joined by the contact's key
    bank accounts  vendorAccountNumber as the guide says (by Sage's own words the number that the vendor gave us, F12), bankFile, or ach

Bank accounts travel inside the supplier. Over SOAP the list replaces the one that Prime holds. Over REST they are a resource of their own:
the body's `supplierBankAccounts` holds its rows, and those that have gone since the last time say `remove`.

Source: the guide, Supplier; prime.md 2.6, F2, F9-F12, D11-D13, D20; sage-rest.md f.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from connect.config import RegisterSettings
from connect.mapping import (
    EXTERNAL_SOURCE,
    Code,
    DimensionStatus,
    Entity,
    EntityMapping,
    FieldMap,
    Join,
    Joined,
    Line,
    Note,
    Part,
    Reference,
    Row,
    RowReader,
    Source,
    Title,
    clean,
    fit,
    framed,
    joined_words,
)
from connect.registers.accounts import account_number
from connect.registers.register import Register

MODIFIED: Final = "audit.modifiedDateTime"
LINE_LENGTH: Final = 255  # characters of an address line or a contact's name, as Line has it
FROM_BILL_DATE: Final = ("fromBillDate", None)  # the terms whose days alone say when a bill is due; unset is Sage's default
NOT_BLOCKED, BLOCKED_IN_LOG, BLOCKED_FOR_PAYMENT = 0, 1, 2  # Prime's Blocked (D12)


class Supplier(Entity):
    """A party the customer buys from."""

    number: Code
    name: Title
    status: DimensionStatus
    is_on_hold: bool | None
    do_not_pay: bool | None
    vat_no: Reference | None = None
    currency: Reference | None = None
    cost_account: Title | None = None  # a reference, perhaps with the account's name; what Prime gets is the number
    note: Note | None = None
    term_key: str | None = None
    contact_key: str | None = None
    ach_number: Reference | None = None
    first_name: Line | None = None
    middle_name: Line | None = None
    last_name: Line | None = None
    email: Line | None = None
    phone_1: Line | None = None
    phone_2: Line | None = None
    url_1: Line | None = None
    url_2: Line | None = None
    address_1: Line | None = None
    address_2: Line | None = None
    address_3: Line | None = None
    city: Line | None = None
    post_code: Line | None = None
    country: Line | None = None
    contact: str | None = None
    website: str | None = None
    post_code_and_city: str | None = None
    org_number: str | None = None
    blocked: int = NOT_BLOCKED
    valid_to: str | None = None
    grace_days: str | None = None
    bank_accounts: Any = None


_CONTACT: Final = "contacts.default."

ENTITY = EntityMapping(
    model=Supplier,
    source="accounts-payable/vendor",
    fields=(
        *framed(
            #        Supplier               Sage Intacct                         Prime, SOAP            Prime, REST
            FieldMap("number",              "{number}",                          "Supplier",            "supplier"),
            FieldMap("name",                "name",                              "Name",                "name"),
            FieldMap("status",              "status"),
            FieldMap("is_on_hold",          "isOnHold"),
            FieldMap("do_not_pay",          "doNotPay"),
            FieldMap("vat_no",              "taxId",                             "VatNo",               "vatNo"),
            FieldMap("term_key",            "term.key"),
            FieldMap("grace_days",          "",                                  "GraceDays",           "graceDays"),
            FieldMap("blocked",             "",                                  "Blocked",             "blocked"),
            FieldMap("valid_to",            "",                                  "ValidTo",             "validTo"),
            FieldMap("currency",            "currency",                          "Currency",            "currency"),
            FieldMap("cost_account",        "defaultExpenseGLAccount.{number}",  "CostAccount",         "costAccount"),
            FieldMap("contact_key",         "contacts.default.key"),
            FieldMap("address_1",           _CONTACT + "mailingAddress.addressLine1", "Address1",       "addressLines[0]"),
            FieldMap("address_2",           _CONTACT + "mailingAddress.addressLine2", "Address2",       "addressLines[1]"),
            FieldMap("address_3",           _CONTACT + "mailingAddress.addressLine3", "Address3",       "addressLines[2]"),
            FieldMap("post_code_and_city",  "",                                  "Address4",            ""),
            FieldMap("post_code",           _CONTACT + "mailingAddress.postCode", "",                   "addressLines[3]"),
            FieldMap("city",                _CONTACT + "mailingAddress.city",    "",                    "addressLines[4]"),
            FieldMap("country",             _CONTACT + "mailingAddress.country", "Address5",            "addressLines[5]"),
            FieldMap("phone_1",             _CONTACT + "phone1",                 "Tele1",               "phoneNumbers[0]"),
            FieldMap("phone_2",             _CONTACT + "phone2",                 "Tele2",               "phoneNumbers[1]"),
            FieldMap("url_1",               _CONTACT + "URL1"),
            FieldMap("url_2",               _CONTACT + "URL2"),
            FieldMap("website",             "",                                  "Www",                 "webAddress"),
            FieldMap("first_name",          _CONTACT + "firstName"),
            FieldMap("middle_name",         _CONTACT + "middleName"),
            FieldMap("last_name",           _CONTACT + "lastName"),
            FieldMap("contact",             "",                                  "Contact",             "contactPerson"),
            FieldMap("email",               _CONTACT + "email1",                 "Email",               "email"),
            FieldMap("org_number",          "",                                  "CorporateIdentityNo", "corporateIdentityNumber"),
            FieldMap("note",                "notes",                             "Note",                "note"),
            FieldMap("ach_number",          "ach.accountNumber"),
        ),
        FieldMap("bank_accounts",           "",                                  "SupplierBankAccount", "supplierBankAccounts"),
    ),
)  # fmt: skip

CONTACT_FIELDS: Final = {row.ours: row.sage.removeprefix(_CONTACT) for row in ENTITY.fields if row.sage.startswith(_CONTACT)}
"""Field -> where a contact has it; `contact_key` is what the vendor knows of its contact."""
del CONTACT_FIELDS["contact_key"]


class Term(msgspec.Struct, gc=False):
    """A payment term. `due_from` may be a word that Sage adds tomorrow: such a term has no plain number of days either."""

    due_days: int | None
    due_from: str | None


class BankAccount(msgspec.Struct, gc=False):
    """A bank account of a supplier. `key` is its own in Sage."""

    key: str
    number: Reference | None
    name: Title | None = None


TERM: Final = Join("term", "accounts-payable/term", ("key", "due.days", "due.from"), left="term.key", right="key", modified_field=MODIFIED)
CONTACT: Final = Join("contact", "company-config/contact", ("key", *CONTACT_FIELDS.values()), left="contacts.default.key", right="key")
_ACCOUNT_NUMBERS: Final = {"key": "key", "number": "vendorAccountNumber"}
_BANK_FILES: Final = {"key": "key", "number": "bankAccountNumber", "name": "bankAccountName"}


def _bank_join(source: str, paths: dict[str, str]) -> Join:
    return Join("bank_accounts", source, (*paths.values(), "vendor.key"), left="key", right="vendor.key", many=True, secret=True)


def parts(settings: RegisterSettings) -> list[Part]:
    contact_apart, ach = settings.contact_source == "contact", settings.bank_account_source == "ach"
    without = {name for name, needed in (("contact_key", contact_apart), ("ach_number", ach)) if not needed}
    mapper = ENTITY.compile(
        settings, without=frozenset(without), unread=frozenset(CONTACT_FIELDS) if contact_apart else frozenset()
    )  # fmt: skip
    by_number = settings.bank_account_source == "vendorAccountNumber"
    paths = _ACCOUNT_NUMBERS if by_number else _BANK_FILES
    bank_join = _bank_join("accounts-payable/vendor-account-number" if by_number else "accounts-payable/vendor-bank-file-setup", paths)
    read_term = RowReader(Term, {"due_days": "due.days", "due_from": "due.from"}, TERM.object)
    read_contact = RowReader(Supplier, CONTACT_FIELDS, CONTACT.object)
    read_bank_account = RowReader(BankAccount, paths, bank_join.object)
    bank_rows = _bank_rows_soap if mapper.transport == "soap" else _bank_rows_rest(settings.company)
    org_number, by_key = settings.org_number, settings.key_source == "key"

    def contact_of(supplier: Supplier, joined: Joined) -> tuple[str, ...]:
        found = joined.get("contact")
        if not found:
            return ("its contact is not to be read in Sage",) if supplier.contact_key else ()
        contact = read_contact(found[0])
        for name in CONTACT_FIELDS:
            setattr(supplier, name, getattr(contact, name))
        return ()

    def grace_days(supplier: Supplier, joined: Joined) -> tuple[str, ...]:
        found = joined.get("term")
        if not found:
            return ("its payment term is not to be read in Sage",) if supplier.term_key else ()
        term = read_term(found[0])
        if term.due_days is None:
            return ()
        if term.due_from not in FROM_BILL_DATE:
            return (f"its payment term counts {term.due_days} days {term.due_from}, which no number of days says",)
        supplier.grace_days = str(term.due_days)
        return ()

    def bank_accounts(supplier: Supplier, joined: Joined) -> list[BankAccount]:
        if ach:
            key = supplier.number if by_key else supplier.external_id
            return _each_once([BankAccount(key, supplier.ach_number)])
        found = joined.get("bank_accounts")
        return _each_once(read_bank_account(raw) for raw in found) if found else []

    def transform(raw: bytes, joined: Joined, previous: str) -> Row:
        supplier = mapper.decode(raw)
        what = f"Sage {ENTITY.source} {supplier.external_id}"
        notes: tuple[str, ...] = contact_of(supplier, joined) if contact_apart else ()
        notes += grace_days(supplier, joined)
        supplier.contact = fit("contact", joined_words(supplier.first_name, supplier.middle_name, supplier.last_name), LINE_LENGTH, what)
        supplier.website = supplier.url_1 if supplier.url_1 and supplier.url_1.strip(" \t\r\n") else supplier.url_2
        if mapper.transport == "soap":
            supplier.post_code_and_city = fit("Address4", joined_words(supplier.post_code, supplier.city), LINE_LENGTH, what)
        supplier.cost_account = account_number(supplier.cost_account, what)
        if org_number != "empty":
            supplier.org_number = supplier.number if org_number == "number" else supplier.vat_no
        if supplier.is_on_hold:
            supplier.blocked = BLOCKED_IN_LOG
        elif supplier.do_not_pay:
            supplier.blocked = BLOCKED_FOR_PAYMENT
        if supplier.blocked or supplier.status not in ("active", None):
            supplier.valid_to = mapper.expired
        accounts = bank_accounts(supplier, joined)
        numbers = [str(account.number) for account in accounts]
        gone = [number for number in previous.split("\n") if number and number not in numbers] if previous else []
        if gone:
            notes += (f"bank accounts gone from Sage, which leave Prime: {len(gone)}",)
        if accounts or gone:
            supplier.bank_accounts = bank_rows(supplier.number, accounts, gone)
        return Row(supplier.number, supplier.number, supplier.name, mapper.encode(supplier), "\n".join(numbers), notes)

    def expire(_natural: str, number: str, _name: str, _extra: str) -> bytes:
        return mapper.partial(number=number, valid_to=mapper.expired)

    joins = (TERM, *((CONTACT,) if contact_apart else ()), *(() if ach else (bank_join,)))
    return [
        Part(
            id="Supplier",
            kind="Supplier",
            source=Source(ENTITY.source, mapper.paths, modified_field=MODIFIED, joins=joins),
            version=mapper.version,
            transform=transform,
            expire=expire,
            unknown_fields=mapper.decode.unknown,
        )
    ]


def _each_once(accounts: Iterable[BankAccount]) -> list[BankAccount]:
    """Those with a number, each number once (Sage may hold it for several locations), the oldest record first."""
    found: dict[str, BankAccount] = {}
    for account in sorted(accounts, key=lambda account: int(account.key)):
        number = clean(account.number)
        if number is not None:
            account.number = number
            found.setdefault(number, account)
    return list(found.values())


BankRows = Callable[[str, Sequence[BankAccount], Sequence[str]], list[dict[str, Any]] | None]


def _bank_rows_soap(_supplier: str, accounts: Sequence[BankAccount], _gone: Sequence[str]) -> list[dict[str, Any]] | None:
    return [
        {
            "BankAccount": account.number,
            "Name": clean(account.name) or account.number,
            "Default": 0,
            "ExternalId": account.key,
            "ExternalSource": EXTERNAL_SOURCE,
        }
        for account in accounts
    ] or None


def _bank_rows_rest(company: str) -> BankRows:
    def rows(supplier: str, accounts: Sequence[BankAccount], gone: Sequence[str]) -> list[dict[str, Any]]:
        identity = {"company": company, "supplier": supplier, "keyType": 1}
        return [
            identity
            | {
                "bankAccountNo": account.number,
                "name": clean(account.name) or account.number,
                "defaultAccount": 0,
                "externalId": account.key,
                "externalSource": EXTERNAL_SOURCE,
            }
            for account in accounts
        ] + [identity | {"bankAccountNo": number, "remove": 1} for number in gone]

    return rows


REGISTER = Register(job="GetSuppliers", parts=parts, after=("GetAccounts", "GetCurrencies", "GetDimObjects"), incremental=True)
