"""Jobs and lookups as rows of Prime's CustomSettings: read, written, and nothing lost on the way."""

import tomllib
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connect.config import ConfigProblems, parse_config
from connect.config.exchange import pulled, push_plan
from connect.config.names import DIMENSIONS, JOBS, PAY_METHODS, PAYMENT_METHODS
from connect.config.rows import Row, read_rows, repaired, rows_of
from connect.config.toml import dump
from tests.unit.config.test_mistakes import ENVIRON, GOOD

PATH = Path("acme/connect.toml")
SERVED = ["100", "200", "300"]
CREDENTIALS = {
    "SageTokenUrl": "https://api.intacct.com/ia/api/v1/oauth2/token",
    "SageBaseUrl": "https://api.intacct.com/ia/api",
    "SageQueryUrl": "https://api.intacct.com/ia/api/v1/services/core/query",
    "SageRestVersion": "v1",
    "SageClientId": "demo.app.sage.com",
    "SageClientSecret": "env:ACME_SAGE_SECRET",
    "SageUserName": "rillion@acme",
}


def row(setting: str, value: object, company: str = "", kind: str = "ConnectLookup") -> Row:
    return Row(company, kind, setting, value if isinstance(value, str) else orjson.dumps(value).decode())


def job(name: str, company: str, value: object = "{}") -> Row:
    return row(name, value, company, "ConnectJob")


def read(*rows: Row, served: list[str] = SERVED):
    return read_rows(rows, served=served, secret="env:ACME_SAGE_SECRET")


GLOBAL = (row("GeneralSettings", {"IsFullImport": True}), row("Credentials", CREDENTIALS), row("Objects", {"DEPARTMENT": 1, "LOCATION": 2}))


def pull(*rows: Row, text: str = GOOD, served: list[str] = SERVED):
    return pulled(tomllib.loads(text), 0, read(*rows, served=served))


def bare(text: str = GOOD) -> str:
    """A file that says how Prime is reached, and nothing else."""
    return text[: text.index("[connections.lookups.GeneralSettings]")]


def test_the_guides_sample_of_19_rows_is_12_ignored_jobs_and_7_lookups():
    overrides = [row("Objects", {"DEPARTMENT": 1, "LOCATION": 3}, company) for company in ("100", "200")]
    overrides += [row("GeneralSettings", {"IsFullImport": False}, company) for company in ("100", "200")]
    jobs = [job(name, "556773-1228", {"active": True, "cron": "0 * * * *"}) for name in JOBS]
    rows = [*GLOBAL, *overrides, *jobs]
    assert len(rows) == 19
    reading = read(*rows)
    assert reading.ignores_all
    lines = reading.summary("https://acme.example.com/ws/webService.asmx")
    assert lines[0] == ("Ignored 12 jobs that do not belong to a company of the endpoint https://acme.example.com/ws/webService.asmx:")
    assert lines[-1] == "Parsed 0 jobs [0 active, 0 disabled], 7 lookups from Prime's CustomSettings."
    assert len(lines) == 14
    assert lines[1] == "  CancelInvoices, company 556773-1228: company 556773-1228 is not one of this endpoint's (100, 200, 300)"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (job("GetSuppliers", ""), "names no company; fill in Company"),
        (job("GetSuppliers", "30O"), 'is not one of this endpoint\'s (100, 200, 300); did you mean "300"?'),
        (job("GetVendors", "100"), "it is no job"),
        (job("GetSupplier", "100"), 'did you mean "GetSuppliers"?'),
        (job("GetSuppliers", "100", "active"), "its value is no JSON"),
        (job("GetSuppliers", "100", [1]), "its value is no JSON object"),
        (job("GetSuppliers", "100", {"company": "200"}), "its value is for company 200, and the row for 100"),
        (job("GetSuppliers", "100", {"job": "GetAccounts"}), "its value is job GetAccounts, and the row GetSuppliers"),
    ],
)
def test_job_is_ignored_with_its_reason(given, words):
    reading = read(given, job("GetAccounts", "100"))
    ((ignored, reason),) = reading.ignored
    assert ignored == given
    assert words in reason
    assert not reading.ignores_all
    assert reading.summary("u")[-1].startswith("Parsed 1 jobs [1 active, 0 disabled]")


