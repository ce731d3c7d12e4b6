from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, RateLimited, Transient
from connect.http import Reply
from connect.mapping import NOT_XML
from connect.prime.envelope import call_xml, parameters_xml, read_answer, read_row, record_xml
from connect.prime.port import RowResult
from connect.prime.soap import PrimeSoap, PrimeSoapAccess, SoapRegisters, frame

PASSWORD = 'pass & "word"'
ACCESS = PrimeSoapAccess("https://prime.example.com/ws/webService.asmx", "DEMO", "connect", PASSWORD)
PALETTE = "{http://palette.se/}"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"


def envelope(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP_12}"><s:Body>{inner}</s:Body></s:Envelope>'.encode()


def answer(operation: str, result: str) -> bytes:
    return envelope(
        f'<{operation}Response xmlns="http://palette.se/"><{operation}Result>{result}</{operation}Result></{operation}Response>'
    )


def row_answer(kind: str, code: int | str = 0, message: str = "OK") -> bytes:
    return answer(f"Insert{kind}", f"<ResultCode>{code}</ResultCode><Message>{escape(message)}</Message>")


def fault(code: str, words: str) -> bytes:
    reason = f"<s:Reason><s:Text xml:lang='en'>{escape(words)}</s:Text></s:Reason>"
    return envelope(f"<s:Fault><s:Code><s:Value>s:{code}</s:Value></s:Code>{reason}</s:Fault>")


def fault_11(code: str, words: str) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
        f"<faultcode>s:{code}</faultcode><faultstring>{words}</faultstring></s:Fault></s:Body></s:Envelope>"
    ).encode()


def reply(body: bytes, status: int = 200, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1.0)


def read_back(request: bytes) -> Any:
    """The operation's element as any XML reader sees it."""
    return etree.fromstring(request)[0][0]


def account(inner: str) -> str:
    return f"<SupplierBankAccount>{inner}</SupplierBankAccount>"


async def at_once(_: float) -> None:
    """In place of a wait."""


class FakeHttp:
    """Answers with what `respond` makes of a request."""

    def __init__(self, respond: Callable[[bytes], Reply | Awaitable[Reply]]) -> None:
        self._respond = respond
        self.requests: list[bytes] = []
        self.headers: list[Any] = []

    async def exchange(self, method: str, url: str, *, data: bytes, headers: Any, **_: Any) -> Reply:
        assert (method, url) == ("POST", ACCESS.url)
        self.requests.append(data)
        self.headers.append(headers)
        answered = self._respond(data)
        return answered if isinstance(answered, Reply) else await answered


def registers(respond: Callable[[bytes], Reply | Awaitable[Reply]], **options: Any) -> tuple[SoapRegisters, FakeHttp]:
    http = FakeHttp(respond)
    return SoapRegisters(http, ACCESS, sleep=at_once, **options), http  # type: ignore[arg-type]


def bodies(count: int) -> list[bytes]:
    return [msgspec.json.encode({"Company": "100", "Account": str(at)}) for at in range(count)]


def number_of(request: bytes) -> int:
    return int(read_back(request).find(f".//{PALETTE}Account/Account").text)


# -- calls


def test_a_record_is_framed_as_the_recorded_calls_are():
    access = PrimeSoapAccess("https://x", "DEMO", "connect", "p&w")
    request = frame(access, "Account", b'{"Company":"100","Account":"6000","Name":"Rent","KeyType":1}')
    assert request == (
        b'<?xml version="1.0" encoding="utf-8"?><soap12:Envelope xmlns:soap12="http://www.w3.org/2003/05/soap-envelope" '
        b'xmlns:pal="http://palette.se/"><soap12:Body><pal:InsertAccount><pal:Environment>DEMO</pal:Environment>'
        b"<pal:UserID>connect</pal:UserID><pal:Password>p&amp;w</pal:Password><pal:Account><Company>100</Company><Account>6000</Account>"
        b"<Name>Rent</Name><KeyType>1</KeyType></pal:Account><pal:TransferFromQueue>true</pal:TransferFromQueue>"
        b"</pal:InsertAccount></soap12:Body></soap12:Envelope>"
    )


