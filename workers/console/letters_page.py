"""Dead letters: by what is wrong with them, as a list, one in detail; sent again, approved, discarded, changed. Also their files.

Every act on more than one letter is asked for twice: first how many it would be, then the act. If it would be more by then, it is asked
again. What Prime has back is shown as such, and is changed there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, get_args
from urllib.parse import quote, urlencode

from aiohttp import web
from pydantic import BaseModel

from connect.errors import ConfigError, ConnectError
from connect.ledger import Owner
from connect.state.dead_letters import DeadLetter
from connect.state.letter_search import STATES
from workers import acts, overview
from workers.console.api import ReplayAnswer, replayed
from workers.console.route import API, Asked, Form, Route
from workers.console.security import local_path
from workers.letters import PAYMENT, letter_of
from workers.overview import EditField, Letter
from workers.replay import check_filters

HOME: Final = "/dead-letters"
SHOWN: Final = ("text", "number", "supplier", "owner", "state", "connection", "company", "job", "kind", "code", "group")
PAGE: Final = 50
GROUPS_PAGE: Final = 10
LINES_PAGE: Final = 25  # of the edit form: each line has some ten fields
NAMED: Final = 20  # letters named before an act; more are counted
VALUES_SHOWN: Final = 100  # of a list of known values; the rest is found by typing
FIELD: Final = "set."
FILTER: Final = "filter."
# What a browser shows by itself without running anything; everything else is a download.
INLINE: Final = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_OPTION: Final = re.compile(r"^--[\w-]+: ")  # messages name the option of the command


def in_words(error: ConnectError) -> str:
    """An error's message for a page."""
    text = _OPTION.sub("", error.message)
    return text[:1].upper() + text[1:]


# -- looking -----------------------------------------------------------------------------------------------------------


def filters_of(asked: Asked) -> dict[str, str]:
    """The filters in the address."""
    return {name: value for name in SHOWN if (value := asked.text(name))}


async def index(asked: Asked) -> web.Response:
    """Groups first, then the letters themselves, a page of each."""
    filters = filters_of(asked)
    offset, groups_from = asked.number("offset", 0), asked.number("groups_from", 0)
    only = "group" in filters
    found, groups = await overview.letters_and_groups(
        asked.tools, filters, offset=offset, limit=PAGE, groups_from=0 if only else groups_from, groups_limit=GROUPS_PAGE
    )
    config = asked.tools.config
    return asked.page(
        "letters.html",
        letters=found,
        groups=groups,
        filters=filters,
        only=groups.items[0] if only and groups.items else None,
        may_act=filters.get("state", "open") == "open",
        address=address,
        back=address(filters | ({"offset": str(offset)} if offset else {})),
        offset=offset,
        limit=PAGE,
        groups_from=groups_from,
        groups_limit=GROUPS_PAGE,
        owners=get_args(Owner),
        states=STATES,
        connections=[one.name for one in config.connections],
        jobs=list(dict.fromkeys(item.job for one in config.connections for item in one.jobs)),
    )


def address(filters: Mapping[str, str]) -> str:
    """The list of exactly these."""
    return f"{HOME}?{urlencode(filters, quote_via=quote)}" if filters else HOME


async def show(asked: Asked) -> web.Response:
    return await _letter(asked)


async def _letter(asked: Asked, *, typed: Mapping[str, str] | None = None, problem: str = "", status: int = 200) -> web.Response:
    """One letter; `typed`: what a person has filled in and is shown again."""
    found = await overview.letter(asked.tools, asked.path["id"])
    may_edit = asked.user is not None and asked.user.may("operator")
    top, lines = _by_line(found.fields if may_edit else [])
    start = min(asked.number("lines_from", 0), max(0, len(lines) - 1)) // LINES_PAGE * LINES_PAGE
    window = lines[start : start + LINES_PAGE]
    lists = {
        name: await overview.known_values(asked.tools, found.connection, found.company, name, limit=VALUES_SHOWN)
        for name in dict.fromkeys(one.values for fields in window for one in fields.fields if one.values)
    }
    return asked.page(
        "letter.html",
        status=status,
        letter=found,
        top=top,
        lines=window,
        lines_from=start,
        lines_total=len(lines),
        lines_limit=LINES_PAGE,
        lists=lists,
        typed=typed or {},
        problem=problem,
        can_be_approved=found.kind == PAYMENT and found.state == "open" and not found.may_replay,
        is_own_approval=found.approved_by == asked.by,
        prefix=FIELD,
        run_path=f"{runs}/{quote(found.run, safe='')}" if (runs := runs_path(asked)) and found.run else "",
    )


