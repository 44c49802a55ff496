"""What was changed, on disk before it is changed: enough to undo it whenever we are killed.

Touches one folder of root's: `posture.json`, and beside it `fstab.before` for people, both 0600,
written whole, synced and renamed. Limits: one posture at a time; the next needs an undo first.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import WorldError
from tidegate.posture.host import FLAGS
from tidegate.posture.plan import FileStep, MountStep, Plan

Stage = Literal["applying", "applied", "undoing"]
NAME = "posture.json"
VERSION = 1


@dataclass(frozen=True)
class Record:
    """A plan that was begun, when (RFC 3339), and how far it came."""

    plan: Plan
    stage: Stage
    time: str

    def at(self, stage: Stage) -> Record:
        """The same at another stage."""
        return replace(self, stage=stage)


class Records:
    """The folder. Made where it is not there; WorldError where it is not root's alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME

    def read(self) -> Record | None:
        """What is recorded; None where nothing is. WorldError where it can't be understood."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = "; run it as root" if os.geteuid() else ""
            raise WorldError(f"{self.path}: {error.strerror}{hint}") from error
        try:
            return _decode(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WorldError(
                f"{self.path} can't be understood ({error}); nothing was changed. The fstab from"
                f" before is {self.folder}/fstab.before: put it back by hand, umount, remove both"
            ) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works with this folder meanwhile."""
        self._make()
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WorldError(f"{self.folder}/lock: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise WorldError("another tidegate harden is at work; try again later") from error
        finally:
            os.close(lock)

    def write(self, record: Record) -> None:
        """Put it on disk, to stay."""
        for one in record.plan.files[:1]:
            if one.before is not None and record.stage == "applying":
                self._put("fstab.before", one.before)
        named = {
            "version": VERSION,
            "stage": record.stage,
            "time": record.time,
            "files": [one.plain() for one in record.plan.files],
            "mounts": [one.plain() for one in record.plan.mounts],
        }
        self._put(NAME, json.dumps(named, indent=1).encode() + b"\n")

    def remove(self) -> None:
        """Nothing is to be undone any more; twice is harmless."""
        try:
            # The record last: killed before, there is only more to do again.
            for name in ("fstab.before", ".fstab.before.tidegate", f".{NAME}.tidegate", NAME):
                with suppress(FileNotFoundError):
                    os.unlink(self.folder / name)
            sync(self.folder)
        except OSError as error:
            raise WorldError(f"{self.path}: {error.strerror}") from error

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
        except OSError as error:
            raise WorldError(
                f"{self.folder}: {error.strerror}; nothing is changed that can't be recorded"
            ) from error
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise WorldError(
                f"{self.folder} must be root's alone: chown root {self.folder};"
                f" chmod 0700 {self.folder}"
            )

    def _put(self, name: str, data: bytes) -> None:
        try:
            write_whole(self.folder / name, data, 0o600)
        except OSError as error:
            raise WorldError(
                f"{self.folder / name}: {error.strerror}; nothing is changed that can't be recorded"
            ) from error


def write_whole(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """A file with these bytes in the place of what was there: all of them or none, and to stay."""
    new = path.with_name(f".{path.name}.tidegate")
    with suppress(FileNotFoundError):
        new.unlink()
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, how, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            if path.exists():
                _copy_labels(path, file.fileno())
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Have the folder's names on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_labels(path: Path, descriptor: int) -> None:
    """Extended attributes (SELinux's label, an access list), as far as they can be set."""
    with suppress(OSError):
        for name in os.listxattr(path):
            with suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(path, name))


def _decode(data: bytes) -> Record:
    named: dict[str, Any] = json.loads(data)
    if named["version"] != VERSION:
        raise ValueError(f"version {named['version']}, expected {VERSION}")
    if named["stage"] not in ("applying", "applied", "undoing"):
        raise ValueError(f"stage {named['stage']!r}")
    files = tuple(
        FileStep(str(one["path"]), _bytes(one["before"]), _bytes(one["after"]) or b"")
        for one in named["files"]
    )
    steps = []
    for one in named["mounts"]:
        if one["do"] not in ("bind", "flags") or not set(one["added"]) <= set(FLAGS):
            raise ValueError(f"mount step {one!r}")
        steps.append(MountStep(str(one["path"]), one["do"], tuple(one["added"])))
    return Record(Plan(files, tuple(steps)), named["stage"], str(named["time"]))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
