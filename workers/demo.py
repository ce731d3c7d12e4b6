"""`connect demo`: the main job on the simulated Sage and Prime, with an embedded Valkey and workers, and what is left to look at.

Everything lies in `.connect/demo` below the current folder: a connect.toml that works with every other command, the secrets it names, and
the state of Redis. The next demo starts with an empty folder again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from connect.config import Config, load_config
from connect.errors import ConfigError, ConnectError
from connect.sandbox.data import MENDED, PLANTED_VENDOR
from connect.state import epoch
from connect.state.dead_letters import DeadLetter
from workers import demo_documents as documents
from workers import letters
from workers.demo_books import Compared, compared
from workers.jobs import ConnectionTools, Tools
from workers.screen import Screen, table
from workers.session import COUNTERS, Outcome, replay_now, run_jobs, session

FOLDER: Final = Path(".connect") / "demo"
VENDORS: Final = "accounts-payable/vendor"
CHANGED: Final = 25
NEW: Final = 3
REMOVED: Final = 2
OBJECTS: Final = {"DEPARTMENT": 1, "LOCATION": 2, "PROJECT": 3, "CLASS": 4}
BY: Final = "demo"  # who edits and replays, for the audit trail
JOBS: Final = (
    "GetDimObjects",
    "GetAccounts",
    "GetVatCodes",
    "GetAssetTypes",
    "GetAssets",
    "GetCurrencies",
    "GetSuppliers",
    "ExportInvoices",
    "ExportPayments",
    "GetPaymentDates",
    "CancelInvoices",
)
_SECRETS: Final = {"password": "prime-password", "rest_client_secret": "prime-client-secret", "SageClientSecret": "sage-client-secret"}


async def run_demo(size: str, screen: Screen) -> int:
    """The whole of it. Returns the exit code: 0 when every step did what it should."""
    started = time.monotonic()
    folder = Path.cwd() / FOLDER
    with _alone(folder):
        screen.say(f"starting a simulated Sage and Prime with a {size} company, and an embedded Valkey in {FOLDER}")
        async with _sandbox(size) as box:
            config = _configuration(folder, box.ready)
            async with session(config) as tools:
                await epoch.begin(tools.redis)  # this Redis and this Sage are new: nobody holds a slot from before
                demo = _Demo(box, tools, screen, started)
                await demo.play()
        demo.show(folder / "connect.toml")
        return demo.exit_code


@dataclass
class _Sandbox:
    """The simulators, in a process of their own; control calls by `call`."""

    ready: dict[str, Any]
    http: aiohttp.ClientSession

    async def call(self, path: str, body: Any = None) -> Any:
        base = self.ready["sage"]["base_url"].partition("/ia/")[0]
        method = "GET" if body is None else "POST"
        async with self.http.request(method, base + path, data=None if body is None else orjson.dumps(body)) as answer:
            said = orjson.loads(await answer.read())
            if answer.status != 200 or (isinstance(said, dict) and said.get("errors")):
                raise ConnectError(f"the sandbox refuses {path}", system="sandbox", detail=orjson.dumps(said)[:500].decode())
            return said

    async def prime(self, kind: str, records: list[dict[str, Any]]) -> None:
        await self.call("/_sandbox/prime/load", {"kind": kind, "records": records})

    async def load(self, records: list[dict[str, Any]], mode: str) -> None:
        await self.call("/_sandbox/sage/load", {"object": VENDORS, "mode": mode, "records": records})


@dataclass
class _Step:
    """`documents`: sent again; they belong to no run."""

    what: str
    outcome: Outcome
    good: bool
    documents: int = 0

    def count(self, counter: str) -> int:
        return _sum(self.outcome, counter) + (self.documents if counter in ("read", "sent") else 0)


@dataclass
class _Demo:
    """The steps, and what came of them."""

    box: _Sandbox
    tools: Tools
    screen: Screen
    started: float
    steps: list[_Step] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    books: Compared | None = None

    @property
    def connection(self) -> ConnectionTools:
        (connection,) = self.tools.connections.values()
        return connection

    async def play(self) -> None:
        self.screen.say("1  full import: every register, from Sage to Prime")
        first = await self._run("full import", full=True, good=lambda done: done.exit_code in (0, 3))
        vendors = (await self.box.call(f"/_sandbox/sage/records?object={VENDORS}"))["records"]
        others = [vendor for vendor in vendors if vendor["id"] != PLANTED_VENDOR]
        self.screen.say(f"2  nothing has changed: import again ({first.seconds:.1f} s the first time)")
        await self._run("import again", good=lambda done: _sum(done, "sent") == 0)
        self.screen.say(f"3  in Sage, {CHANGED} vendors change, {NEW} are new, {REMOVED} are deleted: import again")
        await self._change(others)
        await self._run(
            "after changes",
            job="GetSuppliers",
            good=lambda done: (_sum(done, "sent"), _sum(done, "expired")) == (CHANGED + NEW, REMOVED),
        )
        await self._mend()
        coding = await self._coding(others)
        await self._book(coding)
        await self._edit(coding)
        await self._pay(coding)
        await self._cancel()
        await self._compare()

    async def _run(self, what: str, *, good: Any, **options: Any) -> Outcome:
        outcome = await run_jobs(self.tools, self.screen, **options)
        self.steps.append(_Step(what, outcome, good(outcome)))
        return outcome

    async def _change(self, vendors: list[dict[str, Any]]) -> None:
        changed = [
            {"key": vendor["key"], "id": vendor["id"], "name": f"{vendor['name']} (renamed)", "notes": "changed by the demo"}
            for vendor in vendors[:CHANGED]
        ]
        new = [
            {"id": f"DEMO-{number}", "name": f"New Vendor {number}", "contacts": {"default": {"email1": f"ap{number}@example.com"}}}
            for number in range(1, NEW + 1)
        ]
        await self.box.load(changed, "upsert")
        await self.box.load(new, "insert")
        await self.box.load([{"key": vendor["key"]} for vendor in vendors[-REMOVED:]], "delete")

    async def _mend(self) -> None:
        """The planted refusal: shown, mended in Sage, replayed."""
        found = await self._letters("GetSuppliers")
        self.refused = [letter.item(self.connection.connection.name) for letter in found]
        for item in self.refused:
            self.screen.say(
                f"4  refused: {item['job']} {item['number']} ({item['supplier'][:40]}): {item['error']['message'][:160]}\n"
                f"   whose turn: {item['error']['owner']}; {item['error']['fix']}"
            )
        self.screen.say("   mended in Sage, and the dead letter replayed")
        await self.box.load([{"id": PLANTED_VENDOR} | MENDED], "upsert")
        outcome = await replay_now(self.tools, self.screen, ids=[item["id"] for item in self.refused], wait=True, by=BY)
        left = await self._letters("GetSuppliers")
        self.steps.append(_Step("mended, replayed", outcome, bool(self.refused) and not left and _sum(outcome, "sent") == 1))

    async def _letters(self, job: str) -> list[DeadLetter]:
        """The open ones of a job."""
        return (await self.connection.dead_letters.find({"job": job}))[1]

    async def _coding(self, vendors: list[dict[str, Any]]) -> documents.Coding:
        """What the simulated Sage has, to code invoices on."""
        good = [
            one["id"] for one in vendors[CHANGED:]
            if one["status"] == "active" and not one["isOnHold"] and not one["doNotPay"] and one["state"] == "a"
        ]  # fmt: skip
        accounts = (await self.box.call("/_sandbox/sage/records?object=general-ledger/account"))["records"]
        account = next(
            one["id"] for one in accounts
            if one["status"] == "active" and one["accountType"] == "incomeStatement" and not one.get("disallowDirectPosting")
            and not any(value is True for name, value in one.get("requireDimensions", {}).items() if name not in ("location", "department"))
        )  # fmt: skip
        values = {}
        for name in ("department", "location"):
            records = (await self.box.call(f"/_sandbox/sage/records?object=company-config/{name}"))["records"]
            values[name] = next(one["id"] for one in records if one["status"] == "active")
        return documents.Coding(good, account, values["department"], values["location"], self.tools.clock().date())

    async def _book(self, coding: documents.Coding) -> None:
        """Invoices approved in Prime, with a PDF each, become bills in Sage."""
        self.screen.say(
            f"5  in Prime, {documents.INVOICES} invoices are approved, one of them a credit note: book them\n"
            "   (one is of a supplier unknown in Sage; one is coded on a wrong account, its vendor on hold)"
        )
        await self.box.load([{"id": coding.vendors[documents.HELD], "isOnHold": True}], "upsert")
        invoices = documents.invoices(coding)
        await self.box.prime("Invoice", invoices)
        await self.box.prime("Image", [documents.image(one) for one in invoices])
        await self._run(
            "invoices to bills",
            job="ExportInvoices",
            good=lambda done: (_sum(done, "sent"), _sum(done, "refused")) == (documents.INVOICES - 2, 2),
        )
        for letter in await self._letters("ExportInvoices"):
            where = "back to Prime" if letter.error.get("held_by") == "Prime" else "waits here"
            self.screen.say(f"   {where}: invoice {letter.number}: {letter.error['message'][:160]}")

    async def _edit(self, coding: documents.Coding) -> None:
        """What an operator does in `connect dead-letters edit` and `replay`."""
        self.screen.say("6  the one that waits: the hold ends in Sage, the account is changed here, the dead letter replayed")
        await self.box.load([{"id": coding.vendors[documents.HELD], "isOnHold": False}], "upsert")
        waiting = [one.id for one in await self._letters("ExportInvoices") if one.error.get("held_by") != "Prime"]
        for letter in waiting:
            _, changes = await letters.edit(
                self.tools, letter, [f"lines[0].account={coding.account}"], reason="the account does not exist in Sage", by=BY
            )
            self.screen.say(f"   {'; '.join(one.text for one in changes)}")
        outcome = await replay_now(self.tools, self.screen, ids=waiting, wait=True, by=BY)
        left = [one for one in await self._letters("ExportInvoices") if one.error.get("held_by") != "Prime"]
        good = len(waiting) == outcome.letters == 1 and not left
        self.steps.append(_Step("edited, replayed", outcome, good, documents=outcome.letters))

    async def _pay(self, coding: documents.Coding) -> None:
        """Payments settled in Rillion Pay become AP payments in Sage; what Sage has paid in full gets its date in Prime."""
        settled = documents.payments(await self._invoices(), coding)
        self.screen.say(
            f"7  Rillion Pay has settled {len(settled)} payments: a whole invoice, two instalments, a part,\n"
            "   and three that Sage cannot take (scenarios 2, 4 and 5 of the guide)"
        )
        await self.box.prime("Payment", settled)
        await self._run(
            "payments",
            job="ExportPayments",
            good=lambda done: (_sum(done, "sent"), _sum(done, "refused")) == (documents.SETTLED, len(settled) - documents.SETTLED),
        )
        for letter in await self._letters("ExportPayments"):
            self.screen.say(f"   waits for the {letter.error['owner']}: {letter.error['message'][:180]}")
        self.screen.say("8  Prime is told when invoices were paid in full")
        await self._run("payment dates", job="GetPaymentDates", good=lambda done: _sum(done, "sent") == 2)

    async def _cancel(self) -> None:
        self.screen.say(f"9  in Prime, invoice {documents.SERIES}-{documents.number(documents.CANCELLED)} is cancelled")
        await self.box.prime("Invoice", [documents.cancellation(documents.CANCELLED)])
        await self._run("cancellation", job="CancelInvoices", good=lambda done: _sum(done, "sent") == 1)

    async def _invoices(self) -> list[dict[str, Any]]:
        """As Prime has them now."""
        found: list[dict[str, Any]] = (await self.box.call(f"/_sandbox/prime/records?kind=Invoice&company={documents.COMPANY}"))["records"]
        return found

    async def _compare(self) -> None:
        books = await self.box.call("/_sandbox/books")
        receipts = (await self.box.call(f"/_sandbox/prime/records?kind=PaymentReceipt&company={documents.COMPANY}"))["records"]
        found = self.books = compared(books, await self._invoices(), receipts)
        if found.agree:
            self.screen.say(
                f"10 the books of both sides agree: {found.bills} bills of {found.billed:,} USD, none twice, each with its file; "
                f"{found.payments} payments of {found.paid:,} USD; {found.dates} payment dates"
            )
        else:
            self.screen.say("10 the books of both sides do NOT agree:" + "".join(f"\n   {one}" for one in found.differences))

    @property
    def exit_code(self) -> int:
        return 0 if all(step.good for step in self.steps) and self.books is not None and self.books.agree else 1

    def show(self, config: Path) -> None:
        """The summary."""
        document = {
            "steps": [{"step": step.what, "ok": step.good} | step.outcome.document() for step in self.steps],
            "refused": self.refused,
            "books": self.books.document() if self.books is not None else None,
            "config": str(config),
            "exit_code": self.exit_code,
        }
        self.screen.result(document, lambda: self._human(config))

    def _human(self, config: Path) -> None:
        rows = [
            (
                step.what,
                *(step.count(name) for name in COUNTERS),
                f"{step.outcome.seconds:.1f}",
                "ok" if step.good else "NOT AS EXPECTED",
            )
            for step in self.steps
        ]
        table(("step", *COUNTERS, "seconds", ""), rows, right=(*COUNTERS, "seconds"))
        here = config.relative_to(Path.cwd())
        command = _command()
        refused = "".join(f"  {command} dead-letters show {item['id']} --config {here}\n" for item in self.refused[:1])
        self.screen.say(
            f"\nDone in {time.monotonic() - self.started:.1f} s. Look further:\n"
            f"  {command} status --config {here}\n"
            f"  {command} dead-letters list --config {here}            # left on purpose: what is wrong, and whose turn it is\n"
            f"{refused}"
            f"  {command} trace {documents.supplier_number(documents.PAID)} --config {here}            # the story of an invoice\n"
            f"  {command} audit list --config {here}                   # who edited and replayed what\n"
            f"  {command} config show --config {here}\n"
            f"  {command} sandbox                      # the simulators alone, for a configuration of your own\n"
            f"  {command} --help"
        )


def _command() -> str:
    """How this program was called, so that what is printed can be typed: `connect` when the shell finds it, else its path."""
    program = Path(sys.argv[0])
    if shutil.which(program.name) == str(program.absolute()):
        return program.name
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


def _sum(outcome: Outcome, counter: str) -> int:
    return sum(getattr(record, counter) for _, record in outcome.runs)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """An empty folder that no other demo uses. Raises ConfigError when it cannot be had."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / "demo.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"the demo keeps its files in {folder}, which cannot be written ({error.strerror}); run it in a folder of your own"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another demo is running in {folder.parent}; wait for it, or run this one in another folder") from None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield


