"""A responder that tells senders of mail `421 … try again later`, so that they ask the next MX.

Touches two sockets on the loopback, to which the kernel hands what comes for a gate that is closed;
a process of its own without any right. Limits: standard library only; 256 talks, 5 seconds each.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn

from tidegate.gate.doors import RESPONDER

MOST = 256
"""Talks at once; the oldest is cut off for a newcomer."""

PATIENCE = 5.0
"""Seconds until somebody who does not hang up is cut off."""

_BACKLOG = 128
_BETWEEN_STARTS = 5.0
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, linux/in6.h
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 1, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_NOBODY = 65534


class Responder:
    """The keeper's hold on that process: started while it is wanted, again when it has ended.

    `why` says why there is none; then the kernel refuses the connections instead.
    """

    def __init__(self, title: Callable[[str], None] | None = None, port: int = RESPONDER) -> None:
        self._title, self._port = title, port
        self._pid = 0
        self._next = 0.0
        self.why = ""

    @property
    def pid(self) -> int:
        """Of the process; 0: there is none."""
        return self._pid

    def tick(self, wanted: bool) -> None:
        """Start it, or end it; call it each second."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
        if self._pid and not wanted:
            self.close()
        elif wanted and not self._pid and time.monotonic() >= self._next:
            self._next = time.monotonic() + _BETWEEN_STARTS
            self._start()

    def _start(self) -> None:
        try:
            waiting = listeners(self._port)
        except OSError as error:
            self.why = f"no responder: {error.strerror or error}"
            return
        keeper = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self.why = f"no responder: {error.strerror}"
        else:
            if pid == 0:
                _child(waiting, self._title, keeper)
            self._pid, self.why = pid, ""
        for one in waiting:
            one.close()

    def close(self) -> None:
        """End it."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def listeners(port: int) -> list[socket.socket]:
    """Sockets on the loopback that the kernel may hand other addresses' connections to: that takes
    CAP_NET_ADMIN. Without IPv6 there is one only. Raises OSError."""
    found: list[socket.socket] = []
    for family, address, level, option in (
        (socket.AF_INET, "127.0.0.1", socket.IPPROTO_IP, _IP_TRANSPARENT),
        (socket.AF_INET6, "::1", socket.IPPROTO_IPV6, _IPV6_TRANSPARENT),
    ):
        try:
            one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            if family == socket.AF_INET:
                raise
            continue
        try:
            # A talk's own port is that of the service, which must be free to start meanwhile.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(level, option, 1)
            one.bind((address, port))
            one.listen(_BACKLOG)
        except OSError as error:
            one.close()
            if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                continue
            for other in found:
                other.close()
            raise
        found.append(one)
    return found


def _child(
    waiting: list[socket.socket], title: Callable[[str], None] | None, keeper: int
) -> NoReturn:
    """What the process does, from the fork to its end; nothing of the keeper's is touched again."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        gc.disable()
        if title is not None:
            title("tidegate: 421")
        _keep_only({0, 1, 2, *(one.fileno() for one in waiting)})
        _give_up_everything()
        talk = Talk(waiting, socket.gethostname())
        while os.getppid() == keeper:  # it may have died before the kernel was told to tell us
            talk.step(1.0)
    finally:
        os._exit(1)


def _keep_only(descriptors: Iterable[int]) -> None:
    after = 0
    for descriptor in sorted(descriptors):
        if after < descriptor:  # an empty range is everything to close_range(2)
            os.closerange(after, descriptor)
        after = descriptor + 1
    os.closerange(after, 1 << 16)


def _give_up_everything() -> None:
    """No capability, no user but our own or nobody, no file, no child, not a word after the
    keeper's end."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)) or libc.prctl(
        _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the responder could not give up its rights")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # last: a change of user forgets it
    for limit, most in (
        (resource.RLIMIT_NOFILE, MOST + 16),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


class Talk:
    """Says 421 to whoever connects, hears out what they still say, and hangs up."""

    def __init__(
        self,
        waiting: Iterable[socket.socket],
        name: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        plain = "".join(c for c in name if c.isascii() and (c.isalnum() or c in ".-")) or "host"
        self._greeting = f"421 4.3.2 {plain} is too busy, try again later\r\n".encode()
        self._now = now
        self._poll = select.poll()
        self._waiting = {one.fileno(): one for one in waiting}
        self._talks: dict[int, tuple[socket.socket, float]] = {}  # the oldest first
        for descriptor in self._waiting:
            self._poll.register(descriptor, select.POLLIN)

    def __len__(self) -> int:
        return len(self._talks)

    def step(self, seconds: float) -> None:
        """Wait at most so long for somebody, and see to all who are there."""
        for descriptor, _events in self._poll.poll(seconds * 1000):
            if descriptor in self._waiting:
                self._accept(self._waiting[descriptor])
            elif descriptor in self._talks:
                self._hear(descriptor)
        moment = self._now()
        for descriptor, (_talk, end) in list(self._talks.items()):
            if end > moment:
                break
            self._hang_up(descriptor)

    def _accept(self, waiting: socket.socket) -> None:
        try:
            talk, _peer = waiting.accept()
        except OSError:
            return  # gone again; or short of memory, and the next one may be luckier
        if len(self._talks) >= MOST:
            self._hang_up(next(iter(self._talks)))
        try:
            talk.setblocking(False)
            talk.send(self._greeting)
            # What is said before it has been read would make a reset of a close, and that eats
            # the greeting.
            talk.shutdown(socket.SHUT_WR)
        except OSError:
            talk.close()
            return
        self._talks[talk.fileno()] = talk, self._now() + PATIENCE
        self._poll.register(talk, select.POLLIN)

    def _hear(self, descriptor: int) -> None:
        talk, _end = self._talks[descriptor]
        try:
            if talk.recv(4096):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._hang_up(descriptor)

    def _hang_up(self, descriptor: int) -> None:
        talk, _end = self._talks.pop(descriptor)
        self._poll.unregister(descriptor)
        talk.close()
