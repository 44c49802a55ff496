"""With systemd, one more who opens: a transient timer that outlives all of our processes.

Touches the units tidegate-overdue.timer and .service, which systemd forgets at its end. It is put
off while we live, and stopped once nothing is closed.
Limits: it opens at most LEASE after we were last heard of, each half minute until all is open.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tidegate.gate.switches.kinds import Tools, seconds
from tidegate.gate.switches.port import LEASE

NAME = "tidegate-overdue"
PUT_OFF_AFTER = 120.0
"""Seconds after which it is put off again while something is closed."""
AFTER = seconds(LEASE)
_WITHIN = 30.0


class Timer:
    """The timer of one folder of records. Any thread may call it."""

    def __init__(self, folder: Path, tools: Tools, told: Callable[[str], None]) -> None:
        self._folder = folder
        self._tools = tools
        self._told = told
        self._doing = threading.Lock()
        self._since: float | None = None  # when it was put off last; None: it is not set

    def ensure(self) -> None:
        """Before something is closed: set, and not soon to go off. What hinders is told."""
        if not self._tools.systemd:
            return
        with self._doing:
            if self._since is not None and time.monotonic() - self._since < PUT_OFF_AFTER:
                return
            if fault := self._put_off():
                self._told(f"systemd can't be asked to open in our place: {fault}")
            self._since = time.monotonic()  # also where it failed: tried again later

    def rest(self) -> None:
        """Nothing is closed: not needed."""
        if self._tools.systemd and self._since is not None:
            with self._doing:
                self._since = None
                stop(self._tools)

    def _put_off(self) -> str:
        words = ["systemctl", "restart", f"{NAME}.timer"]
        if self._since is not None and not self._tools.run(words, _WITHIN, ranked=True).fault([]):
            return ""
        stop(self._tools)  # one that a former life has left
        words = [
            "systemd-run",
            f"--unit={NAME}",
            f"--on-active={AFTER:.0f}",
            "--on-unit-inactive=30",
            "--timer-property=AccuracySec=1s",
            "--description=Opens what Tidegate closed, where Tidegate itself is gone",
            "--collect",
            *(f"--setenv={key}={os.environ[key]}" for key in ("PYTHONPATH",) if key in os.environ),
            sys.executable,
            "-m",
            "tidegate.gate.switches.overdue",
            str(self._folder),
        ]
        return self._tools.run(words, _WITHIN, ranked=True).fault(words[:2])


def stop(tools: Tools) -> None:
    """Have it go off no more."""
    tools.run(["systemctl", "stop", f"{NAME}.timer"], _WITHIN, ranked=True)
