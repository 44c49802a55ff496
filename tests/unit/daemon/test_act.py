"""Between decisions and the world: what is carried out, kept back, undone, and made good later."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tidegate.daemon.act import Actor
from tidegate.daemon.orders import by_hand, opened
from tidegate.errors import GateError, LedgerError
from tidegate.gate.memory import MemoryGate
from tidegate.gate.port import Refusal
from tidegate.ledger.memory import MemoryLedger
from tidegate.model import HOUR, MINUTE, SECOND, Decision, Subject
from tidegate.policy.models import BanTerms, Counted, Policy, Rule

NOW = 1_700_000_000 * SECOND
A, B = Subject("192.0.2.7"), Subject("2001:db8:7::/64")


def rule(name: str, **other) -> Rule:
    values = {"threshold": 16, "within": 5 * MINUTE, "ban": BanTerms((25,)), "stated": "stated"}
    return Rule(name, (Counted("exim.malware"),), **(values | other))


FAST, SLOW, BROAD = rule("fast"), rule("slow"), rule("broad", ban=BanTerms(()))
POLICY = Policy(rules=(FAST, SLOW, BROAD))


def ban(subject=A, rule="fast", ports=(25,), span=HOUR, time=NOW, **other) -> Decision:
    values = {
        "action": "ban", "subject": subject, "rule": rule, "ports": ports, "time": time,
        "until": time + span, "duration": span, "count": 16, "step": 0, "mode": "enforce",
        "reason": "stated",
    }  # fmt: skip
    name = f"{rule} {subject} {time}"
    return Decision(**({"id": name} | values | other))


def unban(subject=A, ports=(), now=NOW) -> Decision:
    return by_hand("unban", subject, ports, now, now + HOUR, by="anna (uid 1000)")


class FullLedger(MemoryLedger):
    """A ledger on a disk that is full, or not readable, as long as told so."""

    full = unreadable = False

    def intend(self, decisions, durable=False):
        if self.full:
            raise LedgerError("the disk is full")
        return super().intend(decisions, durable)

    def settle(self, outcomes):
        if self.full:
            raise LedgerError("the disk is full")
        super().settle(outcomes)

    def wanted(self, now, subjects=None):
        if self.unreadable:
            raise LedgerError("it is damaged")
        return super().wanted(now, subjects)


class WayGate(MemoryGate):
    """A gate that is gone, refuses, or can't read its limits, as long as told so."""

    gone = False
    refuses = frozenset()
    faulty = ""

    def apply(self, requests, now):
        if self.gone:
            raise GateError("the keeper is gone")
        refused = [i for i, one in enumerate(requests) if one.subject in self.refuses]
        done = [one for one in requests if one.subject not in self.refuses]
        super().apply(done, now)
        return [Refusal(index, "it would hit a protected address") for index in refused]

    def replace(self, bans, allows, now):
        if self.gone:
            raise GateError("the keeper is gone")
        return super().replace(bans, allows, now)

    def drifted(self):
        if self.gone:
            raise GateError("the keeper is gone")
        return super().drifted()

    def reload(self):
        if self.faulty:
            raise GateError(self.faulty)
        return False


class World:
    """An actor between both of them."""

    def __init__(self) -> None:
        self.ledger, self.gate = FullLedger(), WayGate()
        self.actor = Actor(self.ledger, self.gate)

    def act(self, *decisions: Decision, now=NOW) -> list[tuple[str, str]]:
        results = self.actor.act(decisions, now)
        return [(one.outcome.state, one.outcome.detail) for one in results]

    def closed(self, now=NOW) -> set[tuple[str, tuple[int, ...]]]:
        return {(one.subject, one.ports) for one in self.gate.observe(now) if not one.allow}

    def states(self) -> dict[str, str]:
        return {one.decision.id: one.state for one in self.ledger.history(100)}


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_decided_is_written_down_done_and_settled(world):
    assert world.act(ban()) == [("applied", "")]
    assert world.closed() == {(A, (25,))}
    assert world.states() == {ban().id: "applied"}
    assert world.ledger.unsettled() == []


