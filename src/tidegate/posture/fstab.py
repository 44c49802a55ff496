"""fstab as text: what it says of a mount point, and the same text with options or a line added.

Touches nothing (`judge` reads the file). Whatever is not changed stays as it is, byte for byte:
blanks, comments, other people's lines. After fstab(5) and mount(8). Limits: lines with `noauto`
are not mounted at boot and count as none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tidegate.errors import OperatorError
from tidegate.posture.host import FLAGS, Place

NOTE = "# {path} without {words}: tidegate harden; undone by: tidegate harden --undo"
WORDS = {"nosuid": "set-uid", "nodev": "devices", "noexec": "programs"}

_FIELD = re.compile(r"[^ \t\r]+")
_OCTAL = re.compile(r"\\([0-7]{3})")
_CONTRARY = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}
_IMPLIES = {
    "user": FLAGS,
    "users": FLAGS,
    "owner": ("nosuid", "nodev"),
    "group": ("nosuid", "nodev"),
}


class Line(NamedTuple):
    """A line that mounts something: where it stands (from 1), and its first four fields."""

    number: int
    source: str
    point: str
    kind: str
    options: tuple[str, ...]


def parse(text: str, name: str = "/etc/fstab") -> list[Line]:
    """Every line that mounts something at boot. OperatorError names one that says too little."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = _FIELD.findall(line)
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 4:
            raise OperatorError(
                f"{name}:{number}: expected at least four fields (what, where, type, options),"
                f" found {len(fields)}; put the line right first"
            )
        options = tuple(fields[3].split(","))
        if "noauto" not in options:
            point = os.path.normpath(_plain(fields[1])) if fields[1][0] == "/" else fields[1]
            found.append(Line(number, _plain(fields[0]), point, fields[2], options))
    return found


def line_for(lines: Sequence[Line], path: str) -> Line | None:
    """The line that is mounted last there, so on top."""
    return next((one for one in reversed(lines) if one.point == path), None)


def flags(options: Iterable[str]) -> frozenset[str]:
    """Which of FLAGS these options come to, as mount(8) reads them: the later ones win."""
    on: set[str] = set()
    for option in options:
        if option in _IMPLIES:
            on.update(_IMPLIES[option])
        elif option in FLAGS:
            on.add(option)
        elif option in _CONTRARY:
            on.discard(_CONTRARY[option])
    return frozenset(on)


def with_flags(options: Sequence[str]) -> list[str]:
    """The options with all of FLAGS, and without what says the contrary."""
    kept = [one for one in options if one not in _CONTRARY]
    return [*kept, *(one for one in FLAGS if one not in flags(kept))]


def amended(text: str, line: Line) -> str:
    """The text with the flags added to the options of that line, and nothing else changed."""
    parts = text.split("\n")
    old = parts[line.number - 1]
    field = list(_FIELD.finditer(old))[3]
    new = ",".join(with_flags(line.options))
    parts[line.number - 1] = old[: field.start()] + new + old[field.end() :]
    return "\n".join(parts)


def extended(text: str, place: Place, kind: str) -> str:
    """The text with a line for this place behind it: `bind` on itself, or a `tmpfs`."""
    path = _escaped(place.path)
    if kind == "bind":
        line = f"{path} {path} none bind,{','.join(FLAGS)} 0 0"
    else:
        own = [place.size or "mode=1777", *FLAGS]
        line = f"tmpfs {path} tmpfs {','.join(own)} 0 0"
    words = ", ".join(WORDS[one] for one in reversed(FLAGS))
    end = "\n" if text and not text.endswith("\n") else ""
    return f"{text}{end}{NOTE.format(path=place.path, words=words)}\n{line}\n"


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda one: chr(int(one[1], 8)), field)


def _escaped(path: str) -> str:
    return re.sub(r"[\s\\#]", lambda one: f"\\{ord(one[0]):03o}", path)
