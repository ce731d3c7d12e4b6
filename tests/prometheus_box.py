"""A real Prometheus on loopback with our rules, quickened: what lasts minutes in a company lasts a second here."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
EVERY = "500ms"
WINDOW = "8s"
PROGRAM = shutil.which("prometheus")


def rules() -> list[dict[str, Any]]:
    """Our alert rules."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def quickened(text: str) -> str:
    """The rules with short windows and waits, and with fewer repetitions asked for; else as they are."""
    text = re.sub(r"^(\s+for:) \S+$", r"\1 1s", text, flags=re.MULTILINE)
    text = re.sub(r"\[\d+[smhd]\]", f"[{WINDOW}]", text)
    return re.sub(r"(outcome=\"retried\"\}.*\)) > 20$", r"\1 > 0", text, flags=re.MULTILINE)


def configured(target: str) -> dict[str, Any]:
    """Our prometheus.yml, quicker, for a console on this machine, which wants no token."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
    (scraped,) = config["scrape_configs"]
    del scraped["authorization"]
    scraped["static_configs"] = [{"targets": [target]}]
    return config


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Prometheus:
    """Scrapes one address; ends with the block."""

    def __init__(self, folder: Path, target: str) -> None:
        assert PROGRAM is not None
        folder.mkdir()
        (folder / "rules.yml").write_text(quickened(RULES.read_text()))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configured(target)))
        port = free_port()
        self._base = f"http://127.0.0.1:{port}"
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                PROGRAM, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, path: str, **values: str) -> Any:
        with urllib.request.urlopen(f"{self._base}{path}?{urllib.parse.urlencode(values)}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/api/v1/query", query=expression)["result"]
        return found

    def alerts(self) -> dict[str, str]:
        """Alert -> pending or firing; the graver of several."""
        found: dict[str, str] = {}
        for one in self.ask("/api/v1/alerts")["alerts"]:
            name = one["labels"]["alertname"]
            found[name] = "firing" if "firing" in (one["state"], found.get(name)) else "pending"
        return found
