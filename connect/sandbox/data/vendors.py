"""Vendors, what hangs on them, and the awkward ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from connect.sandbox.data.chart import EXPENSES, TERMS
from connect.sandbox.data.clock import Audit, keys
from connect.sandbox.data.names import Pool, World

Record = dict[str, Any]

_FIRST_AWKWARD: Final = 40
_LAST_FREE: Final = 10
"""So many of the newest vendors are referred to by nothing: they can be deleted."""
_LONG_NOTE: Final = (
    "Agreed with the regional manager on the phone: deliveries before 7 a.m. only, pallets are returned each Friday, invoices are split by "
    "site, and anything over $5,000 needs a second signature (R&D: first)."
)
_USUAL_TERMS: Final = tuple(term[0] for term in TERMS if term[2] == "fromBillDate")
_OTHER_TERMS: Final = tuple(term[0] for term in TERMS if term[2] != "fromBillDate")


def vendor_id(ordinal: int) -> str:
    """Most are numbered as the company does it today, some as the books that were taken over did."""
    if ordinal % 7 == 3:
        return f"S-{ordinal:06d}"
    if ordinal % 11 == 5:
        return f"{20_000_000 + ordinal}"
    return f"V{ordinal:06d}"


_PLANTED: Final = 30
PLANTED_VENDOR: Final = vendor_id(_PLANTED)
MENDED: Final[Record] = {"name": "Fjord & Sønn Maskinutleie AS"}
_TOO_LONG: Final = (
    "Fjord & Sønn Maskinutleie AS (formerly Fjord Maskin ANS, formerly O. Fjord & Co.) - PLEASE READ BEFORE PAYING: since the merger in "
    "2024 invoices for cranes and lifts come from Bergen, those for excavators from Stavanger, and those for scaffolding still from the "
    "old company in Haugesund; all of them are paid to the same account, never to the one printed on the invoice, which was closed in May. "
    "Ask Ingrid in the accounts department if anything is unclear"
)

# What is changed in an ordinary vendor; None: not set at all. Names show what is wrong with them.
AWKWARD: Final[tuple[Record, ...]] = (
    {"name": 'Hansen & Sønner <Import> "Nord" A/S'},
    {"name": 'O\'Brien "Bob" <bob@example.com> & Partners; DROP & Haul'},
    {"name": "شركة النور للمقاولات (Al Noor) & Sons"},
    {"name": "מפעלי הצפון בע״מ"},
    {"name": "  Leading Blank Supplies Ltd"},
    {"name": "Twice Same Name Ltd", "taxId": "GB111111111"},
    {"name": "Twice Same Name Ltd", "taxId": "GB222222222"},
    {"name": "Two-Hundred-Character Note Co.", "notes": _LONG_NOTE[:200]},
    {"name": "Empty E-Mail AB", "contacts": {"default": {"email1": "", "URL1": "", "phone2": ""}}},
    {"name": "No Contact At All LLC", "contacts": None},
    {"name": "No Address Ltd", "contacts": {"default": {"mailingAddress": None, "phone1": None}}},
    {"name": "On Hold GmbH", "isOnHold": True, "doNotPay": False},
    {"name": "Do Not Pay GmbH", "isOnHold": False, "doNotPay": True},
    {"name": "On Hold and Not to be Paid GmbH", "isOnHold": True, "doNotPay": True},
    {"name": "Inactive SARL", "status": "inactive"},
    {"name": "Active, not for Posting SARL", "status": "activeNonPosting"},
    {"name": "Declined SARL", "state": "r"},
    {"name": "Submitted, not yet Approved SARL", "state": "s"},
    {"name": "Without a Term Inc.", "term": None},
    {"name": "Without Anything", "term": None, "defaultExpenseGLAccount": None, "currency": None, "taxId": None, "notes": None},
    {"name": "CAPITALS & CO"},
    {"name": "Tab\tand Line Break Ltd", "notes": "First line\nsecond line\r\n\tindented third line"},
    {"name": "Emoji Café 🥐 & Pâtisserie"},
    {"name": "株式会社山田＆鈴木"},
    {"name": "Trailing Blank Supplies Ltd  ", "notes": "   "},
    {"name": "Ampersand &amp; Entity &#38; Co."},
    {"name": "Back\\slash / Slash | Pipe ; Semicolon, Comma"},
    *({"name": f"Term {term} Ltd", "term": {"id": term}} for term in _OTHER_TERMS),
)


def vendors(pick: random.Random, record_keys: list[int], world: World) -> Iterator[Record]:
    """Records of accounts-payable/vendor, contact inline."""
    audit = Audit(len(record_keys))
    rand = pick.random
    planned: dict[int, Record] = {_FIRST_AWKWARD + n: changes for n, changes in enumerate(AWKWARD)}
    planned[_PLANTED] = {"name": _TOO_LONG}
    name = ""
    for ordinal, key in enumerate(record_keys):
        place = world.somewhere(pick)
        if not name or rand() > 0.004:  # else: the same name as the one before
            name = place.company(pick)
        record = _vendor(pick, place, key, vendor_id(ordinal), name)
        record["audit"] = audit(pick, ordinal)
        if ordinal > 100 and rand() < 0.01:
            record["parent"] = {"id": vendor_id(int(rand() * (ordinal - 1)))}
        if ordinal in planned:
            change(record, planned[ordinal])
        yield record


def _vendor(pick: random.Random, place: Pool, key: int, number: str, name: str) -> Record:
    rand = pick.random
    country = place.country
    record: Record = {
        "key": str(key),
        "id": number,
        "name": name,
        "status": "active",
        "state": "a",
        "isOnHold": False,
        "doNotPay": False,
        "isOneTimeUse": False,
        "billingType": "openItem",
        "paymentPriority": "normal",
        "mergePaymentRequests": True,
        "preferredPaymentMethod": "EFT",
        "contacts": {"default": place.contact(pick, name)},
    }
    chance = rand()
    if chance < 0.10:
        if chance < 0.03:
            record["isOnHold"] = True
        elif chance < 0.05:
            record["doNotPay"] = True
        elif chance < 0.08:
            record["status"] = "inactive"
        elif chance < 0.09:
            record["status"] = "activeNonPosting"
        else:
            record["state"] = "s"
    chance = rand()
    if chance < 0.84:
        record["term"] = {"id": _USUAL_TERMS[int(chance / 0.84 * len(_USUAL_TERMS))]}
    elif chance < 0.88:
        record["term"] = {"id": _OTHER_TERMS[int((chance - 0.84) / 0.04 * len(_OTHER_TERMS))]}
    chance = rand()
    if chance < 0.7:
        record["defaultExpenseGLAccount"] = {"id": EXPENSES[int(chance / 0.7 * len(EXPENSES))]}
    chance = rand()
    if chance < 0.9:
        record["currency"] = country.currency
    if chance > 0.2:
        record["taxId"] = f"{country.prefix}{int(rand() * 900_000_000) + 100_000_000}"
    note = place.note(pick)
    if note:
        record["notes"] = note
    chance = rand()
    if chance < 0.4:
        record["creditLimit"] = int(chance * 250) * 1000
    if chance > 0.75:
        record["vendorAccountNumber"] = str(int(chance * 1_000_000_000))
    if chance > 0.3:
        record["totalDue"] = f"{chance * 20_000:.2f}"
    if not country.prefix and chance < 0.7:
        record["ach"] = {
            "enablePayments": True,
            "routingNumber": f"{int(rand() * 900_000_000) + 100_000_000}",
            "accountNumber": f"{int(rand() * 9e9) + 1_000_000_000}",
            "accountType": "checkingAccount",
            "remittanceType": "businessCTX",
        }
        record["preferredPaymentMethod"] = "ACH"
        if chance < 0.1:
            record["form1099"] = {"is1099Eligible": True, "nameOn1099": name[:40], "type": "NEC", "box": "1"}
    return record


def change(record: Record, changes: Record) -> None:
    """Changes of nested fields; None takes one away."""
    for name, value in changes.items():
        if value is None:
            record.pop(name, None)
        elif isinstance(value, dict) and isinstance(record.get(name), dict):
            change(record[name], value)
        else:
            record[name] = value


def account_numbers(pick: random.Random, vendor_keys: list[int], count: int, locations: list[str]) -> Iterator[Record]:
    """Records of accounts-payable/vendor-account-number: mostly one for a vendor, sometimes one for each of two locations."""
    chosen = sorted(pick.sample(vendor_keys[:-_LAST_FREE], count * 9 // 10))
    chosen = sorted(chosen + pick.sample(chosen, count - len(chosen)))
    last, turn = 0, 0
    for ordinal, (key, vendor) in enumerate(zip(keys(pick, count), chosen, strict=True)):
        turn = turn + 1 if vendor == last else 0
        last = vendor
        yield {
            "key": str(key),
            "vendor": {"key": str(vendor)},
            "location": {"id": locations[(vendor + turn) % len(locations)]},
            "vendorAccountNumber": f"{pick.choice(('', 'C-', 'CUST ', '00'))}{vendor % 9_000 + 1_000}-{ordinal + 1}",
        }


def bank_files(pick: random.Random, vendor_keys: list[int], count: int) -> Iterator[Record]:
    """Records of accounts-payable/vendor-bank-file-setup."""
    chosen = sorted(pick.sample(vendor_keys[:-_LAST_FREE], count))
    for key, vendor in zip(keys(pick, count), chosen, strict=True):
        yield {
            "key": str(key),
            "vendor": {"key": str(vendor)},
            "bankAccountNumber": f"{pick.randrange(10_000_000, 99_999_999)}",
            "bankAccountName": "Main account",
            "sortCode": f"{pick.randrange(10, 99)}-{pick.randrange(10, 99)}-{pick.randrange(10, 99)}",
            "paymentReference": f"REF {pick.randrange(1_000, 99_999)}",
            "proofOfPayment": pick.random() < 0.5,
        }
