from __future__ import annotations

import contextlib
from datetime import date
from typing import Any
from xml.sax.saxutils import escape

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import OutcomeUnknown, Permanent, Poison, Transient
from connect.http import MAX_REPLY_BYTES, Reply
from connect.mapping import NOT_XML
from connect.prime.documents import COMPANY_KEPT_S, MAX_IMAGES_BYTES, PrimeDocuments, cut, dotnet_date
from connect.prime.envelope import read_answer
from connect.prime.soap import PrimeSoap, PrimeSoapAccess

PASSWORD = 'pass & "word"'
ACCESS = PrimeSoapAccess("https://prime.example.com/ws/webService.asmx", "DEMO", "connect", PASSWORD)
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
LIST = "ListInvoicesReadyForFinalRecording"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def answer(operation: str, result: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP_12}" {XSI}><s:Body>'
        f'<{operation}Response xmlns="http://palette.se/"><{operation}Result>{result}</{operation}Result></{operation}Response>'
        "</s:Body></s:Envelope>"
    ).encode()


def invoice(number: int | str = 1, inner: str = "", company: str = "100") -> str:
    fields = f"<InvoiceSeries>1</InvoiceSeries><InvoiceNo>{number}</InvoiceNo><Company>{company}</Company>"
    return f"<Invoice>{fields}{inner}</Invoice>"


def line(**fields: Any) -> str:
    return "<AccountCoding>" + "".join(f"<{name}>{value}</{name}>" for name, value in fields.items()) + "</AccountCoding>"


class FakeHttp:
    """Answers every operation with the body given for it; company data without an ERP by itself."""

    def __init__(self, **bodies: bytes) -> None:
        company = "<Company>100</Company><Name>N</Name><BaseCurrency>USD</BaseCurrency>"
        self.bodies = {"ListCompanyData": answer("ListCompanyData", company)} | bodies
        self.asked: list[tuple[str, int]] = []
        self.sent: list[str] = []

    async def exchange(self, _method: str, _url: str, *, data: bytes, max_bytes: int, **_: Any) -> Reply:
        operation = data.partition(b"<pal:")[2].partition(b">")[0].decode()
        self.asked.append((operation, max_bytes))
        self.sent.append(data.decode())
        return Reply(200, {}, self.bodies[operation], 1.0)


async def at_once(_: float) -> None:
    """In place of a wait."""


def documents(http: FakeHttp, **options: Any) -> PrimeDocuments:
    return PrimeDocuments(PrimeSoap(http, ACCESS, sleep=at_once), **options)  # type: ignore[arg-type]


async def listed(result: str | bytes) -> tuple[list[dict[str, Any]], list[Poison]]:
    heard: list[Poison] = []
    body = answer(LIST, result) if isinstance(result, str) else result
    return await documents(FakeHttp(**{LIST: body})).invoices_to_book("100", heard.append), heard


# -- lists


async def test_fields_without_a_value_are_left_out_and_lines_are_always_there():
    (found,), heard = await listed(invoice(7, '<Note/><PaymentDate xsi:nil="true"/><Reference1>  a </Reference1>'))
    assert found == {"InvoiceSeries": "1", "InvoiceNo": "7", "Company": "100", "Reference1": "  a ", "AccountCoding": []}
    assert heard == []


@pytest.mark.parametrize("wrapped", [True, False])
async def test_lines_are_read_repeated_or_inside_a_list(wrapped: bool):
    lines = line(Type=0, Amount="-5") + line(Type=1, Amount="5.00", Note="a &amp; b")
    (found,), _ = await listed(invoice(inner=f"<AccountCoding>{lines}</AccountCoding>" if wrapped else lines))
    assert found["AccountCoding"] == [{"Type": "0", "Amount": "-5"}, {"Type": "1", "Amount": "5.00", "Note": "a & b"}]


async def test_what_nobody_asked_for_is_no_field():
    (found,), heard = await listed(invoice(inner="<Extra><Deep>1</Deep></Extra><New>2</New>"))
    assert "Extra" not in found
    assert found["New"] == "2"
    assert heard == []


