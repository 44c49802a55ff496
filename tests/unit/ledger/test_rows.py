"""What is stored of a decision, and how addresses sort."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from tidegate.ledger.rows import (
    clean,
    evidence_of,
    evidence_text,
    place,
    places_about,
    ports_of,
    ports_text,
    whole,
)
from tidegate.model import Decision, Evidence, Subject
from tidegate.subject import Network, from_network, network

TEXT = st.text(st.characters())
NETWORKS = st.one_of(
    st.builds(Network, st.just(4), st.integers(0, 32), st.binary(min_size=4, max_size=4)),
    st.builds(Network, st.just(6), st.integers(0, 128), st.binary(min_size=16, max_size=16)),
).map(from_network)


def about(one: str, other: str) -> bool:
    """Whether a question about `one` also shows `other`."""
    around, first, last = places_about(one)
    return place(other) in around or first <= place(other) <= last


@given(NETWORKS, NETWORKS, st.integers(0, 128))
def test_a_subject_is_about_exactly_what_overlaps_it(
    one: Subject, other: Subject, length: int
) -> None:
    own = network(one)
    assert own is not None
    near = from_network(Network(own.family, min(length, len(own.bits) * 8), own.bits))
    for second in (other, near):
        nets = ipaddress.ip_network(one), ipaddress.ip_network(second)
        overlap = nets[0].version == nets[1].version and nets[0].overlaps(nets[1])  # type: ignore[arg-type]
        assert about(one, second) is about(second, one) is overlap


def test_a_name_is_about_itself_alone() -> None:
    assert about("host.example.org", "host.example.org")
    assert not about("host.example.org", "host.example.or")
    assert not about("uid:10", "uid:1")
    assert not about("192.0.2.7", "host.example.org")


@given(TEXT)
def test_cleaned_text_is_bounded_valid_and_stays_so(text: str) -> None:
    found = clean(text * 50)
    assert len(found.encode()) <= 1000
    assert clean(found) == found
    if text.isascii() or text.isprintable():
        assert found == text * 50 or len(found.encode()) > 996


@given(st.lists(st.builds(Evidence, st.integers(0, 9), st.just("/m"), st.integers(0, 9), TEXT)))
def test_short_evidence_comes_back_byte_for_byte(lines: list[Evidence]) -> None:
    kept = evidence_of(evidence_text(holding(*lines)))
    assert kept == tuple(line for line in lines[-20:]) or any(
        len(line.line) > 250 for line in lines
    )


def test_lone_surrogates_are_spelt_out_in_text_and_kept_in_lines() -> None:
    assert clean("a\udcff\n") == "a\\udcff\n"
    (kept,) = evidence_of(evidence_text(holding(Evidence(0, "", 0, "a\udcff"))))
    assert kept.line == "a\udcff"
    (kept,) = evidence_of(evidence_text(holding(Evidence(0, "", 0, "é" * 600))))
    assert kept.line == "é" * 500


@given(TEXT.filter(bool))
def test_long_evidence_is_cut_between_characters(text: str) -> None:
    line = text * 1001
    ((_time, _path, _offset, kept),) = evidence_of(evidence_text(holding(Evidence(0, "", 0, line))))
    assert line.startswith(kept)
    assert 996 < len(kept.encode("utf-8", "surrogatepass")) <= 1000


def holding(*lines: Evidence) -> Decision:
    return Decision(
        "1", 0, "ban", Subject("192.0.2.7"), "r", (), 0, 0, 1, 0, "enforce", "", evidence=lines
    )


def test_scopes_are_sorted_text() -> None:
    assert ports_text((465, 25, 25)) == "25,465"
    assert ports_of("25,465") == (25, 465)
    assert ports_text(()) == ""
    assert ports_of("") == ()


@given(st.integers())
def test_numbers_fit_the_file(number: int) -> None:
    assert abs(whole(number)) < 1 << 63
    assert whole(number) == number or abs(number) >= 1 << 63
