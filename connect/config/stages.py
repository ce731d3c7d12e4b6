"""Test or production: which of them a connection says it is, and which its addresses and ids speak of.

The guide advises to end a connection's name in TEST or PROD. Only words are compared, so what is found is a doubt, not a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Stage = Literal["test", "production"]
PARTNER_CLIENT: Final = "55524a851771f75b6640.app.sage.com"  # the client id for production, one for all customers (the guide, step 6)
_OF_TEST: Final = (
    "test",
    "tst",
    "sandbox",
    "sbx",
    "uat",
    "dev",
    "demo",
    "staging",
    "stage",
    "qa",
    "impl",
    "nonprod",
    "preprod",
    "localhost",
)
_OF_PRODUCTION: Final = ("prod", "production", "prd", "live")
_TEST: Final[Stage] = "test"
_PRODUCTION: Final[Stage] = "production"
_WORDS: Final = dict.fromkeys(_OF_TEST, _TEST) | dict.fromkeys(_OF_PRODUCTION, _PRODUCTION)


def stage_of(text: str) -> Stage | None:
    """What a name, an id or an address speaks of; None when of neither, or of both."""
    host = urlsplit(text).netloc if "://" in text else ""
    if host.startswith("127."):
        return "test"
    found = {_WORDS[word] for word in re.findall(r"[a-z]+", text.casefold()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def stage_of_name(name: str) -> Stage | None:
    """What the end of a connection's name says."""
    last = re.search(r"([A-Za-z]+)\W*$", name)
    if last is None:
        return None
    word = last[1].casefold()
    return next((stage for known, stage in _WORDS.items() if word == known), None)


def misplaced(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a connection's values, those of the other stage than its name: (key, what is odd). Keys are the configuration's."""
    stage = stage_of_name(name)
    if stage is None:
        return
    other: Stage = "test" if stage == "production" else "production"
    for key, value in values.items():
        if not isinstance(value, str):
            continue
        if key == "SageClientId" and value == PARTNER_CLIENT and stage == "test":
            yield key, f"is the client id for production, whose use is billed, and {name} is a test"
        elif stage_of(value) == other:
            yield key, f"{value} looks like {other}, and {name} is {'a test' if stage == 'test' else 'production'}"


def shared(name: str, values: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Of a test's values, those that a production connection has as well: (key, what is odd). `others`: name -> its values."""
    if stage_of_name(name) != "test":
        return
    for other, theirs in others.items():
        if stage_of_name(other) == "production":
            for key in OWN:
                if values.get(key) is not None and values[key] == theirs.get(key):
                    yield key, f"is what {other} has, which is production, and {name} is a test; give it one of its own"


ADDRESSES: Final = ("environment", "url", "rest_url", "rest_identity_url", "rest_tenant", "password", "rest_client_secret")
OWN: Final = ("environment", "url", "password", "rest_client_secret", "SageClientId", "SageClientSecret", "SageUserName")  # of each
KEYS: Final = ("SageTokenUrl", "SageBaseUrl", "SageQueryUrl", "SageClientId", "SageClientSecret", "SageUserName")


def values_of(connection: Mapping[str, Any]) -> dict[str, Any]:
    """What tells test from production in a connection's table as a file has it; secrets as the references they are."""
    credentials = connection.get("lookups", {}).get("Credentials", {})
    return {key: connection.get(key) for key in ADDRESSES} | {key: credentials.get(key) for key in KEYS}
