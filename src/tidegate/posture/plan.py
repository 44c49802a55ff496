"""What would be changed, as values: mounts now, fstab or a drop-in for the next boot, and why.

Touches nothing but drop-ins, which it reads. A place that is a mount gets its flags there (`mount
-o remount,bind`); one that is none is bound on itself, so that its files stay where they are and
nobody loses an open one. Limits: a line that is in fstab stays; only its options grow.
"""

from __future__ import annotations

import base64
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import WorldError
from tidegate.posture import fstab, units
from tidegate.posture.host import FLAGS, Host
from tidegate.posture.judge import Table, Verdict

_UNENDED = "\n\\ No newline at end of file\n"


@dataclass(frozen=True)
class MountStep:
    """One live mount. `added`: the flags that were not there before."""

    path: str
    do: Literal["bind", "flags"]
    added: tuple[str, ...]

    def commands(self) -> list[str]:
        """What comes to the same, typed by hand."""
        again = f"mount -o remount,bind,{','.join(FLAGS)} {self.path}"
        return [again] if self.do == "flags" else [f"mount --rbind {self.path} {self.path}", again]

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"path": self.path, "do": self.do, "added": list(self.added)}


@dataclass(frozen=True)
class FileStep:
    """One file: its bytes before (None: it was not there) and after."""

    path: str
    before: bytes | None
    after: bytes

    def diff(self) -> str:
        """As `diff -u` shows it."""
        old, new = (
            (data or b"").decode("utf-8", "backslashreplace").splitlines(keepends=True)
            for data in (self.before, self.after)
        )
        name = "/dev/null" if self.before is None else self.path
        lines = difflib.unified_diff(old, new, name, self.path)
        return "".join(one if one.endswith("\n") else one + _UNENDED for one in lines)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it: bytes in base64."""
        before = None if self.before is None else base64.b64encode(self.before).decode()
        after = base64.b64encode(self.after).decode()
        return {"path": self.path, "before": before, "after": after}


@dataclass(frozen=True)
class Plan:
    """All of it, in the order in which it is done: files first, since mounting can be undone."""

    files: tuple[FileStep, ...] = ()
    mounts: tuple[MountStep, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.mounts)


def plan(host: Host, known: Table, verdicts: Sequence[Verdict], *, tmpfs: bool = False) -> Plan:
    """What is to be done about these verdicts. `tmpfs`: where /tmp has no line in fstab it becomes
    a tmpfs at the next boot, not a bind; live it is a bind in any case, since a tmpfs would hide
    the files and sockets that are in it."""
    text, files, steps = known.text, list[FileStep](), list[MountStep]()
    for one in verdicts:
        if one.live:
            steps.append(MountStep(one.place.path, "flags" if one.separate else "bind", one.live))
        if not one.boot:
            continue
        if one.line is not None:
            text = fstab.amended(text, one.line)
        elif one.unit is not None:
            where, after = units.drop_in(host.units, one.unit, one.place.path)
            files.append(FileStep(str(where), _there(where), after.encode()))
        else:
            kind = one.place.line
            if tmpfs and one.place.path == "/tmp":  # noqa: S108
                kind = "tmpfs"
            text = fstab.extended(text, one.place, kind)
    after_all = text.encode("utf-8", "surrogateescape")
    if after_all != (known.data or b""):
        files.insert(0, FileStep(os.path.realpath(host.fstab), known.data, after_all))
    return Plan(tuple(files), tuple(steps))


def _there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; nothing was changed") from error
