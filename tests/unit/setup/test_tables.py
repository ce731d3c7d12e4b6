"""Answers become a configuration, an .env.example and papers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from connect.config import Config
from connect.config.load import parse_config
from connect.config.toml import dump
from connect.doctor import CHECKS, Finding, Result
from connect.setup.answers import parse
from connect.setup.papers import STEPS, Case, checklist, hand_over
from connect.setup.questions import Answers, Company
from connect.setup.tables import GUIDE, example, secrets, tables
from tests.answers import GOOD

ENVIRON = dict.fromkeys(("ACME_TEST_SAGE_SECRET", "ACME_TEST_PRIME_PASSWORD", "ACME_TEST_PRIME_SECRET"), "hunter2")


def answered(**values: object) -> Answers:
    answers = parse(GOOD, Path("answers.toml"))
    answers.values |= {key.replace("__", "."): value for key, value in values.items()}
    return answers


def configured(answers: Answers) -> Config:
    return parse_config(dump(tables(answers)), path=Path("connect.toml"), environ=ENVIRON)


def paying() -> Answers:
    return answered(
        documents__invoices=True,
        documents__rillion_pay=True,
        documents__start_on=date(2026, 1, 1),
        documents__bank_accounts={"1234": "BA1145"},
        prime__rest_tenant="acme",
        prime__rest_client_id="connect",
    )


def paying_with(**values: object) -> Answers:
    answers = paying()
    answers.values |= {key.replace("__", "."): value for key, value in values.items()}
    return answers


def case(answers: Answers, *results: Result) -> Case:
    return Case(answers, configured(answers).connections[0], {one.check.name: one for one in results}, [], date(2026, 3, 3))


def result(name: str, *findings: Finding) -> Result:
    check = next(check for check in CHECKS if check.name == name)
    return Result(connection="acme-TEST", check=check, verdict="failed" if findings else "ok", saw="", findings=findings)


def test_registers_alone_need_neither_rest_nor_a_date():
    connection = configured(answered()).connections[0]
    assert connection.rest_url is None
    assert connection.lookups.general.start_on is None
    assert {job.job for job in connection.jobs} == {
        "GetDimObjects", "GetAccounts", "GetVatCodes", "GetAssetTypes", "GetAssets", "GetCurrencies", "GetSuppliers",
    }  # fmt: skip


def test_rillion_pay_brings_its_job_the_banks_and_rest_also_beside_soap():
    connection = configured(paying()).connections[0]
    assert "ExportPayments" in {job.job for job in connection.jobs}
    assert connection.lookups.general.bank_account_mapping == {"1234": "BA1145"}
    assert connection.register_transport == "soap"
    assert connection.rest_url == "https://acme.example.com/api/v1.0"


def test_every_setting_of_the_guide_is_written_when_invoices_and_payments_are_sent():
    general = tables(paying())["connections"][0]["lookups"]["GeneralSettings"]
    assert list(general)[: len(GUIDE)] == list(GUIDE)
    assert general["ShowInvoiceBaseURL"] == "https://acme.example.com"
    assert general["DateFormat"] == "yyyy-MM-dd"
    assert general["PaymentMethodMapping"]["VirtualCard"] == "Credit Card"
    assert general["StartOn"] == date(2026, 1, 1)
    assert "ContactSource" not in general  # as it is by default
    registers = tables(answered())["connections"][0]["lookups"]["GeneralSettings"]
    assert registers == {"IsFullImport": False}


def test_settings_that_are_answered_are_written():
    answers = answered(
        registers__contact_source="contact",
        registers__rate_type="Month End Rate",
        registers__key_source="key",
        registers__full_import=True,
        registers__periods=True,
        sage__query_url="https://api.intacct.com/ia/api/v1/services/core/query2",
    )
    connection = configured(answers).connections[0]
    settings = connection.settings("100")
    assert (settings.contact_source, settings.exchange_rate_type, settings.key_source) == ("contact", "Month End Rate", "key")
    assert settings.is_full_import
    assert settings.periods_enabled
    assert "GetPeriods" in {job.job for job in connection.jobs}
    assert connection.credentials.query_url.endswith("/query2")


def test_one_method_for_all_payments_needs_no_mapping():
    general = tables(paying_with(documents__use_default_method=True))["connections"][0]["lookups"]["GeneralSettings"]
    assert general["UseDefaultPaymentMethod"] is True
    assert "PaymentMethodMapping" not in general


def test_invoices_without_files_need_no_folder():
    answers = paying_with(documents__images=False)
    assert "SageAttachmentFolderId" not in tables(answers)["connections"][0]["lookups"]["GeneralSettings"]
    assert "Not needed: no files are sent" in hand_over(case(answers))


def test_each_register_is_read_at_its_level_and_documents_where_the_company_is():
    answers = answered(levels__GetSuppliers="entity")
    answers.companies.append(Company("200", "Acme AB", "SE", sage_entity="E2"))
    answers.values |= {"documents.invoices": True, "documents.start_on": date(2026, 1, 1)}
    entities = {(job.job, job.company): job.sage_entity for job in configured(answers).connections[0].jobs}
    assert entities["GetSuppliers", "200"] == "E2"
    assert entities["GetSuppliers", "100"] == ""
    assert entities["GetAccounts", "200"] == ""
    assert entities["ExportInvoices", "200"] == "E2"


def test_a_company_may_have_dimensions_of_its_own():
    answers = answered(dimensions__chosen={"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3})
    answers.companies.append(Company("200", "Acme AB", "SE", dimensions={"DEPARTMENT": 3, "LOCATION": 4}))
    connection = configured(answers).connections[0]
    assert connection.objects("100") == {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3}
    assert connection.objects("200") == {"DEPARTMENT": 3, "LOCATION": 4}


def test_the_example_names_every_variable_and_holds_no_secret():
    text = example(secrets(paying()))
    assert all(f"\n{name}=\n" in text for name in ENVIRON)
    assert "hunter2" not in text + dump(tables(paying()))
    assert "file /run/secrets/sage" in example({"a secret": "file:/run/secrets/sage"})


def test_the_customers_page_has_the_guides_twelve_steps_and_the_values_to_type():
    page = hand_over(case(paying()))
    assert [line.partition(". ")[0] for line in page.splitlines() if line.startswith("## ")] == [f"## {n}" for n in range(1, 13)]
    for value in ("RillionMPP", "test.app.sage.com", "`rillion`", "`Receipts`", "`BA1145`", "Department", "payment: List, View, Add"):
        assert value in page or value.upper() in page
    assert "[x]" not in page  # nothing was tried


def test_a_box_is_ticked_by_its_check_and_shows_what_the_customer_has_to_mend():
    finding = Finding(cause="There is none.", owner="customer", do="Add the folder.")
    page = hand_over(case(paying(), result("sage.dimensions"), result("sage.folder", finding)))
    assert page.count("[x]") == 2  # DEPARTMENT and LOCATION
    assert "- [ ] Company > Setup > Attachment folders: add `Receipts`.\n  - found: Add the folder." in page
    ours = Finding(cause="It is wrong.", owner="consultant", do="Mend the configuration.")
    assert "Mend the configuration" not in hand_over(case(paying(), result("sage.folder", ours)))


def test_the_check_list_has_the_guides_steps_with_owner_and_state():
    finding = Finding(cause="There is none.", owner="customer", do="Add the folder.")
    answers = answered(sage__test_is_copy=False)
    text = checklist(case(answers, result("prime.login"), result("prime.environment"), result("sage.folder", finding)))
    assert len(STEPS) == 22
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| [")]
    states = {int(row[1]): (row[0], row[3], row[4]) for row in rows}
    assert states[10] == ("| [x]", "Professional Services", "done: connect is let in")
    assert states[14] == ("| [ ]", "Professional Services", "open: 1 checks of `connect doctor` fail")
    assert states[16][2].startswith("open: the TEST company must be refreshed")
    assert "- [ ] Question 7: " in text


def test_steps_of_an_own_server_are_open_when_the_customer_has_one():
    def state(on_premise: bool, step: int) -> str:
        text = checklist(case(answered(connection__on_premise=on_premise)))
        return next(line for line in text.splitlines() if f" | {step} | " in line).split(" | ")[4]

    assert [state(True, step) for step in (12, 13)] == ["open", "open"]
    assert all(state(False, step).startswith("not needed") for step in (12, 13))


def test_the_check_list_says_whom_to_call_and_for_which_companies():
    answers = answered(customer__email="ann@example.com", customer__second_contact="Bob Ray", customer__timezone="Europe/Stockholm")
    answers.companies.append(Company("200", "Acme AB", "SE", sage_entity="E2"))
    text = checklist(case(answers))
    assert "- Contact for IT and Sage: Ann Lee, ann@example.com (time zone Europe/Stockholm); also Bob Ray\n" in text
    assert "- Company 100: Acme Ltd, US\n- Company 200: Acme AB, SE, entity E2 of Sage\n" in text
