"""Opening what a path names as a log, and saying like a colleague why that did not work.

Touches the file system, read only. A FIFO, device or directory is refused unopened; a symbolic link
counts only if root or the target's owner made it. Limits: a hung network file system still hangs.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from tidegate.errors import SourceError

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def open_log(path: str, what: str = "a log") -> tuple[int, os.stat_result]:
    """Open a regular file for reading; the descriptor and what it is. `what` names it if refused.

    Raises SourceError with the whole story in one line. Checked on the open descriptor, so that
    nobody can swap the file between the check and the use.
    """
    try:
        _refuse_odd(path, os.stat(path), what)
        descriptor = os.open(path, FLAGS)
    except OSError as error:
        raise SourceError(explain(path, error)) from error
    try:
        status = os.fstat(descriptor)
        _refuse_odd(path, status, what)
        _refuse_foreign_links(path, status)
    except OSError as error:
        os.close(descriptor)
        raise SourceError(explain(path, error)) from error
    except SourceError:
        os.close(descriptor)
        raise
    return descriptor, status


def _refuse_odd(path: str, status: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise SourceError(f"{path}: is {kind}; {what} must be a regular file")


def _refuse_foreign_links(path: str, target: os.stat_result) -> None:
    """Every link on the way must be root's or the target owner's, as proc(5) protected_symlinks."""
    last = Path(path).absolute()
    for place in (last, *last.parents):
        link = os.lstat(place)
        if stat.S_ISLNK(link.st_mode):
            goal = target if place == last else os.stat(place)
            if link.st_uid not in (0, goal.st_uid):
                raise SourceError(
                    f"{path}: the symbolic link {place} belongs to {user_name(link.st_uid)}, its "
                    f"target to {user_name(goal.st_uid)}; only root or the target's owner may link"
                )


def explain(path: str, error: OSError) -> str:
    """One line on why `path` could not be opened, with the command that would help."""
    if error.errno == errno.ENOENT:
        return f"{path}: does not exist"
    if error.errno in (errno.EACCES, errno.EPERM):
        return _explain_permission(path)
    return f"{path}: {error.strerror or error}"


def _explain_permission(path: str) -> str:
    """Name the first thing in the way, its owner and mode, and what would open it."""
    me = my_name()
    for directory in reversed(Path(path).absolute().parents):
        if not os.access(directory, os.X_OK, effective_ids=True):
            place = str(directory)
            way = f"{path}: {me} may not enter {_describe(place)}; "
            return way + _remedy(place, me, stat.S_IXGRP, "x")
    return f"{path}: {me} may not read {_describe(path)}; " + _remedy(path, me, stat.S_IRGRP, "r")


def _describe(place: str) -> str:
    try:
        status = os.stat(place)
    except OSError:
        return place
    owner, group = user_name(status.st_uid), group_name(status.st_gid)
    return f"{place} ({owner}:{group}, mode {stat.S_IMODE(status.st_mode):04o})"


def _remedy(place: str, me: str, wanted: int, letter: str) -> str:
    """Membership where the group may already do it, else an access list."""
    access_list = f"setfacl -m u:{me}:{letter} {place}"
    try:
        status = os.stat(place)
    except OSError:
        return f"try `{access_list}`"
    # Root's group is never offered: it would open far more than one log.
    if status.st_mode & wanted and status.st_gid != 0:
        return f"`usermod -aG {group_name(status.st_gid)} {me}` and a restart, or `{access_list}`"
    return f"try `{access_list}`" + (
        " (and again after each rotation: put it into logrotate's postrotate)"
        if letter == "r"
        else ""
    )


def my_name() -> str:
    """Who we are, for commands that would help us."""
    return user_name(os.geteuid())


def user_name(uid: int) -> str:
    """The login name, or `uid N` where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """The group's name, or its number where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
