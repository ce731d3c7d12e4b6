"""The shape of every Sage object, made from the table in fields.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from connect.sandbox.sage.fields import CONTACT, ENUMS, GROUPS, OBJECTS, USER_DEFINED

Kind = Literal["text", "integer", "number", "money", "decimal", "boolean", "date", "datetime", "list", "scalar", "ref", "owned"]
IdKind = Literal["given", "free", "key"]
KINDS: Final[dict[str, Kind]] = {
    "i": "integer",
    "n": "number",
    "m": "money",
    "p": "decimal",
    "b": "boolean",
    "d": "date",
    "t": "datetime",
    "a": "list",
    "x": "scalar",
}
UNIQUE_WITHIN_OWNER: Final = frozenset({"projects/task", "construction/cost-type"})  # two projects may both have a task 100
_USER_DEFINED: Final = re.compile(r"platform-apps/nsp::\w+")
_NAME: Final = re.compile(r"[A-Za-z][\w.]*")
_PIECE: Final = re.compile(
    r">(?P<target>[\w-]+/[\w-]+|)|:(?P<kind>[a-z])|%(?P<enum>[\w-]+)|\[(?P<child>[\w/-]+)\.(?P<parent>\w+)\]|/(?P<default>\w+)|(?P<flag>[+*#!~^])"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object. `path` is dotted: "due.days"."""

    path: str
    kind: Kind = "text"
    enum: tuple[str, ...] = ()
    default: str | bool | None = None
    required: bool = False
    read_only: bool = False
    write_only: bool = False
    target: str = ""  # of a ref: the object it points to; "" outside the sandbox
    shows_name: bool = False
    id_is_key: bool = False
    extras: tuple[tuple[str, str], ...] = ()  # of a ref: (name shown, the target's own path)
    child: str = ""  # of an owned list: the object of its rows
    parent: str = ""  # and the reference in them that points here


Tree = dict[str, "Field | Tree"]


@dataclass(slots=True)
class Spec:
    """One object."""

    name: str
    id_kind: IdKind
    read_only: bool
    tree: Tree
    fields: dict[str, Field] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fields = {found.path: found for found in _leaves(self.tree)}

    @property
    def application(self) -> str:
        return self.name.partition("/")[0]

    @property
    def has_name(self) -> bool:
        return "name" in self.fields

    @property
    def has_modified(self) -> bool:
        return "audit.modifiedDateTime" in self.fields

    def owned(self) -> list[Field]:
        return [found for found in self.fields.values() if found.kind == "owned"]

    def refs(self) -> list[Field]:
        return [found for found in self.fields.values() if found.kind == "ref"]


def _leaves(tree: Tree) -> Iterator[Field]:
    for node in tree.values():
        if isinstance(node, Field):
            yield node
        else:
            yield from _leaves(node)


def _spec(head: str, body: str) -> Spec:
    name, id_word, *rest = head.split()
    for group, text in GROUPS.items():
        body = re.sub(rf"{group}(?![\w-])", text, body)
    if name != "company-config/entity":
        body += " entity>company-config/entity+~"
    tokens = re.findall(r"[^\s{}]+|\{|\}[!~]*", body)
    tree, _ = _group(tokens, 0, "")
    return Spec(name, {"id!": "given", "id": "free", "id=key": "key"}[id_word], "read-only" in rest, tree)  # type: ignore[arg-type]


def _group(tokens: list[str], at: int, prefix: str) -> tuple[Tree, int]:
    """The fields up to the closing brace, and where it is."""
    tree: Tree = {}
    while at < len(tokens) and not tokens[at].startswith("}"):
        token = tokens[at]
        at += 1
        match = _NAME.match(token)
        assert match, token
        name, pieces = match[0], token[match.end() :]
        opens = at < len(tokens) and tokens[at] == "{"
        if opens and ">" not in pieces:
            tree[name], at = _group(tokens, at + 1, f"{prefix}{name}.")
            at += 1
            continue
        extras: tuple[tuple[str, str], ...] = ()
        if opens:
            close = next(n for n in range(at, len(tokens)) if tokens[n].startswith("}"))
            extras = tuple((shown, source or shown) for shown, _, source in (word.partition("=") for word in tokens[at + 1 : close]))
            pieces += tokens[close][1:]
            at = close + 1
        tree[name] = _field(prefix + name, pieces, extras)
    return tree, at


def _field(path: str, pieces: str, extras: tuple[tuple[str, str], ...]) -> Field:
    target: str | None = None
    kind: Kind = "text"
    enum, default, child, parent, flags = "", None, "", "", ""
    position = 0
    for piece in _PIECE.finditer(pieces):
        assert piece.start() == position, (path, pieces)
        position = piece.end()
        if piece["target"] is not None:
            target = piece["target"]
        kind = KINDS[piece["kind"]] if piece["kind"] else kind
        enum = piece["enum"] or enum
        default = piece["default"] or default
        child, parent = (piece["child"], piece["parent"]) if piece["child"] else (child, parent)
        flags += piece["flag"] or ""
    assert position == len(pieces), (path, pieces)
    if target is not None:
        kind = "ref"
    if child:
        kind = "owned"
    if "*" in flags:
        extras = tuple((name, name) for name in CONTACT)
    return Field(
        path,
        kind,
        ENUMS[enum] if enum else (),
        {"true": True, "false": False}.get(default, default) if kind == "boolean" and default else default,
        "!" in flags,
        "~" in flags,
        "^" in flags,
        target or "",
        "+" in flags,
        "#" in flags,
        extras,
        child,
        parent,
    )


@cache
def specs() -> dict[str, Spec]:
    """Every object of the table."""
    found: dict[str, Spec] = {}
    for entry in re.split(r"\n(?=\S)", OBJECTS.strip()):
        head, _, body = entry.partition("\n")
        spec = _spec(head, body)
        found[spec.name] = spec
    return found


@cache
def spec_of(name: str) -> Spec | None:
    """The object of this name; any user-defined dimension (`platform-apps/nsp::name`); a name without application when only one fits."""
    found = specs().get(name)
    if found is not None:
        return found
    if _USER_DEFINED.fullmatch(name):
        id_word, _, body = USER_DEFINED.partition("\n")
        return _spec(f"{name} {id_word}", body)
    if "/" not in name:
        fitting = [spec for spec in specs().values() if spec.name.endswith(f"/{name}")]
        return fitting[0] if len(fitting) == 1 else None
    return None


def user_defined(spec: Spec, path: str) -> Field | None:  # noqa: ARG001  # every object may have them
    """A user-defined dimension on a line (`dimensions.nsp::region`): a reference to `platform-apps/nsp::region`; else a custom field."""
    last = path.rpartition(".")[2]
    if not last.startswith("nsp::"):
        return None
    if path.startswith("dimensions."):
        return Field(path, "ref", target=f"platform-apps/{last}", shows_name=True)
    return Field(path, "scalar")
