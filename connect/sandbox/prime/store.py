"""The registers: rows by company and natural key, and what is queued for them.

Rows are kept as JSON bytes: small (a million suppliers take about 1 GB), quick to make, and nobody can change them by accident.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import orjson

from connect.sandbox.prime.tables import (
    BANK_ACCOUNT,
    INVALID,
    NOT_FOUND,
    OBJECT_TYPES,
    REGISTERS,
    SUPPLIER_BANK_ACCOUNT,
    UNKNOWN_REFERENCE,
    Record,
    Refused,
    Table,
)

Key = Any
"""A natural key: the value itself when it has one column, else a tuple."""

UNBOUND: Final = ""
"""The company of rows whose key holds none (KeyType 0)."""


class Registers:
    """All registers of one environment.

    An upsert leaves fields that were left out untouched; None clears one. Keys compare exactly. (To confirm with a real Prime.)
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, dict[Key, bytes]]] = {name: {} for name in REGISTERS}
        self._queued: dict[str, list[Record]] = {name: [] for name in (*REGISTERS, SUPPLIER_BANK_ACCOUNT.name)}

    # -- reading

    def get(self, register: str, company: str, key: Key) -> Record | None:
        found = self._rows[register].get(company, {}).get(key)
        return None if found is None else orjson.loads(found)

    def exists(self, register: str, company: str | None, key: Key) -> bool:
        """Whether a row of this company, or one that belongs to none, has the key."""
        if register == "ObjectType":
            return key in OBJECT_TYPES
        rows = self._rows[register]
        return key in rows.get(company or UNBOUND, ()) or key in rows.get(UNBOUND, ())

    def companies(self) -> list[str]:
        return list(self._rows["Company"].get(UNBOUND, ()))

    def company(self, name: str) -> Record | None:
        return self.get("Company", UNBOUND, name)

    def count(self, register: str) -> int:
        if register == SUPPLIER_BANK_ACCOUNT.name:
            return sum(1 for _ in self._bank_accounts())
        return sum(map(len, self._rows[register].values()))

    def page(self, register: str, start: int, size: int) -> list[Record]:
        """Rows in the order in which they first came, company by company."""
        if register == SUPPLIER_BANK_ACCOUNT.name:
            return list(islice(self._bank_accounts(), start, start + size))
        everything = (row for rows in self._rows[register].values() for row in rows.values())
        return [orjson.loads(row) for row in islice(everything, start, start + size)]

    def _bank_accounts(self) -> Iterator[Record]:
        """Each with what names its supplier, as the REST resource has them."""
        for supplier in self.page("Supplier", 0, self.count("Supplier")):
            owner = {name: supplier[name] for name in ("Company", "Supplier", "KeyType") if name in supplier}
            for account in supplier.get("SupplierBankAccount", ()):
                yield owner | account

    def records(self, register: str) -> Iterator[Record]:
        """All rows, by company and natural key."""
        for company in sorted(self._rows[register]):
            rows = self._rows[register][company]
            for key in sorted(rows):
                yield orjson.loads(rows[key])

    # -- writing

    def enqueue(self, table: Table, changes: Record) -> None:
        """TransferFromQueue = false: kept until the queue is processed; nothing but the fields' types has been looked at."""
        self._queued[table.name].append(changes)

    def take_queue(self, table: Table) -> list[Record]:
        queued, self._queued[table.name] = self._queued[table.name], []
        return queued

    def apply(self, table: Table, changes: Record) -> None:
        """Insert, update or remove one record. Raises Refused; then nothing is written."""
        if table is SUPPLIER_BANK_ACCOUNT:
            self._apply_bank_account(changes)
            return
        removing = changes.get("Remove") == 1
        _require(changes, table.key if removing else table.required, table)
        company = self._company_of(table, changes)
        key = _key(table, changes)
        rows = self._rows[table.name].setdefault(company, {})
        old = rows.get(key)
        if removing:
            if old is None:
                raise Refused(NOT_FOUND, f"{table.name} {_words(key)} does not exist{_in(company)}: it cannot be removed")
            del rows[key]
            return
        record = changes if old is None else orjson.loads(old) | changes
        record = {name: value for name, value in record.items() if value is not None and name != "Remove"}
        self._check_references(table, key, record, changes)
        rows[key] = orjson.dumps(record)

    def _check_references(self, table: Table, key: Key, record: Record, changes: Record) -> None:
        """What `changes` names must exist; a reference that is only looked at under a condition, whenever that holds."""
        for reference in table.references:
            target = record.get(reference.column)
            looked_at = record.get(reference.when) == 1 if reference.when else reference.column in changes
            if target is None or not looked_at or self.exists(reference.target, record.get("Company"), target):
                continue
            where = "" if REGISTERS[reference.target].bound == "never" else _in(record.get("Company"))
            raise Refused(
                UNKNOWN_REFERENCE,
                f"{table.name} {_words(key)}: {reference.column} {target!r} does not exist as {reference.target}{where}",
            )

    def _company_of(self, table: Table, changes: Record) -> str:
        """The company that is part of the key, checked; UNBOUND when none is."""
        company: str | None = changes.get("Company")
        if table.bound == "never":
            return UNBOUND
        bound = table.bound == "always" or changes.get("KeyType") == 1
        if company is None:
            if bound:
                raise Refused(INVALID, "Field Company is required when KeyType is 1")
            return UNBOUND
        if company not in self._rows["Company"].get(UNBOUND, ()):
            raise Refused(UNKNOWN_REFERENCE, f"Company {company!r} does not exist")
        return company if bound else UNBOUND

    def _apply_bank_account(self, changes: Record) -> None:
        """One bank account over REST: upsert by (Company, Supplier, BankAccount) into its supplier's list."""
        _require(changes, SUPPLIER_BANK_ACCOUNT.required, SUPPLIER_BANK_ACCOUNT)
        company, number = self._company_of(SUPPLIER_BANK_ACCOUNT, changes), changes["Supplier"]
        suppliers = self._rows["Supplier"]
        rows = next((rows for rows in (suppliers.get(company, {}), suppliers.get(UNBOUND, {})) if number in rows), None)
        if rows is None:
            raise Refused(UNKNOWN_REFERENCE, f"Supplier {number!r} does not exist{_in(company)}")
        supplier = orjson.loads(rows[number])
        accounts = {account["BankAccount"]: account for account in supplier.pop("SupplierBankAccount", ())}
        account = changes["BankAccount"]
        if changes.get("Remove") == 1:
            if accounts.pop(account, None) is None:
                raise Refused(NOT_FOUND, f"BankAccount {account!r} of supplier {number!r} does not exist: it cannot be removed")
        else:
            merged = accounts.get(account, {}) | {name: value for name, value in changes.items() if name in BANK_ACCOUNT.by_name}
            accounts[account] = {name: value for name, value in merged.items() if value is not None}
        if accounts:
            supplier["SupplierBankAccount"] = [accounts[name] for name in sorted(accounts)]
        rows[number] = orjson.dumps(supplier)


def _key(table: Table, changes: Record) -> Key:
    """An optional part of a key (a rate's date) counts as "" when it is missing."""
    return changes[table.key[0]] if len(table.key) == 1 else tuple(changes.get(name) or "" for name in table.key)


def _require(changes: Record, names: tuple[str, ...], table: Table) -> None:
    for name in names:
        if table.by_name[name].required and changes.get(name) is None:
            raise Refused(INVALID, f"Field {name} is required on {table.name}")


def _words(key: Key) -> str:
    return " / ".join(map(repr, key)) if isinstance(key, tuple) else repr(key)


def _in(company: str | None) -> str:
    return f" in company {company}" if company else ""
