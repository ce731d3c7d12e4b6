"""What `connect init` asks, in the order of the onboarding guide's questionnaire; its numbers stand beside the questions.

What the guide leaves to the consultant (addresses, keys, schedules) is asked where it can be tried at once. Source: the guide's
questionnaire, items 1-15 (it has no 4), and its "Configuring Connect".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from connect.config.models import EXPIRED_ON, Connection, Credentials, GeneralSettings, ProblemsError, RedisSettings, time_of
from connect.config.names import OBJECT_TYPES, PAYMENT_METHODS, REGISTER_JOBS, nearest
from connect.config.schedule import Window
from connect.config.stages import PARTNER_CLIENT, stage_of_name

Kind = Literal["text", "yes", "choice", "secret", "date", "number", "map", "names"]
Level = Literal["top", "entity"]
PARTNER_SENDER: Final = "RillionMPP"  # the guide, step 5
INTACCT: Final = "https://api.intacct.com/ia/api"
PAYMENT_REQUESTS: Final = (
    "useVendorPreference",
    "generateOneRequestPerBill",
    "mergeRequestIntoOnePerVendorPayToContact",
    "mergeRequestsIntoOnePerVendor",
)
LEVELS: Final = (*(job for job in REGISTER_JOBS if job != "GetPeriods"), "documents")


@dataclass
class Company:
    """A company of Prime. `sage_entity`: its entity in Sage, "" at the top level; `dimensions`: where they differ from the others'."""

    company: str
    name: str
    country: str  # ISO 3166, two letters
    sage_entity: str = ""
    dimensions: dict[str, int] | None = None


@dataclass
class Answers:
    """What was answered: `values` by the key of the question; one that was not asked has what Sage `proposed`, or its default."""

    values: dict[str, Any] = field(default_factory=dict)
    companies: list[Company] = field(default_factory=list)
    proposed: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        for known in (self.values, self.proposed):
            if key in known:
                return known[key]
        return BY_KEY[key].default_of(self)

    def level(self, job: str) -> str:
        """Where a register is read, or the documents are: "top" or "entity"."""
        return str(self[f"levels.{job}"]) if f"levels.{job}" in BY_KEY else "top"


Default = Any | Callable[[Answers], Any]


@dataclass(frozen=True, kw_only=True)
class Question:
    """`key`: section and name in a file of answers. `number`: the guide's. `default` None: it must be answered unless `optional`.

    `model`, `alias`: the setting that it becomes, by whose rules an answer is judged. `when`: whether it is asked at all. `fine`: in a
    terminal only when the finer settings of its section are asked for. `blank`: what leaving an optional one open means.
    """

    key: str
    ask: str
    why: str = ""
    number: str = ""
    kind: Kind = "text"
    default: Default = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    model: type[BaseModel] | None = None
    alias: str = ""
    when: Callable[[Answers], bool] = lambda _: True
    fine: bool = False
    blank: str = "nothing"

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        return self.key.partition(".")[2]

    def default_of(self, answers: Answers) -> Any:
        return self.default(answers) if callable(self.default) else self.default

    def understood(self, text: str) -> Any:
        """What a person has typed, as the value that a file would hold. Raises ValueError with what is expected."""
        text = text.strip()
        if self.kind == "yes":
            if text.casefold() not in _YES_NO:
                raise ValueError("expected yes or no")
            return _YES_NO[text.casefold()]
        if self.kind == "number":
            if not text.isdecimal():
                raise ValueError("expected a whole number")
            return int(text)
        if self.kind == "date":
            return _day(text)
        if self.kind == "names":
            return [one.strip() for one in text.split(",") if one.strip()]
        if self.kind == "map":
            pairs = [one.partition("=") for one in text.split(",") if one.strip()]
            if any(not sep or not key.strip() or not value.strip() for key, sep, value in pairs):
                raise ValueError("expected pairs such as 1234 = BA1145, 5678 = BA1146")
            return {key.strip(): value.strip() for key, _, value in pairs}
        return text

    def judged(self, value: Any) -> Any:
        """The value, if it is one that may be answered. Raises ValueError with what is wrong or expected."""
        if self.kind == "date" and isinstance(value, str):
            value = _day(value)
        expected, name = _TYPES[self.kind]
        if not isinstance(value, expected) or (isinstance(value, bool) and self.kind != "yes"):
            raise ValueError(f"expected {name}")
        if self.kind in ("text", "choice", "secret") and not value.strip():
            raise ValueError("is empty; it must be answered")
        if self.kind == "secret" and not re.fullmatch(r"(env|file):\S.*", value):
            raise ValueError('is a secret in clear; write "env:NAME" of a variable or "file:PATH" that holds it')
        if self.choices and (wrong := [one for one in _each(value) if one not in self.choices]):
            raise ValueError(f"{wrong[0]!r} is none of {', '.join(self.choices)}{nearest(str(wrong[0]), self.choices)}")
        if self.model is not None:
            _judge_by(self.model, self.alias, value)
        if self.key in _OWN_RULES:
            _OWN_RULES[self.key](value)
        return value


