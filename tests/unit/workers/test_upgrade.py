"""Two versions at once, while workers are replaced one by one: each reads the other's jobs, or puts them back.

envelopes-v1.jsonl holds jobs as version 1 of the wire wrote them. It is never recorded anew: a change that makes these tests fail needs a
new VERSION in jobs.py and a file of its own, so that old workers put the new jobs back instead of misreading them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from workers import jobs
from workers.jobs import JOBS, denoted, loads, noted, wire
from workers.outcomes import NewerVersionError, parse

RECORDED: list[dict[str, Any]] = [
    orjson.loads(line) | {"version": int(file.stem.rpartition("v")[2])}
    for file in sorted(Path(__file__).parent.glob("envelopes-v*.jsonl"))
    for line in file.read_bytes().splitlines()
]
names = pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one["id"])


def test_there_is_a_recorded_job_of_each_kind_and_of_this_version() -> None:
    assert {loads(one["wire"].encode())["f"] for one in RECORDED if one["version"] == jobs.VERSION} == set(JOBS)


@names
def test_a_job_of_an_older_version_is_read_and_is_the_same_work(recorded: dict[str, Any]) -> None:
    envelope = loads(recorded["wire"].encode())
    job = parse(envelope["f"], envelope["k"])
    assert job.job_id == recorded["id"], "under another id the same work would be queued twice"
    assert denoted(recorded["noted"].encode()) == job
    assert job.stage in jobs.STAGES


@names
def test_an_older_version_finds_all_it_knows_in_what_we_write(recorded: dict[str, Any]) -> None:
    """Fields may be added: every version ignores those that it does not know."""
    if recorded["version"] < jobs.VERSION:
        pytest.skip("an older version puts our jobs back")
    envelope = loads(recorded["wire"].encode())
    job = parse(envelope["f"], envelope["k"])
    ours = loads(wire(job, now_ms=envelope["et"]))
    assert {name: value for name, value in ours.items() if name != "k"} == {name: value for name, value in envelope.items() if name != "k"}
    assert envelope["k"]["job"].items() <= ours["k"]["job"].items()
    assert orjson.loads(recorded["noted"])["job"].items() <= orjson.loads(noted(job))["job"].items()


@names
def test_what_a_newer_version_wrote_is_put_back(recorded: dict[str, Any]) -> None:
    envelope = loads(recorded["wire"].encode())
    with pytest.raises(NewerVersionError):
        parse(envelope["f"], {"job": envelope["k"]["job"] | {"v": jobs.VERSION + 1}})
    with pytest.raises(NewerVersionError):
        parse(envelope["f"] + "_in_another_way", envelope["k"])
