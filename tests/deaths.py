"""Death at every await of a protocol: a process works on a document and kills itself at suspension n, a new one recovers.

Each n has a document of its own, so that all of a variant share one sandbox, one Redis and one recovery. The processes are victim.py's;
what they work on, and what must have come of it, is an Act of acts.py.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson
import redis
from world import SECRETS, Connect, Sandbox, config_text

from connect.ledger import DocumentId

LOCK_S, WRITE_TIMEOUT_S, SETTLE_S = 2.0, 1.5, 0.5
FIRST = 1001
COUNTED = (1, 2)  # the first has tokens to ask for, so it is the second whose suspensions are counted
SLOTS = 100  # a killed process keeps its slot for a lease
PROCESSES = 6


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Under which circumstances.

    `flush`: Redis loses everything before the recovery. `sage`: the sandbox's settings. `twice`: a first recovery dies too, somewhere.
    """

    flush: bool = False
    sage: dict[str, Any] = field(default_factory=dict)
    settle_s: float = SETTLE_S
    twice: bool = False


class Act(Protocol):
    """Work on one kind of document.

    Attributes:
        job: that does it; `series`: of its documents; `kind`: theirs in the journal.
        general: of the GeneralSettings. `more`: further keys of the connection.
    """

    @property
    def job(self) -> str: ...
    @property
    def series(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def general(self) -> str: ...
    @property
    def more(self) -> str: ...

    def fill(self, box: Sandbox) -> None:
        """What the company must have."""

    def ask(self, here: Here, numbers: Sequence[int]) -> None:
        """Have Prime list these documents."""

    def wrong(self, here: Here, numbers: Sequence[int]) -> list[str]:
        """What should not be in the end, in words."""


@dataclass
class Table:
    """What came of it.

    `suspensions`: of one that lived; `step`: every which of them. `died_in`: how many died in which state of the journal. `wrong`: what
    should not be, in words.
    """

    step: int = 1
    suspensions: int = 0
    tried: int = 0
    died: int = 0
    outlived: int = 0
    died_in: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether death came from the first await to the last: side by side a process may take more of them than alone."""
        return self.outlived > 0 and self.died >= 0.9 * (self.suspensions // self.step)

    def __str__(self) -> str:
        states = ", ".join(f"{state or 'nothing'} {n}" for state, n in sorted(self.died_in.items()))
        ends = ", ".join(f"{state} {n}" for state, n in sorted(self.ended.items()))
        return (
            f"n = {self.suspensions}, died {self.died} of {self.tried}, outlived {self.outlived}; "
            f"journal at death: {states}; in the end: {ends}"
        )


@dataclass(frozen=True)
class Here:
    """One variant's sandbox, Redis and configuration."""

    box: Sandbox
    connect: Connect
    redis: redis.Redis
    variant: Variant

    def document(self, series: str, number: int) -> DocumentId:
        return DocumentId(self.box.prime["environment"], "100", series, str(number))

    def work(self, act: Act, numbers: Iterable[int], *, job: str = "") -> dict[str, str]:
        """All of them in one process, until nothing waits. Returns number -> how it ended."""
        case = {"case": "all", "job": job or act.job, "documents": [[act.series, str(no)] for no in numbers], "settle": True}
        states: dict[str, str] = cases(self.connect, 1, [case])["all"]["states"]
        return states

    def die(self, act: Act, points: dict[int, int]) -> dict[int, bool]:
        """A process for each document, which dies at a suspension. Returns number -> whether it has."""
        given = [{"case": str(no), "job": act.job, "documents": [[act.series, str(no)]], "die_at": at} for no, at in points.items()]
        found = cases(self.connect, PROCESSES, given)
        return {no: found[str(no)].get("died") == 9 for no in points}

    def settle(self) -> None:
        """Until what was written shows in Sage's queries, and locks of the dead have ended."""
        time.sleep(LOCK_S + self.variant.settle_s)

    def states(self, kind: str) -> dict[str, str]:
        """The journal's state of each document, by its marker."""
        keys = [key for key in self.redis.scan_iter(match=f"connect:*:doc:{kind}:RP-*", count=1000) if self.redis.type(key) == b"hash"]
        return {key.rpartition(b":")[2].decode(): (self.redis.hget(key, "state") or b"").decode() for key in keys}


def cases(connect: Connect, processes: int, given: Iterable[dict[str, Any]], *, timeout_s: float = 600) -> dict[str, dict[str, Any]]:
    """What became of each case, in a new zygote and its children."""
    with (connect.folder / "victim.log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("victim.py")), str(connect.folder / "connect.toml"), str(processes)],
            input=b"".join(orjson.dumps(case) + b"\n" for case in given),
            check=False,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | SECRETS,
            timeout=timeout_s,
        )
    found = {one["case"]: one for one in map(orjson.loads, done.stdout.splitlines())}
    failed = [name for name, one in found.items() if "failed" in one]
    if failed or done.returncode:
        words = Path(log.name).read_text()[-3000:]
        raise AssertionError(f"exit {done.returncode}, cases {failed} failed:\n{words}")
    return found


def die_everywhere(folder: Path, redis_url: str, act: Act, variant: Variant, *, step: int = 1, seed: int = 1) -> Table:
    """Every `step`-th suspension of the work on one document, and on beyond the last."""
    table = Table(step)
    with Sandbox("--empty", "--sage-slots", str(SLOTS)) as box, redis.Redis.from_url(redis_url) as client:
        act.fill(box)
        box.call("/_sandbox/settings", {"sage": variant.sage})
        here = Here(box, connect_to(box, folder, act, variant, redis_url), client, variant)
        act.ask(here, COUNTED)
        for number in COUNTED:
            found = cases(here.connect, 1, [{"case": "count", "job": act.job, "documents": [[act.series, str(number)]]}])
        table.suspensions = found["count"]["suspensions"]
        points = {FIRST + n: n for n in range(step, table.suspensions * 5 // 4 + step, step)}
        act.ask(here, list(points))
        died = here.die(act, points)
        table.tried, table.died = len(died), sum(died.values())
        table.outlived = table.tried - table.died
        journal = here.states(act.kind)
        table.died_in = Counter(journal.get(here.document(act.series, no).marker(), "") for no in points if died[no])
        if variant.flush:
            client.flushall()
        if variant.twice:
            here.settle()
            chance = random.Random(seed)
            here.die(act, {no: chance.randint(1, table.suspensions) for no in points})
        numbers = [*COUNTED, *points]
        table.ended = Counter(here.work(act, numbers).values())
        table.wrong = act.wrong(here, numbers)
    return table


def connect_to(box: Sandbox, folder: Path, act: Act, variant: Variant, redis_url: str) -> Connect:
    """A configuration of one connection with short times."""
    more = f"settle_s = {variant.settle_s}\nsage_write_timeout_s = {WRITE_TIMEOUT_S}\ndocument_lock_s = {LOCK_S}\n{act.more}\nsage_slots"
    text = config_text(box, jobs=(act.job,), general=act.general, slots=SLOTS, redis_url=redis_url)
    return Connect(folder, text.replace("sage_slots", more, 1))
