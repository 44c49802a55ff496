"""A service by systemctl, where systemd is PID 1.

Touches units through systemctl, which forks nothing: PID 1 does the work, so it keeps our rank.
Limits: an administrator's `systemctl stop` of what is stopped already leaves no trace; `disable`
or `mask` does, and is respected.
"""

from __future__ import annotations

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Standing, Tools
from tidegate.gate.switches.record import Before, Record

_SHOWN = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "InvocationID", "MainPID",
    "RequiredBy", "BoundBy", "ConsistsOf",
)  # fmt: skip
_DEPENDENT = ("RequiredBy", "BoundBy", "ConsistsOf")
_ACTIVE = ("active", "reloading", "activating", "refreshing", "maintenance")
_ANSWERS_WITHIN = 30.0
_STARTS_WITHIN = 180.0
_NOT_STARTED = ("masked", "masked-runtime", "bad")
_DISABLED = ("disabled", "masked", "masked-runtime")


def show(unit: str, properties: tuple[str, ...], tools: Tools) -> dict[str, str]:
    """These properties of a unit. GateError where systemctl fails."""
    words = ["systemctl", "show", f"--property={','.join(properties)}", "--", unit]
    lines = tools.must(words, _ANSWERS_WITHIN, ranked=True).splitlines()
    return {key: value for key, equals, value in (line.partition("=") for line in lines) if equals}


def unit_name(name: str) -> str:
    """As systemctl has it: `apache2` is `apache2.service`. GateError where it can't be one."""
    if not name or name.startswith("-") or any(c in name for c in "/ \t\n*?["):
        raise GateError(f"{name!r} is no name of a unit")
    kinds = ("service", "socket", "target", "slice", "scope", "mount", "timer", "path")
    return name if name.rpartition(".")[2] in kinds else f"{name}.service"


class Unit:
    """One unit. Raises GateError where systemd has none of that name."""

    def __init__(self, name: str, tools: Tools) -> None:
        self.name = unit_name(name)
        self._tools = tools

    def look(self) -> Before:
        """Which invocation runs, whether it starts at boot, and what depends on it and runs."""
        found = self._show()
        if found.get("LoadState") == "not-found":
            raise GateError(f"there is no unit {self.name}; see systemctl list-units")
        if found.get("ActiveState") not in _ACTIVE:
            return {"away": f"{self.name} is {found.get('ActiveState', 'not known')}"}
        wanted = {name for key in _DEPENDENT for name in found.get(key, "").split()}
        return {
            "by": "systemd",
            "invocation": found.get("InvocationID", ""),
            "file": found.get("UnitFileState", ""),
            "dependent": [one for one in sorted(wanted) if self._is_active(one)],
        }

    def stop(self, before: Before, within: float) -> str:
        """Stop it, and see that it is stopped. What does not stop is killed, as a unit."""
        ran = self._tools.run(["systemctl", "stop", "--", self.name], within, ranked=True)
        said = ran.fault(["systemctl", "stop", self.name])
        if not said and self._stopped():
            return ""
        if ran.why:
            kill = ["systemctl", "kill", "--signal=KILL", "--", self.name]
            self._tools.run(kill, _ANSWERS_WITHIN, ranked=True)
            if self._tools.until(self._stopped, 10.0):
                return f"it did not stop within {within:.0f} s and was killed"
        if self._stopped():
            return said
        raise GateError(said or f"{self.name} was told to stop, but runs")

    def start(self, before: Before) -> str:
        """Start it, and what went down with it; see that it runs."""
        said = []
        words = ["systemctl", "start", "--", self.name]
        fault = self._tools.run(words, _STARTS_WITHIN, ranked=True).fault(words)
        if fault or not self._tools.until(lambda: self._is_active(self.name), 5.0):
            raise GateError(fault or f"{self.name} was started, but does not run; see its log")
        for one in before.get("dependent", ()):
            if not self._is_active(one):
                words = ["systemctl", "start", "--", one]
                said.append(self._tools.run(words, _STARTS_WITHIN, ranked=True).fault(words))
        return "; ".join(filter(None, said))

    def restart(self, within: float) -> str:
        """Have systemd restart it, with what depends on it."""
        self._tools.must(["systemctl", "restart", "--", self.name], within, ranked=True)
        if not self._tools.until(lambda: self._is_active(self.name), 5.0):
            raise GateError(f"{self.name} was restarted, but does not run; see its log")
        return ""

    def state(self, record: Record) -> tuple[Standing, str]:
        """How it stands, compared with what we did to it."""
        found = self._show()
        file = found.get("UnitFileState", "")
        if found.get("ActiveState") in _ACTIVE:
            if record.stage == "opening":
                return "open", "it was started"
            same = found.get("InvocationID") == record.before.get("invocation")
            if record.stage == "closing" and same:
                return "open", "it was not stopped"
            return "taken", f"{self.name} was started by somebody else"
        if found.get("LoadState") in ("masked", "not-found") or file in _NOT_STARTED:
            return "taken", f"{self.name} has been masked or removed meanwhile; it is left stopped"
        if file in _DISABLED and record.before.get("file") not in _DISABLED:
            return "taken", f"{self.name} has been disabled meanwhile; it is left stopped"
        return "closed", ""

    def _show(self) -> dict[str, str]:
        return show(self.name, _SHOWN, self._tools)

    def _stopped(self) -> bool:
        return self._show().get("ActiveState") in ("inactive", "failed")

    def _is_active(self, unit: str) -> bool:
        return show(unit, ("ActiveState",), self._tools).get("ActiveState") in _ACTIVE
