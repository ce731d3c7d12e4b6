"""The model service, the dimensions, and the settings."""

from __future__ import annotations

import pytest


def test_a_model_tells_fields_groups_references_and_lists(world):
    model = world.sim.services.model("accounts-payable/bill")
    assert model["fields"]["paymentPriority"]["enum"] == ["urgent", "high", "normal", "low"]
    assert model["fields"]["dueDate"]["format"] == "date"
    assert model["groups"]["audit"]["fields"]["modifiedDateTime"]["readOnly"] is True
    assert set(model["refs"]["vendor"]["fields"]) == {"key", "id", "name", "vendorDue"}
    assert set(model["refs"]["vendor"]["groups"]["form1099"]["fields"]) == {"type", "box"}
    assert set(model["refs"]["term"]["fields"]) == {"key", "id"}
    assert model["lists"] == {"lines": {"apiObject": "accounts-payable/bill-line"}}
    assert model["type"] == "rootObject"


def test_empty_parts_of_a_model_are_lists(world):
    model = world.sim.services.model("company-config/department")
    assert model["lists"] == []
    assert "lists" not in model["groups"]["audit"]


def test_a_contact_shown_through_a_reference_is_deprecated(world):
    contact = world.sim.services.model("accounts-payable/vendor")["groups"]["contacts"]["refs"]["default"]
    assert contact["groups"]["mailingAddress"]["fields"]["city"]["deprecated"] is True


def test_read_only_objects_are_read_only(world):
    assert world.sim.services.model("tax/tax-detail")["httpMethods"] == "OPTIONS,GET"


@pytest.mark.parametrize("name", ["accounts-payable/nothing", "platform-apps/nsp::region"])
def test_an_unknown_object_has_no_model(world, name):
    assert world.sim.services.model(name) == []


def test_dimensions_are_fourteen_and_the_companys_own(world):
    assert [row["dimensionName"] for row in world.sim.services.dimensions()][-1] == "FIXEDASSET"
    world.put("platform-apps/nsp::region", 1, id="EU", name="Europe")
    rows = world.sim.services.dimensions()
    assert len(rows) == 15
    assert rows[-1] == {
        "dimensionName": "REGION",
        "dimensionLabel": "Region",
        "termName": "Region",
        "isUserDefinedDimension": True,
        "isEnabledInGL": True,
        "dimensionEndpoint": "/objects/platform-apps/nsp::region",
    }
    assert world.sim.services.model("platform-apps/nsp::region")["apiObject"] == "objects/platform-apps/nsp::region"


def test_settings_change_one_by_one_and_are_told_whole(world):
    assert world.sim.settings(read_lag_s=3)["read_lag_s"] == 3
    answer = world.sim.settings(approvals=True)
    assert (answer["approvals"], answer["read_lag_s"]) == (True, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"nonsense": 1},
        {"key_order": "random"},
        {"read_lag_s": -1},
        {"expired_token_status": 500},
        {"closed_until": "soon"},
        {"approvals": 1},
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(world, change):
    before = world.sim.settings()
    with pytest.raises(ValueError, match=next(iter(change))):
        world.sim.settings(approvals=True, **change) if "approvals" not in change else world.sim.settings(**change)
    assert world.sim.settings() == before


def test_reset_empties_the_books_and_forgets_what_was_answered(vendors):
    assert len(vendors.keys()) == 12
    vendors.sim.settings(key_order="text")
    vendors.sim.reset()
    assert vendors.keys() == []
    assert vendors.sim.settings()["key_order"] == "numeric"


@pytest.mark.parametrize("call", [{"object": "accounts-payable/vendor"}, {"object": 1, "records": []}, {"records": [], "mode": "insert"}])
def test_a_load_that_is_no_load_is_refused(world, call):
    with pytest.raises(ValueError, match="expected"):
        world.sim.load(**call)


def test_a_load_into_an_unknown_object_is_refused(world):
    with pytest.raises(LookupError, match="no object"):
        world.sim.load(object="accounts-payable/nothing", records=[])
