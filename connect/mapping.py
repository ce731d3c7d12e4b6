"""From a Sage row to what Prime is sent: a field table per register, read and written by msgspec, pure throughout.

A register declares its model (a `msgspec.Struct` in our own words) and a table of `FieldMap` rows that ties each of the model's fields to a
Sage path and to its names over SOAP and REST. `EntityMapping.compile` turns both into a decoder and an encoder for one company's settings:

    raw JSON of one row --decode--> model instance --the register's rules--> the same instance, filled --encode--> body for Prime

Everything that could be wrong with the table itself is found when the register is imported.
Sources: the onboarding guide's inbound tables, prime.md section 2 (wire names), sage-rest.md section f (Sage paths and types).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from connect.errors import Poison

MAPPING_VERSION = 1
"""Part of every `Part.version`: raise it when a rule changes that no table shows, so that every row is compared anew."""

EXTERNAL_SOURCE = "SageIntacct"  # prime.md D5
VALID_FOREVER = "9999-12-31T00:00:00"  # the guide's "datetime Max value"; SOAP dates carry a time of midnight (prime.md 6.1)

# What Prime's columns hold, in characters; longer values are refused by name, never cut.
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Reference = Annotated[str, msgspec.Meta(max_length=100)]
Title = Annotated[str, msgspec.Meta(max_length=400)]
Note = Annotated[str, msgspec.Meta(max_length=4000)]
Line = Annotated[str, msgspec.Meta(max_length=255)]
Status = Literal["active", "inactive"]
DimensionStatus = Literal["active", "activeNonPosting", "inactive"] | None
"""Sage's status of dimensions and vendors; unset counts as active, its default. activeNonPosting is not selectable (sage-rest.md f)."""

Joined = Mapping[str, Sequence[bytes]]
"""Join name -> raw joined rows of one main row (empty when nothing matches)."""


class Join(NamedTuple):
    """Rows of another Sage object that belong to a main row: `main[left] == joined[right]`.

    `fields` starts with "key"; `many` says whether several rows may match; `modified_field` is None where Sage cannot filter by time.
    `secret`: they hold bank data.
    """

    name: str
    object: str
    fields: tuple[str, ...]
    left: str
    right: str
    many: bool = False
    modified_field: str | None = None
    filters: tuple[dict[str, Any], ...] = ()
    secret: bool = False


class Source(NamedTuple):
    """What is read from Sage for one part: exactly the fields the mapping needs, "key" first, with the left sides of the joins."""

    object: str
    fields: tuple[str, ...]
    filters: tuple[dict[str, Any], ...] = ()
    modified_field: str | None = None
    joins: tuple[Join, ...] = ()


class Row(NamedTuple):
    """One row for Prime.

    `natural` is Prime's key within company and part, `number` and `name` are what a person searches for, `body` is a JSON object with the
    field names of the configured transport (every mapped field present, null clears), `extra` must be remembered and handed to the next
    `transform` of the same row, `notes` say what could not be carried over.
    """

    natural: str
    number: str
    name: str
    body: bytes
    extra: str = ""
    notes: tuple[str, ...] = ()


Transform = Callable[[bytes, Joined, str], Row | None]
Expire = Callable[[str, str, str, str], bytes | None]


def _cannot_expire(_natural: str, _number: str, _name: str, _extra: str) -> bytes | None:
    return None


def _nothing_provisional(_body: bytes) -> bytes | None:
    return None


def _no_unknown_fields(_raw: bytes) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """One Sage object on its way to one kind of Prime record.

    Attributes:
        id: stable name within the register ("Supplier", "Object-3").
        kind: Prime's record kind, as `RegisterWriter.write` takes it.
        version: changes with mapping code, fields and settings; a row sent under another version is compared anew.
        preamble: (kind, body) pairs to send before the first row.
        transform: (raw row, joined rows, previous extra) -> Row, or None when the row is not wanted. Raises Poison.
        expire: (natural, number, name, extra) -> body that expires a row gone from Sage, or None where Prime cannot.
        provisional: a body without its forward references, or None when it has none.
        unknown_fields: fields of a raw row that the mapping does not know (ignored, countable).
    """

    id: str
    kind: str
    source: Source
    version: str
    transform: Transform
    preamble: tuple[tuple[str, bytes], ...] = ()
    expire: Expire = _cannot_expire
    provisional: Callable[[bytes], bytes | None] = _nothing_provisional
    unknown_fields: Callable[[bytes], frozenset[str]] = _no_unknown_fields


class MappingSettings(Protocol):
    """The part of `connect.config.RegisterSettings` that every register depends on."""

    @property
    def company(self) -> str: ...
    @property
    def transport(self) -> Literal["rest", "soap"]: ...
    @property
    def key_source(self) -> Literal["id", "key"]: ...
    @property
    def expired_on(self) -> date: ...
    def version(self) -> str: ...


