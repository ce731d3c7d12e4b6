"""Answers become the tables of a configuration file, and the variables that its secrets are read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect.config.models import GeneralSettings, time_of
from connect.config.names import DOCUMENT_JOBS, MANDATORY_DIMENSIONS, REGISTER_JOBS
from connect.setup.questions import QUESTIONS, Answers
from connect.setup.timetable import Planned, timetable

PLAIN: Final = {name: number for number, name in enumerate(MANDATORY_DIMENSIONS, 1)}
NOT_YET: Final[Mapping[str, Any]] = {  # stands in for what is not answered yet, so that Sage can be tried before Prime; nothing is there
    "prime.environment": "not-yet",
    "prime.url": "https://prime.invalid/ws/webService.asmx",
    "prime.username": "not-yet",
    "prime.transport": "soap",
}
GUIDE: Final = (  # lookup GeneralSettings as the guide has it, in its order
    "ShowInvoiceBaseURL",
    "IsFullImport",
    "InvoiceImageExport",
    "PaymentCutoffDays",
    "DateFormat",
    "SageAttachmentFolderId",
    "PaymentRequestMethod",
    "UseDefaultPaymentMethod",
    "PaymentMethod",
    "PaymentMethodMapping",
    "BankAccountMapping",
)
_PRIME: Final = ("environment", "username", "password", "url")
_REST: Final = ("rest_url", "rest_identity_url", "rest_tenant", "rest_client_id", "rest_client_secret", "rest_user", "rest_role")


def planned(answers: Answers) -> list[Planned]:
    """The jobs of all companies."""
    names = [job for job in REGISTER_JOBS if job != "GetPeriods" or answers["registers.periods"]]
    books, pays = answers["documents.invoices"], answers["documents.rillion_pay"]
    wanted = {"GetPaymentDates": books, "ExportInvoices": books, "CancelInvoices": books, "ExportPayments": pays}
    names += [job for job in DOCUMENT_JOBS if wanted[job]]
    found = []
    for job in names:
        level = answers.level("documents" if job in DOCUMENT_JOBS else job)
        found += [Planned(job, one.company, one.sage_entity if level == "entity" else "") for one in answers.companies]
    return found


def tables(answers: Answers) -> dict[str, Any]:
    """What `connect.config.toml.dump` writes as connect.toml. Raises ValueError when the jobs do not fit into a day."""
    connection: dict[str, Any] = {"name": answers["connection.name"]}
    connection |= {name: answers[f"prime.{name}"] for name in _PRIME}
    connection["register_transport"] = answers["prime.transport"]
    if answers["prime.transport"] == "rest" or answers["documents.rillion_pay"]:
        connection |= {name: value for name in _REST if (value := answers[f"prime.{name}"]) is not None}
    connection["sage_slots"] = answers["sage.slots"]
    connection["timezone"] = answers["customer.timezone"]
    if answers["schedule.maintenance"]:
        connection["maintenance"] = list(answers["schedule.maintenance"])
    connection["lookups"] = {
        "GeneralSettings": _general(answers),
        "Credentials": _credentials(answers),
        "Objects": dict(answers["dimensions.chosen"] or PLAIN),
    }
    own = [{"company": one.company, "lookups": {"Objects": one.dimensions}} for one in answers.companies if one.dimensions]
    if own:
        connection["companies"] = own
    connection["jobs"] = _jobs(answers)
    redis: dict[str, Any] = {"url": answers["connection.redis_url"]} if answers["connection.redis_url"] else {"data_dir": ".connect"}
    return {"redis": redis, "connections": [connection]}


def _general(answers: Answers) -> dict[str, Any]:
    """The guide's settings in its order, then ours; ours only where they are not as they are by default."""
    asked = [question for question in QUESTIONS if question.model is GeneralSettings and question.when(answers)]
    found = {question.alias: answers[question.key] for question in asked}
    usual = GeneralSettings().model_dump(by_alias=True)
    written = {name: found[name] for name in GUIDE if found.get(name) not in (None, "", {})}
    return written | {name: value for name, value in found.items() if name not in GUIDE and value != usual[name]}


def _credentials(answers: Answers) -> dict[str, Any]:
    return {
        "SageTokenUrl": answers["sage.token_url"],
        "SageBaseUrl": answers["sage.base_url"],
        "SageQueryUrl": answers["sage.query_url"],
        "SageRestVersion": answers["sage.rest_version"],
        "SageClientId": answers["sage.client_id"],
        "SageClientSecret": answers["sage.client_secret"],
        "SageUserName": answers["sage.username"],
    }


def _jobs(answers: Answers) -> list[dict[str, Any]]:
    jobs = planned(answers)
    times = timetable(jobs, time_of(answers["schedule.begin"]))
    rows = []
    for one in jobs:
        row: dict[str, Any] = {"job": one.job, "company": one.company, "sage_entity": one.entity}
        row |= {"every": times[one].every, "offset_minutes": times[one].offset_minutes}
        rows.append(row)
    return rows


def secrets(answers: Answers) -> dict[str, str]:
    """What each secret is -> where it is kept, env:NAME or file:PATH."""
    found = {
        "the password of the web service's user in Prime": answers["prime.password"],
        "the secret of the client id in Sage": answers["sage.client_secret"],
    }
    if answers["prime.transport"] == "rest" or answers["documents.rillion_pay"]:
        found["the secret of the REST client in Prime"] = answers["prime.rest_client_secret"]
    return found


def example(found: Mapping[str, str]) -> str:
    """An .env.example: the variables of the secrets, without values."""
    lines = ["# What Connect reads from its environment. Copy to .env, fill in, keep it out of version control (chmod 600), then:"]
    lines += ["#   set -a; . ./.env; set +a"]
    for what, reference in found.items():
        kind, _, name = reference.partition(":")
        lines += ["", f"# {what}", f"{name}=" if kind == "env" else f"# is read from the file {name}"]
    lines += ["", "# where the configuration is, and how logs look", "CONNECT_CONFIG=connect.toml", "# CONNECT_LOG_FORMAT=json"]
    return "\n".join(lines) + "\n"
