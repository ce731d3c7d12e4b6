"""The catalogue of known errors: what an error means, who mends it and how, and what the worker does. The entries are data: catalogue.toml.

An error is recognised by its code first (Sage's errorId or messageId, Prime's ResultCode, an HTTP status, our own word), then by its text.
Codes that only say "it failed" name nothing: BL01001973, REST-7001 and their like count only together with an entry's text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args

from connect.errors import ConnectError, Poison

Owner = Literal["clerk", "operator", "consultant", "Sage administrator", "Sage", "Rillion"]
ACTIONS: Final = {
    "retry": "tries again by itself, with longer and longer waits",
    "wait": "waits as long as it was told; that costs no attempt",
    "pause": "lets the connection's jobs rest and asks again every few minutes; none is lost",
    "look up": "looks the document up in Sage before anything else; nothing is sent twice",
    "hand back": "gives the document back to Prime with the reason (receipt 2)",
    "hold": "makes a dead letter; a document stays listed in Prime until it is mended, or is handed back after RefuseAfterDays",
    "dead letter": "makes a dead letter of that record; the others go on",
    "stop": "ends the run with the reason; the next one tries again",
}
GENERIC: Final = frozenset(
    {
        "BL01001973", "REST-7001", "REST-1064", "IA.REQUEST_ON_OBJECT_FAILED", "IA.PAYLOAD_CONTAINS_ERRORS", "invalidRequest",
        "operationFailed", "informationMissing", "invalidConfiguration", "unableToCreateRecordError", "422", "409", "400",
    }
)  # fmt: skip
"""Codes that only say that a request failed."""
_IDS: Final = re.compile(r'"(?:errorId|messageId)"\s*:\s*"([^"]+)"')
_FIELDS: Final = frozenset({"name", "system", "codes", "text", "cause", "owner", "fix", "action", "example"})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One known error. `pattern` None: its codes alone name it. `action`: what the worker does, a key of ACTIONS."""

    name: str
    system: str
    codes: frozenset[str]
    pattern: re.Pattern[str] | None
    cause: str
    owner: Owner
    fix: str
    action: str
    example: str

    def document(self) -> dict[str, Any]:
        """For `connect errors --json`."""
        return {
            "name": self.name,
            "system": self.system or "connect",
            "codes": sorted(self.codes),
            "text": self.pattern.pattern if self.pattern is not None else "",
            "cause": self.cause,
            "owner": self.owner,
            "fix": self.fix,
            "action": self.action,
            "worker": ACTIONS[self.action],
            "example": self.example,
        }

    def _says(self, message: str) -> bool:
        return self.pattern is not None and self.pattern.search(message) is not None


class Catalogue:
    """All known errors."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)

    def explain(self, system: str, code: str, message: str, detail: str = "") -> Entry | None:
        """The entry for an error, or None.

        `system` "" is ours, and then every entry may fit. `detail`: the system's own words; errorIds and messageIds in it count as codes.
        """
        of_system = [entry for entry in self.entries if not system or entry.system in (system, "")]
        ids = {code, *_IDS.findall(detail)} - {""}
        named = [entry for entry in of_system if entry.codes & (ids - GENERIC)]
        said = [entry for entry in of_system if entry._says(message)]  # noqa: SLF001
        both = [entry for entry in named if entry in said]
        wholly = [entry for entry in of_system if entry.pattern is None and entry.codes & ids]  # an entry may claim a generic code outright
        return next(iter([*both, *named, *said, *wholly]), None)

    def of(self, error: ConnectError) -> Entry | None:
        """The entry for one of our errors. A record that we could not read is Sage's when nothing else is said."""
        system = error.system or ("sage" if isinstance(error, Poison) and not self.explain("", error.code, "") else "")
        return self.explain(system, error.code, error.message, error.detail)

    def named(self, name: str) -> list[Entry]:
        """Entries by their name or one of their codes, whatever the case."""
        wanted = name.casefold()
        by_name = [entry for entry in self.entries if entry.name.casefold() == wanted]
        return by_name or [entry for entry in self.entries if wanted in {code.casefold() for code in entry.codes}]

    def owner(self, system: str, code: str, message: str, detail: str = "") -> Owner:
        """Who must act on a refusal that may have several reasons ("; " between them): not the clerk as soon as one is not the clerk's.

        A reason that nobody knows is the operator's.
        """
        found = [self.explain(system, "", part) for part in message.split("; ")]
        known = [entry for entry in found if entry is not None]
        if len(known) < len(found) or not known:
            whole = self.explain(system, code, message, detail)
            if whole is None or (known and len(known) < len(found)):
                return next((entry.owner for entry in known if entry.owner != "clerk"), "operator")
            return whole.owner
        return next((entry.owner for entry in known if entry.owner != "clerk"), "clerk")


@cache
def catalogue() -> Catalogue:
    """The one that comes with this version."""
    return Catalogue(_entries(resources.files("connect").joinpath("catalogue.toml").read_text(encoding="utf-8")))


def _entries(text: str) -> Iterator[Entry]:
    for row in tomllib.loads(text)["errors"]:
        name = row.get("name", "(no name)")
        if (
            set(row) - _FIELDS
            or not (row.get("codes") or row.get("text"))
            or row["action"] not in ACTIONS
            or row["owner"] not in get_args(Owner)
        ):
            raise ValueError(f"catalogue.toml, {name}: an unknown field, owner or action, or neither codes nor text")
        yield Entry(
            name=name,
            system=row["system"],
            codes=frozenset(row.get("codes", ())),
            pattern=re.compile(row["text"], re.IGNORECASE) if "text" in row else None,
            cause=row["cause"],
            owner=row["owner"],
            fix=row["fix"],
            action=row["action"],
            example=row["example"],
        )


_NUMBERS: Final = re.compile(r"\d+")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
SHAPE_MOST: Final = 160


def shape_of(system: str, code: str, message: str) -> str:
    """What an error looks like without what differs from one time to the next: the same for all of its kind."""
    text = _NUMBERS.sub("#", _QUOTED.sub("'…'", message))
    return f"{system or 'connect'} {code or '-'}: {' '.join(text.split())}"[:SHAPE_MOST]
