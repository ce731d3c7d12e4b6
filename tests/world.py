"""A sandbox as a process of its own, a configuration that points at it, and `connect` run from outside: what integration tests share."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import orjson
import redis

from connect.state import epoch
from connect.state.embedded import attached

REGISTER_JOBS = (
    "GetDimObjects", "GetAccounts", "GetVatCodes", "GetAssetTypes", "GetAssets", "GetCurrencies", "GetSuppliers", "GetPeriods",
)  # fmt: skip
SECRETS = {"T_PRIME_PASSWORD": "demo-password", "T_PRIME_SECRET": "demo-secret", "T_SAGE_SECRET": "demo-secret"}


class Sandbox:
    """`python -m connect.sandbox` on free ports; control calls by method."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "connect.sandbox", "--sage-port", "0", "--prime-port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the sandbox did not start"
        self.ready: dict[str, Any] = orjson.loads(line)
        self.sage = self.ready["sage"]
        self.prime = self.ready["prime"]
        self.base = self.sage["base_url"].split("/ia/")[0]
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def call(self, path: str, body: Any = None) -> Any:
        """A control call: POST with a body, GET without. A refusal raises with the sandbox's words."""
        request = urllib.request.Request(self.base + path, data=None if body is None else orjson.dumps(body))
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return orjson.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()[:500]!r}") from error

    def load(self, sage_object: str, records: list[dict[str, Any]], mode: str = "insert") -> dict[str, Any]:
        """Load Sage records; all must be taken."""
        answer: dict[str, Any] = {}
        for start in range(0, max(len(records), 1), 20_000):
            answer = self.call("/_sandbox/sage/load", {"object": sage_object, "mode": mode, "records": records[start : start + 20_000]})
            assert not answer["errors"], (sage_object, answer["errors"][:5])
        return answer

    def prime_records(self, kind: str, company: str = "100") -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.call(f"/_sandbox/prime/records?kind={kind}&company={company}")["records"]
        return records

    def sage_records(self, sage_object: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.call(f"/_sandbox/sage/records?object={sage_object}")["records"]
        return records

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.call("/_sandbox/stats")
        return stats


def config_text(
    sandbox: Sandbox,
    *,
    transport: str = "rest",
    slots: int = 6,
    full: bool = True,
    objects: dict[str, int] | None = None,
    jobs: tuple[str, ...] = REGISTER_JOBS,
    companies: tuple[str, ...] = ("100",),
    general: str = "",
    redis_url: str | None = None,
) -> str:
    """A connect.toml for this sandbox."""
    dims = objects or {"DEPARTMENT": 1, "LOCATION": 2}
    job_tables = "".join(
        f'[[connections.jobs]]\njob = "{job}"\ncompany = "{company}"\nevery = "1d"\n' for company in companies for job in jobs
    )
    return f"""
[redis]
{f'url = "{redis_url}"' if redis_url else ""}
data_dir = ".connect"
[[connections]]
name = "acme-TEST"
environment = "{sandbox.prime["environment"]}"
username = "{sandbox.prime["username"]}"
password = "env:T_PRIME_PASSWORD"
url = "{sandbox.prime["url"]}"
rest_url = "{sandbox.prime["rest_url"]}"
rest_identity_url = "{sandbox.prime["identity_url"]}"
rest_tenant = "{sandbox.prime["tenant"]}"
rest_client_id = "{sandbox.prime["client_id"]}"
rest_client_secret = "env:T_PRIME_SECRET"
rest_user = "{sandbox.prime["user"]}"
rest_role = "{sandbox.prime["role"]}"
register_transport = "{transport}"
sage_slots = {slots}
[connections.lookups.GeneralSettings]
IsFullImport = {str(full).lower()}
{general}
[connections.lookups.Credentials]
SageTokenUrl = "{sandbox.sage["token_url"]}"
SageBaseUrl = "{sandbox.sage["base_url"]}"
SageQueryUrl = "{sandbox.sage["query_url"]}"
SageRestVersion = "v1"
SageClientId = "{sandbox.sage["client_id"]}"
SageClientSecret = "env:T_SAGE_SECRET"
SageUserName = "{sandbox.sage["username"]}"
[connections.lookups.Objects]
{"".join(f'"{name}" = {number}' + chr(10) for name, number in dims.items())}
{job_tables}
"""


class Connect:
    """`connect` as a person runs it: a process in a folder with a connect.toml."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        (folder / "connect.toml").write_text(config)
        known = re.search(r'^url = "(unix:.*)"', config, re.MULTILINE)
        with attached(folder / ".connect") if known is None else nullcontext(known[1]) as url, redis.Redis.from_url(url) as client:
            client.set(epoch.KEY, "test:1", nx=True)  # this Redis is new: nobody holds anything from before, so nobody has to wait

    def run(self, *args: str, timeout_s: float = 300, expect: tuple[int, ...] = (0,)) -> str:
        """Run a command; its stdout. The exit code must be one of `expect`."""
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *args],
            cwd=self.folder,
            env=os.environ | SECRETS,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode in expect, f"connect {' '.join(args)}: exit {done.returncode}\n{done.stderr.decode()[-3000:]}"
        return done.stdout.decode()

    def json(self, *args: str, **options: Any) -> Any:
        return orjson.loads(self.run(*args, "--json", **options))

    def sync(self, *args: str, expect: tuple[int, ...] = (0,)) -> None:
        """Every job once, now, until nothing is left to do."""
        self.run("run", "--until-idle", *args, expect=expect)

    def runs(self) -> list[dict[str, Any]]:
        """The runs that `connect status` shows."""
        found: list[dict[str, Any]] = self.json("status")["connections"][0]["runs"]
        return found


def in_flight(client: redis.Redis, pids: set[int]) -> list[int]:
    """The processes that hold a job right now: a lease names its owner as host:pid:mark."""
    found = set()
    for key in client.scan_iter(match="arq:in-progress:*", count=1000):
        owner = client.get(key)
        if owner is not None and int(owner.split(b":")[-2]) in pids:
            found.add(int(owner.split(b":")[-2]))
    return sorted(found)


def wait_until(what: Any, timeout_s: float, step_s: float = 0.1) -> None:
    """Poll until `what()` is true."""
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(step_s)


def vendors(count: int, seed: int = 1) -> Iterator[list[dict[str, Any]]]:
    """Vendors as Sage has them, in batches: keys with gaps and clusters, about 1.2 kB each as a supplier's query sees them."""
    chance = random.Random(seed)
    key, batch = 0, []
    for n in range(count):
        key += chance.choice((1, 1, 1, 1, 2, 3, 7)) if n % 5000 else chance.randrange(1, 100_000)
        batch.append(vendor(key, n, chance))
        if len(batch) == 10_000:
            yield batch
            batch = []
    if batch:
        yield batch


def vendor(key: int, n: int, chance: random.Random) -> dict[str, Any]:
    return {
        "key": str(key),
        "id": f"V{n:07d}",
        "name": f"Vendor {n} {chance.choice(('Ltd', 'GmbH', 'AB', 'Inc & Sons', 'S.A.'))}",
        "status": "inactive" if n % 41 == 0 else "active",
        "isOnHold": n % 97 == 0,
        "doNotPay": n % 89 == 0,
        "taxId": f"SE55{chance.randrange(10**8):08d}01",
        "currency": chance.choice(("USD", "EUR", "SEK")),
        "notes": f"Delivers on weekdays. Contract {chance.randrange(10**9)}. " + "Invoices by e-mail only, one order each. " * 10,
        "contacts": {
            "default": {
                "firstName": chance.choice(("Ann", "Bo", "Cem")),
                "middleName": None if n % 3 else "M.",
                "lastName": chance.choice(("Lee", "Öberg", "Dahl")),
                "email1": f"ap{n}@vendor{n % 977}.example.com",
                "phone1": f"+46 8 {chance.randrange(10**6):06d}",
                "phone2": f"+46 70 {chance.randrange(10**7):07d}",
                "URL1": f"https://vendor{n}.example.com/start",
                "mailingAddress": {
                    "addressLine1": f"{chance.randrange(1, 400)} Long Industrial Street",
                    "addressLine2": f"Building {chance.randrange(1, 40)}",
                    "addressLine3": "Accounts receivable",
                    "city": chance.choice(("Stockholm", "Malmö", "Berlin", "Austin")),
                    "postCode": f"{chance.randrange(10_000, 99_999)}",
                    "country": chance.choice(("Sweden", "Germany", "United States")),
                },
            }
        },
    }


class Workers:
    """Worker processes of one configuration, to be killed and started anew."""

    def __init__(self, connect: Connect, *stages: str) -> None:
        self._connect = connect
        self._processes: dict[subprocess.Popen[bytes], str] = {}
        self._log = (connect.folder / "workers.log").open("ab")
        for stage in stages:
            self.start(stage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def start(self, stage: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "worker", stage],
            cwd=self._connect.folder,
            env=os.environ | SECRETS | {"CONNECT_LOG_FORMAT": "json"},
            stdout=self._log,
            stderr=self._log,
        )
        self._processes[process] = stage

    def pids(self, stage: str = "") -> set[int]:
        """Of one stage, or of all."""
        return {process.pid for process, its in self._processes.items() if stage in ("", its)}

    def kill(self, pid: int) -> str:
        """SIGKILL one and start another of its stage. Returns the stage."""
        process = next(one for one in self._processes if one.pid == pid)
        stage = self._processes.pop(process)
        process.kill()
        process.wait()
        self.start(stage)
        return stage

    def check_alive(self) -> None:
        """Workers end when they are told to, not by themselves."""
        ended = {stage: process.returncode for process, stage in self._processes.items() if process.poll() is not None}
        assert not ended, f"ended by themselves: {ended}; see {self._log.name}"
