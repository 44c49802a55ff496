"""Decisions written and read: the same again, and of hostile bytes nothing but Malformed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND, Subject

NOW = 1_755_000_000 * SECOND
BAN = Entry("", "ban", "", NOW, Subject("192.0.2.7"), (22, 80), NOW + MINUTE, "ssh", "rule",
            (("mx1", 3), ("web1", 4)), 6, (b"p" * 16,), "30 in 1m on 2 hosts")  # fmt: skip
UNBAN = Entry("", "unban", "", NOW, Subject("2001:db8::/64"), by="anna (uid 1000)")

HOST = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,9}", fullmatch=True)


@st.composite
def entry(draw):
    time = draw(st.integers(1, 1 << 40)) * 1000
    verb = draw(st.sampled_from(["ban", "unban"]))
    shares = tuple(sorted(draw(st.dictionaries(HOST, st.integers(1, 1 << 31), max_size=4)).items()))
    return Entry(
        "", verb, "", time,
        draw(st.sampled_from(["192.0.2.7", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32"])),
        tuple(sorted(draw(st.sets(st.integers(1, 65535), max_size=4)))),
        time + draw(st.integers(1, 1 << 30)) * 1000 if verb == "ban" else 0,
        draw(st.sampled_from(["", "ssh", "mail.auth"])), draw(st.text(max_size=20)),
        shares, draw(st.integers(1, 99)) if shares else 0,
        tuple(draw(st.lists(st.binary(min_size=16, max_size=16), max_size=3))),
        draw(st.text(max_size=20)),
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(entry(), min_size=1, max_size=6))
def test_what_was_written_is_read(entries):
    said = [saying.identify("web1", one) for one in entries]
    (body,) = saying.bodies(said)
    assert list(saying.decode("web1", body)) == said


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_malformed_or_exactly_what_would_be_written(data):
    try:
        found = saying.decode("web1", data)
    except Malformed:
        return
    assert saying.bodies(found) == [data]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([BAN, UNBAN]), st.data())
def test_a_damaged_body_is_malformed_or_exactly_what_would_be_written(one, data):
    (body,) = saying.bodies([one])
    damaged = bytearray(body)
    at = data.draw(st.integers(0, len(body) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(len(body) - 3, len(body)))]
    try:
        found = saying.decode("web1", bytes(damaged))
    except Malformed:
        return
    assert saying.bodies(found) == [bytes(damaged)]


def test_what_goes_without_saying_is_not_said():
    """To each host of the fleet, so few bytes: what a rule closes, three hosts having counted."""
    ban = BAN._replace(note="", proof=(), ports=(22,), until=NOW + 10 * MINUTE)
    shares = (("web0017", 10), ("web0512", 9), ("web0800", 11))
    (body,) = saying.bodies([saying.identify("web0017", ban._replace(shares=shares, needed=30))])
    assert len(body) == 40
    for flag in (8, 16):  # by a rule, and without a note, in so many words
        spoken = bytes((body[0] | flag,)) + body[1:]
        with pytest.raises(Malformed):
            saying.decode("web1", spoken)


def test_the_id_is_of_the_host_and_of_what_it_says():
    ids = {
        saying.identify(host, one).id
        for host in ("web1", "web2")
        for one in (BAN, UNBAN, BAN._replace(ports=()))
    }
    assert len(ids) == 6
    again = saying.identify("web1", saying.identify("web1", BAN._replace(time=NOW + 999)))
    assert again == saying.identify("web1", BAN)


def test_shares_are_by_tag_and_of_hosts_with_the_same_one_together(monkeypatch):
    said = saying.identify("web1", BAN)
    assert dict(said.shares) == {saying.tagged("mx1"): 3, saying.tagged("web1"): 4}
    assert saying.bodies([said]) == saying.bodies([BAN])
    monkeypatch.setattr("tidegate.fleet.counting.functions.tag", lambda _host: b"same")
    assert saying.identify("web1", BAN).shares == (("#73616d65", 7),)


def test_many_are_said_in_several_bodies_none_too_large():
    entries = [saying.identify("web1", BAN._replace(time=NOW + n * 1000)) for n in range(600)]
    found = saying.bodies(entries)
    assert [len(saying.decode("web1", body)) for body in found] == [256, 256, 88]
    wide = BAN._replace(shares=tuple((f"host-{n:050}", 1) for n in range(1000)))
    large = [saying.identify("web1", wide._replace(time=NOW + n * 1000)) for n in range(30)]
    found = saying.bodies(large)
    assert [len(saying.decode("web1", body)) for body in found] == [12, 12, 6]
    assert all(len(body) <= saying.MAX_BODY for body in found)
    assert saying.bodies([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": Subject("uid:33")}, {"subject": Subject("mail.example.org")},
        {"ports": (80, 22)}, {"ports": (22, 22)}, {"ports": (0,)}, {"ports": (70_000,)},
        {"ports": tuple(range(1, 66))}, {"rule": "no such rule"}, {"until": NOW}, {"until": 0},
        {"shares": (("web1", 0),)}, {"shares": (("b", 1), ("a", 1))}, {"shares": ()}, {"needed": 0},
        {"shares": (("Web1", 1),)}, {"proof": (b"short",)}, {"verb": "unban"},
        {"shares": tuple((f"h{n:04}", 1) for n in range(1025))}, {"time": -1},
        {"needed": 1 << 32}, {"until": 1000 << 48},
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(wrong):
    with pytest.raises(ValueError):
        saying.bodies([BAN._replace(**wrong)])


def test_text_is_cut_between_letters():
    one = saying.identify("web1", UNBAN._replace(note="ü" * 150, by="a\udc80b"))
    (found,) = saying.decode("web1", saying.bodies([one])[0])
    assert found.note == "ü" * 100
    assert found.by == "a?b"
