"""The made-up company: the same each time, of the promised size, whole in itself, and awkward where it says so."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import orjson
import pytest

from connect.sandbox.data import BATCH_ROWS, MENDED, PLANTED_VENDOR, SIZES, company
from connect.sandbox.data.books import COUNTS
from connect.sandbox.data.chart import CURRENCIES
from connect.sandbox.data.vendors import AWKWARD, change
from connect.sandbox.kernel import Kernel
from connect.sandbox.prime.tables import CODE_LENGTH, LINE_LENGTH, NAME_LENGTH, NOTE_LENGTH
from connect.sandbox.sage import SageSimulator
from connect.sandbox.sage.schema import UNIQUE_WITHIN_OWNER, Field, spec_of

Books = dict[str, list[dict[str, Any]]]
VENDOR = "accounts-payable/vendor"


def books_of(size: str, seed: int = 1) -> Books:
    found: Books = defaultdict(list)
    for sage_object, records in company(size, seed):
        found[sage_object] += records
    return found


@pytest.fixture(scope="module")
def small() -> Books:
    return books_of("small")


@pytest.fixture(scope="module")
def medium() -> Books:
    return books_of("medium")


def at(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def vendor(books: Books, name: str) -> dict[str, Any]:
    return next(record for record in books[VENDOR] if record["name"] == name)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(b"".join(orjson.dumps(batch) for batch in company("small", seed))).hexdigest()

    assert digest(7) == digest(7)
    assert digest(7) != digest(8)


def test_reading_a_second_company_meanwhile_changes_nothing() -> None:
    alone = [orjson.dumps(batch) for batch in company("small", 3)]
    together = [orjson.dumps(batch) for batch, _ in zip(company("small", 3), company("small", 4), strict=False)]
    assert together == alone


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_company_has_the_promised_number_of_rows(size: str, request: pytest.FixtureRequest) -> None:
    books: Books = request.getfixturevalue(size)
    assert sum(map(len, books.values())) == pytest.approx(SIZES[size], rel=0.1)


def test_the_large_company_would_have_the_promised_number_of_rows(small: Books, medium: Books) -> None:
    def variable(size: str) -> int:
        counts = asdict(COUNTS[size])
        lines = (counts.pop("rate_days") + counts.pop("rate_months")) * len(CURRENCIES[1:])
        return lines + sum(number for name, number in counts.items() if name not in ("names", "tasks_alike"))

    fixed = sum(map(len, small.values())) - variable("small")
    assert sum(map(len, medium.values())) == fixed + variable("medium")
    assert fixed + variable("large") == pytest.approx(SIZES["large"], rel=0.1)


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(ValueError, match="'huge'; expected one of small, medium, large"):
        next(company("huge", 1))


def test_batches_are_small_enough_to_load() -> None:
    sizes = [len(records) for _, records in company("medium", 1)]
    assert max(sizes) == BATCH_ROWS
    assert min(sizes) > 0


@pytest.mark.parametrize("size", ["small", "medium"])
def test_keys_ascend_and_ids_are_unique(size: str, request: pytest.FixtureRequest) -> None:
    books: Books = request.getfixturevalue(size)
    for name, records in books.items():
        spec = spec_of(name)
        assert spec is not None, name
        keys = [int(record["key"]) for record in records]
        if name == "general-ledger/account":  # retained earnings come first, in the order of keys too
            assert records[0]["id"] == "3900"
        assert all(left < right for left, right in pairwise(keys)), name
        if spec.id_kind == "key":
            assert not any("id" in record for record in records), name
        else:
            owners = [(at(record, "project.key"), record["id"]) if name in UNIQUE_WITHIN_OWNER else record["id"] for record in records]
            assert not [twice for twice, times in Counter(owners).items() if times > 1], name


def test_in_the_small_company_prime_sees_no_object_number_twice(small: Books) -> None:
    for name in UNIQUE_WITHIN_OWNER:
        assert len({record["id"] for record in small[name]}) == len(small[name])


def test_in_the_medium_company_projects_share_task_ids(medium: Books) -> None:
    assert Counter(record["id"] for record in medium["projects/task"])["100"] > 10


def test_vendor_keys_have_gaps_and_clusters(medium: Books) -> None:
    keys = [int(record["key"]) for record in medium[VENDOR]]
    steps = Counter(right - left for left, right in pairwise(keys))
    assert steps[1] > len(keys) * 0.9
    assert max(steps) > 1_000
    assert len([step for step in steps if step > 1]) >= 5


def references(record: Any, fields: dict[str, Field]) -> Iterator[tuple[Field, dict[str, Any]]]:
    for path, field in fields.items():
        if field.kind == "ref" and field.target:
            given = at(record, path)
            if given is not None:
                yield field, given


@pytest.mark.parametrize("size", ["small", "medium"])
def test_every_field_is_sages_and_every_reference_exists_when_it_is_loaded(size: str, request: pytest.FixtureRequest) -> None:
    books: Books = request.getfixturevalue(size)
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, records in books.items():
        spec = spec_of(name)
        assert spec is not None
        for record in records:
            assert all(path in spec.fields for path in leaves(record, spec.fields)), (name, record)
            for path, field in spec.fields.items():
                value = at(record, path)
                assert not field.enum or value is None or value in field.enum, (name, path, value)
                assert not field.required or value is not None, (name, path, record)
            for field, given in references(record, spec.fields):
                if field.target == "company-config/contact" and "printAs" in given:
                    continue  # inline
                assert any((word, given[word]) in seen[field.target] for word in ("key", "id") if word in given), (name, field.path, given)
            seen[name] |= {(word, record[word]) for word in ("key", "id") if word in record}


def leaves(record: dict[str, Any], fields: dict[str, Field], prefix: str = "") -> Iterator[str]:
    """Paths of a record as far as the table of fields knows groups; key and id are everybody's."""
    for name, value in record.items():
        path = prefix + name
        if path in ("key", "id", "entity"):
            continue
        if isinstance(value, dict) and path not in fields:
            yield from leaves(value, fields, f"{path}.")
        else:
            yield path


