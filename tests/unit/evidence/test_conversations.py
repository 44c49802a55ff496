"""Both ways of a connection: who began, whether it was answered, and whose silence means nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evidence import conversations as module
from tidegate.evidence.conversations import ENOUGH, LAG, WAIT, Conversations
from tidegate.model import MINUTE, SECOND, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.traffic import Flow

NOW = 1_800_000_000 * SECOND
SPEC = OutwardSpec(
    networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    customers=(Subject("198.51.100.0/28"),),
)
SYN, ACK, RST, FIN = 2, 16, 4, 1
EDGE = "192.0.2.1"


def flow(
    source="192.0.2.7",
    destination="203.0.113.9",
    *,
    sport=40000,
    port=80,
    protocol=6,
    flags=SYN | ACK | FIN,
    at=0,
    packets=5,
    exporter=EDGE,
):
    return Flow(
        NOW + at,
        NOW + at + SECOND // 2,
        source,
        destination,
        protocol,
        sport,
        port,
        packets,
        60 * packets,
        flags,
        exporter,
    )


def back(one, *, flags=SYN | ACK | FIN, at=1000):
    return one._replace(
        source=one.destination, destination=one.source, source_port=one.port, port=one.source_port, flags=flags,
        first=one.first + at,
    )  # fmt: skip


def trusted():
    """An exporter that has shown both ways."""
    stage = Conversations(SPEC)
    for n in range(ENOUGH):
        one = flow(sport=30000 + n, at=-MINUTE)
        stage.feed([one, back(one)], NOW - MINUTE)
    stage.feed([], NOW + 2 * MINUTE)
    return stage


def told(stage, *flows, after=0):
    """Everything that is told of these, in the end."""
    found = stage.feed(flows, NOW + after) + stage.feed([], NOW + after + WAIT)
    return [one[1:3] + one[4:] for one in found + stage.feed([], NOW + after + 10 * MINUTE)]


def test_an_answered_connection_is_one_contact_of_whoever_began():
    stage = Conversations(SPEC)
    one = flow()
    assert told(stage, one, back(one)) == [("192.0.2.7", "203.0.113.9", 80, "answered")]
    other = flow("203.0.113.9", "192.0.2.7", sport=41000)
    assert told(stage, back(other), other) == [
        ("203.0.113.9", "192.0.2.7", 80, "answered"),
        ("203.0.113.9", "192.0.2.7", 80, "tried"),
    ]
    assert len(stage) == 0


def test_contacts_come_in_the_order_in_which_they_began_when_all_is_told():
    stage = trusted()
    failed = [flow(flags=SYN, sport=n, at=n * SECOND) for n in range(5)]
    lasting = [flow(sport=100 + n, at=n * SECOND - 1) for n in range(5)]
    assert stage.feed(failed, NOW + 20 * SECOND) == []
    assert (
        stage.feed([each for one in lasting for each in (one, back(one))], NOW + 60 * SECOND) == []
    )
    assert stage.feed([], NOW + LAG - 1)[0].outcome == "answered"
    found = stage.feed([], NOW + LAG + 5 * SECOND)
    assert [one.outcome for one in found] == [
        "tried",
        "unanswered",
        *["answered", "tried", "unanswered"] * 4,
    ]


def test_a_syn_alone_was_not_answered():
    expected = ("192.0.2.7", "203.0.113.9", 80)
    assert told(trusted(), flow(flags=SYN, packets=3)) == [
        (*expected, "tried"),
        (*expected, "unanswered"),
    ]


def test_a_reset_refuses_and_half_a_handshake_is_an_answer_of_theirs_and_none_of_ours():
    stage = trusted()
    closed = flow(flags=SYN, sport=1)
    assert [one[3] for one in told(stage, closed, back(closed, flags=RST | ACK))] == [
        "refused",
        "tried",
    ]
    silent = flow(flags=SYN, sport=4)
    assert [one[3] for one in told(stage, silent, back(silent, flags=ACK), after=1)] == [
        "tried",
        "unanswered",
    ]
    half = flow(flags=SYN | RST, sport=2)
    assert [one[3] for one in told(stage, half, back(half, flags=SYN | ACK), after=2)] == [
        "answered"
    ]
    forged = flow("203.0.113.9", "192.0.2.7", flags=SYN, sport=3)
    assert [one[3] for one in told(stage, forged, back(forged, flags=SYN | ACK), after=3)] == [
        "tried"
    ]


def test_datagrams_wait_for_their_way_back():
    stage = trusted()
    asked, lost = (
        flow(protocol=17, port=53, flags=0),
        flow(protocol=17, port=53, flags=0, sport=40001),
    )
    assert stage.feed([asked, lost], NOW) == []
    found = told(stage, back(asked, flags=0), after=SECOND)
    assert [one[3] for one in found] == ["answered", "tried", "unanswered"]


def test_a_flow_in_two_parts_is_one():
    stage = trusted()
    first, second = flow(flags=SYN), flow(flags=ACK | FIN, at=SECOND)
    assert stage.feed([first, second], NOW) == []
    assert [one[3] for one in told(stage, back(first), after=1)] == ["answered"]


def test_silence_means_nothing_where_only_one_way_is_seen():
    stage = Conversations(SPEC)
    outward = [flow(sport=1000 + n, destination=f"203.0.113.{n}") for n in range(60)]
    syns = [flow(sport=2000 + n, destination=f"203.0.113.{n}", flags=SYN) for n in range(60)]
    asked = [flow(sport=3000 + n, protocol=17, port=53, flags=0) for n in range(60)]
    assert {one[3] for one in told(stage, *outward, *syns, *asked)} == {"answered"}
    assert stage.doubted == 120
    assert stage.doubted_exporters == [EDGE]


def test_what_an_exporter_showed_long_ago_counts_less():
    stage = Conversations(SPEC)
    for n in range(6000):
        one = flow(sport=n)
        stage.feed([one, back(one)], NOW)
    assert stage.doubted_exporters == []
    told(stage, *(flow(sport=n, destination="203.0.113.77") for n in range(2000)))
    assert stage.doubted_exporters == [EDGE]


def test_silence_means_nothing_where_packets_are_sampled():
    stage = trusted()
    stage.sampled(EDGE, 1000)
    assert told(stage, flow(flags=SYN)) == []
    stage.sampled(EDGE, 1)
    assert len(told(stage, flow(flags=SYN, sport=2))) == 2


def test_the_parts_of_a_long_connection_name_nobody():
    part = flow(flags=ACK)
    assert told(trusted(), back(part, flags=ACK, at=-5), part) == []
    assert told(trusted(), back(flow())) == []


def test_sources_are_those_of_the_policy():
    stage = trusted()
    assert stage.subject("198.51.100.3") == "198.51.100.0/28"
    assert stage.subject("192.0.2.7") == "192.0.2.7"
    assert stage.subject("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert [
        stage.governs(one)
        for one in ("198.51.100.3", "192.0.2.7", "2001:db8:1:2::9", "203.0.113.9")
    ] == [True, True, True, False]


def test_an_exporters_clock_is_believed_within_minutes():
    stage = trusted()
    ahead, ago = flow(at=10 * MINUTE), flow(at=-100 * MINUTE, sport=2)
    found = stage.feed([ahead, back(ahead), ago, back(ago)], NOW) + stage.feed([], NOW + LAG)
    assert sorted(one.time for one in found) == [NOW - module.OLDEST, NOW]


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "WAITING", 50)
    monkeypatch.setattr(module, "EXPORTERS", 3)
    stage = Conversations(SPEC)
    for n in range(200):
        stage.feed([flow(sport=n, protocol=17, flags=0, exporter=f"192.0.2.{n % 9}")], NOW)
        stage.sampled(f"192.0.2.{n % 9}", 1)
    assert len(stage) == 50
    assert stage.evicted > 150
    for n in range(500):
        stage.feed(
            [flow(sport=n, flags=SYN), flow(sport=1000 + n), back(flow(sport=1000 + n))], NOW
        )
    assert len(stage) <= 101
    assert len(stage.doubted_exporters) <= 3


FLOWS = st.builds(
    flow, st.sampled_from(["192.0.2.7", "203.0.113.9", "2001:db8:1:2::9"]), st.sampled_from(["192.0.2.7", "198.51.100.3", "203.0.113.9"]),
    sport=st.sampled_from([80, 40000]), port=st.sampled_from([80, 40000]), protocol=st.sampled_from([1, 6, 17]),
    flags=st.integers(0, 255), at=st.integers(-5, 5),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOWS, max_size=40), st.randoms(use_true_random=False))
def test_the_order_within_a_call_does_not_matter(flows, chance):
    one, other = trusted(), trusted()
    found = one.feed(flows, NOW)
    chance.shuffle(flows)
    assert other.feed(flows, NOW) == found
    for later in (WAIT, LAG, 10 * MINUTE):
        assert other.feed([], NOW + later) == one.feed([], NOW + later)
    assert len(one) == 0
