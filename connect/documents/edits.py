"""What a person may change of an invoice that waits: its coding, its dates, its texts (design section 4).

Never supplier, amount, currency or anything that decides where money goes: those were approved in Prime and are changed there.

    payload of a dead letter --form_from--> Invoice --edited--> Invoice, and the changes by path
    invoice as Prime lists it --with_changes--> the same, when it still is what was edited; else as Prime lists it

`lines[0]` is the first line that a clerk codes; the trade creditors' lines, which are never sent, are not among them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec

from connect.documents.invoice import CREDITORS, OBJECT_TYPES, Invoice, InvoiceLine
from connect.errors import ConfigError, Poison
from connect.mapping import NOT_XML

DATES: Final = ("invoiced_on", "due_on", "posted_on", "paid_on")
TEXTS: Final = ("note",)
LINE_TEXTS: Final = ("account", "vat_code", "note")
CODE_MOST, NOTE_MOST = 100, 2000  # characters of a number or code; of a text
REQUIRED: Final = ("account", "due_on", "posted_on")
_PATH: Final = re.compile(r"lines\[(\d{1,4})\]\.(?:(\w+)|objects\[(\d)\])")
_APPROVED: Final = (
    "supplier", "amount", "currency", "vat_amount", "pay_reference", "is_credit", "is_blocked", "supplier_invoice_no", "voucher_no",
    "bank_account", "iban", "id", "status", "type", "number",
)  # fmt: skip

Changes = Mapping[str, str | None]


class Difference(NamedTuple):
    """One field before and after, as text; None: empty."""

    path: str
    before: str | None
    after: str | None

    @property
    def text(self) -> str:
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


def form_of(invoice: Invoice) -> Invoice:
    """The invoice as a person sees and edits it: the lines that are coded."""
    return msgspec.structs.replace(invoice, lines=tuple(line for line in invoice.lines if line.type != CREDITORS))


def form_from(payload: bytes) -> Invoice:
    """A dead letter's payload. Raises Poison when it holds no invoice."""
    try:
        return form_of(msgspec.json.decode(payload, type=Invoice))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"the letter holds no invoice that can be edited ({error})", code="bad_record") from error


def payload_of(invoice: Invoice) -> bytes:
    """What a dead letter keeps of an invoice."""
    return msgspec.json.encode(form_of(invoice))


def digest_of(invoice: Invoice) -> str:
    """Of all that Prime says of it, but for lines that are never sent."""
    return hashlib.sha256(payload_of(invoice)).hexdigest()[:32]


def changes_from(texts: Sequence[str]) -> dict[str, str | None]:
    """`PATH=VALUE …` as a mapping; an empty value clears. Raises ConfigError."""
    found: dict[str, str | None] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise _wrong(f"--set {text}: expected PATH=VALUE, such as lines[0].account=6541")
        found[path.strip()] = value.strip() or None
    return found


def edited(form: Invoice, changes: Changes) -> tuple[Invoice, list[Difference]]:
    """The invoice with the changes, and what differs. Raises ConfigError in words for what may not be changed or does not fit."""
    fields: dict[str, Any] = {}
    lines = list(form.lines)
    for path, value in changes.items():
        match = _PATH.fullmatch(path)
        if match is None:
            fields[path] = _header_value(path, value)
            continue
        at = int(match[1])
        if at >= len(lines):
            raise _wrong(f"{path}: the invoice has {len(lines)} coded lines, lines[0] to lines[{len(lines) - 1}]")
        lines[at] = _line_with(lines[at], path, match[2] or "objects", match[3], value)
    after = msgspec.structs.replace(form, **fields, lines=tuple(lines))
    checked = msgspec.json.decode(msgspec.json.encode(after), type=Invoice)
    return checked, differences(form, checked)


def with_changes(listed: Invoice, of: str, changes: Changes) -> Invoice | None:
    """The invoice as Prime lists it with a person's changes; None when Prime lists something else than what was edited."""
    if digest_of(listed) != of:
        return None
    form, _ = edited(form_of(listed), changes)
    kept = iter(form.lines)
    lines = tuple(line if line.type == CREDITORS else next(kept) for line in listed.lines)
    return msgspec.structs.replace(form, lines=lines)


def differences(before: Invoice, after: Invoice) -> list[Difference]:
    """Field by field, over all that can be edited."""
    old, new = _flat(before), _flat(after)
    return [Difference(path, old[path], new[path]) for path in old if old[path] != new[path]]


def _flat(form: Invoice) -> dict[str, str | None]:
    found: dict[str, str | None] = {name: _text(getattr(form, name)) for name in (*DATES, *TEXTS)}
    for at, line in enumerate(form.lines):
        found |= {f"lines[{at}].{name}": getattr(line, name) for name in LINE_TEXTS}
        found |= {f"lines[{at}].objects[{place}]": value for place, value in enumerate(line.objects)}
    return found


def _text(value: str | date | None) -> str | None:
    return value.isoformat() if isinstance(value, date) else value


def _header_value(path: str, value: str | None) -> date | str | None:
    if path in DATES:
        return _day(path, value)
    if path in TEXTS:
        return _checked(path, value, NOTE_MOST)
    raise _not_editable(path)


def _line_with(line: InvoiceLine, path: str, name: str, place: str | None, value: str | None) -> InvoiceLine:
    if place is not None:
        if int(place) >= len(OBJECT_TYPES):
            raise _wrong(f"{path}: objects[0] to objects[{len(OBJECT_TYPES) - 1}] stand for object types 1 to {len(OBJECT_TYPES)}")
        objects = list(line.objects)
        objects[int(place)] = _checked(path, value, CODE_MOST)
        return msgspec.structs.replace(line, objects=tuple(objects))
    if name not in LINE_TEXTS:
        raise _not_editable(path)
    return msgspec.structs.replace(line, **{name: _checked(path, value, NOTE_MOST if name == "note" else CODE_MOST)})


def _checked(path: str, value: str | None, most: int) -> str | None:
    if value is None and path.rpartition(".")[2] in REQUIRED:
        raise _wrong(f"{path} cannot be empty")
    if value is not None and len(value) > most:
        raise _wrong(f"{path}: {len(value)} characters, at most {most} are possible")
    if value is not None and NOT_XML.search(value):
        raise _wrong(f"{path} has characters that cannot be sent")
    return value


def _day(path: str, value: str | None) -> date | None:
    if value is None:
        if path in REQUIRED:
            raise _wrong(f"{path} cannot be empty")
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise _wrong(f"{path}: {value!r} is no date, expected one such as 2026-11-25") from None


def _not_editable(path: str) -> ConfigError:
    name = path.rpartition(".")[2].partition("[")[0]
    if name in _APPROVED:
        return _wrong(f"{path} cannot be changed here: it was approved in Prime. Change it there and send the invoice again")
    known = ", ".join((*DATES, *TEXTS, *(f"lines[N].{one}" for one in LINE_TEXTS), "lines[N].objects[M]"))
    return _wrong(f"there is no {path} to change; what can be changed: {known}")


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, code="edit")


def _shown(value: str | None) -> str:
    return "(empty)" if value is None else repr(value)
