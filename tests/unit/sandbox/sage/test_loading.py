"""Records put in by the control interface, and read back nested."""

from __future__ import annotations

VENDOR = "accounts-payable/vendor"
ENTITY = "company-config/entity"


def load(world, name, *records, mode="insert"):
    return world.sim.load(object=name, mode=mode, records=list(records))


def test_a_record_comes_back_nested_with_its_references_resolved(world):
    load(world, "accounts-payable/term", {"key": "7", "id": "N30", "description": "30 days", "due": {"days": 30}})
    assert load(world, VENDOR, {"id": "V1", "name": "One", "term": {"id": "N30"}}) == {"loaded": 1, "keys": ["1"], "errors": []}
    answer = world.sim.records(object=VENDOR)
    record = answer["records"][0]
    assert answer["count"] == 1
    assert (record["key"], record["id"], record["href"]) == ("1", "V1", f"/objects/{VENDOR}/1")
    assert record["term"] == {"key": "7", "id": "N30", "href": "/objects/accounts-payable/term/7"}
    assert record["parent"] == {"key": None, "id": None}
    assert world.sim.records(object="accounts-payable/term")["records"][0]["due"]["days"] == 30


def test_what_does_not_fit_is_told_by_its_place_and_the_rest_is_loaded(world):
    answer = load(
        world, VENDOR, {"id": "V1", "name": "One", "term": {"id": "N99"}}, {"id": "V2", "name": "Two"}, {"id": "V2", "name": "Again"}
    )
    assert (answer["loaded"], [error["index"] for error in answer["errors"]]) == (1, [0, 2])
    assert "N99" in answer["errors"][0]["message"]


def test_a_record_of_an_entity_is_private_to_it_and_says_so(world):
    load(world, ENTITY, {"id": "E1", "name": "One"})
    load(world, VENDOR, {"id": "V1", "name": "Private", "entity": {"id": "E1"}})
    assert world.keys() == []
    shown = world.ask(fields=["key", "entity.id"], filterParameters={"includePrivate": True})["ia::result"]
    assert shown == [{"key": "1", "entity.id": "E1"}]
    assert world.sim.records(object=VENDOR)["records"][0]["entity"]["name"] == "One"


def test_upsert_changes_what_is_given_and_delete_takes_away(world):
    load(world, VENDOR, {"id": "V1", "name": "One", "taxId": "T", "audit": {"modifiedDateTime": "2026-01-01T00:00:00Z"}})
    load(world, VENDOR, {"id": "V1", "name": "Uno"}, mode="upsert")
    record = world.sim.records(object=VENDOR)["records"][0]
    assert (record["name"], record["taxId"]) == ("Uno", "T")
    assert record["audit"]["modifiedDateTime"] > "2026-01-01T00:00:00Z"
    assert load(world, VENDOR, {"id": "V1"}, mode="delete")["loaded"] == 1
    assert world.sim.records(object=VENDOR)["count"] == 0
