"""Bills and their files: one call for both, or one after the other; what was lost on the way; what look-ups find."""

from __future__ import annotations

import asyncio
import base64
from datetime import date
from decimal import Decimal

import orjson
import pytest
from sage_box import ATTACHMENT, BILL, bill, line, payment

from connect.errors import Auth, OutcomeUnknown, Permanent, RateLimited, Transient
from connect.ledger import DocumentId, Trace
from connect.sage.attachments import File, Files
from connect.sage.bills import SageBills

POST_BILL = f"POST /objects/{BILL}"
POST_FILES = f"POST /objects/{ATTACHMENT}"
COMPOSITE = "POST /services/core/composite"
QUERY = "POST /services/core/query"
HOUR_S = 3600.0
DOCUMENT = DocumentId("DEMO", "100", "INV", "1001")
MARKER = DOCUMENT.marker()
PDF = b"%PDF-1.7 " + bytes(range(256)) * 40


def files(*more: tuple[str, bytes], marker: str = MARKER, folder: str = "Receipts") -> Files:
    return Files(marker, folder, tuple(File(name, content) for name, content in [("invoice.pdf", PDF), *more]))


def body(number: str = "B-1", marker: str = MARKER, **changes) -> bytes:
    changes = {"description": f"Paper {marker}", "attachment": {"id": marker}} | changes
    return orjson.dumps(bill(number, **changes))


def trace(*numbers: str, document: DocumentId = DOCUMENT, link: str = "") -> Trace:
    return Trace(document.marker(), tuple(("V1", number) for number in numbers), link)


@pytest.fixture
def bills(desk):
    return SageBills(desk.client)


def booked(desk):
    return [(row["billNumber"], row["state"], row["attachment"]) for row in desk.box.sim.books()["bills"]]


def attached(desk):
    return {row["id"]: sorted(file["name"] for file in row["files"]) for row in desk.box.sim.books()["attachments"]}


def contents(desk, marker=MARKER):
    (record,) = [row for row in desk.box.sim.records(object=ATTACHMENT)["records"] if row["id"] == marker]
    return {file["name"]: base64.b64decode(file["data"]) for file in record["files"]}


# Made, with its files


async def test_a_bill_and_its_files_are_made_in_one_call(desk, bills):
    created = await bills.create(body(), "K1", files(("page 2.pdf", b"two")), desk.stamp)
    assert (created.replayed, booked(desk)) == (False, [("B-1", "posted", MARKER)])
    assert contents(desk) == {"invoice.pdf": PDF, "page 2.pdf": b"two"}
    assert desk.calls() == {COMPOSITE: 1}
    assert (desk.stamp.count, desk.box.sim.stats.transactions) == (1, 2)
    assert (await bills.bill(created.key)).number == "B-1"


async def test_a_bill_without_files_is_one_call(desk, bills):
    created = await bills.create(body(attachment=None), "K1", None, desk.stamp)
    assert (desk.calls(), attached(desk)) == ({POST_BILL: 1}, {})
    assert (await bills.bill(created.key)).markers == (MARKER,)


async def test_files_that_the_bill_does_not_name_are_not_put_beside_it(desk, bills):
    await bills.create(body(attachment=None), "K1", files(), desk.stamp)
    assert attached(desk) == {}


async def test_a_bill_whose_files_are_gone_is_not_booked_without_them(desk, bills):
    with pytest.raises(Permanent) as caught:
        await bills.create(body(), "K1", None, desk.stamp)
    assert (caught.value.code, booked(desk), desk.stamp.count) == ("files_gone", [], 0)


async def test_files_too_big_for_one_call_go_first_in_as_many_calls_as_it_takes(desk):
    bills = SageBills(desk.client, limit_bytes=20_000)
    many = files(("two.pdf", b"2" * 12_000), ("three.pdf", b"3" * 3_000), ("four.pdf", b"4" * 3_000))
    await bills.create(body(), "K1", many, desk.stamp)
    assert desk.calls() == {POST_FILES: 1, f"PATCH /objects/{ATTACHMENT}/{{key}}": 2, POST_BILL: 1}
    assert {name: len(content) for name, content in contents(desk).items()} == {
        "invoice.pdf": len(PDF), "two.pdf": 12_000, "three.pdf": 3_000, "four.pdf": 3_000,
    }  # fmt: skip
    assert booked(desk) == [("B-1", "posted", MARKER)]


