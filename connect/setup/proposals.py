"""What Sage itself says to a question of `connect init`: the types of its exchange rates, and where contacts can be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from connect.doctor.needs import CONTACT
from connect.errors import Permanent, Poison
from connect.sage import facts
from connect.sage.client import SageClient
from connect.sage.query import Query


@dataclass(frozen=True)
class Proposals:
    """`rate_types`: names, in alphabetical order; empty where there are no rates or we may not see them.

    `answers`: by the key of the question, in place of its default; `why`: to be told, by the same key.
    """

    rate_types: tuple[str, ...] = ()
    answers: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)


async def proposals(sage: SageClient, vendor_fields: Iterable[str]) -> Proposals:
    """`vendor_fields`: what the suppliers' job reads of a vendor; its inline contact fields are tried."""
    answers: dict[str, Any] = {}
    why: dict[str, str] = {}
    inline = sorted(one for one in vendor_fields if one.startswith(CONTACT) and one != f"{CONTACT}key")
    if inline and await _refuses(sage, inline):
        answers["registers.contact_source"] = "contact"
        why["registers.contact_source"] = "Sage does not answer a vendor's inline contact fields"
    return Proposals(await _rate_types(sage), answers, why)


async def _refuses(sage: SageClient, inline: list[str]) -> bool:
    """Whether vendors can be read, and these fields of them cannot."""
    if await _is_refused(sage, ("key",)):
        return False
    return await _is_refused(sage, ("key", *inline))


async def _is_refused(sage: SageClient, fields: tuple[str, ...]) -> bool:
    try:
        await sage.query(Query(facts.VENDOR, fields, size=1))
    except (Permanent, Poison):
        return True
    return False


async def _rate_types(sage: SageClient) -> tuple[str, ...]:
    try:
        rows = await sage.rows_of(Query(facts.RATE, ("key", "exchangeRateType.name"), include_private=True))
    except (Permanent, Poison):  # no right, or a single currency
        return ()
    return tuple(sorted({str(name) for _, raw in rows if (name := orjson.loads(raw).get("exchangeRateType.name"))}))
