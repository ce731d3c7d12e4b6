"""Where the console listens, whom it believes, and where it sends people."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from connect.errors import ConfigError
from workers.console import security
from workers.console.render import ago, duration, number, sparkline, static_files
from workers.console.security import Listening, client_address, host_of, is_same_origin, is_secure, listening, local_path


def asked(headers=None, peer="127.0.0.1"):
    request = make_mocked_request("GET", "/", headers=headers or {})
    return request.clone(remote=peer)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "console.example.com", "192.168.1.1"])
def test_listening_to_others_without_encryption_is_refused_with_the_reason(host):
    with pytest.raises(ConfigError, match=r"would travel unencrypted.*--tls-cert.*--trusted-proxy"):
        listening(host, 8080, hosts=["console.example.com"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_this_machine_alone_needs_no_encryption(host):
    assert listening(host, 8080).host == host


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls_cert": "x"}, "go together"),
        ({"proxies": ["nonsense"]}, "expected an address or a network"),
        ({"proxies": ["0.0.0.0/0"]}, "everybody"),
        ({"proxies": ["::/0"]}, "everybody"),
        ({"user_header": "X-User"}, "needs --trusted-proxy"),
        ({"user_header": "X User", "proxies": ["10.0.0.1"]}, "expected a header's name"),
        ({"host": "0.0.0.0", "proxies": ["10.0.0.1"]}, "--public-host"),
    ],
)
def test_settings_that_are_not_safe_are_refused_in_words(options, words):
    with pytest.raises(ConfigError, match=words):
        listening(**{"host": "127.0.0.1", "port": 1} | options)


def test_a_certificate_that_is_none_is_said(tmp_path):
    for name in ("cert", "key"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ConfigError, match="--tls-cert"):
        security.tls_context(listening("0.0.0.0", 1, tls_cert=tmp_path / "cert", tls_key=tmp_path / "key", hosts=["x"]))


PROXIED = listening("10.0.0.9", 8080, proxies=["10.0.0.1", "2001:db8::/64"], hosts=["connect.example.com"])


@pytest.mark.parametrize(
    ("peer", "said", "found"),
    [
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.5", "203.0.113.5"),  # what the client itself claims stands further left
        ("10.0.0.1", "203.0.113.5, 10.0.0.1", "203.0.113.5"),
        ("::ffff:10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("2001:db8::7", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.2", "203.0.113.5", "10.0.0.2"),  # nobody whose word counts
    ],
)
def test_whose_request_it_is_is_believed_of_the_proxy_alone(peer, said, found):
    assert client_address(PROXIED, asked({"X-Forwarded-For": said}, peer)) == found


def test_what_a_stranger_says_of_encryption_is_not_believed():
    plain = Listening()
    assert not is_secure(plain, asked({"X-Forwarded-Proto": "https"}))
    local_proxy = listening("127.0.0.1", 1, proxies=["127.0.0.1"])
    assert is_secure(local_proxy, asked({"X-Forwarded-Proto": "https"}))
    assert not is_secure(local_proxy, asked({"X-Forwarded-Proto": "http"}))
    assert is_secure(PROXIED, asked({"X-Forwarded-Proto": "http"}, "10.0.0.1"))  # never a cookie that could travel unencrypted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("localhost:8080", "localhost"), ("127.0.0.1", "127.0.0.1"), ("[::1]:8080", "::1"), ("Connect.Example.com", "connect.example.com"),
        ("", ""), ("a@b", ""), ("a/b", ""), ("a:b", ""), ("[", ""), ("a?b", ""), ("localhost:99999", ""),
    ],
)  # fmt: skip
def test_the_name_in_a_host_header(text, found):
    assert host_of(text) == found


@pytest.mark.parametrize("text", ["/", "/runs?job=a&x=%2F%2Fb", "/a/b#c", "/?next=//x"])
def test_paths_of_ours_are_gone_on_to(text):
    assert local_path(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)",
        "evil",
        "/\t/evil.example",
        "/\n/evil.example", " //evil.example", "/a\r\nSet-Cookie: x=y", "/\0",
        "/é", "/a\\b", "/" + "a" * 2001, "http:evil", "data:text/html,x",
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(text):
    assert local_path(text) == "/"


def test_a_form_from_another_port_or_scheme_is_from_elsewhere():
    host = {"Host": "127.0.0.1:8080"}
    assert is_same_origin(asked(host))
    assert is_same_origin(asked(host | {"Origin": "http://127.0.0.1:8080"}))
    assert not is_same_origin(asked(host | {"Origin": "http://127.0.0.1:9090"}))
    assert not is_same_origin(asked(host | {"Origin": ""}))


def test_files_are_named_by_what_they_hold():
    files = static_files()
    assert {"console.css", "console.js", "icon.svg"} <= set(files)
    assert all(one.url == f"/static/{one.digest}/{name}" for name, one in files.items())
    for name in ("console.css", "console.js", "icon.svg"):
        text = files[name].body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text  # nothing from elsewhere


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations_are_read_by_people(seconds, words):
    assert duration(seconds) == words


def test_numbers_and_times_are_read_by_people():
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert [number(value) for value in (0, 12345, None, "", "x")] == ["0", "12,345", "–", "–", "x"]
    assert ago((now - timedelta(minutes=5)).isoformat(), now) == "5 min ago"
    assert ago(now + timedelta(hours=1), now) == "in 1 h"
    assert [ago(value, now) for value in ("", None, "nonsense")] == ["never"] * 3


@pytest.mark.parametrize("values", [[], [0], [5], [0, 0], [1, 5, 2], [10**9] * 3])
def test_a_chart_stays_in_its_frame(values):
    chart = sparkline(values)
    for corner in chart["line"].split():
        x, y = map(float, corner.split(","))
        assert 0 <= x <= chart["width"]
        assert 0 <= y <= chart["height"]
