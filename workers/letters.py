"""What a person does with dead letters beside replaying them, and what is told of a document; every act goes into the audit trail.

An edit is laid over the invoice when it is posted (invoices.py): the letter keeps it, Prime's record stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from connect.documents import edits
from connect.documents.edits import Difference
from connect.documents.invoice import Invoice
from connect.errors import ConfigError
from connect.ledger import DocumentId
from connect.state.audit import Audit
from connect.state.dead_letters import DeadLetter, Edit, owners_of
from connect.state.letter_search import STATES, find_among
from connect.state.runs import RunRecord
from connect.state.seen import Seen, coverage, totals
from connect.state.story import Story, Traced, known_among
from workers.documents import JOURNAL_KINDS, tools_of
from workers.jobs import ConnectionTools, Tools
from workers.posters import KINDS

INVOICE: Final = "Invoice"
PAYMENT: Final = "Payment"
STORIES_MOST: Final = 200  # dead letters of one number
_CLOSED: Final = {
    "replaying": "is being sent right now",
    "resolved": "is resolved: there is nothing left to change",
    "discarded": "was discarded",
}


def audit_of(connection: ConnectionTools) -> Audit:
    return Audit(connection.redis, connection.connection.sid)


async def letter_of(tools: Tools, letter_id: str) -> tuple[ConnectionTools, DeadLetter]:
    """A letter and its connection. Raises ConfigError when there is none."""
    for sid in await owners_of(tools.redis, list(tools.connections), [letter_id]):
        letter = await tools.connections[sid].dead_letters.get(letter_id)
        if letter is not None:
            return tools.connections[sid], letter
    raise ConfigError(f"there is no dead letter {letter_id}; `connect dead-letters list` shows them", code="unknown-letter")


async def named(tools: Tools, ids: Sequence[str]) -> list[tuple[ConnectionTools, DeadLetter]]:
    """Letters of any state, each with its connection. Raises ConfigError for those that do not exist."""
    found = [
        (tools.connections[sid], letter)
        for sid in await owners_of(tools.redis, list(tools.connections), ids)
        for letter in (await tools.connections[sid].dead_letters.some(ids)).values()
    ]
    if missing := sorted(set(ids) - {letter.id for _, letter in found}):
        raise ConfigError(f"there is no dead letter {', '.join(missing)}; `connect dead-letters list` shows them", code="unknown-letter")
    return found


def document_of(connection: ConnectionTools, letter: DeadLetter) -> DocumentId | None:
    """The document that a letter is about; None for a register's row."""
    if letter.kind not in JOURNAL_KINDS or "-" not in letter.number:
        return None
    at_first = letter.kind == PAYMENT  # an id of Rillion Pay's may have dashes itself, and so may an invoice's series
    series, _, number = letter.number.partition("-") if at_first else letter.number.rpartition("-")
    return DocumentId(tools_of(connection).prime.environment, letter.company, series, number)


# -- editing -----------------------------------------------------------------------------------------------------------


