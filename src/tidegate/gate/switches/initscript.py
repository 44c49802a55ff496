"""A service by its init script: started, stopped and looked at where systemd is not PID 1.

Touches scripts in the folders of `Tools.init` (or `service NAME`), pid files, and, of a daemon that
does not stop, the processes that belong to it. Limits: a daemon without a pid file is known by its
script's `status` only; what of it does not stop can't be ended then, and that is said.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tidegate.errors import GateError
from tidegate.gate.switches import pidfile, processes
from tidegate.gate.switches.kinds import Ran, Standing, Tools
from tidegate.gate.switches.record import Before, Record
from tidegate.gate.switches.trust import distrusted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.:+-]{0,127}", re.ASCII)
_STATED = re.compile(rb"(?<![\w./}-])(/[\w./${}-]+\.pid)\b")
_STATUS_WITHIN = 15.0
_STARTS_WITHIN = 90.0
_SETTLES_WITHIN = 10.0
_ENDS_WITHIN = 5.0
_RUNNING, _STOPPED = 0, (1, 2, 3)  # exit codes of `status` (Linux Standard Base 5.0, 22.2)


class InitScript:
    """One service; `name` as an init script has it. Raises GateError where there is none."""

    def __init__(self, name: str, tools: Tools) -> None:
        self._tools = tools
        self.name = name.removesuffix(".service")
        if not _NAME.fullmatch(self.name):
            raise GateError(f"{name!r} is no name of a service")
        self._script = next(
            (one for folder in tools.init if (one := folder / self.name).is_file()), None
        )
        if self._script is None:
            folders = ", ".join(map(str, tools.init))
            raise GateError(f"there is no service {self.name}: no script of that name in {folders}")
        if why := distrusted(self._script, tools.owners):
            raise GateError(why)

    def look(self) -> Before:
        """Its main process, and whether it starts at boot."""
        running, why, main = self._running()
        if not running:
            return {"away": why}
        found: Before = {"by": "init", "enabled": self._enabled()}
        if main is not None:
            found["main"] = [main.pid, main.began]
        return found

    def stop(self, before: Before, within: float) -> str:
        """Stop it, and see that no process of it is left. GateError where it runs on."""
        main = self._main()
        theirs = processes.belonging(main) if main is not None else set()
        ran = self._do("stop", within)
        said = ran.fault([self.name, "stop"])
        if main is None:
            if self._status_code() == _RUNNING:
                raise GateError(
                    f"{said or self.name + ' was told to stop'}, but it still runs, and has no"
                    " pid file by which its processes could be known"
                )
            return said
        if said:  # it may not even have been able to fork; a signal needs no process
            processes.end([(main.pid, main.began)])
        if self._tools.until(lambda: not processes.living(theirs), _left(within, ran)):
            return said
        theirs |= {pair for pid in processes.living(theirs) for pair in _tree(pid)}
        processes.end(theirs)
        if self._tools.until(lambda: not processes.living(theirs), _ENDS_WITHIN):
            return f"it did not stop within {within:.0f} s and was ended"
        processes.end(theirs, signal.SIGKILL)
        if self._tools.until(lambda: not processes.living(theirs), _ENDS_WITHIN):
            return f"it did not stop within {within:.0f} s and was killed"
        left = ", ".join(map(str, processes.living(theirs)))
        raise GateError(f"{self.name} does not stop; these processes can't be killed: {left}")

    def start(self) -> str:
        """Start it, and see that it runs. GateError where it does not."""
        ran = self._do("start", _STARTS_WITHIN)
        said = ran.fault([self.name, "start"])
        if not self._tools.until(self._runs, _SETTLES_WITHIN if not said else 1.0):
            raise GateError(said or f"{self.name} was started, but does not run; see its log")
        return ""

    def state(self, record: Record) -> tuple[Standing, str]:
        """How it stands, compared with what we did to it."""
        before = record.before.get("main")
        main = self._main()
        running = main is not None if before else self._running()[0]
        if running:
            if record.stage == "opening":
                return "open", "it was started"
            same = before is None or main is None or [main.pid, main.began] == before
            if record.stage == "closing" and same:
                return "open", "it was not stopped"
            return "taken", f"{self.name} was started by somebody else"
        if record.before.get("enabled") and not self._enabled():
            return "taken", f"{self.name} has been disabled meanwhile; it is left stopped"
        return "closed", ""

    # -- how it is told ----------------------------------------------------------------------

    def _do(self, verb: str, within: float) -> Ran:
        ranked = verb == "stop"  # it leaves nothing that would be spared as we are
        command = shutil.which("service", path="/usr/sbin:/usr/bin:/sbin")
        own = self._script is not None and self._script.parent == Path("/etc/init.d")
        if own and command and not os.access(str(self._script), os.X_OK):
            return self._tools.run([command, self.name, verb], within, ranked=ranked)
        return self._tools.run([str(self._script), verb], within, ranked=ranked)

    def _running(self) -> tuple[bool, str, processes.Process | None]:
        """Whether it runs, why not, its main process if that is known."""
        main = self._main()
        if main is not None or self._status_code() == _RUNNING:
            return True, "", main
        return False, f"{self.name} does not run", None

    def _runs(self) -> bool:
        with suppress(GateError):
            return self._running()[0]
        return False

    def _status_code(self) -> int:
        ran = self._do("status", _STATUS_WITHIN)
        if ran.why or ran.code not in (_RUNNING, *_STOPPED):
            raise GateError(
                f"whether {self.name} runs is not known: it has no pid file, and"
                f" {ran.fault([str(self._script), 'status'])}"
            )
        return ran.code

    def _main(self) -> processes.Process | None:
        named = (pidfile.stated(path) for path in dict.fromkeys(self._pid_files()))
        return next(filter(None, named), None)

    def _pid_files(self) -> Iterator[Path]:
        """What the script names, then where it is by custom."""
        with suppress(OSError):
            for stated in _STATED.findall((self._script or Path()).read_bytes()):
                text = os.fsdecode(stated)
                for name in ("${NAME}", "$NAME", "${DAEMON}", "$DAEMON"):
                    text = text.replace(name, self.name)
                if "$" not in text:
                    yield Path(text)
        for folder in self._tools.pids:
            yield folder / f"{self.name}.pid"
            own = folder / self.name
            yield own / f"{self.name}.pid"
            yield own / "master.pid"
            alone = list(own.glob("*.pid"))
            if len(alone) == 1:
                yield alone[0]

    def _enabled(self) -> bool:
        """Whether it starts at boot, by a link rc?.d/S??NAME; None of them known: it does not."""
        return any(self._tools.starts.glob(f"rc[2-5].d/S[0-9][0-9]{self.name}"))


def _tree(pid: int) -> set[tuple[int, int]]:
    found = processes.process(pid)
    return processes.belonging(found) if found is not None else set()


def _left(within: float, ran: Ran) -> float:
    """A script that came back at once leaves its daemon the rest of its time; one that took all
    of it, a moment."""
    return 2.0 if ran.why else max(2.0, within / 2)
