"""The OpenAPI 3.1 document, made from the table of routes: what is not in it is not in the API, and the other way round."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from workers.console.route import Route

REF: Final = "#/components/schemas/{model}"
_NAMES: Final = re.compile(r"{(\w+)}")
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "request_id")},
        }
    },
}
_REFUSALS: Final = {
    "400": "something asked is wrong; the message says what",
    "401": "no token, or one that is not valid",
    "403": "the role does not allow it",
    "404": "there is no such thing",
    "413": "more than is taken",
    "503": "Redis does not answer",
}


def document(table: Sequence[Route], version: str) -> dict[str, Any]:
    """The API of this table."""
    routes = [route for route in table if route.is_api]
    bodies = dict.fromkeys(route.body for route in routes if route.body is not None)
    answers = dict.fromkeys(route.answer for route in routes if route.answer is not None)
    modes = [*((model, "validation") for model in bodies), *((model, "serialization") for model in answers)]
    names, definitions = models_json_schema(modes, ref_template=REF)  # type: ignore[arg-type]  # a list of pairs, as it wants
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Connect",
            "version": version,
            "description": "What the command line does, as JSON. Send `Authorization: Bearer TOKEN`: `connect console token create`.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**definitions.get("$defs", {}), "Error": _ERROR},
        },
    }


def _operation(route: Route, names: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    what = (inspect.getdoc(route.handler) or "").partition("\n")[0]
    role = "any role" if route.role == "viewer" else f"role {route.role} or admin" if route.role != "admin" else "role admin"
    found: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.removeprefix('/api/v1/').lower()).strip('_')}",
        "summary": f"connect {route.cli}" if route.cli else what,
        "description": " ".join(part for part in (what, f"For {role}.") if part),
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _NAMES.findall(route.path)],
        "responses": {
            str(route.status): {"description": "done", "content": _file(route.media) or _json(names[route.answer, "serialization"])},
            **{
                status: {"description": words, "content": _json({"$ref": REF.format(model="Error")})} for status, words in _REFUSALS.items()
            },
        },
    }
    if route.query is not None:
        found["parameters"] += _parameters(route.query)
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": _json(names[route.body, "validation"])}
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _file(media: Sequence[str]) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media}


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    needed = schema.get("required", ())
    return [{"name": name, "in": "query", "required": name in needed, "schema": rule} for name, rule in schema["properties"].items()]