def midnight(day: date) -> str:
    """A date as Prime reads it: `yyyy-MM-ddT00:00:00` (prime.md 6.1)."""
    return f"{day.isoformat()}T00:00:00"


def plain(number: Decimal) -> str:
    """A number in plain notation: no exponent, no trailing zeros, a dot for the point."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def fit(ours: str, text: str | None, limit: int, what: str) -> str | None:
    """`text` as it is, or None when empty; Poison "too_long" when it is longer than Prime's column (values put together)."""
    if text is not None and len(text) > limit:
        raise too_long(what, ours, len(text), limit)
    return text or None


def too_long(what: str, name: str, length: int, limit: int) -> Poison:
    return Poison(f"{what}: {name} has {length} characters, Prime holds at most {limit}", system="sage", code="too_long")


# --- the table --------------------------------------------------------------------------------------------------------------------------


class FieldMap(NamedTuple):
    """One line of a field table.

    Attributes:
        ours: field of the model, or a constant of every record (`CONSTANTS`).
        sage: dotted path in the Sage row; "" for what a rule derives. `{number}` and `{external}` stand for id and key, or for key and id
            when KeySource is "key" (prime.md F1, D17).
        soap, rest: Prime's name over each transport, "" where the field is not sent. `addressLines[4]` is position 4 of a list.
    """

    ours: str
    sage: str
    soap: str = ""
    rest: str = ""


def framed(*fields: FieldMap, key_type: bool = True) -> tuple[FieldMap, ...]:
    """The table with what every record carries around it, in the order of Prime's field lists (prime.md 8)."""
    key = (FieldMap("key_type", "", "KeyType", "keyType"),) if key_type else ()
    return (
        FieldMap("company", "", "Company", "company"),
        *fields,
        *key,
        FieldMap("external_id", "{external}", "ExternalId", "externalId"),
        FieldMap("external_source", "", "ExternalSource", "externalSource"),
    )


CONSTANTS = ("company", "key_type", "external_source")
_POSITION = re.compile(r"^(\w+)\[(\d+)\]$")


class Entity(msgspec.Struct, gc=False):
    """Base of the models: fields read from Sage have no default unless Sage may leave them out; what a rule derives has one.

    `external_id` is the counterpart of the number: Sage's key, or its id when KeySource is "key".
    """

    external_id: Code


E = TypeVar("E", bound=msgspec.Struct)
M = TypeVar("M", bound=Entity)


@dataclass(frozen=True, slots=True)
class EntityMapping(Generic[M]):
    """A register's model and table. Raises TypeError at import when they do not match."""

    model: type[M]
    source: str
    fields: tuple[FieldMap, ...]
    declared: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        info = {item.name: item for item in msgspec.structs.fields(self.model)}
        wrong: list[str] = []
        listed = [row.ours for row in self.fields]
        wrong += [f"{name} is listed twice" for name in sorted({name for name in listed if listed.count(name) > 1})]
        for row in self.fields:
            if row.ours in CONSTANTS:
                continue
            if row.ours not in info:
                wrong.append(f"{row.ours} is no field of {self.model.__name__}")
            elif not row.sage and info[row.ours].required:
                wrong.append(f"{row.ours} is derived and needs a default")
        wrong += [f"{name} of {self.model.__name__} is not listed" for name in info if name not in listed]
        for transport, names in (("SOAP", [row.soap for row in self.fields]), ("REST", [row.rest for row in self.fields])):
            wrong += [f"{transport} name {name} is given twice" for name in sorted({n for n in names if n and names.count(n) > 1})]
        if wrong:
            raise TypeError(f"{self.source}: table and model do not match: " + "; ".join(wrong))
        object.__setattr__(self, "declared", frozenset(listed))

    def compile(
        self, settings: MappingSettings, *, source: str = "", without: frozenset[str] = frozenset(), unread: frozenset[str] = frozenset()
    ) -> Mapper[M]:
        """The mapper for one company.

        `without` names fields neither read nor sent, `unread` fields sent but filled by a rule in place of Sage's row, `source` another
        Sage object with the same fields.
        """
        unknown = (without | unread) - self.declared
        if unknown:
            raise TypeError(f"{self.source}: no such field: {', '.join(sorted(unknown))}")
        return Mapper(self, settings, source or self.source, without, unread)


