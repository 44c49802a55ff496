"""Whether this host can talk to its fleet at all: what has to be installed, and its keys.

Touches the key folder, only to read, in a child of its own, so that whoever asks stays small.
Limits: that the engine answers is not asked; without it a host works alone until it does.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from tidegate.errors import OperatorError, TidegateError
from tidegate.policy.models import Policy

NEEDED = ("hiredis", "cryptography.hazmat.primitives.asymmetric.ed25519")
_LONGEST = 2000


def hindrance(policy: Policy) -> str:
    """Why this host can't be part of its fleet, in one line; "" if it can, or has none."""
    if policy.fleet is None:
        return ""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.write(write, _looked(policy).encode("utf-8", "replace")[:_LONGEST])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        said = told.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return said.strip() if said else "the check of its keys ended without an answer"


def _looked(policy: Policy) -> str:
    """The same, where it may take as much memory as it likes; " " in place of nothing."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            package = name.partition(".")[0]
            return (
                f"{package} can't be loaded ({error});"
                " run: pip install 'tidegate[fleet]', then restart tidegate"
            )
    from tidegate.fleet.engine.access import login_of, route_of
    from tidegate.fleet.trust import keys

    folder = Path(policy.paths.fleet)
    try:
        keys.load_identity(folder)
        keys.load(folder)
        if policy.fleet is not None:
            route_of(policy.fleet)
            login_of(policy.fleet)
    except (TidegateError, OSError) as error:
        hint = "" if isinstance(error, OperatorError) else "; then restart tidegate"
        return " ".join(str(error).split()) + hint
    return " "
