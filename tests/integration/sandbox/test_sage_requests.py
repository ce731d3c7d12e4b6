"""Batches, composites and idempotency keys."""

from __future__ import annotations

import asyncio

import pytest
from sage_box import ATTACHMENT, BILL, PAYMENT, VENDOR, bill, details, error_of, line, payment, sage_box

TRANSACTION = {"X-IA-API-Param-Transaction": "true"}
CACHED = "x-ia-idempotency-cached-date"
HOUR_S = 3600


@pytest.fixture
async def box():
    async with sage_box() as found:
        yield found


def numbers(box):
    return sorted(found["billNumber"] for found in box.sim.books()["bills"])


async def post(box, body, **headers):
    return await box.call("POST", f"/objects/{BILL}", body, **headers)


# Batches


async def test_a_batch_creates_each_record_and_counts_each(box):
    status, answer, _ = await post(box, [bill("B-1"), bill("B-2")])
    assert status == 201
    assert [row["ia::status"] for row in answer["ia::result"]] == [201, 201]
    assert answer["ia::meta"] == {"totalCount": 2, "totalSuccess": 2, "totalError": 0}
    assert box.sim.stats.transactions == 2


async def test_a_batch_takes_what_fits_and_answers_207(box):
    status, answer, _ = await post(box, [bill("B-1"), bill("B-1"), bill("B-2", newDate=1), bill("B-3")])
    assert status == 207
    assert [row["ia::status"] for row in answer["ia::result"]] == [201, 409, 400, 201]
    assert answer["ia::result"][1]["ia::error"]["errorId"] == "REST-7001"
    assert answer["ia::meta"] == {"totalCount": 4, "totalSuccess": 2, "totalError": 2}
    assert numbers(box) == ["B-1", "B-3"]
    assert box.sim.stats.transactions == 2


async def test_an_atomic_batch_is_rolled_back_as_a_whole(box):
    status, answer, _ = await post(box, [bill("B-1"), bill("B-2", lines=[line(account="6900")]), bill("B-3")], **TRANSACTION)
    assert status == 207
    assert [row["ia::status"] for row in answer["ia::result"]] == [422, 422, 422]
    assert [row["ia::error"]["code"] for row in answer["ia::result"]] == ["unprocessed", "operationFailed", "unprocessed"]
    assert numbers(box) == []
    assert not box.sim.store.table("accounts-payable/bill-line").rows
    assert box.sim.stats.transactions == 0
    assert (await post(box, [bill("B-1"), bill("B-2")], **TRANSACTION))[0] == 201
    assert numbers(box) == ["B-1", "B-2"]


async def test_an_atomic_batch_of_payments_leaves_the_bills_as_they_were(box):
    key = await box.create(BILL, **bill())
    status, _, _ = await box.call("POST", f"/objects/{PAYMENT}", [payment(key, "10.00"), payment(key, "10.00")], **TRANSACTION)
    assert status == 207
    shown = await box.show(BILL, key)
    assert (shown["state"], shown["totalTxnAmountDue"]) == ("posted", "15.00")


async def test_batches_change_by_key_and_delete_by_a_list_of_keys(box):
    keys = [await box.create(BILL, **bill(number)) for number in ("B-1", "B-2", "B-3")]
    changes = [{"key": keys[0], "description": "x"}, {"key": "404", "description": "x"}]
    status, answer, _ = await box.call("PATCH", f"/objects/{BILL}", changes)
    assert (status, [row["ia::status"] for row in answer["ia::result"]]) == (207, [200, 404])
    assert (await box.call("DELETE", f"/objects/{BILL}/{keys[0]},{keys[1]}"))[:2] == (204, None)
    status, answer, _ = await box.call("DELETE", f"/objects/{BILL}/404,{keys[2]}")
    assert (status, [row["ia::status"] for row in answer["ia::result"]]) == (207, [404, 204])
    assert numbers(box) == []


async def test_a_batch_has_at_most_500_records(box):
    rows = [{"id": f"F{number}"} for number in range(501)]
    status, answer, _ = await box.call("POST", "/objects/company-config/folder", rows)
    assert (status, details(answer)) == (400, ["A batch has 1 to 500 records"])
    assert (await box.call("POST", "/objects/company-config/folder", rows[:500]))[0] == 201
    assert (await box.call("POST", "/objects/company-config/folder", []))[0] == 400


