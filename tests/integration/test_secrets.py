"""Planted secrets are found nowhere: in no log, output, error text or traceback, in no value or key of Redis, nor in what it wrote to disk.

Both systems repeat whole requests in their errors here, as debug pages do; what Redis ever held is in its append-only file.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from xml.sax.saxutils import escape

import approved
import orjson
import pytest
import redis
import settled
from world import Connect, Sandbox, config_text

from connect.state.embedded import attached

pytestmark = pytest.mark.timeout(300)
TESTS = Path(__file__).resolve().parents[1]
PASSWORD, REST, SAGE = 'Pa<ss>w&rd "of" Prime', "rest/secret+of=Prime", "sage-secret/of=Sage+1"
VENDOR_IBAN, PAY_IBAN = "SE4550000000058398257466", "NO9386011117947"
REDIS_PASSWORD = "redis'pass:word"
JOBS = ("GetSuppliers", "ExportInvoices", "ExportPayments", "GetPaymentDates", "CancelInvoices")
ECHOES = [
    {"side": "sage", "in": "/oauth2/token", "status": 500, "times": 1},
    {"side": "sage", "in": "/services/core/composite", "status": 422, "times": 1},
    {"side": "sage", "in": "/services/core/query", "status": 500, "times": 2},
    {"side": "sage", "in": "objects/accounts-payable/payment ", "status": 422, "times": 1},
    {"side": "prime", "in": "/connect/token", "status": 500, "times": 1},
    {"side": "prime", "in": "/Authorize", "status": 500, "times": 1},
    {"side": "prime", "in": "SendInvoiceReply", "status": 500, "times": 2},
    {"side": "prime", "in": "ListInvoicesReadyForFinalRecording", "status": 500, "times": 2},
    {"side": "prime", "in": "PUT /api/v1.0/supplier ", "status": 400, "times": 1},
    {"side": "prime", "in": "payment/receipt", "status": 400, "times": 1},
]


class Echoing(Sandbox):
    """tests/echoing_box.py, to be used as the sandbox that it is."""

    def __init__(self, folder: Path) -> None:
        self.tokens = folder / "tokens.txt"
        self.repeated = folder / "repeated.txt"
        self.tokens.touch()
        asked = {
            "secrets": {"password": PASSWORD, "rest": REST, "sage": SAGE},
            "echoes": ECHOES,
            "tokens": str(self.tokens),
            "repeated": str(self.repeated),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "echoing_box.py"), orjson.dumps(asked).decode()], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.ready = orjson.loads(self._process.stdout.readline())
        self.sage, self.prime = self.ready["sage"], self.ready["prime"]
        self.base = self.sage["base_url"].split("/ia/")[0]
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self


class Operator:
    """Commands in a folder, with everything logged; `heard` is all that was written."""

    def __init__(self, connect: Connect) -> None:
        self.folder = connect.folder
        self.heard = b""

    def type(self, *commands: tuple[str, ...], log_format: str) -> str:
        """Run them; their stdout."""
        environ = {"T_PRIME_PASSWORD": PASSWORD, "T_PRIME_SECRET": REST, "T_SAGE_SECRET": SAGE, "T_REDIS": REDIS_PASSWORD}
        environ |= {"CONNECT_LOG_FORMAT": log_format, "CONNECT_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "", "TMPDIR": str(self.folder)}
        done = subprocess.run(
            [sys.executable, str(TESTS / "commands.py")],
            cwd=self.folder, env=os.environ | environ, input=orjson.dumps(commands), capture_output=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        self.heard += done.stdout + done.stderr
        return done.stdout.decode()


def letters(redis_url: str) -> dict[str, str]:
    """Number -> id of every dead letter."""
    with redis.Redis.from_url(redis_url) as client:
        return {
            orjson.loads(facts)["number"]: key.decode().rpartition(":")[2]
            for key in client.scan_iter("connect:*:dl:*")
            if client.type(key) == b"hash" and (facts := client.hget(key, "facts")) is not None
        }


def fill(box: Sandbox) -> None:
    """Suppliers with bank accounts, one of which Prime does not take; invoices to book, to mend, to hand back; payments."""
    approved.fill(box)
    box.load("accounts-payable/vendor", [{"key": "900", "id": "V900", "name": "too long " * 60}])
    box.load(
        "accounts-payable/vendor-account-number",
        [
            {"key": "1", "id": "1", "vendorAccountNumber": VENDOR_IBAN, "vendor": {"key": "900"}},
            {"key": "2", "id": "2", "vendorAccountNumber": VENDOR_IBAN, "vendor": {"id": "V1"}},
        ],
    )
    box.load("cash-management/checking-account", [{"id": "BOA"}])
    box.call("/_sandbox/prime/load", {"kind": "PaymentConfiguration", "records": [{"company": "100", "bankAccountIdentifier": 42}]})
    approved.load(
        box,
        approved.invoice(1, SupplierBankAccount=PAY_IBAN),
        approved.invoice(2, supplier="V2", account="6999", SupplierBankAccount=PAY_IBAN),
        approved.invoice(3, supplier="V404", SupplierBankAccount=PAY_IBAN),
        approved.invoice(4),
    )


def pay(box: Sandbox) -> None:
    keys = {int(number): str(one.get("VoucherNo")) for number, one in approved.invoices(box).items()}
    secret = {"details": {"instrumentNumber": PAY_IBAN}, "supplierInvoiceNo": "INV-1"}
    settled.pay(
        box,
        settled.payment(1, keys[1], "25.00", name="a", **secret),
        settled.payment(1, keys[1], "1000.00", name="b", **secret),
        settled.payment(1, keys[1], "30.00", name="c", **secret | {"paymentMethod": "VirtualCard"}),
    )


def broken(redis_url: str, letter: str) -> None:
    """The unexpected: a letter and a document that cannot be read. What stumbles over them says so with a traceback."""
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter("connect:*"):
            if key.decode().endswith(f":dl:{letter}"):
                client.hset(key, "facts", "{broken")
            elif b":doc:" in key and client.type(key) == b"hash":
                client.delete(key)
                client.set(key, "broken")


def everything_in(redis_url: str) -> Iterator[tuple[str, bytes]]:
    """(key, each key, field and value) of a Redis."""
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(count=1000):
            name = key.decode(errors="replace")
            yield name, key
            kind = client.type(key)
            if kind == b"string":
                yield name, client.get(key)
            elif kind == b"hash":
                yield from ((name, part) for pair in client.hgetall(key).items() for part in pair)
            elif kind == b"list":
                yield from ((name, part) for part in client.lrange(key, 0, -1))
            elif kind == b"set":
                yield from ((name, part) for part in client.smembers(key))
            elif kind == b"zset":
                yield from ((name, part) for part in client.zrange(key, 0, -1))
            elif kind == b"stream":
                yield from ((name, part) for _, fields in client.xrange(key) for pair in fields.items() for part in pair)
            else:
                raise AssertionError(f"{name} is a {kind!r}, which is not looked into")


def spellings(secret: str) -> set[bytes]:
    """How a secret may be written: plainly, in XML, a form, JSON, Python, hex, base64 at any offset."""
    raw = secret.encode()
    found = {
        raw, escape(secret).encode(), escape(secret, {'"': "&quot;"}).encode(), urllib.parse.quote_plus(secret).encode(),
        urllib.parse.quote(secret).encode(), orjson.dumps(secret)[1:-1], repr(secret)[1:-1].encode(), raw.hex().encode(),
    }  # fmt: skip
    for shift in range(3):
        packed = base64.b64encode(b"x" * shift + raw)
        found.add(packed[(0, 2, 3)[shift] : len(packed) // 4 * 4 - 4])
    return found


def leaks(secrets: dict[str, str], places: Iterator[tuple[str, bytes]]) -> set[tuple[str, str]]:
    """(secret's name, place) wherever a secret stands in any spelling."""
    sought = {name: spellings(secret) for name, secret in secrets.items()}
    found = set()
    for place, content in places:
        looked = [content]
        if content[:2] == b"\x1f\x8b":
            looked.append(gzip.decompress(content))
        found |= {(name, place) for name, known in sought.items() if any(spelling in part for spelling in known for part in looked)}
    return found


def test_planted_secrets_are_found_nowhere(tmp_path: Path) -> None:
    with Echoing(tmp_path) as box, attached(tmp_path / ".connect") as url:
        fill(box)
        general = 'StartOn = 2026-01-01\nBankAccountMapping = { "0042" = "BOA" }\nBillDateSource = "InvoiceDate"'
        text = config_text(box, jobs=JOBS, general=general)
        fast = "settle_s = 0.5\nsage_write_timeout_s = 1\ndocument_lock_s = 2\nsage_slots"
        me = Operator(Connect(tmp_path, text.replace("sage_slots", fast, 1)))
        (tmp_path / "other.toml").write_text(
            text.replace("[redis]", '[redis]\nurl = "redis://127.0.0.1:1/0"\nusername = "u"\npassword = "env:T_REDIS"', 1)
        )

        run = ("run", "--until-idle")
        me.type(run, run, log_format="json")
        pay(box)
        approved.load(box, {"InvoiceSeries": "1", "InvoiceNo": 4, "Status": 2}, images=0)
        me.type(run, run, ("dead-letters", "list", "--json"), log_format="console")
        ids = letters(url)
        assert {"1-2", "1-3", "V900", "PAY-b"} <= ids.keys(), ids
        box.load("accounts-payable/vendor", [{"id": "V2", "name": "Vendor 2", "isOnHold": False}], mode="upsert")
        held, payment, supplier = ids["1-2"], ids["PAY-b"], ids["V900"]
        said = me.type(
            *(("dead-letters", "show", one, *more) for one in ids.values() for more in ((), ("--json",))),
            ("dead-letters", "edit", held, "--set", "lines[0].account=6000", "--reason", "closed", "--as", "ann"),
            ("dead-letters", "approve", payment, "--as", "ann"),
            ("dead-letters", "replay", held, payment, supplier, "--wait", "--as", "bo"),
            ("dead-letters", "discard", payment, "--reason", "by hand", "--as", "bo"),
            ("trace", "1-2"), ("trace", "INV-1", "--json"), ("trace", "PAY-b"), ("status",), ("status", "--json"),
            ("config", "show"), ("config", "show", "--json"), ("config", "check"), ("errors", "unknown"), ("audit", "list", "--json"),
            ("config", "show", "--config", "other.toml"), ("status", "--config", "other.toml"),
            log_format="json",
        )  # fmt: skip
        *ends, last = re.findall(r"^exit (\d)$", said, re.MULTILINE)
        assert (set(ends), last) == ({"0", "3"}, "1"), "what is replayed is refused again; there is no other Redis"
        assert approved.invoices(box)[2]["queue"] == "receipted", "edited, replayed, booked"
        broken(url, supplier)
        me.type(("dead-letters", "show", supplier), run, ("status",), log_format="console")
        me.type(("dead-letters", "list"), run, log_format="json")

        tokens = box.tokens.read_text().split()
        assert len(tokens) >= 3, "Sage's, the identity server's and Prime's"
        secrets = {"Prime's password": PASSWORD, "Prime's client secret": REST, "Sage's client secret": SAGE, "a bank account": VENDOR_IBAN}
        secrets |= {"another bank account": PAY_IBAN, "Redis's password": REDIS_PASSWORD}
        secrets |= {f"token {n}": token for n, token in enumerate(tokens)}
        assert b"Traceback" in me.heard + b"".join(path.read_bytes() for path in tmp_path.glob("connect-error-*.txt"))
        assert sorted(box.repeated.read_text().splitlines()) == sorted(one["in"] for one in ECHOES for _ in range(one["times"]))
        assert b"Bearer ***" in me.heard, "what was repeated has been shown, without its secrets"
        (supplier_of_prime,) = [one for one in box.prime_records("Supplier") if one["Supplier"] == "V1"]
        assert [one["BankAccount"] for one in supplier_of_prime["SupplierBankAccount"]] == [VENDOR_IBAN], "it has been through here"

        def places() -> Iterator[tuple[str, bytes]]:
            yield "what the commands wrote", me.heard
            yield from everything_in(url)
            for path in tmp_path.rglob("*"):
                if path.is_file() and path not in (box.tokens, box.repeated):
                    yield str(path.relative_to(tmp_path)), path.read_bytes()

        assert leaks(secrets, places()) == set()

        with redis.Redis.from_url(url) as client:  # and it would have been found
            client.hset("connect:planted", "a", base64.b64encode(f"xy{PASSWORD}".encode()))
            client.xadd("connect:planted:stream", {"b": gzip.compress(f"said {tokens[0]}".encode())})
            client.set(f"connect:planted:{VENDOR_IBAN}", "")
        (tmp_path / ".connect" / "planted.txt").write_text(urllib.parse.urlencode({"client_secret": REST, "other": SAGE}))
        me.heard += orjson.dumps({"iban": PAY_IBAN, "password": REDIS_PASSWORD})
        found = leaks(secrets, places())
        assert {name for name, _ in found} >= set(secrets) - {f"token {n}" for n in range(1, len(tokens))}
        assert {place for _, place in found} >= {"connect:planted", "connect:planted:stream", f"connect:planted:{VENDOR_IBAN}"}