def test_contacts_given_inline_have_the_fields_of_a_contact_and_no_id_yet(medium: Books) -> None:
    spec = spec_of("company-config/contact")
    assert spec is not None
    contacts = [
        found
        for name, paths in (
            (VENDOR, "contacts.default"),
            ("accounts-receivable/customer", "contacts.default"),
            ("company-config/employee", "primaryContact"),
            ("company-config/location", "contacts.primary"),
            ("company-config/user", "contact"),
        )
        for record in medium[name]
        if (found := at(record, paths)) is not None
    ]
    assert len(contacts) > 30_000
    for contact in contacts:
        assert "id" not in contact
        assert all(path in spec.fields for path in leaves(contact, spec.fields)), contact


def test_taxes_of_accounts_are_purchase_taxes_in_use(small: Books) -> None:
    usable = {record["id"] for record in small["tax/purchasing-tax-detail"] if record["status"] == "active"}
    named = {record["taxCode"] for record in small["general-ledger/account"] if "taxCode" in record}
    assert len(named) > 5
    assert named <= usable
    shown = {record["id"]: record["key"] for record in small["tax/tax-detail"]}
    assert all(shown[record["id"]] == record["key"] for record in small["tax/purchasing-tax-detail"])


def test_prime_has_room_for_everything_but_the_planted_name(medium: Books) -> None:
    too_long = []
    for name, records in medium.items():
        for record in records:
            if len(record.get("name") or "") > NAME_LENGTH:
                too_long.append((name, record["id"]))
            assert len(record.get("id", "")) <= CODE_LENGTH
            assert len(record.get("notes") or record.get("description") or "") <= NOTE_LENGTH
            contact = at(record, "contacts.default") or {}
            texts = [value for part in (contact, contact.get("mailingAddress") or {}) for value in part.values() if isinstance(value, str)]
            assert all(len(text) <= LINE_LENGTH or text == record["name"] for text in texts)
    assert too_long == [(VENDOR, PLANTED_VENDOR)]


