"""Tests see nothing of how the machine that runs them is set up: no proxy, no colours, no width, no Redis or configuration of its own.

Processes that tests start inherit the same.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

KNOBS = ("CONNECT_FAULT_", "CONNECT_SCREENSHOTS")  # of the tests themselves
OURS = ("CONNECT_", "REDIS_")
THEIRS = {"COLUMNS", "LINES", "TERMINAL_WIDTH", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS"}
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "ftp_proxy"}

for _name in list(os.environ):
    if (_name.startswith(OURS) and not _name.startswith(KNOBS)) or _name in THEIRS or _name.lower() in PROXIES:
        del os.environ[_name]

# The same examples each time, however slow the machine. `--hypothesis-profile=default` looks for others.
settings.register_profile("same", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")
