import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from connect.config import Job, RegisterSettings, parse_config
from connect.config.load import key_lines

ENVIRON = {"S": "x"}
TEXT = """\
[[connections]]
name = "a"
environment = "DEMO"
username = "connect"
password = "env:S"
url = "https://prime.example.com/ws/webService.asmx"
register_transport = "soap"
timezone = "Europe/Stockholm"
[connections.lookups.GeneralSettings]
InvertRate = true
KeySource = "key"
[connections.lookups.Credentials]
SageTokenUrl = "https://api.intacct.com/ia/api/v1/oauth2/token"
SageBaseUrl = "https://api.intacct.com/ia/api/"
SageQueryUrl = "https://api.intacct.com/ia/api/v1/services/core/query"
SageRestVersion = "v1"
SageClientId = "c"
SageClientSecret = "env:S"
SageUserName = "rillion@acme|100"
[connections.lookups.Objects]
DEPARTMENT = 1
LOCATION = 2
[[connections.companies]]
company = "200"
[connections.companies.lookups.Objects]
DEPARTMENT = 3
LOCATION = 4
PROJECT = 5
[connections.companies.lookups.GeneralSettings]
KeySource = "id"
[[connections.jobs]]
job = "GetSuppliers"
company = "100"
cron = "0 6 * * *"
[[connections.jobs]]
job = "GetSuppliers"
company = "200"
every = "15m"
"""
NOW = datetime(2026, 10, 18, 12, tzinfo=UTC)


@pytest.fixture
def connection():
    return parse_config(TEXT, path=Path("connect.toml"), environ=ENVIRON).connections[0]


def test_company_has_its_own_objects_as_a_whole_and_settings_key_by_key(connection):
    first, second = connection.register_settings("100"), connection.register_settings("200")
    assert (first.objects, first.key_source, first.invert_rate) == ({"DEPARTMENT": 1, "LOCATION": 2}, "key", True)
    assert (second.objects, second.key_source, second.invert_rate) == ({"DEPARTMENT": 3, "LOCATION": 4, "PROJECT": 5}, "id", True)
    assert (second.company, second.transport, second.expired_on) == ("200", "soap", date(1, 1, 1))


def test_state_id_is_made_of_environment_and_sage_company(connection):
    assert connection.sage_company == "acme"
    assert connection.sid == hashlib.sha256(b"DEMO\nacme").hexdigest()[:16]


def test_url_has_no_slash_at_its_end(connection):
    assert connection.credentials.base_url == "https://api.intacct.com/ia/api"


@pytest.mark.parametrize(
    "change", [{"company": "x"}, {"transport": "rest"}, {"objects": {"DEPARTMENT": 1}}, {"expired_on": date(2000, 1, 1)}]
)
def test_version_changes_with_every_setting(change):
    settings = RegisterSettings("100", "soap", {"DEPARTMENT": 1, "LOCATION": 2})
    assert settings.version() == replace(settings).version()
    assert settings.version() != replace(settings, **change).version()


def test_job_that_never_ran_is_due_and_an_inactive_one_never():
    assert Job(job="GetSuppliers", company="100", cron="0 * * * *").due(None, NOW)
    assert not Job(job="GetSuppliers", company="100", active=False, cron="0 * * * *").due(None, NOW)


def test_cron_job_is_due_when_a_time_has_passed_since_its_last_start(connection):
    job = connection.jobs[0]  # 6:00 in Stockholm is 4:00 UTC in summer
    assert not job.due(datetime(2026, 10, 18, 4, 0, tzinfo=UTC), datetime(2026, 10, 19, 3, 59, tzinfo=UTC))
    assert job.due(datetime(2026, 10, 18, 4, 0, tzinfo=UTC), datetime(2026, 10, 19, 4, 0, tzinfo=UTC))
    assert job.due(datetime(2026, 9, 1, tzinfo=UTC), NOW)


def test_job_with_an_interval_is_due_once_an_interval_without_drift():
    job = Job(job="GetSuppliers", company="100", every="15m", offset_minutes=5)
    starts, last = [], None
    for minute in range(60):
        now = NOW + timedelta(minutes=minute, seconds=20)
        if job.due(last, now):
            starts.append(minute)
            last = now
    assert starts == [0, 5, 20, 35, 50]


def test_job_without_schedule_runs_once():
    job = Job(job="GetSuppliers", company="100")
    assert job.due(None, NOW)
    assert not job.due(NOW - timedelta(days=400), NOW)


def test_lines_of_keys_are_found_around_comments_and_values_over_several_lines():
    lines = key_lines(
        '# c\na = """\n[x]\nb = 1\n"""\nc = [\n  "[d]",\n]\n[t] # note\n"q r" = 1\n[[l]]\n[[l.m]]\n[[l.m]]\nk.j = 2\n[l.n]\no=1\n'
    )
    assert lines == {
        ("a",): 2, ("c",): 6, ("t",): 9, ("t", "q r"): 10, ("l", 0): 11, ("l", 0, "m", 0): 12, ("l", 0, "m", 1): 13,
        ("l", 0, "m", 1, "k", "j"): 14, ("l", 0, "n"): 15, ("l", 0, "n", "o"): 16,
    }  # fmt: skip