def test_what_prime_requires_is_never_unset(medium: Books) -> None:
    for name in (
        "company-config/department", "company-config/location", "company-config/class", "company-config/employee", "projects/project",
        "projects/task", "construction/cost-type", "contracts/contract", "accounts-receivable/customer", "inventory-control/item",
        "inventory-control/warehouse", "company-config/affiliate-entity", "platform-apps/nsp::region", "fixed-assets/asset",
        "fixed-assets/asset-classification",
    ):  # fmt: skip
        assert medium[name], name
        assert all(record["name"].strip() for record in medium[name]), name
    assert all(record["description"].strip() for record in medium["tax/tax-detail"])
    assert all(record["classification"]["id"] for record in medium["fixed-assets/asset"])


def test_no_rate_and_no_period_shares_primes_key_with_another(medium: Books) -> None:
    tables = {record["key"]: (record["fromCurrency"], record["toCurrency"]) for record in medium["company-config/exchange-rate"]}
    rates = Counter(
        (*tables[line["exchangeRate"]["key"]], line["effectiveStartDate"]) for line in medium["company-config/exchange-rate-line"]
    )
    assert len(rates) > 1_000
    assert max(rates.values()) == 1
    periods = Counter(record["startDate"][:7] for record in medium["general-ledger/reporting-period"])
    assert max(periods.values()) == 1


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_planted_vendor_is_mended_by_its_patch(size: str, request: pytest.FixtureRequest) -> None:
    books: Books = request.getfixturevalue(size)
    (planted,) = [record for record in books[VENDOR] if record["id"] == PLANTED_VENDOR]
    assert len(planted["name"]) > NAME_LENGTH
    copy = json.loads(json.dumps(planted))
    change(copy, MENDED)
    assert 0 < len(copy["name"]) <= NAME_LENGTH


def test_the_newest_vendors_can_be_deleted(small: Books) -> None:
    newest = small[VENDOR][-10:]
    gone = {record["key"] for record in newest} | {record["id"] for record in newest}
    for name, records in small.items():
        spec = spec_of(name)
        assert spec is not None
        for record in records:
            for field, given in references(record, spec.fields):
                assert field.target != VENDOR or not gone & {given.get("key"), given.get("id")}, (name, record)


def test_awkward_vendors_are_there(small: Books) -> None:
    vendors = small[VENDOR]
    for changes in AWKWARD:
        assert any(record["name"] == changes["name"] for record in vendors), changes
    assert len(vendor(small, "Two-Hundred-Character Note Co.")["notes"]) == 200
    assert vendor(small, "Empty E-Mail AB")["contacts"]["default"]["email1"] == ""
    assert "contacts" not in vendor(small, "No Contact At All LLC")
    assert "mailingAddress" not in vendor(small, "No Address Ltd")["contacts"]["default"]
    assert sum(record["name"] == "Twice Same Name Ltd" for record in vendors) == 2
    bare = vendor(small, "Without Anything")
    assert not {"term", "defaultExpenseGLAccount", "currency", "taxId", "notes"} & set(bare)
    assert any(re.search("[\u0590-\u06ff]", record["name"]) for record in vendors)
    for letters in ("&", "<", '"', "'"):
        assert any(letters in record["name"] for record in vendors), letters
    assert any(record["name"].startswith(" ") for record in vendors)


def test_awkward_vendors_are_not_the_only_ones_of_their_kind(small: Books) -> None:
    vendors = small[VENDOR]
    assert {record["status"] for record in vendors} == {"active", "inactive", "activeNonPosting"}
    assert {record["state"] for record in vendors} >= {"a", "s", "r"}
    assert 10 < sum(record["isOnHold"] for record in vendors) < 100
    assert 5 < sum(record["doNotPay"] for record in vendors) < 100
    assert 50 < sum("term" not in record for record in vendors) < 200
    from_elsewhere = {record["id"] for record in small["accounts-payable/term"] if record["due"]["from"] != "fromBillDate"}
    assert len(from_elsewhere) >= 4
    assert {record["term"]["id"] for record in vendors if "term" in record} >= from_elsewhere


