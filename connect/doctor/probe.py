"""`connect doctor --probe`: what no document settles and only a company of Sage can answer, asked on a test company.

Makes a few bills of 0.01 and an attachment, reads what became of them and deletes them again; whatever could not be deleted is named in
the report. Payments are not tried: one that is made cannot be taken back without a trace. Source of the questions: sage-rest.md j.
"""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from connect.doctor.needs import CONTACT
from connect.doctor.systems import Systems
from connect.errors import ConfigError, ConnectError, Permanent
from connect.http import Reply, hidden
from connect.sage import facts
from connect.sage.attachments import ATTACHMENT, BILL, FOLDER
from connect.sage.bills import FIELDS
from connect.sage.envelope import error_in, result_of
from connect.sage.payments import PAYMENT
from connect.sage.query import Query
from connect.sage.refusals import was_replayed

TEST: Final = "TEST"
WORDS: Final = "Connect probe, may be deleted"
AMOUNT: Final = "0.01"
LARGE_BYTES: Final = (1_100_000, 4_000_000)
PDF: Final = b"%PDF-1.4\n%%EOF\n"
SHOWN: Final = 400  # characters of an answer
TOKENS: Final = "Tokens: their life, refresh tokens, what a bad one is answered, whether a second one ends the first"
APPROVAL: Final = (
    "so bills of this user wait for approval: the customer chooses the user under Unrestricted in Sage, Company > Admin > Subscriptions > "
    "Accounts Payable > Configure, Bill approval settings"
)
OWNED: Final = "company-config/entity"
VAT: Final = ("tax/tax-detail", "tax/purchasing-tax-detail", "tax/purchasing-tax-schedule")
ACCOUNTS_OF_VENDORS: Final = ("accounts-payable/vendor-account-number", "accounts-payable/vendor-bank-file-setup")
DIMENSIONS: Final = ("company-config/department", "company-config/location", "company-config/class", "projects/project")


@dataclass(frozen=True)
class Answer:
    """A question and what Sage answered, in lines. `settled`: whether it is answered."""

    question: str
    lines: tuple[str, ...]
    settled: bool = True


@dataclass
class Probing:
    """A passage over one company: what it has made, and how to call Sage so that each status and header is seen."""

    systems: Systems
    made: list[tuple[str, str, str]] = field(default_factory=list)  # object, key, name
    lost: list[tuple[str, str, str]] = field(default_factory=list)  # object, id or bill number, name: the answer never came
    left: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        what: str,
        token: str = "",
        headers: dict[str, str] | None = None,
        metered: bool = True,
    ) -> Reply:
        """One request, once, in a slot. Whatever Sage answers is the answer. Raises Transient or OutcomeUnknown without one."""
        systems = self.systems
        credentials = systems.connection.credentials
        async with systems.slots.lease("documents"):
            sent = {
                "Authorization": f"Bearer {token or await systems.tokens.get()}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                **(headers or {}),
            }
            data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
            reply = await systems.http.exchange(
                method,
                f"{credentials.base_url}/{credentials.rest_version}{path}",
                system="sage",
                headers=sent,
                data=data,
                timeout_s=systems.connection.sage_write_timeout_s,
                safe=False,
            )
        self.calls[f"{method} {what}"] += 1
        counts = metered and reply.status < 300 and not was_replayed(reply)
        await systems.usage.note(f"{method} {what}", transactions=int(counts))
        return reply

    async def create(self, name: str, body: dict[str, Any], label: str, key: str = "") -> tuple[Reply, str]:
        """(the answer, the record's key or ""). What is made is deleted at the end."""
        try:
            reply = await self.send("POST", f"/objects/{name}", body, what=name, headers={"Idempotency-Key": key} if key else None)
            made = _key_in(reply)
        except BaseException:  # whatever cut it off: it may have been made
            self.lost.append((name, str(body.get("id") or body.get("billNumber")), label))
            raise
        if made and (name, made, label) not in self.made:
            self.made.append((name, made, label))
        return reply, made

    async def query(self, body: dict[str, Any]) -> Reply:
        return await self.send("POST", "/services/core/query", body, what=str(body.get("object")))

    async def rows(self, name: str, fields: tuple[str, ...], **more: Any) -> list[dict[str, Any]]:
        """The first rows of an object; none when Sage refuses the query."""
        try:
            page = await self.systems.sage.query(Query(name, fields, include_private=True, **more))
        except Permanent:
            return []
        return [orjson.loads(raw) for _, raw in page.rows()]

    async def clean_up(self) -> None:
        """Delete what was made, the last first, and what may have been. What Sage keeps is named."""
        for name, number, label in self.lost:
            found = await self.rows(name, ("key",), filters=({"$eq": {"id" if name == ATTACHMENT else "billNumber": number}},))
            self.made += [(name, str(row["key"]), label) for row in found if (name, str(row["key"])) not in [one[:2] for one in self.made]]
            if not found:
                self.left.append(f"perhaps {label}: its answer was lost, and a query does not find it")
        for name, key, label in reversed(self.made):
            try:
                reply = await self.send("DELETE", f"/objects/{name}/{key}", what=name)
            except ConnectError as error:
                self.left.append(f"{label} ({name} {key}): {error.message}")
                continue
            if reply.status not in (200, 204, 404):
                self.left.append(f"{label} ({name} {key}): {_said(reply)}")


