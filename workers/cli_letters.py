"""`connect dead-letters`, `errors`, `audit` and `trace`: what went wrong, what it means, and what people have done about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError, ConnectError
from workers.command import (
    CONFIG_FILE,
    ConfigOption,
    JsonOption,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    acting,
    begin,
    load,
    screen,
    tools_of_config,
    waited,
)

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.prime.documents import Image
    from workers.session import Outcome

dead_letters = typer.Typer(
    no_args_is_help=True,
    help="Rows and documents that could not be delivered: why, who can mend it, and sending them again.",
    epilog="What Sage or Prime takes later on resolves its dead letter by itself.",
)
errors_app = typer.Typer(no_args_is_help=True, help="The catalogue of known errors: cause, whose turn it is, what to do.")
audit_app = typer.Typer(no_args_is_help=True, help="What people have done, in a chain in which nothing can be changed unseen.")


class Form(StrEnum):
    jsonl = "jsonl"
    csv = "csv"


FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help="Only those that match: connection, company, job, kind, number, code, owner, group or state exactly; supplier, text or id by "
        "part. Repeatable.",
    ),
]
LetterArgument = Annotated[str, typer.Argument(metavar="ID", help="The id that `list` shows.")]
LettersArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The ids that `list` shows.")]
ByOption = Annotated[
    str | None, typer.Option("--as", metavar="USER", help="Who does this: the user of the token in CONNECT_TOKEN, once there are users.")
]
CODE_WIDTH: Final = 24
TRACE_EXAMPLE: Final = (
    "Example:  connect trace 1-8543\n\n"
    "Any number will do: series-number, the supplier's invoice number, the bill's key, a payment reference."
)


# -- dead letters ------------------------------------------------------------------------------------------------------


@dead_letters.command("list", epilog="Example:  connect dead-letters list --filter owner=consultant --filter company=100")
def dead_letters_list(
    filters: FilterOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Open dead letters, newest first; --filter state=resolved or state=discarded shows those."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)
    chosen = _filters(filters)

    async def ask() -> tuple[int, list[dict[str, Any]]]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            found = await overview.letters(tools, chosen, limit=limit, offset=offset)
            return found.total, [item.model_dump(mode="json", by_alias=True) for item in found.items]

    total, items = waited(ask())

    def human() -> None:
        for item in items:
            error, name = item["error"], item["supplier"]
            name = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
            typer.echo(f"{item['id']}  {item['state']}  {item['job']} {item['company']}  {item['number']}  {name}")
            typer.echo(f"    {error['message']}")
            typer.echo(f"    {error['owner']}: {error['fix']}")
        screen.say(f"{total} in all" + (f", {len(items)} shown" if total > len(items) else ""))

    screen.result({"total": total, "items": items}, human)


@dead_letters.command(
    "groups",
    epilog="Example:  connect dead-letters groups\n\nThe filter shown with a group selects just its letters, in `list` and in `replay`.",
)
def dead_letters_groups(
    filters: FilterOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many groups at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Open dead letters by what is wrong with them, the most frequent first."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)
    chosen = _filters(filters)

    async def ask() -> dict[str, Any]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            return (await overview.letter_groups(tools, chosen, limit=limit, offset=offset)).model_dump(mode="json")

    found = waited(ask())

    def human() -> None:
        for group in found["items"]:
            typer.echo(f"{group['count']:>7,} × {group['text']}")
            typer.echo(f"          {group['owner']}: {group['fix']}")
            typer.echo(f"          --filter connection={group['connection']} --filter group={group['filter']['group']}")
        screen.say(f"{found['total']:,} in {found['groups']:,} groups")

    screen.result(found, human)


@dead_letters.command(
    "show", epilog="Example:  connect dead-letters show 3f9c0a1b2c3d\n\nThe ids are those that `connect dead-letters list` shows."
)
def dead_letters_show(letter_id: LetterArgument, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """All that is known of one: the row, both systems' words, what happened so far, and what to do."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> dict[str, Any]:
        from workers.letters import described, letter_of

        async with tools_of_config(loaded) as tools:
            one, letter = await letter_of(tools, letter_id)
            facts = await described(one, letter)
            facts["request"] = None if facts["request"] is None else _payload(facts["request"].encode())
            return letter.item(one.connection.name) | facts | {"payload": _payload(letter.payload)}

    found = waited(ask())

    def human() -> None:
        import json

        for name in (
            "id",
            "state",
            "connection",
            "company",
            "job",
            "kind",
            "number",
            "supplier",
            "attempts",
            "first_at",
            "last_at",
            "run",
            "trace",
        ):
            typer.echo(f"{name:<12}{found[name]}")
        for name, value in found["error"].items():
            typer.echo(f"{name:<12}{value}" if value else "", nl=bool(value))
        typer.echo("history")
        for entry in found["history"]:
            typer.echo(f"  {entry['at']}  {entry['what']}  {entry['why']}{'  by ' + entry['by'] if entry['by'] else ''}")
        for path, value in found["edit"].items():
            typer.echo(f"edited      {path} = {value}")
        for name in ("payload", "request"):
            if found[name] is not None:
                typer.echo(name)
                typer.echo(json.dumps(found[name], indent=2, ensure_ascii=False) if not isinstance(found[name], str) else found[name])

    screen.result(found, human)