def runs_path(asked: Asked) -> str:
    """Where runs are shown; empty when this console shows none."""
    return "/runs" if any(route.path == "/runs/{run}" and route.method == "GET" for route in asked.console.table) else ""


class FilesAnswer(BaseModel):
    files: list[overview.FileItem]


class LineFields(NamedTuple):
    """The fields of one line of an invoice. `place` is counted from 1."""

    place: int
    fields: list[EditField]


def _by_line(fields: Sequence[EditField]) -> tuple[list[EditField], list[LineFields]]:
    """(those of the invoice itself, those of each line)."""
    top: list[EditField] = []
    lines: dict[int, list[EditField]] = {}
    for one in fields:
        match = re.match(r"lines\[(\d+)\]", one.path)
        if match is None:
            top.append(one)
            continue
        label = one.label.partition(": ")[2]
        lines.setdefault(int(match[1]) + 1, []).append(one.model_copy(update={"label": label[:1].upper() + label[1:]}))
    return top, [LineFields(place, some) for place, some in lines.items()]


# -- changing one ------------------------------------------------------------------------------------------------------


async def edit(asked: Asked) -> web.Response:
    """First what would change, before and after; then, with a reason, it is kept, and sent again if that is asked for."""
    letter_id, form = asked.path["id"], asked.form
    found = await overview.letter(asked.tools, letter_id)
    if not found.fields:
        raise ConfigError(f"{found.kind} {found.number} cannot be changed here. {found.read_only}", code="edit")
    typed = {name.removeprefix(FIELD): form.text(name) for name in form if name.startswith(FIELD)}
    step = form.text("step", "preview")
    changes = _changed(found, typed)
    if step == "change":
        return await _letter(asked, typed=typed)
    if not changes:
        return await _letter(asked, typed=typed, problem="Nothing differs from what is there: change a field first.", status=400)
    try:
        preview = await acts.edit(asked.tools, letter_id, changes, reason="", by=asked.by, dry_run=True)
    except ConfigError as error:
        return await _letter(asked, typed=typed, problem=in_words(error), status=400)
    reason, seen, problem = form.text("reason"), _seen(preview), ""
    if step in ("save", "replay"):
        if form.text("seen") != seen:
            problem = "Somebody else has changed this invoice meanwhile: look again at what would change."
        else:
            try:
                await acts.edit(asked.tools, letter_id, changes, reason=reason, by=asked.by)
            except ConfigError as error:
                problem = in_words(error)
            else:
                said = await _sent_again(asked, letter_id) if step == "replay" else "Saved. It is sent so with the next replay."
                return asked.go(f"{HOME}/{letter_id}", notice=said)
    labels = {one.path: one.label for one in found.fields}
    return asked.page(
        "letter_preview.html",
        status=400 if problem else 200,
        letter=found,
        edited=preview,
        labels=labels,
        typed=changes,
        reason=reason,
        seen=seen,
        problem=problem,
        prefix=FIELD,
    )


def _changed(letter: Letter, typed: Mapping[str, str]) -> dict[str, str | None]:
    """What a person has typed differently from what is there. A browser sends texts with line feeds alone and without blanks around."""
    there = {one.path: one.value.replace("\r\n", "\n").replace("\r", "\n").strip() for one in letter.fields}
    return {path: value or None for path, value in typed.items() if there.get(path) != value.strip()}


def _seen(edited: acts.Edited) -> str:
    """Digest of what a person was shown before saving."""
    return hashlib.sha256(repr([(one.path, one.before, one.after) for one in edited.changes]).encode()).hexdigest()[:24]


async def _sent_again(asked: Asked, letter_id: str) -> str:
    """What became of the replay after an edit was kept, in words."""
    try:
        done = await replayed(asked, ids=[letter_id], filters={})
    except ConnectError as error:
        return f"Saved, but not sent again: {error.message}"
    if done.paused:
        return "Saved, but not sent again: its job is paused."
    return "Saved and sent again." if done.letters else "Saved. Somebody else is sending it already."


