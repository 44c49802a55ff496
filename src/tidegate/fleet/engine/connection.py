"""A connection to the engine: Redis or Valkey, by Unix socket, TCP or TLS.

Touches one socket. Waits in `call` and `connect` only, and there until a deadline. Commands go out
in one piece, replies come back in their order. Limits: RESP2; no reply of more than 16 MiB; after
any error but a refused command it is closed, since what it would say next is not known.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import hiredis

from tidegate.errors import FleetError, OperatorError
from tidegate.fleet.counting.functions import Command
from tidegate.fleet.heads import MOST, Heads

MOST_AT_ONCE = 8 * MOST
"""Bytes of the replies to commands that were sent together."""
_CHUNK = 1 << 16
_SCHEMES = ("unix", "redis", "rediss")


class Address(NamedTuple):
    """Where an engine is: `path` of a Unix socket, or host and port. `tls`: trust these."""

    path: str = ""
    host: str = ""
    port: int = 6379
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.tls}://{host}:{self.port}"


class Login(NamedTuple):
    """Who we are to the engine; `cafile` vouches for its certificate, ours is in `certfile`."""

    user: str = ""
    password: str = ""
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def __repr__(self) -> str:
        return f"Login({self.user!r})"  # never the password


class Refused(Exception):  # noqa: N818 - a reply, which nobody raises
    """A command that the engine did not carry out: `code` (`NOPERM`, `LOADING` ...) and `text`."""

    def __init__(self, said: str) -> None:
        super().__init__(said[:500])
        self.code, _space, self.text = said[:500].partition(" ")


def address(text: str) -> Address:
    """An address as people write it: `unix:/run/redis.sock`, `redis://HOST:PORT`, `rediss://...`.

    OperatorError where it is none, or holds a password, which belongs into a file of its own.
    """
    wrong = OperatorError(
        f"engine {text!r}: expected unix:/PATH, redis://HOST:PORT or rediss://HOST:PORT"
    )
    try:
        parts = urlsplit(text)
        port = parts.port or 6379
    except ValueError as error:
        raise wrong from error
    if parts.username or parts.password:
        raise OperatorError("engine: an address holds no password; put it into its own file")
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment:
        raise wrong
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise wrong
        return Address(path=unquote(parts.path))
    if not parts.hostname or parts.path not in ("", "/"):
        raise wrong
    return Address(host=parts.hostname, port=port, tls=parts.scheme == "rediss")


def encode(commands: Sequence[Command]) -> bytes:
    """Commands as they go over the wire."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for one in command:
            data = one if isinstance(one, bytes) else str(one).encode("utf-8", "surrogateescape")
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Replies:
    """Takes replies off bytes. Pure. FleetError where they are none, or more than was asked."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=Refused)
        self._asked: deque[int] = deque()
        self._taken: list[object] = []
        self._unread = 0
        self._whole = 0
        self._heads = Heads()

    def expect(self, number: int) -> None:
        """So many replies belong together."""
        self._asked.append(number)

    @property
    def owed(self) -> int:
        """How many groups of replies have not come yet."""
        return len(self._asked)

    def feed(self, data: bytes) -> list[list[object]]:
        """The groups that are whole with these bytes, each in the order of its commands."""
        self._unread += len(data)
        self._whole += len(data)
        self._heads.pass_by(data)
        whole = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets(False)) is not False:
                self._unread = 0
                if not self._asked:
                    raise FleetError("the engine says what nobody asked")
                self._taken.append(reply)
                if len(self._taken) == self._asked[0]:
                    whole.append(self._taken)
                    self._taken, self._whole = [], 0
                    self._asked.popleft()
        except (hiredis.HiredisError, TypeError, ValueError) as error:  # of keys that can be none
            raise FleetError(f"the engine does not speak as Redis does: {error}") from error
        if self._unread > MOST or self._whole > MOST_AT_ONCE:
            raise FleetError(f"the engine says more than {MOST >> 20} MiB at once")
        return whole


class Connection:
    """One connection, in use until the first FleetError, and then closed. Made by `connect`."""

    def __init__(self, opened: socket.socket, where: Address) -> None:
        self.where = where
        self._socket = opened
        self._replies = Replies()
        self._rest = b""

    def fileno(self) -> int:
        """Readable when the engine said something."""
        return self._socket.fileno()

    def close(self) -> None:
        """End it. Harmless where it is ended."""
        self._socket.close()

    @property
    def peer(self) -> str:
        """The address of the server; "" of a Unix socket, or where it is gone."""
        if self._socket.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        try:
            return str(self._socket.getpeername()[0])
        except OSError:
            return ""

    @property
    def owed(self) -> int:
        """How many calls of `send` have not been answered."""
        return self._replies.owed

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands in one piece, without waiting; what finds no room goes by `flush`."""
        if not commands:
            return
        self._replies.expect(len(commands))
        self._rest += encode(commands)
        if len(self._rest) > MOST:
            raise self._lost(f"takes nothing: more than {MOST >> 20} MiB wait for it")
        self.flush()

    def flush(self) -> bool:
        """Send what waits, without waiting; whether nothing is left."""
        try:
            while self._rest:
                sent = self._socket.send(self._rest)
                self._rest = self._rest[sent:]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise self._lost(f"has gone: {error.strerror or error}") from error
        return True

    def receive(self) -> list[list[object]]:
        """What has come, without waiting: for each `send` that is wholly answered, its replies.

        A refused command is a `Refused` among them.
        """
        whole: list[list[object]] = []
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return whole
            except OSError as error:
                raise self._lost(f"has gone: {error.strerror or error}") from error
            if not data:
                raise self._lost("has closed the connection")
            try:
                whole += self._replies.feed(data)
            except FleetError as error:
                raise self._lost(str(error)) from error
            if len(data) < _CHUNK and not isinstance(self._socket, ssl.SSLSocket):
                return whole

    def call(self, commands: Sequence[Command], timeout: float) -> list[object]:
        """Send commands and wait `timeout` seconds at most for replies. Nothing may be owed."""
        assert not self.owed
        deadline = time.monotonic() + timeout
        self.send(commands)
        while True:
            waits = select.POLLIN | (0 if self.flush() else select.POLLOUT)
            if whole := self.receive():
                return whole[0]
            if not _ready(self._socket, waits, deadline):
                raise self._lost(f"does not answer within {timeout:g} s")

    def _lost(self, why: str) -> FleetError:
        self.close()
        return FleetError(f"engine {self.where} {why}")


