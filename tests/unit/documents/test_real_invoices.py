"""Published invoices as Prime lists them: each becomes a bill of exactly its amount, or is refused with every reason. None silently other.

What the bill must be is computed here from the published figures, without the code under test.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from document_cases import everything, settings

from connect.documents.bill import bill_of, listed_of
from connect.documents.invoice import read_invoice
from connect.documents.preflight import needs, problems
from connect.errors import Permanent
from connect.ledger import markers_in

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "real"
pytestmark = pytest.mark.skipif(not (REAL / "invoices.jsonl").is_file(), reason=f"no invoices.jsonl in {REAL}")
NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,10})?")


def figure(text: Any) -> Decimal:
    return Decimal(text) if text is not None and NUMBER.fullmatch(str(text).strip()) else Decimal(0)


def day(text: Any) -> str:
    try:
        return date.fromisoformat(str(text)).isoformat()
    except ValueError:
        return ""


def coding(published: dict[str, Any]) -> list[dict[str, Any]]:
    """Expense lines from its lines, charges and allowances; a VAT line for each rate."""
    lines: list[tuple[str, Decimal, str, str]] = [
        ("1", figure(one.get("net_amount")), one.get("description") or one.get("item_name") or "", one.get("vat_rate") or "")
        for one in published.get("lines") or []
        if not one.get("parent_line_no")
    ]
    for one in published.get("allowances_charges") or []:
        sign = 1 if one["charge"] else -1
        lines.append(("1", sign * figure(one.get("amount")), one.get("reason") or "", one.get("vat_rate") or ""))
    lines += [("2", figure(one.get("tax")), "", one.get("rate") or "0") for one in published.get("vat_breakdown") or []]
    return [
        {
            "Type": kind,
            "Account": "2641" if kind == "2" else "6000",
            "Object1": "D1" if kind == "1" else None,
            "Object2": "L1" if kind == "1" else None,
            "Amount": f"{amount:f}",
            "VatCode": code or "0",
            "Note": note,
        }
        for kind, amount, note, code in lines
    ]


def listed(at: int, published: dict[str, Any]) -> dict[str, Any]:
    totals = published.get("totals") or {}
    return {
        "InvoiceSeries": "R",
        "InvoiceNo": str(at),
        "Company": "100",
        "Credit": "1" if published["type"] == "credit_note" else "0",
        "Status": "4",
        "Blocked": "0",
        "Supplier": f"V{at:05d}",
        "SupplierInvoiceNo": published.get("number") or "",
        "InvoiceDate": day(published.get("issue_date")),
        "DueDate": day(published.get("due_date")) or day(published.get("issue_date")),  # Prime wants one
        "AccountCodingDate": "2026-11-20T00:00:00",
        "Currency": published.get("currency") or "",
        "Amount": f"{figure(totals.get('gross') or totals.get('payable')):f}",
        "PayReference": published.get("payment_reference") or "",
        "Note": published.get("note") or "",
        "AccountCoding": coding(published),
    }


def expected(record: dict[str, Any], vat_lines: str, *, negative_bills: bool) -> set[str]:
    """The reasons there must be, from the record's figures."""
    amount, is_credit = Decimal(record["Amount"]), record["Credit"] == "1"
    sendable = [one for one in record["AccountCoding"] if one["Type"] == "1" or vat_lines == "line"]
    whole = sum((Decimal(one["Amount"]) for one in record["AccountCoding"]), Decimal(0))
    codes = {"missing"} if not all(record[name] for name in ("SupplierInvoiceNo", "DueDate", "Currency")) else set()
    if (is_credit or amount < 0) and not negative_bills:
        codes.add("credit_note")
    if not sendable:
        codes.add("no_lines")
    elif amount != round(amount, 2):
        codes.add("fraction_of_cent")
    elif abs(whole - amount if not is_credit else abs(whole) - abs(amount)) >= Decimal("0.005"):
        codes.add("unbalanced")
    if sendable and all(one["Type"] == "2" for one in sendable):
        codes.add("dimension_missing")
    return codes


@pytest.mark.parametrize("vat_lines", ["line", "taxEntry"])
@pytest.mark.parametrize("credit_notes", ["refuse", "NegativeBill"])
def test_each_real_invoice_is_a_bill_of_its_amount_or_is_refused_for_every_reason(vat_lines, credit_notes):
    chosen = settings(vat_lines=vat_lines, credit_notes=credit_notes)
    ended: Counter[str] = Counter()
    for at, raw in enumerate((REAL / "invoices.jsonl").read_bytes().splitlines(), 1):
        published = orjson.loads(raw)
        record = listed(at, published)
        found = read_invoice(record, "DEMO")
        told = problems(found, chosen, everything(needs(found, chosen), rates=None))
        codes = {problem.code for problem in told}
        assert codes == expected(record, vat_lines, negative_bills=credit_notes == "NegativeBill"), (published["id"], told)
        if told:
            ended.update(codes)
            with pytest.raises(Permanent) as error:
                bill_of(found, chosen, 0, attachment=True)
            assert all(problem.message in error.value.message for problem in told if problem.code != "dimension_missing")
            continue
        ended["booked"] += 1
        sent = orjson.loads(bill_of(found, chosen, 0, attachment=True))
        taxes = [tax for one in sent["lines"] for tax in one.get("taxEntries", ())]
        total = sum(Decimal(one["txnAmount"]) for one in sent["lines"]) + sum(Decimal(tax["txnTaxAmount"]) for tax in taxes)
        amount = abs(Decimal(record["Amount"]))
        assert total == listed_of(found, chosen).amount == (-amount if record["Credit"] == "1" else Decimal(record["Amount"]))
        assert sent["billNumber"] == record["SupplierInvoiceNo"].strip()
        assert sent.get("referenceNumber", "") == record["PayReference"].strip()
        assert (sent["dueDate"], sent["currency"]["txnCurrency"]) == (record["DueDate"], record["Currency"])
        assert markers_in(sent["description"]) == [found.id.marker()]
        assert len(sent["lines"]) == sum(one["Type"] == "1" or vat_lines == "line" for one in record["AccountCoding"])
    assert ended["booked"] > 500, ended
