"""The master: starts the keepers, the sampler and the watcher, each with only the rights it needs.

Touches processes, /run/tidegate and the state folder; reads no log, no policy and no message. It
stays root because no child could become another's user. Limits: they share their fate: if one dies
the others are ended, and all start anew on fresh sockets; bans stand in the kernel meanwhile.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from tidegate.daemon.notify import notify
from tidegate.errors import TidegateError

log = logging.getLogger("tidegate.master")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
SILENT_AFTER = 60.0  # a watcher that says nothing for so long hangs
STEADY_AFTER = 60.0  # a pair that lived so long starts again without a pause
STOP_WITHIN = 10.0
SHOWN_AFTER = 0.1  # a process that has closed its files is seen to have ended
TRIES = 3  # that somebody who can be spared dies young, one after the other

Alive = Callable[[bytes], None]
Child = Callable[[socket.socket], None]
"""What a child of the watcher's does: gets its end of the socket between the two."""
Watch = Callable[[Mapping[str, socket.socket], Alive], None]
"""What the watcher does: gets its end of each socket, by role, and a way to say it is alive."""

WATCHER = "watcher"


class Master:
    """Supervises the watcher and those that work for it (`children`, by role). `spare`: those that
    the others can do without, should they not live."""

    def __init__(
        self, children: Mapping[str, Child], watcher: Watch, spare: Collection[str] = ()
    ) -> None:
        self._children = dict(children)
        self._spare = frozenset(spare)
        self._deaths: Counter[str] = Counter()
        self._ended: list[tuple[str, int]] = []  # who ended by itself in this life of all, and how
        self._watcher = watcher
        self._pids: dict[int, str] = {}
        self._alive_fd = -1
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._reload = False
        self._ready = self._ever_ready = False
        self._codes: set[int] = set()
        self._heard = 0.0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        pause = FIRST_PAUSE
        while not self._stopping:
            started = time.monotonic()
            if self._start():
                self._watch()
            self._end()
            if self._stopping:
                break
            self._do_without(time.monotonic() - started)
            if not self._ever_ready and self._codes & {2, 3}:
                return max(self._codes)  # it can't work like this; say so to whoever started us
            pause = FIRST_PAUSE if time.monotonic() - started > STEADY_AFTER else pause * 2
            pause = min(pause, LONGEST_PAUSE)
            log.error("starting all again in %.1f s; bans stand in the kernel", pause)
            select.select([self._wake_read], [], [], pause)
            self._drain(self._wake_read)
        return 0

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        elif number != signal.SIGCHLD:
            self._stopping = True

    def _start(self) -> bool:
        """All of them, anew; False where the host has no room for another process."""
        pairs = {role: socket.socketpair() for role in self._children}
        self._alive_fd, alive_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ready, self._heard = False, time.monotonic()
        try:
            for role in (*self._children, WATCHER):
                pid = os.fork()
                if pid == 0:
                    self._child(role, pairs, alive_write)
                self._pids[pid] = role
        except OSError as error:
            log.error("no process can be made for the %s: %s", role, error.strerror)
            return False
        finally:
            for pair in pairs.values():
                for end in pair:
                    end.close()
            os.close(alive_write)
        return True

    def _child(
        self, role: str, pairs: Mapping[str, tuple[socket.socket, socket.socket]], alive_write: int
    ) -> None:
        """In the forked child: never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for fd in (self._alive_fd, self._wake_read, self._wake_write):
                os.close(fd)
            # Each holds only its own end, so that whoever dies is noticed by the other side.
            for name, (child, watcher) in pairs.items():
                if role != WATCHER:
                    watcher.close()
                if role != name:
                    child.close()

            def alive(word: bytes) -> None:
                with suppress(BlockingIOError, BrokenPipeError):
                    os.write(alive_write, word)

            if role == WATCHER:
                self._watcher({name: pair[1] for name, pair in pairs.items()}, alive)
            else:
                os.close(alive_write)
                self._children[role](pairs[role][0])
            code = 0
        except KeyboardInterrupt:
            code = 0
        except TidegateError as error:
            log.error("%s: %s", role, error)
            code = error.exit_code
        except Exception:  # the outermost loop: the master starts us again
            log.exception("%s: unexpected error", role)
        finally:
            logging.shutdown()
            sys.stderr.flush()
            os._exit(code)

    def _watch(self) -> None:
        """Until a child dies, hangs, or we are told to stop."""
        while not self._stopping:
            select.select([self._wake_read, self._alive_fd], [], [], 1.0)
            self._drain(self._wake_read)
            if self._reload and self._ready:  # before that a child would die of the signal
                self._reload = False
                self._signal(signal.SIGHUP)
            words = self._drain(self._alive_fd)
            if words:
                self._heard = time.monotonic()
                if not self._ready and b"R" in words:
                    self._ready = self._ever_ready = True
                    notify("READY=1")
                notify("WATCHDOG=1")
            if self._reap(os.WNOHANG, self._ended):
                # Who reacts to a death may end before the kernel shows the dead: look again.
                time.sleep(SHOWN_AFTER)
                self._reap(os.WNOHANG, self._ended)
                return
            if time.monotonic() - self._heard > SILENT_AFTER:
                log.error("the watcher has said nothing for %.0f s; it is ended", SILENT_AFTER)
                self._signal(signal.SIGKILL)
                self._heard = time.monotonic()

    def _do_without(self, lasted: float) -> None:
        """Leave out who can be spared and does not live, so that the others are left in peace."""
        for role, code in self._ended:
            if role not in self._spare or not code:
                continue
            self._deaths[role] = 1 + (self._deaths[role] if lasted < STEADY_AFTER else 0)
            if self._deaths[role] >= TRIES or code in (2, 3):  # it said itself that it can't
                del self._children[role]
                log.error("going on without the %s: mend what it said, then restart tidegate", role)
        self._ended.clear()

    def _reap(self, flags: int, ended: list[tuple[str, int]] | None = None) -> bool:
        """Collect children that ended; whether there were any."""
        found = False
        for pid in list(self._pids):
            try:
                done, status = os.waitpid(pid, flags)
            except ChildProcessError:
                done, status = pid, 0
            if done:
                role = self._pids.pop(pid)
                found = True
                code = os.waitstatus_to_exitcode(status)
                if role not in self._spare:
                    self._codes.add(code)
                if ended is not None:
                    ended.append((role, code))
                if not self._stopping:
                    log.error("the %s ended: %s", role, _why(status))
        return found

    def _end(self) -> None:
        if self._stopping:
            notify("STOPPING=1")
        # The watcher first: it saves its counts, and needs nobody for that.
        self._signal(signal.SIGTERM, WATCHER)
        deadline = time.monotonic() + STOP_WITHIN
        while WATCHER in self._pids.values() and time.monotonic() < deadline:
            if not self._reap(os.WNOHANG):
                select.select([self._wake_read], [], [], 0.1)
                self._drain(self._wake_read)
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN
        while self._pids and time.monotonic() < deadline:
            if not self._reap(os.WNOHANG):
                select.select([self._wake_read], [], [], 0.1)
                self._drain(self._wake_read)
        self._signal(signal.SIGKILL)
        self._reap(0)
        os.close(self._alive_fd)

    def _signal(self, number: int, role: str | None = None) -> None:
        for pid, name in self._pids.items():
            if role is None or name == role:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    @staticmethod
    def _drain(fd: int) -> bytes:
        try:
            return os.read(fd, 4096)
        except BlockingIOError:
            return b""


def _why(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