@dead_letters.command(
    "files",
    epilog="Example:  connect dead-letters files 3f9c0a1b2c3d --save invoice\n\n"
    "Saved as place-name, such as 0-invoice.pdf, for you alone to read. Prime gives all files of an invoice or none.",
)
def dead_letters_files(
    letter_id: LetterArgument,
    folder: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write them into this folder; a file that is there is not written over.")
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """The files that Prime has of an invoice."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> Sequence[Image]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            return await overview.images(tools, letter_id)

    found = waited(ask())
    saved = _save(found, folder) if folder is not None else [None for _ in found]

    def human() -> None:
        from workers.screen import table

        rows = [(place, _printable(image.name), _printable(image.type), len(image.data)) for place, image in enumerate(found)]
        table(("place", "name", "type", "bytes"), rows, right=("place", "bytes"))
        if folder is not None:
            screen.say(f"{len(found)} saved in {folder}")

    rows = [
        {
            "place": place,
            "name": image.name,
            "type": image.type,
            "size_bytes": len(image.data),
            "saved": None if path is None else str(path),
        }
        for place, (image, path) in enumerate(zip(found, saved, strict=True))
    ]
    screen.result({"files": rows}, human)


@dead_letters.command(
    "replay",
    epilog="Example:  connect dead-letters replay --filter code=2 --dry-run\n\nRows are read anew from Sage, so that nothing old is sent.",
)
def dead_letters_replay(
    letter_ids: LettersArgument = None,
    filters: FilterOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")] = False,
    rate: Annotated[float | None, typer.Option("--rate", min=0.01, metavar="N", help="At most N rows a second.")] = None,
    by: ByOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; starts workers of its own when none is alive.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Send rows again: those named, or all that match the filters."""
    from workers.session import replay

    begin(as_json, log_format, log_level, quiet=wait)
    loaded = load(config)
    ids, chosen = _which(letter_ids, filters)

    async def do() -> Outcome:
        async with acting(loaded, by, "operator") as me:
            return await replay(me.config, screen, ids=ids, filters=chosen, dry_run=dry_run, rate=rate, wait=wait, by=me.by)

    outcome = waited(do())
    screen.result(outcome.document(), outcome.show)
    raise typer.Exit(outcome.exit_code)


@dead_letters.command("discard", epilog='Example:  connect dead-letters discard 3f9c0a1b2c3d --reason "vendor was a test"')
def dead_letters_discard(
    letter_ids: LettersArgument = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the letter.")] = ...,  # type: ignore[assignment]  # typer's "required"
    filters: FilterOption = None,
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Close letters without sending their rows."""
    begin(as_json)
    loaded = load(config)
    ids, chosen = _which(letter_ids, filters)

    async def do() -> int:
        from workers import acts

        async with acting(loaded, by, "operator") as me:
            return (await acts.discard(me.tools, ids=ids, filters=chosen, reason=reason, by=me.by)).count

    count = waited(do())
    screen.result({"discarded": count}, lambda: screen.say(f"discarded {count}"))


@dead_letters.command(
    "approve",
    epilog="Example:  connect dead-letters approve 3f9c0a1b2c3d --as ann\n\n"
    "Then somebody else replays it. PaymentApproval = false in GeneralSettings switches this off.",
)
def dead_letters_approve(
    letter_ids: LettersArgument = None,
    filters: FilterOption = None,
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Let payments be replayed, by another person than you."""
    begin(as_json)
    loaded = load(config)
    ids, chosen = _which(letter_ids, filters)

    async def do() -> int:
        from workers import acts

        async with acting(loaded, by, "approver") as me:
            return (await acts.approve(me.tools, ids=ids, filters=chosen, by=me.by)).count

    count = waited(do())
    screen.result({"approved": count}, lambda: screen.say(f"approved {count}; somebody else may replay them now"))


@dead_letters.command(
    "edit",
    epilog='Example:  connect dead-letters edit 3f9c0a1b2c3d --set lines[0].account=6541 --reason "account was closed"\n\n'
    "Then replay it. What was approved in Prime (supplier, amounts, currency) is changed there, never here.",
)
def dead_letters_edit(
    letter_id: LetterArgument,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="PATH=VALUE", help="A field of the payload that `show` prints, and its new value. Repeatable."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the letter and in the audit trail.")],
    by: ByOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Change coding, dates or texts of an invoice that waits."""
    begin(as_json)
    loaded = load(config)

    async def do() -> dict[str, Any]:
        from workers import acts

        async with acting(loaded, by, "operator") as me:
            return (await acts.edit(me.tools, letter_id, changes, reason=reason, by=me.by)).model_dump(mode="json")

    done = waited(do())

    def human() -> None:
        from workers.screen import table

        table(("field", "before", "after"), [(row["path"], row["before"] or "", row["after"] or "") for row in done["changes"]])
        screen.say(f"kept; `connect dead-letters replay {letter_id} --wait` sends it")

    screen.result(done, human)


_NAME_WIDTH: Final = 40
_FILE_NAME_MOST: Final = 60  # characters; of up to 4 bytes, of which file systems take 255


def file_name(place: int, name: str) -> str:
    """What a file of Prime's is saved as: within one folder whatever its name holds, and no two of an invoice alike."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    tame = "".join(char if char.isprintable() and char not in ':*?"<>|' else "_" for char in bare).strip(". ")
    stem, dot, ending = tame.rpartition(".")
    if dot and len(ending) <= 10:
        tame = stem[: _FILE_NAME_MOST - len(ending) - 1] + dot + ending
    return f"{place}-{tame[:_FILE_NAME_MOST] or 'file'}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _save(images: Sequence[Image], folder: Path) -> list[Path]:
    """Write files of an invoice; all or, when one of their names is taken, none. Raises ConfigError."""
    paths = [folder / file_name(place, image.name) for place, image in enumerate(images)]
    taken = [str(path) for path in paths if os.path.lexists(path)]
    if taken:
        raise ConfigError(f"nothing was saved: {', '.join(taken)} is there already; choose another folder", code="save")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, image in zip(paths, images, strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(image.data)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}", code="save") from None
    return paths


def _payload(payload: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")


def _filters(texts: Sequence[str] | None) -> dict[str, str]:
    """`--filter KEY=VALUE …` as a mapping. Which keys there are, the store knows."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--filter {text}: expected KEY=VALUE, such as owner=consultant", code="filter")
        found["error" if key == "code" else key] = value
    return found


def _which(letter_ids: Sequence[str] | None, filters: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    if bool(letter_ids) == bool(filters):
        raise ConfigError("say which dead letters: their ids, or --filter KEY=VALUE (state=open for all)", code="which")
    return list(letter_ids or ()), _filters(filters)


# -- errors ------------------------------------------------------------------------------------------------------------


@errors_app.command("list", epilog="Example:  connect errors list --json")
def errors_list(as_json: JsonOption = False) -> None:
    """Every known error, and whose turn it is."""
    from connect.catalogue import catalogue
    from workers.screen import table

    screen.json = as_json
    entries = [entry.document() for entry in catalogue().entries]

    def human() -> None:
        table(("error", "system", "whose turn", "cause"), [(one["name"], one["system"], one["owner"], one["cause"]) for one in entries])

    screen.result({"total": len(entries), "errors": entries}, human)


@errors_app.command(
    "explain", epilog='Example:  connect errors explain SL-0417\n\nA text does too:  connect errors explain "period is closed"'
)
def errors_explain(
    code: Annotated[str, typer.Argument(metavar="CODE", help="A code, messageId, name, or the error's text.")], as_json: JsonOption = False
) -> None:
    """What an error means, who mends it and how, and what the worker does."""
    from connect.catalogue import ACTIONS, catalogue

    screen.json = as_json
    by_text = catalogue().explain("", "", code)
    found = catalogue().named(code) or ([by_text] if by_text is not None else [])
    if not found:
        raise ConnectError(f"the catalogue does not know {code!r}; `connect errors list` shows what it knows", code="unknown-error")

    def human() -> None:
        for entry in found:
            typer.echo(f"{entry.name} ({entry.system or 'connect'})")
            typer.echo(f"  reads       {entry.example}")
            typer.echo(f"  cause       {entry.cause}")
            typer.echo(f"  whose turn  {entry.owner}")
            typer.echo(f"  what to do  {entry.fix}")
            typer.echo(f"  the worker  {ACTIONS[entry.action]}")

    screen.result({"code": code, "errors": [entry.document() for entry in found]}, human)


@errors_app.command("unknown", epilog="Example:  connect errors unknown")
def errors_unknown(config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Errors seen that the catalogue does not know, by what they look like."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> dict[str, Any]:
        from workers.letters import catalogue_coverage, unknown_shapes

        async with tools_of_config(loaded) as tools:
            return await catalogue_coverage(tools) | {"shapes": await unknown_shapes(tools)}

    found = waited(ask())

    def human() -> None:
        for row in found["shapes"]:
            typer.echo(f"{row['times']:>8,}  {row['shape']}  ({row['connection']})")
        screen.say(f"the catalogue knows {found['coverage']:.1%} of {found['known'] + found['unknown']:,} errors seen")

    screen.result(found, human)


# -- audit, trace ------------------------------------------------------------------------------------------------------


ConnectionOption = Annotated[str | None, typer.Option("--connection", help="This connection alone (its name).")]


WhoOption = Annotated[str | None, typer.Option("--who", help="Acts of this user alone.")]
WhatOption = Annotated[str | None, typer.Option("--what", help="Acts of this kind alone: edit, replay, discard, sync, pause, …")]
SinceOption = Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="From then on, UTC.")]


def _moment(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None else None


@audit_app.command("list", epilog="Example:  connect audit list --limit 20 --who ann")
def audit_list(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, the newest.")] = 50,
    connection: ConnectionOption = None,
    who: WhoOption = None,
    what: WhatOption = None,
    since: SinceOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Who did what, oldest first."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> list[dict[str, Any]]:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            found: list[dict[str, Any]] = []
            before: str | None = None
            while len(found) < limit and before != "":
                page = await overview.audit_list(
                    tools, connection=connection, by=who, what=what, since=_moment(since), before=before, limit=limit - len(found)
                )
                found += [one.model_dump(mode="json") for one in page.items]
                before = page.older
            return found[::-1]

    entries = waited(ask())

    def human() -> None:
        for one in entries:
            facts = ", ".join(f"{name} {value}" for name, value in one["facts"].items() if value)
            typer.echo(f"{one['n']:>6}  {one['at'][:19]}  {one['by']}  {one['what']}  {one['about']}  {facts}")

    screen.result({"entries": entries}, human)


@audit_app.command("export", epilog="Example:  connect audit export --form csv > acts.csv")
def audit_export(
    form: Annotated[Form, typer.Option(help="JSON lines, or CSV with a heading.")] = Form.jsonl,
    connection: ConnectionOption = None,
    who: WhoOption = None,
    what: WhatOption = None,
    since: SinceOption = None,
    config: ConfigOption = CONFIG_FILE,
) -> None:
    """All acts that match, newest first, on stdout."""
    begin(level=LogLevel.warning)
    loaded = load(config)

    async def do() -> None:
        from workers import overview

        async with tools_of_config(loaded) as tools:
            async for line in overview.audit_export(tools, form.value, connection=connection, by=who, what=what, since=_moment(since)):
                typer.echo(line, nl=False)

    waited(do())


@audit_app.command(
    "verify", epilog="Example:  connect audit verify --head 17:9f86d081…\n\nExit code 1 when an entry was changed or is missing."
)
def audit_verify(
    head: Annotated[
        str | None, typer.Option("--head", metavar="N:HASH", help="An entry as the log has it: also finds an end that was cut off.")
    ] = None,
    connection: ConnectionOption = None,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Whether the audit trail is whole."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)
    if connection is not None:
        loaded.connection(connection)
    logged = _logged(head)

    async def ask() -> list[dict[str, Any]]:
        from workers.letters import verify_audit

        async with tools_of_config(loaded) as tools:
            return await verify_audit(tools, connection, logged)

    found = waited(ask())
    is_whole = not any(one["flaws"] for one in found)

    def human() -> None:
        for one in found:
            typer.echo(f"{one['connection']}: {one['entries']:,} entries, head {one['head']['n']}:{one['head']['hash']}")
            for flaw in one["flaws"]:
                typer.echo(f"  {flaw['n']}: {flaw['message']}")
        screen.say("the audit trail is whole" if is_whole else "the audit trail was tampered with, or Redis has lost a part of it")

    screen.result({"ok": is_whole, "connections": found}, human)
    raise typer.Exit(0 if is_whole else 1)


def _logged(head: str | None) -> tuple[int, str] | None:
    if head is None:
        return None
    number, _, digest = head.partition(":")
    if not number.isdecimal() or not digest:
        raise ConfigError(f"--head {head}: expected N:HASH as the log has them", code="head")
    return int(number), digest


def trace(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Any number of the document.")],
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """The whole story of a document, by any of its numbers."""
    begin(as_json, level=LogLevel.warning)
    loaded = load(config)

    async def ask() -> list[dict[str, Any]]:
        from workers.letters import trace as told

        async with tools_of_config(loaded) as tools:
            return await told(tools, number)

    found = waited(ask())
    if not found:
        raise ConnectError(
            f"nothing is known of {number}: it was not worked on here in the last 400 days, or Redis has lost it", code="unknown-number"
        )

    def human() -> None:
        for one in found:
            typer.echo(f"{one['kind']} {one['document']}, company {one['company']} ({one['connection']}) {one['marker']}")
            journal = one["journal"]
            if journal is not None:
                typer.echo(f"  state {journal['state'] or '(none)'}, bill {journal['key'] or '(none)'}, revision {journal['revision']}")
            for step in one["steps"]:
                more = "  ".join(str(step[name]) for name in ("key", "result", "by", "request_id", "run") if step.get(name))
                typer.echo(f"  {step['at'][:23]}  {step.get('system', ''):<8}{step['step']:<18}{more}")

    screen.result({"number": number, "documents": found}, human)