# -- acts on some or all of them ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Which:
    """What a form names: letters by their boxes, or all that match. `back`: where the person came from."""

    ids: list[str]
    filters: dict[str, str]
    back: str
    is_sure: bool
    counted: int

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The hidden fields that name the same again."""
        return [("ids", one) for one in self.ids] + [(FILTER + name, value) for name, value in self.filters.items()]


def which_of(asked: Asked) -> Which:
    """Raises ConfigError for a filter that there is not."""
    form = asked.form
    is_filter = form.text("which") == "filter"
    filters = {name.removeprefix(FILTER): form.text(name) for name in form if name.startswith(FILTER) and form.text(name)}
    if is_filter:
        filters.pop("state", None)
        check_filters(asked.tools, filters)
        filters["state"] = "open"
    counted = form.text("counted")
    return Which(
        ids=[] if is_filter else list(dict.fromkeys(form.all("ids"))),
        filters=filters if is_filter else {},
        back=local_path(form.text("next"), HOME),
        is_sure=form.text("step") == "do",
        counted=int(counted) if counted.isascii() and counted.isdecimal() and len(counted) < 9 else 0,
    )


async def replay(asked: Asked) -> web.Response:
    """Send letters again: how many it would be, then, with a rate if wanted, do it."""
    which = which_of(asked)
    if not which.ids and not which.filters:
        return _nothing(asked, which)
    would = await replayed(asked, ids=which.ids, filters=which.filters, dry_run=True)
    problem = ""
    if which.is_sure and which.filters and would.letters > which.counted:
        problem = "Meanwhile there are more than were counted: look again."
    elif which.is_sure:
        try:
            done = await replayed(asked, ids=which.ids, filters=which.filters, rate=_rate(asked.form))
        except ConnectError as error:
            problem = in_words(error)
        else:
            return asked.go(which.back, notice=replayed_words(done))
    return _act(asked, which, "replay", would.letters, problem=problem, would=would)


def _rate(form: Form) -> float | None:
    text = form.text("rate")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,5}(\.\d{1,2})?", text, re.ASCII) or not 0.01 <= float(text) <= 10_000:
        raise ConfigError("rate: expected letters a second, from 0.01 to 10,000, or nothing", code="rate")
    return float(text)


def replayed_words(done: ReplayAnswer) -> str:
    """What a replay did, for the notice."""
    what = "is being sent" if done.letters == 1 else "are being sent"
    found = [f"{done.letters:,} {what} again" if done.letters else "Nothing was sent again"]
    if done.unapproved:
        found.append(f"{_many(len(done.unapproved), 'payment')} still need{'s' if len(done.unapproved) == 1 else ''} approval")
    if done.paused:
        found.append(f"{_many(len(done.paused), 'letter')} of paused jobs left as {'it is' if len(done.paused) == 1 else 'they are'}")
    return "; ".join(found) + "."


async def approve(asked: Asked) -> web.Response:
    """Let payments be sent again, by another person."""

    async def do(which: Which) -> str:
        count = (await acts.approve(asked.tools, ids=which.ids, filters=which.filters, by=asked.by)).count
        return f"{_many(count, 'payment')} approved: somebody else may send {'it' if count == 1 else 'them'} again now."

    return await _twice(asked, "approve", do)


async def discard(asked: Asked) -> web.Response:
    """Close letters without sending them."""

    async def do(which: Which) -> str:
        done = await acts.discard(asked.tools, ids=which.ids, filters=which.filters, reason=asked.form.text("reason"), by=asked.by)
        return f"{_many(done.count, 'letter')} discarded."

    return await _twice(asked, "discard", do)


async def _twice(asked: Asked, act: str, do: Callable[[Which], Awaitable[str]]) -> web.Response:
    """Count and name them; then do it."""
    which = which_of(asked)
    if not which.ids and not which.filters:
        return _nothing(asked, which)
    letters = [(one, letter) for one, some in await acts.chosen_letters(asked.tools, which.ids, which.filters) for letter in some]
    others = [letter.number for _, letter in letters if letter.kind != PAYMENT]
    problem = ""
    if act == "approve" and others:
        problem = f"Only payments are approved; {_named(others)} can be sent again as they are."
    elif which.is_sure and which.filters and len(letters) > which.counted:
        problem = "Meanwhile there are more than were counted: look again."
    elif which.is_sure:
        try:
            return asked.go(which.back, notice=await do(which))
        except ConfigError as error:
            problem = in_words(error)
    can = 0 if act == "approve" and others else len(letters)
    return _act(asked, which, act, can, problem=problem, some=[letter for _, letter in letters[:NAMED]])


def _act(
    asked: Asked,
    which: Which,
    act: str,
    count: int,
    *,
    problem: str,
    would: ReplayAnswer | None = None,
    some: Sequence[DeadLetter] = (),
) -> web.Response:
    return asked.page(
        "letters_act.html",
        status=400 if problem else 200,
        act=act,
        which=replace(which, counted=count),
        filters={name: value for name, value in which.filters.items() if name != "state"},
        count=count,
        would=would,
        some=some,
        more=count - len(some),
        form=asked.form,
        problem=problem,
    )


def _nothing(asked: Asked, which: Which) -> web.Response:
    return asked.go(which.back, notice="Nothing was done: choose letters first, by the boxes in front of them.")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _named(numbers: Sequence[str]) -> str:
    return ", ".join(numbers[:NAMED]) + (f" and {len(numbers) - NAMED:,} more" if len(numbers) > NAMED else "")


# -- files -------------------------------------------------------------------------------------------------------------


async def files(asked: Asked) -> web.Response:
    """The files that Prime has of an invoice."""
    letter_id = asked.path["id"]
    _, letter = await letter_of(asked.tools, letter_id)
    return asked.page("letter_files.html", letter=letter, files=await overview.files(asked.tools, letter_id, asked.console.kept_images))


async def file(asked: Asked) -> web.StreamResponse:
    """One file: a PDF or picture as such, anything else to be saved. With ?frame=1 always something to show within a page."""
    in_frame = bool(asked.text("frame"))
    text = asked.path["place"]
    place = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else -1
    try:
        name, data = await overview.file(asked.tools, asked.path["id"], place, asked.console.kept_images)
    except ConnectError as error:
        if not in_frame:
            raise
        is_none = error.code == "unknown-file" and place == 0
        words = "Prime has no file of it." if is_none else in_words(error)
        return asked.page("letter_frame.html", status=200 if is_none else 502, words=words, file="")
    kind = next((kind for start, kind in INLINE if data.startswith(start)), "")
    if in_frame and not kind:
        return asked.page("letter_frame.html", words=f"{name} is no PDF and no picture.", file=f"{HOME}/{asked.path['id']}/files/{place}")
    return sent(name, data, is_inline=bool(kind) and not asked.text("download"))


def sent(name: str, data: bytes, *, is_inline: bool = False) -> web.Response:
    """A file of Prime's: as what its first bytes say it is, never as what its name says."""
    kind = next((kind for start, kind in INLINE if data.startswith(start)), "application/octet-stream")
    headers = {"Content-Disposition": disposition(name, is_inline=is_inline), "X-Content-Type-Options": "nosniff"}
    return web.Response(body=data, content_type=kind, headers=headers)


