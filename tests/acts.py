"""What may die (deaths.py): booking an invoice, making a payment, cancelling a booking; and what must have come of each in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import approved
import settled
from deaths import COUNTED, Here
from world import Sandbox

BILL, ATTACHMENT = "accounts-payable/bill", "company-config/attachment"
RETURN_ALL: Final = 'ReturnErrors = "all"'


@dataclass(frozen=True, kw_only=True)
class Invoices:
    """Approved invoices are booked, each with `images` files, or handed back."""

    images: int = 1
    limit_bytes: int = 1_000_000
    content: bytes = approved.PDF
    supplier: str = "V1"
    refused: bool = False
    job: str = "ExportInvoices"
    series: str = "1"
    kind: str = "bill"
    general: str = approved.GENERAL

    @property
    def more(self) -> str:
        return f"sage_body_limit_bytes = {self.limit_bytes}"

    def fill(self, box: Sandbox) -> None:
        approved.fill(box)

    def ask(self, here: Here, numbers: Sequence[int]) -> None:
        invoices = [approved.invoice(number, supplier=self.supplier) for number in numbers]
        approved.load(here.box, *invoices, images=self.images, content=self.content)

    def wrong(self, here: Here, numbers: Sequence[int]) -> list[str]:
        return booked_wrong(here.box, numbers, "2" if self.refused else "1", images=self.images)


@dataclass(frozen=True, kw_only=True)
class Payments:
    """Settled payments are made, each of a bill of its own, or refused. `receipt`: PayReceipt."""

    amount: str = "15.00"
    receipt: Literal["receipt", "eventLog"] = "receipt"
    refused: bool = False
    job: str = "ExportPayments"
    series: str = "PAY"
    kind: str = "payment"
    more: str = ""

    @property
    def general(self) -> str:
        return f'{settled.GENERAL}\nPayReceipt = "{self.receipt}"\n{RETURN_ALL if self.refused else ""}'

    def fill(self, box: Sandbox) -> None:
        settled.fill(box)

    def ask(self, here: Here, numbers: Sequence[int]) -> None:
        keys = here.box.load(BILL, [settled.bill(number, "15.00") for number in numbers])["keys"]
        found = [settled.payment(no, str(key), self.amount, name=str(no)) for no, key in zip(numbers, keys, strict=True)]
        settled.pay(here.box, *found)

    def wrong(self, here: Here, numbers: Sequence[int]) -> list[str]:
        """A payment too many or too few, a bill that is not paid with it, two kinds of receipt."""
        made = Counter(one["documentNumber"] for one in settled.booked(here.box))
        due = {one["billNumber"]: one["totalTxnAmountDue"] for one in here.box.sage_records(BILL)}
        told = self._told(here.box)
        found = []
        for number in numbers:
            if made.pop(f"R{number}", 0) != (0 if self.refused else 1):
                found.append(f"{number}: not {0 if self.refused else 1} payments")
            if due[f"INV-{number}"] != ("15.00" if self.refused else "0.00"):
                found.append(f"{number}: {due[f'INV-{number}']} of its bill is due")
            if told[str(number)] != {"2" if self.refused else "1"}:
                found.append(f"{number}: receipts {told[str(number)]}")
        return found + [f"a payment {one} that nobody asked for" for one in made]

    def _told(self, box: Sandbox) -> dict[str, set[str]]:
        """Which kinds of receipt there are for each payment, in whichever place they went to."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, receipts in settled.receipts(box).items():
            found[name] |= {str(one["QueueStatus"]) for one in receipts}
        if self.receipt == "receipt":
            return found
        assert not found, "receipts, and not in the event log"
        for one in box.prime_records("EventLog", company=""):
            if one["Message"].startswith("Payment R"):
                name = one["Message"].partition("(")[2].partition(")")[0]
                found[name].add("1" if "is booked in Sage as" in one["Message"] else "2")
        return found


