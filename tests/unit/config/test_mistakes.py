"""Every mistake a configuration can hold gets one line that names file, line, key and value and says what is expected."""

import re
from pathlib import Path
from typing import get_args

import pytest

from connect.catalogue import Owner
from connect.config import ConfigProblems, load_config, parse_config
from connect.config.names import OWNERS
from connect.errors import ConfigError

ENVIRON = {"ACME_PRIME_PASSWORD": "p4ssw0rd", "ACME_PRIME_SECRET": "s3cret", "ACME_SAGE_SECRET": "s4ge"}
GOOD = """\
[redis]
data_dir = ".connect"
[[connections]]
name = "acme-TEST"
environment = "DEMO"
username = "connect"
password = "env:ACME_PRIME_PASSWORD"
url = "http://127.0.0.1:8802/ws/webService.asmx"
rest_url = "http://127.0.0.1:8802/api/v1.0"
rest_identity_url = "http://127.0.0.1:8802/identity"
rest_tenant = "demo"
rest_client_id = "connect"
rest_client_secret = "env:ACME_PRIME_SECRET"
rest_user = "connect"
rest_role = "integration"
register_transport = "rest"
sage_slots = 6
[connections.lookups.GeneralSettings]
IsFullImport = true
StartOn = 2026-01-01
[connections.lookups.Credentials]
SageTokenUrl = "http://127.0.0.1:8801/ia/api/v1/oauth2/token"
SageBaseUrl = "http://127.0.0.1:8801/ia/api"
SageQueryUrl = "http://127.0.0.1:8801/ia/api/v1/services/core/query"
SageRestVersion = "v1"
SageClientId = "demo.app.sage.com"
SageClientSecret = "env:ACME_SAGE_SECRET"
SageUserName = "rillion@acme"
[connections.lookups.Objects]
DEPARTMENT = 1
LOCATION = 2
"nsp::region" = 5
[[connections.jobs]]
job = "GetSuppliers"
company = "100"
sage_entity = ""
active = true
cron = "0 * * * *"
"""
PATH = Path("acme/connect.toml")


def problems(text: str, environ=ENVIRON) -> list[str]:
    with pytest.raises(ConfigProblems) as raised:
        parse_config(text, path=PATH, environ=environ)
    assert isinstance(raised.value, ConfigError)
    for secret in ENVIRON.values():
        assert secret not in raised.value.message
    return list(raised.value.problems)


def second_connection(**changes: str) -> str:
    second = GOOD[GOOD.index("[[connections]]") :]
    for old, new in changes.items():
        second = second.replace(f"{old} = ", f"{old} = {new} #")
    return GOOD + second


