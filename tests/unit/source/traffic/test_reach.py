"""Whose an address is: customers before single addresses before interfaces, as in the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.source.traffic.events import packed

from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic.reach import LOCAL, MOST_BEHIND, Reach, folded
from tidegate.source.traffic.routes import behind
from tidegate.subject import Network

SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    customers=(Subject("192.0.2.0/28"), Subject("192.0.2.8/30")), interfaces=("lan0",),
    busy=(Subject("192.0.2.25"), Subject("uid:42")),
)  # fmt: skip
BEHIND = {"lan0": [Network(4, 8, b"\x0a\0\0\0"), Network(4, 24, bytes([192, 0, 2, 0]))]}


@pytest.fixture
def reach() -> Reach:
    return Reach(SPEC, ["192.0.2.1", "2001:db8:1::1"], BEHIND)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", LOCAL), ("2001:db8:1::1", LOCAL), ("192.0.2.5", "192.0.2.0/28"),
        ("192.0.2.9", "192.0.2.8/30"), ("192.0.2.77", "192.0.2.77"), ("192.0.2.25", None),
        ("2001:db8:1:5::9", "2001:db8:1:5::/64"), ("10.7.7.7", "interface:lan0"),
        ("203.0.113.9", None), ("127.0.0.1", None), ("fe80::1", None),
    ],
)  # fmt: skip
def test_whose_it_is(reach: Reach, address: str, subject: str | None) -> None:
    for _again in range(2):
        found = reach.source(packed(address))
        assert (None if found is None else found.subject) == subject


def test_without_users_the_host_itself_is_nobody() -> None:
    assert Reach(OutwardSpec(), ["192.0.2.1"], {}).source(packed("192.0.2.1")) is None


@pytest.mark.parametrize(
    ("address", "leaves"),
    [
        ("203.0.113.9", True), ("192.0.2.1", False), ("127.0.0.1", False), ("224.0.0.1", False),
        ("255.255.255.255", False), ("0.0.0.0", False), ("169.254.169.254", False),
        ("2001:db8::1", True), ("ff02::1", False), ("fe80::1", False), ("::1", False),
        ("2001:db8:1::1", False),
    ],
)  # fmt: skip
def test_what_leaves(reach: Reach, address: str, leaves: bool) -> None:
    assert reach.leaves(packed(address)) == leaves


def test_one_of_a_64_is_as_good_as_another_for_its_share() -> None:
    assert folded(packed("2001:db8:1:5::9"), 2) == folded(packed("2001:db8:1:5:f::1"), 2)
    assert folded(packed("2001:db8:1:5::9"), 4) != folded(packed("2001:db8:1:5::a"), 4)


def test_changes_that_matter_and_others(reach: Reach) -> None:
    assert reach.same_as(Reach(SPEC, ["2001:db8:1::1", "192.0.2.1"], BEHIND))
    assert not reach.same_as(Reach(SPEC, ["192.0.2.1"], BEHIND))
    assert not reach.same_as(Reach(SPEC, ["192.0.2.1", "2001:db8:1::1"], {}))


def test_behind_an_interface_with_very_many_networks_is_everybody() -> None:
    many = [Network(4, 24, bytes([10, n >> 8, n & 255, 0])) for n in range(MOST_BEHIND + 1)]
    found = Reach(SPEC, [], {"lan0": many}).source(packed("203.0.113.9"))
    assert found is not None
    assert found.subject == "interface:lan0"


ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan0\t00000000\t010071CB\t0003\t0\t0\t0\t00000000\t0\t0\t0
lan0\t0000010A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
lan0\tzz\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
lan0
"""
ROUTE6 = (
    "fd000001000000000000000000000000 30 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000100 00000001 00000000 00000001     lan0\n"
    "zz 30 lan0\n"
)


def test_networks_behind_an_interface(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "route").write_text(ROUTE)
    (tmp_path / "net" / "ipv6_route").write_text(ROUTE6)
    assert behind(["lan0"], str(tmp_path)) == {
        "lan0": [Network(4, 16, bytes([10, 1, 0, 0])), Network(6, 48, packed("fd00:1::"))]
    }
    assert behind([], str(tmp_path)) == {}
    assert behind(["lan0"], str(tmp_path / "none")) == {}
