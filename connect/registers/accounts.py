"""Accounts: Sage's general-ledger accounts, delivered to Prime as accounts.

An account says which dimensions a line must carry (UseObjectN): 2 where Sage requires the dimension, 1 where it is configured, 0 where it
is not. Sage's REST API shows no default dimension values of an account. So the default objects are left to Prime, unless
`DefaultDimensions` hands them to Sage: then they are sent, empty. Nor does it show whether a user-defined dimension is required: those are
optional.

Accounts name VAT codes and VAT codes name accounts: an account whose VAT code is not there yet is sent without it, and again in full after
the VAT codes (D22).

Source: the guide, Accounts; prime.md 2.1, F4, F5, D19; sage-rest.md f.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from connect.config import RegisterSettings
from connect.mapping import (
    VALID_FOREVER,
    Code,
    Entity,
    EntityMapping,
    FieldMap,
    Join,
    Joined,
    Part,
    Reference,
    Row,
    RowReader,
    Source,
    Status,
    Title,
    clean,
    fit,
    framed,
)
from connect.registers.register import Register

NUMBER_LENGTH: Final = 100  # characters of an account number, as Code has it
OBJECT_TYPES: Final = range(1, 9)
NEVER, OPTIONAL, MANDATORY = 0, 1, 2  # Prime's UseObjectN

REQUIRES: Final = {
    "DEPARTMENT": "department",
    "LOCATION": "location",
    "PROJECT": "project",
    "CUSTOMER": "customer",
    "VENDOR": "vendor",
    "EMPLOYEE": "employee",
    "ITEM": "item",
    "CLASS": "class",
    "CONTRACT": "contract",
    "TASK": "task",
    "WAREHOUSE": "warehouse",
    "COSTTYPE": "costType",
    "AFFILIATEENTITY": "affiliateEntity",
    "FIXEDASSET": "asset",
}
"""Dimension -> its name below `requireDimensions` and on bill lines."""


class Account(Entity):
    """A general-ledger account. `use_1` to `use_8` and `default_1` to `default_8` go by Prime's object types."""

    number: Code
    name: Title | None
    status: Status
    vat_code: Reference | None = None
    vat_code_mandatory: int = 0
    valid_to: str | None = None
    requires_department: bool | None = None
    requires_location: bool | None = None
    requires_project: bool | None = None
    requires_customer: bool | None = None
    requires_vendor: bool | None = None
    requires_employee: bool | None = None
    requires_item: bool | None = None
    requires_class: bool | None = None
    requires_contract: bool | None = None
    requires_task: bool | None = None
    requires_warehouse: bool | None = None
    requires_costtype: bool | None = None
    requires_affiliateentity: bool | None = None
    requires_fixedasset: bool | None = None
    use_1: int = NEVER
    use_2: int = NEVER
    use_3: int = NEVER
    use_4: int = NEVER
    use_5: int = NEVER
    use_6: int = NEVER
    use_7: int = NEVER
    use_8: int = NEVER
    default_1: str | None = None
    default_2: str | None = None
    default_3: str | None = None
    default_4: str | None = None
    default_5: str | None = None
    default_6: str | None = None
    default_7: str | None = None
    default_8: str | None = None
    use_objects: Any = None


ENTITY = EntityMapping(
    model=Account,
    source="general-ledger/account",
    fields=framed(
        #        Account                Sage Intacct   Prime, SOAP         Prime, REST
        FieldMap("number",              "{number}",    "Account",          "account"),
        FieldMap("name",                "name",        "Name",             "name"),
        FieldMap("status",              "status"),
        FieldMap("valid_to",            "",            "ValidTo",          "validTo"),
        FieldMap("vat_code",            "taxCode",     "VatCode",          "vatCode"),
        FieldMap("vat_code_mandatory",  "",            "VatCodeMandatory", "vatCodeMandatory"),
        *(FieldMap(f"requires_{name.lower()}", f"requireDimensions.{sage}") for name, sage in REQUIRES.items()),
        *(FieldMap(f"use_{n}", "", f"UseObject{n}") for n in OBJECT_TYPES),
        *(FieldMap(f"default_{n}", "", f"DefaultObject{n}") for n in OBJECT_TYPES),
        FieldMap("use_objects",         "",            "",                 "useObjects"),
    ),
)  # fmt: skip


class TaxCode(msgspec.Struct, gc=False):
    """A VAT code as an account names it, read where Prime's numbers are Sage's keys."""

    key: str


def account_number(reference: str | None, what: str) -> str | None:
    """The number in a reference to an account, which Sage may write as `6850.03--Taxes` (sage-rest.md f)."""
    return fit("account", reference.partition("--")[0], NUMBER_LENGTH, what) if reference else None


def parts(settings: RegisterSettings) -> list[Part]:
    without = {f"requires_{name.lower()}" for name in REQUIRES.keys() - settings.objects.keys()}
    if not settings.default_dimensions:
        without |= {f"default_{n}" for n in OBJECT_TYPES}
    mapper = ENTITY.compile(settings, without=frozenset(without))
    joins: tuple[Join, ...] = ()
    read_tax_code = RowReader(TaxCode, {"key": "key"}, "tax/tax-detail")
    if settings.key_source == "key":  # an account names the VAT code by id; its number in Prime is the key then
        joins = (Join("tax_code", "tax/tax-detail", ("key", "id"), left="taxCode", right="id"),)

    asked = [(n, f"requires_{name.lower()}") for name, n in sorted(settings.objects.items(), key=lambda item: item[1]) if name in REQUIRES]
    optional = dict.fromkeys(OBJECT_TYPES, NEVER) | dict.fromkeys(settings.objects.values(), OPTIONAL)

    def use_objects(uses: dict[int, int]) -> list[dict[str, Any]]:
        default = {"default": None} if settings.default_dimensions else {}
        return [{"objectTypeNumber": n, "use": use} | default for n, use in uses.items()]

    def transform(raw: bytes, joined: Joined, _extra: str) -> Row:
        account = mapper.decode(raw)
        account.valid_to = VALID_FOREVER if account.status == "active" else mapper.expired
        account.vat_code = clean(account.vat_code)
        if account.vat_code is not None and joins and (found := joined.get("tax_code")):
            account.vat_code = read_tax_code(found[0]).key
        account.vat_code_mandatory = int(account.vat_code is not None)
        uses = optional | {n: MANDATORY for n, field in asked if getattr(account, field)}
        if mapper.transport == "rest":
            account.use_objects = use_objects(uses)
        else:
            for n, use in uses.items():
                setattr(account, f"use_{n}", use)
        return Row(account.number, account.number, account.name or "", mapper.encode(account))

    def expire(_natural: str, number: str, _name: str, _extra: str) -> bytes:
        return mapper.partial(number=number, valid_to=mapper.expired)

    vat_code_names = ("VatCode", "VatCodeMandatory") if settings.transport == "soap" else ("vatCode", "vatCodeMandatory")

    def provisional(body: bytes) -> bytes | None:
        fields = msgspec.json.decode(body)
        if fields.get(vat_code_names[0]) is None:
            return None
        return msgspec.json.encode({name: value for name, value in fields.items() if name not in vat_code_names})

    return [
        Part(
            id="Account",
            kind="Account",
            source=Source(ENTITY.source, mapper.paths, joins=joins),
            version=mapper.version,
            transform=transform,
            expire=expire,
            provisional=provisional,
            unknown_fields=mapper.decode.unknown,
        )
    ]


REGISTER = Register(job="GetAccounts", parts=parts, after=("GetDimObjects",), second_pass_after="GetVatCodes")  # noqa: S106 - a job
