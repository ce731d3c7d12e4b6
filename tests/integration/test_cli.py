"""`connect` as a process: exit codes, one JSON document on stdout, no traceback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp
import orjson
import pytest

from workers.jobs import STAGES

CONFIG = """\
[[connections]]
name = "acme-TEST"
environment = "DEMO"
username = "connect"
password = "env:SECRET"
url = "http://127.0.0.1:1/ws/webService.asmx"
register_transport = "soap"
[connections.lookups.Credentials]
SageTokenUrl = "http://127.0.0.1:1/token"
SageBaseUrl = "http://127.0.0.1:1/ia/api"
SageQueryUrl = "http://127.0.0.1:1/ia/api/v1/services/core/query"
SageRestVersion = "v1"
SageClientId = "c"
SageClientSecret = "env:SECRET"
SageUserName = "rillion@acme"
[connections.lookups.Objects]
DEPARTMENT = 1
LOCATION = 2
[[connections.jobs]]
job = "GetSuppliers"
company = "100"
cron = "0 * * * *"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "connect.toml").write_text(CONFIG)
    return tmp_path


def connect(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONNECT_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        cwd=folder,
        env={**clean, "SECRET": "hunter2", **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    return done


def test_help_shows_the_first_command_to_try(folder):
    done = connect(folder, "--help")
    assert done.returncode == 0
    assert "connect demo" in done.stdout


def test_help_is_quick_because_nothing_heavy_is_imported_for_it():
    help_and_modules = (
        "import runpy, sys\n"
        "sys.argv = ['connect', '--help']\n"
        "try: runpy.run_module('workers.cli', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", help_and_modules], capture_output=True, text=True, timeout=100, check=True)
    assert "connect demo" in done.stdout
    loaded = set(done.stderr.split())
    assert loaded & {"aiohttp", "arq", "cryptography", "lxml", "pydantic", "redis", "structlog"} == set()
    assert {name for name in loaded if name.startswith("connect.")} <= {"connect.errors"}


@pytest.mark.parametrize(
    "words",
    [
        ["demo"], ["sandbox"], ["run"], ["worker"], ["sync"], ["status"], ["version"], ["dead-letters"],
        ["dead-letters", "list"], ["dead-letters", "show"], ["dead-letters", "replay"], ["dead-letters", "discard"],
        ["config"], ["config", "check"], ["config", "show"], ["config", "schema"], ["config", "pull"], ["config", "push"],
        ["config", "secrets"], ["schedule"], ["take-over"], ["init"], ["promote"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_explains_itself(folder, words):
    done = connect(folder, *words, "--help")
    assert done.returncode == 0
    assert "Usage: connect " + " ".join(words) in done.stdout


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["run", "--nonsense"], ["worker", "nonsense"], ["sandbox", "--sage-port", "x"], ["demo", "--size", "tiny"]],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(folder, words):
    done = connect(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_good_configuration_is_right(folder):
    done = connect(folder, "config", "check")
    assert done.returncode == 0
    assert "connect.toml is right" in done.stdout


def test_check_as_json_is_one_document(folder):
    good = connect(folder, "config", "check", "--json")
    assert orjson.loads(good.stdout) == {"ok": True, "file": "connect.toml", "problems": [], "warnings": []}
    (folder / "connect.toml").write_text(CONFIG.replace("LOCATION = 2", "LOCATION = 9"))
    bad = connect(folder, "config", "check", "--json")
    assert bad.returncode == 2
    assert "LOCATION = 9" in orjson.loads(bad.stdout)["problems"][0]


@pytest.mark.parametrize(
    "words", [["run", "--until-idle"], ["worker", "fetch"], ["sync"], ["status"], ["dead-letters", "list"]], ids=" ".join
)
def test_wrong_configuration_is_exit_2_with_file_line_and_key(folder, words):
    (folder / "connect.toml").write_text(CONFIG.replace("LOCATION", "LOCATON"))
    done = connect(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        'connect.toml:18: connections[0] (acme-TEST).lookups.Objects.LOCATON = 2: is no dimension of Sage; did you mean "LOCATION"?'
        in done.stderr
    )


def test_missing_configuration_is_named(folder):
    done = connect(folder, "status", "--config", "nowhere.toml", "--json")
    assert done.returncode == 2
    assert "nowhere.toml: there is no such file" in done.stderr
    assert orjson.loads(done.stdout)["error"]["class"] == "ConfigProblems"


def test_configuration_is_taken_from_the_environment(folder):
    (folder / "connect.toml").rename(folder / "other.toml")
    done = connect(folder, "config", "check", CONNECT_CONFIG="other.toml")
    assert "other.toml is right" in done.stdout


def test_shown_configuration_hides_secrets(folder):
    with (folder / "connect.toml").open("a") as file:
        file.write('[redis]\nurl = "redis://user:hunter2@127.0.0.1:6379/0"\n')
    done = connect(folder, "config", "show", "--json")
    shown = orjson.loads(done.stdout)
    assert shown["connections"][0]["password"] == "**********"
    assert shown["redis"]["url"] == "redis://user:***@127.0.0.1:6379/0"


def test_schema_describes_every_key(folder):
    schema = orjson.loads(connect(folder, "config", "schema").stdout)
    assert schema["$defs"]["GeneralSettings"]["properties"]["InvertRate"]["description"]


def test_schedule_is_the_plan_of_a_day_and_what_does_not_fit_is_a_warning(folder):
    text = CONFIG.replace('cron = "0 * * * *"', 'every = "1d"\noffset_minutes = 420')
    text = text.replace('name = "acme-TEST"', 'name = "acme-TEST"\ntimezone = "Europe/Stockholm"\nmaintenance = ["Tue 06:30-09:00"]')
    (folder / "connect.toml").write_text(text + '[[connections.jobs]]\njob = "GetAccounts"\ncompany = "200"\nevery = "5m"\n')
    done = connect(folder, "schedule", "--day", "2026-03-03", "--json")
    (plan,) = orjson.loads(done.stdout)["connections"]
    assert (plan["timezone"], plan["spacing_minutes"]) == ("Europe/Stockholm", 8)
    assert plan["maintenance"] == [{"from": "2026-03-03T06:30:00+01:00", "until": "2026-03-03T09:00:00+01:00"}]
    assert plan["missed"][0]["job"] == "GetAccounts"
    (suppliers,) = (one for one in plan["starts"] if one["job"] == "GetSuppliers")
    assert (suppliers["due_at"], suppliers["companies"]) == ("2026-03-03T07:00+01:00", ["100"])
    assert suppliers["at"] == "2026-03-03T09:08+01:00", "GetAccounts of 06:30 has waited longer"
    assert not [one for one in plan["starts"] if "06:30" <= one["at"][11:16] < "09:00"]
    assert "GetAccounts of company 200 is due" in connect(folder, "config", "check").stderr
    assert "Sage's maintenance 06:30 to 09:00: nothing starts" in connect(folder, "schedule", "--day", "2026-03-03").stdout


def test_version_is_told(folder):
    assert connect(folder, "version").stdout.startswith("connect 0.1.0")
    assert orjson.loads(connect(folder, "version", "--json").stdout)["version"] == "0.1.0"


def test_options_of_one_time_work_are_refused_without_until_idle(folder):
    done = connect(folder, "run", "--full")
    assert done.returncode == 2
    assert "--until-idle" in done.stderr


# -- surroundings that do not play along ------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["localhost:6379", "foo://bar", "redis://127.0.0.1:x/0"])
def test_redis_url_that_is_none_is_wrong_configuration(folder, url):
    for words in (["status"], ["run"], ["worker", "write"]):
        done = connect(folder, *words, REDIS_URL=url)
        assert done.returncode == 2
        assert "expected redis://host:6379/0 in REDIS_URL" in done.stderr


def test_redis_that_is_down_is_named(folder):
    done = connect(folder, "status", "--json", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "Redis does not serve us" in orjson.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("data_dir", ["a-file", "a-file/below", "/sys/connect"])
def test_data_directory_that_cannot_be_used_is_wrong_configuration(folder, data_dir):
    (folder / "a-file").touch()
    with (folder / "connect.toml").open("a") as file:
        file.write(f'[redis]\ndata_dir = "{data_dir}"\n')
    done = connect(folder, "status")
    assert (done.returncode, done.stdout) == (2, "")
    assert "give a directory that can be written as [redis] data_dir" in done.stderr


@pytest.mark.parametrize("side", ["sage", "prime"])
def test_port_that_is_taken_is_named(folder, side):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"sage": 0, "prime": 0} | {side: port}
        done = connect(folder, "sandbox", "--empty", "--sage-port", str(ports["sage"]), "--prime-port", str(ports["prime"]))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(port) in done.stderr
    assert "--sage-port and --prime-port" in done.stderr


@pytest.mark.parametrize("words", [["config", "schema"], ["config", "show"], ["config", "check"]], ids=" ".join)
def test_reader_that_goes_away_is_no_error(folder, words):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as stdout:  # noqa: PTH123 - a descriptor
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *words],
            cwd=folder, env={**os.environ, "SECRET": "x"}, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_said(folder):
    with Path("/dev/full").open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", "config", "schema"],
            cwd=folder, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"connect: the result could not be written to stdout: No space left on device\n"


@pytest.mark.parametrize(
    "words",
    [
        "demo", "sandbox", "run", "worker", "sync", "status", "version", "config check", "config show", "config schema",
        "config pull", "config push", "config secrets", "schedule",
        "dead-letters list", "dead-letters show", "dead-letters replay", "dead-letters discard",
    ],
)  # fmt: skip
def test_help_shows_an_example(folder, words):
    shown = " ".join(connect(folder, *words.split(), "--help", COLUMNS="200").stdout.split())
    assert shown.count(f"connect {words}") > 1, shown  # once as its usage


def test_configuration_of_the_sandbox_is_right(folder):
    file = Path(__file__).parents[2] / "deploy" / "sandbox.toml"
    done = connect(folder, "config", "check", "--config", str(file), "--json", PRIME_PASSWORD="a", CLIENT_SECRET="b")
    assert done.returncode == 0
    assert orjson.loads(done.stdout)["warnings"] == []


# -- against the sandbox ----------------------------------------------------------------------------------------------


@contextmanager
def sandbox_process(folder: Path) -> Iterator[dict[str, Any]]:
    """`connect sandbox` with one job's records, as a process; yields its ready line and leaves a connect.toml for it."""
    with subprocess.Popen(
        [sys.executable, "-m", "workers.cli", "sandbox", "--empty", "--sage-port", "0", "--prime-port", "0"],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            ready = orjson.loads(process.stdout.readline())
            (folder / "connect.toml").write_text(configuration(ready))
            yield ready
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0  # Ctrl-C ends it cleanly


def configuration(ready: dict[str, Any]) -> str:
    """CONFIG for a sandbox, with an inactive job besides."""
    sage, prime = ready["sage"], ready["prime"]
    changes = {
        "http://127.0.0.1:1/ws/webService.asmx": prime["url"],
        "http://127.0.0.1:1/token": sage["token_url"],
        "http://127.0.0.1:1/ia/api/v1/services/core/query": sage["query_url"],
        "http://127.0.0.1:1/ia/api": sage["base_url"],
        'SageClientId = "c"': f'SageClientId = "{sage["client_id"]}"',
        'password = "env:SECRET"': 'password = "env:PRIME"',
    }
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(old, new)
    return text + '[[connections.jobs]]\njob = "GetAssets"\ncompany = "100"\nactive = false\n'


SECRETS = {"SECRET": "demo-secret", "PRIME": "demo-password"}


def control(ready: dict[str, Any], path: str, body: Any) -> Any:
    async def call() -> Any:
        base = ready["sage"]["base_url"].partition("/ia/")[0]
        async with aiohttp.ClientSession() as http, http.post(base + path, data=orjson.dumps(body)) as answer:
            return orjson.loads(await answer.read())

    return asyncio.run(call())


def vendors(*numbers: int, name: str = "Vendor") -> dict[str, Any]:
    return {
        "object": "accounts-payable/vendor",
        "mode": "upsert",
        "records": [{"id": f"V{number}", "name": f"{name} {number}"} for number in numbers],
    }


def test_a_row_is_refused_shown_mended_and_replayed(folder):
    with sandbox_process(folder) as ready:
        control(ready, "/_sandbox/sage/load", vendors(1, 2))
        control(ready, "/_sandbox/sage/load", vendors(3, name="too long " * 60))
        first = connect(folder, "run", "--until-idle", "--json", **SECRETS)
        assert first.returncode == 3
        (run,) = orjson.loads(first.stdout)["runs"]
        assert (run["read"], run["sent"], run["refused"]) == (3, 2, 1)

        (item,) = orjson.loads(connect(folder, "dead-letters", "list", "--json", **SECRETS).stdout)["items"]
        assert set(item) - {"approved_by", "belongs_to_prime"} == {
            "id",
            "connection",
            "company",
            "job",
            "kind",
            "number",
            "supplier",
            "error",
            "attempts",
            "first_at",
            "last_at",
            "state",
        }
        assert set(item["error"]) == {"code", "class", "message", "owner", "fix"}
        listed = connect(folder, "dead-letters", "list", **SECRETS).stdout
        assert item["id"] in listed
        assert item["error"]["fix"] in listed
        shown = orjson.loads(connect(folder, "dead-letters", "show", item["id"], "--json", **SECRETS).stdout)
        assert shown["payload"]["id"] == "V3"

        dry = connect(folder, "dead-letters", "replay", "--filter", "code=too_long", "--dry-run", **SECRETS)
        assert (dry.returncode, dry.stderr.splitlines()[-1]) == (0, "would send 1 dead letter again")
        unknown = connect(folder, "dead-letters", "replay", "nosuch", item["id"], **SECRETS)
        assert unknown.returncode == 2
        assert "there is no dead letter nosuch" in unknown.stderr

        control(ready, "/_sandbox/sage/load", vendors(3))
        replayed = connect(folder, "dead-letters", "replay", item["id"], "--wait", "--json", **SECRETS)
        assert replayed.returncode == 0
        assert [run["sent"] for run in orjson.loads(replayed.stdout)["runs"]] == [1]
        again = connect(folder, "dead-letters", "replay", item["id"], "--wait", **SECRETS)
        assert (again.returncode, "is resolved" in again.stderr) == (0, True)
        assert connect(folder, "run", "--until-idle", **SECRETS).returncode == 0


def test_what_nobody_is_there_to_do_is_said_and_done_later(folder):
    with sandbox_process(folder) as ready:
        control(ready, "/_sandbox/sage/load", vendors(1))
        asked = connect(folder, "sync", "--job", "GetSuppliers", "--json", **SECRETS)
        assert orjson.loads(asked.stdout) == {
            "runs": [{"connection": "acme-TEST", "company": "100", "job": "GetSuppliers", "paused": ""}],
            "stages_without_worker": list(STAGES),
        }
        inactive = connect(folder, "sync", "--job", "GetAssets", **SECRETS)
        assert (inactive.returncode, "no active job matches" in inactive.stderr) == (2, True)
        done = connect(folder, "sync", "--wait", "--json", **SECRETS)
        assert sum(run["sent"] for run in orjson.loads(done.stdout)["runs"]) == 1  # what was asked for first may run by itself
        (status,) = orjson.loads(connect(folder, "status", "--json", **SECRETS).stdout)["connections"]
        assert {"name", "company", "state", "reason", "queues", "runs", "dead_letters", "slots", "transactions_month"} <= set(status)
        assert {"job", "state", "read", "sent", "unchanged", "refused", "calls"} <= set(status["runs"][0])
        assert {"depth", "oldest_s", "in_flight"} <= set(status["queues"]["fetch"])
        assert "GetSuppliers" in connect(folder, "status", **SECRETS).stdout


def test_interrupted_run_waits_for_no_answer_and_the_next_one_completes_it(folder):
    with sandbox_process(folder) as ready:
        control(ready, "/_sandbox/sage/load", vendors(*range(50)))
        slow = {"where": "sage:POST /services/core/query", "kind": "latency", "probability": 1, "params": {"ms": 300_000}}
        control(ready, "/_sandbox/faults", {"rules": [slow]})
        with subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "run", "--until-idle"],
            cwd=folder, env={**os.environ, **SECRETS}, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            while "waiting for Sage" not in process.stderr.readline():  # its sweep is on
                pass
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted" in words
        assert "Traceback" not in words
        control(ready, "/_sandbox/faults", {"rules": []})
        done = connect(folder, "run", "--until-idle", "--json", **SECRETS)
        assert done.returncode == 0
        assert sum(run["sent"] for run in orjson.loads(done.stdout)["runs"]) == 50


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_run_replaces_a_killed_worker_and_takes_its_workers_with_it(folder, how):
    (folder / "connect.toml").write_text(CONFIG.replace('cron = "0 * * * *"', "active = false"))
    started: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "workers.cli", "run"],
        cwd=folder, env={**os.environ, "SECRET": "x"}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            _until_started(process.stderr, started, len(STAGES))
            if how == signal.SIGTERM:
                os.kill(next(iter(started.values())), signal.SIGKILL)
                _until_started(process.stderr, started, len(STAGES) + 1)
        finally:
            ended_at = time.monotonic()
            process.send_signal(how)
            returncode = process.wait(60)
    assert returncode == (0 if how != signal.SIGKILL else -signal.SIGKILL)
    sock = folder / ".connect" / "valkey.sock"
    while (alive := [pid for pid in started.values() if Path(f"/proc/{pid}").exists()]) or sock.exists():
        assert time.monotonic() - ended_at < 60, (alive, sock.exists())
        time.sleep(0.05)


def _until_started(log: IO[str], started: dict[str, int], count: int) -> None:
    """Read log lines until so many workers have started; their process ids by owner."""
    for line in log:
        if "worker started" in line:
            owner = orjson.loads(line)["owner"]
            started[owner] = int(owner.split(":")[1])
            if len(started) == count:
                return