def check_name(name: str, *, force: bool) -> None:
    """Raises ConfigError unless the connection's name says that it is a test company, or it is forced."""
    if not force and not name.upper().endswith(TEST):
        raise ConfigError(
            f"--probe makes bills in Sage and deletes them, so it is for test companies: the name {name} does not end in {TEST}. "
            "Choose another with --connection, or say --force",
            code="probe",
        )


async def probe(systems: Systems, say: Callable[[str], None] = lambda _: None) -> tuple[list[Answer], Probing]:
    """All answers, and the passage with what it has left behind. Cleans up in any case."""
    probing = Probing(systems)
    answers = []
    try:
        for ask in QUESTIONS:
            try:
                answer = await ask(probing)
            except (ConnectError, orjson.JSONDecodeError) as error:
                answer = Answer((ask.__doc__ or "").strip().rstrip("."), (f"could not be asked: {error}",), settled=False)
            say(f"probe    {systems.connection.name}  {answer.question}")
            answers.append(answer)
    finally:
        await probing.clean_up()
    return answers, probing


# -- the questions -----------------------------------------------------------------------------------------------------


async def tokens(probing: Probing) -> Answer:
    """Tokens: their life, refresh tokens, what a bad one is answered, whether a second one ends the first."""
    credentials = probing.systems.connection.credentials
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret.get_secret_value(),
        "username": credentials.username,
    }
    given = []
    for _ in range(2):
        reply = await probing.systems.http.exchange(
            "POST",
            credentials.token_url,
            system="sage",
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            data=urlencode(form).encode(),
            timeout_s=30,
        )
        result = orjson.loads(reply.body) if reply.status == 200 else {}
        if "access_token" not in result:
            return Answer(TOKENS, (f"no token: HTTP {reply.status}, {_said(reply)}",), settled=False)
        given.append(result)
    first = await probing.send("GET", f"/services/core/model?name={OWNED}", what="model", token=given[0]["access_token"], metered=False)
    bad = await probing.send("GET", f"/services/core/model?name={OWNED}", what="model", token="no.such.token", metered=False)  # noqa: S106
    return Answer(
        TOKENS,
        (
            f"members of the answer: {', '.join(sorted(given[0]))}; expires_in {given[0].get('expires_in')}",
            f"the first token after a second was given: HTTP {first.status}",
            f"a token that never was: HTTP {bad.status}, {_said(bad)}",
        ),
    )


async def numbers(probing: Probing) -> Answer:
    """Which of id and key people know (KeySource)."""
    rows = await probing.rows(facts.ACCOUNT, ("key", "id", "name"), size=3)
    lines = [f"account {row.get('name')}: id {row.get('id')}, key {row.get('key')}" for row in rows]
    return Answer(
        "Which of id and key people know (KeySource)",
        (*lines, "KeySource = id sends the id; the customer knows which is theirs"),
        bool(rows),
    )


