"""Freezing: every process of a unit or control group stands still while closed.

Touches the unit by systemctl, or its control group's cgroup.freeze (version 2) or freezer.state
(version 1). Limits: what stands still answers nobody, and its clients wait, but keeps its memory.
"""

from __future__ import annotations

from pathlib import Path

from tidegate.errors import GateError
from tidegate.gate.switches import groups
from tidegate.gate.switches.kinds import Standing, Tools
from tidegate.gate.switches.record import Before, Record
from tidegate.policy.guards import Freeze

_WITHIN = 30.0
_SETTLES = 10.0
_FILES = {"cgroup.freeze": ("1", "0"), "freezer.state": ("FROZEN", "THAWED")}


class Freezes:
    """The kind of `Freeze`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Freeze) -> Before:
        """Its control group; `away` where somebody froze it already."""
        try:
            path = groups.find(terms.unit, self._tools, "cgroup.freeze") / "cgroup.freeze"
        except GateError as missing:
            if "does not run" in str(missing):
                return {"away": str(missing)}
            try:
                path = groups.find(terms.unit, self._tools, "freezer.state", "freezer")
            except GateError:
                raise missing from None
            path /= "freezer.state"
        if path.parent in (self._tools.groups, self._tools.groups / "unified"):
            raise GateError(f"{terms.unit} is the whole host, which is not frozen")
        if self._frozen(path):
            return {"away": f"{terms.unit} is frozen already"}
        return {"file": str(path), "inode": path.parent.stat().st_ino}

    def close(self, terms: Freeze, before: Before) -> str:
        """Freeze it, and see that it stands still."""
        path = Path(before["file"])
        if not self._systemctl("freeze", terms):
            groups.write(path, _FILES[path.name][0])
        if not self._tools.until(lambda: self._stands_still(path), _SETTLES):
            raise GateError(f"{terms.unit} was told to stand still, but does not")
        return ""

    def open(self, terms: Freeze, before: Before) -> str:
        """Thaw it."""
        path = Path(before["file"])
        if not self._systemctl("thaw", terms) or self._frozen(path):
            groups.write(path, _FILES[path.name][1])
        if not self._tools.until(lambda: not self._stands_still(path), _SETTLES):
            raise GateError(f"{terms.unit} was told to go on, but stands still")
        return ""

    def state(self, terms: Freeze, record: Record) -> tuple[Standing, str]:
        """Whether it is as we left it; a group that is gone, or another of its name, is not."""
        path = Path(record.before["file"])
        try:
            if path.parent.stat().st_ino != record.before["inode"]:
                return "taken", f"{terms.unit} was started anew"
        except OSError:
            return "taken", f"{terms.unit} has been stopped meanwhile"
        if self._frozen(path):
            return "closed", ""
        if record.stage == "closed":
            return "taken", f"{terms.unit} was thawed by somebody else"
        return "open", "it was not frozen"

    def _systemctl(self, verb: str, terms: Freeze) -> bool:
        """Whether systemd did it; it can't where there is no message bus, or before 246."""
        if not self._tools.systemd or terms.unit.startswith("/"):
            return False
        words = ["systemctl", verb, "--", terms.unit]
        return not self._tools.run(words, _WITHIN, ranked=True).fault(words)

    def _frozen(self, path: Path) -> bool:
        """Whether it has been told to stand still."""
        return groups.read(path) in ("1", "FROZEN", "FREEZING")

    def _stands_still(self, path: Path) -> bool:
        """Whether every process of it does."""
        if path.name == "freezer.state":
            return groups.read(path) == "FROZEN"
        return "frozen 1" in groups.read(path.with_name("cgroup.events"))
