"""How each place is mounted now, how it will be after the next boot, and what is missing in each.

Touches fstab, /proc/*/mountinfo and systemd's unit folders, only to read. Auditors that trust one
of live mount and fstab are content where half is done; here both count. Limits: what an initramfs
or a script mounts is seen once it is mounted, not before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import WorldError
from tidegate.posture import fstab, mounts, units
from tidegate.posture.host import FLAGS, Host, Place
from tidegate.posture.mounts import Mount

MOST_NAMESPACES = 256
_KERNELS_OWN = "the system"


@dataclass(frozen=True)
class Table:
    """fstab as it is: its bytes (None: there is none) and the lines that count."""

    data: bytes | None
    lines: tuple[fstab.Line, ...]

    @property
    def text(self) -> str:
        """The bytes as text that goes back to the same bytes (`encode`)."""
        return (self.data or b"").decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Verdict:
    """One place. `why` is not "" where there is nothing to judge. `live`, `boot`: the flags that
    are missing now, and after the next boot; `by`: who mounts it then (`fstab:7`, a unit)."""

    place: Place
    why: str = ""
    mount: Mount | None = None
    separate: bool = False
    live: tuple[str, ...] = ()
    boot: tuple[str, ...] = ()
    by: str = ""
    line: fstab.Line | None = None
    unit: units.Unit | None = None

    @property
    def well(self) -> bool:
        """Whether nothing is missing."""
        return not (self.live or self.boot)

    def items(self) -> list[tuple[str, str, bool]]:
        """The CIS items that ask for something here: number, what, and whether it is so."""
        if not self.place.cis or self.why:
            return []
        asked = [("separate", self.separate)]
        asked += [(one, one not in self.live + self.boot) for one in ("nodev", "nosuid", "noexec")]
        return [(self.place.item(one), one, fine) for one, fine in asked]


def table(host: Host) -> Table:
    """fstab. WorldError where it can't be read, OperatorError where a line says too little."""
    try:
        data: bytes | None = host.fstab.read_bytes()
    except FileNotFoundError:
        data = None
    except OSError as error:
        raise WorldError(f"{host.fstab}: {error.strerror}; nothing was changed") from error
    text = (data or b"").decode("utf-8", "surrogateescape")
    return Table(data, tuple(fstab.parse(text, str(host.fstab))))


def judge(host: Host, known: Table) -> list[Verdict]:
    """Every place of the host, in order."""
    live = mounts.read(host.proc / "self" / "mountinfo")
    return [_verdict(host, place, known, live) for place in host.places]


def _verdict(host: Host, place: Place, known: Table, live: Sequence[Mount]) -> Verdict:
    path = place.path
    if os.path.islink(path):
        return Verdict(place, why=f"is a link to {os.readlink(path)}: look at that")
    if not os.path.isdir(path):
        return Verdict(place, why="is not there")
    covering = mounts.covering(live, os.path.realpath(path))
    if covering is None:
        return Verdict(place, why="lies on no mount that can be seen")
    own = mounts.at(live, path) is not None
    lacking = tuple(one for one in FLAGS if one not in covering.options)
    line = fstab.line_for(known.lines, path)
    unit = units.find(host.units, path) if own and line is None else None
    boot, by = _after_boot(line, unit, covering, own, lacking, place)
    return Verdict(place, "", covering, own, lacking, boot, by, line, unit)


def _after_boot(
    line: fstab.Line | None, unit: units.Unit | None, live: Mount, own: bool,
    lacking: tuple[str, ...], place: Place,
) -> tuple[tuple[str, ...], str]:  # fmt: skip
    """What will be missing after the next boot, and who says so."""
    if line is not None:
        return _without(fstab.flags(line.options)), f"fstab:{line.number}"
    if unit is not None:
        return _without(fstab.flags(unit.options)), unit.name
    if not own:  # part of another mount, which whoever mounts it cares for
        return lacking, f"part of {live.point}"
    if place.path == "/run/lock" and live.kind == "tmpfs":  # Debian mounts it so before fstab
        return lacking, _KERNELS_OWN
    if place.path == "/dev/shm" and live.kind == "tmpfs":  # noqa: S108
        return ("noexec",), _KERNELS_OWN  # which is systemd, and gives it nosuid,nodev alone
    return FLAGS, "nothing"


def _without(found: frozenset[str]) -> tuple[str, ...]:
    return tuple(one for one in FLAGS if one not in found)


@dataclass(frozen=True)
class Elsewhere:
    """Processes with mounts of their own (a private /tmp, a container), in which this is missing:
    one of them stands for all, and how many there are."""

    path: str
    pid: int
    name: str
    missing: tuple[str, ...]


def elsewhere(host: Host) -> list[Elsewhere]:
    """In which other mount namespaces a place lacks its flags: a remount does not reach these, and
    what runs there has to be started anew."""
    found: list[Elsewhere] = []
    seen: set[str] = set()
    with suppress(OSError):
        seen.add(os.readlink(host.proc / "self" / "ns" / "mnt"))
    for pid in sorted(int(one) for one in os.listdir(host.proc) if one.isdigit()):
        folder = host.proc / str(pid)
        try:
            namespace = os.readlink(folder / "ns" / "mnt")
            if namespace in seen or len(seen) > MOST_NAMESPACES:
                continue
            seen.add(namespace)
            os.readlink(folder / "exe")  # a thread of the kernel has none, and starts no program
            found += _lacking(host, folder, pid)
        except (OSError, WorldError):
            continue  # gone, or not ours to see
    return found


def _lacking(host: Host, folder: Path, pid: int) -> list[Elsewhere]:
    live = mounts.read(folder / "mountinfo")
    name = (folder / "comm").read_text("utf-8", "replace").strip()
    found = []
    for place in host.places:
        over = mounts.covering(live, place.path)
        lacking = tuple(one for one in FLAGS if over is not None and one not in over.options)
        if over is not None and "ro" not in over.options and lacking:
            found.append(Elsewhere(place.path, pid, name, lacking))
    return found
