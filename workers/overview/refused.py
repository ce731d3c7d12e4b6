"""Dead letters: a list, grouped by error, one in detail with what may be changed, its files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import orjson
from pydantic import ConfigDict, Field

from connect.catalogue import ACTIONS, catalogue
from connect.documents import edits
from connect.documents.invoice import CREDITORS, Invoice, dimension_of
from connect.errors import ConfigError, ConnectError, Poison
from connect.prime.documents import Image
from connect.registers import REGISTERS
from connect.state.dead_letters import DeadLetter, DeadLetters
from connect.state.known import Known
from connect.state.letter_search import Groups, Page, find_among, groups_among, look_among
from workers.documents import tools_of
from workers.jobs import ConnectionTools, Tools
from workers.letters import INVOICE, PAYMENT, described, document_of, letter_of
from workers.overview.kept_images import KeptImages
from workers.overview.model import Model, chosen_of

FILES_WITHIN_S: Final = 30.0
FILE_MOST_BYTES: Final = 25_000_000
VALUES_MOST: Final = 200

T = TypeVar("T")


class LetterError(Model):
    """What is wrong, as the list shows it."""

    code: str = Field(description="Sage's, Prime's or our own code.")
    class_: str = Field(alias="class", description="Our class of error.")
    message: str = Field(description="The reasons, in words.")
    owner: str = Field(description="Whose turn it is.")
    fix: str = Field(description="What to do.")

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class LetterItem(Model):
    """A dead letter in a list."""

    id: str = Field(description="Its id.")
    connection: str = Field(description="The connection's name.")
    company: str = Field(description="The company in Prime.")
    job: str = Field(description="The job it comes from.")
    kind: str = Field(description="Account, Supplier, Invoice, Payment, …")
    number: str = Field(description="The number of the row or document.")
    supplier: str = Field(description="The supplier, or the row's name.")
    error: LetterError
    attempts: int = Field(description="How often it was refused.")
    first_at: datetime = Field(description="When first.")
    last_at: datetime = Field(description="When last.")
    state: str = Field(description="open, replaying, resolved or discarded.")
    belongs_to_prime: bool = Field(description="Prime has it back: it is changed there, and read-only here until Prime lists it again.")
    approved_by: str = Field(description="Who let this payment be sent again; empty when nobody did.")


class Letters(Model):
    """A page of dead letters."""

    total: int = Field(description="How many match.")
    items: list[LetterItem] = Field(description="Newest first.")


class LetterGroup(Model):
    """Letters that fail for the same reason, with the same values in it."""

    connection: str = Field(description="The connection's name.")
    count: int = Field(description="How many.")
    text: str = Field(description="What is wrong; … stands for what is each letter's own.")
    code: str = Field(description="The error's code.")
    entry: str = Field(description="The catalogue's entry; empty when it has none.")
    kind: str = Field(description="What they are: Account, Invoice, …")
    system: str = Field(description="Who says so: sage, prime or empty for us.")
    owner: str = Field(description="Whose turn it is.")
    cause: str = Field(description="What it means.")
    fix: str = Field(description="What to do.")
    sample_ids: list[str] = Field(description="Its newest letters, three at most.")
    filter: dict[str, str] = Field(description="Selects exactly these, in a list and in a replay.")


class LetterGroups(Model):
    """Dead letters by what is wrong with them."""

    total: int = Field(description="Letters in all groups.")
    groups: int = Field(description="How many groups there are.")
    items: list[LetterGroup] = Field(description="The largest first.")


class Line(Model):
    """A line as a person reads it."""

    place: int = Field(description="Its place among those that can be edited: lines[place].")
    account: str = Field(description="The account.")
    amount: str = Field(description="The amount without VAT.")
    vat_code: str = Field(description="The VAT code.")
    vat_amount: str = Field(description="The VAT.")
    note: str = Field(description="The text.")
    dimensions: dict[str, str] = Field(description="Dimension -> value.")


class Document(Model):
    """A document as a person reads it: an invoice, or the fields of whatever else it is."""

    title: str = Field(description="What it is.")
    facts: dict[str, str] = Field(description="Supplier, numbers, dates, currency, total, … in reading order.")
    lines: list[Line] = Field(description="An invoice's coding.")


class EditField(Model):
    """A field that may be changed."""

    path: str = Field(description="As `--set` takes it.")
    label: str = Field(description="For a person.")
    type: Literal["date", "text", "long text", "value"] = Field(description="value: one of a register, see `values`.")
    value: str = Field(description="As it is now; empty for none.")
    is_required: bool = Field(description="Whether it may be empty.")
    most: int = Field(description="Characters at most.")
    hint: str = Field(description="What is expected.")
    values: str = Field(default="", description="The list of known values: account, vat_code or object:N; empty for none.")


class Letter(LetterItem):
    """All that is known of one dead letter."""

    cause: str = Field(description="What it means, from the catalogue.")
    fix: str = Field(description="What to do.")
    entry: str = Field(description="The catalogue's entry; empty when nobody has described the error.")
    action: str = Field(description="What the worker does about such errors.")
    part: str = Field(description="The part of the register.")
    key: int = Field(description="The record's key in Sage; 0 for none.")
    run: str = Field(description="The run that refused it.")
    trace: str = Field(description="The correlation id in the log.")
    document: Document
    words: dict[str, str] = Field(description="Both systems' own words: detail, system, request_id, …")
    payload: Any = Field(description="The row or document as it was sent.")
    request: Any = Field(description="The exact request to Sage, if one was made.")
    history: list[dict[str, str]] = Field(description="What happened to it, oldest first: at, what, why, by.")
    edited: dict[str, str | None] = Field(description="What a person has changed: path -> value.")
    fields: list[EditField] = Field(description="What may be changed; empty when nothing may.")
    read_only: str = Field(description="Why nothing may be changed; empty when something may.")
    has_files: bool = Field(description="Whether Prime may have files of it: ask for the list of files.")
    may_replay: bool = Field(description="Whether it can be sent again as it is: a payment wants another person's approval first.")


class Value(Model):
    """A known value."""

    number: str
    name: str


class Values(Model):
    """Known values that match."""

    items: list[Value] = Field(description="By number.")
    more: bool = Field(description="Whether more match.")


class FileItem(Model):
    """A file of a document in Prime."""

    place: int = Field(description="Its place, from 0; the file itself is asked for by it.")
    name: str
    type: str
    size_bytes: int


def letter_item(connection: str, letter: DeadLetter) -> LetterItem:
    return LetterItem(**_item(connection, letter))


def _item(connection: str, letter: DeadLetter) -> dict[str, Any]:
    return letter.item(connection) | {
        "first_at": letter.first_at,
        "last_at": letter.last_at,
        "belongs_to_prime": letter.error.get("held_by") == "Prime",
        "approved_by": letter.approved_by,
    }


async def letters(tools: Tools, filters: Mapping[str, str] | None = None, *, offset: int = 0, limit: int = 50) -> Letters:
    """Dead letters, newest first; open and replaying ones unless `state` says otherwise.

    Filters: connection, and those of `DeadLetters.find`: code, owner, company, job, kind, number, group, state exactly; supplier, text and
    id by part. Raises ConfigError for a filter or state that does not exist.
    """
    wanted, rest = _split(tools, filters)
    return _letters(wanted, await _asked(find_among(tools.redis, _stores(wanted), rest, offset=offset, limit=limit)))


async def letter_groups(tools: Tools, filters: Mapping[str, str] | None = None, *, offset: int = 0, limit: int = 50) -> LetterGroups:
    """Dead letters by what is wrong with them, the largest group first. Filters and errors as `letters`."""
    wanted, rest = _split(tools, filters)
    return _letter_groups(wanted, rest, await _asked(groups_among(tools.redis, _stores(wanted), rest, offset=offset, limit=limit)))


async def letters_and_groups(
    tools: Tools, filters: Mapping[str, str], *, offset: int, limit: int, groups_from: int, groups_limit: int
) -> tuple[Letters, LetterGroups]:
    """Both of these, looked for once."""
    wanted, rest = _split(tools, filters)
    found, groups = await _asked(
        look_among(tools.redis, _stores(wanted), rest, offset=offset, limit=limit, groups_from=groups_from, groups_limit=groups_limit)
    )
    return _letters(wanted, found), _letter_groups(wanted, rest, groups)


def _letters(wanted: Sequence[ConnectionTools], found: Page) -> Letters:
    total, rows = found
    return Letters(total=total, items=[letter_item(wanted[place].connection.name, letter) for place, letter in rows])


def _letter_groups(wanted: Sequence[ConnectionTools], rest: Mapping[str, str], found: Groups) -> LetterGroups:
    total, number, rows = found
    items = [
        LetterGroup(
            connection=(name := wanted[place].connection.name),
            count=group.letters,
            sample_ids=list(group.newest),
            filter={**rest, "connection": name, "group": group.id},
            **{key: group.facts.get(key, "") for key in ("text", "code", "entry", "kind", "system", "owner", "cause", "fix")},
        )
        for place, group in rows
    ]
    return LetterGroups(total=total, groups=number, items=items)


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except ValueError as error:
        raise ConfigError(f"--filter: {error}", code="filter") from None


def _split(tools: Tools, filters: Mapping[str, str] | None) -> tuple[list[ConnectionTools], dict[str, str]]:
    """(the connections that are meant, the other filters)."""
    rest = dict(filters or {})
    return chosen_of(tools, rest.pop("connection", None)), rest


def _stores(wanted: Sequence[ConnectionTools]) -> list[DeadLetters]:
    return [one.dead_letters for one in wanted]


async def letter(tools: Tools, letter_id: str) -> Letter:
    """All that is known of one. Raises ConfigError when there is none."""
    connection, found = await letter_of(tools, letter_id)
    facts = await described(connection, found)
    entry = next(iter(catalogue().named(found.error.get("entry", "")) if found.error.get("entry") else []), None)
    objects = {place: dimension_of(name).label for name, place in connection.connection.objects(found.company).items()}
    invoice = _invoice_of(found)
    why = _why_read_only(found, invoice)
    is_payment = found.kind == PAYMENT and connection.connection.settings(found.company).payment_approval
    return Letter(
        **_item(connection.connection.name, found),
        cause=found.error.get("cause", "") or (entry.cause if entry else ""),
        fix=found.error.get("fix", ""),
        entry=found.error.get("entry", ""),
        action=ACTIONS[entry.action] if entry else "",
        part=found.part,
        key=found.key,
        run=found.run,
        trace=found.trace,
        document=_document(found, invoice, objects),
        words={name: value for name, value in found.error.items() if value and name not in ("fix", "cause", "owner", "entry")},
        payload=decoded(found.payload),
        request=None if facts["request"] is None else decoded(facts["request"].encode()),
        history=facts["history"],
        edited=facts["edit"],
        fields=edit_fields(invoice, objects) if invoice is not None and not why else [],
        read_only=why,
        has_files=found.kind in (INVOICE, "Cancellation"),
        may_replay=found.state == "open" and (not is_payment or bool(found.approved_by)),
    )


def decoded(data: bytes) -> Any:
    """JSON as it is, anything else as text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")