OWN = '[[connections.companies]]\ncompany = "100"\n[connections.companies.lookups'
MISTAKES = [
    # what is replaced, by what, the line it stands in, words of the message
    ('name = "acme-TEST"', 'name = "acme-TEST', 4, ["is not valid TOML"]),
    ('name = "acme-TEST"', 'name = "acme-TEST"\nname = "b"', 5, ["is not valid TOML"]),
    ('name = "acme-TEST"', "", 3, ["connections[0].name: is missing", "a label"]),
    ('name = "acme-TEST"', 'name = " "', 4, ["is empty"]),
    ('environment = "DEMO"', 'enviroment = "DEMO"', 5, ["enviroment", "unknown key", 'did you mean "environment"']),
    ('environment = "DEMO"', "environment = 7", 5, ["environment = 7", 'write it as text in quotes: "7"']),
    ("[redis]", "[rediss]", 1, ["rediss", "unknown key", 'did you mean "redis"']),
    ('data_dir = ".connect"', 'datadir = ".connect"', 2, ["redis.datadir", 'did you mean "data_dir"']),
    ('data_dir = ".connect"', 'url = "localhost:6379"', 2, ["redis.url", "redis://host:6379/0"]),
    ('data_dir = ".connect"', 'url = "env:REDIS"', 2, ["REDIS is not set"]),
    (
        'password = "env:ACME_PRIME_PASSWORD"',
        'password = "env:ACME_PRIME_PASWORD"',
        7,
        ["ACME_PRIME_PASWORD is not set", '"ACME_PRIME_PASSWORD"'],
    ),
    ('password = "env:ACME_PRIME_PASSWORD"', 'password = "hunter2"', 7, ["a secret does not stand in the file", "env:NAME", "file:PATH"]),
    ('password = "env:ACME_PRIME_PASSWORD"', 'password = "file:nowhere"', 7, ["nowhere cannot be read", "No such file"]),
    ('password = "env:ACME_PRIME_PASSWORD"', "", 3, ["password: is missing", "env:NAME or file:PATH"]),
    ("http://127.0.0.1:8802/ws/webService.asmx", "127.0.0.1:8802", 8, ["is no absolute URL"]),
    (
        "http://127.0.0.1:8802/ws/webService.asmx",
        "http://prime.example.com/ws/webService.asmx",
        8,
        ["http is only for this machine", "https://"],
    ),
    ("http://127.0.0.1:8802/ws/webService.asmx", "https://prime.example.com/ws", 8, ["ends in .asmx"]),
    ("http://127.0.0.1:8802/ws/webService.asmx", "https://u:p@prime.example.com/a.asmx", 8, ["user name or password"]),
    ("http://127.0.0.1:8802/ws/webService.asmx", "https://prime.example.com:99999/a.asmx", 8, ["is no URL"]),
    ('rest_url = "http://127.0.0.1:8802/api/v1.0"', "", 3, ["rest_url: is missing", 'register_transport = "rest" needs it']),
    ('rest_role = "integration"', "", 3, ["rest_role: is missing", "the REST role"]),
    ('register_transport = "rest"', 'register_transport = "REST"', 16, ['one of "rest", "soap"', 'did you mean "rest"']),
    ("sage_slots = 6", "sage_slots = 0", 17, ["sage_slots = 0", "from 1 to 100"]),
    ("sage_slots = 6", "sage_slots = 1000", 17, ["from 1 to 100"]),
    ("sage_slots = 6", 'sage_slots = "six"', 17, ["whole number from 1 to 100"]),
    ("sage_slots = 6", 'maintenance = ["Saturday night"]', 17, ["is no weekly window", '"Sat 22:00-02:00"']),
    ("sage_slots = 6", 'maintenance = "Sat 22:00-02:00"', 17, ['a list such as ["Sat 22:00-02:00"]']),
    ("sage_slots = 6", 'maintenance = ["Sat 00:00-23:00", "Sun 00:00-23:00"]', 17, ["more than a day a week"]),
    ("sage_slots = 6", "spacing_minutes = -1", 17, ["spacing_minutes = -1", "from 0 (no space) to 120"]),
    ("sage_slots = 6", "spacing = 8", 17, ["unknown key"]),
    ("sage_slots = 6", 'reconcile = "weekly"', 17, ["reconcile", "expected five fields"]),
    ("sage_slots = 6", 'timezone = "Europe/Stokholm"', 17, ["is no time zone", 'did you mean "Europe/Stockholm"']),
    ("IsFullImport = true", 'IsFullImport = "perhaps"', 19, ["IsFullImport", "true (all records) or false"]),
    ("IsFullImport = true", "isFullImport = true", 19, ["unknown key", 'did you mean "IsFullImport"']),
    ("StartOn = 2026-01-01", 'StartOn = "soon"', 20, ["a date such as 2026-01-01"]),
    ("StartOn = 2026-01-01", 'KeySource = "ID"', 20, ['one of "id", "key"', 'did you mean "id"']),
    ("StartOn = 2026-01-01", 'PaymentMethod = "printed check"', 20, ["case-sensitive", 'did you mean "Printed Check"']),
    ("StartOn = 2026-01-01", 'PaymentRequestMethod = "mergeRequestIntoOnePerVendor"', 20, ['did you mean "mergeRequestsIntoOnePerVendor"']),
    ("StartOn = 2026-01-01", "PaymentCutoffDays = 0", 20, ["a number of days above 0"]),
    ("StartOn = 2026-01-01", 'DateFormat = "yyyy-mm-dd"', 20, ["is no .NET date pattern", "m the minute"]),
    (
        "StartOn = 2026-01-01",
        'PaymentMethodMapping = { Checks = "EFT" }',
        20,
        ["Checks", "no method of Rillion Pay", 'did you mean "Check"'],
    ),
    ("StartOn = 2026-01-01", 'PaymentMethodMapping = { ACH = "ach" }', 20, ["PaymentMethodMapping.ACH", 'did you mean "ACH"', '= "ach"']),
    ("StartOn = 2026-01-01", "PaymentMethodMapping = 5", 20, ["expected a table"]),
    ("StartOn = 2026-01-01", "BankAccountMapping = '{\"A\":B}'", 20, ["is no JSON"]),
    ("StartOn = 2026-01-01", "BankAccountMapping = { A = 5 }", 20, ["BankAccountMapping.A = 5", '"SageBankId"']),
    ('SageBaseUrl = "http://127.0.0.1:8801/ia/api"', "", 21, ["SageBaseUrl: is missing", "the https URL before the version"]),
    ('http://127.0.0.1:8801/ia/api"', 'https://api.intacct.com/ia/api/v1"', 23, ["SageRestVersion adds again"]),
    ('SageRestVersion = "v1"', 'SageRestVersion = "v.1.X"', 25, ["gives no valid path", "such as v1"]),
    ("rillion@acme", "rillion", 28, ["{WebServiceUserID}@{CompanyID}", "exactly one @"]),
    ("rillion@acme", "rillion@acme@corp", 28, ["exactly one @"]),
    ("[connections.lookups.Credentials]", "[connections.lookups.Credential]", 21, ["unknown key", 'did you mean "Credentials"']),
    ("LOCATION = 2", "", 29, ["LOCATION is missing", "mandatory"]),
    ("DEPARTMENT = 1", "", 29, ["DEPARTMENT is missing", "mandatory"]),
    ("DEPARTMENT = 1", "DEPARTMENTS = 1", 30, ["is no dimension of Sage", 'did you mean "DEPARTMENT"']),
    ("LOCATION = 2", "LOCATION = 9", 31, ["LOCATION = 9", "from 1 to 8"]),
    ("LOCATION = 2", 'LOCATION = "2"', 31, ["whole number from 1 to 8"]),
    ("LOCATION = 2", "LOCATION = 1", 31, ["object type 1 is already DEPARTMENT"]),
    (
        '"nsp::region" = 5',
        "PROJECT=3\nCUSTOMER=4\nVENDOR=5\nEMPLOYEE=6\nITEM=7\nCLASS=8\nTASK=9",
        29,
        ["names 9 dimensions", "Prime holds 8"],
    ),
    ('"nsp::region" = 5', "region = 5", 32, ["is no dimension of Sage", '"nsp::name"']),
    ('job = "GetSuppliers"', 'job = "GetVendors"', 34, ["is no job", "GetSuppliers"]),
    ('job = "GetSuppliers"', 'job = "GetSupplier"', 34, ['did you mean "GetSuppliers"']),
    ('job = "GetSuppliers"', "", 33, ["jobs[0].job: is missing"]),
    ('company = "100"', "company = 100", 35, ["company = 100", 'write it as text in quotes: "100"']),
    ("active = true", "actve = true", 37, ['did you mean "active"']),
    ('cron = "0 * * * *"', 'cron = "0 * * *"', 38, ["five fields", "got 4"]),
    ('cron = "0 * * * *"', 'cron = "61 * * * *"', 38, ["minute '61' is not a number from 0 to 59"]),
    ('cron = "0 * * * *"', 'every = "soon"', 38, ['"15m", "2h" or "1d"']),
    ('cron = "0 * * * *"', 'cron = "0 * * * *"\nevery = "1h"', 39, ["stands beside cron", "one of them"]),
    ('cron = "0 * * * *"', 'every = "1h"\noffset_minutes = 2000', 39, ["from 0 to 1439"]),
    (
        'cron = "0 * * * *"',
        '[[connections.jobs]]\njob = "GetSuppliers"\ncompany = "100"',
        38,
        ["GetSuppliers of company 100 is there twice"],
    ),
    (
        "[[connections.jobs]]",
        '[[connections.companies]]\ncompany = "101"\n[[connections.jobs]]',
        34,
        ["no job is for this company", '"100"'],
    ),
    ("[[connections.jobs]]", "[connections.jobs]", 33, ["a list of [[connections.jobs]]"]),
    # connections, further
    ('\nusername = "connect"', "", 3, ["username: is missing", "the user of Prime's web service"]),
    ('rest_identity_url = "http://127.0.0.1:8802/identity"', 'rest_identity_url = "identity"', 10, ["is no absolute URL"]),
    ('rest_tenant = "demo"', 'rest_tenant = ""', 11, ["rest_tenant", "is empty"]),
    ('rest_client_secret = "env:ACME_PRIME_SECRET"', 'rest_client_secret = "env:"', 13, ["env:NAME", "file:PATH"]),
    ('rest_client_secret = "env:ACME_PRIME_SECRET"', 'rest_client_secret = "vault:prime"', 13, ["a secret does not stand in the file"]),
    # lookup GeneralSettings: the guide's eleven
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nShowInvoiceBaseURL = "prime.example.com"', 21, ["is no absolute URL"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nShowInvoiceBaseUrl = "https://a.example.com"', 21, ['mean "ShowInvoiceBaseURL"']),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nInvoiceImageExport = "some"', 21, ["InvoiceImageExport", "true or false"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nPaymentCutoffDays = "ninety"', 21, ["a number of days above 0"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nDateFormat = ""', 21, ["DateFormat", "something like yyyy-MM-dd"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nSageAttachmentFolderId = ""', 21, ["SageAttachmentFolderId", "is empty"]),
    ("StartOn = 2026-01-01", "StartOn = 2026-01-01\nSageAttachmentFolderId = 12", 21, ['write it as text in quotes: "12"']),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nPaymentRequestMethod = "UseVendorPreference"', 21, ['mean "useVendorPreference"']),
    ("StartOn = 2026-01-01", "StartOn = 2026-01-01\nUseDefaultPaymentMethod = 2", 21, ["UseDefaultPaymentMethod", "true: ignore Pay's"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nPaymentMethod = "Check"', 21, ["PaymentMethod", 'one of "Printed Check"']),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nPaymentMethodMapping = \'{"ACH": "ACH"\'', 21, ["PaymentMethodMapping", "is no JSON"]),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nBankAccountMapping = { A = "" }', 21, ["BankAccountMapping.A", '"SageBankId"']),
    ("StartOn = 2026-01-01", 'StartOn = 2026-01-01\nBankAccountMapping = ["A"]', 21, ["BankAccountMapping", "expected a table"]),
    # and ours
    ("StartOn = 2026-01-01", "StartOn = 2026-13-01", 20, ["is not valid TOML"]),
    ("StartOn = 2026-01-01", 'BillDateSource = "invoiceDate"', 20, ['did you mean "InvoiceDate"']),
    ("StartOn = 2026-01-01", 'BillNumberSource = "Voucher"', 20, ['did you mean "VoucherNo"']),
    ("StartOn = 2026-01-01", 'ContactSource = "contacts"', 20, ['did you mean "contact"']),
    ("StartOn = 2026-01-01", 'ExchangeRateType = ""', 20, ["ExchangeRateType", "is empty"]),
    ("StartOn = 2026-01-01", 'CreditNotes = "negative"', 20, ['one of "refuse", "NegativeBill", "Adjustment"']),
    ("StartOn = 2026-01-01", "RefuseAfterDays = -1", 20, ["days after which"]),
    ("StartOn = 2026-01-01", 'ExpiredDate = "never"', 20, ["the date that means expired"]),
    # lookup Credentials: the seven
    ('SageTokenUrl = "http://127.0.0.1:8801', 'SageTokenUrl = "http://api.intacct.com', 22, ["SageTokenUrl", "https://api.intacct.com"]),
    ('SageQueryUrl = "http://127.0.0.1:8801', 'SageQueryUrl = "', 24, ["SageQueryUrl", "is no absolute URL"]),
    ('SageRestVersion = "v1"', "SageRestVersion = 1", 25, ["SageRestVersion", "such as v1"]),
    ('SageClientId = "demo.app.sage.com"', 'SageClientId = ""', 26, ["SageClientId", "is empty"]),
    ('SageClientId = "demo.app.sage.com"', 'SageClientID = "demo.app.sage.com"', 26, ['did you mean "SageClientId"']),
    ('SageClientSecret = "env:ACME_SAGE_SECRET"', "", 21, ["SageClientSecret: is missing", "env:NAME or file:PATH"]),
    ('SageClientSecret = "env:ACME_SAGE_SECRET"', 'SageClientSecret = "hunter2"', 27, ["a secret does not stand in the file"]),
    ('SageUserName = "rillion@acme"', "", 21, ["SageUserName: is missing", "{WebServiceUserID}@{CompanyID}"]),
    ("rillion@acme", "@acme", 28, ["such as rillion@acme"]),
    # lookup Objects, and what a company has of its own
    ("DEPARTMENT = 1", "DEPARTMENT = true", 30, ["DEPARTMENT = true", "whole number from 1 to 8"]),
    ("DEPARTMENT = 1", "DEPARTMENT = 0", 30, ["DEPARTMENT = 0", "from 1 to 8"]),
    ("[connections.lookups.Objects]", "[connections.lookups.Object]", 29, ['did you mean "Objects"']),
    ("[[connections.jobs]]", f"{OWN}.Objects]\nDEPARTMENT = 1\n[[connections.jobs]]", 35, ["companies[0]", "LOCATION is missing"]),
    ("[[connections.jobs]]", f"{OWN}.Objects]\nDEPARTMENT = 1\nLOCATION = 1\n[[connections.jobs]]", 37, ["is already DEPARTMENT"]),
    ("[[connections.jobs]]", f'{OWN}.GeneralSettings]\nKeySource = "Id"\n[[connections.jobs]]', 36, ["companies[0]", 'mean "id"']),
    ("[[connections.jobs]]", f'{OWN}.Credentials]\nSageClientId = "a"\n[[connections.jobs]]', 35, ["keys here: GeneralSettings, Objects"]),
    ("[[connections.jobs]]", "[[connections.companies]]\n[[connections.jobs]]", 33, ["companies[0].company: is missing"]),
    (
        "[[connections.jobs]]",
        '[[connections.companies]]\ncompany = "100"\n[[connections.companies]]\ncompany = "100"\n[[connections.jobs]]',
        36,
        ["has lookups above already", "into one"],
    ),
    # jobs: entity, active, schedule
    ('company = "100"', 'company = " "', 35, ["jobs[0].company", "is empty"]),
    ('sage_entity = ""', "sage_entity = 200", 36, ['write it as text in quotes: "200"']),
    ('sage_entity = ""', 'entity = "200"', 36, ["entity", 'did you mean "sage_entity"']),
    ("active = true", 'active = "often"', 37, ["active", "true or false"]),
    ('cron = "0 * * * *"', 'schedule = "hourly"', 38, ["unknown key", "cron, every"]),
    ('cron = "0 * * * *"', 'cron = "0 25 * * *"', 38, ["hour '25' is not a number from 0 to 23"]),
    ('cron = "0 * * * *"', 'cron = "0 0 30 2 *"', 38, ["cron"]),
    ('cron = "0 * * * *"', 'every = "0m"', 38, ['"15m", "2h" or "1d"']),
    ('cron = "0 * * * *"', 'every = "1h"\noffset_minutes = "ten"', 39, ["from 0 to 1439"]),
    # additional settings, time zones
    ("sage_slots = 6", 'timezone = "CET+1"', 17, ["is no time zone", "such as Europe/Stockholm"]),
    ("sage_slots = 6", 'maintenance = ["Sat 22:00"]', 17, ["is no weekly window"]),
    ("sage_slots = 6", "spacing_minutes = 121", 17, ["from 0 (no space) to 120"]),
    ("sage_slots = 6", "sage_write_timeout_s = 0", 17, ["how long a write to Sage may take"]),
    ("sage_slots = 6", "document_lock_s = 60", 17, ["must be longer than sage_write_timeout_s = 120"]),
    ("sage_slots = 6", "settle_s = -1", 17, ["how far Sage's queries may lag"]),
    ("sage_slots = 6", "sage_body_limit_bytes = 5", 17, ["the largest request that Sage takes"]),
    ("sage_slots = 6", 'encrypt_dead_letters = "some"', 17, ['one of "bank", "all", "none"']),
    ("sage_slots = 6", "late_after_minutes = 0", 17, ["from 1 to 10080"]),
    ("sage_slots = 6", "transactions_month_budget = -1", 17, ["transactions with Sage", "0 for any number"]),
    ("sage_slots = 6", 'marketplace_client = "perhaps"', 17, ["true: SageClientId is a Sage marketplace partner's"]),
]
GUIDES = {  # the guide's own names, all of which somebody will misspell or fill in wrongly
    "GeneralSettings": "ShowInvoiceBaseURL IsFullImport InvoiceImageExport PaymentCutoffDays DateFormat SageAttachmentFolderId "
    "PaymentRequestMethod UseDefaultPaymentMethod PaymentMethod PaymentMethodMapping BankAccountMapping",
    "Credentials": "SageTokenUrl SageBaseUrl SageQueryUrl SageRestVersion SageClientId SageClientSecret SageUserName",
    "connections": "name environment username password url",
    "jobs": "job company sage_entity active cron every offset_minutes",
}
INSTRUCTS = re.compile(r"\b(expected|write|add|set|give|leave|use|correct|put|did you mean|must|expects?|keys here|take)\b", re.IGNORECASE)


