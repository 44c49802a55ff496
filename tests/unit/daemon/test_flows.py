"""A router's flow records, from the wire to a decision: real datagrams on a real port."""

from __future__ import annotations

import select
import socket
import struct

import pytest
from tests.unit.evidence.test_contacts import ORDINARY
from tests.unit.evidence.traffic import START, scanner, user
from tests.unit.source.flow.test_decoder import record5, v5

from tidegate.daemon.build import plan
from tidegate.daemon.flows import ODD_FOR, FlowSource, FlowStage, listen_trouble
from tidegate.daemon.wiring import _read, open_sources
from tidegate.evidence.conversations import LAG, WAIT
from tidegate.ledger.memory import MemoryLedger
from tidegate.model import MINUTE, SECOND, Subject
from tidegate.policy.flow import FlowPort
from tidegate.policy.outward import OutwardSpec
from tidegate.traffic import Flow

NOW = 1_700_000_100 * SECOND
SPEC = OutwardSpec(networks=(Subject("192.0.2.0/24"),))
POLICY = """
[outward]
sources = ["192.0.2.0/24"]
[source.edge]
netflow = "127.0.0.1:{port}"
exporters = ["127.0.0.1"]
[rule.scan]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = {{ ladder = ["10m"] }}
"""


def packed(address):
    return socket.inet_aton(address)


def two_way(n):
    """A finished connection, both ways: what an exporter shows that sees everything."""
    there = record5(packed("192.0.2.8"), packed(f"198.51.100.{n}"), sport=20000 + n, port=443)
    back = record5(
        packed(f"198.51.100.{n}"), packed("192.0.2.8"), sport=443, port=20000 + n, first=1001
    )
    return there + back


def syn(n, source="192.0.2.66"):
    return record5(
        packed(source), packed(f"203.0.113.{n}"), sport=30000 + n, port=445, flags=2, packets=3
    )


def datagrams():
    data = v5(*(two_way(n) for n in range(15)), count=30)
    more = v5(*(two_way(n) for n in range(15, 30)), count=30)
    return [data, more, v5(*(syn(n) for n in range(20)))]


@pytest.fixture
def edge():
    # Port 0: any that is free, which no policy may say.
    source = FlowSource("edge", FlowPort("127.0.0.1", 0, (Subject("127.0.0.1"),)), SPEC)
    assert source.health().state == "degraded"
    source.read(NOW)
    yield source
    source.close()
    assert source.fds() == ()


