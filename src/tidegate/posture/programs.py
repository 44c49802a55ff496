"""Programs that run from where everybody may write, from memory alone, or from a file without name.

Touches /proc, only to read, and hashes what it names. Scripts count where an interpreter's argument
is a file in such a place: noexec does not stop these. Limits: what was loaded as a library, or
piped into an interpreter, is not seen; a path in a container is the container's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tidegate.posture.processes import Process, digest, everyone, inside

Why = Literal["place", "memory", "deleted", "script", "replaced"]
"""`place`: its file lies there; `memory`: made by memfd_create; `deleted`: its file lay there and
was deleted; `script`: an interpreter runs a file there; `replaced`: its file was deleted elsewhere,
mostly by an upgrade."""

SUSPECT: frozenset[Why] = frozenset({"place", "memory", "deleted", "script"})
MOST = 1000
_ARGUMENTS = 16
_INTERPRETER = re.compile(
    r"(?:python|perl|php|ruby|lua|tclsh|node|nodejs|java|bash|dash|sh|ash|zsh|ksh|busybox|m?awk|gawk"
    r"|ld-linux|ld-musl)[-\d.\w]*"
)


class Found(NamedTuple):
    """Such a program. `path`: the executable, or the script."""

    process: Process
    why: Why
    path: str
    hash: str = ""


def running(
    proc: Path, places: Sequence[str], tell: Callable[[str], None] = lambda _text: None
) -> list[Found]:
    """All of them, with the hash of the executable (of a script's interpreter: none)."""
    found = list[Found]()
    for number, one in enumerate(everyone(proc)):
        tell(f"{number} processes looked at")
        told = judged(one, places)
        if told is not None and len(found) < MOST:
            hashed = "" if told.why in ("script", "replaced") else digest(proc, one.pid)
            found.append(told._replace(hash=hashed))
    return found


def judged(one: Process, places: Sequence[str]) -> Found | None:
    """What there is to say about this process; None where nothing is."""
    path = one.executable
    if path.startswith(("/memfd:", "memfd:")):
        return Found(one, "memory", path)
    if inside(path, places):
        return Found(one, "deleted" if one.deleted else "place", path)
    if script := _script(one, places):
        return Found(one, "script", script)
    return Found(one, "replaced", path) if one.deleted else None


def _script(one: Process, places: Sequence[str]) -> str:
    """The file in such a place that an interpreter was told to run; "" for none."""
    if not _INTERPRETER.fullmatch(os.path.basename(one.executable)):
        return ""
    for word in one.command[1:_ARGUMENTS]:
        if word and not word.startswith("-"):
            path = os.path.normpath(os.path.join(one.folder, word))
            return path if inside(path, places) else ""
    return ""
