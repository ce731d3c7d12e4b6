"""What the settings classes give to arq, and the order of jobs."""

from __future__ import annotations

import arq.worker
import pytest
from arq.worker import get_kwargs

from connect.registers import REGISTERS, Register
from workers import producers
from workers.arq_worker import Worker
from workers.settings import STAGE_WORKERS


@pytest.mark.parametrize(
    ("stage", "functions"), [("schedule", ["tick"]), ("fetch", ["finish", "reconcile", "rows", "sweep"]), ("write", ["write_chunk"])]
)
def test_arq_takes_a_stages_options_and_builds_our_worker(stage: str, functions: list[str]) -> None:
    options = get_kwargs(STAGE_WORKERS[stage])
    assert options["queue_name"] == f"connect:queue:{stage}"
    assert sorted(arq.worker.func(function).name for function in options["functions"]) == functions
    assert {"on_startup", "on_shutdown", "max_jobs", "health_check_interval"} <= options.keys()
    assert arq.worker.Worker is Worker


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, after in (("A", ()), ("B", ("A",)), ("C", ("B",)), ("D", ())):
        monkeypatch.setitem(REGISTERS, name, Register(job=name, parts=lambda _: [], after=after))


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("job", "due", "running", "waits"),
    [
        ("B", [("1", "A")], [], True),
        ("B", [], [("1", "A")], True),
        ("B", [("2", "A")], [("2", "A")], False),
        ("C", [("1", "A")], [], True),
        ("C", [("1", "D")], [("1", "D")], False),
        ("A", [("1", "B"), ("1", "C")], [], False),
    ],
)
def test_a_job_waits_for_what_it_needs_in_its_own_company_also_at_second_hand(job, due, running, waits) -> None:
    assert producers._must_wait("1", job, due, running) is waits
