"""The configuration as rows of Prime's CustomSettings, and back.

A job is a row of type ConnectJob (setting: its name), a lookup one of type ConnectLookup (setting: GeneralSettings, Credentials or
Objects); the value is JSON. A lookup without a company is for all of them, one with a company overrides it. A secret is only ever
referred to (env:NAME, file:PATH): one that stands in a row in clear is not taken over, and none is ever written.

Source: prime.md 4 and 5.6, D24, D27, D28; the guide's section on ignored jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple

from connect.config.names import JOBS, nearest

JOB_TYPE: Final = "ConnectJob"
LOOKUP_TYPE: Final = "ConnectLookup"
LOOKUPS: Final = ("GeneralSettings", "Credentials", "Objects")
SECRET: Final = "SageClientSecret"  # noqa: S105 - a key's name
_JOB_KEYS: Final = ("job", "company", "sage_entity", "active", "cron", "every", "offset_minutes")
_DATES: Final = ("StartOn", "ExpiredDate")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
Loc = tuple[str | int, ...]


class Row(NamedTuple):
    """A row. `company` "": for all of them."""

    company: str
    type: str
    setting: str
    value: str

    @property
    def place(self) -> str:
        """For messages: where a person finds it in Prime."""
        return f"CustomSettings {self.type} / {self.setting} ({f'company {self.company}' if self.company else 'all companies'})"

    @property
    def origin(self) -> str:
        return f"Prime, company {self.company}" if self.company else "Prime, all companies"


@dataclass(frozen=True)
class Reading:
    """What rows say. `tables`: lookups, companies and jobs as a connection of the file has them; `rows`: path in there -> its row.

    `ignored`: jobs that are not this endpoint's, each with the reason. `problems`: what cannot be read at all, with its place.
    """

    tables: dict[str, Any]
    rows: dict[Loc, Row] = field(default_factory=dict)
    ignored: tuple[tuple[Row, str], ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    lookups: int = 0

    @property
    def active(self) -> int:
        return sum(job.get("active", True) is True for job in self.tables["jobs"])

    @property
    def disabled(self) -> int:
        return len(self.tables["jobs"]) - self.active

    @property
    def ignores_all(self) -> bool:
        """Whether there were jobs and none is left."""
        return bool(self.ignored) and not self.tables["jobs"]

    def summary(self, url: str) -> list[str]:
        """The lines that a log shows at the start."""
        lines = []
        if self.ignored:
            lines.append(f"Ignored {len(self.ignored)} jobs that do not belong to a company of the endpoint {url}:")
            lines += [f"  {row.setting}, company {row.company or '(none)'}: {reason}" for row, reason in self.ignored]
        lines.append(
            f"Parsed {len(self.tables['jobs'])} jobs [{self.active} active, {self.disabled} disabled], {self.lookups} lookups from Prime's "
            "CustomSettings."
        )
        return lines


def repaired(text: str) -> tuple[Any, str]:
    """What a JSON text holds, and "" or what was wrong and could be mended: `{"A": {"B"}` for `{"A": "B"}`, and then brackets not closed.

    The guide's own sample of BankAccountMapping is written so. Raises ValueError for any other text that is no JSON: it may have been cut.
    """
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        first = error
    mended = re.sub(r'(:\s*)\{\s*("(?:[^"\\]|\\.)*")\s*\}', r"\1\2", text.strip())
    if mended == text.strip():
        raise ValueError(f"is no JSON ({first})") from first
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", mended)
    for missing in {max(0, bare.count("{") - bare.count("}")), max(0, bare.count("{") - bare.count("}") - 1)}:
        try:
            return json.loads(mended + "}" * missing), f"is not valid JSON ({first}); it is read as {mended + '}' * missing}; write it so"
        except json.JSONDecodeError:
            continue
    raise ValueError(f"is no JSON ({first})") from first


def read_rows(rows: Iterable[Row], *, served: Sequence[str], secret: str, jobs: Sequence[str] = JOBS) -> Reading:
    """Rows of any types as a connection's tables.

    `served`: the companies of the endpoint, in Prime's spelling. `secret`: the reference written for a SageClientSecret that stands in
    clear in Prime or nowhere. `jobs`: names known.
    """
    reader = _Reader(served, secret, jobs)
    for row in sorted(row for row in rows if row.type in (JOB_TYPE, LOOKUP_TYPE)):
        if row.type == JOB_TYPE:
            reader.read_job(row)
        else:
            reader.read_lookup(row)
    return reader.reading()


class _Reader:
    def __init__(self, served: Sequence[str], secret: str, jobs: Sequence[str]) -> None:
        self._served, self._secret, self._known = served, secret, jobs
        self._lookups: dict[str, Any] = {}
        self._companies: dict[str, dict[str, Any]] = {}
        self._jobs: list[tuple[dict[str, Any], Row]] = []
        self._rows: dict[Loc, Row] = {}
        self._of_company: list[tuple[str, str, Row]] = []
        self._ignored: list[tuple[Row, str]] = []
        self._warnings: list[str] = []
        self._problems: list[str] = []
        self._count = 0

    def read_job(self, row: Row) -> None:
        reason, table = self._job(row)
        if reason:
            self._ignored.append((row, reason))
        else:
            self._jobs.append((table, row))

    def _job(self, row: Row) -> tuple[str, dict[str, Any]]:
        """(why it is ignored, "") or ("", its table)."""
        if not row.company:
            return "the row names no company; fill in Company", {}
        if row.company not in self._served:
            listed = ", ".join(self._served) or "none"
            return f"company {row.company} is not one of this endpoint's ({listed}){nearest(row.company, self._served)}", {}
        if row.setting not in self._known:
            return f"it is no job{nearest(row.setting, self._known)} expected one of {', '.join(self._known)}", {}
        try:
            value, note = repaired(row.value) if row.value.strip() else ({}, "")
        except ValueError as error:
            return f'its value {error}; expected something like {{"active": true, "cron": "0 * * * *"}}', {}
        if not isinstance(value, dict):
            return 'its value is no JSON object; expected something like {"active": true, "cron": "0 * * * *"}', {}
        if note:
            self._warnings.append(f"{row.place}: {note}")
        given = {_job_key(key): one for key, one in value.items() if one is not None}
        if str(given.get("company", row.company)) != row.company:
            return f"its value is for company {given['company']}, and the row for {row.company}; both must agree", {}
        if given.get("job", row.setting) != row.setting:
            return f"its value is job {given['job']}, and the row {row.setting}; both must agree", {}
        table = {"job": row.setting, "company": row.company} | {key: given[key] for key in _JOB_KEYS[2:] if key in given}
        return "", table | {key: _without_null(one) for key, one in given.items() if key not in _JOB_KEYS}

    def read_lookup(self, row: Row) -> None:
        self._count += 1
        if row.setting not in LOOKUPS:
            self._warnings.append(f"{row.place}: is no lookup of ours{nearest(row.setting, LOOKUPS)} It is not used")
            return
        if row.company and row.company not in self._served:
            self._warnings.append(
                f"{row.place}: the company is not one of this endpoint's{nearest(row.company, self._served)} It is not used"
            )
            return
        if row.company and row.setting == "Credentials":
            self._warnings.append(f"{row.place}: the credentials belong to the connection, not to one company; it is not used")
            return
        try:
            value, note = repaired(row.value)
        except ValueError as error:
            self._problems.append(f'{row.place}: the value {error}; expected an object such as {{"key": "value"}}')
            return
        if note:
            self._warnings.append(f"{row.place}: {note}")
        if isinstance(value, dict) and set(value) == {row.setting}:
            value = value[row.setting]
        if not isinstance(value, dict):
            self._problems.append(f'{row.place}: the value is no JSON object; expected one such as {{"key": "value"}}')
            return
        table = self._table(row, value)
        if row.company:
            self._companies.setdefault(row.company, {})[row.setting] = table
            self._of_company.append((row.company, row.setting, row))
        else:
            self._lookups[row.setting] = table
            self._rows["lookups", row.setting] = row

    def _table(self, row: Row, value: dict[str, Any]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, one in value.items():
            if one is None:
                self._warnings.append(f"{row.place}: {key} is empty (null); its default is used")
            elif row.setting == "Objects" and isinstance(one, str) and one.strip().isdecimal():
                self._warnings.append(f'{row.place}: {key} = "{one}" is text; it is read as the number {int(one)}')
                table[key] = int(one)
            elif key in _DATES and isinstance(one, str) and _DATE.fullmatch(one):
                table[key] = _date(one)
            else:
                table[key] = _without_null(one)
        if row.setting == "Credentials":
            given = table.get(SECRET)
            if not (isinstance(given, str) and given.startswith(("env:", "file:"))):
                if given:
                    self._warnings.append(
                        f"{row.place}: {SECRET} stands there in clear; it is not taken over but referred to as {self._secret}"
                    )
                table[SECRET] = self._secret
        return table

    def reading(self) -> Reading:
        companies = [{"company": company, "lookups": lookups} for company, lookups in self._companies.items()]
        place = {company: index for index, company in enumerate(self._companies)}
        for company, setting, row in self._of_company:
            self._rows["companies", place[company], "lookups", setting] = row
        order = {name: number for number, name in enumerate(self._known)}
        self._jobs.sort(key=lambda item: (item[0]["company"], order[item[0]["job"]]))
        for index, (_, row) in enumerate(self._jobs):
            self._rows["jobs", index] = row
        tables = {"lookups": self._lookups, "companies": companies, "jobs": [table for table, _ in self._jobs]}
        return Reading(tables, self._rows, tuple(self._ignored), tuple(self._warnings), tuple(self._problems), self._count)


def rows_of(connection: Mapping[str, Any]) -> list[Row]:
    """The rows that say what a connection's tables say, as they stand in the file: secrets as references.

    Raises ValueError when a secret stands in clear: it must not reach Prime.
    """
    found = [Row("", LOOKUP_TYPE, name, _value(table)) for name, table in connection.get("lookups", {}).items()]
    for section in connection.get("companies", ()):
        found += [Row(section["company"], LOOKUP_TYPE, name, _value(table)) for name, table in section.get("lookups", {}).items()]
    for job in connection.get("jobs", ()):
        found.append(Row(job["company"], JOB_TYPE, job["job"], _value({_camel(key): one for key, one in job.items()})))
    return found


def same(one: str, other: str) -> bool:
    """Whether two values say the same, whatever their spaces and the order of their keys."""
    try:
        return one == other or bool(json.loads(one) == json.loads(other))
    except json.JSONDecodeError:
        return False


def _value(table: Mapping[str, Any]) -> str:
    secret = table.get(SECRET)
    if secret is not None and not (isinstance(secret, str) and secret.startswith(("env:", "file:"))):
        raise ValueError(f"{SECRET} is no reference (env:NAME or file:PATH); it is not sent to Prime")
    return json.dumps(table, ensure_ascii=False, default=_iso)


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in JSON")


def _date(text: str) -> date | str:
    try:
        return date.fromisoformat(text)
    except ValueError:  # such as 2026-02-31: the check names it
        return text


def _without_null(value: Any) -> Any:
    """Inside a mapping or a list, null is an empty text: a file has no null, and the check names what is empty."""
    if isinstance(value, dict):
        return {key: "" if one is None else _without_null(one) for key, one in value.items()}
    return ["" if one is None else _without_null(one) for one in value] if isinstance(value, list) else value


def _job_key(key: str) -> str:
    """sageEntity, SageEntity and sage_entity are the same key; an unknown one stays as it is."""
    folded = key.replace("_", "").casefold()
    return next((known for known in _JOB_KEYS if known.replace("_", "") == folded), key)


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)
