"""What every Sage object looks like: one entry per object, read by schema.py.

An entry: the object's name, how its id comes about (`id!` chosen by the client, `id` chosen or made, `id=key`), then its fields, indented:

    name            text                      due{days:i from}   a group
    name:i          i integer, n number, m money, p decimal text, b boolean, d date, t date-time, a list kept as given, x text or number
    name%enum       one of ENUMS              name:b/false       a default
    name>app/obj    a reference (without object: outside the sandbox, kept as given); `+` shows the name too, `#` shows the key as id
    ref{a b=c}      further fields shown through a reference: a, and the other record's c as b; `*` a contact's
    name[obj.ref]   an owned list: rows of `obj` that point here by `ref`
    !               required on create        ~ read-only        ^ write-only
    @audit @audit-date @dimensions            the groups of that name

Source: sage-openapi (definitions of September 2026, and the fields its examples show), sage-rest.md f.
"""

from __future__ import annotations

from typing import Final

ENUMS: Final[dict[str, tuple[str, ...]]] = {
    "account-type": ("balanceSheet", "incomeStatement"),
    "account-classification": ("ppd", "ccd"),
    "ach-account-type": ("checkingAccount", "savingsAccount"),
    "ach-remittance-type": ("businessCTX", "personalPPD", "businessCCD"),
    "amount-to-tax": ("fullAmount", "amountWithinRange"),
    "asset-creation-mode": (
        "createFixedAsset", "createMultipleFixedAssets", "doNotCreateAsset", "createCIPAsset", "addToExistingCIPAsset",
    ),
    "bill-state": (
        "reversed", "reversal", "analyzing", "partiallyApproved", "submitted", "declined", "noValue", "posted", "paid",
        "partiallyPaid", "selected", "draft",
    ),
    "billing-type": ("openItem", "balanceForward"),
    "boolean-text": ("true", "false"),
    "cleared": ("cleared", "uncleared", "matched"),
    "closing-type": ("nonClosingAccount", "closingAccount", "closedToAccount"),
    "dimension-status": ("active", "activeNonPosting", "inactive"),
    "due-from": (
        "fromBillDate", "ofTheMonthOfBillDate", "ofNextMonthFromBillDate", "of2ndMonthFromBillDate", "of3rdMonthFromBillDate",
        "of4thMonthFromBillDate", "of5thMonthFromBillDate", "of6thMonthFromBillDate", "afterEndOfMonthOfBillDate",
        "fromBillDateExtendingToEom",
    ),
    "file-payment-service": ("ach", "bankFile", "none"),
    "normal-balance": ("debit", "credit"),
    "payment-action": ("draft", "submit"),
    "payment-file-type": ("ach", "bankFile", "none"),
    "payment-priority": ("urgent", "high", "normal", "low"),
    "payment-request-method": (
        "useVendorPreference", "generateOneRequestPerBill", "mergeRequestsIntoOnePerVendor",
        "mergeRequestIntoOnePerVendorPayToContact",
    ),
    "payment-state": (
        "partiallyApproved", "submitted", "voided", "confirmed", "approved", "draft", "declined", "delivered", "printVoided",
        "quickDelivery", "reversed",
    ),
    "preferred-payment-method": (
        "printedCheck", "chargeCard", "EFT", "cash", "ACH", "wellsFargoCheck", "wellsFargoUSDWire", "wellsFargoDomesticACH",
    ),
    "status": ("active", "inactive"),
    "sub-total": ("subtotal", "tax"),
    "tax-rate": (
        "standard", "reduced", "exempt", "zero", "federal", "provincial", "reverseChargeVAT", "intraCommunityDeliveryExemption",
        "exportOutsideEUExemption", "outsideVATScope",
    ),
    "vendor-payment-priority": ("urgent", "high", "normal", "low"),
    "vendor-restriction": ("unrestricted", "rootOnly", "restricted"),
    "vendor-state": ("s", "a", "r"),
}  # fmt: skip

GROUPS: Final[dict[str, str]] = {
    "@audit": """audit{createdDateTime:t~ modifiedDateTime:t~ createdBy~/1 modifiedBy~/1
        createdByUser>company-config/user~/1 modifiedByUser>company-config/user~/1}""",
    "@audit-date": "audit{createdDate:d~ modifiedDate:d~ createdBy~/Admin modifiedBy~/Admin}",
    "@dimensions": """location>company-config/location+ department>company-config/department+ employee>company-config/employee+
        project>projects/project+ customer>accounts-receivable/customer+ vendor>accounts-payable/vendor+
        item>inventory-control/item+ warehouse>inventory-control/warehouse+ class>company-config/class+ task>projects/task+
        costType>construction/cost-type+ asset>fixed-assets/asset+ contract>contracts/contract+
        affiliateEntity>company-config/affiliate-entity+""",
}

