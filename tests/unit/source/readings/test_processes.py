"""Processes by user and state: real ones, on the kernel that runs here."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.source.readings.processes import Process, Processes, tree
from tidegate.source.readings.taking import Places

ME = os.geteuid()


def count(argument: str = "") -> float:
    taken = Processes(Places()).taker(argument).attempt(1)
    assert taken.why == ""
    return taken.value


def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def sleeper() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []

    def make(**terms: int) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(["sleep", "1000"], **terms))
        return made[-1]

    yield make
    for one in made:
        one.kill()
        one.wait()


def test_all_of_them_beside_the_most_there_can_be():
    taken = Processes(Places()).taker("").attempt(1)
    assert 1 <= taken.value <= taken.whole
    assert taken.whole == int(Path("/proc/sys/kernel/pid_max").read_text())


@pytest.mark.skipif(ME != 0, reason="not root")
def test_by_user_as_name_or_number_and_by_state(sleeper):
    # A user that nobody else has processes of.
    uid = 61_234
    assert count(f"user={uid}") == 0
    one, other = sleeper(user=uid), sleeper(user=uid)
    until(lambda: count(f"user={uid},state=sleeping") == 2)
    one.send_signal(signal.SIGSTOP)
    until(lambda: count(f"user={uid},state=stopped") == 1)
    assert count(f"user={uid},state=sleeping|stopped") == 2
    assert count(f"user={uid}|root") >= 3
    other.kill()
    until(lambda: count(f"user={uid},state=zombie") == 1)  # not waited for yet
    assert count(f"user={uid},state=sleeping") == 0


def test_who_looks_runs():
    assert count(f"user={pwd.getpwuid(ME).pw_name},state=running") >= 1


def test_the_readings_of_one_look_share_one_sweep(monkeypatch):
    processes = Processes(Places())
    takers = [processes.taker(text) for text in ("user=root", "state=zombie", "user=0")]
    sweeps: list[int] = []
    real = processes._numbers
    monkeypatch.setattr(processes, "_numbers", lambda: sweeps.append(1) or real())
    for taker in takers:
        taker.attempt(7)
    assert len(sweeps) == 1
    takers[0].attempt(8)
    assert len(sweeps) == 2
    assert len({taker.worker for taker in takers}) == 1


def test_a_user_that_there_is_not_is_unknown():
    taken = Processes(Places()).taker("user=no-such-user").attempt(1)
    assert taken == (None, None, 'there is no user "no-such-user"')


def test_a_state_that_there_is_not_is_refused():
    with pytest.raises(SourceError, match='no process is "dancing"; states are running'):
        Processes(Places()).taker("state=dancing")


def test_a_proc_that_hides_processes_is_unknown(tmp_path):
    (tmp_path / "77").mkdir()
    for argument in ("", "user=root"):
        taken = Processes(Places(str(tmp_path), "")).taker(argument).attempt(1)
        assert taken.value is None
        assert "hidepid" in taken.why


@pytest.mark.parametrize("line", ["", "Umask:\t0022\n", "Umask:\t0022\nNew:\tline\n"])
def test_lines_that_kernels_add_do_not_matter(tmp_path, line):
    status = (
        f"Name:\tState: Z (x)\n{line}State:\tS (sleeping)\nTgid:\t1\nNgid:\t0\nPid:\t1\nPPid:\t0\n"
        "TracerPid:\t0\nUid:\t7\t33\t7\t7\nGid:\t0\t0\t0\t0\n"
    )
    (tmp_path / "1").mkdir()
    (tmp_path / "1/status").write_text(status)
    table = Processes(Places(str(tmp_path), "")).table.at(1)
    assert table == {1: Process(33, "S", 0)}


def test_a_tree_is_a_process_and_all_below_it():
    table = {
        1: Process(0, "S", 0), 2: Process(0, "S", 1), 3: Process(0, "S", 2), 4: Process(0, "S", 1),
        5: Process(0, "S", 3),
    }  # fmt: skip
    assert tree(table, 2) == {2, 3, 5}
    assert tree(table, 9) == set()