def connect(where: Address, login: Login, timeout: float) -> Connection:
    """Connect and log in, within `timeout` seconds. FleetError where that fails, and why."""
    deadline = time.monotonic() + timeout
    try:
        opened = _open(where, login, timeout)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FleetError(f"engine {where} cannot be reached: {told}") from error
    opened.setblocking(False)
    made = Connection(opened, where)
    if not login.password:
        return made
    words = (login.user, login.password) if login.user else (login.password,)
    (reply,) = made.call([("AUTH", *words)], max(0.0, deadline - time.monotonic()))
    if isinstance(reply, Refused):
        made.close()
        whom = login.user or "default"
        raise FleetError(f"engine {where} refuses user {whom!r}: {reply}")
    return made


def _open(where: Address, login: Login, timeout: float) -> socket.socket:
    if where.path:
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.settimeout(timeout)
            opened.connect(where.path)
        except BaseException:
            opened.close()
            raise
        return opened
    opened = socket.create_connection((where.host, where.port), timeout)
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not where.tls:
            return opened
        context = ssl.create_default_context(cafile=login.cafile)
        if login.certfile:
            context.load_cert_chain(login.certfile, login.keyfile)
        return context.wrap_socket(opened, server_hostname=where.host)
    except BaseException:
        opened.close()
        raise


def _ready(opened: socket.socket, events: int, deadline: float) -> bool:
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    poll = select.poll()
    poll.register(opened, events)
    return bool(poll.poll(left * 1000))
