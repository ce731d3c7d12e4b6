"""Published invoices through the whole pipeline: each is booked once with every field right, or refused for every reason.

What must stand in Sage is written here from the guide's tables Invoice and Invoice Lines and prime.md 2.8; no mapping is called. The
invoices, suppliers, accounts and dimension values are real ones; which of them Sage does not take any more is ours, by their place.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter, defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from world import Connect, Sandbox, config_text

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
pytestmark = [
    pytest.mark.skipif(not (REAL / "invoices.jsonl").is_file(), reason="the real-world data are not on this machine"),
    pytest.mark.timeout(600),
]

BILL = "accounts-payable/bill"
OBJECTS = {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "CLASS": 4}
KINDS = {  # dimension -> its name on a bill's line, what people call it, its object in Sage, the file
    "DEPARTMENT": ("department", "Department", "company-config/department", "departments"),
    "LOCATION": ("location", "Location", "company-config/location", "locations"),
    "PROJECT": ("project", "Project", "projects/project", "projects"),
    "CLASS": ("class", "Class", "company-config/class", "classes"),
}
VAT_ACCOUNTS = ("2641", "2642")  # the second requires a department
WITHOUT_RATE, NOT_ENABLED = {"JPY", "COP"}, {"MYR"}
LINK = "https://prime.example.com/ShowInvoice.aspx?invoiceseries=R&invoiceno="
SMALL = 20_000  # bytes of a file that any invoice may have
NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,10})?")
CENT = Decimal("0.01")
START_ON = "1990-01-01"
AGAIN = 12  # invoices that are sent once more under another number in Prime


def rows(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (REAL / name).read_bytes().splitlines()]


def figure(text: Any) -> Decimal:
    return Decimal(text) if text is not None and NUMBER.fullmatch(str(text).strip()) else Decimal(0)


def day(text: Any, default: str) -> str:
    try:
        return date.fromisoformat(str(text)).isoformat()
    except ValueError:
        return default


def keyed(name: str, key: str, most: int) -> list[dict[str, Any]]:
    """Records by a key that is unique in Sage and keeps its blanks within."""
    found: dict[str, dict[str, Any]] = {}
    for record in rows(f"{name}.jsonl"):
        value = record.get(key)
        if value and value == value.strip() and value.isprintable():
            found.setdefault(value, record)
    return list(found.values())[:most]


class World:
    """Real records as Sage and Prime have them."""

    def __init__(self, vat_lines: str) -> None:
        self.vat_lines = vat_lines
        self.sage: dict[str, list[dict[str, Any]]] = {"company-config/folder": [{"id": "Receipts"}]}
        self.values: dict[str, dict[str, str]] = {}  # dimension -> value -> status
        for name, (_, _, source, file) in KINDS.items():
            records = keyed(file, "key", 300)
            statuses = [("active", "active", "active", "inactive")[n % 4] for n in range(len(records))]
            self.values[name] = {record["key"]: status for record, status in zip(records, statuses, strict=True)}
            self.sage[source] = [
                {"id": record["key"], "name": record["name"], "status": status} for record, status in zip(records, statuses, strict=True)
            ]
        self.accounts: dict[str, tuple[str, frozenset[str]]] = {}  # number -> status, required dimensions
        for n, record in enumerate(keyed("accounts", "number", 600)):
            required = {"project"} if n % 7 == 0 else {"class"} if n % 11 == 0 else set()
            self.accounts[record["number"]] = "inactive" if n % 17 == 0 else "active", frozenset(required)
        self.accounts |= {VAT_ACCOUNTS[0]: ("active", frozenset()), VAT_ACCOUNTS[1]: ("active", frozenset({"department"}))}
        self.sage["general-ledger/account"] = [
            {
                "id": number, "name": f"Account {number}", "status": status, "accountType": "incomeStatement",
                "requireDimensions": dict.fromkeys(required, True),
            }
            for number, (status, required) in self.accounts.items()
        ]  # fmt: skip
        self.active = [number for number, (status, _) in self.accounts.items() if status == "active" and number not in VAT_ACCOUNTS]
        self.good = {name: [value for value, status in values.items() if status == "active"] for name, values in self.values.items()}
        self.vendors: dict[str, str] = {}  # number -> what is wrong with it
        self.published = rows("invoices.jsonl")
        self.invoices = self._invoices()
        codes = sorted({line["VatCode"] for one in self.invoices for line in one["AccountCoding"] if line["VatCode"]})
        self.sage["tax/purchasing-tax-detail"] = [{"id": code, "taxPercent": float(figure(code))} for code in codes]
        self._currencies()

    def _currencies(self) -> None:
        codes = sorted({one["Currency"] for one in self.invoices} | {"USD"})
        self.sage["company-config/txn-currency"] = [{"id": code} for code in codes if code not in NOT_ENABLED]
        rated = [code for code in codes if code not in {"USD", *WITHOUT_RATE}]
        self.sage["company-config/exchange-rate"] = [
            {"key": str(70 + n), "fromCurrency": code, "toCurrency": "USD"} for n, code in enumerate(rated)
        ]
        self.sage["company-config/exchange-rate-line"] = [
            {"key": str(500 + n), "exchangeRate": {"key": str(70 + n)}, "effectiveStartDate": "1990-01-01", "rate": 1.25}
            for n, _ in enumerate(rated)
        ]

    def _vendor(self, at: int, record: dict[str, Any], seen: Counter[tuple[str, str]], known: dict[str, str]) -> str:
        """One a supplier; further ones for what the corpora publish several times of it under one number."""
        name = str(record["supplier"].get("name") or record["supplier"].get("legal_name") or "(no name)").strip()
        copy = seen[name, str(record.get("number"))]
        seen[name, str(record.get("number"))] += 1
        who = f"{name}\n{copy}"
        if who not in known:
            known[who] = f"V{len(known) + 1:04d}"
            trouble = {"status": "inactive"} if at % 40 == 13 else {"isOnHold": True} if at % 40 == 19 else {}
            self.vendors[known[who]] = next(iter(trouble), "")
            self.sage.setdefault("accounts-payable/vendor", []).append({"id": known[who], "name": name[:100]} | trouble)
        return known[who]

    def _invoices(self) -> list[dict[str, Any]]:
        seen: Counter[tuple[str, str]] = Counter()
        known: dict[str, str] = {}
        found = []
        for at, record in enumerate(self.published, 1):
            totals, dated = record.get("totals") or {}, day(record.get("issue_date"), "2024-05-02")
            found.append(
                {
                    "InvoiceSeries": "R",
                    "InvoiceNo": at,
                    "Company": "100",
                    "Credit": "1" if record["type"] == "credit_note" else "0",
                    "Status": 4,
                    "Blocked": "1" if at % 19 == 0 else "0",
                    "Supplier": self._vendor(at, record, seen, known),
                    "SupplierInvoiceNo": record.get("number") or f"NONE-{at}",
                    "InvoiceDate": dated,
                    "DueDate": day(record.get("due_date"), dated),
                    "AccountCodingDate": dated,
                    "PaymentDate": day(record.get("due_date"), dated) if at % 3 == 0 else None,
                    "Currency": record.get("currency") or "USD",
                    "Amount": f"{figure(totals.get('gross') or totals.get('payable')):f}",
                    "PayReference": record.get("payment_reference"),
                    "Note": record.get("note"),
                    "AccountCoding": self._coding(at, record),
                }
            )
        return found

    def _coding(self, at: int, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Expense lines from its lines, charges and allowances; a VAT line for each rate; the trade creditors' line."""
        lines = [
            (figure(one.get("net_amount")), one.get("description") or one.get("item_name"), one.get("vat_rate") or "0")
            for one in record.get("lines") or []
            if not one.get("parent_line_no")
        ]
        for one in record.get("allowances_charges") or []:
            sign = 1 if one["charge"] else -1
            lines.append((sign * figure(one.get("amount")), one.get("reason"), one.get("vat_rate") or "0"))
        coded = [
            {"Type": 1, "Amount": f"{amount:f}", "Note": note, "VatCode": code, "InvoiceAccountCodingLineNo": n} | self._code(at, n)
            for n, (amount, note, code) in enumerate(lines, 1)
        ]
        for one in record.get("vat_breakdown") or []:
            account = VAT_ACCOUNTS[at % 2]
            n = len(coded) + 1
            amount = f"{figure(one.get('tax')):f}"
            coded.append(
                {"Type": 2, "Amount": amount, "Account": account, "VatCode": one.get("rate") or "0", "InvoiceAccountCodingLineNo": n}
            )
        whole = sum((Decimal(one["Amount"]) for one in coded), Decimal(0))
        return [{"Type": 0, "Account": "2440", "Amount": f"{-whole:f}", "VatCode": "0", "InvoiceAccountCodingLineNo": 0}, *coded]

    def _code(self, at: int, n: int) -> dict[str, Any]:
        """Account and dimension values of a line; now and then the first line names something that Sage does not take."""
        spread = 31 * at + n
        account, good = self.active[spread % len(self.active)], self.good
        required = self.accounts[account][1]
        coded: dict[str, Any] = {
            "Account": account,
            "Object1": good["DEPARTMENT"][spread % len(good["DEPARTMENT"])],
            "Object2": good["LOCATION"][spread % len(good["LOCATION"])],
            "Object3": good["PROJECT"][spread % len(good["PROJECT"])] if "project" in required or spread % 3 == 0 else None,
            "Object4": good["CLASS"][spread % len(good["CLASS"])] if "class" in required or spread % 5 == 0 else None,
        }
        if n > 1:
            return coded
        bad = {
            3: {"Object1": next(value for value, status in self.values["DEPARTMENT"].items() if status != "active")},
            7: {"Object2": "Nowhere", "Object4": "Nothing"},
            11: {"Account": next(number for number, (status, _) in self.accounts.items() if status != "active")},
            13: {"Account": "4711-4711"},
            17: {"Account": next(number for number, (_, needs) in self.accounts.items() if "project" in needs), "Object3": None},
        }
        return coded | bad.get(at % 40, {})

    # -- what must come of one

    def reasons(self, record: dict[str, Any], *, credits_refused: bool, taken_by: str | None) -> set[str]:
        """Why Sage does not take it, without the numbers of lines. `taken_by`: the bill that has its number."""
        amount, is_credit, currency = Decimal(record["Amount"]), record["Credit"] == "1", record["Currency"]
        coded = [one for one in record["AccountCoding"] if one["Type"] != 0]
        sent = [one for one in coded if one["Type"] == 1 or self.vat_lines == "line"]
        expenses = [one for one in coded if one["Type"] == 1]
        vendor = record["Supplier"]
        found = set()
        if taken_by:
            number = record["SupplierInvoiceNo"].strip()
            found.add(f"Bill number {number} of vendor {vendor} is already used in Sage (bill {taken_by} (posted))")
        if credits_refused and (is_credit or amount < 0):
            what = "This is a credit note" if is_credit else f"The total of the invoice is negative ({amount:.2f})"
            found.add(f"{what}; credits are not sent to Sage (setting CreditNotes). Book it in Sage by hand")
        if not sent:
            found.add("The invoice has no line that can be sent, and a bill needs one")
        elif amount != amount.quantize(CENT):
            found.add(f"The total of {amount.normalize():f} has more than two decimals, which Sage cannot book")
        else:
            found |= self._balance(record, coded if self.vat_lines == "line" else [*expenses, *self._taxes(coded, expenses)])
        if self.vendors[vendor] == "status":
            found.add(f"Supplier {vendor} is not active in Sage: choose another, or have it activated there")
        if self.vendors[vendor] == "isOnHold":
            found.add(f"Supplier {vendor} is on hold in Sage")
        if currency in NOT_ENABLED:
            found.add(f"Currency {currency} is not enabled in Sage")
        if currency in WITHOUT_RATE:
            found.add(f"Sage has no exchange rate from {currency} to USD for {record['AccountCodingDate'][:10]}")
        for one in sent:
            found |= self._line_reasons(one, expenses)
        return found

    @staticmethod
    def _taxes(coded: list[dict[str, Any]], expenses: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """VAT lines whose amount goes as tax entries: all of them, as long as there is a line to put them on."""
        return [one for one in coded if one["Type"] == 2] if expenses else []

    @staticmethod
    def _balance(record: dict[str, Any], sent: list[dict[str, Any]]) -> set[str]:
        whole = sum((Decimal(one["Amount"]) for one in sent), Decimal(0)).quantize(CENT, ROUND_HALF_UP)
        amount = Decimal(record["Amount"])
        if record["Credit"] == "1":
            amount, whole = -abs(amount), -whole if whole > 0 else whole
        if whole == amount:
            return set()
        left = f"{amount - whole:.2f} is missing" if amount > whole else f"{whole - amount:.2f} is too much"
        currency = record["Currency"]
        return {f"The lines add up to {whole:.2f} {currency} and the total is {amount:.2f} {currency}: {left}"}

    def _line_reasons(self, line: dict[str, Any], expenses: list[dict[str, Any]]) -> set[str]:
        account, found = line["Account"], set()
        status, required = self.accounts.get(account, ("", frozenset()))
        if not status:
            found.add(f"Account {account} is not in Sage")
        elif status != "active":
            found.add(f"Account {account} is not active in Sage")
        carried = self.dimensions(line, expenses)
        for name, (field, label, _, _) in KINDS.items():
            value = line.get(f"Object{OBJECTS[name]}")
            if value is not None and value not in self.values[name]:
                found.add(f"{label} {value} is not in Sage")
            elif value is not None and self.values[name][value] != "active":
                found.add(f"{label} {value} takes no postings in Sage ({self.values[name][value]})")
            if (field in required or field == "location") and field not in carried:
                whose = f"Account {account}" if field in required else "Sage"
                more = ", and no expense line lends one" if line["Type"] == 2 else ""
                found.add(f"{label} is missing: {whose} requires it{more}")
        return found

    def dimensions(self, line: dict[str, Any], expenses: list[dict[str, Any]]) -> dict[str, str]:
        """The values on its line in Sage. A VAT line borrows what its account requires, and the location, of the largest expense line."""
        own = {KINDS[name][0]: value for name, n in OBJECTS.items() if (value := line.get(f"Object{n}")) is not None}
        if line["Type"] == 1 or not expenses:
            return own
        largest = max(expenses, key=lambda one: abs(Decimal(one["Amount"])))
        wanted = {"location", *self.accounts[line["Account"]][1]}
        return {field: value for field, value in self.dimensions(largest, expenses).items() if field in wanted} | own


def marker(record: dict[str, Any]) -> str:
    identity = "\n".join(("DEMO", "100", "R", str(record["InvoiceNo"])))
    return "RP-" + base64.b32encode(hashlib.sha256(identity.encode()).digest()[:10]).decode()


def wire(text: str | None) -> str:
    """A text after XML: its line ends are line feeds; what it cannot carry is replaced."""
    known = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", text or "")
    return known.replace("\r\n", "\n").replace("\r", "\n").strip()


def description(record: dict[str, Any]) -> str:
    """Note, link, marker: at most 1,000 characters, with room for the longest marker (23). The note is cut, nothing else."""
    note, link = wire(record["Note"]), f"{LINK}{record['InvoiceNo']}"
    room = 1000 - 23 - 1 - len(link) - 1
    cut = note if len(note) <= room else note[: room - 1].rstrip() + "…"
    return " ".join(part for part in (cut, link, marker(record)) if part)


def check_bill(bill: dict[str, Any], record: dict[str, Any], world: World) -> None:
    """Field by field what the guide's tables say."""
    amount = Decimal(record["Amount"])
    sign = -1 if record["Credit"] == "1" and sum(Decimal(one["Amount"]) for one in record["AccountCoding"] if one["Type"]) > 0 else 1
    expected = {
        "billNumber": record["SupplierInvoiceNo"].strip(),
        "vendor": record["Supplier"],
        "referenceNumber": wire(record["PayReference"]) or None,
        "description": description(record),
        "createdDate": record["InvoiceDate"],
        "postingDate": record["AccountCodingDate"],
        "dueDate": record["DueDate"],
        "recommendedPaymentDate": record["PaymentDate"],
        "paymentPriority": "normal",
        "isOnHold": record["Blocked"] == "1",
        "isTaxInclusive": False,
        "currency": ("USD", record["Currency"]),
        "total": -abs(amount) if record["Credit"] == "1" else amount,
        "state": "posted",
    }
    found = {
        "vendor": bill["vendor"]["id"],
        "currency": (bill["currency"]["baseCurrency"], bill["currency"]["txnCurrency"]),
        "total": Decimal(bill["totalTxnAmount"]),
        **{name: bill.get(name) for name in expected if name not in ("vendor", "currency", "total")},
    }
    assert found == expected, record["InvoiceNo"]
    check_lines(bill["lines"], record, sign, world)


def check_lines(lines: list[dict[str, Any]], record: dict[str, Any], sign: int, world: World) -> None:
    coded = [one for one in record["AccountCoding"] if one["Type"] != 0]
    expenses = [one for one in coded if one["Type"] == 1]
    sent = coded if world.vat_lines == "line" else expenses
    assert len(lines) == len(sent)
    for line, one in zip(lines, sent, strict=True):
        memo = wire(one.get("Note"))
        assert line["glAccount"]["id"] == one["Account"]
        assert (line.get("memo") or "") == (memo if len(memo) <= 1000 else memo[:999].rstrip() + "…")
        values = {name: value["id"] for name, value in line["dimensions"].items() if value and value.get("id")}
        assert values == world.dimensions(one, expenses), record["InvoiceNo"]
        assert abs(Decimal(line["txnAmount"]) - sign * Decimal(one["Amount"])) < CENT, record["InvoiceNo"]
        exact = Decimal(one["Amount"]) == Decimal(one["Amount"]).quantize(CENT)
        assert not (exact and all_exact(sent)) or Decimal(line["txnAmount"]) == sign * Decimal(one["Amount"])
        assert Decimal(line["totalTxnAmount"]) == Decimal(line["txnAmount"]) + sum(taxes_of(line).values(), Decimal(0))
    total = sum((Decimal(line["totalTxnAmount"]) for line in lines), Decimal(0))
    amount = Decimal(record["Amount"])
    assert total == (-abs(amount) if record["Credit"] == "1" else amount), record["InvoiceNo"]
    if world.vat_lines == "taxEntry":
        check_taxes(lines, record, sign, expenses)


def all_exact(lines: list[dict[str, Any]]) -> bool:
    return all(Decimal(one["Amount"]) == Decimal(one["Amount"]).quantize(CENT) for one in lines)


def taxes_of(line: dict[str, Any]) -> dict[str, Decimal]:
    return {
        entry["purchasingTaxDetail"]["id"]: Decimal(entry["txnTaxAmount"])
        for entry in line.get("taxEntries") or []
        if entry["txnTaxAmount"]
    }


def check_taxes(lines: list[dict[str, Any]], record: dict[str, Any], sign: int, expenses: list[dict[str, Any]]) -> None:
    """The VAT of a code stands on the lines with that code (on all, when none has it)."""
    wanted: defaultdict[str, Decimal] = defaultdict(Decimal)
    for one in record["AccountCoding"]:
        if one["Type"] == 2:
            wanted[one["VatCode"]] += sign * Decimal(one["Amount"])
    booked: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line, one in zip(lines, expenses, strict=True):
        for code, amount in taxes_of(line).items():
            booked[code] += amount
            assert one["VatCode"] == code or code not in {other["VatCode"] for other in expenses}, record["InvoiceNo"]
    if all_exact([one for one in record["AccountCoding"] if one["Type"] == 2]):
        assert dict(booked) == dict(wanted), record["InvoiceNo"]


def said(message: str) -> set[str]:
    """The reasons in a text, without the numbers of lines."""
    return {re.sub(r" \(also lines? [\d, ]+\)$", "", re.sub(r"^Line \d+: ", "", part)) for part in message.split(" | ")}


def pictures(world: World, every: int) -> dict[int, list[tuple[str, bytes]]]:
    """The published files of the invoices; every n-th other one has a file too, a different one each."""
    index = [one for one in rows("pdf/index.jsonl") if (REAL / "pdf" / one["file"]).is_file()]
    ids = {record["id"]: at for at, record in enumerate(world.published, 1)}
    files = [(one["file"], (REAL / "pdf" / one["file"]).read_bytes()) for one in index]
    found: dict[int, list[tuple[str, bytes]]] = {}
    for one, file in zip(index, files, strict=True):
        if (at := ids.get(one.get("invoice_id"))) is not None:
            found.setdefault(at, []).append(file)
    light = files if every == 1 else [file for file in files if len(file[1]) <= SMALL] or [("small.pdf", b"%PDF-1.4\n" * 9)]
    for at in range(1, len(world.published) + 1):
        if at not in found and at % every == 0:
            name, content = light[at // every % len(light)]
            found[at] = [(name, content + b"\n% " + str(at).encode())]
    return found


def load(box: Sandbox, world: World, images: dict[int, list[tuple[str, bytes]]]) -> None:
    for name, records in world.sage.items():
        box.load(name, records)
    put(box, "Invoice", world.invoices)
    put(
        box,
        "Image",
        [
            {"InvoiceSeries": "R", "InvoiceNo": at, "FileName": name, "FileType": "PDF", "Image": base64.b64encode(content).decode()}
            for at, files in images.items()
            for name, content in files
        ],
    )


def put(box: Sandbox, kind: str, records: list[dict[str, Any]]) -> None:
    for start in range(0, len(records), 100):
        answer = box.call("/_sandbox/prime/load", {"kind": kind, "records": records[start : start + 100]})
        assert not answer["errors"], answer["errors"][:3]


def check_files(box: Sandbox, bills: dict[int, dict[str, Any]], images: dict[int, list[tuple[str, bytes]]]) -> int:
    """Each bill has exactly its invoice's files, to the byte. Returns how many."""
    attachments = {one["id"]: one for one in box.sage_records("company-config/attachment")}
    compared = 0
    for at, bill in bills.items():
        wanted = images.get(at, [])
        if not wanted:
            assert not (bill.get("attachment") or {}).get("id"), at
            continue
        found = attachments.pop(bill["attachment"]["id"])
        assert [base64.b64decode(file["data"]) for file in found["files"]] == [content for _, content in wanted], at
        compared += len(wanted)
    assert attachments == {}, "files without a bill"
    return compared


CASES = [
    pytest.param("line", "NegativeBill", 16, id="VAT lines, credits booked"),
    pytest.param("taxEntry", "refuse", 1, id="tax entries, credits refused, a file each", marks=pytest.mark.faults),
]


@pytest.mark.parametrize(("vat_lines", "credit_notes", "every"), CASES)
def test_each_real_invoice_is_booked_once_as_the_guide_says_or_refused_for_every_reason(
    vat_lines: str, credit_notes: str, every: int, tmp_path: Path
) -> None:
    world = World(vat_lines)
    images = pictures(world, every)
    general = (
        f'StartOn = {START_ON}\nShowInvoiceBaseURL = "https://prime.example.com"\nBillNumberSource = "SupplierInvoiceNo"\n'
        f'BillDateSource = "InvoiceDate"\nReturnErrors = "all"\nVatLines = "{vat_lines}"\nCreditNotes = "{credit_notes}"'
    )
    with Sandbox("--empty") as box:
        load(box, world, images)
        text = config_text(box, jobs=("ExportInvoices",), general=general, objects=OBJECTS)
        connect = Connect(tmp_path, text.replace("sage_slots", "settle_s = 0.5\nsage_slots", 1))
        connect.sync(expect=(3,))
        assert_ended(box, connect, world, images, {}, credits_refused=credit_notes == "refuse")

        bills = {int(one["description"].rpartition("invoiceno=")[2].split()[0]): one["key"] for one in box.sage_records(BILL)}
        again = [dict(one) for one in world.invoices if one["InvoiceNo"] in bills][:AGAIN]
        taken = {10_000 + one["InvoiceNo"]: str(bills[one["InvoiceNo"]]) for one in again}
        for one in again:  # the same supplier's invoice number once more, coded on an account that Sage does not have
            one["InvoiceNo"] += 10_000
            one["AccountCoding"] = [dict(line) | ({"Account": "4711-4711"} if line["Type"] == 1 else {}) for line in one["AccountCoding"]]
        world.invoices += again
        put(box, "Invoice", again)
        connect.sync(expect=(3,))
        assert_ended(box, connect, world, images, taken, credits_refused=credit_notes == "refuse")


def check_refusal(message: str, receipt: dict[str, Any], why: set[str]) -> None:
    """The letter names every reason and no other; the receipt as many as Prime's text holds, and says how many are left."""
    assert said(message) == why
    assert receipt["QueueStatus"] == 2
    told = receipt["ErrorText"]
    named = sum(any(reason in part for part in told.split(" | ")) for reason in why)
    left = re.search(r"and (\d+) more$", told)
    assert named + (int(left[1]) if left else 0) == len(why) or (len(why) == 1 and told.endswith("…")), (told, why)


def assert_ended(
    box: Sandbox,
    connect: Connect,
    world: World,
    images: dict[int, list[tuple[str, bytes]]],
    taken: dict[int, str],
    *,
    credits_refused: bool,
) -> None:
    """Every invoice is booked once, told to Prime and right in each field; or refused, with every reason; or before StartOn."""
    bills: dict[int, dict[str, Any]] = {}
    for bill in box.sage_records(BILL):
        at = int(bill["description"].rpartition("invoiceno=")[2].split()[0])
        assert at not in bills, f"booked twice: {at}"
        bills[at] = bill
    receipts: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for one in box.call("/_sandbox/prime/records?kind=InvoiceReceipt&company=100")["records"]:
        receipts[int(one["InvoiceNo"])].append(one)
    letters = {}
    for offset in range(0, len(world.invoices), 500):
        for item in connect.json("dead-letters", "list", "--limit", "500", "--offset", str(offset))["items"]:
            letters[int(item["number"].rpartition("-")[2])] = item
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    for record in world.invoices:
        at = int(record["InvoiceNo"])
        if record["AccountCodingDate"] < START_ON:
            assert (at in bills, at in receipts, at in letters) == (False, False, False)
            ended["too old to be touched"] += 1
            continue
        why = world.reasons(record, credits_refused=credits_refused, taken_by=taken.get(at))
        try:
            (receipt,) = receipts[at]
            if why:
                assert at not in bills
                check_refusal(letters[at]["error"]["message"], receipt, why)
            else:
                assert at not in letters, letters[at]["error"]["message"]
                assert (receipt["QueueStatus"], str(receipt["VoucherNo"])) == (1, str(bills[at]["key"]))
                check_bill(bills[at], record, world)
        except (AssertionError, LookupError, ValueError) as error:
            wrong.append(f"invoice {at} ({world.published[(at - 1) % 10_000]['id']}): {error!r}")
        ended["refused" if why else "booked"] += 1
        ended["for several reasons"] += len(why) > 1
    assert not wrong, f"{len(wrong)} are wrong, among them:\n" + "\n".join(wrong[:8])
    assert ended["booked"] == len(bills)
    books = box.call("/_sandbox/books")
    assert (books["duplicates"], books["orphans"]) == ([], [])
    ended["files"] = check_files(box, bills, images)
    print(f"\n{dict(ended)}")
    assert ended["booked"] > 300
    assert ended["for several reasons"] > 10
