"""Who leads, taken from what servers say, whatever they say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.fleet.engine import topology
from tidegate.fleet.engine.connection import Address, Refused
from tidegate.fleet.engine.topology import Range, led_by, slot
from tidegate.frames import Malformed

SEED = Address(host="192.0.2.1", port=7000, tls=True)
OTHER = Address(host="192.0.2.2", port=7001, tls=True)


def test_slots_are_those_of_the_specification() -> None:
    assert slot("123456789") == 0x31C3  # its own example
    assert slot("{user1000}.following") == slot("{user1000}.followers") == slot("user1000")
    assert slot("foo{}{bar}") == slot("foo{}{bar}")
    assert slot("foo{}{bar}") != slot("bar")
    assert slot("foo{{bar}}zap") == slot("{bar")
    assert slot("foo{bar") != slot("bar")
    assert slot("{tg:00}h:web1") == slot("{tg:00}p") == slot("tg:00")


def test_a_cluster_says_who_leads_what() -> None:
    reply = [
        [0, 8191, [b"", 7000, b"id"], [b"192.0.2.2", 7001, b"id"]],
        [8192, 16000, [b"192.0.2.2", 7001, b"id", []]],
    ]
    ranges = topology.read_slots(reply, SEED)
    assert ranges == (Range(0, 8191, SEED, (OTHER,)), Range(8192, 16000, OTHER, ()))
    assert led_by(ranges, 0) == led_by(ranges, 8191) == SEED
    assert led_by(ranges, 8192) == OTHER
    assert led_by(ranges, 16001) is None


def test_a_sentinel_says_who_leads() -> None:
    assert topology.read_primary([b"192.0.2.2", b"7001"], SEED) == OTHER
    assert topology.read_primary(None, SEED) is None
    assert topology.read_primary(Refused("IDONTKNOW nobody"), SEED) is None


REPLIES = st.recursive(
    st.none() | st.integers(-5, 99_999) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5),
)


@given(reply=REPLIES)
def test_what_makes_no_sense_is_malformed_and_nothing_else(reply: object) -> None:
    for read in (topology.read_primary, topology.read_slots):
        with contextlib.suppress(Malformed):
            read(reply, SEED)


@pytest.mark.parametrize(
    "reply",
    [1, [[0, 1]], [[0, 1, []]], [[0, 1, [b"a", 0]]], [[0, 1, [b"a", b"x"]]], [[0, 1, [1, 1]]],
     [[0, 1, [b"\xff", 1]]], [[0, 1, b"a"]], [[b"0", 1, [b"a", 1]]]],
)  # fmt: skip
def test_slots_that_are_none_are_said(reply: object) -> None:
    with pytest.raises(Malformed):
        topology.read_slots(reply, SEED)


@pytest.mark.parametrize("said", ["MOVED 1 a:1", "READONLY no", "CLUSTERDOWN x", "LOADING x"])
def test_some_refusals_name_another(said: str) -> None:
    assert topology.elsewhere(Refused(said))


def test_other_refusals_do_not() -> None:
    assert not topology.elsewhere(Refused("NOPERM no"))
    assert not topology.elsewhere(b"MOVED 1 a:1")
