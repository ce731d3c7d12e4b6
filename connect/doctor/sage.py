"""What Connect needs of Sage: a token for our user, subscribed modules, rights, and a company that is set up as the guide says.

Source: the guide's "Prep of Sage" (its steps stand in the words below); sage-rest.md b, c, d, f.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from connect.config.names import DOCUMENT_JOBS
from connect.doctor.check import Check, Finding, Seen, Skip
from connect.doctor.needs import CONTACT, Need
from connect.doctor.systems import Systems
from connect.errors import Auth, ConnectError, Permanent, Poison, RateLimited
from connect.ledger import markers_in
from connect.sage import facts
from connect.sage.attachments import BILL, FOLDER
from connect.sage.bills import UNAPPROVED
from connect.sage.client import Dimension
from connect.sage.envelope import result_of
from connect.sage.query import Query

SUBSCRIPTIONS: Final = "Company > Admin > Subscriptions"
SECURITY: Final = "Company > Setup > Company, tab Security, Authorized client applications"
ROLES: Final = "Company > Admin > Roles, the role of the web service user, Subscriptions"
USERS: Final = "Company > Admin > Web Services users"
GENERAL_LEDGER: Final = f"{SUBSCRIPTIONS} > General Ledger > Configure"
MODULES: Final = {
    "accounts-payable": "Accounts Payable",
    "accounts-receivable": "Accounts Receivable",
    "cash-management": "Cash Management",
    "company-config": "Company",
    "construction": "Construction",
    "contracts": "Contracts",
    "fixed-assets": "Fixed Assets",
    "general-ledger": "General Ledger",
    "inventory-control": "Inventory Control",
    "platform-apps": "Platform Services",
    "projects": "Projects",
    "tax": "Taxes",
}
ENTITY: Final = "company-config/entity"
TAX_SOLUTION: Final = "tax/tax-solution"
ORDERED: Final = 1000  # rows whose order is looked at
_FOREIGN: Final = re.compile(r"tenant|company", re.IGNORECASE)


# -- being let in ------------------------------------------------------------------------------------------------------


async def _token(systems: Systems) -> float | ConnectError:
    """The life of a new token in seconds, or why there is none."""

    async def ask() -> float | ConnectError:
        try:
            return await systems.tokens.renew()
        except ConnectError as error:
            return error

    return await systems.once("sage.token", ask)


def _kind(error: ConnectError) -> str:
    """Which check a refusal belongs to."""
    words = error.message.partition(". Check ")[0]
    if not isinstance(error, Auth) or error.status in (404, 405) or error.code == "wrong_url":
        return "sage.url"
    if error.code in ("GW-0012", "GW-0036") or (error.code == "GW-0011" and _FOREIGN.search(words.rpartition(":")[2])):
        return "sage.company"
    if error.code == "invalid_grant":
        return "sage.authorised"
    return "sage.client"


def _words(error: ConnectError) -> str:
    return error.message.partition(". Check ")[0].rstrip(".") + "."


async def _asked(systems: Systems, check: str) -> float | ConnectError:
    """The token's life, or the refusal that is this check's. They come one after the other, so each refusal fails one."""
    found = await _token(systems)
    if not isinstance(found, ConnectError) or _kind(found) == check:
        return found
    return 0.0


async def url(systems: Systems) -> Seen:
    found = await _asked(systems, "sage.url")
    credentials = systems.connection.credentials
    if isinstance(found, ConnectError):
        do = f"Correct SageTokenUrl in connection {systems.connection.name} (https://api.intacct.com/ia/api/v1/oauth2/token), and let this "
        do += "machine reach that host over https."
        return Seen("", (Finding(cause=f"Sage's token endpoint does not answer us: {_words(found)}", owner="consultant", do=do),))
    expected = f"{credentials.base_url}/{credentials.rest_version}/services/core/query"
    if credentials.query_url != expected:
        cause = f"SageQueryUrl is {credentials.query_url}, and by SageBaseUrl and SageRestVersion it would be {expected}."
        do = f'Write SageQueryUrl = "{expected}", unless Sage told you otherwise.'
        return Seen("", (Finding(cause=cause, owner="consultant", do=do, verdict="warning"),))
    return Seen(f"{credentials.token_url} answers")


async def client(systems: Systems) -> Seen:
    found = await _asked(systems, "sage.client")
    credentials = systems.connection.credentials
    if isinstance(found, ConnectError):
        cause = f"Sage does not know client id {credentials.client_id} with this secret ({_words(found)})"
        do = (
            "Correct SageClientId, and the secret that SageClientSecret points to; test and production have pairs of their own. Rillion "
            "has them."
        )
        return Seen("", (Finding(cause=cause, owner="consultant", do=do),))
    return Seen(f"client id {credentials.client_id}")


async def company(systems: Systems) -> Seen:
    found = await _asked(systems, "sage.company")
    name = systems.connection.credentials.username
    if isinstance(found, ConnectError):
        cause = f"Sage has no company {systems.connection.credentials.company} for SageUserName {name} ({_words(found)})"
        do = "Write SageUserName as {WebServiceUserID}@{CompanyID}; the company id is the one that people log in to Sage with."
        return Seen("", (Finding(cause=cause, owner="consultant", do=do),))
    return Seen(f"company {systems.connection.credentials.company}")


async def authorised(systems: Systems) -> Seen:
    found = await _asked(systems, "sage.authorised")
    credentials = systems.connection.credentials
    if isinstance(found, ConnectError):
        user = credentials.username.partition("@")[0]
        cause = f"Sage does not let client id {credentials.client_id} in as {credentials.username} ({_words(found)})"
        do = (
            f"In Sage, {SECURITY}: Add {credentials.client_id} with Web Services user ID {user}, status Active. Then {SUBSCRIPTIONS}: Web "
            f"Services is enabled; {USERS}: {user} exists and is active."
        )
        return Seen("", (Finding(cause=cause, owner="customer", do=do),))
    return Seen(f"a token for {found:,.0f} s")


async def version(systems: Systems) -> Seen:
    credentials = systems.connection.credentials
    try:
        reply = await systems.sage.get("/services/core/model?" + urlencode({"name": facts.VENDOR}), what="model")
        result_of(reply)
    except (ConnectError, orjson.JSONDecodeError) as error:
        if isinstance(error, Auth | RateLimited):
            raise
        cause = f"{credentials.base_url}/{credentials.rest_version} does not answer as Sage's REST API: {str(error).rstrip('.')}."
        do = 'Correct SageBaseUrl (https://api.intacct.com/ia/api) and SageRestVersion ("v1"); Rillion knows the newest version.'
        return Seen("", (Finding(cause=cause, owner="consultant", do=do),))
    return Seen(f"{credentials.base_url}/{credentials.rest_version}")


# -- modules, rights, fields -------------------------------------------------------------------------------------------


def _user_defined(name: str) -> bool:
    return name.startswith("platform-apps/nsp::")


async def reading(systems: Systems) -> dict[str, ConnectError | None]:
    """Object -> why it cannot be read with the fields that our jobs ask for; None when it can. One row of each.

    Inline contact fields and user-defined dimensions are left to checks of their own.
    """

    async def one(name: str, need: Need) -> ConnectError | None:
        fields = ("key", *sorted(one for one in need.fields if one != "key" and not one.startswith(CONTACT)))
        try:
            await systems.sage.query(Query(name, fields, size=1, include_private=True))
        except (Permanent, Poison) as error:
            return error
        return None

    async def ask() -> dict[str, ConnectError | None]:
        found = {name: need for name, need in systems.needs.items() if not _user_defined(name)}
        answers = await asyncio.gather(*(one(name, need) for name, need in found.items()))
        return dict(zip(found, answers, strict=True))

    return await systems.once("sage.reading", ask)


async def _closed(systems: Systems) -> tuple[dict[str, list[str]], list[str]]:
    """(application -> its objects, where none may be read; single objects that may not be read while others of the application may)."""

    async def ask() -> tuple[dict[str, list[str]], list[str]]:
        by_application: dict[str, dict[str, bool]] = {}
        for name, error in (await reading(systems)).items():
            by_application.setdefault(name.partition("/")[0], {})[name] = error is not None and error.status == 403
        modules = {application: list(names) for application, names in by_application.items() if all(names.values())}
        for application, names in list(modules.items()):
            if len(names) == 1 and await _another_is_open(systems, application, names[0]):
                del modules[application]
        objects = [
            name for application, names in by_application.items() if application not in modules for name, closed in names.items() if closed
        ]
        return modules, objects

    return await systems.once("sage.closed", ask)


_WITNESSES: Final = {"accounts-payable": facts.VENDOR, "company-config": "company-config/location", "general-ledger": facts.ACCOUNT}


async def _another_is_open(systems: Systems, application: str, name: str) -> bool:
    """Whether some other object of the application can be read: then it is the user who lacks a right, not the company the module."""
    witness = _WITNESSES.get(application)
    if witness is None or witness == name:
        return False
    try:
        await systems.sage.query(Query(witness, ("key",), size=1))
    except Permanent:
        return False
    return True


def _jobs_of(systems: Systems, names: Iterable[str]) -> frozenset[str]:
    found = systems.needs
    return frozenset(job for name in names if name in found for job in found[name].jobs)


async def modules(systems: Systems) -> Seen:
    closed, _ = await _closed(systems)
    findings = []
    for application, names in closed.items():
        module = MODULES.get(application, application)
        cause = f"Sage shows {systems.connection.credentials.username} nothing of {module}: not {', '.join(names)}."
        do = f"In Sage, {SUBSCRIPTIONS}: subscribe to {module}; then {ROLES}: tick {module} and give it List and View under Permissions."
        findings.append(Finding(cause=cause, owner="customer", do=do, jobs=_jobs_of(systems, names)))
    applications = {name.partition("/")[0] for name in await reading(systems)} - closed.keys()
    return Seen(", ".join(sorted(MODULES.get(name, name) for name in applications)), tuple(findings))


async def permissions(systems: Systems) -> Seen:
    closed_modules, closed = await _closed(systems)
    findings = []
    for name in closed:
        module, what = MODULES.get(name.partition("/")[0], name.partition("/")[0]), name.partition("/")[2].replace("-", " ")
        writes = name in (BILL, "accounts-payable/payment", "company-config/attachment")
        cause = f"{systems.connection.credentials.username} has no right to {what} records in Sage ({name})."
        do = f"In Sage, {ROLES} > {module} > Permissions: give {what} records List, View{', Add, Edit and Delete' if writes else ''}; save."
        findings.append(Finding(cause=cause, owner="customer", do=do, jobs=_jobs_of(systems, [name])))
    readable = len(await reading(systems)) - len(closed) - sum(map(len, closed_modules.values()))
    return Seen(f"{readable} objects can be read (writing is tried by --probe alone)", tuple(findings))


async def need_object(systems: Systems, name: str) -> None:
    """Raises Skip when the object cannot be read, naming the check that says so."""
    closed_modules, closed = await _closed(systems)
    if name in closed:
        raise Skip("sage.permissions")
    if name.partition("/")[0] in closed_modules:
        raise Skip("sage.modules")
    if (await reading(systems)).get(name) is not None:
        raise Skip("sage.fields")


async def model(systems: Systems, name: str) -> dict[str, Any] | None:
    """What the model service says of an object; None when it knows none of that name."""

    async def ask() -> dict[str, Any] | None:
        found = result_of(await systems.sage.get("/services/core/model?" + urlencode({"name": name}), what="model"))
        return found if isinstance(found, dict) and found else None

    return await systems.once(f"sage.model {name}", ask)


def field_in(known: dict[str, Any], path: str) -> dict[str, Any] | None:
    """A dotted field in an object's model; None when it is not there. Empty parts of a model are lists (sage-rest.md c)."""
    *above, last = path.split(".")
    place: Any = known
    for name in above:
        place = next((part[name] for kind in ("groups", "refs") if isinstance(part := place.get(kind), dict) and name in part), None)
        if not isinstance(place, dict):
            return None
    fields = place.get("fields")
    found = fields.get(last) if isinstance(fields, dict) else None
    return found if isinstance(found, dict) else None


