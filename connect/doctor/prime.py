"""What Connect needs of Prime: its web service with the operations that we call, a login, companies that are set up, REST, clean registers.

Source: the guide's "Configuring Connect"; prime.md 1, 4, 5.1 (D25), 6 and 8.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import orjson
from lxml import etree

from connect.config.names import DOCUMENT_JOBS, REGISTER_JOBS
from connect.doctor.check import Check, Finding, Seen, Skip
from connect.doctor.systems import Systems
from connect.errors import Auth, ConnectError, Permanent
from connect.http import Reply
from connect.mapping import EXTERNAL_SOURCE
from connect.prime.envelope import local_name
from connect.prime.soap import OLDEST_VERSION
from connect.registers import REGISTERS

CREDENTIALS: Final = ("Environment", "UserID", "Password")
STANDARD_ACCOUNTS: Final = {"DebtAccount": "trade creditors", "CostAccount": "expenditure", "VatAccount": "VAT"}
BY_HAND: Final = len(STANDARD_ACCOUNTS)  # accounts of a company that are not from Sage
PAGE: Final = 500
PAGES: Final = 4  # of a register: its first two pages and its last two
RESOURCES: Final = {  # path -> the job that fills it; with a role in its path
    "account": "GetAccounts",
    "vatcode": "GetVatCodes",
    "assettype": "GetAssetTypes",
    "asset": "GetAssets",
    "object": "GetDimObjects",
    "supplier": "GetSuppliers",
    "period": "GetPeriods",
    "currency": "GetCurrencies",
}
WITHOUT_ROLE: Final = ("currency",)


class Operation(NamedTuple):
    """An operation of the web service as we call it; `jobs` that call it."""

    name: str
    parameters: tuple[str, ...]
    jobs: frozenset[str]
    credentials: bool = True


_ALL: Final = frozenset(REGISTER_JOBS + DOCUMENT_JOBS)
_DOCUMENTS: Final = frozenset(DOCUMENT_JOBS)
_BOOKED: Final = frozenset({"ExportInvoices", "CancelInvoices"})
_DATES: Final = frozenset({"GetPaymentDates"})
OPERATIONS: Final = (
    Operation("GetVersion", (), _ALL, credentials=False),
    Operation("AuthenticateUser", (), _ALL),
    Operation("ListEnvironments", (), _ALL),
    Operation("ListCompanies", (), _ALL),
    Operation("ListCompanyData", ("Company",), _BOOKED | _DATES),
    Operation("ListCustomSettings", ("sCompany", "sType", "sSetting", "sValue", "CompanyIsNull"), _DOCUMENTS),
    Operation("InsertCustomSetting", ("CustomSettingsItem",), _DOCUMENTS),
    Operation("UpdateCustomSetting", ("CustomSettingsItem",), _DOCUMENTS),
    Operation("ListInvoicesReadyForFinalRecording", ("UpdateQueueStatus", "Company", "NoOfRows"), frozenset({"ExportInvoices"})),
    Operation("GetInvoiceImage", ("InvoiceSeries", "InvoiceNo"), frozenset({"ExportInvoices"})),
    Operation("ListInvoicesReadyForDeletion", ("UpdateQueueStatus", "Company", "NoOfRows"), frozenset({"CancelInvoices"})),
    Operation("SendInvoiceReply", ("InvoiceReceipt", "TransferFromQueue"), _BOOKED),
    Operation("ListInvoicesMissingPaymentDate", ("Company", "FromAccountCodingDate"), _DATES),
    Operation("SetInvoicePaymentDate", ("oInvoicePaymentDateItem",), _DATES),
)
"""Registers over SOAP add `Insert…`, PayReceipt = "eventLog" adds InsertEventLog (prime.md 6.1)."""


# -- the web service ---------------------------------------------------------------------------------------------------


async def url(systems: Systems) -> Seen:
    address = systems.connection.url
    if address.lower().endswith(".asmx"):
        return Seen(address)
    cause = f"url is {address}: a page of Prime, it seems, since a web service's address ends in .asmx."
    do = f'Write url = "{address[: -len(".aspx")]}.asmx" in the connection.'
    return Seen(address, (Finding(cause=cause, owner="consultant", do=do, verdict="warning"),))


async def service(systems: Systems) -> Seen:
    try:
        found = await _version(systems)
    except ConnectError as error:
        do = "Correct url in the connection (https://host/ws/webService.asmx), and let this machine reach that host over https."
        return Seen("", (Finding(cause=f"Prime's web service does not answer GetVersion: {error.message}.", owner="consultant", do=do),))
    return Seen(f"it answers, version {found or 'unknown'}")


async def _version(systems: Systems) -> str:
    async def ask() -> str:
        return _text(await systems.soap.call("GetVersion", credentials=False))

    return await systems.once("prime.version", ask)


async def version(systems: Systems) -> Seen:
    found = await _version(systems)
    major = found.partition(".")[0]
    if major.isdecimal() and int(major) >= OLDEST_VERSION:
        return Seen(found)
    cause = f"Prime says that it is version {found or '(nothing)'}, and Connect needs {OLDEST_VERSION} or newer."
    return Seen(found, (Finding(cause=cause, owner="Rillion", do=f"Update this Prime to version {OLDEST_VERSION} or newer."),))


async def environment(systems: Systems) -> Seen:
    ours = systems.connection.environment
    try:
        known = await _environments(systems)
    except Auth as error:
        if await _is_let_in(systems):
            raise
        raise Skip("prime.login") from error
    if ours in known:
        return Seen(f"{ours} is there")
    close = difflib.get_close_matches(ours, known, n=1)
    meant = f" Perhaps {close[0]} is meant." if close else ""
    cause = f"Prime has no environment {ours}; it has {', '.join(known) or 'none that this user may see'}.{meant}"
    do = f"Set environment in connection {systems.connection.name} to the environment's id in Arena."
    return Seen(", ".join(known), (Finding(cause=cause, owner="consultant", do=do),))


async def _environments(systems: Systems) -> tuple[str, ...]:
    async def ask() -> tuple[str, ...]:
        return _texts(await systems.soap.call("ListEnvironments"))

    return await systems.once("prime.environments", ask)


async def login(systems: Systems) -> Seen:
    connection = systems.connection
    if await _is_let_in(systems):
        return Seen(f"{connection.username} is let in")
    try:
        known = await _environments(systems)
    except Auth:
        known = None
    if known is not None and connection.environment not in known:  # the user is right, so it is the environment
        raise Skip("prime.environment")
    cause = f"Prime refuses user {connection.username} in environment {connection.environment}: user name or password is wrong."
    do = (
        f"Correct username and password of connection {connection.name} (the password is read from where `connect config show` says), or "
        "let Rillion set the password of the web service's user anew."
    )
    return Seen("", (Finding(cause=cause, owner="consultant", do=do),))


async def _is_let_in(systems: Systems) -> bool:
    async def ask() -> bool:
        return _text(await systems.soap.call("AuthenticateUser")) == "true"

    return await systems.once("prime.authenticated", ask)


# -- companies ---------------------------------------------------------------------------------------------------------


async def companies(systems: Systems) -> Seen:
    known = await _companies(systems)
    findings = []
    for company in systems.companies():
        if company not in known:
            cause = f"Prime has no company {company} in {systems.connection.environment}; it has {', '.join(known) or 'none'}."
            do = f'Add company {company} in Prime with its three standard accounts, or correct company = "{company}" of its jobs.'
            findings.append(Finding(cause=cause, owner="consultant", do=do))
    return Seen(f"Prime has {', '.join(known) or 'no company'}", tuple(findings))


async def _companies(systems: Systems) -> tuple[str, ...]:
    async def ask() -> tuple[str, ...]:
        return _texts(await systems.soap.call("ListCompanies"))

    return await systems.once("prime.companies", ask)


async def _company_data(systems: Systems) -> dict[str, dict[str, str]]:
    """What Prime tells of each company of our jobs; those it does not have are left out."""

    async def ask() -> dict[str, dict[str, str]]:
        found = {}
        for company in systems.companies():
            record = await systems.soap.call("ListCompanyData", {"Company": company})
            if record is not None:
                found[company] = {local_name(child): (child.text or "").strip() for child in record}
        return found

    return await systems.once("prime.company_data", ask)


async def standard_accounts(systems: Systems) -> Seen:
    findings = []
    shown = False
    for company, facts in (await _company_data(systems)).items():
        shown = shown or any(name in facts for name in STANDARD_ACCOUNTS)
        missing = [words for name, words in STANDARD_ACCOUNTS.items() if facts.get(name) == ""]
        if missing:
            cause = f"Company {company} has no standard account for {', '.join(missing)} in Prime."
            do = f"Set the standard accounts of company {company} in Prime's company set-up, before the first import."
            findings.append(Finding(cause=cause, owner="consultant", do=do))
    if not shown:
        raise Skip("", "Prime's web service does not show a company's standard accounts: look at them in Prime's company set-up")
    return Seen("trade creditors, expenditure and VAT are set", tuple(findings))


async def arrival(systems: Systems) -> Seen:
    findings = []
    for company, facts in (await _company_data(systems)).items():
        kind = facts.get("ArrivalType", "")
        if kind not in ("", "0"):
            cause = f"Company {company} records invoices preliminarily (ArrivalType {kind}), and Sage knows no preliminary booking."
            do = f"Set the preliminary recording of company {company} to never (ArrivalType 0) in Prime's company set-up."
            findings.append(Finding(cause=cause, owner="consultant", do=do))
    return Seen("no preliminary recording", tuple(findings))


# -- the description of the service ------------------------------------------------------------------------------------


async def description(systems: Systems) -> Seen:
    reply = await systems.http.exchange("GET", f"{systems.connection.url}?WSDL", system="prime", timeout_s=30)
    try:
        offered = _read_wsdl(reply)
    except Permanent as error:
        do = "Let Prime's web server show ?WSDL, or send the description to the makers of Connect: then names can be compared."
        return Seen("", (Finding(cause=f"{error.message}.", owner="Rillion", do=do, verdict="warning"),))
    known = {name for operation in OPERATIONS for name in (operation.name, f"{operation.name}ERP")}
    findings = []
    for operation in _operations(systems):
        if not operation.jobs & systems.jobs:
            continue
        wanted = {*operation.parameters, *(CREDENTIALS if operation.credentials else ())}
        if operation.name not in offered:
            close = difflib.get_close_matches(operation.name, offered.keys() - known, n=1, cutoff=0.5)
            cause = f"Prime's web service has no operation {operation.name}{f'; the nearest is {close[0]}' if close else ''}."
        elif (takes := offered[operation.name]) is not None and (missing := sorted(wanted - takes)):
            cause = f"{operation.name} takes {', '.join(sorted(takes)) or 'nothing'}, and not {', '.join(missing)}."
        else:
            continue
        do = (
            f"Say how this Prime's web service calls it, and send {systems.connection.url}?WSDL to the makers of Connect: names are "
            "one table there."
        )
        findings.append(Finding(cause=cause, owner="Rillion", do=do, jobs=operation.jobs))
    return Seen(f"{len(offered)} operations", tuple(findings))


def _operations(systems: Systems) -> Iterator[Operation]:
    """Those that our jobs may call."""
    yield from OPERATIONS
    connection = systems.connection
    if connection.register_transport == "soap":
        for kind, jobs in _kinds(systems).items():
            yield Operation(f"Insert{kind}", (kind, "TransferFromQueue"), frozenset(jobs))
    if connection.lookups.general.pay_receipt == "eventLog":
        yield Operation("InsertEventLog", ("EventLogItem",), frozenset({"ExportPayments"}))


def _kinds(systems: Systems) -> dict[str, set[str]]:
    """Kind of record -> the jobs that write it."""
    kinds: dict[str, set[str]] = {}
    for job in systems.connection.jobs:
        register = REGISTERS.get(job.job) if job.active else None
        for part in register.parts(systems.connection.register_settings(job.company)) if register else ():
            for kind in (part.kind, *(kind for kind, _ in part.preamble)):
                kinds.setdefault(kind, set()).add(job.job)
    return kinds


def _read_wsdl(reply: Reply) -> dict[str, frozenset[str] | None]:
    """Operation -> what it takes; None where the description keeps its types elsewhere. Raises Permanent when it is no WSDL."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        if reply.status != 200:
            raise ValueError(f"HTTP {reply.status}")
        root = etree.fromstring(reply.body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Permanent(f"Prime's web service shows no description at ?WSDL ({error})", system="prime", code="wsdl") from error
    elements: dict[str, frozenset[str]] = {}
    for schema in root.iter("{http://www.w3.org/2001/XMLSchema}schema"):
        for element in schema:
            if local_name(element) == "element":
                inner = element.iter("{http://www.w3.org/2001/XMLSchema}element")
                elements[str(element.get("name"))] = frozenset(str(one.get("name")) for one in inner if one is not element)
    ports = [port for port in root if local_name(port) == "portType"]
    names = {str(one.get("name")) for port in ports for one in port if local_name(one) == "operation"}
    if not names:
        raise Permanent("Prime's web service describes no operation at ?WSDL", system="prime", code="wsdl")
    return {name: elements.get(name) for name in sorted(names)}


# -- REST --------------------------------------------------------------------------------------------------------------


async def rest(systems: Systems) -> Seen:
    if systems.rest is None:
        if "ExportPayments" in systems.jobs:
            cause = "ExportPayments is active, and the connection does not say how Prime's REST API is reached."
            do = f"Give connection {systems.connection.name} the keys rest_url, rest_identity_url, rest_tenant, rest_client_id, …"
            return Seen("", (Finding(cause=cause, owner="consultant", do=do, jobs=frozenset({"ExportPayments"})),))
        raise Skip("", "no job uses Prime's REST API")
    try:
        await systems.rest.log_in()
    except ConnectError as error:
        cause, _, keys = error.message.partition(" Check ")
        keys = keys or "rest_url, rest_identity_url and the other rest_… keys"
        do = f"Correct {keys.rstrip('.')} of connection {systems.connection.name} by what Rillion gave you for this tenant."
        return Seen("", (Finding(cause=cause.rstrip(".") + ".", owner="consultant", do=do, jobs=_rest_jobs(systems)),))
    return Seen(f"{systems.connection.rest_user} is let in as {systems.connection.rest_role}")


def _rest_jobs(systems: Systems) -> frozenset[str]:
    registers = REGISTERS if systems.connection.register_transport == "rest" else ()
    return frozenset({"ExportPayments", *registers})


async def registers(systems: Systems) -> Seen:
    """Rows that did not come from Sage, and registers in which some rows belong to a company and others do not."""
    rest_ = systems.rest
    if rest_ is None:
        raise Skip("", "Prime's web service cannot list its registers; over REST this could be looked at")
    findings: list[Finding] = []
    looked = 0
    for resource, job in RESOURCES.items():
        if job not in systems.jobs:
            continue
        rows, total = await _rows(systems, resource)
        looked += len(rows)
        findings += _about(resource, job, rows, total, systems.companies())
    return Seen(f"{looked:,} rows looked at", tuple(findings))


def _about(resource: str, job: str, rows: list[dict[str, Any]], total: int, served: Iterable[str]) -> Iterator[Finding]:
    """What is wrong with one register's rows of the companies that we serve, and with those of none."""
    ours = [row for row in rows if row.get("company") in (None, "", *served)]
    share = "" if len(rows) >= total else f" (of {len(rows):,} looked at among {total:,})"
    foreign = [row for row in ours if row.get("externalSource") != EXTERNAL_SOURCE]
    if len(foreign) > (BY_HAND * len(list(served)) if resource == "account" else 0):
        cause = (
            f"{len(foreign):,} rows of Prime's register {resource}{share} did not come from Sage, such as {_name(foreign[0], resource)}."
        )
        do = "Remove them in Prime, or leave them if they are meant: nothing is to be imported from the eCompany sheet."
        yield Finding(cause=cause, owner="consultant", do=do, verdict="warning")
    bound = {str(row["keyType"]) for row in rows if row.get("keyType") is not None}
    if len(bound) > 1:
        loose = [row for row in rows if str(row.get("keyType")) == "0"]
        cause = (
            f"Prime's register {resource} mixes rows that belong to a company with {len(loose):,} that do not{share}, such as "
            f"{_name(loose[0], resource)}."
        )
        do = f"Remove the rows that belong to no company (KeyType 0) from {resource} in Prime; Connect sends all rows with their company."
        yield Finding(cause=cause, owner="consultant", do=do, jobs=frozenset({job}))


def _name(row: dict[str, Any], resource: str) -> str:
    key = {"vatcode": "vatCode", "assettype": "assetType", "period": "name"}.get(resource, resource)
    return f"{row.get(key) or row.get('name') or 'one without a name'}"


async def _rows(systems: Systems, resource: str) -> tuple[list[dict[str, Any]], int]:
    """(some of a register's rows, how many there are)."""
    role = "" if resource in WITHOUT_ROLE else f"/role/{systems.connection.rest_role}"
    assert systems.rest is not None

    async def page(index: int) -> tuple[list[dict[str, Any]], int]:
        assert systems.rest is not None
        return await systems.rest.call("GET", f"/{resource}{role}?PageIndex={index}&PageSize={PAGE}", None, read_page)

    rows, total = await page(0)
    last = (total - 1) // PAGE
    for index in sorted({*range(1, min(PAGES // 2, last + 1)), *range(max(1, last + 1 - PAGES // 2), last + 1)}):
        rows += (await page(index))[0]
    return rows, total


def read_page(reply: Reply) -> tuple[list[dict[str, Any]], int]:
    """(rows, how many there are in all) of a list over REST: a page, all rows, or the only one. Raises Permanent."""
    try:
        page = orjson.loads(reply.body)
        if isinstance(page, dict) and "items" not in page:
            return [page], 1
        items = page if isinstance(page, list) else page["items"]
        total = len(items) if isinstance(page, list) else int(page.get("totalCount", len(items)))
        return [item for item in items if isinstance(item, dict)], total
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise Permanent(f"Prime's answer is no page of a register ({error})", system="prime", code="unreadable") from error


def _text(result: etree._Element | None) -> str:
    return (result.text or "").strip() if result is not None else ""


def _texts(result: etree._Element | None) -> tuple[str, ...]:
    return tuple((child.text or "").strip() for child in result if local_name(child) == "string") if result is not None else ()


_IN: Final = ("prime.environment", "prime.login", "prime.version")
CHECKS: Final = (
    Check(name="prime.url", tests="url is the address of a web service", run=url),
    Check(name="prime.service", tests="Prime's web service answers", run=service),
    Check(name="prime.version", tests=f"Prime is version {OLDEST_VERSION} or newer", run=version, needs=("prime.service",)),
    Check(name="prime.environment", tests="the environment exists", run=environment, needs=("prime.service",)),
    Check(name="prime.login", tests="Prime's web service lets our user in", run=login, needs=("prime.service",)),
    Check(
        name="prime.wsdl",
        tests="the web service has the operations that we call",
        run=description,
        needs=("prime.service", "prime.version"),
    ),
    Check(name="prime.companies", tests="the companies of all jobs exist in Prime", run=companies, needs=_IN),
    Check(name="prime.accounts", tests="companies have their three standard accounts", run=standard_accounts, needs=_IN),
    Check(name="prime.arrival", tests="companies record nothing preliminarily", run=arrival, needs=_IN, jobs=_DOCUMENTS),
    Check(name="prime.rest", tests="Prime's REST API lets us in", run=rest),
    Check(
        name="prime.registers",
        tests="Prime's registers hold Sage's rows alone, all of them with a company",
        run=registers,
        needs=("prime.rest",),
        jobs=frozenset(REGISTER_JOBS),
    ),
)
