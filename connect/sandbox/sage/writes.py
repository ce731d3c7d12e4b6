"""Creating, changing and deleting records, one, many or in a composite; workflows; the ledger's view of it all.

Source: sage-rest.md e (idempotency), g, h. What a single record must satisfy is in rules.py and payments.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from connect.sandbox.sage.bodies import Reader, Stamp, remove, write
from connect.sandbox.sage.errors import SageError, detail, invalid, not_found
from connect.sandbox.sage.idempotency import CACHED, HEADER, Answer, Keys
from connect.sandbox.sage.payments import ACTIONS, PAYMENT, Payments
from connect.sandbox.sage.records import nested
from connect.sandbox.sage.rules import ATTACHMENT, BILL, BILL_ACTIONS, BILL_LINE, VENDOR, Act, Rules
from connect.sandbox.sage.store import Row, Table

if TYPE_CHECKING:
    from connect.sandbox.sage.simulator import SageSimulator

BASE: Final = "/ia/api/{version}"
BATCH: Final = 500
COMPOSITE: Final = range(2, 11)
TRANSACTION: Final = "X-IA-API-Param-Transaction"
_OBJECT: Final = re.compile(r"/objects/([^/?]+/[^/?]+)(?:/([^/?]+))?(?:\?(.*))?")
_SUB_PATH: Final = re.compile(r"/(objects|services)/[a-z_][a-z_0-9.\-:]+.*")
_REFERENCE: Final = re.compile(r"@\{([^{}]+)\}")
_VENDOR_STATES: Final = {"approve": ("a", "approved"), "decline": ("r", "declined")}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the user, and the entity that the request is limited to."""

    user: str
    scope: int | None


