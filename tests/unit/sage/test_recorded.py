"""Replies of Sage that were recorded in public: each is read as what it is."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from connect.errors import Auth, Permanent, Poison
from connect.http import Reply
from connect.sage.envelope import error_from, fault_of, result_of
from connect.sage.query import QueryPage

FOLDER = next((parent for up in Path(__file__).resolve().parents if (parent := up / "shared/reference/sage-recorded").is_dir()), None)
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".json", ".html")) if FOLDER else []
ERRORS = {
    "fyle-journal-entry-post-error.json": (422, Permanent, "GL-0951"),
    "fyle-error-no-details.json": (400, Permanent, "REST-7001"),
    "nango-token-invalid.json": (401, Auth, "REST-2102"),
    "amp-invalid-path.html": (404, Permanent, "404"),
}

pytestmark = pytest.mark.skipif(FOLDER is None, reason="the recorded replies are not on this machine")


def recorded(name: str, status: int = 200) -> Reply:
    assert FOLDER is not None
    return Reply(status, {}, (FOLDER / name).read_bytes(), 1.0)


def is_list(name: str) -> bool:
    return isinstance(orjson.loads(recorded(name).body)["ia::result"], list)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_is_classified_with_its_code(name):
    status, kind, code = ERRORS[name]
    error = error_from(recorded(name, status))
    assert (type(error), error.code, error.status) == (kind, code, status)


@pytest.mark.parametrize("name", sorted(set(FILES) - ERRORS.keys()))
def test_a_good_reply_is_one_and_has_a_result(name):
    status = int(found[1]) if (found := re.search(r"-(20\d)(?:-empty)?\.json$", name)) else 200
    reply = recorded(name, status)
    assert error_from(reply) is None
    assert fault_of(reply.body) is None
    assert result_of(reply) == orjson.loads(reply.body)["ia::result"]


@pytest.mark.parametrize("name", sorted(set(FILES) - ERRORS.keys()))
def test_lists_are_pages_and_single_records_are_not(name):
    body = recorded(name).body
    if not is_list(name):
        with pytest.raises(Poison, match="no list"):
            QueryPage(body)
        return
    page, whole = QueryPage(body), orjson.loads(body)
    assert (page.total_count, page.next) == (whole["ia::meta"]["totalCount"], None)
    assert [orjson.loads(raw) for _, raw in page.rows()] == whole["ia::result"]
    assert [key for key, _ in page.rows()] == [int(row["key"]) for row in whole["ia::result"]]


def test_a_page_of_a_web_server_is_no_page_of_rows():
    with pytest.raises(Poison, match="no page of rows"):
        QueryPage(recorded("amp-invalid-path.html").body)


def test_the_details_of_a_business_failure_are_what_a_person_reads():
    fault = fault_of(recorded("fyle-journal-entry-post-error.json").body)
    assert fault.outer == "REST-7001"
    assert "Could not create GLBatch record" in fault.message
    assert fault.request_id
