"""Which dimensions are proposed, and what is lost without the others."""

from __future__ import annotations

from dataclasses import replace

from connect.config.names import MANDATORY_DIMENSIONS
from connect.registers import REGISTERS
from connect.setup.dimensions import _SOURCES, Dimension, doubts, lost_without, propose, propose_levels
from connect.setup.questions import Answers, Company


def dimension(name: str, *, values: int = 10, required: int = 0, lines: int = 0, enabled: bool = True) -> Dimension:
    return Dimension(name=name, label=name.title(), is_enabled=enabled, values=values, of_entities=0, required_by=required, lines=lines)


FOUND = [
    *(dimension(name) for name in MANDATORY_DIMENSIONS),
    dimension("VENDOR", values=9000, lines=500),
    dimension("PROJECT", required=3),
    dimension("CLASS", lines=40, values=5),
    dimension("ITEM", lines=7, values=900),
    dimension("TASK", enabled=False, values=50),
    dimension("CONTRACT", values=0),
    dimension("nsp::region", values=3),
]


def test_the_mandatory_come_first_then_what_accounts_require_then_what_bills_use():
    assert list(propose(FOUND)) == ["DEPARTMENT", "LOCATION", "PROJECT", "CLASS", "ITEM", "nsp::region", "VENDOR"]


def test_at_most_eight_are_proposed_and_the_vendor_is_the_first_to_go():
    proposed = propose([*FOUND, dimension("CUSTOMER"), dimension("EMPLOYEE"), dimension("WAREHOUSE")])
    assert len(proposed) == 8
    assert sorted(proposed.values()) == list(range(1, 9))
    assert "VENDOR" not in proposed


def test_without_a_survey_the_mandatory_ones_are_proposed():
    assert propose([]) == {"DEPARTMENT": 1, "LOCATION": 2}


def test_what_is_lost_is_told_in_numbers():
    words = lost_without(dimension("PROJECT", required=3, lines=40, values=60))
    assert "3 accounts that require it are refused" in words
    assert "40 lines" in words
    assert "60 values" in words
    named = replace(dimension("PROJECT", required=5), required_at=("6000", "6010", "6020"))
    assert "the 5 accounts that require it (such as 6000, 6010, 6020) are refused by Sage" in lost_without(named)
    assert lost_without(dimension("TASK", enabled=False)).startswith("nothing")


def test_a_doubtful_choice_is_pointed_out():
    said = doubts(FOUND, {"DEPARTMENT": 1, "LOCATION": 2, "TASK": 3, "CONTRACT": 4, "nsp::colour": 5})
    assert [one.partition(":")[0] for one in said[:2]] == ["TASK", "CONTRACT"]
    assert "nsp::colour: Sage has no such dimension" in said
    assert any(one.startswith("PROJECT is left out: invoices on the 3 accounts") for one in said)


def test_the_levels_are_counted_of_registers_that_there_are():
    assert _SOURCES.keys() <= REGISTERS.keys()


def test_a_register_whose_rows_belong_to_entities_is_read_there_where_companies_are_entities():
    counts = {"GetSuppliers": (1200, 300), "GetAccounts": (80, 0)}
    entities = Answers(companies=[Company("100", "A", "US", sage_entity="E1")])
    assert propose_levels(entities, counts) == {"levels.GetSuppliers": "300 of 1,200 rows of GetSuppliers belong to one entity alone"}
    assert propose_levels(Answers(companies=[Company("100", "A", "US")]), counts) == {}
