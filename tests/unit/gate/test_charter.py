"""What a keeper permits, whatever it is asked: subject by subject, type by type."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate.conftest import CHARTER, START, net

from tidegate.gate.charter import Charter, Ranges, Tempo, judge_all
from tidegate.gate.port import Request
from tidegate.model import HOUR, SECOND

UNTIL = START + HOUR


def judged(item: Any, charter: Charter = CHARTER) -> str:
    requests, _places, refusals = judge_all([item], charter, Tempo(charter, START), START)
    assert len(requests) + len(refusals) == 1
    return refusals[0].reason if refusals else "done"


@pytest.mark.parametrize(
    "subject",
    [
        *("203.0.113.7", "203.0.113.0/24", "203.0.0.0/16"),
        *("2001:db8::1", "2001:db8:1::/64", "2001:db8:1::/48"),
        *("192.0.2.0/24", "2001:db8:a::/47"),  # both overlap the allowlist
    ],
)
def test_permitted(subject: str) -> None:
    widest = replace(CHARTER, widest6=32)
    for verb in ("ban", "unban", "allow", "disallow"):
        assert judged([verb, subject, [], UNTIL], widest) == "done"


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("192.0.2.7", "inside the allowlist"),
        ("192.0.2.8/29", "inside the allowlist"),
        ("2001:db8:a:1::/64", "inside the allowlist"),
        ("198.51.100.1", "protected"),
        ("198.51.100.0/24", "protected"),
        ("2001:db8:f::/64", "protected"),
        ("127.0.0.1", "protected"),
        ("127.1.2.0/24", "protected"),
        ("0.0.0.0", "protected"),
        ("169.254.169.254", "protected"),
        ("::1", "protected"),
        ("::", "protected"),
        ("fe80::/64", "protected"),
        ("203.0.0.0/15", "wider than is permitted"),
        ("2001:db8::/47", "wider than is permitted"),
        ("0.0.0.0/0", "wider"),
        ("::/0", "wider"),
        ("203.0.113.007", "not an address"),
        ("203.0.113.7/32", "says nothing"),
        ("203.0.113.7/24", "behind the prefix"),
        ("203.0.113.0/024", "not a prefix length"),
        ("203.0.113.0/+24", "not a prefix length"),
        ("203.0.113.0/", "not a prefix length"),
        ("203.0.113.0/2²", "not a prefix length"),
        ("::ffff:203.0.113.7", "IPv4-mapped"),
        ("2001:DB8::1", "canonical"),
        ("2001:db8:0:0::1", "canonical"),
        ("fe80::1%eth0", "not an address"),
        ("255.255.255.255", "nothing sends from there"),
        ("ff02::1", "nothing sends from there"),
        ("203.0.113.7\0", "not an address"),
        ("\ud800", "not an address"),
        ("example.org", "not an address"),
        ("uid:0", "not an address"),
        ("", "not an address"),
        ("203.0.113.7 }; flush ruleset", "not an address"),
    ],
)
def test_refused_subjects(subject: str, reason: str) -> None:
    assert reason in judged(["ban", subject, [], UNTIL])


@pytest.mark.parametrize("subject", ["192.0.2.7", "198.51.100.1", "2001:db8:f::1"])
def test_whom_it_protects_it_may_open_for(subject: str) -> None:
    for verb in ("unban", "allow", "disallow"):
        assert judged([verb, subject, None, UNTIL]) == "done"


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        ([25], "done"),
        ([25, 465, 65535], "done"),
        ([], "done"),
        (None, "done"),
        ([0], "1-65535"),
        ([65536], "1-65535"),
        ([-1], "1-65535"),
        ([465, 25], "ascending"),
        ([25, 25], "each once"),
        ([True], "whole numbers"),
        ([25.0], "whole numbers"),
        (["25"], "whole numbers"),
        ([[25]], "whole numbers"),
        ([None], "whole numbers"),
        ("25", "whole numbers"),
        ({}, "whole numbers"),
        (25, "whole numbers"),
        (False, "whole numbers"),
        (list(range(1, 42)), "more than 40"),
    ],
)
def test_ports(ports: Any, reason: str) -> None:
    assert reason in judged(["ban", "203.0.113.7", ports, UNTIL])


def test_a_port_of_another_type_does_not_pass_for_one_that_was_seen() -> None:
    """1, 1.0 and true are equal and hash alike; only the whole number is a port."""
    items = [["ban", "203.0.113.7", ports, UNTIL] for ports in ([1], [True], [1.0], [1])]
    requests, places, _refusals = judge_all(items, CHARTER, Tempo(CHARTER, START), START)
    assert places == [0, 3]
    assert all(type(port) is int for request in requests for port in request.ports or ())


@pytest.mark.parametrize("until", [str(UNTIL), float(UNTIL), None, True, [UNTIL]])
def test_an_end_is_a_whole_number(until: Any) -> None:
    assert "whole number" in judged(["ban", "203.0.113.7", [], until])


def test_an_end_is_not_too_far() -> None:
    charter = replace(CHARTER, longest=HOUR)
    assert judged(["ban", "203.0.113.7", [], START + HOUR], charter) == "done"
    for verb in ("ban", "allow"):
        assert "later" in judged([verb, "203.0.113.7", [], START + HOUR + 1], charter)
    assert "later" in judged(["ban", "203.0.113.7", [], 10**4000], charter)
    assert judged(["unban", "203.0.113.7", [], 10**4000], charter) == "done"


@pytest.mark.parametrize(
    "item", [None, 1, "ban", [], ["ban"], {"verb": "ban"}, [1, 2, 3, 4, 5], "four", {1, 2, 3, 4}]
)
def test_what_is_no_request(item: Any) -> None:
    assert judged(item) in ("not a request", "not a permitted verb")


@pytest.mark.parametrize("verb", ["flush", "", None, 1, ["ban"], "BAN"])
def test_verbs(verb: Any) -> None:
    assert judged([verb, "203.0.113.7", [], UNTIL]) == "not a permitted verb"


def test_policy_narrows_verbs_and_ports() -> None:
    charter = Charter(verbs=frozenset({"ban"}), ports=frozenset({25, 465}), everything=False)
    assert judged(["ban", "203.0.113.7", [25], UNTIL], charter) == "done"
    assert judged(["unban", "203.0.113.7", [25], UNTIL], charter) == "not a permitted verb"
    assert "port that is not permitted" in judged(["ban", "203.0.113.7", [22], UNTIL], charter)
    assert "must name its ports" in judged(["ban", "203.0.113.7", [], UNTIL], charter)
    assert "must name its ports" in judged(["ban", "203.0.113.7", None, UNTIL], charter)


def test_tempo() -> None:
    charter = Charter(rate=10, burst=25)
    tempo = Tempo(charter, START)
    items = [["ban", f"203.0.113.{number}", [], UNTIL] for number in range(30)]
    items.insert(0, ["unban", "203.0.113.1", [], 0])
    requests, places, refusals = judge_all(items, charter, tempo, START)
    assert places == list(range(26))
    assert len(requests) == 26
    assert [refusal.index for refusal in refusals] == [30, 29, 28, 27, 26]
    assert tempo.take(9, START) == 0
    assert tempo.take(9, START - HOUR) == 0  # set back: nothing gained
    assert tempo.take(9, START - HOUR + SECOND // 2) == 5
    assert tempo.take(99, START + HOUR) == 25


networks = st.builds(
    lambda number, length: ipaddress.IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(4, 32),
)


@given(st.lists(networks, max_size=8), networks)
def test_ranges_agree_with_ipaddress(members: list[ipaddress.IPv4Network], asked: Any) -> None:
    ranges = Ranges([net(str(m) if m.prefixlen < 32 else str(m[0])) for m in members])
    first, last = int(asked[0]), int(asked[-1])
    merged = list(ipaddress.collapse_addresses(members))
    assert ranges.touch(4, first, last) == any(asked.overlaps(m) for m in members)
    if any(asked.subnet_of(m) for m in merged):
        assert ranges.hold(4, first, last)
    if ranges.hold(4, first, last):
        assert all(any(a in m for m in members) for a in (asked[0], asked[-1]))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_anything_at_all_is_judged(item: Any) -> None:
    judged(item)


@given(
    st.sampled_from(["ban"]),
    st.one_of(
        st.ip_addresses().map(str),
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(
            lambda pair: str(ipaddress.ip_network(pair, strict=False))
        ),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(
            lambda pair: str(ipaddress.ip_network(pair, strict=False))
        ),
        st.sampled_from(["198.51.100.0/25", "2001:db8:f::/112", "127.0.0.1/32"]),
    ),
)
def test_no_protected_address_is_ever_hit(verb: str, subject: str) -> None:
    charter = replace(CHARTER, widest4=8, widest6=16)
    requests, _places, _refusals = judge_all(
        [[verb, subject, [], UNTIL]], charter, Tempo(charter, START), START
    )
    for request in requests:
        assert isinstance(request, Request)
        hit = net(request.subject)
        assert not any(hit.overlaps(spared) for spared in charter.protected)
        assert not hit.overlaps(net("127.0.0.0/8"))
