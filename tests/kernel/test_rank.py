"""Through a whole `tidegate run`: its processes go first, and what it runs for people does not."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.daemon import Daemon, children_of, daemons, title_of, until

from tidegate import distress

pytestmark = pytest.mark.kernel

ROLES = ("keeper", "service keeper", "sampler", "watcher")
POLICY = """
[reading.own]
command = ["{folder}/own"]
every = "1s"

[guard.own]
close = "own >= 10"
open = "own <= 2"
command = {{ close = ["{folder}/gate"], open = ["{folder}/gate"] }}
"""
SCRIPT = """#!/bin/sh
sleep 0.5
echo $(cut -d ' ' -f 19 /proc/$$/stat) $(cat /proc/$$/oom_score_adj) $$ > {folder}/told/{name}.new
mv {folder}/told/{name}.new {folder}/told/{name}
echo {number}
sleep 1
"""


@pytest.fixture
def make(public_folder: Path):
    with daemons(public_folder, "rank", "") as made:
        yield made


def started(make: Callable[..., Daemon], folder: Path) -> Daemon:
    (folder / "told").mkdir()
    (folder / "told").chmod(0o777)
    for name, number in (("own", 12), ("gate", 0)):
        script = folder / name
        script.write_text(SCRIPT.format(folder=folder, name=name, number=number))
        script.chmod(0o755)
    here = make()
    here.write_policy(POLICY.format(folder=folder), "")
    return here


def ioprio(pid: int) -> int:
    number = distress._IOPRIO[platform.machine()][1]
    return int(ctypes.CDLL(None).syscall(number, 1, pid))


def status(pid: int, key: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{key}:")[2].split()[0])


def test_ours_go_first_and_what_we_run_does_not(make, public_folder: Path) -> None:
    here = started(make, public_folder).start()
    assert here.process is not None
    spared = "not to be ended when memory is short" not in here.said()
    locked = "memory that is never swapped out" not in here.said()
    pids = [here.process.pid, *children_of(here.process.pid)]
    assert len(pids) == 1 + len(ROLES)
    below = children_of(next(pid for pid in pids if "service keeper" in title_of(pid)))
    assert {title_of(pid) for pid in below} >= {"tidegate: dead man", "tidegate: spare processes"}
    for pid in (*pids, *below):
        assert os.getpriority(os.PRIO_PROCESS, pid) == distress.NICE, title_of(pid)
        assert ioprio(pid) == 2 << 13, title_of(pid)
        score = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        assert score == (distress.SPARED if spared else 0), title_of(pid)
        if locked and pid != here.process.pid:
            assert status(pid, "VmLck") > 0, title_of(pid)
    for name in ("own", "gate"):
        told = public_folder / "told" / name
        until(name, told.exists)
        nice, score, _pid = map(int, told.read_text().split())
        assert (nice, score) == (0, 0), f"{name} is spared as we are"


def test_where_the_kernel_refuses_it_is_told_in_a_line_each_and_works(
    make, public_folder: Path
) -> None:
    here = started(make, public_folder)
    here.before = ["setpriv", "--bounding-set", "-sys_nice,-sys_resource,-ipc_lock"]
    here.start()
    lines = [line for line in here.said().splitlines() if "we may be too late" in line]
    assert len(lines) == 3, here.said()
    until("the gate", (public_folder / "told" / "gate").exists)
    assert "Traceback" not in here.said()
