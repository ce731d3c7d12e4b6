"""Which dimensions a Sage company has, how they are used, which eight Prime should get, and what is lost with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connect.config.names import MANDATORY_DIMENSIONS, OBJECT_TYPES
from connect.errors import Permanent, Poison
from connect.registers.accounts import REQUIRES
from connect.registers.dimensions import kind_of
from connect.sage import facts
from connect.sage.client import SageClient
from connect.sage.query import Query
from connect.setup.questions import Answers

EXAMPLES: Final = 3  # accounts that are named
LINE: Final = "accounts-payable/bill-line"
_OF_ENTITY: Final = ({"$ne": {"entity.id": None}},)


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A dimension of lookup Objects. Counts are None where Sage does not let us see them.

    Attributes:
        values: how many there are; `of_entities` of them belong to one entity alone.
        required_by: active accounts that no line may be booked on without it; `required_at`: the first of them.
        lines: lines of bills that have it.
    """

    name: str
    label: str
    is_enabled: bool
    values: int | None
    of_entities: int | None
    required_by: int | None
    lines: int | None
    required_at: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For --json."""
        return dict(vars(self))


async def survey(sage: SageClient) -> list[Dimension]:
    """All dimensions that Sage lists: the guide's names first, then the user-defined ones."""
    found = []
    for one in await sage.dimensions():
        name = one.endpoint.rpartition("/")[2] if one.is_user_defined else one.name
        if not one.is_user_defined and name not in REQUIRES:
            continue  # one that Sage has added since: lookup Objects does not know it
        source, required = kind_of(name).object, REQUIRES.get(name)
        in_line = f"dimensions.{required or name}.id"
        required_by, required_at = await _accounts(sage, required) if required else (0, ())
        found.append(
            Dimension(
                name=name,
                label=one.label,
                is_enabled=one.is_enabled,
                values=await _count(sage, source),
                of_entities=await _count(sage, source, _OF_ENTITY),
                required_by=required_by,
                required_at=required_at,
                lines=await _count(sage, LINE, ({"$ne": {in_line: None}},)),
            )
        )
    return found


async def _accounts(sage: SageClient, required: str) -> tuple[int | None, tuple[str, ...]]:
    """How many active accounts require a dimension, and the first of them."""
    filters = ({"$eq": {"status": "active"}}, {"$eq": {f"requireDimensions.{required}": True}})
    try:
        page = await sage.query(Query(facts.ACCOUNT, ("key", "id"), filters, size=EXAMPLES, include_private=True))
    except (Permanent, Poison):
        return None, ()
    return page.total_count, tuple(str(orjson.loads(raw)["id"]) for _, raw in page.rows())


async def register_levels(sage: SageClient, jobs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Job -> (rows, rows that belong to one entity alone) of what it reads; jobs whose rows we may not count are left out."""
    found = {}
    for job in jobs:
        counts = [(await _count(sage, source), await _count(sage, source, _OF_ENTITY)) for source in _SOURCES.get(job, ())]
        known = [(rows, own) for rows, own in counts if rows is not None and own is not None]
        if known:
            found[job] = (sum(rows for rows, _ in known), sum(own for _, own in known))
    return found


_SOURCES: Final = {
    "GetAccounts": (facts.ACCOUNT,),
    "GetVatCodes": ("tax/tax-detail",),
    "GetAssetTypes": ("fixed-assets/asset-classification",),
    "GetAssets": ("fixed-assets/asset",),
    "GetCurrencies": (facts.RATE,),
    "GetSuppliers": (facts.VENDOR,),
}


async def _count(sage: SageClient, source: str, filters: tuple[dict[str, Any], ...] = ()) -> int | None:
    try:
        return (await sage.query(Query(source, ("key",), filters, size=1, include_private=True))).total_count
    except (Permanent, Poison):  # no right, no such module, no such field: then it is not known
        return None


def propose_levels(answers: Answers, counts: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Registers to be read in each entity, since entities have rows of their own: key of the question -> why. None without entities."""
    if not any(one.sage_entity for one in answers.companies):
        return {}
    return {f"levels.{job}": f"{own:,} of {rows:,} rows of {job} belong to one entity alone" for job, (rows, own) in counts.items() if own}


def propose(found: Sequence[Dimension]) -> dict[str, int]:
    """Eight at most: the mandatory ones, what accounts require, what bills use most, what has most values.

    VENDOR comes last: every bill has its vendor anyway. What is not enabled or has no values is left out.
    """
    useful = [one for one in found if one.name not in MANDATORY_DIMENSIONS and one.is_enabled and one.values]
    useful.sort(key=lambda one: (one.name == "VENDOR", -(one.required_by or 0), -(one.lines or 0), -(one.values or 0)))
    names = [*MANDATORY_DIMENSIONS, *(one.name for one in useful)][:OBJECT_TYPES]
    return {name: number for number, name in enumerate(names, 1)}


def lost_without(one: Dimension) -> str:
    """What leaving a dimension out costs."""
    if not one.is_enabled:
        return "nothing: it is not enabled in Sage"
    if one.name == "VENDOR":
        return "nothing on bills, which have their vendor anyway"
    costs = []
    if one.required_by:
        some = f" (such as {', '.join(one.required_at)})" if one.required_at else ""
        costs.append(f"invoices on the {one.required_by:,} accounts that require it{some} are refused by Sage")
    if one.lines:
        costs.append(f"{one.lines:,} lines of bills had it so far, and those from Prime will not")
    if one.values:
        costs.append(f"its {one.values:,} values cannot be chosen in Prime, and Sage's reports by it miss these costs")
    return "; ".join(costs) or "nothing today: it has no values"


def doubts(found: Sequence[Dimension], chosen: dict[str, int]) -> list[str]:
    """What is odd about a choice."""
    said = []
    known = {one.name: one for one in found}
    for name in chosen:
        one = known.get(name)
        if one is None:
            said.append(f"{name}: Sage has no such dimension")
        elif not one.is_enabled:
            said.append(f"{name}: it is not enabled in Sage (the customer's step 10)")
        elif one.values == 0:
            said.append(f"{name}: it has no values in Sage")
    left = [one for one in found if one.required_by and one.name not in chosen and one.name != "VENDOR" and one.is_enabled]
    return said + [f"{one.name} is left out: {lost_without(one)}" for one in left]
