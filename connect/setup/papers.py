"""What people get beside the configuration: the check list of the whole delivery, and the page of what the customer does in Sage.

Both in Markdown. What a check of `connect doctor` has proved is ticked, with what it saw. Source: the guide's onboarding check list
(22 steps) and its "Prep of Sage" (12 steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from connect.config import Connection
from connect.doctor import Result
from connect.doctor.needs import needs
from connect.doctor.sage import GENERAL_LEDGER, MODULES, ROLES, SECURITY, SUBSCRIPTIONS, USERS
from connect.sage import payments
from connect.sage.attachments import ATTACHMENT, BILL
from connect.setup.dimensions import Dimension
from connect.setup.limits import Limit, limits
from connect.setup.questions import Answers

WRITTEN: Final = {
    BILL: "List, View, Add, Edit, Delete",
    ATTACHMENT: "List, View, Add, Edit, Delete",
    payments.PAYMENT: "List, View, Add",
}


@dataclass(frozen=True)
class Case:
    """What the papers are written from. `results`: of the checks, by name; empty where nothing was tried."""

    answers: Answers
    connection: Connection
    results: Mapping[str, Result]
    dimensions: Sequence[Dimension]
    on: date

    def proved(self, *checks: str) -> bool:
        """Whether all these checks were made and are right."""
        return all(name in self.results and self.results[name].verdict == "ok" for name in checks)

    def saw(self, check: str) -> str:
        return self.results[check].saw if self.proved(check) else ""

    def wrong(self, *checks: str) -> list[str]:
        """What the customer is to do, of these checks."""
        results = [self.results[name] for name in checks if name in self.results]
        return [found.do for result in results for found in result.findings if found.owner == "customer"]


# -- the check list ----------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    what: str
    owner: str


STEPS: Final = (
    Step("Enter the opportunity in the CRM, with the ERP and who runs it for the customer", "Sales"),
    Step("Send the newest onboarding guide to the opportunity", "Sales"),
    Step("Have it confirmed in writing that the guide was read and understood", "Sales, customer"),
    Step("Make the offer and have Professional Services agree to it", "Sales, Professional Services"),
    Step("Answer the questionnaire, wholly and truly", "Customer"),
    Step("Receive the signed questionnaire, before anything is agreed", "Sales"),
    Step("Sign the agreement", "Sales"),
    Step("Turn the opportunity into a customer and file the agreement", "Sales"),
    Step("Order the Prime environment from Operations", "Professional Services"),
    Step("Order access to the web service and the credentials of the environment", "Professional Services"),
    Step(
        "Make this connection known where Connect runs (the guide's poller file; here: connect.toml)", "Professional Services, Operations"
    ),
    Step("On-premise Sage only: order the customer's access to the download portal", "Professional Services, Connect support"),
    Step("On-premise Sage only: download and install the packages", "Customer"),
    Step("Configure the connection (`connect init`, `connect doctor` without a failure)", "Professional Services"),
    Step("Train the customer", "Professional Services"),
    Step("Acceptance test on the TEST company", "Customer, Professional Services"),
    Step("Sign the acceptance and agree on the day of going live", "Customer, Professional Services"),
    Step("Set up production (`connect promote`), with production's own client id and secret where they differ", "Professional Services"),
    Step("Go live", "Customer, Professional Services"),
    Step("Hand over to support", "Professional Services"),
    Step("Send the welcome letter, guide and access to online support", "Support"),
    Step("Keep the onboarding guide current", "Integration team"),
)


def checklist(case: Case) -> str:
    """The 22 steps of the delivery with owner and state."""
    states = _states(case)
    lines = [
        f"# Onboarding of {case.answers['customer.name']}: check list",
        "",
        f"Connection {case.connection.name}, as of {case.on.isoformat()}. Done, open or not needed is what Connect could find out; the",
        "rest is ticked by whoever did it, with name and date.",
        "",
        *_people(case.answers),
        "",
        "| | # | step | owner | state | by, on |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, step in enumerate(STEPS, 1):
        state = states.get(number, "open")
        box = "[ ]" if state.startswith("open") else "[x]"
        lines.append(f"| {box} | {number} | {step.what} | {step.owner} | {_cell(state)} | |")
    lines += ["", *_limits(case)]
    return "\n".join(lines) + "\n"


def _people(answers: Answers) -> Iterator[str]:
    """Whom to call, in which time zone, and for which companies."""
    contact = ", ".join(str(answers[f"customer.{key}"]) for key in ("contact", "email", "phone", "address") if answers[f"customer.{key}"])
    second = f"; also {answers['customer.second_contact']}" if answers["customer.second_contact"] else ""
    yield f"- Contact for IT and Sage: {contact} (time zone {answers['customer.timezone']}){second}"
    for one in answers.companies:
        yield f"- Company {one.company}: {one.name}, {one.country}{f', entity {one.sage_entity} of Sage' if one.sage_entity else ''}"


def _states(case: Case) -> dict[int, str]:
    """Of the steps that Connect knows something of."""
    states = {5: "done: all questions are answered"}
    if not case.answers["connection.on_premise"]:
        states |= dict.fromkeys((12, 13), "not needed: Connect does not run at the customer's")
    if case.proved("prime.environment", "prime.login"):
        states |= {9: f"done: {case.connection.environment} is there", 10: f"done: {case.connection.username} is let in"}
    states[11] = f"done: {case.connection.name} is in the configuration"
    failed = sum(result.verdict == "failed" for result in case.results.values())
    if case.results:
        states[14] = f"open: {failed} checks of `connect doctor` fail" if failed else "done: no check of `connect doctor` fails"
    else:
        states[14] = "open: written, not tried"
    if not case.answers["sage.test_is_copy"]:
        states[16] = "open: the TEST company must be refreshed from production first"
    return states


def _limits(case: Case) -> Iterator[str]:
    found: list[Limit] = limits(case.answers)
    if not found:
        yield "Nothing that was answered lies outside of what Connect serves."
        return
    yield "## What does not fit, or is not there yet"
    yield ""
    for one in found:
        yield f"- [ ] Question {one.about}: {one.text} {one.do} (to be done by: {one.owner})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# -- the customer's page -----------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """One box. `checks` prove it; without any only a person can tick it, unless there is nothing to do."""

    text: str
    checks: tuple[str, ...] = ()
    needed: bool = True


def hand_over(case: Case) -> str:
    """What the customer does in Sage, in the guide's order, with the values to type in."""
    lines = [
        f"# What {case.answers['customer.name']} sets up in Sage Intacct",
        "",
        f"For connection {case.connection.name}, as of {case.on.isoformat()}. Sign in to Sage as an administrator, go from top to bottom.",
        "A ticked box was tried by Connect and is right already; what it could not try stays open.",
    ]
    for number, (title, tasks) in enumerate(_steps(case), 1):
        lines += ["", f"## {number}. {title}", ""]
        for task in tasks:
            proved = not task.needed or (bool(task.checks) and case.proved(*task.checks))
            lines.append(f"- [{'x' if proved else ' '}] {task.text}")
            lines += [f"  - found: {words}" for words in dict.fromkeys(case.wrong(*task.checks))]
    lines += ["", "Questions, and word that it is done: to the consultant of this project."]
    return "\n".join(lines) + "\n"


