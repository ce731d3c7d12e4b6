"""Pages of the query service: cut at their row boundaries, or read the slow way, or refused as no page."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import Poison
from connect.sage.query import MAX_SIZE, Query, QueryPage


def body(rows, *, total=None, after=None, option=0):
    whole = {"ia::result": rows, "ia::meta": {"totalCount": len(rows) if total is None else total, "start": 1, "next": after}}
    return orjson.dumps(whole, option=option)


def test_a_query_says_what_it_wants_and_leaves_out_what_it_does_not():
    asked = orjson.loads(Query("a/b", ("key", "term.key")).body())
    assert asked == {"object": "a/b", "fields": ["key", "term.key"], "orderBy": [{"key": "asc"}], "start": 1, "size": MAX_SIZE}
    filters = ({"$gt": {"key": "5"}}, {"$eq": {"status": None}})
    asked = orjson.loads(Query("a/b", ("key",), filters, start=11, size=10, include_private=True).body())
    assert asked["filters"] == [{"$gt": {"key": "5"}}, {"$eq": {"status": None}}]
    assert asked["filterExpression"] == "and"
    assert (asked["start"], asked["size"], asked["filterParameters"]) == (11, 10, {"includePrivate": True})


def test_sages_largest_page_is_asked_for():
    assert MAX_SIZE == 4000


TEXT = st.text(max_size=12) | st.sampled_from(['},{"key":"', '],"ia::meta":', ':[{"', '"', "\\", '\\"},{"key":"7', "אב & <", "\u2028"])
ROW = st.fixed_dictionaries(
    {"key": st.integers(1, 10**9).map(str)},
    optional={
        "name": TEXT,
        "term.key": TEXT | st.none(),
        "n": st.integers(-(2**63), 2**63 - 1) | st.booleans(),
        "ref": st.fixed_dictionaries({"key": TEXT}),
    },
)


@given(st.lists(ROW, max_size=6), st.integers(0, 100), st.none() | st.integers(1, 100), st.sampled_from([0, orjson.OPT_INDENT_2]))
def test_every_row_comes_out_as_it_was_whatever_is_written_in_it(rows, total, after, option):
    page = QueryPage(body(rows, total=total, after=after, option=option))
    assert (page.total_count, page.next) == (total, after)
    found = page.rows()
    assert [key for key, _ in found] == [int(row["key"]) for row in rows]
    assert [orjson.loads(raw) for _, raw in found] == rows
    assert orjson.loads(page.region()) == rows


def test_rows_that_hold_lists_of_objects_are_not_cut_in_them():
    rows = [{"key": "1", "lines": [{"key": "7"}, {"key": "8"}]}, {"key": "2", "lines": []}]
    assert [orjson.loads(raw) for _, raw in QueryPage(body(rows)).rows()] == rows


@pytest.mark.parametrize(
    "raw",
    [
        b'{"ia::meta":{"totalCount":1,"next":null},"ia::result":[{"key":"7"}]}',
        b'{"ia::result":[{"key":"7"}],"ia::meta":{"totalCount":1}}\n',
        b' {"ia::result":[{"key":"7"}],"ia::meta":{"totalCount":1}}',
        b'{"ia::result":[{"key":"7"}],"ia::meta":{"totalCount":1},"more":{}}',
        b'{"ia::result":[{"key":"7"}],"ia::meta":{"totalCount":"1","next":null,"previous":null,"new":[1]}}',
        b'{"ia::result":[{"id":"V7","key":"7"}],"ia::meta":{"totalCount":1}}',
        b'{"ia::result":[{"key":7}],"ia::meta":{"totalCount":1}}',
    ],
)
def test_other_ways_to_write_the_same_page_are_read(raw):
    page = QueryPage(raw)
    assert (page.total_count, page.next, [key for key, _ in page.rows()]) == (1, None, [7])


@pytest.mark.parametrize(("after", "expected"), [(b"null", None), (b"101", 101), (b'"101"', 101), (b"0", None), (b'""', None)])
def test_the_next_page_may_be_a_number_or_a_text(after, expected):
    assert QueryPage(b'{"ia::result":[],"ia::meta":{"totalCount":0,"next":%b}}' % after).next == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"<!DOCTYPE html><html></html>",
        b"\xff\xfe\x00",
        b'{"ia::result":{"key":"1"},"ia::meta":{"totalCount":1}}',
        b'{"ia::result":null,"ia::meta":{"totalCount":1}}',
        b'{"ia::result":"x","ia::meta":{"totalCount":1}}',
        b'{"ia::result":[],"ia::meta":[]}',
        b'{"ia::result":[],"ia::meta":{"totalCount":"many"}}',
        b'{"ia::result":[],"ia::meta":{"totalCount":{}}}',
        b'{"ia::result":[],"ia::meta":{"totalCount":1,"next":"soon"}}',
        b'{"ia::result":[]}',
        b'{"ia::result":[],"ia::meta":{}}',
        b'{"ia::result":[{"key":"1"}',
        b'{"ia::result":[{"key":"1"}],"ia::meta":{"totalCount":1}',
        b"[" * 200_000,
        b'{"ia::result":' + b"[" * 200_000,
        b"<" + b"x" * 10_000_000,
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_no_page_is_said_to_be_none(raw):
    with pytest.raises(Poison, match="no page of rows") as caught:
        QueryPage(raw, "accounts-payable/vendor")
    assert caught.value.code == "no_page"
    assert "accounts-payable/vendor" in caught.value.message
    assert len(caught.value.message) < 400
    assert len(caught.value.detail) <= 2000


def test_a_page_that_is_cut_off_anywhere_is_no_page():
    whole = body([{"key": "1", "name": "a"}, {"key": "2", "name": "b"}])
    assert len(QueryPage(whole).rows()) == 2
    for length in range(len(whole)):
        with pytest.raises(Poison):
            QueryPage(whole[:length])


@pytest.mark.parametrize("key", ["null", '"x"', '""', "1.5", "[]", '"0"', '"-4"', '"9223372036854775807"', "99999999999999999999"])
@pytest.mark.parametrize("space", ["", " "])
def test_a_key_that_is_no_record_number_is_named(key, space):
    raw = f'{{"ia::result":[{space}{{"key":{key},"id":"V"}}],"ia::meta":{{"totalCount":1}}}}'.encode()
    with pytest.raises(Poison):
        QueryPage(raw).rows()


def test_a_page_of_ten_megabytes_is_read():
    rows = [{"key": str(n), "notes": "x" * 2500} for n in range(1, MAX_SIZE + 1)]
    page = QueryPage(body(rows))
    assert len(page.body) > 10_000_000
    assert len(page.rows()) == MAX_SIZE


def test_the_digest_is_of_the_rows_and_not_of_what_is_around_them():
    one, same, other = (QueryPage(body([{"key": "1"}], total=total)) for total in (1, 2, 3))
    assert one.digest() == same.digest() == other.digest()
    assert one.digest() != QueryPage(body([{"key": "2"}])).digest()
