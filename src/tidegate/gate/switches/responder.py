"""A tiny process that answers HAProxy's agent-check, and opens by itself when nobody renews.

Touches a state file (which `lease` writes), a TCP address or none, and keepalived's track files. It
outlives the daemon, since a dead agent leaves its last word standing in HAProxy, and ends when
nobody needs it any more. Limits: imports little, since it is one more process.

Usage: python -m tidegate.gate.switches.responder
       --state FILE [--listen HOST:PORT] [--linger SECONDS] [--detach yes]
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import signal
import socket
import sys

from tidegate.gate.switches import handover
from tidegate.gate.switches.answers import (
    ENOUGH_SECONDS,
    LARGEST,
    Debts,
    Track,
    answer,
    boot_seconds,
    read,
)
from tidegate.gate.switches.handover import TALK_SECONDS

VERSION = b"1"
REFUSED = 3
"""Exit code where the address, or the folder, is not to be had."""
TALKING = 64
"""Connections at a time; what is over goes, the oldest first."""
TICK = 1.0
LINGER = 900.0
GIVE_UP = 86400.0
FAREWELL = 10.0


class Responder:
    """Answers until it is no longer needed."""

    def __init__(self, path: str, listener: socket.socket | None, linger: float) -> None:
        self._listener, self._linger = listener, linger
        self._name = os.path.basename(path)
        self._folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        self._tracks: list[Track] = []
        self._text: str | None = None  # that the tracks are from
        self._talking: dict[int, tuple[socket.socket, float]] = {}
        self._open_since = boot_seconds()
        self._leaving = 0.0
        self._closed = False
        self._noted = self._size() > 0  # whether the state file says that anything was closed
        self.debts = Debts(self._noted)

    def leave(self, *_signal: object) -> None:
        """Say `ready` to whoever was told otherwise, then end; at most FAREWELL seconds."""
        self._leaving = self._leaving or boot_seconds() + FAREWELL

    def weight(self) -> int:
        """What the state file says now; 100 where it is stale, gone, or no state at all."""
        now, weight = boot_seconds(), 100
        try:
            text = self._read()
            state = read(text)
        except (OSError, ValueError):
            self._reset(GIVE_UP + now)
        else:
            if text != self._text:
                self._text, self._tracks = text, list(state.tracks)
            self._reset(now)
            weight = state.weight(now)
        self._closed = not self._leaving and (weight < 100 or any(self._tracks))
        if self._closed:
            self._noted, self._open_since = True, now
            return weight
        return 100

    def _read(self) -> str:
        descriptor = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            return os.read(descriptor, LARGEST).decode()
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        try:
            return os.stat(self._name, dir_fd=self._folder).st_size
        except OSError:
            return 0

    def _reset(self, now: float) -> None:
        """Track files that still hold our number at their end get back what they held."""
        for track in list(self._tracks):
            if now < track.until and not self._leaving:
                continue
            try:
                with open(track.path, "rb") as file:
                    found = file.read(64).strip()
                if found == b"%d" % track.value:
                    replace(track.path, b"%d\n" % track.back)
            except FileNotFoundError:
                pass
            except OSError:
                continue  # again at the next tick
            self._tracks.remove(track)

    def done(self) -> bool:
        """Whether nobody needs it any more."""
        if self._closed:
            return False
        now = boot_seconds()
        if self._leaving:
            return now > self._leaving or not (self._tracks or self.debts.untold())
        owed = self._owed(now) or bool(self._tracks)
        longest = GIVE_UP if owed else self._linger
        if os.fstat(self._folder).st_nlink == 0:  # removed, with all that is ours
            longest = min(self._linger or ENOUGH_SECONDS, ENOUGH_SECONDS)
        return bool(longest) and now - self._open_since > longest

    def _owed(self, now: float) -> bool:
        """Whether a balancer may still think less of us; once none does, the state file is emptied,
        so that who comes after us owes nothing."""
        if self._listener is None or not self._noted:
            return False
        if not self.debts.paid(now):
            return True
        try:
            flags = os.O_RDWR | os.O_CLOEXEC
            descriptor = os.open(self._name, flags, dir_fd=self._folder)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb+") as file:
            try:
                fresh = read(file.read(LARGEST).decode()).weight(now) < 100
            except ValueError:
                fresh = False
            if not fresh:
                file.truncate(0)
                self._noted = False
        return False

    def serve(self, control: socket.socket) -> bool:
        """Answer until `done`, or until another takes over (True)."""
        poll = select.poll()
        poll.register(control, select.POLLIN)
        if self._listener is not None:
            self._listener.setblocking(False)
            poll.register(self._listener, select.POLLIN)
        while True:
            self.weight()  # for the track files, and to know since when all is open
            if self.done():
                return False
            for descriptor, _event in poll.poll(TICK * 1000):
                if self._listener is not None and descriptor == self._listener.fileno():
                    self._accept(poll)
                elif descriptor in self._talking:
                    self._end(descriptor, poll)
                elif descriptor == control.fileno() and self._hand_over(control):
                    return True
            self._forget(poll)

    def _accept(self, poll: select.poll) -> None:
        assert self._listener is not None
        try:
            talk, peer = self._listener.accept()
        except OSError:
            return
        talk.setblocking(False)
        weight, name = self.weight(), str(peer[0])
        if weight < 100:
            self.debts.restricted(name)
            line = answer(weight, owed=True)
        else:
            line = answer(100, owed=self.debts.readied(name, boot_seconds()))
        try:
            talk.send(line)
            talk.shutdown(socket.SHUT_WR)
        except OSError:
            talk.close()
            return
        # Closed by us while something that was sent to us lies unread, it would be reset, and the
        # answer be lost: so the other side ends it.
        self._talking[talk.fileno()] = (talk, boot_seconds() + TALK_SECONDS)
        poll.register(talk, select.POLLIN)
        if len(self._talking) > TALKING:
            self._drop(next(iter(self._talking)), poll)

    def _end(self, descriptor: int, poll: select.poll) -> None:
        talk, _until = self._talking[descriptor]
        try:
            if talk.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(descriptor, poll)

    def _forget(self, poll: select.poll) -> None:
        now = boot_seconds()
        for descriptor in [one for one, (_t, until) in self._talking.items() if now > until]:
            self._drop(descriptor, poll)

    def _drop(self, descriptor: int, poll: select.poll) -> None:
        poll.unregister(descriptor)
        self._talking.pop(descriptor)[0].close()

    def _hand_over(self, control: socket.socket) -> bool:
        """Say who we are (`?`), or give the listening socket away (`!`); whether that was done."""
        try:
            asking, _ = control.accept()
        except OSError:
            return False
        with asking:
            asking.settimeout(TALK_SECONDS)
            try:
                if asking.recv(1) != b"!":
                    told = (VERSION, self.debts.untold(), len(self.debts))
                    asking.sendall(b"%s %d %d\n" % told)
                    return False
                given = [] if self._listener is None else [self._listener.fileno()]
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given).tobytes())
                asking.sendmsg([VERSION], [rights] if given else [])
                return asking.recv(1) == b"+"
            except OSError:
                return False


def replace(path: str, data: bytes) -> None:
    """Put a whole file in the place of another; inotify tells who watches the folder."""
    new = f"{path}.tidegate"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    flags = (
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    )  # a link that stands there is not followed
    with os.fdopen(os.open(new, flags, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
    os.replace(new, path)


def run(path: str, address: str, linger: float, detached: bool) -> int:
    """Take over from one that runs, or begin; serve; 0, or REFUSED."""
    path = os.path.abspath(path)
    waited = handover.detach() if detached else -1
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        # By its folder's descriptor, since the path of a socket has at most 107 bytes.
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
        name = f"{os.path.basename(path)}.sock"
        place = f"/proc/self/fd/{folder}/{name}"
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time may begin; held while beginning only
        killed, listener = handover.take_over(place)
        if listener is None and address:
            listener = handover.listen(address, TALK_SECONDS if killed else 0.0)
        control = handover.offer(place)
    except (OSError, ValueError) as error:
        print(f"{address or path}: {error}", file=sys.stderr)
        return REFUSED
    mine = os.stat(place).st_ino
    responder = Responder(path, listener, linger)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, responder.leave)
    os.close(lock)
    if waited >= 0:
        handover.settle(waited)
    if listener is not None:
        handover.drop_root()
    if not responder.serve(control):
        with contextlib.suppress(OSError):  # a name that leads nowhere does no harm
            if os.stat(name, dir_fd=folder).st_ino == mine:
                os.unlink(name, dir_fd=folder)
    return 0


def main(words: list[str]) -> int:
    """The command; 2 where it was called wrongly."""
    given = dict(zip(words[::2], words[1::2], strict=False))
    known = {"--state", "--listen", "--linger", "--detach"}
    if len(words) % 2 or given.keys() - known or "--state" not in given:
        print((__doc__ or "").partition("\n\nUsage: ")[2], file=sys.stderr)
        return 2
    linger = float(given.get("--linger", LINGER))
    return run(given["--state"], given.get("--listen", ""), linger, "--detach" in given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
