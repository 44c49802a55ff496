"""A track file of keepalived as a switch: a number while closed, what stood there while open.

Touches that file, replaced whole so that keepalived's inotify sees it at once, and a watchman of
its own (`lease`, `responder`) that writes it back when nobody renews. Limits: how keepalived reacts
is its configuration's (`track_file … weight`); a file in a folder that does not exist is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.errors import GateError
from tidegate.gate.switches import responder
from tidegate.gate.switches.answers import Track, boot_seconds
from tidegate.gate.switches.kinds import Standing, Tools
from tidegate.gate.switches.lease import Leases, left
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.record import Before, Record
from tidegate.gate.switches.trust import unsafe
from tidegate.model import SECOND
from tidegate.policy.guards import Keepalived

LINGER = 5.0
"""Seconds that the watchman stays when there is nothing to watch."""


class TrackFiles:
    """Lets keepalived give the address away while closed."""

    def __init__(self, tools: Tools) -> None:
        self._leases = Leases(tools)
        self._owners = tools.owners

    def look(self, terms: Keepalived) -> Before:
        """What stands there; what is no number counts as 0. `away`: it is so already."""
        path = _path(terms)
        if why := unsafe(Path(terms.file), self._owners):
            raise GateError(why)
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            raise GateError(
                f"{path.parent} can't be written, because of our unit's sandbox: systemctl edit"
                f" tidegate, [Service] ReadWritePaths={path.parent}"
            )
        found = _read(path)
        if found == terms.value:
            return {"away": f"{terms.file} holds {terms.value} already"}
        return {"was": found or 0}

    def close(self, terms: Keepalived, before: Before) -> str:
        """Write the number, once there is somebody who will take it back."""
        path, was = _path(terms), int(before.get("was", 0))
        self._renew(terms, was, LEASE / SECOND)
        _write(path, terms.value)
        return f"{terms.file} holds {terms.value}"

    def open(self, terms: Keepalived, before: Before) -> str:
        """Write back what stood there, if it is ours that stands there now."""
        path, was = _path(terms), int(before.get("was", 0))
        if _read(path) == terms.value:
            _write(path, was)
        self._leases.drop(_name(terms))
        return f"{terms.file} holds {was}"

    def state(self, terms: Keepalived, record: Record) -> tuple[Standing, str]:
        """Ours, or somebody has written another number."""
        found, was = _read(_path(terms)), int(record.before.get("was", 0))
        if found == terms.value:
            self._renew(terms, was, left(record.deadline))
            return "closed", ""
        self._leases.drop(_name(terms))
        if record.stage == "closing" and (found or 0) == was:
            return "open", ""
        return (
            "taken",
            f"somebody has written {'nothing' if found is None else found} to {terms.file}",
        )

    def _renew(self, terms: Keepalived, was: int, seconds: float) -> None:
        until = boot_seconds() + seconds
        self._leases.watch(_name(terms), Track(terms.value, was, until, str(_path(terms))))
        self._leases.ensure(_name(terms), linger=LINGER)


def _name(terms: Keepalived) -> str:
    return f"track-{terms.file}"


def _path(terms: Keepalived) -> Path:
    """Where it really stands: a link is not replaced by a file."""
    path = Path(terms.file).resolve()
    if not path.parent.is_dir():
        raise GateError(f"{terms.file}: there is no folder {path.parent}; make it, and see that")
    return path


def _read(path: Path) -> int | None:
    """The number there; None: there is none."""
    try:
        with path.open("rb") as file:
            return int(file.read(64))
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise GateError(f"{path}: {error.strerror}; keepalived's number can't be read") from error


def _write(path: Path, value: int) -> None:
    try:
        responder.replace(str(path), b"%d\n" % value)
    except OSError as error:
        raise GateError(f"{path}: {error.strerror}; keepalived can't be told") from error
