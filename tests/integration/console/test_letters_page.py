"""An operator at work in a browser without JavaScript: refused invoices are understood, changed, sent again; payments need four eyes."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import approved
import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from console_box import Browser, assert_tame
from lxml import html
from world import SECRETS, Connect, Sandbox, config_text

from connect.config import load_config
from connect.errors import Permanent
from connect.registers import REGISTERS
from connect.state.users import Users
from workers.console.app import build_app
from workers.console.security import Listening
from workers.jobs import ConnectionTools, Tools
from workers.overview import trail
from workers.settings import open_tools

pytestmark = pytest.mark.timeout(300)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@dataclass
class Desk:
    """A real connection's console: Sage and Prime are the sandbox, workers run when `work` is called."""

    box: Sandbox
    connect: Connect
    tools: Tools
    client: TestClient
    users: Users

    @property
    def connection(self) -> ConnectionTools:
        return next(iter(self.tools.connections.values()))

    async def person(self, role: str, name: str = "") -> Browser:
        user = await self.users.add(name or role, None, role)  # type: ignore[arg-type]
        return Browser(self.client, {"connect_session": await self.users.begin(user)})

    async def letter_id(self, number: str) -> str:
        _, (found,) = await self.connection.dead_letters.find({"number": number})
        return found.id

    async def state(self, letter_id: str) -> str:
        found = await self.connection.dead_letters.get(letter_id)
        assert found is not None
        return found.state

    async def made(self, kind: str, job: str, number: str, payload: bytes, **facts: Any) -> str:
        """A letter put there by hand."""
        one = self.connection.dead_letters.letter(
            company="100", job=job, part="", kind=kind, key=0, number=number, name=facts.get("name", "Vendor"), payload=payload,
            run="run-1", trace="trace-1", error=Permanent(facts.get("message", "refused"), system="sage", code=facts.get("code", "X-1"),
            detail=facts.get("detail", "")),
        )  # fmt: skip
        await self.connection.dead_letters.put_many([one])
        return one.id


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("--empty") as box:
        approved.fill(box)
        box.load("accounts-payable/vendor", [{"id": "V2", "name": EVIL, "isOnHold": True}], "upsert")
        yield box


