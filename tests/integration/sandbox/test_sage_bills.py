"""What Sage says to a bill, and what becomes of it."""

from __future__ import annotations

import pytest
from sage_box import ATTACHMENT, BILL, VENDOR, bill, details, error_of, line, sage_box


@pytest.fixture
async def box():
    async with sage_box() as found:
        yield found


async def post(box, **changes):
    return await box.call("POST", f"/objects/{BILL}", bill(**changes))


async def refused(box, expected_status=422, **changes):
    status, answer, _ = await post(box, **changes)
    assert status == expected_status, answer
    return details(answer)


async def test_a_bill_is_posted_with_its_totals_and_owned_lines(box):
    body = bill(lines=[line("10.50", department="D1"), line("4.50")], description="x", referenceNumber="OCR 1")
    status, answer, _ = await box.call("POST", f"/objects/{BILL}", body)
    key = answer["ia::result"]["key"]
    assert status == 201
    assert answer == {
        "ia::result": {"key": key, "id": key, "href": f"/objects/{BILL}/{key}"},
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    }
    shown = await box.show(BILL, key)
    assert (shown["state"], shown["totalTxnAmount"], shown["totalTxnAmountDue"], shown["totalBaseAmount"]) == (
        "posted", "15.00", "15.00", "15.00",
    )  # fmt: skip
    assert shown["postingDate"] == "2026-11-23"
    assert shown["vendor"]["name"] == "National Grid"
    assert shown["audit"]["modifiedDateTime"] == "2026-11-25T12:00:00Z"
    assert shown["attachment"] == {"key": None, "id": None}
    first, second = shown["lines"]
    assert (first["txnAmount"], first["lineNumber"], second["lineNumber"]) == ("10.50", "1", "2")
    assert first["dimensions"]["department"]["name"] == "Sales"
    assert first["bill"] == {"key": key, "id": key, "href": f"/objects/{BILL}/{key}"}
    assert box.sim.stats.transactions == 2, "a bill counts one whatever its lines; reading it one more"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vendor": {"id": "V404"}}, "The vendor 'V404' is invalid."),
        ({"vendor": {"id": "VOFF"}}, "Activate the vendor VOFF, then try again."),
        ({"vendor": {"id": "VNEW"}}, "is not approved"),
        ({"vendor": {"id": "VHOLD"}}, "on hold"),
        ({"lines": [line(account="9999")]}, "Account 9999 is not valid"),
        ({"lines": [line(account="6900")]}, "Account 6900 is not valid"),
        ({"lines": [line(account="2000")]}, "Account 2000 does not allow direct posting"),
        ({"lines": [line(location="")]}, "This transaction is missing the Location dimension for the Account 6000"),
        ({"lines": [line(account="6100")]}, "This transaction is missing the Department dimension for the Account 6100"),
        ({"lines": [line(location="L404")]}, "Location 'L404' is not valid"),
        ({"lines": [line(location="L9")]}, "Location 'L9' is not valid"),
        ({"lines": [line(department="D404")]}, "Invalid Department D404 selected"),
        ({"lines": [line(department="D9")]}, "Invalid Department D9 selected"),
        ({"attachment": {"id": "A404"}}, "Invalid Attachment A404 selected"),
        ({"currency": {"txnCurrency": "EUR"}}, "no exchange rate from EUR to USD"),
        ({"currency": {"txnCurrency": "XXX"}}, "Transaction currency XXX is not valid"),
        ({"currency": {"baseCurrency": "SEK", "txnCurrency": "USD"}}, "Base currency SEK is not valid"),
        ({"state": "paid"}, "cannot be created in the state paid"),
    ],
)
async def test_a_bill_against_the_rules_is_refused_in_sages_words(box, changes, message):
    status, answer, _ = await post(box, **changes)
    error = error_of(answer)
    assert status == 422
    assert (error["code"], error["errorId"]) == ("operationFailed", "REST-7001")
    assert error["message"] == f"POST request on objects/{BILL} object was unsuccessful"
    assert any(message in words for words in details(answer)), details(answer)
    assert not box.sim.store.table(BILL).rows
    assert not box.sim.store.table("accounts-payable/bill-line").rows


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"newDate": "2026-01-01"}, "/newDate"),
        ({"dueDate": None}, "/dueDate"),
        ({"dueDate": "23/12/2026"}, "/dueDate"),
        ({"dueDate": "2026-02-30"}, "/dueDate"),
        ({"billNumber": None}, "/billNumber"),
        ({"vendor": None}, "/vendor"),
        ({"vendor": {"id": None}}, "/vendor"),
        ({"vendor": "V1"}, "/vendor"),
        ({"vendor": {"id": "V1", "colour": "red"}}, "/vendor/colour"),
        ({"lines": None}, "/lines"),
        ({"lines": []}, "/lines"),
        ({"lines": [{**line(), "txnAmount": None}]}, "/lines/0/txnAmount"),
        ({"lines": [{**line(), "txnAmount": "1.005"}]}, "/lines/0/txnAmount"),
        ({"lines": [{**line(), "txnAmount": True}]}, "/lines/0/txnAmount"),
        ({"lines": [{**line(), "glAccount": {}}]}, "/lines/0/glAccount"),
        ({"lines": [{**line(), "wrong": 1}]}, "/lines/0/wrong"),
        ({"paymentPriority": "Normal"}, "/paymentPriority"),
        ({"isOnHold": "perhaps"}, "/isOnHold"),
        ({"description": 7}, "/description"),
        ({"totalTxnAmount": "15.00"}, "/totalTxnAmount"),
        ({"currency": {"baseCurrency": "USD"}}, "/currency/txnCurrency"),
        ({"key": "7"}, "/key"),
    ],
)
async def test_a_malformed_bill_is_a_payload_error_that_names_the_field(box, changes, target):
    status, answer, _ = await post(box, **changes)
    error = error_of(answer)
    assert (status, error["code"], error["errorId"]) == (400, "invalidRequest", "REST-1064")
    assert target in [row["target"] for row in error["details"]]


