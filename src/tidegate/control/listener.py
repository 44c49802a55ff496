"""Bind a Unix socket where a person can find it, and never steal one that is in use.

Touches the socket file: nobody but the owner can use it before mode and group are set.
Limits: a stale file is replaced; a living socket, or anything that is no socket, is refused.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

from tidegate.errors import ControlError


def listen(path: str, mode: int = 0o660, group: str | None = None) -> socket.socket:
    """A listening socket at `path`, with this mode and group. Raises ControlError."""
    _make_free(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # the mode that bind gives the file, before umask
        listening.bind(path)
        if group is not None:
            shutil.chown(path, group=group)
        Path(path).chmod(mode)
        listening.listen(64)
    except (OSError, LookupError) as error:
        if listening.getsockname():
            Path(path).unlink(missing_ok=True)
        listening.close()
        raise ControlError(f"{path}: can't listen here: {error}") from error
    return listening


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