def follows(problem: str, right: str) -> bool:
    """Whether a problem is the other half of a misspelt or removed key, which is missing then, or of nine dimensions: the number 9."""
    key = right.strip().partition(" = ")[0].strip("[]").rpartition(".")[2]
    return f"{key}: is missing" in problem or f"{key} is missing" in problem or (key == '"nsp::region"' and "TASK = 9" in problem)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "words"), MISTAKES, ids=[f"{wrong[:40]}-{number}" for number, (_, wrong, *_) in enumerate(MISTAKES)]
)
def test_mistake_is_named_with_file_line_key_and_what_is_expected(right, wrong, line, words):
    assert GOOD.count(right) == 1
    found = problems(GOOD.replace(right, wrong))
    matching = [problem for problem in found if all(word in problem for word in words)]
    assert matching, found
    assert matching[0].startswith(f"acme/connect.toml:{line}: "), found
    assert [problem for problem in found if problem not in matching and not follows(problem, right)] == []
    if "hunter2" in wrong:
        assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(("right", "wrong"), [(right, wrong) for right, wrong, *_ in MISTAKES], ids=range(len(MISTAKES)))
def test_every_message_says_what_to_do_and_by_whom(right, wrong):
    with pytest.raises(ConfigProblems) as raised:
        parse_config(GOOD.replace(right, wrong), path=PATH, environ=ENVIRON)
    for problem, owner in zip(raised.value.problems, raised.value.owners, strict=True):
        assert INSTRUCTS.search(problem.split(": ", 1)[1]), problem
        assert owner == ("operator" if problem.endswith("where Connect runs") else "consultant")
    missing = any(words in wrong for words in ("env:REDIS", "PASWORD", "file:nowhere"))
    assert ("operator" in raised.value.owners) == missing


