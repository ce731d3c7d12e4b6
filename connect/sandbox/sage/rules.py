"""What Sage's business logic says to a write: bills, attachments, and what holds for every record. Payments: payments.py.

Source: sage-rest.md e (messages as integrators have seen them), g (states, what can be deleted), schema-extract.json. Where Sage is silent
the sandbox chooses the stricter reading, except that a reversed bill gives its number free: the guide shows it as "Reversed - number".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

from connect.sandbox.sage.bodies import Draft, Stamp
from connect.sandbox.sage.errors import SageError, detail, invalid, refused
from connect.sandbox.sage.fields import DIMENSIONS
from connect.sandbox.sage.paths import ref_part
from connect.sandbox.sage.store import Row, Store, Table, is_unique

if TYPE_CHECKING:
    from connect.sandbox.sage.simulator import SageSimulator, Settings

BILL: Final = "accounts-payable/bill"
BILL_LINE: Final = "accounts-payable/bill-line"
TAX_ENTRY: Final = "accounts-payable/bill-tax-entry"
VENDOR: Final = "accounts-payable/vendor"
ACCOUNT: Final = "general-ledger/account"
ATTACHMENT: Final = "company-config/attachment"
CURRENCY: Final = "company-config/txn-currency"
RATE: Final = "company-config/exchange-rate"
CENT: Final = Decimal("0.01")
INFO: Final = "paymentInformation"
PAYABLE: Final = ("posted", "selected", "partiallyPaid")
# field of `dimensions` and of `requireDimensions` -> what people call it
DIMENSION_LABELS: Final[dict[str, str]] = {
    {"cost-type": "costType", "affiliate-entity": "affiliateEntity"}.get(path.rpartition("/")[2], path.rpartition("/")[2]): label
    for _, label, path in DIMENSIONS
}


@dataclass(frozen=True, slots=True)
class Act:
    """Who writes what, when, and within which entity."""

    method: str
    name: str  # of the object
    user: str
    scope: int | None
    stamp: Stamp

    def refuse(self, *details: dict[str, Any] | str, status: int = 422) -> SageError:
        rows = [detail(row) if isinstance(row, str) else row for row in details]
        return refused(status, self.method, f"objects/{self.name}", rows)


def duplicate(value: str) -> dict[str, Any]:
    return detail(f"Another record with the value {value} already exists", code="unableToCreateRecordError")


def money(row: Row, name: str) -> Decimal:
    return Decimal(row.get(name) or "0")


def text_of(amount: Decimal) -> str:
    return f"{amount.quantize(CENT, ROUND_HALF_UP):.2f}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill, and the tax that its entries add."""

    row: Row
    tax: Decimal


class Index:
    """Which rows of a table have a value in a field."""

    def __init__(self, table: Table, path: str) -> None:
        self.table = table
        self._path = path
        self._keys: dict[str, set[int]] = {}
        self._values: dict[int, str] = {}
        for key in table.rows:
            self._note(key)
        table.listeners.append(self._note)

    def keys(self, value: str) -> set[int]:
        return self._keys.get(value, set())

    def _note(self, key: int) -> None:
        old = self._values.pop(key, None)
        if old is not None:
            self._keys[old].discard(key)
        row = self.table.get(key) if key in self.table.rows else None
        value = None if row is None else row.get(self._path)
        if value is not None:
            self._values[key] = value
            self._keys.setdefault(value, set()).add(key)


