"""The live mounts, as the kernel tells them (/proc/PID/mountinfo, proc(5)), and what lies on which.

Touches the file it is told to read. Names are made of bytes by os.fsdecode, octal escapes undone.
Limits: what a mount hides that lies above it is not told; stacked mounts are: the topmost counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import WorldError

_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount: its number and its parent's, the device, which folder of the file system (`root`)
    it shows where (`point`), its own options (not the file system's), the kind and the source."""

    number: int
    parent: int
    device: str
    root: str
    point: str
    options: tuple[str, ...]
    kind: str
    source: str


def read(path: Path) -> list[Mount]:
    """Every mount in that file. WorldError where it can't be read."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; the live mounts can't be told") from error


def parse(data: bytes) -> list[Mount]:
    """Every mount in this text, in its order; lines of another shape are passed over."""
    found = []
    for line in data.splitlines():
        head, _, tail = line.partition(b" - ")
        fields, more = head.split(b" "), tail.split(b" ")
        if len(fields) < 6 or len(more) < 2 or not (fields[0] + fields[1]).isdigit():
            continue
        options = tuple(os.fsdecode(fields[5]).split(","))
        found.append(
            Mount(
                int(fields[0]), int(fields[1]), os.fsdecode(fields[2]), _name(fields[3]),
                _name(fields[4]), options, os.fsdecode(more[0]), _name(more[1]),
            )
        )  # fmt: skip
    return found


def _name(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda one: bytes((int(one[1], 8) & 0xFF,)), field))


def at(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The topmost mount exactly there; None where that is no mount point."""
    here = [one for one in mounts if one.point == path]
    hidden = {one.parent for one in here}
    shown = [one for one in here if one.number not in hidden]
    return (shown or here)[-1] if here else None


def covering(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount that a path lies on."""
    while True:
        if found := at(mounts, path):
            return found
        if path in ("/", ""):
            return None
        path = os.path.dirname(path)


def below(mounts: Sequence[Mount], path: str) -> list[Mount]:
    """The mounts on folders below that path."""
    return [one for one in mounts if one.point.startswith(path.rstrip("/") + "/")]


def self_bind(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount there, if it only shows what would be there without it (`mount --bind d d`)."""
    top = at(mounts, path)
    if top is None:
        return None
    under = covering([one for one in mounts if one.number != top.number], path)
    if under is None or under.device != top.device:
        return None
    inside = os.path.relpath(path, under.point)
    root = under.root if inside == "." else os.path.join(under.root, inside)
    return top if os.path.normpath(root) == os.path.normpath(top.root) else None