async def edit(
    tools: Tools, letter_id: str, texts: Sequence[str], *, reason: str, by: str, dry_run: bool = False
) -> tuple[DeadLetter, list[Difference]]:
    """Change coding, dates or texts of an invoice that waits: (the letter, what differs now). `texts`: PATH=VALUE. `dry_run`: nothing is
    kept.

    Raises ConfigError in words for what cannot be edited: another kind of letter, one that is not open or belongs to Prime, a field that
    was approved in Prime, an outcome that is not known yet.
    """
    connection, letter = await letter_of(tools, letter_id)
    document = document_of(connection, letter)
    if letter.kind != INVOICE or document is None:
        raise _refused(letter, "holds no invoice: mend it where it is wrong; a replay reads it anew")
    if letter.state != "open":
        raise _refused(letter, _CLOSED.get(letter.state, f"is {letter.state}"))
    changes = edits.changes_from(texts)
    journal = tools_of(connection).journal
    kind = JOURNAL_KINDS[letter.kind]
    lock = await journal.lock(kind, document)
    if lock is None:
        raise _refused(letter, "is being posted right now; try again in a moment")
    try:
        entry = await lock.entry()
        if entry.state == "intent" and entry.may_be_sent and not entry.burnt:
            raise _refused(letter, "may be in Sage already: it is being looked up, and cannot be edited until that is known")
        before = await _form(tools, connection, letter, document)
        after, found = edits.edited(before, changes)
        if not found:
            raise _refused(letter, "has these values already: nothing changes")
        if dry_run:
            return letter, found
        digest = edits.digest_of(before)
        known = (await connection.dead_letters.edits([letter_id])).get(letter_id)
        is_further = known is not None and known.to == digest
        laid = Edit(
            known.of if known is not None and is_further else digest,
            edits.digest_of(after),
            {**(known.changes if known is not None and is_further else {}), **changes},
        )
        said = "; ".join(one.text for one in found)
        await audit_of(connection).add(
            "edit", letter_id, by=by, number=letter.number, company=letter.company, reason=reason, changes=[one.text for one in found]
        )
        await connection.dead_letters.edit(letter_id, laid, edits.payload_of(after), kind=letter.kind, reason=reason, by=by, what=said)
    finally:
        await lock.release()
    return letter, found


async def _form(tools: Tools, connection: ConnectionTools, letter: DeadLetter, document: DocumentId) -> Invoice:
    """The invoice to edit. What was handed back belongs to Prime until Prime lists it again: then, what Prime lists."""
    if letter.error.get("held_by") != "Prime":
        return edits.form_from(letter.payload)
    opened = await KINDS[letter.job](tools, connection, letter.company)
    for one in await opened.listed():
        if one.id == document and isinstance(one.document, Invoice):
            return edits.form_of(one.document)
    raise _refused(letter, "belongs to Prime, which has it back: change it there and resend it. Once Prime lists it, it can be edited here")


def _refused(letter: DeadLetter, why: str) -> ConfigError:
    return ConfigError(f"dead letter {letter.id} ({letter.kind} {letter.number}) {why}", code="edit")


# -- looking -----------------------------------------------------------------------------------------------------------


async def described(connection: ConnectionTools, letter: DeadLetter) -> dict[str, Any]:
    """All that is known of a letter beside its item: history, both systems' words, the exact request, what was edited."""
    edit = (await connection.dead_letters.edits([letter.id])).get(letter.id)
    document = document_of(connection, letter)
    found: dict[str, Any] = {
        "part": letter.part,
        "key": letter.key,
        "run": letter.run,
        "trace": letter.trace,
        "error": dict(letter.error),
        "history": await connection.dead_letters.history(letter.id),
        "edit": edit.changes if edit is not None else {},
        "request": None,
    }
    if document is not None and letter.kind in (INVOICE, PAYMENT):  # the others' journal holds the request of their invoice
        entry = await tools_of(connection).journal.entry(JOURNAL_KINDS[letter.kind], document)
        if entry.request is not None:
            found["request"] = entry.request.body.decode()
    return found


async def trace(tools: Tools, number: str) -> list[dict[str, Any]]:
    """The whole story of every document and row that has this number, in any of its meanings."""
    found: list[dict[str, Any]] = []
    sids, connections = list(tools.connections), list(tools.connections.values())
    known = await known_among(tools.redis, sids, number)
    _, rows = await find_among(
        tools.redis, [one.dead_letters for one in connections], {"number": number}, states=STATES, limit=STORIES_MOST
    )
    for place, connection in enumerate(connections):
        named = [letter for at, letter in rows if at == place]
        story = Story(connection.redis, sids[place])
        letters: dict[str, DeadLetter] = {}
        documents = {
            Traced(JOURNAL_KINDS[letter.kind], document): None
            for letter in named
            if (document := document_of(connection, letter)) is not None
        }
        documents |= dict.fromkeys(known[sids[place]])
        for traced in documents:
            own = await _letters_of(connection, traced)
            letters |= own
            found.append(await _document_story(connection, story, traced, own))
        found += [await _row_story(connection, letter) for letter in named if letter.id not in letters]
    return found