class Rules:
    """The company's rules."""

    def __init__(self, sim: SageSimulator) -> None:
        self._sim = sim
        self._numbers: Index | None = None

    @property
    def store(self) -> Store:
        return self._sim.store

    @property
    def config(self) -> Settings:
        return self._sim.config

    def check(self, act: Act, draft: Draft) -> None:
        """Before a record is written. Raises SageError; completes what Sage computes."""
        table = draft.table
        if draft.before is None and is_unique(table.spec) and draft.row.get("id") in table.key_of:
            raise act.refuse(duplicate(draft.row["id"]), status=409)
        if act.name == BILL:
            self._check_bill(act, draft)
        elif act.name == BILL_LINE:
            self._check_lines(act, draft)
        elif act.name == ATTACHMENT:
            _measure(draft)

    def fill(self, draft: Draft) -> None:
        """What a loaded bill needs to be one: a state, totals, its lines' numbers. What is given stays."""
        row = draft.row
        row.setdefault("state", "posted")
        row.setdefault("currency.baseCurrency", self.config.base_currency)
        row.setdefault("currency.txnCurrency", row["currency.baseCurrency"])
        before = draft.before or {}
        given = {name: row[name] for name in row if name.startswith(("totalBase", "totalTxn", INFO)) and row[name] != before.get(name)}
        self.total(draft.row, self.lines_of(draft))
        row.update(given)

    def is_approved_at_once(self, user: str) -> bool:
        exempt = self.config.exempt_users
        return not self.config.approvals or user in exempt or f"{user}@{self._sim.company}" in exempt

    def closed(self, day: str | None) -> str | None:
        """Why nothing can be posted on this day, if so."""
        limit = self.config.closed_until
        if day is None or limit is None or day > limit:
            return None
        opens = date.fromisoformat(limit) + timedelta(days=1)
        return f"The accounting period of {day} is closed. Date must be on or after {opens.isoformat()}"

    # Bills

    def _check_bill(self, act: Act, draft: Draft) -> None:
        row, before = draft.row, draft.before
        if before is None:
            row["state"] = self._first_state(act, row.get("state"))
        elif row.get("state") != before.get("state"):
            raise invalid(detail("/state cannot be changed", target="/state"))
        elif before.get("state") in ("reversed", "reversal"):
            raise act.refuse("A reversed bill cannot be changed")
        elif _touches_amounts(draft) and (
            money(before, f"{INFO}.totalTxnAmountPaid") or money(before, f"{INFO}.totalTxnAmountSelectedForPayment")
        ):
            raise act.refuse("The bill has been selected for payment or paid: its amounts cannot be changed")
        self._default_bill(row)
        lines = self.lines_of(draft)
        if not lines:
            raise invalid(detail("/lines is required", target="/lines"))
        problems: list[dict[str, Any]] = []
        if before is None or _changes(draft, "billNumber", "vendor.key"):
            problems += self._number_problems(draft)
        if before is None or _touches_amounts(draft) or _changes(draft, "postingDate"):  # a text can be mended at any time
            problems += self._currency_problems(row)
            problems += self.posting_problems(row, lines) if row["state"] != "draft" else []
        if problems:
            is_double = len(problems) == 1 and problems[0].get("code") == "unableToCreateRecordError"
            raise act.refuse(*problems, status=409 if is_double else 422)
        self.total(row, lines)

    def _first_state(self, act: Act, asked: str | None) -> str:
        if asked == "draft":
            return "draft"
        if asked not in (None, "submitted", "posted"):
            raise act.refuse(f"A bill cannot be created in the state {asked}")
        return self.submitted_state(act)

    def submitted_state(self, act: Act) -> str:
        return "posted" if self.is_approved_at_once(act.user) else "submitted"

    def _default_bill(self, row: Row) -> None:
        vendor = self._row(VENDOR, row.get("vendor.key"))
        row.setdefault("postingDate", row["createdDate"])
        row.setdefault("currency.baseCurrency", self.config.base_currency)
        row.setdefault("currency.txnCurrency", row["currency.baseCurrency"])
        for name, source in (("term", "term"), ("contacts.payTo", "contacts.payTo"), ("contacts.returnTo", "contacts.returnTo")):
            given = vendor.get(f"{source}.key") or (vendor.get("contacts.default.key") if name != "term" else None)
            if given is not None:
                row.setdefault(f"{name}.key", given)

    def lines_of(self, draft: Draft) -> list[Line]:
        """The bill's lines as they would be."""
        if "lines" in draft.lists:
            return [Line(line.row, self._tax(line)) for line in draft.lists["lines"]]
        if draft.key is None:
            return []
        return [Line(line.row, self._tax(line)) for line in self._stored_lines(draft.key)]

    def _stored_lines(self, bill: int) -> list[Draft]:
        table = self.store.table(BILL_LINE)
        return [Draft(table, key, dict(row), row) for key in table.children["bill"].get(bill, ()) if (row := table.get(key)) is not None]

    def _tax(self, line: Draft) -> Decimal:
        if "taxEntries" in line.lists:
            rows = [entry.row for entry in line.lists["taxEntries"]]
        else:
            table = self.store.table(TAX_ENTRY)
            rows = [] if line.key is None else [table.get(key) or {} for key in table.children["billLine"].get(line.key, ())]
        return sum((money(row, "txnTaxAmount") for row in rows), Decimal(0))

    def posting_problems(self, row: Row, lines: list[Line]) -> list[dict[str, Any]]:
        """What stands against a posting: vendor, accounts, dimensions, period."""
        found = [*self._vendor_problems(row)]
        why = self.closed(row.get("postingDate"))
        if why is not None:
            found.append(detail(why))
        for line in lines:
            found += self._line_problems(line.row)
        return found

    def _vendor_problems(self, row: Row) -> Iterator[dict[str, Any]]:
        vendor = self._row(VENDOR, row.get("vendor.key"))
        name = vendor.get("id")
        if vendor.get("status", "active") != "active":
            yield detail(f"Activate the vendor {name}, then try again.")
        elif vendor.get("state", "a") != "a":
            yield detail(f"The vendor '{name}' is not approved. Approve the vendor {name}, then try again.")
        elif vendor.get("isOnHold", False):
            yield detail(f"The vendor '{name}' is on hold.")

    def _line_problems(self, line: Row) -> Iterator[dict[str, Any]]:
        account = self._row(ACCOUNT, line.get("glAccount.key"))
        number = account.get("id")
        if account.get("status", "active") != "active":
            yield detail(f"Account {number} is not valid")
        elif account.get("disallowDirectPosting", False):
            yield detail(f"Account {number} does not allow direct posting")
        if line.get("allocation.key") is None and line.get("allocation.id") is None:
            for name, label in DIMENSION_LABELS.items():
                needed = name == "location" or (name != "vendor" and account.get(f"requireDimensions.{name}", False))
                if needed and line.get(f"dimensions.{name}.key") is None:
                    yield detail(f"This transaction is missing the {label} dimension for the Account {number}")
        for path in line:
            if path.startswith("dimensions.") and path.endswith(".key"):
                yield from self._dimension_problems(path.removesuffix(".key"), line[path])

    def _dimension_problems(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """A value that is there but takes no postings."""
        last = path.rpartition(".")[2]
        known = self.store.table(BILL_LINE).spec.fields.get(path)
        target = known.target if known is not None else f"platform-apps/{last}"
        if not target or self._row(target, key).get("status", "active") == "active":
            return
        value = self._row(target, key).get("id", key)
        label = DIMENSION_LABELS.get(last, last.removeprefix("nsp::").capitalize())
        yield detail(f"Location '{value}' is not valid" if last == "location" else f"Invalid {label} {value} selected")

    def _number_problems(self, draft: Draft) -> Iterator[dict[str, Any]]:
        how = self.config.bill_number_unique
        number = draft.row.get("billNumber")
        if how == "off" or number is None:
            return
        table = self.store.table(BILL)
        if self._numbers is None or self._numbers.table is not table:
            self._numbers = Index(table, "billNumber")
        for key in self._numbers.keys(number):
            if key == draft.key:
                continue
            other = table.get(key) or {}
            if how == "company" or other.get("vendor.key") == draft.row.get("vendor.key"):
                yield duplicate(number)
                return

    def _currency_problems(self, row: Row) -> Iterator[dict[str, Any]]:
        base, txn = row["currency.baseCurrency"], row["currency.txnCurrency"]
        bases = {self.config.base_currency, *self._entity_bases()}
        known = self.store.table(CURRENCY).key_of
        if base not in bases:
            yield detail(f"Base currency {base} is not valid")
        elif (known and txn not in known) or (txn != base and not self.config.multi_currency):
            yield detail(f"Transaction currency {txn} is not valid")
        elif txn != base and row.get("currency.exchangeRate.rate") is None:
            rate = self._rate(txn, base, row.get("currency.exchangeRate.date") or row["postingDate"])
            if rate is None:
                yield detail(f"There is no exchange rate from {txn} to {base} for {row['postingDate']}")
            else:
                row["currency.exchangeRate.rate"] = rate
                row.setdefault("currency.exchangeRate.date", row["postingDate"])

    def _entity_bases(self) -> Iterator[str]:
        table = self.store.table("company-config/entity")
        for key in table.rows:
            currency = ref_part(self.store, table.get(key) or {}, table.spec.fields["baseCurrency"], "id")
            if currency is not None:
                yield currency

    def _rate(self, txn: str, base: str, day: str) -> int | float | None:
        """The company's own rate of that day or the last one before."""
        rates, lines = self.store.table(RATE), self.store.table("company-config/exchange-rate-line")
        found: list[tuple[str, int | float]] = []
        for key in rates.rows:
            row = rates.get(key) or {}
            if (row.get("fromCurrency"), row.get("toCurrency")) == (txn, base):
                for own in lines.children["exchangeRate"].get(key, ()):
                    line = lines.get(own) or {}
                    if line.get("effectiveStartDate", "9") <= day and line.get("rate") is not None:
                        found.append((line["effectiveStartDate"], line["rate"]))
        return max(found)[1] if found else None

    def total(self, row: Row, lines: list[Line]) -> None:
        """The sums of a bill, from its lines and what was paid of it."""
        rate = Decimal(str(row.get("currency.exchangeRate.rate") or 1))
        whole = Decimal(0)
        for number, (line, tax) in enumerate(((line.row, line.tax) for line in lines), 1):
            net = money(line, "txnAmount")
            line.setdefault("totalTxnAmount", text_of(net + tax))
            whole += money(line, "totalTxnAmount") if row.get("isTaxInclusive", False) else net + tax
            line["lineNumber"] = str(number)
            line["baseAmount"] = text_of(net * rate)
            for name in ("currency.baseCurrency", "currency.txnCurrency", "createdDate"):
                if name in row:
                    line[name] = row[name]
            if "dimensions.location.key" in line:
                line.setdefault("baseLocation.key", line["dimensions.location.key"])
        paid, selected = money(row, f"{INFO}.totalTxnAmountPaid"), money(row, f"{INFO}.totalTxnAmountSelectedForPayment")
        row |= {
            "totalTxnAmount": text_of(whole),
            "totalTxnAmountDue": text_of(whole - paid),
            "totalBaseAmount": text_of(whole * rate),
            "totalBaseAmountDue": text_of((whole - paid) * rate),
            f"{INFO}.totalTxnAmountPaid": text_of(paid),
            f"{INFO}.totalBaseAmountPaid": text_of(paid * rate),
            f"{INFO}.totalTxnAmountSelectedForPayment": text_of(selected),
            f"{INFO}.totalBaseAmountSelectedForPayment": text_of(selected * rate),
        }

    def _check_lines(self, act: Act, draft: Draft) -> None:
        """A line written on its own."""
        bill = self._row(BILL, draft.row.get("bill.key"))
        if bill.get("state") in ("reversed", "reversal", "paid", "partiallyPaid", "selected"):
            raise act.refuse(f"Lines of a bill in the state {bill['state']} cannot be changed")
        if bill.get("state") != "draft" and (problems := list(self._line_problems(draft.row))):
            raise act.refuse(*problems)

    def check_delete(self, act: Act, table: Table, key: int) -> None:
        row = table.get(key) or {}
        if act.name == BILL:
            state = row.get("state")
            if state not in ("posted", "draft", "declined", "submitted", "partiallyApproved") or money(row, f"{INFO}.totalTxnAmountPaid"):
                raise act.refuse(f"A bill in the state {state} cannot be deleted")
        elif act.name == BILL_LINE:
            if len(table.children["bill"].get(int(row["bill.key"]), ())) < 2:
                raise act.refuse("A bill must keep one line")
            self._check_lines(act, Draft(table, key, row, row))

    def bill_action(self, act: Act, table: Table, key: int, action: str, body: dict[str, Any]) -> str:
        """A workflow on a bill; the state that Sage answers."""
        row = table.get(key) or {}
        state = row.get("state", "draft")
        allowed, after, said = BILL_ACTIONS[action]
        if state not in allowed:
            raise act.refuse(f"A bill in the state {state} cannot be {said}")
        draft = Draft(table, key, dict(row), row)
        if action == "submit":
            problems = self.posting_problems(row, self.lines_of(draft))
            if problems:
                raise act.refuse(*problems)
            after = said = self.submitted_state(act)
        elif action == "reverse":
            self._check_reverse(act, row, body)
            draft.row |= {"billNumber": f"Reversed - {row.get('billNumber')}", "totalTxnAmountDue": "0.00", "totalBaseAmountDue": "0.00"}
        draft.row["state"] = after
        self.put(draft, act.stamp)
        return {"recall": "draft", "reverse": "reversed"}.get(action, said)

    def _check_reverse(self, act: Act, row: Row, body: dict[str, Any]) -> None:
        day = body.get("reverseDate")
        if not isinstance(day, str):
            raise invalid(detail("/reverseDate is required", target="/reverseDate"))
        if money(row, f"{INFO}.totalTxnAmountPaid"):
            raise act.refuse("Void the payment of the bill, then try again.")
        if day <= row.get("postingDate", ""):
            raise act.refuse("The reverse date must be later than the posting date")
        why = self.closed(day)
        if why is not None:
            raise act.refuse(why)

    def put(self, draft: Draft, stamp: Stamp) -> None:
        """A change that the rules make themselves."""
        draft.row["audit.modifiedDateTime"] = stamp.at
        assert draft.key is not None
        draft.table.put(draft.key, draft.row, draft.table.private.get(draft.key), lag_until=stamp.lag_until)

    def retotal(self, key: int, stamp: Stamp) -> None:
        """After a line was written or deleted on its own."""
        bills, lines = self.store.table(BILL), self.store.table(BILL_LINE)
        row = bills.get(key)
        if row is None:
            return
        own = self._stored_lines(key)
        self.total(row, [Line(line.row, self._tax(line)) for line in own])
        for line in own:
            if line.key is not None:
                lines.put(line.key, line.row, lines.private.get(line.key), lag_until=stamp.lag_until)
        self.put(Draft(bills, key, row, row), stamp)

    def _row(self, name: str, key: Any) -> Row:
        return (self.store.table(name).get(int(key)) if key is not None else None) or {}


# action -> from which states, to which state, and the word that Sage answers
BILL_ACTIONS: Final[dict[str, tuple[tuple[str, ...], str, str]]] = {
    "submit": (("draft", "declined"), "", "submitted"),
    "approve": (("submitted", "partiallyApproved"), "posted", "approved"),
    "decline": (("submitted", "partiallyApproved"), "declined", "declined"),
    "recall": (("submitted",), "draft", "recalled"),
    "reverse": (("posted", "paid"), "reversed", "reversed"),
}


def _touches_amounts(draft: Draft) -> bool:
    return "lines" in draft.lists or _changes(draft, "vendor.key", "currency.txnCurrency", "currency.baseCurrency", "isTaxInclusive")


def _changes(draft: Draft, *names: str) -> bool:
    before = draft.before or {}
    return any(draft.row.get(name) != before.get(name) for name in names)


def _measure(draft: Draft) -> None:
    """The size of each file. Raises SageError when one is no base64."""
    for number, file in enumerate(draft.lists.get("files", [])):
        try:
            file.row["size"] = len(base64.b64decode(file.row.get("data", ""), validate=True))
        except (binascii.Error, ValueError) as error:
            target = f"/files/{number}/data"
            raise invalid(detail(f"{target} must be base64 encoded", target=target)) from error