class Writes:
    """What changes the books."""

    def __init__(self, sim: SageSimulator) -> None:
        self._sim = sim
        self._keys = Keys(sim.kernel.clock)
        self.rules = Rules(sim)
        self.payments = Payments(self.rules)
        self.routes: list[web.RouteDef] = [
            web.post(f"{BASE}/services/core/composite", self._on_composite),
            web.post(f"{BASE}/objects/{{application}}/{{object}}", self._on_object),
            web.patch(f"{BASE}/objects/{{application}}/{{object}}", self._on_object),
            web.patch(f"{BASE}/objects/{{application}}/{{object}}/{{key}}", self._on_object),
            web.delete(f"{BASE}/objects/{{application}}/{{object}}/{{key}}", self._on_object),
            web.post(f"{BASE}/workflows/{{application}}/{{object}}/{{action}}", self._on_workflow),
        ]

    def reset(self) -> None:
        """Forget what was remembered of earlier requests."""
        self._keys.clear()

    def books(self) -> dict[str, list[dict[str, Any]]]:
        """Every bill, payment and attachment, as an accountant would list them."""
        views: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
            "bills": (BILL, _bill_view),
            "payments": (PAYMENT, self._payment_view),
            "attachments": (ATTACHMENT, _attachment_view),
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for name, (path, view) in views.items():
            table = self._sim.store.table(path)
            found[name] = [view(nested(self._sim.store, table, key)) for key in sorted(table.rows)]
        return found

    def _payment_view(self, payment: dict[str, Any]) -> dict[str, Any]:
        bills = self._sim.store.table(BILL)
        paid = []
        for own in payment["details"]:
            bill = bills.get(int(own["bill"]["key"])) or {}
            amount = own["txnCurrency"]["paymentAmount"]
            paid.append({"bill": own["bill"]["key"], "billNumber": bill.get("billNumber"), "amount": amount})
        return {
            "key": payment["key"],
            "vendor": payment["vendor"]["id"],
            "amount": payment["txnCurrency"]["totalAmount"],
            "currency": payment["txnCurrency"]["currency"],
            "state": payment["state"],
            "date": payment["txnDate"],
            "method": payment["paymentMethod"],
            "account": payment["financialEntity"]["entityId"],
            "documentId": payment["documentId"],
            "documentNumber": payment["documentNumber"],
            "description": payment["description"],
            "entity": payment["entity"]["id"],
            "bills": paid,
        }

    # Requests

    async def _on_object(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['application']}/{request.match_info['object']}"
        keys, method, caller = request.match_info.get("key"), request.method, self._caller(request)
        atomic = request.headers.get(TRANSACTION, "").lower() == "true"
        raw = await request.read()
        return await self._once(request, raw, lambda: self._objects(method, name, keys, _json(raw, method), caller, atomic=atomic))

    async def _on_workflow(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['application']}/{request.match_info['object']}"
        action, caller = request.match_info["action"], self._caller(request)
        atomic = request.headers.get(TRANSACTION, "").lower() == "true"
        raw = await request.read()
        return await self._once(request, raw, lambda: self._workflows(name, action, _json(raw, "POST"), caller, atomic=atomic))

    async def _on_composite(self, request: web.Request) -> web.StreamResponse:
        raw, caller = await request.read(), self._caller(request)
        return await self._once(request, raw, lambda: self._composite(_json(raw, "POST"), caller))

    def _caller(self, request: web.Request) -> Caller:
        return Caller(self._sim.user_of(request), self._sim.session(request))

    async def _once(self, request: web.Request, raw: bytes, run: Callable[[], Answer]) -> web.StreamResponse:
        """Run it, or answer as the first time (POST and PATCH with a key)."""
        key = request.headers.get(HEADER) if request.method in ("POST", "PATCH") else None
        if key is None or not self._sim.config.idempotency:
            return self._respond(_answer(run))
        kept = self._keys.begin(key, f"{request.method} {request.path}\n".encode() + raw)
        if kept is None:
            kept = await self._first(key, run)
        return self._respond(kept)

    async def _first(self, key: str, run: Callable[[], Answer]) -> Answer:
        try:
            await asyncio.sleep(0)  # others get their turn: Sage runs requests side by side
            answer = _answer(run)
        except BaseException:
            self._keys.forget(key)
            raise
        self._keys.finish(key, answer)
        return answer

    def _respond(self, answer: Answer) -> web.Response:
        body = b"" if answer.body is None else orjson.dumps(answer.body)
        response = self._sim.respond(answer.status, body)
        if answer.cached_at is not None:
            response.headers[CACHED] = answer.cached_at
        return response

    # Objects

    def _objects(self, method: str, name: str, keys: str | None, body: Any, caller: Caller, *, atomic: bool) -> Answer:
        """One request on an object: a record, or a batch of them."""
        table = self._sim.table(name, method)
        if table.spec.read_only:
            raise SageError(
                405, "invalidRequest", f"{method} is not supported for /objects/{table.spec.name}", message_id="IA.METHOD_NOT_SUPPORTED"
            )
        act = self._act(method, table.spec.name, caller)
        if method == "DELETE":
            wanted = (keys or "").split(",")
            return self._each(wanted, lambda key: self._delete(act, table, key), 204, atomic=atomic, single=len(wanted) == 1)
        rows = body if isinstance(body, list) else [body]
        if not all(isinstance(row, dict) for row in rows):
            raise invalid("The payload must be an object or a list of objects")
        if method == "POST":
            return self._each(rows, lambda row: self._create(act, table, row), 201, atomic=atomic, single=isinstance(body, dict))
        if keys is not None and (isinstance(body, list) or "," in keys):
            raise invalid("Several records are changed by a list without a key in the path")
        if keys is None and isinstance(body, dict):
            raise invalid(detail("/key is required", target="/key"))
        return self._each(
            rows, lambda row: self._update(act, table, keys or row.get("key"), row), 200, atomic=atomic, single=isinstance(body, dict)
        )

    def _act(self, method: str, name: str, caller: Caller) -> Act:
        now = self._sim.kernel.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return Act(method, name, caller.user, caller.scope, Stamp(now, caller.scope, self._sim.lag_until()))

    def _each(self, items: list[Any], do: Callable[[Any], Row | None], good: int, *, atomic: bool, single: bool) -> Answer:
        """Every item by itself, or all together or none (`atomic`)."""
        if single:
            result = self._one(do, items[0])
            self._sim.count()
            return Answer(good, None if result is None else {"ia::result": result, "ia::meta": _totals(1, 0)})
        if not 1 <= len(items) <= BATCH:
            raise invalid(f"A batch has 1 to {BATCH} records")
        results = self._together(items, do, good) if atomic else [self._settled(do, item, good) for item in items]
        failed = sum("ia::error" in row for row in results)
        self._sim.count(len(results) - failed)
        if good == 204 and not failed:
            return Answer(204, None)
        return Answer(207 if failed else good, {"ia::result": results, "ia::meta": _totals(len(results) - failed, failed)})

    def _one(self, do: Callable[[Any], Row | None], item: Any) -> Row | None:
        """One item, wholly or not at all."""
        store = self._sim.store
        store.begin()
        try:
            result = do(item)
        except BaseException:
            store.rollback()
            raise
        store.commit()
        return result

    def _settled(self, do: Callable[[Any], Row | None], item: Any, good: int) -> Row:
        try:
            return {**(self._one(do, item) or {}), "ia::status": good}
        except SageError as error:
            return _failed(error)

    def _together(self, items: list[Any], do: Callable[[Any], Row | None], good: int) -> list[Row]:
        store = self._sim.store
        results: list[Row] = []
        store.begin()
        try:
            for item in items:
                results.append({**(do(item) or {}), "ia::status": good})  # noqa: PERF401  # counts how far it came
        except SageError as error:
            store.rollback()
            skipped = {"ia::error": _unprocessed("the others of the transaction failed"), "ia::status": 422}
            return [_failed(error) if number == len(results) else skipped for number in range(len(items))]
        except BaseException:
            store.rollback()
            raise
        store.commit()
        return results

    def _create(self, act: Act, table: Table, body: Row) -> Row:
        reader = Reader(self._sim.store, "create", act.scope)
        if act.name == PAYMENT:
            body = _with_entity_id(body)
        draft = reader.record(table, body)
        reader.check(act.method, f"objects/{act.name}")
        self.rules.check(act, draft)
        if act.name == PAYMENT:
            self.payments.check(act, draft)
        key = write(self._sim.store, draft, act.stamp)
        self._follow(act, key, draft.row)
        return _named(table, key)

    def _update(self, act: Act, table: Table, key: Any, body: Row) -> Row:
        number = self._find(act, table, key)
        reader = Reader(self._sim.store, "update", act.scope)
        draft = reader.record(table, body, number)
        reader.check(act.method, f"objects/{act.name}")
        self.rules.check(act, draft)
        if act.name == PAYMENT:
            self.payments.check(act, draft)
            self.payments.before(draft, act.stamp)
        write(self._sim.store, draft, act.stamp)
        self._follow(act, number, draft.row)
        return _named(table, number)

    def _delete(self, act: Act, table: Table, key: str) -> None:
        number = self._find(act, table, key)
        row = table.get(number) or {}
        self.rules.check_delete(act, table, number)
        if act.name == PAYMENT:
            self.payments.check_delete(act, table, number)
            self.payments.release(number, row, act.stamp)
        remove(self._sim.store, table, number, act.stamp.lag_until)
        if act.name == BILL_LINE:
            self.rules.retotal(int(row["bill.key"]), act.stamp)

    def _follow(self, act: Act, key: int, row: Row) -> None:
        """What a write changes elsewhere."""
        if act.name == PAYMENT:
            self.payments.after(key, row, act.stamp)
        elif act.name == BILL_LINE:
            self.rules.retotal(int(row["bill.key"]), act.stamp)

    def _find(self, act: Act, table: Table, key: Any) -> int:
        """The record with this key; one of another entity is not there."""
        number = table.find(key, None)
        if number is None or (act.scope is not None and table.private.get(number, act.scope) != act.scope):
            raise not_found(f"{act.name} {key}")
        return number

    # Workflows

    def _workflows(self, name: str, action: str, body: Any, caller: Caller, *, atomic: bool) -> Answer:
        run = self._action_of(name, action)
        if run is None:
            raise not_found(f"Workflow {name}/{action}")
        table = self._sim.table(name, "POST")
        act = self._act("POST", table.spec.name, caller)

        def do(row: Any) -> Row:
            if not isinstance(row, dict) or row.get("key") is None:
                raise invalid(detail("/key is required", target="/key"))
            number = self._find(act, table, row["key"])
            return _named(table, number) | run(act, table, number, row)

        return self._each(body if isinstance(body, list) else [body], do, 200, atomic=atomic, single=not isinstance(body, list))

    def _action_of(self, name: str, action: str) -> Callable[[Act, Table, int, Row], Row] | None:
        """What a workflow does, and what its answer tells besides key, id and href."""
        if name == BILL and action in BILL_ACTIONS:
            return lambda act, table, key, body: {"state": self.rules.bill_action(act, table, key, action, body)}
        if name == PAYMENT and action in ACTIONS:
            return lambda act, table, key, body: {"state": self.payments.action(act, table, key, action, body)}
        if name == VENDOR and action in _VENDOR_STATES:
            return lambda act, table, key, _body: {"state": self._vendor_action(act, table, key, action)}
        if name == BILL_LINE and action == "release":
            return self._release
        return None

    def _vendor_action(self, act: Act, table: Table, key: int, action: str) -> str:
        row = table.get(key) or {}
        if row.get("state", "a") != "s":
            raise act.refuse(f"The vendor '{row.get('id')}' does not wait for approval")
        state, said = _VENDOR_STATES[action]
        self._change(act, table, key, row | {"state": state})
        return said

    def _release(self, act: Act, table: Table, key: int, _body: Row) -> Row:
        self._change(act, table, key, (table.get(key) or {}) | {"releaseToPay": True})
        return {"releaseToPay": True}

    def _change(self, act: Act, table: Table, key: int, row: Row) -> None:
        row["audit.modifiedDateTime"] = act.stamp.at
        table.put(key, row, table.private.get(key), lag_until=act.stamp.lag_until)

    # Composite

    def _composite(self, body: Any, caller: Caller) -> Answer:
        """In order, until one fails; what was done stays."""
        if not isinstance(body, list) or len(body) not in COMPOSITE or not all(isinstance(sub, dict) for sub in body):
            raise invalid("A composite has 2 to 10 sub-requests")
        names = [sub["resultReference"] for sub in body if sub.get("resultReference") is not None]
        if len(set(names)) != len(names):
            raise invalid("Result references must differ")
        earlier: dict[str, Any] = {}
        results: list[Row] = []
        for sub in body:
            if any("ia::error" in row for row in results):
                results.append({"ia::error": _unprocessed("an earlier one failed"), "ia::status": 422})
                continue
            try:
                answer = self._sub(sub, earlier, caller)
            except SageError as error:
                results.append(_failed(error))
                continue
            results.append({**(answer.body or {}), "ia::status": answer.status})
            if "ia::error" not in results[-1] and answer.status < 300 and sub.get("resultReference") is not None:
                earlier[sub["resultReference"]] = (answer.body or {}).get("ia::result")
        failed = sum("ia::error" in row for row in results)
        return Answer(207 if failed else 200, {"ia::result": results, "ia::meta": _totals(len(results) - failed, failed)})

    def _sub(self, sub: Row, earlier: dict[str, Any], caller: Caller) -> Answer:
        """One sub-request; its own idempotency key counts. A failure it kept comes back as the error it was."""
        method, path = sub.get("method"), sub.get("path")
        if method not in ("GET", "POST", "PATCH", "DELETE"):
            raise invalid(detail("/method must be one of GET, POST, PATCH, DELETE", target="/method"))
        if not isinstance(path, str) or not _SUB_PATH.fullmatch(path):
            raise invalid(detail("/path must begin with /objects or /services", target="/path"))
        path, body = _filled(path, earlier), _filled(sub.get("body"), earlier)
        headers = {str(name).lower(): value for name, value in (sub.get("headers") or {}).items()}
        key = headers.get(HEADER) if method in ("POST", "PATCH") else None
        if key is None or not self._sim.config.idempotency:
            return self._dispatch(method, path, body, caller)
        answer = self._keys.begin(str(key), f"{method} {path}\n".encode() + orjson.dumps(body))
        if answer is None:
            try:
                answer = _answer(lambda: self._dispatch(method, path, body, caller), bare=True)
            except BaseException:
                self._keys.forget(str(key))
                raise
            self._keys.finish(str(key), answer)
        return answer

    def _dispatch(self, method: str, path: str, body: Any, caller: Caller) -> Answer:
        """A sub-request by its path."""
        match = _OBJECT.fullmatch(path)
        sim = self._sim
        if match is not None and method == "GET":
            name, key, query = match[1], match[2], dict(parse_qsl(match[3] or ""))
            if key is not None:
                return Answer(*sim.services.read(name, key, caller.scope))
            start, size = (
                int(query[part]) if query.get(part, "").isdigit() else default for part, default in (("start", 1), ("size", 100))
            )
            return Answer(200, sim.services.listed(name, caller.scope, start, size))
        if match is not None and (method == "PATCH" or (method == "DELETE") == (match[2] is not None)):
            if method != "DELETE" and body is None:
                raise _without_payload(method)
            return self._objects(method, match[1], match[2], body, caller, atomic=False)
        service, _, query_text = path.partition("?")
        if (method, service) == ("POST", "/services/core/query"):
            status, raw = sim.queries.answer(orjson.dumps(body), caller.scope)
            return Answer(status, orjson.loads(raw))
        if (method, service) == ("GET", "/services/core/model"):
            found = sim.services.model(dict(parse_qsl(query_text)).get("name", ""))
            return Answer(200, {"ia::result": found, "ia::meta": _totals(1 if found else 0, 0)})
        if (method, service) == ("GET", "/services/company-config/dimensions/list"):
            rows = sim.services.dimensions()
            return Answer(200, {"ia::result": rows, "ia::meta": _totals(len(rows), 0)})
        raise not_found(f"Resource {path}")


