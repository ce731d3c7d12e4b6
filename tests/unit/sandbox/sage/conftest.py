"""A Sage company in memory, with a clock that stands still."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from connect.sandbox.kernel import Clock, Kernel
from connect.sandbox.sage import SageSimulator

NOON = 1_795_608_000.0  # 2026-11-25T12:00:00Z
VENDOR = "accounts-payable/vendor"


class World:
    """Rows in, answers out."""

    def __init__(self) -> None:
        self.sim = SageSimulator(Kernel(clock=Clock(now=lambda: NOON, monotonic=lambda: 100.0)))

    def put(self, name: str, key: int, entity: int | None = None, /, *, lag: bool = False, **row: Any) -> None:
        """One row; `__` in a name stands for the dot."""
        fields = {field.replace("__", "."): value for field, value in row.items()}
        self.sim.store.table(name).put(key, fields, entity, lag_until=self.sim.lag_until() if lag else None)

    def ask(self, scope: int | None = None, **query: Any) -> dict[str, Any]:
        """A query's whole answer."""
        body = {"object": VENDOR, "fields": ["key"], **query}
        _, page = self.sim.queries.answer(orjson.dumps(body), scope)
        found: dict[str, Any] = orjson.loads(page)
        return found

    def keys(self, scope: int | None = None, **query: Any) -> list[int]:
        return [int(row["key"]) for row in self.ask(scope, **query)["ia::result"]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def vendors(world: World) -> World:
    """Twelve vendors: 1..9 and 10..12, so that numbers and texts differ in order."""
    world.put("accounts-payable/term", 1, id="N30", due__days=30)
    world.put("accounts-payable/term", 2, id="N60", due__days=60)
    world.put("general-ledger/account", 7, id="6000", name="Rent")
    names = ["Alpha", "beta", "Gamma", "delta", "Epsilon", "zeta", "Eta", "theta", "Iota", "kappa", "Lambda", "mu"]
    for key, name in enumerate(names, 1):
        row: dict[str, Any] = {
            "id": f"V{key}",
            "name": name,
            "status": "active" if key % 2 else "inactive",
            "isOnHold": key == 3,
            "totalDue": f"{key}.50",
            "term__key": "1" if key <= 6 else "2",
            "audit__modifiedDateTime": f"2026-11-{key:02}T10:00:00Z",
            "lastBillCreatedDate": f"2026-10-{key:02}",
        }
        if key > 2:
            row["taxId"] = f"SE{key}"
        world.put(VENDOR, key, **row)
    return world
