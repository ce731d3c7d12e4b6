"""A file of answers (TOML): read with every mistake at once, and written as a form to fill in, or with what was answered."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from connect.config import ConfigProblems
from connect.config.load import key_lines, line_of
from connect.config.names import DIMENSIONS, MANDATORY_DIMENSIONS, OBJECT_TYPES, nearest
from connect.config.toml import key_text, value_text
from connect.errors import ConfigError
from connect.setup.questions import BY_KEY, ORDER, QUESTIONS, TITLES, Answers, Company, Question

_COMPANY_KEYS: Final = ("company", "name", "country", "sage_entity", "dimensions")
Place = tuple[str | int, ...]
Problem = tuple[Place, str]


def read(path: Path) -> Answers:
    """The answers of a file. Raises ConfigProblems with all that is wrong, by line, or ConfigError when there is no such file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"the answers cannot be read from {path}: {words}; `connect init --write-answers {path}` writes a form", code="answers"
        ) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Answers:
    """As `read`, of a text; `path` names it in messages."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblems([f"{path}: is no TOML: {error}"]) from None
    answers = Answers()
    problems = [*_companies(tables.get("companies"), answers), *_sections(tables, answers), *_missing(answers), *_strangers(answers)]
    lines = key_lines(text)
    if problems:
        placed = sorted(((line_of(place, lines), place, words) for place, words in problems), key=lambda one: one[0])
        raise ConfigProblems([f"{path}:{line}: {_dotted(place)}: {words}" for line, place, words in placed])
    return answers


def _dotted(place: Place) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in place)


def _sections(tables: Mapping[str, Any], answers: Answers) -> Iterator[Problem]:
    for section, table in tables.items():
        if section == "companies":
            continue
        names = [question.name for question in QUESTIONS if question.section == section]
        if not names:
            yield (section,), f"is no section{nearest(section, ORDER)} expected one of {', '.join(ORDER)}"
            continue
        if not isinstance(table, Mapping):
            yield (section,), f"expected a table: [{section}]"
            continue
        for name, value in table.items():
            question = BY_KEY.get(f"{section}.{name}")
            if question is None:
                yield (section, name), f"is no question{nearest(name, names)} this section has {', '.join(names)}"
            elif value not in ("", []):  # a form that is left empty there: not answered
                yield from _answered(question, value, answers)


def _answered(question: Question, value: Any, answers: Answers) -> Iterator[Problem]:
    place = (question.section, question.name)
    answers.values[question.key] = value  # also when it is wrong: then it is not missing besides
    try:
        if question.key == "dimensions.chosen":
            value = chosen(value)
        else:
            value = question.judged(value)
    except ValueError as error:
        yield place, str(error)
        return
    answers.values[question.key] = value


def _missing(answers: Answers) -> Iterator[Problem]:
    for question in QUESTIONS:
        if question.key in answers.values or question.optional or not question.when(answers):
            continue
        if question.default_of(answers) is not None:
            continue
        yield (question.section, question.name), f"is not answered: {question.ask}{f' {question.why}' if question.why else ''}"


def _strangers(answers: Answers) -> Iterator[Problem]:
    """Companies that are named in an answer and are none."""
    known = [one.company for one in answers.companies]
    named = answers["sage.purchase_order_companies"]
    for name in named if known and isinstance(named, list) else ():
        if name not in known:
            yield ("sage", "purchase_order_companies"), f"{name!r} is no company{nearest(str(name), known)} there are {', '.join(known)}"


def _companies(rows: Any, answers: Answers) -> Iterator[Problem]:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        yield ("companies",), 'is not answered: which companies are there? Expected [[companies]] with company = "100", name and country'
        return
    for number, row in enumerate(rows):
        here: Place = ("companies", number)
        for name in row.keys() - set(_COMPANY_KEYS):
            yield (*here, name), f"is no question{nearest(name, _COMPANY_KEYS)} a company has {', '.join(_COMPANY_KEYS)}"
        try:
            answers.companies.append(company_of(row, answers.companies))
        except ValueError as error:
            yield here, str(error)


def company_of(row: Mapping[str, Any], others: list[Company]) -> Company:
    """A company as answered. Raises ValueError."""
    texts = {name: row.get(name, "") for name in ("company", "name", "country", "sage_entity")}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f'{name} is no text; write it in quotes: "{value}"')  # noqa: TRY004 - one error for all that is answered wrong
        texts[name] = value.strip()
    for name, what in (("company", "its code in Prime"), ("name", "its full name"), ("country", "two letters, such as US")):
        if not texts[name]:
            raise ValueError(f"{name} is not answered: {what}")
    texts["country"] = texts["country"].upper()
    if not re.fullmatch(r"[A-Z]{2}", texts["country"]):
        raise ValueError(f"country {texts['country']!r} is no country code; expected two letters, such as US or SE")
    if any(other.company == texts["company"] for other in others):
        raise ValueError(f"company {texts['company']} is there twice")
    own = chosen(row["dimensions"]) if row.get("dimensions") else None
    return Company(texts["company"], texts["name"], texts["country"], texts["sage_entity"], own)


def chosen(value: Any) -> dict[str, int]:
    """Dimensions -> object types, of a list (numbered in its order) or a table. Raises ValueError."""
    if isinstance(value, list):
        names = [_known(str(one)) for one in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice")
        numbered = {name: number for number, name in enumerate(names, 1)}
    elif isinstance(value, Mapping):
        numbered = {_known(name): number for name, number in value.items()}
        if any(not isinstance(number, int) or isinstance(number, bool) for number in numbered.values()):
            raise ValueError(f"expected object types from 1 to {OBJECT_TYPES}")
    else:
        raise ValueError('expected a list such as ["DEPARTMENT", "LOCATION"]')  # noqa: TRY004
    if len(numbered) > OBJECT_TYPES:
        raise ValueError(f"are {len(numbered)}, and Prime holds {OBJECT_TYPES} at most")
    if lacking := [name for name in MANDATORY_DIMENSIONS if name not in numbered]:
        raise ValueError(f"{' and '.join(lacking)} must be among them")
    numbers = list(numbered.values())
    if len(set(numbers)) < len(numbers) or not all(0 < number <= OBJECT_TYPES for number in numbers):
        raise ValueError(f"expected different object types from 1 to {OBJECT_TYPES}")
    return numbered


def _known(name: str) -> str:
    name = name.strip()
    if name.startswith("nsp::") and len(name) > len("nsp::"):
        return name
    if name.upper() not in DIMENSIONS:
        raise ValueError(f"{name!r} is no dimension{nearest(name, DIMENSIONS)}; a user-defined one is written nsp::name")
    return name.upper()


# -- writing -----------------------------------------------------------------------------------------------------------


def form(answers: Answers | None = None) -> str:
    """A file of answers, every question as a comment; with `answers` filled in, else to be filled in."""
    lines = ["# Answers for `connect init --answers FILE`. Numbers are those of the onboarding guide's questionnaire. What has a default"]
    lines += ["# may stay as it is; secrets never stand here, but where they are kept: env:NAME or file:PATH."]
    for section in ORDER:
        lines += ["", "", f"# {TITLES[section]}"]
        if section == "companies":
            for company in answers.companies if answers else [Company("", "", "", "")]:
                lines += _company_lines(company)
            continue
        lines.append(f"[{section}]")
        for question in QUESTIONS:
            if question.section == section:
                lines += _lines(question, answers)
    return "\n".join(lines) + "\n"


def _left_out(question: Question) -> str:
    """What leaving a question open means."""
    if question.optional:
        return f" (left out: {question.blank})"
    if callable(question.default):
        return " (left out: from the other answers)" if question.key != "sage.client_id" else " (must be answered for a test)"
    return " (must be answered)" if question.default is None else ""


def _lines(question: Question, answers: Answers | None) -> Iterator[str]:
    number = f"{question.number}. " if question.number else ""
    yield f"# {number}{question.ask}{_left_out(question)}"
    if question.why:
        yield f"#   {question.why}"
    if question.choices:
        yield f"#   One of {', '.join(question.choices)}."
    value = answers.values.get(question.key) if answers else None
    if value is not None:
        yield f"{question.name} = {value_text(value)}"
        return
    shown = question.default if not callable(question.default) else None
    if callable(question.default) and answers is not None:
        shown = question.default_of(answers)
    if shown is not None:
        yield f"# {question.name} = {value_text(shown)}"
    elif question.kind == "yes":
        yield f"# {question.name} = true  # or false"
    elif question.optional or callable(question.default):
        yield f"# {question.name} = {_EMPTY.get(question.kind, _TEXT)}"
    elif question.kind == "date":
        yield f"# {question.name} = 2026-01-01"
    else:
        yield f'{question.name} = ""'


_TEXT: Final = '"…"'
_EMPTY: Final = {"names": '["…"]', "map": '{ "…" = "…" }'}


def _company_lines(company: Company) -> list[str]:
    lines = [
        "# 5, 6. A company: its code in Prime, full name, country (two letters); its entity in Sage if it is one",
        "[[companies]]",
        f"company = {value_text(company.company)}",
        f"name = {value_text(company.name)}",
        f"country = {value_text(company.country)}",
        f"sage_entity = {value_text(company.sage_entity)}",
    ]
    if company.dimensions:
        pairs = ", ".join(f"{key_text(name)} = {number}" for name, number in company.dimensions.items())
        lines.append(f"dimensions = {{ {pairs} }}")
    else:
        lines.append('# dimensions = ["DEPARTMENT", "LOCATION"]  # 14. where they differ from those below')
    return lines
