"""AP payments: what Sage refuses, which state a payment gets, and what it does to the bills it pays.

Source: onboarding guide, payment scenarios 1-6 (the three error shapes); sage-rest.md g. A payment that waits (draft, submitted) selects
its amount on the bill; one that is approved, printed or confirmed has paid it. A voided payment leaves its bills reversed, as the guide
says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from connect.sandbox.sage.bodies import Draft, Stamp
from connect.sandbox.sage.errors import detail, invalid
from connect.sandbox.sage.rules import BILL, INFO, PAYABLE, VENDOR, Act, Rules, money, text_of
from connect.sandbox.sage.store import Row, Table

PAYMENT: Final = "accounts-payable/payment"
DETAIL: Final = "accounts-payable/payment-detail"
CHECKING: Final = "cash-management/checking-account"
SAVINGS: Final = "cash-management/savings-account"
CARD: Final = "cash-management/credit-card-account"
BANKS: Final = (CHECKING, SAVINGS)
# payment method, without spaces and in lower case -> the accounts that it can be paid from
METHODS: Final[dict[str, tuple[str, ...]]] = {
    "printedcheck": BANKS,
    "cash": BANKS,
    "eft": BANKS,
    "ach": BANKS,
    "recordtransfer": BANKS,
    "creditcard": (CARD,),
    "chargecard": (CARD,),
}
PRINTED: Final = "printedcheck"  # has to be printed before it is confirmed
SELECTS: Final = frozenset({"draft", "submitted", "partiallyApproved"})
PAYS: Final = frozenset({"approved", "delivered", "confirmed", "quickDelivery"})
# action -> from which states, and the word for it
ACTIONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "submit": (("draft", "declined"), "submitted"),
    "approve": (("submitted", "partiallyApproved"), "approved"),
    "decline": (("submitted", "partiallyApproved"), "declined"),
    "print": (("approved",), "printed"),
    "confirm": (("delivered",), "confirmed"),
    "reverse": (("delivered", "confirmed"), "reversed"),
}
TOO_EARLY: Final = detail(
    "Select a payment date that occurs after the bill creation date, then try again.",
    code="informationMissing",
    error_id="SL-0417",
    message_id="IA.SELECT_A_PAYMENT_DATE_THAT_OCCURS_AFTER_THE_CRE",
    placeholders={"THIS_GETTRANSACTIONTYPE": "bill"},
)
TOO_MUCH: Final[dict[str, Any]] = {  # neither errorId nor messageId: the guide shows it so
    "code": "BL01001973",
    "message": "The amount received is greater than the amount to apply. Reduce the amount received, reduce the credit amount to apply, "
    "or add an overpayment. Then try again.",
    "additionalInfo": {"placeholders": {}, "propertySet": {}},
}
WRONG_ACCOUNT: Final = detail(
    "Select a valid credit card account, then try again.",
    code="informationMissing",
    error_id="AP-0038",
    message_id="IA.INVALID_CHARGE_CARD_ACCOUNT_SELECTED",
)


class Payments:
    """The rules of payments."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def check(self, act: Act, draft: Draft) -> None:
        """Before a payment is written. Raises SageError; completes what Sage computes."""
        row, before = draft.row, draft.before
        if before is None:
            row["state"] = self._first_state(act, row)
        elif row.get("state") != before.get("state"):
            raise invalid(detail("/state cannot be changed", target="/state"))
        elif before.get("state") != "draft" and _touches_money(draft):
            raise act.refuse(f"A payment in the state {before.get('state')} cannot be changed")
        if "financialEntity.entityId" not in row:
            raise invalid(detail("/financialEntity/entityId is required", target="/financialEntity/entityId"))
        details = self._details(draft)
        if not details:
            raise invalid(detail("/details is required", target="/details"))
        row.setdefault("txnCurrency.currency", row.get("baseCurrency.currency", self._rules.config.base_currency))
        if before is None or _touches_money(draft):
            problems = [*self._problems(row, details, draft)]
            if problems:
                raise act.refuse(*problems)
        self._complete(row, details)

    def fill(self, draft: Draft, today: str) -> None:
        """What a loaded payment needs to be one: a state, a date, totals. Its bills are loaded as they are."""
        row = draft.row
        row.setdefault("state", "confirmed")
        row.setdefault("paymentDate", row.get("txnDate", today))
        details = [own for own in self._details(draft) if "bill.key" in own]
        if details:
            self._complete(row, details)

    def _first_state(self, act: Act, row: Row) -> str:
        asked, action = row.get("state"), row.get("action")
        if asked not in (None, "draft", "submitted", "approved", "confirmed"):
            raise act.refuse(f"A payment cannot be created in the state {asked}")
        if action != "submit" and asked in (None, "draft"):
            return "draft"
        return self._submitted_state(act, row)

    def _submitted_state(self, act: Act, row: Row) -> str:
        return self._approved_state(row) if self._rules.is_approved_at_once(act.user) else "submitted"

    def _approved_state(self, row: Row) -> str:
        return "approved" if _method(row) == PRINTED else "confirmed"

    def _details(self, draft: Draft) -> list[Row]:
        if "details" in draft.lists:
            return [own.row for own in draft.lists["details"]]
        return [] if draft.key is None else [row for _, row in self._stored_details(draft.key)]

    def _stored_details(self, payment: int) -> list[tuple[int, Row]]:
        table = self._rules.store.table(DETAIL)
        return [(key, row) for key in table.children["apPayment"].get(payment, ()) if (row := table.get(key)) is not None]

    def _problems(self, row: Row, details: list[Row], draft: Draft) -> Iterator[dict[str, Any]]:
        yield from self._vendor_problems(row)
        if not self._has_account(row):
            yield WRONG_ACCOUNT
        why = self._rules.closed(row.get("paymentDate"))
        if why is not None:
            yield detail(why)
        asked: dict[str, Decimal] = defaultdict(Decimal)
        for own in details:
            amount = money(own, "txnCurrency.paymentAmount")
            if amount <= 0:
                yield detail("The payment amount must be greater than zero")
            asked[own["bill.key"]] += amount
        kept = self._own_amounts(draft)
        for key, amount in asked.items():
            yield from self._bill_problems(row, key, amount, kept.get(key, Decimal(0)))

    def _own_amounts(self, draft: Draft) -> dict[str, Decimal]:
        """What this payment has on its bills already."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for _, row in [] if draft.key is None else self._stored_details(draft.key):
            found[row["bill.key"]] += money(row, "txnCurrency.paymentAmount")
        return found

    def _vendor_problems(self, row: Row) -> Iterator[dict[str, Any]]:
        vendor = self._rules.store.table(VENDOR).get(int(row["vendor.key"])) or {}
        name = vendor.get("id")
        if vendor.get("status", "active") != "active":
            yield detail(f"Activate the vendor {name}, then try again.")
        elif vendor.get("isOnHold", False) or vendor.get("doNotPay", False):
            yield detail(f"The vendor '{name}' is on hold or marked as not to be paid.")

    def _has_account(self, row: Row) -> bool:
        account = row.get("financialEntity.entityId")
        for name in METHODS.get(_method(row), ()):
            table = self._rules.store.table(name)
            key = table.find(None, account)
            if key is not None and (table.get(key) or {}).get("status", "active") == "active":
                return True
        return False

    def _bill_problems(self, row: Row, key: str, amount: Decimal, kept: Decimal) -> Iterator[dict[str, Any]]:
        bill = self._rules.store.table(BILL).get(int(key)) or {}
        number, state = bill.get("billNumber"), bill.get("state")
        free = money(bill, "totalTxnAmountDue") - money(bill, f"{INFO}.totalTxnAmountSelectedForPayment") + kept
        if state not in PAYABLE:
            yield detail(f"The bill {number} is in the state {state}. Only bills that are posted, selected or partially paid can be paid.")
        elif bill.get("vendor.key") != row.get("vendor.key"):
            yield detail(f"The bill {number} is not one of this vendor")
        elif bill.get("currency.txnCurrency") != row.get("txnCurrency.currency"):
            yield detail(f"The bill {number} is in another currency")
        elif bill.get("isOnHold", False):
            yield detail(f"The bill {number} is on hold")
        elif any(
            line.row.get("releaseToPay") is False for line in self._rules.lines_of(Draft(self._rules.store.table(BILL), int(key), bill))
        ):
            yield detail(f"The bill {number} has lines that are not released to pay")
        elif row.get("paymentDate", "") < bill.get("createdDate", ""):
            yield TOO_EARLY
        elif amount > free:
            yield TOO_MUCH

    def _complete(self, row: Row, details: list[Row]) -> None:
        base: str = row.setdefault("baseCurrency.currency", self._rules.config.base_currency)
        txn: str = row.setdefault("txnCurrency.currency", base)
        whole = sum((money(own, "txnCurrency.paymentAmount") for own in details), Decimal(0))
        paid = whole if row["state"] in PAYS else Decimal(0)
        rate = self._rate(details, base, txn)
        for name, factor in (("txnCurrency", Decimal(1)), ("baseCurrency", rate)):
            row |= {
                f"{name}.totalAmount": text_of(whole * factor),
                f"{name}.totalPaid": text_of(paid * factor),
                f"{name}.totalSelected": text_of((whole - paid) * factor if row["state"] in SELECTS else Decimal(0)),
                f"{name}.totalDue": text_of((whole - paid) * factor),
            }
        row |= {
            "txnDate": row["paymentDate"],
            "financialEntity.currency": txn,
            "financialEntity.txnAmount": text_of(whole),
            "financialEntity.baseCurrency": base,
            "financialEntity.baseAmount": text_of(whole * rate),
        }
        if row["state"] in PAYS:
            row["txnPaidDate"] = row["paymentDate"]
        for own in details:
            own |= {
                "txnCurrency.currency": txn,
                "baseCurrency.paymentAmount": text_of(money(own, "txnCurrency.paymentAmount") * rate),
                "paymentDate": row["paymentDate"],
                "state": row["state"],
            }

    def _rate(self, details: list[Row], base: str, txn: str) -> Decimal:
        """The rate of the first bill that is paid."""
        bill = self._rules.store.table(BILL).get(int(details[0]["bill.key"])) or {}
        return Decimal(1) if base == txn else Decimal(str(bill.get("currency.exchangeRate.rate") or 1))

    def before(self, draft: Draft, stamp: Stamp) -> None:
        """Take back what the payment had on its bills, before it is written anew."""
        if draft.key is not None and draft.before is not None:
            self.release(draft.key, draft.before, stamp)

    def release(self, key: int, row: Row, stamp: Stamp) -> None:
        """The payment goes: its bills are free again."""
        self._apply(key, row, stamp, sign=-1)

    def after(self, key: int, row: Row, stamp: Stamp) -> None:
        """What the payment, now written, does to its bills."""
        self._apply(key, row, stamp, sign=1)

    def _apply(self, key: int, row: Row, stamp: Stamp, *, sign: int) -> None:
        state = row.get("state")
        if state not in SELECTS and state not in PAYS:
            return
        name = "Paid" if state in PAYS else "SelectedForPayment"
        table = self._rules.store.table(BILL)
        for _, own in self._stored_details(key):
            number = int(own["bill.key"])
            before = table.get(number)
            if before is None:
                continue
            bill = dict(before)
            field = f"{INFO}.totalTxnAmount{name}"
            bill[field] = text_of(money(bill, field) + sign * money(own, "txnCurrency.paymentAmount"))
            self._settle(bill, row.get("paymentDate"))
            self._rules.put(Draft(table, number, bill, before), stamp)

    def _settle(self, bill: Row, day: str | None) -> None:
        """Due amounts and state of a bill, from what was paid and selected."""
        rate = Decimal(str(bill.get("currency.exchangeRate.rate") or 1))
        whole, paid = money(bill, "totalTxnAmount"), money(bill, f"{INFO}.totalTxnAmountPaid")
        selected = money(bill, f"{INFO}.totalTxnAmountSelectedForPayment")
        bill |= {
            "totalTxnAmountDue": text_of(whole - paid),
            "totalBaseAmountDue": text_of((whole - paid) * rate),
            f"{INFO}.totalBaseAmountPaid": text_of(paid * rate),
            f"{INFO}.totalBaseAmountSelectedForPayment": text_of(selected * rate),
        }
        bill.pop(f"{INFO}.fullyPaidDate", None)
        if bill.get("state") not in (*PAYABLE, "paid"):
            return
        if paid and paid >= whole:
            bill["state"] = "paid"
            if day is not None:
                bill[f"{INFO}.fullyPaidDate"] = day
        elif selected and paid + selected >= whole:
            bill["state"] = "selected"
        else:
            bill["state"] = "partiallyPaid" if paid else "selected" if selected else "posted"

    def check_delete(self, act: Act, table: Table, key: int) -> None:
        state = (table.get(key) or {}).get("state")
        if state not in ("draft", "submitted", "partiallyApproved", "declined"):
            raise act.refuse(f"A payment in the state {state} cannot be deleted")

    def action(self, act: Act, table: Table, key: int, action: str, body: dict[str, Any]) -> str:
        """A workflow on a payment; the state that Sage answers."""
        row = table.get(key) or {}
        state = row.get("state", "draft")
        allowed, word = ACTIONS[action]
        if state not in allowed:
            raise act.refuse(f"A payment in the state {state} cannot be {word}")
        if action == "reverse":
            self._check_reverse(act, row, body)
        draft = Draft(table, key, dict(row), row)
        details = self._stored_details(key)
        if action == "submit" and (
            problems := list(self._problems(row, [own for _, own in details], draft if state == "draft" else _bare(draft)))
        ):
            raise act.refuse(*problems)
        after = {
            "submit": self._submitted_state(act, row),
            "approve": self._approved_state(row),
            "decline": "declined",
            "print": "delivered",
            "confirm": "confirmed",
            "reverse": "approved" if state == "delivered" else "reversed",
        }[action]
        draft.row["state"] = after
        self.before(draft, act.stamp)
        self._complete(draft.row, [own for _, own in details])
        self._rules.put(draft, act.stamp)
        rows = self._rules.store.table(DETAIL)
        for number, own in details:
            rows.put(number, own, rows.private.get(number), lag_until=act.stamp.lag_until)
        self.after(key, draft.row, act.stamp)
        if after == "reversed":
            self._reverse_bills([own for _, own in details], act.stamp)
        return "approved" if action == "approve" else after

    def _check_reverse(self, act: Act, row: Row, body: dict[str, Any]) -> None:
        day = body.get("paymentDate")
        if not isinstance(day, str):
            raise invalid(detail("/paymentDate is required", target="/paymentDate"))
        if day < row.get("paymentDate", ""):
            raise act.refuse("The date of the reversal is before the payment date")
        why = self._rules.closed(day)
        if why is not None:
            raise act.refuse(why)

    def _reverse_bills(self, details: list[Row], stamp: Stamp) -> None:
        table = self._rules.store.table(BILL)
        for key in dict.fromkeys(int(own["bill.key"]) for own in details):
            before = table.get(key)
            if before is None or money(before, f"{INFO}.totalTxnAmountPaid"):
                continue  # other payments still stand
            bill = before | {"state": "reversed", "billNumber": f"Reversed - {before.get('billNumber')}"}
            bill |= {"totalTxnAmountDue": "0.00", "totalBaseAmountDue": "0.00"}
            self._rules.put(Draft(table, key, bill, before), stamp)


def _method(row: Row) -> str:
    return str(row.get("paymentMethod", "")).replace(" ", "").lower()


def _bare(draft: Draft) -> Draft:
    """The payment without what it has on its bills: a declined one has nothing there."""
    return Draft(draft.table, None, draft.row)


def _touches_money(draft: Draft) -> bool:
    before = draft.before or {}
    fixed = ("vendor.key", "paymentDate", "paymentMethod", "financialEntity.entityId", "txnCurrency.currency")
    return "details" in draft.lists or any(draft.row.get(name) != before.get(name) for name in fixed)
