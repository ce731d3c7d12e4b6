"""The user of deploy/valkey/connect.acl: everything works with these rights, and with nothing more."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import approved
import pytest
import redis
from redis_servers import server
from world import Connect, Sandbox, config_text, vendors

pytestmark = pytest.mark.timeout(300)
ACL = (Path(__file__).parents[2] / "deploy" / "valkey" / "connect.acl").read_text()
PASSWORD = "a password"


def granted() -> list[str]:
    return re.findall(r" \+([a-z|]+)", ACL)


def test_the_whole_pipeline_runs_with_the_documented_rights(tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text(ACL.replace("REPLACE_BY_SHA256_OF_THE_PASSWORD", hashlib.sha256(PASSWORD.encode()).hexdigest()))
    (tmp_path / "password").write_text(PASSWORD + "\n")
    login = {"username": "connect", "password": PASSWORD}
    with server(tmp_path / "redis", f"aclfile {tmp_path}/users.acl", client=login) as port, Sandbox("--empty") as box:
        approved.fill(box)
        box.load("accounts-payable/vendor", next(vendors(50))[1:])
        approved.load(box, approved.invoice(1), approved.invoice(2, supplier="V404"))
        text = config_text(box, jobs=("GetSuppliers", "ExportInvoices"), general=approved.GENERAL)
        reached = f'url = "redis://127.0.0.1:{port}/2"\nusername = "connect"\npassword = "file:password"'
        text = text.replace("sage_slots", "settle_s = 0.5\nsage_slots", 1)
        connect = Connect(tmp_path, text)
        (tmp_path / "connect.toml").write_text(text.replace('data_dir = ".connect"', reached, 1))
        with redis.Redis(port=port, db=2, **login) as client:
            client.set("connect:epoch", "test:1")
            connect.sync(expect=(3,))

            (letter,) = connect.json("dead-letters", "list", "--filter", "text=V404")["items"]
            connect.run("dead-letters", "show", letter["id"])
            connect.run("dead-letters", "discard", letter["id"], "--reason", "no such supplier")
            connect.run("audit", "verify")
            connect.run("trace", "INV-1")
            connect.run("status")
            assert PASSWORD not in connect.run("config", "show")
            connect.run("backup", str(tmp_path / "b.gz"))
            connect.run("restore", str(tmp_path / "b.gz"), "--force")
            assert approved.receipts(box) == {1: ["1"], 2: ["2"]}
            refused = [
                ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "LIST"), ("CLIENT", "LIST"),
                ("REPLICAOF", "NO", "ONE"), ("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"), ("MONITOR",), ("SAVE",),
                ("GET", "others"), ("SET", "others", "1"), ("PUBLISH", "a", "b"),
            ]  # fmt: skip
            for command in refused:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command)


def sources() -> str:
    root = Path(__file__).parents[2]
    return "\n".join(file.read_text() for folder in ("connect", "workers") for file in (root / folder).rglob("*.py"))


def test_no_right_is_granted_that_nobody_uses() -> None:
    source = sources().lower().replace(".delete(", ".del(").replace("register_script(", "(evalsha)(script|load)(script|exists)")
    source = source.replace("pipeline(transaction=true", "(multi)(exec)")
    by_the_client = {"ping", "select", "discard", "unwatch"}  # redis-py's own: a health check, the database, leaving a transaction
    used = set(re.findall(r"[a-z|]+", source)) | by_the_client
    assert [name for name in granted() if name not in used] == []


def test_every_command_that_is_used_is_granted() -> None:
    found = {name.lower() for name in re.findall(r"redis\.call\('([A-Z]+)'", sources())}
    found |= set(re.findall(r"\b(?:redis|_redis|pipe)\.([a-z_]+)\(", sources()))
    found = {{"delete": "del", "scan_iter": "scan"}.get(name, name).removesuffix("_iter") for name in found}
    found -= {"aclose", "call", "execute", "model_copy", "execute_command", "lock", "pipeline", "register_script", "startswith"}
    found -= {"config_get"}  # the doctor's, who does without where it is refused
    found -= {"config_set"}  # of a plan's own server
    assert sorted(found - set(granted())) == []
