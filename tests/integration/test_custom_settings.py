"""`connect config pull` and `push` against Prime: rows become a file, a file becomes rows, and no secret travels."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from world import SECRETS, Sandbox, config_text

from connect.config.names import JOBS


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("--empty") as box:
        yield box


@pytest.fixture
def box(sandbox: Sandbox) -> Sandbox:
    sandbox.call("/_sandbox/reset", {})
    return sandbox


def connect(folder: Path, *words: str, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        cwd=folder, env={**os.environ, **SECRETS, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == expect, (done.stdout, done.stderr)
    return done


def rows(box: Sandbox) -> dict[tuple[str, str, str], Any]:
    found = box.call("/_sandbox/prime/records?kind=CustomSetting")["records"]
    return {(one.get("Company", ""), one["Type"], one["Setting"]): orjson.loads(one["Value"]) for one in found}


def put(box: Sandbox, kind: str, setting: str, value: Any, company: str = "") -> None:
    record = {"Type": kind, "Setting": setting, "Value": value if isinstance(value, str) else orjson.dumps(value).decode()}
    box.call("/_sandbox/prime/load", {"kind": "CustomSetting", "records": [record | ({"Company": company} if company else {})]})


def bare(box: Sandbox) -> str:
    """A file that says how Prime is reached, and nothing else."""
    text = config_text(box)
    return text[: text.index("[connections.lookups.GeneralSettings]")]


def credentials(box: Sandbox) -> dict[str, str]:
    found: dict[str, str] = tomllib.loads(config_text(box))["connections"][0]["lookups"]["Credentials"]
    return found


def test_file_goes_to_prime_and_comes_back_without_loss(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "connect.toml").write_text(config_text(box, general='BankAccountMapping = { "0042" = "BOA" }\nStartOn = 2026-01-01'))
    dry = orjson.loads(connect(tmp_path, "config", "push", "--dry-run", "--json").stdout)
    assert (dry["written"], len(dry["rows"]), rows(box)) == (0, 11, {})
    assert "11 rows written" in connect(tmp_path, "config", "push").stderr
    there = rows(box)
    assert there["", "ConnectLookup", "Credentials"]["SageClientSecret"] == "env:T_SAGE_SECRET"
    assert "demo-secret" not in str(there)
    assert there["100", "ConnectJob", "GetSuppliers"] == {"job": "GetSuppliers", "company": "100", "every": "1d"}

    (tmp_path / "new.toml").write_text(bare(box))
    pulled = connect(tmp_path, "config", "pull", "--config", "new.toml")
    assert "Parsed 8 jobs [8 active, 0 disabled], 3 lookups from Prime's CustomSettings." in pulled.stderr
    (tmp_path / "new.toml").write_text(pulled.stdout)
    first, second = (
        orjson.loads(connect(tmp_path, "config", "show", "--json", "--config", name).stdout) for name in ("connect.toml", "new.toml")
    )
    assert first["connections"] == second["connections"]
    again = orjson.loads(connect(tmp_path, "config", "push", "--config", "new.toml", "--json").stdout)
    assert ({one["action"] for one in again["rows"]}, again["written"]) == ({"unchanged"}, 0)
    assert rows(box) == there


def test_the_guides_19_rows_are_12_ignored_jobs_and_7_lookups(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "connect.toml").write_text(bare(box))
    put(box, "ConnectLookup", "GeneralSettings", {"IsFullImport": True})
    put(box, "ConnectLookup", "Credentials", credentials(box))
    for company in ("", "100"):
        put(box, "ConnectLookup", "Objects", {"DEPARTMENT": 1, "LOCATION": 2}, company)
    put(box, "ConnectLookup", "GeneralSettings", {"IsFullImport": False}, "100")
    put(box, "ConnectLookup", "PaymentTexts", {}, "100")
    put(box, "ConnectLookup", "PaymentTexts", {})
    for name in JOBS:
        put(box, "ConnectJob", name, {"active": True}, "556773-1228")
    done = connect(tmp_path, "config", "pull", "--write", "--json", expect=1)
    assert f"Ignored 12 jobs that do not belong to a company of the endpoint {box.prime['url']}:" in done.stderr
    assert "Parsed 0 jobs [0 active, 0 disabled], 7 lookups" in done.stderr
    document = orjson.loads(done.stdout)
    assert {one["reason"] for one in document["ignored"]} == {"company 556773-1228 is not one of this endpoint's (100)"}
    assert (tmp_path / "connect.toml").read_text() == bare(box), "nothing is taken over"


def test_effective_values_name_the_line_the_row_and_the_default_they_come_from(box: Sandbox, tmp_path: Path) -> None:
    text = config_text(box, jobs=("GetSuppliers",))
    (tmp_path / "connect.toml").write_text(text)
    put(box, "ConnectLookup", "GeneralSettings", {"IsFullImport": False, "PaymentCutoffDays": "30"})
    put(box, "ConnectLookup", "GeneralSettings", {"PaymentCutoffDays": 60}, "100")
    shown = {
        (one["scope"], one["key"]): (one["value"], one["source"])
        for one in orjson.loads(connect(tmp_path, "config", "show", "--prime", "--json").stdout)["sources"]
    }
    assert shown["acme-TEST", "GeneralSettings.IsFullImport"] == (False, "Prime, all companies")
    assert shown["acme-TEST", "GeneralSettings.PaymentCutoffDays"] == (30, "Prime, all companies")
    assert shown["acme-TEST, company 100", "GeneralSettings.PaymentCutoffDays"] == (60, "Prime, company 100")
    assert shown["acme-TEST, company 100", "GeneralSettings.IsFullImport"] == (False, "Prime, all companies")
    assert shown["acme-TEST", "GeneralSettings.DateFormat"] == ("yyyy-MM-dd", "default")
    assert shown["acme-TEST", "password"][0] == "env:T_PRIME_PASSWORD"
    plain = {
        (one["scope"], one["key"]): one["source"] for one in orjson.loads(connect(tmp_path, "config", "show", "--json").stdout)["sources"]
    }
    line = text.splitlines().index("IsFullImport = true") + 1
    assert plain["acme-TEST", "GeneralSettings.IsFullImport"] == f"connect.toml:{line}"
    assert plain["acme-TEST", "GeneralSettings.PaymentCutoffDays"] == "default"


def test_wrong_row_is_named_and_leaves_the_file_alone(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "connect.toml").write_text(config_text(box))
    put(box, "ConnectLookup", "Objects", {"DEPARTMENT": 1, "LOCATON": 2}, "100")
    done = connect(tmp_path, "config", "pull", "--write", expect=2)
    assert (
        "CustomSettings ConnectLookup / Objects (company 100): connections[0] (acme-TEST).companies[0].lookups.Objects.LOCATON"
        in done.stderr
    )
    assert 'did you mean "LOCATION"?' in done.stderr
    assert (tmp_path / "connect.toml").read_text() == config_text(box)


def test_written_file_is_whole_keeps_its_mode_and_the_old_one_stays(box: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "connect.toml"
    file.write_text(config_text(box))
    file.chmod(0o640)
    put(box, "ConnectJob", "GetSuppliers", {"active": False}, "100")
    connect(tmp_path, "config", "pull", "--write")
    assert file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "connect.toml.before-pull").read_text() == config_text(box)
    (suppliers,) = (job for job in tomllib.loads(file.read_text())["connections"][0]["jobs"] if job["job"] == "GetSuppliers")
    assert suppliers == {"job": "GetSuppliers", "company": "100", "active": False}


def test_push_to_a_company_that_prime_does_not_have_writes_nothing(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "connect.toml").write_text(config_text(box, companies=("100", "1000")))
    done = connect(tmp_path, "config", "push", expect=2)
    assert "Prime has no company 1000 (it has: 100); nothing is written" in done.stderr
    assert rows(box) == {}


def test_secrets_that_are_missing_are_named_and_none_is_shown(tmp_path: Path, box: Sandbox) -> None:
    text = config_text(box).replace("env:T_PRIME_SECRET", "file:secrets/prime")
    (tmp_path / "connect.toml").write_text(text)
    done = connect(tmp_path, "config", "secrets", "--json", expect=2)
    found = {one["reference"]: one for one in orjson.loads(done.stdout)["secrets"]}
    assert list(found) == ["env:T_PRIME_PASSWORD", "file:secrets/prime", "env:T_SAGE_SECRET"]
    assert "No such file" in found["file:secrets/prime"]["problem"]
    assert found["env:T_SAGE_SECRET"] == {
        "key": "connections[0] (acme-TEST).lookups.Credentials.SageClientSecret",
        "line": text.splitlines().index('SageClientSecret = "env:T_SAGE_SECRET"') + 1,
        "reference": "env:T_SAGE_SECRET",
        "problem": "",
    }
    assert "demo-secret" not in done.stdout + done.stderr
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "prime").write_text("demo-secret")
    assert "missing" not in connect(tmp_path, "config", "secrets").stderr
