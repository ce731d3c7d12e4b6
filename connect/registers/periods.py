"""Periods: Sage's reporting periods, delivered to Prime as accounting periods. Off by default (F3): periods are set up by hand in Prime.

Year and number come from the calendar month of the start, which is wrong for broken fiscal years (F13). Sage's rolling periods ("Current
Month") move from day to day and would take the number of a real one: only periods of type `custom` (or of none) go to Prime.

Source: the guide, Period; prime.md 2.7; sage-rest.md f.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from connect.config import RegisterSettings
from connect.mapping import Entity, EntityMapping, FieldMap, Joined, Line, Part, Row, Source, Status, Title, framed, midnight
from connect.registers.register import Register

FIXED_TYPES: Final = ("custom", None)


class Period(Entity):
    """An accounting period; Sage's id is its name."""

    name: Title
    starts_on: date
    ends_on: date
    status: Status
    period_type: Line | None = None
    column_header_1: Line | None = None
    column_header_2: Line | None = None
    year: int = 0
    number: int = 0
    start: str = ""
    end: str = ""
    closed: int = 0


ENTITY = EntityMapping(
    model=Period,
    source="general-ledger/reporting-period",
    fields=framed(
        #        Period              Sage Intacct           Prime, SOAP  Prime, REST
        FieldMap("year",             "",                    "Year",      "year"),
        FieldMap("number",           "",                    "Period",    "period"),
        FieldMap("name",             "id",                  "Name",      "name"),
        FieldMap("starts_on",        "startDate"),
        FieldMap("start",            "",                    "StartDate", "startDate"),
        FieldMap("ends_on",          "endDate"),
        FieldMap("end",              "",                    "EndDate",   "endDate"),
        FieldMap("status",           "status"),
        FieldMap("closed",           "",                    "Closed",    "closed"),
        FieldMap("column_header_1",  "columnHeader1",       "Group1",    "group1"),
        FieldMap("column_header_2",  "columnHeader2",       "Group2",    "group2"),
        FieldMap("period_type",      "reportingPeriodType", "Group3",    "group3"),
    ),
)  # fmt: skip


def parts(settings: RegisterSettings) -> list[Part]:
    if not settings.periods_enabled:
        return []
    # The id is the name already: it cannot be read a second time.
    external_is_name = settings.key_source == "key"
    mapper = ENTITY.compile(settings, unread=frozenset({"external_id"} if external_is_name else ()))

    def transform(raw: bytes, _joined: Joined, _extra: str) -> Row | None:
        period = mapper.decode(raw)
        if period.period_type not in FIXED_TYPES:
            return None
        if external_is_name:
            period.external_id = period.name
        period.year, period.number = period.starts_on.year, period.starts_on.month
        period.start, period.end = midnight(period.starts_on), midnight(period.ends_on)
        period.closed = int(period.status != "active")
        number = f"{period.year:04}-{period.number:02}"
        return Row(number, number, period.name, mapper.encode(period), extra=f"{period.start} {period.end}")

    def expire(natural: str, _number: str, name: str, extra: str) -> bytes:
        year, _, number = natural.partition("-")
        start, _, end = extra.partition(" ")
        return mapper.partial(year=int(year), number=int(number), name=name, start=start, end=end, closed=1)

    return [
        Part(
            id="Period",
            kind="Period",
            source=Source(ENTITY.source, mapper.paths),
            version=mapper.version,
            transform=transform,
            expire=expire,
            unknown_fields=mapper.decode.unknown,
        )
    ]


REGISTER = Register(job="GetPeriods", parts=parts)
