"""THE table of routes. What is not in it does not exist; who may use what is in it is decided from it alone (app.py).

A module of pages adds its own list here. tests/unit/console/test_routes.py holds every route of it against every role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workers.console import (
    api,
    audit_page,
    connections_page,
    document_page,
    letters_page,
    live,
    metrics,
    overview_page,
    runs_page,
    sessions,
    users,
)
from workers.console.route import Route

TABLE: Final[tuple[Route, ...]] = (
    *overview_page.ROUTES,
    *runs_page.ROUTES,
    *letters_page.ROUTES,
    *document_page.ROUTES,
    *connections_page.ROUTES,
    *audit_page.ROUTES,
    *users.ROUTES,
    *sessions.ROUTES,
    *live.ROUTES,
    *metrics.metrics_routes(),
    *api.ROUTES,
)

# Commands without a call in the API, and why. What is in neither fails tests/unit/console/test_routes.py.
_STARTS: Final = "it starts processes on the machine where it is typed"
_FILE: Final = "it reads and writes the configuration file and secrets, which lie on the machine of the workers"
_PLANS: Final = "it tries a job on a copy of the store for minutes, and shows rows with bank data: for whoever sets a customer up"
SHELL_ALONE: Final[Mapping[str, str]] = {
    "demo": _STARTS,
    "sandbox": _STARTS,
    "run": _STARTS,
    "worker": _STARTS,
    "backup": "it writes all that Redis holds into a file there: whoever may read that is an administrator of the machine",
    "restore": "it empties Redis under the console's own feet; all workers and the console are stopped for it",
    "init": _FILE,
    "promote": _FILE,
    "config check": _FILE,
    "config show": _FILE,
    "config schema": _FILE,
    "config secrets": _FILE,
    "config pull": _FILE,
    "config push": _FILE,
    "schedule": "it plans from the file as it is now, also before the workers have taken it up; when each job is due next is in /overview",
    "doctor": "it tests the way from this very machine to Redis, Sage and Prime, with the file as it is now; `health` is a call",
    "plan": _PLANS,
    "apply": "it does what a plan's file says, which lies where `connect plan` wrote it",
    "test-run": _PLANS,
    "reconcile": "it reads both systems in full for minutes in the process where it is typed; what the last one has found is in /overview",
    "notify test": "it shows whether this machine reaches the mail server or webhook that the file names",
    "notify digest": "it prints what a channel would be sent, from the file as it is now",
}
