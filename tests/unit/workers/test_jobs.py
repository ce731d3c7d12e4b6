"""Jobs on the wire, and what parsing them says."""

from __future__ import annotations

import orjson
import pytest

from connect.errors import Poison
from workers.jobs import (
    JOBS,
    ClaimJob,
    FinishJob,
    ListJob,
    PostJob,
    ReconcileJob,
    RowsJob,
    SweepJob,
    TickJob,
    WriteJob,
    denoted,
    entry,
    loads,
    noted,
    wire,
)
from workers.outcomes import NewerVersionError, parse

ALL = [
    TickJob(trace="t"),
    TickJob(trace="t", sid="s"),
    SweepJob(trace="t,u", sid="s", sweep="w", entity="E1", runs=(("r1", "Supplier"), ("r2", "Supplier"))),
    RowsJob(trace="t", sid="s", run="r", part="p", keys=(1, 2**62)),
    FinishJob(trace="t", sid="s", run="r", part="p", step=1),
    ReconcileJob(trace="t", sid="s"),
    WriteJob(trace="t", sid="s", run="r", part="p", chunk="1.0.0"),
    ClaimJob(trace="t", sid="s"),
    ListJob(trace="t", sid="s", run="r", company="100"),
    PostJob(trace="t", sid="s", run="r", job="ExportInvoices", company="100", documents=(("1", "8543"), ("1", "8544"))),
    PostJob(trace="t", sid="s", run="r", job="ExportInvoices", company="100", documents=(("1", "8543"),), nonce="a1"),
]


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.job_id)
def test_a_job_comes_back_from_the_wire_as_it_was(job) -> None:
    envelope = loads(wire(job))
    assert envelope["f"] == job.function
    assert parse(envelope["f"], envelope["k"]) == job
    assert denoted(noted(job)) == job


def test_jobs_of_different_work_have_different_ids() -> None:
    assert len({job.job_id for job in ALL}) == len(ALL)
    assert {job.function for job in ALL} == set(JOBS)


def test_an_entry_is_due_after_its_delay() -> None:
    queue, job_id, payload, due_ms = entry(ALL[0], delay_ms=5000)
    assert (queue, job_id) == ("connect:queue:schedule", ALL[0].job_id)
    assert due_ms - loads(payload)["et"] == 5000


@pytest.mark.parametrize(("function", "facts"), [("teleport", {"v": 1, "trace": "t"}), ("tick", {"v": 2, "trace": "t"})])
def test_a_newer_versions_job_is_told_apart_from_a_broken_one(function, facts) -> None:
    with pytest.raises(NewerVersionError, match="is not known here"):
        parse(function, {"job": facts})


@pytest.mark.parametrize("kwargs", [{"job": {"v": 1}}, {"job": None}, {"job": []}, {}])
def test_a_broken_job_is_poison(kwargs) -> None:
    with pytest.raises(Poison, match="a tick job cannot be read"):
        parse("tick", kwargs)


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    assert parse("tick", {"job": {"v": 1, "trace": "t", "sid": "s", "news": 1}}) == ALL[1]


def test_a_job_holds_no_rows_only_where_they_are() -> None:
    assert len(wire(ALL[-1], now_ms=1)) < 250
    assert orjson.loads(wire(ALL[-1], now_ms=1))["et"] == 1
