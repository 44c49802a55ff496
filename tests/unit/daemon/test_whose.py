"""Whose a source is: by address, by user, and by a web host's whole name in the evidence."""

from __future__ import annotations

import pytest

from tidegate.daemon.whose import owners_of, whole
from tidegate.model import Subject
from tidegate.policy.outward import Owner

SEVEN = Owner("seven", addresses=(Subject("198.51.100.0/28"), Subject("2001:db8:7::/48")))
WEB = Owner("web", uids=(33, 1001), vhosts=("shop.example", "www.shop.example"))
OWNERS = (SEVEN, WEB)


@pytest.mark.parametrize(
    ("subject", "names", "alone"),
    [
        ("198.51.100.4", ["seven"], True),
        ("198.51.100.0/28", ["seven"], True),
        ("198.51.100.0/24", ["seven"], False),
        ("198.51.100.16", [], False),
        ("2001:db8:7:1::/64", ["seven"], True),
        ("uid:33", ["web"], True),
        ("uid:3", [], False),
        ("uid:10011", [], False),
        ("interface:lan0", [], False),
    ],
)
def test_by_address_and_user(subject: str, names: list[str], alone: bool) -> None:
    found = owners_of(OWNERS, Subject(subject))
    assert [one.name for one in found] == names
    assert any(whole(one, Subject(subject)) for one in OWNERS) is alone


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("by /srv/shop.example/tmp/x (pid 7)", True),
        ("SHOP.EXAMPLE", True),
        ("http://shop.example.", True),
        ("my-shop.example", False),
        ("x.shop.example", False),
        ("shop.example.org", False),
        ("shopXexample", False),
    ],
)
def test_by_a_web_hosts_whole_name(line: str, found: bool) -> None:
    assert bool(owners_of(OWNERS, Subject("uid:7"), [line])) is found


def test_who_has_the_source_is_told_even_if_a_line_names_somebody_else() -> None:
    found = owners_of(OWNERS, Subject("198.51.100.4"), ["shop.example"])
    assert found == (SEVEN,)
