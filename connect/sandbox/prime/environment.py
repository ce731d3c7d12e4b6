"""What one Prime environment holds: registers, invoices, payments, custom settings and the event log, emptied together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from connect.sandbox.prime.invoices import Invoices
from connect.sandbox.prime.pay import Pay
from connect.sandbox.prime.store import Registers
from connect.sandbox.prime.tables import CUSTOM_SETTING, INVALID, NOT_FOUND, REGISTERS, UNKNOWN_REFERENCE, Record, Refused

VERSION: Final = "8.146.8.3086"
BASE_CURRENCY: Final = "USD"
STANDARD_ACCOUNTS: Final = {"DebtAccount": "2000", "CostAccount": "6000", "VatAccount": "1400"}
"""A company's trade creditors, expenditure and VAT; names and numbers are this simulator's guess."""


class CustomSettings:
    """Rows {Company, Type, Setting, Value}; a row without a company is for all of them (D28)."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Record] = {}

    def insert(self, given: Record) -> None:
        """Raises Refused when the row is there already."""
        key = self._key(given)
        if key in self._rows:
            raise Refused(INVALID, f"Custom setting {_words(key)} exists already: it can be updated")
        self._rows[key] = _without_none(given)

    def update(self, given: Record) -> None:
        """Raises Refused when there is no such row."""
        key = self._key(given)
        if key not in self._rows:
            raise Refused(NOT_FOUND, f"Custom setting {_words(key)} does not exist: it can be inserted")
        self._rows[key] = _without_none(self._rows[key] | given)

    def put(self, given: Record) -> str:
        """Insert or update; the row's key in words."""
        key = self._key(given)
        self._rows[key] = _without_none(self._rows.get(key, {}) | given)
        return _words(key)

    def find(self, company: str | None, kind: str | None, setting: str | None, value: str | None, *, company_is_null: bool) -> list[Record]:
        """Rows that agree with every filter given; `company_is_null`: only those for all companies."""
        wanted = {
            name: text for name, text in zip(("Company", "Type", "Setting", "Value"), (company, kind, setting, value), strict=True) if text
        }
        return [
            row
            for row in self.records()
            if all(row.get(name) == text for name, text in wanted.items()) and not (company_is_null and "Company" in row)
        ]

    def records(self) -> Iterator[Record]:
        for key in sorted(self._rows):
            yield self._rows[key]

    @staticmethod
    def _key(given: Record) -> tuple[str, str, str]:
        for name in CUSTOM_SETTING.required:
            if given.get(name) is None:
                raise Refused(INVALID, f"Field {name} is required on {CUSTOM_SETTING.name}")
        return given.get("Company") or "", given["Type"], given["Setting"]


class Environment:
    """One environment from an empty start: its companies, and nothing else."""

    def __init__(self, name: str, companies: Iterable[str]) -> None:
        self.name = name
        self._first_companies = tuple(companies)
        self.clear()

    def clear(self) -> None:
        """As at the start, the simulator's settings included."""
        self.version = VERSION
        self.standard_accounts: Literal["set", "missing", "hidden"] = "set"
        self.operation_names: dict[str, str] = {}  # operation -> how this Prime's web service calls it
        self.registers = Registers()
        self.invoices = Invoices()
        self.pay = Pay()
        self.custom_settings = CustomSettings()
        self.event_log: list[Record] = []
        for company in self._first_companies:
            made = {"Company": company, "Name": f"Company {company}", "ArrivalType": 0, "BaseCurrency": BASE_CURRENCY, "InvoiceSeries": "1"}
            self.registers.apply(REGISTERS["Company"], made)

    def first_company(self) -> str:
        """What a record belongs to that names none. Raises Refused when there is no company at all."""
        companies = self.registers.companies()
        if not companies:
            raise Refused(UNKNOWN_REFERENCE, "There is no company: insert one first")
        return companies[0]

    def currency_of(self, company: str) -> str:
        """Raises Refused when the company does not exist."""
        found = self.registers.company(company)
        if found is None:
            raise Refused(UNKNOWN_REFERENCE, f"Company {company!r} does not exist")
        return str(found.get("BaseCurrency") or BASE_CURRENCY)

    def company_data(self, company: str) -> Record | None:
        """What ListCompanyData tells of a company."""
        found = self.registers.company(company)
        if found is None or self.standard_accounts == "hidden":
            return found
        return found | (STANDARD_ACCOUNTS if self.standard_accounts == "set" else dict.fromkeys(STANDARD_ACCOUNTS, ""))

    def companies_of(self, erp: str | None) -> set[str] | None:
        """The companies of one ERP; None for all."""
        if erp is None:
            return None
        return {record["Company"] for record in self.registers.records("Company") if record.get("Erp") == erp}


def _without_none(record: dict[str, Any]) -> Record:
    return {name: value for name, value in record.items() if value is not None}


def _words(key: tuple[str, str, str]) -> str:
    return " / ".join(part for part in key if part)
