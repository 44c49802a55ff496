"""What this host takes of the policy that its fleet publishes; every loader verifies it anew.

Touches the fleet's folder, only to read: the anchor, which must be root's alone and is read once,
before a process gives root up; then, at each loading, the shelf, which is believed nothing.
Limits: without a fleet's key folder, or the library for signatures, there is nothing to take.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import OperatorError, PolicyError
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.shelf import FOLDER, Shelf
from tidegate.fleet.trust.members import Verify
from tidegate.policy import loader
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.loader import Loaded, untrusted
from tidegate.policy.models import Paths
from tidegate.policy.overlay import Below, Published


class Anchor(NamedTuple):
    """Whose word this host takes, and what it is called."""

    fleet: bytes
    desk: bytes
    host: str
    verify: Verify

    def shelf(self, paths: Paths) -> Shelf:
        """The shelf, seen from here."""
        return Shelf(Path(paths.fleet) / FOLDER, self.fleet, self.desk, self.verify)


def load(
    config: Path | None = None, *, trusted: bool = False, published: Published | None = None
) -> Loaded:
    """The host's policy with what it takes of its fleet's. Raises PolicyError with all faults.

    `trusted`: refuse files that others than root could change, the anchor among them. `published`:
    this, instead of what the shelf says.
    """

    def taken(_spec: FleetSpec, paths: Paths) -> Below | None:
        found = anchor(paths.fleet, trusted)
        if found is None:
            return None
        one, _trouble = found.shelf(paths).current()
        return below(one) if one is not None else None

    return loader.load(config, trusted=trusted, published=published or taken)


def chosen(wanted: str, _spec: FleetSpec, paths: Paths, *, trusted: bool) -> Below | None:
    """The one of this id on the shelf ("": none), whatever is in use. PolicyError: it is gone."""
    found = anchor(paths.fleet, trusted)
    if found is None or not wanted:
        return None
    for one in found.shelf(paths).policies():
        if one.id.hex() == wanted:
            return below(one)
    raise PolicyError(["this published policy is not on the shelf any more"])


def below(one: journal.Published) -> Below:
    """A published policy, to be read below a host's own."""
    return Below(one.entry.number, journal.unpack(one.content), one.id.hex())


@cache
def anchor(folder: str, trusted: bool) -> Anchor | None:
    """Whose word this host takes; None where it is of no fleet, or that is not for us to read.
    Asked first as root; a process without rights, and its children, go on with what it was then."""
    path = Path(folder) / "fleet"
    if not os.access(path, os.R_OK) or find_spec("cryptography") is None:
        return None
    from tidegate.fleet.trust import keys

    if trusted and (faults := untrusted(path)):
        raise PolicyError(faults)
    who = keys.load_identity(Path(folder))
    try:
        keys.verify(who.desk, b"", bytes(64))  # the library is there, and loaded while we may
    except OperatorError:  # it is there, and can't be loaded
        return None
    return Anchor(who.fleet, who.desk, who.host, keys.verify)
