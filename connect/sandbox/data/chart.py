"""The books' frame: chart of accounts, taxes, terms, currencies and asset classes, as tables to read and change by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RETAINED_EARNINGS: Final = "3900"


@dataclass(frozen=True, slots=True)
class Account:
    """`required`: dimensions that a posting must carry. `tax`: id of a purchase tax detail."""

    number: str
    name: str
    income: bool
    credit: bool
    required: tuple[str, ...] = ()
    tax: str | None = None
    direct: bool = True
    active: bool = True


_FLAGS: Final = {
    "d": "department",
    "l": "location",
    "p": "project",
    "v": "vendor",
    "e": "employee",
    "c": "customer",
    "a": "asset",
    "i": "item",
}

# Parted by two blanks: number, name, and: C credit balance, N no direct posting, X inactive, letters of _FLAGS: dimensions that are
# required, =id: purchase tax detail.
_BALANCE_SHEET: Final = """
1000  Cash on hand
1010  Operating account - First Atlantic Bank  l
1011  Operating account - Barclays GBP  l
1012  Operating account - DNB NOK  l
1013  Operating account - Commerzbank EUR  l
1020  Payroll account  l
1030  Savings account - reserves  l
1031  Savings account - Midwest Savings  l
1040  Undeposited funds
1050  Petty cash "Oslo"  l
1090  Bank clearing  X
1100  Accounts receivable  N
1110  Allowance for doubtful accounts  C
1120  Notes receivable
1130  Employee advances  e
1140  Other receivables
1150  Unbilled receivables  p
1200  Inventory  i
1200.01  Inventory in transit  i
1210  Work in progress  p
1220  Raw materials & supplies  i
1290  Inventory reserve  C
1300  Prepaid insurance
1310  Prepaid rent  l
1320  Prepaid software & subscriptions  d
1330  Deposits paid
1390  Other prepaid expenses
1400  Input VAT - United Kingdom  N
1401  Input VAT - Germany (Vorsteuer 19 %)  N
1402  Input VAT - Germany (Vorsteuer 7 %)  N
1403  Input VAT - Norway (inngående mva)  N
1404  Input VAT - Sweden (ingående moms)  N
1405  Input VAT - France (TVA déductible)  N
1406  Input VAT - Denmark (købsmoms)  N
1410  Reverse charge VAT receivable  N
1420  Sales tax paid on purchases
1490  VAT settlement account  N
1500  Land
1510  Buildings  a
1520  Leasehold improvements  la
1530  Machinery & equipment  a
1540  Vehicles  a
1550  Furniture & fixtures  a
1560  Computer equipment  a
1570  Capitalised software  a
1580  Construction in progress  p
1600  Accumulated depreciation - buildings  CN
1610  Accumulated depreciation - leasehold improvements  CN
1620  Accumulated depreciation - machinery  CN
1630  Accumulated depreciation - vehicles  CN
1640  Accumulated depreciation - furniture  CN
1650  Accumulated depreciation - computers  CN
1660  Accumulated amortisation - software  CN
1700  Right-of-use assets
1710  Accumulated amortisation - right-of-use assets  CN
1800  Goodwill
1810  Trademarks & patents
1850  Long-term investments
1900  Inter-entity receivable - UK  N
1910  Inter-entity receivable - Norway  N
1990  Suspense, balance sheet  X
2000  Accounts payable  CN
2010  Accrued accounts payable  C
2020  Goods received, not invoiced  C
2030  Retainage payable  Cp
2050  Corporate card - Visa  C
2051  Corporate card - American Express  C
2100  Accrued payroll  C
2110  Payroll taxes payable  C
2120  Accrued holiday pay  C
2130  Pension contributions payable  C
2200  Sales tax payable  C
2210  Output VAT - United Kingdom  CN
2211  Output VAT - Germany  CN
2212  Output VAT - Norway (utgående mva)  CN
2213  Output VAT - Sweden (utgående moms)  CN
2214  Output VAT - France (TVA collectée)  CN
2215  Output VAT - Denmark (salgsmoms)  CN
2220  Reverse charge VAT payable  CN
2300  Customer deposits  Cc
2310  Deferred revenue  C
2320  Deferred revenue - long term  C
2400  Accrued interest  C
2410  Short-term loans  C
2420  Current portion of long-term debt  C
2500  Lease liabilities, current  C
2510  Lease liabilities, long term  C
2600  Long-term debt  C
2610  Deferred tax liability  C
2700  Provisions  C
2800  Inter-entity payable - UK  CN
2810  Inter-entity payable - Norway  CN
2900  Dividends payable  C
3000  Common stock  C
3100  Additional paid-in capital  C
3200  Treasury stock
3300  Currency translation adjustment  C
3900  Retained earnings  CN
"""
_INCOME_STATEMENT: Final = """
4000  Product revenue  Cdl
4010  Service revenue  Cdlp
4020  Subscription revenue  Cdl
4030  Rental income  Cl
4040  Freight revenue  C
4100  Sales returns & allowances  dl
4110  Sales discounts  dl
4900  Inter-entity revenue  CN
4990  Other revenue  C
5000  Cost of goods sold  dli
5010  Purchase price variance  dl
5020  Inventory adjustments  dli
5100  Subcontractors  dlpv =GB-P20
5110  Direct labour  dlp
5120  Direct materials  dlp =GB-P20
5130  Equipment rental for projects  dlp
5140  Freight in  dl =GB-P20
5150  Customs & duties  dl
5200  Hosting & infrastructure  d =DE-V19
5210  Third-party licences for resale  d
5300  Warranty costs  d
6000  Salaries & wages  dle
6010  Overtime  dle
6020  Bonuses & commissions  dle
6030  Payroll taxes  dl
6040  Health insurance  dl
6050  Pension costs  dl
6060  Recruiting  dl =GB-P20
6070  Training & conferences  dl =GB-P20
6080  Temporary staff  dlv =NO-K25
6090  Other personnel costs  dl
6100  Rent  l =GB-P20
6110  Service charges  l
6120  Electricity  l =NO-K25
6130  Heating, gas & water  l =GB-P5
6140  Cleaning  l =NO-K25
6150  Repairs & maintenance - buildings  la =DE-V19
6160  Security & alarm  l =SE-I25
6170  Waste disposal  l =SE-I25
6200  Office supplies  dl =GB-P20
6210  Postage & courier  dl
6220  Printing & stationery  dl =GB-P20
6230  Books & newspapers  d =DE-V7
6240  Coffee, fruit & water  dl
6300  Software subscriptions  d =DE-V19
6310  Computer accessories < $1,000  de =GB-P20
6320  Mobile phones  de =NO-K25
6330  Internet & telephony  l =GB-P20
6340  Data & market information  d
6400  Travel - air  de
6410  Travel - rail & taxi  de
6420  Travel - hotel  de =SE-I12
6430  Per diem  de
6440  Car allowance & mileage  e
6450  Vehicle leasing  l =FR-D20
6460  Fuel  l =NO-K25
6470  Vehicle repairs  la =SE-I25
6480  Parking & tolls  e
6500  Legal fees  dv =GB-P20
6510  Audit & accounting fees  v =GB-P20
6520  Consulting  dlpv =GB-P20
6530  Tax advisers  v
6540  Bank charges  l =GB-EX
6541  Card fees & chargebacks
6550  Collection costs
6600  Advertising - online  d =DE-V19
6610  Advertising - print "above the line"  d =DE-V19
6620  Trade fairs & events  d =DE-V19
6630  Sponsoring & donations  d
6640  Entertainment, deductible  de
6641  Entertainment, not deductible  de
6650  Gifts < 35 EUR  d
6700  Insurance - property  l =GB-EX
6710  Insurance - liability  =GB-EX
6720  Insurance - vehicles  l
6800  Business licences & permits  l
6810  Property tax  l
6820  Memberships & subscriptions  d
6850  Taxes & duties, other
6850.01  Taxes & duties - United States
6850.02  Taxes & duties - United Kingdom
6850.03  Taxes & duties - Norway
6850.04  Taxes & duties - Deutschland (Gebühren)
6890  Fines & penalties
6900  Bad debt expense  c
6910  Research & development  dp
6920  Royalties  d
6990  Miscellaneous expenses  d
6991  Miscellaneous expenses (old)  X
7000  Depreciation - buildings  ad
7010  Depreciation - leasehold improvements  a
7020  Depreciation - machinery  a
7030  Depreciation - vehicles  a
7040  Depreciation - furniture  a
7050  Depreciation - computers  a
7060  Amortisation - software  a
7070  Amortisation - right-of-use assets  N
7100  Gain on disposal of assets  C
7110  Loss on disposal of assets  a
7200  Allocated overhead - head office  N
7210  Allocated overhead - IT  N
7900  Inter-entity expense  N
8000  Interest income  C
8010  Interest expense
8020  Realised currency gains  C
8030  Realised currency losses
8040  Unrealised currency gains & losses  N
8050  Rounding differences
8100  Dividends received  C
8900  Other income  C
8990  Other expense
9000  Income tax, current  N
9010  Income tax, deferred  N
9100  Extraordinary items  X
9900  Statistical hours - do not post  NX
"""


def _read(text: str, *, income: bool) -> list[Account]:
    found = []
    for line in text.strip().splitlines():
        number, name, *more = line.split("  ")
        words = more[0].split() if more else []
        tax = next((word[1:] for word in words if word.startswith("=")), None)
        letters = "".join(word for word in words if not word.startswith("="))
        required = tuple(_FLAGS[letter] for letter in letters if letter in _FLAGS)
        found.append(Account(number, name, income, "C" in letters, required, tax, "N" not in letters, "X" not in letters))
    return found


ACCOUNTS: Final = (*_read(_BALANCE_SHEET, income=False), *_read(_INCOME_STATEMENT, income=True))
EXPENSES: Final = tuple(account.number for account in ACCOUNTS if "5" <= account.number[0] <= "6" and account.direct and account.active)


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax detail. `solution` is one of SOLUTIONS."""

    id: str
    description: str
    percent: float
    account: str
    rate: str
    solution: str
    purchase: bool
    reverse: bool = False
    active: bool = True


