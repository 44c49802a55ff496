"""A policy before it is published: checked by itself, and as it would hold on this host.

Touches the host's own policy and detectors, only to read. Limits: other hosts have other files of
their own; what these make of it, each says when it tries.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tidegate.daemon.build import assembled, plan, prove
from tidegate.errors import OperatorError
from tidegate.policy import overlay
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.loader import read
from tidegate.policy.models import Paths
from tidegate.policy.overlay import Below

_ANY_HOST = '[fleet]\nengine = "unix:/engine"\naccept = { commands = true }\n'


class Checked(NamedTuple):
    """What is worth a look, and what hosts have to give their leave for."""

    notes: tuple[str, ...]
    leave: tuple[str, ...]


def checked(number: int, files: Mapping[str, bytes], config: Path | None) -> Checked:
    """A policy that may be published. OperatorError with all faults where it may not."""
    below = Below(number, files)

    def published(_spec: FleetSpec, _paths: Paths) -> Below:
        return below

    alone = assembled(
        read([("a host", _ANY_HOST)], fetch=_other, published=published), (), thorough=True
    )
    prove(alone.packs, alone.loaded.policy.engine, "re")
    here = plan(config, published=published)
    prove(here.packs, here.loaded.policy.engine)
    leave = [
        f"{name}: {key}"
        for name, text in below.texts()
        for key in overlay.needing(tomllib.loads(text))
    ]
    return Checked((*alone.loaded.notes, *here.loaded.notes), tuple(leave))


def _other(path: Path) -> str:
    raise OperatorError(
        f"{path}: is a file of one host; expected a path in the work tree, such as"
        ' sysfence = "sysfence/web"'
    )
