"""Subjects: one spelling for each, IPv4-mapped is IPv4, a /64 for IPv6, hostile text is none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import subject
from tidegate.model import Subject
from tidegate.subject import Network


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("0:0:0:0:0:FFFF:192.0.2.7", "192.0.2.7"),
        ("2001:DB8:1:2::beef", "2001:db8:1:2::/64"),
        ("2001:db8:0001:0002:0003:0004:0005:0006", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("64:ff9b::c000:207", "64:ff9b::c000:207"),
        ("2001:0:53aa:64c::1", "2001:0:53aa:64c::1"),
    ],
)
def test_an_observed_address_has_one_spelling(text: str, expected: str) -> None:
    assert subject.of_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2",
        "192.0.2.7.",
        "192.0.2.07",
        "192.0.2.256",
        "0x7f.1",
        "3221225991",
        " 192.0.2.7",
        "192.0.2.7\n",
        "192.0.2.7/24",
        "2001:db8:::1",
        "2001:db8::g",
        "mail.example.org",
        "192.0.2.\uff17",
        "\udcff",
        "192.0.2.7\0",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert subject.of_address(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail.Example.ORG", "mail.example.org"),
        ("mail.example.org.", "mail.example.org"),
        ("_dmarc.example.org", "_dmarc.example.org"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("999.1.1.1", None),
        ("12345", None),
        ("-x.example.org", None),
        ("a..example.org", None),
        ("a" * 64 + ".example.org", None),
        ("x." * 127 + "example.org", None),
        ("höst.example.org", None),
        ("host;reboot", None),
        ("", None),
    ],
)
def test_a_host_name_is_counted_and_never_an_address(text: str, expected: str | None) -> None:
    assert subject.of_host(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("2001:db8::1/48", "2001:db8::/48"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("uid:1000", "uid:1000"),
        ("service:exim4", "service:exim4"),
        ("service:getty@tty1", "service:getty@tty1"),
        ("uid:1000\n", None),
        ("uid:root", None),
        ("uid:", None),
        ("service:a b", None),
        ("service:\x1b[2J", None),
        ("192.0.2.7/33", None),
        ("2001:db8::1/-1", None),
        ("mail.example.org", None),
        ("", None),
    ],
)
def test_what_a_person_types(text: str, expected: str | None) -> None:
    assert subject.parse(text) == expected


@pytest.mark.parametrize("text", ["mail.example.org", "uid:0", "192.0.2.7/x", "192.0.2.7/33", "/8"])
def test_other_subjects_have_no_network(text: str) -> None:
    assert subject.network(Subject(text)) is None


def test_ranges_know_what_they_hold() -> None:
    def net(text: str) -> Network:
        found = subject.network(Subject(text))
        assert found is not None
        return found

    assert net("192.0.2.0/24").holds(net("192.0.2.255"))
    assert not net("192.0.2.0/24").holds(net("192.0.3.0"))
    assert not net("192.0.2.7").holds(net("192.0.2.0/24"))
    assert net("192.0.2.7").overlaps(net("192.0.2.0/24"))
    assert not net("0.0.0.0/0").overlaps(net("::/0"))
    assert net("::/0").last == (1 << 128) - 1


def test_covering_is_narrowest_first_and_holds_each() -> None:
    found = subject.covering(Subject("192.0.2.7"))
    assert found[:3] == ["192.0.2.6/31", "192.0.2.4/30", "192.0.2.0/29"]
    assert found[-1] == "192.0.0.0/8"
    assert subject.covering(Subject("mail.example.org")) == []


@given(st.ip_addresses())
def test_every_address_has_a_subject_that_holds_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    found = subject.of_address(str(address))
    assert found is not None
    behind = subject.network(found)
    assert behind is not None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    whole = mapped or address
    assert behind.holds(Network(whole.version, whole.max_prefixlen, whole.packed))
    assert subject.from_network(behind) == found
    assert subject.parse(found if "/" in found or whole.version == 4 else f"{found}/128") == found


@given(st.text())
def test_any_text_is_an_answer_never_an_exception(text: str) -> None:
    for reading in (subject.of_address, subject.of_host, subject.parse):
        found = reading(text)
        assert found is None or "\n" not in found
    subject.network(Subject(text))
