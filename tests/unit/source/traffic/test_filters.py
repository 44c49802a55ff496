"""The program for the kernel says of each event what the plain rules say of it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.source.traffic.events import DESTROYED, NEW, UPDATED, event, packed, run

from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic.filters import MOST, WHOLE, Share, heard, program
from tidegate.source.traffic.reach import Reach, folded
from tidegate.subject import Network

OWN = ("192.0.2.1", "2001:db8:1::1")
SPEC = OutwardSpec(
    uids=True,
    networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    customers=(Subject("198.51.100.0/28"), Subject("2001:db8:9::/48")),
    interfaces=("lan0",),
    busy=(Subject("192.0.2.25"), Subject("2001:db8:1:25::/64"), Subject("uid:42")),
)
BEHIND = {"lan0": [Network(4, 16, b"\x0a\x01\0\0"), Network(6, 48, packed("fd00:1::"))]}
REACH = Reach(SPEC, OWN, BEHIND)

SOURCES = (
    "192.0.2.1", "192.0.2.7", "192.0.2.25", "198.51.100.3", "198.51.100.77", "203.0.113.9",
    "10.1.2.3", "10.2.0.1", "127.0.0.1", "169.254.1.1", "2001:db8:1::1", "2001:db8:1:5::7",
    "2001:db8:1:25::9", "2001:db8:9:4::1", "2001:db8:77::1", "fd00:1::5", "fe80::1", "::1",
)  # fmt: skip
TARGETS = (
    "203.0.113.80", "192.0.2.1", "224.0.0.5", "255.255.255.255", "127.0.0.9",
    "2001:db8:80::1", "2001:db8:1::1", "ff02::1", "fe80::9",
)  # fmt: skip


def pairs() -> list[tuple[str, str]]:
    return [(a, b) for a in SOURCES for b in TARGETS if (":" in a) == (":" in b)]


def expected(share: Share, source: str, target: str) -> bool:
    """Whether a connection that begins counts, by the plain rules."""
    here, there = packed(source), packed(target)
    found = REACH.source(here)
    if there in REACH.own:
        busy = source in ("192.0.2.25", "2001:db8:1:25::9")
        usual = here[0] not in (0, 127) and here[:2] not in (b"\xa9\xfe", b"\xfe\x80")
        return not busy and usual and source not in (*OWN, "::1")
    if found is None or not REACH.leaves(there):
        return False
    key = folded(there, 4) if found.key is None else found.key
    return heard(share, key, folded(there, 4))


@pytest.mark.parametrize(("source", "target"), pairs())
def test_who_counts_and_whereto(source: str, target: str) -> None:
    if source in OWN and target in OWN:
        return  # to oneself: passed over later
    told = run(program(REACH, Share()), event(NEW, source, target))
    assert bool(told) == expected(Share(), source, target)


@pytest.mark.parametrize(
    ("kind", "status", "state", "told"),
    [
        (NEW, 0x8, 1, True),
        (UPDATED, 0xA, 2, True),  # SYN/ACK
        (UPDATED, 0xE, 3, False),  # shaking hands is finished: it was answered before
        (UPDATED, 0xA, 8, False),  # answered, and closed at once
        (UPDATED, 0x8, 1, False),
        (DESTROYED, 0x208, 8, True),  # reset
        (DESTROYED, 0x208, 1, True),  # nobody answered
        (DESTROYED, 0x20E, 7, False),  # an ordinary end
        (UPDATED, 0xA, None, True),  # UDP was answered
        (DESTROYED, 0x20A, None, False),
    ],
)
@pytest.mark.parametrize(
    ("source", "target"), [("192.0.2.7", "203.0.113.80"), ("2001:db8:9::7", "2001:db8:80::1")]
)
def test_which_events_are_news(
    kind: str, status: int, state: int | None, told: bool, source: str, target: str
) -> None:
    protocol = 17 if state is None else 6
    one = event(kind, source, target, status=status, state=state, protocol=protocol)
    assert bool(run(program(REACH, Share()), one)) == told


def test_of_what_comes_in_only_beginnings_and_finished_handshakes() -> None:
    def told(kind: str, state: int, status: int = 0xE, protocol: int = 6) -> bool:
        one = event(kind, "203.0.113.9", "192.0.2.1", state=state, status=status, protocol=protocol)
        return bool(run(program(REACH, Share()), one))

    assert told(NEW, 1)
    assert told(UPDATED, 3)
    assert not told(UPDATED, 2)
    assert not told(UPDATED, 4)
    assert not told(DESTROYED, 7)
    assert not told(NEW, 1, protocol=17)


@given(
    st.sampled_from(pairs()),
    st.integers(0, 0xFFFFFFFF),
    st.integers(1, WHOLE),
    st.integers(1, WHOLE),
    st.booleans(),
)
def test_shares_are_reckoned_alike_here_and_in_the_kernel(
    pair: tuple[str, str], salt: int, whole: int, part: int, loud: bool
) -> None:
    source, target = pair
    if packed(target) in REACH.own:
        return
    found = REACH.source(packed(source))
    keys = ((found.key, part),) if loud and found is not None and found.key is not None else ()
    share = Share(salt, whole, keys)
    told = bool(run(program(REACH, share), event(NEW, source, target)))
    assert told == expected(share, source, target)


def test_a_share_of_sources_is_about_that_share() -> None:
    share = Share(12345, WHOLE // 8)
    told = sum(
        bool(run(program(REACH, share), event(NEW, f"192.0.2.{n}", "203.0.113.80")))
        for n in range(26, 255)
    )
    assert 10 <= told <= 60


def test_a_whole_customer_is_heard_or_not_heard() -> None:
    answers = set()
    for salt in range(40):
        code = program(REACH, Share(salt, WHOLE // 2))
        told = {
            bool(run(code, event(NEW, f"198.51.100.{n}", "203.0.113.80"))) for n in range(1, 15)
        }
        assert len(told) == 1
        answers |= told
    assert answers == {True, False}


@given(st.binary(max_size=300))
def test_whatever_comes_the_program_ends(data: bytes) -> None:
    assert run(program(REACH, Share(7, 900, ((5, 6),), 800)), data) in (0, 0xFFFFFFFF)


def test_more_claims_than_the_kernel_takes_tell_everything() -> None:
    many = tuple(Subject(f"10.{n >> 8}.{n & 255}.0/24") for n in range(2000))
    code = program(Reach(OutwardSpec(networks=many), (), {}), Share())
    assert len(code) == 8
    assert run(code, b"") == 0xFFFFFFFF
    few = Reach(OutwardSpec(networks=many[:300]), (), {})
    assert len(program(few, Share())) // 8 <= MOST


def test_every_jump_leads_into_the_program() -> None:
    code = list(struct.iter_unpack("=HBBI", program(REACH, Share(1, 2, ((3, 4), (5, 6)), 7))))
    for place, (op, yes, no, k) in enumerate(code):
        if op == 0x05:
            assert place + 1 + k < len(code)
        if op & 7 == 5:
            assert max(place + 1 + yes, place + 1 + no) < len(code)