@contextlib.asynccontextmanager
async def _sandbox(size: str) -> AsyncIterator[_Sandbox]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "connect.sandbox", "--sage-port", "0", "--prime-port", "0", "--size", size, "--sage-latency-ms", "20",
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise ConnectError("the sandbox did not start; its words are above", system="sandbox")
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            yield _Sandbox(orjson.loads(line), http)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _configuration(folder: Path, ready: dict[str, Any]) -> Config:
    """A connect.toml for this sandbox, with its secrets in files beside it."""
    sage, prime = ready["sage"], ready["prime"]
    secrets = {"password": prime["password"], "rest_client_secret": prime["client_secret"], "SageClientSecret": sage["client_secret"]}
    for name, value in secrets.items():
        path = folder / _SECRETS[name]
        path.touch(mode=0o600)
        path.write_text(value)
    jobs = "".join(
        f'[[connections.jobs]]\njob = "{job}"\ncompany = "{company}"\nevery = "1h"\n' for company in ready["companies"] for job in JOBS
    )
    (folder / "connect.toml").write_text(f"""\
# Made by `connect demo`: the simulated Sage and Prime of the last demo. They have ended, their state in Redis is still here.
[redis]
data_dir = "redis-{os.getpid()}"

[[connections]]
name = "demo-TEST"
environment = "{prime["environment"]}"
username = "{prime["username"]}"
password = "file:{_SECRETS["password"]}"
url = "{prime["url"]}"
register_transport = "rest"
rest_url = "{prime["rest_url"]}"
rest_identity_url = "{prime["identity_url"]}"
rest_tenant = "{prime["tenant"]}"
rest_client_id = "{prime["client_id"]}"
rest_client_secret = "file:{_SECRETS["rest_client_secret"]}"
rest_user = "{prime["user"]}"
rest_role = "{prime["role"]}"
sage_slots = 6
# The simulated Sage answers at once and its queries lag behind nothing, so a cancellation need not wait for minutes. Not for a real Sage.
settle_s = 0.5
sage_write_timeout_s = 1.5
document_lock_s = 2

[connections.lookups.GeneralSettings]
IsFullImport = true
StartOn = {datetime.now(UTC).date() - timedelta(days=60)}
BillDateSource = "InvoiceDate"
CreditNotes = "NegativeBill"
BankAccountMapping = {{ "1234" = "BA1145" }}
ShowInvoiceBaseURL = "{prime["url"].rpartition("/ws/")[0]}"

[connections.lookups.Credentials]
SageTokenUrl = "{sage["token_url"]}"
SageBaseUrl = "{sage["base_url"]}"
SageQueryUrl = "{sage["query_url"]}"
SageRestVersion = "v1"
SageClientId = "{sage["client_id"]}"
SageClientSecret = "file:{_SECRETS["SageClientSecret"]}"
SageUserName = "{sage["username"]}"

[connections.lookups.Objects]
{"".join(f"{name} = {number}{chr(10)}" for name, number in OBJECTS.items())}
{jobs}""")
    return load_config(folder / "connect.toml")
