"""Being told by the kernel (inotify) that a file was written or a directory's entries changed.

Touches one inotify descriptor. Without inotify (limits, no /proc) it tells nothing, and the
caller's look once a second does alone. Limits: not for network file systems, which tell nobody.
"""

from __future__ import annotations

import ctypes
import errno

import inotify_simple  # type: ignore[import-untyped]
from inotify_simple import INotify, flags

_ENTRIES = (
    flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ATTRIB | flags.ONLYDIR
)
_SCARCE = (errno.ENOSPC, errno.ENOMEM)
_GONE = flags.DELETE_SELF | flags.MOVE_SELF


class Watch:
    """Which descriptors were written to, and which names changed in the watched directories."""

    def __init__(self) -> None:
        self.problem = ""
        self._files: dict[int, int] = {}  # watch → file descriptor
        self._directories: dict[str, int] = {}
        self._notify: INotify | None = None
        # Left alone, inotify_simple runs ldconfig to find the C library that is loaded already.
        inotify_simple._libc = inotify_simple._libc or ctypes.CDLL(None, use_errno=True)
        try:
            self._notify = INotify(nonblocking=True)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.problem = f"inotify: {error.strerror or error}; looking once a second instead"

    def fds(self) -> list[int]:
        """The inotify descriptor, if there is one."""
        return [self._notify.fileno()] if self._notify else []

    def file(self, descriptor: int) -> None:
        """Tell of writes to this open file, whatever its name is or will be."""
        if self._notify is None:
            return
        try:
            watch = self._notify.add_watch(f"/proc/self/fd/{descriptor}", flags.MODIFY)
        except OSError as error:
            self._fail(error)
            return
        self._files[watch] = descriptor

    def forget(self, descriptor: int) -> None:
        """Tell no more of this file; to be called before it is closed."""
        for watch, known in list(self._files.items()):
            if known == descriptor:
                del self._files[watch]
                if self._notify:
                    try:
                        self._notify.rm_watch(watch)
                    except OSError:
                        continue  # the file is gone, and its watch with it

    def directory(self, path: str) -> None:
        """Tell of names that come and go in this directory; nothing if it is known or missing."""
        if self._notify is None or path in self._directories:
            return
        try:
            self._directories[path] = self._notify.add_watch(path, _ENTRIES | _GONE)
        except OSError as error:
            if error.errno in _SCARCE:  # else it is missing or closed to us; the look tells that
                self._fail(error)

    def read(self) -> tuple[set[int], set[str]]:
        """Descriptors written to and names that came or went since the last call.

        The name "" stands for any: events were lost, or a directory itself went.
        """
        if self._notify is None:
            return set(), set()
        written: set[int] = set()
        names: set[str] = set()
        for event in self._notify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                return set(self._files.values()), {""}
            if event.wd in self._files:
                written.add(self._files[event.wd])
                if event.mask & flags.IGNORED:
                    del self._files[event.wd]
                continue
            names.add(event.name)
            if event.mask & (flags.IGNORED | _GONE):
                self._directories = {
                    path: watch for path, watch in self._directories.items() if watch != event.wd
                }
        return written, names

    def close(self) -> None:
        """Give the inotify descriptor back."""
        if self._notify:
            self._notify.close()
            self._notify = None