async def fields(systems: Systems) -> Seen:
    """Our lists of fields against what Sage says of its objects, and against what it answers to them."""
    answers = await reading(systems)
    closed_modules, closed = await _closed(systems)
    findings: list[Finding] = []
    found = {name: need for name, need in systems.needs.items() if not _user_defined(name)}
    models = dict(zip(found, await asyncio.gather(*(model(systems, name) for name in found)), strict=True))
    count = 0
    for name, need in found.items():
        if name in closed or name.partition("/")[0] in closed_modules:
            continue
        known, refused = models[name], answers[name]
        missing = [] if known is None else [path for path in sorted(need.fields) if "nsp::" not in path and field_in(known, path) is None]
        count += len(need.fields)
        if refused is not None or missing or known is None:
            says = f": {refused.message}" if refused is not None else ""
            lacks = f"has no object {name}" if known is None else f"does not have {name}'s {', '.join(missing) or 'fields as we ask'}"
            do = "Report it to the makers of Connect with this message and Sage's release; until it is mended leave these jobs inactive."
            findings.append(Finding(cause=f"Sage {lacks}{says}.", owner="operator", do=do, jobs=frozenset(need.jobs)))
            continue
        old = [path for path in sorted(need.fields) if not path.startswith(CONTACT) and (field_in(known, path) or {}).get("deprecated")]
        if old:
            cause = f"Sage calls {', '.join(old)} of {name} deprecated: it may stop answering one day."
            do = "Nothing now; look at the release notes of Connect before the next quarterly release of Sage."
            findings.append(Finding(cause=cause, owner="operator", do=do, verdict="warning"))
    return Seen(f"{count} fields of {len(found)} objects", tuple(findings))