SOLUTIONS: Final = (
    ("United Kingdom - VAT", "VAT", "1400", "2210"),
    ("Deutschland - USt", "VAT", "1401", "2211"),
    ("Norge - MVA", "VAT", "1403", "2212"),
    ("Sverige - Moms", "VAT", "1404", "2213"),
    ("France - TVA", "VAT", "1405", "2214"),
    ("Danmark - Moms", "VAT", "1406", "2215"),
    ("US Sales Tax", "avalara", "1420", "2200"),
)
_GB, _DE, _NO, _SE, _FR, _DK, _US = (solution[0] for solution in SOLUTIONS)
TAXES: Final = (
    Tax("GB-P20", "UK Purchase Goods and Services Standard Rate", 20, "1400", "standard", _GB, True),
    Tax("GB-P5", "UK Purchase Goods and Services Reduced Rate", 5, "1400", "reduced", _GB, True),
    Tax("GB-P0", "UK Purchase Zero Rate", 0, "1400", "zero", _GB, True),
    Tax("GB-EX", "UK Purchase Exempt", 0, "1400", "exempt", _GB, True),
    Tax(
        "UK Import Services Standard Rate", "UK Import of Services, Reverse Charge", 20, "1410", "reverseChargeVAT", _GB, True, reverse=True
    ),
    Tax("GB-P17.5", "UK Purchase Standard Rate until 2010", 17.5, "1400", "standard", _GB, True, active=False),
    Tax("DE-V19", "Vorsteuer 19 %", 19, "1401", "standard", _DE, True),
    Tax("DE-V7", "Vorsteuer 7 %", 7, "1402", "reduced", _DE, True),
    Tax("DE-13B", "Leistungsempfänger als Steuerschuldner (§ 13b UStG)", 19, "1410", "reverseChargeVAT", _DE, True, reverse=True),
    Tax("DE-IG19", "Innergemeinschaftlicher Erwerb 19 %", 19, "1410", "reverseChargeVAT", _DE, True, reverse=True),
    Tax("NO-K25", "Inngående mva, høy sats", 25, "1403", "standard", _NO, True),
    Tax("NO-K15", "Inngående mva, middels sats (næringsmidler)", 15, "1403", "reduced", _NO, True),
    Tax("NO-K12", "Inngående mva, lav sats", 12, "1403", "reduced", _NO, True),
    Tax("SE-I25", "Ingående moms 25 %", 25, "1404", "standard", _SE, True),
    Tax("SE-I12", "Ingående moms 12 %", 12, "1404", "reduced", _SE, True),
    Tax("SE-I6", "Ingående moms 6 %", 6, "1404", "reduced", _SE, True),
    Tax("FR-D20", "TVA déductible, taux normal", 20, "1405", "standard", _FR, True),
    Tax("FR-D10", "TVA déductible, taux intermédiaire", 10, "1405", "reduced", _FR, True),
    Tax("FR-D5.5", "TVA déductible, taux réduit", 5.5, "1405", "reduced", _FR, True),
    Tax("DK-K25", "Købsmoms 25 %", 25, "1406", "standard", _DK, True),
    Tax("DK-REP", 'Købsmoms, "restaurationsydelser" & hotel (25 % af momsen)', 6.25, "1406", "reduced", _DK, True),
    Tax("US-EX", "Exempt purchases", 0, "1420", "exempt", _US, True),
    Tax("US-WA-10.25", "Use tax, Seattle WA", 10.25, "1420", "standard", _US, True),
    Tax("GB-S20", "UK Sale Goods and Services Standard Rate", 20, "2210", "standard", _GB, False),
    Tax("GB-S0", "UK Sale Zero Rate", 0, "2210", "zero", _GB, False),
    Tax("DE-U19", "Umsatzsteuer 19 %", 19, "2211", "standard", _DE, False),
    Tax("DE-U7", "Umsatzsteuer 7 %", 7, "2211", "reduced", _DE, False),
    Tax("DE-IGL", "Innergemeinschaftliche Lieferung, steuerfrei", 0, "2211", "intraCommunityDeliveryExemption", _DE, False),
    Tax("NO-S25", "Utgående mva, høy sats", 25, "2212", "standard", _NO, False),
    Tax("SE-U25", "Utgående moms 25 %", 25, "2213", "standard", _SE, False),
    Tax("FR-C20", "TVA collectée, taux normal", 20, "2214", "standard", _FR, False),
    Tax("DK-S25", "Salgsmoms 25 %", 25, "2215", "standard", _DK, False),
    Tax("US-WA-SEATTLE", "Sales tax, Seattle WA", 10.25, "2200", "standard", _US, False),
)

