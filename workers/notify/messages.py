"""Messages to people, as e-mail (text and HTML) and as JSON for Slack and Teams. Numbers, counts and what the catalogue says; nothing that
a document holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined

from connect.config import Notification
from workers.notify.deciding import Decision, Trouble
from workers.overview import Chart, LetterGroup, Overview

LINES_MOST: Final = 10
SECTIONS_MOST: Final = 20
LINE_MOST: Final = 400
SLACK_TEXT_MOST: Final = 2900  # Slack takes 3,000 characters a block
TEAMS_BYTES_MOST: Final = 24_000  # Teams takes 28 KB
MARKS: Final = {"red": "\N{LARGE RED CIRCLE}", "amber": "\N{LARGE YELLOW CIRCLE}", "green": "\N{LARGE GREEN CIRCLE}", "": ""}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


@dataclass(frozen=True)
class Section:
    """One trouble, or a part of the summary. `more`: lines that were left out; `fix`: what to do."""

    title: str
    light: str = ""
    lines: Sequence[str] = ()
    more: int = 0
    url: str = ""
    fix: str = ""

    @property
    def lines_below(self) -> list[str]:
        """All that stands below the title."""
        left = [f"… and {self.more} more"] if self.more else []
        return [*self.lines, *left, *([f"What to do: {self.fix}"] if self.fix else [])]


@dataclass(frozen=True)
class Message:
    """What is sent. `id`: sent again, it is the same message."""

    id: str
    subject: str
    sections: Sequence[Section]
    at: datetime
    zone: str = "UTC"
    url: str = ""

    @property
    def when(self) -> str:
        return f"{self.at.astimezone(ZoneInfo(self.zone)):%Y-%m-%d %H:%M} {self.zone}"


def section(title: str, lines: Iterable[str], *, light: str = "", url: str = "") -> Section:
    """With as many lines as a message holds, each on one line of its own."""
    found = [clean(line) for line in lines]
    return Section(clean(title), light, found[:LINES_MOST], max(0, len(found) - LINES_MOST), url)


def clean(text: str) -> str:
    """Others' words on one line of bounded length: they make no header and no line of their own."""
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= LINE_MOST else f"{text[: LINE_MOST - 1]}…"


# -- what is said ------------------------------------------------------------------------------------------------------


def of_decision(channel: Notification, decision: Decision, at: datetime, console: str | None) -> Message:
    """What is wrong now, and what is over."""
    sections = [_section_of(trouble, console) for trouble in decision.troubles[:SECTIONS_MOST]]
    left = len(decision.troubles) - len(sections)
    if left > 0:
        sections.append(Section(f"… and {left} more", "", url=console or ""))
    over = [f"{title} (it lasted {_long(lasted)})" for title, lasted in decision.resolved]
    if over:
        sections.append(section("Resolved", over, light="green", url=console or ""))
    titles = [trouble.title for trouble in decision.troubles]
    if titles:
        where = _where(decision.troubles)
        worst = "red" if any(trouble.light == "red" for trouble in decision.troubles) else "amber"
        subject = f"[Connect] {worst}: {titles[0]}{where}" + (f", and {len(titles) - 1} more" if len(titles) > 1 else "")
    else:
        subject = f"[Connect] resolved: {decision.resolved[0][0]}" + (
            f", and {len(decision.resolved) - 1} more" if len(decision.resolved) > 1 else ""
        )
    return Message(decision.id, clean(subject), sections, at, channel.timezone, console or "")


def _section_of(trouble: Trouble, console: str | None) -> Section:
    members = sorted(trouble.members.values(), key=lambda member: (-member.number, member.key))
    lines = [member.line for member in members]
    url = console or ""
    if console and trouble.group.startswith("dead-letters:"):
        only = {member.connection for member in members}
        filters = {"owner": trouble.owner} | ({"connection": only.pop()} if len(only) == 1 else {})
        url = f"{console}/dead-letters?{urlencode(filters)}"
    total = sum(member.number for member in members)
    many = f"{total:,} × " if total else ""
    found = section(f"{many}{trouble.title} (whose turn: {trouble.owner})", lines, light=trouble.light, url=url)
    return replace(found, fix=clean(trouble.fix))