async def test_an_unknown_field_has_sages_own_detail(box):
    _, answer, _ = await post(box, newDate="2026-01-01")
    assert error_of(answer)["details"] == [
        {
            "code": "invalidRequest",
            "message": "/newDate is not a valid field",
            "errorId": "REST-1043",
            "target": "/newDate",
            "additionalInfo": {"messageId": "IA.NOT_A_VALID_FIELD", "placeholders": {"FIELD": "/newDate"}, "propertySet": {}},
        }
    ]


async def test_nothing_is_posted_into_a_closed_period(box):
    box.sim.settings(closed_until="2026-10-31")
    (words,) = await refused(box, postingDate="2026-10-31")
    assert "period" in words
    assert "closed" in words
    assert "Date must be on or after 2026-11-01" in words
    assert (await post(box, postingDate="2026-11-01"))[0] == 201


@pytest.mark.parametrize(("unique", "same_vendor", "other_vendor"), [("vendor", 409, 201), ("company", 409, 409), ("off", 201, 201)])
async def test_a_bill_number_is_unique_as_the_company_has_it_set(box, unique, same_vendor, other_vendor):
    box.sim.settings(bill_number_unique=unique)
    await box.create(BILL, **bill())
    status, answer, _ = await post(box)
    assert status == same_vendor
    if status == 409:
        assert details(answer) == ["Another record with the value B-1 already exists"]
    assert (await post(box, vendor={"id": "V2"}))[0] == other_vendor


async def test_a_deleted_bill_gives_its_number_free(box):
    key = await box.create(BILL, **bill())
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}", {}))[:2] == (204, None)
    assert (await post(box))[0] == 201
    assert len(box.sim.store.table("accounts-payable/bill-line").rows) == 1


@pytest.mark.parametrize(
    ("settings", "asked", "state"),
    [
        ({}, None, "posted"),
        ({}, "draft", "draft"),
        ({"approvals": True}, None, "submitted"),
        ({"approvals": True}, "posted", "submitted"),
        ({"approvals": True}, "draft", "draft"),
        ({"approvals": True, "exempt_users": ["rillion"]}, None, "posted"),
        ({"approvals": True, "exempt_users": ["rillion@acme"]}, None, "posted"),
        ({"approvals": True, "exempt_users": ["somebody"]}, None, "submitted"),
    ],
)
async def test_the_state_after_creating_follows_the_companys_approvals(box, settings, asked, state):
    box.sim.settings(**settings)
    key = await box.create(BILL, **bill(state=asked))
    assert (await box.show(BILL, key))["state"] == state