def _steps(case: Case) -> list[tuple[str, list[Task]]]:
    answers, connection = case.answers, case.connection
    user, _, company = str(answers["sage.username"]).partition("@")
    jobs = {job.job for job in connection.jobs if job.active}
    pays, books = "ExportPayments" in jobs, "ExportInvoices" in jobs
    files = books and bool(answers["documents.images"])
    return [
        ("Administrator", [Task(f"Sign in to company {company} with full administration rights.")]),
        (
            "Subscription",
            [
                Task(f"{SUBSCRIPTIONS}: Web Services is switched on.", ("sage.authorised",)),
                Task("The integration licence is there."),
            ],
        ),
        ("Role and its permissions", [Task(f"{ROLES.partition(',')[0]}: add a role for Connect alone."), *_permissions(case)]),
        (
            "Web service user",
            [
                Task(
                    f"{USERS}: add the user `{user}`, give it the role, keep it active.",
                    ("sage.authorised", "sage.modules", "sage.permissions"),
                ),
            ],
        ),
        (
            "Sender ID",
            [
                Task(
                    "Company > Setup > Company, tab Security, Edit, Web Services authorizations: Add the Sender ID "
                    f"`{answers['sage.sender_id']}`, status Active; save."
                )
            ],
        ),
        (
            "Client id",
            [
                Task(
                    f"{SECURITY}: Add `{answers['sage.client_id']}` with Web Services user ID `{user}`, status Active; save.",
                    ("sage.client", "sage.company", "sage.authorised"),
                )
            ],
        ),
        (
            "Attachment folder",
            [Task(f"Company > Setup > Attachment folders: add `{answers['documents.folder']}`.", ("sage.folder",))]
            if files
            else [Task("Not needed: no files are sent to Sage.", needed=False)],
        ),
        (
            "Currencies",
            [
                Task(
                    "Company > Setup: transaction currencies, and exchange rates where they are kept by hand; nothing, if there is one "
                    "currency alone.",
                    ("sage.currencies",),
                )
            ],
        ),
        (
            "Multi-currency",
            [Task(f"{GENERAL_LEDGER}, Multi-currency management: switch it on, fill in the accounts; save.", ("sage.currencies",))],
        ),
        ("Dimensions", _dimensions(case)),
        (
            "Bills without a second approval",
            [
                Task(
                    f"{SUBSCRIPTIONS} > Accounts Payable > Configure, Bill approval settings: choose `{user}` under Unrestricted, since "
                    "invoices are approved in Prime; save."
                )
            ]
            if books
            else [Task("Not needed: no invoices are booked yet.", needed=False)],
        ),
        ("Bank accounts", _banks(case) if pays else [Task("Not needed: Rillion Pay is not used.", needed=False)]),
    ]


