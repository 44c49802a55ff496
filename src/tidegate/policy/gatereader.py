"""Gates out of policy tables: each kind's keys, and what they mean together.

Touches nothing. A gate stands in a guard by its kind (`throttle = { ports = [80] }`), alone or as a
step of a ladder. Limits: whether a unit, a socket or a port is there is seen when it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidegate.policy import guardvalues as read
from tidegate.policy import values
from tidegate.policy.durations import parse_duration
from tidegate.policy.guards import (
    Agent,
    Command,
    Freeze,
    Haproxy,
    Keepalived,
    Properties,
    Refuse,
    Restart,
    Service,
    Terms,
    Throttle,
)
from tidegate.policy.sections import Read, Sections

THROTTLE: dict[str, Read] = {
    "ports": read.ports,
    "rate": read.rate,
    "burst": values.whole(1, 10_000),
}
REFUSE: dict[str, Read] = {"ports": read.ports, "answer": values.choice("reset", "421")}
HAPROXY: dict[str, Read] = {
    "socket": read.socket,
    "backend": values.text,
    "server": values.text,
    "weight": read.share,
}
AGENT: dict[str, Read] = {"listen": read.endpoint, "weight": read.share}
KEEPALIVED: dict[str, Read] = {"file": values.path, "value": values.whole(-254, 254)}
COMMAND: dict[str, Read] = {"close": read.words, "open": read.words, "timeout": parse_duration}
PROPERTIES: dict[str, Read] = {"unit": read.group}
RESTART: dict[str, Read] = {
    "service": read.unit,
    "when": values.text,
    "wait": parse_duration,
    "at-most": read.rate,
}

TABLES: dict[str, dict[str, Read]] = {
    "throttle": THROTTLE,
    "refuse": REFUSE,
    "haproxy": HAPROXY,
    "agent": AGENT,
    "keepalived": KEEPALIVED,
    "properties": PROPERTIES,
    "command": COMMAND,
}
"""Kinds of gates that are written as tables."""
KINDS = ("throttle", "haproxy", "agent", "keepalived", "refuse", "properties", "freeze",
         "service", "stop", "command")  # fmt: skip
"""Every kind of gate that can be closed."""
HARSHNESS: Mapping[type, int] = {
    Throttle: 0, Haproxy: 1, Agent: 1, Keepalived: 1, Refuse: 1, Properties: 1,
    Freeze: 2, Service: 3,
}  # fmt: skip
"""What takes more away from users has the higher number; a command may do anything."""
_NEEDED = {
    "throttle": ("ports",),
    "refuse": ("ports",),
    "haproxy": ("socket", "backend", "server"),
    "agent": ("listen",),
    "keepalived": ("file",),
    "properties": ("unit",),
    "command": ("close", "open"),
}
_AROUND = frozenset({"-.slice", "system.slice", "init.scope", "freezer", "unified"})
_LOGINS = frozenset({"ssh", "sshd", "dropbear", "networking", "NetworkManager", "systemd-networkd"})


class GateReader:
    """Reads gates; faults go to its sections."""

    def __init__(self, sections: Sections) -> None:
        self._sections = sections

    def terms(self, path: str, kind: str, value: object) -> Terms | None:
        """What one gate does; None where it can't be read."""
        if kind in ("service", "stop", "freeze"):
            key, _dot, name = path.rpartition(".")
            one = read.group if kind == "freeze" else read.service
            found = self._sections.section(key, {name: value}, {name: one})
            if name not in found:
                return None
            self._whom(path, found[name] if kind == "freeze" else found[name].service)
            return Freeze(found[name]) if kind == "freeze" else found[name]
        before = len(self._sections.faults)
        table = self._sections.table(path, value)
        settings = self._settings(path, table) if kind == "properties" else ()
        if kind == "properties":
            table = {key: value for key, value in table.items() if key == "unit"}
        data = self._sections.section(path, table, TABLES[kind])
        for key in _NEEDED[kind]:
            if key not in table:
                self._sections.faults.append((path, f'"{key}" is missing'))
        if len(self._sections.faults) > before:
            return None
        self._look(path, data)
        self._whom(path, data.get("unit", ""), mild=True)
        if data.get("value") == 0:
            self._sections.fault(f"{path}.value", "0 is what it is while open; expected another")
        return _BUILD[kind](data | {"settings": settings})

    def restart(self, path: str, table: Mapping[str, Any]) -> Restart | None:
        """A restart; its condition is the guard's matter."""
        data = self._sections.section(path, table, RESTART)
        for key in ("service", "when"):
            if key not in table:
                self._sections.faults.append((path, f'"{key}" is missing'))
        if "service" not in data:
            return None
        self._whom(path, data["service"], mild=True)
        wait = {"wait": data["wait"]} if "wait" in data else {}
        most = dict(zip(("most", "within"), data.get("at-most", ()), strict=False))
        return Restart(data["service"], **wait, **most)

    def _settings(self, path: str, table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        given = {key: value for key, value in table.items() if key != "unit"}
        try:
            return read.settings(given)
        except ValueError as expected:
            self._sections.faults.append((path, f"expected {expected}"))
            return ()

    def _whom(self, path: str, unit: str, *, mild: bool = False) -> None:
        """Never tidegate itself, and with care what people log in by; `mild`: it keeps running."""
        name = unit.removeprefix("/sys/fs/cgroup").strip("/").rpartition("/")[2]
        name = name.removesuffix(".service").removesuffix(".socket")
        if name == "tidegate":
            self._sections.fault(path, f"{unit} is tidegate itself, which would have to open it")
        elif not mild and (name in _AROUND or (unit.startswith("/") and not name)):
            said = f"{unit} has tidegate in it, which would have to open it; name one service"
            self._sections.fault(path, said)
        elif not mild and name in _LOGINS:
            said = f"{unit} is closed: then nobody can log in anew from elsewhere"
            self._sections.note(path, said)

    def _look(self, path: str, data: Mapping[str, Any]) -> None:
        if 22 in data.get("ports", ()):
            said = "port 22 too: new logins by SSH are held back while it is closed"
            self._sections.notes.append((path, said))


def _throttle(data: Mapping[str, Any]) -> Throttle:
    rate = dict(zip(("rate", "per"), data["rate"], strict=True)) if "rate" in data else {}
    burst = {"burst": data["burst"]} if "burst" in data else {}
    return Throttle(data["ports"], **rate, **burst)


def _plain(kind: Callable[..., Terms]) -> Callable[[Mapping[str, Any]], Terms]:
    """A builder for gates whose keys are named as their fields are."""
    return lambda data: kind(**{key: value for key, value in data.items() if key != "settings"})


_BUILD: Mapping[str, Callable[[Mapping[str, Any]], Terms]] = {
    "throttle": _throttle,
    "refuse": _plain(Refuse),
    "haproxy": _plain(Haproxy),
    "agent": _plain(Agent),
    "keepalived": _plain(Keepalived),
    "properties": lambda data: Properties(data["unit"], data["settings"]),
    "command": _plain(Command),
}
