"""Test or production: a name, an id, an address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connect.config.load import parse_config
from connect.config.stages import PARTNER_CLIENT, misplaced, shared, stage_of, stage_of_name
from connect.config.toml import dump
from connect.setup.answers import parse
from connect.setup.tables import tables
from tests.answers import GOOD


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("https://acme-test.example.com/ws/webService.asmx", "test"),
        ("https://prod.acme.example.com/ws/webService.asmx", "production"),
        ("https://acme.example.com/ws/webService.asmx", None),
        ("https://contest.example.com", None),
        ("http://127.0.0.1:8802/ws/webService.asmx", "test"),
        ("env:ACME_PROD_SAGE_SECRET", "production"),
        ("rillion@acme-sandbox", "test"),
        ("TEST-PROD", None),
        ("DEMO", "test"),
    ],
)
def test_an_address_says_what_it_is_of_by_its_words(text, stage):
    assert stage_of(text) == stage


@pytest.mark.parametrize(
    ("name", "stage"), [("acme-TEST", "test"), ("Acme Test", "test"), ("acme-PROD", "production"), ("acme", None), ("prod-acme", None)]
)
def test_a_name_says_it_at_its_end(name, stage):
    assert stage_of_name(name) == stage


def test_what_is_of_the_other_stage_is_found():
    values = {
        "url": "https://acme-prod.example.com/ws",
        "environment": "ACME",
        "SageClientId": PARTNER_CLIENT,
        "SageUserName": "r@acme-test",
    }
    assert [key for key, _ in misplaced("acme-TEST", values)] == ["url", "SageClientId"]
    assert [key for key, _ in misplaced("acme-PROD", values)] == ["SageUserName"]
    assert list(misplaced("acme", values)) == []


def test_config_check_points_it_out_with_its_line():
    config = parse_config(
        dump(tables(parse(GOOD.replace("test.app.sage.com", PARTNER_CLIENT), Path("answers.toml")))),
        path=Path("connect.toml"),
        environ={"ACME_TEST_SAGE_SECRET": "x", "ACME_TEST_PRIME_PASSWORD": "x"},
    )
    (said,) = config.warnings
    assert re.match(
        r"connect\.toml:\d+: connections\[0\] \(acme-TEST\)\.lookups\.Credentials\.SageClientId: is the client id for production", said
    )


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("https://acme.example.com/ws", "https://acme-prod.example.com/ws", "url"),
        ('environment = "DEMO"', 'environment = "ACME_PROD"', "environment"),
        ('username = "rillion@acme"', 'username = "rillion@acme-prod"', "lookups.Credentials.SageUserName"),
        ('client_id = "test.app.sage.com"', 'client_id = "test.app.sage.com"\nclient_secret = "env:ACME_PROD_SAGE_SECRET"', None),
    ],
)
def test_config_check_points_out_production_under_a_test(old, new, key):
    assert old in GOOD
    config = parse_config(
        dump(tables(parse(GOOD.replace(old, new), Path("answers.toml")))),
        path=Path("connect.toml"),
        environ={"ACME_TEST_SAGE_SECRET": "x", "ACME_TEST_PRIME_PASSWORD": "x", "ACME_PROD_SAGE_SECRET": "x"},
    )
    found = [line for line in config.warnings if "looks like production, and acme-TEST is a test" in line]
    if key is None:  # where a secret is kept is not known any more once it is read; `connect init` and `promote` say it
        assert config.warnings == ()
    else:
        assert re.match(rf"connect\.toml:\d+: connections\[0\] \(acme-TEST\)\.{re.escape(key)}: ", found[0]), config.warnings


PRODUCTION = {"url": "https://acme.example.com/ws", "SageClientSecret": "s", "SageUserName": "rillion@acme", "rest_url": "https://a/api"}


def test_a_test_that_has_what_production_has_is_found_without_any_word_in_it():
    values = {"acme-TEST": PRODUCTION | {"SageUserName": "rillion@acme-copy"}, "acme-PROD": PRODUCTION}
    assert [key for key, _ in shared("acme-TEST", values["acme-TEST"], values)] == ["url", "SageClientSecret"]
    assert list(shared("acme-PROD", values["acme-PROD"], values)) == []
    assert list(shared("acme-TEST", values["acme-TEST"], {"acme-UAT": PRODUCTION, "acme": PRODUCTION})) == []


def test_config_check_points_out_what_a_test_shares_with_production_and_shows_no_secret():
    test = tables(parse(GOOD, Path("answers.toml")))
    (connection,) = test["connections"]
    lookups = connection["lookups"]
    other = {**connection, "name": "acme-PROD", "environment": "ACME1", "url": "https://acme1.example.com/ws/webService.asmx"}
    other["lookups"] = {**lookups, "Credentials": {**lookups["Credentials"], "SageUserName": "rillion@acme1"}}
    config = parse_config(
        dump({**test, "connections": [connection, other]}),
        path=Path("connect.toml"),
        environ={"ACME_TEST_SAGE_SECRET": "hunter2", "ACME_TEST_PRIME_PASSWORD": "hunter3"},
    )
    found = [line for line in config.warnings if "is what acme-PROD has, which is production" in line]
    assert [line.partition(": ")[2].partition(": ")[0].rpartition(".")[2] for line in found] == [
        "password",
        "SageClientId",
        "SageClientSecret",
    ]
    assert "hunter" not in "".join(config.warnings)