def _answer(run: Callable[[], Answer], *, bare: bool = False) -> Answer:
    """A refusal is an answer too. `bare`: as sub-requests show it, without `ia::result`."""
    try:
        return run()
    except SageError as error:
        return Answer(error.status, {"ia::error": error.error} if bare else error.body())


def _json(raw: bytes, method: str) -> Any:
    if method == "DELETE":
        return None
    if not raw.strip():
        raise _without_payload(method)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(f"The payload is no JSON: {error}") from error


def _without_payload(method: str) -> SageError:
    return SageError(
        400,
        "invalidRequest",
        f"A {method} request requires a payload",
        error_id="REST-1028",
        message_id="IA.REQUEST_REQUIRES_A_PAYLOAD",
        placeholders={"OPERATION": method},
    )


def _failed(error: SageError) -> Row:
    return {"ia::error": error.error, "ia::status": error.status}


def _unprocessed(why: str) -> Row:
    return {"code": "unprocessed", "message": f"Operation skipped because {why}"}


def _totals(good: int, bad: int) -> Row:
    return {"totalCount": good + bad, "totalSuccess": good, "totalError": bad}


def _named(table: Table, key: int) -> Row:
    """What the answer to a write shows of a record."""
    row = table.get(key) or {}
    return {"key": str(key), "id": row.get("id", str(key)), "href": f"/objects/{table.spec.name}/{key}"}


