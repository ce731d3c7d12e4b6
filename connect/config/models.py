"""What a configuration holds: process settings, connections, lookups (the guide's own names) and jobs.

The models check what can be checked without asking anybody. Each field's `description` says what is expected there; the loader builds its
messages from it and `connect config schema` prints it. Source: the guide's installation part, prime.md section 5, D17-D28, D37, D38.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_pascal

from connect.config.cron import Cron
from connect.config.names import DIMENSIONS, JOBS, MANDATORY_DIMENSIONS, OBJECT_TYPES, OWNERS, PAY_METHODS, PAYMENT_METHODS, nearest
from connect.config.schedule import Window, every_after
from connect.errors import ConfigError

EXPIRED_ON: Final = date(1, 1, 1)  # the guide's DateTime.Min (F10)
Transport = Literal["rest", "soap"]


class ProblemsError(ValueError):
    """Several things are wrong below one key. Each: (path below that key, what is expected)."""

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = tuple(problems)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"is no URL ({error}); expected something like https://host/path") from None
    if parts.scheme not in ("https", "http") or not host or re.search(r"\s", value):
        raise ValueError("is no absolute URL; expected something like https://host/path")
    if parts.username or parts.password:
        raise ValueError("carries a user name or password; leave it out of the URL and use the keys made for it")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"http is only for this machine (127.0.0.1, localhost); write https://{host}…")
    return value.rstrip("/")


def _service_url(value: str) -> str:
    if not value.lower().endswith((".asmx", ".aspx")):
        raise ValueError("must be the address of Prime's web service, which ends in .asmx, such as https://host/ws/webService.asmx")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; write something, or leave the key out where it has a default")
    return value


def _text(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'is a number; write it as text in quotes: "{value}"')  # noqa: TRY004 - pydantic turns ValueError into a message
    return value


def _timezone(value: str) -> str:
    if value != "UTC" and value not in (known := available_timezones()):
        raise ValueError(f"is no time zone{nearest(value, known)} expected a name such as Europe/Stockholm")
    return value


def _cron(value: str) -> str:
    try:
        Cron.parse(value)
    except ValueError as error:
        words = 'write minute, hour, day, month and day of the week, such as "0 * * * *"'
        raise ValueError(f"{error}; {words}") from None
    return value


Text = Annotated[str, BeforeValidator(_text), AfterValidator(_not_blank)]
Url = Annotated[Text, AfterValidator(_url)]
ServiceUrl = Annotated[Url, AfterValidator(_service_url)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
CronText = Annotated[str, AfterValidator(_cron)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Lookup(BaseModel):
    """A lookup: keys are the guide's, case-sensitive; attributes are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, alias_generator=to_pascal, populate_by_name=True)


_DOTNET_DATE: Final = re.compile(r"(?:y{1,5}|M{1,4}|d{1,4}|H{1,2}|h{1,2}|m{1,2}|s{1,2}|[fF]{1,7}|t{1,2}|z{1,3}|K|'[^']*'|[-/.:, T])+")