def test_deciding_the_same_twice_does_nothing_the_second_time(world):
    world.act(ban())
    world.act(unban())
    assert world.act(ban()) == []
    assert world.closed() == set()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"mode": "observe"}, ("observed", "")),
        ({"spared": "allowlist"}, ("spared", "allowlist")),
        ({"time": NOW - HOUR}, ("skipped", "already over")),
    ],
)
def test_what_is_only_recorded(world, other, expected):
    assert world.act(ban(**other)) == [expected]
    assert world.closed() == set()
    assert world.ledger.unsettled() == []


def test_a_refusal_is_told_and_the_rest_done(world):
    world.gate.refuses = {B}
    assert world.act(ban(), ban(B)) == [
        ("applied", ""),
        ("refused", "it would hit a protected address"),
    ]
    assert world.closed() == {(A, (25,))}
    assert world.actor.refused == 1


def test_a_lost_gate_is_made_good_when_it_is_back(world):
    world.gate.gone = True
    assert world.act(ban()) == [("refused", "the keeper is gone")]
    assert world.actor.out_of_step == "the keeper is gone"
    assert world.states() == {ban().id: "intended"}
    world.actor.tick(NOW + SECOND)
    world.gate.gone = False
    world.actor.tick(NOW + 2 * SECOND)
    assert world.closed() == {(A, (25,))}
    assert world.states() == {ban().id: "applied"}
    assert world.actor.out_of_step == ""


def test_drift_is_repaired(world):
    world.act(ban(), ban(B))
    world.gate.disturb()
    assert world.closed() == set()
    world.actor.tick(NOW + SECOND)
    assert world.closed() == {(A, (25,)), (B, (25,))}
    assert world.actor.repaired == 1


def test_a_second_ban_never_shortens_the_first(world):
    world.act(ban(rule="slow", span=3 * HOUR))
    world.act(ban(), by_hand("ban", A, (25,), NOW, NOW + MINUTE, by="anna (uid 1000)"))
    assert [one.until for one in world.gate.observe(NOW)] == [NOW + 3 * HOUR]
    world.ledger.full = True
    world.act(ban(B, "slow", span=3 * HOUR))
    world.act(ban(B))
    assert {one.until for one in world.gate.observe(NOW)} == {NOW + 3 * HOUR}


def test_an_allow_opens_also_for_after_its_end(world):
    world.act(ban(span=3 * HOUR), ban(rule="broad", ports=()))
    world.act(by_hand("allow", A, (), NOW, NOW + MINUTE, by="anna (uid 1000)"))
    assert world.closed() == set()
    assert world.closed(NOW + HOUR) == set()
    assert world.ledger.wanted(NOW) == []


def test_after_an_unban_a_shorter_ban_holds(world):
    world.act(ban(rule="slow", span=3 * HOUR))
    world.act(unban())
    world.act(ban())
    assert [one.until for one in world.gate.observe(NOW)] == [NOW + HOUR]


# -- a full disk -------------------------------------------------------------------------------


def test_on_a_full_disk_bans_go_on_and_are_written_down_when_there_is_room(world):
    world.ledger.full = True
    assert world.act(ban()) == [("applied", "")]
    assert world.act(ban()) == []
    world.gate.disturb()
    world.actor.tick(NOW + SECOND)
    assert world.closed() == {(A, (25,))}
    assert world.actor.in_force(NOW) == 1
    world.ledger.full = False
    world.actor.tick(NOW + 2 * SECOND)
    assert world.states() == {ban().id: "applied"}
    assert world.ledger.unsettled() == []


def test_on_a_full_disk_a_person_still_outranks_the_machine(world):
    world.act(ban())
    world.ledger.full = True
    world.act(ban(B))
    world.act(unban(A), unban(B))
    assert world.closed() == set()
    world.gate.disturb()
    world.actor.tick(NOW + SECOND)
    assert world.closed() == set()
    world.ledger.full = False
    world.actor.tick(NOW + 2 * SECOND)
    world.gate.disturb()
    world.actor.tick(NOW + 3 * SECOND)
    assert world.closed() == set()


def test_on_a_full_disk_an_unban_of_some_ports_opens_those_alone(world):
    world.act(ban(), ban(rule="slow", ports=(25, 465)))
    world.ledger.full = True
    world.act(unban(ports=(25,)))
    world.gate.disturb()
    world.actor.tick(NOW + SECOND)
    assert world.closed() == {(A, (25, 465))}