@pytest.mark.parametrize("spare", range(600, 1500, 100))
async def test_the_largest_files_that_are_taken_fit_in_sages_requests(desk, spare):
    limit = 40_000
    desk.box.sim.settings(body_limit_bytes=limit)
    bills = SageBills(desk.client, limit_bytes=limit)
    size = limit * 3 // 4 - spare
    await bills.create(body(), "K1", files(("big.pdf", b"x" * size), ("small.pdf", b"y" * 900)), desk.stamp)
    assert len(contents(desk)["big.pdf"]) == size


async def test_a_file_that_no_request_can_carry_is_refused_in_words_before_anything_is_sent(desk, bills):
    with pytest.raises(Permanent, match=r"too big for Sage, which takes about 750 kB: scan\.pdf \(800 kB\)") as caught:
        await bills.create(body(), "K1", files(("scan.pdf", b"x" * 800_000)), desk.stamp)
    assert (caught.value.code, desk.stamp.count, desk.calls()) == ("file_too_big", 0, {})


async def test_a_folder_that_is_missing_stops_the_bill(desk, bills):
    with pytest.raises(Permanent, match="Invalid Folder Nowhere selected") as caught:
        await bills.create(body(), "K1", files(folder="Nowhere"), desk.stamp)
    assert (caught.value.code, booked(desk), attached(desk)) == ("folder", [], {})


async def test_a_refused_bill_leaves_its_files_which_can_be_taken_away_though_queries_lag(desk, bills):
    desk.box.sim.settings(read_lag_s=5)
    wrong = body(lines=[line(account="6900"), line(account="6100")], vendor={"id": "VOFF"})
    with pytest.raises(Permanent) as caught:
        await bills.create(wrong, "K1", files(), desk.stamp)
    for words in ("Activate the vendor VOFF", "Account 6900 is not valid", "missing the Department dimension for the Account 6100"):
        assert words in caught.value.message
    assert (caught.value.code, booked(desk), list(attached(desk))) == ("vendor", [], [MARKER])
    assert await bills.delete_attachment(MARKER, desk.stamp)
    assert attached(desk) == {}
    assert not await bills.delete_attachment(MARKER, desk.stamp)


# Files that are there already


async def test_an_attachment_that_is_there_is_made_to_hold_the_files_and_the_bill_follows_alone(desk, bills):
    old = [{"name": "invoice.pdf", "data": base64.b64encode(PDF).decode()}, {"name": "page 2.pdf", "data": "b2xk"}]
    key = await desk.box.create(ATTACHMENT, id=MARKER, name=MARKER, folder={"id": "Receipts"}, files=old)
    created = await bills.create(body(), "K1", files(("page 2.pdf", b"new"), ("page 3.pdf", b"three")), desk.stamp)
    assert contents(desk) == {"invoice.pdf": PDF, "page 2.pdf": b"new", "page 3.pdf": b"three"}
    assert [row["key"] for row in desk.box.sim.books()["attachments"]] == [key]
    assert (booked(desk), created.replayed) == ([("B-1", "posted", MARKER)], False)


async def test_the_same_files_are_not_sent_again(desk, bills):
    same = [{"name": "invoice.pdf", "data": base64.b64encode(PDF).decode()}]
    await desk.box.create(ATTACHMENT, id=MARKER, name=MARKER, folder={"id": "Receipts"}, files=same)
    await bills.create(body(), "K1", files(), desk.stamp)
    assert not [name for name in desk.calls() if name.startswith("PATCH")]
    assert (desk.stamp.count, booked(desk)) == (2, [("B-1", "posted", MARKER)])


