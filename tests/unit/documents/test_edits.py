"""What may be changed of an invoice that waits, and what may not; and to what an edit applies."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from connect.documents.edits import changes_from, differences, digest_of, edited, form_from, form_of, payload_of, with_changes
from connect.documents.invoice import Invoice, InvoiceLine
from connect.errors import ConfigError, Poison
from connect.ledger import DocumentId

NO_OBJECTS = (None,) * 8


def invoice(**more):
    return Invoice(
        **{
            "id": DocumentId("DEMO", "100", "1", "8543"),
            "status": 4,
            "is_credit": False,
            "is_blocked": False,
            "supplier": "V1",
            "supplier_invoice_no": "INV-1",
            "voucher_no": None,
            "invoiced_on": date(2026, 3, 1),
            "due_on": date(2026, 3, 31),
            "posted_on": date(2026, 3, 2),
            "paid_on": None,
            "currency": "USD",
            "amount": Decimal("125.00"),
            "pay_reference": "OCR 1",
            "note": "Rent",
            "lines": (
                InvoiceLine(number=0, type=0, account="2440", amount=Decimal("-125.00")),
                InvoiceLine(number=1, type=1, account="6999", amount=Decimal("100.00"), objects=("11", *NO_OBJECTS[1:])),
                InvoiceLine(number=2, type=2, account="2640", amount=Decimal("25.00")),
            ),
            **more,
        }
    )


def test_the_form_has_the_coded_lines_only_and_comes_back_from_a_letter():
    form = form_of(invoice())
    assert [line.account for line in form.lines] == ["6999", "2640"]
    assert form_from(payload_of(invoice())) == form
    with pytest.raises(Poison):
        form_from(b"{}")


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("lines[0].account", "6541", "lines[0].account: '6999' -> '6541'"),
        ("lines[1].account", "2641", "lines[1].account: '2640' -> '2641'"),
        ("lines[0].vat_code", "25", "lines[0].vat_code: (empty) -> '25'"),
        ("lines[0].note", "March", "lines[0].note: (empty) -> 'March'"),
        ("lines[0].objects[0]", "12", "lines[0].objects[0]: '11' -> '12'"),
        ("lines[0].objects[0]", "", "lines[0].objects[0]: '11' -> (empty)"),
        ("lines[0].objects[7]", "x", "lines[0].objects[7]: (empty) -> 'x'"),
        ("posted_on", "2026-04-01", "posted_on: '2026-03-02' -> '2026-04-01'"),
        ("invoiced_on", "", "invoiced_on: '2026-03-01' -> (empty)"),
        ("note", "Office = rent", "note: 'Rent' -> 'Office = rent'"),
    ],
)
def test_coding_dates_and_texts_can_be_changed(path, value, text):
    after, found = edited(form_of(invoice()), changes_from([f"{path}={value}"]))
    assert [one.text for one in found] == [text]
    assert after.amount == Decimal("125.00")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("supplier=V2", "approved in Prime"),
        ("amount=1.00", "approved in Prime"),
        ("currency=SEK", "approved in Prime"),
        ("pay_reference=X", "approved in Prime"),
        ("lines[0].amount=1.00", "approved in Prime"),
        ("lines[0].vat_amount=1.00", "approved in Prime"),
        ("lines[0].type=0", "approved in Prime"),
        ("bank_account=SE1", "approved in Prime"),
        ("colour=red", "what can be changed"),
        ("lines[0].colour=red", "what can be changed"),
        ("lines[2].account=1", "lines[0] to lines[1]"),
        ("lines[0].objects[8]=1", "object types 1 to 8"),
        ("lines[0].account=", "cannot be empty"),
        ("due_on=", "cannot be empty"),
        ("due_on=31.3.2026", "is no date"),
        ("due_on", "expected PATH=VALUE"),
        ("note=a\x00b", "cannot be sent"),
        (f"lines[0].account={'1' * 101}", "at most 100"),
    ],
)
def test_what_was_approved_and_what_does_not_fit_is_refused_in_words(text, words):
    with pytest.raises(ConfigError) as caught:
        edited(form_of(invoice()), changes_from([text]))
    assert words in caught.value.message


def test_an_edit_is_laid_over_what_prime_lists_as_long_as_that_is_what_was_edited():
    changes = {"lines[0].account": "6541", "note": None}
    found = with_changes(invoice(), digest_of(invoice()), changes)
    assert [line.account for line in found.lines] == ["2440", "6541", "2640"]
    assert found.note is None
    assert msgspec.structs.replace(found, lines=invoice().lines, note="Rent") == invoice()
    changed_in_prime = invoice(due_on=date(2026, 4, 30))
    assert with_changes(changed_in_prime, digest_of(invoice()), changes) is None


def test_lines_that_are_never_sent_do_not_end_an_edit():
    other = invoice(lines=invoice().lines[1:])
    assert digest_of(other) == digest_of(invoice())
    assert [line.account for line in with_changes(other, digest_of(invoice()), {"lines[0].account": "1"}).lines] == ["1", "2640"]


def test_nothing_changed_is_no_difference():
    assert differences(form_of(invoice()), form_of(invoice())) == []
    assert edited(form_of(invoice()), {"note": "Rent"})[1] == []