async def test_a_draft_may_be_incomplete_until_it_is_submitted(box):
    key = await box.create(BILL, **bill(state="draft", lines=[line(account="6900")]))
    status, words = await box.act(BILL, "submit", key)
    assert (status, words) == (422, ["Account 6900 is not valid"])
    lines = [{"key": (await box.show(BILL, key))["lines"][0]["key"], "glAccount": {"id": "6000"}}]
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"lines": lines}))[0] == 200
    assert await box.act(BILL, "submit", key) == (200, "posted")


@pytest.mark.parametrize(
    ("state", "action", "answer", "after"),
    [
        ("submitted", "approve", "approved", "posted"),
        ("partiallyApproved", "approve", "approved", "posted"),
        ("submitted", "decline", "declined", "declined"),
        ("submitted", "recall", "draft", "draft"),
        ("draft", "submit", "posted", "posted"),
        ("declined", "submit", "posted", "posted"),
        ("posted", "reverse", "reversed", "reversed"),
    ],
)
async def test_a_workflow_moves_a_bill(box, state, action, answer, after):
    (key,) = box.load(BILL, bill(state=state))
    assert await box.act(BILL, action, key, reverseDate="2026-11-30") == (200, answer)
    assert (await box.show(BILL, key))["state"] == after


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("posted", "approve"),
        ("draft", "decline"),
        ("posted", "recall"),
        ("posted", "submit"),
        ("submitted", "reverse"),
        ("paid", "approve"),
    ],
)
async def test_a_workflow_needs_its_state(box, state, action):
    (key,) = box.load(BILL, bill(state=state))
    status, words = await box.act(BILL, action, key, reverseDate="2026-11-30")
    assert status == 422
    assert state in words[0]
    assert (await box.show(BILL, key))["state"] == state


async def test_reversing_needs_a_date_after_the_posting_and_frees_the_number(box):
    key = await box.create(BILL, **bill())
    assert (await box.act(BILL, "reverse", key))[0] == 400
    assert (await box.act(BILL, "reverse", key, reverseDate="2026-11-23"))[0] == 422
    assert await box.act(BILL, "reverse", key, reverseDate="2026-11-24") == (200, "reversed")
    assert (await box.show(BILL, key))["billNumber"] == "Reversed - B-1"
    assert (await post(box))[0] == 201
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}"))[0] == 422
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "x"}))[0] == 422


async def test_an_unknown_workflow_or_record_is_not_found(box):
    key = await box.create(BILL, **bill())
    assert (await box.act(BILL, "frame", key))[0] == 404
    assert (await box.act(BILL, "approve", "404"))[0] == 404
    assert (await box.call("POST", f"/workflows/{BILL}/approve", {}))[0] == 400


@pytest.mark.parametrize(
    ("state", "status"),
    [("posted", 204), ("draft", 204), ("declined", 204), ("submitted", 204), ("paid", 422), ("partiallyPaid", 422), ("reversed", 422)],
)
async def test_a_bill_can_be_deleted_in_some_states(box, state, status):
    (key,) = box.load(BILL, bill(state=state))
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}"))[0] == status


async def test_the_state_is_not_changed_by_patch_but_other_fields_are(box):
    key = await box.create(BILL, **bill())
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"state": "draft"}))[0] == 400
    status, answer, _ = await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "new", "lines": [line("1.00")]})
    assert (status, answer["ia::result"]["key"]) == (200, key)
    shown = await box.show(BILL, key)
    assert (shown["description"], shown["totalTxnAmount"], len(shown["lines"])) == ("new", "16.00", 2)
    removed = [{"key": shown["lines"][0]["key"], "ia::operation": "delete"}]
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"lines": removed}))[0] == 200
    assert (await box.show(BILL, key))["totalTxnAmount"] == "1.00"


async def test_texts_of_a_bill_in_a_closed_period_can_be_mended_its_amounts_cannot(box):
    key = await box.create(BILL, **bill())
    box.sim.settings(closed_until="2026-11-30")
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "x"}))[0] == 200
    status, answer, _ = await box.call("PATCH", f"/objects/{BILL}/{key}", {"lines": [line()]})
    assert status == 422
    assert "closed" in details(answer)[0]
    other = await box.create(BILL, **bill("B-2", postingDate="2026-12-01"))
    status, answer, _ = await box.call("PATCH", f"/objects/{BILL}/{other}", {"billNumber": "B-1"})
    assert (status, details(answer)) == (409, ["Another record with the value B-1 already exists"])


