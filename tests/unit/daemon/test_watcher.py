"""The watcher's loop, one turn at a time, between sources, ledger and gate in memory."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest
from tests.unit.daemon.test_act import FullLedger, WayGate

from tidegate.daemon import watcher as watcher_module
from tidegate.daemon.build import Plan
from tidegate.daemon.notices import Notices
from tidegate.daemon.watcher import Watcher
from tidegate.daemon.wiring import Fresh, Saved, Wiring
from tidegate.detector.matcher import Matcher
from tidegate.detector.pack import load_packs
from tidegate.errors import GateError, LedgerError, PolicyError, SourceError, WorldError
from tidegate.model import DAY, HOUR, SECOND, Subject
from tidegate.policy.guards import NoticeSpec
from tidegate.policy.loader import read
from tidegate.source.memory import MemorySource
from tidegate.source.port import Health

NOW = 1_755_000_000 * SECOND  # 2025-08-12T12:00:00Z
A = Subject("192.0.2.7")
POLICY = """
[source.exim]
file = "/var/log/exim4/mainlog"
zone = "UTC"
detectors = ["exim"]
[rule.virus-senders]
on = ["exim.malware"]
at-least = 3
within = "5m"
ban = { ports = [25], for = "1h" }
"""
OTHER = POLICY.replace("at-least = 3", "at-least = 5") + '[allow]\naddresses = ["203.0.113.0/24"]\n'
LINE = (
    "2025-08-12 12:00:0{n} 1tSoBg-000000000-00aB H=(x) [192.0.2.7] F=<a@b.example> rejected after"
    " DATA: This message contains a virus (W32/Sobig.F@mm)\n"
)
VIRUSES = [LINE.format(n=n).encode() for n in range(5)]
PACKS = tuple(pack for pack in load_packs() if pack.name == "exim")


class Silence:
    """A control socket on which nobody calls."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.calls: list[object] = []

    def fileno(self) -> int:
        return -1

    def take(self) -> list[object]:
        calls, self.calls = self.calls, []
        return calls

    def close(self) -> None:
        pass


class KeptLedger(FullLedger):
    """A ledger whose checkpoints fail too when the disk is full."""

    def checkpoint(self, positions, changes):
        changes = list(changes)
        if self.full:
            raise LedgerError("the disk is full")
        super().checkpoint(positions, changes)


class FarGate(WayGate):
    """A gate behind a socket that may be closed."""

    fd = None
    said: tuple[str, ...] = ()
    lost = False

    def fileno(self):
        return self.fd

    def notices(self):
        if self.lost:
            raise GateError("the keeper is gone")
        said, self.said = self.said, ()
        return list(said)


class OddSource(MemorySource):
    """A source that can't be read, or is degraded, as long as told so."""

    trouble = ""

    def read(self, now):
        if self.trouble:
            raise SourceError(self.trouble)
        return super().read(now)

    def health(self):
        if self.trouble:
            return Health("degraded", self.trouble, 0, 0)
        return super().health()


class LooseWiring(Wiring):
    """Reloads what the test says."""

    next: object = None

    def reloaded(self):
        if isinstance(self.next, Exception):
            raise self.next
        return Fresh(self.next, self.next.pipeline(), Saved())

    def exchange_sources(self, old, fresh):
        self.plan = fresh.plan
        return old


def planned(text: str = POLICY) -> Plan:
    return Plan(read([("policy", text)]), PACKS)


class Bench:
    """A watcher and everything around it; `turn` is one turn of its loop at a given second."""

    def __init__(self, plan: Plan | None = None, source: str = "exim") -> None:
        plan = plan or planned()
        self.ledger, self.gate, self.source = KeptLedger(), FarGate(), OddSource(source)
        self.alive: list[bytes] = []
        self.titles: list[str] = []
        self.wake, self._write = os.pipe()
        self.now = NOW
        self.wiring = LooseWiring(
            config=None, plan=plan, pipeline=plan.pipeline(), sources={source: self.source},
            ledger=self.ledger, gate=self.gate, gate_kind="memory", control=Silence(),
            wake_fd=self.wake, observe=False, trusted=False,
        )  # fmt: skip
        self.watcher = Watcher(self.wiring, self.alive.append, self.titles.append)

    def turn(self, *chunks: bytes, seconds: float = 0.1) -> None:
        self.now += int(seconds * SECOND)
        for chunk in chunks:
            self.source.write(chunk)
        self.watcher._read()
        self.watcher._answer()
        self.watcher._tick(self.now)

    def closed(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(one.subject, one.ports) for one in self.gate.observe(self.now)]

    def memory(self) -> dict[str, bytes]:
        return {change.key: change.value for change in self.ledger.memory()}


