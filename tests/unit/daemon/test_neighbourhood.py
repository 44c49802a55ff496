"""Who is around a host, and whom of these a policy may allow without asking."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.unit.daemon.hosts import Host

from tidegate.daemon.neighbourhood import Neighbour, administrators, networks

SESSION = "198.51.100.7 50122 203.0.113.1 22"


def test_networks_that_are_ours(tmp_path: Path) -> None:
    host = Host(tmp_path).routes(
        ("eth0", "0.0.0.0", "203.0.113.1", "0.0.0.0"),
        ("eth0", "8.8.4.0", "0.0.0.0", "255.255.255.0"),
        ("eth1", "10.1.0.0", "0.0.0.0", "255.255.0.0"),
        ("eth1", "10.7.0.0", "10.1.0.1", "255.255.0.0"),
        ("eth1", "169.254.0.0", "0.0.0.0", "255.255.0.0"),
    )
    host.file(
        "proc/net/if_inet6",
        "fd000000000000000000000000000002 02 40 00 80     eth1\n"
        "2a000000000000000000000000000002 02 40 00 80     eth0\n"
        "fe80000000000000000000fffe000001 02 40 20 80     eth0\n"
        "00000000000000000000000000000001 01 80 10 80       lo\n",
    )
    assert networks(str(host.root)) == (
        Neighbour("8.8.4.0/24", "own network, on eth0", sure=False),
        Neighbour("10.1.0.0/16", "own network, on eth1"),
        Neighbour("fd00::/64", "own network, on eth1"),
        Neighbour("2a00::/64", "own network, on eth0", sure=False),
    )


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"SSH_CONNECTION": SESSION}, "198.51.100.7"),
        ({"SSH_CLIENT": "198.51.100.7 50122 22"}, "198.51.100.7"),
        ({"SSH_CONNECTION": "2001:db8:1:2::7 50122 2001:db8::1 22"}, "2001:db8:1:2::/64"),
        ({"SSH_CONNECTION": "::ffff:198.51.100.7 1 ::1 22"}, "198.51.100.7"),
        ({"SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22"}, None),
        ({"SSH_CONNECTION": "fe80::1%eth0 1 fe80::2 22"}, None),
        ({"SSH_CONNECTION": "UNKNOWN 65535 UNKNOWN 65535"}, None),
        ({"SSH_CONNECTION": ""}, None),
        ({}, None),
    ],
)
def test_the_session_we_were_started_in(
    tmp_path: Path, environ: dict[str, str], found: str | None
) -> None:
    expected = (Neighbour(found, "you are logged in from here"),) if found else ()
    assert administrators(str(Host(tmp_path).root), environ, 1) == expected


def test_sudo_drops_it_but_the_shell_above_has_it(tmp_path: Path) -> None:
    host = Host(tmp_path).process(10, "sshd", SSH_CONNECTION="nothing of value")
    host.process(20, "bash", parent=10, SSH_CONNECTION=SESSION)
    host.process(30, "sudo", parent=20).process(40, "tidegate", parent=30)
    (found,) = administrators(str(host.root), {"SUDO_USER": "anna"}, 40)
    assert found == Neighbour("198.51.100.7", "you are logged in from here")


def test_others_who_are_logged_in_are_only_suggested(tmp_path: Path) -> None:
    host = Host(tmp_path).logged_in(
        ("root", socket.inet_aton("198.51.100.8")),
        ("anna", socket.inet_pton(socket.AF_INET6, "2001:db8:1:2::7")),
        ("mallory", socket.inet_aton("192.0.2.66")),
        ("e\x1bvil", socket.inet_aton("192.0.2.67")),
        ("root", b""),  # at the console
    )
    assert administrators(str(host.root), {"SUDO_USER": "anna"}, 1) == (
        Neighbour("198.51.100.8", "root is logged in from here"),
        Neighbour("2001:db8:1:2::/64", "anna is logged in from here"),
        Neighbour("192.0.2.66", "mallory is logged in from here", sure=False),
        Neighbour("192.0.2.67", "somebody is logged in from here", sure=False),
    )


def test_logind_knows_where_there_is_no_utmp(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.file("run/systemd/sessions/1", "USER=root\nREMOTE=1\nREMOTE_HOST=198.51.100.8\n")
    host.file("run/systemd/sessions/2", "USER=root\nREMOTE=0\n")
    host.file("run/systemd/sessions/3", "USER=root\nREMOTE=1\nREMOTE_HOST=jump.example.org\n")
    host.file("run/systemd/sessions/1.ref", "USER=root\nREMOTE=1\nREMOTE_HOST=192.0.2.1\n")
    assert [one.subject for one in administrators(str(host.root), {}, 1)] == ["198.51.100.8"]


def test_a_broken_utmp_is_none(tmp_path: Path) -> None:
    assert administrators(str(Host(tmp_path).file("run/utmp", b"x" * 500).root), {}, 1) == ()
