"""What a sync would do, as data: rows field by field, documents with the very requests, and what has moved since a plan was made.

Fields bear Prime's own names (those of its web service), whichever transport carries them; values are compared as Prime keeps them: a
midnight is a date, a decimal has no trailing zeros, "" is nothing.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec
import orjson

from connect.errors import ConfigError
from connect.mapping import EntityMapping, plain
from connect.registers import accounts, asset_types, assets, currencies, dimensions, periods, suppliers, vat_codes

VERSION: Final = 1
UNREADABLE: Final = "Prime's present values cannot be read over SOAP"
WITH_SAGES_KEY: Final = "(the key that Sage will give)"
BANK_ACCOUNTS: Final = "SupplierBankAccount"

Wire = dict[str, Any]
"""A record with Prime's names. A supplier's bank accounts are {number: account}."""
RowKey = tuple[str, ...]
Action = Literal["new", "changed", "same", "expired"]
"""`same`: it is sent, and Prime has it already. `expired`: it has gone from Sage."""


# -- Prime's names and values ------------------------------------------------------------------------------------------

_TABLES: Final[dict[str, EntityMapping[Any]]] = {
    "Account": accounts.ENTITY,
    "Asset": assets.ENTITY,
    "AssetType": asset_types.ENTITY,
    "Currency": currencies.ENTITY,
    "Object": dimensions.ENTITY,
    "Period": periods.ENTITY,
    "Supplier": suppliers.ENTITY,
    "VatCode": vat_codes.ENTITY,
}
KEYS: Final = {
    "Account": ("Account",),
    "Asset": ("Asset",),
    "AssetType": ("AssetType",),
    "Currency": ("BaseCurrency", "Currency", "FromAccountCodingDate"),
    "Object": ("ObjectTypeNo", "Object"),
    "ObjectType": ("ObjectTypeNo",),
    "Period": ("Year", "Period"),
    "Supplier": ("Supplier",),
    "VatCode": ("VatCode",),
}
"""Kind -> the fields that name a row in Prime (prime.md 2)."""
REFERENCES: Final = {
    "Account": (("VatCode", "VatCode", "VatCodeMandatory"),),
    "VatCode": (("Account", "Account", ""),),
    "AssetType": (("Account", "Account", ""),),
    "Asset": (("AssetType", "AssetType", ""),),
    "Supplier": (("CostAccount", "Account", ""),),
}
"""Kind -> (field, the register whose row it names, the 0/1 field on which that depends): Prime refuses what names no row (prime.md 6.1)."""
_LISTS: Final = {"addressLines": ("Address", 6), "phoneNumbers": ("Tele", 3)}  # a list given replaces all its positions
_SPECIAL: Final = {"objectTypeNumber": "ObjectTypeNo", "bankAccountNo": "BankAccount", "defaultAccount": "Default"}
_DECIMALS: Final = frozenset({"BuyingRate", "Percentage", "VatDeduction", "CashDiscount", "DeductionalVatPercentage"})
_MIDNIGHT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T00:00:00(?:\.0+)?")
_NAMES: Final = {
    kind: {field.rest: field.soap for field in table.fields if field.rest and field.soap and "[" not in field.rest}
    for kind, table in _TABLES.items()
}


def wire_name(kind: str, rest: str) -> str:
    """Prime's own name of a REST member."""
    return _NAMES.get(kind, {}).get(rest) or _SPECIAL.get(rest) or rest[0].upper() + rest[1:]


def value_of(name: str, value: Any) -> Any:
    """A value as Prime keeps it; None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and (found := _MIDNIGHT.fullmatch(value)):
        return found[1]
    if name in _DECIMALS:
        try:
            return plain(Decimal(str(value)))
        except InvalidOperation:
            return value
    return value


def from_rest(kind: str, body: Mapping[str, Any]) -> Wire:
    """A REST record with Prime's own names. Bank accounts are left out: see `bank_accounts`."""
    found: Wire = {}
    for name, value in body.items():
        if name in _LISTS:
            column, positions = _LISTS[name]
            padded = [*(value or []), *[None] * positions][:positions]
            found.update((f"{column}{n}", value_of(f"{column}{n}", one)) for n, one in enumerate(padded, 1))
        elif name == "useObjects":
            for entry in value or []:
                n = entry["objectTypeNumber"]
                found.update(
                    (f"{column}{n}", entry[own]) for own, column in (("use", "UseObject"), ("default", "DefaultObject")) if own in entry
                )
        elif name != "supplierBankAccounts":
            own = wire_name(kind, name)
            found[own] = value_of(own, value)
    return found