@pytest.fixture
def bench(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tidegate")
    made = Bench()
    monkeypatch.setattr(watcher_module, "now_micros", lambda: made.now)
    yield made
    os.close(made.wake)
    os.close(made._write)


def test_lines_become_a_ban_with_their_evidence(bench):
    bench.turn(*VIRUSES[:2])
    bench.turn()
    assert bench.closed() == []
    bench.turn(VIRUSES[2])
    assert bench.closed() == [(A, (25,))]
    (entry,) = bench.ledger.history(10)
    assert [line.line for line in entry.decision.evidence] == [
        one.decode().rstrip("\n") for one in VIRUSES[:3]
    ]
    assert [line.path for line in entry.decision.evidence] == ["memory"] * 3


def test_positions_and_counts_are_saved_together_every_two_seconds(bench):
    bench.turn(VIRUSES[0], seconds=5)
    assert [one.offset for one in bench.ledger.positions()] == [len(VIRUSES[0])]
    assert A in bench.memory()
    bench.turn(VIRUSES[1], seconds=1.5)
    assert [one.offset for one in bench.ledger.positions()] == [len(VIRUSES[0])]
    bench.turn(seconds=1.5)
    assert [one.offset for one in bench.ledger.positions()] == [2 * len(VIRUSES[0])]


def test_a_full_disk_is_said_once_and_what_was_kept_back_is_saved_when_there_is_room(bench, caplog):
    bench.ledger.full = True
    for chunk in VIRUSES[:4]:
        bench.turn(chunk, seconds=3)
    assert bench.closed() == [(A, (25,))]
    said = [row.message for row in caplog.records if "counts are kept in memory" in row.message]
    assert said == ["ledger: the disk is full; bans go on, counts are kept in memory"]
    bench.ledger.full = False
    bench.turn(seconds=3)
    assert [one.offset for one in bench.ledger.positions()] == [4 * len(VIRUSES[0])]
    assert [one.state for one in bench.ledger.history(9)] == ["applied"]
    assert any(row.message.startswith("ledger: well again") for row in caplog.records)


def test_a_clock_that_was_set_back_stops_neither_ticks_nor_checkpoints(bench):
    bench.turn(VIRUSES[0], seconds=5)
    bench.now -= DAY
    beats = len(bench.alive)
    bench.turn(VIRUSES[1], seconds=0.1)
    assert len(bench.alive) == beats + 1
    assert [one.offset for one in bench.ledger.positions()] == [2 * len(VIRUSES[0])]
    bench.turn(VIRUSES[2], seconds=3)
    assert [one.offset for one in bench.ledger.positions()] == [3 * len(VIRUSES[0])]


def test_a_source_in_trouble_is_said_once_and_the_others_go_on(bench, caplog):
    bench.source.trouble = "/var/log/x: does not exist"
    for _ in range(3):
        bench.turn(seconds=1.1)
    bench.source.trouble = ""
    bench.turn(*VIRUSES, seconds=1.1)
    said = [row.message for row in caplog.records if row.message.startswith("source exim")]
    assert said == [
        "source exim: /var/log/x: does not exist",
        "source exim: well again (was: /var/log/x: does not exist)",
    ]
    for _ in range(5):
        bench.turn()
    assert bench.closed() == [(A, (25,))]


def test_a_line_that_makes_a_detector_raise_is_set_aside_and_the_rest_goes_on(
    bench, caplog, monkeypatch
):
    real = Matcher.who

    def who(self, found):
        if b"poison" in found.string:
            start, stop = found.span()
            if b"poison" in found.string[start:stop]:
                raise ZeroDivisionError("broken")
        return real(self, found)

    monkeypatch.setattr(Matcher, "who", who)
    poison = VIRUSES[0].replace(b"H=(x)", b"H=(poison)")
    bench.turn(VIRUSES[0] + poison + VIRUSES[1] + VIRUSES[2])
    assert bench.closed() == [(A, (25,))]
    assert bench.watcher.pipeline.totals.quarantined == 1
    assert f"the line at byte {len(VIRUSES[0])} was set aside, detector exim.malware" in caplog.text
    assert "ZeroDivisionError: broken" in caplog.text
    assert "is switched off" not in caplog.text
    bench.turn(poison * 3)
    assert "is switched off: three lines in ten minutes broke it" in caplog.text
    assert bench.watcher.pipeline.engines["exim"].disabled == ("exim.malware",)


def test_what_the_ledger_and_the_socket_have_to_say_is_said(bench, caplog):
    bench.ledger.notes.append("it was damaged")
    bench.wiring.control.notes.append("control: odd")
    bench.turn(seconds=2)
    assert {"it was damaged", "control: odd"} <= {row.message for row in caplog.records}
    assert bench.ledger.notes == []


@pytest.mark.parametrize("lost", [True, False])
def test_without_its_keeper_it_ends_so_that_both_are_started_anew(bench, lost):
    bench.gate.lost = lost
    if lost:
        bench.watcher._heed()
    else:
        bench.gate.fd = -1  # it did not answer in time, and the conversation was given up
        bench.turn(seconds=2)
    assert bench.watcher.stopping


@pytest.mark.parametrize("notice", ["drift", "resync"])
def test_the_keepers_notices_are_heeded(bench, notice):
    bench.turn(*VIRUSES[:3])
    for _ in range(3):
        bench.turn()
    bench.gate.disturb()
    bench.gate.said = (notice, "something unknown")
    bench.watcher._heed()
    assert bench.closed() == [(A, (25,))]


# -- knocks ------------------------------------------------------------------------------------

SCORE = POLICY.replace(
    """at-least = 3
within = "5m"
ban = { ports = [25], for = "1h" }""",
    """score-at-least = 2
decay = "1/hour"
ban = { ports = [25] }""",
)


def test_a_knock_prolongs_what_a_score_closed_and_says_what_it_was(bench):
    bench.wiring.next = planned(SCORE)
    assert bench.watcher.reload(bench.now) == []
    bench.now = NOW + 10 * SECOND
    for chunk in VIRUSES[:3]:
        bench.turn(chunk)
    (before,) = bench.gate.observe(bench.now)
    bench.watcher._hear(bench.now)
    bench.gate.knock(A, 25)
    bench.gate.knock(Subject("192.0.2.8"), 25)
    bench.now += SECOND
    bench.watcher._hear(bench.now)
    (after,) = bench.gate.observe(bench.now)
    assert 0 < after.until - before.until <= HOUR
    (last, first) = [entry.decision for entry in bench.ledger.history(10)]
    assert (last.until, first.until) == (after.until, before.until)
    assert last.reason.startswith("it still tries (port 25)")
    told = [line.line for line in last.evidence]
    assert told[:-1] == [line.line for line in first.evidence]
    assert told[-1] == "a new TCP connection from 192.0.2.7 to port 25, dropped"
    assert bench.watcher.knocks == 2
    bench.turn(seconds=3)
    bench.watcher._hear(bench.now)
    assert len(bench.ledger.history(10)) == 2
    saved = {(change.part, change.key) for change in bench.ledger.memory()}
    assert any(key == A for _part, key in saved)


def test_why_no_knocks_can_be_heard_is_said_once(bench, caplog):
    bench.gate.deaf = "NFLOG group 2003 can't be had"
    for _ in range(3):
        bench.turn(seconds=1.1)
    bench.gate.deaf = ""
    bench.turn(seconds=1.1)
    said = [row.message for row in caplog.records if row.message.startswith("knocks")]
    assert len(said) == 2
    assert said[0].endswith("can't be had; bans hold, but who tries again is not noticed")
    assert said[1].startswith("knocks: well again")


# -- reload ------------------------------------------------------------------------------------


def test_a_reload_exchanges_the_policy_and_keeps_what_was_counted(bench, caplog):
    for chunk in VIRUSES[:2]:
        bench.turn(chunk)
    bench.wiring.next = planned(OTHER)
    assert bench.watcher.reload(bench.now) == []
    for chunk in VIRUSES[2:4]:
        bench.turn(chunk)
    assert bench.closed() == []
    bench.turn(VIRUSES[4])
    assert bench.closed() == [(A, (25,))]
    assert bench.titles[-1] == "tidegate: watcher (1 source, 1 rule)"
    assert f"reloaded: policy {planned(OTHER).loaded.policy.hash}" in caplog.text


def test_what_a_removed_rule_remembered_is_forgotten(bench):
    """Or it would believe, when it comes back, that what was opened is closed."""
    for chunk in VIRUSES:
        bench.turn(chunk, seconds=1)
    assert any("virus-senders" in change.part for change in bench.ledger.memory())
    bench.wiring.next = planned(POLICY.partition("[rule")[0])
    bench.watcher.reload(bench.now)
    bench.turn(seconds=2)
    assert not any("virus-senders" in change.part for change in bench.ledger.memory())
    assert bench.closed() == []


@pytest.mark.parametrize("where", ["policy", "keeper", "ledger"])
def test_a_reload_that_fails_changes_nothing(bench, where):
    before = bench.watcher.pipeline
    if where == "policy":
        bench.wiring.next = PolicyError(["x.toml:1: mode: expected", "x.toml:2: allow: expected"])
    elif where == "ledger":
        bench.wiring.next = LedgerError("x.toml: can't be read")
    else:
        bench.wiring.next = planned(OTHER)
        bench.gate.faulty = "x.toml: can't be read"
    faults = bench.watcher.reload(bench.now)
    assert faults == (
        ["x.toml:1: mode: expected", "x.toml:2: allow: expected"]
        if where == "policy"
        else ["x.toml: can't be read"]
    )
    assert bench.watcher.pipeline is before
    assert bench.wiring.plan.loaded.policy == planned().loaded.policy


def test_the_title_tells_sources_and_rules_that_are_on(bench):
    plan = planned(POLICY + POLICY.split("[rule", 1)[0].replace("exim]", "more]"))
    assert replace(bench.wiring, plan=plan, sources={"a": 1, "b": 2}).title() == (
        "tidegate: watcher (2 sources, 1 rule)"
    )
    off = planned(POLICY.replace('within = "5m"', 'within = "5m"\nenabled = false'))
    assert replace(bench.wiring, plan=off).title() == "tidegate: watcher (1 source, 0 rules)"


# -- a whole life ------------------------------------------------------------------------------


def test_a_life_from_start_to_stop(bench):
    """It says that it is ready, works until it is told to stop, and saves what it has."""
    bench.source.write(VIRUSES[0])

    def alive(word: bytes) -> None:
        bench.alive.append(word)
        bench.now += SECOND
        if len(bench.alive) == 4:
            bench.watcher.stopping = True
        os.write(bench._write, b"x")

    bench.watcher.alive = alive
    bench.watcher.run()
    assert bench.alive == [b"R", b".", b".", b"."]
    assert bench.titles == ["tidegate: watcher (1 source, 1 rule)"]
    with pytest.raises(LedgerError):
        bench.ledger.positions()


def test_counts_from_before_come_back(bench, caplog):
    first = planned().pipeline()
    source = MemorySource("exim", VIRUSES[:2])
    for _ in range(2):
        for block in source.read(NOW):
            first.feed(block)
    bench.ledger.checkpoint([], [*first.changes()])
    bench.watcher._restore()
    bench.turn(VIRUSES[2])
    assert bench.closed() == [(A, (25,))]
    assert "belong to no rule any more" not in caplog.text


def test_notices_that_wait_outlive_a_restart(bench):
    def told(watcher, deliver):
        watcher.notices = Notices([NoticeSpec("admins", mail="root", most=1)], deliver)

    def refuses(spec, letter):
        raise WorldError("no mail server")

    arrived = []
    told(bench.watcher, refuses)
    bench.watcher.notices.tell(["admins"], NOW, "apache2 is stopped", "")
    bench.turn(seconds=3)
    bench.watcher.notices.close(bench.now, 30)
    bench.watcher._checkpoint(bench.now)
    again = Watcher(bench.wiring, bench.alive.append, bench.titles.append)
    bench.watcher = again
    told(again, lambda spec, letter: arrived.append(letter.subject))
    again._restore()
    again._last_expiry = 0
    bench.turn(seconds=3)  # what belongs to nobody is dropped; this does not
    again.notices.close(bench.now, 30)
    assert arrived == ["apache2 is stopped"]
    again._checkpoint(bench.now)
    assert b"apache2" not in bench.memory()["admins"]
