"""All registers of the made-up company, each a generator of Sage records, in the order in which they can be loaded."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

from connect.sandbox.data import chart
from connect.sandbox.data.chart import (
    ACCOUNTS,
    ASSET_CLASSES,
    BASE_CURRENCY,
    CURRENCIES,
    EXPENSES,
    RETAINED_EARNINGS,
    SOLUTIONS,
    TAXES,
    TERMS,
)
from connect.sandbox.data.clock import Audit, days_back, keys, month_end, months_back
from connect.sandbox.data.names import World
from connect.sandbox.data.vendors import Record, account_numbers, bank_files, vendors

Register = tuple[str, Iterable[Record]]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each; what is not here has a fixed number. `sub_accounts` come on top of the chart, `rate_days` count per currency."""

    names: int  # of a kind and country, made by faker
    vendors: int
    account_numbers: int
    bank_files: int
    sub_accounts: int
    rate_days: int
    rate_months: int
    departments: int
    locations: int
    classes: int
    regions: int
    affiliates: int
    employees: int
    customers: int
    items: int
    warehouses: int
    projects: int
    tasks: int
    cost_types: int
    contracts: int
    assets: int
    tasks_alike: bool  # the same task id in several projects


COUNTS: Final[dict[str, Counts]] = {
    "small": Counts(60, 760, 130, 50, 0, 8, 2, 24, 18, 14, 8, 4, 60, 90, 60, 6, 60, 90, 40, 20, 50, tasks_alike=False),
    "medium": Counts(
        250, 29_000, 2_400, 800, 700, 110, 12, 120, 120, 60, 12, 6, 1_500, 4_000, 2_500, 20, 1_500, 3_500, 1_000, 400, 900, tasks_alike=True
    ),
    "large": Counts(
        500, 800_000, 30_000, 8_000, 4_000, 700, 36, 600, 1_000, 300, 30, 20, 20_000, 40_000, 25_000, 100, 15_000, 30_000, 8_000,
        5_000, 8_000, tasks_alike=True,
    ),
}  # fmt: skip

_DIMENSIONS: Final = (
    "department", "location", "project", "customer", "vendor", "task", "costType", "asset", "affiliateEntity", "employee", "item", "class",
    "contract", "warehouse",
)  # fmt: skip
_ENTITIES: Final = (
    ("100", "Northwind Industries, Inc.", "US", "USD", None, None),
    ("200", "Northwind (UK) Ltd", "GB", "GBP", "2800", "1900"),
    ("300", "Nordvind Norge AS", "NO", "NOK", "2810", "1910"),
)
_DEPARTMENTS: Final = (
    ("01", "Management"), ("007", "Special Projects"), ("100", "Sales"), ("110", "Sales - Key Accounts"),
    ("120", "Marketing & Communication"),
    ("200", "Operations"), ("210", "Warehouse"), ("220", "Transport"), ("230", "Purchasing"), ("300", "Research & Development"),
    ("310", "Product Design"), ("400", "Finance"), ("410", "Accounts Payable"), ("420", "Accounts Receivable"), ("430", "Controlling"),
    ("500", 'People, Culture & "Wellbeing"'), ("600", "IT"), ("610", "IT <Infrastructure>"), ("700", "Legal"), ("800", "Facilities"),
    ("900", "Customer Service"), ("910", "Kundesenter Tromsø"), ("920", "خدمة العملاء"), ("999", "Closed (do not use)"),
)  # fmt: skip
_CLASSES: Final = (
    "Retail", "Wholesale", "Public sector", "Oil & gas", "Construction", "Food < 5 °C", "Health", "Education", "Shipping", "Aquaculture",
    "Defence", 'Energy "green"', "Internal", "Discontinued",
)  # fmt: skip
_REGIONS: Final = (
    "North America",
    "British Isles",
    "Nordics",
    "DACH",
    "France & Benelux",
    "Iberia",
    "الخليج",
    "日本",
    "Baltics",
    "Italy",
    "Oceania",
    "Other",
)
_SITES: Final = ("Office", "Warehouse", "Plant", "Depot", "Service Centre", "Shop")
_THINGS: Final = (
    "Pump", "Valve", "Bearing", "Cable", "Switch", "Filter", "Gasket", "Motor", "Sensor", "Bracket", "Hose", "Relay", "Panel", "Coupling",
)  # fmt: skip
_KINDS: Final = ("stainless", "brass", "12 V", "24 V", "heavy duty", '1/2"', '3/4"', "Ø 40 mm", "IP67", "<5 kW", "spare", "food-grade")
_EQUIPMENT: Final = (
    "Forklift", 'Laptop 14"', "Delivery van", "Conveyor", "CNC machine", "Office chairs (set of 6)", "Server rack", "Air compressor",
    "Packing line", "Meeting table", "Pallet racking", "Label printer",
)  # fmt: skip
_WORKS: Final = ("Refit", "Extension", "Maintenance", "Roll-out", "Migration", "New building", "Upgrade", "Audit & clean-up")
_STEPS: Final = ("Planning", "Design & drawings", "Procurement", "Demolition", "Installation", "Testing", "Training", "Hand-over")
_COSTS: Final = ("Labour", "Materials", "Subcontract", "Equipment", "Other < $500")
_TITLES: Final = ("Accountant", "Project manager", "Buyer", "Sales representative", "Technician", "Controller", "Driver", "Director")


