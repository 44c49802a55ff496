"""What the meter hears becomes lines of our own, which are quoted, judged and bounded."""

from __future__ import annotations

import re

import pytest

from tidegate.daemon.outward import Counters, OutwardSource
from tidegate.errors import GateError, SourceError
from tidegate.gate.outward.port import Capped, OutwardState
from tidegate.model import SECOND, Block, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic.port import Counted, Heard, MemoryTraffic, MeterHealth
from tidegate.traffic import Contact, Cut

NOW = 1_760_000_000 * SECOND
ONE = Subject("192.0.2.7")
SPEC = OutwardSpec(networks=(Subject("192.0.2.0/24"),))
LINE = re.compile(rb"2025-10-09T\S+ tidegate outward: scan 192\.0\.2\.7: .*203\.0\.113\..*")


def refused(count: int, start: int = 1, now: int = NOW) -> Heard:
    return Heard(
        [Contact(now + n, ONE, f"203.0.113.{n + start}", 6, 445, "refused") for n in range(count)]
    )


def cut(packets: int = 1, what: str = "destinations", subject: Subject = ONE) -> Cut:
    return Cut(NOW, subject, what, packets, 0, ("203.0.113.9:1434/udp",))


@pytest.fixture
def traffic() -> MemoryTraffic:
    return MemoryTraffic()


@pytest.fixture
def source(traffic: MemoryTraffic) -> OutwardSource:
    return OutwardSource("outward", SPEC, traffic)


def test_a_scan_is_a_line_that_can_be_quoted(source: OutwardSource, traffic: MemoryTraffic) -> None:
    assert source.read(NOW) == []
    traffic.coming.append(refused(20))
    (block,) = source.read(NOW + SECOND)
    first = block.data.splitlines()[0]
    assert LINE.fullmatch(first)
    assert block.data.endswith(b"\n")
    assert source.fetch(block.origin, block.offset) == first
    assert [one.path for one in source.origins()] == ["outward"]
    assert source.positions() == []
    assert source.health().last_read == NOW + SECOND


def test_offsets_go_on(source: OutwardSource, traffic: MemoryTraffic) -> None:
    blocks: list[Block] = []
    for turn in range(3):
        traffic.coming.append(refused(20, 1 + turn * 30, NOW + turn * 10 * SECOND))
        blocks += source.read(NOW + turn * 10 * SECOND)
    assert len(blocks) == 3
    ends = [block.offset + len(block.data) for block in blocks]
    assert [block.offset for block in blocks[1:]] == ends[:-1]
    for block in blocks:
        assert source.fetch(block.origin, block.offset) is not None


def test_another_life_has_another_origin(traffic: MemoryTraffic) -> None:
    asked: list[str] = []

    def register(path: str, identity: str, rereadable: bool) -> object:
        asked.append(identity)
        raise GateError("full disk")

    for _life in range(2):
        traffic.coming.append(refused(20))
        made = OutwardSource("outward", SPEC, traffic, register=register)  # type: ignore[arg-type]
        made.read(NOW)
    assert len(set(asked)) == 2


def test_handshakes_are_judged(source: OutwardSource, traffic: MemoryTraffic) -> None:
    lines = b""
    for second in range(120):
        traffic.coming.append(Heard(handshakes=[Counted(NOW + second * SECOND, 80, 1000, 2)]))
        lines += b"".join(block.data for block in source.read(NOW + second * SECOND))
    assert b"tidegate inward: syn-flood service:80: " in lines


def test_the_meter_s_troubles_are_told_once(source: OutwardSource, traffic: MemoryTraffic) -> None:
    traffic.health = MeterHealth(troubles=("connections are not tracked here",))
    traffic.trouble = "b"
    assert source.health()[:2] == ("degraded", "b; connections are not tracked here")


def test_what_was_left_out_is_said(source: OutwardSource, traffic: MemoryTraffic) -> None:
    assert source.health()[:2] == ("ok", "")
    traffic.health = MeterHealth(share=0.125, loud=2, lost=7, unsent=1)
    state, detail = source.health()[:2]
    assert state == "ok"
    assert "12.5%" in detail
    assert "2 loud" in detail
    assert "8 events were lost" in detail
    assert source.view()["lost"] == 7


