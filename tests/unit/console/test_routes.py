"""The table of routes: nothing without a rule, the same acts as the command line, and an API document that holds."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
import typer
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from workers.cli import app
from workers.console.openapi import document
from workers.console.route import API, Asked, Route
from workers.console.routes import SHELL_ALONE, TABLE
from workers.console.runs_page import OPTIONS

DOCUMENT = orjson.loads(orjson.dumps(document(TABLE, "1.2.3")))


class Model(BaseModel):
    x: int = 0


async def handler(_asked: Asked) -> Model:
    return Model()


def commands() -> dict[str, Any]:
    """Every command of the command line, such as "dead-letters replay"."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, one in getattr(command, "commands", {}).items():
            walk(one, (*words, name))
        if words:
            found[" ".join(words)] = command

    walk(typer.main.get_command(app), ())
    return found


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": ""},
        {"role": "boss"},
        {"method": "TRACE"},
        {"cli": ""},
        {"why": "both"},
        {"path": f"{API}/x"},
        {"path": f"{API}/x", "method": "POST", "answer": Model},
        {"probe": True},
        {"probe": True, "role": "anyone", "method": "POST"},
    ],
)
def test_a_route_without_a_rule_cannot_be_made(wrong):
    facts = {"method": "GET", "path": "/x", "handler": handler, "role": "viewer", "cli": "status"}
    Route(**facts)
    with pytest.raises(ValueError, match="/x"):
        Route(**facts | wrong)
    with pytest.raises(TypeError):
        Route("GET", "/x", handler)


def test_no_route_is_there_twice():
    keys = [(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in TABLE]
    assert sorted(set(keys)) == sorted(keys)


def test_every_act_needs_more_than_to_look_or_concerns_oneself():
    own = {"/logout", "/account", "/theme", "/login"}
    for route in TABLE:
        if route.method != "GET" and route.path not in own:
            assert route.role in ("operator", "approver", "admin"), route
        if re.search(r"/(users|tokens)\b", route.path):
            assert (route.role, route.everywhere) == ("admin", True), route


# -- the command line does the same ------------------------------------------------------------------------------------


def test_every_route_names_a_command_that_exists_or_a_reason():
    known = commands()
    for route in TABLE:
        assert route.cli in known if route.cli else len(route.why) > 5, route


def test_every_command_is_in_the_api_or_there_is_a_reason_why_not():
    in_api = {route.cli for route in TABLE if route.is_api}
    leaves = {name for name, command in commands().items() if not getattr(command, "commands", {})}
    assert leaves - in_api == set(SHELL_ALONE)
    assert all(len(why.split()) > 6 for why in SHELL_ALONE.values())


def test_every_act_of_a_page_is_a_call_of_the_api_too():
    def acts_of(is_api):
        return {route.cli for route in TABLE if route.is_api == is_api and route.method != "GET" and route.cli}

    assert acts_of(False)
    assert acts_of(False) - acts_of(True) == set()
    looks = {route.cli for route in TABLE if not route.is_api and route.cli}
    assert looks - {route.cli for route in TABLE if route.is_api} == set()


def test_every_act_of_the_command_line_is_in_the_api():
    in_api = {route.cli for route in TABLE if route.is_api and route.method != "GET"}
    acting = {name for name, command in commands().items() if any("--as" in one.opts for one in command.params)}
    assert {"dead-letters edit", "dead-letters replay", "dead-letters discard", "dead-letters approve", "sync"} <= acting
    assert acting - in_api - set(SHELL_ALONE) == set()
    users = {name for name in commands() if re.match(r"console (add|change|remove|set|token (create|revoke))", name)}
    assert users - in_api == set()


def test_a_job_is_run_now_with_the_same_options_everywhere():
    here = {"wait", "take_over", "by", "config", "as_json", "log_format", "log_level"}  # of the command itself
    options = {one.name for one in commands()["sync"].params} - here
    (call,) = [route for route in TABLE if route.is_api and route.cli == "sync"]
    assert set(call.body.model_fields) == options
    assert {"connection", "company", "job", *OPTIONS} == options


# -- OpenAPI -----------------------------------------------------------------------------------------------------------


def test_every_call_is_described_and_nothing_else():
    described = {(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert described == {(route.method, route.path) for route in TABLE if route.is_api}
    names = [operation["operationId"] for operations in DOCUMENT["paths"].values() for operation in operations.values()]
    assert len(set(names)) == len(names)


def test_every_parameter_of_a_path_is_declared():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert len({(one["in"], one["name"]) for one in operation["parameters"]}) == len(operation["parameters"])


def test_every_schema_is_one_and_every_reference_leads_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for name in re.findall(r'"\$ref":"([^"]+)"', orjson.dumps(DOCUMENT).decode()):
        assert name.removeprefix("#/components/schemas/") in schemas
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for one in operation["parameters"]:
                Draft202012Validator.check_schema(one["schema"])
            assert {"400", "401", "403", "404"} <= set(operation["responses"])
            assert operation["summary"]
    assert DOCUMENT["openapi"] == "3.1.0"
