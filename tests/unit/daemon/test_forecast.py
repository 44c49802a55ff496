"""Kept events of many hosts judged as one machine would have, and two policies compared by them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.chronicle.records import Noted
from tidegate.chronicle.store import Chronicle, read
from tidegate.daemon.build import Plan
from tidegate.daemon.chronicling import head
from tidegate.daemon.comparison import Bans, compare
from tidegate.daemon.forecast import Judged, Seen, forecast, pieces
from tidegate.daemon.rehearsal import Rehearsal
from tidegate.detector.pack import load_packs
from tidegate.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Batch,
    Decision,
    Event,
    Kind,
    Micros,
    Subject,
    Success,
)
from tidegate.policy.loader import cross_check
from tidegate.policy.loader import read as read_policy

NOW: Micros = 1_790_000_000_000_000
RULES = """
[rule.many]
on = ["sshd.auth_failed"]
at-least = 4
within = "5m"
good-record = "double"
ban = { ports = [22], ladder = ["10m", "1h"] }

[rule.names]
on = ["sshd.auth_failed"]
distinct = "user"
at-least = 3
within = "5m"
ban = { ports = [22], for = "30m" }

[rule.points]
on = ["sshd.auth_failed"]
score-over = 5
half-life = "10m"
ban = { ports = [], for = "1h" }
"""
FLEET = """
[fleet]
engine = "unix:/nowhere"
"""
ALONE = """
[rule.alone]
on = ["sshd.auth_failed"]
at-least = 3
within = "5m"
count = "host"
ban = { ports = [80], for = "10m" }
"""
FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
PACKS = tuple(load_packs())


def policy(text: str) -> Plan:
    kinds = {one.kind.name for pack in PACKS for one in pack.detectors}
    names = [pack.name for pack in PACKS]
    loaded = cross_check(read_policy([("test", text)]), sorted(kinds), names)
    return Plan(loaded, PACKS)


TOGETHER = policy(RULES + FLEET)


def event(at: Micros, who: int, offset: int, user: str = "root") -> Event:
    subject = Subject(f"192.0.2.{who}")
    return Event(NOW + at, FAILED, subject, 1, "", offset, 0, {"user": user})


Row = Event | tuple[Subject, Micros]
"""A failure, or who succeeded when."""


def day(seed: int, gaps: Sequence[Micros], hosts: int = 3) -> list[tuple[int, Row]]:
    """What happens one after the other, and on which host."""
    chance = random.Random(seed)
    at, found = 0, []
    for number in range(220):
        at += chance.choice(gaps)
        host = chance.randrange(hosts)
        if chance.random() < 0.05:
            who = Subject(f"192.0.2.{chance.randrange(8)}")
            found.append((host, (who, NOW + at - SECOND // 2)))
        found.append(
            (host, event(at, chance.randrange(12), number * 100, f"u{chance.randrange(9)}"))
        )
    return found


def batches(rows: Sequence[Row], sizes: random.Random) -> list[Batch]:
    """As a host reads them: some at once, some late."""
    made, at = [], 0
    while at < len(rows):
        batch = Batch("ssh", 1)
        for row in rows[at : at + sizes.choice((1, 1, 2, 9, 60))]:
            at += 1
            if isinstance(row, Event):
                batch.events.append(row)
                continue
            who, time = row
            place = batch.events[-1].offset + 50 if batch.events else 0
            before = batch.successes.get(who)
            first = (before.first_offset, before.first_time) if before else (place, time)
            batch.successes[who] = Success(1, *first, time)
        made.append(batch)
    return made


def seen(folder: Path, name: str, made: Sequence[Batch]) -> Seen:
    chronicle = Chronicle(folder / name, 64 << 20, lambda now: head(TOGETHER, now))
    chronicle.begin(NOW)
    pipeline = Rehearsal(TOGETHER).pipeline
    pipeline.tap = chronicle
    for batch in made:
        pipeline.weigh(batch)
        list(chronicle.changes())
    return Seen(name, list(read(folder / name)))


def told(decisions: Sequence[Decision]) -> list[tuple[object, ...]]:
    return [(one.rule, one.subject, one.time, one.until, one.count, one.step) for one in decisions]


@settings(max_examples=25, deadline=None)
@example(seed=338618)  # one host's success behind its last line, later than another host's failure
@given(seed=st.integers(0, 1 << 32))
def test_many_hosts_are_judged_as_one_machine_that_saw_all_lines(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, chance = tmp_path_factory.mktemp("hosts"), random.Random(seed)
    rows = day(seed, (1_100_000, 2 * SECOND, 7 * SECOND, 90 * SECOND))
    one = Rehearsal(TOGETHER).pipeline
    expected: list[Decision] = []
    for _host, row in rows:
        for batch in batches([row], chance):
            expected += one.weigh(batch)
    hosts = [
        seen(folder, f"h{host}", batches([row for at, row in rows if at == host], chance))
        for host in range(3)
    ]
    found = forecast(TOGETHER, TOGETHER, hosts)
    assert len(expected) > 5
    assert sorted(told([each.decision for each in found])) == sorted(told(expected))
    assert any(len(each.seen) > 1 for each in found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_cutting_a_batch_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    rows = [row for _host, row in day(seed, (SECOND // 10, 2 * SECOND, 9 * SECOND), 1)]
    made = batches(rows, chance)
    whole, cut = Rehearsal(TOGETHER), Rehearsal(TOGETHER)
    one = [each for batch in made for each in whole.hear(Noted(batch, {}))]
    records = [piece for batch in made for piece in pieces(Noted(batch, {}))]
    other = [each for piece in records for each in cut.hear(piece)]
    assert len(records) > len(made)
    assert other == one


def test_rules_of_each_host_alone_see_that_host_alone(tmp_path: Path) -> None:
    found = policy(RULES + FLEET + ALONE)
    rows = [event(at * SECOND, 1, at) for at in range(5)]
    hosts = [
        seen(tmp_path, "a", [Batch("ssh", 1, rows[:3])]),
        seen(tmp_path, "b", [Batch("ssh", 1, rows[3:])]),
    ]
    by = {(one.decision.rule, one.seen, one.on) for one in forecast(found, found, hosts)}
    assert by == {("alone", ("a",), 0), ("many", ("a", "b"), 0)}


def test_who_takes_no_bans_of_others_has_only_its_own(tmp_path: Path) -> None:
    found = policy(RULES + FLEET + "accept = { bans = false }\n" + ALONE)
    hosts = [
        seen(tmp_path, "a", [Batch("ssh", 1, [event(at * SECOND, 1, at) for at in range(3)])]),
        seen(tmp_path, "b", []),
    ]
    (one,) = forecast(found, found, hosts)
    assert (one.decision.rule, one.on) == ("alone", 1)


def test_what_one_host_alone_saw_holds_there_where_two_are_asked_for(tmp_path: Path) -> None:
    found = policy(RULES + FLEET + "accept = { min-hosts = 2 }\n")
    rows = [event(at * SECOND, 1, at) for at in range(4)]
    hosts = [seen(tmp_path, "a", [Batch("ssh", 1, rows)]), seen(tmp_path, "b", [])]
    assert [(one.seen, one.on) for one in forecast(found, found, hosts)] == [(("a",), 1)]


def decision(at: Micros, until: Micros, who: str = "192.0.2.1", **more: object) -> Judged:
    values = {"rule": "r", "spared": "", "mode": "enforce", "collateral": False} | more
    made = Decision(
        "x", NOW + at, "ban", Subject(who), str(values["rule"]), (22,), NOW + until, until - at, 3, 0,
        values["mode"], "why", str(values["spared"]), collateral=bool(values["collateral"]),
    )  # type: ignore[arg-type]  # fmt: skip
    return Judged(made, ("a",), 1)


def test_a_ban_that_is_prolonged_is_one_and_one_that_comes_again_is_two() -> None:
    bans = Bans()
    for one in (decision(0, HOUR), decision(30 * MINUTE, 2 * HOUR), decision(DAY, DAY + HOUR)):
        bans.add(one)
    assert (bans.times, bans.closed, bans.until) == (2, 3 * HOUR, NOW + DAY + HOUR)


def test_what_appears_vanishes_and_changes() -> None:
    before = [
        decision(0, HOUR, "192.0.2.1"),
        decision(0, HOUR, "192.0.2.2"),
        decision(0, HOUR, "192.0.2.3"),
        decision(0, HOUR, "192.0.2.4", mode="observe"),
    ]
    after = [
        decision(1, HOUR + 1, "192.0.2.1"),
        decision(0, 2 * HOUR, "192.0.2.2"),
        decision(0, HOUR, "192.0.2.3", spared="allowlist"),
        decision(0, HOUR, "192.0.2.4"),
        decision(0, HOUR, "198.51.100.9", rule="s", collateral=True),
        decision(0, HOUR, "192.0.2.0/24", rule="s"),
    ]
    found = compare(before, after)
    assert [(row.what, row.key.subject, row.spared) for row in found.rows] == [
        ("appears", "198.51.100.9", ""),
        ("appears", "192.0.2.0/24", ""),
        ("appears", "192.0.2.4", ""),
        ("vanishes", "192.0.2.3", "allowlist"),
        ("changes", "192.0.2.2", ""),
    ]
    assert found.rows[3].also == ("s",)  # the network around it
    assert found.newly == {"198.51.100.9", "192.0.2.0/24", "192.0.2.4"}
    assert found.freed == set()
    assert found.before.observed == 1