def test_a_meter_that_is_gone_is_said_once_and_listened_to_no_more() -> None:
    class Gone(MemoryTraffic):
        __slots__ = ()

        def fileno(self) -> int:
            return 5

        def take(self) -> Heard:
            raise SourceError("the meter is gone")

    source = OutwardSource("outward", SPEC, Gone())
    assert list(source.fds()) == [5]
    with pytest.raises(SourceError):
        source.read(NOW)
    assert source.read(NOW) == []
    assert list(source.fds()) == []
    assert source.health()[:2] == ("degraded", "the meter is gone")


def test_only_a_changed_spec_forgets(source: OutwardSource, traffic: MemoryTraffic) -> None:
    traffic.coming.append(refused(4))
    assert source.read(NOW) == []
    source.govern(SPEC)
    assert source.view()["remembered"]["sources"] == 1  # type: ignore[index]
    source.govern(OutwardSpec(networks=SPEC.networks, destinations=5))
    assert source.view()["remembered"]["sources"] == 0  # type: ignore[index]


class Gate:
    """The kernel's counters, as a keeper tells them."""

    def __init__(self) -> None:
        self.counts: dict[tuple[Subject, str], int] = {}
        self.asked = 0
        self.fails = False

    def state(self, _now: int) -> OutwardState:
        self.asked += 1
        if self.fails:
            raise GateError("gone")
        return OutwardState("", tuple(Capped(*key, n, n * 40) for key, n in self.counts.items()))


@pytest.fixture
def gate() -> Gate:
    return Gate()


def packets(counters: Counters, cuts: list[Cut], now: int) -> list[int]:
    return [one.packets for one in counters.whole(cuts, now)]


def test_the_kernel_s_counters_outrank_the_log(gate: Gate) -> None:
    gate.counts = {(ONE, "destinations"): 1000}  # of a former life
    counters = Counters(gate.state)
    gate.counts = {(ONE, "destinations"): 6000, (ONE, "syn"): 70}
    assert packets(counters, [cut(3), cut(2, "syn")], NOW + SECOND) == [5000, 70]
    gate.counts = {(ONE, "destinations"): 6400, (ONE, "syn"): 90}
    assert packets(counters, [cut(3)], NOW + 2 * SECOND) == [400]
    assert packets(counters, [cut(2, "syn")], NOW + 4 * SECOND) == [20]
    gate.counts = {(ONE, "destinations"): 15}  # put in anew
    assert packets(counters, [cut(3)], NOW + 5 * SECOND) == [15]
    assert packets(counters, [cut(9)], NOW + 6 * SECOND) == [9]


def test_they_are_not_asked_for_too_often_and_nothing_counts_twice(gate: Gate) -> None:
    counters = Counters(gate.state)
    gate.counts = {(ONE, "destinations"): 100}
    assert packets(counters, [cut(5)], NOW + SECOND) == [100]
    asked = gate.asked
    assert packets(counters, [cut(7)], NOW + SECOND + 1000) == [7]
    assert gate.asked == asked
    gate.counts = {(ONE, "destinations"): 150}
    assert packets(counters, [cut(5)], NOW + 2 * SECOND) == [43]


def test_without_counters_the_log_is_what_there_is(gate: Gate) -> None:
    gate.fails = True
    for counters in (Counters(None), Counters(gate.state)):
        assert packets(counters, [cut(5)], NOW + SECOND) == [5]


def test_what_no_counter_counts_asks_nobody(gate: Gate) -> None:
    counters = Counters(gate.state)
    assert packets(counters, [cut(5, "irc"), cut(4, "filter slammer")], NOW + SECOND) == [5, 4]
    assert gate.asked == 1


def test_rates_alone_are_asked_for_less_often(gate: Gate) -> None:
    counters = Counters(gate.state)
    gate.counts = {(ONE, "udp"): 100, (ONE, "destinations"): 50}
    assert packets(counters, [cut(5, "udp")], NOW) == [100]
    gate.counts = {(ONE, "udp"): 200, (ONE, "destinations"): 70}
    assert packets(counters, [cut(5, "udp")], NOW + SECOND) == [5]
    assert packets(counters, [cut(5, "udp"), cut(1)], NOW + SECOND + 1) == [95, 70]


def test_asking_has_a_budget(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter(range(0, 1000, 1))
    monkeypatch.setattr("time.thread_time", lambda: next(spent) * 0.1)
    counters = Counters(gate.state)
    for turn in range(50):
        counters.whole([cut(1)], NOW + turn * SECOND)
    assert gate.asked == 1 + 3 + 1, "what was saved up, and one part in two hundred of the time"
    counters.whole([cut(1)], NOW + 300 * SECOND)
    assert gate.asked == 1 + 3 + 2
