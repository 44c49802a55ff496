"""A command as a unit of systemd's own: outside of our unit's sandbox, and not ended with it.

Touches transient units that are named after what they run, by systemctl and systemd-run, which need
no message bus. Limits: what is printed is in the journal; where systemd makes no unit (or is not
PID 1), the command is our own child, and in our sandbox if we are in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.spare import ENVIRONMENT
from tidegate.gate.switches.systemd import show

_ENDS_WITHIN = 2
_WITHIN = 30.0
_SHOWN = ("LoadState", "Result", "ExecMainCode", "ExecMainStatus")
_EXITED = "1"  # CLD_EXITED; else it was ended by a signal


def run(words: Sequence[str], seconds: float, tools: Tools, other: Sequence[str] = ()) -> Ran:
    """Run it to its end. `other`: a command that must not run beside it; what a former life of
    ours has left of either is stopped first."""
    if not tools.systemd:
        return tools.run(words, seconds)
    unit = _name(words)
    tools.run(["systemctl", "stop", unit, *([_name(other)] if other else [])], _WITHIN, ranked=True)
    tools.run(["systemctl", "reset-failed", unit], _WITHIN, ranked=True)
    asking = [
        "systemd-run",
        "--quiet",
        f"--unit={unit}",
        "--service-type=oneshot",  # so that the job, for which it waits, ends with the command
        "--description=A command of Tidegate's",
        f"--property=TimeoutStartSec={seconds:.3f}",
        f"--property=TimeoutStopSec={_ENDS_WITHIN}",
        "--property=KillMode=process",  # a daemon that it started stays
        *(f"--setenv={key}={value}" for key, value in ENVIRONMENT.items()),
        "--",
        *(word.replace("$", "$$") for word in words),
    ]
    ran = tools.run(asking, seconds + _WITHIN, ranked=True)
    if not ran.why and ran.code == 0:
        return ran
    found: dict[str, str] = {}
    with suppress(GateError):
        found = show(unit, _SHOWN, tools)
    return _ended(unit, found, seconds, tools) or tools.run(words, seconds)


def _ended(unit: str, found: dict[str, str], seconds: float, tools: Tools) -> Ran | None:
    """How it failed, and nothing left of it; None where it was not begun."""
    result = found.get("Result", "")
    if found.get("LoadState") != "loaded" or result in ("resources", "success", ""):
        return None
    code, why = int(found["ExecMainStatus"]), ""
    if result == "timeout":
        why = f"ended, because it took longer than {seconds:.0f} s"
        kill = ["systemctl", "kill", "--signal=KILL", unit]
        tools.run(kill, _WITHIN, ranked=True)
    tools.run(["systemctl", "reset-failed", unit], _WITHIN, ranked=True)
    said = f"what it printed: journalctl -u {unit}"
    return Ran(code if found["ExecMainCode"] == _EXITED else -code, said, why)


def _name(words: Sequence[str]) -> str:
    return f"tidegate-command-{sha256(chr(0).join(words).encode()).hexdigest()[:12]}.service"