def from_soap(body: Mapping[str, Any]) -> Wire:
    """A record of the web service. Its bank accounts replace those that Prime has."""
    found = {name: value_of(name, value) for name, value in body.items() if name != BANK_ACCOUNTS}
    if BANK_ACCOUNTS in body:
        found[BANK_ACCOUNTS] = {one["BankAccount"]: one for one in body[BANK_ACCOUNTS] or []}
    return found


def merged(kind: str, transport: str, body: Mapping[str, Any], before: Wire | None) -> Wire:
    """What Prime holds of a row after it took this body: fields left out stay, None clears."""
    now = dict(before or {})
    if transport == "soap":
        now |= from_soap(body)
    else:
        now |= from_rest(kind, body)
        if accounts_given := body.get("supplierBankAccounts"):
            kept: dict[str, Any] = dict(now.get(BANK_ACCOUNTS) or {})
            for one in accounts_given:
                number = one["bankAccountNo"]
                if one.get("remove") == 1:
                    kept.pop(number, None)
                else:
                    kept[number] = {**kept.get(number, {}), **bank_account(one)}
            now[BANK_ACCOUNTS] = kept
    return {name: value for name, value in now.items() if value is not None and value != {}}


def bank_account(row: Mapping[str, Any]) -> Wire:
    """A bank account of REST, without what names its supplier."""
    own = {wire_name(BANK_ACCOUNTS, name): value for name, value in row.items() if name not in ("company", "supplier", "keyType")}
    return {name: value for name, value in own.items() if value is not None}


def key_of(kind: str, row: Wire) -> RowKey:
    """What names a row in Prime: its company (empty where it belongs to none), then its own key."""
    bound = kind != "ObjectType" and (kind == "Asset" or row.get("KeyType") == 1)
    return (str(row.get("Company") or "") if bound else "", *(str(row.get(name) or "") for name in KEYS[kind]))


# -- the plan ----------------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    """One field. `old` is None where Prime has nothing (or cannot be asked), `new` where it will have nothing."""

    field: str
    old: Any
    new: Any


class Write(msgspec.Struct, frozen=True):
    """One row on its way, as a sync would send it. `digest`: of what is sent. `known`: of what was sent last time, "" for nothing."""

    part: str
    key: int
    purpose: Literal["upsert", "expire"]
    digest: str
    known: str = ""

    @property
    def name(self) -> tuple[str, int, str]:
        return self.part, self.key, self.purpose


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a register in Prime and what becomes of it. `prime`: digest of what Prime holds of it now, "" where that is not known."""

    kind: str
    key: RowKey
    number: str
    name: str
    action: Action
    changes: tuple[Change, ...]
    writes: tuple[Write, ...] = ()
    prime: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A row or document that would be refused, and whose turn it is then. `digest`: of what Prime would be sent, "" for nothing."""

    kind: str
    number: str
    name: str
    code: str
    reason: str
    owner: str = ""
    fix: str = ""
    part: str = ""
    key: int = 0
    digest: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One write: to Sage (method, path, idempotency key, the very body), or to Prime (the operation and its parameters)."""

    system: Literal["sage", "prime"]
    method: str
    path: str
    body: Any = None
    key: str = ""
    sha256: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice, cancellation, payment date or payment. `content`: digest of what Prime lists.

    `action`: book, adopt, cancel, date, hand back, hold (others than a clerk must mend it), person, wait, nothing.
    """

    series: str
    number: str
    text: str
    name: str
    action: str
    vendor: str = ""
    amount: str = ""
    currency: str = ""
    sage_number: str = ""
    key: str = ""
    content: str = ""
    note: str = ""
    problems: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()


