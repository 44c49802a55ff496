"""Whatever the order, wherever it is cut, however often it begins anew: quarantine is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tidegate.daemon.backlog import Backlog
from tidegate.daemon.build import Plan
from tidegate.daemon.confining import Confining
from tidegate.daemon.pipeline import Pipeline
from tidegate.detector.pack import load_packs
from tidegate.errors import GateError
from tidegate.gate.memory import MemoryGate
from tidegate.ledger.memory import MemoryLedger
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import MINUTE, SECOND, Block, Change, Decision, Outcome, Subject
from tidegate.policy.loader import read

POLICY = """
[outward]
sources = ["uids", "192.0.2.0/24"]
customers = ["198.51.100.0/28"]
[rule.worm]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = { ladder = ["1m", "3m", "10m"] }
[rule.flood]
on = ["outward.udp_flood", "outward.scan"]
at-least = 3
within = "5m"
quarantine = { ladder = ["2m", "20m"] }
"""
NOW = 1_755_000_000 * SECOND
SUBJECTS = ("192.0.2.7", "192.0.2.8", "uid:33", "198.51.100.0/28", "203.0.113.9")
SUBJECT = st.sampled_from(SUBJECTS)
FOUND = st.tuples(st.integers(0, 30 * 60), st.sampled_from(["scan", "udp-flood"]), SUBJECT)


def line(found: tuple[int, str, str]) -> bytes:
    second, kind, subject = found
    moment = datetime.fromtimestamp(NOW // SECOND + second, UTC)
    text = "14 new destinations in 0.2s, none answered"
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ} tidegate outward: {kind} {subject}: {text}\n".encode()


@cache
def planned() -> Plan:
    packs = tuple(pack for pack in load_packs() if pack.name in ("outward", "inward"))
    return Plan(read([("policy", POLICY)]), packs)


def play(lines: Sequence[bytes], cuts: Sequence[int] = (), anew: bool = False) -> list[Decision]:
    """The decisions; at each cut a block ends, and where `anew` all begins anew from what a
    checkpoint would have saved."""
    pipeline: Pipeline = planned().pipeline()
    decisions: list[Decision] = []
    memory: dict[tuple[str, str], bytes | None] = {}
    edges = [0, *sorted({one for one in cuts if 0 < one < len(lines)}), len(lines)]
    offset = 0
    for first, last in pairwise(edges):
        data = b"".join(lines[first:last])
        if data:
            decisions += pipeline.feed(Block("outward", data, offset, NOW + 3600 * SECOND, 1))[0]
        offset += len(data)
        if anew:
            memory.update(((one.part, one.key), one.value) for one in pipeline.changes())
            pipeline = planned().pipeline()
            pipeline.restore(
                Change(part, key, value)
                for (part, key), value in sorted(memory.items())
                if value is not None
            )
    return decisions


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FOUND, max_size=30), st.lists(st.integers(1, 29), max_size=6), st.booleans())
@example([(0, "scan", "203.0.113.9"), (0, "scan", "203.0.113.9")], [1], True)
def test_neither_cuts_nor_restarts_change_a_decision(found, cuts, anew):
    lines = [line(one) for one in sorted(found)]
    assert play(lines, cuts, anew) == play(lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(FOUND, max_size=30), st.randoms(use_true_random=False))
def test_what_others_do_and_when_they_are_heard_of_changes_nothing_for_one(found, random):
    lines: dict[str, list[bytes]] = {}
    for one in sorted(found):
        lines.setdefault(one[2], []).append(line(one))
    mixed: list[bytes] = []
    left = {subject: list(own) for subject, own in lines.items()}
    while left:  # each one's lines keep their order; between them any order is possible
        subject = random.choice(sorted(left))
        mixed.append(left[subject].pop(0))
        if not left[subject]:
            del left[subject]
    for subject, own in lines.items():
        assert _said(play(mixed), subject) == _said(play(own), subject)


def _said(decisions: Sequence[Decision], subject: str) -> list[tuple[object, ...]]:
    return [
        (one.time, one.rule, one.until, one.watched, one.step, one.spared)
        for one in decisions
        if one.subject == subject
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(FOUND, max_size=40))
def test_on_probation_every_offence_cuts_off_and_no_step_is_shorter_than_the_last(found):
    for rule in ("worm", "flood"):
        for subject in SUBJECTS:
            last = None
            for one in play([line(each) for each in sorted(found)]):
                if (one.rule, one.subject) != (rule, subject):
                    continue
                assert one.action == "quarantine"
                if last is not None:
                    assert one.time >= last.until, "cut off already"
                    assert one.duration >= last.duration
                assert one.spared or one.watched > one.until
                last = one if not one.spared else None


# -- ledger and gate ---------------------------------------------------------------------------

DONE = st.builds(
    lambda action, subject, rule, time, span, watch, mode, spared: (
        action, subject, rule, time, span, watch, mode, spared,
    ),
    st.sampled_from(["quarantine", "quarantine", "release", "ban", "unban", "allow"]),
    st.sampled_from(SUBJECTS[:3]), st.sampled_from(["", "worm", "flood"]),
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 20),
    st.sampled_from(["enforce"] * 4 + ["observe"]), st.sampled_from([""] * 4 + ["busy"]),
)  # fmt: skip


def decided(number: int, values: tuple[object, ...]) -> Decision:
    action, subject, rule, time, span, watch, mode, spared = values
    moment = NOW + time * MINUTE
    until = moment + span * MINUTE
    return Decision(
        id=str(number), time=moment, action=action, subject=Subject(subject), rule=rule, ports=(),
        until=until, duration=span * MINUTE, count=1, step=0, mode=mode, reason="r", spared=spared,
        watched=until + watch * MINUTE if watch else 0,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(DONE, max_size=14), st.integers(0, 14))
def test_both_ledgers_answer_alike_also_after_a_restart(values, restart):
    decisions = [decided(number, one) for number, one in enumerate(values)]
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "ledger.db")
        disk, twin = SqliteLedger(path), MemoryLedger()
        for number, one in enumerate(decisions):
            if number == restart:
                disk.close()
                disk = SqliteLedger(path)
            disk.intend([one])
            twin.intend([one])
        for minute in range(0, 65, 5):
            now = NOW + minute * MINUTE
            assert disk.quarantined(now) == twin.quarantined(now)
            for subject in (None, Subject("192.0.2.7"), Subject("192.0.2.0/24")):
                assert disk.standing(now, subject, "quarantine") == twin.standing(
                    now, subject, "quarantine"
                )
            assert [one.subject for one in twin.quarantined(now)] == [
                one.decision.subject for one in twin.standing(now, None, "quarantine")
            ]
        assert list(disk.deeds(0)) == list(twin.deeds(0))
        disk.close()


class LooseGate(MemoryGate):
    """Gone as often as it is told."""

    gone = False

    def confine(self, confined, now):
        if self.gone:
            raise GateError("the keeper is gone")
        return super().confine(confined, now)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(DONE, st.sampled_from(["well", "gone", "killed"])), max_size=12))
def test_whatever_breaks_gate_and_ledger_are_in_step_once_it_is_well(steps):
    ledger, gate, backlog = MemoryLedger(), LooseGate(), Backlog()
    confining = Confining(ledger, gate, backlog)
    policy = planned().loaded.policy
    now = NOW + 20 * MINUTE
    confining.govern(policy, now)
    for number, (values, how) in enumerate(steps):
        one = replace(decided(number, values), by="anna (uid 1000)")
        if one.action not in ("quarantine", "release"):
            continue
        now += SECOND
        ledger.intend([one])
        if how == "killed":  # before it was done: another life, the same ledger and kernel
            confining = Confining(ledger, gate, backlog)
            confining.govern(policy, now)
            continue
        gate.gone = how == "gone"
        meant = [] if one.spared or one.mode == "observe" else [one]
        outcomes = confining.apply(meant, now)
        if not confining.out_of_step:
            ledger.settle(
                [outcomes.get(one.id, Outcome(one.id, "applied", "", now)) for one in [one]]
            )
    gate.gone = False
    confining.tick(now + 31 * SECOND, False)
    assert list(gate.confined) == ledger.quarantined(now + 31 * SECOND)
    assert ledger.unsettled() == []
    assert confining.out_of_step == ""