def test_the_element_of_the_user_can_be_named_otherwise():
    access = PrimeSoapAccess("https://x", "DEMO", "connect", "p", user_element="LoginName")
    assert read_back(frame(access, "Account", b"{}")).findtext(f"{PALETTE}LoginName") == "connect"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (rb'{"Name":"A & B <i>\"C\"</i>"}', '<Name>A &amp; B &lt;i&gt;"C"&lt;/i&gt;</Name>'),
        (rb'{"Name":"\u003cName>\u0026amp;"}', "<Name>&lt;Name&gt;&amp;amp;</Name>"),
        (rb'{"Name":"]]>"}', "<Name>]]&gt;</Name>"),
        (rb'{"Note":"one\r\ntwo\tthree"}', "<Note>one&#13;\ntwo\tthree</Note>"),
        (rb'{"Name":"bell\u0007 zero\u0000 \ufffe"}', "<Name>bell\ufffd zero\ufffd \ufffd</Name>"),
        ('{"Name":"\ufffe Ø 株式会社 🙂"}'.encode(), "<Name>\ufffd Ø 株式会社 🙂</Name>"),
        (b'{"Name":null,"Blocked":0,"Closed":true}', "<Name></Name><Blocked>0</Blocked><Closed>true</Closed>"),
        (b'{"BuyingRate":10.123456789012345678,"Vat":25.00}', "<BuyingRate>10.123456789012345678</BuyingRate><Vat>25.00</Vat>"),
        (b'{"BuyingRate":1E+3,"Percentage":-2.5e-7}', "<BuyingRate>1000</BuyingRate><Percentage>-0.00000025</Percentage>"),
        (
            b'{"Name":"N","SupplierBankAccount":[{"BankAccount":"1"},{"BankAccount":"2&3","Default":0}]}',
            f"<Name>N</Name>{account('<BankAccount>1</BankAccount>')}{account('<BankAccount>2&amp;3</BankAccount><Default>0</Default>')}",
        ),
        (b'{"SupplierBankAccount":[]}', "<SupplierBankAccount></SupplierBankAccount>"),
        (b"{}", ""),
    ],
)  # fmt: skip
def test_json_becomes_xml_that_means_the_same(body: bytes, expected: str):
    assert record_xml(body) == expected


@given(st.dictionaries(st.from_regex(r"\A[A-Za-z][A-Za-z0-9]{0,8}\Z"), st.text() | st.none() | st.integers(-(10**9), 10**9)))
def test_any_record_comes_back_from_an_xml_reader_as_it_was(record: dict[str, str | int | None]):
    request = frame(ACCESS, "Supplier", msgspec.json.encode({name: _without_surrogates(value) for name, value in record.items()}))
    read = {child.tag: child.text or "" for child in read_back(request).find(f"{PALETTE}Supplier")}
    assert read == {name: NOT_XML.sub("\ufffd", "" if value is None else str(value)) for name, value in record.items()}


def _without_surrogates(value: Any) -> Any:
    return NOT_XML.sub("\ufffd", value) if isinstance(value, str) and any("\ud800" <= one <= "\udfff" for one in value) else value


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b'{"Name":"\xff"}', b'{"a b":1}', b'{"x><y":"1"}', b'{"":1}', b'{"N":[{"a&b":1}]}']
)
def test_a_body_that_xml_cannot_carry_is_poison(body: bytes):
    with pytest.raises(Poison) as raised:
        frame(ACCESS, "Account", body)
    assert PASSWORD not in str(raised.value)


def test_parameters_of_any_operation_are_in_palettes_namespace_and_records_fields_are_not():
    inner = parameters_xml(
        {"InvoiceReceipt": {"InvoiceNo": 7, "ErrorText": "a<b"}, "Amount": Decimal("1E+2"), "TransferFromQueue": True, "Erp": None}
    )
    element = read_back(call_xml("SendInvoiceReply", inner))
    assert element.tag == f"{PALETTE}SendInvoiceReply"
    assert [child.tag.removeprefix(PALETTE) for child in element] == ["InvoiceReceipt", "Amount", "TransferFromQueue", "Erp"]
    assert [(child.tag, child.text) for child in element[0]] == [("InvoiceNo", "7"), ("ErrorText", "a<b")]
    assert [child.text for child in element[1:]] == ["100", "true", None]


# -- answers


def test_result_code_and_message_are_read_whatever_the_namespaces():
    assert read_row(reply(row_answer("Account", 2, "VAT code 25 & more is unknown")), "InsertAccount") == RowResult(
        2, "VAT code 25 & more is unknown"
    )
    bare = envelope(
        "<InsertAccountResponse><InsertAccountResult><ResultCode> 0 </ResultCode></InsertAccountResult></InsertAccountResponse>"
    )
    assert read_row(reply(bare), "InsertAccount").accepted


def test_a_null_result_is_none():
    assert read_answer(reply(envelope('<GetVersionResponse xmlns="http://palette.se/"/>')), "GetVersion") is None


