"""Security updates that wait, by apt's own reckoning from the package lists that are there.

Touches apt's lists, only to read, and runs `apt-get --simulate` with caches in memory alone: it
fetches, locks and writes nothing. Limits: Debian and its kin; it knows no more than the lists do,
so it says how old they are.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

COMMAND = (
    "apt-get", "-s", "-qq", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
    "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=0", "dist-upgrade",
)  # fmt: skip
OLD = timedelta(days=7)
"""Debian's security lists are valid for so long."""
_WITHIN = 120.0
_INSTALL = re.compile(r"Inst (?P<name>\S+)(?: \[(?P<old>[^\]]+)\])? \((?P<new>\S+) (?P<from>[^)]*)")
_HEAD = 8 << 10


@dataclass(frozen=True)
class Update:
    """A package of which a newer version is in the lists for reasons of security."""

    package: str
    installed: str
    available: str


@dataclass(frozen=True)
class Updates:
    """What waits. `trouble`: why that can't be told, or should not be trusted, and what to do;
    `lists`: from when the newest security list is; `asked`: whether this host has apt at all."""

    waiting: tuple[Update, ...] = ()
    others: int = 0
    lists: datetime | None = None
    trouble: str = ""
    asked: bool = True


def pending(lists: Path, now: datetime, command: tuple[str, ...] = COMMAND) -> Updates:
    """What waits on this host."""
    newest = security_lists(lists)
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_WITHIN,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return Updates(trouble="no apt-get here: ask this host's own package manager", asked=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Updates(lists=newest, trouble=f"apt-get could not be asked: {error}")
    if told.returncode:
        said = (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[0]
        return Updates(lists=newest, trouble=f"apt-get could not tell: {said}")
    waiting, others = parse(told.stdout)
    return Updates(waiting, others, newest, _trust(newest, now))


def parse(text: str) -> tuple[tuple[Update, ...], int]:
    """The security updates in what apt-get simulates, and how many others there are."""
    found = {}
    others = 0
    for line in text.splitlines():
        inst = _INSTALL.match(line)
        if inst is None or inst["old"] is None:  # new packages wait for nothing
            continue
        if "security" in inst["from"].lower():
            found[inst["name"]] = Update(inst["name"], inst["old"], inst["new"])
        else:
            others += 1
    return tuple(found[one] for one in sorted(found)), others


def security_lists(folder: Path) -> datetime | None:
    """From when the newest list of a security archive is, by its own word; None: there is none."""
    newest = None
    with suppress(OSError):
        for path in sorted([*folder.glob("*InRelease"), *folder.glob("*_Release")]):
            with suppress(OSError, ValueError, TypeError):
                with open(path, encoding="utf-8", errors="replace") as file:
                    head = file.read(_HEAD)
                fields = dict(re.findall(r"^(Label|Suite|Date): (.*)$", head, re.MULTILINE))
                if "security" not in (fields.get("Label", "") + fields.get("Suite", "")).lower():
                    continue
                date = parsedate_to_datetime(fields["Date"]).astimezone(UTC)
                newest = max(newest or date, date)
    return newest


def _trust(newest: datetime | None, now: datetime) -> str:
    if newest is None:
        return "there are no package lists of a security archive: apt-get update, then ask again"
    if now - newest > OLD:
        days = (now - newest).days
        return f"the package lists are {days} days old: apt-get update, then ask again"
    return ""