def _unwrapped(name: str, value: Any) -> Any:
    """The guide wraps a mapping in an object of its own name, and ConfigWriter keeps it as JSON text: take all forms (F18)."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f'is no JSON ({error}); expected a table such as {{ "key" = "value" }}') from None
    if isinstance(value, Mapping) and set(value) == {name}:
        value = value[name]
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { "key" = "value" }')  # noqa: TRY004
    return value


class GeneralSettings(_Lookup):
    """Lookup GeneralSettings. The guide's keys first, then ours (D26)."""

    show_invoice_base_url: Url | None = Field(default=None, alias="ShowInvoiceBaseURL", description="the URL of the customer's Prime")
    is_full_import: bool = Field(default=True, description="true (all records) or false (objects and suppliers: the last 7 days)")
    invoice_image_export: bool = Field(default=True, description="true or false: send the invoice's images")
    payment_cutoff_days: int = Field(default=90, gt=0, description="a number of days above 0")
    date_format: str = Field(default="yyyy-MM-dd", description="a .NET date pattern with y, M and d, such as yyyy-MM-dd")
    sage_attachment_folder_id: Text = Field(default="Receipts", description="the name of the attachment folder in Sage")
    payment_request_method: Literal[
        "useVendorPreference", "generateOneRequestPerBill", "mergeRequestIntoOnePerVendorPayToContact", "mergeRequestsIntoOnePerVendor"
    ] = Field(default="useVendorPreference", description="how Sage makes payment requests, case-sensitive")
    use_default_payment_method: bool = Field(default=False, description="true: ignore Pay's method and use PaymentMethod")
    payment_method: Literal["Printed Check", "Cash", "EFT", "Credit Card", "ACH"] = Field(
        default="Printed Check", description="a payment method of Sage, case-sensitive"
    )
    payment_method_mapping: dict[str, str] = Field(
        default={"Check": "Printed Check", "ACH": "ACH", "VirtualCard": "Credit Card", "Other": "EFT"},
        description="a table from Rillion Pay's method to Sage's",
    )
    bank_account_mapping: dict[str, str] = Field(default={}, description='a table such as { "PayAccount" = "SageBankId" }')
    key_source: Literal["id", "key"] = Field(default="id", description="which of Sage's id and key becomes the number in Prime (D17)")
    bill_number_source: Literal["VoucherNo", "SupplierInvoiceNo", "SeriesNo"] = Field(
        default="VoucherNo", description="what becomes the bill's number"
    )
    bill_date_source: Literal["Now", "InvoiceDate", "AccountCodingDate"] = Field(default="Now", description="what becomes the bill's date")
    vat_lines: Literal["line", "taxEntry", "none"] = Field(default="line", description="how VAT travels to Sage (D16)")
    delete_or_reverse: Literal["delete", "reverse"] = Field(default="delete", description="how a bill is cancelled in Sage (D23)")
    start_on: date | None = Field(default=None, description="a date such as 2026-01-01: no document before it is touched")
    credit_notes: Literal["refuse", "NegativeBill", "Adjustment"] = Field(
        default="refuse", description="what a credit note becomes in Sage (D38)"
    )
    contact_source: Literal["inline", "contact"] = Field(default="inline", description="where a supplier's contact is read")
    bank_account_source: Literal["vendorAccountNumber", "bankFile", "ach"] = Field(
        default="vendorAccountNumber", description="where a supplier's bank accounts are read (F12)"
    )
    pay_receipt: Literal["receipt", "eventLog"] = Field(default="receipt", description="how a payment's result goes back (D35)")
    payment_approval: bool = Field(default=True, description="true: a second person approves before a payment is replayed")
    return_errors: Literal["clerk", "all"] = Field(default="clerk", description="which errors are returned to Prime")
    refuse_after_days: int = Field(default=3, ge=0, description="days after which what no clerk can mend goes back to Prime all the same")
    invert_rate: bool = Field(default=False, description="true: send 1 / rate (F8)")
    exchange_rate_type: Text | None = Field(default=None, description="the name of one of Sage's exchange rate types (D8)")
    expired_date: date = Field(default=EXPIRED_ON, description="the date that means expired in Prime, such as 0001-01-01 (D7)")
    periods_enabled: bool = Field(default=False, description="true: accounting periods are imported too (F3)")
    org_number_source: Literal["number", "taxId", "empty"] = Field(default="number", description="what becomes a supplier's OrgNumber (F2)")
    default_dimensions: bool = Field(default=False, description="true: fill the accounts' default objects (F4)")

    @field_validator("date_format")
    @classmethod
    def _date_format(cls, value: str) -> str:
        if not _DOTNET_DATE.fullmatch(value) or not {"y", "M", "d"} <= set(value):
            raise ValueError("is no .NET date pattern with y, M and d; expected something like yyyy-MM-dd (M is the month, m the minute)")
        return value

    @field_validator("payment_method_mapping", mode="before")
    @classmethod
    def _payment_methods(cls, value: Any) -> dict[str, str]:
        mapping = dict(_unwrapped("PaymentMethodMapping", value))
        problems: list[tuple[tuple[str | int, ...], str]] = []
        for pay, sage in mapping.items():
            if pay not in PAY_METHODS:
                problems.append(
                    ((pay,), f"is no method of Rillion Pay (case-sensitive): {', '.join(PAY_METHODS)}{nearest(pay, PAY_METHODS)}")
                )
            if sage not in PAYMENT_METHODS:
                expected = f"expected one of {_listed(PAYMENT_METHODS)} (case-sensitive){nearest(str(sage), PAYMENT_METHODS)}"
                problems.append(((pay,), expected))
        if problems:
            raise ProblemsError(problems)
        return mapping

    @field_validator("bank_account_mapping", mode="before")
    @classmethod
    def _bank_accounts(cls, value: Any) -> dict[str, str]:
        mapping = dict(_unwrapped("BankAccountMapping", value))
        problems: list[tuple[tuple[str | int, ...], str]] = [
            ((account,), 'expected the id of a bank account in Sage, as in { "PayAccount" = "SageBankId" }')
            for account, bank in mapping.items()
            if not isinstance(bank, str) or not bank.strip()
        ]
        if problems:
            raise ProblemsError(problems)
        return mapping


