"""`connect console`: users and tokens, who may act on the command line, and where the page may listen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from pipeline import config_text

from workers import cli

PASSWORD = "correct horse battery"


@pytest.fixture
def folder(tmp_path: Path, valkey: str, redis: Any) -> Path:
    (tmp_path / "connect.toml").write_text(
        config_text(names=("acme", "other"), jobs=("GetSuppliers",)) + f'[redis]\nurl = "{valkey}"\n', encoding="utf-8"
    )
    return tmp_path


def environ(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONNECT_", "REDIS_"))}
    return {**clean, "SECRET": "hunter2", **more}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def connect(folder: Path, *words: str, stdin: str = "", **more: str) -> Done:
    """The command in this process: starting one takes longer than most of what is tested here."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.chdir(folder)
        patch.setattr(sys, "stdin", StringIO(stdin))
        for name in set(os.environ) - set(environ()):
            patch.delenv(name)
        for name, value in environ(**more).items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            cli.main(words)
    structlog.reset_defaults()
    assert "an error of this program" not in err.getvalue()
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def json(folder: Path, *words: str, **more: str) -> Any:
    done = connect(folder, *words, "--json", **more)
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout)


def add(folder: Path, name: str, role: str, *words: str) -> str:
    """A user with a token."""
    json(folder, "console", "add-user", name, "--role", role, *words, CONNECT_PASSWORD=PASSWORD)
    return str(json(folder, "console", "token", "create", "--user", name, "--label", "test")["text"])


def test_without_users_the_name_is_taken_as_given_and_with_them_a_token_says_it(folder):
    sync = ("sync", "--job", "GetSuppliers", "--connection", "acme")
    done = connect(folder, *sync, "--as", "ann")
    assert (done.returncode, "no user exists yet" in done.stderr) == (0, True)
    tokens = {role: add(folder, role, role) for role in ("viewer", "operator", "approver", "admin")}

    done = connect(folder, *sync, "--as", "operator")
    assert (done.returncode, "the token in CONNECT_TOKEN is missing" in done.stderr) == (1, True)
    done = connect(folder, *sync, CONNECT_TOKEN="connect_000000000000_" + "A" * 43)
    assert (done.returncode, "is not valid" in done.stderr) == (1, True)
    done = connect(folder, *sync, "--as", "admin", CONNECT_TOKEN=tokens["operator"])
    assert (done.returncode, "is operator's; leave --as out" in done.stderr) == (2, True)
    for role, expected in (("viewer", 1), ("approver", 1), ("operator", 0), ("admin", 0)):
        done = connect(folder, *sync, CONNECT_TOKEN=tokens[role])
        assert done.returncode == expected, (role, done.stderr)
        assert expected == 0 or f"{role} has the role {role}, and this needs operator" in done.stderr
    assert connect(folder, *sync, "--as", "Operator", CONNECT_TOKEN=tokens["operator"]).returncode == 0
    entries = json(folder, "audit", "list", "--connection", "acme")["entries"]
    assert [entry["by"] for entry in entries] == ["ann", "operator", "admin", "operator"]


def test_who_is_limited_to_a_connection_acts_on_that_alone(folder):
    add(folder, "boss", "admin")
    token = add(folder, "bo", "operator", "--connection", "acme")
    done = connect(folder, "sync", "--connection", "other", CONNECT_TOKEN=token)
    assert (done.returncode, "no connection 'other'" in done.stderr) == (2, True)
    started = json(folder, "sync", CONNECT_TOKEN=token)
    assert [run["connection"] for run in started["runs"]] == ["acme"]