def test_there_are_more_than_120_different_mistakes():
    assert len({GOOD.replace(right, wrong) for right, wrong, *_ in MISTAKES}) == len(MISTAKES)
    assert len(MISTAKES) > 120


@pytest.mark.parametrize("place", GUIDES)
def test_every_name_of_the_guide_is_among_the_mistakes(place):
    about = " ".join(f"{right} {wrong}" for right, wrong, *_ in MISTAKES)
    assert [name for name in GUIDES[place].split() if not re.search(rf"\b{name}\b", about)] == []


def test_good_file_is_read():
    config = parse_config(GOOD, path=PATH, environ=ENVIRON)
    assert config.warnings == ()
    assert config.redis.data_dir == Path("acme/.connect")
    (connection,) = config.connections
    assert connection.password.get_secret_value() == "p4ssw0rd"
    assert connection.credentials.client_secret.get_secret_value() == "s4ge"
    assert (connection.sage_company, connection.companies) == ("acme", ["100"])


def test_all_problems_are_said_at_once_in_the_order_of_the_file():
    text = GOOD.replace("sage_slots = 6", "sage_slots = 0").replace("LOCATION = 2", "LOCATION = 9\nPROJECT = 1")
    text = text.replace("GetSuppliers", "GetSupplier").replace("env:ACME_SAGE_SECRET", "plain").replace("active = true", "activ = true")
    found = problems(text)
    assert [problem.split(":")[1] for problem in found] == ["17", "27", "31", "32", "35", "38"]


