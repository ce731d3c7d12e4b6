from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from connect.errors import Permanent, Transient
from connect.prime.documents import CustomSetting
from connect.prime.owner import BEAT_S, LIVE_S, Owner, claim, decide

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def held(owner: str, *, silent_s: float, since: datetime = NOW - timedelta(days=3)) -> str:
    return msgspec.json.encode(Owner(owner, since, NOW - timedelta(seconds=silent_s))).decode()


@pytest.mark.parametrize("value", [None, ""])
def test_nobody_has_them(value: str | None):
    assert decide(value, "A", NOW, take_over=False) == ("write", Owner("A", NOW, NOW))


def test_they_are_ours_and_the_heartbeat_is_young():
    assert decide(held("A", silent_s=BEAT_S - 1), "A", NOW, take_over=False).verdict == "go"


@pytest.mark.parametrize("silent_s", [BEAT_S, LIVE_S * 10, -30])
def test_they_are_ours_and_the_heartbeat_is_due(silent_s: float):
    assert decide(held("A", silent_s=silent_s), "A", NOW, take_over=False) == ("write", Owner("A", NOW - timedelta(days=3), NOW))


@pytest.mark.parametrize("silent_s", [0, LIVE_S - 1, -LIVE_S])
def test_they_are_anothers_who_lives_and_a_clock_that_is_ahead_is_alive(silent_s: float):
    value = held("B", silent_s=silent_s)
    verdict, owner = decide(value, "A", NOW, take_over=False)
    assert verdict == "stop"
    assert owner is not None
    assert owner.id == "B"
    assert decide(value, "A", NOW, take_over=True) == ("write", Owner("A", NOW, NOW))


def test_a_silent_owner_has_gone():
    assert decide(held("B", silent_s=LIVE_S), "A", NOW, take_over=False) == ("write", Owner("A", NOW, NOW))
    assert decide(held("B", silent_s=30), "A", NOW, take_over=False, live_s=30).verdict == "write"


@pytest.mark.parametrize(
    "value", ["B", "{}", '{"id": 5}', '{"id": "B", "since": "2026-01-01T00:00:00", "at": "2026-01-01T00:00:00"}', "\ud800"]
)
def test_what_cannot_be_read_is_somebodys(value: str):
    assert decide(value, "A", NOW, take_over=False) == ("stop", None)
    assert decide(value, "A", NOW, take_over=True).verdict == "write"


class Kept:
    """Custom settings that keep what is written only if they are `keeping`."""

    def __init__(self, *rows: CustomSetting, keeping: bool = True, refusing: bool = False) -> None:
        self.rows = list(rows)
        self._keeping = keeping
        self._refusing = refusing

    async def custom_settings(self, *, kind: str = "", setting: str = "", company: str | None = None) -> list[CustomSetting]:
        return [row for row in self.rows if (row.type, row.setting, row.company) == (kind, setting, company)]

    async def put_custom_setting(self, row: CustomSetting, *, new: bool | None = None) -> None:
        if self._refusing:
            raise Permanent("Prime refuses it: no right")
        if self._keeping:
            self.rows = [row]


async def test_a_claim_is_refused_in_words_for_an_operator():
    row = CustomSetting("", "ConnectOwner", "ConnectOwner", held("host-b", silent_s=10, since=datetime(2026, 5, 1, 8, 30, tzinfo=UTC)))
    with pytest.raises(Permanent) as raised:
        await claim(Kept(row), "A", NOW)
    assert raised.value.message == (
        "another live Connect (host-b) owns the document jobs of this environment since 2026-05-01 08:30 UTC; stop it"
    )
    with pytest.raises(Permanent, match="cannot be read"):
        await claim(Kept(row._replace(value="?")), "A", NOW)


async def test_a_claim_that_prime_does_not_keep_is_none():
    with pytest.raises(Transient, match="did not keep"):
        await claim(Kept(keeping=False), "A", NOW)
    with pytest.raises(Permanent, match="no right"):
        await claim(Kept(refusing=True), "A", NOW)
    stale = CustomSetting("", "ConnectOwner", "ConnectOwner", held("B", silent_s=LIVE_S + 1))
    with pytest.raises(Permanent, match="no right"):
        await claim(Kept(stale, refusing=True), "A", NOW)
