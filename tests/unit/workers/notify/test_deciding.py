"""What is told on a channel, and when: grouped, not again within its quiet period, held back in quiet hours, and said when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connect.config import Notification
from workers.notify.deciding import TITLES, Book, Decision, book_of, decide, digest_day, troubles_of
from workers.overview import CompanyState, LetterGroup, Light, Overview, Reason, SlotUse, Token

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
LIGHTS = ("green", "amber", "red")


def channel(**options: Any) -> Notification:
    facts = {
        "name": "chat",
        "kind": "slack",
        "webhook_url": SecretStr("https://chat.example.com/x"),
        "after_minutes": 2,
        "quiet_minutes": 60,
    }
    return Notification(**facts | options)


def failed(job: str = "GetSuppliers", light: Light = "red") -> Reason:
    return Reason(light=light, kind="failed", text=f"{job} failed: Sage is away", job=job)


def letters_for(owner: str, number: int) -> Reason:
    return Reason(light="amber", kind="dead-letters", text=f"{number} dead letters for the {owner}", owner=owner)


def group(connection: str, count: int, *, entry: str = "account-inactive", owner: str = "operator") -> LetterGroup:
    return LetterGroup(
        connection=connection, count=count, text="account 6540 of Ann Smith is inactive", code="X-1", entry=entry, kind="Invoice",
        system="sage", owner=owner, cause="The account is inactive. Sage takes no bill on it.", fix="Make the account active.",
        sample_ids=["a"], filter={},
    )  # fmt: skip


def seen(reasons: dict[str, Sequence[Reason]], at: datetime = START) -> Overview:
    """An overview: "connection/company" -> reasons."""
    companies = [
        CompanyState(
            connection=where.partition("/")[0], company=where.partition("/")[2], reasons=list(found), queues={}, counted_at=at,
            light=max((reason.light for reason in found), key=LIGHTS.index, default="green"), slots=SlotUse(used=0, limit=2, throttled_s=0),
            token=Token(state="none"), jobs=[], paused=[], dead_letters={}, transactions_month=0,
        )
        for where, found in reasons.items()
    ]  # fmt: skip
    return Overview(at=at, light="green", companies=companies, queues={})


class Told:
    """A channel over time; every message gets through unless `is_down`."""

    def __init__(self, **options: Any) -> None:
        self.channel = channel(**options)
        self.book: Book = {}
        self.is_down = False

    def at(self, minutes: float, reasons: dict[str, Sequence[Reason]], letters: Sequence[LetterGroup] = ()) -> Decision:
        now = START + timedelta(minutes=minutes)
        decision = decide(self.channel, self.book, troubles_of(self.channel, seen(reasons, now), letters), now)
        book = decision.unsent if self.is_down else decision.sent
        self.book = book_of({name: msgspec.to_builtins(one) for name, one in book.items()})  # as Redis keeps it
        return decision

    def titles(self, minutes: float, *args: Any) -> list[str]:
        found = self.at(minutes, *args)
        return [trouble.title for trouble in found.troubles] + [f"over: {title}" for title, _ in found.resolved]


def test_trouble_is_told_once_it_has_lasted_a_while():
    told = Told()
    bad = {"a/100": [failed()]}
    assert told.titles(0, bad) == []
    assert told.titles(1.5, bad) == []
    assert told.titles(2, bad) == ["GetSuppliers fails"]
    assert [told.titles(minutes, bad) for minutes in (3, 30, 62, 200, 5000)] == [[]] * 5, "nothing is new, so nothing is said again"


def test_what_comes_and_goes_within_the_while_is_never_told():
    told = Told()
    assert told.titles(0, {"a/100": [failed()]}) == []
    assert told.titles(1, {"a/100": []}) == []
    assert told.titles(2, {"a/100": [failed()]}) == []
    assert told.titles(3, {"a/100": []}) == []
    assert told.titles(30, {"a/100": []}) == []
    assert told.book == {}


def test_many_letters_of_one_error_are_one_message_and_several_connections_too():
    told = Told(after_minutes=0)
    reasons = {where: [letters_for("operator", 40)] for where in ("a/100", "a/200", "b/100")}
    groups = [group("a", 38), group("a", 2, entry="period-closed"), group("b", 40), group("c", 9)]
    found = told.at(0, reasons, groups).troubles
    assert {(one.title, tuple(member.line for member in one.members.values())) for one in found} == {
        ("Invoice: The account is inactive", ("a: 38 dead letters", "b: 40 dead letters")),
    } | {("Invoice: The account is inactive", ("a: 2 dead letters",))}
    assert [len(one.members) for one in found] == [2, 1]


def test_letters_with_other_values_of_the_same_error_are_counted_together():
    told = Told(after_minutes=0)
    (found,) = told.at(0, {"a/100": [letters_for("operator", 5)]}, [group("a", 3), group("a", 2)]).troubles
    assert [member.line for member in found.members.values()] == ["a: 5 dead letters"]


def test_a_message_says_what_the_catalogue_says_and_not_what_a_document_holds():
    (found,) = Told(after_minutes=0).at(0, {"a/100": [letters_for("operator", 5)]}, [group("a", 3)]).troubles
    assert "Ann Smith" not in repr(found)


def test_letters_whose_groups_are_not_known_are_told_by_their_owner():
    (found,) = Told(after_minutes=0).at(0, {"a/100": [letters_for("clerk", 5)]}, [group("a", 3)]).troubles
    assert (found.title, [one.line for one in found.members.values()]) == (
        "Dead letters for the clerk", ["a, company 100: 5 dead letters for the clerk"],
    )  # fmt: skip


def test_more_letters_are_told_when_the_quiet_period_is_over_and_fewer_never():
    told = Told(after_minutes=0)
    bad = {"a/100": [letters_for("operator", 5)]}
    assert told.titles(0, bad, [group("a", 5)])
    assert told.titles(1, bad, [group("a", 50)]) == []
    assert told.titles(59, bad, [group("a", 70)]) == []
    assert told.titles(60, bad, [group("a", 70)]) == ["Invoice: The account is inactive"]
    assert told.titles(180, bad, [group("a", 10)]) == []


def test_another_connection_with_the_same_trouble_is_told_when_the_quiet_period_is_over():
    told = Told(after_minutes=0)
    assert told.titles(0, {"a/100": [failed()]}) == ["GetSuppliers fails"]
    both = {"a/100": [failed()], "b/100": [failed()]}
    assert told.titles(10, both) == []
    (again,) = told.at(60, both).troubles
    assert set(again.members) == {"a\n100", "b\n100"}


def test_what_becomes_worse_is_told_at_once():
    told = Told(after_minutes=0)
    assert told.titles(0, {"a/100": [failed(light="amber")]}) == ["GetSuppliers fails"]
    assert told.titles(1, {"a/100": [failed(light="red")]}) == ["GetSuppliers fails"]
    assert told.titles(2, {"a/100": [failed(light="red")]}) == []
    assert told.titles(200, {"a/100": [failed(light="amber")]}) == [], "better is not news"


def test_the_end_is_told_once_with_how_long_it_lasted():
    told = Told()
    told.at(0, {"a/100": [failed()]})
    assert told.titles(2, {"a/100": [failed()]}) == ["GetSuppliers fails"]
    assert told.titles(10, {"a/100": []}) == []
    found = told.at(12, {"a/100": []})
    assert found.resolved == [("GetSuppliers fails", timedelta(minutes=10))]
    assert [told.titles(minutes, {"a/100": []}) for minutes in (13, 30, 100)] == [[], [], []]
    assert told.book == {}


def test_it_is_over_only_when_no_connection_has_it_any_more():
    told = Told(after_minutes=0)
    told.at(0, {"a/100": [failed()], "b/100": [failed()]})
    assert told.titles(1, {"a/100": [failed()], "b/100": []}) == []
    assert told.titles(2, {"a/100": [], "b/100": []}) == ["over: GetSuppliers fails"]


def test_what_flaps_is_told_and_ended_once_in_a_quiet_period():
    told = Told()
    said = []
    for minute in range(120):
        is_bad = minute % 8 < 4
        said += [(minute, title) for title in told.titles(minute, {"a/100": [failed()] if is_bad else []})]
    assert said == [
        (2, "GetSuppliers fails"),
        (6, "over: GetSuppliers fails"),
        (66, "GetSuppliers fails"),
        (70, "over: GetSuppliers fails"),
    ]


def test_nothing_is_told_in_quiet_hours_and_what_is_left_at_their_end_is():
    told = Told(quiet_hours="22:00-06:00", timezone="Europe/Stockholm")  # 21:00 to 05:00 UTC; START is 12:00 UTC
    night, morning = 10 * 60, 17 * 60
    both = {"a/100": [failed(), failed("GetAccounts")]}
    assert told.titles(night, both) == []
    assert told.titles(night + 60, both) == []
    assert told.titles(morning - 1, {"a/100": [failed()]}) == []
    assert told.titles(morning, {"a/100": [failed()]}) == ["GetSuppliers fails"]


def test_the_end_waits_for_the_end_of_quiet_hours_too():
    told = Told(quiet_hours="21:00-05:00", after_minutes=0)
    assert told.titles(8 * 60, {"a/100": [failed()]}) == ["GetSuppliers fails"]
    assert told.titles(10 * 60, {"a/100": []}) == []
    assert told.titles(17 * 60, {"a/100": []}) == ["over: GetSuppliers fails"]


def test_red_may_wake_people_and_amber_may_not():
    told = Told(quiet_hours="10:00-14:00", wake_for_red=True, after_minutes=0)
    bad = {"a/100": [failed(), Reason(light="amber", kind="late", text="late", job="GetAccounts")]}
    assert told.titles(0, bad) == ["GetSuppliers fails"]
    assert told.titles(1, {"a/100": bad["a/100"][1:]}) == ["over: GetSuppliers fails"]
    assert told.titles(120, {"a/100": bad["a/100"][1:]}) == ["GetAccounts is older than its schedule"]


@pytest.mark.parametrize(
    ("hours", "at", "is_quiet"),
    [
        ("22:00-06:00", "21:59", False), ("22:00-06:00", "22:00", True), ("22:00-06:00", "00:00", True), ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False), ("12:00-13:00", "12:30", True), ("12:00-13:00", "13:00", False), ("12:00-13:00", "11:59", False),
    ],
)  # fmt: skip
def test_quiet_hours_begin_at_their_beginning_and_end_at_their_end(hours: str, at: str, is_quiet: bool):
    now = datetime.fromisoformat(f"2026-07-01T{at}:00+02:00")
    assert channel(quiet_hours=hours, timezone="Europe/Stockholm").quiet_at(now) is is_quiet


def test_channel_tells_of_its_connections_owners_and_lights_alone():
    reasons = {"a/100": [failed(), letters_for("clerk", 3)], "b/100": [failed(), letters_for("clerk", 2)]}

    def told(**options: Any) -> set[tuple[str, str]]:
        found = troubles_of(channel(**options), seen(reasons), ())
        return {(one.title, member.connection) for one in found.values() for member in one.members.values()}

    everything = {(title, name) for title in ("GetSuppliers fails", "Dead letters for the clerk") for name in "ab"}
    assert told() == everything
    assert told(connections=("a",)) == {one for one in everything if one[1] == "a"}
    assert told(owners=("clerk",)) == {one for one in everything if "clerk" in one[0]}
    assert told(min_light="red") == {one for one in everything if "fails" in one[0]}
    assert told(owners=("consultant",)) == set()


def test_channel_that_fails_is_told_on_the_others():
    reasons = {"a/100": [Reason(light="amber", kind="notification", text="nobody is told on chat", channel="chat")]}
    assert troubles_of(channel(name="chat"), seen(reasons), ()) == {}
    (found,) = troubles_of(channel(name="mail"), seen(reasons), ()).values()
    assert found.title == "Messages on chat do not get through"


def test_what_does_not_get_through_is_told_with_the_next_look():
    told = Told(after_minutes=0)
    told.is_down = True
    assert told.titles(0, {"a/100": [failed()]}) == ["GetSuppliers fails"]
    first = told.at(1, {"a/100": [failed()]})
    assert first.id == told.at(2, {"a/100": [failed()]}).id, "it is the same message"
    told.is_down = False
    assert told.titles(5, {"a/100": [failed()]}) == ["GetSuppliers fails"]
    assert told.titles(6, {"a/100": [failed()]}) == []


def test_nobody_hears_the_end_of_what_never_got_through():
    told = Told(after_minutes=0)
    told.is_down = True
    told.at(0, {"a/100": [failed()]})
    told.is_down = False
    assert told.titles(1, {"a/100": []}) == []


def test_channel_for_the_summary_alone_tells_nothing_at_once():
    told = Told(immediate=False, digest_at="07:00", after_minutes=0)
    assert [told.titles(minute, {"a/100": [failed()]}) for minute in (0, 60)] == [[], []]


def test_two_stages_without_a_worker_are_one_trouble_of_a_company():
    reasons = [Reason(light="red", kind="no-worker", text=f"no worker is alive for {stage}") for stage in ("fetch", "write")]
    (found,) = Told(after_minutes=0).at(0, {"a/100": reasons}).troubles
    assert [one.text for one in found.members.values()] == ["no worker is alive for fetch; no worker is alive for write"]


def test_every_kind_of_reason_has_a_title():
    import inspect
    import re

    from workers.overview import lights

    kinds = set(re.findall(r'kind="([\w-]+)"', inspect.getsource(lights)))
    assert kinds - {"dead-letters"} == set(TITLES)


@pytest.mark.parametrize(
    ("newest", "at", "due", "day"),
    [
        (None, "2026-03-02T12:00", False, "2026-03-02"),  # a new channel starts with the next one
        (None, "2026-03-02T05:00", False, "2026-03-01"),
        ("2026-03-01", "2026-03-02T06:59", False, "2026-03-01"),
        ("2026-03-01", "2026-03-02T07:00", True, "2026-03-02"),
        ("2026-03-02", "2026-03-02T23:00", False, "2026-03-02"),
        ("2026-02-25", "2026-03-02T15:00", True, "2026-03-02"),  # nothing ran for days: one, late
        ("2026-03-28", "2026-03-29T07:00", True, "2026-03-29"),  # the clocks have changed
    ],
)
def test_the_summary_is_due_once_a_day_at_its_time(newest: str | None, at: str, due: bool, day: str):
    from zoneinfo import ZoneInfo

    now = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Stockholm")).astimezone(UTC)
    found = digest_day(channel(digest_at="07:00", timezone="Europe/Stockholm"), date.fromisoformat(newest) if newest else None, now)
    assert found == (due, date.fromisoformat(day))


steps = st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans(), st.booleans()), max_size=60)


@given(steps, st.integers(0, 10), st.integers(0, 90))
def test_whatever_comes_and_goes_beginnings_and_ends_take_turns_and_beginnings_keep_their_distance(found, after, quiet):
    """Each step: minutes since the last, is `a` bad, is `b` bad, do messages get through."""
    told = Told(after_minutes=after, quiet_minutes=quiet)
    minutes, begun, last = 0, False, -10_000
    for wait, is_a_bad, is_b_bad, gets_through in found:
        minutes += wait
        told.is_down = not gets_through
        decision = told.at(minutes, {"a/100": [failed()] if is_a_bad else [], "b/100": [failed()] if is_b_bad else []})
        if told.is_down:
            continue
        if decision.troubles:
            assert minutes - last >= quiet
            begun, last = True, minutes
        if decision.resolved:
            assert begun
            assert not is_a_bad
            assert not is_b_bad
            begun = False
