"""Which bill in Sage a booked invoice is, as Prime's record tells it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from connect.documents.booked import bill_key_in, read_booked
from connect.documents.invoice import InvoiceSettings
from connect.errors import Poison
from connect.ledger import DocumentId

SETTINGS = InvoiceSettings(
    company="100", entity="", objects={}, base_currency="USD", today=date(2026, 3, 1), show_invoice_base_url="https://prime.example.com"
)
RECORD = {
    "InvoiceSeries": "1", "InvoiceNo": "8543", "Company": "100", "Status": "2", "Supplier": "V1", "SupplierInvoiceNo": "INV-1",
    "Currency": "USD", "Amount": "125.00", "AccountCodingDate": "2026-03-02T00:00:00", "VoucherNo": "77", "ExternalId": "77",
    "ExternalSource": "SageIntacct",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"ExternalSource": "SageIntacct", "ExternalId": "77", "VoucherNo": "5"}, "77"),
        ({"ExternalSource": "SageIntacct", "VoucherNo": "5"}, "5"),
        ({"VoucherNo": "5"}, "5"),
        ({"ExternalSource": "Other ERP", "ExternalId": "77", "VoucherNo": "5"}, ""),
        ({"ExternalId": "77"}, ""),
        ({"VoucherNo": "0"}, ""),
        ({"VoucherNo": "A-5"}, ""),
        ({"VoucherNo": "٥"}, ""),
        ({}, ""),
    ],
)
def test_the_key_is_what_our_receipt_left_or_the_voucher_number(fields: dict[str, str], key: str) -> None:
    assert bill_key_in(fields) == key


def test_everything_that_tells_which_bill_is_meant() -> None:
    listed = read_booked(RECORD, SETTINGS, "DEMO")
    assert listed.id == DocumentId("DEMO", "100", "1", "8543")
    assert (listed.vendor, listed.number, listed.amount, listed.currency) == ("V1", "INV-1", Decimal("125.00"), "USD")
    assert (listed.status, listed.booked_on, listed.booked_as) == (2, date(2026, 3, 2), "77")
    assert listed.link == "https://prime.example.com/ShowInvoice.aspx?invoiceseries=1&invoiceno=8543"


def test_a_credit_is_a_negative_bill() -> None:
    assert read_booked(RECORD | {"Credit": "1"}, SETTINGS, "DEMO").amount == Decimal("-125.00")


@pytest.mark.parametrize("coding", [[{"Type": "9"}], [{"Type": "1", "Amount": "x"}], "nothing"])
def test_a_coding_that_cannot_be_booked_does_not_keep_an_invoice_from_being_cancelled(coding: Any) -> None:
    assert read_booked(RECORD | {"AccountCoding": coding}, SETTINGS, "DEMO").booked_as == "77"


@pytest.mark.parametrize("changes", [{"Amount": "much"}, {"Company": ""}, {"InvoiceNo": "x"}, {"AccountCodingDate": "soon"}])
def test_what_is_no_invoice_is_poison_that_names_the_field(changes: dict[str, str]) -> None:
    with pytest.raises(Poison, match=next(iter(changes))):
        read_booked(RECORD | changes, SETTINGS, "DEMO")
