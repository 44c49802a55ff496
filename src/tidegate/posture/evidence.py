"""What a suspect process is and runs, kept before anything touches it: facts, and its executable.

Touches /proc/PID, only to read, and one folder of root's: `NAME.json` for each process, and
`SHA256.bin`, the executable read through /proc/PID/exe (so deleted and memfd ones too), 0400: no
execute right. Limits: nothing kept is ever thrown away for room; what no longer fits is refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate.errors import WorldError
from tidegate.posture.processes import LARGEST, Process, process
from tidegate.posture.record import sync, write_whole
from tidegate.posture.sockets import sockets
from tidegate.text import well_formed

VERSION = 1


@dataclass(frozen=True)
class Bounds:
    """What may be kept: processes, bytes of one executable and of all, of the text of one process;
    `spare`: what stays free on the disk."""

    records: int = 500
    copy: int = 64 << 20
    copies: int = 512 << 20
    text: int = 256 << 10
    spare: int = 256 << 20


@dataclass(frozen=True)
class Kept:
    """What was kept of a process: the file that says it, the hash, and "" or why there is no copy
    of the executable."""

    record: Path
    hash: str
    copy: str = ""


class Evidence:
    """The folder. Made where it is not there; WorldError where it is not root's alone."""

    def __init__(self, folder: Path, proc: Path = Path("/proc"), bounds: Bounds = Bounds()) -> None:
        self.folder = folder
        self._proc = proc
        self._bounds = bounds

    def keep(self, pid: int, now: datetime | None = None) -> Kept:
        """Keep what there is to know of that process; said again of the same one, nothing more.

        WorldError where it is gone, or where nothing can be kept: then it should not be touched.
        """
        self._make()
        one = process(self._proc, pid)
        if one is None:
            raise WorldError(f"process {pid} is gone, or not ours to see")
        path = self.folder / f"{pid}-{one.began}.json"
        if path.exists():
            with suppress(OSError, ValueError, KeyError):
                said = json.loads(path.read_bytes())
                return Kept(path, str(said["sha256"]), str(said["copy"]))
        if len(list(self.folder.glob("*.json"))) >= self._bounds.records:
            raise WorldError(
                f"{self.folder} holds {self._bounds.records} processes, and no more:"
                " move away what you have looked at"
            )
        facts = self._facts(one, (now or datetime.now(UTC)).isoformat(timespec="microseconds"))
        hashed, why = self._copy(pid)
        again = process(self._proc, pid)
        if again is None or again.began != one.began:
            raise WorldError(f"process {pid} ended while it was looked at")
        facts |= {"sha256": hashed, "copy": why}
        data = json.dumps(facts, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
        try:
            write_whole(path, data + b"\n", 0o400)
        except OSError as error:
            raise WorldError(f"{path}: {error.strerror}; the evidence can't be kept") from error
        return Kept(path, hashed, why)

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
        except OSError as error:
            raise WorldError(f"{self.folder}: {error.strerror}; no evidence is kept") from error
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise WorldError(f"{self.folder} must be root's alone: chmod 0700 {self.folder}")

    def _facts(self, one: Process, now: str) -> dict[str, Any]:
        folder = self._proc / str(one.pid)
        facts: dict[str, Any] = {
            "v": VERSION,
            "time": now,
            "pid": one.pid,
            "uid": one.uid,
            "began": one.began,
            "name": well_formed(one.name),
            "executable": well_formed(one.executable),
            "deleted": one.deleted,
            "command": [well_formed(word) for word in one.command],
            "folder": well_formed(one.folder),
            "status": self._text(folder / "status"),
            "cgroup": self._text(folder / "cgroup"),
            "maps": self._text(folder / "maps"),
            "sockets": [found.plain() for found in sockets(folder)],
        }
        with suppress(OSError):
            found = os.stat(folder / "exe")
            facts["file"] = {
                "uid": found.st_uid, "gid": found.st_gid, "mode": oct(found.st_mode & 0o7777),
                "bytes": found.st_size, "inode": found.st_ino,
                "changed": datetime.fromtimestamp(found.st_mtime, UTC).isoformat(),
            }  # fmt: skip
        return facts

    def _text(self, path: Path) -> str:
        """The beginning of that text."""
        try:
            with open(path, "rb") as file:
                return file.read(self._bounds.text).decode("utf-8", "backslashreplace")
        except OSError as error:
            return f"({error.strerror})"

    def _copy(self, pid: int) -> tuple[str, str]:
        """The executable's hash, and "" or why it was not copied."""
        try:
            with open(self._proc / str(pid) / "exe", "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGEST:
                    return "", f"has {size} bytes, more than are read"
                hashed = _digest(file.fileno())
                if (self.folder / f"{hashed}.bin").exists():
                    return hashed, ""
                if why := self._no_room(size):
                    return hashed, why
                hashed = self._written(file.fileno())
        except OSError as error:
            return "", f"can't be copied: {error.strerror}"
        return hashed, ""

    def _written(self, descriptor: int) -> str:
        """A copy without execute right, whole and on disk, or none; the hash of what was copied."""
        new = self.folder / ".new.bin"
        with suppress(FileNotFoundError):
            new.unlink()
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = hashlib.sha256()
        try:
            with os.fdopen(os.open(new, how, 0o400), "wb") as file:
                for block in _blocks(descriptor):
                    made.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            new.rename(self.folder / f"{made.hexdigest()}.bin")
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
        sync(self.folder)
        return made.hexdigest()

    def _no_room(self, size: int) -> str:
        if size > self._bounds.copy:
            return f"has {size} bytes, more than are copied"
        kept = sum(one.stat().st_size for one in self.folder.glob("*.bin"))
        if kept + size > self._bounds.copies:
            return f"{self.folder} is full: move away what you have looked at"
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < self._bounds.spare + size:
            return "the disk is too full for a copy"
        return ""


def _digest(descriptor: int) -> str:
    made = hashlib.sha256()
    for block in _blocks(descriptor):
        made.update(block)
    return made.hexdigest()


def _blocks(descriptor: int) -> Iterator[bytes]:
    """All of a file; not for ever, where somebody makes it grow meanwhile."""
    at = 0
    while block := os.pread(descriptor, 1 << 20, at):
        at += len(block)
        if at > LARGEST:
            raise OSError(errno.EFBIG, "it grows while it is read")
        yield block
