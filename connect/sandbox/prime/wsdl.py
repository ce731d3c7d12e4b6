"""The WSDL, made from the table of operations: document/literal wrapped, a SOAP 1.1 and a SOAP 1.2 port at one address.

The children of a record in a request are in no namespace (prime.md 1.1), everything else is in Palette's.
"""

from __future__ import annotations

from functools import cache
from typing import Final
from xml.sax.saxutils import quoteattr

from connect.sandbox.prime.reading import PALETTE
from connect.sandbox.prime.soap import CREDENTIALS, OPERATIONS, ListOf, Operation
from connect.sandbox.prime.tables import Table

_XSD_TYPES: Final = {
    "text": "string", "date": "dateTime", "decimal": "decimal", "bool": "boolean", "whole": "long",
    "string": "string", "boolean": "boolean", "int": "long", "day": "string",
}  # fmt: skip


def _element(name: str, xsd_type: str, *, required: bool, many: bool = False, form: str = "", nillable: bool = False) -> str:
    limits = f'minOccurs="{int(required)}" maxOccurs="{"unbounded" if many else 1}"'
    return f'<s:element {limits} name="{name}" type="{xsd_type}"{form}{" nillable=" + quoteattr("true") if nillable else ""}/>'


def _record_type(type_name: str, table: Table, *, incoming: bool, left_out: frozenset[str] = frozenset()) -> str:
    form = ' form="unqualified"' if incoming else ""
    elements = [
        _element(column.name, f"s:{_XSD_TYPES[column.type]}", required=column.required, form=form, nillable=incoming)
        for column in table.columns
        if column.name not in table.rest_only | left_out
    ]
    suffix = "Input" if incoming else ""
    elements += [_element(name, f"tns:{inner.name}{suffix}", required=False, many=True, form=form) for name, inner in table.nested.items()]
    return f'<s:complexType name="{type_name}"><s:sequence>{"".join(elements)}</s:sequence></s:complexType>'


def _wrapper(name: str, elements: list[str]) -> str:
    return f'<s:element name="{name}"><s:complexType><s:sequence>{"".join(elements)}</s:sequence></s:complexType></s:element>'


def _add_record_type(types: dict[str, str], table: Table, *, incoming: bool, left_out: frozenset[str] = frozenset()) -> str:
    """Register the type of a table and of what is nested in it; its name."""
    name = f"{table.name}Input" if incoming else table.name
    types[name] = _record_type(name, table, incoming=incoming, left_out=left_out)
    for inner in table.nested.values():
        _add_record_type(types, inner, incoming=incoming)
    return f"tns:{name}"


def _result_type(operation: Operation, types: dict[str, str]) -> str:
    result = operation.result
    if isinstance(result, Table):
        return _add_record_type(types, result, incoming=False)
    if isinstance(result, ListOf):
        name = f"ArrayOf{result.item[0].upper()}{result.item[1:]}"
        inner = "s:string" if result.table is None else _add_record_type(types, result.table, incoming=False, left_out=result.left_out)
        item = _element(result.item, inner, required=False, many=True)
        types[name] = f'<s:complexType name="{name}"><s:sequence>{item}</s:sequence></s:complexType>'
        return f"tns:{name}"
    if result == "result":
        elements = _element("ResultCode", "s:int", required=True) + _element("Message", "s:string", required=False)
        types["Result"] = f'<s:complexType name="Result"><s:sequence>{elements}</s:sequence></s:complexType>'
        return "tns:Result"
    return f"s:{result}"


def _schema(operations: tuple[Operation, ...]) -> str:
    types: dict[str, str] = {}
    wrappers = []
    for operation in operations:
        elements = [_element(name, "s:string", required=True) for name in (CREDENTIALS if operation.credentials else ())]
        for parameter in operation.parameters:
            if isinstance(parameter.type, Table):
                xsd_type = _add_record_type(types, parameter.type, incoming=True)
            else:
                xsd_type = f"s:{_XSD_TYPES[parameter.type]}"
            elements.append(_element(parameter.name, xsd_type, required=parameter.required))
        scalar = operation.result == "boolean"
        wrappers.append(_wrapper(operation.name, elements))
        wrappers.append(
            _wrapper(f"{operation.name}Response", [_element(f"{operation.name}Result", _result_type(operation, types), required=scalar)])
        )
    return f'<s:schema elementFormDefault="qualified" targetNamespace="{PALETTE}">{"".join(wrappers)}{"".join(types.values())}</s:schema>'


def _binding(name: str, prefix: str, names: list[str]) -> str:
    operations = "".join(
        f'<wsdl:operation name="{operation}"><{prefix}:operation soapAction="{PALETTE}{operation}" style="document"/>'
        f'<wsdl:input><{prefix}:body use="literal"/></wsdl:input><wsdl:output><{prefix}:body use="literal"/></wsdl:output></wsdl:operation>'
        for operation in names
    )
    return (
        f'<wsdl:binding name="{name}" type="tns:WebServiceSoap"><{prefix}:binding transport="http://schemas.xmlsoap.org/soap/http"/>'
        f"{operations}</wsdl:binding>"
    )


@cache
def wsdl(address: str, renamed: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The description of the service at `address` (its URL without the query). `renamed`: operations with another name here."""
    operations = tuple(operation._replace(name=dict(renamed).get(name, name)) for name, operation in OPERATIONS.items())
    names = [operation.name for operation in operations]
    messages = "".join(
        f'<wsdl:message name="{name}Soap{way}"><wsdl:part name="parameters" element="tns:{name}{suffix}"/></wsdl:message>'
        for name in names
        for way, suffix in (("In", ""), ("Out", "Response"))
    )
    port_type = "".join(
        f'<wsdl:operation name="{name}"><wsdl:input message="tns:{name}SoapIn"/><wsdl:output message="tns:{name}SoapOut"/></wsdl:operation>'
        for name in names
    )
    location = quoteattr(address)
    return (
        '<?xml version="1.0" encoding="utf-8"?><wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
        'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/" '
        f'xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:tns="{PALETTE}" targetNamespace="{PALETTE}">'
        f"<wsdl:types>{_schema(operations)}</wsdl:types>{messages}"
        f'<wsdl:portType name="WebServiceSoap">{port_type}</wsdl:portType>'
        f"{_binding('WebServiceSoap', 'soap', names)}{_binding('WebServiceSoap12', 'soap12', names)}"
        '<wsdl:service name="WebService">'
        f'<wsdl:port name="WebServiceSoap" binding="tns:WebServiceSoap"><soap:address location={location}/></wsdl:port>'
        f'<wsdl:port name="WebServiceSoap12" binding="tns:WebServiceSoap12"><soap12:address location={location}/></wsdl:port>'
        "</wsdl:service></wsdl:definitions>"
    ).encode()