def _invoice_of(letter: DeadLetter) -> Invoice | None:
    if letter.kind not in (INVOICE, "Cancellation"):
        return None
    try:
        return edits.form_from(letter.payload)
    except Poison:
        return None


def _why_read_only(letter: DeadLetter, invoice: Invoice | None) -> str:
    if letter.kind != INVOICE or invoice is None:
        return "It is mended where it is wrong; a replay reads it anew."
    if letter.state != "open":
        return f"It is {letter.state}."
    if letter.error.get("held_by") == "Prime":
        return "Prime has it back: it is changed there and resent. Once Prime lists it again, it can be edited here."
    return ""


def _document(letter: DeadLetter, invoice: Invoice | None, objects: Mapping[int, str]) -> Document:
    if invoice is None:
        payload = decoded(letter.payload)
        return Document(title=f"{letter.kind} {letter.number}", facts=_flat(payload), lines=[])
    facts = {
        "Supplier": invoice.supplier or "",
        "Supplier's name": letter.name if letter.name != invoice.supplier else "",
        "Supplier's invoice number": invoice.supplier_invoice_no or "",
        "Voucher number": invoice.voucher_no or "",
        "Invoice date": _day(invoice.invoiced_on),
        "Due date": _day(invoice.due_on),
        "Accounting date": _day(invoice.posted_on),
        "Payment date": _day(invoice.paid_on),
        "Currency": invoice.currency or "",
        "Net": _money(sum((line.amount for line in invoice.lines), start=invoice.amount * 0)),
        "VAT": _money(sum((line.vat_amount for line in invoice.lines), start=invoice.amount * 0)),
        "Total": _money(invoice.amount),
        "Payment reference": invoice.pay_reference or "",
        "Text": invoice.note or "",
        "Credit note": "yes" if invoice.is_credit else "",
        "Blocked for payment": "yes" if invoice.is_blocked else "",
    }
    lines = [
        Line(
            place=place,
            account=line.account or "",
            amount=_money(line.amount),
            vat_code=line.vat_code or "",
            vat_amount=_money(line.vat_amount),
            note=line.note or "",
            dimensions={objects.get(number, f"Object type {number}"): value for number, value in enumerate(line.objects, start=1) if value},
        )
        for place, line in enumerate(line for line in invoice.lines if line.type != CREDITORS)
    ]
    return Document(title=f"{letter.kind} {letter.number}", facts={name: value for name, value in facts.items() if value}, lines=lines)


