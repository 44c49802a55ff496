"""How the agent begins: as a process of its own, with what it needs, in place of one that runs.

Touches processes (fork), one socket beside the state file, and one TCP address. The listening
socket itself goes from the old one to the new, so that no balancer finds the door shut between.
Limits: standard library only, for `responder`.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
import socket
import struct
import time
from contextlib import suppress

TALK_SECONDS = 2.0


def take_over(path: str) -> tuple[bool, socket.socket | None]:
    """Whether one that did not answer was ended by force; the listening socket of one that did."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(TALK_SECONDS)
        try:
            asking.connect(path)
        except OSError:
            return False, None
        try:
            asking.send(b"!")
            _said, given, _flags, _who = asking.recvmsg(1, socket.CMSG_SPACE(4))
            listener = None
            for _level, _kind, data in given:
                (descriptor,) = struct.unpack("i", data[:4])
                listener = socket.socket(fileno=descriptor)
            asking.send(b"+")
        except OSError:  # it hangs: whoever made this socket, in a folder of ours, is one of us
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
            return True, None
        return False, listener


def listen(address: str, seconds: float = 0.0) -> socket.socket:
    """A listening socket at `host:port` or `[address]:port`, as soon as whoever has it is gone."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _listen(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(0.02)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, int(port)))
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def detach() -> int:
    """Become a process of its own; the descriptor that our starter waits for one byte on."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(writing)
        os._exit(0 if os.read(reading, 1) else 3)  # REFUSED
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    return writing


def settle(writing: int) -> None:
    """All is well: let our starter go, and hold nothing of it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.chdir("/")
    os.write(writing, b"+")
    os.close(writing)


def nobody() -> tuple[int, int]:
    """The user and group of the agent, which only answers and needs no rights."""
    try:
        found = pwd.getpwnam("tidegate")
    except KeyError:
        return 65534, 65534
    return found.pw_uid, found.pw_gid


def drop_root() -> None:
    """Become that user, for good; where a sandbox forbids it, stay: to answer matters more."""
    if os.geteuid() == 0:
        uid, gid = nobody()
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)


def offer(place: str) -> socket.socket:
    """The socket by which another can ask us, or take over; only we and root may."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = f"{place}.{os.getpid()}"
    control.bind(beside)
    os.chmod(beside, 0o600)
    control.listen(8)
    control.setblocking(False)
    os.replace(beside, place)
    return control
