"""Logged packets become cuts: summed up by source and cap, bounded, with the program behind them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import SECOND, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic import cuts as module
from tidegate.source.traffic.cuts import EVERY, NAMED_FOR, Cuts
from tidegate.source.traffic.nflog import Kept
from tidegate.source.traffic.reach import Reach
from tidegate.subject import Network
from tidegate.traffic import Cut

NOW = 1_760_000_000 * SECOND
SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"),), customers=(Subject("198.51.100.0/28"),),
    interfaces=("lan0",),
)  # fmt: skip
REACH = Reach(SPEC, ["192.0.2.1"], {"lan0": [Network(4, 16, b"\x0a\x01\0\0")]})
FORWARD, OUTPUT, PREROUTING = 2, 3, 0


def packet(source: str = "192.0.2.7", target: str = "203.0.113.9", port: int = 1434) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 404, 0, 0, 64, 17, 0)
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    return head + ends + struct.pack(">HH", 40000, port)


def kept(
    source: str = "192.0.2.7", target: str = "203.0.113.9", *,
    prefix: str = "tg:destinations", hook: int = FORWARD, uid: int | None = None,
    interface: int = 0, time: int = 0,
) -> Kept:  # fmt: skip
    return Kept(time, prefix, hook, uid, interface, 1, packet(source, target))


def name_of(number: int) -> str:
    if number == 9:
        raise OSError
    return {1: "lan0", 2: "wan0"}[number]


class Owner:
    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.name = "/var/tmp/x (pid 4711)"

    def owner_of(self, *flow: object) -> str:
        self.asked.append(flow)
        return self.name


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def cuts(owner: Owner) -> Cuts:
    return Cuts(REACH, owner, name_of)


def test_the_first_is_told_at_once_and_the_others_together(cuts: Cuts) -> None:
    cuts.add(kept(), NOW)
    assert cuts.take(NOW) == [
        Cut(NOW, Subject("192.0.2.7"), "destinations", 1, 0, ("203.0.113.9:1434/udp",), "")
    ]
    for n in range(20):
        cuts.add(kept(target=f"203.0.113.{n}"), NOW + n + 1)
        assert cuts.take(NOW + n + 1) == []
    (cut,) = cuts.take(NOW + EVERY)
    assert (cut.time, cut.packets, cut.span) == (NOW + 20, 20, 19)
    assert len(cut.destinations) == 5
    assert cuts.due()
    assert cuts.take(NOW + 2 * EVERY) == []
    assert not cuts.due()


def test_caps_and_sources_are_kept_apart(cuts: Cuts) -> None:
    for prefix in ("tg:syn", "tg:irc", "tg:filter slammer"):
        for source in ("192.0.2.7", "192.0.2.8"):
            cuts.add(kept(source, prefix=prefix), NOW)
    assert sorted((one.source, one.what) for one in cuts.take(NOW)) == [
        ("192.0.2.7", "filter slammer"), ("192.0.2.7", "irc"), ("192.0.2.7", "syn"),
        ("192.0.2.8", "filter slammer"), ("192.0.2.8", "irc"), ("192.0.2.8", "syn"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "source"),
    [
        (kept(), "192.0.2.7"),
        (kept("198.51.100.5"), "198.51.100.0/28"),
        (kept("10.1.2.3", interface=1), "interface:lan0"),
        (kept("203.0.113.5", interface=1), "interface:lan0"),
        (kept("203.0.113.5", interface=2), None),
        (kept("203.0.113.5", interface=9), None),
        (kept("10.1.2.3"), None),
        (kept(hook=OUTPUT, uid=33), "uid:33"),
        (kept(hook=OUTPUT), None),
        (kept("203.0.113.5", hook=PREROUTING, prefix="tg:filter slammer"), None),
        (kept(prefix="tg:filter slammer", hook=PREROUTING), "192.0.2.7"),
    ],
)
def test_whose_packet_it_is(cuts: Cuts, one: Kept, source: str | None) -> None:
    cuts.add(one, NOW)
    assert [cut.source for cut in cuts.take(NOW)] == ([] if source is None else [source])
    assert cuts.foreign == (source is None)


def test_of_a_host_the_program_is_named_and_not_asked_for_each_time(
    cuts: Cuts, owner: Owner
) -> None:
    for turn in range(4):
        moment = NOW + turn * EVERY
        cuts.add(kept("192.0.2.1", hook=OUTPUT, uid=33), moment)
        assert [cut.by for cut in cuts.take(moment)] == ["/var/tmp/x (pid 4711)"]
    assert owner.asked == [(17, "192.0.2.1", 40000, "203.0.113.9", 1434, 33)]
    owner.name = "unknown"
    cuts.add(kept("192.0.2.1", hook=OUTPUT, uid=33), NOW + NAMED_FOR)
    assert [cut.by for cut in cuts.take(NOW + NAMED_FOR)] == ["/var/tmp/x (pid 4711)"]
    assert len(owner.asked) == 2


def test_the_kernel_s_time_unless_it_is_odd(cuts: Cuts) -> None:
    cuts.add(kept(time=NOW - 500), NOW)
    cuts.add(kept("192.0.2.8", time=NOW - 3600 * SECOND), NOW)
    assert sorted(cut.time for cut in cuts.take(NOW)) == [NOW - 500, NOW]


def test_words_that_are_none_of_ours(cuts: Cuts) -> None:
    for prefix in ("", "syn", "tg:", "tg:other", "x tg:syn", "tg:filter"):
        cuts.add(kept(prefix=prefix), NOW)
    cuts.add(kept()._replace(packet=b"\x45"), NOW)
    assert not cuts.due()


def test_no_more_than_so_many_at_once(cuts: Cuts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    for n in range(2, 100):
        cuts.add(kept(f"192.0.2.{n}"), NOW)
    assert len(cuts) == 10
    assert cuts.beyond == 88
    assert len(cuts.take(NOW)) == 10


@given(st.binary(max_size=80), st.text(max_size=20), st.integers(0, 5))
def test_nothing_that_is_logged_breaks_it(data: bytes, word: str, hook: int) -> None:
    made = Cuts(REACH, None, name_of)
    made.add(Kept(0, f"tg:{word}", hook, 33, 0, 0, data), NOW)
    made.add(Kept(0, "tg:syn", hook, None, 1, 0, data), NOW)
    made.take(NOW)
