"""Files compared by content, and cut into requests."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect.errors import Permanent
from connect.sage.attachments import Attachments, File, Files, _difference

NAMES = st.sampled_from(["a.pdf", "b.pdf", 'x"é\n.xml'])
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=6)


def in_sage(files):
    return [{"key": str(n), "name": name, "data": base64.b64encode(content).decode()} for n, (name, content) in enumerate(files)]


@settings(deadline=None)
@given(wanted=FILES, there=FILES)
def test_what_is_added_and_taken_away_leaves_exactly_the_files_wanted(wanted, there):
    rows = in_sage(there)
    added, gone = _difference([File(*one) for one in wanted], rows)
    left = [one for one, row in zip(there, rows, strict=True) if row not in gone]
    assert sorted([*left, *((file.name, file.content) for file in added)]) == sorted(wanted)
    assert not {file.identity for file in added} & {File(row["name"], base64.b64decode(row["data"])).identity for row in gone}


def test_a_file_whose_content_sage_does_not_show_is_sent_again():
    added, gone = _difference([File("a.pdf", b"1")], [{"key": "9", "name": "a.pdf", "size": 1}])
    assert ([file.name for file in added], [row["key"] for row in gone]) == (["a.pdf"], ["9"])


@settings(deadline=None)
@given(files=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), min_size=1, max_size=8))
def test_requests_hold_every_file_once_and_stay_below_the_limit(files):
    attachments = Attachments(None, limit_bytes=2600)
    own = Files("RP-AAAAAAAAAAAAAAAA", "Receipts", tuple(File(*one) for one in files))
    attachments.check(own)
    requests = attachments._requests([file.packed() for file in own.files])
    assert [orjson.loads(one) for part in requests for one in part] == [orjson.loads(file.packed()) for file in own.files]
    assert all(len(own.body(part)) <= 2600 for part in requests)


def test_files_too_big_are_all_named_with_their_size():
    own = Files("RP-A", "R", (File("a.pdf", b"x" * 9_000), File("b.pdf", b"x"), File("c.pdf", b"x" * 8_000)))
    with pytest.raises(Permanent, match=r"a\.pdf \(9 kB\), c\.pdf \(8 kB\)$"):
        Attachments(None, limit_bytes=10_000).check(own)


def test_the_body_names_folder_and_files_and_shows_no_content_elsewhere():
    own = Files("RP-A", "R", (File('q"\n.pdf', b"secret"),))
    assert orjson.loads(own.body([own.files[0].packed()])) == {
        "id": "RP-A",
        "name": "RP-A",
        "folder": {"id": "R"},
        "files": [{"name": 'q"\n.pdf', "data": base64.b64encode(b"secret").decode()}],
    }
    assert "secret" not in repr(own)
