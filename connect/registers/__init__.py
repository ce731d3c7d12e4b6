"""The registers: one file each, found by looking. A new one is a new file here that says `REGISTER = Register(...)`.

A register names its job, what must have run before, and, for a company's settings, its parts: which Sage object becomes which Prime
record, and how.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from connect.registers.register import Register

__all__ = ["REGISTERS", "Register", "find_registers", "register_jobs_in_order"]


def find_registers(paths: Iterable[str], package: str) -> dict[str, Register]:
    """Every `REGISTER` of the modules under `paths`, by job name, in the order of `after`.

    Raises TypeError when two files declare the same job, and graphlib.CycleError when `after` runs in a circle.
    """
    found: dict[str, Register] = {}
    for module in pkgutil.iter_modules(paths, f"{package}."):
        register = getattr(importlib.import_module(module.name), "REGISTER", None)
        if isinstance(register, Register):
            if register.job in found:
                raise TypeError(f"{module.name} declares {register.job}, which another register declares already")
            found[register.job] = register
    return {job: found[job] for job in _in_order(found)}


def _in_order(registers: Mapping[str, Register]) -> list[str]:
    graph = {job: sorted(set(register.after) & set(registers)) for job, register in sorted(registers.items())}
    return list(TopologicalSorter(graph).static_order())


def register_jobs_in_order() -> list[str]:
    """Job names such that each comes after what it needs (prime.md section 4, "needs first")."""
    return _in_order(REGISTERS)


REGISTERS: dict[str, Register] = find_registers(__path__, __name__)