async def test_workflows_take_batches(box):
    keys = box.load(BILL, bill("B-1", state="submitted"), bill("B-2", state="draft"))
    status, answer, _ = await box.call("POST", f"/workflows/{BILL}/approve", [{"key": key} for key in keys])
    assert (status, [row["ia::status"] for row in answer["ia::result"]]) == (207, [200, 422])


@pytest.mark.parametrize("raw", [b"", b"  "])
async def test_a_write_needs_a_payload(box, raw):
    headers = {"Authorization": f"Bearer {box.token}"}
    async with box.client.post(f"/ia/api/v1/objects/{BILL}", data=raw, headers=headers) as answer:
        error = error_of(await answer.json())
        assert (answer.status, error["errorId"], error["message"]) == (400, "REST-1028", "A POST request requires a payload")
        assert error["additionalInfo"]["placeholders"] == {"OPERATION": "POST"}


async def test_what_is_no_json_or_no_object_is_malformed(box):
    headers = {"Authorization": f"Bearer {box.token}"}
    async with box.client.post(f"/ia/api/v1/objects/{BILL}", data=b"{", headers=headers) as answer:
        assert answer.status == 400
    assert (await post(box, "text"))[0] == 400
    assert (await post(box, [bill(), 7]))[0] == 400


async def test_writes_to_what_is_not_there_or_not_subscribed_are_refused(box):
    assert (await box.call("POST", "/objects/accounts-payable/nothing", {}))[0] == 404
    assert (await box.call("PATCH", f"/objects/{BILL}/404", {}))[0] == 404
    assert (await box.call("POST", f"/objects/{BILL}/1", {}))[0] == 405
    assert (await box.call("PUT", f"/objects/{BILL}/1", {}))[0] == 405
    box.sim.settings(modules=["accounts-payable"])
    assert (await box.call("POST", "/objects/projects/project", {"id": "P", "name": "P"}))[0] == 403


# Composites


def sub(method, path, body=None, reference=None, key=None):
    made = {"method": method, "path": path}
    if body is not None:
        made["body"] = body
    if reference is not None:
        made["resultReference"] = reference
    if key is not None:
        made["headers"] = {"Idempotency-Key": key}
    return made


async def composite(box, *subs, **headers):
    status, answer, sent = await box.call("POST", "/services/core/composite", list(subs), **headers)
    return status, answer, sent


def attachment(name="RP-1"):
    return {"id": name, "name": name, "folder": {"id": "Receipts"}, "files": [{"name": "a.pdf", "data": "YQ=="}]}


async def test_attachment_and_bill_go_in_one_call_and_refer_to_each_other(box):
    status, answer, _ = await composite(
        box,
        sub("POST", f"/objects/{ATTACHMENT}", attachment(), "file"),
        sub("POST", f"/objects/{BILL}", bill(attachment={"key": "@{file.1.key}"}, description="see @{file.1.id}"), "bill"),
        sub("GET", f"/objects/{BILL}/@{{bill.1.key}}", None, "read"),
        sub("PATCH", f"/objects/{BILL}/@{{read.key}}", {"referenceNumber": "@{read.lines.1.glAccount.id}"}),
        sub("POST", "/services/core/query", {"object": "@{none}"}) | {"body": {"object": BILL, "fields": ["attachment.id"]}},
    )
    assert status == 200, answer
    assert [row["ia::status"] for row in answer["ia::result"]] == [201, 201, 200, 200, 200]
    assert answer["ia::meta"] == {"totalCount": 5, "totalSuccess": 5, "totalError": 0}
    assert answer["ia::result"][2]["ia::result"]["attachment"]["id"] == "RP-1"
    assert answer["ia::result"][4]["ia::result"] == [{"attachment.id": "RP-1"}]
    (found,) = box.sim.books()["bills"]
    assert (found["description"], found["referenceNumber"]) == ("see RP-1", "6000")
    assert box.sim.stats.calls["POST /services/core/composite"] == 1


async def test_rows_of_a_query_can_be_referred_to_by_number_and_dotted_name(box):
    query = {"object": VENDOR, "fields": ["id", "contacts.default.key"], "filters": [{"$eq": {"id": "V1"}}]}
    status, answer, _ = await composite(
        box,
        sub("POST", "/services/core/query", query, "found"),
        sub("GET", "/objects/company-config/contact/@{found.1.contacts.default.key}"),
    )
    assert (status, answer["ia::result"][1]["ia::result"]["printAs"]) == (200, "National Grid")


