"""The web service: SOAP 1.2 and 1.1 at one address, answered in kind (D1); one table of operations, which the WSDL is made from too.

Operation names: prime.md 6.1. Faults are sent with HTTP 500, unreadable XML with 400, a wrong content type with 415, as ASP.NET does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from connect.sandbox.prime.reading import PALETTE, local_name, read_element, text_of
from connect.sandbox.prime.tables import (
    COMPANY_DATA,
    CUSTOM_SETTING,
    ENVIRONMENT_DATA,
    EVENT_LOG,
    INVOICE,
    INVOICE_IMAGE,
    INVOICE_RECEIPT,
    PAYMENT_DATE,
    REGISTERS,
    Column,
    Record,
    Refused,
    Table,
    read_date,
)

SOAP_11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12: Final = "http://www.w3.org/2003/05/soap-envelope"
CONTENT_TYPES: Final = {SOAP_11: "text/xml", SOAP_12: "application/soap+xml"}
_ENVELOPES: Final = {f"{{{version}}}Envelope": version for version in CONTENT_TYPES}

ParameterType = Literal["string", "boolean", "int", "date", "day"]
"""`date` is xs:dateTime, `day` a text `yyyy-MM-dd`."""


class Parameter(NamedTuple):
    """One element after the credentials. `type` is a Table for a record."""

    name: str
    type: ParameterType | Table
    required: bool = True


class ListOf(NamedTuple):
    """A result of repeated `item` elements; `table` None: plain texts. `left_out`: columns that the answer does not carry."""

    item: str
    table: Table | None = None
    left_out: frozenset[str] = frozenset()


class Operation(NamedTuple):
    """`result`: "string", "boolean", "result" (ResultCode, Message), a Table (one record, or none) or a list."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Literal["string", "boolean", "result"] | Table | ListOf
    credentials: bool = True


_TRANSFER: Final = Parameter("TransferFromQueue", "boolean")
_LIST_PARAMETERS: Final = (
    Parameter("UpdateQueueStatus", "boolean"),
    Parameter("Company", "string", required=False),
    Parameter("NoOfRows", "string", required=False),
)
_ERP: Final = Parameter("Erp", "string")
_INVOICES: Final = ListOf("Invoice", INVOICE)
_UNIQUE_KEY: Final = (Parameter("Company", "string"), Parameter("Supplier", "string"), Parameter("SupplierInvoiceNo", "string"))

OPERATIONS: Final = {
    operation.name: operation
    for operation in (
        Operation("GetVersion", (), "string", credentials=False),
        Operation("AuthenticateUser", (), "boolean"),
        Operation("ListEnvironments", (), ListOf("string")),
        Operation("ListCompanies", (), ListOf("string")),
        *(Operation(f"Insert{name}", (Parameter(name, table), _TRANSFER), "result") for name, table in REGISTERS.items()),
        Operation("ListEnvironmentData", (), ENVIRONMENT_DATA),
        Operation("ListCompanyData", (Parameter("Company", "string"),), COMPANY_DATA),
        Operation(
            "ListCustomSettings",
            (
                *(Parameter(name, "string", required=False) for name in ("sCompany", "sType", "sSetting", "sValue")),
                Parameter("CompanyIsNull", "boolean", required=False),
            ),
            ListOf("CustomSettingsItem", CUSTOM_SETTING),
        ),
        Operation("InsertCustomSetting", (Parameter("CustomSettingsItem", CUSTOM_SETTING),), "result"),
        Operation("UpdateCustomSetting", (Parameter("CustomSettingsItem", CUSTOM_SETTING),), "result"),
        Operation("ListInvoicesReadyForFinalRecording", _LIST_PARAMETERS, _INVOICES),
        Operation("ListInvoicesReadyForFinalRecordingERP", (_ERP, *_LIST_PARAMETERS), _INVOICES),
        Operation("ListInvoicesReadyForDeletion", _LIST_PARAMETERS, _INVOICES),
        Operation("ListInvoicesReadyForDeletionERP", (_ERP, *_LIST_PARAMETERS), _INVOICES),
        Operation("SendInvoiceReply", (Parameter("InvoiceReceipt", INVOICE_RECEIPT), _TRANSFER), "result"),
        Operation("InsertInvoiceReceiptByUQ", (Parameter("InvoiceReceipt", INVOICE_RECEIPT), *_UNIQUE_KEY), "result"),
        Operation(
            "ListInvoicesMissingPaymentDate",
            (
                Parameter("Company", "string", required=False),
                Parameter("FromAccountCodingDate", "day"),
                Parameter("ERP", "string", required=False),
            ),
            _INVOICES,
        ),
        Operation("SetInvoicePaymentDate", (Parameter("oInvoicePaymentDateItem", PAYMENT_DATE),), "result"),
        Operation("SetInvoicePaymentDateByUQ", (*_UNIQUE_KEY, Parameter("PaymentDate", "date"), Parameter("Note", "string")), "result"),
        Operation(
            "GetInvoiceImage",
            (Parameter("InvoiceSeries", "string"), Parameter("InvoiceNo", "int")),
            ListOf("InvoiceImage", INVOICE_IMAGE, left_out=frozenset({"InvoiceSeries", "InvoiceNo"})),
        ),
        Operation("InsertEventLog", (Parameter("EventLogItem", EVENT_LOG),), "result"),
    )
}
CREDENTIALS: Final = ("Environment", "UserID", "Password")  # D2
_EXPECTED: Final = {
    operation.name: {
        parameter.name: parameter
        for parameter in (*(Parameter(name, "string") for name in CREDENTIALS if operation.credentials), *operation.parameters)
    }
    for operation in OPERATIONS.values()
}
"""Per operation, every element it takes."""