async def api_files(asked: Asked) -> FilesAnswer:
    """The files that Prime has of an invoice."""
    return FilesAnswer(files=await overview.files(asked.tools, asked.path["id"], asked.console.kept_images))


async def api_file(asked: Asked) -> web.StreamResponse:
    """One file, by its place."""
    text = asked.path["place"]
    place = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else -1
    return sent(*await overview.file(asked.tools, asked.path["id"], place, asked.console.kept_images))


def disposition(name: str, *, is_inline: bool) -> str:
    """The header that names a file, whatever its name holds (RFC 6266)."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", bare)[:100].strip(". ") or "file"
    full = quote("".join(char for char in bare if char.isprintable())[:100].strip(". ") or "file", safe="", errors="replace")
    return f"{'inline' if is_inline else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{full}"


ROUTES: Final = [
    Route("GET", HOME, index, role="viewer", cli="dead-letters groups", nav="Dead letters"),
    Route("POST", f"{HOME}/replay", replay, role="operator", cli="dead-letters replay"),
    Route("POST", f"{HOME}/approve", approve, role="approver", cli="dead-letters approve"),
    Route("POST", f"{HOME}/discard", discard, role="operator", cli="dead-letters discard"),
    Route("GET", f"{HOME}/{{id}}", show, role="viewer", cli="dead-letters show"),
    Route("POST", f"{HOME}/{{id}}/edit", edit, role="operator", cli="dead-letters edit"),
    Route("GET", f"{HOME}/{{id}}/files", files, role="viewer", cli="dead-letters files"),
    Route("GET", f"{HOME}/{{id}}/files/{{place}}", file, role="viewer", cli="dead-letters files"),
    Route("GET", f"{API}{HOME}/{{id}}/files", api_files, role="viewer", cli="dead-letters files", answer=FilesAnswer),
    Route(
        "GET",
        f"{API}{HOME}/{{id}}/files/{{place}}",
        api_file,
        role="viewer",
        cli="dead-letters files",
        media=("application/octet-stream", *(kind for _, kind in INLINE)),
    ),
]
