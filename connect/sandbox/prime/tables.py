"""Prime's records as data: fields, types, lengths, keys, and their names over REST.

Names, types and required fields: prime.md 8 and 2. The lengths are this simulator's choice, to be confirmed with a real Prime.
A value is kept as text (text, dates, decimals), int (flags, whole numbers) or bool; None clears a field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final, Literal

OBJECT_TYPES: Final = range(1, 9)
"""The slots for object types exist from the start; InsertObjectType gives one its name."""
INVALID: Final = 1  # the result codes of prime.md 6.1; 0 is done
UNKNOWN_REFERENCE: Final = 2
NOT_FOUND: Final = 3

Value = str | int | bool
Record = dict[str, Any]
Type = Literal["text", "date", "decimal", "bool", "whole"]

NAME_LENGTH: Final = 400
NOTE_LENGTH: Final = 4000
LINE_LENGTH: Final = 255
CODE_LENGTH: Final = 100
_LENGTHS: Final = (
    (re.compile(r"Name"), NAME_LENGTH),
    (re.compile(r"Note|Description|Message|ErrorText|BlockedMessage|PaymentMessage|AssetDescription"), NOTE_LENGTH),
    (re.compile(r"Address\d|Tele\d|Www|Contact|Email|PurchaseOrderEmail|Group\d|FileName|Url"), LINE_LENGTH),
    (re.compile(r"Value"), 1_000_000),
    (re.compile(r"Image"), 1_000_000_000),
)

_DECIMAL: Final = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_SPEC: Final = re.compile(r"(?P<name>[A-Za-z]+\d?)(?:\.\.(?P<last>\d))?(?P<required>\*?)(?::(?P<type>[dnb]|\d+-\d+))?")


class Refused(Exception):
    """A record that is not taken: `code` 1 invalid, 2 unknown reference, 3 not found; `message` names field and value."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@lru_cache(maxsize=20_000)
def read_date(text: str) -> str:
    """`yyyy-MM-dd`, with or without a time, never with a zone. Midnight is left out. Raises ValueError."""
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, clock, fraction = found.groups()
    date.fromisoformat(day)
    if clock is None:
        return day
    time.fromisoformat(clock)
    fraction = (fraction or "").rstrip("0")
    if clock == "00:00:00" and not fraction:
        return day
    return f"{day}T{clock}.{fraction}" if fraction else f"{day}T{clock}"


def read_decimal(text: str) -> str:
    """A number with a dot, without exponent; in its shortest plain form. Raises ValueError."""
    found = _DECIMAL.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        raise ValueError(text)
    whole, fraction = found[2].lstrip("0") or "0", (found[3] or "").rstrip("0")
    plain = f"{whole}.{fraction}" if fraction else whole
    return f"-{plain}" if found[1] == "-" and plain != "0" else plain


