"""Guessers by their flows: the shared capture's, and who only looks like one."""

from __future__ import annotations

import socket

import dpkt
import pytest

from tidegate.evidence import guessing as module
from tidegate.evidence.finding import line
from tidegate.evidence.guessing import MANY, Guessing
from tidegate.model import MINUTE, SECOND, Subject
from tidegate.subject import of_address
from tidegate.traffic import Flow

NOW = 1_800_000_000 * SECOND


def stage():
    return Guessing(
        lambda address: address.startswith("192.0.2."),
        lambda address: of_address(address) or Subject(address),
    )


def flow(
    n,
    *,
    source="203.0.113.9",
    port=22,
    packets=22,
    flags=0x1B,
    span=4 * SECOND,
    every=6 * SECOND,
    sport=None,
):
    return Flow(
        NOW + n * every,
        NOW + n * every + span,
        source,
        "198.51.100.7",
        6,
        sport or 40000 + n,
        port,
        packets,
        170 * packets,
        flags,
    )


def found(flows):
    return stage().feed(flows, NOW + 20 * MINUTE)


def flows_of_capture(path):
    """Each direction of each connection, as a router would have exported it."""
    known = {}
    with path.open("rb") as capture:
        for seconds, frame in dpkt.pcap.Reader(capture):
            packet = dpkt.ethernet.Ethernet(frame).data
            segment = packet.data
            if not isinstance(segment, dpkt.tcp.TCP):
                continue
            source, destination = socket.inet_ntoa(packet.src), socket.inet_ntoa(packet.dst)
            key = source, segment.sport, destination, segment.dport
            time = int(seconds * SECOND)
            before = known.get(key) or Flow(
                time, time, source, destination, 6, segment.sport, segment.dport, 0, 0
            )
            known[key] = before._replace(
                last=time,
                packets=before.packets + 1,
                bytes=before.bytes + packet.len,
                flags=before.flags | segment.flags,
            )
    return list(known.values())


@pytest.mark.corpus
def test_the_guesser_of_the_shared_capture(corpus):
    flows = flows_of_capture(corpus / "raw" / "pcap" / "sshguess.pcap")
    assert len(flows) == 22
    guesses = stage().feed(flows, flows[-1].last + SECOND)
    assert [(one.kind, one.subject) for one in guesses] == [("inward.guessing", "192.168.56.1")]
    assert guesses[0].text == "10 short connections to 192.168.56.103:22/tcp in 57s, none a session"
    print(line(guesses[0]))


def test_a_guesser_is_found_and_ours_is_told_from_theirs():
    assert [(one.kind, one.subject) for one in found([flow(n) for n in range(MANY)])] == [
        ("inward.guessing", "203.0.113.9")
    ]
    ours = found([flow(n, source="192.0.2.9") for n in range(2 * MANY)])
    assert [(one.kind, one.subject) for one in ours] == [("outward.guessing", "192.0.2.9")] * 2
    assert found([flow(n, flags=0) for n in range(MANY)])  # an exporter without flags


@pytest.mark.parametrize(
    "kinds",
    [
        {"every": 35 * SECOND},  # too seldom
        {"packets": 5},  # a monitor that looks whether the port is there
        {"packets": 300},  # sessions
        {"span": 3 * MINUTE},
        {"flags": 0x02},  # never answered
        {"flags": 0x1A},  # not over yet
        {"port": 80},
        {"sport": 40000},  # one connection, exported again and again
    ],
)
def test_who_only_looks_alike(kinds):
    assert found([flow(n, **kinds) for n in range(3 * MANY)]) == []


def test_a_session_in_between_speaks_for_the_user():
    flows = [flow(n, packets=400 if n % 6 == 5 else 22) for n in range(60)]
    assert found(flows) == []


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "PAIRS", 100)
    many = stage()
    many.feed([flow(0, source=f"203.0.{n // 250}.{n % 250}") for n in range(5000)], NOW)
    assert many.counts["pairs"] <= 100
    assert many.counts["evicted"] > 4000
