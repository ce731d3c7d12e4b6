"""Names that a configuration may use: jobs, dimensions, payment methods.

Source: the guide's tables, as prime.md sections 4 and 5 read them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

REGISTER_JOBS: Final = (
    "GetDimObjects",
    "GetAccounts",
    "GetVatCodes",
    "GetAssetTypes",
    "GetAssets",
    "GetCurrencies",
    "GetSuppliers",
    "GetPeriods",
)
DOCUMENT_JOBS: Final = ("GetPaymentDates", "ExportInvoices", "CancelInvoices", "ExportPayments")
JOBS: Final = REGISTER_JOBS + DOCUMENT_JOBS

# The 14 standard names of Sage's dimensions/list; DEPARTMENT and LOCATION are mandatory in the guide.
DIMENSIONS: Final = (
    "DEPARTMENT",
    "LOCATION",
    "PROJECT",
    "CUSTOMER",
    "VENDOR",
    "EMPLOYEE",
    "ITEM",
    "CLASS",
    "CONTRACT",
    "TASK",
    "WAREHOUSE",
    "COSTTYPE",
    "AFFILIATEENTITY",
    "FIXEDASSET",
)
MANDATORY_DIMENSIONS: Final = ("DEPARTMENT", "LOCATION")
OBJECT_TYPES: Final = 8  # Prime holds object types 1..8

PAYMENT_METHODS: Final = ("Printed Check", "Cash", "EFT", "Credit Card", "ACH")
PAY_METHODS: Final = ("Other", "ACH", "Check", "VirtualCard")  # Rillion Pay's side of PaymentMethodMapping

OWNERS: Final = ("clerk", "operator", "consultant", "Sage administrator", "Sage", "Rillion")  # whose turn it is: the catalogue's


def nearest(wrong: str, right: Iterable[str]) -> str:
    """`; did you mean "x"?` for the name closest to a wrong one, "" when none is close."""
    by_fold = {name.casefold(): name for name in right}
    close = difflib.get_close_matches(wrong.casefold(), list(by_fold), n=1, cutoff=0.6)
    return f'; did you mean "{by_fold[close[0]]}"?' if close else ""
