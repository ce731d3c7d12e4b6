"""A test connection becomes a production connection: everything is copied but what lets one in, which is asked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from connect.config.models import Connection, Credentials, GeneralSettings
from connect.config.stages import OWN, PARTNER_CLIENT, misplaced, stage_of_name, values_of
from connect.setup.questions import Question, prime_host, variable_of

_REST: Final = {
    "rest_url": "Where is production's REST API of Prime?",
    "rest_identity_url": "Where is its identity server?",
    "rest_tenant": "What is the tenant's id?",
    "rest_client_id": "What is the REST client's id?",
    "rest_client_secret": "Where is its secret kept?",
    "rest_user": "Who is the REST user?",
    "rest_role": "In which role?",
}
_SAGE: Final = {
    "SageTokenUrl": "Where does Sage give tokens?",
    "SageBaseUrl": "Where is Sage's REST API, without the version?",
    "SageQueryUrl": "Where does it answer queries?",
    "SageRestVersion": "Which version of it?",
}
_GENERAL: Final = {
    "ShowInvoiceBaseURL": "Where do people reach production's Prime?",
    "StartOn": "From which date on are production's documents ours?",
    "BankAccountMapping": "Which bank of production's Sage is each account of Rillion Pay?",
}
_OF_ALL: Final = ("ShowInvoiceBaseURL", "StartOn")  # what a test's company had of its own is asked for all companies
_SECRETS: Final = {"password": "PRIME_PASSWORD", "rest_client_secret": "PRIME_SECRET", "SageClientSecret": "SAGE_SECRET"}
_STAYS: Final = ("username", "rest_user", "rest_role", "SageTokenUrl", "SageBaseUrl", "SageQueryUrl", "SageRestVersion")


@dataclass
class Promotion:
    """`source`: the table of the test connection; `name`: production's; `given`: production's values by the keys of the configuration."""

    source: Mapping[str, Any]
    name: str
    given: dict[str, Any] = field(default_factory=dict)

    def questions(self) -> list[Question]:
        """What is asked, in the order of the file; `key` is the configuration's. A default usually stays, or follows from `given`."""
        asked: list[tuple[str, str, type[BaseModel]]] = [
            ("environment", "What is the id of production's environment in Prime?", Connection),
            ("url", "Where is production's web service of Prime?", Connection),
            ("username", "Who is its user?", Connection),
            ("password", "Where is that user's password kept?", Connection),
            *((key, words, Connection) for key, words in _REST.items() if key in self.source),
            ("SageUserName", "Who is the web service user in the production company, as user@company?", Credentials),
            ("SageClientId", "What is the client id?", Credentials),
            ("SageClientSecret", "Where is its secret kept?", Credentials),
            *((key, words, Credentials) for key, words in _SAGE.items()),
        ]
        there = {*self._lookup("GeneralSettings"), *(key for one in self._companies() for key in _OF_ALL if key in _general_of(one))}
        asked += [(key, words, GeneralSettings) for key, words in _GENERAL.items() if key in there]
        return [self._question(key, words, model) for key, words, model in asked]

    def _lookup(self, name: str) -> dict[str, Any]:
        found = self.source.get("lookups", {}).get(name, {})
        return dict(found) if isinstance(found, Mapping) else {}

    def _companies(self) -> list[Mapping[str, Any]]:
        found = self.source.get("companies", [])
        return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []

    def _question(self, key: str, words: str, model: type[BaseModel]) -> Question:
        default: Any = None
        if key in _SECRETS:
            default = f"env:{variable_of(self.name, _SECRETS[key])}"
        elif key == "SageClientId":
            default = None if stage_of_name(self.name) == "test" else PARTNER_CLIENT
        elif key == "ShowInvoiceBaseURL" and "url" in self.given:
            default = prime_host(self.given["url"])
        elif key == "BankAccountMapping":
            default = self._lookup("GeneralSettings").get(key)
        elif key in _STAYS:
            default = (self._lookup("Credentials") if model is Credentials else self.source).get(key)
        kind = "secret" if key in _SECRETS else _KINDS.get(key, "text")
        return Question(key=key, ask=words, kind=kind, default=default, model=model, alias=key)  # type: ignore[arg-type]

    def table(self, *, active: bool = True) -> dict[str, Any]:
        """The production connection as a table of the file. `active` False: its jobs wait until somebody switches them on."""
        made: dict[str, Any] = copy.deepcopy(dict(self.source))
        made["name"] = self.name
        lookups = made.setdefault("lookups", {})
        for question in self.questions():
            key = question.key
            place = made if question.model is Connection else lookups.setdefault(_TABLES[question.model], {})
            value = self.given.get(key, question.default)
            if value is not None:
                place[key] = value
        for company in made.get("companies", []):
            for key in _OF_ALL:
                _general_of(company).pop(key, None)
        for job in made.get("jobs", []):
            if not active:
                job["active"] = False
        return made

    def doubts(self) -> list[str]:
        """What looks as if it were the test's, and what was copied and must be looked at."""
        whole, test = self.table(), values_of(self.source)
        made = values_of(whole)
        source = str(self.source.get("name"))
        said = [f"{source}, {_said(key, words)}" for key, words in misplaced(source, test)]
        said += [_said(key, words) for key, words in misplaced(self.name, made)]
        said += [
            f"{key}: {made[key]} is what {source} has; {self.name} has one of its own"
            for key in OWN
            if made.get(key) is not None and made[key] == test.get(key)
        ]
        for table in (whole["lookups"].get("GeneralSettings", {}), *map(_general_of, whole.get("companies", []))):
            if (banks := table.get("BankAccountMapping")) and banks in self._banks():
                said.append("BankAccountMapping is copied: see that production's banks in Sage have the same ids (`connect doctor`)")
        lost = {key for one in self._companies() for key in _OF_ALL if key in _general_of(one)}
        said += [f"{key}: companies had one of their own, and have that of {self.name} now" for key in sorted(lost)]
        return list(dict.fromkeys(said))

    def _banks(self) -> list[Any]:
        """The bank mappings of the test."""
        return [table.get("BankAccountMapping") for table in (self._lookup("GeneralSettings"), *map(_general_of, self._companies()))]


def _general_of(company: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a company has of its own, to be read or changed."""
    lookups = company.get("lookups", {})
    found = lookups.get("GeneralSettings", {}) if isinstance(lookups, Mapping) else {}
    return found if isinstance(found, dict) else {}


def _said(key: str, words: str) -> str:
    return f"{key} {words}" if words.startswith("is ") else f"{key}: {words}"


_KINDS: Final = {"StartOn": "date", "BankAccountMapping": "map"}
_TABLES: Final[dict[Any, str]] = {Credentials: "Credentials", GeneralSettings: "GeneralSettings"}