async def test_an_attachment_that_queries_do_not_show_yet_holds_the_bill_back(desk, bills):
    desk.box.sim.settings(read_lag_s=5)
    await desk.box.create(ATTACHMENT, id=MARKER, name=MARKER, folder={"id": "Receipts"}, files=[])
    with pytest.raises(Transient) as caught:
        await bills.create(body(), "K1", files(), desk.stamp)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert booked(desk) == []
    desk.box.sim.kernel.clock.advance(6)
    await bills.create(body(), "K1", files(), desk.stamp)
    assert (booked(desk), attached(desk)) == ([("B-1", "posted", MARKER)], {MARKER: ["invoice.pdf"]})


async def test_an_attachment_that_a_bill_has_says_that_the_bill_may_be_there(desk, bills):
    desk.box.sim.settings(idempotency=False, bill_number_unique="off")
    await bills.create(body(), "K1", files(), desk.stamp)
    with pytest.raises(OutcomeUnknown) as caught:
        await bills.create(body(), "K1", files(), desk.stamp)
    assert (caught.value.code, len(booked(desk))) == ("attachment_used", 1)


async def test_files_whose_answer_was_lost_put_nothing_about_the_bill_in_doubt(desk):
    bills = SageBills(desk.client, limit_bytes=15_000)
    desk.spoil(POST_FILES, "drop_after_commit")
    with pytest.raises(Transient) as caught:
        await bills.create(body(), "K1", files(("two.pdf", b"2" * 9_000)), desk.stamp)
    assert not isinstance(caught.value, OutcomeUnknown)
    await bills.create(body(), "K1", files(("two.pdf", b"2" * 9_000)), desk.stamp)
    assert (booked(desk), attached(desk)) == ([("B-1", "posted", MARKER)], {MARKER: ["invoice.pdf", "two.pdf"]})


async def test_a_later_revision_takes_away_the_files_that_an_earlier_one_left_but_none_of_a_bill(desk, bills):
    second, third = DOCUMENT.marker(1), DOCUMENT.marker(2)
    other = DocumentId("DEMO", "100", "INV", "1002").marker()
    await bills.create(body("B-0"), "K0", files(), desk.stamp)
    for name in (second, other):
        await desk.box.create(ATTACHMENT, id=name, name=name, folder={"id": "Receipts"}, files=[])
    await bills.create(body("B-2", third), "K2", files(marker=third), desk.stamp)
    assert set(attached(desk)) == {MARKER, third, other}


# What was lost, repeated or refused


@pytest.mark.parametrize("where", [COMPOSITE, POST_BILL])
@pytest.mark.parametrize("kind", ["drop_after_commit", "drop_before", "truncate", "garbage", "status"])
async def test_a_lost_answer_is_not_repeated_and_nobody_says_what_became_of_it(desk, bills, where, kind):
    with_files = where == COMPOSITE
    desk.spoil(where, kind)
    with pytest.raises(OutcomeUnknown):
        await bills.create(body() if with_files else body(attachment=None), "K1", files() if with_files else None, desk.stamp)
    done = kind in ("drop_after_commit", "truncate")
    assert (len(booked(desk)), desk.calls()) == (int(done), {where: 1})
    (found,) = await bills.find([trace("B-1")])
    assert [one.number for one in found] == (["B-1"] if done else [])


@pytest.mark.parametrize("with_files", [True, False])
async def test_a_yes_that_sage_repeats_is_marked(desk, bills, with_files):
    asked = (body() if with_files else body(attachment=None), "K1", files() if with_files else None)
    first = await bills.create(*asked, desk.stamp)
    again = await bills.create(*asked, desk.stamp)
    assert (first.key, first.replayed) == (again.key, False)
    assert (again.replayed, len(booked(desk))) == (True, 1)


