"""For when the host is in distress: our processes are spared, and go first, so that they can act.

Touches this process: oom_score_adj, nice, I/O priority (ioprio_set(2)), locked memory. `restore`
(in a child) and `release` (of one) take it off: what we start must not be spared as we are.
Limits: needs root (or the capabilities); each step that is refused is one line, and no more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

SPARED = -900
NICE = -5
_BEST_EFFORT_FIRST = 2 << 13  # class 2 (best effort), level 0: linux/ioprio.h
_WHO_PROCESS = 1
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_MCL_ONFAULT = 4  # what is used; not what is only mapped, which is several times as much
_IOPRIO = {  # ioprio_set, ioprio_get
    "x86_64": (251, 252),
    "aarch64": (30, 31),
    "riscv64": (30, 31),
    "i686": (289, 290),
    "armv7l": (314, 315),
    "ppc64le": (273, 274),
    "s390x": (282, 283),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Rank(NamedTuple):
    """What the kernel thinks of a process: -1 in `io`: not known here; `locked`: bytes that it may
    lock, and raise that to (getrlimit(2); None: let be)."""

    oom: int
    nice: int
    io: int
    locked: tuple[int, int] | None = None


def rank() -> Rank:
    """That of this process."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        oom = int(file.read())
    return Rank(oom, os.getpriority(os.PRIO_PROCESS, 0), _ioprio(), _limit())


def _limit() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)


ORDINARY = Rank(0, 0, 0, _limit())
"""What any process has (and this one had): what services and commands are given back."""


def spare() -> list[str]:
    """Have this process, and what it forks from now on, spared and served first; and let it lock
    its memory (`lock`). What was refused, a line each. As root."""
    refused = []

    def attempt(what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            refused.append(f"{what}: {error.strerror}; under pressure we may be too late")

    attempt("not to be ended when memory is short", lambda: _oom(SPARED))
    attempt("a higher priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, NICE))
    attempt("a higher priority for the disk", lambda: _set_ioprio(_BEST_EFFORT_FIRST))
    attempt("memory that is never swapped out", _allow_locking)
    return refused


def lock(*, stays_root: bool = False) -> bool:
    """Have nothing that this process uses swapped out; whether the kernel does it. Not inherited.
    Before privileges are dropped, if they will be: else `stays_root`."""
    # Without CAP_IPC_LOCK every later allocation would fail at the limit; so there must be none.
    if not stays_root and _limit()[0] != resource.RLIM_INFINITY:
        return False
    return bool(_libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def restore(to: Rank = ORDINARY) -> None:
    """In a child, before it becomes something else: an ordinary process again. Raises OSError."""
    _oom(to.oom)
    os.setpriority(os.PRIO_PROCESS, 0, to.nice)
    if to.io >= 0 and _ioprio() != to.io:
        _set_ioprio(to.io)
    if to.locked is not None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, to.locked)


def release(pid: int, to: Rank = ORDINARY) -> None:
    """Make a child that has begun (execve(2)) an ordinary process: what runs for people is not
    spared as we are. Harmless where it has ended."""
    with suppress(OSError):
        _oom(to.oom, str(pid))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, to.nice)
    with suppress(OSError):
        _set_ioprio(max(0, to.io), pid)
    with suppress(OSError, ValueError):
        if to.locked is not None:
            resource.prlimit(pid, resource.RLIMIT_MEMLOCK, to.locked)


def _oom(score: int, who: str = "self") -> None:
    with open(f"/proc/{who}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def _ioprio() -> int:
    number = _IOPRIO.get(platform.machine())
    return -1 if number is None else int(_libc.syscall(number[1], _WHO_PROCESS, 0))


def _set_ioprio(value: int, pid: int = 0) -> None:
    number = _IOPRIO.get(platform.machine())
    if number is None:
        raise OSError(0, f"not known how on {platform.machine()}")
    _done(_libc.syscall(number[0], _WHO_PROCESS, pid, value))


def _allow_locking() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    except ValueError as error:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from error


def _done(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