async def contacts(systems: Systems) -> Seen:
    """The inline contact fields of vendors, which are deprecated, and may be refused (sage-rest.md f, Supplier)."""
    need = systems.needs.get(facts.VENDOR)
    inline = sorted(path for path in need.fields if path.startswith(CONTACT)) if need is not None else []
    if not [path for path in inline if path != f"{CONTACT}key"]:
        raise Skip("", 'no job reads them (ContactSource = "contact", or no suppliers)')
    await need_object(systems, facts.VENDOR)
    do = 'Write ContactSource = "contact" in GeneralSettings: contacts are then read from company-config/contact.'
    jobs = frozenset({"GetSuppliers"})
    try:
        await systems.sage.query(Query(facts.VENDOR, ("key", *inline), size=1))
    except Permanent as error:
        cause = f"Sage no longer answers a vendor's inline contact fields ({error.message})."
        return Seen("", (Finding(cause=cause, owner="consultant", do=do, jobs=jobs),))
    known = await model(systems, facts.VENDOR) or {}
    if any((field_in(known, path) or {}).get("deprecated") for path in inline):
        cause = "Sage calls a vendor's inline contact fields deprecated; it still answers them."
        return Seen("", (Finding(cause=cause, owner="consultant", do=do, verdict="warning"),))
    return Seen("they answer, and are not deprecated")


