"""Addresses, commands as bytes, and replies in whatever pieces they come."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import FleetError, OperatorError
from tidegate.fleet.engine import connection
from tidegate.fleet.engine.connection import Address, Connection, Login, Refused, Replies, address


@pytest.mark.parametrize(
    "text, found",
    [
        ("unix:/run/redis.sock", Address(path="/run/redis.sock")),
        ("redis://192.0.2.1", Address(host="192.0.2.1")),
        ("redis://[2001:db8::1]:6380", Address(host="2001:db8::1", port=6380)),
        ("rediss://redis.example.org:6390", Address(host="redis.example.org", port=6390, tls=True)),
    ],
)
def test_an_address_is_what_people_write(text: str, found: Address) -> None:
    assert address(text) == found
    assert address(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "redis", "unix:run", "unix://host/path", "http://a", "redis://", "redis://a/1",
     "redis://a:99999", "redis://a?db=1", "redis://[::1", "redis://a#b"],
)  # fmt: skip
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(OperatorError, match="expected unix:/PATH"):
        address(text)


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(OperatorError, match="file") as caught:
        address("redis://user:secret@a")
    assert "secret" not in str(caught.value)


def test_commands_are_bulk_strings() -> None:
    sent = connection.encode([("PING",), ("SET", b"\xff\r\n", 12)])
    assert sent == b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$3\r\n\xff\r\n\r\n$2\r\n12\r\n"


SAID = b"+OK\r\n:7\r\n$3\r\n\xffab\r\n-NOPERM no\r\n$-1\r\n*2\r\n:1\r\n-ERR x\r\n"


@given(cuts=st.lists(st.integers(0, len(SAID)), max_size=6))
def test_replies_are_the_same_in_whatever_pieces(cuts: list[int]) -> None:
    replies = Replies()
    replies.expect(2)
    replies.expect(4)
    whole = []
    edges = [0, *sorted(cuts), len(SAID)]
    for start, end in itertools.pairwise(edges):
        whole += replies.feed(SAID[start:end])
    assert whole[0] == [b"OK", 7]
    text, fault, nothing, several = whole[1]
    assert (text, nothing) == (b"\xffab", None)
    assert isinstance(fault, Refused)
    assert (fault.code, fault.text) == ("NOPERM", "no")
    assert isinstance(several, list)
    assert several[0] == 1
    assert isinstance(several[1], Refused)
    assert replies.owed == 0


@given(data=st.binary(max_size=60))
def test_what_is_no_reply_ends_it_and_nothing_else(data: bytes) -> None:
    replies = Replies()
    replies.expect(3)
    with contextlib.suppress(FleetError):
        replies.feed(data)


def test_what_nobody_asked_ends_it() -> None:
    with pytest.raises(FleetError, match="nobody asked"):
        Replies().feed(b"+OK\r\n")


def test_an_endless_reply_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST", 1000)
    replies = Replies()
    replies.expect(1)
    replies.feed(b"$5000\r\n")
    with pytest.raises(FleetError, match="at once"):
        replies.feed(bytes(1001))


@pytest.fixture
def pair() -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Connection(ours, Address(path="/x")), theirs


def test_a_silent_engine_is_given_up(pair: tuple[Connection, socket.socket]) -> None:
    ours, theirs = pair
    with pytest.raises(FleetError, match=r"unix:/x does not answer within 0\.05 s"):
        ours.call([("PING",)], 0.05)
    assert ours.fileno() == -1
    theirs.close()


def test_an_engine_that_goes_is_said(pair: tuple[Connection, socket.socket]) -> None:
    ours, theirs = pair
    ours.send([("PING",)])
    assert ours.receive() == []
    theirs.close()
    with pytest.raises(FleetError, match=r"has gone|has closed"):
        ours.receive()


def test_an_engine_that_takes_nothing_is_given_up(
    pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    monkeypatch.setattr(connection, "MOST", 1 << 20)
    with pytest.raises(FleetError, match="takes nothing"):
        for _ in range(100):
            ours.send([("SET", "a", bytes(1 << 16))])
    theirs.close()


def test_long_commands_and_replies_pass_each_other(pair: tuple[Connection, socket.socket]) -> None:
    ours, theirs = pair
    size = 3 << 20

    def serve() -> None:
        asked = connection.encode([("ECHO", bytes(size))])
        left = len(asked)
        while left:
            left -= len(theirs.recv(1 << 16))
        theirs.sendall(b"$%d\r\n" % size + bytes(size) + b"\r\n")

    server = threading.Thread(target=serve)
    server.start()
    assert ours.call([("ECHO", bytes(size))], 60) == [bytes(size)]
    server.join()
    theirs.close()
    ours.close()


def test_where_nobody_listens_is_said() -> None:
    with pytest.raises(FleetError, match=r"unix:/nowhere/x cannot be reached: No such file"):
        connection.connect(Address(path="/nowhere/x"), Login(), 1)
    with pytest.raises(
        FleetError, match=r"redis://127\.0\.0\.1:1 cannot be reached: Connection refus"
    ):
        connection.connect(Address(host="127.0.0.1", port=1), Login(), 5)
    with pytest.raises(FleetError, match=r"cannot be reached: AF_UNIX path too long"):
        connection.connect(Address(path="/" + "x" * 200), Login(), 1)
