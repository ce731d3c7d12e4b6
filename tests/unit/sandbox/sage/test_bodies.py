"""How nested records become rows: order, keys, references in all their forms, contacts in place, lists, kinds of values."""

from __future__ import annotations

import pytest

BILL = "accounts-payable/bill"
CONTACT = "company-config/contact"
RATE = "company-config/exchange-rate"
TASK = "projects/task"
VENDOR = "accounts-payable/vendor"


def load(world, name, *records, mode="insert"):
    return world.sim.load(object=name, mode=mode, records=list(records))


def shown(world, name):
    return world.sim.records(object=name)["records"]


def test_records_may_refer_to_later_ones_of_the_same_load(world):
    chain = [{"id": f"V{n}", "name": "x", "parent": {"id": f"V{n + 1}"}} for n in range(1, 4)] + [{"id": "V4", "name": "top"}]
    answer = load(world, VENDOR, *chain)
    assert (answer["loaded"], answer["errors"]) == (4, [])
    found = {record["key"]: record["id"] for record in shown(world, VENDOR)}
    assert [found[key] for key in answer["keys"]] == ["V1", "V2", "V3", "V4"], "keys in the order of the records"


def test_keys_that_are_made_keep_clear_of_those_given(world):
    answer = load(world, VENDOR, {"id": "A", "name": "a"}, {"key": "1", "id": "B", "name": "b"}, {"key": 7, "id": "C", "name": "c"})
    assert answer == {"loaded": 3, "keys": ["8", "1", "7"], "errors": []}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": "V1", "name": "x", "colour": "red"}, "/colour is not a valid field"),
        ({"id": "V1", "name": ["x"]}, "/name must be a text"),
        ({"id": "V1", "name": "x", "isOnHold": "maybe"}, "/isOnHold must be true or false"),
        ({"id": "V1", "name": "x", "totalDue": "much"}, "/totalDue must be an amount"),
        ({"id": "V1", "name": "x", "lastBillCreatedDate": "2026-13-01"}, "/lastBillCreatedDate must be a date"),
        ({"id": "V1", "name": "x", "audit": {"modifiedDateTime": "yesterday"}}, "/audit/modifiedDateTime must be a date and time"),
        ({"id": "V1", "name": "x", "contacts": []}, "/contacts must be an object"),
        ({"id": "V1", "name": "x", "term": "N30"}, "/term must be an object with key or id"),
        ({"key": "seven", "id": "V1", "name": "x"}, "/key must be a number"),
        ({"id": "V1", "name": "x", "entity": {"id": "E9"}}, "Invalid Entity E9 selected"),
        ("V1", "must be an object"),
    ],
)
def test_what_cannot_be_loaded_is_told(world, record, words):
    answer = load(world, VENDOR, record)
    assert answer["loaded"] == 0
    assert words in answer["errors"][0]["message"]
    assert not world.sim.store.table(VENDOR).rows


def test_loading_takes_what_only_sage_sets_and_values_that_no_enum_knows(world):
    record = {"id": "V1", "name": "x", "status": "archived", "totalDue": 7, "creditLimit": "40000", "isOnHold": "true", "unknown": None}
    assert load(world, VENDOR, record)["errors"] == []
    (found,) = shown(world, VENDOR)
    assert (found["status"], found["totalDue"], found["creditLimit"], found["isOnHold"]) == ("archived", "7.00", 40000, True)


def test_a_reference_as_number_and_title_is_found_and_shown_so(world):
    load(world, "general-ledger/account", {"id": "6850.03", "name": "Taxes"})
    load(world, "tax/tax-detail", {"id": "T", "glAccount": {"id": "6850.03--Taxes"}})
    (found,) = shown(world, "tax/tax-detail")
    assert (found["glAccount"]["id"], found["glAccount"]["key"]) == ("6850.03--Taxes", "1")


def test_a_shown_record_can_be_loaded_elsewhere_as_it_is(world):
    load(world, "accounts-payable/term", {"id": "N30", "description": "30"})
    load(world, VENDOR, {"id": "V1", "name": "x", "term": {"id": "N30"}, "contacts": {"default": {"printAs": "X", "email1": "a@b"}}})
    (before,) = shown(world, VENDOR)
    other = type(world)()
    load(other, "accounts-payable/term", *shown(world, "accounts-payable/term"))
    load(other, CONTACT, *shown(world, CONTACT))
    assert load(other, VENDOR, before)["errors"] == []
    assert shown(other, VENDOR) == [before]


def test_a_contact_in_place_is_a_record_that_both_show(world):
    load(world, VENDOR, {"id": "V1", "name": "x", "contacts": {"default": {"printAs": "X Ltd", "mailingAddress": {"city": "Oslo"}}}})
    (contact,) = shown(world, CONTACT)
    assert (contact["id"], contact["mailingAddress"]["city"]) == ("X Ltd", "Oslo")
    load(world, VENDOR, {"id": "V1", "contacts": {"default": {"email1": "a@b"}}}, mode="upsert")
    load(world, CONTACT, {"key": contact["key"], "phone1": "1"}, mode="upsert")
    (contact,) = shown(world, CONTACT)
    default = shown(world, VENDOR)[0]["contacts"]["default"]
    assert default["key"] == contact["key"]
    assert (default["email1"], default["phone1"], default["mailingAddress"]["city"]) == ("a@b", "1", "Oslo")
    load(world, VENDOR, {"id": "V2", "name": "y", "contacts": {"default": {"printAs": "X Ltd"}}})
    assert [one["id"] for one in shown(world, CONTACT)] == ["X Ltd", "X Ltd(2)"], "two contacts are never called the same"


