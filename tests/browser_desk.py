"""The console for a browser: a sandbox, a Valkey, workers and the console itself, over a morning's work as an operator finds it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import approved
from aiohttp import web
from world import Connect, Sandbox, config_text

from connect.config import load_config
from connect.errors import Permanent
from connect.registers import REGISTERS
from connect.state.samples import Sample, Samples
from connect.state.users import Users
from workers import acts
from workers.console.app import build_app
from workers.console.security import Listening
from workers.jobs import ConnectionTools, Tools
from workers.screen import Screen
from workers.session import run_jobs, session

T = TypeVar("T")
EVIL = "<script>document.title='taken'</script>\"'><img src=x onerror=alert(1)><svg/onload=alert(2)>{{7*7}}" + "W" * 60
EVIL_LINK = "javascript:alert(3)"
NAMES = (
    "Nordic Office Supplies AB", "Harbour Freight & Storage Ltd", "Lindqvist Consulting", "Müller Werkzeugbau GmbH", "Blue Ridge Energy",
    "Café Sjöstaden", "Ramirez Legal LLP", "Atlas Cleaning Services", "Northern Light Telecom", "Fjord Catering AS",
)  # fmt: skip
JOBS = ("GetAccounts", "GetSuppliers", "ExportInvoices", "ExportPayments")
RETURNED = 36  # invoices that Prime has back
HELD = (7401, 7402, 7403, 7404, 7405)  # invoices that can be changed here: one for each way of working, one that is only looked at


@dataclass
class Desk:
    """The console at `url`; everything of it lives in a thread with an event loop of its own. `do` runs work there."""

    box: Sandbox
    url: str
    tools: Tools
    users: Users
    loop: asyncio.AbstractEventLoop
    payment: str = ""
    logins: dict[str, str] = field(default_factory=dict)

    def do(self, work: Coroutine[Any, Any, T], timeout_s: float = 120) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    @property
    def connection(self) -> ConnectionTools:
        return next(iter(self.tools.connections.values()))

    def letter_id(self, number: int) -> str:
        _, (found,) = self.do(self.connection.dead_letters.find({"number": f"1-{number}"}, states=("open", "replaying", "resolved")))
        return found.id

    def bill(self, number: int, timeout_s: float = 120) -> dict[str, Any]:
        """The bill of an invoice, once it is there."""
        until = time.monotonic() + timeout_s
        while True:
            found = [one for one in self.box.sage_records("accounts-payable/bill") if one["billNumber"] == f"INV-{number}"]
            if found:
                (bill,) = found
                return bill
            assert time.monotonic() < until, f"invoice {number} is not booked"
            time.sleep(0.05)

    def state(self, number: int, state: str, timeout_s: float = 120) -> None:
        """Waits until the invoice's letter is in this state."""
        letter_id, until = self.letter_id(number), time.monotonic() + timeout_s
        while True:
            found = self.do(self.connection.dead_letters.get(letter_id))
            if found is not None and found.state == state:
                return
            assert time.monotonic() < until, found
            time.sleep(0.05)

    def cookie(self, role: str) -> dict[str, str]:
        """A person of this role, logged in."""
        if role not in self.logins:
            self.logins[role] = self.do(self._login(role))
        return {"name": "connect_session", "value": self.logins[role], "url": self.url}

    async def _login(self, role: str) -> str:
        return await self.users.begin(await self.users.add(role, None, role))  # type: ignore[arg-type]

    def plant(self) -> None:
        """Letters and names as somebody would send them who means harm."""
        self.do(self._plant())

    async def _plant(self) -> None:
        made = [
            self.connection.dead_letters.letter(
                company="100", job="GetSuppliers", part="Supplier", kind="Supplier", key=n, number=number, name=EVIL, run="run-1",
                trace="t", payload=json.dumps({"number": number, "name": EVIL, "note": EVIL_LINK}).encode(),
                error=Permanent(f"{EVIL} {EVIL_LINK}", system="prime", code=EVIL[:90], detail=EVIL),
            )
            for n, number in enumerate((EVIL[:100], EVIL_LINK, "../../etc/passwd", "\u202egpj.exe"))
        ]  # fmt: skip
        await self.connection.dead_letters.put_many(made)
        await acts.discard(self.tools, ids=[made[-1].id], reason=EVIL, by="operator")


def page_of(*lines: str) -> bytes:
    """A PDF of one page with these lines on it."""
    text = "BT /F1 20 Tf 60 770 Td 30 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]  # fmt: skip
    found, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(found))
        found += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(found)}\n%%EOF\n"
    return found + tail.encode()