# id, days, from, discount days, discount percent. Those that do not count from the bill date are the awkward ones.
TERMS: Final = (
    ("Net 30", 30, "fromBillDate", None, None),
    ("Net 14", 14, "fromBillDate", None, None),
    ("Net 45", 45, "fromBillDate", None, None),
    ("Net 60", 60, "fromBillDate", None, None),
    ("Net 10", 10, "fromBillDate", None, None),
    ("Due on receipt", 0, "fromBillDate", None, None),
    ("2/10 Net 30", 30, "fromBillDate", 10, 2),
    ("1% 15, net 45", 45, "fromBillDate", 15, 1),
    ("30 dagar netto", 30, "fromBillDate", None, None),
    ("30 days EOM", 30, "afterEndOfMonthOfBillDate", None, None),
    ("15th next month", 15, "ofNextMonthFromBillDate", None, None),
    ("20th of month", 20, "ofTheMonthOfBillDate", None, None),
    ("45 jours fin de mois", 45, "fromBillDateExtendingToEom", None, None),
    ("10th 2nd month", 10, "of2ndMonthFromBillDate", None, None),
)

# code, name, symbol, about how much one US dollar buys
CURRENCIES: Final = (
    ("USD", "US Dollar", "$", 1.0),
    ("EUR", "Euro", "€", 0.9),
    ("GBP", "Pound Sterling", "£", 0.78),
    ("NOK", "Norwegian Krone", "kr", 10.4),
    ("SEK", "Swedish Krona", "kr", 10.2),
    ("DKK", "Danish Krone", "kr", 6.7),
    ("CHF", "Swiss Franc", "CHF", 0.88),
    ("JPY", "Japanese Yen", "¥", 148.0),
    ("SAR", "Saudi Riyal", "ر.س", 3.75),
    ("CAD", "Canadian Dollar", "$", 1.36),
    ("PLN", "Polish Zloty", "zł", 3.9),
    ("AUD", "Australian Dollar", "$", 1.52),
    ("INR", "Indian Rupee", "₹", 84.0),
)
BASE_CURRENCY: Final = "USD"

# id, name, asset account, accumulated depreciation, depreciation expense
ASSET_CLASSES: Final = (
    ("BLDG", "Buildings", "1510", "1600", "7000"),
    ("LEASE", "Leasehold improvements", "1520", "1610", "7010"),
    ("MACH", "Machinery & equipment", "1530", "1620", "7020"),
    ("VEH", "Vehicles", "1540", "1630", "7030"),
    ("FURN", 'Furniture, "fixtures" & fittings', "1550", "1640", "7040"),
    ("IT", "Computers < 5 years", "1560", "1650", "7050"),
    ("SOFT", "Software", "1570", "1660", "7060"),
    ("CIP", "Construction in progress", "1580", None, None),
    ("OLD", "Machinery (before 2015)", "1530", "1620", "7020"),
    ("LAND", "Land", None, None, None),
)