def test_users_and_tokens_are_made_listed_changed_and_removed(folder):
    token = add(folder, "Ann", "admin")
    (folder / "password").write_text(PASSWORD + "2\n")
    assert connect(folder, "console", "add-user", "bo", "--role", "viewer", "--password-file", "password").returncode == 0
    assert connect(folder, "console", "add-user", "cy", "--role", "viewer", "--password-file", "-", stdin=PASSWORD + "\n").returncode == 0
    assert connect(folder, "console", "add-user", "di", "--role", "viewer", "--no-password").returncode == 0
    json(folder, "console", "change-user", "bo", "--role", "operator", "--connection", "acme")
    users = {user["name"]: user for user in json(folder, "console", "list-users")["users"]}
    assert {name: (user["role"], user["connections"], user["has_password"]) for name, user in users.items()} == {
        "ann": ("admin", [], True), "bo": ("operator", ["acme"], True), "cy": ("viewer", [], True), "di": ("viewer", [], False),
    }  # fmt: skip
    (kept,) = json(folder, "console", "token", "list")["tokens"]
    assert (kept["user"], kept["text"]) == ("ann", None)
    assert token not in connect(folder, "console", "token", "list").stdout
    assert connect(folder, "console", "token", "revoke", kept["id"]).returncode == 0
    assert connect(folder, "console", "set-password", "bo", CONNECT_PASSWORD=PASSWORD).returncode == 0
    assert connect(folder, "console", "remove-user", "cy").returncode == 0
    for words, why in (
        (("add-user", "bo", "--role", "viewer"), "there is a user bo already"),
        (("add-user", "a b", "--role", "viewer"), "is no user name"),
        (("add-user", "ed", "--role", "viewer", "--connection", "acm"), 'did you mean "acme"'),
        (("remove-user", "ann"), "is the last admin"),
        (("remove-user", "nobody"), "there is no user"),
        (("token", "revoke", "nonsense"), "there is no token"),
        (("add-user", "ed", "--role", "viewer", "--password-file", "nowhere"), "cannot be read"),
    ):
        done = connect(folder, "console", *words, CONNECT_PASSWORD=PASSWORD)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    done = connect(folder, "console", "set-password", "bo")
    assert (done.returncode, "give --password-file FILE" in done.stderr) == (2, True)
    done = connect(folder, "console", "set-password", "bo", CONNECT_PASSWORD="short")
    assert (done.returncode, "12 to 1024 are possible" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--host", "0.0.0.0"), "would travel unencrypted"),
        (("--host", "10.1.2.3"), "would travel unencrypted"),
        (("--host", "0.0.0.0", "--trusted-proxy", "10.0.0.1"), "--public-host"),
        (("--trusted-user-header", "X-User"), "whose word counts"),
        (("--tls-cert", "a"), "go together"),
        (("--tls-cert", "a", "--tls-key", "b"), "--tls-cert a"),
    ],
)
def test_where_it_would_not_be_safe_the_console_does_not_listen(folder, words, why):
    done = connect(folder, "console", *words)
    assert (done.returncode, done.stdout, why in done.stderr) == (2, "", True), done.stderr


def test_the_console_answers_until_it_is_told_to_end(folder):
    json(folder, "console", "add-user", "ann", "--role", "admin", CONNECT_PASSWORD=PASSWORD)
    with subprocess.Popen(
        [sys.executable, "-m", "workers.cli", "console", "--port", "0"], cwd=folder, env=environ(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = ""
        while "the console is at" not in line:
            line = process.stderr.readline()
            assert line, "it has ended"
        url = line.split()[-1]
        try:
            assert asyncio.run(look(url)) == (200, 401, 200, "/login?next=/")
            taken = connect(folder, "console", "--port", url.rstrip("/").rpartition(":")[2])
            assert (taken.returncode, "give another --port" in taken.stderr) == (2, True)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


async def look(url: str) -> tuple[int, int, int, str]:
    async with aiohttp.ClientSession(url) as http:
        async with http.get("/login") as page:
            text = await page.text()
        async with http.get("/api/v1/status") as api:
            pass
        css = text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        async with http.get(css) as style:
            pass
        async with http.get("/", allow_redirects=False) as first:
            return page.status, api.status, style.status, first.headers["Location"]
