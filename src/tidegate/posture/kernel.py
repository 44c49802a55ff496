"""Mounting by system calls: a folder bound on itself with flags, flags added to a mount, detached.

Touches the mounts of the own namespace. Where the kernel can (5.12), a bind is given its flags
before it is attached, so that namespaces to which it is propagated get it with them. Limits: Linux,
root; flags of a mount in other namespaces are not changed (the kernel has no way).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection, Iterable

from tidegate.errors import WorldError

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_RECURSIVE = 0x100, 0x1000, 0x8000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture but alpha
_CLONE, _CLOEXEC, _FROM_EMPTY = 1, os.O_CLOEXEC, 4
_ATTRIBUTES = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}

_MS_REMOUNT, _MS_BIND, _MS_REC = 1 << 5, 1 << 12, 1 << 14
_MS = {
    "ro": 1,
    "nosuid": 1 << 1,
    "nodev": 1 << 2,
    "noexec": 1 << 3,
    "nosymfollow": 1 << 8,
    "noatime": 1 << 10,
    "nodiratime": 1 << 11,
    "relatime": 1 << 21,
}
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_OLD = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP)


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def bind(path: str, flags: Collection[str], options: Iterable[str]) -> None:
    """Bind a folder, and what is mounted below it, on itself with these flags; `options`: those of
    the mount it lies on. WorldError where the kernel refuses; nothing is mounted then."""
    if _bind_whole(path, flags):
        return
    _mount(path, path, _MS_BIND | _MS_REC, "bind")
    try:
        set_options(path, {*options, *flags})
    except WorldError:
        detach(path)
        raise


def set_options(path: str, options: Collection[str]) -> None:
    """Give the mount there exactly these options of its own; the file system's stay, and how it
    keeps times of access where none of these says so (strictatime)."""
    word = 0
    for option in options:
        word |= _MS.get(option, 0)
    _mount("none", path, _MS_REMOUNT | _MS_BIND | word, "remount,bind")


def detach(path: str) -> None:
    """Take the topmost mount there away, and what hangs below it; who has a file of it open keeps
    it (so it is never busy)."""
    if _LIBC.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW):
        raise _refused(f"umount {path}")


def _bind_whole(path: str, flags: Collection[str]) -> bool:
    """Whether this kernel could do it in one piece."""
    name = os.fsencode(path)
    how = _CLONE | _CLOEXEC | _AT_RECURSIVE | _AT_SYMLINK_NOFOLLOW
    tree = _LIBC.syscall(_OPEN_TREE, _AT_FDCWD, name, how)
    if tree < 0:
        if ctypes.get_errno() in _OLD:
            return False
        raise _refused(f"mount --bind {path}")
    try:
        word = sum(_ATTRIBUTES[one] for one in flags)
        wanted = _Attributes(set=word)
        size = ctypes.sizeof(wanted)
        if _LIBC.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), size):
            return False
        if _LIBC.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, name, _FROM_EMPTY):
            raise _refused(f"mount --bind {path}")
    finally:
        os.close(tree)
    return True


def _mount(source: str, path: str, word: int, what: str) -> None:
    if _LIBC.mount(os.fsencode(source), os.fsencode(path), None, ctypes.c_ulong(word), None):
        raise _refused(f"mount -o {what} {path}")


def _refused(what: str) -> WorldError:
    code = ctypes.get_errno()
    hint = "; run it as root" if code == errno.EPERM and os.geteuid() else ""
    return WorldError(f"{what}: {os.strerror(code)}{hint}")
