"""Between a user who is cut off and their programs: which are suspect, evidence first, then halted.

Touches /proc and the folder of evidence (in the service keeper, as root); in the watcher nothing.
Limits: only where `[outward]` says `stop`, and enforces; only programs that run from where
everybody may write, from memory alone, or from a file there that was deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tidegate.errors import GateError, WorldError
from tidegate.gate.switches.halt import MOST, PREFIX
from tidegate.gate.switches.kinds import Runner, Suspect, Tools
from tidegate.model import GateReport, Micros, Subject
from tidegate.policy.models import Policy
from tidegate.posture.evidence import Evidence
from tidegate.posture.host import PLACES
from tidegate.posture.processes import identity, process
from tidegate.posture.programs import SUSPECT, judged

_PLACES = tuple(one.path for one in PLACES)
FOLDER = "evidence"
"""Below `paths.gates`, which is root's alone."""


def gates(policy: Policy, cut: Mapping[int, Micros]) -> dict[str, Micros]:
    """The gates to be closed for these users who are cut off, each until then."""
    outward = policy.outward
    if outward is None or outward.stop == "never" or "observe" in (policy.mode, outward.mode):
        return {}
    return {f"{PREFIX}{uid}": until for uid, until in cut.items() if uid}  # never root's


def told(states: Mapping[str, GateReport], subject: Subject) -> str | None:
    """What has become of the programs of this user; None where nothing was done about them."""
    user = subject.removeprefix("uid:")
    found = states.get(f"{PREFIX}{user}") if user != subject else None
    if found is None or found.state == "open":
        return None
    return f"{found.state}: {found.detail}" if found.detail else found.state


def tools(folder: Path) -> Callable[[Runner], Tools]:
    """Makes the service keeper's tools; `folder` is `paths.gates`."""

    def made(run: Runner) -> Tools:
        return Tools(run, suspects=lambda uid: suspects(uid, Evidence(folder / FOLDER)))

    return made


def suspects(
    uid: int, evidence: Evidence, places: Sequence[str] = _PLACES,
    proc: Path = Path("/proc"),
) -> list[Suspect]:  # fmt: skip
    """The suspect processes of this user, of each of which evidence was kept. GateError where they
    can't be seen, or nothing can be kept: then none is touched."""
    found = []
    for pid in sorted(int(one) for one in os.listdir(proc) if one.isdigit()):
        folder = proc / str(pid)
        try:
            if identity(folder)[1] != uid:
                continue
            os.readlink(folder / "exe")
        except PermissionError as error:
            raise GateError(
                f"the programs of uid {uid} can't be seen, for want of CAP_SYS_PTRACE;"
                " is our unit older than this version?"
            ) from error
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        one = process(proc, pid)
        told = judged(one, places) if one is not None else None
        if one is None or told is None or told.why not in SUSPECT:
            continue
        try:
            kept = evidence.keep(pid)
        except WorldError as error:
            if process(proc, pid) is None:
                continue
            raise GateError(f"{error}; so pid {pid} is not touched") from error
        found.append(Suspect(pid, one.began, told.path, str(kept.record)))
        if len(found) >= MOST:
            break
    return found
