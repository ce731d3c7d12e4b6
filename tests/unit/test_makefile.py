"""What Makefile and README say of the faults' size and seed is what the tests read."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FAULTS = {path.name: path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py")}


@pytest.mark.parametrize("name", ["Makefile", "README.md"])
def test_the_full_size_that_is_documented_is_the_full_size(name: str):
    full = re.findall(r"^FULL = (\d+)$", FAULTS["test_posting.py"], flags=re.MULTILINE)
    assert re.findall(r"CONNECT_FAULT_INVOICES=(\d+)", (ROOT / name).read_text()) == full
    assert f">= {full[0]}" in FAULTS["test_lost_answers.py"]


def test_the_usual_size_is_one_and_documented():
    usual = {size for text in FAULTS.values() for size in re.findall(r'"CONNECT_FAULT_INVOICES", "(\d+)"', text)}
    assert len(usual) == 1
    assert f"instead of {usual.pop()}" in (ROOT / "README.md").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_hands_size_and_seed_to_the_tests(tmp_path: Path):
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$CONNECT_FAULT_SEED $CONNECT_FAULT_INVOICES $*"\n')
    program.chmod(0o755)
    words = ["make", "-s", "-o", f"{tmp_path}/.installed", "faults", f"VENV={tmp_path}", "SEED=7", "CONNECT_FAULT_INVOICES=2000"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^7 2000 -m pytest -m faults\b", done.stdout, flags=re.MULTILINE), done.stdout
