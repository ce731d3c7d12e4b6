"""The query service's filters, its expression, and its dates. Source: sage-rest.md c; sage-openapi core-query."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connect.sandbox.sage.paths import ValueKind

Test = Callable[[Any], bool]
TEXT_OPERATORS: Final = frozenset({"$contains", "$notContains", "$startsWith", "$notStartsWith", "$endsWith", "$notEndsWith"})
OPERATORS: Final = TEXT_OPERATORS | {"$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$notIn", "$between", "$notBetween", "$has"}
OPPOSITES: Final = {
    "$ne": "$eq",
    "$notIn": "$in",
    "$notBetween": "$between",
    "$notContains": "$contains",
    "$notStartsWith": "$startsWith",
    "$notEndsWith": "$endsWith",
}
MACROS: Final = frozenset(
    {
        "today",
        "yesterday",
        "currentWeek",
        "lastWeek",
        "currentMonth",
        "priorMonth",
        "currentQuarter",
        "priorQuarter",
        "currentYear",
        "priorYear",
    }
)


def macro(name: str, today: date) -> tuple[date, date]:
    """First and last day of a date macro. Weeks start on Monday, quarters and years are the calendar's."""
    day = timedelta(days=1)
    monday, first = today - today.weekday() * day, today.replace(day=1)
    quarter = first.replace(month=first.month - (first.month - 1) % 3)
    year = first.replace(month=1)

    def months(start: date, count: int) -> date:
        index = start.year * 12 + start.month - 1 + count
        return date(index // 12, index % 12 + 1, 1)

    return {
        "today": (today, today),
        "yesterday": (today - day, today - day),
        "currentWeek": (monday, monday + 6 * day),
        "lastWeek": (monday - 7 * day, monday - day),
        "currentMonth": (first, months(first, 1) - day),
        "priorMonth": (months(first, -1), first - day),
        "currentQuarter": (quarter, months(quarter, 3) - day),
        "priorQuarter": (months(quarter, -3), quarter - day),
        "currentYear": (year, months(year, 12) - day),
        "priorYear": (months(year, -12), year - day),
    }[name]


def moment(value: str) -> str:
    """A date-time as rows hold it: UTC, seconds, Z. Raises ValueError."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sortable(kind: ValueKind, *, as_text: bool) -> Callable[[Any], Any]:
    """What rows are ordered and compared by."""
    if kind == "key" and not as_text:
        return int
    if kind in ("money", "decimal", "number", "integer"):
        return _number
    return lambda value: value


def _number(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None


def _operand(kind: ValueKind, value: Any, *, as_text: bool, fold: bool) -> Any:
    """A filter's value, comparable with the rows' values. Raises ValueError."""
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise ValueError(f"{value!r} is not a boolean")
    if isinstance(value, bool | dict | list):
        raise ValueError(f"{value!r} is not a value to compare with")  # noqa: TRY004  # it is the query that is wrong
    if kind == "key":
        if not str(value).isascii() or not str(value).isdigit():
            raise ValueError(f"{value!r} is not a key")
        return str(value) if as_text else int(value)
    if kind in ("money", "decimal", "number", "integer"):
        return _number(value)
    if kind == "date":
        return date.fromisoformat(str(value)).isoformat()
    if kind == "datetime":
        return moment(str(value))
    return str(value).casefold() if fold else str(value)


def passing(operator: str, kind: ValueKind, value: Any, *, as_text: bool = False, fold: bool = False, today: date | None = None) -> Test:
    """A function that says whether a row's value passes. Null passes only $eq null and the negations. Raises ValueError with the reason."""
    if operator in OPPOSITES:
        inner = passing(OPPOSITES[operator], kind, value, as_text=as_text, fold=fold, today=today)
        return lambda found: not inner(found)
    dated = kind in ("date", "datetime")
    if operator in TEXT_OPERATORS and dated:
        raise ValueError(f"{operator} is not for dates")
    if value is None:
        if operator != "$eq":
            raise ValueError(f"{operator} needs a value")
        return lambda found: found is None
    if dated and value in MACROS and today is not None:
        return _macro_test(operator, kind, macro(value, today))
    base = sortable(kind, as_text=as_text)
    read = (lambda found: str(found).casefold()) if fold and kind == "text" else base

    def operand(given: Any) -> Any:
        return _operand(kind, given, as_text=as_text, fold=fold and kind == "text")

    if operator in ("$in", "$between", "$has"):
        given = value if isinstance(value, list) else [value] if operator == "$has" else None
        if given is None or (operator == "$between" and len(given) != 2):
            raise ValueError(f"{operator} needs {'two values' if operator == '$between' else 'a list'}")
        if operator == "$between":
            low, high = operand(given[0]), operand(given[1])
            return lambda found: found is not None and low <= read(found) <= high
        wanted = frozenset(operand(one) for one in given if one is not None)
        has_null = None in given
        return lambda found: has_null if found is None else read(found) in wanted
    wanted_value = operand(value)
    if operator in TEXT_OPERATORS:
        text = str(wanted_value)
        look: Callable[[str], bool] = {
            "$contains": lambda found: text in found,
            "$startsWith": lambda found: found.startswith(text),
            "$endsWith": lambda found: found.endswith(text),
        }[operator]
        return lambda found: found is not None and look(str(found).casefold() if fold else str(found))
    compare: Test = {
        "$eq": lambda found: read(found) == wanted_value,
        "$lt": lambda found: read(found) < wanted_value,
        "$lte": lambda found: read(found) <= wanted_value,
        "$gt": lambda found: read(found) > wanted_value,
        "$gte": lambda found: read(found) >= wanted_value,
    }[operator]
    return lambda found: found is not None and compare(found)


def _macro_test(operator: str, kind: ValueKind, span: tuple[date, date]) -> Test:
    first, last = span[0].isoformat(), span[1].isoformat()
    if kind == "datetime":
        first, last = f"{first}T00:00:00Z", f"{last}T23:59:59Z"
    found: Test | None = {
        "$eq": lambda value: first <= value <= last,
        "$lt": lambda value: value < first,
        "$lte": lambda value: value <= last,
        "$gt": lambda value: value > last,
        "$gte": lambda value: value >= first,
    }.get(operator)
    if found is None:
        raise ValueError(f"{operator} is not for date macros")
    passes = found
    return lambda value: value is not None and passes(value)


Expression = tuple[Any, ...]  # ("and", a, b, …), ("or", a, b, …), ("filter", number from 0)
_TOKEN: Final = re.compile(r"\s*(\d+|and\b|or\b|\(|\))", re.IGNORECASE)


def expression(text: str | None, count: int) -> Expression:
    """The filterExpression over `count` filters; numbers count from 1, `and` binds tighter than `or`. Raises ValueError."""
    word = (text or "and").strip().lower()
    if word in ("and", "or", ""):
        return (word or "and", *(("filter", number) for number in range(count)))
    words: list[str] = []
    at = 0
    stripped = word.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise ValueError(f"the filter expression {text!r} cannot be read at character {at + 1}")
        words.append(match[1])
        at = match.end()

    def either() -> Expression:
        parts = [both()]
        while words and words[0] == "or":
            words.pop(0)
            parts.append(both())
        return parts[0] if len(parts) == 1 else ("or", *parts)

    def both() -> Expression:
        parts = [one()]
        while words and words[0] == "and":
            words.pop(0)
            parts.append(one())
        return parts[0] if len(parts) == 1 else ("and", *parts)

    def one() -> Expression:
        found = words.pop(0) if words else ""
        if found == "(":
            inner = either()
            if not words or words.pop(0) != ")":
                raise ValueError(f"the filter expression {text!r} lacks a closing parenthesis")
            return inner
        if not found.isdigit():
            raise ValueError(f"the filter expression {text!r} has {found or 'nothing'} where a filter's number belongs")
        if not 1 <= int(found) <= count:
            raise ValueError(f"the filter expression {text!r} names filter {found}, and there are {count}")
        return ("filter", int(found) - 1)

    found = either()
    if words:
        raise ValueError(f"the filter expression {text!r} goes on with {words[0]} where it should end")
    return found
