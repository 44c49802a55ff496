"""Messages: what is encoded comes back, what comes back is encoded so, hostile bytes only Malformed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fleet.village import FLEET, NOW, WHO, claim, points, rule

from tidegate.fleet import wire
from tidegate.fleet.wire import Claim, Entry, Kind, Malformed, Message, Shape
from tidegate.model import MINUTE, Subject
from tidegate.policy.models import BanTerms, Counted
from tidegate.subject import Network, from_network

names = st.from_regex(wire.HOST, fullmatch=True)
moments = st.integers(0, (1 << 47) - 1).map(lambda milli: milli * 1000)
subjects = st.one_of(
    st.binary(min_size=4, max_size=4).map(lambda bits: from_network(Network(4, 32, bits))),
    st.tuples(st.integers(64, 128), st.binary(min_size=16, max_size=16)).map(
        lambda found: from_network(Network(6, *found))
    ),
).filter(wire.narrow)


@st.composite
def claims(draw):
    shape = draw(st.sampled_from(Shape))
    most = {Shape.WINDOW: 1 << 16, Shape.SCORE: 1 << 32, Shape.DISTINCT: 1 << 64}[shape] - 1
    start = draw(moments)
    entry = st.tuples(st.integers(0, 10**6), st.integers(1, most))
    rows = sorted(draw(st.lists(entry, max_size=6)))
    entries = tuple(Entry(start + milli * 1000, amount) for milli, amount in rows)
    digest = draw(st.binary(min_size=8, max_size=8))
    rule_name = draw(st.from_regex(wire.RULE, fullmatch=True))
    return Claim(rule_name, digest, draw(subjects), shape, entries)


messages = st.builds(
    Message,
    st.sampled_from(Kind),
    names,
    st.integers(1, (1 << 64) - 1),
    moments,
    st.binary(max_size=99),
)


def sign(_signed):
    return bytes(64)


@given(messages)
def test_a_message_comes_back(message):
    sealed = wire.unseal(wire.seal(message, FLEET, sign), FLEET)
    assert sealed.message == message
    assert sealed.signed == wire.to_sign(message, FLEET)
    assert sealed.signed != wire.to_sign(message, bytes(16))


@given(st.lists(claims(), min_size=1, max_size=4))
def test_claims_come_back(found):
    body = wire.encode_claims(found)
    assert list(wire.decode_claims(body)) == found


@given(st.binary(max_size=200), st.lists(claims(), min_size=1, max_size=2), st.data())
@settings(max_examples=300)
def test_other_bytes_are_malformed_or_the_one_spelling_of_what_they_say(noise, found, data):
    body = bytearray(wire.encode_claims(found))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + len(noise) % 3] = noise[:3]
    for hostile in (noise, bytes(body)):
        try:
            again = wire.decode_claims(hostile)
        except Malformed:
            continue
        assert wire.encode_claims(again) == hostile


@given(st.binary(max_size=200), messages, st.data())
def test_other_bytes_are_no_other_message(noise, message, data):
    whole = bytearray(wire.seal(message, FLEET, sign))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + 1] = noise[:2]
    for hostile in (noise, bytes(whole), bytes(whole[:at])):
        try:
            sealed = wire.unseal(hostile, FLEET)
        except Malformed:
            continue
        assert wire.seal(sealed.message, FLEET, lambda _, found=sealed: found.signature) == hostile


@given(st.binary(max_size=60))
def test_hostile_bundles_are_malformed_at_worst(noise):
    try:
        found = wire.decode_bundle(noise)
    except Malformed:
        return
    assert wire.encode_bundle(found) == noise


def test_a_bundle_comes_back():
    assert wire.decode_bundle(wire.encode_bundle([b"a", b""])) == (b"a", b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": Subject("192.0.2.0/24")},
        {"subject": Subject("2001:db8::/63")},
        {"subject": Subject("uid:0")},
        {"subject": Subject("2001:DB8::1")},
        {"rule": "a b"},
        {"rule": ""},
        {"mark": b"short"},
        {"entries": (Entry(NOW, 1), Entry(NOW - 1000, 1))},
        {"entries": (Entry(NOW, 1 << 16),)},
        {"entries": (Entry(NOW, 1),) * 1026},
        {"entries": (Entry(-1000, 1),)},
    ],
)
def test_we_never_say_what_nobody_would_take(wrong):
    with pytest.raises(ValueError, match=r"."):
        wire.encode_claims([claim(1)._replace(**wrong)])


def test_what_is_too_large_is_not_said():
    for body in (bytes(wire.MAX_BODY + 1),):
        with pytest.raises(ValueError, match="bytes"):
            wire.seal(Message(Kind.CLAIMS, "a", 1, NOW, body), FLEET, sign)
    with pytest.raises(ValueError, match="sequence"):
        wire.seal(Message(Kind.CLAIMS, "a", 0, NOW, b""), FLEET, sign)
    with pytest.raises(ValueError, match="claims"):
        wire.encode_claims([claim(1)] * 257)
    with pytest.raises(ValueError, match="bundle"):
        wire.encode_bundle([])
    wire.seal(Message(Kind.REVOCATIONS, "desk", 1, NOW, bytes(wire.MAX_BODY + 1)), FLEET, sign)


def test_a_sequence_grows_with_each_start():
    assert wire.sequence(2, 0) > wire.sequence(1, (1 << 40) - 1)
    for epoch, counter in ((0, 0), (1 << 24, 0), (1, 1 << 40), (1, -1)):
        with pytest.raises(ValueError, match="sequence"):
            wire.sequence(epoch, counter)


def test_a_mark_tells_what_is_counted_and_nothing_else():
    known = wire.mark(rule())
    assert wire.mark(rule(mode="observe", probation=True)) == known
    assert wire.mark(rule(within=6 * MINUTE)) != known
    assert wire.mark(rule(threshold=5)) != known
    other = rule()
    assert (
        wire.mark(
            type(other)(other.name, (Counted("sshd.failed", 2),), 4, other.within, BanTerms(), "")
        )
        != known
    )
    assert len(known) == wire.MARK


def test_moments_are_rounded_as_they_travel():
    body = wire.encode_claims([claim(1)._replace(entries=(Entry(NOW + 1_999, 1),))])
    assert wire.decode_claims(body)[0].entries == (Entry(wire.rounded(NOW + 1_999), 1),)
    assert wire.decode_claims(body)[0].subject == WHO


@pytest.mark.parametrize(
    ("at", "byte", "why"),
    [(0, 0, "not a message"), (2, 2, "version 2, we speak 1"), (3, 99, "kind")],
)
def test_another_version_or_kind_is_said(at, byte, why):
    whole = bytearray(wire.seal(Message(Kind.CLAIMS, "a", 1, NOW, b""), FLEET, sign))
    whole[at] = byte
    with pytest.raises(Malformed, match=why):
        wire.unseal(bytes(whole), FLEET)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (bytes((5, 32)) + bytes(4), "family"),
        (bytes((4, 33)) + bytes(4), "bounds"),
        (bytes((4, 24)) + b"\xc0\0\2\7", "behind the prefix"),
        (bytes((6, 128)) + bytes(10) + b"\xff\xff\xc0\0\2\7", "as IPv6"),
        (bytes((4, 24)) + b"\xc0\0\2\0", "about a network"),
    ],
)
def test_a_subject_has_one_spelling(packed, why):
    body = wire.encode_claims([claim(1)])
    with pytest.raises(Malformed, match=why):
        wire.decode_claims(body.replace(b"\x04\x20\xc0\x00\x02\x07", packed))


def test_entries_have_one_order_and_end_with_time():
    two = wire.encode_claims([claim(1, 1, amounts=(1, 2))])
    with pytest.raises(Malformed, match="order"):
        wire.decode_claims(two[:-12] + two[-6:] + two[-12:-6])
    late = wire.encode_claims([claim(2, 1)])
    with pytest.raises(Malformed, match="end of time"):
        wire.decode_claims(late[:-18] + b"\xff" * 6 + late[-12:])
    with pytest.raises(Malformed, match="too early"):
        wire.decode_claims(late[:-1])
    with pytest.raises(Malformed, match="too many"):
        wire.decode_claims(late + b"x")
    with pytest.raises(Malformed, match="bundle of"):
        wire.decode_bundle(bytes(wire.MAX_BUNDLE + 1))


def test_only_what_is_counted_has_a_mark_of_its_own_score():
    assert wire.mark(points()) != wire.mark(points(limit=11)) != wire.mark(rule("points"))