_YES_NO: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_TYPES: Final[dict[Kind, tuple[type[Any] | tuple[type[Any], ...], str]]] = {
    "text": (str, 'text in quotes, such as "…"'),
    "choice": (str, 'text in quotes, such as "…"'),
    "secret": (str, '"env:NAME" or "file:PATH"'),
    "yes": (bool, "true or false"),
    "number": (int, "a whole number"),
    "date": (date, "a date such as 2026-01-01"),
    "map": (Mapping, 'a table such as { "1234" = "BA1145" }'),
    "names": (list, 'a list such as ["DEPARTMENT", "LOCATION"]'),
}


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date such as 2026-01-01") from None


def _judge_by(model: type[BaseModel], alias: str, value: Any) -> None:
    """Raises ValueError with what the model says of this one key."""
    try:
        model.model_validate({alias: value})
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if one["loc"][:1] == (alias,):
                cause = one.get("ctx", {}).get("error")
                if isinstance(cause, ProblemsError):
                    raise ValueError("; ".join(f"{'.'.join(map(str, place))} {words}" for place, words in cause.problems)) from None
                field = next(found for name, found in model.model_fields.items() if alias in (name, found.alias))
                raise ValueError(str(cause) if cause is not None else f"expected {field.description or one['msg']}") from None


def _judge_windows(value: list[str]) -> None:
    for one in value:
        Window.parse(str(one))


def _judge_redis(value: str) -> None:
    if not value.startswith(("env:", "file:")):
        _judge_by(RedisSettings, "url", value)


def _judge_address(value: str) -> None:
    if value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError("is no e-mail address; expected something like ann@example.com")


_OWN_RULES: Final[dict[str, Callable[[Any], object]]] = {
    "schedule.begin": time_of,
    "schedule.maintenance": _judge_windows,
    "customer.email": _judge_address,
    "connection.redis_url": _judge_redis,
}


def variable(answers: Answers, what: str) -> str:
    """The variable that a secret of the connection is read from, such as ACME_TEST_SAGE_SECRET."""
    return variable_of(str(answers["connection.name"]), what)


def variable_of(connection: str, what: str) -> str:
    stem = re.sub(r"[^A-Z0-9]+", "_", connection.upper()).strip("_")
    return f"{'_' if stem[:1].isdigit() else ''}{stem}_{what}"


def _slug(answers: Answers) -> str:
    first = re.split(r"[^a-z0-9]+", str(answers.values.get("customer.name", "")).casefold().strip())[0]
    return f"{first or 'customer'}-TEST"


def _rest(answers: Answers) -> bool:
    return answers["prime.transport"] == "rest" or _pays(answers)


def _books(answers: Answers) -> bool:
    return bool(answers["documents.invoices"])


def _pays(answers: Answers) -> bool:
    return bool(answers["documents.rillion_pay"])


def prime_host(url: str) -> str:
    """Where Prime is, of the address of its web service: https://host/ws/webService.asmx is at https://host."""
    return re.sub(r"/ws(/[^/]*)?$", "", url.rpartition("/")[0] + "/ws")


def _prime_host(answers: Answers) -> str:
    return prime_host(str(answers.values.get("prime.url", "")))


def _has_entities(answers: Answers) -> bool:
    return any(one.sage_entity for one in answers.companies)


_LEVEL_WORDS: Final = {
    "GetDimObjects": "dimensions",
    "GetAccounts": "accounts",
    "GetVatCodes": "tax codes",
    "GetAssetTypes": "asset types",
    "GetAssets": "assets",
    "GetCurrencies": "currencies and rates",
    "GetSuppliers": "suppliers",
    "documents": "bills and payments",
}