def test_two_connections_with_one_name_are_refused():
    assert any(
        "acme-TEST" in line and "another connection has this name" in line for line in problems(second_connection(environment='"PROD"'))
    )


def test_two_connections_of_one_sage_company_must_agree_on_its_slots():
    text = second_connection(name='"b"', environment='"PROD"', sage_slots="2")
    assert any("sage_slots = 2" in line and "'acme-TEST' says 6" in line for line in problems(text))


def test_two_connections_of_one_environment_and_sage_company_are_refused():
    assert any("put the jobs of both into one connection" in line for line in problems(second_connection(name='"b"')))


def test_problem_between_two_connections_is_said_together_with_others():
    text = second_connection(environment='"PROD"').replace("LOCATION = 2", "LOCATION = 9", 1)
    text += second_connection()[len(GOOD) :].replace("acme-TEST", "third").replace('"DEMO"', '"PROD"')
    found = problems(text)
    assert any("LOCATION = 9" in line for line in found)
    assert any("put the jobs of both" in line for line in found)


def test_file_without_connections_says_what_to_write():
    assert problems("") == ["acme/connect.toml:1: connections: is missing; expected at least one [[connections]]"]


def test_connection_that_is_no_table_is_refused():
    assert any("connections" in line for line in problems('connections = "x"'))
    assert any("connections[0]" in line for line in problems("connections = [1]"))
    assert any("lookups" in line for line in problems("[[connections]]\nlookups = 5\n"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load_config(tmp_path / "nowhere.toml")


def test_directory_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "c.toml")


def test_secret_is_read_from_a_file_beside_the_configuration(tmp_path):
    (tmp_path / "secret").write_text("from-file\n")
    (tmp_path / "connect.toml").write_text(GOOD.replace("env:ACME_SAGE_SECRET", "file:secret"))
    config = load_config(tmp_path / "connect.toml", environ=ENVIRON)
    assert config.connections[0].credentials.client_secret.get_secret_value() == "from-file"
    assert "from-file" not in repr(config)


def test_byte_order_mark_of_an_editor_is_no_mistake(tmp_path):
    (tmp_path / "secret").write_text("\ufefffrom-file\r\n", encoding="utf-8")
    (tmp_path / "connect.toml").write_text("\ufeff" + GOOD.replace("env:ACME_SAGE_SECRET", "file:secret"), encoding="utf-8")
    config = load_config(tmp_path / "connect.toml", environ=ENVIRON)
    assert config.connections[0].credentials.client_secret.get_secret_value() == "from-file"


def test_empty_secret_is_refused(tmp_path):
    assert any("ACME_SAGE_SECRET is empty" in line for line in problems(GOOD, {**ENVIRON, "ACME_SAGE_SECRET": ""}))


def test_what_is_allowed_but_doubtful_is_a_warning():
    text = GOOD.replace("webService.asmx", "webService.aspx").replace("SageUserName", "SageApiUserName").replace('cron = "0 * * * *"', "")
    text += '[[connections.jobs]]\njob = "GetPeriods"\ncompany = "100"\n'
    warnings = parse_config(text, path=PATH, environ=ENVIRON).warnings
    for words in ("ends in .aspx", "is read as SageUserName", "has no cron", "PeriodsEnabled = true"):
        assert any(words in line for line in warnings), (words, warnings)


def test_credit_notes_as_adjustments_are_said_to_be_held_before_the_first_one_comes():
    general = "[connections.lookups.GeneralSettings]"
    text = GOOD.replace(general, f'{general}\nCreditNotes = "Adjustment"', 1)
    text += '[[connections.jobs]]\njob = "ExportInvoices"\ncompany = "100"\n'
    (line,) = [line for line in parse_config(text, path=PATH, environ=ENVIRON).warnings if "CreditNotes" in line]
    assert "not supported; set it to NegativeBill or refuse" in line
    assert not any(
        "CreditNotes" in line for line in parse_config(text.replace("Adjustment", "NegativeBill"), path=PATH, environ=ENVIRON).warnings
    )


@pytest.mark.parametrize(
    "mapping",
    [
        '{ "40-1" = "BOA" }',
        '{ BankAccountMapping = { "40-1" = "BOA" } }',
        '\'{"BankAccountMapping": {"40-1": "BOA"}}\'',
        '\'{"40-1": "BOA"}\'',
    ],
)
def test_mapping_is_taken_wrapped_and_bare(mapping):
    config = parse_config(GOOD.replace("StartOn = 2026-01-01", f"BankAccountMapping = {mapping}"), path=PATH, environ=ENVIRON)
    assert config.connections[0].settings("100").bank_account_mapping == {"40-1": "BOA"}


def test_unknown_connection_names_those_there_are():
    config = parse_config(GOOD, path=PATH, environ=ENVIRON)
    assert config.connection("acme-TEST") is config.connection(config.connections[0].sid)
    with pytest.raises(ConfigError, match=r'no connection .acme.; did you mean "acme-TEST"\? \(there are: acme-TEST\)'):
        config.connection("acme")


def test_job_of_a_further_register_is_known_when_it_is_named():
    text = GOOD.replace("GetSuppliers", "GetWidgets")
    assert any("is no job" in line for line in problems(text))
    assert parse_config(text, path=PATH, environ=ENVIRON, jobs=["GetWidgets"]).connections[0].jobs[0].job == "GetWidgets"


@pytest.mark.parametrize("job", ["ExportInvoices", "CancelInvoices", "GetPaymentDates", "ExportPayments"])
def test_documents_need_a_day_from_which_they_are_touched(job):
    text = GOOD.replace("StartOn = 2026-01-01\n", "").replace('job = "GetSuppliers"', f'job = "{job}"')
    (problem,) = problems(text)
    assert "acme/connect.toml:" in problem
    assert f'jobs[0].job = "{job}": needs StartOn, a date such as 2026-01-01, in GeneralSettings' in problem


def test_a_documents_lock_outlives_a_write():
    (problem,) = problems(GOOD.replace("sage_slots = 6", "sage_slots = 6\nsage_write_timeout_s = 200"))
    assert "document_lock_s = 150.0: must be longer than sage_write_timeout_s = 200" in problem


def test_payments_need_the_rest_api_whatever_carries_the_registers():
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(("rest_url", "rest_user")))
    text = text.replace('register_transport = "rest"', 'register_transport = "soap"').replace("GetSuppliers", "ExportPayments")
    (problem,) = problems(text)
    assert "ExportPayments" in problem
    assert "needs rest_url, rest_user: Rillion Pay is read over Prime's REST API" in problem
    assert parse_config(text.replace("active = true", "active = false"), path=PATH, environ=ENVIRON).connections