async def test_a_composite_stops_at_the_first_failure_and_keeps_what_was_done(box):
    status, answer, _ = await composite(
        box,
        sub("POST", f"/objects/{ATTACHMENT}", attachment()),
        sub("POST", f"/objects/{BILL}", bill(lines=[line(account="6900")])),
        sub("POST", f"/objects/{BILL}", bill("B-2")),
    )
    assert status == 207
    assert [row["ia::status"] for row in answer["ia::result"]] == [201, 422, 422]
    failed, skipped = answer["ia::result"][1:]
    assert failed.keys() == {"ia::error", "ia::status"}
    assert (failed["ia::error"]["errorId"], skipped["ia::error"]["code"]) == ("REST-7001", "unprocessed")
    assert answer["ia::meta"] == {"totalCount": 3, "totalSuccess": 1, "totalError": 2}
    assert numbers(box) == []
    assert len(box.sim.books()["attachments"]) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (sub("POST", f"/workflows/{BILL}/approve", {"key": "1"}), "/path must begin with"),
        (sub("PUT", f"/objects/{BILL}/1"), "/method must be one of"),
        (sub("POST", f"/objects/{BILL}"), "A POST request requires a payload"),
        (sub("GET", f"/objects/{BILL}/@{{nothing.key}}"), "leads nowhere"),
        (sub("POST", "/services/core/composite", []), "could not be found"),
    ],
)
async def test_a_sub_request_that_is_not_allowed_fails_by_itself(box, wrong, words):
    status, answer, _ = await composite(box, wrong, sub("GET", f"/objects/{VENDOR}/1"))
    first, second = answer["ia::result"]
    assert status == 207
    assert words in first["ia::error"].get("details", [first["ia::error"]])[0]["message"]
    assert second["ia::status"] == 422


@pytest.mark.parametrize("count", [0, 1, 11])
async def test_a_composite_has_two_to_ten_sub_requests(box, count):
    subs = [sub("GET", f"/objects/{VENDOR}/1")] * count
    assert (await composite(box, *subs))[0] == 400
    twice = sub("GET", f"/objects/{VENDOR}/1", reference="a")
    assert (await composite(box, twice, twice))[0] == 400


async def test_each_sub_request_has_its_own_idempotency_key(box):
    subs = (
        sub("POST", f"/objects/{ATTACHMENT}", attachment(), "file", key="a1"),
        sub("POST", f"/objects/{BILL}", bill(attachment={"key": "@{file.1.key}"}), key="b1"),
    )
    _, first, _ = await composite(box, *subs)
    status, again, _ = await composite(box, *subs)
    assert (status, again) == (200, first)
    assert numbers(box) == ["B-1"]
    alone = bill("B-9", attachment={"key": "1"})
    _, other, _ = await composite(box, subs[0], sub("POST", f"/objects/{BILL}", alone, key="b1"))
    assert [row["ia::status"] for row in other["ia::result"]] == [201, 409]


async def test_a_failure_of_a_sub_request_is_given_again_too(box):
    wrong = sub("POST", f"/objects/{BILL}", bill(vendor={"id": "V404"}), key="b1")
    read = sub("GET", f"/objects/{VENDOR}/1")
    _, first, _ = await composite(box, read, wrong)
    box.load(VENDOR, {"id": "V404", "name": "Here now"})
    status, again, _ = await composite(box, read, wrong)
    assert status == 207
    assert again["ia::result"][1] == first["ia::result"][1]
    assert again["ia::result"][1].keys() == {"ia::error", "ia::status"}
    assert numbers(box) == []


# Idempotency keys


async def test_a_success_is_given_again_with_its_date(box):
    status, first, headers = await post(box, bill(), Idempotency_Key="k1")
    assert status == 201
    assert CACHED not in headers
    box.sim.kernel.clock.advance(47 * HOUR_S)
    await box.sign_in()
    status, again, headers = await post(box, bill(), Idempotency_Key="k1")
    assert (status, again) == (201, first)
    assert headers[CACHED] == "2026-11-25T12:00:00Z"
    assert numbers(box) == ["B-1"]
    assert box.sim.stats.transactions == 1