# -- how Sage answers --------------------------------------------------------------------------------------------------


async def key_order(systems: Systems) -> Seen:
    """Whether keys are compared as numbers: key 9 before key 10. Looked for in an object whose keys have several lengths."""
    for name in (facts.ACCOUNT, facts.VENDOR, "company-config/contact"):
        if name not in await reading(systems) or (await reading(systems))[name] is not None:
            continue
        rows = (await systems.sage.query(Query(name, ("key",), size=ORDERED, include_private=True))).rows()
        keys = [key for key, _ in rows]
        if len({len(str(key)) for key in keys}) < 2:
            continue
        if keys == sorted(keys):
            return Seen(f"as numbers ({len(keys)} keys of {name})")
        way = "as text" if keys == sorted(keys, key=str) else "in no order that we know"
        cause = (
            f"Sage orders the keys of {name} {way}, so registers are read page by page, twice: dearer, and nothing is expired if rows move."
        )
        do = "Nothing stops; ask Sage support whether queries can order `key` as a number, and plan for about twice the calls."
        return Seen(way, (Finding(cause=cause, owner="Sage", do=do, verdict="warning"),))
    raise Skip("", "no object that may be read has keys of different lengths")


async def slots(systems: Systems) -> Seen:
    """The company's limit on requests at once, as Sage tells it with each answer, against sage_slots."""
    ours = systems.connection.sage_slots
    reply = await systems.sage.get("/services/core/model?" + urlencode({"name": "company-config/entity"}), what="model")
    told = next((value for name, value in reply.headers.items() if name.lower() == "x-ia-throttle-limit"), "")
    if not told.isdecimal():
        raise Skip("", f"Sage does not tell its limit; sage_slots is {ours}")
    limit = int(told)
    if ours <= limit:
        spare = f"; {limit - ours} more could be used" if ours < limit else ""
        return Seen(f"sage_slots {ours} of {limit}{spare}")
    cause = f"sage_slots is {ours}, and Sage allows this company {limit} requests at once: the others are refused (429), and all wait."
    do = f"Write sage_slots = {limit} in connection {systems.connection.name}, or less if other programs use the same company."
    return Seen(f"limit {limit}", (Finding(cause=cause, owner="consultant", do=do),))


