"""A SOAP toolkit that knows nothing of us reads the sandbox's WSDL and calls every operation, through both ports."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
import zeep
import zeep.exceptions
from prime_box import PrimeBox

OPERATIONS = {
    "GetVersion", "AuthenticateUser", "ListEnvironments", "ListCompanies",
    "InsertAccount", "InsertObject", "InsertObjectType", "InsertVatCode", "InsertAssetType", "InsertAsset", "InsertCurrency",
    "InsertSupplier", "InsertPeriod", "InsertCompany",
    "ListEnvironmentData", "ListCompanyData", "ListCustomSettings", "InsertCustomSetting", "UpdateCustomSetting",
    "ListInvoicesReadyForFinalRecording", "ListInvoicesReadyForFinalRecordingERP",
    "ListInvoicesReadyForDeletion", "ListInvoicesReadyForDeletionERP",
    "SendInvoiceReply", "InsertInvoiceReceiptByUQ", "ListInvoicesMissingPaymentDate",
    "SetInvoicePaymentDate", "SetInvoicePaymentDateByUQ", "GetInvoiceImage", "InsertEventLog",
}  # fmt: skip
PORTS = {"WebServiceSoap": "http://schemas.xmlsoap.org/soap/envelope/", "WebServiceSoap12": "http://www.w3.org/2003/05/soap-envelope"}


class Caller:
    """Calls by name with the credentials in front, and notes what was called."""

    def __init__(self, client: zeep.Client) -> None:
        self._client = client
        self.called: set[str] = set()

    def __call__(self, operation: str, **arguments: Any) -> Any:
        self.called.add(operation)
        credentials = {} if operation == "GetVersion" else {"Environment": "DEMO", "UserID": "connect", "Password": "demo-password"}
        return getattr(self._client.service, operation)(**credentials | arguments)

    def done(self, operation: str, **arguments: Any) -> None:
        """An operation that answers with a ResultCode: 0."""
        result = self(operation, **arguments)
        assert (result.ResultCode, result.Message) == (0, "OK"), (operation, result)


def every_operation(url: str, port: str) -> None:
    call = Caller(zeep.Client(f"{url}?WSDL", port_name=port))
    offered = set(call._client.service._binding._operations)
    assert offered == OPERATIONS

    assert call("GetVersion") == "8.146.8.3086"
    assert call("AuthenticateUser") is True
    assert call("ListEnvironments") == ["DEMO"]
    assert call("ListCompanies") == ["100", "200"]
    assert call("ListEnvironmentData").Environment == "DEMO"
    assert call("ListCompanyData", Company="100").BaseCurrency == "USD"

    insert_registers(call)
    settings(call)
    invoices(call)
    call.done("InsertEventLog", EventLogItem={"EventType": "Information", "Source": "Connect", "Task": "GetSuppliers", "Message": "3 sent"})
    assert call.called == OPERATIONS


def insert_registers(call: Caller) -> None:
    frame = {"Company": "100", "KeyType": 1, "ExternalSource": "SageIntacct"}

    def insert(kind: str, **fields: Any) -> None:
        call.done(f"Insert{kind}", **{kind: fields, "TransferFromQueue": True})

    insert("Company", Company="200", Name="Second", Erp="sage-2", BaseCurrency="NOK", CalculateVATAmountOnCostRow=False)
    insert("ObjectType", ObjectTypeNo=1, Name="Department")
    insert("Account", **frame, Account="6000", Name="Rent & more <yes>", ValidTo="9999-12-31T00:00:00", UseObject1=2)
    insert("Object", **frame, ObjectTypeNo=1, Object="10", Name="Ærø", ValidTo="0001-01-01T00:00:00")
    insert("VatCode", **frame, VatCode="25", Name="25 %", Percentage="25.0", Account="6000")
    insert("AssetType", **frame, AssetType="VEH", Name="Vehicles", Account="6000")
    insert("Asset", Company="100", Asset="CAR", AssetType="VEH", Name="A car")
    insert("Currency", **frame, BaseCurrency="USD", Currency="DKK", FromAccountCodingDate="2026-01-02T00:00:00", BuyingRate="7.4538")
    insert(
        "Period",
        **frame,
        Year=2026,
        Period=1,
        Name="January",
        StartDate="2026-01-01T00:00:00",
        EndDate="2026-01-31T00:00:00",
        Closed=0,
    )
    banks = [{"BankAccount": "NO9386011117947", "Name": "NO9386011117947", "Default": 0}, {"BankAccount": "1"}]
    insert("Supplier", **frame, Supplier="S1", Name="Acme", CostAccount="6000", Blocked=2, SupplierBankAccount=banks)
    refused = call("InsertSupplier", Supplier={**frame, "Supplier": "S2", "CostAccount": "9999"}, TransferFromQueue=True)
    assert refused.ResultCode == 2
    assert "9999" in refused.Message


def settings(call: Caller) -> None:
    row = {"Type": "ConnectLookup", "Setting": "GeneralSettings", "Value": '{"IsFullImport": true}'}
    call.done("InsertCustomSetting", CustomSettingsItem=row)
    call.done("UpdateCustomSetting", CustomSettingsItem={**row, "Value": "{}"})
    found = call("ListCustomSettings", sCompany="", sType="ConnectLookup", sSetting="", sValue="", CompanyIsNull=True)
    assert [(item.Company, item.Setting, item.Value) for item in found] == [(None, "GeneralSettings", "{}")]


def invoices(call: Caller) -> None:
    """The box holds four invoices, numbers 1 and 2 for recording, 3 and 4 for deletion; 2 and 4 are of company 200, whose ERP is sage-2."""
    everything = {"UpdateQueueStatus": False, "Company": "", "NoOfRows": ""}
    listed = call("ListInvoicesReadyForFinalRecording", **everything)
    assert [(item.InvoiceNo, str(item.Amount), item.AccountCoding[0].Account) for item in listed] == [
        (1, "125.5", "6000"),
        (2, "10", "6000"),
    ]
    assert [item.InvoiceNo for item in call("ListInvoicesReadyForFinalRecordingERP", Erp="sage-2", **everything)] == [2]
    assert [item.InvoiceNo for item in call("ListInvoicesReadyForDeletion", **everything | {"NoOfRows": "1"})] == [3]
    assert [item.InvoiceNo for item in call("ListInvoicesReadyForDeletionERP", Erp="sage-2", **everything)] == [4]
    [image] = call("GetInvoiceImage", InvoiceSeries="1", InvoiceNo=1)
    assert (image.FileName, base64.b64decode(image.Image)) == ("scan.pdf", b"%PDF-1.7")

    receipt = {"InvoiceSeries": "1", "InvoiceNo": 1, "Status": 4, "QueueStatus": 1, "VoucherNo": 4711, "InvoiceExternalId": "99"}
    call.done("SendInvoiceReply", InvoiceReceipt=receipt, TransferFromQueue=True)
    unique = {"Company": "200", "Supplier": "S1", "SupplierInvoiceNo": "INV-2"}
    call.done("InsertInvoiceReceiptByUQ", InvoiceReceipt=receipt | {"InvoiceNo": 2, "VoucherNo": 4712}, **unique)
    assert not call("ListInvoicesReadyForFinalRecording", **everything)

    since = {"Company": "", "FromAccountCodingDate": "2026-01-01", "ERP": ""}
    assert [item.VoucherNo for item in call("ListInvoicesMissingPaymentDate", **since)] == [4711, 4712]
    paid = "2026-03-01T00:00:00"
    call.done(
        "SetInvoicePaymentDate", oInvoicePaymentDateItem={"InvoiceSeries": "1", "InvoiceNo": 1, "PaymentDate": paid, "Note": "PR000001"}
    )
    call.done("SetInvoicePaymentDateByUQ", **unique, PaymentDate=paid, Note="PR000002")
    assert not call("ListInvoicesMissingPaymentDate", **since)


@pytest.mark.parametrize("port", PORTS)
async def test_zeep_calls_every_operation_of_the_wsdl(port: str) -> None:
    async with PrimeBox() as box:
        box.load("Company", {"Company": "200", "Name": "Second", "Erp": "sage-2"})
        coding = {"AccountCodingDate": "2026-02-01", "Supplier": "S1"}
        for number, status, company, amount in ((1, 4, "100", "125.50"), (2, 4, "200", "10"), (3, 2, "100", "1"), (4, 2, "200", "1")):
            lines = [{"Account": "6000", "Amount": amount, "Note": "a <line>"}]
            box.load("Invoice", coding | {"InvoiceNo": number, "Status": status, "Company": company, "AccountCoding": lines})
        image = base64.b64encode(b"%PDF-1.7").decode()
        box.load("Image", {"InvoiceSeries": "1", "InvoiceNo": 1, "FileName": "scan.pdf", "FileType": "pdf", "Image": image})

        await asyncio.to_thread(every_operation, box.url, port)

        assert box.records("Account")[0]["Name"] == "Rent & more <yes>"
        assert box.records("Object")[0] == {
            "Company": "100",
            "ObjectTypeNo": 1,
            "Object": "10",
            "Name": "Ærø",
            "ValidTo": "0001-01-01",
            "KeyType": 1,
            "ExternalSource": "SageIntacct",
        }
        assert box.records("Currency")[0]["BuyingRate"] == "7.4538"
        assert [bank["BankAccount"] for bank in box.records("Supplier")[0]["SupplierBankAccount"]] == ["1", "NO9386011117947"]
        assert [receipt["VoucherNo"] for receipt in box.records("InvoiceReceipt", company=None)] == [4711, 4712]
        assert box.records("EventLog")[0]["Message"] == "3 sent"
        assert box.kernel.stats["prime"].ignored_elements == 0


@pytest.mark.parametrize("port", PORTS)
async def test_zeep_reads_a_fault_when_the_password_is_wrong(port: str) -> None:
    def attempt(url: str) -> None:
        client = zeep.Client(f"{url}?wsdl", port_name=port)
        wrong = {"Environment": "DEMO", "UserID": "connect", "Password": "no"}
        assert client.service.AuthenticateUser(**wrong) is False
        with pytest.raises(zeep.exceptions.Fault, match="Authentication failed") as caught:
            client.service.ListCompanies(**wrong)
        assert caught.value.code == ("soap:Client" if port == "WebServiceSoap" else "soap:Sender")

    async with PrimeBox() as box:
        await asyncio.to_thread(attempt, box.url)
