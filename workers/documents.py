"""What every kind of document has in common in the post stage: how a company's work is opened, and by which rules it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from connect.config import GeneralSettings
from connect.documents.invoice import InvoiceSettings
from connect.errors import Permanent, Poison
from connect.ledger import DocumentId, Listed
from connect.posting import Result, Rules
from workers.jobs import ConnectionTools, DocumentTools, Tools

BILL: Final = "bill"  # an invoice and its cancellation share one lock and one entry of the journal
JOURNAL_KINDS: Final = {"Invoice": BILL, "Cancellation": BILL, "Payment date": BILL, "Payment": "payment"}
"""Kind of a dead letter -> kind of its document in the journal."""
NOT_PLANNED: Final = "not as it was planned"
"""How the note of a document begins that was held back because a plan does not have what would be sent."""
BATCH: Final = 40  # documents of one job: one listing and one look-up for all of them


@dataclass(frozen=True)
class Opened:
    """One company's work of one kind.

    Attributes:
        post: brings documents as far as they get; safe to call again and at once.
        listed: what there is to do now.
        poisoned: what `listed` could not read, filled by it.
        kind: what its dead letters are about; `system`: whose refusals they tell.
        batch: documents of one job.
        counted: what else the run counts, and `remarks` says, filled by `listed`.
        unapproved: which of these keys, just booked, wait for approval in Sage.
    """

    post: Callable[[Sequence[DocumentId]], Awaitable[list[Result]]]
    listed: Callable[[], Awaitable[list[Listed]]]
    poisoned: list[Poison]
    kind: str = "Invoice"
    system: str = "sage"
    batch: int = BATCH
    counted: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    unapproved: Callable[[Sequence[str]], Awaitable[set[str]]] | None = None


def submitted_text(bills: int) -> str:
    """What a person should know of bills that have arrived as submitted, and the remedy (the guide, step 11)."""
    what = "1 bill has" if bills == 1 else f"{bills:,} bills have"
    return (
        f"{what} arrived in Sage as submitted: approve them there, they cannot be paid before. So that bills arrive posted: in Sage, "
        "Company > Subscription > Accounts Payable > Bill approval settings, choose the web service user as unrestricted"
    )


def tools_of(connection: ConnectionTools) -> DocumentTools:
    assert connection.documents is not None
    return connection.documents


def start_of(general: GeneralSettings) -> date:
    """The day before which no document is touched. Raises Permanent when there is none."""
    if general.start_on is None:
        raise Permanent("StartOn is missing in GeneralSettings: no document is touched without it", code="no_start_on")
    return general.start_on


def rules_of(general: GeneralSettings, connection: ConnectionTools) -> Rules:
    return Rules(
        settle_s=tools_of(connection).settle_s,
        refuse_after_s=general.refuse_after_days * 86_400.0,
        return_all=general.return_errors == "all",
    )


async def invoice_settings(tools: Tools, connection: ConnectionTools, company: str, job: str) -> InvoiceSettings:
    """What a company's invoices depend on, for one of its jobs."""
    entity = next((one.sage_entity for one in connection.connection.jobs if (one.job, one.company) == (job, company)), "")
    return InvoiceSettings.of(
        connection.connection.settings(company),
        company=company,
        entity=entity,
        objects=connection.connection.objects(company),
        base_currency=(await tools_of(connection).prime.company_data(company)).base_currency,
        today=tools.clock().date(),
    )
