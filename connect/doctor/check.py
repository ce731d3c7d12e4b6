"""What a check is, and what comes of it: what was tested, what was seen, and of each thing that is wrong its cause, whose turn it is,
the place to click or the key to change, and the jobs that it stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connect.doctor.systems import Systems

Owner = Literal["customer", "consultant", "operator", "Sage", "Rillion"]
Verdict = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it must be ("failed"), or not as it should be ("warning").

    Attributes:
        do: what to do, where: a path of menus, or a key and its value.
        jobs: the jobs that it stops; None: all that the check is about.
    """

    cause: str
    owner: Owner
    do: str
    jobs: frozenset[str] | None = None
    verdict: Literal["warning", "failed"] = "failed"


@dataclass(frozen=True)
class Seen:
    """What a check saw. `text`: in a few words, for whoever wants to know what is right as well."""

    text: str
    findings: tuple[Finding, ...] = ()


class Skip(Exception):
    """The check cannot say anything. `because`: the check whose failure is the reason, "" when it does not apply; `why` in words."""

    def __init__(self, because: str, why: str = "") -> None:
        super().__init__(why or because)
        self.because = because
        self.why = why


Run = Callable[[Systems], Awaitable[Seen]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One requirement. `name`: system and a word, such as sage.folder. `needs`: the checks that must not have failed before it runs.

    `jobs`: the jobs that depend on it, of the names in the configuration; None: all.
    """

    name: str
    tests: str
    run: Run
    needs: tuple[str, ...] = ()
    jobs: frozenset[str] | None = None

    @property
    def system(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a check for one connection. `because`: of a skipped one, the failed check that is the reason ("": it does not apply).

    `stops`: finding by finding, the active jobs that it stops, as "GetSuppliers (100)".
    """

    connection: str
    check: Check
    verdict: Verdict
    saw: str
    findings: tuple[Finding, ...] = ()
    stops: tuple[tuple[str, ...], ...] = ()
    because: str = ""

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "connection": self.connection,
            "check": self.check.name,
            "tested": self.check.tests,
            "result": self.verdict,
            "saw": self.saw,
            "because": self.because,
            "findings": [
                {"result": found.verdict, "cause": found.cause, "owner": found.owner, "do": found.do, "stops": list(stops)}
                for found, stops in zip(self.findings, self.stops, strict=True)
            ],
        }


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """The worst of them; "ok" without any."""
    worst: Mapping[bool, Verdict] = {True: "failed", False: "warning"}
    return worst[any(found.verdict == "failed" for found in findings)] if findings else "ok"
