"""What the invoices' ports say and do beside the two clients."""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from document_cases import invoice, line, settings

from connect.documents import bill
from workers.invoices import InvoiceBooks


class NoImages:
    async def images(self, _series: str, _number: str) -> list[Any]:
        return []


async def test_what_is_cut_is_said_in_the_log_and_link_and_marker_stay_whole() -> None:
    chosen = settings()
    nothing: Any = None
    documents: Any = NoImages()
    long = bill.listed_of(invoice(line(Note="m" * 1200), Note="n" * 1500), chosen)
    with structlog.testing.capture_logs() as logs:
        request = await InvoiceBooks(nothing, nothing, documents, chosen).request(long, 0)
    sent = orjson.loads(request.body)
    assert sent["description"].endswith(long.id.marker())
    assert bill.link_of(long.id, chosen) in sent["description"]
    said = {entry["note"].split(",")[0] for entry in logs if entry["document"] == long.id.text}
    assert said == {
        f"the note has 1500 characters; {sent['description'].index('…')} of them fit into Sage's description",
        "line 1: the note has 1200 characters",
    }
    with structlog.testing.capture_logs() as logs:
        await InvoiceBooks(nothing, nothing, documents, chosen).request(bill.listed_of(invoice(), chosen), 0)
    assert logs == []