def test_a_loaded_list_replaces_the_one_before(world):
    load(world, RATE, {"fromCurrency": "EUR", "toCurrency": "USD", "lines": [{"effectiveStartDate": "2026-01-01", "rate": 1.1}] * 2})
    load(world, RATE, {"key": "1", "lines": [{"effectiveStartDate": "2026-02-01", "rate": 1.2}]}, mode="upsert")
    (found,) = shown(world, RATE)
    assert [row["rate"] for row in found["lines"]] == [1.2]
    assert len(world.sim.store.table("company-config/exchange-rate-line").rows) == 1
    load(world, RATE, {"key": "1"}, mode="delete")
    assert not world.sim.store.table("company-config/exchange-rate-line").rows


def test_task_numbers_are_unique_within_their_project_only(world):
    load(world, "projects/project", {"id": "P1", "name": "one"}, {"id": "P2", "name": "two"})
    tasks = [{"id": "100", "name": f"of {project}", "project": {"id": project}} for project in ("P1", "P2")]
    assert load(world, TASK, *tasks)["loaded"] == 2
    assert "Another record" in load(world, TASK, tasks[0])["errors"][0]["message"]
    assert load(world, TASK, tasks[0] | {"name": "new"}, mode="upsert")["keys"] == ["1"]
    assert [task["name"] for task in shown(world, TASK)] == ["new", "of P2"]
    assert load(world, TASK, tasks[1], mode="delete")["keys"] == ["2"]


def test_user_defined_dimensions_and_fields_come_back(world):
    load(world, "platform-apps/nsp::region", {"id": "N", "name": "North"})
    load(world, VENDOR, {"id": "V1", "name": "x", "nsp::colour": "red"})
    load(world, "general-ledger/account", {"id": "6000", "name": "Rent"})
    line = {"glAccount": {"id": "6000"}, "txnAmount": "5.00", "dimensions": {"nsp::region": {"id": "N"}}}
    load(world, BILL, {"billNumber": "B", "vendor": {"id": "V1"}, "createdDate": "2026-01-01", "lines": [line]})
    assert shown(world, VENDOR)[0]["nsp::colour"] == "red"
    assert shown(world, BILL)[0]["lines"][0]["dimensions"]["nsp::region"]["name"] == "North"


def test_a_loaded_bill_has_the_state_and_totals_given_or_those_of_its_lines(world):
    load(world, "general-ledger/account", {"id": "6000", "name": "Rent"})
    line = {"glAccount": {"id": "6000"}, "txnAmount": "5.00"}
    load(
        world,
        BILL,
        {"billNumber": "A", "lines": [line, line]},
        {"billNumber": "B", "state": "paid", "totalTxnAmountDue": "0.00", "lines": [line]},
    )
    first, second = shown(world, BILL)
    assert (first["state"], first["totalTxnAmount"], first["totalTxnAmountDue"]) == ("posted", "10.00", "10.00")
    assert (second["state"], second["totalTxnAmount"], second["totalTxnAmountDue"]) == ("paid", "5.00", "0.00")
    load(world, BILL, {"key": "1", "lines": [line]}, mode="upsert")
    assert shown(world, BILL)[0]["totalTxnAmount"] == "5.00"


def test_an_upserted_record_stays_in_its_entity_or_moves_to_the_one_given(world):
    load(world, "company-config/entity", {"id": "E1", "name": "One"}, {"id": "E2", "name": "Two"})
    load(world, VENDOR, {"id": "V1", "name": "x", "entity": {"id": "E1"}})
    load(world, VENDOR, {"id": "V1", "name": "y"}, mode="upsert")
    assert shown(world, VENDOR)[0]["entity"]["id"] == "E1"
    load(world, VENDOR, {"id": "V1", "entity": {"key": "2"}}, mode="upsert")
    assert shown(world, VENDOR)[0]["entity"]["id"] == "E2"
    assert world.keys(scope=2) == [1]
    assert world.keys(scope=1) == []


def test_a_row_loaded_for_an_owner_is_as_private_as_the_owner(world):
    load(world, "company-config/entity", {"id": "E1", "name": "One"})
    load(world, RATE, {"fromCurrency": "EUR", "toCurrency": "USD", "entity": {"id": "E1"}, "lines": []})
    load(world, "company-config/exchange-rate-line", {"exchangeRate": {"key": "1"}, "effectiveStartDate": "2026-01-01", "rate": 1})
    assert world.sim.store.table("company-config/exchange-rate-line").private == {1: 1}