class Mapper(Generic[M]):
    """Reads rows of one Sage object and writes bodies of one transport, for one company.

    Attributes:
        paths: the Sage fields to ask for, "key" first.
        company, transport, expired: of the settings; `expired` as Prime reads it.
    """

    def __init__(
        self, mapping: EntityMapping[M], settings: MappingSettings, source: str, without: frozenset[str], unread: frozenset[str]
    ) -> None:
        self.transport = settings.transport
        self.company = settings.company
        self.expired = midnight(settings.expired_on)
        self.key_source = settings.key_source
        self.source = source
        table = tuple(row for row in mapping.fields if row.ours not in without)
        paths = {row.ours: self.path(row.sage) for row in table if row.sage and row.ours not in unread}
        constants: dict[str, Any] = {"company": settings.company, "key_type": 1, "external_source": EXTERNAL_SOURCE}
        self.decode: RowReader[M] = RowReader(mapping.model, paths, source, constants)
        self.paths = tuple(dict.fromkeys(("key", *paths.values())))
        self._names = {row.ours: name for row in table if (name := row.soap if self.transport == "soap" else row.rest)}
        self.encode = BodyWriter(mapping.model.__name__, self._names)
        self._constants = {
            self._names[name]: value for name, value in constants.items() if name in self._names and name != "external_source"
        }
        words = repr((MAPPING_VERSION, source, table, sorted(paths.items()), sorted(without), sorted(unread), settings.version()))
        self.version = hashlib.sha256(words.encode()).hexdigest()[:12]

    def path(self, sage: str) -> str:
        """A table's Sage path with number and external id put in."""
        number, external = ("id", "key") if self.key_source == "id" else ("key", "id")
        return sage.format(number=number, external=external)

    def partial(self, **values: Any) -> bytes:
        """A body that carries nothing but the record's key fields and `values` (by our names): Prime leaves the rest untouched."""
        return msgspec.json.encode(self._constants | {self._names[ours]: clean(value) for ours, value in values.items()})


# --- reading ----------------------------------------------------------------------------------------------------------------------------


class RowReader(Generic[E]):
    """Decodes the raw JSON of a Sage row into `model`; `paths` says which flat dotted key feeds which field.

    Unknown keys are ignored. Numbers given as text and text "true"/"false" for booleans are taken as what the model says (sage-rest.md a),
    and a number where text is expected is taken as its digits.

    Raises:
        Poison: naming object, key, field, value and what was expected; code "too_long" when the value is longer than Prime's column.
    """

    def __init__(self, model: type[E], paths: Mapping[str, str], what: str, constants: Mapping[str, Any] | None = None) -> None:
        self.what = what
        hints = get_type_hints(model, include_extras=True)
        self._paths = dict(paths)
        self._hints = {paths[name]: hints[name] for name in paths}
        self._required: set[str] = set()
        self._known = frozenset(paths.values()) | {"key"}
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        # A field that Sage does not feed keeps its place under a name no Sage field has.
        for item in msgspec.structs.fields(model):
            if item.required and item.name in paths:
                self._required.add(paths[item.name])
                fields.append((item.name, hints[item.name]))
            else:
                fields.append((item.name, hints[item.name], None if item.required else item.default))
        rename = {item.name: paths.get(item.name, f"({item.name})") for item in msgspec.structs.fields(model)}
        derived = msgspec.defstruct(
            model.__name__, fields, bases=(model,), rename=rename, namespace=dict(constants or {}), gc=False, kw_only=True, module=__name__
        )
        self.type = cast("type[E]", derived)
        self._decoder = msgspec.json.Decoder(self.type, strict=False)

    def __call__(self, raw: bytes) -> E:
        try:
            return self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # ValidationError is a DecodeError
            return self._tolerant(raw)

    def _tolerant(self, raw: bytes) -> E:
        """Field by field: what only needs a number turned into its digits is read, for the rest the first thing wrong is named."""
        try:
            row = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Poison(f"Sage {self.what}: a row is no JSON ({error})", system="sage", code="not_json") from error
        if not isinstance(row, dict):
            raise Poison(f"Sage {self.what}: a row is {type(row).__name__}, expected an object", system="sage", code="not_an_object")
        where = f"Sage {self.what} {row.get('key', '(no key)')}"
        for path, hint in self._hints.items():
            if path not in row:
                if path in self._required:
                    raise Poison(f"{where}: {path} is missing, expected {expectation(hint)}", system="sage", code="missing_field")
                continue
            value = row[path]
            if isinstance(value, int | float) and not isinstance(value, bool) and _takes_text(hint):
                row[path] = value = str(value)
            try:
                msgspec.convert(value, hint, strict=False)
            except msgspec.ValidationError as error:
                limit = _max_length(hint)
                if isinstance(value, str) and limit is not None and len(value) > limit:
                    raise too_long(where, path, len(value), limit) from error
                # Account numbers of suppliers stay out of messages.
                shown = "a value" if "ccountNumber" in path else repr(value) if len(repr(value)) <= 60 else repr(value)[:60] + "…"
                code = "missing_value" if value is None else "unexpected_value"
                raise Poison(f"{where}: {path} is {shown}, expected {expectation(hint)}", system="sage", code=code) from error
        return msgspec.convert(row, self.type, strict=False)

    def unknown(self, raw: bytes) -> frozenset[str]:
        """Keys of a row that no field of the table reads."""
        row = msgspec.json.decode(raw)
        return frozenset(row) - self._known if isinstance(row, dict) else frozenset()


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _takes_text(hint: Any) -> bool:
    return any(option is str or (get_origin(option) is Annotated and get_args(option)[0] is str) for option in _alternatives(hint))


