"""The catalogue: every entry can be reached, everything that the sandbox says is in it, and a code that says nothing names nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from connect.catalogue import GENERIC, SHAPE_MOST, catalogue, shape_of
from connect.errors import Permanent, Poison
from connect.sandbox.sage.payments import TOO_EARLY, TOO_MUCH, WRONG_ACCOUNT

ROOT = Path(__file__).parents[2]
ENTRIES = catalogue().entries
SAGE_SAYS = re.compile(r"(\.refuse|_fault|invalid|detail|duplicate|_conflict|not_found|no_permission|gateway|SageError)$")
PRIME_SAYS = re.compile(r"(Refused|Fault|BadRequest)$")


def words(node: ast.AST) -> str | None:
    """A text in the source, with something in the place of what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X1" for part in node.values)
    return None


def said_by(folder: str, calls: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """Every sentence that a simulator raises: (where, code, sentence)."""
    found = []
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not calls.search(name := ast.unparse(node.func)):
                continue
            named = {word.arg: words(word.value) for word in node.keywords}
            texts = [text for argument in node.args if (text := words(argument))]
            if name == "no_permission":  # it makes the sentence of what it is given
                continue
            code = named.get("error_id") or named.get("message_id") or next((text for text in texts if text.startswith("GW-")), "")
            sentences = [f"{text} could not be found" for text in texts] if name == "not_found" else [text for text in texts if " " in text]
            sentences = [f"/x {text}" if name.endswith("_fault") else text for text in sentences]
            found += [(f"{path.name}:{node.lineno}", code or "", text) for text in sentences if text.replace("X1", "").strip()]
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_reached_by_its_codes_and_by_its_words(entry):
    for code in entry.codes:
        assert catalogue().explain(entry.system, code, entry.example) is entry
    if entry.pattern is not None:
        assert catalogue().explain(entry.system, "", entry.example) is entry
    assert entry.cause.endswith(".")
    assert entry.fix.endswith((".", ")"))


def test_names_are_used_once():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("where", "code", "sentence"), said_by("connect/sandbox/sage", SAGE_SAYS))
def test_what_the_sandbox_sage_says_is_known(where, code, sentence):
    assert catalogue().explain("sage", code, sentence) is not None


@pytest.mark.parametrize(("where", "code", "sentence"), said_by("connect/sandbox/prime", PRIME_SAYS))
def test_what_the_sandbox_prime_says_is_known(where, code, sentence):
    code = "1" if "Refused" in (ROOT / "connect/sandbox/prime" / where.partition(":")[0]).read_text() else ""
    assert catalogue().explain("prime", code, sentence) is not None


def test_the_sandbox_says_enough_to_make_this_a_test():
    assert len(said_by("connect/sandbox/sage", SAGE_SAYS)) > 50
    assert len(said_by("connect/sandbox/prime", PRIME_SAYS)) > 40


@pytest.mark.parametrize(
    ("row", "name"), [(TOO_EARLY, "payment_before_bill"), (WRONG_ACCOUNT, "payment_account"), (TOO_MUCH, "payment_too_much")]
)
def test_the_three_texts_of_the_guide_lead_to_their_entries(row, name):
    code = row.get("errorId") or row["code"]
    assert catalogue().explain("sage", code, row["message"]).name == name
    if "errorId" in row:
        assert catalogue().explain("sage", code, "in other words").name == name
        assert catalogue().explain("sage", row["additionalInfo"]["messageId"], "in other words").name == name


@pytest.mark.parametrize("code", sorted(GENERIC))
def test_a_code_that_only_says_that_it_failed_names_nothing(code):
    assert catalogue().explain("sage", code, "something nobody has seen before") is None


def test_the_generic_code_of_an_overpayment_does_not_hide_another_reason():
    assert catalogue().explain("sage", "BL01001973", "Contact cannot be empty").name == "contact_empty"


def test_ids_in_sages_own_words_count_before_the_text():
    detail = '{"ia::error": {"errorId": "REST-7001", "details": [{"errorId": "AP-0038", "message": "new words"}]}}'
    assert catalogue().explain("sage", "informationMissing", "the vendor 'X' is on hold", detail).name == "payment_account"


def test_a_code_of_ours_is_told_apart_by_the_text_where_two_entries_share_it():
    assert catalogue().explain("sage", "account", "Account 2440 does not allow direct posting").name in (
        "account_closed",
        "account_invalid",
    )
    assert catalogue().explain("sage", "account_closed", "").name == "account_closed"


@pytest.mark.parametrize(
    ("message", "owner"),
    [
        ("Account 6999 is not valid", "clerk"),
        ("Account 6999 is not valid; Invalid Department 99 selected", "clerk"),
        ("Account 6999 is not valid; The vendor 'V2' is on hold.", "Sage administrator"),
        ("Account 6999 is not valid; something nobody has seen before", "operator"),
        ("something nobody has seen before", "operator"),
    ],
)
def test_a_refusal_is_the_clerks_only_when_all_of_it_is(message, owner):
    assert catalogue().owner("sage", "REST-7001", f"Sage: {message}") == owner


def test_an_error_that_nobody_knows_has_no_entry_but_a_shape():
    error = Permanent("The flux 17 of 'Ann' is 3 % off", system="sage", code="XX-9")
    assert catalogue().of(error) is None
    assert shape_of("sage", "XX-9", error.message) == shape_of("sage", "XX-9", "The flux 4 of 'Bo' is 12 % off")
    assert shape_of("sage", "XX-9", error.message) != shape_of("sage", "XX-9", "The tide 17 of 'Ann' is 3 % off")
    assert len(shape_of("sage", "X", "word " * 500)) == SHAPE_MOST


def test_a_record_that_cannot_be_read_is_sages_unless_said_otherwise():
    assert catalogue().of(Poison("status is 'odd'", code="unexpected_value")).name == "bad_value"
    assert catalogue().of(Poison("job x", system="redis", code="lost_job")).name == "lost_job"


def raised_by_us() -> list[tuple[str, str, str, str, str]]:
    """Every error of ours that is made with a code of its own: (where, class, system, code); and problems, with their owner."""
    found = []
    for path in sorted((ROOT / "connect").rglob("*.py")):
        if {"sandbox", "config"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or (name := ast.unparse(node.func)) not in ("Permanent", "Poison", "Auth", "Problem"):
                continue
            named = {word.arg: words(word.value) for word in node.keywords}
            given = [words(argument) for argument in node.args[1:]]
            code = named.get("code") or (given[2] if name == "Problem" and len(given) > 2 else None)
            owner = named.get("owner") or (given[0] if name == "Problem" and given else None) or "clerk"
            if code:
                found.append(
                    (
                        f"{path.name}:{node.lineno}",
                        name,
                        owner if name == "Problem" else named.get("system") or "",
                        code,
                        (node.args and words(node.args[0])) or "",
                    )
                )
    return found


NEVER_SEEN = {"fenced"}  # ends a job quietly: nobody is told


@pytest.mark.parametrize(("where", "kind", "of", "code", "message"), raised_by_us())
def test_what_we_raise_ourselves_is_known_and_problems_agree_on_whose_turn_it_is(where, kind, of, code, message):
    if code in NEVER_SEEN:
        return
    entry = catalogue().explain("sage" if kind == "Problem" else of, code, message)
    assert entry is not None
    if kind == "Problem":
        assert entry.owner == of
