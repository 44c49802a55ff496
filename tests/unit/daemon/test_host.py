"""What this host looks like, read from texts as the kernel writes them (proc(5))."""

from __future__ import annotations

import sys

import pytest

from tidegate.daemon import host

FIB = """Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 198.51.100.5
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
"""
INET6 = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000500000000000000000007 02 40 00 80     eth0
odd
"""
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask
eth0\t00000000\t016433C6\t0003\t0\t0\t0\t00000000
eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF
short
"""
ROUTE6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00"
    " 20010db8000500000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
    "20010db8000500000000000000000000 40 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
)
RESOLV = """# nameserver 192.0.2.1
nameserver 198.51.100.53
  nameserver 2001:db8:5::53
nameserver fe80::1%eth0
nameserver nonsense
options edns0
"""
TCP = """  sl  local_address rem_address   st tx_queue rx_queue
   0: 056433C6:0016 090200C0:D431 01 00000000:00000000
   1: 056433C6:0019 0A0200C0:D431 06 00000000:00000000
   2: 00000000:0016 00000000:0000 0A 00000000:00000000
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: B80D0120000005000000000007000000:0016 B80D0120000007000000000099000000:D431 01 0:0
   1: 0000000000000000FFFF0000056433C6:0016 0000000000000000FFFF00000B0200C0:D431 01 0:0
"""

little = pytest.mark.skipif(
    sys.byteorder != "little", reason="the texts are a little-endian host's"
)


@pytest.fixture(autouse=True)
def texts(monkeypatch):
    """The files of a host; what is not there is empty."""
    found = {
        "/proc/net/fib_trie": FIB, "/proc/net/if_inet6": INET6, "/proc/net/route": ROUTE,
        "/proc/net/ipv6_route": ROUTE6, "/etc/resolv.conf": RESOLV, "/proc/net/tcp": TCP,
        "/proc/net/tcp6": TCP6,
    }  # fmt: skip
    monkeypatch.setattr(host, "_text", lambda path: found.get(path, ""))
    return found


@little
def test_what_is_protected_and_why():
    assert dict(host.protected()) == {
        "127.0.0.1": "own address",
        "198.51.100.5": "own address",
        "::1": "own address",
        "2001:db8:5::7": "own address",
        "198.51.100.1": "gateway",
        "2001:db8:5::1": "gateway",
        "198.51.100.53": "resolver",
        "2001:db8:5::53": "resolver",
        "fe80::1": "resolver",
    }


@little
def test_only_established_connections_are_sessions():
    assert host.sessions() == {"192.0.2.9", "2001:db8:7::/64", "192.0.2.11"}


def test_a_host_that_tells_nothing_is_no_fault(texts):
    texts.clear()
    assert host.protected() == ()
    assert host.sessions() == frozenset()


def test_files_that_are_not_there_or_odd_are_empty(monkeypatch, tmp_path):
    monkeypatch.undo()
    assert host._text(str(tmp_path / "none")) == ""
    (tmp_path / "odd").write_bytes(b"\xff\xfe\x00")
    assert host._lines(str(tmp_path / "odd")) != []
