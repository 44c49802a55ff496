"""Halting: suspect programs of one user stand still, or get little processor time, while closed.

Touches processes by SIGSTOP and SIGCONT (through pidfds), or a control group of our own
(`tidegate-halt-UID`) that they are moved to and back from. Which are suspect is told by
`Tools.suspects`, which keeps evidence of each before. Limits: what starts later goes on; who is
stopped can be continued by another program of the same user.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches import groups
from tidegate.gate.switches.kinds import Standing, Suspect, Tools
from tidegate.gate.switches.processes import PROC, end, process
from tidegate.gate.switches.record import Before, Record
from tidegate.policy.guards import Halt

PREFIX = "outward.uid-"
"""How the gate of a user is named: `outward.uid-33`."""
MOST = 48
"""Processes that are halted at a time: what one record has room for."""
SHARE = 5
"""Percent of one processor that all throttled processes of a user get together."""
_PERIOD = 100_000
_SETTLES = 10.0
_LONGEST = 80


class Halts:
    """The kind of `Halt`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Halt) -> Before:
        """The suspect processes that run; `away` where there are none."""
        found = [one for one in self._tools.suspects(terms.uid) if _state(one) not in ("", "T")]
        if not found:
            return {"away": f"no program of uid {terms.uid} runs from where everybody may write"}
        before: Before = {
            "processes": [[one.pid, one.began] for one in found[:MOST]],
            "programs": sorted({one.path[-_LONGEST:] for one in found[:MOST]})[:8],
            "evidence": found[0].evidence,
        }
        if terms.how == "throttle":
            folder, version = self._hierarchy()
            before["group"] = str(folder / f"tidegate-halt-{terms.uid}")
            before["home"] = {str(one.pid): _home(one.pid, version) for one in found[:MOST]}
        return before

    def close(self, terms: Halt, before: Before) -> str:
        """Stop them, or move them to where they get little."""
        them = _them(before)
        if terms.how == "freeze":
            end(them, signal.SIGSTOP)
            if not self._tools.until(lambda: not _running(them), _SETTLES):
                raise GateError("told to stand still, but does not: " + _names(before))
            verb = "stands still"
        else:
            self._throttle(Path(before["group"]), them)
            verb = f"gets {SHARE} % of a processor"
        return f"{verb}: {_names(before)}; evidence: {before['evidence']}"

    def open(self, terms: Halt, before: Before) -> str:
        """Let them go on, where they were."""
        them = _them(before)
        if terms.how == "throttle":
            self._back(Path(before["group"]), before["home"])
        else:
            end(them, signal.SIGCONT)
            if not self._tools.until(lambda: not _stopped(them), _SETTLES):
                raise GateError("told to go on, but stands still: " + _names(before))
        return f"goes on: {_names(before)}"

    def state(self, terms: Halt, record: Record) -> tuple[Standing, str]:
        """Whether they are as we left them."""
        them = _them(record.before)
        if terms.how == "throttle":
            if Path(record.before["group"]).exists():  # empty too: it is to be removed
                return "closed", ""
        elif _stopped(them):
            return "closed", ""
        if not _alive(them):
            return "taken", "they have ended"
        if record.stage == "closed":
            return "taken", "they were let go on by somebody else"
        return "open", "they were not halted"

    # -- throttling ----------------------------------------------------------------------------

    def _hierarchy(self) -> tuple[Path, int]:
        """Where groups with a share of the processors can be made, and of which version that is."""
        for mount in (self._tools.groups, self._tools.groups / "unified"):
            with suppress(GateError):
                if "cpu" in groups.read(mount / "cgroup.controllers").split():
                    return mount, 2
        if (self._tools.groups / "cpu" / "cgroup.procs").exists():
            return self._tools.groups / "cpu", 1
        raise GateError("no control groups with a share of processors here: freeze instead")

    def _throttle(self, group: Path, them: Iterable[tuple[int, int]]) -> None:
        share = SHARE * _PERIOD // 100
        try:
            if "cgroup.controllers" in os.listdir(group.parent):
                if "cpu" not in groups.read(group.parent / "cgroup.subtree_control").split():
                    groups.write(group.parent / "cgroup.subtree_control", "+cpu")
                group.mkdir(exist_ok=True)
                groups.write(group / "cpu.max", f"{share} {_PERIOD}")
            else:
                group.mkdir(exist_ok=True)
                groups.write(group / "cpu.cfs_period_us", str(_PERIOD))
                groups.write(group / "cpu.cfs_quota_us", str(share))
        except OSError as error:
            hint = (
                "; because of our unit's sandbox? systemctl edit tidegate, [Service]"
                " ProtectControlGroups=no"
                if error.errno == errno.EROFS
                else ""
            )
            raise GateError(f"{group}: {error.strerror}{hint}") from error
        for pid in _alive(them):
            _move(group, pid)
        if _alive(them) and not _members(group):
            raise GateError(f"{group}: nothing could be moved there")

    def _back(self, group: Path, home: dict[str, str]) -> None:
        """Each to where it was; what they have started meanwhile goes where the first of them was,
        and to the root group what has no home any more."""
        first = next(iter(home.values()), "/")

        def emptied() -> bool:
            for pid in _members(group):
                place = group.parent / home.get(str(pid), first).lstrip("/")
                with suppress(GateError):
                    _move(place if (place / "cgroup.procs").exists() else group.parent, pid)
            try:
                group.rmdir()
            except FileNotFoundError:
                return True
            except OSError:
                return False
            return True

        if not self._tools.until(emptied, _SETTLES):
            raise GateError(f"{group} can't be emptied: move what is in it by hand")


def _them(before: Before) -> list[tuple[int, int]]:
    return [(int(pid), int(began)) for pid, began in before["processes"]]


def _names(before: Before) -> str:
    pids = ", ".join(str(pid) for pid, _began in before["processes"][:8])
    return f"{', '.join(before['programs'])} (pid {pids})"


def _state(one: Suspect | tuple[int, int]) -> str:
    """The letter of its state (proc_pid_stat(5)); "" where it has ended."""
    now = process(one[0])
    return now.state.upper() if now is not None and now.began == one[1] and now.alive else ""


def _alive(them: Iterable[tuple[int, int]]) -> list[int]:
    return [one[0] for one in them if _state(one)]


def _stopped(them: Iterable[tuple[int, int]]) -> list[int]:
    return [one[0] for one in them if _state(one) == "T"]


def _running(them: Iterable[tuple[int, int]]) -> list[int]:
    return [one[0] for one in them if _state(one) not in ("", "T")]


def _members(group: Path) -> list[int]:
    try:
        return [int(one) for one in (group / "cgroup.procs").read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def _move(group: Path, pid: int) -> None:
    try:
        (group / "cgroup.procs").write_text(str(pid), "ascii")
    except ProcessLookupError:
        return  # it has ended
    except OSError as error:
        raise GateError(f"{group}: pid {pid} can't be moved there: {error.strerror}") from error


def _home(pid: int, version: int) -> str:
    """The group that a process is in (cgroups(7)), `/` where that is not to be told."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "cgroup").read_text("utf-8", "replace").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if (version == 2 and number == "0") or (
                version == 1 and "cpu" in controllers.split(",")
            ):
                return path
    return "/"


def spec_terms(name: str, how: Any) -> Halt | None:
    """The terms of the gate of that name (`outward.uid-33`); None where it is none of these."""
    number = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or how not in ("throttle", "freeze"):
        return None
    known = number.isascii() and number.isdigit() and 0 < int(number[:11]) < 2**32 - 1
    return Halt(int(number), how) if known and str(int(number)) == number else None
