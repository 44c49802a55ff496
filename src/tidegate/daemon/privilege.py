"""Giving privilege up for good: user, groups, capabilities, and no way back.

Touches this process only, through libc (capabilities(7), prctl(2)). Call it once, as root, before
anything hostile is read. Limits: Linux; a kernel that refuses any step raises OSError.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import resource
import signal
from typing import NamedTuple

from tidegate.errors import WorldError

CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_SYS_PTRACE = 19
_LAST_CAP = 63
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 8, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class Identity(NamedTuple):
    """A user to become: `groups` are the supplementary group ids."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def identity(user: str, groups: tuple[str, ...] = ()) -> Identity:
    """The identity of a system user; missing groups are left out. Raises WorldError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise WorldError(
            f"the system user {user} is missing; run as root:"
            f" useradd --system --no-create-home --shell /usr/sbin/nologin {user}"
        ) from None
    found = []
    for group in groups:
        try:
            found.append(grp.getgrnam(group).gr_gid)
        except KeyError:
            continue
    return Identity(user, entry.pw_uid, entry.pw_gid, tuple(found))


def had(*capabilities: int) -> tuple[int, ...]:
    """Those of them that this process may use at all: a container may have taken some away."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        held = next((line.split()[1] for line in file if line.startswith("CapPrm:")), "0")
    return tuple(one for one in capabilities if int(held, 16) >> one & 1)


def drop(to: Identity, keep: tuple[int, ...] = ()) -> None:
    """Become `to`, keeping only these capabilities (ambient too, so that children have them).

    Afterwards: no new privileges, an empty bounding set but for `keep`, no core files, and the
    kernel ends this process when its parent dies.
    """
    for capability in range(_LAST_CAP + 1):
        if capability not in keep:
            try:
                _prctl(_PR_CAPBSET_DROP, capability)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # above the last one this kernel knows
                raise
    if keep:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups(to.groups)
    os.setresgid(to.gid, to.gid, to.gid)
    os.setresuid(to.uid, to.uid, to.uid)
    _set_capabilities(sum(1 << capability for capability in keep))
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in keep:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process with its parent; after `drop`, which forgets it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    if _libc.prctl(option, first, second, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def _set_capabilities(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # effective, permitted, inheritable; then the same for the upper 32 (capget(2))
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


def become_nobody() -> None:
    """As root: become `nobody`, before hostile text is read; otherwise nothing."""
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError as error:
            raise WorldError("the system user nobody is missing") from error
        drop(Identity("nobody", entry.pw_uid, entry.pw_gid, ()))