async def test_lines_can_be_written_on_their_own_and_the_bill_follows(box):
    key = await box.create(BILL, **bill())
    path = "accounts-payable/bill-line"
    other = await box.create(path, bill={"key": key}, **line("5.00"))
    assert (await box.show(BILL, key))["totalTxnAmount"] == "20.00"
    assert (await box.call("PATCH", f"/objects/{path}/{other}", {"txnAmount": "7.00"}))[0] == 200
    assert (await box.show(BILL, key))["totalTxnAmountDue"] == "22.00"
    assert (await box.call("DELETE", f"/objects/{path}/{other}"))[0] == 204
    assert (await box.show(BILL, key))["totalTxnAmount"] == "15.00"
    last = (await box.show(BILL, key))["lines"][0]["key"]
    assert (await box.call("DELETE", f"/objects/{path}/{last}"))[0] == 422


async def test_a_foreign_bill_is_converted_by_its_rate_or_the_companys(box):
    given = {"baseCurrency": "USD", "txnCurrency": "EUR", "exchangeRate": {"rate": 1.1, "date": "2026-11-23", "typeId": "Custom"}}
    key = await box.create(BILL, **bill(currency=given))
    shown = await box.show(BILL, key)
    assert (shown["totalTxnAmount"], shown["totalBaseAmount"], shown["lines"][0]["baseAmount"]) == ("15.00", "16.50", "16.50")
    rates = [{"effectiveStartDate": "2026-11-01", "rate": 1.2}, {"effectiveStartDate": "2026-12-01", "rate": 9.9}]
    box.load("company-config/exchange-rate", {"fromCurrency": "EUR", "toCurrency": "USD", "lines": rates})
    key = await box.create(BILL, **bill("B-2", currency={"baseCurrency": "USD", "txnCurrency": "EUR"}))
    shown = await box.show(BILL, key)
    assert (shown["totalBaseAmount"], shown["currency"]["exchangeRate"]["rate"]) == ("18.00", 1.2)


async def test_taxes_add_to_the_total_unless_it_includes_them(box):
    box.load("tax/purchasing-tax-detail", {"id": "VAT25", "taxPercent": 25})
    taxed = {**line("100.00"), "taxEntries": [{"purchasingTaxDetail": {"id": "VAT25"}, "txnTaxAmount": "25.00"}]}
    key = await box.create(BILL, **bill(lines=[taxed]))
    shown = await box.show(BILL, key)
    assert shown["totalTxnAmount"] == "125.00"
    assert shown["lines"][0]["taxEntries"][0]["purchasingTaxDetail"]["id"] == "VAT25"
    key = await box.create(BILL, **bill("B-2", isTaxInclusive=True, lines=[{**line("100.00"), "totalTxnAmount": "125.00"}]))
    assert (await box.show(BILL, key))["totalTxnAmount"] == "125.00"


async def test_a_bill_of_an_entity_is_private_to_it(box):
    entity = {"X-IA-API-Param-Entity": "E1"}
    status, answer, _ = await box.call("POST", f"/objects/{BILL}", bill(), **entity)
    key = answer["ia::result"]["key"]
    assert status == 201
    assert (await box.show(BILL, key))["entity"]["id"] == "E1"
    other = {"X-IA-API-Param-Entity": "E2"}
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "x"}, **other))[0] == 404
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}", **other))[0] == 404
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "x"}, **entity))[0] == 200
    assert (await box.call("PATCH", f"/objects/{BILL}/{key}", {"lines": [line()]}))[0] == 200
    assert set(box.sim.store.table("accounts-payable/bill-line").private.values()) == {1}
    assert len((await box.show(BILL, key))["lines"]) == 2


async def test_queries_see_a_bill_only_after_the_lag_and_get_by_key_at_once(box):
    box.sim.settings(read_lag_s=5)
    key = await box.create(BILL, **bill())
    query = {"object": BILL, "fields": ["key", "state"]}
    assert (await box.call("POST", "/services/core/query", query))[1]["ia::result"] == []
    assert (await box.show(BILL, key))["billNumber"] == "B-1"
    assert (await post(box))[0] == 409, "uniqueness does not lag"
    box.sim.kernel.clock.advance(6)
    assert (await box.call("POST", "/services/core/query", query))[1]["ia::result"] == [{"key": key, "state": "posted"}]


