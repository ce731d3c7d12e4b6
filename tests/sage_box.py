"""Sage's simulator behind its middleware on loopback, and a client with a token: what tests of its writes share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from connect.sandbox.kernel import Clock, Kernel
from connect.sandbox.sage import SageSimulator

API = "/ia/api/v1"
NOON = 1_795_608_000.0  # 2026-11-25T12:00:00Z
BILL = "accounts-payable/bill"
PAYMENT = "accounts-payable/payment"
VENDOR = "accounts-payable/vendor"
ATTACHMENT = "company-config/attachment"

COMPANY: dict[str, list[dict[str, Any]]] = {
    "company-config/entity": [{"key": "1", "id": "E1", "name": "East"}, {"key": "2", "id": "E2", "name": "West"}],
    "company-config/txn-currency": [{"id": "USD"}, {"id": "EUR"}],
    "general-ledger/account": [
        {"id": "6000", "name": "Supplies"},
        {"id": "6100", "name": "Travel", "requireDimensions": {"department": True}},
        {"id": "6900", "name": "Old", "status": "inactive"},
        {"id": "2000", "name": "Payables", "disallowDirectPosting": True},
    ],
    "company-config/location": [{"id": "L1", "name": "Here"}, {"id": "L9", "name": "Gone", "status": "inactive"}],
    "company-config/department": [{"id": "D1", "name": "Sales"}, {"id": "D9", "name": "Old", "status": "activeNonPosting"}],
    VENDOR: [
        {"id": "V1", "name": "National Grid", "contacts": {"default": {"printAs": "National Grid"}}},
        {"id": "V2", "name": "Other"},
        {"id": "VOFF", "name": "Inactive", "status": "inactive"},
        {"id": "VNEW", "name": "Submitted", "state": "s"},
        {"id": "VHOLD", "name": "Held", "isOnHold": True},
        {"id": "VNOPAY", "name": "Not to pay", "doNotPay": True},
    ],
    "company-config/folder": [{"id": "Receipts"}],
    "cash-management/checking-account": [{"id": "BOA"}, {"id": "OLD", "status": "inactive"}],
    "cash-management/credit-card-account": [{"id": "VISA"}],
}


class SageBox:
    """One Sage company with a few records."""

    def __init__(self, sim: SageSimulator, client: TestClient[Any, Any]) -> None:
        self.sim, self.client, self.token = sim, client, ""

    async def sign_in(self) -> None:
        sim = self.sim
        form = {
            "grant_type": "client_credentials",
            "client_id": sim.client_id,
            "client_secret": sim.client_secret,
            "username": sim.username,
        }
        async with self.client.post(f"{API}/oauth2/token", data=form) as answer:
            self.token = (await answer.json())["access_token"]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """(status, JSON or None, headers). `path` after the version; `_` in a header's name stands for `-`."""
        sent = {"Authorization": f"Bearer {self.token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = None if body is None else orjson.dumps(body)
        async with self.client.request(method, API + path, data=data, headers=sent) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None, answer.headers

    async def create(self, name: str, /, **body: Any) -> str:
        """Its key; the sandbox must take it."""
        status, answer, _ = await self.call("POST", f"/objects/{name}", body)
        assert status == 201, answer
        key: str = answer["ia::result"]["key"]
        return key

    async def show(self, name: str, key: str) -> Any:
        status, answer, _ = await self.call("GET", f"/objects/{name}/{key}")
        assert status == 200, answer
        return answer["ia::result"]

    async def act(self, name: str, action: str, key: str, **more: str) -> tuple[int, Any]:
        """A workflow: (status, the state it answers or the details of the refusal)."""
        status, answer, _ = await self.call("POST", f"/workflows/{name}/{action}", {"key": key, **more})
        return status, answer["ia::result"]["state"] if status == 200 else details(answer)

    def load(self, name: str, *records: dict[str, Any], mode: str = "insert") -> list[str]:
        answer = self.sim.load(object=name, mode=mode, records=list(records))
        assert not answer["errors"], answer
        keys: list[str] = answer["keys"]
        return keys


@asynccontextmanager
async def sage_box(*, filled: bool = True) -> AsyncIterator[SageBox]:
    """On a clock that stands still until it is advanced."""
    kernel = Kernel(clock=Clock(now=lambda: NOON, monotonic=lambda: 100.0))
    sim = SageSimulator(kernel)
    app = web.Application(middlewares=[kernel.middleware("sage", sim)], client_max_size=64 * 1024 * 1024)
    app.router.add_routes(sim.routes)
    async with TestClient(TestServer(app)) as client:
        box = SageBox(sim, client)
        await box.sign_in()
        for name, records in COMPANY.items() if filled else ():
            box.load(name, *records)
        yield box


def line(amount: str = "15.00", account: str = "6000", **dimensions: str) -> dict[str, Any]:
    named = {"location": "L1", **dimensions}
    return {
        "glAccount": {"id": account},
        "txnAmount": amount,
        "dimensions": {name: {"id": value} for name, value in named.items() if value},
    }


def bill(number: str = "B-1", **changes: Any) -> dict[str, Any]:
    """A bill that Sage takes, with changes (None takes a field away)."""
    body = {
        "billNumber": number,
        "vendor": {"id": "V1"},
        "createdDate": "2026-11-23",
        "dueDate": "2026-12-23",
        "currency": {"baseCurrency": "USD", "txnCurrency": "USD"},
        "lines": [line()],
    } | changes
    return {name: value for name, value in body.items() if value is not None}


def payment(bill_key: str, amount: str = "10.00", **changes: Any) -> dict[str, Any]:
    """A payment as the connector of the guide sends it."""
    body = {
        "financialEntity": {"entityId": "BOA"},
        "paymentDate": "2026-11-25",
        "paymentMethod": "Printed Check",
        "txnCurrency": {"currency": "USD"},
        "vendor": {"id": "V1"},
        "details": [{"txnCurrency": {"paymentAmount": amount}, "bill": {"key": bill_key}}],
        "action": "submit",
        "state": "approved",
    } | changes
    return {name: value for name, value in body.items() if value is not None}


def error_of(answer: Any) -> Any:
    """The error, in whichever envelope."""
    return answer["ia::result"]["ia::error"] if "ia::result" in answer else answer["ia::error"]


def details(answer: Any) -> list[str]:
    """The messages of an error's details, or its own."""
    error = error_of(answer)
    return [row["message"] for row in error.get("details", [error])]
