"""A made-up company, as Sage records to load: `for sage_object, records in company("small", seed=1): …`.

The same size and seed give the same records, to the byte. References come after what they refer to; keys are given, ascend, and have gaps
and clusters; nothing is newer than `clock.TODAY`.

    chart.py    chart of accounts, taxes, terms, currencies, asset classes: tables written by hand
    names.py    people, companies and addresses of ten countries (faker)
    clock.py    keys and times
    books.py    the registers around them: dimensions, assets, rates, periods, banks
    vendors.py  vendors, their account numbers and bank files; which of them are awkward

Planted on purpose, so that nobody has to wait for a customer to have them:

    everywhere      references, texts and numbers that are not set; names with &, <, >, quotes and right-to-left text; inactive rows
    vendors         vendors.AWKWARD lists them: leading blanks, a note of 200 characters, an empty e-mail, no contact at all, the same name
                    twice, on hold, not to be paid, inactive, active but not for posting, not approved, without a term, without an account,
                    with every term that does not count from the bill date, one with a tab and a line break, one in capitals, emoji
    accounts        numbers like 6850.03; closed for direct postings; inactive ones
    tax details     rates like 5.5 and 17.5, ids that are sentences; no longer in use
    exchange rates  two types, never for the same day
    tasks           in `medium` and `large`, some ids are found in several projects, as Sage allows; in `small` all are distinct,
                    because Prime knows a task by its id alone
    departments     ids with leading zeros

Prime has room for all of it, but for one vendor: PLANTED_VENDOR, whose name is longer than Prime's column (as a supplier, and as an object
where vendors are a dimension). `MENDED` is what to change in Sage. The newest vendors are referred to by nothing and can be deleted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from connect.sandbox.data.books import COUNTS, Books
from connect.sandbox.data.vendors import MENDED, PLANTED_VENDOR

__all__ = ["BATCH_ROWS", "MENDED", "PLANTED_VENDOR", "SIZES", "company"]

BATCH_ROWS: Final = 20_000
SIZES: Final[dict[str, int]] = {"small": 2_000, "medium": 50_000, "large": 1_000_000}
"""About how many rows over all registers."""


def company(size: str, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(Sage object, at most BATCH_ROWS records), in an order in which they can be loaded. Raises ValueError for an unknown size."""
    if size not in COUNTS:
        raise ValueError(f"there is no size {size!r}; expected one of {', '.join(COUNTS)}")
    for sage_object, records in Books(COUNTS[size], seed).registers():
        for batch in _batches(records):
            yield sage_object, batch


def _batches(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(records)
    while batch := _batch(waiting):
        yield batch


def _batch(waiting: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The garbage collector rests meanwhile: a hundred thousand new dicts and no cycle among them would cost it 40 % of the time."""
    resting = gc.isenabled()
    gc.disable()
    try:
        return list(islice(waiting, BATCH_ROWS))
    finally:
        if resting:
            gc.enable()