# -- how the company is set up -----------------------------------------------------------------------------------------


async def entities(systems: Systems) -> Seen:
    asked = {job.sage_entity: job.company for job in systems.connection.jobs if job.active and job.sage_entity}
    own = systems.connection.credentials.username.partition("|")[2]
    if not asked:
        raise Skip("", f"all jobs read the {f'entity {own} of SageUserName' if own else 'top level'}")
    rows = await systems.sage.query_rows(ENTITY, ("key", "id", "name", "status"))
    known = {str(row["id"]): row for _, raw in rows if (row := orjson.loads(raw))}
    findings = []
    for entity, prime in asked.items():
        if entity not in known:
            cause = f"Sage has no entity {entity}; it has {', '.join(sorted(known)) or 'none that this user may see'}."
        elif known[entity].get("status") == "inactive":
            cause = f"Entity {entity} is inactive in Sage."
        else:
            continue
        do = f"Correct sage_entity of the jobs of company {prime}; Sage shows the ids at Company > Setup > Entities."
        jobs = frozenset(job.job for job in systems.connection.jobs if job.sage_entity == entity)
        findings.append(Finding(cause=cause, owner="consultant", do=do, jobs=jobs))
    return Seen(", ".join(sorted(asked)), tuple(findings))


async def folder(systems: Systems) -> Seen:
    companies = [one for one in systems.companies("ExportInvoices") if systems.connection.settings(one).invoice_image_export]
    if not companies:
        raise Skip("", "no job sends files (ExportInvoices with InvoiceImageExport)")
    await need_object(systems, FOLDER)
    asked = sorted({systems.connection.settings(one).sage_attachment_folder_id for one in companies})
    rows = [orjson.loads(raw) for _, raw in await systems.sage.rows_of(Query(FOLDER, ("key", "id", "status"), include_private=True))]
    known = {name: row for row in rows for name in (str(row["id"]), str(row["key"]))}
    findings = []
    for name in asked:
        if name in known and known[name].get("status") != "inactive":
            continue
        is_ = "is inactive" if name in known else "does not exist"
        cause = f"The attachment folder {name} {is_} in Sage; there are {', '.join(sorted(str(row['id']) for row in rows)) or 'none'}."
        do = f"In Sage, Company > Setup > Attachment folders: add {name}. Or let SageAttachmentFolderId name one that exists."
        findings.append(Finding(cause=cause, owner="customer", do=do))
    return Seen(", ".join(asked), tuple(findings))


