"""What posting, Sage and Prime tell one another about a document: who it is, what Prime lists, what Sage holds, what is sent.

Its identity in Prime, and the marker that its bill carries in Sage.

The identity never changes while supplier, number or amounts may be edited; so whatever is looked up in Sage is looked up by it
(design section 4, prime.md 7, D36). A later revision of the same document (it was refused and changed, or its bill was reversed) has
a marker of its own, so that a bill found in Sage tells which revision made it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

MARKER: Final = re.compile(r"RP-[A-Z2-7]{16}(?:-\d{1,3})?")
"""A marker wherever it stands: in a description, or as an attachment's id."""
LONGEST_MARKER: Final = 23  # RP- + 16 characters + "-" + a revision of up to three digits


class DocumentId(NamedTuple):
    """An invoice in Prime: environment, company, invoice series and number."""

    environment: str
    company: str
    series: str
    number: str

    @property
    def text(self) -> str:
        """Series and number, as people write them."""
        return f"{self.series}-{self.number}" if self.series else self.number

    def marker(self, revision: int = 0) -> str:
        """`RP-` and 16 base32 characters of the identity's hash; `-1`, `-2` … for later revisions."""
        digest = hashlib.sha256("\n".join(self).encode()).digest()
        root = "RP-" + base64.b32encode(digest[:10]).decode()
        return f"{root}-{revision}" if revision else root


def revision_of(marker: str) -> int:
    """Which revision a marker stands for."""
    return int(marker.partition("-")[2].partition("-")[2] or 0)


def root_of(marker: str) -> str:
    """The marker without its revision: the document's."""
    return "-".join(marker.split("-")[:2])


def markers_in(text: str | None) -> list[str]:
    """Every marker in a text of Sage's."""
    return MARKER.findall(text or "")


Owner = Literal["clerk", "operator", "consultant", "Sage administrator", "Sage", "Rillion"]
"""Whose turn it is. What a clerk can mend goes back to Prime with receipt 2; the rest stays listed there (design section 4)."""


class Problem(NamedTuple):
    """One reason why Sage would refuse, in words for whoever mends it; `line` from 1, 0 for the whole document.

    `request_id`: of Sage's answer, where it was Sage who refused.
    """

    message: str
    owner: Owner = "clerk"
    line: int = 0
    code: str = ""
    request_id: str = ""

    @property
    def text(self) -> str:
        return f"Line {self.line}: {self.message}" if self.line else self.message


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A document as Prime lists it now.

    Attributes:
        content: digest of everything that goes into the request; another content is another revision.
        vendor, amount, currency: approved in Prime; a bill that is adopted must agree with them. `amount` is signed as Sage books it.
        number: the bill number it would get.
        link: what the incumbent's bills carry in place of a marker.
        booked_as: the bill's key as Prime has it, "" when it has none or one of another system.
        status: how Prime exported it (the receipt must echo it).
        name: of the supplier, for people.
        numbers: the other numbers that people know it by (supplier's invoice number, voucher, payment reference), for `connect trace`.
        document: the adapter's own model.
    """

    id: DocumentId
    content: str
    vendor: str
    amount: Decimal
    currency: str
    number: str
    booked_on: date | None = None
    status: int = 4
    name: str = ""
    link: str = ""
    booked_as: str = ""
    numbers: tuple[str, ...] = ()
    document: Any = None


class Trace(NamedTuple):
    """How a document is looked for in Sage: by any of its markers, by its link, by (vendor, bill number) of every attempt so far."""

    root: str
    numbers: tuple[tuple[str, str], ...]
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A bill or payment in Sage that a look-up came upon, in a bill's words.

    `markers`: ours, in its attachment's id and its description. `doubts`: in what else it differs from the document, in words.
    """

    key: str
    number: str
    vendor: str
    amount: Decimal
    currency: str
    state: str
    markers: tuple[str, ...] = ()
    has_link: bool = False
    doubts: tuple[str, ...] = ()

    def is_of(self, root: str) -> bool:
        """Whether it carries this document's marker (in any revision), or its link."""
        return self.has_link or any(root_of(marker) == root for marker in self.markers)

    def revision(self, root: str) -> int:
        return max((revision_of(marker) for marker in self.markers if root_of(marker) == root), default=0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The exact bytes of a write, and what of it is frozen beside them. Files are not in it: they are read again under the lock."""

    kind: str
    body: bytes
    number: str
    vendor: str
    marker: str
    entity: str = ""


@dataclass(frozen=True, kw_only=True)
class Created:
    """Sage's yes. `replayed`: it said so before, and repeats it: whether the bill is still there must be looked up. `note`: for people."""

    key: str
    replayed: bool = False
    note: str = ""


def problems_text(problems: Sequence[Problem], most: int) -> str:
    """All problems in one text of at most `most` characters; what does not fit is counted."""
    texts = [problem.text for problem in problems]
    whole = " | ".join(texts)
    if len(whole) <= most:
        return whole
    shown: list[str] = []
    for text in texts:
        rest = len(texts) - len(shown) - 1
        if len(" | ".join([*shown, text, f"and {rest} more"])) > most:
            break
        shown.append(text)
    left = len(texts) - len(shown)
    return " | ".join([*shown, f"and {left} more"]) if shown else texts[0][: most - 1] + "…"
