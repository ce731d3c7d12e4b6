"""`connect notify`: the channels on which people are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from connect.errors import ConnectError
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, tools_of_config, waited

if TYPE_CHECKING:  # late imports: see cli.py
    from workers.notify import Message

notify_app = typer.Typer(no_args_is_help=True, help="E-mail, Slack and Teams: do messages get through, and what would the summary say?")
ChannelOption = Annotated[str | None, typer.Option("--channel", help="This channel alone (its name in [[notifications]]).")]


@notify_app.command("test", epilog="Example:  connect notify test --channel ops-mail\n\nExit code 1 when a message did not get through.")
def send_test(channel: ChannelOption = None, config: ConfigOption = CONFIG_FILE, as_json: JsonOption = False) -> None:
    """Send a test message on each channel, now; needs neither Redis nor workers."""
    from workers.notify import channels_named, try_channel

    begin(as_json, level=LogLevel.error)
    loaded = load(config)
    chosen = channels_named(loaded.notifications, channel)

    async def ask() -> list[dict[str, str | bool]]:
        found: list[dict[str, str | bool]] = []
        for one in chosen:
            why = await try_channel(one, loaded.console_url, datetime.now(UTC))
            found.append({"channel": one.name, "kind": one.kind, "ok": not why, "reason": why})
        return found

    found = waited(ask())

    def human() -> None:
        for one in found:
            typer.echo(f"{one['channel']} ({one['kind']}): {'the message got through' if one['ok'] else one['reason']}")

    screen.result({"channels": found}, human)
    raise typer.Exit(0 if all(one["ok"] for one in found) else 1)


@notify_app.command("digest", epilog="Example:  connect notify digest --dry-run\n\nThe daily one is sent all the same.")
def digest(
    channel: ChannelOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it and send nothing.")] = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Send the summary now, on each channel or one."""
    from workers.notify import channels_named, deliver, digest_now, text_of

    begin(as_json, level=LogLevel.error)
    loaded = load(config)
    chosen = channels_named(loaded.notifications, channel)

    async def ask() -> tuple[list[Message], list[str]]:
        made, failed = [], []
        async with tools_of_config(loaded) as tools:
            for one in chosen:
                made.append(await digest_now(tools, one))
                if not dry_run:
                    try:
                        failed.append(await deliver(one, made[-1]))
                    except ConnectError as error:
                        failed.append(error.message)
        return made, failed

    made, failed = waited(ask())
    documents = [
        {"channel": one.name, "subject": message.subject, "text": text_of(message), "sent": not dry_run and not why, "reason": why}
        for one, message, why in zip(chosen, made, failed or [""] * len(made), strict=True)
    ]

    def human() -> None:
        for one in documents:
            if dry_run:
                typer.echo(f"-- {one['channel']}: {one['subject']}\n\n{one['text']}")
            else:
                typer.echo(f"{one['channel']}: {one['reason'] or 'sent'}")

    screen.result({"digests": documents}, human)
    raise typer.Exit(1 if any(failed) else 0)
