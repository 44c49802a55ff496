"""Bind a Unix socket where the right people can find it, and never steal one that is in use.

Touches the socket file: nobody but the owner can use it before its mode and groups are set.
Limits: a stale file is replaced; a living socket, or anything that is no socket, is refused.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from tidegate.errors import ControlError

# POSIX access list as an extended attribute: linux/posix_acl_xattr.h, acl(5).
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY_NAMED = 0xFFFFFFFF


def listen(path: str, mode: int = 0o660, groups: Iterable[str] = ()) -> socket.socket:
    """A listening socket at `path` that owner and `groups` may use, others as `mode` says.

    Groups that this host does not have are passed over. Where the file system keeps no access
    lists, everybody may connect (and is judged by credentials all the same). Raises ControlError.
    """
    _make_free(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # the mode that bind gives the file, before umask
        listening.bind(path)
        _let_in(path, mode, groups)
        listening.listen(64)
    except OSError as error:
        if listening.getsockname():
            Path(path).unlink(missing_ok=True)
        listening.close()
        raise ControlError(f"{path}: can't listen here: {error}") from error
    return listening


def _let_in(path: str, mode: int, groups: Iterable[str]) -> None:
    numbers = sorted(filter(None, map(_number, groups)))
    if numbers and not mode & 0o006:
        entries = [
            (_USER, mode >> 6 & 7, _NOBODY_NAMED),
            (_GROUP, mode >> 3 & 7, _NOBODY_NAMED),
            *((_NAMED_GROUP, 6, number) for number in numbers),
            (_MASK, 6, _NOBODY_NAMED),
            (_OTHER, 0, _NOBODY_NAMED),
        ]
        value = _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries)
        try:
            os.setxattr(path, "system.posix_acl_access", value)
        except OSError:
            mode |= 0o006
        else:
            return
    Path(path).chmod(mode)


def _number(group: str) -> int | None:
    with contextlib.suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    return None


def _make_free(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(f"{path}: can't listen here: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ControlError(f"{path}: not a socket, so not replaced; name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            Path(path).unlink(missing_ok=True)  # nobody listens: its process is gone
            return
        except OSError as error:
            raise ControlError(f"{path}: can't tell whether it is in use: {error}") from error
    raise ControlError(f"{path}: another daemon listens here already; stop it first")
