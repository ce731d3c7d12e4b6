"""[redis]: a URL, Sentinels, users, certificates; what does not go together is said; no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect.config import ConfigProblems, parse_config

ENVIRON = {"PASSWORD": "s3cret", "OUTER": "0uter", "USER": "connect"}


def read(keys: str) -> object:
    with pytest.raises(ConfigProblems) as raised:  # there are no connections: of [redis], nothing may be wrong
        parse_config(f"[redis]\n{keys}\n", path=Path("acme/connect.toml"), environ=ENVIRON)
    return [line for line in raised.value.problems if "connections: is missing" not in line]


GOOD = [
    'url = "redis://a:6379/1"\nusername = "env:USER"\npassword = "env:PASSWORD"',
    'url = "rediss://a"\ntls_ca_file = "ca.pem"\ntls_cert_file = "c.pem"\ntls_key_file = "k.pem"\ntls_server_name = "redis"',
    'url = "unix:///run/redis.sock"\nusername = "connect"\npassword = "env:PASSWORD"',
    'sentinels = ["a:26379", "[::1]:26379"]\nsentinel_master = "x"\nsentinel_username = "s"\nsentinel_password = "env:OUTER"\ndb = 2',
    'sentinels = ["a:26379"]\ntls = true\nsentinel_tls = false\ntls_ca_file = "ca.pem"',
]
WRONG = [
    ('url = "redis://a"\npassword = "s3cret"', "redis.password: a secret does not stand in the file"),
    ('sentinels = ["a:1"]\nsentinel_password = "0uter"', "redis.sentinel_password: a secret does not stand in the file"),
    ('url = "redis://a"\nusername = "env:NOBODY"', "the environment variable NOBODY is not set"),
    ('url = "redis://a"\nsentinels = ["b:1"]', "go in place of url"),
    ('sentinels = ["b"]', "'b' is no address of a Sentinel"),
    ('sentinels = ["b:x"]', 'expected "host:port"'),
    ('url = "redis://a"\ndb = 3', "redis.db = 3: goes with sentinels"),
    ('url = "rediss://a"\ntls = true', "redis.tls = true: goes with sentinels"),
    ('url = "rediss://a"\ntls_cert_file = "c.pem"', "a certificate and its key go together"),
    ('url = "redis://a"\ntls_ca_file = "c.pem"', 'redis.tls_ca_file = "c.pem": is for TLS; write the URL as rediss://'),
    ('url = "redis://:pw@a"\npassword = "env:PASSWORD"', "redis.password: stands in the URL as well"),
]


@pytest.mark.parametrize("keys", GOOD)
def test_what_goes_together_is_taken(keys: str) -> None:
    assert read(keys) == []


@pytest.mark.parametrize(("keys", "expected"), WRONG)
def test_what_does_not_go_together_is_said_and_no_secret_with_it(keys: str, expected: str) -> None:
    found = read(keys)
    assert any(expected in line for line in found), found
    assert "s3cret" not in str(found)
    assert "0uter" not in str(found)


def test_certificates_are_found_beside_the_file_and_secrets_are_never_printed() -> None:
    text = (Path(__file__).parents[3] / "deploy" / "sandbox.toml").read_text()
    text = text.replace("[redis]", f"[redis]\n{GOOD[3]}\ntls = true\ntls_ca_file = 'ca.pem'\npassword = 'env:PASSWORD'", 1)
    environ = ENVIRON | {"PRIME_PASSWORD": "p", "CLIENT_SECRET": "c"}
    config = parse_config(text, path=Path("acme/connect.toml"), environ=environ)
    assert config.redis.tls_ca_file == Path("acme/ca.pem")
    assert config.redis.password is not None
    assert config.redis.password.get_secret_value() == "s3cret"
    for shown in (repr(config), config.model_dump_json(by_alias=True)):
        assert "s3cret" not in shown
        assert "0uter" not in shown
