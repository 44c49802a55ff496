"""The daemon's end of the control socket: HTTP in threads of its own, calls for the main loop.

Touches the socket. Nothing a client does can hold up the main loop: connections, time, sizes and
queue are capped. Limits: one request a connection; bodies of 64 KiB; GET and POST only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import queue
import select
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tidegate.control.call import Answer, Call
from tidegate.control.listener import listen
from tidegate.control.peer import Access, Peer, credentials, describe

MAX_BODY = 64 << 10
CONNECTIONS = 32
FOR_ROOT = 8
"""How many of the connections are kept for root, so that nobody else can lock root out."""

READ_SECONDS = 5.0
ANSWER_SECONDS = 30.0
STREAM_SECONDS = 600.0
_SEND_SECONDS = 10.0

_FULL = b'{"error": "too many connections at once; try again"}\n'
_FULL = (
    b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_FULL), _FULL)
)


class ControlServer:
    """The listening socket, its threads, and the calls that wait for the main loop.

    Call `start` once no more forks are to come. The loop watches `fileno()` for readability, then
    takes the calls and answers each. `notes` holds what went wrong inside, for the log. Give
    `path`, or `fd` of a socket bound already. `mode` 0o660 lets in the owner and the groups that
    `access` names, whose requests are then judged one by one.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        fd: int | None = None,
        mode: int = 0o660,
        access: Access | None = None,
    ) -> None:
        assert (path is None) != (fd is None), "either a path or a bound socket"
        self.access = access or Access(read_uids=frozenset({os.geteuid()}))
        self.notes: deque[str] = deque(maxlen=100)
        self._path = path
        groups = self.access.read_groups | self.access.act_groups
        listening = listen(path, mode, groups) if path is not None else socket.socket(fileno=fd)
        self._inode = os.stat(path).st_ino if path is not None else 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._calls: queue.Queue[Call] = queue.Queue(maxsize=2 * CONNECTIONS)
        self._server = _Server(listening, self)
        self._thread = threading.Thread(target=self._server.run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to accept those who knock; until then they wait."""
        threading.Thread(target=self._server.stand_in, name="control 2", daemon=True).start()
        self._thread.start()

    def fileno(self) -> int:
        """A descriptor that is readable while calls wait."""
        return self._wake

    def take(self) -> list[Call]:
        """The calls that wait, oldest first; those nobody waits for any more are left out."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        calls = []
        with contextlib.suppress(queue.Empty):
            while True:
                calls.append(self._calls.get_nowait())
        return [call for call in calls if not call.given_up]

    def close(self) -> None:
        """Stop listening, and take the socket file away if it is still ours. Twice is harmless."""
        if self._wake < 0:
            return
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._server.server_close()
        for call in self.take():
            call.refuse(503, "the daemon is stopping")
        if self._path is not None:
            with contextlib.suppress(OSError):
                if os.lstat(self._path).st_ino == self._inode:
                    Path(self._path).unlink()
        wake, self._wake = self._wake, -1
        os.close(wake)

    def put(self, call: Call) -> bool:
        """Queue a call and wake the main loop; False if too many wait. For the socket's threads."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            return False
        self.wake()
        return True

    def wake(self) -> None:
        """Make `fileno()` readable."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            os.eventfd_write(self._wake, 1)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a connection, at most `CONNECTIONS`; those that take too long are cut off."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, control: ControlServer) -> None:
        super().__init__("", _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.control = control
        self._open: dict[socket.socket, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._left: queue.PriorityQueue[tuple[bool, int, Any]] = queue.PriorityQueue()
        self._turns = itertools.count()

    def run(self) -> None:
        """Accept until `stop`. Sleeps undisturbed while there is no connection to watch over."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(500 if self._open else None)]
            if self._stop in ready:
                return
            if ready:
                self.handle_request()
            self._cut_off()

    def stop(self) -> None:
        """End `run`."""
        os.eventfd_write(self._stop, 1)

    def server_close(self) -> None:
        """Close the listening socket."""
        super().server_close()
        os.close(self._stop)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for it, or say at once that there are too many."""
        _pid, uid, _gid = credentials(request)
        request.settimeout(_SEND_SECONDS)
        with self._lock:
            others = sum(1 for owner, _deadline in self._open.values() if owner != 0)
            full = len(self._open) >= CONNECTIONS or (uid != 0 and others >= CONNECTIONS - FOR_ROOT)
            if not full:
                self._open[request] = (uid, time.monotonic() + READ_SECONDS)
        if full:
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_FULL)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the host has no room for another thread: one after the other then
            self.extend(request, math.inf)
            self._left.put((uid != 0, next(self._turns), request))

    def stand_in(self) -> None:
        """The one thread that was made in good time: it serves those who can't have their own,
        root first."""
        while True:
            _others, _turn, request = self._left.get()
            self.extend(request, READ_SECONDS)
            self.process_request_thread(request, None)

    def extend(self, request: Any, seconds: float) -> None:
        """Give a connection this much time from now."""
        with self._lock:
            if request in self._open:
                self._open[request] = (self._open[request][0], time.monotonic() + seconds)

    def _cut_off(self) -> None:
        """Cut off what is past its time; the thread that waits for it then ends."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, (_uid, end) in self._open.items() if end < now]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Close one connection and forget it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; anything else is a fault of ours and is told."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.control.notes.append(f"control: {type(error).__name__}: {error}")
            self.control.wake()


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "tidegate"
    sys_version = ""
    default_request_version = "HTTP/1.1"  # so that even a garbled request gets a whole answer

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.close_connection = True
        peer = describe(*credentials(self.connection))
        if why := self.server.control.access.refusal(self.command, peer):
            answer = Answer(403, {"error": why})
        else:
            answer = self._ask(peer)
        if answer.lines is None:
            self._one(answer)
        else:
            self._stream(answer, answer.lines)

    def _ask(self, peer: Peer) -> Answer:
        """What the main loop answers, or why it could not be asked."""
        try:
            call = self._call(peer)
        except ValueError as error:
            return Answer(400, {"error": str(error)})
        self.server.extend(self.connection, ANSWER_SECONDS + READ_SECONDS)
        if not self.server.control.put(call):
            return Answer(503, {"error": "too many requests wait; try again"})
        busy = f"the daemon did not answer within {ANSWER_SECONDS:.0f} s; try again"
        return call.wait(ANSWER_SECONDS) or Answer(504, {"error": busy})

    def _call(self, peer: Peer) -> Call:
        """The request as a call; ValueError, in words, if it can't be read."""
        target = urlsplit(self.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=32))
        body = self._body() if self.command == "POST" else {}
        return Call(self.command, target.path, query, body, peer)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise ValueError("a body needs a Content-Length")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise ValueError(f"the body is larger than {MAX_BODY} bytes")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise ValueError("the body is shorter than its Content-Length")
        try:
            found = json.loads(data or b"{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError("the body is not a JSON object")
        return found

    def _one(self, answer: Answer) -> None:
        data = json.dumps(answer.value).encode() + b"\n"
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer: Answer, lines: Iterable[Any]) -> None:
        """JSON lines in chunks of about 64 KiB; a stream that broke off lacks its last chunk."""
        self.server.extend(self.connection, STREAM_SECONDS)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        chunk = bytearray()
        for value in lines:
            chunk += json.dumps(value).encode() + b"\n"
            if len(chunk) >= MAX_BODY:
                self._chunk(bytes(chunk))
                chunk.clear()
        if chunk:
            self._chunk(bytes(chunk))
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The standard library's refusals (bad request line, unknown method …), as JSON."""
        self.close_connection = True
        self._one(Answer(code, {"error": message or "not understood"}))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: who did what is in the ledger."""
