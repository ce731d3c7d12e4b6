"""An invoice is read field by field, and becomes exactly the bill that the guide's tables say."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal

import msgspec
import orjson
import pytest
from document_cases import invoice, line, record, settings
from hypothesis import given
from hypothesis import strategies as st

from connect.config import GeneralSettings
from connect.config.names import DIMENSIONS as CONFIGURED
from connect.documents.bill import DESCRIPTION_MOST, bill_of, flaws, in_cents, listed_of, notes_of, request_of
from connect.documents.invoice import DIMENSIONS, InvoiceSettings, dimension_of, link_of, number_of, read_invoice
from connect.errors import Permanent, Poison
from connect.ledger import DocumentId, markers_in
from connect.registers.accounts import REQUIRES
from connect.registers.dimensions import KINDS, kind_of
from connect.sandbox.prime.invoices import Invoices
from connect.sandbox.prime.tables import ACCOUNT_CODING, INVOICE

MARKER = DocumentId("DEMO", "100", "1", "1001").marker()
LINK = "https://prime.example/acme/ShowInvoice.aspx?invoiceseries=1&invoiceno=1001"


def body(found, chosen=None, revision=0, *, attachment=True, requires=None):
    return orjson.loads(bill_of(found, chosen or settings(), revision, attachment=attachment, requires=requires))


def amounts(found, chosen=None):
    return [one["txnAmount"] for one in body(found, chosen)["lines"]]


def total(sent):
    return sum(Decimal(one["txnAmount"]) + sum(Decimal(tax["txnTaxAmount"]) for tax in one.get("taxEntries", ())) for one in sent["lines"])


# -- the guide's tables


def test_every_field_of_the_guides_tables_is_on_the_bill_and_nothing_else():
    assert body(invoice()) == {
        "billNumber": "INV-77",
        "vendor": {"id": "V1"},
        "referenceNumber": "7350 0001",
        "description": f"Paper for the office {LINK} {MARKER}",
        "createdDate": "2026-11-25",
        "postingDate": "2026-11-20",
        "dueDate": "2026-12-01",
        "recommendedPaymentDate": "2026-11-28",
        "paymentPriority": "normal",
        "isOnHold": False,
        "isTaxInclusive": False,
        "currency": {"baseCurrency": "USD", "txnCurrency": "USD"},
        "attachment": {"id": MARKER},
        "lines": [
            {
                "glAccount": {"id": "6000"},
                "txnAmount": "100.00",
                "totalTxnAmount": "100.00",
                "memo": "Paper",
                "dimensions": {"department": {"id": "D1"}, "location": {"id": "L1"}},
            },
            {
                "glAccount": {"id": "2641"},
                "txnAmount": "25.00",
                "totalTxnAmount": "25.00",
                "dimensions": {"department": {"id": "D1"}, "location": {"id": "L1"}},
            },
        ],
    }


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"VoucherNo": "8543"}, {"billNumber": "8543"}),
        ({"VoucherNo": "0"}, {"billNumber": "INV-77"}),
        ({"Supplier": "V-9 & Co"}, {"vendor": {"id": "V-9 & Co"}}),
        ({"PayReference": ""}, {"referenceNumber": None}),
        ({"PayReference": "9" * 80}, {"referenceNumber": "9" * 80}),
        ({"Note": ""}, {"description": f"{LINK} {MARKER}"}),
        ({"AccountCodingDate": "2026-10-31T00:00:00"}, {"postingDate": "2026-10-31"}),
        ({"DueDate": "2027-01-15"}, {"dueDate": "2027-01-15"}),
        ({"PaymentDate": ""}, {"recommendedPaymentDate": None}),
        ({"PaymentDate": "0001-01-01T00:00:00"}, {"recommendedPaymentDate": None}),
        ({"Blocked": "1"}, {"isOnHold": True}),
        ({"Currency": "EUR"}, {"currency": {"baseCurrency": "USD", "txnCurrency": "EUR"}}),
    ],
)
def test_a_field_of_prime_lands_in_its_field_of_sage(wire, expected):
    sent = body(invoice(**wire))
    assert {name: sent.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"bill_date_source": "InvoiceDate"}, {"createdDate": "2026-11-01"}),
        ({"bill_date_source": "AccountCodingDate"}, {"createdDate": "2026-11-20"}),
        ({"bill_number_source": "SeriesNo"}, {"billNumber": "1-1001"}),
        ({"bill_number_source": "SupplierInvoiceNo"}, {"billNumber": "INV-77"}),
        ({"numbers": "key"}, {"vendor": {"key": "V1"}}),
        ({"base_currency": ""}, {"currency": {"txnCurrency": "USD"}}),
        ({"base_currency": "EUR"}, {"currency": {"baseCurrency": "EUR", "txnCurrency": "USD"}}),
        ({"show_invoice_base_url": ""}, {"description": f"Paper for the office {MARKER}"}),
    ],
)
def test_a_setting_changes_what_it_says(chosen, expected):
    sent = body(invoice(VoucherNo="8543") if "bill_number_source" in chosen else invoice(), settings(**chosen))
    assert {name: sent.get(name) for name in expected} == expected


def test_the_settings_of_a_company_are_taken_over():
    general = GeneralSettings.model_validate(
        {
            "ShowInvoiceBaseURL": "https://p.example/x/",
            "KeySource": "key",
            "BillNumberSource": "SeriesNo",
            "BillDateSource": "InvoiceDate",
            "VatLines": "taxEntry",
            "CreditNotes": "NegativeBill",
            "InvoiceImageExport": False,
            "SageAttachmentFolderId": "Bills",
        }
    )
    today = date(2026, 11, 25)
    made = InvoiceSettings.of(general, company="100", entity="E1", objects={"DEPARTMENT": 1}, base_currency="SEK", today=today)
    assert made == InvoiceSettings(
        company="100", entity="E1", objects={"DEPARTMENT": 1}, base_currency="SEK", today=today, numbers="key",
        show_invoice_base_url="https://p.example/x", bill_number_source="SeriesNo", bill_date_source="InvoiceDate", vat_lines="taxEntry",
        credit_notes="NegativeBill", invoice_image_export=False, attachment_folder="Bills",
    )  # fmt: skip


def test_all_dimensions_travel_under_sages_names():
    names = ["EMPLOYEE", "CUSTOMER", "ITEM", "COSTTYPE", "FIXEDASSET", "AFFILIATEENTITY", "LOCATION", "nsp::region"]
    objects = {name: n for n, name in enumerate(names, 1)}
    values = {f"Object{n}": f"v{n}" for n in range(1, 9)}
    sent = body(invoice(line(**values)), settings(objects=objects))
    assert sent["lines"][0]["dimensions"] == {
        "employee": {"id": "v1"},
        "customer": {"id": "v2"},
        "item": {"id": "v3"},
        "costType": {"id": "v4"},
        "asset": {"id": "v5"},
        "affiliateEntity": {"id": "v6"},
        "location": {"id": "v7"},
        "nsp::region": {"id": "v8"},
    }


def test_the_dimensions_are_those_that_the_registers_import():
    assert set(DIMENSIONS) == set(CONFIGURED)
    assert {name: dimension.field for name, dimension in DIMENSIONS.items()} == REQUIRES
    assert {name: dimension.object for name, dimension in DIMENSIONS.items()} == {name: kind.object for name, kind in KINDS.items()}
    assert dimension_of("nsp::region").object == kind_of("nsp::region").object


def test_a_number_that_our_own_receipt_put_there_is_not_the_bills_number():
    ours = {"VoucherNo": "4711", "ExternalId": "4711", "ExternalSource": "SageIntacct"}
    assert number_of(invoice(**ours), settings()) == "INV-77"
    assert number_of(invoice(**ours | {"ExternalSource": "Other"}), settings()) == "4711"


# -- reading


def test_an_invoice_has_the_identity_that_its_marker_is_made_of():
    found = invoice(InvoiceSeries="", InvoiceNo="0012")
    assert found.id == DocumentId("DEMO", "100", "", "12")
    assert (found.status, found.lines[0].number, found.lines[1].number) == (4, 1, 2)


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ({"InvoiceNo": ""}, "has no InvoiceNo"),
        ({"InvoiceNo": "12a"}, "InvoiceNo is '12a', expected a whole number"),
        ({"Company": None}, "invoice 1-1001 has no Company"),
        ({"Status": ""}, "has no Status"),
        ({"Amount": ""}, "has no Amount"),
        ({"Amount": "1,234.50"}, "Amount is '1,234.50', expected a number"),
        ({"Amount": "NaN"}, "Amount is 'NaN'"),
        ({"Amount": "1e9"}, "Amount is '1e9'"),
        ({"Amount": "1234567890123456"}, "Amount is '1234567890123456'"),
        ({"DueDate": "01/12/2026"}, "DueDate is '01/12/2026', expected a date"),
        ({"DueDate": "2026-02-30"}, "DueDate is '2026-02-30'"),
        ({"Blocked": "perhaps"}, "Blocked is 'perhaps', expected 0 or 1"),
        ({"Credit": "2"}, "Credit is '2'"),
        ({"Note": ["x"]}, "Note is"),
        ({"AccountCoding": "x"}, "AccountCoding is 'x', expected a list"),
        ({"AccountCoding": [line(Type="3")]}, "invoice 1-1001, coding line 1: Type is '3'"),
        ({"AccountCoding": [line(), line(Amount="ten")]}, "invoice 1-1001, coding line 2: Amount is 'ten'"),
    ],
)
def test_what_is_no_record_of_primes_is_poison_that_names_the_field(wire, words):
    with pytest.raises(Poison) as error:
        read_invoice(record() | wire, "DEMO")
    assert words in error.value.message


class Asked(dict):
    """A record that notes which fields were asked for."""

    def __init__(self, fields):
        super().__init__(fields)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def test_every_field_that_is_read_is_one_that_prime_has():
    coding = Asked(line())
    asked = Asked(record() | {"AccountCoding": [coding]})
    read_invoice(asked, "DEMO")
    assert asked.names - {"AccountCoding"} <= set(INVOICE.by_name)
    assert coding.names <= set(ACCOUNT_CODING.by_name)


def test_an_invoice_that_primes_sandbox_keeps_is_read_with_its_own_types():
    desk = Invoices()
    coded = [{"Account": "6000", "Amount": "100.00", "VatCode": "25", "Object2": "L1"}]
    desk.load({"AccountCoding": coded, "Blocked": "1"}, company="100", currency="SEK", supplier="V1", today=date(2026, 11, 25))
    (kept,) = desk.ready(4, company="100", companies=None, limit=None, mark_exported=False)
    found = read_invoice(kept, "DEMO")
    assert (found.id.text, found.amount, found.currency, found.is_blocked) == ("1-1001", Decimal("100.00"), "SEK", True)
    assert (found.due_on, found.lines[0].objects[1], found.lines[0].type) == (date(2026, 12, 25), "L1", 1)


def test_dates_come_with_and_without_time_and_zone():
    for text in ("2026-12-01", "2026-12-01T00:00:00", "2026-12-01T00:00:00.000", "2026-12-01T00:00:00Z", "2026-12-01T00:00:00+01:00"):
        assert invoice(DueDate=text).due_on == date(2026, 12, 1)


def test_lines_have_primes_numbers_or_count_without_the_creditors_line():
    found = invoice(line("-125.00", "0"), line(), line("25.00", "2"))
    assert [one.number for one in found.lines if one.type] == [1, 2]
    assert [one.number for one in invoice(line(InvoiceAccountCodingLineNo="30"), line()).lines] == [30, 2]


# -- lines and VAT


def test_the_creditors_line_is_never_sent():
    assert amounts(invoice(line("-125.00", "0"), line(), line("25.00", "2"), Amount="125.00")) == ["100.00", "25.00"]


def test_a_vat_line_takes_location_and_what_its_account_requires_of_the_largest_expense_line():
    found = invoice(
        line("10.00", Object1="D1", Object2="L1", Object3="P1"),
        line("90.00", Object1="D2", Object2="L2", Object3="P2"),
        line("20.00", "2", Object1="", Object2="", Object3=""),
    )
    known = body(found, requires=lambda account: frozenset({"project"} if account == "2641" else ()))["lines"][2]["dimensions"]
    assert known == {"location": {"id": "L2"}, "project": {"id": "P2"}}
    unknown = body(found)["lines"][2]["dimensions"]
    assert unknown == {"department": {"id": "D2"}, "location": {"id": "L2"}, "project": {"id": "P2"}}


def test_the_largest_line_of_a_credit_is_the_most_negative_one():
    found = invoice(line("10.00", Object2="L1"), line("90.00", Object2="L2"), line("20.00", "2"), Credit="1")
    assert body(found, settings(credit_notes="NegativeBill"))["lines"][2]["dimensions"]["location"] == {"id": "L2"}


def test_a_vat_line_keeps_the_dimensions_that_it_has():
    found = invoice(line(), line("25.00", "2", Object2="L9"))
    assert body(found)["lines"][1]["dimensions"]["location"] == {"id": "L9"}


def test_vat_as_tax_entries_goes_to_the_lines_with_its_code():
    found = invoice(
        line("100.00", VatCode="25"), line("50.00", VatCode="12"), line("300.00", VatCode="25"),
        line("100.01", "2", VatCode="25"), line("6.00", "2", VatCode="12"),
    )  # fmt: skip
    lines = body(found, settings(vat_lines="taxEntry"))["lines"]
    assert [one["taxEntries"] for one in lines] == [
        [{"purchasingTaxDetail": {"id": "25"}, "txnTaxAmount": "25.00"}],
        [{"purchasingTaxDetail": {"id": "12"}, "txnTaxAmount": "6.00"}],
        [{"purchasingTaxDetail": {"id": "25"}, "txnTaxAmount": "75.01"}],
    ]
    assert [one["totalTxnAmount"] for one in lines] == ["125.00", "56.00", "375.01"]


def test_a_lines_own_vat_amount_is_used_when_these_add_up():
    lines = [line("100.00", LineVatAmount="30.00"), line("100.00", LineVatAmount="20.00"), line("50.00", "2")]
    sent = body(invoice(*lines), settings(vat_lines="taxEntry"))["lines"]
    assert [one["taxEntries"][0]["txnTaxAmount"] for one in sent] == ["30.00", "20.00"]
    lines[0]["LineVatAmount"] = "31.00"
    sent = body(invoice(*lines), settings(vat_lines="taxEntry"))["lines"]
    assert [one["taxEntries"][0]["txnTaxAmount"] for one in sent] == ["25.00", "25.00"]


def test_vat_that_is_not_sent_makes_a_refusal_unless_the_total_is_without_it():
    chosen = settings(vat_lines="none")
    (problem,) = flaws(invoice(), chosen)
    assert problem.text.startswith("The lines add up to 100.00 USD and the total is 125.00 USD: 25.00 is missing. It is VAT")
    assert problem.owner == "consultant"
    assert amounts(invoice(Amount="100.00"), chosen) == ["100.00"]


def test_a_bill_that_does_not_balance_to_the_cent_is_refused_with_the_figures():
    found = invoice(Amount="125.01")
    with pytest.raises(Permanent) as error:
        bill_of(found, settings(), 0, attachment=False)
    assert error.value.message == "The lines add up to 125.00 USD and the total is 125.01 USD: 0.01 is missing"
    assert flaws(invoice(Amount="124.00"), settings())[0].message.endswith("1.00 is too much")


def test_fractions_of_a_cent_on_lines_are_rounded_so_that_the_total_stays():
    found = invoice(line("0.335"), line("0.335"), line("10.00"), line("0.33"), Amount="11.00")
    assert amounts(found) == ["0.34", "0.33", "10.00", "0.33"]
    assert notes_of(found, settings()) == ("line 1: 0.335 is sent in whole cents", "line 2: 0.335 is sent in whole cents")


def test_a_total_with_fractions_of_a_cent_is_refused():
    assert [problem.code for problem in flaws(invoice(line("1.005")), settings())] == ["fraction_of_cent"]


# -- credit notes


def test_a_credit_note_is_refused_by_default_with_a_reason():
    (problem,) = flaws(invoice(Credit="1"), settings())
    assert (problem.owner, problem.code) == ("clerk", "credit_note")
    assert "credit note" in problem.message
    (problem,) = flaws(invoice(line("-5.00")), settings())
    assert "negative (-5.00)" in problem.message


def test_credits_as_adjustments_are_refused_for_the_consultant():
    (problem,) = flaws(invoice(Credit="1"), settings(credit_notes="Adjustment"))
    assert problem.owner == "consultant"
    assert "NegativeBill" in problem.message


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("of_header", [1, -1])
@pytest.mark.parametrize("vat_lines", ["line", "taxEntry"])
def test_a_credit_as_negative_bill_understands_both_signs(sign, of_header, vat_lines):
    lines = [line(str(sign * Decimal("110.00"))), line(str(sign * Decimal("-10.00"))), line(str(sign * 25), "2")]
    found = invoice(*lines, Credit="1", Amount=str(of_header * Decimal("125.00")))
    chosen = settings(credit_notes="NegativeBill", vat_lines=vat_lines)
    sent = body(found, chosen)
    assert [one["txnAmount"] for one in sent["lines"]][:2] == ["-110.00", "10.00"]
    assert total(sent) == listed_of(found, chosen).amount == Decimal("-125.00")


# -- numbers, links, texts, digests


def test_link_and_marker_stand_whole_at_the_end_however_long_the_note_is():
    found = invoice(Note="n" * 3000)
    for revision in (0, 7, 123):
        description = body(found, revision=revision)["description"]
        assert len(description) <= DESCRIPTION_MOST
        assert description.endswith(f"… {LINK} {found.id.marker(revision)}")
    assert "the note has 3000 characters" in notes_of(found, settings())[0]
    assert body(found, revision=7)["attachment"] == {"id": found.id.marker(7)}


def test_another_documents_marker_or_link_in_a_note_does_not_make_the_bill_that_documents():
    other = DocumentId("DEMO", "100", "1", "999")
    found = invoice(Note=f"Credits {other.marker()} {link_of(other, settings())} {other.marker(2)}")
    description = body(found)["description"]
    assert markers_in(description) == [MARKER]
    assert link_of(other, settings()) not in description
    assert "another document's marker or link" in notes_of(found, settings())[0]


def test_a_link_says_series_and_number_as_a_url_can():
    assert link_of(DocumentId("DEMO", "100", "A&B 1", "7"), settings()).endswith("?invoiceseries=A%26B%201&invoiceno=7")


def test_a_base_url_that_leaves_no_room_is_the_consultants():
    (problem,) = flaws(invoice(), settings(show_invoice_base_url="https://p.example/" + "x" * 1000))
    assert problem.owner == "consultant"


def test_long_memos_are_cut_and_long_numbers_are_not():
    found = invoice(line(Note="m" * 1200), SupplierInvoiceNo="N" * 60)
    sent = body(found)
    assert (len(sent["lines"][0]["memo"]), sent["billNumber"]) == (1000, "N" * 60)
    assert len(notes_of(found, settings())) == 2


def test_content_does_not_change_at_midnight_but_with_everything_that_is_sent():
    found, chosen = invoice(), settings()
    content = listed_of(found, chosen).content
    assert listed_of(found, replace(chosen, today=date(2026, 11, 26))).content == content
    for changed in (
        invoice(Note="x"), invoice(Amount="125.01"), invoice(DueDate="2026-12-02"), invoice(Blocked="1"), invoice(Supplier="V2"),
        invoice(line("100.00", Note="Paper", Object3="P1"), line("25.00", "2")), invoice(PayReference="1"), invoice(SupplierInvoiceNo="2"),
    ):  # fmt: skip
        assert listed_of(changed, chosen).content != content
    dated = replace(chosen, bill_date_source="InvoiceDate")
    assert listed_of(invoice(InvoiceDate="2026-11-02"), dated).content != listed_of(found, dated).content


def test_what_posting_needs_is_listed_even_when_there_can_be_no_bill():
    found = listed_of(invoice(Credit="1", Supplier="", Status="4"), settings())
    assert (found.vendor, found.amount, found.currency, found.number) == ("", Decimal("-125.00"), "USD", "INV-77")
    assert (found.booked_on, found.status) == (date(2026, 11, 20), 4)


def test_the_same_invoice_gives_the_same_bytes():
    found = invoice()
    assert bill_of(found, settings(), 1, attachment=True) == bill_of(invoice(), settings(), 1, attachment=True)
    request = request_of(found, settings(entity="E1"), 1, attachment=True)
    assert (request.kind, request.number, request.vendor, request.entity) == ("bill", "INV-77", "V1", "E1")
    assert request.marker == found.id.marker(1)
    assert "attachment" not in body(found, attachment=False)


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        ({"Supplier": " "}, "supplier"),
        ({"SupplierInvoiceNo": ""}, "supplier's invoice number"),
        ({"Currency": ""}, "currency"),
        ({"DueDate": "0001-01-01T00:00:00"}, "due date"),
        ({"AccountCodingDate": ""}, "accounting date"),
        ({"InvoiceDate": ""}, "invoice date"),
    ],
)
def test_what_is_missing_is_said(wire, what):
    assert [problem.text for problem in flaws(invoice(**wire), settings(bill_date_source="InvoiceDate"))] == [f"The invoice has no {what}"]


def test_lines_without_account_or_code_are_said_with_their_number_and_no_lines_too():
    texts = [problem.text for problem in flaws(invoice(line(Account=""), line("1.00", "2", VatCode="")), settings(vat_lines="taxEntry"))]
    assert texts == [
        "Line 1: There is no account on the line",
        "Line 2: There is no VAT code on the VAT line, and Sage takes its amount by code",
    ]
    assert [problem.code for problem in flaws(invoice(line("1.00", "2")), settings(vat_lines="taxEntry"))] == ["no_lines"]
    assert [problem.code for problem in flaws(invoice(AccountCoding=[]), settings())] == ["no_lines"]


# -- properties


cents = st.integers(-10_000_000, 10_000_000).map(lambda n: Decimal(n) / 100)
fine = st.decimals(-10_000, 10_000, places=5, allow_nan=False, allow_infinity=False)


@given(st.lists(fine, max_size=20))
def test_rounding_keeps_the_sum_and_moves_no_amount_by_more_than_a_cent(exact):
    made = in_cents(exact)
    assert sum(made, Decimal(0)) == in_cents([sum(exact, Decimal(0))])[0]
    assert all(abs(one - was) <= Decimal("0.01") for one, was in zip(made, exact, strict=True))


@given(st.lists(cents, max_size=20))
def test_whole_cents_are_not_touched(exact):
    assert in_cents(exact) == exact


@given(
    st.lists(st.tuples(st.sampled_from(["0", "1", "1", "2"]), cents, st.sampled_from(["", "25", "12"])), min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from(["line", "taxEntry"]),
)
def test_what_is_sent_adds_up_to_the_total_to_the_cent_or_is_refused(coded, credit, vat_lines):
    found = invoice(*(line(f"{amount:f}", kind, VatCode=code) for kind, amount, code in coded), Credit=str(int(credit)))
    chosen = settings(vat_lines=vat_lines, credit_notes="NegativeBill")
    has_lines = any(kind == "1" or (kind == "2" and vat_lines == "line") for kind, _, _ in coded)
    has_codes = vat_lines == "line" or all(code for kind, _, code in coded if kind == "2")
    if not (has_lines and has_codes):
        with pytest.raises(Permanent):
            bill_of(found, chosen, 0, attachment=False)
        return
    sent = body(found, chosen)
    assert total(sent) == listed_of(found, chosen).amount
    assert listed_of(found, chosen).amount == (-abs(found.amount) if credit else found.amount)
    assert all(one["txnAmount"] != "-0.00" for one in sent["lines"])


anything = st.text(st.characters(exclude_categories=()), max_size=1500)


@given(anything, anything, anything)
def test_any_text_gives_a_body_that_can_be_read_with_the_marker_at_its_end(note, memo, reference):
    found = invoice(line(Note=memo), Note=note, PayReference=reference)
    sent = body(found)
    assert sent["description"].endswith(f"{LINK} {MARKER}")
    assert markers_in(sent["description"]) == [MARKER]
    assert len(sent["description"]) <= DESCRIPTION_MOST
    assert len(sent["lines"][0].get("memo", "")) <= 1000
    assert sent.get("referenceNumber") == found.pay_reference


def test_texts_of_every_script_arrive_as_they_are():
    texts = ["Räksmörgås", "日本語の請求書", "فاتورة رقم ٧", "🧾🧾", 'a "b" <c> & \\ d', "zwei\nZeilen\tund Tab"]
    for text in texts:
        assert body(invoice(line(Note=text), Note=text))["lines"][0]["memo"] == text
    assert body(invoice(Note="bell\x07"))["description"].startswith("bell\ufffd ")


def test_an_edited_invoice_is_another_invoice_and_the_first_stays_what_it_was():
    found = invoice()
    edited = msgspec.structs.replace(found, lines=(msgspec.structs.replace(found.lines[0], account="6541"), *found.lines[1:]))
    assert body(edited)["lines"][0]["glAccount"] == {"id": "6541"}
    assert body(found)["lines"][0]["glAccount"] == {"id": "6000"}


def test_random_coding_always_gives_the_same_digest_for_the_same_record():
    chance = random.Random(7)
    for _ in range(20):
        lines = [line(f"{chance.randint(-999, 999) / 100:.2f}") for _ in range(chance.randint(1, 9))]
        assert listed_of(invoice(*lines), settings()) == listed_of(invoice(*lines), settings())
