from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate import distress


def in_a_child(act: Callable[[], object]) -> str:
    """What it returns, as text, in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, repr(act()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


CAP_IPC_LOCK, CAP_SYS_NICE, CAP_SYS_RESOURCE = 14, 23, 24


def capable(*wanted: int) -> bool:
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(held >> one & 1 for one in wanted)


def locked() -> int:
    """KiB of this process that can't be swapped out."""
    return int(Path("/proc/self/status").read_text().partition("VmLck:")[2].split()[0])


@pytest.mark.skipif(not capable(CAP_SYS_RESOURCE), reason="needs CAP_SYS_RESOURCE")
def test_spared_when_memory_is_short():
    assert in_a_child(lambda: (distress.spare(), distress.rank().oom)[1]) == "-900"


@pytest.mark.skipif(not capable(CAP_SYS_RESOURCE, CAP_IPC_LOCK), reason="needs CAP_IPC_LOCK")
def test_never_swapped_out_and_memory_can_be_had_after_privileges_are_dropped():
    def act() -> object:
        distress.spare()
        distress.lock()
        os.setresuid(65534, 65534, 65534)
        return len(b"x" * (64 << 20)) == 64 << 20, locked() > 64 << 10

    assert in_a_child(act) == "(True, True)"


@pytest.mark.skipif(not capable(CAP_IPC_LOCK), reason="needs CAP_IPC_LOCK")
def test_who_stays_root_is_never_swapped_out():
    def act() -> object:
        distress.spare()
        distress.lock(stays_root=True)
        return len(b"x" * (64 << 20)) == 64 << 20, locked() > 8 << 10

    assert in_a_child(act) == "(True, True)"


@pytest.mark.skipif(not capable(CAP_SYS_NICE), reason="needs CAP_SYS_NICE")
def test_served_first():
    assert in_a_child(lambda: (distress.spare(), distress.rank()[1:3])[1]) == "(-5, 16384)"


@pytest.mark.skipif(not capable(CAP_SYS_NICE), reason="needs CAP_SYS_NICE")
def test_what_we_start_is_ordinary_again():
    def act() -> object:
        distress.spare()
        distress.restore()
        return distress.rank() == distress.ORDINARY

    assert in_a_child(act) == "True"


def test_what_is_refused_is_a_line_each():
    def act() -> object:
        if os.geteuid() == 0:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        refused = distress.spare()
        return all("too late" in one for one in refused), 1 <= len(refused) <= 4

    assert in_a_child(act) == "(True, True)"


@pytest.mark.skipif(not capable(CAP_SYS_NICE), reason="needs CAP_SYS_NICE")
def test_what_has_begun_is_made_ordinary_from_outside_without_privileges():
    def act() -> object:
        distress.spare()
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        child = subprocess.Popen(["/bin/sleep", "60"])
        before = os.getpriority(os.PRIO_PROCESS, child.pid)
        distress.release(child.pid)
        after = os.getpriority(os.PRIO_PROCESS, child.pid)
        score = Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip()
        child.kill()
        child.wait()
        distress.release(child.pid)
        return before, after, score

    assert in_a_child(act) == "(-5, 0, '0')"


def test_without_leave_to_lock_without_end_nothing_is_locked():
    def act() -> object:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        return distress.lock(), locked()

    assert in_a_child(act) == "(False, 0)"
