"""What each operation of the web service does, by the name it has in soap.OPERATIONS (prime.md 6.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connect.sandbox.kernel import SideStats
from connect.sandbox.prime.environment import BASE_CURRENCY, Environment
from connect.sandbox.prime.invoices import READY_FOR_DELETION, READY_FOR_FINAL_RECORDING
from connect.sandbox.prime.soap import CREDENTIALS, Call, Fault
from connect.sandbox.prime.tables import REGISTERS, Record, Refused, Table

DONE: Final = (0, "OK")
QUEUED: Final = (0, "Queued")
WEB_ADDRESS: Final = "https://prime.example.com/demo"
"""Where this environment's people would work; made up."""

Arguments = dict[str, Any]
Answer = Callable[[Arguments], Any]


class Answers:
    """The operations over one environment, for one user."""

    def __init__(self, environment: Environment, stats: SideStats, username: str, password: str) -> None:
        self._environment = environment
        self._stats = stats
        self._credentials = (environment.name, username, password)
        self._answers: dict[str, Answer] = {
            "GetVersion": lambda _: environment.version,
            "ListEnvironments": lambda _: [environment.name],
            "ListCompanies": lambda _: environment.registers.companies(),
            "ListEnvironmentData": lambda _: {"Environment": environment.name, "Url": WEB_ADDRESS, "SystemCurrency": BASE_CURRENCY},
            "ListCompanyData": lambda given: environment.company_data(given["Company"]),
            "ListCustomSettings": self._list_custom_settings,
            "InsertCustomSetting": lambda given: environment.custom_settings.insert(given["CustomSettingsItem"]),
            "UpdateCustomSetting": lambda given: environment.custom_settings.update(given["CustomSettingsItem"]),
            "ListInvoicesReadyForFinalRecording": self._ready(READY_FOR_FINAL_RECORDING),
            "ListInvoicesReadyForFinalRecordingERP": self._ready(READY_FOR_FINAL_RECORDING),
            "ListInvoicesReadyForDeletion": self._ready(READY_FOR_DELETION),
            "ListInvoicesReadyForDeletionERP": self._ready(READY_FOR_DELETION),
            "ListInvoicesMissingPaymentDate": self._missing_payment_date,
            "SendInvoiceReply": self._send_invoice_reply,
            "InsertInvoiceReceiptByUQ": self._insert_receipt_by_unique_key,
            "SetInvoicePaymentDate": lambda given: environment.invoices.set_payment_date(given["oInvoicePaymentDateItem"]),
            "SetInvoicePaymentDateByUQ": self._set_payment_date_by_unique_key,
            "GetInvoiceImage": lambda given: environment.invoices.images(given["InvoiceSeries"], given["InvoiceNo"]),
            "InsertEventLog": self._insert_event_log,
            **{f"Insert{name}": self._insert(table) for name, table in REGISTERS.items()},
        }

    def answer(self, call: Call) -> Any:
        """The operation's value, as soap.answer_xml takes it: None stands for (0, OK) where a ResultCode is expected. Raises Fault."""
        operation = call.operation
        given = tuple(call.arguments.pop(name) for name in CREDENTIALS) if operation.credentials else None
        let_in = given is None or given == self._credentials
        if operation.name == "AuthenticateUser":
            return let_in
        if operation.name == "ListEnvironments" and given is not None:  # whoever asks does not know yet which there are
            let_in = given[1:] == self._credentials[1:]
        if not let_in:
            raise Fault("Authentication failed: environment, user or password is wrong")
        if operation.result != "result":
            return self._answers[operation.name](call.arguments)
        if call.refused is not None:
            return call.refused.code, call.refused.message
        try:
            return self._answers[operation.name](call.arguments) or DONE
        except Refused as refusal:
            return refusal.code, refusal.message

    def _insert(self, table: Table) -> Answer:
        def insert(given: Arguments) -> tuple[int, str]:
            if not given["TransferFromQueue"]:
                self._environment.registers.enqueue(table, given[table.name])
                return QUEUED
            self._environment.registers.apply(table, given[table.name])
            self._stats.transactions += 1
            return DONE

        return insert

    def _list_custom_settings(self, given: Arguments) -> list[Record]:
        filters = (given[name] for name in ("sCompany", "sType", "sSetting", "sValue"))
        return self._environment.custom_settings.find(*filters, company_is_null=bool(given["CompanyIsNull"]))

    def _ready(self, status: int) -> Answer:
        def ready(given: Arguments) -> list[Record]:
            return self._environment.invoices.ready(
                status,
                company=given["Company"],
                companies=self._environment.companies_of(given.get("Erp")),
                limit=_rows(given["NoOfRows"]),
                mark_exported=given["UpdateQueueStatus"],
            )

        return ready

    def _missing_payment_date(self, given: Arguments) -> list[Record]:
        return self._environment.invoices.missing_payment_date(
            given["FromAccountCodingDate"], company=given["Company"], companies=self._environment.companies_of(given["ERP"])
        )

    def _send_invoice_reply(self, given: Arguments) -> tuple[int, str]:
        if not given["TransferFromQueue"]:
            self._environment.invoices.waiting_receipts.append(given["InvoiceReceipt"])
            return QUEUED
        self._environment.invoices.receipt(given["InvoiceReceipt"])
        return DONE

    def _insert_receipt_by_unique_key(self, given: Arguments) -> None:
        invoices = self._environment.invoices
        identity = invoices.by_unique_key(given["Company"], given["Supplier"], given["SupplierInvoiceNo"])
        invoices.receipt(given["InvoiceReceipt"] | identity)

    def _set_payment_date_by_unique_key(self, given: Arguments) -> None:
        self._environment.invoices.set_payment_date_by_unique_key(given)

    def _insert_event_log(self, given: Arguments) -> None:
        entry = {"Environment": self._environment.name} | given["EventLogItem"]
        self._environment.event_log.append({name: value for name, value in entry.items() if value is not None})


def _rows(text: str | None) -> int | None:
    """NoOfRows is a text; empty means no limit (prime.md 8)."""
    if text is None or not text.strip():
        return None
    if not text.strip().isdecimal():
        raise Fault(f"parameter NoOfRows is {text!r}, expected a whole number or nothing")
    return int(text)