def _with_entity_id(body: Row) -> Row:
    """The account of a payment in its older place, `financialEntity.id`."""
    account = body.get("financialEntity")
    if isinstance(account, dict) and account.get("entityId") is None and account.get("id") is not None:
        return body | {"financialEntity": account | {"entityId": account["id"]}}
    return body


def _filled(value: Any, earlier: dict[str, Any]) -> Any:
    """`value` with every `@{reference.path}` replaced by what an earlier sub-request answered."""
    if isinstance(value, dict):
        return {name: _filled(part, earlier) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, earlier) for part in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        return _looked_up(whole[1], earlier)
    return _REFERENCE.sub(lambda match: str(_looked_up(match[1], earlier)), value)


def _looked_up(path: str, earlier: dict[str, Any]) -> Any:
    name, *parts = path.split(".")
    place = earlier.get(name)
    if parts and parts[0].isdigit() and isinstance(place, dict):
        place = [place]  # one result, counted from 1
    while parts:
        part = parts.pop(0)
        if isinstance(place, list) and part.isdigit() and 1 <= int(part) <= len(place):
            place = place[int(part) - 1]
        elif isinstance(place, dict) and ".".join([part, *parts]) in place:  # a row of a query: dotted names
            return place[".".join([part, *parts])]
        else:
            place = place.get(part) if isinstance(place, dict) else None
    if place is None:
        raise invalid(f"The reference @{{{path}}} leads nowhere")
    return place