@pytest.mark.parametrize("with_files", [True, False])
async def test_a_refusal_that_sage_repeats_burns_the_key(desk, bills, with_files):
    asked = (body(vendor={"id": "VOFF"}, **({} if with_files else {"attachment": None})), "K1", files() if with_files else None)
    codes = []
    for _ in range(2):
        with pytest.raises(Permanent) as caught:
            await bills.create(*asked, desk.stamp)
        codes.append(caught.value.code)
        desk.box.load("accounts-payable/vendor", {"id": "VOFF", "name": "Inactive", "status": "active"}, mode="upsert")
    assert (codes, booked(desk)) == (["vendor", "burnt"], [])


async def test_a_key_used_with_other_bytes_is_burnt(desk, bills):
    await bills.create(body("B-1", attachment=None), "K1", None, desk.stamp)
    with pytest.raises(Permanent) as caught:
        await bills.create(body("B-2", attachment=None), "K1", None, desk.stamp)
    assert (caught.value.code, caught.value.status, len(booked(desk))) == ("burnt", 409, 1)


async def test_a_key_whose_answer_is_no_longer_kept_is_burnt(desk, bills):
    await bills.create(body(attachment=None), "K1", None, desk.stamp)
    desk.box.sim.kernel.clock.advance(50 * HOUR_S)
    await desk.box.sign_in()
    with pytest.raises(Permanent) as caught:
        await bills.create(body(attachment=None), "K1", None, desk.stamp)
    assert caught.value.code == "burnt"


async def test_two_at_once_make_one_bill(desk, bills):
    desk.spoil(POST_BILL, "latency", count=None, params={"ms": 50})
    answers = await asyncio.gather(*(bills.create(body(attachment=None), "K1", None, desk.stamp) for _ in range(2)), return_exceptions=True)
    assert len(booked(desk)) == 1
    assert sum(not isinstance(one, BaseException) and not one.replayed for one in answers) == 1


@pytest.mark.parametrize("with_files", [True, False])
async def test_a_number_that_is_there_is_said_to_be_a_duplicate(desk, bills, with_files):
    await desk.box.create(BILL, **bill("B-1"))
    with pytest.raises(Permanent, match="Another record with the value B-1") as caught:
        await bills.create(body() if with_files else body(attachment=None), "K1", files() if with_files else None, desk.stamp)
    assert caught.value.code == "duplicate"


async def test_a_closed_period_is_said_so(desk, bills):
    desk.box.sim.settings(closed_until="2026-11-30")
    with pytest.raises(Permanent, match=r"period of 2026-11-23 is closed") as caught:
        await bills.create(body(), "K1", files(), desk.stamp)
    assert caught.value.code == "period_closed"


# Leaving in time, and being let in


async def test_a_write_that_was_held_up_does_not_leave(desk, bills):
    desk.stamp.within_s = -0.001
    with pytest.raises(Transient) as caught:
        await bills.create(body(), "K1", files(), desk.stamp)
    assert (caught.value.code, isinstance(caught.value, OutcomeUnknown), desk.calls()) == ("too_late", False, {})


async def test_a_lock_that_is_lost_before_the_write_stops_it(desk, bills):
    async def lost() -> float:
        raise Transient("the lock was lost", code="lock_lost")

    with pytest.raises(Transient, match="lock was lost"):
        await bills.create(body(), "K1", files(), lost)
    assert desk.calls() == {}


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refused_token_is_replaced_and_the_write_stamped_again(desk, bills, status):
    desk.box.sim.settings(expired_token_status=status)
    await desk.client.dimensions()  # has a token now
    desk.box.sim.expire_tokens()
    await bills.create(body(), "K1", files(), desk.stamp)
    assert (desk.stamp.count, booked(desk)) == (2, [("B-1", "posted", MARKER)])


async def test_a_429_is_handed_on_and_holds_everybody(desk, bills, redis):
    desk.spoil(COMPOSITE, "throttle", params={"retry_after_s": 7})
    with pytest.raises(RateLimited) as caught:
        await bills.create(body(), "K1", files(), desk.stamp)
    assert (caught.value.retry_after_s, booked(desk), desk.calls()) == (7, [], {COMPOSITE: 1})
    assert 3000 < await redis.pttl("connect:sage:acme:pause") <= 7000


