"""Which filters a look-up asks for, and which bills it takes for which document."""

from __future__ import annotations

import orjson
import pytest

from connect.errors import OutcomeUnknown, Poison
from connect.ledger import Trace
from connect.sage.attachments import File, Files
from connect.sage.bills import _bill, _filters_of, _is_of, _key_in, _together, has_link

ROOT, OTHER = "RP-AAAAAAAAAAAAAAAA", "RP-BBBBBBBBBBBBBBBB"
LINK = "https://p/show?no=12"


def row(**changes):
    return {"key": "7", "billNumber": "B-1", "vendor.id": "V1", "totalTxnAmount": "15.00", "state": "posted"} | changes


@pytest.mark.parametrize("text", [LINK, f"Oil {LINK}", f"{LINK} {ROOT}", f'<a href="{LINK}">', f"{LINK}3, {LINK}"])
def test_a_link_that_stands_in_the_text_is_found(text):
    assert has_link(text, LINK)


@pytest.mark.parametrize("text", ["", f"{LINK}3", f"{LINK}&x=1", LINK[:-1]])
def test_a_link_that_only_begins_like_it_is_another(text):
    assert not has_link(text, LINK)


def test_no_link_is_nowhere():
    assert not has_link("anything", "")


def test_a_look_up_asks_for_attachments_markers_links_and_numbers_at_once():
    traces = [Trace(ROOT, (("V1", "B-1"), ("V1", "B-2")), LINK), Trace(OTHER, (("V2", "B-1"),))]
    filters, expression = _filters_of(traces)
    assert set(filters[0]["$in"]["attachment.id"]) >= {ROOT, f"{ROOT}-9", OTHER, f"{OTHER}-1"}
    assert filters[1:] == [
        {"$contains": {"description": ROOT}},
        {"$contains": {"description": OTHER}},
        {"$contains": {"description": LINK}},
        {"$in": {"billNumber": ["B-1", "B-2"]}},
        {"$in": {"vendor.id": ["V1", "V2"]}},
    ]
    assert expression == "1 or 2 or 3 or 4 or (5 and 6)"


def test_without_numbers_only_markers_are_asked_for():
    filters, expression = _filters_of([Trace(ROOT, ())])
    assert (len(filters), expression) == (2, "1 or 2")


@pytest.mark.parametrize(
    ("changes", "mine"),
    [
        ({}, True),
        ({"vendor.id": "V2"}, False),  # V2 and B-1 are both asked for, not together
        ({"billNumber": "B-9"}, False),
        ({"billNumber": "B-9", "attachment.id": f"{ROOT}-3"}, True),
        ({"billNumber": "B-9", "description": f"Oil {ROOT}-12"}, True),
        ({"billNumber": "B-9", "description": LINK}, True),
        ({"billNumber": "B-9", "description": f"{LINK}3 {OTHER}"}, False),
    ],
)
def test_a_bill_is_one_of_the_documents_by_number_with_vendor_marker_or_link(changes, mine):
    assert _is_of(_bill(row(**changes)), Trace(ROOT, (("V1", "B-1"),), LINK)) is mine


def test_markers_are_told_once_each():
    assert _bill(row(**{"attachment.id": ROOT, "description": f"{ROOT} {ROOT}-1"})).markers == (ROOT, f"{ROOT}-1")


@pytest.mark.parametrize("changes", [{"totalTxnAmount": "much"}, {"createdDate": "today"}])
def test_what_is_no_amount_or_no_date_is_not_guessed(changes):
    with pytest.raises(Poison):
        _bill(row(**changes))


def test_a_composite_holds_the_bills_bytes_untouched():
    body = b'{"billNumber": "B-1",  "n": 1.50}'
    whole = _together(body, "K1", Files(ROOT, "R", (File("a.pdf", b"1"),)))
    assert body in whole
    first, second = orjson.loads(whole)
    assert (first["path"], first["body"]["id"], "headers" in first) == ("/objects/company-config/attachment", ROOT, False)
    assert (second["path"], second["headers"]) == ("/objects/accounts-payable/bill", {"Idempotency-Key": "K1"})


@pytest.mark.parametrize("result", [None, [], {}, {"key": None}, {"key": "abc"}])
def test_a_yes_without_a_key_leaves_it_open(result):
    with pytest.raises(OutcomeUnknown):
        _key_in(result)