BILLION = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(8))
NO_ANSWERS = {
    "empty": b"",
    "a proxy's page": b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><br></body></html>",
    "a well-formed page": b"<html><body><p>Sign in</p></body></html>",
    "json": b'{"ResultCode": 0}',
    "cut off": row_answer("Account")[:-40],
    "no xml at all": b"\x00\xff\xfe",
    "an external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + envelope("<a>&x;</a>").partition(b"?>")[2],
    "a billion laughs": f"<!DOCTYPE a [{BILLION}]>".encode() + envelope("<a>&e7;</a>").partition(b"?>")[2],
    "a document type around a good answer": b"<!DOCTYPE a>" + row_answer("Account").partition(b"?>")[2],
    "an envelope without a body": f'<s:Envelope xmlns:s="{SOAP_12}"/>'.encode(),
    "an empty body": envelope(""),
    "another operation's answer": row_answer("Supplier"),
    "a result in something else": row_answer("Account").replace(b"InsertAccountResponse", b"Anything"),
    "no result": envelope('<InsertAccountResponse xmlns="http://palette.se/"/>'),
    "no code": answer("InsertAccount", "<Message>fine</Message>"),
    "a code in words": row_answer("Account", "none"),
    "a nil code": row_answer("Account", ""),
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_is_never_taken_for_one(what: str):
    with pytest.raises(Transient) as raised:
        read_row(reply(NO_ANSWERS[what]), "InsertAccount")
    assert raised.value.code == "unreadable"
    assert not isinstance(raised.value, OutcomeUnknown)


def test_no_answer_to_a_call_that_must_not_be_repeated_leaves_its_outcome_unknown():
    for body, status in ((b"<html/>", 200), (fault("Receiver", "disk full"), 500), (b"<html/>", 502)):
        with pytest.raises(OutcomeUnknown):
            read_answer(reply(body, status), "SendInvoiceReply", safe=False)


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (fault("Sender", "Authentication failed: environment, user or password is wrong"), 500, Auth),
        (fault("Sender", "Invalid credentials"), 200, Auth),
        (fault("Sender", "User is not authorized"), 500, Auth),
        (fault("Sender", "Server did not recognize the operation InsertAcount"), 500, Permanent),
        (fault("Receiver", "Server was unable to process request. ---> Deadlock"), 500, Transient),
        (fault("VersionMismatch", "SOAP 1.2 only"), 500, Permanent),
        (fault_11("Client", "Login failed"), 500, Auth),
        (fault_11("Client.Record", "Missing parameter"), 500, Permanent),
        (fault_11("Server", "Timeout expired"), 500, Transient),
        (b"<html>Unauthorized</html>", 401, Auth),
        (b"", 403, Auth),
        (b"<html>Not here</html>", 404, Auth),
        (b"", 302, Auth),
        (b"<html>Bad gateway</html>", 502, Transient),
        (b"", 413, Permanent),
        (row_answer("Account"), 500, Transient),
    ],
)
def test_faults_and_statuses_become_our_errors(body: bytes, status: int, expected: type[ConnectError]):
    with pytest.raises(ConnectError) as raised:
        read_row(reply(body, status), "InsertAccount")
    assert type(raised.value) is expected
    assert raised.value.system == "prime"
    assert raised.value.status == status


def test_being_told_to_wait_says_how_long():
    for status in (429, 503):
        with pytest.raises(RateLimited) as raised:
            read_row(reply(b"", status, Retry_After="7"), "InsertAccount")
        assert raised.value.retry_after_s == 7


def test_prime_s_words_reach_the_reader_of_a_fault():
    with pytest.raises(Permanent, match="Unknown operation <Insert> & more"):
        read_row(reply(fault("Sender", "Unknown operation <Insert> & more"), 500), "InsertAccount")


# -- writing


async def test_answers_come_back_in_the_order_of_the_rows_however_late_they_arrive():
    late: list[asyncio.Event] = []

    async def respond(request: bytes) -> Reply:
        at = number_of(request)
        mine = asyncio.Event()
        late.append(mine)
        if len(late) == 4:  # four are on their way: let them go, last one first
            for event in reversed(late):
                event.set()
        await mine.wait() if at < 4 else None
        return reply(row_answer("Account", at, f"row {at}"))

    writer, http = registers(respond, parallel=4)
    results = await asyncio.wait_for(writer.write("Account", "100", bodies(10)), 60)
    assert results == [RowResult(at, f"row {at}") for at in range(10)]
    assert http.headers[0] == {"Content-Type": "application/soap+xml; charset=utf-8"}


async def test_no_more_calls_travel_at_once_than_set():
    now = most = 0

    async def respond(_: bytes) -> Reply:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return reply(row_answer("Account"))

    writer, http = registers(respond, parallel=3)
    await writer.write("Account", "100", bodies(20))
    assert (most, len(http.requests)) == (3, 20)


async def test_nothing_to_write_is_nothing_sent():
    writer, http = registers(lambda _: reply(b""))
    assert await writer.write("Account", "100", []) == []
    assert http.requests == []