class Fault(Exception):
    """A SOAP fault. `sender`: the caller's mistake, else ours. `version`: in which envelope to say so, where the request's is not known."""

    def __init__(self, message: str, *, sender: bool = True, status: int = 500, version: str = SOAP_12) -> None:
        super().__init__(message)
        self.message = message
        self.sender = sender
        self.status = status
        self.version = version


class Request(NamedTuple):
    """A readable envelope: its version's namespace and the element that names the operation."""

    version: str
    name: str
    element: Any


class Call(NamedTuple):
    """An operation's arguments, read. A record that cannot be taken is a Refused in `refused`."""

    operation: Operation
    arguments: dict[str, Any]
    refused: Refused | None
    ignored: int


def parse(body: bytes, content_type: str) -> Request:
    """Read an envelope. DTDs are refused and with them every entity; nothing is fetched. Raises Fault."""
    version = SOAP_11 if content_type.startswith("text/xml") else SOAP_12
    if "xml" not in content_type:
        raise Fault(f"The content type {content_type!r} is not text/xml or application/soap+xml", status=415, version=version)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Fault(f"Server was unable to read request. ---> {error}", status=400, version=version) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise Fault("Server was unable to read request. ---> For security reasons DTD is prohibited", status=400, version=version)
    if root.tag not in _ENVELOPES:
        raise Fault("Possible SOAP version mismatch: the document is no SOAP 1.1 or 1.2 envelope", version=version)
    version = _ENVELOPES[root.tag]
    inner = root.find(f"{{{version}}}Body")
    if inner is None or not len(inner):
        raise Fault("The envelope has no body, or the body is empty", version=version)
    element = inner[0]
    return Request(version, local_name(element) or str(element.tag), element)


def renamed(request: Request, names: Mapping[str, str]) -> Request:
    """The request as if this Prime had the usual names. `names`: operation -> how it is called here; its usual name is unknown then."""
    usual = next((name for name, other in names.items() if other == request.name), None)
    if usual is not None:
        request.element.tag = f"{{{PALETTE}}}{usual}"
        return request._replace(name=usual)
    return request._replace(name="") if request.name in names else request


def read_call(request: Request) -> Call:
    """The operation and its arguments, credentials included. Raises Fault for what .NET would not let through."""
    operation = OPERATIONS.get(request.name) if request.element.tag == f"{{{PALETTE}}}{request.name}" else None
    if operation is None:
        raise Fault(f"Server did not recognize the operation {request.element.tag}")
    expected = _EXPECTED[operation.name]
    elements = {name: child for child in request.element if (name := local_name(child)) in expected}
    ignored = len(request.element) - len(elements)
    arguments: dict[str, Any] = {}
    refused: Refused | None = None
    for parameter in expected.values():
        element = elements.get(parameter.name)
        if element is None:
            if parameter.required:
                raise Fault(f"{operation.name}: missing parameter {parameter.name}")
            arguments[parameter.name] = None
        elif isinstance(parameter.type, Table):
            try:
                arguments[parameter.name], strange = read_element(parameter.type, element)
                ignored += strange
            except Refused as refusal:
                refused = refused or refusal
        else:
            arguments[parameter.name] = _argument(request, parameter, text_of(element))
    return Call(operation, arguments, refused, ignored)


