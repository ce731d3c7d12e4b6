"""Prime's side of the money path, asked of the sandbox's Prime on loopback."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import aiohttp
import pytest
from prime_box import PrimeBox

from connect.errors import Auth, ConnectError, Permanent, Poison, Transient
from connect.http import Http
from connect.prime.documents import BOOKED, ERROR_TEXT_MOST, RETURNED, CustomSetting, Image, PrimeDocuments
from connect.prime.owner import LIVE_S, SETTING, claim
from connect.prime.pay import PayRecord, PrimePay
from connect.prime.rest import PrimeRest, PrimeRestAccess
from connect.prime.soap import PrimeSoap, PrimeSoapAccess

COMPANY = "100"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LINES = [
    {"Type": 0, "Account": "2440", "Amount": "-125.50"},
    {"Type": 1, "Account": "6000", "Amount": "100.40", "Object1": "SALES", "Note": "Rent & <heat>"},
    {"Type": 2, "Account": "2641", "Amount": "25.10"},
]
SETTLED = {"processingDates": {"paymentSettledDate": "2026-05-02T08:30:00Z"}, "supplierInvoiceNo": "A-1", "voucherNo": "4711"}


async def at_once(_: float) -> None:
    """In place of a wait."""


class Desk(PrimeBox):
    """The simulator and our two clients of it."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.session = aiohttp.ClientSession()
        self.http = Http(self.session)
        self.documents = self.client()
        access = PrimeRestAccess(
            url=f"{self.base}/api/v1.0",
            identity_url=f"{self.base}/identity",
            tenant="demo",
            client_id="connect",
            client_secret="demo-secret",
            user="connect",
            role="integration",
        )
        self.rest_client = PrimeRest(self.http, access, sleep=at_once)
        self.pay = PrimePay(self.rest_client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await super().__aexit__(*_)

    def client(self, password: str = "demo-password") -> PrimeDocuments:
        return PrimeDocuments(PrimeSoap(self.http, PrimeSoapAccess(self.url, "DEMO", "connect", password), sleep=at_once))

    def invoice(self, number: int = 1001, **fields: Any) -> None:
        given = {"InvoiceSeries": "1", "InvoiceNo": number, "Company": COMPANY, "Supplier": "V1", "AccountCoding": LINES}
        self.load("Invoice", given | fields)

    def queue(self, number: int = 1001) -> str:
        (found,) = [record for record in self.records("Invoice") if record["InvoiceNo"] == number]
        return str(found["queue"])

    def fault(self, operation: str, kind: str, **fields: Any) -> None:
        self.kernel.faults.replace([{"where": f"prime:{operation}", "kind": kind, "count": 1} | fields])

    def calls(self, operation: str) -> int:
        return self.kernel.stats["prime"].calls[operation]

    async def settled(self, company: str | None = COMPANY, since: date = date(2026, 1, 1), **options: Any) -> list[PayRecord]:
        return [payment async for payment in self.pay.settled_payments(company, since, **options)]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as made:
        yield made


# -- lists


async def test_listed_invoices_come_whole_and_stay_listed(desk: Desk):
    desk.invoice(Note="Røyken ≤ 5 & <b>", PayReference="  00123 ", Amount="125.50")
    for _ in range(2):
        (found,) = await desk.documents.invoices_to_book(COMPANY)
        assert (found["InvoiceSeries"], found["InvoiceNo"], found["Company"], found["Status"]) == ("1", "1001", COMPANY, "4")
        assert (found["Note"], found["PayReference"], found["Amount"]) == ("Røyken ≤ 5 & <b>", "  00123 ", "125.5")
        assert [line["Amount"] for line in found["AccountCoding"]] == ["-125.5", "100.4", "25.1"]
        assert found["AccountCoding"][1]["Object1"] == "SALES"
        assert found["AccountCoding"][1]["Note"] == "Rent & <heat>"
        assert "VoucherNo" not in found
    assert desk.queue() == "listed"


async def test_all_waiting_invoices_are_listed_and_only_this_companys(desk: Desk):
    desk.load("Company", {"Company": "200", "Name": "Other"})
    for number in range(1, 601):
        desk.invoice(number)
    desk.invoice(999, Company="200")
    found = await desk.documents.invoices_to_book(COMPANY)
    assert [record["InvoiceNo"] for record in found] == [str(number) for number in range(1, 601)]
    assert [record["InvoiceNo"] for record in await desk.documents.invoices_to_book("200")] == ["999"]


async def test_to_delete_is_another_list(desk: Desk):
    desk.invoice(1)
    desk.invoice(2, Status=2)
    assert [record["InvoiceNo"] for record in await desk.documents.invoices_to_book(COMPANY)] == ["1"]
    assert [record["InvoiceNo"] for record in await desk.documents.invoices_to_delete(COMPANY)] == ["2"]


async def test_a_company_with_an_erp_is_asked_through_it(desk: Desk):
    desk.load("Company", {"Company": "300", "Name": "Third", "Erp": "SAGE-1", "BaseCurrency": "NOK", "InvoiceSeries": "3"})
    desk.invoice(5, Company="300")
    assert (await desk.documents.company_data("300"))[2:] == ("NOK", "SAGE-1", "3")
    for _ in range(2):
        assert len(await desk.documents.invoices_to_book("300")) == 1
    assert desk.calls("ListInvoicesReadyForFinalRecordingERP") == 2
    assert desk.calls("ListInvoicesReadyForFinalRecording") == 0
    assert desk.calls("ListCompanyData") == 1  # known for a while
    assert await desk.documents.invoices_to_delete("300") == []
    assert desk.calls("ListInvoicesReadyForDeletionERP") == 1


async def test_an_unknown_company_is_said(desk: Desk):
    with pytest.raises(Permanent, match="no company 555") as raised:
        await desk.documents.invoices_to_book("555")
    assert raised.value.code == "company"


async def test_a_wrong_password_pauses_and_is_not_repeated_to_anybody(desk: Desk):
    with pytest.raises(Auth) as raised:
        await desk.client("s3cret-word").invoices_to_book(COMPANY)
    assert "s3cret-word" not in f"{raised.value.message}{raised.value.detail}"


# -- files


async def test_every_file_comes_byte_for_byte(desk: Desk):
    desk.invoice()
    pdf, png = b"%PDF-1.7\n" + bytes(range(256)) * 300, b"\x89PNG" + b"\0" * 1000
    for name, kind, data in (("bill.pdf", "PDF", pdf), ("Ærlig & <x>.png", "png", png)):
        image = {"InvoiceSeries": "1", "InvoiceNo": 1001, "FileName": name, "FileType": kind, "Image": base64.b64encode(data).decode()}
        desk.load("Image", image)
    assert await desk.documents.images("1", "1001") == [Image("bill.pdf", "PDF", pdf), Image("Ærlig & <x>.png", "png", png)]
    assert await desk.documents.images("1", "1002") == []


async def test_a_file_of_20_mb_passes(desk: Desk):
    desk.invoice()
    data = bytes(range(250)) * 80_000
    image = {"InvoiceSeries": "1", "InvoiceNo": 1001, "FileName": "big.pdf", "FileType": "PDF", "Image": base64.b64encode(data).decode()}
    desk.load("Image", image)
    (found,) = await desk.documents.images("1", "1001")
    assert found.data == data


async def test_what_was_cut_off_on_the_way_is_no_file_and_not_quoted(desk: Desk):
    desk.invoice()
    image = {"InvoiceSeries": "1", "InvoiceNo": 1001, "FileName": "x.pdf", "FileType": "PDF", "Image": "QUJD" * 1000}
    desk.load("Image", image)
    desk.fault("GetInvoiceImage", "truncate", count=10, params={"bytes": 2000})
    with pytest.raises(Transient) as raised:
        await desk.documents.images("1", "1001")
    assert "QUJD" not in f"{raised.value.message}{raised.value.detail}"
    desk.kernel.faults.replace([])
    assert (await desk.documents.images("1", "1001"))[0].data == b"ABC" * 1000


# -- receipts


async def test_a_booked_invoice_has_its_voucher_and_is_listed_no_more(desk: Desk):
    desk.invoice()
    for _ in range(2):
        await desk.documents.receipt("1", "1001", 4, BOOKED, key="8123")
    (receipt,) = desk.records("InvoiceReceipt")
    assert receipt == {
        "Company": COMPANY, "InvoiceSeries": "1", "InvoiceNo": 1001, "Status": 4, "QueueStatus": 1, "VoucherNo": 8123,
        "InvoiceExternalId": "8123", "InvoiceExternalSource": "SageIntacct",
    }  # fmt: skip
    assert desk.queue() == "receipted"
    assert await desk.documents.invoices_to_book(COMPANY) == []


async def test_a_refused_invoice_goes_back_and_may_be_sent_again(desk: Desk):
    desk.invoice()
    reasons = "Line 2: account 6000 is closed | " * 20
    for _ in range(2):
        await desk.documents.receipt("1", "1001", 4, RETURNED, text=reasons)
    (receipt,) = desk.records("InvoiceReceipt")
    assert receipt["QueueStatus"] == 2
    assert len(receipt["ErrorText"]) <= ERROR_TEXT_MOST
    assert receipt["ErrorText"].endswith("…")
    assert "VoucherNo" not in receipt
    assert desk.queue() == "returned"
    desk.invoice(Note="mended")
    (found,) = await desk.documents.invoices_to_book(COMPANY)
    assert found["Note"] == "mended"
    await desk.documents.receipt("1", "1001", 4, BOOKED, key="9")
    assert desk.queue() == "receipted"


async def test_a_cancelled_invoice_is_receipted_with_its_own_status(desk: Desk):
    desk.invoice(Status=2, VoucherNo=77)
    await desk.documents.receipt("1", "1001", 2, BOOKED)
    (receipt,) = desk.records("InvoiceReceipt")
    assert (receipt["Status"], receipt["QueueStatus"], "VoucherNo" in receipt) == (2, 1, False)
    assert await desk.documents.invoices_to_delete(COMPANY) == []


@pytest.mark.parametrize(
    ("number", "status", "queue_status", "words"),
    [("1001", 2, BOOKED, "Status: value 2"), ("7777", 4, BOOKED, "1/7777 does not exist"), ("1001", 2, RETURNED, "Status: value 2")],
)
async def test_a_receipt_that_prime_refuses_is_permanent_in_its_own_words(
    desk: Desk, number: str, status: int, queue_status: Any, words: str
):
    desk.invoice()
    with pytest.raises(Permanent) as raised:
        await desk.documents.receipt("1", number, status, queue_status, key="1", text="no")
    assert words in raised.value.message
    assert f"invoice 1-{number}" in raised.value.message
    assert raised.value.detail in raised.value.message
    assert desk.calls("SendInvoiceReply") == 1
    assert desk.queue() == "listed"


async def test_another_receipt_after_the_first_is_refused(desk: Desk):
    desk.invoice()
    await desk.documents.receipt("1", "1001", 4, BOOKED, key="1")
    with pytest.raises(Permanent):
        await desk.documents.receipt("1", "1001", 4, BOOKED, key="2")


@pytest.mark.parametrize(
    ("kind", "params"), [("drop_after_commit", {}), ("drop_before", {}), ("garbage", {}), ("status", {"status": 500}), ("truncate", {})]
)
async def test_a_receipt_whose_answer_goes_astray_is_repeated_and_counts_once(desk: Desk, kind: str, params: dict[str, float]):
    for number, queue_status in ((1, BOOKED), (2, RETURNED)):
        desk.invoice(number)
        desk.fault("SendInvoiceReply", kind, params=params)
        await desk.documents.receipt("1", str(number), 4, queue_status, key="5", text="no")
    assert [receipt["QueueStatus"] for receipt in desk.records("InvoiceReceipt")] == [1, 2]
    assert desk.calls("SendInvoiceReply") == 4


async def test_a_prime_that_stays_away_is_transient(desk: Desk):
    desk.invoice()
    desk.fault("SendInvoiceReply", "status", count=99, params={"status": 500})
    with pytest.raises(Transient):
        await desk.documents.receipt("1", "1001", 4, BOOKED, key="1")
    desk.fault("ListInvoicesReadyForFinalRecording", "garbage", count=99)
    with pytest.raises(Transient):
        await desk.documents.invoices_to_book(COMPANY)


# -- payment dates, settings, events


async def test_payment_dates_are_asked_for_since_a_day_and_set_once(desk: Desk):
    for number, coded_on in ((1, "2026-01-31"), (2, "2026-02-01"), (3, "2026-02-02")):
        desk.invoice(number, AccountCodingDate=coded_on)
        await desk.documents.receipt("1", str(number), 4, BOOKED, key=str(number))
    missing = await desk.documents.missing_payment_dates(COMPANY, date(2026, 2, 1))
    assert [record["InvoiceNo"] for record in missing] == ["2", "3"]
    assert missing[0]["ExternalId"] == "2"
    for _ in range(2):
        await desk.documents.set_payment_date("1", "2", date(2026, 3, 9), "PR#1-BR#2-VN#3")
    (entry,) = desk.records("InvoicePaymentDate")
    assert (entry["PaymentDate"], entry["Note"]) == ("2026-03-09", "PR#1-BR#2-VN#3")
    assert [record["InvoiceNo"] for record in await desk.documents.missing_payment_dates(COMPANY, date(2026, 2, 1))] == ["3"]
    with pytest.raises(Permanent, match="does not exist"):
        await desk.documents.set_payment_date("1", "99", date(2026, 3, 9), "x")


async def test_custom_settings_are_found_inserted_and_updated(desk: Desk):
    everywhere = CustomSetting("", "ConnectLookup", "Objects", '{"a": "<&>"}')
    here = CustomSetting(COMPANY, "ConnectLookup", "Objects", "{}")
    for row in (everywhere, here, here._replace(value="new"), here._replace(value="new")):
        await desk.documents.put_custom_setting(row)
    assert set(await desk.documents.custom_settings(kind="ConnectLookup")) == {everywhere, here._replace(value="new")}
    assert await desk.documents.custom_settings(company="", setting="Objects") == [everywhere]
    assert await desk.documents.custom_settings(company=COMPANY) == [here._replace(value="new")]
    assert await desk.documents.custom_settings(kind="ConnectJob") == []


async def test_a_setting_whose_insert_lost_its_answer_is_there(desk: Desk):
    row = CustomSetting("", "T", "S", "V")
    desk.fault("InsertCustomSetting", "drop_after_commit")
    await desk.documents.put_custom_setting(row)
    assert await desk.documents.custom_settings() == [row]
    assert desk.calls("InsertCustomSetting") == 2


async def test_an_event_is_logged(desk: Desk):
    await desk.documents.event("Information", "ExportPayments", "3 booked", "all of them")
    (entry,) = desk.records("EventLog", None)
    assert (entry["Environment"], entry["Source"], entry["Message"]) == ("DEMO", "Connect", "3 booked")


# -- owner


async def test_a_second_live_deployment_is_stopped_until_the_first_is_silent_or_it_takes_over(desk: Desk):
    first = await claim(desk.documents, "A", NOW)
    with pytest.raises(Permanent, match="another live Connect") as raised:
        await claim(desk.documents, "B", NOW + timedelta(seconds=LIVE_S - 1))
    assert raised.value.code == "owner"
    assert "2026-05-04 12:00 UTC" in raised.value.message
    again = await claim(desk.documents, "A", NOW + timedelta(minutes=30))
    assert (again.owner.since, again.owner.at) == (first.owner.since, NOW + timedelta(minutes=30))
    with pytest.raises(Permanent):
        await claim(desk.documents, "B", NOW + timedelta(seconds=LIVE_S + 1))
    await claim(desk.documents, "B", NOW + timedelta(minutes=31), take_over=True)
    with pytest.raises(Permanent, match="owns the document jobs"):
        await claim(desk.documents, "A", NOW + timedelta(minutes=32))
    await claim(desk.documents, "A", NOW + timedelta(days=1))
    assert len(await desk.documents.custom_settings(kind=SETTING)) == 1


async def test_a_young_heartbeat_costs_one_call(desk: Desk):
    await claim(desk.documents, "A", NOW)
    before = sum(desk.kernel.stats["prime"].calls.values())
    await claim(desk.documents, "A", NOW + timedelta(seconds=59))
    assert sum(desk.kernel.stats["prime"].calls.values()) == before + 1


async def test_owners_of_different_companies_do_not_meet(desk: Desk):
    await claim(desk.documents, "A", NOW, company="100")
    await claim(desk.documents, "B", NOW, company="200")
    with pytest.raises(Permanent, match="company 100"):
        await claim(desk.documents, "B", NOW, company="100")


async def test_of_two_that_claim_in_the_same_moment_one_goes_on(desk: Desk):
    class Late(PrimeDocuments):
        """Another claims between our look and our write."""

        async def put_custom_setting(self, row: CustomSetting, *, new: bool | None = None) -> None:
            await claim(desk.documents, "A", NOW)
            await super().put_custom_setting(row, new=new)

    late = Late(PrimeSoap(desk.http, PrimeSoapAccess(desk.url, "DEMO", "connect", "demo-password"), sleep=at_once))
    with pytest.raises(Permanent, match=r"another live Connect \(A\)"):
        await claim(late, "B", NOW + timedelta(seconds=1))
    assert (await claim(desk.documents, "A", NOW + timedelta(seconds=2))).owner.id == "A"


async def test_a_claim_whose_answer_is_lost_stands(desk: Desk):
    for operation, later_s in (("InsertCustomSetting", 0), ("UpdateCustomSetting", 100)):
        desk.fault(operation, "drop_after_commit")
        assert (await claim(desk.documents, "A", NOW + timedelta(seconds=later_s))).owner.at == NOW + timedelta(seconds=later_s)


# -- Pay


async def test_settled_payments_come_from_every_page_of_this_company_and_not_before_the_day(desk: Desk):
    desk.load("Company", {"Company": "200", "Name": "Other"})
    desk.pay = PrimePay(desk.rest_client, page_size=7)
    for at in range(30):
        desk.load("Payment", SETTLED | {"id": f"P{at:02}", "company": COMPANY, "amount": "1234567.89", "paymentReferenceId": "R1"})
    desk.load("Payment", {"id": "open", "company": COMPANY, "amount": "1"})
    desk.load("Payment", SETTLED | {"id": "other", "company": "200", "amount": "1"})
    early = {"processingDates": {"paymentSettledDate": "2026-05-01T23:59:59Z"}}
    desk.load("Payment", SETTLED | early | {"id": "early", "company": COMPANY, "amount": "1"})
    found = await desk.settled(since=date(2026, 5, 2))
    assert [payment.id for payment in found] == [f"P{at:02}" for at in range(30)]
    assert found[0].amount == Decimal("1234567.89")
    assert (found[0].settled_on, found[0].reference, found[0].supplier_invoice_no, found[0].voucher_no) == (
        date(2026, 5, 2), "R1", "A-1", "4711",
    )  # fmt: skip
    assert {payment.id for payment in await desk.settled(None, date(2026, 5, 1))} == {payment.id for payment in found} | {"other", "early"}
    assert await desk.settled(since=date(2026, 5, 3)) == []
    assert desk.calls("GET /payment") == 15


@pytest.mark.parametrize(
    ("kind", "params"), [("drop_after_commit", {}), ("garbage", {}), ("status", {"status": 500}), ("expire_token", {})]
)
async def test_a_page_that_goes_astray_is_read_again(desk: Desk, kind: str, params: dict[str, float]):
    desk.load("Payment", SETTLED | {"id": "P", "company": COMPANY, "amount": "1"})
    desk.fault("GET /payment", kind, params=params)
    assert [payment.id for payment in await desk.settled()] == ["P"]


async def test_an_unreadable_payment_hides_no_other(desk: Desk):
    desk.load("Payment", SETTLED | {"id": "good", "company": COMPANY, "amount": "1"})
    desk.load("Payment", {"id": "bad", "company": COMPANY, "amount": "1", "processingDates": {"paymentSettledDate": "soon"}})
    heard: list[Poison] = []
    assert [payment.id for payment in await desk.settled(on_unreadable=heard.append)] == ["good"]
    assert [error.message for error in heard] == ["payment bad: processingDates.paymentSettledDate is not a date"]


async def test_the_account_of_a_company_is_the_configurations(desk: Desk):
    assert await desk.pay.bank_account(COMPANY) == "1234"
    desk.load("PaymentConfiguration", {"company": COMPANY, "bankAccountIdentifier": 42})
    assert await desk.pay.bank_account(COMPANY) == "42"
    with pytest.raises(Permanent, match="no bank account for company 555"):
        await desk.pay.bank_account("555")


@pytest.mark.parametrize("kind", [None, "drop_after_commit", "garbage", "expire_token"])
async def test_a_payments_receipt_counts_once_whatever_becomes_of_its_answer(desk: Desk, kind: str | None):
    for key in ("P1", "P2"):
        desk.load("Payment", SETTLED | {"id": key, "company": COMPANY, "amount": "1"})
    booked, refused = await desk.settled()
    for payment, queue_status in ((booked, BOOKED), (refused, RETURNED)):
        if kind is not None:
            desk.fault("PUT /payment/receipt", kind)
        for _ in range(2):
            await desk.pay.receipt(payment, queue_status, key="77", text="SL-0417 " * 100)  # type: ignore[arg-type]
    one, two = desk.records("PaymentReceipt")
    assert (one["PaymentId"], one["QueueStatus"], one["ExternalId"], one["ExternalSource"]) == ("P1", 1, "77", "SageIntacct")
    assert (two["PaymentId"], two["QueueStatus"], len(two["ErrorText"])) == ("P2", 2, ERROR_TEXT_MOST)
    assert [payment.external_id for payment in await desk.settled()] == ["77", ""]


async def test_a_payments_receipt_that_is_refused_says_why(desk: Desk):
    desk.load("Payment", SETTLED | {"id": "P", "company": COMPANY, "amount": "1"})
    (payment,) = await desk.settled()
    with pytest.raises(Permanent, match="'Q' does not exist") as raised:
        await desk.pay.receipt(payment._replace(id="Q"), BOOKED, key="1")
    assert raised.value.code == "3"
    await desk.pay.receipt(payment, BOOKED, key="1")
    with pytest.raises(Permanent, match="booked already"):
        await desk.pay.receipt(payment, RETURNED, text="no")


async def test_where_pay_takes_no_receipts_the_setting_is_named_and_nothing_pauses(desk: Desk):
    desk.load("Payment", SETTLED | {"id": "P", "company": COMPANY, "amount": "1"})
    (payment,) = await desk.settled()
    desk.prime.settings(pay_receipt="off")
    with pytest.raises(ConnectError, match="PayReceipt = eventLog") as raised:
        await desk.pay.receipt(payment, BOOKED, key="1")
    assert type(raised.value) is Permanent
    assert raised.value.code == "no_receipts"