async def rows_of_queries(probing: Probing) -> Answer:
    """Queries: flat or nested rows, page size, errors for an unknown field and an unknown object."""
    plain = await probing.query({"object": facts.VENDOR, "fields": ["key", "term.key", "audit.modifiedDateTime"]})
    found = orjson.loads(plain.body) if plain.status == 200 else {}
    rows = found.get("ia::result") or [{}]
    field_ = await probing.query({"object": facts.VENDOR, "fields": ["key", "noSuchField"], "size": 1})
    object_ = await probing.query({"object": "accounts-payable/no-such-object", "fields": ["key"], "size": 1})
    flat = "flat" if "term.key" in rows[0] else "nested or without the field"
    return Answer(
        "Queries: flat or nested rows, page size, errors for an unknown field and an unknown object",
        (
            f"rows are {flat}: {', '.join(sorted(map(str, rows[0])))}",
            f"without size: {len(rows)} rows, meta {orjson.dumps(found.get('ia::meta')).decode()}",
            f"unknown field: HTTP {field_.status}, {_said(field_)}",
            f"unknown object: HTTP {object_.status}, {_said(object_)}",
        ),
        plain.status == 200,
    )


async def limits(probing: Probing) -> Answer:
    """How many requests at once, and how large a request may be."""
    reply = await probing.send("GET", f"/services/core/model?name={OWNED}", what="model", metered=False)
    told = {name: value for name, value in reply.headers.items() if "throttle" in name.lower() or "rate" in name.lower()}
    lines = [f"headers of an answer: {', '.join(f'{name}: {value}' for name, value in told.items()) or 'none about limits'}"]
    query = orjson.dumps({"object": facts.VENDOR, "fields": ["key"], "size": 1})
    for size in LARGE_BYTES:
        large = await probing.send("POST", "/services/core/query", query.ljust(size), what=facts.VENDOR)
        lines.append(
            f"a query of {size:,} bytes (blanks at its end): HTTP {large.status}{'' if large.status < 300 else f', {_said(large)}'}"
        )
    return Answer("How many requests at once, and how large a request may be", tuple(lines))


async def filters_by_time(probing: Probing) -> Answer:
    """Which objects cannot be filtered by audit.modifiedDateTime."""
    lines = []
    for name in sorted(probing.systems.needs):
        since = {"$gte": {"audit.modifiedDateTime": "2020-01-01T00:00:00Z"}}
        reply = await probing.query({"object": name, "fields": ["key"], "filters": [since], "size": 1})
        if reply.status != 200:
            lines.append(f"{name}: HTTP {reply.status}, {_said(reply)}")
    asked = len(probing.systems.needs)
    return Answer("Which objects cannot be filtered by audit.modifiedDateTime", tuple(lines) or (f"all {asked} can",))


async def contact_fields(probing: Probing) -> Answer:
    """Whether vendors' inline contact fields answer (ContactSource), and which states dimensions have."""
    reply = await probing.query({"object": facts.VENDOR, "fields": ["key", f"{CONTACT}email1", f"{CONTACT}mailingAddress.city"], "size": 1})
    lines = [f"inline contact fields: HTTP {reply.status}{'' if reply.status == 200 else f', {_said(reply)}'}"]
    for name in DIMENSIONS:
        states = Counter(str(row.get("status")) for row in await probing.rows(name, ("key", "status")))
        lines.append(f"{name}: {', '.join(f'{state} {count:,}' for state, count in sorted(states.items())) or 'no rows to be read'}")
    return Answer("Whether vendors' inline contact fields answer (ContactSource), and which states dimensions have", tuple(lines))


async def taxes_and_accounts(probing: Probing) -> Answer:
    """Where VAT codes and vendors' bank accounts are kept."""
    lines = []
    for name in (*VAT, *ACCOUNTS_OF_VENDORS):
        reply = await probing.query({"object": name, "fields": ["key"], "size": 1})
        meta = orjson.loads(reply.body).get("ia::meta") or {} if reply.status == 200 else {}
        lines.append(f"{name}: {meta.get('totalCount')} records" if reply.status == 200 else f"{name}: HTTP {reply.status}, {_said(reply)}")
    ach = await probing.query({"object": facts.VENDOR, "fields": ["key"], "filters": [{"$ne": {"ach.accountNumber": None}}], "size": 1})
    count = (orjson.loads(ach.body).get("ia::meta") or {}).get("totalCount") if ach.status == 200 else f"HTTP {ach.status}, {_said(ach)}"
    return Answer("Where VAT codes and vendors' bank accounts are kept", (*lines, f"vendors with an ACH account: {count}"))