def _permissions(case: Case) -> list[Task]:
    """Module by module, what the role needs for the jobs that are configured."""
    by_module: dict[str, dict[str, str]] = {}
    for name in needs(case.connection):
        application, _, record = name.partition("/")
        by_module.setdefault(MODULES.get(application, application), {})[record.replace("-", " ")] = WRITTEN.get(name, "List, View")
    checks = ("sage.modules", "sage.permissions")
    tasks = []
    for module, records in sorted(by_module.items()):
        words = "; ".join(
            f"{', '.join(sorted(one for one, rights in records.items() if rights == kind))}: {kind}"
            for kind in dict.fromkeys(sorted(records.values()))
        )
        only_reads = set(records.values()) == {"List, View"}
        tasks.append(Task(f"Subscriptions of the role, {module} > Permissions: {words}.", checks if only_reads else ()))
    return tasks


def _dimensions(case: Case) -> list[Task]:
    known = {one.name: one for one in case.dimensions}
    tasks = []
    for name in dict.fromkeys(name for company in case.connection.companies for name in case.connection.objects(company)):
        label = known[name].label if name in known else name
        tasks.append(Task(f"{GENERAL_LEDGER}, Dimension settings: {label} is enabled.", ("sage.dimensions",)))
    return tasks


def _banks(case: Case) -> list[Task]:
    mapping = case.connection.lookups.general.bank_account_mapping
    tasks = [
        Task("Checking, savings and credit card accounts that Rillion Pay pays from are set up in Cash Management."),
        Task("For each method of payment that is used (check, card, ACH, …) there is an account that suits it."),
    ]
    tasks += [Task(f"Bank `{bank}` is there, for account {pay} of Rillion Pay.", ("mappings.banks",)) for pay, bank in mapping.items()]
    if not mapping:
        tasks.append(Task("Tell the consultant which bank id of Sage belongs to each account of Rillion Pay."))
    return tasks
