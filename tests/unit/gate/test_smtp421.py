"""The responder: what it says, how many it bears, and that nobody can keep it busy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tidegate.gate import smtp421
from tidegate.gate.smtp421 import MOST, PATIENCE, Responder, Talk

SAID = b"421 4.3.2 mail.example.com is too busy, try again later\r\n"


class Room:
    """A talk on a port of the loopback, its clock, and those who call."""

    def __init__(self, stack: ExitStack) -> None:
        self.now = 0.0
        self._stack = stack
        self.waiting = socket.create_server(("127.0.0.1", 0), backlog=MOST)
        self.waiting.setblocking(False)
        stack.callback(self.waiting.close)
        self.talk = Talk([self.waiting], "mail.example.com", lambda: self.now)

    def call(self) -> socket.socket:
        client = socket.create_connection(self.waiting.getsockname(), 5)
        self._stack.callback(client.close)
        return client

    def heard(self, client: socket.socket) -> bytes:
        """Everything that is said until the other side hangs up or falls silent."""
        found = b""
        while data := client.recv(1000):
            found += data
        return found


@pytest.fixture
def room() -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(stack)


def test_whoever_calls_is_told_and_the_talk_is_over(room: Room) -> None:
    client = room.call()
    room.talk.step(5)
    assert room.heard(client) == SAID
    assert len(room.talk) == 1
    client.close()
    room.talk.step(5)
    assert len(room.talk) == 0


def test_who_speaks_first_hears_it_too(room: Room) -> None:
    client = room.call()
    client.sendall(b"EHLO mail.example.net\r\n" * 100)
    room.talk.step(5)
    room.talk.step(5)
    assert room.heard(client) == SAID


def test_who_never_hangs_up_is_cut_off(room: Room) -> None:
    room.call()
    room.talk.step(5)
    room.now += PATIENCE - 0.1
    room.talk.step(0)
    assert len(room.talk) == 1
    room.now += 0.1
    room.talk.step(0)
    assert len(room.talk) == 0


def test_the_oldest_gives_way(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp421, "MOST", 2)
    callers = [room.call() for _ in range(3)]
    for _caller in callers:
        room.talk.step(5)
    assert len(room.talk) == 2
    assert [room.heard(caller) for caller in callers] == [SAID] * 3


def test_who_has_gone_already_does_no_harm(room: Room) -> None:
    client = room.call()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()  # by a reset
    room.talk.step(5)
    room.talk.step(0)
    assert len(room.talk) == 0


def test_a_host_name_is_no_way_to_say_more(room: Room) -> None:
    talk = Talk([], "mail\r\n220 come in", lambda: 0.0)
    assert talk._greeting == b"421 4.3.2 mail220comein is too busy, try again later\r\n"
    assert b" host is" in Talk([], "\u00fc", lambda: 0.0)._greeting


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_port: int) -> list[socket.socket]:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(smtp421, "listeners", taken)
    responder = Responder()
    responder.tick(False)
    assert responder.why == ""
    responder.tick(True)
    assert (responder.pid, responder.why) == (0, "no responder: Address already in use")
    responder.close()
