"""A TCP conversation in lines that ends at its deadline, whatever the other side does.

Touches the network: looks up names, connects, TLS. Every step shares one deadline; a line has at
most 2 KiB. Limits: a look-up of a name can't be broken off, so it is waited for in a thread of
its own, of which eight may hang at once.
"""

from __future__ import annotations

import errno
import functools
import socket
import ssl
import threading
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple

from tidegate.errors import SourceError

LONGEST_LINE = 2048
MOST_ADDRESSES = 4
MOST_LOOKUPS = 8

_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)

# Said by the other side or by a router on the way; any other error says that we could not try.
_DOWN = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN,
     errno.ECONNABORTED, errno.EPIPE, errno.EPROTO}
)  # fmt: skip


class Down(Exception):  # noqa: N818 - an answer, not a fault of ours
    """It was tried, and is not well; the text says how."""


class Address(NamedTuple):
    """Where to connect to; `text` for people."""

    family: int
    place: tuple[Any, ...]
    text: str


def addresses(host: str, port: int, deadline: float) -> list[Address]:
    """The first four addresses of a name, or the address that it is. SourceError: none is known.

    `deadline` is a moment of `time.monotonic`.
    """
    with suppress(ValueError):
        ip_address(host)
        return _found(host, port, socket.AI_NUMERICHOST)
    if not _lookups.acquire(blocking=False):
        raise SourceError(
            f"{host} was not looked up: {MOST_LOOKUPS} look-ups hang already; is the resolver well?"
        )
    answer: list[list[Address] | SourceError] = []

    def look() -> None:
        try:
            answer.append(_found(host, port, 0))
        except SourceError as error:
            answer.append(error)
        finally:
            _lookups.release()

    thread = threading.Thread(target=look, name=f"look up {host}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        _lookups.release()
        raise SourceError(
            f"{host} was not looked up: the host has no room for another thread"
        ) from error
    thread.join(max(0.0, deadline - time.monotonic()))
    if not answer:
        raise SourceError(f"{host} could not be looked up in time")
    if isinstance(answer[0], SourceError):
        raise answer[0]
    return answer[0]


def _found(host: str, port: int, flags: int) -> list[Address]:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise SourceError(f"{host} could not be looked up: {error.strerror}") from error
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{host} could not be looked up: {error}") from error
    found = dict.fromkeys(
        Address(family, place, str(place[0])) for family, _kind, _protocol, _name, place in rows
    )
    return list(found)[:MOST_ADDRESSES]


@functools.lru_cache(maxsize=2)
def _context(verify: bool, _hour: int) -> ssl.SSLContext:
    """Kept, since reading all authorities is costly; an hour, since they change."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Conversation:
    """One connection. Raises Down where the other side is not well, SourceError where it could
    not be tried at all."""

    def __init__(self, address: Address, deadline: float) -> None:
        self.deadline = deadline
        self._buffer = b""
        try:
            self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            raise SourceError(f"no connection to {address.text}: {error.strerror}") from error
        try:
            self._socket.settimeout(self._left())
            self._socket.connect(address.place)
        except OSError as error:
            self._socket.close()
            if isinstance(error, TimeoutError) or error.errno in _DOWN:
                raise Down(_reason(error, "no answer in time")) from error
            raise SourceError(f"no connection to {address.text}: {error.strerror}") from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; twice is harmless."""
        self._socket.close()

    def own_address(self) -> str:
        """This host's end of it."""
        return str(self._socket.getsockname()[0])

    def secure(self, name: str, verify: bool) -> None:
        """TLS from here on; the certificate must be good for `name` if it is to be verified."""
        try:
            self._socket.settimeout(self._left())
            context = _context(verify, int(time.monotonic() // 3600))
            self._socket = context.wrap_socket(self._socket, server_hostname=name)
        except ssl.SSLCertVerificationError as error:
            raise Down(f"its certificate is not good: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            raise Down(_reason(error, "no TLS handshake in time")) from error
        self._buffer = b""  # what came before the handshake is nobody's word

    def send(self, data: bytes) -> None:
        """Say it whole."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except OSError as error:
            raise Down(_reason(error, "takes nothing in time")) from error

    def line(self) -> bytes:
        """The next line without its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) >= LONGEST_LINE:
                raise Down(f"says a line of more than {LONGEST_LINE} bytes")
            data = self._receive()
            if not data:
                raise Down("hung up" if not self._buffer else "hung up in the middle of a line")
            self._buffer += data
        line, _end, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def leave(self, word: bytes, within: float, more: bytes = b"") -> None:
        """Say goodbye, and give the other side that long (seconds) to hang up: logs stay clean.

        While lines begin with `more`, it has not spoken to the end: nobody cuts it short, since
        mail servers take who does for a robot.
        """
        self.deadline = min(self.deadline, time.monotonic() + within)
        with suppress(Down):
            while more and self.line().startswith(more):
                pass
            self.send(word)
            for _time in range(16):
                if not self._receive():
                    return

    def _receive(self) -> bytes:
        try:
            self._socket.settimeout(self._left())
            return self._socket.recv(1024)
        except OSError as error:
            raise Down(_reason(error, "is silent")) from error

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _reason(error: Exception, late: str) -> str:
    if isinstance(error, TimeoutError):
        return late
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return str(getattr(error, "strerror", None) or error).lower()
