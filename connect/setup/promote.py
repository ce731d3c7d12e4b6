"""A test connection becomes a production connection: everything is copied but what lets one in, which is asked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from connect.config.models import Connection, Credentials, GeneralSettings
from connect.config.stages import PARTNER_CLIENT, misplaced, values_of
from connect.setup.questions import Question, variable_of

_REST: Final = {
    "rest_url": "Where is production's REST API of Prime?",
    "rest_identity_url": "Where is its identity server?",
    "rest_tenant": "What is the tenant's id?",
    "rest_client_id": "What is the REST client's id?",
    "rest_client_secret": "Where is its secret kept?",
    "rest_user": "Who is the REST user?",
    "rest_role": "In which role?",
}
_SECRETS: Final = {"password": "PRIME_PASSWORD", "rest_client_secret": "PRIME_SECRET", "SageClientSecret": "SAGE_SECRET"}
_DIFFERENT: Final = ("environment", "url", "password", "rest_client_secret", "SageClientSecret", "SageUserName")
_STAYS: Final = ("username", "rest_user", "rest_role", "SageTokenUrl", "SageBaseUrl", "SageQueryUrl", "SageRestVersion")


@dataclass
class Promotion:
    """`source`: the table of the test connection; `name`: production's; `given`: production's values by the keys of the configuration."""

    source: Mapping[str, Any]
    name: str
    given: dict[str, Any] = field(default_factory=dict)

    def questions(self) -> list[Question]:
        """What is asked, in the order of the file; `key` is the configuration's. Defaults are what usually stays."""
        asked: list[tuple[str, str, type[BaseModel]]] = [
            ("environment", "What is the id of production's environment in Prime?", Connection),
            ("url", "Where is production's web service of Prime?", Connection),
            ("username", "Who is its user?", Connection),
            ("password", "Where is that user's password kept?", Connection),
            *((key, words, Connection) for key, words in _REST.items() if key in self.source),
            ("SageUserName", "Who is the web service user in the production company, as user@company?", Credentials),
            ("SageClientId", "What is the client id?", Credentials),
            ("SageClientSecret", "Where is its secret kept?", Credentials),
            *((key, f"{key} of production?", Credentials) for key in ("SageTokenUrl", "SageBaseUrl", "SageQueryUrl", "SageRestVersion")),
        ]
        general = self._lookup("GeneralSettings")
        if "ShowInvoiceBaseURL" in general:
            asked.append(("ShowInvoiceBaseURL", "Where do people reach production's Prime?", GeneralSettings))
        if "StartOn" in general:
            asked.append(("StartOn", "From which date on are production's documents ours?", GeneralSettings))
        return [self._question(key, words, model) for key, words, model in asked]

    def _lookup(self, name: str) -> dict[str, Any]:
        found = self.source.get("lookups", {}).get(name, {})
        return dict(found) if isinstance(found, Mapping) else {}

    def _question(self, key: str, words: str, model: type[BaseModel]) -> Question:
        default: Any = None
        if key in _SECRETS:
            default = f"env:{variable_of(self.name, _SECRETS[key])}"
        elif key == "SageClientId":
            default = PARTNER_CLIENT
        elif key in _STAYS:
            default = (self._lookup("Credentials") if model is Credentials else self.source).get(key)
        kind = "secret" if key in _SECRETS else "date" if key == "StartOn" else "text"
        return Question(key=key, ask=words, kind=kind, default=default, model=model, alias=key)  # type: ignore[arg-type]

    def table(self, *, active: bool = True) -> dict[str, Any]:
        """The production connection as a table of the file. `active` False: its jobs wait until somebody switches them on."""
        made: dict[str, Any] = copy.deepcopy(dict(self.source))
        made["name"] = self.name
        lookups = made.setdefault("lookups", {})
        for question in self.questions():
            key = question.key
            place = made if question.model is Connection else lookups.setdefault(_TABLES[question.model], {})
            place[key] = self.given.get(key, question.default)
        for job in made.get("jobs", []):
            if not active:
                job["active"] = False
        return made

    def doubts(self) -> list[str]:
        """What looks as if it were the test's, and what was copied and must be looked at."""
        made, test = values_of(self.table()), values_of(self.source)
        said = [f"{key} {words}" if words.startswith("is ") else f"{key}: {words}" for key, words in misplaced(self.name, made)]
        said += [
            f"{key}: {made[key]} is what {self.source.get('name')} has; production has one of its own"
            for key in _DIFFERENT
            if made.get(key) is not None and made[key] == test.get(key)
        ]
        if self._lookup("GeneralSettings").get("BankAccountMapping"):
            said.append("BankAccountMapping is copied: see that production's banks in Sage have the same ids (`connect doctor`)")
        return said


_TABLES: Final[dict[Any, str]] = {Credentials: "Credentials", GeneralSettings: "GeneralSettings"}
