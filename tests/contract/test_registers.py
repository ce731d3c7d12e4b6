"""What every register must keep, whatever it is: a new file in connect/registers is tested from the moment it is there.

Rows are made up from the sandbox's own schema of the Sage object, and the bodies are given to the sandbox's own Prime, which share no code
with the registers. A made-up register in a package of its own goes through the same tests.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from lxml import etree
from register_cases import settings

from connect.config import RegisterSettings
from connect.errors import Poison
from connect.mapping import Part, Row
from connect.prime.envelope import record_xml
from connect.prime.rest import split_bank_accounts
from connect.registers import REGISTERS, find_registers
from connect.registers.register import Register
from connect.sandbox.prime.reading import read_element, read_rest
from connect.sandbox.prime.store import Registers as PrimeStore
from connect.sandbox.prime.tables import REGISTERS as TABLES
from connect.sandbox.prime.tables import SUPPLIER_BANK_ACCOUNT, Record
from connect.sandbox.sage.paths import resolve
from connect.sandbox.sage.schema import spec_of

MADE_UP = '''
"""Account categories: a made-up register."""

from connect.mapping import Code, Entity, EntityMapping, FieldMap, Part, Row, Source, framed
from connect.registers.register import Register


class Category(Entity):
    number: Code
    name: str | None = None


ENTITY = EntityMapping(
    model=Category,
    source="general-ledger/account-category",
    fields=framed(FieldMap("number", "{number}", "AssetType", "assetType"), FieldMap("name", "accountType", "Name", "name")),
)


def parts(settings):
    mapper = ENTITY.compile(settings)

    def transform(raw, _joined, _extra):
        found = mapper.decode(raw)
        return Row(found.number, found.number, found.name or "", mapper.encode(found))

    source = Source(ENTITY.source, mapper.paths)
    unknown = mapper.decode.unknown
    return [Part(id="Category", kind="AssetType", source=source, version=mapper.version, transform=transform, unknown_fields=unknown)]


REGISTER = Register(job="GetCategories", parts=parts, after=("GetAccounts",))
'''


def made_up_registers() -> dict[str, Register]:
    with TemporaryDirectory() as folder:
        package = Path(folder) / "made_up_registers"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "categories.py").write_text(MADE_UP)
        sys.path.insert(0, folder)
        try:
            return find_registers([str(package)], "made_up_registers")
        finally:
            sys.path.remove(folder)


EVERY_REGISTER = REGISTERS | made_up_registers()
ALL_DIMENSIONS = (
    {"DEPARTMENT": 1, "LOCATION": 2, "nsp::region": 5},
    {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "CUSTOMER": 4, "VENDOR": 5, "EMPLOYEE": 6, "ITEM": 7, "CLASS": 8},
    {"DEPARTMENT": 8, "LOCATION": 7, "CONTRACT": 1, "TASK": 2, "WAREHOUSE": 3, "COSTTYPE": 4, "AFFILIATEENTITY": 5, "FIXEDASSET": 6},
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "objects": ALL_DIMENSIONS,
    "key_source": ("id", "key"),
    "contact_source": ("inline", "contact"),
    "bank_account_source": ("vendorAccountNumber", "bankFile", "ach"),
    "org_number": ("number", "taxId", "empty"),
    "invert_rate": (False, True),
    "default_dimensions": (False, True),
}


def variants(transport: str) -> Iterator[RegisterSettings]:
    """The defaults, and each other choice of each setting alone."""
    base = {"periods_enabled": True, "objects": ALL_DIMENSIONS[0]}
    yield settings(transport, **base)
    for name, values in CHOICES.items():
        for value in values[1:]:
            yield settings(transport, **base | {name: value})


CASES = [
    pytest.param(part, transport, id=f"{job}-{part.id}-{transport}-{n}")
    for transport in ("rest", "soap")
    for job, register in EVERY_REGISTER.items()
    for n, chosen in enumerate(variants(transport))
    for part in register.parts(chosen)
]
every_part = pytest.mark.parametrize(("part", "transport"), CASES)


# -- rows that Sage's schema allows


def value_for(sage_object: str, path: str, n: int) -> Any:
    """A value of the field's own kind; another one for every n."""
    spec = spec_of(sage_object)
    assert spec is not None
    access = resolve(spec, path)
    found = access
    while found.inner is not None:
        found = found.inner
    if access.kind == "key":
        return str(1000 + n)
    if found.how == "value" and found.field.enum:
        return found.field.enum[0]
    return {
        "text": f"{path} {n}",
        "scalar": f"{path} {n}",
        "boolean": False,
        "integer": n,
        "number": n + 0.5,
        "decimal": f"{n}.50",
        "money": f"{n}.50",
        "date": date(2026, n, 1).isoformat(),
    }[access.kind]


