"""What is closed until when: the last word counts, the least time left gives way."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate.conftest import START

from tidegate.gate.book import Book, Scope, faulty_ports, named, place
from tidegate.gate.port import LONGEST, MAX_PORTS, MAX_SCOPES, Closed, Request
from tidegate.model import SECOND, Subject
from tidegate.subject import network, parse


def ask(verb: str, subject: str, *ports: int, seconds: float = 60) -> Request:
    until = START + int(seconds * SECOND)
    return Request(verb, Subject(subject), ports, until)  # type: ignore[arg-type]


def pack(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


ALL4 = Scope("ban", 4, 32, ())


def test_names_are_read_back() -> None:
    for scope in (ALL4, Scope("ban", 6, 64, (25, 465)), Scope("allow", 6, 128, ())):
        assert named(scope.name) == scope
    for name in ("allow4", "allow6", "__set0", "ban4", "ban5_3", "ban4_", "ban4_32_", "xban4_32"):
        assert named(name) is None


def test_sentinels_are_all_ones() -> None:
    assert ALL4.sentinel == pack("255.255.255.255")
    assert Scope("ban", 4, 24, ()).sentinel == pack("255.255.255.0")
    assert Scope("ban", 6, 64, ()).sentinel == pack("ffff:ffff:ffff:ffff::")


@given(st.text() | st.ip_addresses().map(str) | st.from_regex(r"[0-9a-f:.]{2,20}/\d{1,3}"))
def test_place_takes_what_is_canonical_and_nothing_else(text: str) -> None:
    found = place(text)
    if isinstance(found, tuple):
        assert network(Subject(text)) == found
        assert text.endswith("/64") or parse(text if "/" in text else f"{text}/{found[1]}") == text
        assert socket.inet_ntop(socket.AF_INET if found[0] == 4 else socket.AF_INET6, found[2])
    elif (known := parse(text)) is not None and known == text and not text.startswith(("uid", "s")):
        width = network(known)
        assert width is not None
        assert width.length < (8 if width.family == 4 else 16) or width.bits[0] == 255


def test_ports() -> None:
    assert faulty_ports(()) == faulty_ports((1, 65535)) == ""
    assert "ascending" in faulty_ports((2, 1))
    assert "more than" in faulty_ports(tuple(range(1, MAX_PORTS + 2)))


def test_the_last_word_counts() -> None:
    book = Book(10)
    plan = book.take(
        [
            ask("ban", "192.0.2.1"),
            ask("unban", "192.0.2.1"),
            ask("ban", "192.0.2.2"),
            ask("ban", "192.0.2.2", seconds=90),
            ask("unban", "192.0.2.3"),
            ask("ban", "192.0.2.3"),
        ],
        START,
    )
    assert plan.puts == {
        ALL4: {
            pack("192.0.2.2"): START + 90 * SECOND,
            pack("192.0.2.3"): START + 60 * SECOND,
        }
    }
    assert plan.drops == {ALL4: {pack("192.0.2.1")}}
    assert plan.fresh == {ALL4}
    assert {c.subject for c in book.standing(START)} == {"192.0.2.2", "192.0.2.3"}


def test_what_stood_before_is_renewed() -> None:
    book = Book(10)
    book.take([ask("ban", "192.0.2.1")], START)
    plan = book.take([ask("ban", "192.0.2.1"), ask("ban", "192.0.2.2")], START)
    assert plan.renewed == {ALL4: {pack("192.0.2.1")}}
    assert plan.fresh == set()


def test_an_end_that_is_over_opens() -> None:
    book = Book(10)
    book.take([ask("ban", "192.0.2.1"), ask("ban", "192.0.2.1", 25)], START)
    plan = book.take([ask("ban", "192.0.2.1", seconds=0)], START)
    assert plan.drops == {ALL4: {pack("192.0.2.1")}}
    assert [c.ports for c in book.standing(START)] == [(25,)]
    for verb in ("ban", "allow"):  # nor is a set made for it
        assert book.take([ask(verb, "2001:db8::1", seconds=-1)], START).fresh == set()
    no_ports = Request("ban", Subject("192.0.2.1"), None, START)
    assert book.take([no_ports], START).drops == {ALL4: {pack("192.0.2.1")}}
    assert len(list(book.standing(START))) == 1


def test_unban_of_every_scope_and_of_one() -> None:
    book = Book(10)
    requests = [ask("ban", "192.0.2.1"), ask("ban", "192.0.2.1", 25), ask("ban", "192.0.2.1", 80)]
    book.take(requests, START)
    book.take([Request("unban", Subject("192.0.2.1"), (25,), 0)], START)
    assert {c.ports for c in book.standing(START)} == {(), (80,)}
    book.take([Request("unban", Subject("192.0.2.1"), None, 0)], START)
    assert list(book.standing(START)) == []


def test_allow_and_disallow() -> None:
    book = Book(10)
    refusals = book.take([ask("allow", "192.0.2.1"), ask("allow", "192.0.2.2", 25)], START).refusals
    assert [refusal.index for refusal in refusals] == [1]
    book.take([ask("unban", "192.0.2.1")], START)
    expected = Closed(Subject("192.0.2.1"), (), START + 60 * SECOND, True)
    assert list(book.standing(START)) == [expected]
    book.take([Request("disallow", Subject("192.0.2.1"), None, 0)], START)
    assert list(book.standing(START)) == []


def test_a_far_end_is_brought_forward() -> None:
    book = Book(1)
    book.take([ask("ban", "192.0.2.1", seconds=1e12), ask("ban", "192.0.2.2", seconds=2e12)], START)
    [found] = book.standing(START)
    assert found.until == START + LONGEST


def test_the_least_time_left_goes() -> None:
    book = Book(3)
    book.take([ask("ban", f"192.0.2.{n}", seconds=n) for n in (30, 10, 20)], START)
    plan = book.take([ask("ban", "192.0.2.99", seconds=99)], START)
    assert plan.drops == {ALL4: {pack("192.0.2.10")}}
    assert (book.evicted, plan.refusals) == (1, [])
    book.take([ask("ban", "192.0.2.20", seconds=200)], START)  # extended: no longer the first
    plan = book.take(
        [ask("ban", "192.0.2.98", seconds=98), ask("ban", "192.0.2.5", seconds=5)], START
    )
    assert plan.drops[ALL4] == {pack("192.0.2.30"), pack("192.0.2.5")}
    assert [refusal.index for refusal in plan.refusals] == [1]
    assert book.evicted == 2
    assert {c.subject for c in book.standing(START)} == {f"192.0.2.{n}" for n in (20, 98, 99)}


def test_what_is_over_goes_before_anything_is_evicted() -> None:
    book = Book(2)
    book.take([ask("ban", "192.0.2.1", seconds=1), ask("ban", "192.0.2.2")], START)
    plan = book.take([ask("ban", "192.0.2.3", seconds=9)], START + 2 * SECOND)
    assert (book.evicted, plan.refusals, plan.drops) == (0, [], {})


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 500)), max_size=120))
def test_a_full_book_holds_the_latest_ends(pairs: list[tuple[int, int]]) -> None:
    """One by one, what stays is what a sorted list would keep."""
    book, model = Book(5), dict[str, int]()
    for number, seconds in pairs:
        subject = f"192.0.2.{number}"
        book.take([ask("ban", subject, seconds=seconds)], START)
        model[subject] = START + seconds * SECOND
        if len(model) > 5:
            least = min(model.values())
            held = {c.subject for c in book.standing(START)}
            [gone] = set(model) - held
            assert model.pop(gone) == least
        assert {c.subject: c.until for c in book.standing(START)} == model


def test_scopes_are_bounded() -> None:
    book = Book(9)
    requests = [ask("ban", "192.0.2.1", port) for port in range(1, MAX_SCOPES + 3)]
    refusals = book.take(requests, START).refusals
    assert [refusal.index for refusal in refusals] == [MAX_SCOPES, MAX_SCOPES + 1]
    assert "scopes" in refusals[0].reason


def test_faulty_ports_make_no_set() -> None:
    book = Book(9)
    [refusal] = book.take([ask("ban", "192.0.2.1", 0)], START).refusals
    assert "1-65535" in refusal.reason
    assert book.sets == {}


def test_prune_and_forget() -> None:
    book = Book(9)
    book.take([ask("ban", "192.0.2.1", seconds=1), ask("ban", "192.0.2.2")], START)
    assert book.prune(START + SECOND) == 1
    book.forget(ALL4, pack("192.0.2.2"))
    book.forget(Scope("ban", 6, 64, ()), b"")
    assert book.sets == {ALL4: {}}


@pytest.mark.parametrize("subject", ["7.0.0.0/7", "2001::/15", "0.0.0.0/0", "::/0"])
def test_what_is_too_wide_for_any_gate(subject: str) -> None:
    assert "wider" in str(place(subject)) or "behind" in str(place(subject))