def test_active_and_disabled_jobs_are_counted_and_no_job_at_all_is_not_all_ignored():
    reading = read(job("GetAccounts", "100", {"active": False}), job("GetSuppliers", "100", {"Active": True, "Every": "1h"}))
    assert (reading.active, reading.disabled, reading.ignored) == (1, 1, ())
    assert not read(*GLOBAL).ignores_all


def test_rows_of_other_programs_are_nobodys_business():
    reading = read(*GLOBAL, Row("100", "ConnectOwner", "ConnectOwner", "{}"), Row("", "Arena", "Theme", "dark"))
    assert (reading.lookups, reading.warnings, reading.ignored) == (3, (), ())


def test_lookup_of_a_company_overrides_the_one_for_all():
    made = pull(*GLOBAL, row("GeneralSettings", {"IsFullImport": False, "StartOn": "2026-02-01"}, "200"), job("GetSuppliers", "100"),
                job("GetSuppliers", "200"), text=bare())  # fmt: skip
    (connection,) = made.parse(path=PATH, environ=ENVIRON).connections
    assert (connection.settings("100").is_full_import, connection.settings("200").is_full_import) == (True, False)
    assert str(connection.settings("200").start_on) == "2026-02-01"
    assert connection.companies == ["100", "200"]


@pytest.mark.parametrize("mapping", [{"40-1": "BOA"}, {"BankAccountMapping": {"40-1": "BOA"}}, '{"40-1": "BOA"}'])
def test_mapping_is_taken_wrapped_bare_and_as_text(mapping):
    made = pull(row("GeneralSettings", {"BankAccountMapping": mapping}), *GLOBAL[1:], job("GetSuppliers", "100"), text=bare())
    assert made.parse(path=PATH, environ=ENVIRON).connections[0].settings("100").bank_account_mapping == {"40-1": "BOA"}


@pytest.mark.parametrize(
    "text",
    [
        '{"BankAccountMapping":{"RillionPayAccount":{"SageBankAccountId"}}',
        '{"BankAccountMapping":{"RillionPayAccount":{"SageBankAccountId"}}}',
    ],
)
def test_the_guides_sample_that_is_no_valid_json_is_read_with_a_warning(text):
    value, note = repaired(text)
    assert value == {"BankAccountMapping": {"RillionPayAccount": "SageBankAccountId"}}
    assert 'it is read as {"BankAccountMapping":{"RillionPayAccount":"SageBankAccountId"}}; write it so' in note
    file = GOOD.replace("StartOn = 2026-01-01", f"BankAccountMapping = '{text}'")
    config = parse_config(file, path=PATH, environ=ENVIRON)
    assert config.connections[0].settings("100").bank_account_mapping == {"RillionPayAccount": "SageBankAccountId"}
    (warning,) = config.warnings
    assert warning.startswith(
        "acme/connect.toml:20: connections[0] (acme-TEST).lookups.GeneralSettings.BankAccountMapping: is not valid JSON"
    )
    assert "is not valid JSON" in read(row("GeneralSettings", text)).warnings[0]


def test_the_guides_sample_of_payment_methods_works_as_written():
    text = '{ "PaymentMethodMapping": { "Check": "Printed Check", "ACH": "ACH", "VirtualCard": "Credit Card", "Other": "EFT" } }'
    file = GOOD.replace("StartOn = 2026-01-01", f"PaymentMethodMapping = '{text}'")
    config = parse_config(file, path=PATH, environ=ENVIRON)
    assert config.connections[0].settings("100").payment_method_mapping["VirtualCard"] == "Credit Card"
    assert config.warnings == ()


def test_user_name_of_the_troubleshooting_page_is_taken_from_a_row_with_a_warning():
    credentials = {"SageApiUserName" if key == "SageUserName" else key: value for key, value in CREDENTIALS.items()}
    config = pull(GLOBAL[0], row("Credentials", credentials), GLOBAL[2], job("GetSuppliers", "100", {"every": "1d"}), text=bare()).parse(
        path=PATH, environ=ENVIRON
    )
    assert config.connections[0].credentials.username == "rillion@acme"
    (warning,) = config.warnings
    assert warning.startswith("CustomSettings ConnectLookup / Credentials (all companies): ")
    assert "is read as SageUserName" in warning


