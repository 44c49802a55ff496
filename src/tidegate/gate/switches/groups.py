"""Control groups as files: where a unit's, a path's or a pid file's group is, and what it says.

Touches files of the control groups, version 2 or 1. Limits: a daemon in the root group, or in a
group with others, has none of its own; a unit's is asked of systemd where that is PID 1.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.systemd import show, unit_name


def find(name: str, tools: Tools, file: str, controller: str = "") -> Path:
    """The folder of the control group that `name` names, in a hierarchy where it has this file;
    `controller`: the hierarchy of version 1. GateError where there is none, with what to do."""
    if name.startswith("/"):
        wanted = Path(os.path.normpath(name))
        for mount in (tools.groups, *_mounts(tools, controller)):
            if mount in wanted.parents:
                return _with(wanted, file)
        path = str(wanted)
    elif tools.systemd:
        path = show(unit_name(name), ("ControlGroup",), tools).get("ControlGroup", "")
        if path in ("", "/"):
            raise GateError(f"{unit_name(name)} has no control group: it does not run")
    else:
        raise GateError(
            f"{name} can't be found without systemd: name its control group by a path, such as"
            f" {tools.groups}/{name.removesuffix('.service')}"
        )
    for mount in _mounts(tools, controller):
        folder = mount / path.lstrip("/")
        if (folder / file).exists():
            return folder
    raise GateError(f"no control group {path} has {file} here; is its controller switched on?")


def read(path: Path) -> str:
    """What a file says. GateError where it can't be read."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError as error:
        raise GateError(f"{path}: {error.strerror}") from error


def write(path: Path, value: str) -> None:
    """Say this in a file. GateError where the kernel refuses."""
    try:
        path.write_text(value, "ascii")
    except OSError as error:
        hint = (
            "; because of our unit's sandbox? systemctl edit tidegate, [Service]"
            " ProtectControlGroups=no"
            if error.errno == errno.EROFS
            else ""
        )
        raise GateError(f"{path}: the kernel refuses {value!r}: {error.strerror}{hint}") from error


def _mounts(tools: Tools, controller: str) -> list[Path]:
    """Where the hierarchies are: version 2, alone or beside version 1, then one of version 1."""
    found = [tools.groups, tools.groups / "unified"]
    return [*found, tools.groups / controller] if controller else found


def _with(folder: Path, file: str) -> Path:
    if not (folder / file).exists():
        raise GateError(f"{folder} has no {file}: there is no such control group of that kind")
    return folder
