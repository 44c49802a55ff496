"""A process made ahead of need: it waits for the words of a command and becomes it, without a fork.

Touches one child: its session (of its own), its output (a pipe to us), its rank (ordinary again).
Limits: one command each; the words have at most 128 KiB together.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from tidegate import distress

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
    "SHELL": "/bin/sh",
}
DIED = "it had died"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_BEGINS = "+"  # said before it becomes the command: an end without it is a death
_LARGEST = 128 << 10
_BEGINS_WITHIN = 5_000  # milliseconds


@dataclass(frozen=True)
class Spare:
    """One that stands ready: `control` takes the words, `pipe` brings what it will print."""

    pid: int
    control: int
    pipe: int

    def start(self, words: Sequence[str], ranked: bool) -> str:
        """Have it become this command; why it could not, or "". Its `pipe` stays open."""
        job = json.dumps([list(words), ranked]).encode()
        if len(job) > _LARGEST:
            job = b"null"
        try:
            os.write(self.control, job)
            said = self._heard()
            return self._heard() if said == _BEGINS else said or DIED
        except TimeoutError:
            return ""  # a host in distress: it goes on, and its exit code tells
        except OSError:
            return DIED
        finally:
            os.close(self.control)

    def _heard(self) -> str:
        """Its next word; "" once its end is closed: it has died, or become the command."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        if not poll.poll(_BEGINS_WITHIN):
            raise TimeoutError
        return os.read(self.control, 4096).decode(errors="replace")

    def dismiss(self) -> None:
        """It is not needed: it ends by itself when its control closes."""
        os.close(self.control)
        os.close(self.pipe)


def born(others: Sequence[int] = ()) -> Spare:
    """Make one. `others`: our descriptors that it must not keep. OSError where fork is refused."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        for descriptor in (reading, writing):
            os.close(descriptor)
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _stand_by(theirs, writing, [ours.fileno(), reading, *others])
    theirs.close()
    os.close(writing)
    os.set_blocking(reading, False)
    return Spare(pid, ours.detach(), reading)


def _stand_by(control: socket.socket, output: int, others: Sequence[int]) -> NoReturn:
    """In the child: wait, then become the command. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Who would hear of its end, and undo what it did, is gone with its parent: a script that
        # goes on then would close for good what the next of us has found open.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for descriptor in others:
            with suppress(OSError):
                os.close(descriptor)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, output), (2, output)):
            os.dup2(source, target)
        os.chdir("/")
        os.umask(0o022)
        job = control.recv(_LARGEST)
        if job:
            _become(control, json.loads(job))
    finally:
        os._exit(127)


def _become(control: socket.socket, job: object) -> None:
    if not isinstance(job, list):
        control.send(b"its words are too long")
        return
    words, ranked = job
    if not ranked:
        with suppress(OSError, ValueError):  # better done with our rank than not at all
            distress.restore()
    try:
        control.send(_BEGINS.encode())
        os.execvpe(words[0], words, ENVIRONMENT)  # noqa: S606 - no shell is the point
    except OSError as error:
        control.send(f"it can't be started: {error.strerror}".encode())
    except (ValueError, IndexError) as error:
        control.send(f"it can't be started: {error}".encode())