def send(source, *datagrams, host="127.0.0.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        router.bind((host, 0))
        for data in datagrams:
            router.sendto(data, ("127.0.0.1", source.port))
    assert select.select(source.fds(), [], [], 10)[0]


def test_a_scanner_behind_a_router_becomes_a_line(edge):
    send(edge, *datagrams())
    assert edge.read(NOW) == []
    assert edge.read(NOW + SECOND) == []
    (block,) = edge.read(NOW + WAIT)
    assert block.data.decode().startswith(
        "2023-11-14T22:13:16.500000+00:00 tidegate outward: scan 192.0.2.66: 10 of 10 new destinations"
    )
    assert block.data.count(b"\n") == 1
    (origin,) = edge.origins()
    assert not origin.rereadable
    assert edge.fetch(origin.number, 0) == block.data.rstrip(b"\n")
    assert edge.fetch(origin.number, 5) is None
    assert edge.fetch(origin.number + 1, 0) is None
    assert edge.positions() == []
    assert edge.health()[:2] == ("ok", "")
    assert edge.view()["flows"] == 80
    assert edge.findings == 1


def test_the_malformed_and_the_foreign_are_counted_and_said_once(edge):
    assert edge.health()[:2] == ("waiting", "")
    send(edge, b"\0\x05rubbish", v5(), b"", host="127.0.0.1")
    assert edge.read(NOW) == []
    send(edge, *datagrams(), host="127.0.0.2")
    assert edge.read(NOW) == []
    state, said, _lag, _last = edge.health()
    assert state == "degraded"
    assert said == (
        "malformed datagrams, as 127.0.0.1: 0 bytes are no flow datagram; 127.0.0.2 is none of the exporters"
    )
    # Others, and other faults: counted, and the same is said, so that no log fills with it.
    for n in range(3, 40):
        send(edge, b"\0\x07", host="127.0.0.1")
        send(edge, v5(), host=f"127.0.0.{n}")
        assert edge.read(NOW + n * SECOND) == []
        assert edge.health()[:2] == ("degraded", said)
    assert edge.view()["malformed"] == 2 + 37
    assert edge.view()["foreign"] == 3 + 37
    edge.read(NOW + ODD_FOR)
    assert edge.health().state == "degraded"
    edge.read(NOW + ODD_FOR + 41 * SECOND)
    assert edge.health().state == "waiting"


def test_what_can_not_be_judged_is_said_and_alarms_nobody(edge):
    nine = struct.pack("!HHIIII", 9, 1, 0, 0, 0, 0) + struct.pack("!HH", 300, 8) + b"\0" * 4
    send(edge, nine, v5(syn(1)))
    assert edge.read(NOW) + edge.read(NOW + WAIT) == []
    state, said, _lag, _last = edge.health()
    assert state == "ok"
    assert said.startswith(
        "some records came before their templates; 127.0.0.1: sampled, or seen one way only, or"
    )


def test_a_sampling_router_convicts_nobody(edge):
    send(edge, *(data[:22] + struct.pack("!H", 0x4000 | 100) + data[24:] for data in datagrams()))
    assert edge.read(NOW) + edge.read(NOW + WAIT) + edge.read(NOW + LAG) == []


def test_a_port_that_is_taken_is_asked_for_again():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        where = FlowPort("127.0.0.1", port, (Subject("127.0.0.1"),))
        source = FlowSource("edge", where, None)
        assert source.read(NOW) == []
        assert source.health().state == "degraded"
        assert (
            f"127.0.0.1:{port}/udp can't be listened on: Address already in use"
            in source.health().detail
        )
        assert source.view()["findings"] == 0
        assert listen_trouble(where) == []  # the daemon itself may have it
    assert source.read(NOW + SECOND) == []
    assert source.fds() == ()
    source.read(NOW + 20 * SECOND)
    assert len(source.fds()) == 1
    assert source.health().state == "waiting"
    source.close()
    assert "can't be listened on" in listen_trouble(FlowPort("203.0.113.7", port))[0]


def test_without_outward_guessers_and_floods_are_still_seen():
    from tests.unit.evidence.test_guessing import NOW as THEN
    from tests.unit.evidence.test_guessing import flow

    found = FlowStage(None).feed([flow(n) for n in range(10)], THEN + 2 * MINUTE)
    assert [(one.kind, one.subject) for one in found] == [("inward.guessing", "203.0.113.9")]


def test_a_policy_opens_it_and_its_findings_decide(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "tidegate.toml"
    file.write_text(POLICY.format(port=port))
    found = plan(file)
    sources = open_sources(found, MemoryLedger())
    edge = sources["edge"]
    try:
        edge.read(NOW)
        send(edge, *datagrams())
        assert edge.read(NOW) == []
        (block,) = edge.read(NOW + WAIT)
    finally:
        for source in sources.values():
            source.close()
    decisions, *_rest = found.pipeline().feed(block)
    assert [(one.action, one.subject, one.rule) for one in decisions] == [
        ("quarantine", "192.0.2.66", "scan")
    ]
    before = {spec.name: _read(spec, found) for spec in found.sources}
    file.write_text(
        POLICY.format(port=port).replace('sources = ["192.0.2.0/24"]', 'sources = ["192.0.2.0/25"]')
    )
    after = plan(file)
    assert {spec.name: _read(spec, after) for spec in after.sources}["edge"] != before["edge"]


def flows_of(contacts):
    """What a router that sees both ways would have exported of these contacts, each when it is over."""
    begun = {}
    for n, one in enumerate(contacts):
        if one.outcome == "tried":
            begun[one.source, one.destination] = one.time
            continue
        first = begun.pop((one.source, one.destination), one.time)
        tcp = one.protocol == 6
        answered = one.outcome == "answered"
        flags = (0x1B if answered else 0x02) if tcp else 0
        there = Flow(
            first, min(one.time, first + 20 * SECOND), one.source, one.destination, one.protocol, 10_000 + n % 50_000, one.port,
            5 if answered else 2, 300, flags, "192.0.2.1",
        )  # fmt: skip
        back = there._replace(
            source=there.destination, destination=there.source, source_port=there.port, port=there.source_port,
            first=there.first + 1000, flags=(0x1B if answered else 0x14) if tcp else 0,
        )  # fmt: skip
        yield there
        if answered or (one.outcome == "refused" and tcp):
            yield back


def played(stage, contacts):
    """Exported each second, a while after the last packet."""
    found, now = [], START
    waiting = sorted(flows_of(contacts), key=lambda flow: flow.last)
    at = 0
    while at < len(waiting):
        now += SECOND
        upto = at
        while upto < len(waiting) and waiting[upto].last <= now:
            upto += 1
        found += stage.feed(waiting[at:upto], now + 15 * SECOND)
        at = upto
    for late in range(100):
        found += stage.feed((), now + (15 + late) * SECOND)
    return found


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_heavy_users_behind_a_router_are_never_convicted(name):
    span = {"span": 2 * MINUTE} if ORDINARY[name]["rate"] > 30 else {}
    assert played(FlowStage(SPEC), user("192.0.2.7", seed=2, **ORDINARY[name] | span)) == []


@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("rate", [0.2, 1, 10, 100])
def test_scanners_behind_a_router_are_found_among_its_users(rate, protocol):
    users = user("192.0.2.7", seed=2, **ORDINARY["a monitoring host"], span=4 * MINUTE)
    contacts, _cuts = scanner(
        "192.0.2.66", rate=rate, slots=None, span=2 * MINUTE, protocol=protocol
    )
    found = played(FlowStage(SPEC), [*users, *contacts])
    assert {(one.kind, one.subject) for one in found} == {("outward.scan", "192.0.2.66")}
