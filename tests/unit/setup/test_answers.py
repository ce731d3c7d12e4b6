"""A file of answers: every mistake at once, the form, the questions and their defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from connect.config import ConfigProblems
from connect.config.models import Credentials, GeneralSettings
from connect.setup.answers import chosen, form, parse, read
from connect.setup.limits import limits
from connect.setup.questions import BY_KEY, ORDER, QUESTIONS, TITLES, Question
from connect.setup.tables import GUIDE, tables
from tests.answers import GOOD

FILE = Path("answers.toml")
NO_PAY = "rillion_pay = false"
NO_ORDERS = "purchase_orders = false"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        parse(text, FILE)
    return list(caught.value.problems)


def test_what_has_a_default_need_not_be_answered():
    answers = parse(GOOD, FILE)
    assert answers["connection.name"] == "acme-TEST"
    assert answers["sage.client_secret"] == "env:ACME_TEST_SAGE_SECRET"
    assert answers["sage.token_url"] == "https://api.intacct.com/ia/api/v1/oauth2/token"
    assert answers["sage.sender_id"] == "RillionMPP"
    assert answers.companies[0].country == "US"


def test_everything_that_is_missing_is_said_at_once_with_the_question():
    found = problems('[customer]\nname = "Acme"\n')
    said = "\n".join(found)
    for key in ("customer.contact", "companies", "sage.test_is_copy", "sage.username", "documents.rillion_pay", "prime.url"):
        assert f": {key}: " in said
    assert "Who is the web service user" in said
    assert "rest_tenant" in said  # rest is the default
    assert "documents.start_on" in said  # invoices are the default


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('username = "rillion@acme"', 'username = "rillion"', "12: sage.username: must be {WebServiceUserID}@{CompanyID}"),
        ("test_is_copy = true", 'test_is_copy = "yes"', "sage.test_is_copy: expected true or false"),
        ('transport = "soap"', 'transport = "sopa"', "prime.transport: 'sopa' is none of rest, soap; did you mean \"soap\"?"),
        ('transport = "soap"', 'transport = "soap"\npassword = "hunter2"', "prime.password: is a secret in clear"),
        ("[prime]", "[prme]", 'prme: is no section; did you mean "prime"?'),
        ('contact = "Ann Lee"', 'contakt = "Ann Lee"', 'customer.contakt: is no question; did you mean "contact"?'),
        ('country = "us"', 'country = "America"', "companies.1: country 'AMERICA' is no country code"),
        ('company = "100"', "company = 100", 'companies.1: company is no text; write it in quotes: "100"'),
        ('asmx"', 'html"', "prime.url: must be the address of Prime's web service"),
        ("invoices = false", "invoices = true", "documents.start_on: is not answered"),
        ("[prime]", '[schedule]\nbegin = "25:00"\n[prime]', "schedule.begin: is no time of day"),
        ("[prime]", '[schedule]\nmaintenance = ["Sunday"]\n[prime]', "schedule.maintenance: 'Sunday' is no weekly window"),
        ("[prime]", '[connection]\nredis_url = "http://x"\n[prime]', "connection.redis_url: expected redis://"),
        ("[prime]", '[registers]\ncontact_source = "both"\n[prime]', "contact_source: 'both' is none of inline, contact"),
        ("[prime]", "[registers]\nrate_type = 7\n[prime]", "registers.rate_type: expected text in quotes"),
        ("[prime]", '[registers]\nfull_import = "yes"\n[prime]', "registers.full_import: expected true or false"),
        (NO_PAY, f"payment_cutoff_days = 0\n{NO_PAY}", "documents.payment_cutoff_days: expected a number of days above 0"),
        (NO_PAY, f'date_format = "yyyy-mm-dd"\n{NO_PAY}', "documents.date_format: is no .NET date pattern"),
        (NO_PAY, f'payment_request_method = "perBill"\n{NO_PAY}', "documents.payment_request_method: 'perBill' is none of"),
        (NO_PAY, f'payment_methods = {{ Wire = "EFT" }}\n{NO_PAY}', "documents.payment_methods: Wire is no method of Rillion Pay"),
        (NO_PAY, f'bank_accounts = {{ "1" = "" }}\n{NO_PAY}', "bank_accounts: 1 expected the id of a bank account in Sage"),
        ('transport = "soap"', 'transport = "soap"\nshow_invoice_url = "acme"', "prime.show_invoice_url: is no absolute URL"),
        (NO_ORDERS, 'purchase_orders = true\npurchase_order_companies = ["101"]', "purchase_order_companies: '101' is no company; did"),
        ("[prime]", '[dimensions]\nchosen = ["DEPARTMENT"]\n[prime]', "dimensions.chosen: LOCATION must be among them"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_said_with_its_line_and_what_is_expected(old, new, says):
    found = problems(GOOD.replace(old, new, 1))
    assert any(says in one for one in found), found
    assert all(re.match(r"answers\.toml:\d+: ", one) for one in found)


def test_the_secret_that_was_written_in_clear_is_not_shown():
    assert "hunter2" not in "".join(problems(GOOD.replace('transport = "soap"', 'transport = "soap"\npassword = "hunter2"')))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (["DEPARTMENT", "LOCATION", "PROJECT", "PROJECT"], "twice"),
        (["DEPARTMENT", "LOCATION", *(f"nsp::d{n}" for n in range(7))], "are 9, and Prime holds 8"),
        (["DEPARTMENT", "LOCATION", "PROJEKT"], 'did you mean "PROJECT"'),
        ({"DEPARTMENT": 1, "LOCATION": 1}, "different object types"),
        ({"DEPARTMENT": 1, "LOCATION": 9}, "different object types"),
        ("DEPARTMENT", "expected a list"),
    ],
)
def test_a_choice_that_prime_cannot_hold_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        chosen(value)


def test_a_choice_is_numbered_in_its_order_or_as_it_says():
    assert chosen(["location", "DEPARTMENT", "nsp::region"]) == {"LOCATION": 1, "DEPARTMENT": 2, "nsp::region": 3}
    assert chosen({"DEPARTMENT": 3, "LOCATION": 4}) == {"DEPARTMENT": 3, "LOCATION": 4}


def test_the_form_has_every_question_and_says_what_is_missing_when_it_is_left_empty():
    text = form()
    tomllib.loads(text)
    for question in QUESTIONS:
        assert question.ask in text
        assert re.search(rf"^(# )?{re.escape(question.name)} = ", text, re.MULTILINE)
    assert any("customer.name: is not answered" in one for one in problems(text))
    must = {one.partition(": ")[2].partition(": ")[0] for one in problems(text)} - {"companies.1", "sage.client_id"}
    assert must == {question.key for question in QUESTIONS if "(must be answered)" in _line_of(text, question)} - {
        "documents.bank_accounts"
    }


def _line_of(text: str, question: Question) -> str:
    return next(line for line in text.splitlines() if question.ask in line)


def test_answers_written_as_a_form_are_read_back_the_same():
    answers = parse(GOOD.replace("[prime]", '[dimensions]\nchosen = ["DEPARTMENT", "LOCATION", "nsp::region"]\n[prime]'), FILE)
    again = parse(form(answers), FILE)
    assert (again.values, again.companies) == (answers.values, answers.companies)


def test_all_the_guides_questions_are_asked():
    numbers = {number for question in QUESTIONS for number in question.number.split()} | {"5", "6"}  # companies are asked one by one
    assert numbers == {str(number) for number in range(1, 16) if number != 4}
    assert set(TITLES) == set(ORDER) == {question.section for question in QUESTIONS} | {"companies"}
    assert len(BY_KEY) == len(QUESTIONS)


def test_every_setting_of_the_guides_tables_can_be_answered():
    """Connection, GeneralSettings (11), Credentials (7); Objects are the dimensions."""
    aliases = {question.alias for question in QUESTIONS}
    assert set(GUIDE) | set(Credentials.model_json_schema(by_alias=True)["properties"]) <= aliases
    assert {"name", "environment", "username", "password", "url"} <= aliases
    assert len(GUIDE) == 11


def test_every_setting_of_ours_that_decides_what_is_sent_can_be_answered():
    ours = set(GeneralSettings.model_json_schema(by_alias=True)["properties"]) - set(GUIDE)
    assert ours - {question.alias for question in QUESTIONS} == set()


def test_what_sage_proposes_takes_the_place_of_a_default_and_never_of_an_answer():
    answers = parse(GOOD, FILE)
    answers.proposed["registers.contact_source"] = "contact"
    assert answers["registers.contact_source"] == "contact"
    answers.values["registers.contact_source"] = "inline"
    assert answers["registers.contact_source"] == "inline"


@pytest.mark.parametrize(
    ("old", "new", "about", "says"),
    [
        ('country = "us"', 'country = "IN"', "6", "Acme Ltd (IN)"),
        ("test_is_copy = true", "test_is_copy = false", "7", "no current copy"),
        ("integration_licence = true", "integration_licence = false", "8", "no integration licence"),
        ("prepaid_amortization = false", "prepaid_amortization = true", "10", "Prepaid Amortization"),
        ("purchase_orders = false", "purchase_orders = true", "11", "Purchase orders"),
        ("purchase_orders = false", 'purchase_orders = true\npurchase_order_companies = ["100"]', "11", "in use (100)"),
        ("[sage]", '[[companies]]\ncompany = "200"\nname = "B"\ncountry = "SE"\n[sage]', "5", "2 companies in 2 countries"),
    ],
)
def test_what_connect_does_not_serve_is_pointed_out(old, new, about, says):
    assert limits(parse(GOOD, FILE)) == []
    (found,) = limits(parse(GOOD.replace(old, new, 1), FILE))
    assert found.about == about
    assert says in found.text
    assert found.stops == (about == "8")


def test_the_answers_for_the_sandbox_lead_to_where_its_configuration_does():
    deploy = Path(__file__).parents[3] / "deploy"
    (made,) = tables(read(deploy / "sandbox-answers.toml"))["connections"]
    (there,) = tomllib.loads((deploy / "sandbox.toml").read_text())["connections"]
    different = {key for key, value in there.items() if key not in ("name", "lookups", "jobs") and made.get(key) != value}
    assert different == set()
    assert made["lookups"]["Credentials"] == there["lookups"]["Credentials"]
