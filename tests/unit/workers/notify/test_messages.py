"""How messages read: short, with links, the same on every channel, and within what each takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from connect.config import Notification
from workers.notify.deciding import Decision, Member, Trouble
from workers.notify.messages import (
    LINES_MOST,
    Message,
    clean,
    html_of,
    mail_of,
    of_decision,
    section,
    slack_of,
    teams_of,
    text_of,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CHANNEL = Notification(name="chat", kind="slack", webhook_url="https://chat.example.com/x", timezone="Europe/Stockholm")  # type: ignore[arg-type]


def letters(connections: int, title: str = "Invoice: the account is inactive") -> Trouble:
    trouble = Trouble(f"dead-letters:{title}", title, "operator", fix="Make the account active.")
    for number in range(connections):
        trouble.add(Member(f"acme-{number}", "", f"{number + 1} dead letters", number + 1), "amber")
    return trouble


def message(*troubles: Trouble, resolved: tuple[tuple[str, timedelta], ...] = ()) -> Message:
    return of_decision(CHANNEL, Decision(troubles, resolved, {}, {}, "id"), NOW, "https://connect.example.com")


def test_many_are_counted_the_most_first_and_what_to_do_comes_last():
    text = text_of(message(letters(13)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[:2] == ["91 × Invoice: the account is inactive (whose turn: operator) [amber]", "acme-12: 13 dead letters"]
    assert lines[1 + LINES_MOST : 4 + LINES_MOST] == [
        "… and 3 more", "What to do: Make the account active.", "https://connect.example.com/dead-letters?owner=operator",
    ]  # fmt: skip
    assert lines[-1] == "Connect, 2026-03-02 13:00 Europe/Stockholm, https://connect.example.com"


def test_a_link_leads_to_the_letters_of_the_one_connection_that_has_them():
    (part,) = message(letters(1)).sections
    assert part.url == "https://connect.example.com/dead-letters?owner=operator&connection=acme-0"
    assert message(letters(1)).subject == "[Connect] amber: Invoice: the account is inactive (acme-0)"


def test_what_is_over_is_in_the_same_message_and_alone_has_its_own_subject():
    over = ("GetSuppliers fails", timedelta(hours=3))
    both = message(letters(1), resolved=(over,))
    assert [part.title for part in both.sections][-1] == "Resolved"
    assert both.sections[-1].lines == ["GetSuppliers fails (it lasted 3 h)"]
    assert message(resolved=(over, over)).subject == "[Connect] resolved: GetSuppliers fails, and 1 more"


def test_every_channel_takes_the_longest_message():
    long = message(*(letters(200, title=f"{number} {'x' * 500} & <b>") for number in range(60)), resolved=(("y" * 900, timedelta(1)),))
    slack = slack_of(long)
    assert len(slack["blocks"]) <= 50
    for block in slack["blocks"][1:-1]:
        assert len(block["text"]["text"]) <= 3000
    assert len(slack["blocks"][0]["text"]["text"]) <= 150
    assert len(json.dumps(teams_of(long)).encode()) <= 28_000
    assert len(teams_of(long)["attachments"][0]["content"]["actions"]) <= 4
    assert len(long.subject) <= 400


def test_others_words_stay_words():
    part = section("<b>*x*</b>\r\n.\r\nfoo", ["<img src=x>", "a\u2028b"])
    hostile = Message("id", clean("a\r\nBcc: b"), [part], NOW)
    assert hostile.subject == "a Bcc: b"
    assert "<img" not in html_of(hostile)
    assert "&lt;b&gt;" in slack_of(hostile)["blocks"][1]["text"]["text"]
    assert r"\*x\*" in teams_of(hostile)["attachments"][0]["content"]["body"][1]["text"]
    assert "a b" in text_of(hostile)
    assert mail_of(hostile, "c@example.com", ["d@example.com"])["Subject"] == "a Bcc: b"


def test_mail_sent_again_is_the_same_mail():
    first, again = (mail_of(message(letters(1)), "c@example.com", ["d@example.com"]) for _ in range(2))
    assert first["Message-ID"] == again["Message-ID"] == "<id@example.com>"
    assert first["Auto-Submitted"] == "auto-generated"
