"""The core put together: both SOBIG rules on one exim log, wherever it is cut, however often."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.daemon.build import Plan, with_policy
from tidegate.daemon.pipeline import Pipeline
from tidegate.detector.pack import load_packs
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Block, Decision, Subject
from tidegate.policy.loader import read

FAST = """
[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = { ports = [25], ladder = ["10m", "1h"] }
"""
SLOW = """
[rule.virus-senders-slow]
on = ["exim.malware"]
more-than = 5
within = "15m"
ban = { ports = [25] }
"""
SOURCE = """
[source.exim]
file = "/var/log/exim4/mainlog"
zone = "UTC"
detectors = ["exim", "sshd", "postfix"]
"""
WORM, OTHER = "192.0.2.7", "2001:db8:7::25"
BEGAN = datetime(2003, 8, 19, 12, 0, 0, tzinfo=UTC)
ARRIVAL = int(datetime(2003, 12, 31, tzinfo=UTC).timestamp()) * SECOND


def virus(second: int, address: str = WORM) -> str:
    moment = BEGAN + timedelta(seconds=second)
    return (
        f"{moment:%Y-%m-%d %H:%M:%S} 19p7xA-0001yG-00 H=(dell-xp) [{address}] F=<big@boss.example>"
        " rejected after DATA: This message contains a virus (W32/Sobig.F@mm)\n"
    )


def good(second: int, address: str = WORM) -> str:
    moment = BEGAN + timedelta(seconds=second)
    return (
        f"{moment:%Y-%m-%d %H:%M:%S} 19p7xA-0001yG-00 <= anna@customer.example"
        f" H=mail.customer.example [{address}] P=esmtps S=2213 id=x@customer.example\n"
    )


@cache
def planned(rules: str = FAST + SLOW) -> Plan:
    """A plan under this policy; the packs are read once."""
    loaded = read([("policy", SOURCE + rules)])
    return Plan(loaded, load_packs())


def blocks(text: str, cuts: tuple[int, ...] = ()) -> list[Block]:
    """The text as blocks of whole lines, cut before the lines of these numbers."""
    lines = text.encode().splitlines(keepends=True)
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(lines)}), len(lines)]
    found, offset = [], 0
    for first, last in pairwise(edges):
        data = b"".join(lines[first:last])
        if data:
            found.append(Block("exim", data, offset, ARRIVAL, 1))
        offset += len(data)
    return found


def play(text: str, rules: str = FAST + SLOW, cuts: tuple[int, ...] = ()) -> list[Decision]:
    pipeline = planned(rules).pipeline()
    return [one for block in blocks(text, cuts) for one in pipeline.feed(block)[0]]


def said(decisions: list[Decision]) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """Rule, subject, ports, count, and the second of the line that did it."""
    began = int(BEGAN.timestamp()) * SECOND
    return [
        (one.rule, one.subject, one.ports, one.count, (one.time - began) // SECOND)
        for one in decisions
    ]


# -- the numbers of the story ------------------------------------------------------------------


def test_the_sixth_within_fifteen_minutes_and_the_sixteenth_within_five_close_port_25():
    fifteen = "".join(virus(20 * n) for n in range(15))
    slow = ("virus-senders-slow", WORM, (25,), 6, 100)
    assert said(play(fifteen)) == [slow]
    assert said(play(fifteen + virus(300))) == [slow, ("virus-senders", WORM, (25,), 16, 300)]


def test_neither_rule_says_anything_one_line_earlier():
    assert play("".join(virus(180 * n) for n in range(5))) == []
    assert play("".join(virus(20 * n) for n in range(15)), FAST) == []


def test_the_edges_of_both_windows_belong_to_them():
    assert said(play("".join(virus(180 * n) for n in range(6)))) == [
        ("virus-senders-slow", WORM, (25,), 6, 900)
    ]
    assert said(play("".join(virus(20 * n) for n in range(16)), FAST)) == [
        ("virus-senders", WORM, (25,), 16, 300)
    ]


def spread(count: int, gaps: list[int]) -> str:
    """Lines whose distances repeat for ever."""
    moments = [0]
    for n in range(count):
        moments.append(moments[-1] + gaps[n % len(gaps)])
    return "".join(map(virus, moments))


def test_spread_one_second_too_wide_neither_rule_ever_closes():
    assert play(spread(200, [180] * 4 + [181]), SLOW) == []  # any 6 lines take 901 s
    assert play(spread(600, [20] * 14 + [21]), FAST) == []  # any 16 lines take 301 s
    assert play(spread(200, [180] * 5), SLOW) != []
    assert play(spread(600, [20] * 15), FAST) != []


def test_a_ten_minute_cycle_is_seen_by_the_slow_rule_alone():
    cycles = "".join(virus(600 * cycle + n) for cycle in range(2) for n in range(3))
    assert [one.rule for one in play(cycles)] == ["virus-senders-slow"]


def test_a_decision_says_why_until_when_and_by_which_lines():
    text = "".join(virus(n) for n in range(16))
    (decision,) = play(text, FAST)
    assert decision.until == decision.time + 10 * MINUTE
    assert decision.mode == "enforce"
    assert [ref.offset for ref in decision.refs] == [n * len(virus(0)) for n in range(16)]
    assert decision.reason == "more than 15 within 5m: exim.malware"


def test_whoever_is_closed_for_is_not_convicted_again_by_the_same_rule_until_it_is_over():
    first = "".join(virus(n) for n in range(16))
    while_closed = "".join(virus(16 + n) for n in range(500))
    again = "".join(virus(15 + 600 + n) for n in range(16))
    decisions = play(first + while_closed + again, FAST)
    assert [one.step for one in decisions] == [0, 1]
    assert decisions[1].until - decisions[1].time == HOUR


def test_subjects_are_counted_apart():
    text = "".join(virus(n, WORM) + virus(n, OTHER) for n in range(8))
    assert said(play(text)) == [
        ("virus-senders-slow", WORM, (25,), 6, 5),
        ("virus-senders-slow", "2001:db8:7::/64", (25,), 6, 5),
    ]
    assert play(text, FAST) == []


# -- wherever it is cut ------------------------------------------------------------------------

STAMP = st.integers(0, 40 * 60)
ADDRESS = st.sampled_from([WORM, "192.0.2.8", OTHER, "2001:db8:7::99"])
LINE = st.one_of(
    st.builds(virus, STAMP, ADDRESS),
    st.builds(virus, STAMP, ADDRESS),
    st.builds(good, STAMP, ADDRESS),
    st.sampled_from(["\n", "nothing of interest\n", "\x00\x00 2003-08-19\n"]),
)
DENSE = """
[rule.two]
on = ["exim.malware"]
at-least = 2
within = "1m"
ban = { ports = [25], ladder = ["1m", "3m"] }
[rule.three]
on = ["exim.malware"]
at-least = 3
within = "10m"
ban = { ports = [], for = "5m" }
"""


@settings(max_examples=80, deadline=None)
@given(st.lists(LINE, max_size=60), st.lists(st.integers(1, 59), max_size=12), st.booleans())
def test_decisions_are_the_same_wherever_blocks_are_cut(lines, cuts, in_order):
    text = "".join(sorted(lines) if in_order else lines)
    assert play(text, DENSE, tuple(cuts)) == play(text, DENSE)


@settings(max_examples=50, deadline=None)
@given(st.lists(LINE, max_size=60), st.lists(st.integers(1, 59), max_size=6))
def test_decisions_are_the_same_wherever_memory_was_saved_and_restored(lines, cuts):
    text, memory = "".join(lines), {}
    found = []
    for block in blocks(text, tuple(cuts)):
        pipeline = planned(DENSE).pipeline()
        assert pipeline.restore(iter(memory.values())) == []
        found += pipeline.feed(block)[0]
        for change in pipeline.changes():
            memory[change.part, change.key] = change
        memory = {key: change for key, change in memory.items() if change.value is not None}
    assert found == play(text, DENSE)


@settings(max_examples=40, deadline=None)
@given(st.lists(LINE, max_size=60), st.lists(st.integers(1, 59), max_size=6))
def test_decisions_are_the_same_wherever_the_same_policy_was_loaded_anew(lines, cuts):
    text, pipeline = "".join(lines), planned(DENSE).pipeline()
    found = []
    for block in blocks(text, tuple(cuts)):
        fresh = planned(DENSE).pipeline()
        fresh.take_over(pipeline)
        pipeline = fresh
        found += pipeline.feed(block)[0]
    assert found == play(text, DENSE)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=40), st.lists(st.integers(1, 39), max_size=8))
def test_lines_of_every_detector_say_the_same_wherever_they_are_cut(picks, cuts):
    """Every example line of three packs, in any order: joined connections and attempts too."""
    lines = examples()
    text = "".join(lines[pick % len(lines)] + "\n" for pick in picks)
    whole, cut = planned(DENSE).pipeline(), planned(DENSE).pipeline()
    events = [one for block in blocks(text) for one in whole.feed(block)[1].events]
    parts = [one for block in blocks(text, tuple(cuts)) for one in cut.feed(block)[1].events]
    assert parts == events
    assert cut.totals.kinds == whole.totals.kinds
    assert cut.totals.successes == whole.totals.successes


@cache
def examples() -> list[str]:
    return [
        example.line
        for pack in planned().packs
        if pack.name in ("exim", "sshd", "postfix")
        for detector in pack.detectors
        for example in detector.match
        if "\n" not in example.line
    ]


def test_both_scanners_decide_alike():
    text = "".join(virus(7 * n, WORM if n % 3 else OTHER) + good(7 * n) for n in range(120))
    found = []
    for engine in ("vectorscan", "re"):
        pipeline = with_policy(planned(DENSE), engine=engine).pipeline()
        found.append([one for block in blocks(text) for one in pipeline.feed(block)[0]])
    assert found[0] == found[1] != []


def test_a_success_counts_as_a_good_record_for_thirty_days_wherever_blocks_are_cut():
    recent = good(0) + "".join(virus(30 * 86400 - 5 + n) for n in range(6))
    stale = good(0) + "".join(virus(30 * 86400 + 1 + n) for n in range(6))
    again = good(0) + good(86400) + "".join(virus(30 * 86400 + 1 + n) for n in range(6))
    for cuts in ((), (1,), (2,), (1, 2, 3)):
        assert [one.collateral for one in play(recent, SLOW, cuts)] == [True]
        assert [one.collateral for one in play(stale, SLOW, cuts)] == [False]
        assert [one.collateral for one in play(again, SLOW, cuts)] == [True]


# -- no line is poison -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 3, 19])
def test_an_event_that_cannot_be_counted_is_set_aside_and_the_rest_goes_on(monkeypatch, bad):
    pipeline = planned(FAST).pipeline()
    text = "".join(virus(n, OTHER if n == bad else WORM) for n in range(20))
    (block,) = blocks(text)
    (window,) = pipeline.windows.windows
    count = window.count

    def broken(event, ref, convict):
        if event.subject != WORM:
            raise OverflowError("int too large to convert")
        count(event, ref, convict)

    monkeypatch.setattr(window, "count", broken)
    (decision,), batch = pipeline.feed(block)
    assert (decision.subject, decision.count) == (WORM, 16)
    assert bad * len(virus(0)) not in [ref.offset for ref in decision.refs]
    (line,) = batch.quarantined
    assert (line.offset, line.detector) == (bad * len(virus(0)), "exim.malware")
    assert line.reason == "OverflowError: int too large to convert"
    assert pipeline.totals.quarantined == 1


# -- reload ------------------------------------------------------------------------------------


def test_a_reload_keeps_counts_offences_records_and_totals():
    before = planned().pipeline()
    (block,) = blocks("".join(virus(n) for n in range(15)) + good(15, OTHER))
    before.feed(block)
    fresh = planned().pipeline()
    fresh.take_over(before)
    more = virus(16).encode()
    decisions, _batch = fresh.feed(Block("exim", more, len(block.data), ARRIVAL, 1))
    assert [(one.rule, one.count) for one in decisions] == [("virus-senders", 16)]
    assert len(decisions[0].refs) == 16
    assert fresh.totals.lines == 17
    assert fresh.record.ever(Subject("2001:db8:7::/64"))


@pytest.mark.parametrize(
    ("changed", "counted"),
    [
        (FAST.replace("15", "9"), 10),  # fewer are enough now: the next one convicts
        (FAST.replace("15", "10"), 11),
        (FAST.replace("[25]", "[25, 465]"), 0),
        (FAST.replace("15", "20"), 0),
    ],
)
def test_a_changed_rule_goes_on_with_what_was_counted(changed, counted):
    before = planned(FAST).pipeline()
    (block,) = blocks("".join(virus(n) for n in range(10)))
    before.feed(block)
    fresh = planned(changed).pipeline()
    fresh.take_over(before)
    decisions, _ = fresh.feed(Block("exim", virus(10).encode(), len(block.data), ARRIVAL, 1))
    assert [one.count for one in decisions] == ([counted] if counted else [])
    assert fresh.windows.windows[0].holding(Subject(WORM)) == (0 if counted else 11)


def test_a_removed_rule_takes_only_its_own_counts_with_it():
    before = planned().pipeline()
    (block,) = blocks("".join(virus(n) for n in range(4)))
    before.feed(block)
    fresh = planned(SLOW).pipeline()
    fresh.take_over(before)
    assert [(one.rule.name, one.holding(Subject(WORM))) for one in fresh.windows.windows] == [
        ("virus-senders-slow", 4)
    ]


def test_a_reload_between_two_lines_of_a_connection_keeps_them_together():
    before = planned(DENSE).pipeline()
    first, second = examples_of("postfix.filter-malware")
    before.feed(blocks(first + "\n")[0])
    fresh = planned(DENSE).pipeline()
    fresh.take_over(before)
    data = f"{second}\n".encode()
    (event,) = fresh.feed(Block("exim", data, len(first) + 1, ARRIVAL, 1))[1].events
    assert (event.kind.name, event.subject) == ("postfix.malware", "192.0.2.7")


def examples_of(name: str) -> list[str]:
    """The lines of a detector's first example."""
    packs = planned().packs
    (detector,) = [one for pack in packs for one in pack.detectors if one.name == name]
    return detector.match[0].line.splitlines()


def test_a_pardon_forgets_counts_and_offences_and_spares_for_a_while():
    pipeline = planned(FAST).pipeline()
    (block,) = blocks("".join(virus(n) for n in range(16)))
    (ban,) = pipeline.feed(block)[0]
    pipeline.pardon(ban.subject, ban.time)
    later = "".join(virus(20 + n) for n in range(16))
    much_later = "".join(virus(7200 + n) for n in range(16))
    (spared,) = pipeline.feed(Block("exim", later.encode(), 10_000, ARRIVAL, 1))[0]
    (again,) = pipeline.feed(Block("exim", much_later.encode(), 20_000, ARRIVAL, 1))[0]
    assert (spared.spared, again.spared) == ("exempt", "")
    assert again.step == 0


# -- byte for byte -----------------------------------------------------------------------------


def test_twice_in_a_row_byte_for_byte(tmp_path):
    policy, log = tmp_path / "policy.toml", tmp_path / "mainlog"
    policy.write_text(f'[source.exim]\nfile = "{log}"\nzone = "UTC"\n' + FAST + SLOW + DENSE)
    text = "".join(
        virus(13 * n, f"192.0.2.{n * 7 % 5}") + good(13 * n, f"192.0.2.{n % 90}")
        for n in range(2000)
    )
    log.write_text(text)
    os.utime(log, (ARRIVAL / SECOND, ARRIVAL / SECOND))

    def replay(seed: str) -> bytes:
        words = [sys.executable, "-m", "tidegate", "replay", "--json", "-c", policy, log]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run(words, capture_output=True, check=True, env=environment).stdout

    first = replay("0")
    assert first.count(b"\n") > 100
    assert replay("1") == first
    assert replay("2") == first


def test_expiry_takes_away_only_what_is_over():
    pipeline: Pipeline = planned(FAST).pipeline()
    (block,) = blocks(good(0) + "".join(virus(n) for n in range(4)))
    pipeline.feed(block)
    began = int(BEGAN.timestamp()) * SECOND
    pipeline.expire(began + 30 * DAY)
    assert pipeline.record.ever(Subject(WORM))
    pipeline.expire(began + 31 * DAY)
    assert not pipeline.record.ever(Subject(WORM))
