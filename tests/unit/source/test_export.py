"""The journal export: nothing that a message says can end its entry or begin another."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.source.export import MAX_FIELD, EntryCutter, escape, message_at
from tidegate.source.port import MAX_BLOCK


def text_field(name: bytes, value: bytes) -> bytes:
    return name + b"=" + value + b"\n"


def binary_field(name: bytes, value: bytes) -> bytes:
    return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def field(name: bytes, value: bytes) -> bytes:
    """As journalctl decides: text only if printable UTF-8 without control bytes but tabs."""
    try:
        plain = not any((code < 32 and code != 9) or code == 127 for code in value)
        value.decode()
    except UnicodeDecodeError:
        plain = False
    return text_field(name, value) if plain else binary_field(name, value)


def entry(number: int, *fields: tuple[bytes, bytes]) -> bytes:
    head = b"__CURSOR=s=ab;i=%x\n__REALTIME_TIMESTAMP=17000000000%05d\n" % (number, number)
    return head + b"".join(field(*each) for each in fields) + b"\n"


def feed(cutter: EntryCutter, data: bytes, size: int) -> bytes:
    out = b""
    for start in range(0, len(data), size):
        for piece in cutter.feed(data[start : start + size]):
            assert piece.data.startswith(b"__CURSOR=")
            assert piece.data.endswith(b"\n\n")
            assert piece.offset == len(out)
            out += piece.data
    assert cutter.offset == len(out)
    return out


def test_text_passes_as_it_is() -> None:
    data = entry(1, (b"MESSAGE", b"one")) + entry(2, (b"MESSAGE", b"two\twith tab"))
    for size in range(1, len(data) + 1):
        cutter = EntryCutter()
        assert feed(cutter, data, size) == data
        assert cutter.cursor == "s=ab;i=2"


def test_a_message_cannot_forge_an_entry() -> None:
    forged = b"x\n\n__CURSOR=s=ff;i=ff\n_PID=1\nMESSAGE=Failed password for root from 192.0.2.7\n\n"
    data = entry(1, (b"MESSAGE", forged), (b"_PID", b"77")) + entry(2, (b"MESSAGE", b"fine"))
    for size in range(1, len(data) + 1):
        cutter = EntryCutter()
        out = feed(cutter, data, size)
        assert out.count(b"\n\n") == 2
        assert out.count(b"\n_PID=") == 1
        assert b"\nMESSAGE=x\\n\\n__CURSOR=s=ff;i=ff\\n_PID=1\\nMESSAGE=Failed" in out
        assert cutter.cursor == "s=ab;i=2"


@pytest.mark.parametrize("length", [10, 0x0A0A, 0x0A0A0A, 256, 0])
def test_a_length_that_looks_like_an_empty_line(length: int) -> None:
    value = b"\x1b" * length
    data = entry(1, (b"MESSAGE", b"ok")) + (
        b"__CURSOR=s=ab;i=2\n" + binary_field(b"MESSAGE", value) + b"_PID=1\n\n"
    )
    middle = data.index(b"MESSAGE\n") + 8
    for cut in range(middle - 3, middle + 12):
        cutter = EntryCutter()
        out = b"".join(piece.data for piece in cutter.feed(data[:cut]))
        assert out == entry(1, (b"MESSAGE", b"ok"))
        for start in range(cut, len(data), MAX_BLOCK):
            out += b"".join(piece.data for piece in cutter.feed(data[start : start + MAX_BLOCK]))
        kept = min(length, MAX_FIELD)
        assert out.endswith(b"__CURSOR=s=ab;i=2\nMESSAGE=" + b"\\x1b" * kept + b"\n_PID=1\n\n")
        assert cutter.cut_fields == (length > MAX_FIELD)


values = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.lists(
        st.sampled_from(
            [
                b"\n",
                b"\n\n",
                b"__CURSOR=",
                b"MESSAGE",
                b"MESSAGE\n",
                b"\0",
                b"=",
                b"\x0a\0\0\0",
                b"a",
            ]
        ),
        max_size=8,
    ).map(b"".join),
)
names = st.sampled_from([b"MESSAGE", b"SYSLOG_IDENTIFIER", b"_PID", b"X"])


@given(
    st.lists(st.lists(st.tuples(names, values), max_size=4), max_size=6),
    st.lists(st.integers(1, 60), min_size=1),
)
def test_whatever_the_values_and_the_chunks(
    entries: list[list[tuple[bytes, bytes]]], sizes: list[int]
) -> None:
    data = b"".join(entry(number, *fields) for number, fields in enumerate(entries))
    cutter = EntryCutter()
    out = b""
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        for piece in cutter.feed(data[start : start + size]):
            assert piece.offset == len(out)
            assert piece.data.endswith(b"\n\n")
            out += piece.data
        start, turn = start + size, turn + 1
    found = [each.split(b"\n")[2:] for each in out.split(b"\n\n")[:-1]]
    assert found == [[name + b"=" + escape(value) for name, value in each] for each in entries]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_rubbish_is_survived(chunks: list[bytes]) -> None:
    cutter = EntryCutter()
    for chunk in chunks:
        for piece in cutter.feed(chunk):
            assert b"\0" not in piece.data
    for piece in cutter.finish():
        assert piece.data.endswith(b"\n\n")


def test_the_first_entry_is_left_out_if_it_was_read_before() -> None:
    data = entry(1, (b"MESSAGE", b"one")) + entry(2, (b"MESSAGE", b"two"))
    cutter = EntryCutter(500, after="s=ab;i=1")
    assert cutter.feed(data) == [(500, entry(2, (b"MESSAGE", b"two")))]
    cutter = EntryCutter(500, after="s=ab;i=0")
    assert cutter.feed(data) == [(500, data)]
    cutter = EntryCutter(500, after="s=ab;i=1")
    assert cutter.feed(entry(1, (b"MESSAGE", b"one"))) == []
    assert cutter.feed(entry(1, (b"MESSAGE", b"one"))) == [(500, entry(1, (b"MESSAGE", b"one")))]


def test_entries_of_our_own_units_are_left_out() -> None:
    own = entry(2, (b"MESSAGE", b"banned 192.0.2.7"), (b"_SYSTEMD_UNIT", b"tidegate.service"))
    other = entry(3, (b"MESSAGE", b"_SYSTEMD_UNIT=tidegate"), (b"_SYSTEMD_UNIT", b"ssh.service"))
    cutter = EntryCutter(refused=b"_SYSTEMD_UNIT=tidegate")
    assert cutter.feed(own) == []
    assert cutter.cursor == "s=ab;i=2"
    assert cutter.feed(other + own + other) == [(0, other + other)]


def test_endless_values_stay_within_bounds() -> None:
    cutter = EntryCutter()
    out = b""
    chunks = [b"__CURSOR=s=ab;i=1\nMESSAGE=", *[b"a" * MAX_BLOCK] * 20, b"\n_PID=7\n\n"]
    for chunk in chunks:
        out += b"".join(piece.data for piece in cutter.feed(chunk))
        assert len(cutter._buffer) <= 2 * MAX_BLOCK
    assert out == b"__CURSOR=s=ab;i=1\nMESSAGE=" + b"a" * (MAX_FIELD - 8) + b"\n_PID=7\n\n"
    assert cutter.cut_fields == 1
    binary = binary_field(b"MESSAGE", b"\x1b" * (20 * MAX_BLOCK))
    data = b"__CURSOR=s=ab;i=2\n" + binary + b"_PID=8\n\n"
    out = b""
    for start in range(0, len(data), 65536):
        out += b"".join(piece.data for piece in cutter.feed(data[start : start + 65536]))
        assert len(cutter._buffer) <= 2 * MAX_BLOCK
    assert out.endswith(b"\\x1b\n_PID=8\n\n")
    assert cutter.cut_fields == 2
    for _ in range(10):
        assert cutter.feed(b"a\n" * (MAX_BLOCK // 2)) == []
        assert len(cutter._buffer) <= 2 * MAX_BLOCK


def test_the_last_entry_without_its_empty_line() -> None:
    cutter = EntryCutter()
    assert cutter.feed(entry(1, (b"MESSAGE", b"one"))[:-1]) == []
    assert cutter.finish() == [(0, entry(1, (b"MESSAGE", b"one")))]
    cutter = EntryCutter()
    assert cutter.feed(entry(1, (b"MESSAGE", b"one"))[:-2]) == []
    assert cutter.finish() == [(0, entry(1, (b"MESSAGE", b"one")))]
    assert cutter.finish() == []


def test_the_message_of_an_entry() -> None:
    first = entry(1, (b"_PID", b"1"), (b"MESSAGE", b"one"))
    data = first + entry(2, (b"MESSAGE", b"two")) + entry(3, (b"_PID", b"9"))
    assert message_at(data, 0) == b"one"
    assert message_at(data, data.index(b"MESSAGE=one")) == b"one"
    assert message_at(data, len(first)) == b"two"
    assert message_at(data, data.index(b"MESSAGE=two")) == b"two"
    assert message_at(data, data.index(b"_PID=9")) == b"_PID=9"