def test_numbers_that_prime_keeps_as_text_are_read():
    reading = read(row("Objects", {"DEPARTMENT": "1", "LOCATION": "2"}))
    assert reading.tables["lookups"]["Objects"] == {"DEPARTMENT": 1, "LOCATION": 2}
    assert 'DEPARTMENT = "1" is text; it is read as the number 1' in reading.warnings[0]


def test_secret_in_clear_is_neither_taken_over_nor_shown_nor_sent():
    reading = read(row("Credentials", CREDENTIALS | {"SageClientSecret": "hunter2"}))
    assert reading.tables["lookups"]["Credentials"]["SageClientSecret"] == "env:ACME_SAGE_SECRET"
    assert "stands there in clear" in reading.warnings[0]
    assert "hunter2" not in str((reading.tables, reading.warnings))
    with pytest.raises(ValueError, match="it is not sent to Prime") as raised:
        rows_of({"lookups": {"Credentials": {"SageClientSecret": "hunter2"}}})
    assert "hunter2" not in str(raised.value)


ROW_MISTAKES = [
    (row("GeneralSettings", '{"IsFullImport": true'), "the value is no JSON ("),
    (row("GeneralSettings", "IsFullImport=true"), "the value is no JSON"),
    (row("Objects", [1, 2]), "the value is no JSON object"),
    (row("GeneralSettings", {"isFullImport": True}), 'is an unknown key; did you mean "IsFullImport"?'),
    (row("GeneralSettings", {"IsFullImport": "perhaps"}), "true (all records) or false"),
    (row("GeneralSettings", {"StartOn": "2026-02-31"}), "a date such as 2026-01-01"),
    (row("GeneralSettings", {"PaymentMethodMapping": {"Checks": "EFT"}}), 'did you mean "Check"?'),
    (row("GeneralSettings", {"BankAccountMapping": {"A": None}}), "expected the id of a bank account"),
    (row("Objects", {"DEPARTMENT": 1}), "LOCATION is missing"),
    (row("Objects", {"DEPARTMENT": 1, "LOCATION": 9}), "from 1 to 8"),
    (row("Objects", {"DEPARTMENT": 1, "LOCATION": 2, "REGION": 3}, "100"), "is no dimension of Sage"),
    (row("GeneralSettings", {"KeySource": "ID"}, "100"), 'one of "id", "key"'),
    (row("Credentials", CREDENTIALS | {"SageUserName": "rillion"}), "exactly one @"),
    (row("Credentials", {key: value for key, value in CREDENTIALS.items() if key != "SageBaseUrl"}), "SageBaseUrl: is missing"),
    (job("GetSuppliers", "100", {"cron": "61 * * * *"}), "minute '61' is not a number from 0 to 59"),
    (job("GetSuppliers", "100", {"cron": "0 * * * *", "every": "1h"}), "stands beside cron"),
    (job("GetSuppliers", "100", {"active": "often"}), "true or false"),
    (job("GetSuppliers", "100", {"schedule": "hourly"}), "schedule"),
    (job("GetSuppliers", "100", {"every": "1h", "offsetMinutes": 2000}), "from 0 to 1439"),
]


@pytest.mark.parametrize(("wrong", "words"), ROW_MISTAKES, ids=[f"{words[:30]}-{number}" for number, (_, words) in enumerate(ROW_MISTAKES)])
def test_mistake_in_a_row_is_named_by_the_row(wrong, words):
    good = {(one.company, one.setting): one for one in (*GLOBAL, job("GetSuppliers", "100"))}
    rows = [*(good | {(wrong.company, wrong.setting): wrong}).values()]
    reading = read(*rows)
    found = list(reading.problems)
    try:
        pulled(tomllib.loads(bare()), 0, reading).parse(path=PATH, environ=ENVIRON)
    except ConfigProblems as error:
        found += error.problems
    matching = [problem for problem in found if words in problem]
    assert matching, found
    assert matching[0].startswith(f"{wrong.place}: "), matching


def test_lookup_that_is_not_used_is_said():
    reading = read(row("Object", {}), row("Objects", {}, "999"), row("Credentials", {}, "100"))
    assert reading.lookups == 3
    assert [words in warning for words, warning in zip(('mean "Objects"', "not to one company", "is not one of"), sorted(
        reading.warnings, key=lambda text: ("Object (" not in text, "Credentials" not in text)), strict=True)]  # fmt: skip