# -- notifications -----------------------------------------------------------------------------------------------------

CHANNELS = """\
[[notifications]]
name = "ops-mail"
kind = "email"
connections = ["acme-TEST"]
owners = ["operator", "clerk"]
digest_at = "07:00"
timezone = "Europe/Stockholm"
quiet_hours = "22:00-06:00"
smtp_host = "smtp.example.com"
smtp_username = "connect"
smtp_password = "env:SMTP_PASSWORD"
sender = "connect@example.com"
to = ["ops@example.com"]
[[notifications]]
name = "ops-chat"
kind = "slack"
webhook_url = "env:SLACK_URL"
"""
TOLD = GOOD + CHANNELS
AT = GOOD.count("\n")
SECRETS = ENVIRON | {
    "SMTP_PASSWORD": "m41l",
    "SLACK_URL": "https://hooks.example.com/services/T0/B0/s3cr3t",
    "PLAIN": "http://h.example.com/x1y2",
}


@pytest.mark.parametrize(
    ("right", "wrong", "line", "words"),
    [
        ('kind = "email"', 'kind = "mail"', 3, ["notifications[0] (ops-mail).kind", 'one of "email", "slack", "teams"']),
        ('["acme-TEST"]', '["acme-TETS"]', 4, ["is no connection", 'did you mean "acme-TEST"']),
        ('"clerk"]', '"clerks"]', 5, ["owners[1]", 'did you mean "clerk"', '"Sage administrator"']),
        ('"07:00"', '"7 am"', 6, ["digest_at", "is no time of day", '"07:00"']),
        ('"07:00"', '"24:00"', 6, ["is no time of day"]),
        ("Europe/Stockholm", "Europe/Stokholm", 7, ["is no time zone", 'did you mean "Europe/Stockholm"']),
        ('"22:00-06:00"', '"22-6"', 8, ["quiet_hours", '"22:00-06:00"']),
        ('"22:00-06:00"', '"22:00-22:00"', 8, ["two times of day"]),
        ('smtp_host = "smtp.example.com"', "", 1, ["smtp_host: is missing", 'kind = "email" needs it', "smtp.example.com"]),
        ('smtp_host = "smtp.example.com"', 'smtp_host = "smtp.example.com"\nsmtp_tls = "none"', 10, ["only for this machine"]),
        ('smtp_host = "smtp.example.com"', 'smtp_host = "smtp.example.com"\nsmtp_port = 0', 10, ["the mail server's port"]),
        ('smtp_username = "connect"', "", 1, ["smtp_username: is missing", "go together"]),
        ('"env:SMTP_PASSWORD"', '"m41l"', 11, ["a secret does not stand in the file"]),
        ('"env:SMTP_PASSWORD"', '"env:SMTP_PASWORD"', 11, ["SMTP_PASWORD is not set", '"SMTP_PASSWORD"']),
        ('sender = "connect@example.com"', 'sender = "Connect"', 12, ["is no address"]),
        ('to = ["ops@example.com"]', "to = []", 13, ["to: is missing", '["ops@example.com"]']),
        ('"ops@example.com"]', '"ops@example.com, b@example.com"]', 13, ["to[0]", "is no address"]),
        ('"ops@example.com"]', '"ops@example.com\\nBcc: b@example.com"]', 13, ["to[0]", "is no address"]),
        ('name = "ops-chat"', 'name = "ops-mail"', 15, ["another channel has this name"]),
        ('webhook_url = "env:SLACK_URL"', "", 14, ["webhook_url: is missing", 'kind = "slack" needs it']),
        ('webhook_url = "env:SLACK_URL"', 'webhook_url = "https://hooks.example.com/T0"', 17, ["a secret does not stand in the file"]),
        ('"env:SLACK_URL"', '"env:PLAIN"', 17, ["webhook_url: http is only for this machine"]),
        ('"env:SLACK_URL"', '"env:SLACK_URL"\nsmtp_host = "a"', 18, ['goes with kind = "email" alone']),
        ('"env:SLACK_URL"', '"env:SLACK_URL"\nimmediate = false', 18, ["nothing would ever be sent"]),
        ('"env:SLACK_URL"', '"env:SLACK_URL"\nmin_light = "green"', 18, ['one of "amber", "red"']),
        ('"env:SLACK_URL"', '"env:SLACK_URL"\nquiet_minute = 5', 18, ['did you mean "quiet_minutes"']),
        ('"env:SLACK_URL"', '"env:SLACK_URL"\nquiet_minutes = -1', 18, ["minutes in which nothing more is said"]),
    ],
)
def test_mistake_in_a_channel_is_named_like_any_other(right, wrong, line, words):
    assert right in CHANNELS
    found = problems(GOOD + CHANNELS.replace(right, wrong, 1), SECRETS)
    assert any(f"{PATH}:{AT + line}: " in one and all(word in one for word in words) for one in found), found
    for secret in ("m41l", "s3cr3t", "x1y2", "h.example.com"):
        assert secret not in "".join(found)


