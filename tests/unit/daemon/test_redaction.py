"""The public form: no address, user or path gets through, however somebody spells it in a note."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.daemon.redaction import Plain, Pseudonyms, public_number
from tidegate.model import Subject

KEY = b"k" * 32
NAMES = Pseudonyms(KEY, "0011223344556677")
OTHER = Pseudonyms(KEY, "8899aabbccddeeff")
A = Subject("192.0.2.7")


def test_the_same_is_the_same_within_an_incident_and_nowhere_else() -> None:
    assert NAMES.subject(A) == NAMES.subject(A)
    assert re.fullmatch(r"address-[0-9a-f]{10}", NAMES.subject(A))
    assert NAMES.subject(A) != NAMES.subject(Subject("192.0.2.8"))
    assert NAMES.subject(A) != OTHER.subject(A)
    assert NAMES.subject(A) != Pseudonyms(b"l" * 32, "0011223344556677").subject(A)
    assert NAMES.text(f"it was {A}!") == f"it was {NAMES.subject(A)}!"


@pytest.mark.parametrize(
    ("subject", "sort"),
    [
        ("192.0.2.0/24", "network"),
        ("2001:db8::/64", "address"),
        ("2001:db8::/48", "network"),
        ("uid:33", "source"),
        ("interface:lan0", "source"),
    ],
)
def test_what_sort_of_thing_it_is_may_be_known(subject: str, sort: str) -> None:
    assert NAMES.subject(Subject(subject)).startswith(f"{sort}-")


def test_other_names() -> None:
    assert NAMES.owner("customer-7").startswith("owner-")
    assert NAMES.person("anna (uid 1000)") == "the operators"
    assert NAMES.number("0011") == public_number(KEY, "0011") != "0011"
    assert NAMES.subject(Subject("gate:apache.stop")) == "gate:apache.stop"
    plain = Plain()
    assert (plain.subject(A), plain.owner("x"), plain.person("y"), plain.text("z")) == (
        A, "x", "y", "z",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.7", "(192.0.2.7)", "192.0.2.7:443", "192.0.2.7.", "192.000.002.007", "192[.]0[.]2[.]7",
        "192(.)0(.)2(.)7", "ip-192-0-2-7.cloud.example", "7.2.0.192.in-addr.arpa", "192_0_2_7",
        "\uff11\uff19\uff12.\uff10.\uff12.\uff17", "\u0661\u0669\u0662.\u0660.\u0662.\u0667", "192.0\u200b.2.7", "::ffff:192.0.2.7", "192.0.2.7/32",
        "http://192.0.2.7/x", "<192.0.2.7>", "a192.0.2.7b",
    ],
)  # fmt: skip
def test_spellings_of_an_ipv4_address(text: str) -> None:
    shown = NAMES.text(f"it was {text} again")
    assert not re.search(r"192\D{0,3}0+\D{0,3}2\D{0,3}0*7", shown)
    assert not re.search(r"7\D0\D2\D192", shown)
    assert "\uff11" not in shown
    assert "\u0661" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8:7::25", "2001:DB8:7::25", "[2001:db8:7::25]:25", "2001:0db8:0007:0:0:0:0:0025",
        "2001:db8:7::/64", "fe80::1%eth0", "2001:db8:7::25/128", "2001:db8:7::192.0.2.7",
    ],
)  # fmt: skip
def test_spellings_of_an_ipv6_address(text: str) -> None:
    shown = NAMES.text(f"it was {text} again").lower()
    assert "db8" not in shown
    assert "fe80" not in shown
    assert shown.startswith("it was ")
    assert shown.endswith(" again")


def test_addresses_of_one_ipv6_source_are_one() -> None:
    assert NAMES.text("2001:db8:7::25") == NAMES.subject(Subject("2001:db8:7::/64"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at 03:12:45 it stopped", "at 03:12:45 it stopped"),
        ("2026-11-22T03:12:45+01:00", "2026-11-22T03:12:45+01:00"),
        ("la1 11.2 (limit 10)", "la1 11.2 (limit 10)"),
        ("anna (uid 1000) did", "anna (a user) did"),
        ("uid:33 and uid=0(root)", "(a user) and (a user)(root)"),
        ("pid 4711", "(a user)"),
        ("/var/tmp/x ran", "(a path) ran"),
        ("disk.free(/srv/customer7) < 5%", "disk.free((a path)) < 5%"),
        ("file:/etc/passwd", "file:(a path)"),
        ("~/bin/x ./y ../z", "(a path) (a path) (a path)"),
        ("and/or", "and/or"),
        ("https://status.example/4", "https://status.example/4"),
        ("interface:lan0 is up", f"{NAMES.subject(Subject('interface:lan0'))} is up"),
    ],
)  # fmt: skip
def test_texts(text: str, shown: str) -> None:
    assert NAMES.text(text) == shown


AROUND = st.text(st.characters(blacklist_categories=("Cs", "Nd")), max_size=6)


@given(st.ip_addresses(v=4), AROUND, AROUND)
@example(ipaddress.ip_address("0.0.0.0"), "", "")
def test_no_ipv4_address_gets_through(address: object, before: str, after: str) -> None:
    shown = NAMES.text(f"{before}{address}{after}")
    assert str(address) not in shown


@given(st.ip_addresses(v=6), st.sampled_from(["", " ", "(", "[", "'", "=", "to "]))
def test_no_ipv6_address_gets_through(address: object, before: str) -> None:
    whole = ipaddress.IPv6Address(address)
    for spelled in (str(whole), whole.exploded, whole.exploded.upper()):
        shown = NAMES.text(f"{before}{spelled} x")
        assert spelled not in shown or spelled == "::"


@given(st.text(max_size=300))
def test_any_text_is_cleaned_without_complaint_and_once_is_enough(text: str) -> None:
    once = NAMES.text(text)
    assert NAMES.text(once) == once