def _money(amount: Any) -> str:
    return f"{amount:,.2f}"


def _day(day: Any) -> str:
    return day.isoformat() if day is not None else ""


def _flat(payload: Any, path: str = "") -> dict[str, str]:
    """A row's fields as text, those with a value."""
    if isinstance(payload, Mapping):
        found: dict[str, str] = {}
        for name, value in payload.items():
            found |= _flat(value, f"{path}.{name}" if path else str(name))
        return found
    if isinstance(payload, list):
        return {key: value for place, one in enumerate(payload) for key, value in _flat(one, f"{path}[{place}]").items()}
    return {path or "payload": str(payload)} if payload not in (None, "") else {}


_LABELS: Final = {
    "invoiced_on": "Invoice date",
    "due_on": "Due date",
    "posted_on": "Accounting date",
    "paid_on": "Payment date",
    "note": "Text",
    "account": "Account",
    "vat_code": "VAT code",
}


def edit_fields(invoice: Invoice, objects: Mapping[int, str]) -> list[EditField]:
    """What may be changed of an invoice. `objects`: object type -> its dimension's name; those alone are offered."""
    found = [
        EditField(
            path=name,
            label=_LABELS[name],
            type="date" if name in edits.DATES else "long text",
            value=_day(getattr(invoice, name)) if name in edits.DATES else getattr(invoice, name) or "",
            is_required=name in edits.REQUIRED,
            most=10 if name in edits.DATES else edits.NOTE_MOST,
            hint="a date such as 2026-11-25" if name in edits.DATES else "what the bill's description begins with",
        )
        for name in (*edits.DATES, *edits.TEXTS)
    ]
    for place, line in enumerate(invoice.lines):
        found += [
            EditField(
                path=f"lines[{place}].{name}",
                label=f"Line {place + 1}: {_LABELS[name].lower() if name != 'vat_code' else _LABELS[name]}",
                type="long text" if name == "note" else "value",
                value=getattr(line, name) or "",
                is_required=name in edits.REQUIRED,
                most=edits.NOTE_MOST if name == "note" else edits.CODE_MOST,
                hint={"account": "an active account's number", "vat_code": "a VAT code", "note": "the line's memo"}[name],
                values="" if name == "note" else name,
            )
            for name in edits.LINE_TEXTS
        ]
        found += [
            EditField(
                path=f"lines[{place}].objects[{number - 1}]",
                label=f"Line {place + 1}: {label.lower()}",
                type="value",
                value=line.objects[number - 1] or "",
                is_required=False,
                most=edits.CODE_MOST,
                hint=f"a value of {label}",
                values=f"object:{number}",
            )
            for number, label in sorted(objects.items())
        ]
    return found


