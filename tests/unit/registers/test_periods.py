"""Periods: the guide's table (prime.md 2.7); off by default."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from register_cases import body_of, map_row, part_of, sage_row, settings

from connect.errors import Poison
from connect.mapping import Part
from connect.registers import REGISTERS


def part_for(transport: str, **others: Any) -> Part:
    return part_of("GetPeriods", transport, periods_enabled=True, **others)


def row(part: Part, **fields: Any) -> bytes:
    given = {
        "key": "1023",
        "id": "November 2026",
        "startDate": "2026-11-01",
        "endDate": "2026-11-30",
        "status": "active",
        "columnHeader1": "Nov",
        "reportingPeriodType": "custom",
    }
    return sage_row(part, **given | fields)


def test_without_the_setting_there_is_nothing_to_read() -> None:
    assert REGISTERS["GetPeriods"].parts(settings()) == []


def test_soap_body_is_the_guides_table() -> None:
    part = part_for("soap")
    assert body_of(part, row(part)) == {
        "Company": "100",
        "Year": 2026,
        "Period": 11,
        "Name": "November 2026",
        "StartDate": "2026-11-01T00:00:00",
        "EndDate": "2026-11-30T00:00:00",
        "Closed": 0,
        "Group1": "Nov",
        "Group2": None,
        "Group3": "custom",
        "KeyType": 1,
        "ExternalId": "1023",
        "ExternalSource": "SageIntacct",
    }


def test_rest_body_is_the_guides_table_and_closed_is_inverted() -> None:
    part = part_for("rest")
    assert body_of(part, row(part, status="inactive", columnHeader2="2026", reportingPeriodType=None)) == {
        "company": "100",
        "year": 2026,
        "period": 11,
        "name": "November 2026",
        "startDate": "2026-11-01T00:00:00",
        "endDate": "2026-11-30T00:00:00",
        "closed": 1,
        "group1": "Nov",
        "group2": "2026",
        "group3": None,
        "keyType": 1,
        "externalId": "1023",
        "externalSource": "SageIntacct",
    }


def test_a_rolling_period_is_not_wanted() -> None:
    part = part_for("rest")
    assert part.transform(row(part, id="Current Month", reportingPeriodType="month"), {}, "") is None


def test_key_source_key_keeps_the_name_and_gives_the_id_as_external_id() -> None:
    part = part_for("soap", key_source="key")
    body = body_of(part, row(part))
    assert (body["Name"], body["ExternalId"]) == ("November 2026", "November 2026")


def test_a_period_gone_from_sage_is_closed_with_all_that_prime_requires() -> None:
    part = part_for("soap")
    made = map_row(part, row(part))
    body = part.expire(made.natural, made.number, made.name, made.extra)
    assert body is not None
    assert orjson.loads(body) == {
        "Company": "100",
        "KeyType": 1,
        "Year": 2026,
        "Period": 11,
        "Name": "November 2026",
        "StartDate": "2026-11-01T00:00:00",
        "EndDate": "2026-11-30T00:00:00",
        "Closed": 1,
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"startDate": None}, "missing_value"), ({"endDate": "soon"}, "unexpected_value"), ({"status": "closed"}, "unexpected_value")],
)
def test_a_row_that_does_not_fit_is_refused_by_name(fields: dict[str, Any], code: str) -> None:
    part = part_for("rest")
    with pytest.raises(Poison, match="reporting-period 1023") as refused:
        part.transform(row(part, **fields), {}, "")
    assert refused.value.code == code
