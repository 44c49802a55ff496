"""Flow datagrams: the shared files against another decoder, both template formats, and rubbish."""

from __future__ import annotations

import struct
import tracemalloc
from ipaddress import ip_address

import netflow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netflow.v9 import V9ExportPacket
from tests.conftest import corpus_folder

from tidegate.source.flow import decoder as decoder_module
from tidegate.source.flow.decoder import TEMPLATES, Decoder, Malformed
from tidegate.source.flow.templates import FIELDS

R1, R2 = "192.0.2.1", "192.0.2.2"
SENT = 1_700_000_000
TWO = bytes([192, 0, 2, 7]), bytes([198, 51, 100, 9])
SIX = (
    bytes.fromhex("20010db8000100020000000000000007"),
    bytes.fromhex("20010db8000900000000000000000009"),
)


def record5(
    source=TWO[0],
    destination=TWO[1],
    packets=3,
    octets=180,
    first=1000,
    last=2000,
    sport=1234,
    port=80,
    flags=0x1B,
    protocol=6,
):
    return struct.pack(
        "!4s4s4sHHIIIIHHxBBBHHBBxx", source, destination, b"\0" * 4, 1, 2, packets, octets, first, last,
        sport, port, flags, protocol, 0, 0, 0, 0, 0,
    )  # fmt: skip


def v5(*records, count=None, uptime=5000, sampling=0, sent=SENT):
    head = struct.pack(
        "!HHIIIIBBH",
        5,
        len(records) if count is None else count,
        uptime,
        sent,
        500_000_000,
        7,
        0,
        0,
        sampling,
    )
    return head + b"".join(records)


def one_set(number, body):
    return struct.pack("!HH", number, len(body) + 4) + body


def template(number, *fields):
    parts = [struct.pack("!HH", number, len(fields))]
    for field in fields:
        kind, length, *enterprise = field
        parts.append(struct.pack("!HH", kind | (0x8000 if enterprise else 0), length))
        parts += [struct.pack("!I", one) for one in enterprise]
    return b"".join(parts)


def v9(*sets, domain=1, uptime=5000):
    return struct.pack("!HHIIII", 9, len(sets), uptime, SENT, 1, domain) + b"".join(sets)


def ipfix(*sets, domain=1):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body), SENT, 1, domain) + body


