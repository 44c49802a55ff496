"""The client's words for what goes wrong, and long lists."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.control.call import Call
from tidegate.control.client import Client
from tidegate.errors import ControlError

As = Callable[[int, int], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def answering(path: Path, data: bytes, wait: threading.Event | None = None) -> Iterator[Client]:
    """A server that sends these bytes to whoever connects, whatever they ask."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def run() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                if wait is not None:
                    wait.wait(20)
                connection.sendall(data)

        thread = threading.Thread(target=run)
        thread.start()
        yield Client(str(path), timeout=0.2)
        if wait is not None:
            wait.set()
        thread.join()


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="`tidegate run` or `systemctl start tidegate`"):
        Client(str(tmp_path / "socket")).get("/status")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "socket"))
    with pytest.raises(ControlError, match="not running"):
        list(Client(str(tmp_path / "socket")).lines("/history"))


def test_a_path_that_is_no_socket_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ControlError, match="file: the daemon is not running"):
        Client(str(tmp_path / "file")).get("/status")
    with pytest.raises(ControlError, match="too long"):
        Client(str(tmp_path / ("x" * 200))).get("/status")


@pytest.mark.kernel
def test_without_permission_it_names_the_groups(public_folder: Path, as_user: As) -> None:
    path = public_folder / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o660)
        with as_user(65534, 65534), pytest.raises(ControlError, match=r"group adm.*tidegate-admin"):
            Client(str(path)).get("/status")


def test_a_daemon_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with (
        answering(tmp_path / "s", b"", threading.Event()) as client,
        pytest.raises(ControlError, match=r"did not answer within 0\.2 s"),
    ):
        client.get("/status")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "not a tidegate daemon"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe", "not a tidegate daemon"),
        (b"SSH-2.0-OpenSSH\r\n", "not a tidegate daemon"),
        (b"HTTP/1.1 500 Oops\r\n\r\n<html>", "answered 500 Oops"),
        (b"HTTP/1.1 500 Oops\r\n\r\n[1]", "answered 500 Oops"),
    ],
)
def test_strange_answers_become_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    with (
        answering(tmp_path / "s", data) as client,
        pytest.raises(ControlError, match=words) as caught,
    ):
        client.get("/status")
    assert "\n" not in str(caught.value)


def test_a_refusal_is_heard_even_when_the_request_was_not_read(tmp_path: Path) -> None:
    answer = b'HTTP/1.1 503 Busy\r\nContent-Length: 17\r\n\r\n{"error": "busy"}'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ControlError, match=r"^busy$"):
            Client(str(tmp_path / "s")).post("/ban", {"note": "x" * 5_000_000})
        thread.join()


def test_a_long_list_arrives_line_by_line(serve: Callable[..., Any], public_folder: Path) -> None:
    serve(lambda call: call.stream({"n": n, "text": "é\n" * (n % 50)} for n in range(20_000)))
    found = list(Client(str(public_folder / "socket")).lines("/history"))
    assert [line["n"] for line in found] == list(range(20_000))
    assert found[49]["text"] == "é\n" * 49


def test_an_empty_list_is_empty(serve: Callable[..., Any], public_folder: Path) -> None:
    serve(lambda call: call.stream([]))
    assert list(Client(str(public_folder / "socket")).lines("/history")) == []


def test_a_list_that_breaks_off_is_an_error_and_never_a_short_list(
    serve: Callable[..., Any], public_folder: Path
) -> None:
    def breaking(call: Call) -> None:
        def lines() -> Iterator[Any]:
            yield from ({"n": n} for n in range(10_000))
            raise RuntimeError("out of lines")

        call.stream(lines())

    loop = serve(breaking)
    with pytest.raises(ControlError, match="broke off"):
        list(Client(str(public_folder / "socket")).lines("/history"))
    assert "out of lines" in loop.server.notes[0]


def test_a_reader_that_leaves_early_harms_nobody(
    serve: Callable[..., Any], public_folder: Path
) -> None:
    loop = serve(lambda call: call.stream({"n": n} for n in range(200_000)))
    client = Client(str(public_folder / "socket"))
    lines = client.lines("/history")
    assert next(lines) == {"n": 0}
    lines.close()  # type: ignore[attr-defined]
    again = client.lines("/history")
    assert next(again) == {"n": 0}
    again.close()  # type: ignore[attr-defined]
    for _ in range(400):  # until the server has done with both
        if not loop.server._server._open:
            break
        time.sleep(0.05)
    assert not loop.server._server._open
    assert not loop.server.notes


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ControlError):
            Client(str(tmp_path / "socket")).get("/status")
    assert len(os.listdir("/proc/self/fd")) == before
