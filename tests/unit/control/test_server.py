"""The daemon's end of the socket: who may do what, and clients that misbehave."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.control import server as server_module
from tidegate.control.call import Call
from tidegate.control.client import Client
from tidegate.control.peer import Access, Peer
from tidegate.control.server import ControlServer
from tidegate.errors import ControlError, OperatorError

NOBODY = 65534
As = Callable[[int, int], contextlib.AbstractContextManager[None]]


def echo(call: Call) -> None:
    call.reply(200, [call.method, call.path, dict(call.query), dict(call.body), call.peer.uid])


def raw(path: str, data: bytes) -> tuple[int, Any]:
    """Send these bytes, read to the end; the status and the JSON of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else (0, None)


def post(body: bytes, length: str | None = None) -> bytes:
    stated = str(len(body)) if length is None else length
    return f"POST /ban HTTP/1.1\r\nContent-Length: {stated}\r\n\r\n".encode() + body


def test_a_request_reaches_the_loop_whole(serve: Callable[..., Any], public_folder: Path) -> None:
    loop = serve(echo)
    client = Client(str(public_folder / "socket"))
    assert client.get("/list", {"subject": "2001:db8::/64", "é": "&="}) == [
        "GET",
        "/list",
        {"subject": "2001:db8::/64", "é": "&="},
        {},
        os.geteuid(),
    ]
    if os.geteuid() == 0:
        assert client.post("/ban", {"for": "1h"}) == ["POST", "/ban", {}, {"for": "1h"}, 0]
    peer = loop.seen[0].peer
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert (peer.pid, peer.name, peer.label) == (os.getpid(), me, f"{me} (uid {peer.uid})")
    assert grp.getgrgid(os.getegid()).gr_name in peer.groups


def test_the_socket_has_its_mode_from_the_start_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = ControlServer(str(path))
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    server.close()
    assert list(tmp_path.iterdir()) == []
    server.close()


@pytest.mark.kernel
def test_the_groups_that_may_ask_can_reach_the_socket_and_nobody_else(
    serve: Callable[..., Any], public_folder: Path, as_user: As
) -> None:
    access = Access(read_groups=frozenset({"adm"}), act_groups=frozenset({"games", "no-such"}))
    serve(echo, mode=0o660, access=access)
    client = Client(str(public_folder / "socket"))
    with as_user(NOBODY, grp.getgrnam("adm").gr_gid):
        assert client.get("/status")[1] == "/status"
    with as_user(NOBODY, grp.getgrnam("games").gr_gid):
        assert client.post("/on")[1] == "/on"
        with pytest.raises(ControlError, match="reading needs"):
            client.get("/status")
    with as_user(NOBODY, NOBODY), pytest.raises(ControlError, match="permission denied"):
        client.get("/status")


def test_without_access_lists_everybody_may_ask_and_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    server = ControlServer(str(tmp_path / "socket"))
    server.start()
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o666
    server.close()