async def test_a_slot_lost_on_the_way_leaves_it_open_what_happened(desk, bills, redis, monkeypatch):
    desk.spoil(COMPOSITE, "latency", params={"ms": 20_000})
    monkeypatch.setattr(desk.client._slots, "_lease_s", 0.6)
    task = asyncio.create_task(bills.create(body(), "K1", files(), desk.stamp))
    while not desk.box.sim.stats.in_flight:
        await asyncio.sleep(0.01)
    await redis.delete("connect:sage:acme:slots")
    with pytest.raises(OutcomeUnknown) as caught:
        await task
    assert caught.value.code == "slot_lost"


async def test_who_may_not_do_it_is_told_so(desk, bills):
    desk.box.sim.settings(modules=["general-ledger"])
    with pytest.raises(Auth) as caught:
        await bills.create(body(attachment=None), "K1", None, desk.stamp)
    assert caught.value.status == 403


# Look-ups


async def test_a_bill_is_found_by_its_attachment_its_marker_its_link_or_its_number(desk, bills):
    link = "https://prime.example/show?no=12"
    await desk.box.create(ATTACHMENT, id=MARKER, name="x", folder={"id": "Receipts"}, files=[])
    await desk.box.create(BILL, **bill("A-1", attachment={"id": MARKER}))
    await desk.box.create(BILL, **bill("A-2", description=f"see {DOCUMENT.marker(12)}"))
    await desk.box.create(BILL, **bill("A-3", description=f"Oil {link}"))
    await desk.box.create(BILL, **bill("A-4", description=f"Oil {link}3"))
    await desk.box.create(BILL, **bill("A-5"))
    await desk.box.create(BILL, **bill("A-5", vendor={"id": "V2"}))
    await desk.box.create(BILL, **bill("A-6"))
    desk.box.sim.stats.calls.clear()
    stranger = DocumentId("DEMO", "200", "INV", "1001")
    first, second = await bills.find([trace("A-5", "A-9", link=link), trace("A-6", document=stranger)])
    assert [(one.number, one.vendor, one.is_of(MARKER), one.has_link) for one in first] == [
        ("A-1", "V1", True, False),
        ("A-2", "V1", True, False),
        ("A-3", "V1", True, True),
        ("A-5", "V1", False, False),
    ]
    assert [one.revision(MARKER) for one in first] == [0, 12, 0, 0]
    assert [one.number for one in second] == ["A-6"]
    assert desk.calls() == {QUERY: 1}


async def test_a_look_up_tells_amount_currency_and_state(desk, bills):
    await bills.create(body(lines=[line("15.10"), line("-0.35")]), "K1", files(), desk.stamp)
    ((found,),) = await bills.find([trace("B-1")])
    assert (found.amount, found.currency, found.state, found.vendor) == (Decimal("14.75"), "USD", "posted", "V1")
    assert found.markers == (MARKER,)


async def test_many_documents_are_looked_for_in_few_queries(desk, bills):
    documents = [DocumentId("DEMO", "100", "INV", str(n)) for n in range(120)]
    for n in (0, 49, 50, 119):
        await desk.box.create(BILL, **bill(f"N-{n}", description=documents[n].marker()))
    desk.box.sim.stats.calls.clear()
    found = await bills.find([trace(document=document) for document in documents])
    assert [n for n, one in enumerate(found) if one] == [0, 49, 50, 119]
    assert desk.calls() == {QUERY: 3}


async def test_queries_lag_behind_and_the_bill_itself_does_not(desk, bills):
    desk.box.sim.settings(read_lag_s=5)
    created = await bills.create(body(), "K1", files(), desk.stamp)
    assert await bills.find([trace("B-1")]) == [[]]
    assert (await bills.bill(created.key)).amount == Decimal("15.00")
    desk.box.sim.kernel.clock.advance(5.1)
    ((found,),) = await bills.find([trace("B-1")])
    assert found.key == created.key


