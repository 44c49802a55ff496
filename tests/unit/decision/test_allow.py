"""Prefix sets against the standard library's networks."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from tidegate import subject as subjects
from tidegate.prefixes import PrefixSet
from tidegate.subject import Network


def networks(version):
    width = 32 if version == 4 else 128
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    return st.builds(
        lambda number, length: kind((number, length), strict=False),
        st.integers(0, 2**width - 1),
        st.integers(0, width),
    )


def ours(network):
    return Network(network.version, network.prefixlen, network.network_address.packed)


@given(st.lists(networks(4), max_size=8), networks(4))
def test_ipv4_holds_and_overlaps(members, other):
    found = PrefixSet()
    for member in members:
        found.add(ours(member))
    assert found.holds(ours(other)) == any(other.subnet_of(member) for member in members)
    assert found.overlaps(ours(other)) == any(other.overlaps(member) for member in members)


@given(st.lists(networks(6), max_size=8), networks(6))
def test_ipv6_holds_and_overlaps(members, other):
    found = PrefixSet()
    for member in members:
        found.add(ours(member))
    assert found.holds(ours(other)) == any(other.subnet_of(member) for member in members)
    assert found.overlaps(ours(other)) == any(other.overlaps(member) for member in members)


def test_families_never_mix():
    found = PrefixSet([subjects.Subject("0.0.0.0/0")])
    own = subjects.network(subjects.Subject("::1"))
    assert own is not None
    assert not found.holds(own)
    assert not found.overlaps(own)
