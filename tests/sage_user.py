"""A person at work in the sandbox's Sage, through its API: pays bills, deletes and reverses them."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import orjson
from world import SECRETS, Sandbox

BILL, PAYMENT = "accounts-payable/bill", "accounts-payable/payment"


def call(box: Sandbox, method: str, path: str, body: Any = None) -> Any:
    """One call of Sage's API. A refusal raises with Sage's words."""
    form = {
        "grant_type": "client_credentials",
        "client_id": box.sage["client_id"],
        "client_secret": SECRETS["T_SAGE_SECRET"],
        "username": box.sage["username"],
    }
    with urllib.request.urlopen(box.sage["token_url"], data=urllib.parse.urlencode(form).encode(), timeout=30) as answer:
        token = orjson.loads(answer.read())["access_token"]
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(f"{box.sage['base_url']}/v1{path}", data=data, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return orjson.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from error


def pay(box: Sandbox, bill_key: str, amount: str, *, on: str, number: str) -> str:
    """A payment of one bill; its key. The bank account "BOA" must be there."""
    made = call(box, "POST", f"/objects/{PAYMENT}", {
        "financialEntity": {"entityId": "BOA"},
        "paymentDate": on,
        "documentNumber": number,
        "paymentMethod": "EFT",
        "baseCurrency": {"currency": "USD"},
        "txnCurrency": {"currency": "USD"},
        "vendor": {"id": "V1"},
        "details": [{"txnCurrency": {"paymentAmount": amount}, "bill": {"key": bill_key}}],
        "state": "approved",
    })  # fmt: skip
    return str(made["ia::result"]["key"])


def delete(box: Sandbox, bill_key: str) -> None:
    call(box, "DELETE", f"/objects/{BILL}/{bill_key}")