def test_on_a_full_disk_an_allow_by_hand_survives_drift(world):
    world.ledger.full = True
    world.act(by_hand("allow", A, (), NOW, NOW + HOUR, by="anna (uid 1000)"))
    world.gate.disturb()
    world.actor.tick(NOW + SECOND)
    assert [(one.subject, one.allow) for one in world.gate.observe(NOW)] == [(A, True)]


def test_a_ledger_that_cannot_be_read_never_empties_the_gate(world):
    world.act(ban())
    world.ledger.unreadable = True
    world.actor._reconcile("drift", NOW)
    assert world.closed() == {(A, (25,))}
    assert world.actor.out_of_step == "it is damaged"
    assert world.actor.in_force(NOW) is None
    world.ledger.unreadable = False
    world.gate.disturb()
    world.actor.tick(NOW + SECOND)
    assert (world.closed(), world.actor.out_of_step) == ({(A, (25,))}, "")


# -- removed rules -----------------------------------------------------------------------------


def reloaded(world, *rules, mode="enforce"):
    world.actor.reloaded(Policy(rules=rules, mode=mode), False, NOW)


def test_bans_of_a_removed_rule_open_and_others_stay(world):
    world.act(ban(), ban(B, "slow"))
    reloaded(world, FAST, BROAD)
    assert world.closed() == {(A, (25,))}
    assert world.ledger.unsettled() == []


@pytest.mark.parametrize(("kept", "removed"), [("fast", "slow"), ("slow", "fast")])
@pytest.mark.parametrize("span", [MINUTE, 3 * HOUR])
def test_what_another_rule_wants_closed_too_stays_closed(world, kept, removed, span):
    world.act(ban(rule=kept), ban(rule=removed, span=span))
    reloaded(world, FAST if kept == "fast" else SLOW)
    assert [tuple(one)[:3] for one in world.gate.observe(NOW)] == [(A, (25,), NOW + HOUR)]


def test_a_removed_ban_of_everything_leaves_that_of_one_port(world):
    world.act(ban(), ban(rule="broad", ports=()))
    reloaded(world, FAST)
    assert world.closed() == {(A, (25,))}


def test_orphans_behind_orphans_open_too(world):
    world.act(ban(rule="fast"), ban(rule="slow", span=2 * HOUR), ban(rule="broad", ports=()))
    reloaded(world)
    assert world.closed() == set()
    assert world.ledger.wanted(NOW) == []


@pytest.mark.parametrize(
    "changed",
    [
        Policy(rules=(replace(FAST, enabled=False),)),
        Policy(rules=(replace(FAST, mode="observe"),)),
        Policy(rules=(FAST,), mode="observe"),
    ],
)
def test_bans_of_a_rule_that_no_longer_acts_open(world, changed):
    world.act(ban())
    world.actor.reloaded(changed, False, NOW)
    assert world.closed() == set()


def test_bans_by_hand_outlive_every_rule(world):
    world.act(by_hand("ban", A, (25,), NOW, NOW + HOUR, by="anna (uid 1000)"))
    reloaded(world)
    assert world.closed() == {(A, (25,))}


def test_orphans_on_a_full_disk_open_when_there_is_room(world):
    world.act(ban())
    world.ledger.full = True
    reloaded(world)
    assert world.closed() == {(A, (25,))}
    world.ledger.full = False
    world.actor.tick(NOW + SECOND)
    assert world.closed() == set()


def test_after_a_start_the_gate_is_as_the_ledger_wants_it(world):
    world.ledger.intend([ban(), ban(B, "gone")])
    world.actor.resume(POLICY, NOW)
    assert world.closed() == {(A, (25,))}
    assert world.states()[ban().id] == "applied"
    assert world.ledger.unsettled() == []


def test_two_rules_are_undone_by_two_decisions():
    assert opened(ban(), "reload", "", NOW).id != opened(ban(rule="slow"), "reload", "", NOW).id


def test_what_is_kept_back_is_bounded(world, caplog):
    caplog.set_level(logging.CRITICAL)
    world.ledger.full = True
    world.act(*[ban(Subject(f"10.{n >> 8}.{n & 255}.1")) for n in range(12_000)])
    assert world.actor.in_force(NOW) == 10_000