async def known_values(tools: Tools, connection: str, company: str, values: str, *, search: str = "", limit: int = 50) -> Values:
    """Known values by part of their number or name. `values`: account, vat_code or object:N, as an edit field says.

    They are what the registers have brought to Prime, as far as Redis remembers; none when the register does not run here.
    """
    one = chosen_of(tools, connection)[0]
    kind, _, number = values.partition(":")
    part_kind = {"account": "Account", "vat_code": "VatCode", "object": "Object"}.get(kind)
    if part_kind is None or (kind == "object") != number.isdigit():
        raise ConfigError(f"no list {values!r}; there are account, vat_code and object:1 to object:8", code="values")
    wanted = " ".join(search.casefold().split())
    limit = min(max(1, limit), VALUES_MOST)
    found: list[Value] = []
    for part_id in _part_ids(one, company, part_kind, number):
        known = Known(one.redis, one.connection.sid, company, part_id)
        for info in (await known.index()).blocks:
            found += [
                Value(number=label.number, name=label.name)
                for label in await known.labels(info.block)
                if label.natural and (wanted in label.number.casefold() or wanted in label.name.casefold())
            ]
            if len(found) > limit and not wanted:
                break
    found.sort(key=lambda value: (not value.number.casefold().startswith(wanted), value.number))
    return Values(items=found[:limit], more=len(found) > limit)


