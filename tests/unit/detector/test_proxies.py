"""Behind a declared proxy the forwarded address counts, from the right; an undeclared one is told."""

from __future__ import annotations

from datetime import UTC

import pytest

from tidegate.daemon.pipeline import Pipeline
from tidegate.detector import proxies
from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.detector.proxies import DIFFERENT, Proxies
from tidegate.model import MINUTE, Block, Subject
from tidegate.policy.models import BanTerms, Counted, Policy, Rule

DECLARED = (Subject("192.0.2.0/28"), Subject("2001:db8:ffff::/48"))
LINE = (
    '{peer} - - [21/Aug/2026:14:03:22 +0200] "GET /.env HTTP/1.1" 404 12 "-" "{agent}" "{passed}"\n'
)
JSON = (
    '{{"time":"2026-08-21T14:03:22+02:00","remote_addr":"{peer}","http_x_forwarded_for":"{passed}",'
    '"request_uri":"/.env","status":404,"http_user_agent":"x"}}\n'
)


@pytest.mark.parametrize(
    ("peer", "passed", "whose"),
    [
        ("192.0.2.7", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.7", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("192.0.2.7", "198.51.100.1,203.0.113.9,192.0.2.3", "203.0.113.9"),
        ("192.0.2.7", "2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("192.0.2.7", "203.0.113.9, 2001:db8:ffff::1", "203.0.113.9"),
        ("192.0.2.7", "192.0.2.3", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.9, unknown", "192.0.2.7"),
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.77", "203.0.113.9", "192.0.2.77"),
    ],
)
def test_whose_request_it_is(peer: str, passed: str, whose: str) -> None:
    assert Proxies(DECLARED).behind(Subject(peer), passed.encode()) == whose


@pytest.mark.parametrize("line", [LINE, JSON], ids=["text", "json"])
def test_in_access_logs(line: str) -> None:
    engine = Engine(load_packs(), zone=UTC, proxies=DECLARED, detectors=("web",))
    for _ in range(2):
        for peer, whose in (("192.0.2.7", "203.0.113.9"), ("198.51.100.7", "198.51.100.7")):
            text = line.format(peer=peer, passed="198.51.100.99, 203.0.113.9", agent="x") * 40
            events = engine.detect(Block("s", text.encode(), 0, 1_790_000_000_000_000, 1)).events
            assert {event.subject for event in events} == {whose}
            assert len(events) == 40


@pytest.mark.parametrize("agent", ["203.0.113.9", 'x\\" \\"203.0.113.9', "x\\x22 \\x22203.0.113.9"])
def test_an_agent_is_no_forwarded_address(agent: str) -> None:
    """A log without the field: the last quoted text is the client's."""
    plain = LINE.replace(' "{passed}"', "")
    engine = Engine(load_packs(), zone=UTC, proxies=DECLARED, detectors=("web",))
    data = plain.format(peer="192.0.2.7", agent=agent).encode()
    (event,) = engine.detect(Block("s", data, 0, 1_790_000_000_000_000, 1)).events
    assert event.subject == "192.0.2.7"


def test_a_proxy_is_never_closed_for_and_an_undeclared_one_is_told_of_once() -> None:
    rule = Rule("r", (Counted("web.probe"),), 3, MINUTE, BanTerms((80,)), "stated")
    policy = Policy(rules=(rule,), proxies=DECLARED)
    engine = Engine(load_packs(), zone=UTC, proxies=DECLARED, detectors=("web",))
    pipeline = Pipeline(policy, {"s": engine}, {"web.probe": 1})
    # A proxy that forwards nothing.
    data = LINE.format(peer="192.0.2.7", passed="-", agent="x") * 5
    decisions, _batch = pipeline.feed(Block("s", data.encode(), 0, 1_790_000_000_000_000, 1))
    assert {one.spared for one in decisions} == {"proxy"}
    data = "".join(
        LINE.format(peer="198.51.100.7", passed=f"203.0.113.{n}", agent="x")
        for n in range(2 * DIFFERENT)
    )
    for _ in range(2):
        pipeline.feed(Block("s", data.encode(), 0, 1_790_000_000_000_000, 1))
    notes = [note.text for note in pipeline.judge.take_notes()]
    assert len([note for note in notes if note.startswith("198.51.100.7 passes on")]) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "WATCHED", 5)
    monkeypatch.setattr(proxies, "REMEMBERED", 5)
    each = Proxies(DECLARED)
    for n in range(50):
        each.behind(Subject(f"198.51.100.{n}"), b"203.0.113.9")
    assert len(each._passed) <= 5
    assert len(each._known) <= 5