def _argument(request: Request, parameter: Parameter, text: str) -> Any:
    if parameter.type == "string":
        return text or None
    text = text.strip()
    try:
        if not text and not parameter.required:
            return None
        if parameter.type == "boolean":
            return {"true": True, "1": True, "false": False, "0": False}[text]
        if parameter.type == "int":
            return int(text)
        return read_date(text)
    except (ValueError, KeyError):
        expected = {"boolean": "true or false", "int": "a whole number", "date": "a date and time", "day": "a date as yyyy-MM-dd"}
        message = f"{request.name}: parameter {parameter.name} is {text!r}, expected {expected[str(parameter.type)]}"
        raise Fault(message) from None


# -- answers

_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _text(value: Any) -> str:
    """Escaped; what XML cannot carry is U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", str(value)), {"\r": "&#13;"})


def _field(column: Column, value: Any) -> str:
    if column.type == "bool":
        value = "true" if value else "false"
    elif column.type == "date" and len(value) == len("yyyy-MM-dd"):
        value = f"{value}T00:00:00"
    return f"<{column.name}>{_text(value)}</{column.name}>"


def record_xml(table: Table, record: Record, left_out: frozenset[str] = frozenset()) -> str:
    """A record's elements in the order of its table; fields without a value are absent, required texts empty."""
    parts = []
    for column in table.columns:
        if column.name in left_out or column.name in table.rest_only:
            continue
        value = record.get(column.name)
        if value is not None:
            parts.append(_field(column, value))
        elif column.required and column.type == "text":
            parts.append(f"<{column.name} />")
    for name, inner in table.nested.items():
        parts.extend(f"<{name}>{record_xml(inner, nested)}</{name}>" for nested in record.get(name, ()))
    return "".join(parts)


def _result_xml(operation: Operation, name: str, value: Any) -> str:
    """The `<Op>Result` element; absent where .NET returns null."""
    if value is None:
        return ""
    kind = operation.result
    if kind == "boolean":
        inner = "true" if value else "false"
    elif kind == "result":
        code, message = value
        inner = f"<ResultCode>{code}</ResultCode><Message>{_text(message)}</Message>"
    elif isinstance(kind, ListOf) and kind.table is None:
        inner = "".join(f"<{kind.item}>{_text(text)}</{kind.item}>" for text in value)
    elif isinstance(kind, ListOf) and kind.table is not None:
        inner = "".join(f"<{kind.item}>{record_xml(kind.table, record, kind.left_out)}</{kind.item}>" for record in value)
    elif isinstance(kind, Table):
        inner = record_xml(kind, value)
    else:
        inner = _text(value)
    return f"<{name}Result>{inner}</{name}Result>"


def _envelope(version: str, body: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{version}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()


def answer_xml(request: Request, value: Any, name: str = "") -> bytes:
    """The answer; `name`: how this Prime calls the operation, where that is not its usual name."""
    name = name or request.name
    return _envelope(
        request.version, f'<{name}Response xmlns="{PALETTE}">{_result_xml(OPERATIONS[request.name], name, value)}</{name}Response>'
    )


def fault_xml(fault: Fault, version: str) -> bytes:
    message = _text(fault.message)
    if version == SOAP_11:
        code = "Client" if fault.sender else "Server"
        inner = f"<faultcode>soap:{code}</faultcode><faultstring>{message}</faultstring><detail />"
    else:
        code = "Sender" if fault.sender else "Receiver"
        inner = (
            f"<soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
            f'<soap:Reason><soap:Text xml:lang="en">{message}</soap:Text></soap:Reason><soap:Detail />'
        )
    return _envelope(version, f"<soap:Fault>{inner}</soap:Fault>")
