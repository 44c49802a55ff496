"""Resource limits of a running unit: set while closed, put back as they were when open.

Touches the unit by `systemctl set-property --runtime`, or, of a control group named by its path,
its files (version 2 or 1). Limits: without systemd, CPUWeight, MemoryHigh, MemoryMax, TasksMax and
IOWeight only; what a person set meanwhile is let be.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tidegate.errors import GateError
from tidegate.gate.switches import groups
from tidegate.gate.switches.kinds import Standing, Tools
from tidegate.gate.switches.record import Before, Record
from tidegate.gate.switches.systemd import show, unit_name
from tidegate.policy.guards import Properties

_WITHIN = 30.0
_UNSET = ("[not set]", "18446744073709551615")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _File(NamedTuple):
    """A property as files: of version 2, and of version 1 (its hierarchy; "": there is none)."""

    second: str
    hierarchy: str = ""
    first: str = ""
    infinite: str = "-1"


_FILES = {
    "CPUWeight": _File("cpu.weight", "cpu", "cpu.shares"),
    "IOWeight": _File("io.weight"),
    "MemoryHigh": _File("memory.high", "memory", "memory.soft_limit_in_bytes"),
    "MemoryMax": _File("memory.max", "memory", "memory.limit_in_bytes"),
    "TasksMax": _File("pids.max", "pids", "pids.max", "max"),
}


class Limits:
    """The kind of `Properties`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Properties) -> Before:
        """The values as they are. `away`: the unit does not run."""
        if not self._by_systemd(terms):
            files = {key: self._file(terms, key) for key, _value in terms.settings}
            return {"files": {key: [str(one), groups.read(one)] for key, one in files.items()}}
        unit = unit_name(terms.unit)
        keys = tuple(key for key, _value in terms.settings)
        found = show(unit, ("LoadState", "ActiveState", "InvocationID", *keys), self._tools)
        if found.get("LoadState") == "not-found":
            raise GateError(f"there is no unit {unit}; see systemctl list-units")
        if found.get("ActiveState") not in ("active", "reloading", "activating"):
            return {"away": f"{unit} is {found.get('ActiveState', 'not known')}"}
        if missing := [key for key in keys if key not in found]:
            raise GateError(f"systemd knows no {', '.join(missing)} of {unit}")
        return {"values": {key: found[key] for key in keys}}

    def close(self, terms: Properties, before: Before) -> str:
        """Set them; what they are then is kept with what was before."""
        if not self._by_systemd(terms):
            for key, value in terms.settings:
                path = Path(before["files"][key][0])
                groups.write(path, _as_file(key, value, path))
            before["ours"] = self._now(terms, before)
            return ""
        self._set(terms, [f"{key}={value}" for key, value in terms.settings])
        before["ours"] = self._now(terms, before)
        return ""

    def open(self, terms: Properties, before: Before) -> str:
        """Put back what nobody else has changed meanwhile."""
        now, ours = self._now(terms, before), before.get("ours", {})
        mine = [key for key in now if ours.get(key, now[key]) == now[key]]
        if self._by_systemd(terms):
            was = before["values"]
            words = [f"{key}={'' if was[key] in _UNSET else was[key]}" for key in mine]
            if words:
                self._set(terms, words)
        else:
            for key in mine:
                path, value = before["files"][key]
                groups.write(Path(path), _written(value, Path(path)))
        others = [key for key in now if key not in mine]
        return f"{', '.join(others)}: set by somebody else meanwhile, and let be" if others else ""

    def state(self, terms: Properties, record: Record) -> tuple[Standing, str]:
        """Whether any of them is still as we set it."""
        before = record.before
        try:
            now = self._now(terms, before)
        except GateError as error:
            return "taken", str(error)
        if "ours" not in before:  # we died between: all that can be done is to put them back
            was = before.get("values") or {key: one[1] for key, one in before["files"].items()}
            return ("open", "they were not set") if now == was else ("closed", "")
        if any(now[key] == value for key, value in before["ours"].items()):
            return "closed", ""
        return "taken", f"{terms.unit}: set by somebody else"

    def _by_systemd(self, terms: Properties) -> bool:
        return self._tools.systemd and not terms.unit.startswith("/")

    def _now(self, terms: Properties, before: Before) -> dict[str, str]:
        if self._by_systemd(terms):
            return show(unit_name(terms.unit), tuple(before["values"]), self._tools)
        return {key: groups.read(Path(path)) for key, (path, _was) in before["files"].items()}

    def _set(self, terms: Properties, words: list[str]) -> None:
        command = ["systemctl", "set-property", "--runtime", "--", unit_name(terms.unit), *words]
        self._tools.must(command, _WITHIN, ranked=True)

    def _file(self, terms: Properties, key: str) -> Path:
        file = _FILES.get(key)
        if file is None:
            known = ", ".join(_FILES)
            raise GateError(f"{key} can't be set without systemd; what can be is {known}")
        try:
            return groups.find(terms.unit, self._tools, file.second) / file.second
        except GateError:
            if not file.hierarchy:
                raise
        return groups.find(terms.unit, self._tools, file.first, file.hierarchy) / file.first


def _as_file(key: str, value: str, path: Path) -> str:
    """A value as systemd.resource-control(5) has it, as the kernel's file has it."""
    if value == "infinity":
        return "max" if path.name == _FILES[key].second else _FILES[key].infinite
    if path.name == "cpu.shares":  # a weight of 100 is 1024 shares
        return str(max(2, int(value) * 1024 // 100))
    number = value[:-1] if value[-1:] in _UNITS else value
    try:
        return str(int(float(number) * _UNITS.get(value[-1:], 1)))
    except ValueError:
        raise GateError(f"{key}={value}: expected a number, such as 512M") from None


def _written(value: str, path: Path) -> str:
    """What was read, as it may be written: version 1 tells "no limit" as a huge number, which it
    takes back; io.weight is read as "default 100"."""
    return value.splitlines()[0] if path.name == "io.weight" else value
