"""Sage Intacct's REST API on loopback."""

from connect.sandbox.sage.simulator import SageSimulator, Settings

__all__ = ["SageSimulator", "Settings"]
