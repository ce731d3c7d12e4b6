"""deploy/runbook.md is complete and true: a section for every alert and owner, and no command that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import typer
from prometheus_box import DEPLOY, rules

from connect.catalogue import Owner, catalogue
from connect.state.letter_search import FILTERS, STATES
from workers.cli import app
from workers.metrics import METRICS

RUNBOOK: Final = (DEPLOY / "runbook.md").read_text()
PARTS: Final = ("What it means.", "How to see it.", "What to do.", "How to know it worked.")
RUN_STATES: Final = ("running", "done", "held", "failed")
FIGURES: Final = ("165 MiB", "10.4", "49", "60 ms", "1.14", "2.13")


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it, up to the next heading of any level."""
    found = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


SECTIONS: Final = sections(RUNBOOK)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def owner_heading(owner: str) -> str:
    return owner if owner in ("Sage", "Rillion") else f"The {owner}"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_section_with_all_four_parts_where_its_link_leads(rule: dict[str, Any]):
    assert rule["annotations"]["runbook_url"].partition("#")[2] == anchor(rule["alert"])
    has_all_parts(SECTIONS[rule["alert"]])
    assert owner_heading(rule["labels"]["owner"]) in SECTIONS, "whose turn it is, is told there too"


@pytest.mark.parametrize("owner", get_args(Owner))
def test_every_owner_of_the_catalogue_has_its_section_with_all_four_parts(owner: str):
    assert any(entry.owner == owner for entry in catalogue().entries), "nothing is theirs"
    text = SECTIONS[owner_heading(owner)]
    has_all_parts(text)
    assert f"--filter owner={shlex.quote(owner) if ' ' not in owner else chr(34) + owner + chr(34)}" in text


def has_all_parts(text: str) -> None:
    found = re.findall(r"^- \*\*(.+?)\*\* (.+?)(?=^- \*\*|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert [name for name, _ in found] == list(PARTS)
    for name, words in found:
        assert len(words.split()) >= 4, name


def test_there_is_no_section_for_an_alert_that_is_gone():
    alerts = RUNBOOK[RUNBOOK.index("\n## Alerts\n") : RUNBOOK.index("\n## Whose turn it is\n")]
    assert [name for name in sections(alerts) if name != "Alerts"] == [rule["alert"] for rule in rules()]


def test_the_daily_check_and_the_work_on_the_system_are_there():
    wanted = (
        "The daily check",
        "Backup and restore",
        "Redis is lost",
        "Rolling upgrade",
        "Take-over",
        "Pause and resume",
        "Secrets",
        "Scaling",
        "Capacity",
    )
    for heading in wanted:
        assert len(SECTIONS[heading]) > 200, heading


def test_links_inside_lead_somewhere():
    anchors = {anchor(heading) for heading in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) - anchors == set()


def test_figures_of_the_capacity_table_say_where_they_are_measured():
    table = SECTIONS["Capacity"].partition("| measured |")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if line.startswith("|")]
    assert all(len(row) == 3 and all(row) for row in rows), rows
    assert [figure for figure in FIGURES if not any(row[1].startswith(figure) for row in rows)] == []
    for path in re.findall(r"`(tests/[\w/.]+)`", table):
        assert (DEPLOY.parent / path).exists(), path
    bench = (DEPLOY.parent / "tests/bench/run.py").read_text()
    for name in re.findall(r"`make bench`: ([^|]+?) \|", table):
        assert name.replace("1,000,000", "{WIDEST:,}") in bench, name


def test_files_and_metrics_that_are_named_exist():
    for path in re.findall(r"`(deploy/[\w/.-]*)`", RUNBOOK):
        assert Path(DEPLOY.parent / path).exists(), path
    assert set(re.findall(r"`(connect_\w+)`", RUNBOOK)) <= {metric.name for metric in METRICS}


# -- commands ----------------------------------------------------------------------------------------------------------

COMMANDS: Final = sorted(set(re.findall(r"`(connect [^`]+)`", RUNBOOK)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_named_exists_with_these_options_and_arguments(line: str):
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not getattr(command, "commands", {}) or command.invoke_without_command or not words, "there is no such command"
    context = command.make_context(line, words, resilient_parsing=False)  # refuses what is unknown, missing or out of range
    assert context.params.get("state") in (None, *RUN_STATES)
    filters = context.params.get("filters") or []
    for one in filters:
        name, _, value = one.partition("=")
        assert name in (*FILTERS, "connection"), one
        assert name != "state" or value in STATES
        assert name != "owner" or value in get_args(Owner)


def test_commands_are_found():
    assert len(COMMANDS) > 50