async def test_rows_after_a_refused_log_in_are_not_tried():
    writer, http = registers(lambda _: reply(fault("Sender", "Authentication failed"), 500), parallel=2)
    results = await writer.write("Account", "100", bodies(50))
    assert len(results) == 50
    assert all(isinstance(result.error, Auth) for result in results)
    assert len(http.requests) <= 3


async def test_rows_after_a_long_outage_are_not_tried():
    writer, http = registers(lambda _: reply(b"<html/>", 502), parallel=4, tries=2)
    results = await writer.write("Account", "100", bodies(100))
    assert all(type(result.error) is Transient for result in results)
    assert len(http.requests) <= 2 * 8


async def test_rows_that_break_prime_hold_up_no_other():
    def respond(request: bytes) -> Reply:
        return reply(fault("Receiver", "overflow"), 500) if number_of(request) in (3, 9, 15) else reply(row_answer("Account"))

    writer, http = registers(respond, parallel=2, tries=2)
    results = await writer.write("Account", "100", bodies(20))
    assert [at for at, result in enumerate(results) if not result.accepted] == [3, 9, 15]
    assert type(results[3].error) is Transient
    assert len(http.requests) == 23


async def test_a_body_that_cannot_be_written_only_costs_its_own_row():
    writer, http = registers(lambda _: reply(row_answer("Account")))
    results = await writer.write("Account", "100", [bodies(1)[0], b"{", bodies(1)[0]])
    assert [result.accepted for result in results] == [True, False, True]
    assert isinstance(results[1].error, Poison)
    assert len(http.requests) == 2


async def test_a_transient_answer_is_asked_for_again():
    answers = [reply(b"<html/>", 502), reply(b""), reply(row_answer("Account"))]
    writer, http = registers(lambda _: answers.pop(0))
    assert (await writer.write("Account", "100", bodies(1)))[0].accepted
    assert len(http.requests) == 3


async def test_the_password_stays_out_of_everything_that_is_kept():
    echoes: list[Callable[[bytes], Reply]] = [
        lambda request: reply(fault("Sender", f"cannot read {request.decode()}"), 500),
        lambda request: reply(b"<html>" + request, 502),
        lambda request: reply(b"<html><pre>" + request + b"</pre></html>"),
        lambda request: reply(row_answer("Account", 1, f"{PASSWORD} {request.decode()}")),
    ]
    for echo in echoes:
        writer, _ = registers(echo, tries=1)
        (result,) = await writer.write("Account", "100", bodies(1))
        error = result.error
        kept = [result.message, *([str(error), repr(error), error.message, error.detail] if error else [])]
        for text in kept:
            assert PASSWORD not in text
            assert escape(PASSWORD) not in text
        assert any("***" in text for text in kept)
    assert PASSWORD not in repr(ACCESS)
    assert "pass" not in repr(registers(lambda _: reply(b""))[0].soap)


# -- any operation


@pytest.mark.parametrize(("status", "expected"), [(502, OutcomeUnknown), (429, RateLimited)])
async def test_a_call_that_must_not_be_repeated_is_sent_once(status: int, expected: type[ConnectError]):
    http = FakeHttp(lambda _: reply(b"<html/>", status))
    with pytest.raises(expected):
        await PrimeSoap(http, ACCESS, sleep=at_once).call("SendInvoiceReply", {"TransferFromQueue": True}, safe=False)  # type: ignore[arg-type]
    assert len(http.requests) == 1


def environment(**changed: str) -> Callable[[bytes], Reply]:
    """A Prime that answers the connection test."""
    results = {
        "GetVersion": "8.146.8.3086",
        "AuthenticateUser": "true",
        "ListEnvironments": "<string>TEST</string><string>DEMO</string>",
        "ListCompanies": "<string>100</string><string>200</string>",
    } | changed

    def respond(request: bytes) -> Reply:
        operation = read_back(request).tag.removeprefix(PALETTE)
        assert (PASSWORD in (read_back(request).findtext(f"{PALETTE}Password") or "")) == (operation != "GetVersion")
        return reply(answer(operation, results[operation]))

    return respond


async def test_the_check_tells_version_and_companies():
    writer, _ = registers(environment())
    assert await writer.check() == ("8.146.8.3086", ("100", "200"))


@pytest.mark.parametrize(
    ("changed", "expected", "words"),
    [
        ({"GetVersion": "7.1.0.996"}, Permanent, "8 or later"),
        ({"GetVersion": ""}, Permanent, "8 or later"),
        ({"AuthenticateUser": "false"}, Auth, "connect"),
        ({"ListEnvironments": "<string>TEST</string>"}, Permanent, "TEST"),
        ({"ListEnvironments": ""}, Permanent, "DEMO"),
    ],
)
async def test_the_check_says_what_is_wrong(changed: dict[str, str], expected: type[ConnectError], words: str):
    writer, _ = registers(environment(**changed))
    with pytest.raises(expected, match=words):
        await writer.check()