# What a contact shows through a reference to it (all of it deprecated there; sage-rest.md f).
CONTACT: Final = (
    "lastName", "firstName", "middleName", "prefix", "printAs", "email1", "email2", "phone1", "phone2", "mobile", "pager", "fax",
    "URL1", "URL2", "companyName", "mailingAddress.addressLine1", "mailingAddress.addressLine2", "mailingAddress.addressLine3",
    "mailingAddress.city", "mailingAddress.state", "mailingAddress.postCode", "mailingAddress.country",
    "mailingAddress.isoCountryCode", "tax.isTaxable", "tax.taxId", "hideContactList", "showInContactList",
)  # fmt: skip

USER_DEFINED: Final = "id!\n    name description status%dimension-status/active parent> @audit"

DIMENSIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("DEPARTMENT", "Department", "company-config/department"),
    ("LOCATION", "Location", "company-config/location"),
    ("PROJECT", "Project", "projects/project"),
    ("CUSTOMER", "Customer", "accounts-receivable/customer"),
    ("VENDOR", "Vendor", "accounts-payable/vendor"),
    ("EMPLOYEE", "Employee", "company-config/employee"),
    ("ITEM", "Item", "inventory-control/item"),
    ("CLASS", "Class", "company-config/class"),
    ("CONTRACT", "Contract", "contracts/contract"),
    ("TASK", "Task", "projects/task"),
    ("WAREHOUSE", "Warehouse", "inventory-control/warehouse"),
    ("COSTTYPE", "Cost type", "construction/cost-type"),
    ("AFFILIATEENTITY", "Affiliate entity", "company-config/affiliate-entity"),
    ("FIXEDASSET", "Asset", "fixed-assets/asset"),
)