def row_for(sage_object: str, fields: tuple[str, ...], n: int) -> dict[str, Any]:
    row = {field: value_for(sage_object, field, n) for field in fields}
    return {field: "custom" if field == "reportingPeriodType" else value for field, value in row.items()}


def transformed(part: Part, n: int, **others: Any) -> Row:
    raw = row_for(part.source.object, part.source.fields, n) | others
    joined = {join.name: [orjson.dumps(row_for(join.object, join.fields, n))] for join in part.source.joins}
    row = part.transform(orjson.dumps(raw), joined, "")
    assert row is not None
    return row


# -- and Prime, as the sandbox has it


def read(kind: str, transport: str, body: bytes) -> list[tuple[Any, Record]]:
    """The records of a body as Prime reads them, each with its table: nothing in them may be unknown there."""
    table = TABLES[kind]
    if transport == "soap":
        changes, unknown = read_element(table, etree.fromstring(f"<{kind}>{record_xml(body)}</{kind}>"))
        assert not unknown, body
        return [(table, changes)]
    main, accounts = split_bank_accounts(body)
    records = [(table, read_rest(table, orjson.loads(main)))]
    records += [(SUPPLIER_BANK_ACCOUNT, read_rest(SUPPLIER_BANK_ACCOUNT, orjson.loads(account))) for account in accounts]
    assert not any(unknown for _, (_, unknown) in records), body
    return [(table, changes) for table, (changes, _) in records]


class Prime:
    """An empty Prime with company 100, where whatever a record refers to is there."""

    def __init__(self) -> None:
        self.store = PrimeStore()
        self.store.apply(TABLES["Company"], {"Company": "100", "Name": "Acme"})

    def write(self, kind: str, transport: str, body: bytes) -> Record:
        for table, changes in read(kind, transport, body):
            for reference in table.references:
                if changes.get(reference.column) is not None:
                    self._provide(reference.target, changes[reference.column])
            self.store.apply(table, changes)
        (record,) = self.store.records(kind)
        return record

    def _provide(self, kind: str, number: Any) -> None:
        table = TABLES[kind]
        if not self.store.exists(kind, "100", number):
            record = {"Company": "100", "KeyType": 1, "Name": "there", table.key[0]: number}
            self.store.apply(table, {name: value for name, value in record.items() if name in table.by_name})


# -- the suite


@every_part
def test_the_fields_asked_for_exist_in_sage(part: Part, transport: str) -> None:
    source = part.source
    asked = [(source.object, source.fields, source.filters, source.modified_field)]
    asked += [(join.object, join.fields, join.filters, join.modified_field) for join in source.joins]
    for sage_object, fields, filters, modified_field in asked:
        spec = spec_of(sage_object)
        assert spec is not None, sage_object
        assert fields[0] == "key"
        assert len(set(fields)) == len(fields)
        filtered = [path for condition in filters for fields_of in condition.values() for path in fields_of]
        for path in (*fields, *filtered, *((modified_field,) if modified_field else ())):
            resolve(spec, path)
    for join in source.joins:
        assert join.left == "key" or join.left in source.fields
        assert join.right in join.fields


@every_part
def test_prime_takes_the_row_and_knows_every_field(part: Part, transport: str) -> None:
    row = transformed(part, 1)
    prime = Prime()
    for kind, body in part.preamble:
        prime.write(kind, transport, body)
    record = prime.write(part.kind, transport, row.body)
    assert record["ExternalSource"] == "SageIntacct"
    assert record["ExternalId"]
    if "KeyType" in TABLES[part.kind].by_name:
        assert record["KeyType"] == 1
    assert record["Company"] == "100"
    key = [str(record[name]) for name in TABLES[part.kind].key if name != "ObjectTypeNo"]
    assert all(value.lstrip("0") in row.natural for value in key), (key, row.natural)


@every_part
def test_a_row_gone_from_sage_is_expired_and_keeps_the_rest(part: Part, transport: str) -> None:
    row = transformed(part, 1)
    body = part.expire(row.natural, row.number, row.name, row.extra)
    expirable = {"Account", "VatCode", "Object", "Supplier", "Period"}
    assert (body is not None) == (part.kind in expirable)
    if body is None:
        return
    prime = Prime()
    before = prime.write(part.kind, transport, row.body)
    after = prime.write(part.kind, transport, body)
    assert after == before | ({"Closed": 1} if part.kind == "Period" else {"ValidTo": "0001-01-01"})


