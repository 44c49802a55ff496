"""The text that nft is given: nothing in it but packed addresses written out."""

from __future__ import annotations

import re

from tests.unit.gate.conftest import START, net

from tidegate.gate.book import Scope
from tidegate.gate.layout import laid, milliseconds, scope_text, whole
from tidegate.model import SECOND

BAN = Scope("ban", 6, 64, (25, 465))


def test_a_scope_of_ports() -> None:
    text = scope_text(BAN, 1000)
    assert (
        "add set inet tidegate ban6_64_25_465 { type ipv6_addr; flags timeout; size 1000; }" in text
    )
    assert "add element inet tidegate ban6_64_25_465 { ffff:ffff:ffff:ffff:: }" in text
    assert (
        "banned meta l4proto { tcp, udp } th dport { 25, 465 } "
        "ip6 saddr & ffff:ffff:ffff:ffff:: @ban6_64_25_465 counter goto dropped" in text
    )


def test_scopes_of_everything() -> None:
    assert "banned ip saddr @ban4_32 counter goto dropped" in scope_text(Scope("ban", 4, 32, ()), 1)
    assert "ip saddr & 255.255.0.0 @ban4_16 " in scope_text(Scope("ban", 4, 16, ()), 1)
    assert "allowed ip6 saddr @allow6_128 accept" in scope_text(Scope("allow", 6, 128, ()), 1)


def test_the_whole_replaces_what_is_there() -> None:
    held = {net("2001:db8::/64").bits: START + 90 * SECOND, net("2001:db8:1::/64").bits: START}
    text = "".join(whole([], {BAN: held}, 10, START))
    assert text.startswith("add table inet tidegate\ndelete table inet tidegate\n")
    assert "{ 2001:db8:: timeout 90s0ms }" in text
    assert "2001:db8:1::" not in text, "it is over"


def test_neighbours_and_the_allowlist_stand_before_the_bans() -> None:
    rules = re.findall(r"add rule inet tidegate gate (.*)", laid([], [], 1))
    assert rules.index("ip6 saddr fe80::/10 accept") < rules.index("ip saddr @allow4 accept")
    assert rules[-2:] == ["jump allowed", "jump banned"]
    assert any("nd-neighbor-solicit" in rule and rule.endswith("accept") for rule in rules[:2])


def test_what_is_dropped_knocks_first_and_is_dropped_in_any_case() -> None:
    text = laid([], [BAN], 1)
    assert text.index("add chain inet tidegate dropped") < text.index("goto dropped")
    rules = re.findall(r"add rule inet tidegate dropped (.*)", text)
    assert rules == [
        "tcp flags & (fin | syn | rst | ack) == syn ip saddr != @knocked4"
        " add @knocked4 { ip saddr } log group 2003 snaplen 80",
        "tcp flags & (fin | syn | rst | ack) == syn ip6 saddr & ffff:ffff:ffff:ffff:: != @knocked6"
        " add @knocked6 { ip6 saddr & ffff:ffff:ffff:ffff:: } log group 2003 snaplen 80",
        "drop",
    ]
    assert "knocked4 { type ipv4_addr; flags dynamic,timeout; timeout 60s; size 65535; }" in text
    assert "knocked6 { type ipv6_addr; flags dynamic,timeout; timeout 60s; size 65535; }" in text
    deaf = "".join(whole([], {BAN: {}}, 1, START, heard=False))
    assert re.findall(r"add rule inet tidegate dropped (.*)", deaf) == ["drop"]
    assert "log" not in deaf


def test_the_allowlist_has_no_overlaps() -> None:
    allow = [net("192.0.2.0/24"), net("192.0.2.7"), net("192.0.3.0/24"), net("2001:db8::/32")]
    text = laid(allow, [], 1)
    assert "allow4 { 192.0.2.0/23, 255.255.255.254/32 }" in text
    assert "allow6 { 2001:db8::/32, ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/128 }" in text
    everybody = laid([net("0.0.0.0/0"), net("::/0")], [], 1)
    assert "allow4 { 0.0.0.0/0 }" in everybody
    assert "allow6 { ::/0 }" in everybody


def test_a_timeout_is_never_nothing() -> None:
    assert milliseconds(START + 1, START) == 1
    assert milliseconds(START + SECOND, START) == 1000
