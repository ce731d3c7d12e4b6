"""What Prime's answers over SOAP and REST have in common: answers that are none, and addresses where no Prime is."""

from __future__ import annotations

from connect.errors import Auth, ConnectError, OutcomeUnknown, Transient
from connect.http import Reply, error_of

_SHOWN = 2000


def unreadable(message: str, reply: Reply, *, safe: bool = True) -> Transient:
    """Something answered, and not as Prime does (a proxy's page, a reply cut off): the next answer may be right.

    `safe`: the call may be repeated; else whether it happened is not known.
    """
    kind = Transient if safe else OutcomeUnknown
    return kind(message, system="prime", code="unreadable", status=reply.status, detail=reply.body[:_SHOWN].decode(errors="replace"))


def status_error(reply: Reply, key: str, *, message: str = "", safe: bool = True) -> ConnectError:
    """The error of a bad status. Where no Prime answers at all, jobs wait as if not let in until somebody has looked at `key` in the
    configuration: no row is to blame.
    """
    if reply.status in (404, 405, 410) or 300 <= reply.status < 400:
        words = f"Prime does not answer at the configured {key} (HTTP {reply.status}); check {key}"
        return Auth(words, system="prime", code="wrong_url", status=reply.status, detail=message)
    return error_of(reply, system="prime", safe=safe, message=message)