def configuration(box: Sandbox, url: str) -> str:
    """Three customers: one with all jobs, one with registers alone, and one whose Sage does not let us in."""
    first = config_text(box, jobs=JOBS, general=approved.GENERAL, redis_url=url).replace("sage_slots", "settle_s = 0.3\nsage_slots", 1)
    only = config_text(box, jobs=("GetAccounts",), general=approved.GENERAL, redis_url=url)
    one = only[only.index("[[connections]]") :]
    second = one.replace('"acme-TEST"', '"harbour-PROD"').replace('"DEMO"', '"HARBOUR"')
    third = one.replace('"acme-TEST"', '"nordic-PROD"').replace("T_SAGE_SECRET", "T_WRONG_SECRET").replace("@acme", "@nordic")
    return first.replace('"acme-TEST"', '"acme-PROD"') + second + third.replace('"100"', '"300"')


def books(box: Sandbox) -> None:
    """What is in Sage and Prime before the day begins."""
    approved.fill(box)
    vendors = [{"id": f"V{10 + n}", "name": name} for n, name in enumerate(NAMES)]
    box.load("accounts-payable/vendor", [*vendors, {"id": "V2", "name": "Harbour Freight & Storage Ltd", "isOnHold": True}], "upsert")
    box.load("general-ledger/account", [{"id": "6540", "name": "IT services", "status": "inactive", "accountType": "incomeStatement"}])
    approved.load(box, *[approved.invoice(7100 + n, supplier=f"V{10 + n % len(NAMES)}") for n in range(6)])
    returned = [approved.invoice(7200 + n, supplier=f"V{10 + n % len(NAMES)}", account="6540") for n in range(RETURNED)]
    approved.load(box, *returned)
    for number in HELD:
        invoice = approved.invoice(number, supplier="V2", account="6999", Note="Storage in March")
        approved.load(
            box,
            invoice,
            content=page_of("INVOICE", "Harbour Freight & Storage Ltd", f"Number INV-{number}", "Storage in March  125.00 USD"),
        )


async def morning(desk: Desk) -> None:
    """The night's work, and what it has left for people."""
    ended = await run_jobs(desk.tools, Screen(json=True))
    assert {record.job for _, record in ended.runs} >= {"GetAccounts", "GetSuppliers", "ExportInvoices"}, ended.document()
    payment = desk.connection.dead_letters.letter(
        company="100", job="ExportPayments", part="", kind="Payment", key=0, number="PAY-311", name=NAMES[2], run="", trace="",
        payload=json.dumps({"id": [desk.connection.connection.environment, "100", "PAY", "311"], "amount": "1250.00"}).encode(),
        error=Permanent("the bank account is closed", system="sage", code="SL-1"),
    )  # fmt: skip
    await desk.connection.dead_letters.put_many([payment])
    desk.payment = payment.id
    await acts.pause(desk.tools, connection="acme-PROD", job="ExportPayments", reason="the bank is closed until Monday", by="operator")
    await desk.users.create_token("admin", "deployment")
    minute = int(time.time()) // 60
    async with desk.tools.redis.pipeline() as pipe:
        for sid in desk.tools.connections:
            samples, read = Samples(desk.tools.redis, sid), 0
            for n in range(90):
                read += (n * 7919 % 23) * 40 + (900 if 30 < n < 50 else 0)
                samples.add(pipe, Sample(minute - 90 + n, [0, n % 5, n * 31 % 17, n % 3], n % 4, [read, read // 3, read // 2, read // 90]))
        await pipe.execute()


@contextmanager
def desk(box: Sandbox, valkey: str, folder: Path) -> Iterator[Desk]:
    """Serves until the block ends. `folder` gets the configuration; secrets are in the environment."""
    books(box)
    Connect(folder, configuration(box, valkey))
    ready, ended = threading.Event(), threading.Event()
    found: list[Desk] = []
    failed: list[BaseException] = []

    async def live() -> None:
        async with _serving(box, folder) as made:
            await morning(made)
            found.append(made)
            ready.set()
            while not ended.is_set():
                await asyncio.sleep(0.05)

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="desk")
    thread.start()
    try:
        assert ready.wait(250), "the console does not come up"
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        ended.set()
        thread.join(60)
    if failed:
        raise failed[0]


@asynccontextmanager
async def _serving(box: Sandbox, folder: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        tools = await stack.enter_async_context(session(load_config(folder / "connect.toml", jobs=REGISTERS)))
        users = Users(tools.redis)
        runner = web.AppRunner(build_app(tools, Listening(), users=users), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made = Desk(box, f"http://127.0.0.1:{runner.addresses[0][1]}", tools, users, asyncio.get_running_loop())
        for role in ("viewer", "operator", "approver", "admin"):
            made.logins[role] = await made._login(role)
        yield made
