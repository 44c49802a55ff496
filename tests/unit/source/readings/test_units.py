"""What services use: real control groups, real pid files with real children, and version 2 by its
files, since a host has one version or the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.source.readings import units
from tidegate.source.readings.processes import Processes
from tidegate.source.readings.taking import NO_RATE, Places
from tidegate.source.readings.units import Units

BUSY = [sys.executable, "-c", "while True: pass"]
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'while True: pass']); time.sleep(999)"
TOP = Path("/sys/fs/cgroup")


def taker(part: str, name: str, places: Places = Places()):  # noqa: B008
    return Units(places, Processes(places)).taker(part, name)


def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def run() -> Iterator[Callable[[list[str]], int]]:
    made: list[subprocess.Popen[bytes]] = []

    def start(arguments: list[str]) -> int:
        made.append(subprocess.Popen(arguments, process_group=0))
        return made[-1].pid

    yield start
    for one in made:
        os.killpg(one.pid, 9)
        one.wait()


@pytest.fixture
def group(run) -> Iterator[str]:
    """A real control group with one busy process, by its path below the hierarchies."""
    unified = (TOP / "cgroup.controllers").exists()
    tops = [TOP] if unified else [TOP / name for name in ("cpuacct", "memory", "systemd")]
    if os.geteuid() != 0 or not all((top / "cgroup.procs").exists() for top in tops):
        pytest.skip("no control groups of our own")
    name = f"tidegate-test-{os.getpid()}"
    folders = [top / name / "below" for top in tops]
    pid = 0
    try:
        for folder in folders:
            folder.mkdir(parents=True)
        pid = run(BUSY)
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(pid))
        yield f"/{name}"
    finally:
        if pid:
            os.kill(pid, 9)
        for folder in folders:
            until(lambda folder=folder: not (folder / "cgroup.procs").read_text())
            folder.rmdir()
            folder.parent.rmdir()


@pytest.mark.kernel
def test_a_real_control_group(group):
    cpu = taker("cpu", group)
    assert cpu.attempt(1) == (None, None, NO_RATE)
    time.sleep(0.5)
    assert 0.05 < cpu.attempt(2).value < 1.5
    assert taker("processes", group).attempt(1).value == 1
    assert taker("processes", f"{group}/below").attempt(1).value == 1
    assert taker("memory", group).attempt(1).value > 100_000
    named = group if (TOP / "cgroup.controllers").exists() else f"/memory{group}"
    assert taker("memory", f"{TOP}{named}").attempt(1).value > 100_000


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_real_control_group_of_version_2_beside_version_1(tmp_path, run):
    top = TOP / "unified"
    if not (top / "cgroup.controllers").exists():
        pytest.skip("version 2 is not mounted beside version 1: it is tried above, or not here")
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/cgroup").symlink_to(top)
    places = Places("/proc", str(tmp_path))
    folder = top / f"tidegate-test-{os.getpid()}.slice" / "web.service"
    pid = 0
    try:
        folder.mkdir(parents=True)
        assert taker("processes", "web.service", places).attempt(1).value == 0
        pid = run(BUSY)
        (folder / "cgroup.procs").write_text(str(pid))
        cpu = taker("cpu", "web", places)  # found by its name, in the slice
        assert cpu.attempt(1).why == NO_RATE
        time.sleep(0.5)
        assert 0.05 < cpu.attempt(2).value < 1.5
        assert taker("processes", "web.service", places).attempt(1).value == 1
        unknown = taker("memory", "web.service", places).attempt(1)
        assert unknown.why.endswith("the controller is off")  # version 1 has it
    finally:
        if pid:
            os.kill(pid, 9)
        until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()
        folder.parent.rmdir()


def test_a_pid_file_counts_its_process_and_the_children(tmp_path, run):
    file = tmp_path / "daemon.pid"
    file.write_text(f"{run([sys.executable, '-c', PARENT])}\n")
    until(lambda: taker("processes", str(file)).attempt(1).value == 2)
    cpu = taker("cpu", str(file))
    assert cpu.attempt(1) == (None, None, NO_RATE)
    time.sleep(0.5)
    assert 0.05 < cpu.attempt(2).value < 1.5  # the child is busy, the parent sleeps
    assert 2 << 20 < taker("memory", str(file)).attempt(1).value < 200 << 20


def test_a_pid_file_of_a_process_that_ended_is_nothing_used(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    file = tmp_path / "daemon.pid"
    file.write_text(str(ended.pid))
    for part in ("cpu", "memory", "processes"):
        assert taker(part, str(file)).attempt(1) == (0, None, "")


def test_a_pid_file_older_than_its_process_names_somebody_else(tmp_path, run):
    file = tmp_path / "daemon.pid"
    file.write_text(str(run(["sleep", "99"])))
    until(lambda: taker("processes", str(file)).attempt(1).value == 1)
    os.utime(file, (0, time.time() - 3600))
    assert taker("processes", str(file)).attempt(1).value == 0


@pytest.mark.parametrize("text", ["", "apache\n", "-1\n"])
def test_a_file_without_a_pid_is_unknown(tmp_path, text):
    file = tmp_path / "daemon.pid"
    file.write_text(text)
    assert taker("processes", str(file)).attempt(1).why == (
        f"{file}: expected a control group, or a file with a pid"
    )


def test_what_is_not_there_is_unknown():
    taken = taker("cpu", "/no/such").attempt(1)
    assert taken == (
        None, None, "/no/such: no such file or directory, and no such control group"
    )  # fmt: skip
    taken = taker("memory", "no-such-thing.service").attempt(1)
    assert taken.why == (
        'there is no unit "no-such-thing.service": name a unit, a control group or a pid file'
    )


@pytest.fixture
def unified(tmp_path) -> Path:
    """A tree of control groups, version 2, with a unit in a slice of a slice."""
    top = tmp_path / "sys/fs/cgroup"
    unit = top / "system.slice/system-web.slice/web@a.service"
    (unit / "inner").mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu memory pids\n")
    (unit / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 1\n")
    (unit / "memory.current").write_text("1000000\n")
    (unit / "memory.stat").write_text("anon 5\ninactive_file 250000\n")
    (unit / "cgroup.procs").write_text("")
    (unit / "inner/cgroup.procs").write_text("12\n13\n")
    return tmp_path


def test_version_2_finds_a_unit_by_its_name_and_leaves_idle_file_pages_out(unified):
    places = Places("/proc", str(unified / "sys"))
    assert taker("processes", "web@a.service", places).attempt(1).value == 2
    assert taker("memory", "web@a.service", places).attempt(1).value == 750_000
    cpu = taker("cpu", "web@a", places)
    assert cpu.attempt(1).why == NO_RATE
    path = unified / "sys/fs/cgroup/system.slice/system-web.slice/web@a.service"
    (path / "cpu.stat").write_text("usage_usec 9000000\n")
    assert cpu.attempt(2).value > 0
    (path / "cpu.stat").write_text("usage_usec 1\n")  # it was started anew
    assert cpu.attempt(3).why == NO_RATE
    (path / "memory.current").unlink()
    assert taker("memory", "web@a", places).attempt(1).why.endswith("the controller is off")


def test_a_unit_that_is_known_and_does_not_run_uses_nothing(unified, tmp_path, monkeypatch):
    places = Places("/proc", str(unified / "sys"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files/mail@.service").write_text("[Service]\n")
    monkeypatch.setattr(units, "_FILES", (str(tmp_path / "files"),))
    monkeypatch.setattr(units, "RUNNING", str(tmp_path))
    assert taker("processes", "mail@b.service", places).attempt(1) == (0, None, "")
    monkeypatch.setattr(units, "RUNNING", str(tmp_path / "no"))
    assert "name the service's pid file instead" in taker("cpu", "mail@b", places).attempt(1).why