def test_a_stale_socket_is_replaced_a_living_one_never(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    first = ControlServer(str(path))
    first.start()
    with pytest.raises(ControlError, match="another daemon listens"):
        ControlServer(str(path))
    assert path.is_socket()
    first.close()
    assert not path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(ControlError, match="not a socket"):
        ControlServer(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(ControlError, match="can't listen"):
        ControlServer(str(tmp_path / "missing" / "socket"))
    with pytest.raises(ControlError, match="too long"):
        ControlServer(str(tmp_path / ("x" * 120)))


def test_closing_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = ControlServer(str(path))
    first.start()
    path.unlink()
    second = ControlServer(str(path))
    second.start()
    first.close()
    assert path.is_socket()
    second.close()


def test_a_socket_bound_elsewhere_can_be_handed_in(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        bound.listen()
        server = ControlServer(fd=os.dup(bound.fileno()))
    server.start()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(Client(path).get("/status")))
    asking.start()
    assert select.select([server], [], [], 20)[0]
    server.take()[0].reply(200, "fine")
    asking.join()
    server.close()
    assert answers == ["fine"]
    assert Path(path).exists()


@pytest.mark.parametrize(
    ("uid", "groups", "reads", "acts"),
    [
        (0, set(), True, True),
        (990, set(), True, False),
        (1000, {"adm"}, True, False),
        (1000, {"tidegate-admin"}, False, True),
        (1000, {"adm", "tidegate-admin"}, True, True),
        (1000, {"users", "sudo"}, False, False),
    ],
)
def test_who_may_read_and_who_may_act(uid: int, groups: set[str], reads: bool, acts: bool) -> None:
    access = Access(read_uids=frozenset({990}))
    peer = Peer(1, uid, uid, "anna", frozenset(groups))
    assert (access.refusal("GET", peer) == "") is reads
    assert (access.refusal("POST", peer) == "") is acts


@pytest.mark.kernel
def test_strangers_are_refused_with_the_group_that_they_lack(
    serve: Callable[..., Any], public_folder: Path, as_user: As
) -> None:
    loop = serve(echo)
    client = Client(str(public_folder / "socket"))
    with as_user(NOBODY, NOBODY):
        with pytest.raises(ControlError, match=r"reading needs root or group adm; you are nobody"):
            client.get("/status")
        with pytest.raises(ControlError, match=r"acting needs root or group tidegate-admin"):
            client.post("/ban", {"subject": "192.0.2.7"})
        with pytest.raises(ControlError, match="reading needs"):
            list(client.lines("/history"))
    assert loop.seen == []
    with as_user(NOBODY, grp.getgrnam("adm").gr_gid):
        assert client.get("/status")[-1] == NOBODY
        with pytest.raises(ControlError, match="acting needs"):
            client.post("/ban")
    with as_user(54321, 54321), pytest.raises(ControlError, match=r"you are 54321 \(uid 54321\)"):
        client.get("/status")


@pytest.mark.kernel
def test_an_acting_group_may_act(
    serve: Callable[..., Any], public_folder: Path, as_user: As
) -> None:
    serve(echo, access=Access(act_groups=frozenset({"games"})))
    with as_user(NOBODY, grp.getgrnam("games").gr_gid):
        assert Client(str(public_folder / "socket")).post("/on")[1] == "/on"


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (post(b"{"), 400, "not JSON"),
        (post(b"[1]"), 400, "not a JSON object"),
        (post(b'"\xff"'), 400, "not JSON"),
        (post(b"[" * 60000), 400, "not JSON"),
        (post(b"1" * 60000), 400, "not JSON"),
        (post(b"x" * 70000), 400, "larger than 65536 bytes"),
        (post(b"", "99999999999999999999"), 400, "larger than 65536 bytes"),
        (post(b"", "-1"), 400, "needs a Content-Length"),
        (post(b"", "1_0"), 400, "needs a Content-Length"),
        (post(b"", "²"), 400, "needs a Content-Length"),
        (
            b"POST /ban HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "Content-Length",
        ),
        (b"GET /?" + b"a&" * 99 + b" HTTP/1.1\r\n\r\n", 400, "fields"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400, "Invalid IPv6"),
        (b"PUT / HTTP/1.1\r\n\r\n", 501, "Unsupported method"),
        (b"\x00\xff\x1b[31m rubbish\r\n\r\n", 400, ""),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414, ""),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, ""),
        (b"GET / HTTP/9.9\r\n\r\n", 505, ""),
    ],
)
def test_bad_requests_are_answered_in_words_and_never_reach_the_loop(
    serve: Callable[..., Any], public_folder: Path, data: bytes, status: int, words: str
) -> None:
    loop = serve(echo, access=Access(act_uids=frozenset({os.geteuid()})))
    found, answer = raw(str(public_folder / "socket"), data)
    assert found == status
    assert words in answer["error"]
    assert loop.seen == []
    assert not loop.server.notes


def test_a_body_that_ends_early_is_refused(serve: Callable[..., Any], public_folder: Path) -> None:
    serve(echo, access=Access(act_uids=frozenset({os.geteuid()})))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(public_folder / "socket"))
        connection.sendall(post(b"{}", "10"))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
        assert b"shorter than its Content-Length" in answer


def test_a_client_that_says_nothing_is_cut_off(
    serve: Callable[..., Any], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "READ_SECONDS", 0.1)
    serve(echo)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(20)
        silent.connect(str(public_folder / "socket"))
        silent.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert silent.recv(1) == b""


def test_a_client_that_dribbles_is_cut_off_too(
    serve: Callable[..., Any], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "READ_SECONDS", 0.1)
    serve(echo)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(public_folder / "socket"))
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                slow.sendall(b"a")
                time.sleep(0.05)


