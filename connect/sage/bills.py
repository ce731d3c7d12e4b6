"""Bills in Sage: looking for them, making one with its files, taking one back.

A bill and its attachment go in one composite call where Sage's limit on a request allows it; the attachment comes first and Sage stops at
the first failure, so there is never a bill whose files are missing. Of the two only the bill has an idempotency key, and the whole call:
the attachment's id does the same service, and shows that an earlier call had come through (attachments.py).

Source: sage-rest.md c (queries), e (idempotency), g (writing, states), h (composite).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import orjson

from connect.errors import OutcomeUnknown, Permanent, Poison, Transient
from connect.ledger import Created, Found, Trace, markers_in, revision_of
from connect.sage.attachments import ATTACHMENT, BILL, BODY_LIMIT_BYTES, USED, Attachments, Files
from connect.sage.client import BeforeWrite, SageClient, Written
from connect.sage.query import Query
from connect.sage.refusals import DUPLICATE, part_refusal

TRACES: Final = 50  # documents looked for in one query
REVISIONS: Final = 10  # of each document, as attachment ids; the description's marker finds any
KEYS: Final = 500  # bills read by their keys in one query
LINE: Final = "accounts-payable/bill-line"
UNAPPROVED: Final = frozenset({"submitted", "partiallyApproved"})
FIELDS: Final = (
    "key",
    "billNumber",
    "vendor.id",
    "vendor.key",
    "totalTxnAmount",
    "totalTxnAmountDue",
    "currency.txnCurrency",
    "currency.baseCurrency",
    "state",
    "createdDate",
    "postingDate",
    "isOnHold",
    "referenceNumber",
    "description",
    "attachment.id",
    "paymentInformation.fullyPaidDate",
    "paymentInformation.totalTxnAmountSelectedForPayment",
)
_AFTER_LINK: Final = frozenset(" \t\r\n\"'<>)],;|")


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A bill as Sage shows it.

    `due`: not paid yet, and `selected` of that is to be paid; `paid_on`: when the last of it was paid. `markers`: ours.
    """

    key: str
    number: str
    vendor: str
    amount: Decimal
    due: Decimal
    currency: str
    state: str
    created_on: date | None
    posted_on: date | None
    on_hold: bool
    reference: str
    description: str
    markers: tuple[str, ...]
    paid_on: date | None
    base_currency: str = ""
    selected: Decimal = Decimal(0)

    def found(self, link: str = "") -> Found:
        """As a look-up tells of it."""
        return Found(
            key=self.key,
            number=self.number,
            vendor=self.vendor,
            amount=self.amount,
            currency=self.currency,
            state=self.state,
            markers=self.markers,
            has_link=has_link(self.description, link),
        )


