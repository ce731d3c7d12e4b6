"""Prime's SOAP envelopes: calls to bytes, answers to a result or to one of our errors. Nothing here is sent.

The XML is written by hand because an element builder costs four times as much. Source: prime.md 1.1, 6.1 and 8 (D1-D4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from xml.sax.saxutils import escape

import msgspec
import structlog
from lxml import etree

from connect.errors import Auth, ConnectError, OutcomeUnknown, Permanent, Poison, Transient
from connect.http import Reply, error_of
from connect.mapping import NOT_XML
from connect.prime.port import RowResult
from connect.prime.replies import status_error, unreadable

PALETTE: Final = "http://palette.se/"
CONTENT_TYPE: Final = "application/soap+xml; charset=utf-8"
_SOAP_12: Final = "http://www.w3.org/2003/05/soap-envelope"
_HEAD: Final = f'<?xml version="1.0" encoding="utf-8"?><soap12:Envelope xmlns:soap12="{_SOAP_12}" xmlns:pal="{PALETTE}"><soap12:Body>'
_TAIL: Final = "</soap12:Body></soap12:Envelope>"
_AT_ONCE: Final = "<pal:TransferFromQueue>true</pal:TransferFromQueue>"  # the result speaks for the register, not for its queue
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SPECIAL: Final = re.compile("[&<>\r" + NOT_XML.pattern.removeprefix("["))
_NOT_LET_IN: Final = re.compile(
    r"credential|password|log(ged)?[ -]?(i|o)n|authenticat|unauthori[sz]ed|not authori[sz]ed|access (is )?denied", re.IGNORECASE
)

log = structlog.get_logger()

# -- calls


def call_xml(operation: str, inner: str) -> bytes:
    """A whole request; `inner` is the operation's children, credentials first."""
    return f"{_HEAD}<pal:{operation}>{inner}</pal:{operation}>{_TAIL}".encode()


def insert_xml(kind: str, credentials: str, body: bytes) -> bytes:
    """The request that upserts one record, given as a JSON object. Raises Poison when it cannot be written."""
    return call_xml(f"Insert{kind}", f"{credentials}<pal:{kind}>{record_xml(body)}</pal:{kind}>{_AT_ONCE}")


def parameters_xml(parameters: Mapping[str, Any]) -> str:
    """An operation's own children, in Palette's namespace. A mapping is a record: its fields are in none (D4)."""
    return "".join(
        f"<pal:{name}>{_children(value) if isinstance(value, Mapping) else _text(value)}</pal:{name}>" for name, value in parameters.items()
    )


def record_xml(body: bytes) -> str:
    """A record's fields in the order of its JSON: null is an empty element, a list its element repeated, an empty list one empty element.

    Numbers keep their digits. Raises Poison when the body is no JSON object or a name is none for XML.
    """
    try:
        record = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"a row for Prime is no JSON object ({error})", code="bad_body") from error
    is_plain = _is_plain(body)
    if is_plain and _AS_IS.issuperset(map(type, record.values())):  # nearly every row: three times faster than field by field
        return _templates[tuple(record)] % tuple(["" if value is None else value for value in record.values()])
    return _children(record, is_plain=is_plain)


def _is_plain(body: bytes) -> bool:
    """Whether no text of a JSON body needs escaping in XML (a quick look that may say no too often)."""
    return not (b"&" in body or b"<" in body or b">" in body or b"\\" in body or b"\xef" in body)


def _digits(number: str) -> str:
    """A JSON number as Prime reads one: never with an exponent."""
    return format(Decimal(number), "f") if "e" in number or "E" in number else number


_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=_digits).decode


class _Tags(dict[str, tuple[str, str]]):
    """Opening and closing tag of every field name met so far."""

    def __missing__(self, name: str) -> tuple[str, str]:
        if _NAME.fullmatch(name) is None:
            raise Poison(f"a row for Prime has a field named {name[:60]!r}, which XML cannot carry", code="bad_body")
        self[name] = tags = (f"<{name}>", f"</{name}>")
        return tags


_tags: Final = _Tags()
_AS_IS: Final = frozenset((str, int, type(None)))


class _Templates(dict[tuple[str, ...], str]):
    """All fields of a record with a place for each value, by the fields' names: records of one kind have the same ones."""

    def __missing__(self, names: tuple[str, ...]) -> str:
        self[names] = template = "".join([f"{opening}%s{closing}" for opening, closing in map(_tags.__getitem__, names)])
        return template


_templates: Final = _Templates()


def _children(record: Mapping[str, Any], *, is_plain: bool = False) -> str:
    parts: list[str] = []
    for name, value in record.items():
        opening, closing = _tags[name]
        if is_plain and value.__class__ is str:
            parts.append(f"{opening}{value}{closing}")
        elif value.__class__ is list:
            inner = [_children(item, is_plain=is_plain) if item.__class__ is dict else _text(item) for item in value] or [""]
            parts.extend(f"{opening}{one}{closing}" for one in inner)
        elif value.__class__ is dict:
            parts.append(f"{opening}{_children(value, is_plain=is_plain)}{closing}")
        else:
            parts.append(f"{opening}{_text(value)}{closing}")
    return "".join(parts)


def _text(value: Any) -> str:
    """Escaped; a carriage return by number, else a reader makes it a line feed. What XML cannot carry is U+FFFD."""
    if value is None:
        return ""
    if value.__class__ is bool:
        return "true" if value else "false"
    text = format(value, "f") if value.__class__ is Decimal else str(value)
    return escape(NOT_XML.sub("\ufffd", text), {"\r": "&#13;"}) if _SPECIAL.search(text) else text


# -- answers


