"""What the registers say about what a document names, in as few queries as there are registers."""

from __future__ import annotations

from datetime import date

import pytest
from sage_box import BILL, PAYMENT, bill, payment

from connect.ledger import Trace
from connect.sage.attachments import Attachments, Folder
from connect.sage.bills import SageBills
from connect.sage.facts import SageFacts
from connect.sage.payments import SagePayments


@pytest.fixture
def facts(desk):
    return SageFacts(desk.client)


async def test_vendors_tell_whether_they_can_be_posted_to(desk, facts):
    found = await facts.vendors(["V1", "VOFF", "VNEW", "VHOLD", "VNOPAY", "NOBODY", "", "V1"])
    assert {name: (one.status, one.state, one.on_hold, one.do_not_pay) for name, one in found.items()} == {
        "V1": ("active", "a", False, False),
        "VOFF": ("inactive", "a", False, False),
        "VNEW": ("active", "s", False, False),
        "VHOLD": ("active", "a", True, False),
        "VNOPAY": ("active", "a", False, True),
    }
    assert found["V1"].name == "National Grid"
    assert desk.calls() == {"POST /services/core/query": 1}


async def test_accounts_tell_what_a_line_on_them_needs(facts):
    found = await facts.accounts(["6000", "6100", "6900", "2000", "1"])
    assert {name: (one.status, one.direct_posting, set(one.required)) for name, one in found.items()} == {
        "6000": ("active", True, set()),
        "6100": ("active", True, {"department"}),
        "6900": ("inactive", True, set()),
        "2000": ("active", False, set()),
    }


async def test_values_of_dimensions_come_with_their_status_also_of_kinds_that_have_none(desk, facts):
    desk.box.load("projects/project", {"id": "P1", "name": "Bridge"})
    desk.box.load("projects/task", {"id": "T1", "name": "Dig", "project": {"id": "P1"}})
    desk.box.load("platform-apps/nsp::region", {"id": "N", "name": "North", "status": "inactive"})
    found = [
        await facts.statuses(source, ids)
        for source, ids in (
            ("company-config/department", ["D1", "D9", "D7"]),
            ("projects/task", ["T1"]),
            ("platform-apps/nsp::region", ["N"]),
        )
    ]
    assert found == [{"D1": "active", "D9": "activeNonPosting"}, {"T1": "active"}, {"N": "inactive"}]


async def test_nothing_asked_costs_nothing(desk, facts):
    assert (await facts.vendors([]), await facts.accounts([""]), desk.calls()) == ({}, {}, {})


async def test_currencies_and_banks(facts):
    assert await facts.currencies() == {"USD", "EUR"}
    assert await facts.banks(["BOA", "VISA", "OLD", "NONE"]) == {
        "BOA": "cash-management/checking-account",
        "VISA": "cash-management/credit-card-account",
    }


async def test_a_folder_is_found_by_its_id_or_its_key_the_id_first(desk):
    attachments = Attachments(desk.client)
    (key,) = desk.box.load("company-config/folder", {"id": "Invoices 2026"})
    assert await attachments.folder("Invoices 2026") == Folder(key, "Invoices 2026")
    assert await attachments.folder(key) == Folder(key, "Invoices 2026")
    (other,) = desk.box.load("company-config/folder", {"id": key})
    assert await Attachments(desk.client).folder(key) == Folder(other, key), "and what was found before is believed for a while:"
    assert await attachments.folder(key) == Folder(key, "Invoices 2026")
    assert await attachments.folder("Nowhere") is None


async def test_rates_tell_from_which_day_there_is_one(desk, facts):
    def rate(source, target, *days):
        lines = [{"effectiveStartDate": day, "rate": 1.1} for day in days]
        return {"fromCurrency": source, "toCurrency": target, "lines": lines}

    desk.box.load(
        "company-config/exchange-rate",
        rate("EUR", "USD", "2026-03-01", "2026-01-15"),
        rate("EUR", "USD", "2026-02-01"),
        rate("SEK", "USD"),
        rate("EUR", "SEK", "2020-01-01"),
    )
    assert await facts.rates([("EUR", "USD"), ("SEK", "USD"), ("NOK", "USD")]) == {("EUR", "USD"): date(2026, 1, 15)}
    assert await facts.rates([]) == {}


async def test_where_primes_numbers_are_sages_keys_everything_goes_by_them(desk):
    (key,) = desk.box.load("accounts-payable/vendor", {"id": "V77", "name": "Keyed"})
    facts = SageFacts(desk.client, numbers="key")
    assert {number: one.id for number, one in (await facts.vendors([key, "V77"])).items()} == {key: "V77"}
    own = await desk.box.create(BILL, **bill("B-7", vendor={"id": "V77"}))
    by_key, by_id = SageBills(desk.client, numbers="key"), SageBills(desk.client)
    root = "RP-AAAAAAAAAAAAAAAA"
    ((found,),) = await by_key.find([Trace(root, ((key, "B-7"),))])
    assert (found.key, found.vendor, (await by_key.bill(own)).vendor) == (own, key, key)
    assert await by_id.find([Trace(root, ((key, "B-7"),))]) == [[]]
    await desk.box.create(PAYMENT, **payment(own, documentId="D", vendor={"id": "V77"}))
    (paid,) = await SagePayments(desk.client, numbers="key").find(["D"])
    assert paid.vendor == key
    assert await SagePayments(desk.client, numbers="key").payment(paid.key) == paid
