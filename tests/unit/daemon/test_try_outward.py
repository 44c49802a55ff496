"""What [outward] needs of a host: each thing that is missing told, with what would help."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.daemon.hosts import Host

from tidegate.daemon.try_outward import troubles
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Subject

USERS = OutwardSpec(uids=True)
ROUTER = OutwardSpec(networks=(Subject("192.0.2.0/24"),), interfaces=("lan0",))
WHOLE = "".join(
    f"kernel/net/{name}.ko.xz: x\n"
    for name in ("nf_tables", "nf_conntrack", "nf_conntrack_netlink", "nfnetlink_log")
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path).program("nft")
    monkeypatch.setattr("tidegate.daemon.try_outward._PATH", str(tmp_path / "usr/sbin"))
    monkeypatch.setenv("PATH", "")
    return found


def modules(host: Host, text: str) -> Host:
    return host.file(f"lib/modules/{os.uname().release}/modules.dep", text)


def said(host: Host, spec: OutwardSpec = USERS) -> list[str]:
    return troubles(spec, str(host.root))


def test_without_outward_nothing_is_needed(host: Host) -> None:
    assert troubles(None, str(host.root)) == []


def test_a_kernel_that_has_everything(host: Host) -> None:
    assert said(host) == []  # where its modules are is not known: believed
    assert said(modules(host, WHOLE)) == []
    assert said(host.file("proc/sys/net/netfilter/nf_conntrack_events", "2\n")) == []


def test_no_nft(host: Host) -> None:
    (host.root / "usr/sbin/nft").unlink()
    (one,) = said(host)
    assert one == (
        "outward: nft is not installed, so nothing can be capped: install the package nftables"
    )


def test_no_conntrack(host: Host) -> None:
    modules(host, WHOLE.replace("nf_conntrack_netlink", "x").replace("nf_conntrack.", "y."))
    first, second = said(host)
    assert first.startswith("outward: this kernel has no nf_conntrack: nothing can be capped")
    assert "no nf_conntrack_netlink: caps hold, but nobody sees who is answered" in second
    (host.root / "sys/module/nf_conntrack").mkdir(parents=True)
    (host.root / "sys/module/nf_conntrack_netlink").mkdir()
    assert said(host) == []


def test_events_switched_off(host: Host) -> None:
    host.file("proc/sys/net/netfilter/nf_conntrack_events", "0\n")
    (one,) = said(host)
    assert one.endswith("run: sysctl -w net.netfilter.nf_conntrack_events=2")


@pytest.mark.parametrize("most", ["65536", "", "all"])
def test_room_for_connections(host: Host, most: str) -> None:
    host.file("proc/sys/net/netfilter/nf_conntrack_max", f"{most}\n")
    assert said(host) == []
    (one,) = said(host.file("proc/sys/net/netfilter/nf_conntrack_max", "65535\n"))
    assert "follows 65535 connections at most" in one
    assert one.endswith("run: sysctl -w net.netfilter.nf_conntrack_max=262144")


def test_a_router_that_is_none(host: Host) -> None:
    interface, forwarding = said(host, ROUTER)
    assert troubles(ROUTER, str(host.root), told=True) == [interface]
    assert interface.startswith("outward: there is no interface lan0 yet")
    assert forwarding.startswith("outward: this host forwards nothing")
    host.file("proc/sys/net/ipv4/ip_forward", "1\n")
    (host.root / "sys/class/net/lan0").mkdir(parents=True)
    assert said(host, ROUTER) == []