def _where(troubles: Sequence[Trouble]) -> str:
    connections = {member.connection for member in troubles[0].members.values()}
    return f" ({next(iter(connections))})" if len(connections) == 1 else f" ({len(connections)} connections)"


def of_digest(
    channel: Notification, id_: str, seen: Overview, letters: Sequence[LetterGroup], charts: Sequence[Chart], console: str | None
) -> Message:
    """The day's summary: how all is, dead letters by whose turn it is, what moved."""
    mine = [one for one in seen.companies if not channel.connections or one.connection in channel.connections]
    sections = []
    bad = sorted((one for one in mine if one.light != "green"), key=lambda one: one.light != "red")
    for one in bad[:SECTIONS_MOST]:
        texts = [reason.text for reason in one.reasons if not channel.owners or reason.owner in channel.owners]
        texts = texts or [f"{len(one.reasons)} matters for others"]
        sections.append(section(f"{one.connection}, company {one.company}", texts, light=one.light, url=console or ""))
    if len(bad) > SECTIONS_MOST:
        sections.append(Section(f"… and {len(bad) - SECTIONS_MOST} more companies that are not green", url=console or ""))
    names = {one.connection for one in mine}
    errors = [
        f"{group.count:,} × {group.cause.partition('. ')[0].rstrip('.') or f'{group.system} says {group.code}'} "
        f"({group.kind}, {group.connection}; {group.owner})"
        for group in letters
        if group.connection in names and (not channel.owners or group.owner in channel.owners)
    ]
    if errors:
        sections.append(section("Dead letters, by error", errors, url=f"{console}/dead-letters" if console else ""))
    moved = [line for chart in charts if chart.connection in names and (line := _moved(chart))]
    sections.append(section("Rows in the last 24 hours", moved or ["none moved"]))
    lights = {light: sum(one.light == light for one in mine) for light in ("red", "amber", "green")}
    counts = ", ".join(f"{number} {light}" for light, number in lights.items() if number) or "no company"
    return Message(id_, f"[Connect] daily summary: {counts}", sections, seen.at, channel.timezone, console or "")


def _moved(chart: Chart) -> str:
    minutes = [0.0, *((later - sooner).total_seconds() / 60 for sooner, later in pairwise(chart.at))]
    sums = {name: sum(rate * long for rate, long in zip(rates, minutes, strict=False)) for name, rates in chart.rows.items()}
    words = [f"{number:,.0f} {name}" for name, number in sums.items() if round(number)]
    return f"{chart.connection}: {', '.join(words)}" if words else ""


def of_test(channel: Notification, id_: str, at: datetime, console: str | None) -> Message:
    """A message by which a person sees that the channel works."""
    who = ", ".join(channel.connections) or "all connections"
    lines = [f"This is a test of the channel {channel.name}, which tells of {who}. Nothing is wrong."]
    return Message(id_, f"[Connect] test of {channel.name}", [section("Test", lines, light="green")], at, channel.timezone, console or "")


def of_return(channel: Notification, id_: str, since: datetime, at: datetime, console: str | None) -> Message:
    """The channel gets through again, and there is nothing else to say."""
    lines = [f"Messages on {channel.name} did not get through for {_long(at - since)}. What is still wrong has been or will be told."]
    return Message(
        id_,
        f"[Connect] resolved: {channel.name} works again",
        [section("Resolved", lines, light="green")],
        at,
        channel.timezone,
        console or "",
    )


