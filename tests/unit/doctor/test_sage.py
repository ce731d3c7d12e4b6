"""Reading Sage's model service and its refusals of a token."""

from __future__ import annotations

from typing import Any

import pytest

from connect.doctor.sage import _kind, field_in
from connect.errors import Auth, ConnectError, Transient

MODEL: dict[str, Any] = {
    "fields": {"key": {"type": "string"}},
    "groups": {"audit": {"fields": {"modifiedDateTime": {}}, "groups": []}},
    "refs": {"contacts": [], "term": {"fields": {"key": {"deprecated": True}}}},
    "lists": [],
}


PATHS = {
    "key": True,
    "audit.modifiedDateTime": True,
    "term.key": True,
    "term.id": False,
    "name": False,
    "audit.x.y": False,
    "contacts.key": False,
}


@pytest.mark.parametrize(("path", "found"), PATHS.items())
def test_a_dotted_field_is_found_through_groups_and_references(path: str, found: bool) -> None:
    assert (field_in(MODEL, path) is not None) == found


def test_empty_parts_of_a_model_are_lists() -> None:
    assert field_in({"fields": [], "groups": [], "refs": []}, "a.b") is None


def refused(words: str, status: int) -> Auth:
    """As auth.request_token says it; the code stands at the end of Sage's words."""
    return Auth(f"Sage refuses the credentials of u@c: {words}. Check x", code=words.rpartition("(")[2].rstrip(")"), status=status)


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (refused("Invalid client (GW-0011)", 401), "sage.client"),
        (refused("Invalid tenant (GW-0011)", 401), "sage.company"),
        (refused("Tenant is missing in username (GW-0012)", 400), "sage.company"),
        (refused("u@c is not authorized for this client (invalid_grant)", 400), "sage.authorised"),
        (refused("HTTP 404", 404), "sage.url"),
        (Auth("https://x answers with a web page", code="wrong_url", status=200), "sage.url"),
        (Transient("sage cannot be reached", code="unreachable"), "sage.url"),
        (refused("something new (X-1)", 401), "sage.client"),
    ],
)
def test_each_refusal_of_a_token_belongs_to_one_check(error: ConnectError, check: str) -> None:
    assert _kind(error) == check
