"""What of a host is looked at and changed, by default and in tests: places, files, folders.

Touches nothing. The item numbers are those of the CIS Benchmarks for Debian 12 and 13, chapter
1.1.2. Limits: four places; others that everybody may write are a matter of the host's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FLAGS = ("nosuid", "nodev", "noexec")
"""What a mount of such a place should have, in the order in which it is written."""


@dataclass(frozen=True)
class Place:
    """A folder that every user of the host may write to. `cis`: the section whose items ask for it
    (.1 a mount of its own, .2 nodev, .3 nosuid, .4 noexec), "" where none does. `line`: what
    fstab gets where it has no line for it: a `bind` on itself, or a `tmpfs`."""

    path: str
    cis: str = ""
    line: Literal["bind", "tmpfs"] = "bind"
    size: str = ""

    def item(self, flag: str) -> str:
        """The number of the item that asks for this flag; "" where none does."""
        numbers = {"separate": 1, "nodev": 2, "nosuid": 3, "noexec": 4}
        return f"{self.cis}.{numbers[flag]}" if self.cis else ""


PLACES = (
    Place("/tmp", "1.1.2.1"),  # noqa: S108
    Place("/var/tmp", "1.1.2.5"),  # noqa: S108
    Place("/dev/shm", "1.1.2.2", "tmpfs"),  # noqa: S108
    Place("/run/lock", "", "tmpfs", "mode=1777,size=5m"),
)

UNITS = tuple(
    Path(one)
    for one in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    )
)
WEB_ROOTS = tuple(
    Path(one)
    for one in ("/var/www", "/srv", "/home", "/usr/local/www", "/usr/share/nginx/html", "/opt")
)


@dataclass(frozen=True)
class Host:
    """Where things are; only tests change these. `units`: systemd's folders, the first of which
    wins and takes our drop-in; `lists`: apt's."""

    places: tuple[Place, ...] = PLACES
    fstab: Path = Path("/etc/fstab")
    proc: Path = Path("/proc")
    units: tuple[Path, ...] = UNITS
    lists: Path = Path("/var/lib/apt/lists")
    web: tuple[Path, ...] = WEB_ROOTS