def test_accounts_are_of_every_kind(small: Books) -> None:
    accounts = {record["id"]: record for record in small["general-ledger/account"]}
    assert "6850.03" in accounts
    assert {record["accountType"] for record in accounts.values()} == {"balanceSheet", "incomeStatement"}
    assert any(record["disallowDirectPosting"] for record in accounts.values())
    assert any(record["status"] == "inactive" for record in accounts.values())
    assert any(record["requireDimensions"]["project"] for record in accounts.values())
    assert any("&" in record["name"] for record in accounts.values())
    assert any("<" in record["name"] for record in accounts.values())


def test_expenses_of_vendors_go_to_accounts_that_take_postings(medium: Books) -> None:
    accounts = {record["id"]: record for record in medium["general-ledger/account"]}
    used = {record["defaultExpenseGLAccount"]["id"] for record in medium[VENDOR] if "defaultExpenseGLAccount" in record}
    assert len(used) > 50
    assert all(accounts[number]["status"] == "active" and not accounts[number]["disallowDirectPosting"] for number in used)
    assert all(accounts[number]["accountType"] == "incomeStatement" for number in used)


def test_names_are_mostly_different(medium: Books) -> None:
    names = Counter(record["name"] for record in medium[VENDOR])
    assert len(names) > len(medium[VENDOR]) * 0.75
    assert sum(times > 1 for times in names.values()) > 20


@pytest.fixture(scope="module")
def sage(small: Books) -> SageSimulator:
    sage = SageSimulator(Kernel())
    for name, records in small.items():
        assert sage.load(object=name, mode="insert", records=records)["errors"] == [], name
    return sage


def test_the_sandbox_takes_the_company_as_it_is(sage: SageSimulator, small: Books) -> None:
    for name, records in small.items():
        assert sage.records(object=name)["count"] == len(records), name


def test_every_inline_contact_becomes_a_record_that_its_vendor_shows(sage: SageSimulator, small: Books) -> None:
    given = {record["id"]: at(record, "contacts.default") for record in small[VENDOR]}
    for shown in sage.records(object=VENDOR)["records"]:
        contact = given[shown["id"]]
        if contact is None:
            assert shown["contacts"]["default"]["key"] is None
            continue
        assert shown["contacts"]["default"]["email1"] == contact["email1"], shown["id"]
        assert shown["contacts"]["default"]["mailingAddress"]["city"] == at(contact, "mailingAddress.city")
    places = ("contacts.default", "contacts.primary", "primaryContact", "contact")
    made = sum(at(record, path) is not None for records in small.values() for record in records for path in places)
    assert sage.records(object="company-config/contact")["count"] == made


def test_an_inline_change_changes_the_contact_that_there_is(sage: SageSimulator, small: Books) -> None:
    number = small[VENDOR][3]["id"]
    contacts = sage.records(object="company-config/contact")["count"]
    changes = {"id": number, "contacts": {"default": {"email1": "new@example.com"}}}
    assert sage.load(object=VENDOR, mode="upsert", records=[changes])["errors"] == []
    (shown,) = [record for record in sage.records(object=VENDOR)["records"] if record["id"] == number]
    assert shown["contacts"]["default"]["email1"] == "new@example.com"
    assert shown["contacts"]["default"]["phone1"] == small[VENDOR][3]["contacts"]["default"]["phone1"]
    assert sage.records(object="company-config/contact")["count"] == contacts


def test_the_planted_vendor_and_the_newest_ones_can_be_changed_as_the_demo_does(sage: SageSimulator, small: Books) -> None:
    newest = [{"key": record["key"]} for record in small[VENDOR][-2:]]
    assert sage.load(object=VENDOR, mode="upsert", records=[{"id": PLANTED_VENDOR} | MENDED])["errors"] == []
    assert sage.load(object=VENDOR, mode="delete", records=newest)["errors"] == []
    left = {record["id"]: record for record in sage.records(object=VENDOR)["records"]}
    assert left[PLANTED_VENDOR]["name"] == MENDED["name"]
    assert len(left) == len(small[VENDOR]) - 2