async def _letters_of(connection: ConnectionTools, traced: Traced) -> dict[str, DeadLetter]:
    _, found = await connection.dead_letters.find({"number": traced.id.text, "company": traced.id.company}, states=STATES)
    return {letter.id: letter for letter in found if JOURNAL_KINDS.get(letter.kind) == traced.kind}


async def _document_story(connection: ConnectionTools, story: Story, traced: Traced, letters: dict[str, DeadLetter]) -> dict[str, Any]:
    entry = await tools_of(connection).journal.entry(traced.kind, traced.id)
    steps = await story.steps(traced.kind, traced.id)
    for letter in letters.values():
        steps += await _letter_steps(connection, letter)
    runs = [await connection.runs.record(run) for run in dict.fromkeys(step["run"] for step in steps if step.get("run"))]
    return {
        "connection": connection.connection.name,
        "company": traced.id.company,
        "kind": traced.kind,
        "document": traced.id.text,
        "marker": traced.id.marker(entry.revision),
        "journal": {
            "state": entry.state,
            "revision": entry.revision,
            "key": entry.key,
            "sent_as": [list(pair) for pair in entry.tried],
            "sends": entry.sends,
            "sent_at": entry.sent_at,
            "problems": [one.text for one in entry.problems],
            "note": entry.note,
        },
        "letters": [letter.item(connection.connection.name) for letter in letters.values()],
        "runs": [_run(run) for run in runs if run is not None],
        "steps": sorted(steps, key=lambda step: datetime.fromisoformat(step["at"])),
    }


def _run(run: RunRecord) -> dict[str, str]:
    return {"run": run.run, "job": run.job, "state": run.state, "started_at": run.started_at.isoformat()}


async def _row_story(connection: ConnectionTools, letter: DeadLetter) -> dict[str, Any]:
    """A register's row: its dead letter is all that is kept of it by number."""
    return {
        "connection": connection.connection.name,
        "company": letter.company,
        "kind": letter.kind,
        "document": letter.number,
        "marker": "",
        "journal": None,
        "letters": [letter.item(connection.connection.name)],
        "runs": [],
        "steps": await _letter_steps(connection, letter),
    }


async def _letter_steps(connection: ConnectionTools, letter: DeadLetter) -> list[dict[str, Any]]:
    return [
        {
            "at": row["at"],
            "step": f"dead letter {row['what']}",
            "system": "connect",
            "letter": letter.id,
            "result": row["why"],
            "by": row["by"],
        }
        for row in await connection.dead_letters.history(letter.id)
    ]


async def catalogue_coverage(tools: Tools) -> dict[str, Any]:
    """How many of the errors seen the catalogue knows: {known, unknown, coverage}."""
    seen = await totals(tools.redis, tools.connections)
    return seen | {"coverage": coverage(**seen)}


async def unknown_shapes(tools: Tools) -> list[dict[str, Any]]:
    """What errors without an entry look like, the most frequent first."""
    found = [
        {"connection": one.connection.name, "shape": shape, "times": times}
        for one in tools.connections.values()
        for shape, times in await Seen(one.redis, one.connection.sid).unknown()
    ]
    return sorted(found, key=lambda row: -row["times"])


async def verify_audit(tools: Tools, name: str | None, logged: tuple[int, str] | None = None) -> list[dict[str, Any]]:
    """What is wrong with the audit trails: of one connection, or of all. `logged`: n and hash of an entry as the log has them."""
    chosen = [one for one in tools.connections.values() if name in (None, one.connection.name)]
    if logged is not None and len(chosen) > 1:
        raise ConfigError("--head belongs to one connection: name it with --connection", code="which")
    found = []
    for connection in chosen:
        audit = audit_of(connection)
        count, flaws = await audit.verify(logged)
        n, newest = await audit.head()
        found.append(
            {
                "connection": connection.connection.name,
                "entries": count,
                "head": {"n": n, "hash": newest},
                "flaws": [{"n": flaw.n, "message": flaw.message} for flaw in flaws],
            }
        )
    return found