async def listed_dimensions(systems: Systems) -> dict[str, Dimension]:
    """Sage's dimensions by the names of lookup Objects: DEPARTMENT, nsp::region."""

    async def ask() -> dict[str, Dimension]:
        found = {}
        for one in await systems.sage.dimensions():
            name = one.endpoint.rpartition("/")[2] if one.is_user_defined else one.name
            found[name.casefold()] = one
        return found

    return await systems.once("sage.dimensions", ask)


def mapped(systems: Systems) -> dict[str, list[str]]:
    """Dimension of lookup Objects -> the companies that have it."""
    found: dict[str, list[str]] = {}
    for one in systems.companies():
        for name in systems.connection.objects(one):
            found.setdefault(name, []).append(one)
    return found


_DIMENSION_JOBS: Final = frozenset({"GetDimObjects", "GetAccounts", "ExportInvoices"})


async def dimensions(systems: Systems) -> Seen:
    known = await listed_dimensions(systems)
    findings = []
    for name, companies in mapped(systems).items():
        one = known.get(name.casefold())
        if one is not None and one.is_enabled:
            continue
        where = f"lookup Objects ({', '.join(companies)})"
        if one is None:
            others = ", ".join(sorted(other.endpoint.rpartition("/")[2] for other in known.values() if other.is_user_defined)) or "none"
            cause = f"Sage has no dimension {name}; the user-defined ones are: {others}."
            do = f"Take {name} out of {where} or correct its name; a user-defined dimension is made in Sage at Platform Services > Objects."
            owner: Any = "consultant"
        else:
            cause = f"Dimension {name} ({one.label}) is not enabled in Sage's general ledger."
            do = f"In Sage, {GENERAL_LEDGER}, Dimension settings: enable {one.label}; save. Or take {name} out of {where}."
            owner = "customer"
        findings.append(Finding(cause=cause, owner=owner, do=do, jobs=_DIMENSION_JOBS))
    return Seen(", ".join(mapped(systems)), tuple(findings))


async def currencies(systems: Systems) -> Seen:
    if not systems.jobs & {"GetCurrencies", "ExportInvoices"}:
        raise Skip("", "no job needs currencies")
    await need_object(systems, facts.CURRENCY)
    rows = await systems.sage.rows_of(Query(facts.CURRENCY, ("key", "id"), include_private=True))
    codes = sorted(str(orjson.loads(raw)["id"]) for _, raw in rows)
    if codes:
        return Seen(f"{len(codes)} currencies: {', '.join(codes[:8])}{' …' if len(codes) > 8 else ''}")
    cause = "Sage keeps a single currency here: there are no transaction currencies and no exchange rates."
    do = (
        f"In Sage, {GENERAL_LEDGER}, Multi-currency management: enable it, fill in the accounts, save; then add currencies and rates. Or "
        "set the job GetCurrencies to active = false, if the company has one currency."
    )
    return Seen("none", (Finding(cause=cause, owner="customer", do=do, jobs=frozenset({"GetCurrencies"})),))


async def taxes(systems: Systems) -> Seen:
    if "GetVatCodes" not in systems.jobs:
        raise Skip("", "GetVatCodes is not active")
    for name in systems.needs:
        if name.startswith("tax/"):
            await need_object(systems, name)
    try:
        rows = await systems.sage.query_rows(TAX_SOLUTION, ("key", "id"))
    except Permanent as error:
        raise Skip("", f"Sage shows no tax solutions to this user ({error.message})") from error
    names = [str(orjson.loads(raw)["id"]) for _, raw in rows]
    details = (await systems.sage.query(Query("tax/tax-detail", ("key",), size=1, include_private=True))).total_count
    if names and details:
        return Seen(f"{len(names)} tax solutions, {details} tax details")
    lacks = "no tax solution" if not names else f"tax solutions ({', '.join(names)}) without tax details"
    do = f"In Sage, {SUBSCRIPTIONS} > Taxes > Configure: set up a tax solution with its details. Or set GetVatCodes to active = false."
    finding = Finding(
        cause=f"Sage has {lacks}: there are no VAT codes to import.", owner="customer", do=do, jobs=frozenset({"GetVatCodes"})
    )
    return Seen("", (finding,))


