"""`connect init` from a file of answers and in a terminal, and `connect promote`, against the sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pexpect
import pytest
import redis

from connect.state import epoch
from connect.state.embedded import attached
from tests.setup_box import answers_for
from tests.world import SECRETS, Sandbox


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--size", "small") as sandbox:
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path, box: Sandbox) -> Path:
    (tmp_path / "answers.toml").write_text(answers_for(box))
    return tmp_path


def aged(folder: Path) -> None:
    """An embedded server that is not new, so that nobody waits for those who may have held a slot before."""
    with attached(folder / ".connect", environ={}) as url, redis.Redis.from_url(url) as client:
        client.set(epoch.KEY, "test:1", nx=True)


def connect(folder: Path, *words: str, expect: int = 0, secrets: bool = True) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONNECT_", "REDIS_", "T_"))}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        cwd=folder,
        env=clean | (SECRETS if secrets else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == expect, done.stderr[-3000:]
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS.values())
    return done


def box_of(page: str, words: str) -> str:
    """The mark in the box of the line that has these words."""
    return next(line for line in page.splitlines() if words in line).strip()[2:5]


def test_answers_become_a_first_complete_sync_with_one_command_line(folder: Path, box: Sandbox) -> None:
    aged(folder)
    started = time.monotonic()
    done = connect(folder, "init", "--answers", "answers.toml", "--sync", "--json", expect=3)  # 3: a row is refused, it was planted
    assert time.monotonic() - started < 60  # 4 s on an idle machine
    document: dict[str, Any] = orjson.loads(done.stdout)
    runs = {run["job"]: run for run in document["sync"]["runs"] if run["mode"] == "full"}
    assert runs["GetSuppliers"]["sent"] == len(box.sage_records("accounts-payable/vendor")) - 1
    assert all(run["state"] == "done" for run in document["sync"]["runs"])
    assert {"GetDimObjects", "GetAccounts", "GetVatCodes", "GetAssetTypes", "GetAssets", "GetCurrencies"} <= runs.keys()
    assert len(box.prime_records("Supplier")) == runs["GetSuppliers"]["sent"]
    assert document["tried"]["counts"]["failed"] == 0

    # what was written
    assert connect(folder, "config", "check").stdout.endswith("is right\n")
    text = (folder / "connect.toml").read_text()
    objects = tomllib.loads(text)["connections"][0]["lookups"]["Objects"]
    assert len(objects) == 8
    assert objects["DEPARTMENT"] == 1
    written = {Path(name).name for name in document["written"]}
    assert written == {"connect.toml", ".env.example", "acme-TEST-checklist.md", "acme-TEST-hand-over.md"}
    everything = "".join((folder / name).read_text() for name in written)
    assert not any(secret in everything for secret in SECRETS.values())
    assert "T_SAGE_SECRET=\n" in (folder / ".env.example").read_text()

    # what was found out
    known = {one["name"]: one for one in document["dimensions"]}
    assert known["PROJECT"]["values"] == len(box.sage_records("projects/project"))
    assert known["TASK"]["is_enabled"] is False
    required = [row["id"] for row in box.sage_records("general-ledger/account") if row.get("requireDimensions", {}).get("project")]
    assert known["PROJECT"]["required_by"] > 3
    assert len(known["PROJECT"]["required_at"]) == 3
    assert set(known["PROJECT"]["required_at"]) <= set(required)
    assert any("Prepaid Amortization" in one for one in document["warnings"])
    page = (folder / "acme-TEST-hand-over.md").read_text()
    assert box_of(page, "Attachment folders: add `Receipts`") == "[x]"
    assert box_of(page, "RillionMPP") == "[ ]"
    assert page.index("RillionMPP") < page.index("demo.app.sage.com") < page.index("Receipts") < page.index("Unrestricted")
    steps = (folder / "acme-TEST-checklist.md").read_text()
    assert steps.count("\n| [") == 22
    assert "done: no check of `connect doctor` fails" in steps


def test_files_are_not_written_over(folder: Path) -> None:
    (folder / "connect.toml").write_text("mine")
    done = connect(folder, "init", "--answers", "answers.toml", "--no-test", expect=2)
    assert "connect.toml exists already" in done.stderr
    assert (folder / "connect.toml").read_text() == "mine"
    assert not (folder / ".env.example").exists()
    connect(folder, "init", "--answers", "answers.toml", "--no-test", "--force")
    assert tomllib.loads((folder / "connect.toml").read_text())["connections"][0]["name"] == "acme-TEST"


def test_production_under_a_test_is_pointed_out(folder: Path) -> None:
    text = (folder / "answers.toml").read_text()
    text = re.sub(r'client_id = ".+?sage.com"', 'client_id = "55524a851771f75b6640.app.sage.com"', text)
    text = text.replace("env:T_SAGE_SECRET", "env:ACME_PROD_SAGE_SECRET")
    (folder / "answers.toml").write_text(re.sub(r"(?m)^url = .+$", 'url = "https://acme-prod.example.com/ws/a.asmx"', text))
    said = connect(folder, "init", "--answers", "answers.toml", "--no-test", "--json").stdout
    warnings = "\n".join(orjson.loads(said)["warnings"])
    assert "SageClientId: is the client id for production, whose use is billed, and acme-TEST is a test" in warnings
    assert "SageClientSecret: env:ACME_PROD_SAGE_SECRET looks like production, and acme-TEST is a test" in warnings
    assert "url: https://acme-prod.example.com/ws/a.asmx looks like production, and acme-TEST is a test" in warnings


def test_a_name_that_says_neither_test_nor_production_is_pointed_out(folder: Path) -> None:
    text = (folder / "answers.toml").read_text()
    (folder / "answers.toml").write_text('[connection]\nname = "acme"\n' + text)
    assert "acme says neither TEST nor PROD at its end" in connect(folder, "init", "--answers", "answers.toml", "--no-test").stderr


def test_contacts_are_read_apart_where_sage_refuses_the_inline_ones(folder: Path, box: Sandbox) -> None:
    aged(folder)
    before = box.call("/_sandbox/settings", {})
    try:
        box.call("/_sandbox/settings", {"sage": {"contact_fields": "refuse"}})
        done = connect(folder, "init", "--answers", "answers.toml", "--json")
    finally:
        box.call("/_sandbox/settings", before)
    document = orjson.loads(done.stdout)
    assert "registers.contact_source = contact, since Sage does not answer a vendor's inline contact fields" in document["notes"]
    settings = tomllib.loads((folder / "connect.toml").read_text())["connections"][0]["lookups"]["GeneralSettings"]
    assert settings["ContactSource"] == "contact"
    assert document["failures"] == []


def test_suppliers_of_an_entity_are_read_there(folder: Path, box: Sandbox) -> None:
    aged(folder)
    text = (folder / "answers.toml").read_text().replace('country = "US"', 'country = "US"\nsage_entity = "100"')
    (folder / "answers.toml").write_text(text)
    private = {"key": "990001", "id": "V-PRIVATE", "name": "Of one entity", "entity": {"id": "100"}}
    box.load("accounts-payable/vendor", [private])
    try:
        document = orjson.loads(connect(folder, "init", "--answers", "answers.toml", "--json").stdout)
    finally:
        box.load("accounts-payable/vendor", [{"key": "990001"}], mode="delete")
    assert any(note.startswith("levels.GetSuppliers = entity, since 1 of 761 rows") for note in document["notes"]), document["notes"]
    jobs = {job["job"]: job["sage_entity"] for job in tomllib.loads((folder / "connect.toml").read_text())["connections"][0]["jobs"]}
    assert (jobs["GetSuppliers"], jobs["GetAccounts"]) == ("100", "")


def test_without_the_secrets_everything_is_written_and_said_not_to_be_tried(folder: Path) -> None:
    done = connect(folder, "init", "--answers", "answers.toml", secrets=False)
    assert "not tried, since these secrets are not set: T_PRIME_PASSWORD, T_SAGE_SECRET, T_PRIME_SECRET" in done.stderr
    objects = tomllib.loads((folder / "connect.toml").read_text())["connections"][0]["lookups"]["Objects"]
    assert objects == {"DEPARTMENT": 1, "LOCATION": 2}
    assert "open: written, not tried" in (folder / "acme-TEST-checklist.md").read_text()


def test_what_fails_is_named_and_nothing_is_run(folder: Path) -> None:
    aged(folder)
    text = (folder / "answers.toml").read_text()
    (folder / "answers.toml").write_text(text.replace('environment = "DEMO"', 'environment = "DEMA"'))
    done = connect(folder, "init", "--answers", "answers.toml", "--sync", expect=1)
    assert "FAILED: prime.environment: Prime has no environment DEMA; it has DEMO" in done.stderr
    assert "nothing is run: prime.environment failed" in done.stderr
    assert (folder / "connect.toml").exists()


def test_without_an_integration_licence_nothing_is_run(folder: Path) -> None:
    text = (folder / "answers.toml").read_text()
    (folder / "answers.toml").write_text(text.replace("integration_licence = true", "integration_licence = false"))
    done = connect(folder, "init", "--answers", "answers.toml", "--no-test", "--sync", expect=1)
    assert "nothing is run: There is no integration licence" in done.stderr


def test_without_a_terminal_it_says_how_to_answer(folder: Path) -> None:
    assert "--write-answers" in connect(folder, "init", expect=2).stderr
    connect(folder, "init", "--write-answers", "form.toml")
    done = connect(folder, "init", "--answers", "form.toml", expect=2)
    assert "form.toml:" in done.stderr
    assert "customer.name: is not answered" in done.stderr


# -- in a terminal -----------------------------------------------------------------------------------------------------


def test_a_new_user_goes_from_the_first_question_to_a_first_sync(tmp_path: Path, box: Sandbox) -> None:
    aged(tmp_path)
    nobody = {"Company": "", "Type": "ConnectOwner", "Setting": "ConnectOwner", "Value": ""}  # the test before had the documents
    box.call("/_sandbox/prime/load", {"kind": "CustomSetting", "records": [nobody]})
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONNECT_", "REDIS_", "T_", "ACME_"))}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "workers.cli", "init", "--sync"],
        cwd=str(tmp_path),
        env=clean | {"TERM": "dumb", "COLUMNS": "200"},
        encoding="utf-8",
        timeout=60,
        dimensions=(60, 200),
    )
    talk = (tmp_path / "talk.txt").open("w")
    child.logfile_read = talk

    def answer(question: str, text: str = "") -> None:
        child.expect_exact(question)
        child.delaybeforesend = 0.1 if "is not set" in question else None  # a secret is typed when the terminal does not echo any more
        child.sendline(text)

    answer("full legal name?", "Acme Ltd")
    answer("Who knows the customer's IT", "Ann Lee")
    answer("e-mail address?", "nonsense")
    child.expect_exact("is no e-mail address")
    answer("e-mail address?", "ann@example.com")
    answer("telephone number?")
    answer("a second one whom we may call?")
    answer("Where does that person work?")
    answer("In which time zone?", "Europe/Stokholm")
    child.expect_exact("Europe/Stockholm")
    answer("In which time zone?", "Europe/Stockholm")
    answer("The code in Prime of the first company?", "100")
    answer("Its full name?", "Acme Ltd")
    answer("Its country", "US")
    answer("Its entity in Sage")
    answer("of the next company?")
    answer("What shall the connection be called? [acme-TEST]")
    answer("Where is Redis?")
    answer("a server of its own? (yes/no) [no]")
    answer("current copy of production", "no")
    answer("integration licence", "yes")
    answer("Who is the web service user", "rillion@acme")
    answer("client id of the integration in Sage?", "wrong.app.sage.com")
    answer("Where is its secret kept? [env:ACME_TEST_SAGE_SECRET]")
    answer("ACME_TEST_SAGE_SECRET is not set", "demo-secret")
    answer("What is the Sender ID")
    answer("Where is Sage's REST API", box.sage["base_url"])
    answer("Which version of it")
    answer("Where does it give tokens?")
    answer("Where does it answer queries?")
    answer("How many requests at once", "6")
    answer("Prepaid Amortization module?", "no")
    answer("purchase orders and receipts", "no")
    child.expect_exact("Sage does not know client id wrong.app.sage.com")  # tried at once, and asked again
    answer("Answer this section again?", "y")
    answer("current copy of production")
    answer("integration licence")
    answer("Who is the web service user")
    answer("client id of the integration in Sage?", box.sage["client_id"])
    for question in (
        "secret kept?",
        "Sender ID",
        "REST API",
        "Which version",
        "tokens?",
        "queries?",
        "How many",
        "Prepaid",
        "purchase orders",
    ):
        answer(question)
    child.expect_exact("Sage lets us in")
    answer("id or key?")
    answer("Shall every import read all")
    child.expect_exact("Sage has rates of Intacct Daily Rate, Month End Rate.")
    answer("of which type count for payables?", "Daily")
    child.expect_exact("'Daily' is not one of Intacct Daily Rate, Month End Rate")
    answer("of which type count for payables?", "Intacct Daily Rate")
    answer("Where is a supplier's contact read?")
    answer("bank accounts kept in Sage?")
    answer("Change any of these finer settings?")
    answer("Shall invoices be booked")
    answer("Will Rillion Pay be used?", "no")
    answer("From which date on", "2026-01-01")
    answer("Which date becomes the bill's date")
    answer("Shall the invoices' files go")
    answer("In which attachment folder")
    answer("For how many days")
    answer("In which format does Prime take the date")
    answer("Change any of these finer settings?", "y")
    answer("What becomes the bill's number", "SupplierInvoiceNo")
    for question in (
        "How does VAT travel",
        "What becomes of credit notes?",
        "How is a bill cancelled",
        "Which errors go back",
        "After how many",
    ):
        answer(question)
    child.expect_exact("required: accounts that no line may be booked on")
    answer("14. Which dimensions does Prime get", "DEPARTMENT, LOCATION, PROJECT, CLASS")
    child.expect_exact("without EMPLOYEE: ")
    answer("Take these?", "y")
    answer("id of the environment in Prime?", "DEMO")
    answer("Where is Prime's web service?", box.prime["url"])
    answer("Where do people open Prime?")
    answer("user of the web service?", "connect")
    answer("password kept? [env:ACME_TEST_PRIME_PASSWORD]")
    answer("ACME_TEST_PRIME_PASSWORD is not set", "demo-password")
    answer("How do registers reach Prime?")
    answer("Where is Prime's REST API?", box.prime["rest_url"])
    answer("identity server?", box.prime["identity_url"])
    answer("tenant's id?", "demo")
    answer("REST client's id?", "connect")
    answer("secret kept? [env:ACME_TEST_PRIME_SECRET]")
    answer("ACME_TEST_PRIME_SECRET is not set", "demo-secret")
    answer("Who is the REST user? [connect]")
    answer("In which role? [integration]")
    child.expect_exact("Prime lets us in")
    answer("When at night")
    answer("When is Sage not there")
    child.expect_exact("question 7: The TEST company")
    answer("Keep the answers in acme-TEST-answers.toml?", "y")
    child.expect_exact("Proposed schedule")
    child.expect_exact("written: connect.toml, .env.example, acme-TEST-checklist.md, acme-TEST-hand-over.md")
    child.expect_exact("the first run")
    child.expect(pexpect.EOF)
    child.close()
    talk.close()
    assert child.exitstatus == 3  # the planted row
    said = (tmp_path / "talk.txt").read_text()
    assert "demo-secret" not in said
    assert "Traceback" not in said
    assert said.count("is no current copy of production: what is tried there proves little") == 1
    assert "secrets: copy .env.example to .env" in said
    assert re.search(r"^FIXEDASSET \(Asset\) +no +50 +0 +17 +0 *\r?$", said, re.MULTILINE), "a line of 80 columns for each dimension"
    files = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file() and path.name != "talk.txt"}
    assert not any("demo-secret" in text or "demo-password" in text for text in files.values())
    connection = tomllib.loads(files["connect.toml"])["connections"][0]
    assert connection["lookups"]["Objects"] == {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "CLASS": 4}
    assert connection["timezone"] == "Europe/Stockholm"
    general = connection["lookups"]["GeneralSettings"]
    assert (general["ExchangeRateType"], general["BillNumberSource"]) == ("Intacct Daily Rate", "SupplierInvoiceNo")
    assert general["DateFormat"] == "yyyy-MM-dd"
    # the answers that were kept make the same file again
    again = tmp_path / "again"
    again.mkdir()
    connect(again, "init", "--answers", "../acme-TEST-answers.toml", "--no-test")
    assert (again / "connect.toml").read_text() == files["connect.toml"]


def test_production_under_a_test_is_pointed_out_while_it_is_typed(tmp_path: Path) -> None:
    child = pexpect.spawn(sys.executable, ["-m", "workers.cli", "init", "--no-test"], cwd=str(tmp_path), encoding="utf-8", timeout=30)
    for question, text in (
        *(("full legal name?", "Acme Production Ltd"), ("IT and Sage?", "Ann"), ("e-mail", ""), ("telephone", ""), ("second one", "")),
        *(("work?", ""), ("time zone?", ""), ("first company?", "100"), ("full name?", "Acme"), ("country", "US"), ("entity in Sage", "")),
        *(
            ("next company?", ""),
            ("be called? [acme-TEST]", ""),
            ("Redis?", ""),
            ("of its own?", ""),
            ("current copy", "y"),
            ("licence", "y"),
        ),
        ("web service user", "rillion@acme-prod"),
    ):
        child.expect_exact(question)
        assert "look again" not in (child.before or ""), "a customer's name is no address"
        child.sendline(text)
    child.expect_exact("look again: rillion@acme-prod looks like production, and acme-TEST is a test")
    child.expect_exact("client id of the integration")
    child.sendline("55524a851771f75b6640.app.sage.com")
    child.expect_exact("look again: that is the client id for production, whose use is billed, and acme-TEST is a test")
    child.expect_exact("secret kept?")
    child.sendline("env:ACME_PROD_SAGE_SECRET")
    child.expect_exact("look again: env:ACME_PROD_SAGE_SECRET looks like production")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert list(tmp_path.iterdir()) == []


def test_leaving_in_the_middle_writes_nothing(tmp_path: Path) -> None:
    child = pexpect.spawn(sys.executable, ["-m", "workers.cli", "init"], cwd=str(tmp_path), encoding="utf-8", timeout=30)
    child.expect_exact("full legal name?")
    child.sendline("Acme")
    child.expect_exact("Who knows")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus != 0
    assert list(tmp_path.iterdir()) == []


# -- promote -----------------------------------------------------------------------------------------------------------

PRODUCTION = {
    "environment": "ACME1",
    "url": "https://acme.example.com/ws/webService.asmx",
    "rest_url": "https://acme.example.com/api/v1.0",
    "rest_identity_url": "https://acme.example.com/identity",
    "rest_tenant": "acme",
    "rest_client_id": "connect",
    "SageUserName": "rillion@acmeltd",
    "SageTokenUrl": "https://api.intacct.com/ia/api/v1/oauth2/token",
    "SageBaseUrl": "https://api.intacct.com/ia/api",
    "SageQueryUrl": "https://api.intacct.com/ia/api/v1/services/core/query",
    "StartOn": "2026-12-01",
}


def sets(values: dict[str, str]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, box: Sandbox) -> str:
    """The file that `connect init` makes of the answers."""
    folder = tmp_path_factory.mktemp("configured")
    (folder / "answers.toml").write_text(answers_for(box))
    connect(folder, "init", "--answers", "answers.toml", "--no-test")
    return (folder / "connect.toml").read_text()


@pytest.fixture
def tested(tmp_path: Path, configured: str) -> Path:
    (tmp_path / "connect.toml").write_text(configured)
    return tmp_path


def test_config_check_ends_each_message_in_who_mends_it(tested: Path) -> None:
    (tested / "connect.toml").write_text((tested / "connect.toml").read_text().replace("sage_slots = 6", "sage_slots = 0"))
    said = connect(tested, "config", "check", secrets=False, expect=2).stderr.splitlines()
    assert said[-1] == "4 problems"
    assert {line.rpartition("(")[2] for line in said[:-1] if "where Connect runs" in line} == {"to be done by: operator)"}
    assert [line.endswith("from 1 to 100; input should be greater than or equal to 1 (to be done by: consultant)") for line in said].count(
        True
    ) == 1
    document = orjson.loads(connect(tested, "config", "check", "--json", secrets=False, expect=2).stdout)
    assert sorted(document["owners"]) == ["consultant", "operator", "operator", "operator"]


def test_promote_copies_all_but_what_lets_one_in(tested: Path) -> None:
    before = (tested / "connect.toml").read_text()
    done = connect(tested, "promote", "acme-TEST", "acme-PROD", "--force", *sets(PRODUCTION))
    assert "warning" not in done.stderr
    text = (tested / "connect.toml").read_text()
    assert text.startswith(before.rstrip())
    assert (tested / "connect.toml.before-promote").read_text() == before
    test, prod = tomllib.loads(text)["connections"]
    assert prod["name"] == "acme-PROD"
    assert prod["jobs"] == test["jobs"]
    assert prod["lookups"]["Objects"] == test["lookups"]["Objects"]
    assert prod["sage_slots"] == test["sage_slots"]
    assert prod["password"] == "env:ACME_PROD_PRIME_PASSWORD"
    assert prod["lookups"]["Credentials"]["SageClientSecret"] == "env:ACME_PROD_SAGE_SECRET"
    assert prod["lookups"]["Credentials"]["SageClientId"] == "55524a851771f75b6640.app.sage.com"
    assert str(prod["lookups"]["GeneralSettings"]["StartOn"]) == "2026-12-01"
    assert "ACME_PROD_SAGE_SECRET" in done.stderr


def test_promote_points_out_what_is_still_the_tests(tested: Path) -> None:
    values = PRODUCTION | {"url": "https://acme-test.example.com/ws/webService.asmx", "SageUserName": "rillion@acme"}
    done = connect(tested, "promote", "acme-TEST", "acme-PROD", "--force", *sets(values), "--set", "password=env:T_PRIME_PASSWORD")
    assert "url: https://acme-test.example.com/ws/webService.asmx looks like test, and acme-PROD is production" in done.stderr
    assert "SageUserName: rillion@acme is what acme-TEST has" in done.stderr
    assert "password: env:T_PRIME_PASSWORD is what acme-TEST has" in done.stderr


def test_promote_needs_no_secret_and_asks_nothing_about_a_file_that_is_wrong(tested: Path) -> None:
    text = (tested / "connect.toml").read_text().replace("env:T_PRIME_SECRET", "file:not-here/prime")
    (tested / "connect.toml").write_text(text.replace('data_dir = ".connect"', 'url = "env:T_REDIS"'))
    connect(tested, "promote", "acme-TEST", "acme-PROD", "--force", *sets(PRODUCTION), secrets=False)
    prod = tomllib.loads((tested / "connect.toml").read_text())["connections"][1]
    assert prod["rest_client_secret"] == "env:ACME_PROD_PRIME_SECRET"
    (tested / "connect.toml").write_text(text.replace("sage_slots = 6", "sage_slots = 0"))
    done = connect(tested, "promote", "acme-TEST", "acme-PROD", "--force", expect=2)  # nothing said of answers that are missing
    assert "sage_slots = 0" in done.stderr
    assert "is missing" not in done.stderr


def test_promote_says_all_that_is_missing_or_wrong_and_changes_nothing(tested: Path) -> None:
    before = (tested / "connect.toml").read_text()
    done = connect(tested, "promote", "acme-TEST", "acme-PROD", "--force", "--set", "url=nonsense", "--set", "envronment=X", expect=2)
    for words in ("url: is no absolute URL", 'did you mean "environment"?', "environment is missing", "StartOn is missing"):
        assert words in done.stderr
    assert (tested / "connect.toml").read_text() == before
    assert "is not changed without --force" in connect(tested, "promote", "acme-TEST", "acme-PROD", *sets(PRODUCTION), expect=2).stderr
    assert (tested / "connect.toml").read_text() == before


def test_a_file_of_values_serves_as_well_and_jobs_can_wait(tested: Path) -> None:
    rows = "".join(f'{key} = "{value}"\n' for key, value in PRODUCTION.items() if key != "StartOn")
    (tested / "prod.toml").write_text(rows + "StartOn = 2026-12-01\n")
    connect(tested, "promote", "acme-TEST", "acme-PROD", "--answers", "prod.toml", "--inactive", "--force")
    prod = tomllib.loads((tested / "connect.toml").read_text())["connections"][1]
    assert {job["active"] for job in prod["jobs"]} == {False}
