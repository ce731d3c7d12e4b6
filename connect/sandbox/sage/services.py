"""What is only read: the query service's route, records by key, the plain list, the model service, the dimensions.

Source: sage-rest.md a, c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from connect.sandbox.sage import records
from connect.sandbox.sage.asked import DEFAULT_SIZE, MAX_SIZE
from connect.sandbox.sage.errors import SageError, invalid, not_found
from connect.sandbox.sage.fields import DIMENSIONS
from connect.sandbox.sage.schema import Field, Kind, Spec, Tree, spec_of, specs
from connect.sandbox.sage.store import Table

if TYPE_CHECKING:
    from connect.sandbox.sage.simulator import SageSimulator

BASE: Final = "/ia/api/{version}"
BATCH: Final = 500
USER_DEFINED: Final = "platform-apps/nsp::"
IN_GL: Final = frozenset({"DEPARTMENT", "LOCATION", "PROJECT", "CUSTOMER", "VENDOR", "EMPLOYEE", "ITEM", "CLASS"})
FORMATS: Final[dict[Kind, str]] = {
    "money": "decimal-precision-2",
    "decimal": "decimal-precision-2",
    "date": "date",
    "datetime": "date-time",
}
TYPES: Final[dict[Kind, str]] = {"integer": "integer", "number": "number", "boolean": "boolean"}


class Services:
    """The routes that change nothing."""

    def __init__(self, sim: SageSimulator) -> None:
        self._sim = sim
        self.routes: list[web.RouteDef] = [
            web.post(f"{BASE}/services/core/query", self._on_query),
            web.route("GET", f"{BASE}/services/core/model", self._on_model),
            web.route("GET", f"{BASE}/services/company-config/dimensions/list", self._on_dimensions),
            web.route("GET", f"{BASE}/objects/{{application}}/{{object}}", self._on_list),
            web.route("GET", f"{BASE}/objects/{{application}}/{{object}}/{{key}}", self._on_record),
        ]

    def model(self, name: str) -> dict[str, Any] | list[Any]:
        """The model of one object; an empty list when there is none."""
        short = name.removeprefix("objects/")
        spec = spec_of(short)
        if spec is None or (short.startswith(USER_DEFINED) and short not in self._sim.store.tables):
            return []
        owned = any(field.child == spec.name for other in specs().values() for field in other.owned())
        return {
            **_model_of(spec),
            "httpMethods": "OPTIONS,GET" if spec.read_only else "OPTIONS,GET,POST,DELETE,PATCH",
            "idempotenceSupported": not spec.read_only,
            "apiObject": f"objects/{spec.name}",
            "type": "ownedObject" if owned else "rootObject",
            "href": f"/services/core/model?version=v1&name=objects/{spec.name}",
        }

    def dimensions(self) -> list[dict[str, Any]]:
        """The fourteen of every company, and what it has loaded besides."""
        off = self._sim.config.disabled_dimensions
        rows = [_dimension(name, label, path, is_in_gl=name in IN_GL and name not in off) for name, label, path in DIMENSIONS]
        for name in sorted(self._sim.store.tables):
            if name.startswith(USER_DEFINED) and self._sim.store.tables[name].rows:
                label = name.removeprefix(USER_DEFINED)
                rows.append(_dimension(label.upper(), label.capitalize(), name, is_own=True, is_in_gl=label.upper() not in off))
        return rows

    def read(self, name: str, keys: str, scope: int | None) -> tuple[int, dict[str, Any]]:
        """(status, body) of GET by key; several keys, separated by commas, are a batch."""
        table = self._sim.table(name, "GET")
        wanted = keys.split(",")
        if len(wanted) > BATCH:
            raise invalid(f"At most {BATCH} keys in one request")
        if len(wanted) == 1:
            found = self._record(table, wanted[0], scope)
            self._sim.count()  # what is not there is not metered, as with writes that are refused
            return 200, {"ia::result": found, "ia::meta": _totals(1, 0)}
        self._sim.count()
        rows: list[dict[str, Any]] = []
        failed = 0
        for key in wanted:
            try:
                rows.append({**self._record(table, key, scope), "ia::status": 200})
            except SageError as error:
                failed += 1
                rows.append({"ia::error": error.error, "ia::status": error.status})
        return 207 if failed else 200, {"ia::result": rows, "ia::meta": _totals(len(rows) - failed, failed)}

    def listed(self, name: str, scope: int | None, start: int = 1, size: int = DEFAULT_SIZE) -> dict[str, Any]:
        """The plain list: key, id and href."""
        table = self._sim.table(name, "GET")
        body = {"object": table.spec.name, "fields": ["key", "id", "href"], "orderBy": [{"key": "asc"}], "start": start, "size": size}
        _, page = self._sim.queries.answer(orjson.dumps(body), scope)
        found: dict[str, Any] = orjson.loads(page)
        return found

    def _record(self, table: Table, key: str, scope: int | None) -> dict[str, Any]:
        number = table.find(key, None)
        owner = None if number is None else table.private.get(number)
        if number is None or (scope is not None and owner not in (None, scope)):
            raise not_found(f"{table.spec.name} {key}")
        return records.nested(self._sim.store, table, number)

    async def _on_query(self, request: web.Request) -> web.StreamResponse:
        status, body = self._sim.queries.answer(await request.read(), self._sim.session(request))
        return self._sim.respond(status, body)

    async def _on_list(self, request: web.Request) -> web.StreamResponse:
        start, size = _number(request, "start", 1), _number(request, "size", DEFAULT_SIZE)
        return self._sim.respond(200, orjson.dumps(self.listed(_object_of(request), self._sim.session(request), start, size)))

    async def _on_record(self, request: web.Request) -> web.StreamResponse:
        status, body = self.read(_object_of(request), request.match_info["key"], self._sim.session(request))
        return self._sim.respond(status, orjson.dumps(body))

    async def _on_model(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("name", "")
        if name:
            found = self.model(name)
            return self._sim.respond(200, orjson.dumps({"ia::result": found, "ia::meta": _totals(1 if found else 0, 0)}))
        rows = [{"apiObject": f"objects/{known}", "href": f"/services/core/model?version=v1&name=objects/{known}"} for known in specs()]
        return self._sim.respond(200, orjson.dumps({"ia::result": rows, "ia::meta": _totals(len(rows), 0)}))

    async def _on_dimensions(self, _request: web.Request) -> web.StreamResponse:
        rows = self.dimensions()
        totals = {name: str(count) for name, count in _totals(len(rows), 0).items()}  # texts, as Sage sends them here
        return self._sim.respond(200, orjson.dumps({"ia::result": rows, "ia::meta": totals}))


def _object_of(request: web.Request) -> str:
    return f"{request.match_info['application']}/{request.match_info['object']}"


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and int(text) >= 1 and (name != "size" or int(text) <= MAX_SIZE)):
        raise invalid(f"{name} must be a whole number from 1")
    return int(text)


def _totals(good: int, bad: int) -> dict[str, int]:
    return {"totalCount": good + bad, "totalSuccess": good, "totalError": bad}


def _dimension(name: str, label: str, path: str, *, is_in_gl: bool, is_own: bool = False) -> dict[str, Any]:
    return {
        "dimensionName": name,
        "dimensionLabel": label,
        "termName": label,
        "isUserDefinedDimension": is_own,
        "isEnabledInGL": is_in_gl,
        "dimensionEndpoint": f"/objects/{path}",
    }


def _model_of(spec: Spec) -> dict[str, Any]:
    """fields, groups, refs and lists of the object itself."""
    found = _group_model(spec.tree)
    key = _property(Field("key", read_only=True))
    own_id = key if spec.id_kind == "key" else {**_property(Field("id", required=spec.id_kind == "given")), "mutable": False}
    fields = {"id": own_id, "key": key, **(found["fields"] or {})}
    return {**found, "fields": dict(sorted(fields.items()))}


def _group_model(tree: Tree) -> dict[str, Any]:
    """One level of the tree. What is empty is a list, as Sage sends it."""
    fields: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    refs: dict[str, Any] = {}
    lists: dict[str, Any] = {}
    for name, node in sorted(tree.items()):
        if not isinstance(node, Field):
            groups[name] = {part: value for part, value in _group_model(node).items() if value}
        elif node.kind == "ref":
            refs[name] = _ref_model(node)
        elif node.kind == "owned":
            lists[name] = {"apiObject": node.child}
        elif node.kind == "list":
            lists[name] = {"fields": []}  # what its rows hold, the sandbox does not know
        else:
            fields[name] = _property(node)
    return {"fields": fields or [], "groups": groups or [], "lists": lists or [], "refs": refs or []}


def _ref_model(ref: Field) -> dict[str, Any]:
    """A reference: key, id and what it shows of the other record."""
    part = Field("", read_only=ref.read_only)
    fields = {"id": _property(part), "key": _property(part)}
    if ref.shows_name:
        fields["name"] = _property(Field("", read_only=True))
    model: dict[str, Any] = {"apiObject": ref.target, "fields": fields}
    target = spec_of(ref.target) if ref.target else None
    for shown, source in ref.extras:
        field = target.fields.get(source) if target is not None else None
        *above, last = shown.split(".")
        place = model
        for name in above:
            place = place.setdefault("groups", {}).setdefault(name, {})
        made = _property(field or Field(""))
        if ref.target == "company-config/contact":
            made = {"deprecated": True, **made}
        place.setdefault("fields", {})[last] = made
    return model


def _property(field: Field) -> dict[str, Any]:
    """One field's entry."""
    made: dict[str, Any] = {}
    is_nullable = not field.required and not field.enum
    if field.kind in FORMATS:
        made["format"] = FORMATS[field.kind]
    if field.default is not None:
        made["default"] = field.default
    if field.enum:
        made["enum"] = list(field.enum)
    if field.path.endswith(("audit.createdBy", "audit.modifiedBy")):
        made["deprecated"] = True
    return made | {
        "type": TYPES.get(field.kind, "string"),
        "readOnly": field.read_only,
        "writeOnly": field.write_only,
        "required": field.required,
        "nullable": is_nullable,
        "mutable": not field.read_only,
    }
