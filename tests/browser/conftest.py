"""One browser and one console for all tests of this folder. Without playwright or chromium they are skipped by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_desk import Desk, desk
from world import SECRETS, Sandbox

from connect.state.embedded import attached

OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch, Sandbox("--empty") as box, attached(tmp_path_factory.mktemp("valkey"), environ={}) as url:
        for name, value in {**SECRETS, "T_WRONG_SECRET": "not-it"}.items():
            patch.setenv(name, value)
        with desk(box, url, tmp_path_factory.mktemp("desk")) as made:
            yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=str(Path(chromium)), args=list(OPTIONS))
        yield found
        found.close()