def _bill_view(bill: dict[str, Any]) -> dict[str, Any]:
    lines = [
        {
            "account": line["glAccount"]["id"],
            "amount": line["txnAmount"],
            "memo": line["memo"],
            "dimensions": {name: value["id"] for name, value in line["dimensions"].items() if value["id"] is not None},
        }
        for line in bill["lines"]
    ]
    return {
        "key": bill["key"],
        "billNumber": bill["billNumber"],
        "vendor": bill["vendor"]["id"],
        "amount": bill["totalTxnAmount"],
        "due": bill["totalTxnAmountDue"],
        "currency": bill["currency"]["txnCurrency"],
        "state": bill["state"],
        "attachment": bill["attachment"]["id"],
        "description": bill["description"],
        "referenceNumber": bill["referenceNumber"],
        "createdDate": bill["createdDate"],
        "postingDate": bill["postingDate"],
        "dueDate": bill["dueDate"],
        "entity": bill["entity"]["id"],
        "lines": lines,
    }


def _attachment_view(attachment: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": attachment["key"],
        "id": attachment["id"],
        "name": attachment["name"],
        "folder": attachment["folder"]["id"],
        "files": [{"name": file["name"], "size": file["size"]} for file in attachment["files"]],
        "entity": attachment["entity"]["id"],
    }