def _max_length(hint: Any) -> int | None:
    for option in _alternatives(hint):
        if get_origin(option) is Annotated:
            for meta in get_args(option)[1:]:
                if isinstance(meta, msgspec.Meta) and meta.max_length is not None:
                    return meta.max_length
    return None


def expectation(hint: Any) -> str:
    """What a field takes, in words for a person."""
    words: list[str] = []
    for option in _alternatives(hint):
        if get_origin(option) is Literal:
            words.append("one of " + ", ".join(str(value) for value in get_args(option)))
        elif get_origin(option) is Annotated:
            words.append(
                f"text of 1 to {_max_length(option)} characters" if option == Code else f"text of at most {_max_length(option)} characters"
            )
        elif option is type(None):
            words.append("null")
        else:
            words.append(
                {bool: "true or false", date: "a date YYYY-MM-DD", Decimal: "a number", int: "a whole number", str: "text"}.get(
                    option, str(option)
                )
            )
    return " or ".join(words)


# --- writing ----------------------------------------------------------------------------------------------------------------------------


class BodyWriter:
    """Encodes a model instance as Prime's JSON body: `names` in order, positions (`addressLines[4]`) gathered into lists.

    Empty and blank text is written as null, so that both transports clear the field (an empty XML element does). Characters that XML cannot
    carry become U+FFFD over both transports, so that both leave the same text in Prime.
    """

    def __init__(self, title: str, names: Mapping[str, str]) -> None:
        columns: dict[str, list[str]] = {}
        lists: dict[str, dict[int, str]] = {}
        for ours, name in names.items():
            if match := _POSITION.match(name):
                lists.setdefault(match[1], {})[int(match[2])] = ours
                columns.setdefault(match[1], [])
            else:
                columns[name] = [ours]
        for name, positions in lists.items():
            columns[name] = [positions[index] for index in range(len(positions))]
        flat = [name for name in columns if name not in lists]
        remote = {f"f{index}": name for index, name in enumerate([*flat, *lists])}
        body = msgspec.defstruct(f"{title}Body", [(name, Any) for name in remote], rename=remote, gc=False, module=__name__)
        self._body = body
        self._flat: Callable[[Any], tuple[Any, ...]] = attrgetter(*(columns[name][0] for name in flat))
        self._lists: tuple[Callable[[Any], tuple[Any, ...]], ...] = tuple(attrgetter(*columns[name]) for name in lists)

    def __call__(self, entity: Any) -> bytes:
        flat, lists = self._flat(entity), [get(entity) for get in self._lists]
        encoded = _encode(self._body(*flat, *lists))
        return encoded if _is_clean(encoded, flat, *lists) else _encode(self._body(*clean(flat), *clean(lists)))


_encode = msgspec.json.Encoder(decimal_format="number").encode
_BLANKS = frozenset(" " * length for length in range(65))
_LONG_BLANK = b" " * 65


def _is_clean(body: bytes, *texts: Iterable[Any]) -> bool:
    """Whether a body has no text that `clean` would change (a quick look that may say no too often).

    Looking for short things in many bytes takes longer than all else here, so blank texts are looked for among the values. JSON escapes
    every other kind of blank, and whatever XML cannot carry but U+FFFE and U+FFFF, with a backslash.
    """
    if b"\\" in body or _LONG_BLANK in body or b"\xef" in body:
        return False
    try:
        return all(map(_BLANKS.isdisjoint, texts))
    except TypeError:  # one of the values holds values of its own
        return not (b'""' in body or b'" ' in body)


NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML 1.0 has no way to write."""


def clean(value: Any) -> Any:
    """The same value with blank text as None and characters that XML cannot carry as U+FFFD."""
    if isinstance(value, str):
        return NOT_XML.sub("\ufffd", value) if value.strip(" \t\r\n") else None
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {name: clean(item) for name, item in value.items()}
    return value


def joined_words(*words: str | None) -> str | None:
    """The words that there are, with one blank between them; None when there are none."""
    return " ".join([bare for word in words if word and (bare := word.strip())]) or None