async def scope(probing: Probing) -> Answer:
    """What a top-level token reads of entities' own records."""
    lines = []
    for name in (facts.VENDOR, facts.ACCOUNT, "company-config/location"):
        counts = []
        for private in (False, True):
            asked: dict[str, Any] = {"object": name, "fields": ["key"], "size": 1, "filterParameters": {"includePrivate": private}}
            reply = await probing.query(asked)
            counts.append((orjson.loads(reply.body).get("ia::meta") or {}).get("totalCount") if reply.status == 200 else _said(reply))
        lines.append(f"{name}: {counts[0]} at the top level, {counts[1]} with includePrivate")
    return Answer("What a top-level token reads of entities' own records", tuple(lines))


async def payment_methods(probing: Probing) -> Answer:
    """Which spelling of payment methods Sage shows."""
    rows = await probing.rows(PAYMENT, ("key", "paymentMethod", "state"), order_by=(("key", "desc"),), size=500)
    found = Counter((str(row.get("paymentMethod")), str(row.get("state"))) for row in rows)
    lines = [f"{method}, {state}: {count:,}" for (method, state), count in sorted(found.items())]
    none = "this company has no payments; none is made for it, since one cannot be taken back without a trace"
    return Answer("Which spelling of payment methods Sage shows", tuple(lines) or (none,), bool(lines))


async def refusals(probing: Probing) -> Answer:
    """The status and form of a business refusal."""
    bill = await _bill(probing)
    if bill is None:
        return Answer("The status and form of a business refusal", ("no vendor, account and location to try it with",), settled=False)
    lines = []
    for what, change in (("an unknown vendor", {"vendor": {"id": "NO-SUCH-VENDOR"}}), ("a bill without lines", {"lines": []})):
        reply, _ = await probing.create(BILL, bill | change, f"bill with {what}")
        lines.append(f"{what}: HTTP {reply.status}, {_said(reply)}")
    return Answer("The status and form of a business refusal", tuple(lines))


async def bills(probing: Probing) -> Answer:
    """The state of a new bill: without a state, as a draft; idempotency keys; deleting it."""
    question = "The state of a new bill: without a state, as a draft; idempotency keys; deleting it"
    bill = await _bill(probing)
    if bill is None:
        return Answer(question, ("no vendor, account and location to try it with",), settled=False)
    key = secrets.token_hex(16)
    reply, made = await probing.create(BILL, bill, f"bill {bill['billNumber']}", key)
    became = await _state(probing, made) if made else _said(reply)
    lines = [f"without a state: HTTP {reply.status}, {became}"]
    if "state submitted" in became:
        lines.append(APPROVAL)
    if made:
        again, same = await probing.create(BILL, bill, f"bill {bill['billNumber']}", key)
        repeated = f"{'the same bill' if same == made else _said(again)}, {'replayed' if was_replayed(again) else 'not marked as replayed'}"
        lines.append(f"the same key and bytes again: HTTP {again.status}, {repeated}")
        other, _ = await probing.create(BILL, bill | {"description": f"{WORDS}, other"}, f"bill {bill['billNumber']}, other bytes", key)
        lines.append(f"the same key with other bytes: HTTP {other.status}, {_said(other)}")
        double, _ = await probing.create(BILL, bill, f"bill {bill['billNumber']}, double")
        lines.append(f"the same number without a key: HTTP {double.status}, {_said(double)}")
    number = f"{bill['billNumber']}-D"
    draft, made_draft = await probing.create(BILL, bill | {"billNumber": number, "state": "draft"}, f"bill {number}")
    lines.append(f"state draft: HTTP {draft.status}, {await _state(probing, made_draft) if made_draft else _said(draft)}")
    return Answer(question, tuple(lines), bool(made))


