"""`connect demo`: what a newcomer sees first. Registers and documents both ways, and books that agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

pytestmark = pytest.mark.timeout(180)


def connect(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONNECT_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", *words], cwd=folder, env=clean, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_the_demo_does_the_main_job_and_ends_with_books_that_agree(tmp_path: Path) -> None:
    done = connect(tmp_path, "demo", "--json")
    document = orjson.loads(done.stdout)
    steps = {step["step"]: step for step in document["steps"]}
    assert [name for name, step in steps.items() if not step["ok"]] == []
    assert list(steps) == [
        "full import", "import again", "after changes", "mended, replayed",
        "invoices to bills", "edited, replayed", "payments", "payment dates", "cancellation",
    ]  # fmt: skip
    counted = {
        name: [(run["sent"], run["refused"]) for run in steps[name]["runs"]]
        for name in ("invoices to bills", "payments", "payment dates", "cancellation")
    }
    assert counted == {"invoices to bills": [(12, 2)], "payments": [(4, 3)], "payment dates": [(2, 0)], "cancellation": [(1, 0)]}
    # 13 booked, one of them a credit of 102.50, and 109.50 cancelled again
    billed = sum(100.5 + which for which in range(1, 14)) - 2 * 102.5 - 109.5
    assert document["books"] == {
        "agree": True, "bills": 12, "billed": f"{billed:.2f}", "payments": 4, "paid": "213.00", "payment_dates": 2, "differences": [],
    }  # fmt: skip
    for words in ("credit note", "(SL-0417)", "(BL01001973)", "(AP-0038)", "'9999999' -> '", "the books of both sides agree: 12 bills"):
        assert words in done.stderr

    config = ("--config", str(tmp_path / ".connect" / "demo" / "connect.toml"), "--json")
    letters = orjson.loads(connect(tmp_path, "dead-letters", "list", *config).stdout)["items"]
    assert sorted((one["kind"], one["number"]) for one in letters) == [
        ("Invoice", "1-9000"), ("Payment", "PAY-demo-scenario-2"), ("Payment", "PAY-demo-scenario-4"), ("Payment", "PAY-demo-scenario-5"),
    ]  # fmt: skip
    acts = orjson.loads(connect(tmp_path, "audit", "list", *config).stdout)["entries"]
    assert [(act["what"], act["by"]) for act in acts] == [("replay", "demo"), ("edit", "demo"), ("replay", "demo")]
    assert connect(tmp_path, "trace", "DEMO-0003", *config[:2]).stdout