class JobPlan(msgspec.Struct, kw_only=True):
    """What one job of one company would do. `sage_calls`, `prime_calls`: what that would cost, tokens and heartbeats aside."""

    connection: str
    company: str
    job: str
    mode: str = ""
    state: str = "done"
    reason: str = ""
    read: int = 0
    unchanged: int = 0
    gone: int = 0
    held: int = 0
    sage_calls: int = 0
    prime_calls: int = 0
    rows: list[Row] = []
    refused: list[Refusal] = []
    documents: list[Document] = []
    notes: list[str] = []

    @property
    def where(self) -> tuple[str, str, str]:
        return self.connection, self.company, self.job

    def actions(self) -> Counter[str]:
        """How many rows and documents of each action."""
        return Counter([row.action for row in self.rows] + [one.action for one in self.documents])


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `drifts`: only what `connect reconcile` has found (reconcile.py)."""

    connection: str | None = None
    company: str | None = None
    job: str | None = None
    full: bool = False
    resend: bool = False
    expire: bool = False
    drifts: bool = False


class Plan(msgspec.Struct, kw_only=True):
    """`settings`: digest of all settings it was made with; `changed`: those that were given with --set."""

    version: int = VERSION
    id: str
    made_at: str
    settings: str
    options: Options = Options()
    changed: dict[str, str] = {}
    jobs: list[JobPlan] = []
    notes: list[str] = []

    @property
    def is_empty(self) -> bool:
        return not any(row.action != "same" for job in self.jobs for row in job.rows) and not any(
            one.action not in ("nothing", "wait") for job in self.jobs for one in job.documents
        )

    @property
    def trouble(self) -> list[str]:
        """What would keep jobs from being done, a line each."""
        return [f"{job.job}, company {job.company}: {job.state}: {job.reason}" for job in self.jobs if job.state != "done"]


def changes_of(before: Wire | None, now: Wire) -> tuple[Change, ...]:
    """Field by field, in Prime's order of names as they came; bank accounts one by one."""
    old = before or {}
    found = [
        Change(name, old.get(name), now.get(name))
        for name in dict.fromkeys([*old, *now])
        if name != BANK_ACCOUNTS and old.get(name) != now.get(name)
    ]
    was, will = old.get(BANK_ACCOUNTS) or {}, now.get(BANK_ACCOUNTS) or {}
    found += [
        Change(f"{BANK_ACCOUNTS} {number}", was.get(number), will.get(number))
        for number in sorted({*was, *will})
        if was.get(number) != will.get(number)
    ]
    return tuple(found)


def digest_of(row: Wire | None) -> str:
    """Of what Prime holds of a row."""
    return hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:16]


def encode(plan: Plan) -> bytes:
    return msgspec.json.encode(plan)


def document(plan: Plan) -> dict[str, Any]:
    """As `--json` prints it."""
    found: dict[str, Any] = msgspec.to_builtins(plan)
    for job, made in zip(found["jobs"], plan.jobs, strict=True):
        job["totals"] = dict(zip(TOTALS, totals(made), strict=True))
    return found


