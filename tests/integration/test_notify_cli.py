"""`connect notify`, and a worker of the schedule stage that tells people what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pipeline import config_text
from redis.asyncio import Redis
from world import Connect, Workers, wait_until

pytestmark = pytest.mark.timeout(120)


@dataclass
class Hook:
    url: str = ""
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/services/s3cr3t"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect(valkey: str, redis: Redis, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    monkeypatch.setenv("T_HOOK", hook.url)
    channels = "".join(
        f'[[notifications]]\nname = "{name}"\nkind = "{kind}"\nwebhook_url = "env:T_HOOK"\nafter_minutes = 0\n'
        for name, kind in (("chat", "slack"), ("team", "teams"))
    )
    text = config_text(jobs=("GetSuppliers",)).replace("env:SECRET", "env:T_SAGE_SECRET")
    return Connect(tmp_path, f'console_url = "https://connect.example.com"\n[redis]\nurl = "{valkey}"\n{text}{channels}')


def test_a_test_message_is_sent_on_every_channel_or_on_one_and_says_why_not(connect: Connect, hook: Hook) -> None:
    assert "chat (slack): the message got through" in connect.run("notify", "test")
    assert len(hook.bodies) == 2
    connect.run("notify", "test", "--channel", "team")
    assert [list(body) for body in hook.bodies[2:]] == [["type", "attachments"]]
    hook.status = 404
    found = connect.json("notify", "test", "--channel", "chat", expect=(1,))
    (one,) = found["channels"]
    assert (one["ok"], one["reason"]) == (False, "the webhook at 127.0.0.1 answered 404; is its URL right?")
    connect.run("notify", "test", "--channel", "chta", expect=(2,))


def test_the_summary_can_be_looked_at_and_sent(connect: Connect, hook: Hook) -> None:
    (one, _) = connect.json("notify", "digest", "--dry-run")["digests"]
    assert one["subject"] == "[Connect] daily summary: 1 red"
    assert "no worker is alive for schedule" in one["text"]
    assert hook.bodies == []
    assert connect.run("notify", "digest", "--channel", "chat") == "chat: sent\n"
    assert hook.bodies[0]["text"] == one["subject"]


def test_the_configuration_is_shown_without_the_channels_secrets(connect: Connect) -> None:
    shown = connect.run("config", "show", "--json")
    assert [channel["webhook_url"] for channel in json.loads(shown)["notifications"]] == ["**********"] * 2
    assert "s3cr3t" not in shown


def test_workers_of_the_schedule_stage_tell_everything_once(connect: Connect, hook: Hook) -> None:
    connect.run("pause", "--connection", "acme", "--reason", "stocktaking", "--as", "ann")

    def told() -> list[str]:
        return [text for body in hook.bodies if "everything is paused by ann: stocktaking" in (text := json.dumps(body))]

    with Workers(connect, "schedule"), Workers(connect, "schedule"):
        wait_until(lambda: len(told()) >= 2, 60)
        connect.run("health", "--stage", "schedule")
    assert ["blocks" in text for text in sorted(told(), key=lambda text: "blocks" in text)] == [False, True], "once on each channel"