class Credentials(_Lookup):
    """Lookup Credentials: the seven values with which Sage is called. Objects are at {base_url}/{rest_version}/objects/…"""

    token_url: Url = Field(alias="SageTokenUrl", description="the https URL of Sage's token endpoint")
    base_url: Url = Field(alias="SageBaseUrl", description="the https URL before the version, such as https://api.intacct.com/ia/api")
    query_url: Url = Field(alias="SageQueryUrl", description="the https URL of Sage's query service")
    rest_version: str = Field(alias="SageRestVersion", description="the version as it stands in the path, such as v1")
    client_id: Text = Field(alias="SageClientId", description="the client id")
    client_secret: SecretStr = Field(alias="SageClientSecret", description="env:NAME or file:PATH")
    username: Text = Field(alias="SageUserName", description="{WebServiceUserID}@{CompanyID}")

    @field_validator("rest_version")
    @classmethod
    def _rest_version(cls, value: str) -> str:
        if not re.fullmatch(r"v\d+(\.\d+)?(-beta\d+)?", value):
            raise ValueError("gives no valid path; expected the version as Sage writes it in its URLs, such as v1 (F22)")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        if re.search(r"/v\d[^/]*$", value):
            raise ValueError("ends in a version, which SageRestVersion adds again; leave it out here")
        return value

    @field_validator("username")
    @classmethod
    def _username(cls, value: str) -> str:
        user, at, company = value.partition("@")
        if not at or "@" in company or not user.strip() or not company.partition("|")[0].strip():
            raise ValueError("must be {WebServiceUserID}@{CompanyID}, with exactly one @, such as rillion@acme")
        return value

    @property
    def company(self) -> str:
        """The Sage company: between `@` and the entity (`user@company|entity`), if any."""
        return self.username.partition("@")[2].partition("|")[0]


def _objects(value: Any) -> dict[str, int]:
    """Lookup Objects, dimension -> object type: at most 8, numbers unique in 1..8, DEPARTMENT and LOCATION there (prime.md 5.4)."""
    if not isinstance(value, Mapping):
        raise ValueError("expected a table such as DEPARTMENT = 1, LOCATION = 2")  # noqa: TRY004
    problems: list[tuple[tuple[str | int, ...], str]] = []
    taken: dict[int, str] = {}
    for name, number in value.items():
        if name not in DIMENSIONS and not re.fullmatch(r"nsp::\w+", name):
            known = f'expected one of {", ".join(DIMENSIONS)} or a user-defined dimension as "nsp::name"'
            problems.append(((name,), f"is no dimension of Sage{nearest(name, DIMENSIONS)} {known}"))
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= OBJECT_TYPES:
            problems.append(((name,), f"expected an object type of Prime, a whole number from 1 to {OBJECT_TYPES}"))
        elif number in taken:
            problems.append(((name,), f"object type {number} is already {taken[number]}; give each dimension a number of its own"))
        else:
            taken[number] = name
    problems.extend(
        ((), f"{name} is missing, and it is mandatory; add {name} = n (1 to {OBJECT_TYPES})")
        for name in MANDATORY_DIMENSIONS
        if name not in value
    )
    if len(value) > OBJECT_TYPES:
        problems.append(((), f"names {len(value)} dimensions, and Prime holds {OBJECT_TYPES}; leave out {len(value) - OBJECT_TYPES}"))
    if problems:
        raise ProblemsError(problems)
    return dict(value)


Objects = Annotated[dict[str, int], BeforeValidator(_objects)]


class Lookups(BaseModel):
    """The three lookups of a connection."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    general: GeneralSettings = Field(default_factory=GeneralSettings, alias="GeneralSettings", description="a table of settings")
    credentials: Credentials = Field(alias="Credentials", description="a table with the seven Sage… keys")
    objects: Objects = Field(alias="Objects", description="a table such as DEPARTMENT = 1, LOCATION = 2")


class CompanyLookups(BaseModel):
    """What one company has otherwise: settings key by key, Objects as a whole. The credentials belong to the connection."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    general: GeneralSettings | None = Field(default=None, alias="GeneralSettings", description="a table of settings")
    objects: Objects | None = Field(default=None, alias="Objects", description="a table such as DEPARTMENT = 1, LOCATION = 2")


