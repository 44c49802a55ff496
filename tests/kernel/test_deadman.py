"""The dead man at an opening that fails again and again: it goes on, and piles up nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.gate.switches import deadman
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.record import Record, Records
from tidegate.policy.guards import Command

pytestmark = pytest.mark.kernel

WATCH = """
import os, sys, threading, time
from pathlib import Path
from tidegate.gate.switches import deadman
from tidegate.gate.switches.kinds import Tools
deadman._EACH, deadman._AGAIN = 0.02, 1 << 60  # each turn is an attempt
folder = Path(sys.argv[1])
def tools(run):
    made.append(run)
    return Tools(run, systemd=False)
made, moment = [], [10]
def now():  # further than the pause from the last attempt, each time
    moment[0] += 2 << 60
    return moment[0]
threading.Thread(target=deadman.watch, args=(folder, now, tools), daemon=True).start()
while len(made) < 12:
    time.sleep(0.05)
children = Path(f"/proc/self/task")
pids = [pid for task in children.iterdir() for pid in (task / "children").read_text().split()]
dead = [p for p in pids if Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]
print(len(dead))
sys.stdout.flush()
os._exit(0)
"""


def test_attempts_leave_no_dead_processes(tmp_path: Path) -> None:
    folder = tmp_path / "gates"
    stuck = Command(("/bin/true",), ("/bin/false",))
    Records(folder).write(Record("door", stuck, {}, "closed", 1, 2))
    run = subprocess.run(
        [sys.executable, "-c", WATCH, folder], capture_output=True, text=True, timeout=120
    )
    assert int(run.stdout) <= 3, run.stderr


def test_the_last_word_of_the_one_that_died_is_not_taken_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has the lock, and has not yet said that it is no service keeper."""
    folder = tmp_path / "gates"
    dead, other = Records(folder), Records(folder)
    assert dead.lock(deadman.KEEPER)
    dead.write(Record("door", Command(("/bin/true",), ("/bin/true",)), {}, "closed", 1, 2))
    dead.unlock()
    looks = []

    def slept(_seconds: float) -> None:
        looks.append(1)
        if len(looks) == 1:  # it says so now, and is done
            other.unlock()

    monkeypatch.setattr(deadman.time, "sleep", slept)
    descriptor = os.open(folder / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    monkeypatch.setattr(other, "unlock", lambda: os.close(descriptor))
    deadman.watch(folder, lambda: 1 << 50, lambda run: Tools(run, systemd=False))
    assert not Records(folder).read()