async def foreign_currency(probing: Probing) -> Answer:
    """A bill in a foreign currency without an exchange rate."""
    question = "A bill in a foreign currency without an exchange rate"
    bill = await _bill(probing)
    rates = await probing.rows(facts.RATE, ("key", "fromCurrency", "toCurrency"), size=500)
    base = str(bill["currency"]["txnCurrency"]) if bill is not None else ""
    foreign = next((str(row["fromCurrency"]) for row in rows_to(rates, base)), "")
    if bill is None or not foreign:
        return Answer(question, ("there is no other currency with a rate, or nothing to make a bill with",), settled=False)
    number = f"{bill['billNumber']}-F"
    asked = bill | {"billNumber": number, "currency": {"baseCurrency": base, "txnCurrency": foreign}}
    reply, made = await probing.create(BILL, asked, f"bill {number}")
    return Answer(question, (f"in {foreign}: HTTP {reply.status}, {await _state(probing, made) if made else _said(reply)}",))


def rows_to(rates: list[dict[str, Any]], base: str) -> list[dict[str, Any]]:
    """The rates that lead to a currency from another."""
    return [row for row in rates if row.get("toCurrency") == base and row.get("fromCurrency") != base]


async def attachments(probing: Probing) -> Answer:
    """Attachments: a duplicate id, a file."""
    folders = await probing.rows(FOLDER, ("key", "id"), size=1)
    if not folders:
        return Answer("Attachments: a duplicate id, a file", ("there is no attachment folder",), settled=False)
    name = f"PROBE-{secrets.token_hex(5).upper()}"
    body = {
        "id": name,
        "name": name,
        "folder": {"id": folders[0]["id"]},
        "description": WORDS,
        "files": [{"name": "probe.pdf", "data": base64.b64encode(PDF).decode()}],
    }
    reply, made = await probing.create(ATTACHMENT, body, f"attachment {name}")
    again, _ = await probing.create(ATTACHMENT, body, f"attachment {name}, double")
    return Answer(
        "Attachments: a duplicate id, a file",
        (
            f"a new one: HTTP {reply.status}{'' if made else f', {_said(reply)}'}",
            f"the same id again: HTTP {again.status}, {_said(again)}",
        ),
        bool(made),
    )


async def rights(probing: Probing) -> Answer:
    """Whether our user may write: an empty record is refused whoever sends it."""
    lines = []
    for name in (BILL, ATTACHMENT, PAYMENT):
        reply, _ = await probing.create(name, {}, f"empty {name}")
        may = "no right to add" if reply.status == 403 else "may add, as far as this tells"
        lines.append(f"{name}: HTTP {reply.status}, {may} ({_said(reply)})")
    return Answer("Whether our user may write: an empty record is refused whoever sends it", tuple(lines))


QUESTIONS: Final[tuple[Callable[[Probing], Awaitable[Answer]], ...]] = (
    tokens, numbers, rows_of_queries, limits, filters_by_time, contact_fields, taxes_and_accounts, scope, payment_methods, rights, refusals,
    bills, foreign_currency, attachments,
)  # fmt: skip
NOT_ASKED: Final = (
    "What `action` submit with `state` approved makes of a payment, and how SL-0417, BL01001973, AP-0038 look: make one by hand.",
    "Whether voiding a payment reverses its bill: the same. A payment cannot be taken back without a trace, so none is made here.",
    "What a 429 carries: other programs of the company would be held up. It is in the log when it happens.",
    "Whether deletions show anywhere.",
)


# -- what they share ---------------------------------------------------------------------------------------------------


