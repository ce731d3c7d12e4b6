"""The image's steps, as the Dockerfile has them, in a folder of their own: what they install is all that Connect needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from world import SECRETS, Sandbox, config_text

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


def build_lines() -> list[str]:
    """The RUN lines of the stage that builds."""
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", "")
    return re.findall(r"(?m)^RUN (.*)$", re.split(r"(?m)^FROM ", text)[1])


def test_the_image_is_built_from_hashes_alone_and_runs_the_main_job(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            kept = ROOT / line[1:]
            target = source / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(kept, target, ignore=ignored) if kept.is_dir() else shutil.copy(kept, target)
    places = {"/opt/": f"{tmp_path}/opt/"}
    (tmp_path / "opt").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean["PATH"] = f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
    lines = build_lines()
    assert len(lines) >= 4
    for line in lines:
        for place, here in places.items():
            line = line.replace(place, here)  # noqa: PLW2901
        done = subprocess.run(["sh", "-euc", line], cwd=source, env=clean, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    image = tmp_path / "opt" / "connect"
    packages = {path.name.split("-")[0].lower() for path in image.glob("lib/python3*/site-packages/*.dist-info")}
    pinned = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "deploy" / "constraints-runtime.txt").read_text()))
    pinned -= {"async-timeout"}  # of the oldest Python alone
    assert packages - {"async_timeout"} == {name.replace("-", "_") for name in pinned} | {"connect_sage_prime"}
    assert list(image.glob("lib/python3*/site-packages/workers/console/templates/*.html"))
    with Sandbox() as box:
        (tmp_path / "connect.toml").write_text(config_text(box, jobs=("GetDimObjects", "GetAccounts")))
        command = [str(image / "bin" / "connect"), "run", "--until-idle", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=clean | SECRETS, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode in (0, 3), done.stderr[-3000:]  # 3: a row that is planted to be refused
        assert box.prime_records("Account")