UNREADABLE = {
    "no number": (invoice("").replace("<InvoiceNo></InvoiceNo>", ""), "InvoiceNo is no number"),
    "a number in words": (invoice("seven"), "invoice 1-seven: InvoiceNo is no number"),
    "no company": (invoice(company=""), "Company is missing"),
    "an amount given twice": (invoice(inner="<Amount>1</Amount><Amount>2</Amount>"), "Amount is there twice"),
    "an amount given twice on a line": (invoice(inner="<AccountCoding><Amount>1</Amount><Amount>2</Amount></AccountCoding>"), "Amount is"),
    "half a line, half a list": (invoice(inner=f"<AccountCoding><Type>1</Type>{line(Type=1)}</AccountCoding>"), "neither a line nor"),
    "nothing": ("<Invoice/>", "InvoiceNo is no number"),
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_unreadable_record_is_told_of_and_hides_no_other(what: str):
    record, words = UNREADABLE[what]
    found, heard = await listed(invoice(8) + record + invoice(9))
    assert [one["InvoiceNo"] for one in found] == ["8", "9"]
    assert len(heard) == 1
    assert words in heard[0].message
    assert "record 2 of Prime's list for company 100" in heard[0].message


async def test_an_invoice_listed_twice_counts_once_and_not_at_all_when_the_two_differ():
    found, heard = await listed(invoice(1) * 2 + invoice(2, "<Amount>5</Amount>") + invoice(3) + invoice(2, "<Amount>6</Amount>"))
    assert [one["InvoiceNo"] for one in found] == ["1", "3"]
    assert [error.code for error in heard] == ["listed_twice"]
    assert "1-2" in heard[0].message


async def test_another_companys_invoices_are_passed_over_and_counted():
    with structlog.testing.capture_logs() as logs:
        found, heard = await listed(invoice(1, company="200") + invoice(2))
    assert ([one["InvoiceNo"] for one in found], heard) == (["2"], [])
    assert [entry["count"] for entry in logs if entry["log_level"] == "warning"] == [1]


async def test_no_result_is_an_empty_list_and_a_text_is_none():
    empty = answer(LIST, "").replace(f"<{LIST}Result></{LIST}Result>".encode(), b"")
    assert await listed(empty) == ([], [])
    with pytest.raises(Transient) as raised:
        await listed("no rights to list 4711")
    assert "4711" not in f"{raised.value.message}{raised.value.detail}"


async def test_an_answer_that_cannot_be_read_is_not_quoted():
    with pytest.raises(Transient) as raised:
        await listed(answer(LIST, invoice(inner="<SupplierBankAccount>NO9386011117947</SupplierBankAccount>"))[:-40])
    assert "NO9386" not in f"{raised.value!r}{raised.value.message}{raised.value.detail}"


@pytest.mark.parametrize("bad", ["&#x1;", "&#31;", "&#xFFFF;", "&#9999999;", "\x02"])
async def test_a_character_that_xml_cannot_carry_hides_neither_its_record_nor_others(bad: str):
    found, _ = await listed(invoice(1, f"<Note>a{bad}b&#10;c</Note>") + invoice(2))
    assert [(one["InvoiceNo"], one.get("Note")) for one in found] == [("1", "a\ufffdb\nc"), ("2", None)]


async def test_bytes_that_are_no_utf8_hide_no_record_and_another_encoding_is_left_alone():
    (found,), _ = await listed(answer(LIST, invoice(1, "<Note>caf\xe9</Note>")).replace("\xe9".encode(), b"\xe9"))
    assert found["Note"] == "caf\ufffd"
    latin = answer(LIST, invoice(1, "<Note>caf\xe9</Note>")).replace(b"utf-8", b"iso-8859-1").replace("\xe9".encode(), b"\xe9")
    (found,), _ = await listed(latin)
    assert found["Note"] == "café"


@given(st.text())
async def test_any_text_arrives(text: str):
    told = NOT_XML.sub("\ufffd", text)
    (found,), _ = await listed(invoice(1, f"<Note>{escape(told, {chr(13): '&#13;'})}</Note>"))
    assert found.get("Note", "") == told


@given(st.binary(max_size=400), st.integers(0, 500))
async def test_whatever_comes_is_read_or_one_of_our_errors(noise: bytes, at: int):
    good = answer(LIST, invoice(1, line(Type=1, Amount=1)))
    with contextlib.suppress(Transient, Permanent, Poison):
        found, heard = await listed(good[:at] + noise + good[at:])
        assert len(found) + len(heard) <= 1


async def test_a_company_is_asked_for_its_erp_again_after_a_while():
    now = [0.0]
    http = FakeHttp(**{LIST: answer(LIST, "")})
    prime = documents(http, clock=lambda: now[0])
    for at in (0, 1, COMPANY_KEPT_S + 1):
        now[0] = at
        await prime.invoices_to_book("100")
    assert [name for name, _ in http.asked].count("ListCompanyData") == 2


async def test_company_data_may_come_as_a_list_of_one_and_never_of_another_company():
    inner = "<Company>100</Company><BaseCurrency>NOK</BaseCurrency>"
    found = await documents(FakeHttp(ListCompanyData=answer("ListCompanyData", f"<Company>{inner}</Company>"))).company_data("100")
    assert (found.base_currency, found.erp) == ("NOK", "")
    with pytest.raises(Transient):
        await documents(FakeHttp(ListCompanyData=answer("ListCompanyData", inner))).company_data("200")


# -- files


def image(data: str, name: str = "a.pdf") -> str:
    return f"<InvoiceImage><FileName>{name}</FileName><FileType>PDF</FileType><Image>{data}</Image></InvoiceImage>"


async def images(result: str) -> Any:
    return await documents(FakeHttp(GetInvoiceImage=answer("GetInvoiceImage", result))).images("1", "2")


async def test_base64_may_have_line_breaks_and_a_file_without_a_name_gets_one():
    assert (await images(image("QUJD\r\nREVG", "")))[0] == ("1-2-1", "PDF", b"ABCDEF")


@pytest.mark.parametrize("data", ["QUJ", "QU*D", "QUJDé", "", "===="])
async def test_one_file_that_cannot_be_read_is_poison_and_is_not_quoted(data: str):
    with pytest.raises(Poison) as raised:
        await images(image("QUJD") + image(data))
    assert raised.value.code == "bad_image"
    assert raised.value.message.startswith("file 2 of invoice 1-2 is")
    assert raised.value.detail == ""


async def test_only_files_may_be_large():
    text = "A" * 12_000_000
    assert len((await images(image(text)))[0].data) == 9_000_000
    with pytest.raises(Transient, match="Text node too long"):
        await listed(invoice(inner=f"<Note>{text}</Note>"))
    http = FakeHttp(GetInvoiceImage=answer("GetInvoiceImage", ""), **{LIST: answer(LIST, "")})
    await documents(http).images("1", "2")
    await documents(http).invoices_to_book("100")
    limits = dict(http.asked)
    assert (limits["GetInvoiceImage"], limits[LIST]) == (MAX_IMAGES_BYTES, MAX_REPLY_BYTES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_a_large_answer_declares_no_entities(encoding: str):
    bomb = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    whole = answer("GetInvoiceImage", image("&b;")).decode().replace("?><s:", f"?>{bomb}<s:").replace("utf-8", encoding)
    with pytest.raises(Transient):
        read_answer(Reply(200, {}, whole.encode(encoding), 1.0), "GetInvoiceImage", files=True)


# -- receipts


def said(code: int, words: str = "") -> bytes:
    return answer("SendInvoiceReply", f"<ResultCode>{code}</ResultCode><Message>{escape(words)}</Message>")


async def test_a_refusal_that_repeats_the_password_does_not_hand_it_on():
    with pytest.raises(Permanent) as raised:
        await documents(FakeHttp(SendInvoiceReply=said(1, f"wrong: {PASSWORD}"))).receipt("1", "2", 4, 1, key="3")
    assert PASSWORD not in f"{raised.value}{raised.value.message}{raised.value.detail}"
    assert raised.value.code == "1"


async def test_a_receipt_without_a_clear_result_is_transient():
    for body in (answer("SendInvoiceReply", "<Message>fine</Message>"), b"<html/>", b""):
        http = FakeHttp(SendInvoiceReply=body)
        with pytest.raises(Transient) as raised:
            await documents(http).receipt("1", "2", 4, 1, key="3")
        assert not isinstance(raised.value, OutcomeUnknown)
        assert len(http.asked) == 3  # repeated


async def test_a_key_that_is_no_number_is_no_voucher_number():
    http = FakeHttp(SendInvoiceReply=said(0))
    await documents(http).receipt("1", "2", 4, 1, key="B-7")
    assert "VoucherNo" not in http.sent[0]
    assert "<InvoiceExternalId>B-7</InvoiceExternalId>" in http.sent[0]


async def test_a_refusal_always_has_a_text():
    http = FakeHttp(SendInvoiceReply=said(0))
    await documents(http).receipt("1", "2", 4, 2, text=" ")
    assert "<ErrorText>Refused" in http.sent[0]


# -- texts


@given(st.text(), st.integers(1, 50))
def test_a_cut_text_fits_and_shows_it(text: str, most: int):
    short = cut(text, most)
    assert len(short) <= most
    assert (short == text) if len(text) <= most else short.endswith("…")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("yyyy-MM-dd", "2026-03-07"),
        ("d/M/yy", "7/3/26"),
        ("dd.MM.yyyy", "07.03.2026"),
        ("dddd d MMMM yyyy", "Saturday 7 March 2026"),
        ("ddd dd MMM", "Sat 07 Mar"),
        ("yyyyMMdd", "20260307"),
        ("yyyy-MM-ddTHH:mm:ss.fff", "2026-03-07T00:00:00.000"),
        ("yyyy-MM-dd'T'hh:mm ttzzzK", "2026-03-07T12:00 AM+00:00"),
        ("'day' d 'of' M", "day 7 of 3"),
    ],
)
def test_dates_are_written_as_dotnet_does(pattern: str, expected: str):
    assert dotnet_date(date(2026, 3, 7), pattern) == expected