@dataclass(frozen=True, kw_only=True)
class Cancellations:
    """Booked invoices are cancelled, or handed back; then Prime lists them for booking once more."""

    how: Literal["delete", "reverse"] = "delete"
    images: int = 1
    refused: bool = False
    job: str = "CancelInvoices"
    series: str = "1"
    kind: str = "bill"
    more: str = ""

    @property
    def general(self) -> str:
        return f'{approved.GENERAL}\nDeleteOrReverse = "{self.how}"\n{RETURN_ALL if self.refused else ""}'

    def fill(self, box: Sandbox) -> None:
        approved.fill(box)

    def ask(self, here: Here, numbers: Sequence[int]) -> None:
        """Books them, and a neighbour of the first that stays."""
        booked = [*numbers, self._neighbour(numbers)]
        here.box.call("/_sandbox/settings", {"sage": {"closed_until": None}})  # those asked for before have closed it
        approved.load(here.box, *(approved.invoice(number) for number in booked), images=self.images)
        assert set(here.work(self, booked, job="ExportInvoices").values()) == {"booked"}
        here.settle()  # so that it is the cancelling that dies, not the waiting for it
        if self.refused:
            here.box.call("/_sandbox/settings", {"sage": {"closed_until": "2099-12-31"}})
        approved.load(here.box, *({"InvoiceSeries": "1", "InvoiceNo": number, "Status": 2} for number in numbers), images=0)

    def wrong(self, here: Here, numbers: Sequence[int]) -> list[str]:
        """A bill that stayed or one too many that went, files without their bill, two kinds of receipt; no trace of it in the journal."""
        found = self._wrong_bills(here.box, numbers)
        told = self._told(here.box)
        kind, left = ("2", "receipted") if self.refused else ("1", "cancelled")
        journal = here.states(self.kind)
        lost = {""} if here.variant.flush else set()  # what was over before Redis was emptied
        for number in numbers:
            if told[number] != {kind}:
                found.append(f"{number}: receipts {told[number]}")
            state = journal.get(here.document(self.series, number).marker(), "")
            if state not in {left} | lost:
                found.append(f"{number}: {state or 'nothing'} in the journal")
        return found if self.refused else found + self._wrong_again(here, numbers)

    def _wrong_bills(self, box: Sandbox, numbers: Sequence[int]) -> list[str]:
        expected: Counter[tuple[str, str]] = Counter()
        if self.refused:
            expected.update((f"INV-{number}", "posted") for number in numbers)
        elif self.how == "reverse":
            expected.update((f"Reversed - INV-{number}", "reversed") for number in numbers)
        expected.update((f"INV-{self._neighbour(some)}", "posted") for some in (numbers, numbers[len(COUNTED) :]))
        bills = box.call("/_sandbox/books")["bills"]
        there = Counter((bill["billNumber"], bill["state"]) for bill in bills)
        found = [f"bill {number}, {state}, is there {n} times" for (number, state), n in (there - expected).items()]
        found += [f"bill {number}, {state}, is not there" for number, state in expected - there]
        return found + files_wrong(box, self.images)

    def _told(self, box: Sandbox) -> dict[int, set[str]]:
        """Which kinds of receipt there are for each cancellation."""
        found: dict[int, set[str]] = defaultdict(set)
        for one in box.prime_records("InvoiceReceipt"):
            if str(one["Status"]) == "2":
                found[int(one["InvoiceNo"])].add(str(one["QueueStatus"]))
        return found

    def _wrong_again(self, here: Here, numbers: Sequence[int]) -> list[str]:
        """Booked anew, each once: a cancellation that was over does not come back, and the first booking is not taken for the second."""
        approved.load(here.box, *(approved.invoice(number) for number in numbers), images=0)
        ended = here.work(self, numbers, job="ExportInvoices")
        found = [f"{number}: booked anew: {state}" for number, state in ended.items() if state != "booked"]
        return found + booked_wrong(here.box, numbers, "1", images=self.images)

    @staticmethod
    def _neighbour(numbers: Sequence[int]) -> int:
        return numbers[0] + 5000


def booked_wrong(box: Sandbox, numbers: Iterable[int], kind: str, *, images: int = 1) -> list[str]:
    """What should not be: a bill too many or too few, two kinds of receipt, an attachment without its bill, a bill without its files."""
    books, told = box.call("/_sandbox/books"), approved.receipts(box)
    bills = Counter(bill["billNumber"] for bill in books["bills"])
    found = [f"duplicate {one}" for one in books["duplicates"]]
    for number in numbers:
        if bills[f"INV-{number}"] != (1 if kind == "1" else 0):
            found.append(f"{number}: {bills[f'INV-{number}']} bills")
        if set(told.get(number, [])) != {kind}:
            found.append(f"{number}: receipts {told.get(number)}")
    return found + files_wrong(box, images)


def files_wrong(box: Sandbox, images: int) -> list[str]:
    """Attachments without a bill, and bills that have not so many files."""
    books = box.call("/_sandbox/books")
    files = {one["id"]: len(one["files"]) for one in box.sage_records(ATTACHMENT)}
    return [f"orphan {one['id']}" for one in books["orphans"]] + [
        f"bill {bill['billNumber']} has {files.get(bill['attachment'] or '', 0)} files of {images}"
        for bill in books["bills"]
        if images and files.get(bill["attachment"] or "", 0) != images
    ]