class SageBills:
    """The bills of one connection. `limit_bytes`: the largest request that Sage takes. `numbers`: what Prime has as a vendor's number."""

    def __init__(self, client: SageClient, *, limit_bytes: int = BODY_LIMIT_BYTES, numbers: Literal["id", "key"] = "id") -> None:
        self._client = client
        self._vendor = f"vendor.{numbers}"
        self.attachments = Attachments(client, limit_bytes=limit_bytes)

    # -- looking -------------------------------------------------------------------------------------------------------

    async def find(self, traces: Sequence[Trace]) -> list[list[Found]]:
        """What Sage holds of each document, bills that are private to an entity too."""
        found: list[list[Found]] = []
        for start in range(0, len(traces), TRACES):
            chunk = traces[start : start + TRACES]
            filters, expression = _filters_of(chunk, self._vendor)
            bills = await self._bills(filters, expression)
            found += [[bill.found(trace.link) for bill in bills if _is_of(bill, trace)] for trace in chunk]
        return found

    async def bill(self, key: str, *, entity: str = "") -> Bill | None:
        """The bill as it is now, whatever queries show yet."""
        record = await self._client.record(f"{BILL}/{key}", entity=entity)
        return None if record is None else _bill({name: _at(record, name) for name in FIELDS}, self._vendor)

    async def bills(self, keys: Sequence[str]) -> dict[str, Bill]:
        """Many of them, by their keys."""
        found: dict[str, Bill] = {}
        for start in range(0, len(keys), KEYS):
            bills = await self._bills(({"$in": {"key": list(keys[start : start + KEYS])}},), "and")
            found |= {bill.key: bill for bill in bills}
        return found

    async def lines(self, keys: Sequence[str], fields: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The lines of these bills, by bill and in their order, with these (dotted) fields: a query for 500 bills, a page for 4,000 lines.

        Raises Permanent when Sage does not show them to this user.
        """
        found: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
        for start in range(0, len(keys), KEYS):
            filters = ({"$in": {"bill.key": list(keys[start : start + KEYS])}},)
            query = Query(LINE, ("key", "bill.key", *fields), filters, include_private=True)
            for _, raw in await self._client.rows_of(query):
                row = orjson.loads(raw)
                found[str(row["bill.key"])].append(row)
        return found

    async def unapproved(self, keys: Sequence[str], *, entity: str = "") -> set[str]:
        """Those of these new bills that wait for approval in Sage.

        Queries may not show them yet: of those left, one is read by its key, and the others only if that one waits, since the user who
        makes bills is exempt from approval or is not.
        """
        shown = await self.bills(keys)
        waiting = {key for key, bill in shown.items() if bill.state in UNAPPROVED}
        for key in keys:
            if key in shown:
                continue
            bill = await self.bill(key, entity=entity)
            if bill is not None and bill.state not in UNAPPROVED:
                break
            if bill is not None:
                waiting.add(key)
        return waiting

    async def named(self, keys: Sequence[str], numbers: Sequence[str], vendors: Sequence[str]) -> list[Bill]:
        """Bills with one of these keys, or with one of these numbers from one of these vendors."""
        found: dict[str, Bill] = await self.bills(keys)
        for start in range(0, len(numbers), KEYS):
            filters = ({"$in": {"billNumber": list(numbers[start : start + KEYS])}}, {"$in": {self._vendor: list(vendors)}})
            found |= {bill.key: bill for bill in await self._bills(filters, "and")}
        return list(found.values())

    async def paid_since(self, day: date) -> list[Bill]:
        """Bills that were fully paid on this day or later."""
        filters = ({"$eq": {"state": "paid"}}, {"$gte": {"paymentInformation.fullyPaidDate": day.isoformat()}})
        return await self._bills(filters, "and")

    async def marked(self, start: str) -> list[Bill]:
        """All bills whose description has this in it: what every marker begins with."""
        return await self._bills(({"$contains": {"description": start}},), "and")

    async def _bills(self, filters: Sequence[dict[str, Any]], expression: str) -> list[Bill]:
        query = Query(BILL, FIELDS, tuple(filters), expression=expression, include_private=True)
        return [_bill(orjson.loads(raw), self._vendor) for _, raw in await self._client.rows_of(query)]

    # -- making one ----------------------------------------------------------------------------------------------------

    async def create(self, body: bytes, key: str, files: Files | None, before_write: BeforeWrite, *, entity: str = "") -> Created:
        """The bill of these bytes, its files first. `files` are attached when the bytes name their attachment.

        Raises as posting.Books.create says; Permanent "file_too_big" before anything is sent.
        """
        if files is not None and revision_of(files.id):
            with _files_only():
                await self.attachments.drop_earlier(files.id, before_write, entity=entity)
        if _attachment_in(body) is None:
            return await self._alone(body, key, before_write, entity)
        if files is None or not files.files:
            raise Permanent("The invoice had files when its bill was prepared, and has none any more", system="sage", code="files_gone")
        self.attachments.check(files)
        together = _together(body, key, files)
        if len(together) > self.attachments.limit_bytes:
            with _files_only():
                await self.attachments.put(files, before_write, entity=entity)
        else:
            created = await self._both(together, key, files, before_write, entity)
            if created is not None:
                return created
            with _files_only():
                await self.attachments.align(files, before_write, entity=entity)
        created = await self._alone(body, key, before_write, entity)
        self.attachments.booked(files.id)
        return created

    async def _alone(self, body: bytes, key: str, before_write: BeforeWrite, entity: str) -> Created:
        written = await self._client.write("POST", f"/objects/{BILL}", body, before_write=before_write, what=BILL, key=key, entity=entity)
        return Created(key=_key_in(written.result), replayed=written.replayed)

    async def _both(self, together: bytes, key: str, files: Files, before_write: BeforeWrite, entity: str) -> Created | None:
        """One call for both. None when the attachment was there already: the bill was not tried then."""
        outer = f"{key}-{hashlib.sha256(together).hexdigest()[:16]}"
        written = await self._client.write(
            "POST", "/services/core/composite", together, before_write=before_write, what="composite", key=outer, entity=entity
        )
        attachment, bill = _parts(written)
        refused = part_refusal(attachment, replayed=False)
        if refused is not None and refused.code == DUPLICATE:
            return None
        refused = part_refusal(attachment, replayed=written.replayed)
        if refused is not None:
            with _files_only():
                raise refused
        self.attachments.note(files.id, _key_in(attachment.get("ia::result", attachment)))
        refused = part_refusal(bill, replayed=written.replayed)
        if refused is not None:
            raise refused
        created = Created(key=_key_in(bill.get("ia::result", bill)), replayed=written.replayed)
        self.attachments.booked(files.id)
        return created

    # -- taking one back -----------------------------------------------------------------------------------------------

    async def delete(self, key: str, before_write: BeforeWrite, *, entity: str = "") -> bool:
        """Take it away. False when it is gone already. Raises Permanent when its state does not allow it."""
        try:
            await self._client.write("DELETE", f"/objects/{BILL}/{key}", None, before_write=before_write, what=BILL, entity=entity)
        except Permanent as error:
            if error.status != 404:
                raise
            return False
        return True

    async def reverse(self, key: str, on: date, notes: str, before_write: BeforeWrite, *, entity: str = "") -> None:
        """Reverse it with an entry of its own; `on` must be later than its posting date. Sage names it "Reversed - number" then."""
        body = orjson.dumps({"key": key, "reverseDate": on.isoformat(), "notes": notes})
        await self._client.write(
            "POST", f"/workflows/{BILL}/reverse", body, before_write=before_write, what=f"{BILL}/reverse", entity=entity
        )

    async def delete_attachment(self, marker: str, before_write: BeforeWrite, *, entity: str = "") -> bool:
        """Take away what stood beside a bill that is gone, or that was refused. False when there is none."""
        return await self.attachments.delete(marker, before_write, entity=entity)


def has_link(text: str, link: str) -> bool:
    """Whether the whole link stands in the text: `…?no=12` is not in `…?no=123`."""
    if not link:
        return False
    at = text.find(link)
    while at >= 0:
        end = at + len(link)
        if end == len(text) or text[end] in _AFTER_LINK:
            return True
        at = text.find(link, at + 1)
    return False


def _filters_of(traces: Sequence[Trace], vendor_field: str = "vendor.id") -> tuple[list[dict[str, Any]], str]:
    """Any of: an attachment of theirs, their marker or link in the description, a number of theirs with a vendor of theirs."""
    ids = [trace.root if n == 0 else f"{trace.root}-{n}" for trace in traces for n in range(REVISIONS)]
    filters: list[dict[str, Any]] = [{"$in": {"attachment.id": ids}}]
    filters += [{"$contains": {"description": trace.root}} for trace in traces]
    filters += [{"$contains": {"description": link}} for link in dict.fromkeys(trace.link for trace in traces) if link]
    expression = " or ".join(str(n) for n in range(1, len(filters) + 1))
    pairs = dict.fromkeys(pair for trace in traces for pair in trace.numbers)
    if pairs:
        filters.append({"$in": {"billNumber": _distinct(number for _, number in pairs)}})
        filters.append({"$in": {vendor_field: _distinct(vendor for vendor, _ in pairs)}})
        expression += f" or ({len(filters) - 1} and {len(filters)})"
    return filters, expression


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _is_of(bill: Bill, trace: Trace) -> bool:
    return (bill.vendor, bill.number) in trace.numbers or bill.found(trace.link).is_of(trace.root)


def _bill(row: dict[str, Any], vendor_field: str = "vendor.id") -> Bill:
    return Bill(
        key=str(row["key"]),
        number=_text(row, "billNumber"),
        vendor=_text(row, vendor_field),
        amount=_money(row, "totalTxnAmount"),
        due=_money(row, "totalTxnAmountDue"),
        currency=_text(row, "currency.txnCurrency"),
        state=_text(row, "state"),
        created_on=_day(row, "createdDate"),
        posted_on=_day(row, "postingDate"),
        on_hold=row.get("isOnHold") in (True, "true"),
        reference=_text(row, "referenceNumber"),
        description=_text(row, "description"),
        markers=tuple(_distinct([*markers_in(_text(row, "attachment.id")), *markers_in(_text(row, "description"))])),
        paid_on=_day(row, "paymentInformation.fullyPaidDate"),
        base_currency=_text(row, "currency.baseCurrency"),
        selected=_money(row, "paymentInformation.totalTxnAmountSelectedForPayment"),
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _money(row: dict[str, Any], name: str) -> Decimal:
    value = row.get(name)
    try:
        return Decimal(0) if value is None else Decimal(str(value))
    except InvalidOperation as error:
        raise Poison(
            f"Sage shows bill {row.get('key')} with {name} {value!r}, which is no amount", system="sage", code="bad_rows"
        ) from error


def _day(row: dict[str, Any], name: str) -> date | None:
    value = row.get(name)
    try:
        return date.fromisoformat(str(value)[:10]) if value else None
    except ValueError as error:
        raise Poison(f"Sage shows bill {row.get('key')} with {name} {value!r}, which is no date", system="sage", code="bad_rows") from error


def _at(record: dict[str, Any], name: str) -> Any:
    """A dotted field of a nested record."""
    place: Any = record
    for part in name.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    return place


def _attachment_in(body: bytes) -> str | None:
    attachment = orjson.loads(body).get("attachment")
    return attachment.get("id") if isinstance(attachment, dict) else None


def _together(body: bytes, key: str, files: Files) -> bytes:
    """The composite, the bill's bytes untouched in it."""
    attachment = files.body([file.packed() for file in files.files])
    return b'[{"method":"POST","path":"/objects/%b","resultReference":"attachment","body":%b},' % (
        ATTACHMENT.encode(),
        attachment,
    ) + b'{"method":"POST","path":"/objects/%b","resultReference":"bill","headers":{"Idempotency-Key":%b},"body":%b}]' % (
        BILL.encode(),
        orjson.dumps(key),
        body,
    )


def _parts(written: Written) -> Iterator[dict[str, Any]]:
    parts = written.result
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, dict) for part in parts):
        raise OutcomeUnknown("Sage's answer to a composite cannot be read", system="sage", code="no_answer")
    return iter(parts)


def _key_in(result: Any) -> str:
    if not isinstance(result, dict) or not str(result.get("key") or "").isdigit():
        raise OutcomeUnknown("Sage said yes and gave no key; whether the write happened is not known", system="sage", code="no_answer")
    return str(result["key"])


@contextmanager
def _files_only() -> Iterator[None]:
    """What is written in here is no bill: whatever becomes of it, none is in doubt, unless one has the attachment already."""
    try:
        yield
    except OutcomeUnknown as error:
        if error.code == USED:
            raise
        raise Transient(f"The attachment may not be complete: {error.message}", system="sage", code="attachment") from error
