from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tidegate.source.traffic import vantage
from tidegate.source.traffic.ring import BROADCAST, HOST, MULTICAST, OTHERHOST, OUTGOING
from tidegate.source.traffic.vantage import Interface, Passing, Vantage

OWN, OTHER, THIRD = (ip_address(one).packed for one in ("192.0.2.1", "198.51.100.7", "203.0.113.9"))
WAN, LAN, BRIDGE, TAP = 2, 3, 4, 5
HERE = Vantage(
    own=frozenset({OWN}), names={WAN: "wan0", LAN: "lan0"}, outside=frozenset({WAN}),
    covered=frozenset({BRIDGE}), bridged=frozenset({TAP}),
)  # fmt: skip
ROUTER = replace(HERE, forwards=True)


@pytest.mark.parametrize(
    ("source", "destination", "interface", "kind", "expected"),
    [
        (OWN, OTHER, WAN, OUTGOING, Passing("out", here=True)),
        (bytes(4), OTHER, WAN, OUTGOING, Passing("out", here=True)),  # DHCP
        (OTHER, OWN, WAN, HOST, Passing("in", here=True)),
        (OTHER, THIRD, WAN, MULTICAST, Passing("in", here=True)),
        (OTHER, THIRD, WAN, BROADCAST, Passing("in", here=True)),
        (OTHER, THIRD, WAN, OTHERHOST, None),
        (OWN, THIRD, WAN, MULTICAST, None),  # our own, back from a switch
        (OTHER, THIRD, WAN, OUTGOING, Passing("out", here=True, forged=True)),
        (OTHER, THIRD, BRIDGE, OUTGOING, None),  # seen on one of its ports
        (OTHER, THIRD, TAP, OUTGOING, None),  # counted where it came in
        (OTHER, THIRD, TAP, OTHERHOST, Passing("out", here=False)),  # a guest's
    ],
)
def test_how_a_packet_passes_a_host(
    source: bytes, destination: bytes, interface: int, kind: int, expected: Passing | None
) -> None:
    assert HERE.of(source, destination, interface, kind) == expected


def test_what_a_router_forwards_counts_where_it_comes_in() -> None:
    assert ROUTER.of(OTHER, THIRD, LAN, HOST) == Passing("out", here=False)
    assert ROUTER.of(OTHER, THIRD, WAN, OUTGOING) is None
    assert ROUTER.of(THIRD, OTHER, WAN, HOST) == Passing("in", here=False)


def test_below_a_bridge_is_what_is_real() -> None:
    found = [
        Interface(1, "lo", "", 0, 0),
        Interface(2, "eth0", "", 0, 4),
        Interface(4, "br0", "bridge", 0, 0),
        Interface(5, "tap0", "tun", 0, 4),
        Interface(6, "br0.7", "vlan", 4, 0),
        Interface(7, "veth0", "veth", 0, 0),
    ]
    assert list(vantage._lowest(6, found)) == [2]
    assert list(vantage._lowest(7, found)) == [7]


def test_this_hosts_addresses_and_default_routes(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/fib_trie").write_text(
        "Local:\n     |-- 192.0.2.1\n        /32 host LOCAL\n"
        "     |-- 192.0.2.255\n        /32 link BROADCAST\n"
    )
    (tmp_path / "net/if_inet6").write_text(
        "20010db8000000000000000000000001 02 40 00 80     eth0\n"
    )
    (tmp_path / "net/route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    own = {str(ip_address(one)) for one in vantage._own(str(tmp_path))}
    assert own == {"192.0.2.1", "2001:db8::1"}
    assert list(vantage._defaults(str(tmp_path))) == ["eth0"]


def test_the_kernel_tells_its_interfaces() -> None:
    found = vantage.look()
    assert "lo" in found.names.values()
    assert ip_address("127.0.0.1").packed in found.own