async def test_an_attachment_carries_files_and_hangs_on_the_bill(box):
    file = {"name": "invoice.pdf", "data": "aGVsbG8="}
    key = await box.create(ATTACHMENT, id="RP-1", name="RP-1", folder={"id": "Receipts"}, files=[file])
    shown = await box.show(ATTACHMENT, key)
    assert [(one["name"], one["data"], one["size"]) for one in shown["files"]] == [("invoice.pdf", "aGVsbG8=", 5)]
    bill_key = await box.create(BILL, **bill(attachment={"id": "RP-1"}))
    assert (await box.show(BILL, bill_key))["attachment"]["id"] == "RP-1"
    more = {"files": [{"name": "b.xml", "data": "YQ=="}]}
    assert (await box.call("PATCH", f"/objects/{ATTACHMENT}/{key}", more))[0] == 200
    gone = {"files": [{"key": shown["files"][0]["key"], "ia::operation": "delete"}]}
    assert (await box.call("PATCH", f"/objects/{ATTACHMENT}/{key}", gone))[0] == 200
    assert [one["name"] for one in (await box.show(ATTACHMENT, key))["files"]] == ["b.xml"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"folder": {"id": "Nowhere"}}, 422, "Invalid Folder Nowhere selected"),
        ({"folder": None}, 400, "/folder is required"),
        ({"files": [{"name": "a"}]}, 400, "/files/0/data is required"),
        ({"files": [{"name": "a", "data": "no base64!"}]}, 400, "/files/0/data must be base64 encoded"),
        ({"id": "RP-1"}, 409, "Another record with the value RP-1 already exists"),
    ],
)
async def test_an_attachment_that_does_not_fit_is_refused(box, changes, status, words):
    body = {"id": "RP-2", "name": "RP", "folder": {"id": "Receipts"}}
    await box.create(ATTACHMENT, **{**body, "id": "RP-1"})
    body = {name: value for name, value in (body | changes).items() if value is not None}
    found, answer, _ = await box.call("POST", f"/objects/{ATTACHMENT}", body)
    assert (found, details(answer)) == (status, [words])
    assert len(box.sim.store.table(ATTACHMENT).rows) == 1


async def test_a_vendors_contact_written_in_place_becomes_a_record_and_follows(box):
    contact = {"printAs": "Design Works", "email1": "a@b.example", "mailingAddress": {"city": "Oslo"}}
    key = await box.create(VENDOR, id="V7", name="Design Works", contacts={"default": contact})
    shown = (await box.show(VENDOR, key))["contacts"]["default"]
    assert (shown["id"], shown["email1"], shown["mailingAddress"]["city"]) == ("Design Works", "a@b.example", "Oslo")
    change = {"contacts": {"default": {"email1": "new@b.example"}}}
    assert (await box.call("PATCH", f"/objects/{VENDOR}/{key}", change))[0] == 200
    record = await box.show("company-config/contact", shown["key"])
    assert (record["email1"], record["mailingAddress"]["city"]) == ("new@b.example", "Oslo")
    assert await box.act(VENDOR, "approve", key) == (422, ["The vendor 'V7' does not wait for approval"])


async def test_what_is_only_read_refuses_writes(box):
    for method, path in (("POST", ""), ("PATCH", "/1"), ("DELETE", "/1")):
        status, answer, _ = await box.call(method, f"/objects/tax/tax-detail{path}", {"id": "x"})
        assert (status, error_of(answer)["additionalInfo"]["messageId"]) == (405, "IA.METHOD_NOT_SUPPORTED")


async def test_the_books_list_bills_as_an_accountant_would(box):
    await box.create(ATTACHMENT, id="RP-1", name="RP-1", folder={"id": "Receipts"}, files=[{"name": "a.pdf", "data": "YQ=="}])
    await box.create(BILL, **bill(attachment={"id": "RP-1"}, description="marker"))
    books = box.sim.books()
    (found,) = books["bills"]
    assert found["billNumber"] == "B-1"
    assert (found["vendor"], found["amount"], found["state"], found["attachment"], found["description"], found["entity"]) == (
        "V1", "15.00", "posted", "RP-1", "marker", None,
    )  # fmt: skip
    assert found["lines"] == [{"account": "6000", "amount": "15.00", "memo": None, "dimensions": {"location": "L1"}}]
    assert [(one["id"], one["folder"], one["files"]) for one in books["attachments"]] == [
        ("RP-1", "Receipts", [{"name": "a.pdf", "size": 1}]),
    ]
