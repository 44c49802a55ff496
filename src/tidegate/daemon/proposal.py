"""A policy that is proposed and not in use yet: a folder as a fleet would publish it, or one file.

Touches these files, only to read. In a fleet the host's own files stand above it, as they will once
it is published; without one the folder is the whole policy. Limits: what nobody can publish, as
below a folder everything but policies, detectors and sysfence files, is passed over.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tidegate.daemon.build import Plan, plan
from tidegate.errors import OperatorError
from tidegate.fleet.journal import journal
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.models import Paths
from tidegate.policy.overlay import Below

MAIN = "tidegate.toml"
_LARGEST = 1 << 20


def proposed(config: Path | None, tree: Path, current: Plan) -> Plan:
    """The policy of this host if the one in `tree` were in use. PolicyError or PackError with every
    fault, OperatorError where there is no policy."""
    if current.loaded.policy.fleet is None:
        main = tree / MAIN if tree.is_dir() else tree
        if not main.is_file():
            raise OperatorError(f"{main}: no such file; expected a policy, or a folder with one")
        own = tree / "detectors" if tree.is_dir() else None
        return plan(main, detectors=own if own is not None and own.is_dir() else None)
    below = Below(0, files(tree))

    def published(_spec: FleetSpec, _paths: Paths) -> Below:
        return below

    return plan(config, published=published)


def files(tree: Path) -> dict[str, bytes]:
    """What would be published of a folder, or of one file. OperatorError where that is nothing."""
    if not tree.is_dir():
        return {MAIN: _content(tree)}
    found: dict[str, bytes] = {}
    for folder in (tree, tree / "policy.d", tree / "detectors", tree / "sysfence"):
        if folder.is_dir() and not folder.is_symlink():
            for name in sorted(os.listdir(folder)):
                path = (folder / name).relative_to(tree).as_posix()
                if journal.PATH.fullmatch(path) and (folder / name).is_file():
                    found[path] = _content(folder / name)
    if not any(path == MAIN or path.startswith("policy.d/") for path in found):
        raise OperatorError(f"{tree}: there is no {MAIN} in it, nor a policy.d/NAME.toml")
    return found


def _content(path: Path) -> bytes:
    try:
        # Without waiting, so that a FIFO can't hang anything; a link could lead out of the folder.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OperatorError(f"{path}: not a regular file")
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise OperatorError(f"{path}: larger than {_LARGEST} bytes")
    return data
