"""`connect doctor --probe`: it answers, it takes back what it has made, and it is for test companies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from connect.config.load import parse_config
from connect.doctor import Systems
from connect.doctor.probe import QUESTIONS, Answer, probe, report
from connect.registers import REGISTERS
from tests.world import SECRETS, Connect, Sandbox, config_text
from workers.cli_doctor import systems_of
from workers.settings import open_tools

JOBS = ("GetSuppliers", "GetVatCodes", "ExportInvoices")
GENERAL = 'StartOn = 2026-01-01\nShowInvoiceBaseURL = "https://prime.example.com"'
BILL, ATTACHMENT, PAYMENT = "accounts-payable/bill", "company-config/attachment", "accounts-payable/payment"


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox("--size", "small") as sandbox:
        yield sandbox


@asynccontextmanager
async def systems(box: Sandbox, url: str) -> AsyncIterator[Systems]:
    text = config_text(box, jobs=JOBS, general=GENERAL, redis_url=url)
    config = parse_config(text, path=Path("connect.toml"), environ=SECRETS, jobs=REGISTERS)
    async with open_tools(config) as tools, systems_of(tools, config.connections[0].sid) as found:
        yield found


def made(box: Sandbox) -> list[dict[str, Any]]:
    return [record for name in (BILL, ATTACHMENT, PAYMENT) for record in box.sage_records(name)]


def said(answers: list[Answer], start: str) -> str:
    return "\n".join(next(answer for answer in answers if answer.question.startswith(start)).lines)


async def test_the_probe_answers_and_leaves_nothing_behind(box: Sandbox, valkey: str, redis: Redis) -> None:
    before = box.stats()["sage"]["transactions"]
    async with systems(box, valkey) as asked:
        answers, probing = await probe(asked)
        written = report(asked, answers, probing, date(2026, 11, 28))
        await asked.usage.flush()
        counted = await asked.usage.month()
    assert made(box) == []
    assert len(answers) == len(QUESTIONS)
    assert [answer.question for answer in answers if not answer.settled] == ["Which spelling of payment methods Sage shows"]
    assert "expires_in 43200" in said(answers, "Tokens")
    assert "rows are flat" in said(answers, "Queries")
    assert "1,100,000 bytes (blanks at its end): HTTP 413, GW-0013" in said(answers, "How many requests")
    bills = said(answers, "The state of a new bill")
    assert "without a state: HTTP 201, state posted, total 0.01" in bills
    assert "the same key and bytes again: HTTP 201, the same bill, replayed" in bills
    assert "the same key with other bytes: HTTP 409" in bills
    assert "an unknown vendor: HTTP 422, REST-7001" in said(answers, "The status")
    assert "Nothing. Made and deleted: bill PROBE-" in written
    assert "demo-secret" not in written
    assert counted["transactions"] == box.stats()["sage"]["transactions"] - before


async def test_the_probe_sees_that_bills_wait_for_approval(box: Sandbox, valkey: str, redis: Redis) -> None:
    box.call("/_sandbox/settings", {"sage": {"approvals": True, "denied": [f"POST {PAYMENT}"]}})
    try:
        async with systems(box, valkey) as asked:
            answers, probing = await probe(asked)
    finally:
        box.call("/_sandbox/settings", {"sage": {"approvals": False, "denied": []}})
    assert "state submitted" in said(answers, "The state of a new bill")
    assert "the customer chooses the user under Unrestricted" in said(answers, "The state of a new bill")
    assert f"{PAYMENT}: HTTP 403, no right to add" in said(answers, "Whether our user may write")
    assert (made(box), probing.left) == ([], [])


async def test_a_bill_whose_answer_was_lost_is_found_and_deleted(box: Sandbox, valkey: str, redis: Redis) -> None:
    rule = {"where": f"sage:POST /objects/{BILL}", "kind": "drop_after_commit", "count": 1, "after": 3}  # three refusals come before
    box.call("/_sandbox/faults", {"rules": [rule]})
    try:
        async with systems(box, valkey) as asked:
            answers, probing = await probe(asked)
    finally:
        box.call("/_sandbox/faults", {"rules": []})
    assert "could not be asked" in said(answers, "The state of a new bill")
    assert len(probing.lost) == 1
    assert (made(box), probing.left) == ([], [])


async def test_what_sage_does_not_let_go_is_named_in_the_report(box: Sandbox, valkey: str, redis: Redis) -> None:
    box.call("/_sandbox/settings", {"sage": {"denied": [f"DELETE {BILL}"]}})
    try:
        async with systems(box, valkey) as asked:
            answers, probing = await probe(asked)
            written = report(asked, answers, probing, date(2026, 11, 28))
    finally:
        box.call("/_sandbox/settings", {"sage": {"denied": []}})
    kept = box.sage_records(BILL)
    box.load(BILL, [{"key": record["key"]} for record in kept], mode="delete")
    assert len(kept) == len(probing.left) == 3
    assert all(f"({BILL} {record['key']})" in written for record in kept)


async def test_a_probe_is_for_test_companies_and_says_how_it_went(box: Sandbox, valkey: str, redis: Redis, tmp_path: Path) -> None:
    connect = Connect(tmp_path, config_text(box, jobs=JOBS, general=GENERAL, redis_url=valkey))
    document = connect.json("doctor", "--probe", "--report", "found.md")
    assert document["ok"]
    assert document["counts"]["failed"] == 0
    assert (tmp_path / "found.md").read_text().startswith("# What Sage answers: acme-TEST")
    assert len(document["probes"][0]["answers"]) == len(QUESTIONS)
    assert made(box) == []
    (tmp_path / "connect.toml").write_text(
        (tmp_path / "connect.toml").read_text().replace("acme-TEST", "acme-PROD").replace("v1", "v1-beta1")
    )
    connect.run("doctor", "--probe", expect=(2,))
    connect.run("doctor", expect=(1,))
    assert made(box) == []
