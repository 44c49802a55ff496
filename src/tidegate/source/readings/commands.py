"""Commands that print: without a shell, rights or patience, ended with all they started.

Touches one process group for each. It runs as this process's own user, without its ambient
capabilities, with PATH and the C locale for an environment, and nothing to read.
Limits: a child that makes itself a session of its own outlives its parent, and all of them outlive
a SIGKILL of this process; what they print then goes nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

from tidegate import distress
from tidegate.errors import SourceError
from tidegate.text import printable

LARGEST = 64 << 10
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_KEPT = 4096  # of standard error
_libc = ctypes.CDLL(None, use_errno=True)
_running: set[int] = set()


class Flood(SourceError):  # noqa: N818 - said of the command
    """It prints too much; `began` is what it printed until then."""

    def __init__(self, message: str, began: bytes) -> None:
        super().__init__(message)
        self.began = began


def run(arguments: Sequence[str], seconds: float, largest: int = LARGEST) -> bytes:
    """What it prints. Raises SourceError (one line) where it can't be started, hangs, fails or
    prints more than `largest` bytes (`Flood`)."""
    # Of this thread only, and for good: children then have no capability, whatever we keep.
    _libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    name = printable(arguments[0])
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"{name} can't be started: {str(reason).lower()}") from error
    distress.release(process.pid)
    _running.add(process.pid)
    try:
        out, err = _listen(process, name, time.monotonic() + seconds, largest)
    except TimeoutError:
        raise SourceError(f"{name} did not end within {seconds:.3g} s; it was killed") from None
    finally:
        code = _end(process)
    if code:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        words = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
        said = f": {printable(words[-1].strip())[:160]}" if words else ""
        raise SourceError(f"{name} failed with {how}{said}")
    return out


def stop_all() -> None:
    """End every command that runs, because this process ends."""
    for pid in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _listen(
    process: subprocess.Popen[bytes], name: str, deadline: float, largest: int
) -> tuple[bytes, bytes]:
    """Everything it prints until it ends, whoever else still holds its output open."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.fileno(), process.stderr.fileno()
    heard = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for descriptor in heard:
        os.set_blocking(descriptor, False)
        poll.register(descriptor, select.POLLIN)
    open_ends = set(heard)
    over = False
    while not over:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        # Its end wakes us by the closing of its pipes; if a child holds them, by asking.
        poll.poll(min(left, 0.1) * 1000 if open_ends else 10)
        # Asked without reaping it: until `_end` the number of its group is nobody else's.
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        over = os.waitid(os.P_PID, process.pid, look) is not None
        for descriptor in tuple(open_ends):
            if not _drain(descriptor, heard[descriptor], largest):
                open_ends.discard(descriptor)
                poll.unregister(descriptor)
        del heard[err][:-_KEPT]
        if len(heard[out]) > largest:
            raise Flood(f"{name} prints more than {largest >> 10} KiB", bytes(heard[out][:largest]))
    return bytes(heard[out]), bytes(heard[err])


def _drain(descriptor: int, into: bytearray, largest: int) -> bool:
    """Take what is there, not much more than `largest`; False at its end."""
    try:
        while len(into) <= largest:
            part = os.read(descriptor, 1 << 16)
            if not part:
                return False
            into += part
    except BlockingIOError:
        pass
    return True


def _end(process: subprocess.Popen[bytes]) -> int:
    """End it and its group, give its pipes back; its exit code (negative: by a signal)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _running.discard(process.pid)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL  # it hangs in the kernel; reaped when that lets go