async def test_a_failure_is_given_again_even_when_its_cause_has_gone(box):
    body = bill(vendor={"id": "V404"})
    status, first, _ = await post(box, body, Idempotency_Key="k1")
    assert status == 422
    box.load(VENDOR, {"id": "V404", "name": "Here now"})
    status, again, headers = await post(box, body, Idempotency_Key="k1")
    assert (status, again) == (422, first)
    assert CACHED in headers
    assert (await post(box, body, Idempotency_Key="k2"))[0] == 201


async def test_a_key_is_refused_with_another_body_or_path(box):
    await post(box, bill(), Idempotency_Key="k1")
    status, answer, _ = await post(box, bill("B-2"), Idempotency_Key="k1")
    assert (status, error_of(answer)["code"]) == (409, "invalidRequest")
    assert (await box.call("POST", f"/objects/{PAYMENT}", bill(), Idempotency_Key="k1"))[0] == 409
    assert numbers(box) == ["B-1"]


async def test_a_key_is_reserved_for_sixty_days_though_its_answer_is_kept_for_two(box):
    await post(box, bill(), Idempotency_Key="k1")
    free_again = "Another record with the value B-1 already exists"  # the key, not the number
    for advance_h, words in ((48, "is reserved"), (57 * 24 + 23, "is reserved"), (1, free_again)):
        box.sim.kernel.clock.advance(advance_h * HOUR_S)
        await box.sign_in()
        status, answer, headers = await post(box, bill(), Idempotency_Key="k1")
        assert status == 409
        assert words in details(answer)[0]
        assert CACHED not in headers


async def test_a_second_request_while_the_first_runs_is_refused(box):
    answers = await asyncio.gather(*(post(box, bill(), Idempotency_Key="k1") for _ in range(2)))
    assert sorted(status for status, _, _ in answers) in ([201, 201], [201, 409])
    assert numbers(box) == ["B-1"]


def test_a_key_in_use_is_a_conflict_until_it_has_its_answer():
    from connect.sandbox.kernel import Clock
    from connect.sandbox.sage.errors import SageError
    from connect.sandbox.sage.idempotency import Answer, Keys

    keys = Keys(Clock(now=lambda: 0.0, monotonic=lambda: 0.0))
    assert keys.begin("k", b"x") is None
    with pytest.raises(SageError, match="still running"):
        keys.begin("k", b"x")
    keys.finish("k", Answer(201, {"a": 1}))
    assert keys.begin("k", b"x") == Answer(201, {"a": 1}, "1970-01-01T00:00:00Z")
    with pytest.raises(SageError, match="256"):
        keys.begin("k" * 257, b"x")


async def test_patch_has_keys_and_delete_has_none(box):
    key = await box.create(BILL, **bill())
    for _ in range(2):
        status, _, headers = await box.call("PATCH", f"/objects/{BILL}/{key}", {"description": "x"}, Idempotency_Key="p1")
        assert status == 200
    assert CACHED in headers
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}", Idempotency_Key="d1"))[0] == 204
    assert (await box.call("DELETE", f"/objects/{BILL}/{key}", Idempotency_Key="d1"))[0] == 404


async def test_idempotency_can_be_switched_off_and_is_forgotten_by_a_reset(box):
    box.sim.settings(idempotency=False)
    await post(box, bill(), Idempotency_Key="k1")
    assert (await post(box, bill(), Idempotency_Key="k1"))[0] == 409
    assert (await post(box, bill("B-2"), Idempotency_Key="k1"))[0] == 201
    box.sim.settings(idempotency=True)
    await post(box, bill("B-3"), Idempotency_Key="k1")
    box.sim.reset()
    assert (await post(box, bill("B-4"), Idempotency_Key="k1"))[0] == 422, "an empty company, and not a 409"


async def test_a_lost_answer_is_found_again_by_the_key(box):
    box.sim.kernel.faults.replace([{"where": f"sage:POST /objects/{BILL}", "kind": "drop_after_commit", "count": 1}])
    with pytest.raises(Exception, match=r"[Dd]isconnected|closed|reset"):
        await post(box, bill(), Idempotency_Key="k1")
    assert numbers(box) == ["B-1"]
    status, _, headers = await post(box, bill(), Idempotency_Key="k1")
    assert status == 201
    assert CACHED in headers
    assert numbers(box) == ["B-1"]
