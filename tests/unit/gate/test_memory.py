"""The in-memory twin: the kernel's order of rules, ends by the given time."""

from __future__ import annotations

from tests.unit.gate.conftest import START, net

from tidegate.gate.memory import MemoryGate
from tidegate.gate.port import Gate, Knock, Request
from tidegate.model import HOUR, Ban, Confined, Subject

UNTIL = START + HOUR


def ask(verb: str, subject: str, *ports: int) -> Request:
    return Request(verb, Subject(subject), ports, UNTIL)  # type: ignore[arg-type]


def test_it_is_a_gate() -> None:
    gate: Gate = MemoryGate()
    assert not gate.drifted()


def test_whom_it_lets_pass() -> None:
    gate = MemoryGate([net("192.0.2.1")])
    requests = [ask("ban", "192.0.2.0/24"), ask("allow", "192.0.2.2"), ask("ban", "192.0.3.1", 25)]
    assert gate.apply([*requests, ask("ban", "2001:db8::/64"), ask("ban", "nobody")], START)
    assert gate.passes("192.0.2.1", 25, START)
    assert gate.passes("192.0.2.2", 25, START)
    assert not gate.passes("192.0.2.3", 25, START)
    assert gate.passes("192.0.2.3", 25, UNTIL), "over"
    assert not gate.passes("192.0.3.1", 25, START)
    assert gate.passes("192.0.3.1", 80, START)
    assert not gate.passes("2001:db8::7", 25, START)
    assert gate.passes("2001:db8:1::7", 25, START)


def test_what_is_over_is_forgotten() -> None:
    gate = MemoryGate()
    gate.apply([ask("ban", "192.0.2.3")], START)
    assert len(gate.observe(START)) == 1
    assert gate.observe(UNTIL) == []
    gate.apply([], UNTIL)
    assert gate.observe(START) == []


def test_replace_open_all_and_drift() -> None:
    gate = MemoryGate(capacity=1)
    gate.apply([ask("ban", "192.0.2.3"), ask("ban", "192.0.2.4")._replace(until=UNTIL + 1)], START)
    bans = [Ban(Subject("192.0.2.5"), (), UNTIL), Ban(Subject("192.0.2.6"), (), UNTIL - 1)]
    allows = [Ban(Subject("192.0.2.7"), (), UNTIL), Ban(Subject("x"), (), UNTIL)]
    assert {refusal.index for refusal in gate.replace(bans, allows, START)} == {1, 3}
    assert not gate.passes("192.0.2.5", 1, START)
    assert gate.passes("192.0.2.4", 1, START)
    gate.apply([ask("ban", "192.0.2.9")._replace(until=UNTIL + 9)], START)
    assert gate.evicted == 1
    gate.disturb()
    assert gate.drifted()
    gate.replace([], [], START)
    assert not gate.drifted()
    gate.open_all()
    assert gate.drifted()
    assert gate.observe(START) == []
    assert gate.evicted == 1


def test_knocks_are_told_once() -> None:
    gate = MemoryGate()
    gate.knock(Subject("192.0.2.3"), 25)
    assert gate.knocks() == [Knock(Subject("192.0.2.3"), 25)]
    assert gate.knocks() == []


def test_who_is_cut_off_or_watched_is_remembered_until_it_is_over() -> None:
    gate = MemoryGate()
    cut = Confined(Subject("uid:33"), 100, 200)
    assert gate.confine([cut, Confined(Subject("192.0.2.7"), 50, 60)], 10) == []
    assert gate.outward_state(60).confined == (cut,)
    assert gate.outward_state(100).confined == (cut._replace(until=0),)
    gate.confine([], 110)
    assert gate.outward_state(110).confined == ()
    gate.confine([cut], 110)
    gate.open_all()
    assert gate.outward_state(110).confined == ()