async def test_a_bill_that_is_private_to_an_entity_is_found_from_the_top(desk, bills):
    created = await bills.create(body(), "K1", files(), desk.stamp, entity="E1")
    assert {row["entity"] for part in ("bills", "attachments") for row in desk.box.sim.books()[part]} == {"E1"}
    assert [[one.key for one in found] for found in await bills.find([trace("B-1"), trace(document=DOCUMENT)])] == [[created.key]] * 2


async def test_an_attachment_of_an_entity_is_aligned_within_it(desk, bills):
    with pytest.raises(Permanent):
        await bills.create(body(vendor={"id": "VOFF"}), "K1", files(), desk.stamp, entity="E1")
    again = SageBills(desk.client)  # another process
    await again.create(body(), "K2", files(("new.pdf", b"n")), desk.stamp, entity="E1")
    assert (booked(desk), attached(desk)) == ([("B-1", "posted", MARKER)], {MARKER: ["invoice.pdf", "new.pdf"]})


# Taken back, paid


async def test_a_reversed_bill_is_found_by_its_marker_under_its_new_number(desk, bills):
    created = await bills.create(body(), "K1", files(), desk.stamp)
    await bills.reverse(created.key, date(2026, 11, 25), "Cancelled in Prime", desk.stamp)
    ((found,),) = await bills.find([trace("B-1")])
    assert (found.number, found.state) == ("Reversed - B-1", "reversed")
    with pytest.raises(Permanent):
        await bills.reverse(created.key, date(2026, 11, 25), "again", desk.stamp)


async def test_a_bill_is_deleted_once_and_its_files_with_it(desk, bills):
    created = await bills.create(body(), "K1", files(), desk.stamp)
    assert await bills.delete(created.key, desk.stamp)
    assert not await bills.delete(created.key, desk.stamp)
    assert await bills.delete_attachment(MARKER, desk.stamp)
    assert (booked(desk), attached(desk), await bills.bill(created.key)) == ([], {}, None)


async def test_a_paid_bill_is_not_deleted_and_tells_when_it_was_paid(desk, bills):
    first = await bills.create(body(), "K1", files(), desk.stamp)
    second = await bills.create(body("B-2", attachment=None), "K2", None, desk.stamp)
    await desk.box.create("accounts-payable/payment", **payment(first.key, "15.00", paymentMethod="EFT"))
    await desk.box.create("accounts-payable/payment", **payment(second.key, "5.00", paymentMethod="EFT"))
    with pytest.raises(Permanent, match="in the state paid cannot be deleted"):
        await bills.delete(first.key, desk.stamp)
    (paid,) = await bills.paid_since(date(2026, 11, 25))
    assert (paid.key, paid.number, paid.vendor, paid.paid_on, paid.markers) == (first.key, "B-1", "V1", date(2026, 11, 25), (MARKER,))
    assert await bills.paid_since(date(2026, 11, 26)) == []
    both = await bills.bills([first.key, second.key, "999"])
    assert {key: (one.state, one.due) for key, one in both.items()} == {
        first.key: ("paid", Decimal("0.00")),
        second.key: ("partiallyPaid", Decimal("10.00")),
    }


# What it costs


async def test_an_invoice_with_a_pdf_costs_little_more_than_one_call_and_two_transactions(desk, bills):
    count = 60
    documents = [DocumentId("DEMO", "100", "INV", str(n)) for n in range(count)]
    await desk.client.dimensions()
    desk.box.sim.stats.calls.clear()
    desk.box.sim.stats.transactions = 0
    assert await bills.find([trace(f"C-{n}", document=one) for n, one in enumerate(documents)]) == [[]] * count
    for n, document in enumerate(documents):
        marker = document.marker()
        await bills.create(body(f"C-{n}", marker), f"K{n}", files(("scan.pdf", b"x" * 60_000), marker=marker), desk.stamp)
    assert len(booked(desk)) == len(attached(desk)) == count
    assert sum(desk.calls().values()) / count <= 1.1
    assert desk.box.sim.stats.transactions / count <= 2.1