class Company(_Model):
    """A company of Prime that has lookups of its own."""

    company: Text = Field(description='the company\'s code in Prime, in quotes: "100"')
    lookups: CompanyLookups = Field(default_factory=CompanyLookups, description="tables GeneralSettings and Objects")


_DURATION: Final = re.compile(r"(\d+)\s*([mhd])")
_MINUTES: Final = {"m": 1, "h": 60, "d": 1440}


class Job(_Model):
    """One job of one company: what is moved, and when."""

    job: str = Field(description="the name of a job")
    company: Text = Field(description='the company\'s code in Prime, in quotes: "100"')
    sage_entity: Annotated[str, BeforeValidator(_text)] = Field(
        default="", description="the id of a Sage entity, or empty for the top level"
    )
    active: bool = Field(default=True, description="true or false")
    cron: CronText | None = Field(default=None, description='a cron expression such as "0 * * * *"')
    every: str | None = Field(default=None, description='a time such as "15m", "2h" or "1d"')
    offset_minutes: int = Field(default=0, ge=0, lt=1440, description="minutes from 0 to 1439 by which `every` starts later")
    timezone: str = Field(default="UTC", exclude=True, description="set by the connection")

    @field_validator("job")
    @classmethod
    def _job(cls, value: str, info: ValidationInfo) -> str:
        known: Sequence[str] = (info.context or {}).get("jobs", JOBS)
        if value not in known:
            raise ValueError(f"is no job{nearest(value, known)} expected one of {', '.join(known)}")
        return value

    @field_validator("every")
    @classmethod
    def _every(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if info.data.get("cron") is not None:
            raise ValueError("stands beside cron; write one of them")
        match = _DURATION.fullmatch(value.strip())
        if match is None or int(match[1]) == 0:
            raise ValueError('expected a time such as "15m", "2h" or "1d"')
        return value

    @property
    def is_scheduled(self) -> bool:
        """Whether the job starts by itself more than once."""
        return self.cron is not None or self.every is not None

    def due(self, last_started_at: datetime | None, now: datetime) -> bool:
        """Whether the job should start now. Both times are aware; None: it never ran, which makes an active job due.

        A job without a schedule runs once and then when asked for.
        """
        if not self.active:
            return False
        if last_started_at is None:
            return True
        due_at = self.next_start(last_started_at)
        return due_at is not None and due_at <= now

    def next_start(self, after: datetime) -> datetime | None:
        """The first instant (UTC) later than `after` at which the schedule wants a start; None without a schedule."""
        if self.cron is not None:
            return Cron.parse(self.cron).next_after(after, ZoneInfo(self.timezone))
        if self.every is not None:
            match = _DURATION.fullmatch(self.every.strip())
            assert match is not None
            every = timedelta(minutes=int(match[1]) * _MINUTES[match[2]])
            return every_after(after, every, timedelta(minutes=self.offset_minutes), ZoneInfo(self.timezone))
        return None


@dataclass(frozen=True)
class RegisterSettings:
    """Everything a register's mapping may depend on, for one company."""

    company: str
    transport: Transport
    objects: dict[str, int]  # dimension as in the guide, or "nsp::name" -> object type 1..8
    key_source: Literal["id", "key"] = "id"
    expired_on: date = EXPIRED_ON
    contact_source: Literal["inline", "contact"] = "inline"
    bank_account_source: Literal["vendorAccountNumber", "bankFile", "ach"] = "vendorAccountNumber"
    invert_rate: bool = False
    exchange_rate_type: str | None = None
    periods_enabled: bool = False
    org_number: Literal["number", "taxId", "empty"] = "number"
    default_dimensions: bool = False
    date_format: str = "yyyy-MM-dd"

    def version(self) -> str:
        """A short hash over all of it: other settings, other version, every row is compared again."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


class Endpoint(BaseModel):
    """What of a connection says how Prime's web service is reached; the rest may be wrong or missing."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: Text
    environment: Text
    username: Text
    password: SecretStr
    url: ServiceUrl


class Connection(_Model):
    """One Prime environment beside one Sage company."""

    name: Text = Field(description="a label, such as acme-TEST")
    environment: Text = Field(description="the environment's id in Prime")
    username: Text = Field(description="the user of Prime's web service")
    password: SecretStr = Field(description="env:NAME or file:PATH")
    url: ServiceUrl = Field(description="Prime's web service, https://…/webService.asmx")
    register_transport: Transport = Field(default="rest", description="how registers reach Prime")
    rest_url: Url | None = Field(default=None, validate_default=True, description="Prime's REST API, https://…/api/v1.0")
    rest_identity_url: Url | None = Field(default=None, validate_default=True, description="the identity server of Prime's REST API")
    rest_tenant: Text | None = Field(default=None, validate_default=True, description="the tenant's id")
    rest_client_id: Text | None = Field(default=None, validate_default=True, description="the REST client's id")
    rest_client_secret: SecretStr | None = Field(default=None, validate_default=True, description="env:NAME or file:PATH")
    rest_user: Text | None = Field(default=None, validate_default=True, description="the REST user")
    rest_role: Text | None = Field(default=None, validate_default=True, description="the REST role")
    sage_slots: int = Field(
        default=2, ge=1, le=100, description="requests at once that Sage allows this company, a whole number from 1 to 100"
    )
    sage_body_limit_bytes: int = Field(default=1_000_000, ge=10_000, description="the largest request that Sage takes, in bytes")
    sage_write_timeout_s: float = Field(default=120.0, gt=0, description="how long a write to Sage may take, in seconds")
    document_lock_s: float = Field(default=150.0, gt=0, description="how long a document's lock lives; longer than sage_write_timeout_s")
    settle_s: float = Field(default=60.0, ge=0, description="how far Sage's queries may lag behind its writes, in seconds")
    encrypt_dead_letters: Literal["bank", "all", "none"] = Field(
        default="bank", description="which dead letters are kept encrypted: bank (suppliers and payments), all or none"
    )
    timezone: TimeZone = Field(default="UTC", description="a time zone for schedules, such as Europe/Stockholm")
    spacing_minutes: int = Field(
        default=8, ge=0, le=120, description="minutes between two starts when several companies have jobs, from 0 (no space) to 120"
    )
    maintenance: tuple[str, ...] = Field(
        default=(), description='Sage\'s weekly maintenance, in which nothing starts, a list such as ["Sat 22:00-02:00"]'
    )
    transactions_month_budget: int = Field(
        default=0,
        ge=0,
        description="how many transactions with Sage this connection may cost a month, 0 for any number: a warning at 80 %, "
        "and at 100 % registers are not read by their schedules any more; documents always go on",
    )
    late_after_minutes: int = Field(
        default=30, ge=1, le=10_080, description="minutes after which a job that should have run is shown as late, from 1 to 10080 (a week)"
    )
    receipt_after_minutes: int = Field(
        default=60, ge=1, le=10_080, description="minutes after which a document without its receipt is shown, from 1 to 10080 (a week)"
    )
    reconcile: CronText | None = Field(
        default=None,
        description='a cron expression such as "0 5 * * 6" (Saturdays at 5): when Sage, Prime and the journal are compared',
    )
    marketplace_client: bool = Field(
        default=False, description="true: SageClientId is a Sage marketplace partner's, whose calls do not count against the entitlement"
    )
    lookups: Lookups = Field(description="tables GeneralSettings, Credentials and Objects")
    company_lookups: tuple[Company, ...] = Field(default=(), alias="companies", description="a list of [[connections.companies]]")
    jobs: list[Job] = Field(default=[], description="a list of [[connections.jobs]]")

    @field_validator("rest_url", "rest_identity_url", "rest_tenant", "rest_client_id", "rest_client_secret", "rest_user", "rest_role")
    @classmethod
    def _rest_is_complete(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("register_transport") == "rest":
            assert info.field_name is not None
            expected = cls.model_fields[info.field_name].description
            raise ValueError(f'is missing, and register_transport = "rest" needs it: {expected} (or write register_transport = "soap")')
        return value

    @field_validator("jobs")
    @classmethod
    def _jobs(cls, value: list[Job], info: ValidationInfo) -> list[Job]:
        first: dict[tuple[str, str], int] = {}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        for number, job in enumerate(value):
            if (job.job, job.company) in first:
                problems.append(((number,), f"{job.job} of company {job.company} is there twice; leave one of them out"))
            first.setdefault((job.job, job.company), number)
        if problems:
            raise ProblemsError(problems)
        timezone = info.data.get("timezone", "UTC")
        return [job.model_copy(update={"timezone": timezone}) for job in value]

    @field_validator("maintenance")
    @classmethod
    def _windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if sum(Window.parse(text).minutes for text in value) > 24 * 60:
            raise ValueError("is more than a day a week; expected the hours in which Sage is not there")
        return value

    @property
    def spacing(self) -> timedelta:
        """The least time between two starts; 0 when one company alone has active jobs."""
        several = len({job.company for job in self.jobs if job.active}) > 1
        return timedelta(minutes=self.spacing_minutes if several else 0)

    def maintenance_until(self, at: datetime) -> datetime | None:
        """When the maintenance that `at` lies in ends (UTC); None when it lies in none."""
        zone = ZoneInfo(self.timezone)
        ends = [end for text in self.maintenance if (end := Window.parse(text).until(at, zone)) is not None]
        return max(ends, default=None)

    @property
    def credentials(self) -> Credentials:
        return self.lookups.credentials

    @property
    def sage_company(self) -> str:
        """The Sage company whose slots are shared; Sage does not tell its letters' case."""
        return self.credentials.company.casefold()

    @cached_property
    def sid(self) -> str:
        """The id under which Redis keeps this connection's state (design section 4)."""
        return hashlib.sha256(f"{self.environment}\n{self.sage_company}".encode()).hexdigest()[:16]

    @property
    def companies(self) -> list[str]:
        """The companies that jobs name, in the order of the file."""
        return list(dict.fromkeys(job.company for job in self.jobs))

    @property
    def is_full_import(self) -> bool:
        return self.lookups.general.is_full_import

    def settings(self, company: str) -> GeneralSettings:
        """The settings of one company: the connection's, with what the company has otherwise."""
        own = next((section.lookups.general for section in self.company_lookups if section.company == company), None)
        return (
            self.lookups.general.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
            if own
            else self.lookups.general
        )

    def objects(self, company: str) -> dict[str, int]:
        """Dimension -> object type of one company."""
        own = next((section.lookups.objects for section in self.company_lookups if section.company == company), None)
        return own if own is not None else self.lookups.objects

    def register_settings(self, company: str) -> RegisterSettings:
        settings = self.settings(company)
        return RegisterSettings(
            company=company,
            transport=self.register_transport,
            objects=self.objects(company),
            key_source=settings.key_source,
            expired_on=settings.expired_date,
            contact_source=settings.contact_source,
            bank_account_source=settings.bank_account_source,
            invert_rate=settings.invert_rate,
            exchange_rate_type=settings.exchange_rate_type,
            periods_enabled=settings.periods_enabled,
            org_number=settings.org_number_source,
            default_dimensions=settings.default_dimensions,
            date_format=settings.date_format,
        )


class RedisSettings(_Model):
    """Where state is kept: a server at `url`, the primary that Sentinel names, or an embedded Valkey."""

    url: str | None = Field(
        default=None,
        description="redis://host:6379/0, rediss://… (TLS), unix:///path, or env:NAME or file:PATH of it; else an embedded Valkey is used",
    )
    username: Text | None = Field(default=None, description="the ACL user, or env:NAME or file:PATH of it; the default user when left out")
    password: SecretStr | None = Field(default=None, description="env:NAME or file:PATH of the user's password")
    tls_ca_file: Path | None = Field(
        default=None, description="certificates (PEM) that the server's is checked against; the system's if left out"
    )
    tls_cert_file: Path | None = Field(default=None, description="our certificate (PEM), for a server that wants one; with tls_key_file")
    tls_key_file: Path | None = Field(default=None, description="the key (PEM, no password) of tls_cert_file")
    tls_server_name: Text | None = Field(
        default=None, description="the name in the server's certificate, where it is not the host of the URL"
    )
    sentinels: tuple[str, ...] = Field(
        default=(), description='a list of Sentinels, such as ["sentinel-1:26379", "sentinel-2:26379"]; in place of url'
    )
    sentinel_master: Text = Field(default="mymaster", description="what the Sentinels call the primary")
    sentinel_username: Text | None = Field(default=None, description="the ACL user at the Sentinels, or env:NAME or file:PATH of it")
    sentinel_password: SecretStr | None = Field(default=None, description="env:NAME or file:PATH of the password at the Sentinels")
    db: int = Field(default=0, ge=0, description="the number of the database, with sentinels; a URL has it at its end")
    tls: bool = Field(default=False, description="true: TLS to the primary that the Sentinels name; a URL says it by rediss://")
    sentinel_tls: bool | None = Field(default=None, description="true or false: TLS to the Sentinels; as tls when left out")
    data_dir: Path = Field(default=Path(".connect"), description="a folder for the embedded Valkey; relative to the configuration file")
    deployment: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="the name of this Connect among all on the same Prime, such as acme-prod-1 (at most 64 letters, digits, dots, dashes): "
        "it stays the same Connect when Redis is lost. Never give it to two that run at once",
    )

    @field_validator("url")
    @classmethod
    def _redis_url(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("expected redis://host:6379/0, rediss://… or unix:///path")
        return value

    @field_validator("sentinels")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f'{address!r} is no address of a Sentinel; expected "host:port", such as "sentinel-1:26379"')
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """What does not go together. Raises ProblemsError."""
        problems: list[tuple[tuple[str | int, ...], str]] = []
        parts = urlsplit(self.url or "")
        uses_tls = parts.scheme == "rediss" or bool(self.sentinels and (self.tls or self.sentinel_tls))
        if self.sentinels and self.url is not None:
            problems.append((("sentinels",), "go in place of url: the Sentinels say where the primary is; leave one of them out"))
        if not self.sentinels:
            problems += [
                ((name,), "goes with sentinels = […] alone")
                for name in ("sentinel_master", "sentinel_username", "sentinel_password", "db", "tls", "sentinel_tls")
                if name in self.model_fields_set
            ]
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            problems.append((("tls_cert_file",), "a certificate and its key go together: give tls_cert_file and tls_key_file"))
        if not uses_tls:
            problems += [
                ((name,), "is for TLS; write the URL as rediss://…, or tls = true with sentinels")
                for name in ("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name")
                if getattr(self, name) is not None
            ]
        if self.password is not None and parts.password:
            problems.append((("password",), "stands in the URL as well; give it once"))
        if self.username is not None and parts.username:
            problems.append((("username",), "stands in the URL as well; give it once"))
        if problems:
            raise ProblemsError(problems)
        return self


_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_ADDRESS: Final = re.compile(r"[^@\s<>,;\"]+@[^@\s<>,;\"]+")
_MAIL_KEYS: Final = ("smtp_host", "smtp_port", "smtp_tls", "smtp_ca_file", "smtp_username", "smtp_password", "sender", "to")


def time_of(text: str) -> time:
    """A time of day as "07:00". Raises ValueError."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError('is no time of day; expected something like "07:00"')
    return time(int(match[1]), int(match[2]))


class Notification(_Model):
    """A channel on which people are told what is wrong: an e-mail, or a webhook of Slack or Teams."""

    name: Text = Field(description="a label, such as ops-mail")
    kind: Literal["email", "slack", "teams"] = Field(description="how people are told")
    connections: tuple[Text, ...] = Field(default=(), description='a list of connections, such as ["acme-TEST"]; all when left out')
    owners: tuple[str, ...] = Field(default=(), description='whose turn it must be, such as ["operator", "clerk"]; all when left out')
    min_light: Literal["amber", "red"] = Field(default="amber", description="the least serious that is told at once")
    immediate: bool = Field(default=True, description="true or false: whether anything is told at once; the digest is another matter")
    after_minutes: int = Field(default=2, ge=0, le=1440, description="for how many minutes it must be wrong, or right again, first")
    quiet_minutes: int = Field(
        default=60, ge=0, le=10_080, description="minutes in which nothing more is said of the same trouble, unless it becomes worse"
    )
    quiet_hours: str | None = Field(default=None, description='hours in which messages wait, such as "22:00-06:00"')
    wake_for_red: bool = Field(default=False, description="true: what is red does not wait for the end of quiet_hours")
    digest_at: str | None = Field(default=None, description='when a summary is sent each day, such as "07:00"')
    timezone: TimeZone = Field(default="UTC", description="a time zone for digest_at and quiet_hours, such as Europe/Stockholm")
    webhook_url: SecretStr | None = Field(default=None, description="env:NAME or file:PATH of the webhook's https URL")
    smtp_host: Text | None = Field(default=None, description="the mail server, such as smtp.example.com")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="the mail server's port, such as 587 (starttls) or 465 (tls)")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(default="starttls", description="how the way to the mail server is protected")
    smtp_ca_file: Path | None = Field(
        default=None, description="certificates (PEM) that the mail server's is checked against; the system's if left out"
    )
    smtp_username: Text | None = Field(default=None, description="the user at the mail server; with smtp_password")
    smtp_password: SecretStr | None = Field(default=None, description="env:NAME or file:PATH of the user's password")
    sender: Text | None = Field(default=None, description="the address that the mail comes from, such as connect@example.com")
    to: tuple[Text, ...] = Field(default=(), description='a list of addresses, such as ["ops@example.com"]')

    @field_validator("owners")
    @classmethod
    def _owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        problems: list[tuple[tuple[str | int, ...], str]] = [
            ((number,), f"{owner!r} is no owner{nearest(owner, OWNERS)} expected one of {_listed(OWNERS)}")
            for number, owner in enumerate(value)
            if owner not in OWNERS
        ]
        if problems:
            raise ProblemsError(problems)
        return value

    @field_validator("digest_at")
    @classmethod
    def _digest_at(cls, value: str | None) -> str | None:
        if value is not None:
            time_of(value)
        return value

    @field_validator("quiet_hours")
    @classmethod
    def _quiet_hours(cls, value: str | None) -> str | None:
        if value is not None:
            begin, dash, end = value.partition("-")
            if not dash or not _TIME.fullmatch(begin.strip()) or not _TIME.fullmatch(end.strip()) or begin.strip() == end.strip():
                raise ValueError('expected two times of day, such as "22:00-06:00"')
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """What each kind needs. Raises ProblemsError."""
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.kind == "email":
            problems = self._mail_problems()
        else:
            if self.webhook_url is None:
                problems.append((("webhook_url",), f'is missing, and kind = "{self.kind}" needs it: env:NAME or file:PATH of the URL'))
            else:
                try:
                    _url(self.webhook_url.get_secret_value())
                except ValueError as error:
                    problems.append((("webhook_url",), _without_url(str(error))))
            problems += [((name,), 'goes with kind = "email" alone') for name in _MAIL_KEYS if name in self.model_fields_set]
        if not self.immediate and self.digest_at is None:
            problems.append((("immediate",), "is false and there is no digest_at: nothing would ever be sent; give digest_at a time"))
        if problems:
            raise ProblemsError(problems)
        return self

    def _mail_problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        problems: list[tuple[tuple[str | int, ...], str]] = [
            ((name,), f'is missing, and kind = "email" needs it: {type(self).model_fields[name].description}')
            for name in ("smtp_host", "sender", "to")
            if not getattr(self, name)
        ]
        if self.webhook_url is not None:
            problems.append((("webhook_url",), 'goes with kind = "slack" or "teams"'))
        if self.sender is not None and not _ADDRESS.fullmatch(self.sender):
            problems.append((("sender",), "is no address; expected something like connect@example.com"))
        problems += [
            (("to", number), f"{address!r} is no address; expected something like ops@example.com")
            for number, address in enumerate(self.to)
            if not _ADDRESS.fullmatch(address)
        ]
        if (self.smtp_username is None) != (self.smtp_password is None):
            missing = "smtp_password" if self.smtp_password is None else "smtp_username"
            problems.append(((missing,), "is missing: smtp_username and smtp_password go together"))
        if self.smtp_tls == "none":
            if self.smtp_host is not None and not is_loopback(self.smtp_host):
                problems.append((("smtp_tls",), 'none is only for this machine (127.0.0.1, localhost); write "starttls" or "tls"'))
            if self.smtp_ca_file is not None:
                problems.append((("smtp_ca_file",), 'is for TLS; write smtp_tls = "starttls" or "tls"'))
        return problems

    def quiet_at(self, at: datetime) -> bool:
        """Whether an instant lies in the quiet hours: from their beginning, until before their end."""
        if self.quiet_hours is None:
            return False
        begin, end = (time_of(text) for text in self.quiet_hours.split("-"))
        now = at.astimezone(ZoneInfo(self.timezone)).time()
        return begin <= now < end if begin < end else now >= begin or now < end


def _without_url(message: str) -> str:
    """A webhook's URL is a secret, so a message names none of its parts."""
    return message.partition("; write https://")[0]


class Config(_Model):
    """The whole file."""

    redis: RedisSettings = Field(default_factory=RedisSettings, description="a table with url or data_dir")
    connections: list[Connection] = Field(default=[], description="a list of [[connections]]")
    notifications: list[Notification] = Field(default=[], description="a list of [[notifications]]")
    console_url: Url | None = Field(default=None, description="where people reach the console, for links in messages: https://host/")
    path: Path | None = Field(default=None, exclude=True, description="the file it came from")
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(
        default=None, exclude=True, description="the least important log lines; the command line and CONNECT_LOG_LEVEL come first"
    )
    warnings: tuple[str, ...] = Field(default=(), exclude=True, description="what is allowed but looks wrong")

    def connection(self, sid_or_name: str) -> Connection:
        """Raises ConfigError naming the connections there are."""
        for connection in self.connections:
            if sid_or_name in (connection.sid, connection.name):
                return connection
        names = [connection.name for connection in self.connections]
        raise ConfigError(
            f"no connection {sid_or_name!r}{nearest(sid_or_name, names)} (there are: {', '.join(names) or 'none'})",
            code="unknown-connection",
        )


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)
