"""What people look at: functions that return models, for the command line, the JSON API and the pages alike. They change nothing.

    overview, charts             how all connections are: a traffic light with its reasons, queues, slots, token, jobs; series for charts
    status                       the same in one document, as `connect status --json` shows it
    needs_of                     what needs a person, over all connections
    runs, run                    what runs (progress, time left) and what has run
    stage_queues, resting        what waits, stage by stage; what is paused or not let in
    letters, letter_groups, letters_and_groups                    dead letters: list, grouped by error, both looked for once
    letter, known_values, files, file                             one in detail, what may be typed, its files
    connections, connection, sent_row, health                     set-up without secrets, registers, what was sent, are we let in
    story, audit_list, audit_export                               the story of a document; who did what

Times are UTC. Money is text as the other systems wrote it. The descriptions of the fields are those of the API's document.
"""

from __future__ import annotations

from workers.overview.history import Run, Runs, pace, run, runs
from workers.overview.kept_images import KeptImages
from workers.overview.lights import (
    CompanyState,
    JobState,
    Light,
    Overview,
    Paused,
    Reason,
    Resting,
    SlotUse,
    StageQueue,
    Token,
    late_since,
    overview,
    paused_of,
    reasons_of,
    resting,
    stage_queues,
)
from workers.overview.model import Model
from workers.overview.needs import Need, Place, needs_of
from workers.overview.refused import (
    Document,
    EditField,
    FileItem,
    Letter,
    LetterError,
    LetterGroup,
    LetterGroups,
    LetterItem,
    Letters,
    Line,
    Value,
    Values,
    decoded,
    edit_fields,
    file,
    file_items,
    files,
    images,
    known_values,
    letter,
    letter_groups,
    letter_item,
    letters,
    letters_and_groups,
)
from workers.overview.series import Chart, chart_of_all, charts, sampled
from workers.overview.setups import Check, RegisterState, SentRow, Setup, connection, connections, health, sent_row
from workers.overview.status import Coverage, Status, status
from workers.overview.stories import DocumentStory, Step, Story, story
from workers.overview.trail import AuditEntry, AuditPage, audit_export, audit_list

__all__ = [
    "AuditEntry",
    "AuditPage",
    "Chart",
    "Check",
    "CompanyState",
    "Coverage",
    "Document",
    "DocumentStory",
    "EditField",
    "FileItem",
    "JobState",
    "KeptImages",
    "Letter",
    "LetterError",
    "LetterGroup",
    "LetterGroups",
    "LetterItem",
    "Letters",
    "Light",
    "Line",
    "Model",
    "Need",
    "Overview",
    "Paused",
    "Place",
    "Reason",
    "RegisterState",
    "Resting",
    "Run",
    "Runs",
    "SentRow",
    "Setup",
    "SlotUse",
    "StageQueue",
    "Status",
    "Step",
    "Story",
    "Token",
    "Value",
    "Values",
    "audit_export",
    "audit_list",
    "chart_of_all",
    "charts",
    "connection",
    "connections",
    "decoded",
    "edit_fields",
    "file",
    "file_items",
    "files",
    "health",
    "images",
    "known_values",
    "late_since",
    "letter",
    "letter_groups",
    "letter_item",
    "letters",
    "letters_and_groups",
    "needs_of",
    "overview",
    "pace",
    "paused_of",
    "reasons_of",
    "resting",
    "run",
    "runs",
    "sampled",
    "sent_row",
    "stage_queues",
    "status",
    "story",
]