async def approvals(systems: Systems) -> Seen:
    """Whether bills of ours wait for somebody to approve them in Sage: then the web service user is not exempt."""
    if "ExportInvoices" not in systems.jobs:
        raise Skip("", "ExportInvoices is not active")
    await need_object(systems, BILL)
    filters = ({"$in": {"state": sorted(UNAPPROVED)}}, {"$contains": {"description": "RP-"}})
    rows = await systems.sage.rows_of(Query(BILL, ("key", "billNumber", "description"), filters, include_private=True))
    ours = [row for _, raw in rows if markers_in((row := orjson.loads(raw)).get("description"))]
    if not ours:
        return Seen("no bill of ours waits for approval (what becomes of the next one is tried by --probe)")
    user = systems.connection.credentials.username.partition("@")[0]
    cause = f"{len(ours)} bill(s) of ours wait for approval in Sage, such as {ours[0].get('billNumber')}: they cannot be paid until then."
    do = (
        f"In Sage, {SUBSCRIPTIONS} > Accounts Payable > Configure, Bill approval settings: choose {user} under Unrestricted; save. Then "
        "approve the bills that wait."
    )
    return Seen("", (Finding(cause=cause, owner="customer", do=do, jobs=frozenset({"ExportInvoices", "ExportPayments"})),))


def _chain() -> Iterator[Check]:
    """The token's checks, each after the one before."""
    tests = (
        ("sage.url", "Sage's token endpoint answers, and its addresses agree", url),
        ("sage.client", "Sage knows client id and secret", client),
        ("sage.company", "SageUserName names a company of Sage", company),
        ("sage.authorised", "the client id is authorised for our user, and Web Services are subscribed", authorised),
        ("sage.version", "SageBaseUrl and SageRestVersion lead to the REST API", version),
    )
    before = "redis.reach"
    for name, words, run in tests:
        yield Check(name=name, tests=words, run=run, needs=(before,))
        before = name


_IN: Final = ("sage.version",)
CHECKS: Final = (
    *_chain(),
    Check(name="sage.modules", tests="the modules are subscribed", run=modules, needs=_IN),
    Check(name="sage.permissions", tests="our user may read what the jobs read", run=permissions, needs=_IN),
    Check(name="sage.fields", tests="Sage's objects have the fields that we read", run=fields, needs=_IN),
    Check(name="sage.contacts", tests="vendors' contact fields can be read", run=contacts, needs=_IN),
    Check(name="sage.key_order", tests="keys are ordered as numbers", run=key_order, needs=_IN),
    Check(name="sage.slots", tests="sage_slots is not above Sage's limit", run=slots, needs=_IN),
    Check(name="sage.entities", tests="the entities of the jobs exist", run=entities, needs=_IN),
    Check(name="sage.folder", tests="the attachment folder exists", run=folder, needs=_IN, jobs=frozenset({"ExportInvoices"})),
    Check(name="sage.dimensions", tests="the dimensions of lookup Objects exist and are enabled", run=dimensions, needs=_IN),
    Check(name="sage.currencies", tests="multi-currency is on", run=currencies, needs=_IN),
    Check(name="sage.taxes", tests="a tax solution is there", run=taxes, needs=_IN),
    Check(name="sage.approvals", tests="our bills are posted without an approval", run=approvals, needs=_IN, jobs=frozenset(DOCUMENT_JOBS)),
)
