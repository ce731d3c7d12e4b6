"""Rillion Prime on loopback: the web service, REST v1.0, the identity server and Pay over one environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import structlog
from aiohttp import web

from connect.sandbox.kernel import Kernel
from connect.sandbox.prime import soap
from connect.sandbox.prime.answers import Answers
from connect.sandbox.prime.environment import Environment
from connect.sandbox.prime.reading import read_loaded
from connect.sandbox.prime.rest import RestSide
from connect.sandbox.prime.tables import CUSTOM_SETTING, INVALID, REGISTERS, SUPPLIER_BANK_ACCOUNT, Record, Refused, Table
from connect.sandbox.prime.wsdl import wsdl

log = structlog.get_logger(__name__)

SOAP_PATH: Final = r"/ws/{name:(?i:webservice\.asmx)}"
_READ: Final = web.RequestKey("prime.soap", soap.Request)
_UNREADABLE: Final = web.RequestKey("prime.fault", soap.Fault)


class PrimeSimulator:
    """One Prime environment with its companies, at the start without registers."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        environment: str = "DEMO",
        username: str = "connect",
        password: str = "demo-password",  # noqa: S107  # the sandbox's own
        tenant: str = "demo",
        client_id: str = "connect",
        client_secret: str = "demo-secret",  # noqa: S107  # the sandbox's own
        user: str = "connect",
        role: str = "integration",
        companies: Iterable[str] = ("100",),
    ) -> None:
        self.environment, self.username, self.password = environment, username, password
        self.tenant, self.client_id, self.client_secret, self.user, self.role = tenant, client_id, client_secret, user, role
        self._kernel = kernel
        self._stats = kernel.stats["prime"]
        self._environment = Environment(environment, companies)
        self._answers = Answers(self._environment, self._stats, username, password)
        self._rest = RestSide(
            kernel, self._environment, tenant=tenant, client_id=client_id, client_secret=client_secret, user=user, role=role
        )
        self.routes: list[web.RouteDef] = [
            web.post(SOAP_PATH, self._on_soap),
            web.get(SOAP_PATH, self._on_description),
            *self._rest.routes,
        ]

    @property
    def companies(self) -> list[str]:
        return self._environment.registers.companies()

    # -- what the kernel asks

    async def operation(self, request: web.Request, body: bytes) -> str:
        """The name under which a request is counted and meets faults; a SOAP request is read here, once."""
        if not request.path.startswith("/ws/"):
            return self._rest.operation(request)
        if request.method != "POST":
            return f"{request.method} WSDL"
        try:
            read = soap.parse(body, request.headers.get("Content-Type", ""))
            read = request[_READ] = soap.renamed(read, self._environment.operation_names)
        except soap.Fault as fault:
            request[_UNREADABLE] = fault
            return "unreadable"
        return read.name if read.name in soap.OPERATIONS else "unknown operation"

    def admit(self, _request: web.Request, _operation: str) -> web.Response | None:
        """Prime publishes no limits: everybody is let in (D33); 429 comes as a fault."""
        self._stats.enter()
        return None

    def leave(self, _request: web.Request) -> None:
        self._stats.leave()

    # -- the web service

    async def _on_soap(self, request: web.Request) -> web.Response:
        read = request.get(_READ)
        if read is None:
            unreadable = request[_UNREADABLE]
            return _fault(unreadable, unreadable.version)
        try:
            call = soap.read_call(read)
            self._stats.ignored_elements += call.ignored
            name = self._environment.operation_names.get(read.name, "")
            return _xml(soap.answer_xml(read, self._answers.answer(call), name), read.version)
        except soap.Fault as fault:
            return _fault(fault, read.version)
        except Exception as error:  # a mistake of ours is Receiver's fault, as .NET says it
            log.exception("prime_operation_failed", operation=read.name)
            return _fault(soap.Fault(f"Server was unable to process request. ---> {error!r}", sender=False), read.version)

    async def _on_description(self, request: web.Request) -> web.Response:
        if request.query_string.lower() != "wsdl":
            return web.Response(text=f"Prime web service. Its description: {request.url.with_query('WSDL')}\n")
        names = tuple(sorted(self._environment.operation_names.items()))
        return web.Response(body=wsdl(str(request.url.with_query(None)), names), content_type="text/xml", charset="utf-8")

    # -- control calls

    def load(self, *, kind: str, records: list[Any]) -> dict[str, Any]:
        """Put records into the books without their interface: {loaded, keys, errors: [{index, message}]}.

        Names on the wire (payments: camelCase). Known records are changed.
        Raises ValueError for an unknown kind, TypeError for records that are no list.
        """
        loaders: dict[str, Callable[[Record], str]] = {
            "CustomSetting": lambda given: self._environment.custom_settings.put(read_loaded(CUSTOM_SETTING, given)),
            "Invoice": self._load_invoice,
            "Image": self._environment.invoices.load_image,
            "Payment": self._load_payment,
            "PaymentConfiguration": self._environment.pay.load_configuration,
            **{table.name: self._load_register(table) for table in (*REGISTERS.values(), SUPPLIER_BANK_ACCOUNT)},
        }
        if kind not in loaders:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(sorted(loaders))}")
        if not isinstance(records, list):
            raise TypeError("records must be a list")
        keys: list[str] = []
        errors: list[dict[str, Any]] = []
        for index, given in enumerate(records):
            try:
                if not isinstance(given, dict):
                    raise Refused(INVALID, f"{kind}: expected an object, found {type(given).__name__}")
                keys.append(loaders[kind](given))
            except Refused as refusal:
                errors.append({"index": index, "message": refusal.message})
        return {"loaded": len(keys), "keys": keys, "errors": errors}

    def _load_register(self, table: Table) -> Callable[[Record], str]:
        def load(given: Record) -> str:
            """Without a company, the first; without a KeyType, the company is part of the key."""
            changes = read_loaded(table, given)
            if "Company" in table.by_name and table.bound != "never":
                changes.setdefault("Company", self._environment.first_company())
            if "KeyType" in table.by_name:
                changes.setdefault("KeyType", 1)
            self._environment.registers.apply(table, changes)
            return "/".join(str(changes.get(name) or "") for name in table.key)

        return load

    def _load_invoice(self, given: Record) -> str:
        company = self._company_of(given, "Company")
        supplier = next((record["Supplier"] for record in self._environment.registers.page("Supplier", 0, 1)), "1")
        return self._environment.invoices.load(
            given, company=company, currency=self._environment.currency_of(company), supplier=supplier, today=self._kernel.clock.today()
        )

    def _load_payment(self, given: Record) -> str:
        company = self._company_of(given, "company")
        currency = self._environment.currency_of(company)
        return self._environment.pay.load(given, company=company, currency=currency, now=self._kernel.clock.now())

    def _company_of(self, given: Record, name: str) -> str:
        return str(given.get(name) or self._environment.first_company())

    def records(self, *, kind: str, company: str | None = None) -> dict[str, Any]:
        """Everything of one kind, with its names on the wire: {count, records}. `company` leaves out what belongs to others.

        Raises ValueError for an unknown kind.
        """
        environment = self._environment
        kinds: dict[str, Callable[[], Iterable[Record]]] = {
            "CustomSetting": environment.custom_settings.records,
            "Invoice": environment.invoices.records,
            "Image": environment.invoices.image_records,
            "InvoiceReceipt": lambda: environment.invoices.receipts,
            "InvoicePaymentDate": lambda: environment.invoices.payment_dates,
            "Payment": environment.pay.records,
            "PaymentReceipt": lambda: environment.pay.receipts,
            "EventLog": lambda: environment.event_log,
            **{name: _of_register(environment, name) for name in REGISTERS},
        }
        if kind not in kinds:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(sorted(kinds))}")
        found = [record for record in kinds[kind]() if company is None or _company(record) in (None, company)]
        return {"count": len(found), "records": found}

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change what is given, answer with all. Raises ValueError."""
        environment = self._environment
        allowed: dict[str, tuple[str, ...] | None] = {
            "version": None,
            "receipt_for_returned": ("accept", "refuse"),
            "pay_receipt": ("receipt", "eventLog", "off"),
            "standard_accounts": ("set", "missing", "hidden"),
        }
        names = changes.pop("operation_names", environment.operation_names)
        if (
            not isinstance(names, dict)
            or not names.keys() <= soap.OPERATIONS.keys()
            or not all(isinstance(new, str) for new in names.values())
        ):
            raise ValueError(f"operation_names is {names!r}, expected an operation's name -> another")
        for name, value in changes.items():
            if name not in allowed:
                raise ValueError(f"prime has no setting {name}; it has {', '.join(allowed)} and operation_names")
            choices = allowed[name]
            if not isinstance(value, str) or (choices is not None and value not in choices):
                raise ValueError(f"{name} is {value!r}, expected {'a text' if choices is None else ' or '.join(choices)}")
        environment.version = changes.get("version", environment.version)
        environment.invoices.receipt_for_returned = changes.get("receipt_for_returned", environment.invoices.receipt_for_returned)
        environment.pay.pay_receipt = changes.get("pay_receipt", environment.pay.pay_receipt)
        environment.standard_accounts = changes.get("standard_accounts", environment.standard_accounts)
        environment.operation_names = dict(names)
        return {
            "standard_accounts": environment.standard_accounts,
            "operation_names": environment.operation_names,
            "version": environment.version,
            "receipt_for_returned": environment.invoices.receipt_for_returned,
            "pay_receipt": environment.pay.pay_receipt,
        }

    def reset(self) -> None:
        """Empty books but for the first companies; settings as at the start."""
        self._environment.clear()

    def books(self) -> dict[str, Any]:
        """What the ERP reported back: receipts of invoices, then of payments."""
        return {
            "receipts": [*self._environment.invoices.receipts, *self._environment.pay.receipts],
            "payment_dates": list(self._environment.invoices.payment_dates),
        }

    def expire_tokens(self) -> None:
        self._rest.expire_tokens()


def _of_register(environment: Environment, name: str) -> Callable[[], Iterator[Record]]:
    return lambda: environment.registers.records(name)


def _company(record: Record) -> Any:
    return record.get("Company", record.get("company"))


def _fault(fault: soap.Fault, version: str) -> web.Response:
    return _xml(soap.fault_xml(fault, version), version, fault.status)


def _xml(body: bytes, version: str, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type=soap.CONTENT_TYPES[version], charset="utf-8")
