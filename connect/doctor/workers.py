"""Whether the workers that run are of one version, go by one configuration file, and by the file as it is now."""

from __future__ import annotations

import asyncio
from typing import Final

from connect.doctor.check import Check, Finding, Owner, Seen
from connect.doctor.systems import Systems
from connect.state.workers import REDIS_CHANGED, VERSION_FILE, Difference, Taken, differences, digest, taken, version, version_written

UPDATE: Final = "Install the same version of Connect wherever workers run, and where this command is given; then start the workers anew."
ONE_FILE: Final = (
    "Give all workers, and this command, the same file: --config, or CONNECT_CONFIG in the environment of the service. They look at it "
    "every few seconds: if it was changed a moment ago, run `connect doctor` again."
)


async def same(systems: Systems) -> Seen:
    found = await taken(systems.redis)
    here = version()
    written = await asyncio.to_thread(version_written, systems.config.redis.data_dir)
    if not found:
        before = f"; the last one here was Connect {written}, this is {here}" if written not in ("", here) else ""
        return Seen(f"no worker runs{before}")
    reads = await asyncio.to_thread(digest, systems.config.path) if systems.config.path is not None else ""
    findings = [*map(_finding, differences(found)), *_besides(systems, found, here, written, reads)]
    return Seen(f"{len(found)} {'worker runs' if len(found) == 1 else 'workers run'} Connect {_list(found)}", tuple(findings))


def _finding(said: Difference) -> Finding:
    """Of something in which the workers differ among themselves, or from the file."""
    owner: Owner = "operator"
    do = {"version": UPDATE, "configuration": ONE_FILE}.get(said.kind, "Start the workers anew.")
    if said.kind == "refused" and said.refused != REDIS_CHANGED:
        owner = "consultant"
        do = "Correct the file (`connect config check` says all that is wrong with it); the workers take it up within seconds."
    return Finding(cause=said.text.rstrip(".") + ".", owner=owner, do=do, verdict="warning")


def _besides(systems: Systems, found: list[Taken], here: str, written: str, reads: str) -> list[Finding]:
    """In what workers that agree with one another differ from this command, and from what the data directory says of them."""
    findings = []
    versions = {one.version for one in found}
    if len(versions) == 1 and here not in versions:
        cause = f"The workers run Connect {_list(found)}, this command is {here}."
        findings.append(Finding(cause=cause, owner="operator", do=UPDATE, verdict="warning"))
    if versions == {here} and written not in ("", here):
        folder = systems.config.redis.data_dir
        cause = f"{VERSION_FILE} in {folder} says that Connect {written} runs there; the workers run {here}."
        do = f"Let the user of the workers write to {folder} (data_dir in [redis]), or name the data directory that they use."
        findings.append(Finding(cause=cause, owner="operator", do=do, verdict="warning"))
    digests = {one.digest for one in found}
    if reads and len(digests) == 1 and reads not in digests and not any(one.refused for one in found):
        cause = f"The workers go by another configuration file ({', '.join(digests)}) than {systems.config.path} ({reads})."
        findings.append(Finding(cause=cause, owner="operator", do=ONE_FILE, verdict="warning"))
    return findings


def _list(found: list[Taken]) -> str:
    return ", ".join(sorted({one.version for one in found}))


CHECKS: Final = (
    Check(
        name="connect.workers",
        tests="the workers are of one version and go by one configuration file, as it is now",
        run=same,
        needs=("redis.reach",),
    ),
)
