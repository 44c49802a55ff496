"""Slots and macros, and the judgement on patterns that are slow, blind or not allowed."""

from __future__ import annotations

import re

import pytest

from tidegate.detector.pattern import expand, faults


def judge(pattern: str, *literals: str) -> str:
    return "\n".join(faults(pattern, literals or ("literal",), slot=False))


def test_slots_and_macros_are_put_in() -> None:
    macros = {"client": r"\[<addr>\]", "from": "from <client>"}
    expanded = expand(r"x <from> <unknown> (?P<addr_>y)(?P<from>z)", macros)
    found = re.fullmatch(expanded, "x from [192.0.2.7] <unknown> yz")
    assert found
    assert found["addr"] == "192.0.2.7"
    assert found["from"] == "z"


@pytest.mark.parametrize(
    "address", ["192.0.2.7", "2001:db8::1", "::1", "::", "::ffff:192.0.2.7", "fe80::1%eth0.7"]
)
def test_the_slots_take_addresses(address: str) -> None:
    for slot in ("<addr>", "<host>"):
        found = re.fullmatch(expand(rf"\[{slot}\](?::\d+)?", {}), f"[{address}]:25")
        assert found
        assert found["addr"] == address


def test_an_address_ends_before_its_port() -> None:
    found = re.fullmatch(expand(r"from <addr>(?::\d+)?(?P<rest>.*)", {}), "from 192.0.2.7:25 x")
    assert found
    assert (found["addr"], found["rest"]) == ("192.0.2.7", " x")


def test_only_the_host_slot_takes_names() -> None:
    assert re.fullmatch(expand("<host>", {}), "1.mail.example.com")
    assert not re.fullmatch(expand("<addr>", {}), "mail.example.com")


def test_macros_in_a_circle_are_refused() -> None:
    with pytest.raises(ValueError, match="each other"):
        expand("<a>", {"a": "x<b>", "b": "y<a>"})


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("literal ä", "expected ASCII"),
        (r"(literal)\1", "named back-references"),
        (r"(literal)(?(1)a|b)", "named back-references"),
        (r"literal (", "expected a regular expression"),
        (r"(?i)literal", "expected a regular expression"),  # not at the start, once put together
        (r"literal(?<=a+)", "expected a regular expression"),
        (r"(?P<_stamp>literal)", "reserved"),
        (r"literal(?>a)", "possessive repeats of groups"),
        (r"literal(?:ab)?+", "possessive repeats of groups"),
        (r"literal(?:x(?:ab)*+)", "possessive repeats of groups"),
        (r"literal(?>(?:a+)*)", "for ever"),
        (r"literal(?:x(?>a))", "possessive repeats of groups"),
        (r"literal(?P<x>y(?>z))", "possessive repeats of groups"),
        (r"literal(?:a(?:b|(?<=(?:cd|\sx))))", "look-behind"),
        (r"literal(?<=\s)", "look-behind"),
        (r"literal(?<!x[^a])", "look-behind"),
        (r"literal(?:(?<=(?:\n|a)))", "look-behind"),
    ],
)
def test_what_is_refused(pattern: str, said: str) -> None:
    assert said in judge(f"(?:{pattern})")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<a>literal)(?P=a)\\1",
        r"(?P<a>x)?literal(?(a)b|c)",
        r"(?P<a>x)?literal(?(a)b)",
        r"literal\d++[a-z]*+.*+",
        r"literal(?<=l)(?<![ab].)",
        r"literal(?i:[^a]+)",
        r"literal$|literal^",
    ],
)
def test_what_is_allowed(pattern: str) -> None:
    assert judge(pattern) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:a+)*",
        r"(?:a*)+",
        r"(?:a+){2,}",
        r"(?:\S+ ?)*",
        r"(?:\w+\d*-?)*",
        r"(?:(?:ab)+a?)*",
        r"(?:a|a)*",
        r"(?:a|[ab]c)*",
        r"(?:x(?:y+z?)+)*",
        r"(?:(?:a+)?)*",
        r"(?:.*,)*",
        r"(?:(?P<x>a)|a)+",
        r"(?:(?=a)a+)*",
        r"(?P<y>b)?(?:(?(y)a+|c))*",
        r"(?:a{20,30})*",
        r"(?:[^\n]+)+",
    ],
)
def test_what_can_match_for_ever_is_refused(pattern: str) -> None:
    assert "for ever" in judge(f"literal(?:{pattern})")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\S+ )*",
        r"(?: \S+)*",
        r"(?:[A-Z]+=[^ ]* )*",
        r"(?:\d{1,3}\.){3}",
        r"(?:a|b)*",
        r"(?:a++)*",
        r"(?:x?y+,)*",
        r"(?:a+)?",
        r'(?:"[^"]*",)*',
        r"(?:a(?:b|c)d+e)*",
        r"(?:[^ ]++ )*",
        r"(?:\d+(?=,),)*",
    ],
)
def test_repeats_with_an_end_are_fine(pattern: str) -> None:
    assert judge(f"literal(?:{pattern})") == ""


def test_a_slot_where_there_must_be_one() -> None:
    assert "expected <addr> or <host>" in faults("literal", ["literal"], slot=True)[0]
    assert faults(expand("literal <addr>", {}), ["literal"], slot=True) == []
