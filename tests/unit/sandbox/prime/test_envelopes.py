"""SOAP requests read and answers written, without a server."""

from __future__ import annotations

import pytest
from lxml import etree
from prime_box import PALETTE, SOAP_11, SOAP_12, envelope, record

from connect.sandbox.prime import soap
from connect.sandbox.prime.tables import INVOICE, REGISTERS
from connect.sandbox.prime.wsdl import wsdl


def read(body: bytes) -> soap.Call:
    return soap.read_call(soap.parse(body, "application/soap+xml"))


def test_a_call_holds_its_arguments_by_name_and_type() -> None:
    inner = "<p:UpdateQueueStatus>1</p:UpdateQueueStatus><p:Company> </p:Company><p:NoOfRows/>"
    call = read(envelope("ListInvoicesReadyForDeletion", inner))
    assert call.arguments == {
        "Environment": "DEMO", "UserID": "connect", "Password": "demo-password",
        "UpdateQueueStatus": True, "Company": " ", "NoOfRows": None,
    }  # fmt: skip


def test_nil_clears_a_field_and_white_space_around_numbers_and_dates_does_not_count() -> None:
    xsi = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
    inner = (
        f'<p:Supplier {xsi}><Supplier>1</Supplier><Note i:nil="true"/><Blocked> 1 </Blocked><ValidTo>\n2026-01-02\n</ValidTo></p:Supplier>'
    )
    call = read(envelope("InsertSupplier", inner + "<p:TransferFromQueue>true</p:TransferFromQueue>"))
    assert call.arguments["Supplier"] == {"Supplier": "1", "Note": None, "Blocked": 1, "ValidTo": "2026-01-02"}


def test_text_is_whole_around_comments_and_in_cdata() -> None:
    inner = "<p:Supplier><Name>a<!-- no -->b<![CDATA[<c> & ]]></Name></p:Supplier><p:TransferFromQueue>true</p:TransferFromQueue>"
    call = read(envelope("InsertSupplier", inner))
    assert call.arguments["Supplier"] == {"Name": "ab<c> & "}
    assert call.ignored == 0


def test_a_record_that_cannot_be_taken_is_kept_as_a_refusal() -> None:
    call = read(envelope("InsertSupplier", record("Supplier", Supplier="1", Blocked="x")))
    assert call.refused is not None
    assert (call.refused.code, call.refused.message) == (1, "Field Blocked: value 'x' is not valid, expected a whole number from 0 to 2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_other_encodings_are_read_by_their_declaration(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + envelope("InsertAccount", record("Account", Name="Ærø")).decode()
    assert read(text.encode(encoding)).arguments["Account"] == {"Name": "Ærø"}


def test_a_dtd_is_refused_in_every_encoding() -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]>' + envelope("GetVersion").decode()
    with pytest.raises(soap.Fault, match="DTD is prohibited"):
        soap.parse(text.encode("utf-16"), "text/xml")


def test_a_fault_before_the_envelope_is_read_goes_by_the_content_type() -> None:
    for content_type, version in (("text/xml; charset=utf-8", SOAP_11), ("application/soap+xml", SOAP_12)):
        with pytest.raises(soap.Fault) as caught:
            soap.parse(b"<", content_type)
        assert caught.value.version == version


def test_an_answer_escapes_and_replaces_what_xml_cannot_carry() -> None:
    request = soap.parse(envelope("GetVersion", credentials=""), "text/xml")
    root = etree.fromstring(soap.answer_xml(request, "a<b>&\x00\ud800\r\n"))
    assert root[0][0][0].text == "a<b>&\ufffd\ufffd\r\n"


def test_no_record_is_an_answer_without_a_result() -> None:
    request = soap.parse(envelope("ListCompanyData", "<p:Company>1</p:Company>"), "text/xml")
    response = etree.fromstring(soap.answer_xml(request, None))[0][0]
    assert (response.tag, len(response)) == (f"{PALETTE}ListCompanyDataResponse", 0)


def test_an_answered_record_has_its_fields_in_order_and_none_without_a_value() -> None:
    given = {"Name": "x", "Company": "100", "ValidTo": "2026-01-02", "CalculateVATAmountOnCostRow": False, "ArrivalType": 0}
    assert soap.record_xml(REGISTERS["Company"], given) == (
        "<Company>100</Company><Name>x</Name><ValidTo>2026-01-02T00:00:00</ValidTo><ArrivalType>0</ArrivalType>"
        "<CalculateVATAmountOnCostRow>false</CalculateVATAmountOnCostRow>"
    )
    assert "<PurchaseOrderNo" not in soap.record_xml(INVOICE, {})
    assert "<Account />" in soap.record_xml(INVOICE, {})


def test_the_description_names_every_operation_on_both_ports() -> None:
    root = etree.fromstring(wsdl("http://127.0.0.1:1/ws/webService.asmx?a=1&b=2"))
    space = "{http://schemas.xmlsoap.org/wsdl/}"
    for part in [root.find(f"{space}portType"), *root.findall(f"{space}binding")]:
        assert part is not None
        assert {operation.get("name") for operation in part.findall(f"{space}operation")} == set(soap.OPERATIONS)
    addresses = [element.get("location") for element in root.iter() if etree.QName(element).localname == "address"]
    assert addresses == ["http://127.0.0.1:1/ws/webService.asmx?a=1&b=2"] * 2


def test_the_description_puts_the_children_of_a_sent_record_in_no_namespace_and_those_of_an_answered_one_in_palettes() -> None:
    schema = "{http://www.w3.org/2001/XMLSchema}"
    types = {kind.get("name"): kind for kind in etree.fromstring(wsdl("http://x")).iter(f"{schema}complexType")}
    assert {element.get("form") for element in types["SupplierInput"].iter(f"{schema}element")} == {"unqualified"}
    assert {element.get("form") for element in types["Invoice"].iter(f"{schema}element")} == {None}
    assert "Description" not in {element.get("name") for element in types["ObjectInput"].iter(f"{schema}element")}