def decode(raw: bytes, path: str) -> Plan:
    """A plan from its file. Raises ConfigError when it is none, or of a newer version."""
    try:
        plan = msgspec.json.decode(raw, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no plan ({error}); make one with `connect plan --out {path}`", code="no-plan") from None
    if plan.version > VERSION:
        raise ConfigError(f"{path} was made by a newer version of Connect; make a new one with `connect plan --out FILE`", code="no-plan")
    return plan


# -- what has moved since ----------------------------------------------------------------------------------------------


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was planned, and why; it is left alone."""

    connection: str
    company: str
    job: str
    kind: str
    number: str
    name: str
    why: str


class Allowed(msgspec.Struct, kw_only=True):
    """What of a plan still holds: writes by job and name, documents by job."""

    writes: dict[tuple[str, str, str], dict[tuple[str, int, str], str]] = {}
    documents: dict[tuple[str, str, str], list[Document]] = {}
    moved: list[Moved] = []


def compare(planned: Plan, now: Plan) -> Allowed:
    """What of `planned` may be done, given a plan that was made just now; and what may not, by name."""
    found = Allowed()
    fresh = {job.where: job for job in now.jobs}
    for job in planned.jobs:
        other = fresh.pop(job.where, None) or JobPlan(connection=job.connection, company=job.company, job=job.job)
        _compare_rows(job, other, found)
        _compare_documents(job, other, found)
    for job in fresh.values():
        empty = JobPlan(connection=job.connection, company=job.company, job=job.job)
        _compare_rows(empty, job, found)
        _compare_documents(empty, job, found)
    return found


def _compare_rows(planned: JobPlan, now: JobPlan, found: Allowed) -> None:
    there = {(row.kind, row.key): row for row in now.rows}
    refused = {(one.kind, one.number): one for one in now.refused}
    allowed = found.writes.setdefault(planned.where, {})
    for row in planned.rows:
        other = there.pop((row.kind, row.key), None)
        why = _row_moved(row, other, refused.get((row.kind, row.number)))
        if why:
            found.moved.append(_moved(planned, row.kind, row.number, row.name, why))
        else:
            allowed.update((write.name, write.digest) for write in row.writes)
    still = {(one.part, one.key, one.digest) for one in now.refused}
    allowed.update(
        ((one.part, one.key, "upsert"), one.digest)  # so that it is refused, and a dead letter says so
        for one in planned.refused
        if one.digest and (one.part, one.key, one.digest) in still
    )
    found.moved += [
        _moved(planned, row.kind, row.number, row.name, "is new since the plan was made") for row in there.values() if row.writes
    ]


def _row_moved(row: Row, now: Row | None, refused: Refusal | None) -> str:
    if now is None:
        return (
            f"would be refused now: {refused.reason}"
            if refused is not None
            else "need not be sent any more: it has been, or Sage has changed it back"
        )
    if now.prime != row.prime:
        return "was changed in Prime since the plan was made"
    if _sent(now) != _sent(row):
        return "was changed in Sage since the plan was made"
    if {write.name: write.known for write in now.writes} != {write.name: write.known for write in row.writes}:
        return "was sent by another run since the plan was made"
    return ""


def _sent(row: Row) -> dict[tuple[str, int, str], str]:
    return {write.name: write.digest for write in row.writes}


def _compare_documents(planned: JobPlan, now: JobPlan, found: Allowed) -> None:
    there = {(one.series, one.number): one for one in now.documents}
    for one in planned.documents:
        other = there.pop((one.series, one.number), None)
        why = _document_moved(one, other)
        if why:
            found.moved.append(_moved(planned, "document", one.text, one.name, why))
        elif one.action not in ("nothing", "wait"):
            found.documents.setdefault(planned.where, []).append(one)
    found.moved += [_moved(planned, "document", one.text, one.name, "is listed since the plan was made") for one in there.values()]


def _document_moved(planned: Document, now: Document | None) -> str:
    if now is None or now.action == "nothing":
        return "" if planned.action == "nothing" else "is not listed any more"
    if now.content != planned.content:
        return "was changed in Prime since the plan was made"
    if now.action != planned.action:
        return f"would be another thing now: {now.action} in place of {planned.action}" + (
            f" ({'; '.join(now.problems)})" if now.problems else ""
        )
    if (now.key, now.problems, _bytes(now)) != (planned.key, planned.problems, _bytes(planned)):
        return "would be sent otherwise now"
    return ""


def _bytes(one: Document) -> list[tuple[str, str, str]]:
    return [(call.method, call.path, call.sha256) for call in one.calls]


def _moved(job: JobPlan, kind: str, number: str, name: str, why: str) -> Moved:
    return Moved(connection=job.connection, company=job.company, job=job.job, kind=kind, number=number, name=name, why=why)


# -- for people --------------------------------------------------------------------------------------------------------


def value_text(value: Any) -> str:
    """A value as a person reads it; "–" for nothing."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items() if name != "ExternalSource")
    return str(value)


TOTALS: Final = ("new", "changed", "same", "expired", "refused", "documents", "calls to Sage", "calls to Prime")


def totals(job: JobPlan) -> tuple[Any, ...]:
    """The numbers of TOTALS."""
    count = job.actions()
    return (
        *(count[name] for name in ("new", "changed", "same", "expired")),
        len(job.refused),
        len(job.documents),
        job.sage_calls,
        job.prime_calls,
    )


def lines(job: JobPlan) -> Iterator[tuple[str, str, str, str]]:
    """(what, number, name, detail) of everything that a job would do."""
    for row in job.rows:
        if row.action == "same":
            continue
        if row.action == "new":
            detail = ", ".join(f"{one.field} {value_text(one.new)}" for one in row.changes if one.field not in ("Company", "KeyType"))
        else:
            detail = ", ".join(f"{one.field} {value_text(one.old)} → {value_text(one.new)}" for one in row.changes)
        yield row.action, f"{row.kind} {row.number}", row.name, detail
    for one in job.refused:
        yield "refused", f"{one.kind} {one.number}", one.name, f"{one.reason} ({one.owner})" if one.owner else one.reason
    for doc in job.documents:
        what = " | ".join(doc.problems) or doc.note
        money = f"{doc.amount} {doc.currency}".strip()
        named = f"as {doc.sage_number}" if doc.action == "book" and doc.sage_number else f"Sage's {doc.key}" if doc.key else ""
        yield doc.action, doc.text, doc.name, ", ".join(filter(None, (money, named, what)))


_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dde3ea}th{background:#f3f6f9}
td.n{text-align:right;font-variant-numeric:tabular-nums}.old{color:#8a2a2a}.new{color:#1d6b36}.note{color:#5b6673}
pre{background:#f3f6f9;padding:.6rem;overflow:auto;max-height:24rem}summary{cursor:pointer}
"""


def to_html(plan: Plan) -> str:
    """A page of its own, without anything from elsewhere."""
    title = f"What the next sync would do, {plan.made_at[:16].replace('T', ' ')} UTC"
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>"
    )
    parts = [head, f"<h1>{html.escape(title)}</h1>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in _notes(plan)]
    columns = (
        "connection",
        "company",
        "job",
        "new",
        "changed",
        "same",
        "expired",
        "refused",
        "documents",
        "calls to Sage",
        "calls to Prime",
    )
    parts.append(_html_table(columns, [(job.connection, job.company, job.job, *totals(job)) for job in plan.jobs]))
    for job in plan.jobs:
        parts += list(_html_job(job))
    return "\n".join([*parts, "</body></html>"])


def _notes(plan: Plan) -> list[str]:
    changed = [f"With {name} = {value}" for name, value in plan.changed.items()]
    return [*changed, *plan.notes, *plan.trouble]


def _html_job(job: JobPlan) -> Iterator[str]:
    if not (job.rows or job.refused or job.documents or job.reason or job.notes):
        return
    yield f"<h2>{html.escape(f'{job.job}, company {job.company} ({job.connection})')}</h2>"
    for note in filter(None, (job.reason, *job.notes)):
        yield f'<p class="note">{html.escape(note)}</p>'
    shown = [row for row in job.rows if row.action != "same"]
    if shown:
        yield "<table><tr><th>what</th><th>row</th><th>name</th><th>field</th><th>now</th><th>then</th></tr>"
        for row in shown:
            cells = [row.action, f"{row.kind} {row.number}", row.name]
            for change in row.changes:
                lead = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
                yield (
                    f"<tr>{lead}<td>{html.escape(change.field)}</td><td class=old>{html.escape(value_text(change.old))}</td>"
                    f"<td class=new>{html.escape(value_text(change.new))}</td></tr>"
                )
                cells = ["", "", ""]
        yield "</table>"
    if job.refused:
        rows = [(f"{one.kind} {one.number}", one.name, one.reason, one.owner, one.fix) for one in job.refused]
        yield _html_table(("refused", "name", "reason", "whose turn", "fix"), rows)
    for doc in job.documents:
        about = f"{doc.action}: {doc.text} {doc.name} {doc.amount} {doc.currency} {doc.sage_number} {doc.key}".strip()
        why = " | ".join(doc.problems) or doc.note
        body = orjson.dumps([msgspec.to_builtins(call) for call in doc.calls], option=orjson.OPT_INDENT_2).decode() if doc.calls else ""
        summary = html.escape(f"{about} – {why}" if why else about)
        yield f"<details><summary>{summary}</summary><pre>{html.escape(body)}</pre></details>"


def _html_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if isinstance(cell, int) else ''}>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
