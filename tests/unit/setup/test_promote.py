"""A test connection becomes production's: what is asked, what is copied, what is pointed out."""

from __future__ import annotations

import copy
import tomllib
from datetime import date
from typing import Any

import pytest

from connect.config.stages import PARTNER_CLIENT
from connect.setup.promote import Promotion
from tests.unit.config.test_mistakes import GOOD

TEST: dict[str, Any] = tomllib.loads(GOOD)["connections"][0]


def promotion(name: str = "acme-PROD", *, company: dict[str, Any] | None = None, **given: Any) -> Promotion:
    source = copy.deepcopy(TEST)
    source["lookups"]["GeneralSettings"]["BankAccountMapping"] = {"1234": "BA1145"}
    if company is not None:
        source["companies"] = [{"company": "100", "lookups": {"GeneralSettings": company}}]
    return Promotion(source, name, dict(given))


def defaults(made: Promotion) -> dict[str, Any]:
    return {question.key: question.default for question in made.questions()}


def test_the_partners_client_id_is_proposed_for_production_and_not_for_another_test():
    assert defaults(promotion())["SageClientId"] == PARTNER_CLIENT
    assert defaults(promotion("acme-UAT"))["SageClientId"] is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("url", "https://acme-prod.example.com/ws/a.asmx", "url: https://acme-prod.example.com/ws/a.asmx looks like production"),
        ("SageClientId", PARTNER_CLIENT, "SageClientId is the client id for production, whose use is billed, and acme-UAT-TEST is a test"),
        ("SageClientSecret", "env:ACME_PROD_SAGE_SECRET", "SageClientSecret: env:ACME_PROD_SAGE_SECRET looks like production"),
        ("environment", "ACME_LIVE", "environment: ACME_LIVE looks like production, and acme-UAT-TEST is a test"),
    ],
)  # fmt: skip
def test_production_under_a_name_that_ends_in_test_is_pointed_out(key, value, says):
    before = promotion("acme-UAT-TEST").doubts()
    found = [one for one in promotion("acme-UAT-TEST", **{key: value}).doubts() if one not in before]
    assert any(one.startswith(says) for one in found), found


def test_production_that_the_test_itself_has_is_pointed_out():
    made = promotion()
    made.source["lookups"]["Credentials"]["SageClientId"] = PARTNER_CLIENT  # type: ignore[index]
    assert any(one.startswith("acme-TEST, SageClientId is the client id for production") for one in made.doubts())


def test_what_a_company_had_of_its_own_does_not_bring_the_tests_start_into_production():
    made = promotion(company={"StartOn": date(2025, 1, 1), "KeySource": "key"}, StartOn=date(2026, 12, 1))
    table = made.table()
    assert table["lookups"]["GeneralSettings"]["StartOn"] == date(2026, 12, 1)
    assert table["companies"] == [{"company": "100", "lookups": {"GeneralSettings": {"KeySource": "key"}}}]
    assert any(one.startswith("StartOn: companies had one of their own") for one in made.doubts())
    assert made.source["companies"][0]["lookups"]["GeneralSettings"]["StartOn"] == date(2025, 1, 1)  # the test's stays as it is


def test_a_start_that_only_companies_have_is_asked_as_well():
    made = promotion(company={"StartOn": date(2025, 1, 1)})
    del made.source["lookups"]["GeneralSettings"]["StartOn"]  # type: ignore[attr-defined]
    assert "StartOn" in defaults(made)


def test_the_banks_are_asked_and_said_when_they_stay():
    assert defaults(promotion())["BankAccountMapping"] == {"1234": "BA1145"}
    assert any(one.startswith("BankAccountMapping is copied") for one in promotion().doubts())
    other = promotion(BankAccountMapping={"77": "BA9"})
    assert other.table()["lookups"]["GeneralSettings"]["BankAccountMapping"] == {"77": "BA9"}
    assert not any(one.startswith("BankAccountMapping") for one in other.doubts())


def test_where_people_open_prime_follows_from_the_web_services_address():
    made = promotion()
    made.source["lookups"]["GeneralSettings"]["ShowInvoiceBaseURL"] = "http://127.0.0.1:8802"  # type: ignore[index]
    assert defaults(made)["ShowInvoiceBaseURL"] is None
    made.given["url"] = "https://acme.example.com/ws/webService.asmx"
    assert made.table()["lookups"]["GeneralSettings"]["ShowInvoiceBaseURL"] == "https://acme.example.com"