OBJECTS: Final = """
accounts-payable/bill id=key
    billNumber! vendor>accounts-payable/vendor+{form1099.type form1099.box vendorDue=totalDue}! referenceNumber description
    createdDate:d! postingDate:d discountCutOffDate:d dueDate:d! recommendedPaymentDate:d
    paymentPriority%payment-priority/normal isOnHold:b/false currency{baseCurrency txnCurrency! exchangeRate{date:d typeId
    rate:n}} contacts{payTo>company-config/contact{tax.taxId} returnTo>company-config/contact}
    attachment>company-config/attachment isTaxInclusive:b/false lines[accounts-payable/bill-line.bill]! recordType~/pi
    moduleName~/accountsPayable state%bill-state purchasingDocument>~ term>accounts-payable/term
    paymentInformation{fullyPaidDate:d~ totalBaseAmountSelectedForPayment:m~ totalBaseAmountPaid:m~
    totalTxnAmountSelectedForPayment:m~ totalTxnAmountPaid:m~} totalBaseAmount:m~ totalBaseAmountDue:m~ totalTxnAmount:m~
    totalTxnAmountDue:m~ billSummary>+~ recurringSchedule>~ isSystemGenerated:b~/false dueInDays~ taxSolution>tax/tax-solution
    retainage{defaultPercentage totalTxnAmountRetained:m~ totalTxnAmountReleased:m~ totalBaseAmountRetained:m~}
    customerRefund>~ documentSource~ importStatus~ importErrorMessage~ recipientEmail senderEmail
    sourceModule~/accountsPayable webURL invoiceType invoiceMode eInvoiceStatus dispute{reason notes} refuse{reason notes}
    @audit
accounts-payable/bill-line id=key
    bill>accounts-payable/bill! txnAmount:m! totalTxnAmount:m glAccount>general-ledger/account+!
    overrideOffsetGLAccount>general-ledger/account+ accountLabel> dimensions{@dimensions loanAccount> workOrder>}
    hasForm1099%boolean-text releaseToPay:b project{isBillable:b isBilled:b} form1099{type box} fixedAsset{nameOfAcquiredAsset
    includeTaxInAssetCost:b assetCreationMode%asset-creation-mode/doNotCreateAsset assetQuantity:n} memo createdDate:d~
    baseAmount:m~ baseLocation>company-config/location+~ currency{exchangeRate{date:d typeId rate:n} txnCurrency baseCurrency}
    allocation>+ lineNumber~ taxEntries[accounts-payable/bill-tax-entry.billLine] vendor>accounts-payable/vendor+
    amortizationTemplate> amortizationStartDate:d amortizationEndDate:d paymentInformation{totalBaseAmountPaid:m~
    totalTxnAmountPaid:m~ totalBaseAmountSelectedForPayment:m~ totalTxnAmountSelectedForPayment:m~} retainage{percentage
    txnAmountRetained:m baseAmountRetained:m hasRetainage:b~ txnAmountReleased:m release} isSubTotal%sub-total~
    purchasing{document> documentLine>} @audit
accounts-payable/bill-tax-entry id=key read-only
    baseTaxAmount:m txnTaxAmount:m taxRate:n purchasingTaxDetail>tax/purchasing-tax-detail billLine>accounts-payable/bill-line
accounts-payable/payment id=key
    financialEntity{entityId! id currency~ txnAmount:m~ baseAmount:m~ baseCurrency~} paymentDate:d^! description
    documentNumber documentId paymentRequestMethod%payment-request-method/useVendorPreference baseCurrency{currency
    amountToPay:m totalAmount:m~ totalSelected:m~ totalPaid:m~ totalDue:m~} txnCurrency{currency! amountToPay:m totalAmount:m~
    totalSelected:m~ totalPaid:m~ totalDue:m~} paymentMethod! vendor>accounts-payable/vendor+!
    details[accounts-payable/payment-detail.apPayment]! paymentSummary>+~ recordType~/apPayment action%payment-action^
    state%payment-state webURL txnDate:d~ txnPaidDate:d~ exchangeRate{date typeId rate} payTo>company-config/contact
    cleared%cleared~/uncleared clearedDate:d~ isInclusiveTax:b taxSolution>tax/tax-solution paymentSubmitter~
    paymentFileType%payment-file-type~/none bankFile> jointPayee> lines[accounts-payable/payment-line.apPayment] @audit
accounts-payable/payment-detail id=key read-only
    bill>accounts-payable/bill! billLine>accounts-payable/bill-line apCreditAdjustment> apCreditAdjustmentLine>
    apPayment>accounts-payable/payment apPaymentLine>accounts-payable/payment-line paymentDate:d~
    baseCurrency{paymentAmount:m~ inlineAmount:m discountAmount:m adjustmentAmount:m postedAdvanceAmount:m}
    txnCurrency{paymentAmount:m! inlineAmount:m discountAmount:m adjustmentAmount:m postedAdvanceAmount:m currency}
    inlineBill> inlineBillLine> discountDate:d apDebitAdjustment> apDebitAdjustmentLine> apAdvance> apAdvanceLine>
    apPostedAdvance> apPostedAdvanceLine> state%payment-state~ moduleKey jointPayee> @audit
accounts-payable/payment-line id=key read-only
    apPayment>accounts-payable/payment glAccount>general-ledger/account+ baseCurrency{amount:m currency totalPaid:m
    totalSelected:m} txnCurrency{amount currency totalPaid:m totalSelected:m} dimensions{@dimensions} description
    exchangeRate{date:d typeId rate} lineNumber paymentLineRecord baseLocation bank{amount txnAmount:m txnCurrency
    baseCurrency bankExchangeRate{date:d rate:n typeId}} taxDetail>tax/purchasing-tax-detail isTax:b @audit
accounts-payable/term id!
    description! status%status/active due{days:i from%due-from} discount{days:i from%due-from amount:n unit graceDays:i
    calculateOn} penalty{cycle amount:n unit graceDays:i} @audit
accounts-payable/vendor id!
    name! creditLimit:n isOnHold:b/false doNotPay:b/false billingType%billing-type paymentPriority%vendor-payment-priority
    billPayment{defaultDateOptions} form1099{is1099Eligible:b nameOn1099 type box} parent>accounts-payable/vendor+
    contacts{default>company-config/contact* primary>company-config/contact payTo>company-config/contact
    returnTo>company-config/contact recipient1099>company-config/contact} term>accounts-payable/term vendorAccountNumber taxId
    vendorType> accountGroup> priceSchedule> discountPercent:n priceList> notes
    defaultExpenseGLAccount>general-ledger/account+ status%dimension-status/active isOneTimeUse:b/false
    ach{enablePayments:b/false routingNumber accountNumber accountType%ach-account-type remittanceType%ach-remittance-type}
    displayTermDiscountOnCheckStub:b displayVendorAccountOnCheckStub:b sendPaymentNotification:b
    preferredPaymentMethod%preferred-payment-method mergePaymentRequests:b/true
    overrideOffsetGLAccount>general-ledger/account+ attachment>company-config/attachment contactList:a
    vendorAccountNumberList:a filePaymentService%file-payment-service/none vendorRestriction%vendor-restriction
    restrictedLocations:a restrictedDepartments:a vendorEmailTemplates:a state%vendor-state/a alwaysCreateBill:b currency
    restriction{restrictionType} webURL totalDue:m~ accountLabel> defaultLeadTime:n retainagePercentage:n isIndividualPerson:b
    lastBillCreatedDate:d~ lastPaymentMadeDate:d~ tpar{isTparEnabled:b name} t5018{isT5018Enabled:b t5018Number}
    vendorPaymentProviders:a bankFiles{paymentCountryCode paymentCurrency}
    vendorBankFileSetup[accounts-payable/vendor-bank-file-setup.vendor] restrictions{restrictionType} @audit
accounts-payable/vendor-account-number id=key
    location>company-config/location+! vendor>accounts-payable/vendor#! vendorAccountNumber!
accounts-payable/vendor-bank-file-setup id=key read-only
    vendor>accounts-payable/vendor bsbNumber paymentReference sortCode branchCode bankAccountType bankAccountCode
    proofOfPayment:b bankAccountNumber bankAccountName businessIdCode creditorCode secondaryIdentifier
    accountClassification%account-classification
accounts-receivable/customer id!
    name! taxId creditLimit:n status%dimension-status/active parent>accounts-receivable/customer+
    contacts{default>company-config/contact* primary>company-config/contact shipTo>company-config/contact
    billTo>company-config/contact} term> salesRepresentative>company-config/employee+ customerResaleNumber totalDue:m~ notes
    accountLabel> defaultRevenueGLAccount>general-ledger/account+ lastInvoiceCreatedDate:d lastStatementGeneratedDate:d
    deliveryOptions territory>+ shippingMethod> customerType> accountGroup> priceSchedule> discountPercent priceList> currency
    isOneTimeUse:b customerMessage> isOnHold:b/false overridePriceList enableOnlineCardPayment:b enableOnlineACHPayment:b
    customerRestriction overrideOffsetGLAccount>general-ledger/account+ emailOptIn:b customerAccountHealth{healthScore:n
    healthStatus churnRisk:b} webURL contactList:a customerEmailTemplates:a restrictedDepartments:a restrictedLocations:a
    restrictions{restrictionType locations:a departments:a} @audit
cash-management/checking-account id!
    bankAccountDetails{accountNumber bankName routingNumber branchId:x phoneNumber bankAddress{addressLine1 addressLine2
    addressLine3 city country postCode state} currency accountHolderName} accounting{glAccount>general-ledger/account+
    apJournal> arJournal> bankingTimeZone serviceChargeAccountLabel> interestAccountLabel> disableInterEntityTransfer:b
    serviceChargeGLAccount>general-ledger/account interestGLAccount>general-ledger/account}
    checkPrinting{addressSettings{addressToPrint printAddress:b printLogo:b address{addressLine1 addressLine2 addressLine3
    city country countryCode postCode state phone} name} micrSettings{regionalSettings{positionOfOnUsSymbol printCode45:b
    printOnUsSymbol:b printUSFundsUnderCheckAmount:b} accountNumberAlignment accountNumberPositioning:n minCheckNumberLength}
    printSettings{additionalText paperFormat printLineItems:b printLocation printingFormat nextCheckNumber
    numberOfChecksInPreview printOn} signatures{firstSignature limitForFirstSignatureAmount limitForSecondSignatureAmount
    secondSignature thresholdForSecondSignatureAmount} disablePrinting:b} reconciliation{matchSequence>
    useMatchSequenceForAutoMatch:b useMatchSequenceForManualMatch:b lastReconciledBalance lastReconciledDate:d cutOffDate:d
    inProgressBalance inProgressDate:d} ach{bankId companyName companyIdentification originatingFinancialInstitution
    companyEntryDescription companyDiscretionaryData serviceClassCode batchId traceNumberSequence paymentNumberSequence
    useTraceNumber enableACH:b useRecommendedSetup:b recordTypeCode originatorStatusCode} ruleSet>+
    restrictions{restrictionType locations:a} location>company-config/location department>company-config/department
    status%status/active bankingCloudConnection{status bankName name lastBankTxnDateTime lastRefreshedDateTime refreshStatus
    supportMultiAccountLinking} bankFile{enableBankFile:b bankFileFormat bankCode apcaNumber sunNumber bsbNumber sortCode
    seedValue userReference clientCode serviceType originatorId businessIdCode processingDataCenterCode debtorBankNumber
    returnAccountNumber branchTransitNumber messageIdPrefix immediateDestinationId immediateOriginId immediateDestinationName
    immediateOriginName companyName paymentNumberSequence fileIdSequence companyEntryDescription postalAddress{addressLine1
    addressLine2 postCode county countryCode country}} financialInstitution> paymentProviderBankAccounts:a @audit
cash-management/credit-card-account id!
    accountDetails{description cardType expirationMonth expirationYear billingAddress{addressLine1 addressLine2 addressLine3
    city country countryCode postCode state} accountType currency debitCardCheckingAccount>} status%status/active
    accounting{offsetGLAccount>general-ledger/account otherFeesGLAccount>general-ledger/account defaultAccrualBasisGLJournal>
    disableInterEntityTransfer:b defaultCashBasisGLJournal> bankingTimeZone otherFeesAPAccountLabel>
    financeChargeGLAccount>general-ledger/account financeChargeAPAccountLabel> useInEmployeeExpense:b
    employeeExpenseGLAccount>general-ledger/account employeeExpenseAccountLabel>} vendor>accounts-payable/vendor
    department>company-config/department location>company-config/location reconciliation{matchSequence>
    useMatchSequenceForAutoMatch:b useMatchSequenceForManualMatch:b lastReconciledDate:d lastReconciledBalance
    inProgressDate:d inProgressBalance cutOffDate:d} ruleSet> bankingCloudConnection{status bankName name lastBankTxnDateTime
    lastRefreshedDateTime refreshStatus supportMultiAccountLinking} financialInstitution> @audit
cash-management/savings-account id!
    bankAccountDetails{accountNumber bankName routingNumber branchId phoneNumber bankAddress{addressLine1 addressLine2
    addressLine3 city country postCode state} currency} accounting{glAccount>general-ledger/account apJournal> arJournal>
    bankingTimeZone serviceChargeGLAccount>general-ledger/account interestGLAccount>general-ledger/account
    disableInterEntityTransfer:b serviceChargeAccountLabel> interestAccountLabel>} reconciliation{matchingSequenceNumber>
    useSequenceNumberForAutoMatch:b useMatchSequenceForManualMatch:b lastReconciledBalance lastReconciledDate:d cutOffDate:d
    inProgressBalance inProgressDate:d} department>company-config/department location>company-config/location
    status%status/active ruleSet> bankingCloudConnection{status bankName name lastBankTxnDateTime lastRefreshedDateTime
    supportMultiAccountLinking} financialInstitution> restrictions{restrictionType locations:a} @audit
company-config/affiliate-entity id! read-only
    name status%dimension-status/active @audit
company-config/attachment id!
    name! folder>company-config/folder! files[company-config/attachment-file.attachment] description @audit-date
company-config/attachment-file id=key read-only
    attachment>company-config/attachment name! data! size:i~
company-config/class id!
    name! description status%dimension-status/active parent>company-config/class+ @audit
company-config/contact id!
    prefix firstName lastName middleName printAs companyName phone1 mobile fax email1 URL1 mailingAddress{addressLine1 city
    state postCode isoCountryCode addressLine2 addressLine3 country} tax{isTaxable:b taxId group>tax/contact-tax-group
    solution>tax/tax-solution} status%status/active phone2 pager email2 URL2 showInContactList:b/true hideContactList:b
    internationalTaxId electronicInvoiceDetails{legalCategory mainActivity registeredCapital typeOfCompany
    valueAddedTaxRegime} priceSchedule> discount priceList>
company-config/department id!
    name! reportTitle status%dimension-status/active supervisor>company-config/employee+ parent>company-config/department+
    @audit
company-config/employee id!
    SSN jobTitle startDate:d birthDate:d name defaultCurrency manager>company-config/employee+
    location>company-config/location+ department>company-config/department+ earningType> postActualCostWithVariance:b
    employeeType> primaryContact>company-config/contact* attachmentFolder>company-config/folder preferredPaymentMethod
    endDate:d status%dimension-status/active gender terminationType form1099{name type box} class>company-config/class+
    defaultCustomer>accounts-receivable/customer+ defaultItem>inventory-control/item+ defaultVendor>accounts-payable/vendor+
    defaultTimeAllocation> defaultExpenseDistribution> bankFile{paymentCountryCode paymentCurrency} filePaymentService
    ach{enabled:b bankRoutingNumber accountNumber accountType remittanceType} sendAutomaticPaymentNotification:b
    isPlaceholderResource:b mergePaymentRequests:b employeePosition> webURL employeeRates:a positionSkills> bankFileSetup:a
    @audit
company-config/entity id!
    name! defaultCountryForAddresses operatingCountry reportPrintAs weekStart contacts{primary>company-config/contact*
    shipTo>company-config/contact* legalCategory mainActivity typeOfCompany registeredCapital:n valueAddedTaxRegime}
    manager>company-config/employee+ texts{message marketing footnote customTitle reportPrintAs} isRoot:b businessDays:a
    weekendDays:a taxId startDate:d openBooksStartDate:d isLimitedEntity:b branding{logo} endDate:d status%status/active
    federalId firstFiscalMonth baseCurrency>company-config/txn-currency
    interEntityPayableGLAccount>general-ledger/account{accountNumber=id}
    interEntityReceivableGLAccount>general-ledger/account{accountNumber=id} vendor>accounts-payable/vendor+
    customer>accounts-receivable/customer+ enableInterEntityRelationships:b customTitle firstTaxMonth siret
    legalContact{enableOnTaxForms:b name! address{address1 address2 address3 city state zipCode country countryCode}
    tpar{contact{name phone fax email} branchNumber} enableOnTPAR:b} taxSolution>tax/tax-solution isPartialExempt:b
    isDefaultPartialExempt:b unrecoverableTaxAccount>general-ledger/account accountingType statutoryReportingPeriodDate:d
    @audit
company-config/exchange-rate id=key
    exchangeRateType>company-config/exchange-rate-type+ fromCurrency! toCurrency!
    lines[company-config/exchange-rate-line.exchangeRate] @audit
company-config/exchange-rate-line id=key
    exchangeRate>company-config/exchange-rate! effectiveStartDate:d! rate:n! reciprocalRate:n @audit
company-config/exchange-rate-type id=key
    name! isDefault:b/false @audit
company-config/folder id!
    description status%status/active parent>company-config/folder hasSubfolders:b hasAttachments:b @audit-date
company-config/location id!
    name! description status%dimension-status/active parent>company-config/location+
    manager>company-config/employee+ contacts{primary>company-config/contact* shipTo>company-config/contact*} startDate:d
    endDate:d reportTitle printAs baseCurrency~ taxId businessId @audit
company-config/txn-currency id!
    currencyFormat currencyType name symbol unit subUnit decimalSeparator thousandSeparator alignment isoCode @audit
company-config/user id!
    userName userType accountEmail adminPrivileges contact>company-config/contact* customPermissionAssignments:a
    agentPermissionAssignments:a webServices{isEnabled:b isRestricted:b} status%status/active
    entityAccess{allowUnrestrictedAccess:b allowTopLevelAccess:b} password{neverExpires:b requiresReset:b disablePassword:b}
    isChatterDisabled:b hideOtherDepartmentTransactions:b locations:a departments:a territories:a roles:a
    permissionAssignments:a sso{isSSOEnabled:b federatedSSOId} trustedDevices @audit
construction/cost-type id
    project>projects/project+! task>projects/task+! name description accumulationType>+ costUnitDescription
    glAccount>general-ledger/account item>inventory-control/item+ planned{startDate:d endDate:d} root>construction/cost-type+
    standardCostType>+ taxSchedule>tax/purchasing-tax-schedule overridePurchasingTaxSchedule:b observedPercentCompleted:a
    status%dimension-status/active parent>construction/cost-type+ actual{startDate:d endDate:d} taxSolution>tax/tax-solution
    @audit
contracts/contract id
    startDate:d endDate:d name dimensions{@dimensions} currency{baseCurrency txnCurrency exchangeRateType} paymentTerm> webURL
    renewalTemplate>+ parent>contracts/contract description state cancellationDate:d
    contacts{billTo>company-config/contact{email1 email2} shipTo>company-config/contact{email1 email2}
    additionalContact>company-config/contact{email1 email2}} billingFrequency billingPriceList> meaPriceList> holdBilling:b
    holdRevenue:b holdExpense:b billInAdvanceLength billInAdvancePeriod attachment>company-config/attachment
    status%status/active contractType>+ deferEstimatedTimeBasedRevenueBy postMemo contractTotalAmount:m billedAmount:m
    location>company-config/location @audit
fixed-assets/asset id!
    name! serialNumber assetTag state inServiceDate:d status%dimension-status/active assetCost:p salvageValue:p
    acquisitionDate:d isDepreciable:b description dimensions{@dimensions} classification>fixed-assets/asset-classification+
    allocation> depreciationRules:a accumulatedDepreciationGLAccount>general-ledger/account+
    depreciationExpenseGLAccount>general-ledger/account+ assetGLAccount>general-ledger/account+
    provisionDerogatoryGLAccount>general-ledger/account+ accumulatedProvisionDerogatoryGLAccount>general-ledger/account+
    reversalDerogatoryGLAccount>general-ledger/account+ splitParent>fixed-assets/asset+ splitAssets:a
    capitalizationDate:d quantity:n depreciableCost:p type @audit
fixed-assets/asset-classification id!
    name! status%status/active assetGLAccount>general-ledger/account{title=name}
    accumulatedDepreciationGLAccount>general-ledger/account{title=name}
    depreciationExpenseGLAccount>general-ledger/account{title=name} disposalGLAccount>general-ledger/account{title=name}
    cipGLAccount>general-ledger/account{title=name} provisionDerogatoryGLAccount>general-ledger/account+
    accumulatedProvisionDerogatoryGLAccount>general-ledger/account+ reversalDerogatoryGLAccount>general-ledger/account+
    depreciationRules:a
general-ledger/account id!
    name! accountType%account-type/balanceSheet closingType%closing-type/nonClosingAccount normalBalance%normal-balance/debit
    alternativeGLAccount isGermanTaxAccount:b status%status/active requireDimensions{department:b location:b project:b
    customer:b vendor:b task:b costType:b asset:b affiliateEntity:b employee:b item:b class:b contract:b warehouse:b}
    isTaxable:b/false disallowDirectPosting:b/false closeToGLAccount>general-ledger/account category taxCode mrcCode
    automaticAccount:b constructionCategory enableGLMatching:b reconciliationSequence @audit
general-ledger/account-category id! read-only
    accountType normalBalance
general-ledger/reporting-period id!
    startDate:d! endDate:d! columnHeader1 isBudgetable:b reportingPeriodType dateType:n columnHeader2 status%status/active
    @audit
inventory-control/item id!
    name! status%dimension-status/active description costMethod notes itemType productLine> kitRevenuePosting substituteItemId
    inventory{shippingWeight:n glGroup> autoPrintLabel:b} sales{isTaxable:b basePrice taxGroup> taxSolution>tax/tax-solution
    isAvailableForDropShip:b isAvailableForBuyToOrder:b allowMultipleTaxGroups:b allowMultiPleTaxGroups:b}
    purchasing{standardCost:m} unitOfMeasure> precision{inventoryPrecision:n purchasingPrecision:n salesPrecision:n upc}
    tracking{enableSerialNo:b serialMask enableLotCategory:b lotCategory enableBins:b enableExpiration:b}
    replenishment{enableReplenishment:b replenishmentMethod unitOfMeasureDefault reorderPoint:n safetyStock:n
    reorderQuantity:n maximumOrderQuantity:n} measurements{weightUnitOfMeasure> netWeight:n lengthWidthHeightUnitOfMeasure>
    length:n width:n height:n thicknessUnitOfMeasure> thickness:n minimumThickness:n maximumThickness:n areaUnitOfMeasure>
    area:n volumeUnitOfMeasure> volume:n diameterUnitOfMeasure> innerDiameter:n outerDiameter:n durometerUnitOfMeasure
    densityUnitOfMeasure density:n} itemDetails{universalProductCode:n internationalArticleNumber:n isSafetyItem:b
    isRestrictedItem:b isCompliantItem:b condition engineeringAlert specification1 isApprovedByEngineering:b
    isApprovedByQualityControl:b isApprovedBySales:b primaryCountryOfOrigin specification2 specification3}
    contractTerm{periodsMeasuredIn numberOfPeriods:n isProratedPricingAllowed:b defaultRenewalTemplate>
    isStartDateAndEndDateEnabled:b} commercial{brand subBrand category subCategory catalogReference color size1 size2
    isGiftCard:b isWebEnabled:b webName webShortDiscription webLongDescription defaultConversionType style}
    enableFulfillment:b itemVendor:a warehouseInfo:a landedCost{enableLandedCost:b} attachment>company-config/attachment
    isItemEnabledForMRR:b poDescription soDescription contractDefault{billingTemplate> revRecTemplate1> revRecTemplate2>
    expenseTemplate1> expenseTemplate2> isDefaultBundle:b contractFairValueCategory> defaultContractDeliveryStatus
    defaultContractDeferralStatus} dateLastSold:d dateLastReceived:d isSuppliesItem:b unitOfMeasureGroup> kitRevenuePrinting
    vsoeCategory vsoeDefaultDeliveryStatus vsoeDefaultDeferralStatus quantityOnOrder quantityOnHand quantityOnHold
    quantityAllocated quantityReserved quantityUncommitted quantityInTransit defaultConversionType isEnabledForContracts:b
    kitComponents:a itemLandedCost:a @audit
inventory-control/warehouse id!
    name! location>company-config/location parent>inventory-control/warehouse manager>company-config/employee
    contacts{primary>company-config/contact shipTo>company-config/contact} status%dimension-status/active
    isReplenishmentEnabled:b enableNegativeInv:b @audit
projects/project id!
    name! description projectCurrency category projectStatus> startDate:d endDate:d budget{billingAmount:m budgetedDuration:m
    budgetedCost:m} glBudget> contractAmount:m actualAmount:m billingType salesOrderNumber purchaseOrderNumber
    purchaseOrderAmount:m purchaseQuoteNumber documentNumber parent>projects/project+ invoiceWithParent:b
    customer>accounts-receivable/customer+ salesContact>company-config/employee+ projectType> manager>company-config/employee+
    department>company-config/department+ location>company-config/location+ cipAsset>fixed-assets/asset+
    customerUser>company-config/user class>company-config/class+ userRestrictions isBillableEmployeeExpense:b
    isBillablePurchasingAPExpense:b ratesAndPricing{laborPricing laborMarkup expensePricing expenseMarkup defaultRate
    purchasingAPPricing} contacts{primary>company-config/contact billTo>company-config/contact shipTo>company-config/contact}
    invoiceMessage invoiceCurrency billingOverMax excludeExpenses:b grant{aln fundedProjectName agency payer otherId
    assistanceType revenueRestriction restrictionExpiry restrictionExpirationDate:d isTimeSatisfactionScheduled:b}
    wipScheduleProject>projects/project+ excludeFromWIPSchedule:b status%dimension-status/active taxSolution>tax/tax-solution
    taxSchedule> progress{estimatedDuration actualDuration approvedDuration remainingDuration percentComplete
    observedPercentComplete:m} salesforceKey paymentTerm> contract>contracts/contract attachment>company-config/attachment
    rootProject>projects/project+ multiEntityLocation>company-config/location+ scopeDetails{scope inclusions exclusions terms}
    scheduleDetails{scheduledStartDate:d actualStartDate:d scheduledCompletionDate:d revisedCompletionDate:d
    substantialCompletionDate:d actualCompletionDate:d noticeToProceedDate:d responseDueDate:d executedOnDate:d
    scheduleImpactNotes} webURL @audit
projects/task id!
    name! project>projects/project+{startDate endDate}! taskStatus taxSchedule> overridePurchasingTaxSchedule:b
    parent>projects/task+ customer>accounts-receivable/customer+ productionUnits{estimate:n description}
    item>inventory-control/item+ planned{startDate:d endDate:d} actual{startDate:d endDate:d} duration{planned:n estimated:n
    actual:n remaining approved:n plannedBillable:n estimatedBillable:n actualBillable:n approvedBillable:n} percentComplete:m
    observedPercentComplete:m description isMilestone:b isUtilized:b isBillable:b wbsCode priority:n timeType>
    class>company-config/class+ dependentOn>projects/task+ root>projects/task+ standardTask>+
    attachment>company-config/attachment taxSolution>tax/tax-solution @audit
tax/contact-tax-group id!
    taxSolution>tax/tax-solution isVATEnabled:b
tax/purchasing-tax-detail id!
    taxUniqueId description taxPercent:n taxLimit{minTax:n maxTax:n minTaxable:n maxTaxable:n} amountToTax%amount-to-tax
    purchaseGLAccount>general-ledger/account taxAuthority>tax/tax-authority taxSolution>tax/tax-solution status%status/active
    taxRate%tax-rate useExpenseAccount:b isSystemGenerated:b~ reverseCharge:b/false germanTaxDetailKey
tax/purchasing-tax-schedule id=key
    name! description taxSolution>tax/tax-solution status%status/active lines[tax/purchasing-tax-schedule-detail.taxSchedule]
    isSystemGenerated:b~
tax/purchasing-tax-schedule-detail id=key read-only
    taxSchedule>tax/purchasing-tax-schedule+ taxDetail>tax/purchasing-tax-detail! effectiveDate:d
tax/tax-authority id!
    description vendorId parent>tax/tax-authority+
tax/tax-detail id! read-only
    taxUniqueId description taxType taxPercent:p taxLimit{minTaxable:n maxTaxable:n minTax:n maxTax:n}
    amountToTax%amount-to-tax glAccount>general-ledger/account taxAuthority>tax/tax-authority status%status/active
    isSystemGenerated:b reverseCharge:b/false germanTaxDetailKey taxRate%tax-rate taxSolution>tax/tax-solution
    useExpenseAccount:b
tax/tax-solution id! read-only
    description taxCalculationMethod status%status/active taxSolutionType taxSubmissionStartDate:d enableMultilineTax:b
    purchaseGLAccount>general-ledger/account salesGLAccount>general-ledger/account alternativeSetup:b lastUpdatedTaxDate:d
"""