@pytest.fixture
async def desk(valkey: str, redis: Any, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    jobs = ("ExportInvoices", "ExportPayments")
    text = config_text(sandbox, jobs=jobs, general=approved.GENERAL, redis_url=valkey)
    connect = Connect(tmp_path, text.replace("sage_slots", "settle_s = 0.5\nsage_slots", 1))
    async with open_tools(load_config(tmp_path / "connect.toml", jobs=REGISTERS)) as tools:
        users = Users(tools.redis)
        app = build_app(tools, Listening(), users=users)
        async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
            yield Desk(sandbox, connect, tools, client, users)


def fields_of(page: str, action: str) -> dict[str, Any]:
    """What a browser would send of the form with this action: every named field that is not a button."""
    (form,) = [one for one in html.document_fromstring(page).iter("form") if one.get("action") == action][:1]
    found: dict[str, Any] = {}
    for one in form.iter("input", "textarea", "select"):
        if one.tag == "input" and one.get("type") in ("checkbox", "radio") and one.get("checked") is None:
            continue
        value = one.get("value", "") if one.tag == "input" else (one.text or "").removeprefix("\n") if one.tag == "textarea" else ""
        found.setdefault(one.get("name"), []).append(value)
    return found


def links(page: str) -> list[str]:
    return [one.get("href") for one in html.document_fromstring(page).iter("a")]


def words(page: str) -> str:
    return " ".join(html.document_fromstring(page).text_content().split())


async def test_from_the_overview_to_an_edited_and_replayed_invoice_in_at_most_six_clicks_without_javascript(desk: Desk) -> None:
    approved.load(desk.box, approved.invoice(7, supplier="V2", account="6999", Note=EVIL))
    desk.connect.sync("--job", "ExportInvoices", expect=(3,))
    desk.box.load("accounts-payable/vendor", [{"id": "V2", "name": EVIL, "isOnHold": False}], mode="upsert")
    operator = await desk.person("operator")
    clicks = 0

    assert "/dead-letters" in links(await operator.text("/"))
    clicks += 1  # Dead letters
    page = await operator.text("/dead-letters")
    assert "1 letter" in words(page)
    group = next(one for one in links(page) if one and "group=" in one)
    clicks += 1  # the reason
    page = await operator.text(group)
    letter_id = await desk.letter_id("1-7")
    assert f"/dead-letters/{letter_id}" in links(page)
    clicks += 1  # the letter
    page = await operator.text(f"/dead-letters/{letter_id}")
    shown = words(page)
    assert shown.index("Sage administrator:") < shown.index("Invoice date") < shown.index("history".capitalize())
    assert "125.00" in shown
    assert "INV-7" in shown
    assert EVIL in shown
    assert html.document_fromstring(page).xpath("//iframe/@src") == [f"/dead-letters/{letter_id}/files/0?frame=1"]
    action = f"/dead-letters/{letter_id}/edit"
    fields = fields_of(page, action)
    assert fields["set.lines[0].account"] == ["6999"]
    assert fields["set.note"] == [EVIL]
    clicks += 1  # into the field
    fields |= {"set.lines[0].account": ["6000"], "step": "preview"}
    clicks += 1  # Show what would change
    answer = await operator.ask("POST", action, data=fields)
    page = await answer.text()
    assert (answer.status, before_and_after(page)) == (200, [("6999", "6000")])
    assert await desk.connection.dead_letters.edits([letter_id]) == {}
    fields = fields_of(page, action)
    assert [name for name in fields if name.startswith("set.")] == ["set.lines[0].account"]
    clicks += 1  # Save and send again; the reason has the cursor already
    answer = await operator.ask("POST", action, data=fields | {"reason": "account was closed", "step": "replay"})
    assert (answer.status, answer.headers["Location"]) == (303, f"/dead-letters/{letter_id}")
    assert clicks <= 6
    assert "Saved and sent again." in words(await operator.text(f"/dead-letters/{letter_id}"))

    desk.connect.sync("--job", "ExportInvoices")
    (bill,) = [one for one in desk.box.sage_records("accounts-payable/bill") if one["billNumber"] == "INV-7"]
    assert bill["lines"][0]["glAccount"]["id"] == "6000"
    assert await desk.state(letter_id) == "resolved"
    viewer = await desk.person("viewer")
    story = await viewer.text("/documents?number=inv-7")
    assert f"/dead-letters/{letter_id}" in links(story)
    for step in ("Sage held", "dead letter refused", "dead letter edited", "dead letter replayed", "posted", "receipted"):
        assert step in words(story), step
    audit = words(await viewer.text("/audit"))
    assert "account was closed" in audit
    assert "'6999' -> '6000'" in audit


def before_and_after(page: str) -> list[tuple[str, str]]:
    """Before and after, as the preview shows them."""
    found = html.document_fromstring(page)
    return list(zip(found.xpath("//del/text()"), found.xpath("//ins/text()"), strict=True))


def buttons(page: str) -> set[str]:
    """What can be pressed, but for the frame around the page."""
    main = html.document_fromstring(page).get_element_by_id("content")
    return {" ".join(one.text_content().split()).partition(" ")[0] for one in main.iter("button", "summary") if one.text_content().strip()}


async def held(desk: Desk, number: int, **more: Any) -> str:
    """A dead letter of an invoice as it is put there, without a run."""
    lines = more.pop("lines", 2)
    body = {
        "id": [desk.connection.connection.environment, "100", "1", str(number)], "status": 4, "is_credit": False, "is_blocked": False,
        "supplier": "V1", "supplier_invoice_no": f"INV-{number}", "voucher_no": None, "invoiced_on": "2026-03-01", "due_on": "2026-03-31",
        "posted_on": "2026-03-02", "paid_on": None, "currency": "USD", "amount": "125.00", "pay_reference": None, "note": "Rent",
        "lines": [{"number": n, "type": 1, "account": "6999", "amount": "100.00", "note": f"memo {n}"} for n in range(lines)],
    }  # fmt: skip
    return await desk.made("Invoice", "ExportInvoices", f"1-{number}", json.dumps(body | more.pop("payload", {})).encode(), **more)


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_said_and_what_was_typed_is_shown_again(desk: Desk) -> None:
    letter_id, operator = await held(desk, 11), await desk.person("operator")
    path = f"/dead-letters/{letter_id}/edit"
    for field, value, why in (
        ("due_on", "soon", "is no date"), ("lines[0].account", "", "cannot be empty"), ("amount", "1.00", "was approved in Prime"),
        ("lines[9].account", "1", "has 2 coded lines"), ("lines[0].account", "x" * 101, "at most 100"), ("nonsense", "1", "there is no"),
    ):  # fmt: skip
        answer = await operator.post(path, {f"set.{field}": value, "step": "preview"})
        page = await answer.text()
        assert (answer.status, why in words(page).replace("There", "there")) == (400, True), (field, words(page)[:300])
    answer = await operator.post(path, {"set.due_on": "2026-04-40", "step": "preview"})
    assert html.document_fromstring(await answer.text()).xpath("//input[@name='set.due_on']/@value") == ["2026-04-40"]
    answer = await operator.post(path, {"set.due_on": "2026-03-31", "set.note": "Rent ", "step": "preview"})
    assert (answer.status, "Nothing differs" in await answer.text()) == (400, True)
    assert await desk.connection.dead_letters.edits([letter_id]) == {}


async def test_nothing_is_saved_without_a_reason_or_over_what_somebody_else_saved_meanwhile(desk: Desk) -> None:
    letter_id, ann, bo = await held(desk, 12), await desk.person("operator", "ann"), await desk.person("operator", "bo")
    path = f"/dead-letters/{letter_id}/edit"
    first = fields_of(await (await ann.post(path, {"set.note": "By Ann", "step": "preview"})).text(), path)
    second = fields_of(await (await bo.post(path, {"set.note": "By Bo", "step": "preview"})).text(), path)
    answer = await ann.ask("POST", path, data=first | {"reason": " ", "step": "save"})
    assert (answer.status, "Say why" in words(await answer.text())) == (400, True)
    assert (await ann.ask("POST", path, data=first | {"reason": "x", "step": "save"})).status == 303
    answer = await bo.ask("POST", path, data=second | {"reason": "y", "step": "save"})
    assert (answer.status, "Somebody else has changed" in await answer.text()) == (400, True)
    answer = await bo.ask("POST", path, data=fields_of(await answer.text(), path) | {"reason": "y", "step": "change"})
    page = await answer.text()
    assert (answer.status, fields_of(page, path)["set.note"]) == (200, ["By Bo"])
    page = words(await ann.text(f"/dead-letters/{letter_id}"))
    assert "note is now By Ann" in page


async def test_an_invoice_of_many_lines_is_changed_some_lines_at_a_time(desk: Desk) -> None:
    letter_id, operator = await held(desk, 13, lines=700), await desk.person("operator")
    path = f"/dead-letters/{letter_id}/edit"
    page = await operator.text(f"/dead-letters/{letter_id}?lines_from=675")
    fields = fields_of(page, path)
    assert len(fields) < 200
    assert [fields[f"set.lines[{place}].note"] for place in (675, 699)] == [["memo 675"], ["memo 699"]]
    answer = await operator.ask("POST", path, data=fields | {"set.lines[699].account": ["6000"], "step": "preview"})
    assert before_and_after(await answer.text()) == [("6999", "6000")]
    assert (await operator.get(f"/dead-letters/{letter_id}?lines_from=99999")).status == 200


async def test_what_prime_has_back_is_shown_as_such_and_read_only(desk: Desk) -> None:
    letter_id, operator = await held(desk, 14), await desk.person("operator")
    found = await desk.connection.dead_letters.get(letter_id)
    assert found is not None
    found.error["held_by"] = "Prime"
    await desk.connection.dead_letters.put_many([found])
    assert "Prime has it back" in words(await operator.text("/dead-letters"))
    page = await operator.text(f"/dead-letters/{letter_id}")
    assert "changed there and resent" in words(page)
    assert buttons(page) & {"Send", "Show", "Save"} == set()
    answer = await operator.post(f"/dead-letters/{letter_id}/edit", {"set.note": "x"})
    assert (answer.status, "changed there and resent" in await answer.text()) == (400, True)


# -- some or all of them -----------------------------------------------------------------------------------------------


async def test_all_of_a_filter_are_counted_first_and_counted_anew_when_there_are_more_by_then(desk: Desk) -> None:
    operator = await desk.person("operator")
    mine = [await held(desk, n, message="account 6540 is inactive", code="A-1") for n in (21, 22)]
    other = await held(desk, 23, message="another reason", code="B-1")
    page = await operator.text("/dead-letters")
    assert "2 times account 6540 is inactive" in words(page)
    group = next(one for one in links(page) if one and "group=" in one)
    page = await operator.text(group)
    assert {one for one in links(page) if one in {f"/dead-letters/{name}" for name in (*mine, other)}} == {
        f"/dead-letters/{n}" for n in mine
    }
    fields = fields_of(page, "/dead-letters/replay") | {"which": "filter"}
    page = await (await operator.ask("POST", "/dead-letters/replay", data=fields)).text()
    assert "2 would be sent again" in words(page)
    sure = fields_of(page, "/dead-letters/replay")
    mine.append(await held(desk, 24, message="account 6540 is inactive", code="A-1"))
    answer = await operator.ask("POST", "/dead-letters/replay", data=sure)
    page = await answer.text()
    assert (answer.status, "Meanwhile there are more" in page, "3 would be sent" in words(page)) == (400, True, True)
    wrong = fields_of(page, "/dead-letters/replay") | {"rate": "fast"}
    answer = await operator.ask("POST", "/dead-letters/replay", data=wrong)
    assert (answer.status, "letters a second" in await answer.text()) == (400, True)
    answer = await operator.ask("POST", "/dead-letters/replay", data=wrong | {"rate": "1000"})
    assert (answer.status, unquote(operator.cookies["connect_notice"])) == (303, "3 are being sent again.")
    assert answer.headers["Location"] == group.replace("&amp;", "&")
    assert [await desk.state(name) for name in (*mine, other)] == ["replaying"] * 3 + ["open"]


async def test_chosen_letters_are_discarded_with_a_reason_and_no_others(desk: Desk) -> None:
    operator = await desk.person("operator")
    one, two = await held(desk, 31), await held(desk, 32)
    fields = fields_of(await operator.text("/dead-letters?number=1-31"), "/dead-letters/replay")
    answer = await operator.ask("POST", "/dead-letters/discard", data=fields | {"which": "ids"})
    assert (answer.status, "choose letters first" in unquote(operator.cookies["connect_notice"])) == (303, True)
    page = await (await operator.ask("POST", "/dead-letters/discard", data=fields | {"which": "ids", "ids": [one]})).text()
    assert "1 would be closed without being sent" in words(page)
    sure = fields_of(page, "/dead-letters/discard")
    answer = await operator.ask("POST", "/dead-letters/discard", data=sure)
    assert (answer.status, "Say why" in words(await answer.text())) == (400, True)
    assert (await operator.ask("POST", "/dead-letters/discard", data=sure | {"reason": "sent by hand"})).status == 303
    assert [await desk.state(one), await desk.state(two)] == ["discarded", "open"]
    assert "sent by hand" in words(await operator.text(f"/dead-letters/{one}"))
    answer = await operator.post("/dead-letters/discard", {"which": "filter", "filter.nonsense": "x"})
    assert answer.status == 400
    assert await desk.state(two) == "open"
    assert (await operator.post("/dead-letters/discard", {"ids": "nosuch"})).status == 404


async def test_a_payment_is_approved_by_one_and_sent_by_another(desk: Desk) -> None:
    payment = await desk.made("Payment", "ExportPayments", "PAY-1", b'{"id":["x","100","PAY","1"],"amount":"15.00"}', code="SL-1")
    operator, approver, admin = await desk.person("operator"), await desk.person("approver"), await desk.person("admin")
    path = f"/dead-letters/{payment}"
    assert "Send" not in buttons(await operator.text(path))
    page = words(await (await operator.post("/dead-letters/replay", {"ids": payment, "which": "ids"})).text())
    assert "0 would be sent again" in page
    assert "1 payment still needs approval" in page
    assert (await operator.post("/dead-letters/approve", {"ids": payment, "step": "do"})).status == 403
    assert buttons(await approver.text(path)) & {"Approve", "Send", "Discard"} == {"Approve"}
    fields = fields_of(await admin.text(path), "/dead-letters/approve")
    answer = await admin.ask("POST", "/dead-letters/approve", data=fields)
    assert (answer.status, answer.headers["Location"]) == (303, path)
    page = await admin.text(path)
    assert "You have approved it" in page
    assert "Send" not in buttons(page)
    assert (
        await operator.ask("POST", "/dead-letters/replay", data=fields_of(await operator.text(path), "/dead-letters/replay"))
    ).status == 303
    assert await desk.state(payment) == "replaying"
    invoice = await held(desk, 41)
    answer = await approver.post("/dead-letters/approve", {"ids": [invoice], "which": "ids"})
    assert (answer.status, "Only payments are approved" in await answer.text()) == (400, True)


async def test_whoever_may_not_act_sees_no_button_and_is_refused(desk: Desk) -> None:
    letter_id = await held(desk, 51)
    viewer, operator = await desk.person("viewer"), await desk.person("operator")
    for path in ("/dead-letters", f"/dead-letters/{letter_id}"):
        assert buttons(await viewer.text(path)) & {"Send", "Discard", "Approve", "Show"} == set(), path
        assert buttons(await operator.text(path)) & {"Send", "Discard", "Approve"} == {"Send", "Discard"}, path
    for act in ("replay", "discard", "approve", f"{letter_id}/edit"):
        answer = await viewer.post(f"/dead-letters/{act}", {"ids": letter_id, "step": "do", "reason": "x", "set.note": "x"})
        assert answer.status == 403
    assert await desk.state(letter_id) == "open"


# -- hostile -----------------------------------------------------------------------------------------------------------


async def test_whatever_suppliers_notes_and_errors_hold_is_shown_as_text(desk: Desk) -> None:
    payload = {"note": EVIL, "supplier": EVIL, "supplier_invoice_no": EVIL, "currency": EVIL}
    payload["lines"] = [{"number": 1, "type": 1, "account": EVIL, "amount": "1", "note": EVIL, "vat_code": EVIL, "objects": [EVIL] * 8}]  # type: ignore[assignment]
    letter_id = await held(desk, 61, payload=payload, name=EVIL, message=EVIL, detail=EVIL, code=EVIL[:30])
    row = await desk.made(EVIL, "GetSuppliers", EVIL, json.dumps({EVIL: EVIL}).encode(), name=EVIL, message=EVIL, code="y")
    admin = await desk.person("admin")
    group = next(one for one in links(await admin.text("/dead-letters")) if one and "group=" in one)
    for path in (
        "/dead-letters", group, f"/dead-letters/{letter_id}", f"/dead-letters/{row}", "/documents?number=1-61",
        f"/documents?number={EVIL}", f"/dead-letters?text={EVIL}&kind={EVIL}&supplier={EVIL}&number={EVIL}",
    ):  # fmt: skip
        answer = await admin.get(path)
        assert answer.status == 200
        assert_tame(await answer.text())
    page = await (await admin.post(f"/dead-letters/{letter_id}/edit", {"set.note": f"new {EVIL}", "step": "preview"})).text()
    assert before_and_after(page) == [(EVIL, f"new {EVIL}")]
    assert_tame(page)
    fields = fields_of(page, f"/dead-letters/{letter_id}/edit")
    assert fields["set.note"] == [f"new {EVIL}"]
    await admin.ask("POST", f"/dead-letters/{letter_id}/edit", data=fields | {"reason": EVIL, "step": "save"})
    page = await (await admin.post("/dead-letters/discard", {"ids": [row], "which": "ids", "next": "//evil.example"})).text()
    assert 'value="//evil' not in page
    assert_tame(page)
    await admin.post("/dead-letters/discard", {"ids": [row], "step": "do", "reason": EVIL})
    for path in ("/audit", f"/audit?by={EVIL}&about={EVIL}&what={EVIL}", "/audit/verify", f"/dead-letters/{row}"):
        page = await admin.text(path)
        assert_tame(page)
    assert EVIL in words(await admin.text("/audit"))


async def test_pdfs_and_pictures_are_shown_and_everything_else_is_saved_whatever_it_is_called(desk: Desk) -> None:
    approved.load(desk.box, approved.invoice(71), images=0)
    pdf, page, png = b"%PDF-1.4 made up", b"<html><script>alert(1)</script>", b"\x89PNG\r\n\x1a\n0000"
    names = ['a"; evil=1\r\nSet-Cookie: evil=1.pdf', "../../etc/pa\u202esswd.html", "f\u00fcr dich.png"]
    records = [
        {"InvoiceSeries": "1", "InvoiceNo": 71, "FileName": name, "FileType": "PDF", "Image": base64.b64encode(data).decode()}
        for name, data in zip(names, (pdf, page, png), strict=True)
    ]
    answer = desk.box.call("/_sandbox/prime/load", {"kind": "Image", "records": records})
    assert not answer["errors"], answer
    letter_id, viewer = await held(desk, 71), await desk.person("viewer")
    path = f"/dead-letters/{letter_id}/files"
    listed = await viewer.text(path)
    assert_tame(listed)
    assert "evil=1" in words(listed)
    for place, (data, kind, shown) in enumerate(
        [(pdf, "application/pdf", "inline"), (page, "application/octet-stream", "attachment"), (png, "image/png", "inline")]
    ):
        got = await viewer.get(f"{path}/{place}")
        header = got.headers["Content-Disposition"]
        assert (await got.read(), got.content_type, header.partition(";")[0]) == (data, kind, shown)
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "script-src 'self'" in got.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in got.headers
        assert header.count('"') == 2
        assert "/" not in header
        saved = await viewer.get(f"{path}/{place}?download=1")
        assert saved.headers["Content-Disposition"].startswith("attachment;")
        called = await viewer.get(f"/api/v1{path}/{place}")
        assert (await called.read(), called.content_type) == (data, kind)
        assert called.headers["Content-Disposition"].startswith("attachment;")
    files = (await (await viewer.get(f"/api/v1{path}")).json())["files"]
    assert [(one["place"], one["name"], one["size_bytes"]) for one in files] == [
        (place, name, len(data)) for place, (name, data) in enumerate(zip(names, (pdf, page, png), strict=True))
    ]
    for missing in ("3", "x", "-1"):
        assert (await viewer.get(f"/api/v1{path}/{missing}")).status == 404
    assert "f%C3%BCr%20dich.png" in (await viewer.get(f"{path}/2")).headers["Content-Disposition"]
    framed = await viewer.text(f"{path}/1?frame=1")
    assert "is no PDF and no picture" in framed
    assert_tame(framed)
    assert (await viewer.get(f"{path}/9")).status == 404
    assert (await viewer.get(f"{path}/x")).status == 404
    without = await held(desk, 72)
    got = await viewer.get(f"/dead-letters/{without}/files/0?frame=1")
    assert (got.status, "Prime has no file of it" in await got.text()) == (200, True)


async def test_a_look_at_an_invoices_files_asks_prime_once_and_who_may_not_see_it_is_shown_none(desk: Desk) -> None:
    approved.load(desk.box, approved.invoice(73), images=3)
    letter_id, viewer = await held(desk, 73), await desk.person("viewer")
    path = f"/dead-letters/{letter_id}/files"

    def asked() -> int:
        return int(desk.box.stats()["prime"]["calls"].get("GetInvoiceImage", 0))

    before = asked()
    pages = await asyncio.gather(viewer.get(path), viewer.get(f"{path}/0?frame=1"), viewer.get(f"{path}/1"))
    assert [page.status for page in pages] == [200, 200, 200]
    assert (await (await viewer.get(f"/api/v1{path}/2")).read(), asked() - before) == (approved.PDF, 1)
    user = await desk.users.add("elsewhere", None, "admin", ["another-connection"])
    stranger = Browser(desk.client, {"connect_session": await desk.users.begin(user)})
    assert [(await stranger.get(f"{start}{path}{which}")).status for start in ("", "/api/v1") for which in ("", "/1")] == [404] * 4


# -- documents, audit --------------------------------------------------------------------------------------------------


async def test_what_nobody_knows_is_said_and_a_row_is_found_by_its_number(desk: Desk) -> None:
    viewer = await desk.person("viewer")
    await desk.made("Supplier", "GetSuppliers", "V77", b"{}", message="the name is too long")
    assert "Nothing is known of 4711" in words(await viewer.text("/documents?number=4711"))
    page = words(await viewer.text("/documents?number=V77"))
    assert "the name is too long" in page
    assert (await viewer.get(f"/documents?number={'9' * 201}")).status == 400


async def test_acts_are_filtered_exported_and_verified(desk: Desk) -> None:
    viewer, ann, bo = await desk.person("viewer"), await desk.person("operator", "ann"), await desk.person("operator", "bo")
    for browser, number in ((ann, 81), (bo, 82)):
        letter_id = await held(desk, number)
        reason = f"=cmd() {number}"
        assert (await browser.post("/dead-letters/discard", {"ids": letter_id, "step": "do", "reason": reason})).status == 303
    page = words(await viewer.text("/audit?by=ann"))
    assert "=cmd() 81" in page
    assert "=cmd() 82" not in page
    assert "No act matches" in await viewer.text("/audit?what=edit")
    answer = await viewer.get("/audit/export?form=csv&by=ann")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    (row,) = csv.DictReader(io.StringIO(await answer.text()))
    assert (row["by"], row["what"]) == ("ann", "discard")
    rows = [json.loads(line) for line in (await viewer.text("/audit/export?form=jsonl")).splitlines()]
    assert [one["by"] for one in rows] == ["bo", "ann"]
    for wrong in ("/audit/export?form=xml", "/audit?since=soon", "/audit/export?since=soon"):
        assert (await viewer.get(wrong)).status == 400
    assert (await viewer.get("/audit/export?connection=nosuch")).status == 404
    assert "No act matches" in await viewer.text("/audit?since=2999-01-01")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trail, "LOOKED_AT_MOST", 1)
        page = await viewer.text("/audit?by=ann")
        assert "older ones may" in page
        (older,) = (path for path in links(page) if "before=" in path)
        page = await viewer.text(older)
    assert ("=cmd() 81" in words(page), "/audit?by=ann" in links(page)) == (True, True)
    api = "/api/v1/audit"
    assert [json.loads(line) for line in (await viewer.text(f"{api}/export")).splitlines()] == rows
    answer = await viewer.get(f"{api}/export?form=csv&by=ann")
    assert (answer.content_type, len((await answer.text()).splitlines())) == (
        "text/csv",
        1 + len([row for row in rows if row["by"] == "ann"]),
    )
    assert (await (await viewer.get(f"{api}?since=2999-01-01")).json())["items"] == []
    newest = rows[0]["at"]
    found = (await (await viewer.get(api, params={"since": newest})).json())["items"]
    assert found
    assert {row["at"] >= newest for row in found} == {True}
    for wrong, status in (
        (f"{api}?before=soon", 400),
        (f"{api}?since=soon", 400),
        (f"{api}/export?form=xml", 400),
        (f"{api}/export?connection=nosuch", 404),
    ):
        assert (await viewer.get(wrong)).status == status, wrong
    assert (await viewer.get("/audit/users")).status == 403
    admin = await desk.person("admin")
    assert "/audit/users" in await admin.text("/audit")
    assert (await admin.post("/users", {"act": "add", "name": "cleo", "role": "viewer"})).status == 303
    page = words(await admin.text("/audit/users"))
    assert "add user" in page
    assert "cleo" in page
    spent = await (await viewer.get("/api/v1/usage")).json()
    assert [one["name"] for one in spent["connections"]] == [desk.connection.connection.name]
    assert (await viewer.get("/api/v1/usage?month=soon")).status == 400
    assert "The audit trail is whole" in words(await viewer.text("/audit/verify"))
    stream = f"connect:{desk.connection.connection.sid}:audit"
    ((name, _), *_) = await desk.tools.redis.xrange(stream)
    await desk.tools.redis.xdel(stream, name)
    page = words(await viewer.text("/audit/verify"))
    assert "not whole" in page
    assert "entry 1 is missing" in page