def _long(time: timedelta) -> str:
    minutes = max(1, int(time.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


# -- how it looks ------------------------------------------------------------------------------------------------------

_TEXT: Final = """\
{% for part in message.sections %}
{{ part.title }}{% if part.light %} [{{ part.light }}]{% endif %}

{% for line in part.lines_below %}
  {{ line }}
{% endfor %}
{% if part.url %}
  {{ part.url }}
{% endif %}

{% endfor %}
--
Connect, {{ message.when }}{% if message.url %}, {{ message.url }}{% endif %}

"""
_HTML: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ message.subject }}</title></head>
<body style="font-family: sans-serif; color: #222; background: #fff; max-width: 46em">
{% for part in message.sections %}
<h2 style="font-size: 1.05em; margin: 1.2em 0 .3em; padding-left: .5em; border-left: .4em solid {{ colours[part.light] }}">
{{- part.title }}{% if part.light %} <small>({{ part.light }})</small>{% endif %}</h2>
<ul style="margin: 0; padding-left: 1.4em">
{% for line in part.lines_below %}
<li>{{ line }}</li>
{% endfor %}
</ul>
{% if part.url %}
<p style="margin: .3em 0"><a href="{{ part.url }}">Look at it in the console</a></p>
{% endif %}
{% endfor %}
<p style="color: #666; font-size: .85em">Connect, {{ message.when }}{% if message.url %} ·
<a href="{{ message.url }}">console</a>{% endif %}</p>
</body></html>
"""
_COLOURS: Final = {"red": "#c62828", "amber": "#f9a825", "green": "#2e7d32", "": "#90a4ae"}
_OPTIONS: Final[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined, "keep_trailing_newline": True}
_AS_TEXT: Final = Environment(autoescape=False, **_OPTIONS).from_string(_TEXT)  # noqa: S701 - plain text
_AS_HTML: Final = Environment(autoescape=True, **_OPTIONS).from_string(_HTML)


def text_of(message: Message) -> str:
    return _AS_TEXT.render(message=message)


def html_of(message: Message) -> str:
    return _AS_HTML.render(message=message, colours=_COLOURS)


def mail_of(message: Message, sender: str, to: Sequence[str]) -> EmailMessage:
    """An e-mail with both. Its Message-ID stays the same when it is sent again, so that a mail program shows it once."""
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = Address(display_name="Connect", addr_spec=sender)
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text_of(message))
    mail.add_alternative(html_of(message), subtype="html")
    return mail


def slack_of(message: Message) -> dict[str, Any]:
    """As a Slack webhook takes it. `&`, `<` and `>` are Slack's own signs."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": _cut(message.subject, 150)}}]
    for part in message.sections:
        words = "\n".join([f"*{_slack(part.title)}*", *(f"• {_slack(line)}" for line in part.lines_below)])
        link = f"\n<{part.url}|Look at it in the console>" if part.url else ""
        text = f"{MARKS[part.light]} {_cut(words, SLACK_TEXT_MOST - len(link))}{link}".strip()
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"Connect, {message.when}"}]})
    return {"text": _slack(message.subject), "blocks": blocks}


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def teams_of(message: Message) -> dict[str, Any]:
    """As a workflow of Teams takes it: an adaptive card."""
    body: list[dict[str, Any]] = [_block(message.subject, weight="Bolder", size="Medium")]
    size = 0
    for place, part in enumerate(message.sections):
        lines = part.lines_below
        size += len("".join([part.title, *lines]).encode()) + 200 * (len(lines) + 1)
        if size > TEAMS_BYTES_MOST:
            body.append(_block(f"… and {len(message.sections) - place} more"))
            break
        body.append(_block(f"{MARKS[part.light]} {part.title}".strip(), weight="Bolder", separator=True))
        body += [_block(line, spacing="Small") for line in lines]
    body.append(_block(f"Connect, {message.when}", isSubtle=True, size="Small"))
    urls = list(dict.fromkeys([*(part.url for part in message.sections if part.url), *([message.url] if message.url else [])]))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": _url_title(url), "url": url} for url in urls[:4]],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _url_title(url: str) -> str:
    return "Dead letters" if "/dead-letters" in url else "Console"


def _block(text: str, **looks: Any) -> dict[str, Any]:
    """Text as it is: a backslash before what Teams would take for markup."""
    return {"type": "TextBlock", "text": re.sub(r"([\\`*_\[\]#])", r"\\\1", text), "wrap": True, **looks}