def _part_ids(one: ConnectionTools, company: str, kind: str, number: str) -> list[str]:
    settings = one.connection.register_settings(company)
    parts = [part for register in REGISTERS.values() for part in register.parts(settings) if part.kind == kind]
    return [part.id for part in parts if not number or part.id == f"Object-{number}"]


async def files(tools: Tools, letter_id: str, kept: KeptImages | None = None) -> list[FileItem]:
    """The files that Prime has of an invoice; asks Prime, unless they are `kept`.

    Raises ConfigError where there can be none, ConnectError when it gives none.
    """
    return file_items(await images(tools, letter_id, kept))


def file_items(found: Sequence[Image]) -> list[FileItem]:
    return [FileItem(place=place, name=image.name, type=image.type, size_bytes=len(image.data)) for place, image in enumerate(found)]


async def file(tools: Tools, letter_id: str, place: int, kept: KeptImages | None = None) -> tuple[str, bytes]:
    """(name, content) of one. Raises as `files`, and ConfigError when there is no such file or it is larger than 25 MB."""
    found = await images(tools, letter_id, kept)
    if not 0 <= place < len(found):
        raise ConfigError(f"there is no file {place}; Prime has {len(found)}", code="unknown-file")
    image = found[place]
    if len(image.data) > FILE_MOST_BYTES:
        raise ConfigError(f"{image.name} is larger than {FILE_MOST_BYTES // 1_000_000} MB: look at it in Prime", code="file-too-large")
    return image.name, image.data


async def images(tools: Tools, letter_id: str, kept: KeptImages | None = None) -> Sequence[Image]:
    """The files themselves, of any size. Raises as `files`."""
    connection, letter = await letter_of(tools, letter_id)
    document = document_of(connection, letter)
    if document is None or letter.kind not in (INVOICE, "Cancellation"):
        raise ConfigError(f"dead letter {letter_id} holds no invoice: it has no files", code="no-files")
    series, number = document.series, document.number

    async def ask() -> Sequence[Image]:
        return await tools_of(connection).prime.images(series, number)

    try:
        async with asyncio.timeout(FILES_WITHIN_S):
            return await (ask() if kept is None else kept.of((connection.connection.sid, series, number), ask))
    except TimeoutError:
        raise ConnectError(f"Prime gave no files within {FILES_WITHIN_S:.0f} s; try again", system="prime", code="timeout") from None