LARGE_BYTES: Final = 1_000_000  # an answer that takes so long to read that others should have their turn meanwhile
_DECLARED: Final = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", re.ASCII)
_REFERENCE: Final = re.compile(r"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")


class _NoSoapError(Exception):
    """What came back is no SOAP envelope."""


def local_name(element: etree._Element) -> str:
    """An element's name whatever its namespace."""
    return str(element.tag).rpartition("}")[2]


def child_text(element: etree._Element, name: str) -> str | None:
    """The text of the child of that local name; None when there is no such child."""
    return next((child.text or "" for child in element if local_name(child) == name), None)


def read_answer(reply: Reply, operation: str, *, safe: bool = True, files: bool = False) -> etree._Element | None:
    """The `<Op>Result` element of an answer; None when Prime left it out, its way to say null. `files`: single texts may be as long as
    files are (else 10 MB).

    Raises Auth, Permanent or Transient for a fault or a status; Transient for what is no answer to this call, OutcomeUnknown in its
    place when the call is not `safe` to repeat.
    """
    if reply.status in (401, 403, 429):
        raise error_of(reply, system="prime", safe=safe)
    try:
        element = _first_in_body(reply.body, operation, files=files)
    except _NoSoapError as error:
        if reply.status != 200:
            raise status_error(reply, "url", safe=safe) from error
        raise unreadable(f"Prime's answer to {operation} is no SOAP: {error}", reply, safe=safe) from error
    name = local_name(element)
    if name == "Fault":
        raise _fault(element, reply, operation, safe=safe)
    if reply.status != 200:
        raise status_error(reply, "url", safe=safe)
    if name != f"{operation}Response":
        raise unreadable(f"Prime's answer to {operation} is a {name[:60]}", reply, safe=safe)
    return next((child for child in element if local_name(child) == f"{operation}Result"), None)


def read_row(reply: Reply, operation: str) -> RowResult:
    """What an insert says of its row. Raises as `read_answer`."""
    result = read_answer(reply, operation)
    code = child_text(result, "ResultCode") if result is not None else None
    try:
        if result is None or code is None:
            raise ValueError("there is none")
        return RowResult(int(code), child_text(result, "Message") or "")
    except ValueError as error:
        raise unreadable(f"Prime's answer to {operation} has no ResultCode that is a number", reply) from error


def _first_in_body(body: bytes, operation: str, *, files: bool) -> etree._Element:
    root = _root(body, operation, files=files)
    if root.getroottree().docinfo.doctype:  # type: ignore[attr-defined]  # the stubs do not know it
        raise _NoSoapError("it has a document type, which is refused")
    inner = next((child for child in root if local_name(child) == "Body"), None) if local_name(root) == "Envelope" else None
    if inner is None or not len(inner):
        raise _NoSoapError(f"<{local_name(root)[:60]}> without a SOAP body")
    return inner[0]


def _parser(*, huge: bool) -> etree.XMLParser:
    """`huge` lifts libxml2's own limits, those on entities too: never for a body that may declare any."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=huge,
        encoding="utf-8" if huge else None,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )


_PARSER: Final = _parser(huge=False)


def _root(body: bytes, operation: str, *, files: bool) -> etree._Element:
    """A large body is parsed with a parser of its own: a shared one is locked meanwhile, and others wait for it."""
    if files and b"<!DOCTYPE" in body:  # in UTF-8, which is all that the parser takes then, it cannot hide
        raise _NoSoapError("it has a document type, which is refused")
    parser = _parser(huge=files) if files or len(body) > LARGE_BYTES else _PARSER
    try:
        return etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        mended = _mended(body)
        if mended is None:
            raise _NoSoapError("empty" if not body else f"not XML ({error.msg})") from error
    try:
        root = etree.fromstring(mended, parser)
    except etree.XMLSyntaxError as error:
        raise _NoSoapError(f"not XML ({error.msg})") from error
    log.warning("Prime sent characters that XML cannot carry; each is now a U+FFFD", operation=operation)
    return root


def _mended(body: bytes) -> bytes | None:
    """The body without what XML cannot carry: .NET writes a control character in a record as `&#x1;`, which makes the whole answer
    unreadable, and one such record would hide all others. None when nothing is to be mended.
    """
    declared = _DECLARED.search(body[:200])
    if declared is not None and declared[1].lower() not in (b"utf-8", b"utf8"):
        return None
    text = _REFERENCE.sub(_reference, NOT_XML.sub("\ufffd", body.decode("utf-8-sig", "replace")))
    mended = text.encode()
    return mended if mended != body else None


def _reference(found: re.Match[str]) -> str:
    number = int(found[1], 16) if found[1] else int(found[2])
    return "\ufffd" if number > 0x10FFFF or NOT_XML.search(chr(number)) else found[0]


def _fault(fault: etree._Element, reply: Reply, operation: str, *, safe: bool) -> ConnectError:
    """SOAP 1.2: Code/Value and Reason/Text; SOAP 1.1: faultcode and faultstring (D1)."""
    texts = {local_name(element): (element.text or "").strip() for element in reversed(list(fault.iter()))}
    code = (texts.get("Value") or texts.get("faultcode") or "").rpartition(":")[2].partition(".")[0]
    words = texts.get("Text") or texts.get("faultstring") or "no reason given"
    message = f"Prime refuses {operation}: {words}"
    facts: dict[str, Any] = {"system": "prime", "code": code or "fault", "status": reply.status, "detail": words}
    if code in ("Receiver", "Server"):
        return (Transient if safe else OutcomeUnknown)(f"Prime failed at {operation}: {words}", **facts)
    if code in ("Sender", "Client") and _NOT_LET_IN.search(words):
        return Auth(f"{message}. Check environment, username and password", **facts)
    return Permanent(message, **facts)
