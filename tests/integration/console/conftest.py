"""A console over made-up registers beside the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pipeline
import pytest
from console_box import Box, console

from connect.registers import REGISTERS


@pytest.fixture(autouse=True)
def registers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, register in pipeline.REGISTERS.items():
        monkeypatch.setitem(REGISTERS, name, register)


@pytest.fixture
async def box(valkey: str, redis: Any) -> AsyncIterator[Box]:
    async with console(valkey) as made:
        yield made