@every_part
def test_a_provisional_body_points_nowhere(part: Part, transport: str) -> None:
    body = part.provisional(transformed(part, 1).body)
    if body is None:
        assert not any(reference.when for reference in TABLES[part.kind].references)
        return
    for table, changes in read(part.kind, transport, body):
        store = Prime().store
        store.apply(table, changes)


@every_part
def test_the_same_row_gives_the_same_answer_and_every_number_its_own_natural_key(part: Part, transport: str) -> None:
    rows = [transformed(part, n) for n in (1, 2, 3)]
    assert rows == [transformed(part, n) for n in (1, 2, 3)]
    for one, other in itertools.combinations(rows, 2):
        assert one.natural != other.natural
        assert one.number != other.number


@every_part
def test_unknown_fields_are_ignored_and_named(part: Part, transport: str) -> None:
    assert transformed(part, 1, **{"brandNew": {"a": [1]}, "nsp::x": None}) == transformed(part, 1)
    raw = orjson.dumps(row_for(part.source.object, part.source.fields, 1) | {"brandNew": 1})
    assert part.unknown_fields(raw) == {"brandNew"}


@every_part
@pytest.mark.parametrize("raw", ["nulls", b"{}", b"[]", b"null", b"<html>", b'{"key":"1"', b""])
def test_what_is_no_row_is_poison(part: Part, transport: str, raw: Any) -> None:
    given = orjson.dumps(dict.fromkeys(part.source.fields) | {"key": "1"}) if raw == "nulls" else raw
    with pytest.raises(Poison) as refused:
        part.transform(given, {join.name: [] for join in part.source.joins}, "")
    assert refused.value.code
    assert part.source.object in refused.value.message


@pytest.mark.parametrize("job", EVERY_REGISTER)
def test_both_transports_leave_the_same_in_prime(job: str) -> None:
    for over_rest, over_soap in zip(variants("rest"), variants("soap"), strict=True):
        for rest, soap in zip(EVERY_REGISTER[job].parts(over_rest), EVERY_REGISTER[job].parts(over_soap), strict=True):
            assert (rest.id, rest.kind) == (soap.id, soap.kind)
            left, right = (Prime().write(part.kind, how, transformed(part, 1).body) for part, how in ((rest, "rest"), (soap, "soap")))
            differing = {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}
            assert differing <= {"Description", "Address4", "Address5", "Address6"}, (rest.id, differing)  # D10, D20


@pytest.mark.parametrize("transport", ["rest", "soap"])
def test_part_ids_are_unique_and_another_setting_is_another_version(transport: str) -> None:
    for register in EVERY_REGISTER.values():
        seen: dict[str, set[str]] = {}
        for chosen in variants(transport):
            parts = register.parts(chosen)
            assert len({part.id for part in parts}) == len(parts)
            for part in parts:
                assert part.version not in seen.setdefault(part.id, set())
                seen[part.id].add(part.version)


def test_the_registers_are_those_of_the_guide_each_after_what_it_needs() -> None:
    order = list(REGISTERS)
    assert sorted(order) == sorted(
        ["GetDimObjects", "GetAccounts", "GetVatCodes", "GetAssetTypes", "GetAssets", "GetCurrencies", "GetSuppliers", "GetPeriods"]
    )
    for job, register in REGISTERS.items():
        assert all(order.index(other) < order.index(job) for other in register.after)
    assert {job: set(register.after) for job, register in REGISTERS.items()} == {
        "GetDimObjects": set(),
        "GetAccounts": {"GetDimObjects"},
        "GetVatCodes": {"GetAccounts"},
        "GetAssetTypes": {"GetAccounts"},
        "GetAssets": {"GetAssetTypes"},
        "GetCurrencies": set(),
        "GetSuppliers": {"GetAccounts", "GetCurrencies", "GetDimObjects"},
        "GetPeriods": set(),
    }
    assert {job for job, register in REGISTERS.items() if register.incremental} == {"GetDimObjects", "GetSuppliers"}


def test_sage_is_asked_no_more_objects_than_the_guide_counts() -> None:
    objects = {"DEPARTMENT": 1, "LOCATION": 2}
    chosen = settings("rest", objects=objects, periods_enabled=True)
    asked = {
        job: sum(1 + len(part.source.joins) for part in register.parts(chosen)) for job, register in REGISTERS.items()
    }  # fmt: skip
    assert asked == {
        "GetDimObjects": len(objects),
        "GetAccounts": 1,
        "GetVatCodes": 2,
        "GetAssetTypes": 1,
        "GetAssets": 1,
        "GetCurrencies": 2,
        "GetSuppliers": 3,
        "GetPeriods": 1,
    }


def test_a_made_up_register_is_found_by_its_file() -> None:
    assert list(made_up_registers()) == ["GetCategories"]
    assert "GetCategories" in EVERY_REGISTER