async def _bill(probing: Probing) -> dict[str, Any] | None:
    """The smallest bill that this company should take; None without a vendor, an account or a location."""
    active = ({"$eq": {"status": "active"}},)
    vendors = await probing.rows(facts.VENDOR, ("key", "id", "state", "isOnHold"), filters=active, size=200)
    vendor = next((row for row in vendors if row.get("state") in (None, "a") and row.get("isOnHold") not in (True, "true")), None)
    required = {name: f"requireDimensions.{name}" for name in facts.REQUIRABLE}
    accounts = await probing.rows(
        facts.ACCOUNT, ("key", "id", "accountType", "disallowDirectPosting", *required.values()), filters=active, size=1000
    )
    account = next((row for row in accounts if _is_plain(row, required)), None)
    locations = await probing.rows("company-config/location", ("key", "id"), filters=active, size=1)
    base = (await _base_currency(probing)) or ""
    if vendor is None or account is None or not locations or not base:
        return None
    today = datetime.fromtimestamp(probing.systems.clock(), UTC).date().isoformat()
    return {
        "billNumber": f"PROBE-{secrets.token_hex(5).upper()}",
        "vendor": {"id": vendor["id"]},
        "description": WORDS,
        "createdDate": today,
        "postingDate": today,
        "dueDate": today,
        "currency": {"baseCurrency": base, "txnCurrency": base},
        "lines": [{"glAccount": {"id": account["id"]}, "txnAmount": AMOUNT, "dimensions": {"location": {"id": locations[0]["id"]}}}],
    }


def _is_plain(row: dict[str, Any], required: dict[str, str]) -> bool:
    """An expense account that takes a line with a location and nothing else."""
    asks = {name for name, path in required.items() if row.get(path) in (True, "true")}
    return row.get("accountType") == "incomeStatement" and row.get("disallowDirectPosting") not in (True, "true") and asks <= {"location"}


async def _base_currency(probing: Probing) -> str | None:
    """Of Prime's first company, which must be Sage's; a bill in it needs no rate."""
    for company in probing.systems.companies():
        record = await probing.systems.soap.call("ListCompanyData", {"Company": company})
        found = next((child.text for child in record if str(child.tag).endswith("BaseCurrency")), None) if record is not None else None
        if found:
            return str(found)
    return None


async def _state(probing: Probing, key: str) -> str:
    """What became of a bill, in Sage's words."""
    wanted = [name for name in FIELDS if name.startswith(("state", "totalTxn", "postingDate"))]
    reply = await probing.query(
        {"object": BILL, "fields": ["key", *wanted], "filters": [{"$eq": {"key": key}}], "filterParameters": {"includePrivate": True}}
    )
    rows = result_of(reply) if reply.status == 200 else None
    if not rows:
        return f"not found by a query right after ({_said(reply)})" if rows is None else "made, and not found by a query right after it"
    return f"state {rows[0].get('state')}, total {rows[0].get('totalTxnAmount')}"


def _key_in(reply: Reply) -> str:
    if reply.status not in (200, 201):
        return ""
    result = result_of(reply)
    return str(result.get("key") or "") if isinstance(result, dict) else ""


def _said(reply: Reply) -> str:
    """An answer's error in short, else how it begins."""
    error = error_in(reply.body)
    if error is None:
        return reply.body[:SHOWN].decode(errors="replace").strip() or "no content"
    details = error.get("details")
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    words = "; ".join(" ".join(str(row[name]) for name in ("errorId", "code", "message") if row.get(name)) for row in rows)
    return f"{error.get('errorId') or error.get('code')}: {error.get('message')}{f' ({words})' if words else ''}"[:SHOWN]


# -- the report --------------------------------------------------------------------------------------------------------


def report(systems: Systems, answers: list[Answer], probing: Probing, on: date) -> str:
    """The answers as Markdown."""
    connection = systems.connection
    settled = sum(answer.settled for answer in answers)
    credentials = connection.credentials
    head = (
        f"Company {credentials.company}, as {credentials.username}, REST {credentials.rest_version}, on {on}: {settled} of {len(answers)} "
        f"questions answered, with {sum(probing.calls.values())} calls."
    )
    lines = [f"# What Sage answers: {connection.name}", "", head, ""]
    for answer in answers:
        lines += [f"## {answer.question}{'' if answer.settled else ' (open)'}", "", *(f"- {line}" for line in answer.lines), ""]
    lines += ["## Not asked", "", *(f"- {line}" for line in NOT_ASKED), "", "## Left behind", ""]
    made = ", ".join(f"{label}" for _, _, label in probing.made) or "nothing"
    if probing.left:
        lines += ["The consultant deletes these in Sage by hand:", "", *(f"- {line}" for line in probing.left), ""]
    else:
        lines += [f"Nothing. Made and deleted: {made}.", ""]
    return hidden("\n".join(lines), (credentials.client_secret.get_secret_value(),))
