"""Writes constraints-runtime.txt (what the image holds) and constraints-build.txt (what builds it) from constraints.txt.

Run it after constraints.txt has changed: `.venv/bin/python deploy/constraints_runtime.py`. A test says when it was forgotten. The packages
are those that pyproject.toml's dependencies need, found in the metadata of what is installed; pins and hashes are taken over as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE: Final = Path(__file__).parent
PYTHONS: Final = ("3.11.0", "3.11.9", "3.12.0", "3.13.0")  # one package is needed by the oldest alone


def blocks() -> dict[str, str]:
    """Package -> its lines in constraints.txt."""
    text = (HERE / "constraints.txt").read_text()
    found = re.findall(r"^([A-Za-z0-9._-]+)==(?:.*\\\n)(?: +.*\n?)+", text, re.MULTILINE)
    whole = [match[0] for match in re.finditer(r"^[A-Za-z0-9._-]+==(?:.*\\\n)(?: +.*\n?)+", text, re.MULTILINE)]
    return {canonicalize_name(name): lines for name, lines in zip(found, whole, strict=True)}


def closure(wanted: Iterable[str]) -> set[str]:
    """These and all that they need, on Linux, with any Python we run on."""
    found: set[str] = set()
    left = [(requirement.name, requirement.extras) for requirement in map(Requirement, wanted)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        name, extras = left.pop()
        key = (canonicalize_name(name), frozenset(extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(key[0])
        try:
            needs = requires(name) or []
        except PackageNotFoundError:  # needed by another Python than this one
            needs = []
        for need in map(Requirement, needs):
            if _applies(need, extras):
                left.append((need.name, need.extras))
    return found


def _applies(need: Requirement, extras: Iterable[str]) -> bool:
    return need.marker is None or any(
        need.marker.evaluate(
            {"extra": extra, "sys_platform": "linux", "platform_system": "Linux", "python_full_version": full, "python_version": full[:4]}
        )
        for extra in ("", *extras)
        for full in PYTHONS
    )


def texts() -> dict[str, str]:
    """File name -> what it must hold."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    pins = blocks()
    head = "# Made from constraints.txt by constraints_runtime.py; not to be changed by hand.\n"
    return {
        name: head + "".join(pins[package] for package in sorted(closure(wanted)) if package in pins)
        for name, wanted in (
            ("constraints-runtime.txt", project["project"]["dependencies"]),
            ("constraints-build.txt", project["build-system"]["requires"]),
        )
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text)
