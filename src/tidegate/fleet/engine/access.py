"""How a host gets at its engine: the `[fleet]` section as a route and a login.

Touches the password's file, only to read. Limits: a password is one line; whoever may read the file
may write to the engine, which is why one that everybody can read is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.errors import OperatorError
from tidegate.fleet.engine.connection import Login, address
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.policy.fleet import FleetSpec

_LONGEST = 512


def route_of(spec: FleetSpec) -> Route:
    """Where the engine is. OperatorError where an address is none."""
    return Route(spec.kind, tuple(address(one) for one in spec.engines), spec.name)


def login_of(spec: FleetSpec) -> Login:
    """Who we are to the engine. OperatorError where the password can't be had."""
    password = read_password(Path(spec.password_file)) if spec.password_file else ""
    return Login(spec.user, password, spec.ca or None)


def engine_of(spec: FleetSpec, timeout: float, login: Login | None = None) -> Engine:
    """The engine of this section; connects when it is first asked something. `login`: as somebody
    else than the section says."""
    own = login_of(spec) if login is None else login
    return Engine(route_of(spec), own, timeout, Login(cafile=spec.ca or None))


def read_password(path: Path) -> str:
    """The one line in a password's file. OperatorError says what is wrong with it."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise OperatorError(
                    f"{path}: everybody can read it; chmod 0600 it, and if somebody may have:"
                    " another password"
                )
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise OperatorError(
            f"{path}: {error.strerror}; expected a file with the engine's password, mode 0600"
        ) from error
    line = data.decode("utf-8", "replace").strip("\r\n")
    if not line or "\n" in line or "\ufffd" in line or len(data) > _LONGEST:
        raise OperatorError(f"{path}: expected one line, the password alone")
    return line