def _level(job: str) -> Question:
    return Question(
        key=f"levels.{job}",
        number="15" if job == "GetDimObjects" else "13",
        ask=f"Are {_LEVEL_WORDS[job]} kept at the top level or in each entity of Sage?",
        why="entity: each company reads its own entity, which shows what is shared as well; top: all companies read the same.",
        kind="choice",
        choices=("top", "entity"),
        default="entity" if job == "documents" else "top",
        when=_has_entities,
    )


QUESTIONS: Final = (
    Question(key="customer.name", number="1", ask="What is the customer's full legal name?"),
    Question(key="customer.contact", number="2", ask="Who knows the customer's IT and Sage?"),
    Question(key="customer.email", number="2", ask="That person's e-mail address?", optional=True),
    Question(key="customer.phone", number="2", ask="That person's telephone number?", optional=True),
    Question(
        key="customer.second_contact",
        number="2",
        ask="Is there a second one whom we may call?",
        why="Name, e-mail address and telephone number.",
        optional=True,
        blank="nobody",
    ),
    Question(key="customer.address", number="3", ask="Where does that person work?", optional=True),
    Question(
        key="customer.timezone",
        number="3",
        ask="In which time zone?",
        why="Schedules are told in it, too.",
        default="UTC",
        model=Connection,
        alias="timezone",
    ),
    Question(
        key="connection.name",
        ask="What shall the connection be called?",
        why="End it in TEST or PROD.",
        default=_slug,
        model=Connection,
        alias="name",
    ),
    Question(
        key="connection.redis_url",
        ask="Where is Redis?",
        why="redis://host:6379/0, or env:NAME that holds it; left out: an embedded Valkey on this machine.",
        optional=True,
        blank="an embedded Valkey",
    ),
    Question(
        key="connection.on_premise",
        ask="Does the customer run Connect on a server of its own?",
        why="The guide's on-premise: then steps 12 and 13 of its check list are open.",
        kind="yes",
        default=False,
    ),
    Question(
        key="sage.test_is_copy",
        number="7",
        ask="Is the Sage TEST company a current copy of production, with all companies above?",
        kind="yes",
    ),
    Question(key="sage.integration_licence", number="8", ask="Has the customer an integration licence of Sage?", kind="yes"),
    Question(
        key="sage.username",
        number="9",
        ask="Who is the web service user, as user@company?",
        why="The user that was made for Connect in Sage, and Sage's id of the company: rillion@acme.",
        model=Credentials,
        alias="SageUserName",
    ),
    Question(
        key="sage.client_id",
        ask="What is the client id of the integration in Sage?",
        why=f"For production the partner's constant, {PARTNER_CLIENT}; a test has one of its own.",
        default=lambda answers: None if stage_of_name(str(answers["connection.name"])) == "test" else PARTNER_CLIENT,
        model=Credentials,
        alias="SageClientId",
    ),
    Question(
        key="sage.client_secret",
        ask="Where is its secret kept?",
        kind="secret",
        alias="SageClientSecret",
        default=lambda answers: f"env:{variable(answers, 'SAGE_SECRET')}",
    ),
    Question(
        key="sage.sender_id",
        ask="What is the Sender ID that the customer lets in?",
        why="The partner's constant; it stands on the customer's page and is not sent.",
        default=PARTNER_SENDER,
    ),
    Question(
        key="sage.base_url",
        ask="Where is Sage's REST API, without the version?",
        default=INTACCT,
        model=Credentials,
        alias="SageBaseUrl",
    ),
    Question(key="sage.rest_version", ask="Which version of it, as in its path?", default="v1", model=Credentials, alias="SageRestVersion"),
    Question(
        key="sage.token_url",
        ask="Where does it give tokens?",
        default=lambda answers: f"{answers['sage.base_url']}/{answers['sage.rest_version']}/oauth2/token",
        model=Credentials,
        alias="SageTokenUrl",
    ),
    Question(
        key="sage.query_url",
        ask="Where does it answer queries?",
        default=lambda answers: f"{answers['sage.base_url']}/{answers['sage.rest_version']}/services/core/query",
        model=Credentials,
        alias="SageQueryUrl",
    ),
    Question(
        key="sage.slots",
        ask="How many requests at once does the Sage subscription allow?",
        kind="number",
        default=2,
        model=Connection,
        alias="sage_slots",
    ),
    Question(key="sage.prepaid_amortization", number="10", ask="Does Sage have the Prepaid Amortization module?", kind="yes"),
    Question(key="sage.purchase_orders", number="11", ask="Are purchase orders and receipts used in Sage?", kind="yes"),
    Question(
        key="sage.purchase_order_companies",
        number="11",
        ask="By which companies?",
        why="Their codes in Prime; left out: by all of them.",
        kind="names",
        optional=True,
        blank="all of them",
        when=lambda answers: bool(answers["sage.purchase_orders"]),
    ),
    Question(
        key="registers.key_source",
        ask="Which of Sage's names becomes the number in Prime, id or key?",
        why="id: what people know, such as account 6000; key: Sage's record number. It decides every number, and is not changed later.",
        kind="choice",
        choices=("id", "key"),
        default="id",
        model=GeneralSettings,
        alias="KeySource",
    ),
    Question(
        key="registers.full_import",
        ask="Shall every import read all objects and suppliers, and not only those changed in the last 7 days?",
        why="The first import reads all in any case; `connect sync --full` does it when wanted.",
        kind="yes",
        default=False,
        model=GeneralSettings,
        alias="IsFullImport",
    ),
    Question(
        key="registers.rate_type",
        ask="Exchange rates of which type count for payables?",
        why="A type's name in Sage. Left out: all are sent, and of several types the last one of a day wins.",
        optional=True,
        blank="all types",
        model=GeneralSettings,
        alias="ExchangeRateType",
    ),
    Question(
        key="registers.contact_source",
        ask="Where is a supplier's contact read?",
        why="inline: with the vendor, which Sage calls deprecated; contact: from the contacts, which costs calls of their own.",
        kind="choice",
        choices=("inline", "contact"),
        default="inline",
        model=GeneralSettings,
        alias="ContactSource",
    ),
    Question(
        key="registers.bank_account_source",
        ask="Where are suppliers' bank accounts kept in Sage?",
        why="vendorAccountNumber is the guide's, though in Sage it is what the vendor calls us; bankFile and ach are real accounts.",
        kind="choice",
        choices=("vendorAccountNumber", "bankFile", "ach"),
        default="vendorAccountNumber",
        model=GeneralSettings,
        alias="BankAccountSource",
    ),
    Question(
        key="registers.org_number_source",
        ask="What becomes a supplier's OrgNumber in Prime?",
        why="The guide writes the supplier's number there.",
        kind="choice",
        choices=("number", "taxId", "empty"),
        default="number",
        model=GeneralSettings,
        alias="OrgNumberSource",
        fine=True,
    ),
    Question(
        key="registers.invert_rate",
        ask="Does Prime want 1 / rate, that is, the price of one unit of the base currency?",
        why="Compare one rate in Prime with the bank's before going live.",
        kind="yes",
        default=False,
        model=GeneralSettings,
        alias="InvertRate",
        fine=True,
    ),
    Question(
        key="registers.periods",
        ask="Shall accounting periods be imported, and not be set up in Prime by hand?",
        why="The guide has them set up by hand.",
        kind="yes",
        default=False,
        model=GeneralSettings,
        alias="PeriodsEnabled",
        fine=True,
    ),
    Question(
        key="registers.default_dimensions",
        ask="Shall accounts bring their default dimension values?",
        why="The guide leaves them out.",
        kind="yes",
        default=False,
        model=GeneralSettings,
        alias="DefaultDimensions",
        fine=True,
    ),
    Question(
        key="registers.expired_on",
        ask="Which date means expired in Prime?",
        why="0001-01-01 is the guide's.",
        kind="date",
        default=EXPIRED_ON,
        model=GeneralSettings,
        alias="ExpiredDate",
        fine=True,
    ),
    Question(
        key="documents.invoices",
        ask="Shall invoices be booked in Sage as well, or only registers be imported for now?",
        why="yes: invoices, cancellations and payment dates.",
        kind="yes",
        default=True,
    ),
    Question(key="documents.rillion_pay", number="12", ask="Will Rillion Pay be used?", kind="yes"),
    Question(
        key="documents.start_on",
        ask="From which date on are documents ours?",
        why="What was recorded or paid before that day is never touched.",
        kind="date",
        model=GeneralSettings,
        alias="StartOn",
        when=lambda answers: _books(answers) or _pays(answers),
    ),
    Question(
        key="documents.bill_date",
        ask="Which date becomes the bill's date in Sage?",
        why="InvoiceDate is recommended: a payment must not predate its bill.",
        kind="choice",
        choices=("Now", "InvoiceDate", "AccountCodingDate"),
        default="InvoiceDate",
        model=GeneralSettings,
        alias="BillDateSource",
        when=_books,
    ),
    Question(
        key="documents.images",
        ask="Shall the invoices' files go to Sage as well?",
        kind="yes",
        default=True,
        model=GeneralSettings,
        alias="InvoiceImageExport",
        when=_books,
    ),
    Question(
        key="documents.folder",
        ask="In which attachment folder of Sage are invoices' files kept?",
        default="Receipts",
        model=GeneralSettings,
        alias="SageAttachmentFolderId",
        when=lambda answers: _books(answers) and bool(answers["documents.images"]),
    ),
    Question(
        key="documents.payment_cutoff_days",
        ask="For how many days after an invoice is its payment date looked for?",
        kind="number",
        default=90,
        model=GeneralSettings,
        alias="PaymentCutoffDays",
        when=_books,
    ),
    Question(
        key="documents.date_format",
        ask="In which format does Prime take the date when it is asked for invoices without a payment date?",
        why="A .NET pattern: M is the month, m the minute.",
        default="yyyy-MM-dd",
        model=GeneralSettings,
        alias="DateFormat",
        when=_books,
    ),
    Question(
        key="documents.bill_number",
        ask="What becomes the bill's number in Sage?",
        why="VoucherNo: the voucher number, or the supplier's invoice number while there is none, as the guide has it.",
        kind="choice",
        choices=("VoucherNo", "SupplierInvoiceNo", "SeriesNo"),
        default="VoucherNo",
        model=GeneralSettings,
        alias="BillNumberSource",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.vat_lines",
        ask="How does VAT travel to Sage?",
        why="line: as a line of its own; taxEntry: as the tax entry of a line; none: not at all.",
        kind="choice",
        choices=("line", "taxEntry", "none"),
        default="line",
        model=GeneralSettings,
        alias="VatLines",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.credit_notes",
        ask="What becomes of credit notes?",
        why="refuse: they go back to Prime; NegativeBill: a bill with the opposite sign.",
        kind="choice",
        choices=("refuse", "NegativeBill"),
        default="refuse",
        model=GeneralSettings,
        alias="CreditNotes",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.cancel_by",
        ask="How is a bill cancelled in Sage?",
        why="delete: a posted one is reversed where Sage refuses that; reverse: always.",
        kind="choice",
        choices=("delete", "reverse"),
        default="delete",
        model=GeneralSettings,
        alias="DeleteOrReverse",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.return_errors",
        ask="Which errors go back to Prime?",
        why="clerk: those that can be mended there, at once, and the others after some days; all: every one at once.",
        kind="choice",
        choices=("clerk", "all"),
        default="clerk",
        model=GeneralSettings,
        alias="ReturnErrors",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.refuse_after_days",
        ask="After how many days do those others go back?",
        kind="number",
        default=3,
        model=GeneralSettings,
        alias="RefuseAfterDays",
        when=_books,
        fine=True,
    ),
    Question(
        key="documents.payment_request_method",
        ask="How does Sage make payment requests?",
        kind="choice",
        choices=PAYMENT_REQUESTS,
        default="useVendorPreference",
        model=GeneralSettings,
        alias="PaymentRequestMethod",
        when=_pays,
    ),
    Question(
        key="documents.payment_method",
        ask="By which method of Sage is paid where Pay's is not used?",
        kind="choice",
        choices=PAYMENT_METHODS,
        default="Printed Check",
        model=GeneralSettings,
        alias="PaymentMethod",
        when=_pays,
    ),
    Question(
        key="documents.use_default_method",
        ask="Is that one used for all payments, whatever Rillion Pay says?",
        kind="yes",
        default=False,
        model=GeneralSettings,
        alias="UseDefaultPaymentMethod",
        when=_pays,
    ),
    Question(
        key="documents.payment_methods",
        ask="Which method of Sage is each method of Rillion Pay?",
        why="Pay's method = Sage's method; a payment by a method that is not there is refused.",
        kind="map",
        default=dict(GeneralSettings().payment_method_mapping),
        model=GeneralSettings,
        alias="PaymentMethodMapping",
        when=lambda answers: _pays(answers) and not answers["documents.use_default_method"],
    ),
    Question(
        key="documents.bank_accounts",
        ask="Which bank of Sage is each account of Rillion Pay?",
        why="Pay's bank account identifier = Sage's bank id. In Prime: Payments > Manage > Payment provider > Bank account identifier.",
        kind="map",
        optional=True,
        blank="not known yet",
        model=GeneralSettings,
        alias="BankAccountMapping",
        when=_pays,
    ),
    Question(
        key="documents.pay_receipt",
        ask="How does a payment's result go back?",
        kind="choice",
        choices=("receipt", "eventLog"),
        default="receipt",
        model=GeneralSettings,
        alias="PayReceipt",
        when=_pays,
        fine=True,
    ),
    Question(
        key="documents.payment_approval",
        ask="Must a second person approve before a payment is replayed?",
        kind="yes",
        default=True,
        model=GeneralSettings,
        alias="PaymentApproval",
        when=_pays,
        fine=True,
    ),
    *(_level(job) for job in LEVELS),
    Question(
        key="dimensions.chosen",
        number="14",
        ask=f"Which dimensions does Prime get, at most {OBJECT_TYPES}, in the order of its object types?",
        why="DEPARTMENT and LOCATION must be among them. Left out: a proposal from what Sage has and requires.",
        kind="names",
        optional=True,
        blank="a proposal",
    ),
    Question(
        key="prime.environment",
        ask="What is the id of the environment in Prime?",
        model=Connection,
        alias="environment",
    ),
    Question(
        key="prime.url",
        ask="Where is Prime's web service?",
        why="https://host/ws/webService.asmx",
        model=Connection,
        alias="url",
    ),
    Question(
        key="prime.show_invoice_url",
        ask="Where do people open Prime?",
        why="The link on a bill begins with it: https://host",
        default=_prime_host,
        model=GeneralSettings,
        alias="ShowInvoiceBaseURL",
        when=_books,
    ),
    Question(key="prime.username", ask="Who is the user of the web service?", model=Connection, alias="username"),
    Question(
        key="prime.password",
        ask="Where is that user's password kept?",
        kind="secret",
        alias="password",
        default=lambda answers: f"env:{variable(answers, 'PRIME_PASSWORD')}",
    ),
    Question(
        key="prime.transport",
        ask="How do registers reach Prime?",
        why="rest is quicker and can be read back; soap needs the web service alone.",
        kind="choice",
        choices=("rest", "soap"),
        default="rest",
    ),
    Question(
        key="prime.rest_url",
        ask="Where is Prime's REST API?",
        default=lambda answers: f"{_prime_host(answers)}/api/v1.0",
        model=Connection,
        alias="rest_url",
        when=_rest,
    ),
    Question(
        key="prime.rest_identity_url",
        ask="Where is its identity server?",
        default=lambda answers: f"{_prime_host(answers)}/identity",
        model=Connection,
        alias="rest_identity_url",
        when=_rest,
    ),
    Question(key="prime.rest_tenant", ask="What is the tenant's id?", model=Connection, alias="rest_tenant", when=_rest),
    Question(key="prime.rest_client_id", ask="What is the REST client's id?", model=Connection, alias="rest_client_id", when=_rest),
    Question(
        key="prime.rest_client_secret",
        ask="Where is its secret kept?",
        kind="secret",
        alias="rest_client_secret",
        default=lambda answers: f"env:{variable(answers, 'PRIME_SECRET')}",
        when=_rest,
    ),
    Question(key="prime.rest_user", ask="Who is the REST user?", default=lambda answers: answers["prime.username"] or "", when=_rest),
    Question(key="prime.rest_role", ask="In which role?", default="integration", when=_rest),
    Question(
        key="schedule.begin",
        ask="When at night may registers be read in full?",
        default="01:00",
    ),
    Question(
        key="schedule.maintenance",
        ask="When is Sage not there each week?",
        why="Such as Sat 22:00-02:00; nothing starts then.",
        kind="names",
        optional=True,
        blank="never",
    ),
)
BY_KEY: Final = {question.key: question for question in QUESTIONS}
SECTIONS: Final = tuple(dict.fromkeys(question.section for question in QUESTIONS))
TITLES: Final = {
    "customer": "The customer",
    "companies": "Companies",
    "connection": "Connect itself",
    "sage": "Sage",
    "registers": "Registers",
    "documents": "Invoices and payments",
    "levels": "Top level or entities",
    "dimensions": "Dimensions",
    "prime": "Prime",
    "schedule": "Schedule",
}
ORDER: Final = ("customer", "companies", "connection", "sage", "registers", "documents", "levels", "dimensions", "prime", "schedule")