def test_stuck_clients_do_not_lock_others_out(
    serve: Callable[..., Any], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "READ_SECONDS", 1.0)
    loop = serve(echo)
    path = str(public_folder / "socket")
    stuck = [socket.socket(socket.AF_UNIX) for _ in range(server_module.CONNECTIONS)]
    try:
        for connection in stuck:
            connection.connect(path)
        with pytest.raises(ControlError, match="too many connections"):
            while True:  # until the last of them is accepted
                Client(path).get("/status")
        for connection in stuck:
            connection.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(9999)
        assert Client(path).get("/status")[1] == "/status"
    finally:
        for connection in stuck:
            connection.close()
    assert not loop.server.notes


def test_where_no_thread_can_be_made_one_is_answered_after_the_other(
    serve: Callable[..., Any], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(server_module, "READ_SECONDS", 1.0)
    loop = serve(echo)
    path = str(public_folder / "socket")
    monkeypatch.setattr(server_module.socketserver.ThreadingMixIn, "process_request", full)
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.connect(path)
        for _question in range(3):
            assert Client(path).get("/status")[1] == "/status", "who is stuck is cut off"
    assert not loop.server.notes


@pytest.mark.kernel
def test_some_connections_are_kept_for_root(
    serve: Callable[..., Any], public_folder: Path, as_user: As
) -> None:
    serve(echo)
    path = str(public_folder / "socket")
    stuck = [socket.socket(socket.AF_UNIX) for _ in range(server_module.CONNECTIONS)]
    try:
        with as_user(NOBODY, NOBODY):
            for connection in stuck:
                connection.connect(path)
            with pytest.raises(ControlError, match="too many connections"):
                while True:
                    Client(path).get("/status")
        assert Client(path).get("/status")[1] == "/status"
    finally:
        for connection in stuck:
            connection.close()


def test_a_loop_that_does_not_answer_in_time_is_named(
    serve: Callable[..., Any], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ANSWER_SECONDS", 0.1)
    late: list[Call] = []
    serve(late.append)
    with pytest.raises(ControlError, match="did not answer within"):
        Client(str(public_folder / "socket")).get("/status")
    assert late[0].given_up
    late[0].reply(200, "too late")


def test_a_call_nobody_waits_for_is_not_carried_out(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ANSWER_SECONDS", 0.1)
    server = ControlServer(str(public_folder / "socket"))
    server.start()
    with pytest.raises(ControlError):
        Client(str(public_folder / "socket")).get("/status")
    assert server.take() == []
    server.close()


def test_too_many_waiting_calls_are_refused(public_folder: Path) -> None:
    server = ControlServer(str(public_folder / "socket"))
    server.start()
    peer = Peer(1, 0, 0, "root", frozenset())
    calls = [Call("GET", f"/{n}", {}, {}, peer) for n in range(99)]
    queued = [server.put(call) for call in calls]
    assert queued.count(True) == 2 * server_module.CONNECTIONS
    assert server.take() == calls[: queued.count(True)]
    assert server.take() == []
    server.close()


def test_a_refusal_keeps_its_words(serve: Callable[..., Any], public_folder: Path) -> None:
    serve(lambda call: call.refuse(int(call.path[1:]), "say 192.0.2.7 or 192.0.2.0/24"))
    client = Client(str(public_folder / "socket"))
    for status in (400, 404, 409, 422):
        with pytest.raises(OperatorError, match="say 192"):
            client.get(f"/{status}")
    for status in (403, 500, 503):
        with pytest.raises(ControlError, match="say 192"):
            client.get(f"/{status}")


def test_only_the_first_answer_counts(serve: Callable[..., Any], public_folder: Path) -> None:
    def twice(call: Call) -> None:
        call.reply(200, 1)
        call.reply(200, 2)

    serve(twice)
    assert Client(str(public_folder / "socket")).get("/") == 1


def test_an_answer_that_is_no_json_is_told_as_our_fault(
    serve: Callable[..., Any], public_folder: Path
) -> None:
    loop = serve(lambda call: call.reply(200, object()))
    with pytest.raises(ControlError, match="broke off"):
        Client(str(public_folder / "socket")).get("/")
    assert "TypeError" in loop.server.notes[0]


def test_stopping_answers_those_who_wait(public_folder: Path) -> None:
    path = str(public_folder / "socket")
    server = ControlServer(path)
    server.start()
    errors: list[str] = []

    def ask() -> None:
        try:
            Client(path).get("/status")
        except ControlError as error:
            errors.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    assert select.select([server], [], [], 20)[0]
    server.close()
    asking.join()
    assert errors == ["the daemon is stopping"]