def test_pull_keeps_what_only_the_file_has_and_says_so():
    made = pull(*GLOBAL, job("GetAccounts", "100", {"every": "1d"}))
    assert made.kept == ("job GetSuppliers of company 100",)
    assert [one.job for one in made.parse(path=PATH, environ=ENVIRON).connections[0].jobs] == ["GetAccounts", "GetSuppliers"]


def test_push_inserts_updates_and_leaves_alone():
    tables = tomllib.loads(GOOD)["connections"][0]
    first = push_plan(tables, [])
    assert {action for action, _ in first} == {"insert"}
    there = [one for _, one in first]
    spaced = there[0]._replace(value=there[0].value.replace(",", " ,  "))
    assert {action for action, _ in push_plan(tables, [spaced, *there[1:]])} == {"unchanged"}
    changed = [one._replace(value='{"DEPARTMENT": 7, "LOCATION": 2}') if one.setting == "Objects" else one for one in there]
    extra = [*changed, job("GetAccounts", "100")]
    plan = [(action, one.setting) for action, one in push_plan(tables, extra) if action != "unchanged"]
    assert plan == [("update", "Objects"), ("only in Prime", "GetAccounts")]


# -- nothing is lost -----------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
general = st.fixed_dictionaries(
    {"StartOn": st.dates()},
    optional={
        "IsFullImport": st.booleans(),
        "PaymentCutoffDays": st.integers(1, 10**6),
        "SageAttachmentFolderId": names,
        "PaymentMethodMapping": st.dictionaries(st.sampled_from(PAY_METHODS), st.sampled_from(PAYMENT_METHODS)),
        "BankAccountMapping": st.dictionaries(names, names, max_size=4),
        "ExpiredDate": st.dates(),
        "KeySource": st.sampled_from(["id", "key"]),
        "ExchangeRateType": names,
    },
)
objects = st.lists(st.sampled_from(DIMENSIONS[2:]), unique=True, max_size=6).map(
    lambda more: {name: number for number, name in enumerate(["DEPARTMENT", "LOCATION", *more], start=1)}
)
jobs = st.dictionaries(
    st.tuples(st.sampled_from(SERVED), st.sampled_from([name for name in JOBS if name != "ExportPayments"])),
    st.fixed_dictionaries(
        {},
        optional={
            "sage_entity": names,
            "active": st.booleans(),
            "every": st.sampled_from(["15m", "2h"]),
            "offset_minutes": st.integers(0, 1439),
        },
    ),
    min_size=1,
    max_size=6,
)
connections = st.builds(
    lambda settings, dims, chosen, own: {
        "lookups": {"GeneralSettings": settings, "Credentials": CREDENTIALS, "Objects": dims},
        "companies": [
            {"company": company, "lookups": lookups}
            for company, lookups in own.items()
            if company in {company for company, _ in chosen} and lookups
        ],
        "jobs": [{"job": name, "company": company} | table for (company, name), table in chosen.items()],
    },
    general, objects, jobs,
    st.dictionaries(st.sampled_from(SERVED), st.fixed_dictionaries({}, optional={"GeneralSettings": general, "Objects": objects})),
)  # fmt: skip


@given(connections)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_push_and_pull_lose_nothing(tables):
    frame = tomllib.loads(bare())
    file = dump({**frame, "connections": [{**frame["connections"][0], **tables}]})
    assert tomllib.loads(file)["connections"][0]["lookups"] == tables["lookups"]
    pushed = [one for _, one in push_plan(tomllib.loads(file)["connections"][0], [])]
    once = pull(*pushed, text=bare())
    assert once.kept == ()
    before, after = (parse_config(text, path=PATH, environ=ENVIRON).connections[0] for text in (file, once.text))
    for company in SERVED:
        assert before.settings(company) == after.settings(company)
        assert before.objects(company) == after.objects(company)
    key = lambda one: (one.company, one.job)  # noqa: E731
    assert sorted(before.jobs, key=key) == sorted(after.jobs, key=key)
    again = push_plan(tomllib.loads(once.text)["connections"][0], pushed)
    assert {action for action, _ in again} == {"unchanged"}
    assert pull(*(one for _, one in again), text=once.text).text == once.text
