"""systemd's mount units: which one mounts a place, with what options, and a drop-in that adds ours.

Touches the unit folders, only to read. A drop-in's `Options=` takes the place of the unit's, so it
restates them whole (systemd.mount(5)). Limits: units made by generators are fstab's, not these.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tidegate.posture.fstab import with_flags

DROP_IN = "zz-tidegate-harden.conf"
"""Sorted behind other people's, since the last one counts."""

_TEXT = """\
# {path} with {added}: tidegate harden; undone by: tidegate harden --undo
[Mount]
Options={options}
"""


class Unit(NamedTuple):
    """A mount unit that is there: its name, its file, and its options as they add up."""

    name: str
    file: Path
    options: tuple[str, ...]


def name_of(path: str) -> str:
    """The name of the mount unit of a path (systemd-escape --path --suffix=mount)."""
    escaped = "".join(
        one if one.isalnum() or one in ":_./" else f"\\x{ord(one):02x}" for one in path.strip("/")
    )
    return (escaped.replace("/", "-") or "-") + ".mount"


def find(folders: Sequence[Path], path: str) -> Unit | None:
    """The unit that mounts this path; None where there is none, or it is masked."""
    name = name_of(path)
    for folder in folders:
        file = folder / name
        if file.is_symlink() and str(file.resolve()) == "/dev/null":
            return None
        if file.is_file():
            return Unit(name, file, _options(folders, name, file))
    return None


def drop_in(folders: Sequence[Path], unit: Unit, path: str) -> tuple[Path, str]:
    """Where our drop-in for this unit goes, and its text."""
    options = with_flags(unit.options)
    added = ",".join(one for one in options if one not in unit.options)
    where = folders[0] / f"{unit.name}.d" / DROP_IN
    return where, _TEXT.format(path=path, added=added, options=",".join(options))


def _options(folders: Sequence[Path], name: str, file: Path) -> tuple[str, ...]:
    """Options of the unit and its drop-ins: of those with one name the first folder's counts, of
    all of them the last by name."""
    parts: dict[str, Path] = {}
    for folder in folders:
        with suppress(OSError):
            for part in (folder / f"{name}.d").glob("*.conf"):
                parts.setdefault(part.name, part)
    found: tuple[str, ...] = ()
    for part in [file, *(parts[one] for one in sorted(parts))]:
        with suppress(OSError):
            for line in part.read_text("utf-8", "replace").splitlines():
                key, equals, value = line.strip().partition("=")
                if equals and key.strip() == "Options":
                    found = tuple(one for one in value.strip().split(",") if one)
    return found