@dataclass(frozen=True, slots=True)
class Column:
    """One field. `limit` in characters, for text; `low` and `high` for whole numbers."""

    name: str
    type: Type
    required: bool
    limit: int = CODE_LENGTH
    low: int = 0
    high: int = 0

    def read_text(self, text: str) -> Value | None:
        """The value of an XML element's text; "" clears. Raises Refused."""
        if self.type == "text":
            if len(text) > self.limit:
                raise self.too_long(text)
            return text or None
        text = text.strip()
        if not text:
            return None
        try:
            if self.type == "date":
                return read_date(text)
            if self.type == "decimal":
                return read_decimal(text)
            if self.type == "bool":
                return _BOOLEANS[text]
            if _WHOLE.fullmatch(text) is None:
                raise ValueError(text)
        except (ValueError, KeyError):
            raise self.wrong(text) from None
        return self._in_range(int(text))

    def read_json(self, value: Any) -> Value | None:
        """The value of a JSON member; null and "" clear. Raises Refused."""
        if value is None or value == "":
            return None
        kind = type(value)
        if kind is str and self.type in ("text", "date", "decimal"):
            return self.read_text(value)
        if self.type == "whole" and kind is int:
            return self._in_range(value)
        if self.type == "bool" and kind is bool:
            return bool(value)
        if self.type == "decimal" and kind in (int, float) and isfinite(value):
            return read_decimal(format(Decimal(repr(value)), "f"))
        raise self.wrong(value)

    def read_loose(self, value: Any) -> Value | None:
        """As `read_json`, and also what an XML element would say: for records loaded by hand. Raises Refused."""
        if isinstance(value, str):
            return self.read_text(value)
        if self.type == "text" and type(value) is int:
            return self.read_text(str(value))
        return self.read_json(value)

    def _in_range(self, number: int) -> int:
        if not self.low <= number <= self.high:
            raise self.wrong(number)
        return number

    def wrong(self, value: Any) -> Refused:
        expected = {
            "text": "text",
            "date": "a date as yyyy-MM-ddT00:00:00 or yyyy-MM-dd",
            "decimal": "a number with a decimal point",
            "bool": "true or false",
            "whole": f"a whole number from {self.low} to {self.high}",
        }[self.type]
        return Refused(INVALID, f"Field {self.name}: value {repr(value)[:80]} is not valid, expected {expected}")

    def too_long(self, text: str) -> Refused:
        return Refused(
            INVALID, f"Field {self.name}: the value has {len(text)} characters, at most {self.limit} are allowed: {text[:40]!r}…"
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """`column` names a record of the register `target`; only checked when `when` (a 0/1 column) is 1."""

    column: str
    target: str
    when: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of record.

    Attributes:
        key: the natural key's columns, Company left out.
        bound: whether Company is part of the key: "KeyType" (when that field is 1), "always", "never".
        nested: element name -> table of records inside this one, repeated.
        rest: wire name -> REST name where it is not the same name in camelCase (prime.md 2).
        rest_lists: REST name -> the wire columns its positions fill.
        rest_only: columns that SOAP does not have (D10).
        rest_ignored: what REST records carry on every register and this one has no column for.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    bound: Literal["KeyType", "always", "never"] = "KeyType"
    references: tuple[Reference, ...] = ()
    nested: Mapping[str, Table] = field(default_factory=dict)
    rest: Mapping[str, str] = field(default_factory=dict)
    rest_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rest_only: frozenset[str] = frozenset()
    rest_ignored: frozenset[str] = frozenset()
    by_name: Mapping[str, Column] = field(init=False)
    by_soap: Mapping[str, Column] = field(init=False)
    by_rest: Mapping[str, Column] = field(init=False)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        by_name = {column.name: column for column in self.columns}
        listed = {name for names in self.rest_lists.values() for name in names} | set(_USE_OBJECTS if self.name == "Account" else ())
        put = object.__setattr__  # frozen: derived once
        put(self, "by_name", by_name)
        put(self, "by_soap", {name: column for name, column in by_name.items() if name not in self.rest_only})
        put(self, "by_rest", {self.rest.get(name, _camel(name)): column for name, column in by_name.items() if name not in listed})
        put(self, "required", tuple(column.name for column in self.columns if column.required))

    @property
    def resource(self) -> str:
        """The register's path over REST."""
        return self.name.lower()

    @property
    def envelope(self) -> str:
        """The member that holds the records of a REST body (D34)."""
        return f"create{self.name}Requests"


_USE_OBJECTS: Final = tuple(f"{prefix}Object{n}" for prefix in ("Use", "Default") for n in range(1, 9))


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


def _columns(spec: str) -> tuple[Column, ...]:
    """Columns from "Name*:type" words: * required, :d date, :n decimal, :b boolean, :a-b whole number in that range, 1..8 repeats."""
    made = []
    for word in spec.split():
        found = _SPEC.fullmatch(word)
        if found is None:
            raise ValueError(f"not a column: {word}")
        name, last = found["name"], found["last"]
        for full in [f"{name[:-1]}{n}" for n in range(int(name[-1]), int(last) + 1)] if last else [name]:
            kind = found["type"]
            limit = next((length for pattern, length in _LENGTHS if pattern.fullmatch(full)), CODE_LENGTH)
            if kind is not None and "-" in kind:
                low, high = kind.split("-")
                made.append(Column(full, "whole", bool(found["required"]), low=int(low), high=int(high)))
            else:
                types: dict[str | None, Type] = {None: "text", "d": "date", "n": "decimal", "b": "bool"}
                made.append(Column(full, types[kind], bool(found["required"]), limit=limit))
    return tuple(made)


_EXTERNAL = " ExternalId ExternalSource"
_COMMON = " Group1..3 KeyType:0-1" + _EXTERNAL
_BIG = "0-999999999999999"

BANK_ACCOUNT: Final = Table("SupplierBankAccount", _columns("BankAccount* Name Default:0-1" + _EXTERNAL))

REGISTERS: Final = {
    table.name: table
    for table in (
        Table(
            "Company",
            _columns(
                "Company* Name* ValidTo:d InvoiceSeries ArrivalType:0-9 BaseCurrency Erp Group1..3 Remove:0-1 AllocationSetting:0-9 "
                "CalculateVATAmountOnCostRow:b"
            ),
            key=("Company",),
            bound="never",
            rest_ignored=frozenset({"keyType", "externalId", "externalSource"}),
        ),
        Table(
            "ObjectType",
            _columns("ObjectTypeNo*:1-8 Name*" + _EXTERNAL),
            key=("ObjectTypeNo",),
            bound="never",
            rest={"ObjectTypeNo": "objectTypeNumber"},
            rest_ignored=frozenset({"company", "keyType"}),
        ),
        Table(
            "Object",
            _columns(
                "Company ObjectTypeNo*:0-999 Object* Name* Description ValidFrom:d ValidTo:d VatDeduction:n DefaultObject1..8 Remove:0-1"
                + _COMMON
            ),
            key=("ObjectTypeNo", "Object"),
            references=(Reference("ObjectTypeNo", "ObjectType"),),
            rest={"ObjectTypeNo": "objectTypeNumber"},
            rest_only=frozenset({"Description"}),
        ),
        Table(
            "Account",
            _columns(
                "Company Account* Name ValidTo:d VatCode AllocationsAccount IsAllocationsAccount:0-1 VatCodeMandatory:0-1 "
                "NoteMandatory:0-1 UseObject1..8:0-2 DefaultObject1..8 Group1..3 Remove:0-1 KeyType*:0-1" + _EXTERNAL
            ),
            key=("Account",),
            references=(Reference("VatCode", "VatCode", when="VatCodeMandatory"),),
        ),
        Table(
            "VatCode",
            _columns(
                "Company VatCode* Name* ValidTo:d Account Percentage:n VatDeductionAccount FromDate:d DeductionalVatPercentage:n" + _COMMON
            ),
            key=("VatCode",),
            references=(Reference("Account", "Account"), Reference("VatDeductionAccount", "Account")),
        ),
        Table(
            "AssetType",
            _columns("Company AssetType* Name* Account" + _COMMON),
            key=("AssetType",),
            references=(Reference("Account", "Account"),),
        ),
        Table(
            "Asset",
            _columns("AssetType* Asset* Company* Name* Group1..3" + _EXTERNAL),
            key=("Asset",),
            bound="always",
            references=(Reference("AssetType", "AssetType"),),
            rest_ignored=frozenset({"keyType"}),
        ),
        Table(
            "Currency",
            _columns("BaseCurrency* Currency* FromAccountCodingDate:d BuyingRate*:n Company" + _COMMON),
            key=("BaseCurrency", "Currency", "FromAccountCodingDate"),
        ),
        Table(
            "Period",
            _columns("Company Year*:1-9999 Period*:1-40 Name* StartDate*:d EndDate*:d Closed:0-1" + _COMMON),
            key=("Year", "Period"),
        ),
        Table(
            "Supplier",
            _columns(
                "Company Supplier* Name Type:0-2 VatNo Ean Iban GraceDays PaymentTerm Blocked:0-2 Classified:0-1 IsPerson:0-1 ValidTo:d "
                "CashDiscount:n Currency DebtAccount CostAccount VatCode VatType FlowProposal Object1..8 Address1..6 Tele1..3 Www Contact "
                "Email PurchaseOrderEmail CorporateIdentityNo Note LanguageID Remove:0-1 CheckPayReference:0-99" + _COMMON
            ),
            key=("Supplier",),
            references=(Reference("CostAccount", "Account"), Reference("DebtAccount", "Account")),
            nested={"SupplierBankAccount": BANK_ACCOUNT},
            rest={"CorporateIdentityNo": "corporateIdentityNumber", "Contact": "contactPerson", "Www": "webAddress"},
            rest_lists={
                "addressLines": tuple(f"Address{n}" for n in range(1, 7)),
                "phoneNumbers": tuple(f"Tele{n}" for n in range(1, 4)),
            },
        ),
    )
}

SUPPLIER_BANK_ACCOUNT: Final = Table(
    "SupplierBankAccount",
    _columns("Company Supplier* BankAccount* Name Default:0-1 Remove:0-1 KeyType:0-1" + _EXTERNAL),
    key=("Supplier", "BankAccount"),
    rest={"BankAccount": "bankAccountNo", "Default": "defaultAccount"},
)
"""The REST resource; over SOAP bank accounts travel inside their supplier."""

ACCOUNT_CODING: Final = Table(
    "AccountCoding",
    _columns(
        "Type*:0-2 CreateUser CreateRole AcceptUser AcceptRole SignUser SignRole Account* Object1..8 Currency* Amount*:n BaseAmount*:n "
        f"InvoiceAccountCodingLineNo:{_BIG} LineVatAmount*:n Number:n VatCode* VatDeduction*:n AllocationType AllocationsAccount "
        "AllocateFromDate:d AllocateToDate:d ForwardInvoice*:0-9 AssetType AssetName AssetDescription AssetDate:d OwnerAsset "
        "PurchaseOrderNo PurchaseOrderLineNo Note Group1..6 PurchaseOrderItem"
    ),
)

INVOICE: Final = Table(
    "Invoice",
    _columns(
        f"InvoiceSeries* InvoiceNo*:{_BIG} Company* Credit* Type*:0-2 Status*:0-6 Classified* Blocked* Supplier* SupplierExternalId "
        "SupplierExternalSource SupplierInvoiceNo* PurchaseOrderNo ContractNo InvoiceDate*:d DueDate*:d AccountCodingDate*:d Currency* "
        "Amount*:n BaseAmount*:n VatAmount*:n BaseVatAmount*:n FeeAmount1..3*:n PaymentAmount*:n AuthorizationUser AuthorizationRole "
        "DebtAccount* Account* Object1..8 VatCode* ArrivalAccountCoded* ArrivalAccountCodingDate:d Asset* VoucherSeries "
        f"VoucherNo:{_BIG} PaymentDate:d AlternativeID LinkedInvoiceSeries LinkedInvoiceNo:{_BIG} PayReference DeliveryNote ExtraID "
        "ExtraAmount:n PurchaseOrderMatch*:0-9 PurchaseOrderMatchType:0-9 Reference1 Reference2 Note Group1..6 PaymentMessage "
        "ContractMatch*:0-9 SupplierBankAccount UseDiscount*:b DiscountGrossAmount*:b DiscountDate:d DiscountAmount:n "
        "DiscountPercentage*:n" + _EXTERNAL
    ),
    key=("InvoiceSeries", "InvoiceNo"),
    bound="never",
    nested={"AccountCoding": ACCOUNT_CODING},
)

INVOICE_RECEIPT: Final = Table(
    "InvoiceReceipt",
    _columns(
        f"InvoiceSeries* InvoiceNo*:{_BIG} Status*:0-6 QueueStatus*:1-2 VoucherSeries VoucherNo:{_BIG} ErrorText "
        "ArrivalAccountCodingDate:d InvoiceExternalId InvoiceExternalSource"
    ),
)
PAYMENT_DATE: Final = Table("InvoicePaymentDateItem", _columns(f"InvoiceSeries* InvoiceNo*:{_BIG} PaymentDate*:d Note*"))
PAYMENT_DATE_BY_UQ: Final = Table("InvoicePaymentDateByUQ", _columns("Company* Supplier* SupplierInvoiceNo* PaymentDate*:d Note*"))
INVOICE_IMAGE: Final = Table("InvoiceImage", _columns(f"InvoiceSeries* InvoiceNo*:{_BIG} FileName* FileType* Image*"))
"""As loaded; the answer of GetInvoiceImage holds the last three (D31)."""
CUSTOM_SETTING: Final = Table("CustomSettingsItem", _columns("Company Type* Setting* Value"), key=("Type", "Setting"), bound="never")
EVENT_LOG: Final = Table("EventLogItem", _columns("Environment EventType Source Task Message Description"))
PAYMENT_RECEIPT: Final = Table(
    "PaymentReceipt", _columns("PaymentId* PaymentReferenceId QueueStatus*:1-2 ErrorText ExternalId ExternalSource")
)
COMPANY_DATA: Final = Table("CompanyData", (*REGISTERS["Company"].columns, *_columns("DebtAccount CostAccount VatAccount")))
ENVIRONMENT_DATA: Final = Table("EnvironmentData", _columns("Environment Url SystemCurrency"))