class Books:
    """One company. Its records come out once, in order: later registers refer to what earlier ones made."""

    def __init__(self, counts: Counts, seed: int) -> None:
        self._counts = counts
        self._seed = seed
        self._world = World(f"{seed}", counts.names)
        self._departments: list[str] = []
        self._locations: list[str] = []
        self._classes: list[str] = []
        self._employees: list[str] = []
        self._customers: list[str] = []
        self._projects: list[tuple[str, str]] = []  # key, id
        self._tasks: list[tuple[str, str, str, str]] = []  # key, id, name, key of its project
        self._vendor_keys = list(keys(self._pick("vendor keys"), counts.vendors))

    def registers(self) -> Iterator[Register]:
        """(Sage object, its records): take all records of one before the next."""
        yield "company-config/txn-currency", self._currencies()
        yield "company-config/folder", self._folders()
        yield "general-ledger/account", self._accounts()
        yield "tax/tax-solution", self._solutions()
        yield "tax/tax-authority", self._authorities()
        yield "tax/purchasing-tax-detail", self._purchasing_taxes()
        yield "tax/tax-detail", self._taxes()
        yield "tax/purchasing-tax-schedule", self._schedules()
        yield "tax/purchasing-tax-schedule-detail", self._schedule_lines()
        yield "accounts-payable/term", self._terms()
        yield "general-ledger/reporting-period", self._periods()
        yield "company-config/exchange-rate-type", self._rate_types()
        yield "company-config/exchange-rate", self._rates()
        yield "company-config/exchange-rate-line", self._rate_lines()
        yield "company-config/entity", self._entities()
        yield "company-config/affiliate-entity", self._affiliates()
        yield "company-config/location", self._location_records()
        yield "company-config/department", self._department_records()
        yield "company-config/class", self._class_records()
        yield "platform-apps/nsp::region", self._region_records()
        yield "company-config/employee", self._employee_records()
        yield "company-config/user", self._users()
        yield "accounts-receivable/customer", self._customer_records()
        yield "inventory-control/item", self._items()
        yield "inventory-control/warehouse", self._warehouses()
        yield "projects/project", self._project_records()
        yield "projects/task", self._task_records()
        yield "construction/cost-type", self._cost_types()
        yield "contracts/contract", self._contracts()
        yield "fixed-assets/asset-classification", self._asset_classes()
        yield "fixed-assets/asset", self._assets()
        yield "cash-management/checking-account", self._checking_accounts()
        yield "cash-management/savings-account", self._savings_accounts()
        yield "cash-management/credit-card-account", self._credit_cards()
        yield "accounts-payable/vendor", vendors(self._pick("vendors"), self._vendor_keys, self._world)
        account_pick, bank_pick = self._pick("vendor account numbers"), self._pick("vendor bank files")
        yield (
            "accounts-payable/vendor-account-number",
            account_numbers(account_pick, self._vendor_keys, self._counts.account_numbers, self._locations),
        )
        yield "accounts-payable/vendor-bank-file-setup", bank_files(bank_pick, self._vendor_keys, self._counts.bank_files)

    # Inside

    def _pick(self, what: str) -> random.Random:
        """Numbers of its own for each register: one that grows does not move the others."""
        return random.Random(f"{self._seed}/{what}")

    def _rows(self, what: str, number: int) -> Iterator[tuple[random.Random, int, Record]]:
        """(numbers to draw from, ordinal, a record with key and audit) for `number` records."""
        pick, audit = self._pick(what), Audit(number)
        for ordinal, key in enumerate(keys(self._pick(f"{what} keys"), number)):
            yield pick, ordinal, {"key": str(key), "audit": audit(pick, ordinal)}

    # Ledger, taxes, currencies, periods

    def _currencies(self) -> Iterator[Record]:
        for (code, name, symbol, _), (_, _, record) in zip(CURRENCIES, self._rows("currencies", len(CURRENCIES)), strict=True):
            yield record | {"id": code, "isoCode": code, "name": name, "symbol": symbol, "currencyType": "iso"}

    def _folders(self) -> Iterator[Record]:
        yield {"key": "1", "id": "Receipts", "description": "Images of supplier invoices", "status": "active"}
        yield {"key": "2", "id": "Contracts", "description": None, "status": "active"}
        yield {"key": "5", "id": "Old receipts", "description": "Until 2020", "status": "inactive", "parent": {"id": "Receipts"}}

    def _accounts(self) -> Iterator[Record]:
        # Retained earnings come first: the income statement closes to them.
        listed = sorted(ACCOUNTS, key=lambda account: account.number != RETAINED_EARNINGS)
        total = len(listed) + self._counts.sub_accounts
        rows = self._rows("accounts", total)
        for account, (_, _, record) in zip(listed, islice(rows, len(listed)), strict=True):
            yield record | _account(account)
        by_number = {account.number: account for account in ACCOUNTS}
        for pick, ordinal, record in rows:
            n = ordinal - len(listed)
            above = by_number[EXPENSES[n % len(EXPENSES)]]
            number = f"{above.number}{'-' if '.' in above.number else '.'}{n // len(EXPENSES) + 11}"
            city = self._world.somewhere(pick).places[n % self._counts.names][0]
            yield (
                record
                | _account(above)
                | {"id": number, "name": f"{above.name} - {city}", "status": "inactive" if pick.random() < 0.03 else "active"}
            )

    def _solutions(self) -> Iterator[Record]:
        for n, (name, method, purchase, sale) in enumerate(SOLUTIONS):
            yield {
                "key": str(n + 2),
                "id": name,
                "description": f"Taxes of {name.partition(' -')[0]}",
                "taxCalculationMethod": method,
                "taxSolutionType": "standard",
                "status": "active",
                "enableMultilineTax": False,
                "purchaseGLAccount": {"id": purchase},
                "salesGLAccount": {"id": sale},
            }

    def _authorities(self) -> Iterator[Record]:
        for n, solution in enumerate(SOLUTIONS):
            yield {"key": str(n * 3 + 1), "id": f"Authority {solution[0].partition(' -')[0]}", "description": None}

    def _purchasing_taxes(self) -> Iterator[Record]:
        for key, tax in _numbered_taxes():
            if tax.purchase:
                yield _tax(key, tax) | {"taxPercent": tax.percent, "purchaseGLAccount": {"id": tax.account}}

    def _taxes(self) -> Iterator[Record]:
        for key, tax in _numbered_taxes():
            yield _tax(key, tax) | {
                "taxType": "purchase" if tax.purchase else "sale",
                "taxPercent": f"{tax.percent:.2f}",
                "glAccount": {"id": tax.account},
            }

    def _schedules(self) -> Iterator[Record]:
        for key, tax in _numbered_taxes():
            if tax.purchase:
                yield {
                    "key": key,
                    "name": f"{tax.id} schedule",
                    "description": tax.description,
                    "taxSolution": {"id": tax.solution},
                    "status": "active" if tax.active else "inactive",
                }

    def _schedule_lines(self) -> Iterator[Record]:
        for key, tax in _numbered_taxes():
            if tax.purchase:
                yield {"key": key, "taxSchedule": {"key": key}, "taxDetail": {"id": tax.id}, "effectiveDate": "2018-01-01"}

    def _terms(self) -> Iterator[Record]:
        for (name, days, start, discount_days, percent), (_, _, record) in zip(TERMS, self._rows("terms", len(TERMS)), strict=True):
            record |= {"id": name, "description": f"Payment term: {name}", "status": "active", "due": {"days": days, "from": start}}
            if discount_days is not None:
                record["discount"] = {"days": discount_days, "from": start, "amount": percent, "unit": "percentage", "graceDays": 0}
            yield record

    def _periods(self) -> Iterator[Record]:
        months = months_back(36)
        for first, (_, ordinal, record) in zip(months, self._rows("periods", len(months)), strict=True):
            last = month_end(first)
            yield record | {
                "id": f"Month Ended {first:%B %Y}",
                "startDate": first.isoformat(),
                "endDate": last.isoformat(),
                "columnHeader1": "Month Ended",
                "columnHeader2": f"{last:%m/%d/%Y}",
                "isBudgetable": True,
                "reportingPeriodType": "custom",
                "dateType": 99,
                "status": "inactive" if ordinal < 6 else "active",
            }

    def _rate_types(self) -> Iterator[Record]:
        yield {"key": "1", "name": "Intacct Daily Rate", "isDefault": True}
        yield {"key": "4", "name": "Month End Rate", "isDefault": False}

    def _rates(self) -> Iterator[Record]:
        for key, rate_type, code, _ in _rate_tables():
            yield {"key": key, "exchangeRateType": {"key": rate_type}, "fromCurrency": code, "toCurrency": BASE_CURRENCY}

    def _rate_lines(self) -> Iterator[Record]:
        counts = self._counts
        days = {
            "1": days_back(counts.rate_days),
            "4": [month_end(first) for first in months_back(counts.rate_months)],
        }
        rows = self._rows("rates", len(CURRENCIES[1:]) * (counts.rate_days + counts.rate_months))
        for rate_table, rate_type, _, for_a_dollar in _rate_tables():
            rate = 1 / for_a_dollar
            for day, (pick, _, record) in zip(days[rate_type], rows, strict=False):
                rate *= 1 + pick.gauss(0, 0.004)
                record |= {"exchangeRate": {"key": rate_table}, "effectiveStartDate": day.isoformat()}
                yield record | {"rate": round(rate, 6), "reciprocalRate": round(1 / rate, 6)}

    # Organisation and dimensions

    def _entities(self) -> Iterator[Record]:
        pick = self._pick("entities")
        for n, (number, name, country, currency, payable, receivable) in enumerate(_ENTITIES):
            record: Record = {
                "key": str(n * 2 + 1),
                "id": number,
                "name": name,
                "status": "active",
                "operatingCountry": country,
                "baseCurrency": {"id": currency},
                "taxId": f"{country}{pick.randrange(100_000_000, 999_999_999)}",
                "firstFiscalMonth": "january",
                "isRoot": False,
                "legalContact": {"name": name},
            }
            if payable and receivable:
                record |= {"interEntityPayableGLAccount": {"id": payable}, "interEntityReceivableGLAccount": {"id": receivable}}
            yield record

    def _affiliates(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("affiliate entities", self._counts.affiliates):
            name = self._world.somewhere(pick).company(pick)
            yield record | {"id": f"AFF-{ordinal + 1:02d}", "name": name, "status": "inactive" if ordinal == 3 else "active"}

    def _location_records(self) -> Iterator[Record]:
        rows = self._rows("locations", self._counts.locations)
        for (number, name, *_), (_, _, record) in zip(_ENTITIES, islice(rows, len(_ENTITIES)), strict=True):
            self._locations.append(number)
            yield record | {"id": number, "name": name, "status": "active"}
        for pick, ordinal, record in rows:
            place = self._world.somewhere(pick)
            city = pick.choice(place.places)[0]
            above = _ENTITIES[ordinal % 3][0] if ordinal < 12 or ordinal % 4 else pick.choice(self._locations)
            record |= {
                "id": f"{above[:3]}-{ordinal:03d}",
                "name": f"{city} {pick.choice(_SITES)}",
                "status": _status(pick),
                "parent": {"id": above},
            }
            if ordinal == 7:
                record |= {"name": '  HQ & "Annex" <East>', "status": "active"}
            if ordinal % 2:
                record["contacts"] = {"primary": place.contact(pick)}
            self._locations.append(record["id"])
            yield record

    def _department_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("departments", self._counts.departments):
            if ordinal < len(_DEPARTMENTS):
                number, name = _DEPARTMENTS[ordinal]
                status = "inactive" if name.startswith("Closed") else "active"
            else:
                above = _DEPARTMENTS[ordinal % len(_DEPARTMENTS)]
                number, name, status = f"{above[0]}-{ordinal}", f"{above[1]} {self._world.somewhere(pick).places[0][0]}", _status(pick)
                record["parent"] = {"id": above[0]}
            if ordinal < len(_DEPARTMENTS) and len(number) == 3 and number[2] == "0" and number[1] != "0":
                record["parent"] = {"id": f"{number[0]}00"}
            if ordinal % 3 == 0:
                record["reportTitle"] = name.upper()
            self._departments.append(number)
            yield record | {"id": number, "name": name, "status": status}

    def _class_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("classes", self._counts.classes):
            name = _CLASSES[ordinal % len(_CLASSES)]
            if ordinal >= len(_CLASSES):
                record["parent"] = {"id": f"CL{ordinal % len(_CLASSES) + 1:03d}"}
                name = f"{name} {ordinal // len(_CLASSES) + 1}"
            number = f"CL{ordinal + 1:03d}"
            if ordinal % 2:
                record["description"] = f"Line of business: {name}"
            self._classes.append(number)
            yield record | {"id": number, "name": name, "status": "inactive" if name.startswith("Discontinued") else _status(pick)}

    def _region_records(self) -> Iterator[Record]:
        for _, ordinal, record in self._rows("regions", self._counts.regions):
            name = _REGIONS[ordinal % len(_REGIONS)]
            if ordinal >= len(_REGIONS):
                name = f"{name} {ordinal // len(_REGIONS) + 1}"
            yield record | {"id": f"R{ordinal + 1:02d}", "name": name, "status": "inactive" if name == "Other" else "active"}

    def _employee_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("employees", self._counts.employees):
            number = f"E{ordinal + 1:05d}"
            place = self._world.somewhere(pick)
            contact = place.contact(pick)
            record |= {
                "id": number,
                "name": contact["printAs"],
                "jobTitle": pick.choice(_TITLES),
                "status": _status(pick),
                "startDate": f"{pick.randrange(2008, 2026)}-{pick.randrange(1, 13):02d}-01",
                "department": {"id": pick.choice(self._departments)},
                "location": {"id": pick.choice(self._locations)},
                "primaryContact": contact,
            }
            if ordinal > 5 and pick.random() < 0.8:
                record["manager"] = {"id": self._employees[pick.randrange(min(ordinal, 200))]}
            self._employees.append(number)
            yield record

    def _users(self) -> Iterator[Record]:
        pick = self._pick("users")
        home = self._world.home()
        for n, (number, kind, status) in enumerate(
            (
                ("Admin", "business", "active"),
                ("rillion", "business", "active"),
                ("controller", "business", "active"),
                ("ap.clerk", "employee", "active"),
                ("left.2023", "employee", "inactive"),
            )
        ):
            contact = home.contact(pick)
            yield {
                "key": str(n + 1),
                "id": number,
                "userName": contact["printAs"],
                "userType": kind,
                "accountEmail": contact["email1"],
                "adminPrivileges": "full" if n == 0 else "off",
                "status": status,
                "contact": contact,
            }

    def _customer_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("customers", self._counts.customers):
            number = f"C{ordinal + 1:06d}"
            place = self._world.somewhere(pick)
            name = place.company(pick)
            record |= {
                "id": number,
                "name": name,
                "status": _status(pick),
                "isOnHold": pick.random() < 0.02,
                "currency": place.country.currency,
                "contacts": {"default": place.contact(pick, name)},
            }
            if pick.random() < 0.6:
                record["taxId"] = f"{place.country.prefix}{pick.randrange(100_000_000, 999_999_999)}"
            if ordinal > 10 and pick.random() < 0.05:
                record["parent"] = {"id": pick.choice(self._customers)}
            self._customers.append(number)
            yield record

    def _items(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("items", self._counts.items):
            name = f"{pick.choice(_THINGS)}, {pick.choice(_KINDS)}"
            record |= {
                "id": f"IT-{ordinal + 1:06d}",
                "name": name,
                "itemType": "inventory",
                "costMethod": "standard",
                "status": _status(pick),
            }
            if ordinal % 2:
                record["description"] = f"{name}; packed in {pick.choice((1, 5, 10, 25))}"
            yield record

    def _warehouses(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("warehouses", self._counts.warehouses):
            place = self._world.somewhere(pick)
            record |= {"id": f"WH{ordinal + 1:03d}", "name": f"Warehouse {pick.choice(place.places)[0]}", "status": _status(pick)}
            yield record | {"location": {"id": pick.choice(self._locations)}}

    def _project_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("projects", self._counts.projects):
            number = f"P-{18 + ordinal * 9 // self._counts.projects}-{ordinal + 1:05d}"
            city = pick.choice(self._world.somewhere(pick).places)[0]
            record |= {
                "id": number,
                "name": f"{pick.choice(_WORKS)} {city}",
                "category": "contract",
                "status": _status(pick),
                "projectCurrency": BASE_CURRENCY,
                "customer": {"id": pick.choice(self._customers)},
                "location": {"id": pick.choice(self._locations)},
            }
            if ordinal % 3:
                record |= {
                    "description": f"{record['name']}, phase {ordinal % 3}",
                    "manager": {"id": pick.choice(self._employees)},
                    "department": {"id": pick.choice(self._departments)},
                    "class": {"id": pick.choice(self._classes)},
                }
            if ordinal == 12:
                record["name"] = 'Bridge "Götaälv" <lot 2> & approach'
            if self._projects and pick.random() < 0.1:
                record["parent"] = {"key": pick.choice(self._projects)[0]}
            self._projects.append((record["key"], number))
            yield record

    def _task_records(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("tasks", self._counts.tasks):
            project_key, project = self._projects[ordinal * len(self._projects) // self._counts.tasks]
            number = f"{project}.{ordinal % 100:02d}"
            if self._counts.tasks_alike and ordinal % 50 == 7:
                number = "100"
            record |= {"id": number, "name": pick.choice(_STEPS), "project": {"key": project_key}, "taskStatus": "inProgress"}
            if ordinal % 4 == 1:
                record["description"] = f"{record['name']} for {project}"
            self._tasks.append((record["key"], number, record["name"], project_key))
            yield record

    def _cost_types(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("cost types", self._counts.cost_types):
            task_key, task, name, project_key = self._tasks[ordinal * len(self._tasks) // self._counts.cost_types]
            yield record | {
                "id": f"{task}-{ordinal + 1}",
                "name": f"{_COSTS[ordinal % len(_COSTS)]}: {name}",
                "project": {"key": project_key},
                "task": {"key": task_key},
                "status": _status(pick),
            }

    def _contracts(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("contracts", self._counts.contracts):
            year = pick.randrange(2019, 2026)
            record |= {
                "id": f"CT-{ordinal + 1:05d}",
                "name": f"{pick.choice(_WORKS)} agreement {year}",
                "state": "inProgress",
                "status": "active",
                "billingFrequency": "quarterly",
                "startDate": f"{year}-01-01",
                "endDate": f"{year + pick.randrange(1, 6)}-12-31",
                "dimensions": {"customer": {"id": pick.choice(self._customers)}, "location": {"id": pick.choice(self._locations)}},
            }
            if ordinal % 2:
                record["description"] = "Includes spare parts & travel; see attachment"
            yield record

    def _asset_classes(self) -> Iterator[Record]:
        rows = self._rows("asset classes", len(ASSET_CLASSES))
        for (number, name, account, accumulated, expense), (_, _, record) in zip(ASSET_CLASSES, rows, strict=True):
            del record["audit"]
            record |= {"id": number, "name": name, "status": "inactive" if number == "OLD" else "active"}
            for field, value in (
                ("assetGLAccount", account),
                ("accumulatedDepreciationGLAccount", accumulated),
                ("depreciationExpenseGLAccount", expense),
            ):
                if value is not None:
                    record[field] = {"id": value}
            yield record

    def _assets(self) -> Iterator[Record]:
        for pick, ordinal, record in self._rows("assets", self._counts.assets):
            cost = pick.randrange(800, 90_000)
            yield record | {
                "id": f"FA-{ordinal + 1:06d}",
                "name": f"{pick.choice(_EQUIPMENT)} #{ordinal + 1}",
                "classification": {"id": pick.choice(ASSET_CLASSES)[0]},
                "state": "inService",
                "status": _status(pick),
                "assetTag": f"T{pick.randrange(10_000, 99_999)}" if ordinal % 3 else None,
                "assetCost": f"{cost}.00",
                "inServiceDate": f"{pick.randrange(2015, 2026)}-{pick.randrange(1, 13):02d}-15",
                "dimensions": {"location": {"id": pick.choice(self._locations)}, "department": {"id": pick.choice(self._departments)}},
            }

    # Banks

    def _checking_accounts(self) -> Iterator[Record]:
        for key, number, bank, currency, account, location in (
            ("1", "BA1145", "First Atlantic Bank", "USD", "1010", "100"),
            ("2", "BARC-GBP", "Barclays", "GBP", "1011", "200"),
            ("5", "DNB-NOK", "DNB", "NOK", "1012", "300"),
            ("9", "PAYROLL", "First Atlantic Bank", "USD", "1020", "100"),
        ):
            yield {
                "key": key,
                "id": number,
                "status": "active",
                "bankAccountDetails": _bank(number, bank, currency) | {"accountHolderName": _ENTITIES[0][1]},
                "accounting": {"glAccount": {"id": account}, "disableInterEntityTransfer": False},
                "location": {"id": location},
            }

    def _savings_accounts(self) -> Iterator[Record]:
        for key, number, bank, account, status in (
            ("1", "SAV-1", "Midwest Savings & Loan", "1031", "active"),
            ("3", "RESERVE", "First Atlantic Bank", "1030", "inactive"),
        ):
            yield {
                "key": key,
                "id": number,
                "status": status,
                "bankAccountDetails": _bank(number, bank, "USD"),
                "accounting": {"glAccount": {"id": account}},
                "location": {"id": "100"},
            }

    def _credit_cards(self) -> Iterator[Record]:
        for key, number, card, account in (("1", "VISA-CORP", "visa", "2050"), ("2", "AMEX-CORP", "amex", "2051")):
            yield {
                "key": key,
                "id": number,
                "status": "active",
                "accountDetails": {"description": f"Corporate {card}", "cardType": card, "accountType": "credit", "currency": "USD"},
                "accounting": {"offsetGLAccount": {"id": account}, "financeChargeGLAccount": {"id": "6541"}},
                "location": {"id": "100"},
            }


def _status(pick: random.Random) -> str:
    """Of a dimension: most are active."""
    chance = pick.random()
    return "active" if chance < 0.95 else "inactive" if chance < 0.98 else "activeNonPosting"


def _account(account: chart.Account) -> Record:
    record: Record = {
        "id": account.number,
        "name": account.name,
        "accountType": "incomeStatement" if account.income else "balanceSheet",
        "normalBalance": "credit" if account.credit else "debit",
        "closingType": "closingAccount" if account.income else "nonClosingAccount",
        "status": "active" if account.active else "inactive",
        "isTaxable": account.tax is not None,
        "disallowDirectPosting": not account.direct,
        "requireDimensions": {dimension: dimension in account.required for dimension in _DIMENSIONS},
    }
    if account.income:
        record["closeToGLAccount"] = {"id": RETAINED_EARNINGS}
    if account.tax:
        record["taxCode"] = account.tax
    return record


def _numbered_taxes() -> Iterator[tuple[str, chart.Tax]]:
    """Both lists of tax details show the same records under the same keys."""
    for n, tax in enumerate(TAXES):
        yield str(n * 4 + 11 + (n > 22) * 300), tax


def _tax(key: str, tax: chart.Tax) -> Record:
    return {
        "key": key,
        "id": tax.id,
        "taxUniqueId": f"{tax.solution[:2].upper()}.{tax.id}",
        "description": tax.description,
        "taxSolution": {"id": tax.solution},
        "taxAuthority": {"id": f"Authority {tax.solution.partition(' -')[0]}"},
        "status": "active" if tax.active else "inactive",
        "taxRate": tax.rate,
        "reverseCharge": tax.reverse,
        "amountToTax": "fullAmount",
    }


def _rate_tables() -> Iterator[tuple[str, str, str, float]]:
    """(key, key of the rate type, currency, how much of it a dollar buys): daily rates of all currencies, then month-end rates."""
    numbers = count(3, 2)
    for rate_type in ("1", "4"):
        for code, _, _, for_a_dollar in CURRENCIES:
            if code != BASE_CURRENCY:
                yield str(next(numbers)), rate_type, code, for_a_dollar


def _bank(number: str, bank: str, currency: str) -> Record:
    digits = "".join(str(ord(letter) % 10) for letter in number)
    return {"accountNumber": f"00{digits}", "bankName": bank, "currency": currency, "routingNumber": f"{digits:0<9}"[:9]}
