"""Test or production: a name, an id, an address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connect.config.load import parse_config
from connect.config.stages import PARTNER_CLIENT, misplaced, stage_of, stage_of_name
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
