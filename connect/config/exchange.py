"""What a pull from Prime's CustomSettings makes of a file, and what a push of the file would change there."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from connect.config.load import Loc, parse_config
from connect.config.models import Config
from connect.config.rows import JOB_TYPE, LOOKUP_TYPE, Reading, Row, rows_of, same
from connect.config.toml import dump

T = TypeVar("T")
Action = Literal["insert", "update", "unchanged", "only in Prime"]
HEADING: Final = "# Lookups and jobs as Prime's CustomSettings have them (`connect config pull`). Secrets: env:NAME or file:PATH.\n\n"


class Pulled(NamedTuple):
    """`places`: path -> the row it came from. `kept`: what the file has and Prime has not, in words."""

    text: str
    places: dict[Loc, Row]
    kept: tuple[str, ...]

    def parse(self, *, path: Path, environ: Mapping[str, str], jobs: Iterable[str] = ()) -> Config:
        """Raises ConfigProblems; a problem of a row is named by the row."""
        places = {loc: row.place for loc, row in self.places.items()}
        return parse_config(self.text, path=path, environ=environ, jobs=jobs, places=places)


def pulled(tables: Mapping[str, Any], number: int, reading: Reading) -> Pulled:
    """The file with what Prime says of connection `number`. What Prime does not say stays as it is in the file."""
    made = copy.deepcopy(dict(tables))
    connection = made["connections"][number]
    given = {name: connection.pop(name, None) for name in ("lookups", "companies", "jobs")}
    places: dict[Loc, Row] = {}
    kept: list[str] = []
    here: Loc = ("connections", number)

    lookups = _of(given["lookups"], dict)
    kept += [f"lookup {name}" for name in lookups if name not in reading.tables["lookups"]]
    connection["lookups"] = {**lookups, **reading.tables["lookups"]}

    sections = {section["company"]: section for section in reading.tables["companies"]}
    for section in _of(given["companies"], list):
        company, own = section.get("company"), _of(section.get("lookups"), dict)
        kept += [f"lookup {name} of company {company}" for name in own if name not in sections.get(company, {}).get("lookups", {})]
        sections[company] = {**section, "lookups": {**own, **sections.get(company, {}).get("lookups", {})}}
    if sections:
        connection["companies"] = list(sections.values())
    order = {company: index for index, company in enumerate(sections)}

    pulled_jobs = {(job["job"], job["company"]) for job in reading.tables["jobs"]}
    others = [job for job in _of(given["jobs"], list) if (job.get("job"), job.get("company")) not in pulled_jobs]
    kept += [f"job {job.get('job')} of company {job.get('company')}" for job in others]
    connection["jobs"] = [*reading.tables["jobs"], *others]

    for loc, row in reading.rows.items():
        at = (*loc[:1], order[row.company], *loc[2:]) if loc[0] == "companies" else loc
        places[*here, *at] = row
    if not connection["jobs"]:
        del connection["jobs"]
    return Pulled(HEADING + dump(made), places, tuple(kept))


def _of(value: Any, kind: type[T]) -> T:
    return value if isinstance(value, kind) else kind()


def push_plan(connection: Mapping[str, Any], there: Sequence[Row]) -> list[tuple[Action, Row]]:
    """What a push would do, row by row; `there`: the rows that Prime has. Prime has no operation that deletes one.

    Raises ValueError when a secret stands in the connection's tables in clear.
    """
    known = {(row.company, row.type, row.setting): row for row in there if row.type in (JOB_TYPE, LOOKUP_TYPE)}
    plan: list[tuple[Action, Row]] = []
    for row in rows_of(connection):
        before = known.pop(row[:3], None)
        plan.append(("insert" if before is None else "unchanged" if same(before.value, row.value) else "update", row))
    return plan + [("only in Prime", row) for row in known.values()]
