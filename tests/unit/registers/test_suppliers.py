"""Suppliers: the guide's table (prime.md 2.6), terms, contacts and bank accounts, both transports, both values of each setting."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from register_cases import EXPIRED, body_of, map_row, part_of, sage_row

from connect.errors import Poison
from connect.mapping import Part

TERM = {"key": "3", "due.days": 30, "due.from": "fromBillDate"}
BANK = {"key": "70001", "vendorAccountNumber": "SE45 5000", "vendor.key": "20007"}
CONTACT = {
    "firstName": "Ann",
    "middleName": None,
    "lastName": "Lee",
    "email1": "ann@acme.test",
    "phone1": "+46 8 1",
    "phone2": "+46 8 2",
    "URL1": "https://acme.test",
    "URL2": "https://acme.example",
    "mailingAddress.addressLine1": "Box 1",
    "mailingAddress.addressLine2": "Kajen 2",
    "mailingAddress.addressLine3": "c/o Lee",
    "mailingAddress.city": "Stockholm",
    "mailingAddress.postCode": "111 22",
    "mailingAddress.country": "Sweden",
}
INLINE = {f"contacts.default.{name}": value for name, value in CONTACT.items()}


def part_for(transport: str = "rest", **others: Any) -> Part:
    return part_of("GetSuppliers", transport, **others)


def row(part: Part, **fields: Any) -> bytes:
    given = {
        "key": "20007",
        "id": "V00001",
        "name": "ACME & Söhne",
        "status": "active",
        "isOnHold": False,
        "doNotPay": False,
        "taxId": "SE556677",
        "currency": "SEK",
        "notes": "Pays on Fridays",
        "term.key": "3",
        "defaultExpenseGLAccount.id": "6850.03",
    }
    given |= INLINE
    given = {name: value for name, value in given.items() if name in part.source.fields}
    return sage_row(part, **given | fields)


SOAP = {
    "Company": "100",
    "Supplier": "V00001",
    "Name": "ACME & Söhne",
    "VatNo": "SE556677",
    "GraceDays": "30",
    "Blocked": 0,
    "ValidTo": None,
    "Currency": "SEK",
    "CostAccount": "6850.03",
    "Address1": "Box 1",
    "Address2": "Kajen 2",
    "Address3": "c/o Lee",
    "Address4": "111 22 Stockholm",
    "Address5": "Sweden",
    "Tele1": "+46 8 1",
    "Tele2": "+46 8 2",
    "Www": "https://acme.test",
    "Contact": "Ann Lee",
    "Email": "ann@acme.test",
    "CorporateIdentityNo": "V00001",
    "Note": "Pays on Fridays",
    "KeyType": 1,
    "ExternalId": "20007",
    "ExternalSource": "SageIntacct",
    "SupplierBankAccount": [
        {"BankAccount": "SE45 5000", "Name": "SE45 5000", "Default": 0, "ExternalId": "70001", "ExternalSource": "SageIntacct"}
    ],
}
REST = {
    "company": "100",
    "supplier": "V00001",
    "name": "ACME & Söhne",
    "vatNo": "SE556677",
    "graceDays": "30",
    "blocked": 0,
    "validTo": None,
    "currency": "SEK",
    "costAccount": "6850.03",
    "addressLines": ["Box 1", "Kajen 2", "c/o Lee", "111 22", "Stockholm", "Sweden"],
    "phoneNumbers": ["+46 8 1", "+46 8 2"],
    "webAddress": "https://acme.test",
    "contactPerson": "Ann Lee",
    "email": "ann@acme.test",
    "corporateIdentityNumber": "V00001",
    "note": "Pays on Fridays",
    "keyType": 1,
    "externalId": "20007",
    "externalSource": "SageIntacct",
    "supplierBankAccounts": [
        {
            "company": "100",
            "supplier": "V00001",
            "keyType": 1,
            "bankAccountNo": "SE45 5000",
            "name": "SE45 5000",
            "defaultAccount": 0,
            "externalId": "70001",
            "externalSource": "SageIntacct",
        }
    ],
}


@pytest.mark.parametrize(("transport", "expected"), [("soap", SOAP), ("rest", REST)])
def test_the_body_is_the_guides_table(transport: str, expected: dict[str, Any]) -> None:
    part = part_for(transport)
    assert body_of(part, row(part), {"term": [TERM], "bank_accounts": [BANK]}) == expected


@pytest.mark.parametrize(("transport", "expected"), [("soap", SOAP), ("rest", REST)])
def test_a_contact_read_apart_gives_the_same_body(transport: str, expected: dict[str, Any]) -> None:
    part = part_for(transport, contact_source="contact")
    joined = {"term": [TERM], "bank_accounts": [BANK], "contact": [CONTACT | {"key": "9"}]}
    assert body_of(part, row(part, contacts__default__key="9"), joined) == expected


def test_three_objects_are_read_and_a_fourth_only_for_contacts_read_apart() -> None:
    source = part_for().source
    assert source.object == "accounts-payable/vendor"
    assert source.modified_field == "audit.modifiedDateTime"
    assert [(join.object, join.left, join.right, join.many) for join in source.joins] == [
        ("accounts-payable/term", "term.key", "key", False),
        ("accounts-payable/vendor-account-number", "key", "vendor.key", True),
    ]
    apart = part_for(contact_source="contact").source
    assert ("company-config/contact", "contacts.default.key") in [(join.object, join.left) for join in apart.joins]
    assert [field for field in apart.fields if field.startswith("contacts.")] == ["contacts.default.key"]
    assert [join.modified_field for join in apart.joins] == ["audit.modifiedDateTime", None, None]


def test_a_contact_that_cannot_be_read_is_noted_and_leaves_its_fields_empty() -> None:
    part = part_for("soap", contact_source="contact")
    made = map_row(part, row(part, contacts__default__key="9"), {"term": [TERM]})
    assert orjson.loads(made.body)["Address1"] is None
    assert any("contact" in note for note in made.notes)
    assert not map_row(part, row(part), {"term": [TERM]}).notes


# -- payment terms


@pytest.mark.parametrize(
    ("term", "grace_days", "noted"),
    [
        (TERM, "30", False),
        (TERM | {"due.days": 0}, "0", False),
        (TERM | {"due.days": "45"}, "45", False),
        (TERM | {"due.from": None}, "30", False),
        (TERM | {"due.days": None}, None, False),
        (TERM | {"due.from": "ofNextMonthFromBillDate"}, None, True),
        (TERM | {"due.from": "fromBillDateExtendingToEom"}, None, True),
        (TERM | {"due.from": "onTheMoon"}, None, True),
        (None, None, True),
    ],
)
@pytest.mark.parametrize(("transport", "name"), [("soap", "GraceDays"), ("rest", "graceDays")])
def test_days_are_sent_as_text_where_they_alone_say_when_a_bill_is_due(
    term: dict[str, Any] | None, grace_days: str | None, noted: bool, transport: str, name: str
) -> None:
    part = part_for(transport)
    made = map_row(part, row(part), {"term": [term] if term else []})
    assert orjson.loads(made.body)[name] == grace_days
    assert bool(made.notes) is noted


def test_a_vendor_without_a_term_has_no_days_and_no_note() -> None:
    part = part_for("soap")
    made = map_row(part, row(part, term__key=None))
    assert (orjson.loads(made.body)["GraceDays"], made.notes) == (None, ())


# -- blocked and expired


@pytest.mark.parametrize(
    ("hold", "no_pay", "status", "blocked", "valid_to"),
    [
        (False, False, "active", 0, None),
        (None, None, None, 0, None),
        (True, False, "active", 1, EXPIRED),
        (False, True, "active", 2, EXPIRED),
        (True, True, "active", 1, EXPIRED),
        ("true", "false", "active", 1, EXPIRED),
        (False, False, "inactive", 0, EXPIRED),
        (False, False, "activeNonPosting", 0, EXPIRED),
    ],
)
def test_blocked_and_valid_to(hold: Any, no_pay: Any, status: str | None, blocked: int, valid_to: str | None) -> None:
    for transport, names in (("soap", ("Blocked", "ValidTo")), ("rest", ("blocked", "validTo"))):
        part = part_for(transport)
        body = body_of(part, row(part, isOnHold=hold, doNotPay=no_pay, status=status), {"term": [TERM]})
        assert (body[names[0]], body[names[1]]) == (blocked, valid_to)


# -- single fields


@pytest.mark.parametrize(
    ("first", "middle", "last", "contact"),
    [
        ("Ann", "B.", "Lee", "Ann B. Lee"),
        (None, None, "Öberg", "Öberg"),
        ("Ann", " ", "Lee", "Ann Lee"),
        (None, None, None, None),
        ("", "", "", None),
    ],
)
def test_a_contacts_name_has_no_double_blanks(first: str | None, middle: str | None, last: str | None, contact: str | None) -> None:
    part = part_for("soap")
    names = {"contacts__default__firstName": first, "contacts__default__middleName": middle, "contacts__default__lastName": last}
    assert body_of(part, row(part, **names))["Contact"] == contact


@pytest.mark.parametrize(
    ("first", "second", "website"),
    [("https://a", "https://b", "https://a"), (None, "https://b", "https://b"), (" ", "https://b", "https://b"), (None, "", None)],
)
def test_the_website_is_the_first_that_is_not_empty(first: str | None, second: str | None, website: str | None) -> None:
    part = part_for("rest")
    assert body_of(part, row(part, contacts__default__URL1=first, contacts__default__URL2=second))["webAddress"] == website


@pytest.mark.parametrize(
    ("post_code", "city", "address_4"),
    [("111 22", "Stockholm", "111 22 Stockholm"), (None, "Stockholm", "Stockholm"), ("111 22", " ", "111 22"), (None, None, None)],
)
def test_post_code_and_city_share_a_line_over_soap(post_code: str | None, city: str | None, address_4: str | None) -> None:
    part = part_for("soap")
    mailing = {"contacts__default__mailingAddress__postCode": post_code, "contacts__default__mailingAddress__city": city}
    assert body_of(part, row(part, **mailing))["Address4"] == address_4


@pytest.mark.parametrize(("source", "expected"), [("number", "V00001"), ("taxId", "SE556677"), ("empty", None)])
def test_org_number_comes_from_where_the_setting_says(source: str, expected: str | None) -> None:
    part = part_for("soap", org_number=source)
    assert body_of(part, row(part))["CorporateIdentityNo"] == expected


@pytest.mark.parametrize(("reference", "account"), [("6850.03--Taxes", "6850.03"), ("6000", "6000"), (None, None)])
def test_the_cost_account_is_the_number_of_the_account(reference: str | None, account: str | None) -> None:
    part = part_for("soap")
    assert body_of(part, row(part, defaultExpenseGLAccount__id=reference))["CostAccount"] == account


def test_key_source_key_turns_numbers_round_for_supplier_and_account() -> None:
    part = part_for("soap", key_source="key")
    body = body_of(part, row(part, defaultExpenseGLAccount__key="77"))
    assert (body["Supplier"], body["CorporateIdentityNo"], body["ExternalId"], body["CostAccount"]) == ("20007", "20007", "V00001", "77")


def test_a_vendor_with_nothing_but_its_number_clears_every_field() -> None:
    part = part_for("soap")
    body = body_of(part, sage_row(part, key="1", id="V1", name="A"))
    filled = {name: value for name, value in body.items() if value is not None}
    assert filled == {
        "Company": "100",
        "Supplier": "V1",
        "Name": "A",
        "CorporateIdentityNo": "V1",
        "Blocked": 0,
        "KeyType": 1,
        "ExternalId": "1",
        "ExternalSource": "SageIntacct",
    }
    assert body.keys() == SOAP.keys()


@pytest.mark.parametrize("text", ["\u202eעברית", " leading", "a\nb", '<tag> & "quotes"'])
def test_text_stays_as_it_is(text: str) -> None:
    part = part_for("soap")
    assert body_of(part, row(part, notes=text))["Note"] == text


def test_blank_text_clears_and_what_xml_cannot_carry_is_replaced() -> None:
    part = part_for("soap")
    body = body_of(part, row(part, notes="  ", name="AC\x02ME", contacts__default__email1=""))
    assert (body["Note"], body["Name"], body["Email"]) == (None, "AC\ufffdME", None)


# -- bank accounts


def test_each_number_is_sent_once_the_oldest_record_first() -> None:
    part = part_for("soap")
    found = [
        BANK | {"key": "12", "vendorAccountNumber": "B"},
        BANK | {"key": "9", "vendorAccountNumber": "A"},
        BANK | {"key": "11", "vendorAccountNumber": "A"},
        BANK | {"key": "10", "vendorAccountNumber": " "},
        BANK | {"key": "8", "vendorAccountNumber": None},
    ]
    made = map_row(part, row(part), {"term": [TERM], "bank_accounts": found})
    assert [(one["BankAccount"], one["ExternalId"]) for one in orjson.loads(made.body)["SupplierBankAccount"]] == [("A", "9"), ("B", "12")]
    assert made.extra == "A\nB"
    again = map_row(part, row(part), {"term": [TERM], "bank_accounts": found[::-1]})
    assert again == made


def test_bank_files_bring_the_holders_name() -> None:
    part = part_for("rest", bank_account_source="bankFile")
    assert [join.object for join in part.source.joins] == ["accounts-payable/term", "accounts-payable/vendor-bank-file-setup"]
    found = [
        {"key": "5", "vendor.key": "20007", "bankAccountNumber": "123", "bankAccountName": "ACME Ltd"},
        {"key": "6", "vendor.key": "20007", "bankAccountNumber": "456", "bankAccountName": None},
    ]
    accounts = body_of(part, row(part), {"bank_accounts": found})["supplierBankAccounts"]
    assert [(one["bankAccountNo"], one["name"], one["externalId"]) for one in accounts] == [("123", "ACME Ltd", "5"), ("456", "456", "6")]


@pytest.mark.parametrize("key_source", ["id", "key"])
def test_the_ach_account_is_the_vendors_own_field(key_source: str) -> None:
    part = part_for("soap", bank_account_source="ach", key_source=key_source)
    assert [join.object for join in part.source.joins] == ["accounts-payable/term"]
    (account,) = body_of(part, row(part, ach__accountNumber="0042"))["SupplierBankAccount"]
    assert (account["BankAccount"], account["Name"], account["ExternalId"]) == ("0042", "0042", "20007")
    assert body_of(part, row(part))["SupplierBankAccount"] is None


def test_a_bank_account_gone_from_sage_leaves_prime_and_is_noted() -> None:
    rest, soap = part_for("rest"), part_for("soap")
    joined = {"term": [TERM], "bank_accounts": [BANK]}
    made = map_row(rest, row(rest), joined, extra="OLD\nSE45 5000")
    accounts = orjson.loads(made.body)["supplierBankAccounts"]
    assert accounts == [
        *REST["supplierBankAccounts"],
        {"company": "100", "supplier": "V00001", "keyType": 1, "bankAccountNo": "OLD", "remove": 1},
    ]
    assert made.extra == "SE45 5000"
    assert made.notes
    assert "OLD" not in "".join(made.notes)
    assert map_row(rest, row(rest), joined, extra="SE45 5000").notes == ()
    over_soap = map_row(soap, row(soap), {"term": [TERM]}, extra="OLD")
    assert orjson.loads(over_soap.body)["SupplierBankAccount"] is None
    assert (over_soap.extra, bool(over_soap.notes)) == ("", True)


# -- leaving, and rows that do not fit


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        ("soap", {"Company": "100", "KeyType": 1, "Supplier": "V00001", "ValidTo": EXPIRED}),
        ("rest", {"company": "100", "keyType": 1, "supplier": "V00001", "validTo": EXPIRED}),
    ],
)
def test_expiry_says_nothing_but_key_and_date(transport: str, expected: dict[str, Any]) -> None:
    body = part_for(transport).expire("V00001", "V00001", "ACME", "SE45 5000")
    assert body is not None
    assert orjson.loads(body) == expected


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"id": None}, "missing_value", "id"),
        ({"name": None}, "missing_value", "name"),
        ({"status": "prospect"}, "unexpected_value", "active, activeNonPosting, inactive"),
        ({"isOnHold": "perhaps"}, "unexpected_value", "isOnHold"),
        ({"id": "V" * 101}, "too_long", "id has 101 characters, Prime holds at most 100"),
        ({"name": "x" * 401}, "too_long", "name has 401 characters"),
        ({"notes": "x" * 4001}, "too_long", "notes has 4001 characters"),
        ({"contacts__default__email1": "x" * 256}, "too_long", "email1 has 256 characters"),
        ({"contacts__default__firstName": "x" * 200, "contacts__default__lastName": "y" * 100}, "too_long", "contact has 301 characters"),
        (
            {"contacts__default__mailingAddress__postCode": "1" * 100, "contacts__default__mailingAddress__city": "y" * 200},
            "too_long",
            "Address4 has 301 characters",
        ),
        ({"defaultExpenseGLAccount__id": "9" * 101}, "too_long", "account has 101 characters"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str, words: str) -> None:
    part = part_for("soap")
    with pytest.raises(Poison, match=words) as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
    assert "accounts-payable/vendor 20007" in refused.value.message


def test_a_bank_account_that_does_not_fit_is_refused_without_being_shown() -> None:
    part = part_for("soap")
    number = "7" * 101
    with pytest.raises(Poison, match="vendorAccountNumber has 101 characters") as refused:
        part.transform(row(part), {"bank_accounts": [orjson.dumps(BANK | {"vendorAccountNumber": number})]}, "")
    assert number not in refused.value.message


def test_a_row_without_a_field_that_must_be_there_is_refused() -> None:
    part = part_for("soap")
    raw = orjson.loads(row(part))
    del raw["isOnHold"]
    with pytest.raises(Poison, match="isOnHold is missing") as refused:
        part.transform(orjson.dumps(raw), {}, "")
    assert refused.value.code == "missing_field"


def test_a_row_nested_without_end_is_a_row_that_cannot_be_read():
    with pytest.raises(Poison, match="no JSON"):
        part_of("GetSuppliers").transform(b'{"key":"1","id":' + b"[" * 5000 + b"]" * 5000 + b"}", {}, "")
