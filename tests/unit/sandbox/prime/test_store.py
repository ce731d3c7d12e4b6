"""The registers of Prime's simulator: keys, upserts, references, queues."""

from __future__ import annotations

import pytest

from connect.sandbox.prime.store import UNBOUND, Registers
from connect.sandbox.prime.tables import REGISTERS, SUPPLIER_BANK_ACCOUNT, Refused

ACCOUNT, SUPPLIER, CURRENCY = REGISTERS["Account"], REGISTERS["Supplier"], REGISTERS["Currency"]


@pytest.fixture
def registers() -> Registers:
    made = Registers()
    for company in ("100", "200"):
        made.apply(REGISTERS["Company"], {"Company": company, "Name": company})
    return made


def bound(**fields: object) -> dict[str, object]:
    return {"Company": "100", "KeyType": 1} | fields


def test_a_refused_update_leaves_the_record_as_it_was(registers: Registers) -> None:
    registers.apply(SUPPLIER, bound(Supplier="1", Name="old"))
    with pytest.raises(Refused, match="CostAccount"):
        registers.apply(SUPPLIER, bound(Supplier="1", Name="new", CostAccount="6000"))
    assert registers.get("Supplier", "100", "1") == bound(Supplier="1", Name="old")


def test_a_reference_is_looked_for_in_its_company_and_among_unbound_rows_only(registers: Registers) -> None:
    registers.apply(ACCOUNT, {"Company": "200", "KeyType": 1, "Account": "1"})
    with pytest.raises(Refused, match="'1' does not exist as Account in company 100"):
        registers.apply(SUPPLIER, bound(Supplier="1", CostAccount="1"))
    registers.apply(ACCOUNT, {"KeyType": 0, "Account": "1"})
    registers.apply(SUPPLIER, bound(Supplier="1", CostAccount="1"))


def test_a_reference_that_was_lost_does_not_hold_up_other_changes(registers: Registers) -> None:
    registers.apply(ACCOUNT, bound(Account="1"))
    registers.apply(SUPPLIER, bound(Supplier="1", CostAccount="1"))
    registers.apply(ACCOUNT, bound(Account="1", Remove=1))
    registers.apply(SUPPLIER, bound(Supplier="1", Name="still"))
    assert registers.get("Supplier", "100", "1") == bound(Supplier="1", CostAccount="1", Name="still")


def test_an_account_made_mandatory_for_vat_later_is_checked_then(registers: Registers) -> None:
    registers.apply(ACCOUNT, bound(Account="1", VatCode="25"))
    with pytest.raises(Refused, match="VatCode '25'"):
        registers.apply(ACCOUNT, bound(Account="1", VatCodeMandatory=1))


def test_a_key_that_cannot_be_told_from_another_by_its_parts_is_another(registers: Registers) -> None:
    for base, currency in (("A", "BC"), ("AB", "C")):
        registers.apply(CURRENCY, bound(BaseCurrency=base, Currency=currency, BuyingRate="1"))
    assert registers.count("Currency") == 2


def test_a_removed_record_can_come_back_without_its_old_fields(registers: Registers) -> None:
    registers.apply(ACCOUNT, bound(Account="1", Name="old"))
    registers.apply(ACCOUNT, bound(Account="1", Remove=1))
    registers.apply(ACCOUNT, bound(Account="1"))
    assert registers.get("Account", "100", "1") == bound(Account="1")


def test_what_was_handed_out_is_a_copy(registers: Registers) -> None:
    registers.apply(ACCOUNT, bound(Account="1", Name="x"))
    next(registers.records("Account"))["Name"] = "changed"
    assert registers.get("Account", "100", "1") == bound(Account="1", Name="x")


def test_a_queue_is_taken_once_in_its_order(registers: Registers) -> None:
    registers.enqueue(ACCOUNT, bound(Account="2"))
    registers.enqueue(ACCOUNT, bound(Account="1"))
    assert registers.count("Account") == 0
    assert [changes["Account"] for changes in registers.take_queue(ACCOUNT)] == ["2", "1"]
    assert registers.take_queue(ACCOUNT) == []


def test_a_bank_account_finds_its_supplier_among_unbound_ones_too(registers: Registers) -> None:
    registers.apply(SUPPLIER, {"KeyType": 0, "Supplier": "1"})
    registers.apply(SUPPLIER_BANK_ACCOUNT, bound(Supplier="1", BankAccount="NO1"))
    assert registers.get("Supplier", UNBOUND, "1") == {"KeyType": 0, "Supplier": "1", "SupplierBankAccount": [{"BankAccount": "NO1"}]}
    assert registers.page("SupplierBankAccount", 0, 10) == [{"Supplier": "1", "KeyType": 0, "BankAccount": "NO1"}]