PLAIN = template(
    300, (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (2, 4), (1, 4), (22, 4), (21, 4)
)
RECORD = TWO[0] + TWO[1] + struct.pack("!HHBBIIII", 1234, 80, 6, 2, 3, 180, 1000, 2000)


def test_version_5():
    decoded = Decoder().decode(
        v5(record5(), record5(flags=2, last=0xFFFF_FFFF, first=0xFFFF_FF00)), R1
    )
    one, other = decoded.flows
    assert one == (
        SENT * 1_000_000 + 500_000 - 4_000_000, SENT * 1_000_000 + 500_000 - 3_000_000,
        "192.0.2.7", "198.51.100.9", 6, 1234, 80, 3, 180, 0x1B, R1,
    )  # fmt: skip
    # The exporter's uptime wraps after 49 days: this was 5.001 s before the datagram.
    assert other.last == SENT * 1_000_000 + 500_000 - 5_001_000
    assert decoded.every == 1
    assert Decoder().decode(v5(record5(), sampling=0x4000 | 1000), R1).every == 1000


def test_several_exports_in_one_datagram():
    data = v5(record5()) + v5(record5(port=25), record5(port=26))
    assert [flow.port for flow in Decoder().decode(data, R1).flows] == [80, 25, 26]
    with pytest.raises(Malformed, match="3 records need"):
        Decoder().decode(data + v5(record5(), count=3), R1)


def test_templates_first_whatever_the_order():
    for make, number in ((v9, 0), (ipfix, 2)):
        data = make(one_set(300, RECORD + RECORD + b"\0\0"), one_set(number, PLAIN))
        decoded = Decoder().decode(data, R1)
        assert len(decoded.flows) == 2
        assert decoded.flows[0][2:] == ("192.0.2.7", "198.51.100.9", 6, 1234, 80, 3, 180, 2, R1)
    assert (
        Decoder().decode(v9(one_set(0, PLAIN), one_set(300, RECORD)), R1).flows[0].first
        == (SENT - 4) * 1_000_000
    )


def test_templates_belong_to_one_exporter_and_one_domain():
    decoder = Decoder()
    decoder.decode(ipfix(one_set(2, PLAIN), domain=7), R1)
    assert len(decoder.decode(ipfix(one_set(300, RECORD), domain=7), R1).flows) == 1
    for data, exporter in (
        (ipfix(one_set(300, RECORD), domain=8), R1),
        (ipfix(one_set(300, RECORD), domain=7), R2),
        (v9(one_set(300, RECORD), domain=7), R1),
    ):
        decoded = decoder.decode(data, exporter)
        assert (decoded.flows, decoded.waiting) == ((), 1)


def test_templates_change_and_are_withdrawn():
    decoder = Decoder()
    decoder.decode(ipfix(one_set(2, PLAIN)), R1)
    decoder.decode(ipfix(one_set(2, template(300, (27, 16), (28, 16), (11, 2)))), R1)
    (flow,) = decoder.decode(
        ipfix(one_set(300, SIX[0] + SIX[1] + struct.pack("!H", 443))), R1
    ).flows
    assert (flow.source, flow.destination, flow.port) == ("2001:db8:1:2::7", "2001:db8:9::9", 443)
    assert flow.first == flow.last == SENT * 1_000_000
    decoder.decode(ipfix(one_set(2, struct.pack("!HH", 300, 0))), R1)
    assert decoder.templates == 0
    decoder.decode(ipfix(one_set(2, PLAIN)), R1)
    decoder.decode(ipfix(one_set(2, PLAIN), domain=2), R1)
    decoder.decode(ipfix(one_set(2, struct.pack("!HH", 2, 0))), R1)
    assert decoder.templates == 1


def test_fields_of_variable_length_and_of_others():
    layout = template(301, (8, 4), (96, 0xFFFF), (12, 4), (1, 4, 9999), (2, 2))
    short = TWO[0] + b"\x05https" + TWO[1] + b"\0\0\0\x63" + b"\0\x05"
    long = TWO[0] + b"\xff\x01\x00" + b"x" * 256 + TWO[1] + b"\0\0\0\x63" + b"\0\x06"
    decoded = Decoder().decode(ipfix(one_set(2, layout), one_set(301, short + long)), R1)
    assert [(flow.destination, flow.packets, flow.bytes) for flow in decoded.flows] == [
        ("198.51.100.9", 5, 0),
        ("198.51.100.9", 6, 0),
    ]
    with pytest.raises(Malformed, match="cut off"):
        Decoder().decode(ipfix(one_set(2, layout), one_set(301, TWO[0] + b"\xf0" + b"x" * 20)), R1)


def test_both_ways_in_one_record_become_two_flows():
    layout = template(
        302, (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4), (2, 4, 29305), (1, 4, 29305)
    )
    record = TWO[0] + TWO[1] + struct.pack("!HHBIIII", 1234, 80, 6, 3, 180, 4, 900)
    there, back = Decoder().decode(ipfix(one_set(2, layout), one_set(302, record)), R1).flows
    assert (there.source, there.packets, there.bytes) == ("192.0.2.7", 3, 180)
    assert (back.source, back.source_port, back.port, back.packets, back.bytes) == (
        "198.51.100.9",
        80,
        1234,
        4,
        900,
    )


def test_times_in_every_element():
    expected = (SENT - 9) * 1_000_000
    ntp = (SENT - 9 + 2_208_988_800) << 32
    for element, length, value in (
        (150, 4, SENT - 9), (152, 8, (SENT - 9) * 1000), (154, 8, ntp), (156, 8, ntp), (158, 4, 9_000_000),
    ):  # fmt: skip
        layout = template(303, (8, 4), (12, 4), (element, length))
        record = TWO[0] + TWO[1] + value.to_bytes(length)
        (flow,) = Decoder().decode(ipfix(one_set(2, layout), one_set(303, record)), R1).flows
        assert flow.first == expected, element


def test_uptimes_of_ipfix_count_from_the_start_that_an_option_tells():
    decoder = Decoder()
    option = struct.pack("!HHHHHHH", 259, 2, 1, 149, 4, 160, 8)
    decoder.decode(
        ipfix(
            one_set(2, PLAIN),
            one_set(3, option),
            one_set(259, struct.pack("!IQ", 1, (SENT - 60) * 1000)),
        ),
        R1,
    )
    (flow,) = decoder.decode(ipfix(one_set(300, RECORD)), R1).flows
    assert (flow.first, flow.last) == ((SENT - 59) * 1_000_000, (SENT - 58) * 1_000_000)


def test_options_are_no_flows_and_tell_of_sampling():
    decoder = Decoder()
    nine = struct.pack("!HHH", 257, 4, 8) + struct.pack("!HHHHHH", 1, 4, 34, 4, 8, 4)
    decoded = decoder.decode(
        v9(one_set(1, nine), one_set(257, b"\0\0\0\1" + struct.pack("!I", 100) + TWO[0])), R1
    )
    assert (decoded.flows, decoded.left, decoded.every) == ((), 1, 100)
    assert decoder.decode(v9(), R1).every == 100
    ten = struct.pack("!HHH", 258, 3, 1) + struct.pack("!HHHHHH", 149, 4, 305, 4, 306, 4)
    decoded = decoder.decode(
        ipfix(one_set(3, ten), one_set(258, struct.pack("!III", 1, 1, 999))), R2
    )
    assert decoded.every == 1000


MALFORMED = {
    "nothing": b"",
    "one byte": b"\0",
    "another version": b"\0\x07" + b"\0" * 40,
    "v5 header cut off": v5()[:20],
    "v5 count too high": v5(record5(), count=30),
    "v5 followed by rubbish": v5(record5()) + b"\xff" * 30,
    "v9 header cut off": v9()[:10],
    "v9 set of no bytes": v9(struct.pack("!HH", 0, 0)),
    "v9 set beyond the end": v9(struct.pack("!HH", 256, 400)),
    "v9 bytes behind the sets": v9() + b"\x01\x02",
    "ipfix longer than it is": ipfix()[:2] + b"\xff\xff" + ipfix()[4:],
    "ipfix shorter than its header": ipfix()[:2] + b"\0\x08" + ipfix()[4:],
    "a template whose records have no bytes": v9(one_set(0, template(256, (8, 0), (12, 0)))),
    "a template of no fields": v9(one_set(0, struct.pack("!HH", 256, 0))),
    "a template with a set's number": v9(one_set(0, template(9, (8, 4)))),
    "a template cut off": v9(one_set(0, struct.pack("!HH", 256, 9) + b"\0\x08\0\x04")),
    "a template too wide": ipfix(one_set(2, template(256, *[(8, 4)] * (FIELDS + 1)))),
    "v9 with a variable field": v9(one_set(0, template(256, (8, 0xFFFF)))),
    "an enterprise cut off": ipfix(one_set(2, struct.pack("!HHHH", 256, 1, 0x8001, 4))),
    "a length cut off": ipfix(one_set(2, template(256, (96, 0xFFFF))), one_set(256, b"\xff\x01")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_the_malformed_is_refused_whole(name):
    decoder = Decoder()
    decoder.decode(v9(one_set(0, PLAIN)), R1)
    with pytest.raises(Malformed) as found:
        decoder.decode(MALFORMED[name], R1)
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 120
    assert decoder.templates == 1
    assert len(decoder.decode(v9(one_set(300, RECORD)), R1).flows) == 1


def test_nothing_is_learnt_of_a_datagram_that_ends_malformed():
    decoder = Decoder()
    with pytest.raises(Malformed):
        decoder.decode(v9(one_set(0, PLAIN), struct.pack("!HH", 300, 9999)), R1)
    assert decoder.templates == 0


def test_templates_and_exporters_are_bounded(monkeypatch):
    monkeypatch.setattr(decoder_module, "EXPORTERS", 4)
    decoder = Decoder()
    for number in range(TEMPLATES * 2):
        decoder.decode(ipfix(one_set(2, template(256 + number, (8, 4), (12, 4)))), R1)
    assert decoder.templates == TEMPLATES
    for number in range(20):
        decoder.decode(ipfix(one_set(2, PLAIN)), f"192.0.2.{number}")
    assert decoder.templates <= 4
    assert decoder.evicted >= TEMPLATES
    many = b"".join(template(256 + number, (8, 4)) for number in range(TEMPLATES + 1))
    with pytest.raises(Malformed, match="more than"):
        decoder.decode(ipfix(one_set(2, many)), R1)


def files():
    folder = corpus_folder()
    found = sorted((folder / "raw" / "netflow").glob("*.dat")) if folder else []
    return [one.read_bytes() for one in found] or [
        v5(record5()),
        v9(one_set(0, PLAIN), one_set(300, RECORD)),
        ipfix(one_set(2, PLAIN)),
    ]


def fed(decoder, data, exporter=R1):
    try:
        decoded = decoder.decode(data, exporter)
    except Malformed as fault:
        assert str(fault).isprintable()
        return 0
    for flow in decoded.flows:
        ip_address(flow.source)
        ip_address(flow.destination)
        assert flow.first <= flow.last
        assert 0 <= flow.port < 1 << 64
    return len(decoded.flows)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\x05", b"\0\x09", b"\0\x0a"]))
def test_any_bytes_are_taken_or_refused(data, version):
    fed(Decoder(), version + data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_real_datagrams_with_bytes_changed_cut_and_doubled(data):
    decoder = Decoder()
    originals = files()
    for _ in range(data.draw(st.integers(1, 4))):
        one = bytearray(data.draw(st.sampled_from(originals)))
        for _change in range(data.draw(st.integers(0, 6))):
            at = data.draw(st.integers(0, len(one) - 1))
            one[at] = data.draw(st.sampled_from([0, 1, 2, 4, 127, 128, 255]) | st.integers(0, 255))
        end = data.draw(st.integers(0, len(one)) | st.just(len(one)))
        fed(decoder, bytes(one[:end]) * data.draw(st.sampled_from([1, 1, 1, 2])))
    assert decoder.templates <= TEMPLATES


def test_a_flood_of_changed_datagrams_leaves_nothing_behind():
    import random

    chance = random.Random(5)
    originals, decoder = files(), Decoder()

    def flood(times):
        for _ in range(times):
            one = bytearray(chance.choice(originals))
            for _change in range(chance.randrange(5)):
                one[chance.randrange(len(one))] = chance.randrange(256)
            fed(decoder, bytes(one), f"192.0.2.{chance.randrange(8)}")

    flood(2000)
    tracemalloc.start()
    flood(500)
    before = tracemalloc.get_traced_memory()[0]
    flood(3000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 4_000_000
    assert decoder.templates <= 8 * TEMPLATES


@pytest.mark.corpus
@pytest.mark.parametrize(
    "names",
    [
        ["netflow5.dat"], ["netflow5_test_microtik.dat"],
        ["netflow9_fortigate_521_tpl.dat", "netflow9_fortigate_521_data256.dat"],
        ["ipfix_openbsd_pflow_tpl.dat", "ipfix_openbsd_pflow_data.dat"],
    ],
)  # fmt: skip
def test_the_shared_files_against_another_decoder(corpus, names):
    """`netflow` from PyPI. Of a file with several exports in it, it reads the first."""
    theirs_known: dict[str, dict[int, object]] = {"netflow": {}, "ipfix": {}}
    ours, theirs = Decoder(), []
    flows = []
    for name in names:
        data = (corpus / "raw" / "netflow" / name).read_bytes()
        flows += ours.decode(data, R1).flows
        theirs += netflow.parse_packet(data, theirs_known).flows
    assert len(flows) == {"netflow5.dat": 30, "netflow5_test_microtik.dat": 30}.get(
        names[0], len(theirs)
    )
    for flow, other in zip(flows, theirs, strict=False):
        data = other.data
        at = {True: ("IPV4_SRC_ADDR", "IPV4_DST_ADDR", "SRC_PORT", "DST_PORT", "PROTO", "IN_PACKETS", "IN_OCTETS")}.get(
            "PROTO" in data,
            ("sourceIPv4Address", "destinationIPv4Address", "sourceTransportPort", "destinationTransportPort",
             "protocolIdentifier", "packetDeltaCount", "octetDeltaCount"),
        )  # fmt: skip
        source, destination, *numbers = (data[name] for name in at)
        assert (flow.source, flow.destination) == (
            str(ip_address(source)),
            str(ip_address(destination)),
        )
        assert [flow.source_port, flow.port, flow.protocol, flow.packets, flow.bytes] == numbers
        assert flow.flags == data.get("TCP_FLAGS", 0)
        if "flowStartMilliseconds" in data:
            assert (flow.first, flow.last) == (
                data["flowStartMilliseconds"] * 1000,
                data["flowEndMilliseconds"] * 1000,
            )


def test_synthetic_version_9_against_another_decoder():
    data = v9(one_set(0, PLAIN), one_set(300, RECORD * 3 + b"\0\0"))
    theirs = V9ExportPacket(data, {}).flows
    ours = Decoder().decode(data, R1).flows
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert (one.source, one.port, one.packets, one.bytes, one.flags) == (
            other.data["IPV4_SRC_ADDR"] if isinstance(other.data["IPV4_SRC_ADDR"], str) else str(ip_address(other.data["IPV4_SRC_ADDR"])),
            other.data["L4_DST_PORT"], other.data["IN_PKTS"], other.data["IN_BYTES"], other.data["TCP_FLAGS"],
        )  # fmt: skip