def test_channels_are_read_and_their_secrets_are_hidden():
    config = parse_config('console_url = "https://connect.example.com/"\n' + TOLD, path=PATH, environ=SECRETS)
    mail, chat = config.notifications
    assert (mail.smtp_port, mail.smtp_tls, mail.quiet_minutes, mail.min_light) == (587, "starttls", 60, "amber")
    assert chat.webhook_url is not None
    assert chat.webhook_url.get_secret_value() == SECRETS["SLACK_URL"]
    assert config.console_url == "https://connect.example.com"
    shown = config.model_dump_json(by_alias=True) + repr(config)
    assert not any(secret in shown for secret in ("m41l", "s3cr3t"))


def test_certificates_of_a_mail_server_are_looked_for_beside_the_configuration():
    text = TOLD.replace('sender = "connect', 'smtp_ca_file = "mail-ca.pem"\nsender = "connect')
    assert parse_config(text, path=PATH, environ=SECRETS).notifications[0].smtp_ca_file == PATH.parent / "mail-ca.pem"


def test_owners_of_channels_are_those_of_the_catalogue():
    assert get_args(Owner) == OWNERS


def test_channel_that_the_readme_shows_is_right():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (shown,) = (
        block for block in re.findall(r"^```toml\n(.+?)^```", readme, flags=re.MULTILINE | re.DOTALL) if "[[notifications]]" in block
    )
    top, table, rest = shown.partition("[[notifications]]")
    config = parse_config(top + GOOD + table + rest, path=PATH, environ=SECRETS)
    assert [channel.name for channel in config.notifications] == ["ops-mail"]
